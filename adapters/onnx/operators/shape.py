"""Operators that move, pick, repeat and overwrite elements."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__ = ["pad", "sliced"]


@node("Reshape", implied=("allowzero", "shape"))
@node("Flatten", implied=("axis",))
@node("Squeeze", "Unsqueeze", implied=("axes",))
def reshape(build: NodeBuilder, x: Value, *rest: Value | None) -> Ref:
    """The elements in row-major order in the shape that the run gave them."""
    return build.reshaped(x)


@node("Transpose")
def transpose(build: NodeBuilder, x: Value) -> Ref:
    return build.add(
        ops.Transpose(perm=tuple(build.get("perm", reversed(range(build.rank(x)))))), x
    )


@node("Concat")
def concat(build: NodeBuilder, *values: Value) -> Ref:
    return build.add(ops.Concat(axis=build.get("axis", 1)), *values)


@node("Split", implied=("num_outputs", "split"))
def split(build: NodeBuilder, x: Value, sizes: Value | None = None) -> tuple[Ref, ...]:
    shape, axis, parts, start = build.shape(x), build.get("axis", 0) % build.rank(x), [], 0
    for piece in build.outputs:
        stop = start + piece.shape[axis]
        starts = tuple(start if k == axis else 0 for k in range(len(shape)))
        parts.append(
            build.add(
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
    build: NodeBuilder,
    x: Value,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Ref:
    """Bounds are inputs, before version 10 attributes; beyond the ends they are cut."""
    first, last = build.ints(starts, "starts"), build.ints(ends, "ends")
    assert first is not None and last is not None
    along = build.ints(axes, "axes") or tuple(range(len(first)))
    strides = build.ints(steps) or (1,) * len(first)
    bounds = [(0, size, 1) for size in build.shape(x)]
    for axis, start, stop, step in zip(along, first, last, strides, strict=True):
        bounds[axis] = slice(start, stop, step).indices(build.shape(x)[axis])
    low, high, by = zip(*bounds, strict=True)
    return build.add(ops.Slice(low, tuple(None if stop < 0 else stop for stop in high), by), x)


@node("Pad")
def pad(
    build: NodeBuilder,
    x: Value,
    pads: Value | None = None,
    value: Value | None = None,
    axes: Value | None = None,
) -> Ref:
    amounts = build.ints(pads, "pads")
    assert amounts is not None
    rank = build.rank(x)
    along = [axis % rank for axis in build.ints(axes) or range(rank)]
    pairs = [(0, 0)] * rank
    for axis, pair in zip(
        along, zip(amounts[: len(along)], amounts[len(along) :], strict=True), strict=True
    ):
        pairs[axis] = pair
    mode = build.get("mode", "constant")
    if min(map(min, pairs)) < 0:
        if mode != "constant":
            raise Undescribed(f"negative padding in mode {mode} is not supported")
        starts, stops = zip(
            *(
                (max(0, -before), n - max(0, -after))
                for n, (before, after) in zip(build.shape(x), pairs, strict=True)
            ),
            strict=True,
        )
        x = build.add(ops.Slice(starts=starts, stops=stops), x)
        pairs = [(max(0, before), max(0, after)) for before, after in pairs]
    if value is None:
        number = build.get("value", 0.0)
    else:
        number = float(build.array(value).reshape(()))
    return build.add(ops.Pad(pads=tuple(pairs), mode=mode, value=number), x)


@node("Expand", implied=("shape",))
def expand(build: NodeBuilder, x: Value, shape: Value) -> Ref:
    return build.add(ops.Expand(shape=build.outputs[0].shape), x)


@node("Tile")
def tile(build: NodeBuilder, x: Value, repeats: Value) -> Ref:
    return build.add(ops.Tile(repeats=tuple(int(number) for number in build.array(repeats))), x)


@node("Gather")
def gather(build: NodeBuilder, x: Value, indices: Value) -> Ref:
    return build.add(ops.Gather(axis=build.get("axis", 0)), x, indices)


@node("GatherElements")
def gather_elements(build: NodeBuilder, x: Value, indices: Value) -> Ref:
    return build.add(ops.GatherElements(axis=build.get("axis", 0)), x, indices)


@node("GatherND")
def gather_nd(build: NodeBuilder, x: Value, indices: Value) -> Ref:
    """With ``batch_dims`` the first indices are those of the place itself."""
    batch, shape = build.get("batch_dims", 0), build.shape(indices)
    if not batch:
        return build.add(ops.GatherND(), x, indices)
    own = [
        np.broadcast_to(grid[..., None], (*shape[:-1], 1)).copy()
        for grid in np.indices(shape[:-1])[:batch]
    ]
    whole = build.add(ops.Concat(axis=len(shape) - 1), *own, indices)
    return build.add(ops.GatherND(), x, whole)


@node("ScatterND")
def scatter_nd(build: NodeBuilder, x: Value, indices: Value, updates: Value) -> Ref:
    return build.add(ops.ScatterND(reduction=_reduction(build)), x, indices, updates)


@node("ScatterElements", "Scatter")
def scatter_elements(build: NodeBuilder, x: Value, indices: Value, updates: Value) -> Ref:
    return build.add(
        ops.ScatterElements(axis=build.get("axis", 0), reduction=_reduction(build)),
        x,
        indices,
        updates,
    )


def _reduction(build: NodeBuilder) -> str:
    how: str = build.get("reduction", "none")
    if how not in ("none", "add", "mul", "max", "min"):
        raise Undescribed(f"reduction={how!r} is not supported")
    return how


@node("Trilu")
def trilu(build: NodeBuilder, x: Value, k: Value | None = None) -> Ref:
    return build.add(
        ops.Trilu(
            upper=bool(build.get("upper", 1)), k=0 if k is None else int(build.array(k).reshape(()))
        ),
        x,
    )


@node("DepthToSpace")
def depth_to_space(build: NodeBuilder, x: Value) -> Ref:
    batch, channels, height, width = build.shape(x)
    b, deep = build.get("blocksize"), channels // build.get("blocksize") ** 2
    if build.get("mode", "DCR") == "DCR":
        apart, perm = (batch, b, b, deep, height, width), (0, 3, 4, 1, 5, 2)
    else:
        apart, perm = (batch, deep, b, b, height, width), (0, 1, 4, 2, 5, 3)
    return build.reshaped(
        build.add(ops.Transpose(perm=perm), build.add(ops.Reshape(shape=apart), x))
    )


@node("SpaceToDepth")
def space_to_depth(build: NodeBuilder, x: Value) -> Ref:
    batch, channels, height, width = build.shape(x)
    b, perm = (
        build.get("blocksize"),
        (0, 3, 5, 1, 2, 4) if build.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4),
    )
    apart = build.add(ops.Reshape(shape=(batch, channels, height // b, b, width // b, b)), x)
    return build.reshaped(build.add(ops.Transpose(perm=perm), apart))


@node("OneHot")
def one_hot(build: NodeBuilder, indices: Value, depth: Value, values: Value) -> Ref:
    """Along a new axis, between the two values; negative indices count from the end."""
    size, rank = int(build.array(depth).reshape(())), build.rank(indices)
    off, on = (float(number) for number in build.array(values))
    given = build.array(indices)
    if given.dtype.kind == "f":
        given, indices = given.astype(np.int64), build.add(ops.Cast(to="int64"), indices)
    if (given < 0).any():
        whole = build.add(ops.Cast(to="int64"), indices)
        later = build.add(ops.Add(), whole, np.asarray(size))
        indices = build.add(ops.Where(), build.add(ops.Less(), whole, np.asarray(0)), later, whole)
    found = build.add(ops.OneHot(depth=size), indices)
    if (off, on) != (0.0, 1.0):
        found = build.add(ops.Affine(gain=on - off, offset=off), found)
    axis = build.get("axis", -1) % (rank + 1)
    if axis == rank:
        return found
    return build.add(ops.Transpose(perm=(*range(axis), rank, *range(axis, rank))), found)


@node("CenterCropPad")
def center_crop_pad(build: NodeBuilder, x: Value, shape: Value) -> Ref:
    """Cropped, or padded with zeros, about the middle; an odd one is cropped or added at the
    end."""
    have, rank = build.shape(x), build.rank(x)
    wide = list(have)
    for axis, size in zip(build.get("axes", range(rank)), build.array(shape), strict=True):
        wide[axis] = int(size)
    starts = tuple(max(0, n - size) // 2 for n, size in zip(have, wide, strict=True))
    stops = tuple(start + min(n, size) for start, n, size in zip(starts, have, wide, strict=True))
    found = build.add(ops.Slice(starts=starts, stops=stops), x)
    before = [max(0, size - n) // 2 for n, size in zip(have, wide, strict=True)]
    around = tuple(
        (first, max(0, size - n) - first) for first, n, size in zip(before, have, wide, strict=True)
    )
    if any(map(any, around)):
        return build.add(ops.Pad(pads=around, mode="constant", value=0.0), found)
    return found


@node("Col2Im")
def col2im(build: NodeBuilder, x: Value, sizes: Value, kernel: Value) -> Ref:
    size, window = build.ints(sizes), build.ints(kernel)
    assert size is not None and window is not None
    ones, flat = (1,) * len(window), build.get("pads", (0,) * 2 * len(window))
    around = tuple(zip(flat[: len(window)], flat[len(window) :], strict=True))
    strides, dilations = (tuple(build.get(name, ones)) for name in ("strides", "dilations"))
    return build.add(
        ops.Col2Im(sizes=size, kernel=window, strides=strides, pads=around, dilations=dilations), x
    )


@node("Compress")
def compress(build: NodeBuilder, x: Value, condition: Value) -> Ref:
    """What the condition holds for, along an axis or of all elements in a row."""
    axis = build.get("axis")
    size = build.array(x).size if axis is None else build.shape(x)[axis]
    # a condition may be longer
    picked = tuple(int(at) for at in np.flatnonzero(build.array(condition)) if at < size)
    if axis is not None:
        return build.add(ops.Take(axis=axis % build.rank(x), order=picked), x)
    return build.add(ops.Take(axis=0, order=picked), build.add(ops.Reshape(shape=(-1,)), x))


@node("ReverseSequence")
def reverse_sequence(build: NodeBuilder, x: Value, lengths: Value) -> Ref:
    """The first steps of each sample in reverse order."""
    shape, time, batch = build.shape(x), build.get("time_axis", 0), build.get("batch_axis", 1)
    steps = np.arange(shape[time])
    known = build.array(lengths)[:, None]
    order = np.where(steps < known, known - 1 - steps, steps)
    if batch >= time:
        order = order.T
    whole = order.reshape(
        [shape[axis] if axis in (time, batch) else 1 for axis in range(len(shape))]
    )
    return build.add(ops.GatherElements(axis=time), x, np.broadcast_to(whole, shape).copy())
