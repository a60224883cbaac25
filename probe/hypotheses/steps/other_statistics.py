"""A statistic of a tensor in place of one of its elements, or of another tensor of that size: the
mean for the last value, the magnitude for the real part, the plain mean for the weighted one."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.rewriting import of_parameters, taking, taking_instead
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_MOST = 3
"""Of how many steps that take a tensor each is changed alone."""


@more("changed-step")
def other_statistic(case: Case) -> Iterator[Changes]:
    """A mean, largest value or norm along some axes in place of one element along them, or of what
    is computed otherwise."""
    yield Changes(_statistics, "changed-step", STEPS)


class _Place(NamedTuple):
    """A tensor that has one element along axes of another, and that other."""

    ref: Ref
    whole: Ref
    axes: tuple[int, ...]


def _statistics(case: Case) -> Iterator[Change]:
    for place in dict.fromkeys((*_slices(case), *_joined(case))):
        if place.ref.step < place.whole.step:
            continue
        own = np.asarray(place.ref.of(case.inputs, case.values))
        x = np.asarray(place.whole.of(case.inputs, case.values))
        for op in _ops(x.shape, place.axes):
            values = op.run(x)[0]
            if values.shape == own.shape and not np.allclose(values, own, rtol=1e-6, atol=0):
                yield from _taken(case, place, op)


_KINDS: tuple[type[Any], ...] = (
    *(ops.ReduceMean, ops.ReduceMax, ops.ReduceMin, ops.ReduceSum, ops.ReduceL2),
    *(ops.ReduceStd, ops.ReduceVar, ops.ReduceSumSquare, ops.ReduceL1),
)


def _ops(shape: tuple[int, ...], axes: tuple[int, ...]) -> Iterator[Op]:
    for kind in _KINDS:
        yield kind(axes, True)
    if len(axes) == 1:
        size = shape[axes[0]]
        for start in dict.fromkeys((0, size - 1, size // 2)):
            starts = tuple(start if axis == axes[0] else 0 for axis in range(len(shape)))
            stops = tuple(start + 1 if axis == axes[0] else n for axis, n in enumerate(shape))
            yield ops.Slice(starts, stops)


def _taken(case: Case, place: _Place, op: Op) -> Iterator[Change]:
    """The statistic for all steps that take the tensor, and for each alone."""
    new, step = Ref(len(case.steps)), Step(op, (place.whole,))
    what = f"{_words(case, place, op)} is taken instead of {_own_words(case, place)}"
    change = taking(case, place.ref, new, what)
    yield replace(change, steps={new.step: step, **change.steps})
    users = users_of(case).get(place.ref, ())
    for user in users if 1 < len(users) <= _MOST else ():
        steps = {new.step: step, user: taking_instead(case, user, place.ref, new)}
        words = f"{what} where {step_name(case, user)} takes it"
        yield Change(words, "", steps, of=user)


def _words(case: Case, place: _Place, op: Op) -> str:
    """The statistic in words."""
    whole = tensor_name(case, place.whole)
    if _is_magnitude(case, place, op):
        return f"the magnitude of {whole}"
    along = f"of {whole} along axis {', '.join(map(str, place.axes))}"
    if isinstance(op, ops.Slice):
        return f"the element at {op.starts[place.axes[0]]} {along}"
    return f"the {op_words(op)} {along}"


def _own_words(case: Case, place: _Place) -> str:
    """What the layer takes, in words."""
    op = case.steps[place.ref.step].op if place.ref.step >= 0 else None
    if isinstance(op, ops.Slice) and case.steps[place.ref.step].sources(place.ref.step) == (
        place.whole,
    ):
        return f"its element at {op.starts[place.axes[0]]}"
    return tensor_name(case, place.ref)


def _is_magnitude(case: Case, place: _Place, op: Op) -> bool:
    """Whether it is the length of pairs, as those of a complex number."""
    shape = shape_of(case, place.whole)
    return isinstance(op, ops.ReduceL2) and place.axes == (len(shape) - 1,) and shape[-1] == 2


def _slices(case: Case) -> Iterator[_Place]:
    """One element along an axis of what it was taken from."""
    constant = of_parameters(case)
    for position, _ in case.having(ops.Slice):
        whole = case.steps[position].sources(position)[0]
        shape, own = shape_of(case, whole), shape_of(case, Ref(position))
        axes = tuple(axis for axis, size in enumerate(shape) if size != own[axis])
        if len(axes) == 1 and own[axes[0]] == 1 and position not in constant:
            yield _Place(Ref(position), whole, axes)


def _joined(case: Case) -> Iterator[_Place]:
    """What is subtracted from a tensor or the like, and has one element along axes of it."""
    constant = of_parameters(case)
    for position, _ in case.having(ops.Sub, ops.Div, ops.Mul, ops.Add):
        sources = case.steps[position].sources(position)
        shapes = [shape_of(case, ref) for ref in sources]
        if len(sources) != 2 or len(shapes[0]) != len(shapes[1]):
            continue
        for ref, whole in (sources, sources[::-1]):
            own, shape = shape_of(case, ref), shape_of(case, whole)
            axes = tuple(axis for axis, size in enumerate(shape) if size != own[axis])
            single = axes and all(own[axis] == 1 for axis in axes)
            if single and prod(own) > 1 and ref.step not in constant:
                yield _Place(ref, whole, axes)
