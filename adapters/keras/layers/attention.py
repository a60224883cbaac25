"""Keras' attention layers: with heads and their projections, or of inputs as they are.

A query with every position masked gives the mean of all values or nothing in Keras 3, which puts a
large negative number in place of a masked score; in Keras 2 and in the layers without heads, which
subtract it, its scores remain, rounded to hardly any digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from .activation import activation_steps
from .einsum import projected

__all__ = ["Heads", "with_heads"]

_NAMES = ("attention_output", "attention_scores")
_ARGUMENTS = (
    "value",
    "key",
    "query_mask",
    "value_mask",
    "key_mask",
    "attention_mask",
    "return_attention_scores",
    "use_causal_mask",
)


@dataclass(frozen=True)
class Heads:
    """Which axes of a projected (batch, …, heads, features) tensor are attended over."""

    rank: int
    attended: tuple[int, ...]

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(self.rank - 2) if axis not in self.attended)

    @property
    def perm(self) -> tuple[int, ...]:
        """(the other axes, heads, the attended ones, features)."""
        return (*self.others, self.rank - 2, *self.attended, self.rank - 1)

    def split(self, build: Builder, x: Ref, shape: Sequence[int]) -> Ref:
        """(the other axes, heads, positions, features)."""
        turned = build.add(ops.Transpose(perm=self.perm), x)
        lead = [shape[axis] for axis in (*self.others, self.rank - 2)]
        if len(self.attended) == 1:
            return turned
        return build.add(ops.Reshape(shape=(*lead, self.count(shape), shape[-1])), turned)

    def count(self, shape: Sequence[int]) -> int:
        return prod(shape[axis] for axis in self.attended)

    def joined(self, build: Builder, x: Ref, shape: Sequence[int]) -> Ref:
        """Back to (batch, …, heads, features) of this shape."""
        if len(self.attended) > 1:
            x = build.add(ops.Reshape(shape=tuple(shape[axis] for axis in self.perm)), x)
        return build.add(ops.Transpose(perm=tuple(np.argsort(self.perm).tolist())), x)


def _mask_of(call: KerasCall, name: str, ref: Ref | None) -> Ref | None:
    """A mask that is an argument; Keras tells numbers as masks in several ways, which differ but
    for 0 and 1."""
    if ref is not None:
        array = call.masks[ref.index - len(call.inputs)]
        if array.dtype != bool and not np.isin(array, (0, 1)).all():
            raise Undescribed(f"its {name} contains values other than 0 and 1")
    return ref


def _masks(
    build: Builder, call: KerasCall, heads: Heads, lengths: tuple[int, int]
) -> tuple[Ref, ...]:
    """attention_mask, and those of the inputs as (batch, 1, queries, 1) and (batch, 1, 1,
    positions)."""
    given, carried = call.arguments, call.carried or (None,) * len(call.inputs)
    query = given["query"]
    key = given.get("key") or given["value"]
    # tf_keras/src/layers/attention/multi_head_attention.py reads all three from the tensors
    if call.legacy:
        own = {
            name: carried[ref.index]
            for name, ref in (("query", query), ("value", given["value"]), ("key", key))
        }
    else:  # keras/src/layers/attention/multi_head_attention.py reads the query's from the tensor
        own = {name: given.get(f"{name}_mask") for name in ("query", "value", "key")}
        if type(call.layer).__name__ == "MultiHeadAttention":
            own["query"] = carried[query.index]
    masks = []
    explicit = _mask_of(call, "attention_mask", given.get("attention_mask"))
    if explicit is not None:
        masks.append(
            _explicit(
                build,
                call,
                heads,
                explicit,
                lengths,
                any(mask is not None for mask in own.values()),
            )
        )
    for name, ref in own.items():
        if ref is None:
            continue
        batch, length = call.masks[ref.index - len(call.inputs)].shape
        if len(heads.attended) > 1 or heads.rank != 4:
            raise Undescribed("input masks with attention over several axes are not supported")
        shape = (batch, 1, length, 1) if name == "query" else (batch, 1, 1, length)
        masks.append(build.add(ops.Reshape(shape=shape), ref))
    return tuple(masks)


def _explicit(
    build: Builder, call: KerasCall, heads: Heads, ref: Ref, lengths: tuple[int, int], others: bool
) -> Ref:
    """Axes that it lacks are put before those of the positions, as Keras does."""
    shape = call.masks[ref.index - len(call.inputs)].shape
    several = len(heads.attended)
    if several == 1 and heads.rank == 4 and len(shape) <= 4:
        if len(shape) == 4 and others:
            raise Undescribed("a mask with a head axis together with input masks is not supported")
        lead = shape[:-2] if len(shape) == 4 else (*shape[:-2], 1)
        return build.add(ops.Reshape(shape=(*lead, *shape[-2:])), ref)
    lead = shape[: len(shape) - 2 * several]
    whole = prod(shape[len(lead) : len(lead) + several]), prod(shape[len(lead) + several :])
    if whole != lengths or len(lead) > len(heads.others):
        raise Undescribed(
            f"an attention_mask of shape {shape} with attention over several axes is not supported"
        )
    ones = (1,) * (len(heads.others) - len(lead) + 1)
    return build.add(ops.Reshape(shape=(*lead, *ones, *whole)), ref)


def with_heads(
    layer: Any, call: KerasCall, heads: Heads, groups: int, scale: float, weights: bool
) -> Description:
    """Projections of query, key and value, heads that attend, a projection of what they give."""
    arguments = call.arguments
    query, value = arguments["query"], arguments["value"]
    key = arguments.get("key") or value
    build = Builder()
    parts, shapes = [], []
    for name, ref in (("query", query), ("key", key), ("value", value)):
        dense, shape = getattr(layer, f"_{name}_dense"), call.inputs[ref.index].shape
        part, shape = projected(build, dense, call, ref, shape, f"{name}/")
        parts.append(part)
        shapes.append(shape)
    lengths = heads.count(shapes[0]), heads.count(shapes[1])
    op = _scores(layer, call, heads, groups, scale, weights)
    masks = _masks(build, call, heads, lengths)
    attended = build.add(
        replace(op, masks=("keep",) * len(masks)),
        *(heads.split(build, ref, shape) for ref, shape in zip(parts, shapes, strict=True)),
        *masks,
    )
    result = (*shapes[0][:-1], shapes[2][-1])
    joined = heads.joined(build, attended, result)
    if getattr(layer, "_use_gate", getattr(layer, "use_gate", False)):
        joined = build.add(ops.Mul(), joined, _gate(layer, call, heads, build, query))
    output, _ = projected(build, layer._output_dense, call, joined, result, "attention_output/")
    axes = ("batch", "positions", "features") if heads.rank == 4 else ()
    if not weights:
        return Description(build.ended(output), axes, axes)
    shares = replace(attended, index=1)
    if len(heads.attended) > 1:
        sizes = [[shape[axis] for axis in heads.attended] for shape in shapes[:2]]
        lead = [shapes[0][axis] for axis in (*heads.others, heads.rank - 2)]
        shares = build.add(ops.Reshape(shape=(*lead, *sizes[0], *sizes[1])), shares)
    return Description(build.ended(output, shares), axes, axes, _NAMES)


def _scores(
    layer: Any, call: KerasCall, heads: Heads, groups: int, scale: float, weights: bool
) -> ops.Attention:
    """What the heads compute, as far as it does not depend on masks."""
    causal = bool(call.arguments.get("use_causal_mask"))
    window = getattr(layer, "_sliding_window", getattr(layer, "sliding_window", None))
    if (causal or window is not None) and heads.rank != 4:
        raise Undescribed(
            "a causal mask or a window with attention over several axes is not supported"
        )
    if call.backend == "tensorflow" and not call.legacy:
        scale = float(np.float32(scale))  # tf.cast makes a float32 tensor of a number first
    shift = 0.0
    # The Softmax layer gives a query without positions 0; the fused function (not where it would
    # drop, or has to give the scores) the mean of all.
    if call.legacy and not getattr(layer, "_softmax_robust_masking", False):
        empty, shift = "raw", 65504.0 / 2 if call.dtype == "float16" else 1e9
    elif weights or heads.rank != 4 or _dropout(layer) > 0:
        empty = "zero"
    else:
        empty = "mean"
    return ops.Attention(
        scale,
        (),
        causal,
        window,
        groups,
        empty=empty,
        shift=shift,
        weights="each" if weights else "",
    )


def _gate(layer: Any, call: KerasCall, heads: Heads, build: Builder, query: Ref) -> Ref:
    """What the heads' output is multiplied by."""
    dense, shape = layer._gate_dense, call.inputs[query.index].shape
    gate, _ = projected(build, dense, call, query, shape, "gate/")
    for step in activation_steps(dense.activation, call, heads.rank):
        gate = build.add(step.op, gate)
    return gate


def _dropout(layer: Any) -> float:
    rate: float = getattr(layer, "_dropout", getattr(layer, "dropout", 0.0))
    return rate


def _dropping(layer: Any, call: KerasCall) -> None:
    if call.training and _dropout(layer):
        raise Undescribed("in training mode it drops attention weights at random")


@describes("MultiHeadAttention", arguments=_ARGUMENTS)
def _multi_head(layer: Any, call: KerasCall) -> Description:
    _dropping(layer, call)
    rank = call.inputs[call.arguments["query"].index].ndim + 1
    axes = layer._attention_axes
    if call.legacy and any(axis < 0 for axis in axes or ()):
        raise Undescribed(
            "negative attention_axes are not supported for Keras 2, which counts them from "
            "another axis"
        )
    if axes is None:
        attended = tuple(range(1, rank - 2))
    else:
        attended = tuple(axis if axis >= 0 else rank - 1 + axis for axis in axes)
    if any(axis >= rank - 2 for axis in attended):
        raise Undescribed(
            f"its attention_axes {tuple(axes or ())} include more than the position axes"
        )
    weights = bool(call.arguments.get("return_attention_scores"))
    return with_heads(layer, call, Heads(rank, attended), 1, layer._key_dim**-0.5, weights)


@describes("GroupedQueryAttention", arguments=_ARGUMENTS)
def _grouped_query(layer: Any, call: KerasCall) -> Description:
    _dropping(layer, call)
    groups = layer.num_query_heads // layer.num_key_value_heads
    weights = bool(call.arguments.get("return_attention_scores"))
    return with_heads(layer, call, Heads(4, (1,)), groups, layer.head_dim**-0.5, weights)


@describes("Attention", arguments=("mask", "return_attention_scores", "use_causal_mask"))
def _attention(layer: Any, call: KerasCall) -> Description:
    gain = call.weight("scale", getattr(layer, "scale", None))
    if layer.score_mode == "dot":
        return _plain(layer, call, ops.Attention(1.0, gain=gain))
    outer = call.weight("concat_score_weight", layer.concat_score_weight)
    return _plain(layer, call, ops.AdditiveAttention(1.0, gain=outer, inner=gain))


@describes("AdditiveAttention", arguments=("mask", "return_attention_scores", "use_causal_mask"))
def _additive(layer: Any, call: KerasCall) -> Description:
    return _plain(
        layer,
        call,
        ops.AdditiveAttention(1.0, outer=call.weight("scale", getattr(layer, "scale", None))),
    )


def _plain(layer: Any, call: KerasCall, op: ops.Attention) -> Description:
    """Inputs are [query, value] or [query, value, key]; the value's mask hides positions, the
    query's zeroes rows of the output."""
    _dropping(layer, call)
    query, value, *rest = (Ref(-1, index) for index in range(len(call.inputs)))
    key = rest[0] if rest else value
    given = call.arguments.get("mask") or ()
    masks = [_mask_of(call, "mask", mask) for mask in (*given, None, None)[:2]]
    build = Builder()
    hiding: tuple[Ref, ...] = ()
    if masks[1] is not None:
        if call.inputs[0].ndim != 3:
            raise Undescribed("a mask is supported only for inputs with three axes")
        batch, length = call.masks[masks[1].index - len(call.inputs)].shape
        hiding = (build.add(ops.Reshape(shape=(batch, 1, length)), masks[1]),)
    causal = bool(call.arguments.get("use_causal_mask") or getattr(layer, "causal", False))
    weights = bool(call.arguments.get("return_attention_scores"))
    shift = 65504.0 if call.dtype == "float16" else 1e9
    op = replace(
        op,
        masks=("keep",) * len(hiding),
        causal=causal,
        empty="raw",
        shift=shift,
        weights="each" if weights else "",
    )
    attended = output = build.add(op, query, key, value, *hiding)
    if masks[0] is not None:
        shape = call.masks[masks[0].index - len(call.inputs)].shape
        output = build.add(ops.Mul(), attended, build.add(ops.Reshape(shape=(*shape, 1)), masks[0]))
    axes = ("batch", "positions", "features") if call.inputs[0].ndim == 3 else ()
    if not weights:
        return Description(build.ended(output), axes, axes)
    return Description(build.ended(output, replace(attended, index=1)), axes, axes, _NAMES)
