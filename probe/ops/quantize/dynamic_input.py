"""The input of a layer of dynamic range: brought to codes whose scale is that of its own values."""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero

__all__ = ["DynamicInput"]


@dataclass(frozen=True, eq=False)
class DynamicInput(Op):
    """What 256 codes make of x, over the range of its values along ``axes``: 0 among them, or
    between -127 and 127 where it is ``symmetric`` (TensorFlow Lite's and XNNPACK's dynamic range:
    portable_tensor_utils.cc, xnn_f32_qd8_asymmetric_quantization_params)."""

    axes: tuple[int, ...]
    symmetric: bool = False
    jumps = True

    def summary(self, inputs: Arrays) -> str:
        rank = inputs[0].ndim
        rest = [axis for axis in range(rank) if axis not in {part % rank for part in self.axes}]
        axes = f"axi{'s' if len(rest) == 1 else 'es'} {', '.join(map(str, rest))}"
        each = f"each index along {axes}" if rest else "the whole tensor"
        kind = "symmetric" if self.symmetric else "asymmetric"
        return f"the input to 8 bits in each call, {kind}, with a scale for {each}"

    def ends(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scale and the zero point."""
        low = np.minimum(x.min(axis=self.axes, keepdims=True), 0)
        high = np.maximum(x.max(axis=self.axes, keepdims=True), 0)
        if self.symmetric:
            scale = np.maximum(-low, high) / 127
            return np.where(scale == 0, 1.0, scale), np.zeros(scale.shape)
        scale = np.where(high == low, 1.0, (high - low) / 255)
        return scale, np.clip(np.rint(self._exact_zero(x, scale)), -128, 127)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            scale, zero = self.ends(x)
            return (self._levels(x, scale, scale, zero).astype(x.dtype),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,), axes, none = inputs, graph.const(list(self.axes)), graph.const(0.0)
        low = graph.op("Min", graph.op("ReduceMin", x, axes, keepdims=1), none)
        high = graph.op("Max", graph.op("ReduceMax", x, axes, keepdims=1), none)
        if self.symmetric:
            size = graph.op("Max", graph.op("Neg", low), high)
            scale, zero, least = graph.op("Div", size, graph.const(127.0)), none, -127.0
        else:
            scale = graph.op("Div", graph.op("Sub", high, low), graph.const(255.0))
            least = -128.0
        unit = graph.const(1.0)
        scale = graph.op("Where", graph.op("Equal", scale, none), unit, scale)
        if not self.symmetric:
            below, above = graph.op("Div", low, scale), graph.op("Div", high, scale)
            zero = graph.op(
                "Where",
                graph.op("Less", graph.op("Neg", below), above),
                graph.op("Sub", graph.const(-128.0), below),
                graph.op("Sub", graph.const(127.0), above),
            )
            ends = graph.const(-128.0), graph.const(127.0)
            zero = graph.op("Clip", graph.op("Round", zero), *ends)
        code = graph.op("Add", graph.op("Round", graph.op("Div", x, scale)), zero)
        code = graph.op("Clip", code, graph.const(least), graph.const(127.0))
        return (graph.op("Mul", graph.op("Sub", code, zero), scale),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        unit = max(precision.unit, 2.0**-24)
        with np.errstate(all="ignore"):
            scale, zero = self.ends(x)
            most = np.zeros(scale.shape)
            if slack is not None:
                most = slack.max(axis=self.axes, keepdims=True, initial=0.0)
            share = 4 * unit + most / (127 * scale)
            off = np.abs(zero - np.clip(self._exact_zero(x, scale), -128, 127))
            unsure = (off > 0.5 - 512 * share) & (not self.symmetric)
            moved = 4 * unit * np.abs(x) + or_zero(slack)
            wander = np.zeros(y.shape)
            for sign, other in product((-1, 1), (-1, 1)):
                near, back = scale * (1 + sign * share), scale * (1 + other * share)
                levels = partial(self._levels, near=near, back=back, zero=zero)
                wander = np.maximum(wander, spread(levels, x, y, moved))
        return (wander + unsure * scale + 4 * unit * np.abs(y) + precision.tiny,)

    def _levels(
        self, x: np.ndarray, near: np.ndarray, back: np.ndarray, zero: np.ndarray
    ) -> np.ndarray:
        codes = np.clip(np.rint(x / near) + zero, -127 if self.symmetric else -128, 127)
        return (codes - zero) * back

    def _exact_zero(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The zero point before it is rounded."""
        if self.symmetric:
            return np.zeros(scale.shape)
        low = np.minimum(x.min(axis=self.axes, keepdims=True), 0) / scale
        high = np.maximum(x.max(axis=self.axes, keepdims=True), 0) / scale
        return np.where(-low < high, -128 - low, 127 - high)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        scale, zero = (np.broadcast_to(part, inputs[0].shape)[at] for part in self.ends(inputs[0]))
        code = float(outputs[0][at]) / float(scale) + float(zero)
        words = (
            f"DynamicInput: {self.summary(inputs)}; code {code:.0f}, zero point {float(zero):.0f}, "
            f"scale {float(scale):g}"
        )
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))
