"""Quantised arithmetic, convolutions and other layers of Keras, right and wrong.

Integers with zero points, fixed point, small floats, tables, QKeras, and layers whose axes,
paddings or states are easily mistaken. They were written from the frameworks' references alone,
without a look at the tool that is measured on them.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, linear
from corpora.ports.trained import inputs, train_torch, weights_of

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
    if bias == "after the scale":
        y = y + w["bias"]
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
]
