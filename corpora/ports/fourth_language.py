"""Layers and blocks of language, sequence, speech, time-series, graph, recommendation and
state-space models.

Written from the frameworks' references and from how ports go wrong, without a look at any tool.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torch.nn import functional
from transformers import (
    AutoformerConfig,
    FastSpeech2ConformerConfig,
    M2M100Config,
    MPNetConfig,
    NystromformerConfig,
    PatchTSTConfig,
    PatchTSTModel,
    RoFormerConfig,
)
from transformers.models.autoformer import modeling_autoformer as autoformer
from transformers.models.fastspeech2_conformer import (
    modeling_fastspeech2_conformer as fastspeech,
)
from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder
from transformers.models.mpnet import modeling_mpnet as mpnet
from transformers.models.nystromformer import modeling_nystromformer as nystromformer
from transformers.models.roformer import modeling_roformer as roformer

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
    gelu_quick,
    join_heads,
    layer_norm,
    linear,
    relu,
    sigmoid,
    softmax,
    split_heads,
)
from corpora.ports.trained import (
    Alone,
    Weights,
    beneath,
    inputs,
    normal_floats,
    tokens,
    train_keras,
    train_torch,
    weights_of,
)


def _projected(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


# RoFormer: rotary positions of neighbouring pairs.


class RotatedText(nn.Module):
    """The self-attention of RoFormer with its table of positions, over padded text."""

    def __init__(self) -> None:
        super().__init__()
        config = RoFormerConfig(hidden_size=32, num_attention_heads=4, vocab_size=20)
        self.positions = roformer.RoFormerSinusoidalPositionalEmbedding(16, 8)
        self.attention = roformer.RoFormerSelfAttention(config)

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        mask = (1 - kept)[:, None, None, :] * torch.finfo(x.dtype).min
        table = self.positions(x.shape[:-1])[None, None]
        return self.attention(x, mask, table)[0]


def roformer_build() -> tuple[Any, Any]:
    model = train_torch(RotatedText(), 401, gain=1.4)
    model.positions.weight.data = model.positions.create_weight()
    kept = np.ones((2, 9), np.float32)
    kept[1, 6:] = 0
    return model, (inputs(402, 2, 9, 32), kept)


def _turned(
    x: np.ndarray, rates: np.ndarray, first: int = 0, halves: bool = False, back: bool = False
) -> np.ndarray:
    angle = (first + np.arange(x.shape[2]))[:, None] * rates
    sin, cos = np.sin(angle), np.cos(angle)
    sin = -sin if back else sin
    if halves:
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    a, b = x[..., 0::2], x[..., 1::2]
    return np.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)


def roformer_port(
    model: Any,
    x: Any,
    halves: bool = False,
    turn_value: bool = False,
    key_first: int = 0,
    rate_size: int = 8,
    key_back: bool = False,
    padded: bool = True,
) -> np.ndarray:
    w = weights_of(model.attention)
    hidden, kept = x
    q, k, v = (split_heads(_projected(w, n, hidden), 4) for n in ("query", "key", "value"))
    rates = 10000.0 ** (-2 * np.arange(4) / rate_size)
    q = _turned(q, rates, 0, halves)
    k = _turned(k, rates, key_first, halves, key_back)
    if turn_value:
        v = _turned(v, rates, 0, halves)
    scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(8)
    if padded:
        scores = np.where(kept[:, None, None, :] > 0, scores, -1e30)
    return join_heads(softmax(scores) @ v)


ROFORMER = Case(
    "fourth_roformer_attention",
    roformer_build,
    "",
    roformer_port,
    {
        "halves": Mistake(
            partial(roformer_port, halves=True),
            "channel i is rotated together with channel i + 4 as in Llama; RoFormer rotates "
            "neighbouring channels 2i and 2i + 1",
        ),
        "value_turned": Mistake(
            partial(roformer_port, turn_value=True),
            "the values are rotated by their position as well; rotary_value is false, so only "
            "queries and keys are rotated",
        ),
        "keys_one_late": Mistake(
            partial(roformer_port, key_first=1),
            "the positions of the keys are counted from 1 and those of the queries from 0; both "
            "are counted from 0",
        ),
        "rates_of_hidden_size": Mistake(
            partial(roformer_port, rate_size=32),
            "the rotary frequencies are spaced over the hidden size of 32; they are spaced over "
            "the head size of 8",
        ),
        "keys_turned_back_and_unmasked": Mistake(
            partial(roformer_port, key_back=True, padded=False),
            "the keys are rotated by the negative angle, and the padded keys are not masked; "
            "they turn as the queries do and padding is masked out",
            causes=2,
        ),
    },
)


# Nystromformer: landmarks and an iterated inverse.


def nystrom_build() -> tuple[Any, Any]:
    config = NystromformerConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_landmarks=4,
        segment_means_seq_len=24,
        conv_kernel_size=5,
    )
    model = Alone(nystromformer.NystromformerSelfAttention(config))
    return train_torch(model, 411, gain=1.5), inputs(412, 2, 24, 32)


def nystrom_port(
    model: Any,
    x: np.ndarray,
    landmark: str = "mean",
    quintic: bool = True,
    power: float = 0.25,
    skip: str = "centred",
) -> np.ndarray:
    w = weights_of(model.mixer)
    q, k, v = (split_heads(_projected(w, n, x), 4) for n in ("query", "key", "value"))
    q, k = q / 8**power, k / 8**power
    segments = [a.reshape(2, 4, 4, 6, 8) for a in (q, k)]
    if landmark == "mean":
        q_marks, k_marks = (s.mean(3) for s in segments)
    elif landmark == "interleaved":
        q_marks, k_marks = (a.reshape(2, 4, 6, 4, 8).mean(2) for a in (q, k))
    else:
        q_marks, k_marks = (s[:, :, :, 0] for s in segments)
    first = softmax(q @ k_marks.transpose(0, 1, 3, 2))
    middle = softmax(q_marks @ k_marks.transpose(0, 1, 3, 2))
    last = softmax(q_marks @ k.transpose(0, 1, 3, 2))
    one = np.eye(4)
    inverse = middle.transpose(0, 1, 3, 2) / middle.sum(-2).max()
    for _ in range(6):
        near = middle @ inverse
        if quintic:
            inverse = 0.25 * inverse @ (13 * one - near @ (15 * one - near @ (7 * one - near)))
        else:
            inverse = inverse @ (2 * one - near)
    y = first @ inverse @ (last @ v)
    before = {"centred": 2, "causal": 4, "none": 2}[skip]
    padded = np.pad(v, ((0, 0), (0, 0), (before, 4 - before), (0, 0)))
    taps = w["conv.weight"][:, 0, :, 0]
    if skip != "none":
        y = y + np.einsum("bhtdk,hk->bhtd", sliding_window_view(padded, 5, axis=2), taps)
    return join_heads(y)


NYSTROM = Case(
    "fourth_nystromformer_attention",
    nystrom_build,
    "mixer",
    nystrom_port,
    {
        "newton_inverse": Mistake(
            partial(nystrom_port, quintic=False),
            "the pseudo-inverse is refined by six plain Newton steps Z(2I - AZ); the layer takes "
            "six steps of the higher order with 13, 15 and 7",
        ),
        "interleaved_segments": Mistake(
            partial(nystrom_port, landmark="interleaved"),
            "each landmark averages every fourth position; a landmark is the mean of six "
            "consecutive positions",
        ),
        "scaled_twice": Mistake(
            partial(nystrom_port, power=0.5),
            "queries and keys are each divided by the root of the head size; each is to be "
            "divided by its fourth root",
        ),
        "causal_skip": Mistake(
            partial(nystrom_port, skip="causal"),
            "the convolution of the values over time is padded with four zeros at the start; it "
            "is padded with two at each end",
        ),
        "first_of_segment_and_no_skip": Mistake(
            partial(nystrom_port, landmark="first", skip="none"),
            "the first position of a segment is its landmark, and the convolved values are not "
            "added; landmarks are means and the values' convolution is added",
            causes=2,
        ),
    },
)


# Autoformer: delays from the correlation of queries with keys.


def autoformer_build() -> tuple[Any, Any]:
    config = AutoformerConfig(d_model=16, encoder_attention_heads=2, autocorrelation_factor=1)
    layer = autoformer.AutoformerAttention(
        config.d_model, config.encoder_attention_heads, autocorrelation_factor=2
    )
    return train_torch(Alone(layer), 421, gain=0.6), inputs(422, 3, 20, 16)


def autoformer_port(
    model: Any,
    x: np.ndarray,
    own_delays: bool = False,
    forward: bool = False,
    zero_filled: bool = False,
    best: int = 5,
    scaled: bool = False,
    over_all: bool = False,
) -> np.ndarray:
    w = weights_of(model.mixer)
    b, t, _ = x.shape
    q, k, v = (split_heads(_projected(w, n, x), 2) for n in ("q_proj", "k_proj", "v_proj"))
    if scaled:
        q = q / math.sqrt(8)
    fq, fk = np.fft.rfft(q, axis=2), np.fft.rfft(k, axis=2)
    score = np.fft.irfft(fq * fk.conj(), n=t, axis=2).mean((1, 3))
    delays = np.argsort(-score, axis=1, kind="stable")[:, :best]
    share = softmax(score) if over_all else np.take_along_axis(score, delays, 1)
    share = np.take_along_axis(share, delays, 1) if over_all else softmax(share)
    y = np.zeros_like(v)
    for row in range(2 * b):
        # The reference repeats the delays over (batch x heads) with the batch innermost.
        source = row // 2 if own_delays else row % b
        for delay, part in zip(delays[source], share[source], strict=True):
            rolled = np.roll(v[row // 2, row % 2], delay if forward else -delay, axis=0)
            if zero_filled:
                rolled[t - delay :] = 0
            y[row // 2, row % 2] += part * rolled
    return _projected(w, "out_proj", join_heads(y))


AUTOFORMER = Case(
    "fourth_autoformer_attention",
    autoformer_build,
    "mixer",
    autoformer_port,
    {
        "own_delays": Mistake(
            partial(autoformer_port, own_delays=True),
            "each sample's heads use that sample's delays; the reference tiles them with the "
            "batch innermost over its (batch, head) rows, which mixes samples",
        ),
        "rolled_forward": Mistake(
            partial(autoformer_port, forward=True),
            "the values are rolled towards later times by each delay; they are to be read "
            "that many steps ahead, rolled towards earlier times",
        ),
        "zeros_behind_the_end": Mistake(
            partial(autoformer_port, zero_filled=True),
            "a delayed value behind the end of the series is taken as zero; the series is to go "
            "on circularly with its beginning",
        ),
        "delays_rounded_up": Mistake(
            partial(autoformer_port, best=6),
            "the number of delays, 2 ln(20) = 5.99, is rounded to 6; the layer truncates it to 5",
        ),
        "scaled_scores": Mistake(
            partial(autoformer_port, scaled=True),
            "the queries are divided by the root of the head size as in ordinary attention; "
            "auto-correlation does not scale them",
        ),
        "softmax_of_all_lags": Mistake(
            partial(autoformer_port, over_all=True),
            "the softmax is taken over all lags before the best are picked; it belongs behind "
            "the selection, over the five picked ones",
        ),
    },
)


# FastSpeech2Conformer: relative positions by the shifting trick.


class RelativeSpeech(nn.Module):
    """The relative positions of FastSpeech2Conformer and the attention that uses them."""

    def __init__(self) -> None:
        super().__init__()
        config = FastSpeech2ConformerConfig(hidden_size=24, encoder_num_attention_heads=3)
        module = {
            "num_attention_heads": 3,
            "attention_dropout_rate": 0.0,
            "positional_dropout_rate": 0.0,
        }
        self.positions = fastspeech.FastSpeech2ConformerRelPositionalEncoding(config, module)
        self.attention = fastspeech.FastSpeech2ConformerAttention(config, module)

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        x, table = self.positions(x)
        return self.attention(x, kept[:, None], table)[0]


def relative_build() -> tuple[Any, Any]:
    kept = np.ones((2, 10), np.float32)
    kept[0, 7:] = 0
    return train_torch(RelativeSpeech(), 431), (inputs(432, 2, 10, 24, scale=0.3), kept)


def relative_port(
    model: Any,
    x: Any,
    order: int = 1,
    late: int = 0,
    shared_bias: bool = False,
    scaled_input: bool = True,
    content_only_scale: bool = False,
    halves: bool = False,
) -> np.ndarray:
    w = weights_of(model.attention)
    hidden, kept = x
    t = hidden.shape[1]
    if scaled_input:
        hidden = hidden * np.sqrt(np.float32(24))
    angle = np.arange(t - 1, -t, -1)[:, None] * 10000.0 ** (-np.arange(0, 24, 2) / 24) * order
    parts = [np.sin(angle), np.cos(angle)]
    table = np.concatenate(parts, -1) if halves else np.stack(parts, -1).reshape(2 * t - 1, 24)
    p = (table @ w["linear_pos.weight"].T).reshape(-1, 3, 8).transpose(1, 0, 2)
    q, k, v = (split_heads(_projected(w, f"linear_{n}", hidden), 3) for n in "qkv")
    u, o = w["pos_bias_u"][:, None], w["pos_bias_v"][:, None]
    content = (q + u) @ k.transpose(0, 1, 3, 2)
    place = (q + (u if shared_bias else o)) @ p.transpose(0, 2, 1)
    # Column t - 1 + j - i belongs to the distance of query i to key j.
    columns = t - 1 + np.arange(t) - np.arange(t)[:, None] - late
    place = np.take_along_axis(
        place, np.broadcast_to(columns, (*place.shape[:2], t, t)) % (2 * t - 1), 3
    )
    root = math.sqrt(8)
    scores = content / root + place if content_only_scale else (content + place) / root
    scores = np.where(kept[:, None, None] > 0, scores, -1e30)
    return _projected(w, "linear_out", join_heads(softmax(scores) @ v))


RELATIVE = Case(
    "fourth_fastspeech2_relative_attention",
    relative_build,
    "",
    relative_port,
    {
        "table_reversed": Mistake(
            partial(relative_port, order=-1),
            "the table of positions runs from the most negative distance up; it is to begin with "
            "the largest positive distance",
        ),
        "shift_one_off": Mistake(
            partial(relative_port, late=1),
            "the relative shift is off by one column, so a key's own position counts as distance "
            "one; the diagonal is to have distance zero",
        ),
        "one_bias": Mistake(
            partial(relative_port, shared_bias=True),
            "pos_bias_u is added to the queries for both terms; the position term is to use "
            "pos_bias_v",
        ),
        "positions_unscaled": Mistake(
            partial(relative_port, content_only_scale=True),
            "only the content scores are divided by the root of the head size; the sum of content "
            "and position scores is to be divided",
        ),
        "halves_and_unscaled_input": Mistake(
            partial(relative_port, halves=True, scaled_input=False),
            "sines and cosines lie in two halves, and the input is not multiplied by root 24; "
            "they are to alternate, and it is to be scaled",
            causes=2,
        ),
    },
)


# MPNet: buckets of relative positions.


class BucketedText(nn.Module):
    """The encoder of MPNet without its layers: the position bias and one self-attention."""

    def __init__(self) -> None:
        super().__init__()
        config = MPNetConfig(hidden_size=24, num_attention_heads=3, num_hidden_layers=0)
        self.encoder = mpnet.MPNetEncoder(config)
        self.attention = mpnet.MPNetSelfAttention(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.encoder.compute_position_bias(x)
        return self.attention(x, position_bias=bias)[0]


def mpnet_build() -> tuple[Any, Any]:
    model = train_torch(BucketedText(), 441)
    model.encoder.relative_attention_bias.weight.data *= 2.5
    return model, inputs(442, 2, 26, 24)


def mpnet_port(
    model: Any,
    x: np.ndarray,
    future_first: bool = False,
    rounded: bool = False,
    before_scale: bool = False,
    farthest: int = 128,
    one_sided: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    bias = w["encoder.relative_attention_bias.weight"]
    t = x.shape[1]
    past = np.arange(t)[:, None] - np.arange(t)
    half, exact = (32, 16) if one_sided else (16, 8)
    n = np.maximum(past, 0) if one_sided else np.abs(past)
    log = np.log(np.maximum(n, 1) / exact) / math.log(farthest / exact) * (half - exact)
    far = exact + (np.rint(log) if rounded else np.trunc(log)).astype(int)
    bucket = np.where(n < exact, n, np.minimum(far, half - 1))
    if not one_sided:
        bucket = bucket + half * ((past > 0) if future_first else (past < 0))
    a = beneath(w, "attention.")
    q, k, v = (split_heads(_projected(a, name, x), 3) for name in "qkv")
    scores, places = q @ k.transpose(0, 1, 3, 2), bias[bucket].transpose(2, 0, 1)
    scores = (scores + places) / math.sqrt(8) if before_scale else scores / math.sqrt(8) + places
    return _projected(a, "o", join_heads(softmax(scores) @ v))


MPNET = Case(
    "fourth_mpnet_attention",
    mpnet_build,
    "",
    mpnet_port,
    {
        "directions_swapped": Mistake(
            partial(mpnet_port, future_first=True),
            "the upper 16 buckets are given to keys before the query; they belong to the keys "
            "behind it",
        ),
        "bucket_rounded": Mistake(
            partial(mpnet_port, rounded=True),
            "the logarithmic bucket of a far key is rounded to the nearest integer; it is to be "
            "truncated",
        ),
        "bias_before_scale": Mistake(
            partial(mpnet_port, before_scale=True),
            "the position bias is added before the scores are divided by the root of the head "
            "size; it is to be added afterwards, unscaled",
        ),
        "distance_of_64": Mistake(
            partial(mpnet_port, farthest=64),
            "the logarithmic buckets reach a distance of 64; they are to reach 128 positions",
        ),
        "one_sided_buckets": Mistake(
            partial(mpnet_port, one_sided=True),
            "all 32 buckets are used for the past and keys ahead get bucket zero; the encoder is "
            "bidirectional with 16 each",
        ),
    },
)


# M2M100: an encoder with positions that know the padding.


def m2m_build() -> tuple[Any, Any]:
    config = M2M100Config(
        vocab_size=40,
        d_model=24,
        encoder_layers=1,
        encoder_attention_heads=3,
        encoder_ffn_dim=40,
        max_position_embeddings=32,
        attn_implementation="eager",
    )
    ids = tokens(452, 2, 9, vocabulary=40, lowest=4)
    ids[0, :3] = 1
    model = train_torch(M2M100Encoder(config), 451)
    return model, {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}


def m2m_port(
    model: Any,
    x: Any,
    scaled: bool = True,
    alternate: bool = False,
    spread: int = 11,
    count_padding: bool = False,
    first: int = 2,
    last_norm: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    ids = x["input_ids"]
    kept = ids != 1
    if count_padding:
        places = np.broadcast_to(np.arange(9) + first, ids.shape)
    else:
        places = np.where(kept, np.cumsum(kept, 1) + first - 1, 1)
    angle = places[..., None] * np.exp(-math.log(10000) / spread * np.arange(12))
    parts = [np.sin(angle), np.cos(angle)]
    table = np.stack(parts, -1).reshape(2, 9, 24) if alternate else np.concatenate(parts, -1)
    if not count_padding:
        table = np.where(kept[..., None], table, 0)
    h = w["embed_tokens.weight"][ids] * (math.sqrt(24) if scaled else 1) + table
    a = beneath(w, "layers.0.")
    y = layer_norm(h, a["self_attn_layer_norm.weight"], a["self_attn_layer_norm.bias"])
    q, k, v = (split_heads(_projected(a, f"self_attn.{n}_proj", y), 3) for n in "qkv")
    scores = np.where(kept[:, None, None], q @ k.transpose(0, 1, 3, 2) / math.sqrt(8), -1e30)
    h = h + _projected(a, "self_attn.out_proj", join_heads(softmax(scores) @ v))
    y = layer_norm(h, a["final_layer_norm.weight"], a["final_layer_norm.bias"])
    h = h + _projected(a, "fc2", relu(_projected(a, "fc1", y)))
    return layer_norm(h, w["layer_norm.weight"], w["layer_norm.bias"]) if last_norm else h


M2M = Case(
    "fourth_m2m100_encoder",
    m2m_build,
    "",
    m2m_port,
    {
        "embedding_unscaled": Mistake(
            partial(m2m_port, scaled=False),
            "the word embeddings are added as stored; scale_embedding is true, so they are to be "
            "multiplied by the root of 24 first",
        ),
        "alternating_sines": Mistake(
            partial(m2m_port, alternate=True),
            "sines and cosines alternate in the position vectors; all sines come first, then all "
            "cosines",
        ),
        "frequency_over_half": Mistake(
            partial(m2m_port, spread=12),
            "the frequencies are spaced by ln(10000)/12 as in the paper; this table divides by "
            "half the size minus one, 11",
        ),
        "padding_counted": Mistake(
            partial(m2m_port, count_padding=True),
            "positions are counted over the padding on the left too; padding keeps a zero vector "
            "and the first real token gets position 2",
        ),
        "positions_from_zero_and_no_last_norm": Mistake(
            partial(m2m_port, first=0, last_norm=False),
            "the first token has position 0 instead of 2, and the encoder's last normalisation "
            "is left out; both belong to the encoder",
            causes=2,
        ),
    },
)


# PatchTST: scaled series cut into patches.


def patches_build() -> tuple[Any, Any]:
    config = PatchTSTConfig(
        num_input_channels=3,
        context_length=23,
        patch_length=6,
        patch_stride=3,
        num_hidden_layers=1,
        d_model=16,
        num_attention_heads=2,
        ffn_dim=24,
        use_cls_token=True,
        scaling="std",
        do_mask_input=False,
        attn_implementation="eager",
    )
    model = train_torch(PatchTSTModel(config), 461)
    seen = (np.random.default_rng(463).random((2, 23, 3)) > 0.2).astype(np.float32)
    values = inputs(462, 2, 23, 3, scale=2.0, shift=3.0) * seen
    return model, {"past_values": values, "past_observed_mask": seen}


def patches_port(
    model: Any,
    x: Any,
    start: int = 2,
    free: int = 0,
    use_mask: bool = True,
    clear: bool = False,
    norm: str = "batch",
    shifted: bool = False,
) -> np.ndarray:
    w = weights_of(model.encoder)
    data, seen = x["past_values"], x["past_observed_mask"]
    seen_or_all = seen if use_mask else np.ones_like(seen)
    count = seen_or_all.sum(1, keepdims=True)
    mean = (data * seen_or_all).sum(1, keepdims=True) / count
    var = (((data - mean) * seen_or_all) ** 2).sum(1, keepdims=True) / (count - free)
    data = (data - mean) / np.sqrt(var + 1e-5)
    if clear:
        data = data * seen
    patches = sliding_window_view(data[:, start:], 6, axis=1)[:, ::3].transpose(0, 2, 1, 3)
    h = _projected(w, "embedder.input_embedding", patches)
    places = w["positional_encoder.position_enc"]
    token = w["positional_encoder.cls_token"]
    if shifted:
        h, token = h + places[:-1], np.broadcast_to(token, (2, 3, 1, 16))
    else:
        h, token = h + places[1:], np.broadcast_to(token + places[:1], (2, 3, 1, 16))
    h = np.concatenate([token, h], 2).reshape(6, -1, 16)

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        if norm == "layer":
            return layer_norm(y, a[f"{name}.weight"], a[f"{name}.bias"])
        return batch_norm(y.transpose(0, 2, 1), a, name).transpose(0, 2, 1)

    a = beneath(w, "layers.0.")
    y = normed(h, "norm_sublayer1.batchnorm")
    q, k, v = (split_heads(_projected(a, f"self_attn.{n}_proj", y), 2) for n in "qkv")
    y = join_heads(softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(8)) @ v)
    h = h + _projected(a, "self_attn.out_proj", y)
    y = gelu(_projected(a, "ff.0", normed(h, "norm_sublayer3.batchnorm")))
    return (h + _projected(a, "ff.3", y)).reshape(2, 3, -1, 16)


PATCHES = Case(
    "fourth_patchtst_model",
    patches_build,
    "",
    patches_port,
    {
        "patches_from_the_start": Mistake(
            partial(patches_port, start=0),
            "the patches are cut from the first value on; two values are to be dropped at the "
            "start so that the last patch ends with the series",
        ),
        "mask_ignored": Mistake(
            partial(patches_port, use_mask=False),
            "mean and variance of the scaler run over the zeros of missing values too; only "
            "observed values count",
        ),
        "missing_cleared": Mistake(
            partial(patches_port, clear=True),
            "missing values are set back to zero after scaling; the model leaves them at minus "
            "the mean over the scale",
        ),
        "layer_norm": Mistake(
            partial(patches_port, norm="layer"),
            "the layers normalise each patch over its 16 features; norm_type is batchnorm, with "
            "running statistics for each feature",
        ),
        "token_without_place_and_sample_variance": Mistake(
            partial(patches_port, shifted=True, free=1),
            "patches take positions from row 0, the token none, and the variance divides by "
            "n - 1; row 0 is the token's, and n divides",
            causes=2,
        ),
    },
)

# The linear recurrent unit: a complex diagonal state.


class LinearRecurrentUnit(nn.Module):
    """The recurrent unit of Orvieto et al. (2023), sequentially."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.nu_log = nn.Parameter(torch.zeros(states))
        self.theta_log = nn.Parameter(torch.zeros(states))
        self.gamma_log = nn.Parameter(torch.zeros(states))
        self.b_re = nn.Parameter(torch.zeros(states, width))
        self.b_im = nn.Parameter(torch.zeros(states, width))
        self.c_re = nn.Parameter(torch.zeros(width, states))
        self.c_im = nn.Parameter(torch.zeros(width, states))
        self.d = nn.Parameter(torch.zeros(width))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        decay = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        b = torch.complex(self.b_re, self.b_im) * torch.exp(self.gamma_log)[:, None]
        c = torch.complex(self.c_re, self.c_im)
        drive = u.to(b.dtype) @ b.T
        state = torch.zeros_like(drive[:, 0])
        out = []
        for t in range(u.shape[1]):
            state = decay * state + drive[:, t]
            out.append((state @ c.T).real)
        return torch.stack(out, 1) + self.d * u


class RecurrentUnitBlock(nn.Module):
    """A residual block: norm, recurrent unit, GELU, gated linear unit."""

    def __init__(self, width: int = 12, states: int = 16) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.unit = LinearRecurrentUnit(width, states)
        self.mix = nn.Linear(width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mix(functional.gelu(self.unit(self.norm(x))))
        return x + functional.glu(y, dim=-1)


def unit_build() -> tuple[Any, Any]:
    model = train_torch(RecurrentUnitBlock(), 471, gain=1.3)
    model.unit.nu_log.data -= 1.5
    return model, inputs(472, 2, 18, 12)


def unit_port(
    model: Any,
    x: np.ndarray,
    single: bool = False,
    recomputed: bool = False,
    both_halves: bool = False,
    late: bool = False,
    gate_first: bool = False,
    skip: bool = True,
    stale: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    s = beneath(w, "unit.")
    u = layer_norm(x, w["norm.weight"], w["norm.bias"])
    size = np.exp(s["nu_log"]) if not single else np.log1p(np.exp(s["nu_log"]))
    decay = np.exp(-size + 1j * np.exp(s["theta_log"]))
    gamma = np.sqrt(1 - np.abs(decay) ** 2) if recomputed else np.exp(s["gamma_log"])
    drive = u @ ((s["b_re"] + 1j * s["b_im"]) * gamma[:, None]).T
    if stale:
        drive = drive.reshape(1, 2 * x.shape[1], -1)
    c = s["c_re"] + 1j * s["c_im"]
    state, out = np.zeros_like(drive[:, 0]), []
    for t in range(drive.shape[1]):
        before = state
        state = decay * state + drive[:, t]
        out.append(((before if late else state) @ c.T).real * (2 if both_halves else 1))
    y = np.stack(out, 1).reshape(u.shape) + (s["d"] * u if skip else 0)
    a, b = np.split(_projected(w, "mix", gelu(y)), 2, -1)
    return x + (sigmoid(a) * b if gate_first else a * sigmoid(b))


UNIT = Case(
    "fourth_linear_recurrent_unit",
    unit_build,
    "",
    unit_port,
    {
        "softplus_decay": Mistake(
            partial(unit_port, single=True),
            "the modulus of the eigenvalues is exp(-softplus(nu)) as in Mamba; it is exp(-exp(nu))",
        ),
        "gamma_recomputed": Mistake(
            partial(unit_port, recomputed=True),
            "the input is scaled by sqrt(1 - |lambda|^2), its initial value; the trained gamma, "
            "stored as a logarithm, is to be used",
        ),
        "conjugates_counted": Mistake(
            partial(unit_port, both_halves=True),
            "the read-out takes twice the real part as if the states were conjugate pairs; this "
            "unit takes the real part once",
        ),
        "state_read_late": Mistake(
            partial(unit_port, late=True),
            "the output at a step reads the state before the step's input went in; it reads the "
            "updated state",
        ),
        "state_of_last_series": Mistake(
            partial(unit_port, stale=True),
            "the second series starts from the state that the first one left in the buffer; "
            "every series is to start from zero",
        ),
        "gate_first_and_no_skip": Mistake(
            partial(unit_port, gate_first=True, skip=False),
            "the first half of the projection is the gate, and the direct term D u is left out; "
            "the second half gates and D u is added",
            causes=2,
        ),
    },
)


# HGRN2: outer-product states with a lower bound for the forget gate.


class ExpandedGatedRecurrence(nn.Module):
    """Two layers of HGRN2 (Qin et al., 2024), in the recurrent form."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.lower_bounds = nn.Parameter(torch.zeros(3, width))
        self.q_proj = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.f_proj = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.i_proj = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.o_proj = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.norm = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bounds = torch.softmax(self.lower_bounds, dim=0)
        bounds = torch.cumsum(bounds, dim=0) - bounds[0]
        for i in range(2):
            low = bounds[i + 1]
            q = functional.silu(self.q_proj[i](x))
            f = low + (1 - low) * torch.sigmoid(self.f_proj[i](x))
            shape = (x.shape[0], x.shape[1], self.heads, -1)
            q, f, v = q.view(shape), f.view(shape), self.i_proj[i](x).view(shape)
            state = x.new_zeros(x.shape[0], self.heads, q.shape[-1], q.shape[-1])
            out = []
            for t in range(x.shape[1]):
                new = (1 - f[:, t]).unsqueeze(-1) * v[:, t].unsqueeze(-2)
                state = f[:, t].unsqueeze(-1) * state + new
                out.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
            y = self.norm[i](torch.stack(out, 1).flatten(2))
            x = x + self.o_proj[i](y)
        return x


def expanded_build() -> tuple[Any, Any]:
    model = train_torch(ExpandedGatedRecurrence(), 481, gain=1.2)
    model.lower_bounds.data *= 3
    return model, inputs(482, 2, 12, 16)


def expanded_port(
    model: Any,
    x: np.ndarray,
    bound: int = 1,
    first_kept: bool = False,
    decay_axis: str = "key",
    tied: bool = True,
    per_head: bool = False,
    swish: bool = True,
    held: Any = np.float64,
) -> np.ndarray:
    w = weights_of(model)
    share = softmax(w["lower_bounds"], 0)
    bounds = np.cumsum(share, 0) - (0 if first_kept else share[0])
    for i in range(2):
        low = bounds[i + bound]
        q, v = x @ w[f"q_proj.{i}.weight"].T, x @ w[f"i_proj.{i}.weight"].T
        f = low + (1 - low) * sigmoid(x @ w[f"f_proj.{i}.weight"].T)
        q = q * sigmoid(q) if swish else q
        q, f, v = (a.reshape(2, -1, 2, 8) for a in (q, f, v))
        k = 1 - f if tied else np.ones_like(f)
        state, out = np.zeros((2, 2, 8, 8)), []
        for t in range(x.shape[1]):
            keep = f[:, t, :, :, None] if decay_axis == "key" else f[:, t, :, None, :]
            state = keep * state + k[:, t, :, :, None] * v[:, t, :, None, :]
            state = state.astype(held).astype(np.float64)
            out.append(np.einsum("bhk,bhkv->bhv", q[:, t], state))
        y = np.stack(out, 1)
        y = y if per_head else y.reshape(2, -1, 16)
        y = y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-5)
        x = x + (y.reshape(2, -1, 16) * w[f"norm.{i}.weight"]) @ w[f"o_proj.{i}.weight"].T
    return x


EXPANDED = Case(
    "fourth_gated_state_expansion",
    expanded_build,
    "",
    expanded_port,
    {
        "bound_of_layer_before": Mistake(
            partial(expanded_port, bound=0),
            "each layer takes the lower bound of the row before its own, so the first layer has "
            "none; layer i is to use row i + 1",
        ),
        "first_bound_kept": Mistake(
            partial(expanded_port, first_kept=True),
            "the cumulative softmax of the lower bounds is used as it is; its first row is to be "
            "subtracted",
        ),
        "decay_of_values": Mistake(
            partial(expanded_port, decay_axis="value"),
            "the forget gate decays the columns of the state, along the values; it is to decay "
            "the rows, along the keys",
        ),
        "untied_input": Mistake(
            partial(expanded_port, tied=False),
            "the new values enter the state undamped; they are to be multiplied by one minus the "
            "forget gate",
        ),
        "state_in_half_precision": Mistake(
            partial(expanded_port, held=np.float16),
            "the state is stored as float16 after every step; it is to be kept in float32 "
            "(the change is inherently small)",
        ),
        "norm_per_head_and_no_swish": Mistake(
            partial(expanded_port, per_head=True, swish=False),
            "the RMS norm runs over each head and the queries are linear; it runs over all "
            "channels, and queries pass through swish",
            causes=2,
        ),
    },
)


# Exponential smoothing with a season, as in front of the recurrent net of ES-RNN.


class SeasonalSmoothing(nn.Module):
    """Multiplicative smoothing of a series: log of the deseasonalised and levelled values."""

    def __init__(self, series: int = 6, period: int = 5) -> None:
        super().__init__()
        self.period = period
        self.level_logit = nn.Parameter(torch.zeros(series))
        self.season_logit = nn.Parameter(torch.zeros(series))
        self.log_season = nn.Parameter(torch.zeros(series, period))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        alpha, gamma = torch.sigmoid(self.level_logit), torch.sigmoid(self.season_logit)
        seasons = list(torch.exp(self.log_season).unbind(1))
        level = y[:, 0] / seasons[0]
        seasons.append(gamma * (y[:, 0] / level) + (1 - gamma) * seasons[0])
        levels = [level]
        for t in range(1, y.shape[1]):
            level = alpha * (y[:, t] / seasons[t]) + (1 - alpha) * levels[-1]
            levels.append(level)
            seasons.append(gamma * (y[:, t] / level) + (1 - gamma) * seasons[t])
        season = torch.stack(seasons, 1)
        seen = season[:, : y.shape[1]]
        return torch.cat([torch.log(y / seen / level[:, None]), season[:, y.shape[1] :]], 1)


def season_build() -> tuple[Any, Any]:
    model = train_torch(SeasonalSmoothing(), 491, gain=0.7)
    y = np.exp(0.4 * normal_floats(492, 6, 23) + 1.0)
    return model, y.astype(np.float32)


def season_port(
    model: Any,
    y: np.ndarray,
    stale_level: bool = False,
    ahead: int = 0,
    own_level: bool = False,
    swapped: bool = False,
    exponent: bool = True,
    digits: int | None = None,
) -> np.ndarray:
    w = weights_of(model)
    alpha, gamma = sigmoid(w["level_logit"]), sigmoid(w["season_logit"])
    if digits:
        alpha, gamma = alpha.round(digits), gamma.round(digits)
    if swapped:
        alpha, gamma = 1 - alpha, 1 - gamma
    first = np.exp(w["log_season"]) if exponent else 1 + w["log_season"]
    length = y.shape[1]
    season = np.zeros((len(y), length + 5))
    season[:, :5] = first
    levels = np.zeros_like(y, dtype=np.float64)
    for t in range(length):
        detrended = y[:, t] / season[:, t + ahead]
        before = levels[:, t - 1] if t else detrended
        levels[:, t] = alpha * detrended + (1 - alpha) * before
        level = before if stale_level else levels[:, t]
        season[:, t + 5] = gamma * y[:, t] / level + (1 - gamma) * season[:, t]
    level = levels if own_level else levels[:, -1:]
    return np.concatenate([np.log(y / season[:, :length] / level), season[:, length:]], 1)


SEASON = Case(
    "fourth_seasonal_smoothing",
    season_build,
    "",
    season_port,
    {
        "stale_level": Mistake(
            partial(season_port, stale_level=True),
            "the season is updated with the level of the step before; it is to use the level "
            "that was just updated",
        ),
        "level_of_each_step": Mistake(
            partial(season_port, own_level=True),
            "each value is divided by the level of its own step; all values of the window are to "
            "be divided by the last level",
        ),
        "weights_swapped": Mistake(
            partial(season_port, swapped=True),
            "the smoothing weights multiply the old level and season; they multiply the new "
            "observations, and one minus them the old ones",
        ),
        "season_one_ahead": Mistake(
            partial(season_port, ahead=1),
            "the level is updated with the value divided by the season factor of the next step; "
            "it is to be that of the same step",
        ),
        "weights_of_two_digits": Mistake(
            partial(season_port, digits=2),
            "the smoothing weights were copied with two digits behind the point from a print; "
            "all digits are to be used",
        ),
        "season_linearised": Mistake(
            partial(season_port, exponent=False),
            "the first season factors are 1 + s, the linear approximation; they are stored as "
            "logarithms and need exp(s)",
        ),
    },
)


# N-HiTS: pooled input, few knots, linear interpolation.


class KnotsBlock(nn.Module):
    """A block of N-HiTS (Challu et al., 2022) with linear interpolation of the forecast."""

    def __init__(self, pool: int, knots: int, size: int = 24, horizon: int = 12) -> None:
        super().__init__()
        self.size, self.horizon = size, horizon
        self.pooling = nn.MaxPool1d(pool, stride=pool, ceil_mode=True)
        pooled = -(-size // pool)
        self.layers = nn.Sequential(nn.Linear(pooled, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU())
        self.theta = nn.Linear(20, size + knots)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        theta = self.theta(self.layers(self.pooling(x[:, None])[:, 0]))
        backcast, knots = theta[:, : self.size], theta[:, self.size :]
        forecast = functional.interpolate(knots[:, None], size=self.horizon, mode="linear")
        return backcast, forecast[:, 0]


class KnotsStack(nn.Module):
    """Two blocks, the second on what the first leaves; the forecast begins at the last value."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([KnotsBlock(5, 3), KnotsBlock(2, 6)])

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rest, forecast = x.flip(-1), x[:, -1:]
        mask = mask.flip(-1)
        for block in self.blocks:
            backcast, part = block(rest)
            rest = (rest - backcast) * mask
            forecast = forecast + part
        return forecast


def knots_build() -> tuple[Any, Any]:
    model = train_torch(KnotsStack(), 501, gain=1.4)
    mask = np.ones((12, 24), np.float32)
    mask[1, :7] = 0
    mask[7, :2] = 0
    return model, (inputs(502, 12, 24, shift=-0.6) * mask, mask)


def _interpolated(y: np.ndarray, size: int, aligned: bool) -> np.ndarray:
    n = y.shape[1]
    if aligned:
        at = np.arange(size) * (n - 1) / (size - 1)
    else:
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n - 1)
    return y[:, low] * (1 - (at - low)) + y[:, high] * (at - low)


def knots_port(
    model: Any,
    x: Any,
    aligned: bool = False,
    knots_first: bool = False,
    flipped: bool = True,
    rest: bool = True,
    fill: float = -np.inf,
    masked: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    series, mask = (a[:, ::-1] for a in x) if flipped else x
    forecast = x[0][:, -1:]
    for i, (pool, knots) in enumerate(((5, 3), (2, 6))):
        b = beneath(w, f"blocks.{i}.")
        padded = np.pad(series, ((0, 0), (0, -24 % pool)), constant_values=fill)
        y = padded.reshape(12, -1, pool).max(-1)
        theta = _projected(b, "layers.0", y)
        theta = _projected(b, "theta", relu(_projected(b, "layers.2", relu(theta))))
        if knots_first:
            part, back = theta[:, :knots], theta[:, knots:]
        else:
            back, part = theta[:, :24], theta[:, 24:]
        if rest:
            series = (series - back) * (mask if masked else 1)
        forecast = forecast + _interpolated(part, 12, aligned)
    return forecast


KNOTS = Case(
    "fourth_nhits_stack",
    knots_build,
    "",
    knots_port,
    {
        "corners_aligned": Mistake(
            partial(knots_port, aligned=True),
            "the first and last knot are put on the first and last step of the horizon; "
            "align_corners is false, so knots are centres of cells",
        ),
        "knots_first": Mistake(
            partial(knots_port, knots_first=True),
            "theta is split into the forecast's knots and then the backcast; the backcast comes "
            "first",
        ),
        "oldest_first": Mistake(
            partial(knots_port, flipped=False),
            "the window is fed with the oldest value first; the stack reverses it so that the "
            "newest value comes first",
        ),
        "no_residual": Mistake(
            partial(knots_port, rest=False),
            "the second block gets the whole series again; the first block's backcast is to be "
            "subtracted before",
        ),
        "zero_pooling_and_no_mask": Mistake(
            partial(knots_port, fill=0.0, masked=False),
            "the last, shorter pooling window is filled with zeros and the residual is not "
            "masked; only real values compete, and missing ones stay zero",
            causes=2,
        ),
    },
)


# Quasi-recurrent layers with fo-pooling, both ways.


class QuasiRecurrent(nn.Module):
    """A QRNN of Bradbury et al. (2017), window of two, forwards and backwards, with lengths."""

    def __init__(self, width: int = 10, hidden: int = 8) -> None:
        super().__init__()
        self.ahead = nn.Linear(2 * width, 3 * hidden)
        self.back = nn.Linear(2 * width, 3 * hidden)

    @staticmethod
    def one_way(x: torch.Tensor, linear: nn.Linear, kept: torch.Tensor) -> torch.Tensor:
        previous = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        z, f, o = linear(torch.cat([previous, x], -1)).chunk(3, -1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        f = torch.where(kept[..., None] > 0, f, torch.ones_like(f))
        c = torch.zeros_like(z[:, 0])
        out = []
        for t in range(x.shape[1]):
            c = f[:, t] * c + (1 - f[:, t]) * z[:, t]
            out.append(o[:, t] * c)
        return torch.stack(out, 1)

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        back = self.one_way(x.flip(1), self.back, kept.flip(1)).flip(1)
        return torch.cat([self.one_way(x, self.ahead, kept), back], -1)


def quasi_build() -> tuple[Any, Any]:
    kept = np.ones((3, 11), np.float32)
    kept[1, 8:] = 0
    kept[2, 5:] = 0
    return train_torch(QuasiRecurrent(), 511, gain=1.3), (inputs(512, 3, 11, 10), kept)


def _piecewise(x: np.ndarray) -> np.ndarray:
    return np.clip(0.25 * x + 0.5, 0, 1)


def quasi_port(
    model: Any,
    x: Any,
    order: str = "zfo",
    window: str = "before",
    input_kept: bool = False,
    squash: bool = False,
    turned_back: bool = True,
    gate: Callable[[np.ndarray], np.ndarray] = sigmoid,
) -> np.ndarray:
    w = weights_of(model)

    def one_way(x: np.ndarray, name: str, kept: np.ndarray) -> np.ndarray:
        other = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], 1)
        pair = [other, x] if window == "before" else [x, other]
        parts = np.split(_projected(w, name, np.concatenate(pair, -1)), 3, -1)
        gates = dict(zip(order, parts, strict=True))
        z, f, o = np.tanh(gates["z"]), gate(gates["f"]), gate(gates["o"])
        if input_kept:
            f = 1 - f
        f = np.where(kept[..., None] > 0, f, 1)
        c, out = np.zeros_like(z[:, 0]), []
        for t in range(x.shape[1]):
            c = f[:, t] * c + (1 - f[:, t]) * z[:, t]
            out.append(o[:, t] * (np.tanh(c) if squash else c))
        return np.stack(out, 1)

    back = one_way(x[0][:, ::-1], "back", x[1][:, ::-1])
    back = back[:, ::-1] if turned_back else back
    return np.concatenate([one_way(x[0], "ahead", x[1]), back], -1)


QUASI = Case(
    "fourth_quasi_recurrent",
    quasi_build,
    "",
    quasi_port,
    {
        "gates_in_order_zof": Mistake(
            partial(quasi_port, order="zof"),
            "the second third of the projection is the output gate and the last the forget gate; "
            "the order is candidate, forget, output",
        ),
        "window_reversed": Mistake(
            partial(quasi_port, window="after"),
            "the current vector is put before the previous one in the window of two; the "
            "previous one comes first",
        ),
        "forget_is_input": Mistake(
            partial(quasi_port, input_kept=True),
            "the forget gate weighs the new candidate and its complement the old state; it is to "
            "weigh the old state",
        ),
        "squashed_state": Mistake(
            partial(quasi_port, squash=True),
            "the state passes through tanh before the output gate as in an LSTM; fo-pooling "
            "multiplies the state itself",
        ),
        "piecewise_gates": Mistake(
            partial(quasi_port, gate=_piecewise),
            "the gates are the straight line 0.25 x + 0.5, clipped to 0 and 1, as in hardware; "
            "they are to be true sigmoids",
        ),
        "back_not_turned": Mistake(
            partial(quasi_port, turned_back=False),
            "the backward direction's results are joined in the order they were computed; they "
            "are to be reversed into the order of time",
        ),
    },
)

# BiDAF: attention of a text to a question and back.


class AttentionFlow(nn.Module):
    """Bidirectional attention flow (Seo et al., 2017) with masks."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.similarity = nn.Linear(3 * width, 1)

    def forward(self, c: torch.Tensor, q: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        t, j = c.shape[1], q.shape[1]
        wide, deep = c[:, :, None].expand(-1, -1, j, -1), q[:, None].expand(-1, t, -1, -1)
        s = self.similarity(torch.cat([wide, deep, wide * deep], -1))[..., 0]
        s = s.masked_fill(kept[:, None] == 0, -1e9)
        to_question = torch.softmax(s, -1) @ q
        weights = torch.softmax(s.max(-1).values, -1)
        to_text = (weights[:, None] @ c).expand(-1, t, -1)
        return torch.cat([c, to_question, c * to_question, c * to_text], -1)


def flow_build() -> tuple[Any, Any]:
    kept = np.ones((2, 6), np.float32)
    kept[0, 4:] = 0
    model = train_torch(AttentionFlow(), 521, gain=2.0)
    return model, (inputs(522, 2, 10, 8), inputs(523, 2, 6, 8), kept)


def flow_port(
    model: Any,
    x: Any,
    reduce: str = "max",
    axis: int = 2,
    swapped: bool = False,
    last: str = "text",
    masked: bool = True,
) -> np.ndarray:
    w = weights_of(model)["similarity.weight"][0]
    bias = weights_of(model)["similarity.bias"][0]
    c, q, kept = x
    a, b, ab = np.split(w, 3)
    if swapped:
        a, b = b, a
    s = (c @ a)[:, :, None] + (q @ b)[:, None] + (c * ab) @ q.transpose(0, 2, 1) + bias
    s = np.where(kept[:, None] > 0, s, -1e9) if masked else s
    to_question = softmax(s, axis) @ q
    best = s.max(2) if reduce == "max" else np.where(kept[:, None] > 0, s, 0).sum(2)
    to_text = softmax(best)[:, None] @ c
    other = to_question if last == "question" else c
    return np.concatenate([c, to_question, c * to_question, other * to_text], -1)


FLOW = Case(
    "fourth_attention_flow",
    flow_build,
    "",
    flow_port,
    {
        "softmax_over_text": Mistake(
            partial(flow_port, axis=1),
            "the weights of the question's words are normalised over the text's positions; they "
            "are to sum to one over the question",
        ),
        "summed_similarity": Mistake(
            partial(flow_port, reduce="sum"),
            "a text position is weighted by the sum of its similarities; the largest similarity "
            "to a word of the question counts",
        ),
        "similarity_parts_swapped": Mistake(
            partial(flow_port, swapped=True),
            "the first third of the similarity weights is applied to the question; it belongs to "
            "the text, the second to the question",
        ),
        "question_times_text": Mistake(
            partial(flow_port, last="question"),
            "the last quarter multiplies the attended question by the attended text; it "
            "multiplies the text itself by it",
        ),
        "padding_attended": Mistake(
            partial(flow_port, masked=False),
            "the padded words of the question are attended to; their similarity is to be masked "
            "before both softmaxes",
        ),
    },
)


# A pointer-generator's step with coverage.


class PointerGenerator(nn.Module):
    """The output step of See et al. (2017): generate from the vocabulary or copy a source word."""

    def __init__(self, width: int = 12, vocabulary: int = 30, extra: int = 4) -> None:
        super().__init__()
        self.extra = extra
        self.of_source = nn.Linear(width, width, bias=False)
        self.of_state = nn.Linear(width, width)
        self.of_coverage = nn.Parameter(torch.zeros(width))
        self.score = nn.Linear(width, 1, bias=False)
        self.generate = nn.Linear(3 * width, 1)
        self.hidden = nn.Linear(2 * width, width)
        self.vocabulary = nn.Linear(width, vocabulary)

    def forward(
        self,
        source: torch.Tensor,
        state: torch.Tensor,
        word: torch.Tensor,
        coverage: torch.Tensor,
        kept: torch.Tensor,
        ids: torch.Tensor,
    ) -> torch.Tensor:
        e = self.of_source(source) + self.of_state(state)[:, None]
        e = self.score(torch.tanh(e + coverage[..., None] * self.of_coverage))[..., 0]
        share = torch.softmax(e, -1) * kept
        share = share / share.sum(-1, keepdim=True)
        context = (share[:, None] @ source)[:, 0]
        chance = torch.sigmoid(self.generate(torch.cat([context, state, word], -1)))
        words = self.vocabulary(self.hidden(torch.cat([state, context], -1)))
        words = chance * torch.softmax(words, -1)
        words = torch.cat([words, words.new_zeros(len(words), self.extra)], -1)
        return torch.log(words.scatter_add(1, ids, (1 - chance) * share) + 1e-6)


def pointer_build() -> tuple[Any, Any]:
    model = train_torch(PointerGenerator(), 531, gain=1.5)
    kept = np.ones((5, 9), np.float32)
    kept[1, 6:] = kept[4, 3:] = 0
    ids = tokens(533, 5, 9, vocabulary=34)
    ids[:, 5], ids[:, 2] = ids[:, 1], 32
    coverage = np.abs(normal_floats(534, 5, 9))
    parts = (inputs(535, 5, 9, 12), inputs(536, 5, 12), inputs(537, 5, 12))
    return model, (*parts, coverage, kept, ids)


def pointer_port(
    model: Any,
    x: Any,
    overwrite: bool = False,
    swapped: bool = False,
    covered: bool = True,
    renewed: bool = True,
    floor: float = 1e-6,
    clip: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    source, state, word, coverage, kept, ids = x
    e = _projected(w, "of_source", source) + _projected(w, "of_state", state)[:, None]
    e = e + coverage[..., None] * w["of_coverage"] if covered else e
    share = softmax(_projected(w, "score", np.tanh(e))[..., 0]) * kept
    if renewed:
        share = share / share.sum(-1, keepdims=True)
    context = np.einsum("bt,btc->bc", share, source)
    chance = sigmoid(_projected(w, "generate", np.concatenate([context, state, word], -1)))
    hidden = _projected(w, "hidden", np.concatenate([state, context], -1))
    words, copied = softmax(_projected(w, "vocabulary", hidden)), np.zeros((5, 34))
    ids = np.where(ids >= 30, 0, ids) if clip else ids
    for row, (places, parts) in enumerate(zip(ids, share, strict=True)):
        if overwrite:
            copied[row, places] = parts
        else:
            np.add.at(copied[row], places, parts)
    words = np.concatenate([words, np.zeros((5, 4))], 1)
    chance = 1 - chance if swapped else chance
    return np.log(chance * words + (1 - chance) * copied + floor)


POINTER = Case(
    "fourth_pointer_generator",
    pointer_build,
    "",
    pointer_port,
    {
        "repeated_words_overwritten": Mistake(
            partial(pointer_port, overwrite=True),
            "where a source word occurs twice only its last weight is kept, by plain indexed "
            "assignment; the weights are to be added up",
        ),
        "chance_swapped": Mistake(
            partial(pointer_port, swapped=True),
            "the sigmoid is taken as the chance of copying; it is the chance of generating from "
            "the vocabulary",
        ),
        "unknown_words_as_zero": Mistake(
            partial(pointer_port, clip=True),
            "copied words outside the vocabulary are counted under id 0; they have columns of "
            "their own from 30 on",
        ),
        "weights_not_renewed": Mistake(
            partial(pointer_port, renewed=False),
            "the weights that are left behind the mask are not divided by their sum; they are to "
            "sum to one again",
        ),
        "no_coverage_and_another_floor": Mistake(
            partial(pointer_port, covered=False, floor=1e-12),
            "the coverage is left out of the scores, and 1e-12 is added before the logarithm; "
            "coverage belongs in, and 1e-6 is added",
            causes=2,
        ),
    },
)


# Words from characters, as in ELMo.


class CharacterWords(nn.Module):
    """Convolutions over a word's characters, the largest value, highways and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 6)
        self.convs = nn.ModuleList(nn.Conv1d(6, n, k) for k, n in ((1, 4), (2, 6), (4, 8)))
        self.highways = nn.ModuleList(nn.Linear(18, 36) for _ in range(2))
        self.projection = nn.Linear(18, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        b, t, c = ids.shape
        x = self.embed(ids.view(-1, c)).transpose(1, 2)
        y = torch.cat([functional.relu(conv(x).amax(-1)) for conv in self.convs], -1)
        for layer in self.highways:
            new, gate = layer(y).chunk(2, -1)
            gate = torch.sigmoid(gate)
            y = gate * y + (1 - gate) * functional.relu(new)
        return self.projection(y).view(b, t, -1)


def characters_build() -> tuple[Any, Any]:
    ids = tokens(542, 2, 7, 9, vocabulary=30)
    lengths = tokens(543, 2, 7, vocabulary=10, lowest=3)
    ids = np.where(np.arange(9) < lengths[..., None], ids, 0)
    return train_torch(CharacterWords(), 541, gain=1.3), ids


def characters_port(
    model: Any,
    ids: np.ndarray,
    carry: bool = True,
    gate_first: bool = False,
    real_only: bool = False,
    activation: Callable[[np.ndarray], np.ndarray] = relu,
    mirrored: bool = False,
    reduce: str = "max",
    layers: int = 2,
) -> np.ndarray:
    w = weights_of(model)
    x = w["embed.weight"][ids.reshape(14, 9)].transpose(0, 2, 1)
    count = (ids.reshape(14, 9) > 0).sum(1)
    words = []
    for i, k in enumerate((1, 2, 4)):
        weight = w[f"convs.{i}.weight"]
        y = conv(x, weight[:, :, ::-1] if mirrored else weight, w[f"convs.{i}.bias"])
        if real_only:
            last = np.maximum(count - k + 1, 1)
            y = np.where(np.arange(y.shape[2]) < last[:, None, None], y, -np.inf)
        words.append(activation(y.max(-1) if reduce == "max" else y.mean(-1)))
    y = np.concatenate(words, -1)
    for i in range(layers):
        new, gate = np.split(_projected(w, f"highways.{i}", y), 2, -1)
        if gate_first:
            new, gate = gate, new
        gate = sigmoid(gate) if carry else 1 - sigmoid(gate)
        y = gate * y + (1 - gate) * relu(new)
    return _projected(w, "projection", y).reshape(2, 7, 10)


CHARACTERS = Case(
    "fourth_character_words",
    characters_build,
    "",
    characters_port,
    {
        "gate_of_the_new": Mistake(
            partial(characters_port, carry=False),
            "the highway gate multiplies the transformed values, as in the paper; here it "
            "multiplies the input that is carried on",
        ),
        "gate_first": Mistake(
            partial(characters_port, gate_first=True),
            "the first half of a highway's projection is taken as the gate; the gate is the "
            "second half",
        ),
        "padding_left_out": Mistake(
            partial(characters_port, real_only=True),
            "the largest value is taken over a word's real characters only; the padded places "
            "take part with the embedding of id 0",
        ),
        "kernels_mirrored": Mistake(
            partial(characters_port, mirrored=True),
            "the kernels are mirrored for a true convolution; the layer correlates, without "
            "turning them over",
        ),
        "tanh_and_one_highway": Mistake(
            partial(characters_port, activation=np.tanh, layers=1),
            "tanh follows the pooling and only the first highway is applied; it is a ReLU and "
            "there are two highways",
            causes=2,
        ),
    },
)


# The convolutional gating branch of an E-Branchformer, and the merge.


class MergedBranches(nn.Module):
    """cgMLP beside a given global branch, merged depthwise (Kim et al., 2022)."""

    def __init__(self, width: int = 12, hidden: int = 20, kernel: int = 7) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.gate_norm = nn.LayerNorm(hidden // 2)
        self.gate_conv = nn.Conv1d(
            hidden // 2, hidden // 2, kernel, padding=kernel // 2, groups=hidden // 2
        )
        self.down = nn.Linear(hidden // 2, width)
        self.merge_conv = nn.Conv1d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.merge = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        a, b = functional.gelu(self.up(self.norm(x))).chunk(2, -1)
        b = self.gate_conv(self.gate_norm(b).transpose(1, 2)).transpose(1, 2)
        both = torch.cat([far, self.down(a * b)], -1)
        mixed = self.merge_conv(both.transpose(1, 2)).transpose(1, 2)
        return x + self.merge(both + mixed)


def branches_build() -> tuple[Any, Any]:
    model = train_torch(MergedBranches(), 551)
    return model, (inputs(552, 2, 16, 12), inputs(553, 2, 16, 12))


def branches_port(
    model: Any,
    x: Any,
    normed: str = "second",
    gate: str = "second",
    left: int = 3,
    sigmoid_gate: bool = False,
    near_first: bool = False,
    merge_skip: bool = True,
    activation: Callable[[np.ndarray], np.ndarray] = gelu,
) -> np.ndarray:
    w = weights_of(model)
    x, far = x
    y = activation(_projected(w, "up", layer_norm(x, w["norm.weight"], w["norm.bias"])))
    a, b = np.split(y, 2, -1)
    if gate == "first":
        a, b = b, a
    norm = (w["gate_norm.weight"], w["gate_norm.bias"])
    a, b = (layer_norm(a, *norm), b) if normed == "first" else (a, layer_norm(b, *norm))
    b = np.pad(b, ((0, 0), (left, 6 - left), (0, 0))).transpose(0, 2, 1)
    b = conv(b, w["gate_conv.weight"], w["gate_conv.bias"], groups=10).transpose(0, 2, 1)
    near = _projected(w, "down", a * (sigmoid(b) if sigmoid_gate else b))
    both = np.concatenate([near, far] if near_first else [far, near], -1)
    weight, bias = w["merge_conv.weight"], w["merge_conv.bias"]
    mixed = conv(both.transpose(0, 2, 1), weight, bias, padding=1, groups=24).transpose(0, 2, 1)
    return x + _projected(w, "merge", both + mixed if merge_skip else mixed)


BRANCHES = Case(
    "fourth_branchformer_merge",
    branches_build,
    "",
    branches_port,
    {
        "other_half_gates": Mistake(
            partial(branches_port, gate="first"),
            "the first half of the channels is normalised and convolved as the gate; it is to be "
            "the second half",
        ),
        "other_half_normed": Mistake(
            partial(branches_port, normed="first"),
            "the layer norm is put on the half that is gated; it belongs on the half that goes "
            "into the convolution",
        ),
        "gate_through_sigmoid": Mistake(
            partial(branches_port, sigmoid_gate=True),
            "the convolved half passes through a sigmoid before the product; the gating unit is "
            "linear there",
        ),
        "gate_padded_left": Mistake(
            partial(branches_port, left=6),
            "the gate's convolution is causal with six zeros at the start; it is centred with "
            "three at each end",
        ),
        "quick_gelu": Mistake(
            partial(branches_port, activation=gelu_quick),
            "the GELU is approximated by x sigmoid(1.702 x); it is to be the exact one with the "
            "error function",
        ),
        "near_first_and_no_merge_skip": Mistake(
            partial(branches_port, near_first=True, merge_skip=False),
            "the local branch is put first, and the branches are not added to their depthwise "
            "convolution; the global one comes first and they are",
            causes=2,
        ),
    },
)

# GATv2: attention along edges with features.


class EdgeAttention(nn.Module):
    """GATv2 (Brody et al., 2022) on an edge list, self-loops with the mean edge features."""

    def __init__(self, width: int = 8, edge: int = 3, heads: int = 2, size: int = 5) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.of_source = nn.Linear(width, heads * size)
        self.of_target = nn.Linear(width, heads * size)
        self.of_edge = nn.Linear(edge, heads * size, bias=False)
        self.attention = nn.Parameter(torch.zeros(heads, size))
        self.bias = nn.Parameter(torch.zeros(heads * size))

    def forward(self, x: torch.Tensor, edges: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        n = len(x)
        source, target = edges[0], edges[1]
        mean = x.new_zeros(n, features.shape[1]).index_add(0, target, features)
        mean = mean / torch.bincount(target, minlength=n).clamp(min=1)[:, None]
        source = torch.cat([source, torch.arange(n)])
        target = torch.cat([target, torch.arange(n)])
        features = self.of_edge(torch.cat([features, mean])).view(-1, self.heads, self.size)
        left = self.of_source(x).view(n, self.heads, self.size)
        right = self.of_target(x).view(n, self.heads, self.size)
        e = functional.leaky_relu(left[source] + right[target] + features, 0.2)
        e = torch.exp((e * self.attention).sum(-1))
        total = x.new_zeros(n, self.heads).index_add(0, target, e)
        messages = left[source] * (e / total[target])[..., None]
        out = x.new_zeros(n, self.heads, self.size).index_add(0, target, messages)
        return out.flatten(1) + self.bias


def edge_list(seed: int, nodes: int, count: int) -> np.ndarray:
    """Distinct edges (2, count) between different nodes."""
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(nodes) for j in range(nodes) if i != j]
    return np.array([pairs[i] for i in rng.permutation(len(pairs))[:count]]).T.copy()


def edges_build() -> tuple[Any, Any]:
    model = train_torch(EdgeAttention(), 561, gain=1.3)
    return model, (inputs(562, 12, 8), edge_list(563, 12, 34), inputs(564, 34, 3))


def edges_port(
    model: Any,
    x: Any,
    early: bool = False,
    slope: float = 0.2,
    by: str = "target",
    loops: str = "mean",
    message: str = "source",
    share: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    x, (source, target), features = x
    n = len(x)
    groups = [np.flatnonzero(target == i) for i in range(n)]
    mean = np.stack([features[g].mean(0) if len(g) else np.zeros(3) for g in groups])
    if loops == "zero":
        mean = np.zeros_like(mean)
    if loops != "none":
        source, target = (np.concatenate([a, np.arange(n)]) for a in (source, target))
        features = np.concatenate([features, mean])
    left = _projected(w, "of_source", x).reshape(n, 2, 5)
    right = _projected(w, "of_target", x).reshape(n, 2, 5)
    e = left[source] + right[target] + _projected(w, "of_edge", features).reshape(-1, 2, 5)
    if early:
        e = (e * w["attention"]).sum(-1)
        e = np.where(e > 0, e, slope * e)
    else:
        e = (np.where(e > 0, e, slope * e) * w["attention"]).sum(-1)
    e = np.exp(e - e.max(0))
    total, at = np.zeros((n, 2)), target if by == "target" else source
    np.add.at(total, at, e)
    carried = left[source] if message == "source" else right[source]
    out = np.zeros((n, 2, 5))
    np.add.at(out, target, carried * (e / total[at])[..., None])
    return out.reshape(n, 10) + w["bias"]


EDGES = Case(
    "fourth_edge_attention",
    edges_build,
    "",
    edges_port,
    {
        "activated_behind_the_dot": Mistake(
            partial(edges_port, early=True),
            "the leaky ReLU is applied to the finished score as in the first GAT; it comes before "
            "the product with the attention vector",
        ),
        "softmax_by_source": Mistake(
            partial(edges_port, by="source"),
            "the scores are normalised over the edges that leave a node; they are to be "
            "normalised over those that arrive",
        ),
        "loops_without_features": Mistake(
            partial(edges_port, loops="zero"),
            "self-loops get zero edge features; they get the mean of the features of the edges "
            "that arrive at the node",
        ),
        "no_loops": Mistake(
            partial(edges_port, loops="none"),
            "no self-loops are added, so a node does not attend to itself; every node is to have "
            "one",
        ),
        "message_of_target_weights_and_slope": Mistake(
            partial(edges_port, message="target", slope=0.01),
            "messages are made with the target's weights, and the slope is PyTorch's 0.01; the "
            "source's weights and a slope of 0.2 are right",
            causes=2,
        ),
    },
)


# EGNN: an equivariant layer that moves the nodes.


class EquivariantLayer(nn.Module):
    """A layer of Satorras et al. (2021): messages, an edge gate, coordinates and features."""

    def __init__(self, width: int = 6, hidden: int = 10) -> None:
        super().__init__()
        self.edge = nn.Sequential(
            nn.Linear(2 * width + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.gate = nn.Sequential(nn.Linear(hidden, 1), nn.Sigmoid())
        self.move = nn.Sequential(
            nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1, bias=False)
        )
        self.node = nn.Sequential(
            nn.Linear(width + hidden, hidden), nn.SiLU(), nn.Linear(hidden, width)
        )

    def forward(self, h: torch.Tensor, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        row, col = edges[0], edges[1]
        between = x[row] - x[col]
        square = (between**2).sum(1, keepdim=True)
        m = self.edge(torch.cat([h[row], h[col], square], 1))
        m = m * self.gate(m)
        step = torch.zeros_like(x).index_add(0, row, between * self.move(m))
        x = x + step / torch.bincount(row, minlength=len(x)).clamp(min=1)[:, None]
        total = m.new_zeros(len(h), m.shape[1]).index_add(0, row, m)
        return torch.cat([h + self.node(torch.cat([h, total], 1)), x], 1)


def equivariant_build() -> tuple[Any, Any]:
    model = train_torch(EquivariantLayer(), 571, gain=1.3)
    return model, (inputs(572, 14, 6), inputs(573, 14, 3, scale=0.7), edge_list(574, 14, 50))


def equivariant_port(
    model: Any,
    x: Any,
    root: bool = False,
    towards: bool = False,
    at_col: bool = False,
    mean: bool = True,
    unit: bool = False,
    gate_for_nodes_only: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    h, x, (row, col) = x

    def silu(a: np.ndarray) -> np.ndarray:
        return a * sigmoid(a)

    between = x[row] - x[col]
    square = (between**2).sum(1, keepdims=True)
    joined = np.concatenate([h[row], h[col], np.sqrt(square) if root else square], 1)
    raw = silu(_projected(w, "edge.2", silu(_projected(w, "edge.0", joined))))
    m = raw * sigmoid(_projected(w, "gate.0", raw))
    push = _projected(w, "move.2", silu(_projected(w, "move.0", raw if gate_for_nodes_only else m)))
    between = between / (np.sqrt(square) + 1) if unit else between
    step, total, count = np.zeros_like(x), np.zeros((14, 10)), np.zeros((14, 1))
    at = col if at_col else row
    np.add.at(step, at, (-between if towards else between) * push)
    np.add.at(total, at, m)
    np.add.at(count, at, 1)
    x = x + (step / np.maximum(count, 1) if mean else step)
    y = _projected(w, "node.0", np.concatenate([h, total], 1))
    return np.concatenate([h + _projected(w, "node.2", silu(y)), x], 1)


EQUIVARIANT = Case(
    "fourth_equivariant_graph_layer",
    equivariant_build,
    "",
    equivariant_port,
    {
        "distance_not_squared": Mistake(
            partial(equivariant_port, root=True),
            "the distance of two nodes goes into the edge network; it is to be the squared "
            "distance",
        ),
        "moved_the_other_way": Mistake(
            partial(equivariant_port, towards=True),
            "coordinates are moved along x_j - x_i; they are to be moved along x_i - x_j",
        ),
        "moves_summed": Mistake(
            partial(equivariant_port, mean=False),
            "a node's moves are summed over its edges; they are to be averaged, unlike the "
            "messages",
        ),
        "collected_at_the_far_end": Mistake(
            partial(equivariant_port, at_col=True),
            "messages and moves are collected at an edge's second node; they are to be collected "
            "at the first, whose row it is",
        ),
        "unit_differences": Mistake(
            partial(equivariant_port, unit=True),
            "the differences are divided by the distance plus one, the normalised variant; they "
            "are to keep their lengths here",
        ),
        "moves_before_the_gate": Mistake(
            partial(equivariant_port, gate_for_nodes_only=True),
            "the moves are computed from the messages before their gate; gated messages are used "
            "for both moves and nodes",
        ),
    },
)


# A gated graph net with typed edges.


class GatedGraph(nn.Module):
    """Three rounds of Li et al. (2016): typed messages both ways, a GRU cell, a gated read-out."""

    def __init__(self, width: int = 10, given: int = 6, kinds: int = 2) -> None:
        super().__init__()
        self.kinds = kinds
        self.messages = nn.ModuleList(nn.Linear(width, width) for _ in range(2 * kinds))
        self.cell = nn.GRUCell(width, width)
        self.gate = nn.Linear(width + given, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        h = functional.pad(x, (0, self.value.in_features - x.shape[-1]))
        both = torch.cat([adjacency, adjacency.transpose(-1, -2)], 1)
        for _ in range(3):
            sent = torch.stack([layer(h) for layer in self.messages], 1)
            m = (both @ sent).sum(1)
            h = self.cell(m.flatten(0, 1), h.flatten(0, 1)).view_as(h)
        gate = torch.sigmoid(self.gate(torch.cat([h, x], -1)))
        return (gate * torch.tanh(self.value(h))).sum(1)


def graph_build() -> tuple[Any, Any]:
    model = train_torch(GatedGraph(), 581)
    adjacency = (np.random.default_rng(583).random((16, 2, 7, 7)) < 0.2).astype(np.float32)
    return model, (inputs(582, 16, 7, 6), adjacency)


def graph_port(
    model: Any,
    x: Any,
    bias_once: bool = False,
    turned: bool = False,
    gates: str = "rzn",
    reset_before: bool = False,
    averaged: bool = False,
    padded_front: bool = False,
    stale: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    x, adjacency = x
    widths = (4, 0) if padded_front else (0, 4)
    h = np.pad(x, ((0, 0), (0, 0), widths))
    kinds = [*adjacency.transpose(1, 0, 2, 3), *adjacency.transpose(1, 0, 3, 2)]
    if turned:
        kinds = kinds[2:] + kinds[:2]

    def thirds(y: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(gates, np.split(y, 3, -1), strict=True))

    start = h
    for _ in range(3):
        m = np.zeros_like(h)
        for i, a in enumerate(kinds):
            if bias_once:
                m = m + a @ (h @ w[f"messages.{i}.weight"].T) + w[f"messages.{i}.bias"]
            else:
                m = m + a @ _projected(w, f"messages.{i}", start if stale else h)
        ours = thirds(linear(m, w["cell.weight_ih"], w["cell.bias_ih"]))
        past = thirds(linear(h, w["cell.weight_hh"], w["cell.bias_hh"]))
        r, z = (sigmoid(ours[g] + past[g]) for g in "rz")
        if reset_before:
            i = gates.index("n")
            rows = slice(10 * i, 10 * i + 10)
            new = np.tanh(
                ours["n"] + linear(r * h, w["cell.weight_hh"][rows], w["cell.bias_hh"][rows])
            )
        else:
            new = np.tanh(ours["n"] + r * past["n"])
        h = (1 - z) * new + z * h
    gate = sigmoid(_projected(w, "gate", np.concatenate([h, x], -1)))
    y = gate * np.tanh(_projected(w, "value", h))
    return y.mean(1) if averaged else y.sum(1)


GRAPH = Case(
    "fourth_gated_graph",
    graph_build,
    "",
    graph_port,
    {
        "bias_once_per_node": Mistake(
            partial(graph_port, bias_once=True),
            "the bias of a kind of edge is added once to each node's sum; it is to come with "
            "every message, once for each edge",
        ),
        "directions_exchanged": Mistake(
            partial(graph_port, turned=True),
            "the weights of incoming edges are used for the transposed adjacency and those of "
            "outgoing ones for the plain; it is the other way round",
        ),
        "keras_gate_order": Mistake(
            partial(graph_port, gates="zrn"),
            "the thirds of the cell's weights are read as update, reset, new as Keras stores "
            "them; PyTorch stores reset, update, new",
        ),
        "reset_before_product": Mistake(
            partial(graph_port, reset_before=True),
            "the reset gate multiplies the state before the recurrent product; PyTorch's cell "
            "multiplies the product with its bias",
        ),
        "messages_of_the_start": Mistake(
            partial(graph_port, stale=True),
            "the messages of all three rounds are made from the first node states; each round is "
            "to send the states of the round before",
        ),
        "padded_in_front_and_averaged": Mistake(
            partial(graph_port, padded_front=True, averaged=True),
            "the node features are padded with zeros in front and the read-out is a mean; zeros "
            "come behind and the nodes are summed",
            causes=2,
        ),
    },
)


# FiBiNET: weighted fields and their bilinear interactions.


class FieldInteractions(nn.Module):
    """Squeeze and excitation of field embeddings and bilinear pairs (Huang et al., 2019)."""

    def __init__(self, fields: int = 5, size: int = 6) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(9, size) for _ in range(fields))
        self.squeeze = nn.Linear(fields, 3, bias=False)
        self.excite = nn.Linear(3, fields, bias=False)
        self.pairs = nn.ModuleList(nn.Linear(size, size, bias=False) for _ in range(fields - 1))
        self.head = nn.Linear(fields * (fields - 1) * size, 4)

    def interactions(self, v: torch.Tensor) -> torch.Tensor:
        n = v.shape[1]
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
        return torch.cat([self.pairs[i](v[:, i]) * v[:, j] for i, j in pairs], 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        v = torch.stack([e(ids[:, i]) for i, e in enumerate(self.embeddings)], 1)
        a = torch.relu(self.excite(torch.relu(self.squeeze(v.mean(-1)))))
        both = [self.interactions(v), self.interactions(v * a[..., None])]
        return self.head(torch.cat(both, 1))


def fields_build() -> tuple[Any, Any]:
    model = train_torch(FieldInteractions(), 591, gain=1.6)
    return model, tokens(592, 40, 5, vocabulary=9, lowest=0)


def fields_port(
    model: Any,
    ids: np.ndarray,
    column_order: bool = False,
    second_field: bool = False,
    excite: Callable[[np.ndarray], np.ndarray] = relu,
    squeeze: str = "mean",
    weighted_first: bool = False,
    transposed: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    v = np.stack([w[f"embeddings.{i}.weight"][ids[:, i]] for i in range(5)], 1)
    z = v.mean(-1) if squeeze == "mean" else v.max(-1)
    a = excite(_projected(w, "excite", relu(_projected(w, "squeeze", z))))
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    if column_order:
        pairs = sorted(pairs, key=lambda pair: pair[::-1])

    def interactions(v: np.ndarray) -> np.ndarray:
        parts = []
        for i, j in pairs:
            weight = w[f"pairs.{i}.weight"]
            first, second = (j, i) if second_field else (i, j)
            y = v[:, first] @ (weight if transposed else weight.T)
            parts.append(y * v[:, second])
        return np.concatenate(parts, 1)

    both = [interactions(v), interactions(v * a[..., None])]
    return _projected(w, "head", np.concatenate(both[::-1] if weighted_first else both, 1))


FIELDS = Case(
    "fourth_field_interactions",
    fields_build,
    "",
    fields_port,
    {
        "pairs_by_column": Mistake(
            partial(fields_port, column_order=True),
            "the pairs of fields are listed by their second field, 01, 02, 12; they are listed "
            "by the first, 01, 02, 03",
        ),
        "second_field_transformed": Mistake(
            partial(fields_port, second_field=True),
            "the matrix of a pair multiplies its second field; it is the first field's and "
            "multiplies that one",
        ),
        "sigmoid_excitation": Mistake(
            partial(fields_port, excite=sigmoid),
            "the field weights pass through a sigmoid as in the image network; here both layers "
            "end in a ReLU",
        ),
        "weighted_pairs_first": Mistake(
            partial(fields_port, weighted_first=True),
            "the interactions of the weighted fields are put first; those of the plain "
            "embeddings come first",
        ),
        "squeezed_by_max_and_transposed": Mistake(
            partial(fields_port, squeeze="max", transposed=True),
            "fields are squeezed by their largest value and pair matrices multiply from the "
            "other side; it is the mean, and x W^T",
            causes=2,
        ),
    },
)

# Keras: numbers in bins, sets and tags, wide and deep.


def _of(model: Any, layer: str) -> list[np.ndarray]:
    return [np.asarray(v) for v in model.get_layer(layer).get_weights()]


def wide_build() -> tuple[Any, Any]:
    layers = keras.layers
    age = layers.Input((1,), name="age")
    price = layers.Input((3,), name="price")
    kinds = layers.Input((5,), dtype="int32", name="kinds")
    tags = layers.Input((6,), dtype="int32", name="tags")
    bins = layers.Discretization([-1.0, -0.5, 0.0, 0.5, 1.0], name="bins")(age)
    old = layers.Flatten()(layers.Embedding(6, 4, name="age_embedding")(bins))
    norm = layers.Normalization(mean=[0.4, -0.3, 1.0], variance=[0.5, 2.0, 0.2], name="norm")
    many = layers.CategoryEncoding(8, output_mode="multi_hot", name="many")(kinds)
    said = layers.Embedding(12, 5, mask_zero=True, name="tag_embedding")(tags)
    said = layers.GlobalAveragePooling1D()(said)
    deep = layers.Concatenate()([old, norm(price), said])
    deep = layers.Dense(10, activation="relu", name="first")(deep)
    deep = layers.BatchNormalization(name="batch")(deep)
    deep = layers.Dense(6, name="deep")(deep)
    out = layers.Add()([deep, layers.Dense(6, use_bias=False, name="wide")(many)])
    model = keras.Model([age, price, kinds, tags], layers.Activation("softplus")(out))
    kept = {n: _of(model, n) for n in ("norm",)}
    train_keras(model, 601)
    model.get_layer("norm").set_weights(kept["norm"])
    rng = np.random.default_rng(602)
    ages = (np.rint(rng.standard_normal((30, 1)) * 4) / 4).astype(np.float32)
    ids = tokens(603, 30, 5, vocabulary=8, lowest=0).astype(np.int32)
    said_ids = tokens(604, 30, 6, vocabulary=12).astype(np.int32)
    lengths = tokens(605, 30, 1, vocabulary=7)
    said_ids = np.where(np.arange(6) < lengths, said_ids, 0).astype(np.int32)
    return model, (ages, inputs(606, 30, 3), ids, said_ids)


def wide_port(
    model: Any,
    x: Any,
    right: bool = False,
    counts: bool = False,
    deviation: bool = True,
    masked: bool = True,
    relu_last: bool = False,
    eps: float = 1e-3,
) -> np.ndarray:
    ages, price, kinds, tags = x
    bins = np.digitize(ages[:, 0], [-1.0, -0.5, 0.0, 0.5, 1.0], right=right)
    mean, var = np.array([0.4, -0.3, 1.0]), np.array([0.5, 2.0, 0.2])
    price = (price - mean) / (np.sqrt(var) if deviation else var)
    many = np.stack([(kinds == i).sum(1) for i in range(8)], 1)
    many = many if counts else (many > 0).astype(float)
    said = _of(model, "tag_embedding")[0][tags]
    kept = (tags > 0)[..., None] if masked else np.ones((*tags.shape, 1))
    said = (said * kept).sum(1) / kept.sum(1)
    deep = np.concatenate([_of(model, "age_embedding")[0][bins], price, said], 1)
    kernel, bias = _of(model, "first")
    deep = deep @ kernel + bias
    deep = deep if relu_last else relu(deep)
    gain, offset, middle, spread = _of(model, "batch")
    deep = (deep - middle) / np.sqrt(spread + eps) * gain + offset
    deep = relu(deep) if relu_last else deep
    kernel, bias = _of(model, "deep")
    return np.logaddexp(0, deep @ kernel + bias + many @ _of(model, "wide")[0])


WIDE = Case(
    "fourth_keras_wide_and_deep",
    wide_build,
    "",
    wide_port,
    {
        "edges_in_the_lower_bin": Mistake(
            partial(wide_port, right=True),
            "an age that equals a boundary falls into the bin below it; Keras counts it to the "
            "bin above",
        ),
        "repeated_kinds_counted": Mistake(
            partial(wide_port, counts=True),
            "a kind that occurs twice counts as two; multi_hot encoding has a one for it however "
            "often it occurs",
        ),
        "divided_by_variance": Mistake(
            partial(wide_port, deviation=False),
            "the prices are divided by the stored variance; they are to be divided by its square "
            "root",
        ),
        "padding_averaged": Mistake(
            partial(wide_port, masked=False),
            "the tags are averaged over all six places with the vector of id 0; mask_zero leaves "
            "the padding out of the mean",
        ),
        "norm_before_relu_and_eps": Mistake(
            partial(wide_port, relu_last=True, eps=1e-5),
            "the batch norm comes before the ReLU and uses PyTorch's epsilon of 1e-5; it comes "
            "behind, with 1e-3",
            causes=2,
        ),
    },
)


# Keras: the next item of a session, from causal attention.


def session_build() -> tuple[Any, Any]:
    layers = keras.layers
    items = layers.Input((8,), dtype="int32", name="items")
    places = layers.Input((8,), dtype="int32", name="places")
    h = layers.Embedding(30, 12, mask_zero=True, name="item_embedding")(items)
    h = layers.Add()([h, layers.Embedding(8, 12, name="place_embedding")(places)])
    q = layers.LayerNormalization(epsilon=1e-6, name="query_norm")(h)
    heads = layers.MultiHeadAttention(3, key_dim=5, value_dim=4, name="heads")
    h = layers.Add()([q, heads(q, h, use_causal_mask=True)])
    y = layers.LayerNormalization(epsilon=1e-6, name="inner_norm")(h)
    y = layers.Dense(16, activation="gelu", name="up")(y)
    h = layers.Add()([h, layers.Dense(12, name="down")(y)])
    last = layers.GRU(10, name="last")(h)
    model = keras.Model([items, places], layers.Dense(30, name="scores")(last))
    ids = tokens(612, 6, 8, vocabulary=30).astype(np.int32)
    lengths = np.array([[8], [5], [7], [3], [6], [8]])
    ids = np.where(np.arange(8) < lengths, ids, 0).astype(np.int32)
    places = np.where(ids > 0, lengths - 1 - np.arange(8), 0).astype(np.int32)
    return train_keras(model, 611, gain=1.3), (ids, places)


def session_port(
    model: Any,
    x: Any,
    causal: bool = True,
    scale_size: int = 5,
    from_raw: bool = False,
    forward_places: bool = False,
    masked: bool = False,
    second_bias: bool = True,
    normed_keys: bool = False,
) -> np.ndarray:
    ids, places = x
    if forward_places:
        places = np.broadcast_to(np.arange(8), ids.shape)
    # The sum with the positions, which have no mask, drops the mask of the items.
    kept = (ids > 0) | (not masked)
    h = _of(model, "item_embedding")[0][ids] + _of(model, "place_embedding")[0][places]
    normed = layer_norm(h, *_of(model, "query_norm"), 1e-6)
    wq, bq, wk, bk, wv, bv, wo, bo = _of(model, "heads")
    source = normed if normed_keys else h
    q = np.einsum("btc,chd->bhtd", normed, wq) + bq[:, None]
    k = np.einsum("btc,chd->bhtd", source, wk) + bk[:, None]
    v = np.einsum("btc,chd->bhtd", source, wv) + bv[:, None]
    seen = kept[:, None, :, None] & kept[:, None, None, :]
    seen = seen & np.tri(8, dtype=bool) if causal else seen
    scores = np.where(seen, q @ k.transpose(0, 1, 3, 2) / math.sqrt(scale_size), -1e9)
    y = np.einsum("bhtd,hdc->btc", softmax(scores) @ v, wo) + bo
    h = (h if from_raw else normed) + y
    up, up_bias = _of(model, "up")
    down, down_bias = _of(model, "down")
    y = gelu(layer_norm(h, *_of(model, "inner_norm"), 1e-6) @ up + up_bias)
    h = h + y @ down + down_bias
    kernel, recurrent, bias = _of(model, "last")
    state = np.zeros((6, 10))
    for t in range(8):
        az, ar, an = np.split(h[:, t] @ kernel + bias[0], 3, -1)
        bz, br, bn = np.split(state @ recurrent + (bias[1] if second_bias else 0), 3, -1)
        z = sigmoid(az + bz)
        new = z * state + (1 - z) * np.tanh(an + sigmoid(ar + br) * bn)
        state = np.where(kept[:, t, None], new, state)
    kernel, bias = _of(model, "scores")
    return state @ kernel + bias


SESSION = Case(
    "fourth_keras_session_items",
    session_build,
    "",
    session_port,
    {
        "no_causal_mask": Mistake(
            partial(session_port, causal=False),
            "an item attends to all items of its session; with use_causal_mask it attends to "
            "itself and those before it",
        ),
        "scaled_by_width_of_head": Mistake(
            partial(session_port, scale_size=4),
            "the scores are divided by the root of 4, width over heads; they are to be divided "
            "by the root of key_dim, 5",
        ),
        "residual_of_the_raw": Mistake(
            partial(session_port, from_raw=True),
            "the attention is added to the embeddings; this block adds it to the normalised "
            "queries",
        ),
        "places_from_the_start": Mistake(
            partial(session_port, forward_places=True),
            "positions are counted from the first item on; the places given count back from the "
            "session's last item",
        ),
        "padding_masked": Mistake(
            partial(session_port, masked=True),
            "attention and GRU skip padded items because of mask_zero; the sum with unmasked "
            "positions drops the mask, so the model reads padding",
        ),
        "keys_normed_and_one_bias": Mistake(
            partial(session_port, normed_keys=True, second_bias=False),
            "keys and values come from the normalised sequence and the GRU's recurrent bias is "
            "dropped; they come from the raw one, with both biases",
            causes=2,
        ),
    },
)


# Keras: a forecast from an encoder's states.


def forecast_build() -> tuple[Any, Any]:
    layers = keras.layers
    past = layers.Input((12, 3), name="past")
    kept = layers.Masking(mask_value=-1.0, name="kept")(past)
    hidden, h, c = layers.LSTM(8, return_state=True, name="encoder")(kept)
    again = layers.RepeatVector(7)(hidden)
    y = layers.LSTM(8, return_sequences=True, name="decoder")(again, initial_state=[h, c])
    y = layers.Add()([y, again])
    y = layers.TimeDistributed(layers.Dense(6, activation="elu"), name="values")(y)
    model = keras.Model(past, layers.Dense(3, name="out")(y))
    x = inputs(622, 8, 12, 3)
    x[2, :4] = x[5, :7] = -1.0
    x[6, 9:, 0] = x[1, 10, 2] = -1.0
    return train_keras(model, 621, gain=1.4), x


def _lstm_step(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, weights: list[np.ndarray], order: str, forget: int
) -> tuple[np.ndarray, np.ndarray]:
    kernel, recurrent, bias = weights
    gates = dict(zip(order, np.split(x @ kernel + h @ recurrent + bias, 4, -1), strict=True))
    f = sigmoid(gates["f"] + forget)
    c = f * c + sigmoid(gates["i"]) * np.tanh(gates["c"])
    return sigmoid(gates["o"]) * np.tanh(c), c


def forecast_port(
    model: Any,
    x: np.ndarray,
    mask: str = "all",
    order: str = "ifco",
    forget: int = 0,
    exchanged: bool = False,
    fed_back: bool = False,
    fresh: bool = False,
    alpha: float = 1.0,
) -> np.ndarray:
    weights = _of(model, "encoder")
    h = c = np.zeros((8, 8))
    kept = (x != -1).any(2) if mask == "all" else (x != -1).all(2)
    for t in range(12):
        new_h, new_c = _lstm_step(x[:, t], h, c, weights, order, forget)
        here = kept[:, t, None] | (mask == "none")
        h, c = np.where(here, new_h, h), np.where(here, new_c, c)
    weights, given, out = _of(model, "decoder"), h, []
    if fresh:
        h = c = np.zeros((8, 8))
    if exchanged:
        h, c = c, h
    for t in range(7):
        source = h if fed_back and t else given
        h, c = _lstm_step(source, h, c, weights, order, forget)
        out.append(h + given)
    kernel, bias = _of(model, "values")
    y = np.stack(out, 1) @ kernel + bias
    y = np.where(y > 0, y, alpha * np.expm1(np.minimum(y, 0)))
    kernel, bias = _of(model, "out")
    return y @ kernel + bias


FORECAST = Case(
    "fourth_keras_forecast",
    forecast_build,
    "",
    forecast_port,
    {
        "masked_by_one_value": Mistake(
            partial(forecast_port, mask="any"),
            "a step is skipped where one of its values is -1; Masking skips it only where all "
            "its values are -1",
        ),
        "gates_of_onnx": Mistake(
            partial(forecast_port, order="iofc"),
            "the quarters of the weights are read as input, output, forget, cell as in ONNX; "
            "Keras stores input, forget, cell, output",
        ),
        "forget_bias_added": Mistake(
            partial(forecast_port, forget=1),
            "one is added to the forget gate because of unit_forget_bias; that only initialises "
            "the stored bias",
        ),
        "states_exchanged": Mistake(
            partial(forecast_port, exchanged=True),
            "the decoder starts with the encoder's cell state as its output and the other way "
            "round; initial_state is [h, c]",
        ),
        "fed_with_its_output": Mistake(
            partial(forecast_port, fed_back=True),
            "from the second step on the decoder reads its own last output; it reads the "
            "encoder's last output at all steps",
        ),
        "fresh_states_and_small_elu": Mistake(
            partial(forecast_port, fresh=True, alpha=0.1),
            "the decoder starts from zero states and the ELU's alpha is 0.1; it starts from the "
            "encoder's states and alpha is 1",
            causes=2,
        ),
    },
)


# Keras: spectrogram frames to letters.


def letters_build() -> tuple[Any, Any]:
    layers = keras.layers
    frames = layers.Input((16, 10, 1), name="frames")
    y = layers.Conv2D(4, (5, 3), strides=(2, 2), padding="same", use_bias=False, name="conv")(
        frames
    )
    y = layers.BatchNormalization(name="batch")(y)
    y = layers.ReLU(max_value=1.5, name="clipped")(y)
    y = layers.Reshape((8, 20), name="rows")(y)
    y = layers.Bidirectional(
        layers.SimpleRNN(9, return_sequences=True, activation="relu"),
        merge_mode="sum",
        name="both",
    )(y)
    y = layers.LayerNormalization(name="norm")(y)
    y = layers.Dense(7, name="letters")(y)
    model = keras.Model(frames, layers.Activation("log_softmax")(y))
    return train_keras(model, 631, gain=0.9), inputs(632, 3, 16, 10, 1, shift=0.3)


def letters_port(
    model: Any,
    x: np.ndarray,
    before: tuple[int, int] = (1, 0),
    channels_first: bool = False,
    top: float = 1.5,
    turned: bool = True,
    own_bias: bool = True,
    base: float = math.e,
) -> np.ndarray:
    kernel = _of(model, "conv")[0].transpose(3, 2, 0, 1)
    # "same" with stride 2: three rows and one column of zeros in all, the greater part behind.
    pads = [(p, total - p) for p, total in zip(before, (3, 1), strict=True)]
    y = np.pad(x.transpose(0, 3, 1, 2), [(0, 0), (0, 0), *pads])
    y = conv(y, kernel, stride=2).transpose(0, 2, 3, 1)
    gain, offset, mean, var = _of(model, "batch")
    y = np.clip((y - mean) / np.sqrt(var + 1e-3) * gain + offset, 0, top)
    y = y.transpose(0, 1, 3, 2) if channels_first else y
    y = y.reshape(3, 8, 20)
    weights, sides = _of(model, "both"), []
    for side, step in ((0, 1), (1, -1)):
        kernel, recurrent, bias = weights[3 * side : 3 * side + 3]
        bias = bias if own_bias else weights[2]
        h, out = np.zeros((3, 9)), []
        for t in range(8)[::step]:
            h = relu(y[:, t] @ kernel + h @ recurrent + bias)
            out.append(h)
        sides.append(np.stack(out[::step] if turned else out, 1))
    y = layer_norm(sides[0] + sides[1], *_of(model, "norm"), 1e-3)
    kernel, bias = _of(model, "letters")
    y = y @ kernel + bias
    y = y - y.max(-1, keepdims=True)
    return (y - np.log(np.exp(y).sum(-1, keepdims=True))) / math.log(base)


LETTERS = Case(
    "fourth_keras_speech_letters",
    letters_build,
    "",
    letters_port,
    {
        "padded_in_front": Mistake(
            partial(letters_port, before=(2, 1)),
            "the odd row and column of padding are put in front; Keras pads the greater part "
            "behind for a stride of 2",
        ),
        "rows_channels_first": Mistake(
            partial(letters_port, channels_first=True),
            "a frame's channels are flattened before its frequencies; frequencies come first and "
            "channels last in Keras",
        ),
        "clipped_at_six": Mistake(
            partial(letters_port, top=6.0),
            "the ReLU is clipped at 6, the usual bound; this layer's max_value is 1.5",
        ),
        "bias_of_the_other_side": Mistake(
            partial(letters_port, own_bias=False),
            "the backward net uses the bias of the forward net; each direction has a bias of its "
            "own",
        ),
        "backward_not_turned_and_base_two": Mistake(
            partial(letters_port, turned=False, base=2.0),
            "the backward outputs are summed in the order computed, and logarithms are of base "
            "2; they are turned back, and natural",
            causes=2,
        ),
    },
)

CASES: list[Case] = [
    ROFORMER,
    NYSTROM,
    AUTOFORMER,
    RELATIVE,
    MPNET,
    M2M,
    PATCHES,
    UNIT,
    EXPANDED,
    SEASON,
    KNOTS,
    QUASI,
    FLOW,
    POINTER,
    CHARACTERS,
    BRANCHES,
    EDGES,
    EQUIVARIANT,
    GRAPH,
    FIELDS,
    WIDE,
    SESSION,
    FORECAST,
    LETTERS,
]
