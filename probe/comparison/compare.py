"""Two parties' outputs side by side: shape first, then the places of NaN and inf, then values
against the allowance.

Nothing is broadcast, transposed, sorted or skipped: a shape that differs is a divergence with its
own sentence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.blocks import Locate, blocks

__all__ = [
    "PARTIES",
    "Comparison",
    "Worst",
    "compare",
    "identical",
    "tolerated",
]

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


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How two parties compare over all outputs of a layer."""

    ok: bool
    """Whether no element is beyond the allowance."""
    count: int
    """Elements beyond the allowance."""
    size: int
    """Elements compared."""
    ratio: float
    """The largest error in units of its allowance; inf where shapes, or the places of NaN or inf,
    differ."""
    worst: Worst | None
    """The element with the largest error in units of its allowance; None where shapes differ."""
    reason: str = ""
    """Why, where the comparison is not one of values."""
    certain: bool | None = None
    """Where values differ: True beyond what any order of rounding could do, False where it is
    merely improbable."""

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        if self.ok:
            if self.ratio:
                return f"agree; the largest difference is {self.ratio:.2g} x the allowance"
            return "equal"
        differ = f"{self.count} of {self.size} elements differ"
        return f"{differ}, by up to {self.ratio:.3g} x the allowance"

    def __repr__(self) -> str:
        return f"<Comparison {self}>"


_TINIEST = 1e-300
_BLOCK = 1 << 17

_LargestError = tuple[float, tuple[int, ...], int]
"""The largest error / allowance with 0 / 0 = 0, its index, and how many exceed what is allowed."""


def _largest(
    left: np.ndarray, right: np.ndarray, allowed: np.ndarray, times: float
) -> _LargestError | None:
    """None where NaN or inf stand in a value."""
    best, count = -1.0, 0
    place: tuple[int, Locate] | None = None
    with np.errstate(all="ignore"):
        for (first, second, slack), locate in blocks(left, right, allowed, size=_BLOCK):
            ratio = np.subtract(first, second, dtype=np.float64)
            ratio /= slack if slack.flat[0] else slack + np.float64(_TINIEST)
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
                best, place = largest, (int(np.argmax(np.abs(ratio))), locate)
    assert place is not None
    return best, place[1](place[0]), count


def _of_output(
    output: int, left: np.ndarray, right: np.ndarray, allowed: np.ndarray, times: float
) -> Comparison:
    if left.shape != right.shape:
        return Comparison(
            False,
            left.size,
            left.size,
            math.inf,
            None,
            f"shapes differ: {left.shape} and {right.shape}{_stretched(left, right)}",
        )
    if not left.size:
        return Comparison(True, 0, 0, 0.0, None)
    allowed = np.broadcast_to(allowed, left.shape)
    error = _largest(left, right, allowed, times)
    if error is None:
        first, second = np.asarray(left, np.float64), np.asarray(right, np.float64)
        odd = ~(np.isfinite(first) & np.isfinite(second))
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        apart = odd & ~same
        if apart.any():
            index = tuple(int(i) for i in np.argwhere(apart)[0])
            worst = Worst(
                output,
                index,
                (float(first[index]), float(second[index])),
                times * float(allowed[index]),
            )
            return Comparison(
                False,
                int(apart.sum()),
                left.size,
                math.inf,
                worst,
                f"the positions of NaN or inf differ at {apart.sum():,} of {apart.size:,} elements",
            )
        error = _largest(np.where(odd, 0.0, first), np.where(odd, 0.0, second), allowed, times)
        assert error is not None
    return _of_largest(output, left, right, allowed, times, error)


def _of_largest(
    output: int,
    left: np.ndarray,
    right: np.ndarray,
    allowed: np.ndarray,
    times: float,
    error: _LargestError,
) -> Comparison:
    ratio, index, count = error[0], tuple(map(int, error[1])), error[2]
    if ratio > 0 and not allowed[index]:
        ratio = math.inf
    worst = Worst(
        output, index, (float(left[index]), float(right[index])), times * float(allowed[index])
    )
    return Comparison(count == 0, count, left.size, ratio, worst)


def _stretched(left: np.ndarray, right: np.ndarray) -> str:
    """What would have hidden the difference, where something would."""
    try:
        shape = np.broadcast_shapes(left.shape, right.shape)
    except ValueError:
        return ""
    return f"; NumPy and Keras losses would silently broadcast both to {shape}"


def identical(values: Sequence[np.ndarray | None], allowed: Sequence[np.ndarray]) -> Comparison:
    """What ``compare`` gives for outputs that are equal bit for bit."""
    first = next(value for value in values if value is not None)
    index = (0,) * first.ndim
    worst = Worst(0, index, (float(first[index]), float(first[index])), float(allowed[0][index]))
    return Comparison(True, 0, sum(value.size for value in values if value is not None), 0.0, worst)


def compare(
    left: Sequence[np.ndarray | None],
    right: Sequence[np.ndarray | None],
    allowed: Sequence[np.ndarray],
    times: float = 1.0,
) -> Comparison:
    """Compares output by output against so many ``times`` of ``allowed``; an output that is None on
    one side was left out by the user."""
    if len(left) != len(right):
        return Comparison(
            False,
            0,
            0,
            math.inf,
            None,
            f"the number of outputs differs: {len(left)} and {len(right)}",
        )
    parts = [
        _of_output(output, first, second, slack, times)
        for output, (first, second, slack) in enumerate(zip(left, right, allowed, strict=True))
        if first is not None and second is not None
    ]
    if not parts:
        return Comparison(False, 0, 0, math.nan, None, "there is no output to compare")
    worst = max(parts, key=lambda part: part.ratio)
    return Comparison(
        all(part.ok for part in parts),
        sum(part.count for part in parts),
        sum(part.size for part in parts),
        worst.ratio,
        worst.worst,
        worst.reason,
    )


def tolerated(
    values: Sequence[np.ndarray | None], tolerance: tuple[float, float]
) -> tuple[np.ndarray, ...]:
    """What rtol and atol allow: atol + rtol * abs(value)."""
    rtol, atol = tolerance
    return tuple(
        np.zeros(()) if value is None else atol + rtol * np.abs(np.asarray(value, np.float64))
        for value in values
    )
