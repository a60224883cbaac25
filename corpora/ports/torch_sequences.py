"""Recurrent layers and attention of PyTorch."""

from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    gelu,
    join_heads,
    layer_norm,
    linear,
    relu,
    sigmoid,
    softmax,
    split_heads,
)
from corpora.ports.trained import inputs, train_torch, weights_of


def _lstm(
    x: np.ndarray,
    w: dict[str, np.ndarray],
    suffix: str,
    order: str = "ifgo",
    hidden_bias: bool = True,
    project_state: bool = True,
) -> np.ndarray:
    """One direction of one layer, time first."""
    h = np.zeros((x.shape[1], w[f"weight_hh_{suffix}"].shape[1]), np.float32)
    c = np.zeros((x.shape[1], w[f"weight_hh_{suffix}"].shape[0] // 4), np.float32)
    projection = w.get(f"weight_hr_{suffix}")
    out = []
    for step in x:
        z = linear(step, w[f"weight_ih_{suffix}"], w[f"bias_ih_{suffix}"])
        z = z + linear(h, w[f"weight_hh_{suffix}"])
        if hidden_bias:
            z = z + w[f"bias_hh_{suffix}"]
        gates = dict(zip(order, np.split(z, 4, -1), strict=True))
        c = sigmoid(gates["f"]) * c + sigmoid(gates["i"]) * np.tanh(gates["g"])
        h = sigmoid(gates["o"]) * np.tanh(c)
        if projection is not None:
            h = h @ projection.T if project_state else np.tanh(c) @ projection.T
        out.append(h)
    return np.stack(out)


def build_lstm() -> tuple[Any, np.ndarray]:
    layer = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
    return train_torch(layer, 251, gain=1.3), inputs(252, 2, 5, 6)


def lstm(
    model: Any,
    x: np.ndarray,
    between: str = "both",
    layout: str = "batch first",
    **how: Any,
) -> np.ndarray:
    w = weights_of(model)
    x = x.swapaxes(0, 1) if layout == "batch first" else x
    for i in range(2):
        ahead = _lstm(x, w, f"l{i}", **how)
        back = _lstm(x[::-1], w, f"l{i}_reverse", **how)[::-1]
        if between == "swapped" and i == 0:
            ahead, back = back, ahead
        if between == "sum of halves" and i == 0:
            ahead = back = (ahead + back) / 2
        x = np.concatenate([ahead, back], -1)
    return x.swapaxes(0, 1) if layout == "batch first" else x


def build_projected() -> tuple[Any, np.ndarray]:
    return train_torch(nn.LSTM(6, 12, proj_size=5), 253, gain=1.3), inputs(254, 6, 2, 6)


def projected(model: Any, x: np.ndarray, **how: Any) -> np.ndarray:
    return _lstm(x, weights_of(model), "l0", **how)


def build_gru() -> tuple[Any, Any]:
    layer = train_torch(nn.GRU(6, 10), 255, gain=1.3)
    return layer, (inputs(256, 6, 2, 6), inputs(257, 1, 2, 10, scale=0.5))


def gru(
    model: Any,
    x: Any,
    bias_in_reset: bool = True,
    first_state: bool = True,
    order: str = "rzn",
    new: str = "1 - z",
) -> np.ndarray:
    w = weights_of(model)
    x, (h,) = x
    if not first_state:
        h = np.zeros_like(h)
    out = []
    for step in x:
        a = linear(step, w["weight_ih_l0"], w["bias_ih_l0"])
        b = linear(h, w["weight_hh_l0"])
        a, b, e = (np.split(part, 3, -1) for part in (a, b, w["bias_hh_l0"]))
        a, b, e = (dict(zip(order, part, strict=True)) for part in (a, b, e))
        r = sigmoid(a["r"] + b["r"] + e["r"])
        z = sigmoid(a["z"] + b["z"] + e["z"])
        if bias_in_reset:
            n = np.tanh(a["n"] + r * (b["n"] + e["n"]))
        else:
            n = np.tanh(a["n"] + r * b["n"] + e["n"])
        h = (1 - z) * n + z * h if new == "1 - z" else z * n + (1 - z) * h
        out.append(h)
    return np.stack(out)


class SelfAttention(nn.Module):
    """Attention of a sequence to itself, with a mask of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(24, 4, batch_first=True)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.attn(x, x, x, key_padding_mask=padding, need_weights=False)[0]


def build_attention() -> tuple[Any, Any]:
    padding = np.zeros((2, 7), bool)
    padding[0, 5:] = True
    padding[1, 6:] = True
    return train_torch(SelfAttention(), 258, gain=1.6), (inputs(259, 2, 7, 24), padding)


def attention(
    model: Any,
    x: Any,
    packed: str = "qkv",
    mask: str = "True hides",
    scale: float = 6,
    input_bias: bool = True,
    transposed: bool = False,
) -> np.ndarray:
    x, padding = x
    w = weights_of(model)
    bias = w["attn.in_proj_bias"] if input_bias else None
    qkv = linear(x, w["attn.in_proj_weight"], bias)
    if packed == "per head":
        qkv = qkv.reshape(2, 7, 4, 3, 6).transpose(3, 0, 2, 1, 4)
        q, k, v = qkv
    else:
        parts = dict(zip(packed, np.split(qkv, 3, -1), strict=True))
        q, k, v = (split_heads(parts[name], 4) for name in "qkv")
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(scale))
    if mask == "True keeps":
        padding = ~padding
    if mask != "none":
        scores = np.where(padding[:, None, None], np.float32(-1e9), scores)
    y = join_heads(softmax(scores) @ v)
    out = w["attn.out_proj.weight"]
    return linear(y, out.T if transposed else out, w["attn.out_proj.bias"])


class Causal(nn.Module):
    """Attention of fewer queries than keys."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.2)


def build_causal() -> tuple[Any, Any]:
    return Causal().eval(), (
        inputs(260, 2, 3, 4, 8, scale=1.5),
        inputs(261, 2, 3, 6, 8, scale=1.5),
        inputs(262, 2, 3, 6, 8),
    )


def causal(model: Any, x: Any, aligned: int = 0, scale: float = 0.2) -> np.ndarray:
    q, k, v = x
    scores = q @ k.swapaxes(-1, -2) * np.float32(scale)
    allowed = np.tri(4, 6, aligned, dtype=bool)
    return softmax(np.where(allowed, scores, np.float32(-1e9))) @ v


def build_encoder(norm_first: bool, activation: str) -> tuple[Any, np.ndarray]:
    layer = nn.TransformerEncoderLayer(
        16, 2, 40, activation=activation, batch_first=True, norm_first=norm_first
    )
    return train_torch(layer, 263, gain=1.5), inputs(264, 2, 6, 16)


def encoder(
    model: Any,
    x: np.ndarray,
    norm_first: bool,
    activation: Any,
    second_residual: bool = True,
    norms: tuple[str, str] = ("norm1", "norm2"),
) -> np.ndarray:
    w = weights_of(model)

    def norm(x: np.ndarray, which: int) -> np.ndarray:
        return layer_norm(x, w[f"{norms[which]}.weight"], w[f"{norms[which]}.bias"])

    def attend(x: np.ndarray) -> np.ndarray:
        qkv = linear(x, w["self_attn.in_proj_weight"], w["self_attn.in_proj_bias"])
        q, k, v = (split_heads(part, 2) for part in np.split(qkv, 3, -1))
        y = join_heads(softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(8))) @ v)
        return linear(y, w["self_attn.out_proj.weight"], w["self_attn.out_proj.bias"])

    def feed(x: np.ndarray) -> np.ndarray:
        hidden = activation(linear(x, w["linear1.weight"], w["linear1.bias"]))
        return linear(hidden, w["linear2.weight"], w["linear2.bias"])

    if norm_first:
        x = x + attend(norm(x, 0))
        y = feed(norm(x, 1))
        return x + y if second_residual else y
    x = norm(x + attend(x), 0)
    y = feed(x)
    return norm(x + y if second_residual else y, 1)


post = partial(encoder, norm_first=False, activation=relu)
pre = partial(encoder, norm_first=True, activation=gelu)

CASES = [
    Case(
        "torch_lstm_two_layers_both_ways",
        build_lstm,
        "",
        lstm,
        {
            "gates_of_keras_mixed": Mistake(
                partial(lstm, order="ifog"),
                "The gates are read as input, forget, output, cell, where PyTorch has input, "
                "forget, cell, output.",
            ),
            "hidden_bias_dropped": Mistake(
                partial(lstm, hidden_bias=False),
                "bias_hh is not added, bias_ih alone is.",
            ),
            "directions_swapped_between_layers": Mistake(
                partial(lstm, between="swapped"),
                "The second layer gets the first layer's backward outputs before its forward ones.",
            ),
            "time_taken_for_batch": Mistake(
                partial(lstm, layout="time first"),
                "The input is taken as (time, batch, features), where batch_first=True.",
            ),
        },
    ),
    Case(
        "torch_lstm_projected",
        build_projected,
        "",
        projected,
        {
            "output_gate_left_out_before_projection": Mistake(
                partial(projected, project_state=False),
                "The projection is of tanh(c), the output gate left out, where it is of "
                "o * tanh(c).",
            ),
        },
    ),
    Case(
        "torch_gru_with_first_state",
        build_gru,
        "",
        gru,
        {
            "bias_outside_of_reset": Mistake(
                partial(gru, bias_in_reset=False),
                "The hidden bias of the new gate is added outside of the reset gate's product, "
                "where r multiplies it too.",
            ),
            "first_state_ignored": Mistake(
                partial(gru, first_state=False),
                "The state starts at zero, where h0 is given.",
            ),
            "gates_of_keras": Mistake(
                partial(gru, order="zrn"),
                "The gates are read in Keras' order update, reset, new, where PyTorch has reset, "
                "update, new.",
            ),
            "gates_of_keras_and_first_state": Mistake(
                partial(gru, order="zrn", first_state=False),
                "Two causes: gates read as update, reset, new, and h0 ignored.",
                causes=2,
            ),
        },
    ),
    Case(
        "torch_multihead_attention_padded",
        build_attention,
        "attn",
        attention,
        {
            "packed_per_head": Mistake(
                partial(attention, packed="per head"),
                "in_proj is read as (head, q k v, size) as GPT-NeoX packs it, where PyTorch has "
                "all of q, then k, then v.",
            ),
            "packed_as_kqv": Mistake(
                partial(attention, packed="kqv"),
                "in_proj is read as key, query, value, where it is query, key, value.",
            ),
            "mask_inverted": Mistake(
                partial(attention, mask="True keeps"),
                "The padding mask is taken as True = keep (Keras' sense), where True hides.",
            ),
            "scaled_by_model_size": Mistake(
                partial(attention, scale=24),
                "Scores are divided by the root of embed_dim, where it is of the head's size.",
            ),
            "mask_ignored_and_input_bias_dropped": Mistake(
                partial(attention, mask="none", input_bias=False),
                "Two causes: the padding mask is ignored, and in_proj_bias is not added.",
                causes=2,
            ),
        },
    ),
    Case(
        "torch_attention_causal_fewer_queries",
        build_causal,
        "",
        causal,
        {
            "mask_aligned_bottom_right": Mistake(
                partial(causal, aligned=2),
                "The causal mask is aligned with the last key (the queries are the newest steps), "
                "where is_causal aligns it with the first.",
            ),
            "usual_scale": Mistake(
                partial(causal, scale=1 / np.sqrt(8)),
                "Scores are scaled by 1 / root of the size, where scale=0.2 is given.",
            ),
        },
    ),
    Case(
        "torch_transformer_encoder_layer_post_norm",
        partial(build_encoder, False, "relu"),
        "",
        post,
        {
            "norm_first": Mistake(
                partial(post, norm_first=True),
                "The norms come before attention and feed-forward (pre-norm), where they come "
                "after the sums.",
            ),
            "gelu": Mistake(
                partial(post, activation=gelu),
                "The feed-forward's activation is GELU, where it is ReLU, the default.",
            ),
            "second_residual_forgotten": Mistake(
                partial(post, second_residual=False),
                "The residual around the feed-forward is forgotten.",
            ),
        },
    ),
    Case(
        "torch_transformer_encoder_layer_pre_norm",
        partial(build_encoder, True, "gelu"),
        "",
        pre,
        {
            "norms_swapped": Mistake(
                partial(pre, norms=("norm2", "norm1")),
                "The parameters of the two norms are swapped.",
            ),
            "norm_last_and_relu": Mistake(
                partial(pre, norm_first=False, activation=relu),
                "Two causes: post-norm, where norm_first=True, and ReLU, where it is GELU.",
                causes=2,
            ),
        },
    ),
]
