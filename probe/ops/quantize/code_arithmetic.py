"""What TensorFlow Lite does to codes besides multiplying them: quotients of whole numbers, and
floats brought to codes."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph
from probe.ops.quantize.requantize import moved_by_slack

__all__ = ["DivideRounded", "QuantizeFloat", "ScaleInFloat32"]

_INT64, _FLOAT32, _FLOAT64 = 7, 1, 11
"""Of onnx.TensorProto."""


def _quotient(x: np.ndarray, count: np.ndarray) -> np.ndarray:
    whole = np.rint(x).astype(np.int64)
    nearest: np.ndarray = np.sign(whole) * ((2 * np.abs(whole) + count) // (2 * count))
    return nearest


@dataclass(frozen=True, eq=False)
class DivideRounded(Elementwise):
    """x / count, whole numbers both, rounded half away from zero."""

    count: np.ndarray
    quantizes = True
    roundings = 0

    @property
    def pointwise(self) -> bool:
        return np.size(self.count) == 1

    def f(self, x: np.ndarray) -> np.ndarray:
        return _quotient(x, self.count)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """C's division cuts the fraction off."""
        x, half = graph.op("Cast", inputs[0], to=_INT64), graph.const(self.count // 2)
        raised = graph.op("Add", graph.op("Abs", x), half)
        quotient = graph.op("Div", raised, graph.const(self.count))
        return (graph.op("Mul", graph.op("Sign", x), quotient),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


@dataclass(frozen=True, eq=False)
class QuantizeFloat(Elementwise):
    """clip(round(x / step) + zero_point, low, high) of numbers in float32.

    ``rounding`` is "away", halves away from zero, or "even"; ``by`` says how x is brought to steps:
    "division" and "reciprocal" in float32, "wide division" in float64.
    """

    step: float
    zero_point: int
    low: int
    high: int
    rounding: str = "away"
    by: str = "division"
    quantizes = True
    roundings = 0

    @property
    def pointwise(self) -> bool:
        return False  # it gives integers, whatever it is given

    def summary(self, inputs: Arrays) -> str:
        ties = "halves away from zero" if self.rounding == "away" else "halves to even"
        zero = f", plus the zero point {self.zero_point}" if self.zero_point else ""
        way = "in float64" if self.by == "wide division" else f"by {self.by} in float32"
        return (
            f"to codes from {self.low} to {self.high} in steps of {self.step:g}, {way}, "
            f"{ties}{zero}"
        )

    def f(self, x: np.ndarray) -> np.ndarray:
        narrow, step = x.astype(np.float32), np.float32(self.step)
        with np.errstate(all="ignore"):
            if self.by == "reciprocal":
                share = (narrow * (np.float32(1) / step)).astype(np.float64)
            elif self.by == "division":
                share = (narrow / step).astype(np.float64)
            else:
                share = narrow.astype(np.float64) / np.float64(step)
            if self.rounding == "away":
                whole = _nearest_away(share)
            else:
                whole = np.rint(share)
            code = np.clip(whole + self.zero_point, self.low, self.high)
        return np.nan_to_num(code, nan=self.low).astype(np.int64)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        step, wide = np.float32(self.step), self.by == "wide division"
        if wide:
            divisor = graph.op("Cast", graph.const(step), to=_FLOAT64)
            share = graph.op("Div", graph.op("Cast", inputs[0], to=_FLOAT64), divisor)
        elif self.by == "reciprocal":
            share = graph.op("Mul", inputs[0], graph.const(np.float32(1) / step))
        else:
            share = graph.op("Div", inputs[0], graph.const(step))
        share = graph.op("Cast", share, to=_FLOAT64)
        if self.rounding == "away":
            whole = _rounded_away(graph, share)
        else:
            whole = graph.op("Round", share)
        ends = [
            graph.op("Cast", graph.const(float(end)), to=_FLOAT64)
            for end in (self.zero_point, self.low, self.high)
        ]
        code = graph.op("Clip", graph.op("Add", whole, ends[0]), *ends[1:])
        return (graph.op("Cast", code, to=_INT64),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


@dataclass(frozen=True, eq=False)
class ScaleInFloat32(Elementwise):
    """clip(round(x * factor + bias) + zero_point, low, high) in float32.

    ``rounding`` is "even", halves to even (XNNPACK, whose bias has the zero point in it), or
    "away", halves away from zero (TensorFlow Lite's optimised sum).
    """

    factor: float
    bias: float
    low: int
    high: int
    zero_point: int = 0
    rounding: str = "even"
    quantizes = True
    roundings = 0

    def f(self, x: np.ndarray) -> np.ndarray:
        product = x.astype(np.float32) * np.float32(self.factor) + np.float32(self.bias)
        if self.rounding == "away":
            near = _nearest_away(product.astype(np.float64))
        else:
            near = np.rint(product)
        return np.clip(near + self.zero_point, self.low, self.high).astype(np.int64)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        narrow = graph.op("Cast", inputs[0], to=_FLOAT32)
        product = graph.op("Mul", narrow, graph.const(np.float32(self.factor)))
        moved = graph.op("Add", product, graph.const(np.float32(self.bias)))
        if self.rounding == "away":
            near = _rounded_away(graph, graph.op("Cast", moved, to=_FLOAT64))
        else:
            near = graph.op("Cast", graph.op("Round", moved), to=_FLOAT64)
        zero, *ends = (
            graph.op("Cast", graph.const(float(end)), to=_FLOAT64)
            for end in (self.zero_point, self.low, self.high)
        )
        code = graph.op("Clip", graph.op("Add", near, zero), *ends)
        return (graph.op("Cast", code, to=_INT64),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


def _nearest_away(share: np.ndarray) -> np.ndarray:
    """The nearest whole number of float64, halves away from zero."""
    nearest: np.ndarray = np.trunc(share + np.copysign(0.5, share))
    return nearest


def _rounded_away(graph: Graph, share: str) -> str:
    """The same as nodes."""
    half = graph.op("Cast", graph.const(0.5), to=_FLOAT64)
    near = graph.op("Floor", graph.op("Add", graph.op("Abs", share), half))
    return graph.op("Mul", graph.op("Sign", share), near)
