"""Whether values of another shape than the output are a part of it, or of what a mistake makes of
it; flat ones are read in row-major order."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from probe.hypotheses import REGISTERED, Hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import RoundingAllowance, most_apart
from probe.trial.prices import CANDIDATE, allowance_price

__all__ = ["MistakenPart", "mistaken_parts", "parts_equal_to"]

_PROBED, _MOST = 4, 8
_FEWEST = 4
"""Different values of a part that a mistake may be read off."""
_LOOKED_AT = 10**9
"""Elements that the shapes of flat values are looked for among."""


@dataclass(frozen=True, eq=False)
class MistakenPart:
    """A part of the output with one mistake in it."""

    hypothesis: Hypothesis
    edit: Edit
    part: str
    left: float
    """The largest remaining error in units of the allowance."""


def mistaken_parts(
    case: Case, rounding: RoundingAllowance, edits: Callable[[Hypothesis, Case], Iterator[Edit]]
) -> tuple[MistakenPart, ...]:
    """The mistakes, one of each kind, that make a part of the output equal the values, where that
    is the same part for all of them."""
    if np.unique(case.observed).size < _FEWEST or case.observed.size >= case.healthy.size:
        return ()
    mistakes: dict[str, MistakenPart] = {}
    for hypothesis in (mistake for mistake in REGISTERED if not mistake.last):
        for edit in edits(hypothesis, case):
            if not case.budget.spend(CANDIDATE):
                return _at_one_place(mistakes)
            passed = edit.fitted or hypothesis.slug in mistakes
            values = None if passed else case.evaluator.everywhere(edit)
            predicted = case.healthy if values is None else np.asarray(values[-1][0])
            if values is None or not _may_be_in(case.observed, predicted):
                continue
            case.budget.charge(allowance_price(values))
            allowed = rounding.of(edit, values)
            parts = _parts(case.observed, predicted, allowed)
            if len(parts) > 1:
                return ()
            for name, part in parts.items():
                slack = np.broadcast_to(allowed, predicted.shape)[part]
                there = predicted[part].reshape(case.observed.shape)
                left = most_apart(case.observed, there, slack.reshape(there.shape))
                mistakes[hypothesis.slug] = MistakenPart(hypothesis, edit, name, left)
    return _at_one_place(mistakes)


def _at_one_place(mistakes: dict[str, MistakenPart]) -> tuple[MistakenPart, ...]:
    if len({mistake.part for mistake in mistakes.values()}) == 1:
        return tuple(mistakes.values())
    return ()


def _may_be_in(mine: np.ndarray, value: np.ndarray) -> bool:
    """Whether the largest number of the values is among these, to a thousandth."""
    largest = float(mine.flat[np.argmax(np.abs(np.nan_to_num(mine)))])
    with np.errstate(invalid="ignore"):
        return bool((np.abs(value - largest) <= 1e-3 * abs(largest)).any())


def parts_equal_to(mine: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> tuple[str, ...]:
    """The parts of ``value`` that ``mine`` equals within ``allowed``, as ``expected_at`` names
    them: "3,:,:,5". At most eight."""
    return tuple(_parts(mine, value, allowed))


def _parts(
    mine: np.ndarray, value: np.ndarray, allowed: np.ndarray
) -> dict[str, tuple[slice, ...]]:
    """The same with their places."""
    few = mine.reshape([size for size in mine.shape if size != 1])
    found: dict[str, tuple[slice, ...]] = {}
    if not few.size or few.ndim > value.ndim or few.size >= value.size:
        return found
    allowed = np.broadcast_to(allowed, value.shape)
    for axes, window in (*_windows(few.shape, value.shape), *_flattened(few.shape, value.shape)):
        for start in _places(few.reshape(window), value, allowed):
            place = tuple(slice(k, k + size) for k, size in zip(start, window, strict=True))
            found[_named(start, window, value.shape, axes)] = place
            if len(found) == _MOST:
                return found
    return found


_Windows = Iterator[tuple[tuple[int, ...], list[int]]]
"""The axes along which a part extends, and its size along each axis of the output."""


def _windows(few: tuple[int, ...], whole: tuple[int, ...]) -> _Windows:
    """The parts that have this shape."""
    for axes in combinations(range(len(whole)), len(few)):
        window = [1] * len(whole)
        for axis, size in zip(axes, few, strict=True):
            window[axis] = size
        if all(size <= most for size, most in zip(window, whole, strict=True)):
            yield axes, window


def _flattened(few: tuple[int, ...], whole: tuple[int, ...]) -> _Windows:
    """The parts of so many values in a row that extend along several axes: first those that hold
    the most axes whole, and of those in a large output only the first."""
    if len(few) != 1:
        return
    windows = sorted(_boxes(few[0], whole), key=lambda window: _cut_axes(window, whole))
    for window in windows[: max(1, _LOOKED_AT // math.prod(whole))]:
        axes = tuple(axis for axis, size in enumerate(window) if size > 1)
        if len(axes) > 1:
            yield axes, list(window)


def _boxes(count: int, whole: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shapes of so many elements that fit into ``whole``."""
    size, *others = whole
    if not others:
        yield from [(count,)] if count <= size else []
        return
    for first in range(1, min(count, size) + 1):
        if count % first == 0:
            yield from ((first, *rest) for rest in _boxes(count // first, tuple(others)))


def _cut_axes(window: tuple[int, ...], whole: tuple[int, ...]) -> int:
    return sum(1 < size < most for size, most in zip(window, whole, strict=True))


def _places(mine: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Where ``mine`` begins in ``value``: a few of its largest elements are looked for first."""
    room = [whole - size + 1 for size, whole in zip(mine.shape, value.shape, strict=True)]
    fits = np.ones(room, bool)
    largest = np.argsort(-np.abs(np.nan_to_num(mine)), axis=None, kind="stable")[:_PROBED]
    for at in zip(*np.unravel_index(largest, mine.shape), strict=True):
        part = tuple(slice(k, k + size) for k, size in zip(at, room, strict=True))
        fits &= np.abs(value[part] - mine[at]) <= allowed[part]
    for start in np.argwhere(fits)[: 64 * _MOST].tolist():
        part = tuple(slice(k, k + size) for k, size in zip(start, mine.shape, strict=True))
        if (np.abs(value[part] - mine) <= allowed[part]).all():
            yield tuple(start)


def _named(
    start: tuple[int, ...], window: list[int], shape: tuple[int, ...], axes: tuple[int, ...]
) -> str:
    names = []
    for axis, (first, size, whole) in enumerate(zip(start, window, shape, strict=True)):
        if axis not in axes:
            names.append(str(first))
        else:
            names.append(":" if size == whole else f"{first}:{first + size}")
    return ",".join(names)
