"""How well a comparison would have told a wrong output from a right one: the share of wrong
elements that it would have shown."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["ENOUGH", "SURE", "Power", "blinds", "power"]

ENOUGH = 0.5
"""Below this an allowance is no evidence."""
SURE = 0.9
"""Below this it has to be said how much evidence there is."""

_FIRST, _MORE = 1 << 8, 1 << 12
_ROUNDING = 2.0**-40
"""What lies closer together, in units of the largest values, may differ by NumPy's own rounding
alone."""
_FEWEST = 1 << 6
"""So many pairs that differ tell the share well enough where it is clear."""


class Power(NamedTuple):
    """What an allowance can tell of one output."""

    share: float
    """Of random pairs of elements that differ: how often the first would have been seen to be
    wrong, had it held the value of the second.

    0 where half of the output lies within what is allowed everywhere, as 0 or its negative may
    then; 1 of other outputs whose elements are all equal.
    """
    allowed: float
    """What the median element is allowed."""
    span: float
    """How far the output's values lie apart, or lie from 0 where all are equal."""


def power(values: Sequence[np.ndarray | None], allowed: Sequence[np.ndarray]) -> Power | None:
    """Of the output that is told least; None where there is nothing to tell: no output is of
    floats, or all are 0."""
    told = [
        _of_one(value, slack)
        for value, slack in zip(values, allowed, strict=True)
        if value is not None and value.dtype.kind == "f"
    ]
    return min((one for one in told if one is not None), default=None)


def blinds(
    values: Sequence[np.ndarray | None], usual: Sequence[np.ndarray], loose: Sequence[np.ndarray]
) -> bool:
    """Whether an output reversed, or shifted by one along an axis, is told from the output by
    ``usual`` and not clearly by ``loose``."""
    for value, tight, wide in zip(values, usual, loose, strict=True):
        if value is None or value.dtype.kind != "f":
            continue
        for moved in (np.flip(value), *(np.roll(value, 1, axis) for axis in range(value.ndim))):
            with np.errstate(invalid="ignore"):
                apart = np.abs(moved - value)
            if (apart > tight).any() and not (apart > 2 * wide).any():
                return True
    return False


def _of_one(value: np.ndarray, allowed: np.ndarray) -> Power | None:
    if not value.size:
        return None
    allowed = np.broadcast_to(allowed, value.shape)
    share, differing, halved = _share(value, allowed, _FIRST)
    if share >= SURE and differing >= _FEWEST and halved:
        return Power(share, 0.0, 0.0)  # the usual case, in which nobody asks for more
    share, differing, halved = _share(value, allowed, _MORE)
    where = np.isfinite(value)
    finite, slack = value[where].astype(np.float64), allowed[where]
    if not finite.any():
        return None
    if not halved:
        halved = bool((np.abs(finite) > 2 * slack).any())
    share = 0.0 if not halved else share if differing else 1.0
    return Power(share, float(np.median(slack)), float(np.ptp(finite)) or float(np.abs(finite[0])))


def _share(value: np.ndarray, allowed: np.ndarray, count: int) -> tuple[float, int, bool]:
    """The share among so many pairs (all of a small output), how many differ, and whether the half
    of some element is told from it."""
    first, second = _pairs(value.size, count)
    with np.errstate(all="ignore"):
        one, other = value.flat[first].astype(np.float64), value.flat[second].astype(np.float64)
        apart = np.abs(one - other)
        slack = allowed.flat[first] if any(allowed.strides) else allowed.item(0)
        finite = np.isfinite(apart)
        largest = np.abs(one).max(initial=0.0, where=finite)
        differ = finite & (apart > _ROUNDING * largest)
        differing, told = (
            int(np.count_nonzero(differ)),
            int(np.count_nonzero(differ & (apart > slack))),
        )
        halved = bool((np.isfinite(one) & (np.abs(one) > 2 * slack)).any())
        return told / differing if differing else np.nan, differing, halved


@lru_cache(maxsize=256)
def _pairs(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many pairs of so many elements, the same each time; all of them where they are fewer."""
    if size * size <= count:
        first, second = np.indices((size, size))
        return first.ravel(), second.ravel()
    first, second = np.random.default_rng(size).integers(size, size=(2, count))
    return first, second
