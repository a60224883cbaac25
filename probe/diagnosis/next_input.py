"""Which input of a layer would tell most about a difference that no known mistake explains."""

from probe import ops
from probe.ops.recurrent.recurrence import Recurrence
from probe.trial.case import Case

__all__ = ["next_input"]


def next_input(case: Case) -> str:
    """A sentence that makes it and says how it is given; "" of a layer of several inputs, or of
    none, and of values that are no such layer's."""
    if len(case.inputs) != 1 or not case.comparable or case.calls:
        return ""
    shape = case.inputs[0].shape
    if any(case.having(ops.Embedding)):
        made, tells = f"np.zeros({shape}, int)", "your values are then its first row at each place"
    elif any(case.having(ops.Attention, Recurrence)) and len(shape) == 3:
        made = f"x[:, :1] of your {shape}"
        tells = "one step alone has no other to take anything from"
    elif all(step.op.computes_elements for step in case.steps):
        made = f"np.linspace(-8, 8, {case.inputs[0].size}).reshape{shape}"
        tells = "your values are then the curve of your function"
    else:
        made, tells = f"np.zeros({shape})", "your values are then what is added to the products"
    return (
        f"the input that would tell most next is {made}: give it and your values of it with "
        f"--expect-input x.npy --expect mine.npy; {tells}"
    )
