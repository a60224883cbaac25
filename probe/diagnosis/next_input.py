"""Which input would tell most about a difference that no known mistake explains."""

from probe import ops
from probe.ops.recurrent.recurrence import Recurrence
from probe.trial.case import Case

__all__ = ["next_input"]


def next_input(case: Case) -> str:
    """A sentence that names it; "" for a layer without an input."""
    if not case.inputs:
        return ""
    if any(case.having(ops.Embedding)):
        told = "one index alone, then another: each shows its row of the table"
    elif any(case.having(ops.Attention, Recurrence)):
        told = "one step alone, then two: the first has no other step to take anything from"
    elif all(step.op.computes_elements for step in case.steps):
        told = "-8 to 8 in small steps: your values are then the curve of your function"
    else:
        told = "all 0, which shows what is added, then a single 1: which outputs it reaches"
    return f"the input that would tell most next: {told}"
