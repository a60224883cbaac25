"""Layers and blocks as they run on devices and FPGAs: few bits, fixed point, requantised codes,
tables, pruning, half precision and C buffers; each with a right port and with ports that have a
mistake.

Written from the layers' own code and from how ports of them go wrong, without a look at the tool
that is measured on them.
"""

import warnings
from functools import partial
from typing import Any

import brevitas.nn as qnn
import keras
import ml_dtypes
import numpy as np
import torch
from torch import nn
from torch.ao import quantization
from torch.nn import functional as F
from torch.nn.utils import prune
from transformers.models.ibert.quant_modules import IntGELU

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, gelu, linear, relu
from corpora.ports.third_signals import keras_settled, noise, settled, weights


def half_away(x: np.ndarray) -> np.ndarray:
    """Round as C's round does: halves away from zero."""
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


# --- A convolution of Brevitas with weights of 4 bits


class FewBitStem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = qnn.QuantConv2d(3, 5, 3, stride=2, padding=1, weight_bit_width=4)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


def build_few_bits() -> tuple[Any, np.ndarray]:
    return settled(FewBitStem(), 6201), noise(6202, 2, 3, 8, 8)


def few_bits(
    model: Any,
    x: np.ndarray,
    levels: int = 7,
    scale_of: str = "tensor",
    rounding: Any = np.round,
    quantised: bool = True,
) -> np.ndarray:
    w = {n: v.detach().numpy() for n, v in model.state_dict().items() if torch.is_tensor(v)}
    kernel = w["conv.weight"]
    if quantised:
        if scale_of == "tensor":
            scale = np.abs(kernel).max() / np.float32(levels)
        else:
            scale = np.abs(kernel).max((1, 2, 3), keepdims=True) / np.float32(levels)
        kernel = np.clip(rounding(kernel / scale), -levels, levels) * scale
    y = conv(x, kernel.astype(np.float32), w["conv.bias"], stride=2, padding=1)
    return relu(batch_norm(y, w, "norm"))


# --- A dense layer whose kernel, bias and output are of few bits, as QKeras writes it


class FewBitDense(keras.layers.Layer):
    """Kernel of 4 bits below one, bias of 6 bits with 2 before the point, output of 4 with 1."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), name="bias")

    def call(self, x: Any) -> Any:
        ops = keras.ops
        kernel = ops.clip(ops.round(self.kernel * 8), -8, 7) / 8
        bias = ops.clip(ops.round(self.bias * 8), -32, 31) / 8
        y = ops.matmul(x, kernel) + bias
        return ops.clip(ops.round(y * 8), 0, 15) / 8


def build_qkeras() -> tuple[Any, np.ndarray]:
    x = keras.Input((10,))
    y = keras.layers.Dense(4, name="head")(FewBitDense(8, name="few")(x))
    return keras_settled(keras.Model(x, y), 6203), noise(6204, 6, 10) * np.float32(2.5)


def qkeras(
    model: Any,
    x: np.ndarray,
    lowest: int = -8,
    rounding: Any = np.round,
    bias_bits: bool = True,
    ceiling: Any = 15,
    scale: int = 8,
    output_bits: bool = True,
) -> np.ndarray:
    kernel, bias = model.get_layer("few").get_weights()
    kernel = np.clip(rounding(kernel * scale), lowest * scale // 8, scale - 1) / np.float32(scale)
    if bias_bits:
        bias = np.clip(np.round(bias * 8), -32, 31) / np.float32(8)
    y = x @ kernel + bias
    y = np.clip(np.round(y * 8), 0, ceiling) / np.float32(8) if output_bits else relu(y)
    return y.astype(np.float32)


# --- A binarised convolution


class BinaryConv(nn.Module):
    """Signs of input and weights, zeros around the input, and a scale for each output channel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 3, 3, 3))
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = torch.ones(())
        signs = torch.where(self.weight >= 0, one, -one)
        alpha = self.weight.abs().mean(dim=(1, 2, 3), keepdim=True)
        y = F.conv2d(torch.where(x >= 0, one, -one), signs, padding=1)
        return self.norm(y * alpha[:, 0])


def build_binary() -> tuple[Any, np.ndarray]:
    x = np.round(noise(6206, 2, 3, 7, 7) * 2).astype(np.float32) / 2
    return settled(BinaryConv(), 6205), x


def binary(
    model: Any,
    x: np.ndarray,
    zero: float = 1,
    border: float = 0,
    alpha_of: str = "channel",
    input_signs: bool = True,
    length: int = 27,
) -> np.ndarray:
    w = weights(model)
    kernel = w["weight"]
    signs = np.where(kernel >= 0, np.float32(1), np.float32(-1))
    if alpha_of == "channel":
        alpha = np.abs(kernel).mean((1, 2, 3))[:, None, None]
    else:
        alpha = np.abs(kernel).mean() if alpha_of == "tensor" else np.float32(1)
    if input_signs:
        x = np.where(x > 0, 1, np.where(x < 0, -1, zero)).astype(np.float32)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=border)
    y = conv(x, signs) + (27 - length)
    return batch_norm((y * alpha).astype(np.float32), w, "norm")


# --- A linear layer of three weights, with inputs of 8 bits


class TernaryLinear(nn.Module):
    """Weights -1, 0, 1 times their mean magnitude; each token's input in 8 bits of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(7, 12))
        self.bias = nn.Parameter(torch.zeros(7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = self.weight.abs().mean().clamp(min=1e-5)
        w = (self.weight / step).round().clamp(-1, 1)
        scale = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
        q = (x * scale).round().clamp(-128, 127)
        return F.linear(q, w) * step / scale + self.bias


def build_ternary() -> tuple[Any, np.ndarray]:
    x = noise(6208, 2, 5, 12) * np.linspace(0.2, 3, 5, dtype=np.float32)[:, None]
    return settled(TernaryLinear(), 6207), x.astype(np.float32)


def ternary(
    model: Any,
    x: np.ndarray,
    weights_by: str = "rounding",
    scale_of: str = "token",
    rounding: Any = np.round,
    steps: str = "mean",
    rescaled: bool = True,
) -> np.ndarray:
    w = weights(model)
    kernel = w["weight"]
    step = np.abs(kernel).mean() if steps == "mean" else np.abs(kernel).max()
    if weights_by == "rounding":
        q = np.clip(np.round(kernel / step), -1, 1)
    elif weights_by == "sign":
        q = np.sign(kernel)
    else:
        q = np.sign(kernel) * (np.abs(kernel) > np.float32(0.7) * step)
    top = np.abs(x).max(-1, keepdims=True) if scale_of == "token" else np.abs(x).max()
    scale = np.float32(127) / top
    y = np.clip(rounding(x * scale), -128, 127) @ q.T / scale
    return (y * step if rescaled else y) + w["bias"]


# --- A convolution of whole numbers with a multiplier and a shift


class IntegerConv(nn.Module):
    """8-bit convolution: offsets, 32-bit bias, a multiplier and a shift per channel, a clamp."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(6209)
        kernel = rng.integers(-127, 128, (5, 3, 3, 3))
        self.register_buffer("kernel", torch.tensor(kernel))
        self.register_buffer("bias", torch.tensor(rng.integers(-6000, 6000, 5)))
        self.register_buffer("multiplier", torch.tensor(rng.integers(2**30, 2**31, 5)))
        self.register_buffer("shift", torch.tensor([8, 7, 8, 9, 8]))
        self.scale, self.zero_in, self.zero_out = 0.03, -11, -20
        self.low, self.high = -20, 127

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.clamp(torch.round(x / self.scale) + self.zero_in, -128, 127)
        acc = F.conv2d((q - self.zero_in).double(), self.kernel.double(), padding=1).long()
        acc = acc + self.bias[:, None, None]
        total = (31 + self.shift)[:, None, None]
        y = (acc * self.multiplier[:, None, None] + (1 << (total - 1))) >> total
        return torch.clamp(y + self.zero_out, self.low, self.high).float()


def build_integer_conv() -> tuple[Any, np.ndarray]:
    return IntegerConv().eval(), noise(6210, 2, 3, 6, 7)


def integer_conv(
    model: Any,
    x: np.ndarray,
    border: str = "zero point",
    nudged: bool = True,
    multipliers: str = "of channels",
    bias: str = "before",
    end: str = "clamped",
    offset_sign: int = -1,
    floor: Any = None,
) -> np.ndarray:
    w = {name: value.astype(np.int64) for name, value in weights(model).items()}
    q = np.clip(np.round(x / np.float32(0.03)) - 11, -128, 127).astype(np.int64)
    fill = -11 if border == "zero point" else 0
    q = np.pad(q, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    acc = conv(q + offset_sign * -11, w["kernel"])
    if bias == "before":
        acc = acc + w["bias"][:, None, None]
    m, shift = w["multiplier"][:, None, None], w["shift"][:, None, None]
    if multipliers == "first":
        m = m[0]
    total = 31 + shift
    y = (acc * m + (1 << (total - 1) if nudged else 0)) >> total
    y = y - 20
    if bias == "after":
        y = y + (w["bias"][:, None, None] >> 8)
    if end == "wrapped":
        return np.maximum(y.astype(np.int8), -20).astype(np.float32)
    return np.clip(y, -20 if floor is None else floor, 127).astype(np.float32)


# --- A quantised residual addition and pooling, as ONNX has them


class QuantisedShortcut(nn.Module):
    """QLinearAdd of two branches, a ReLU on the codes, and a global average of them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor([0.05, 0.025, 0.1, 0.02]))
        self.register_buffer("zeros", torch.tensor([120, 131, 96, 96]))

    def codes(self, x: torch.Tensor, i: int) -> torch.Tensor:
        return torch.clamp(torch.round(x / self.scales[i]) + self.zeros[i], 0, 255)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a = (self.codes(a, 0) - self.zeros[0]) * self.scales[0]
        b = (self.codes(b, 1) - self.zeros[1]) * self.scales[1]
        total = torch.maximum(self.codes(a + b, 2), self.zeros[2])
        mean = total.mean(dim=(2, 3))
        return self.codes((mean - self.zeros[2]) * self.scales[2], 3)


def build_shortcut() -> tuple[Any, tuple[np.ndarray, ...]]:
    return QuantisedShortcut().eval(), (noise(6211, 3, 6, 4, 4), noise(6212, 3, 6, 4, 4) * 2)


def shortcut(
    model: Any,
    x: tuple[np.ndarray, ...],
    rounding: Any = np.round,
    scale_of_b: int = 1,
    floor: str = "zero point",
    mean: str = "exact",
    rescaled: bool = True,
    zeros_taken: bool = True,
    wrapped: bool = False,
) -> np.ndarray:
    a, b = x
    s, z = model.scales.numpy(), model.zeros.numpy().astype(np.float32)

    def codes(y: np.ndarray, i: int, how: Any = np.round) -> np.ndarray:
        y = how(y / s[i]) + z[i]
        return np.mod(y, 256) if wrapped else np.clip(y, 0, 255)

    a = (codes(a, 0) - z[0]) * s[0]
    b = (codes(b, 1) - (z[1] if zeros_taken else z[0])) * s[scale_of_b]
    total = codes((a + b).astype(np.float32), 2, rounding)
    total = np.maximum(total, z[2] if floor == "zero point" else 0)
    pooled = total.mean((2, 3))
    if mean == "of whole numbers":
        pooled = np.floor(pooled)
    if not rescaled:
        return np.clip(np.round(pooled), 0, 255).astype(np.float32)
    return codes(((pooled - z[2]) * s[2]).astype(np.float32), 3).astype(np.float32)


# --- A gate whose sigmoid is read from a table


class TableGate(nn.Module):
    """Two linear layers; one is multiplied by the other's sigmoid, from a table of 128 values."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(6, 5), nn.Linear(6, 5)
        at = 16 * (torch.arange(128) - 64) / 128
        self.register_buffer("table", torch.sigmoid(at))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        index = torch.floor(self.gate(x) * (128 / 16)).long() + 64
        return self.value(x) * self.table[index.clamp(0, 127)]


def build_table() -> tuple[Any, np.ndarray]:
    return settled(TableGate(), 6213, 2.5), noise(6214, 12, 6) * np.float32(1.5)


def table_gate(
    model: Any,
    x: np.ndarray,
    index_by: str = "floor",
    reach: float = 8.0,
    at: str = "left edge",
    ends: str = "saturate",
    branch: tuple[str, str] = ("value", "gate"),
) -> np.ndarray:
    w = weights(model)
    value = linear(x, w[f"{branch[0]}.weight"], w[f"{branch[0]}.bias"])
    g = linear(x, w[f"{branch[1]}.weight"], w[f"{branch[1]}.bias"])
    n = np.arange(128)
    points = {
        "left edge": 2 * reach * (n - 64) / 128,
        "middle": 2 * reach * (n - 63.5) / 128,
        "both ends": np.linspace(-reach, reach, 128),
    }[at]
    table = (1 / (1 + np.exp(-points))).astype(np.float32)
    steps = g * np.float32(64 / reach)
    if index_by == "floor":
        index = np.floor(steps).astype(int) + 64
    elif index_by == "cast":
        index = steps.astype(int) + 64  # a C cast: toward zero
    else:
        index = np.round(steps).astype(int) + 64
    index = np.clip(index, 0, 127) if ends == "saturate" else index % 128
    return value * table[index]


# --- A dense layer in fixed point, as high-level synthesis makes it


class FixedPointDense(nn.Module):
    """Inputs <12, 5>, weights <8, 2>, products and sums <12, 6> that wrap, outputs <8, 4>."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 10))
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.clamp(torch.floor(x * 128), -2048, 2047) / 128
        w = torch.clamp(torch.floor(self.weight * 64 + 0.5), -128, 127) / 64
        b = torch.clamp(torch.floor(self.bias * 64 + 0.5), -2048, 2047)
        acc = torch.floor(x[:, None] * w * 64).sum(dim=-1) + b
        acc = torch.remainder(acc + 2048, 4096) - 2048
        y = F.relu(acc / 64)
        return torch.clamp(torch.floor(y * 16 + 0.5), -128, 127) / 16


def build_fixed() -> tuple[Any, np.ndarray]:
    return settled(FixedPointDense(), 6215, 3.5), noise(6216, 16, 10) * 4


def fixed(
    model: Any,
    x: np.ndarray,
    input_by: Any = np.floor,
    sums: str = "wrap",
    products: str = "cut",
    bias_bits: int = 64,
    weights_by: str = "rounded",
    end: str = "rounded",
) -> np.ndarray:
    given = weights(model)
    x = np.clip(input_by(x * np.float32(128)), -2048, 2047) / 128
    w = given["weight"].astype(np.float64) * 64
    w = np.clip(np.floor(w + 0.5) if weights_by == "rounded" else np.floor(w), -128, 127) / 64
    b = np.clip(np.floor(given["bias"].astype(np.float64) * bias_bits + 0.5), -2048, 2047)
    if products == "cut":
        acc = np.floor(x[:, None] * w * 64).sum(-1) + b
    else:
        acc = np.floor((x[:, None] * w).sum(-1) * 64) + b
    acc = (acc + 2048) % 4096 - 2048 if sums == "wrap" else np.clip(acc, -2048, 2047)
    y = np.maximum(acc / 64, 0)
    y = np.floor(y * 16 + 0.5) if end == "rounded" else np.floor(y * 16)
    return (np.clip(y, -128, 127) / 16).astype(np.float32)


# --- A pruned convolution with its norm


def build_pruned() -> tuple[Any, np.ndarray]:
    model = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    settled(model, 6217)
    with torch.no_grad():
        model[0].bias.abs_()
        model[1].running_mean.abs_().neg_()
    torch.manual_seed(6218)
    prune.random_unstructured(model[0], "weight", 0.4)
    prune.ln_structured(model[0], "weight", 0.34, n=2, dim=0)
    return model.eval(), noise(6219, 2, 6, 6, 6)


def pruned(
    model: Any,
    x: np.ndarray,
    mask: str = "as stored",
    removed: str = "keep their bias",
    folding: str = "none",
) -> np.ndarray:
    w = weights(model)
    kept = w["0.weight_mask"]
    if mask == "transposed":
        kept = kept.swapaxes(0, 1)
    elif mask == "magnitude":
        size = np.abs(w["0.weight_orig"])
        kept = size >= np.quantile(size, 1 - kept.mean())
    kernel = w["0.weight_orig"] if mask == "forgotten" else w["0.weight_orig"] * kept
    kernel = kernel.astype(np.float32)
    bias = w["0.bias"]
    if folding == "none":
        y = batch_norm(conv(x, kernel, bias, padding=1), w, "1")
    else:
        gain = w["1.weight"] / np.sqrt(w["1.running_var"] + np.float32(1e-5))
        if folding == "bias not scaled":
            shift = bias + w["1.bias"] - w["1.running_mean"] * gain
        else:
            shift = w["1.bias"] + (w["1.running_mean"] - bias) * gain
        y = conv(x, kernel * gain[:, None, None, None], shift, padding=1)
    if removed == "put out nothing":
        y = y * (np.abs(kernel).sum((1, 2, 3)) > 0)[:, None, None]
    return relu(y).astype(np.float32)


# --- A causal convolution that keeps its last inputs in a ring


class CausalDepthwise(nn.Module):
    """A depthwise convolution of the last five frames, a ReLU and a pointwise layer."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv1d(4, 4, 5, groups=4)
        self.point = nn.Conv1d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.point(F.relu(self.depth(F.pad(x, (4, 0)))))


def build_ring() -> tuple[Any, np.ndarray]:
    return settled(CausalDepthwise(), 6220, 1.5), noise(6221, 2, 4, 13)


def ring(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    taps = w["depth.weight"][:, 0]
    out = np.zeros((2, 3, 13), np.float32)
    for b in range(2):
        held = np.zeros((4, 5), np.float32)
        head = 0
        for t in range(13):
            held[:, head] = x[b, :, t]
            head = (head + 1) % 5
            y = w["depth.bias"].copy()
            for k in range(5):
                y += taps[:, k] * held[:, (head + k) % 5]
            out[b, :, t] = w["point.weight"][:, :, 0] @ relu(y) + w["point.bias"]
    return out


def ring_not_cleared(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    taps = w["depth.weight"][:, 0]
    out = np.zeros((2, 3, 13), np.float32)
    held = np.zeros((4, 5), np.float32)
    head = 0
    for b in range(2):
        for t in range(13):
            held[:, head] = x[b, :, t]
            head = (head + 1) % 5
            y = w["depth.bias"].copy()
            for k in range(5):
                y += taps[:, k] * held[:, (head + k) % 5]
            out[b, :, t] = w["point.weight"][:, :, 0] @ relu(y) + w["point.bias"]
    return out


def ring_read_before_write(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    taps = w["depth.weight"][:, 0]
    out = np.zeros((2, 3, 13), np.float32)
    for b in range(2):
        held = np.zeros((4, 5), np.float32)
        head = 0
        for t in range(13):
            y = w["depth.bias"].copy()
            for k in range(5):
                y += taps[:, k] * held[:, (head + k) % 5]
            out[b, :, t] = w["point.weight"][:, :, 0] @ relu(y) + w["point.bias"]
            held[:, head] = x[b, :, t]
            head = (head + 1) % 5
    return out


def ring_read_from_slot_zero(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    taps = w["depth.weight"][:, 0]
    out = np.zeros((2, 3, 13), np.float32)
    for b in range(2):
        held = np.zeros((4, 5), np.float32)
        head = 0
        for t in range(13):
            held[:, head] = x[b, :, t]
            head = (head + 1) % 5
            y = w["depth.bias"].copy()
            for k in range(5):
                y += taps[:, k] * held[:, k]
            out[b, :, t] = w["point.weight"][:, :, 0] @ relu(y) + w["point.bias"]
    return out


def ring_one_slot_short(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    taps = w["depth.weight"][:, 0]
    out = np.zeros((2, 3, 13), np.float32)
    for b in range(2):
        held = np.zeros((4, 4), np.float32)
        head = 0
        for t in range(13):
            held[:, head] = x[b, :, t]
            head = (head + 1) % 4
            y = w["depth.bias"].copy()
            for k in range(5):
                y += taps[:, k] * held[:, (head + k - 1) % 4]
            out[b, :, t] = w["point.weight"][:, :, 0] @ relu(y) + w["point.bias"]
    return out


def ring_newest_first(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    taps = w["depth.weight"][:, 0]
    out = np.zeros((2, 3, 13), np.float32)
    for b in range(2):
        held = np.zeros((4, 5), np.float32)
        head = 0
        for t in range(13):
            held[:, head] = x[b, :, t]
            y = w["depth.bias"].copy()
            for k in range(5):
                y += taps[:, k] * held[:, (head - k) % 5]
            head = (head + 1) % 5
            out[b, :, t] = w["point.weight"][:, :, 0] @ relu(y) + w["point.bias"]
    return out


# --- A layer for keyword spotting whose kernel is of rank two, with a memory


class MemoryFilter(nn.Module):
    """Each filter projects a frame to a number, remembers six of them, and weighs them over time;
    the two filters of a unit are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.feature = nn.Linear(7, 8, bias=False)
        self.time = nn.Parameter(torch.zeros(8, 6))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        memory = x.new_zeros(x.shape[0], 8, 6)
        out = []
        for t in range(x.shape[1]):
            memory = torch.cat([memory[..., 1:], self.feature(x[:, t])[..., None]], dim=-1)
            y = (memory * self.time).sum(dim=-1)
            out.append(F.relu(y.reshape(-1, 4, 2).sum(dim=-1) + self.bias))
        return torch.stack(out, dim=1)


def build_memory() -> tuple[Any, np.ndarray]:
    return settled(MemoryFilter(), 6222, 1.5), noise(6223, 2, 10, 7)


def memory_filter(
    model: Any,
    x: np.ndarray,
    newest: str = "last",
    ranks: str = "inner",
    cleared: bool = True,
    shifted: str = "before",
    bias: str = "once",
    copied: str = "left to right",
) -> np.ndarray:
    w = weights(model)
    out = np.zeros((2, 10, 4), np.float32)
    memory = np.zeros((8, 6), np.float32)
    for b in range(2):
        if cleared:
            memory = np.zeros((8, 6), np.float32)
        for t in range(10):
            new = w["feature.weight"] @ x[b, t]
            if newest == "first":
                memory[:, 1:] = memory[:, :-1].copy()
                memory[:, 0] = new
            elif shifted == "after":
                memory[:, -1] = new
            else:
                order = range(5) if copied == "left to right" else reversed(range(5))
                for k in order:
                    memory[:, k] = memory[:, k + 1]
                memory[:, -1] = new
            y = (memory * w["time"]).sum(-1)
            y = y.reshape(4, 2).sum(-1) if ranks == "inner" else y.reshape(2, 4).sum(0)
            out[b, t] = relu(y + w["bias"] * (1 if bias == "once" else 2))
            if shifted == "after":
                memory[:, :4] = memory[:, 1:5].copy()
    return out


# --- GELU in whole numbers


def build_int_gelu() -> tuple[Any, tuple[np.ndarray, ...]]:
    scale = np.array([0.0002], np.float32)
    codes = np.random.default_rng(6224).integers(-20000, 20001, (3, 20)).astype(np.float32)
    return IntGELU(quant_mode=True).eval(), (codes * scale, scale)


def int_gelu(
    model: Any,
    x: tuple[np.ndarray, ...],
    k: float = 1.4142,
    clipped: bool = True,
    shift: int = 14,
    signed: bool = True,
    a: float = -0.2888,
    halved: bool = True,
    one: str = "added",
) -> np.ndarray:
    values, scale = x
    q = values / scale
    s = scale / np.float32(k)
    b = np.floor(np.float32(-1.769) / s)
    c = np.floor(np.float32(1 / a) / s**2)
    size = np.minimum(np.abs(q), -b) if clipped else np.abs(q)
    erf = (size + b) ** 2 + c
    erf = np.sign(q) * erf if signed else erf
    erf = np.floor(erf / np.float32(2**shift))
    s = s**2 * np.float32(a) * np.float32(2**shift)
    unit = np.floor(1 / s) if one == "added" else 0
    return (q * (erf + unit) * (scale * s / (2 if halved else 1))).astype(np.float32)


def int_gelu_exact(model: Any, x: tuple[np.ndarray, ...]) -> np.ndarray:
    return gelu(x[0])


# --- A statically quantised linear layer of PyTorch


def build_static() -> tuple[Any, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(
            quantization.QuantStub(), nn.Linear(10, 6), nn.ReLU(), quantization.DeQuantStub()
        )
        settled(model, 6225, 1.5)
        torch.backends.quantized.engine = "fbgemm"
        model.qconfig = quantization.get_default_qconfig("fbgemm")
        quantization.fuse_modules(model, [["1", "2"]], inplace=True)
        quantization.prepare(model, inplace=True)
        with torch.no_grad():
            model(torch.tensor(noise(6226, 64, 10, shift=0.4)))
        quantization.convert(model, inplace=True)
    return model, noise(6227, 8, 10, shift=0.4) * np.float32(2)


def static(
    model: Any,
    x: np.ndarray,
    zero_taken: bool = True,
    scales: str = "of rows",
    output_codes: bool = True,
    rounding: Any = np.round,
    bias: bool = True,
    highest: int = 255,
) -> np.ndarray:
    s, z = float(model[0].scale), int(model[0].zero_point)
    q = np.clip(rounding(x / np.float32(s)) + z, 0, highest).astype(np.int64)
    packed = model[1].weight()
    codes = packed.int_repr().numpy().astype(np.int64)
    rows = packed.q_per_channel_scales().numpy()
    rows = rows if scales == "of rows" else np.full_like(rows, rows.max())
    acc = (q - (z if zero_taken else 0)) @ codes.T
    if bias:
        acc = acc + np.round(model[1].bias().detach().numpy() / (s * rows)).astype(np.int64)
    y = acc * (s * rows)
    if not output_codes:
        return relu(y.astype(np.float32))
    step, zero = float(model[1].scale), int(model[1].zero_point)
    y = np.clip(np.round(y / step) + zero, zero, 255)
    return ((y - zero) * step).astype(np.float32)


# --- A linear layer in floats of eight bits


class EightBitFloatLinear(nn.Module):
    """Input rows and weight rows are scaled to the largest float8 of four exponent bits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 16))
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sx = x.abs().amax(dim=-1, keepdim=True) / 448
        sw = self.weight.abs().amax(dim=-1, keepdim=True) / 448
        qx = (x / sx).to(torch.float8_e4m3fn).float()
        qw = (self.weight / sw).to(torch.float8_e4m3fn).float()
        return (qx @ qw.T) * sx * sw.T + self.bias


def build_float8() -> tuple[Any, np.ndarray]:
    x = noise(6229, 5, 16) * np.linspace(0.3, 4, 5, dtype=np.float32)[:, None]
    return settled(EightBitFloatLinear(), 6228), x.astype(np.float32)


def float8(
    model: Any,
    x: np.ndarray,
    kind: Any = ml_dtypes.float8_e4m3fn,
    weight_scale: str = "of rows",
    top: float = 448,
    input_quantised: bool = True,
    rescaled: str = "both",
) -> np.ndarray:
    w = weights(model)
    kernel = w["weight"]
    sx = np.abs(x).max(-1, keepdims=True) / np.float32(448)
    sw = np.abs(kernel).max(-1, keepdims=True) / np.float32(448)
    if weight_scale == "of the first row":
        sw = np.broadcast_to(sw[:1], sw.shape)
    qx = np.clip(x / sx, -top, top).astype(kind).astype(np.float32) if input_quantised else x / sx
    qw = np.clip(kernel / sw, -top, top).astype(kind).astype(np.float32)
    y = qx @ qw.T * sx
    if rescaled == "by the mean weight scale":
        sw = np.full_like(sw, sw.mean())
    return y * sw.T + w["bias"]


# --- Weights and activations of few bits, as DoReFa trains them


class DorefaConv(nn.Module):
    """Weights of 2 bits through tanh, inputs of 3 bits between 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 4, 3))
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = torch.tanh(self.weight)
        w = w / (2 * w.abs().max()) + 0.5
        w = 2 * torch.round(w * 3) / 3 - 1
        x = torch.round(torch.clamp(x, 0, 1) * 7) / 7
        return F.conv1d(x, w, self.bias, padding=1)


def build_dorefa() -> tuple[Any, np.ndarray]:
    return settled(DorefaConv(), 6230, 2.0), noise(6231, 2, 4, 12, shift=0.4)


def dorefa(
    model: Any,
    x: np.ndarray,
    squashed: bool = True,
    levels: int = 3,
    largest: str = "of all",
    input_by: Any = np.round,
    clipped: bool = True,
    centred: bool = True,
) -> np.ndarray:
    given = weights(model)
    w = np.tanh(given["weight"]) if squashed else given["weight"]
    top = np.abs(w).max() if largest == "of all" else np.abs(w).max((1, 2), keepdims=True)
    w = w / (2 * top) + np.float32(0.5)
    w = np.round(w * levels) / np.float32(levels)
    w = 2 * w - 1 if centred else w
    x = np.clip(x, 0, 1) if clipped else relu(x)
    x = input_by(x * 7) / np.float32(7)
    return conv(x.astype(np.float32), w.astype(np.float32), given["bias"], padding=1)


# --- A dot product in half precision, summed in blocks


class HalfBlocks(nn.Module):
    """Products and the sums of 16 of them in half precision, the blocks in single."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 512))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, w = x.half(), self.weight.half()
        total = torch.zeros(x.shape[0], 4)
        for k in range(0, 512, 16):
            part = torch.zeros(x.shape[0], 4, dtype=torch.float16)
            for j in range(k, k + 16):
                part = part + x[:, j : j + 1] * w[:, j]
            total = total + part.float()
        return total + self.bias


def build_half() -> tuple[Any, np.ndarray]:
    return settled(HalfBlocks(), 6232, 20.0), noise(6233, 3, 512)


def half_blocks(
    model: Any,
    x: np.ndarray,
    across: Any = np.float32,
    kind: Any = np.float16,
    block: int = 16,
    clears: bool = True,
) -> np.ndarray:
    given = weights(model)
    x, w = x.astype(kind), given["weight"].astype(kind)
    total = np.zeros((len(x), 4), across)
    part = np.zeros((len(x), 4), kind)
    for k in range(0, 512, block):
        if clears:
            part = np.zeros((len(x), 4), kind)
        for j in range(k, k + block):
            part = part + x[:, j : j + 1] * w[:, j]
        total = total + part.astype(across)
    return total.astype(np.float32) + given["bias"]


# --- A small net in flat buffers, as C has it


class BufferNet(nn.Module):
    """Convolution, ReLU, pooling by two, and a linear layer over the flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.dense = nn.Linear(3 * 3 * 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.dense(y.flatten(1))


def build_buffers() -> tuple[Any, np.ndarray]:
    return settled(BufferNet(), 6234, 1.5), noise(6235, 2, 2, 9, 11)


def c_conv(
    image: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    row: int = 11,
    plane: int = 99,
    clear: str = "each pixel",
    kernel_order: str = "out, in",
) -> np.ndarray:
    """A 3 x 3 convolution of 2 maps of 9 x 11, flat, to 3 maps of 7 x 9, flat."""
    out = np.zeros(3 * 7 * 9, np.float32)
    kernel = kernel.ravel()
    acc = np.float32(0)
    for o in range(3):
        for i in range(7):
            if clear == "each row":
                acc = bias[o]
            for j in range(9):
                if clear == "each pixel":
                    acc = bias[o]
                for c in range(2):
                    for u in range(3):
                        for v in range(3):
                            at = o * 2 + c if kernel_order == "out, in" else c * 3 + o
                            weight = kernel[at * 9 + u * 3 + v]
                            acc = acc + weight * image[c * plane + (i + u) * row + j + v]
                out[o * 63 + i * 9 + j] = max(acc, 0)
    return out


def c_pool(maps: np.ndarray, row: int = 9, start: str = "first value") -> np.ndarray:
    """Pool 3 maps of 7 x 9 by two, to 3 maps of 3 x 4, flat."""
    out = np.zeros(36, np.float32)
    best = np.float32(0)
    for c in range(3):
        for i in range(3):
            for j in range(4):
                if start == "first value":
                    best = maps[c * 63 + 2 * i * row + 2 * j]
                for u in range(2):
                    for v in range(2):
                        best = max(best, maps[c * 63 + (2 * i + u) * row + 2 * j + v])
                out[c * 12 + i * 4 + j] = best
            if start == "row before":
                best = np.float32(0)
    return out


def buffers(model: Any, x: np.ndarray, flat: str = "channels first", **how: Any) -> np.ndarray:
    w = weights(model)
    pool = {name: how.pop(f"pool_{name}") for name in ("row", "start") if f"pool_{name}" in how}
    out = []
    for image in x:
        maps = c_conv(image.ravel(), w["conv.weight"], w["conv.bias"], **how)
        pooled = c_pool(maps, **pool)
        if flat == "channels last":
            pooled = pooled.reshape(3, 3, 4).transpose(1, 2, 0).ravel()
        out.append(w["dense.weight"] @ pooled + w["dense.bias"])
    return np.stack(out)


def buffers_in_one_arena(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    kernel, bias = w["conv.weight"], w["conv.bias"]
    out = []
    for image in x:
        arena = image.copy().ravel()
        for o in range(3):
            for i in range(7):
                for j in range(9):
                    acc = bias[o]
                    for c in range(2):
                        for u in range(3):
                            for v in range(3):
                                acc += kernel[o, c, u, v] * arena[c * 99 + (i + u) * 11 + j + v]
                    arena[o * 63 + i * 9 + j] = max(acc, 0)
        out.append(w["dense.weight"] @ c_pool(arena) + w["dense.bias"])
    return np.stack(out)


CASES = [
    Case(
        "third_brevitas_stem",
        build_few_bits,
        "",
        few_bits,
        {
            "weights_not_quantised": Mistake(
                partial(few_bits, quantised=False),
                "The stored weights are used, where the layer rounds them to 4 bits.",
            ),
            "scale_of_eight_levels": Mistake(
                partial(few_bits, levels=8),
                "The weights' scale is the largest magnitude over 8, where it is over 7 (the "
                "range is narrow).",
            ),
            "scale_of_each_channel": Mistake(
                partial(few_bits, scale_of="channel"),
                "Each output channel has a scale of its own, where the whole kernel has one.",
            ),
            "weights_cut": Mistake(
                partial(few_bits, rounding=np.trunc),
                "The weights are cut toward zero (a C cast), where they are rounded.",
            ),
        },
    ),
    Case(
        "third_keras_few_bit_dense",
        build_qkeras,
        "few",
        qkeras,
        {
            "range_symmetric": Mistake(
                partial(qkeras, lowest=-7),
                "The kernel's lowest code is -7, where it is -8.",
            ),
            "kernel_floored": Mistake(
                partial(qkeras, rounding=np.floor),
                "The kernel's codes are rounded down, where they are rounded to nearest.",
            ),
            "bias_not_quantised": Mistake(
                partial(qkeras, bias_bits=False),
                "The stored bias is used, where it is rounded to eighths.",
            ),
            "output_not_quantised": Mistake(
                partial(qkeras, output_bits=False),
                "The output is a plain ReLU, where it is rounded to eighths and clipped.",
            ),
            "output_not_clipped": Mistake(
                partial(qkeras, ceiling=np.inf),
                "The output's codes are not clipped at 15.",
            ),
            "sign_bit_not_counted": Mistake(
                partial(qkeras, scale=16),
                "The kernel is quantised in sixteenths (4 bits beside the sign), where the 4 "
                "bits hold the sign and the steps are eighths.",
            ),
        },
    ),
    Case(
        "third_binary_convolution",
        build_binary,
        "",
        binary,
        {
            "sign_of_zero_is_zero": Mistake(
                partial(binary, zero=0),
                "Inputs of zero have the sign 0 (np.sign), where they count as +1.",
            ),
            "sign_of_zero_is_minus": Mistake(
                partial(binary, zero=-1),
                "Inputs of zero have the sign -1 (x > 0), where they count as +1.",
            ),
            "border_of_minus_one": Mistake(
                partial(binary, border=-1),
                "The border is -1 (a zero bit), where it is zero.",
            ),
            "alpha_forgotten": Mistake(
                partial(binary, alpha_of="none"),
                "The output is not multiplied by the mean magnitude of the weights.",
            ),
            "alpha_of_whole_kernel": Mistake(
                partial(binary, alpha_of="tensor"),
                "One mean magnitude of the whole kernel scales all channels, where each output "
                "channel has its own.",
            ),
            "input_not_binarised": Mistake(
                partial(binary, input_signs=False),
                "The input is used as it is, where its signs are taken.",
            ),
            "length_of_padded_word": Mistake(
                partial(binary, length=32),
                "The number of bits taken off the doubled population count is 32 (the padded "
                "word), where it is 27.",
            ),
        },
    ),
    Case(
        "third_ternary_linear",
        build_ternary,
        "",
        ternary,
        {
            "weights_by_sign": Mistake(
                partial(ternary, weights_by="sign"),
                "The weights are their signs, where small ones become zero.",
            ),
            "threshold_of_the_paper": Mistake(
                partial(ternary, weights_by="threshold"),
                "Weights become zero below 0.7 of the mean magnitude (ternary weight networks), "
                "where it is half of it (rounding).",
            ),
            "one_scale_for_all_tokens": Mistake(
                partial(ternary, scale_of="all"),
                "The input has one scale for all tokens, where each token has its own.",
            ),
            "input_cut": Mistake(
                partial(ternary, rounding=np.trunc),
                "The input's codes are cut toward zero, where they are rounded.",
            ),
            "step_is_largest": Mistake(
                partial(ternary, steps="largest"),
                "The weights' step is their largest magnitude, where it is the mean magnitude.",
            ),
            "step_not_multiplied_back": Mistake(
                partial(ternary, rescaled=False),
                "The result is not multiplied by the weights' step.",
            ),
        },
    ),
    Case(
        "third_integer_convolution",
        build_integer_conv,
        "",
        integer_conv,
        {
            "border_of_code_zero": Mistake(
                partial(integer_conv, border="zero"),
                "The border is padded with the code 0, where it is the input's zero point (-11).",
            ),
            "shift_not_rounded": Mistake(
                partial(integer_conv, nudged=False),
                "The shift to the right rounds down, where half is added before it.",
            ),
            "multiplier_of_first_channel": Mistake(
                partial(integer_conv, multipliers="first"),
                "The first channel's multiplier is used for all, where each channel has its own.",
            ),
            "bias_after_requantising": Mistake(
                partial(integer_conv, bias="after"),
                "The bias is added, shifted by 8, after the multiplication, where it is added to "
                "the 32-bit sum.",
            ),
            "wraps_at_eight_bits": Mistake(
                partial(integer_conv, end="wrapped"),
                "Results above 127 wrap to negative ones, where they saturate.",
            ),
            "offset_added": Mistake(
                partial(integer_conv, offset_sign=1),
                "The input's zero point is added to the codes, where it is subtracted.",
            ),
            "relu_at_code_zero": Mistake(
                partial(integer_conv, floor=0),
                "The ReLU clips the codes at 0, where real zero is the code -20.",
            ),
            "border_and_shift": Mistake(
                partial(integer_conv, border="zero", nudged=False),
                "Two causes: the border is padded with the code 0, where it is the input's zero "
                "point, and the shift rounds down, where half is added before it.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_quantised_shortcut",
        build_shortcut,
        "",
        shortcut,
        {
            "halves_away_from_zero": Mistake(
                partial(shortcut, rounding=half_away),
                "The sum is rounded with halves away from zero, where they go to even.",
            ),
            "scale_of_other_branch": Mistake(
                partial(shortcut, scale_of_b=0),
                "The second branch is read with the first one's scale.",
            ),
            "zero_point_of_other_branch": Mistake(
                partial(shortcut, zeros_taken=False),
                "The second branch is read with the first one's zero point.",
            ),
            "relu_at_code_zero": Mistake(
                partial(shortcut, floor="code zero"),
                "The ReLU compares the codes with 0, where real zero is the code 96.",
            ),
            "mean_cut": Mistake(
                partial(shortcut, mean="of whole numbers"),
                "The mean of the codes is a division of whole numbers, where it is not rounded "
                "before it is quantised again.",
            ),
            "mean_not_rescaled": Mistake(
                partial(shortcut, rescaled=False),
                "The mean keeps the scale of the sum, where the output has its own (0.02 for 0.1).",
            ),
            "codes_wrap": Mistake(
                partial(shortcut, wrapped=True),
                "Codes beyond 0 and 255 wrap around, where they saturate.",
            ),
        },
    ),
    Case(
        "third_table_gate",
        build_table,
        "",
        table_gate,
        {
            "index_rounded": Mistake(
                partial(table_gate, index_by="nearest"),
                "The table's index is rounded to nearest, where it is rounded down.",
            ),
            "index_cast": Mistake(
                partial(table_gate, index_by="cast"),
                "The index is cast to a whole number before the offset is added, which cuts "
                "negative ones toward zero, where they are rounded down.",
            ),
            "table_of_half_reach": Mistake(
                partial(table_gate, reach=4.0),
                "The table reaches from -4 to 4, where it reaches from -8 to 8.",
            ),
            "table_of_middles": Mistake(
                partial(table_gate, at="middle"),
                "The table holds the values at the middle of each step, where they are at its "
                "left edge.",
            ),
            "table_to_both_ends": Mistake(
                partial(table_gate, at="both ends"),
                "The table runs from -8 to 8 inclusive (np.linspace), where its last value is one "
                "step below 8.",
            ),
            "index_wraps": Mistake(
                partial(table_gate, ends="wrap"),
                "An index beyond the table wraps around, where it saturates.",
            ),
            "branches_swapped": Mistake(
                partial(table_gate, branch=("gate", "value")),
                "The sigmoid is taken of the value's layer and multiplies the gate's.",
            ),
        },
    ),
    Case(
        "third_fixed_point_dense",
        build_fixed,
        "",
        fixed,
        {
            "input_rounded": Mistake(
                partial(fixed, input_by=np.round),
                "The input is rounded to nearest, where it is cut (AP_TRN).",
            ),
            "sum_saturates": Mistake(
                partial(fixed, sums="saturate"),
                "The sum saturates, where it wraps (AP_WRAP).",
            ),
            "products_kept": Mistake(
                partial(fixed, products="kept"),
                "The products are summed in full and cut once, where each product is cut to six "
                "bits behind the point.",
            ),
            "bias_at_other_point": Mistake(
                partial(fixed, bias_bits=128),
                "The bias is added with seven bits behind the point to a sum with six, so it "
                "counts twice.",
            ),
            "input_rounded_and_bias": Mistake(
                partial(fixed, input_by=np.round, bias_bits=128),
                "Two causes: the input is rounded, where it is cut, and the bias counts twice (it "
                "has seven bits behind the point, where the sum has six).",
                causes=2,
            ),
            "weights_cut": Mistake(
                partial(fixed, weights_by="cut"),
                "The weights are cut, where they are rounded (AP_RND).",
            ),
            "output_cut": Mistake(
                partial(fixed, end="cut"),
                "The output is cut to four bits behind the point, where it is rounded.",
            ),
        },
    ),
    Case(
        "third_pruned_convolution",
        build_pruned,
        "",
        pruned,
        {
            "mask_forgotten": Mistake(
                partial(pruned, mask="forgotten"),
                "The original weights are used without the pruning mask.",
            ),
            "mask_transposed": Mistake(
                partial(pruned, mask="transposed"),
                "Input and output channels of the mask are swapped.",
            ),
            "mask_by_magnitude": Mistake(
                partial(pruned, mask="magnitude"),
                "The largest weights of the same number are kept, where the stored mask says "
                "which are.",
            ),
            "removed_channels_zero": Mistake(
                partial(pruned, removed="put out nothing"),
                "The channels that are pruned as a whole put out zero, where their bias and the "
                "norm's shift remain.",
            ),
            "folded_bias_not_scaled": Mistake(
                partial(pruned, folding="bias not scaled"),
                "In the folded norm the convolution's bias is added unscaled, where the norm's "
                "gain multiplies it too.",
            ),
            "folded_mean_of_wrong_sign": Mistake(
                partial(pruned, folding="sign"),
                "In the folded norm (mean - bias) times the gain is added, where it is subtracted.",
            ),
        },
    ),
    Case(
        "third_ring_buffer",
        build_ring,
        "",
        ring,
        {
            "not_cleared_between_clips": Mistake(
                ring_not_cleared,
                "The buffer of the last frames is not cleared between two clips.",
            ),
            "read_before_write": Mistake(
                ring_read_before_write,
                "The buffer is read before the new frame is written, so the output is a frame "
                "late.",
            ),
            "read_from_first_slot": Mistake(
                ring_read_from_slot_zero,
                "The taps read the buffer from slot 0 on, where they start at the oldest frame.",
            ),
            "one_slot_short": Mistake(
                ring_one_slot_short,
                "The buffer has four slots for five taps, so the newest frame stands in the place "
                "of the oldest.",
            ),
            "newest_frame_first": Mistake(
                ring_newest_first,
                "The first tap reads the newest frame, where it reads the oldest.",
            ),
        },
    ),
    Case(
        "third_memory_filter",
        build_memory,
        "",
        memory_filter,
        {
            "newest_stored_first": Mistake(
                partial(memory_filter, newest="first"),
                "The newest value is stored first, where the time weights have it last.",
            ),
            "ranks_outside": Mistake(
                partial(memory_filter, ranks="outer"),
                "Filters i and i + 4 are summed to a unit, where those of a unit stand side by "
                "side.",
            ),
            "memory_not_cleared": Mistake(
                partial(memory_filter, cleared=False),
                "The memory of the first clip goes on into the second.",
            ),
            "bias_of_each_filter": Mistake(
                partial(memory_filter, bias="each filter"),
                "The bias is added for each of the two filters, where a unit has it once.",
            ),
            "last_values_not_shifted": Mistake(
                partial(memory_filter, shifted="after"),
                "The shift after each frame leaves out the newest place, so that the value before "
                "is overwritten and never remembered.",
            ),
            "shifted_from_the_wrong_end": Mistake(
                partial(memory_filter, copied="right to left"),
                "The memory is shifted in place from the right end, so that the newest value is "
                "copied into all places.",
            ),
        },
    ),
    Case(
        "third_integer_gelu",
        build_int_gelu,
        "",
        int_gelu,
        {
            "exact_gelu": Mistake(
                int_gelu_exact,
                "The exact GELU is computed, where the layer has a polynomial in whole numbers.",
            ),
            "constant_of_sigmoid": Mistake(
                partial(int_gelu, k=1.702),
                "The scale is divided by 1.702 (the sigmoid's GELU), where it is by the root of "
                "two.",
            ),
            "magnitude_not_clipped": Mistake(
                partial(int_gelu, clipped=False),
                "The magnitude is not clipped at the polynomial's turning point.",
            ),
            "sign_forgotten": Mistake(
                partial(int_gelu, signed=False),
                "The error function's sign is not put back.",
            ),
            "not_halved": Mistake(
                partial(int_gelu, halved=False),
                "The scale is not divided by two at the end.",
            ),
            "one_not_added": Mistake(
                partial(int_gelu, one="left out"),
                "The one (in whole numbers) is not added to the error function.",
            ),
        },
    ),
    Case(
        "third_torch_static_linear",
        build_static,
        "",
        static,
        {
            "zero_point_not_subtracted": Mistake(
                partial(static, zero_taken=False),
                "The input's zero point is not subtracted from the codes.",
            ),
            "one_weight_scale": Mistake(
                partial(static, scales="one"),
                "All rows of the weight have the largest row's scale, where each has its own.",
            ),
            "output_not_quantised": Mistake(
                partial(static, output_codes=False),
                "The output is left as it is, where it is quantised to 8 bits.",
            ),
            "input_cut": Mistake(
                partial(static, rounding=np.floor),
                "The input is rounded down, where it is rounded to nearest.",
            ),
            "bias_forgotten": Mistake(
                partial(static, bias=False),
                "The bias is not added.",
            ),
            "input_of_seven_bits": Mistake(
                partial(static, highest=127),
                "The input's codes are clipped at 127 (the end of the calibrated range), where "
                "they go to 255.",
            ),
        },
    ),
    Case(
        "third_float8_linear",
        build_float8,
        "",
        float8,
        {
            "five_exponent_bits": Mistake(
                partial(float8, kind=ml_dtypes.float8_e5m2),
                "The values are float8 of five exponent bits, where they have four.",
            ),
            "scale_of_first_row": Mistake(
                partial(float8, weight_scale="of the first row"),
                "All rows of the weight use the first row's scale and saturate, where each has "
                "its own.",
            ),
            "largest_of_240": Mistake(
                partial(float8, top=240),
                "The values saturate at 240 (the other float8 of four exponent bits), where "
                "they go to 448.",
            ),
            "input_not_quantised": Mistake(
                partial(float8, input_quantised=False),
                "The input is not rounded to float8, as if the weights alone were quantised.",
            ),
            "mean_scale_at_the_end": Mistake(
                partial(float8, rescaled="by the mean weight scale"),
                "The result is multiplied by the mean of the rows' scales, where each output has "
                "its own.",
            ),
        },
    ),
    Case(
        "third_dorefa_convolution",
        build_dorefa,
        "",
        dorefa,
        {
            "no_tanh": Mistake(
                partial(dorefa, squashed=False),
                "The weights are not passed through tanh before they are quantised.",
            ),
            "four_steps": Mistake(
                partial(dorefa, levels=4),
                "The weights have 4 steps (2 to the bits), where 2 bits have 3.",
            ),
            "largest_of_each_channel": Mistake(
                partial(dorefa, largest="of each channel"),
                "Each output channel is divided by its own largest weight, where it is the "
                "largest of all.",
            ),
            "input_cut": Mistake(
                partial(dorefa, input_by=np.floor),
                "The input's codes are rounded down, where they are rounded to nearest.",
            ),
            "input_not_clipped": Mistake(
                partial(dorefa, clipped=False),
                "The input is a ReLU without the clip at one.",
            ),
            "weights_not_centred": Mistake(
                partial(dorefa, centred=False),
                "The weights are left between 0 and 1, where they are mapped to -1 to 1.",
            ),
            "no_tanh_and_input_cut": Mistake(
                partial(dorefa, squashed=False, input_by=np.floor),
                "Two causes: the weights are not passed through tanh, and the input's codes are "
                "rounded down, where they are rounded to nearest.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_half_blocks",
        build_half,
        "",
        half_blocks,
        {
            "blocks_summed_in_half": Mistake(
                partial(half_blocks, across=np.float16),
                "The blocks are summed in half precision too, where their sum is in single.",
            ),
            "bfloat16": Mistake(
                partial(half_blocks, kind=ml_dtypes.bfloat16),
                "The values are bfloat16, where they are float16.",
            ),
            "single_precision_throughout": Mistake(
                partial(half_blocks, kind=np.float32),
                "Values, products and sums are in single precision, where the blocks are in half; "
                "inherently small.",
            ),
            "block_not_cleared": Mistake(
                partial(half_blocks, clears=False),
                "The sum of a block is not cleared, so the blocks before are counted again.",
            ),
            "blocks_of_sixty_four": Mistake(
                partial(half_blocks, block=64),
                "The blocks have 64 products, where they have 16; inherently small.",
            ),
        },
    ),
    Case(
        "third_buffer_net",
        build_buffers,
        "",
        buffers,
        {
            "row_of_output_width": Mistake(
                partial(buffers, row=9),
                "The image's rows are stepped over by the output's width (9), where they are 11 "
                "wide.",
            ),
            "plane_of_output_size": Mistake(
                partial(buffers, plane=63),
                "The second input channel is read 63 values behind the first (the output's map), "
                "where it is 99.",
            ),
            "sum_cleared_each_row": Mistake(
                partial(buffers, clear="each row"),
                "The sum is set to the bias at the start of each row, where it is for each pixel.",
            ),
            "kernel_read_in_first": Mistake(
                partial(buffers, kernel_order="in, out"),
                "The kernel is read with input channels outside, where output channels are.",
            ),
            "pooled_by_odd_rows": Mistake(
                partial(buffers, pool_row=8),
                "The pooling steps over rows of 8, as if the odd column were gone, where the maps "
                "are 9 wide.",
            ),
            "maximum_kept": Mistake(
                partial(buffers, pool_start="row before"),
                "The maximum is set to zero at the start of each row, where it starts anew for "
                "each pixel.",
            ),
            "flattened_channels_last": Mistake(
                partial(buffers, flat="channels last"),
                "The maps are flattened channels last, where they are channels first.",
            ),
            "maps_over_the_image": Mistake(
                buffers_in_one_arena,
                "The convolution writes its maps into the buffer of the image, so that later "
                "pixels and maps read maps, where they read the image.",
            ),
        },
    ),
]
