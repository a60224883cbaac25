"""Blocks of diffusion models and GANs, and steps before and after a model, ported to NumPy.

Blocks of keras.applications, and small ones written as practitioners write them. It was written
without a look at the tool that it measures: the mistakes are those that people make when they port
such a block to NumPy, C, another framework or a device.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    gelu,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import inputs, train_torch, weights_of


def group_norm(
    x: np.ndarray, w: dict[str, np.ndarray], name: str, groups: int, eps: float = 1e-5
) -> np.ndarray:
    b, c = x.shape[:2]
    y = x.reshape(b, groups, -1)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + np.float32(eps))
    gain, bias = (w[f"{name}.{part}"].reshape(1, c, 1, 1) for part in ("weight", "bias"))
    return y.reshape(x.shape) * gain + bias


class TimedResidual(nn.Module):
    """A residual block of a diffusion model with the embedding of its step."""

    def __init__(self, channels: int = 8, out: int = 12) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(16, 20), nn.SiLU(), nn.Linear(20, 20))
        self.in_layers = nn.Sequential(
            nn.GroupNorm(4, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(20, 2 * out))
        self.out_norm = nn.GroupNorm(4, out)
        self.out_layers = nn.Sequential(nn.SiLU(), nn.Conv2d(out, out, 3, padding=1))
        self.skip_connection = nn.Conv2d(channels, out, 1)

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        freqs = torch.exp(-math.log(10000) * torch.arange(8, dtype=torch.float32) / 8)
        args = steps[:, None].float() * freqs[None]
        emb = self.time_embed(torch.cat((torch.cos(args), torch.sin(args)), -1))
        h = self.in_layers(x)
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, 1)
        h = self.out_norm(h) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers(h)


def build_timed() -> tuple[Any, tuple[np.ndarray, ...]]:
    steps = np.array([981, 37, 402])
    return train_torch(TimedResidual(), 7101, gain=1.5), (inputs(7102, 3, 8, 5, 5), steps)


def timed(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    order: str = "cosines, sines",
    last_rate: str = "not reached",
    plus: float = 1.0,
    parts: str = "scale, shift",
    act_first: bool = True,
    groups: int = 4,
    precision: str = "float32",
) -> np.ndarray:
    w = weights_of(model)
    image, steps = x
    over = 8 if last_rate == "not reached" else 7
    rates = np.exp(-math.log(10000) * np.arange(8, dtype=np.float32) / np.float32(over))
    angles = steps[:, None].astype(precision) * rates[None].astype(precision)
    angles = angles.astype(np.float32)
    waves = [np.cos(angles), np.sin(angles)]
    emb = np.concatenate(waves if order == "cosines, sines" else waves[::-1], -1)
    emb = linear(emb, w["time_embed.0.weight"], w["time_embed.0.bias"])
    emb = linear(silu(emb), w["time_embed.2.weight"], w["time_embed.2.bias"])
    if act_first:
        emb = silu(emb)
    emb = linear(emb, w["emb_layers.1.weight"], w["emb_layers.1.bias"])[..., None, None]
    scale, shift = emb[:, :12], emb[:, 12:]
    if parts == "shift, scale":
        scale, shift = shift, scale
    h = silu(group_norm(image, w, "in_layers.0", groups))
    h = conv(h, w["in_layers.2.weight"], w["in_layers.2.bias"], padding=1)
    h = group_norm(h, w, "out_norm", groups) * (np.float32(plus) + scale) + shift
    h = conv(silu(h), w["out_layers.1.weight"], w["out_layers.1.bias"], padding=1)
    return conv(image, w["skip_connection.weight"], w["skip_connection.bias"]) + h


class ModulatedConvolution(nn.Module):
    """A layer of StyleGAN2: weights modulated by a style, noise, a bias and leaky ReLU."""

    def __init__(self, channels: int = 6, out: int = 8, style: int = 10) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3))
        self.affine_weight = nn.Parameter(torch.randn(channels, style))
        self.affine_bias = nn.Parameter(torch.ones(channels))
        self.noise_strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(out))
        self.register_buffer("noise_const", torch.randn(6, 6))

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        gain = 1 / math.sqrt(self.affine_weight.shape[1])
        s = F.linear(style, self.affine_weight * gain, self.affine_bias)
        weight = self.weight[None] * s.view(b, 1, c, 1, 1)
        demod = torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        weight = (weight * demod).view(-1, c, 3, 3)
        y = F.conv2d(x.view(1, b * c, h, w), weight, padding=1, groups=b).view(b, -1, h, w)
        y = y + self.noise_const * self.noise_strength + self.bias.view(1, -1, 1, 1)
        return F.leaky_relu(y, 0.2) * math.sqrt(2)


def build_modulated() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(ModulatedConvolution(), 7103)
    model.noise_const.copy_(torch.from_numpy(inputs(7104, 6, 6)))
    model.affine_weight.data.mul_(3)
    model.affine_bias.data.add_(1)
    model.noise_strength.data.fill_(0.4)
    return model, (inputs(7105, 2, 6, 6, 6), inputs(7106, 2, 10))


def modulated(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    rate: bool = True,
    demodulated: str = "with the style",
    over: tuple[int, ...] = (2, 3, 4),
    gain: float = math.sqrt(2),
    noise: str = "by its strength",
    slope: float = 0.2,
) -> np.ndarray:
    w = weights_of(model)
    image, style = x
    affine = w["affine_weight"] * np.float32(1 / math.sqrt(10)) if rate else w["affine_weight"]
    s = linear(style, affine, w["affine_bias"]).reshape(2, 1, 6, 1, 1)
    weight = w["weight"][None] * s
    if demodulated == "with the style":
        weight = weight / np.sqrt((weight**2).sum(over, keepdims=True) + np.float32(1e-8))
    elif demodulated == "without the style":
        norm = np.sqrt((w["weight"][None] ** 2).sum(over, keepdims=True) + np.float32(1e-8))
        weight = weight / norm
    y = np.concatenate([conv(image[b : b + 1], weight[b], padding=1) for b in range(2)])
    strength = w["noise_strength"] if noise == "by its strength" else np.float32(1)
    if noise != "none":
        y = y + w["noise_const"] * strength
    y = y + w["bias"].reshape(1, 8, 1, 1)
    return (np.where(y > 0, y, np.float32(slope) * y) * np.float32(gain)).astype(np.float32)


class StyleTransfer(nn.Module):
    """Adaptive instance normalisation of a content by a style, and the decoder's first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.decoder = nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect")

    def forward(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        content, style = torch.relu(self.encoder(content)), torch.relu(self.encoder(style))
        mean, std = content.mean((2, 3), keepdim=True), content.std((2, 3), keepdim=True)
        style_mean = style.mean((2, 3), keepdim=True)
        style_std = (style.var((2, 3), keepdim=True) + 1e-5).sqrt()
        y = (content - mean) / (std.square() + 1e-5).sqrt() * style_std + style_mean
        return torch.relu(self.decoder(0.75 * y + 0.25 * content))


def build_transfer() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(StyleTransfer(), 7107, gain=1.5)
    return model, (inputs(7108, 2, 3, 5, 6), inputs(7109, 2, 3, 4, 5, shift=0.5))


def transfer(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    ddof: int = 1,
    axes: tuple[int, ...] = (2, 3),
    roles: str = "content by style",
    alpha: float = 0.75,
    edge: str = "reflect",
    spread: str = "deviation",
) -> np.ndarray:
    w = weights_of(model)

    def layer(y: np.ndarray, name: str) -> np.ndarray:
        y = np.pad(y, [(0, 0), (0, 0), (1, 1), (1, 1)], mode=edge)
        return np.maximum(conv(y, w[f"{name}.weight"], w[f"{name}.bias"]), 0)

    content, style = (layer(y, "encoder") for y in x)
    mean, style_mean = content.mean(axes, keepdims=True), style.mean(axes, keepdims=True)
    var = content.var(axes, ddof=ddof, keepdims=True) + np.float32(1e-5)
    style_var = style.var(axes, ddof=ddof, keepdims=True) + np.float32(1e-5)
    if spread == "variance":
        y = (content - mean) / var * style_var + style_mean
    elif roles == "content by style":
        y = (content - mean) / np.sqrt(var) * np.sqrt(style_var) + style_mean
    else:
        y = (content - style_mean) / np.sqrt(style_var) * np.sqrt(var) + mean
    mixed = np.float32(alpha) * y + np.float32(1 - alpha) * content
    return layer(mixed, "decoder")


class Attend(nn.Module):
    """Attention without biases on the queries, as latent diffusion has it."""

    def __init__(self, width: int, context: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(y.transpose(1, 2).flatten(2))


class SpatialTransformer(nn.Module):
    """A latent diffusion model's transformer over a map, with cross attention to a text."""

    def __init__(self, width: int = 16, context: int = 12) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.norm1, self.attn1 = nn.LayerNorm(width), Attend(width, width)
        self.norm2, self.attn2 = nn.LayerNorm(width), Attend(width, context)
        self.norm3 = nn.LayerNorm(width)
        self.geglu = nn.Linear(width, 2 * 24)
        self.out = nn.Linear(24, width)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        y = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        z = self.norm1(y)
        y = y + self.attn1(z, z)
        y = y + self.attn2(self.norm2(y), context)
        value, gate = self.geglu(self.norm3(y)).chunk(2, -1)
        y = y + self.out(value * F.gelu(gate))
        return x + self.proj_out(y.transpose(1, 2).reshape(b, c, h, w))


def build_spatial() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(SpatialTransformer(), 7110, gain=1.6)
    return model, (inputs(7111, 2, 16, 3, 4), inputs(7112, 2, 5, 12))


def spatial(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    gate: str = "second",
    scale: float = 0.5,
    heads: str = "heads, sizes",
    normed: bool = True,
    scores: str = "float32",
    rows: str = "rows, columns",
    residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    image, context = x

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(y, w[f"{name}.weight"], w[f"{name}.bias"])

    def parts(y: np.ndarray) -> np.ndarray:
        if heads == "heads, sizes":
            return split_heads(y, 4)
        return y.reshape(len(y), -1, 4, 4).transpose(0, 3, 1, 2)

    def attend(y: np.ndarray, seen: np.ndarray, name: str) -> np.ndarray:
        q = parts(linear(y, w[f"{name}.to_q.weight"]))
        k = parts(linear(seen, w[f"{name}.to_k.weight"]))
        v = parts(linear(seen, w[f"{name}.to_v.weight"]))
        score = (q @ k.swapaxes(-1, -2) * np.float32(scale)).astype(scores)
        share = softmax(score).astype(np.float32)
        return linear(join_heads(share @ v), w[f"{name}.to_out.weight"], w[f"{name}.to_out.bias"])

    y = group_norm(image, w, "norm", 4, 1e-6) if normed else image
    y = conv(y, w["proj_in.weight"], w["proj_in.bias"])
    if rows == "columns, rows":
        y = y.swapaxes(2, 3)
    y = y.reshape(2, 16, 12).swapaxes(1, 2)
    z = norm(y, "norm1")
    y = y + attend(z, z, "attn1")
    y = y + attend(norm(y, "norm2"), context, "attn2")
    both = linear(norm(y, "norm3"), w["geglu.weight"], w["geglu.bias"])
    if gate == "second":
        z = both[..., :24] * gelu(both[..., 24:])
    else:
        z = both[..., 24:] * gelu(both[..., :24])
    y = y + linear(z, w["out.weight"], w["out.bias"])
    y = y.swapaxes(1, 2).reshape(2, 16, 3, 4)
    y = conv(y, w["proj_out.weight"], w["proj_out.bias"])
    return image + y if residual else y


class DiffusionTransformer(nn.Module):
    """A block of DiT with adaLN-Zero, and the final layer that makes an image of its tokens."""

    def __init__(self, width: int = 16, heads: int = 4, patch: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.heads, self.patch, self.channels = heads, patch, channels
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 32), nn.Linear(32, width)
        self.adaln = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.adaln_final = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.linear = nn.Linear(width, patch * patch * channels)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaln(c)[:, None].chunk(6, -1)
        y = self.norm1(x) * (1 + scale1) + shift1
        qkv = self.qkv(y).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(b, n, d)
        x = x + gate1 * self.proj(y)
        y = self.norm2(x) * (1 + scale2) + shift2
        x = x + gate2 * self.fc2(F.gelu(self.fc1(y), approximate="tanh"))
        shift, scale = self.adaln_final(c)[:, None].chunk(2, -1)
        y = self.linear(self.norm_final(x) * (1 + scale) + shift)
        side, p = math.isqrt(n), self.patch
        y = y.reshape(b, side, side, p, p, self.channels)
        return torch.einsum("nhwpqc->nchpwq", y).reshape(b, self.channels, side * p, side * p)


def build_transformer() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(DiffusionTransformer(), 7113, gain=1.5)
    return model, (inputs(7114, 2, 9, 16), inputs(7115, 2, 16))


def transformer(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    order: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    plus: float = 1.0,
    act: bool = True,
    second_gate: bool = True,
    pixels: str = "nhwpqc->nchpwq",
    final: str = "shift, scale",
    norm2_of: str = "sum",
) -> np.ndarray:
    w = weights_of(model)
    tokens, condition = x
    one = np.float32(plus)

    def layer(y: np.ndarray, name: str) -> np.ndarray:
        return linear(y, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(y: np.ndarray) -> np.ndarray:
        return layer_norm(y, np.float32(1), None, 1e-6)

    c = silu(condition) if act else condition
    six = np.split(layer(c, "adaln.1")[:, None], 6, -1)
    shift1, scale1, gate1, shift2, scale2, gate2 = (six[i] for i in order)
    y = layer(norm(tokens) * (one + scale1) + shift1, "qkv")
    q, k, v = (split_heads(part, 4) for part in np.split(y, 3, -1))
    y = join_heads(softmax(q @ k.swapaxes(-1, -2) / np.float32(2)) @ v)
    summed = tokens + gate1 * layer(y, "proj")
    y = norm(summed if norm2_of == "sum" else tokens) * (one + scale2) + shift2
    y = layer(gelu_tanh(layer(y, "fc1")), "fc2")
    y = summed + (gate2 * y if second_gate else y)
    shift, scale = np.split(layer(c, "adaln_final.1")[:, None], 2, -1)
    if final == "scale, shift":
        shift, scale = scale, shift
    y = layer(norm(y) * (one + scale) + shift, "linear")
    if pixels.startswith("nhwc"):
        y = y.reshape(2, 3, 3, 3, 2, 2)
    else:
        y = y.reshape(2, 3, 3, 2, 2, 3)
    return np.einsum(pixels, y).reshape(2, 3, 6, 6)


class CriticEnd(nn.Module):
    """The end of a growing GAN's critic: pixel norm, deviation of small groups, convolutions."""

    def __init__(self, group: int = 2) -> None:
        super().__init__()
        self.group = group
        self.conv = nn.Conv2d(9, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
        n, c, h, w = x.shape
        y = x.reshape(self.group, n // self.group, c, h, w)
        y = (y - y.mean(0)).square().mean(0)
        y = (y + 1e-8).sqrt().mean((1, 2, 3))
        y = y.reshape(-1, 1, 1, 1).repeat(self.group, 1, h, w)
        y = F.leaky_relu(self.conv(torch.cat((x, y), 1)), 0.2)
        return self.fc(y.flatten(1))


def build_critic() -> tuple[Any, np.ndarray]:
    return train_torch(CriticEnd(), 7116, gain=1.5), inputs(7117, 4, 8, 4, 4)


def critic(
    model: Any,
    x: np.ndarray,
    group: str = "strided",
    ddof: int = 0,
    place: str = "last",
    norm: str = "root of mean",
    over: str = "group",
    spread: str = "by item",
) -> np.ndarray:
    w = weights_of(model)
    square = (
        (x**2).mean(1, keepdims=True) if norm == "root of mean" else (x**2).sum(1, keepdims=True)
    )
    x = x / np.sqrt(square + np.float32(1e-8))
    if over == "group":
        y = x.reshape(2, 2, 8, 4, 4)
        y = y if group == "strided" else y.swapaxes(0, 1)
        y = np.sqrt(y.var(0, ddof=ddof) + np.float32(1e-8)).mean((1, 2, 3))
        y = np.tile(y, 2) if spread == "by item" else np.repeat(y, 2)
    else:
        y = np.full(4, np.sqrt(x.var(0, ddof=ddof) + np.float32(1e-8)).mean())
    y = np.broadcast_to(y.reshape(4, 1, 1, 1), (4, 1, 4, 4)).astype(np.float32)
    y = np.concatenate([x, y] if place == "last" else [y, x], 1)
    y = conv(y, w["conv.weight"], w["conv.bias"], padding=1)
    y = np.where(y > 0, y, np.float32(0.2) * y)
    return linear(y.reshape(4, -1), w["fc.weight"], w["fc.bias"])


CASES = [
    Case(
        "third_diffusion_residual_block",
        build_timed,
        "",
        timed,
        {
            "sines_first": Mistake(
                partial(timed, order="sines, cosines"),
                "The step's sines come before its cosines, where the cosines come first.",
            ),
            "last_rate_reached": Mistake(
                partial(timed, last_rate="reached"),
                "The rates are 10000^(-i / 7), so that the last is 1 / 10000, where they are "
                "10000^(-i / 8).",
            ),
            "scale_without_one": Mistake(
                partial(timed, plus=0.0),
                "The normalised map is multiplied by the scale, where it is multiplied by 1 + "
                "scale.",
            ),
            "shift_before_scale": Mistake(
                partial(timed, parts="shift, scale"),
                "The embedding's first half is taken for the shift, where it is the scale.",
            ),
            "embedding_not_activated": Mistake(
                partial(timed, act_first=False),
                "The SiLU before the block's layer of the embedding is forgotten.",
            ),
            "two_groups": Mistake(
                partial(timed, groups=2),
                "The group normalisations have 2 groups, where they have 4.",
            ),
            "angles_in_float16": Mistake(
                partial(timed, precision="float16"),
                "The step is multiplied by the rates in half precision, where it is done in "
                "single precision.",
            ),
            "shift_first_and_no_one": Mistake(
                partial(timed, parts="shift, scale", plus=0.0),
                "Two causes: the embedding's first half is taken for the shift, and the map is "
                "multiplied by the scale without the 1.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_stylegan2_layer",
        build_modulated,
        "",
        modulated,
        {
            "style_not_equalised": Mistake(
                partial(modulated, rate=False),
                "The style layer's weights are used as stored, where they are divided by the root "
                "of the style's size.",
            ),
            "not_demodulated": Mistake(
                partial(modulated, demodulated="no"),
                "The demodulation is forgotten.",
            ),
            "demodulated_without_style": Mistake(
                partial(modulated, demodulated="without the style"),
                "The demodulation divides by the norm of the stored weights, where it is the norm "
                "of the modulated ones.",
            ),
            "demodulated_by_tap": Mistake(
                partial(modulated, over=(2,)),
                "The norm is over the input channels of each tap, where it is over channels and "
                "taps.",
            ),
            "gain_forgotten": Mistake(
                partial(modulated, gain=1.0),
                "The gain of root 2 after the leaky ReLU is forgotten.",
            ),
            "noise_at_full_strength": Mistake(
                partial(modulated, noise="whole"),
                "The noise is added as it is, where it is multiplied by its learnt strength.",
            ),
            "usual_slope": Mistake(
                partial(modulated, slope=0.01),
                "Leaky ReLU has its usual slope of 0.01, where it is 0.2.",
            ),
        },
    ),
    Case(
        "third_style_transfer_adain",
        build_transfer,
        "",
        transfer,
        {
            "variance_of_population": Mistake(
                partial(transfer, ddof=0),
                "The variances are divided by n (NumPy's), where these are divided by n - 1.",
            ),
            "statistics_over_channels": Mistake(
                partial(transfer, axes=(1, 2, 3)),
                "Mean and variance are over channels and pixels, where each channel has its own.",
            ),
            "content_and_style_swapped": Mistake(
                partial(transfer, roles="swapped"),
                "The content is normalised by the style's statistics and given its own, where it "
                "is normalised by its own and given the style's.",
            ),
            "not_mixed": Mistake(
                partial(transfer, alpha=1.0),
                "The normalised features are decoded alone, where they are mixed with a quarter "
                "of the content's.",
            ),
            "padded_with_noughts": Mistake(
                partial(transfer, edge="constant"),
                "The convolutions are padded with noughts, where the image is reflected.",
            ),
            "variances_for_deviations": Mistake(
                partial(transfer, spread="variance"),
                "The features are divided and multiplied by variances, where it is by their roots.",
            ),
        },
    ),
    Case(
        "third_latent_diffusion_transformer",
        build_spatial,
        "",
        spatial,
        {
            "gate_is_first_half": Mistake(
                partial(spatial, gate="first"),
                "GELU is applied to the first half of the gated layer, where the second half is "
                "the gate.",
            ),
            "scaled_by_whole_width": Mistake(
                partial(spatial, scale=0.25),
                "Scores are divided by the root of the whole width, where it is the root of a "
                "head's size.",
            ),
            "heads_innermost": Mistake(
                partial(spatial, heads="sizes, heads"),
                "Queries, keys and values are split into (sizes, heads), where they are (heads, "
                "sizes).",
            ),
            "first_norm_forgotten": Mistake(
                partial(spatial, normed=False),
                "The group normalisation before the transformer is forgotten.",
            ),
            "softmax_in_float16": Mistake(
                partial(spatial, scores="float16"),
                "Scores and softmax are in half precision, where they are in single precision "
                "(inherently small).",
            ),
            "pixels_by_columns": Mistake(
                partial(spatial, rows="columns, rows"),
                "The map is flattened column by column and unflattened row by row, where both go "
                "row by row.",
            ),
            "long_residual_forgotten": Mistake(
                partial(spatial, residual=False),
                "The block's input is not added to the last projection.",
            ),
        },
    ),
    Case(
        "third_dit_block_to_image",
        build_transformer,
        "",
        transformer,
        {
            "scale_before_shift": Mistake(
                partial(transformer, order=(1, 0, 2, 4, 3, 5)),
                "The six parts are read as scale, shift, gate, where each three are shift, scale, "
                "gate.",
            ),
            "shifts_then_scales_then_gates": Mistake(
                partial(transformer, order=(0, 2, 4, 1, 3, 5)),
                "The six parts are read as two shifts, two scales and two gates, where they are "
                "shift, scale and gate of the attention and then those of the MLP.",
            ),
            "scale_without_one": Mistake(
                partial(transformer, plus=0.0),
                "The normalised tokens are multiplied by the scale, where it is by 1 + scale.",
            ),
            "condition_not_activated": Mistake(
                partial(transformer, act=False),
                "The SiLU on the condition is forgotten.",
            ),
            "second_gate_forgotten": Mistake(
                partial(transformer, second_gate=False),
                "The MLP's output is added without its gate.",
            ),
            "channels_before_pixels": Mistake(
                partial(transformer, pixels="nhwcpq->nchpwq"),
                "A token's values are read as (channels, rows, columns), where they are (rows, "
                "columns, channels).",
            ),
            "final_scale_before_shift": Mistake(
                partial(transformer, final="scale, shift"),
                "The final layer's two parts are read as scale and shift, where the shift comes "
                "first.",
            ),
            "second_norm_of_the_input": Mistake(
                partial(transformer, norm2_of="input"),
                "The MLP sees the normalised input of the block, where it sees the normalised sum "
                "after the attention.",
            ),
            "no_one_and_no_activation": Mistake(
                partial(transformer, plus=0.0, act=False),
                "Two causes: the tokens are multiplied by the scale without the 1, and the SiLU on "
                "the condition is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_critic_minibatch_deviation",
        build_critic,
        "",
        critic,
        {
            "groups_of_neighbours": Mistake(
                partial(critic, group="neighbours", spread="by group"),
                "A group is of neighbouring items of the batch, where it is of items half a batch "
                "apart.",
            ),
            "deviation_of_sample": Mistake(
                partial(critic, ddof=1),
                "The variance is divided by n - 1 (torch.std's), where it is divided by n.",
            ),
            "deviation_in_front": Mistake(
                partial(critic, place="first"),
                "The map of the deviation is put before the channels, where it comes after them.",
            ),
            "norm_by_sum_of_squares": Mistake(
                partial(critic, norm="root of sum"),
                "Each pixel is divided by the root of its sum of squares, where it is the root of "
                "their mean.",
            ),
            "whole_batch_for_group": Mistake(
                partial(critic, over="batch"),
                "The deviation is over the whole batch, where it is over groups of two.",
            ),
        },
    ),
]
