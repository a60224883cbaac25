"""QKeras' quantisers to powers of two (qkeras/quantizers.py 0.9.0, quantized_po2 and
quantized_relu_po2).

The exponent is a rounded logarithm: where that falls within a few units in the last place of a
half, libraries round it to either side, and ``undecided`` says of which elements that holds.
"""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph
from probe.ops.exactness import or_zero
from probe.ops.quantize.qkeras_bits import Mixing
from probe.ops.quantize.qkeras_float32 import EPSILON, TINY, emit_capped, flush, like

__all__ = ["QuantizedPo2", "QuantizedReluPo2"]

_LOG_ROUNDINGS = 8
"""What float32 logarithms of TensorFlow were measured to lose (3), with the division and the root
before."""


@dataclass(frozen=True, eq=False)
class _Powers(Mixing, Elementwise):
    """sign * 2**e, the exponent e between ``low`` and ``high``."""

    low: int
    high: int
    max_value: float | None = None
    quadratic: bool = False
    """Whether only even exponents are used."""
    floor: bool = False
    """Whether the logarithm is rounded down instead of to the nearest."""
    noise: float = 1.0
    straight_through: bool = True

    def step(self, x: np.ndarray) -> np.ndarray | float:
        return 0.0

    @property
    def levels(self) -> int:
        return 2 * (self.high - self.low + 1)

    def _logarithm(self, size: np.ndarray) -> np.ndarray:
        """log2 of the magnitude, of its root where exponents are even, before it is rounded."""
        size = np.maximum(size, like(size, EPSILON))
        if self.max_value is not None:
            size = np.minimum(size, like(size, self.max_value))
        if self.quadratic:
            size = np.sqrt(size)
        return np.log(size) / like(size, np.log(2.0))

    def _exponents(self, size: np.ndarray, moved: float = 0.0) -> np.ndarray:
        p = self._logarithm(size) + like(size, moved)
        e = np.clip(np.floor(p) if self.floor else np.rint(p), self.low, self.high)
        return np.where(
            size < like(size, EPSILON), like(size, self.low), (2 if self.quadratic else 1) * e
        )

    def undecided(self, x: np.ndarray) -> np.ndarray:
        """Which elements lie so close to a threshold that another library's logarithm may round
        them to the other side."""
        with np.errstate(all="ignore"):
            size = self.magnitude(flush(x))
            slack = float(_LOG_ROUNDINGS * 2.0**-24) * (
                1 + float(np.max(np.abs([self.low, self.high])))
            )
            return self._exponents(size, slack) != self._exponents(size, -slack)

    def magnitude(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)

    def _signed(self, x: np.ndarray, powers: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _stood_for(self, x: np.ndarray) -> np.ndarray:
        return x

    def f(self, x: np.ndarray, moved: float = 0.0) -> np.ndarray:
        x = flush(x)
        return self._mix(
            self._stood_for(x),
            self._signed(x, flush(np.exp2(self._exponents(self.magnitude(x), moved)))),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = or_zero(slack)
        share = _LOG_ROUNDINGS * precision.unit * (1 + max(abs(self.low), abs(self.high)))
        wander = np.zeros(y.shape)
        with np.errstate(all="ignore"):
            for side in (x - moved, x + moved):
                for by in (-share, share):
                    wander = np.maximum(wander, np.abs(self.f(side, by) - y))
        allowed = self._allowed(
            np.where(np.isfinite(wander), wander, 0.0), self._stood_for(x), y, precision
        )
        return (np.maximum(allowed, precision.tiny),)  # a power of two may be subnormal

    def _emit_powers(self, graph: Graph, size: str) -> str:
        epsilon, factor = graph.const(EPSILON), graph.const(2.0 if self.quadratic else 1.0)
        inside = graph.op("Max", size, epsilon)
        if self.max_value is not None:
            inside = graph.op("Min", inside, graph.const(self.max_value))
        if self.quadratic:
            inside = graph.op("Sqrt", inside)
        p = graph.op("Div", graph.op("Log", inside), graph.const(float(np.log(2.0))))
        e = graph.op(
            "Clip",
            graph.op("Floor" if self.floor else "Round", p),
            graph.const(float(self.low)),
            graph.const(float(self.high)),
        )
        e = graph.op(
            "Where",
            graph.op("Less", size, epsilon),
            graph.const(float(self.low)),
            graph.op("Mul", e, factor),
        )
        return graph.op("Pow", graph.const(2.0), e)


@dataclass(frozen=True, eq=False)
class QuantizedPo2(_Powers):
    """The nearest power of two, with the sign of x; 0 is taken for positive."""

    def summary(self, inputs: Arrays) -> str:
        return f"to the nearest of 2**{self.low} to 2**{self.high}, with the sign"

    def _signed(self, x: np.ndarray, powers: np.ndarray) -> np.ndarray:
        sign = np.sign(x)
        return (sign + (1 - np.abs(sign))) * powers

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        powers = self._emit_powers(graph, graph.op("Abs", x))
        q = graph.op(
            "Where", graph.op("LessOrEqual", x, graph.const(-TINY)), graph.op("Neg", powers), powers
        )
        return (self._emit_mix(graph, x, q),)


@dataclass(frozen=True, eq=False)
class QuantizedReluPo2(_Powers):
    """The nearest power of two to a positive x; to ``negative_slope`` times a negative one, or the
    smallest power without slope."""

    negative_slope: float = 0.0

    def summary(self, inputs: Arrays) -> str:
        if self.negative_slope:
            slope = f", slope {self.negative_slope:g} for negative inputs"
        else:
            slope = ""
        return f"to the nearest of 2**{self.low} to 2**{self.high}{slope}"

    def magnitude(self, x: np.ndarray) -> np.ndarray:
        return np.where(x >= 0, x, -x * like(x, self.negative_slope))

    def _signed(self, x: np.ndarray, powers: np.ndarray) -> np.ndarray:
        return np.where((x >= 0) | (self.negative_slope == 0), powers, -powers)

    def _stood_for(self, x: np.ndarray) -> np.ndarray:
        if self.negative_slope:
            relu = np.where(x > 0, x, like(x, self.negative_slope) * x)
        else:
            relu = np.maximum(x, 0)
        if self.max_value is None:
            return relu
        return np.where(x <= like(x, self.max_value), relu, like(x, self.max_value))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        slope = graph.const(-self.negative_slope)
        positive = graph.op("Greater", x, graph.const(-TINY))
        powers = self._emit_powers(graph, graph.op("Where", positive, x, graph.op("Mul", x, slope)))
        if self.negative_slope:
            q = graph.op("Where", positive, powers, graph.op("Neg", powers))
            relu = graph.op("LeakyRelu", x, alpha=self.negative_slope)
        else:
            q = powers
            relu = graph.op("Relu", x)
        if self.max_value is None:
            part = relu
        else:
            part = emit_capped(graph, x, self.max_value, relu)
        return (self._emit_mix(graph, part, q),)
