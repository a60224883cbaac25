"""Rounding to integer levels that are given: what quantisation-aware training simulates, and what
quantising a tensor does."""

from dataclasses import dataclass, field

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.exactness import or_zero

__all__ = ["DynamicQuantize", "FakeQuantize"]


@dataclass(frozen=True, eq=False)
class FakeQuantize(Elementwise):
    """(clip(round(x * (1 / size)) + zero_point, low, high) - zero_point) * size

    ``size`` and ``zero_point`` broadcast against x. The product is found in float32 and rounded
    half to even, as torch.fake_quantize_per_tensor_affine does
    (aten/src/ATen/native/quantized/cpu/kernels/QuantizedOpKernels.cpp).
    """

    size: np.ndarray
    zero_point: np.ndarray = field(default_factory=lambda: np.zeros(()))
    low: int = -128
    high: int = 127
    zero_first: bool = False
    """Whether the zero point is added before rounding, in one operation (fma), as
    torch.quantize_per_tensor does: at a tie it says which of the two levels is the even one."""
    wraps: bool = False
    """Whether levels beyond 64 bits become the lowest, as in
    torch.fake_quantize_per_channel_affine; NaN always does."""
    quantizes = True

    @property
    def pointwise(self) -> bool:
        return np.size(self.size) == 1 and np.size(self.zero_point) == 1

    @property
    def levels(self) -> int:
        return self.high - self.low + 1

    def step(self) -> np.ndarray:
        """The distance between two neighbouring levels."""
        return np.asarray(self.size)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest level."""
        zero, size = np.asarray(self.zero_point, np.float64), np.asarray(self.size, np.float64)
        return (self.low - zero) * size, (self.high - zero) * size

    def summary(self, inputs: Arrays) -> str:
        if not self.pointwise:
            return f"to {self.levels} levels, with a step per channel"
        zero, scale = float(np.ravel(self.zero_point)[0]), float(np.ravel(self.size)[0])
        low, high = (float(limit.item()) for limit in self.limits())
        ends = f"from {low:g} to {high:g}"
        return f"to {self.levels} levels with step {scale:g}, {ends}" + (
            f", zero point {zero:g}" if zero else ""
        )

    def steps(self, x: np.ndarray) -> np.ndarray:
        """What is rounded to the integer of each value: how many steps it is."""
        zero = np.asarray(self.zero_point, np.float32).astype(np.float64)
        inverse = (np.float32(1) / np.asarray(self.size, np.float32)).astype(np.float64)
        shifted = x.astype(np.float64) * inverse + (zero if self.zero_first else 0)
        # what comes in as it is falls to the level that the layer takes it to, at a threshold too
        with np.errstate(over="ignore"):
            return np.where(
                x == x.astype(np.float32), shifted.astype(np.float32), shifted.astype(x.dtype)
            )

    def codes(self, x: np.ndarray) -> np.ndarray:
        """The integer of each value."""
        zero = np.asarray(self.zero_point, np.float32).astype(np.float64)
        codes = np.rint(self.steps(x)).astype(np.float64) + (0 if self.zero_first else zero)
        if self.wraps:
            codes = np.where(np.abs(codes) < 2.0**63, codes, self.low)
        return np.fmin(np.fmax(codes, self.low), self.high)

    def f(self, x: np.ndarray) -> np.ndarray:
        scale, zero = (
            np.asarray(part, np.float32).astype(np.float64) for part in (self.size, self.zero_point)
        )
        return ((self.codes(x) - zero) * scale).astype(x.dtype)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        zero, scale = np.asarray(self.zero_point, np.float32), np.asarray(self.size, np.float32)
        share = graph.op("Mul", inputs[0], graph.const(np.float32(1) / scale))
        shifted = share
        if self.zero_first:
            shifted = graph.op("Add", share, graph.const(zero))
        codes = graph.op("Round", shifted)
        if not self.zero_first:
            codes = graph.op("Add", codes, graph.const(zero))
        inside = graph.op(
            "Clip", codes, graph.const(float(self.low)), graph.const(float(self.high))
        )
        inside = graph.op("Where", graph.op("IsNaN", inside), graph.const(float(self.low)), inside)
        return (graph.op("Mul", graph.op("Sub", inside, graph.const(zero)), graph.const(scale)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        unit = max(precision.unit, 2.0**-24)
        moved = unit * (
            2 * np.abs(x) + (np.abs(self.zero_point * self.size) if self.zero_first else 0)
        )
        return (spread(self.f, x, y, moved + or_zero(slack)) + 2 * unit * np.abs(y),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        scale, zero = (
            float(np.broadcast_to(part, outputs[0].shape)[at])
            for part in (self.size, self.zero_point)
        )
        value = float(outputs[0][at])
        words = (
            f"{type(self).__name__}: {self.summary(inputs)}; level {round(value / scale + zero)}"
        )
        return Contributions((Terms(np.array([at], int)),), (Stage(words, value),))


@dataclass(frozen=True, eq=False)
class DynamicQuantize(Op):
    """x to the levels 0 to ``high`` over the range of all its values, 0 among them

    (aten/src/ATen/native/quantized/cpu/QuantUtils.h, ChooseQuantizationParams): scale = (max - min)
    / high, and the zero point is the level next to 0, found from that end of the range where it
    errs less.
    """

    high: int
    axes: int = 0
    """Over how many of the last axes the range goes, where there are more: each part has its own
    then. 0: over all."""
    jumps = True

    def _apart(self, x: np.ndarray) -> bool:
        """Whether the parts of x along its first axis have ranges of their own."""
        return 0 < self.axes < x.ndim

    def summary(self, inputs: Arrays) -> str:
        if self._apart(inputs[0]):
            return f"to {self.high + 1} levels, each slice over its own range"
        scale, zero = self.levels(inputs[0])
        return (
            f"the input to {self.high + 1} levels over its own range: scale {float(scale):g}, "
            f"zero point {zero:g}"
        )

    def levels(self, x: np.ndarray) -> tuple[np.float32, float]:
        """Scale and zero point for these values; ValueError for more levels than float32 counts."""
        if not 0 < self.high < _COUNTED:
            raise ValueError(f"high is {self.high}, and must be from 1 to {_COUNTED - 1:,}")
        low, high = min(np.float32(x.min()), np.float32(0)), max(np.float32(x.max()), np.float32(0))
        scale = (float(high) - float(low)) / self.high
        with np.errstate(all="ignore"):
            if np.float32(scale) == 0 or np.isinf(np.float32(1) / np.float32(scale)):
                scale = 0.1
        if scale < _SMALL:
            grown = np.float32(_SMALL / np.float32(scale))
            span = np.float32(_SMALL * np.float32(self.high))
            if low == 0:
                low, high = (low, span)
            elif high == 0:
                low, high = (-span, high)
            else:
                low, high = (low * grown, high * grown)
            scale = float(_SMALL)
        from_low, from_high = -float(low) / scale, self.high - float(high) / scale
        errors = -abs(float(low) / scale), self.high - abs(float(high) / scale)
        first = from_low if errors[0] < errors[1] else from_high
        return np.float32(scale), float(np.clip(np.rint(first), 0, self.high))

    def step(self, x: np.ndarray) -> float:
        """The distance of two levels; of several ranges the largest."""
        parts = x if self._apart(x) else [x]
        return max((float(self.levels(part)[0]) for part in parts if part.size), default=0.0)

    def _at(self, x: np.ndarray, scale: np.float32, zero: float) -> FakeQuantize:
        return FakeQuantize(np.asarray(scale), np.asarray(zero), 0, self.high, zero_first=True)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        if not self._apart(x):
            return self._at(x, *self.levels(x)).run(x)
        if not len(x):
            return (x,)
        return (np.stack([self.run(part)[0] for part in x]),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        zero, top = graph.const(0.0), graph.const(float(self.high))
        low = graph.op("Min", graph.op("ReduceMin", inputs[0], keepdims=0), zero)
        high = graph.op("Max", graph.op("ReduceMax", inputs[0], keepdims=0), zero)
        scale = graph.op("Div", graph.op("Sub", high, low), top)
        scale = graph.op(
            "Where",
            graph.op("Equal", scale, zero),
            graph.const(0.1),
            graph.op("Max", scale, graph.const(float(_SMALL))),
        )
        point = graph.op(
            "Clip", graph.op("Round", graph.op("Neg", graph.op("Div", low, scale))), zero, top
        )
        codes = graph.op(
            "Clip",
            graph.op("Round", graph.op("Add", graph.op("Div", inputs[0], scale), point)),
            zero,
            top,
        )
        return (graph.op("Mul", graph.op("Sub", codes, point), scale),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if self._apart(x):
            if not len(x):
                return (np.zeros(y.shape),)
            each = zip(x, [None] * len(x) if slack is None else slack, y, strict=True)
            return (
                np.stack(
                    [
                        self.error_bound(Evaluated((part,), (off,), (out,)), precision)[0]
                        for part, off, out in each
                    ]
                ),
            )
        scale, zero = self.levels(x)
        own = self._at(x, scale, zero).error_bound(of, precision)[0]
        own = own + 2 * precision.unit * np.abs(y)
        if slack is not None and slack.max(initial=0):
            share = 2 * float(slack.max()) / max(float(x.max()) - float(x.min()), float(scale))
            own = (
                own
                + share * np.abs(y)
                + spread(self._at(x, scale, zero).f, x, y, share * np.abs(x))
            )
        return (own,)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.full(mask.shape, mask.any()),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        scale, zero = self.levels(inputs[0])
        value = float(outputs[0][at])
        words = (
            f"{type(self).__name__}: {self.summary(inputs)}; level "
            f"{round(value / float(scale) + zero)}"
        )
        return Contributions((Terms(np.array([at], int)),), (Stage(words, value),))


_COUNTED = 1 << 24
"""Levels of which float32 still has each."""
_SMALL = np.float32(6.1e-5)
"""The scale that none is below (QuantUtils.h, SMALL_SCALE_THRESHOLD)."""
