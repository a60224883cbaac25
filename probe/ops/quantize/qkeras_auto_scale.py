"""QKeras' quantized_bits with alpha "auto" or "auto_po2": the scale is found from the values
themselves (qkeras/quantizers.py 0.9.0)."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, spread
from probe.ops.exactness import or_zero
from probe.ops.quantize.qkeras_bits import Quantizer
from probe.ops.quantize.qkeras_float32 import EPSILON, flush, like

__all__ = ["AutoQuantizedBits"]


@dataclass(frozen=True, eq=False)
class AutoQuantizedBits(Quantizer):
    """scale * clip(round half up(|x| / scale)) * sign(x), where the scale is found from the values
    themselves.

    It begins as the largest magnitude over ``axes``; with ``power_of_two`` five rounds of least
    squares follow, each rounded to a power of two. Of a vector QKeras takes the magnitude of the
    whole, but fits each element alone.
    """

    power_of_two: bool = False
    keep_negative: bool = True
    axes: tuple[int, ...] = ()

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)

    def limits(self) -> tuple[float, float]:
        """The lowest and the highest level, in steps."""
        return 1 - 2.0 ** (self.bits - 1), 2.0 ** (self.bits - 1) - 1

    def step(self, x: np.ndarray) -> np.ndarray:
        """The distance between two neighbouring levels for these values: one number per channel."""
        with np.errstate(all="ignore"):
            return self._scales(flush(x))[1] * 2.0**self.integer

    @property
    def levels(self) -> int:
        return 2**self.bits - 1

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """Which of these values lie beyond the levels."""
        with np.errstate(all="ignore"):
            return np.rint(np.abs(x) / self.step(x)) > self.limits()[1]

    def summary(self, inputs: Arrays) -> str:
        return f"to {self.levels} levels whose step is computed from the input"

    def _codes(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        half = like(x, self.limits()[1])
        steps = np.floor(np.abs(x) / scale + like(x, 0.5))
        return np.sign(x) * np.where(steps < half, steps, half)

    def _scales(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scale that the codes of x / 2**integer are found with, and the one they are
        multiplied by."""
        x = x / like(x, 2.0**self.integer)
        epsilon, ln2 = like(x, EPSILON), like(x, np.log(2.0))

        def power(scale: np.ndarray) -> np.ndarray:
            return np.exp2(np.rint(np.log(scale + epsilon) / ln2))

        def mean(values: np.ndarray) -> np.ndarray:
            if x.ndim > 1:
                return values.mean(axis=self.axes, keepdims=True)
            return values

        scale = np.abs(x).max(axis=self.axes, keepdims=True) * 2 / like(x, 2 * self.limits()[1])
        if not self.power_of_two:
            return scale, scale
        before = scale = power(scale)
        for _ in range(5):
            before, codes = scale, self._codes(x, scale)
            scale = power(mean(x * codes) / (mean(codes * codes) + epsilon))
        return before, scale

    def _f(self, x: np.ndarray, scales: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        m, m_i = like(x, 2.0 ** (self.bits - self.keep_negative)), like(x, 2.0**self.integer)
        x = x / m_i
        q = m_i * self._codes(x, scales[0]) / m
        return self._mix(m_i * x, scales[1] * m * q)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = flush(inputs[0])
        with np.errstate(all="ignore"):
            return (self._f(x, self._scales(x)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        terms = 0
        if self.power_of_two:
            terms = np.prod([x.shape[axis] for axis in self.axes])
        share = (terms + 256 if self.power_of_two else 4) * precision.unit
        if slack is not None:
            size = np.abs(x).max(axis=self.axes, keepdims=True)
            share = share + max(1, terms) * np.divide(
                slack.max(axis=self.axes, keepdims=True),
                size,
                where=size > 0,
                out=np.zeros(size.shape),
            )
        moved = 2 * precision.unit * np.abs(x) + or_zero(slack)
        wander = np.zeros(y.shape)
        with np.errstate(all="ignore"):
            for sign in (-1, 0, 1):
                scales = self._scales(x * (1 + sign * share))
                wander = np.maximum(wander, spread(partial(self._f, scales=scales), x, y, moved))
        return (self._allowed(wander, x, y, precision),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        axes, half, unit = (
            graph.const(list(self.axes)),
            graph.const(self.limits()[1]),
            graph.const(2.0**self.integer),
        )
        epsilon, ln2 = graph.const(EPSILON), graph.const(float(np.log(2.0)))
        vector = len(graph.shape(x)) == 1
        inside = graph.op("Div", x, unit)
        size, sign = graph.op("Abs", inside), graph.op("Sign", inside)

        def power(scale: str) -> str:
            return graph.op(
                "Pow",
                graph.const(2.0),
                graph.op(
                    "Round", graph.op("Div", graph.op("Log", graph.op("Add", scale, epsilon)), ln2)
                ),
            )

        def codes(scale: str) -> str:
            steps = graph.op(
                "Floor", graph.op("Add", graph.op("Div", size, scale), graph.const(0.5))
            )
            return graph.op(
                "Mul", sign, graph.op("Where", graph.op("Less", steps, half), steps, half)
            )

        def mean(values: str) -> str:
            if vector:
                return values
            return graph.op("ReduceMean", values, axes, keepdims=1)

        scale = graph.op("Div", graph.op("ReduceMax", size, axes, keepdims=1), half)
        if not self.power_of_two:
            found = codes(scale)
        else:
            scale = power(scale)
            for _ in range(5):
                found = codes(scale)
                squares = graph.op("Add", mean(graph.op("Mul", found, found)), epsilon)
                scale = power(graph.op("Div", mean(graph.op("Mul", inside, found)), squares))
        return (self._emit_mix(graph, x, graph.op("Mul", graph.op("Mul", scale, unit), found)),)
