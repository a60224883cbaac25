"""Two parties' outputs side by side: shape first, then the places of NaN and inf, then values against the allowance.

Nothing is broadcast, transposed, sorted or skipped: a shape that differs is a divergence with its own sentence.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe.blocks import blocks

__all__ = ["PARTIES", "Comparison", "Worst", "compare", "identical"]

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


def _largest(left: np.ndarray, right: np.ndarray, allowed: np.ndarray, times: float) -> tuple[float, tuple[int, ...], int] | None:
    """(the largest error / allowance with 0 / 0 = 0, its index, how many exceed 1); None where NaN or inf stand in a value."""
    best, count = -1.0, 0
    found: tuple[int, Callable[[int], tuple[int, ...]]] | None = None
    with np.errstate(all="ignore"):
        for (first, second, slack), locate in blocks(left, right, allowed):
            narrow = first.dtype == second.dtype == np.float32
            ratio = (first - second).astype(np.float64) if narrow else np.subtract(first, second, dtype=np.float64)
            ratio /= slack if slack.flat[0] else slack + _TINIEST
            largest = max(float(ratio.max()), -float(ratio.min())) / times
            if not largest < math.inf:
                if not (np.isfinite(first).all() and np.isfinite(second).all()):
                    return None
                # An allowance of 0, or one that is NaN, allows nothing but equality.
                ratio = np.where(first == second, 0.0, ratio)
                ratio[np.isnan(ratio)] = math.inf
                largest = max(float(ratio.max()), -float(ratio.min())) / times
            if largest > 1:
                count += int((np.abs(ratio) > times).sum())
            if largest > best:
                best, found = largest, (int(np.argmax(np.abs(ratio))), locate)
    assert found is not None
    return best, found[1](found[0]), count


def _one(output: int, left: np.ndarray, right: np.ndarray, allowed: np.ndarray, times: float) -> Comparison:
    if left.shape != right.shape:
        return Comparison(False, left.size, left.size, math.inf, None, f"shapes differ: {left.shape} and {right.shape}")
    if not left.size:
        return Comparison(True, 0, 0, 0.0, None)
    if allowed.shape != left.shape:
        allowed = np.array(np.broadcast_to(allowed, left.shape))
    found = _largest(left, right, allowed, times)
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
        found = _largest(np.where(odd, 0.0, first), np.where(odd, 0.0, second), allowed, times)
        assert found is not None
    ratio, index, count = found
    ratio = math.inf if ratio > 0 and not allowed[index] else ratio
    worst = Worst(output, index, (float(left[index]), float(right[index])), times * float(allowed[index]))
    return Comparison(count == 0, count, left.size, ratio, worst)


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
