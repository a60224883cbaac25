"""Blocks of image, video, detection, generation and point-cloud networks, ported to NumPy.

Written from the frameworks' references and from how ports go wrong, without a look at any tool.
"""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import torch
from torch import nn
from torchvision.models.video.mvit import MultiscaleAttention
from transformers.models.cvt.modeling_cvt import CvtSelfAttention
from transformers.models.focalnet.modeling_focalnet import FocalNetModulation
from transformers.models.hiera.modeling_hiera import HieraMaskUnitAttention
from transformers.models.levit.modeling_levit import LevitAttention
from transformers.models.mobilevit.modeling_mobilevit import MobileViTLayer
from transformers.models.poolformer.modeling_poolformer import PoolFormerLayer
from transformers.models.rt_detr.modeling_rt_detr import RTDetrCSPRepLayer

from corpora.ports.case import Case, Mistake, Port
from corpora.ports.numpy_parts import (
    batch_norm,
    conv,
    gelu,
    gelu_quick,
    join_heads,
    layer_norm,
    linear,
    relu,
    silu,
    softmax,
    split_heads,
)
from corpora.ports.trained import (
    Alone,
    Weights,
    beneath,
    inputs,
    train_keras,
    train_torch,
    weights_of,
)


class Sized(Alone):
    """A model of one layer that is told the size of its image, too."""

    def __init__(self, mixer: nn.Module, *size: Any) -> None:
        super().__init__(mixer)
        self.size = size

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.mixer(*inputs, *self.size)


def _wrong(port: Port, what: str, causes: int = 1, **options: Any) -> Mistake:
    return Mistake(partial(port, **options), what, causes)


def _of(model: Any, name: str = "mixer.") -> Weights:
    return beneath(weights_of(model), name)


def _dense(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _conv(x: np.ndarray, w: Weights, name: str, **options: Any) -> np.ndarray:
    return conv(x, w[f"{name}.weight"], w.get(f"{name}.bias"), **options)


def _norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-5) -> np.ndarray:
    return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def hard_swish(x: np.ndarray) -> np.ndarray:
    return x * np.clip(x + 3, 0, 6) / np.float32(6)


def _taps(size: int, wanted: int, aligned: bool) -> np.ndarray:
    """The matrix that interpolates linearly from one size to another."""
    if aligned:
        at = np.arange(wanted) * (size - 1) / max(wanted - 1, 1)
    else:
        at = np.maximum((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0)
    low = np.minimum(at.astype(int), size - 1)
    matrix = np.zeros((wanted, size))
    matrix[np.arange(wanted), low] += 1 - (at - low)
    matrix[np.arange(wanted), np.minimum(low + 1, size - 1)] += at - low
    return matrix


def bilinear(x: np.ndarray, size: tuple[int, int], aligned: bool = False) -> np.ndarray:
    rows, columns = (_taps(x.shape[i - 2], size[i], aligned) for i in range(2))
    return (rows @ x @ columns.T).astype(np.float32)


# LeViT's attention with a bias for each distance.


def levit_model() -> tuple[Any, Any]:
    layer = LevitAttention(24, key_dim=4, num_attention_heads=3, attention_ratio=2, resolution=4)
    return train_torch(Alone(layer), 401, gain=1.5), inputs(402, 2, 16, 24)


def levit_attention(
    model: Any,
    x: np.ndarray,
    distance: str = "absolute",
    by_head: bool = True,
    activated: str = "before",
    scale: float = 4**-0.5,
    bias_scaled: bool = False,
) -> np.ndarray:
    w, heads, b, n = _of(model), 3, *x.shape[:2]

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        y = y @ w[f"{name}.linear.weight"].T
        return batch_norm(y.transpose(0, 2, 1), w, f"{name}.batch_norm").transpose(0, 2, 1)

    y = normed(x, "queries_keys_values")
    if by_head:
        parts = np.split(y.reshape(b, n, heads, -1), [4, 8], -1)
    else:
        parts = [p.reshape(b, n, heads, -1) for p in np.split(y, [12, 24], -1)]
    q, k, v = (p.transpose(0, 2, 1, 3) for p in parts)
    row, column = np.divmod(np.arange(n), 4)
    down, right = row[:, None] - row, column[:, None] - column
    if distance == "absolute":
        down, right = abs(down), abs(right)
    elif distance == "columns first":
        down, right = abs(right), abs(down)
    bias = w["attention_biases"][:, down * 4 + right]
    scores = q @ k.transpose(0, 1, 3, 2)
    scores = (scores + bias) * scale if bias_scaled else scores * scale + bias
    y = join_heads(softmax(scores) @ v)
    y = normed(hard_swish(y) if activated == "before" else y, "projection")
    return (hard_swish(y) if activated == "after" else y).astype(np.float32)


LEVIT = Case(
    "fourth_levit_attention",
    levit_model,
    "mixer",
    levit_attention,
    {
        "signed_distance": _wrong(
            levit_attention,
            "The bias table is indexed with signed offsets, negative ones wrapping to its end;"
            " the absolute row and column distances select it.",
            distance="signed",
        ),
        "distance_transposed": _wrong(
            levit_attention,
            "The bias index is column distance times width plus row distance; the row distance is"
            " the one multiplied.",
            distance="columns first",
        ),
        "blocks_of_qkv": _wrong(
            levit_attention,
            "The joint projection is cut into all queries, all keys, all values; it holds query,"
            " key and value of each head together.",
            by_head=False,
        ),
        "activation_after_projection": _wrong(
            levit_attention,
            "Hardswish is applied to the output of the last projection; it belongs between"
            " attention and that projection.",
            activated="after",
        ),
        "bias_and_scale": _wrong(
            levit_attention,
            "The bias is added before the scaling, and the scale is taken from the value size 8"
            " instead of the key size 4.",
            2,
            bias_scaled=True,
            scale=8**-0.5,
        ),
    },
)


# FocalNet's modulation by contexts of growing size.


def focal_model() -> tuple[Any, Any]:
    config = SimpleNamespace(
        focal_windows=[3],
        focal_levels=[2],
        use_post_layernorm_in_modulation=True,
        normalize_modulator=True,
        layer_norm_eps=1e-5,
    )
    layer = FocalNetModulation(config, 0, 12)
    return train_torch(Alone(layer), 403, gain=1.5), inputs(404, 2, 6, 7, 12)


def focal_modulation(
    model: Any,
    x: np.ndarray,
    chained: bool = True,
    parts: tuple[int, ...] = (0, 1, 2),
    pooled_active: bool = True,
    levels: int = 3,
    gate_order: tuple[int, ...] = (0, 1, 2),
    whole: str = "mean of last",
    gelu: Any = gelu,
) -> np.ndarray:
    w = _of(model)
    y = _dense(x, w, "projection_in").transpose(0, 3, 1, 2)
    pieces = np.split(y, [12, 24], 1)
    query, context, gates = (pieces[i] for i in parts)
    gates = gates[:, list(gate_order)]
    first, total = context, np.zeros_like(context)
    for level in range(2):
        taken = context if chained else first
        context = gelu(_conv(taken, w, f"focal_layers.{level}.0", padding=1 + level, groups=12))
        total = total + context * gates[:, level : level + 1]
    source = first if whole == "mean of first" else context
    pooled = source.mean((2, 3), keepdims=True)
    total = total + (gelu(pooled) if pooled_active else pooled) * gates[:, 2:]
    y = query * _conv(total / np.float32(levels), w, "projection_context")
    return _dense(_norm(y.transpose(0, 2, 3, 1), w, "layernorm"), w, "projection_out")


FOCAL = Case(
    "fourth_focal_modulation",
    focal_model,
    "mixer",
    focal_modulation,
    {
        "levels_in_parallel": _wrong(
            focal_modulation,
            "Each focal convolution reads the projected context; from the second on it should read"
            " the previous level's result.",
            chained=False,
        ),
        "context_before_query": _wrong(
            focal_modulation,
            "The first third of the input projection is taken as the context; the query comes"
            " first, then the context.",
            parts=(1, 0, 2),
        ),
        "pooled_without_gelu": _wrong(
            focal_modulation,
            "The global average context is used as it is; GELU has to be applied to it before its"
            " gate.",
            pooled_active=False,
        ),
        "gates_rotated": _wrong(
            focal_modulation,
            "The gate of the global context is taken as the first of the three; it is the last.",
            gate_order=(1, 2, 0),
        ),
        "pooled_first_and_gates_reversed": _wrong(
            focal_modulation,
            "The global mean is of the context before the convolutions instead of the last level,"
            " and the gates are read in reverse.",
            2,
            whole="mean of first",
            gate_order=(2, 1, 0),
        ),
        "gelu_by_sigmoid": _wrong(
            focal_modulation,
            "GELU is approximated by x times the sigmoid of 1.702 x; the form with the error"
            " function is right.",
            gelu=gelu_quick,
        ),
    },
)


# PoolFormer's layer: average pooling in the place of attention.


def pool_model() -> tuple[Any, Any]:
    config = SimpleNamespace(hidden_act="gelu", use_layer_scale=True, layer_scale_init_value=1.0)
    layer = PoolFormerLayer(config, 10, 3, 10, 20, 0.0)
    return train_torch(Alone(layer), 405), inputs(406, 2, 10, 6, 7, shift=0.4)


def pool_layer(
    model: Any,
    x: np.ndarray,
    padded_counted: bool = False,
    less_itself: bool = True,
    over: tuple[int, ...] = (1, 2, 3),
    scales: tuple[int, int] = (1, 2),
    second_of: str = "sum",
) -> np.ndarray:
    w = _of(model)

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        y = (y - y.mean(over, keepdims=True)) / np.sqrt(y.var(over, keepdims=True) + 1e-5)
        return y * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    y = normed(x, "before_norm")
    box = np.ones((10, 1, 3, 3), np.float32)
    sums = conv(y, box, padding=1, groups=10)
    counts = 9 if padded_counted else conv(np.ones_like(y), box, padding=1, groups=10)
    pooled = sums / counts - (y if less_itself else 0)
    y = x + w[f"layer_scale_{scales[0]}"][:, None, None] * pooled
    h = gelu(_conv(normed(y if second_of == "sum" else x, "after_norm"), w, "output.conv1"))
    h = _conv(h, w, "output.conv2")
    return (y + w[f"layer_scale_{scales[1]}"][:, None, None] * h).astype(np.float32)


POOL = Case(
    "fourth_poolformer_layer",
    pool_model,
    "mixer",
    pool_layer,
    {
        "padding_in_average": _wrong(
            pool_layer,
            "The pooling divides by nine at the border as well; only the pixels inside the image"
            " are counted there.",
            padded_counted=True,
        ),
        "input_not_subtracted": _wrong(
            pool_layer,
            "The token mixer gives the pooled map alone; the normalised map itself has to be"
            " subtracted from it.",
            less_itself=False,
        ),
        "norm_per_pixel": _wrong(
            pool_layer,
            "The norm takes its statistics per pixel over channels, as a layer norm; one group over"
            " channels and pixels is right.",
            over=(1,),
        ),
        "norm_per_channel": _wrong(
            pool_layer,
            "The norm takes its statistics per channel as instance norm does; its one group spans"
            " all channels of a sample.",
            over=(2, 3),
        ),
        "scales_swapped_and_stale_sum": _wrong(
            pool_layer,
            "The two layer scales are exchanged, and the second norm reads the layer's input"
            " instead of the first residual sum.",
            2,
            scales=(2, 1),
            second_of="input",
        ),
    },
)


# CvT's attention with strided convolutions for keys and values.


def cvt_model() -> tuple[Any, Any]:
    layer = CvtSelfAttention(2, 16, 3, 1, 1, 1, 2, "dw_bn", True, 0.0, with_cls_token=True)
    return train_torch(Sized(layer, 4, 6), 407, gain=1.6), inputs(408, 2, 25, 16)


def cvt_attention(
    model: Any,
    x: np.ndarray,
    scale: float = 16**-0.5,
    class_in_keys: bool = True,
    grid: str = "channels last",
    pad: tuple[int, int] = (1, 1),
    normed: tuple[str, ...] = ("query", "key", "value"),
) -> np.ndarray:
    w, token, pixels = _of(model), x[:, :1], x[:, 1:]
    if grid == "channels last":
        image = pixels.transpose(0, 2, 1).reshape(-1, 16, 4, 6)
    elif grid == "turned":
        image = pixels.transpose(0, 2, 1).reshape(-1, 16, 6, 4)
    else:
        image = pixels.reshape(-1, 16, 4, 6)

    def projected(part: str, stride: int) -> np.ndarray:
        name = f"convolution_projection_{part}.convolution_projection"
        edge = pad if stride == 2 else (1, 1)
        kernel = w[f"{name}.convolution.weight"]
        y = conv(np.pad(image, [(0, 0)] * 2 + [edge] * 2), kernel, stride=stride, groups=16)
        y = batch_norm(y, w, f"{name}.normalization") if part in normed else y
        y = y.reshape(len(x), 16, -1).transpose(0, 2, 1)
        if part == "query" or class_in_keys:
            y = np.concatenate([token, y], 1)
        return split_heads(_dense(y, w, f"projection_{part}"), 2)

    q, k, v = projected("query", 1), projected("key", 2), projected("value", 2)
    y = softmax(q @ k.transpose(0, 1, 3, 2) * np.float32(scale)) @ v
    return join_heads(y)


CVT = Case(
    "fourth_cvt_attention",
    cvt_model,
    "mixer",
    cvt_attention,
    {
        "scale_of_head": _wrong(
            cvt_attention,
            "Scores are divided by the root of the head size 8; this layer divides by the root of"
            " the whole width 16.",
            scale=8**-0.5,
        ),
        "keys_without_class_token": _wrong(
            cvt_attention,
            "Keys and values are of the convolved pixels alone; the class token has to stand in"
            " front of them, too.",
            class_in_keys=False,
        ),
        "tokens_read_as_planes": _wrong(
            cvt_attention,
            "The tokens are reshaped to channels, rows, columns without moving the channels to the"
            " front first.",
            grid="planes",
        ),
        "same_padding_of_tensorflow": _wrong(
            cvt_attention,
            "The strided key and value convolutions pad only below and right, as TensorFlow's same"
            " does; one pixel on each side is right.",
            pad=(0, 1),
        ),
        "turned_and_value_unnormalised": _wrong(
            cvt_attention,
            "The grid is built with width and height exchanged, and the batch norm of the value"
            " convolution is left out.",
            2,
            grid="turned",
            normed=("query", "key"),
        ),
    },
)


# MobileViT's block: convolution, attention across patches, fusion.


def mobilevit_model() -> tuple[Any, Any]:
    config = SimpleNamespace(
        hidden_act="silu",
        patch_size=2,
        conv_kernel_size=3,
        num_attention_heads=2,
        qkv_bias=True,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
        mlp_ratio=2.0,
        layer_norm_eps=1e-5,
    )
    layer = MobileViTLayer(config, 8, 8, stride=1, hidden_size=12, num_stages=1)
    return train_torch(Alone(layer), 409, gain=1.4), inputs(410, 2, 8, 5, 8)


def mobilevit_block(
    model: Any,
    x: np.ndarray,
    within: bool = False,
    fit: str = "resize",
    joined: str = "input first",
    folded: str = "rows",
    last_norm: bool = True,
) -> np.ndarray:
    w = _of(model)

    def block(y: np.ndarray, name: str, padding: int = 0) -> np.ndarray:
        y = _conv(y, w, f"{name}.convolution", padding=padding)
        return silu(batch_norm(y, w, f"{name}.normalization"))

    y = _conv(block(x, "conv_kxk", 1), w, "conv_1x1.convolution")
    if fit == "resize":
        y = bilinear(y, (6, 8))
    else:
        y = np.pad(y, ((0, 0), (0, 0), (0, 1), (0, 0)))
    # (batch, row of patches, row in patch, column of patches, column in patch, channel)
    y = y.reshape(2, 12, 3, 2, 4, 2).transpose(0, 2, 3, 4, 5, 1)
    if within:
        t = y.transpose(0, 1, 3, 2, 4, 5).reshape(2 * 12, 4, 12)
    else:
        t = y.transpose(0, 2, 4, 1, 3, 5).reshape(2 * 4, 12, 12)
    name = "transformer.layer.0"
    h = _norm(t, w, f"{name}.layernorm_before")
    q, k, v = (
        split_heads(_dense(h, w, f"{name}.attention.attention.{part}"), 2)
        for part in ("query", "key", "value")
    )
    h = join_heads(softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(6**0.5)) @ v)
    t = t + _dense(h, w, f"{name}.attention.output.dense")
    h = _dense(_norm(t, w, f"{name}.layernorm_after"), w, f"{name}.intermediate.dense")
    t = t + _dense(silu(h), w, f"{name}.output.dense")
    t = _norm(t, w, "layernorm") if last_norm else t
    if within:
        t = t.reshape(2, 3, 4, 2, 2, 12).transpose(0, 5, 1, 3, 2, 4)
    elif folded == "rows":
        t = t.reshape(2, 2, 2, 3, 4, 12).transpose(0, 5, 3, 1, 4, 2)
    else:
        t = t.reshape(2, 2, 2, 3, 4, 12).transpose(0, 5, 3, 2, 4, 1)
    t = t.reshape(2, 12, 6, 8)
    t = bilinear(t, (5, 8)) if fit == "resize" else t[:, :, :5]
    t = block(t, "conv_projection")
    pair = [x, t] if joined == "input first" else [t, x]
    return block(np.concatenate(pair, 1), "fusion", 1).astype(np.float32)


MOBILEVIT = Case(
    "fourth_mobilevit_block",
    mobilevit_model,
    "mixer",
    mobilevit_block,
    {
        "attention_within_patches": _wrong(
            mobilevit_block,
            "The four pixels of a patch attend to each other; the pixels at the same place of all"
            " patches should.",
            within=True,
        ),
        "padded_to_patches": _wrong(
            mobilevit_block,
            "Five rows are padded with zeros to six and cropped after; the map has to be resized"
            " bilinearly, and back.",
            fit="pad",
        ),
        "fusion_order": _wrong(
            mobilevit_block,
            "The attended map comes before the input in the concatenation for the fusion; the"
            " input comes first.",
            joined="input last",
        ),
        "folded_transposed": _wrong(
            mobilevit_block,
            "Folding back takes the pixel index in a patch column by column; unfolding numbered the"
            " pixels row by row.",
            folded="columns",
        ),
        "last_norm_left_out": _wrong(
            mobilevit_block,
            "The tokens go back to the map straight behind the transformer layers; one more layer"
            " norm follows these.",
            last_norm=False,
        ),
    },
)


# Hiera's attention in mask units, with queries pooled by their maximum.


def hiera_model() -> tuple[Any, Any]:
    layer = HieraMaskUnitAttention(
        12, 16, 2, query_stride=4, window_size=4, use_mask_unit_attn=True
    )
    return train_torch(Alone(layer), 411, gain=1.5), inputs(412, 2, 48, 12)


def hiera_attention(
    model: Any,
    x: np.ndarray,
    units: str = "interleaved",
    pooled: str = "max",
    strided: bool = True,
    written: str = "interleaved",
) -> np.ndarray:
    w, b, windows = _of(model), len(x), 3
    y = _dense(x, w, "qkv")
    if units == "interleaved":
        y = y.reshape(b, 16, windows, 3, 2, 8)
    elif units == "blocks":
        y = y.reshape(b, windows, 16, 3, 2, 8).transpose(0, 2, 1, 3, 4, 5)
    else:
        windows = 1
        y = y.reshape(b, 48, 1, 3, 2, 8)
    q, k, v = y.transpose(3, 0, 4, 2, 1, 5)
    if strided:
        q = q.reshape(b, 2, windows, 4, -1, 8)
    else:
        q = q.reshape(b, 2, windows, -1, 4, 8).transpose(0, 1, 2, 4, 3, 5)
    q = q.max(3) if pooled == "max" else q.mean(3)
    y = softmax(q @ k.swapaxes(-1, -2) / np.float32(8**0.5)) @ v
    y = y.transpose(0, 3, 2, 1, 4) if written == "interleaved" else y.transpose(0, 2, 3, 1, 4)
    return _dense(y.reshape(b, -1, 16), w, "proj")


HIERA = Case(
    "fourth_hiera_attention",
    hiera_model,
    "mixer",
    hiera_attention,
    {
        "units_in_a_row": _wrong(
            hiera_attention,
            "A mask unit is taken as sixteen tokens in a row; after Hiera's unrolling the unit is"
            " the faster index.",
            units="blocks",
        ),
        "attention_over_all": _wrong(
            hiera_attention,
            "Every query sees all tokens of the sample as in the last stages; here attention stays"
            " within a mask unit.",
            units="none",
        ),
        "queries_averaged": _wrong(
            hiera_attention,
            "The four queries of a pooled one are averaged; Hiera takes their maximum.",
            pooled="mean",
        ),
        "neighbours_pooled": _wrong(
            hiera_attention,
            "Four queries in a row are pooled; the four lie a quarter of the unit apart.",
            strided=False,
        ),
        "units_written_in_turn": _wrong(
            hiera_attention,
            "The results are written unit by unit; the unit has to be the faster index in the"
            " output, too.",
            written="blocks",
        ),
    },
)


# MViT's pooling attention of videos with relative positions.


def mvit_model() -> tuple[Any, Any]:
    layer = MultiscaleAttention(
        [2, 4, 4],
        12,
        16,
        2,
        kernel_q=[3, 3, 3],
        kernel_kv=[3, 3, 3],
        stride_q=[1, 1, 1],
        stride_kv=[1, 2, 2],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
    )
    return train_torch(Sized(layer, (2, 4, 4)), 413, gain=1.4), inputs(414, 2, 33, 12)


def mvit_attention(
    model: Any,
    x: np.ndarray,
    stretched: bool = True,
    class_kept: bool = True,
    class_normed: bool = True,
    scaled_for_bias: bool = False,
    pooled_values: str = "pool_v",
    backwards: bool = False,
) -> np.ndarray:
    w, b = _of(model), len(x)
    parts = _dense(x, w, "qkv").reshape(b, 33, 3, 2, 8).transpose(2, 0, 3, 1, 4)

    def pool(y: np.ndarray, name: str, stride: tuple[int, ...]) -> np.ndarray:
        video = y[:, :, 1:].swapaxes(2, 3).reshape(b * 2, 8, 2, 4, 4)
        video = _conv(video, w, f"{name}.pool", stride=stride, padding=1, groups=8)
        rest = video.reshape(b, 2, 8, -1).swapaxes(2, 3)
        norm = partial(_norm, w=w, name=f"{name}.norm_act.0")
        if not class_normed:
            return np.concatenate([y[:, :, :1], norm(rest)], 2)
        return norm(np.concatenate([y[:, :, :1], rest], 2))

    q = pool(parts[0], "pool_q", (1, 1, 1))
    k = pool(parts[1], "pool_k", (1, 2, 2))
    v = pool(parts[2], pooled_values, (1, 2, 2))
    scale = np.float32(8**-0.5)
    scores = scale * q @ k.swapaxes(2, 3)
    grid = q[:, :, 1:].reshape(b, 2, 2, 4, 4, 8) * (scale if scaled_for_bias else 1)

    def table(name: str, queries: int, keys: int) -> np.ndarray:
        ratio = queries // keys if stretched else 1
        apart = np.arange(queries)[:, None] - (np.arange(keys) - keys + 1) * ratio
        return w[name][queries - 1 + ratio * (keys - 1) - apart if backwards else apart]

    bias = (
        np.einsum("bnthwc,tkc->bnthwk", grid, table("rel_pos_t", 2, 2))[..., None, None]
        + np.einsum("bnthwc,hkc->bnthwk", grid, table("rel_pos_h", 4, 2))[..., None, :, None]
        + np.einsum("bnthwc,wkc->bnthwk", grid, table("rel_pos_w", 4, 2))[..., None, None, :]
    )
    scores[:, :, 1:, 1:] += bias.reshape(b, 2, 32, 8)
    y = softmax(scores) @ v
    first = 1 if class_kept else 0
    y[:, :, first:] += q[:, :, first:]
    return _dense(join_heads(y), w, "project.0")


MVIT = Case(
    "fourth_mvit_attention",
    mvit_model,
    "mixer",
    mvit_attention,
    {
        "distance_in_own_steps": _wrong(
            mvit_attention,
            "The spatial distance is query index minus key index; a key index counts double, as"
            " keys are pooled by two.",
            stretched=False,
        ),
        "shortcut_of_class_token": _wrong(
            mvit_attention,
            "The pooled query is added to the class token's result as well; the shortcut leaves"
            " the class token out.",
            class_kept=False,
        ),
        "class_token_unnormalised": _wrong(
            mvit_attention,
            "The layer norm after pooling runs over the pooled pixels only; the class token is"
            " normalised with them.",
            class_normed=False,
        ),
        "bias_of_scaled_query": _wrong(
            mvit_attention,
            "Relative positions are multiplied with the query after its scaling by the head size;"
            " the unscaled query belongs there.",
            scaled_for_bias=True,
        ),
        "values_by_key_pool": _wrong(
            mvit_attention,
            "The values are pooled with the weights and norm of the key pooling instead of their"
            " own.",
            pooled_values="pool_k",
        ),
        "distance_backwards": _wrong(
            mvit_attention,
            "The relative position tables are read from the other end, as key minus query instead"
            " of query minus key.",
            backwards=True,
        ),
    },
)


# RT-DETR's cross-stage layer, ported with its branches fused as for deployment.


def rep_model() -> tuple[Any, Any]:
    config = SimpleNamespace(
        encoder_hidden_dim=8, hidden_expansion=0.5, activation_function="silu", batch_norm_eps=1e-5
    )
    return train_torch(Alone(RTDetrCSPRepLayer(config)), 415), inputs(416, 2, 16, 6, 5)


def rep_layer(
    model: Any,
    x: np.ndarray,
    place: int = 1,
    small_bias: bool = True,
    mean_divided: bool = True,
    identity: bool = False,
    branches: tuple[str, str] = ("conv1", "conv2"),
    kept_as: Any = np.float32,
) -> np.ndarray:
    w = _of(model)

    def fused(name: str) -> tuple[np.ndarray, np.ndarray]:
        norm = beneath(w, f"{name}.norm.")
        gain = norm["weight"] / np.sqrt(norm["running_var"] + np.float32(1e-5))
        shift = gain if mean_divided else norm["weight"]
        kernel = w[f"{name}.conv.weight"] * gain[:, None, None, None]
        return kernel, norm["bias"] - norm["running_mean"] * shift

    y = silu(conv(x, *fused(branches[0])))
    for i in range(3):
        kernel, bias = fused(f"bottlenecks.{i}.conv1")
        small, small_shift = fused(f"bottlenecks.{i}.conv2")
        kernel[:, :, place, place] += small[:, :, 0, 0]
        if identity:
            kernel[range(4), range(4), 1, 1] += 1
        kernel = kernel.astype(kept_as).astype(np.float32)
        y = silu(conv(y, kernel, bias + small_shift if small_bias else bias, padding=1))
    y = y + silu(conv(x, *fused(branches[1])))
    return silu(conv(y, *fused("conv3")))


REP = Case(
    "fourth_rt_detr_fused_layer",
    rep_model,
    "mixer",
    rep_layer,
    {
        "small_kernel_in_corner": _wrong(
            rep_layer,
            "The 1x1 kernel is added to the top left tap of the 3x3 kernel; it has to be added to"
            " the middle one.",
            place=0,
        ),
        "bias_of_one_branch": _wrong(
            rep_layer,
            "The fused convolution keeps the folded bias of the 3x3 branch alone; that of the 1x1"
            " branch has to be added.",
            small_bias=False,
        ),
        "mean_folded_undivided": _wrong(
            rep_layer,
            "The running mean is folded into the bias times the gain only; it must be divided by"
            " the deviation, too.",
            mean_divided=False,
        ),
        "identity_branch": _wrong(
            rep_layer,
            "An identity is added to each fused kernel as in the RepVGG paper; RT-DETR's block has"
            " two branches and none of it.",
            identity=True,
        ),
        "branches_exchanged": _wrong(
            rep_layer,
            "The second 1x1 convolution feeds the bottlenecks and the first one goes around them;"
            " it is the other way.",
            branches=("conv2", "conv1"),
        ),
        "kernels_kept_in_half": _wrong(
            rep_layer,
            "The fused 3x3 kernels are stored in float16 and lose bits; float32 is right"
            " (inherently small).",
            kept_as=np.float16,
        ),
    },
)


# The pyramid pooling of PSPNet.


class PyramidPooling(nn.Module):
    """Averages over grids of four sizes, beside the map itself."""

    def __init__(self, channels: int, bins: tuple[int, ...]) -> None:
        super().__init__()
        each = channels // 2
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size),
                nn.Conv2d(channels, each, 1, bias=False),
                nn.BatchNorm2d(each),
                nn.ReLU(),
            )
            for size in bins
        )
        self.fuse = nn.Conv2d(channels + each * len(bins), channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x]
        for stage in self.stages:
            found.append(
                nn.functional.interpolate(
                    stage(x), size=x.shape[2:], mode="bilinear", align_corners=True
                )
            )
        return self.fuse(torch.cat(found, 1))


def pyramid_model() -> tuple[Any, Any]:
    return train_torch(PyramidPooling(8, (1, 2, 3, 6)), 417), inputs(418, 2, 8, 7, 9, shift=0.3)


def _bins(size: int, wanted: int, overlapping: bool) -> np.ndarray:
    matrix = np.zeros((wanted, size), np.float32)
    for i in range(wanted):
        low, high = i * size // wanted, (i + 1) * size // wanted
        high = -(-(i + 1) * size // wanted) if overlapping else max(high, low + 1)
        matrix[i, low:high] = 1 / (high - low)
    return matrix


def pyramid_pooling(
    model: Any,
    x: np.ndarray,
    overlapping: bool = True,
    enlarged: str = "aligned",
    order: tuple[int, ...] = (0, 1, 2, 3, 4),
    norm_first: bool = True,
) -> np.ndarray:
    w, found = weights_of(model), [x]
    for i, size in enumerate((1, 2, 3, 6)):
        y = _bins(7, size, overlapping) @ x @ _bins(9, size, overlapping).T
        y = _conv(y, w, f"stages.{i}.1")
        if norm_first:
            y = relu(batch_norm(y, w, f"stages.{i}.2"))
        else:
            y = batch_norm(relu(y), w, f"stages.{i}.2")
        if enlarged == "nearest":
            y = y[:, :, np.arange(7) * size // 7][..., np.arange(9) * size // 9]
        else:
            y = bilinear(y, (7, 9), aligned=enlarged == "aligned")
        found.append(y)
    return _conv(np.concatenate([found[i] for i in order], 1), w, "fuse", padding=1)


PYRAMID = Case(
    "fourth_pyramid_pooling",
    pyramid_model,
    "",
    pyramid_pooling,
    {
        "bins_without_overlap": _wrong(
            pyramid_pooling,
            "The end of each pooling bin is rounded down like its start; adaptive pooling rounds"
            " ends up, so that bins overlap.",
            overlapping=False,
        ),
        "corners_not_aligned": _wrong(
            pyramid_pooling,
            "The pooled maps are enlarged with half pixel centres; PSPNet enlarges them with"
            " aligned corners.",
            enlarged="half",
        ),
        "enlarged_to_nearest": _wrong(
            pyramid_pooling,
            "The pooled maps are enlarged by repeating the nearest bin; bilinear interpolation is"
            " right.",
            enlarged="nearest",
        ),
        "finest_first": _wrong(
            pyramid_pooling,
            "The pooled maps are concatenated from the finest grid to the coarsest; the coarsest"
            " comes first behind the input.",
            order=(0, 4, 3, 2, 1),
        ),
        "norm_after_relu": _wrong(
            pyramid_pooling,
            "ReLU is applied before the batch norm of each pooled map; the convolution is"
            " normalised first.",
            norm_first=False,
        ),
    },
)


# Two partial convolutions for filling holes in images.


class PartialConvolution(nn.Module):
    """A convolution over the known pixels, as in NVIDIA's reference."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ones = torch.ones(1, 1, 3, 3)
        count = nn.functional.conv2d(known, ones, padding=1)
        ratio = 9 / (count + 1e-8)
        now = count.clamp(0, 1)
        y = nn.functional.conv2d(x * known, self.weight, padding=1)
        y = y * (ratio * now) + self.bias[:, None, None]
        return y * now, now


class HoleFilling(nn.Module):
    """Two of them, the mask handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = PartialConvolution(3, 8)
        self.second = PartialConvolution(8, 6)

    def forward(self, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        y, known = self.first(x, known)
        y, known = self.second(nn.functional.leaky_relu(y, 0.2), known)
        return y


def hole_model() -> tuple[Any, Any]:
    known = np.ones((2, 1, 9, 10), np.float32)
    known[0, :, 2:8, 1:7] = 0
    known[1, :, 0:5, 5:10] = 0
    known[1, :, 7, 2] = 0
    return train_torch(HoleFilling(), 419), (inputs(420, 2, 3, 9, 10), known)


def hole_filling(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    second_mask: str = "new",
    ratio_on_bias: bool = False,
    window: str = "nine",
    emptied: bool = True,
    masked: bool = True,
) -> np.ndarray:
    w, (y, known) = weights_of(model), x
    ones = np.ones((1, 1, 3, 3), np.float32)
    for name in ("first", "second"):
        count = conv(known, ones, padding=1)
        whole = 9 if window == "nine" else conv(np.ones_like(known), ones, padding=1)
        now = np.clip(count, 0, 1)
        ratio = 1 if window == "none" else whole / (count + np.float32(1e-8)) * now
        y = conv(y * known if masked else y, w[f"{name}.weight"], padding=1)
        bias = w[f"{name}.bias"][:, None, None]
        y = (y + bias) * ratio if ratio_on_bias else y * ratio + bias
        y = y * now if emptied else y
        if name == "first":
            y = np.where(y > 0, y, np.float32(0.2) * y)
            known = now if second_mask == "new" else known
    return y.astype(np.float32)


HOLES = Case(
    "fourth_partial_convolutions",
    hole_model,
    "",
    hole_filling,
    {
        "first_mask_kept": _wrong(
            hole_filling,
            "The second convolution is given the mask of the image again; the first one hands on"
            " a mask with smaller holes.",
            second_mask="old",
        ),
        "bias_rescaled": _wrong(
            hole_filling,
            "The ratio of window size to known pixels multiplies the sum with its bias; the bias"
            " is added after it.",
            ratio_on_bias=True,
        ),
        "window_cut_at_border": _wrong(
            hole_filling,
            "At the image border only taps inside the image count as the window; the ratio always"
            " has nine above the line.",
            window="inside",
        ),
        "no_ratio": _wrong(
            hole_filling,
            "The sum over known pixels is not enlarged by the share of the window that is known.",
            window="none",
        ),
        "bias_left_in_holes": _wrong(
            hole_filling,
            "Where no pixel of the window is known the bias stays as the output; zero belongs"
            " there.",
            emptied=False,
        ),
        "holes_summed": _wrong(
            hole_filling,
            "The pixels in the holes go into the sum with whatever they hold; the input has to be"
            " multiplied by the mask.",
            masked=False,
        ),
    },
)


# SPADE's residual block: norms that a segmentation map shifts.


class Spade(nn.Module):
    """A norm whose gain and bias are convolutions of a map of classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(classes, 10, 3, padding=1)
        self.gamma = nn.Conv2d(10, channels, 3, padding=1)
        self.beta = nn.Conv2d(10, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        seen = nn.functional.interpolate(classes, size=x.shape[2:], mode="nearest")
        seen = torch.relu(self.shared(seen))
        return self.norm(x) * (1 + self.gamma(seen)) + self.beta(seen)


class SpadeBlock(nn.Module):
    """The generator's residual block with a learned shortcut."""

    def __init__(self, channels: int, out: int, classes: int) -> None:
        super().__init__()
        middle = min(channels, out)
        self.norm_0, self.norm_1 = Spade(channels, classes), Spade(middle, classes)
        self.norm_s = Spade(channels, classes)
        self.conv_0 = nn.Conv2d(channels, middle, 3, padding=1)
        self.conv_1 = nn.Conv2d(middle, out, 3, padding=1)
        self.conv_s = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        around = self.conv_s(self.norm_s(x, classes))
        y = self.conv_0(nn.functional.leaky_relu(self.norm_0(x, classes), 0.2))
        y = self.conv_1(nn.functional.leaky_relu(self.norm_1(y, classes), 0.2))
        return around + y


def spade_model() -> tuple[Any, Any]:
    map_of = (
        np.random.default_rng(422).integers(0, 4, (2, 5, 4)).repeat(2, 1).repeat(2, 2)[:, :9, :7]
    )
    classes = np.moveaxis(np.eye(4, dtype=np.float32)[map_of], -1, 1)
    return train_torch(SpadeBlock(6, 5, 4), 421), (inputs(423, 2, 6, 6, 5), classes.copy())


def spade_block(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    one_added: bool = True,
    nearest: str = "floor",
    slope: float = 0.2,
    statistics: str = "running",
    around_active: bool = False,
) -> np.ndarray:
    w, (x, classes) = weights_of(model), x
    half = 0.5 if nearest == "middle" else 0.0
    rows = ((np.arange(6) + half) * 9 / 6).astype(int)
    columns = ((np.arange(5) + half) * 7 / 5).astype(int)
    seen = classes[:, :, rows][..., columns]
    seen = bilinear(classes, (6, 5)) if nearest == "bilinear" else seen

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        h = relu(_conv(seen, w, f"{name}.shared", padding=1))
        mean, var = y.mean((2, 3), keepdims=True), y.var((2, 3), keepdims=True)
        if statistics == "running":
            mean = w[f"{name}.norm.running_mean"][:, None, None]
            var = w[f"{name}.norm.running_var"][:, None, None]
        y = (y - mean) / np.sqrt(var + np.float32(1e-5))
        gain = _conv(h, w, f"{name}.gamma", padding=1)
        return y * (1 + gain if one_added else gain) + _conv(h, w, f"{name}.beta", padding=1)

    def active(y: np.ndarray) -> np.ndarray:
        return np.where(y > 0, y, np.float32(slope) * y)

    around = normed(x, "norm_s")
    around = _conv(active(around) if around_active else around, w, "conv_s")
    y = _conv(active(normed(x, "norm_0")), w, "conv_0", padding=1)
    return around + _conv(active(normed(y, "norm_1")), w, "conv_1", padding=1)


SPADE = Case(
    "fourth_spade_block",
    spade_model,
    "",
    spade_block,
    {
        "gain_without_one": _wrong(
            spade_block,
            "The normalised map is multiplied by gamma; it is to be multiplied by one plus gamma.",
            one_added=False,
        ),
        "map_sampled_in_the_middle": _wrong(
            spade_block,
            "The class map is shrunk by reading at pixel centres; PyTorch's nearest reads at the"
            " floor of index times ratio.",
            nearest="middle",
        ),
        "slope_of_default": _wrong(
            spade_block,
            "Leaky ReLU has the slope 0.01 that is PyTorch's default; this network uses 0.2.",
            slope=0.01,
        ),
        "statistics_of_sample": _wrong(
            spade_block,
            "Each sample is normalised with its own statistics like instance norm; the stored"
            " running ones are meant.",
            statistics="own",
        ),
        "shortcut_activated": _wrong(
            spade_block,
            "The shortcut passes leaky ReLU behind its norm; its convolution reads the norm's"
            " output directly.",
            around_active=True,
        ),
    },
)


# NAFNet's restoration block, without activations.


class ChannelNorm(nn.Module):
    """A layer norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        var, mean = torch.var_mean(x, 1, unbiased=False, keepdim=True)
        x = (x - mean) / (var + 1e-6).sqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class NafBlock(nn.Module):
    """Convolutions, products of halves and a channel attention."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(c), ChannelNorm(c)
        self.conv1, self.conv3 = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.attention = nn.Conv2d(c, c, 1)
        self.conv4, self.conv5 = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = self.conv2(self.conv1(self.norm1(x))).chunk(2, 1)
        y = one * two
        y = self.conv3(y * self.attention(y.mean((2, 3), keepdim=True)))
        x = x + y * self.beta
        one, two = self.conv4(self.norm2(x)).chunk(2, 1)
        return x + self.conv5(one * two) * self.gamma


def naf_model() -> tuple[Any, Any]:
    return train_torch(NafBlock(8), 424, gain=1.3), inputs(425, 2, 8, 6, 7)


def naf_block(
    model: Any,
    x: np.ndarray,
    gate: str = "product",
    halves: str = "blocks",
    squeezed: str = "plain",
    edge: str = "constant",
    second_to: str = "sum",
) -> np.ndarray:
    w = weights_of(model)

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        return np.moveaxis(_norm(np.moveaxis(y, 1, -1), w, name, 1e-6), -1, 1)

    def gated(y: np.ndarray) -> np.ndarray:
        one, two = (y[:, :8], y[:, 8:]) if halves == "blocks" else (y[:, ::2], y[:, 1::2])
        return one * (1 / (1 + np.exp(-two)) if gate == "sigmoid" else two)

    y = _conv(normed(x, "norm1"), w, "conv1")
    y = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)), mode=edge)
    y = gated(_conv(y, w, "conv2", groups=16))
    factor = _conv(y.mean((2, 3), keepdims=True), w, "attention")
    factor = 1 / (1 + np.exp(-factor)) if squeezed == "sigmoid" else factor
    y = x + _conv(y * factor, w, "conv3") * w["beta"]
    h = _conv(gated(_conv(normed(y, "norm2"), w, "conv4")), w, "conv5")
    return ((y if second_to == "sum" else x) + h * w["gamma"]).astype(np.float32)


NAF = Case(
    "fourth_nafnet_block",
    naf_model,
    "",
    naf_block,
    {
        "gate_with_sigmoid": _wrong(
            naf_block,
            "The second half passes a sigmoid before the product, as in a GLU; the simple gate"
            " multiplies the halves as they are.",
            gate="sigmoid",
        ),
        "even_and_odd_channels": _wrong(
            naf_block,
            "The gate multiplies even channels with odd ones; it multiplies the first half of the"
            " channels with the second.",
            halves="interleaved",
        ),
        "attention_with_sigmoid": _wrong(
            naf_block,
            "The channel attention squashes its factors by a sigmoid like squeeze-and-excitation;"
            " NAFNet's has no activation.",
            squeezed="sigmoid",
        ),
        "edges_reflected": _wrong(
            naf_block,
            "The depthwise convolution sees reflected pixels beyond the border; it is padded with"
            " zeros.",
            edge="reflect",
        ),
        "second_part_to_input": _wrong(
            naf_block,
            "The second half's result is added to the block's input, so the first half's is lost;"
            " it is added to the sum.",
            second_to="input",
        ),
    },
)


# Restormer's attention between channels.


class ChannelAttention(nn.Module):
    """Attention over channels of normalised queries and keys."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        parts = self.local(self.qkv(x)).chunk(3, 1)
        q, k, v = (part.reshape(b, self.heads, c // self.heads, h * w) for part in parts)
        q, k = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(-1)
        return self.project((attention @ v).reshape(b, c, h, w))


def channel_model() -> tuple[Any, Any]:
    model = train_torch(ChannelAttention(12, 3), 426)
    model.temperature.data.mul_(torch.tensor([2.0, 5.0, 9.0])[:, None, None])
    return model, inputs(427, 2, 12, 6, 5)


def channel_attention(
    model: Any,
    x: np.ndarray,
    unit: int = -1,
    temperature: str = "times",
    heads_first: bool = True,
    over: int = -1,
    local: tuple[int, ...] = (0, 1, 2),
) -> np.ndarray:
    w, b = weights_of(model), len(x)
    y = _conv(x, w, "qkv")
    after = _conv(y, w, "local", padding=1, groups=36)
    y = np.concatenate([(after if i in local else y)[:, 12 * i : 12 * i + 12] for i in range(3)], 1)

    def split(part: np.ndarray) -> np.ndarray:
        if heads_first:
            return part.reshape(b, 3, 4, 30)
        return part.reshape(b, 4, 3, 30).swapaxes(1, 2)

    q, k, v = (split(part) for part in np.split(y, 3, 1))
    q, k = (p / np.maximum(np.sqrt((p * p).sum(unit, keepdims=True)), 1e-12) for p in (q, k))
    t = w["temperature"]
    scores = q @ k.swapaxes(2, 3)
    scores = scores * t if temperature == "times" else scores / t
    scores = softmax(scores, over)
    y = scores @ v
    y = y if heads_first else y.swapaxes(1, 2)
    return _conv(y.reshape(x.shape), w, "project").astype(np.float32)


CHANNELS = Case(
    "fourth_restormer_channel_attention",
    channel_model,
    "",
    channel_attention,
    {
        "units_over_channels": _wrong(
            channel_attention,
            "Queries and keys are scaled to unit length over the channels of a head; the length is"
            " over the pixels.",
            unit=-2,
        ),
        "temperature_divides": _wrong(
            channel_attention,
            "The scores are divided by the learned temperature; this model multiplies by it.",
            temperature="over",
        ),
        "head_as_inner_channel": _wrong(
            channel_attention,
            "Channels are split with the head as the faster index; each head owns a run of"
            " neighbouring channels.",
            heads_first=False,
        ),
        "softmax_over_queries": _wrong(
            channel_attention,
            "The softmax runs over the query channels; it has to run over the key channels.",
            over=-2,
        ),
        "values_not_filtered": _wrong(
            channel_attention,
            "The depthwise convolution is applied to queries and keys only; the values pass it as"
            " well.",
            local=(0, 1),
        ),
    },
)


# The involution: a kernel for each pixel, made from the pixel.


class Involution(nn.Module):
    """A convolution whose weights are computed at each pixel, shared by groups of channels."""

    def __init__(self, channels: int, size: int, stride: int, groups: int) -> None:
        super().__init__()
        self.size, self.stride, self.groups = size, stride, groups
        self.reduce = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels // 2)
        self.span = nn.Conv2d(channels // 2, size * size * groups, 1)
        self.pool = nn.AvgPool2d(stride, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernels = self.span(torch.relu(self.norm(self.reduce(self.pool(x)))))
        b, _, h, w = kernels.shape
        kernels = kernels.reshape(b, self.groups, 1, self.size**2, h, w)
        patches = nn.functional.unfold(x, self.size, padding=self.size // 2, stride=self.stride)
        patches = patches.reshape(b, self.groups, -1, self.size**2, h, w)
        return (kernels * patches).sum(3).reshape(b, -1, h, w)


def involution_model() -> tuple[Any, Any]:
    return train_torch(Involution(8, 3, 2, 2), 428, gain=1.4), inputs(429, 2, 8, 8, 10)


def involution(
    model: Any,
    x: np.ndarray,
    groups: str = "outer",
    flipped: bool = False,
    source: str = "averaged",
    neighbours: str = "outer",
    columns_first: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    small = x[:, :, ::2, ::2]
    if source == "averaged":
        small = x.reshape(2, 8, 4, 2, 5, 2).mean((3, 5))
    k = _conv(relu(batch_norm(_conv(small, w, "reduce"), w, "norm")), w, "span")
    if groups == "outer":
        k = k.reshape(2, 2, 9, 4, 5)
    else:
        k = k.reshape(2, 9, 2, 4, 5).swapaxes(1, 2)
    k = k[:, :, ::-1] if flipped else k
    if columns_first:
        k = k.reshape(2, 2, 3, 3, 4, 5).swapaxes(2, 3).reshape(2, 2, 9, 4, 5)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((2, 8, 4, 5), np.float32)
    owner = np.arange(8) // 4 if neighbours == "outer" else np.arange(8) % 2
    for i in range(9):
        row, column = divmod(i, 3)
        y += k[:, owner, i] * padded[:, :, row : row + 8 : 2, column : column + 10 : 2]
    return y


INVOLUTION = Case(
    "fourth_involution",
    involution_model,
    "",
    involution,
    {
        "tap_before_group": _wrong(
            involution,
            "The generated channels are read with the group as the faster index; the nine taps of"
            " a group lie together.",
            groups="inner",
        ),
        "kernel_flipped": _wrong(
            involution,
            "The generated kernels are turned by 180 degrees as in a true convolution; taps go with"
            " the patch in order.",
            flipped=True,
        ),
        "kernels_of_picked_pixels": _wrong(
            involution,
            "Kernels are generated from every second pixel; for stride two they come from averages"
            " over 2 x 2 pixels.",
            source="picked",
        ),
        "channels_dealt_out": _wrong(
            involution,
            "Channel c takes the kernel of group c modulo two; neighbouring channels share a"
            " group's kernel.",
            neighbours="inner",
        ),
        "taps_down_columns": _wrong(
            involution,
            "The nine generated taps are laid out column by column; unfold numbers the patch row"
            " by row.",
            columns_first=True,
        ),
    },
)


# PointNet++: sampling, grouping and pooling of points.


class PointAbstraction(nn.Module):
    """Farthest points, the first points within a radius, and a small network with maximum."""

    def __init__(self, centres: int, radius: float, count: int, channels: int) -> None:
        super().__init__()
        self.centres, self.radius, self.count = centres, radius, count
        self.conv0, self.norm0 = nn.Conv2d(channels + 3, 12, 1), nn.BatchNorm2d(12)
        self.conv1, self.norm1 = nn.Conv2d(12, 16, 1), nn.BatchNorm2d(16)

    def forward(self, xyz: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        b, n, _ = xyz.shape
        rows = torch.arange(b)
        nearest, last = torch.full((b, n), 1e10), torch.zeros(b, dtype=torch.long)
        chosen = []
        for _ in range(self.centres):
            chosen.append(last)
            nearest = torch.minimum(nearest, ((xyz - xyz[rows, last][:, None]) ** 2).sum(-1))
            last = nearest.argmax(-1)
        centres = xyz[rows[:, None], torch.stack(chosen, 1)]
        apart = ((centres[:, :, None] - xyz[:, None]) ** 2).sum(-1)
        index = torch.arange(n).expand(b, self.centres, n).clone()
        index[apart > self.radius**2] = n
        index = index.sort(-1).values[:, :, : self.count]
        index = torch.where(index == n, index[:, :, :1], index)
        rows = rows[:, None, None]
        group = torch.cat([xyz[rows, index] - centres[:, :, None], features[rows, index]], -1)
        y = group.permute(0, 3, 2, 1)
        y = torch.relu(self.norm0(self.conv0(y)))
        return torch.relu(self.norm1(self.conv1(y))).amax(2)


def points_model() -> tuple[Any, Any]:
    model = train_torch(PointAbstraction(10, 0.7, 6, 4), 430)
    xyz = np.random.default_rng(431).uniform(-1, 1, (2, 48, 3)).astype(np.float32)
    return model, (xyz, inputs(432, 2, 48, 4))


def point_abstraction(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    relative: bool = True,
    members: str = "first in radius",
    radius: float = 0.7**2,
    filler: str = "first member",
    order: tuple[int, int] = (0, 1),
    distances: str = "to all",
) -> np.ndarray:
    w, (xyz, features) = weights_of(model), x
    groups = []
    for points, values in zip(xyz, features, strict=True):
        chosen, nearest = [0], np.full(len(points), 1e10)
        while len(chosen) < 10:
            now = ((points - points[chosen[-1]]) ** 2).sum(-1)
            nearest = np.minimum(nearest, now) if distances == "to all" else now
            chosen.append(int(nearest.argmax()))
        for centre in points[chosen]:
            apart = ((points - centre) ** 2).sum(-1)
            if members == "nearest":
                found = [i for i in np.argsort(apart, kind="stable")[:6] if apart[i] <= radius]
            else:
                found = list(np.flatnonzero(apart <= radius)[:6])
            spare = found[0] if filler == "first member" else 0
            found += [spare] * (6 - len(found))
            parts = [points[found] - (centre if relative else 0), values[found]]
            groups.append(np.concatenate([parts[i] for i in order], -1))
    y = np.array(groups, np.float32).reshape(2, 10, 6, 7).transpose(0, 3, 2, 1)
    for i in range(2):
        y = relu(batch_norm(_conv(y, w, f"conv{i}"), w, f"norm{i}"))
    return y.max(2)


POINTS = Case(
    "fourth_point_abstraction",
    points_model,
    "",
    point_abstraction,
    {
        "absolute_positions": _wrong(
            point_abstraction,
            "The grouped points keep their absolute positions; the centre of their group has to be"
            " subtracted.",
            relative=False,
        ),
        "nearest_members": _wrong(
            point_abstraction,
            "The six nearest points within the radius make a group; the ball query takes the first"
            " six by index.",
            members="nearest",
        ),
        "radius_not_squared": _wrong(
            point_abstraction,
            "Squared distances are compared with the radius itself; they have to be compared with"
            " its square.",
            radius=0.7,
        ),
        "filled_with_point_zero": _wrong(
            point_abstraction,
            "Groups of too few points are filled up with point zero of the cloud; the group's own"
            " first point is repeated.",
            filler="point 0",
        ),
        "positions_behind_features": _wrong(
            point_abstraction,
            "The features come before the three relative coordinates in the joined channels;"
            " coordinates come first.",
            order=(1, 0),
        ),
        "distance_to_last_centre": _wrong(
            point_abstraction,
            "The next centre is the farthest from the latest one; it has to be farthest from all"
            " centres chosen so far.",
            distances="to last",
        ),
    },
)


# PointNet++: features handed back to more points.


class PointPropagation(nn.Module):
    """Features of the three nearest coarse points, weighted by their inverse squared distance."""

    def __init__(self, fine: int, coarse: int, out: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(fine + coarse, out, 1), nn.BatchNorm1d(out)

    def forward(
        self, xyz: torch.Tensor, known: torch.Tensor, fine: torch.Tensor, coarse: torch.Tensor
    ) -> torch.Tensor:
        apart = ((xyz[:, :, None] - known[:, None]) ** 2).sum(-1)
        apart, index = apart.sort(-1)
        share = 1 / (apart[:, :, :3] + 1e-8)
        share = share / share.sum(-1, keepdim=True)
        rows = torch.arange(len(xyz))[:, None, None]
        y = (coarse[rows, index[:, :, :3]] * share[..., None]).sum(2)
        y = torch.cat([fine, y], -1).transpose(1, 2)
        return torch.relu(self.norm(self.conv(y)))


def propagation_model() -> tuple[Any, Any]:
    rng = np.random.default_rng(434)
    xyz = rng.uniform(-1, 1, (2, 30, 3)).astype(np.float32)
    known = rng.uniform(-1, 1, (2, 9, 3)).astype(np.float32)
    model = train_torch(PointPropagation(4, 6, 10), 433)
    return model, (xyz, known, inputs(435, 2, 30, 4), inputs(436, 2, 9, 6))


def point_propagation(
    model: Any,
    x: tuple[np.ndarray, ...],
    power: float = 1.0,
    neighbours: int = 3,
    normalised: str = "each point",
    joined: str = "fine first",
    weight_of: str = "inverse",
) -> np.ndarray:
    w, (xyz, known, fine, coarse) = weights_of(model), x
    apart = ((xyz[:, :, None] - known[:, None]) ** 2).sum(-1)
    index = np.argsort(apart, -1)[:, :, :neighbours]
    apart = np.take_along_axis(apart, index, -1)
    share = np.exp(-apart) if weight_of == "gauss" else 1 / (apart**power + 1e-8)
    if normalised == "each point":
        share = share / share.sum(-1, keepdims=True)
    else:
        share = np.full_like(share, 1 / neighbours)
    y = (coarse[np.arange(2)[:, None, None], index] * share[..., None]).sum(2)
    y = np.concatenate([fine, y] if joined == "fine first" else [y, fine], -1)
    y = relu(batch_norm(_conv(y.swapaxes(1, 2).astype(np.float32), w, "conv"), w, "norm"))
    return y.astype(np.float32)


PROPAGATION = Case(
    "fourth_point_propagation",
    propagation_model,
    "",
    point_propagation,
    {
        "distance_not_squared": _wrong(
            point_propagation,
            "The weights are inverse distances; this network weighs by the inverse of the squared"
            " distance.",
            power=0.5,
        ),
        "four_neighbours": _wrong(
            point_propagation,
            "Four nearest coarse points are averaged, one too many; three are to be taken.",
            neighbours=4,
        ),
        "equal_shares": _wrong(
            point_propagation,
            "The three nearest coarse points get equal weight; each one's weight is its inverse"
            " squared distance over their sum.",
            normalised="equal",
        ),
        "weights_of_gauss": _wrong(
            point_propagation,
            "A point weighs exp of its negative squared distance; the reciprocal of that distance"
            " is right.",
            weight_of="gauss",
        ),
        "coarse_first_and_two": _wrong(
            point_propagation,
            "Interpolated features stand before the fine points' own instead of behind, and only"
            " two neighbours are interpolated, not three.",
            2,
            joined="coarse first",
            neighbours=2,
        ),
    },
)


# FCOS: a head without anchors over two levels, with its boxes.


class FcosHead(nn.Module):
    """Scores and boxes, as parts of the image, of every place of two levels."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.class_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.class_norm = nn.GroupNorm(2, channels)
        self.box_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.box_norm = nn.GroupNorm(2, channels)
        self.logits = nn.Conv2d(channels, classes, 3, padding=1)
        self.sides = nn.Conv2d(channels, 4, 3, padding=1)
        self.centreness = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(2))

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        found = []
        size = torch.tensor([56.0, 48.0, 56.0, 48.0])
        for level, (x, stride) in enumerate(zip(levels, (8, 16), strict=True)):
            boxes = torch.relu(self.box_norm(self.box_conv(x)))
            classes = torch.relu(self.class_norm(self.class_conv(x)))
            sides = torch.exp(self.scales[level] * self.sides(boxes)) * stride
            scores = torch.sigmoid(self.logits(classes)) * torch.sigmoid(self.centreness(boxes))
            rows, columns = torch.meshgrid(
                torch.arange(x.shape[2]) * stride + stride // 2,
                torch.arange(x.shape[3]) * stride + stride // 2,
                indexing="ij",
            )
            places = torch.stack([columns, rows, columns, rows], -1).flatten(0, 1)
            signs = torch.tensor([-1.0, -1.0, 1.0, 1.0])
            boxes = places + signs * sides.flatten(2).transpose(1, 2)
            boxes = torch.minimum(boxes.clamp(min=0), size) / size
            found.append(torch.cat([boxes, scores.sqrt().flatten(2).transpose(1, 2)], -1))
        return torch.cat(found, 1)


def fcos_model() -> tuple[Any, Any]:
    model = train_torch(FcosHead(8, 3), 437)
    return model, (inputs(438, 2, 8, 6, 7), inputs(439, 2, 8, 3, 4))


def fcos_head(
    model: Any,
    x: tuple[np.ndarray, ...],
    shift: float = 0.5,
    scaled: str = "inside",
    order: tuple[int, ...] = (0, 1, 2, 3),
    centre_of: str = "boxes",
    root: bool = True,
    grid: str = "rows",
) -> np.ndarray:
    w, found = weights_of(model), []
    size = np.array([56, 48, 56, 48], np.float32)

    def tower(y: np.ndarray, name: str) -> np.ndarray:
        y = _conv(y, w, f"{name}_conv", padding=1)
        g = y.reshape(len(y), 2, -1)
        g = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + 1e-5)
        gain, bias = w[f"{name}_norm.weight"], w[f"{name}_norm.bias"]
        return relu(g.reshape(y.shape) * gain[:, None, None] + bias[:, None, None])

    def flat(y: np.ndarray) -> np.ndarray:
        return y.reshape(*y.shape[:2], -1).swapaxes(1, 2)

    def sigma(y: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-y))

    for level, (y, stride) in enumerate(zip(x, (8, 16), strict=True)):
        boxes, classes = tower(y, "box"), tower(y, "class")
        sides, scale = flat(_conv(boxes, w, "sides", padding=1)), w["scales"][level]
        sides = np.exp(scale * sides) if scaled == "inside" else scale * np.exp(sides)
        left, top, right, bottom = (sides * stride)[..., list(order)].transpose(2, 0, 1)
        centred = _conv(boxes if centre_of == "boxes" else classes, w, "centreness", padding=1)
        scores = flat(sigma(_conv(classes, w, "logits", padding=1)) * sigma(centred))
        scores = np.sqrt(scores) if root else scores
        h, v = y.shape[3], y.shape[2]
        row, column = np.divmod(np.arange(h * v), h)
        if grid == "columns":
            column, row = np.divmod(np.arange(h * v), v)
        cx, cy = (column + shift) * stride, (row + shift) * stride
        box = np.stack([cx - left, cy - top, cx + right, cy + bottom], -1)
        found.append(np.concatenate([np.clip(box, 0, size) / size, scores], -1))
    return np.concatenate(found, 1).astype(np.float32)


FCOS = Case(
    "fourth_fcos_head",
    fcos_model,
    "",
    fcos_head,
    {
        "places_at_corners": _wrong(
            fcos_head,
            "A cell's place is its upper left corner, index times stride; half a stride has to be"
            " added.",
            shift=0.0,
        ),
        "scale_behind_exp": _wrong(
            fcos_head,
            "The learned scale of the level multiplies the exponential; it multiplies the"
            " convolution's output before.",
            scaled="outside",
        ),
        "sides_from_the_top": _wrong(
            fcos_head,
            "The four distances are read as top, left, bottom, right; they are left, top, right,"
            " bottom.",
            order=(1, 0, 3, 2),
        ),
        "centreness_of_classes": _wrong(
            fcos_head,
            "The centreness is computed on the classification tower; in this head it sits on the"
            " box tower.",
            centre_of="classes",
        ),
        "score_without_root": _wrong(
            fcos_head,
            "The score is the product of class probability and centreness; the square root of that"
            " product is right.",
            root=False,
        ),
        "places_down_columns": _wrong(
            fcos_head,
            "Places are listed column by column, while the flattened maps go row by row.",
            grid="columns",
        ),
    },
)


# YOLACT: masks put together from prototypes, and cropped.


class PrototypeMasks(nn.Module):
    """Prototypes of an image, combined for each detection and cut to its box."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.prototypes = nn.Conv2d(channels, count, 1)
        self.coefficients = nn.Linear(channels, count)

    def forward(
        self, x: torch.Tensor, detections: torch.Tensor, boxes: torch.Tensor
    ) -> torch.Tensor:
        y = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        y = torch.relu(self.prototypes(torch.relu(self.conv(torch.relu(y)))))
        parts = torch.tanh(self.coefficients(detections))
        masks = torch.sigmoid(torch.einsum("khw,nk->nhw", y[0], parts))
        h, w = masks.shape[1:]
        rows, columns = torch.arange(h)[:, None], torch.arange(w)
        x1, y1, x2, y2 = (boxes * torch.tensor([w, h, w, h])).long().T[:, :, None, None]
        inside = (columns >= x1 - 1) & (columns < x2 + 1) & (rows >= y1 - 1) & (rows < y2 + 1)
        return masks * inside


def mask_model() -> tuple[Any, Any]:
    model = train_torch(PrototypeMasks(8, 6), 440)
    rng = np.random.default_rng(441)
    low, size = rng.uniform(0, 0.5, (5, 2)), rng.uniform(0.25, 0.5, (5, 2))
    boxes = np.concatenate([low, low + size], 1).astype(np.float32)
    return model, (inputs(442, 1, 8, 6, 8), inputs(443, 5, 8), boxes)


def prototype_masks(
    model: Any,
    x: tuple[np.ndarray, ...],
    bounded: bool = True,
    positive: bool = True,
    margin: int = 1,
    crop: str = "after",
    box: tuple[int, ...] = (0, 1, 2, 3),
    as_bytes: bool = False,
) -> np.ndarray:
    w, (image, detections, boxes) = weights_of(model), x
    y = relu(bilinear(image, (12, 16)))
    y = _conv(relu(_conv(y, w, "conv", padding=1)), w, "prototypes")[0]
    y = relu(y) if positive else y
    parts = _dense(detections, w, "coefficients")
    masks = np.tensordot(np.tanh(parts) if bounded else parts, y, 1)
    x1, y1, x2, y2 = (boxes[:, list(box)] * np.array([16, 12, 16, 12])).astype(int).T
    rows, columns = np.arange(12)[:, None], np.arange(16)
    inside = (columns >= x1[:, None, None] - margin) & (columns < x2[:, None, None] + margin)
    across = (rows >= y1[:, None, None] - margin) & (rows < y2[:, None, None] + margin)
    inside = inside & across
    if crop == "before":
        return (1 / (1 + np.exp(-masks * inside))).astype(np.float32)
    masks = inside / (1 + np.exp(-masks))
    return (np.floor(masks * 255) / 255 if as_bytes else masks).astype(np.float32)


MASKS = Case(
    "fourth_yolact_masks",
    mask_model,
    "",
    prototype_masks,
    {
        "coefficients_unbounded": _wrong(
            prototype_masks,
            "The mask coefficients are used as the linear layer gives them; they have to pass a"
            " tanh first.",
            bounded=False,
        ),
        "negative_prototypes": _wrong(
            prototype_masks,
            "The prototypes keep negative values; they pass a ReLU before they are combined.",
            positive=False,
        ),
        "crop_without_margin": _wrong(
            prototype_masks,
            "Masks are cut exactly at the truncated box; one pixel more is kept on each side.",
            margin=0,
        ),
        "sigmoid_behind_crop": _wrong(
            prototype_masks,
            "The logits are cropped before the sigmoid, so that one half stands outside the boxes;"
            " zero should.",
            crop="before",
        ),
        "box_rows_first": _wrong(
            prototype_masks,
            "The boxes are read as y1, x1, y2, x2; they hold x1, y1, x2, y2.",
            box=(1, 0, 3, 2),
        ),
        "masks_in_bytes": _wrong(
            prototype_masks,
            "The masks are handed on as bytes, cut down to steps of 1/255; they are to stay"
            " floating-point probabilities.",
            as_bytes=True,
        ),
    },
)


# A sampler of EDM with its preconditioned denoiser.


class EdmSampler(nn.Module):
    """Heun's steps from noise to an image (Karras and others, algorithm 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rates = nn.Buffer(torch.tensor([0.25, 0.5, 1.0, 1.7]))
        self.noise = nn.Linear(8, channels)
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        whole = (sigma**2 + 0.5**2).sqrt()
        angles = 2 * np.pi * self.rates * (sigma.log() / 4)
        told = self.noise(torch.cat([angles.cos(), angles.sin()]))
        y = self.conv_in(x / whole) + told[:, None, None]
        y = self.conv_out(nn.functional.silu(y))
        return x * (0.5 / whole) ** 2 + y * (sigma * 0.5 / whole)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(4) / 3
        sigmas = (20 ** (1 / 7) + ramp * (0.05 ** (1 / 7) - 20 ** (1 / 7))) ** 7
        sigmas = torch.cat([sigmas, torch.zeros(1)])
        x = noise * sigmas[0]
        for now, then in pairwise(sigmas):
            slope = (x - self.denoised(x, now)) / now
            step = x + (then - now) * slope
            if then > 0:
                slope = (slope + (step - self.denoised(step, then)) / then) / 2
                step = x + (then - now) * slope
            x = step
        return x


def edm_model() -> tuple[Any, Any]:
    return train_torch(EdmSampler(10), 444), inputs(445, 2, 3, 6, 7)


def edm_sampler(
    model: Any,
    noise: np.ndarray,
    rho: float = 7.0,
    divisor: float = 4.0,
    corrected: str = "both slopes",
    spread: float = 0.5,
    cosine_first: bool = True,
    second_sigma: str = "next",
) -> np.ndarray:
    w = weights_of(model)

    def denoised(x: np.ndarray, sigma: float) -> np.ndarray:
        whole = np.sqrt(sigma**2 + spread**2)
        angles = 2 * np.pi * w["rates"] * np.log(sigma) / divisor
        pair = [np.cos(angles), np.sin(angles)]
        told = _dense(np.concatenate(pair if cosine_first else pair[::-1]), w, "noise")
        y = silu(_conv(x / whole, w, "conv_in", padding=1) + told[:, None, None])
        y = _conv(y, w, "conv_out", padding=1)
        return x * (spread / whole) ** 2 + y * (sigma * spread / whole)

    ends = 20 ** (1 / rho), 0.05 ** (1 / rho)
    sigmas = [float((ends[0] + i / 3 * (ends[1] - ends[0])) ** rho) for i in range(4)] + [0.0]
    x = noise.astype(np.float64) * sigmas[0]
    for now, then in pairwise(sigmas):
        slope = (x - denoised(x, now)) / now
        step = x + (then - now) * slope
        if then > 0 and corrected != "no":
            again = (step - denoised(step, then if second_sigma == "next" else now)) / then
            mean = again if corrected == "last slope" else (slope + again) / 2
            step = x + (then - now) * mean
        x = step
    return x.astype(np.float32)


EDM = Case(
    "fourth_edm_sampler",
    edm_model,
    "",
    edm_sampler,
    {
        "euler_alone": _wrong(
            edm_sampler,
            "Each step is Euler's alone; Heun's correction with the slope at the end is left out.",
            corrected="no",
        ),
        "slope_of_end_alone": _wrong(
            edm_sampler,
            "The corrected step follows the slope at its end only; the mean of both slopes is"
            " right.",
            corrected="last slope",
        ),
        "noise_level_undivided": _wrong(
            edm_sampler,
            "The network is told the logarithm of sigma; it was trained with a quarter of that.",
            divisor=1.0,
        ),
        "data_deviation_of_one": _wrong(
            edm_sampler,
            "The preconditioning assumes data of deviation one; sigma_data is 0.5.",
            spread=1.0,
        ),
        "stale_level_and_sine_first": _wrong(
            edm_sampler,
            "The denoiser of the correction gets the step's old sigma instead of the new one, and"
            " sines come before cosines in the embedding.",
            2,
            second_sigma="now",
            cosine_first=False,
        ),
    },
)


# Finite scalar quantisation of image tokens.


class ScalarQuantiser(nn.Module):
    """Each channel rounded to its own number of levels, between two projections."""

    def __init__(self, channels: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.inward = nn.Linear(channels, len(levels))
        self.outward = nn.Linear(len(levels), channels)
        self.levels = nn.Buffer(torch.tensor(levels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.inward(x.flatten(2).transpose(1, 2))
        half = (self.levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        z = torch.tanh(z + torch.atanh(offset / half)) * half - offset
        y = self.outward(z.round() / (self.levels // 2))
        return y.transpose(1, 2).reshape(x.shape)


def scalar_model() -> tuple[Any, Any]:
    return train_torch(ScalarQuantiser(10, (8, 6, 5, 5)), 446), inputs(447, 2, 10, 6, 5)


def scalar_quantiser(
    model: Any,
    x: np.ndarray,
    shifted: bool = True,
    offset: float = 0.5,
    rounding: Any = np.rint,
    divisor: str = "half",
    levels: tuple[int, ...] = (8, 6, 5, 5),
) -> np.ndarray:
    w, n = weights_of(model), np.array(levels)
    z = _dense(x.reshape(2, 10, -1).swapaxes(1, 2), w, "inward")
    half = (n - 1) * (1 + 1e-3) / 2
    off = np.where(n % 2 == 0, offset, 0.0)
    z = np.tanh(z + (np.arctanh(off / half) if shifted else 0)) * half - off
    z = rounding(z) / (n // 2 if divisor == "half" else (n - 1) / 2)
    return _dense(z, w, "outward").swapaxes(1, 2).reshape(x.shape).astype(np.float32)


SCALARS = Case(
    "fourth_finite_scalar_quantiser",
    scalar_model,
    "",
    scalar_quantiser,
    {
        "no_shift_before_tanh": _wrong(
            scalar_quantiser,
            "The tanh is not shifted for even numbers of levels, so that zero does not map to"
            " zero; the artanh of the offset is missing.",
            shifted=False,
        ),
        "no_offset_for_even": _wrong(
            scalar_quantiser,
            "Even numbers of levels get no half step of offset, as if they were odd.",
            offset=0.0,
        ),
        "rounded_down": _wrong(
            scalar_quantiser,
            "The bounded values are rounded down to the next integer; they have to be rounded to"
            " the nearest.",
            rounding=np.floor,
        ),
        "divided_by_full_range": _wrong(
            scalar_quantiser,
            "Codes are divided by half of levels minus one; the divisor is the integer half of the"
            " levels.",
            divisor="range",
        ),
        "levels_reversed": _wrong(
            scalar_quantiser,
            "The list of levels is applied from its end, so that the first channel gets five"
            " levels instead of eight.",
            levels=(5, 5, 6, 8),
        ),
    },
)


# JPEG's loss as a layer: colours, cosine transform, quantisation, and back.

LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMA = (
    """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99 """
    + "99 " * 32
)


def _table(text: str) -> np.ndarray:
    return np.array(text.split(), np.float32).reshape(8, 8)


def _cosines(first: float = 0.5**0.5) -> np.ndarray:
    k, n = np.arange(8)[:, None], np.arange(8)
    matrix = np.cos((2 * n + 1) * k * np.pi / 16) / 2
    matrix[0] *= first
    return matrix


def _colours(red: float, blue: float) -> np.ndarray:
    green = 1 - red - blue
    return np.array(
        [
            [red, green, blue],
            [-0.5 * red / (1 - blue), -0.5 * green / (1 - blue), 0.5],
            [0.5, -0.5 * green / (1 - red), -0.5 * blue / (1 - red)],
        ]
    )


class JpegLoss(nn.Module):
    """What JPEG leaves of an image of 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        tables = np.stack([_table(LUMA), _table(CHROMA), _table(CHROMA)])
        self.tables = nn.Buffer(torch.tensor(tables)[:, None, :, None])
        self.cosines = nn.Buffer(torch.tensor(_cosines().astype(np.float32)))
        self.colours = nn.Buffer(torch.tensor(_colours(0.299, 0.114).astype(np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        y = torch.einsum("ij,bjhw->bihw", self.colours, x)
        y = y - torch.tensor([128.0, 0.0, 0.0])[:, None, None]
        y = y.reshape(b, 3, h // 8, 8, w // 8, 8)
        y = torch.einsum("ui,vj,bcrisj->bcrusv", self.cosines, self.cosines, y)
        y = (y / self.tables).round() * self.tables
        y = torch.einsum("ui,vj,bcrusv->bcrisj", self.cosines, self.cosines, y)
        y = y.reshape(b, 3, h, w) + torch.tensor([128.0, 0.0, 0.0])[:, None, None]
        return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(self.colours), y).clamp(0, 255)


def jpeg_model() -> tuple[Any, Any]:
    rng = np.random.default_rng(448)
    rough = bilinear(rng.uniform(0, 255, (2, 3, 5, 5)).astype(np.float32), (16, 16))
    x = np.clip(rough * 1.2 - 20 + rng.normal(0, 12, rough.shape), 0, 255)
    return JpegLoss().eval(), x.astype(np.float32)


def jpeg_loss(
    model: Any,
    x: np.ndarray,
    turned: bool = False,
    rounding: Any = np.rint,
    shares: tuple[float, float] = (0.299, 0.114),
    chroma: str = CHROMA,
    first: float = 0.5**0.5,
    clipped: bool = True,
) -> np.ndarray:
    colours, cosines = _colours(*shares), _cosines(first)
    y = np.einsum("ij,bjhw->bihw", colours, x.astype(np.float64))
    y[:, 0] -= 128
    y = y.reshape(2, 3, 2, 8, 2, 8).transpose(0, 1, 2, 4, 3, 5)
    y = cosines @ y @ cosines.T
    tables = np.stack([_table(LUMA), _table(chroma), _table(chroma)])
    tables = tables.swapaxes(1, 2) if turned else tables
    tables = tables[:, None, None]
    y = cosines.T @ (rounding(y / tables) * tables) @ cosines
    y = y.transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)
    y[:, 0] += 128
    y = np.einsum("ij,bjhw->bihw", np.linalg.inv(colours), y)
    return (np.clip(y, 0, 255) if clipped else y).astype(np.float32)


JPEG = Case(
    "fourth_jpeg_loss",
    jpeg_model,
    "",
    jpeg_loss,
    {
        "tables_transposed": _wrong(
            jpeg_loss,
            "The quantisation tables are filled column by column; their rows belong to vertical"
            " frequencies.",
            turned=True,
        ),
        "coefficients_truncated": _wrong(
            jpeg_loss,
            "Coefficients are cut towards zero, as a cast to int does; they are to be rounded to"
            " the nearest.",
            rounding=np.trunc,
        ),
        "colours_of_bt709": _wrong(
            jpeg_loss,
            "Luma is weighed by BT.709's shares of red and blue; JPEG uses those of BT.601.",
            shares=(0.2126, 0.0722),
        ),
        "luma_table_for_colours": _wrong(
            jpeg_loss,
            "The two colour channels are quantised by the luma table; they have a table of their"
            " own.",
            chroma=LUMA,
        ),
        "constant_row_unscaled": _wrong(
            jpeg_loss,
            "The constant row of the cosine matrix lacks the factor one over root two, both ways;"
            " the transform is orthonormal.",
            first=1.0,
        ),
        "not_clipped": _wrong(
            jpeg_loss,
            "Restored colours beyond 0 and 255 are kept; they have to be clipped.",
            clipped=False,
        ),
    },
)


# A learned guided filter.


class GuidedFilter(nn.Module):
    """Local linear models of a map, given a guide that a small network makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 1, 1)

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)

    def forward(self, image: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        guide = self.second(nn.functional.leaky_relu(self.first(image), 0.2))
        middle, centre = self.mean(guide), self.mean(p)
        together = self.mean(guide * p) - middle * centre
        slope = together / (self.mean(guide * guide) - middle * middle + 0.05)
        return self.mean(slope) * guide + self.mean(centre - slope * middle)


def guided_model() -> tuple[Any, Any]:
    model = train_torch(GuidedFilter(), 449)
    return model, (inputs(450, 2, 3, 9, 8), inputs(451, 2, 2, 9, 8, shift=0.5))


def guided_filter(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    counted: str = "inside",
    smoothed: bool = True,
    reach: int = 2,
    regular: str = "guide",
    centred: bool = True,
) -> np.ndarray:
    w, (image, p) = weights_of(model), x

    def mean(y: np.ndarray) -> np.ndarray:
        size = 2 * reach + 1
        box = np.ones((1, 1, size, size), np.float32)
        flat = y.reshape(-1, 1, *y.shape[2:])
        if counted == "edge":
            edges = [(0, 0)] * 2 + [(reach, reach)] * 2
            return (conv(np.pad(flat, edges, "edge"), box) / size**2).reshape(y.shape)
        counts = conv(np.ones_like(flat), box, padding=reach)
        return (conv(flat, box, padding=reach) / counts).reshape(y.shape)

    guide = _conv(image, w, "first")
    guide = _conv(np.where(guide > 0, guide, np.float32(0.2) * guide), w, "second")
    middle, centre = mean(guide), mean(p)
    together = mean(guide * p) - (middle * centre if centred else 0)
    of = guide if regular == "guide" else p
    slope = together / (mean(of * of) - mean(of) ** 2 + np.float32(0.05))
    rest = centre - slope * middle
    return (mean(slope) * guide + mean(rest)) if smoothed else slope * guide + rest


GUIDED = Case(
    "fourth_guided_filter",
    guided_model,
    "",
    guided_filter,
    {
        "border_replicated": _wrong(
            guided_filter,
            "Local means repeat the edge pixels beyond the border; only pixels inside the image"
            " are averaged.",
            counted="edge",
        ),
        "models_not_averaged": _wrong(
            guided_filter,
            "Each pixel uses its own window's slope and rest; both are averaged over the windows"
            " that hold the pixel.",
            smoothed=False,
        ),
        "smaller_radius": _wrong(
            guided_filter,
            "The windows are three pixels wide instead of five: a radius of one in place of two.",
            reach=1,
        ),
        "variance_of_filtered_map": _wrong(
            guided_filter,
            "The slope divides by the variance of the map to be filtered; the variance of the"
            " guide belongs there.",
            regular="map",
        ),
        "covariance_uncentred": _wrong(
            guided_filter,
            "The mean of the product stands in for the covariance; the product of the means has to"
            " be subtracted.",
            centred=False,
        ),
    },
)


# A temporal shift module in a residual block for video.


class TemporalShift(nn.Module):
    """A residual block in whose branch channels move by a frame."""

    def __init__(self, channels: int, frames: int, part: int) -> None:
        super().__init__()
        self.frames, self.part = frames, part
        self.conv1 = nn.Conv2d(channels, 8, 1, bias=False)
        self.conv2 = nn.Conv2d(8, channels, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fold = x.shape[1] // self.part
        video = x.reshape(-1, self.frames, *x.shape[1:])
        moved = torch.zeros_like(video)
        moved[:, :-1, :fold] = video[:, 1:, :fold]
        moved[:, 1:, fold : 2 * fold] = video[:, :-1, fold : 2 * fold]
        moved[:, :, 2 * fold :] = video[:, :, 2 * fold :]
        y = torch.relu(self.norm1(self.conv1(moved.reshape(x.shape))))
        return torch.relu(x + self.norm2(self.conv2(y)))


def shift_model() -> tuple[Any, Any]:
    return train_torch(TemporalShift(16, 4, 8), 452), inputs(453, 8, 16, 5, 4)


def temporal_shift(
    model: Any,
    x: np.ndarray,
    later: tuple[int, int] = (0, 2),
    earlier: tuple[int, int] = (2, 4),
    wrapped: bool = False,
    outer: str = "clips",
    shortcut: str = "input",
) -> np.ndarray:
    w = weights_of(model)
    if outer == "clips":
        video = x.reshape(2, 4, *x.shape[1:])
    else:
        video = x.reshape(4, 2, *x.shape[1:]).swapaxes(0, 1)
    moved = video.copy()
    for (low, high), step in ((later, -1), (earlier, 1)):
        moved[:, :, low:high] = np.roll(video[:, :, low:high], step, 1)
        if not wrapped:
            moved[:, -1 if step < 0 else 0, low:high] = 0
    moved = (moved if outer == "clips" else moved.swapaxes(0, 1)).reshape(x.shape)
    y = relu(batch_norm(_conv(moved, w, "conv1"), w, "norm1"))
    y = batch_norm(_conv(y, w, "conv2", padding=1), w, "norm2")
    return relu((x if shortcut == "input" else moved) + y)


SHIFT = Case(
    "fourth_temporal_shift_block",
    shift_model,
    "",
    temporal_shift,
    {
        "directions_exchanged": _wrong(
            temporal_shift,
            "The first eighth of the channels comes from the frame before and the second from the"
            " one after; it is the reverse.",
            later=(2, 4),
            earlier=(0, 2),
        ),
        "clip_wraps_around": _wrong(
            temporal_shift,
            "Shifted channels wrap around, so the last frame sees the first; frames beyond the clip"
            " count as zero.",
            wrapped=True,
        ),
        "quarter_each_way": _wrong(
            temporal_shift,
            "A quarter of the channels moves in each direction; an eighth should.",
            later=(0, 4),
            earlier=(4, 8),
        ),
        "frames_outermost": _wrong(
            temporal_shift,
            "The batch axis is split with frames outside and clips inside; each clip's four frames"
            " are neighbours.",
            outer="frames",
        ),
        "shortcut_shifted": _wrong(
            temporal_shift,
            "The shift was done in place, so the shortcut adds the shifted frames; it adds the"
            " block's input.",
            shortcut="shifted",
        ),
    },
)


# Networks of Keras, channels last.

K = keras.layers


def _stored(model: Any, name: str) -> list[np.ndarray]:
    return [np.asarray(value) for value in model.get_layer(name).get_weights()]


def _keras_norm(y: np.ndarray, model: Any, name: str, eps: float = 1e-3) -> np.ndarray:
    gain, bias, mean, var = _stored(model, name)
    return (y - mean) / np.sqrt(var + np.float32(eps)) * gain + bias


def _last(y: np.ndarray, kernel: np.ndarray, bias: Any = None, **options: Any) -> np.ndarray:
    """A convolution of channels last, with a kernel (*size, in, out)."""
    n = y.ndim - 2
    weight = kernel.transpose(n + 1, n, *range(n))
    return np.moveaxis(conv(np.moveaxis(y, -1, 1), weight, bias, **options), 1, -1)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's "same" pads before and behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


# Xception's block of separable convolutions.


def xception_model() -> tuple[Any, Any]:
    x = keras.Input((9, 10, 6))
    y = K.Activation("relu")(x)
    y = K.SeparableConv2D(8, 3, padding="same", use_bias=False, name="conv1")(y)
    y = K.BatchNormalization(name="norm1")(y)
    y = K.Activation("relu")(y)
    y = K.SeparableConv2D(8, 3, padding="same", use_bias=False, name="conv2")(y)
    y = K.BatchNormalization(name="norm2")(y)
    y = K.MaxPooling2D(3, strides=2, padding="same")(y)
    around = K.Conv2D(8, 1, strides=2, padding="same", use_bias=False, name="around")(x)
    around = K.BatchNormalization(name="norm3")(around)
    model = keras.Model(x, K.Add()([y, around]))
    return train_keras(model, 454, gain=1.3), inputs(455, 2, 9, 10, 6)


def xception_block(
    model: Any,
    x: np.ndarray,
    pool_pad: str = "same",
    filler: float = -np.inf,
    swapped: bool = False,
    around_from: str = "input",
    eps: float = 1e-3,
) -> np.ndarray:
    def separable(y: np.ndarray, name: str) -> np.ndarray:
        depth, point = _stored(model, name)
        depth = depth.transpose(2, 3, 1, 0) if swapped else depth.transpose(2, 3, 0, 1)
        y = np.moveaxis(y, -1, 1)
        return np.moveaxis(conv(y, depth, padding=1, groups=len(depth)), 1, -1) @ point[0, 0]

    active = relu(x)
    y = _keras_norm(separable(active, "conv1"), model, "norm1", eps)
    y = _keras_norm(separable(relu(y), "conv2"), model, "norm2", eps)
    edges = [_same(n, 3, 2) if pool_pad == "same" else (1, 1) for n in (9, 10)]
    y = np.pad(y, [(0, 0), *edges, (0, 0)], constant_values=filler)
    windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3), (1, 2))[:, ::2, ::2]
    source = x if around_from == "input" else active
    around = source[:, ::2, ::2] @ _stored(model, "around")[0][0, 0]
    return windows.max((-2, -1)) + _keras_norm(around, model, "norm3", eps)


XCEPTION = Case(
    "fourth_keras_xception_block",
    xception_model,
    "",
    xception_block,
    {
        "pool_padded_evenly": _wrong(
            xception_block,
            "The max pooling pads one pixel on every side as PyTorch would; same padding of an even"
            " width adds only behind.",
            pool_pad="even",
        ),
        "pool_sees_zeros": _wrong(
            xception_block,
            "The pooling's padding is zero, which wins over negative values; padded pixels must"
            " never be the maximum.",
            filler=0.0,
        ),
        "relu_in_place": _wrong(
            xception_block,
            "The first ReLU overwrote the input, so the shortcut convolves the activated map; it"
            " convolves the raw input.",
            around_from="active",
        ),
        "epsilon_of_torch": _wrong(
            xception_block,
            "The batch norms use PyTorch's epsilon of 1e-5; Keras adds 1e-3 to the variance.",
            eps=1e-5,
        ),
        "depthwise_axes_swapped": _wrong(
            xception_block,
            "The depthwise kernels are transposed to channel, column, row on the way; rows come"
            " before columns.",
            swapped=True,
        ),
    },
)


# A generator of images with transposed convolutions.


def generator_model() -> tuple[Any, Any]:
    x = keras.Input((10,))
    y = K.Dense(4 * 3 * 8, use_bias=False, name="dense")(x)
    y = K.BatchNormalization(name="norm1")(y)
    y = K.LeakyReLU()(y)
    y = K.Reshape((4, 3, 8))(y)
    y = K.Conv2DTranspose(6, 5, strides=2, padding="same", use_bias=False, name="up1")(y)
    y = K.BatchNormalization(name="norm2")(y)
    y = K.LeakyReLU()(y)
    y = K.Conv2DTranspose(3, 5, strides=2, padding="same", activation="tanh", name="up2")(y)
    return train_keras(keras.Model(x, y), 456), inputs(457, 2, 10)


def image_generator(
    model: Any,
    x: np.ndarray,
    cropped: int = 1,
    grid: str = "channels last",
    slope: float = 0.3,
    turned: bool = False,
    ending: str = "tanh",
) -> np.ndarray:
    def up(y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        b, h, w, _ = y.shape
        out = np.zeros((b, 2 * h + 3, 2 * w + 3, kernel.shape[2]), np.float32)
        kernel = kernel[::-1, ::-1] if turned else kernel
        for i in range(5):
            for j in range(5):
                out[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += y @ kernel[i, j].T
        return out[:, cropped : cropped + 2 * h, cropped : cropped + 2 * w]

    def leaky(y: np.ndarray) -> np.ndarray:
        return np.where(y > 0, y, np.float32(slope) * y)

    y = leaky(_keras_norm(x @ _stored(model, "dense")[0], model, "norm1"))
    if grid == "channels last":
        y = y.reshape(2, 4, 3, 8)
    else:
        y = y.reshape(2, 8, 4, 3).transpose(0, 2, 3, 1)
    y = leaky(_keras_norm(up(y, _stored(model, "up1")[0]), model, "norm2"))
    kernel, bias = _stored(model, "up2")
    y = np.tanh(up(y, kernel) + bias)
    return (y if ending == "tanh" else (y + 1) / 2).astype(np.float32)


GENERATOR = Case(
    "fourth_keras_image_generator",
    generator_model,
    "",
    image_generator,
    {
        "cropped_by_two": _wrong(
            image_generator,
            "The transposed convolutions drop two rows and columns in front as PyTorch's padding of"
            " two; Keras drops one there.",
            cropped=2,
        ),
        "reshaped_channels_first": _wrong(
            image_generator,
            "The dense output is read as eight planes of 4 x 3; Keras reshapes to 4 x 3 pixels of"
            " eight channels.",
            grid="planes",
        ),
        "slope_of_two_tenths": _wrong(
            image_generator,
            "Leaky ReLU has the slope 0.2 of the DCGAN paper; Keras's layer has 0.3 unless told"
            " otherwise.",
            slope=0.2,
        ),
        "kernels_turned": _wrong(
            image_generator,
            "The kernels are rotated by 180 degrees before they are spread; a transposed"
            " convolution spreads them as stored.",
            turned=True,
        ),
        "range_and_slope": _wrong(
            image_generator,
            "The image is mapped to 0 to 1 instead of being left at tanh's range, and leaky ReLU"
            " is a plain ReLU.",
            2,
            ending="unit",
            slope=0.0,
        ),
    },
)


# A video network with convolutions in space, then in time.


def video_model() -> tuple[Any, Any]:
    x = keras.Input((5, 7, 8, 3))
    y = K.Conv3D(6, (1, 3, 3), strides=(1, 2, 2), padding="same", name="space")(x)
    y = K.BatchNormalization(name="norm")(y)
    y = K.Activation("relu")(y)
    y = K.Conv3D(8, (3, 1, 1), padding="same", name="time")(y)
    y = K.Activation("relu")(y)
    y = K.AveragePooling3D(2, padding="same")(y)
    return train_keras(keras.Model(x, y), 458, gain=1.3), inputs(459, 2, 5, 7, 8, 3)


def video_network(
    model: Any,
    x: np.ndarray,
    evenly: bool = False,
    causal: bool = False,
    along: int = 1,
    padding_counted: bool = False,
    norm_first: bool = True,
) -> np.ndarray:
    kernel, bias = _stored(model, "space")
    edges = [(1, 1) if evenly else _same(n, 3, 2) for n in (7, 8)]
    y = np.pad(x, [(0, 0), (0, 0), *edges, (0, 0)])
    y = _last(y, kernel, bias, stride=(1, 2, 2))
    y = relu(_keras_norm(y, model, "norm")) if norm_first else _keras_norm(relu(y), model, "norm")
    kernel, bias = _stored(model, "time")
    kernel = np.moveaxis(kernel, 0, along - 1)
    pads = [(0, 0)] * 5
    pads[along] = (2, 0) if causal else (1, 1)
    y = relu(_last(np.pad(y, pads), kernel, bias))

    def pooled(y: np.ndarray) -> np.ndarray:
        y = np.pad(y, [(0, 0), (0, 1), (0, 0), (0, 0), (0, 0)])
        return y.reshape(2, 3, 2, 2, 2, 2, 2, 8).sum((2, 4, 6))

    return pooled(y) / (8 if padding_counted else pooled(np.ones_like(y)))


VIDEO = Case(
    "fourth_keras_video_network",
    video_model,
    "",
    video_network,
    {
        "same_padding_even": _wrong(
            video_network,
            "The strided convolution pads one pixel on each side; Keras's same pads the even width"
            " only on the right.",
            evenly=True,
        ),
        "time_causal": _wrong(
            video_network,
            "The temporal convolution sees the two frames before and none after; same padding"
            " centres it on its frame.",
            causal=True,
        ),
        "time_kernel_along_height": _wrong(
            video_network,
            "The temporal kernel runs along the rows of a frame; it has to run along the frames.",
            along=2,
        ),
        "average_counts_padding": _wrong(
            video_network,
            "The last, single frame is averaged as if a frame of zeros followed it; padding does"
            " not count.",
            padding_counted=True,
        ),
        "norm_behind_relu": _wrong(
            video_network,
            "The batch norm comes behind the ReLU of the spatial convolution; Keras's model"
            " normalises before activating.",
            norm_first=False,
        ),
    },
)


# A U-Net's join: the deep map enlarged, the skipped one cropped, both normalised in groups.


def join_model() -> tuple[Any, Any]:
    skipped, deep = keras.Input((11, 12, 4)), keras.Input((4, 4, 6))
    up = K.Conv2DTranspose(5, 2, strides=2, name="up")(deep)
    y = K.Concatenate()([K.Cropping2D(((1, 2), (2, 2)))(skipped), up])
    y = K.GroupNormalization(3, name="norm")(y)
    y = K.Conv2D(6, 3, activation="elu", name="conv")(y)
    model = train_keras(keras.Model([skipped, deep], y), 460, gain=1.2)
    return model, (inputs(461, 2, 11, 12, 4), inputs(462, 2, 4, 4, 6))


def skip_join(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    top: int = 1,
    order: tuple[int, int] = (0, 1),
    interleaved: bool = False,
    per_pixel: bool = False,
    spread: str = "in place",
    slope: str = "exponential",
) -> np.ndarray:
    skipped, deep = x
    kernel, bias = _stored(model, "up")
    y = np.einsum("bhwi,kloi->bhkwlo", deep, kernel)
    y = y if spread == "in place" else y.swapaxes(2, 4)
    up = y.reshape(2, 8, 8, 5) + bias
    pair = [skipped[:, top : top + 8, 2:10], up]
    y = np.concatenate([pair[i] for i in order], -1)
    g = y.reshape(2, 64, 3, 3)
    g = g.swapaxes(2, 3) if interleaved else g
    over = (3,) if per_pixel else (1, 3)
    g = (g - g.mean(over, keepdims=True)) / np.sqrt(g.var(over, keepdims=True) + 1e-3)
    g = g.swapaxes(2, 3) if interleaved else g
    gain, shift = _stored(model, "norm")
    y = (g.reshape(y.shape) * gain + shift).astype(np.float32)
    y = _last(y, *_stored(model, "conv"))
    return relu(y) if slope == "cut" else np.where(y > 0, y, np.expm1(np.minimum(y, 0)))


JOIN = Case(
    "fourth_keras_unet_join",
    join_model,
    "",
    skip_join,
    {
        "crop_from_row_two": _wrong(
            skip_join,
            "Of the three surplus rows two are cut above and one below; the layer cuts one above"
            " and two below.",
            top=2,
        ),
        "deep_map_first": _wrong(
            skip_join,
            "The enlarged map comes before the cropped one in the concatenation; the cropped skip"
            " connection is first.",
            order=(1, 0),
        ),
        "groups_interleaved": _wrong(
            skip_join,
            "A group holds every third channel; it holds three neighbouring channels.",
            interleaved=True,
        ),
        "group_statistics_per_pixel": _wrong(
            skip_join,
            "Mean and variance of a group are taken for every pixel by itself; they are over all"
            " pixels of a sample.",
            per_pixel=True,
        ),
        "taps_transposed_and_relu": _wrong(
            skip_join,
            "The 2 x 2 taps of the transposed convolution are written with rows and columns"
            " exchanged, and ELU is replaced by ReLU.",
            2,
            spread="transposed",
            slope="cut",
        ),
    },
)


# The residual block of ResNet V2 that shrinks its map.


def preactivated_model() -> tuple[Any, Any]:
    x = keras.Input((8, 10, 6))
    norm = partial(K.BatchNormalization, epsilon=1.001e-5)
    y = K.Activation("relu")(norm(name="norm0")(x))
    around = K.MaxPooling2D(1, strides=2)(x)
    y = K.Conv2D(5, 1, use_bias=False, name="conv1")(y)
    y = K.Activation("relu")(norm(name="norm1")(y))
    y = K.ZeroPadding2D(1)(y)
    y = K.Conv2D(5, 3, strides=2, use_bias=False, name="conv2")(y)
    y = K.Activation("relu")(norm(name="norm2")(y))
    y = K.Conv2D(6, 1, name="conv3")(y)
    model = keras.Model(x, K.Add()([around, y]))
    return train_keras(model, 463, gain=1.2), inputs(464, 2, 8, 10, 6)


def preactivated_block(
    model: Any,
    x: np.ndarray,
    around_from: str = "input",
    shrunk: str = "picked",
    pad: tuple[int, int] = (1, 1),
    eps: float = 1.001e-5,
    ending: str = "sum",
) -> np.ndarray:
    first = relu(_keras_norm(x, model, "norm0", eps))
    y = relu(_keras_norm(first @ _stored(model, "conv1")[0][0, 0], model, "norm1", eps))
    y = np.pad(y, [(0, 0), pad, pad, (0, 0)])
    y = _last(y, _stored(model, "conv2")[0], stride=2)
    y = relu(_keras_norm(y, model, "norm2", eps))
    kernel, bias = _stored(model, "conv3")
    source = x if around_from == "input" else first
    around = source[:, ::2, ::2]
    if shrunk == "maximum":
        around = source.reshape(2, 4, 2, 5, 2, 6).max((2, 4))
    y = around + y @ kernel[0, 0] + bias
    return relu(y) if ending == "relu" else y


PREACTIVATED = Case(
    "fourth_keras_resnet_v2_block",
    preactivated_model,
    "",
    preactivated_block,
    {
        "shortcut_of_activation": _wrong(
            preactivated_block,
            "The shortcut takes the normalised, activated map, as in blocks with a convolution"
            " there; this one pools the raw input.",
            around_from="activation",
        ),
        "shortcut_pools_two": _wrong(
            preactivated_block,
            "The shortcut takes the maximum of 2 x 2 pixels; its pooling has size one and only"
            " picks every second pixel.",
            shrunk="maximum",
        ),
        "padding_behind_only": _wrong(
            preactivated_block,
            "The strided convolution is padded like Keras's same, below and right only; the zero"
            " padding here is on all sides.",
            pad=(0, 1),
        ),
        "default_epsilon": _wrong(
            preactivated_block,
            "The batch norms add Keras's default of 1e-3 to the variance; these layers were built"
            " with 1.001e-5.",
            eps=1e-3,
        ),
        "relu_on_sum": _wrong(
            preactivated_block,
            "The sum passes a ReLU as in the first ResNet; the second version leaves it as it is.",
            ending="relu",
        ),
    },
)


CASES = [
    LEVIT,
    FOCAL,
    POOL,
    CVT,
    MOBILEVIT,
    HIERA,
    MVIT,
    REP,
    PYRAMID,
    HOLES,
    SPADE,
    NAF,
    CHANNELS,
    INVOLUTION,
    POINTS,
    PROPAGATION,
    FCOS,
    MASKS,
    EDM,
    SCALARS,
    JPEG,
    GUIDED,
    SHIFT,
    XCEPTION,
    GENERATOR,
    VIDEO,
    JOIN,
    PREACTIVATED,
]
