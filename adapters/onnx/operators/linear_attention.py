"""Recurrences without gates of their own: linear attention, and causal convolutions that carry
their last positions on."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []

_MOST = 128
"""So many tokens are followed one by one."""


def _packed(build: NodeBuilder, x: Value, heads: int) -> Ref:
    """(batch, token, heads · width) as (batch, heads, token, width)."""
    batch, tokens, width = build.shape(x)
    return build.add(
        ops.Transpose(perm=(0, 2, 1, 3)),
        build.add(ops.Reshape(shape=(batch, tokens, heads, width // heads)), x),
    )


def _at(build: NodeBuilder, x: Ref, token: int) -> Ref:
    return build.add(ops.Slice(starts=(0, 0, token, 0), stops=(None, None, token + 1, None)), x)


def _upright(build: NodeBuilder, x: Ref) -> Ref:
    return build.add(ops.Transpose(perm=(0, 1, 3, 2)), x)


def _state(
    build: NodeBuilder,
    state: Value,
    token: int,
    keys: Ref,
    values: Ref,
    fades: Ref | None,
    rates: Ref | None,
) -> Ref:
    """The state after a token."""
    key, value = _at(build, keys, token), _at(build, values, token)
    if fades is not None:
        fade = build.add(ops.Exp(), _upright(build, _at(build, fades, token)))
        state = build.add(ops.Mul(), state, fade)
    if rates is not None:
        value = build.add(ops.Sub(), value, build.add(ops.Product(), key, state))
        value = build.add(ops.Mul(), value, _at(build, rates, token))
    return build.add(ops.Add(), state, build.add(ops.Mul(), _upright(build, key), value))


@node("LinearAttention", implied=("chunk_size",))
def linear_attention(
    build: NodeBuilder,
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
        build.get("q_num_heads"),
        build.get("kv_num_heads"),
        build.get("update_rule", "gated_delta"),
    )
    if rule not in ("linear", "gated", "delta", "gated_delta"):
        raise Undescribed(f"the update rule {rule} is not supported")
    batch, tokens, width = build.shape(q)
    if tokens > _MOST:
        raise Undescribed(f"{tokens} tokens are more than the limit of {_MOST}")
    wide, deep = width // heads, build.shape(v)[2] // groups
    scale = build.get("scale", 0.0) or 1 / math.sqrt(wide)
    queries, keys, values = (
        _packed(build, q, heads),
        _packed(build, k, groups),
        _packed(build, v, groups),
    )
    if decay is not None and "gated" in rule:
        fades = _packed(build, decay, groups)
    else:
        fades = None
    rates = None
    if beta is not None and "delta" in rule:
        rates = _packed(build, beta, 1 if build.shape(beta)[2] == 1 else groups)
    state: Any = np.zeros((batch, groups, wide, deep)) if past is None else past
    order = tuple(at // (heads // groups) for at in range(heads))
    outputs = []
    for token in range(tokens):
        state = _state(build, state, token, keys, values, fades, rates)
        if heads == groups:
            read = state
        else:
            read = build.add(ops.Take(axis=1, order=order), state)
        output = build.add(ops.Product(), _at(build, queries, token), read)
        outputs.append(build.add(ops.Affine(gain=scale, offset=0.0), output))
    if len(outputs) == 1:
        whole = outputs[0]
    else:
        whole = build.add(ops.Concat(axis=2), *outputs)
    return build.reshaped(build.add(ops.Transpose(perm=(0, 2, 1, 3)), whole)), build.ref(state)


@node("CausalConvWithState")
def causal_conv(
    build: NodeBuilder,
    x: Value,
    kernel: Value,
    bias: Value | None = None,
    past: Value | None = None,
) -> tuple[Ref, ...]:
    """Each channel on its own, after what is carried on or zeros; the last positions of both are
    carried on again."""
    batch, channels, length = build.shape(x)
    before, kind = build.shape(kernel)[2] - 1, build.get("activation", "none")
    if kind not in ("none", "silu", "swish"):
        raise Undescribed(f"the activation {kind} is not supported")
    carried = np.zeros((batch, channels, before)) if past is None else past
    whole = build.add(ops.Concat(axis=2), carried, x) if before else build.ref(x)
    plain: dict[str, Any] = {
        "strides": (1,),
        "pads": ((0, 0),),
        "dilations": (1,),
        "groups": channels,
    }
    found = build.add(ops.Conv(weight=None, bias=None, **plain), whole, kernel)
    if bias is not None:
        found = build.add(ops.Add(), found, build.add(ops.Reshape(shape=(-1, 1)), bias))
    if kind != "none":
        found = build.add(ops.Swish(alpha=1.0), found)
    return found, build.add(
        ops.Slice(starts=(0, 0, length), stops=(None, None, length + before)), whole
    )
