"""Attention and what goes with it: rotary embeddings, and caches that are written to."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.errors import Undescribed
from probe.layer import Ref

from .table import Node, Value, node

__all__: list[str] = []


def _heads(recipe: Node, x: Value, count: int | None) -> tuple[Ref | Value, tuple[int, ...]]:
    """x as (batch, heads, positions, features), and that shape."""
    shape = recipe.shape(x)
    if len(shape) == 4:
        return x, shape
    assert count
    batch, positions, width = shape
    apart = recipe.put(ops.Reshape(shape=(batch, positions, count, width // count)), x)
    return recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), apart), (batch, count, positions, width // count)


def _repeated(recipe: Node, x: Any, shape: tuple[int, ...], heads: int) -> Any:
    """Each head of keys or values as often as queries share it."""
    if shape[1] == heads:
        return x
    order = tuple(at // (heads // shape[1]) for at in range(heads))
    return recipe.put(ops.Take(axis=1, order=order), x)


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
) -> Ref:
    """softmax(q kᵀ · scale + mask) v; q and k are each multiplied by the root of the scale."""
    if any(one is not None for one in (past_key, past_value, lengths)) or recipe.get("softcap", 0.0) or len(recipe.outputs) > 1:
        raise Undescribed("a cache of keys and values, a soft cap and further outputs have no description")
    queries, size = _heads(recipe, q, recipe.get("q_num_heads"))
    keys, held = _heads(recipe, k, recipe.get("kv_num_heads"))
    values, shown = _heads(recipe, v, recipe.get("kv_num_heads"))
    scale = recipe.get("scale") or 1 / math.sqrt(size[3])
    root = np.asarray(math.sqrt(scale))
    turned = recipe.put(ops.Transpose(perm=(0, 1, 3, 2)), _repeated(recipe, keys, held, size[1]))
    scores = recipe.put(ops.Product(), recipe.put(ops.Mul(), queries, root), recipe.put(ops.Mul(), turned, root))
    if recipe.get("is_causal", 0):
        seen = np.tri(size[2], held[2], dtype=bool)
        scores = recipe.put(ops.Where(fixed=True), seen, scores, np.asarray(-np.inf))
    if mask is not None and recipe.array(mask).dtype == bool:
        scores = recipe.put(ops.Where(), mask, scores, np.asarray(-np.inf))
    elif mask is not None:
        scores = recipe.put(ops.Add(), scores, mask)
    found = recipe.put(ops.Product(), recipe.put(ops.Softmax(axis=3), scores), _repeated(recipe, values, shown, size[1]))
    if recipe.rank(q) == 4:
        return found
    return recipe.reshaped(recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), found))


@node("RotaryEmbedding")
def rotary_embedding(recipe: Node, x: Value, cos: Value, sin: Value, positions: Value | None = None) -> Ref:
    """Pairs of features turned by the angle of their position; pairs are halves of a head, or neighbours with ``interleaved``."""
    if recipe.rank(x) == 3:
        heads: Any = recipe.put(ops.Reshape(shape=(*recipe.shape(x)[:2], recipe.get("num_heads"), -1)), x)
        shape = (*recipe.shape(x)[:2], recipe.get("num_heads"), recipe.shape(x)[2] // recipe.get("num_heads"))
    else:
        heads = recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), x)
        shape = tuple(recipe.shape(x)[axis] for axis in (0, 2, 1, 3))
    width = recipe.get("rotary_embedding_dim", 0) or shape[3]
    picked = [one if positions is None else recipe.put(ops.Gather(axis=0), one, positions) for one in (cos, sin)]
    turned = [recipe.put(ops.Reshape(shape=(*shape[:2], 1, width // 2)), one) for one in picked]
    near = bool(recipe.get("interleaved", 0))

    def part(first: int, last: int, step: int = 1) -> Ref:
        return recipe.put(ops.Slice(starts=(0, 0, 0, first), stops=(*shape[:3], last), steps=(1, 1, 1, step)), heads)

    left, right = (part(0, width, 2), part(1, width, 2)) if near else (part(0, width // 2), part(width // 2, width))
    real = recipe.put(ops.Sub(), recipe.put(ops.Mul(), left, turned[0]), recipe.put(ops.Mul(), right, turned[1]))
    other = recipe.put(ops.Add(), recipe.put(ops.Mul(), left, turned[1]), recipe.put(ops.Mul(), right, turned[0]))
    if near:
        pairs = [recipe.put(ops.Unsqueeze(axes=(4,)), one) for one in (real, other)]
        found = recipe.put(ops.Reshape(shape=(*shape[:3], width)), recipe.put(ops.Concat(axis=4), *pairs))
    else:
        found = recipe.put(ops.Concat(axis=3), real, other)
    if width < shape[3]:
        found = recipe.put(ops.Concat(axis=3), found, part(width, shape[3]))
    return recipe.reshaped(found) if recipe.rank(x) == 3 else recipe.put(ops.Transpose(perm=(0, 2, 1, 3)), found)


@node("TensorScatter")
def tensor_scatter(recipe: Node, x: Value, update: Value, begin: Value | None = None) -> Ref:
    """``update`` written into each sample of a cache from its own place on, round its end where the mode is circular."""
    shape, new = recipe.shape(x), recipe.shape(update)
    axis = recipe.get("axis", -2) % len(shape)
    starts = np.zeros(shape[0], int) if begin is None else recipe.array(begin)
    places = starts.reshape(-1, *(1,) * (len(shape) - 1)) + np.arange(new[axis]).reshape(
        [-1 if k == axis else 1 for k in range(len(shape))]
    )
    if recipe.get("mode", "linear") == "circular":
        places = places % shape[axis]
    return recipe.put(ops.ScatterElements(axis=axis, reduction="none"), x, np.broadcast_to(places, new).copy(), update)
