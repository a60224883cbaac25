"""Weights of several layers of one model that the other holds in one, such as query, key and value:
the part is compared, not the shapes."""

from typing import NamedTuple

import numpy as np

from probe.numerics.dtypes import widened
from probe.ops.weight import Weight

__all__ = ["FusedPart", "cut", "part_of"]

_MOST = 0.5
"""What part of the smaller weight's rows must be found in the larger one."""
_SAME = 1e-6


class FusedPart(NamedTuple):
    """Where the smaller of two weights lies in the larger one."""

    axis: int
    start: int


def part_of(mine: np.ndarray, theirs: np.ndarray) -> FusedPart | None:
    """Where one weight lies in the other, along the one axis in which their sizes differ; None
    where most of it does not."""
    if mine.ndim != theirs.ndim or not (mine.size and theirs.size):
        return None
    axes = [
        axis
        for axis, (size, other) in enumerate(zip(mine.shape, theirs.shape, strict=True))
        if size != other
    ]
    if len(axes) != 1:
        return None
    small, large = sorted((_rows(mine, axes[0]), _rows(theirs, axes[0])), key=len)
    count = len(small)
    starts = {
        int(at) - row
        for row in {0, count // 2, count - 1}
        for at in np.flatnonzero(_same(large, small[row]))
        if 0 <= at - row <= len(large) - count
    }
    found = {start: _same(large[start : start + count], small).mean() for start in sorted(starts)}
    best = max(found, key=lambda start: found[start], default=0)
    if found.get(best, 0.0) > _MOST:
        return FusedPart(axes[0], best)
    return None


def cut(weight: Weight, part: FusedPart, count: int) -> Weight | None:
    """So many entries of a weight, from where the part begins; itself where it has no more, None
    where it has fewer."""
    values = weight.value
    axis = part.axis if part.axis < values.ndim > 1 else 0
    if values.shape[axis] == count:
        return weight
    if values.shape[axis] < part.start + count:
        return None
    taken = (*[slice(None)] * axis, slice(part.start, part.start + count))
    return Weight(weight.name, None, values[taken])


def _rows(values: np.ndarray, axis: int) -> np.ndarray:
    rows = np.moveaxis(widened(values), axis, 0)
    return rows.reshape(len(rows), -1)


def _same(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    near = np.abs(rows - others) <= _SAME * np.maximum(np.abs(rows), np.abs(others))
    return np.asarray(near.all(axis=-1))
