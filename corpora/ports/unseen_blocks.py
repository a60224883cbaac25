"""Ports of blocks that nothing was tuned on, right and with the mistakes people make."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import transformers as tf
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torchvision.models import convnext, densenet, efficientnet, resnet, shufflenetv2
from torchvision.models import swin_transformer as swin
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from corpora.ports.case import Case, Mistake

Array = np.ndarray

# ---------------------------------------------------------------- building


def shake(
    model: nn.Module,
    seed: int,
    gain: float = 1.3,
    norm: float = 1.0,
    var: tuple[float, float] = (0.5, 1.5),
) -> nn.Module:
    """Give every parameter and statistic a generic value."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if p.dim() >= 2:
                fan = p.shape[-1] if p.dim() == 3 else math.prod(p.shape[1:])
                p.copy_(noise * gain / math.sqrt(fan))
            elif name.endswith("weight"):
                p.copy_(norm + 0.3 * noise)
            else:
                p.copy_(0.3 * noise)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "correction_bias")):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=rng))
            elif name.endswith("running_var"):
                low, high = var
                buffer.copy_(low + (high - low) * torch.rand(buffer.shape, generator=rng))
    return model.eval()


def tokens(seed: int, batch: int, length: int, vocab: int) -> Array:
    """Random tokens, none of them the first three."""
    return np.random.default_rng(seed).integers(3, vocab, (batch, length))


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Random numbers."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def enters(model: nn.Module, x: Any, layer: str) -> Array:
    """What enters a layer when its model runs."""
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).detach().clone())

    module = model.get_submodule(layer)
    hook = module.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        if isinstance(x, dict):
            model(**{name: torch.tensor(value) for name, value in x.items()})
        else:
            model(*(torch.tensor(value) for value in (x if isinstance(x, tuple) else (x,))))
    hook.remove()
    return seen[0].numpy()


# ---------------------------------------------------------------- pieces


def npy(p: torch.Tensor) -> Array:
    """A parameter as an array."""
    return p.detach().numpy()


def lin(x: Array, m: nn.Module) -> Array:
    """A linear layer."""
    y = x @ npy(m.weight).T
    return y if m.bias is None else y + npy(m.bias)


def layer_norm(x: Array, m: Any, eps: float) -> Array:
    """Layer norm with the module's weight and, if any, its bias."""
    mean = x.mean(-1, keepdims=True)
    y = (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)
    y = y * npy(m.weight)
    bias = getattr(m, "bias", None)
    return y if bias is None else y + npy(bias)


def rms_norm(x: Array, w: Array, eps: float) -> Array:
    """Root mean square norm."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def silu(x: Array) -> Array:
    """x times its logistic."""
    return x * sigmoid(x)


def relu(x: Array) -> Array:
    """The positive part."""
    return np.maximum(x, 0)


def gelu(x: Array) -> Array:
    """The exact GELU."""
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float32])(x / math.sqrt(2)))


def gelu_tanh(x: Array) -> Array:
    """The GELU by tanh."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def quick_gelu(x: Array) -> Array:
    """The GELU by a logistic."""
    return x * sigmoid(1.702 * x)


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def heads(x: Array, size: int) -> Array:
    """[b, s, heads * size] to [b, heads, s, size]."""
    return x.reshape(*x.shape[:2], -1, size).transpose(0, 2, 1, 3)


def merge(x: Array) -> Array:
    """[b, heads, s, size] to [b, s, heads * size]."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def causal(length: int, window: int | None = None) -> Array:
    """What each position sees: itself and what precedes it, at most `window` of them."""
    back = np.arange(length)[:, None] - np.arange(length)[None, :]
    return (back >= 0) & (back < (window or length))


def attend(
    q: Array, k: Array, v: Array, scale: float, seen: Array | None = None, bias: Any = 0.0
) -> Array:
    """Attention of heads, merged."""
    scores = q @ k.swapaxes(-1, -2) * scale + bias
    if seen is not None:
        scores = np.where(seen, scores, np.finfo(np.float32).min)
    return merge(softmax(scores) @ v)


def angles(length: int, size: int, base: float) -> Array:
    """The rotary angles, [s, size / 2]."""
    return np.arange(length)[:, None] * base ** (-np.arange(0, size, 2) / size)


def rope(
    x: Array, base: float, size: int | None = None, pairs: bool = False, sign: float = 1.0
) -> Array:
    """Rotate the first `size` numbers of each head, by halves or by neighbouring pairs."""
    size = size or x.shape[-1]
    a = angles(x.shape[-2], size, base).astype(np.float32)
    cos, sin = np.cos(a), sign * np.sin(a)
    rest, y = x[..., size:], x[..., :size]
    first, second = (
        (y[..., ::2], y[..., 1::2]) if pairs else (y[..., : size // 2], y[..., size // 2 :])
    )
    turned = [first * cos - second * sin, second * cos + first * sin]
    z = np.stack(turned, -1).reshape(y.shape) if pairs else np.concatenate(turned, -1)
    return np.concatenate([z, rest], -1)


def share(x: Array, times: int, tile: bool = False) -> Array:
    """Give each head of keys or values to `times` heads of queries."""
    return np.tile(x, (1, times, 1, 1)) if tile else np.repeat(x, times, axis=1)


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: int = 1,
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
) -> Array:
    """Convolve [n, c, h, w] by [out, in / groups, kh, kw]; pad is top, bottom, left, right."""
    x = np.pad(x, ((0, 0), (0, 0), pad[:2], pad[2:]))
    s = sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    s = s.reshape(s.shape[0], groups, -1, *s.shape[2:])
    y = np.einsum("ngchwij,gocij->ngohw", s, w.reshape(groups, -1, *w.shape[1:]), optimize=True)
    y = y.reshape(y.shape[0], -1, *y.shape[3:])
    return y if b is None else y + b[:, None, None]


def conv(x: Array, m: nn.Conv2d, flip: bool = False, stride: int | None = None) -> Array:
    """What a Conv2d does."""
    w = npy(m.weight)
    w = w[:, :, ::-1, ::-1] if flip else w
    p = m.padding[0]
    b = None if m.bias is None else npy(m.bias)
    return conv2d(x, w, b, stride or m.stride[0], (p, p, p, p), m.groups)


def batch_norm(x: Array, m: nn.BatchNorm2d, eps: float = 1e-5) -> Array:
    """What a BatchNorm2d does when it does not train."""
    scale = npy(m.weight) / np.sqrt(npy(m.running_var) + eps)
    shift = npy(m.bias) - npy(m.running_mean) * scale
    return x * scale[:, None, None] + shift[:, None, None]


# ---------------------------------------------------------------- Gemma 2


def build_gemma2() -> tuple[Any, Any]:
    """A decoder layer with a window, soft capping and four norms."""
    config = tf.Gemma2Config(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=44,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        query_pre_attn_scalar=20,
        sliding_window=5,
        attn_logit_softcapping=2.0,
        attn_implementation="eager",
    )
    model = shake(tf.Gemma2Model(config), 1, norm=0.2)
    return model, {"input_ids": tokens(1, 2, 13, 61)}


def gemma2(
    model: Any,
    x: Any,
    offset: float = 1.0,
    embed_scale: bool = True,
    scalar: float = 20.0,
    window: int | None = 5,
    cap: str = "right",
    norms: str = "right",
    act: Callable[[Array], Array] = gelu_tanh,
) -> Array:
    """Layer 0."""
    m = model.layers[0]
    a = m.self_attn
    h = npy(model.embed_tokens.weight)[x["input_ids"]]
    h = h * math.sqrt(32) if embed_scale else h

    def norm(y: Array, n: Any) -> Array:
        return rms_norm(y, offset + npy(n.weight), 1e-6)

    n = norm(h, m.input_layernorm)
    q = rope(heads(lin(n, a.q_proj), 12), 10000.0)
    k = share(rope(heads(lin(n, a.k_proj), 12), 10000.0), 2)
    v = share(heads(lin(n, a.v_proj), 12), 2)
    s = q @ k.swapaxes(-1, -2) / math.sqrt(scalar)
    seen = causal(13, window)
    if cap == "right":
        s = np.tanh(s / 2) * 2
    if cap == "last":
        s = np.tanh(np.where(seen, s, -1e9) / 2) * 2
    else:
        s = np.where(seen, s, -1e9)
    o = lin(merge(softmax(s) @ v), a.o_proj)
    if norms == "llama":
        h = h + o
        n = norm(h, m.post_attention_layernorm)
    elif norms == "outside":
        h = norm(h + o, m.post_attention_layernorm)
        n = norm(h, m.pre_feedforward_layernorm)
    else:
        h = h + norm(o, m.post_attention_layernorm)
        n = norm(h, m.pre_feedforward_layernorm)
    f = lin(act(lin(n, m.mlp.gate_proj)) * lin(n, m.mlp.up_proj), m.mlp.down_proj)
    return h + (f if norms == "llama" else norm(f, m.post_feedforward_layernorm))


GEMMA2 = Case(
    "unseen_gemma2_layer",
    build_gemma2,
    "layers.0",
    gemma2,
    {
        "no_offset": Mistake(
            partial(gemma2, offset=0.0), "The norms multiply by the weight, not by one plus it."
        ),
        "no_embed_scale": Mistake(
            partial(gemma2, embed_scale=False), "The embeddings are not scaled by sqrt(hidden)."
        ),
        "head_scale": Mistake(
            partial(gemma2, scalar=12.0), "Scores are scaled by the head size, as in Llama."
        ),
        "no_cap": Mistake(partial(gemma2, cap="none"), "The attention scores are not soft capped."),
        "mask_before_cap": Mistake(
            partial(gemma2, cap="last"), "The mask is applied before the cap, which undoes it."
        ),
        "silu": Mistake(partial(gemma2, act=silu), "The activation is SiLU, as in Llama."),
        "no_window": Mistake(
            partial(gemma2, window=None), "The sliding layer attends to all that precedes."
        ),
        "norms_outside": Mistake(
            partial(gemma2, norms="outside"),
            "The norm after attention is applied to the sum with the residual.",
        ),
        "no_window_no_cap": Mistake(
            partial(gemma2, window=None, cap="none"),
            "Neither the window nor the soft cap is there.",
            causes=2,
        ),
    },
)

# ---------------------------------------------------------------- GPT-NeoX


def build_neox() -> tuple[Any, Any]:
    """A decoder layer with parallel residuals and rotary on a part of each head."""
    config = tf.GPTNeoXConfig(
        vocab_size=57,
        hidden_size=48,
        intermediate_size=72,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=64,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        attn_implementation="eager",
    )
    return shake(tf.GPTNeoXModel(config), 2), {"input_ids": tokens(2, 2, 12, 57)}


def neox(
    model: Any,
    x: Any,
    layout: str = "heads",
    rotary: str = "part",
    parallel: bool = True,
    shared_norm: bool = False,
) -> Array:
    """Layer 0."""
    m = model.layers[0]
    h = npy(model.embed_in.weight)[x["input_ids"]]
    n = layer_norm(h, m.input_layernorm, 1e-5)
    qkv = lin(n, m.attention.query_key_value)
    if layout == "heads":
        q, k, v = np.split(heads(qkv, 36), 3, axis=-1)
    else:
        q, k, v = (heads(part, 12) for part in np.split(qkv, 3, axis=-1))
    if rotary == "part":
        q, k = rope(q, 10000.0, 6), rope(k, 10000.0, 6)
    elif rotary == "all":
        q, k = rope(q, 10000.0), rope(k, 10000.0)
    elif rotary == "pairs":
        q, k = rope(q, 10000.0, 6, pairs=True), rope(k, 10000.0, 6, pairs=True)
    else:
        q, k = (np.concatenate([y[..., :6], rope(y[..., 6:], 10000.0)], axis=-1) for y in (q, k))
    o = lin(attend(q, k, v, 12**-0.5, causal(12)), m.attention.dense)
    n = h if parallel else h + o
    n = layer_norm(n, m.input_layernorm if shared_norm else m.post_attention_layernorm, 1e-5)
    return h + o + lin(gelu(lin(n, m.mlp.dense_h_to_4h)), m.mlp.dense_4h_to_h)


NEOX = Case(
    "unseen_gpt_neox_layer",
    build_neox,
    "layers.0",
    neox,
    {
        "flat_qkv": Mistake(
            partial(neox, layout="flat"),
            "The fused projection is split into thirds rather than within each head.",
        ),
        "rotary_all": Mistake(
            partial(neox, rotary="all"), "The whole head is rotated, not its first half."
        ),
        "rotary_tail": Mistake(
            partial(neox, rotary="tail"), "The last half of each head is rotated, not the first."
        ),
        "rotary_pairs": Mistake(
            partial(neox, rotary="pairs"), "Neighbours are rotated together, as in GPT-J."
        ),
        "sequential": Mistake(
            partial(neox, parallel=False), "The MLP reads what attention has been added to."
        ),
        "shared_norm": Mistake(
            partial(neox, shared_norm=True), "Both branches read the first norm, as in GPT-J."
        ),
    },
)

# ---------------------------------------------------------------- Falcon


def build_falcon() -> tuple[Any, Any]:
    """A decoder layer of the newer architecture: grouped heads, two norms in parallel."""
    config = tf.FalconConfig(
        vocab_size=53,
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=6,
        num_kv_heads=2,
        new_decoder_architecture=True,
        bias=True,
        ffn_hidden_size=80,
        attn_implementation="eager",
    )
    return shake(tf.FalconModel(config), 3), {"input_ids": tokens(3, 2, 11, 53)}


def falcon(
    model: Any,
    x: Any,
    layout: str = "groups",
    tile: bool = False,
    norms: tuple[str, str] = ("ln_attn", "ln_mlp"),
    rotate: tuple[bool, bool] = (True, True),
    residual: str = "input",
) -> Array:
    """Layer 0."""
    m = model.h[0]
    h = npy(model.word_embeddings.weight)[x["input_ids"]]
    n, n_mlp = (layer_norm(h, getattr(m, name), 1e-5) for name in norms)
    qkv = lin(n, m.self_attention.query_key_value)
    if layout == "groups":
        group = qkv.reshape(2, 11, 2, 5, 8)
        q = group[:, :, :, :3].reshape(2, 11, 6, 8).transpose(0, 2, 1, 3)
        k, v = (group[:, :, :, i].transpose(0, 2, 1, 3) for i in (3, 4))
    else:
        q, k, v = (heads(part, 8) for part in np.split(qkv, [48, 64], axis=-1))
    q = rope(q, 10000.0) if rotate[0] else q
    k = rope(k, 10000.0) if rotate[1] else k
    k, v = share(k, 3, tile), share(v, 3, tile)
    o = lin(attend(q, k, v, 8**-0.5, causal(11)), m.self_attention.dense)
    f = lin(gelu(lin(n_mlp, m.mlp.dense_h_to_4h)), m.mlp.dense_4h_to_h)
    return o + f + (h if residual == "input" else n)


FALCON = Case(
    "unseen_falcon_layer",
    build_falcon,
    "h.0",
    falcon,
    {
        "flat_qkv": Mistake(
            partial(falcon, layout="flat"),
            "All queries are taken first, then all keys, then all values, not group by group.",
        ),
        "tiled_kv": Mistake(
            partial(falcon, tile=True), "The keys and values are tiled, not repeated, over heads."
        ),
        "one_norm": Mistake(
            partial(falcon, norms=("ln_attn", "ln_attn")),
            "The MLP reads attention's norm, as in Falcon 7B.",
        ),
        "swapped_norms": Mistake(
            partial(falcon, norms=("ln_mlp", "ln_attn")), "The two norms are swapped."
        ),
        "key_not_rotated": Mistake(
            partial(falcon, rotate=(True, False)), "Only the queries are rotated."
        ),
        "normed_residual": Mistake(
            partial(falcon, residual="normed"), "The residual is taken after the norm."
        ),
    },
)

# ---------------------------------------------------------------- MPT


def build_mpt() -> tuple[Any, Any]:
    """A block with ALiBi over a number of heads that is no power of two, and clipped QKV."""
    config = tf.MptConfig(
        vocab_size=51,
        d_model=36,
        n_heads=6,
        n_layers=1,
        max_seq_len=24,
        attn_config={"clip_qkv": 1.0},
        attn_implementation="eager",
    )
    return shake(tf.MptModel(config), 4), {"input_ids": tokens(4, 2, 14, 51)}


def mpt(
    model: Any,
    x: Any,
    slopes: str = "mpt",
    order: str = "after",
    sign: float = 1.0,
    clip: str = "qkv",
) -> Array:
    """Block 0."""
    m = model.blocks[0]
    h = npy(model.wte.weight)[x["input_ids"]]
    qkv = layer_norm(h, m.norm_1, 1e-5) @ npy(m.attn.Wqkv.weight).T
    if clip == "qkv":
        qkv = np.clip(qkv, -1, 1)
    q, k, v = (heads(part, 6) for part in np.split(qkv, 3, axis=-1))
    if clip == "qk":
        q, k = np.clip(q, -1, 1), np.clip(k, -1, 1)
    powers = 2.0 ** -np.arange(1, 9)
    if slopes == "mpt":
        slope = np.concatenate([powers[1::2], powers[::2]])[:6]
    elif slopes == "first":
        slope = powers[:6]
    elif slopes == "even":
        slope = 2.0 ** (-8 * np.arange(1, 7) / 6)
    else:
        slope = np.concatenate([powers[::2], powers[1::2]])[:6]
    distance = np.arange(14)[None, :] - np.arange(14)[:, None]
    bias = (sign * slope[:, None, None] * distance).astype(np.float32)
    bias = bias * 6**-0.5 if order == "before" else bias
    o = attend(q, k, v, 6**-0.5, causal(14), bias) @ npy(m.attn.out_proj.weight).T
    h = h + o
    return h + lin(gelu(lin(layer_norm(h, m.norm_2, 1e-5), m.ffn.up_proj)), m.ffn.down_proj)


MPT = Case(
    "unseen_mpt_block",
    build_mpt,
    "blocks.0",
    mpt,
    {
        "odd_slopes": Mistake(
            partial(mpt, slopes="odd"), "The slopes of odd rank come first, then the even."
        ),
        "first_slopes": Mistake(
            partial(mpt, slopes="first"),
            "The first slopes of the next power of two are taken, without interleaving.",
        ),
        "even_slopes": Mistake(
            partial(mpt, slopes="even"), "The slopes are 2 ** (-8 i / heads) for any head count."
        ),
        "scaled_bias": Mistake(
            partial(mpt, order="before"), "The bias is added before the scores are scaled."
        ),
        "far_favoured": Mistake(partial(mpt, sign=-1.0), "The bias has the wrong sign."),
        "no_clip": Mistake(partial(mpt, clip="none"), "clip_qkv is forgotten."),
        "values_not_clipped": Mistake(
            partial(mpt, clip="qk"), "Only the queries and the keys are clipped."
        ),
    },
)

# ---------------------------------------------------------------- Mixtral


def build_mixtral() -> tuple[Any, Any]:
    """A sparse mixture of experts."""
    config = tf.MixtralConfig(
        vocab_size=47,
        hidden_size=24,
        intermediate_size=36,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=5,
        num_experts_per_tok=2,
        attn_implementation="eager",
    )
    return shake(tf.MixtralModel(config), 5), {"input_ids": tokens(5, 2, 9, 47)}


def mixtral(
    model: Any,
    x: Any,
    renormalise: bool = True,
    halves: str = "gate up",
    weigh: str = "output",
    top: int = 2,
) -> Array:
    """The mixture of layer 0."""
    m = model.layers[0].mlp
    n = enters(model, x, "layers.0.mlp").reshape(-1, 24)
    p = softmax(n @ npy(m.gate.weight).T)
    chosen = np.argsort(-p, axis=-1)[:, :top]
    weights = np.take_along_axis(p, chosen, -1)
    if renormalise:
        weights = weights / weights.sum(-1, keepdims=True)
    out = np.zeros_like(n)
    for t in range(len(n)):
        for e, weight in zip(chosen[t], weights[t], strict=True):
            i = n[t] * weight if weigh == "input" else n[t]
            both = npy(m.experts.gate_up_proj)[e] @ i
            if halves == "interleaved":
                gate, up = both[::2], both[1::2]
            else:
                gate, up = both[:36], both[36:]
                gate, up = (up, gate) if halves == "up gate" else (gate, up)
            y = npy(m.experts.down_proj)[e] @ (silu(gate) * up)
            out[t] += y if weigh == "input" else weight * y
    return out.reshape(2, 9, 24)


MIXTRAL = Case(
    "unseen_mixtral_moe",
    build_mixtral,
    "layers.0.mlp",
    mixtral,
    {
        "not_renormalised": Mistake(
            partial(mixtral, renormalise=False),
            "The weights of the chosen experts do not sum to one.",
        ),
        "up_first": Mistake(
            partial(mixtral, halves="up gate"), "The activation is applied to the up half."
        ),
        "interleaved": Mistake(
            partial(mixtral, halves="interleaved"),
            "Gate and up are taken as interleaved, as in GPT-OSS.",
        ),
        "weighed_input": Mistake(
            partial(mixtral, weigh="input"), "The input of an expert is weighed, not its output."
        ),
        "all_experts": Mistake(
            partial(mixtral, top=5), "Every expert is mixed in, not the best two."
        ),
    },
)

# ---------------------------------------------------------------- GPT-OSS


def build_gpt_oss() -> tuple[Any, Any]:
    """A layer with sinks in attention and a clamped gated unit in its experts."""
    config = tf.GptOssConfig(
        vocab_size=59,
        hidden_size=24,
        intermediate_size=20,
        num_hidden_layers=1,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=6,
        num_experts_per_tok=3,
        sliding_window=6,
        swiglu_limit=1.5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attn_implementation="eager",
    )
    return shake(tf.GptOssModel(config), 6), {"input_ids": tokens(6, 2, 13, 59)}


def gpt_oss_moe(
    model: Any,
    x: Any,
    split: str = "interleaved",
    plus: float = 1.0,
    alpha: float = 1.702,
    clamp: str = "right",
    router: str = "chosen",
    bias: str = "weighed",
) -> Array:
    """The experts of layer 0."""
    m = model.layers[0].mlp
    n = enters(model, x, "layers.0.mlp").reshape(-1, 24)
    logits = n @ npy(m.router.weight).T + npy(m.router.bias)
    chosen = np.argsort(-logits, axis=-1)[:, :3]
    if router == "chosen":
        weights = softmax(np.take_along_axis(logits, chosen, -1))
    else:
        weights = np.take_along_axis(softmax(logits), chosen, -1)
    e = m.experts
    out = np.zeros_like(n)
    for t in range(len(n)):
        for i, weight in zip(chosen[t], weights[t], strict=True):
            both = n[t] @ npy(e.gate_up_proj)[i] + npy(e.gate_up_proj_bias)[i]
            if split == "interleaved":
                gate, up = both[::2], both[1::2]
            else:
                gate, up = both[:20], both[20:]
            if clamp == "right":
                gate, up = np.minimum(gate, 1.5), np.clip(up, -1.5, 1.5)
            elif clamp == "both sides":
                gate, up = np.clip(gate, -1.5, 1.5), np.clip(up, -1.5, 1.5)
            y = ((up + plus) * gate * sigmoid(alpha * gate)) @ npy(e.down_proj)[i]
            b = npy(e.down_proj_bias)[i]
            out[t] += weight * (y + b) if bias == "weighed" else weight * y + b
    return out.reshape(2, 13, 24)


GPT_OSS_MOE = Case(
    "unseen_gpt_oss_moe",
    build_gpt_oss,
    "layers.0.mlp",
    gpt_oss_moe,
    {
        "halves": Mistake(partial(gpt_oss_moe, split="halves"), "Gate and up are taken as halves."),
        "no_plus_one": Mistake(
            partial(gpt_oss_moe, plus=0.0), "The up branch is not increased by one."
        ),
        "silu": Mistake(partial(gpt_oss_moe, alpha=1.0), "The gate is SiLU, without its 1.702."),
        "gate_clipped_below": Mistake(
            partial(gpt_oss_moe, clamp="both sides"), "The gate is clamped from below, too."
        ),
        "no_clamp": Mistake(partial(gpt_oss_moe, clamp="none"), "Nothing is clamped."),
        "softmax_all": Mistake(
            partial(gpt_oss_moe, router="all"), "The softmax is over all experts, not the chosen."
        ),
        "bias_unweighed": Mistake(
            partial(gpt_oss_moe, bias="unweighed"), "The bias of an expert's output is not weighed."
        ),
    },
)


def gpt_oss_attention(
    model: Any,
    x: Any,
    sink: str = "right",
    window: int | None = 6,
    tile: bool = False,
    pairs: bool = False,
) -> Array:
    """The attention of layer 0."""
    a = model.layers[0].self_attn
    n = enters(model, x, "layers.0.input_layernorm")
    n = rms_norm(n, npy(model.layers[0].input_layernorm.weight), 1e-5)
    q = rope(heads(lin(n, a.q_proj), 8), 10000.0, pairs=pairs)
    k = share(rope(heads(lin(n, a.k_proj), 8), 10000.0, pairs=pairs), 3, tile)
    v = share(heads(lin(n, a.v_proj), 8), 3, tile)
    s = np.where(causal(13, window), q @ k.swapaxes(-1, -2) * 8**-0.5, -1e9)
    sinks = npy(a.sinks)[:, None, None]
    if sink == "scaled":
        sinks = sinks * 8**-0.5
    if sink == "none":
        p = softmax(s)
    elif sink == "added":
        s[..., 0:1] += sinks
        p = softmax(s)
    else:
        p = softmax(np.concatenate([s, np.broadcast_to(sinks, (*s.shape[:3], 1))], -1))[..., :-1]
    return lin(merge(p @ v), a.o_proj)


GPT_OSS_ATTENTION = Case(
    "unseen_gpt_oss_attention",
    build_gpt_oss,
    "layers.0.self_attn",
    gpt_oss_attention,
    {
        "no_sinks": Mistake(
            partial(gpt_oss_attention, sink="none"), "The sinks are left out of the softmax."
        ),
        "scaled_sinks": Mistake(
            partial(gpt_oss_attention, sink="scaled"), "The sinks are scaled as the scores are."
        ),
        "sink_on_first": Mistake(
            partial(gpt_oss_attention, sink="added"), "The sink is added to the first key's score."
        ),
        "window_one_more": Mistake(
            partial(gpt_oss_attention, window=7), "The window holds one position too many."
        ),
        "tiled_kv": Mistake(
            partial(gpt_oss_attention, tile=True), "The key and value heads are tiled."
        ),
        "rotary_pairs": Mistake(
            partial(gpt_oss_attention, pairs=True), "Neighbours are rotated together."
        ),
    },
)

# ---------------------------------------------------------------- DeepSeek V3


def build_deepseek() -> tuple[Any, Any]:
    """A mixture with groups of experts, a bias that only chooses, and a shared expert."""
    config = tf.DeepseekV3Config(
        vocab_size=43,
        hidden_size=24,
        intermediate_size=40,
        moe_intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=12,
        num_experts_per_tok=3,
        n_group=4,
        topk_group=2,
        n_shared_experts=2,
        first_k_dense_replace=0,
        routed_scaling_factor=2.5,
        q_lora_rank=16,
        kv_lora_rank=12,
        qk_rope_head_dim=4,
        qk_nope_head_dim=6,
        v_head_dim=8,
        attn_implementation="eager",
    )
    return shake(tf.DeepseekV3Model(config), 7), {"input_ids": tokens(7, 2, 10, 43)}


def deepseek(
    model: Any,
    x: Any,
    score: Callable[[Array], Array] = sigmoid,
    bias: str = "choice",
    groups: str = "two best",
    shared: bool = True,
    factor: float = 2.5,
    renormalise: bool = True,
) -> Array:
    """The mixture of layer 0."""
    m = model.layers[0].mlp
    n = enters(model, x, "layers.0.mlp").reshape(-1, 24)
    scores = score(n @ npy(m.gate.weight).T)
    choice = scores if bias == "none" else scores + npy(m.gate.e_score_correction_bias)
    grouped = np.sort(choice.reshape(-1, 4, 3), axis=-1)
    if groups != "none":
        value = grouped[..., -1] if groups == "best" else grouped[..., -2:].sum(-1)
        kept = np.argsort(-value, axis=-1)[:, :2]
        allowed = np.zeros(value.shape, bool)
        np.put_along_axis(allowed, kept, True, -1)
        masked = np.where(np.repeat(allowed, 3, axis=-1), choice, -np.inf)
    else:
        masked = choice
    chosen = np.argsort(-masked, axis=-1)[:, :3]
    weights = np.take_along_axis(choice if bias == "weights" else scores, chosen, -1)
    if renormalise:
        weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
    out = np.zeros_like(n)
    for t in range(len(n)):
        for e, weight in zip(chosen[t], weights[t] * factor, strict=True):
            gate, up = np.split(npy(m.experts.gate_up_proj)[e] @ n[t], 2)
            out[t] += weight * (npy(m.experts.down_proj)[e] @ (silu(gate) * up))
    if shared:
        s = m.shared_experts
        out = out + lin(silu(lin(n, s.gate_proj)) * lin(n, s.up_proj), s.down_proj)
    return out.reshape(2, 10, 24)


DEEPSEEK = Case(
    "unseen_deepseek_v3_moe",
    build_deepseek,
    "layers.0.mlp",
    deepseek,
    {
        "softmax": Mistake(
            partial(deepseek, score=softmax), "The experts are scored by softmax, as in V2."
        ),
        "bias_in_weights": Mistake(
            partial(deepseek, bias="weights"), "The correction bias is in the weights, too."
        ),
        "no_bias": Mistake(partial(deepseek, bias="none"), "The correction bias is left out."),
        "group_by_best": Mistake(
            partial(deepseek, groups="best"), "A group counts by its best expert, not its best two."
        ),
        "no_groups": Mistake(
            partial(deepseek, groups="none"), "The choice is not limited to groups."
        ),
        "no_shared": Mistake(partial(deepseek, shared=False), "The shared experts are left out."),
        "not_renormalised": Mistake(
            partial(deepseek, renormalise=False), "The weights are not made to sum to one."
        ),
        "no_factor": Mistake(
            partial(deepseek, factor=1.0), "The routed scaling factor is left out."
        ),
    },
)

# ---------------------------------------------------------------- ModernBERT


def build_modernbert() -> tuple[Any, Any]:
    """A layer that attends locally, with padding."""
    config = tf.ModernBertConfig(
        vocab_size=67,
        hidden_size=40,
        intermediate_size=28,
        num_hidden_layers=2,
        num_attention_heads=5,
        local_attention=6,
        pad_token_id=0,
        attn_implementation="eager",
    )
    mask = np.ones((2, 14), np.int64)
    mask[1, 10:] = 0
    x = {"input_ids": tokens(8, 2, 14, 67), "attention_mask": mask}
    return shake(tf.ModernBertModel(config), 8), x


def modernbert(
    model: Any,
    x: Any,
    window: int | None = 3,
    base: float = 10000.0,
    gated: str = "first",
    padded: bool = True,
    layout: str = "thirds",
    norm: bool = True,
) -> Array:
    """Layer 1."""
    m = model.layers[1]
    h = enters(model, x, "layers.1")
    n = layer_norm(h, m.attn_norm, 1e-5) if norm else h
    qkv = lin(n, m.attn.Wqkv)
    if layout == "thirds":
        q, k, v = (heads(part, 8) for part in np.split(qkv, 3, axis=-1))
    else:
        q, k, v = np.split(heads(qkv, 24), 3, axis=-1)
    seen = np.ones((1, 1, 14, 14), bool)
    if window is not None:
        seen = seen & (np.abs(np.arange(14)[:, None] - np.arange(14)) <= window)
    if padded:
        seen = seen & (x["attention_mask"][:, None, None, :] == 1)
    h = h + lin(attend(rope(q, base), rope(k, base), v, 8**-0.5, seen), m.attn.Wo)
    first, second = np.split(lin(layer_norm(h, m.mlp_norm, 1e-5), m.mlp.Wi), 2, axis=-1)
    y = gelu(first) * second if gated == "first" else first * gelu(second)
    return h + lin(y, m.mlp.Wo)


MODERNBERT = Case(
    "unseen_modernbert_layer",
    build_modernbert,
    "layers.1",
    modernbert,
    {
        "whole_window": Mistake(
            partial(modernbert, window=6), "The window reaches local_attention to either side."
        ),
        "window_one_less": Mistake(
            partial(modernbert, window=2), "The window's last position on either side is left out."
        ),
        "global_theta": Mistake(
            partial(modernbert, base=160000.0), "The global layers' rotary base is used."
        ),
        "gate_first": Mistake(
            partial(modernbert, gated="second"), "The activation is on the second half of Wi."
        ),
        "no_padding": Mistake(partial(modernbert, padded=False), "Padding is attended to."),
        "qkv_by_head": Mistake(
            partial(modernbert, layout="heads"), "Wqkv is split within each head."
        ),
        "no_attn_norm": Mistake(
            partial(modernbert, norm=False), "Attention's norm is an identity, as in layer 0."
        ),
    },
)

# ---------------------------------------------------------------- DeBERTa


def build_deberta() -> tuple[Any, Any]:
    """Disentangled attention, with distances beyond the greatest that is embedded."""
    config = tf.DebertaConfig(
        vocab_size=41,
        hidden_size=30,
        intermediate_size=44,
        num_hidden_layers=1,
        num_attention_heads=3,
        relative_attention=True,
        max_relative_positions=6,
        pos_att_type=["c2p", "p2c"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    mask = np.ones((2, 11), np.int64)
    mask[1, 8:] = 0
    x = {"input_ids": tokens(9, 2, 11, 41), "attention_mask": mask}
    return shake(tf.DebertaModel(config), 9), x


def deberta(
    model: Any,
    x: Any,
    factor: int = 3,
    sign: int = 1,
    turned: bool = True,
    layout: str = "heads",
    pos_bias: bool = True,
    v_bias: bool = True,
    p2c: bool = True,
) -> Array:
    """The attention of layer 0, without its output projection."""
    a = model.encoder.layer[0].attention.self
    h = enters(model, x, "encoder.layer.0.attention.self")
    qkv = lin(h, a.in_proj)
    if layout == "heads":
        q, k, v = np.split(heads(qkv, 30), 3, axis=-1)
    else:
        q, k, v = (heads(part, 10) for part in np.split(qkv, 3, axis=-1))
    q_bias, v_part = (npy(p).reshape(3, 1, 10) for p in (a.q_bias, a.v_bias))
    q = q + q_bias
    v = v + v_part if v_bias else v
    scale = 1 / math.sqrt(10 * factor)
    relative = sign * (np.arange(11)[:, None] - np.arange(11)[None, :])
    table = npy(model.encoder.rel_embeddings.weight)
    pos_k = (table @ npy(a.pos_proj.weight).T).reshape(12, 3, 10).transpose(1, 0, 2)
    pos_q = table @ npy(a.pos_q_proj.weight).T
    pos_q = pos_q + npy(a.pos_q_proj.bias) if pos_bias else pos_q
    pos_q = pos_q.reshape(12, 3, 10).transpose(1, 0, 2)
    s = q @ k.swapaxes(-1, -2)
    to = np.broadcast_to(np.clip(relative + 6, 0, 11), s.shape)
    s = s + np.take_along_axis(q @ pos_k.swapaxes(-1, -2), to, -1)
    if p2c:
        of = np.broadcast_to(np.clip(-relative + 6, 0, 11), s.shape)
        back = np.take_along_axis(k @ pos_q.swapaxes(-1, -2), of, -1)
        s = s + (back.swapaxes(-1, -2) if turned else back)
    mask = x["attention_mask"].astype(bool)
    seen = mask[:, None, :, None] & mask[:, None, None, :]
    s = np.where(seen, s * scale, np.finfo(np.float32).min)
    return merge(softmax(s) @ v)


DEBERTA = Case(
    "unseen_deberta_attention",
    build_deberta,
    "encoder.layer.0.attention.self",
    deberta,
    {
        "plain_scale": Mistake(
            partial(deberta, factor=1), "Scores are scaled by sqrt(head), not by sqrt(3 head)."
        ),
        "key_minus_query": Mistake(
            partial(deberta, sign=-1), "The relative position is the key's less the query's."
        ),
        "p2c_not_turned": Mistake(
            partial(deberta, turned=False), "The position-to-content scores are not transposed."
        ),
        "flat_qkv": Mistake(
            partial(deberta, layout="flat"), "The projection is split before, not within, heads."
        ),
        "no_position_bias": Mistake(
            partial(deberta, pos_bias=False), "The bias of pos_q_proj is left out."
        ),
        "no_v_bias": Mistake(partial(deberta, v_bias=False), "The values' bias is left out."),
        "no_p2c": Mistake(
            partial(deberta, p2c=False, factor=2), "Only content-to-position is there."
        ),
        "reversed_not_turned": Mistake(
            partial(deberta, turned=False, sign=-1),
            "The relative position is reversed and position-to-content is not transposed.",
            causes=2,
        ),
    },
)

# ---------------------------------------------------------------- OPT


def build_opt() -> tuple[Any, Any]:
    """A layer of the 350m kind, which normalises afterwards, with padding on the left."""
    config = tf.OPTConfig(
        vocab_size=39,
        hidden_size=32,
        word_embed_proj_dim=20,
        ffn_dim=52,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=24,
        do_layer_norm_before=False,
        attn_implementation="eager",
    )
    mask = np.ones((2, 10), np.int64)
    mask[1, :3] = 0
    x = {"input_ids": tokens(10, 2, 10, 39), "attention_mask": mask}
    return shake(tf.OPTModel(config), 10), x


def opt(
    model: Any,
    x: Any,
    offset: int = 2,
    positions: str = "unpadded",
    before: bool = False,
    act: Callable[[Array], Array] = relu,
    scale: str = "all",
    padded: bool = True,
) -> Array:
    """Decoder layer 0."""
    d = model.decoder
    m = d.layers[0]
    mask = x["attention_mask"]
    h = lin(npy(d.embed_tokens.weight)[x["input_ids"]], d.project_in)
    at = np.cumsum(mask, 1) * mask - 1 if positions == "unpadded" else np.arange(10)
    h = h + npy(d.embed_positions.weight)[at + offset]
    n = layer_norm(h, m.self_attn_layer_norm, 1e-5) if before else h
    a = m.self_attn
    if scale == "all":
        q = lin(n, a.q_proj) * 8**-0.5
    else:
        q = n @ npy(a.q_proj.weight).T * 8**-0.5 + npy(a.q_proj.bias)
    q, k, v = (heads(y, 8) for y in (q, lin(n, a.k_proj), lin(n, a.v_proj)))
    seen = np.broadcast_to(causal(10), (2, 1, 10, 10))
    seen = seen & (mask[:, None, None, :] == 1) if padded else seen
    h = h + lin(attend(q, k, v, 1.0, seen), a.out_proj)
    h = h if before else layer_norm(h, m.self_attn_layer_norm, 1e-5)
    n = layer_norm(h, m.final_layer_norm, 1e-5) if before else h
    h = h + lin(act(lin(n, m.fc1)), m.fc2)
    return h if before else layer_norm(h, m.final_layer_norm, 1e-5)


OPT = Case(
    "unseen_opt_layer",
    build_opt,
    "decoder.layers.0",
    opt,
    {
        "no_offset": Mistake(partial(opt, offset=0), "The positions are not offset by two."),
        "padded_positions": Mistake(
            partial(opt, positions="arange"), "Padding on the left is counted as positions."
        ),
        "norm_before": Mistake(
            partial(opt, before=True), "The norms come first, as in every OPT but 350m."
        ),
        "gelu": Mistake(partial(opt, act=gelu), "The activation is GELU, not ReLU."),
        "bias_not_scaled": Mistake(
            partial(opt, scale="weight"), "The queries' bias is added after they are scaled."
        ),
        "no_padding": Mistake(partial(opt, padded=False), "Padding is attended to."),
    },
)

# ---------------------------------------------------------------- Whisper


def build_whisper() -> tuple[Any, Any]:
    """A decoder layer with attention to an encoder's states."""
    config = tf.WhisperConfig(
        vocab_size=37,
        d_model=32,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=56,
        encoder_layers=1,
        encoder_attention_heads=4,
        max_target_positions=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        attn_implementation="eager",
    )
    x = {"input_ids": tokens(11, 2, 9, 37), "encoder_hidden_states": normal(11, 2, 13, 32)}
    return shake(WhisperDecoder(config), 11), x


def whisper(
    model: Any,
    x: Any,
    cross_causal: bool = False,
    self_causal: bool = True,
    cross_residual: str = "sum",
    normed_memory: bool = False,
    scales: int = 1,
    cross_first: bool = False,
    positions: bool = True,
) -> Array:
    """Layer 0."""
    m = model.layers[0]
    h = npy(model.embed_tokens.weight)[x["input_ids"]]
    h = h + npy(model.embed_positions.weight)[:9] if positions else h
    e = x["encoder_hidden_states"]

    def attention(a: Any, n: Array, kv: Array, seen: Array | None) -> Array:
        q = heads(lin(n, a.q_proj), 8) * 8 ** (-0.5 * scales)
        k = heads(lin(kv, a.k_proj), 8)
        v = heads(lin(kv, a.v_proj), 8)
        return lin(attend(q, k, v, 1.0, seen), a.out_proj)

    def own(y: Array) -> Array:
        n = layer_norm(y, m.self_attn_layer_norm, 1e-5)
        return y + attention(m.self_attn, n, n, causal(9) if self_causal else None)

    def cross(y: Array) -> Array:
        n = layer_norm(y, m.encoder_attn_layer_norm, 1e-5)
        kv = layer_norm(e, m.encoder_attn_layer_norm, 1e-5) if normed_memory else e
        seen = np.arange(13) <= np.arange(9)[:, None] if cross_causal else None
        return (y if cross_residual == "sum" else n) + attention(m.encoder_attn, n, kv, seen)

    h = own(cross(h)) if cross_first else cross(own(h))
    return h + lin(gelu(lin(layer_norm(h, m.final_layer_norm, 1e-5), m.fc1)), m.fc2)


WHISPER = Case(
    "unseen_whisper_decoder_layer",
    build_whisper,
    "layers.0",
    whisper,
    {
        "cross_causal": Mistake(
            partial(whisper, cross_causal=True), "The causal mask is on cross attention, too."
        ),
        "not_causal": Mistake(
            partial(whisper, self_causal=False), "Self attention has no causal mask."
        ),
        "normed_residual": Mistake(
            partial(whisper, cross_residual="normed"),
            "Cross attention is added to the normed state rather than to the state.",
        ),
        "normed_memory": Mistake(
            partial(whisper, normed_memory=True), "The encoder's states are normed as queries are."
        ),
        "scaled_twice": Mistake(
            partial(whisper, scales=2), "The queries are scaled, and the scores once more."
        ),
        "no_positions": Mistake(
            partial(whisper, positions=False), "The positions are not embedded."
        ),
        "cross_first": Mistake(
            partial(whisper, cross_first=True), "Cross attention comes before self attention."
        ),
    },
)

# ---------------------------------------------------------------- CLIP


def build_clip() -> tuple[Any, Any]:
    """A whole vision encoder."""
    config = tf.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=12,
        patch_size=4,
        attn_implementation="eager",
    )
    return shake(tf.CLIPVisionModel(config), 12), {"pixel_values": normal(12, 2, 3, 12, 12)}


def clip(
    model: Any,
    x: Any,
    act: Callable[[Array], Array] = quick_gelu,
    pre: bool = True,
    post: bool = False,
    token: str = "first",
    grid: str = "rows",
    pixels: str = "chw",
    position: bool = True,
) -> Array:
    """The last hidden state."""
    e = model.embeddings
    w = npy(e.patch_embedding.weight)
    patches = x["pixel_values"].reshape(2, 3, 3, 4, 3, 4).transpose(0, 2, 4, 1, 3, 5)
    if grid == "columns":
        patches = patches.swapaxes(1, 2)
    if pixels == "hwc":
        patches = patches.transpose(0, 1, 2, 4, 5, 3)
    h = patches.reshape(2, 9, 48) @ w.reshape(32, 48).T
    c = np.broadcast_to(npy(e.class_embedding), (2, 1, 32))
    h = np.concatenate([c, h] if token == "first" else [h, c], axis=1)
    h = h + npy(e.position_embedding.weight)[None] if position else h
    h = layer_norm(h, model.pre_layrnorm, 1e-5) if pre else h
    for m in model.encoder.layers:
        a = m.self_attn
        n = layer_norm(h, m.layer_norm1, 1e-5)
        q, k, v = (heads(lin(n, p), 8) for p in (a.q_proj, a.k_proj, a.v_proj))
        h = h + lin(attend(q, k, v, 8**-0.5), a.out_proj)
        h = h + lin(act(lin(layer_norm(h, m.layer_norm2, 1e-5), m.mlp.fc1)), m.mlp.fc2)
    return layer_norm(h, model.post_layernorm, 1e-5) if post else h


CLIP = Case(
    "unseen_clip_vision",
    build_clip,
    "",
    clip,
    {
        "gelu": Mistake(partial(clip, act=gelu), "The activation is the exact GELU."),
        "no_pre_norm": Mistake(partial(clip, pre=False), "The norm of the embeddings is left out."),
        "post_norm": Mistake(
            partial(clip, post=True), "All tokens go through the norm of the pooled output."
        ),
        "no_positions": Mistake(partial(clip, position=False), "The positions are not embedded."),
        "class_last": Mistake(partial(clip, token="last"), "The class token is put last."),
        "columns_first": Mistake(
            partial(clip, grid="columns"), "The patches are taken column by column."
        ),
        "channels_last": Mistake(
            partial(clip, pixels="hwc"), "The pixels of a patch are flattened with channels last."
        ),
    },
)

# ---------------------------------------------------------------- T5


def build_t5() -> tuple[Any, Any]:
    """The second block of an encoder, whose position bias is the first block's."""
    config = tf.T5Config(
        vocab_size=35,
        d_model=28,
        d_kv=10,
        d_ff=44,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=14,
        feed_forward_proj="gated-gelu",
        attn_implementation="eager",
    )
    return shake(tf.T5EncoderModel(config), 13), {"input_ids": tokens(13, 2, 15, 35)}


def buckets(relative: Array, two_ways: bool, count: int = 8, far: int = 14) -> Array:
    """The bucket of each distance (key less query)."""
    base = np.zeros_like(relative)
    if two_ways:
        count //= 2
        base = (relative > 0) * count
        relative = np.abs(relative)
    else:
        relative = np.maximum(-relative, 0)
    exact = count // 2
    with np.errstate(divide="ignore"):
        large = np.log(relative / exact) / math.log(far / exact) * (count - exact)
    large = exact + np.where(relative > 0, large, 0).astype(np.int64)
    return base + np.where(relative < exact, relative, np.minimum(large, count - 1))


def t5(
    model: Any,
    x: Any,
    scale: float = 1.0,
    two_ways: bool = True,
    sign: int = 1,
    bias: bool = True,
    centred: bool = False,
    act: Callable[[Array], Array] = gelu_tanh,
    gate: str = "wi_0",
    far: int = 14,
) -> Array:
    """Block 1."""
    att, ff = model.encoder.block[1].layer
    table = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias

    def norm(y: Array, m: Any) -> Array:
        y = y - y.mean(-1, keepdims=True) if centred else y
        return rms_norm(y, npy(m.weight), 1e-6)

    h = enters(model, x, "encoder.block.1")
    n = norm(h, att.layer_norm)
    a = att.SelfAttention
    q, k, v = (heads(lin(n, p), 10) for p in (a.q, a.k, a.v))
    relative = sign * (np.arange(15)[None, :] - np.arange(15)[:, None])
    b = npy(table.weight)[buckets(relative, two_ways, far=far)].transpose(2, 0, 1)
    h = h + lin(attend(q, k, v, scale, None, b if bias else 0.0), a.o)
    n = norm(h, ff.layer_norm)
    d = ff.DenseReluDense
    first, second = lin(n, d.wi_0), lin(n, d.wi_1)
    y = act(first) * second if gate == "wi_0" else first * act(second)
    return h + lin(y, d.wo)


T5 = Case(
    "unseen_t5_block",
    build_t5,
    "encoder.block.1",
    t5,
    {
        "scaled": Mistake(partial(t5, scale=10**-0.5), "The scores are scaled by sqrt(head)."),
        "one_way": Mistake(partial(t5, two_ways=False), "The buckets are those of a decoder."),
        "reversed": Mistake(partial(t5, sign=-1), "The distance is the query's less the key's."),
        "no_bias": Mistake(partial(t5, bias=False), "Only the first block has a position bias."),
        "layer_norm": Mistake(partial(t5, centred=True), "The norm subtracts the mean."),
        "relu": Mistake(partial(t5, act=relu), "The activation is ReLU, as in T5 1.0."),
        "gate_swapped": Mistake(partial(t5, gate="wi_1"), "The activation is on wi_1."),
        "default_far": Mistake(partial(t5, far=128), "The greatest distance is the default 128."),
    },
)

# ---------------------------------------------------------------- Cohere


def build_cohere() -> tuple[Any, Any]:
    """A layer with norms of queries and keys, rotary by pairs, and one norm for both branches."""
    config = tf.CohereConfig(
        vocab_size=33,
        hidden_size=40,
        intermediate_size=36,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_qk_norm=True,
        bos_token_id=1,
        eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attn_implementation="eager",
    )
    return shake(tf.CohereModel(config), 14), {"input_ids": tokens(14, 2, 12, 33)}


def cohere(
    model: Any,
    x: Any,
    pairs: bool = True,
    rms: bool = False,
    qk_norm: str = "before",
    parallel: bool = True,
    raw_mlp: bool = False,
    key_weight: str = "by head",
) -> Array:
    """Layer 0."""
    m = model.layers[0]
    a = m.self_attn

    def norm(y: Array, w: Array) -> Array:
        y = y if rms else y - y.mean(-1, keepdims=True)
        return rms_norm(y, w, 1e-5)

    h = npy(model.embed_tokens.weight)[x["input_ids"]]
    n = norm(h, npy(m.input_layernorm.weight))
    q, k, v = (heads(lin(n, p), 10) for p in (a.q_proj, a.k_proj, a.v_proj))
    q_weight, k_weight = npy(a.q_norm.weight)[:, None], npy(a.k_norm.weight)[:, None]
    if key_weight == "first":
        q_weight, k_weight = q_weight[:1], k_weight[:1]
    turn = partial(rope, base=10000.0, pairs=pairs)
    if qk_norm == "before":
        q, k = turn(norm(q, q_weight)), turn(norm(k, k_weight))
    elif qk_norm == "after":
        q, k = norm(turn(q), q_weight), norm(turn(k), k_weight)
    else:
        q, k = turn(q), turn(k)
    o = lin(attend(q, share(k, 2), share(v, 2), 10**-0.5, causal(12)), a.o_proj)
    if raw_mlp:
        n = h
    elif not parallel:
        n = norm(h + o, npy(m.input_layernorm.weight))
    f = lin(silu(lin(n, m.mlp.gate_proj)) * lin(n, m.mlp.up_proj), m.mlp.down_proj)
    return h + o + f


COHERE = Case(
    "unseen_cohere_layer",
    build_cohere,
    "layers.0",
    cohere,
    {
        "rotary_halves": Mistake(
            partial(cohere, pairs=False), "The halves of a head are rotated together, as in Llama."
        ),
        "rms": Mistake(partial(cohere, rms=True), "The norms do not subtract the mean."),
        "norm_after_rotary": Mistake(
            partial(cohere, qk_norm="after"), "Queries and keys are normed after being rotated."
        ),
        "no_qk_norm": Mistake(partial(cohere, qk_norm="none"), "Queries and keys are not normed."),
        "sequential": Mistake(
            partial(cohere, parallel=False), "The MLP reads what attention has been added to."
        ),
        "llama": Mistake(
            partial(cohere, pairs=False, rms=True),
            "Rotary is by halves and the norms are root mean square, as in Llama.",
            causes=2,
        ),
        "mlp_not_normed": Mistake(
            partial(cohere, raw_mlp=True), "The MLP reads the state without its norm."
        ),
        "first_head_weight": Mistake(
            partial(cohere, key_weight="first"), "All heads' norms use the first head's weights."
        ),
    },
)

# ---------------------------------------------------------------- OLMo 2


def build_olmo2() -> tuple[Any, Any]:
    """A layer that norms what its branches put out."""
    config = tf.Olmo2Config(
        vocab_size=31,
        hidden_size=32,
        intermediate_size=44,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        pad_token_id=0,
        eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        attn_implementation="eager",
    )
    return shake(tf.Olmo2Model(config), 15), {"input_ids": tokens(15, 2, 12, 31)}


def olmo2(
    model: Any,
    x: Any,
    qk: str = "all",
    place: str = "output",
    base: float = 500000.0,
    gate: str = "gate",
    tile: bool = False,
) -> Array:
    """Layer 0."""
    m = model.layers[0]
    a = m.self_attn
    h = npy(model.embed_tokens.weight)[x["input_ids"]]
    first = partial(rms_norm, w=npy(m.post_attention_layernorm.weight), eps=1e-5)
    second = partial(rms_norm, w=npy(m.post_feedforward_layernorm.weight), eps=1e-5)
    n = first(h) if place == "input" else h
    q, k, v = lin(n, a.q_proj), lin(n, a.k_proj), lin(n, a.v_proj)
    if qk == "all":
        q, k = rms_norm(q, npy(a.q_norm.weight), 1e-5), rms_norm(k, npy(a.k_norm.weight), 1e-5)
    q, k, v = heads(q, 8), heads(k, 8), heads(v, 8)
    if qk == "heads":
        q = rms_norm(q, npy(a.q_norm.weight).reshape(4, 1, 8), 1e-5)
        k = rms_norm(k, npy(a.k_norm.weight).reshape(2, 1, 8), 1e-5)
    k, v = share(rope(k, base), 2, tile), share(v, 2, tile)
    o = lin(attend(rope(q, base), k, v, 8**-0.5, causal(12)), a.o_proj)
    if place == "output":
        h = h + first(o)
    else:
        h = first(h + o) if place == "sum" else h + o
    n = second(h) if place == "input" else h
    g, u = lin(n, m.mlp.gate_proj), lin(n, m.mlp.up_proj)
    f = lin(silu(g) * u if gate == "gate" else g * silu(u), m.mlp.down_proj)
    if place == "output":
        return h + second(f)
    return second(h + f) if place == "sum" else h + f


OLMO2 = Case(
    "unseen_olmo2_layer",
    build_olmo2,
    "layers.0",
    olmo2,
    {
        "qk_norm_by_head": Mistake(
            partial(olmo2, qk="heads"), "Queries and keys are normed head by head, as in Qwen3."
        ),
        "no_qk_norm": Mistake(partial(olmo2, qk="none"), "Queries and keys are not normed."),
        "norm_first": Mistake(
            partial(olmo2, place="input"), "The norms are before the branches, as in Llama."
        ),
        "norm_of_sum": Mistake(
            partial(olmo2, place="sum"), "The norms are after the residual sums, as in BERT."
        ),
        "default_theta": Mistake(partial(olmo2, base=10000.0), "The rotary base is 10000."),
        "tiled_kv": Mistake(partial(olmo2, tile=True), "The key and value heads are tiled."),
        "up_activated": Mistake(
            partial(olmo2, gate="up"), "The activation is on up_proj, not on gate_proj."
        ),
    },
)

# ---------------------------------------------------------------- Mamba


def build_mamba() -> tuple[Any, Any]:
    """A selective state space mixer."""
    config = tf.MambaConfig(
        vocab_size=29,
        hidden_size=20,
        state_size=6,
        num_hidden_layers=1,
        expand=2,
        conv_kernel=4,
        time_step_rank=5,
        use_bias=True,
    )
    return shake(tf.MambaModel(config), 16), {"input_ids": tokens(16, 2, 11, 29)}


def mamba(
    model: Any,
    x: Any,
    order: str = "x z",
    side: str = "left",
    conv_act: bool = True,
    plus: bool = True,
    dt_bias: bool = True,
    bc: str = "B C",
    skip: bool = True,
    discrete_b: str = "euler",
    flip: bool = False,
) -> Array:
    """The mixer of layer 0."""
    m = model.layers[0].mixer
    h = enters(model, x, "layers.0.mixer")
    u, z = np.split(lin(h, m.in_proj), 2, axis=-1)
    u, z = (z, u) if order == "z x" else (u, z)
    kernel = npy(m.conv1d.weight)[:, 0]
    kernel = kernel[:, ::-1] if flip else kernel
    around = {"left": (3, 0), "both": (1, 2)}[side]
    padded = np.pad(u, ((0, 0), around, (0, 0)))
    u = np.einsum("btck,ck->btc", sliding_window_view(padded, 4, 1), kernel) + npy(m.conv1d.bias)
    u = silu(u) if conv_act else u
    dt, b, c = np.split(lin(u, m.x_proj), [5, 11], axis=-1)
    b, c = (c, b) if bc == "C B" else (b, c)
    dt = dt @ npy(m.dt_proj.weight).T
    dt = dt + npy(m.dt_proj.bias) if dt_bias else dt
    dt = np.log1p(np.exp(dt)) if plus else np.exp(dt)
    a = -np.exp(npy(m.A_log))
    state = np.zeros((2, 40, 6), np.float32)
    out = np.zeros_like(u)
    for t in range(11):
        decay = np.exp(dt[:, t, :, None] * a)
        gain = dt[:, t, :, None] if discrete_b == "euler" else (decay - 1) / a
        state = decay * state + gain * b[:, t, None, :] * u[:, t, :, None]
        out[:, t] = (state * c[:, t, None, :]).sum(-1)
    out = out + u * npy(m.D) if skip else out
    return lin(out * silu(z), m.out_proj)


MAMBA = Case(
    "unseen_mamba_mixer",
    build_mamba,
    "layers.0.mixer",
    mamba,
    {
        "gate_first": Mistake(partial(mamba, order="z x"), "in_proj's halves are swapped."),
        "same_padding": Mistake(
            partial(mamba, side="both"), "The convolution is centred, not causal."
        ),
        "no_conv_act": Mistake(
            partial(mamba, conv_act=False), "There is no SiLU after the convolution."
        ),
        "exp_dt": Mistake(partial(mamba, plus=False), "The time step is exp, not softplus."),
        "no_dt_bias": Mistake(partial(mamba, dt_bias=False), "The time step has no bias."),
        "c_before_b": Mistake(partial(mamba, bc="C B"), "B and C are swapped."),
        "no_skip": Mistake(partial(mamba, skip=False), "The D term is left out."),
        "hold_b": Mistake(
            partial(mamba, discrete_b="hold"), "B is discretised by zero order hold, not by dt B."
        ),
        "flipped_kernel": Mistake(
            partial(mamba, flip=True), "The convolution's kernel is reversed in time."
        ),
    },
)

# ---------------------------------------------------------------- SegFormer


def build_segformer() -> tuple[Any, Any]:
    """A layer whose keys and values are reduced in space, on a grid that is not square."""
    config = tf.SegformerConfig(
        num_encoder_blocks=1,
        depths=[1],
        sr_ratios=[2],
        hidden_sizes=[24],
        patch_sizes=[7],
        strides=[4],
        num_attention_heads=[3],
        mlp_ratios=[2],
        attn_implementation="eager",
    )
    return shake(tf.SegformerModel(config), 17), {"pixel_values": normal(17, 2, 3, 24, 40)}


def segformer(
    model: Any,
    x: Any,
    grid: tuple[int, int] = (6, 10),
    reduced_norm: bool = True,
    mix: str = "conv act",
    reduce: str = "conv",
    normed_kv: bool = True,
) -> Array:
    """Block 0 of stage 0."""
    layer = "stages.0.blocks.0"
    m = model.get_submodule(layer)
    h = enters(model, x, layer)
    a = m.attention

    def image(y: Array) -> Array:
        return y.swapaxes(1, 2).reshape(2, -1, *grid)

    def sequence(y: Array) -> Array:
        return y.reshape(*y.shape[:2], -1).swapaxes(1, 2)

    n = layer_norm(h, m.layernorm_before, 1e-5)
    kv = image(n if normed_kv else h)
    if reduce == "conv":
        kv = conv(kv, a.sequence_reduction.sequence_reduction)
    else:
        kv = kv.reshape(2, 24, grid[0] // 2, 2, grid[1] // 2, 2).mean((3, 5))
    kv = sequence(kv)
    kv = layer_norm(kv, a.sequence_reduction.layer_norm, 1e-5) if reduced_norm else kv
    q, k, v = heads(lin(n, a.q_proj), 8), heads(lin(kv, a.k_proj), 8), heads(lin(kv, a.v_proj), 8)
    h = h + lin(attend(q, k, v, 8**-0.5), a.o_proj)
    y = lin(layer_norm(h, m.layernorm_after, 1e-5), m.mlp.fc1)
    if mix == "act conv":
        y = sequence(conv(image(gelu(y)), m.mlp.dwconv.dwconv))
    elif mix == "residual":
        y = gelu(y + sequence(conv(image(y), m.mlp.dwconv.dwconv)))
    elif mix == "none":
        y = gelu(y)
    else:
        y = gelu(sequence(conv(image(y), m.mlp.dwconv.dwconv)))
    return h + lin(y, m.mlp.fc2)


SEGFORMER = Case(
    "unseen_segformer_layer",
    build_segformer,
    "stages.0.blocks.0",
    segformer,
    {
        "height_width": Mistake(
            partial(segformer, grid=(10, 6)), "Height and width of the grid are swapped."
        ),
        "no_reduced_norm": Mistake(
            partial(segformer, reduced_norm=False), "The reduced tokens are not normed."
        ),
        "act_before_conv": Mistake(
            partial(segformer, mix="act conv"), "GELU comes before the depthwise convolution."
        ),
        "conv_residual": Mistake(
            partial(segformer, mix="residual"), "The depthwise convolution has a residual."
        ),
        "no_dwconv": Mistake(
            partial(segformer, mix="none"), "The depthwise convolution is left out."
        ),
        "pooled_kv": Mistake(
            partial(segformer, reduce="pool"), "Keys and values are pooled, not convolved."
        ),
        "kv_not_normed": Mistake(
            partial(segformer, normed_kv=False), "Keys and values are reduced before the norm."
        ),
    },
)

# ---------------------------------------------------------------- torchvision: Swin


def build_swin() -> tuple[Any, Any]:
    """A block with shifted windows, on an image that its windows do not fill."""
    block = swin.SwinTransformerBlock(24, 3, [3, 4], [1, 2], mlp_ratio=2.0)
    return shake(nn.Sequential(block), 18), normal(18, 2, 8, 10, 24)


def swin_block(
    model: Any,
    x: Any,
    shift: int = -1,
    masked: bool = True,
    bias_turned: bool = False,
    undo: bool = True,
    pad: str = "after norm",
    layout: str = "thirds",
    table: str = "rows",
) -> Array:
    """The block."""
    m = model[0]
    n = layer_norm(x, m.norm1, 1e-5)
    around = ((0, 0), (0, 1), (0, 2), (0, 0))
    n = np.pad(n, around) if pad == "after norm" else layer_norm(np.pad(x, around), m.norm1, 1e-5)
    n = np.roll(n, (shift * 1, shift * 2), (1, 2))

    def windows(y: Array) -> Array:
        y = y.reshape(y.shape[0], 3, 3, 3, 4, -1).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(y.shape[0] * 9, 12, -1)

    qkv = lin(windows(n), m.attn.qkv)
    if layout == "thirds":
        q, k, v = (heads(part, 8) for part in np.split(qkv, 3, axis=-1))
    else:
        q, k, v = np.split(heads(qkv, 24), 3, axis=-1)
    rows, columns = np.divmod(np.arange(12), 4)
    down = rows[:, None] - rows[None, :] + 2
    along = columns[:, None] - columns[None, :] + 3
    index = down * 7 + along if table == "rows" else along * 5 + down
    bias = npy(m.attn.relative_position_bias_table)[index].transpose(2, 0, 1)
    bias = bias.swapaxes(1, 2) if bias_turned else bias
    seen = None
    if masked:
        region = np.zeros((9, 12), np.int64)
        region[6:8], region[8:] = 3, 6
        region[:, 8:10] += 1
        region[:, 10:] += 2
        region = windows(region[None, :, :, None])[..., 0]
        same = region[:, :, None] == region[:, None, :]
        seen = np.tile(same, (2, 1, 1))[:, None]
    o = lin(attend(q, k, v, 8**-0.5, seen, bias), m.attn.proj)
    o = o.reshape(2, 3, 3, 3, 4, 24).transpose(0, 1, 3, 2, 4, 5).reshape(2, 9, 12, 24)
    o = np.roll(o, (-shift * 1, -shift * 2), (1, 2)) if undo else o
    h = x + o[:, :8, :10]
    return h + lin(gelu(lin(layer_norm(h, m.norm2, 1e-5), m.mlp[0])), m.mlp[3])


SWIN = Case(
    "unseen_swin_block",
    build_swin,
    "0",
    swin_block,
    {
        "shifted_back": Mistake(
            partial(swin_block, shift=1), "The image is rolled the other way before its windows."
        ),
        "no_mask": Mistake(
            partial(swin_block, masked=False), "What the roll brings together attends to itself."
        ),
        "bias_turned": Mistake(
            partial(swin_block, bias_turned=True), "The position bias is key less query."
        ),
        "not_undone": Mistake(partial(swin_block, undo=False), "The roll is not undone."),
        "pad_before_norm": Mistake(
            partial(swin_block, pad="before norm"),
            "The image is padded before the norm, so that padding is the norm's bias.",
        ),
        "qkv_by_head": Mistake(
            partial(swin_block, layout="heads"), "The projection is split within each head."
        ),
        "table_turned": Mistake(
            partial(swin_block, table="columns"), "The bias table is indexed column first."
        ),
    },
)

# ---------------------------------------------------------------- torchvision: convolutions


def build_shuffle() -> tuple[Any, Any]:
    """A unit that convolves a half of the channels and shuffles them."""
    model = nn.Sequential(shufflenetv2.InvertedResidual(20, 20, 1))
    return shake(model, 19), normal(19, 2, 20, 6, 7)


def shuffle(
    model: Any,
    x: Any,
    shuffled: str = "right",
    half: int = 1,
    depth_act: bool = False,
    last_act: bool = True,
    first: str = "kept",
) -> Array:
    """The unit."""
    c1, b1, _, c2, b2, c3, b3, _ = model[0].branch2
    kept, y = np.split(x, 2, axis=1)
    kept, y = (y, kept) if half == 0 else (kept, y)
    y = relu(batch_norm(conv(y, c1), b1))
    y = batch_norm(conv(y, c2), b2)
    y = relu(y) if depth_act else y
    y = batch_norm(conv(y, c3), b3)
    y = relu(y) if last_act else y
    both = np.concatenate([kept, y] if first == "kept" else [y, kept], axis=1)
    if shuffled == "none":
        return both
    groups = (2, 10) if shuffled == "right" else (10, 2)
    return both.reshape(2, *groups, 6, 7).swapaxes(1, 2).reshape(2, 20, 6, 7)


SHUFFLE = Case(
    "unseen_shuffle_unit",
    build_shuffle,
    "0",
    shuffle,
    {
        "shuffled_back": Mistake(
            partial(shuffle, shuffled="back"), "The shuffle is by ten groups, its inverse."
        ),
        "no_shuffle": Mistake(partial(shuffle, shuffled="none"), "The channels are not shuffled."),
        "other_half": Mistake(partial(shuffle, half=0), "The first half is convolved."),
        "relu_after_depthwise": Mistake(
            partial(shuffle, depth_act=True), "There is a ReLU after the depthwise convolution."
        ),
        "no_last_relu": Mistake(
            partial(shuffle, last_act=False), "The last convolution is linear, as in MobileNetV2."
        ),
        "branch_first": Mistake(
            partial(shuffle, first="branch"), "The convolved half is put before the kept one."
        ),
    },
)


def build_convnext() -> tuple[Any, Any]:
    """A ConvNeXt block."""
    return shake(nn.Sequential(convnext.CNBlock(12, 1.0, 0.0)), 20), normal(20, 2, 12, 8, 9)


def convnext_block(
    model: Any,
    x: Any,
    scale: bool = True,
    norm: str = "channels",
    flip: bool = False,
    mode: str = "constant",
    act: Callable[[Array], Array] = gelu,
    add: str = "input",
) -> Array:
    """The block."""
    c, _, n, up, _, down, _ = model[0].block
    w = npy(c.weight)
    w = w[:, :, ::-1, ::-1] if flip else w
    y = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)), mode=mode)
    convolved = conv2d(y, w, npy(c.bias), groups=12)
    if norm == "channels":
        y = layer_norm(convolved.transpose(0, 2, 3, 1), n, 1e-6)
    elif norm == "none":
        y = convolved.transpose(0, 2, 3, 1)
    else:
        axes = (1, 2, 3) if norm == "image" else (2, 3)
        y = convolved - convolved.mean(axes, keepdims=True)
        y = y / np.sqrt((y**2).mean(axes, keepdims=True) + 1e-6)
        y = y.transpose(0, 2, 3, 1) * npy(n.weight) + npy(n.bias)
    y = lin(act(lin(y, up)), down).transpose(0, 3, 1, 2)
    y = y * npy(model[0].layer_scale) if scale else y
    return y + (x if add == "input" else convolved)


CONVNEXT = Case(
    "unseen_convnext_block",
    build_convnext,
    "0",
    convnext_block,
    {
        "no_layer_scale": Mistake(
            partial(convnext_block, scale=False), "The layer scale is left out."
        ),
        "norm_of_image": Mistake(
            partial(convnext_block, norm="image"), "The norm is over channels and positions."
        ),
        "norm_by_channel": Mistake(
            partial(convnext_block, norm="instance"), "The norm is over positions, per channel."
        ),
        "flipped_kernel": Mistake(
            partial(convnext_block, flip=True), "The kernel is flipped, as a convolution's is."
        ),
        "edge_padding": Mistake(
            partial(convnext_block, mode="edge"), "The image is padded by its edges, not by zeros."
        ),
        "relu": Mistake(partial(convnext_block, act=relu), "The activation is ReLU."),
        "residual_after_conv": Mistake(
            partial(convnext_block, add="convolved"), "The residual is the depthwise output."
        ),
    },
)


def build_mbconv() -> tuple[Any, Any]:
    """An inverted bottleneck with squeeze and excitation."""
    config = efficientnet.MBConvConfig(4, 5, 1, 8, 8, 1)
    block = efficientnet.MBConv(config, 0.0, partial(nn.BatchNorm2d, eps=1e-3))
    return shake(nn.Sequential(block), 21, 0.7, var=(0.05, 0.3)), normal(21, 2, 8, 7, 6)


def mbconv(
    model: Any,
    x: Any,
    eps: float = 1e-3,
    squeeze_act: Callable[[Array], Array] = silu,
    gate: Callable[[Array], Array] = sigmoid,
    excite: str = "depthwise",
    last_act: bool = False,
    act: Callable[[Array], Array] = silu,
    residual: bool = True,
) -> Array:
    """The block."""
    expand, depth, se, project = model[0].block
    y = act(batch_norm(conv(x, expand[0]), expand[1], eps))
    before = y
    y = act(batch_norm(conv(y, depth[0]), depth[1], eps))
    s = (before if excite == "expanded" else y).mean((2, 3), keepdims=True)
    y = y * gate(conv(squeeze_act(conv(s, se.fc1)), se.fc2))
    y = batch_norm(conv(y, project[0]), project[1], eps)
    y = act(y) if last_act else y
    return y + x if residual else y


MBCONV = Case(
    "unseen_mbconv",
    build_mbconv,
    "0",
    mbconv,
    {
        "eps": Mistake(partial(mbconv, eps=1e-5), "The batch norms' eps is PyTorch's default."),
        "squeeze_relu": Mistake(
            partial(mbconv, squeeze_act=relu), "The squeezed channels go through ReLU."
        ),
        "hard_gate": Mistake(
            partial(mbconv, gate=lambda y: np.clip(y + 3, 0, 6) / 6),
            "The excitation is a hard sigmoid, as in MobileNetV3.",
        ),
        "excited_by_expanded": Mistake(
            partial(mbconv, excite="expanded"), "The excitation reads the expansion's output."
        ),
        "projected_act": Mistake(
            partial(mbconv, last_act=True), "The projection has an activation."
        ),
        "relu6": Mistake(
            partial(mbconv, act=lambda y: np.clip(y, 0, 6)), "The activation is ReLU6."
        ),
        "no_residual": Mistake(partial(mbconv, residual=False), "The residual is left out."),
    },
)


def build_dense() -> tuple[Any, Any]:
    """A block of densely connected layers."""
    block = densenet._DenseBlock(3, 10, 2, 6, 0.0)
    return shake(nn.Sequential(block), 22), normal(22, 2, 10, 5, 7)


def dense(
    model: Any,
    x: Any,
    inner: str = "old first",
    outer: str = "old first",
    relus: tuple[bool, bool] = (True, True),
    flip: bool = False,
    std: bool = True,
    leak: bool = False,
) -> Array:
    """The block."""
    features = [x]
    for m in model[0].children():
        y = np.concatenate(features if inner == "old first" else features[::-1], axis=1)
        y = batch_norm(y, m.norm1)
        y = conv(relu(y) if relus[0] else y, m.conv1)
        if std:
            y = batch_norm(y, m.norm2)
        else:
            part = (y - npy(m.norm2.running_mean)[:, None, None]) / (
                npy(m.norm2.running_var)[:, None, None] + 1e-5
            )
            y = part * npy(m.norm2.weight)[:, None, None] + npy(m.norm2.bias)[:, None, None]
        y = conv(relu(y) if relus[1] else y, m.conv2, flip)
        features.append(relu(y) if leak else y)
    return np.concatenate(features if outer == "old first" else features[::-1], axis=1)


DENSE = Case(
    "unseen_dense_block",
    build_dense,
    "0",
    dense,
    {
        "new_first_inside": Mistake(
            partial(dense, inner="new first"), "Layers read the newest features first."
        ),
        "new_first_outside": Mistake(
            partial(dense, outer="new first"), "The newest features come first in the output."
        ),
        "no_first_relu": Mistake(
            partial(dense, relus=(False, True)), "There is no ReLU before the first convolution."
        ),
        "flipped_kernel": Mistake(partial(dense, flip=True), "The 3x3 kernels are flipped."),
        "variance": Mistake(
            partial(dense, std=False), "The second norm divides by the variance, not its root."
        ),
        "new_relu": Mistake(partial(dense, leak=True), "The new features go through ReLU."),
    },
)


def build_resnext() -> tuple[Any, Any]:
    """A bottleneck with groups, a stride and a downsampled residual."""
    down = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    block = resnet.Bottleneck(16, 8, 2, down, groups=4, base_width=32)
    return shake(nn.Sequential(block), 23), normal(23, 2, 16, 8, 6)


def resnext(
    model: Any,
    x: Any,
    stride: str = "second",
    groups: str = "blocks",
    last: str = "sum",
    down: str = "right",
    middle: bool = True,
) -> Array:
    """The bottleneck."""
    m = model[0]
    y = relu(batch_norm(conv(x, m.conv1, stride=2 if stride == "first" else 1), m.bn1))
    if groups == "strided":
        y = y.reshape(2, 4, 4, *y.shape[2:]).swapaxes(1, 2).reshape(y.shape)
    y = conv(y, m.conv2, stride=1 if stride in ("first", "third") else 2)
    y = batch_norm(y, m.bn2)
    y = relu(y) if middle else y
    y = batch_norm(conv(y, m.conv3, stride=2 if stride == "third" else 1), m.bn3)
    c, b = m.downsample
    if down == "pooled":
        pooled = x.reshape(2, 16, 4, 2, 3, 2).mean((3, 5))
        kept = batch_norm(conv(pooled, c, stride=1), b)
    else:
        kept = conv(x, c)
        kept = kept if down == "no norm" else batch_norm(kept, b)
    return relu(y) + kept if last == "branch" else relu(y + kept)


RESNEXT = Case(
    "unseen_resnext_bottleneck",
    build_resnext,
    "0",
    resnext,
    {
        "stride_first": Mistake(
            partial(resnext, stride="first"), "The stride is on the first 1x1, as in ResNet v1."
        ),
        "strided_groups": Mistake(
            partial(resnext, groups="strided"), "A group takes every fourth channel."
        ),
        "relu_before_sum": Mistake(
            partial(resnext, last="branch"), "The last ReLU is on the branch, not on the sum."
        ),
        "down_no_norm": Mistake(
            partial(resnext, down="no norm"), "The residual's batch norm is left out."
        ),
        "down_pooled": Mistake(
            partial(resnext, down="pooled"), "The residual is average pooled, as in ResNet-D."
        ),
        "no_middle_relu": Mistake(
            partial(resnext, middle=False), "There is no ReLU after the grouped convolution."
        ),
    },
)

# ---------------------------------------------------------------- torch.nn


def build_decoder() -> tuple[Any, Any]:
    """A decoder layer that norms first, sequences first, with a mask of what is not seen."""
    layer = nn.TransformerDecoderLayer(24, 3, 36, activation="gelu", norm_first=True)
    hidden = np.arange(7)[None, :] > np.arange(7)[:, None]
    hidden[5, 2] = hidden[4, 0] = True
    x = (normal(24, 7, 2, 24), normal(25, 9, 2, 24), hidden)
    return shake(layer, 24), x


def decoder(
    model: Any,
    x: Any,
    inverted: bool = False,
    first: bool = True,
    act: Callable[[Array], Array] = gelu,
    order: str = "qkv",
    memory_norm: bool = False,
    swap: bool = False,
) -> Array:
    """The layer."""
    tgt, memory, hidden = x
    h, e = tgt.swapaxes(0, 1), memory.swapaxes(0, 1)
    seen = hidden if inverted else ~hidden

    def attention(a: Any, n: Array, kv: Array, mask: Array | None) -> Array:
        w, b = np.split(npy(a.in_proj_weight), 3), np.split(npy(a.in_proj_bias), 3)
        at = {"qkv": (0, 1, 2), "qvk": (0, 2, 1), "kqv": (1, 0, 2)}[order]
        q, k, v = (heads(y @ w[i].T + b[i], 8) for y, i in zip((n, kv, kv), at, strict=True))
        return lin(attend(q, k, v, 8**-0.5, mask), a.out_proj)

    norms = [partial(layer_norm, m=n, eps=1e-5) for n in (model.norm1, model.norm2, model.norm3)]
    if swap:
        norms = [norms[1], norms[0], norms[2]]
    if first:
        n = norms[0](h)
        h = h + attention(model.self_attn, n, n, seen)
        kv = norms[1](e) if memory_norm else e
        h = h + attention(model.multihead_attn, norms[1](h), kv, None)
        h = h + lin(act(lin(norms[2](h), model.linear1)), model.linear2)
    else:
        h = norms[0](h + attention(model.self_attn, h, h, seen))
        h = norms[1](h + attention(model.multihead_attn, h, e, None))
        h = norms[2](h + lin(act(lin(h, model.linear1)), model.linear2))
    return h.swapaxes(0, 1)


DECODER = Case(
    "unseen_nn_decoder_layer",
    build_decoder,
    "",
    decoder,
    {
        "mask_inverted": Mistake(
            partial(decoder, inverted=True), "True in the mask is taken for what is seen."
        ),
        "norm_last": Mistake(partial(decoder, first=False), "The norms are after the sums."),
        "relu": Mistake(partial(decoder, act=relu), "The activation is the default ReLU."),
        "values_second": Mistake(
            partial(decoder, order="qvk"), "in_proj is read as queries, values, keys."
        ),
        "memory_normed": Mistake(
            partial(decoder, memory_norm=True), "The memory goes through the second norm, too."
        ),
        "norms_swapped": Mistake(partial(decoder, swap=True), "The first two norms are swapped."),
    },
)


def build_lstm() -> tuple[Any, Any]:
    """A recurrent layer in both directions, with projected states."""
    model = nn.LSTM(5, 6, batch_first=True, bidirectional=True, proj_size=4)
    return shake(model, 26), normal(26, 3, 8, 5)


def lstm(
    model: Any,
    x: Any,
    gates: str = "ifgo",
    biases: str = "both",
    back: str = "right",
    cell_tanh: bool = True,
    swap: bool = False,
) -> Array:
    """The layer."""
    outs = []
    for suffix in ("l0", "l0_reverse"):
        w_i, w_h, b_i, b_h, w_p = (
            npy(getattr(model, f"{part}_{suffix}"))
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        )
        reverse = suffix.endswith("reverse") and back != "forward"
        y = x[:, ::-1] if reverse else x
        h, c = np.zeros((3, 4), np.float32), np.zeros((3, 6), np.float32)
        states = []
        for t in range(8):
            z = y[:, t] @ w_i.T + h @ w_h.T + b_i
            z = z + b_h if biases == "both" else z
            part = dict(zip(gates, np.split(z, 4, axis=-1), strict=True))
            c = sigmoid(part["f"]) * c + sigmoid(part["i"]) * np.tanh(part["g"])
            full = sigmoid(part["o"]) * (np.tanh(c) if cell_tanh else c)
            h = full @ w_p.T
            states.append(h)
        out = np.stack(states, 1)
        outs.append(out[:, ::-1] if reverse and back == "right" else out)
    return np.concatenate(outs[::-1] if swap else outs, axis=-1)


LSTM = Case(
    "unseen_nn_lstm",
    build_lstm,
    "",
    lstm,
    {
        "onnx_gates": Mistake(
            partial(lstm, gates="iofg"), "The gates are in ONNX's order, i, o, f, g."
        ),
        "ifog": Mistake(partial(lstm, gates="ifog"), "The last two gates are swapped."),
        "one_bias": Mistake(partial(lstm, biases="input"), "Only the input's bias is added."),
        "not_turned_back": Mistake(
            partial(lstm, back="turned"), "The backward outputs are left in reversed time."
        ),
        "never_turned": Mistake(
            partial(lstm, back="forward"), "The backward weights are run forward in time."
        ),
        "backward_first": Mistake(
            partial(lstm, swap=True), "The backward outputs come before the forward."
        ),
        "no_cell_tanh": Mistake(
            partial(lstm, cell_tanh=False), "The cell is put out without its tanh."
        ),
    },
)

# ---------------------------------------------------------------- Keras


def keras_shake(model: Any, seed: int, var: tuple[float, float] = (0.5, 1.5)) -> Any:
    """Give every weight of a Keras model a generic value."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        noise = rng.standard_normal(shape)
        if "variance" in weight.path:
            value = rng.uniform(*var, shape)
        elif "gamma" in weight.path:
            value = 1 + 0.3 * noise
        elif "kernel" in weight.path:
            value = 1.3 * noise / math.sqrt(max(8, math.prod(shape[:-1])) / 2)
        else:
            value = 0.3 * noise
        weight.assign(value.astype(np.float32))
    return model


def values(layer: Any) -> list[Array]:
    """The weights of a Keras layer."""
    return [keras.ops.convert_to_numpy(weight) for weight in layer.weights]


def build_gru() -> tuple[Any, Any]:
    """Two recurrent layers, the second of which goes backwards."""
    model = keras.Sequential(
        [
            keras.Input((9, 5)),
            keras.layers.GRU(7, return_sequences=True),
            keras.layers.GRU(6, return_sequences=True, go_backwards=True),
        ]
    )
    return keras_shake(model, 27), normal(27, 2, 9, 5)


def gru(
    model: Any,
    x: Any,
    gates: str = "zrh",
    keep: str = "z",
    reset: str = "after",
    backwards: str = "left reversed",
    biases: str = "both",
) -> Array:
    """The model."""
    for layer in model.layers:
        w, u, (b, b_u) = values(layer)
        b_u = b_u if biases == "both" else np.zeros_like(b_u)
        y = x[:, ::-1] if layer.go_backwards and backwards != "ignored" else x
        h = np.zeros((2, u.shape[0]), np.float32)
        states = []
        for t in range(9):
            i = dict(zip(gates, np.split(y[:, t] @ w + b, 3, axis=-1), strict=True))
            r = dict(zip(gates, np.split(h @ u + b_u, 3, axis=-1), strict=True))
            z, g = sigmoid(i["z"] + r["z"]), sigmoid(i["r"] + r["r"])
            if reset == "after":
                candidate = np.tanh(i["h"] + g * r["h"])
            else:
                at = gates.index("h")
                size = u.shape[0]
                part = slice(at * size, (at + 1) * size)
                candidate = np.tanh(i["h"] + (g * h) @ u[:, part] + b_u[part])
            h = z * h + (1 - z) * candidate if keep == "z" else (1 - z) * h + z * candidate
            states.append(h)
        x = np.stack(states, 1)
        if layer.go_backwards and backwards == "turned back":
            x = x[:, ::-1]
    return x


GRU = Case(
    "unseen_keras_gru",
    build_gru,
    "",
    gru,
    {
        "torch_gates": Mistake(
            partial(gru, gates="rzh"), "The gates are in PyTorch's order, reset first."
        ),
        "update_swapped": Mistake(
            partial(gru, keep="1 - z"), "The update gate weighs the candidate, not the state."
        ),
        "reset_before": Mistake(
            partial(gru, reset="before"), "The reset gate is applied before the product."
        ),
        "turned_back": Mistake(
            partial(gru, backwards="turned back"), "The backward layer's output is turned back."
        ),
        "backwards_ignored": Mistake(partial(gru, backwards="ignored"), "go_backwards is ignored."),
        "one_bias": Mistake(partial(gru, biases="input"), "The recurrent bias is left out."),
    },
)


def build_keras_attention() -> tuple[Any, Any]:
    """A causal attention block, with values of another size than keys, of small numbers."""
    layers = keras.layers
    x = keras.Input((10, 16))
    n = layers.LayerNormalization(name="norm_1")(x)
    a = layers.MultiHeadAttention(3, 8, value_dim=6, name="attention")(n, n, use_causal_mask=True)
    h = layers.Add()([x, a])
    n = layers.LayerNormalization(name="norm_2")(h)
    f = layers.Dense(28, activation="gelu", name="up")(n)
    f = layers.Dense(16, name="down")(f)
    model = keras.Model(x, layers.Add()([h, f]))
    return keras_shake(model, 28), normal(28, 2, 10, 16, scale=0.1)


def keras_attention(
    model: Any,
    x: Any,
    eps: float = 1e-3,
    seen: bool = True,
    size: int = 8,
    merged: str = "head first",
    norms: str = "first",
) -> Array:
    """The model."""

    def norm(y: Array, name: str) -> Array:
        gamma, beta = values(model.get_layer(name))
        y = y - y.mean(-1, keepdims=True)
        return y / np.sqrt((y**2).mean(-1, keepdims=True) + eps) * gamma + beta

    wq, bq, wk, bk, wv, bv, wo, bo = values(model.get_layer("attention"))
    n = x if norms == "last" else norm(x, "norm_1")
    q, k, v = (
        np.einsum("bsd,dhk->bhsk", n, w) + b[:, None] for w, b in ((wq, bq), (wk, bk), (wv, bv))
    )
    s = q @ k.swapaxes(-1, -2) / math.sqrt(size)
    s = np.where(causal(10), s, -1e9) if seen else s
    y = softmax(s) @ v
    if merged == "head first":
        a = y.transpose(0, 2, 1, 3).reshape(2, 10, 18) @ wo.reshape(18, 16) + bo
    elif merged == "head last":
        a = y.transpose(0, 2, 3, 1).reshape(2, 10, 18) @ wo.reshape(18, 16) + bo
    else:
        a = y.reshape(2, 10, 18) @ wo.reshape(18, 16) + bo
    h = x + a
    h = norm(h, "norm_1") if norms == "last" else h
    n = h if norms == "last" else norm(h, "norm_2")
    (w_up, b_up), (w_down, b_down) = values(model.get_layer("up")), values(model.get_layer("down"))
    h = h + gelu(n @ w_up + b_up) @ w_down + b_down
    return norm(h, "norm_2") if norms == "last" else h


KERAS_ATTENTION = Case(
    "unseen_keras_attention",
    build_keras_attention,
    "",
    keras_attention,
    {
        "torch_eps": Mistake(
            partial(keras_attention, eps=1e-5), "The norms' eps is PyTorch's default."
        ),
        "not_causal": Mistake(partial(keras_attention, seen=False), "There is no causal mask."),
        "value_scale": Mistake(
            partial(keras_attention, size=6), "Scores are scaled by the values' size."
        ),
        "heads_last": Mistake(
            partial(keras_attention, merged="head last"), "Heads are merged with the head last."
        ),
        "not_transposed": Mistake(
            partial(keras_attention, merged="raw"), "Heads are merged without a transpose."
        ),
        "norm_last": Mistake(
            partial(keras_attention, norms="last"), "The norms are after the sums."
        ),
    },
)


def build_keras_conv() -> tuple[Any, Any]:
    """Convolutions with a stride and a depth multiplier, and channels that are excited."""
    layers = keras.layers
    x = keras.Input((11, 8, 3))
    y = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    y = layers.BatchNormalization(name="stem_norm")(y)
    y = layers.Activation("relu6")(y)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depth")(y)
    y = layers.BatchNormalization(name="depth_norm")(y)
    y = layers.Activation("swish")(y)
    s = layers.GlobalAveragePooling2D(keepdims=True)(y)
    s = layers.Dense(4, activation="relu", name="squeeze")(s)
    s = layers.Dense(12, activation="hard_sigmoid", name="excite")(s)
    y = layers.Multiply()([y, s])
    model = keras.Model(x, layers.Conv2D(7, 1, name="project")(y))
    return keras_shake(model, 29, var=(0.01, 0.05)), normal(29, 2, 11, 8, 3)


def keras_conv(
    model: Any,
    x: Any,
    pad: tuple[int, int] = (0, 1),
    multiplier: str = "inner",
    hard: str = "keras 3",
    eps: float = 1e-3,
    capped: bool = True,
) -> Array:
    """The model."""

    def norm(y: Array, name: str) -> Array:
        gamma, beta, mean, variance = (v[:, None, None] for v in values(model.get_layer(name)))
        return (y - mean) / np.sqrt(variance + eps) * gamma + beta

    (stem,) = values(model.get_layer("stem"))
    y = conv2d(x.transpose(0, 3, 1, 2), stem.transpose(3, 2, 0, 1), None, 2, (1, 1, *pad))
    y = relu(norm(y, "stem_norm"))
    y = np.minimum(y, 6) if capped else y
    kernel, bias = values(model.get_layer("depth"))
    if multiplier == "inner":
        w = kernel.transpose(2, 3, 0, 1).reshape(12, 1, 3, 3)
        y = conv2d(y, w, bias, 1, (1, 1, 1, 1), groups=6)
    else:
        w = kernel.transpose(3, 2, 0, 1).reshape(12, 1, 3, 3)
        y = conv2d(np.concatenate([y, y], 1), w, bias, 1, (1, 1, 1, 1), groups=12)
    y = silu(norm(y, "depth_norm"))
    (w_1, b_1), (w_2, b_2) = (values(model.get_layer(name)) for name in ("squeeze", "excite"))
    s = relu(y.mean((2, 3)) @ w_1 + b_1) @ w_2 + b_2
    if hard == "keras 3":
        s = np.clip(s + 3, 0, 6) / 6
    else:
        s = np.clip(0.2 * s + 0.5, 0, 1) if hard == "keras 2" else sigmoid(s)
    y = y * s[:, :, None, None]
    kernel, bias = values(model.get_layer("project"))
    return y.transpose(0, 2, 3, 1) @ kernel[0, 0] + bias


KERAS_CONV = Case(
    "unseen_keras_conv",
    build_keras_conv,
    "",
    keras_conv,
    {
        "torch_padding": Mistake(
            partial(keras_conv, pad=(1, 0)), "The stride's odd padding is on the left."
        ),
        "multiplier_outside": Mistake(
            partial(keras_conv, multiplier="outer"),
            "The depth multiplier varies slower than the channel.",
        ),
        "keras_2_sigmoid": Mistake(
            partial(keras_conv, hard="keras 2"), "The hard sigmoid is that of Keras 2."
        ),
        "soft_sigmoid": Mistake(partial(keras_conv, hard="soft"), "The sigmoid is not hard."),
        "torch_eps": Mistake(
            partial(keras_conv, eps=1e-5), "The batch norms' eps is PyTorch's default."
        ),
        "torch_defaults": Mistake(
            partial(keras_conv, pad=(1, 0), eps=1e-5),
            "The stride's padding is on the left and the batch norms' eps is PyTorch's.",
            causes=2,
        ),
        "relu": Mistake(partial(keras_conv, capped=False), "ReLU6 is a plain ReLU."),
    },
)

CASES: list[Case] = [
    GEMMA2,
    NEOX,
    FALCON,
    MPT,
    MIXTRAL,
    GPT_OSS_MOE,
    GPT_OSS_ATTENTION,
    DEEPSEEK,
    MODERNBERT,
    DEBERTA,
    OPT,
    WHISPER,
    CLIP,
    T5,
    COHERE,
    OLMO2,
    MAMBA,
    SEGFORMER,
    SWIN,
    SHUFFLE,
    CONVNEXT,
    MBCONV,
    DENSE,
    RESNEXT,
    DECODER,
    LSTM,
    GRU,
    KERAS_ATTENTION,
    KERAS_CONV,
]
