"""The operations of keras.ops that move, pick, repeat and join elements, and products of
tensors."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder, as_list
from ..describe.ordered import on_one_axis, top_k
from ..describe.rearranged import einsum, flipped, padded, tiled
from .arithmetic import operation


@operation("Reshape")
def _reshape(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    shape = [-1 if size is None else int(size) for size in as_list(op.newshape)]
    return build.reshape(Ref(-1), shape)


@operation("Ravel")
def _ravel(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.reshape(Ref(-1), (-1,))


@operation("Transpose")
def _transpose(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.transpose(Ref(-1), op.axes)


@operation("Swapaxes")
def _swapaxes(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    order = list(range(len(call.shape)))
    order[op.axis1], order[op.axis2] = order[op.axis2], order[op.axis1]
    return build.transpose(Ref(-1), order)


@operation("Moveaxis")
def _moveaxis(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.transpose(Ref(-1), _moved(len(call.shape), op.source, op.destination))


def _moved(rank: int, source: Any, destination: Any) -> list[int]:
    pairs = sorted(
        (int(to) % rank, int(at) % rank) for at, to in zip(source, destination, strict=True)
    )
    order = [axis for axis in range(rank) if axis not in [at for _, at in pairs]]
    for to, at in pairs:
        order.insert(to, at)
    return order


@operation("ExpandDims")
def _expand_dims(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.expand_dims(Ref(-1), op.axis)


@operation("Squeeze")
def _squeeze(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.squeeze(Ref(-1), op.axis)


@operation("Concatenate")
def _concatenate(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.concat([build.ref(part) for part in call.arguments["xs"]], op.axis)


@operation("Stack")
def _stack(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.stack([build.ref(part) for part in call.arguments["x"]], op.axis)


@describes("ops.Split")
def _split(op: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    parts = op.indices_or_sections
    return Description(
        build.ended(
            *build.split(
                Ref(-1),
                parts if isinstance(parts, int) else tuple(int(place) for place in parts),
                op.axis,
            )
        )
    )


@describes("ops.Unstack")
def _unstack(op: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    axis = build.axes(Ref(-1), op.axis)[0]
    return Description(
        build.ended(
            *(build.squeeze(part, axis) for part in build.split(Ref(-1), call.shape[axis], axis))
        )
    )


@operation("GetItem")
def _get_item(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.getitem(Ref(-1), call.arguments["key"])


@operation("Take")
def _take(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.take(Ref(-1), build.ref(call.arguments["indices"]), op.axis)


@operation("TakeAlongAxis")
def _take_along_axis(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    indices = build.ref(call.arguments["indices"])
    if op.axis is None or len(build.shape(indices)) != len(call.shape):
        raise Undescribed("its indices and its input have different numbers of axes")
    return build.add(
        ops.GatherElements(axis=build.axes(Ref(-1), op.axis)[0]),
        Ref(-1),
        indices,
        shape=build.shape(indices),
    )


@operation("Slice")
def _slice(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    starts = [int(place) for place in call.arguments["start_indices"]]
    sizes = getattr(op, "shape", None) or call.arguments["shape"]
    return build.sliced(
        Ref(-1),
        [slice(start, start + int(size)) for start, size in zip(starts, sizes, strict=True)],
    )


@operation("Flip")
def _flip(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    over = build.axes(Ref(-1), op.axis)
    return flipped(build, Ref(-1), over)


@operation("Roll")
def _roll(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    shape, ref = call.shape, Ref(-1)
    axes = as_list(op.axis)
    if op.axis is None:
        ref, axes = build.reshape(ref, (-1,)), [0]
    if isinstance(op.shift, list | tuple):
        shifts = op.shift
    else:
        shifts = [op.shift] * len(axes)
    for axis, shift in zip(axes, shifts, strict=True):
        size = build.shape(ref)[axis]
        if shift % size:
            at, axis = size - shift % size, axis % len(build.shape(ref))
            ref = build.concat(
                [build.part(ref, axis, at, size), build.part(ref, axis, 0, at)], axis
            )
    return build.reshape(ref, shape)


@operation("Tile")
def _tile(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    repeats = [int(times) for times in as_list(op.repeats)]
    rank = max(len(repeats), len(call.shape))
    if rank > len(call.shape):
        ref = build.reshape(Ref(-1), (*(1,) * (rank - len(call.shape)), *call.shape))
    else:
        ref = Ref(-1)
    return tiled(build, ref, [1] * (rank - len(repeats)) + repeats)


@operation("Repeat")
def _repeat(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    ref, axis = on_one_axis(build, Ref(-1), op.axis)
    places = np.repeat(np.arange(build.shape(ref)[axis]), op.repeats)
    return build.take(ref, build.ref(places), axis)


@operation("BroadcastTo")
def _broadcast_to(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.expand(
        Ref(-1),
        [
            have if size is None else size
            for size, have in zip(op.shape, _aligned(call, op.shape), strict=True)
        ],
    )


def _aligned(call: KerasCall, shape: Any) -> list[Any]:
    return [1] * (len(shape) - len(call.shape)) + list(call.shape)


@operation("Pad")
def _pad(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    pads = [(int(before), int(after)) for before, after in op.pad_width]
    if len(pads) == 1:
        pads *= len(call.shape)
    value = call.arguments.get("constant_values")
    if isinstance(value, Ref):
        raise Undescribed("padding with a tensor is not supported")
    return padded(build, Ref(-1), pads, op.mode, float(value or 0.0))


@operation("Cast")
def _cast(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(ops.Cast(to=str(op.dtype)), Ref(-1))


@operation("Where")
def _where(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if call.arguments.get("x1") is None:
        raise Undescribed("it returns indices, not values")
    return build.add(
        ops.Where(),
        build.ref(call.arguments["condition"]),
        *build.pair(call.arguments["x1"], call.arguments["x2"]),
    )


@operation("OnesLike", "ZerosLike")
def _constants(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.like(Ref(-1), float(type(op).__name__ == "OnesLike"))


@operation("Tril", "Triu")
def _triangle(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(ops.Trilu(upper=type(op).__name__ == "Triu", k=int(op.k)), Ref(-1))


@operation("Diff")
def _diff(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    ref, axis = Ref(-1), build.axes(Ref(-1), op.axis)[0]
    for _ in range(op.n):
        size = build.shape(ref)[axis]
        ref = build.add(
            ops.Sub(), build.part(ref, axis, 1, size), build.part(ref, axis, 0, size - 1)
        )
    return ref


@operation("OneHot")
def _one_hot(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if op.sparse:
        raise Undescribed("sparse outputs are not supported")
    hot = build.add(
        ops.OneHot(depth=int(op.num_classes)), Ref(-1), shape=(*call.shape, int(op.num_classes))
    )
    rank = len(call.shape) + 1
    axis = op.axis % rank
    order = [*range(rank - 1)]
    order.insert(axis, rank - 1)
    if axis == rank - 1:
        return hot
    return build.transpose(hot, order)


@describes("ops.TopK")
def _top_k(op: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    if not op.sorted:
        raise Undescribed("unsorted top_k is not supported")
    top_k(build, Ref(-1), int(op.k))
    return Description(build.ended())


@operation("Matmul")
def _matmul(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    left = build.ref(call.arguments["x1"])
    return build.product(left, build.ref(call.arguments["x2"]))


@operation("Dot")
def _dot(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    left = build.ref(call.arguments["x1"])
    right = build.ref(call.arguments["x2"])
    if len(build.shape(right)) > 2:
        raise Undescribed("a dot product over more than two axes is not supported")
    if not build.shape(left) or not build.shape(right):
        return build.add(ops.Mul(), left, right)
    return build.product(left, right)


@operation("Einsum")
def _einsum(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    operands = [build.ref(operand) for operand in call.arguments["operands"]]
    return einsum(build, op.subscripts, operands)


@operation("Tensordot")
def _tensordot(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    left, right = (build.ref(call.arguments[name]) for name in ("x1", "x2"))
    one, other = len(build.shape(left)), len(build.shape(right))
    if isinstance(op.axes, int):
        pairs = [(one - op.axes + k, k) for k in range(op.axes)]
    else:
        pairs = [
            (a % one, b % other)
            for a, b in zip(*(np.atleast_1d(axes).tolist() for axes in op.axes), strict=True)
        ]
    letters = "abcdefghijklmnopqrstuvwxyz"
    first, second = list(letters[:one]), list(letters[one : one + other])
    for a, b in pairs:
        second[b] = first[a]
    joined = [letter for letter in first + second if (letter in first) != (letter in second)]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(joined)}"
    sizes = dict(zip(first + second, build.shape(left) + build.shape(right), strict=True))
    return build.add(
        ops.Einsum(equation=equation), left, right, shape=[sizes[letter] for letter in joined]
    )
