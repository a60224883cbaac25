"""Functions of codes as TensorFlow Lite's kernels compute them: from tables that float32 fills, or
in fixed point."""

from dataclasses import dataclass

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op
from probe.ops.elementwise.activation import Gelu
from probe.ops.quantize.gemmlowp import (
    exp_on_negative_values,
    logistic,
    reciprocal,
    rounded_quotient,
    tanh,
    times,
)
from probe.ops.quantize.requantize import fixed_point, moved_by_slack

__all__ = ["FunctionOfCodes", "HardSwishOfCodes", "SoftmaxOfCodes"]

_INT64, _FLOAT32, _FLOAT64 = 7, 1, 11
"""Of onnx.TensorProto."""
_GELU = {"Gelu": "none", "Gelu, tanh": "tanh"}
"""The name of a function -> how it is approximated."""


@dataclass(frozen=True, eq=False)
class FunctionOfCodes(Elementwise):
    """Codes of a function of what the input's codes stand for, one for each of the 256 codes.

    ``function`` is Sigmoid, Tanh, Elu or Gelu (Gelu, tanh its other form); ``by`` says how kernels
    fill the table: float32 (TensorFlow Lite's LUTPopulate) or gemmlowp, 31 bits of fixed point
    (TFLM). ``rounding`` is "away", halves away from zero, or "even", halves to even once the zero
    point is added (XNNPACK).
    """

    function: str
    step: float
    zero_point: int
    out_step: float
    out_zero_point: int
    low: int
    high: int
    by: str = "float32"
    rounding: str = "away"
    quantizes = True
    roundings = 0

    def summary(self, inputs: Arrays) -> str:
        way = "in float32" if self.by == "float32" else "in fixed point of 31 bits"
        return (
            f"{self.function} of (code - {self.zero_point}) * {self.step:g}, {way}, to codes in "
            f"steps of {self.out_step:g}, zero point {self.out_zero_point}"
        )

    def f(self, x: np.ndarray) -> np.ndarray:
        whole = np.rint(x).astype(np.int64) - self.zero_point
        if self.by == "gemmlowp":
            return self._in_fixed_point(whole)
        numbers = whole.astype(np.float32) * np.float32(self.step)
        share = _in_float32(self.function, numbers) * (np.float32(1) / np.float32(self.out_step))
        if self.rounding == "even":
            code = np.rint(share + np.float32(self.out_zero_point))
        else:
            half = np.copysign(np.float32(0.5), share).astype(np.float64)
            code = np.trunc(share + half) + self.out_zero_point
        return np.clip(code, self.low, self.high).astype(np.int64)

    def _in_fixed_point(self, whole: np.ndarray) -> np.ndarray:
        """With 4 integer bits; beyond their reach the ends."""
        multiplier, shift = fixed_point(float(np.float32(self.step)) * 2.0**27)
        radius = int(np.floor(15.0 * 2.0**27 / 2.0 ** int(shift)))
        inside = np.clip(whole, 1 - radius, radius - 1)
        scaled = times(inside << int(shift), int(multiplier))
        function = logistic if self.function == "Sigmoid" else tanh
        code = rounded_quotient(function(scaled, 4), 23 if self.function == "Sigmoid" else 24)
        code = np.where(np.abs(whole) >= radius, np.where(whole > 0, 1 << 8, -(1 << 8)), code)
        return np.clip(code + self.out_zero_point, self.low, self.high)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """In double precision; of float32 with each of its roundings."""
        whole = graph.op(
            "Sub", graph.op("Cast", inputs[0], to=_INT64), graph.const(self.zero_point)
        )
        step = graph.const(np.float32(self.step))
        if self.by == "gemmlowp":
            wide = graph.op("Cast", step, to=_FLOAT64)
            x = graph.op("Mul", graph.op("Cast", whole, to=_FLOAT64), wide)
            value = graph.op(self.function, x)
            unit = graph.op("Cast", graph.const(1 / self.out_step), to=_FLOAT64)
            share = graph.op("Mul", value, unit)
        else:
            x = graph.op("Mul", graph.op("Cast", whole, to=_FLOAT32), step)
            value = self._narrow(graph, x)
            unit = graph.const(np.float32(1) / np.float32(self.out_step))
            share = graph.op("Mul", value, unit)
        code = self._code(graph, share)
        return (graph.op("Clip", code, graph.const(self.low), graph.const(self.high)),)

    def _code(self, graph: Graph, share: str) -> str:
        """Of a number in steps."""
        if self.rounding == "even":
            moved = graph.op("Add", share, graph.const(np.float32(self.out_zero_point)))
            return graph.op("Cast", graph.op("Round", moved), to=_INT64)
        half = graph.op("Cast", graph.const(0.5), to=_FLOAT64)
        wide = graph.op("Cast", share, to=_FLOAT64)
        near = graph.op("Floor", graph.op("Add", graph.op("Abs", wide), half))
        signed = graph.op("Cast", graph.op("Mul", graph.op("Sign", wide), near), to=_INT64)
        return graph.op("Add", signed, graph.const(self.out_zero_point))

    def _narrow(self, graph: Graph, x: str) -> str:
        if self.function in _GELU:
            return graph.op("Gelu", x, approximate=_GELU[self.function])
        wide = graph.op("Cast", x, to=_FLOAT64)
        if self.function == "Tanh":
            return graph.op("Cast", graph.op("Tanh", wide), to=_FLOAT32)
        unit = graph.const(1.0)
        if self.function == "Elu":
            below = graph.op("Sub", graph.op("Exp", wide), graph.op("Cast", unit, to=_FLOAT64))
            negative = graph.op("Less", x, graph.const(0.0))
            return graph.op("Where", negative, graph.op("Cast", below, to=_FLOAT32), x)
        power = graph.op("Cast", graph.op("Exp", graph.op("Neg", wide)), to=_FLOAT32)
        return graph.op("Div", unit, graph.op("Add", unit, power))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


def _in_float32(function: str, x: np.ndarray) -> np.ndarray:
    """The functions as C computes them in float32, whose exp and tanh err by half a unit."""
    wide = x.astype(np.float64)
    if function in _GELU:
        return Gelu(approximate=_GELU[function]).f(wide).astype(np.float32)
    if function == "Tanh":
        return np.tanh(wide).astype(np.float32)
    if function == "Elu":
        return np.where(x < 0, np.expm1(np.minimum(wide, 0)).astype(np.float32), x)
    with np.errstate(over="ignore"):
        power = np.exp(-wide).astype(np.float32)
    share: np.ndarray = np.float32(1) / (np.float32(1) + power)
    return share


@dataclass(frozen=True, eq=False)
class SoftmaxOfCodes(Op):
    """Codes of the softmax along the last axis of what the input's codes stand for.

    ``by`` is float32 (a table of exp, TensorFlow Lite's optimised kernel) or gemmlowp, 31 bits of
    fixed point (its reference kernel, and TFLM).
    """

    step: float
    beta: float
    out_step: float
    out_zero_point: int
    low: int
    high: int
    by: str = "float32"
    quantizes = True

    def summary(self, inputs: Arrays) -> str:
        way = "in float32" if self.by == "float32" else "in fixed point of 31 bits"
        return f"softmax over {inputs[0].shape[-1]} codes in steps of {self.step:g}, {way}"

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        whole = np.rint(inputs[0]).astype(np.int64)
        below = whole - whole.max(axis=-1, keepdims=True)
        if self.by == "gemmlowp":
            return (self._in_fixed_point(below),)
        scale = np.float32(-(np.float32(self.step) * np.float32(self.beta)))
        share = (np.float32(-1) * scale * below.astype(np.float32)).astype(np.float64)
        powers = np.exp(share).astype(np.float32)
        total = np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:]  # one after another
        unit = np.float32(1) / (total * np.float32(self.out_step))
        near = np.rint((powers * unit).astype(np.float32)).astype(np.int64)
        return (np.clip(near + self.out_zero_point, self.low, self.high),)

    def _in_fixed_point(self, below: np.ndarray) -> np.ndarray:
        """The differences with 5 integer bits, their sum with 12."""
        scale = min(
            float(np.float32(self.beta)) * float(np.float32(self.step)) * 2.0**26, 2.0**31 - 1
        )
        multiplier, shift = fixed_point(scale)
        least = -int(np.floor(31.0 * 2.0**26 / 2.0 ** int(shift)))
        inside = below >= least
        scaled = times(np.maximum(below, least) << int(shift), int(multiplier))
        powers = exp_on_negative_values(scaled, 5)
        total = np.where(inside, rounded_quotient(powers, 12), 0).sum(axis=-1, keepdims=True)
        inverse, over = reciprocal(total, 12)
        bits = 8 if self.high < 256 else 16
        code = rounded_quotient(times(inverse, powers), over + 31 - bits) + self.low
        return np.where(inside, np.clip(code, self.low, self.high), self.low)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """In double precision; of float32 with each of its roundings but those of the sum."""
        if self.by == "gemmlowp" and self.high > 255:
            raise Undescribed("a softmax of 16 bits in fixed point has no form in ONNX here")
        whole = graph.op("Cast", inputs[0], to=_INT64)
        below = graph.op("Sub", whole, graph.op("ReduceMax", whole, graph.const([-1])))
        step = np.float32(self.step) * np.float32(self.beta)
        scale = graph.op("Cast", graph.const(step), to=_FLOAT64)
        x = graph.op("Mul", graph.op("Cast", below, to=_FLOAT64), scale)
        if self.by == "float32":
            x = graph.op("Cast", graph.op("Cast", x, to=_FLOAT32), to=_FLOAT64)
        powers = graph.op("Exp", x)
        if self.by == "float32":
            powers = graph.op("Cast", graph.op("Cast", powers, to=_FLOAT32), to=_FLOAT64)
        total = graph.op("ReduceSum", powers, graph.const([-1]))
        unit = graph.op("Cast", graph.const(1 / self.out_step), to=_FLOAT64)
        share = graph.op("Mul", graph.op("Div", powers, total), unit)
        near = graph.op("Cast", graph.op("Round", share), to=_INT64)
        code = graph.op("Add", near, graph.const(self.out_zero_point))
        return (graph.op("Clip", code, graph.const(self.low), graph.const(self.high)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return (np.full(of.outputs[0].shape, float(self.high - self.low)),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=-1, keepdims=True), mask.shape),)


@dataclass(frozen=True, eq=False)
class HardSwishOfCodes(Elementwise):
    """Codes of x * relu6(x + 3) / 6, of codes less the zero point, with 16 bits of fixed point
    (reference_ops::HardSwish)."""

    step: float
    out_step: float
    zero_point: int
    low: int
    high: int
    quantizes = True
    roundings = 0

    def multipliers(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Multiplier of 15 bits and exponent, of the output and of the gate."""
        fine = np.float32(1 / 128) * np.float32(self.step)
        scales = fine / np.float32(self.out_step), fine / np.float32(3 / 32768)
        return tuple(map(_of_15_bits, scales))  # type: ignore[return-value]

    def f(self, x: np.ndarray) -> np.ndarray:
        fine = np.rint(x).astype(np.int64) * 128
        (outer, shift), (inner, exponent) = self.multipliers()
        value = times(fine, outer, 15)
        gate = np.clip(fine << max(exponent - 1, 0), -32768, 32767)
        gate = times(gate, inner, 15)
        if exponent > 0:
            gate = np.clip(gate << 1, -32768, 32767)
        if exponent < 0:
            gate = rounded_quotient(gate, -exponent)
        gate = (gate + 32768) >> 1
        product = np.sign(gate * value) * (np.abs(gate * value) >> 15)
        code = rounded_quotient(product, max(-shift, 0)) + self.zero_point
        return np.clip(code, self.low, self.high)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (outer, shift), (inner, exponent) = self.multipliers()
        x = graph.op("Cast", inputs[0], to=_INT64)
        fine = graph.op("Mul", x, graph.const(128))
        ends = graph.const(-32768), graph.const(32767)
        value = _floor_quotient(graph, graph.op("Mul", fine, graph.const(outer)), 15)
        gate = graph.op(
            "Clip", graph.op("Mul", fine, graph.const(2 ** max(exponent - 1, 0))), *ends
        )
        gate = _floor_quotient(graph, graph.op("Mul", gate, graph.const(inner)), 15)
        if exponent > 0:
            gate = graph.op("Clip", graph.op("Mul", gate, graph.const(2)), *ends)
        if exponent < 0:
            gate = _away_quotient(graph, gate, -exponent)
        raised = graph.op("Div", graph.op("Add", gate, graph.const(32768)), graph.const(2))
        product = graph.op("Div", graph.op("Mul", raised, value), graph.const(32768))
        near = _away_quotient(graph, product, max(-shift, 0))
        code = graph.op("Add", near, graph.const(self.zero_point))
        return (graph.op("Clip", code, graph.const(self.low), graph.const(self.high)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


def _of_15_bits(scale: np.float32) -> tuple[int, int]:
    multiplier, shift = fixed_point(float(scale))
    return min((int(multiplier) + (1 << 15)) >> 16, 32767), int(shift)


def _floor_quotient(graph: Graph, x: str, bits: int) -> str:
    """x / 2^bits, halves up."""
    raised = graph.op("Add", x, graph.const(1 << (bits - 1)))
    unit = graph.const(1 << bits)
    return graph.op("Div", graph.op("Sub", raised, graph.op("Mod", raised, unit)), unit)


def _away_quotient(graph: Graph, x: str, bits: int) -> str:
    """x / 2^bits, halves away from zero."""
    size = graph.op("Add", graph.op("Abs", x), graph.const((1 << bits) // 2))
    return graph.op("Mul", graph.op("Sign", x), graph.op("Div", size, graph.const(1 << bits)))
