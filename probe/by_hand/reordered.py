"""The places along an axis in another order, as an expression."""

from collections.abc import Sequence
from dataclasses import replace

from probe.by_hand.values import ATOM, Value, listed, sizes_of

__all__ = ["reordered"]

_FEW = 16
"""So many places along an axis are listed."""


def reordered(value: Value, order: Sequence[int], axis: int) -> Value | None:
    """The places along an axis in another order: as a list where they are few, as blocks, or as
    the axis in two of which the other comes first."""
    lies, size = value.axes[axis], len(order)
    blocks = _blocks(order)
    if size <= _FEW and len(blocks) > 2:
        return replace(
            value, text=f"np.take({value.text}, {listed(order)}, axis={lies})", level=ATOM
        )
    if 1 < len(blocks) <= _MOST_BLOCKS:
        lead = ":, " * lies
        parts = ", ".join(f"{value.at(ATOM)}[{lead}{first}:{end}]" for first, end in blocks)
        return replace(value, text=f"np.concatenate([{parts}], axis={lies})", level=ATOM)
    for count in range(2, size // 2 + 1):
        if size % count == 0 and [*order] == [
            at for k in range(size // count) for at in range(k, size, size // count)
        ]:
            return _interleaved(value, lies, count)
    return None


_MOST_BLOCKS = 6


def _blocks(order: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of places that follow each other, as (first, end)."""
    found: list[tuple[int, int]] = []
    for place in order:
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


def _interleaved(value: Value, lies: int, count: int) -> Value:
    """An axis read as (count, rest) and laid out as (rest, count)."""
    shape = list(value.shape)
    apart = [*shape[:lies], count, shape[lies] // count, *shape[lies + 1 :]]
    text = f"{value.at(ATOM)}.reshape{sizes_of(apart)}.swapaxes({lies}, {lies + 1})"
    return replace(value, text=f"{text}.reshape{sizes_of(shape)}", level=ATOM)
