"""Up to which call of a block a party's values can be right and behind which they are, as far as
its output tells, and of which call the output would tell most next."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.diagnosis.sensitive_elements import sensitive
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import call_of, tensor_name
from probe.ops.base import Op
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref
from probe.trial.case import Case, users_of
from probe.weights_read_back.wanted_outputs import wanted_of

__all__ = ["StillRight", "still_right"]

_LARGE = 1 << 22
"""Elements of all values from which on a block is not looked through."""
_CLIPPED = 0.1
"""The share of zeros from which on values that are not negative come from a ReLU."""
_ENOUGH = 16
"""Values that must be told of a step for what they have in common to say something."""


_Holds = Callable[[Any, np.ndarray, np.ndarray], bool | None]
"""Whether values that are off by so much are such as an op gives; None where they say nothing."""


class StillRight(NamedTuple):
    """What the output of a block tells of the calls within."""

    words: tuple[str, ...] = ()
    ask: str = ""
    """The call of the block whose output would halve what is left."""


def still_right(case: Case, allowed: np.ndarray) -> StillRight:
    """Of a block of several calls; nothing of a layer."""
    calls = [call for call in dict.fromkeys(case.calls) if call]
    size = sum(np.size(y) for outputs in case.values for y in outputs)
    if len(calls) < 3 or not case.comparable or size > _LARGE:
        return StillRight()
    words = list[str]()
    right = _right(case, allowed)
    if right:
        last = max(right)
        words.append(
            f"the elements that agree depend on all of {tensor_name(case, Ref(last))}: up to there "
            "yours are right, as far as they tell"
        )
    behind = next(_undone(case, allowed), None)
    first, stop = max(right, default=-1), len(case.steps) - 1
    if behind is not None:
        position, fits, what = behind
        name = tensor_name(case, Ref(position))
        if fits:
            stop = position
            words.append(
                f"undoing what follows {name} on your values gives {what} there, too: what follows "
                "is right, and the difference is in it or before it"
            )
        else:
            first = max(first, position)
            words.append(
                f"undoing what follows {name} on your values does not give {what}: the difference "
                "is in what follows"
            )
    ask = _halving(case, first, stop)
    if ask:
        words.append(_asked(case, ask))
    return StillRight(tuple(words), full_name(case, ask))


def full_name(case: Case, call: str) -> str:
    """The name of one of a block's calls in the model; "" of none."""
    if not call:
        return ""
    if call not in case.sites or not case.sites[call].function:
        return ".".join(filter(None, (case.layer, call)))
    module, _, name = call.rpartition("/")
    return f"{'.'.join(filter(None, (case.layer, module)))}/{name}"


def _asked(case: Case, call: str) -> str:
    name, _, number = full_name(case, call).partition(":")
    again = ""
    if number and not case.sites[call].function:
        again = f" --call {number}"
    elif number:
        name = f"{name}:{number}"
    return (
        f"to find which half it is in, compare your output of {name} too: --layer {name}{again} "
        "--expect its.npy"
    )


def _right(case: Case, allowed: np.ndarray) -> set[int]:
    """The steps of which every element, were it a little off, would change one of the output that
    agrees."""
    with np.errstate(invalid="ignore"):
        agrees = np.abs(case.observed - case.healthy) <= np.broadcast_to(
            allowed, case.observed.shape
        )
    if case.known is not None:
        agrees &= case.known
    if not agrees.any():
        return set()
    wanted: dict[Ref, np.ndarray] = {Ref(len(case.steps) - 1): agrees}
    found = set[int]()
    for position in range(len(case.steps) - 1, -1, -1):
        mask = wanted.pop(Ref(position), None)
        if mask is None or len(case.values[position]) > 1:
            continue
        if mask.all() and position not in of_parameters(case) and mask.size > 1:
            found.add(position)
        sources = case.steps[position].sources(position)
        given = [ref.of(case.inputs, case.values) for ref in sources]
        op = case.steps[position].op
        reached = (mask,) if isinstance(op, Outputs) else sensitive(op, mask, given)
        for ref, part in zip(sources, reached, strict=False):
            wanted[ref] = part | wanted.get(ref, False)
    return found


def _undone(case: Case, allowed: np.ndarray) -> Iterator[tuple[int, bool, str]]:
    """The step nearest the output whose values have something in common by what it does, whether
    those that undoing the steps behind it gives have that, too, and what it is."""
    for position in range(len(case.steps) - 2, -1, -1):
        op = case.steps[position].op
        told = _COMMON.get(type(op))
        if told is None or case.inner:
            continue
        for wanted in wanted_of(case, position, allowed):
            known = np.isfinite(wanted.slack) & np.isfinite(wanted.target)
            if wanted.classes is None and known.all() and wanted.target.size >= _ENOUGH:
                fits = told[0](op, wanted.target, 4 * wanted.slack)
                if fits is not None:
                    yield position, fits, told[1]


def _sums_to_one(op: ops.Softmax, y: np.ndarray, slack: np.ndarray) -> bool:
    total = np.abs(y.sum(axis=op.axis) - 1) <= slack.sum(axis=op.axis)
    return bool(total.all() and (y >= -slack).all())


def _clipped(op: ops.Relu, y: np.ndarray, slack: np.ndarray) -> bool | None:
    if (y < -slack).any():
        return False
    return True if (np.abs(y) <= slack).mean() > _CLIPPED else None


def _between(low: float, high: float) -> _Holds:
    def within(op: Op, y: np.ndarray, slack: np.ndarray) -> bool | None:
        return None if ((low - slack <= y) & (y <= high + slack)).all() else False

    return within


_COMMON: dict[type, tuple[_Holds, str]] = {
    ops.Softmax: (_sums_to_one, "weights that sum to 1"),
    ops.Relu: (_clipped, "values that a ReLU gives"),
    ops.Sigmoid: (_between(0, 1), "values that a sigmoid gives"),
    ops.Tanh: (_between(-1, 1), "values that a tanh gives"),
}


def _halving(case: Case, first: int, stop: int) -> str:
    """The call between two steps, the first of which is right and before the last of which the
    difference arises, that leaves as many calls before it as behind it; "" where there is none."""
    between = [
        at
        for at in range(first + 1, stop)
        if call_of(case, at) and at not in of_parameters(case) and _used(case, at)
    ]
    calls = [*dict.fromkeys(call_of(case, at) for at in between)]
    last = call_of(case, stop)
    calls = [call for call in calls if call != last]
    if not calls:
        return ""
    middle = (len(calls) - 1) / 2

    def rank(call: str) -> tuple[bool, bool, float, int]:
        """Of the middle half the modules come first, which everybody finds."""
        place = calls.index(call)
        function = bool(case.sites[call].function) if call in case.sites else False
        apart = abs(place - middle)
        return apart > len(calls) / 4, function, apart, place

    return min(calls, key=rank)


def _used(case: Case, position: int) -> bool:
    return bool(users_of(case).get(Ref(position)))
