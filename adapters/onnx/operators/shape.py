"""Operators that move, pick, repeat and overwrite elements."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__ = ["pad", "sliced"]


@node("Reshape", implied=("allowzero", "shape"))
@node("Flatten", implied=("axis",))
@node("Squeeze", "Unsqueeze", implied=("axes",))
def reshape(recipe: Node, x: Value, *rest: Value | None) -> Ref:
    """The elements in row-major order in the shape that the run gave them."""
    return recipe.reshaped(x)


@node("Transpose")
def transpose(recipe: Node, x: Value) -> Ref:
    return recipe.put(
        ops.Transpose(perm=tuple(recipe.get("perm", reversed(range(recipe.rank(x)))))), x
    )


@node("Concat")
def concat(recipe: Node, *values: Value) -> Ref:
    return recipe.put(ops.Concat(axis=recipe.get("axis", 1)), *values)


@node("Split", implied=("num_outputs", "split"))
def split(recipe: Node, x: Value, sizes: Value | None = None) -> tuple[Ref, ...]:
    shape, axis, parts, start = recipe.shape(x), recipe.get("axis", 0) % recipe.rank(x), [], 0
    for piece in recipe.outputs:
        stop = start + piece.shape[axis]
        starts = tuple(start if k == axis else 0 for k in range(len(shape)))
        parts.append(
            recipe.put(
                ops.Slice(
                    starts=starts,
                    stops=tuple(stop if k == axis else n for k, n in enumerate(shape)),
                ),
                x,
            )
        )
        start = stop
    return tuple(parts)


@node("Slice")
def sliced(
    recipe: Node,
    x: Value,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Ref:
    """Bounds are inputs, before version 10 attributes; beyond the ends they are cut."""
    first, last = recipe.ints(starts, "starts"), recipe.ints(ends, "ends")
    assert first is not None and last is not None
    along = recipe.ints(axes, "axes") or tuple(range(len(first)))
    strides = recipe.ints(steps) or (1,) * len(first)
    bounds = [(0, size, 1) for size in recipe.shape(x)]
    for axis, start, stop, step in zip(along, first, last, strides, strict=True):
        bounds[axis] = slice(start, stop, step).indices(recipe.shape(x)[axis])
    low, high, by = zip(*bounds, strict=True)
    return recipe.put(ops.Slice(low, tuple(None if stop < 0 else stop for stop in high), by), x)


@node("Pad")
def pad(
    recipe: Node,
    x: Value,
    pads: Value | None = None,
    value: Value | None = None,
    axes: Value | None = None,
) -> Ref:
    amounts = recipe.ints(pads, "pads")
    assert amounts is not None
    rank = recipe.rank(x)
    along = [axis % rank for axis in recipe.ints(axes) or range(rank)]
    pairs = [(0, 0)] * rank
    for axis, pair in zip(
        along, zip(amounts[: len(along)], amounts[len(along) :], strict=True), strict=True
    ):
        pairs[axis] = pair
    mode = recipe.get("mode", "constant")
    if min(map(min, pairs)) < 0:
        if mode != "constant":
            raise Undescribed(f"a negative amount of padding in mode {mode} has no description")
        starts, stops = zip(
            *(
                (max(0, -one), n - max(0, -two))
                for n, (one, two) in zip(recipe.shape(x), pairs, strict=True)
            ),
            strict=True,
        )
        x = recipe.put(ops.Slice(starts=starts, stops=stops), x)
        pairs = [(max(0, one), max(0, two)) for one, two in pairs]
    number = recipe.get("value", 0.0) if value is None else float(recipe.array(value).reshape(()))
    return recipe.put(ops.Pad(pads=tuple(pairs), mode=mode, value=number), x)


@node("Expand", implied=("shape",))
def expand(recipe: Node, x: Value, shape: Value) -> Ref:
    return recipe.put(ops.Expand(shape=recipe.outputs[0].shape), x)


@node("Tile")
def tile(recipe: Node, x: Value, repeats: Value) -> Ref:
    return recipe.put(ops.Tile(repeats=tuple(int(one) for one in recipe.array(repeats))), x)


@node("Gather")
def gather(recipe: Node, x: Value, indices: Value) -> Ref:
    return recipe.put(ops.Gather(axis=recipe.get("axis", 0)), x, indices)


@node("GatherElements")
def gather_elements(recipe: Node, x: Value, indices: Value) -> Ref:
    return recipe.put(ops.GatherElements(axis=recipe.get("axis", 0)), x, indices)


@node("GatherND")
def gather_nd(recipe: Node, x: Value, indices: Value) -> Ref:
    """With ``batch_dims`` the first indices are those of the place itself."""
    batch, shape = recipe.get("batch_dims", 0), recipe.shape(indices)
    if not batch:
        return recipe.put(ops.GatherND(), x, indices)
    own = [
        np.broadcast_to(one[..., None], (*shape[:-1], 1)).copy()
        for one in np.indices(shape[:-1])[:batch]
    ]
    whole = recipe.put(ops.Concat(axis=len(shape) - 1), *own, indices)
    return recipe.put(ops.GatherND(), x, whole)


@node("ScatterND")
def scatter_nd(recipe: Node, x: Value, indices: Value, updates: Value) -> Ref:
    return recipe.put(ops.ScatterND(reduction=_reduction(recipe)), x, indices, updates)


@node("ScatterElements", "Scatter")
def scatter_elements(recipe: Node, x: Value, indices: Value, updates: Value) -> Ref:
    return recipe.put(
        ops.ScatterElements(axis=recipe.get("axis", 0), reduction=_reduction(recipe)),
        x,
        indices,
        updates,
    )


def _reduction(recipe: Node) -> str:
    how = recipe.get("reduction", "none")
    if how not in ("none", "add", "mul", "max", "min"):
        raise Undescribed(f"reduction {how!r} has no description")
    return how


@node("Trilu")
def trilu(recipe: Node, x: Value, k: Value | None = None) -> Ref:
    return recipe.put(
        ops.Trilu(
            upper=bool(recipe.get("upper", 1)),
            k=0 if k is None else int(recipe.array(k).reshape(())),
        ),
        x,
    )


@node("DepthToSpace")
def depth_to_space(recipe: Node, x: Value) -> Ref:
    batch, channels, height, width = recipe.shape(x)
    b, deep = recipe.get("blocksize"), channels // recipe.get("blocksize") ** 2
    if recipe.get("mode", "DCR") == "DCR":
        apart, perm = (batch, b, b, deep, height, width), (0, 3, 4, 1, 5, 2)
    else:
        apart, perm = (batch, deep, b, b, height, width), (0, 1, 4, 2, 5, 3)
    return recipe.reshaped(
        recipe.put(ops.Transpose(perm=perm), recipe.put(ops.Reshape(shape=apart), x))
    )


@node("SpaceToDepth")
def space_to_depth(recipe: Node, x: Value) -> Ref:
    batch, channels, height, width = recipe.shape(x)
    b, perm = (
        recipe.get("blocksize"),
        (0, 3, 5, 1, 2, 4) if recipe.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4),
    )
    apart = recipe.put(ops.Reshape(shape=(batch, channels, height // b, b, width // b, b)), x)
    return recipe.reshaped(recipe.put(ops.Transpose(perm=perm), apart))


@node("OneHot")
def one_hot(recipe: Node, indices: Value, depth: Value, values: Value) -> Ref:
    """Along a new axis, between the two values; negative indices count from the end."""
    size, rank = int(recipe.array(depth).reshape(())), recipe.rank(indices)
    off, on = (float(one) for one in recipe.array(values))
    given = recipe.array(indices)
    if given.dtype.kind == "f":
        given, indices = given.astype(np.int64), recipe.put(ops.Cast(to="int64"), indices)
    if (given < 0).any():
        whole = recipe.put(ops.Cast(to="int64"), indices)
        later = recipe.put(ops.Add(), whole, np.asarray(size))
        indices = recipe.put(
            ops.Where(), recipe.put(ops.Less(), whole, np.asarray(0)), later, whole
        )
    found = recipe.put(ops.OneHot(depth=size), indices)
    if (off, on) != (0.0, 1.0):
        found = recipe.put(ops.Affine(gain=on - off, offset=off), found)
    axis = recipe.get("axis", -1) % (rank + 1)
    return (
        found
        if axis == rank
        else recipe.put(ops.Transpose(perm=(*range(axis), rank, *range(axis, rank))), found)
    )


@node("CenterCropPad")
def center_crop_pad(recipe: Node, x: Value, shape: Value) -> Ref:
    """Cropped, or padded with zeros, about the middle; an odd one is cropped or added at the
    end."""
    have, rank = recipe.shape(x), recipe.rank(x)
    wide = list(have)
    for axis, size in zip(recipe.get("axes", range(rank)), recipe.array(shape), strict=True):
        wide[axis] = int(size)
    starts = tuple(max(0, n - size) // 2 for n, size in zip(have, wide, strict=True))
    stops = tuple(start + min(n, size) for start, n, size in zip(starts, have, wide, strict=True))
    found = recipe.put(ops.Slice(starts=starts, stops=stops), x)
    before = [max(0, size - n) // 2 for n, size in zip(have, wide, strict=True)]
    around = tuple(
        (first, max(0, size - n) - first) for first, n, size in zip(before, have, wide, strict=True)
    )
    return (
        recipe.put(ops.Pad(pads=around, mode="constant", value=0.0), found)
        if any(map(any, around))
        else found
    )


@node("Col2Im")
def col2im(recipe: Node, x: Value, sizes: Value, kernel: Value) -> Ref:
    size, window = recipe.ints(sizes), recipe.ints(kernel)
    assert size is not None and window is not None
    ones, flat = (1,) * len(window), recipe.get("pads", (0,) * 2 * len(window))
    around = tuple(zip(flat[: len(window)], flat[len(window) :], strict=True))
    strides, dilations = (tuple(recipe.get(name, ones)) for name in ("strides", "dilations"))
    return recipe.put(
        ops.Col2Im(sizes=size, kernel=window, strides=strides, pads=around, dilations=dilations), x
    )


@node("Compress")
def compress(recipe: Node, x: Value, condition: Value) -> Ref:
    """What the condition holds for, along an axis or of all elements in a row."""
    axis = recipe.get("axis")
    size = recipe.array(x).size if axis is None else recipe.shape(x)[axis]
    # a condition may be longer
    picked = tuple(int(at) for at in np.flatnonzero(recipe.array(condition)) if at < size)
    if axis is not None:
        return recipe.put(ops.Take(axis=axis % recipe.rank(x), order=picked), x)
    return recipe.put(ops.Take(axis=0, order=picked), recipe.put(ops.Reshape(shape=(-1,)), x))


@node("ReverseSequence")
def reverse_sequence(recipe: Node, x: Value, lengths: Value) -> Ref:
    """The first steps of each sample in reverse order."""
    shape, time, batch = recipe.shape(x), recipe.get("time_axis", 0), recipe.get("batch_axis", 1)
    steps = np.arange(shape[time])
    known = recipe.array(lengths)[:, None]
    order = np.where(steps < known, known - 1 - steps, steps)
    order = order if batch < time else order.T
    whole = order.reshape(
        [shape[axis] if axis in (time, batch) else 1 for axis in range(len(shape))]
    )
    return recipe.put(ops.GatherElements(axis=time), x, np.broadcast_to(whole, shape).copy())
