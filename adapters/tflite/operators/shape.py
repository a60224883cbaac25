"""Tensors put together, cut, moved and looked up: codes and numbers alike."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import INTEGERS, Operand, OperatorBuilder, node
from .activations import activated

__all__: list[str] = []


def _same_grid(build: OperatorBuilder, *operands: Operand) -> None:
    """Raises where codes would have to be brought from one grid to another."""
    out = build.result
    for operand in operands:
        if operand.dtype not in INTEGERS or operand.tensor.quantisation is None:
            continue
        if not operand.tensor.quantisation.scale.size:
            continue
        if (operand.scale, operand.zero_point) != (out.scale, out.zero_point):
            raise Undescribed(
                f"{build.node.operator} from one scale or zero point to another has no description"
            )


@node("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(build: OperatorBuilder, x: Operand, *shape: Operand) -> Ref:
    build.knows("newShape", "squeezeDims")
    for operand in shape:
        operand.used.append(True)
    return build.reshaped(x.ref)


@node("CONCATENATION")
def concatenation(build: OperatorBuilder, *parts: Operand) -> Ref:
    _same_grid(build, *parts)
    axis = build.get("axis", 0) % len(build.result.shape)
    whole = [part for part in parts if part.array.size or len(parts) == 1]
    for part in parts:
        part.used.append(True)
    y = build.add(ops.Concat(axis=axis), *whole)
    return activated(build, y) if build.result.dtype == "float32" else _unfused(build, y)


def _unfused(build: OperatorBuilder, y: Ref) -> Ref:
    if build.get("fusedActivationFunction", "NONE") != "NONE":
        raise Undescribed("an activation behind joined codes has no description")
    return y


@node("TRANSPOSE")
def transpose(build: OperatorBuilder, x: Operand, perm: Operand) -> Ref:
    return build.add(ops.Transpose(perm=tuple(int(axis) for axis in perm.constant)), x)


def _pairs(amounts: Operand) -> tuple[tuple[int, int], ...]:
    return tuple((int(before), int(after)) for before, after in amounts.constant)


@node("PAD")
def pad(build: OperatorBuilder, x: Operand, amounts: Operand) -> Ref:
    """Codes are padded with the zero point."""
    value = x.zero_point if x.dtype in INTEGERS and x.tensor.quantisation is not None else 0
    return _padded(build, x, amounts, float(value))


@node("PADV2")
def pad_with(build: OperatorBuilder, x: Operand, amounts: Operand, value: Operand) -> Ref:
    _same_grid(build, x, value)
    return _padded(build, x, amounts, float(np.ravel(value.constant)[0]))


def _padded(build: OperatorBuilder, x: Operand, amounts: Operand, value: float) -> Ref:
    op = ops.Pad(pads=_pairs(amounts), value=value)
    if x.dtype == "float32" or not value:
        return build.add(op, x)
    floats = build.add(op, build.add(ops.Cast(to="float32"), x))
    return build.add(ops.Cast(to=x.dtype), floats)


@node("MIRROR_PAD")
def mirror_pad(build: OperatorBuilder, x: Operand, amounts: Operand) -> Ref:
    modes = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}
    return build.add(ops.Pad(pads=_pairs(amounts), mode=modes[build.get("mode", "REFLECT")]), x)


@node("SLICE")
def slice_(build: OperatorBuilder, x: Operand, begin: Operand, size: Operand) -> Ref:
    starts = tuple(int(at) for at in begin.constant)
    if not len(starts) == len(size.constant) == len(x.shape):
        raise Undescribed("a slice of other axes than the tensor has")
    stops = tuple(
        None if int(n) < 0 else at + int(n) for at, n in zip(starts, size.constant, strict=True)
    )
    return build.add(ops.Slice(starts=starts, stops=stops), x)


@node("STRIDED_SLICE")
def strided_slice(
    build: OperatorBuilder, x: Operand, begin: Operand, end: Operand, strides: Operand
) -> Ref:
    """NumPy's indexing, with its masks as bits."""
    masks = {
        name: int(build.get(name, 0))
        for name in ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask")
    }
    if masks["ellipsisMask"] or masks["newAxisMask"]:
        raise Undescribed("a slice with an ellipsis or a new axis has no description")
    offset = bool(build.get("offset", False))
    starts, stops, steps = list[int](), list[int | None](), list[int]()
    bounds = zip(begin.constant, end.constant, strides.constant, strict=True)
    for axis, (first, last, step) in enumerate(bounds):
        size, bit = x.shape[axis], 1 << axis
        stop = int(last) + int(first) * offset
        whole = slice(
            None if masks["beginMask"] & bit else int(first),
            None if masks["endMask"] & bit else stop,
            int(step),
        )
        if masks["shrinkAxisMask"] & bit:
            at = int(first) % size
            whole = slice(at, at + 1, 1)
        low, high, by = whole.indices(size)
        starts.append(low)
        stops.append(None if high < 0 else high)
        steps.append(by)
    rest = len(x.shape) - len(starts)
    op = ops.Slice(
        starts=(*starts, *[0] * rest), stops=(*stops, *[None] * rest), steps=(*steps, *[1] * rest)
    )
    return build.reshaped(build.add(op, x))


@node("SPLIT", "SPLIT_V")
def split(build: OperatorBuilder, *operands: Operand) -> list[Ref]:
    if build.node.operator == "SPLIT":
        axis, x = operands
    else:
        x, sizes, axis = operands
        sizes.used.append(True)
    build.knows("numSplits")
    at, rank = int(np.ravel(axis.constant)[0]) % len(x.shape), len(x.shape)
    found, first = [], 0
    for result in build.results:
        last = first + result.shape[at]
        starts = tuple(first if k == at else 0 for k in range(rank))
        stops = tuple(last if k == at else None for k in range(rank))
        found.append(build.add(ops.Slice(starts=starts, stops=stops), x))
        first = last
    return found


@node("PACK")
def pack(build: OperatorBuilder, *parts: Operand) -> Ref:
    _same_grid(build, *parts)
    build.knows("valuesCount")
    rank = len(build.result.shape)
    axis = build.get("axis", 0) % rank
    shape = tuple(1 if k == axis else n for k, n in enumerate(build.result.shape))
    return build.add(
        ops.Concat(axis=axis), *(build.add(ops.Reshape(shape=shape), part) for part in parts)
    )


@node("UNPACK")
def unpack(build: OperatorBuilder, x: Operand) -> list[Ref]:
    build.knows("num")
    axis, rank = build.get("axis", 0) % len(x.shape), len(x.shape)
    found = []
    for place, result in enumerate(build.results):
        starts = tuple(place if k == axis else 0 for k in range(rank))
        stops = tuple(place + 1 if k == axis else None for k in range(rank))
        part = build.add(ops.Slice(starts=starts, stops=stops), x)
        found.append(build.add(ops.Reshape(shape=result.shape), part))
    return found


@node("GATHER")
def gather(build: OperatorBuilder, x: Operand, indices: Operand) -> Ref:
    axis = build.get("axis", 0) % len(x.shape)
    batch = build.get("batchDims", 0)
    if batch:
        raise Undescribed("a gather of batches has no description")
    return build.add(ops.Gather(axis=axis), x, indices)


@node("EMBEDDING_LOOKUP")
def embedding_lookup(build: OperatorBuilder, indices: Operand, table: Operand) -> Ref:
    if table.dtype != build.result.dtype:
        raise Undescribed(f"looking up codes of {table.dtype} as floats has no description")
    return build.add(ops.Gather(axis=0), table, indices)


@node("GATHER_ND")
def gather_nd(build: OperatorBuilder, x: Operand, indices: Operand) -> Ref:
    return build.add(ops.GatherND(), x, indices)


@node("TILE")
def tile(build: OperatorBuilder, x: Operand, repeats: Operand) -> Ref:
    return build.add(ops.Tile(repeats=tuple(int(n) for n in repeats.constant)), x)


@node("BROADCAST_TO")
def broadcast_to(build: OperatorBuilder, x: Operand, shape: Operand) -> Ref:
    return build.add(ops.Expand(shape=tuple(int(n) for n in shape.constant)), x)


@node("REVERSE_V2")
def reverse(build: OperatorBuilder, x: Operand, axes: Operand) -> Ref:
    rank = len(x.shape)
    over = {int(axis) % rank for axis in np.ravel(axes.constant)}
    y: Any = x
    for axis in sorted(over):
        order = tuple(range(x.shape[axis]))[::-1]
        y = build.add(ops.Take(axis=axis, order=order), y)
    return build.add(ops.Identity(), y)


@node("SPACE_TO_DEPTH")
def space_to_depth(build: OperatorBuilder, x: Operand) -> Ref:
    b, (batch, height, width, channels) = build.get("blockSize", 1), x.shape
    apart = build.add(ops.Reshape(shape=(batch, height // b, b, width // b, b, channels)), x)
    return build.reshaped(build.add(ops.Transpose(perm=(0, 1, 3, 2, 4, 5)), apart))


@node("DEPTH_TO_SPACE")
def depth_to_space(build: OperatorBuilder, x: Operand) -> Ref:
    b, (batch, height, width, channels) = build.get("blockSize", 1), x.shape
    apart = build.add(ops.Reshape(shape=(batch, height, width, b, b, channels // b**2)), x)
    return build.reshaped(build.add(ops.Transpose(perm=(0, 1, 3, 2, 4, 5)), apart))


@node("SPACE_TO_BATCH_ND")
def space_to_batch(build: OperatorBuilder, x: Operand, block: Operand, amounts: Operand) -> Ref:
    """Codes are padded with the zero point."""
    sizes = [int(n) for n in block.constant]
    batch, *inner = x.shape
    spatial = len(sizes)
    value = float(build.result.zero_point) if x.dtype in INTEGERS else 0.0
    pairs = ((0, 0), *_pairs(amounts), *[(0, 0)] * (len(inner) - spatial))
    y = _padded_by(build, x, pairs, value)
    wide = [n + sum(pair) for n, pair in zip(inner, pairs[1:], strict=True)]
    split_shape = [batch]
    for n, b in zip(wide[:spatial], sizes, strict=True):
        split_shape += [n // b, b]
    y = build.add(ops.Reshape(shape=(*split_shape, *wide[spatial:])), y)
    moved = [2 + 2 * k for k in range(spatial)]
    kept = [1 + 2 * k for k in range(spatial)]
    rest = range(1 + 2 * spatial, 1 + len(inner) + spatial)
    return build.reshaped(build.add(ops.Transpose(perm=(*moved, 0, *kept, *rest)), y))


def _padded_by(
    build: OperatorBuilder, x: Operand, pairs: Sequence[tuple[int, int]], value: float
) -> Ref:
    op = ops.Pad(pads=tuple(pairs), value=value)
    if x.dtype == "float32" or not value:
        return build.add(op, x)
    floats = build.add(op, build.add(ops.Cast(to="float32"), x))
    return build.add(ops.Cast(to=x.dtype), floats)


@node("BATCH_TO_SPACE_ND")
def batch_to_space(build: OperatorBuilder, x: Operand, block: Operand, crops: Operand) -> Ref:
    sizes = [int(n) for n in block.constant]
    batch, *inner = x.shape
    spatial, count = len(sizes), math.prod(sizes)
    y = build.add(ops.Reshape(shape=(*sizes, batch // count, *inner)), x)
    perm = [spatial]
    for k in range(spatial):
        perm += [spatial + 1 + k, k]
    perm += range(2 * spatial + 1, spatial + 1 + len(inner))
    y = build.add(ops.Transpose(perm=tuple(perm)), y)
    wide = [n * b for n, b in zip(inner, sizes, strict=False)]
    y = build.add(ops.Reshape(shape=(batch // count, *wide, *inner[spatial:])), y)
    pairs = [(0, 0), *_pairs(crops), *[(0, 0)] * (len(inner) - spatial)]
    whole = (batch // count, *wide, *inner[spatial:])
    starts = tuple(before for before, _ in pairs)
    stops = tuple(n - after for n, (_, after) in zip(whole, pairs, strict=True))
    return build.add(ops.Slice(starts=starts, stops=stops), y)


@node("ARG_MAX", "ARG_MIN")
def arg_extreme(build: OperatorBuilder, x: Operand, axis: Operand) -> Ref:
    build.knows("outputType")
    at = int(np.ravel(axis.constant)[0]) % len(x.shape)
    kind = ops.ArgMax if build.node.operator == "ARG_MAX" else ops.ArgMin
    return build.reshaped(build.add(kind(axis=at, keepdims=True), x))


@node("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(build: OperatorBuilder, x: Operand, update: Operand, at: Operand) -> Ref:
    """The update in its place, which is within the tensor."""
    starts = [
        int(np.clip(start, 0, n - m))
        for start, n, m in zip(np.ravel(at.constant), x.shape, update.shape, strict=True)
    ]
    axes = [np.arange(start, start + m) for start, m in zip(starts, update.shape, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return build.add(ops.ScatterND(reduction="none"), x, places, update)
