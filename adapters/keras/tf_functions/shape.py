"""TensorFlow's functions that move, pick, repeat and join elements, as Keras 2 records them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.op_builder import Chain
from .arithmetic import function


@function("__operators__.getitem")
def _getitem(chain, argument):
    return chain.getitem(argument("tensor"), _key(argument("slice_spec")))


def _key(spec: Any) -> Any:
    """Keras 2 keeps slices as dictionaries."""
    if isinstance(spec, Mapping):
        return slice(*(spec.get(name) for name in ("start", "stop", "step")))
    return [_key(one) for one in spec] if isinstance(spec, list | tuple) else spec


@function("compat.v1.shape", "shape")
def _shape(chain, argument):
    shape = chain.shape(argument("input"))
    return chain.place(ops.Constant(value=np.array(shape, np.int64)), (len(shape),))


@function("reshape")
def _reshape(chain, argument):
    return chain.reshape(chain.ref(argument("tensor")), chain.ints(argument("shape")))


@function("compat.v1.transpose", "transpose")
def _transpose(chain, argument):
    perm = argument("perm")
    return chain.transpose(argument("a"), None if perm is None else chain.ints(perm))


@function("expand_dims", "compat.v1.expand_dims")
def _expand_dims(chain, argument):
    return chain.expand_dims(argument("input"), chain.ints(argument("axis", "dim"))[0])


@function("compat.v1.squeeze", "squeeze")
def _squeeze(chain, argument):
    axis = argument("axis", "squeeze_dims")
    return chain.squeeze(argument("input"), None if axis is None else chain.ints(axis))


@function("concat")
def _concat(chain, argument):
    return chain.concat(
        [chain.ref(one) for one in argument("values")], chain.ints(argument("axis"))[0]
    )


@function("stack")
def _stack(chain, argument):
    return chain.stack([chain.ref(one) for one in argument("values")], argument("axis", default=0))


@function("split")
def _split(chain, argument):
    parts = argument("num_or_size_splits")
    return chain.split(
        argument("value"),
        parts if isinstance(parts, int) else chain.ints(parts),
        argument("axis", default=0),
    )


@function("unstack")
def _unstack(chain, argument):
    x, axis = argument("value"), chain.axes(argument("value"), argument("axis", default=0))[0]
    return [chain.squeeze(one, axis) for one in chain.split(x, chain.shape(x)[axis], axis)]


@function("tile", "compat.v1.tile")
def _tile(chain, argument):
    x, repeats = argument("input"), chain.ints(argument("multiples"))
    shape = [size * times for size, times in zip(chain.shape(x), repeats, strict=True)]
    return chain.add(ops.Tile(repeats=tuple(repeats)), x, shape=shape)


@function("repeat")
def _repeat(chain, argument):
    x, axis = argument("input"), argument("axis")
    x, axis = (chain.reshape(x, (-1,)), 0) if axis is None else (x, chain.axes(x, axis)[0])
    repeats = chain.ints(argument("repeats"))
    places = np.repeat(
        np.arange(chain.shape(x)[axis]), repeats[0] if len(repeats) == 1 else repeats
    )
    return chain.take(x, chain.ref(places), axis)


@function("broadcast_to")
def _broadcast_to(chain, argument):
    return chain.expand(argument("input"), chain.ints(argument("shape")))


@function("compat.v1.pad", "pad")
def _pad(chain, argument):
    x, flat = argument("tensor"), chain.ints(np.asarray(argument("paddings")))
    pads = tuple(zip(flat[::2], flat[1::2], strict=True))
    mode, value = (
        argument("mode", default="CONSTANT").lower(),
        argument("constant_values", default=0),
    )
    if isinstance(value, Ref):
        raise Undescribed("it pads with a tensor")
    shape = [size + sum(pair) for size, pair in zip(chain.shape(x), pads, strict=True)]
    return chain.add(ops.Pad(pads=pads, mode=mode, value=float(value)), x, shape=shape)


@function("cast")
def _cast(chain, argument):
    dtype = argument("dtype")
    return chain.add(ops.Cast(to=str(getattr(dtype, "name", dtype))), chain.ref(argument("x")))


@function("where", "compat.v1.where")
def _where(chain, argument):
    if argument("x") is None:
        raise Undescribed("it gives places and not values")
    return chain.add(
        ops.Where(), chain.ref(argument("condition")), *chain.pair(argument("x"), argument("y"))
    )


def _like(value: float) -> Any:
    return lambda chain, argument: chain.like(argument("input", "tensor"), value)


function("zeros_like", "compat.v1.zeros_like")(_like(0.0))
function("ones_like", "compat.v1.ones_like")(_like(1.0))


@function("gather", "compat.v1.gather")
def _gather(chain, argument):
    if argument("batch_dims", default=0):
        raise Undescribed("it gathers within each sample")
    return chain.take(
        chain.ref(argument("params")), chain.ref(argument("indices")), argument("axis", default=0)
    )


@function("slice")
def _slice(chain, argument):
    starts, sizes = chain.ints(argument("begin")), chain.ints(argument("size"))
    return chain.sliced(
        argument("input_"),
        [
            slice(at, None if size < 0 else at + size)
            for at, size in zip(starts, sizes, strict=True)
        ],
    )


@function("reverse")
def _reverse(chain, argument):
    x, over = argument("tensor"), chain.axes(argument("tensor"), chain.ints(argument("axis")))
    return chain.sliced(
        x,
        [
            slice(None, None, -1) if axis in over else slice(None)
            for axis in range(len(chain.shape(x)))
        ],
    )


def _places(kind: type[ops.ArgMax] | type[ops.ArgMin]) -> Any:
    def body(chain: Chain, argument: Any) -> Ref:
        x = argument("input")
        axis = chain.axes(x, argument("axis", "dimension", default=0))[0]
        shape = chain.shape(x)
        return chain.add(kind(axis=axis), x, shape=(*shape[:axis], *shape[axis + 1 :]))

    return body


function("math.argmax", "compat.v1.argmax")(_places(ops.ArgMax))
function("math.argmin", "compat.v1.argmin")(_places(ops.ArgMin))


@function("math.top_k")
def _top_k(chain, argument):
    x, k = argument("input"), argument("k", default=1)
    if argument("sorted") is False:
        raise Undescribed("it gives them in no order")
    shape = chain.shape(x)
    best = chain.add(ops.TopK(k=int(k), axis=len(shape) - 1), x, shape=(*shape[:-1], int(k)))
    return [best, Ref(best.step, 1)]


@function("math.cumsum")
def _cumsum(chain, argument):
    if argument("exclusive") or argument("reverse"):
        raise Undescribed("it adds up backwards, or without the element itself")
    return chain.add(
        ops.CumSum(axis=chain.axes(argument("x"), argument("axis", default=0))[0]), argument("x")
    )


@function("one_hot")
def _one_hot(chain, argument):
    x, depth = argument("indices"), chain.ints(argument("depth"))[0]
    if (
        argument("on_value", default=1) != 1
        or argument("off_value", default=0) != 0
        or argument("axis", default=-1) not in (None, -1)
    ):
        raise Undescribed("it is no plain one-hot form")
    return chain.add(ops.OneHot(depth=depth), x, shape=(*chain.shape(x), depth))


def _blocks(apart: bool) -> Any:
    """Channels to squares of pixels, or back, as DCR does: the block's place is the outer part of
    the channel."""

    def body(chain: Chain, argument: Any) -> Ref:
        if argument("data_format", default="NHWC") != "NHWC":
            raise Undescribed("its data_format is not NHWC")
        x, k = argument("input"), int(argument("block_size"))
        batch, height, width, channels = chain.shape(x)
        if apart:
            parts = chain.transpose(
                chain.reshape(x, (batch, height, width, k, k, channels // k**2)), (0, 1, 3, 2, 4, 5)
            )
            return chain.reshape(parts, (batch, height * k, width * k, channels // k**2))
        parts = chain.transpose(
            chain.reshape(x, (batch, height // k, k, width // k, k, channels)), (0, 1, 3, 2, 4, 5)
        )
        return chain.reshape(parts, (batch, height // k, width // k, channels * k**2))

    return body


function("nn.depth_to_space")(_blocks(True))
function("nn.space_to_depth")(_blocks(False))
