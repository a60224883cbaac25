"""Operations of a graph of TensorFlow that move, pick, repeat and join elements."""

from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.rearranged import flipped, padded, sliced_by_size, tiled
from .node import FLOATS, GraphOperation, node, numpy_dtype


@node("Reshape")
def _reshape(n: GraphOperation) -> Ref:
    return n.build.reshape(n.ref(0), n.ints(1))


@node("Transpose")
def _transpose(n: GraphOperation) -> Ref:
    return n.build.transpose(n.ref(0), n.ints(1))


@node("ExpandDims")
def _expand_dims(n: GraphOperation) -> Ref:
    return n.build.expand_dims(n.ref(0), n.ints(1)[0])


@node("Squeeze")
def _squeeze(n: GraphOperation) -> Ref:
    return n.build.squeeze(n.ref(0), list(n.attr("squeeze_dims")))


@node("ConcatV2", "Concat")
def _concat(n: GraphOperation) -> Ref:
    first = n.kind == "Concat"
    axis = n.ints(0 if first else -1)[0]
    refs = n.refs(1) if first else n.refs(0, -1)
    filled = [ref for ref in refs if 0 not in n.build.shape(ref)] or refs[:1]
    return n.build.concat(filled, axis)


@node("Pack")
def _pack(n: GraphOperation) -> Ref:
    return n.build.stack(n.refs(), int(n.attr("axis")))


@node("Unpack")
def _unpack(n: GraphOperation) -> list[Ref]:
    build, x = n.build, n.ref(0)
    axis = int(n.attr("axis")) % len(n.shape(0))
    return [build.squeeze(part, axis) for part in build.split(x, n.shape(0)[axis], axis)]


@node("Split")
def _split(n: GraphOperation) -> list[Ref]:
    return n.build.split(n.ref(1), int(n.attr("num_split")), n.ints(0)[0])


@node("SplitV")
def _split_sizes(n: GraphOperation) -> list[Ref]:
    return n.build.split(n.ref(0), n.ints(1), n.ints(2)[0])


@node("Slice")
def _slice(n: GraphOperation) -> Ref:
    starts, sizes = n.ints(1), n.ints(2)
    return sliced_by_size(n.build, n.ref(0), starts, sizes)


@node("StridedSlice")
def _strided_slice(n: GraphOperation) -> Ref:
    starts, stops, steps = (n.ints(k) for k in (1, 2, 3))
    begins, ends, ellipsis, fresh, shrinks = (
        int(n.attr(f"{name}_mask"))
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    )
    key: list[Any] = []
    for k, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        if ellipsis >> k & 1:
            key.append(Ellipsis)
        elif fresh >> k & 1:
            key.append(None)
        elif shrinks >> k & 1:
            key.append(start)
        else:
            key.append(
                slice(None if begins >> k & 1 else start, None if ends >> k & 1 else stop, step)
            )
    return n.build.getitem(n.ref(0), key)


@node("GatherV2", "Gather", "ResourceGather")
def _gather(n: GraphOperation) -> Ref:
    """Along one axis; with ``batch_dims`` at an index of each sample's own."""
    n.seen.update(("validate_indices", "dtype"))  # of which no number depends
    many = 0 if n.kind == "Gather" else int(n.attr("batch_dims"))
    axis = n.ints(2)[0] if n.kind == "GatherV2" else 0
    build, x, places = n.build, n.ref(0), n.ref(1)
    rank, deep = len(n.shape(0)), len(n.shape(1))
    axis, many = axis % rank, many % (deep + 1) if many < 0 else many
    if not many:
        return build.take(x, places, axis)
    shape, indices = n.shape(0), n.shape(1)
    order = (*range(many), axis, *(k for k in range(many, rank) if k != axis))
    x = build.transpose(x, order)
    samples = prod(shape[:many])
    rows = build.reshape(x, (samples * shape[axis], -1))
    wide = build.reshape(places, (samples, -1))
    from_sample = np.arange(samples, dtype=np.int64)[:, None] * shape[axis]
    chosen = build.take(rows, build.add(ops.Add(), wide, from_sample), 0)
    rest = [shape[k] for k in range(many, rank) if k != axis]
    before = len([k for k in range(many, rank) if k < axis])
    found = build.reshape(chosen, (*shape[:many], *indices[many:], *rest))
    picked = deep - many
    back = [
        *range(many),
        *(many + picked + k for k in range(before)),
        *range(many, many + picked),
        *(many + picked + k for k in range(before, len(rest))),
    ]
    return build.transpose(found, back)


@node("GatherNd")
def _gather_nd(n: GraphOperation) -> Ref:
    shape, indices = n.shape(0), n.shape(1)
    return n.build.add(
        ops.GatherND(), n.ref(0), n.ref(1), shape=(*indices[:-1], *shape[indices[-1] :])
    )


@node("OneHot")
def _one_hot(n: GraphOperation) -> Ref:
    build, depth = n.build, n.ints(1)[0]
    shape = n.shape(0)
    hot = build.add(ops.OneHot(depth=depth), n.ref(0), shape=(*shape, depth))
    on, off = n.number(2), n.number(3)
    if (on, off) != (1.0, 0.0):
        hot = build.add(ops.Where(), hot, on, off)
    if n.dtypes[0] not in FLOATS:
        hot = build.add(ops.Cast(to=n.dtypes[0]), hot)
    axis = int(n.attr("axis"))
    order = list(range(len(shape)))
    order.insert(axis % (len(shape) + 1), len(shape))
    return build.transpose(hot, order)


@node("Tile")
def _tile(n: GraphOperation) -> Ref:
    return tiled(n.build, n.ref(0), n.ints(1))


@node("BroadcastTo")
def _broadcast_to(n: GraphOperation) -> Ref:
    return n.build.expand(n.ref(0), n.ints(1))


@node("Fill")
def _fill(n: GraphOperation) -> Ref:
    return n.build.expand(n.ref(1), n.ints(0))


@node("Pad", "PadV2", "MirrorPad")
def _pad(n: GraphOperation) -> Ref:
    pads = tuple((int(before), int(after)) for before, after in n.array(1))
    value = n.number(2) if n.kind == "PadV2" else 0.0
    if n.kind == "MirrorPad":
        mode = str(n.attr("mode")).lower()
    else:
        mode = "constant"
    return padded(n.build, n.ref(0), pads, mode, value)


@node("ReverseV2")
def _reverse(n: GraphOperation) -> Ref:
    rank = len(n.shape(0))
    return flipped(n.build, n.ref(0), {axis % rank for axis in n.ints(1)})


@node("ZerosLike", "OnesLike")
def _like(n: GraphOperation) -> Ref:
    value = np.full(n.shape(0), n.kind == "OnesLike")
    return n.build.ref(value.astype(numpy_dtype(n.dtypes[0])))


@node("MatrixBandPart")
def _band_part(n: GraphOperation) -> Ref:
    """The elements not further than so far from the diagonal; further ones are 0."""
    *_, rows, columns = n.shape(0)
    lower, upper = n.ints(1)[0], n.ints(2)[0]
    apart = np.arange(columns) - np.arange(rows)[:, None]
    kept = ((lower < 0) | (-apart <= lower)) & ((upper < 0) | (apart <= upper))
    return n.build.add(ops.Where(), kept, n.ref(0), np.zeros((), numpy_dtype(n.dtypes[0])))


@node("SpaceToDepth", "DepthToSpace")
def _blocks(n: GraphOperation) -> Ref:
    for name in ("block_size", "data_format"):
        n.seen.add(name)  # by TensorFlow itself
    return n.moved()


@node(
    "BatchToSpaceND",
    "DiagPart",
    "ExtractImagePatches",
    "MatrixDiag",
    "MatrixDiagPart",
    "MatrixDiagPartV2",
    "MatrixDiagPartV3",
    "MatrixDiagV2",
    "MatrixDiagV3",
    "ReverseSequence",
    "Roll",
    "SpaceToBatchND",
    "Diag",
)
def _rearranged(n: GraphOperation) -> Ref:
    """Operations that do nothing but move elements of their first input, or fill up with zeros."""
    for k in range(1, len(n.inputs)):
        n.array(k)
    n.seen.update(("align", "batch_dim", "ksizes", "padding", "rates", "seq_dim", "strides"))
    if n.kind in ("MatrixDiagV2", "MatrixDiagV3") and n.number(4):
        raise Undescribed("padding with numbers other than 0 is not supported")
    if n.kind in ("MatrixDiagPartV2", "MatrixDiagPartV3") and n.number(2):
        raise Undescribed("padding with numbers other than 0 is not supported")
    return n.moved()


_INTO = {
    "TensorScatterAdd": "add",
    "TensorScatterMax": "max",
    "TensorScatterMin": "min",
    "TensorScatterSub": "add",
    "TensorScatterUpdate": "none",
}


@node(*_INTO)
def _scattered(n: GraphOperation) -> Ref:
    n.seen.add("bad_indices_policy")
    updates = n.ref(2)
    if n.kind == "TensorScatterSub":
        updates = n.build.add(ops.Neg(), updates)
    op = ops.ScatterND(reduction=_INTO[n.kind])
    return n.build.add(op, n.ref(0), n.ref(1), updates, shape=n.shape(0))


@node("SegmentSum", "UnsortedSegmentSum")
def _segments(n: GraphOperation) -> Ref:
    """The sum of the rows of each segment."""
    ids = n.array(1)
    if n.kind == "UnsortedSegmentSum":
        count = n.ints(2)[0]
    else:
        count = int(ids.max()) + 1
    if ids.ndim != 1 or ids.min() < 0:
        raise Undescribed("ids of more than one axis, or below 0, are not supported")
    shape = (count, *n.shape(0)[1:])
    zeros = np.zeros(shape, numpy_dtype(n.dtypes[0]))
    op = ops.ScatterND(reduction="add")
    return n.build.add(op, zeros, ids[:, None].astype(np.int64), n.ref(0), shape=shape)


@node("ScatterNd")
def _scatter(n: GraphOperation) -> Ref:
    n.seen.add("bad_indices_policy")
    shape = tuple(n.ints(2))
    zeros = np.zeros(shape, numpy_dtype(n.dtypes[0]))
    return n.build.add(ops.ScatterND(reduction="add"), zeros, n.ref(0), n.ref(1), shape=shape)
