"""Attention and what goes with it: rotary embeddings, and caches that are written to."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []

_HIDDEN = (
    "known of ONNX Runtime: the score of a hidden key, which by the operator's text is less by "
    "infinity, is less by the largest number of "
    "its type"
)
_SINGLE = (
    "known of ONNX Runtime: before version 25 of the operator a single query with a cache sees "
    "all keys, though by the operator's text a "
    "causal one sees none that come after its own"
)


def _heads(recipe: Node, x: Value, count: int | None) -> tuple[Ref | Value, tuple[int, ...]]:
    """x as (batch, heads, positions, features), and that shape."""
    shape = recipe.shape(x)
    if len(shape) == 4:
        return x, shape
    assert count
    batch, positions, width = shape
    apart = recipe.put(ops.Reshape(shape=(batch, positions, count, width // count)), x)
    return recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), apart), (
        batch,
        count,
        positions,
        width // count,
    )


def _repeated(recipe: Node, x: Any, shape: tuple[int, ...], heads: int) -> Any:
    """Each head of keys or values as often as queries share it."""
    if shape[1] == heads:
        return x
    order = tuple(at // (heads // shape[1]) for at in range(heads))
    return recipe.put(ops.Take(axis=1, order=order), x)


def _seen(recipe: Node, queries: int, keys: int, past: int, lengths: Value | None) -> np.ndarray:
    """Which keys a query may see by their places alone: causally, in a window, and of those that
    are no padding."""
    first, at = np.full((1, 1, 1, 1), past), np.arange(keys)
    seen = np.ones((1, 1, queries, keys), bool)
    if lengths is not None:
        held = recipe.array(lengths).astype(np.int64).reshape(-1, 1, 1, 1)
        first, seen = held - queries, seen & (at < held)
    place = first + np.arange(queries)[:, None]
    left, right = recipe.get("left_window_size", -1), recipe.get("right_window_size", -1)
    right = 0 if recipe.get("is_causal", 0) else right
    seen = seen if right < 0 else seen & (at <= place + right)
    return seen if left < 0 else seen & (at >= place - left)


def _widened(array: np.ndarray, keys: int, value: Any) -> np.ndarray:
    """A mask of fewer keys hides those that it does not name."""
    missing = keys - array.shape[-1]
    if missing <= 0:
        return array
    return np.concatenate(
        [array, np.full((*array.shape[:-1], missing), value, array.dtype)], axis=-1
    )


@node("Attention")
def attention(
    recipe: Node,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    lengths: Value | None = None,
) -> tuple[Ref, ...]:
    """softmax(softcap(q kᵀ · scale) + mask) v; q and k are each multiplied by the root of the
    scale. Keys and values follow a cache."""
    queries, size = _heads(recipe, q, recipe.get("q_num_heads"))
    keys, held = _heads(recipe, k, recipe.get("kv_num_heads"))
    values, shown = _heads(recipe, v, recipe.get("kv_num_heads"))
    past = 0
    if past_key is not None and past_value is not None:
        past = recipe.shape(past_key)[2]
        keys, values = (
            recipe.put(ops.Concat(axis=2), past_key, keys),
            recipe.put(ops.Concat(axis=2), past_value, values),
        )
    precision, kind = recipe.get("softmax_precision"), recipe.array(q).dtype
    if precision in (10, 16) and kind.itemsize > 2:
        raise Undescribed(f"a softmax in 16 bits of {kind.name} has no description")
    scale = recipe.get("scale") or 1 / math.sqrt(size[3])
    if scale < 0:
        raise Undescribed(f"a scale of {scale:g}, which has no root, has no description")
    root = np.asarray(math.sqrt(scale))
    turned = recipe.put(ops.Transpose(perm=(0, 1, 3, 2)), _repeated(recipe, keys, held, size[1]))
    scores = [
        recipe.put(
            ops.Product(), recipe.put(ops.Mul(), queries, root), recipe.put(ops.Mul(), turned, root)
        )
    ]
    cap = recipe.get("softcap", 0.0)
    scores.append(scores[0])
    if cap:
        small = recipe.put(ops.Tanh(), recipe.put(ops.Affine(gain=1 / cap, offset=0.0), scores[0]))
        scores[1] = recipe.put(ops.Affine(gain=cap, offset=0.0), small)
    biased, total = scores[1], past + held[2]
    seen: np.ndarray = _seen(recipe, size[2], total, past, lengths)
    if mask is not None and recipe.array(mask).dtype == bool:
        seen = seen & _widened(recipe.array(mask), total, False)
    elif mask is not None:
        given = recipe.array(mask)
        seen = seen & _widened(~np.isneginf(given), total, False)
        if given.shape[-1] < total:
            around = ((0, 0),) * (given.ndim - 1) + ((0, total - given.shape[-1]),)
            mask = recipe.put(ops.Pad(pads=around, mode="constant", value=0.0), mask)
        if np.isneginf(given).any():  # hidden below
            mask = recipe.put(
                ops.Where(fixed=True),
                _widened(np.isneginf(given), total, False),
                np.asarray(0.0),
                mask,
            )
        biased = recipe.put(ops.Add(), biased, mask)
    if not seen.all():
        biased = recipe.put(ops.Where(fixed=True), np.asarray(seen), biased, np.asarray(-np.inf))
    scores.append(biased)
    scores.append(recipe.put(ops.Softmax(axis=3), biased))
    blind = np.asarray(~seen.any(axis=-1, keepdims=True))
    if blind.any():
        scores[3] = recipe.put(ops.Where(fixed=True), blind, np.asarray(0.0), scores[3])
    found = recipe.put(ops.Product(), scores[3], _repeated(recipe, values, shown, size[1]))
    if recipe.rank(q) != 4:
        found = recipe.reshaped(recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), found))
    mode = recipe.get("qk_matmul_output_mode", 0)
    if recipe.get("is_causal", 0) and size[2] == 1 < held[2] and past and recipe.opset < 25:
        recipe.notes.append(_SINGLE)
    if mode == 2 and not seen.all() and 3 in recipe.present:
        recipe.notes.append(_HIDDEN)
    return found, recipe.ref(keys), recipe.ref(values), scores[mode]


@node("RotaryEmbedding")
def rotary_embedding(
    recipe: Node, x: Value, cos: Value, sin: Value, positions: Value | None = None
) -> Ref:
    """Pairs of features turned by the angle of their position; pairs are halves of a head, or
    neighbours with ``interleaved``."""
    if recipe.rank(x) == 3:
        heads: Any = recipe.put(
            ops.Reshape(shape=(*recipe.shape(x)[:2], recipe.get("num_heads"), -1)), x
        )
        shape = (
            *recipe.shape(x)[:2],
            recipe.get("num_heads"),
            recipe.shape(x)[2] // recipe.get("num_heads"),
        )
    else:
        heads = recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), x)
        shape = tuple(recipe.shape(x)[axis] for axis in (0, 2, 1, 3))
    width = recipe.get("rotary_embedding_dim", 0) or shape[3]
    picked = [
        one if positions is None else recipe.put(ops.Gather(axis=0), one, positions)
        for one in (cos, sin)
    ]
    turned = [recipe.put(ops.Reshape(shape=(*shape[:2], 1, width // 2)), one) for one in picked]
    near = bool(recipe.get("interleaved", 0))

    def part(first: int, last: int, step: int = 1) -> Ref:
        return recipe.put(
            ops.Slice(starts=(0, 0, 0, first), stops=(*shape[:3], last), steps=(1, 1, 1, step)),
            heads,
        )

    left, right = (
        (part(0, width, 2), part(1, width, 2))
        if near
        else (part(0, width // 2), part(width // 2, width))
    )
    real = recipe.put(
        ops.Sub(), recipe.put(ops.Mul(), left, turned[0]), recipe.put(ops.Mul(), right, turned[1])
    )
    other = recipe.put(
        ops.Add(), recipe.put(ops.Mul(), left, turned[1]), recipe.put(ops.Mul(), right, turned[0])
    )
    if near:
        pairs = [recipe.put(ops.Unsqueeze(axes=(4,)), one) for one in (real, other)]
        found = recipe.put(
            ops.Reshape(shape=(*shape[:3], width)), recipe.put(ops.Concat(axis=4), *pairs)
        )
    else:
        found = recipe.put(ops.Concat(axis=3), real, other)
    if width < shape[3]:
        found = recipe.put(ops.Concat(axis=3), found, part(width, shape[3]))
    return (
        recipe.reshaped(found)
        if recipe.rank(x) == 3
        else recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), found)
    )


@node("TensorScatter")
def tensor_scatter(recipe: Node, x: Value, update: Value, begin: Value | None = None) -> Ref:
    """``update`` written into each sample of a cache from its own place on, round its end where the
    mode is circular."""
    shape, new = recipe.shape(x), recipe.shape(update)
    axis = recipe.get("axis", -2) % len(shape)
    starts = np.zeros(shape[0], int) if begin is None else recipe.array(begin)
    places = starts.reshape(-1, *(1,) * (len(shape) - 1)) + np.arange(new[axis]).reshape(
        [-1 if k == axis else 1 for k in range(len(shape))]
    )
    if recipe.get("mode", "linear") == "circular":
        places = places % shape[axis]
    return recipe.put(
        ops.ScatterElements(axis=axis, reduction="none"),
        x,
        np.broadcast_to(places, new).copy(),
        update,
    )
