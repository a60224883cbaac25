"""Whether values of another shape than the output are a part of it."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

__all__ = ["parts_equal_to"]

_PROBED, _MOST = 4, 8


def parts_equal_to(mine: np.ndarray, value: np.ndarray, allowed: np.ndarray) -> tuple[str, ...]:
    """The parts of ``value`` that ``mine`` equals within ``allowed``, as ``expected_at`` names
    them: "3,:,:,5". At most eight."""
    few = mine.reshape([size for size in mine.shape if size != 1])
    if not few.size or few.ndim > value.ndim or few.size >= value.size:
        return ()
    allowed = np.broadcast_to(allowed, value.shape)
    found: dict[str, None] = {}
    for axes in combinations(range(value.ndim), few.ndim):
        window = [1] * value.ndim
        for axis, size in zip(axes, few.shape, strict=True):
            window[axis] = size
        if all(size <= whole for size, whole in zip(window, value.shape, strict=True)):
            for start in _places(few.reshape(window), value, allowed):
                found[_named(start, window, value.shape, axes)] = None
                if len(found) == _MOST:
                    return tuple(found)
    return tuple(found)


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
