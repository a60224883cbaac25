"""Up to which call of a block a party's values can be right and behind which they are, as far as
its output tells, and of which call the output would tell most next."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.diagnosis.sensitive_elements import SMALL, sensitive, shift
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.listed_names import few
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
_TRIES = 8
"""How many steps are moved to see whether the elements that agree show it."""
_LITTLE = 2.0**-4
"""The share of its size by which a tensor that is wrong is off, at least."""
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
    first, stop = _right(case, allowed), len(case.steps) - 1
    if first >= 0:
        name = tensor_name(case, Ref(first))
        words.append(
            f"the elements that agree depend on all of {name}: up to there yours are right, as far "
            "as they tell"
        )
    behind = next(_undone(case, allowed), None)
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
            others = [tensor_name(case, ref) for ref in _operands_behind(case, position)]
            first = first if others else max(first, position)
            words.append(
                f"undoing what follows {name} on your values does not give {what}: the difference "
                "is in what follows" + (f" or in {' or '.join(few(others))}" if others else "")
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


def _right(case: Case, allowed: np.ndarray) -> int:
    """The last step of which every element, were it a little off, would change one of the output
    that agrees; -1 where there is none."""
    with np.errstate(invalid="ignore"):
        allowed = np.broadcast_to(allowed, case.observed.shape)
        agrees = np.abs(case.observed - case.healthy) <= allowed
        agrees &= np.abs(case.healthy) > allowed  # a 0 may be anyone's
    if case.known is not None:
        agrees &= case.known
    if not agrees.any():
        return -1
    wanted: dict[Ref, np.ndarray] = {Ref(len(case.steps) - 1): agrees}
    ends = {call: position for position, call in enumerate(case.calls)}
    tries = _TRIES
    for position in range(len(case.steps) - 1, -1, -1):
        mask = wanted.pop(Ref(position), None)
        if mask is None or len(case.values[position]) > 1:
            continue
        last = ends.get(call_of(case, position)) == position and position not in of_parameters(case)
        if last and mask.all() and mask.size > 1:
            if _shows(case, position, agrees, allowed):
                return position
            tries -= 1
            if not tries:
                break
        sources, op = case.steps[position].sources(position), case.steps[position].op
        given = _taken(case, position)
        reached = (mask,) if isinstance(op, Outputs) else sensitive(op, mask, given)
        for ref, part in zip(sources, reached, strict=False):
            wanted[ref] = part | wanted.get(ref, False)
    return -1


@np.errstate(all="ignore")
def _shows(case: Case, position: int, agrees: np.ndarray, allowed: np.ndarray) -> bool:
    """Whether one of the elements that agree would differ if what a step takes were wrong: not one
    that is a sum of shares, which is 1 whatever they are."""
    outputs = case.steps[position].op.run(*(x + shift(x) for x in _taken(case, position)))
    known = {**dict(enumerate(case.values[:position])), position: outputs}
    moved = np.abs(recompute(case.steps, case.inputs, known=known)[-1][0] - case.healthy)
    return bool((_LITTLE * moved > SMALL * allowed)[agrees].any())


def _taken(case: Case, position: int) -> list[np.ndarray]:
    """What a step takes, floats in float64."""
    taken = [ref.of(case.inputs, case.values) for ref in case.steps[position].sources(position)]
    return [x.astype(np.float64) if x.dtype.kind == "f" else x for x in taken]


def _operands_behind(case: Case, position: int) -> list[Ref]:
    """What the steps that follow from one take beside it, parameters and inputs left out."""
    following, others = {position}, list[Ref]()
    for at in range(position + 1, len(case.steps)):
        sources = case.steps[at].sources(at)
        if following.isdisjoint(ref.step for ref in sources):
            continue
        following.add(at)
        others += [
            ref
            for ref in sources
            if ref.step >= 0 and ref.step not in following | of_parameters(case)
        ]
    return list(dict.fromkeys(others))


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
