"""Quantisers of inputs whose scale is found in each call, as weight-quantised layers put them
before their product."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero

__all__ = ["FLOAT8_TYPES", "AbsMaxQuantize", "Float8"]


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

    def _quantized(self, x: np.ndarray, scale: np.ndarray, undone: np.ndarray) -> np.ndarray:
        """The levels by one scale, brought back by another, which may be off otherwise."""
        return np.clip(np.rint(x * scale), self.low, self.high) / undone

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            scale = self.scale(x)
            return (self._quantized(x, scale, scale),)

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
            scales = [self.scale(x) * (1 + sign * share) for sign in (-1, 1)]
            for scale, undone in product(scales, repeat=2):
                quantized = partial(self._quantized, scale=scale, undone=undone)
                wander = np.maximum(wander, spread(quantized, x, y, moved))
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


class Float8Format(NamedTuple):
    """A type of eight bits: how many of them the fraction has, the exponent of its smallest normal
    number, its largest number, what is beyond it and from where on, and its number in
    onnx.TensorProto.

    (Micikevicius et al., "FP8 Formats for Deep Learning", 2022; of those named ...fnuz, without
    infinities and with one zero: Noune et al., "8-bit Numerical Formats for Deep Neural Networks",
    2022.)
    """

    fraction: int
    lowest: int
    largest: float
    beyond: float
    limit: float
    code: int


_LIMIT = float(np.nextafter(np.float32(464), 512))
_FORMATS = {
    # half of a step above an even number, 448, is still rounded to it
    "float8_e4m3fn": Float8Format(3, -6, 448.0, math.nan, _LIMIT, 17),
    "float8_e4m3fnuz": Float8Format(3, -7, 240.0, math.nan, 248.0, 18),
    "float8_e5m2": Float8Format(2, -14, 57344.0, math.inf, 61440.0, 19),
    "float8_e5m2fnuz": Float8Format(2, -15, 57344.0, math.nan, 61440.0, 20),
}
FLOAT8_TYPES = frozenset(_FORMATS)
"""The types of eight bits, by NumPy's names of them."""


@dataclass(frozen=True, eq=False)
class Float8(Elementwise):
    """x / size, rounded half to even to a number of the type ``kind``, times size. What is larger
    than any of them is clipped to the largest where it ``saturates``, and is infinite or NaN
    elsewhere.

    (Clipped: keras/src/quantizers/quantizers.py, quantize_and_dequantize; not: PyTorch's Tensor.to
    of float8_e5m2, c10/util/Float8_e5m2.h.)
    """

    size: float = 1.0
    kind: str = "float8_e4m3fn"
    saturates: bool = True
    jumps = True

    def summary(self, inputs: Arrays) -> str:
        words = f"the input to {self.kind.replace('_', ' ')}"
        return f"{words}, in units of {self.size:g}" if self.size != 1 else words

    @property
    def numbers(self) -> Float8Format:
        """The numbers of the type."""
        return _FORMATS[self.kind]

    def f(self, x: np.ndarray) -> np.ndarray:
        of = self.numbers
        inside = x / x.dtype.type(self.size)
        if self.saturates:
            inside = np.clip(inside, -of.largest, of.largest)
        exponent = np.maximum(np.frexp(inside)[1] - 1, of.lowest)  # below it, it is subnormal
        step = np.exp2(exponent - float(of.fraction)).astype(x.dtype)
        rounded = np.rint(inside / step) * step
        beyond = np.copysign(x.dtype.type(of.beyond), rounded)
        return np.where(np.abs(rounded) > of.largest, beyond, rounded) * x.dtype.type(self.size)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = 2 * precision.unit * np.abs(x) + or_zero(slack)
        return (spread(self.f, x, y, moved) + 2 * precision.unit * np.abs(y) + precision.tiny,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        of, size = self.numbers, graph.const(self.size)
        scaled = graph.op("Div", inputs[0], size)
        bounds = graph.const(-of.largest), graph.const(of.largest)
        narrow = graph.op("Cast", graph.op("Clip", scaled, *bounds), to=of.code)
        rounded = graph.op("Cast", narrow, to=_FLOAT)
        if not self.saturates:  # ONNX Runtime's Cast with saturate=0 errs near the limit
            over = graph.op("GreaterOrEqual", graph.op("Abs", scaled), graph.const(of.limit))
            beyond = graph.op("Mul", scaled, graph.const(of.beyond))
            rounded = graph.op("Where", over, beyond, rounded)
        return (graph.op("Mul", rounded, size),)


_FLOAT = 1
"""onnx.TensorProto.FLOAT."""
