"""The operations of keras.ops that put elements elsewhere by their places, make new tensors, and
multiply all by all."""

import re
from itertools import chain as joined
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.windows import Kernel, SlidingWindow, convolved
from .arithmetic import operation


@operation("Rot90", "Fliplr", "Flipud", "Diag", "Diagflat", "Diagonal", "Trace")
def _moved(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    numbers = np.arange(1, prod(call.shape) + 1).reshape(call.shape)
    match type(op).__name__:
        case "Rot90":
            found = np.rot90(numbers, op.k, op.axes)
        case "Fliplr" | "Flipud" as kind:
            found = np.flip(numbers, 1 if kind == "Fliplr" else 0)
        case "Diag":
            found = np.diag(numbers, op.k)
        case "Diagflat":
            found = np.diagflat(numbers, op.k)
        case _:
            found = np.diagonal(numbers, op.offset, op.axis1, op.axis2)
    picked = build.picked(Ref(-1), found - 1)
    if type(op).__name__ == "Trace":
        return build.reduce(ops.ReduceSum, picked, -1, False)
    return picked


@operation("ExtractSequences")
def _extract_sequences(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    count = 1 + (call.shape[-1] - op.sequence_length) // op.sequence_stride
    places = np.arange(count)[:, None] * op.sequence_stride + np.arange(op.sequence_length)
    return build.take(Ref(-1), build.ref(places), len(call.shape) - 1)


@operation("Rearrange")
def _rearrange(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """ "b (h w) c -> b c h w": the axes taken apart, brought into order, put together."""
    before, after = (
        [re.findall(r"\w+", group) for group in re.findall(r"\(.*?\)|\w+", side)]
        for side in call.arguments["pattern"].split("->")
    )
    sizes = {
        name: int(size)
        for name, size in call.arguments.items()
        if name not in ("tensor", "pattern")
    }
    if len(before) != len(call.shape) or "..." in call.arguments["pattern"]:
        raise Undescribed(f"the pattern {call.arguments['pattern']!r} is not supported")
    for names, size in zip(before, call.shape, strict=True):
        unknown = [name for name in names if name not in sizes]
        sizes.update(
            dict.fromkeys(unknown, size // prod(sizes[name] for name in names if name in sizes))
        )
    flat = list(joined.from_iterable(before))
    apart = build.reshape(Ref(-1), [sizes[name] for name in flat])
    turned = build.transpose(apart, [flat.index(name) for name in joined.from_iterable(after)])
    return build.reshape(turned, [prod(sizes[name] for name in names) for names in after])


@operation("Hstack", "Vstack", "Dstack")
def _stacked(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    kind, parts = type(op).__name__, [build.ref(part) for part in call.arguments["xs"]]
    if kind == "Hstack":
        return build.concat(parts, min(1, len(build.shape(parts[0])) - 1))
    if kind == "Vstack":
        if any(len(build.shape(part)) < 2 for part in parts):
            raise Undescribed(
                "inputs with fewer than two axes are not supported, since the backends differ"
            )
        return build.concat(parts, 0)
    shapes = {0: (1, 1, 1), 1: (1, -1, 1), 2: (*build.shape(parts[0]), 1)}
    return build.concat(
        [
            build.reshape(part, shapes.get(len(build.shape(part)), build.shape(part)))
            for part in parts
        ],
        2,
    )


@operation("Append")
def _append(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    parts = list(build.pair(call.arguments["x1"], call.arguments["x2"]))
    if op.axis is None:
        return build.concat([build.reshape(part, (-1,)) for part in parts], 0)
    return build.concat(parts, op.axis)


@describes("ops.Meshgrid")
def _meshgrid(op: Any, call: KerasCall) -> Description:
    build = OpBuilder(call)
    parts = [build.ref(line) for line in call.arguments["x"]]
    sizes = [prod(build.shape(part)) for part in parts]
    axes = list(range(len(parts)))
    if op.indexing == "xy" and len(parts) > 1:
        axes[:2] = [1, 0]
    shape = [0] * len(parts)
    for axis, size in zip(axes, sizes, strict=True):
        shape[axis] = size
    lines = [
        build.reshape(part, [-1 if k == axis else 1 for k in range(len(parts))])
        for part, axis in zip(parts, axes, strict=True)
    ]
    return Description(build.ended(*(build.expand(line, shape) for line in lines)))


@operation("Outer")
def _outer(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    left, right = build.pair(call.arguments["x1"], call.arguments["x2"])
    return build.add(ops.Mul(), build.reshape(left, (-1, 1)), build.reshape(right, (1, -1)))


@operation("Kron")
def _kron(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    left, right = build.pair(call.arguments["x1"], call.arguments["x2"])
    rank = max(len(build.shape(left)), len(build.shape(right)))
    one, other = ((1,) * (rank - len(build.shape(ref))) + build.shape(ref) for ref in (left, right))
    wide = [
        build.reshape(left, [size for n in one for size in (n, 1)]),
        build.reshape(right, [size for n in other for size in (1, n)]),
    ]
    return build.reshape(
        build.add(ops.Mul(), *wide), [a * b for a, b in zip(one, other, strict=True)]
    )


@operation("Inner", "Vdot")
def _inner(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The sums of products along the last axes, or of all elements."""
    left, right = build.pair(call.arguments["x1"], call.arguments["x2"])
    if type(op).__name__ == "Vdot":
        left, right = (build.reshape(ref, (-1,)) for ref in (left, right))
    if not build.shape(left) or not build.shape(right):
        return build.add(ops.Mul(), left, right)
    first, second = (build.shape(ref) for ref in (left, right))
    letters = "abcdefghijklmnopqrstuvwxy"
    mine, theirs = letters[: len(first) - 1], letters[len(first) - 1 : len(first) + len(second) - 2]
    return build.add(
        ops.Einsum(equation=f"{mine}z,{theirs}z->{mine}{theirs}"),
        left,
        right,
        shape=(*first[:-1], *second[:-1]),
    )


@operation("Cross")
def _cross(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    left, right = build.pair(call.arguments["x1"], call.arguments["x2"])
    shapes, rank = [build.shape(ref) for ref in (left, right)], len(build.shape(left))
    axes = {int(place) % rank for place in (op.axisa, op.axisb, op.axisc)}
    if (
        len(shapes[1]) != rank
        or len(axes) > 1
        or any(shape[axis] != 3 for shape in shapes for axis in axes)
    ):
        raise Undescribed("only vectors of three elements along one axis are supported")
    (where,) = axes

    def product(first: list[int], second: list[int]) -> Ref:
        return build.add(
            ops.Mul(),
            *(
                build.take(ref, build.ref(np.array(by)), where)
                for ref, by in ((left, first), (right, second))
            ),
        )

    return build.add(ops.Sub(), product([1, 2, 0], [2, 0, 1]), product([2, 0, 1], [1, 2, 0]))


@operation("Correlate")
def _correlate(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Two signals moved along each other."""
    left, right = build.pair(call.arguments["x1"], call.arguments["x2"])
    (long,), (short,) = build.shape(left), build.shape(right)
    if long < short:
        raise Undescribed("a second signal longer than the first is not supported")
    before, after = {
        "valid": (0, 0),
        "full": (short - 1, short - 1),
        "same": (short // 2, short - 1 - short // 2),
    }[op.mode]
    window = SlidingWindow.padded(((before, after),), (long,), (short,))
    signal = build.reshape(left, (1, 1, long))
    kernel = Kernel(None, (build.reshape(right, (1, 1, short)),))
    return build.reshape(convolved(build, signal, window, kernel, 1), window.counts((long,)))


@operation("Full", "FullLike")
def _full(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    value = build.ref(call.arguments["fill_value"])
    return build.expand(
        value,
        op.shape if type(op).__name__ == "Full" else build.shape(build.ref(call.arguments["x"])),
    )


@operation("Array", "ConvertToTensor")
def _same(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.add(ops.Identity() if op.dtype is None else ops.Cast(to=str(op.dtype)), Ref(-1))


@operation("SaturateCast")
def _saturate_cast(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    name = str(op.dtype)
    if name == "bool":
        return build.add(ops.Cast(to="bool"), Ref(-1))
    if not name.startswith(("int8", "int16", "uint8", "uint16")):
        raise Undescribed(f"the end values of {name} have another dtype than the input")
    ends = np.iinfo(name)
    return build.add(
        ops.Cast(to=name), build.add(ops.Clip(low=float(ends.min), high=float(ends.max)), Ref(-1))
    )


@operation("Size")
def _size(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return build.ref(prod(call.shape))


@operation("Scatter")
def _scatter(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Added where several have one place."""
    indices, values = (build.ref(call.arguments[name]) for name in ("indices", "values"))
    return build.add(
        ops.ScatterND(reduction="add"), np.zeros(op.shape), indices, values, shape=op.shape
    )


@operation("ScatterUpdate")
def _scatter_update(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    if getattr(op, "reduction", None) not in (None, "add"):
        raise Undescribed(f"reduction={op.reduction!r} is not supported")
    parts = [
        build.ref(build.shaped(call.arguments[name])) for name in ("inputs", "indices", "updates")
    ]
    return build.add(
        ops.ScatterND(reduction="add" if op.reduction else "none"),
        *parts,
        shape=build.shape(parts[0]),
    )


@operation("SliceUpdate")
def _slice_update(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    x, updates = (build.ref(call.arguments[name]) for name in ("inputs", "updates"))
    shape, sizes = build.shape(x), build.shape(updates)
    starts = [
        min(max(start, 0), n - size)
        for start, n, size in zip(
            build.ints(call.arguments["start_indices"]), shape, sizes, strict=True
        )
    ]
    numbers = np.arange(prod(shape)).reshape(shape)[
        tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))
    ]
    flat = [build.reshape(ref, (-1,)) for ref in (x, updates)]
    found = build.add(
        ops.ScatterND(), flat[0], numbers.reshape(-1, 1), flat[1], shape=(prod(shape),)
    )
    return build.reshape(found, shape)


@operation("SegmentSum")
def _segment_sum(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    data, ids = (build.ref(call.arguments[name]) for name in ("data", "segment_ids"))
    if ids.step < 0:
        held = call.inputs[ids.index]
    else:
        held = np.asarray(call.arguments["segment_ids"])
    if op.num_segments is not None:
        count = int(op.num_segments)
    elif not op.sorted:
        count = len(np.unique(held))
    else:
        count = int(held.max()) + 1
    if (held < 0).any() or (held >= count).any():
        raise Undescribed("some of its segment ids are out of range")
    shape = (count, *build.shape(data)[1:])
    return build.add(
        ops.ScatterND(reduction="add"),
        build.ref(np.zeros(shape)),
        build.expand_dims(ids, -1),
        data,
        shape=shape,
    )
