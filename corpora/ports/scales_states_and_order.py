"""Constant factors, fixed point, heads, orders of pixels, half precision and recurrent states."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize
from transformers import (
    BertConfig,
    Dinov2Config,
    Glm4MoeConfig,
    GraniteConfig,
    GraniteForCausalLM,
    RecurrentGemmaConfig,
)
from transformers.models.bert.modeling_bert import BertOnlyMLMHead
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeMoE
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
from transformers.models.llama.modeling_llama import eager_attention_forward
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaRecurrentBlock,
)

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
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
from corpora.ports.trained import inputs, tokens, train_keras, train_torch, weights_of

Weights = dict[str, np.ndarray]
HIDDEN = np.float32(-1e9)


def _dense(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5) -> np.ndarray:
    return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def _saturate(codes: np.ndarray, dtype: Any) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.clip(codes, limits.min, limits.max).astype(dtype)


def _int(x: np.ndarray, bits: int) -> np.ndarray:
    """Numbers as integers with so many bits after the point."""
    return np.floor(x * 2**bits + 0.5).astype(np.int32)


def _bf(x: np.ndarray) -> np.ndarray:
    """Float32 rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    bits = bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _as_it_is(x: np.ndarray) -> np.ndarray:
    return x


class InBfloat16(nn.Module):
    """A module of bfloat16 between inputs and outputs of float32."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.to(torch.bfloat16)).float()


def _halves_of(model: Any) -> Weights:
    """The weights of a module of bfloat16, in float32."""
    return {name: tensor.float().numpy() for name, tensor in model.inner.state_dict().items()}


# Granite, a Llama with four constant factors


def build_granite() -> tuple[Any, Any]:
    config = GraniteConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        embedding_multiplier=6.0,
        attention_multiplier=0.11,
        residual_multiplier=0.4,
        logits_scaling=5.0,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return train_torch(GraniteForCausalLM(config), 3101), {
        "input_ids": tokens(3102, 2, 9, vocabulary=32)
    }


def granite(
    model: Any,
    x: Any,
    attention: float = 0.11,
    residuals: tuple[float, float] = (0.4, 0.4),
    logits: float = 1 / 5,
    head: str = "embedding transposed",
    key_heads: str = "each repeated",
    pairs: str = "halves",
) -> np.ndarray:
    w = weights_of(model)
    table = w["model.embed_tokens.weight"]
    h = table[x["input_ids"]] * np.float32(6)
    t = h.shape[1]
    place = np.arange(t)
    angles = (place[:, None] / 10000 ** (np.arange(4) / 4)).astype(np.float32)
    cos, sin = np.cos(angles), np.sin(angles)
    causal = np.where(place[:, None] >= place, np.float32(0), HIDDEN)

    def turn(v: np.ndarray) -> np.ndarray:
        if pairs == "neighbours":
            a, b = v[..., 0::2], v[..., 1::2]
            return np.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(v.shape)
        a, b = np.split(v, 2, -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    for i in range(2):
        p = f"model.layers.{i}"
        y = rms_norm(h, w[f"{p}.input_layernorm.weight"])
        q = turn(split_heads(_dense(y, w, f"{p}.self_attn.q_proj"), 4))
        k = turn(split_heads(_dense(y, w, f"{p}.self_attn.k_proj"), 2))
        v = split_heads(_dense(y, w, f"{p}.self_attn.v_proj"), 2)
        if key_heads == "each repeated":
            k, v = k.repeat(2, 1), v.repeat(2, 1)
        else:
            k, v = np.tile(k, (1, 2, 1, 1)), np.tile(v, (1, 2, 1, 1))
        weights = softmax(q @ k.swapaxes(-1, -2) * np.float32(attention) + causal)
        a = _dense(join_heads(weights @ v), w, f"{p}.self_attn.o_proj")
        h = h + a * np.float32(residuals[0])
        y = rms_norm(h, w[f"{p}.post_attention_layernorm.weight"])
        y = silu(_dense(y, w, f"{p}.mlp.gate_proj")) * _dense(y, w, f"{p}.mlp.up_proj")
        h = h + _dense(y, w, f"{p}.mlp.down_proj") * np.float32(residuals[1])
    h = rms_norm(h, w["model.norm.weight"])
    y = h @ (table.T if head == "embedding transposed" else table)
    return y * np.float32(logits)


# BERT's head of masked words


def build_bert_head() -> tuple[Any, np.ndarray]:
    head = train_torch(BertOnlyMLMHead(BertConfig(hidden_size=32, vocab_size=32)), 3103)
    head.predictions.bias.data = head.predictions.decoder.bias.data.clone()
    return head, inputs(3104, 2, 7, 32)


def bert_head(
    model: Any,
    x: np.ndarray,
    bias: bool = True,
    decoder: str = "decoder",
    order: str = "act then norm",
    arithmetic: str = "float",
) -> np.ndarray:
    w = weights_of(model)
    h = _dense(x, w, "predictions.transform.dense")
    if order == "act then norm":
        h = _norm(gelu(h), w, "predictions.transform.LayerNorm", 1e-12)
    else:
        h = gelu(_norm(h, w, "predictions.transform.LayerNorm", 1e-12))
    table = w["predictions.decoder.weight"]
    if decoder == "transposed":
        table = table.T
    if arithmetic == "int32 accumulators":
        total = _int(h, 8) @ _int(table, 8).T
        return total + _int(w["predictions.bias"], 16)
    y = h @ table.T
    return y + w["predictions.bias"] if bias else y


# A language model of Keras whose embedding is its head too


def build_reversible() -> tuple[Any, Any]:
    ids = keras.Input((8,), dtype="int32", name="ids")
    places = keras.Input((8,), dtype="int32", name="places")
    words = keras.layers.ReversibleEmbedding(24, 24, logit_soft_cap=4.0, name="words")
    table = keras.layers.Embedding(24, 24, name="table")
    h = keras.layers.Add()([words(ids), table(places)])
    h = keras.layers.GRU(24, return_sequences=True, name="gru")(h)
    h = keras.layers.LayerNormalization(name="norm")(h)
    model = train_keras(keras.Model([ids, places], words(h, reverse=True)), 3105)
    x = tokens(3106, 2, 8, vocabulary=24).astype(np.int32)
    return model, (x, np.arange(16, dtype=np.int32).reshape(2, 8))


def _keras_gru(x: np.ndarray, layer: Any, gates: str = "zrh") -> np.ndarray:
    kernel, recurrent, bias = layer.get_weights()
    h = np.zeros((len(x), recurrent.shape[0]), np.float32)
    out = []
    for t in range(x.shape[1]):
        a = dict(zip(gates, np.split(x[:, t] @ kernel + bias[0], 3, -1), strict=True))
        b = dict(zip(gates, np.split(h @ recurrent + bias[1], 3, -1), strict=True))
        z, r = sigmoid(a["z"] + b["z"]), sigmoid(a["r"] + b["r"])
        h = z * h + (1 - z) * np.tanh(a["h"] + r * b["h"])
        out.append(h)
    return np.stack(out, 1)


def reversible(
    model: Any,
    x: Any,
    matrix: str = "words",
    cap: str = "tanh(y / c) * c",
    gates: str = "zrh",
) -> np.ndarray:
    words, table = (model.get_layer(name).get_weights()[0] for name in ("words", "table"))
    h = _keras_gru(words[x[0]] + table[x[1]], model.get_layer("gru"), gates)
    h = layer_norm(h, *model.get_layer("norm").get_weights(), eps=1e-3)
    y = h @ (words if matrix == "words" else table).T
    if cap == "none":
        return y
    y = np.tanh(y / np.float32(4))
    return y if cap == "tanh(y / c)" else y * np.float32(4)


# Logits of images and texts (SigLIP)


class ImageTextLogits(nn.Module):
    """Cosines of images and texts, with SigLIP's scale and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(24, 16, bias=False)
        self.text = nn.Linear(20, 16, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(1))
        self.logit_bias = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        image = nn.functional.normalize(self.image(image), dim=-1)
        text = nn.functional.normalize(self.text(text), dim=-1)
        return image @ text.T * self.logit_scale.exp() + self.logit_bias


def build_logits() -> tuple[Any, Any]:
    model = train_torch(ImageTextLogits(), 3107)
    model.logit_scale.data.fill_(2.3)
    model.logit_bias.data.fill_(-3.7)
    return model, (inputs(3108, 6, 24), inputs(3109, 6, 20))


def image_text(
    model: Any,
    x: Any,
    scale: str = "times exp",
    unit: str = "both",
    codes: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    image, text = linear(x[0], w["image.weight"]), linear(x[1], w["text.weight"])
    image = image / np.linalg.norm(image, axis=-1, keepdims=True)
    if unit == "both":
        text = text / np.linalg.norm(text, axis=-1, keepdims=True)
    y = image @ text.T
    s = w["logit_scale"]
    y = {"times exp": y * np.exp(s), "times": y * s, "none": y}[scale]
    y = y + w["logit_bias"]
    return _saturate(np.round(y * 8), np.int8) if codes else y


# DINOv2


def build_dinov2() -> tuple[Any, np.ndarray]:
    config = Dinov2Config(hidden_size=32, num_attention_heads=4, mlp_ratio=2)
    layer = train_torch(Dinov2Layer(config), 3110)
    layer.layer_scale1.lambda1.data += 0.5
    layer.layer_scale2.lambda1.data += 0.9
    return layer, inputs(3111, 2, 10, 32)


def dinov2(
    model: Any,
    x: np.ndarray,
    scales: tuple[str, str] = ("layer_scale1", "layer_scale2"),
    where: str = "on the branch",
    norms: tuple[str, str] = ("norm1", "norm2"),
    codes: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    first, second = (w[f"{s}.lambda1"] if s else np.float32(1) for s in scales)
    y = _norm(x, w, norms[0], 1e-6)
    q, k, v = (split_heads(_dense(y, w, f"attention.{n}_proj"), 4) for n in "qkv")
    a = softmax(q @ k.swapaxes(-1, -2) / np.float32(8**0.5)) @ v
    a = _dense(join_heads(a), w, "attention.o_proj")
    h = x + a * first if where == "on the branch" else (x + a) * first
    y = _dense(gelu(_dense(_norm(h, w, norms[1], 1e-6), w, "mlp.fc1")), w, "mlp.fc2")
    y = h + y * second if where == "on the branch" else (h + y) * second
    return _saturate(np.floor(y * 1024), np.int16) if codes else y


# GLM 4's experts


def build_glm() -> tuple[Any, np.ndarray]:
    config = Glm4MoeConfig(
        hidden_size=16,
        moe_intermediate_size=12,
        n_routed_experts=8,
        num_experts_per_tok=3,
        n_group=4,
        topk_group=2,
        n_shared_experts=1,
        routed_scaling_factor=2.5,
        norm_topk_prob=True,
    )
    block = train_torch(Glm4MoeMoE(config), 3112, gain=1.5)
    block.experts.gate_up_proj.data *= 4
    block.experts.down_proj.data *= 3
    bias = np.random.default_rng(3113).normal(0, 0.3, 8).astype(np.float32)
    block.gate.e_score_correction_bias.copy_(torch.tensor(bias))
    return block, inputs(3114, 2, 6, 16)


def glm(
    model: Any,
    x: np.ndarray,
    factor: float = 2.5,
    factor_on: str = "routed",
    weights: str = "without bias",
    groups: bool = True,
    halves: str = "gate up",
) -> np.ndarray:
    w = weights_of(model)
    flat = x.reshape(-1, 16)
    score = sigmoid(linear(flat, w["gate.weight"]))
    biased = score + w["gate.e_score_correction_bias"]
    choice = biased
    if groups:
        of_group = biased.reshape(-1, 4, 2).sum(-1)
        best = np.argsort(-of_group, -1)[:, :2]
        kept = np.zeros((len(flat), 4), bool)
        np.put_along_axis(kept, best, True, -1)
        choice = np.where(kept.repeat(2, -1), biased, -np.inf)
    chosen = np.argsort(-choice, -1)[:, :3]
    share = np.take_along_axis(score if weights == "without bias" else biased, chosen, -1)
    share = share / share.sum(-1, keepdims=True)
    y = np.zeros_like(flat)
    for i in range(len(flat)):
        for expert, part in zip(chosen[i], share[i], strict=True):
            gate, up = np.split(w["experts.gate_up_proj"][expert] @ flat[i], 2)
            if halves == "up gate":
                gate, up = up, gate
            y[i] += part * (w["experts.down_proj"][expert] @ (silu(gate) * up))
    hidden = silu(_dense(flat, w, "shared_experts.gate_proj"))
    hidden = hidden * _dense(flat, w, "shared_experts.up_proj")
    common = _dense(hidden, w, "shared_experts.down_proj")
    if factor_on == "routed":
        y = np.float32(factor) * y + common
    else:
        y = np.float32(factor) * (y + common)
    return y.reshape(x.shape)


# RecurrentGemma


class WithoutCache(nn.Module):
    """The recurrent block of RecurrentGemma, which begins each call afresh."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return self.block(x, places, None, use_cache=False)[0]


def build_recurrent_gemma() -> tuple[Any, Any]:
    """One sample is one document, the other goes on with a document and begins another."""
    config = RecurrentGemmaConfig(hidden_size=24, lru_width=24, num_attention_heads=3)
    block = train_torch(RecurrentGemmaRecurrentBlock(config, 0), 3115, gain=1.4)
    block.rg_lru.recurrent_param.data -= 1.5
    places = np.stack([np.arange(10), np.r_[5:9, 0:6]])
    return WithoutCache(block).eval(), (inputs(3116, 2, 10, 24), places)


def recurrent_gemma(
    model: Any,
    x: Any,
    constant: float = 8.0,
    rescaled: str = "but at the first place",
    reset: bool = True,
    start: str = "zeros",
    across: bool = False,
    blocks: str = "in out",
) -> np.ndarray:
    x, places = x
    w = {name.removeprefix("block."): value for name, value in weights_of(model).items()}
    n, t, c = x.shape
    y = gelu_tanh(_dense(x, w, "linear_y"))
    u = np.pad(_dense(x, w, "linear_x"), [(0, 0), (3, 0), (0, 0)])
    taps = w["conv_1d.weight"][:, 0]
    u = sum(u[:, i : i + t] * taps[:, i] for i in range(4)) + w["conv_1d.bias"]
    heads = u.reshape(n, t, 3, 8)

    def gate(name: str) -> np.ndarray:
        matrix = w[f"rg_lru.{name}_gate_weight"]
        if blocks == "out in":
            matrix = matrix.swapaxes(1, 2)
        g = np.einsum("bthi,hij->bthj", heads, matrix) + w[f"rg_lru.{name}_gate_bias"]
        return sigmoid(g.reshape(n, t, c))

    first = (places == 0)[..., None]
    soft = np.logaddexp(np.float32(0), w["rg_lru.recurrent_param"])
    log_a = -np.float32(constant) * gate("recurrent") * soft
    a = np.exp(log_a)
    v = u * gate("input")
    rescale = np.sqrt(1 - np.exp(2 * log_a))
    if rescaled == "but at the first place":
        rescale = np.where(first, np.float32(1), rescale)
    v = v * rescale
    if reset:
        a = np.where(first, np.float32(0), a)
    out = np.zeros_like(u)
    if across:
        state = np.zeros(c, np.float32)
        for b in range(n):
            for i in range(t):
                state = a[b, i] * state + v[b, i]
                out[b, i] = state
    else:
        state = np.zeros_like(u[:, 0]) if start == "zeros" else v[:, 0]
        for i in range(t):
            state = a[:, i] * state + v[:, i]
            out[:, i] = state
    return _dense(out * y, w, "linear_out")


# Preprocessing inside of models


def _pixels(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(120, 60, shape), 0, 255).round().astype(np.float32)


def build_keras_preprocessing() -> tuple[Any, np.ndarray]:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    layers = [
        keras.layers.Rescaling(1 / 255, name="rescale"),
        keras.layers.Normalization(mean=mean, variance=[s * s for s in std], name="normalise"),
        keras.layers.Conv2D(12, 3, 2, "same", activation="relu", name="stem"),
    ]
    model = train_keras(keras.Sequential([keras.Input((16, 16, 3)), *layers]), 3117)
    return model, _pixels(3118, 2, 16, 16, 3)


def keras_preprocessing(
    model: Any,
    x: np.ndarray,
    order: str = "rescale, subtract, divide",
    swapped: bool = False,
    divisor: str = "std",
    pad: tuple[int, int] = (0, 1),
    accumulator: str = "float",
) -> np.ndarray:
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    if swapped:
        mean, std = std, mean
    if divisor == "variance":
        std = std * std
    if order == "rescale, subtract, divide":
        x = (x / np.float32(255) - mean) / std
    else:
        x = (x - mean) / std / np.float32(255)
    kernel, bias = model.get_layer("stem").get_weights()
    x = np.pad(x, [(0, 0), pad, pad, (0, 0)]).transpose(0, 3, 1, 2)
    kernel = kernel.transpose(3, 2, 0, 1)
    if accumulator == "int32":
        total = conv(_int(x, 7), _int(kernel, 7), _int(bias, 14), 2)
        return np.maximum(total, 0).transpose(0, 2, 3, 1)
    return relu(conv(x, kernel, bias, 2)).transpose(0, 2, 3, 1)


class DetectorStem(nn.Module):
    """The first layers of a detector of Caffe's time: BGR, means and deviations of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalize([103.53, 116.28, 123.675], [57.375, 48.12, 64.395])
        self.conv = nn.Conv2d(3, 16, 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(self.normalise(x[:, [2, 1, 0]]))))


def build_detector() -> tuple[Any, np.ndarray]:
    return train_torch(DetectorStem(), 3119), _pixels(3120, 2, 3, 18, 18)


def detector(
    model: Any,
    x: np.ndarray,
    turned: bool = True,
    mean_of: str = "BGR",
    how: str = "(x - mean) / std",
    pad: str = "normalised",
    codes: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    mean = np.array([103.53, 116.28, 123.675], np.float32).reshape(3, 1, 1)
    std = np.array([57.375, 48.12, 64.395], np.float32).reshape(3, 1, 1)
    if turned:
        x = x[:, ::-1]
    if mean_of == "RGB":
        mean = mean[::-1]
    if pad == "pixels":
        x = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)])
    x = (x - mean) / std if how == "(x - mean) / std" else x / std - mean
    y = conv(x, w["conv.weight"], None, 2, 0 if pad == "pixels" else 2)
    y = relu(batch_norm(y, w, "norm"))
    return np.right_shift(_int(y, 12), 4).astype(np.float32) if codes else y


# Orders of pixels


def build_patches() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.Reshape((3, 4, 4, 4, 3)),
        keras.layers.Permute((1, 3, 2, 4, 5)),
        keras.layers.Reshape((12, 48)),
        keras.layers.Dense(24, name="project"),
        keras.layers.LayerNormalization(name="norm"),
    ]
    model = train_keras(keras.Sequential([keras.Input((12, 16, 3)), *layers]), 3121)
    return model, inputs(3122, 2, 12, 16, 3)


def patches(
    model: Any,
    x: np.ndarray,
    axes: tuple[int, ...] = (0, 1, 3, 2, 4, 5),
    cut: bool = True,
) -> np.ndarray:
    parts = x.reshape(2, 3, 4, 4, 4, 3)
    flat = parts.transpose(axes).reshape(2, 12, 48) if cut else x.reshape(2, 12, 48)
    kernel, bias = model.get_layer("project").get_weights()
    return layer_norm(flat @ kernel + bias, *model.get_layer("norm").get_weights(), eps=1e-3)


def build_connector() -> tuple[Any, np.ndarray]:
    """Three fields of a configuration are all that the connector reads."""
    config = SimpleNamespace(
        scale_factor=2,
        vision_config=SimpleNamespace(hidden_size=8),
        text_config=SimpleNamespace(hidden_size=24),
    )
    return train_torch(Idefics3Connector(config), 3123), inputs(3124, 2, 36, 8)


def connector(model: Any, x: np.ndarray, order: str = "row column channel") -> np.ndarray:
    w = weights_of(model)
    grid = x.reshape(2, 3, 2, 3, 2, 8)
    axes = {
        "row column channel": (0, 1, 3, 2, 4, 5),
        "column row channel": (0, 1, 3, 4, 2, 5),
        "channel row column": (0, 1, 3, 5, 2, 4),
        "columns of blocks first": (0, 3, 1, 2, 4, 5),
    }
    if order == "neighbours in the sequence":
        blocks = x.reshape(2, 9, 32)
    else:
        blocks = grid.transpose(axes[order]).reshape(2, 9, 32)
    return linear(blocks, w["modality_projection.proj.weight"])


class Restorer(nn.Module):
    """A small net of super-resolution: pixels unshuffled, EDSR's scaled residual, shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.PixelUnshuffle(2)
        self.head = nn.Conv2d(12, 16, 3, padding=1)
        self.one = nn.Conv2d(16, 16, 3, padding=1)
        self.two = nn.Conv2d(16, 16, 3, padding=1)
        self.tail = nn.Conv2d(16, 12, 3, padding=1)
        self.up = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.head(self.down(x))
        h = h + 0.3 * self.two(torch.relu(self.one(h)))
        return self.up(self.tail(h))


def build_restorer() -> tuple[Any, np.ndarray]:
    return train_torch(Restorer(), 3125), inputs(3126, 2, 3, 12, 12)


def restorer(
    model: Any,
    x: np.ndarray,
    down: str = "channel row column",
    scale: float = 0.3,
    whole: bool = False,
    border: str = "constant",
) -> np.ndarray:
    w = weights_of(model)

    def same(v: np.ndarray, name: str) -> np.ndarray:
        v = np.pad(v, [(0, 0), (0, 0), (1, 1), (1, 1)], mode=border)
        return conv(v, w[f"{name}.weight"], w[f"{name}.bias"])

    cells = x.reshape(2, 3, 6, 2, 6, 2)
    axes = {
        "channel row column": (0, 1, 3, 5, 2, 4),
        "row column channel": (0, 3, 5, 1, 2, 4),
    }
    h = same(cells.transpose(axes[down]).reshape(2, 12, 6, 6), "head")
    y = same(relu(same(h, "one")), "two")
    h = np.float32(scale) * (h + y) if whole else h + np.float32(scale) * y
    y = same(h, "tail")
    return y.reshape(2, 3, 2, 2, 6, 6).transpose(0, 1, 4, 2, 5, 3).reshape(2, 3, 12, 12)


# Half precision


def build_gemma_norm() -> tuple[Any, np.ndarray]:
    norm = train_torch(GemmaRMSNorm(48), 3127)
    return InBfloat16(norm).eval(), inputs(3128, 2, 5, 48, scale=3.0)


def gemma_norm(
    model: Any, x: np.ndarray, cast: str = "at the end", one: str = "added"
) -> np.ndarray:
    gain = _halves_of(model)["weight"]
    x = _bf(x)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-6))
    if one == "added":
        gain = 1 + gain
    if one == "added in bfloat16":
        gain = _bf(1 + gain)
    if cast == "before the gain":
        return _bf(_bf(y) * gain)
    return _bf(y * gain) if cast == "at the end" else y * gain


def build_half_layer_norm() -> tuple[Any, np.ndarray]:
    norm = train_torch(nn.LayerNorm(40), 3129)
    return InBfloat16(norm).eval(), inputs(3130, 2, 6, 40, shift=3.0)


def half_layer_norm(
    model: Any,
    x: np.ndarray,
    normed: Any = _as_it_is,
    scaled: Any = _as_it_is,
    ddof: int = 0,
) -> np.ndarray:
    w = _halves_of(model)
    x = _bf(x)
    d = x - x.mean(-1, keepdims=True)
    var = (d * d).sum(-1, keepdims=True) / np.float32(40 - ddof)
    y = normed(d / np.sqrt(var + np.float32(1e-5)))
    return _bf(scaled(y * w["weight"]) + w["bias"])


class Attention(nn.Module):
    """Attention of four heads with two of keys, by the function that transformers' models call."""

    num_key_value_groups = 2

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(32, 48)
        self.k = nn.Linear(32, 24)
        self.v = nn.Linear(32, 24)
        self.o = nn.Linear(48, 32)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (f(x).view(b, t, -1, 12).transpose(1, 2) for f in (self.q, self.k, self.v))
        hide = torch.full((t, t), -1e9, dtype=x.dtype).triu(1)
        y, _ = eager_attention_forward(self, q, k, v, hide, scaling=12**-0.5)
        return self.o(y.reshape(b, t, 48))


def build_half_attention() -> tuple[Any, np.ndarray]:
    return InBfloat16(train_torch(Attention(), 3131, gain=1.5)).eval(), inputs(3132, 2, 7, 32)


def half_attention(
    model: Any,
    x: np.ndarray,
    softmax_in: str = "float32",
    scores: Any = _bf,
    key_heads: str = "each repeated",
) -> np.ndarray:
    w = _halves_of(model)
    x = _bf(x)
    q, k, v = (split_heads(_bf(_dense(x, w, n)), h) for n, h in (("q", 4), ("k", 2), ("v", 2)))
    if key_heads == "each repeated":
        k, v = k.repeat(2, 1), v.repeat(2, 1)
    else:
        k, v = np.tile(k, (1, 2, 1, 1)), np.tile(v, (1, 2, 1, 1))
    s = scores(scores(q @ k.swapaxes(-1, -2)) * np.float32(12**-0.5))
    place = np.arange(x.shape[1])
    s = np.where(place[:, None] >= place, s, HIDDEN)
    if softmax_in == "float32":
        p = softmax(s)
    else:
        e = _bf(np.exp(_bf(s - s.max(-1, keepdims=True))))
        total = np.zeros_like(e[..., :1])
        for i in range(e.shape[-1]):
            total = _bf(total + e[..., i : i + 1])
        p = e / total
    return _bf(_dense(join_heads(_bf(_bf(p) @ v)), w, "o"))


def build_mixed() -> tuple[Any, np.ndarray]:
    layers = [
        keras.layers.LayerNormalization(dtype="mixed_bfloat16", name="norm"),
        keras.layers.Softmax(dtype="float32", name="softmax"),
        keras.layers.Rescaling(24.0, dtype="float32", name="rescale"),
    ]
    model = train_keras(keras.Sequential([keras.Input((5, 24)), *layers]), 3133)
    return model, inputs(3134, 3, 5, 24, shift=2.0)


def mixed(
    model: Any, x: np.ndarray, given: Any = _as_it_is, normed: Any = _bf, axis: int = -1
) -> np.ndarray:
    gamma, beta = model.get_layer("norm").get_weights()
    y = normed(layer_norm(given(x), gamma, beta, 1e-3))
    return softmax(y, axis) * np.float32(24)


# Recurrent states


class FromGivenState(nn.Module):
    """A recurrent layer of PyTorch that begins with given states."""

    def __init__(self, rnn: Any) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        return self.rnn(x, (h, c))[0]


def build_given_state() -> tuple[Any, Any]:
    rnn = nn.LSTM(8, 10, 2, batch_first=True, bidirectional=True)
    x = inputs(3136, 3, 6, 8), inputs(3137, 4, 3, 10, scale=0.7), inputs(3138, 4, 3, 10)
    return train_torch(FromGivenState(rnn), 3135), x


def given_state(
    model: Any,
    x: Any,
    start: str = "given",
    places: tuple[int, ...] = (0, 1, 2, 3),
    gates: str = "ifgo",
    out: str = "hidden",
) -> np.ndarray:
    w = weights_of(model)
    y, h0, c0 = x
    if start == "h and c exchanged":
        h0, c0 = c0, h0
    for layer in range(2):
        both = []
        for turned in range(2):
            name = f"l{layer}" + "_reverse" * turned
            h, c = (s[places[2 * layer + turned]] for s in (h0, c0))
            bias = w[f"rnn.bias_ih_{name}"] + w[f"rnn.bias_hh_{name}"]
            steps = []
            for i in range(6)[:: -1 if turned else 1]:
                z = y[:, i] @ w[f"rnn.weight_ih_{name}"].T + h @ w[f"rnn.weight_hh_{name}"].T
                z = dict(zip(gates, np.split(z + bias, 4, -1), strict=True))
                c = sigmoid(z["f"]) * c + sigmoid(z["i"]) * np.tanh(z["g"])
                h = sigmoid(z["o"]) * np.tanh(c)
                steps.append(c if out == "cell" else h)
            both.append(np.stack(steps[:: -1 if turned else 1], 1))
        y = np.concatenate(both, -1)
    return _saturate(np.round(y * 32768), np.int16) if out == "int16" else y


def build_translator() -> tuple[Any, Any]:
    source = keras.Input((8,), dtype="int32", name="source")
    target = keras.Input((5,), dtype="int32", name="target")
    h = keras.layers.Embedding(20, 10, mask_zero=True, name="words")(source)
    _, *state = keras.layers.LSTM(12, return_state=True, name="encoder")(h)
    h = keras.layers.Embedding(20, 10, name="targets")(target)
    decoder = keras.layers.LSTM(12, return_sequences=True, name="decoder")
    h = decoder(h, initial_state=state)
    model = keras.Model([source, target], keras.layers.Dense(14, name="head")(h))
    ids = tokens(3140, 3, 8, vocabulary=20).astype(np.int32)
    ids[0, 6:] = ids[1, 3:] = 0
    return train_keras(model, 3139, gain=1.4), (ids, tokens(3141, 3, 5, vocabulary=20).astype("i4"))


def _keras_lstm(
    x: np.ndarray, layer: Any, h: np.ndarray, c: np.ndarray, mask: Any = None, forget: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kernel, recurrent, bias = layer.get_weights()
    out = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, -1)
        new_c = sigmoid(f + np.float32(forget)) * c + sigmoid(i) * np.tanh(g)
        new_h = sigmoid(o) * np.tanh(new_c)
        if mask is not None:
            new_c, new_h = np.where(mask[:, t], new_c, c), np.where(mask[:, t], new_h, h)
        h, c = new_h, new_c
        out.append(h)
    return np.stack(out, 1), h, c


def translator(
    model: Any,
    x: Any,
    masked: bool = True,
    handed: str = "h c",
    forget: float = 0.0,
    bias: bool = True,
    before: str = "nothing",
) -> np.ndarray:
    source, target = x
    of = model.get_layer
    h = c = np.zeros((3, 12), np.float32)
    mask = (source != 0)[..., None] if masked else None
    words = of("words").get_weights()[0][source]
    if before == "the batch itself":
        _, h, c = _keras_lstm(words, of("encoder"), h, c, mask)
    _, h, c = _keras_lstm(words, of("encoder"), h, c, mask, forget)
    state = (h, c) if handed == "h c" else (c, h)
    y, _, _ = _keras_lstm(of("targets").get_weights()[0][target], of("decoder"), *state)
    kernel, offset = of("head").get_weights()
    return y @ kernel + offset if bias else y @ kernel


class StreamingRecogniser(nn.Module):
    """Two layers of GRU over a stream in chunks of four steps, and a layer of scores."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 14, 2, batch_first=True)
        self.score = nn.Linear(14, 10)

    def forward(self, x: Tensor) -> Tensor:
        state, out = None, []
        for chunk in x.split(4, 1):
            y, state = self.rnn(chunk, state)
            out.append(self.score(y))
        return torch.cat(out, 1)


def build_streaming() -> tuple[Any, np.ndarray]:
    return train_torch(StreamingRecogniser(), 3142, gain=1.4), inputs(3143, 3, 14, 8)


def _gru_step(
    y: np.ndarray, h: np.ndarray, w: Weights, update: str = "z h", inner_bias: bool = True
) -> np.ndarray:
    new = []
    for i in range(2):
        a = linear(y, w[f"rnn.weight_ih_l{i}"], w[f"rnn.bias_ih_l{i}"])
        ar, az, an = np.split(a, 3, -1)
        hr, hz, hn = np.split(linear(h[i], w[f"rnn.weight_hh_l{i}"]), 3, -1)
        br, bz, bn = np.split(w[f"rnn.bias_hh_l{i}"], 3)
        r, z = sigmoid(ar + hr + br), sigmoid(az + hz + bz)
        n = np.tanh(an + r * (hn + bn)) if inner_bias else np.tanh(an + bn + r * hn)
        y = z * h[i] + (1 - z) * n if update == "z h" else (1 - z) * h[i] + z * n
        new.append(y)
    return np.stack(new)


def streaming(
    model: Any, x: np.ndarray, kept: str = "both layers", codes: bool = False, **how: Any
) -> np.ndarray:
    w = weights_of(model)
    h = np.zeros((2, len(x), 14), np.float32)
    out = []
    for t in range(x.shape[1]):
        if t % 4 == 0 and kept == "nothing":
            h = np.zeros_like(h)
        if t % 4 == 0 and kept == "the last layer's for both":
            h = np.stack([h[1], h[1]])
        h = _gru_step(x[:, t], h, w, **how)
        out.append(h[1])
    y = _dense(np.stack(out, 1), w, "score")
    return np.floor(y * 4096).astype(np.int32) if codes else y


def streaming_one_after_another(model: Any, x: np.ndarray) -> np.ndarray:
    """The samples of a batch in turn, with one state that no one sets back between them."""
    w = weights_of(model)
    h = np.zeros((2, 1, 14), np.float32)
    out = np.zeros((*x.shape[:2], 14), np.float32)
    for b, sample in enumerate(x):
        for t, step in enumerate(sample):
            h = _gru_step(step[None], h, w)
            out[b, t] = h[1, 0]
    return _dense(out, w, "score")


# Quantised


class FakeQuantisedConv(nn.Module):
    """A convolution of fake-quantised weights and outputs, as training for int8 leaves it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 10, 3, padding=1)
        self.register_buffer("steps", torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        zero = torch.zeros(10, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(
            self.conv.weight, self.steps, zero, 0, -127, 127
        )
        y = nn.functional.conv2d(x, weight, self.conv.bias, padding=1)
        return torch.fake_quantize_per_tensor_affine(y, 0.03, 101, 0, 255)


def build_fake_quantised() -> tuple[Any, np.ndarray]:
    model = train_torch(FakeQuantisedConv(), 3144)
    model.steps.copy_(model.conv.weight.detach().abs().amax((1, 2, 3)) / 127)
    return model, inputs(3145, 2, 4, 8, 8)


def fake_quantised(
    model: Any,
    x: np.ndarray,
    undone: str = "(q - zero) * step",
    rounding: Any = np.round,
    weight_as: str = "real",
) -> np.ndarray:
    w = weights_of(model)
    steps = w["steps"].reshape(-1, 1, 1, 1)
    codes = np.clip(np.round(w["conv.weight"] / steps), -127, 127)
    weight = codes * (steps if weight_as == "real" else steps.max())
    y = conv(x, weight, w["conv.bias"], padding=1)
    step, zero = np.float32(0.03), 101
    q = np.clip(rounding(y / step) + zero, 0, 255)
    if undone == "not at all":
        return q.astype(np.uint8)
    if undone == "q - zero":
        return (q - zero).astype(np.int16)
    return q * step if undone == "q * step" else (q - np.float32(zero)) * step


CASES = [
    Case(
        "granite_language_model",
        build_granite,
        "",
        granite,
        {
            "residual_multiplier_left_out": Mistake(
                partial(granite, residuals=(1.0, 1.0)),
                "The branches are added to the residual whole, without residual_multiplier (a "
                "Llama's code).",
            ),
            "logits_not_scaled": Mistake(
                partial(granite, logits=1.0),
                "The logits are not divided by logits_scaling.",
            ),
            "head_not_transposed": Mistake(
                partial(granite, head="embedding"),
                "The tied head multiplies by the embedding as it lies, which vocabulary and "
                "width of one size allow, and not by its transpose.",
            ),
            "attention_of_root_of_head_size": Mistake(
                partial(granite, attention=8**-0.5),
                "The scores are divided by the root of the head's size, where "
                "attention_multiplier is given.",
            ),
            "rotary_pairs_of_neighbours": Mistake(
                partial(granite, pairs="neighbours"),
                "Rotary positions turn neighbouring features, where they turn those of the halves.",
            ),
        },
    ),
    Case(
        "bert_masked_word_head",
        build_bert_head,
        "",
        bert_head,
        {
            "bias_missing": Mistake(
                partial(bert_head, bias=False),
                "The head's bias for each word is forgotten, only the tied matrix is used.",
            ),
            "decoder_transposed": Mistake(
                partial(bert_head, decoder="transposed"),
                "The decoder's matrix is taken as (in, out), and so is used transposed.",
            ),
            "int32_accumulators": Mistake(
                partial(bert_head, arithmetic="int32 accumulators"),
                "Fixed point: the integer sums of 16 bits after the point are given as they "
                "are, not divided by 2**16.",
            ),
            "norm_before_activation": Mistake(
                partial(bert_head, order="norm then act"),
                "The layer norm of the transform comes before its GELU.",
            ),
        },
    ),
    Case(
        "keras_reversible_language_model",
        build_reversible,
        "",
        reversible,
        {
            "head_is_the_position_table": Mistake(
                partial(reversible, matrix="table"),
                "The head is tied to the table of positions, where it is tied to the words.",
            ),
            "soft_cap_left_out": Mistake(
                partial(reversible, cap="none"),
                "The logits are not capped by 4 * tanh(y / 4).",
            ),
            "soft_cap_not_multiplied_back": Mistake(
                partial(reversible, cap="tanh(y / c)"),
                "The cap's tanh is not multiplied by the cap again.",
            ),
            "gates_in_order_of_torch": Mistake(
                partial(reversible, gates="rzh"),
                "The GRU's gates are read as reset, update, candidate (PyTorch's order).",
            ),
        },
    ),
    Case(
        "siglip_logits",
        build_logits,
        "",
        image_text,
        {
            "logit_scale_left_out": Mistake(
                partial(image_text, scale="none"),
                "The cosines are not multiplied by the logit scale.",
            ),
            "int8_codes": Mistake(
                partial(image_text, codes=True),
                "Fixed point: the logits are given as int8 with three bits after the point, not "
                "divided by 8.",
            ),
            "logit_scale_without_exponential": Mistake(
                partial(image_text, scale="times"),
                "The logit scale is used as it is stored, without its exponential.",
            ),
            "texts_not_normalised": Mistake(
                partial(image_text, unit="images"),
                "Only the images are brought to length 1.",
            ),
        },
    ),
    Case(
        "dinov2_layer",
        build_dinov2,
        "",
        dinov2,
        {
            "layer_scales_left_out": Mistake(
                partial(dinov2, scales=("", "")),
                "Both branches are added without their layer scales.",
            ),
            "int16_codes": Mistake(
                partial(dinov2, codes=True),
                "Fixed point: the output is int16 with ten bits after the point, not divided "
                "by 1024.",
            ),
            "first_layer_scale_for_both": Mistake(
                partial(dinov2, scales=("layer_scale1", "layer_scale1")),
                "The MLP's branch is scaled by the attention's layer scale.",
            ),
            "layer_scale_of_the_sum": Mistake(
                partial(dinov2, where="on the sum"),
                "The layer scales multiply the sum with the residual, not the branch.",
            ),
            "first_norm_for_both": Mistake(
                partial(dinov2, norms=("norm1", "norm1")),
                "norm1 is used before the MLP too.",
            ),
        },
    ),
    Case(
        "glm4_experts",
        build_glm,
        "",
        glm,
        {
            "routed_scaling_left_out": Mistake(
                partial(glm, factor=1.0),
                "The routed experts are not multiplied by routed_scaling_factor.",
            ),
            "shared_expert_scaled_too": Mistake(
                partial(glm, factor_on="both"),
                "routed_scaling_factor multiplies the whole output, the shared expert with it.",
            ),
            "shares_with_correction_bias": Mistake(
                partial(glm, weights="with bias"),
                "The shares are of the scores with the correction bias, which is for the "
                "choice alone.",
            ),
            "groups_ignored": Mistake(
                partial(glm, groups=False),
                "The best three experts of all are chosen, not those of the best two groups.",
            ),
            "gate_and_up_swapped": Mistake(
                partial(glm, halves="up gate"),
                "The halves of gate_up_proj are read as up and then gate.",
            ),
        },
    ),
    Case(
        "recurrent_gemma_block",
        build_recurrent_gemma,
        "block",
        recurrent_gemma,
        {
            "constant_8_left_out": Mistake(
                partial(recurrent_gemma, constant=1.0),
                "The exponent of the decay is not multiplied by the constant 8.",
            ),
            "state_carried_between_samples": Mistake(
                partial(recurrent_gemma, across=True),
                "The samples of the batch run one after another with one state, which is not "
                "set back.",
            ),
            "state_begins_as_first_input": Mistake(
                partial(recurrent_gemma, start="first input"),
                "The state begins as the first input, where it begins at zero.",
            ),
            "first_place_rescaled": Mistake(
                partial(recurrent_gemma, rescaled="everywhere"),
                "The input is multiplied by sqrt(1 - a**2) at the first place of a document too.",
            ),
            "state_kept_over_documents": Mistake(
                partial(recurrent_gemma, reset=False),
                "The state is not set back where position 0 begins another document in a sample.",
            ),
            "gate_blocks_transposed": Mistake(
                partial(recurrent_gemma, blocks="out in"),
                "The gates' blocks are taken as (out, in), as of a Linear, where they are "
                "(in, out).",
            ),
        },
    ),
    Case(
        "keras_preprocessing_stem",
        build_keras_preprocessing,
        "",
        keras_preprocessing,
        {
            "mean_and_std_exchanged": Mistake(
                partial(keras_preprocessing, swapped=True),
                "The deviations are subtracted, and the means divide.",
            ),
            "normalised_before_rescaling": Mistake(
                partial(keras_preprocessing, order="subtract, divide, rescale"),
                "The pixels of 0 to 255 are normalised by means and deviations of 0 to 1, and "
                "divided by 255 after.",
            ),
            "int32_accumulators": Mistake(
                partial(keras_preprocessing, accumulator="int32"),
                "Fixed point: pixels, kernel and bias are integers, and the sums of 14 bits "
                "after the point are given without the shift back.",
            ),
            "divided_by_variance": Mistake(
                partial(keras_preprocessing, divisor="variance"),
                "It is divided by the variance, which the layer keeps, and not by its root.",
            ),
            "padded_before": Mistake(
                partial(keras_preprocessing, pad=(1, 0)),
                'The padding of one is put before rows and columns, where "same" with stride 2 '
                "puts it after.",
            ),
        },
    ),
    Case(
        "detector_bgr_stem",
        build_detector,
        "",
        detector,
        {
            "means_in_order_of_rgb": Mistake(
                partial(detector, mean_of="RGB"),
                "The means are turned to red, green, blue, where the pixels are blue, green, "
                "red by then.",
            ),
            "divided_before_subtracted": Mistake(
                partial(detector, how="x / std - mean"),
                "The pixels are divided by the deviation before the mean is subtracted.",
            ),
            "shifted_back_by_4_of_12_bits": Mistake(
                partial(detector, codes=True),
                "Fixed point: the integers have 12 bits after the point and are shifted back "
                "by only 4.",
            ),
            "channels_not_turned": Mistake(
                partial(detector, turned=False),
                "The channels stay red, green, blue; the model turns them.",
            ),
            "padded_before_normalising": Mistake(
                partial(detector, pad="pixels"),
                "The picture is padded with pixels of 0 before it is normalised, where the "
                "padding is of normalised zeros.",
            ),
        },
    ),
    Case(
        "keras_patches_by_reshape",
        build_patches,
        "norm",
        patches,
        {
            "pixels_channels_first": Mistake(
                partial(patches, axes=(0, 1, 3, 5, 2, 4)),
                "The pixels of a patch are flattened as (channel, row, column), where they "
                "are (row, column, channel).",
            ),
            "pixels_by_columns": Mistake(
                partial(patches, axes=(0, 1, 3, 4, 2, 5)),
                "The pixels of a patch are flattened column by column, where they are row by row.",
            ),
            "patches_by_columns": Mistake(
                partial(patches, axes=(0, 3, 1, 2, 4, 5)),
                "The patches are counted column by column, where they are row by row.",
            ),
            "strips_for_patches": Mistake(
                partial(patches, cut=False),
                "The picture is reshaped to rows of 48 numbers without the transpose: strips "
                "of rows, not patches.",
            ),
        },
    ),
    Case(
        "idefics3_connector",
        build_connector,
        "",
        connector,
        {
            "block_by_columns": Mistake(
                partial(connector, order="column row channel"),
                "The four tokens of a block are joined column by column, where they are row "
                "by row.",
            ),
            "block_channels_first": Mistake(
                partial(connector, order="channel row column"),
                "A block is flattened channel by channel, as torch's pixel_unshuffle has it, "
                "where it is token by token.",
            ),
            "neighbours_in_the_sequence": Mistake(
                partial(connector, order="neighbours in the sequence"),
                "Four tokens next to each other in the sequence are joined, where it is "
                "squares of the grid.",
            ),
            "blocks_counted_by_columns": Mistake(
                partial(connector, order="columns of blocks first"),
                "The joined tokens are given column by column, where they are row by row.",
            ),
        },
    ),
    Case(
        "super_resolution_net",
        build_restorer,
        "",
        restorer,
        {
            "unshuffled_channels_last": Mistake(
                partial(restorer, down="row column channel"),
                "The unshuffled channels are (row, column, channel), TensorFlow's "
                "space_to_depth, where they are (channel, row, column).",
            ),
            "residual_scale_left_out": Mistake(
                partial(restorer, scale=1.0),
                "The residual branch is added whole, without EDSR's scale of 0.3.",
            ),
            "residual_scale_on_the_sum": Mistake(
                partial(restorer, whole=True),
                "The scale of 0.3 multiplies the sum with the residual, not the branch.",
            ),
            "borders_replicated": Mistake(
                partial(restorer, border="edge"),
                "The convolutions' borders are replicated, where they are padded with zeros.",
            ),
        },
    ),
    Case(
        "gemma_rms_norm_bfloat16",
        build_gemma_norm,
        "",
        gemma_norm,
        {
            "cast_before_the_gain": Mistake(
                partial(gemma_norm, cast="before the gain"),
                "The normalised values are rounded to bfloat16 before the product with the "
                "gain (Llama's order); Gemma rounds once, after it.",
            ),
            "never_cast_back": Mistake(
                partial(gemma_norm, cast="never"),
                "The result stays float32, it is not rounded to bfloat16.",
            ),
            "one_added_in_bfloat16": Mistake(
                partial(gemma_norm, one="added in bfloat16"),
                "The 1 is added to the gain in bfloat16, where it is added in float32.",
            ),
            "one_not_added": Mistake(
                partial(gemma_norm, one="forgotten"),
                "The gain is the weight itself, where it is 1 + weight.",
            ),
        },
    ),
    Case(
        "torch_layer_norm_bfloat16",
        build_half_layer_norm,
        "",
        half_layer_norm,
        {
            "rounded_before_gain_and_bias": Mistake(
                partial(half_layer_norm, normed=_bf),
                "The normalised values are rounded to bfloat16 before gain and bias; PyTorch "
                "rounds once, at the end.",
            ),
            "product_rounded_before_bias": Mistake(
                partial(half_layer_norm, scaled=_bf),
                "The product with the gain is rounded to bfloat16 before the bias is added.",
            ),
            "variance_over_n_minus_1": Mistake(
                partial(half_layer_norm, ddof=1),
                "The variance is divided by n - 1, where it is n.",
            ),
        },
    ),
    Case(
        "attention_bfloat16",
        build_half_attention,
        "",
        half_attention,
        {
            "softmax_in_bfloat16": Mistake(
                partial(half_attention, softmax_in="bfloat16"),
                "The softmax is of bfloat16 throughout, exponentials and their sum, where it "
                "is of float32.",
            ),
            "scores_in_float32": Mistake(
                partial(half_attention, scores=_as_it_is),
                "The scores stay float32 up to the softmax, where they are rounded to "
                "bfloat16 before and after the scale.",
            ),
            "key_heads_tiled": Mistake(
                partial(half_attention, key_heads="tiled"),
                "The heads of keys and values are tiled (0, 1, 0, 1), where each is repeated "
                "(0, 0, 1, 1).",
            ),
        },
    ),
    Case(
        "keras_layer_norm_mixed_bfloat16",
        build_mixed,
        "",
        mixed,
        {
            "norm_not_rounded": Mistake(
                partial(mixed, normed=_as_it_is),
                "The norm's output stays float32, where it is rounded to bfloat16 for the softmax.",
            ),
            "input_rounded_too": Mistake(
                partial(mixed, given=_bf),
                "The input is rounded to bfloat16 before the norm, as layers of this policy cast "
                "theirs; this one computes with the float32 given, and rounds its output.",
            ),
            "softmax_over_steps": Mistake(
                partial(mixed, axis=1),
                "The softmax is over the steps, where it is over the features.",
            ),
        },
    ),
    Case(
        "torch_lstm_from_given_states",
        build_given_state,
        "",
        given_state,
        {
            "h_and_c_exchanged": Mistake(
                partial(given_state, start="h and c exchanged"),
                "The given hidden and cell states are exchanged.",
            ),
            "directions_exchanged": Mistake(
                partial(given_state, places=(1, 0, 3, 2)),
                "The given states of forward and backward are exchanged in each layer.",
            ),
            "layers_before_directions": Mistake(
                partial(given_state, places=(0, 2, 1, 3)),
                "The given states are read as both layers forward, then both backward, where "
                "each layer has forward and backward in turn.",
            ),
            "cell_for_hidden": Mistake(
                partial(given_state, out="cell"),
                "Each layer gives its cell state, where it gives the hidden state.",
            ),
            "int16_codes": Mistake(
                partial(given_state, out="int16"),
                "Fixed point: the hidden states are given as int16 with 15 bits after the point.",
            ),
            "gates_i_g_f_o": Mistake(
                partial(given_state, gates="igfo"),
                "The gates are read as input, candidate, forget, output, where forget is the "
                "second.",
            ),
        },
    ),
    Case(
        "keras_translator",
        build_translator,
        "",
        translator,
        {
            "state_of_the_last_padded_step": Mistake(
                partial(translator, masked=False),
                "The encoder runs on over the padding, so the decoder begins with the state "
                "after it, not with that of the last word.",
            ),
            "state_handed_over_exchanged": Mistake(
                partial(translator, handed="c h"),
                "The decoder's hidden state begins as the encoder's cell state, and the other "
                "way round.",
            ),
            "state_left_of_the_batch_before": Mistake(
                partial(translator, before="the batch itself"),
                "The encoder begins with the state that a run of the batch before left (the "
                "same batch, to warm up).",
            ),
            "forget_bias_added_again": Mistake(
                partial(translator, forget=1.0),
                "1 is added to the encoder's forget gate, where unit_forget_bias only sets "
                "how training begins.",
            ),
            "head_without_bias": Mistake(
                partial(translator, bias=False),
                "The bias of the head is forgotten.",
            ),
        },
    ),
    Case(
        "torch_gru_in_chunks",
        build_streaming,
        "",
        streaming,
        {
            "state_reset_at_each_chunk": Mistake(
                partial(streaming, kept="nothing"),
                "Each chunk of four steps begins with a state of zeros.",
            ),
            "last_state_for_both_layers": Mistake(
                partial(streaming, kept="the last layer's for both"),
                "The next chunk begins in both layers with the last layer's state.",
            ),
            "state_carried_between_samples": Mistake(
                streaming_one_after_another,
                "The samples of the batch run one after another with one state, which is not "
                "set back.",
            ),
            "int32_codes": Mistake(
                partial(streaming, codes=True),
                "Fixed point: the scores are given as integers with twelve bits after the point.",
            ),
            "update_gate_turned_round": Mistake(
                partial(streaming, update="z n"),
                "The update gate weighs the candidate, where it weighs the old state.",
            ),
            "recurrent_bias_outside_reset": Mistake(
                partial(streaming, inner_bias=False),
                "The candidate's recurrent bias is added outside of the product with the "
                "reset gate.",
            ),
        },
    ),
    Case(
        "fake_quantised_convolution",
        build_fake_quantised,
        "",
        fake_quantised,
        {
            "uint8_codes": Mistake(
                partial(fake_quantised, undone="not at all"),
                "The codes of uint8 are given, where their real values are.",
            ),
            "zero_point_undone_step_not": Mistake(
                partial(fake_quantised, undone="q - zero"),
                "The zero point is subtracted from the codes, and they are not multiplied by "
                "the step.",
            ),
            "zero_point_not_undone": Mistake(
                partial(fake_quantised, undone="q * step"),
                "The codes are multiplied by the step without the zero point subtracted.",
            ),
            "codes_floored": Mistake(
                partial(fake_quantised, rounding=np.floor),
                "The codes are floored, where they are rounded.",
            ),
            "one_step_for_all_weights": Mistake(
                partial(fake_quantised, weight_as="largest step"),
                "The weights' codes are multiplied by the largest of the outputs' steps, "
                "where each output has its own.",
            ),
        },
    ),
]
