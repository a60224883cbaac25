"""Two parties' outputs side by side: shape first, then the places of NaN and inf, then values against the allowance.

Nothing is broadcast, transposed, sorted or skipped: a shape that differs is a divergence with its own sentence.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe.blocks import blocks

__all__ = ["PARTIES", "Comparison", "Worst", "compare", "compare_three", "identical"]

PARTIES = ("framework", "numpy", "onnx", "expected")


@dataclass(frozen=True, eq=False)
class Worst:
    """The element that lies furthest beyond (or closest to) its allowance."""

    output: int
    index: tuple[int, ...]
    values: tuple[float, float]
    allowance: float

    @property
    def error(self) -> float:
        return abs(self.values[0] - self.values[1])


@dataclass(frozen=True, eq=False)
class Comparison:
    """How two parties compare over all outputs of a layer."""

    ok: bool
    count: int
    """Elements beyond the allowance."""
    size: int
    ratio: float
    """The largest error in units of its allowance; inf where shapes, or the places of NaN or inf, differ."""
    worst: Worst | None
    reason: str = ""
    """Why, where the comparison is not one of values."""
    certain: bool | None = None
    """Where values differ: True beyond what any order of rounding could do, False where it is merely improbable."""

    def __bool__(self) -> bool:
        return self.ok

    def mirrored(self) -> "Comparison":
        """The same with the two parties in the other order."""
        worst = self.worst
        return self if worst is None else replace(self, worst=replace(worst, values=(worst.values[1], worst.values[0])))


_TINIEST = 1e-300
_BLOCK = 1 << 17

_Found = tuple[float, tuple[int, ...], int]
"""The largest error / allowance with 0 / 0 = 0, its index, and how many exceed what is allowed."""


def _largest(arrays: Sequence[np.ndarray], allowed: np.ndarray, pairs: Sequence[tuple[int, int, float]]) -> list[_Found] | None:
    """For each pair (of two of the arrays, and how many times ``allowed``); None where NaN or inf stand in a value.

    One pass over all: what lies in cache serves every pair.
    """
    best, counts = [-1.0] * len(pairs), [0] * len(pairs)
    places: list[tuple[int, Callable[[int], tuple[int, ...]]] | None] = [None] * len(pairs)
    single = not any(allowed.strides)
    room = min(arrays[0].size, _BLOCK)
    wide, narrow = np.empty(room), np.empty(room, np.float32)
    with np.errstate(all="ignore"):
        for parts, locate in blocks(*arrays, size=_BLOCK) if single else blocks(*arrays, allowed, size=_BLOCK):
            slack = allowed.reshape(-1)[:1] if single else parts[-1]
            # Where the first and the third are equal, so are their distances from the second, and theirs is 0.
            twins = len(pairs) == 3 and np.array_equal(parts[0], parts[2])
            ratio, largest = np.zeros(1), 0.0
            for number, (left, right, times) in enumerate(pairs):
                if not (twins and number):
                    found = _ratio(parts[left], parts[right], slack, wide, narrow)
                    if found is None:
                        return None
                    ratio, largest = found
                elif number == 2:
                    ratio, largest = np.zeros(1), 0.0
                if largest > times:
                    counts[number] += int((np.abs(ratio) > times).sum())
                if largest / times > best[number]:
                    best[number], places[number] = largest / times, (int(np.argmax(np.abs(ratio))), locate)
    return [(ratio, place[1](place[0]), count) for ratio, place, count in zip(best, places, counts, strict=True) if place is not None]


def _ratio(
    first: np.ndarray, second: np.ndarray, slack: np.ndarray, wide: np.ndarray, narrow: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """Signed errors in units of the allowance and the largest of their sizes; None where NaN or inf stand in a value.

    ``wide`` and ``narrow`` are room to compute in. Errors are exact to float64; only their ratio may be float32.
    """
    shape, both = first.shape, first.dtype == second.dtype == np.float32
    ratio = (narrow if both else wide)[: first.size].reshape(shape)
    if both:
        np.subtract(first, second, out=ratio)
    else:
        np.copyto(ratio, first)
        np.subtract(ratio, second, out=ratio, dtype=np.float64)
    if slack.dtype == np.float32 and not both:
        error, ratio = ratio, narrow[: first.size].reshape(shape)
        np.copyto(ratio, error, casting="same_kind")
    if slack.dtype == ratio.dtype and slack.flat[0]:
        ratio /= slack
    else:
        ratio = np.divide(ratio, slack if slack.flat[0] else slack + np.float64(_TINIEST), dtype=np.float64)
    largest = max(float(ratio.max()), -float(ratio.min()))
    if largest < math.inf:
        return ratio, largest
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    # An allowance of 0, or one that is NaN, allows nothing but equality.
    ratio = np.subtract(first, second, dtype=np.float64) / np.asarray(slack, np.float64)
    ratio = np.where(first == second, 0.0, ratio)
    ratio[np.isnan(ratio)] = math.inf
    return ratio, max(float(ratio.max()), -float(ratio.min()))


def _one(output: int, left: np.ndarray, right: np.ndarray, allowed: np.ndarray, times: float) -> Comparison:
    if left.shape != right.shape:
        return Comparison(False, left.size, left.size, math.inf, None, f"shapes differ: {left.shape} and {right.shape}")
    if not left.size:
        return Comparison(True, 0, 0, 0.0, None)
    allowed = np.broadcast_to(allowed, left.shape)
    pair = [(0, 1, times)]
    found = _largest([left, right], allowed, pair)
    if found is None:
        first, second = np.asarray(left, np.float64), np.asarray(right, np.float64)
        odd = ~(np.isfinite(first) & np.isfinite(second))
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        apart = odd & ~same
        if apart.any():
            index = tuple(int(i) for i in np.argwhere(apart)[0])
            worst = Worst(output, index, (float(first[index]), float(second[index])), times * float(allowed[index]))
            return Comparison(
                False, int(apart.sum()), left.size, math.inf, worst, f"NaN or inf stand at {int(apart.sum())} different places"
            )
        found = _largest([np.where(odd, 0.0, first), np.where(odd, 0.0, second)], allowed, pair)
        assert found is not None
    return _told(output, left, right, allowed, times, found[0])


def _told(output: int, left: np.ndarray, right: np.ndarray, allowed: np.ndarray, times: float, found: _Found) -> Comparison:
    ratio, index, count = found
    ratio = math.inf if ratio > 0 and not allowed[index] else ratio
    worst = Worst(output, index, (float(left[index]), float(right[index])), times * float(allowed[index]))
    return Comparison(count == 0, count, left.size, ratio, worst)


def compare_three(
    first: np.ndarray, second: np.ndarray, third: np.ndarray, allowed: np.ndarray
) -> tuple[Comparison, Comparison, Comparison] | None:
    """What ``compare`` gives of first and second, of second and third, and of first and third against twice ``allowed``, in one pass.

    None where the three are not of one shape, or NaN or inf stand in one: ``compare`` then says what of a pair.
    """
    if not (first.shape == second.shape == third.shape == allowed.shape) or not first.size:
        return None
    pairs = [(0, 1, 1.0), (1, 2, 1.0), (0, 2, 2.0)]
    arrays = (first, second, third)
    found = _largest(arrays, allowed, pairs)
    if found is None:
        return None
    one, two, three = (
        _told(0, arrays[left], arrays[right], allowed, times, each) for (left, right, times), each in zip(pairs, found, strict=True)
    )
    return one, two, three


def identical(values: Sequence[np.ndarray | None], allowed: Sequence[np.ndarray]) -> Comparison:
    """What ``compare`` gives for outputs that are equal bit for bit."""
    first = next(value for value in values if value is not None)
    index = (0,) * first.ndim
    worst = Worst(0, index, (float(first[index]), float(first[index])), float(allowed[0][index]))
    return Comparison(True, 0, sum(value.size for value in values if value is not None), 0.0, worst)


def compare(
    left: Sequence[np.ndarray | None], right: Sequence[np.ndarray | None], allowed: Sequence[np.ndarray], times: float = 1.0
) -> Comparison:
    """Compares output by output against so many ``times`` of ``allowed``; an output that is None on one side was left out by the user."""
    if len(left) != len(right):
        return Comparison(False, 0, 0, math.inf, None, f"{len(left)} outputs against {len(right)}")
    parts = [
        _one(output, one, other, slack, times)
        for output, (one, other, slack) in enumerate(zip(left, right, allowed, strict=True))
        if one is not None and other is not None
    ]
    if not parts:
        return Comparison(False, 0, 0, math.nan, None, "no output to compare")
    worst = max(parts, key=lambda part: part.ratio)
    return Comparison(
        all(part.ok for part in parts),
        sum(part.count for part in parts),
        sum(part.size for part in parts),
        worst.ratio,
        worst.worst,
        worst.reason,
    )
