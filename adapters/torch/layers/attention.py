"""Attention as steps: the module MultiheadAttention in all its arguments, and the function
scaled_dot_product_attention.

The projections, the attention of the heads and the projection of what they give are steps of their
own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Weight
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, describes

__all__ = ["HeadLayout", "Masks", "attended", "dot_product_attention", "drops", "masked"]


def dot_product_attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> ops.Attention:
    """What ``scaled_dot_product_attention`` does with q, k, v and, where given, the mask: the op's
    inputs in this order.

    q is (*batch, heads, queries, d). A query that no position is left for gives 0 (ATen's
    _safe_softmax).
    """
    if dropout:
        raise Undescribed("it drops attention weights at random")
    groups = q.shape[-3] // k.shape[-3] if enable_gqa else 1
    if enable_gqa and k.shape[-3] != v.shape[-3]:
        raise Undescribed("different numbers of key and value heads are not supported")
    kinds: tuple[str, ...] = ()
    if mask is not None:
        kinds = ("keep" if mask.dtype == bool else "add",)
    factor = q.shape[-1] ** -0.5 if scale is None else float(scale)
    return ops.Attention(factor, kinds, bool(is_causal), groups=groups, empty="zero")


@dataclass(frozen=True)
class HeadLayout:
    """How a MultiheadAttention's tensors are laid out: sizes, and where batch and sequence are."""

    heads: int
    features: int
    batch: int | None
    """None without a batch axis."""
    first: bool
    """Whether the batch axis comes first."""

    @property
    def sequence(self) -> int:
        """The axis of the positions."""
        if self.batch is not None and self.first:
            return 1
        return 0

    @property
    def axes(self) -> tuple[str, ...]:
        """Their names for the report."""
        if self.batch is None:
            return ("positions", "features")
        if self.first:
            return ("batch", "positions", "features")
        return ("positions", "batch", "features")

    def lead(self, length: int) -> tuple[int, ...]:
        """The sizes of the axes before the features."""
        if self.batch is None:
            return (length,)
        if self.first:
            return (self.batch, length)
        return (length, self.batch)

    def split(self, build: Builder, x: Ref, length: int) -> Ref:
        """(batch, heads, length, features of a head), or without the batch."""
        apart = build.add(
            ops.Reshape(shape=(*self.lead(length), self.heads, self.features // self.heads)), x
        )
        if self.batch is None:
            return build.add(ops.Transpose(perm=(1, 0, 2)), apart)
        perm = (0, 2, 1, 3) if self.first else (1, 2, 0, 3)
        return build.add(ops.Transpose(perm=perm), apart)

    def joined(self, build: Builder, x: Ref, length: int) -> Ref:
        """Back to the layout of the call."""
        perm: tuple[int, ...] = (1, 0, 2)
        if self.batch is not None:
            perm = (0, 2, 1, 3) if self.first else (2, 0, 1, 3)
        turned = build.add(ops.Transpose(perm=perm), x)
        return build.add(ops.Reshape(shape=(*self.lead(length), self.features)), turned)


@dataclass(frozen=True)
class Masks:
    """The masks of a call: arrays, what they mean and where they come in; ``empty`` and ``causal``
    as ``ops.Attention`` has them."""

    refs: tuple[Ref, ...] = ()
    kinds: tuple[str, ...] = ()
    causal: bool = False
    empty: str = "nan"


def attended(
    build: Builder,
    module: Any,
    call: ModuleCall,
    prefix: str,
    layout: HeadLayout,
    refs: tuple[Ref, Ref, Ref],
    lengths: tuple[int, int],
    masks: Masks,
    weights: str,
) -> tuple[Ref, Ref]:
    """The steps of a MultiheadAttention whose parameters are named with ``prefix``: the Refs of its
    output and of its weights."""
    queries, positions = lengths
    q, k, v = (
        build.add(_projection(module, call, prefix, part), ref) for part, ref in enumerate(refs)
    )
    axis, kept = layout.sequence, masks.refs
    if module.bias_k is not None:
        shape = (1, layout.features) if layout.batch is None else None
        tails = [call.required(f"{prefix}{name}", shape=shape) for name in ("bias_k", "bias_v")]
        k, v = (
            build.add(ops.Append(tail, axis), ref) for tail, ref in zip(tails, (k, v), strict=True)
        )
        positions += 1
    if module.add_zero_attn:
        pads = tuple((0, int(at == axis)) for at in range(2 if layout.batch is None else 3))
        k, v = (build.add(ops.Pad(pads=pads), ref) for ref in (k, v))
        positions += 1
    if positions > lengths[1]:
        pads = (*((0, 0),) * (2 if layout.batch is None else 3), (0, positions - lengths[1]))
        kept = tuple(build.add(ops.Pad(pads=pads), ref) for ref in kept)
    q, k, v = (
        layout.split(build, ref, length)
        for ref, length in ((q, queries), (k, positions), (v, positions))
    )
    scale = (layout.features // layout.heads) ** -0.5
    op = ops.Attention(scale, masks.kinds, masks.causal, empty=masks.empty, weights=weights)
    output = build.add(op, q, k, v, *kept)
    last = ops.MatMul(
        weight=call.required(f"{prefix}out_proj.weight", axes=(1, 0)),
        bias=call.weight(f"{prefix}out_proj.bias"),
    )
    return build.add(last, layout.joined(build, output, queries)), replace(output, index=1)


def _projection(module: Any, call: ModuleCall, prefix: str, part: int) -> ops.MatMul:
    """That of the queries, keys or values; the three may be rows of one weight."""
    size = module.embed_dim
    rows = (part * size, (part + 1) * size)
    bias = call.weight(f"{prefix}in_proj_bias")
    if module.in_proj_weight is not None:
        weight: Weight = replace(call.required(f"{prefix}in_proj_weight", axes=(1, 0)), rows=rows)
    else:
        weight = call.required(f"{prefix}{'qkv'[part]}_proj_weight", axes=(1, 0))
    return ops.MatMul(weight=weight, bias=None if bias is None else replace(bias, rows=rows))


def masked(
    build: Builder,
    call: ModuleCall,
    layout: HeadLayout,
    lengths: tuple[int, int],
    mask: Ref | None,
    padding: Ref | None,
    empty: str = "nan",
) -> Masks:
    """``mask`` is (queries, positions) or one for each head of each sample, ``padding`` (batch,
    positions): true or -inf hides."""
    queries, positions = lengths
    refs, kinds = [], []
    batch = () if layout.batch is None else (layout.batch,)
    for ref, shape in (
        (mask, (*batch, layout.heads, queries, positions)),
        (padding, (*batch, 1, 1, positions)),
    ):
        if ref is None:
            continue
        array = call.inputs[ref.index]
        if ref is mask and array.ndim == 2:
            shape = (*(1 for _ in batch), 1, queries, positions)
        refs.append(build.add(ops.Reshape(shape=shape), ref))
        kinds.append("drop" if array.dtype == bool else "add")
    return Masks(tuple(refs), tuple(kinds), empty=empty)


def _fast(module: Any, call: ModuleCall, arguments: Mapping[str, Any]) -> bool:
    """Whether PyTorch takes its fused kernel (torch/nn/modules/activation.py,
    MultiheadAttention.forward), which treats a query that may attend to nothing in another way, and
    goes by the mask where ``is_causal`` only hints at it."""
    masks = [
        call.inputs[ref.index]
        for name in ("attn_mask", "key_padding_mask")
        if (ref := arguments.get(name)) is not None
    ]
    return (
        call.fused
        and call.x.ndim == 3
        and all(mask.dtype == bool for mask in masks)
        and module.in_proj_weight is not None
        and module.in_proj_bias is not None
        and module.batch_first
        and module.num_heads % 2 == 0
        and module.bias_k is None
        and not module.add_zero_attn
        and not module.training
    )


def drops(module: Any) -> str:
    """Why a module in training mode is not described, or ""."""
    dropping = module.training and getattr(module, "dropout", 0.0) != 0
    if dropping:
        return "in training mode it drops attention weights at random; call eval() on it first"
    return ""


@describes("MultiheadAttention", several=True, refuses=drops)
def multihead_attention(module: Any, call: ModuleCall) -> Description:
    """Projections of query, key and value, heads that attend, a projection; the second output are
    the weights."""
    arguments = call.arguments
    refs = (arguments["query"], arguments["key"], arguments["value"])
    query, key, _ = (call.inputs[ref.index] for ref in refs)
    if query.ndim not in (2, 3):
        raise Undescribed(f"its query has {query.ndim} axes; 2 or 3 were expected")
    if query.ndim == 2:
        batch = None
    else:
        batch = query.shape[0 if module.batch_first else 1]
    layout = HeadLayout(module.num_heads, module.embed_dim, batch, bool(module.batch_first))
    lengths = (query.shape[layout.sequence], key.shape[layout.sequence])
    build, fast = Builder(), _fast(module, call, arguments)
    need_weights, padding = arguments.get("need_weights", True), arguments.get("key_padding_mask")
    empty = "nan" if need_weights or fast else "zero"
    if arguments.get("is_causal", False) and padding is None and not need_weights and not fast:
        masks = Masks(causal=True, empty=empty)
    else:
        masks = masked(build, call, layout, lengths, arguments.get("attn_mask"), padding, empty)
    weights = ""
    if need_weights:
        weights = "mean" if arguments.get("average_attn_weights", True) else "each"
    output, shares = attended(build, module, call, "", layout, refs, lengths, masks, weights)
    if not weights:
        return Description(build.ended(output), layout.axes, layout.axes)
    names = ("attn_output", "attn_output_weights")
    return Description(build.ended(output, shares), layout.axes, layout.axes, names)
