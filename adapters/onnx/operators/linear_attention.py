"""Recurrences without gates of their own: linear attention, and causal convolutions that carry
their last positions on."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []

_MOST = 128
"""So many tokens are followed one by one."""


def _packed(recipe: Node, x: Value, heads: int) -> Ref:
    """(batch, token, heads · width) as (batch, heads, token, width)."""
    batch, tokens, width = recipe.shape(x)
    return recipe.put(
        ops.Transpose(perm=(0, 2, 1, 3)),
        recipe.put(ops.Reshape(shape=(batch, tokens, heads, width // heads)), x),
    )


@node("LinearAttention", implied=("chunk_size",))
def linear_attention(
    recipe: Node,
    q: Value,
    k: Value,
    v: Value,
    past: Value | None = None,
    decay: Value | None = None,
    beta: Value | None = None,
) -> tuple[Ref, ...]:
    """For each token: state = exp(decay) state + beta k ⊗ (v - exp(decay) stateᵀ k), output = scale
    stateᵀ q."""
    heads, groups, rule = (
        recipe.get("q_num_heads"),
        recipe.get("kv_num_heads"),
        recipe.get("update_rule", "gated_delta"),
    )
    if rule not in ("linear", "gated", "delta", "gated_delta"):
        raise Undescribed(f"the update rule {rule} has no description")
    batch, tokens, width = recipe.shape(q)
    if tokens > _MOST:
        raise Undescribed(f"{tokens} tokens are more than the {_MOST} that are followed one by one")
    wide, deep = width // heads, recipe.shape(v)[2] // groups
    scale = recipe.get("scale", 0.0) or 1 / math.sqrt(wide)
    queries, keys, values = (
        _packed(recipe, q, heads),
        _packed(recipe, k, groups),
        _packed(recipe, v, groups),
    )
    fades = _packed(recipe, decay, groups) if decay is not None and "gated" in rule else None
    rates = (
        _packed(recipe, beta, 1 if recipe.shape(beta)[2] == 1 else groups)
        if beta is not None and "delta" in rule
        else None
    )
    state: Any = np.zeros((batch, groups, wide, deep)) if past is None else past
    order = tuple(at // (heads // groups) for at in range(heads))

    def at(x: Ref, token: int) -> Ref:
        return recipe.put(
            ops.Slice(starts=(0, 0, token, 0), stops=(None, None, token + 1, None)), x
        )

    def upright(x: Ref) -> Ref:
        return recipe.put(ops.Transpose(perm=(0, 1, 3, 2)), x)

    shown = []
    for token in range(tokens):
        key, value = at(keys, token), at(values, token)
        if fades is not None:
            state = recipe.put(ops.Mul(), state, recipe.put(ops.Exp(), upright(at(fades, token))))
        if rates is not None:
            value = recipe.put(ops.Sub(), value, recipe.put(ops.Product(), key, state))
            value = recipe.put(ops.Mul(), value, at(rates, token))
        state = recipe.put(ops.Add(), state, recipe.put(ops.Mul(), upright(key), value))
        held = state if heads == groups else recipe.put(ops.Take(axis=1, order=order), state)
        shown.append(
            recipe.put(
                ops.Affine(gain=scale, offset=0.0),
                recipe.put(ops.Product(), at(queries, token), held),
            )
        )
    whole = shown[0] if len(shown) == 1 else recipe.put(ops.Concat(axis=2), *shown)
    return recipe.reshaped(recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), whole)), recipe.ref(state)


@node("CausalConvWithState")
def causal_conv(
    recipe: Node, x: Value, kernel: Value, bias: Value | None = None, past: Value | None = None
) -> tuple[Ref, ...]:
    """Each channel on its own, after what is carried on or zeros; the last positions of both are
    carried on again."""
    batch, channels, length = recipe.shape(x)
    before, kind = recipe.shape(kernel)[2] - 1, recipe.get("activation", "none")
    if kind not in ("none", "silu", "swish"):
        raise Undescribed(f"the activation {kind} has no description")
    carried = np.zeros((batch, channels, before)) if past is None else past
    whole = recipe.put(ops.Concat(axis=2), carried, x) if before else recipe.ref(x)
    plain: dict[str, Any] = {
        "strides": (1,),
        "pads": ((0, 0),),
        "dilations": (1,),
        "groups": channels,
    }
    found = recipe.put(ops.Conv(weight=None, bias=None, **plain), whole, kernel)
    if bias is not None:
        found = recipe.put(ops.Add(), found, recipe.put(ops.Reshape(shape=(-1, 1)), bias))
    if kind != "none":
        found = recipe.put(ops.Swish(alpha=1.0), found)
    return found, recipe.put(
        ops.Slice(starts=(0, 0, length), stops=(None, None, length + before)), whole
    )
