"""Three parties that agree, compared in one pass."""

import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from probe.comparison.compare import Comparison, Worst
from probe.numerics.blocks import places

__all__ = ["compare_three"]

_BLOCK = 1 << 17
AllowanceAt = Callable[[tuple[np.ndarray, ...]], np.ndarray]
"""Gives the whole allowance at some indices."""
_LOOKS = 1 << 10
_PAIRS, _TIMES = ((0, 1), (1, 2), (0, 2)), (1.0, 1.0, 2.0)
"""The pairs of ``compare_three``, and the multiple of the allowance that each is compared with."""


def compare_three(
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    allowed: np.ndarray,
    allowance_at: AllowanceAt | None = None,
    partial: bool = False,
) -> tuple[Comparison, Comparison, Comparison] | None:
    """What ``compare`` gives of first and second, second and third, and first and third (against
    twice ``allowed``) where all agree.

    One pass in float32 over what a float32 layer, NumPy in float64 and ONNX Runtime gave: errors
    are rounded once, which moves their ratios by 1e-7. None where some pair differs or float32 does
    not hold the ratios: ``compare`` then says it. With ``allowance_at``, elements beyond
    ``allowed`` are looked at, and so are the worst where that is but a part of what is allowed
    (``partial``; it is changed there).
    """
    if not (first.shape == second.shape == third.shape == allowed.shape and first.size):
        return None
    if not (first.dtype == third.dtype == np.float32 and second.dtype == np.float64):
        return None
    parties = [array.reshape(-1) for array in (first, second, third)]
    with np.errstate(all="ignore"):
        largest = _by_blocks(parties, allowed, allowance_at is not None)
        if largest is None:
            return None
        if allowance_at is not None and (partial or largest.beyond):
            seen = np.concatenate([*largest.beyond, largest.worst])
            where = places(seen, first.shape)
            allowed[where] = allowance_at(where)
            largest = _at(parties, seen, allowed[where])
            if not all(ratio <= 1 for ratio in largest.ratios):
                return None
    comparisons = []
    for pair, times, ratio, place in zip(
        _PAIRS, _TIMES, largest.ratios, largest.worst, strict=True
    ):
        index = tuple(map(int, places(place, first.shape)))
        slack = allowed.item(index)
        left, right = (parties[party].item(place) for party in pair)
        worst = Worst(0, index, (left, right), times * slack)
        if ratio > 0 and not slack:
            ratio = math.inf
        comparisons.append(Comparison(True, 0, first.size, ratio, worst))
    return comparisons[0], comparisons[1], comparisons[2]


class _LargestOfThree(NamedTuple):
    """The largest error of each pair."""

    ratios: Sequence[float]
    """In units of its allowance."""
    worst: Sequence[int]
    """Where it is."""
    beyond: Sequence[np.ndarray] = ()
    """Places beyond what was allowed, which are left out of it."""


def _by_blocks(
    parties: Sequence[np.ndarray], allowed: np.ndarray, looks: bool
) -> _LargestOfThree | None:
    """One pass over all elements; None where an error is beyond its allowance, or too many are for
    who ``looks`` at each of them."""
    single = None if any(allowed.strides) else float(allowed[(0,) * allowed.ndim])
    arrays = [*parties] if single is not None else [*parties, allowed.reshape(-1)]
    ratios, worst = [-1.0] * 3, [0] * 3
    beyond: list[np.ndarray] = []
    for start in range(0, parties[0].size, _BLOCK):
        rows = _sizes(*(array[start : start + _BLOCK] for array in arrays))
        extremes = _extremes(rows, single)
        if looks and any(largest > 1 for largest, _ in extremes):
            outside = np.flatnonzero((rows[:2] > 1).any(axis=0))
            rows[:, outside] = 0
            extremes = _extremes(rows, single)
            beyond.append(start + outside)
            if sum(map(len, beyond)) > _LOOKS:
                return None
        for number, (largest, place) in enumerate(extremes):
            if not largest <= 1:
                return None
            if largest > ratios[number]:
                ratios[number], worst[number] = largest, start + place
    return _LargestOfThree(ratios, worst, beyond)


def _at(parties: Sequence[np.ndarray], seen: np.ndarray, allowed: np.ndarray) -> _LargestOfThree:
    """The same of some elements, in float64."""
    ratios, worst = [], []
    for (left, right), times in zip(_PAIRS, _TIMES, strict=True):
        errors = np.subtract(parties[left][seen], parties[right][seen], dtype=np.float64)
        ratio = np.abs(errors) / (times * allowed)
        last = int(ratio.argmax())
        ratios.append(float(ratio[last]))
        worst.append(int(seen[last]))
    return _LargestOfThree(ratios, worst)


class _Kept(threading.local):
    """Scratch buffers of a thread, kept for its next comparison: the system clears newly allocated
    memory."""

    wide, narrow = np.empty(0), np.empty(0, np.float32)


_kept = _Kept()


def _sizes(
    first: np.ndarray, second: np.ndarray, third: np.ndarray, slack: np.ndarray | None = None
) -> np.ndarray:
    """How large the errors of first and second, second and third, first and third are, a row each,
    in units of ``slack`` where given.

    The first alone where the third array is the first.
    """
    count = first.size
    if _kept.wide.size < count:
        _kept.wide, _kept.narrow = np.empty(count), np.empty(3 * count, np.float32)
    wide, alike = _kept.wide[:count], bool((first == third).all())
    rows = _kept.narrow[: count if alike else 3 * count].reshape(-1, count)
    np.copyto(wide, first)
    wide -= second
    np.copyto(rows[0], wide, casting="same_kind")
    if not alike:
        np.subtract(first, third, out=rows[2])
        np.subtract(rows[2], rows[0], out=rows[1])
    if slack is not None:
        rows /= slack.astype(np.float32, copy=False)
    return np.abs(rows, out=rows)


def _extremes(rows: np.ndarray, single: float | None) -> list[tuple[float, int]]:
    """Of each pair the largest error in units of its allowance, ``single`` where given, and its
    place; NaN where there is no telling."""
    extremes = []
    for row, place in zip(rows, rows.argmax(axis=1).tolist(), strict=True):
        largest = row.item(place)
        if single:
            largest = largest / single
        elif single is not None:
            largest = 0.0 if largest == 0 else math.inf
        extremes.append((largest, place))
    if len(rows) == 1:
        return [*extremes, *extremes, (0.0, 0)]
    first, second, (ratio, place) = extremes
    return [first, second, (ratio / 2, place)]
