"""Layers and blocks of audio and biosignals: vocoders, codecs, front ends, filters, keywords,
separation and speaker nets, EEG; each with a right port and with ports that have a mistake.

Written from the layers' own code and from how ports of them go wrong, without a look at the tool
that is measured on them.
"""

from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import EncodecConfig, VitsConfig, Wav2Vec2Config
from transformers.models.dac.modeling_dac import DacResidualUnit
from transformers.models.encodec.modeling_encodec import EncodecConv1d
from transformers.models.speecht5.modeling_speecht5 import HifiGanResidualBlock
from transformers.models.vits.modeling_vits import VitsWaveNet
from transformers.models.wav2vec2.modeling_wav2vec2 import TDNNLayer

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, linear, relu, sigmoid, softmax

Weights = dict[str, np.ndarray]


def settled(module: nn.Module, seed: int, gain: float = 1.0) -> nn.Module:
    """Give a module weights as after training: seeded, no norm at one and no bias at zero."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=g)
            if name.endswith("running_var"):
                value.copy_(0.3 + torch.rand(value.shape, generator=g))
            elif value.ndim > 1 and "original0" not in name and "alpha" not in name:
                value.copy_(noise * gain / (value[0].numel() ** 0.5))
            elif name.endswith(("weight", "alpha")) or "original0" in name:
                value.copy_(1 + 0.3 * noise)
            elif name.endswith(("bias", "running_mean")):
                value.copy_(0.2 * noise)
    return module.eval()


def noise(seed: int, *shape: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) + shift).astype(np.float32)


def weights(model: nn.Module) -> Weights:
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def leaky(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x > 0, x, np.float32(slope) * x)


def normed_weight(w: Weights, name: str) -> np.ndarray:
    """The weight of a weight-normalised convolution, from its gain and its direction."""
    g = w[f"{name}.parametrizations.weight.original0"]
    v = w[f"{name}.parametrizations.weight.original1"]
    return g * v / np.sqrt((v * v).sum((1, 2), keepdims=True))


def frames(x: np.ndarray, size: int, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=-1)[..., ::hop, :]


# --- A vocoder's residual block


def build_hifigan() -> tuple[Any, np.ndarray]:
    return settled(HifiGanResidualBlock(6, 3, (1, 3, 5), 0.1), 6101), noise(6102, 2, 6, 24)


def hifigan(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for i, d in enumerate((1, 3, 5)):
        y = leaky(x, 0.1)
        y = conv(y, w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"], padding=d, dilation=d)
        y = leaky(y, 0.1)
        y = conv(y, w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"], padding=1)
        x = x + y
    return x


def hifigan_default_slope(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for i, d in enumerate((1, 3, 5)):
        y = leaky(x, 0.01)
        y = conv(y, w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"], padding=d, dilation=d)
        y = leaky(y, 0.01)
        y = conv(y, w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"], padding=1)
        x = x + y
    return x


def hifigan_both_dilated(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for i, d in enumerate((1, 3, 5)):
        y = leaky(x, 0.1)
        y = conv(y, w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"], padding=d, dilation=d)
        y = leaky(y, 0.1)
        y = conv(y, w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"], padding=d, dilation=d)
        x = x + y
    return x


def hifigan_in_place(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    x = x.copy()
    for i, d in enumerate((1, 3, 5)):
        x[x < 0] *= np.float32(0.1)
        y = conv(x, w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"], padding=d, dilation=d)
        y[y < 0] *= np.float32(0.1)
        y = conv(y, w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"], padding=1)
        x = x + y
    return x


def hifigan_one_sum(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    y = x
    for i, d in enumerate((1, 3, 5)):
        y = leaky(y, 0.1)
        y = conv(y, w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"], padding=d, dilation=d)
        y = leaky(y, 0.1)
        y = conv(y, w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"], padding=1)
    return x + y


def hifigan_branches(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    total = x
    for i, d in enumerate((1, 3, 5)):
        y = leaky(x, 0.1)
        y = conv(y, w[f"convs1.{i}.weight"], w[f"convs1.{i}.bias"], padding=d, dilation=d)
        y = leaky(y, 0.1)
        total = total + conv(y, w[f"convs2.{i}.weight"], w[f"convs2.{i}.bias"], padding=1)
    return total


# --- A codec's residual unit with snake


def build_dac_unit() -> tuple[Any, np.ndarray]:
    return settled(DacResidualUnit(6, 3), 6103), noise(6104, 2, 6, 30)


def snake(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return x + np.sin(alpha * x) ** 2 / (alpha + np.float32(1e-9))


def dac_unit(model: Any, x: np.ndarray, act: Any = snake, second: str = "snake2") -> np.ndarray:
    w = weights(model)
    y = act(x, w["snake1.alpha"])
    y = conv(y, w["conv1.weight"], w["conv1.bias"], padding=9, dilation=3)
    y = act(y, w[f"{second}.alpha"])
    return x + conv(y, w["conv2.weight"], w["conv2.bias"])


def snake_not_divided(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return x + np.sin(alpha * x) ** 2


def snake_of_log(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    alpha = np.exp(alpha)
    return x + np.sin(alpha * x) ** 2 / (alpha + np.float32(1e-9))


def snake_not_squared(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return x + np.sin(alpha * x) / (alpha + np.float32(1e-9))


def snake_first_alpha(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha.flat[0]
    return x + np.sin(a * x) ** 2 / (a + np.float32(1e-9))


def dac_unit_residual_after_snake(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    x = snake(x, w["snake1.alpha"])
    y = conv(x, w["conv1.weight"], w["conv1.bias"], padding=9, dilation=3)
    y = snake(y, w["snake2.alpha"])
    return x + conv(y, w["conv2.weight"], w["conv2.bias"])


# --- A codec's causal convolution


def build_encodec() -> tuple[Any, np.ndarray]:
    config = EncodecConfig(use_causal_conv=True, pad_mode="reflect", norm_type="weight_norm")
    return settled(EncodecConv1d(config, 3, 6, 5, stride=2), 6105), noise(6106, 2, 3, 15)


def encodec(
    model: Any,
    x: np.ndarray,
    mode: str = "reflect",
    sides: tuple[int, int] = (3, 1),
    norm_axes: tuple[int, ...] | None = (1, 2),
) -> np.ndarray:
    w = weights(model)
    v = w["conv.parametrizations.weight.original1"]
    kernel = w["conv.parametrizations.weight.original0"] * v
    if norm_axes is not None:
        kernel = kernel / np.sqrt((v * v).sum(norm_axes, keepdims=True))
    padded = np.pad(x, ((0, 0), (0, 0), sides), mode=mode)
    return conv(padded, kernel, w["conv.bias"], stride=2)


# --- The flow of a speech synthesiser


def build_vits() -> tuple[Any, tuple[np.ndarray, ...]]:
    config = VitsConfig(
        hidden_size=6, wavenet_kernel_size=3, wavenet_dilation_rate=2, speaker_embedding_size=4
    )
    mask = np.ones((2, 1, 18), np.float32)
    mask[1, :, 13:] = 0
    model = settled(VitsWaveNet(config, 3), 6107, 1.0)
    return model, (noise(6108, 2, 6, 18), mask, noise(6109, 2, 4, 1))


def vits(
    model: Any,
    x: tuple[np.ndarray, ...],
    halves: str = "tanh first",
    split: str = "residual first",
    speaker: str = "by layer",
    masked: bool = True,
    dilations: tuple[int, ...] = (1, 2, 4),
) -> np.ndarray:
    y, mask, g = x
    w = weights(model)
    given = conv(g, normed_weight(w, "cond_layer"), w["cond_layer.bias"])
    out = np.zeros_like(y)
    for i, d in enumerate(dilations):
        name = f"in_layers.{i}"
        z = conv(y, normed_weight(w, name), w[f"{name}.bias"], padding=d, dilation=d)
        first = 12 * i if speaker == "by layer" else 0
        z = z + given[:, first : first + 12]
        if halves == "tanh first":
            z = np.tanh(z[:, :6]) * sigmoid(z[:, 6:])
        else:
            z = sigmoid(z[:, :6]) * np.tanh(z[:, 6:])
        name = f"res_skip_layers.{i}"
        z = conv(z, normed_weight(w, name), w[f"{name}.bias"])
        if i == 2:
            out = out + z
        elif split == "residual first":
            y = (y + z[:, :6]) * mask if masked else y + z[:, :6]
            out = out + z[:, 6:]
        else:
            y = (y + z[:, 6:]) * mask
            out = out + z[:, :6]
    return out * mask


# --- A speaker's embedding: time delay layer and statistics


class SpeakerStatistics(nn.Module):
    """A time delay layer, the mean and deviation over time, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        config = Wav2Vec2Config(tdnn_dim=(6, 8), tdnn_kernel=(5, 3), tdnn_dilation=(1, 2))
        self.tdnn = TDNNLayer(config, 1)
        self.embed = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.tdnn(x)
        return self.embed(torch.cat([h.mean(dim=1), h.std(dim=1)], dim=-1))


def build_speaker() -> tuple[Any, np.ndarray]:
    return settled(SpeakerStatistics(), 6110, 1.5), noise(6111, 2, 14, 6)


def speaker(
    model: Any,
    x: np.ndarray,
    kernel_as: str = "taps first",
    dilation: int = 2,
    ddof: int = 1,
    order: str = "mean first",
    rectified: bool = True,
) -> np.ndarray:
    w = weights(model)
    if kernel_as == "taps first":
        kernel = w["tdnn.kernel.weight"].reshape(8, 3, 6).transpose(0, 2, 1)
    else:
        kernel = w["tdnn.kernel.weight"].reshape(8, 6, 3)
    h = conv(x.swapaxes(1, 2), kernel, w["tdnn.kernel.bias"], dilation=dilation)
    h = relu(h) if rectified else h
    both = [h.mean(-1), h.std(-1, ddof=ddof)]
    both = both if order == "mean first" else both[::-1]
    return linear(np.concatenate(both, -1), w["embed.weight"], w["embed.bias"])


# --- A separation net


class GlobalNorm(nn.Module):
    """Normalise a sample over channels and time together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(1, 2), keepdim=True)
        var = ((x - mean) ** 2).mean(dim=(1, 2), keepdim=True)
        return self.weight * (x - mean) / torch.sqrt(var + 1e-8) + self.bias


class TasBlock(nn.Module):
    def __init__(self, channels: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.inside = nn.Conv1d(channels, hidden, 1)
        self.act1 = nn.PReLU()
        self.norm1 = GlobalNorm(hidden)
        self.depth = nn.Conv1d(
            hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden
        )
        self.act2 = nn.PReLU()
        self.norm2 = GlobalNorm(hidden)
        self.back = nn.Conv1d(hidden, channels, 1)
        self.skip = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.norm1(self.act1(self.inside(x)))
        y = self.norm2(self.act2(self.depth(y)))
        return x + self.back(y), self.skip(y)


class TasSeparator(nn.Module):
    """Two dilated blocks whose skips are summed, and a mask over the encoded mixture."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TasBlock(5, 8, d) for d in (1, 2))
        self.act = nn.PReLU()
        self.mask = nn.Conv1d(5, 5, 1)

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        x, total = mixture, 0
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        return mixture * torch.sigmoid(self.mask(self.act(total)))


def build_separator() -> tuple[Any, np.ndarray]:
    return settled(TasSeparator(), 6112, 1.5), noise(6113, 2, 5, 20)


def global_norm(y: np.ndarray, gain: np.ndarray, bias: np.ndarray, over: Any = (1, 2)) -> Any:
    mean = y.mean(over, keepdims=True)
    var = ((y - mean) ** 2).mean(over, keepdims=True)
    return gain * (y - mean) / np.sqrt(var + np.float32(1e-8)) + bias


def separator(
    model: Any,
    x: np.ndarray,
    over: Any = (1, 2),
    skips: str = "summed",
    causal: bool = False,
    slopes: str = "learned",
    onto: str = "mixture",
    act_first: bool = True,
) -> np.ndarray:
    w = weights(model)

    def prelu(y: np.ndarray, name: str) -> np.ndarray:
        return leaky(y, w[f"{name}.weight"] if slopes == "learned" else 0.25)

    y, total = x, np.float32(0)
    for i, d in enumerate((1, 2)):
        p = f"blocks.{i}"
        z = conv(y, w[f"{p}.inside.weight"], w[f"{p}.inside.bias"])
        if act_first:
            z = prelu(z, f"{p}.act1")
            z = global_norm(z, w[f"{p}.norm1.weight"], w[f"{p}.norm1.bias"], over)
        else:
            z = global_norm(z, w[f"{p}.norm1.weight"], w[f"{p}.norm1.bias"], over)
            z = prelu(z, f"{p}.act1")
        sides = (2 * d, 0) if causal else (d, d)
        z = np.pad(z, ((0, 0), (0, 0), sides))
        z = conv(z, w[f"{p}.depth.weight"], w[f"{p}.depth.bias"], dilation=d, groups=8)
        z = prelu(z, f"{p}.act2")
        z = global_norm(z, w[f"{p}.norm2.weight"], w[f"{p}.norm2.bias"], over)
        skip = conv(z, w[f"{p}.skip.weight"], w[f"{p}.skip.bias"])
        total = total + skip if skips == "summed" else skip
        y = y + conv(z, w[f"{p}.back.weight"], w[f"{p}.back.bias"])
    mask = sigmoid(conv(prelu(total, "act"), w["mask.weight"], w["mask.bias"]))
    return mask * (x if onto == "mixture" else y)


# --- A decoder step of a waveform separator


class WaveDecoderStep(nn.Module):
    """Add the trimmed skip, a gated convolution, then upsample by a transposed convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.rewrite = nn.Conv1d(channels, 2 * channels, 3, padding=1)
        self.up = nn.ConvTranspose1d(channels, out, 8, stride=4)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        surplus = skip.shape[-1] - x.shape[-1]
        first = surplus // 2
        x = x + skip[..., first : first + x.shape[-1]]
        x = F.glu(self.rewrite(x), dim=1)
        return F.relu(self.up(x))


def build_decoder_step() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = settled(WaveDecoderStep(5, 3), 6114, 1.5)
    return model, (noise(6115, 2, 5, 9), noise(6116, 2, 5, 13))


def overlap_add(x: np.ndarray, kernel: np.ndarray, hop: int) -> np.ndarray:
    """A transposed convolution: (batch, in, time) and (in, out, taps)."""
    b, _, t = x.shape
    taps = kernel.shape[-1]
    y = np.zeros((b, kernel.shape[1], (t - 1) * hop + taps), np.float32)
    for i in range(t):
        y[:, :, i * hop : i * hop + taps] += np.einsum("bc,cok->bok", x[:, :, i], kernel)
    return y


def decoder_step(
    model: Any,
    x: tuple[np.ndarray, ...],
    trim_from: int = 2,
    gate: str = "second half",
    flipped: bool = False,
    bias: str = "once",
    rectified: str = "after",
) -> np.ndarray:
    y, skip = x
    w = weights(model)
    y = y + skip[:, :, trim_from : trim_from + 9]
    y = conv(y, w["rewrite.weight"], w["rewrite.bias"], padding=1)
    a, b = y[:, :5], y[:, 5:]
    y = a * sigmoid(b) if gate == "second half" else b * sigmoid(a)
    if rectified == "before":
        y = relu(y)
    kernel = w["up.weight"][:, :, ::-1] if flipped else w["up.weight"]
    up = overlap_add(y, kernel, 4)
    if bias == "once":
        up = up + w["up.bias"][:, None]
    else:
        for i in range(9):
            up[:, :, 4 * i : 4 * i + 8] += w["up.bias"][:, None]
    return relu(up) if rectified == "after" else up


# --- Energy normalisation of a far-field front end


class ChannelEnergyNorm(nn.Module):
    """Per-channel energy normalisation: (E / (eps + M) ** alpha + delta) ** r - delta ** r."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("smooth", torch.tensor(0.15))
        self.alpha = nn.Parameter(torch.linspace(0.8, 0.98, bands)[:, None])
        self.delta = nn.Parameter(torch.linspace(1.5, 2.5, bands)[:, None])
        self.root = nn.Parameter(torch.linspace(0.4, 0.6, bands)[:, None])
        self.eps = 1e-3

    def forward(self, energy: torch.Tensor) -> torch.Tensor:
        last = energy[..., 0]
        means = [last]
        for t in range(1, energy.shape[-1]):
            last = (1 - self.smooth) * last + self.smooth * energy[..., t]
            means.append(last)
        level = (self.eps + torch.stack(means, dim=-1)) ** self.alpha
        return (energy / level + self.delta) ** self.root - self.delta**self.root


def build_pcen() -> tuple[Any, np.ndarray]:
    energy = np.abs(noise(6117, 2, 4, 12)) ** 2 * np.float32(0.05)
    return ChannelEnergyNorm(4).eval(), energy


def pcen(
    model: Any,
    x: np.ndarray,
    first: str = "energy",
    smooth: str = "of the new",
    eps: str = "inside",
    offset: bool = True,
) -> np.ndarray:
    w = weights(model)
    s = w["smooth"] if smooth == "of the new" else 1 - w["smooth"]
    mean = np.zeros_like(x)
    for b in range(len(x)):
        if first == "energy":
            last = x[b, :, 0]
        elif first == "zero":
            last = np.zeros(4, np.float32)
        elif b == 0:  # the state of the clip before stays in the buffer
            last = x[b, :, 0]
        for t in range(x.shape[-1]):
            last = (1 - s) * last + s * x[b, :, t]
            mean[b, :, t] = last
    if eps == "inside":
        level = (np.float32(model.eps) + mean) ** w["alpha"]
    else:
        level = np.float32(model.eps) + mean ** w["alpha"]
    y = (x / level + w["delta"]) ** w["root"]
    return y - w["delta"] ** w["root"] if offset else y


# --- A cascade of second-order sections


class BiquadCascade(nn.Module):
    """Second-order sections in transposed direct form II, each channel filtered alone."""

    def __init__(self) -> None:
        super().__init__()
        sections = [[0.4, 0.3, 0.2, 2.0, -0.8, 0.5], [1.2, -0.6, 0.3, 1.0, 0.5, 0.2]]
        self.register_buffer("sos", torch.tensor(sections))
        self.gain = nn.Parameter(torch.tensor([0.9, 1.3, 0.7]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for b0, b1, b2, a0, a1, a2 in self.sos:
            z1 = torch.zeros_like(x[..., 0])
            z2 = torch.zeros_like(x[..., 0])
            out = []
            for t in range(x.shape[-1]):
                now = x[..., t]
                y = (b0 * now + z1) / a0
                z1 = b1 * now - a1 * y + z2
                z2 = b2 * now - a2 * y
                out.append(y)
            x = torch.stack(out, dim=-1)
        return self.gain[:, None] * x


def build_biquads() -> tuple[Any, np.ndarray]:
    return BiquadCascade().eval(), noise(6118, 2, 3, 16)


def biquads(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for b0, b1, b2, a0, a1, a2 in w["sos"]:
        y = np.zeros_like(x)
        for i in np.ndindex(2, 3):
            z1 = z2 = np.float32(0)
            for t in range(16):
                y[i][t] = (b0 * x[i][t] + z1) / a0
                z1 = b1 * x[i][t] - a1 * y[i][t] + z2
                z2 = b2 * x[i][t] - a2 * y[i][t]
        x = y
    return w["gain"][:, None] * x


def biquads_feedback_added(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for b0, b1, b2, a0, a1, a2 in w["sos"]:
        y = np.zeros_like(x)
        for i in np.ndindex(2, 3):
            z1 = z2 = np.float32(0)
            for t in range(16):
                y[i][t] = (b0 * x[i][t] + z1) / a0
                z1 = b1 * x[i][t] + a1 * y[i][t] + z2
                z2 = b2 * x[i][t] + a2 * y[i][t]
        x = y
    return w["gain"][:, None] * x


def biquads_second_state_first(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for b0, b1, b2, a0, a1, a2 in w["sos"]:
        y = np.zeros_like(x)
        for i in np.ndindex(2, 3):
            z1 = z2 = np.float32(0)
            for t in range(16):
                y[i][t] = (b0 * x[i][t] + z1) / a0
                z2 = b2 * x[i][t] - a2 * y[i][t]
                z1 = b1 * x[i][t] - a1 * y[i][t] + z2
        x = y
    return w["gain"][:, None] * x


def biquads_state_kept(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for b0, b1, b2, a0, a1, a2 in w["sos"]:
        y = np.zeros_like(x)
        z1 = z2 = np.float32(0)
        for i in np.ndindex(2, 3):
            for t in range(16):
                y[i][t] = (b0 * x[i][t] + z1) / a0
                z1 = b1 * x[i][t] - a1 * y[i][t] + z2
                z2 = b2 * x[i][t] - a2 * y[i][t]
        x = y
    return w["gain"][:, None] * x


def biquads_first_coefficient_ignored(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    for b0, b1, b2, _, a1, a2 in w["sos"]:
        y = np.zeros_like(x)
        for i in np.ndindex(2, 3):
            z1 = z2 = np.float32(0)
            for t in range(16):
                y[i][t] = b0 * x[i][t] + z1
                z1 = b1 * x[i][t] - a1 * y[i][t] + z2
                z2 = b2 * x[i][t] - a2 * y[i][t]
        x = y
    return w["gain"][:, None] * x


def biquads_last_section_alone(model: Any, x: np.ndarray) -> np.ndarray:
    w = weights(model)
    y = np.zeros_like(x)
    for b0, b1, b2, a0, a1, a2 in w["sos"]:
        for i in np.ndindex(2, 3):
            z1 = z2 = np.float32(0)
            for t in range(16):
                y[i][t] = (b0 * x[i][t] + z1) / a0
                z1 = b1 * x[i][t] - a1 * y[i][t] + z2
                z2 = b2 * x[i][t] - a2 * y[i][t]
    return w["gain"][:, None] * y


# --- Keyword spotting: a depthwise separable net


def keras_settled(model: Any, seed: int) -> Any:
    """Give a Keras model weights as after training."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for value in layer.weights:
            name = value.path.split("/")[-1]
            new = rng.standard_normal(value.shape)
            if "variance" in name:
                new = 0.05 + 0.2 * rng.random(value.shape)
            elif "gamma" in name:
                new = 1 + 0.3 * new
            elif len(value.shape) > 1:
                new = 1.4 * new / np.sqrt(np.prod(value.shape[:-1]))
            else:
                new = 0.2 * new
            value.assign(new.astype(np.float32))
    return model


def build_keywords() -> tuple[Any, np.ndarray]:
    net = keras.layers
    x = y = keras.Input((25, 10, 1))
    y = net.Conv2D(6, (10, 4), strides=2, padding="same", name="conv")(y)
    y = net.ReLU()(net.BatchNormalization(name="norm1")(y))
    y = net.DepthwiseConv2D((3, 3), padding="same", name="depth")(y)
    y = net.ReLU()(net.BatchNormalization(name="norm2")(y))
    y = net.Conv2D(6, 1, name="point")(y)
    y = net.ReLU()(net.BatchNormalization(name="norm3")(y))
    y = net.GlobalAveragePooling2D()(y)
    y = net.Dense(4, activation="softmax", name="classes")(y)
    return keras_settled(keras.Model(x, y), 6119), noise(6120, 2, 25, 10, 1)


def keras_norm(y: np.ndarray, layer: Any, eps: float = 1e-3) -> np.ndarray:
    gamma, beta, mean, var = (np.array(v) for v in layer.get_weights())
    return (y - mean) / np.sqrt(var + np.float32(eps)) * gamma + beta


def keras_conv(
    x: np.ndarray, kernel: np.ndarray, stride: int = 1, sides: Any = ((0, 0), (0, 0))
) -> np.ndarray:
    """Channels last; kernel (height, width, in, out)."""
    x = np.pad(x, ((0, 0), *sides, (0, 0)))
    kh, kw = kernel.shape[:2]
    w = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijco->bhwo", w, kernel)


def keras_depthwise(
    x: np.ndarray, kernel: np.ndarray, sides: Any = ((0, 0), (0, 0)), order: str = "channels"
) -> np.ndarray:
    """Channels last; kernel (height, width, channels, multiplier)."""
    x = np.pad(x, ((0, 0), *sides, (0, 0)))
    kh, kw, c, m = kernel.shape
    w = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))
    if order == "channels":
        y = np.einsum("bhwcij,ijcm->bhwcm", w, kernel)
    else:
        y = np.einsum("bhwcij,ijcm->bhwmc", w, kernel)
    return y.reshape(*y.shape[:3], c * m)


def keywords(
    model: Any,
    x: np.ndarray,
    sides: Any = ((4, 5), (1, 1)),
    eps: float = 1e-3,
    turned: bool = False,
    relu_first: bool = False,
    pool: str = "mean",
    biased: bool = True,
) -> np.ndarray:
    kernel, bias = model.get_layer("conv").get_weights()
    y = keras_conv(x, kernel, 2, sides)
    y = y + bias if biased else y
    if relu_first:
        y = keras_norm(relu(y), model.get_layer("norm1"), eps)
    else:
        y = relu(keras_norm(y, model.get_layer("norm1"), eps))
    kernel, bias = model.get_layer("depth").get_weights()
    kernel = kernel.swapaxes(0, 1) if turned else kernel
    y = keras_depthwise(y, kernel, ((1, 1), (1, 1))) + bias
    y = relu(keras_norm(y, model.get_layer("norm2"), eps))
    kernel, bias = model.get_layer("point").get_weights()
    y = relu(keras_norm(y @ kernel[0, 0] + bias, model.get_layer("norm3"), eps))
    y = y.mean((1, 2)) if pool == "mean" else y.max((1, 2))
    kernel, bias = model.get_layer("classes").get_weights()
    return softmax(y @ kernel + bias)


# --- A net for EEG


def build_eeg() -> tuple[Any, np.ndarray]:
    net = keras.layers
    x = y = keras.Input((6, 64, 1))
    y = net.Conv2D(3, (1, 16), padding="same", use_bias=False, name="time")(y)
    y = net.BatchNormalization(name="norm1")(y)
    y = net.DepthwiseConv2D((6, 1), depth_multiplier=2, use_bias=False, name="space")(y)
    y = net.Activation("elu")(net.BatchNormalization(name="norm2")(y))
    y = net.AveragePooling2D((1, 4))(y)
    y = net.SeparableConv2D(5, (1, 8), padding="same", use_bias=False, name="mixed")(y)
    y = net.Activation("elu")(net.BatchNormalization(name="norm3")(y))
    y = net.AveragePooling2D((1, 4))(y)
    y = net.Dense(3, name="classes")(net.Flatten()(y))
    return keras_settled(keras.Model(x, y), 6121), noise(6122, 2, 6, 64, 1)


def eeg(
    model: Any,
    x: np.ndarray,
    time_sides: tuple[int, int] = (7, 8),
    order: str = "channels",
    act: str = "elu",
    flat: str = "time first",
    pool: str = "mean",
    reversed_electrodes: bool = False,
) -> np.ndarray:
    def elu(y: np.ndarray) -> np.ndarray:
        return relu(y) if act == "relu" else np.where(y > 0, y, np.expm1(np.minimum(y, 0)))

    def pooled(y: np.ndarray) -> np.ndarray:
        if pool == "every fourth":
            return y[:, :, ::4]
        b, h, t, c = y.shape
        return y.reshape(b, h, t // 4, 4, c).mean(3)

    y = keras_conv(x, model.get_layer("time").get_weights()[0], 1, ((0, 0), time_sides))
    y = keras_norm(y, model.get_layer("norm1"))
    kernel = model.get_layer("space").get_weights()[0]
    kernel = kernel[::-1] if reversed_electrodes else kernel
    y = keras_depthwise(y, kernel, order=order)
    y = pooled(elu(keras_norm(y, model.get_layer("norm2"))))
    depth, point = model.get_layer("mixed").get_weights()
    y = keras_depthwise(y, depth, ((0, 0), (3, 4))) @ point[0, 0]
    y = pooled(elu(keras_norm(y, model.get_layer("norm3"))))
    y = y.transpose(0, 3, 1, 2) if flat == "channels first" else y
    kernel, bias = model.get_layer("classes").get_weights()
    return y.reshape(len(y), -1) @ kernel + bias


# --- Band-pass filters with learned edges


class SincConvolution(nn.Module):
    """A convolution whose kernels are windowed differences of two low-pass filters."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.taps, self.least = 8000, 21, 50.0
        self.low = nn.Parameter(torch.tensor([200.0, -700.0, 1500.0, 2400.0])[:, None])
        self.band = nn.Parameter(torch.tensor([300.0, 500.0, -400.0, 900.0])[:, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = (self.taps - 1) // 2
        at = 2 * torch.pi * torch.arange(-half, 0).float() / self.rate
        window = torch.hamming_window(self.taps, periodic=False)
        low = self.least + self.low.abs()
        high = torch.clamp(low + self.least + self.band.abs(), self.least, self.rate / 2)
        band = high - low
        left = (torch.sin(high * at) - torch.sin(low * at)) / (at / 2) * window[:half]
        kernel = torch.cat([left, 2 * band, left.flip(1)], dim=1) / (2 * band)
        return F.conv1d(x, kernel[:, None], padding=half)


def build_sinc() -> tuple[Any, np.ndarray]:
    return SincConvolution().eval(), noise(6123, 2, 1, 60)


def sinc(
    model: Any,
    x: np.ndarray,
    window: str = "symmetric",
    least: str = "added twice",
    scaled: bool = True,
    centre: int = 2,
    edges: str = "magnitudes",
) -> np.ndarray:
    w = weights(model)
    low, band = w["low"].astype(np.float64), w["band"].astype(np.float64)
    if edges == "magnitudes":
        low, band = np.abs(low), np.abs(band)
    if least == "added twice":
        low = 50 + low
        high = np.clip(low + 50 + band, 50, 4000)
    else:
        high = np.clip(low + band, 50, 4000)
    at = 2 * np.pi * np.arange(-10, 0) / 8000
    n = 21 if window == "periodic" else 20
    ham = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(10) / n)
    left = (np.sin(high * at) - np.sin(low * at)) / (at / 2) * ham
    kernel = np.concatenate([left, centre * (high - low), left[:, ::-1]], 1)
    kernel = kernel / (2 * (high - low)) if scaled else kernel / 8000
    return conv(x, kernel[:, None].astype(np.float32), padding=10)


# --- The head of a vocoder that predicts spectra


class SpectrumHead(nn.Module):
    """A linear layer predicts log magnitude and phase; frames are inverted and overlap-added."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.hop = 16, 4
        self.out = nn.Linear(8, 18)
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        log, phase = self.out(x).transpose(1, 2).chunk(2, dim=1)
        magnitude = torch.clip(torch.exp(log), max=3.0)
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        parts = torch.fft.irfft(spectrum, self.size, dim=1) * self.window[:, None]
        total = self.size + self.hop * (parts.shape[-1] - 1)
        y = F.fold(parts, (1, total), (1, self.size), stride=(1, self.hop))[:, 0, 0]
        squares = self.window.square()[None, :, None].expand(1, -1, parts.shape[-1])
        level = F.fold(squares, (1, total), (1, self.size), stride=(1, self.hop))[0, 0, 0]
        pad = (self.size - self.hop) // 2
        return y[:, pad:-pad] / level[pad:-pad]


def build_spectrum_head() -> tuple[Any, np.ndarray]:
    return settled(SpectrumHead(), 6124, 1.2), noise(6125, 2, 9, 8)


def spectrum_head(
    model: Any,
    x: np.ndarray,
    level: str = "squares",
    window: str = "periodic",
    clipped: bool = True,
    halves: str = "magnitude first",
    mirrored: bool = True,
) -> np.ndarray:
    w = weights(model)
    z = linear(x, w["out.weight"], w["out.bias"]).astype(np.float64)
    log, phase = (
        (z[..., :9], z[..., 9:]) if halves == "magnitude first" else (z[..., 9:], z[..., :9])
    )
    size = np.exp(log)
    size = np.minimum(size, 3.0) if clipped else size
    k, n = np.arange(9)[:, None], np.arange(16)
    # The bins between the first and the last stand for two: themselves and their conjugates.
    count = np.where((k == 0) | (k == 8), 1, 2) if mirrored else 1
    real = count * np.cos(2 * np.pi * k * n / 16) / 16
    imag = -count * np.sin(2 * np.pi * k * n / 16) / 16
    parts = (size * np.cos(phase)) @ real + (size * np.sin(phase)) @ imag
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / (16 if window == "periodic" else 15))
    y, envelope = np.zeros((2, 48)), np.zeros(48)
    for t in range(9):
        y[:, 4 * t : 4 * t + 16] += parts[:, t] * hann
        envelope[4 * t : 4 * t + 16] += hann**2 if level == "squares" else hann
    if level == "none":
        return y[:, 6:-6].astype(np.float32)
    return (y[:, 6:-6] / envelope[6:-6]).astype(np.float32)


# --- Residual vector quantisation


class ResidualQuantiser(nn.Module):
    """Each stage quantises what the stages before have left, in a space of fewer channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(8, 3) for _ in range(3))
        self.books = nn.ParameterList(nn.Parameter(torch.zeros(12, 3)) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(3, 8) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, total = x, torch.zeros_like(x)
        for down, book, up in zip(self.down, self.books, self.up, strict=True):
            z = F.normalize(down(left), dim=-1)
            unit = F.normalize(book, dim=-1)
            codes = (z @ unit.T).argmax(dim=-1)
            y = up(book[codes])
            left = left - y
            total = total + y
        return total


def build_quantiser() -> tuple[Any, np.ndarray]:
    model = settled(ResidualQuantiser(), 6126)
    with torch.no_grad():
        for i, book in enumerate(model.books):
            scale = 0.5 + np.random.default_rng(6127 + i).random((12, 1))
            book.mul_(torch.tensor(scale).float() * 3)
    return model, noise(6130, 2, 7, 8)


def residual_quantiser(
    model: Any,
    x: np.ndarray,
    reads: str = "what is left",
    looked_up: str = "as stored",
    nearest: str = "by angle",
    stages: int = 3,
    book_of: tuple[int, ...] = (0, 1, 2),
    left_after: str = "up",
) -> np.ndarray:
    w = weights(model)
    left, total = x, np.zeros_like(x)
    for i in range(stages):
        book = w[f"books.{book_of[i]}"]
        z = linear(left, w[f"down.{i}.weight"], w[f"down.{i}.bias"])
        unit = book / np.sqrt((book**2).sum(-1, keepdims=True))
        if nearest == "by angle":
            codes = (z @ unit.T).argmax(-1)
        elif nearest == "by product":
            codes = (z @ book.T).argmax(-1)
        else:
            codes = ((z[..., None, :] - book) ** 2).sum(-1).argmin(-1)
        chosen = unit[codes] if looked_up == "normalised" else book[codes]
        y = linear(chosen, w[f"up.{i}.weight"], w[f"up.{i}.bias"])
        total = total + y
        if reads == "what is left":
            left = left - (y if left_after == "up" else y - w[f"up.{i}.bias"])
    return total


# --- Attention over time of a speaker net


class AttentivePooling(nn.Module):
    """Weigh the frames by an attention that sees the clip's mean and deviation, then pool both."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Conv1d(18, 5, 1)
        self.norm = nn.BatchNorm1d(5)
        self.score = nn.Conv1d(5, 6, 1)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        share = valid / valid.sum(dim=-1, keepdim=True)
        mean = (share * x).sum(dim=-1, keepdim=True)
        std = (share * (x - mean) ** 2).sum(dim=-1, keepdim=True).clamp(1e-9).sqrt()
        context = torch.cat([x, mean.expand_as(x), std.expand_as(x)], dim=1)
        score = self.score(torch.tanh(self.norm(torch.relu(self.reduce(context)))))
        score = score.masked_fill(valid == 0, float("-inf"))
        share = torch.softmax(score, dim=-1)
        mean = (share * x).sum(dim=-1)
        var = (share * (x - mean[..., None]) ** 2).sum(dim=-1)
        return torch.cat([mean, var.clamp(1e-9).sqrt()], dim=1)


def build_pooling() -> tuple[Any, tuple[np.ndarray, ...]]:
    valid = np.ones((2, 1, 11), np.float32)
    valid[1, :, 7:] = 0
    return settled(AttentivePooling(), 6131, 2.0), (noise(6132, 2, 6, 11), valid)


def pooling(
    model: Any,
    x: tuple[np.ndarray, ...],
    context: str = "valid frames",
    masked: bool = True,
    axis: int = -1,
    second: str = "central",
    norm_first: bool = False,
    context_order: str = "mean first",
) -> np.ndarray:
    frames_in, valid = x
    w = weights(model)
    share = valid / valid.sum(-1, keepdims=True) if context == "valid frames" else 1 / 11
    share = np.float32(share)
    mean = (share * frames_in).sum(-1, keepdims=True)
    std = np.sqrt(np.maximum((share * (frames_in - mean) ** 2).sum(-1, keepdims=True), 1e-9))
    wide = [np.broadcast_to(part, frames_in.shape) for part in (mean, std)]
    wide = wide if context_order == "mean first" else wide[::-1]
    y = conv(np.concatenate([frames_in, *wide], 1), w["reduce.weight"], w["reduce.bias"])
    y = relu(batch_norm(y, w, "norm")) if norm_first else batch_norm(relu(y), w, "norm")
    score = conv(np.tanh(y), w["score.weight"], w["score.bias"])
    if masked:
        score = np.where(valid == 0, np.float32(-1e30), score)
    share = softmax(score, axis)
    mean = (share * frames_in).sum(-1)
    if second == "central":
        var = (share * (frames_in - mean[..., None]) ** 2).sum(-1)
    else:
        var = (share * frames_in**2).sum(-1)
    return np.concatenate([mean, np.sqrt(np.maximum(var, 1e-9))], 1).astype(np.float32)


CASES = [
    Case(
        "third_hifigan_residual_block",
        build_hifigan,
        "",
        hifigan,
        {
            "default_slope": Mistake(
                hifigan_default_slope,
                "The leaky ReLU has its default slope of 0.01, where the block has 0.1.",
            ),
            "second_convolutions_dilated": Mistake(
                hifigan_both_dilated,
                "The second convolution of each pair has the dilation of the first, where it is "
                "not dilated.",
            ),
            "activation_in_place": Mistake(
                hifigan_in_place,
                "The leaky ReLU is written over its input, so that the shortcut adds the "
                "activated values, where it adds those before the activation.",
            ),
            "one_shortcut": Mistake(
                hifigan_one_sum,
                "The three pairs run one after the other and the block's input is added once at "
                "the end, where each pair adds its own input.",
            ),
            "pairs_in_parallel": Mistake(
                hifigan_branches,
                "All three pairs read the block's input and are summed, where each reads the "
                "result of the one before.",
            ),
        },
    ),
    Case(
        "third_dac_residual_unit",
        build_dac_unit,
        "",
        dac_unit,
        {
            "not_divided_by_alpha": Mistake(
                partial(dac_unit, act=snake_not_divided),
                "The squared sine of snake is not divided by alpha.",
            ),
            "alpha_as_logarithm": Mistake(
                partial(dac_unit, act=snake_of_log),
                "Alpha is taken for a logarithm and exponentiated (as in BigVGAN), where it is "
                "used as it is stored.",
            ),
            "sine_not_squared": Mistake(
                partial(dac_unit, act=snake_not_squared),
                "The sine of snake is not squared.",
            ),
            "alpha_of_first_channel": Mistake(
                partial(dac_unit, act=snake_first_alpha),
                "The alpha of channel 0 is used for all channels, where each has its own.",
            ),
            "alpha_of_first_snake": Mistake(
                partial(dac_unit, second="snake1"),
                "The second snake uses the alphas of the first.",
            ),
            "shortcut_after_snake": Mistake(
                dac_unit_residual_after_snake,
                "The shortcut starts behind the first snake, where it adds the unit's input.",
            ),
        },
    ),
    Case(
        "third_encodec_causal_convolution",
        build_encodec,
        "",
        encodec,
        {
            "padded_on_both_sides": Mistake(
                partial(encodec, sides=(2, 2)),
                "The padding is split over both sides (2 and 2), where the convolution is causal "
                "(3 on the left and 1 on the right to fill the last frame).",
            ),
            "padded_with_zeros": Mistake(
                partial(encodec, mode="constant"),
                "The padding is of zeros, where it reflects the signal.",
            ),
            "edge_repeated": Mistake(
                partial(encodec, mode="symmetric"),
                "The padding repeats the edge sample (np.pad's symmetric), where reflect does not.",
            ),
            "all_padding_left": Mistake(
                partial(encodec, sides=(4, 0)),
                "The sample that fills the last frame is padded on the left, where it is on the "
                "right.",
            ),
            "direction_not_normalised": Mistake(
                partial(encodec, norm_axes=None),
                "The gain is multiplied with the stored direction without dividing by its norm.",
            ),
            "norm_over_whole_kernel": Mistake(
                partial(encodec, norm_axes=(0, 1, 2)),
                "The direction is divided by the norm of the whole kernel, where each output "
                "channel has its own norm.",
            ),
        },
    ),
    Case(
        "third_vits_wavenet",
        build_vits,
        "",
        vits,
        {
            "gate_halves_swapped": Mistake(
                partial(vits, halves="sigmoid first"),
                "The sigmoid is taken of the first half and tanh of the second, where tanh has "
                "the first.",
            ),
            "skip_and_residual_swapped": Mistake(
                partial(vits, split="skip first"),
                "The first half of res_skip goes to the output and the second to the next layer, "
                "where the first is the residual.",
            ),
            "first_speaker_slice": Mistake(
                partial(vits, speaker="first"),
                "Every layer adds the speaker's first 12 channels, where layer i has the slice "
                "from 12 i on.",
            ),
            "mask_at_the_end_alone": Mistake(
                partial(vits, masked=False),
                "The padding mask is applied to the output alone, where the residual is masked "
                "in each layer too.",
            ),
            "dilations_added": Mistake(
                partial(vits, dilations=(1, 3, 5)),
                "The dilations grow by 2 (1, 3, 5), where they are powers of 2 (1, 2, 4).",
            ),
        },
    ),
    Case(
        "third_speaker_statistics",
        build_speaker,
        "",
        speaker,
        {
            "kernel_read_channels_first": Mistake(
                partial(speaker, kernel_as="channels first"),
                "The linear weight is reshaped to (out, in, taps), where its columns run over "
                "taps first and channels within (out, taps, in).",
            ),
            "not_dilated": Mistake(
                partial(speaker, dilation=1),
                "The time delay layer is not dilated, where its dilation is 2.",
            ),
            "population_deviation": Mistake(
                partial(speaker, ddof=0),
                "The deviation over time divides by n, where torch's std divides by n - 1.",
            ),
            "deviation_first": Mistake(
                partial(speaker, order="deviation first"),
                "The deviations stand before the means in the pooled vector, where the means are "
                "first.",
            ),
            "no_relu": Mistake(
                partial(speaker, rectified=False),
                "The ReLU of the time delay layer is forgotten.",
            ),
            "not_dilated_and_population": Mistake(
                partial(speaker, dilation=1, ddof=0),
                "Two causes: the time delay layer is not dilated (it is by 2), and the deviation "
                "divides by n, where it is n - 1.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_tasnet_separator",
        build_separator,
        "",
        separator,
        {
            "norm_of_each_frame": Mistake(
                partial(separator, over=(1,)),
                "The norms take mean and variance of each frame over the channels, where they "
                "take them over channels and time together.",
            ),
            "norm_of_each_channel": Mistake(
                partial(separator, over=(2,)),
                "The norms take mean and variance of each channel over time, where they take "
                "them over channels and time together.",
            ),
            "last_skip_alone": Mistake(
                partial(separator, skips="last"),
                "The mask is computed from the last block's skip, where the skips of both "
                "blocks are summed.",
            ),
            "causal_depthwise": Mistake(
                partial(separator, causal=True),
                "The depthwise convolutions are padded on the left alone, where they are padded "
                "on both sides.",
            ),
            "slope_of_a_quarter": Mistake(
                partial(separator, slopes="initial"),
                "The PReLUs have the initial slope of 0.25, where the learned slopes are used.",
            ),
            "mask_onto_last_block": Mistake(
                partial(separator, onto="blocks"),
                "The mask multiplies what the last block puts out, where it multiplies the "
                "mixture.",
            ),
            "norm_before_activation": Mistake(
                partial(separator, act_first=False),
                "In each block the first norm comes before the PReLU, where it comes after.",
            ),
        },
    ),
    Case(
        "third_wave_decoder_step",
        build_decoder_step,
        "",
        decoder_step,
        {
            "skip_cut_at_the_end": Mistake(
                partial(decoder_step, trim_from=0),
                "The skip's first 9 samples are added, where its surplus of 4 is cut on both "
                "sides alike.",
            ),
            "skip_cut_at_the_front": Mistake(
                partial(decoder_step, trim_from=4),
                "The skip's last 9 samples are added, where its surplus of 4 is cut on both "
                "sides alike.",
            ),
            "gate_of_first_half": Mistake(
                partial(decoder_step, gate="first half"),
                "The gated linear unit takes the sigmoid of the first half, where it is that of "
                "the second.",
            ),
            "taps_reversed": Mistake(
                partial(decoder_step, flipped=True),
                "The taps of the transposed convolution are reversed.",
            ),
            "bias_in_every_frame": Mistake(
                partial(decoder_step, bias="each frame"),
                "The bias of the transposed convolution is added with every frame, so that it "
                "counts twice where frames overlap, where it is added once.",
            ),
            "relu_before_upsampling": Mistake(
                partial(decoder_step, rectified="before"),
                "The ReLU stands before the transposed convolution, where it comes after.",
            ),
        },
    ),
    Case(
        "third_channel_energy_norm",
        build_pcen,
        "",
        pcen,
        {
            "mean_from_zero": Mistake(
                partial(pcen, first="zero"),
                "The smoothed energy starts from zero, where it starts from the first frame's "
                "energy.",
            ),
            "smoothing_reversed": Mistake(
                partial(pcen, smooth="of the old"),
                "The smoothing coefficient weighs the old mean, where it weighs the new energy.",
            ),
            "epsilon_outside_power": Mistake(
                partial(pcen, eps="outside"),
                "Epsilon is added after the mean is raised to alpha, where it is added before.",
            ),
            "offset_not_subtracted": Mistake(
                partial(pcen, offset=False),
                "delta ** r is not subtracted at the end.",
            ),
            "mean_of_clip_before": Mistake(
                partial(pcen, first="stale"),
                "The smoothed energy of the first clip's end goes on into the second clip, where "
                "each clip starts from its own first frame.",
            ),
        },
    ),
    Case(
        "third_biquad_cascade",
        build_biquads,
        "",
        biquads,
        {
            "feedback_added": Mistake(
                biquads_feedback_added,
                "The feedback terms are added, where a1 y and a2 y are subtracted.",
            ),
            "second_state_written_first": Mistake(
                biquads_second_state_first,
                "The second state is written before the first is computed from it, so that the "
                "first reads the new value, where it reads the old one.",
            ),
            "states_kept_between_channels": Mistake(
                biquads_state_kept,
                "The two states are not cleared between channels and clips.",
            ),
            "a0_taken_for_one": Mistake(
                biquads_first_coefficient_ignored,
                "The division by a0 is left out, as if the coefficients were normalised; a0 is 2 "
                "in the first section.",
            ),
            "sections_not_chained": Mistake(
                biquads_last_section_alone,
                "The second section filters the input, where it filters what the first one puts "
                "out.",
            ),
        },
    ),
    Case(
        "third_keras_keyword_net",
        build_keywords,
        "",
        keywords,
        {
            "padded_alike": Mistake(
                partial(keywords, sides=((5, 4), (1, 1))),
                "The odd row of the strided convolution's padding is above, where 'same' puts it "
                "below.",
            ),
            "epsilon_of_torch": Mistake(
                partial(keywords, eps=1e-5),
                "The epsilon of the batch normalisations is 1e-5, where Keras has 1e-3.",
            ),
            "depthwise_kernel_turned": Mistake(
                partial(keywords, turned=True),
                "Height and width of the depthwise kernel are swapped.",
            ),
            "relu_before_norm": Mistake(
                partial(keywords, relu_first=True),
                "Behind the first convolution the ReLU comes before the batch normalisation, "
                "where it comes after.",
            ),
            "largest_instead_of_mean": Mistake(
                partial(keywords, pool="max"),
                "The largest value over time and bands is pooled, where it is the mean.",
            ),
            "bias_thought_folded": Mistake(
                partial(keywords, biased=False),
                "The first convolution's bias is left out, as if the batch normalisation's shift "
                "held it.",
            ),
        },
    ),
    Case(
        "third_keras_eeg_net",
        build_eeg,
        "",
        eeg,
        {
            "even_kernel_padded_left": Mistake(
                partial(eeg, time_sides=(8, 7)),
                "The even temporal kernel is padded by 8 on the left and 7 on the right, where "
                "Keras has 7 and 8.",
            ),
            "multiplier_outside": Mistake(
                partial(eeg, order="multiplier"),
                "The depthwise outputs are ordered by multiplier first, where the multiplier "
                "varies within each channel.",
            ),
            "relu": Mistake(
                partial(eeg, act="relu"),
                "The activation is ReLU, where it is ELU.",
            ),
            "flattened_channels_first": Mistake(
                partial(eeg, flat="channels first"),
                "The features are flattened channels first, where Keras flattens time first and "
                "channels within.",
            ),
            "every_fourth_sample": Mistake(
                partial(eeg, pool="every fourth"),
                "Every fourth sample is taken, where four are averaged.",
            ),
            "electrodes_reversed": Mistake(
                partial(eeg, reversed_electrodes=True),
                "The spatial kernel is flipped over the electrodes (a true convolution), where "
                "it is a correlation.",
            ),
        },
    ),
    Case(
        "third_sinc_convolution",
        build_sinc,
        "",
        sinc,
        {
            "periodic_window": Mistake(
                partial(sinc, window="periodic"),
                "The Hamming window is periodic (divided by 21), where it is symmetric (by 20).",
            ),
            "least_frequency_left_out": Mistake(
                partial(sinc, least="left out"),
                "The least frequency and bandwidth of 50 Hz are not added to the learned edges.",
            ),
            "divided_by_rate": Mistake(
                partial(sinc, scaled=False),
                "The kernels are divided by the sampling rate (the textbook's filter), where each "
                "is divided by twice its bandwidth.",
            ),
            "middle_tap_halved": Mistake(
                partial(sinc, centre=1),
                "The middle tap is the bandwidth, where it is twice the bandwidth.",
            ),
            "signs_of_edges_kept": Mistake(
                partial(sinc, edges="as stored"),
                "The learned edges are used with their sign, where their magnitude is used.",
            ),
        },
    ),
    Case(
        "third_spectrum_head",
        build_spectrum_head,
        "",
        spectrum_head,
        {
            "not_divided_by_envelope": Mistake(
                partial(spectrum_head, level="none"),
                "The overlap-added frames are not divided by the sum of the squared windows.",
            ),
            "divided_by_sum_of_windows": Mistake(
                partial(spectrum_head, level="windows"),
                "The overlap-added frames are divided by the sum of the windows, where it is the "
                "sum of their squares.",
            ),
            "symmetric_window": Mistake(
                partial(spectrum_head, window="symmetric"),
                "The Hann window is symmetric (np.hanning), where torch's is periodic.",
            ),
            "magnitude_not_clipped": Mistake(
                partial(spectrum_head, clipped=False),
                "The magnitudes are not clipped at 3.",
            ),
            "phase_first": Mistake(
                partial(spectrum_head, halves="phase first"),
                "The first half of the linear layer's output is taken for the phase and the "
                "second for the log magnitude, where it is the other way round.",
            ),
            "half_spectrum_summed_once": Mistake(
                partial(spectrum_head, mirrored=False),
                "The inverse transform sums the 9 bins once each, where those between the first "
                "and the last count twice (their conjugates).",
            ),
        },
    ),
    Case(
        "third_residual_quantiser",
        build_quantiser,
        "",
        residual_quantiser,
        {
            "every_stage_reads_input": Mistake(
                partial(residual_quantiser, reads="the input"),
                "Every stage quantises the input, where each quantises what the ones before left.",
            ),
            "normalised_code_looked_up": Mistake(
                partial(residual_quantiser, looked_up="normalised"),
                "The normalised codeword is put out, where it is used to choose alone and the "
                "stored one is put out.",
            ),
            "nearest_by_product": Mistake(
                partial(residual_quantiser, nearest="by product"),
                "The codeword is chosen by the product with the stored codewords, where they are "
                "normalised for the choice.",
            ),
            "nearest_by_distance": Mistake(
                partial(residual_quantiser, nearest="by distance"),
                "The codeword is chosen by Euclidean distance (the paper's), where it is chosen "
                "by the angle.",
            ),
            "last_stage_dropped": Mistake(
                partial(residual_quantiser, stages=2),
                "The last of the three stages is left out.",
            ),
            "first_book_for_all": Mistake(
                partial(residual_quantiser, book_of=(0, 0, 0)),
                "All stages use the first codebook, where each has its own.",
            ),
        },
    ),
    Case(
        "third_attentive_pooling",
        build_pooling,
        "",
        pooling,
        {
            "context_of_padding_too": Mistake(
                partial(pooling, context="all frames"),
                "The context's mean and deviation count the padded frames, where they are of the "
                "valid frames alone.",
            ),
            "scores_not_masked": Mistake(
                partial(pooling, masked=False),
                "The scores of padded frames are not masked before the softmax.",
            ),
            "softmax_over_channels": Mistake(
                partial(pooling, axis=1),
                "The softmax runs over the channels, where it runs over time.",
            ),
            "root_mean_square": Mistake(
                partial(pooling, second="raw"),
                "The second statistic is the root of the mean square, where the mean is "
                "subtracted first.",
            ),
            "norm_before_relu": Mistake(
                partial(pooling, norm_first=True),
                "The batch normalisation comes before the ReLU, where it comes after.",
            ),
            "context_swapped_and_not_masked": Mistake(
                partial(pooling, context_order="deviation first", masked=False),
                "Two causes: in the context the deviation stands before the mean, where it stands "
                "after, and padded frames are not masked before the softmax.",
                causes=2,
            ),
        },
    ),
]
