"""Orders in words: where the slices of an array come from that hold another's."""

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np

__all__ = ["blocks_in_turn", "order_in_words", "rolled_by", "turned"]

_AXES = 4
"""Of so many axes at most all orders are gone through."""
_LISTED = 8
"""So many places are told one by one."""


def turned(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """An array flipped along several axes, with its axes in other orders where these are as long,
    and rolled along several axes; and both of the first two."""
    if array.ndim > _AXES:
        return
    axes = range(array.ndim)
    flips = [some for count in range(array.ndim + 1) for some in combinations(axes, count)]
    for perm in permutations(axes):
        other = array.transpose(perm)
        if other.shape != array.shape:
            continue
        moved = f"has its axes in the order {perm}" if perm != tuple(axes) else ""
        for some in flips:
            flipped = f"is reversed along {_listed_axes(some)}" if some else ""
            if moved or len(some) > 1:
                yield " and ".join(filter(None, (moved, flipped))), np.flip(other, some)
    for some in flips:
        for by in (1, -1) if len(some) > 1 else ():
            yield f"is rolled by {by} along {_listed_axes(some)}", np.roll(array, by, some)


def _listed_axes(axes: tuple[int, ...]) -> str:
    if len(axes) == 1:
        return f"axis {axes[0]}"
    return f"axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"


def order_in_words(origin: np.ndarray) -> str:
    """An order of places that is no accident, in words; "" of any other. ``origin`` has for each
    place the one that its slice comes from."""
    count = len(origin)
    through = np.arange(count)
    if np.array_equal(origin, through[::-1]) and count > 2:
        return "reversed"
    moved = np.flatnonzero(origin != through)
    if len(moved) == 2:
        return f"{moved[0]} and {moved[1]} exchanged"
    if by := rolled_by(origin):
        return "halves exchanged" if 2 * by == count else f"rolled by {by}"
    if blocks := blocks_in_turn(origin):
        return f"blocks of {count // blocks} in turn"
    in_blocks = next(_of_blocks(origin), "")
    if not in_blocks and count <= _LISTED:
        return f"in the order {_listed(origin)}"
    return in_blocks


def _of_blocks(origin: np.ndarray) -> Iterator[str]:
    """Orders of whole blocks, the largest first, and within each block alike."""
    count = len(origin)
    sizes = [size for size in range(2, count // 2 + 1) if not count % size]
    for size in reversed(sizes):
        rows = origin.reshape(-1, size)
        first = rows[:, 0]
        if not (first % size).any() and (rows == first[:, None] + np.arange(size)).all():
            if order := order_in_words(first // size):
                yield f"blocks of {size}, {order}"
    for size in sizes:
        rows = origin.reshape(-1, size)
        inside = rows % size
        stays = (rows // size == np.arange(len(rows))[:, None]).all()
        if stays and (inside == inside[0]).all() and size == 2:
            yield "neighbours exchanged in pairs"
        elif stays and (inside == inside[0]).all() and (order := order_in_words(inside[0])):
            yield f"within each block of {size}, {order}"


def rolled_by(origin: np.ndarray) -> int:
    """By how many places the slices are rolled, 0 where they are not; backwards where that is
    shorter."""
    count = len(origin)
    shifts = (np.arange(count) - origin) % count
    if (shifts != shifts[0]).any():
        return 0
    by = int(shifts[0])
    return by if 2 * by <= count else by - count


def blocks_in_turn(origin: np.ndarray) -> int:
    """How many blocks are interleaved to give this order; 0 where none are."""
    count = len(origin)
    through = np.arange(count)
    return next(
        (
            blocks
            for blocks in range(2, count)
            if not count % blocks
            and np.array_equal(origin, through.reshape(blocks, -1).T.reshape(-1))
        ),
        0,
    )


def _listed(origin: np.ndarray) -> str:
    return ", ".join(str(int(place)) for place in origin)
