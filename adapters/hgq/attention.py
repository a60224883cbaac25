"""HGQ2's attention layers: heads between quantised projections; Linformer's and SALT's make fewer
rows of key and value first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import describes
from .description import at_inference
from .nested_layer import inside
from .quantizers import through

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

Shaped = tuple[Ref, tuple[int, ...]]


@describes("hgq.QMultiHeadAttention", "hgq.QMultiHeadAttentionT", arguments=_ARGUMENTS)
def _multi_head(layer: Any, call: KerasCall) -> Description:
    query, value, key = _given(call)
    return _attended(Builder(), layer, call, query, value, key)


@describes("hgq.QLinformerAttention", "hgq.QLinformerAttentionT", arguments=_ARGUMENTS)
def _linformer(layer: Any, call: KerasCall) -> Description:
    build, (query, value, key) = Builder(), _given(call)
    key, value = _shortened(build, layer, call, key, value)
    return _attended(build, layer, call, query, value, key)


@describes("hgq.QSALTAttention", arguments=_ARGUMENTS)
def _salt(layer: Any, call: KerasCall) -> Description:
    """Rows of key and value may be put together in groups first; a convolution over the scores
    follows."""
    build, (query, value, key) = Builder(), _given(call)
    if layer.cluster_k_proj:
        key = _grouped(build, key, layer.n_k_pad, layer._k_reshape_to)
    if layer.n_v_pad:
        value = _grouped(build, value, layer.n_v_pad, layer._v_reshape_to)
    key, value = _shortened(build, layer, call, key, value)
    return _attended(build, layer, call, query, value, key)


def _given(call: KerasCall) -> tuple[Shaped, Shaped, Shaped]:
    at_inference(call)
    query = call.arguments["query"]
    value = call.arguments.get("value") or query
    key = call.arguments.get("key") or value
    first, second, third = ((ref, call.inputs[ref.index].shape) for ref in (query, value, key))
    return first, second, third


def _grouped(build: Builder, x: Shaped, pad: int, to: Sequence[int]) -> Shaped:
    ref, shape = x
    if pad:
        ref = build.add(ops.Pad(pads=((0, 0), (0, pad), (0, 0))), ref)
    grouped = (shape[0], *to[1:])
    return build.add(ops.Reshape(shape=grouped), ref), grouped


def _shortened(
    build: Builder, layer: Any, call: KerasCall, key: Shaped, value: Shaped
) -> tuple[Shaped, Shaped]:
    shared = layer._lin_v_proj is layer._lin_k_proj
    key = _projected(build, layer._lin_k_proj, call, "lin_kv" if shared else "lin_key", key)
    return key, _projected(
        build, layer._lin_v_proj, call, "lin_kv" if shared else "lin_value", value
    )


def _projected(build: Builder, dense: Any, call: KerasCall, name: str, x: Shaped) -> Shaped:
    ref, shape = x
    return inside(build, dense, call, name, ref, shape), tuple(dense.compute_output_shape(shape))


def _attended(
    build: Builder, layer: Any, call: KerasCall, query: Shaped, value: Shaped, key: Shaped
) -> Description:
    q, k, v = (
        _projected(build, getattr(layer, f"_{name}_dense"), call, name, x)
        for name, x in (("query", query), ("key", key), ("value", value))
    )
    scores = build.add(ops.Einsum(equation=layer._dot_product_equation), k[0], q[0])
    shape = _shape_of(layer._dot_product_equation, k[1], q[1])
    if getattr(layer, "conv_size", 0):
        scores = inside(build, layer.conv, call, "conv", scores, shape)
    mask = _mask(build, layer, call, query[1], value[1], len(shape))
    shares = inside(build, layer._softmax, call, "softmax", scores, shape, mask)
    attended = build.add(ops.Einsum(equation=layer._combine_equation), shares, v[0])
    y, result = _projected(
        build,
        layer._output_dense,
        call,
        "attention_output",
        (attended, _shape_of(layer._combine_equation, shape, v[1])),
    )
    if layer.enable_oq:
        y = through(build, y, layer.oq, "its output goes through")
    axes = ("batch", "positions", "features") if len(result) == 3 else ()
    if call.arguments.get("return_attention_scores"):
        return Description(
            build.ended(y, shares), axes, axes, ("attention_output", "attention_scores")
        )
    return Description(build.ended(y), axes, axes)


def _shape_of(equation: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that an einsum of these shapes gives."""
    given, _, out = equation.partition("->")
    sizes = {
        letter: size
        for part, shape in zip(given.split(","), shapes, strict=True)
        for letter, size in zip(part, shape, strict=True)
    }
    return tuple(sizes[letter] for letter in out)


def _mask(
    build: Builder,
    layer: Any,
    call: KerasCall,
    query: tuple[int, ...],
    value: tuple[int, ...],
    rank: int,
) -> tuple[Ref, tuple[int, ...]] | None:
    """All masks together, true where a query attends, with axes for the heads before those of the
    positions."""
    masks: list[Shaped] = []
    for name, at in (("query_mask", 2), ("value_mask", 1), ("key_mask", 1)):
        ref = call.arguments.get(name)
        if ref is not None:
            batch, *sizes = call.masks[ref.index - len(call.inputs)].shape
            if at == 2:
                shape = (batch, *sizes, 1)
            else:
                shape = (batch, *sizes[:-1], 1, *sizes[-1:])
            masks.append((build.add(ops.Reshape(shape=shape), _truth(build, call, ref)), shape))
    if call.arguments.get("use_causal_mask"):
        causal = np.tril(np.ones((1, query[1], value[1]), bool))
        masks.append((build.ref(causal), causal.shape))
    ref = call.arguments.get("attention_mask")
    if ref is not None:
        masks.append((_truth(build, call, ref), call.masks[ref.index - len(call.inputs)].shape))
    if not masks:
        return None
    mask, shape = masks[0]
    for other, size in masks[1:]:
        mask, shape = build.add(ops.And(), mask, other), tuple(np.broadcast_shapes(shape, size))
    behind = 2 * len(layer._attention_axes)
    if len(shape) < behind:
        raise Undescribed(f"its mask of shape {shape} lacks an axis for the query or key positions")
    whole = (
        *shape[: len(shape) - behind],
        *(1,) * (rank - len(shape)),
        *shape[len(shape) - behind :],
    )
    return build.add(ops.Reshape(shape=whole), mask), whole


def _truth(build: Builder, call: KerasCall, ref: Ref) -> Ref:
    boolean = call.masks[ref.index - len(call.inputs)].dtype == bool
    if boolean:
        return ref
    return build.add(ops.Cast(to="bool"), ref)
