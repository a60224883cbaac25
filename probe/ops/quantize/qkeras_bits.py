"""Fixed-point quantisers as QKeras computes them: of weights (``run`` in float32, bit for bit) and
of activations.

``run`` repeats the operations of qkeras/quantizers.py (0.9.0) one by one, in their order: they end
in the straight-through estimator ``x + (-x + q)``, which in float32 is not always q. Between two
thresholds a quantiser is exact; at a threshold an input that is off by rounding may move the output
by one level, and ``error_bound`` allows that there and nowhere else.
"""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero, without_rounding
from probe.ops.quantize.qkeras_float32 import (
    TINY,
    emit_capped,
    emit_round,
    flush,
    like,
    round_through,
)

__all__ = ["Mixing", "QuantizedBits", "QuantizedRelu", "Quantizer"]


class Mixing(Op):
    """What every quantiser of QKeras ends in: the quantised value mixed with the one it stands for.

    ``noise`` is QKeras' qnoise_factor, the share of the quantised value: 1 except in training
    schedules.
    """

    noise: float = 1.0
    straight_through: bool = True
    quantizes = True

    def _mix(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        noise = like(x, self.noise)
        if self.straight_through:
            return x + noise * (-x + q)
        return like(x, 1 - self.noise) * x + noise * q

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        value = float(outputs[0][at])
        words = f"{type(self).__name__}: {self.summary(inputs)}"
        size = 0
        if self.noise == 1:
            size = np.broadcast_to(self.step(inputs[0]), inputs[0].shape)[at]
        if size and value / size == np.rint(value / size):
            words += f"; level {value / size:.0f}"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, value),))

    def step(self, x: np.ndarray) -> np.ndarray | float:
        """The distance between two neighbouring levels; 0 where they are not equally far apart."""
        raise NotImplementedError

    def _allowed(
        self, wander: np.ndarray, x: np.ndarray, y: np.ndarray, precision: Precision
    ) -> np.ndarray:
        """What moving the input does, and the rounding of the mixing, which is exact where q is 0
        and stays so."""
        with np.errstate(all="ignore"):
            own = 4 * precision.unit * (np.abs(x - y) + np.abs(y)) + precision.tiny
        return wander + np.where(
            np.isfinite(own) & ((y != 0) | (wander != 0) | (self.noise != 1)), own, 0.0
        )

    def _emit_mix(self, graph: Graph, x: str, q: str) -> str:
        noise = graph.const(float(self.noise))
        if self.straight_through:
            return graph.op("Add", x, graph.op("Mul", noise, graph.op("Sub", q, x)))
        return graph.op(
            "Add", graph.op("Mul", graph.const(float(1 - self.noise)), x), graph.op("Mul", noise, q)
        )


@dataclass(frozen=True, eq=False)
class Quantizer(Mixing):
    """A quantiser to equally spaced levels."""

    bits: int
    integer: int | np.ndarray = 0
    """One number, or one per channel of the last axis."""
    noise: float = 1.0
    straight_through: bool = True


class _Fixed(Elementwise, Quantizer):
    """A quantiser of each element alone."""

    @property
    def pointwise(self) -> bool:
        return np.ndim(self.integer) == 0 and np.ndim(getattr(self, "alpha", 1.0)) == 0

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Quantizer.contributions(self, inputs, outputs, at)

    def before(self) -> float:
        """How far rounding before the threshold may move x, in roundings of 2**integer."""
        return 0.0

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        moved = np.asarray(self.before() * precision.unit * 2.0**self.integer + or_zero(slack))
        if moved.any():
            wander = spread(self.f, x, y, moved)
        else:
            wander = np.zeros(y.shape)
        return (self._allowed(wander, self._unquantized(x), y, precision),)

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        (x,) = inputs
        mixed = self._unquantized(x)
        return not self.before() and without_rounding([(2, [mixed])], [self.f(x)], precision)

    def _unquantized(self, x: np.ndarray) -> np.ndarray:
        """What the quantised value is mixed with."""
        return x


@dataclass(frozen=True, eq=False)
class QuantizedBits(_Fixed):
    """alpha * s * clip(round(x / s), low, high), s = 2**(integer - bits + keep_negative); only the
    sign where that leaves no bits."""

    symmetric: bool = False
    keep_negative: bool = True
    alpha: float | np.ndarray = 1.0
    """One number, or an array that broadcasts against x."""

    @property
    def _unsigned(self) -> int:
        return self.bits - self.keep_negative

    def limits(self) -> tuple[float, float]:
        """The lowest and the highest level, in steps."""
        m = 2.0**self._unsigned
        if self._unsigned <= 0:
            return (-1.0 if self.keep_negative else 0.0), 1.0
        return (self.symmetric - m if self.keep_negative else 0.0), m - 1

    def step(self, x: np.ndarray) -> np.ndarray:
        """The distance between two neighbouring levels: one number, or one per channel."""
        return np.abs(np.asarray(self.alpha, np.float32)) * (
            2.0 ** (self.integer - self._unsigned) if self._unsigned > 0 else 1.0
        )

    @property
    def levels(self) -> int:
        low, high = self.limits()
        if self._unsigned > 0:
            return int(high - low) + 1
        return 2

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """Which of these values lie beyond the levels."""
        low, high = self.limits()
        codes = np.rint(x * 2.0 ** (self._unsigned - self.integer))
        return (self._unsigned > 0) & ((codes < low) | (codes > high))

    def summary(self, inputs: Arrays) -> str:
        if np.ndim(self.integer):
            return f"to {self.levels} levels, with a step per channel"
        alpha, (low, high) = np.asarray(self.alpha, np.float32), self.limits()
        size = 2.0 ** (self.integer - self._unsigned) * (float(alpha) if alpha.ndim == 0 else 1)
        if self._unsigned <= 0:
            return "the sign only"
        return f"to multiples of {size:g} from {low * size:g} to {high * size:g}" + (
            ", times alpha" if alpha.ndim else ""
        )

    def f(self, x: np.ndarray) -> np.ndarray:
        x = flush(x)
        if self._unsigned > 0:
            m, m_i = like(x, 2.0**self._unsigned), like(x, 2.0**self.integer)
            low, high = self.limits()
            q = m_i * np.clip(round_through(x * m / m_i), like(x, low), like(x, high)) / m
        else:
            q = np.sign(x)
            q = q + (1 - np.abs(q))
            if not self.keep_negative:
                q = (q + 1) / 2
        return self._mix(x, like(x, self.alpha) * q)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        low, high = self.limits()
        if self._unsigned > 0:
            size = 2.0 ** (self.integer - self._unsigned)
            code = graph.op(
                "Clip",
                emit_round(graph, graph.op("Div", x, graph.const(size))),
                graph.const(low),
                graph.const(high),
            )
        else:
            size = 1.0
            code = graph.op(
                "Where",
                graph.op("LessOrEqual", x, graph.const(-TINY)),
                graph.const(low),
                graph.const(high),
            )
        q = graph.op(
            "Mul", code, graph.const(np.asarray(self.alpha, np.float32) * np.float32(size))
        )
        return (self._emit_mix(graph, x, q),)


@dataclass(frozen=True, eq=False)
class QuantizedRelu(_Fixed):
    """s * clip(round(x / s), 0, 2**n - 1), s = 2**(integer - n); n is one less than ``bits`` where
    negative inputs keep a slope.

    ``quantized_clip``: what is mixed in is bounded by the highest level, else by ``upper_bound``
    (which then bounds the result too). ``sigmoid``: the slope of the linear sigmoid that comes
    first, in 2 * sigmoid - 1; 0 for the real sigmoid, None without.
    """

    negative_slope: float = 0.0
    upper_bound: float | None = None
    quantized_clip: bool = True
    sigmoid: float | None = None

    def before(self) -> float:
        if self.sigmoid == 0:
            # The last threshold lies where 1 - sigmoid is half a step, and its slope as small.
            return 32 * 2.0**self._n
        if self.sigmoid is None:
            return 0.0
        return 2.0 / self.sigmoid

    def step(self, x: np.ndarray) -> np.ndarray | float:
        return 2.0 ** (self.integer - self._n)

    @property
    def _n(self) -> int:
        return self.bits - (self.negative_slope != 0.0)

    def summary(self, inputs: Arrays) -> str:
        if np.ndim(self.integer):
            return f"to {2**self._n} levels, with a step per channel"
        size, slope = (
            2.0 ** (self.integer - self._n),
            f", slope {self.negative_slope:g} for negative inputs" if self.negative_slope else "",
        )
        top = f"to multiples of {size:g} up to {2.0**self.integer - size:g}"
        if self.sigmoid == 0:
            return f"2 * sigmoid(x) - 1, {top}{slope}"
        if self.sigmoid is None:
            return top + slope
        return f"2 * clip({self.sigmoid:g} x + 0.5, 0, 1) - 1, {top}{slope}"

    def _unquantized(self, x: np.ndarray) -> np.ndarray:
        relu = np.maximum(x, 0)
        bound: float | np.ndarray | None = self.upper_bound
        if self.negative_slope:
            relu = np.where(x > 0, x, like(x, self.negative_slope) * x)
        if self.quantized_clip:
            bound = 2.0**self.integer - 2.0 ** (self.integer - self._n)
        if bound is None:
            return relu
        return np.where(x <= like(x, bound), relu, like(x, bound))

    def f(self, x: np.ndarray) -> np.ndarray:
        x = flush(x)
        m, m_i, slope = (
            like(x, 2.0**self._n),
            like(x, 2.0**self.integer),
            like(x, self.negative_slope),
        )
        if self.sigmoid is None:
            p, twice, less = x * m / m_i, like(x, 1), like(x, 0)
        else:
            inside = x / m_i
            if self.sigmoid:
                share = np.clip(like(x, self.sigmoid) * inside + like(x, 0.5), 0, 1)
            else:
                share = (1 / (1 + np.exp(-inside.astype(np.float64)))).astype(x.dtype)
            p, twice, less = share * m, like(x, 2), like(x, 1)
        q = m_i * np.clip(twice * (round_through(p) / m) - less, 0, 1 - 1 / m)
        if self.negative_slope:
            q = q + m_i * slope * np.clip(
                twice * (round_through(p * slope) * (1 / (slope * m))) - less, -1, 0
            )
        if self.upper_bound and not self.quantized_clip:
            q = np.where(q <= like(x, self.upper_bound), q, like(x, self.upper_bound))
        return self._mix(self._unquantized(x), q)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        m, m_i = 2.0**self._n, 2.0**self.integer
        bound = m_i - m_i / m if self.quantized_clip else self.upper_bound
        if self.negative_slope:
            relu = graph.op("LeakyRelu", x, alpha=self.negative_slope)
        else:
            relu = graph.op("Relu", x)
        part = relu if bound is None else emit_capped(graph, x, bound, relu)
        p = graph.op("Mul", x, graph.const(m / m_i))
        if self.sigmoid == 0:
            p = graph.op(
                "Mul", graph.op("Sigmoid", graph.op("Mul", x, graph.const(1 / m_i))), graph.const(m)
            )
        elif self.sigmoid is not None:
            line = graph.op(
                "Add", graph.op("Mul", x, graph.const(self.sigmoid * m / m_i)), graph.const(m / 2)
            )
            p = graph.op("Clip", line, graph.const(0.0), graph.const(m))

        def side(p: str, levels: float, low: float, high: float) -> str:
            """The levels of one side of zero, in units of 2**integer."""
            share = graph.op("Div", emit_round(graph, p), graph.const(levels))
            if self.sigmoid is not None:
                share = graph.op("Sub", graph.op("Add", share, share), graph.const(1.0))
            return graph.op("Clip", share, graph.const(low), graph.const(high))

        q = graph.op("Mul", side(p, m, 0.0, 1 - 1 / m), graph.const(m_i))
        if self.negative_slope:
            slope = self.negative_slope
            below = side(graph.op("Mul", p, graph.const(slope)), slope * m, -1.0, 0.0)
            q = graph.op("Add", q, graph.op("Mul", below, graph.const(m_i * slope)))
        if self.upper_bound and not self.quantized_clip:
            q = emit_capped(graph, q, self.upper_bound, q)
        return (self._emit_mix(graph, part, q),)
