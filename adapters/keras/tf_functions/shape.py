"""TensorFlow's functions that move, pick, repeat and join elements, as Keras 2 records them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.op_builder import OpBuilder
from ..describe.ordered import extreme_place, on_one_axis, top_k
from ..describe.rearranged import flipped, padded, sliced_by_size, tiled
from ..describe.windows import depth_to_space, space_to_depth
from .arithmetic import Argument, function


@function("__operators__.getitem")
def _getitem(build: OpBuilder, argument: Argument) -> Ref:
    return build.getitem(argument("tensor"), _key(argument("slice_spec")))


def _key(spec: Any) -> Any:
    """Keras 2 keeps slices as dictionaries."""
    if isinstance(spec, Mapping):
        return slice(*(spec.get(name) for name in ("start", "stop", "step")))
    if isinstance(spec, list | tuple):
        return [_key(entry) for entry in spec]
    return spec


@function("compat.v1.shape", "shape")
def _shape(build: OpBuilder, argument: Argument) -> Ref:
    shape = build.shape(argument("input"))
    return build.ref(np.array(shape, np.int64))


@function("reshape")
def _reshape(build: OpBuilder, argument: Argument) -> Ref:
    return build.reshape(build.ref(argument("tensor")), build.ints(argument("shape")))


@function("compat.v1.transpose", "transpose")
def _transpose(build: OpBuilder, argument: Argument) -> Ref:
    perm = argument("perm")
    return build.transpose(argument("a"), None if perm is None else build.ints(perm))


@function("expand_dims", "compat.v1.expand_dims")
def _expand_dims(build: OpBuilder, argument: Argument) -> Ref:
    return build.expand_dims(argument("input"), build.ints(argument("axis", "dim"))[0])


@function("compat.v1.squeeze", "squeeze")
def _squeeze(build: OpBuilder, argument: Argument) -> Ref:
    axis = argument("axis", "squeeze_dims")
    return build.squeeze(argument("input"), None if axis is None else build.ints(axis))


@function("concat")
def _concat(build: OpBuilder, argument: Argument) -> Ref:
    return build.concat(
        [build.ref(part) for part in argument("values")], build.ints(argument("axis"))[0]
    )


@function("stack")
def _stack(build: OpBuilder, argument: Argument) -> Ref:
    return build.stack(
        [build.ref(part) for part in argument("values")], argument("axis", default=0)
    )


@function("split")
def _split(build: OpBuilder, argument: Argument) -> list[Ref]:
    parts = argument("num_or_size_splits")
    return build.split(
        argument("value"),
        parts if isinstance(parts, int) else build.ints(parts),
        argument("axis", default=0),
    )


@function("unstack")
def _unstack(build: OpBuilder, argument: Argument) -> list[Ref]:
    x, axis = argument("value"), build.axes(argument("value"), argument("axis", default=0))[0]
    return [build.squeeze(part, axis) for part in build.split(x, build.shape(x)[axis], axis)]


@function("tile", "compat.v1.tile")
def _tile(build: OpBuilder, argument: Argument) -> Ref:
    x, repeats = argument("input"), build.ints(argument("multiples"))
    return tiled(build, x, repeats)


@function("repeat")
def _repeat(build: OpBuilder, argument: Argument) -> Ref:
    x, axis = on_one_axis(build, argument("input"), argument("axis"))
    repeats = build.ints(argument("repeats"))
    places = np.repeat(
        np.arange(build.shape(x)[axis]), repeats[0] if len(repeats) == 1 else repeats
    )
    return build.take(x, build.ref(places), axis)


@function("broadcast_to")
def _broadcast_to(build: OpBuilder, argument: Argument) -> Ref:
    return build.expand(argument("input"), build.ints(argument("shape")))


@function("compat.v1.pad", "pad")
def _pad(build: OpBuilder, argument: Argument) -> Ref:
    x, flat = argument("tensor"), build.ints(np.asarray(argument("paddings")))
    pads = tuple(zip(flat[::2], flat[1::2], strict=True))
    mode, value = (
        argument("mode", default="CONSTANT").lower(),
        argument("constant_values", default=0),
    )
    if isinstance(value, Ref):
        raise Undescribed("padding with a tensor is not supported")
    return padded(build, x, pads, mode, float(value))


@function("cast")
def _cast(build: OpBuilder, argument: Argument) -> Ref:
    dtype = argument("dtype")
    return build.add(ops.Cast(to=str(getattr(dtype, "name", dtype))), argument("x"))


@function("where", "compat.v1.where")
def _where(build: OpBuilder, argument: Argument) -> Ref:
    if argument("x") is None:
        raise Undescribed("it returns indices, not values")
    return build.add(
        ops.Where(), build.ref(argument("condition")), *build.pair(argument("x"), argument("y"))
    )


def _like(value: float) -> Callable[[OpBuilder, Argument], Ref]:
    return lambda build, argument: build.like(argument("input", "tensor"), value)


function("zeros_like", "compat.v1.zeros_like")(_like(0.0))
function("ones_like", "compat.v1.ones_like")(_like(1.0))


@function("gather", "compat.v1.gather")
def _gather(build: OpBuilder, argument: Argument) -> Ref:
    if argument("batch_dims", default=0):
        raise Undescribed("gathering per sample (batch_dims) is not supported")
    return build.take(
        build.ref(argument("params")), build.ref(argument("indices")), argument("axis", default=0)
    )


@function("slice")
def _slice(build: OpBuilder, argument: Argument) -> Ref:
    starts, sizes = build.ints(argument("begin")), build.ints(argument("size"))
    return sliced_by_size(build, argument("input_"), starts, sizes)


@function("reverse")
def _reverse(build: OpBuilder, argument: Argument) -> Ref:
    x, over = argument("tensor"), build.axes(argument("tensor"), build.ints(argument("axis")))
    return flipped(build, x, over)


def _places(kind: type[ops.ArgMax] | type[ops.ArgMin]) -> Callable[[OpBuilder, Argument], Ref]:
    def body(build: OpBuilder, argument: Any) -> Ref:
        x = argument("input")
        axis = build.axes(x, argument("axis", "dimension", default=0))[0]
        return extreme_place(build, kind, x, axis)

    return body


function("math.argmax", "compat.v1.argmax")(_places(ops.ArgMax))
function("math.argmin", "compat.v1.argmin")(_places(ops.ArgMin))


@function("math.top_k")
def _top_k(build: OpBuilder, argument: Argument) -> list[Ref]:
    x, k = argument("input"), argument("k", default=1)
    if argument("sorted") is False:
        raise Undescribed("unsorted top_k is not supported")
    return top_k(build, x, int(k))


@function("math.cumsum")
def _cumsum(build: OpBuilder, argument: Argument) -> Ref:
    if argument("exclusive") or argument("reverse"):
        raise Undescribed("reverse and exclusive cumulative sums are not supported")
    return build.add(
        ops.CumSum(axis=build.axes(argument("x"), argument("axis", default=0))[0]), argument("x")
    )


@function("one_hot")
def _one_hot(build: OpBuilder, argument: Argument) -> Ref:
    x, depth = argument("indices"), build.ints(argument("depth"))[0]
    if (
        argument("on_value", default=1) != 1
        or argument("off_value", default=0) != 0
        or argument("axis", default=-1) not in (None, -1)
    ):
        raise Undescribed("only the plain one-hot form is supported")
    return build.add(ops.OneHot(depth=depth), x, shape=(*build.shape(x), depth))


def _blocks(moved: Callable[[OpBuilder, Ref, int], Ref]) -> Callable[[OpBuilder, Argument], Ref]:
    def body(build: OpBuilder, argument: Any) -> Ref:
        if argument("data_format", default="NHWC") != "NHWC":
            raise Undescribed("only data_format NHWC is supported")
        return moved(build, argument("input"), int(argument("block_size")))

    return body


function("nn.depth_to_space")(_blocks(depth_to_space))
function("nn.space_to_depth")(_blocks(space_to_depth))
