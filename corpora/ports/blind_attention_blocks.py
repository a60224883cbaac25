"""Attention and decoder blocks of transformers and of plain PyTorch, right and wrong.

Written from the frameworks' own code and from mistakes that people make when they port such
blocks, without a look at the tool that is measured with them.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BartConfig,
    BartModel,
    BloomConfig,
    BloomModel,
    CodeGenConfig,
    CodeGenModel,
    DeepseekV2Config,
    DeepseekV2Model,
    Gemma3TextConfig,
    Gemma3TextModel,
    GPTBigCodeConfig,
    GPTBigCodeModel,
    GPTJConfig,
    GPTJModel,
    GPTNeoConfig,
    GPTNeoModel,
    LlamaConfig,
    LlamaModel,
    NemotronConfig,
    NemotronModel,
    OlmoConfig,
    OlmoModel,
    Phi3Config,
    Phi3Model,
    StableLmConfig,
    StableLmModel,
    Starcoder2Config,
    Starcoder2Model,
    T5Config,
    T5Model,
    XLNetConfig,
    XLNetModel,
)

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    gelu,
    gelu_tanh,
    join_heads,
    linear,
    relu,
    rms_norm,
    rotary_angles,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import (
    Alone,
    beneath,
    normal_floats,
    token_ids,
    tokens,
    train_torch,
    weights_of,
)

Weights = dict[str, np.ndarray]
HIDDEN = np.float32(-1e9)


def _norm(x: np.ndarray, gain: Any = None, bias: Any = None, eps: float = 1e-5) -> np.ndarray:
    """A layer norm over the last axis, with or without gain and bias."""
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps))
    if gain is not None:
        x = x * gain
    return x if bias is None else x + bias


def _affine(x: np.ndarray, w: Weights, name: str, bias: bool = True) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias") if bias else None)


def _norm_of(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5) -> np.ndarray:
    return _norm(x, w[f"{name}.weight"], w.get(f"{name}.bias"), eps)


def _rotate(x: np.ndarray, angles: np.ndarray, pairs: str = "halves", at: int = 0) -> np.ndarray:
    """Rotate features of heads from `at` on by angles; the rest passes."""
    n = 2 * angles.shape[-1]
    cos, sin = np.cos(angles), np.sin(angles)
    before, turned, after = x[..., :at], x[..., at : at + n], x[..., at + n :]
    if pairs == "neighbours":
        a, b = turned[..., ::2], turned[..., 1::2]
        new = np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(turned.shape)
    else:
        a, b = turned[..., : n // 2], turned[..., n // 2 :]
        new = np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    return np.concatenate([before, new, after], -1)


def _causal(t: int, window: int = 0) -> np.ndarray:
    """Which keys each query sees: itself and earlier ones, of the last `window` if given."""
    apart = np.arange(t)[:, None] - np.arange(t)
    return (apart >= 0) & (apart < (window or t))


def _attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, allowed: Any, bias: Any = None
) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) * np.float32(scale)
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        scores = np.where(allowed, scores, HIDDEN)
    return join_heads(softmax(scores) @ v)


def _qkv(x: np.ndarray, w: Weights, heads: tuple[int, int], bias: bool = True) -> list[np.ndarray]:
    counts = (heads[0], heads[1], heads[1])
    return [
        split_heads(_affine(x, w, f"{n}_proj", bias), count)
        for n, count in zip("qkv", counts, strict=True)
    ]


# Gemma 3


def build_gemma3() -> tuple[Any, Any]:
    config = Gemma3TextConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=4,
        layer_types=["sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
        },
        max_position_embeddings=64,
        attn_implementation="eager",
    )
    model = train_torch(Gemma3TextModel(config), 7101, gain=1.6)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data -= 0.7
    return model, token_ids(7102, 10)


def gemma3_attention(
    model: Any,
    x: Any,
    theta: float = 100.0,
    one: float = 1.0,
    order: str = "norm first",
    window: int = 4,
    embed: float = 24,
    normed: str = "qk",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]] * np.float32(math.sqrt(embed))
    w = beneath(w, "layers.0.")
    h = rms_norm(h, 1 + w["input_layernorm.weight"], 1e-6)
    w = beneath(w, "self_attn.")
    q, k, v = _qkv(h, w, (4, 2))
    angles = rotary_angles(10, 8, theta)
    gains = [np.float32(one) + w[f"{n}_norm.weight"] for n in "qk"]
    if order == "rotation first":
        q, k = _rotate(q, angles), _rotate(k, angles)
    if "q" in normed:
        q = rms_norm(q, gains[0], 1e-6)
    if "k" in normed:
        k = rms_norm(k, gains[1], 1e-6)
    if "v" in normed:
        v = rms_norm(v, gains[1], 1e-6)
    if order == "norm first":
        q, k = _rotate(q, angles), _rotate(k, angles)
    y = _attend(q, k.repeat(2, 1), v.repeat(2, 1), 1 / math.sqrt(8), _causal(10, window))
    return _affine(y, w, "o_proj")


# Phi 3


def build_phi3() -> tuple[Any, Any]:
    config = Phi3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=5,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    return train_torch(Phi3Model(config), 7103, gain=1.6), token_ids(7104, 10)


def phi3_layer(
    model: Any,
    x: Any,
    split: str = "q k v",
    halves: str = "gate up",
    window: int = 5,
    second_norm: str = "post_attention_layernorm",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    y = rms_norm(h, w["input_layernorm.weight"], 1e-5)
    qkv = _affine(y, w, "self_attn.qkv_proj")
    if split == "q k v":
        q, k, v = (split_heads(p, p.shape[-1] // 8) for p in np.split(qkv, [32, 48], -1))
    elif split == "q v k":
        q, v, k = (split_heads(p, p.shape[-1] // 8) for p in np.split(qkv, [32, 48], -1))
    else:  # by group: two queries, a key, a value
        groups = qkv.reshape(2, 10, 2, 4, 8)
        q = groups[:, :, :, :2].reshape(2, 10, 4, 8).swapaxes(1, 2)
        k, v = (groups[:, :, :, i].swapaxes(1, 2) for i in (2, 3))
    angles = rotary_angles(10, 8)
    q, k = _rotate(q, angles), _rotate(k, angles)
    y = _attend(q, k.repeat(2, 1), v.repeat(2, 1), 1 / math.sqrt(8), _causal(10, window))
    h = h + _affine(y, w, "self_attn.o_proj")
    y = rms_norm(h, w[f"{second_norm}.weight"], 1e-5)
    gate_up = _affine(y, w, "mlp.gate_up_proj")
    if halves == "interleaved":
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]
    else:
        gate, up = np.split(gate_up, 2, -1)
    if halves == "up gate":
        gate, up = up, gate
    return h + _affine(silu(gate) * up, w, "mlp.down_proj")


# StableLM


def build_stablelm() -> tuple[Any, Any]:
    config = StableLmConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        use_qkv_bias=True,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
        },
        max_position_embeddings=64,
    )
    return train_torch(StableLmModel(config), 7105, gain=1.6), token_ids(7106, 9)


def stablelm_layer(
    model: Any,
    x: Any,
    at: int = 0,
    size: int = 4,
    bias: bool = True,
    norm: str = "layer",
    mlp_input: str = "after attention",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        if norm == "rms":
            return rms_norm(x, w[f"{name}.weight"], 1e-5)
        return _norm_of(x, w, name)

    q, k, v = _qkv(normed(h, "input_layernorm"), beneath(w, "self_attn."), (2, 2), bias)
    angles = rotary_angles(9, size)[:, :2]
    y = _attend(_rotate(q, angles, at=at), _rotate(k, angles, at=at), v, 1 / 4, _causal(9))
    a = h + _affine(y, w, "self_attn.o_proj")
    y = normed(a if mlp_input == "after attention" else h, "post_attention_layernorm")
    y = silu(_affine(y, w, "mlp.gate_proj")) * _affine(y, w, "mlp.up_proj")
    return a + _affine(y, w, "mlp.down_proj")


# GPT-J


def build_gptj() -> tuple[Any, Any]:
    config = GPTJConfig(
        vocab_size=50,
        n_positions=32,
        n_embd=32,
        n_layer=1,
        n_head=2,
        rotary_dim=8,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(GPTJModel(config), 7107, gain=1.5), token_ids(7108, 9)


def gptj_block(
    model: Any,
    x: Any,
    pairs: str = "neighbours",
    turned: int = 8,
    residual: str = "parallel",
    act: Any = gelu_tanh,
    rates_of: int = 8,
) -> np.ndarray:
    w = weights_of(model)
    h = w["wte.weight"][x["input_ids"]]
    w = beneath(w, "h.0.")
    normed = _norm_of(h, w, "ln_1")
    q, k, v = _qkv(normed, beneath(w, "attn."), (2, 2))
    angles = rotary_angles(9, rates_of)[:, : turned // 2]
    y = _attend(_rotate(q, angles, pairs), _rotate(k, angles, pairs), v, 1 / 4, _causal(9))
    a = _affine(y, w, "attn.out_proj")
    y = _norm_of(h + a, w, "ln_1") if residual == "sequential" else normed
    y = _affine(act(_affine(y, w, "mlp.fc_in")), w, "mlp.fc_out")
    return (normed if residual == "of normalised" else h) + a + y


# CodeGen


def build_codegen() -> tuple[Any, Any]:
    config = CodeGenConfig(
        vocab_size=50,
        n_positions=32,
        n_embd=64,
        n_layer=1,
        n_head=8,
        rotary_dim=4,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(CodeGenModel(config), 7109, gain=1.5), token_ids(7110, 8)


def codegen_attention(
    model: Any,
    x: Any,
    order: str = "qvk",
    shards: int = 4,
    scale: float = 1 / math.sqrt(8),
    pairs: str = "neighbours",
) -> np.ndarray:
    w = weights_of(model)
    h = w["wte.weight"][x["input_ids"]]
    w = beneath(w, "h.0.")
    qkv = _affine(_norm_of(h, w, "ln_1"), w, "attn.qkv_proj").reshape(2, 8, shards, 3, -1)
    part = {n: split_heads(qkv[:, :, :, i].reshape(2, 8, 64), 8) for i, n in enumerate(order)}
    angles = rotary_angles(8, 4)
    q, k = _rotate(part["q"], angles, pairs), _rotate(part["k"], angles, pairs)
    return _affine(_attend(q, k, part["v"], scale, _causal(8)), w, "attn.out_proj")


# StarCoder 2


def build_starcoder2() -> tuple[Any, Any]:
    config = Starcoder2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=4,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    return train_torch(Starcoder2Model(config), 7111, gain=1.6), token_ids(7112, 10)


def starcoder2_layer(
    model: Any,
    x: Any,
    spread: str = "repeat",
    out_bias: bool = True,
    window: int = 4,
    act: Any = gelu_tanh,
    rotated: str = "qk",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    q, k, v = _qkv(_norm_of(h, w, "input_layernorm"), beneath(w, "self_attn."), (4, 2))
    angles = rotary_angles(10, 8)
    q = _rotate(q, angles)
    k = _rotate(k, angles) if "k" in rotated else k
    k, v = (a.repeat(2, 1) if spread == "repeat" else np.tile(a, (1, 2, 1, 1)) for a in (k, v))
    y = _attend(q, k, v, 1 / math.sqrt(8), _causal(10, window))
    h = h + _affine(y, w, "self_attn.o_proj", out_bias)
    y = act(_affine(_norm_of(h, w, "post_attention_layernorm"), w, "mlp.c_fc"))
    return h + _affine(y, w, "mlp.c_proj")


# ALBERT


def build_albert() -> tuple[Any, Any]:
    config = AlbertConfig(
        vocab_size=50,
        embedding_size=12,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=32,
    )
    inputs = token_ids(7114, 8)
    mask = np.ones((2, 8), np.int64)
    mask[1, 5:] = 0
    return train_torch(AlbertModel(config), 7113, gain=1.5), {**inputs, "attention_mask": mask}


def albert_layer(
    model: Any,
    x: Any,
    map_bias: bool = True,
    masked: bool = True,
    final_residual: str = "after attention",
    act: Any = gelu_tanh,
    types: bool = True,
    eps: float = 1e-12,
) -> np.ndarray:
    w = weights_of(model)
    e = w["embeddings.word_embeddings.weight"][x["input_ids"]]
    e = e + w["embeddings.position_embeddings.weight"][:8]
    if types:
        e = e + w["embeddings.token_type_embeddings.weight"][0]
    e = _norm_of(e, w, "embeddings.LayerNorm", eps)
    h = _affine(e, w, "encoder.embedding_hidden_mapping_in", map_bias)
    w = beneath(w, "encoder.albert_layer_groups.0.albert_layers.0.")
    names = ("attention.query", "attention.key", "attention.value")
    q, k, v = (split_heads(_affine(h, w, n), 3) for n in names)
    seen = x["attention_mask"][:, None, None, :] > 0 if masked else None
    a = _affine(_attend(q, k, v, 1 / math.sqrt(8), seen), w, "attention.dense")
    a = _norm_of(h + a, w, "attention.LayerNorm", eps)
    y = _affine(act(_affine(a, w, "ffn")), w, "ffn_output")
    y = y + (a if final_residual == "after attention" else h)
    return _norm_of(y, w, "full_layer_layer_norm", eps)


# XLNet


def build_xlnet() -> tuple[Any, Any]:
    config = XLNetConfig(
        vocab_size=50, d_model=24, n_layer=1, n_head=3, d_inner=40, bos_token_id=1, eos_token_id=2
    )
    return train_torch(XLNetModel(config), 7115, gain=1.5), token_ids(7116, 7)


def xlnet_attention(
    model: Any,
    x: Any,
    shift: int = 0,
    biases: tuple[str, str] = ("r_w_bias", "r_r_bias"),
    sinusoid: str = "halves",
    sign: int = 1,
    residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["word_embedding.weight"][x["input_ids"]].swapaxes(0, 1)  # time first
    w = beneath(w, "layer.0.rel_attn.")
    t = h.shape[0]
    q, k, v = (np.einsum("ibh,hnd->bnid", h, w[n]) for n in "qkv")
    distance = sign * (np.arange(t)[:, None] - np.arange(t)) + shift  # query minus key
    angles = distance[..., None] / 10000 ** (np.arange(0, 24, 2) / 24)
    parts = [np.sin(angles), np.cos(angles)]
    if sinusoid == "interleaved":
        table = np.stack(parts, -1).reshape(t, t, 24)
    else:
        table = np.concatenate(parts, -1)
    r = np.einsum("ijh,hnd->nijd", table.astype(np.float32), w["r"])
    first, second = (w[n][:, None, :] for n in biases)
    scores = np.einsum("bnid,bnjd->bnij", q + first, k)
    scores = scores + np.einsum("bnid,nijd->bnij", q + second, r)
    y = np.einsum("bnij,bnjd->ibnd", softmax(scores / np.float32(math.sqrt(8))), v)
    y = np.einsum("ibnd,hnd->ibh", y, w["o"])
    return _norm_of(y + h if residual else y, w, "layer_norm", 1e-12)


# GPT-Neo


def build_gpt_neo() -> tuple[Any, Any]:
    config = GPTNeoConfig(
        vocab_size=50,
        max_position_embeddings=32,
        hidden_size=24,
        num_layers=1,
        attention_types=[[["local"], 1]],
        num_heads=3,
        window_size=4,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    return train_torch(GPTNeoModel(config), 7117, gain=1.1), token_ids(7118, 10)


def gpt_neo_attention(
    model: Any, x: Any, scale: float = 1.0, window: int = 4, bias: bool = True, first: int = 0
) -> np.ndarray:
    w = weights_of(model)
    h = w["wte.weight"][x["input_ids"]] + w["wpe.weight"][first : first + 10]
    h = _norm_of(h, w, "h.0.ln_1")
    w = beneath(w, "h.0.attn.attention.")
    q, k, v = _qkv(h, w, (3, 3))
    return _affine(_attend(q, k, v, scale, _causal(10, window)), w, "out_proj", bias)


# GPT-BigCode


def build_bigcode() -> tuple[Any, Any]:
    config = GPTBigCodeConfig(
        vocab_size=50,
        n_positions=32,
        n_embd=24,
        n_layer=1,
        n_head=3,
        multi_query=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(GPTBigCodeModel(config), 7119, gain=1.5), token_ids(7120, 9)


def bigcode_attention(
    model: Any, x: Any, order: str = "q k v", scale: float = 1 / math.sqrt(8), first: int = 0
) -> np.ndarray:
    w = weights_of(model)
    h = w["wte.weight"][x["input_ids"]] + w["wpe.weight"][first : first + 9]
    w = beneath(w, "h.0.")
    qkv = _affine(_norm_of(h, w, "ln_1"), w, "attn.c_attn")
    if order == "k v q":
        k, v, q = np.split(qkv, [8, 16], -1)
    else:
        q, k, v = np.split(qkv, [24, 32], -1)
    if order == "q v k":
        k, v = v, k
    y = _attend(split_heads(q, 3), split_heads(k, 1), split_heads(v, 1), scale, _causal(9))
    return _affine(y, w, "attn.c_proj")


# BART


def build_bart() -> tuple[Any, Any]:
    config = BartConfig(
        vocab_size=50,
        d_model=24,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=32,
        decoder_ffn_dim=40,
        max_position_embeddings=32,
        attn_implementation="eager",
    )
    mask = np.ones((2, 9), np.int64)
    mask[0, 6:] = 0
    inputs = {
        "input_ids": tokens(7122, 2, 9, vocabulary=50),
        "attention_mask": mask,
        "decoder_input_ids": tokens(7123, 2, 6, vocabulary=50),
    }
    return train_torch(BartModel(config), 7121, gain=1.4), inputs


def _bart_attention(
    x: np.ndarray, memory: np.ndarray, w: Weights, allowed: Any, scale: float = 1 / math.sqrt(8)
) -> np.ndarray:
    q = split_heads(_affine(x, w, "q_proj"), 3)
    k, v = (split_heads(_affine(memory, w, f"{n}_proj"), 3) for n in "kv")
    return _affine(_attend(q, k, v, scale, allowed), w, "out_proj")


def bart_decoder_layer(
    model: Any,
    x: Any,
    memory: str = "encoder",
    masked: bool = True,
    causal: bool = True,
    norm: str = "after",
    offset: int = 2,
    cross_scale: float = 1 / math.sqrt(8),
    cross_residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)

    def embed(ids: np.ndarray, part: str, offset: int = 2) -> np.ndarray:
        h = w["shared.weight"][ids]
        h = h + w[f"{part}.embed_positions.weight"][offset : offset + ids.shape[1]]
        return _norm_of(h, w, f"{part}.layernorm_embedding")

    def feed_forward(h: np.ndarray, w: Weights) -> np.ndarray:
        return _affine(gelu(_affine(h, w, "fc1")), w, "fc2")

    seen = x["attention_mask"][:, None, None, :] > 0
    e = embed(x["input_ids"], "encoder")
    inner = beneath(w, "encoder.layers.0.")
    embedded = e
    e = e + _bart_attention(e, e, beneath(inner, "self_attn."), seen)
    e = _norm_of(e, inner, "self_attn_layer_norm")
    e = _norm_of(e + feed_forward(e, inner), inner, "final_layer_norm")
    if memory == "embeddings":
        e = embedded

    h = embed(x["decoder_input_ids"], "decoder", offset)
    w = beneath(w, "decoder.layers.0.")
    before = norm == "before"

    def wrap(h: np.ndarray, name: str, branch: Any, residual: bool = True) -> np.ndarray:
        y = branch(_norm_of(h, w, name) if before else h)
        y = h + y if residual else y
        return y if before else _norm_of(y, w, name)

    own = _causal(6) if causal else None
    h = wrap(
        h, "self_attn_layer_norm", lambda a: _bart_attention(a, a, beneath(w, "self_attn."), own)
    )
    h = wrap(
        h,
        "encoder_attn_layer_norm",
        lambda a: _bart_attention(
            a, e, beneath(w, "encoder_attn."), seen if masked else None, cross_scale
        ),
        cross_residual,
    )
    return wrap(h, "final_layer_norm", lambda a: feed_forward(a, w))


# T5


def build_t5() -> tuple[Any, Any]:
    config = T5Config(
        vocab_size=50,
        d_model=24,
        d_kv=6,
        d_ff=40,
        num_layers=1,
        num_decoder_layers=1,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
    )
    mask = np.ones((2, 8), np.int64)
    mask[1, 5:] = 0
    inputs = {
        "input_ids": tokens(7125, 2, 8, vocabulary=50),
        "attention_mask": mask,
        "decoder_input_ids": tokens(7126, 2, 6, vocabulary=50),
    }
    return train_torch(T5Model(config), 7124, gain=1.1), inputs


def _t5_bias(t: int, table: np.ndarray, two_way: bool) -> np.ndarray:
    """The relative bias (heads, queries, keys) of 8 buckets up to distance 16."""
    distance = np.arange(t)[None, :] - np.arange(t)[:, None]  # key minus query
    buckets, start = 8, 0
    if two_way:
        buckets = 4
        start = np.where(distance > 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    far = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / math.log(16 / exact)
    far = np.minimum(exact + (far * (buckets - exact)).astype(np.int64), buckets - 1)
    return table[start + np.where(distance < exact, distance, far)].transpose(2, 0, 1)


def _t5_attention(
    x: np.ndarray, memory: np.ndarray, w: Weights, allowed: Any, bias: Any, scale: float = 1.0
) -> np.ndarray:
    q = split_heads(_affine(x, w, "q"), 4)
    k, v = (split_heads(_affine(memory, w, n), 4) for n in "kv")
    return _affine(_attend(q, k, v, scale, allowed, bias), w, "o")


def t5_cross_attention(
    model: Any,
    x: Any,
    scale: float = 1.0,
    masked: bool = True,
    final_norm: bool = True,
    bias_again: bool = False,
    residual: str = "stream",
    two_way: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    seen = x["attention_mask"][:, None, None, :] > 0
    e = w["shared.weight"][x["input_ids"]]
    inner = beneath(w, "encoder.block.0.layer.")
    table = inner["0.SelfAttention.relative_attention_bias.weight"]
    y = rms_norm(e, inner["0.layer_norm.weight"], 1e-6)
    e = e + _t5_attention(y, y, beneath(inner, "0.SelfAttention."), seen, _t5_bias(8, table, True))
    y = relu(_affine(rms_norm(e, inner["1.layer_norm.weight"], 1e-6), inner, "1.DenseReluDense.wi"))
    e = e + _affine(y, inner, "1.DenseReluDense.wo")
    if final_norm:
        e = rms_norm(e, w["encoder.final_layer_norm.weight"], 1e-6)

    h = w["shared.weight"][x["decoder_input_ids"]]
    w = beneath(w, "decoder.block.0.layer.")
    own = _t5_bias(6, w["0.SelfAttention.relative_attention_bias.weight"], two_way)
    y = rms_norm(h, w["0.layer_norm.weight"], 1e-6)
    h = h + _t5_attention(y, y, beneath(w, "0.SelfAttention."), _causal(6), own)
    y = rms_norm(h, w["1.layer_norm.weight"], 1e-6)
    bias = np.pad(own, ((0, 0), (0, 0), (0, 2))) if bias_again else None
    seen = seen if masked else None
    a = _t5_attention(y, e, beneath(w, "1.EncDecAttention."), seen, bias, scale)
    return (y if residual == "normalised" else h) + a


# OLMo


def build_olmo() -> tuple[Any, Any]:
    config = OlmoConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        clip_qkv=0.8,
        max_position_embeddings=64,
        eos_token_id=2,
    )
    return train_torch(OlmoModel(config), 7127, gain=1.6), token_ids(7128, 9)


def olmo_layer(
    model: Any, x: Any, clip: str = "before rotation", norm: str = "layer", clipped: str = "qkv"
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")

    def normed(x: np.ndarray) -> np.ndarray:
        return _norm(x) if norm == "layer" else rms_norm(x, np.ones(32, np.float32), 1e-5)

    part = dict(zip("qkv", _qkv(normed(h), beneath(w, "self_attn."), (4, 4)), strict=True))
    angles = rotary_angles(9, 8)

    def clip_all() -> None:
        for n in clipped:
            part[n] = part[n].clip(-0.8, 0.8)

    if clip == "before rotation":
        clip_all()
    part["q"], part["k"] = _rotate(part["q"], angles), _rotate(part["k"], angles)
    if clip == "after rotation":
        clip_all()
    y = _attend(part["q"], part["k"], part["v"], 1 / math.sqrt(8), _causal(9))
    h = h + _affine(y, w, "self_attn.o_proj")
    y = normed(h)
    y = silu(_affine(y, w, "mlp.gate_proj")) * _affine(y, w, "mlp.up_proj")
    return h + _affine(y, w, "mlp.down_proj")


# Nemotron


def build_nemotron() -> tuple[Any, Any]:
    config = NemotronConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = train_torch(NemotronModel(config), 7129, gain=1.4)
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data -= 0.7
    return model, token_ids(7130, 9)


def nemotron_layer(
    model: Any, x: Any, one: float = 1.0, act: str = "relu squared", turned: int = 4
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        return _norm(x, np.float32(one) + w[f"{name}.weight"], w[f"{name}.bias"])

    q, k, v = _qkv(normed(h, "input_layernorm"), beneath(w, "self_attn."), (4, 2))
    angles = rotary_angles(9, turned)
    q, k = _rotate(q, angles), _rotate(k, angles)
    y = _attend(q, k.repeat(2, 1), v.repeat(2, 1), 1 / math.sqrt(8), _causal(9))
    h = h + _affine(y, w, "self_attn.o_proj")
    y = _affine(normed(h, "post_attention_layernorm"), w, "mlp.up_proj")
    if act == "relu squared":
        y = relu(y) ** 2
    elif act == "square":
        y = y**2
    else:
        y = relu(y)
    return h + _affine(y, w, "mlp.down_proj")


# DeepSeek V2: attention from a latent


def build_deepseek() -> tuple[Any, Any]:
    config = DeepseekV2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        q_lora_rank=None,
        kv_lora_rank=12,
        qk_nope_head_dim=6,
        qk_rope_head_dim=4,
        v_head_dim=5,
        first_k_dense_replace=1,
        n_routed_experts=2,
        num_experts_per_tok=1,
        n_shared_experts=1,
        moe_intermediate_size=8,
        n_group=1,
        topk_group=1,
        max_position_embeddings=64,
    )
    return train_torch(DeepseekV2Model(config), 7131, gain=1.6), token_ids(7132, 9)


def deepseek_attention(
    model: Any,
    x: Any,
    latent_norm: str = "latent",
    pairs: str = "neighbours",
    size: int = 10,
    split: str = "k v per head",
    rotated: str = "qk",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    h = rms_norm(h, w["layers.0.input_layernorm.weight"], 1e-6)
    w = beneath(w, "layers.0.self_attn.")
    q = split_heads(_affine(h, w, "q_proj"), 4)
    q, q_turned = q[..., :6], q[..., 6:]
    latent, k_turned = np.split(_affine(h, w, "kv_a_proj_with_mqa"), [12], -1)
    if latent_norm == "latent":
        latent = rms_norm(latent, w["kv_a_layernorm.weight"], 1e-6)
    kv = _affine(latent, w, "kv_b_proj")
    if split == "all k, then all v":
        k, v = split_heads(kv[..., :24], 4), split_heads(kv[..., 24:], 4)
    else:
        kv = split_heads(kv, 4)
        k, v = kv[..., :6], kv[..., 6:]
    angles = rotary_angles(9, 4)
    q_turned = _rotate(q_turned, angles, pairs)
    k_turned = k_turned[:, None]
    if "k" in rotated:
        k_turned = _rotate(k_turned, angles, pairs)
    q = np.concatenate([q, q_turned], -1)
    k = np.concatenate([k, np.broadcast_to(k_turned, (2, 4, 9, 4))], -1)
    return _affine(_attend(q, k, v, 1 / math.sqrt(size), _causal(9)), w, "o_proj")


# Llama with stretched positions


def build_llama(rope: dict[str, Any], longest: int, length: int) -> tuple[Any, Any]:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        rope_parameters=rope,
        max_position_embeddings=longest,
    )
    return train_torch(LlamaModel(config), 7133, gain=1.8), token_ids(7134, length)


def _llama_attention(
    model: Any, x: Any, rates: np.ndarray, factor: float = 1.0, on_keys: bool = True
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    h = rms_norm(h, w["layers.0.input_layernorm.weight"], 1e-5)
    w = beneath(w, "layers.0.self_attn.")
    q, k, v = _qkv(h, w, (2, 2))
    t = h.shape[1]
    angles = (np.arange(t)[:, None] * rates).astype(np.float32)
    q = _rotate(q, angles) * np.float32(factor)
    k = _rotate(k, angles) * np.float32(factor if on_keys else 1)
    return _affine(_attend(q, k, v, 1 / 4, _causal(t)), w, "o_proj")


YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 2.0,
    "beta_slow": 1.0,
}


def yarn_attention(
    model: Any,
    x: Any,
    ramp: str = "low divided",
    factor: str = "both",
    betas: tuple[float, float] = (2.0, 1.0),
    original: int = 32,
) -> np.ndarray:
    rates = 1 / 100.0 ** (np.arange(0, 16, 2) / 16)

    def feature(turns: float) -> float:
        """The feature that turns so often over the original length."""
        return 16 * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(100.0))

    low, high = max(math.floor(feature(betas[0])), 0), min(math.ceil(feature(betas[1])), 15)
    share = np.clip((np.arange(8) - low) / (high - low), 0, 1)
    if ramp == "high divided":
        share = 1 - share
    elif ramp == "all divided":
        share = np.ones(8)
    rates = rates / 4 * share + rates * (1 - share)
    scale = {"both": 0.1 * math.log(4) + 1, "none": 1.0, "query": 0.1 * math.log(4) + 1}[factor]
    return _llama_attention(model, x, rates, scale, factor != "query")


DYNAMIC = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}


def dynamic_ntk_attention(model: Any, x: Any, base: str = "by length") -> np.ndarray:
    length, longest = x["input_ids"].shape[1], 8
    stretch = 2.0 * length / longest - 1
    theta = {
        "by length": 100 * stretch ** (16 / 14),
        "no exponent": 100 * stretch,
        "fixed factor": 100 * 2.0 ** (16 / 14),
        "not scaled": 100.0,
        "of length alone": 100 * (length / longest) ** (16 / 14),
    }[base]
    return _llama_attention(model, x, 1 / theta ** (np.arange(0, 16, 2) / 16))


LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def linear_rope_attention(model: Any, x: Any, how: str = "divided") -> np.ndarray:
    exponents = np.arange(0, 16, 2) / 16
    rates = {
        "divided": 1 / 10000.0**exponents / 4,
        "multiplied": 1 / 10000.0**exponents * 4,
        "ignored": 1 / 10000.0**exponents,
        "base": 1 / 40000.0**exponents,
    }[how]
    return _llama_attention(model, x, rates)


# BLOOM with six heads


def build_bloom() -> tuple[Any, Any]:
    config = BloomConfig(vocab_size=50, hidden_size=48, n_layer=1, n_head=6)
    return train_torch(BloomModel(config), 7135, gain=1.6), token_ids(7136, 9)


def bloom_six_heads(model: Any, x: Any, slopes: str = "four, then two between") -> np.ndarray:
    w = weights_of(model)
    e = _norm_of(w["word_embeddings.weight"][x["input_ids"]], w, "word_embeddings_layernorm")
    h = _norm_of(e, w, "h.0.input_layernorm")
    w = beneath(w, "h.0.self_attention.")
    qkv = _affine(h, w, "query_key_value").reshape(2, 9, 6, 3, 8)
    q, k, v = qkv.transpose(3, 0, 2, 1, 4)
    powers = {
        "four, then two between": [2, 4, 6, 8, 1, 3],
        "sorted": [1, 2, 3, 4, 6, 8],
        "eighths of six": [8 * i / 6 for i in range(1, 7)],
        "first of eight": [1, 2, 3, 4, 5, 6],
        "next two": [2, 4, 6, 8, 1, 2],
    }[slopes]
    slope = (2.0 ** -np.array(powers, float)).astype(np.float32)
    bias = slope[:, None, None] * np.arange(9, dtype=np.float32)
    return e + _affine(_attend(q, k, v, 1 / math.sqrt(8), _causal(9), bias), w, "dense")


# Plain PyTorch


def _heads(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.view(*x.shape[:2], n, -1).transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


class WindowAttention(nn.Module):
    """Neighbours on both sides within `reach`, and a first token that sees and is seen by all."""

    def __init__(self, width: int = 24, heads: int = 3, reach: int = 2) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        at = torch.arange(x.shape[1])
        seen = (at[:, None] - at).abs() <= self.reach
        seen[0], seen[:, 0] = True, True
        y = nn.functional.scaled_dot_product_attention(q, k, v, seen)
        return self.out(_joined(y))


def build_window() -> tuple[Any, Any]:
    return train_torch(Alone(WindowAttention()), 7201, gain=1.6), normal_floats(7202, 2, 10, 24)


def window_attention(
    model: Any, x: Any, reach: int = 2, seen_by_all: bool = True, sees_all: bool = True
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    q, k, v = (split_heads(part, 3) for part in np.split(_affine(x, w, "qkv"), 3, -1))
    seen = np.abs(np.arange(10)[:, None] - np.arange(10)) <= reach
    if sees_all:
        seen[0] = True
    if seen_by_all:
        seen[:, 0] = True
    return _affine(_attend(q, k, v, 1 / math.sqrt(8), seen), w, "out")


class PackedAttention(nn.Module):
    """Causal attention with rotation over sequences packed into one row, numbered by segment."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        q, k, v = (_heads(f(x), self.heads) for f in (self.query, self.key, self.value))
        half = q.shape[-1] // 2
        rates = 10000.0 ** (-torch.arange(half) / half)
        angle = (positions[..., None] * rates)[:, None]

        def turn(a: torch.Tensor) -> torch.Tensor:
            first, second = a[..., :half], a[..., half:]
            return torch.cat(
                [
                    first * angle.cos() - second * angle.sin(),
                    second * angle.cos() + first * angle.sin(),
                ],
                -1,
            )

        same = segments[:, None, :, None] == segments[:, None, None, :]
        t = x.shape[1]
        seen = same & torch.ones(t, t, dtype=torch.bool).tril()
        y = nn.functional.scaled_dot_product_attention(turn(q), turn(k), v, seen)
        return self.out(_joined(y))


def build_packed() -> tuple[Any, Any]:
    segments = np.array([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]])
    positions = np.array([[0, 1, 2, 3, 0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]])
    model = train_torch(Alone(PackedAttention()), 7203, gain=2.0)
    return model, (normal_floats(7204, 2, 10, 24), segments, positions)


def packed_attention(
    model: Any, x: Any, apart: str = "segments", causal: bool = True, rotated: bool = True
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    hidden, segments, positions = x
    q, k, v = (split_heads(_affine(hidden, w, n), 3) for n in ("query", "key", "value"))
    if rotated:
        angles = positions[:, None, :, None] * 10000.0 ** (-np.arange(4) / 4)
        q, k = (_rotate(a, angles.astype(np.float32)) for a in (q, k))
    a, b = segments[:, None, :, None], segments[:, None, None, :]
    if apart == "segments":
        seen = a == b
    elif apart == "earlier too":
        seen = a - b <= 1
    else:
        seen = np.ones((2, 1, 10, 10), bool)
    if causal:
        seen = seen & _causal(10)
    return _affine(_attend(q, k, v, 1 / math.sqrt(8), seen), w, "out")


class PrefixAttention(nn.Module):
    """Causal attention with learned keys and values in front, as in prefix tuning."""

    def __init__(self, width: int = 24, heads: int = 3, prefix: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.prefix_key = nn.Parameter(torch.zeros(heads, prefix, width // heads))
        self.prefix_value = nn.Parameter(torch.zeros(heads, prefix, width // heads))
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t = x.shape[:2]
        q, k, v = (_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        k = torch.cat([self.prefix_key.expand(n, -1, -1, -1), k], 2)
        v = torch.cat([self.prefix_value.expand(n, -1, -1, -1), v], 2)
        before = k.shape[2] - t
        seen = torch.ones(t, before + t, dtype=torch.bool).tril(before)
        y = nn.functional.scaled_dot_product_attention(q, k, v, seen)
        return self.out(_joined(y))


def build_prefix() -> tuple[Any, Any]:
    return train_torch(Alone(PrefixAttention()), 7205, gain=1.8), normal_floats(7206, 2, 7, 24)


def prefix_attention(
    model: Any, x: Any, diagonal: int = 4, place: str = "before", values: str = "prefix_value"
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    q, k, v = (split_heads(part, 3) for part in np.split(_affine(x, w, "qkv"), 3, -1))
    first_k, first_v = (np.stack([w[n]] * 2) for n in ("prefix_key", values))
    if values == "zeros":
        first_v = np.zeros_like(first_k)
    seen = np.tril(np.ones((7, 11), bool), diagonal)
    if place == "after":
        k, v = np.concatenate([k, first_k], 2), np.concatenate([v, first_v], 2)
    else:
        k, v = np.concatenate([first_k, k], 2), np.concatenate([first_v, v], 2)
    return _affine(_attend(q, k, v, 1 / math.sqrt(8), seen), w, "out")


class CachedAttention(nn.Module):
    """New steps of a decoder with grouped heads, after keys that a cache holds rotated."""

    def __init__(self, width: int = 32, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups = heads, groups
        size = width // heads
        self.query = nn.Linear(width, heads * size, bias=False)
        self.key = nn.Linear(width, groups * size, bias=False)
        self.value = nn.Linear(width, groups * size, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: torch.Tensor, old_keys: torch.Tensor, old_values: torch.Tensor
    ) -> torch.Tensor:
        past, t = old_keys.shape[2], x.shape[1]
        q = _heads(self.query(x), self.heads)
        k, v = _heads(self.key(x), self.groups), _heads(self.value(x), self.groups)
        half = q.shape[-1] // 2
        angle = torch.arange(past, past + t)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        whole = torch.cat([angle, angle], -1)

        def turn(a: torch.Tensor) -> torch.Tensor:
            turned = torch.cat([-a[..., half:], a[..., :half]], -1)
            return a * whole.cos() + turned * whole.sin()

        k, v = torch.cat([old_keys, turn(k)], 2), torch.cat([old_values, v], 2)
        k, v = (a.repeat_interleave(self.heads // self.groups, 1) for a in (k, v))
        seen = torch.ones(t, past + t, dtype=torch.bool).tril(past)
        y = nn.functional.scaled_dot_product_attention(turn(q), k, v, seen)
        return self.out(_joined(y))


def build_cached() -> tuple[Any, Any]:
    model = train_torch(Alone(CachedAttention()), 7207, gain=1.8)
    return model, (
        normal_floats(7208, 2, 3, 32),
        normal_floats(7209, 2, 2, 5, 8),
        normal_floats(7210, 2, 2, 5, 8),
    )


def cached_attention(
    model: Any,
    x: Any,
    first: int = 5,
    query_first: int = 5,
    diagonal: int = 5,
    spread: str = "repeat",
    order: str = "old first",
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    hidden, old_keys, old_values = x
    q = split_heads(_affine(hidden, w, "query"), 4)
    k, v = (split_heads(_affine(hidden, w, n), 2) for n in ("key", "value"))
    q, k = (
        _rotate(q, rotary_angles(3, 8, first=query_first)),
        _rotate(k, rotary_angles(3, 8, first=first)),
    )
    if order == "new first":
        k, v = np.concatenate([k, old_keys], 2), np.concatenate([v, old_values], 2)
    else:
        k, v = np.concatenate([old_keys, k], 2), np.concatenate([old_values, v], 2)
    k, v = (a.repeat(2, 1) if spread == "repeat" else np.tile(a, (1, 2, 1, 1)) for a in (k, v))
    seen = np.tril(np.ones((3, 8), bool), diagonal)
    return _affine(_attend(q, k, v, 1 / math.sqrt(8), seen), w, "out")


class TreeAttention(nn.Module):
    """Drafted tokens of a tree (speculative decoding): each sees its ancestors and itself."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.depth = nn.Embedding(8, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        t = x.shape[1]
        seen = torch.eye(t, dtype=torch.bool)
        for i, parent in enumerate(parents.tolist()):
            if parent >= 0:
                seen[i] |= seen[parent]
        x = x + self.depth(seen.sum(-1) - 1)
        q, k, v = (_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, seen)
        return self.out(_joined(y))


def build_tree() -> tuple[Any, Any]:
    parents = np.array([-1, 0, 0, 1, 1, 2, 3])
    return train_torch(Alone(TreeAttention()), 7211, gain=1.6), (
        normal_floats(7212, 2, 7, 24),
        parents,
    )


def tree_attention(
    model: Any, x: Any, mask: str = "ancestors", depth: str = "of tree", itself: bool = True
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    hidden, parents = x
    line = np.eye(7, dtype=bool)
    for i, parent in enumerate(parents):
        if parent >= 0:
            line[i] |= line[parent]
    depths = line.sum(-1) - 1 if depth == "of tree" else np.arange(7)
    seen = line.copy()
    if mask == "causal":
        seen = _causal(7)
    elif mask == "parent":
        seen = np.eye(7, dtype=bool)
        seen[np.arange(1, 7), parents[1:]] = True
    if not itself:
        seen = seen & ~np.eye(7, dtype=bool)
        seen[0, 0] = True
    hidden = hidden + w["depth.weight"][depths]
    q, k, v = (split_heads(part, 3) for part in np.split(_affine(hidden, w, "qkv"), 3, -1))
    return _affine(_attend(q, k, v, 1 / math.sqrt(8), seen), w, "out")


class CosineAttention(nn.Module):
    """Attention of unit queries and keys with a learned temperature per head, as Swin V2's."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.log_scale = nn.Parameter(torch.zeros(heads, 1, 1))
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        none = torch.zeros_like(self.query_bias)
        bias = torch.cat([self.query_bias, none, self.value_bias])
        qkv = nn.functional.linear(x, self.qkv.weight, bias)
        q, k, v = (_heads(part, self.heads) for part in qkv.chunk(3, -1))
        q, k = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
        scores = q @ k.transpose(-1, -2) * self.log_scale.clamp(max=math.log(100)).exp()
        return self.out(_joined(scores.softmax(-1) @ v))


def build_cosine() -> tuple[Any, Any]:
    model = train_torch(Alone(CosineAttention()), 7213, gain=1.2)
    model.mixer.log_scale.data = torch.tensor([2.0, 4.0, 5.2]).view(3, 1, 1)
    return model, normal_floats(7214, 2, 8, 24)


def cosine_attention(
    model: Any,
    x: Any,
    clamp: bool = True,
    exp: bool = True,
    bias: str = "query and value",
    scale: float = 1.0,
    unit: str = "qk",
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    q, k, v = np.split(_affine(x, w, "qkv"), 3, -1)
    q = q + w["query_bias"]
    if bias == "query and key":
        k = k + w["value_bias"]
    else:
        v = v + w["value_bias"]
    q, k, v = (split_heads(a, 3) for a in (q, k, v))
    if "q" in unit:
        q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    if "k" in unit:
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    factor = w["log_scale"]
    if clamp:
        factor = np.minimum(factor, np.float32(math.log(100)))
    if exp:
        factor = np.exp(factor)
    return _affine(_attend(q * factor, k, v, scale, None), w, "out")


class LatentCrossAttention(nn.Module):
    """Learned latents that attend to an input, with a feed-forward part, as Perceiver's."""

    def __init__(self, width: int = 24, source: int = 16, latents: int = 5, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.latents = nn.Parameter(torch.zeros(latents, width))
        self.latent_norm = nn.LayerNorm(width)
        self.source_norm = nn.LayerNorm(source)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source, width)
        self.value = nn.Linear(source, width)
        self.out = nn.Linear(width, width)
        self.inner_norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, width))

    def forward(self, x: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        latents = self.latents.expand(x.shape[0], -1, -1)
        source = self.source_norm(x)
        q = _heads(self.query(self.latent_norm(latents)), self.heads)
        k, v = _heads(self.key(source), self.heads), _heads(self.value(source), self.heads)
        y = nn.functional.scaled_dot_product_attention(q, k, v, present[:, None, None])
        h = latents + self.out(_joined(y))
        return h + self.inner(self.inner_norm(h))


def build_latents() -> tuple[Any, Any]:
    present = np.ones((2, 9), bool)
    present[0, 7:] = False
    model = train_torch(Alone(LatentCrossAttention()), 7215, gain=1.6)
    return model, (normal_floats(7216, 2, 9, 16) * 2 + 1, present)


def latent_cross_attention(
    model: Any,
    x: Any,
    source_norm: bool = True,
    latent_norm: bool = True,
    residual: str = "latents",
    masked: bool = True,
    axis: int = -1,
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    source, present = x
    latents = np.stack([w["latents"]] * 2)
    normed = _norm_of(latents, w, "latent_norm") if latent_norm else latents
    source = _norm_of(source, w, "source_norm") if source_norm else source
    q = split_heads(_affine(normed, w, "query"), 3)
    k, v = (split_heads(_affine(source, w, n), 3) for n in ("key", "value"))
    scores = q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(8))
    if masked:
        scores = np.where(present[:, None, None], scores, HIDDEN)
    shares = softmax(scores.swapaxes(axis, -1)).swapaxes(axis, -1)
    y = _affine(join_heads(shares @ v), w, "out")
    if residual == "latents":
        y = y + latents
    elif residual == "normed latents":
        y = y + normed
    inner = gelu(_affine(_norm_of(y, w, "inner_norm"), w, "inner.0"))
    return y + _affine(inner, w, "inner.2")


class DifferentialAttention(nn.Module):
    """The difference of two causal attentions, normed per head (the differential transformer)."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.start = heads, 0.35
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.lambdas = nn.Parameter(torch.zeros(4, width // heads // 2))
        self.gain = nn.Parameter(torch.ones(width // heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = x.shape[1]
        q, k = _heads(self.query(x), 2 * self.heads), _heads(self.key(x), 2 * self.heads)
        v = _heads(self.value(x), self.heads)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        late = torch.ones(t, t, dtype=torch.bool).triu(1)
        shares = scores.masked_fill(late, -math.inf).softmax(-1)
        shares = shares.view(x.shape[0], self.heads, 2, t, t)
        a, b, c, d = self.lambdas
        factor = (a @ b).exp() - (c @ d).exp() + self.start
        y = (shares[:, :, 0] - factor * shares[:, :, 1]) @ v
        y = y * (y.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.gain
        return self.out(_joined(y * (1 - self.start)))


def build_differential() -> tuple[Any, Any]:
    model = train_torch(Alone(DifferentialAttention()), 7217, gain=1.8)
    return model, normal_floats(7218, 2, 8, 32)


def differential_attention(
    model: Any,
    x: Any,
    start: float = 0.35,
    pairs: str = "neighbours",
    rescaled: bool = True,
    normed: bool = True,
    scale: float = 1 / math.sqrt(8),
) -> np.ndarray:
    w = beneath(weights_of(model), "mixer.")
    q, k = (split_heads(_affine(x, w, n), 4) for n in ("query", "key"))
    v = split_heads(_affine(x, w, "value"), 2)
    shares = softmax(np.where(_causal(8), q @ k.swapaxes(-1, -2) * np.float32(scale), HIDDEN))
    a, b, c, d = w["lambdas"]
    factor = np.exp(a @ b) - np.exp(c @ d) + np.float32(start)
    if pairs == "neighbours":
        first, second = shares[:, ::2], shares[:, 1::2]
    else:
        first, second = shares[:, :2], shares[:, 2:]
    y = (first - factor * second) @ v
    if normed:
        y = y / np.sqrt((y * y).mean(-1, keepdims=True) + np.float32(1e-5)) * w["gain"]
    if rescaled:
        y = y * np.float32(1 - 0.35)
    return _affine(join_heads(y), w, "out")


CASES = [
    Case(
        "blind_gemma3_attention",
        build_gemma3,
        "layers.0.self_attn",
        gemma3_attention,
        {
            "rotary_base_of_full_layers": Mistake(
                partial(gemma3_attention, theta=1000000.0),
                "The rotary base is that of the full layers (1000000), where this sliding layer "
                "has its own (100).",
            ),
            "query_key_gain_without_one": Mistake(
                partial(gemma3_attention, one=0.0),
                "q_norm and k_norm multiply by weight, where Gemma's multiply by 1 + weight.",
            ),
            "rotated_before_norms": Mistake(
                partial(gemma3_attention, order="rotation first"),
                "Queries and keys are rotated before q_norm and k_norm, where it is after.",
            ),
            "window_one_too_long": Mistake(
                partial(gemma3_attention, window=5),
                "The sliding window holds 5 keys with the query's own, where it holds 4.",
            ),
            "key_not_normed": Mistake(
                partial(gemma3_attention, normed="q"),
                "k_norm is forgotten, q_norm is there.",
            ),
            "no_window_and_base_of_full_layers": Mistake(
                partial(gemma3_attention, window=0, theta=1000000.0),
                "Two causes: the layer is taken for a full one, so neither the sliding window nor "
                "the local rotary base is used.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_phi3_layer",
        build_phi3,
        "layers.0",
        phi3_layer,
        {
            "up_before_gate": Mistake(
                partial(phi3_layer, halves="up gate"),
                "gate_up_proj is split as up then gate, where gate is first.",
            ),
            "gate_and_up_interleaved": Mistake(
                partial(phi3_layer, halves="interleaved"),
                "gate_up_proj's outputs are taken in turn (gate, up, gate, up), where the first "
                "half is the gate.",
            ),
            "value_before_key": Mistake(
                partial(phi3_layer, split="q v k"),
                "qkv_proj is split as query, value, key, where it is query, key, value.",
            ),
            "packed_by_group": Mistake(
                partial(phi3_layer, split="by group"),
                "qkv_proj is split by group (two queries, their key, their value), as InternLM2's, "
                "where all queries come first.",
            ),
            "window_one_too_short": Mistake(
                partial(phi3_layer, window=4),
                "The sliding window holds 4 keys with the query's own, where it holds 5.",
            ),
            "same_norm_twice": Mistake(
                partial(phi3_layer, second_norm="input_layernorm"),
                "The MLP's norm uses the gain of input_layernorm.",
            ),
        },
    ),
    Case(
        "blind_stablelm_layer",
        build_stablelm,
        "layers.0",
        stablelm_layer,
        {
            "last_features_rotated": Mistake(
                partial(stablelm_layer, at=12),
                "The last quarter of a head's features is rotated, where it is the first.",
            ),
            "rates_of_whole_head": Mistake(
                partial(stablelm_layer, size=16),
                "The rotated quarter turns with the frequencies of the whole head of 16, where "
                "they are those of 4.",
            ),
            "projection_biases_left_out": Mistake(
                partial(stablelm_layer, bias=False),
                "The biases of query, key and value are left out.",
            ),
            "rms_norms": Mistake(
                partial(stablelm_layer, norm="rms"),
                "The norms are RMS norms without bias, where StableLM's are layer norms.",
            ),
            "parallel_residual": Mistake(
                partial(stablelm_layer, mlp_input="layer input"),
                "The MLP gets the layer's input, where use_parallel_residual is false.",
            ),
        },
    ),
    Case(
        "blind_gptj_block",
        build_gptj,
        "h.0",
        gptj_block,
        {
            "rotary_of_halves": Mistake(
                partial(gptj_block, pairs="halves"),
                "The rotary embedding turns halves as NeoX's, where GPT-J's turns neighbouring "
                "features.",
            ),
            "whole_head_rotated": Mistake(
                partial(gptj_block, turned=16, rates_of=16),
                "All 16 features of a head are rotated, where rotary_dim is 8.",
            ),
            "attention_then_mlp": Mistake(
                partial(gptj_block, residual="sequential"),
                "The MLP gets the norm of the sum after attention, where both get ln_1 of the "
                "block's input.",
            ),
            "residual_of_normalised": Mistake(
                partial(gptj_block, residual="of normalised"),
                "The residual adds ln_1's output, where it adds the block's input.",
            ),
            "erf_gelu": Mistake(
                partial(gptj_block, act=gelu),
                "GELU by erf, where GPT-J's is the tanh approximation; inherently small.",
            ),
        },
    ),
    Case(
        "blind_codegen_attention",
        build_codegen,
        "h.0.attn",
        codegen_attention,
        {
            "key_before_value": Mistake(
                partial(codegen_attention, order="qkv"),
                "qkv_proj's shards are split as query, key, value, where it is query, value, key.",
            ),
            "shards_ignored": Mistake(
                partial(codegen_attention, shards=1),
                "qkv_proj is split into thirds, where each of 4 shards holds its query, value and "
                "key.",
            ),
            "shards_of_one_head": Mistake(
                partial(codegen_attention, shards=8),
                "qkv_proj is split per head, where it is per shard of two heads.",
            ),
            "scale_of_width": Mistake(
                partial(codegen_attention, scale=1 / math.sqrt(64)),
                "Scores are divided by the root of the width 64, where it is the head's 8.",
            ),
        },
    ),
    Case(
        "blind_starcoder2_layer",
        build_starcoder2,
        "layers.0",
        starcoder2_layer,
        {
            "groups_in_turn": Mistake(
                partial(starcoder2_layer, spread="tile"),
                "Key and value heads serve query heads in turn (0 1 0 1), where each serves "
                "neighbours (0 0 1 1).",
            ),
            "output_bias_left_out": Mistake(
                partial(starcoder2_layer, out_bias=False),
                "o_proj's bias is left out, as for Llama.",
            ),
            "window_ignored": Mistake(
                partial(starcoder2_layer, window=0),
                "The sliding window of 4 is ignored.",
            ),
            "key_not_rotated": Mistake(
                partial(starcoder2_layer, rotated="q"),
                "The rotary embedding is applied to queries alone.",
            ),
            "silu_for_gelu": Mistake(
                partial(starcoder2_layer, act=silu),
                "The MLP's activation is SiLU, where it is the tanh GELU.",
            ),
        },
    ),
    Case(
        "blind_albert_layer",
        build_albert,
        "encoder.albert_layer_groups.0.albert_layers.0",
        albert_layer,
        {
            "mapping_bias_left_out": Mistake(
                partial(albert_layer, map_bias=False),
                "The bias of embedding_hidden_mapping_in is left out.",
            ),
            "padding_seen": Mistake(
                partial(albert_layer, masked=False),
                "The attention mask is ignored, so padded tokens are attended to.",
            ),
            "residual_of_layer_input": Mistake(
                partial(albert_layer, final_residual="layer input"),
                "The feed-forward part's residual adds the layer's input, where it adds the "
                "attention's normed output.",
            ),
            "token_types_left_out": Mistake(
                partial(albert_layer, types=False),
                "The embedding of token type 0 is not added, since none were given.",
            ),
            "relu_and_mapping_bias": Mistake(
                partial(albert_layer, act=relu, map_bias=False),
                "Two causes: the activation is ReLU, where it is gelu_new, and the bias of the "
                "mapping is left out.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_xlnet_attention",
        build_xlnet,
        "layer.0.rel_attn",
        xlnet_attention,
        {
            "relative_shift_off_by_one": Mistake(
                partial(xlnet_attention, shift=1),
                "The relative shift is off by one: each score gets the next distance's.",
            ),
            "distances_the_other_way": Mistake(
                partial(xlnet_attention, sign=-1),
                "Distances are key minus query, where they are query minus key.",
            ),
            "biases_exchanged": Mistake(
                partial(xlnet_attention, biases=("r_r_bias", "r_w_bias")),
                "r_w_bias (of content) and r_r_bias (of position) are exchanged.",
            ),
            "sinusoid_interleaved": Mistake(
                partial(xlnet_attention, sinusoid="interleaved"),
                "Sines and cosines alternate in the position table, where all sines come first.",
            ),
            "segment_bias_for_position": Mistake(
                partial(xlnet_attention, biases=("r_w_bias", "r_s_bias")),
                "The position's scores use r_s_bias (of segments), where it is r_r_bias.",
            ),
        },
    ),
    Case(
        "blind_gpt_neo_attention",
        build_gpt_neo,
        "h.0.attn.attention",
        gpt_neo_attention,
        {
            "scores_scaled": Mistake(
                partial(gpt_neo_attention, scale=1 / math.sqrt(8)),
                "Scores are divided by the root of the head's size, where GPT-Neo does not scale.",
            ),
            "window_one_too_long": Mistake(
                partial(gpt_neo_attention, window=5),
                "The local window holds 4 keys besides the query's own, where it is 4 with it.",
            ),
            "local_taken_for_global": Mistake(
                partial(gpt_neo_attention, window=0),
                "The layer is taken for a global one.",
            ),
            "positions_from_one": Mistake(
                partial(gpt_neo_attention, first=1),
                "Positions count from 1, where they count from 0.",
            ),
            "scaled_and_no_bias": Mistake(
                partial(gpt_neo_attention, scale=1 / math.sqrt(8), bias=False),
                "Two causes: scores are scaled, and out_proj's bias is left out as the others'.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_gpt_bigcode_attention",
        build_bigcode,
        "h.0.attn",
        bigcode_attention,
        {
            "value_before_key": Mistake(
                partial(bigcode_attention, order="q v k"),
                "c_attn is split as query, value, key.",
            ),
            "key_and_value_first": Mistake(
                partial(bigcode_attention, order="k v q"),
                "c_attn is split as key, value, query, where the query heads come first.",
            ),
            "scale_of_width": Mistake(
                partial(bigcode_attention, scale=1 / math.sqrt(24)),
                "Scores are divided by the root of the width 24, where it is the head's 8.",
            ),
        },
    ),
    Case(
        "blind_bart_decoder_layer",
        build_bart,
        "decoder.layers.0",
        bart_decoder_layer,
        {
            "encoder_padding_seen": Mistake(
                partial(bart_decoder_layer, masked=False),
                "Cross-attention sees the encoder's padded tokens.",
            ),
            "causal_mask_forgotten": Mistake(
                partial(bart_decoder_layer, causal=False),
                "The decoder's self-attention is not causal.",
            ),
            "norms_before": Mistake(
                partial(bart_decoder_layer, norm="before"),
                "Norms come before attention and feed-forward, as mBART's, where BART's come "
                "after the sums.",
            ),
            "positions_without_offset": Mistake(
                partial(bart_decoder_layer, offset=0),
                "The decoder's positions start at row 0 of the table, where BART's start at row 2.",
            ),
            "cross_attention_to_embeddings": Mistake(
                partial(bart_decoder_layer, memory="embeddings"),
                "Cross-attention gets the encoder's embeddings, where it gets the encoder's "
                "output.",
            ),
            "cross_residual_forgotten": Mistake(
                partial(bart_decoder_layer, cross_residual=False),
                "The residual around cross-attention is forgotten.",
            ),
        },
    ),
    Case(
        "blind_t5_cross_attention",
        build_t5,
        "decoder.block.0.layer.1",
        t5_cross_attention,
        {
            "scores_scaled": Mistake(
                partial(t5_cross_attention, scale=1 / math.sqrt(6)),
                "Cross-attention's scores are divided by the root of the head's size, where T5 "
                "does not scale.",
            ),
            "encoder_norm_forgotten": Mistake(
                partial(t5_cross_attention, final_norm=False),
                "The encoder's final norm is forgotten before cross-attention.",
            ),
            "relative_bias_in_cross_attention": Mistake(
                partial(t5_cross_attention, bias_again=True),
                "The decoder's relative bias is added in cross-attention as well, which has none.",
            ),
            "residual_of_normalised": Mistake(
                partial(t5_cross_attention, residual="normalised"),
                "The residual adds the normalised states, where it adds the stream.",
            ),
            "buckets_of_encoder": Mistake(
                partial(t5_cross_attention, two_way=True),
                "The decoder's relative buckets are two-way as the encoder's, where they are "
                "one-way.",
            ),
            "padding_seen_and_scaled": Mistake(
                partial(t5_cross_attention, masked=False, scale=1 / math.sqrt(6)),
                "Two causes: cross-attention sees padded tokens, and its scores are scaled.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_olmo_layer",
        build_olmo,
        "layers.0",
        olmo_layer,
        {
            "clipped_after_rotation": Mistake(
                partial(olmo_layer, clip="after rotation"),
                "Queries and keys are clipped to 0.8 after the rotary embedding, where it is "
                "before.",
            ),
            "clip_forgotten": Mistake(
                partial(olmo_layer, clip="never"),
                "clip_qkv is ignored.",
            ),
            "value_not_clipped": Mistake(
                partial(olmo_layer, clipped="qk"),
                "Queries and keys are clipped, values are not.",
            ),
            "rms_norm": Mistake(
                partial(olmo_layer, norm="rms"),
                "The norm does not subtract the mean, where OLMo's is a layer norm (without "
                "weights).",
            ),
        },
    ),
    Case(
        "blind_nemotron_layer",
        build_nemotron,
        "layers.0",
        nemotron_layer,
        {
            "gain_without_one": Mistake(
                partial(nemotron_layer, one=0.0),
                "The layer norms multiply by weight, where Nemotron's multiply by 1 + weight.",
            ),
            "relu_not_squared": Mistake(
                partial(nemotron_layer, act="relu"),
                "The activation is ReLU, where it is its square.",
            ),
            "square_without_relu": Mistake(
                partial(nemotron_layer, act="square"),
                "The activation is the square, the ReLU before it is forgotten.",
            ),
            "whole_head_rotated": Mistake(
                partial(nemotron_layer, turned=8),
                "The whole head is rotated, where partial_rotary_factor is 0.5.",
            ),
        },
    ),
    Case(
        "blind_deepseek_latent_attention",
        build_deepseek,
        "layers.0.self_attn",
        deepseek_attention,
        {
            "latent_norm_forgotten": Mistake(
                partial(deepseek_attention, latent_norm="none"),
                "kv_a_layernorm is forgotten.",
            ),
            "rotary_of_halves": Mistake(
                partial(deepseek_attention, pairs="halves"),
                "The rotary embedding turns halves, where DeepSeek's turns neighbouring features.",
            ),
            "scale_of_unrotated_part": Mistake(
                partial(deepseek_attention, size=6),
                "Scores are divided by the root of qk_nope_head_dim 6, where it is 6 + 4.",
            ),
            "keys_then_values": Mistake(
                partial(deepseek_attention, split="all k, then all v"),
                "kv_b_proj is split into all keys, then all values, where each head has its key "
                "and value.",
            ),
            "shared_key_not_rotated": Mistake(
                partial(deepseek_attention, rotated="q"),
                "The key's part that all heads share is not rotated.",
            ),
        },
    ),
    Case(
        "blind_llama_yarn",
        partial(build_llama, YARN, 128, 12),
        "layers.0.self_attn",
        yarn_attention,
        {
            "attention_factor_forgotten": Mistake(
                partial(yarn_attention, factor="none"),
                "YaRN's factor 0.1 ln(4) + 1 on cosines and sines is forgotten.",
            ),
            "attention_factor_on_query_alone": Mistake(
                partial(yarn_attention, factor="query"),
                "YaRN's factor is applied to the query alone, where it is on query and key.",
            ),
            "ramp_the_other_way": Mistake(
                partial(yarn_attention, ramp="high divided"),
                "The ramp is reversed: high frequencies are divided by the factor, low ones are "
                "kept.",
            ),
            "all_frequencies_divided": Mistake(
                partial(yarn_attention, ramp="all divided"),
                "All frequencies are divided by the factor, the ramp is ignored.",
            ),
            "betas_of_default": Mistake(
                partial(yarn_attention, betas=(32.0, 1.0)),
                "beta_fast is the default 32, where this model's is 2.",
            ),
            "stretched_length_in_ramp": Mistake(
                partial(yarn_attention, original=128),
                "The ramp is computed from the stretched length 128, where it is from the "
                "original 32.",
            ),
        },
    ),
    Case(
        "blind_llama_dynamic_ntk",
        partial(build_llama, DYNAMIC, 8, 14),
        "layers.0.self_attn",
        dynamic_ntk_attention,
        {
            "exponent_forgotten": Mistake(
                partial(dynamic_ntk_attention, base="no exponent"),
                "The base is multiplied by the stretch, without the exponent d / (d - 2).",
            ),
            "fixed_factor": Mistake(
                partial(dynamic_ntk_attention, base="fixed factor"),
                "The base is scaled by the factor alone (NTK-aware), where it follows the length.",
            ),
            "not_scaled": Mistake(
                partial(dynamic_ntk_attention, base="not scaled"),
                "The base is not scaled although the sequence is longer than the model's.",
            ),
            "factor_left_out": Mistake(
                partial(dynamic_ntk_attention, base="of length alone"),
                "The stretch is length / longest, where it is factor * length / longest - "
                "(factor - 1).",
            ),
        },
    ),
    Case(
        "blind_llama_linear_rope",
        partial(build_llama, LINEAR, 64, 12),
        "layers.0.self_attn",
        linear_rope_attention,
        {
            "positions_multiplied": Mistake(
                partial(linear_rope_attention, how="multiplied"),
                "Positions are multiplied by the factor 4, where they are divided by it.",
            ),
            "scaling_ignored": Mistake(
                partial(linear_rope_attention, how="ignored"),
                "The linear scaling of positions is ignored.",
            ),
            "base_scaled": Mistake(
                partial(linear_rope_attention, how="base"),
                "The rotary base is multiplied by the factor, where positions are divided by it.",
            ),
        },
    ),
    Case(
        "blind_bloom_six_heads",
        build_bloom,
        "h.0.self_attention",
        bloom_six_heads,
        {
            "slopes_sorted": Mistake(
                partial(bloom_six_heads, slopes="sorted"),
                "The slopes of 6 heads are sorted, where those of 4 heads come first, then two "
                "between them.",
            ),
            "slopes_by_formula_of_powers": Mistake(
                partial(bloom_six_heads, slopes="eighths of six"),
                "The slopes are 2^(-8 i / 6), the formula for powers of two.",
            ),
            "slopes_of_eight_heads_cut": Mistake(
                partial(bloom_six_heads, slopes="first of eight"),
                "The slopes are the first 6 of those of 8 heads.",
            ),
            "extra_slopes_not_every_second": Mistake(
                partial(bloom_six_heads, slopes="next two"),
                "The two added slopes are the first two of 8 heads, where every second one is "
                "taken.",
            ),
        },
    ),
    Case(
        "blind_window_with_global_token",
        build_window,
        "mixer",
        window_attention,
        {
            "reach_one_too_long": Mistake(
                partial(window_attention, reach=3),
                "Each token sees 3 neighbours on either side, where it is 2.",
            ),
            "window_split_over_sides": Mistake(
                partial(window_attention, reach=1),
                "The reach of 2 is taken for both sides together, so one neighbour on either "
                "side is seen.",
            ),
            "global_token_not_seen": Mistake(
                partial(window_attention, seen_by_all=False),
                "The global token sees all, but is not seen by all.",
            ),
            "global_token_sees_window_alone": Mistake(
                partial(window_attention, sees_all=False),
                "The global token is seen by all, but sees its window alone.",
            ),
        },
    ),
    Case(
        "blind_packed_sequences",
        build_packed,
        "mixer",
        packed_attention,
        {
            "segments_ignored": Mistake(
                partial(packed_attention, apart="ignored"),
                "Sequences packed into a row see those before them.",
            ),
            "segment_before_seen": Mistake(
                partial(packed_attention, apart="earlier too"),
                "A sequence also sees the one just before it.",
            ),
            "not_causal": Mistake(
                partial(packed_attention, causal=False),
                "Segments are kept apart, but attention within them is not causal.",
            ),
            "not_rotated_and_segments_ignored": Mistake(
                partial(packed_attention, rotated=False, apart="ignored"),
                "Two causes: no rotary embedding, and packed sequences see those before them.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_prefix_tuning",
        build_prefix,
        "mixer",
        prefix_attention,
        {
            "mask_without_prefix": Mistake(
                partial(prefix_attention, diagonal=0),
                "The causal mask does not count the prefix, so early tokens do not see all of it "
                "or themselves.",
            ),
            "mask_off_by_one": Mistake(
                partial(prefix_attention, diagonal=3),
                "The causal mask is off by one: a token does not see itself.",
            ),
            "prefix_keys_as_values": Mistake(
                partial(prefix_attention, values="prefix_key"),
                "The prefix's keys are used as its values.",
            ),
            "prefix_behind": Mistake(
                partial(prefix_attention, place="after"),
                "The prefix is put behind the tokens, under a mask that has it in front.",
            ),
        },
    ),
    Case(
        "blind_cached_decoding",
        build_cached,
        "mixer",
        cached_attention,
        {
            "positions_from_zero": Mistake(
                partial(cached_attention, first=0, query_first=0),
                "The new tokens' positions start at 0, where the cache holds 5 before them.",
            ),
            "positions_one_too_far": Mistake(
                partial(cached_attention, first=6, query_first=6),
                "The new tokens' positions start at 6, one too far.",
            ),
            "query_position_off_by_one": Mistake(
                partial(cached_attention, query_first=4),
                "Queries are rotated by one position less than their keys.",
            ),
            "mask_without_cache": Mistake(
                partial(cached_attention, diagonal=0),
                "The causal mask is aligned to the top left, so the cache counts as the future.",
            ),
            "cache_behind": Mistake(
                partial(cached_attention, order="new first"),
                "The cache is put behind the new keys and values.",
            ),
            "groups_in_turn_and_positions": Mistake(
                partial(cached_attention, spread="tile", first=0, query_first=0),
                "Two causes: key and value heads are tiled (0 1 0 1), and positions start at 0.",
                causes=2,
            ),
        },
    ),
    Case(
        "blind_draft_tree",
        build_tree,
        "mixer",
        tree_attention,
        {
            "plain_causal_mask": Mistake(
                partial(tree_attention, mask="causal"),
                "The mask is causal over the row, so a draft sees those of other branches.",
            ),
            "parent_alone": Mistake(
                partial(tree_attention, mask="parent"),
                "A draft sees its parent and itself, where it sees all ancestors.",
            ),
            "positions_of_row": Mistake(
                partial(tree_attention, depth="of row"),
                "Positions are those in the row, where they are the depths in the tree.",
            ),
            "itself_hidden": Mistake(
                partial(tree_attention, itself=False),
                "A draft sees its ancestors, but not itself.",
            ),
        },
    ),
    Case(
        "blind_cosine_attention",
        build_cosine,
        "mixer",
        cosine_attention,
        {
            "temperature_not_clamped": Mistake(
                partial(cosine_attention, clamp=False),
                "The logarithm of the temperature is not cut at ln(100).",
            ),
            "exponential_forgotten": Mistake(
                partial(cosine_attention, exp=False),
                "Scores are multiplied by the logarithm of the temperature, where it is its "
                "exponential.",
            ),
            "bias_on_key": Mistake(
                partial(cosine_attention, bias="query and key"),
                "The second bias is added to the key, where it is the value's.",
            ),
            "scaled_too": Mistake(
                partial(cosine_attention, scale=1 / math.sqrt(8)),
                "Scores are divided by the root of the head's size as well.",
            ),
            "key_not_of_length_one": Mistake(
                partial(cosine_attention, unit="q"),
                "Keys are not brought to length 1.",
            ),
        },
    ),
    Case(
        "blind_latent_cross_attention",
        build_latents,
        "mixer",
        latent_cross_attention,
        {
            "input_norm_forgotten": Mistake(
                partial(latent_cross_attention, source_norm=False),
                "The input's norm before key and value is forgotten.",
            ),
            "latent_norm_forgotten": Mistake(
                partial(latent_cross_attention, latent_norm=False),
                "The latents' norm before the query is forgotten.",
            ),
            "residual_of_normed_latents": Mistake(
                partial(latent_cross_attention, residual="normed latents"),
                "The residual adds the normed latents, where it adds the latents.",
            ),
            "no_residual": Mistake(
                partial(latent_cross_attention, residual="none"),
                "The residual around cross-attention is forgotten.",
            ),
            "softmax_over_latents": Mistake(
                partial(latent_cross_attention, axis=-2),
                "The softmax is over the latents (as slot attention's), where it is over the "
                "input.",
            ),
        },
    ),
    Case(
        "blind_differential_attention",
        build_differential,
        "mixer",
        differential_attention,
        {
            "start_left_out_of_factor": Mistake(
                partial(differential_attention, start=0.0),
                "The factor of the second attention lacks its initial value 0.35.",
            ),
            "halves_of_heads_paired": Mistake(
                partial(differential_attention, pairs="halves"),
                "Attention maps are paired 0 with 2 and 1 with 3, where neighbours belong "
                "together.",
            ),
            "output_not_rescaled": Mistake(
                partial(differential_attention, rescaled=False),
                "The normed output is not multiplied by 1 - 0.35.",
            ),
            "head_norm_forgotten": Mistake(
                partial(differential_attention, normed=False),
                "The norm per head is forgotten.",
            ),
            "scale_of_double_head": Mistake(
                partial(differential_attention, scale=1 / 4),
                "Scores are divided by the root of the value's head of 16, where it is the "
                "query's 8.",
            ),
        },
    ),
]
