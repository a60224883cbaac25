"""Rounding to integer levels that are given: what quantisation-aware training simulates, and what quantising a tensor does."""

from dataclasses import dataclass, field

import numpy as np

from probe.ops.account import Account, Stage, Terms
from probe.ops.base import Elementwise, spread

__all__ = ["FakeQuantize", "Snap"]


@dataclass(frozen=True, eq=False)
class FakeQuantize(Elementwise):
    """(clip(round(x * (1 / size)) + zero_point, low, high) - zero_point) * size

    ``size`` and ``zero_point`` broadcast against x. The product is found in float32 and rounded half to even, as
    torch.fake_quantize_per_tensor_affine does (aten/src/ATen/native/quantized/cpu/kernels/QuantizedOpKernels.cpp).
    """

    size: np.ndarray
    zero_point: np.ndarray = field(default_factory=lambda: np.zeros(()))
    low: int = -128
    high: int = 127
    zero_first: bool = False
    """Whether the zero point is added before rounding, in one operation (fma), as torch.quantize_per_tensor does: at a tie it
    says which of the two levels is the even one."""
    wraps: bool = False
    """Whether levels beyond 64 bits become the lowest, as in torch.fake_quantize_per_channel_affine; NaN always does."""

    @property
    def pointwise(self) -> bool:  # type: ignore[override]
        return np.size(self.size) == 1 and np.size(self.zero_point) == 1

    @property
    def levels(self) -> int:
        return self.high - self.low + 1

    def says(self, inputs):
        if not self.pointwise:
            return f"to {self.levels} levels, their distance by channel"
        zero, scale = float(np.ravel(self.zero_point)[0]), float(np.ravel(self.size)[0])
        ends = f"from {(self.low - zero) * scale:g} to {(self.high - zero) * scale:g}"
        return f"to {self.levels} levels {scale:g} apart, {ends}" + (f", zero point {zero:g}" if zero else "")

    def codes(self, x: np.ndarray) -> np.ndarray:
        """The integer of each value."""
        zero = np.asarray(self.zero_point, np.float32).astype(np.float64)
        inverse = (np.float32(1) / np.asarray(self.size, np.float32)).astype(np.float64)
        shifted = x.astype(np.float64) * inverse + (zero if self.zero_first else 0)
        codes = np.rint(shifted.astype(x.dtype)).astype(np.float64) + (0 if self.zero_first else zero)
        if self.wraps:
            codes = np.where(np.abs(codes) < 2.0**63, codes, self.low)
        return np.fmin(np.fmax(codes, self.low), self.high)

    def f(self, x):
        scale, zero = (np.asarray(part, np.float32).astype(np.float64) for part in (self.size, self.zero_point))
        return ((self.codes(x) - zero) * scale).astype(x.dtype)

    def emit(self, graph, *inputs):
        zero, scale = np.asarray(self.zero_point, np.float32), np.asarray(self.size, np.float32)
        share = graph.op("Mul", inputs[0], graph.const(np.float32(1) / scale))
        shifted = graph.op("Add", share, graph.const(zero)) if self.zero_first else share
        codes = graph.op("Round", shifted)
        codes = codes if self.zero_first else graph.op("Add", codes, graph.const(zero))
        inside = graph.op("Clip", codes, graph.const(float(self.low)), graph.const(float(self.high)))
        inside = graph.op("Where", graph.op("IsNaN", inside), graph.const(float(self.low)), inside)
        return (graph.op("Mul", graph.op("Sub", inside, graph.const(zero)), graph.const(scale)),)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        (x,), (slack,), (y,) = inputs, slacks, outputs
        unit = max(precision.unit, 2.0**-24)
        moved = unit * (2 * np.abs(x) + (np.abs(self.zero_point * self.size) if self.zero_first else 0))
        return (spread(self.f, x, y, moved + (0 if slack is None else slack)) + 2 * unit * np.abs(y),)

    def account(self, inputs, outputs, at):
        scale, zero = (float(np.broadcast_to(part, outputs[0].shape)[at]) for part in (self.size, self.zero_point))
        value = float(outputs[0][at])
        words = f"{type(self).__name__}: {self.says(inputs)}; level {round(value / scale + zero)}"
        return Account((Terms(np.array([at], int)),), (Stage(words, value),))


@dataclass(frozen=True, eq=False)
class Snap(Elementwise):
    """The multiple of size next to x: what a quantised tensor stands for, without the rounding of its dequantised values."""

    size: float
    roundings = 1

    def f(self, x):
        scale = float(np.float32(self.size))
        return (np.rint(x.astype(np.float64) / scale) * scale).astype(x.dtype)

    def emit(self, graph, *inputs):
        scale = graph.const(self.size)
        return (graph.op("Mul", graph.op("Round", graph.op("Div", inputs[0], scale)), scale),)
