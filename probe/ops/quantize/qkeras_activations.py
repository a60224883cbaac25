"""QKeras' quantised activations that bend first: sigmoid, tanh, u-law and hard swish
(qkeras/quantizers.py 0.9.0)."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph
from probe.ops.exactness import held, or_zero
from probe.ops.quantize.qkeras_bits import Mixing
from probe.ops.quantize.qkeras_float32 import emit_capped, emit_round, flush, like, round_through

__all__ = ["Affine", "QuantizedSigmoid", "QuantizedTanh", "QuantizedUlaw", "ShiftedHardSwish"]

_CURVE_ROUNDINGS = 8
"""What float32 sigmoid and tanh of the libraries were measured to lose (6 for TensorFlow's
sigmoid), and two operations more."""


@dataclass(frozen=True, eq=False)
class Affine(Elementwise):
    """gain * x + offset"""

    gain: float
    offset: float

    def f(self, x: np.ndarray) -> np.ndarray:
        return like(x, self.gain) * x + like(x, self.offset)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.abs(x * self.gain) + abs(self.offset)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (own,), slack = super().error_bound(of, precision), of.slacks[0]
        if not held(np.array([self.gain, self.offset]), precision).all():
            return (own,)
        exact = held(of.inputs[0] * self.gain, precision) & held(of.outputs[0], precision)
        return (np.where(exact, 0.0 if slack is None else abs(self.gain) * slack, own),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "Add", graph.op("Mul", inputs[0], graph.const(self.gain)), graph.const(self.offset)
            ),
        )


@dataclass(frozen=True, eq=False)
class ShiftedHardSwish(Elementwise):
    """x * min(max(x + shift, 0), bound) / bound"""

    shift: float = 3.0
    bound: float = 6.0

    def f(self, x: np.ndarray) -> np.ndarray:
        shifted = x + like(x, self.shift)
        relu = np.where(shifted <= like(x, self.bound), np.maximum(shifted, 0), like(x, self.bound))
        return x * relu / like(x, self.bound)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # x + shift cancels near -shift.
        return np.abs(y) + np.where(
            np.abs(x + self.shift) < 2 * abs(self.shift), np.abs(x * x) / self.bound, 0.0
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        shifted = graph.op("Add", x, graph.const(self.shift))
        relu = emit_capped(graph, shifted, self.bound, graph.op("Relu", shifted))
        return (graph.op("Div", graph.op("Mul", x, relu), graph.const(self.bound)),)


@dataclass(frozen=True, eq=False)
class _Curve(Mixing, Elementwise):
    """A curve between fixed ends, rounded to ``bits``. ``slope``: of the linear sigmoid in its
    place; None: the real one."""

    bits: int
    symmetric: bool = False
    slope: float | None = 0.5

    @property
    def parts(self) -> float:
        """How many steps there are in a unit."""
        return 2.0**self.bits

    @property
    def levels(self) -> int:
        return int(2**self.bits) - self.symmetric

    def step(self, x: np.ndarray) -> np.ndarray | float:
        return 1 / self.parts

    def curve(self, x: np.ndarray) -> np.ndarray:
        if self.slope is None:
            with np.errstate(over="ignore"):
                return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(x.dtype)
        return np.clip(like(x, self.slope) * x + like(x, 0.5), 0, 1)

    def coded(self, p: np.ndarray) -> np.ndarray:
        """The curve's value brought to its level."""
        raise NotImplementedError

    def f(self, x: np.ndarray) -> np.ndarray:
        return self.coded(self.curve(flush(x)))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = or_zero(slack)
        share = _CURVE_ROUNDINGS * precision.unit
        wander = np.zeros(y.shape)
        with np.errstate(all="ignore"):
            for side in (x - moved, x + moved):
                p = self.curve(side)
                for by in (-share, share):
                    wander = np.maximum(wander, np.abs(self.coded(p + by) - y))
        return (self._allowed(np.where(np.isfinite(wander), wander, 0.0), y, y, precision),)

    def _emit_sigmoid(self, graph: Graph, x: str) -> str:
        if self.slope is None:
            return graph.op("Sigmoid", x)
        line = graph.op("Add", graph.op("Mul", x, graph.const(self.slope)), graph.const(0.5))
        return graph.op("Clip", line, graph.const(0.0), graph.const(1.0))

    def _emit_rounded(self, graph: Graph, p: str) -> str:
        return graph.op(
            "Div",
            emit_round(graph, graph.op("Mul", p, graph.const(self.parts))),
            graph.const(self.parts),
        )


@dataclass(frozen=True, eq=False)
class QuantizedSigmoid(_Curve):
    """clip(round(sigmoid(x) * m) / m, 0, 1 - 1/m), m = 2**bits; ``full`` leaves the upper end at
    1."""

    full: bool = False

    def summary(self, inputs: Arrays) -> str:
        if self.slope is None:
            kind = "sigmoid(x)"
        else:
            kind = f"clip({self.slope:g} x + 0.5, 0, 1)"
        return f"{kind} to multiples of {1 / self.parts:g}"

    def _ends(self) -> tuple[float, float]:
        return self.symmetric / self.parts, 1.0 if self.full else 1 - 1 / self.parts

    def coded(self, p: np.ndarray) -> np.ndarray:
        low, high = self._ends()
        m = like(p, self.parts)
        return np.clip(round_through(p * m) / m, like(p, low), like(p, high))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        low, high = self._ends()
        rounded = self._emit_rounded(graph, self._emit_sigmoid(graph, inputs[0]))
        return (graph.op("Clip", rounded, graph.const(low), graph.const(high)),)


@dataclass(frozen=True, eq=False)
class QuantizedTanh(_Curve):
    """clip(round(tanh(x) * m) / m, -1, 1 - 1/m), m = 2**(bits - 1); with a ``slope``, tanh is 2 *
    clip(slope x + 0.5, 0, 1) - 1."""

    real: bool = False
    """Whether tanh is itself, and not 2 * sigmoid(x) - 1."""

    @property
    def parts(self) -> float:
        return 2.0 ** (self.bits - 1)

    def summary(self, inputs: Arrays) -> str:
        if self.real:
            kind = "tanh(x)"
        elif self.slope is None:
            kind = "2 sigmoid(x) - 1"
        else:
            kind = f"2 clip({self.slope:g} x + 0.5, 0, 1) - 1"
        return f"{kind} to multiples of {1 / self.parts:g}"

    def curve(self, x: np.ndarray) -> np.ndarray:
        if self.real:
            return np.tanh(x.astype(np.float64)).astype(x.dtype)
        return like(x, 2) * super().curve(x) - like(x, 1)

    def _ends(self) -> tuple[float, float]:
        return self.symmetric / self.parts - 1, 1 - 1 / self.parts

    def coded(self, p: np.ndarray) -> np.ndarray:
        low, high = self._ends()
        m = like(p, self.parts)
        return np.clip(round_through(p * m) / m, like(p, low), like(p, high))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        if self.real:
            p = graph.op("Tanh", x)
        else:
            twice = graph.op("Mul", self._emit_sigmoid(graph, x), graph.const(2.0))
            p = graph.op("Sub", twice, graph.const(1.0))
        low, high = self._ends()
        return (
            graph.op("Clip", self._emit_rounded(graph, p), graph.const(low), graph.const(high)),
        )


@dataclass(frozen=True, eq=False)
class QuantizedUlaw(_Curve):
    """2**integer * clip(sign(r) * log(1 + u |r|) / log(1 + u), -1, 1 - 1/m), r = 2 *
    round(sigmoid(x / 2**integer) * m) / m - 1."""

    integer: int = 0
    u: float = 255.0

    @property
    def parts(self) -> float:
        return 2.0 ** (self.bits - 1)

    def step(self, x: np.ndarray) -> np.ndarray | float:
        return 0.0

    def summary(self, inputs: Arrays) -> str:
        return f"to {self.levels} levels, denser near zero (mu-law, mu = {self.u:g})"

    def curve(self, x: np.ndarray) -> np.ndarray:
        return super().curve(x / like(x, 2.0**self.integer))

    def coded(self, p: np.ndarray) -> np.ndarray:
        m, u, one = like(p, self.parts), like(p, self.u), like(p, 1)
        r = like(p, 2) * (round_through(p * m) / m) - one
        bent = np.sign(r) * np.log(one + u * np.abs(r)) / np.log(one + u)
        return like(p, 2.0**self.integer) * np.clip(
            bent, like(p, self.symmetric / self.parts - 1), like(p, 1 - 1 / self.parts)
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        inside = graph.op("Mul", inputs[0], graph.const(2.0**-self.integer))
        rounded = self._emit_rounded(graph, self._emit_sigmoid(graph, inside))
        r = graph.op("Sub", graph.op("Mul", rounded, graph.const(2.0)), graph.const(1.0))
        inner = graph.op(
            "Add", graph.op("Mul", graph.op("Abs", r), graph.const(self.u)), graph.const(1.0)
        )
        bent = graph.op(
            "Div",
            graph.op("Mul", graph.op("Sign", r), graph.op("Log", inner)),
            graph.const(float(np.log1p(self.u))),
        )
        clipped = graph.op(
            "Clip",
            bent,
            graph.const(self.symmetric / self.parts - 1),
            graph.const(1 - 1 / self.parts),
        )
        return (graph.op("Mul", clipped, graph.const(2.0**self.integer)),)
