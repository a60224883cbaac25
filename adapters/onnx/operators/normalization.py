"""Operators that normalise, and norms of windows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node
from .products_pools_reductions import pads, windows

__all__: list[str] = []


@node("LRN")
def lrn(build: NodeBuilder, x: Value) -> Ref:
    size = build.get("size")
    given = {
        name: build.get(name, usual)
        for name, usual in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    }
    return build.add(ops.LRN(size=size, before=(size - 1) // 2, after=size // 2, **given), x)


@node("LpNormalization")
def lp_normalization(build: NodeBuilder, x: Value) -> Ref:
    """Zeros stay zeros, as the operator's text has it."""
    axis = build.get("axis", -1)
    found = build.add(ops.LpNormalization(axes=(axis,), epsilon=0.0, p=build.get("p", 2)), x)
    largest = build.add(
        ops.ReduceMax(axes=(axis % build.rank(x),), keepdims=True), build.add(ops.Abs(), x)
    )
    return build.add(
        ops.Where(), build.add(ops.Equal(), largest, np.asarray(0.0)), np.asarray(0.0), found
    )


@node("MeanVarianceNormalization")
def mean_variance_normalization(build: NodeBuilder, x: Value) -> Ref:
    """The smallest of the numbers that are added is 1e-9, to the deviation."""
    axes = tuple(build.get("axes", (0, 2, 3)))
    apart = build.add(ops.Sub(), x, build.add(ops.ReduceMean(axes=axes, keepdims=True), x))
    spread = build.add(
        ops.Affine(gain=1.0, offset=1e-9), build.add(ops.ReduceStd(axes=axes, keepdims=True), x)
    )
    return build.add(ops.Div(), apart, spread)


def _parts(values: Mapping[str, Value | None], shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Scale and bias as an op's own where the model holds each of them in that shape; None where it
    does not."""
    if any(
        value is not None and not (isinstance(value, Weight) and value.value.shape == shape)
        for value in values.values()
    ):
        return None
    return {name: value if isinstance(value, Weight) else None for name, value in values.items()}


def _scaled(
    build: NodeBuilder, x: Ref, scale: Value | None, bias: Value | None, shape: tuple[int, ...] = ()
) -> Ref:
    """x * scale + bias, which ``shape`` brings to where they broadcast from."""
    for op, value in ((ops.Mul(), scale), (ops.Add(), bias)):
        if value is not None:
            x = build.add(op, x, build.add(ops.Reshape(shape=shape), value) if shape else value)
    return x


def _folded(
    build: NodeBuilder, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Ref:
    """A gain and an offset for each channel, as engines fold them: it loses more than the formula
    as it stands."""
    deviation = build.add(
        ops.Sqrt(), build.add(ops.Affine(gain=1.0, offset=build.get("epsilon", 1e-5)), variance)
    )
    gain = build.add(ops.Div(), scale, deviation)
    offset = build.add(ops.Sub(), bias, build.add(ops.Mul(), mean, gain))
    return build.add(ops.Add(), build.add(ops.Mul(), x, gain), offset)


@node("BatchNormalization", implied=("is_test",))
def batch_normalization(
    build: NodeBuilder, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Ref | tuple[Ref, ...]:
    """By stored statistics, or in training mode by those of the batch, whose share goes into the
    running ones."""
    if not build.get("spatial", 1):
        raise Undescribed("statistics per element (opset 7, spatial=0) are not supported")
    epsilon, momentum, rank = (
        build.get("epsilon", 1e-5),
        build.get("momentum", 0.9),
        build.rank(x),
    )
    parts = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
    shape, axes = (-1, *(1,) * (rank - 2)), tuple(axis for axis in range(rank) if axis != 1)
    if build.get("training_mode", 0):
        batch = [build.add(op(axes=axes), x) for op in (ops.ReduceMean, ops.ReduceVar)]
        running = [
            build.add(
                ops.Add(),
                build.add(ops.Mul(), old, momentum),
                build.add(ops.Mul(), new, 1 - momentum),
            )
            for old, new in zip((mean, variance), batch, strict=True)
        ]
        mean, variance = batch
    else:
        held = _parts(parts, build.shape(x)[1:2])
        if held is not None:
            return build.add(ops.BatchNormalization(**held, epsilon=epsilon), x)
        running = []
    found = _folded(
        build,
        x,
        *(
            build.add(ops.Reshape(shape=shape), parameter)
            for parameter in (scale, bias, mean, variance)
        ),
    )
    return found, *running


@node("LayerNormalization")
def layer_normalization(
    build: NodeBuilder, x: Value, scale: Value, bias: Value | None = None
) -> tuple[Ref, ...]:
    """Its further outputs are the mean and one over the deviation."""
    rank = build.rank(x)
    axes = tuple(range(build.get("axis", -1) % rank, rank))
    epsilon, held = (
        build.get("epsilon", 1e-5),
        _parts({"scale": scale, "bias": bias}, tuple(build.shape(x)[axis] for axis in axes)),
    )
    if held is not None:
        found = build.add(ops.LayerNormalization(**held, epsilon=epsilon, axes=axes), x)
    else:
        found = build.add(
            ops.LayerNormalization(scale=None, bias=None, epsilon=epsilon, axes=axes), x
        )
        found = _scaled(build, found, scale, bias)
    if max(build.present) == 0:
        return (found,)
    mean = build.add(ops.ReduceMean(axes=axes, keepdims=True), x)
    variance = build.add(
        ops.Affine(gain=1.0, offset=epsilon), build.add(ops.ReduceVar(axes=axes, keepdims=True), x)
    )
    return found, mean, build.add(ops.Rsqrt(), variance)


@node("RMSNormalization")
def rms_normalization(build: NodeBuilder, x: Value, scale: Value) -> Ref:
    rank = build.rank(x)
    axes = tuple(range(build.get("axis", -1) % rank, rank))
    held, epsilon = (
        _parts({"scale": scale}, tuple(build.shape(x)[axis] for axis in axes)),
        build.get("epsilon", 1e-5),
    )
    if held is not None:
        return build.add(ops.RMSNormalization(**held, epsilon=epsilon, axes=axes), x)
    return _scaled(
        build,
        build.add(ops.RMSNormalization(scale=None, epsilon=epsilon, axes=axes), x),
        scale,
        None,
    )


@node("InstanceNormalization")
def instance_normalization(build: NodeBuilder, x: Value, scale: Value, bias: Value) -> Ref:
    if isinstance(scale, Weight) and isinstance(bias, Weight):
        return _in_groups(build, x, scale, bias, build.shape(x)[1])
    axes, shape = tuple(range(2, build.rank(x))), (-1, *(1,) * (build.rank(x) - 2))
    mean, variance = (
        build.add(op(axes=axes, keepdims=True), x) for op in (ops.ReduceMean, ops.ReduceVar)
    )
    scale, bias = (build.add(ops.Reshape(shape=shape), parameter) for parameter in (scale, bias))
    return _folded(build, x, scale, bias, mean, variance)


@node("GroupNormalization")
def group_normalization(build: NodeBuilder, x: Value, scale: Value, bias: Value) -> Ref:
    """Before version 21 scale and bias are one number for each group."""
    groups = build.get("num_groups")
    if build.opset >= 21:
        return _in_groups(build, x, scale, bias, groups)
    times = build.shape(x)[1] // groups
    told, order = (
        (f"one value for the {times} channels of each group",),
        tuple(at // times for at in range(times * groups)),
    )

    def each(value: Value) -> Value:
        if isinstance(value, Weight):
            return replace(value, effective=np.repeat(value.effective, times), steps=told)
        return build.add(ops.Take(axis=0, order=order), value)

    return _in_groups(build, x, each(scale), each(bias), groups)


def _in_groups(build: NodeBuilder, x: Value, scale: Value, bias: Value, groups: int) -> Ref:
    epsilon = build.get("epsilon", 1e-5)
    if isinstance(scale, Weight) and isinstance(bias, Weight):
        return build.add(
            ops.GroupNormalization(scale=scale, bias=bias, groups=groups, epsilon=epsilon), x
        )
    found = build.add(
        ops.GroupNormalization(scale=None, bias=None, groups=groups, epsilon=epsilon), x
    )
    return _scaled(build, found, scale, bias, (-1, *(1,) * (build.rank(x) - 2)))


@node("Hardmax")
def hardmax(build: NodeBuilder, x: Value) -> Ref:
    """1 at the first of the largest along an axis; before version 13 along all from it on, taken as
    one."""
    rank = build.rank(x)
    axis = build.get("axis", -1 if build.opset >= 13 else 1) % rank
    if build.opset < 13 and axis != rank - 1:
        size = int(np.prod(build.shape(x)[:axis]))
        flat = build.add(ops.Reshape(shape=(size, -1)), x)
        width = int(np.prod(build.shape(x)[axis:]))
        return build.reshaped(
            build.add(ops.OneHot(depth=width), build.add(ops.ArgMax(axis=1), flat))
        )
    found = build.add(ops.OneHot(depth=build.shape(x)[axis]), build.add(ops.ArgMax(axis=axis), x))
    if axis == rank - 1:
        return found
    return build.add(ops.Transpose(perm=(*range(axis), rank - 1, *range(axis, rank - 1))), found)


@node("LpPool")
def lp_pool(build: NodeBuilder, x: Value) -> Ref:
    kernel = tuple(build.get("kernel_shape"))
    strides, ones = tuple(build.get("strides", (1,) * len(kernel))), (1,) * len(kernel)
    dilations, p = tuple(build.get("dilations", ones)), build.get("p", 2)
    around = pads(build, build.shape(x)[2:], kernel, strides, dilations)
    size = build.add(ops.Abs(), x)
    if build.get("ceil_mode", 0) or dilations != ones:
        apart, _, _ = windows(build, x, kernel, strides, around, dilations)
        return build.reshaped(_norm(build, apart, (2,), p, False))
    if any(map(any, around)):
        size = build.add(ops.Pad(pads=((0, 0), (0, 0), *around), mode="constant", value=0.0), size)
    return build.add(
        ops.LpPool(kernel=kernel, strides=strides, pads=((0, 0),) * len(kernel), p=float(p)), size
    )


@node("GlobalLpPool")
def global_lp_pool(build: NodeBuilder, x: Value) -> Ref:
    return _norm(build, x, tuple(range(2, build.rank(x))), build.get("p", 2), True)


def _norm(build: NodeBuilder, x: Value, axes: tuple[int, ...], p: float, keepdims: bool) -> Ref:
    if p in (1, 2):
        return build.add(
            (ops.ReduceL1 if p == 1 else ops.ReduceL2)(axes=axes, keepdims=keepdims), x
        )
    powers = build.add(ops.Pow(), build.add(ops.Abs(), x), float(p))
    return build.add(
        ops.Pow(), build.add(ops.ReduceSum(axes=axes, keepdims=keepdims), powers), 1 / p
    )
