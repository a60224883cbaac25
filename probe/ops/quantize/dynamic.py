"""Quantisers of inputs whose scale is found in each call, as weight-quantised layers put them
before their product."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero

__all__ = ["AbsMaxQuantize", "Float8"]


@dataclass(frozen=True, eq=False)
class AbsMaxQuantize(Op):
    """clip(round(x * s), low, high) / s, with s = high / (max |x| + epsilon) over ``axes``

    (keras/src/quantizers/quantizers.py, abs_max_quantize, and the division that undoes it).
    """

    axes: tuple[int, ...]
    low: int = -127
    high: int = 127
    epsilon: float = 1e-7
    jumps = True

    def summary(self, inputs: Arrays) -> str:
        if len(self.axes) == 1:
            over = "axis " + str(self.axes[0])
        else:
            over = f"axes {', '.join(map(str, self.axes))}"
        return (
            f"the input to integers from {self.low} to {self.high}, scaled by the largest "
            f"magnitude over {over}"
        )

    def scale(self, x: np.ndarray) -> np.ndarray:
        largest = np.abs(x).max(axis=self.axes, keepdims=True, initial=0)
        return x.dtype.type(self.high) / (largest + x.dtype.type(self.epsilon))

    def _quantized(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x * scale), self.low, self.high) / scale

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            return (self._quantized(x, self.scale(x)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        largest = graph.op(
            "ReduceMax", graph.op("Abs", x), graph.const(list(self.axes)), keepdims=1
        )
        scale = graph.op(
            "Div",
            graph.const(float(self.high)),
            graph.op("Add", largest, graph.const(self.epsilon)),
        )
        codes = graph.op("Round", graph.op("Mul", x, scale))
        return (
            graph.op(
                "Div",
                graph.op(
                    "Clip", codes, graph.const(float(self.low)), graph.const(float(self.high))
                ),
                scale,
            ),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        share = 4 * precision.unit * np.ones_like(self.scale(x))
        if slack is not None:
            size = np.abs(x).max(axis=self.axes, keepdims=True, initial=0)
            largest_slack = slack.max(axis=self.axes, keepdims=True, initial=0)
            share = share + np.divide(largest_slack, size, where=size > 0, out=np.zeros(size.shape))
        moved = 4 * precision.unit * np.abs(x) + or_zero(slack)
        wander = np.zeros(y.shape)
        with np.errstate(all="ignore"):
            for sign in (-1, 1):
                other = self.scale(x) * (1 + sign * share)
                wander = np.maximum(
                    wander, spread(partial(self._quantized, scale=other), x, y, moved)
                )
        return (wander + 4 * precision.unit * np.abs(y) + precision.tiny,)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        value, scale = (
            float(outputs[0][at]),
            np.broadcast_to(self.scale(inputs[0]), inputs[0].shape)[at],
        )
        words = (
            f"{type(self).__name__}: {self.summary(inputs)}; level {value * float(scale):.0f} of "
            f"1/{float(scale):g}"
        )
        return Contributions((Terms(np.array([at], int)),), (Stage(words, value),))


@dataclass(frozen=True, eq=False)
class Float8(Elementwise):
    """x / size, clipped to 448 and rounded half to even to float8 e4m3fn (3 mantissa bits), times
    size.

    (keras/src/quantizers/quantizers.py, quantize_and_dequantize; the format: Micikevicius et al.,
    "FP8 Formats for Deep Learning", 2022.)
    """

    size: float = 1.0
    jumps = True

    def summary(self, inputs: Arrays) -> str:
        return f"the input to float8 e4m3fn, in units of {self.size:g}"

    def f(self, x: np.ndarray) -> np.ndarray:
        inside = np.clip(x / x.dtype.type(self.size), -448, 448)
        exponent = np.maximum(np.frexp(inside)[1] - 1, -6)  # below 2**-6 the format is subnormal
        step = np.exp2(exponent - 3.0).astype(x.dtype)
        return np.rint(inside / step) * step * x.dtype.type(self.size)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = 2 * precision.unit * np.abs(x) + or_zero(slack)
        return (spread(self.f, x, y, moved) + 2 * precision.unit * np.abs(y) + precision.tiny,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        size, limit = graph.const(self.size), graph.const(448.0)
        inside = graph.op("Clip", graph.op("Div", inputs[0], size), graph.const(-448.0), limit)
        narrow = graph.op("Cast", inside, to=_FLOAT8)
        return (graph.op("Mul", graph.op("Cast", narrow, to=_FLOAT), size),)


_FLOAT, _FLOAT8 = 1, 17
"""onnx.TensorProto.FLOAT and FLOAT8E4M3FN."""
