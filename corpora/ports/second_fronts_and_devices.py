"""Fronts of recognisers, cameras and diffusion models; and layers of fixed point, int8 and float8.

Of Keras and transformers, and small modules as practitioners write them. The ports and their
mistakes were written from the frameworks' own code and from what goes wrong when one writes such a
layer again, without a look at the tool that is measured on them.
"""

import math
from functools import partial
from typing import Any

import keras
import ml_dtypes
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.dac.modeling_dac import DacResidualUnit

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, linear, relu, silu
from corpora.ports.trained import inputs, normal_floats, train_keras, train_torch, weights_of

# Cepstra of mel bands, with their slopes.


def cosines(bands: int, kept: int) -> np.ndarray:
    """The orthonormal DCT of type 2, (kept, bands)."""
    rows = np.cos(np.pi / bands * np.arange(kept)[:, None] * (np.arange(bands) + 0.5))
    rows *= np.sqrt(2 / bands)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


class Cepstra(nn.Module):
    """Log bands (batch, time, 20) to 8 liftered coefficients less their mean, and 8 slopes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dct", torch.tensor(cosines(20, 8)))
        self.register_buffer("lifter", 1 + 11 * torch.sin(math.pi * torch.arange(8) / 22))

    def forward(self, logs: torch.Tensor) -> torch.Tensor:
        c = logs @ self.dct.T * self.lifter
        c = c - c.mean(1, keepdim=True)
        wide = torch.cat([c[:, :1], c[:, :1], c, c[:, -1:], c[:, -1:]], 1)
        n = c.shape[1]
        slope = sum(k * (wide[:, 2 + k : 2 + k + n] - wide[:, 2 - k : 2 - k + n]) for k in (1, 2))
        return torch.cat([c, slope / 10], -1)


def build_cepstra() -> tuple[Any, np.ndarray]:
    return Cepstra().eval(), inputs(9201, 2, 14, 20, scale=2.0, shift=-3.0)


def cepstra(
    model: Any,
    x: np.ndarray,
    norm: str = "orthonormal",
    kind: int = 2,
    lifter_from: int | None = 0,
    mean_over: int | None = 1,
    edge: str = "edge",
    divisor: int = 10,
    first: int = 0,
) -> np.ndarray:
    n, k = np.arange(20), np.arange(first, first + 8)[:, None]
    if kind == 2:
        rows = np.cos(np.pi / 20 * k * (n + 0.5)) * np.sqrt(2 / 20)
        if norm == "orthonormal" and first == 0:
            rows[0] /= np.sqrt(2)
    else:
        rows = np.cos(np.pi / 20 * (k + 0.5) * n) * np.sqrt(2 / 20)
        rows[:, 0] /= np.sqrt(2)
    if norm == "none":
        rows = 2 * np.cos(np.pi / 20 * k * (n + 0.5))
    c = x @ rows.astype(np.float32).T
    if lifter_from is not None:
        at = np.arange(lifter_from, lifter_from + 8)
        c = c * (1 + 11 * np.sin(np.pi * at / 22)).astype(np.float32)
    if mean_over is not None:
        c = c - c.mean(mean_over, keepdims=True)
    wide = np.pad(c, ((0, 0), (2, 2), (0, 0)), mode=edge)
    slope = wide[:, 3:-1] - wide[:, 1:-3] + 2 * (wide[:, 4:] - wide[:, :-4])
    return np.concatenate([c, slope / np.float32(divisor)], -1)


# Energies divided by their running mean: a front instead of the logarithm.


class EnergyNorm(nn.Module):
    """Bands (batch, bands, time); each has a power, an offset, a root and a rate of its own."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        rng = np.random.default_rng(9202)
        for name, low, high in (
            ("alpha", 0.85, 1.2),
            ("delta", 1.0, 3.0),
            ("root", 1.5, 3.0),
            ("rate", 0.03, 0.3),
        ):
            value = torch.tensor(rng.uniform(low, high, bands).astype(np.float32))
            setattr(self, name, nn.Parameter(value, requires_grad=False))
        self.floor = 1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        alpha = self.alpha.clamp(max=1.0)[:, None]
        root = 1 / self.root.clamp(min=1.0)[:, None]
        means = [x[..., 0]]
        for t in range(1, x.shape[-1]):
            means.append(self.rate * x[..., t] + (1 - self.rate) * means[-1])
        mean = torch.stack(means, -1)
        delta = self.delta[:, None]
        return (x / (self.floor + mean) ** alpha + delta) ** root - delta**root


def build_energy_norm() -> tuple[Any, np.ndarray]:
    x = np.exp(1.5 * normal_floats(9203, 2, 8, 25) - 2).astype(np.float32)
    x[:, 5:] *= np.float32(1e-3)  # bands in which it is quiet
    return EnergyNorm(8).eval(), x


def energy_norm(
    model: Any,
    x: np.ndarray,
    start: str = "first frame",
    rate_of: str = "new",
    alpha_limited: bool = True,
    offset_removed: bool = True,
    exponent: str = "1 / root",
    floor_at: str = "within the power",
    mean_of: str = "this frame",
) -> np.ndarray:
    w = weights_of(model)
    alpha = np.minimum(w["alpha"], 1) if alpha_limited else w["alpha"]
    delta, rate = w["delta"][:, None], w["rate"]
    root = (w["root"] if exponent == "root" else 1 / w["root"])[:, None]
    new = rate if rate_of == "new" else 1 - rate
    mean = np.zeros_like(x)
    now = x[..., 0] if start == "first frame" else np.zeros_like(x[..., 0])
    for t in range(x.shape[-1]):
        if mean_of == "frame before":
            mean[..., t] = now
        now = new * x[..., t] + (1 - new) * now
        if mean_of == "this frame":
            mean[..., t] = now
    if floor_at == "within the power":
        y = x / (np.float32(1e-3) + mean) ** alpha[:, None]
    else:
        y = x / (np.float32(1e-3) + mean ** alpha[:, None])
    y = (y + delta) ** root
    return y - delta**root if offset_removed else y


# A residual unit of a neural codec, with periodic activations.


def build_snake() -> tuple[Any, np.ndarray]:
    return train_torch(DacResidualUnit(6, dilation=3), 9204, gain=1.4), inputs(9205, 2, 6, 30)


def snake_unit(
    model: Any,
    x: np.ndarray,
    alpha: str = "as stored",
    factor: str = "1 / alpha",
    squared: bool = True,
    dilation: int = 3,
    pad: tuple[int, int] = (9, 9),
    residual_of: str = "input",
    second: str = "snake2",
) -> np.ndarray:
    w = weights_of(model)

    def snake(y: np.ndarray, name: str) -> np.ndarray:
        a = np.exp(w[f"{name}.alpha"]) if alpha == "exp" else w[f"{name}.alpha"]
        s = np.sin(a * y)
        s = s * s if squared else s
        return y + (s / (a + np.float32(1e-9)) if factor == "1 / alpha" else s)

    first = snake(x, "snake1")
    y = np.pad(first, ((0, 0), (0, 0), pad))
    y = conv(y, w["conv1.weight"], w["conv1.bias"], dilation=dilation)
    y = conv(snake(y, second), w["conv2.weight"], w["conv2.bias"])
    return (x if residual_of == "input" else first) + y


# The step of a diffusion model as a vector.


class StepEmbedding(nn.Module):
    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.size = size
        self.linear_1 = nn.Linear(size, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, step: torch.Tensor) -> torch.Tensor:
        half = self.size // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
        angles = step[:, None].float() * rates
        y = torch.cat([torch.cos(angles), torch.sin(angles)], -1)
        return self.linear_2(F.silu(self.linear_1(y)))


def build_step() -> tuple[Any, np.ndarray]:
    return train_torch(StepEmbedding(32, 24), 9206, gain=1.4), np.array([1, 981, 437, 999, 250])


def step_embedding(
    model: Any,
    x: np.ndarray,
    order: str = "cos, sin",
    divided_by: int = 16,
    period: float = 10000.0,
    angles_in: Any = np.float32,
    step_in: Any = np.float32,
    share: bool = False,
    act: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    step = x.astype(step_in).astype(np.float32)
    if share:
        step = step / 1000
    rates = np.exp(-math.log(period) * np.arange(16) / divided_by).astype(angles_in)
    angles = step.astype(angles_in)[:, None] * rates
    cos, sin = np.cos(angles.astype(np.float32)), np.sin(angles.astype(np.float32))
    if order == "cos, sin":
        y = np.concatenate([cos, sin], -1)
    elif order == "sin, cos":
        y = np.concatenate([sin, cos], -1)
    else:
        y = np.stack([cos, sin], -1).reshape(len(x), 32)
    y = linear(y, w["linear_1.weight"], w["linear_1.bias"])
    return linear(silu(y) if act else y, w["linear_2.weight"], w["linear_2.bias"])


# A camera's image (NV12: a plane of Y, and one of U and V in turn) to a network's input.


class CameraInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
        c = 298 * (luma.int() - 16)
        both = chroma.int().repeat_interleave(2, 1).repeat_interleave(2, 2) - 128
        d, e = both.unbind(-1)
        rgb = torch.stack([c + 409 * e, c - 100 * d - 208 * e, c + 516 * d], 1)
        rgb = ((rgb + 128) >> 8).clamp(0, 255)
        return (rgb.float() / 255 - self.mean) / self.std


def build_camera() -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(9207)
    luma = rng.integers(16, 236, (2, 8, 12), np.uint8)
    chroma = rng.integers(60, 200, (2, 4, 6, 2), np.uint8)
    return CameraInput().eval(), (luma, chroma)


def camera(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    chroma_order: str = "u, v",
    planes: str = "in turn",
    standard: str = "601",
    full_range: bool = False,
    half: int = 128,
    limited: bool = True,
    colours: str = "rgb",
    statistics: str = "of 0 to 1",
) -> np.ndarray:
    luma, chroma = (part.astype(np.int32) for part in x)
    if planes == "one after the other":
        u, v = chroma.reshape(2, 2, 4, 6).swapaxes(0, 1)
    else:
        u, v = chroma[..., 0], chroma[..., 1]
    if chroma_order == "v, u":
        u, v = v, u
    d, e = (part.repeat(2, 1).repeat(2, 2) - 128 for part in (u, v))
    if full_range:
        c, factors = 256 * luma, (359, 88, 183, 454)
    elif standard == "709":
        c, factors = 298 * (luma - 16), (459, 55, 136, 541)
    else:
        c, factors = 298 * (luma - 16), (409, 100, 208, 516)
    red, green_of_u, green_of_v, blue = factors
    y = np.stack([c + red * e, c - green_of_u * d - green_of_v * e, c + blue * d], 1)
    y = (y + half) >> 8
    y = np.clip(y, 0, 255) if limited else y.astype(np.uint8)
    if colours == "bgr":
        y = y[:, ::-1]
    w = weights_of(model)
    if statistics == "of halves":
        return y.astype(np.float32) / np.float32(127.5) - 1
    return (y.astype(np.float32) / 255 - w["mean"]) / w["std"]


# A linear layer in fixed point, as a synthesis tool makes it.


class FixedDense(nn.Module):
    """Numbers of 10 bits, 4 of them before the point: cut off below, and they wrap around."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @staticmethod
    def wrapped(steps: torch.Tensor) -> torch.Tensor:
        return (steps + 512) % 1024 - 512

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.wrapped(torch.floor(x * 64).long())
        total = (steps[:, None] * self.weight.long()).sum(-1) + (self.bias.long() << 6)
        return F.relu(self.wrapped(total >> 6).float() / 64)


def build_fixed() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(9208)
    weight = np.floor(rng.normal(0, 0.35, (7, 12)) * 64).astype(np.int16)
    bias = np.floor(rng.normal(0, 0.8, 7) * 64).astype(np.int16)
    x = inputs(9209, 6, 12, scale=1.3)
    x[2, 4], x[4] = 9.3, 2.2 * x[4]
    return FixedDense(torch.tensor(weight), torch.tensor(bias)).eval(), x


def fixed_dense(
    model: Any,
    x: np.ndarray,
    fraction: int = 6,
    rounded: bool = False,
    saturated: bool = False,
    cut: str = "sum",
    bias: str = "shifted",
    toward_zero: bool = False,
    act: bool = True,
) -> np.ndarray:
    w = weights_of(model)

    def in_ten_bits(steps: np.ndarray) -> np.ndarray:
        return np.clip(steps, -512, 511) if saturated else (steps + 512) % 1024 - 512

    y = x.astype(np.float64) * 2**fraction
    if rounded:
        y = np.floor(y + 0.5)
    elif toward_zero:
        y = np.trunc(y)
    else:
        y = np.floor(y)
    steps = in_ten_bits(y.astype(np.int64))
    products = steps[:, None] * w["weight"].astype(np.int64)
    offset = w["bias"].astype(np.int64)
    if cut == "products":
        total = (products >> fraction).sum(-1) + offset
    else:
        offset = offset << fraction if bias == "shifted" else offset
        total = (products.sum(-1) + offset) >> fraction
    z = in_ten_bits(total).astype(np.float32) / np.float32(2**fraction)
    return relu(z) if act else z


# An int8 pooling and the classes, as a runtime for small devices computes them.


class PooledClasses(nn.Module):
    """int8 (batch, rows, columns, channels); zero points 4 of x and -9 of y."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(rng.integers(-127, 128, (5, 48), np.int8)))
        self.register_buffer("bias", torch.tensor(rng.integers(-9000, 9000, 5, np.int32)))
        self.register_buffer("multiplier", torch.tensor(1_518_500_250))
        self.register_buffer("shift", torch.tensor(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(x, dtype=torch.long)
        total, count = (
            F.pad(v, (0, 0, 0, 1, 0, 1)).unfold(1, 2, 2).unfold(2, 2, 2).sum((-2, -1))
            for v in (x.long(), ones)
        )
        nudged = torch.where(total > 0, total + count // 2, total - count // 2)
        y = torch.div(nudged, count, rounding_mode="trunc").flatten(1)
        y = ((y - 4)[:, None] * self.weight.long()).sum(-1) + self.bias
        y = (y * self.multiplier + (1 << (30 + self.shift))) >> (31 + self.shift)
        return (y - 9).clamp(-128, 127).to(torch.int8)


def build_pooled() -> tuple[Any, np.ndarray]:
    x = np.random.default_rng(9211).integers(-128, 128, (4, 7, 7, 3), np.int8)
    return PooledClasses(np.random.default_rng(9210)).eval(), x


def pooled_classes(
    model: Any,
    x: np.ndarray,
    counted: str = "pixels",
    average: str = "rounded",
    flat: str = "channels last",
    zero_point: int = 4,
    out_zero: int = -9,
    weight: str = "out, in",
    shift: int = 8,
    bias: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    ones = np.pad(np.ones(x.shape, np.int64), ((0, 0), (0, 1), (0, 1), (0, 0)))
    wide = np.pad(x.astype(np.int64), ((0, 0), (0, 1), (0, 1), (0, 0)))
    total, count = (v.reshape(4, 4, 2, 4, 2, 3).sum((2, 4)) for v in (wide, ones))
    if counted == "window":
        count = np.full_like(count, 4)
    if average == "rounded":
        y = np.sign(total) * ((np.abs(total) + count // 2) // count)
    else:
        y = total // count
    if flat == "channels first":
        y = y.transpose(0, 3, 1, 2)
    y = y.reshape(4, 48) - zero_point
    kernel = w["weight"].astype(np.int64)
    if weight == "in, out":
        kernel = kernel.reshape(48, 5).T
    y = linear(y, kernel, w["bias"].astype(np.int64) if bias else None)
    y = (y * 1_518_500_250 + (1 << (30 + shift))) >> (31 + shift)
    return np.clip(y + out_zero, -128, 127).astype(np.int8)


# Keras' layer in float8.


def build_float8() -> tuple[Any, np.ndarray]:
    model = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(8, activation="relu", name="dense")]
    )
    train_keras(model, 9212)
    model.quantize("float8")
    layer = model.get_layer("dense")
    layer.kernel_scale.assign(np.float32(1.1 / 448))
    layer.inputs_scale.assign(np.float32(4.0 / 448))
    return model, inputs(9213, 6, 20)


def float8_dense(
    model: Any,
    x: np.ndarray,
    small: Any = ml_dtypes.float8_e4m3fn,
    limit: float = 448.0,
    scales: str = "divided by",
    kernel_scaled: bool = True,
    kernel_rescaled: bool = True,
    activations: str = "float8",
    bias: str = "bfloat16",
    relu_at: str = "end",
) -> np.ndarray:
    layer = model.get_layer("dense")
    kernel, offset, x_scale, k_scale = (
        keras.ops.convert_to_numpy(v)
        for v in (layer._kernel, layer.bias, layer.inputs_scale, layer.kernel_scale)
    )

    def rounded(y: np.ndarray, scale: np.ndarray) -> np.ndarray:
        y = y * scale if scales == "multiplied by" else y / scale
        y = np.clip(y, -limit, limit).astype(small).astype(np.float32)
        return y / scale if scales == "multiplied by" else y * scale

    if activations == "float8":
        x = rounded(x, x_scale)
    kernel = rounded(kernel, k_scale if kernel_scaled else np.float32(1))
    y = x @ (kernel if kernel_rescaled else kernel / k_scale)
    if bias == "bfloat16":
        offset = offset.astype(ml_dtypes.bfloat16).astype(np.float32)
    return relu(y + offset) if relu_at == "end" else relu(y) + offset


CASES = [
    Case(
        "second_cepstra_and_slopes",
        build_cepstra,
        "",
        cepstra,
        {
            "dct_not_normalised": Mistake(
                partial(cepstra, norm="none"),
                "The DCT is twice the sum of the cosines (SciPy's default), where it is "
                "orthonormal.",
            ),
            "first_row_as_the_others": Mistake(
                partial(cepstra, norm="same for all"),
                "The DCT's first row has the factor of the others, where it is a root of 2 "
                "smaller.",
            ),
            "dct_transposed": Mistake(
                partial(cepstra, kind=3),
                "The DCT is of type 3, where it is of type 2.",
            ),
            "first_coefficient_dropped": Mistake(
                partial(cepstra, first=1),
                "Coefficients 1 to 8 are kept, where it is 0 to 7.",
            ),
            "not_liftered": Mistake(
                partial(cepstra, lifter_from=None),
                "The lifter is forgotten.",
            ),
            "lifter_from_one": Mistake(
                partial(cepstra, lifter_from=1),
                "The lifter counts the coefficients from 1, where it counts them from 0.",
            ),
            "mean_of_each_frame": Mistake(
                partial(cepstra, mean_over=2),
                "The mean over the coefficients is taken off, where it is that over time.",
            ),
            "slopes_padded_with_zeros": Mistake(
                partial(cepstra, edge="constant"),
                "The frames before the first and behind the last are 0 for the slopes, where the "
                "first and the last are repeated.",
            ),
            "slopes_not_halved": Mistake(
                partial(cepstra, divisor=5),
                "The slopes are divided by the sum of the squares, 5, where it is twice that.",
            ),
            "no_lifter_and_zeros": Mistake(
                partial(cepstra, lifter_from=None, edge="constant"),
                "Two causes: the lifter is forgotten, and the frames beyond the ends are 0 for "
                "the slopes, where the first and the last are repeated.",
                causes=2,
            ),
        },
    ),
    Case(
        "second_energy_normalisation",
        build_energy_norm,
        "",
        energy_norm,
        {
            "starts_at_zero": Mistake(
                partial(energy_norm, start="zero"),
                "The running mean starts at 0, where it starts at the first frame.",
            ),
            "rate_of_the_old": Mistake(
                partial(energy_norm, rate_of="old"),
                "The rate is the share of the old mean, where it is that of the new frame.",
            ),
            "power_not_limited": Mistake(
                partial(energy_norm, alpha_limited=False),
                "The power is not limited to 1.",
            ),
            "offset_not_removed": Mistake(
                partial(energy_norm, offset_removed=False),
                "The offset's root is not subtracted at the end.",
            ),
            "root_as_the_exponent": Mistake(
                partial(energy_norm, exponent="root"),
                "The stored root is the exponent, where the exponent is 1 / root.",
            ),
            "floor_outside_the_power": Mistake(
                partial(energy_norm, floor_at="outside"),
                "The floor is added to the power of the mean, where it is added to the mean "
                "before.",
            ),
            "mean_of_the_frames_before": Mistake(
                partial(energy_norm, mean_of="frame before"),
                "A frame is divided by the mean before it, where the mean holds the frame itself.",
            ),
        },
    ),
    Case(
        "second_dac_residual_unit",
        build_snake,
        "",
        snake_unit,
        {
            "alpha_as_logarithm": Mistake(
                partial(snake_unit, alpha="exp"),
                "The frequencies are exp of the stored ones (as BigVGAN stores them), where they "
                "are as stored.",
            ),
            "not_divided_by_alpha": Mistake(
                partial(snake_unit, factor="1"),
                "The squared sine is not divided by the frequency.",
            ),
            "sine_not_squared": Mistake(
                partial(snake_unit, squared=False),
                "The sine is not squared.",
            ),
            "not_dilated": Mistake(
                partial(snake_unit, dilation=1, pad=(3, 3)),
                "The convolution has no dilation, where it is 3.",
            ),
            "padded_on_the_left": Mistake(
                partial(snake_unit, pad=(18, 0)),
                "The convolution is padded on the left alone (as a causal one), where it is on "
                "both sides.",
            ),
            "residual_of_the_activated": Mistake(
                partial(snake_unit, residual_of="activated"),
                "The activated values are added at the end, where the input is added.",
            ),
            "first_alpha_for_both": Mistake(
                partial(snake_unit, second="snake1"),
                "Both activations have the frequencies of the first, where each has its own.",
            ),
        },
    ),
    Case(
        "second_diffusion_step",
        build_step,
        "",
        step_embedding,
        {
            "sine_first": Mistake(
                partial(step_embedding, order="sin, cos"),
                "The sines come before the cosines, where the cosines come first.",
            ),
            "sine_and_cosine_in_turn": Mistake(
                partial(step_embedding, order="in turn"),
                "Cosine and sine of a rate lie side by side, where all cosines come first.",
            ),
            "rates_to_the_last": Mistake(
                partial(step_embedding, divided_by=15),
                "The exponents are divided by half the size less 1, where it is half the size.",
            ),
            "period_of_1000": Mistake(
                partial(step_embedding, period=1000.0),
                "The longest period is 1000 (the number of steps), where it is 10000.",
            ),
            "angles_in_float16": Mistake(
                partial(step_embedding, angles_in=np.float16),
                "The rates and angles are held in float16, where they are float32.",
            ),
            "step_in_bfloat16": Mistake(
                partial(step_embedding, step_in=ml_dtypes.bfloat16),
                "The step is rounded to bfloat16 (981 becomes 980), where it stays whole.",
            ),
            "step_as_share": Mistake(
                partial(step_embedding, share=True),
                "The step is divided by 1000 first.",
            ),
            "silu_forgotten": Mistake(
                partial(step_embedding, act=False),
                "The SiLU between the two linear layers is forgotten.",
            ),
        },
    ),
    Case(
        "second_camera_input",
        build_camera,
        "",
        camera,
        {
            "v_before_u": Mistake(
                partial(camera, chroma_order="v, u"),
                "V is read before U (NV21), where U comes first (NV12).",
            ),
            "planes_of_u_and_v": Mistake(
                partial(camera, planes="one after the other"),
                "The second plane is read as all of U and then all of V (I420), where they come "
                "in turn.",
            ),
            "bt709": Mistake(
                partial(camera, standard="709"),
                "The factors are those of BT.709, where they are those of BT.601.",
            ),
            "full_range": Mistake(
                partial(camera, full_range=True),
                "Y is taken from 0 to 255 with JPEG's factors, where it is from 16 to 235.",
            ),
            "not_rounded": Mistake(
                partial(camera, half=0),
                "No half is added before the shift by 8 bits.",
            ),
            "wraps_around": Mistake(
                partial(camera, limited=False),
                "Colours wrap around in uint8, where they are limited to 0 and 255.",
            ),
            "blue_first": Mistake(
                partial(camera, colours="bgr"),
                "The channels are blue, green and red, where they are red, green and blue.",
            ),
            "minus_one_to_one": Mistake(
                partial(camera, statistics="of halves"),
                "The colours are brought to -1 to 1, where each channel has a mean and a "
                "deviation.",
            ),
            "v_before_u_and_full_range": Mistake(
                partial(camera, chroma_order="v, u", full_range=True),
                "Two causes: V is read before U, where U comes first, and Y is taken from 0 to "
                "255 with JPEG's factors, where it is from 16 to 235.",
                causes=2,
            ),
        },
    ),
    Case(
        "second_fixed_point_linear",
        build_fixed,
        "",
        fixed_dense,
        {
            "inputs_rounded": Mistake(
                partial(fixed_dense, rounded=True),
                "The inputs are rounded to steps, where what is below a step is cut off.",
            ),
            "inputs_cut_toward_zero": Mistake(
                partial(fixed_dense, toward_zero=True),
                "The inputs are cut off toward 0 (C's cast), where it is toward minus infinity.",
            ),
            "saturated": Mistake(
                partial(fixed_dense, saturated=True),
                "Numbers beyond 10 bits are limited, where they wrap around.",
            ),
            "four_bits_behind_the_point": Mistake(
                partial(fixed_dense, fraction=4),
                "4 bits are taken as those behind the point, where 4 are before it and 6 behind.",
            ),
            "products_cut": Mistake(
                partial(fixed_dense, cut="products"),
                "Each product is cut off to 6 bits behind the point, where the sum is.",
            ),
            "bias_not_shifted": Mistake(
                partial(fixed_dense, bias="as stored"),
                "The bias is added as stored to products of 12 bits behind the point, where it is "
                "shifted up by 6 first.",
            ),
            "relu_forgotten": Mistake(
                partial(fixed_dense, act=False),
                "The ReLU is forgotten.",
            ),
        },
    ),
    Case(
        "second_device_pooled_classes",
        build_pooled,
        "",
        pooled_classes,
        {
            "border_counted": Mistake(
                partial(pooled_classes, counted="window"),
                "Sums at the border are divided by 4, where it is by the pixels in the image.",
            ),
            "average_rounded_down": Mistake(
                partial(pooled_classes, average="floor"),
                "The averages are rounded down, where they are rounded to the nearest.",
            ),
            "flattened_channels_first": Mistake(
                partial(pooled_classes, flat="channels first"),
                "The pooled values are flattened with channels first, where they are last.",
            ),
            "zero_point_not_subtracted": Mistake(
                partial(pooled_classes, zero_point=0),
                "The input's zero point is not subtracted.",
            ),
            "output_zero_point_subtracted": Mistake(
                partial(pooled_classes, out_zero=9),
                "The output's zero point is subtracted, where it is added.",
            ),
            "weights_in_out": Mistake(
                partial(pooled_classes, weight="in, out"),
                "The weights are read as inputs by classes, where they are classes by inputs.",
            ),
            "shifted_by_seven": Mistake(
                partial(pooled_classes, shift=7),
                "The product is shifted down by 31 + 7 bits, where it is 31 + 8.",
            ),
            "bias_forgotten": Mistake(
                partial(pooled_classes, bias=False),
                "The bias is forgotten.",
            ),
        },
    ),
    Case(
        "second_keras_float8_dense",
        build_float8,
        "dense",
        float8_dense,
        {
            "scales_multiplied": Mistake(
                partial(float8_dense, scales="multiplied by"),
                "Values are multiplied by their scale before they are rounded and divided by it "
                "behind, where it is the other way round.",
            ),
            "limit_of_240": Mistake(
                partial(float8_dense, limit=240.0),
                "The numbers are limited to 240 (another format of 8 bits), where it is 448.",
            ),
            "five_bits_of_exponent": Mistake(
                partial(float8_dense, small=ml_dtypes.float8_e5m2),
                "The numbers have 5 bits of exponent and 2 of fraction, where it is 4 and 3.",
            ),
            "kernel_without_scale": Mistake(
                partial(float8_dense, kernel_scaled=False),
                "The kernel is rounded to float8 as it is, where it is divided by its scale first.",
            ),
            "kernel_not_scaled_back": Mistake(
                partial(float8_dense, kernel_rescaled=False),
                "The result is not multiplied by the kernel's scale.",
            ),
            "activations_as_floats": Mistake(
                partial(float8_dense, activations="float32"),
                "The activations are not rounded to float8.",
            ),
            "bias_in_float32": Mistake(
                partial(float8_dense, bias="float32"),
                "The bias is not rounded to bfloat16 (inherently small).",
            ),
            "relu_before_bias": Mistake(
                partial(float8_dense, relu_at="before the bias"),
                "ReLU is applied before the bias, where it is applied behind it.",
            ),
        },
    ),
]
