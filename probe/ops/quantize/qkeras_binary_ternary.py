"""QKeras' quantisers to one or two bits: the sign, or the sign with zero between, times a scale.

``run`` repeats the operations of qkeras/quantizers.py (0.9.0), binary and ternary, one by one. A
scale that is fitted ("auto") is a quotient of two means, which TensorFlow sums in an order of its
own: it may be a few units in the last place away.
"""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, spread
from probe.ops.quantize.qkeras_bits import Mixing
from probe.ops.quantize.qkeras_float32 import (
    EPSILON,
    TINY,
    emit_flush,
    emit_round,
    flush,
    like,
    round_through,
)

__all__ = ["Binary", "Ternary"]

_MOST_ROUNDS = 1000
"""QKeras makes five, and its graph as many as it is told."""


@dataclass(frozen=True, eq=False)
class _Signs(Mixing, Elementwise):
    """scale * q, where q is one of a few small integers."""

    alpha: float | np.ndarray | str | None = None
    """The scale: a number or an array, "auto" or "auto_po2" (fitted), or None: 1, and the value
    stood for is tanh(x)."""
    axes: tuple[int, ...] = ()
    """Over which a fitted scale is found; of a vector, for each element alone."""

    pointwise = False

    @property
    def _fitted(self) -> bool:
        return isinstance(self.alpha, str)

    def codes(self, x: np.ndarray, nudge: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """The integers, and the scale they are multiplied by; with a ``nudge`` of what a fitted
        scale is held against."""
        raise NotImplementedError

    def step(self, x: np.ndarray) -> np.ndarray | float:
        with np.errstate(all="ignore"):
            return np.abs(self.codes(flush(x))[1])

    def _fit(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        """The scale that brings q closest to x, by least squares."""
        if not self._fitted:
            return like(x, 1.0 if self.alpha is None else self.alpha)  # type: ignore[arg-type]

        def mean(values: np.ndarray) -> np.ndarray:
            if x.ndim > 1:
                return values.mean(axis=self.axes, keepdims=True, dtype=np.float64).astype(x.dtype)
            return values

        scale = mean(x * q) / (mean(q * q) + like(x, EPSILON))
        if self.alpha == "auto_po2":
            return _power(scale)
        return scale

    def f(self, x: np.ndarray, nudge: float = 0.0) -> np.ndarray:
        x = flush(x)
        q, scale = self.codes(x, nudge)
        return self._mix(self._stood_for(x), scale * q)

    def _stood_for(self, x: np.ndarray) -> np.ndarray:
        if self.alpha is None:
            return np.tanh(x.astype(np.float64)).astype(x.dtype)
        return x

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        if self._fitted and mask.ndim > 1:
            return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)
        return (mask,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if slack is None:
            wander = np.zeros(y.shape)
        else:
            wander = spread(self.f, x, y, slack)
        if self._fitted:
            share = (x.size / max(1, y.shape[-1]) + 64) * precision.unit
            with np.errstate(all="ignore"):
                # a scale may be rounded to another power of two, an element against it to another
                # code
                for turn in (-share, share):
                    for found in (self.f(x * (1 + turn)), self.f(x, turn)):
                        wander = np.maximum(wander, np.abs(found - y))
            wander = wander + share * np.abs(y) + TINY  # ONNX Runtime keeps what TensorFlow flushes
        return (self._allowed(wander, self._stood_for(x), y, precision),)

    def _emit_scale(self, graph: Graph, x: str, q: str, vector: bool) -> str:
        if not self._fitted:
            return graph.const(np.asarray(1.0 if self.alpha is None else self.alpha, np.float32))

        def mean(values: str) -> str:
            if vector:
                return values
            return graph.op("ReduceMean", values, graph.const(list(self.axes)), keepdims=1)

        squares = graph.op("Add", mean(graph.op("Mul", q, q)), graph.const(EPSILON))
        scale = graph.op("Div", mean(graph.op("Mul", x, q)), squares)
        if self.alpha == "auto_po2":
            return _emit_power(graph, scale)
        return scale

    def _emit_end(self, graph: Graph, x: str, q: str, scale: str) -> tuple[str, ...]:
        return (
            self._emit_mix(
                graph, graph.op("Tanh", x) if self.alpha is None else x, graph.op("Mul", scale, q)
            ),
        )


def _power(scale: np.ndarray) -> np.ndarray:
    """The nearest power of two."""
    return np.exp2(np.rint(np.log(scale + like(scale, EPSILON)) / like(scale, np.log(2.0))))


def _emit_power(graph: Graph, scale: str) -> str:
    exponent = graph.op(
        "Div",
        graph.op("Log", graph.op("Add", scale, graph.const(EPSILON))),
        graph.const(float(np.log(2.0))),
    )
    return graph.op("Pow", graph.const(2.0), graph.op("Round", exponent))


@dataclass(frozen=True, eq=False)
class Binary(_Signs):
    """The sign of x, with 0 taken for positive, times the scale."""

    zero_one: bool = False
    """Whether the two levels are 0 and 1 instead of -1 and 1."""

    levels = 2

    def summary(self, inputs: Arrays) -> str:
        return f"{'0 or 1' if self.zero_one else 'the sign'}, times {_scale_words(self.alpha)}"

    def codes(self, x: np.ndarray, nudge: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        sign = np.sign(x)
        sign = sign + (1 - np.abs(sign))
        q = (sign + 1) / 2 if self.zero_one else sign
        return q, self._fit(x, q)

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """Nothing is: there is no largest value."""
        return np.zeros(x.shape, bool)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        vector = len(graph.shape(x)) == 1
        low = graph.const(0.0 if self.zero_one else -1.0)
        q = graph.op("Where", graph.op("LessOrEqual", x, graph.const(-TINY)), low, graph.const(1.0))
        return self._emit_end(graph, x, q, self._emit_scale(graph, x, q, vector))


@dataclass(frozen=True, eq=False)
class Ternary(_Signs):
    """-1, 0 or 1 times the scale: 0 where the magnitude is below ``threshold``, or below half of a
    fitted scale."""

    threshold: float = 0.33
    rounds: int = 5

    levels = 3

    def summary(self, inputs: Arrays) -> str:
        below = "half the scale" if self._fitted else f"{self.threshold:g}"
        return f"the sign, or 0 where |x| is below {below}, times {_scale_words(self.alpha)}"

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """Nothing is: there is no largest value."""
        return np.zeros(x.shape, bool)

    def codes(self, x: np.ndarray, nudge: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        if not self._fitted:
            q = (np.abs(x) >= like(x, self.threshold)).astype(x.dtype) * np.sign(x)
            return q, self._fit(x, q)
        axes = self.axes if x.ndim > 1 else None
        scale = np.abs(x).max(axis=axes, keepdims=True) * 2 / like(x, 3.0)
        if self.alpha == "auto_po2":
            scale = _power(scale)
        q = np.zeros_like(x)
        if self.rounds > _MOST_ROUNDS:
            raise ValueError(f"{self.rounds:,} rounds of fitting a scale")
        for _ in range(self.rounds):
            v = scale * round_through(x * like(x, 1 + nudge) / scale)
            q = (np.abs(v) >= scale / 2).astype(x.dtype) * np.sign(x)
            scale = self._fit(x, q)
        return q, scale

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (given,) = inputs
        vector, x = len(graph.shape(given)) == 1, emit_flush(graph, given)
        sign = graph.op("Sign", x)

        def beyond(size: str, threshold: str) -> str:
            zero = graph.const(0.0)
            return graph.op(
                "Where", graph.op("GreaterOrEqual", graph.op("Abs", size), threshold), sign, zero
            )

        if not self._fitted:
            q = beyond(x, graph.const(self.threshold))
            return self._emit_end(graph, x, q, self._emit_scale(graph, x, q, vector))
        axes = [0] if vector else list(self.axes)
        largest = graph.op("ReduceMax", graph.op("Abs", x), graph.const(axes), keepdims=1)
        scale = graph.op("Div", graph.op("Mul", largest, graph.const(2.0)), graph.const(3.0))
        if self.alpha == "auto_po2":
            scale = _emit_power(graph, scale)
        for _ in range(self.rounds):
            v = graph.op("Mul", scale, emit_round(graph, graph.op("Div", x, scale)))
            q = beyond(v, graph.op("Div", scale, graph.const(2.0)))
            scale = self._emit_scale(graph, x, q, vector)
        return self._emit_end(graph, x, q, scale)


def _scale_words(alpha: float | np.ndarray | str | None) -> str:
    if isinstance(alpha, str):
        return "a scale computed from the input" + (
            ", a power of two" if alpha == "auto_po2" else ""
        )
    if alpha is None:
        return "1"
    if np.ndim(alpha):
        return "alpha"
    return f"{float(alpha):g}"
