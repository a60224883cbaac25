"""Two parties' outputs side by side: shape first, then the places of NaN and inf, then values against the allowance.

Nothing is broadcast, transposed, sorted or skipped: a shape that differs is a divergence with its own sentence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PARTIES", "Comparison", "Worst", "compare"]

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


def _ratio(error: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """error / allowed with 0 / 0 = 0."""
    with np.errstate(all="ignore"):
        ratio = error / allowed
    return np.where(error == 0, 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def _one(output: int, left: np.ndarray, right: np.ndarray, allowed: np.ndarray) -> Comparison:
    if left.shape != right.shape:
        return Comparison(False, left.size, left.size, math.inf, None, f"shapes differ: {left.shape} and {right.shape}")
    if not left.size:
        return Comparison(True, 0, 0, 0.0, None)
    first, second = np.asarray(left, np.float64), np.asarray(right, np.float64)
    odd = ~(np.isfinite(first) & np.isfinite(second))
    if odd.any():
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        apart = odd & ~same
        if apart.any():
            index = tuple(int(i) for i in np.argwhere(apart)[0])
            worst = Worst(output, index, (float(first[index]), float(second[index])), float(allowed[index]))
            return Comparison(
                False, int(apart.sum()), left.size, math.inf, worst, f"NaN or inf stand at {int(apart.sum())} different places"
            )
        first, second = np.where(odd, 0.0, first), np.where(odd, 0.0, second)
    error = np.abs(first - second)
    ratio = _ratio(error, allowed)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
    count = int((ratio > 1).sum())
    worst = Worst(output, index, (float(left[index]), float(right[index])), float(allowed[index]))
    return Comparison(count == 0, count, left.size, float(ratio[index]), worst)


def compare(left: Sequence[np.ndarray | None], right: Sequence[np.ndarray | None], allowed: Sequence[np.ndarray]) -> Comparison:
    """Compares output by output against ``allowed``; an output that is None on one side was left out by the user."""
    if len(left) != len(right):
        return Comparison(False, 0, 0, math.inf, None, f"{len(left)} outputs against {len(right)}")
    parts = [
        _one(output, one, other, slack)
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
