"""Layers of language models of transformers.

Written from the frameworks' references and from how ports go wrong, without a look at any tool.
"""

from functools import partial
from typing import Any

import numpy as np
from transformers import (
    CanineConfig,
    ConvBertConfig,
    LayoutLMConfig,
    Llama4TextConfig,
    Llama4TextModel,
    MiniMaxConfig,
    MiniMaxModel,
    MobileBertConfig,
    PersimmonConfig,
    PersimmonModel,
)
from transformers.models.canine.modeling_canine import CanineEmbeddings
from transformers.models.convbert.modeling_convbert import ConvBertSelfAttention
from transformers.models.layoutlm.modeling_layoutlm import LayoutLMEmbeddings
from transformers.models.mobilebert.modeling_mobilebert import MobileBertLayer

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import (
    conv,
    join_heads,
    layer_norm,
    linear,
    relu,
    rms_norm,
    rotary_angles,
    sigmoid,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import (
    beneath,
    inputs,
    token_ids,
    tokens,
    train_torch,
    weights_of,
)


def _dense(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def build_convbert() -> tuple[Any, np.ndarray]:
    config = ConvBertConfig(
        hidden_size=24, num_attention_heads=4, head_ratio=2, conv_kernel_size=5, num_groups=1
    )
    return train_torch(ConvBertSelfAttention(config), 6101, gain=1.5), inputs(6102, 2, 9, 24)


def convbert(
    model: Any,
    x: np.ndarray,
    size: int = 6,
    joined: str = "attention first",
    kernel: str = "of key and query",
    softmax_over: str = "taps",
    pointwise_bias: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    b, t, _ = x.shape
    q, k, v = (_dense(x, w, name) for name in ("query", "key", "value"))
    # The kernels of the span-based convolution come from a separable convolution and the query.
    span = conv(x.swapaxes(1, 2), w["key_conv_attn_layer.depthwise.weight"], padding=2, groups=24)
    span = conv(span, w["key_conv_attn_layer.pointwise.weight"])
    if pointwise_bias:
        span = span + w["key_conv_attn_layer.bias"]
    span = span.swapaxes(1, 2)
    span = span + q if kernel == "sum" else span * q
    taps = _dense(span, w, "conv_kernel_layer")
    if softmax_over == "heads and taps":
        taps = softmax(taps).reshape(b, t, 2, 5)
    else:
        taps = softmax(taps.reshape(b, t, 2, 5))
    values = np.pad(_dense(x, w, "conv_out_layer"), ((0, 0), (2, 2), (0, 0)))
    near = np.stack([values[:, i : i + t] for i in range(5)], -1).reshape(b, t, 2, 6, 5)
    local = np.einsum("bthdk,bthk->bthd", near, taps)
    q, k, v = (split_heads(part, 2) for part in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(size))
    far = (softmax(scores) @ v).transpose(0, 2, 1, 3)
    if joined == "within each head":
        return np.concatenate([far, local], -1).reshape(b, t, 24)
    pair = [local, far] if joined == "convolution first" else [far, local]
    return np.concatenate(pair, 2).reshape(b, t, 24)


def build_persimmon() -> tuple[Any, dict[str, np.ndarray]]:
    config = PersimmonConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=32,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 25000.0,
            "partial_rotary_factor": 0.5,
        },
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(PersimmonModel(config), 6103, gain=1.5), token_ids(6104, 9)


def persimmon(
    model: Any,
    x: dict[str, np.ndarray],
    fused: str = "head by head",
    norms: str = "before rotation",
    theta: float = 25000.0,
    rotated: int = 4,
    rates_of: int = 4,
    stored: str = "",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    h = layer_norm(h, w["input_layernorm.weight"], w["input_layernorm.bias"])
    b, t, _ = h.shape
    y = _dense(h, w, "self_attn.query_key_value")
    if fused == "in thirds":
        q, k, v = (part.reshape(b, t, 4, 8) for part in np.split(y, 3, -1))
    else:
        y = y.reshape(b, t, 4, 3, 8)
        q, k, v = y[..., 0, :], y[..., 1, :], y[..., 2, :]

    def norm(a: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(a, w[f"self_attn.{name}.weight"], w[f"self_attn.{name}.bias"])

    if norms == "before rotation":
        q, k = norm(q, "q_layernorm"), norm(k, "k_layernorm")
    elif norms == "keys' for both":
        q, k = norm(q, "k_layernorm"), norm(k, "k_layernorm")
    q, k, v = (part.swapaxes(1, 2) for part in (q, k, v))
    angle = np.tile(rotary_angles(t, rates_of, theta)[:, : rotated // 2], 2)

    def rotate(a: np.ndarray) -> np.ndarray:
        turn, rest = a[..., :rotated], a[..., rotated:]
        low, high = np.split(turn, 2, -1)
        turn = turn * np.cos(angle) + np.concatenate([-high, low], -1) * np.sin(angle)
        return np.concatenate([turn, rest], -1)

    q, k = rotate(q), rotate(k)
    if norms == "after rotation":
        q = norm(q.swapaxes(1, 2), "q_layernorm").swapaxes(1, 2)
        k = norm(k.swapaxes(1, 2), "k_layernorm").swapaxes(1, 2)
    if stored == "four bits":
        k, v = (
            np.round(a / (s := np.abs(a).max(-1, keepdims=True) / np.float32(7))) * s
            for a in (k, v)
        )
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(8))
    scores = np.where(np.tril(np.ones((t, t), bool)), scores, np.float32(-1e30))
    return _dense(join_heads(softmax(scores) @ v), w, "self_attn.dense")


def build_llama4() -> tuple[Any, dict[str, np.ndarray]]:
    config = Llama4TextConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=32,
        intermediate_size_mlp=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        moe_layers=[],
        no_rope_layers=[1],
        attention_chunk_size=4,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(Llama4TextModel(config), 6105, gain=2.0), token_ids(6106, 10)


def llama4(
    model: Any,
    x: dict[str, np.ndarray],
    pairs: str = "neighbours",
    norm: str = "root mean square",
    reach: str = "chunks",
    shared: str = "repeated",
    scaled: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    h = rms_norm(h, w["input_layernorm.weight"], 1e-5)
    q = split_heads(_dense(h, w, "self_attn.q_proj"), 4)
    k = split_heads(_dense(h, w, "self_attn.k_proj"), 2)
    v = split_heads(_dense(h, w, "self_attn.v_proj"), 2)
    t = h.shape[1]
    angle = rotary_angles(t, 8, 500000.0)
    cos, sin = np.cos(angle), np.sin(angle)

    def rotate(a: np.ndarray) -> np.ndarray:
        if pairs == "halves":
            even, odd = a[..., :4], a[..., 4:]
            return np.concatenate([even * cos - odd * sin, odd * cos + even * sin], -1)
        even, odd = a[..., ::2], a[..., 1::2]
        return np.stack([even * cos - odd * sin, odd * cos + even * sin], -1).reshape(a.shape)

    def normal(a: np.ndarray) -> np.ndarray:
        if norm == "length":
            return a / np.sqrt((a * a).sum(-1, keepdims=True) + np.float32(1e-5))
        return a / np.sqrt((a * a).mean(-1, keepdims=True) + np.float32(1e-5))

    q, k = rotate(q), rotate(k)
    q = normal(q)
    if norm != "queries alone":
        k = normal(k)
    if shared == "tiled":
        k, v = (np.concatenate([a, a], 1) for a in (k, v))
    else:
        k, v = (np.repeat(a, 2, 1) for a in (k, v))
    scores = q @ k.swapaxes(-1, -2)
    if scaled:
        scores = scores / np.float32(np.sqrt(8))
    i, j = np.arange(t)[:, None], np.arange(t)
    seen = j <= i
    if reach == "chunks":
        seen = seen & (i // 4 == j // 4)
    elif reach == "window":
        seen = seen & (i - j < 4)
    scores = np.where(seen, scores, np.float32(-1e30))
    return _dense(join_heads(softmax(scores) @ v), w, "self_attn.o_proj")


def build_mobilebert() -> tuple[Any, np.ndarray]:
    config = MobileBertConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=20,
        intra_bottleneck_size=12,
        true_hidden_size=12,
        embedding_size=12,
        num_feedforward_networks=2,
        attn_implementation="eager",
    )
    return train_torch(MobileBertLayer(config), 6107, gain=1.4), inputs(6108, 2, 7, 24)


def mobilebert(
    model: Any,
    x: np.ndarray,
    no_norm: bool = True,
    residual: str = "bottleneck",
    feed_forwards: int = 2,
    query_from: str = "attention",
    last_residual: bool = True,
) -> np.ndarray:
    w = weights_of(model)

    def norm(a: np.ndarray, name: str) -> np.ndarray:
        gain, bias = w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"]
        return a * gain + bias if no_norm else layer_norm(a, gain, bias, 1e-12)

    low = norm(_dense(x, w, "bottleneck.input.dense"), "bottleneck.input")
    shared = norm(_dense(x, w, "bottleneck.attention.dense"), "bottleneck.attention")
    asked = low if query_from == "input" else shared
    q = split_heads(_dense(asked, w, "attention.self.query"), 2)
    k = split_heads(_dense(asked, w, "attention.self.key"), 2)
    v = split_heads(_dense(x, w, "attention.self.value"), 2)
    y = join_heads(softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(6))) @ v)
    y = _dense(y, w, "attention.output.dense")
    y = norm(y + (shared if residual == "attention's" else low), "attention.output")
    for i in range(feed_forwards - 1):
        z = relu(_dense(y, w, f"ffn.{i}.intermediate.dense"))
        y = norm(_dense(z, w, f"ffn.{i}.output.dense") + y, f"ffn.{i}.output")
    z = relu(_dense(y, w, "intermediate.dense"))
    y = norm(_dense(z, w, "output.dense") + y, "output")
    y = _dense(y, w, "output.bottleneck.dense")
    return norm(y + x if last_residual else y, "output.bottleneck")


def build_layoutlm() -> tuple[Any, dict[str, np.ndarray]]:
    config = LayoutLMConfig(
        vocab_size=50,
        hidden_size=16,
        max_position_embeddings=24,
        max_2d_position_embeddings=40,
        type_vocab_size=2,
    )
    rng = np.random.default_rng(6109)
    first = rng.integers(0, 20, (2, 8, 2))
    box = np.concatenate([first, first + rng.integers(1, 19, (2, 8, 2))], -1)
    words = {"input_ids": tokens(6110, 2, 8, vocabulary=50), "bbox": box}
    return train_torch(LayoutLMEmbeddings(config), 6111), words


def layoutlm(
    model: Any,
    x: dict[str, np.ndarray],
    order: tuple[int, ...] = (0, 1, 2, 3),
    size: str = "height, width",
    type_added: bool = True,
    first: int = 0,
    corner: str = "far corner",
    stored: str = "",
) -> np.ndarray:
    w = weights_of(model)
    left, upper, right, lower = (x["bbox"][..., i] for i in order)
    height, width = lower - upper, right - left
    if corner == "size":
        # The boxes taken for (x, y, width, height).
        right, lower, height, width = left + right, upper + lower, lower, right
        right, lower = np.minimum(right, 39), np.minimum(lower, 39)
    if size == "width, height":
        height, width = width, height
    y = w["word_embeddings.weight"][x["input_ids"]]
    y = y + w["position_embeddings.weight"][first : first + y.shape[1]]
    y = y + w["x_position_embeddings.weight"][left] + w["y_position_embeddings.weight"][upper]
    y = y + w["x_position_embeddings.weight"][right] + w["y_position_embeddings.weight"][lower]
    y = y + w["h_position_embeddings.weight"][height] + w["w_position_embeddings.weight"][width]
    if type_added:
        y = y + w["token_type_embeddings.weight"][0]
    y = layer_norm(y, w["LayerNorm.weight"], w["LayerNorm.bias"], 1e-12)
    return _half(y) if stored == "half" else y


def build_canine() -> tuple[Any, dict[str, np.ndarray]]:
    config = CanineConfig(
        hidden_size=16,
        num_hash_functions=4,
        num_hash_buckets=32,
        max_position_embeddings=24,
        type_vocab_size=4,
    )
    text = np.array(
        [[ord(c) for c in "Größe 42 🙂"], [ord(c) for c in "日本語 → 𝛑 =x"]], dtype=np.int64
    )
    kinds = np.repeat(np.array([[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]), 2, 0)
    return train_torch(CanineEmbeddings(config), 6112), {"input_ids": text, "token_type_ids": kinds}


def canine(
    model: Any,
    x: dict[str, np.ndarray],
    one: int = 1,
    unit: str = "code points",
    primes: tuple[int, ...] = (31, 43, 59, 61),
    shards: str = "concatenated",
    kinds: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    ids = x["input_ids"]
    if unit == "first plane":
        ids = np.where(ids > 0xFFFF, 0xFFFD, ids)
    parts = []
    for i, prime in enumerate(primes):
        bucket = (ids + one) * prime % 32
        parts.append(w[f"HashBucketCodepointEmbedder_{i}.weight"][bucket])
    y = np.concatenate(parts, -1)
    if shards == "interleaved":
        y = np.stack(parts, -1).reshape(y.shape)
    if kinds:
        y = y + w["token_type_embeddings.weight"][x["token_type_ids"]]
    else:
        y = y + w["token_type_embeddings.weight"][0]
    y = y + w["char_position_embeddings.weight"][: ids.shape[1]]
    return layer_norm(y, w["LayerNorm.weight"], w["LayerNorm.bias"], 1e-12)


def build_minimax() -> tuple[Any, dict[str, np.ndarray]]:
    config = MiniMaxConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        block_size=4,
        layer_types=["linear_attention", "linear_attention", "full_attention"],
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return train_torch(MiniMaxModel(config), 6113, gain=1.5), token_ids(6114, 10)


def minimax(
    model: Any,
    x: dict[str, np.ndarray],
    activated: str = "queries, keys, values",
    gate_of: str = "input",
    slopes: str = "of the layer",
    decay_first: bool = True,
    norm: bool = True,
    fused: str = "head by head",
    carried: bool = True,
    state: str = "",
) -> np.ndarray:
    w = weights_of(model)
    h = w["embed_tokens.weight"][x["input_ids"]]
    w = beneath(w, "layers.0.")
    h = rms_norm(h, w["input_layernorm.weight"])
    b, t, _ = h.shape
    y = _dense(h, w, "self_attn.qkv_proj")
    if activated == "queries, keys, values":
        y = silu(y)
    if fused == "in thirds":
        q, k, v = (part.reshape(b, t, 3, 8) for part in np.split(y, 3, -1))
    else:
        q, k, v = np.split(y.reshape(b, t, 3, 24), 3, -1)
    if activated == "queries, keys":
        q, k = silu(q), silu(k)
    rate = (2.0 ** (-8 / 3)) ** np.arange(1, 4)
    if slopes == "from zero":
        rate = (2.0 ** (-8 / 3)) ** np.arange(0, 3)
    decay = np.exp(-rate).astype(np.float32)[None, :, None, None]
    s = np.zeros((b, 3, 8, 8), np.float32)
    out = []
    for i in range(t):
        if not carried and i % 4 == 0:
            s = np.zeros_like(s)
        new = k[:, i, :, :, None] * v[:, i, :, None, :]
        s = decay * s + new if decay_first else decay * (s + new)
        if state == "half":
            s = _half(s)
        out.append(np.einsum("bhd,bhde->bhe", q[:, i], s))
    y = np.stack(out, 1).reshape(b, t, 24)
    if norm:
        y = rms_norm(y, w["self_attn.norm.weight"])
    gate = _dense(y if gate_of == "output" else h, w, "self_attn.output_gate")
    return _dense(sigmoid(gate) * y, w, "self_attn.out_proj")


CASES = [
    Case(
        "third_convbert_attention",
        build_convbert,
        "",
        convbert,
        {
            "joined_within_heads": Mistake(
                partial(convbert, joined="within each head"),
                "Each head's attention and its convolution are put side by side, where all heads "
                "of attention come first and those of the convolution after them.",
            ),
            "kernel_from_sum": Mistake(
                partial(convbert, kernel="sum"),
                "The kernels come from the sum of the convolved keys and the query, where they "
                "come from their product.",
            ),
            "kernel_softmax_over_all_heads": Mistake(
                partial(convbert, softmax_over="heads and taps"),
                "The kernels' softmax runs over the taps of all heads together, where each head "
                "has a softmax over its five taps.",
            ),
            "bias_of_separable_forgotten": Mistake(
                partial(convbert, pointwise_bias=False),
                "The bias of the separable convolution (a parameter beside the two convolutions) "
                "is forgotten, where it is added after the pointwise one.",
            ),
            "scaled_by_size_of_four_heads": Mistake(
                partial(convbert, size=24 // 4 // 2),
                "Scores are divided by the root of 3 (the size with the configured four heads, "
                "halved), where the head ratio leaves two heads of 6.",
            ),
        },
    ),
    Case(
        "third_persimmon_attention",
        build_persimmon,
        "layers.0.self_attn",
        persimmon,
        {
            "fused_in_thirds": Mistake(
                partial(persimmon, fused="in thirds"),
                "The fused projection is split into thirds of queries, keys and values, where "
                "each head has its query, key and value side by side.",
            ),
            "query_normalised_as_key": Mistake(
                partial(persimmon, norms="keys' for both"),
                "The query is normalised with the weights of the key's normalisation, where it "
                "has its own.",
            ),
            "normalised_after_rotation": Mistake(
                partial(persimmon, norms="after rotation"),
                "Queries and keys are normalised after the rotation, where they are before it.",
            ),
            "theta_of_llama": Mistake(
                partial(persimmon, theta=10000.0),
                "The rotation's base is 10000, where this model has 25000.",
            ),
            "whole_head_rotated": Mistake(
                partial(persimmon, rotated=8, rates_of=8),
                "All eight channels of a head are rotated, where only the first half is.",
            ),
            "keys_and_values_in_four_bits": Mistake(
                partial(persimmon, stored="four bits"),
                "Keys and values are stored as integers from -7 to 7 with a scale for each head "
                "and position, where they are kept in float32.",
            ),
        },
    ),
    Case(
        "third_llama4_attention_in_chunks",
        build_llama4,
        "layers.0.self_attn",
        llama4,
        {
            "rotated_by_halves": Mistake(
                partial(llama4, pairs="halves"),
                "The rotation pairs channel i with i + 4 (Llama 3's of transformers), where "
                "neighbours are the pairs.",
            ),
            "scaled_to_length_one": Mistake(
                partial(llama4, norm="length"),
                "Queries and keys are brought to length one, as the layer's name says, where they "
                "are divided by the root of their mean square.",
            ),
            "keys_not_normalised": Mistake(
                partial(llama4, norm="queries alone"),
                "Only the queries are normalised, where the keys are as well.",
            ),
            "causal_over_everything": Mistake(
                partial(llama4, reach="all"),
                "Each position sees all before it, where it sees those of its chunk of four.",
            ),
            "window_instead_of_chunks": Mistake(
                partial(llama4, reach="window"),
                "Each position sees the last four (a sliding window), where it sees those of its "
                "chunk of four.",
            ),
            "tiled_key_heads": Mistake(
                partial(llama4, shared="tiled"),
                "The two key and value heads are tiled (0, 1, 0, 1), where they are repeated (0, "
                "0, 1, 1).",
            ),
            "window_and_no_scale": Mistake(
                partial(llama4, reach="window", scaled=False),
                "Two causes: a sliding window of four, where there are chunks of four, and scores "
                "that are not divided, where they are by the root of the head's size.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_mobilebert_layer",
        build_mobilebert,
        "",
        mobilebert,
        {
            "layer_norm_for_no_norm": Mistake(
                partial(mobilebert, no_norm=False),
                "The norms normalise, where this model's are a gain and a bias alone.",
            ),
            "residual_of_shared_bottleneck": Mistake(
                partial(mobilebert, residual="attention's"),
                "The attention's residual is the bottleneck of query and key, where it is the "
                "input's bottleneck.",
            ),
            "second_feed_forward_left_out": Mistake(
                partial(mobilebert, feed_forwards=1),
                "The stacked feed-forward is left out, where it comes before the last one.",
            ),
            "query_and_key_of_input_bottleneck": Mistake(
                partial(mobilebert, query_from="input"),
                "Query and key read the input's bottleneck, where they have one of their own.",
            ),
            "outer_residual_forgotten": Mistake(
                partial(mobilebert, last_residual=False),
                "The block's input is not added after the output bottleneck, where it is before "
                "the last norm.",
            ),
        },
    ),
    Case(
        "third_layoutlm_embeddings",
        build_layoutlm,
        "",
        layoutlm,
        {
            "box_with_rows_first": Mistake(
                partial(layoutlm, order=(1, 0, 3, 2)),
                "The boxes are read as upper, left, lower, right, where they are left, upper, "
                "right, lower.",
            ),
            "height_and_width_swapped": Mistake(
                partial(layoutlm, size="width, height"),
                "The table of heights is asked for the width and that of widths for the height, "
                "where each is asked for its own.",
            ),
            "boxes_with_sizes": Mistake(
                partial(layoutlm, corner="size"),
                "The last two numbers of a box are taken for its width and height, where they are "
                "its far corner.",
            ),
            "type_zero_not_added": Mistake(
                partial(layoutlm, type_added=False),
                "The embedding of token type 0 is not added where no types are given, where the "
                "layer adds row 0.",
            ),
            "positions_from_two": Mistake(
                partial(layoutlm, first=2),
                "Positions begin at 2 (RoBERTa's), where they begin at 0.",
            ),
            "kept_in_half_precision": Mistake(
                partial(layoutlm, stored="half"),
                "The sum is normalised in float32 and kept in half precision, which is inherently "
                "small, where the layer keeps float32.",
            ),
        },
    ),
    Case(
        "third_canine_hash_embeddings",
        build_canine,
        "",
        canine,
        {
            "hash_without_one": Mistake(
                partial(canine, one=0),
                "A code point is hashed as it is, where one is added to it first.",
            ),
            "characters_beyond_sixteen_bits_replaced": Mistake(
                partial(canine, unit="first plane"),
                "Code points above 65535 (an emoji, a mathematical letter) are replaced by the "
                "replacement character, where they are hashed as they are.",
            ),
            "first_primes": Mistake(
                partial(canine, primes=(2, 3, 5, 7)),
                "The hashes multiply by 2, 3, 5 and 7, where they do by 31, 43, 59 and 61.",
            ),
            "shards_interleaved": Mistake(
                partial(canine, shards="interleaved"),
                "The four shards are interleaved channel by channel, where they are one after the "
                "other.",
            ),
            "segments_forgotten": Mistake(
                partial(canine, kinds=False),
                "All characters get the embedding of segment 0, where each gets that of its given "
                "segment.",
            ),
        },
    ),
    Case(
        "third_minimax_lightning_attention",
        build_minimax,
        "layers.0.self_attn",
        minimax,
        {
            "values_not_activated": Mistake(
                partial(minimax, activated="queries, keys"),
                "SiLU is applied to queries and keys alone, where the values have it too.",
            ),
            "gate_from_attention": Mistake(
                partial(minimax, gate_of="output"),
                "The output gate is computed from the normalised attention, where it is from the "
                "layer's input.",
            ),
            "slopes_from_zero": Mistake(
                partial(minimax, slopes="from zero"),
                "The heads' slopes have exponents 0, 1, 2, where they have 1, 2, 3.",
            ),
            "new_pair_decays": Mistake(
                partial(minimax, decay_first=False),
                "The decay is applied to the state after the new pair is added, where the new "
                "pair is not decayed.",
            ),
            "fused_in_thirds": Mistake(
                partial(minimax, fused="in thirds"),
                "The fused projection is split into thirds, where each head has its query, key "
                "and value side by side.",
            ),
            "state_lost_between_blocks": Mistake(
                partial(minimax, carried=False),
                "The state is zero again at each block of four, where it is carried on.",
            ),
            "norm_forgotten": Mistake(
                partial(minimax, norm=False),
                "The attention is not normalised, where it is before its gate.",
            ),
            "state_in_half_precision": Mistake(
                partial(minimax, state="half"),
                "The state is rounded to half precision after each step, which is inherently "
                "small, where it is kept in float32.",
            ),
        },
    ),
]
