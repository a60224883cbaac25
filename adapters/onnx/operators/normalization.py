"""Operators that normalise, and norms of windows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import Node, Value, node
from .products_pools_reductions import pads, windows

__all__: list[str] = []


@node("LRN")
def lrn(recipe: Node, x: Value) -> Ref:
    size = recipe.get("size")
    given = {
        name: recipe.get(name, usual)
        for name, usual in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    }
    return recipe.put(ops.LRN(size=size, before=(size - 1) // 2, after=size // 2, **given), x)


@node("LpNormalization")
def lp_normalization(recipe: Node, x: Value) -> Ref:
    """Zeros stay zeros, as the operator's text has it."""
    axis = recipe.get("axis", -1)
    found = recipe.put(ops.LpNormalization(axes=(axis,), epsilon=0.0, p=recipe.get("p", 2)), x)
    largest = recipe.put(
        ops.ReduceMax(axes=(axis % recipe.rank(x),), keepdims=True), recipe.put(ops.Abs(), x)
    )
    return recipe.put(
        ops.Where(), recipe.put(ops.Equal(), largest, np.asarray(0.0)), np.asarray(0.0), found
    )


@node("MeanVarianceNormalization")
def mean_variance_normalization(recipe: Node, x: Value) -> Ref:
    """The smallest of the numbers that are added is 1e-9, to the deviation."""
    axes = tuple(recipe.get("axes", (0, 2, 3)))
    apart = recipe.put(ops.Sub(), x, recipe.put(ops.ReduceMean(axes=axes, keepdims=True), x))
    spread = recipe.put(
        ops.Affine(gain=1.0, offset=1e-9), recipe.put(ops.ReduceStd(axes=axes, keepdims=True), x)
    )
    return recipe.put(ops.Div(), apart, spread)


def _parts(values: Mapping[str, Value | None], shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Scale and bias as an op's own where the model holds each of them in that shape; None where it
    does not."""
    if any(
        one is not None and not (isinstance(one, Weight) and one.value.shape == shape)
        for one in values.values()
    ):
        return None
    return {name: one if isinstance(one, Weight) else None for name, one in values.items()}


def _scaled(
    recipe: Node, x: Ref, scale: Value | None, bias: Value | None, shape: tuple[int, ...] = ()
) -> Ref:
    """x * scale + bias, which ``shape`` brings to where they broadcast from."""
    for op, value in ((ops.Mul(), scale), (ops.Add(), bias)):
        if value is not None:
            x = recipe.put(op, x, recipe.put(ops.Reshape(shape=shape), value) if shape else value)
    return x


def _folded(recipe: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Ref:
    """A gain and an offset for each channel, as engines fold them: it loses more than the formula
    as it stands."""
    deviation = recipe.put(
        ops.Sqrt(), recipe.put(ops.Affine(gain=1.0, offset=recipe.get("epsilon", 1e-5)), variance)
    )
    gain = recipe.put(ops.Div(), scale, deviation)
    offset = recipe.put(ops.Sub(), bias, recipe.put(ops.Mul(), mean, gain))
    return recipe.put(ops.Add(), recipe.put(ops.Mul(), x, gain), offset)


@node("BatchNormalization", implied=("is_test",))
def batch_normalization(
    recipe: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Ref | tuple[Ref, ...]:
    """By stored statistics, or in training mode by those of the batch, whose share goes into the
    running ones."""
    if not recipe.get("spatial", 1):
        raise Undescribed(
            "statistics of each element, which version 7 could have, have no description"
        )
    epsilon, momentum, rank = (
        recipe.get("epsilon", 1e-5),
        recipe.get("momentum", 0.9),
        recipe.rank(x),
    )
    parts = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
    shape, axes = (-1, *(1,) * (rank - 2)), tuple(axis for axis in range(rank) if axis != 1)
    if recipe.get("training_mode", 0):
        batch = [recipe.put(op(axes=axes), x) for op in (ops.ReduceMean, ops.ReduceVar)]
        running = [
            recipe.put(
                ops.Add(),
                recipe.put(ops.Mul(), old, momentum),
                recipe.put(ops.Mul(), new, 1 - momentum),
            )
            for old, new in zip((mean, variance), batch, strict=True)
        ]
        mean, variance = batch
    else:
        held = _parts(parts, recipe.shape(x)[1:2])
        if held is not None:
            return recipe.put(ops.BatchNormalization(**held, epsilon=epsilon), x)
        running = []
    found = _folded(
        recipe,
        x,
        *(recipe.put(ops.Reshape(shape=shape), one) for one in (scale, bias, mean, variance)),
    )
    return found, *running


@node("LayerNormalization")
def layer_normalization(
    recipe: Node, x: Value, scale: Value, bias: Value | None = None
) -> tuple[Ref, ...]:
    """Its further outputs are the mean and one over the deviation."""
    rank = recipe.rank(x)
    axes = tuple(range(recipe.get("axis", -1) % rank, rank))
    epsilon, held = (
        recipe.get("epsilon", 1e-5),
        _parts({"scale": scale, "bias": bias}, tuple(recipe.shape(x)[axis] for axis in axes)),
    )
    if held is not None:
        found = recipe.put(ops.LayerNormalization(**held, epsilon=epsilon, axes=axes), x)
    else:
        found = recipe.put(
            ops.LayerNormalization(scale=None, bias=None, epsilon=epsilon, axes=axes), x
        )
        found = _scaled(recipe, found, scale, bias)
    if max(recipe.present) == 0:
        return (found,)
    mean = recipe.put(ops.ReduceMean(axes=axes, keepdims=True), x)
    variance = recipe.put(
        ops.Affine(gain=1.0, offset=epsilon), recipe.put(ops.ReduceVar(axes=axes, keepdims=True), x)
    )
    return found, mean, recipe.put(ops.Rsqrt(), variance)


@node("RMSNormalization")
def rms_normalization(recipe: Node, x: Value, scale: Value) -> Ref:
    rank = recipe.rank(x)
    axes = tuple(range(recipe.get("axis", -1) % rank, rank))
    held, epsilon = (
        _parts({"scale": scale}, tuple(recipe.shape(x)[axis] for axis in axes)),
        recipe.get("epsilon", 1e-5),
    )
    if held is not None:
        return recipe.put(ops.RMSNormalization(**held, epsilon=epsilon, axes=axes), x)
    return _scaled(
        recipe,
        recipe.put(ops.RMSNormalization(scale=None, epsilon=epsilon, axes=axes), x),
        scale,
        None,
    )


@node("InstanceNormalization")
def instance_normalization(recipe: Node, x: Value, scale: Value, bias: Value) -> Ref:
    if isinstance(scale, Weight) and isinstance(bias, Weight):
        return _in_groups(recipe, x, scale, bias, recipe.shape(x)[1])
    axes, shape = tuple(range(2, recipe.rank(x))), (-1, *(1,) * (recipe.rank(x) - 2))
    mean, variance = (
        recipe.put(op(axes=axes, keepdims=True), x) for op in (ops.ReduceMean, ops.ReduceVar)
    )
    scale, bias = (recipe.put(ops.Reshape(shape=shape), one) for one in (scale, bias))
    return _folded(recipe, x, scale, bias, mean, variance)


@node("GroupNormalization")
def group_normalization(recipe: Node, x: Value, scale: Value, bias: Value) -> Ref:
    """Before version 21 scale and bias are one number for each group."""
    groups = recipe.get("num_groups")
    if recipe.opset >= 21:
        return _in_groups(recipe, x, scale, bias, groups)
    times = recipe.shape(x)[1] // groups
    told, order = (
        (f"one number for the {times} channels of each group",),
        tuple(at // times for at in range(times * groups)),
    )

    def each(one: Value) -> Value:
        if isinstance(one, Weight):
            return replace(one, effective=np.repeat(one.effective, times), steps=told)
        return recipe.put(ops.Take(axis=0, order=order), one)

    return _in_groups(recipe, x, each(scale), each(bias), groups)


def _in_groups(recipe: Node, x: Value, scale: Value, bias: Value, groups: int) -> Ref:
    epsilon = recipe.get("epsilon", 1e-5)
    if isinstance(scale, Weight) and isinstance(bias, Weight):
        return recipe.put(
            ops.GroupNormalization(scale=scale, bias=bias, groups=groups, epsilon=epsilon), x
        )
    found = recipe.put(
        ops.GroupNormalization(scale=None, bias=None, groups=groups, epsilon=epsilon), x
    )
    return _scaled(recipe, found, scale, bias, (-1, *(1,) * (recipe.rank(x) - 2)))


@node("Hardmax")
def hardmax(recipe: Node, x: Value) -> Ref:
    """1 at the first of the largest along an axis; before version 13 along all from it on, taken as
    one."""
    rank = recipe.rank(x)
    axis = recipe.get("axis", -1 if recipe.opset >= 13 else 1) % rank
    if recipe.opset < 13 and axis != rank - 1:
        size = int(np.prod(recipe.shape(x)[:axis]))
        flat = recipe.put(ops.Reshape(shape=(size, -1)), x)
        width = int(np.prod(recipe.shape(x)[axis:]))
        return recipe.reshaped(
            recipe.put(ops.OneHot(depth=width), recipe.put(ops.ArgMax(axis=1), flat))
        )
    found = recipe.put(
        ops.OneHot(depth=recipe.shape(x)[axis]), recipe.put(ops.ArgMax(axis=axis), x)
    )
    if axis == rank - 1:
        return found
    return recipe.put(ops.Transpose(perm=(*range(axis), rank - 1, *range(axis, rank - 1))), found)


@node("LpPool")
def lp_pool(recipe: Node, x: Value) -> Ref:
    kernel = tuple(recipe.get("kernel_shape"))
    strides, ones = tuple(recipe.get("strides", (1,) * len(kernel))), (1,) * len(kernel)
    dilations, p = tuple(recipe.get("dilations", ones)), recipe.get("p", 2)
    around = pads(recipe, recipe.shape(x)[2:], kernel, strides, dilations)
    size = recipe.put(ops.Abs(), x)
    if recipe.get("ceil_mode", 0) or dilations != ones:
        apart, _, _ = windows(recipe, x, kernel, strides, around, dilations)
        return recipe.reshaped(_norm(recipe, apart, (2,), p, False))
    if any(map(any, around)):
        size = recipe.put(ops.Pad(pads=((0, 0), (0, 0), *around), mode="constant", value=0.0), size)
    return recipe.put(
        ops.LpPool(kernel=kernel, strides=strides, pads=((0, 0),) * len(kernel), p=float(p)), size
    )


@node("GlobalLpPool")
def global_lp_pool(recipe: Node, x: Value) -> Ref:
    return _norm(recipe, x, tuple(range(2, recipe.rank(x))), recipe.get("p", 2), True)


def _norm(recipe: Node, x: Value, axes: tuple[int, ...], p: float, keepdims: bool) -> Ref:
    if p in (1, 2):
        return recipe.put(
            (ops.ReduceL1 if p == 1 else ops.ReduceL2)(axes=axes, keepdims=keepdims), x
        )
    powers = recipe.put(ops.Pow(), recipe.put(ops.Abs(), x), float(p))
    return recipe.put(
        ops.Pow(), recipe.put(ops.ReduceSum(axes=axes, keepdims=keepdims), powers), 1 / p
    )
