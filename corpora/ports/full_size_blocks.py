"""Layers and blocks at the sizes of models in use: GPT-2 small, BERT base, ViT-B/16, ResNet-50."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from torch import nn
from torchvision.models.convnext import CNBlock
from torchvision.models.efficientnet import MBConv, MBConvConfig
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.vision_transformer import EncoderBlock
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    Qwen2Config,
    Qwen2Model,
    T5Config,
    T5EncoderModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
    gelu_quick,
    gelu_tanh,
    join_heads,
    layer_norm,
    linear,
    relu,
    rms_norm,
    sigmoid,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import beneath, inputs, tokens, train_keras, train_torch, weights_of

Weights = dict[str, np.ndarray]
HIDDEN = np.float32(-1e9)
VOCABULARY = 1000


def _ids(seed: int, length: int) -> dict[str, np.ndarray]:
    return {"input_ids": tokens(seed, 1, length, vocabulary=VOCABULARY)}


def _loud(model: Any, *names: str, factor: float = 25.0) -> Any:
    """Embeddings of about 1, as they are after training."""
    for name in names:
        model.get_parameter(name).data.mul_(factor)
    return model


def _dense(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5, ddof: int = 0) -> np.ndarray:
    if ddof:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True, ddof=ddof)
        x = (x - mean) / np.sqrt(var + np.float32(eps))
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]
    return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def _weigh(
    q: np.ndarray, k: np.ndarray, scale: float, bias: np.ndarray | float = 0.0
) -> np.ndarray:
    return softmax(q @ k.swapaxes(-1, -2) * np.float32(scale) + bias)


def _causal(length: int, ahead: int = 0) -> np.ndarray:
    """0 where attention may look, as many steps ahead as `ahead`, else a great negative number."""
    step = np.arange(length)
    return np.where(step[:, None] + ahead >= step, np.float32(0), HIDDEN)


def _angles(length: int, size: int, theta: float, step: int = 2) -> np.ndarray:
    rates = 1 / theta ** (step * np.arange(size // 2) / size)
    return (np.arange(length)[:, None] * rates).astype(np.float32)


def _rotate(x: np.ndarray, angles: np.ndarray, pairs: str = "halves") -> np.ndarray:
    """Rotate the first features of heads by angles, and let the rest pass."""
    n = 2 * angles.shape[-1]
    cos, sin = np.cos(angles), np.sin(angles)
    if pairs == "neighbours":
        a, b = x[..., 0:n:2], x[..., 1:n:2]
        turned = np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(*x.shape[:-1], n)
    else:
        a, b = x[..., : n // 2], x[..., n // 2 : n]
        turned = np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    return np.concatenate([turned, x[..., n:]], -1)


def _heads_in_order_of_memory(x: np.ndarray) -> np.ndarray:
    """Heads joined by reshape alone, without the transpose."""
    b, h, t, d = x.shape
    return x.reshape(b, t, h * d)


# GPT-2 small


def build_gpt2() -> tuple[Any, Any]:
    config = GPT2Config(vocab_size=VOCABULARY, n_layer=1, bos_token_id=1, eos_token_id=2)
    return _loud(train_torch(GPT2Model(config), 2101), "wte.weight", "wpe.weight"), _ids(2102, 96)


def gpt2_block(
    model: Any,
    x: Any,
    split: str = "thirds",
    ahead: int | None = 0,
    mask: str = "before softmax",
    act: Any = gelu_tanh,
    transposed: bool = False,
    norms: tuple[str, str] = ("ln_1", "ln_2"),
    mlp_residual: str = "sum",
    scale: float = 1 / 8,
) -> np.ndarray:
    w = weights_of(model)
    ids = x["input_ids"]
    t = ids.shape[1]
    h = w["wte.weight"][ids] + w["wpe.weight"][:t]
    w = beneath(w, "h.0.")
    start = h
    qkv = _norm(h, w, norms[0]) @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]
    if split == "thirds":
        q, k, v = (split_heads(part, 12) for part in np.split(qkv, 3, -1))
    else:
        q, k, v = qkv.reshape(1, t, 12, 3, 64).transpose(3, 0, 2, 1, 4)
    hide = np.zeros((t, t), np.float32) if ahead is None else _causal(t, ahead)
    if mask == "before softmax":
        weights = _weigh(q, k, scale, hide)
    else:
        weights = _weigh(q, k, scale) * (hide == 0).astype(np.float32)
    out = w["attn.c_proj.weight"]
    a = join_heads(weights @ v) @ (out.T if transposed else out) + w["attn.c_proj.bias"]
    h = h + a
    y = act(_norm(h, w, norms[1]) @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"])
    y = y @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"]
    return (h if mlp_residual == "sum" else start) + y


# BERT base


def build_bert() -> tuple[Any, Any]:
    """A text of 90 tokens, a pair of sentences, padded to 128."""
    config = BertConfig(vocab_size=VOCABULARY, num_hidden_layers=1)
    model = train_torch(BertModel(config, add_pooling_layer=False), 2103)
    x = _ids(2104, 128)
    place = np.arange(128)[None]
    x["input_ids"] = np.where(place < 90, x["input_ids"], 0)
    x["attention_mask"] = (place < 90).astype(np.int64)
    x["token_type_ids"] = ((place >= 40) & (place < 90)).astype(np.int64)
    return model, x


def bert_layer(
    model: Any,
    x: Any,
    mask: str = "hidden",
    types: bool = True,
    act: Any = gelu,
    scale: float = 1 / 8,
    second_residual: str = "normed",
    norm_first: bool = False,
    join: Callable[[np.ndarray], np.ndarray] = join_heads,
    norms: tuple[str, str] = ("attention.output.LayerNorm", "output.LayerNorm"),
) -> np.ndarray:
    w = weights_of(model)
    e = beneath(w, "embeddings.")
    h = e["word_embeddings.weight"][x["input_ids"]] + e["position_embeddings.weight"][:128]
    kinds = x["token_type_ids"] if types else np.zeros_like(x["token_type_ids"])
    h = _norm(h + e["token_type_embeddings.weight"][kinds], e, "LayerNorm", 1e-12)
    w = beneath(w, "encoder.layer.0.")
    kept = x["attention_mask"][:, None, None, :].astype(np.float32)
    bias = {"hidden": (1 - kept) * HIDDEN, "added": kept, "ignored": 0 * kept}[mask]
    start = h
    y = _norm(h, w, norms[0], 1e-12) if norm_first else h
    q, k, v = (
        split_heads(_dense(y, w, f"attention.self.{n}"), 12) for n in ("query", "key", "value")
    )
    a = _dense(join(_weigh(q, k, scale, bias) @ v), w, "attention.output.dense")
    if norm_first:
        h = h + a
        y = act(_dense(_norm(h, w, norms[1], 1e-12), w, "intermediate.dense"))
        return h + _dense(y, w, "output.dense")
    h = _norm(h + a, w, norms[0], 1e-12)
    y = _dense(act(_dense(h, w, "intermediate.dense")), w, "output.dense")
    return _norm(y + (h if second_residual == "normed" else start), w, norms[1], 1e-12)


# ViT-B/16


def build_vit() -> tuple[Any, Any]:
    return train_torch(EncoderBlock(12, 768, 3072, 0.0, 0.0), 2105), inputs(2106, 1, 197, 768)


def vit_block(
    model: Any,
    x: Any,
    order: str = "qkv",
    split: str = "thirds",
    act: Any = gelu,
    ddof: int = 0,
    join: Callable[[np.ndarray], np.ndarray] = join_heads,
    out_bias: bool = True,
    out_transposed: bool = False,
    second_norm: bool = True,
    scale: float = 1 / 8,
) -> np.ndarray:
    w = weights_of(model)
    qkv = linear(
        _norm(x, w, "ln_1", 1e-6, ddof),
        w["self_attention.in_proj_weight"],
        w["self_attention.in_proj_bias"],
    )
    if split == "thirds":
        parts = dict(zip(order, np.split(qkv, 3, -1), strict=True))
        q, k, v = (split_heads(parts[n], 12) for n in "qkv")
    else:
        q, k, v = qkv.reshape(1, 197, 12, 3, 64).transpose(3, 0, 2, 1, 4)
    out = w["self_attention.out_proj.weight"]
    a = linear(join(_weigh(q, k, scale) @ v), out.T if out_transposed else out)
    h = x + (a + w["self_attention.out_proj.bias"] if out_bias else a)
    y = _norm(h, w, "ln_2", 1e-6, ddof) if second_norm else h
    return h + _dense(act(_dense(y, w, "mlp.0")), w, "mlp.3")


# SmolLM2 360M (a Llama), Qwen2 0.5B


def build_smollm2() -> tuple[Any, Any]:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=960,
        intermediate_size=2560,
        num_hidden_layers=1,
        num_attention_heads=15,
        num_key_value_heads=5,
        rms_norm_eps=1e-5,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )
    model = train_torch(LlamaModel(config), 2107, gain=1.4)
    return _loud(model, "embed_tokens.weight"), _ids(2108, 64)


def _spread(x: np.ndarray, times: int, how: str) -> np.ndarray:
    return x.repeat(times, 1) if how == "repeat" else np.tile(x, (1, times, 1, 1))


def llama_layer(
    model: Any,
    x: Any,
    pairs: str = "halves",
    theta: float = 100000.0,
    step: int = 2,
    spread: str = "repeat",
    ahead: int = 0,
    gate: str = "gate_proj",
    act: Any = silu,
    centred: bool = False,
    residual: str = "input",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    t = h.shape[1]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        gain = w[f"{name}.weight"]
        return layer_norm(x, gain, None) if centred else rms_norm(x, gain, 1e-5)

    y = norm(h, "input_layernorm")
    q, k, v = (
        split_heads(_dense(y, w, f"self_attn.{n}_proj"), heads)
        for n, heads in (("q", 15), ("k", 5), ("v", 5))
    )
    angles = _angles(t, 64, theta, step)
    q, k = _rotate(q, angles, pairs), _rotate(k, angles, pairs)
    k, v = _spread(k, 3, spread), _spread(v, 3, spread)
    a = _dense(join_heads(_weigh(q, k, 1 / 8, _causal(t, ahead)) @ v), w, "self_attn.o_proj")
    h = (h if residual == "input" else y) + a
    y = norm(h, "post_attention_layernorm")
    up = "up_proj" if gate == "gate_proj" else "gate_proj"
    return h + _dense(
        act(_dense(y, w, f"mlp.{gate}")) * _dense(y, w, f"mlp.{up}"), w, "mlp.down_proj"
    )


def build_qwen2() -> tuple[Any, Any]:
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=1,
        num_attention_heads=14,
        num_key_value_heads=2,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    )
    model = train_torch(Qwen2Model(config), 2109, gain=1.4)
    return _loud(model, "embed_tokens.weight"), _ids(2110, 128)


def qwen2_attention(
    model: Any,
    x: Any,
    biased: str = "qkv",
    theta: float = 1000000.0,
    step: int = 2,
    pairs: str = "halves",
    rotated: str = "qk",
    spread: str = "repeat",
    scale: float = 1 / 8,
    normed: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    if normed:
        h = rms_norm(h, w["layers.0.input_layernorm.weight"], 1e-6)
    w = beneath(w, "layers.0.self_attn.")
    angles = _angles(128, 64, theta, step)
    parts = {}
    for n, heads in (("q", 14), ("k", 2), ("v", 2)):
        bias = w[f"{n}_proj.bias"] if n in biased else None
        part = split_heads(linear(h, w[f"{n}_proj.weight"], bias), heads)
        part = _rotate(part, angles, pairs) if n in rotated else part
        parts[n] = part if n == "q" else _spread(part, 7, spread)
    y = _weigh(parts["q"], parts["k"], scale, _causal(128)) @ parts["v"]
    return linear(join_heads(y), w["o_proj.weight"])


# Pythia 160M (a GPT-NeoX)


def build_pythia() -> tuple[Any, Any]:
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=1,
        num_attention_heads=12,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
        },
        bos_token_id=0,
        eos_token_id=0,
    )
    model = train_torch(GPTNeoXModel(config), 2111, gain=1.3)
    return _loud(model, "embed_in.weight"), _ids(2112, 80)


def pythia_layer(
    model: Any,
    x: Any,
    turned: int = 16,
    pairs: str = "halves",
    split: str = "per head",
    parallel: bool = True,
    one_norm: bool = False,
    act: Any = gelu,
    biases: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_in.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    t = h.shape[1]
    qkv = _dense(_norm(h, w, "input_layernorm"), w, "attention.query_key_value")
    if split == "per head":
        q, k, v = qkv.reshape(1, t, 12, 3, 64).transpose(3, 0, 2, 1, 4)
    else:
        q, k, v = (split_heads(part, 12) for part in np.split(qkv, 3, -1))
    angles = _angles(t, turned, 10000.0)
    q, k = _rotate(q, angles, pairs), _rotate(k, angles, pairs)
    y = join_heads(_weigh(q, k, 1 / 8, _causal(t)) @ v)
    a = linear(y, w["attention.dense.weight"], w["attention.dense.bias"] if biases else None)
    into = h if parallel else h + a
    y = _norm(into, w, "input_layernorm" if one_norm else "post_attention_layernorm")
    return h + a + _dense(act(_dense(y, w, "mlp.dense_h_to_4h")), w, "mlp.dense_4h_to_h")


# T5 v1.1 base


def build_t5() -> tuple[Any, Any]:
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=768,
        d_kv=64,
        d_ff=2048,
        num_layers=1,
        num_heads=12,
        feed_forward_proj="gated-gelu",
    )
    model = train_torch(T5EncoderModel(config), 2113, gain=0.7)
    name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return _loud(_loud(model, name, factor=8.0), "shared.weight", factor=40.0), _ids(2114, 192)


def _t5_buckets(length: int, kind: str) -> np.ndarray:
    place = np.arange(length)
    ahead = place - place[:, None]
    if kind == "other sign":
        ahead = -ahead
    far = np.abs(ahead)
    half, exact, longest = 16, 8, 128
    if kind == "decoder":
        half, exact, far = 32, 16, np.maximum(-ahead, 0)
    ratio = np.maximum(far, 1).astype(np.float32) / np.float32(exact)
    log = np.log(ratio) / np.float32(math.log(longest / exact)) * np.float32(half - exact)
    large = np.minimum(exact + log.astype(np.int64), half - 1)
    if kind == "linear":
        large = np.minimum(far, half - 1)
    bucket = np.where(far < exact, far, large)
    return bucket if kind == "decoder" else bucket + half * (ahead > 0)


def t5_block(
    model: Any,
    x: Any,
    scale: float = 1.0,
    buckets: str = "encoder",
    biased: bool = True,
    act: Any = gelu_tanh,
    gate: str = "wi_0",
    centred: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    h = w["shared.weight"][x["input_ids"]]
    w = beneath(w, "encoder.block.0.")
    first, second = beneath(w, "layer.0."), beneath(w, "layer.1.")

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return layer_norm(x, gain, None, 1e-6) if centred else rms_norm(x, gain, 1e-6)

    y = norm(h, first["layer_norm.weight"])
    q, k, v = (split_heads(_dense(y, first, f"SelfAttention.{n}"), 12) for n in "qkv")
    table = first["SelfAttention.relative_attention_bias.weight"]
    bias = table[_t5_buckets(h.shape[1], buckets)].transpose(2, 0, 1)
    y = join_heads(_weigh(q, k, scale, bias if biased else np.float32(0)) @ v)
    h = h + _dense(y, first, "SelfAttention.o")
    y = norm(h, second["layer_norm.weight"])
    dense = beneath(second, "DenseReluDense.")
    other = "wi_1" if gate == "wi_0" else "wi_0"
    return h + _dense(act(_dense(y, dense, gate)) * _dense(y, dense, other), dense, "wo")


# Whisper tiny, CLIP's text encoder


def build_whisper() -> tuple[Any, Any]:
    """Thirty seconds of 80 mel bands: 3000 frames, 1500 positions."""
    config = WhisperConfig(
        d_model=384, encoder_layers=1, encoder_attention_heads=6, encoder_ffn_dim=1536
    )
    return train_torch(WhisperEncoder(config), 2115, gain=1.2), inputs(2116, 1, 80, 3000, scale=0.5)


def whisper_layer(
    model: Any,
    x: Any,
    stem_act: Any = gelu,
    padding: str = "both sides",
    positions: str = "concatenated",
    scale: float = 1 / 8,
    act: Any = gelu,
    value_bias: bool = True,
    norm_first: bool = True,
    mlp_norm: str = "final_layer_norm",
) -> np.ndarray:
    w = weights_of(model)
    h = stem_act(conv(x, w["conv1.weight"], w["conv1.bias"], padding=1))
    sides = (1, 1) if padding == "both sides" else (0, 1)
    h = np.pad(h, [(0, 0), (0, 0), sides])
    h = stem_act(conv(h, w["conv2.weight"], w["conv2.bias"], stride=2))
    places = w["embed_positions.weight"]
    if positions == "interleaved":
        places = places.reshape(1500, 2, 192).transpose(0, 2, 1).reshape(1500, 384)
    h = h.transpose(0, 2, 1) + places
    w = beneath(w, "layers.0.")
    y = _norm(h, w, "self_attn_layer_norm") if norm_first else h
    if not value_bias:
        w = {name: value for name, value in w.items() if name != "self_attn.v_proj.bias"}
    q, k, v = (split_heads(_dense(y, w, f"self_attn.{n}_proj"), 6) for n in "qkv")
    h = h + _dense(join_heads(_weigh(q, k, scale) @ v), w, "self_attn.out_proj")
    if not norm_first:
        h = _norm(h, w, "self_attn_layer_norm")
    y = _norm(h, w, mlp_norm) if norm_first else h
    h = h + _dense(act(_dense(y, w, "fc1")), w, "fc2")
    return h if norm_first else _norm(h, w, mlp_norm)


def build_clip() -> tuple[Any, Any]:
    config = CLIPTextConfig(
        vocab_size=VOCABULARY, num_hidden_layers=1, bos_token_id=998, eos_token_id=999
    )
    model = train_torch(CLIPTextModel(config), 2117, gain=1.3)
    names = ("embeddings.token_embedding.weight", "embeddings.position_embedding.weight")
    return _loud(model, *names, factor=15.0), _ids(2118, 77)


def clip_layer(
    model: Any,
    x: Any,
    act: Any = gelu_quick,
    causal: bool = True,
    scale: float = 1 / 8,
    placed: bool = True,
    norm_first: bool = True,
    forgotten: str = "",
    into_mlp: str = "sum",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embeddings.token_embedding.weight"][x["input_ids"]]
    if placed:
        h = h + w["embeddings.position_embedding.weight"]
    w = beneath(w, "encoder.layers.0.")
    w = {name: value for name, value in w.items() if name != forgotten}
    first = _norm(h, w, "layer_norm1")
    y = first if norm_first else h
    q, k, v = (split_heads(_dense(y, w, f"self_attn.{n}_proj"), 8) for n in "qkv")
    bias = _causal(77) if causal else np.float32(0)
    h = h + _dense(join_heads(_weigh(q, k, scale, bias) @ v), w, "self_attn.out_proj")
    if not norm_first:
        h = _norm(h, w, "layer_norm1")
        return _norm(h + _dense(act(_dense(h, w, "mlp.fc1")), w, "mlp.fc2"), w, "layer_norm2")
    y = _norm(h, w, "layer_norm2") if into_mlp == "sum" else first
    return h + _dense(act(_dense(y, w, "mlp.fc1")), w, "mlp.fc2")


# Swin tiny, its first stage, shifted windows


def build_swin() -> tuple[Any, Any]:
    block = SwinTransformerBlock(96, 3, [7, 7], [3, 3])
    model = train_torch(block, 2119, gain=1.3)
    return _loud(model, "attn.relative_position_bias_table", factor=2.0), inputs(
        2120, 1, 56, 56, 96
    )


def _swin_places(order: str) -> np.ndarray:
    """For each pair of places in a window, the row of the table of biases."""
    y, x = (axis.reshape(-1) for axis in np.mgrid[:7, :7])
    dy, dx = (a[:, None] - a + 6 for a in (y, x))
    if order == "key less query":
        dy, dx = 12 - dy, 12 - dx
    return dx * 13 + dy if order == "columns first" else dy * 13 + dx


def _swin_hidden(shift: int) -> np.ndarray:
    """For each of 64 windows, 0 where both places come from one region, else -100."""
    band = np.zeros(56, np.int64)
    band[-7:], band[-shift:] = 1, 2
    region = 3 * band[:, None] + band
    region = region.reshape(8, 7, 8, 7).transpose(0, 2, 1, 3).reshape(64, 49)
    apart = region[:, None] != region[:, :, None]
    return np.where(apart, np.float32(-100), np.float32(0))[:, None]


def swin_block(
    model: Any,
    x: Any,
    shift: int = 3,
    direction: int = -1,
    back: bool = True,
    masked: bool = True,
    places: str = "query less key",
    split: str = "thirds",
    windows: str = "squares",
    scale: float = 1 / math.sqrt(32),
) -> np.ndarray:
    w = weights_of(model)
    y = np.roll(_norm(x, w, "norm1"), (direction * shift, direction * shift), (1, 2))
    if windows == "squares":
        y = y.reshape(8, 7, 8, 7, 96).transpose(0, 2, 1, 3, 4)
    qkv = _dense(y.reshape(64, 49, 96), w, "attn.qkv")
    if split == "thirds":
        q, k, v = qkv.reshape(64, 49, 3, 3, 32).transpose(2, 0, 3, 1, 4)
    else:
        q, k, v = qkv.reshape(64, 49, 3, 3, 32).transpose(3, 0, 2, 1, 4)
    bias = w["attn.relative_position_bias_table"][_swin_places(places)].transpose(2, 0, 1)[None]
    if masked and shift:
        bias = bias + _swin_hidden(shift)
    y = _dense(join_heads(_weigh(q, k, scale, bias) @ v), w, "attn.proj")
    if windows == "squares":
        y = y.reshape(8, 8, 7, 7, 96).transpose(0, 2, 1, 3, 4)
    y = y.reshape(1, 56, 56, 96)
    if back:
        y = np.roll(y, (-direction * shift, -direction * shift), (1, 2))
    h = x + y
    return h + _dense(gelu(_dense(_norm(h, w, "norm2"), w, "mlp.0")), w, "mlp.3")


# ResNet-50


def build_bottleneck() -> tuple[Any, Any]:
    return train_torch(Bottleneck(512, 128), 2121), relu(inputs(2122, 1, 512, 28, 28))


def build_downsampling_bottleneck() -> tuple[Any, Any]:
    shortcut = nn.Sequential(nn.Conv2d(512, 1024, 1, 2, bias=False), nn.BatchNorm2d(1024))
    model = Bottleneck(512, 256, stride=2, downsample=shortcut)
    return train_torch(model, 2123), relu(inputs(2124, 1, 512, 28, 28))


def _scaled(x: np.ndarray, w: Weights, name: str, eps: float, spread: str) -> np.ndarray:
    """Batch norm, its spread the root of the variance or, by mistake, the variance itself."""
    if spread == "variance":
        w = {**w, f"{name}.running_var": w[f"{name}.running_var"] ** 2}
    return batch_norm(x, w, name, eps)


def bottleneck(
    model: Any,
    x: Any,
    stride: int = 1,
    strided: str = "conv2",
    eps: float = 1e-5,
    spread: str = "root",
    flipped: bool = False,
    norms: tuple[str, str] = ("bn1", "bn2"),
    second_relu: bool = True,
    last: str = "relu of sum",
    padding: str = "both sides",
    first_pixel: int = 0,
    shortcut_norm: bool = True,
    shortcut_relu: bool = False,
) -> np.ndarray:
    w = weights_of(model)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return _scaled(x, w, name, eps, spread)

    y = conv(x, w["conv1.weight"], stride=stride if strided == "conv1" else 1)
    y = relu(norm(y, norms[0]))
    kernel = w["conv2.weight"]
    kernel = kernel[..., ::-1, ::-1] if flipped else kernel
    sides = (1, 1) if padding == "both sides" else (0, 2) if stride == 1 else (0, 1)
    y = np.pad(y, [(0, 0), (0, 0), sides, sides])
    y = norm(conv(y, kernel, stride=stride if strided == "conv2" else 1), norms[1])
    y = norm(conv(relu(y) if second_relu else y, w["conv3.weight"]), "bn3")
    shortcut = x
    if stride == 2:
        shortcut = conv(x[:, :, first_pixel:, first_pixel:], w["downsample.0.weight"], stride=2)
        shortcut = norm(shortcut, "downsample.1") if shortcut_norm else shortcut
        shortcut = relu(shortcut) if shortcut_relu else shortcut
    return {
        "relu of sum": relu(y + shortcut),
        "sum of relu": relu(y) + shortcut,
        "no relu": y + shortcut,
        "no shortcut": relu(y),
    }[last]


# MobileNetV2, EfficientNet-B0, ConvNeXt tiny


def _depthwise(
    x: np.ndarray,
    kernel: np.ndarray,
    stride: int = 1,
    sides: tuple[int, int] | None = None,
) -> np.ndarray:
    """A convolution of each channel on its own, with weights (channels, 1, k, k)."""
    k = kernel.shape[-1]
    sides = (k // 2, k // 2) if sides is None else sides
    x = np.pad(x, [(0, 0), (0, 0), sides, sides])
    high, wide = ((n - k) // stride + 1 for n in x.shape[2:])
    y = np.zeros((*x.shape[:2], high, wide), np.float32)
    for i in range(k):
        for j in range(k):
            seen = x[:, :, i : i + stride * high : stride, j : j + stride * wide : stride]
            y += seen * kernel[:, 0, i, j, None, None]
    return y


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, np.float32(0), np.float32(6))


def build_inverted_residual() -> tuple[Any, Any]:
    return train_torch(InvertedResidual(32, 32, 1, 6), 2125), inputs(2126, 1, 32, 28, 28)


def build_strided_inverted_residual() -> tuple[Any, Any]:
    return train_torch(InvertedResidual(24, 32, 2, 6), 2127), inputs(2128, 1, 24, 56, 56)


def inverted_residual(
    model: Any,
    x: Any,
    stride: int = 1,
    act: Callable[[np.ndarray], np.ndarray] = relu6,
    last_act: bool = False,
    kernel: str = "as it is",
    eps: float = 1e-5,
    shortcut: bool = True,
    expansion_norm: str = "conv.0.1",
    sides: tuple[int, int] = (1, 1),
    at: str = "depthwise",
) -> np.ndarray:
    w = weights_of(model)
    y = act(batch_norm(conv(x, w["conv.0.0.weight"]), w, expansion_norm, eps))
    taps = w["conv.1.0.weight"]
    if kernel == "transposed":
        taps = taps.swapaxes(2, 3)
    if kernel == "flipped":
        taps = taps[..., ::-1, ::-1]
    if at == "depthwise":
        y = _depthwise(y, taps, stride, sides)
    else:
        y = _depthwise(y[:, :, ::stride, ::stride], taps, 1, sides)
    y = act(batch_norm(y, w, "conv.1.1", eps))
    y = batch_norm(conv(y, w["conv.2.weight"]), w, "conv.3", eps)
    y = act(y) if last_act else y
    return x + y if shortcut and stride == 1 else y


def build_mbconv() -> tuple[Any, Any]:
    config = MBConvConfig(6, 5, 1, 112, 112, 1)
    model = train_torch(MBConv(config, 0.0, nn.BatchNorm2d), 2129, gain=0.5)
    return model, inputs(2130, 1, 112, 14, 14)


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x / np.float32(6) + np.float32(0.5), np.float32(0), np.float32(1))


def mbconv(
    model: Any,
    x: Any,
    act: Callable[[np.ndarray], np.ndarray] = silu,
    squeeze_act: Callable[[np.ndarray], np.ndarray] = silu,
    gate: Callable[[np.ndarray], np.ndarray] = sigmoid,
    pool: str = "mean",
    excited: str = "times",
    last_act: bool = False,
    shortcut: bool = True,
    eps: float = 1e-5,
) -> np.ndarray:
    w = weights_of(model)
    y = act(batch_norm(conv(x, w["block.0.0.weight"]), w, "block.0.1", eps))
    y = act(batch_norm(_depthwise(y, w["block.1.0.weight"]), w, "block.1.1", eps))
    s = y.mean((2, 3), keepdims=True) if pool == "mean" else y.max((2, 3), keepdims=True)
    s = squeeze_act(conv(s, w["block.2.fc1.weight"], w["block.2.fc1.bias"]))
    s = gate(conv(s, w["block.2.fc2.weight"], w["block.2.fc2.bias"]))
    y = {"times": y * s, "plus": y + s, "forgotten": y}[excited]
    y = batch_norm(conv(y, w["block.3.0.weight"]), w, "block.3.1", eps)
    y = act(y) if last_act else y
    return x + y if shortcut else y


def build_convnext() -> tuple[Any, Any]:
    return train_torch(CNBlock(192, 1e-6, 0.0), 2131), inputs(2132, 1, 192, 28, 28)


def convnext_block(
    model: Any,
    x: Any,
    kernel: str = "as it is",
    sides: str = "zeros",
    bias: bool = True,
    over: str = "channels",
    act: Callable[[np.ndarray], np.ndarray] = gelu,
    scaled: str = "branch",
    shortcut: str = "input",
) -> np.ndarray:
    w = weights_of(model)
    taps = w["block.0.weight"]
    if kernel == "transposed":
        taps = taps.swapaxes(2, 3)
    if sides == "zeros":
        y = _depthwise(x, taps)
    else:
        y = _depthwise(np.pad(x, [(0, 0), (0, 0), (3, 3), (3, 3)], mode="edge"), taps, 1, (0, 0))
    if bias:
        y = y + w["block.0.bias"][:, None, None]
    convolved = y
    if over == "channels":
        y = _norm(y.transpose(0, 2, 3, 1), w, "block.2", 1e-6)
    else:
        axes = (1, 2, 3) if over == "everything" else (2, 3)
        mean, var = y.mean(axes, keepdims=True), y.var(axes, keepdims=True)
        y = ((y - mean) / np.sqrt(var + np.float32(1e-6))).transpose(0, 2, 3, 1)
        y = y * w["block.2.weight"] + w["block.2.bias"]
    y = _dense(act(_dense(y, w, "block.3")), w, "block.5").transpose(0, 3, 1, 2)
    kept = x if shortcut == "input" else convolved
    gain = w["layer_scale"]
    return {"branch": kept + gain * y, "sum": gain * (kept + y), "nothing": kept + y}[scaled]


# LSTM, GRU of PyTorch


def build_lstm() -> tuple[Any, Any]:
    return train_torch(nn.LSTM(300, 512, 2, batch_first=True), 2133), inputs(2134, 1, 50, 300)


def lstm(
    model: Any,
    x: Any,
    gates: str = "ifgo",
    hidden_bias: bool = True,
    forget: float = 0.0,
    upwards: str = "h",
    out_tanh: bool = True,
    second: int = 1,
    carried: str = "separately",
) -> np.ndarray:
    w = weights_of(model)
    seen = x
    last_h, last_c = (np.zeros((1, 512), np.float32) for _ in "hc")
    for layer in range(2):
        n = layer if layer == 0 else second
        into = w[f"weight_ih_l{layer}"]
        across, bias = w[f"weight_hh_l{n}"], w[f"bias_ih_l{n}"]
        if hidden_bias:
            bias = bias + w[f"bias_hh_l{n}"]
        if layer == 0 or carried == "separately":
            h, c = (np.zeros((1, 512), np.float32) for _ in "hc")
        else:
            h, c = last_h, last_c
        out, cells = [], []
        for t in range(seen.shape[1]):
            z = linear(seen[:, t], into, bias) + h @ across.T
            part = dict(zip(gates, np.split(z, 4, -1), strict=True))
            c = sigmoid(part["f"] + np.float32(forget)) * c + sigmoid(part["i"]) * np.tanh(
                part["g"]
            )
            h = sigmoid(part["o"]) * (np.tanh(c) if out_tanh else c)
            out.append(h)
            cells.append(c)
        last_h, last_c = h, c
        seen = np.stack(cells if upwards == "c" and layer == 0 else out, 1)
    return seen


def build_bidirectional_gru() -> tuple[Any, Any]:
    gru = nn.GRU(256, 256, batch_first=True, bidirectional=True)
    return train_torch(gru, 2135), inputs(2136, 1, 80, 256)


def bidirectional_gru(
    model: Any,
    x: Any,
    reset: str = "after",
    keeps: str = "z",
    gates: str = "rzn",
    turned_back: bool = True,
    order: tuple[int, int] = (0, 1),
    suffixes: tuple[str, str] = ("", "_reverse"),
    biases: str = "apart",
) -> np.ndarray:
    w = weights_of(model)
    out = []
    for way, suffix in enumerate(suffixes):
        into, across, bias, inner = (
            w[f"{n}_l0{suffix}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        seen = x[:, ::-1] if way else x
        h = np.zeros((1, 256), np.float32)
        steps = []
        for t in range(80):
            a = dict(zip(gates, np.split(linear(seen[:, t], into, bias), 3, -1), strict=True))
            b = dict(zip(gates, np.split(linear(h, across, inner), 3, -1), strict=True))
            r, z = sigmoid(a["r"] + b["r"]), sigmoid(a["z"] + b["z"])
            rows = slice(256 * gates.index("n"), 256 * (gates.index("n") + 1))
            if reset == "before":
                n = np.tanh(a["n"] + linear(r * h, across[rows], inner[rows]))
            elif biases == "added together":
                n = np.tanh(a["n"] + inner[rows] + r * (b["n"] - inner[rows]))
            else:
                n = np.tanh(a["n"] + r * b["n"])
            h = z * h + (1 - z) * n if keeps == "z" else (1 - z) * h + z * n
            steps.append(h)
        y = np.stack(steps, 1)
        out.append(y[:, ::-1] if way and turned_back else y)
    return np.concatenate([out[order[0]], out[order[1]]], -1)


# Single layers of PyTorch: a group norm of Stable Diffusion, a transposed convolution of a U-Net


def build_group_norm() -> tuple[Any, Any]:
    x = inputs(2138, 1, 320, 64, 64)
    drift = np.random.default_rng(2139).standard_normal((1, 320, 1, 1)).astype(np.float32)
    return train_torch(nn.Sequential(nn.GroupNorm(32, 320)), 2137), x + drift


def group_norm(
    model: Any,
    x: Any,
    groups: int = 32,
    members: str = "neighbours",
    centred: bool = True,
    gained: bool = True,
    spread: str = "deviation",
) -> np.ndarray:
    w = weights_of(model)
    if members == "neighbours":
        y = x.reshape(1, groups, -1)
    else:
        y = x.reshape(1, 10, 32, 4096).transpose(0, 2, 1, 3).reshape(1, 32, -1)
    mean, var = y.mean(-1, keepdims=True), y.var(-1, keepdims=True)
    if not centred:
        mean, var = np.float32(0), (y * y).mean(-1, keepdims=True)
    y = (y - mean) / (np.sqrt(var + np.float32(1e-5)) if spread == "deviation" else var)
    if members != "neighbours":
        y = y.reshape(1, 32, 10, 4096).transpose(0, 2, 1, 3)
    y = y.reshape(x.shape)
    y = y * w["0.weight"][:, None, None] if gained else y
    return y + w["0.bias"][:, None, None]


def build_up_convolution() -> tuple[Any, Any]:
    model = nn.Sequential(nn.ConvTranspose2d(256, 128, 4, stride=2, padding=1))
    return train_torch(model, 2140, gain=2.0), inputs(2141, 1, 256, 32, 32)


def up_convolution(
    model: Any,
    x: Any,
    kernel: str = "as it is",
    cropped: tuple[int, int] = (1, 1),
    taps: str = "added",
    bias: bool = True,
    channels: str = "in out",
) -> np.ndarray:
    w = weights_of(model)
    k = w["0.weight"]
    if kernel == "flipped":
        k = k[..., ::-1, ::-1]
    if kernel == "transposed":
        k = k.swapaxes(2, 3)
    if channels == "out in":
        k = k.reshape(128, 256, 4, 4).transpose(1, 0, 2, 3)
    y = np.zeros((1, 128, 66, 66), np.float32)
    for i in range(4):
        for j in range(4):
            part = np.tensordot(k[:, :, i, j], x[0], axes=(0, 0))[None]
            window = (slice(None), slice(None), slice(i, i + 63, 2), slice(j, j + 63, 2))
            y[window] = part if taps == "overwritten" else y[window] + part
    before, after = cropped
    y = y[:, :, before : 66 - after, before : 66 - after]
    return y + w["0.bias"][:, None, None] if bias else y


# Layers of Keras


def _layer_weights(model: Any, name: str) -> list[np.ndarray]:
    return list(model.get_layer(name).get_weights())


def build_keras_gru() -> tuple[Any, Any]:
    x = keras.Input((100, 128))
    model = keras.Model(x, keras.layers.GRU(256, return_sequences=True, name="gru")(x))
    return train_keras(model, 2142), inputs(2143, 1, 100, 128)


def keras_gru(
    model: Any,
    x: Any,
    reset: str = "after",
    keeps: str = "z",
    gates: str = "zrh",
    gate: Callable[[np.ndarray], np.ndarray] = sigmoid,
    inner_bias: str = "in",
    act: Callable[[np.ndarray], np.ndarray] = np.tanh,
) -> np.ndarray:
    kernel, across, biases = _layer_weights(model, "gru")
    bias, inner = biases
    if inner_bias == "forgotten":
        inner = 0 * inner
    h = np.zeros((1, 256), np.float32)
    out = []
    rows = slice(256 * gates.index("h"), 256 * (gates.index("h") + 1))
    for t in range(100):
        a = dict(zip(gates, np.split(x[:, t] @ kernel + bias, 3, -1), strict=True))
        b = dict(zip(gates, np.split(h @ across + inner, 3, -1), strict=True))
        z, r = gate(a["z"] + b["z"]), gate(a["r"] + b["r"])
        if reset == "before":
            n = act(a["h"] + (r * h) @ across[:, rows] + inner[rows])
        elif inner_bias == "out":
            n = act(a["h"] + inner[rows] + r * (b["h"] - inner[rows]))
        else:
            n = act(a["h"] + r * b["h"])
        h = z * h + (1 - z) * n if keeps == "z" else (1 - z) * h + z * n
        out.append(h)
    return np.stack(out, 1)


def build_keras_conv() -> tuple[Any, Any]:
    x = keras.Input((56, 56, 64))
    layer = keras.layers.Conv2D(
        128, 3, strides=2, padding="same", activation="relu", name="convolution"
    )
    return train_keras(keras.Model(x, layer(x)), 2144), inputs(2145, 1, 56, 56, 64)


def keras_conv(
    model: Any,
    x: Any,
    sides: tuple[int, int] = (0, 1),
    kernel: str = "as it is",
    bias: str = "before",
    act: bool = True,
) -> np.ndarray:
    w, b = _layer_weights(model, "convolution")
    taps = {
        "as it is": w.transpose(3, 2, 0, 1),
        "flipped": w[::-1, ::-1].transpose(3, 2, 0, 1),
        "transposed": w.transpose(3, 2, 1, 0),
        "reshaped": w.reshape(128, 64, 3, 3),
    }[kernel]
    y = np.pad(x.transpose(0, 3, 1, 2), [(0, 0), (0, 0), sides, sides])
    y = conv(y, taps, stride=2).transpose(0, 2, 3, 1)
    if bias == "after":
        return relu(y) + b
    y = y + b if bias == "before" else y
    return relu(y) if act else y


def build_keras_separable() -> tuple[Any, Any]:
    x = keras.Input((37, 37, 128))
    layer = keras.layers.SeparableConv2D(
        256, 3, padding="same", depth_multiplier=2, name="separable"
    )
    return train_keras(keras.Model(x, layer(x)), 2146), inputs(2147, 1, 37, 37, 128)


def keras_separable(
    model: Any,
    x: Any,
    kernel: str = "as it is",
    order: str = "channel first",
    between: bool = False,
    transposed: bool = False,
    bias: bool = True,
    sides: str = "constant",
) -> np.ndarray:
    depth, point, b = _layer_weights(model, "separable")
    depth = {
        "as it is": depth,
        "flipped": depth[::-1, ::-1],
        "transposed": depth.swapaxes(0, 1),
    }[kernel]
    seen = np.pad(
        x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge" if sides == "edge" else "constant"
    )
    y = np.zeros((1, 37, 37, 128, 2), np.float32)
    for i in range(3):
        for j in range(3):
            y += seen[:, i : i + 37, j : j + 37, :, None] * depth[i, j]
    if order == "multiplier first":
        y = y.swapaxes(3, 4)
    y = y.reshape(1, 37, 37, 256)
    y = relu(y) if between else y
    w = point[0, 0]
    y = y @ (w.T if transposed else w)
    return y + b if bias else y


def build_keras_attention() -> tuple[Any, Any]:
    """A decoder's attention of 64 steps to an encoder's 100."""
    query, memory = keras.Input((64, 512), name="query"), keras.Input((100, 512), name="memory")
    layer = keras.layers.MultiHeadAttention(8, 64, name="attention")
    model = keras.Model([query, memory], layer(query, memory))
    x = (inputs(2149, 1, 64, 512), inputs(2150, 1, 100, 512))
    return train_keras(model, 2148, gain=2.0), x


def keras_attention(
    model: Any,
    x: Any,
    scale: float = 1 / 8,
    join: Callable[[np.ndarray], np.ndarray] = join_heads,
    swapped: bool = False,
    split: str = "heads first",
    biased: str = "qkv",
    axis: int = -1,
    out_bias: bool = True,
) -> np.ndarray:
    weights = _layer_weights(model, "attention")
    wq, bq, wk, bk, wv, bv, wo, bo = weights
    if swapped:
        wk, bk, wv, bv = wv, bv, wk, bk
    query, memory = x
    parts = []
    for n, seen, w, b in (("q", query, wq, bq), ("k", memory, wk, bk), ("v", memory, wv, bv)):
        y = seen @ w.reshape(512, 512)
        y = y + b.reshape(512) if n in biased else y
        if split == "heads first":
            parts.append(split_heads(y, 8))
        else:
            parts.append(y.reshape(1, -1, 64, 8).transpose(0, 3, 1, 2))
    q, k, v = parts
    y = join(softmax(q @ k.swapaxes(-1, -2) * np.float32(scale), axis) @ v)
    y = y @ wo.reshape(512, 512)
    return y + bo if out_bias else y


def build_keras_layer_norm() -> tuple[Any, Any]:
    """Features of little variance, so that the epsilon of 0.001 counts."""
    x = keras.Input((128, 768))
    model = keras.Model(x, keras.layers.LayerNormalization(name="norm")(x))
    return train_keras(model, 2151), inputs(2152, 1, 128, 768, scale=0.15, shift=0.1)


def keras_layer_norm(
    model: Any,
    x: Any,
    eps: float = 1e-3,
    outside: bool = False,
    centred: bool = True,
    axes: tuple[int, ...] = (-1,),
    ddof: int = 0,
    beta: bool = True,
) -> np.ndarray:
    gamma, shift = _layer_weights(model, "norm")
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=ddof)
    if not centred:
        mean, var = np.float32(0), (x * x).mean(axes, keepdims=True)
    spread = np.sqrt(var) + np.float32(eps) if outside else np.sqrt(var + np.float32(eps))
    y = (x - mean) / spread * gamma
    return y + shift if beta else y


def build_keras_batch_norm() -> tuple[Any, Any]:
    x = keras.Input((14, 14, 512))
    model = keras.Model(x, keras.layers.BatchNormalization(name="norm")(x))
    return train_keras(model, 2153), inputs(2154, 1, 14, 14, 512)


def keras_batch_norm(
    model: Any,
    x: Any,
    eps: float = 1e-3,
    statistics: str = "moving",
    spread: str = "root",
    centred: bool = True,
    swapped: bool = False,
    beta: bool = True,
) -> np.ndarray:
    gamma, shift, mean, var = _layer_weights(model, "norm")
    if swapped:
        gamma, shift = shift, gamma
    if statistics == "batch":
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    by = np.sqrt(var + np.float32(eps)) if spread == "root" else var + np.float32(eps)
    y = (x - mean if centred else x) / by * gamma
    return y + shift if beta else y


CASES = [
    Case(
        "gpt2_small_block",
        build_gpt2,
        "h.0",
        gpt2_block,
        {
            "packed_per_head": Mistake(
                partial(gpt2_block, split="per head"),
                "c_attn's output is split as (12 heads, q k v, 64), where it is q, k, v of 768 "
                "each.",
            ),
            "square_conv1d_transposed": Mistake(
                partial(gpt2_block, transposed=True),
                "attn.c_proj, 768 x 768, is transposed as a Linear's weight, where Conv1D stores "
                "(in, out).",
            ),
            "sees_one_step_ahead": Mistake(
                partial(gpt2_block, ahead=1),
                "The causal mask is np.tril(..., k=1), so each token sees the next one.",
            ),
            "no_causal_mask": Mistake(partial(gpt2_block, ahead=None), "No causal mask."),
            "masked_after_softmax": Mistake(
                partial(gpt2_block, mask="after"),
                "The weights of later tokens are zeroed after the softmax, so the rows no longer "
                "sum to 1.",
            ),
            "exact_gelu": Mistake(
                partial(gpt2_block, act=gelu),
                "GELU by erf, where gelu_new is the tanh approximation; inherently small.",
            ),
            "second_residual_of_input": Mistake(
                partial(gpt2_block, mlp_residual="input"),
                "The MLP's output is added to the block's input, where it is added to the sum "
                "after attention.",
            ),
            "norms_swapped_and_no_scale": Mistake(
                partial(gpt2_block, norms=("ln_2", "ln_1"), scale=1.0),
                "Two causes: ln_1 and ln_2 are swapped, and scores are not divided by the root "
                "of 64.",
                causes=2,
            ),
        },
    ),
    Case(
        "bert_base_layer",
        build_bert,
        "encoder.layer.0",
        bert_layer,
        {
            "padding_seen": Mistake(
                partial(bert_layer, mask="ignored"),
                "attention_mask is ignored, so the 38 padding tokens are attended to.",
            ),
            "mask_added_as_it_is": Mistake(
                partial(bert_layer, mask="added"),
                "The mask of ones and zeros is added to the scores, where (1 - mask) times a great "
                "negative number is.",
            ),
            "token_types_forgotten": Mistake(
                partial(bert_layer, types=False),
                "Every token has the embedding of type 0, where the second sentence has type 1.",
            ),
            "scaled_by_hidden_size": Mistake(
                partial(bert_layer, scale=1 / math.sqrt(768)),
                "Scores are divided by the root of 768, where it is the head's 64.",
            ),
            "norm_first": Mistake(
                partial(bert_layer, norm_first=True),
                "The norms come before attention and MLP (pre-norm), where BERT's come after the "
                "sums.",
            ),
            "heads_joined_without_transpose": Mistake(
                partial(bert_layer, join=_heads_in_order_of_memory),
                "The heads (1, 12, 128, 64) are reshaped to (1, 128, 768) without the transpose.",
            ),
            "norms_swapped": Mistake(
                partial(bert_layer, norms=("output.LayerNorm", "attention.output.LayerNorm")),
                "The two layer norms' weights are swapped.",
            ),
            "padding_seen_and_wrong_residual": Mistake(
                partial(bert_layer, mask="ignored", second_residual="input"),
                "Two causes: attention_mask is ignored, and the second sum adds the layer's input, "
                "where it adds the output of the first norm.",
                causes=2,
            ),
        },
    ),
    Case(
        "vit_b16_block",
        build_vit,
        "",
        vit_block,
        {
            "key_and_value_swapped": Mistake(
                partial(vit_block, order="qvk"),
                "in_proj_weight is read as q, v, k, where it is q, k, v.",
            ),
            "packed_per_head": Mistake(
                partial(vit_block, split="per head"),
                "in_proj's output is split as (12 heads, q k v, 64), where it is q, k, v of 768 "
                "each.",
            ),
            "tanh_gelu": Mistake(
                partial(vit_block, act=gelu_tanh),
                "GELU's tanh approximation, where nn.GELU() is by erf; inherently small.",
            ),
            "quick_gelu": Mistake(
                partial(vit_block, act=gelu_quick),
                "x sigmoid(1.702 x) (CLIP's quick GELU), where nn.GELU() is by erf.",
            ),
            "unbiased_variance": Mistake(
                partial(vit_block, ddof=1),
                "The norms' variance is divided by 767, where it is 768; inherently small.",
            ),
            "heads_joined_without_transpose": Mistake(
                partial(vit_block, join=_heads_in_order_of_memory),
                "The heads (1, 12, 197, 64) are reshaped to (1, 197, 768) without the transpose.",
            ),
            "out_bias_forgotten": Mistake(
                partial(vit_block, out_bias=False),
                "out_proj's bias is forgotten.",
            ),
            "no_second_norm_and_out_transposed": Mistake(
                partial(vit_block, second_norm=False, out_transposed=True),
                "Two causes: ln_2 is forgotten, and out_proj, 768 x 768, is not transposed.",
                causes=2,
            ),
        },
    ),
    Case(
        "smollm2_360m_decoder_layer",
        build_smollm2,
        "layers.0",
        llama_layer,
        {
            "rotary_of_neighbours": Mistake(
                partial(llama_layer, pairs="neighbours"),
                "The rotary embedding turns neighbouring features (0 1)(2 3), where it turns "
                "halves (0 32)(1 33).",
            ),
            "theta_of_10000": Mistake(
                partial(llama_layer, theta=10000.0),
                "The rotary base is 10000, where the model's rope_theta is 100000.",
            ),
            "rates_at_half_exponent": Mistake(
                partial(llama_layer, step=1),
                "The rotary rates are theta^(-i/64), where they are theta^(-2i/64).",
            ),
            "key_value_heads_tiled": Mistake(
                partial(llama_layer, spread="tile"),
                "The 5 key and value heads are tiled (0 1 2 3 4 0 1 ...), where each serves 3 "
                "neighbouring query heads (0 0 0 1 ...).",
            ),
            "gate_and_up_swapped": Mistake(
                partial(llama_layer, gate="up_proj"),
                "SiLU is applied to up_proj, where it is applied to gate_proj.",
            ),
            "gelu_in_mlp": Mistake(
                partial(llama_layer, act=gelu), "The gate's activation is GELU, where it is SiLU."
            ),
            "residual_of_normalised": Mistake(
                partial(llama_layer, residual="normed"),
                "Attention is added to the normalised input, where it is added to the input.",
            ),
            "centred_norms_and_sees_ahead": Mistake(
                partial(llama_layer, centred=True, ahead=1),
                "Two causes: the norms subtract the mean, and each token sees the next one.",
                causes=2,
            ),
        },
    ),
    Case(
        "qwen2_05b_attention",
        build_qwen2,
        "layers.0.self_attn",
        qwen2_attention,
        {
            "biases_forgotten": Mistake(
                partial(qwen2_attention, biased=""),
                "The biases of q_proj, k_proj and v_proj are forgotten, as if it were a Llama.",
            ),
            "value_bias_forgotten": Mistake(
                partial(qwen2_attention, biased="qk"), "v_proj's bias is forgotten."
            ),
            "theta_of_10000": Mistake(
                partial(qwen2_attention, theta=10000.0),
                "The rotary base is 10000, where rope_theta is 1000000.",
            ),
            "query_not_rotated": Mistake(
                partial(qwen2_attention, rotated="k"),
                "The rotary embedding is applied to the key, forgotten for the query.",
            ),
            "value_rotated_too": Mistake(
                partial(qwen2_attention, rotated="qkv"),
                "The rotary embedding is applied to the value as well.",
            ),
            "key_value_heads_tiled": Mistake(
                partial(qwen2_attention, spread="tile"),
                "The 2 key and value heads alternate (0 1 0 1 ...), where each serves 7 "
                "neighbouring query heads.",
            ),
            "not_scaled": Mistake(
                partial(qwen2_attention, scale=1.0),
                "Scores are not divided by the root of the head's size 64.",
            ),
            "input_not_normed": Mistake(
                partial(qwen2_attention, normed=False),
                "input_layernorm before the attention is forgotten.",
            ),
        },
    ),
    Case(
        "pythia_160m_layer",
        build_pythia,
        "layers.0",
        pythia_layer,
        {
            "all_features_rotated": Mistake(
                partial(pythia_layer, turned=64),
                "The rotary embedding turns all 64 features of a head, where it turns "
                "the first 16.",
            ),
            "rotary_of_neighbours": Mistake(
                partial(pythia_layer, pairs="neighbours"),
                "The rotary embedding turns neighbouring features (GPT-J), where it turns halves.",
            ),
            "packed_as_thirds": Mistake(
                partial(pythia_layer, split="thirds"),
                "query_key_value is split into q, k, v of 768 each, where it is (12 heads, q k v, "
                "64).",
            ),
            "residuals_one_after_the_other": Mistake(
                partial(pythia_layer, parallel=False),
                "The MLP gets the sum after attention, where it gets the layer's input.",
            ),
            "one_norm_for_both": Mistake(
                partial(pythia_layer, one_norm=True),
                "The MLP gets input_layernorm's output (GPT-J), where it has a norm of its own.",
            ),
            "dense_bias_forgotten": Mistake(
                partial(pythia_layer, biases=False), "The bias of attention.dense is forgotten."
            ),
        },
    ),
    Case(
        "t5_base_encoder_block",
        build_t5,
        "encoder.block.0",
        t5_block,
        {
            "scores_scaled": Mistake(
                partial(t5_block, scale=1 / 8),
                "Scores are divided by the root of d_kv 64, where T5's are not scaled.",
            ),
            "relative_bias_of_wrong_sign": Mistake(
                partial(t5_block, buckets="other sign"),
                "The distance is query less key, where it is key less query.",
            ),
            "buckets_of_decoder": Mistake(
                partial(t5_block, buckets="decoder"),
                "The buckets are a decoder's (32 for the past), where an encoder has 16 each way.",
            ),
            "buckets_without_logarithm": Mistake(
                partial(t5_block, buckets="linear"),
                "Distances are clipped at 15, where from 8 on the buckets widen logarithmically.",
            ),
            "gate_of_wi_1": Mistake(
                partial(t5_block, gate="wi_1"),
                "GELU is applied to wi_1's output, where it is applied to wi_0's.",
            ),
            "gate_is_relu": Mistake(
                partial(t5_block, act=relu),
                "The gate's activation is ReLU (T5 1.0), where it is GELU.",
            ),
            "centred_norms": Mistake(
                partial(t5_block, centred=True), "The norms subtract the mean, where T5's do not."
            ),
            "scaled_and_no_relative_bias": Mistake(
                partial(t5_block, scale=1 / 8, biased=False),
                "Two causes: scores are divided by the root of d_kv, and the relative position "
                "bias is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "whisper_tiny_encoder_layer",
        build_whisper,
        "layers.0",
        whisper_layer,
        {
            "relu_in_stem": Mistake(
                partial(whisper_layer, stem_act=relu),
                "The convolutions before the layer are followed by ReLU, where it is GELU.",
            ),
            "stem_padded_as_tensorflow": Mistake(
                partial(whisper_layer, padding="right"),
                "conv2, of stride 2, is padded by one frame at the end alone (TensorFlow's same), "
                "where it is padded on both sides.",
            ),
            "sinusoids_interleaved": Mistake(
                partial(whisper_layer, positions="interleaved"),
                "The positions' sines and cosines alternate, where Whisper has all sines, then "
                "all cosines.",
            ),
            "scaled_twice": Mistake(
                partial(whisper_layer, scale=1 / 64),
                "The query is scaled, and the scores are once more.",
            ),
            "value_bias_forgotten": Mistake(
                partial(whisper_layer, value_bias=False),
                "v_proj's bias is forgotten; k_proj alone has none.",
            ),
            "tanh_gelu": Mistake(
                partial(whisper_layer, act=gelu_tanh),
                "GELU's tanh approximation, where it is by erf; inherently small.",
            ),
            "norm_after": Mistake(
                partial(whisper_layer, norm_first=False),
                "The norms come after the sums, where Whisper's come before attention and MLP.",
            ),
            "one_norm_for_both": Mistake(
                partial(whisper_layer, mlp_norm="self_attn_layer_norm"),
                "The MLP's norm has the weights of the attention's.",
            ),
        },
    ),
    Case(
        "clip_b32_text_layer",
        build_clip,
        "encoder.layers.0",
        clip_layer,
        {
            "exact_gelu": Mistake(
                partial(clip_layer, act=gelu),
                "GELU by erf, where CLIP's is x sigmoid(1.702 x).",
            ),
            "no_causal_mask": Mistake(
                partial(clip_layer, causal=False),
                "No causal mask, as in an image encoder, where CLIP's text encoder has one.",
            ),
            "positions_forgotten": Mistake(
                partial(clip_layer, placed=False), "The position embeddings are not added."
            ),
            "norm_after": Mistake(
                partial(clip_layer, norm_first=False),
                "The norms come after the sums, where they come before attention and MLP.",
            ),
            "query_bias_forgotten": Mistake(
                partial(clip_layer, forgotten="self_attn.q_proj.bias"),
                "q_proj's bias is forgotten.",
            ),
            "mlp_of_first_norm": Mistake(
                partial(clip_layer, into_mlp="first norm"),
                "The MLP gets layer_norm1's output, where it gets layer_norm2 of the sum.",
            ),
        },
    ),
    Case(
        "swin_tiny_shifted_block",
        build_swin,
        "",
        swin_block,
        {
            "windows_not_shifted": Mistake(
                partial(swin_block, shift=0), "The windows are not shifted, as in an even block."
            ),
            "shifted_the_other_way": Mistake(
                partial(swin_block, direction=1),
                "The image is rolled by +3 before and -3 after, where it is -3 and +3.",
            ),
            "not_shifted_back": Mistake(
                partial(swin_block, back=False), "The image is not rolled back after attention."
            ),
            "wrapped_places_seen": Mistake(
                partial(swin_block, masked=False),
                "No mask in the last windows, so places that the roll brought together see each "
                "other.",
            ),
            "table_columns_first": Mistake(
                partial(swin_block, places="columns first"),
                "The table of relative biases is read as (dx, dy), where it is (dy, dx).",
            ),
            "table_of_key_less_query": Mistake(
                partial(swin_block, places="key less query"),
                "The relative place is key less query, where it is query less key.",
            ),
            "windows_without_transpose": Mistake(
                partial(swin_block, windows="rows"),
                "The image is reshaped into 64 windows of 49 without the transpose, so a window is "
                "a part of a row.",
            ),
            "wrapped_places_seen_and_packed_per_head": Mistake(
                partial(swin_block, masked=False, split="per head"),
                "Two causes: no mask in the last windows, and qkv is split as (heads, q k v, 32).",
                causes=2,
            ),
        },
    ),
    Case(
        "resnet50_bottleneck",
        build_bottleneck,
        "",
        bottleneck,
        {
            "relu_before_sum": Mistake(
                partial(bottleneck, last="sum of relu"),
                "The last ReLU comes before the shortcut is added, where it comes after.",
            ),
            "shortcut_forgotten": Mistake(
                partial(bottleneck, last="no shortcut"), "The shortcut is not added."
            ),
            "last_relu_forgotten": Mistake(
                partial(bottleneck, last="no relu"), "The ReLU after the sum is forgotten."
            ),
            "second_relu_forgotten": Mistake(
                partial(bottleneck, second_relu=False), "The ReLU after bn2 is forgotten."
            ),
            "kernel_flipped": Mistake(
                partial(bottleneck, flipped=True),
                "conv2 is a true convolution, its kernel flipped, where PyTorch cross-correlates.",
            ),
            "divided_by_variance": Mistake(
                partial(bottleneck, spread="variance"),
                "The batch norms divide by the variance, where they divide by its root.",
            ),
            "norms_swapped": Mistake(
                partial(bottleneck, norms=("bn2", "bn1")),
                "bn1 and bn2, both of 128 channels, are swapped.",
            ),
            "epsilon_of_keras": Mistake(
                partial(bottleneck, eps=1e-3),
                "The batch norms' epsilon is 0.001 (Keras), where it is 0.00001.",
            ),
        },
    ),
    Case(
        "resnet50_downsampling_bottleneck",
        build_downsampling_bottleneck,
        "",
        partial(bottleneck, stride=2),
        {
            "stride_at_first_convolution": Mistake(
                partial(bottleneck, stride=2, strided="conv1"),
                "The stride is at the 1 x 1 convolution (the paper's), where torchvision has it "
                "at the 3 x 3.",
            ),
            "padded_as_tensorflow": Mistake(
                partial(bottleneck, stride=2, padding="right"),
                "conv2 is padded at the bottom and right alone (TensorFlow's same for stride 2), "
                "where it is padded by 1 on every side.",
            ),
            "shortcut_of_odd_pixels": Mistake(
                partial(bottleneck, stride=2, first_pixel=1),
                "The shortcut's strided convolution takes pixels 1 3 5, where it takes 0 2 4.",
            ),
            "shortcut_not_normed": Mistake(
                partial(bottleneck, stride=2, shortcut_norm=False),
                "The batch norm of the downsampling shortcut is forgotten.",
            ),
            "relu_on_shortcut": Mistake(
                partial(bottleneck, stride=2, shortcut_relu=True),
                "The shortcut has a ReLU after its batch norm, where it has none.",
            ),
        },
    ),
    Case(
        "mobilenet_v2_inverted_residual_of_192",
        build_inverted_residual,
        "",
        inverted_residual,
        {
            "relu_without_six": Mistake(
                partial(inverted_residual, act=relu), "ReLU, where it is ReLU6."
            ),
            "relu6_after_projection": Mistake(
                partial(inverted_residual, last_act=True),
                "The projection is followed by ReLU6, where it is linear.",
            ),
            "depthwise_kernel_transposed": Mistake(
                partial(inverted_residual, kernel="transposed"),
                "The depthwise kernels' rows and columns are swapped.",
            ),
            "shortcut_forgotten": Mistake(
                partial(inverted_residual, shortcut=False), "The input is not added."
            ),
            "one_norm_for_both": Mistake(
                partial(inverted_residual, expansion_norm="conv.1.1"),
                "The expansion's batch norm has the weights of the depthwise convolution's.",
            ),
            "epsilon_of_keras": Mistake(
                partial(inverted_residual, eps=1e-3),
                "The batch norms' epsilon is 0.001 (Keras), where it is 0.00001.",
            ),
        },
    ),
    Case(
        "mobilenet_v2_downsampling_block_of_144",
        build_strided_inverted_residual,
        "",
        partial(inverted_residual, stride=2),
        {
            "padded_as_tensorflow": Mistake(
                partial(inverted_residual, stride=2, sides=(0, 1)),
                "The depthwise convolution is padded at the bottom and right alone (Keras), where "
                "it is padded by 1 on every side.",
            ),
            "stride_at_expansion": Mistake(
                partial(inverted_residual, stride=2, at="expansion"),
                "The stride is at the 1 x 1 expansion, where it is at the depthwise convolution.",
            ),
            "kernel_flipped": Mistake(
                partial(inverted_residual, stride=2, kernel="flipped"),
                "The depthwise kernels are flipped, where PyTorch cross-correlates.",
            ),
            "relu6_after_projection": Mistake(
                partial(inverted_residual, stride=2, last_act=True),
                "The projection is followed by ReLU6, where it is linear.",
            ),
        },
    ),
    Case(
        "efficientnet_b0_mbconv",
        build_mbconv,
        "",
        mbconv,
        {
            "relu_in_squeeze": Mistake(
                partial(mbconv, squeeze_act=relu),
                "The squeeze's activation is ReLU (SENet), where EfficientNet's is SiLU.",
            ),
            "hard_sigmoid_gate": Mistake(
                partial(mbconv, gate=hard_sigmoid),
                "The excitation's gate is a hard sigmoid (MobileNetV3), where it is a sigmoid.",
            ),
            "squeezed_by_maximum": Mistake(
                partial(mbconv, pool="max"), "The squeeze takes the maximum, where it is the mean."
            ),
            "excitation_forgotten": Mistake(
                partial(mbconv, excited="forgotten"), "Squeeze and excitation is forgotten."
            ),
            "excitation_added": Mistake(
                partial(mbconv, excited="plus"), "The gate is added, where it is multiplied by."
            ),
            "activation_after_projection": Mistake(
                partial(mbconv, last_act=True),
                "The projection is followed by SiLU, where it is linear.",
            ),
            "relu_after_norms_and_no_shortcut": Mistake(
                partial(mbconv, act=relu, shortcut=False),
                "Two causes: ReLU after the batch norms, where it is SiLU, and the input is not "
                "added.",
                causes=2,
            ),
        },
    ),
    Case(
        "convnext_tiny_block",
        build_convnext,
        "",
        convnext_block,
        {
            "layer_scale_forgotten": Mistake(
                partial(convnext_block, scaled="nothing"), "layer_scale is forgotten."
            ),
            "sum_scaled": Mistake(
                partial(convnext_block, scaled="sum"),
                "layer_scale multiplies the sum with the input, where it multiplies the branch.",
            ),
            "kernel_transposed": Mistake(
                partial(convnext_block, kernel="transposed"),
                "The 7 x 7 depthwise kernels' rows and columns are swapped.",
            ),
            "padded_with_edges": Mistake(
                partial(convnext_block, sides="edge"),
                "The depthwise convolution repeats the edge pixels, where it is padded with zeros.",
            ),
            "norm_over_everything": Mistake(
                partial(convnext_block, over="everything"),
                "The layer norm's statistics are over channels, rows and columns, where they are "
                "over the channels of each pixel.",
            ),
            "norm_of_each_channel": Mistake(
                partial(convnext_block, over="pixels"),
                "The norm's statistics are over the pixels of each channel (an instance norm), "
                "where they are over the channels of each pixel.",
            ),
            "shortcut_after_convolution": Mistake(
                partial(convnext_block, shortcut="convolved"),
                "The shortcut starts after the depthwise convolution, where it is the block's "
                "input.",
            ),
            "tanh_gelu": Mistake(
                partial(convnext_block, act=gelu_tanh),
                "GELU's tanh approximation, where nn.GELU() is by erf; inherently small.",
            ),
        },
    ),
    Case(
        "lstm_two_layers_of_512",
        build_lstm,
        "",
        lstm,
        {
            "gates_of_another_order": Mistake(
                partial(lstm, gates="ifog"),
                "The gates are read as i f o g, where PyTorch's are i f g o.",
            ),
            "hidden_bias_forgotten": Mistake(
                partial(lstm, hidden_bias=False), "bias_hh is forgotten, bias_ih alone is added."
            ),
            "forget_bias_of_one": Mistake(
                partial(lstm, forget=1.0),
                "1 is added to the forget gate (TensorFlow 1's cell), where nothing is.",
            ),
            "cells_passed_upwards": Mistake(
                partial(lstm, upwards="c"),
                "The second layer gets the first one's cell states, where it gets its outputs.",
            ),
            "tanh_of_cell_forgotten": Mistake(
                partial(lstm, out_tanh=False), "The output is o * c, where it is o * tanh(c)."
            ),
            "state_carried_upwards": Mistake(
                partial(lstm, carried="upwards"),
                "The second layer starts from the first one's last state, where it starts from "
                "zeros.",
            ),
            "first_layer_twice": Mistake(
                partial(lstm, second=0),
                "The second layer has the first one's weight_hh and biases.",
            ),
            "gates_and_hidden_bias": Mistake(
                partial(lstm, gates="figo", hidden_bias=False),
                "Two causes: the gates are read as f i g o, and bias_hh is forgotten.",
                causes=2,
            ),
        },
    ),
    Case(
        "bidirectional_gru_of_256",
        build_bidirectional_gru,
        "",
        bidirectional_gru,
        {
            "reset_before_matrix": Mistake(
                partial(bidirectional_gru, reset="before"),
                "The reset gate multiplies h before weight_hh (the paper's), where it multiplies "
                "the product.",
            ),
            "update_gate_other_way": Mistake(
                partial(bidirectional_gru, keeps="1 - z"),
                "h is (1 - z) h + z n, where it is z h + (1 - z) n.",
            ),
            "gates_of_keras": Mistake(
                partial(bidirectional_gru, gates="zrn"),
                "The gates are read as z r n (Keras), where PyTorch's are r z n.",
            ),
            "backward_not_turned_back": Mistake(
                partial(bidirectional_gru, turned_back=False),
                "The backward outputs are left in the order in which they were computed.",
            ),
            "directions_swapped": Mistake(
                partial(bidirectional_gru, order=(1, 0)),
                "The backward outputs come first, where the forward ones do.",
            ),
            "weights_of_one_direction": Mistake(
                partial(bidirectional_gru, suffixes=("", "")),
                "The backward direction has the forward one's weights.",
            ),
            "biases_added_together": Mistake(
                partial(bidirectional_gru, biases="added together"),
                "bias_hh of the new gate is added outside of the reset gate's product.",
            ),
        },
    ),
    Case(
        "stable_diffusion_group_norm",
        build_group_norm,
        "0",
        group_norm,
        {
            "groups_interleaved": Mistake(
                partial(group_norm, members="interleaved"),
                "Channel c is in group c % 32, where groups are of 10 neighbouring channels.",
            ),
            "groups_of_32_channels": Mistake(
                partial(group_norm, groups=10),
                "There are 10 groups of 32 channels, where there are 32 groups of 10.",
            ),
            "one_group": Mistake(
                partial(group_norm, groups=1),
                "The statistics are over all channels (a layer norm), where they are per group.",
            ),
            "one_channel_each": Mistake(
                partial(group_norm, groups=320),
                "The statistics are per channel (an instance norm), where they are per group.",
            ),
            "not_centred": Mistake(
                partial(group_norm, centred=False), "The groups' means are not subtracted."
            ),
            "divided_by_variance": Mistake(
                partial(group_norm, spread="variance"),
                "Divides by the variance, where it is the root of variance and epsilon.",
            ),
            "gain_forgotten": Mistake(partial(group_norm, gained=False), "weight is forgotten."),
        },
    ),
    Case(
        "unet_transposed_convolution",
        build_up_convolution,
        "0",
        up_convolution,
        {
            "kernel_flipped": Mistake(
                partial(up_convolution, kernel="flipped"),
                "The kernel is flipped, as if for an ordinary convolution of the spread input.",
            ),
            "kernel_transposed": Mistake(
                partial(up_convolution, kernel="transposed"),
                "The kernel's rows and columns are swapped.",
            ),
            "cropped_at_the_end": Mistake(
                partial(up_convolution, cropped=(0, 2)),
                "The 2 surplus pixels are cropped at the bottom and right, where padding=1 crops "
                "1 on every side.",
            ),
            "overlaps_overwritten": Mistake(
                partial(up_convolution, taps="overwritten"),
                "Where two inputs reach one output the later is kept, where they are added.",
            ),
            "weight_read_as_out_in": Mistake(
                partial(up_convolution, channels="out in"),
                "The weight's memory is read as (out, in, 4, 4), where it is (in, out, 4, 4).",
            ),
            "bias_forgotten": Mistake(
                partial(up_convolution, bias=False), "The bias is forgotten."
            ),
        },
    ),
    Case(
        "keras_gru_of_256",
        build_keras_gru,
        "gru",
        keras_gru,
        {
            "reset_before_matrix": Mistake(
                partial(keras_gru, reset="before"),
                "The reset gate multiplies h before the recurrent kernel (reset_after=False), "
                "where it multiplies the product.",
            ),
            "update_gate_other_way": Mistake(
                partial(keras_gru, keeps="1 - z"),
                "h is (1 - z) h + z hh, where it is z h + (1 - z) hh.",
            ),
            "gates_of_pytorch": Mistake(
                partial(keras_gru, gates="rzh"),
                "The gates are read as r z h (PyTorch), where Keras's are z r h.",
            ),
            "recurrent_bias_forgotten": Mistake(
                partial(keras_gru, inner_bias="forgotten"),
                "The bias's second row, the recurrent bias, is forgotten.",
            ),
            "recurrent_bias_outside_reset": Mistake(
                partial(keras_gru, inner_bias="out"),
                "The candidate's recurrent bias is added outside of the reset gate's product.",
            ),
            "hard_sigmoid": Mistake(
                partial(keras_gru, gate=hard_sigmoid),
                "The gates are hard sigmoids, where recurrent_activation is sigmoid.",
            ),
        },
    ),
    Case(
        "keras_strided_conv2d_of_128",
        build_keras_conv,
        "convolution",
        keras_conv,
        {
            "padded_as_pytorch": Mistake(
                partial(keras_conv, sides=(1, 0)),
                "Padded by 1 at the top and left (PyTorch's padding=1), where same with stride 2 "
                "pads the bottom and right.",
            ),
            "kernel_flipped": Mistake(
                partial(keras_conv, kernel="flipped"),
                "The kernel is flipped, where Keras cross-correlates.",
            ),
            "kernel_transposed": Mistake(
                partial(keras_conv, kernel="transposed"),
                "The kernel's rows and columns are swapped.",
            ),
            "kernel_reshaped": Mistake(
                partial(keras_conv, kernel="reshaped"),
                "The kernel (3, 3, 64, 128) is reshaped to (128, 64, 3, 3), where it needs a "
                "transpose.",
            ),
            "bias_after_relu": Mistake(
                partial(keras_conv, bias="after"), "The bias is added after the ReLU."
            ),
            "bias_forgotten": Mistake(
                partial(keras_conv, bias="forgotten"), "The bias is forgotten."
            ),
            "relu_forgotten": Mistake(
                partial(keras_conv, act=False), "The layer's own ReLU is forgotten."
            ),
        },
    ),
    Case(
        "keras_separable_conv2d_of_256",
        build_keras_separable,
        "separable",
        keras_separable,
        {
            "multiplier_first": Mistake(
                partial(keras_separable, order="multiplier first"),
                "The depthwise outputs are ordered (multiplier, channel), where they are "
                "(channel, multiplier).",
            ),
            "depthwise_kernel_transposed": Mistake(
                partial(keras_separable, kernel="transposed"),
                "The depthwise kernel's rows and columns are swapped.",
            ),
            "depthwise_kernel_flipped": Mistake(
                partial(keras_separable, kernel="flipped"),
                "The depthwise kernel is flipped, where Keras cross-correlates.",
            ),
            "relu_between": Mistake(
                partial(keras_separable, between=True),
                "There is a ReLU between depthwise and pointwise, where there is nothing.",
            ),
            "pointwise_transposed": Mistake(
                partial(keras_separable, transposed=True),
                "The pointwise kernel, 256 x 256, is transposed.",
            ),
            "padded_with_edges": Mistake(
                partial(keras_separable, sides="edge"),
                "The edge pixels are repeated, where same pads with zeros.",
            ),
            "bias_forgotten": Mistake(
                partial(keras_separable, bias=False), "The bias is forgotten."
            ),
        },
    ),
    Case(
        "keras_cross_attention_of_512",
        build_keras_attention,
        "attention",
        keras_attention,
        {
            "scaled_by_model_size": Mistake(
                partial(keras_attention, scale=1 / math.sqrt(512)),
                "Scores are divided by the root of 512, where it is key_dim 64.",
            ),
            "not_scaled": Mistake(
                partial(keras_attention, scale=1.0), "Scores are not divided by the root of 64."
            ),
            "key_and_value_swapped": Mistake(
                partial(keras_attention, swapped=True),
                "The weights are read as query, value, key, where they are query, key, value.",
            ),
            "size_before_heads": Mistake(
                partial(keras_attention, split="size first"),
                "The projections are split as (64, 8 heads), where they are (8 heads, 64).",
            ),
            "heads_joined_without_transpose": Mistake(
                partial(keras_attention, join=_heads_in_order_of_memory),
                "The heads (1, 8, 64, 64) are reshaped to (1, 64, 512) without the transpose.",
            ),
            "softmax_over_queries": Mistake(
                partial(keras_attention, axis=-2),
                "The softmax is over the queries, where it is over the keys.",
            ),
            "value_bias_forgotten": Mistake(
                partial(keras_attention, biased="qk"), "The value's bias is forgotten."
            ),
        },
    ),
    Case(
        "keras_layer_normalization_of_768",
        build_keras_layer_norm,
        "norm",
        keras_layer_norm,
        {
            "epsilon_of_pytorch": Mistake(
                partial(keras_layer_norm, eps=1e-5),
                "The epsilon is 0.00001 (PyTorch), where Keras's default is 0.001.",
            ),
            "epsilon_outside_root": Mistake(
                partial(keras_layer_norm, outside=True),
                "The epsilon is added to the root of the variance, where it is added to the "
                "variance.",
            ),
            "not_centred": Mistake(
                partial(keras_layer_norm, centred=False),
                "The mean is not subtracted (an RMS norm).",
            ),
            "over_tokens_too": Mistake(
                partial(keras_layer_norm, axes=(1, 2)),
                "The statistics are over tokens and features, where they are of each token.",
            ),
            "over_tokens": Mistake(
                partial(keras_layer_norm, axes=(1,)),
                "The statistics are over the tokens, where they are over the features.",
            ),
            "unbiased_variance": Mistake(
                partial(keras_layer_norm, ddof=1),
                "The variance is divided by 767, where it is 768; inherently small.",
            ),
            "beta_forgotten": Mistake(partial(keras_layer_norm, beta=False), "beta is forgotten."),
        },
    ),
    Case(
        "keras_batch_normalization_of_512",
        build_keras_batch_norm,
        "norm",
        keras_batch_norm,
        {
            "statistics_of_the_batch": Mistake(
                partial(keras_batch_norm, statistics="batch"),
                "The batch's own mean and variance, where inference has the moving ones.",
            ),
            "divided_by_variance": Mistake(
                partial(keras_batch_norm, spread="variance"),
                "Divides by the variance, where it is its root.",
            ),
            "epsilon_of_pytorch": Mistake(
                partial(keras_batch_norm, eps=1e-5),
                "The epsilon is 0.00001 (PyTorch), where Keras's default is 0.001.",
            ),
            "mean_forgotten": Mistake(
                partial(keras_batch_norm, centred=False), "The moving mean is not subtracted."
            ),
            "gamma_and_beta_swapped": Mistake(
                partial(keras_batch_norm, swapped=True), "gamma and beta are swapped."
            ),
            "beta_forgotten": Mistake(partial(keras_batch_norm, beta=False), "beta is forgotten."),
        },
    ),
]
