"""Blocks of networks held out: written without knowing what a diagnosis can name."""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomModel,
    ConvNextConfig,
    GPT2Config,
    GPT2Model,
    PhiConfig,
    PhiModel,
    Qwen2Config,
    Qwen2Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2ConformerConfig,
)
from transformers.models.convnext.modeling_convnext import ConvNextLayer
from transformers.models.t5.modeling_t5 import T5LayerFF
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerConvolutionModule,
)

from corpora.ports.case import Case, Mistake
from corpora.ports.held_out_layers import (
    correlate,
    draw,
    logistic,
    read,
    settle_keras,
    settle_torch,
    soft_max,
)

Weights = dict[str, np.ndarray]
erf = np.vectorize(math.erf, otypes=[np.float32])


def ids(seed: int, *shape: int, top: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, top, shape)


def exact_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def quick_gelu(x: np.ndarray) -> np.ndarray:
    return x * logistic(1.702 * x)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def silu(x: np.ndarray) -> np.ndarray:
    return x * logistic(x)


def dense(x: np.ndarray, w: Weights, name: str, bias: bool = True) -> np.ndarray:
    y = x @ w[name + ".weight"].T
    return y + w[name + ".bias"] if bias else y


def layer_norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return y * w[name + ".weight"] + w[name + ".bias"]


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def fixed_norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5) -> np.ndarray:
    """Batch normalisation in evaluation, channels second."""
    shape = (-1,) + (1,) * (x.ndim - 2)
    mean, var = (w[f"{name}.running_{part}"].reshape(shape) for part in ("mean", "var"))
    gain, bias = (w[f"{name}.{part}"].reshape(shape) for part in ("weight", "bias"))
    return (x - mean) / np.sqrt(var + eps) * gain + bias


def split_heads(x: np.ndarray, n: int) -> np.ndarray:
    return x.reshape(*x.shape[:2], n, -1).swapaxes(1, 2)


def merge_heads(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, seen: np.ndarray | None = None
) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) * scale
    if seen is not None:
        scores = np.where(seen, scores, np.float32(-1e30))
    return merge_heads(soft_max(scores) @ v)


def attention(
    w: Weights,
    name: str,
    x: np.ndarray,
    other: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> np.ndarray:
    """nn.MultiheadAttention of two heads."""
    other = x if other is None else other
    wq, wk, wv = np.split(w[name + ".in_proj_weight"], 3)
    bq, bk, bv = np.split(w[name + ".in_proj_bias"], 3)
    q, k, v = x @ wq.T + bq, other @ wk.T + bk, other @ wv.T + bv
    scale = (x.shape[-1] // 2) ** -0.5
    y = attend(split_heads(q, 2), split_heads(k, 2), split_heads(v, 2), scale, seen)
    return dense(y, w, name + ".out_proj")


# Blocks of PyTorch modules.


class Residual(nn.Module):
    """A basic block of a ResNet, that halves the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, 2, bias=False), nn.BatchNorm2d(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def build_residual() -> tuple[Any, np.ndarray]:
    return settle_torch(Residual(), 9101), draw(9102, 2, 4, 8, 8)


def residual(
    model: Any,
    x: np.ndarray,
    last: str = "after",
    short: str = "shortcut",
    short_norm: bool = True,
    second: str = "bn2",
    phase: int = 0,
) -> np.ndarray:
    w = read(model)
    pad = [(0, 0), (0, 0), (1, 1), (1, 1)]
    mid = relu(fixed_norm(correlate(np.pad(x, pad), w["conv1.weight"], stride=2), w, "bn1"))
    y = fixed_norm(correlate(np.pad(mid, pad), w["conv2.weight"]), w, second)
    if short == "mid":
        skip = mid
    else:
        skip = correlate(x[:, :, phase:, phase:], w["shortcut.0.weight"], stride=2)
        skip = fixed_norm(skip, w, "shortcut.1") if short_norm else skip
    if last == "before":
        return relu(y) + skip
    return y + skip if last == "none" else relu(y + skip)


class Excite(nn.Module):
    """Squeeze and excitation as MobileNetV3 has it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(8, 4, 1)
        self.fc2 = nn.Conv2d(4, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = nn.functional.adaptive_avg_pool2d(x, 1)
        s = nn.functional.hardsigmoid(self.fc2(torch.relu(self.fc1(s))))
        return x * s


def build_excite() -> tuple[Any, np.ndarray]:
    model = settle_torch(Excite(), 9145)
    with torch.no_grad():
        model.fc2.weight.mul_(3)
    return model, draw(9104, 2, 8, 5, 4, shift=0.6)


def excite(
    model: Any, x: np.ndarray, gate: str = "hard", pool: str = "mean", act: Any = relu
) -> np.ndarray:
    w = read(model)
    s = x.mean((2, 3)) if pool == "mean" else x.max((2, 3))
    s = act(s @ w["fc1.weight"][:, :, 0, 0].T + w["fc1.bias"])
    s = s @ w["fc2.weight"][:, :, 0, 0].T + w["fc2.bias"]
    if gate == "hard":
        s = np.clip(s + 3, 0, 6) / 6
    elif gate == "keras 2":
        s = np.clip(0.2 * s + 0.5, 0, 1)
    else:
        s = logistic(s)
    return x * s[:, :, None, None]


class Gated(nn.Module):
    """A gated MLP with its two first matrices in one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(10, eps=1e-3)
        self.gate_up = nn.Linear(10, 24)
        self.down = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up(self.norm(x)).chunk(2, dim=-1)
        return x + self.down(nn.functional.silu(gate) * up)


def build_gated() -> tuple[Any, np.ndarray]:
    return settle_torch(Gated(), 9105), draw(9106, 2, 5, 10)


def gated(
    model: Any,
    x: np.ndarray,
    halves: str = "gate, up",
    act: Any = silu,
    skip: str = "input",
    bias: bool = True,
) -> np.ndarray:
    w = read(model)
    normed = layer_norm(x, w, "norm", 1e-3)
    both = dense(normed, w, "gate_up", bias)
    if halves == "interleaved":
        gate, up = both[..., ::2], both[..., 1::2]
    else:
        gate, up = np.split(both, 2, axis=-1)
    if halves == "up, gate":
        gate, up = up, gate
    y = dense(act(gate) * up, w, "down")
    return (x if skip == "input" else normed) + y


def build_encoder() -> tuple[Any, np.ndarray]:
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, activation="gelu", layer_norm_eps=5e-2, batch_first=True
    )
    return settle_torch(layer, 9107), draw(9108, 2, 5, 8)


def encoder(
    model: Any,
    x: np.ndarray,
    first: bool = False,
    act: Any = exact_gelu,
    eps: float = 5e-2,
    second: str = "norm2",
    skip: str = "attended",
) -> np.ndarray:
    w = read(model)

    def feed(a: np.ndarray) -> np.ndarray:
        return dense(act(dense(a, w, "linear1")), w, "linear2")

    if first:
        x = x + attention(w, "self_attn", layer_norm(x, w, "norm1", eps))
        return x + feed(layer_norm(x, w, second, eps))
    y = layer_norm(x + attention(w, "self_attn", x), w, "norm1", eps)
    return layer_norm((x if skip == "input" else y) + feed(y), w, second, eps)


def build_decoder() -> tuple[Any, Any]:
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    hidden = ~np.tri(4, dtype=bool)
    return settle_torch(layer, 9109), (draw(9110, 2, 4, 8), draw(9111, 2, 6, 8), hidden)


def decoder(
    model: Any,
    x: Any,
    look: str = "past",
    memory_norm: bool = False,
    order: str = "cross first",
    cross_skip: str = "y",
    final_norm: bool = True,
) -> np.ndarray:
    tgt, memory, hidden = x
    w = read(model)
    seen = {"past": ~hidden, "future": ~hidden.T, "all": None}[look]
    y = tgt + attention(w, "self_attn", layer_norm(tgt, w, "norm1"), seen=seen)
    if memory_norm:
        memory = layer_norm(memory, w, "norm2")

    def cross(a: np.ndarray) -> np.ndarray:
        return attention(w, "multihead_attn", layer_norm(a, w, "norm2"), memory)

    def feed(a: np.ndarray) -> np.ndarray:
        a = layer_norm(a, w, "norm3") if final_norm else a
        return dense(relu(dense(a, w, "linear1")), w, "linear2")

    if order == "feed first":
        y = y + feed(y)
        return y + cross(y)
    y = (y if cross_skip == "y" else tgt) + cross(y)
    return y + feed(y)


# Blocks out of transformers.


def build_gpt2() -> tuple[Any, Any]:
    config = GPT2Config(
        vocab_size=30, n_positions=12, n_embd=16, n_layer=2, n_head=2, n_inner=24, use_cache=False
    )
    return settle_torch(GPT2Model(config), 9112), {"input_ids": ids(9113, 2, 6)}


def gpt2_block(
    w: Weights,
    x: np.ndarray,
    at: str,
    act: Any = tanh_gelu,
    split: str = "thirds",
    turn: bool = False,
    causal: bool = True,
    skip: str = "stream",
    neighbour: bool = False,
) -> np.ndarray:
    normed = layer_norm(x, w, at + "ln_1")
    qkv = normed @ w[at + "attn.c_attn.weight"] + w[at + "attn.c_attn.bias"]
    if split == "per head":
        q, k, v = qkv.reshape(2, -1, 2, 3, 8).transpose(3, 0, 2, 1, 4)
    else:
        q, k, v = (split_heads(part, 2) for part in np.split(qkv, 3, axis=-1))
    seen = np.tri(x.shape[1], dtype=bool) if causal else None
    a = attend(q, k, v, 8**-0.5, seen)
    matrix = w[at + "attn.c_proj.weight"]
    x = x + a @ (matrix.T if turn else matrix) + w[at + "attn.c_proj.bias"]
    normed = layer_norm(x, w, at + "ln_2")
    mlp = "h.0.mlp." if neighbour else at + "mlp."
    y = act(normed @ w[mlp + "c_fc.weight"] + w[mlp + "c_fc.bias"])
    y = y @ w[mlp + "c_proj.weight"] + w[mlp + "c_proj.bias"]
    return y + (x if skip == "stream" else normed)


def gpt2(model: Any, x: Any, **changes: Any) -> np.ndarray:
    w = read(model)
    hidden = w["wte.weight"][x["input_ids"]] + w["wpe.weight"][:6]
    hidden = gpt2_block(w, hidden, "h.0.")
    return gpt2_block(w, hidden, "h.1.", **changes)


def turned(
    x: np.ndarray,
    dims: int,
    theta: float,
    pairs: str = "halves",
    sign: int = 1,
    over: int | None = None,
) -> np.ndarray:
    """Rotary positions on the first `dims` of a head."""
    frequency = theta ** -(np.arange(0, dims, 2) / (over or dims))
    angle = np.arange(x.shape[2])[:, None] * frequency
    cos, sin = np.cos(angle).astype(np.float32), sign * np.sin(angle).astype(np.float32)
    rotated, rest = x[..., :dims], x[..., dims:]
    if pairs == "interleaved":
        a, b = rotated[..., ::2], rotated[..., 1::2]
        y = np.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(rotated.shape)
    else:
        a, b = np.split(rotated, 2, axis=-1)
        y = np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    return np.concatenate([y, rest], -1)


def build_phi() -> tuple[Any, Any]:
    config = PhiConfig(
        vocab_size=30,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        use_cache=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    return settle_torch(PhiModel(config), 9114), {"input_ids": ids(9115, 2, 9)}


def phi(
    model: Any,
    x: Any,
    dims: int = 8,
    pairs: str = "halves",
    over: int | None = None,
    bias: bool = True,
    last: bool = False,
) -> np.ndarray:
    w = read(model)
    hidden = layer_norm(w["embed_tokens.weight"][x["input_ids"]], w, "layers.0.input_layernorm")
    at = "layers.0.self_attn."
    q, k, v = (split_heads(dense(hidden, w, f"{at}{part}_proj"), 2) for part in "qkv")
    if last:
        q, k = q[..., ::-1], k[..., ::-1]
    q, k = turned(q, dims, 1e4, pairs, over=over), turned(k, dims, 1e4, pairs, over=over)
    y = attend(q, k, v, 16**-0.5, np.tri(9, dtype=bool))
    return dense(y, w, at + "dense", bias).astype(np.float32)


def build_qwen() -> tuple[Any, Any]:
    config = Qwen2Config(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        rms_norm_eps=1e-2,
        use_cache=False,
    )
    return settle_torch(Qwen2Model(config), 9116), {"input_ids": ids(9117, 2, 8)}


def qwen(
    model: Any,
    x: Any,
    groups: str = "repeat",
    theta: float = 100.0,
    signs: tuple[int, int] = (1, 1),
    eps: float = 1e-2,
    biases: str = "qkv",
    diagonal: int = 0,
) -> np.ndarray:
    w = read(model)
    hidden = w["embed_tokens.weight"][x["input_ids"]]
    hidden = rms_norm(hidden, w["layers.0.input_layernorm.weight"], eps)
    at = "layers.0.self_attn."
    q, k, v = (
        split_heads(dense(hidden, w, f"{at}{part}_proj", part in biases), heads)
        for part, heads in zip("qkv", (4, 2, 2), strict=True)
    )
    q, k = turned(q, 4, theta, sign=signs[0]), turned(k, 4, theta, sign=signs[1])
    if groups == "tile":
        k, v = np.tile(k, (1, 2, 1, 1)), np.tile(v, (1, 2, 1, 1))
    else:
        k, v = k.repeat(2, 1), v.repeat(2, 1)
    y = attend(q, k, v, 0.5, np.tri(8, k=diagonal, dtype=bool))
    return dense(y, w, at + "o_proj", False).astype(np.float32)


def build_t5_feed() -> tuple[Any, np.ndarray]:
    config = T5Config(d_model=16, d_ff=24, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-3)
    return settle_torch(T5LayerFF(config), 9118), draw(9119, 2, 5, 16, scale=0.5, shift=0.2)


def t5_feed(
    model: Any,
    x: np.ndarray,
    act: Any = tanh_gelu,
    gate: str = "wi_0",
    centred: bool = False,
    skip: str = "input",
) -> np.ndarray:
    w = read(model)
    start = x - x.mean(-1, keepdims=True) if centred else x
    normed = rms_norm(start, w["layer_norm.weight"], 1e-3)
    up = "wi_1" if gate == "wi_0" else "wi_0"
    at = "DenseReluDense."
    y = act(dense(normed, w, at + gate, False)) * dense(normed, w, at + up, False)
    y = dense(y, w, at + "wo", False)
    return y if skip == "none" else y + (x if skip == "input" else normed)


def build_t5_attention() -> tuple[Any, Any]:
    config = T5Config(
        vocab_size=30,
        d_model=12,
        d_kv=5,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
    )
    return settle_torch(T5EncoderModel(config), 9120), {"input_ids": ids(9121, 2, 14)}


def t5_attention(
    model: Any,
    x: Any,
    scale: float = 1.0,
    sign: int = 1,
    both_ways: bool = True,
    logarithm: bool = True,
    offset: int = 1,
) -> np.ndarray:
    w = read(model)
    hidden = w["shared.weight"][x["input_ids"]]
    at = "encoder.block.0.layer.0."
    normed = rms_norm(hidden, w[at + "layer_norm.weight"])
    q, k, v = (split_heads(dense(normed, w, f"{at}SelfAttention.{p}", False), 2) for p in "qkv")
    away = sign * (np.arange(14)[None] - np.arange(14)[:, None])
    buckets, first = 8, np.zeros_like(away)
    if both_ways:
        buckets, first = 4, (away >= offset) * 4
        away = np.abs(away)
    else:
        away = np.maximum(-away, 0)
    exact = buckets // 2
    far = np.log(np.maximum(away, 1) / exact) / math.log(16 / exact) * (buckets - exact)
    far = exact + far.astype(int) if logarithm else away
    bucket = first + np.where(away < exact, away, np.minimum(far, buckets - 1))
    bias = w[at + "SelfAttention.relative_attention_bias.weight"][bucket].transpose(2, 0, 1)
    y = merge_heads(soft_max(q @ k.swapaxes(-1, -2) * np.float32(scale) + bias) @ v)
    return hidden + dense(y, w, at + "SelfAttention.o", False)


def build_vit() -> tuple[Any, np.ndarray]:
    config = ViTConfig(
        hidden_size=10,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        image_size=12,
        patch_size=4,
    )
    return settle_torch(ViTModel(config), 9122), draw(9123, 2, 3, 12, 12)


def vit(
    model: Any,
    x: np.ndarray,
    walk: str = "rows",
    token: str = "first",
    positions: str = "all",
    turn: bool = False,
) -> np.ndarray:
    w = {name.removeprefix("embeddings."): value for name, value in read(model).items()}
    kernel = w["patch_embeddings.projection.weight"]
    kernel = kernel.swapaxes(2, 3) if turn else kernel
    patches = x.reshape(2, 3, 3, 4, 3, 4)
    y = np.einsum("bchiwj,ocij->bhwo", patches, kernel)
    y = y + w["patch_embeddings.projection.bias"]
    y = (y.swapaxes(1, 2) if walk == "columns" else y).reshape(2, 9, 10)
    table = w["position_embeddings"]
    cls = np.repeat(w["cls_token"], 2, axis=0)
    if positions == "patches":
        return np.concatenate([cls, y + table[:, 1:]], 1)
    if positions == "shifted":
        return np.concatenate([cls + table[:, -1:], y + table[:, :-1]], 1)
    return np.concatenate([cls, y] if token == "first" else [y, cls], 1) + table


def build_convnext() -> tuple[Any, np.ndarray]:
    return settle_torch(ConvNextLayer(ConvNextConfig(), 6), 9124), draw(9125, 2, 6, 9, 8)


def convnext(
    model: Any,
    x: np.ndarray,
    act: Any = exact_gelu,
    scale: bool = True,
    over: tuple[int, ...] = (3,),
    skip: str = "input",
    mode: Any = "constant",
) -> np.ndarray:
    w = read(model)
    y = np.pad(x, [(0, 0), (0, 0), (3, 3), (3, 3)], mode=mode)
    y = correlate(y, w["dwconv.weight"], groups=6) + w["dwconv.bias"][:, None, None]
    local = y
    y = y.transpose(0, 2, 3, 1)
    y = (y - y.mean(over, keepdims=True)) / np.sqrt(y.var(over, keepdims=True) + 1e-6)
    y = y * w["layernorm.weight"] + w["layernorm.bias"]
    y = dense(act(dense(y, w, "pwconv1")), w, "pwconv2")
    y = y * w["layer_scale_parameter"] if scale else y
    return y.transpose(0, 3, 1, 2) + (x if skip == "input" else local)


def build_roberta() -> tuple[Any, Any]:
    config = RobertaConfig(
        vocab_size=30,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
        type_vocab_size=2,
        layer_norm_eps=1e-2,
    )
    words = ids(9127, 2, 8)
    words[0, 6:] = 1
    words[1, :3] = 1
    return settle_torch(RobertaModel(config), 9126), {"input_ids": words}


def roberta(
    model: Any,
    x: Any,
    count: str = "words",
    first: int = 2,
    kind: int | None = 0,
    eps: float = 1e-2,
) -> np.ndarray:
    w = {n.removeprefix("embeddings."): value for n, value in read(model).items()}
    words = x["input_ids"]
    used = (words != 1).astype(int)
    if count == "words":
        at = (np.cumsum(used, 1) - 1 + first) * used + (1 - used)
    else:
        at = np.broadcast_to(np.arange(8) + first, words.shape)
    y = w["word_embeddings.weight"][words] + w["position_embeddings.weight"][at]
    if kind is not None:
        y = y + w["token_type_embeddings.weight"][kind]
    return layer_norm(y, w, "LayerNorm", eps)


def build_bloom() -> tuple[Any, Any]:
    config = BloomConfig(vocab_size=30, hidden_size=16, n_layer=1, n_head=4, use_cache=False)
    return settle_torch(BloomModel(config), 9128), {"input_ids": ids(9129, 2, 7)}


def bloom(
    model: Any,
    x: Any,
    split: str = "per head",
    base: float = 8.0,
    first: int = 1,
    sign: int = 1,
    skip: str = "stream",
    residual_from: str = "embedding",
) -> np.ndarray:
    w = read(model)
    hidden = w["word_embeddings.weight"][x["input_ids"]]
    hidden = layer_norm(hidden, w, "word_embeddings_layernorm")
    normed = layer_norm(hidden, w, "h.0.input_layernorm")
    at = "h.0.self_attention."
    qkv = dense(normed, w, at + "query_key_value")
    if split == "per head":
        q, k, v = qkv.reshape(2, 7, 4, 3, 4).transpose(3, 0, 2, 1, 4)
    else:
        q, k, v = qkv.reshape(2, 7, 3, 4, 4).transpose(2, 0, 3, 1, 4)
    slopes = 2.0 ** (-base / 4 * np.arange(first, first + 4))
    lean = sign * slopes[:, None, None] * np.arange(7)
    scores = q @ k.swapaxes(-1, -2) * 0.5 + lean.astype(np.float32)
    scores = np.where(np.tri(7, dtype=bool), scores, np.float32(-1e30))
    y = dense(merge_heads(soft_max(scores) @ v), w, at + "dense")
    if skip == "none":
        return y
    return y + (hidden if residual_from == "embedding" else normed)


def build_conformer() -> tuple[Any, np.ndarray]:
    config = Wav2Vec2ConformerConfig(
        hidden_size=8, conv_depthwise_kernel_size=5, hidden_act="swish", num_attention_heads=2
    )
    model = Wav2Vec2ConformerConvolutionModule(config)
    return settle_torch(model, 9130), draw(9131, 2, 9, 8)


def conformer(
    model: Any,
    x: np.ndarray,
    left: int = 2,
    halves: tuple[int, int] = (0, 1),
    act: Any = silu,
    order: str = "norm, act",
    norm: str = "fixed",
) -> np.ndarray:
    w = read(model)
    y = layer_norm(x, w, "layer_norm").swapaxes(1, 2)
    y = np.einsum("oc,bct->bot", w["pointwise_conv1.weight"][:, :, 0], y)
    parts = np.split(y, 2, axis=1)
    y = parts[halves[0]] * logistic(parts[halves[1]])
    y = np.pad(y, [(0, 0), (0, 0), (left, 4 - left)])
    y = correlate(y, w["depthwise_conv.weight"], groups=8)
    if norm == "live":
        w["batch_norm.running_mean"] = y.mean((0, 2))
        w["batch_norm.running_var"] = y.var((0, 2))
    if order == "norm, act":
        y = act(fixed_norm(y, w, "batch_norm"))
    else:
        y = fixed_norm(act(y), w, "batch_norm")
    y = np.einsum("oc,bct->bot", w["pointwise_conv2.weight"][:, :, 0], y)
    return y.swapaxes(1, 2)


# A block of Keras.


def build_inverted() -> tuple[Any, np.ndarray]:
    layers = keras.layers
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(12, 1, use_bias=False, name="expand")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization(name="expand_bn")(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depth")(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization(name="depth_bn")(y))
    y = layers.Conv2D(4, 1, use_bias=False, name="project")(y)
    y = layers.BatchNormalization(name="project_bn")(y)
    model = settle_keras(keras.Model(x, layers.Add()([x, y])), 9132)
    for name in ("expand_bn", "depth_bn"):
        gamma, beta, mean, var = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([3 * gamma, beta, mean, 0.05 * var])
    return model, draw(9133, 2, 6, 6, 4)


def inverted(
    model: Any,
    x: np.ndarray,
    cap: float = 6.0,
    eps: float = 1e-3,
    last: bool = False,
    turn: bool = False,
    swap: bool = False,
    skip: bool = True,
) -> np.ndarray:
    def norm(y: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, var = model.get_layer(name).get_weights()
        if swap:
            beta, mean = mean, beta
        return (y - mean) / np.sqrt(var + eps) * gamma + beta

    (expand,), (depth,), (project,) = (
        model.get_layer(name).get_weights() for name in ("expand", "depth", "project")
    )
    y = np.clip(norm(x @ expand[0, 0], "expand_bn"), 0, cap)
    kernel = depth[:, :, :, 0].transpose(2, 1, 0) if turn else depth[:, :, :, 0].transpose(2, 0, 1)
    y = np.pad(y, [(0, 0), (1, 1), (1, 1), (0, 0)]).transpose(0, 3, 1, 2)
    y = correlate(y, kernel[:, None], groups=12).transpose(0, 2, 3, 1)
    y = np.clip(norm(y, "depth_bn"), 0, cap)
    y = norm(y @ project[0, 0], "project_bn")
    if last:
        y = np.clip(y, 0, cap)
    return x + y if skip else y


CASES = [
    Case(
        "held_residual_block",
        build_residual,
        "",
        residual,
        {
            "relu_first": Mistake(partial(residual, last="before"), "ReLU before the addition"),
            "no_relu": Mistake(partial(residual, last="none"), "no ReLU at the end"),
            "from_mid": Mistake(
                partial(residual, short="mid"), "the residual is what the first half puts out"
            ),
            "bare_shortcut": Mistake(
                partial(residual, short_norm=False), "no normalisation in the shortcut"
            ),
            "neighbour": Mistake(partial(residual, second="bn1"), "bn1's weights for bn2"),
            "phase": Mistake(partial(residual, phase=1), "the shortcut samples odd pixels"),
            "bare_no_relu": Mistake(
                partial(residual, short_norm=False, last="before"),
                "no normalisation in the shortcut, and ReLU before the addition",
                2,
            ),
        },
    ),
    Case(
        "held_squeeze_excite",
        build_excite,
        "",
        excite,
        {
            "sigmoid": Mistake(partial(excite, gate="sigmoid"), "sigmoid, not hard sigmoid"),
            "keras2": Mistake(partial(excite, gate="keras 2"), "hard sigmoid of 0.2 x + 0.5"),
            "max": Mistake(partial(excite, pool="max"), "squeezes by the maximum"),
            "silu": Mistake(partial(excite, act=silu), "SiLU within, not ReLU"),
        },
    ),
    Case(
        "held_gated_mlp",
        build_gated,
        "",
        gated,
        {
            "swapped": Mistake(partial(gated, halves="up, gate"), "the halves are swapped"),
            "interleaved": Mistake(partial(gated, halves="interleaved"), "halves interleaved"),
            "gelu": Mistake(partial(gated, act=exact_gelu), "GELU for SiLU"),
            "normed_skip": Mistake(partial(gated, skip="normed"), "the residual is normalised"),
            "sigmoid_no_bias": Mistake(
                partial(gated, act=logistic, bias=False),
                "sigmoid for SiLU, and no bias of the first matrix",
                2,
            ),
        },
    ),
    Case(
        "held_encoder_layer",
        build_encoder,
        "",
        encoder,
        {
            "norm_first": Mistake(partial(encoder, first=True), "norms before, not after"),
            "relu": Mistake(partial(encoder, act=relu), "ReLU for GELU"),
            "eps": Mistake(partial(encoder, eps=1e-5), "epsilon 1e-5, not 5e-2"),
            "neighbour": Mistake(partial(encoder, second="norm1"), "norm1 in place of norm2"),
            "skip": Mistake(partial(encoder, skip="input"), "second residual from the input"),
        },
    ),
    Case(
        "held_decoder_layer",
        build_decoder,
        "",
        decoder,
        {
            "future": Mistake(partial(decoder, look="future"), "the mask transposed"),
            "unmasked": Mistake(partial(decoder, look="all"), "no mask"),
            "memory_norm": Mistake(partial(decoder, memory_norm=True), "the memory is normalised"),
            "order": Mistake(
                partial(decoder, order="feed first"), "feed-forward before cross-attention"
            ),
            "skip": Mistake(
                partial(decoder, cross_skip="tgt"), "cross-attention's residual from the input"
            ),
            "unmasked_no_norm": Mistake(
                partial(decoder, look="all", final_norm=False), "no mask, and norm3 left out", 2
            ),
        },
    ),
    Case(
        "held_gpt2_block",
        build_gpt2,
        "h.1",
        gpt2,
        {
            "quick": Mistake(partial(gpt2, act=quick_gelu), "GELU by 1.702 x, not by tanh"),
            "per_head": Mistake(partial(gpt2, split="per head"), "q, k, v split within each head"),
            "turned": Mistake(partial(gpt2, turn=True), "attention's c_proj transposed"),
            "open": Mistake(partial(gpt2, causal=False), "no causal mask"),
            "skip": Mistake(partial(gpt2, skip="normed"), "the MLP's residual is normalised"),
            "neighbour": Mistake(partial(gpt2, neighbour=True), "the MLP of h.0"),
        },
    ),
    Case(
        "held_phi_attention",
        build_phi,
        "layers.0.self_attn",
        phi,
        {
            "whole": Mistake(partial(phi, dims=16), "the whole head is rotated"),
            "interleaved": Mistake(partial(phi, pairs="interleaved"), "neighbours are paired"),
            "frequencies": Mistake(
                partial(phi, over=16), "frequencies over the head's width, not the rotated part"
            ),
            "last": Mistake(partial(phi, last=True), "the end of the head is rotated"),
            "frequencies_bias": Mistake(
                partial(phi, over=16, bias=False),
                "frequencies over the head's width, and no bias of dense",
                2,
            ),
        },
    ),
    Case(
        "held_qwen2_attention",
        build_qwen,
        "layers.0.self_attn",
        qwen,
        {
            "tiled": Mistake(partial(qwen, groups="tile"), "key heads tiled, not repeated"),
            "theta": Mistake(partial(qwen, theta=10000.0), "rope theta 10000, not 100"),
            "sign": Mistake(partial(qwen, signs=(-1, -1)), "rotated the other way"),
            "keys_still": Mistake(partial(qwen, signs=(1, 0)), "keys have no sine part"),
            "eps": Mistake(partial(qwen, eps=1e-6), "the norm's epsilon 1e-6, not 1e-2"),
            "no_bias": Mistake(partial(qwen, biases="k"), "no biases of q and v", 2),
            "one_ahead": Mistake(partial(qwen, diagonal=1), "the mask lets one step ahead"),
        },
    ),
    Case(
        "held_t5_feed_forward",
        build_t5_feed,
        "",
        t5_feed,
        {
            "swapped": Mistake(partial(t5_feed, gate="wi_1"), "wi_0 and wi_1 swapped"),
            "relu": Mistake(partial(t5_feed, act=relu), "ReLU for GELU"),
            "centred": Mistake(partial(t5_feed, centred=True), "the norm subtracts the mean"),
            "no_skip": Mistake(partial(t5_feed, skip="none"), "no residual"),
            "normed_skip": Mistake(partial(t5_feed, skip="normed"), "the residual is normalised"),
        },
    ),
    Case(
        "held_t5_attention",
        build_t5_attention,
        "encoder.block.0.layer.0",
        t5_attention,
        {
            "scaled": Mistake(partial(t5_attention, scale=5**-0.5), "scaled by root d_kv"),
            "sign": Mistake(partial(t5_attention, sign=-1), "query minus key for the distance"),
            "one_way": Mistake(partial(t5_attention, both_ways=False), "the decoder's buckets"),
            "linear": Mistake(partial(t5_attention, logarithm=False), "no logarithmic buckets"),
            "diagonal": Mistake(
                partial(t5_attention, offset=0), "distance 0 counts as ahead: >= for >"
            ),
        },
    ),
    Case(
        "held_vit_embeddings",
        build_vit,
        "embeddings",
        vit,
        {
            "columns": Mistake(partial(vit, walk="columns"), "patches taken column by column"),
            "token_last": Mistake(partial(vit, token="last"), "the class token comes last"),
            "shifted": Mistake(partial(vit, positions="shifted"), "positions shifted by one"),
            "bare_token": Mistake(
                partial(vit, positions="patches"), "no position for the class token"
            ),
            "turned": Mistake(partial(vit, turn=True), "the kernel's height and width swapped"),
        },
    ),
    Case(
        "held_convnext_layer",
        build_convnext,
        "",
        convnext,
        {
            "no_scale": Mistake(partial(convnext, scale=False), "no layer scale"),
            "axes": Mistake(partial(convnext, over=(1, 2, 3)), "statistics of the whole picture"),
            "spatial": Mistake(partial(convnext, over=(1, 2)), "statistics of each channel"),
            "skip": Mistake(partial(convnext, skip="local"), "residual after the depthwise part"),
            "relu": Mistake(partial(convnext, act=relu), "ReLU for GELU"),
            "border": Mistake(partial(convnext, mode="edge"), "the border repeated, not zero"),
        },
    ),
    Case(
        "held_roberta_embeddings",
        build_roberta,
        "embeddings",
        roberta,
        {
            "plain": Mistake(partial(roberta, count="all"), "padding is counted in positions"),
            "from_one": Mistake(partial(roberta, first=1), "positions begin at padding_idx"),
            "no_kind": Mistake(partial(roberta, kind=None), "no token type embedding"),
            "other_kind": Mistake(partial(roberta, kind=1), "the other token type"),
            "eps": Mistake(partial(roberta, eps=1e-12), "epsilon 1e-12, not 1e-2"),
            "plain_no_kind": Mistake(
                partial(roberta, count="all", kind=None),
                "padding is counted in positions, and no token type",
                2,
            ),
        },
    ),
    Case(
        "held_bloom_attention",
        build_bloom,
        "h.0.self_attention",
        bloom,
        {
            "thirds": Mistake(partial(bloom, split="thirds"), "q, k, v split in thirds"),
            "slopes": Mistake(partial(bloom, base=4.0), "slopes 2^(-4/n), not 2^(-8/n)"),
            "first": Mistake(partial(bloom, first=0), "slopes begin with 1"),
            "sign": Mistake(partial(bloom, sign=-1), "the bias leans away from the near"),
            "no_skip": Mistake(partial(bloom, skip="none"), "no residual"),
            "normed_skip": Mistake(
                partial(bloom, residual_from="normed"), "the residual is normalised"
            ),
        },
    ),
    Case(
        "held_conformer_convolution",
        build_conformer,
        "",
        conformer,
        {
            "causal": Mistake(partial(conformer, left=4), "padded before only"),
            "swapped": Mistake(partial(conformer, halves=(1, 0)), "the GLU's halves swapped"),
            "gelu": Mistake(partial(conformer, act=exact_gelu), "GELU for SiLU"),
            "order": Mistake(partial(conformer, order="act, norm"), "activation before the norm"),
            "live": Mistake(partial(conformer, norm="live"), "statistics of the batch"),
            "causal_relu": Mistake(
                partial(conformer, left=4, act=relu), "padded before only, and ReLU for SiLU", 2
            ),
        },
    ),
    Case(
        "held_keras_inverted_residual",
        build_inverted,
        "",
        inverted,
        {
            "relu": Mistake(partial(inverted, cap=np.inf), "ReLU without its limit of 6"),
            "eps": Mistake(partial(inverted, eps=1e-5), "epsilon 1e-5, not 1e-3"),
            "active": Mistake(partial(inverted, last=True), "ReLU6 after the projection as well"),
            "turned": Mistake(partial(inverted, turn=True), "depthwise kernel's axes swapped"),
            "swapped": Mistake(partial(inverted, swap=True), "beta and moving mean swapped"),
            "no_skip": Mistake(partial(inverted, skip=False), "no residual"),
            "eps_relu": Mistake(
                partial(inverted, eps=1e-5, cap=np.inf), "epsilon 1e-5, and no limit of 6", 2
            ),
        },
    ),
]
