"""Audio, device, control, flow, reinforcement-learning and preprocessing layers, with mistakes.

Written from the frameworks' references and from how ports go wrong, without a look at any tool.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import torch
from scipy.special import gammaln
from torch import nn
from transformers import ASTConfig, UnivNetConfig, Wav2Vec2BertConfig
from transformers.models.audio_spectrogram_transformer import modeling_audio_spectrogram_transformer
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni
from transformers.models.univnet import modeling_univnet
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    gelu,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    relu,
    sigmoid,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import (
    Alone,
    beneath,
    inputs,
    normal_floats,
    train_keras,
    train_torch,
    weights_of,
)

Built = tuple[Any, Any]


# Sound


def build_antialiased_snake() -> Built:
    snake = modeling_qwen2_5_omni.Qwen2_5OmniSnakeBeta(6)
    layer = modeling_qwen2_5_omni.Qwen2_5OmniAntiAliasedActivation1d(snake)
    return train_torch(Alone(layer), 101), inputs(102, 2, 6, 24)


def kaiser_sinc(taps: int, ratio: int) -> np.ndarray:
    """The low-pass filter of BigVGAN's resamplers."""
    cutoff, half_width = 0.5 / ratio, 0.6 / ratio
    attenuation = 2.285 * (taps // 2 - 1) * np.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    time = np.arange(taps) - taps // 2 + 0.5
    kernel = 2 * cutoff * np.kaiser(taps, beta) * np.sinc(2 * cutoff * time)
    return kernel / kernel.sum()


def antialiased_snake(
    model: Any,
    x: np.ndarray,
    mode: str = "edge",
    gain: float = 2,
    exponential: bool = True,
    first: int = 5,
    swapped: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    kernel = kaiser_sinc(12, 2)
    padded = np.pad(x, ((0, 0), (0, 0), (5, 5)), mode=mode)
    n = padded.shape[-1]
    up = np.zeros((*x.shape[:2], 2 * (n - 1) + 12))
    for i in range(n):
        up[..., 2 * i : 2 * i + 12] += gain * padded[..., i : i + 1] * kernel
    up = up[..., 15:-15]
    alpha, beta = (w[f"mixer.act.{name}"][:, None] for name in ("alpha", "beta"))
    if exponential:
        alpha, beta = np.exp(alpha), np.exp(beta)
    if swapped:
        alpha, beta = beta, alpha
    y = up + np.sin(alpha * up) ** 2 / (beta + 1e-9)
    y = np.pad(y, ((0, 0), (0, 0), (first, 11 - first)), mode=mode)
    steps = range(0, y.shape[-1] - 11, 2)
    return np.stack([y[..., i : i + 12] @ kernel for i in steps], -1)


ANTIALIASED_SNAKE = Case(
    "fourth_antialiased_snake",
    build_antialiased_snake,
    "mixer",
    antialiased_snake,
    {
        "zero_ends": Mistake(
            partial(antialiased_snake, mode="constant"),
            "Both resamplers pad the ends of the signal with zeros, where the layer repeats the "
            "first and last samples.",
        ),
        "half_loudness": Mistake(
            partial(antialiased_snake, gain=1),
            "The upsampled signal is not multiplied by the ratio 2, so that the zeros put between "
            "samples halve its level.",
        ),
        "logarithms_as_factors": Mistake(
            partial(antialiased_snake, exponential=False),
            "Alpha and beta are used as stored, but they are logarithms and the layer takes their "
            "exponentials first.",
        ),
        "late_half_sample": Mistake(
            partial(antialiased_snake, first=6),
            "The downsampler pads six samples on the left and five on the right, where the layer "
            "pads five left and six right.",
        ),
        "frequency_and_size_exchanged": Mistake(
            partial(antialiased_snake, swapped=True),
            "Beta multiplies inside the sine and alpha divides its square, where alpha is the "
            "frequency and beta the divisor.",
        ),
    },
)


class LocationVariableStage(nn.Module):
    """A predictor of kernels and a residual block of UnivNet that uses them."""

    def __init__(self, channels: int = 6, conditions: int = 5, hop: int = 8) -> None:
        super().__init__()
        config = UnivNetConfig(model_hidden_channels=channels, leaky_relu_slope=0.2)
        self.channels, self.hop = channels, hop
        self.kernels = nn.Conv1d(conditions, channels * 2 * channels * 3, 3, padding=1)
        self.biases = nn.Conv1d(conditions, 2 * channels, 3, padding=1)
        self.block = modeling_univnet.UnivNetLvcResidualBlock(config, 3, 3)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        batch, _, frames = condition.shape
        kernel = self.kernels(condition)
        kernel = kernel.view(batch, self.channels, 2 * self.channels, 3, frames)
        return self.block(x, kernel, self.biases(condition), self.hop)


def build_location_variable_stage() -> Built:
    x = (inputs(112, 2, 6, 32), inputs(113, 2, 5, 4))
    return train_torch(LocationVariableStage(), 111, gain=0.8), x


def location_variable_stage(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    half_kernels: bool = False,
    outputs_first: bool = False,
    tanh_first: bool = False,
    closed_segments: bool = False,
    residual_of_leaky: bool = False,
) -> np.ndarray:
    w, (wave, condition) = weights_of(model), x
    b, c, t = wave.shape
    frames, hop = condition.shape[-1], t // condition.shape[-1]
    kernel = conv(condition, w["kernels.weight"], w["kernels.bias"], padding=1)
    if half_kernels:
        kernel = kernel.astype(np.float16).astype(np.float32)
    if outputs_first:
        kernel = kernel.reshape(b, 2 * c, c, 3, frames).swapaxes(1, 2)
    kernel = kernel.reshape(b, c, 2 * c, 3, frames)
    bias = conv(condition, w["biases.weight"], w["biases.bias"], padding=1)
    h = np.where(wave > 0, wave, np.float32(0.2) * wave)
    start = h if residual_of_leaky else wave
    h = conv(h, w["block.conv.weight"], w["block.conv.bias"], padding=3, dilation=3)
    h = np.where(h > 0, h, np.float32(0.2) * h)
    padded = np.pad(h, ((0, 0), (0, 0), (1, 1)))
    y = np.zeros((b, 2 * c, t), np.float32)
    for frame in range(frames):
        part = padded[:, :, frame * hop : frame * hop + hop + 2].copy()
        if closed_segments:
            part[:, :, [0, -1]] = 0
        for tap in range(3):
            y[:, :, frame * hop : (frame + 1) * hop] += np.einsum(
                "bit,bio->bot", part[:, :, tap : tap + hop], kernel[..., tap, frame]
            )
        y[:, :, frame * hop : (frame + 1) * hop] += bias[:, :, frame : frame + 1]
    one, two = y[:, :c], y[:, c:]
    if tanh_first:
        one, two = two, one
    return start + sigmoid(one) * np.tanh(two)


LOCATION_VARIABLE_STAGE = Case(
    "fourth_location_variable_stage",
    build_location_variable_stage,
    "",
    location_variable_stage,
    {
        "kernels_in_half": Mistake(
            partial(location_variable_stage, half_kernels=True),
            "The predicted kernels are rounded to half precision before they are used, where they "
            "should stay in single precision (inherently small).",
        ),
        "kernel_outputs_first": Mistake(
            partial(location_variable_stage, outputs_first=True),
            "The predicted kernels are read as (output, input, tap), like a convolution's, but "
            "they lie as (input, output, tap).",
        ),
        "tanh_on_first_half": Mistake(
            partial(location_variable_stage, tanh_first=True),
            "The tanh takes the first half of the channels and the sigmoid the second, where the "
            "first half is the gate.",
        ),
        "segments_without_neighbours": Mistake(
            partial(location_variable_stage, closed_segments=True),
            "Each hop is padded with zeros at its own ends, where it should see one sample of "
            "each neighbouring hop.",
        ),
        "residual_behind_activation": Mistake(
            partial(location_variable_stage, residual_of_leaky=True),
            "The skip connection adds the signal after an in-place leaky ReLU, where the block "
            "adds the signal it was given.",
        ),
    },
)


def build_spectrogram_tokens() -> Built:
    config = ASTConfig(
        hidden_size=20,
        num_attention_heads=2,
        patch_size=4,
        frequency_stride=3,
        time_stride=2,
        num_mel_bins=13,
        max_length=16,
    )
    layer = modeling_audio_spectrogram_transformer.ASTEmbeddings(config)
    layer = train_torch(Alone(layer), 121)
    rng = np.random.default_rng(122)
    for token in (layer.mixer.cls_token, layer.mixer.distillation_token):
        token.data.copy_(torch.from_numpy(rng.standard_normal(token.shape)))
    layer.mixer.position_embeddings.data.mul_(8)
    return layer, inputs(123, 2, 16, 13)


def spectrogram_tokens(
    model: Any,
    x: np.ndarray,
    kernel_of_time: bool = False,
    time_first: bool = False,
    distillation_first: bool = False,
    tokens_at_end: bool = False,
    shift: int = 0,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    kernel = w["patch_embeddings.projection.weight"]
    if kernel_of_time:
        kernel = kernel.swapaxes(2, 3)
    offset = w["patch_embeddings.projection.bias"]
    y = conv(x.swapaxes(1, 2)[:, None], kernel, offset, stride=(3, 2))
    if time_first:
        y = y.swapaxes(2, 3)
    y = y.reshape(*y.shape[:2], -1).swapaxes(1, 2)
    tokens = [w["cls_token"], w["distillation_token"]]
    if distillation_first:
        tokens = tokens[::-1]
    tokens = [np.broadcast_to(token, (len(x), 1, 20)) for token in tokens]
    y = np.concatenate([y, *tokens] if tokens_at_end else [*tokens, y], 1)
    return y + np.roll(w["position_embeddings"], shift, 1)


SPECTROGRAM_TOKENS = Case(
    "fourth_spectrogram_tokens",
    build_spectrogram_tokens,
    "mixer",
    spectrogram_tokens,
    {
        "kernel_time_by_frequency": Mistake(
            partial(spectrogram_tokens, kernel_of_time=True),
            "The square patch kernel is applied as (time, frequency), but its rows are "
            "frequencies because the spectrogram is transposed first.",
        ),
        "patches_by_time": Mistake(
            partial(spectrogram_tokens, time_first=True),
            "Patches are listed frame by frame, with frequency running fastest, where the layer "
            "lets time run fastest within each frequency row.",
        ),
        "distillation_token_first": Mistake(
            partial(spectrogram_tokens, distillation_first=True),
            "The distillation token is put before the class token, where the class token is the "
            "first and the distillation token the second.",
        ),
        "positions_one_late": Mistake(
            partial(spectrogram_tokens, shift=1),
            "Every position embedding is one place late, as if there were a further token in "
            "front, where token i gets position i.",
        ),
        "tokens_behind": Mistake(
            partial(spectrogram_tokens, tokens_at_end=True),
            "Both special tokens are appended behind the patches, where they come before them and "
            "take the first two positions.",
        ),
    },
)


def build_relative_key_attention() -> Built:
    config = Wav2Vec2BertConfig(
        hidden_size=24,
        num_attention_heads=3,
        left_max_position_embeddings=5,
        right_max_position_embeddings=2,
        position_embeddings_type="relative_key",
    )
    config._attn_implementation = "eager"
    layer = modeling_wav2vec2_bert.Wav2Vec2BertSelfAttention(config)
    mask = np.zeros((2, 1, 1, 11), np.float32)
    mask[1, ..., 8:] = np.finfo(np.float32).min
    layer = train_torch(Alone(layer), 131, gain=1.2)
    layer.mixer.distance_embedding.weight.data.mul_(4)
    return layer, (inputs(132, 2, 11, 24), mask)


def relative_key_attention(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    sign: int = 1,
    left: int = 5,
    of_keys: bool = False,
    scaled: bool = True,
    masked: bool = True,
) -> np.ndarray:
    w, (h, mask) = beneath(weights_of(model), "mixer."), x
    q, k, v = (
        split_heads(linear(h, w[f"linear_{n}.weight"], w[f"linear_{n}.bias"]), 3) for n in "qkv"
    )
    scale = np.float32(8**-0.5)
    positions = np.arange(h.shape[1])
    distance = np.clip(sign * (positions[None] - positions[:, None]), -left, 2)
    table = w["distance_embedding.weight"][distance + 5]
    if of_keys:
        bias = np.einsum("bhrd,lrd->bhlr", k, table)
    else:
        bias = np.einsum("bhld,lrd->bhlr", q, table)
    scores = q @ k.swapaxes(2, 3) * scale + bias * (scale if scaled else 1)
    if masked:
        scores = scores + mask
    y = join_heads(softmax(scores) @ v)
    return linear(y, w["linear_out.weight"], w["linear_out.bias"])


RELATIVE_KEY_ATTENTION = Case(
    "fourth_relative_key_attention",
    build_relative_key_attention,
    "mixer",
    relative_key_attention,
    {
        "distance_from_key_to_query": Mistake(
            partial(relative_key_attention, sign=-1),
            "The distance is query minus key position, so past and future change places; the "
            "layer takes key minus query.",
        ),
        "past_cut_like_future": Mistake(
            partial(relative_key_attention, left=2),
            "Distances into the past are clipped at two frames like those into the future, where "
            "five past frames are told apart.",
        ),
        "bias_of_keys": Mistake(
            partial(relative_key_attention, of_keys=True),
            "The distance embedding is multiplied by the key of each pair, where this attention "
            "multiplies it by the query.",
        ),
        "bias_unscaled": Mistake(
            partial(relative_key_attention, scaled=False),
            "Only the products of queries and keys are divided by the root of the head size, but "
            "the position term is divided as well.",
        ),
        "padding_seen": Mistake(
            partial(relative_key_attention, masked=False),
            "The additive padding mask is not used, so the three padded frames of the second "
            "recording are attended to; they should be excluded.",
        ),
    },
)


class HarmonicOscillator(nn.Module):
    """The additive synthesiser of DDSP, with the heads that control it."""

    def __init__(self, features: int = 6, harmonics: int = 7, hop: int = 16) -> None:
        super().__init__()
        self.loudness = nn.Linear(features, 1)
        self.harmonics = nn.Linear(features, harmonics)
        self.hop, self.rate = hop, 1000.0

    def forward(self, features: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
        loud = self.controls(self.loudness(features))
        parts = self.controls(self.harmonics(features))
        numbers = torch.arange(1, parts.shape[-1] + 1)
        parts = parts * (pitch[..., None] * numbers < self.rate / 2)
        parts = loud * parts / parts.sum(-1, keepdim=True)
        size = pitch.shape[1] * self.hop
        parts = nn.functional.interpolate(parts.transpose(1, 2), size=size, mode="linear")
        pitch = pitch.repeat_interleave(self.hop, 1)
        phase = torch.cumsum(2 * torch.pi * pitch.double() / self.rate, 1)
        waves = torch.sin(phase[:, None] * numbers[:, None]).float()
        return (waves * parts).sum(1)

    @staticmethod
    def controls(x: torch.Tensor) -> torch.Tensor:
        return 2 * torch.sigmoid(x) ** 2.302585 + 1e-7


def build_harmonic_oscillator() -> Built:
    pitch = np.random.default_rng(143).uniform(40, 130, (2, 8)).astype(np.float32)
    return train_torch(HarmonicOscillator(), 141, gain=1.5), (inputs(142, 2, 8, 6), pitch)


def harmonic_oscillator(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    first_phase: bool = True,
    table: bool = False,
    sum_before_cut: bool = False,
    aligned: bool = False,
    phase_by_time: bool = False,
) -> np.ndarray:
    w, (features, pitch) = weights_of(model), x
    hop, rate = 16, 1000.0

    def controls(name: str) -> np.ndarray:
        y = linear(features, w[f"{name}.weight"], w[f"{name}.bias"])
        return 2 * sigmoid(y) ** np.log(10) + 1e-7

    parts = controls("harmonics")
    numbers = np.arange(1, parts.shape[-1] + 1)
    total = parts.sum(-1, keepdims=True)
    parts = parts * (pitch[..., None] * numbers < rate / 2)
    if not sum_before_cut:
        total = parts.sum(-1, keepdims=True)
    parts = controls("loudness") * parts / total
    frames = pitch.shape[1]
    n = frames * hop
    at = np.arange(n) * (frames - 1) / (n - 1) if aligned else (np.arange(n) + 0.5) / hop - 0.5
    at = np.clip(at, 0, frames - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, frames - 1)
    share = (at - low)[None, :, None]
    parts = parts[:, low] * (1 - share) + parts[:, high] * share
    turn = 2 * np.pi * pitch.astype(np.float64).repeat(hop, 1) / rate
    phase = turn * np.arange(1, n + 1) if phase_by_time else np.cumsum(turn, 1)
    if not first_phase:
        phase = phase - phase[:, :1]
    angles = phase[..., None] * numbers
    if table:
        angles = np.floor(angles / (2 * np.pi) * 64) * (2 * np.pi / 64)
    return (np.sin(angles) * parts).sum(-1)


HARMONIC_OSCILLATOR = Case(
    "fourth_harmonic_oscillator",
    build_harmonic_oscillator,
    "",
    harmonic_oscillator,
    {
        "phase_from_zero": Mistake(
            partial(harmonic_oscillator, first_phase=False),
            "The phase accumulator is read before it is advanced, so the first sample has phase "
            "zero; the layer includes the first step.",
        ),
        "normalised_before_cut": Mistake(
            partial(harmonic_oscillator, sum_before_cut=True),
            "The harmonic shares are normalised before those above half the sampling rate are "
            "removed, where they should be normalised afterwards.",
        ),
        "sine_of_table": Mistake(
            partial(harmonic_oscillator, table=True),
            "The sine is read from a table of 64 entries at the lower one, without interpolation, "
            "where the layer computes the sine itself.",
        ),
        "corners_aligned": Mistake(
            partial(harmonic_oscillator, aligned=True),
            "The amplitude interpolation spans the first to the last sample (aligned corners), "
            "where frames lie at the centres of their hops.",
        ),
        "phase_by_clock": Mistake(
            partial(harmonic_oscillator, phase_by_time=True),
            "The phase is the present frequency times the elapsed time, which jumps when pitch "
            "changes; it should be summed up sample by sample.",
        ),
    },
)


class DeepFilter(nn.Module):
    """Gains of bands on all bins and complex filters over frames on the low ones."""

    widths = (1, 2, 2, 3, 4, 5)

    def __init__(self, features: int = 8, order: int = 4, low: int = 6, ahead: int = 1) -> None:
        super().__init__()
        self.order, self.low, self.ahead = order, low, ahead
        self.gains = nn.Linear(features, len(self.widths))
        self.filters = nn.Linear(features, order * low * 2)
        self.mix = nn.Linear(features, 1)

    def forward(self, spectrum: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        batch, frames = features.shape[:2]
        gains = torch.sigmoid(self.gains(features))
        gains = gains.repeat_interleave(torch.tensor(self.widths), 2)
        scaled = spectrum * gains[..., None]
        taps = torch.tanh(self.filters(features))
        taps = torch.view_as_complex(taps.view(batch, frames, self.order, self.low, 2))
        noisy = torch.view_as_complex(spectrum.contiguous())[:, :, : self.low]
        pad = (0, 0, self.order - 1 - self.ahead, self.ahead)
        noisy = nn.functional.pad(noisy, pad).unfold(1, self.order, 1)
        clean = torch.einsum("btfn,btnf->btf", noisy, taps)
        alpha = torch.sigmoid(self.mix(features))[..., None]
        low = torch.view_as_real(clean) * alpha + scaled[:, :, : self.low] * (1 - alpha)
        return torch.cat((low, scaled[:, :, self.low :]), 2)


def build_deep_filter() -> Built:
    x = (normal_floats(152, 2, 9, 17, 2), inputs(153, 2, 9, 8))
    return train_torch(DeepFilter(), 151), x


def deep_filter(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    ahead: int = 1,
    newest_first: bool = False,
    conjugate: bool = False,
    of_scaled: bool = False,
    halves: bool = False,
    widths: tuple[int, ...] = (1, 2, 2, 3, 4, 5),
) -> np.ndarray:
    w, (spectrum, features) = weights_of(model), x
    b, t, _, _ = spectrum.shape
    noisy = spectrum[..., 0] + 1j * spectrum[..., 1]
    gains = sigmoid(linear(features, w["gains.weight"], w["gains.bias"]))
    scaled = noisy * np.repeat(gains, widths, axis=2)
    taps = np.tanh(linear(features, w["filters.weight"], w["filters.bias"]))
    if halves:
        taps = taps.reshape(b, t, 2, 4, 6)
        taps = taps[:, :, 0] + 1j * taps[:, :, 1]
    else:
        taps = taps.reshape(b, t, 4, 6, 2)
        taps = taps[..., 0] + 1j * taps[..., 1]
    if conjugate:
        taps = taps.conj()
    if newest_first:
        taps = taps[:, :, ::-1]
    source = (scaled if of_scaled else noisy)[:, :, :6]
    source = np.pad(source, ((0, 0), (3 - ahead, ahead), (0, 0)))
    clean = sum(source[:, n : n + t] * taps[:, :, n] for n in range(4))
    alpha = sigmoid(linear(features, w["mix.weight"], w["mix.bias"]))
    low = clean * alpha + scaled[:, :, :6] * (1 - alpha)
    y = np.concatenate((low, scaled[:, :, 6:]), 2)
    return np.stack((y.real, y.imag), -1)


DEEP_FILTER = Case(
    "fourth_deep_filter",
    build_deep_filter,
    "",
    deep_filter,
    {
        "no_look_ahead": Mistake(
            partial(deep_filter, ahead=0),
            "The filters end at the present frame, where the layer lets their last tap see one "
            "frame of the future.",
        ),
        "newest_tap_first": Mistake(
            partial(deep_filter, newest_first=True),
            "The first tap is applied to the newest frame, as in an FIR filter, where tap zero "
            "belongs to the oldest frame.",
        ),
        "correlated_with_conjugate": Mistake(
            partial(deep_filter, conjugate=True),
            "The complex taps are conjugated as in a correlation, where the layer multiplies by "
            "the taps as they are.",
        ),
        "filters_behind_gains": Mistake(
            partial(deep_filter, of_scaled=True),
            "The complex filters work on the spectrum after the band gains, where they should "
            "take the noisy spectrum.",
        ),
        "band_edges_and_halves": Mistake(
            partial(deep_filter, halves=True, widths=(2, 2, 2, 3, 4, 4)),
            "Real and imaginary parts of taps are read as halves rather than in turn, and the "
            "first band is two bins wide instead of one.",
            causes=2,
        ),
    },
)


# Devices


def rounded(rng: np.random.Generator, size: float, *shape: int) -> torch.Tensor:
    """Integers of an int8 weight."""
    return torch.from_numpy(np.clip(np.rint(rng.normal(0, size, shape)), -127, 127).astype(int))


class IntegerGru(nn.Module):
    """A GRU of int8 states and weights, with int16 gates from interpolated tables."""

    def __init__(self, features: int = 5, units: int = 8) -> None:
        super().__init__()
        rng = np.random.default_rng(201)
        self.register_buffer("kernel", rounded(rng, 34, 3 * units, features))
        self.register_buffer("recurrent", rounded(rng, 40, 3 * units, units))
        self.register_buffer("bias", rounded(rng, 60, 3 * units) * 20)
        self.register_buffer("recurrent_bias", rounded(rng, 60, 3 * units) * 20)
        grid = np.arange(65) / 4 - 8
        for name, values in (("sigmoid", 1 / (1 + np.exp(-grid))), ("tanh", np.tanh(grid))):
            table = np.clip(np.rint(values * 2**15), -(2**15), 2**15 - 1)
            self.register_buffer(name, torch.from_numpy(table.astype(int)))

    def read(self, table: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """A table at x (eight bits behind the point), interpolated."""
        at = x.clamp(-2048, 2047) + 2048
        low = table[at >> 6]
        return low + (((table[(at >> 6) + 1] - low) * (at & 63) + 32) >> 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.round(x * 32).clamp(-128, 127).long()
        state = torch.zeros(len(x), 8, dtype=torch.long)
        out = []
        for step in q.unbind(1):
            ours = (step @ self.kernel.T + self.bias).chunk(3, 1)
            back = ((state @ self.recurrent.T + 2) >> 2) + self.recurrent_bias
            back = back.chunk(3, 1)
            reset, update = (
                self.read(self.sigmoid, (ours[i] + back[i] + 4) >> 3) for i in range(2)
            )
            gated = (reset * back[2] + 2**14) >> 15
            new = self.read(self.tanh, (ours[2] + gated + 4) >> 3)
            mixed = new + ((update * ((state << 8) - new) + 2**14) >> 15)
            state = ((mixed + 128) >> 8).clamp(-128, 127)
            out.append(state)
        return torch.stack(out, 1).float() / 128


def build_integer_gru() -> Built:
    return IntegerGru().eval(), inputs(202, 3, 12, 5, scale=1.8)


def integer_gru(
    model: Any,
    x: np.ndarray,
    interpolated: bool = True,
    half: int = 128,
    wrapped: bool = False,
    kept_state: bool = False,
    update_first: bool = False,
) -> np.ndarray:
    w = weights_of(model)

    def value(table: np.ndarray, at: np.ndarray) -> np.ndarray:
        at = np.clip(at, -2048, 2047) + 2048
        low = table[at >> 6]
        return low + (((table[(at >> 6) + 1] - low) * (at & 63) + 32) >> 6) * interpolated

    def shifted(at: np.ndarray, bits: int) -> np.ndarray:
        return (at + (1 << bits >> 1)) >> bits

    q = np.rint(x * np.float32(32)).astype(int)
    q = (q + 128) % 256 - 128 if wrapped else np.clip(q, -128, 127)
    kernel, recurrent = w["kernel"], w["recurrent"]
    out = np.zeros((*x.shape[:2], 8))
    state = np.zeros(8, int)
    for b in range(len(x)):
        if not kept_state:
            state = np.zeros(8, int)
        for t in range(x.shape[1]):
            i = q[b, t] @ kernel.T + w["bias"]
            h = shifted(state @ recurrent.T, 2) + w["recurrent_bias"]
            one, two = (
                value(w["sigmoid"], shifted(i[s] + h[s], 3)) for s in (np.s_[:8], np.s_[8:16])
            )
            r, z = (two, one) if update_first else (one, two)
            g = shifted(r * h[16:], 15)
            n = value(w["tanh"], shifted(i[16:] + g, 3))
            mixed = n + shifted(z * ((state << 8) - n), 15)
            state = np.clip((mixed + half) >> 8, -128, 127)
            out[b, t] = state
    return out / 128


INTEGER_GRU = Case(
    "fourth_integer_gru",
    build_integer_gru,
    "",
    integer_gru,
    {
        "tables_without_interpolation": Mistake(
            partial(integer_gru, interpolated=False),
            "The sigmoid and tanh tables are read at the lower entry, where the layer "
            "interpolates with the six bits that remain.",
        ),
        "state_cut_off": Mistake(
            partial(integer_gru, half=0),
            "The new state is shifted down to eight bits without adding a half first, so it is "
            "rounded towards minus infinity; it should be rounded.",
        ),
        "input_wraps_around": Mistake(
            partial(integer_gru, wrapped=True),
            "Inputs beyond the range of int8 wrap around in the cast, where the quantiser "
            "saturates them at -128 and 127.",
        ),
        "state_of_last_recording": Mistake(
            partial(integer_gru, kept_state=True),
            "The state is not cleared between recordings, so each one starts from the end of the "
            "previous; all should start from zero.",
        ),
        "gates_in_keras_order": Mistake(
            partial(integer_gru, update_first=True),
            "The first third of the rows is read as the update gate, as Keras stores it, where it "
            "is the reset gate.",
        ),
    },
)


class IntegerLayerNorm(nn.Module):
    """A layer norm of int8 values, in integers alone."""

    def __init__(self, size: int = 24) -> None:
        super().__init__()
        rng = np.random.default_rng(211)
        self.register_buffer("gain", torch.from_numpy(rng.integers(40, 127, size)))
        self.register_buffer("bias", rounded(rng, 30, size) * 128)

    @staticmethod
    def root(x: torch.Tensor) -> torch.Tensor:
        """The integer part of the square root, bit by bit."""
        found = torch.zeros_like(x)
        for bit in range(15, -1, -1):
            trial = found + (1 << bit)
            found = torch.where(trial * trial <= x, trial, found)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.round(x * 16).clamp(-128, 127).long()
        n = q.shape[-1]
        mean = torch.div(2 * q.sum(-1, keepdim=True) + n, 2 * n, rounding_mode="floor")
        centred = q - mean
        spread = (centred * centred).sum(-1, keepdim=True)
        deviation = self.root((spread << 8) // n).clamp(min=1)
        normal = (centred * (2**20 // deviation) + 128) >> 8
        y = (normal * self.gain + self.bias + 256) >> 9
        return y.clamp(-128, 127).float() / 32


def build_integer_layer_norm() -> Built:
    return IntegerLayerNorm().eval(), inputs(212, 6, 10, 24, scale=0.5, shift=0.3)


def integer_layer_norm(
    model: Any,
    x: np.ndarray,
    truncated_mean: bool = False,
    root_bits: int = 8,
    wrapped: bool = False,
    count: int = 24,
    last: int = 256,
) -> np.ndarray:
    w = weights_of(model)
    q = np.clip(np.rint(x * np.float32(16)), -128, 127).astype(int)
    total = q.sum(-1, keepdims=True)
    mean = np.trunc(total / 24).astype(int) if truncated_mean else (2 * total + 24) // 48
    centred = q - mean
    spread = (centred * centred).sum(-1, keepdims=True)
    deviation = np.floor(np.sqrt((spread << root_bits) // count)).astype(int)
    deviation = np.maximum(deviation << (8 - root_bits) // 2, 1)
    normal = (centred * (2**20 // deviation) + 128) >> 8
    y = (normal * w["gain"] + w["bias"] + last) >> 9
    y = (y + 128) % 256 - 128 if wrapped else np.clip(y, -128, 127)
    return y / 32


INTEGER_LAYER_NORM = Case(
    "fourth_integer_layer_norm",
    build_integer_layer_norm,
    "",
    integer_layer_norm,
    {
        "mean_towards_zero": Mistake(
            partial(integer_layer_norm, truncated_mean=True),
            "The mean is an integer division of C, which cuts towards zero, where the layer "
            "rounds it to the nearest integer.",
        ),
        "root_of_whole_variance": Mistake(
            partial(integer_layer_norm, root_bits=0),
            "The square root is taken of the whole variance and shifted afterwards, losing the "
            "four fractional bits that the layer keeps.",
        ),
        "output_wraps_around": Mistake(
            partial(integer_layer_norm, wrapped=True),
            "The result is cast to int8 and wraps around where it is too large, instead of being "
            "saturated at -128 and 127.",
        ),
        "channels_of_a_shift": Mistake(
            partial(integer_layer_norm, count=32),
            "The variance is divided by 32, the next power of two, so that a shift would do; "
            "there are 24 channels.",
        ),
        "last_shift_cuts": Mistake(
            partial(integer_layer_norm, last=0),
            "The last shift by nine bits cuts the fraction off, where a half is to be added first "
            "to round it.",
        ),
    },
)


class OrderedFourBitLinear(nn.Module):
    """A linear layer of GPTQ with activation order: each input row names its group."""

    def __init__(self, size: int = 32, outputs: int = 24, groups: int = 4) -> None:
        super().__init__()
        rng = np.random.default_rng(221)
        codes = np.clip(np.rint(rng.normal(7.5, 3.2, (size, outputs))), 0, 15).astype(np.int64)
        zeros = rng.integers(5, 9, (groups, outputs))
        shifts = np.arange(8) * 4
        packed = (codes.reshape(size // 8, 8, outputs) << shifts[:, None]).sum(1)
        packed_zeros = (zeros.reshape(groups, outputs // 8, 8) << shifts).sum(2)
        self.register_buffer("qweight", torch.from_numpy(packed.astype(np.uint32).view(np.int32)))
        self.register_buffer(
            "qzeros", torch.from_numpy(packed_zeros.astype(np.uint32).view(np.int32))
        )
        scales = rng.uniform(0.02, 0.12, (groups, outputs)).astype(np.float32)
        self.register_buffer("scales", torch.from_numpy(scales))
        self.register_buffer("g_idx", torch.from_numpy(rng.permutation(size) // (size // groups)))
        self.bias = nn.Parameter(torch.from_numpy(0.3 * rng.standard_normal(outputs)).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shifts = torch.arange(8) * 4
        codes = (self.qweight[:, None] >> shifts[:, None]) & 15
        codes = codes.reshape(-1, self.qweight.shape[1])
        zeros = ((self.qzeros[:, :, None] >> shifts) & 15).reshape(len(self.scales), -1) + 1
        weight = self.scales[self.g_idx] * (codes - zeros[self.g_idx])
        return x @ weight + self.bias


def build_ordered_four_bit_linear() -> Built:
    return OrderedFourBitLinear().eval(), inputs(222, 12, 32)


def ordered_four_bit_linear(
    model: Any,
    x: np.ndarray,
    ordered: bool = True,
    zero: int = 1,
    high_first: bool = False,
    awq_zeros: bool = False,
    interleaved: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    shifts = 4 * np.arange(8)
    words, zeros = w["qweight"].astype(np.int64), w["qzeros"].astype(np.int64)
    codes = words[:, None] >> (shifts[::-1] if high_first else shifts)[:, None] & 15
    if interleaved:
        codes = codes.swapaxes(0, 1)
    codes = codes.reshape(32, -1)
    order = shifts[[0, 4, 1, 5, 2, 6, 3, 7]] if awq_zeros else shifts
    zeros = (zeros[:, :, None] >> order & 15).reshape(4, -1) + zero
    group = w["g_idx"] if ordered else np.arange(32) // 8
    weight = w["scales"][group] * (codes - zeros[group])
    return x @ weight.astype(np.float32) + w["bias"]


ORDERED_FOUR_BIT_LINEAR = Case(
    "fourth_ordered_four_bit_linear",
    build_ordered_four_bit_linear,
    "",
    ordered_four_bit_linear,
    {
        "groups_in_sequence": Mistake(
            partial(ordered_four_bit_linear, ordered=False),
            "Rows are assigned to groups of eight in sequence and g_idx is ignored, where "
            "activation order gives each row its own group.",
        ),
        "zero_points_without_one": Mistake(
            partial(ordered_four_bit_linear, zero=0),
            "The stored zero points are subtracted as they are, but this format stores them less "
            "one, so one must be added.",
        ),
        "highest_bits_first": Mistake(
            partial(ordered_four_bit_linear, high_first=True),
            "The eight codes of a word are unpacked from the highest bits on, where the first row "
            "lies in the lowest four.",
        ),
        "zero_points_of_awq": Mistake(
            partial(ordered_four_bit_linear, awq_zeros=True),
            "The zero points are unpacked in the interleaved order of another format (0, 4, 1, 5, "
            "...), where they lie in plain order.",
        ),
        "words_across_rows": Mistake(
            partial(ordered_four_bit_linear, interleaved=True),
            "The eight codes of a word are spread over rows four apart, where they belong to "
            "eight consecutive rows.",
        ),
    },
)


class SpikingNet(nn.Module):
    """Two layers of leaky integrate-and-fire neurons and a leaky reader, as in snnTorch."""

    def __init__(self, size: int = 6, units: int = 10, classes: int = 4) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(size, units), nn.Linear(units, units)
        self.fc3 = nn.Linear(units, classes)
        self.register_buffer("decay", torch.from_numpy(np.linspace(0.7, 0.95, units)).float())
        self.threshold, self.reader = 0.8, 0.9

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u1 = u2 = torch.zeros(len(x), len(self.decay))
        read, out = torch.zeros(len(x), self.fc3.out_features), []
        for step in x.unbind(1):
            u1 = self.decay * u1 + self.fc1(step) - (u1 > self.threshold) * self.threshold
            s1 = (u1 > self.threshold).float()
            u2 = self.decay * u2 + self.fc2(s1)
            s2 = (u2 > self.threshold).float()
            u2 = u2 * (1 - s2)
            read = self.reader * read + self.fc3(s2)
            out.append(read)
        return torch.stack(out, 1)


def build_spiking_net() -> Built:
    return train_torch(SpikingNet(), 231, gain=1.3), inputs(232, 4, 16, 6)


def spiking_net(
    model: Any,
    x: np.ndarray,
    to_zero_first: bool = False,
    subtracted_second: bool = False,
    at_once: bool = False,
    leaky_input: bool = False,
    late: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    decay, limit = w["decay"], np.float32(0.8)
    u1 = u2 = s1 = np.zeros((len(x), 10), np.float32)
    read, out = np.zeros((len(x), 4), np.float32), []
    for t in range(x.shape[1]):
        current = linear(x[:, t], w["fc1.weight"], w["fc1.bias"])
        if leaky_input:
            current = (1 - decay) * current
        fired = u1 > limit
        if to_zero_first:
            u1 = np.where(fired, 0, decay * u1) + current
        else:
            u1 = decay * u1 + current - (0 if at_once else fired * limit)
        before, s1 = s1, (u1 > limit).astype(np.float32)
        if at_once:
            u1 = u1 - s1 * limit
        u2 = decay * u2 + linear(before if late else s1, w["fc2.weight"], w["fc2.bias"])
        s2 = (u2 > limit).astype(np.float32)
        u2 = u2 - s2 * limit if subtracted_second else u2 * (1 - s2)
        read = read * np.float32(0.9) + linear(s2, w["fc3.weight"], w["fc3.bias"])
        out.append(read)
    return np.stack(out, 1)


SPIKING_NET = Case(
    "fourth_spiking_net",
    build_spiking_net,
    "",
    spiking_net,
    {
        "first_layer_to_zero": Mistake(
            partial(spiking_net, to_zero_first=True),
            "A neuron of the first layer that fired starts again from zero, where the threshold "
            "should be subtracted from its potential.",
        ),
        "second_layer_subtracts": Mistake(
            partial(spiking_net, subtracted_second=True),
            "The second layer subtracts the threshold after a spike like the first, where it "
            "should set the potential to zero.",
        ),
        "reset_in_same_step": Mistake(
            partial(spiking_net, at_once=True),
            "The threshold is subtracted in the step of the spike, before the decay, where the "
            "first layer subtracts it undecayed in the next.",
        ),
        "spikes_one_step_late": Mistake(
            partial(spiking_net, late=True),
            "The second layer gets the spikes of the previous time step, as in a pipeline, where "
            "it should get the present ones.",
        ),
        "input_weighted_by_leak": Mistake(
            partial(spiking_net, leaky_input=True),
            "The input current is multiplied by one minus the decay, as in a moving average, "
            "where the layer adds it whole.",
        ),
    },
)


class StreamingDenoiser(nn.Module):
    """Short-time spectra, gains of bands from a GRU, and overlap-add."""

    def __init__(self, size: int = 16, bands: int = 5, units: int = 8) -> None:
        super().__init__()
        self.size, self.hop = size, size // 2
        window = torch.sqrt(torch.hann_window(size))
        self.register_buffer("window", window)
        edges = np.array([0, 1, 3, 5, 8])
        distance = np.abs(np.arange(9)[:, None] - edges) / np.array([1, 2, 2, 3, 3])
        share = np.maximum(1 - distance, 0)
        share = share / share.sum(1, keepdims=True)
        self.register_buffer("share", torch.from_numpy(share).float())
        self.gru = nn.GRU(bands, units, batch_first=True)
        self.head = nn.Linear(units, bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = x.unfold(1, self.size, self.hop) * self.window
        spectra = torch.fft.rfft(frames)
        energy = spectra.abs().square() @ self.share
        hidden, _ = self.gru(torch.log10(energy + 1e-3))
        gains = torch.sigmoid(self.head(hidden)) @ self.share.T
        frames = torch.fft.irfft(spectra * gains, self.size) * self.window
        out = torch.zeros_like(x)
        for i, frame in enumerate(frames.unbind(1)):
            out[:, i * self.hop : i * self.hop + self.size] += frame
        return out


def build_streaming_denoiser() -> Built:
    return train_torch(StreamingDenoiser(), 241, gain=1.5), inputs(242, 3, 96)


def streaming_denoiser(
    model: Any,
    x: np.ndarray,
    synthesis: bool = True,
    amplitude: bool = False,
    natural: bool = False,
    stale: bool = False,
    stepped: bool = False,
    cleared: int = 0,
) -> np.ndarray:
    w, size, hop = weights_of(model), 16, 8
    angle = 2 * np.pi * np.arange(size) / size
    window = np.sqrt(np.maximum(0.5 - 0.5 * np.cos(angle), 0)).astype(np.float32)
    share = w["share"]
    h, gains = np.zeros((len(x), 8), np.float32), np.ones((len(x), 5), np.float32)
    out = np.zeros_like(x)
    for i in range((x.shape[1] - size) // hop + 1):
        spectrum = np.fft.rfft(x[:, i * hop : i * hop + size] * window)
        energy = (np.abs(spectrum) ** (1 if amplitude else 2)) @ share
        bands = np.log(energy + 1e-3) if natural else np.log10(energy + 1e-3)
        if cleared and i % cleared == 0:
            h = np.zeros_like(h)
        a = linear(bands, w["gru.weight_ih_l0"], w["gru.bias_ih_l0"])
        b = linear(h, w["gru.weight_hh_l0"], w["gru.bias_hh_l0"])
        r, z = sigmoid(a[:, :8] + b[:, :8]), sigmoid(a[:, 8:16] + b[:, 8:16])
        n = np.tanh(a[:, 16:] + r * b[:, 16:])
        h = (1 - z) * n + z * h
        before, gains = gains, sigmoid(linear(h, w["head.weight"], w["head.bias"]))
        used = before if stale else gains
        each = used[:, share.argmax(1)] if stepped else used @ share.T
        frame = np.fft.irfft(spectrum * each, size)
        out[:, i * hop : i * hop + size] += frame * window if synthesis else frame
    return out


STREAMING_DENOISER = Case(
    "fourth_streaming_denoiser",
    build_streaming_denoiser,
    "",
    streaming_denoiser,
    {
        "window_once": Mistake(
            partial(streaming_denoiser, synthesis=False),
            "Frames are windowed before the transform only, where the root window is due a second "
            "time before they are added.",
        ),
        "gains_of_last_frame": Mistake(
            partial(streaming_denoiser, stale=True),
            "Each frame is multiplied by the gains of the frame before (ones at first), where the "
            "gains are its own.",
        ),
        "band_of_nearest": Mistake(
            partial(streaming_denoiser, stepped=True),
            "Every bin takes the gain of the band with most share in it, where the layer "
            "interpolates between neighbouring bands.",
        ),
        "state_cleared_by_block": Mistake(
            partial(streaming_denoiser, cleared=4),
            "The state of the GRU is set to zero at each block of four frames, where it runs on "
            "through the recording.",
        ),
        "natural_logarithm_of_amplitudes": Mistake(
            partial(streaming_denoiser, natural=True, amplitude=True),
            "Bands sum up magnitudes rather than their squares, and their natural logarithm is "
            "taken where the layer takes that to base ten.",
            causes=2,
        ),
    },
)


# Control and science


class FourierLayer(nn.Module):
    """A layer of a Fourier neural operator in two dimensions."""

    def __init__(self, width: int = 5, modes: tuple[int, int] = (3, 4)) -> None:
        super().__init__()
        self.modes = modes
        self.low = nn.Parameter(torch.zeros(width, width, *modes, 2))
        self.high = nn.Parameter(torch.zeros(width, width, *modes, 2))
        self.bypass = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m, n = self.modes
        spectrum = torch.fft.rfft2(x)
        out = torch.zeros_like(spectrum)
        low, high = torch.view_as_complex(self.low), torch.view_as_complex(self.high)
        out[:, :, :m, :n] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :m, :n], low)
        out[:, :, -m:, :n] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -m:, :n], high)
        y = torch.fft.irfft2(out, s=x.shape[-2:])
        return nn.functional.gelu(y + self.bypass(x))


def build_fourier_layer() -> Built:
    return train_torch(FourierLayer(), 301, gain=2.5), inputs(302, 2, 5, 10, 12)


def fourier_layer(
    model: Any,
    x: np.ndarray,
    outputs_first: bool = False,
    negative_rows: bool = True,
    mirrored: bool = False,
    columns: int = 4,
    tanh: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    low, high = (w[name][..., 0] + 1j * w[name][..., 1] for name in ("low", "high"))
    rule = "bixy,oixy->boxy" if outputs_first else "bixy,ioxy->boxy"
    spectrum = np.fft.rfft2(x)
    out = np.zeros_like(spectrum)
    n = columns
    out[:, :, :3, :n] = np.einsum(rule, spectrum[:, :, :3, :n], low[..., :n])
    if negative_rows:
        part = np.einsum(
            rule, spectrum[:, :, -3:, :n], (high[:, :, ::-1] if mirrored else high)[..., :n]
        )
        out[:, :, -3:, :n] = part
    y = np.fft.irfft2(out, s=x.shape[-2:])
    y = y + conv(x, w["bypass.weight"], w["bypass.bias"])
    return gelu_tanh(y) if tanh else gelu(y)


FOURIER_LAYER = Case(
    "fourth_fourier_layer",
    build_fourier_layer,
    "",
    fourier_layer,
    {
        "weights_outputs_first": Mistake(
            partial(fourier_layer, outputs_first=True),
            "The spectral weights are taken as (output, input), like those of a convolution, "
            "where their first axis is the input.",
        ),
        "no_negative_frequencies": Mistake(
            partial(fourier_layer, negative_rows=False),
            "Only the first rows of the spectrum are kept, so negative frequencies of the "
            "vertical axis are dropped; the last rows count, too.",
        ),
        "negative_rows_mirrored": Mistake(
            partial(fourier_layer, mirrored=True),
            "The weights of the negative frequencies are applied in mirrored order, from -1 down "
            "to -3, where they lie from -3 to -1.",
        ),
        "one_mode_fewer": Mistake(
            partial(fourier_layer, columns=3),
            "Only three horizontal frequencies are kept, as if the constant did not count, where "
            "four are kept with the constant.",
        ),
        "gelu_by_tanh": Mistake(
            partial(fourier_layer, tanh=True),
            "GELU is computed by its tanh approximation, where the layer has the exact one with "
            "the error function (inherently small).",
        ),
    },
)


class FlowStep(nn.Module):
    """A step of Glow on vectors: act norm, a mixing matrix and an affine coupling."""

    def __init__(self, size: int = 8, hidden: int = 12) -> None:
        super().__init__()
        self.offset_mean = nn.Parameter(torch.zeros(size))
        self.log_spread = nn.Parameter(torch.zeros(size))
        self.mixing = nn.Parameter(torch.zeros(size, size))
        self.net = nn.Sequential(nn.Linear(size // 2, hidden), nn.ReLU(), nn.Linear(hidden, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x + self.offset_mean) * torch.exp(self.log_spread)
        log_volume = self.log_spread.sum() + torch.linalg.slogdet(self.mixing)[1]
        x = x @ self.mixing.T
        one, two = x.chunk(2, -1)
        shift, scale = self.net(one).unflatten(-1, (-1, 2)).unbind(-1)
        scale = torch.sigmoid(scale + 2)
        two = (two + shift) * scale
        log_volume = log_volume + scale.log().sum(-1, keepdim=True)
        return torch.cat((one, two, log_volume), -1)


def build_flow_step() -> Built:
    return train_torch(FlowStep(), 311), inputs(312, 20, 8)


def flow_step(
    model: Any,
    x: np.ndarray,
    offset: float = 2,
    halves: bool = False,
    scale_first: bool = False,
    transposed: bool = False,
    volume_of_norm: bool = True,
    second_passes: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    x, mixing = (x + w["offset_mean"]) * np.exp(w["log_spread"]), w["mixing"]
    x = x @ (mixing if transposed else mixing.T)
    one, two = np.split(x, 2, -1)
    if second_passes:
        one, two = two, one
    h = relu(linear(one, w["net.0.weight"], w["net.0.bias"]))
    h = linear(h, w["net.2.weight"], w["net.2.bias"])
    shift, scale = (h[:, :4], h[:, 4:]) if halves else (h[:, ::2], h[:, 1::2])
    scale = sigmoid(scale + np.float32(offset))
    two = two * scale + shift if scale_first else (two + shift) * scale
    if second_passes:
        one, two = two, one
    volume = np.linalg.slogdet(mixing)[1] + (w["log_spread"].sum() if volume_of_norm else 0)
    volume = volume + np.log(scale).sum(-1, keepdims=True)
    return np.concatenate((one, two, volume), -1)


FLOW_STEP = Case(
    "fourth_flow_step",
    build_flow_step,
    "",
    flow_step,
    {
        "no_offset_of_scale": Mistake(
            partial(flow_step, offset=0),
            "The scale is the sigmoid of the net's output itself, where two is added first so "
            "that scales begin near one.",
        ),
        "shift_and_scale_in_halves": Mistake(
            partial(flow_step, halves=True),
            "Shifts are read from the first half of the net's outputs and scales from the second, "
            "where they alternate.",
        ),
        "scale_before_shift": Mistake(
            partial(flow_step, scale_first=True),
            "The second half is scaled and then shifted, as in RealNVP, where this step shifts "
            "first and scales the sum.",
        ),
        "other_half_transformed": Mistake(
            partial(flow_step, second_passes=True),
            "The first half is transformed by a net of the second, where the first half passes "
            "and conditions the second.",
        ),
        "mixing_transposed_and_volume": Mistake(
            partial(flow_step, transposed=True, volume_of_norm=False),
            "The mixing matrix is multiplied untransposed, x W instead of x W^T, and the act "
            "norm's part of the log volume is left out.",
            causes=2,
        ),
    },
)


class SplineFlow(nn.Module):
    """Monotone rational-quadratic splines (Durkan et al.), linear outside of [-3, 3]."""

    def __init__(self, size: int = 5, context: int = 4, bins: int = 6) -> None:
        super().__init__()
        self.bins, self.bound, self.least = bins, 3.0, 0.02
        self.net = nn.Linear(context, size * (3 * bins - 1))

    def knots(self, x: torch.Tensor) -> torch.Tensor:
        share = self.least + (1 - self.least * self.bins) * torch.softmax(x, -1)
        edges = nn.functional.pad(torch.cumsum(share, -1), (1, 0))
        edges = 2 * self.bound * edges - self.bound
        edges[..., -1] = self.bound
        return edges

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        k = self.bins
        p = self.net(context).unflatten(-1, (x.shape[-1], 3 * k - 1))
        wide, high = self.knots(p[..., :k]), self.knots(p[..., k : 2 * k])
        slopes = self.least + nn.functional.softplus(p[..., 2 * k :])
        slopes = nn.functional.pad(slopes, (1, 1), value=1.0)
        inside = x.clamp(-self.bound, self.bound)[..., None]
        at = (inside >= wide[..., :-1]).sum(-1, keepdim=True) - 1
        x0, x1 = wide.gather(-1, at), wide.gather(-1, at + 1)
        y0, y1 = high.gather(-1, at), high.gather(-1, at + 1)
        d0, d1 = slopes.gather(-1, at), slopes.gather(-1, at + 1)
        steep = (y1 - y0) / (x1 - x0)
        t = (inside - x0) / (x1 - x0)
        over = (y1 - y0) * (steep * t * t + d0 * t * (1 - t))
        under = steep + (d0 + d1 - 2 * steep) * t * (1 - t)
        y = (y0 + over / under)[..., 0]
        return torch.where(x.abs() <= self.bound, y, x)


def build_spline_flow() -> Built:
    x = (inputs(322, 24, 5, scale=1.3), inputs(323, 24, 4))
    return train_torch(SplineFlow(), 321, gain=1.4), x


def spline_flow(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    least: float = 0.02,
    slope_shift: int = 0,
    clipped: bool = False,
    edge_slope: float = 1.0,
    heights_first: bool = False,
) -> np.ndarray:
    w, (x, context) = weights_of(model), x
    k, bound = 6, 3.0
    p = linear(context, w["net.weight"], w["net.bias"]).astype(np.float64)
    p = p.reshape(*x.shape, 3 * k - 1)

    def knots(part: np.ndarray) -> np.ndarray:
        share = least + (1 - least * k) * softmax(part)
        edges = np.cumsum(share, -1) * 2 * bound - bound
        edges = np.concatenate((np.full((*x.shape, 1), -bound), edges), -1)
        edges[..., -1] = bound
        return edges

    wide, high = knots(p[..., :k]), knots(p[..., k : 2 * k])
    if heights_first:
        wide, high = high, wide
    slopes = 0.02 + np.logaddexp(0, p[..., 2 * k :])
    slopes = np.pad(slopes, ((0, 0), (0, 0), (1, 1)), constant_values=edge_slope)
    inside = np.clip(x, -bound, bound)[..., None]
    at = (inside >= wide[..., :-1]).sum(-1, keepdims=True) - 1

    def value(table: np.ndarray, step: int) -> np.ndarray:
        return np.take_along_axis(table, np.minimum(at + step, k), -1)

    x0, x1, y0, y1 = value(wide, 0), value(wide, 1), value(high, 0), value(high, 1)
    d0, d1 = value(slopes, slope_shift), value(slopes, slope_shift + 1)
    steep, t = (y1 - y0) / (x1 - x0), (inside - x0) / (x1 - x0)
    over = (y1 - y0) * (steep * t * t + d0 * t * (1 - t))
    under = steep + (d0 + d1 - 2 * steep) * t * (1 - t)
    y = (y0 + over / under)[..., 0]
    return y if clipped else np.where(np.abs(x) <= bound, y, x)


SPLINE_FLOW = Case(
    "fourth_spline_flow",
    build_spline_flow,
    "",
    spline_flow,
    {
        "no_least_width": Mistake(
            partial(spline_flow, least=0.0),
            "Bin widths and heights are the plain softmax, where each share is at least 0.02 and "
            "the softmax divides the rest.",
        ),
        "slopes_one_further": Mistake(
            partial(spline_flow, slope_shift=1),
            "The slopes at both ends of a bin are read one knot further on, where slope i belongs "
            "to knot i.",
        ),
        "tails_clipped": Mistake(
            partial(spline_flow, clipped=True),
            "Values outside of the interval get the value of its end, where the transformation is "
            "the identity there.",
        ),
        "boundary_slope_of_zero_logit": Mistake(
            partial(spline_flow, edge_slope=0.02 + float(np.log(2))),
            "The slope at the outermost knots comes from a zero logit through the softplus "
            "(0.71), where it must be exactly one.",
        ),
        "inverse_knots": Mistake(
            partial(spline_flow, heights_first=True),
            "The first third of the parameters is taken as heights and the second as widths, "
            "where widths come first.",
        ),
    },
)


class DecayingGru(nn.Module):
    """GRU-D: missing readings of sensors decay from the last one to the mean, states decay too."""

    def __init__(self, size: int = 5, units: int = 7) -> None:
        super().__init__()
        self.register_buffer("reading_mean", torch.zeros(size))
        self.input_rate = nn.Parameter(torch.zeros(size))
        self.input_bias = nn.Parameter(torch.zeros(size))
        self.state_decay = nn.Linear(size, units)
        self.cell = nn.GRUCell(2 * size, units)

    def forward(self, x: torch.Tensor, seen: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(len(x), self.cell.hidden_size)
        last = self.reading_mean.expand(len(x), -1)
        gap = torch.zeros_like(x[:, 0])
        out = []
        for t in range(x.shape[1]):
            if t:
                passed = (times[:, t] - times[:, t - 1])[:, None]
                gap = passed + (1 - seen[:, t - 1]) * gap
            fade = torch.exp(-torch.relu(self.input_rate * gap + self.input_bias))
            guess = fade * last + (1 - fade) * self.reading_mean
            now = seen[:, t] * x[:, t] + (1 - seen[:, t]) * guess
            last = torch.where(seen[:, t] > 0, x[:, t], last)
            state = torch.exp(-torch.relu(self.state_decay(gap))) * state
            state = self.cell(torch.cat((now, seen[:, t]), 1), state)
            out.append(state)
        return torch.stack(out, 1)


def build_decaying_gru() -> Built:
    rng = np.random.default_rng(332)
    seen = (rng.random((4, 11, 5)) < 0.5).astype(np.float32)
    times = np.cumsum(rng.exponential(0.7, (4, 11)), 1).astype(np.float32)
    model = train_torch(DecayingGru(), 331, gain=1.2)
    return model, (inputs(333, 4, 11, 5, shift=0.4) * seen, seen, times)


def decaying_gru(
    model: Any,
    x: tuple[np.ndarray, ...],
    gap_of_now: bool = False,
    steps: bool = False,
    imputed_last: bool = False,
    mask_first: bool = False,
    state_after: bool = False,
    accumulated: bool = True,
) -> np.ndarray:
    w, (x, seen, times) = weights_of(model), x
    mean, state = w["reading_mean"], np.zeros((len(x), 7), np.float32)
    last, gap = np.broadcast_to(mean, x[:, 0].shape), np.zeros_like(x[:, 0])
    out = []
    for t in range(x.shape[1]):
        m = seen[:, t]
        if t:
            passed = np.float32(1) if steps else (times[:, t] - times[:, t - 1])[:, None]
            before = m if gap_of_now else seen[:, t - 1]
            gap = passed + (1 - before) * gap * accumulated
        rate = relu(w["input_rate"] * gap + w["input_bias"])
        fade = np.exp(-rate)
        now = m * x[:, t] + (1 - m) * (fade * last + (1 - fade) * mean)
        last = now if imputed_last else np.where(m > 0, x[:, t], last)
        decay = np.exp(-relu(linear(gap, w["state_decay.weight"], w["state_decay.bias"])))
        if not state_after:
            state = decay * state
        a = np.concatenate((m, now) if mask_first else (now, m), 1)
        a = linear(a, w["cell.weight_ih"], w["cell.bias_ih"])
        b = linear(state, w["cell.weight_hh"], w["cell.bias_hh"])
        r, z = sigmoid(a[:, :7] + b[:, :7]), sigmoid(a[:, 7:14] + b[:, 7:14])
        n = np.tanh(a[:, 14:] + r * b[:, 14:])
        state = (1 - z) * n + z * state
        if state_after:
            state = decay * state
        out.append(state)
    return np.stack(out, 1)


DECAYING_GRU = Case(
    "fourth_decaying_gru",
    build_decaying_gru,
    "",
    decaying_gru,
    {
        "gap_ends_with_present_reading": Mistake(
            partial(decaying_gru, gap_of_now=True),
            "The time since the last reading is restarted by the present step's mask, where the "
            "mask of the step before decides.",
        ),
        "time_in_steps": Mistake(
            partial(decaying_gru, steps=True),
            "Every step counts as one unit of time, where the gap is the difference of the "
            "recorded times.",
        ),
        "filled_value_remembered": Mistake(
            partial(decaying_gru, imputed_last=True),
            "The imputed value is remembered as the last reading, so it decays again and again; "
            "only real readings should be.",
        ),
        "state_decayed_afterwards": Mistake(
            partial(decaying_gru, state_after=True),
            "The state is decayed after the cell and put out so, where it should be decayed "
            "before the cell reads it.",
        ),
        "mask_first_and_short_gaps": Mistake(
            partial(decaying_gru, mask_first=True, accumulated=False),
            "The mask comes before the readings in the cell's input, where it is after them, and "
            "gaps do not add up over missing steps.",
            causes=2,
        ),
    },
)


class SensorAttention(nn.Module):
    """Sensors that may fail, pooled by a learned query of each head."""

    def __init__(self, sensors: int = 7, size: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.identity = nn.Embedding(sensors, size)
        self.value_in = nn.Linear(2, size)
        self.norm = nn.LayerNorm(size)
        self.query = nn.Parameter(torch.zeros(heads, size // heads))
        self.key, self.value = nn.Linear(size, size), nn.Linear(size, size)
        self.out = nn.Linear(size, size)

    def forward(self, x: torch.Tensor, works: torch.Tensor) -> torch.Tensor:
        h = self.value_in(x) + self.identity.weight
        h = self.norm(h)
        k = self.key(h).unflatten(-1, (self.heads, -1))
        v = self.value(h).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("bshd,hd->bhs", k, self.query) / k.shape[-1] ** 0.5
        scores = scores.masked_fill(~works[:, None], float("-inf"))
        pooled = torch.einsum("bhs,bshd->bhd", torch.softmax(scores, -1), v).flatten(1)
        count = works.sum(1, keepdim=True)
        mean = (h * works[..., None]).sum(1) / count
        return mean + self.out(pooled)


def build_sensor_attention() -> Built:
    works = np.random.default_rng(342).random((14, 7)) < 0.6
    works[:, 2] = True
    model = train_torch(SensorAttention(), 341, gain=1.3)
    model.query.data.mul_(3)
    return model, (inputs(343, 14, 7, 2), works)


def sensor_attention(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    scale: float = 4**-0.5,
    masked: str = "before",
    mean_of_all: bool = False,
    identity_after: bool = False,
) -> np.ndarray:
    w, (x, works) = weights_of(model), x
    h = linear(x, w["value_in.weight"], w["value_in.bias"])
    if not identity_after:
        h = h + w["identity.weight"]
    h = layer_norm(h, w["norm.weight"], w["norm.bias"])
    if identity_after:
        h = h + w["identity.weight"]
    k, v = (linear(h, w[f"{n}.weight"], w[f"{n}.bias"]) for n in ("key", "value"))
    k, v = (y.reshape(*y.shape[:2], 3, 4) for y in (k, v))
    scores = np.einsum("bshd,hd->bhs", k, w["query"]) * np.float32(scale)
    if masked == "before":
        scores = np.where(works[:, None], scores, -np.inf)
    weights = softmax(scores)
    if masked == "after":
        weights = weights * works[:, None]
    elif masked == "zero":
        weights = softmax(scores * works[:, None])
    pooled = np.einsum("bhs,bshd->bhd", weights, v).reshape(len(x), -1)
    if mean_of_all:
        mean = h.mean(1)
    else:
        mean = (h * works[..., None]).sum(1) / works.sum(1, keepdims=True)
    return mean + linear(pooled, w["out.weight"], w["out.bias"])


SENSOR_ATTENTION = Case(
    "fourth_sensor_attention",
    build_sensor_attention,
    "",
    sensor_attention,
    {
        "root_of_whole_size": Mistake(
            partial(sensor_attention, scale=12**-0.5),
            "Scores are divided by the root of the whole width 12, where they are divided by that "
            "of a head's four channels.",
        ),
        "failed_sensors_zeroed_late": Mistake(
            partial(sensor_attention, masked="after"),
            "Weights of failed sensors are set to zero after the softmax, so the others do not "
            "sum to one; scores should be masked before.",
        ),
        "failed_scores_zero": Mistake(
            partial(sensor_attention, masked="zero"),
            "Scores of failed sensors are multiplied by zero before the softmax and still get "
            "weight; they should be minus infinity.",
        ),
        "mean_of_all_sensors": Mistake(
            partial(sensor_attention, mean_of_all=True),
            "The residual mean counts all seven sensors, where only the sensors that work are "
            "averaged.",
        ),
        "identity_behind_norm": Mistake(
            partial(sensor_attention, identity_after=True),
            "The embedding of each sensor is added after the layer norm, where it is added to the "
            "readings before it.",
        ),
    },
)


class BurgersResidual(nn.Module):
    """A field u(x, t) of a tanh network and its residual u_t + u u_x - v u_xx, by forward jets."""

    def __init__(self, hidden: int = 10, depth: int = 3) -> None:
        super().__init__()
        sizes = [2] + [hidden] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(hidden, 1)
        self.register_buffer("centre", torch.tensor([0.5, 1.0]))
        self.register_buffer("spread", torch.tensor([0.6, 1.5]))
        self.viscosity = 0.05

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        u = (points - self.centre) / self.spread
        dx = torch.tensor([1.0, 0.0]).expand_as(u) / self.spread
        dt = torch.tensor([0.0, 1.0]).expand_as(u) / self.spread
        dxx = torch.zeros_like(u)
        for layer in self.layers:
            u, dx, dt, dxx = (
                layer(u),
                dx @ layer.weight.T,
                dt @ layer.weight.T,
                dxx @ layer.weight.T,
            )
            u = torch.tanh(u)
            slope = 1 - u * u
            dxx = slope * dxx - 2 * u * slope * dx * dx
            dx, dt = slope * dx, slope * dt
        u = self.head(u)
        dx, dt, dxx = (d @ self.head.weight.T for d in (dx, dt, dxx))
        return torch.cat((u, dt + u * dx - self.viscosity * dxx), -1)


def build_burgers_residual() -> Built:
    points = np.random.default_rng(352).uniform([0, 0], [1, 2], (60, 2)).astype(np.float32)
    return train_torch(BurgersResidual(), 351, gain=1.3), points


def burgers_residual(
    model: Any,
    x: np.ndarray,
    curvature: bool = True,
    chain: int = 1,
    sign: float = -1,
    updated_first: bool = False,
    swapped: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    u = (x - w["centre"]) / w["spread"]
    seeds = np.eye(2, dtype=np.float32) / w["spread"] ** chain
    dx, dt = (np.tile(seed, (len(x), 1)) for seed in (seeds[::-1] if swapped else seeds))
    dxx = np.zeros_like(u)
    for i in range(3):
        weight = w[f"layers.{i}.weight"]
        u = np.tanh(linear(u, weight, w[f"layers.{i}.bias"]))
        dx, dt, dxx = dx @ weight.T, dt @ weight.T, dxx @ weight.T
        slope = 1 - u * u
        if updated_first:
            dx = slope * dx
        dxx = slope * dxx - (2 * u * slope * dx * dx if curvature else 0)
        dx, dt = dx if updated_first else slope * dx, slope * dt
    u = linear(u, w["head.weight"], w["head.bias"])
    dx, dt, dxx = (d @ w["head.weight"].T for d in (dx, dt, dxx))
    return np.concatenate((u, dt + u * dx + sign * 0.05 * dxx), -1)


BURGERS_RESIDUAL = Case(
    "fourth_burgers_residual",
    build_burgers_residual,
    "",
    burgers_residual,
    {
        "curvature_of_tanh": Mistake(
            partial(burgers_residual, curvature=False),
            "The second derivative is only multiplied by the slope of tanh; the term of its "
            "curvature times the squared first derivative is missing.",
        ),
        "input_scaling_without_chain": Mistake(
            partial(burgers_residual, chain=0),
            "Derivatives are those by the normalised coordinates, where the chain rule divides "
            "each by the spread of its coordinate.",
        ),
        "diffusion_added": Mistake(
            partial(burgers_residual, sign=1),
            "The viscous term is added to the residual, where Burgers' equation has it with a "
            "minus sign on this side.",
        ),
        "slope_before_square": Mistake(
            partial(burgers_residual, updated_first=True),
            "The first derivative is multiplied by the slope before it is squared for the second, "
            "where the one before tanh is squared.",
        ),
        "time_and_place_exchanged": Mistake(
            partial(burgers_residual, swapped=True),
            "The first coordinate is derived by as time and the second as place, where points are "
            "given as place and time.",
        ),
    },
)


class RungeKuttaNet(nn.Module):
    """A neural differential equation of a controlled system, solved by classic Runge-Kutta."""

    def __init__(self, size: int = 4, controls: int = 2, hidden: int = 10, steps: int = 3) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size + controls + 1, hidden)
        self.fc2 = nn.Linear(hidden, size)
        self.steps, self.period = steps, 3.0

    def slope(self, x: torch.Tensor, u: torch.Tensor, time: float) -> torch.Tensor:
        clock = torch.full_like(x[:, :1], time)
        y = torch.nn.functional.silu(self.fc1(torch.cat((x, u, clock), 1)))
        return self.fc2(y) - 0.9 * x

    def forward(self, x: torch.Tensor, controls: torch.Tensor) -> torch.Tensor:
        dt = self.period / self.steps
        out = []
        for i, u in enumerate(controls.unbind(1)):
            for j in range(self.steps):
                t = i * self.period + j * dt
                k1 = self.slope(x, u, t)
                k2 = self.slope(x + dt / 2 * k1, u, t + dt / 2)
                k3 = self.slope(x + dt / 2 * k2, u, t + dt / 2)
                k4 = self.slope(x + dt * k3, u, t + dt)
                x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            out.append(x)
        return torch.stack(out, 1)


def build_runge_kutta_net() -> Built:
    x = (inputs(362, 6, 4), inputs(363, 6, 5, 2))
    return train_torch(RungeKuttaNet(), 361, gain=1.6), x


def runge_kutta_net(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    euler: bool = False,
    stopped_clock: bool = False,
    weights: tuple[float, ...] = (1, 2, 2, 1),
    steps: int = 3,
    late_control: bool = False,
    last_half: bool = False,
) -> np.ndarray:
    w, (x, controls) = weights_of(model), x
    dt = np.float32(3.0 / steps)

    def slope(x: np.ndarray, u: np.ndarray, time: float) -> np.ndarray:
        clock = np.full_like(x[:, :1], time)
        y = silu(linear(np.concatenate((x, u, clock), 1), w["fc1.weight"], w["fc1.bias"]))
        return linear(y, w["fc2.weight"], w["fc2.bias"]) - np.float32(0.9) * x

    out = []
    for i in range(controls.shape[1]):
        u = controls[:, max(i - late_control, 0)]
        for j in range(steps):
            t = i * 3.0 + j * dt
            half, end = (t, t) if stopped_clock else (t + dt / 2, t + dt)
            k1 = slope(x, u, t)
            k2 = slope(x + dt / 2 * k1, u, half)
            k3 = slope(x + dt / 2 * k2, u, half)
            k4 = slope(x + (dt / 2 if last_half else dt) * k3, u, end)
            parts = sum(n * k for n, k in zip(weights, (k1, k2, k3, k4), strict=True))
            x = x + dt * (k1 if euler else parts / np.float32(sum(weights)))
        out.append(x)
    return np.stack(out, 1)


RUNGE_KUTTA_NET = Case(
    "fourth_runge_kutta_net",
    build_runge_kutta_net,
    "",
    runge_kutta_net,
    {
        "euler_steps": Mistake(
            partial(runge_kutta_net, euler=True),
            "Each step is an explicit Euler step with the slope at its start, where the layer "
            "takes four slopes of Runge-Kutta.",
        ),
        "clock_stands_still": Mistake(
            partial(runge_kutta_net, stopped_clock=True),
            "All four slopes see the time at the step's start, where the middle ones see half a "
            "step more and the last a step.",
        ),
        "equal_weights": Mistake(
            partial(runge_kutta_net, weights=(1, 1, 1, 1)),
            "The four slopes are averaged equally, where the two in the middle count twice and "
            "the sum is divided by six.",
        ),
        "last_slope_at_half": Mistake(
            partial(runge_kutta_net, last_half=True),
            "The fourth slope is taken at half a step along the third, where it is taken at the "
            "whole step.",
        ),
        "control_one_period_late": Mistake(
            partial(runge_kutta_net, late_control=True, steps=2),
            "The control of the period before is still applied, where the present one should be, "
            "and two steps are made per period instead of three.",
            causes=2,
        ),
    },
)


class ClosedFormCell(nn.Module):
    """A closed-form continuous-time cell (CfC) over irregular readings."""

    def __init__(self, size: int = 4, units: int = 6, backbone: int = 9) -> None:
        super().__init__()
        self.backbone = nn.Linear(size + units, backbone)
        self.ff1, self.ff2 = nn.Linear(backbone, units), nn.Linear(backbone, units)
        self.time_a, self.time_b = nn.Linear(backbone, units), nn.Linear(backbone, units)

    def forward(self, x: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(len(x), self.ff1.out_features)
        out = []
        for t in range(x.shape[1]):
            h = self.backbone(torch.cat((x[:, t], state), 1))
            h = 1.7159 * torch.tanh(0.666 * h)
            one, two = torch.tanh(self.ff1(h)), torch.tanh(self.ff2(h))
            gate = torch.sigmoid(self.time_a(h) * spans[:, t, None] + self.time_b(h))
            state = one * (1 - gate) + gate * two
            out.append(state)
        return torch.stack(out, 1)


def build_closed_form_cell() -> Built:
    spans = np.random.default_rng(372).exponential(1.5, (5, 9)).astype(np.float32)
    return train_torch(ClosedFormCell(), 371, gain=1.4), (inputs(373, 5, 9, 4), spans)


def closed_form_cell(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    plain_tanh: bool = False,
    absolute: bool = False,
    negative: float = 1,
    state_first: bool = False,
    next_span: bool = False,
) -> np.ndarray:
    w, (x, spans) = weights_of(model), x
    if absolute:
        spans = np.cumsum(spans, 1)
    if next_span:
        spans = np.roll(spans, -1, 1)
    state, out = np.zeros((len(x), 6), np.float32), []

    def dense(name: str, h: np.ndarray) -> np.ndarray:
        return linear(h, w[f"{name}.weight"], w[f"{name}.bias"])

    for t in range(x.shape[1]):
        parts = (state, x[:, t]) if state_first else (x[:, t], state)
        h = dense("backbone", np.concatenate(parts, 1))
        h = np.tanh(h) if plain_tanh else np.float32(1.7159) * np.tanh(np.float32(0.666) * h)
        one, two = np.tanh(dense("ff1", h)), np.tanh(dense("ff2", h))
        gate = dense("time_a", h) * (negative * spans[:, t, None]) + dense("time_b", h)
        gate = sigmoid(gate)
        state = one * (1 - gate) + gate * two
        out.append(state)
    return np.stack(out, 1)


CLOSED_FORM_CELL = Case(
    "fourth_closed_form_cell",
    build_closed_form_cell,
    "",
    closed_form_cell,
    {
        "plain_tanh": Mistake(
            partial(closed_form_cell, plain_tanh=True),
            "The backbone's activation is the plain tanh, where it is LeCun's 1.7159 tanh(0.666 "
            "x).",
        ),
        "time_since_start": Mistake(
            partial(closed_form_cell, absolute=True),
            "The gate gets the time since the recording began, where it should get the span since "
            "the reading before.",
        ),
        "state_before_reading": Mistake(
            partial(closed_form_cell, state_first=True),
            "The state is put before the reading in the backbone's input, where the reading comes "
            "first.",
        ),
        "span_negated": Mistake(
            partial(closed_form_cell, negative=-1),
            "The span has a minus sign in the gate, as in the paper's equation, where the code "
            "adds the product.",
        ),
        "span_of_next_reading": Mistake(
            partial(closed_form_cell, next_span=True),
            "Each reading gets the span to the reading that follows, where it gets that since the "
            "one before.",
        ),
    },
)


# Reinforcement learning, losses and statistics


class NoisyLinear(nn.Module):
    """A linear layer of means, and of deviations whose noise is used in training alone."""

    def __init__(self, size: int, outputs: int) -> None:
        super().__init__()
        self.weight_mu = nn.Parameter(torch.zeros(outputs, size))
        self.weight_sigma = nn.Parameter(torch.zeros(outputs, size))
        self.bias_mu = nn.Parameter(torch.zeros(outputs))
        self.bias_sigma = nn.Parameter(torch.zeros(outputs))
        rng = np.random.default_rng(400 + outputs)
        for name, shape in (("weight_epsilon", (outputs, size)), ("bias_epsilon", (outputs,))):
            self.register_buffer(name, torch.from_numpy(rng.standard_normal(shape)).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight_mu, self.bias_mu
        if self.training:
            weight = weight + self.weight_sigma * self.weight_epsilon
            bias = bias + self.bias_sigma * self.bias_epsilon
        return nn.functional.linear(x, weight, bias)


class DistributionalDuel(nn.Module):
    """The head of Rainbow: duelling streams, a distribution of returns and its mean."""

    def __init__(self, size: int = 8, actions: int = 4, atoms: int = 11) -> None:
        super().__init__()
        self.actions, self.atoms = actions, atoms
        self.value = NoisyLinear(size, atoms)
        self.advantage = NoisyLinear(size, actions * atoms)
        self.register_buffer("support", torch.linspace(-4, 6, atoms))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = self.value(x)[:, None]
        advantage = self.advantage(x).view(-1, self.actions, self.atoms)
        chances = torch.softmax(value + advantage - advantage.mean(1, keepdim=True), 2)
        return (chances * self.support).sum(2)


def build_distributional_duel() -> Built:
    return train_torch(DistributionalDuel(), 401, gain=1.6), inputs(402, 30, 8)


def distributional_duel(
    model: Any,
    x: np.ndarray,
    noisy: bool = False,
    centre: str = "actions",
    atoms_first: bool = False,
    support: tuple[float, float, bool] = (-4, 6, True),
) -> np.ndarray:
    w = weights_of(model)

    def dense(name: str) -> np.ndarray:
        weight, bias = w[f"{name}.weight_mu"], w[f"{name}.bias_mu"]
        if noisy:
            weight = weight + w[f"{name}.weight_sigma"] * w[f"{name}.weight_epsilon"]
            bias = bias + w[f"{name}.bias_sigma"] * w[f"{name}.bias_epsilon"]
        return linear(x, weight, bias)

    value, advantage = dense("value")[:, None], dense("advantage")
    if atoms_first:
        advantage = advantage.reshape(-1, 11, 4).swapaxes(1, 2)
    advantage = advantage.reshape(-1, 4, 11)
    if centre == "largest":
        middle = advantage.max(1, keepdims=True)
    else:
        middle = advantage.mean(2 if centre == "atoms" else 1, keepdims=True)
    chances = softmax(value + advantage - middle)
    low, high, closed = support
    return (chances * np.linspace(low, high, 11, endpoint=closed)).sum(2)


DISTRIBUTIONAL_DUEL = Case(
    "fourth_distributional_duel",
    build_distributional_duel,
    "",
    distributional_duel,
    {
        "noise_when_acting": Mistake(
            partial(distributional_duel, noisy=True),
            "The noise of training is added to the weights when the net is evaluated, where only "
            "the means are to be used.",
        ),
        "centred_over_atoms": Mistake(
            partial(distributional_duel, centre="atoms"),
            "Advantages are centred over the atoms of each action, which the softmax cancels, "
            "where the mean over actions is subtracted.",
        ),
        "best_action_subtracted": Mistake(
            partial(distributional_duel, centre="largest"),
            "The largest advantage of each atom is subtracted, the paper's other variant, where "
            "the mean over actions is.",
        ),
        "atoms_before_actions": Mistake(
            partial(distributional_duel, atoms_first=True),
            "The advantage stream is unfolded as (atom, action), where actions come first and "
            "atoms vary fastest.",
        ),
        "open_support": Mistake(
            partial(distributional_duel, support=(-4, 6, False)),
            "The spacing of returns is their range over eleven atoms, so that 6 is left out, "
            "where it is over ten intervals.",
        ),
    },
)


class SquashedPolicy(nn.Module):
    """The actor of soft actor-critic: an action for given noise, and its log probability."""

    def __init__(self, size: int = 6, actions: int = 3, hidden: int = 12) -> None:
        super().__init__()
        self.fc = nn.Linear(size, hidden)
        self.mean, self.spread = nn.Linear(hidden, actions), nn.Linear(hidden, actions)
        self.register_buffer("scale", torch.tensor([0.5, 2.0, 1.5]))
        self.register_buffer("offset", torch.tensor([0.5, 0.0, -0.3]))

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.fc(x))
        mean, log_spread = self.mean(h), torch.tanh(self.spread(h))
        log_spread = -5 + 0.5 * (2 + 5) * (log_spread + 1)
        z = mean + log_spread.exp() * noise
        y = torch.tanh(z)
        chance = -0.5 * noise**2 - log_spread - 0.5 * np.log(2 * np.pi)
        chance = chance - torch.log(self.scale * (1 - y**2) + 1e-6)
        return torch.cat((y * self.scale + self.offset, chance.sum(1, keepdim=True)), 1)


def build_squashed_policy() -> Built:
    x = (inputs(412, 40, 6), normal_floats(413, 40, 3))
    return train_torch(SquashedPolicy(), 411), x


def squashed_policy(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    clipped: bool = False,
    jacobian: bool = True,
    scaled: bool = True,
    variance: bool = False,
    mean_chance: bool = False,
) -> np.ndarray:
    w, (x, noise) = weights_of(model), x
    h = relu(linear(x, w["fc.weight"], w["fc.bias"]))
    mean = linear(h, w["mean.weight"], w["mean.bias"])
    raw = linear(h, w["spread.weight"], w["spread.bias"])
    log_spread = np.clip(raw, -5, 2) if clipped else -5 + 3.5 * (np.tanh(raw) + 1)
    spread = np.exp(log_spread / 2 if variance else log_spread)
    y = np.tanh(mean + spread * noise)
    chance = -0.5 * noise**2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
    if jacobian:
        chance = chance - np.log((w["scale"] if scaled else 1) * (1 - y**2) + 1e-6)
    chance = chance.mean(1, keepdims=True) if mean_chance else chance.sum(1, keepdims=True)
    return np.concatenate((y * w["scale"] + w["offset"], chance), 1)


SQUASHED_POLICY = Case(
    "fourth_squashed_policy",
    build_squashed_policy,
    "",
    squashed_policy,
    {
        "deviation_clipped": Mistake(
            partial(squashed_policy, clipped=True),
            "The log deviation is clipped to [-5, 2], where it is squashed by tanh and stretched "
            "to that range.",
        ),
        "no_squashing_correction": Mistake(
            partial(squashed_policy, jacobian=False),
            "The log probability is that of the normal sample, without the logarithm of the "
            "tanh's slope that should be subtracted.",
        ),
        "correction_without_range": Mistake(
            partial(squashed_policy, scaled=False),
            "The correction of the log probability has the slope of tanh alone, where the "
            "action's scale belongs into it.",
        ),
        "logarithm_of_variance": Mistake(
            partial(squashed_policy, variance=True),
            "The head's output is taken as the logarithm of the variance and halved, where it is "
            "that of the deviation.",
        ),
        "mean_of_actions": Mistake(
            partial(squashed_policy, mean_chance=True),
            "The log probability is the mean over the three action components, where independent "
            "components are summed.",
        ),
    },
)


class VTrace(nn.Module):
    """The targets and advantages of IMPALA with its policy and value heads."""

    def __init__(self, size: int = 6, actions: int = 4) -> None:
        super().__init__()
        self.value, self.policy = nn.Linear(size, 1), nn.Linear(size, actions)
        self.discount, self.decay, self.rho, self.trace = 0.95, 0.9, 1.5, 1.0

    def forward(
        self,
        features: torch.Tensor,
        actions: torch.Tensor,
        behaviour: torch.Tensor,
        rewards: torch.Tensor,
        done: torch.Tensor,
    ) -> torch.Tensor:
        values = self.value(features)[..., 0]
        chances = torch.log_softmax(self.policy(features[:, :-1]), -1)
        chances = chances.gather(-1, actions[..., None])[..., 0]
        ratio = torch.exp(chances - behaviour)
        rho, trace = ratio.clamp(max=self.rho), self.decay * ratio.clamp(max=self.trace)
        discount = self.discount * (1 - done)
        delta = rho * (rewards + discount * values[:, 1:] - values[:, :-1])
        rest, targets = torch.zeros_like(values[:, 0]), [values[:, -1]]
        for t in reversed(range(rewards.shape[1])):
            rest = delta[:, t] + discount[:, t] * trace[:, t] * rest
            targets.insert(0, values[:, t] + rest)
        targets = torch.stack(targets, 1)
        advantage = ratio.clamp(max=1.0)
        advantage = advantage * (rewards + discount * targets[:, 1:] - values[:, :-1])
        return torch.stack((targets[:, :-1], advantage), -1)


def build_v_trace() -> Built:
    rng = np.random.default_rng(422)
    x = (
        inputs(423, 6, 13, 6),
        rng.integers(0, 4, (6, 12)),
        np.log(rng.uniform(0.1, 0.7, (6, 12))).astype(np.float32),
        rng.normal(0.2, 1, (6, 12)).astype(np.float32),
        (rng.random((6, 12)) < 0.12).astype(np.float32),
    )
    return train_torch(VTrace(), 421, gain=1.3), x


def v_trace(
    model: Any,
    x: tuple[np.ndarray, ...],
    inverse: bool = False,
    late_done: bool = False,
    first_values: bool = False,
    trace_limit: float = 1.0,
    bootstrap: bool = True,
) -> np.ndarray:
    w, (features, actions, behaviour, rewards, done) = weights_of(model), x
    values = linear(features, w["value.weight"], w["value.bias"])[..., 0]
    if not bootstrap:
        values = np.concatenate((values[:, :-1], 0 * values[:, -1:]), 1)
    logits = linear(features[:, :-1], w["policy.weight"], w["policy.bias"])
    chances = np.log(softmax(logits))
    chances = np.take_along_axis(chances, actions[..., None], -1)[..., 0]
    ratio = np.exp(behaviour - chances if inverse else chances - behaviour)
    rho, trace = np.minimum(ratio, 1.5), np.float32(0.9) * np.minimum(ratio, trace_limit)
    if late_done:
        done = np.concatenate((0 * done[:, :1], done[:, :-1]), 1)
    discount = np.float32(0.95) * (1 - done)
    delta = rho * (rewards + discount * values[:, 1:] - values[:, :-1])
    rest, targets = np.zeros_like(values[:, 0]), values.copy()
    for t in reversed(range(rewards.shape[1])):
        rest = delta[:, t] + discount[:, t] * trace[:, t] * rest
        targets[:, t] = values[:, t] + rest
    ahead = values[:, 1:] if first_values else targets[:, 1:]
    advantage = np.minimum(ratio, 1) * (rewards + discount * ahead - values[:, :-1])
    return np.stack((targets[:, :-1], advantage), -1)


V_TRACE = Case(
    "fourth_v_trace",
    build_v_trace,
    "",
    v_trace,
    {
        "ratio_upside_down": Mistake(
            partial(v_trace, inverse=True),
            "Importance ratios are the behaviour's probability over the policy's, where they are "
            "the policy's over the behaviour's.",
        ),
        "episode_end_one_late": Mistake(
            partial(v_trace, late_done=True),
            "The done flag of the step before stops the bootstrap, where each step's own flag "
            "says that its episode ended.",
        ),
        "advantage_of_values": Mistake(
            partial(v_trace, first_values=True),
            "The advantage takes the critic's value of the next state, where it takes the "
            "corrected target of the next state.",
        ),
        "trace_clipped_like_delta": Mistake(
            partial(v_trace, trace_limit=1.5),
            "The trace ratios are clipped at 1.5 like those of the deltas, where their own limit "
            "is one.",
        ),
        "no_last_value": Mistake(
            partial(v_trace, bootstrap=False),
            "The value behind the last step is taken as zero, where the critic's value of the "
            "last features is the bootstrap.",
        ),
    },
)


class QuantileLoss(nn.Module):
    """The quantile Huber loss of QR-DQN against a target head."""

    def __init__(self, size: int = 6, actions: int = 3, quantiles: int = 8) -> None:
        super().__init__()
        self.shape = (actions, quantiles)
        self.online = nn.Linear(size, actions * quantiles)
        self.target = nn.Linear(size, actions * quantiles)
        self.limit, self.discount = 0.7, 0.9

    def forward(
        self, x: torch.Tensor, action: torch.Tensor, reward: torch.Tensor, then: torch.Tensor
    ) -> torch.Tensor:
        rows = torch.arange(len(x))
        ours = self.online(x).unflatten(1, self.shape)[rows, action]
        best = self.online(then).unflatten(1, self.shape).mean(2).argmax(1)
        theirs = self.target(then).unflatten(1, self.shape)[rows, best]
        theirs = reward[:, None] + self.discount * theirs
        error = theirs[:, None] - ours[:, :, None]
        size = error.abs()
        huber = torch.where(
            size <= self.limit, 0.5 * error**2, self.limit * (size - 0.5 * self.limit)
        )
        n = self.shape[1]
        tau = (torch.arange(n) + 0.5) / n
        weight = (tau[:, None] - (error < 0).float()).abs()
        return (weight * huber / self.limit).mean(2)


def build_quantile_loss() -> Built:
    rng = np.random.default_rng(432)
    x = (
        inputs(433, 20, 6),
        rng.integers(0, 3, 20),
        rng.standard_normal(20).astype(np.float32),
        inputs(434, 20, 6),
    )
    return train_torch(QuantileLoss(), 431), x


def quantile_loss(
    model: Any,
    x: tuple[np.ndarray, ...],
    middle: float = 0.5,
    ours_minus_theirs: bool = False,
    over_ours: bool = False,
    divided: bool = True,
    chooser: str = "online",
) -> np.ndarray:
    w, (x, action, reward, then) = weights_of(model), x

    def head(name: str, h: np.ndarray) -> np.ndarray:
        y = linear(h, w[f"{name}.weight"], w[f"{name}.bias"])
        return y.reshape(-1, 3, 8)

    rows, limit = np.arange(len(x)), 0.7
    ours = head("online", x)[rows, action]
    best = head(chooser, then).mean(2).argmax(1)
    theirs = reward[:, None] + np.float32(0.9) * head("target", then)[rows, best]
    error = theirs[:, None] - ours[:, :, None]
    size = np.abs(error)
    huber = np.where(size <= limit, 0.5 * error**2, limit * (size - 0.5 * limit))
    tau = (np.arange(8) + middle) / 8
    below = -error < 0 if ours_minus_theirs else error < 0
    loss = np.abs(tau[:, None] - below) * huber / (limit if divided else 1)
    return loss.mean(1 if over_ours else 2)


QUANTILE_LOSS = Case(
    "fourth_quantile_loss",
    build_quantile_loss,
    "",
    quantile_loss,
    {
        "upper_quantile_edges": Mistake(
            partial(quantile_loss, middle=1.0),
            "The quantile levels are the upper edges i/N of their intervals, where the midpoints "
            "(i - 1/2)/N are used.",
        ),
        "sides_exchanged": Mistake(
            partial(quantile_loss, ours_minus_theirs=True),
            "The indicator asks whether the prediction is below the target, so over- and "
            "underestimation swap weights; it should ask for targets below predictions.",
        ),
        "mean_over_predictions": Mistake(
            partial(quantile_loss, over_ours=True),
            "The pairwise losses are averaged over our quantiles, leaving one for each target, "
            "where target samples are averaged.",
        ),
        "limit_not_divided": Mistake(
            partial(quantile_loss, divided=False),
            "The Huber loss is not divided by its limit of 0.7, where it should be; only for a "
            "limit of one this is the same.",
        ),
        "action_of_target_net": Mistake(
            partial(quantile_loss, chooser="target"),
            "The next action is the best of the target net itself, where the online net should "
            "choose it (double Q-learning).",
        ),
    },
)


class TranscriptLoss(nn.Module):
    """The loss of connectionist temporal classification for each utterance, with its head."""

    def __init__(self, size: int = 5, labels: int = 5) -> None:
        super().__init__()
        self.head = nn.Linear(size, labels)
        self.loss = nn.CTCLoss(blank=0, reduction="none")

    def forward(
        self, x: torch.Tensor, labels: torch.Tensor, frames: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        chances = torch.log_softmax(self.head(x), -1)
        return self.loss(chances.transpose(0, 1), labels, frames, lengths)


def build_transcript_loss() -> Built:
    rng = np.random.default_rng(442)
    labels = rng.integers(1, 5, (110, 4))
    labels[::3, 1] = labels[::3, 0]
    x = (inputs(443, 110, 12, 5), labels, rng.integers(8, 13, 110), rng.integers(1, 5, 110))
    return train_torch(TranscriptLoss(), 441, gain=1.6), x


def transcript_loss(
    model: Any,
    x: tuple[np.ndarray, ...],
    blank: int = 0,
    skips_equal: bool = False,
    ends_in_blank: bool = True,
    all_frames: bool = False,
    best_path: bool = False,
) -> np.ndarray:
    w, (x, labels, frames, lengths) = weights_of(model), x
    chances = np.log(softmax(linear(x, w["head.weight"], w["head.bias"]).astype(np.float64)))
    join = np.maximum if best_path else np.logaddexp
    out = []
    for b, count in enumerate(lengths):
        path = np.full(2 * count + 1, blank)
        path[1::2] = labels[b, :count] - (1 if blank else 0)
        skip = np.zeros(len(path), bool)
        skip[3::2] = True if skips_equal else path[3::2] != path[1:-2:2]
        alpha = np.full(len(path), -np.inf)
        alpha[:2] = chances[b, 0, path[:2]]
        for t in range(1, x.shape[1] if all_frames else frames[b]):
            new = join(alpha, np.concatenate(([-np.inf], alpha[:-1])))
            two = np.concatenate(([-np.inf, -np.inf], alpha[:-2]))
            alpha = np.where(skip, join(new, two), new) + chances[b, t, path]
        total = join(alpha[-1], alpha[-2]) if ends_in_blank else alpha[-2]
        out.append(-total)
    return np.array(out)


TRANSCRIPT_LOSS = Case(
    "fourth_transcript_loss",
    build_transcript_loss,
    "",
    transcript_loss,
    {
        "blank_is_last": Mistake(
            partial(transcript_loss, blank=4),
            "The last class is taken as the blank and labels move down by one, as in TensorFlow's "
            "loss, where class zero is the blank.",
        ),
        "equal_labels_joined": Mistake(
            partial(transcript_loss, skips_equal=True),
            "Two equal labels in a row may follow each other without a blank between, where a "
            "blank must separate them.",
        ),
        "must_end_in_label": Mistake(
            partial(transcript_loss, ends_in_blank=False),
            "Only paths that end in the last label are counted, where paths that end in the final "
            "blank count as well.",
        ),
        "padding_frames_counted": Mistake(
            partial(transcript_loss, all_frames=True),
            "The recursion runs over all twelve frames, where it should stop at each utterance's "
            "own number of frames.",
        ),
        "best_path_alone": Mistake(
            partial(transcript_loss, best_path=True),
            "The recursion keeps the most likely path (Viterbi), where the probabilities of all "
            "paths are summed.",
        ),
    },
)


class EvidentialHead(nn.Module):
    """Deep evidential regression: a normal-inverse-gamma head, its loss and two variances."""

    def __init__(self, size: int = 7, targets: int = 2) -> None:
        super().__init__()
        self.head = nn.Linear(size, 4 * targets)
        self.penalty = 0.05

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        mean, nu, alpha, beta = self.head(x).chunk(4, -1)
        nu, beta = nn.functional.softplus(nu), nn.functional.softplus(beta)
        alpha = nn.functional.softplus(alpha) + 1
        omega = 2 * beta * (1 + nu)
        loss = 0.5 * torch.log(np.pi / nu) - alpha * torch.log(omega)
        loss = loss + (alpha + 0.5) * torch.log(nu * (y - mean) ** 2 + omega)
        loss = loss + torch.lgamma(alpha) - torch.lgamma(alpha + 0.5)
        loss = loss + self.penalty * (y - mean).abs() * (2 * nu + alpha)
        noise = beta / (alpha - 1)
        return torch.cat((loss, torch.log(noise), torch.log(noise / nu)), -1)


def build_evidential_head() -> Built:
    return train_torch(EvidentialHead(), 451), (inputs(452, 30, 7), inputs(453, 30, 2))


def evidential_head(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    one: float = 1,
    by_target: bool = False,
    doubled: bool = True,
    squared: bool = False,
    swapped_gammas: bool = False,
) -> np.ndarray:
    w, (x, y) = weights_of(model), x
    h = linear(x, w["head.weight"], w["head.bias"]).astype(np.float64)
    parts = [h[:, i::4] for i in range(4)] if by_target else np.split(h, 4, -1)
    mean = parts[0]
    nu, alpha, beta = (np.logaddexp(0, p) for p in parts[1:])
    noise = beta / alpha
    alpha = alpha + one
    omega = (2 if doubled else 1) * beta * (1 + nu)
    away = y - mean
    loss = 0.5 * np.log(np.pi / nu) - alpha * np.log(omega)
    loss = loss + (alpha + 0.5) * np.log(nu * away**2 + omega)
    gammas = gammaln(alpha) - gammaln(alpha + 0.5)
    loss = loss + (-gammas if swapped_gammas else gammas)
    loss = loss + 0.05 * (away**2 if squared else np.abs(away)) * (2 * nu + alpha)
    return np.concatenate((loss, np.log(noise), np.log(noise / nu)), -1)


EVIDENTIAL_HEAD = Case(
    "fourth_evidential_head",
    build_evidential_head,
    "",
    evidential_head,
    {
        "parameters_by_target": Mistake(
            partial(evidential_head, by_target=True),
            "The head's outputs are read as four parameters for each target in turn, where each "
            "parameter lies together for all targets.",
        ),
        "scale_not_doubled": Mistake(
            partial(evidential_head, doubled=False),
            "The scale in the likelihood is beta (1 + nu), where it is 2 beta (1 + nu), twice as "
            "much.",
        ),
        "gammas_exchanged": Mistake(
            partial(evidential_head, swapped_gammas=True),
            "The log gamma function of alpha is subtracted and that of alpha plus a half added, "
            "where their signs are the other way round.",
        ),
        "squared_penalty": Mistake(
            partial(evidential_head, squared=True),
            "The evidence penalty is weighted by the squared error, where the absolute error is "
            "its weight.",
        ),
        "alpha_without_one": Mistake(
            partial(evidential_head, one=0),
            "Alpha in the loss is the softplus alone, where one is added to it so that the "
            "variance exists.",
        ),
    },
)


class RunningNormaliser(nn.Module):
    """Readings normalised by exponential statistics that are corrected for their start."""

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.rate, self.limit, self.eps = 0.15, 2.5, 1e-3
        self.weight = nn.Parameter(torch.zeros(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, square, share, out = torch.zeros(5), torch.zeros(5), 0.0, []
        for now in x:
            mean = (1 - self.rate) * mean + self.rate * now
            square = (1 - self.rate) * square + self.rate * now**2
            share = (1 - self.rate) * share + self.rate
            middle = mean / share
            variance = (square / share - middle**2).clamp(min=0.05)
            y = (now - middle) / torch.sqrt(variance + self.eps)
            out.append(y.clamp(-self.limit, self.limit) * self.weight + self.bias)
        return torch.stack(out)


def build_running_normaliser() -> Built:
    return train_torch(RunningNormaliser(), 461), inputs(462, 60, 5, shift=0.8)


def running_normaliser(
    model: Any,
    x: np.ndarray,
    before: bool = False,
    corrected: bool = True,
    clip_last: bool = False,
    residual: bool = False,
    keep: float = 0.85,
) -> np.ndarray:
    w = weights_of(model)
    mean, square, share, out = np.zeros(5), np.zeros(5), 0.0, []
    old = (np.zeros(5), np.full(5, 1.0))
    for now in x.astype(np.float64):
        mean = keep * mean + (1 - keep) * now
        share = keep * share + (1 - keep)
        start = share if corrected else 1
        middle = mean / start
        if residual:
            square = keep * square + (1 - keep) * (now - middle) ** 2
            variance = square / start
        else:
            square = keep * square + (1 - keep) * now**2
            variance = square / start - middle**2
        variance = np.maximum(variance, 0.05)
        used, old = old if before else (middle, variance), (middle, variance)
        y = (now - used[0]) / np.sqrt(used[1] + 1e-3)
        if clip_last:
            out.append(np.clip(y * w["weight"] + w["bias"], -2.5, 2.5))
        else:
            out.append(np.clip(y, -2.5, 2.5) * w["weight"] + w["bias"])
    return np.stack(out)


RUNNING_NORMALISER = Case(
    "fourth_running_normaliser",
    build_running_normaliser,
    "",
    running_normaliser,
    {
        "statistics_of_step_before": Mistake(
            partial(running_normaliser, before=True),
            "A reading is normalised before it enters the statistics (zero and one at first), "
            "where it is counted first.",
        ),
        "start_not_corrected": Mistake(
            partial(running_normaliser, corrected=False),
            "The averages begin at zero and are not divided by the weight collected so far, as "
            "the layer does against its start.",
        ),
        "clipped_behind_gain": Mistake(
            partial(running_normaliser, clip_last=True),
            "Values are clipped at 2.5 after gain and bias, where the normalised reading is "
            "clipped before them.",
        ),
        "squares_about_moving_mean": Mistake(
            partial(running_normaliser, residual=True),
            "The variance averages squared distances to the mean of each moment, where it is the "
            "mean square less the squared mean.",
        ),
        "rate_and_rest_exchanged": Mistake(
            partial(running_normaliser, keep=0.15),
            "The rate 0.15 multiplies the old averages, as other frameworks define momentum, "
            "where it is the share of the new reading.",
        ),
    },
)


# Keras


def build_keras_mel_front() -> Built:
    wave = keras.Input((320,))
    h = keras.layers.MelSpectrogram(
        fft_length=64,
        sequence_stride=25,
        sequence_length=48,
        sampling_rate=8000,
        num_mel_bins=10,
        min_freq=80.0,
        max_freq=3600.0,
        top_db=45.0,
        name="mel",
    )(wave)
    h = keras.layers.Rescaling(1 / 20, 0.5)(h)
    h = keras.layers.Permute((2, 1))(h)
    h = keras.layers.Conv1D(6, 3, padding="causal", activation="silu", name="conv")(h)
    model = train_keras(keras.Model(wave, h), 501)
    level = np.array([[1.0], [0.15], [0.4]])
    time = np.arange(320) / 8000
    tone = np.sin(2 * np.pi * (500 + 9000 * time) * time)
    fade = np.linspace(1, 0.02, 320)
    x = level * fade * (tone + 0.05 * normal_floats(502, 3, 320))
    return model, x.astype(np.float32)


def mel_matrix(slaney: bool, in_hertz: bool) -> np.ndarray:
    """Triangles of ten bands between 80 and 3600 Hz over the bins of a transform of 64."""

    def mel(f: np.ndarray) -> np.ndarray:
        if slaney:
            high = 15 + np.log(np.maximum(f, 1) / 1000) / (np.log(6.4) / 27)
            return np.where(f < 1000, 3 * f / 200, high)
        return 1127.0 * np.log1p(f / 700.0)

    bins = np.linspace(0, 4000, 33)
    edges = np.linspace(mel(np.array(80.0)), mel(np.array(3600.0)), 12)
    at = mel(bins)
    if in_hertz:
        edges, at = 700 * (np.exp(edges / 1127.0) - 1), bins
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    up = (at[:, None] - left) / (middle - left)
    down = (right - at[:, None]) / (right - middle)
    matrix = np.maximum(0, np.minimum(up, down))
    matrix[0] = 0
    return matrix


def keras_mel_front(
    model: Any,
    x: np.ndarray,
    mode: str = "reflect",
    left: int = 8,
    slaney: bool = False,
    in_hertz: bool = False,
    floor: str = "batch",
) -> np.ndarray:
    padded = np.pad(x.astype(np.float64), ((0, 0), (32, 32)), mode=mode)
    angle = 2 * np.pi * np.arange(48) / 48
    window = np.pad(0.5 - 0.5 * np.cos(angle), (left, 16 - left))
    starts = range(0, padded.shape[1] - 63, 25)
    frames = np.stack([padded[:, i : i + 64] * window for i in starts], 1)
    power = np.abs(np.fft.rfft(frames)) ** 2
    h = power @ mel_matrix(slaney, in_hertz)
    h = 10 * np.log10(np.maximum(h, 1e-10))
    if floor == "batch":
        h = np.maximum(h, h.max() - 45)
    elif floor == "recording":
        h = np.maximum(h, h.max((1, 2), keepdims=True) - 45)
    h = h / 20 + 0.5
    kernel, bias = (np.asarray(v) for v in model.get_layer("conv").weights)
    y = conv(np.pad(h.swapaxes(1, 2), ((0, 0), (0, 0), (2, 0))), kernel.transpose(2, 1, 0), bias)
    return silu(y.swapaxes(1, 2))


KERAS_MEL_FRONT = Case(
    "fourth_keras_mel_front",
    build_keras_mel_front,
    "",
    keras_mel_front,
    {
        "slaney_scale": Mistake(
            partial(keras_mel_front, slaney=True),
            "Bands are spaced on Slaney's mel scale, the default of librosa, where Keras has the "
            "HTK formula.",
        ),
        "triangles_in_hertz": Mistake(
            partial(keras_mel_front, in_hertz=True),
            "The triangles are straight lines over hertz between the mel-spaced edges, where "
            "Keras draws them straight over mels.",
        ),
        "floor_of_each_recording": Mistake(
            partial(keras_mel_front, floor="recording"),
            "The 45 dB floor hangs below the maximum of each recording, where Keras takes the "
            "maximum of the whole batch.",
        ),
        "window_at_frame_start": Mistake(
            partial(keras_mel_front, left=0),
            "The window of 48 samples lies at the start of the 64-point transform, where Keras "
            "puts it in the middle.",
        ),
        "zeros_at_ends": Mistake(
            partial(keras_mel_front, mode="constant"),
            "The wave is padded with zeros for centred frames, where Keras reflects it at both "
            "ends.",
        ),
    },
)


def build_keras_table_front() -> Built:
    age = keras.Input((1,), name="age")
    days = keras.Input((3,), dtype="int32", name="days")
    amounts = keras.Input((4,), name="amounts")
    bounds = [18.0, 30.0, 45.0, 65.0]
    h = keras.layers.Discretization(bin_boundaries=bounds, name="bins")(age)
    h = keras.layers.Flatten()(keras.layers.Embedding(5, 4, name="ages")(h))
    d = keras.layers.CategoryEncoding(7, output_mode="count", name="weekdays")(days)
    n = keras.layers.Normalization(
        mean=[10.0, 0.3, -2.0, 55.0], variance=[9.0, 0.04, 2.5, 400.0], name="amounts_normal"
    )(amounts)
    h = keras.layers.Concatenate()([h, d, n])
    h = keras.layers.Dense(9, activation="leaky_relu", name="hidden")(h)
    model = train_keras(
        keras.Model([age, days, amounts], keras.layers.Dense(6, name="out")(h)), 511
    )
    model.get_layer("amounts_normal").finalize_state()
    rng = np.random.default_rng(512)
    ages = np.r_[[18, 30, 45, 65, 17, 66], rng.integers(10, 80, 18)].astype(np.float32)[:, None]
    spread = np.sqrt([9.0, 0.04, 2.5, 400.0])
    readings = rng.standard_normal((24, 4)) * spread + [10.0, 0.3, -2.0, 55.0]
    return model, (ages, rng.integers(0, 7, (24, 3)), readings.astype(np.float32))


def keras_table_front(
    model: Any,
    x: tuple[np.ndarray, ...],
    side: str = "right",
    once: bool = False,
    by_variance: bool = False,
    numbers_first: bool = False,
    first_day: int = 0,
    slope: float = 0.2,
) -> np.ndarray:
    w = {v.path: np.asarray(v) for layer in model.layers for v in layer.weights}
    age, days, amounts = x
    bins = np.searchsorted([18.0, 30.0, 45.0, 65.0], age[:, 0], side=side)
    h = w["ages/embeddings"][bins]
    counts = np.eye(7, dtype=np.float32)[(days - first_day) % 7].sum(1)
    if once:
        counts = np.minimum(counts, 1)
    spread = np.array([9.0, 0.04, 2.5, 400.0])
    normal = (amounts - np.array([10.0, 0.3, -2.0, 55.0])) / (
        spread if by_variance else spread**0.5
    )
    h = np.concatenate((normal, h, counts) if numbers_first else (h, counts, normal), 1)
    h = h @ w["hidden/kernel"] + w["hidden/bias"]
    h = np.where(h > 0, h, slope * h)
    return h @ w["out/kernel"] + w["out/bias"]


KERAS_TABLE_FRONT = Case(
    "fourth_keras_table_front",
    build_keras_table_front,
    "",
    keras_table_front,
    {
        "boundary_in_lower_bin": Mistake(
            partial(keras_table_front, side="left"),
            "An age equal to a boundary falls into the lower bin, where Keras counts it to the "
            "upper one.",
        ),
        "days_counted_once": Mistake(
            partial(keras_table_front, once=True),
            "The weekdays are encoded as zeros and ones (multi-hot), where a day that occurs "
            "twice counts two.",
        ),
        "divided_by_variance": Mistake(
            partial(keras_table_front, by_variance=True),
            "The amounts are divided by their variance, where the normalisation divides by its "
            "square root.",
        ),
        "days_from_one": Mistake(
            partial(keras_table_front, first_day=1),
            "Weekdays are taken to begin at one, so that each lands one column early; they begin "
            "at zero.",
        ),
        "leaky_slope_and_order": Mistake(
            partial(keras_table_front, slope=0.01, numbers_first=True),
            "The leaky ReLU has PyTorch's slope of 0.01 instead of Keras' 0.2, and the numeric "
            "columns come first instead of last.",
            causes=2,
        ),
    },
)


def build_keras_concat_attention() -> Built:
    readings = keras.Input((9, 4))
    h = keras.layers.Masking(mask_value=-1.0, name="masking")(readings)
    q = keras.layers.Dense(6, name="query")(h)
    v = keras.layers.Dense(6, name="value")(h)
    layer = keras.layers.Attention(use_scale=True, score_mode="concat", name="attention")
    model = train_keras(keras.Model(readings, layer([q, v])), 521, gain=1.2)
    model.get_layer("attention").scale.assign(0.6)
    model.get_layer("attention").concat_score_weight.assign(1.4)
    x = inputs(522, 5, 9, 4)
    x[1, 6:], x[3, :2], x[4, 4] = -1, -1, -1
    x[0, 3, 2] = x[2, 7, 0] = -1
    return model, x


def keras_concat_attention(
    model: Any,
    x: np.ndarray,
    any_feature: bool = False,
    mask_values: bool = True,
    mask_queries: bool = True,
    dot: bool = False,
    scale_outside: bool = False,
) -> np.ndarray:
    w = {v.path: np.asarray(v) for layer in model.layers for v in layer.weights}
    there = (x != -1).all(-1) if any_feature else (x != -1).any(-1)
    x = x * there[..., None]
    q, v = (x @ w[f"{n}/kernel"] + w[f"{n}/bias"] for n in ("query", "value"))
    scale, weight = w["attention/scale"], w["attention/concat_score_weight"]
    if dot:
        scores = scale * q @ v.swapaxes(1, 2)
    elif scale_outside:
        scores = scale * weight * np.tanh(q[:, :, None] + v[:, None]).sum(-1)
    else:
        scores = weight * np.tanh(scale * (q[:, :, None] + v[:, None])).sum(-1)
    if mask_values:
        scores = np.where(there[:, None], scores, -1e9)
    y = softmax(scores) @ v
    return y * there[..., None] if mask_queries else y


KERAS_CONCAT_ATTENTION = Case(
    "fourth_keras_concat_attention",
    build_keras_concat_attention,
    "",
    keras_concat_attention,
    {
        "masked_by_one_feature": Mistake(
            partial(keras_concat_attention, any_feature=True),
            "A time step counts as missing if one feature is -1, where all its features must have "
            "that value.",
        ),
        "missing_steps_attended": Mistake(
            partial(keras_concat_attention, mask_values=False),
            "Missing time steps take part as values with the bias of their projection, where the "
            "mask excludes them from the softmax.",
        ),
        "missing_queries_answered": Mistake(
            partial(keras_concat_attention, mask_queries=False),
            "Rows of missing queries are put out like others, where Keras sets them to zero by "
            "the query's mask.",
        ),
        "scale_outside_tanh": Mistake(
            partial(keras_concat_attention, scale_outside=True),
            "The learned scale multiplies the sum of the tanh values, where it multiplies query "
            "plus key inside the tanh.",
        ),
        "dot_scores": Mistake(
            partial(keras_concat_attention, dot=True),
            "Scores are scaled dot products, the layer's default mode, where this layer was made "
            "with concatenated scores.",
        ),
    },
)


def build_keras_gesture_net() -> Built:
    motion = keras.Input((26, 3))
    h = keras.layers.SeparableConv1D(
        8, 5, strides=2, padding="same", depth_multiplier=2, use_bias=False, name="separable"
    )(motion)
    h = keras.layers.BatchNormalization(name="norm")(h)
    h = keras.layers.Activation("hard_silu")(h)
    h = keras.layers.MaxPooling1D(3, 2, padding="same")(h)
    h = keras.layers.GRU(6, return_sequences=True, recurrent_activation="hard_sigmoid", name="gru")(
        h
    )
    h = keras.layers.Concatenate()(
        [keras.layers.GlobalMaxPooling1D()(h), keras.layers.GlobalAveragePooling1D()(h)]
    )
    model = train_keras(keras.Model(motion, keras.layers.Dense(5, name="classes")(h)), 531, 1.4)
    return model, inputs(532, 24, 26, 3)


def keras_gesture_net(
    model: Any,
    x: np.ndarray,
    left: int = 1,
    multiplier_first: bool = False,
    slope: float = 1 / 6,
    reset_first: bool = False,
    average_first: bool = False,
) -> np.ndarray:
    w = {v.path: np.asarray(v) for layer in model.layers for v in layer.weights}
    deep = w["separable/depthwise_kernel"]
    deep = deep.transpose(1, 2, 0).reshape(6, 1, 5)
    h = conv(np.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (left, 3 - left))), deep, stride=2, groups=3)
    if multiplier_first:
        h = h.reshape(-1, 3, 2, 13).swapaxes(1, 2).reshape(-1, 6, 13)
    h = h.swapaxes(1, 2) @ w["separable/pointwise_kernel"][0]
    h = (h - w["norm/moving_mean"]) / np.sqrt(w["norm/moving_variance"] + 1e-3)
    h = h * w["norm/gamma"] + w["norm/beta"]
    h = h * np.clip(h / 6 + 0.5, 0, 1)
    h = np.pad(h, ((0, 0), (1, 1), (0, 0)), constant_values=-np.inf)
    h = np.max([h[:, i : i + 13 : 2] for i in range(3)], 0)
    kernel, back = w["gru/gru_cell/kernel"], w["gru/gru_cell/recurrent_kernel"]
    bias, back_bias = w["gru/gru_cell/bias"]
    state, out = np.zeros((len(x), 6)), []
    for t in range(h.shape[1]):
        a, b = h[:, t] @ kernel + bias, state @ back + back_bias
        z, r = (np.clip((a + b)[:, s] * slope + 0.5, 0, 1) for s in (np.s_[:6], np.s_[6:12]))
        g = (r * state) @ back[:, 12:] + back_bias[12:] if reset_first else r * b[:, 12:]
        state = z * state + (1 - z) * np.tanh(a[:, 12:] + g)
        out.append(state)
    h = np.stack(out, 1)
    parts = [h.max(1), h.mean(1)]
    h = np.concatenate(parts[::-1] if average_first else parts, 1)
    return h @ w["classes/kernel"] + w["classes/bias"]


KERAS_GESTURE_NET = Case(
    "fourth_keras_gesture_net",
    build_keras_gesture_net,
    "",
    keras_gesture_net,
    {
        "odd_zero_on_left": Mistake(
            partial(keras_gesture_net, left=2),
            "Of the three zeros of the strided same padding two are put in front, where Keras "
            "puts one in front and two behind.",
        ),
        "filters_by_multiplier": Mistake(
            partial(keras_gesture_net, multiplier_first=True),
            "The depthwise outputs are ordered by multiplier first, where both filters of a "
            "channel stand next to each other.",
        ),
        "hard_sigmoid_of_keras_2": Mistake(
            partial(keras_gesture_net, slope=0.2),
            "The gates' hard sigmoid has Keras 2's slope of 0.2, where that of Keras 3 is one "
            "sixth.",
        ),
        "reset_before_product": Mistake(
            partial(keras_gesture_net, reset_first=True),
            "The reset gate multiplies the state before the recurrent kernel, as with reset_after "
            "false, where it multiplies the product behind it.",
        ),
        "average_before_maximum": Mistake(
            partial(keras_gesture_net, average_first=True),
            "The averages over time are concatenated before the maxima, where the maxima are the "
            "first six features.",
        ),
    },
)


def build_keras_mixture_loss() -> Built:
    features, target = keras.Input((6,), name="features"), keras.Input((2,), name="target")
    h = keras.layers.Dense(10, activation="tanh", name="hidden")(features)
    logits = keras.layers.Dense(3, name="shares")(h)
    means = keras.layers.Reshape((3, 2))(keras.layers.Dense(6, name="means")(h))
    spread = keras.layers.Dense(6, activation="softplus", name="spreads")(h)
    spread = keras.layers.Reshape((3, 2))(spread) + 0.05
    away = (keras.ops.expand_dims(target, 1) - means) / spread
    each = -0.5 * keras.ops.square(away) - keras.ops.log(spread) - 0.5 * float(np.log(2 * np.pi))
    parts = keras.ops.sum(each, -1) + keras.ops.log_softmax(logits, -1)
    loss = -keras.ops.logsumexp(parts, axis=-1, keepdims=True)
    shares = keras.ops.softmax(parts, -1)
    model = keras.Model([features, target], keras.ops.concatenate([loss, shares], -1))
    return train_keras(model, 541, gain=1.2), (inputs(542, 40, 6), inputs(543, 40, 2))


def keras_mixture_loss(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    constants: int = 2,
    shared_first: bool = False,
    variance: bool = False,
    sum_of_logs: bool = False,
    prior: bool = False,
) -> np.ndarray:
    w = {v.path: np.asarray(v, np.float64) for layer in model.layers for v in layer.weights}
    features, target = x

    def dense(name: str, h: np.ndarray) -> np.ndarray:
        return h @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    h = np.tanh(dense("hidden", features))
    shares = softmax(dense("shares", h))
    means, spread = dense("means", h), np.logaddexp(0, dense("spreads", h)) + 0.05
    if shared_first:
        means, spread = (y.reshape(-1, 2, 3).swapaxes(1, 2) for y in (means, spread))
    means, spread = means.reshape(-1, 3, 2), spread.reshape(-1, 3, 2)
    if variance:
        spread = np.sqrt(spread)
    each = -0.5 * ((target[:, None] - means) / spread) ** 2 - np.log(spread)
    each = each.sum(-1) - 0.5 * constants * np.log(2 * np.pi)
    parts = each + np.log(shares)
    if sum_of_logs:
        loss = -(shares * each).sum(-1, keepdims=True)
    else:
        top = parts.max(-1, keepdims=True)
        loss = -top - np.log(np.exp(parts - top).sum(-1, keepdims=True))
    return np.concatenate((loss, shares if prior else softmax(parts)), -1)


KERAS_MIXTURE_LOSS = Case(
    "fourth_keras_mixture_loss",
    build_keras_mixture_loss,
    "",
    keras_mixture_loss,
    {
        "constant_of_one_dimension": Mistake(
            partial(keras_mixture_loss, constants=1),
            "Half the logarithm of two pi is subtracted once, where each of the two target "
            "dimensions has its own.",
        ),
        "dimension_before_component": Mistake(
            partial(keras_mixture_loss, shared_first=True),
            "Means and spreads are unfolded as (dimension, component), where the six outputs are "
            "reshaped to (component, dimension).",
        ),
        "spread_as_variance": Mistake(
            partial(keras_mixture_loss, variance=True),
            "The softplus output is taken as a variance and its root used, where it is the "
            "standard deviation.",
        ),
        "average_of_logarithms": Mistake(
            partial(keras_mixture_loss, sum_of_logs=True),
            "The loss averages the components' log densities by their shares, where it is the "
            "logarithm of the averaged densities.",
        ),
        "prior_shares_put_out": Mistake(
            partial(keras_mixture_loss, prior=True),
            "The shares that are put out are the mixture weights of the head, where they are the "
            "responsibilities given the target.",
        ),
    },
)

CASES = [
    ANTIALIASED_SNAKE,
    LOCATION_VARIABLE_STAGE,
    SPECTROGRAM_TOKENS,
    RELATIVE_KEY_ATTENTION,
    HARMONIC_OSCILLATOR,
    DEEP_FILTER,
    INTEGER_GRU,
    INTEGER_LAYER_NORM,
    ORDERED_FOUR_BIT_LINEAR,
    SPIKING_NET,
    STREAMING_DENOISER,
    FOURIER_LAYER,
    FLOW_STEP,
    SPLINE_FLOW,
    DECAYING_GRU,
    SENSOR_ATTENTION,
    BURGERS_RESIDUAL,
    RUNGE_KUTTA_NET,
    CLOSED_FORM_CELL,
    DISTRIBUTIONAL_DUEL,
    SQUASHED_POLICY,
    V_TRACE,
    QUANTILE_LOSS,
    TRANSCRIPT_LOSS,
    EVIDENTIAL_HEAD,
    RUNNING_NORMALISER,
    KERAS_MEL_FRONT,
    KERAS_TABLE_FRONT,
    KERAS_CONCAT_ATTENTION,
    KERAS_GESTURE_NET,
    KERAS_MIXTURE_LOSS,
]
