"""What steps and tensors are called in a claim."""

from bisect import bisect_left
from collections.abc import Sequence

from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.ops import Constant, Parameter
from probe.ops.step import Ref
from probe.trial.case import Case, once
from probe.trial.gathered import Gathered

__all__ = ["call_of", "listed", "step_name", "steps_name", "tensor_name"]


def call_of(case: Case, position: int) -> str:
    """The call that a step is of; "" where the layer is one."""
    if position < len(case.calls):
        return case.calls[position]
    return ""


def _word(case: Case, position: int) -> str:
    if position < len(case.words):
        return case.words[position]
    return ""


@once
def step_name(case: Case, position: int) -> str:
    """A step in words: what it gives, or its op, and the call that it is of where that is
    known."""
    call, word = call_of(case, position), _word(case, position)
    if word:
        if call:
            return f"{word} of {call}"
        return word
    op = case.steps[position].op
    if isinstance(op, Gathered):
        return op.call
    if isinstance(op, Parameter | Constant) and (name := _number_name(case, position, op)):
        return name
    kind = type(op)
    alike = _alike(case)[kind, call]
    words = "the recurrence" if kind is Scanned else kind.__name__.lstrip("_")
    if len(alike) > 1:
        which = f" {bisect_left(alike, position) + 1} of {len(alike)}"
    else:
        which = ""
    if call:
        return f"{call} ({words}{which})"
    return f"{words}{which}"


def _number_name(case: Case, position: int, op: Parameter | Constant) -> str:
    """A parameter by its name, and a constant by the step that takes it."""
    if isinstance(op, Parameter):
        return op.weight.name
    for reader, step in enumerate(case.steps):
        if any(ref.step == position for ref in step.sources(reader)):
            return f"the constant of {step_name(case, reader)}"
    return ""


@once
def _alike(case: Case) -> dict[tuple[type, str], list[int]]:
    """The steps without a word, by kind and call."""
    found: dict[tuple[type, str], list[int]] = {}
    for position, step in enumerate(case.steps):
        if not _word(case, position):
            found.setdefault((type(step.op), call_of(case, position)), []).append(position)
    return found


def tensor_name(case: Case, ref: Ref) -> str:
    """A tensor in words."""
    if ref.step < 0:
        if len(case.inputs) == 1:
            return "the input"
        return f"input {ref.index}"
    if _word(case, ref.step) or isinstance(case.steps[ref.step].op, Parameter | Constant):
        return step_name(case, ref.step)
    if len(case.values[ref.step]) > 1:
        output = f"output {ref.index} of "
    else:
        output = "the output of "
    return output + step_name(case, ref.step)


def steps_name(case: Case, positions: Sequence[int]) -> str:
    """Several steps with the verb: "norm is", "a, b and c are"; whole calls by their names."""
    names: list[str] = []
    held = set(positions)
    for at in positions:
        call = call_of(case, at)
        whole = {other for other in range(len(case.calls)) if case.calls[other] == call}
        names.append(call if call and whole <= held else step_name(case, at))
    names = list(dict.fromkeys(names))
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more"]
    return listed(names)


def listed(names: Sequence[str]) -> str:
    """The names with their verb."""
    if len(names) == 1:
        return f"{names[0]} {'are' if _plural(names[0]) else 'is'}"
    return f"{', '.join(names[:-1])} and {names[-1]} are"


_PLURAL = {"products", "squares", "keys", "queries", "values", "weights", "scores"}
_PLURAL |= {"heads", "groups", "states", "features"}


def _plural(name: str) -> bool:
    """Whether a tensor's name is of several: "the scores of attn"."""
    head = name.partition(" of ")[0].partition(",")[0]
    return head.split()[-1] in _PLURAL
