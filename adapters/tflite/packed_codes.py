"""Constants as arrays: several codes in a byte, and such as leave their zeros out."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.errors import CannotOpen

if TYPE_CHECKING:
    from .schema import Sparsity

__all__ = ["dense", "unpacked"]


def unpacked(stored: np.ndarray, count: int, dtype: str) -> np.ndarray:
    """The codes of int4, uint4 or int2, the lowest bits of a byte first."""
    bits = 2 if dtype == "int2" else 4
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (stored[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(-1)[:count]
    if dtype.startswith("u"):
        return codes
    sign = np.int8(1 << (bits - 1))
    return (codes.view(np.int8) ^ sign) - sign


def dense(
    stored: np.ndarray,
    sparsity: "Sparsity",
    shape: tuple[int, ...],
    dtype: str,
    kind: np.dtype[Any],
) -> np.ndarray:
    """A constant with the zeros that its file leaves out.

    The levels are the tensor's axes in the order of traversal, and after them those of blocks.
    """
    rank, order, sizes = len(shape), sparsity.traversal_order, sparsity.dense_sizes
    count = math.prod(shape)
    places = np.zeros((1, 0), np.int64)  # of each row that the levels so far lead to
    rows = np.zeros(1, np.int64)
    for level in range(len(order)):
        origin, rows, found = _level(sparsity, level, rows, count)
        places = np.concatenate([places[origin], found[:, None]], axis=1)
    if dtype in ("int4", "uint4", "int2"):
        values = unpacked(stored, len(rows), dtype)
    else:
        values = stored.view(kind)
    if len(values) != len(rows):
        raise _damaged(f"it stores {len(values):,} values for {len(rows):,} places")
    index = np.stack([places[:, order.index(axis)] for axis in range(rank)], axis=1)
    for at, axis in enumerate(sparsity.block_map):
        level = order.index(rank + at)
        index[:, axis] = index[:, axis] * sizes[level] + places[:, level]
    if len(index) and not ((index >= 0) & (index < shape)).all():
        raise _damaged("it stores values outside of its shape")
    array = np.zeros(shape, kind)
    array[tuple(index.T)] = values
    return array


def _level(
    sparsity: "Sparsity", level: int, rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row of the next level: which row it belongs to, its number, and its place."""
    segments, indices = sparsity.segments[level], sparsity.indices[level]
    if segments is None or indices is None:
        size = sparsity.dense_sizes[level]
        if len(rows) * size > count:
            raise _damaged("its levels have more places than its shape")
        numbers = rows[:, None] * size + np.arange(size)
        return (
            np.repeat(np.arange(len(rows)), size),
            numbers.ravel(),
            np.tile(np.arange(size), len(rows)),
        )
    starts, ends = segments[rows].astype(np.int64), segments[rows + 1].astype(np.int64)
    lengths = ends - starts
    if (lengths < 0).any() or lengths.sum() > count or ends.max(initial=0) > len(indices):
        raise _damaged("its segments do not fit its indices")
    origin = np.repeat(np.arange(len(rows)), lengths)
    first = np.cumsum(lengths) - lengths
    numbers = np.arange(len(origin)) - first[origin] + starts[origin]
    return origin, numbers, indices[numbers].astype(np.int64)


def _damaged(why: str) -> CannotOpen:
    return CannotOpen(f"a sparse tensor is damaged: {why}")
