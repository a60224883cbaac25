"""Numbers turned into the integers that stand for them: by given scales and zero points, and by
those that each call finds."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero

__all__ = ["DynamicQuantizeLinear", "QuantizeLinear"]


@dataclass(frozen=True, eq=False)
class QuantizeLinear(Elementwise):
    """clip(round(x / size) + zero_point, low, high), halves to the even one (ONNX QuantizeLinear).

    ``size``, the scale, and ``zero_point`` broadcast against x.
    """

    size: np.ndarray
    zero_point: np.ndarray
    low: int
    high: int
    quantizes = True

    @property
    def pointwise(self) -> bool:
        return np.size(self.size) == 1 and np.size(self.zero_point) == 1

    def summary(self, inputs: Arrays) -> str:
        if not self.pointwise:
            return f"to integers from {self.low} to {self.high}, with a scale per channel"
        zero = int(np.ravel(self.zero_point)[0])
        text = f"to integers from {self.low} to {self.high}, step {float(np.ravel(self.size)[0]):g}"
        return text + (f", zero point {zero}" if zero else "")

    def f(self, x: np.ndarray) -> np.ndarray:
        scale, zero = (np.asarray(part, np.float64) for part in (self.size, self.zero_point))
        codes = np.rint(x / scale) + zero
        return np.fmin(np.fmax(codes, self.low), self.high).astype(x.dtype)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        codes = graph.op(
            "Round", graph.op("Div", inputs[0], graph.const(np.asarray(self.size, np.float32)))
        )
        codes = graph.op("Add", codes, graph.const(np.asarray(self.zero_point, np.float32)))
        return (
            graph.op("Clip", codes, graph.const(float(self.low)), graph.const(float(self.high))),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = 2 * max(precision.unit, 2.0**-24) * np.abs(x) + or_zero(slack)
        return (spread(self.f, x, y, moved),)


@dataclass(frozen=True, eq=False)
class DynamicQuantizeLinear(Op):
    """x to the integers 0 to 255 over the range of its values, 0 among them; and the scale and the
    zero point of that.

    scale = (max - min) / 255, 1 where that is 0, zero point = round(-min / scale) (ONNX
    DynamicQuantizeLinear; the 1 is ONNX Runtime's).
    """

    jumps = True
    output_count = 3

    def summary(self, inputs: Arrays) -> str:
        low, scale = self._range(inputs[0])
        return (
            f"the input to 256 levels over the input's range: scale {scale:g}, zero point "
            f"{np.rint(-low / scale):g}"
        )

    def _range(self, x: np.ndarray) -> tuple[float, float]:
        """The lowest value and the scale."""
        low, high = min(float(x.min(initial=0)), 0.0), max(float(x.max(initial=0)), 0.0)
        return low, (high - low) / 255 or 1.0

    def _codes(self, x: np.ndarray, scale: float, zero: float) -> np.ndarray:
        return np.clip(np.rint(x / scale) + zero, 0, 255)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        low, scale = self._range(x)
        zero = np.clip(np.rint(-low / scale), 0, 255)
        return (
            self._codes(x, scale, float(zero)),
            np.asarray(scale, x.dtype),
            np.asarray(zero, x.dtype),
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        axes = graph.const(list(range(len(graph.shape(inputs[0])))))
        none, top = graph.const(0.0), graph.const(255.0)
        low = graph.op("Min", graph.op("ReduceMin", inputs[0], axes, keepdims=0), none)
        high = graph.op("Max", graph.op("ReduceMax", inputs[0], axes, keepdims=0), none)
        scale = graph.op("Div", graph.op("Sub", high, low), top)
        scale = graph.op("Where", graph.op("Equal", scale, none), graph.const(1.0), scale)
        zero = graph.op(
            "Clip", graph.op("Round", graph.op("Neg", graph.op("Div", low, scale))), none, top
        )
        codes = graph.op(
            "Clip",
            graph.op("Add", graph.op("Round", graph.op("Div", inputs[0], scale)), zero),
            none,
            top,
        )
        return codes, scale, zero

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y, _, zero) = of.inputs, of.slacks, of.outputs
        low, scale = self._range(x)
        unit, most = (
            max(precision.unit, 2.0**-24),
            0.0 if slack is None else float(slack.max(initial=0)),
        )
        share = 4 * unit + 2 * most / (255 * scale)
        exact = -low / scale
        unsure = float(
            abs(abs(exact - np.floor(exact)) - 0.5) <= share * (abs(exact) + 1) + most / scale
        )
        moved = (share + 2 * unit) * np.abs(x) + or_zero(slack)
        own = spread(lambda part: self._codes(part, scale, float(zero)), x, y, moved) + unsure
        return own, np.asarray(share * scale), np.asarray(unsure)

    def followed_input(self, output: int) -> int | None:
        return None

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.full(mask.shape, mask.any()),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        words = f"{type(self).__name__}: {self.summary(inputs)}"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))
