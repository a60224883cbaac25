"""Quantised arithmetic, convolutions and other layers of Keras, right and wrong.

Integers with zero points, fixed point, small floats, tables, and layers whose axes,
paddings or states are easily mistaken. They were written from the frameworks' references alone,
without a look at the tool that is measured on them.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, linear, relu, sigmoid
from corpora.ports.trained import inputs, train_keras, train_torch, weights_of

F32 = np.float32


def whole(seed: int, low: int, high: int, *shape: int) -> torch.Tensor:
    """Integers from low to high, as a tensor of int64."""
    numbers = np.random.default_rng(seed).integers(low, high + 1, shape)
    return torch.from_numpy(numbers.astype(np.int64))


def wrapped(x: np.ndarray, bits: int) -> np.ndarray:
    """Keep the low bits of integers, in two's complement."""
    half = 1 << (bits - 1)
    return (x + half) % (2 * half) - half


class IntegerLinear(nn.Module):
    """An int8 linear layer: zero points, scales of output channels, requantised."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", whole(5101, -127, 127, 8, 24))
        self.register_buffer("bias", whole(5102, -9000, 9000, 8))
        self.register_buffer("scales", torch.linspace(0.003, 0.009, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Dequantised outputs (batch, 8)."""
        q = ((x / 0.025).round() + 7).clamp(-128, 127).long()
        total = (q - 7) @ self.weight.T + self.bias
        y = (total * self.scales).round() - 11
        return (y.clamp(-128, 127) + 11) * 0.05


def build_integer_linear() -> tuple[Any, np.ndarray]:
    return IntegerLinear().eval(), inputs(5103, 6, 24)


def integer_linear(
    model: Any,
    x: np.ndarray,
    zero: int = 7,
    clip: str = "with the zero point",
    rounding: Any = np.round,
    channels: str = "kept",
    bits: int = 32,
    bias: str = "in the sum",
) -> np.ndarray:
    w = weights_of(model)
    q = np.clip(np.round(x / F32(0.025)) + 7, -128, 127).astype(np.int64)
    total = (q - zero) @ w["weight"].T
    if bias == "in the sum":
        total = total + w["bias"]
    total = wrapped(total, bits)
    scales = w["scales"][:1] if channels == "first" else w["scales"]
    y = rounding(total.astype(F32) * scales)
    if clip == "before the zero point":
        y = np.clip(y, -128, 127)
    else:
        y = np.clip(y - 11, -128, 127) + 11
    return (y * F32(0.05)).astype(F32)


class IntegerConv(nn.Module):
    """An integer convolution with a fixed-point multiplier, a shift and a clamp for ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", whole(5104, -100, 100, 4, 3, 3, 3))
        self.register_buffer("bias", whole(5105, -4000, 4000, 4))
        self.register_buffer("multiplier", whole(5106, 9000, 16000, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations (batch, 4, rows, columns) as whole numbers from -20 to 127."""
        wide = functional.pad(x, (1, 1, 1, 1), value=-20.0) + 20
        total = functional.conv2d(wide.double(), self.weight.double()).long()
        total = total + self.bias[:, None, None]
        y = (total * self.multiplier[:, None, None] + (1 << 20)) >> 21
        return (y - 20).clamp(-20, 127).float()


def build_integer_conv() -> tuple[Any, np.ndarray]:
    x = whole(5107, -60, 100, 2, 3, 6, 6).numpy()
    return IntegerConv().eval(), x.astype(F32)


def integer_conv(
    model: Any,
    x: np.ndarray,
    edge: int = -20,
    half: int = 1 << 20,
    shift: int = 21,
    lowest: int = -20,
    toward_zero: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=edge) + 20
    total = conv(wide.astype(np.float64), w["weight"].astype(np.float64))
    total = np.round(total).astype(np.int64) + w["bias"][:, None, None]
    y = total * w["multiplier"][:, None, None] + half
    y = np.trunc(y / (1 << shift)).astype(np.int64) if toward_zero else y >> shift
    return np.clip(y - 20, lowest, 127).astype(F32)


class IntegerAdd(nn.Module):
    """A quantised residual sum of two inputs with other scales and zero points."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The sum as whole numbers from -128 to 127."""
        y = ((a + 4) * 0.5 + (b - 9) * 1.25).round() + 3
        return y.clamp(-128, 127)


def build_integer_add() -> tuple[Any, tuple[np.ndarray, ...]]:
    a, b = (whole(seed, -90, 90, 3, 20).numpy().astype(F32) for seed in (5108, 5109))
    return IntegerAdd().eval(), (a, b)


def integer_add(
    model: Any,
    x: Any,
    zeros: tuple[int, int] = (-4, 9),
    scales: tuple[float, float] = (0.5, 1.25),
    out: int = 3,
    overflow: str = "saturates",
    each_rounded: bool = False,
) -> np.ndarray:
    a, b = (x[0] - zeros[0]) * F32(scales[0]), (x[1] - zeros[1]) * F32(scales[1])
    if each_rounded:
        a, b = np.trunc(a), np.trunc(b)
    y = np.round(a + b) + out
    return wrapped(y, 8) if overflow == "wraps" else np.clip(y, -128, 127)


class IntegerPool(nn.Module):
    """A rounded integer average over 3 x 3 windows, padded, the padding not counted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Averages, halves away from zero."""
        total = functional.avg_pool2d(x, 3, 2, 1, divisor_override=1)
        count = functional.avg_pool2d(torch.ones_like(x), 3, 2, 1, divisor_override=1)
        half = torch.floor(count / 2)
        return torch.where(
            total >= 0,
            torch.floor((total + half) / count),
            -torch.floor((half - total) / count),
        )


def build_integer_pool() -> tuple[Any, np.ndarray]:
    return IntegerPool().eval(), whole(5110, -24, 24, 2, 3, 7, 7).numpy().astype(F32)


def integer_pool(
    model: Any, x: np.ndarray, rounding: str = "nearest", count: str = "inside"
) -> np.ndarray:
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    ones = np.pad(np.ones_like(x), ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view
    total = view(wide, (3, 3), (2, 3))[:, :, ::2, ::2].sum((4, 5))
    n = view(ones, (3, 3), (2, 3))[:, :, ::2, ::2].sum((4, 5))
    n = np.full_like(n, 9) if count == "all" else n
    if rounding == "floor":
        return np.floor(total / n).astype(F32)
    if rounding == "toward zero":
        return np.trunc(total / n).astype(F32)
    if rounding == "half added to all":
        return np.trunc((total + np.floor(n / 2)) / n).astype(F32)
    size = np.floor((np.abs(total) + np.floor(n / 2)) / n)
    return (np.sign(total) * size).astype(F32)


class FixedPoint(nn.Module):
    """A dense layer in fixed point: ap_fixed<12, 5> inputs and outputs, cut and wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", whole(5111, -128, 127, 6, 16))
        self.register_buffer("bias", whole(5112, -200, 200, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs with seven bits after the point; weights and bias have six."""
        q = (torch.floor(x * 128).long() + 2048) % 4096 - 2048
        total = q @ self.weight.T + (self.bias << 7)
        y = ((total >> 6) + 2048) % 4096 - 2048
        return y.float() / 128


def build_fixed_point() -> tuple[Any, np.ndarray]:
    return FixedPoint().eval(), inputs(5113, 8, 16, scale=1.5)


def fixed_point(
    model: Any,
    x: np.ndarray,
    quantise: Any = np.floor,
    overflow: str = "wraps",
    bias_shift: int = 7,
    half: int = 0,
    bits: int = 40,
) -> np.ndarray:
    w = weights_of(model)
    q = wrapped(quantise(x * F32(128)).astype(np.int64), 12)
    total = wrapped(q @ w["weight"].T + (w["bias"] << bias_shift), bits)
    y = (total + half) >> 6
    y = np.clip(y, -2048, 2047) if overflow == "saturates" else wrapped(y, 12)
    return y.astype(F32) / 128


class TableSigmoid(nn.Module):
    """A linear layer and a sigmoid by a table of 256 entries from -8 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 12)
        table = torch.sigmoid(torch.arange(-128.0, 128.0) / 16)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The table's entry at or below each value."""
        at = torch.floor(self.linear(x) * 16).long() + 128
        return self.table[at.clamp(0, 255)]


def build_table() -> tuple[Any, np.ndarray]:
    return train_torch(TableSigmoid(), 5114, gain=3.0), inputs(5115, 6, 10)


def table_sigmoid(
    model: Any,
    x: np.ndarray,
    rounding: Any = np.floor,
    span: int = 16,
    start: int = 128,
    beyond: str = "clamped",
) -> np.ndarray:
    w = weights_of(model)
    at = rounding(linear(x, w["linear.weight"], w["linear.bias"]) * span).astype(int) + start
    at = at % 256 if beyond == "wrapped" else np.clip(at, 0, 255)
    return model.table.numpy()[at]


def small_float(
    x: np.ndarray,
    fraction: int = 3,
    lowest: int = -6,
    largest: float = 448,
    flush: bool = False,
    cut: bool = False,
) -> np.ndarray:
    """Round to a small float: e4m3 unless told otherwise."""
    exponent = np.floor(np.log2(np.maximum(np.abs(x), F32(1e-30))))
    step = 2.0 ** (np.maximum(exponent, lowest) - fraction)
    y = (np.trunc(x / step) if cut else np.round(x / step)) * step
    y = np.where(np.abs(y) < 2.0**lowest, 0, y) if flush else y
    return np.clip(y, -largest, largest).astype(F32)


class Float8Linear(nn.Module):
    """A linear layer of e4m3 numbers, scaled by the largest of each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, 7)."""
        sx = 448 / x.abs().max()
        sw = 448 / self.linear.weight.abs().max()
        q = (x * sx).to(torch.float8_e4m3fn).float()
        w = (self.linear.weight * sw).to(torch.float8_e4m3fn).float()
        return q @ w.T / (sx * sw) + self.linear.bias


def build_float8() -> tuple[Any, np.ndarray]:
    return train_torch(Float8Linear(), 5116), inputs(5117, 5, 16)


def float8_linear(
    model: Any, x: np.ndarray, to: Any = small_float, by: str = "tensor", bias: str = "unscaled"
) -> np.ndarray:
    w = weights_of(model)
    kernel = w["linear.weight"]
    if by == "row of x":
        sx = F32(448) / np.abs(x).max(1, keepdims=True)
    else:
        sx = F32(448) / np.abs(x).max()
    sw = F32(448) / np.abs(kernel).max()
    y = to(x * sx) @ to(kernel * sw).T
    if bias == "scaled":
        return (y + w["linear.bias"]) / (sx * sw)
    return y / (sx * sw) + w["linear.bias"]


class BlockFloat(nn.Module):
    """A linear layer whose inputs share an exponent in blocks of eight, with five-bit parts."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, 6)."""
        b = x.view(-1, 4, 8)
        exponent = torch.floor(torch.log2(b.abs().amax(-1, keepdim=True)))
        step = torch.exp2(exponent - 3)
        q = (b / step).round().clamp(-15, 15) * step
        return self.linear(q.view(-1, 32))


def build_block_float() -> tuple[Any, np.ndarray]:
    return train_torch(BlockFloat(), 5118), inputs(5119, 8, 32)


def block_float(
    model: Any,
    x: np.ndarray,
    along: str = "features",
    exponent_by: Any = np.floor,
    bits: int = 3,
    rounding: Any = np.round,
) -> np.ndarray:
    w = weights_of(model)
    b = x.reshape(-1, 4, 8)
    if along == "interleaved features":
        b = x.reshape(-1, 8, 4).swapaxes(1, 2)
    elif along == "batch":
        b = x.T[None]
    step = 2.0 ** (exponent_by(np.log2(np.abs(b).max(-1, keepdims=True))) - bits)
    q = (np.clip(rounding(b / step), -15, 15) * step).astype(F32)
    if along == "interleaved features":
        q = q.swapaxes(1, 2)
    elif along == "batch":
        q = q[0].T
    return linear(q.reshape(-1, 32), w["linear.weight"], w["linear.bias"])


def build_spectral() -> tuple[Any, np.ndarray]:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(9, 7))
    model = train_torch(nn.Sequential(layer), 5120)
    return model, inputs(5121, 4, 9)


def spectral(model: Any, x: np.ndarray, norm: str = "stored vectors") -> np.ndarray:
    w = {key.split(".", 1)[1]: value for key, value in weights_of(model).items()}
    kernel = w["parametrizations.weight.original"]
    u, v = w["parametrizations.weight.0._u"], w["parametrizations.weight.0._v"]
    if norm == "largest singular value":
        kernel = kernel / np.linalg.norm(kernel, 2)
    elif norm == "Frobenius":
        kernel = kernel / np.linalg.norm(kernel)
    elif norm == "one more iteration":
        v = kernel.T @ u
        v = v / np.linalg.norm(v)
        u = kernel @ v
        kernel = kernel / (u / np.linalg.norm(u) @ kernel @ v)
    elif norm != "none":
        kernel = kernel / (u @ kernel @ v)
    return linear(x, kernel, w["bias"])


class StandardConv(nn.Conv2d):
    """A convolution with standardised weights (BiT)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve with weights of mean 0 and variance 1 for each filter."""
        v, m = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        w = (self.weight - m) / torch.sqrt(v + 1e-5)
        return functional.conv2d(x, w, self.bias, self.stride, self.padding)


def build_standard() -> tuple[Any, np.ndarray]:
    model = nn.Sequential(StandardConv(3, 6, 3, 2, 1))
    return train_torch(model, 5122, gain=0.02), inputs(5123, 2, 3, 8, 8)


def standard(
    model: Any,
    x: np.ndarray,
    over: tuple[int, ...] = (1, 2, 3),
    centred: bool = True,
    ddof: int = 0,
    eps: str = "in the root",
) -> np.ndarray:
    w = weights_of(model)
    kernel = w["0.weight"]
    mean = kernel.mean(over, keepdims=True)
    var = kernel.var(over, keepdims=True, ddof=ddof)
    small = F32(1e-5)
    spread = np.sqrt(var) + small if eps == "outside" else np.sqrt(var + small)
    kernel = (kernel - mean if centred else kernel) / spread
    return conv(x, kernel, w["0.bias"], stride=2, padding=1)


def build_transposed_groups() -> tuple[Any, np.ndarray]:
    layer = nn.ConvTranspose2d(6, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2)
    return train_torch(nn.Sequential(layer), 5124, gain=1.5), inputs(5125, 2, 6, 4, 5)


def transposed_groups(
    model: Any,
    x: np.ndarray,
    dilation: int = 2,
    groups: str = "halves",
    swapped: bool = False,
    flipped: bool = False,
    start: int = 1,
) -> np.ndarray:
    w = weights_of(model)
    kernel = w["0.weight"][..., ::-1, ::-1] if flipped else w["0.weight"]
    full = np.zeros((2, 6, 24, 24), F32)
    for g in range(2):
        members = slice(g, 6, 2) if groups == "alternate" else slice(3 * g, 3 * g + 3)
        for i in range(3):
            for j in range(3):
                tap = kernel[members, :, i, j]
                part = np.einsum("bihw,io->bohw", x[:, members], tap.T if swapped else tap)
                rows = slice(i * dilation, i * dilation + 8, 2)
                columns = slice(j * dilation, j * dilation + 10, 2)
                full[:, members, rows, columns] += part
    out = full[:, :, start : start + 10, start : start + 12]
    return out + w["0.bias"][:, None, None]


def same(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Padding before and after, as "same" means it."""
    span = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2


def build_separable1d() -> tuple[Any, np.ndarray]:
    layer = keras.layers.SeparableConv1D(
        7, 4, strides=2, padding="same", depth_multiplier=2, name="separable"
    )
    model = keras.Sequential([keras.Input((11, 3)), layer])
    return train_keras(model, 5201, gain=1.3), inputs(5202, 2, 11, 3)


def separable1d(
    model: Any,
    x: np.ndarray,
    order: str = "channel, multiplier",
    more: str = "after",
    between: Any = None,
) -> np.ndarray:
    depth, point, bias = model.get_layer("separable").get_weights()
    before, after = same(11, 4, 2)
    before, after = (after, before) if more == "before" else (before, after)
    wide = np.pad(x, ((0, 0), (before, after), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, 4, 1)[:, ::2]
    y = np.einsum("btck,kcm->btcm", windows, depth)
    y = y.swapaxes(2, 3) if order == "multiplier, channel" else y
    y = y.reshape(*y.shape[:2], 6)
    y = between(y) if between else y
    return y @ point[0] + bias


def build_conv2d_transpose() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv2DTranspose(
        3, (3, 4), strides=(2, 3), output_padding=(1, 2), name="transposed"
    )
    model = keras.Sequential([keras.Input((4, 5, 2)), layer])
    return train_keras(model, 5203, gain=1.5), inputs(5204, 2, 4, 5, 2)


def conv2d_transpose(
    model: Any,
    x: np.ndarray,
    extra: str = "at the end",
    flipped: bool = False,
    bias_beyond: bool = True,
    kernel_order: str = "out, in",
    strides: tuple[int, int] = (2, 3),
) -> np.ndarray:
    kernel, bias = model.get_layer("transposed").get_weights()
    kernel = kernel[::-1, ::-1] if flipped else kernel
    if kernel_order == "in, out":
        kernel = kernel.reshape(3, 4, 2, 3).swapaxes(2, 3)
    out = np.zeros((2, 40, 40, 3), F32)
    top, left = (1, 2) if extra == "at the start" else (0, 0)
    for i in range(3):
        for j in range(4):
            rows = slice(top + i, top + i + 4 * strides[0], strides[0])
            columns = slice(left + j, left + j + 5 * strides[1], strides[1])
            out[:, rows, columns] += x @ kernel[i, j].T
    out = out[:, :10, :18]
    if not bias_beyond:
        out[:, :9, :16] += bias
        return out
    return out + bias


def build_depthwise() -> tuple[Any, np.ndarray]:
    layer = keras.layers.DepthwiseConv2D(
        (3, 4), padding="same", depth_multiplier=2, dilation_rate=2, name="depthwise"
    )
    model = keras.Sequential([keras.Input((8, 9, 3)), layer])
    return train_keras(model, 5205, gain=1.5), inputs(5206, 2, 8, 9, 3)


def depthwise(
    model: Any,
    x: np.ndarray,
    padded_for: int = 2,
    dilation: tuple[int, int] = (2, 2),
    order: str = "channel, multiplier",
    flipped: bool = False,
) -> np.ndarray:
    kernel, bias = model.get_layer("depthwise").get_weights()
    kernel = kernel[::-1, ::-1] if flipped else kernel
    top, left = same(8, 3, 1, padded_for)[0], same(9, 4, 1, padded_for)[0]
    wide = np.pad(x, ((0, 0), (top, 8), (left, 8), (0, 0)))
    y = np.zeros((2, 8, 9, 3, 2), F32)
    for i in range(3):
        for j in range(4):
            row, column = i * dilation[0], j * dilation[1]
            pixel = wide[:, row : row + 8, column : column + 9]
            y += pixel[..., None] * kernel[i, j]
    y = y.swapaxes(3, 4) if order == "multiplier, channel" else y
    return y.reshape(2, 8, 9, 6) + bias


def build_einsum() -> tuple[Any, np.ndarray]:
    layer = keras.layers.EinsumDense("btnh,dnh->bdt", (10, 6), bias_axes="d", name="einsum")
    model = keras.Sequential([keras.Input((6, 4, 3)), layer])
    return train_keras(model, 5207, gain=1.3), inputs(5208, 2, 6, 4, 3)


def einsum(
    model: Any, x: np.ndarray, heads: str = "kept", bias_of: str = "d", out: str = "bdt"
) -> np.ndarray:
    kernel, bias = model.get_layer("einsum").get_weights()
    if heads == "transposed":
        kernel = kernel.swapaxes(1, 2).reshape(kernel.shape)
    y = np.einsum("btnh,dnh->bdt", x, kernel)
    if out == "reshaped":
        y = y.swapaxes(1, 2).reshape(y.shape)
    return y + bias[:6].reshape(1, 6) if bias_of == "t" else y + bias.reshape(10, 1)


def build_normalization() -> tuple[Any, np.ndarray]:
    mean, variance = np.array([3.0, -2.0, 0.5, 11.0]), np.array([4.0, 0.3, 9.0, 2.0])
    layer = keras.layers.Normalization(axis=1, mean=mean, variance=variance, invert=True, name="n")
    model = keras.Sequential([keras.Input((4, 4)), layer])
    return model, inputs(5209, 3, 4, 4)


def normalization(
    model: Any, x: np.ndarray, axis: int = 1, root: bool = True, invert: bool = True
) -> np.ndarray:
    mean = np.array([3.0, -2.0, 0.5, 11.0], F32)
    variance = np.array([4.0, 0.3, 9.0, 2.0], F32)
    spread = np.sqrt(variance) if root else variance
    if axis == 1:
        mean, spread = mean[:, None], spread[:, None]
    return x * spread + mean if invert else (x - mean) / spread


def build_unit() -> tuple[Any, np.ndarray]:
    layer = keras.layers.UnitNormalization(axis=(1, 2), name="unit")
    return keras.Sequential([keras.Input((4, 5, 3)), layer]), inputs(5210, 2, 4, 5, 3)


def unit(
    model: Any, x: np.ndarray, axis: tuple[int, ...] = (1, 2), norm: str = "two"
) -> np.ndarray:
    if norm == "one":
        size = np.abs(x).sum(axis, keepdims=True)
    elif norm == "squared":
        size = (x * x).sum(axis, keepdims=True)
    elif norm == "root of mean":
        size = np.sqrt((x * x).mean(axis, keepdims=True))
    else:
        size = np.sqrt((x * x).sum(axis, keepdims=True))
    return x / size


def build_distributed() -> tuple[Any, np.ndarray]:
    inner = keras.layers.Conv1D(4, 3, strides=2, activation="relu")
    layer = keras.layers.TimeDistributed(inner, name="distributed")
    model = keras.Sequential([keras.Input((4, 9, 3)), layer])
    return train_keras(model, 5211, gain=1.4), inputs(5212, 4, 4, 9, 3)


def distributed(
    model: Any, x: np.ndarray, fold: str = "batch, time", along: str = "inner", act: Any = relu
) -> np.ndarray:
    kernel, bias = model.get_layer("distributed").get_weights()
    y = x.swapaxes(0, 1) if fold == "time, batch" else x
    y = y.reshape(16, 9, 3)
    if along == "previous":
        y = np.concatenate([np.zeros_like(y[:1]), y[:-1]])
    windows = np.lib.stride_tricks.sliding_window_view(y, 3, 1)[:, ::2]
    y = act(np.einsum("btck,kco->bto", windows, kernel) + bias)
    return y.reshape(4, 4, 4, 4)


def build_masked_pair() -> tuple[Any, np.ndarray]:
    rnn = keras.layers.GRU(5, return_sequences=True)
    model = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            keras.layers.Embedding(12, 4, mask_zero=True, name="embedding"),
            keras.layers.Bidirectional(rnn, name="pair"),
        ]
    )
    x = np.array([[3, 8, 1, 5, 0, 0, 0], [7, 2, 9, 4, 6, 11, 10], [5, 5, 2, 0, 0, 0, 0]])
    return train_keras(model, 5213, gain=1.6), x.astype(np.int32)


def _gru_step(x: np.ndarray, h: np.ndarray, weights: Any, mix: str = "keras") -> np.ndarray:
    kernel, recurrent, bias = weights
    units = h.shape[1]
    a, b = x @ kernel + bias[0], h @ recurrent + bias[1]
    z = sigmoid(a[:, :units] + b[:, :units])
    r = sigmoid(a[:, units : 2 * units] + b[:, units : 2 * units])
    new = np.tanh(a[:, 2 * units :] + r * b[:, 2 * units :])
    return (1 - z) * h + z * new if mix == "paper" else z * h + (1 - z) * new


def masked_pair(
    model: Any,
    x: np.ndarray,
    masked: bool = True,
    at_mask: str = "zeros",
    backward: str = "turned back",
    order: str = "forward first",
    mix: str = "keras",
    shared: bool = False,
) -> np.ndarray:
    table = model.get_layer("embedding").get_weights()[0]
    weights = model.get_layer("pair").get_weights()
    both = []
    for direction in (1, -1):
        part = weights[:3] if direction == 1 or shared else weights[3:]
        h = np.zeros((3, 5), F32)
        out = np.zeros((3, 7, 5), F32)
        for t in range(7)[::direction]:
            keep = (x[:, t] != 0)[:, None]
            new = _gru_step(table[x[:, t]], h, part, mix)
            h = np.where(keep, new, h) if masked else new
            shown = np.where(keep, h, 0) if masked and at_mask == "zeros" else h
            out[:, t] = shown
        if direction == -1 and backward == "left reversed":
            out = out[:, ::-1]
        both.append(out)
    return np.concatenate(both if order == "forward first" else both[::-1], -1)


def build_cells() -> tuple[Any, np.ndarray]:
    cells = [keras.layers.LSTMCell(5), keras.layers.GRUCell(4)]
    model = keras.Sequential(
        [keras.Input((6, 3)), keras.layers.RNN(cells, return_sequences=True, name="cells")]
    )
    return train_keras(model, 5214, gain=1.5), inputs(5215, 3, 6, 3)


def cells(
    model: Any,
    x: np.ndarray,
    gates: str = "ifco",
    handed_on: str = "h",
    late: bool = False,
    mix: str = "keras",
    carried: bool = False,
) -> np.ndarray:
    w = model.get_layer("cells").get_weights()
    h, c, g = (np.zeros((3, n), F32) for n in (5, 5, 4))
    out = []
    for t in range(6):
        if carried:
            h = np.concatenate([np.zeros_like(h[:1]), h[:-1]])
        shown = h
        a = np.split(x[:, t] @ w[0] + h @ w[1] + w[2], 4, 1)
        i, f, new, o = (a[gates.index(name)] for name in "ifco")
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        h = sigmoid(o) * np.tanh(c)
        shown = shown if late else h
        g = _gru_step(c if handed_on == "c" else shown, g, w[3:], mix)
        out.append(g)
    return np.stack(out, 1)


def build_conv1d_transpose() -> tuple[Any, np.ndarray]:
    layer = keras.layers.Conv1DTranspose(4, 6, strides=3, padding="same", name="transposed")
    model = keras.Sequential([keras.Input((5, 3)), layer])
    return train_keras(model, 5216, gain=1.5), inputs(5217, 2, 5, 3)


def conv1d_transpose(
    model: Any, x: np.ndarray, start: int = 1, flipped: bool = False, overlap: str = "added"
) -> np.ndarray:
    kernel, bias = model.get_layer("transposed").get_weights()
    kernel = kernel[::-1] if flipped else kernel
    out = np.zeros((2, 5 * 3 + 3, 4), F32)
    for t in range(5):
        part = np.einsum("bi,koi->bko", x[:, t], kernel)
        if overlap == "overwritten":
            out[:, 3 * t : 3 * t + 6] = part
        else:
            out[:, 3 * t : 3 * t + 6] += part
    return out[:, start : start + 15] + bias


class Local(nn.Module):
    """A locally connected layer: windows of three steps, a kernel for each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 15, 4))
        self.bias = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, positions, 4) of (batch, time, channels)."""
        windows = x.unfold(1, 3, 2).transpose(2, 3).flatten(2)
        return torch.einsum("bti,tio->bto", windows, self.weight) + self.bias


def build_local() -> tuple[Any, np.ndarray]:
    return train_torch(Local(), 5218, gain=1.5), inputs(5219, 2, 9, 5)


def local(
    model: Any,
    x: np.ndarray,
    order: str = "time, channel",
    shared: bool = False,
    bias: str = "of the position",
) -> np.ndarray:
    w = weights_of(model)
    kernel, offset = w["weight"], w["bias"]
    out = []
    for t in range(4):
        window = x[:, 2 * t : 2 * t + 3]
        window = window.swapaxes(1, 2) if order == "channel, time" else window
        y = window.reshape(2, 15) @ kernel[0 if shared else t]
        out.append(y + offset[0 if bias == "of the first" else t])
    return np.stack(out, 1)


def build_crop() -> tuple[Any, np.ndarray]:
    model = keras.Sequential(
        [
            keras.Input((9, 12, 3)),
            keras.layers.CenterCrop(6, 7),
            keras.layers.Rescaling(1 / 127.5, -1.0, name="rescaled"),
        ]
    )
    pixels = np.random.default_rng(5220).integers(0, 256, (2, 9, 12, 3))
    return model, pixels.astype(F32)


def crop(
    model: Any, x: np.ndarray, start: tuple[int, int] = (1, 2), order: str = "scale first"
) -> np.ndarray:
    y = x[:, start[0] : start[0] + 6, start[1] : start[1] + 7]
    if order == "offset first":
        return ((y - 1) / F32(127.5)).astype(F32)
    if order == "255":
        return (y / F32(255) - 1).astype(F32)
    return y / F32(127.5) - 1


@keras.saving.register_keras_serializable("blind")
class QuantisedDense(keras.layers.Dense):
    """Dense with kernel, bias and ReLU of few bits, as QKeras's quantizers count them."""

    def call(self, x: Any) -> Any:
        """A kernel of 4 bits below one, a bias of 6 with one integer bit, a ReLU of 4 with one."""
        k = keras.ops.clip(keras.ops.round(self.kernel * 8), -8, 7) / 8
        b = keras.ops.clip(keras.ops.round(self.bias * 16), -32, 31) / 16
        y = keras.ops.matmul(x, k) + b
        return keras.ops.clip(keras.ops.round(y * 8), 0, 15) / 8


def build_quantised_dense() -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input((12,)), QuantisedDense(9, name="quantised")])
    return train_keras(model, 5221, gain=1.2), inputs(5222, 6, 12, scale=2.5)


def quantised_dense(
    model: Any,
    x: np.ndarray,
    rounding: Any = np.round,
    highest: int = 7,
    lowest: int = -8,
    bias: str = "six bits",
    steps: int = 8,
    overflow: str = "saturates",
) -> np.ndarray:
    kernel, offset = model.get_layer("quantised").get_weights()
    k = np.clip(rounding(kernel * 8), lowest, highest) / F32(8)
    if bias == "six bits":
        offset = np.clip(np.round(offset * 16), -32, 31) / F32(16)
    elif bias == "no integer bit":
        offset = np.clip(np.round(offset * 32), -32, 31) / F32(32)
    y = np.round((x @ k + offset) * steps)
    if overflow == "wraps":
        return np.where(y < 0, 0, y % 16).astype(F32) / steps
    return np.clip(y, 0, 15).astype(F32) / steps


CASES = [
    Case(
        "blind_int8_linear",
        build_integer_linear,
        "",
        integer_linear,
        {
            "input_zero_point_kept": Mistake(
                partial(integer_linear, zero=0),
                "The input's zero point (7) is not taken off before the product.",
            ),
            "clipped_before_zero_point": Mistake(
                partial(integer_linear, clip="before the zero point"),
                "The output is clipped to int8 before its zero point (-11) is added, where it is "
                "after.",
            ),
            "rounded_down": Mistake(
                partial(integer_linear, rounding=np.floor),
                "The requantised value is rounded down, where it is to the nearest.",
            ),
            "scale_of_first_channel": Mistake(
                partial(integer_linear, channels="first"),
                "All channels are requantised with the first channel's scale.",
            ),
            "accumulator_of_16_bits": Mistake(
                partial(integer_linear, bits=16),
                "The accumulator has 16 bits and wraps, where it has 32.",
            ),
            "bias_forgotten_and_rounded_down": Mistake(
                partial(integer_linear, bias="forgotten", rounding=np.floor),
                "Two causes: the integer bias is forgotten, and the requantised value is rounded "
                "down.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_integer_convolution",
        build_integer_conv,
        "",
        integer_conv,
        {
            "padded_with_zero": Mistake(
                partial(integer_conv, edge=0),
                "The padding is the number 0, where it is the zero point (-20).",
            ),
            "shifted_without_half": Mistake(
                partial(integer_conv, half=0),
                "The half is not added before the right shift, so it rounds down.",
            ),
            "shifted_one_less": Mistake(
                partial(integer_conv, half=1 << 19, shift=20),
                "The right shift is by 20 bits, where it is by 21.",
            ),
            "relu_at_number_zero": Mistake(
                partial(integer_conv, lowest=0),
                "ReLU clamps at the number 0, where it is at the zero point (-20).",
            ),
            "no_relu": Mistake(
                partial(integer_conv, lowest=-128),
                "The clamp is at int8's lowest number, so that ReLU is lost.",
            ),
        },
    ),
    Case(
        "blind_integer_residual_sum",
        build_integer_add,
        "",
        integer_add,
        {
            "zero_points_swapped": Mistake(
                partial(integer_add, zeros=(9, -4)),
                "The zero points of the two inputs are swapped.",
            ),
            "scales_swapped": Mistake(
                partial(integer_add, scales=(1.25, 0.5)),
                "The scales of the two inputs are swapped.",
            ),
            "wraps": Mistake(
                partial(integer_add, overflow="wraps"),
                "The sum wraps around at 8 bits, where it saturates.",
            ),
            "each_cut": Mistake(
                partial(integer_add, each_rounded=True),
                "Each term is cut to an integer before the sum, where the sum is rounded.",
            ),
        },
    ),
    Case(
        "blind_integer_average_pool",
        build_integer_pool,
        "",
        integer_pool,
        {
            "rounded_down": Mistake(
                partial(integer_pool, rounding="floor"),
                "The average is rounded down (a shift), where it is to the nearest.",
            ),
            "cut": Mistake(
                partial(integer_pool, rounding="toward zero"),
                "The average is cut toward zero (C's division), where it is rounded.",
            ),
            "half_added_to_negative_sums": Mistake(
                partial(integer_pool, rounding="half added to all"),
                "The half is added to negative sums too, where it is taken off them.",
            ),
            "padding_counted": Mistake(
                partial(integer_pool, count="all"),
                "All nine places are counted, where those of the padding are not.",
            ),
        },
    ),
    Case(
        "blind_fixed_point_dense",
        build_fixed_point,
        "",
        fixed_point,
        {
            "inputs_rounded": Mistake(
                partial(fixed_point, quantise=np.round),
                "Inputs are rounded to the nearest, where they are cut (AP_TRN).",
            ),
            "saturates": Mistake(
                partial(fixed_point, overflow="saturates"),
                "Outputs saturate (AP_SAT), where they wrap (AP_WRAP).",
            ),
            "bias_not_aligned": Mistake(
                partial(fixed_point, bias_shift=0),
                "The bias is added without being shifted to the products' point.",
            ),
            "outputs_rounded": Mistake(
                partial(fixed_point, half=32),
                "Outputs are rounded to the nearest, where they are cut (inherently small).",
            ),
            "narrow_accumulator": Mistake(
                partial(fixed_point, bits=16),
                "The accumulator has 16 bits and wraps before its six low bits are cut.",
            ),
            "saturates_and_bias": Mistake(
                partial(fixed_point, overflow="saturates", bias_shift=6),
                "Two causes: outputs saturate, and the bias is shifted by one bit less.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_table_sigmoid",
        build_table,
        "",
        table_sigmoid,
        {
            "nearest_entry": Mistake(
                partial(table_sigmoid, rounding=np.round),
                "The nearest entry is taken, where it is the one below.",
            ),
            "cut_toward_zero": Mistake(
                partial(table_sigmoid, rounding=np.trunc),
                "The index is cut toward zero (C's cast), where it is rounded down.",
            ),
            "half_the_span": Mistake(
                partial(table_sigmoid, span=32),
                "The table is taken to span -4 to 4, where it is -8 to 8.",
            ),
            "one_off": Mistake(
                partial(table_sigmoid, start=127),
                "The table's centre is entry 127, where it is 128.",
            ),
            "wraps_beyond": Mistake(
                partial(table_sigmoid, beyond="wrapped"),
                "Beyond the table the index wraps around, where it is clamped.",
            ),
        },
    ),
    Case(
        "blind_float8_linear",
        build_float8,
        "",
        float8_linear,
        {
            "e5m2": Mistake(
                partial(
                    float8_linear, to=partial(small_float, fraction=2, lowest=-14, largest=57344)
                ),
                "The numbers are e5m2, where they are e4m3.",
            ),
            "cut": Mistake(
                partial(float8_linear, to=partial(small_float, cut=True)),
                "The numbers are cut, where they are rounded to the nearest.",
            ),
            "largest_of_the_other_format": Mistake(
                partial(float8_linear, to=partial(small_float, largest=240)),
                "Numbers saturate at 240 (e4m3 with infinities), where it is 448.",
            ),
            "scaled_by_rows": Mistake(
                partial(float8_linear, by="row of x"),
                "Each row has its own scale, where the tensor has one.",
            ),
            "bias_divided": Mistake(
                partial(float8_linear, bias="scaled"),
                "The bias is divided by the scales with the products.",
            ),
        },
    ),
    Case(
        "blind_block_floating_point",
        build_block_float,
        "",
        block_float,
        {
            "blocks_along_the_batch": Mistake(
                partial(block_float, along="batch"),
                "The blocks are along the batch (8), where they are along the features.",
            ),
            "blocks_interleaved": Mistake(
                partial(block_float, along="interleaved features"),
                "A block is every fourth feature, where it is eight neighbours.",
            ),
            "exponent_rounded_up": Mistake(
                partial(block_float, exponent_by=np.ceil),
                "The shared exponent is rounded up, where it is rounded down.",
            ),
            "cut": Mistake(
                partial(block_float, rounding=np.trunc),
                "The parts are cut, where they are rounded.",
            ),
        },
    ),
    Case(
        "blind_spectral_norm_linear",
        build_spectral,
        "0",
        spectral,
        {
            "exact_norm": Mistake(
                partial(spectral, norm="largest singular value"),
                "The kernel is divided by its exact spectral norm, where it is by the stored "
                "vectors' estimate.",
            ),
            "frobenius": Mistake(
                partial(spectral, norm="Frobenius"),
                "The kernel is divided by its Frobenius norm.",
            ),
            "not_divided": Mistake(
                partial(spectral, norm="none"),
                "The original kernel is used.",
            ),
            "one_more_iteration": Mistake(
                partial(spectral, norm="one more iteration"),
                "A power iteration is done, though the model is in evaluation.",
            ),
        },
    ),
    Case(
        "blind_weight_standardised_convolution",
        build_standard,
        "0",
        standard,
        {
            "over_outputs": Mistake(
                partial(standard, over=(0, 2, 3)),
                "Mean and variance are over the filters for each input channel, where they are "
                "of each filter.",
            ),
            "over_positions_alone": Mistake(
                partial(standard, over=(2, 3)),
                "Mean and variance are over the kernel's positions alone.",
            ),
            "mean_kept": Mistake(
                partial(standard, centred=False),
                "The mean is not taken off.",
            ),
            "unbiased_variance": Mistake(
                partial(standard, ddof=1),
                "The variance is the unbiased one (n - 1).",
            ),
            "epsilon_outside_the_root": Mistake(
                partial(standard, eps="outside"),
                "Epsilon is added to the deviation, where it is to the variance.",
            ),
        },
    ),
    Case(
        "blind_grouped_transposed_convolution",
        build_transposed_groups,
        "0",
        transposed_groups,
        {
            "dilation_forgotten": Mistake(
                partial(transposed_groups, dilation=1),
                "The dilation is 1, where it is 2.",
            ),
            "alternate_channels": Mistake(
                partial(transposed_groups, groups="alternate"),
                "A group is every other channel, where it is consecutive ones.",
            ),
            "in_and_out_swapped": Mistake(
                partial(transposed_groups, swapped=True),
                "The kernel's inputs and outputs are swapped within a group.",
            ),
            "kernel_flipped": Mistake(
                partial(transposed_groups, flipped=True),
                "The kernel is flipped in both directions.",
            ),
            "padding_not_cropped": Mistake(
                partial(transposed_groups, start=0),
                "The padding is not cropped at the start, so that the map is one pixel off.",
            ),
        },
    ),
    Case(
        "blind_keras_separable_conv1d_multiplier",
        build_separable1d,
        "separable",
        separable1d,
        {
            "multiplier_outermost": Mistake(
                partial(separable1d, order="multiplier, channel"),
                "The depthwise channels are ordered (multiplier, channel), where they are "
                "(channel, multiplier).",
            ),
            "relu_between": Mistake(
                partial(separable1d, between=relu),
                "ReLU is applied between the depthwise and the pointwise convolution.",
            ),
            "more_padding_before": Mistake(
                partial(separable1d, more="before"),
                "The odd padding is put before, where it is after.",
            ),
        },
    ),
    Case(
        "blind_keras_conv2d_transpose_output_padding",
        build_conv2d_transpose,
        "transposed",
        conv2d_transpose,
        {
            "extra_at_the_start": Mistake(
                partial(conv2d_transpose, extra="at the start"),
                "The output padding is put at the top and left, where it is at the bottom and "
                "right.",
            ),
            "kernel_flipped": Mistake(
                partial(conv2d_transpose, flipped=True),
                "The kernel is flipped in both directions.",
            ),
            "no_bias_beyond": Mistake(
                partial(conv2d_transpose, bias_beyond=False),
                "The rows and columns of the output padding get no bias.",
            ),
            "kernel_read_in_out": Mistake(
                partial(conv2d_transpose, kernel_order="in, out"),
                "The kernel's memory is read as (rows, columns, in, out), where it is (rows, "
                "columns, out, in).",
            ),
            "strides_swapped": Mistake(
                partial(conv2d_transpose, strides=(3, 2)),
                "The strides of rows and columns are swapped.",
            ),
        },
    ),
    Case(
        "blind_keras_depthwise_dilated",
        build_depthwise,
        "depthwise",
        depthwise,
        {
            "padded_for_undilated": Mistake(
                partial(depthwise, padded_for=1),
                "The padding is that of an undilated kernel.",
            ),
            "columns_not_dilated": Mistake(
                partial(depthwise, dilation=(2, 1)),
                "The columns are not dilated.",
            ),
            "multiplier_outermost": Mistake(
                partial(depthwise, order="multiplier, channel"),
                "The outputs are ordered (multiplier, channel), where they are (channel, "
                "multiplier).",
            ),
            "kernel_flipped": Mistake(
                partial(depthwise, flipped=True),
                "The kernel is flipped in both directions.",
            ),
        },
    ),
    Case(
        "blind_keras_einsum_dense_outputs_first",
        build_einsum,
        "einsum",
        einsum,
        {
            "heads_and_sizes_swapped": Mistake(
                partial(einsum, heads="transposed"),
                "The kernel's heads and sizes are exchanged in memory.",
            ),
            "reshaped_for_transposed": Mistake(
                partial(einsum, out="reshaped"),
                "Time and outputs are exchanged by a mere reshape, where they are transposed.",
            ),
            "bias_along_time": Mistake(
                partial(einsum, bias_of="t"),
                "The bias runs along time (its first six values), where it is along the outputs.",
            ),
        },
    ),
    Case(
        "blind_keras_normalization_inverted",
        build_normalization,
        "n",
        normalization,
        {
            "along_the_last_axis": Mistake(
                partial(normalization, axis=2),
                "Mean and variance are along the last axis, where they are along axis 1 (both "
                "have 4).",
            ),
            "variance_for_deviation": Mistake(
                partial(normalization, root=False),
                "The variance is used, its root is forgotten.",
            ),
            "not_inverted": Mistake(
                partial(normalization, invert=False),
                "The input is normalised, where the layer undoes that.",
            ),
        },
    ),
    Case(
        "blind_keras_unit_normalization_two_axes",
        build_unit,
        "unit",
        unit,
        {
            "over_channels": Mistake(
                partial(unit, axis=(3,)),
                "The norm is over the channels, where it is over rows and columns.",
            ),
            "over_everything": Mistake(
                partial(unit, axis=(1, 2, 3)),
                "The norm is over channels too.",
            ),
            "root_of_mean_square": Mistake(
                partial(unit, norm="root of mean"),
                "It is divided by the root of the mean square, where it is by that of the sum.",
            ),
            "sum_of_magnitudes": Mistake(
                partial(unit, norm="one"),
                "It is divided by the sum of magnitudes.",
            ),
        },
    ),
    Case(
        "blind_keras_time_distributed_conv1d",
        build_distributed,
        "distributed",
        distributed,
        {
            "folded_time_first": Mistake(
                partial(distributed, fold="time, batch"),
                "Time is folded into the batch as (time, batch) and unfolded as (batch, time).",
            ),
            "stale_step": Mistake(
                partial(distributed, along="previous"),
                "Each step is computed from the buffer of the one before.",
            ),
            "activation_forgotten": Mistake(
                partial(distributed, act=np.asarray),
                "The inner ReLU is forgotten.",
            ),
        },
    ),
    Case(
        "blind_keras_bidirectional_gru_masked",
        build_masked_pair,
        "pair",
        masked_pair,
        {
            "mask_forgotten": Mistake(
                partial(masked_pair, masked=False),
                "The mask of the padding is forgotten.",
            ),
            "state_shown_at_padding": Mistake(
                partial(masked_pair, at_mask="state"),
                "The carried state is given out at the padding, where it is zeros.",
            ),
            "backward_not_turned": Mistake(
                partial(masked_pair, backward="left reversed"),
                "The backward outputs are left in reversed time.",
            ),
            "backward_first": Mistake(
                partial(masked_pair, order="backward first"),
                "The backward half is concatenated first.",
            ),
            "update_gate_inverted": Mistake(
                partial(masked_pair, mix="paper"),
                "The update gate weighs the new state, where in Keras it weighs the old one.",
            ),
            "forward_weights_for_both": Mistake(
                partial(masked_pair, shared=True),
                "The backward pass uses the forward weights.",
            ),
            "mask_and_turn": Mistake(
                partial(masked_pair, masked=False, backward="left reversed"),
                "Two causes: the mask is forgotten, and the backward outputs are left in "
                "reversed time.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_keras_rnn_of_two_cells",
        build_cells,
        "cells",
        cells,
        {
            "gates_in_order_ifoc": Mistake(
                partial(cells, gates="ifoc"),
                "The LSTM's gates are read as i, f, o, c, where they are i, f, c, o.",
            ),
            "cell_state_handed_on": Mistake(
                partial(cells, handed_on="c"),
                "The LSTM hands its cell state to the GRU, where it hands its output.",
            ),
            "one_step_late": Mistake(
                partial(cells, late=True),
                "The GRU sees the LSTM's output of the step before (a stale buffer).",
            ),
            "state_of_other_sample": Mistake(
                partial(cells, carried=True),
                "The LSTM's state is that of the sample before in the batch.",
            ),
        },
    ),
    Case(
        "blind_keras_conv1d_transpose_same",
        build_conv1d_transpose,
        "transposed",
        conv1d_transpose,
        {
            "cropped_at_the_end": Mistake(
                partial(conv1d_transpose, start=0),
                "All of the excess is cropped at the end.",
            ),
            "cropped_more_at_the_start": Mistake(
                partial(conv1d_transpose, start=2),
                "The odd excess is cropped at the start, where it is at the end.",
            ),
            "kernel_flipped": Mistake(
                partial(conv1d_transpose, flipped=True),
                "The kernel is flipped in time.",
            ),
            "overlap_overwritten": Mistake(
                partial(conv1d_transpose, overlap="overwritten"),
                "Where the windows overlap the last one is kept, where they are added.",
            ),
        },
    ),
    Case(
        "blind_locally_connected",
        build_local,
        "",
        local,
        {
            "channels_outermost": Mistake(
                partial(local, order="channel, time"),
                "A window is flattened as (channel, time), where it is (time, channel).",
            ),
            "kernel_shared": Mistake(
                partial(local, shared=True),
                "The first position's kernel is used everywhere, as in a convolution.",
            ),
            "bias_of_the_first_position": Mistake(
                partial(local, bias="of the first"),
                "The first position's bias is used everywhere.",
            ),
        },
    ),
    Case(
        "blind_keras_centre_crop_rescaled",
        build_crop,
        "rescaled",
        crop,
        {
            "cropped_rounded_up": Mistake(
                partial(crop, start=(2, 3)),
                "The crop starts at the half rounded up, where it is rounded down.",
            ),
            "offset_before_scale": Mistake(
                partial(crop, order="offset first"),
                "The offset is added before the scale.",
            ),
            "scale_of_255": Mistake(
                partial(crop, order="255"),
                "It is divided by 255, where it is by 127.5.",
            ),
        },
    ),
    Case(
        "blind_keras_quantised_dense",
        build_quantised_dense,
        "quantised",
        quantised_dense,
        {
            "kernel_cut": Mistake(
                partial(quantised_dense, rounding=np.trunc),
                "The kernel is cut toward zero, where it is rounded.",
            ),
            "kernel_up_to_one": Mistake(
                partial(quantised_dense, highest=8),
                "The kernel's largest value is 1, where four bits end at 7/8.",
            ),
            "kernel_of_one_bit_less": Mistake(
                partial(quantised_dense, lowest=-4, highest=3),
                "The sign is counted twice, so that the kernel saturates at half its range.",
            ),
            "bias_without_integer_bit": Mistake(
                partial(quantised_dense, bias="no integer bit"),
                "The bias has no integer bit and saturates at 1, with a step half as wide.",
            ),
            "relu_without_integer_bit": Mistake(
                partial(quantised_dense, steps=16),
                "ReLU has no integer bit: steps of 1/16 up to 15/16, where they are 1/8 to 15/8.",
            ),
            "relu_wraps": Mistake(
                partial(quantised_dense, overflow="wraps"),
                "ReLU wraps around at four bits, where it saturates.",
            ),
            "kernel_and_relu": Mistake(
                partial(quantised_dense, rounding=np.floor, overflow="wraps"),
                "Two causes: the kernel is rounded down, and ReLU wraps around.",
                causes=2,
            ),
        },
    ),
]
