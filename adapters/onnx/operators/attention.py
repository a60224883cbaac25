"""Attention and what goes with it: rotary embeddings, and caches that are written to."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []

_HIDDEN = (
    "known difference of ONNX Runtime: it adds the lowest finite number to the score of a "
    "masked key, where the ONNX specification says minus infinity"
)
_SINGLE = (
    "known difference of ONNX Runtime: before opset 25, a single causal query with a cache "
    "attends to all keys, against the ONNX specification"
)


def _heads(build: NodeBuilder, x: Value, count: int | None) -> tuple[Ref | Value, tuple[int, ...]]:
    """x as (batch, heads, positions, features), and that shape."""
    shape = build.shape(x)
    if len(shape) == 4:
        return x, shape
    assert count
    batch, positions, width = shape
    apart = build.add(ops.Reshape(shape=(batch, positions, count, width // count)), x)
    return build.add(ops.Transpose(perm=(0, 2, 1, 3)), apart), (
        batch,
        count,
        positions,
        width // count,
    )


def _repeated(build: NodeBuilder, x: Any, shape: tuple[int, ...], heads: int) -> Any:
    """Each head of keys or values as often as queries share it."""
    if shape[1] == heads:
        return x
    order = tuple(at // (heads // shape[1]) for at in range(heads))
    return build.add(ops.Take(axis=1, order=order), x)


def _seen(
    build: NodeBuilder, queries: int, keys: int, past: int, lengths: Value | None
) -> np.ndarray:
    """Which keys a query may see by their places alone: causally, in a window, and of those that
    are no padding."""
    first, at = np.full((1, 1, 1, 1), past), np.arange(keys)
    seen = np.ones((1, 1, queries, keys), bool)
    if lengths is not None:
        held = build.array(lengths).astype(np.int64).reshape(-1, 1, 1, 1)
        first, seen = held - queries, seen & (at < held)
    place = first + np.arange(queries)[:, None]
    left, right = build.get("left_window_size", -1), build.get("right_window_size", -1)
    if build.get("is_causal", 0):
        right = 0
    if right >= 0:
        seen = seen & (at <= place + right)
    if left >= 0:
        seen = seen & (at >= place - left)
    return seen


def _widened(array: np.ndarray, keys: int, value: Any) -> np.ndarray:
    """A mask of fewer keys hides those that it does not name."""
    missing = keys - array.shape[-1]
    if missing <= 0:
        return array
    return np.concatenate(
        [array, np.full((*array.shape[:-1], missing), value, array.dtype)], axis=-1
    )


def _root_of_scale(build: NodeBuilder, q: Value, width: int) -> np.ndarray:
    precision, kind = build.get("softmax_precision"), build.array(q).dtype
    if precision in (10, 16) and kind.itemsize > 2:
        raise Undescribed(f"a softmax in the 16-bit type {kind.name} is not supported")
    scale = build.get("scale") or 1 / math.sqrt(width)
    if scale < 0:
        raise Undescribed(
            f"a negative scale ({scale:g}) is not supported, since its square root is taken"
        )
    return np.asarray(math.sqrt(scale))


def _capped(build: NodeBuilder, scores: Ref) -> Ref:
    cap = build.get("softcap", 0.0)
    if not cap:
        return scores
    small = build.add(ops.Tanh(), build.add(ops.Affine(gain=1 / cap, offset=0.0), scores))
    return build.add(ops.Affine(gain=cap, offset=0.0), small)


def _biased(
    build: NodeBuilder, scores: Ref, mask: Value, seen: np.ndarray, keys: int
) -> tuple[Ref, np.ndarray]:
    """The scores with what a mask adds, and which keys are seen with it."""
    array = build.array(mask)
    if array.dtype == bool:
        return scores, seen & _widened(array, keys, False)
    hidden = np.isneginf(array)
    seen = seen & _widened(~hidden, keys, False)
    if array.shape[-1] < keys:
        around = ((0, 0),) * (array.ndim - 1) + ((0, keys - array.shape[-1]),)
        mask = build.add(ops.Pad(pads=around, mode="constant", value=0.0), mask)
    if hidden.any():  # in what is seen
        mask = build.add(
            ops.Where(fixed=True), _widened(hidden, keys, False), np.asarray(0.0), mask
        )
    return build.add(ops.Add(), scores, mask), seen


def _shares(build: NodeBuilder, scores: Ref, seen: np.ndarray) -> Ref:
    """The softmax of scores, zeros for a query that sees no key."""
    shares = build.add(ops.Softmax(axis=3), scores)
    blind = np.asarray(~seen.any(axis=-1, keepdims=True))
    if not blind.any():
        return shares
    return build.add(ops.Where(fixed=True), blind, np.asarray(0.0), shares)


@node("Attention")
def attention(
    build: NodeBuilder,
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
    queries, size = _heads(build, q, build.get("q_num_heads"))
    keys, key_shape = _heads(build, k, build.get("kv_num_heads"))
    values, value_shape = _heads(build, v, build.get("kv_num_heads"))
    past = 0
    if past_key is not None and past_value is not None:
        past = build.shape(past_key)[2]
        keys = build.add(ops.Concat(axis=2), past_key, keys)
        values = build.add(ops.Concat(axis=2), past_value, values)
    root, total = _root_of_scale(build, q, size[3]), past + key_shape[2]
    repeated = _repeated(build, keys, key_shape, size[1])
    turned = build.add(ops.Transpose(perm=(0, 1, 3, 2)), repeated)
    products = build.add(
        ops.Product(), build.add(ops.Mul(), queries, root), build.add(ops.Mul(), turned, root)
    )
    capped = biased = _capped(build, products)
    seen = _seen(build, size[2], total, past, lengths)
    if mask is not None:
        biased, seen = _biased(build, biased, mask, seen, total)
    if not seen.all():
        biased = build.add(ops.Where(fixed=True), np.asarray(seen), biased, np.asarray(-np.inf))
    shares = _shares(build, biased, seen)
    output = build.add(ops.Product(), shares, _repeated(build, values, value_shape, size[1]))
    if build.rank(q) != 4:
        output = build.reshaped(build.add(ops.Transpose(perm=(0, 2, 1, 3)), output))
    mode = build.get("qk_matmul_output_mode", 0)
    if build.get("is_causal", 0) and size[2] == 1 < key_shape[2] and past and build.opset < 25:
        build.notes.append(_SINGLE)
    if mode == 2 and not seen.all() and 3 in build.present:
        build.notes.append(_HIDDEN)
    shown = (products, capped, biased, shares)[mode]
    return output, build.ref(keys), build.ref(values), shown


@node("RotaryEmbedding")
def rotary_embedding(
    build: NodeBuilder, x: Value, cos: Value, sin: Value, positions: Value | None = None
) -> Ref:
    """Pairs of features turned by the angle of their position; pairs are halves of a head, or
    neighbours with ``interleaved``."""
    if build.rank(x) == 3:
        heads: Any = build.add(
            ops.Reshape(shape=(*build.shape(x)[:2], build.get("num_heads"), -1)), x
        )
        shape = (
            *build.shape(x)[:2],
            build.get("num_heads"),
            build.shape(x)[2] // build.get("num_heads"),
        )
    else:
        heads = build.add(ops.Transpose(perm=(0, 2, 1, 3)), x)
        shape = tuple(build.shape(x)[axis] for axis in (0, 2, 1, 3))
    width = build.get("rotary_embedding_dim", 0) or shape[3]
    picked = [
        table if positions is None else build.add(ops.Gather(axis=0), table, positions)
        for table in (cos, sin)
    ]
    turned = [build.add(ops.Reshape(shape=(*shape[:2], 1, width // 2)), rows) for rows in picked]
    near = bool(build.get("interleaved", 0))

    def part(first: int, last: int, step: int = 1) -> Ref:
        return build.add(
            ops.Slice(starts=(0, 0, 0, first), stops=(*shape[:3], last), steps=(1, 1, 1, step)),
            heads,
        )

    if near:
        left, right = (part(0, width, 2), part(1, width, 2))
    else:
        left, right = (part(0, width // 2), part(width // 2, width))
    real = build.add(
        ops.Sub(), build.add(ops.Mul(), left, turned[0]), build.add(ops.Mul(), right, turned[1])
    )
    other = build.add(
        ops.Add(), build.add(ops.Mul(), left, turned[1]), build.add(ops.Mul(), right, turned[0])
    )
    if near:
        pairs = [build.add(ops.Unsqueeze(axes=(4,)), half) for half in (real, other)]
        found = build.add(
            ops.Reshape(shape=(*shape[:3], width)), build.add(ops.Concat(axis=4), *pairs)
        )
    else:
        found = build.add(ops.Concat(axis=3), real, other)
    if width < shape[3]:
        found = build.add(ops.Concat(axis=3), found, part(width, shape[3]))
    if build.rank(x) == 3:
        return build.reshaped(found)
    return build.add(ops.Transpose(perm=(0, 2, 1, 3)), found)


@node("TensorScatter")
def tensor_scatter(build: NodeBuilder, x: Value, update: Value, begin: Value | None = None) -> Ref:
    """``update`` written into each sample of a cache from its own place on, round its end where the
    mode is circular."""
    shape, new = build.shape(x), build.shape(update)
    axis = build.get("axis", -2) % len(shape)
    starts = np.zeros(shape[0], int) if begin is None else build.array(begin)
    places = starts.reshape(-1, *(1,) * (len(shape) - 1)) + np.arange(new[axis]).reshape(
        [-1 if k == axis else 1 for k in range(len(shape))]
    )
    if build.get("mode", "linear") == "circular":
        places = places % shape[axis]
    return build.add(
        ops.ScatterElements(axis=axis, reduction="none"),
        x,
        np.broadcast_to(places, new).copy(),
        update,
    )
