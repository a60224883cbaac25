"""Spectra, filters and codecs of sound; and layers that count in integers and small formats.

Of Keras and transformers, and small modules as practitioners write them for a device. The ports
and their mistakes were written from the frameworks' own code and from what goes wrong when one
writes such a layer again, without a look at the tool that is measured on them.
"""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from transformers import DacConfig
from transformers.models.dac.modeling_dac import DacVectorQuantize

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import conv, linear, softmax
from corpora.ports.trained import inputs, normal_floats, train_keras, train_torch, weights_of


def hann(n: int, periodic: bool) -> np.ndarray:
    """A Hann window; the periodic one is cut from a window of n + 1."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / (n if periodic else n - 1))).astype(
        np.float32
    )


def frames_of(x: np.ndarray, length: int, step: int) -> np.ndarray:
    """(..., time) to (..., frames, length)."""
    starts = np.arange(0, x.shape[-1] - length + 1, step)
    return x[..., starts[:, None] + np.arange(length)]


# Keras' power spectral density of two channels.


def build_psd() -> tuple[Any, np.ndarray]:
    model = keras.Sequential(
        [
            keras.Input((200, 2)),
            keras.layers.STFTSpectrogram(
                mode="psd", frame_length=48, frame_step=20, fft_length=64, name="psd"
            ),
        ]
    )
    return model, inputs(9101, 2, 200, 2, shift=0.4)


def psd(
    model: Any,
    x: np.ndarray,
    periodic: bool = False,
    doubled: str = "inner bins",
    scaled_by: str = "energy",
    channel_order: str = "channel, bin",
    power: bool = True,
) -> np.ndarray:
    window = hann(48, periodic)
    spectrum = np.fft.rfft(frames_of(x.transpose(0, 2, 1), 48, 20) * window, 64)
    y = np.abs(spectrum) ** 2 if power else np.abs(spectrum)
    if scaled_by == "energy":
        y = y / (window**2).sum()
    elif scaled_by == "sum":
        y = y / window.sum() ** 2
    if doubled == "inner bins":
        y[..., 1:-1] *= 2
    elif doubled == "all bins":
        y *= 2
    y = y.transpose(0, 2, 1, 3)
    if channel_order == "bin, channel":
        y = y.swapaxes(2, 3)
    return y.reshape(*y.shape[:2], -1).astype(np.float32)


# The front of a speech recogniser: logarithms of mel bands.


def mel_bands(bins: int, bands: int, scale: str = "slaney", area: bool = True) -> np.ndarray:
    """Triangles over the bins of a spectrum at 16 kHz, (bands, bins)."""

    def mel_to_hertz(m: np.ndarray) -> np.ndarray:
        if scale == "htk":
            return 700 * (10 ** (m / 2595) - 1)
        return np.where(m < 15, m * 200 / 3, 1000 * np.exp((m - 15) * np.log(6.4) / 27))

    top = 2595 * np.log10(1 + 8000 / 700) if scale == "htk" else 15 + 27 * np.log(8) / np.log(6.4)
    edges = mel_to_hertz(np.linspace(0, top, bands + 2))
    at = np.linspace(0, 8000, bins)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    y = np.maximum(0, np.minimum((at - low) / (mid - low), (high - at) / (high - mid)))
    return (y * 2 / (high - low) if area else y).astype(np.float32)


class LogMel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(128))
        self.register_buffer("bands", torch.tensor(mel_bands(65, 12)))

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(sound, 128, 32, window=self.window, return_complex=True)
        power = spectrum[..., :-1].abs() ** 2
        logs = (self.bands @ power).clamp(min=1e-10).log10()
        logs = torch.maximum(logs, logs.amax((1, 2), keepdim=True) - 8.0)
        return (logs + 4.0) / 4.0


def build_log_mel() -> tuple[Any, np.ndarray]:
    fading = 10 ** np.linspace(0, -6, 640)
    return LogMel().eval(), inputs(9102, 2, 640) * np.array([[1.0], [0.05]], np.float32) * (
        fading.astype(np.float32)
    )


def log_mel(
    model: Any,
    x: np.ndarray,
    pad: str = "reflect",
    periodic: bool = True,
    power: bool = True,
    scale: str = "slaney",
    area: bool = True,
    log: Any = np.log10,
    top_of: str = "each sound",
    dropped: str = "last",
) -> np.ndarray:
    x = np.pad(x, ((0, 0), (64, 64)), mode=pad)
    spectrum = np.abs(np.fft.rfft(frames_of(x, 128, 32) * hann(128, periodic))).swapaxes(1, 2)
    spectrum = spectrum[..., 1:] if dropped == "first" else spectrum[..., :-1]
    bands = mel_bands(65, 12, scale, area) @ (spectrum**2 if power else spectrum)
    logs = log(np.maximum(bands, 1e-10))
    top = logs.max((1, 2), keepdims=True) if top_of == "each sound" else logs.max()
    return ((np.maximum(logs, top - 8) + 4) / 4).astype(np.float32)


# The last stage of a vocoder.


class VocoderStage(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.up = weight_norm(nn.ConvTranspose1d(channels, half, 8, 4, padding=2))
        self.narrow = nn.ModuleList(
            weight_norm(nn.Conv1d(half, half, 3, dilation=d, padding=d)) for d in (1, 3)
        )
        self.wide = nn.ModuleList(
            weight_norm(nn.Conv1d(half, half, 5, dilation=d, padding=2 * d)) for d in (1, 3)
        )
        self.post = weight_norm(nn.Conv1d(half, 1, 7, padding=3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(F.leaky_relu(x, 0.1))
        total = torch.zeros_like(x)
        for block in (self.narrow, self.wide):
            y = x
            for layer in block:
                y = y + layer(F.leaky_relu(y, 0.1))
            total = total + y
        x = F.leaky_relu(total / 2)
        return torch.tanh(self.post(x))


def build_vocoder() -> tuple[Any, np.ndarray]:
    return train_torch(VocoderStage(8), 9103), inputs(9104, 2, 8, 10, scale=0.5)


def _leaky(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x > 0, x, np.float32(slope) * x)


def vocoder(
    model: Any,
    x: np.ndarray,
    last_slope: float = 0.01,
    mean: bool = True,
    up_norm_over: tuple[int, int] = (1, 2),
    direction_alone: bool = False,
    trimmed: tuple[int, int] = (2, 2),
    dilations: tuple[int, int] = (1, 3),
) -> np.ndarray:
    w = weights_of(model)

    def weight(name: str, over: tuple[int, int] = (1, 2)) -> np.ndarray:
        g = w[f"{name}.parametrizations.weight.original0"]
        v = w[f"{name}.parametrizations.weight.original1"]
        return v if direction_alone else g * v / np.sqrt((v * v).sum(over, keepdims=True))

    x = _leaky(x, 0.1)
    kernel = weight("up", up_norm_over)
    y = np.zeros((2, 4, 4 * 9 + 8), np.float32)
    for t in range(10):
        y[:, :, 4 * t : 4 * t + 8] += np.tensordot(x[:, :, t], kernel, 1)
    x = y[:, :, trimmed[0] : 44 - trimmed[1]] + w["up.bias"][:, None]
    total = np.zeros_like(x)
    for block, reach in (("narrow", 1), ("wide", 2)):
        y = x
        for i, d in enumerate(dilations):
            name = f"{block}.{i}"
            z = conv(_leaky(y, 0.1), weight(name), w[f"{name}.bias"], dilation=d, padding=reach * d)
            y = y + z
        total = total + y
    x = _leaky(total / 2 if mean else total, last_slope)
    return np.tanh(conv(x, weight("post"), w["post.bias"], padding=3))


# The codebook of a neural codec: the nearest entry by direction.


def build_codebook() -> tuple[Any, np.ndarray]:
    layer = DacVectorQuantize(DacConfig(hidden_size=12, codebook_dim=4, codebook_size=20))
    return train_torch(layer, 9105, gain=1.5), inputs(9106, 2, 12, 9)


def codebook(
    model: Any,
    x: np.ndarray,
    nearest_by: str = "direction",
    returned: str = "as stored",
    in_bias: bool = True,
    out_bias: bool = True,
    queries: str = "time by time",
) -> np.ndarray:
    w = weights_of(model)
    y = conv(x, w["in_proj.weight"], w["in_proj.bias"] if in_bias else None)
    y = y.swapaxes(1, 2).reshape(-1, 4) if queries == "time by time" else y.reshape(-1, 4)
    entries = w["codebook.weight"]
    unit = entries / np.linalg.norm(entries, axis=-1, keepdims=True)
    if nearest_by == "direction":
        at = (y @ unit.T).argmax(1)
    elif nearest_by == "product":
        at = (y @ entries.T).argmax(1)
    else:
        at = ((y[:, None] - entries) ** 2).sum(-1).argmin(1)
    z = (unit if returned == "of length 1" else entries)[at].reshape(2, 9, 4).swapaxes(1, 2)
    return conv(z, w["out_proj.weight"], w["out_proj.bias"] if out_bias else None)


# An equaliser: two second-order sections that go on from a state.


class Equaliser(nn.Module):
    """Sections of b0, b1, b2, a0, a1, a2; `state` is what the block before has left."""

    def __init__(self, sections: torch.Tensor, state: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("sections", sections)
        self.register_buffer("state", state)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for section, state in zip(self.sections, self.state, strict=True):
            b0, b1, b2, a0, a1, a2 = section.unbind()
            s1, s2 = state.unbind(-1)
            out = []
            for value in y.unbind(-1):
                now = (b0 * value + s1) / a0
                s1 = b1 * value - a1 * now + s2
                s2 = b2 * value - a2 * now
                out.append(now)
            y = torch.stack(out, -1)
        return y


def build_equaliser() -> tuple[Any, np.ndarray]:
    sections = [[1.25, -1.6, 0.55, 1.1, -1.62, 0.68], [0.3, 0.6, 0.3, 1.4, -0.5, 0.25]]
    model = Equaliser(torch.tensor(sections), torch.tensor(normal_floats(9107, 2, 2, 2)))
    return model.eval(), inputs(9108, 2, 40)


def equaliser(
    model: Any,
    x: np.ndarray,
    feedback: int = 1,
    a0: bool = True,
    start: str = "of the model",
    order: str = "b, a",
    carried: bool = False,
    sections: int = 2,
) -> np.ndarray:
    w = weights_of(model)
    y = x
    for section, state in list(zip(w["sections"], w["state"], strict=True))[:sections]:
        b, a = (section[:3], section[3:]) if order == "b, a" else (section[3:], section[:3])
        first = a[0] if a0 else np.float32(1)
        out = np.zeros_like(y)
        s1 = s2 = np.float32(0)
        for channel, values in enumerate(y):
            if start == "of the model" and not (carried and channel):
                s1, s2 = state[channel]
            elif start == "zero":
                s1 = s2 = np.float32(0)
            for t, value in enumerate(values):
                now = (b[0] * value + s1) / first
                s1 = b[1] * value - feedback * a[1] * now + s2
                s2 = b[2] * value - feedback * a[2] * now
                out[channel, t] = now
        y = out
    return y


# A vocoder's last layer: from magnitudes and phases back to sound.


class InverseHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out = nn.Linear(channels, 34)
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.out(x.transpose(1, 2)).transpose(1, 2)
        size, phase = y.chunk(2, 1)
        size = torch.clip(torch.exp(size), max=1e2)
        spectrum = size * (torch.cos(phase) + 1j * torch.sin(phase))
        return torch.istft(spectrum, 32, 8, window=self.window, center=True)


def build_inverse() -> tuple[Any, np.ndarray]:
    return train_torch(InverseHead(10), 9109, gain=1.5), inputs(9110, 2, 10, 12)


def inverse(
    model: Any,
    x: np.ndarray,
    halves: str = "size, phase",
    limited: bool = True,
    windowed: bool = True,
    divided_by: str = "squares",
    cut: int = 16,
    periodic: bool = True,
    phase_sign: int = 1,
) -> np.ndarray:
    w = weights_of(model)
    y = linear(x.swapaxes(1, 2), w["out.weight"], w["out.bias"])
    size, phase = y[..., :17], y[..., 17:]
    if halves == "phase, size":
        size, phase = phase, size
    size = np.exp(size)
    if limited:
        size = np.minimum(size, np.float32(100))
    frames = np.fft.irfft(size * np.exp(1j * phase_sign * phase), 32)
    window = hann(32, periodic)
    sound, weight = np.zeros((2, 8 * 11 + 32)), np.zeros(8 * 11 + 32)
    for t in range(12):
        sound[:, 8 * t : 8 * t + 32] += frames[:, t] * window if windowed else frames[:, t]
        weight[8 * t : 8 * t + 32] += window**2 if divided_by == "squares" else window
    if divided_by != "nothing":
        sound = sound / np.maximum(weight, 1e-11)
    return sound[:, cut : cut + 88].astype(np.float32)


# WaveNet's front: samples to 256 codes, an embedding, and a causal convolution.


class CompandedFront(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Embedding(256, 6)
        self.causal = nn.Conv1d(6, 8, 2)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        y = sound.clamp(-1, 1)
        y = torch.sign(y) * torch.log1p(255 * torch.abs(y)) / math.log1p(255)
        code = ((y + 1) / 2 * 255 + 0.5).long()
        x = self.codes(code).transpose(1, 2)
        return self.causal(F.pad(x, (1, 0)))


def build_companded() -> tuple[Any, np.ndarray]:
    return train_torch(CompandedFront(), 9111, gain=1.5), inputs(9112, 2, 30, scale=0.35)


def companded(
    model: Any,
    x: np.ndarray,
    mu: int = 255,
    rounding: float = 0.5,
    companding: bool = True,
    clamped: bool = True,
    pad: tuple[int, int] = (1, 0),
    padded: str = "embeddings",
) -> np.ndarray:
    w = weights_of(model)
    y = np.clip(x, -1, 1) if clamped else x
    if companding:
        y = np.sign(y) * np.log1p(mu * np.abs(y)) / np.float32(np.log1p(mu))
    code = np.clip(((y + 1) / 2 * 255 + np.float32(rounding)).astype(int), 0, 255)
    if padded == "codes":
        z = w["codes.weight"][np.pad(code, ((0, 0), pad))].swapaxes(1, 2)
    else:
        z = np.pad(w["codes.weight"][code].swapaxes(1, 2), ((0, 0), (0, 0), pad))
    return conv(z, w["causal.weight"], w["causal.bias"])


# An int8 convolution as a device runs it: 32-bit sums, a multiplier and a shift for each channel.


def high_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The rounded upper half of twice the product of 32-bit integers."""
    nudge = torch.where(a * b >= 0, 1 << 30, 1 - (1 << 30))
    return torch.div(a * b + nudge, 1 << 31, rounding_mode="trunc")


def shifted_down(a: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Divide by a power of two and round half away from zero."""
    mask = (1 << shift) - 1
    over = (a & mask) > (mask >> 1) + (a < 0).long()
    return (a >> shift) + over.long()


class DeviceConv(nn.Module):
    """x, y and weights int8; zero points -7 of x and -30 of y; ReLU."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(rng.integers(-127, 128, (6, 4, 3, 3), np.int8)))
        self.register_buffer("bias", torch.tensor(rng.integers(-30000, 30000, 6, np.int32)))
        self.register_buffer("multiplier", torch.tensor(rng.integers(1 << 30, 1 << 31, 6)))
        self.register_buffer("shift", torch.tensor([8, 9, 8, 9, 10, 9]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad((x.long() + 7).double(), (1, 1, 1, 1))
        total = F.conv2d(x, self.weight.double()).long() + self.bias[:, None, None].long()
        total = high_product(total, self.multiplier[:, None, None])
        total = shifted_down(total, self.shift[:, None, None]) - 30
        return total.clamp(-30, 127).to(torch.int8)


def build_device_conv() -> tuple[Any, np.ndarray]:
    x = np.random.default_rng(9114).integers(-128, 128, (2, 4, 6, 6), np.int8)
    return DeviceConv(np.random.default_rng(9113)).eval(), x


def _high_product(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    nudge = np.where(a * b >= 0, 1 << 30, 1 - (1 << 30))
    return np.sign(a * b + nudge) * (np.abs(a * b + nudge) >> 31)


def _shifted_down(a: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    mask = (np.int64(1) << shift) - 1
    return (a >> shift) + ((a & mask) > (mask >> 1) + (a < 0))


def device_conv(
    model: Any,
    x: np.ndarray,
    border: int = -7,
    zero_point: int = -7,
    rounded: bool = True,
    one_multiplier: bool = False,
    bias: bool = True,
    lowest: int = -30,
    saturated: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    y = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=border)
    y = conv(y - zero_point, w["weight"].astype(np.int64))
    if bias:
        y = y + w["bias"].astype(np.int64)[:, None, None]
    factor, shift = w["multiplier"][:, None, None], w["shift"][:, None, None]
    if one_multiplier:
        factor, shift = factor[:1], shift[:1]
    y = _shifted_down(_high_product(y, factor), shift) if rounded else (y * factor) >> (31 + shift)
    y = y - 30
    if saturated:
        return np.clip(y, lowest, 127).astype(np.int8)
    return np.maximum(y, lowest).astype(np.int8)


# The addition of two int8 tensors of different scales.


class DeviceAdd(nn.Module):
    """Both inputs are brought to one scale with 20 bits behind the point, added, and scaled."""

    def __init__(self) -> None:
        super().__init__()
        ints = {"first": 1_073_741_824, "second": 1_610_612_736, "out": 1_395_864_371}
        for name, value in ints.items():
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("zeros", torch.tensor([5, -12, -3]))
        self.register_buffer("shifts", torch.tensor([1, 0, 19]))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a = high_product((a.long() - self.zeros[0]) << 20, self.first)
        b = high_product((b.long() - self.zeros[1]) << 20, self.second)
        total = shifted_down(a, self.shifts[0]) + shifted_down(b, self.shifts[1])
        total = shifted_down(high_product(total, self.out), self.shifts[2])
        return (total + self.zeros[2]).clamp(-128, 127).to(torch.int8)


def build_device_add() -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(9115)
    a, b = rng.integers(-128, 128, (2, 2, 8, 5, 5), np.int8)
    return DeviceAdd().eval(), (a, b)


def device_add(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    second_zero: bool = True,
    multipliers: str = "first, second",
    bits: int = 20,
    out_zero: bool = True,
    saturated: bool = True,
) -> np.ndarray:
    a, b = (part.astype(np.int64) for part in x)
    a = a - 5
    b = b + 12 if second_zero else b
    first, second = (1_073_741_824, 1), (1_610_612_736, 0)
    if multipliers == "second, first":
        first, second = second, first
    a = _shifted_down(_high_product(a << bits, first[0]), first[1])
    b = _shifted_down(_high_product(b << bits, second[0]), second[1])
    y = _high_product(a + b, 1_395_864_371)
    y = _shifted_down(y << (20 - bits), 19)
    y = y - 3 if out_zero else y
    return (np.clip(y, -128, 127) if saturated else y).astype(np.int8)


# A filter in Q15.


class Q15Filter(nn.Module):
    """Samples and taps are int16 that stand for a 32768th; taps are stored oldest sample first."""

    def __init__(self, taps: torch.Tensor, history: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("taps", taps)
        self.register_buffer("history", history)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        line = torch.cat([self.history.expand(len(x), -1), x], 1).long()
        total = (line.unfold(1, len(self.taps), 1) * self.taps.long()).sum(-1)
        return ((total + (1 << 14)) >> 15).clamp(-32768, 32767).to(torch.int16)


def build_q15() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(9116)
    taps = np.array([-900, 2300, -5200, 9100, 27000, 17500, -6100, 2500, 1400], np.int16)
    history = rng.integers(-20000, 20000, 8, np.int16)
    x = np.clip(rng.normal(0, 17000, (2, 50)), -32768, 32767).astype(np.int16)
    x[1, 20:29] = np.where(taps > 0, 32767, -32768)  # the loudest that can be
    return Q15Filter(torch.tensor(taps), torch.tensor(history)).eval(), x


def q15(
    model: Any,
    x: np.ndarray,
    saturated: bool = True,
    bits: int = 15,
    reverse: bool = False,
    history: bool = True,
    half: bool = True,
    accumulator: Any = np.int64,
) -> np.ndarray:
    w = weights_of(model)
    taps = w["taps"][::-1] if reverse else w["taps"]
    before = w["history"] if history else np.zeros(8, np.int16)
    line = np.concatenate([np.broadcast_to(before, (2, 8)), x], 1).astype(np.int64)
    total = (frames_of(line, 9, 1) * taps.astype(np.int64)).sum(-1).astype(accumulator)
    if half:
        total = total + accumulator(1 << (bits - 1))
    y = total >> accumulator(bits)
    return (np.clip(y, -32768, 32767) if saturated else y).astype(np.int16)


# A linear layer of ternary weights and int8 activations.


class TernaryLinear(nn.Module):
    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(features, eps=1e-5)
        self.weight = nn.Parameter(torch.empty(out, features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        step = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        x = (x * step).round().clamp(-128, 127) / step
        mean = self.weight.abs().mean().clamp(min=1e-5)
        return F.linear(x, (self.weight / mean).round().clamp(-1, 1) * mean)


def build_ternary() -> tuple[Any, np.ndarray]:
    return train_torch(TernaryLinear(24, 10), 9117), inputs(9118, 2, 5, 24)


def ternary(
    model: Any,
    x: np.ndarray,
    norm: bool = True,
    largest_of: str = "token",
    weights: str = "ternary",
    mean_of: str = "all",
    weight_scale: bool = True,
    activations: str = "int8",
) -> np.ndarray:
    w = weights_of(model)
    if norm:
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * w["norm.weight"]
    largest = np.abs(x).max(-1, keepdims=True) if largest_of == "token" else np.abs(x).max()
    step = np.float32(127) / largest
    if activations == "int8":
        x = np.clip(np.round(x * step), -128, 127) / step
    elif activations == "truncated":
        x = np.trunc(x * step) / step
    size = np.abs(w["weight"])
    mean = size.mean(-1, keepdims=True) if mean_of == "each row" else size.mean()
    if weights == "signs":
        steps = np.sign(w["weight"])
    else:
        steps = np.clip(np.round(w["weight"] / mean), -1, 1)
    return linear(x, steps * mean if weight_scale else steps)


# A linear layer whose weights are 4-bit floats with a power of two for each 32.


FOUR_BIT_FLOATS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


class FourBitFloatLinear(nn.Module):
    """Two weights in a byte, the low half first; a byte of exponent for 32 weights of a row."""

    def __init__(self, packed: torch.Tensor, exponents: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("exponents", exponents)
        self.register_buffer("bias", bias)
        values = np.concatenate([FOUR_BIT_FLOATS, -FOUR_BIT_FLOATS])
        self.register_buffer("values", torch.tensor(values))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        codes = torch.stack([self.packed & 15, self.packed >> 4], -1).flatten(1)
        weight = self.values[codes.long()].view(len(codes), -1, 32)
        weight = torch.ldexp(weight, self.exponents.int()[..., None] - 127).flatten(1)
        return F.linear(x, weight, self.bias)


def build_four_bit() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(9119)
    packed = torch.tensor(rng.integers(0, 256, (8, 32), np.uint8))
    exponents = torch.tensor(rng.integers(122, 126, (8, 2), np.uint8))
    bias = torch.tensor(normal_floats(9120, 8))
    return FourBitFloatLinear(packed, exponents, bias).eval(), inputs(9121, 3, 64)


def four_bit(
    model: Any,
    x: np.ndarray,
    first: str = "low",
    halves: str = "in turn",
    bias_of_exponent: int = 127,
    values: tuple[float, ...] = (0, 0.5, 1, 1.5, 2, 3, 4, 6),
    sign: str = "upper bit",
    block: str = "32 in a row",
    bias: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    low, high = w["packed"] & 15, w["packed"] >> 4
    pair = [low, high] if first == "low" else [high, low]
    codes = np.concatenate(pair, 1) if halves == "one after the other" else np.stack(pair, -1)
    codes = codes.reshape(8, 64).astype(int)
    table = np.array(values, np.float32)
    if sign == "two's complement":
        weight = np.where(codes < 8, table[codes % 8], -table[(16 - codes) % 8])
    else:
        weight = np.where(codes < 8, 1, -1) * table[codes % 8]
    scale = np.exp2(w["exponents"].astype(np.float32) - bias_of_exponent)
    if block == "every second":
        weight = weight * np.tile(scale, 32)
    else:
        weight = weight * scale.repeat(32, 1)
    return linear(x, weight.astype(np.float32), w["bias"] if bias else None)


# Keras' int4 layer with a scale and a zero point for 8 inputs.


def build_int4_dense() -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input((24,)), keras.layers.Dense(6, name="dense")])
    train_keras(model, 9122)
    kernel, bias = model.get_layer("dense").get_weights()
    model.get_layer("dense").set_weights([kernel + np.float32(0.08), bias])
    config = keras.quantizers.Int4QuantizationConfig(
        weight_quantizer=None, activation_quantizer=None, block_size=8
    )
    model.quantize(config=config)
    return model, inputs(9123, 5, 24)


def int4_dense(
    model: Any,
    x: np.ndarray,
    first: str = "low",
    halves: str = "in turn",
    signed: bool = True,
    zero_point: bool = True,
    groups: str = "8 in turn",
    zero_scaled: bool = True,
) -> np.ndarray:
    layer = model.get_layer("dense")
    packed, scale, zero, offset = (
        keras.ops.convert_to_numpy(v)
        for v in (layer._kernel, layer.kernel_scale, layer.kernel_zero, layer.bias)
    )
    low, high = packed & 15, (packed >> 4) & 15
    pair = [low, high] if first == "low" else [high, low]
    codes = np.concatenate(pair, 1) if halves == "one after the other" else np.stack(pair, -1)
    codes = codes.reshape(24, 6).astype(np.float32)
    if signed:
        codes = np.where(codes > 7, codes - 16, codes)
    group = np.arange(24) // 8 if groups == "8 in turn" else np.arange(24) % 3
    weight = codes * scale[group]
    if zero_point:
        zeros = zero[group].astype(np.float32)
        weight = weight - (zeros * scale[group] if zero_scaled else zeros)
    y = x @ weight.astype(np.float32)
    return y + offset


# A convolution trained with quantised weights and activations, as a layer of Keras.


def levels_of(x: Any, bits: int) -> Any:
    """Numbers from 0 to 1 on 2**bits - 1 steps."""
    steps = 2.0**bits - 1
    return keras.ops.round(x * steps) / steps


@keras.saving.register_keras_serializable("corpora")
class FewBitConv(keras.layers.Layer):
    """Weights of 3 bits through tanh; activations of 4 bits up to a learned limit."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias")
        self.alpha = self.add_weight(shape=(1,), name="alpha")

    def call(self, x: Any) -> Any:
        x = levels_of(keras.ops.clip(x, 0, self.alpha) / self.alpha, 4) * self.alpha
        w = keras.ops.tanh(self.kernel)
        w = w / (2 * keras.ops.max(keras.ops.abs(w))) + 0.5
        w = 2 * levels_of(w, 3) - 1
        return keras.ops.conv(x, w, padding="same") + self.bias


def build_few_bits() -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input((6, 6, 4)), FewBitConv(5, name="conv")])
    train_keras(model, 9124, gain=2.0)
    model.get_layer("conv").alpha.assign([2.3])
    return model, inputs(9125, 2, 6, 6, 4, scale=1.2)


def few_bits(
    model: Any,
    x: np.ndarray,
    limit: float = 0.0,
    steps: tuple[int, int] = (15, 7),
    tanh: bool = True,
    largest_of: str = "all",
    weights: str = "quantised",
    centred: bool = True,
    activations: str = "rounded",
    rescaled: bool = True,
) -> np.ndarray:
    layer = model.get_layer("conv")
    kernel, bias, alpha = (
        keras.ops.convert_to_numpy(v) for v in (layer.kernel, layer.bias, layer.alpha)
    )
    top = np.float32(limit) if limit else alpha
    y = np.clip(x, 0, top) / top * np.float32(steps[0])
    y = np.floor(y) if activations == "truncated" else np.round(y)
    y = y / np.float32(steps[0])
    y = y * top if rescaled else y
    w = np.tanh(kernel) if tanh else kernel
    size = np.abs(w)
    w = w / (2 * (size.max((0, 1, 2)) if largest_of == "each filter" else size.max()))
    w = w + np.float32(0.5)
    if weights == "quantised":
        w = np.round(w * steps[1]) / np.float32(steps[1])
    w = 2 * w - 1 if centred else w
    z = conv(y.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1).astype(np.float32), bias, padding=1)
    return z.transpose(0, 2, 3, 1)


# A softmax from a table of exponentials, in integers.


class TableSoftmax(nn.Module):
    """int8 scores in steps of 1/16 to int8 shares: 1/256 a step, zero point -128."""

    def __init__(self) -> None:
        super().__init__()
        table = np.round(np.exp(-np.arange(256) / 16) * 32767)
        self.register_buffer("table", torch.tensor(table.astype(np.int16)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        below = x.long().amax(-1, keepdim=True) - x.long()
        powers = self.table[below].long()
        total = powers.sum(-1, keepdim=True)
        return ((powers * 256 + total // 2) // total - 128).clamp(-128, 127).to(torch.int8)


def build_table_softmax() -> tuple[Any, np.ndarray]:
    x = np.random.default_rng(9126).integers(-60, 60, (2, 4, 10), np.int8)
    x[0, 1] = [-60, 100, -50, -40, -45, -60, -70, -80, -90, -100]
    return TableSoftmax().eval(), x


def table_softmax(
    model: Any,
    x: np.ndarray,
    axis: int = -1,
    rounded: bool = True,
    out_levels: int = 256,
    zero_point: int = -128,
    saturated: bool = True,
) -> np.ndarray:
    y = x.astype(np.int64)
    below = y.max(axis, keepdims=True) - y
    powers = np.round(np.exp(-below / 16) * 32767).astype(np.int64)
    total = powers.sum(axis, keepdims=True)
    y = (powers * out_levels + (total // 2 if rounded else 0)) // total + zero_point
    return (np.clip(y, -128, 127) if saturated else y).astype(np.int8)


def table_softmax_of_floats(model: Any, x: np.ndarray) -> np.ndarray:
    """Softmax of the integers themselves, without their scale."""
    y = softmax(x.astype(np.float32))
    return np.clip(np.round(y * 256) - 128, -128, 127).astype(np.int8)


CASES = [
    Case(
        "second_keras_psd",
        build_psd,
        "psd",
        psd,
        {
            "periodic_window": Mistake(
                partial(psd, periodic=True),
                "The Hann window is the periodic one, where Keras' default is the symmetric one.",
            ),
            "not_doubled": Mistake(
                partial(psd, doubled="none"),
                "The bins of the one-sided spectrum are not doubled.",
            ),
            "first_and_last_bin_doubled": Mistake(
                partial(psd, doubled="all bins"),
                "All bins are doubled, where the first and the last are not.",
            ),
            "scaled_as_spectrum": Mistake(
                partial(psd, scaled_by="sum"),
                "The power is divided by the square of the window's sum (scaling of a spectrum), "
                "where it is by the sum of its squares.",
            ),
            "not_scaled": Mistake(
                partial(psd, scaled_by="nothing"),
                "The power is not divided by the sum of the window's squares.",
            ),
            "channels_within_bins": Mistake(
                partial(psd, channel_order="bin, channel"),
                "The two channels of a bin lie side by side, where the bins of a channel do.",
            ),
            "magnitudes": Mistake(
                partial(psd, power=False),
                "The magnitudes are taken, where it is their squares.",
            ),
        },
    ),
    Case(
        "second_log_mel",
        build_log_mel,
        "",
        log_mel,
        {
            "zero_padding": Mistake(
                partial(log_mel, pad="constant"),
                "Half a frame of zeros is padded on each side, where it is a reflection.",
            ),
            "symmetric_window": Mistake(
                partial(log_mel, periodic=False),
                "The Hann window is the symmetric one, where it is periodic.",
            ),
            "magnitudes": Mistake(
                partial(log_mel, power=False),
                "The bands sum magnitudes, where they sum squares of them.",
            ),
            "scale_of_htk": Mistake(
                partial(log_mel, scale="htk"),
                "The bands are spaced on HTK's mel scale, where it is Slaney's.",
            ),
            "bands_of_height_one": Mistake(
                partial(log_mel, area=False),
                "The triangles have a height of 1, where they are divided by half their width.",
            ),
            "natural_logarithm": Mistake(
                partial(log_mel, log=np.log),
                "The logarithm is natural, where it is to base 10.",
            ),
            "largest_of_the_batch": Mistake(
                partial(log_mel, top_of="batch"),
                "The floor is 8 below the largest value of the batch, where it is of each sound.",
            ),
            "first_frame_dropped": Mistake(
                partial(log_mel, dropped="first"),
                "The first frame is dropped, where it is the last.",
            ),
        },
    ),
    Case(
        "second_vocoder_stage",
        build_vocoder,
        "",
        vocoder,
        {
            "last_slope_a_tenth": Mistake(
                partial(vocoder, last_slope=0.1),
                "The last leaky ReLU has a slope of 0.1 like the others, where it is PyTorch's "
                "default of 0.01.",
            ),
            "sum_of_blocks": Mistake(
                partial(vocoder, mean=False),
                "The residual blocks are summed, where it is their mean.",
            ),
            "norm_over_other_axis": Mistake(
                partial(vocoder, up_norm_over=(0, 2)),
                "The weight normalisation of the transposed convolution is taken for each output "
                "channel, where it is for each input channel (axis 0).",
            ),
            "directions_without_gains": Mistake(
                partial(vocoder, direction_alone=True),
                "The stored directions are used as the weights, without weight normalisation.",
            ),
            "trimmed_at_the_end": Mistake(
                partial(vocoder, trimmed=(0, 4)),
                "The transposed convolution's four surplus samples are cut off at the end, where "
                "two are cut off on each side.",
            ),
            "dilations_swapped": Mistake(
                partial(vocoder, dilations=(3, 1)),
                "The dilations of a block are 3 and 1, where they are 1 and 3.",
            ),
            "slope_and_sum": Mistake(
                partial(vocoder, last_slope=0.1, mean=False),
                "Two causes: the last leaky ReLU has a slope of 0.1, where it is 0.01, and the "
                "residual blocks are summed, where it is their mean.",
                causes=2,
            ),
        },
    ),
    Case(
        "second_dac_codebook",
        build_codebook,
        "",
        codebook,
        {
            "nearest_by_distance": Mistake(
                partial(codebook, nearest_by="distance"),
                "The nearest entry is searched without bringing both to length 1 first.",
            ),
            "nearest_by_product": Mistake(
                partial(codebook, nearest_by="product"),
                "The entry with the largest product is taken without bringing the entries to "
                "length 1.",
            ),
            "entries_of_length_one": Mistake(
                partial(codebook, returned="of length 1"),
                "The found entries are returned with length 1, where they are as stored.",
            ),
            "no_bias_before_the_search": Mistake(
                partial(codebook, in_bias=False),
                "The bias of the projection before the search is forgotten.",
            ),
            "no_bias_behind": Mistake(
                partial(codebook, out_bias=False),
                "The bias of the projection behind the codebook is forgotten.",
            ),
            "channels_not_moved": Mistake(
                partial(codebook, queries="as they lie"),
                "The projected values are reshaped to vectors as they lie, where the channels are "
                "moved last first.",
            ),
        },
    ),
    Case(
        "second_equaliser",
        build_equaliser,
        "",
        equaliser,
        {
            "feedback_added": Mistake(
                partial(equaliser, feedback=-1),
                "The feedback of a1 and a2 is added, where it is subtracted.",
            ),
            "a0_taken_as_one": Mistake(
                partial(equaliser, a0=False),
                "The output is not divided by a0.",
            ),
            "starts_at_rest": Mistake(
                partial(equaliser, start="zero"),
                "The sections start from zero, where they go on from the state before.",
            ),
            "state_carried_to_second_channel": Mistake(
                partial(equaliser, carried=True),
                "The second channel starts from the state in which the first ends, where it has "
                "its own.",
            ),
            "a_before_b": Mistake(
                partial(equaliser, order="a, b"),
                "A section is read as a0, a1, a2, b0, b1, b2, where the b come first.",
            ),
            "second_section_forgotten": Mistake(
                partial(equaliser, sections=1),
                "Only the first section is applied.",
            ),
        },
    ),
    Case(
        "second_inverse_stft_head",
        build_inverse,
        "",
        inverse,
        {
            "phase_before_size": Mistake(
                partial(inverse, halves="phase, size"),
                "The halves are read as phase and magnitude, where magnitude comes first.",
            ),
            "not_limited": Mistake(
                partial(inverse, limited=False),
                "The magnitudes are not limited to 100.",
            ),
            "frames_not_windowed": Mistake(
                partial(inverse, windowed=False),
                "The frames are added without the window.",
            ),
            "divided_by_windows": Mistake(
                partial(inverse, divided_by="windows"),
                "The sum is divided by that of the windows, where it is by that of their squares.",
            ),
            "not_divided": Mistake(
                partial(inverse, divided_by="nothing"),
                "The sum is not divided by that of the windows' squares.",
            ),
            "cut_a_step_late": Mistake(
                partial(inverse, cut=24),
                "The first 24 samples are cut off (frame less step), where it is half a frame, 16.",
            ),
            "phase_negated": Mistake(
                partial(inverse, phase_sign=-1),
                "The phases are taken with the opposite sign.",
            ),
            "symmetric_window": Mistake(
                partial(inverse, periodic=False),
                "The Hann window is the symmetric one, where it is periodic.",
            ),
        },
    ),
    Case(
        "second_companded_front",
        build_companded,
        "",
        companded,
        {
            "mu_of_256": Mistake(
                partial(companded, mu=256),
                "Mu is 256 (the number of codes), where it is 255.",
            ),
            "code_truncated": Mistake(
                partial(companded, rounding=0.0),
                "The codes are truncated, where they are rounded.",
            ),
            "not_companded": Mistake(
                partial(companded, companding=False),
                "The codes are of the samples themselves, without the logarithm.",
            ),
            "padded_behind": Mistake(
                partial(companded, pad=(0, 1)),
                "The convolution is padded behind the sound, where it is padded before it.",
            ),
            "padded_with_code_zero": Mistake(
                partial(companded, padded="codes"),
                "The codes are padded with 0 and embedded, where the embeddings are padded with 0.",
            ),
        },
    ),
    Case(
        "second_device_convolution",
        build_device_conv,
        "",
        device_conv,
        {
            "border_of_raw_zeros": Mistake(
                partial(device_conv, border=0),
                "The border is padded with the integer 0, where it is the zero point, -7.",
            ),
            "zero_point_not_subtracted": Mistake(
                partial(device_conv, zero_point=0, border=0),
                "The input's zero point is not subtracted.",
            ),
            "not_rounded": Mistake(
                partial(device_conv, rounded=False),
                "The product with the multiplier is shifted down without rounding.",
            ),
            "multiplier_of_first_channel": Mistake(
                partial(device_conv, one_multiplier=True),
                "All channels use the multiplier and shift of the first one.",
            ),
            "bias_forgotten": Mistake(
                partial(device_conv, bias=False),
                "The 32-bit bias is forgotten.",
            ),
            "activation_forgotten": Mistake(
                partial(device_conv, lowest=-128),
                "The values are limited to -128, where ReLU limits them to the zero point, -30.",
            ),
            "relu_at_integer_zero": Mistake(
                partial(device_conv, lowest=0),
                "ReLU is applied at the integer 0, where real 0 is the zero point, -30.",
            ),
            "wraps_around": Mistake(
                partial(device_conv, saturated=False),
                "Values above 127 wrap around, where they are limited to 127.",
            ),
        },
    ),
    Case(
        "second_device_addition",
        build_device_add,
        "",
        device_add,
        {
            "second_zero_point_forgotten": Mistake(
                partial(device_add, second_zero=False),
                "The second input's zero point is not subtracted.",
            ),
            "scales_swapped": Mistake(
                partial(device_add, multipliers="second, first"),
                "The multipliers of the two inputs are swapped.",
            ),
            "no_bits_behind_the_point": Mistake(
                partial(device_add, bits=0),
                "The inputs are brought to one scale and rounded to whole steps, where 20 bits "
                "behind the point are kept.",
            ),
            "output_zero_point_forgotten": Mistake(
                partial(device_add, out_zero=False),
                "The output's zero point is not added.",
            ),
            "wraps_around": Mistake(
                partial(device_add, saturated=False),
                "The sum wraps around, where it is limited to -128 and 127.",
            ),
        },
    ),
    Case(
        "second_q15_filter",
        build_q15,
        "",
        q15,
        {
            "wraps_around": Mistake(
                partial(q15, saturated=False),
                "The result wraps around, where it is limited to 16 bits.",
            ),
            "shifted_by_14": Mistake(
                partial(q15, bits=14),
                "The sum is shifted by 14 bits, where it is 15.",
            ),
            "taps_reversed": Mistake(
                partial(q15, reverse=True),
                "The taps are applied newest sample first, where they are stored oldest first.",
            ),
            "history_forgotten": Mistake(
                partial(q15, history=False),
                "The filter starts from silence, where it goes on from the samples before.",
            ),
            "not_rounded": Mistake(
                partial(q15, half=False),
                "No half is added before the shift (inherently small).",
            ),
            "sum_in_32_bits": Mistake(
                partial(q15, accumulator=np.int32),
                "The sum is kept in 32 bits and overflows, where it has 64.",
            ),
        },
    ),
    Case(
        "second_ternary_linear",
        build_ternary,
        "",
        ternary,
        {
            "norm_forgotten": Mistake(
                partial(ternary, norm=False),
                "The normalisation before the quantiser is forgotten.",
            ),
            "one_scale_for_all_tokens": Mistake(
                partial(ternary, largest_of="all"),
                "All tokens share the scale of the largest activation, where each has its own.",
            ),
            "signs": Mistake(
                partial(ternary, weights="signs"),
                "The weights are their signs, where the small ones are 0.",
            ),
            "mean_of_each_row": Mistake(
                partial(ternary, mean_of="each row"),
                "The mean magnitude is taken of each row, where it is of the whole matrix.",
            ),
            "weight_scale_forgotten": Mistake(
                partial(ternary, weight_scale=False),
                "The result is not multiplied by the weights' mean magnitude.",
            ),
            "activations_truncated": Mistake(
                partial(ternary, activations="truncated"),
                "The activations are truncated to integers, where they are rounded.",
            ),
            "activations_as_floats": Mistake(
                partial(ternary, activations="float"),
                "The activations are not quantised.",
            ),
        },
    ),
    Case(
        "second_four_bit_float_linear",
        build_four_bit,
        "",
        four_bit,
        {
            "high_half_first": Mistake(
                partial(four_bit, first="high"),
                "The upper half of a byte is taken as its first weight, where it is the lower.",
            ),
            "halves_not_in_turn": Mistake(
                partial(four_bit, halves="one after the other"),
                "All lower halves of a row come before all upper ones, where they come in turn.",
            ),
            "exponent_bias_of_128": Mistake(
                partial(four_bit, bias_of_exponent=128),
                "128 is taken off the exponents, where it is 127.",
            ),
            "no_subnormal": Mistake(
                partial(four_bit, values=(0, 0.75, 1, 1.5, 2, 3, 4, 6)),
                "Code 1 is read as a normal number, 0.75, where it is subnormal, 0.5.",
            ),
            "integers": Mistake(
                partial(four_bit, values=(0, 1, 2, 3, 4, 5, 6, 7)),
                "The codes are read as integers with a sign, where they are floats.",
            ),
            "twos_complement": Mistake(
                partial(four_bit, sign="two's complement"),
                "Codes above 7 are read as two's complement, where the upper bit is the sign.",
            ),
            "exponents_in_turn": Mistake(
                partial(four_bit, block="every second"),
                "The two exponents of a row are applied in turn, where each is of 32 weights in a "
                "row.",
            ),
            "integers_and_no_bias": Mistake(
                partial(four_bit, values=(0, 1, 2, 3, 4, 5, 6, 7), bias=False),
                "Two causes: the codes are read as integers with a sign, where they are floats, "
                "and the bias is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "second_keras_dense_int4",
        build_int4_dense,
        "dense",
        int4_dense,
        {
            "high_half_first": Mistake(
                partial(int4_dense, first="high"),
                "The upper half of a byte is taken as its first weight, where it is the lower.",
            ),
            "halves_not_in_turn": Mistake(
                partial(int4_dense, halves="one after the other"),
                "The lower halves are the first three units and the upper ones the last, where "
                "they come in turn.",
            ),
            "unsigned": Mistake(
                partial(int4_dense, signed=False),
                "The 4 bits are read as 0 to 15, where they are -8 to 7.",
            ),
            "zero_point_forgotten": Mistake(
                partial(int4_dense, zero_point=False),
                "The zero points are not subtracted.",
            ),
            "zero_point_not_scaled": Mistake(
                partial(int4_dense, zero_scaled=False),
                "The zero points are subtracted behind the scale, where they are before it.",
            ),
            "groups_in_turn": Mistake(
                partial(int4_dense, groups="in turn"),
                "The inputs are dealt to the three groups in turn, where a group is 8 in a row.",
            ),
        },
    ),
    Case(
        "second_keras_few_bit_convolution",
        build_few_bits,
        "conv",
        few_bits,
        {
            "limit_of_six": Mistake(
                partial(few_bits, limit=6.0),
                "The activations are limited to 6, where it is the learned limit.",
            ),
            "a_step_too_many": Mistake(
                partial(few_bits, steps=(16, 8)),
                "There are 2**bits steps, where there are 2**bits - 1.",
            ),
            "tanh_forgotten": Mistake(
                partial(few_bits, tanh=False),
                "The weights are quantised without tanh before.",
            ),
            "largest_of_each_filter": Mistake(
                partial(few_bits, largest_of="each filter"),
                "The weights are divided by the largest of their filter, where it is of all.",
            ),
            "weights_not_rounded": Mistake(
                partial(few_bits, weights="as they are"),
                "The weights are not rounded to levels.",
            ),
            "weights_not_centred": Mistake(
                partial(few_bits, centred=False),
                "The weights stay between 0 and 1, where they are brought to -1 to 1.",
            ),
            "activations_truncated": Mistake(
                partial(few_bits, activations="truncated"),
                "The activations are rounded down, where they are rounded.",
            ),
            "limit_not_multiplied_back": Mistake(
                partial(few_bits, rescaled=False),
                "The activations are left between 0 and 1, where they are multiplied by the limit.",
            ),
        },
    ),
    Case(
        "second_table_softmax",
        build_table_softmax,
        "",
        table_softmax,
        {
            "step_forgotten": Mistake(
                table_softmax_of_floats,
                "The softmax is taken of the integers, where a step of them is 1/16.",
            ),
            "over_the_rows": Mistake(
                partial(table_softmax, axis=-2),
                "The softmax is taken over the second to last axis, where it is the last.",
            ),
            "not_rounded": Mistake(
                partial(table_softmax, rounded=False),
                "The division is rounded down, where it is rounded.",
            ),
            "scale_of_255": Mistake(
                partial(table_softmax, out_levels=255),
                "A share is multiplied by 255, where it is 256.",
            ),
            "zero_point_forgotten": Mistake(
                partial(table_softmax, zero_point=0),
                "The output's zero point of -128 is not added.",
            ),
            "wraps_around": Mistake(
                partial(table_softmax, saturated=False),
                "A share of 1 wraps around to -128, where it is limited to 127.",
            ),
        },
    ),
]
