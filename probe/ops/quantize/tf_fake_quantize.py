"""TensorFlow's fake quantisation, whose range is nudged until zero is one of its levels.

(tensorflow/core/kernels/fake_quant_ops_functor.h, 2.21; Jacob et al., "Quantization and Training of
Neural Networks", 2018.)
"""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, spread
from probe.ops.exactness import or_zero

__all__ = ["NudgedFakeQuantize"]

_MOST_BITS = 64
"""TensorFlow takes up to 16."""


@dataclass(frozen=True, eq=False)
class NudgedFakeQuantize(Elementwise):
    """s * floor((clip(x, a, b) - a) / s - z + 0.5): s = (high - low) / levels apart, a and b the
    range moved to hold zero as level z.

    ``low`` and ``high``: one number each, or one per channel of the last axis. All zeros where both
    are 0.
    """

    low: np.ndarray
    high: np.ndarray
    bits: int = 8
    narrow: bool = False
    """Whether the lowest level is left out, so that there are as many below as above the middle."""
    divides: bool = True
    """Whether the kernel divides by s (one range) or multiplies by its inverse (per channel, and
    ranges that are no variables)."""
    jumps = True

    @property
    def pointwise(self) -> bool:
        return np.ndim(self.low) == 0

    @property
    def levels(self) -> int:
        """How many distances lie between the lowest level and the highest."""
        return self._highest - self.narrow

    @property
    def _highest(self) -> int:
        if self.bits > _MOST_BITS:
            raise ValueError(f"a level of {self.bits:,} bits")
        return 2**self.bits - 1

    @property
    def _empty(self) -> np.ndarray:
        return (np.asarray(self.low) == 0) & (np.asarray(self.high) == 0)

    def step(self) -> np.ndarray:
        """The distance between two neighbouring levels, in float32: one number, or one per
        channel."""
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return np.asarray(
            np.where(self._empty, np.float32(1), (high - low) / np.float32(self.levels)), np.float32
        )

    def zero_point(self) -> np.ndarray:
        """The unsigned integer that stands for zero, from 0 (1 where narrow) to 2**bits - 1."""
        first = np.float32(self.narrow)
        with np.errstate(all="ignore"):
            exact = first - np.asarray(self.low, np.float32) / self.step()
        return np.clip(np.floor(exact + np.float32(0.5)), first, self._highest).astype(np.float32)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest level, in float32."""
        step, zero = self.step(), self.zero_point()
        return (np.float32(self.narrow) - zero) * step, (np.float32(self._highest) - zero) * step

    def _inverse(self) -> np.ndarray:
        span = np.asarray(self.high, np.float32) - np.asarray(self.low, np.float32)
        return np.asarray(
            np.where(
                self._empty, np.float32(1), np.float32(self.levels) / np.where(self._empty, 1, span)
            ),
            np.float32,
        )

    def _shift(self) -> np.ndarray:
        """The level of zero counted from the lowest, as the kernel finds it again from the nudged
        range."""
        return np.floor(-self.limits()[0] * self._inverse() + np.float32(0.5))

    def f(self, x: np.ndarray) -> np.ndarray:
        step, (low, high) = (
            self.step().astype(x.dtype),
            (limit.astype(x.dtype) for limit in self.limits()),
        )
        inside = np.maximum(np.minimum(x, high), low) - low
        if self.divides:
            share = inside / step
        else:
            share = inside * self._inverse().astype(x.dtype)
        made = np.floor(share - self._shift().astype(x.dtype) + x.dtype.type(0.5)) * step
        if self._empty.any():
            return np.where(self._empty, x.dtype.type(0), made)
        return made

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        # Where an element lies is found with the magnitude of the whole range.
        largest = np.maximum(*(np.abs(limit.astype(np.float64)) for limit in self.limits()))
        moved = 8 * precision.unit * largest + or_zero(slack)
        own = 2 * precision.unit * (np.abs(y) + self.step())
        return (spread(self.f, x, y, np.broadcast_to(moved, x.shape)) + own + precision.tiny,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        low, high = self.limits()
        inside = graph.op(
            "Sub",
            graph.op("Max", graph.op("Min", inputs[0], graph.const(high)), graph.const(low)),
            graph.const(low),
        )
        step = graph.const(self.step())
        if self.divides:
            share = graph.op("Div", inside, step)
        else:
            share = graph.op("Mul", inside, graph.const(self._inverse()))
        level = graph.op(
            "Floor",
            graph.op("Add", graph.op("Sub", share, graph.const(self._shift())), graph.const(0.5)),
        )
        return (
            graph.op(
                "Mul", level, graph.op("Mul", step, graph.const(np.where(self._empty, 0.0, 1.0)))
            ),
        )

    def summary(self, inputs: Arrays) -> str:
        if np.ndim(self.low):
            return f"to {self.levels + 1} levels, with a step per channel"
        low, high = self.limits()
        if self._empty:
            return "zeros"
        return f"to multiples of {float(self.step()):g} from {float(low):g} to {float(high):g}"
