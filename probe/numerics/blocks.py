"""Large arrays walked together in pieces that stay in cache."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["Locate", "apart", "blocks", "places", "rows_of", "same_bits"]

_SIZE = 1 << 17

Locate = Callable[[Any], tuple[Any, ...]]
"""From a place, or an array of them, to indices."""


def blocks(
    *arrays: np.ndarray, size: int = _SIZE
) -> Iterator[tuple[tuple[np.ndarray, ...], Locate]]:
    """Matching views of arrays of one shape, each with what leads from a place in its flattened
    piece to an index of the whole.

    Where all lie in memory in one order, pieces are runs of that memory; otherwise they are cut
    along the outermost axis.
    """
    return _pieces(arrays, (0,) * arrays[0].ndim, size)


def _pieces(
    arrays: tuple[np.ndarray, ...], corner: tuple[int, ...], size: int
) -> Iterator[tuple[tuple[np.ndarray, ...], Locate]]:
    first = arrays[0]
    if first.size <= size:
        yield arrays, _within(first.shape, corner)
        return
    order = sorted(range(first.ndim), key=lambda axis: -first.strides[axis])
    turned = [array.transpose(order) for array in arrays]
    if all(array.flags.c_contiguous for array in turned):
        shape, flat = turned[0].shape, [array.reshape(-1) for array in turned]
        for start in range(0, first.size, size):
            yield (
                tuple(array[start : start + size] for array in flat),
                _along(shape, order, start, corner),
            )
        return
    axis = next(axis for axis in order if first.shape[axis] > 1)
    step = max(1, size * first.shape[axis] // first.size)
    for start in range(0, first.shape[axis], step):
        cut = (slice(None),) * axis + (slice(start, start + step),)
        at = (*corner[:axis], corner[axis] + start, *corner[axis + 1 :])
        yield from _pieces(tuple(array[cut] for array in arrays), at, size)


def _within(shape: tuple[int, ...], corner: tuple[int, ...]) -> Locate:
    return lambda place: tuple(
        at + base for at, base in zip(np.unravel_index(place, shape), corner, strict=True)
    )


def _along(shape: tuple[int, ...], order: list[int], start: int, corner: tuple[int, ...]) -> Locate:
    def locate(place: Any) -> tuple[Any, ...]:
        at = np.unravel_index(start + place, shape)
        return tuple(at[order.index(axis)] + base for axis, base in enumerate(corner))

    return locate


def apart(
    f: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    together: Iterable[int],
    size: int = 1 << 20,
) -> np.ndarray:
    """f(x) for an f that looks along the axes ``together`` alone, in pieces cut along the others;
    those keep their sizes."""
    if not x.ndim:
        raise np.exceptions.AxisError(next(iter(together), 0), 0)
    kept = {axis % x.ndim for axis in together}
    free = [axis for axis in range(x.ndim) if axis not in kept and x.shape[axis] > 1]
    if x.size <= size or not free:
        return f(x)
    axis = max(free, key=lambda candidate: abs(x.strides[candidate]))
    step = max(1, size * x.shape[axis] // x.size)
    out: np.ndarray | None = None
    for start in range(0, x.shape[axis], step):
        cut = (slice(None),) * axis + (slice(start, start + step),)
        part = apart(f, x[cut], kept, size)
        if out is None:
            out = np.empty((*part.shape[:axis], x.shape[axis], *part.shape[axis + 1 :]), part.dtype)
        out[cut] = part
    assert out is not None
    return out


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays are the same bit for bit; the first piece that differs ends the search."""
    if (
        left.shape != right.shape
        or left.dtype != right.dtype
        or left.dtype.itemsize not in (1, 2, 4, 8)
    ):
        return False
    word = np.dtype(f"u{left.dtype.itemsize}")
    return all(
        np.array_equal(part.view(word), other.view(word))
        for (part, other), _ in blocks(left, right)
    )


def places(flat: np.ndarray | int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The indices of elements that are numbered in row-major order, also of an array without
    axes."""
    if shape:
        return np.unravel_index(flat, shape)
    return ()


def rows_of(indices: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """So many elements by their indices, a row each; one of an array without axes has none."""
    if not indices:
        return np.zeros((count, 0), int)
    return np.stack([np.broadcast_to(along, count) for along in indices], axis=1)
