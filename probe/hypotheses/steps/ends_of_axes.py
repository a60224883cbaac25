"""What stands at the ends of an axis where a tensor was shifted, rolled or padded by hand, by a
concatenation, a gather or a slice: zeros, the last element, or what left it at the other end; and
of a sorted axis all but the first."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_FAR, _DEEP = 8, 3
"""By how many places a tensor is shifted at most, and in how many steps."""
_MODES = {
    "constant": "zeros",
    "wrap": "the elements of the other end",
    "edge": "its outermost element",
    "reflect": "its elements reflected",
}


@more("changed-step")
def ends_of_axes(case: Case) -> Iterator[Changes]:
    """Zeros in place of what a roll brings to the other end, and back."""
    yield Changes(_ends, "changed-step", STEPS)


@more("changed-step")
def first_left_out(case: Case) -> Iterator[Changes]:
    """Of the largest or smallest elements those behind the first: the nearest points but for the
    point itself."""
    yield Changes(_behind_the_first, "changed-step", STEPS)


def _behind_the_first(case: Case) -> Iterator[Change]:
    new = len(case.steps)
    for position, op in case.having(ops.TopK):
        if op.k >= case.input_of(position).shape[op.axis]:
            continue
        shape = shape_of(case, Ref(position))
        starts = tuple(int(axis == op.axis % len(shape)) for axis in range(len(shape)))
        cut = ops.Slice(starts, tuple(np.add(starts, shape).tolist()))
        order = Step(replace(op, k=op.k + 1), case.steps[position].sources(position))
        names = {Ref(position, k): Ref(new + 1 + k) for k in range(2)}
        steps = {new: order} | {new + 1 + k: Step(cut, (Ref(new, k),)) for k in range(2)}
        for user in sorted({user for ref in names for user in users_of(case).get(ref, ())}):
            sources = case.steps[user].sources(user)
            taken = tuple(names.get(ref, ref) for ref in sources)
            steps[user] = Step(case.steps[user].op, taken)
        what = f"the {op.k} behind the first are taken in {step_name(case, position)}"
        yield Change(what, "", steps, key=("behind the first", op.largest), of=position)


class _Ends(NamedTuple):
    """How many places of a tensor are before and behind another along an axis, and where it
    starts of these."""

    axis: int
    before: int
    after: int
    start: int


def _ends(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Concat, ops.Gather, ops.Pad, ops.Slice):
        if position in of_parameters(case) or (isinstance(op, ops.Slice) and op.steps):
            continue
        own = np.asarray(case.values[position][0])
        for ref in _made_of(case, position):
            x = np.asarray(ref.of(case.inputs, case.values))
            for ends in _found(x, own):
                yield from _others(case, position, ref, ends)


def _made_of(case: Case, position: int) -> list[Ref]:
    """The tensors that the elements of one come from."""
    found, refs = dict[Ref, None](), [Ref(position)]
    for _ in range(_DEEP):
        refs = [
            source
            for ref in refs
            if ref.step >= 0 and isinstance(case.steps[ref.step].op, Rearrangement | ops.Concat)
            for source in case.steps[ref.step].sources(ref.step)
        ]
        found |= dict.fromkeys(refs)
    constant = of_parameters(case)
    return [ref for ref in found if ref.step not in constant and len(shape_of(case, ref))]


def _found(x: np.ndarray, own: np.ndarray) -> Iterator[_Ends]:
    """Where one tensor stands in another, along an axis: shifted within it, or with more around."""
    if x.ndim != own.ndim or not x.size:
        return
    longer = [axis for axis in range(x.ndim) if x.shape[axis] != own.shape[axis]]
    if len(longer) > 1 or (longer and own.shape[longer[0]] < x.shape[longer[0]]):
        return
    for axis in longer or range(x.ndim):
        a, b = np.moveaxis(own, axis, 0), np.moveaxis(x, axis, 0)
        if longer:
            more_places = len(a) - len(b)
            for before in range(more_places + 1):
                if _equal(a[before : before + len(b)], b):
                    yield _Ends(axis, before, more_places - before, 0)
            continue
        for by in range(1, min(_FAR, len(a) - 1) + 1):
            if _equal(a[by:], b[:-by]):
                yield _Ends(axis, by, 0, 0)
            if _equal(a[:-by], b[by:]):
                yield _Ends(axis, 0, by, by)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a[0], b[0]) and np.array_equal(a, b)


def _others(case: Case, position: int, ref: Ref, ends: _Ends) -> Iterator[Change]:
    shape = shape_of(case, Ref(position))
    rank, new = len(shape), len(case.steps)
    pads = tuple((ends.before, ends.after) if axis == ends.axis else (0, 0) for axis in range(rank))
    starts = tuple(ends.start if axis == ends.axis else 0 for axis in range(rank))
    stops = tuple(start + size for start, size in zip(starts, shape, strict=True))
    own = np.asarray(case.values[position][0])
    x = np.asarray(ref.of(case.inputs, case.values))
    shifted = x.shape[ends.axis] == own.shape[ends.axis]
    how = f"shifted by {ends.before - ends.after}" if shifted else "padded"
    operation = f"{tensor_name(case, Ref(position))} is {tensor_name(case, ref)} {how}"
    for mode, words in _MODES.items():
        if mode != "constant" and max(ends.before, ends.after) >= x.shape[ends.axis]:
            continue
        pad, cut = ops.Pad(pads, mode), ops.Slice(starts, stops)
        if np.array_equal(cut.run(*pad.run(x))[0], own):
            continue
        what = f"{operation} along axis {ends.axis} with {words}"
        steps = {new: Step(pad, (ref,)), position: Step(cut, (Ref(new),))}
        yield Change(what, "", steps, key=("ends", mode, how), of=position)
