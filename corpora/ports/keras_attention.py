"""Attention layers of Keras."""

from functools import partial
from typing import Any

import keras
import numpy as np

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import softmax
from corpora.ports.trained import inputs, train_keras


def build_multi_head() -> tuple[Any, np.ndarray]:
    x = keras.Input((7, 24))
    attention = keras.layers.MultiHeadAttention(4, 6, name="mha")
    y = attention(x, x, use_causal_mask=True)
    return train_keras(keras.Model(x, y), 91, gain=2.0), inputs(92, 2, 7, 24)


def multi_head(
    model: Any,
    x: np.ndarray,
    scale: float = 6,
    split: str = "heads first",
    mask: int = 0,
    join: str = "time first",
    output_bias: bool = True,
    value_bias: bool = True,
    key_and_value: str = "kv",
) -> np.ndarray:
    wq, bq, wk, bk, wv, bv, wo, bo = model.get_layer("mha").get_weights()
    if key_and_value == "vk":
        wk, bk, wv, bv = wv, bv, wk, bk
    b, t, _ = x.shape

    def heads(w: np.ndarray, bias: np.ndarray) -> np.ndarray:
        y = x @ w.reshape(24, 24) + bias.ravel()
        if split == "sizes first":
            return y.reshape(b, t, 6, 4).transpose(0, 3, 1, 2)
        return y.reshape(b, t, 4, 6).transpose(0, 2, 1, 3)

    q, k = heads(wq, bq), heads(wk, bk)
    v = heads(wv, bv if value_bias else np.zeros_like(bv))
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(scale))
    allowed = np.tri(t, k=mask, dtype=bool)
    scores = np.where(allowed, scores, np.float32(-1e9))
    y = softmax(scores) @ v
    if join == "heads first":
        y = y.reshape(b, t, 24)
    else:
        y = y.transpose(0, 2, 1, 3).reshape(b, t, 24)
    y = y @ wo.reshape(24, 24)
    return y + bo if output_bias else y


def build_grouped() -> tuple[Any, np.ndarray]:
    x = keras.Input((6, 16))
    attention = keras.layers.GroupQueryAttention(4, 8, 2, name="gqa")
    return train_keras(keras.Model(x, attention(x, x)), 93, gain=3.0), inputs(94, 2, 6, 16)


def grouped(model: Any, x: np.ndarray, spread: str = "repeat", over: int = -1) -> np.ndarray:
    wq, bq, wk, bk, wv, bv, wo, bo = model.get_layer("gqa").get_weights()
    q = np.einsum("btm,muh->buth", x, wq) + bq[:, None]
    k = np.einsum("btm,mvh->bvth", x, wk) + bk[:, None]
    v = np.einsum("btm,mvh->bvth", x, wv) + bv[:, None]
    k, v = (a.repeat(4, 1) if spread == "repeat" else np.tile(a, (1, 4, 1, 1)) for a in (k, v))
    weights = softmax(q @ k.swapaxes(-1, -2) / np.float32(2), over)
    return np.einsum("buth,uhm->btm", weights @ v, wo) + bo


def build_additive() -> tuple[Any, Any]:
    q, v = keras.Input((5, 12)), keras.Input((8, 12))
    y = keras.layers.AdditiveAttention(name="bahdanau")([q, v])
    model = train_keras(keras.Model([q, v], y), 95)
    return model, (inputs(96, 2, 5, 12), inputs(97, 2, 8, 12))


def additive(
    model: Any, x: Any, scale: bool = True, tanh: str = "of sum", divide: bool = False
) -> np.ndarray:
    q, v = x
    (weight,) = model.get_layer("bahdanau").get_weights()
    total = q[:, :, None] + v[:, None]
    if tanh == "of each":
        hidden = np.tanh(q)[:, :, None] + np.tanh(v)[:, None]
    else:
        hidden = np.tanh(total)
    scores = (hidden * weight if scale else hidden).sum(-1)
    if divide:
        scores = scores / np.float32(np.sqrt(12))
    return softmax(scores) @ v


def build_cross() -> tuple[Any, Any]:
    q, m = keras.Input((4, 16)), keras.Input((7, 12))
    keep = keras.Input((4, 7), dtype="bool")
    layer = keras.layers.MultiHeadAttention(2, 8, value_dim=5, name="cross")
    y = layer(q, m, attention_mask=keep)
    model = train_keras(keras.Model([q, m, keep], y), 98, gain=2.0)
    mask = np.random.default_rng(99).random((2, 4, 7)) < 0.7
    mask[:, :, 0] = True
    return model, (inputs(100, 2, 4, 16), inputs(101, 2, 7, 12), mask)


def cross(model: Any, x: Any, inverted: bool = False, after: bool = False) -> np.ndarray:
    q, m, keep = x
    wq, bq, wk, bk, wv, bv, wo, bo = model.get_layer("cross").get_weights()
    q = np.einsum("btm,mnh->bnth", q, wq) + bq[:, None]
    k = np.einsum("btm,mnh->bnth", m, wk) + bk[:, None]
    v = np.einsum("btm,mnh->bnth", m, wv) + bv[:, None]
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(8))
    keep = keep[:, None] ^ inverted
    if after:
        weights = softmax(scores) * keep
    else:
        weights = softmax(np.where(keep, scores, np.float32(-1e9)))
    return np.einsum("bnth,nhm->btm", weights @ v, wo) + bo


CASES = [
    Case(
        "keras_multi_head_attention_causal",
        build_multi_head,
        "mha",
        multi_head,
        {
            "scaled_by_model_size": Mistake(
                partial(multi_head, scale=24),
                "Scores are divided by the root of the model's size 24, where it is the root of "
                "key_dim 6.",
            ),
            "heads_split_sizes_first": Mistake(
                partial(multi_head, split="sizes first"),
                "Query, key and value are split as (size, heads), where they are (heads, size).",
            ),
            "mask_lets_next_step_in": Mistake(
                partial(multi_head, mask=1),
                "The causal mask is off by one: a step also sees the one after it.",
            ),
            "heads_joined_without_transposing": Mistake(
                partial(multi_head, join="heads first"),
                "The heads' results (batch, heads, time, size) are reshaped to (batch, time, "
                "heads * size) without moving the heads behind the time first.",
            ),
            "output_bias_dropped": Mistake(
                partial(multi_head, output_bias=False),
                "The bias of the output projection is not added.",
            ),
            "key_and_value_swapped": Mistake(
                partial(multi_head, key_and_value="vk"),
                "The key's and the value's projections are swapped.",
            ),
            "no_scale_and_no_value_bias": Mistake(
                partial(multi_head, scale=1, value_bias=False),
                "Two causes: scores are not scaled at all, and the value's bias is dropped.",
                causes=2,
            ),
        },
    ),
    Case(
        "keras_grouped_query_attention",
        build_grouped,
        "gqa",
        grouped,
        {
            "key_value_heads_tiled": Mistake(
                partial(grouped, spread="tile"),
                "Key and value heads are tiled (0 1 0 1 ...), where each is repeated for a run of "
                "query heads (0 0 0 0 1 1 1 1).",
            ),
            "softmax_over_queries": Mistake(
                partial(grouped, over=-2),
                "The softmax is over the queries, where it is over the keys.",
            ),
        },
    ),
    Case(
        "keras_additive_attention",
        build_additive,
        "bahdanau",
        additive,
        {
            "scale_weight_left_out": Mistake(
                partial(additive, scale=False),
                "The learned scale vector is not applied in the sum over features.",
            ),
            "tanh_of_each": Mistake(
                partial(additive, tanh="of each"),
                "tanh is taken of query and key on their own and then added, where it is taken of "
                "their sum.",
            ),
            "divided_by_root": Mistake(
                partial(additive, divide=True),
                "Scores are divided by the root of the size, as dot-product attention's.",
            ),
        },
    ),
    Case(
        "keras_cross_attention_masked",
        build_cross,
        "cross",
        cross,
        {
            "mask_inverted": Mistake(
                partial(cross, inverted=True),
                "The mask is taken as True = hide (PyTorch's sense), where True = attend.",
            ),
            "masked_after_softmax": Mistake(
                partial(cross, after=True),
                "The mask zeroes the weights after the softmax, so they no longer sum to 1, where "
                "it masks the scores before.",
            ),
        },
    ),
]
