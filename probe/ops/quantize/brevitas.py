"""Quantisers to integers, to small floats and to a sign: the arithmetic of Brevitas, operation by
operation.

(brevitas/core/quant/int_base.py, float.py, binary.py and ternary.py, 0.13.)
"""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero

__all__ = ["FloatQuantize", "IntQuantize", "SignQuantize"]


@dataclass(frozen=True, eq=False)
class IntQuantize(Elementwise):
    """(clip(round(x / size + zero_point), low, high) - zero_point) * size; ``size`` and
    ``zero_point`` broadcast against x.

    ``rounding``: "even" (halves to even), "floor", "ceil", "zero" (towards zero) or "up" (negative
    halves up, positive ones to even). ``before``: scale and zero point that x is divided by and
    shifted with, where they are others.
    """

    size: np.ndarray
    zero_point: np.ndarray
    low: int
    high: int
    rounding: str = "even"
    before: tuple[np.ndarray, np.ndarray] | None = None
    jumps = True

    @property
    def pointwise(self) -> bool:
        return all(
            np.size(part) == 1 for part in (self.size, self.zero_point, *(self.before or ()))
        )

    @property
    def levels(self) -> int:
        return self.high - self.low + 1

    @property
    def _divided(self) -> tuple[np.ndarray, np.ndarray]:
        return self.before or (self.size, self.zero_point)

    def summary(self, inputs: Arrays) -> str:
        if not self.pointwise:
            return f"to {self.levels} levels, with a step per channel"
        zero, scale = float(np.ravel(self.zero_point)[0]), float(np.ravel(self.size)[0])
        ends = f"from {(self.low - zero) * scale:g} to {(self.high - zero) * scale:g}"
        way = {
            "even": "",
            "floor": ", rounded down",
            "ceil": ", rounded up",
            "zero": ", truncated towards zero",
            "up": ", negative halves rounded up",
        }
        return (
            f"to {self.levels} levels with step {scale:g}, {ends}"
            + (f", zero point {zero:g}" if zero else "")
            + way[self.rounding]
        )

    def shifted(self, x: np.ndarray) -> np.ndarray:
        """The level of each value before it is rounded and clipped."""
        return _divided(x, *self._divided)

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """Which of these values lie beyond the levels."""
        codes = _rounded(self.shifted(x), self.rounding)
        return (codes < self.low) | (codes > self.high)

    def f(self, x: np.ndarray) -> np.ndarray:
        scale, zero = (np.asarray(part).astype(x.dtype) for part in (self.size, self.zero_point))
        codes = np.clip(
            _rounded(self.shifted(x), self.rounding),
            x.dtype.type(self.low),
            x.dtype.type(self.high),
        )
        return (codes - zero) * scale

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        by, shift = (graph.const(part) for part in self._divided)
        codes = _emitted(
            graph, graph.op("Add", graph.op("Div", inputs[0], by), shift), self.rounding
        )
        inside = graph.op(
            "Max",
            graph.op("Min", codes, graph.const(float(self.high))),
            graph.const(float(self.low)),
        )
        return (
            graph.op(
                "Mul", graph.op("Sub", inside, graph.const(self.zero_point)), graph.const(self.size)
            ),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        by, shift = self._divided
        with np.errstate(all="ignore"):
            moved = precision.unit * (
                2 * np.abs(x) + 2 * np.abs(np.multiply(shift, by)) * (np.asarray(shift) != 0)
            )
            moved = np.where(np.isfinite(moved), moved, 0.0)
        wander = spread(self.f, x, y, moved + or_zero(slack))
        own = 2 * precision.unit * (np.abs(y) + np.abs(np.multiply(self.zero_point, self.size)))
        return (wander + np.where(np.isfinite(own), own, 0.0) + precision.tiny,)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        scale, zero = (
            float(np.broadcast_to(part, outputs[0].shape)[at])
            for part in (self.size, self.zero_point)
        )
        value = float(outputs[0][at])
        level = ""
        if np.isfinite(value):
            level = f"; level {round(value / scale + zero)}"
        return Contributions(
            (Terms(np.array([at], int)),),
            (Stage(f"{type(self).__name__}: {self.summary(inputs)}{level}", value),),
        )


def _divided(x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """x / scale + zero, of a value that the scale's own precision holds in that precision.

    What comes in as it is then falls to the level that the layer takes it to, at a threshold too.
    """
    scale, zero = np.asarray(scale), np.asarray(zero)
    with np.errstate(all="ignore"):
        narrow = x.astype(scale.dtype, copy=False)
        level = (narrow / scale + zero).astype(x.dtype)
        if narrow.dtype == x.dtype:
            return level
        return np.where(narrow == x, level, x / scale.astype(x.dtype) + zero.astype(x.dtype))


def _rounded(level: np.ndarray, rounding: str) -> np.ndarray:
    match rounding:
        case "floor":
            return np.floor(level)
        case "ceil":
            return np.ceil(level)
        case "zero":
            return np.trunc(level)
        case "up":
            return np.where(
                (level < 0) & (level - np.floor(level) == 0.5), np.ceil(level), np.rint(level)
            )
    return np.rint(level)


def _emitted(graph: Graph, level: str, rounding: str) -> str:
    """``level`` rounded, as nodes of ONNX."""
    match rounding:
        case "floor":
            return graph.op("Floor", level)
        case "ceil":
            return graph.op("Ceil", level)
        case "zero":
            return graph.op(
                "Mul", graph.op("Sign", level), graph.op("Floor", graph.op("Abs", level))
            )
        case "up":
            half = graph.op(
                "Equal", graph.op("Sub", level, graph.op("Floor", level)), graph.const(0.5)
            )
            below = graph.op("And", graph.op("Less", level, graph.const(0.0)), half)
            return graph.op("Where", below, graph.op("Ceil", level), graph.op("Round", level))
    return graph.op("Round", level)


@dataclass(frozen=True, eq=False)
class FloatQuantize(Elementwise):
    """x / size rounded to ``mantissa`` bits behind its first one, not finer than 2**lowest, clipped
    from low to high, times size.

    Half to even. What is infinite becomes NaN: it is divided by a step that is infinite too.
    """

    size: np.ndarray
    mantissa: int
    lowest: int
    low: float
    high: float
    jumps = True

    @property
    def pointwise(self) -> bool:
        return np.size(self.size) == 1

    def summary(self, inputs: Arrays) -> str:
        if self.pointwise:
            scale = f"in units of {float(np.ravel(self.size)[0]):g}"
        else:
            scale = "in units per channel"
        return (
            f"to floats with {self.mantissa} mantissa bits from {self.low:g} to "
            f"{self.high:g}, smallest step 2**{self.lowest}, {scale}"
        )

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """Which of these values lie beyond the floats."""
        level = self._floats(x)
        return (level < self.low) | (level > self.high)

    def _floats(self, x: np.ndarray) -> np.ndarray:
        ratio = _divided(x, self.size, np.zeros((), np.asarray(self.size).dtype))
        with np.errstate(all="ignore"):
            step = np.exp2(
                np.maximum(np.frexp(ratio)[1] - 1.0 - self.mantissa, self.lowest)
            ).astype(x.dtype)
            return np.where(np.isinf(ratio), x.dtype.type(np.nan), np.rint(ratio / step) * step)

    def f(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.clip(
                self._floats(x), x.dtype.type(self.low), x.dtype.type(self.high)
            ) * np.asarray(self.size).astype(x.dtype)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        size = graph.const(self.size)
        ratio = graph.op("Div", inputs[0], size)
        log = graph.op(
            "Mul", graph.op("Log", graph.op("Abs", ratio)), graph.const(float(1 / np.log(2)))
        )
        # Beside a power of two the logarithm may fall on either side: what is rounded there comes
        # to the power with either step.
        exponent = graph.op("Sub", graph.op("Floor", log), graph.const(float(self.mantissa)))
        step = graph.op(
            "Pow", graph.const(2.0), graph.op("Max", exponent, graph.const(float(self.lowest)))
        )
        level = graph.op("Mul", graph.op("Round", graph.op("Div", ratio, step)), step)
        inside = graph.op(
            "Max",
            graph.op("Min", level, graph.const(float(self.high))),
            graph.const(float(self.low)),
        )
        return (graph.op("Mul", inside, size),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        with np.errstate(all="ignore"):
            moved = np.where(np.isfinite(x), 2 * precision.unit * np.abs(x), 0.0)
            own = np.where(np.isfinite(y), 2 * precision.unit * np.abs(y), 0.0)
        return (spread(self.f, x, y, moved + or_zero(slack)) + own + precision.tiny,)


@dataclass(frozen=True, eq=False)
class SignQuantize(Elementwise):
    """The sign of x times ``size``, with 0 taken for positive; with ``threshold``: 0 where |x| is
    not above threshold * size."""

    size: np.ndarray
    threshold: float | None = None
    jumps = True

    @property
    def pointwise(self) -> bool:
        return np.size(self.size) == 1

    @property
    def levels(self) -> int:
        if self.threshold is None:
            return 2
        return 3

    def summary(self, inputs: Arrays) -> str:
        if self.pointwise:
            times = f"times {float(np.ravel(self.size)[0]):g}"
        else:
            times = "times a scale per channel"
        return f"the sign, {times}" + (
            "" if self.threshold is None else f", 0 for magnitudes up to {self.threshold:g} of it"
        )

    def f(self, x: np.ndarray) -> np.ndarray:
        scale = np.asarray(self.size).astype(x.dtype)
        if self.threshold is None:
            return np.where(x >= 0, scale, -scale)
        # The bound is a product in the scale's own precision.
        bound = (np.asarray(self.size) * np.asarray(self.size).dtype.type(self.threshold)).astype(
            x.dtype
        )
        return (np.abs(x) > bound) * np.sign(x) * scale

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,), scale = inputs, graph.const(self.size)
        if self.threshold is None:
            return (
                graph.op(
                    "Where",
                    graph.op("GreaterOrEqual", x, graph.const(0.0)),
                    scale,
                    graph.op("Neg", scale),
                ),
            )
        bound = graph.op("Mul", scale, graph.const(float(self.threshold)))
        sign = graph.op(
            "Where",
            graph.op("Greater", graph.op("Abs", x), bound),
            graph.op("Sign", x),
            graph.const(0.0),
        )
        return (graph.op("Mul", sign, scale),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = np.zeros(x.shape) if slack is None else slack
        if self.threshold is not None:
            moved = moved + 2 * precision.unit * np.abs(x)
        if moved.any():
            wander = spread(self.f, x, y, moved)
        else:
            wander = np.zeros(y.shape)
        return (wander + 2 * precision.unit * np.abs(y) + precision.tiny,)
