"""Integer sums brought to the codes of a tensor: TensorFlow Lite's fixed-point multiplications, one
by each way of rounding, and XNNPACK's in float32."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, spread
from probe.ops.contributions import Contributions, Stage, Terms

__all__ = ["ROUNDINGS", "Requantize", "SubtractZeroPoint", "fixed_point", "moved_by_slack"]

ROUNDINGS = {
    "double": "rounded twice: the product with 31 bits, then the shift, halves away from zero",
    "up": "rounded twice: the product with 31 bits, then the shift, halves up",
    "single": "rounded once, halves up",
    "fp32": "multiplied in float32 and rounded once, halves to even",
    "reduced": "multiplied with 16 bits and rounded once, halves up",
}
"""The ways of rounding, and what they do in words."""
_INT64, _FLOAT32 = 7, 1
"""Of onnx.TensorProto."""


def fixed_point(scale: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Multiplier and shift of scales: scale = multiplier * 2^(shift - 31), the multiplier rounded
    half away from zero to 31 bits (TensorFlow Lite's QuantizeMultiplier)."""
    fraction, shift = np.frexp(np.asarray(scale, np.float64))
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    full = multiplier == 1 << 31
    multiplier, shift = np.where(full, 1 << 30, multiplier), shift.astype(np.int64) + full
    small = shift < -31
    return np.where(small, 0, multiplier), np.where(small, 0, shift)


def _whole(x: np.ndarray) -> np.ndarray:
    """Numbers that are whole, in int64."""
    if x.dtype.kind == "f":
        return np.nan_to_num(np.rint(x), nan=0.0, posinf=2.0**62, neginf=-(2.0**62)).astype(
            np.int64
        )
    return x.astype(np.int64, copy=False)


def moved_by_slack(f: Callable[[np.ndarray], np.ndarray], of: Evaluated) -> np.ndarray:
    """How far what is off in an input moves codes, which are themselves exact."""
    (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
    if slack is None:
        return np.zeros(y.shape)
    return spread(f, x.astype(np.float64), y, slack).astype(np.float64)


@dataclass(frozen=True, eq=False)
class SubtractZeroPoint(Elementwise):
    """The code less the zero point."""

    zero_point: int
    roundings = 0

    def summary(self, inputs: Arrays) -> str:
        return f"the code less the zero point {self.zero_point}"

    def f(self, x: np.ndarray) -> np.ndarray:
        return _whole(x) - self.zero_point

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        whole = graph.op("Cast", inputs[0], to=_INT64)
        return (graph.op("Sub", whole, graph.const(self.zero_point)),)


@dataclass(frozen=True, eq=False)
class Requantize(Elementwise):
    """clip(round(x * scale) + zero_point, low, high), where the scale is in fixed point:
    multiplier * 2^(shift - 31).

    ``multiplier``, ``shift`` and ``factor``, what the rounding fp32 multiplies by, broadcast
    against x. (double: gemmlowp's fixedpoint.h; up: ruy's apply_multiplier.cc on x86; single:
    TensorFlow Lite with TFLITE_SINGLE_ROUNDING; fp32: XNNPACK's qs8-requantization; reduced:
    MultiplyByQuantizedMultiplier of 64-bit sums, lite/kernels/internal/common.h.)
    """

    multiplier: np.ndarray
    shift: np.ndarray
    factor: np.ndarray
    zero_point: int
    low: int
    high: int
    rounding: str = "double"
    quantizes = True
    roundings = 0

    @property
    def pointwise(self) -> bool:
        return np.size(self.multiplier) == 1

    def f(self, x: np.ndarray) -> np.ndarray:
        whole = _whole(x)
        if self.rounding == "fp32":
            with np.errstate(over="ignore"):
                product = whole.astype(np.float32) * np.asarray(self.factor, np.float32)
            bounds = np.float32(self.low - self.zero_point), np.float32(self.high - self.zero_point)
            return np.rint(np.clip(product, *bounds)).astype(np.int64) + self.zero_point
        rounded = _FIXED_POINT[self.rounding](whole, self.multiplier, self.shift)
        return np.clip(rounded + self.zero_point, self.low, self.high)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = graph.op("Cast", inputs[0], to=_INT64)
        if self.rounding == "fp32":
            scaled = graph.op(
                "Mul",
                graph.op("Cast", x, to=_FLOAT32),
                graph.const(np.asarray(self.factor, np.float32)),
            )
            ends = (graph.const(float(end - self.zero_point)) for end in (self.low, self.high))
            near = graph.op("Cast", graph.op("Round", graph.op("Clip", scaled, *ends)), to=_INT64)
            return (graph.op("Add", near, graph.const(self.zero_point)),)
        rounded = self._rounded(graph, x)
        code = graph.op("Add", rounded, graph.const(self.zero_point))
        return (graph.op("Clip", code, graph.const(self.low), graph.const(self.high)),)

    def _rounded(self, graph: Graph, x: str) -> str:
        """Quotients by powers of two: floors of what is not negative, or by the remainder."""
        shift = np.asarray(self.shift, np.int64)
        if self.rounding in ("single", "reduced"):
            whole, bits = np.asarray(self.multiplier, np.int64), 31
            if self.rounding == "reduced":
                narrow = whole // (1 << 16) + whole // (1 << 15) % 2
                whole, bits = np.minimum(narrow, 0x7FFF), 15
            product = graph.op("Mul", x, graph.const(whole))
            return _floored(graph, product, _power(bits - shift))
        left = graph.op("Mul", x, graph.const(_power(np.maximum(shift, 0))))
        product = graph.op("Mul", left, graph.const(np.asarray(self.multiplier, np.int64)))
        unit = _power(np.maximum(-shift, 0))
        if self.rounding == "up":
            return _floored(graph, _floored(graph, product, np.asarray(1 << 31)), unit)
        negative = graph.op("Less", product, graph.const(0))
        nudge = graph.op("Where", negative, graph.const(1 - (1 << 30)), graph.const(1 << 30))
        high = graph.op("Div", graph.op("Add", product, nudge), graph.const(1 << 31))
        size = graph.op("Add", graph.op("Abs", high), graph.const(unit // 2))
        return graph.op("Mul", graph.op("Sign", high), graph.op("Div", size, graph.const(unit)))

    def summary(self, inputs: Arrays) -> str:
        if self.pointwise:
            by = self._words((0,) * np.ndim(self.multiplier))
        else:
            by = "times a multiplier of each channel"
        return f"{by}, {self._behind}"

    def _words(self, at: tuple[int, ...]) -> str:
        if self.rounding == "fp32":
            return f"times {float(np.asarray(self.factor)[at]):.9g}"
        multiplier, shift = (int(np.asarray(part)[at]) for part in (self.multiplier, self.shift))
        return f"times multiplier {multiplier} / 2^31, shift {shift}"

    @property
    def _behind(self) -> str:
        zero = f"plus the zero point {self.zero_point}, " if self.zero_point else ""
        return f"{ROUNDINGS[self.rounding]}, {zero}clamped to {self.low} … {self.high}"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        shape = np.shape(self.multiplier)
        own = tuple(
            i if size > 1 else 0 for i, size in zip(at[len(at) - len(shape) :], shape, strict=True)
        )
        words = f"Requantize: {self._words(own)}, {self._behind}"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


def _power(exponent: np.ndarray) -> np.ndarray:
    return np.asarray(np.int64(1) << exponent)


def _floored(graph: Graph, x: str, unit: np.ndarray) -> str:
    """x / unit, halves up."""
    raised = graph.op("Add", x, graph.const(unit // 2))
    rest = graph.op("Mod", raised, graph.const(unit))
    return graph.op("Div", graph.op("Sub", raised, rest), graph.const(unit))


def _high_part(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The product with the 31 bits, in units of 2^-31: halves up, since gemmlowp's nudge of a
    negative product is smaller by 1."""
    return ((x << np.maximum(shift, 0)) * multiplier + (1 << 30)) >> 31


def _double(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    high, right = _high_part(x, multiplier, shift), np.maximum(-shift, 0)
    mask = (np.int64(1) << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def _up(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    high, right = _high_part(x, multiplier, shift), np.maximum(-shift, 0)
    return (high + ((np.int64(1) << right) >> 1)) >> right


def _single(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (x * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift)


def _reduced(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    narrow = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    return (x * narrow + (np.int64(1) << (14 - shift))) >> (15 - shift)


_FIXED_POINT = {"double": _double, "up": _up, "single": _single, "reduced": _reduced}
