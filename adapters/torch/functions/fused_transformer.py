"""What PyTorch fuses of a Transformer's modules at inference: TorchScript has one node for an
attention, or for a whole encoder layer."""

from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..layers.attention import HeadLayout
from .describe import CallBuilder, Value, function

__all__: list[str] = []


@function("_native_multi_head_attention", onnx="attention")
def attention(
    build: CallBuilder,
    query: Value,
    key: Value,
    value: Value,
    embed_dim: int,
    num_head: int,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    mask: Value | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Ref, ...]:
    """The output and, where they are needed, the weights: of each head, or their mean."""
    weights = ""
    if need_weights:
        weights = "mean" if average_attn_weights else "each"
    refs = (build.ref(query), build.ref(key), build.ref(value))
    lengths = (build.shape(query)[1], build.shape(key)[1])
    layout = HeadLayout(num_head, embed_dim, build.shape(query)[0], True)
    outputs = _attended(
        build,
        layout,
        refs,
        lengths,
        (qkv_weight, qkv_bias, proj_weight, proj_bias),
        (mask, mask_type),
        weights,
    )
    if weights:
        return outputs
    return outputs[:1]


@function("_transformer_encoder_layer_fwd", onnx="encoderlayer")
def encoder_layer(
    build: CallBuilder,
    src: Value,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Value,
    norm_bias_1: Value,
    norm_weight_2: Value,
    norm_bias_2: Value,
    ffn_weight_1: Value,
    ffn_bias_1: Value,
    ffn_weight_2: Value,
    ffn_bias_2: Value,
    mask: Value | None = None,
    mask_type: int | None = None,
) -> Ref:
    """Attention, then two dense layers; what each gives is added to what it was given, and
    normalised before or after."""
    batch, length, _ = build.shape(src)
    layout = HeadLayout(num_heads, embed_dim, batch, True)
    apart = _kept(build, src)
    masks = (mask, mask_type) if apart is None else (~apart, 1)

    def attend(x: Ref) -> Ref:
        held = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        return _attended(build, layout, (x, x, x), (length, length), held, masks, "")[0]

    def forward(x: Ref) -> Ref:
        wide = build.add(_dense(build, "linear1", ffn_weight_1, ffn_bias_1), x)
        wide = build.add(ops.Gelu(approximate="none") if use_gelu else ops.Relu(), wide)
        return build.add(_dense(build, "linear2", ffn_weight_2, ffn_bias_2), wide)

    x = build.ref(src)
    norms = ((norm_weight_1, norm_bias_1), (norm_weight_2, norm_bias_2))
    for number, (block, (weight, bias)) in enumerate(
        zip((attend, forward), norms, strict=True), start=1
    ):
        scale, shift = (
            build.weight(f"norm{number}.{name}", value)
            for name, value in (("weight", weight), ("bias", bias))
        )
        norm = ops.LayerNormalization(scale=scale, bias=shift, epsilon=eps, axes=(2,))
        if norm_first:
            x = build.add(ops.Add(), x, block(build.add(norm, x)))
        else:
            x = build.add(norm, build.add(ops.Add(), x, block(x)))
    if apart is None:
        return x
    return build.add(ops.Fill(value=0.0), x, apart[..., None])


@function("_nested_tensor_from_mask", idle="mask_check", onnx="nested")
def nested(build: CallBuilder, t: Value, mask: Value, mask_check: bool = True) -> Ref:
    """Samples of their own lengths, seen as an array with zeros behind the shorter ones; the mask
    is true where a sample goes on."""
    length = build.outputs[0].shape[1]
    x = build.add(ops.Slice((0, 0, 0), (None, length, None)), t)
    kept = build.add(ops.Slice((0, 0), (None, length)), build.add(ops.Cast(to="bool"), mask))
    return build.add(ops.Fill(value=0.0), x, build.add(ops.Reshape(shape=(-1, length, 1)), kept))


@function("to_padded_tensor", onnx="pad", idle="output_size")
def padded(build: CallBuilder, self: Value, padding: float, output_size: Any = None) -> Ref:
    """An array of samples of their own lengths, as long as the longest or as is said."""
    kept, out = _kept(build, self), build.outputs[0].shape
    if kept is None or build.rank(self) != 3 or build.shape(self)[::2] != out[::2]:
        raise Undescribed(
            "with samples of different lengths, only sequences of vectors are supported"
        )
    more = out[1] - kept.shape[1]
    x = build.add(ops.Pad(pads=((0, 0), (0, more), (0, 0))), self)
    return build.add(
        ops.Fill(value=float(padding)), x, np.pad(kept, ((0, 0), (0, more)))[..., None]
    )


def _kept(build: CallBuilder, x: Value) -> np.ndarray | None:
    """(batch, positions): where the samples of a nested tensor have their own elements; None for
    any other tensor."""
    if isinstance(x, Ref) and x.step < 0:
        lengths = build.lengths.get(x.index)
    else:
        lengths = None
    if lengths is None:
        return None
    return np.arange(build.shape(x)[1]) < np.asarray(lengths)[:, None]


def _dense(
    build: CallBuilder, name: str, weight: Value, bias: Value, rows: tuple[int, int] | None = None
) -> ops.MatMul:
    """By a transposed weight, or by some of its rows."""
    kernel, shift = build.weight(f"{name}.weight", weight), build.weight(f"{name}.bias", bias)
    assert kernel is not None and shift is not None
    return ops.MatMul(
        weight=replace(kernel, axes=(1, 0), rows=rows), bias=replace(shift, rows=rows)
    )


def _attended(
    build: CallBuilder,
    layout: HeadLayout,
    refs: tuple[Ref, Ref, Ref],
    lengths: tuple[int, int],
    held: tuple[Value, Value, Value, Value],
    masked: tuple[Value | None, int | None],
    weights: str,
) -> tuple[Ref, Ref]:
    """The three projections are rows of one weight; the Refs of the output and of the attention
    weights."""
    queries, positions = lengths
    size = layout.features
    projections = [
        _dense(build, "in_proj", held[0], held[1], (part * size, (part + 1) * size))
        for part in range(3)
    ]
    parts = [build.add(op, ref) for op, ref in zip(projections, refs, strict=True)]
    q, k, v = (
        layout.split(build, ref, length)
        for ref, length in zip(parts, (queries, positions, positions), strict=True)
    )
    mask = _mask(build, layout, lengths, *masked)
    op = ops.Attention(
        (size // layout.heads) ** -0.5, () if mask is None else ("drop",), weights=weights
    )
    output = build.add(op, q, k, v, *(() if mask is None else (mask,)))
    joined = layout.joined(build, output, queries)
    return build.add(_dense(build, "out_proj", held[2], held[3]), joined), replace(output, index=1)


def _mask(
    build: CallBuilder, layout: HeadLayout, lengths: tuple[int, int], mask: Value | None, kind: Any
) -> Ref | None:
    """What is not 0 hides, be it -inf, true or a number that was meant to be added
    (ATen/native/transformers/attention.cpp, masked_softmax): 0 is one mask for all samples, 1 the
    positions of each that are padding, 2 has the axes of the scores."""
    if mask is None:
        return None
    shape = {0: (1, 1, *lengths), 1: (layout.batch or 1, 1, 1, lengths[1])}.get(
        kind, build.shape(mask)
    )
    return build.add(ops.Reshape(shape=shape), build.add(ops.Cast(to="bool"), mask))
