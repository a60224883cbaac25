"""Decoder blocks of transformers: Llama, Qwen3, Gemma2, GPT-2, GPT-NeoX, Cohere, BLOOM, OPT."""

import math
from functools import partial
from typing import Any

import numpy as np
from transformers import (
    BloomConfig,
    BloomModel,
    CohereConfig,
    CohereModel,
    Gemma2Config,
    Gemma2Model,
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    OPTConfig,
    OPTModel,
    Qwen3Config,
    Qwen3Model,
)

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    gelu,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    relu,
    rms_norm,
    rotary_angles,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import beneath, token_ids, train_torch, weights_of

Weights = dict[str, np.ndarray]
HIDDEN = np.float32(-1e9)


def _rotate(x: np.ndarray, angles: np.ndarray, pairs: str = "halves") -> np.ndarray:
    """Rotate the first features of heads by angles, the rest passes."""
    n = 2 * angles.shape[-1]
    cos, sin = np.cos(angles), np.sin(angles)
    rest = x[..., n:]
    if pairs == "neighbours":
        a, b = x[..., 0:n:2], x[..., 1:n:2]
        turned = np.stack([a * cos - b * sin, a * sin + b * cos], -1)
        return np.concatenate([turned.reshape(*x.shape[:-1], n), rest], -1)
    a, b = x[..., : n // 2], x[..., n // 2 : n]
    if pairs == "other sign":
        sin = -sin
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def _attend(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    scale: float,
    causal: bool = True,
    cap: float = 0,
    window: int = 0,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) * np.float32(scale)
    if cap:
        scores = np.tanh(scores / np.float32(cap)) * np.float32(cap)
    if bias is not None:
        scores = scores + bias
    t = q.shape[2]
    apart = np.arange(t)[:, None] - np.arange(t)
    allowed = apart >= 0 if causal else np.ones((t, t), bool)
    if window:
        allowed = allowed & (apart < window)
    return join_heads(softmax(np.where(allowed, scores, HIDDEN)) @ v)


# Llama


def build_llama(**more: Any) -> tuple[Any, Any]:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        max_position_embeddings=64,
        **more,
    )
    return train_torch(LlamaModel(config), 401, gain=1.6), token_ids(402, 10)


def _llama_attention(
    x: np.ndarray,
    w: Weights,
    pairs: str = "halves",
    theta: float = 10000.0,
    first: int = 0,
    scale: float = 1 / math.sqrt(8),
    spread: str = "repeat",
    rotated: str = "qk",
    causal: bool = True,
    angles: np.ndarray | None = None,
) -> np.ndarray:
    q = split_heads(linear(x, w["q_proj.weight"]), 4)
    k = split_heads(linear(x, w["k_proj.weight"]), 2)
    v = split_heads(linear(x, w["v_proj.weight"]), 2)
    if angles is None:
        angles = rotary_angles(x.shape[1], 8, theta, first)
    if "q" in rotated:
        q = _rotate(q, angles, pairs)
    if "k" in rotated:
        k = _rotate(k, angles, pairs)
    if "v" in rotated:
        v = _rotate(v, angles, pairs)
    k, v = (a.repeat(2, 1) if spread == "repeat" else np.tile(a, (1, 2, 1, 1)) for a in (k, v))
    return linear(_attend(q, k, v, scale, causal), w["o_proj.weight"])


def llama_attention(model: Any, x: Any, **how: Any) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    h = rms_norm(h, w["layers.0.input_layernorm.weight"], 1e-5)
    return _llama_attention(h, beneath(w, "layers.0.self_attn."), **how)


def llama_cached(model: Any, x: Any, position: str = "at rotation", keep: int = 99) -> np.ndarray:
    """The attention step by step, with a cache of keys and values."""
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    h = rms_norm(h, w["layers.0.input_layernorm.weight"], 1e-5)
    w = beneath(w, "layers.0.self_attn.")
    angles = rotary_angles(h.shape[1], 8)
    keys: list[np.ndarray] = []
    values: list[np.ndarray] = []
    out = []
    for t in range(h.shape[1]):
        now = h[:, t : t + 1]
        q, k = split_heads(linear(now, w["q_proj.weight"]), 4), linear(now, w["k_proj.weight"])
        q = _rotate(q, angles[t])
        if position == "again":
            keys = [_rotate(key, angles[1]) for key in keys]
        keys.append(_rotate(split_heads(k, 2), angles[t]))
        values.append(split_heads(linear(now, w["v_proj.weight"]), 2))
        k, v = (np.concatenate(kept[-keep:], 2).repeat(2, 1) for kept in (keys, values))
        scores = q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(8))
        out.append(linear(join_heads(softmax(scores) @ v), w["o_proj.weight"]))
    return np.concatenate(out, 1)


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def llama3_angles(model: Any, x: Any, scaling: str = "by wavelength") -> np.ndarray:
    rates = 1 / 100.0 ** (np.arange(0, 8, 2) / 8)
    wavelength = 2 * np.pi / rates
    smooth = np.clip((32 / wavelength - 1) / (4 - 1), 0, 1)
    if scaling == "all":
        smooth = np.zeros(4)
    if scaling == "none":
        smooth = np.ones(4)
    rates = (1 - smooth) * rates / 8 + smooth * rates
    angles = (np.arange(x["input_ids"].shape[1])[:, None] * rates).astype(np.float32)
    return llama_attention(model, x, angles=angles)


def _llama_mlp(
    x: np.ndarray, w: Weights, act: Any = silu, gate: str = "gate_proj", up: str = "up_proj"
) -> np.ndarray:
    hidden = act(linear(x, w[f"mlp.{gate}.weight"])) * linear(x, w[f"mlp.{up}.weight"])
    return linear(hidden, w["mlp.down_proj.weight"])


def llama_layer(
    model: Any,
    x: Any,
    eps: float = 1e-5,
    norms: tuple[str, str] = ("input_layernorm", "post_attention_layernorm"),
    parallel: bool = False,
    attention: dict[str, Any] | None = None,
    mlp: dict[str, Any] | None = None,
    center: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True) if center else x
        return rms_norm(x, w[f"{name}.weight"], eps)

    a = _llama_attention(norm(h, norms[0]), beneath(w, "self_attn."), **(attention or {}))
    y = _llama_mlp(norm(h if parallel else h + a, norms[1]), w, **(mlp or {}))
    return h + a + y


# Qwen3


def build_qwen3() -> tuple[Any, Any]:
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=64,
    )
    return train_torch(Qwen3Model(config), 403, gain=1.6), token_ids(404, 8)


def qwen3_attention(
    model: Any, x: Any, norm: str = "before rotation", size: int = 12, swapped: bool = False
) -> np.ndarray:
    w = weights_of(model)
    h = rms_norm(
        w["embed_tokens.weight"][x["input_ids"]], w["layers.0.input_layernorm.weight"], 1e-6
    )
    w = beneath(w, "layers.0.self_attn.")
    q = split_heads(linear(h, w["q_proj.weight"]), 4)
    k = split_heads(linear(h, w["k_proj.weight"]), 2)
    v = split_heads(linear(h, w["v_proj.weight"]), 2)
    angles = rotary_angles(8, 12)
    gains = [w["q_norm.weight"], w["k_norm.weight"]]
    if swapped:
        gains.reverse()
    if norm == "after rotation":
        q, k = _rotate(q, angles), _rotate(k, angles)
    if norm != "none":
        q, k = rms_norm(q, gains[0], 1e-6), rms_norm(k, gains[1], 1e-6)
    if norm != "after rotation":
        q, k = _rotate(q, angles), _rotate(k, angles)
    y = _attend(q, k.repeat(2, 1), v.repeat(2, 1), 1 / math.sqrt(size))
    return linear(y, w["o_proj.weight"])


# Gemma2


def build_gemma2() -> tuple[Any, Any]:
    config = Gemma2Config(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=12,
        sliding_window=4,
        attn_logit_softcapping=3.0,
        max_position_embeddings=64,
        attn_implementation="eager",
    )
    model = train_torch(Gemma2Model(config), 405, gain=2.0)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data -= 0.8
    return model, token_ids(406, 9)


def gemma2_layer(
    model: Any,
    x: Any,
    one: float = 1.0,
    cap: float = 3.0,
    window: int = 4,
    scalar: float = 12,
    embed: bool = True,
    act: Any = gelu_tanh,
    post_norms: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    if embed:
        h = h * np.float32(math.sqrt(24))
    w = beneath(w, "layers.0.")

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return rms_norm(x, np.float32(one) + w[f"{name}.weight"], 1e-6)

    y = norm(h, "input_layernorm")
    q = split_heads(linear(y, w["self_attn.q_proj.weight"]), 4)
    k = split_heads(linear(y, w["self_attn.k_proj.weight"]), 2)
    v = split_heads(linear(y, w["self_attn.v_proj.weight"]), 2).repeat(2, 1)
    angles = rotary_angles(9, 8)
    q, k = _rotate(q, angles), _rotate(k, angles).repeat(2, 1)
    y = _attend(q, k, v, 1 / math.sqrt(scalar), cap=cap, window=window)
    y = linear(y, w["self_attn.o_proj.weight"])
    h = h + (norm(y, "post_attention_layernorm") if post_norms else y)
    y = _llama_mlp(norm(h, "pre_feedforward_layernorm"), w, act)
    return h + (norm(y, "post_feedforward_layernorm") if post_norms else y)


# GPT-2


def build_gpt2() -> tuple[Any, Any]:
    config = GPT2Config(
        vocab_size=50,
        n_positions=32,
        n_embd=24,
        n_layer=1,
        n_head=4,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(GPT2Model(config), 407, gain=1.2), token_ids(408)


def gpt2_block(
    model: Any,
    x: Any,
    act: Any = gelu_tanh,
    transposed: bool = False,
    split: str = "thirds",
    first: int = 0,
    norm_in_residual: bool = False,
    causal: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    ids = x["input_ids"]
    h = w["wte.weight"][ids] + w["wpe.weight"][first : first + ids.shape[1]]
    w = beneath(w, "h.0.")
    y = layer_norm(h, w["ln_1.weight"], w["ln_1.bias"])
    qkv = y @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]
    if split == "per head":
        q, k, v = qkv.reshape(2, 8, 4, 3, 6).transpose(3, 0, 2, 1, 4)
    else:
        q, k, v = (split_heads(part, 4) for part in np.split(qkv, 3, -1))
    out = w["attn.c_proj.weight"]
    a = _attend(q, k, v, 1 / math.sqrt(6), causal)
    a = a @ (out.T if transposed else out) + w["attn.c_proj.bias"]
    h = (y if norm_in_residual else h) + a
    y = layer_norm(h, w["ln_2.weight"], w["ln_2.bias"])
    y = act(y @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"])
    return h + y @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"]


# GPT-NeoX


def build_neox() -> tuple[Any, Any]:
    config = GPTNeoXConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
        },
        max_position_embeddings=64,
    )
    return train_torch(GPTNeoXModel(config), 409, gain=1.6), token_ids(410)


def neox_layer(
    model: Any,
    x: Any,
    turned: int = 4,
    split: str = "per head",
    parallel: bool = True,
    rates_of: int = 4,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_in.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    y = layer_norm(h, w["input_layernorm.weight"], w["input_layernorm.bias"])
    qkv = linear(y, w["attention.query_key_value.weight"], w["attention.query_key_value.bias"])
    if split == "thirds":
        q, k, v = (split_heads(part, 2) for part in np.split(qkv, 3, -1))
    else:
        q, k, v = qkv.reshape(2, 8, 2, 3, 16).transpose(3, 0, 2, 1, 4)
    angles = rotary_angles(8, rates_of)[:, : turned // 2]
    y = _attend(_rotate(q, angles), _rotate(k, angles), v, 1 / 4)
    a = linear(y, w["attention.dense.weight"], w["attention.dense.bias"])
    y = h if parallel else h + a
    y = layer_norm(y, w["post_attention_layernorm.weight"], w["post_attention_layernorm.bias"])
    y = gelu(linear(y, w["mlp.dense_h_to_4h.weight"], w["mlp.dense_h_to_4h.bias"]))
    return h + a + linear(y, w["mlp.dense_4h_to_h.weight"], w["mlp.dense_4h_to_h.bias"])


# Cohere


def build_cohere() -> tuple[Any, Any]:
    config = CohereConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=2,
    )
    return train_torch(CohereModel(config), 411, gain=1.6), token_ids(412)


def cohere_layer(
    model: Any,
    x: Any,
    pairs: str = "neighbours",
    theta: float = 500000.0,
    center: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    gain = w["input_layernorm.weight"]
    normed = layer_norm(h, gain, None) if center else rms_norm(h, gain, 1e-5)
    q, k, v = (split_heads(linear(normed, w[f"self_attn.{n}_proj.weight"]), 4) for n in "qkv")
    angles = rotary_angles(8, 8, theta)
    y = _attend(_rotate(q, angles, pairs), _rotate(k, angles, pairs), v, 1 / math.sqrt(8))
    return h + linear(y, w["self_attn.o_proj.weight"]) + _llama_mlp(normed, w)


# BLOOM


def build_bloom() -> tuple[Any, Any]:
    config = BloomConfig(vocab_size=50, hidden_size=32, n_layer=1, n_head=4)
    return train_torch(BloomModel(config), 413, gain=1.6), token_ids(414)


def bloom_block(
    model: Any,
    x: Any,
    slopes: str = "2^-2i",
    sign: int = 1,
    split: str = "per head",
    embedding_norm: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["word_embeddings.weight"][x["input_ids"]]
    if embedding_norm:
        gain, bias = (w[f"word_embeddings_layernorm.{n}"] for n in ("weight", "bias"))
        h = layer_norm(h, gain, bias)
    w = beneath(w, "h.0.")
    y = layer_norm(h, w["input_layernorm.weight"], w["input_layernorm.bias"])
    name = "self_attention.query_key_value"
    qkv = linear(y, w[f"{name}.weight"], w[f"{name}.bias"])
    if split == "thirds":
        q, k, v = (split_heads(part, 4) for part in np.split(qkv, 3, -1))
    else:
        q, k, v = qkv.reshape(2, 8, 4, 3, 8).transpose(3, 0, 2, 1, 4)
    power = {"2^-2i": 2, "2^-i": 1, "2^-8i": 8}[slopes]
    slope = 2.0 ** -(power * np.arange(1, 5))
    alibi = (sign * slope[:, None, None] * np.arange(8)).astype(np.float32)
    y = _attend(q, k, v, 1 / math.sqrt(8), bias=alibi)
    h = h + linear(y, w["self_attention.dense.weight"], w["self_attention.dense.bias"])
    y = layer_norm(h, w["post_attention_layernorm.weight"], w["post_attention_layernorm.bias"])
    y = gelu_tanh(linear(y, w["mlp.dense_h_to_4h.weight"], w["mlp.dense_h_to_4h.bias"]))
    return h + linear(y, w["mlp.dense_4h_to_h.weight"], w["mlp.dense_4h_to_h.bias"])


# OPT


def build_opt() -> tuple[Any, Any]:
    config = OPTConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=1,
        ffn_dim=48,
        num_attention_heads=3,
        max_position_embeddings=32,
        word_embed_proj_dim=24,
    )
    return train_torch(OPTModel(config), 415, gain=2.0), token_ids(416)


def opt_layer(
    model: Any, x: Any, offset: int = 2, act: Any = relu, norm_first: bool = True
) -> np.ndarray:
    w = beneath(weights_of(model), "decoder.")
    ids = x["input_ids"]
    h = w["embed_tokens.weight"][ids] + w["embed_positions.weight"][offset : offset + ids.shape[1]]
    w = beneath(w, "layers.0.")

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    y = norm(h, "self_attn_layer_norm") if norm_first else h
    q, k, v = (
        split_heads(linear(y, w[f"self_attn.{n}_proj.weight"], w[f"self_attn.{n}_proj.bias"]), 3)
        for n in "qkv"
    )
    y = _attend(q, k, v, 1 / math.sqrt(8))
    h = h + linear(y, w["self_attn.out_proj.weight"], w["self_attn.out_proj.bias"])
    if not norm_first:
        h = norm(h, "self_attn_layer_norm")
    y = norm(h, "final_layer_norm") if norm_first else h
    y = act(linear(y, w["fc1.weight"], w["fc1.bias"]))
    h = h + linear(y, w["fc2.weight"], w["fc2.bias"])
    return h if norm_first else norm(h, "final_layer_norm")


CASES = [
    Case(
        "llama_attention",
        build_llama,
        "layers.0.self_attn",
        llama_attention,
        {
            "rotary_of_neighbours": Mistake(
                partial(llama_attention, pairs="neighbours"),
                "The rotary embedding turns neighbouring features (0 1)(2 3) as Meta's code, where "
                "transformers' weights are for halves (0 4)(1 5).",
            ),
            "rotated_the_other_way": Mistake(
                partial(llama_attention, pairs="other sign"),
                "The rotation's sine has the wrong sign.",
            ),
            "query_alone_rotated": Mistake(
                partial(llama_attention, rotated="q"),
                "The rotary embedding is applied to the query, forgotten for the key.",
            ),
            "value_rotated_too": Mistake(
                partial(llama_attention, rotated="qkv"),
                "The rotary embedding is applied to the value as well.",
            ),
            "theta_of_llama_3": Mistake(
                partial(llama_attention, theta=500000.0),
                "The rotary base is 500000 (Llama 3), where this model's is 10000.",
            ),
            "key_value_heads_tiled": Mistake(
                partial(llama_attention, spread="tile"),
                "Key and value heads are tiled (0 1 0 1), where each serves neighbouring query "
                "heads (0 0 1 1).",
            ),
            "causal_mask_forgotten": Mistake(
                partial(llama_attention, causal=False),
                "No causal mask.",
            ),
        },
    ),
    Case(
        "llama_attention_with_cache",
        build_llama,
        "layers.0.self_attn",
        llama_cached,
        {
            "cached_keys_rotated_again": Mistake(
                partial(llama_cached, position="again"),
                "Keys in the cache, rotated when they were put in, are rotated by one more step "
                "at every later step, so all stand where the query is, as if nothing were rotated.",
            ),
            "cache_too_short": Mistake(
                partial(llama_cached, keep=6),
                "The cache holds the last 6 steps and drops older keys and values.",
            ),
        },
    ),
    Case(
        "llama3_attention_scaled_rope",
        partial(build_llama, rope_parameters=LLAMA3),
        "layers.0.self_attn",
        llama3_angles,
        {
            "scaling_ignored": Mistake(
                partial(llama3_angles, scaling="none"),
                "The llama3 scaling of the rotary frequencies is ignored.",
            ),
            "all_frequencies_scaled": Mistake(
                partial(llama3_angles, scaling="all"),
                "All rotary frequencies are divided by the factor 8 (linear scaling), where "
                "llama3 scales the low ones alone.",
            ),
        },
    ),
    Case(
        "llama_decoder_layer",
        build_llama,
        "layers.0",
        llama_layer,
        {
            "gate_and_up_swapped": Mistake(
                partial(llama_layer, mlp={"gate": "up_proj", "up": "gate_proj"}),
                "gate_proj and up_proj are swapped, so SiLU is applied to the wrong one.",
            ),
            "gelu_in_mlp": Mistake(
                partial(llama_layer, mlp={"act": gelu}),
                "The gate's activation is GELU, where it is SiLU.",
            ),
            "norms_swapped": Mistake(
                partial(llama_layer, norms=("post_attention_layernorm", "input_layernorm")),
                "The gains of the two norms are swapped.",
            ),
            "attention_and_mlp_parallel": Mistake(
                partial(llama_layer, parallel=True),
                "The MLP gets the layer's input (GPT-J's parallel residual), where it gets the "
                "sum after attention.",
            ),
            "rotary_of_neighbours_and_centred_norms": Mistake(
                partial(llama_layer, attention={"pairs": "neighbours"}, center=True),
                "Two causes: the rotary embedding turns neighbouring features, and the norms "
                "subtract the mean.",
                causes=2,
            ),
            "scale_of_hidden_size": Mistake(
                partial(llama_layer, attention={"scale": 1 / math.sqrt(32)}),
                "Scores are divided by the root of hidden_size 32, where it is the head's 8.",
            ),
        },
    ),
    Case(
        "qwen3_attention",
        build_qwen3,
        "layers.0.self_attn",
        qwen3_attention,
        {
            "norms_after_rotation": Mistake(
                partial(qwen3_attention, norm="after rotation"),
                "q_norm and k_norm are applied after the rotary embedding, where they come before.",
            ),
            "norms_forgotten": Mistake(
                partial(qwen3_attention, norm="none"),
                "q_norm and k_norm are forgotten.",
            ),
            "norms_swapped_and_scale": Mistake(
                partial(qwen3_attention, swapped=True, size=8),
                "Two causes: q_norm and k_norm are swapped, and scores are divided by the root of "
                "hidden_size / heads = 8, where head_dim is 12.",
                causes=2,
            ),
        },
    ),
    Case(
        "gemma2_decoder_layer",
        build_gemma2,
        "layers.0",
        gemma2_layer,
        {
            "gain_without_one": Mistake(
                partial(gemma2_layer, one=0.0),
                "The norms multiply by weight, where Gemma's multiply by 1 + weight.",
            ),
            "soft_cap_forgotten": Mistake(
                partial(gemma2_layer, cap=0),
                "The soft cap tanh(scores / cap) * cap of the attention is forgotten.",
            ),
            "window_off_by_one": Mistake(
                partial(gemma2_layer, window=5),
                "The sliding window is off by one: it reaches 4 steps back besides the step "
                "itself, where it is 4 with the step itself.",
            ),
            "window_ignored": Mistake(
                partial(gemma2_layer, window=0),
                "The sliding window is ignored, attention is causal over everything.",
            ),
            "scaled_by_head_size": Mistake(
                partial(gemma2_layer, scalar=8),
                "Scores are divided by the root of head_dim 8, where query_pre_attn_scalar is 12.",
            ),
            "embeddings_not_scaled": Mistake(
                partial(gemma2_layer, embed=False),
                "The embeddings are not multiplied by the root of hidden_size.",
            ),
            "post_norms_forgotten": Mistake(
                partial(gemma2_layer, post_norms=False),
                "The norms after attention and MLP are forgotten.",
            ),
            "no_cap_and_no_window": Mistake(
                partial(gemma2_layer, cap=0, window=0),
                "Two causes: neither the soft cap nor the sliding window is applied.",
                causes=2,
            ),
        },
    ),
    Case(
        "gpt2_block",
        build_gpt2,
        "h.0",
        gpt2_block,
        {
            "conv1d_taken_for_linear": Mistake(
                partial(gpt2_block, transposed=True),
                "The attention's square output weight is transposed as a Linear's, where GPT-2's "
                "Conv1D stores (in, out).",
            ),
            "packed_per_head": Mistake(
                partial(gpt2_block, split="per head"),
                "c_attn's output is split as (head, q k v, size), where it is q, k, v of all "
                "heads.",
            ),
            "positions_from_one": Mistake(
                partial(gpt2_block, first=1),
                "Positions count from 1, where they count from 0.",
            ),
            "exact_gelu": Mistake(
                partial(gpt2_block, act=gelu),
                "GELU by erf, where GPT-2's is the tanh approximation; inherently small.",
            ),
            "residual_of_normalised": Mistake(
                partial(gpt2_block, norm_in_residual=True),
                "The first residual adds the normalised input, where it adds the input itself.",
            ),
        },
    ),
    Case(
        "gpt_neox_layer",
        build_neox,
        "layers.0",
        neox_layer,
        {
            "all_features_rotated": Mistake(
                partial(neox_layer, turned=16, rates_of=16),
                "The rotary embedding turns all 16 features of a head, where it turns the first "
                "quarter.",
            ),
            "rates_of_whole_head": Mistake(
                partial(neox_layer, rates_of=16),
                "The first quarter is rotated, but with the frequencies of a head of 16, where "
                "they are those of the 4 rotated features.",
            ),
            "packed_as_thirds": Mistake(
                partial(neox_layer, split="thirds"),
                "query_key_value is split into thirds of all heads, where it is (head, q k v, "
                "size).",
            ),
            "residuals_one_after_the_other": Mistake(
                partial(neox_layer, parallel=False),
                "The MLP gets the sum after attention, where attention and MLP are parallel.",
            ),
        },
    ),
    Case(
        "cohere_layer",
        build_cohere,
        "layers.0",
        cohere_layer,
        {
            "rotary_of_halves": Mistake(
                partial(cohere_layer, pairs="halves"),
                "The rotary embedding turns halves as Llama's, where Cohere's turns neighbouring "
                "features.",
            ),
            "rms_norm": Mistake(
                partial(cohere_layer, center=False),
                "The norm is an RMS norm, where Cohere's is a layer norm without bias.",
            ),
            "theta_of_llama": Mistake(
                partial(cohere_layer, theta=10000.0),
                "The rotary base is 10000, where Cohere's default is 500000.",
            ),
        },
    ),
    Case(
        "bloom_block",
        build_bloom,
        "h.0",
        bloom_block,
        {
            "slopes_of_eight_heads": Mistake(
                partial(bloom_block, slopes="2^-i"),
                "ALiBi's slopes are 2^-1, 2^-2, ... (those of 8 heads), where for 4 heads they "
                "are 2^-2, 2^-4, ...",
            ),
            "alibi_of_wrong_sign": Mistake(
                partial(bloom_block, sign=-1),
                "ALiBi has the wrong sign, so far keys are favoured.",
            ),
            "embedding_norm_forgotten": Mistake(
                partial(bloom_block, embedding_norm=False),
                "The layer norm after the word embeddings is forgotten.",
            ),
            "thirds_and_sign": Mistake(
                partial(bloom_block, split="thirds", sign=-1),
                "Two causes: query_key_value is split into thirds of all heads, and ALiBi has "
                "the wrong sign.",
                causes=2,
            ),
        },
    ),
    Case(
        "opt_layer",
        build_opt,
        "decoder.layers.0",
        opt_layer,
        {
            "positions_without_offset": Mistake(
                partial(opt_layer, offset=0),
                "Positions start at row 0 of the table, where OPT's start at row 2.",
            ),
            "norm_after": Mistake(
                partial(opt_layer, norm_first=False),
                "The norms come after the sums (as in OPT 350m), where do_layer_norm_before=True.",
            ),
        },
    ),
]
