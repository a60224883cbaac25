"""Operators that normalise, and norms of windows."""

import numpy as np

from probe import ops
from probe.errors import Undescribed
from probe.layer import Ref

from .table import Node, Value, node
from .windows import pads

__all__: list[str] = []


@node("LRN")
def lrn(recipe: Node, x: Value) -> Ref:
    size = recipe.get("size")
    given = {name: recipe.get(name, usual) for name, usual in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    return recipe.put(ops.LRN(size=size, before=(size - 1) // 2, after=size // 2, **given), x)


@node("LpNormalization")
def lp_normalization(recipe: Node, x: Value) -> Ref:
    return recipe.put(ops.LpNormalization(axes=(recipe.get("axis", -1),), epsilon=0.0, p=recipe.get("p", 2)), x)


@node("MeanVarianceNormalization")
def mean_variance_normalization(recipe: Node, x: Value) -> Ref:
    """The smallest of the numbers that are added is 1e-9, to the deviation."""
    axes = tuple(recipe.get("axes", (0, 2, 3)))
    apart = recipe.put(ops.Sub(), x, recipe.put(ops.ReduceMean(axes=axes, keepdims=True), x))
    spread = recipe.put(ops.Affine(gain=1.0, offset=1e-9), recipe.put(ops.ReduceStd(axes=axes, keepdims=True), x))
    return recipe.put(ops.Div(), apart, spread)


@node("RMSNormalization")
def rms_normalization(recipe: Node, x: Value, scale: Value) -> Ref:
    rank = recipe.rank(x)
    axes = tuple(range(recipe.get("axis", -1) % rank, rank))
    held = recipe.weight("scale", scale)
    if held is None or held.value.shape != tuple(recipe.shape(x)[axis] for axis in axes):
        raise Undescribed("a scale of another shape than the axes has no description")
    return recipe.put(ops.RMSNormalization(scale=held, epsilon=recipe.get("epsilon", 1e-5), axes=axes), x)


@node("Hardmax")
def hardmax(recipe: Node, x: Value) -> Ref:
    """1 at the first of the largest along an axis; before version 13 along all from it on, taken as one."""
    rank = recipe.rank(x)
    axis = recipe.get("axis", -1 if recipe.opset >= 13 else 1) % rank
    if recipe.opset < 13 and axis != rank - 1:
        size = int(np.prod(recipe.shape(x)[:axis]))
        flat = recipe.put(ops.Reshape(shape=(size, -1)), x)
        width = int(np.prod(recipe.shape(x)[axis:]))
        return recipe.reshaped(recipe.put(ops.OneHot(depth=width), recipe.put(ops.ArgMax(axis=1), flat)))
    found = recipe.put(ops.OneHot(depth=recipe.shape(x)[axis]), recipe.put(ops.ArgMax(axis=axis), x))
    if axis == rank - 1:
        return found
    return recipe.put(ops.Transpose(perm=(*range(axis), rank - 1, *range(axis, rank - 1))), found)


@node("LpPool")
def lp_pool(recipe: Node, x: Value) -> Ref:
    kernel = tuple(recipe.get("kernel_shape"))
    strides, ones = tuple(recipe.get("strides", (1,) * len(kernel))), (1,) * len(kernel)
    if recipe.get("ceil_mode", 0) or tuple(recipe.get("dilations", ones)) != ones:
        raise Undescribed("ceil_mode and dilations have no description")
    around = pads(recipe, recipe.shape(x)[2:], kernel, strides, ones)
    size = recipe.put(ops.Abs(), x)
    if any(map(any, around)):
        size = recipe.put(ops.Pad(pads=((0, 0), (0, 0), *around), mode="constant", value=0.0), size)
    return recipe.put(ops.LpPool(kernel=kernel, strides=strides, pads=((0, 0),) * len(kernel), p=float(recipe.get("p", 2))), size)


@node("GlobalLpPool")
def global_lp_pool(recipe: Node, x: Value) -> Ref:
    axes, p = tuple(range(2, recipe.rank(x))), recipe.get("p", 2)
    if p in (1, 2):
        return recipe.put((ops.ReduceL1 if p == 1 else ops.ReduceL2)(axes=axes, keepdims=True), x)
    powers = recipe.put(ops.Pow(), recipe.put(ops.Abs(), x), float(p))
    return recipe.put(ops.Pow(), recipe.put(ops.ReduceSum(axes=axes, keepdims=True), powers), 1 / p)
