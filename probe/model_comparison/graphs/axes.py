"""Ways to read the elements of one array as another of other axes: reordered, merged or split."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

__all__ = ["Way", "unchanged", "ways"]

_MOST = 5
"""So many axes longer than 1 are tried in every order."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Way:
    """How the axes of a tensor of A become those of B's."""

    perm: Shape
    """The axes of A in the order of B's; where axes are merged or split, those longer than 1 of the
    one that has more."""
    merged: tuple[Shape, Shape] | None = None
    """Where the numbers of axes differ: the shapes of A's tensor and B's."""

    @property
    def text(self) -> str:
        """Such as "0,3,1,2"; "" where nothing moves."""
        if self.merged is not None:
            return " -> ".join(str(shape).replace(" ", "") for shape in self.merged)
        if self.perm == tuple(sorted(self.perm)):
            return ""
        return ",".join(map(str, self.perm))

    @property
    def inverse(self) -> "Way":
        """How the axes of B's tensor become those of A's."""
        if self.merged is not None:
            return Way(self.perm, self.merged[::-1])
        return Way(tuple(self.perm.index(axis) for axis in range(len(self.perm))))

    def fits(self, shape: Shape) -> bool:
        """Whether an array of A of this shape can be read so."""
        if self.merged is None:
            return len(self.perm) == len(shape)
        return self.merged[0] == shape

    def to_b(self, x: np.ndarray) -> np.ndarray:
        if self.merged is None:
            return x.transpose(self.perm)
        a, b = (_long(shape) for shape in self.merged)
        if len(a) >= len(b):
            return x.reshape(a).transpose(self.perm).reshape(self.merged[1])
        turned = x.reshape([b[axis] for axis in self.perm])
        return turned.transpose(np.argsort(self.perm)).reshape(self.merged[1])

    def to_a(self, x: np.ndarray) -> np.ndarray:
        if self.merged is None:
            return x.transpose(np.argsort(self.perm))
        a, b = (_long(shape) for shape in self.merged)
        if len(a) >= len(b):
            turned = x.reshape([a[axis] for axis in self.perm])
            return turned.transpose(np.argsort(self.perm)).reshape(self.merged[0])
        return x.reshape(b).transpose(self.perm).reshape(self.merged[0])

    def of_axis(self, axis: int) -> int | None:
        """Where an axis of A lies in B; None where axes are merged."""
        if self.merged is None and axis in self.perm:
            return self.perm.index(axis)
        return None


def unchanged(rank: int) -> Way:
    return Way(tuple(range(rank)))


def _long(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def ways(a: Shape, b: Shape, first: Sequence[Way] = ()) -> Iterator[Way]:
    """Every way from one shape to the other, the ones to try ``first`` before all others."""
    if math.prod(a) != math.prod(b):
        return
    seen: set[tuple[object, ...]] = set()
    for way in (*first, *_all(a, b)):
        if not way.fits(a) or (way.merged is None and tuple(a[i] for i in way.perm) != b):
            continue
        if way.merged is not None and way.merged != (a, b):
            continue
        if (key := _reading(way, a)) not in seen:
            seen.add(key)
            yield way


def _reading(way: Way, a: Shape) -> tuple[object, ...]:
    """Equal for ways that move the elements alike."""
    if way.merged is not None:
        return (way.merged, way.perm)
    return tuple(axis for axis in way.perm if a[axis] != 1)


def _all(a: Shape, b: Shape) -> Iterator[Way]:
    long_a, long_b = _long(a), _long(b)
    if len(long_a) == len(long_b):
        for perm in _orders(len(long_a)):
            if tuple(long_a[axis] for axis in perm) == long_b:
                yield _whole(perm, a, b)
        return
    more, fewer = (long_a, long_b) if len(long_a) > len(long_b) else (long_b, long_a)
    for perm in _orders(len(more)):
        if _merges([more[axis] for axis in perm], fewer):
            yield Way(perm, (a, b))


def _orders(count: int) -> Iterator[Shape]:
    if count > _MOST:
        yield tuple(range(count))
        return
    yield from permutations(range(count))


def _merges(sizes: Sequence[int], into: Sequence[int]) -> bool:
    """Whether neighbours multiply to those sizes."""
    place = 0
    for target in into:
        size = 1
        while size < target and place < len(sizes):
            size *= sizes[place]
            place += 1
        if size != target:
            return False
    return place == len(sizes)


def _whole(perm: Shape, a: Shape, b: Shape) -> Way:
    """The way of all axes, from that of the axes longer than 1."""
    if len(a) != len(b):
        return Way(perm, (a, b))
    long_axes = [axis for axis, length in enumerate(a) if length != 1]
    short = iter([axis for axis, length in enumerate(a) if length == 1])
    moved = iter([long_axes[axis] for axis in perm])
    return Way(tuple(next(moved) if length != 1 else next(short) for length in b))
