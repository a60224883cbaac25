"""The places along an axis in another order, as an expression."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.by_hand.values import ATOM, Value, listed, reshaped, sizes_of

__all__ = ["reordered"]

_FEW = 16
"""So many places along an axis are listed."""


def reordered(value: Value, order: Sequence[int], axis: int) -> Value | None:
    """The places along an axis in another order: as the axis in two of which the other comes first,
    as a list where they are few, or as blocks."""
    lies, size = value.axes[axis], len(order)
    blocks = _blocks(order)
    if len({*order}) == 1:
        place = f"{':, ' * lies}{order[0]}:{order[0] + 1}"
        text = f"np.repeat({value.at(ATOM)}[{place}], {size}, axis={lies})"
        return replace(value, text=text, level=ATOM)
    if len(blocks) > _FEW_BLOCKS and (made := _regular(value, order, lies)) is not None:
        return made
    if size <= _FEW and len(blocks) > 2:
        return replace(
            value, text=f"np.take({value.text}, {listed(order)}, axis={lies})", level=ATOM
        )
    if 1 < len(blocks) <= _MOST_BLOCKS:
        lead = ":, " * lies
        parts = ", ".join(f"{value.at(ATOM)}[{lead}{first}:{end}]" for first, end in blocks)
        return replace(value, text=f"np.concatenate([{parts}], axis={lies})", level=ATOM)
    return _regular(value, order, lies)


_FEW_BLOCKS, _MOST_BLOCKS = 3, 6
"""So many blocks are listed at once, and so many where nothing else gives the order."""


def _regular(value: Value, order: Sequence[int], lies: int) -> Value | None:
    """The axis read as two or three of which others come first, or places several times."""
    size = len(order)
    for count in range(2, size // 2 + 1):
        if size % count == 0 and [*order] == [
            at for k in range(size // count) for at in range(k, size, size // count)
        ]:
            return _interleaved(value, lies, count)
    return _repeated(value, order, lies) or _nested(value, order, lies)


def _blocks(order: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of places that follow each other, as (first, end)."""
    found: list[tuple[int, int]] = []
    for place in order:
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


def _repeated(value: Value, order: Sequence[int], lies: int) -> Value | None:
    """The first places several times each, or all of them again and again, or one for all."""
    size, places = len(order), [*order]
    for count in range(2, size + 1):
        if size % count:
            continue
        first = [*range(size // count)]
        kept = f"{value.at(ATOM)}[{':, ' * lies}:{size // count}]"
        if places == first * count:
            text = f"np.concatenate([{kept}] * {count}, axis={lies})"
            return replace(value, text=text, level=ATOM)
        if places == [at for at in first for _ in range(count)]:
            text = f"np.repeat({kept}, {count}, axis={lies})"
            return replace(value, text=text, level=ATOM)
        if places == [at - at % count for at in range(size)]:
            text = f"np.repeat({value.at(ATOM)}[{':, ' * lies}::{count}], {count}, axis={lies})"
            return replace(value, text=text, level=ATOM)
    return None


def _nested(value: Value, order: Sequence[int], lies: int) -> Value | None:
    """The axis read as three, of which two are exchanged; or a flip within blocks."""
    size, places = len(order), np.asarray(order)
    for outer in range(1, size + 1):
        for inner in range(1, size // outer + 1) if size % outer == 0 else ():
            if size % (outer * inner):
                continue
            cut = (outer, inner, size // (outer * inner))
            blocks = np.arange(size).reshape(cut)
            apart = [*value.shape[:lies], *cut, *value.shape[lies + 1 :]]
            split = reshaped(value.at(ATOM), apart)
            for first, second in ((0, 1), (1, 2), (0, 2)):
                if np.array_equal(blocks.swapaxes(first, second).ravel(), places):
                    text = f"{split}.swapaxes({lies + first}, {lies + second})"
                    text = f"{text}.reshape{sizes_of(value.shape)}"
                    return replace(value, text=text, level=ATOM)
            for axis in (1, 2):
                if np.array_equal(np.flip(blocks, axis).ravel(), places):
                    text = f"np.flip({split}, {lies + axis}).reshape{sizes_of(value.shape)}"
                    return replace(value, text=text, level=ATOM)
    return None


def _interleaved(value: Value, lies: int, count: int) -> Value:
    """An axis read as (count, rest) and laid out as (rest, count)."""
    shape = list(value.shape)
    apart = [*shape[:lies], count, shape[lies] // count, *shape[lies + 1 :]]
    text = f"{reshaped(value.at(ATOM), apart)}.swapaxes({lies}, {lies + 1})"
    return replace(value, text=reshaped(text, shape), level=ATOM)
