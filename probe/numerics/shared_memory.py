"""Where an array holds what others held: their memory was that of the array before it was read, or
after."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["DO", "Overlap", "in_words", "overlaps"]

DO = (
    "read a tensor when its layer has run, or have the engine keep all tensors "
    "(experimental_preserve_all_tensors of LiteRT, kPreserveAllTensors of TFLM)"
)
"""What to do where memory was used again."""
_LARGEST = 1 << 26
"""Bytes of all arrays that are looked through."""

_WINDOW = 16
"""Bytes that are looked for in the other arrays."""
_CHANGES = 8
"""So often a stretch goes from one value to another: a run of one value is found anywhere."""
_TRIED, _FOUND = 64, 64
"""Of how many windows the one with most values is taken, and at how many places it is looked at."""
_MOST, _MISSES = 8, 32
"""So many others share the memory at most, and so many windows may be in none of them."""


class Overlap(NamedTuple):
    """Elements ``start`` to ``stop`` of an array, which hold what another array holds from its byte
    ``offset`` on."""

    name: str
    start: int
    stop: int
    offset: int


def overlaps(
    yours: np.ndarray, name: str, tensors: Mapping[str, np.ndarray]
) -> tuple[Overlap, ...]:
    """What of other ``tensors`` stands in ``yours`` in the place of the tensor of this name; ()
    where that is less than half of what differs."""
    own = tensors[name]
    if sum(array.nbytes for array in tensors.values()) > _LARGEST:
        return ()
    with np.errstate(all="ignore"):
        stored = yours.astype(own.dtype)
    if own.shape != yours.shape or not np.array_equal(stored, yours):
        return ()
    held = {other: array.tobytes() for other, array in tensors.items() if other != name}
    have = _bytes(stored.tobytes())
    left, size = have != _bytes(own.tobytes()), own.itemsize
    differ, explained, misses = int(left.sum()), 0, 0
    found: list[Overlap] = []
    while left.any() and have.size >= _WINDOW and len(found) < _MOST and misses < _MISSES:
        at = _telling(have, left)
        start, stop, other, offset = _longest(have, at, held)
        if _changes(have[start:stop]) < _CHANGES:
            left[at : at + _WINDOW] = False
            misses += 1
            continue
        explained += int(left[start:stop].sum())
        left[start:stop] = False
        found.append(Overlap(other, start // size, -(-stop // size), offset))
    if 2 * explained < differ:
        return ()
    return tuple(sorted(found, key=lambda overlap: overlap.start))


def in_words(found: Sequence[Overlap], name: str, size: int, order: Iterable[str]) -> str:
    """What an array of so many elements holds; ``order`` has the tensors in the order of the
    run."""
    parts = []
    for overlap in found:
        begins = f" from its byte {overlap.offset:,} on" if overlap.offset else ""
        values = f"values {overlap.start:,} to {overlap.stop - 1:,} of {size:,}"
        if overlap.stop - overlap.start == size:
            values = "all values"
        parts.append(f"{values} are those of the tensor {overlap.name}{begins}")
    names = [*order]
    when = "still holds what was computed before"
    if any(names.index(overlap.name) > names.index(name) for overlap in found):
        when = "was used again"
    return f"{'; '.join(parts)}: the memory of {name} {when}"


def _bytes(held: bytes) -> np.ndarray:
    return np.frombuffer(held, np.uint8)


def _changes(stretch: np.ndarray) -> int:
    return int((stretch[1:] != stretch[:-1]).sum())


def _longest(have: np.ndarray, at: int, others: Mapping[str, bytes]) -> tuple[int, int, str, int]:
    """The longest stretch around a window that one of the others has too: from which byte to which,
    whose it is, and where that has it; an empty one where there is none."""
    best, window = (at, at, "", 0), have[at : at + _WINDOW].tobytes()
    for name, data in others.items():
        theirs = _bytes(data)
        for place in _places(data, window):
            before = _alike(have[:at][::-1], theirs[:place][::-1])
            behind = _alike(have[at:], theirs[place:])
            if before + behind > best[1] - best[0]:
                best = (at - before, at + behind, name, place - before)
    return best


def _telling(have: np.ndarray, left: np.ndarray) -> int:
    """Where a window begins that has many values."""
    places = np.flatnonzero(left)
    starts = np.minimum(places[:: max(1, len(places) // _TRIED)], have.size - _WINDOW)
    counts = [len(np.unique(have[start : start + _WINDOW])) for start in starts]
    return int(starts[int(np.argmax(counts))])


def _places(data: bytes, window: bytes) -> Iterator[int]:
    at = -1
    for _ in range(_FOUND):
        at = data.find(window, at + 1)
        if at < 0:
            return
        yield at


def _alike(first: np.ndarray, second: np.ndarray) -> int:
    """How many elements both begin with."""
    count = min(len(first), len(second))
    differ = first[:count] != second[:count]
    return int(differ.argmax()) if differ.any() else count
