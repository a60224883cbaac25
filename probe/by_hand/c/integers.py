"""Numbers as integers times a power of two, and how many bits they take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from probe.report.c_integers import multiples

__all__ = [
    "Integers",
    "NotFixedPoint",
    "at_least_32",
    "dyadic",
    "exponent_of",
    "narrowest",
    "place",
    "width",
]

_LARGEST = 62
"""More bits than that no sum may take."""


class NotFixedPoint(Exception):
    """What keeps a layer from being written in integers, in words."""


@dataclass(frozen=True, eq=False)
class Integers:
    """An array of the program: each value is its integer times 2**exponent.

    ``values`` are a view of what lies in memory, with the axes of the op; ``low`` and ``high``
    bound what any input may give.
    """

    name: str
    values: np.ndarray
    exponent: int
    low: int
    high: int
    order: tuple[int, ...]
    """The place in memory of each axis, the outermost 0."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def wide(self) -> bool:
        """Whether 32 bits do not hold every value that it may have."""
        return width(self.low, self.high) > 32

    def turned(self, values: np.ndarray, order: Sequence[int]) -> "Integers":
        """The same memory seen through another view."""
        ranks = sorted(order)
        return replace(self, values=values, order=tuple(ranks.index(place) for place in order))

    @property
    def is_flat(self) -> bool:
        """Whether the view goes over all of the memory, each place once."""
        root = _root(self.values)
        return root.size == self.values.size == len({*_offsets(self.values).ravel().tolist()})

    def at(self, indices: Sequence[str]) -> str:
        """The C expression of an element, by its indices in the op's axes."""
        return f"{self.name}[{place(self.values, indices)}]"


def _root(view: np.ndarray) -> np.ndarray:
    while isinstance(view.base, np.ndarray):
        view = view.base
    return view


def _offsets(view: np.ndarray) -> np.ndarray:
    """The place in memory of each element of a view."""
    root = _root(view)
    first = view.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    found = np.asarray(first // view.itemsize)
    for size, stride in zip(view.shape, view.strides, strict=True):
        found = found[..., None] + np.arange(size) * (stride // view.itemsize)
    return found


def place(view: np.ndarray, indices: Sequence[str]) -> str:
    """Where an element lies in memory: ``((b * 8 + h) * 8 + w) * 16 + c``."""
    root = _root(view)
    first = view.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    first //= view.itemsize
    terms = [
        (stride // view.itemsize, index)
        for size, stride, index in zip(view.shape, view.strides, indices, strict=True)
        if stride and size > 1
    ]
    terms.sort(key=lambda term: -abs(term[0]))
    nested = all(step > 0 and step % finer == 0 for (step, _), (finer, _) in pairwise(terms))
    if not terms:
        return str(first)
    if nested and terms[-1][0] > 0 and not first:
        return _nested(terms)
    text = " + ".join(_times(index, step) for step, index in terms)
    return f"{first} + {text}" if first else text


def _nested(terms: Sequence[tuple[int, str]]) -> str:
    text, step = terms[0][1], terms[0][0]
    for finer, index in terms[1:]:
        text = f"{_times(text, step // finer)} + {index}"
        step = finer
    return _times(text, step)


def _times(text: str, factor: int) -> str:
    if factor == 1:
        return text
    return f"({text}) * {factor}" if " " in text else f"{text} * {factor}"


def width(low: int, high: int) -> int:
    """The bits that hold every integer from low to high, with a sign where low is negative."""
    if low < 0:
        return max((-low - 1).bit_length(), high.bit_length()) + 1
    return high.bit_length()


def exponent_of(number: float) -> int | None:
    """The exponent of a power of two; None of any other number."""
    mantissa, exponent = np.frexp(number)
    if mantissa != 0.5:
        return None
    return int(exponent) - 1


def dyadic(array: np.ndarray, what: str, most: int) -> tuple[np.ndarray, int]:
    """Values as int64 times one power of two, the largest that does; NotFixedPoint where an
    integer would take more than ``most`` bits."""
    values = np.asarray(array, np.float64)
    if not np.isfinite(values).all():
        raise NotFixedPoint(f"{what} holds infinities or NaN")
    found = multiples(values)
    if found.bits > most:
        raise NotFixedPoint(
            f"{what} is not fixed-point: as multiples of one power of two its values take "
            f"{found.bits} bits, which is more than {most}"
        )
    return found.integers, found.exponent


def at_least_32(low: int, high: int) -> str:
    """The type that is computed in."""
    if narrowest(low, high) == "int64_t":
        return "int64_t"
    return "int32_t"


def narrowest(low: int, high: int) -> str:
    """The type of C that holds the integers; NotFixedPoint where none does."""
    for bits in (8, 16, 32, 64):
        if low >= -(2 ** (bits - 1)) and high < 2 ** (bits - 1):
            if width(low, high) > _LARGEST:
                break
            return f"int{bits}_t"
    raise NotFixedPoint(f"its sums take up to {width(low, high)} bits")
