"""Integers that stand for numbers: quantising, dequantising, and products of quantised tensors.

QLinearConv and QLinearMatMul are described as what their integers stand for: the float operator on
dequantised values, its result quantised. ConvInteger and MatMulInteger are sums of integers, and
exact.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Grid, Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node
from .products_pools_reductions import window

__all__ = ["dequantized", "floats", "product", "quantized"]


def _broadcast(part: np.ndarray, shape: tuple[int, ...], axis: int, block: int = 0) -> np.ndarray:
    """A scale or zero point so that it broadcasts against the tensor: of all of it, of each place
    on an axis, or of blocks of them."""
    if part.size == 1 and not block:
        return part.reshape(())
    if block:
        return np.repeat(part, block, axis=axis)[
            tuple(slice(n) if k == axis else slice(None) for k, n in enumerate(shape))
        ]
    return part.reshape([-1 if k == axis else 1 for k in range(len(shape))])


def dequantized(
    codes: np.ndarray,
    name: str,
    scale: np.ndarray,
    zero: np.ndarray | None,
    axis: int = 1,
    block: int = 0,
) -> Weight:
    """A weight whose integers are stored, as the numbers that they stand for."""
    size = _broadcast(scale.astype(np.float64), codes.shape, axis % max(1, codes.ndim), block)
    if zero is None:
        point = np.zeros((), np.int64)
    else:
        point = _broadcast(zero.astype(np.int64), codes.shape, axis % max(1, codes.ndim), block)
    kind, whole = codes.dtype.name, codes.astype(np.int64)
    bits = int(kind.lstrip("uint")) if kind.lstrip("uint") else 8
    if size.size == 1:
        text = f"{size.min():g}"
    else:
        text = f"{size.min():g} to {size.max():g}"
    words = f"{kind}, times scale {text}" + (", minus a zero point" if point.any() else "")
    grid = Grid(size, bits, not kind.startswith("u"), point)
    return Weight(name, whole if bits < 8 else codes, (whole - point) * size, (words,), grid=grid)


def _held(build: NodeBuilder, name: str, value: Value) -> Weight:
    found = build.weight(name, value)
    assert found is not None
    return found


def floats(
    build: NodeBuilder, x: Value, scale: Value, zero: Value | None, axis: int, block: int = 0
) -> Ref:
    """(x - zero) * scale."""
    shape = build.shape(x)
    found = build.add(ops.Cast(to="float32"), x)
    if zero is None:
        point = None
    else:
        point = _broadcast(build.array(zero).astype(np.float64), shape, axis, block)
    if point is not None and point.any():
        found = build.add(ops.Sub(), found, point)
    return build.add(
        ops.Mul(), found, _broadcast(build.array(scale).astype(np.float64), shape, axis, block)
    )


def quantized(
    build: NodeBuilder,
    x: Value,
    shape: tuple[int, ...],
    scale: Value,
    zero: Value | None,
    axis: int,
    block: int = 0,
) -> Ref:
    """round(x / scale) + zero, as far as the output's type reaches."""
    kind = build.outputs[0].dtype
    if kind.kind not in "iu":
        raise Undescribed(f"quantising to {kind.name} is not supported")
    size = _broadcast(build.array(scale), shape, axis, block)
    if zero is None:
        point = np.zeros(())
    else:
        point = _broadcast(build.array(zero).astype(np.float64), shape, axis, block)
    limits = np.iinfo(kind)
    return build.add(
        ops.QuantizeLinear(size=size, zero_point=point, low=int(limits.min), high=int(limits.max)),
        x,
    )


@node("QuantizeLinear", implied=("output_dtype", "saturate"))
def quantize(build: NodeBuilder, x: Value, scale: Value, zero: Value | None = None) -> Ref:
    axis = build.get("axis", 1) % max(1, build.rank(x))
    return quantized(build, x, build.shape(x), scale, zero, axis, build.get("block_size", 0))


@node("DequantizeLinear", implied=("output_dtype",))
def dequantize(build: NodeBuilder, x: Value, scale: Value, zero: Value | None = None) -> Ref:
    if build.array(x).dtype.kind not in "iu":
        raise Undescribed(f"{build.array(x).dtype.name} with a packed encoding is not supported")
    axis = build.get("axis", 1) % max(1, build.rank(x))
    return floats(build, x, scale, zero, axis, build.get("block_size", 0))


@node("DynamicQuantizeLinear")
def dynamic_quantize(build: NodeBuilder, x: Value) -> tuple[Ref, ...]:
    found = build.add(ops.DynamicQuantizeLinear(), x)
    return tuple(Ref(found.step, index) for index in range(3))


@node("QLinearConv", implied=("kernel_shape",))
def qlinear_conv(
    build: NodeBuilder,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    w: Value,
    w_scale: Value,
    w_zero: Value,
    scale: Value,
    zero: Value,
    bias: Value | None = None,
) -> Ref:
    """The bias is in units of the input's scale times the weight's."""
    held, sizes = _held(build, "weight", w), build.array(w_scale)
    weight = dequantized(held.value, held.name, sizes, build.array(w_zero), axis=0)
    own = None
    if bias is not None:
        kept = _held(build, "bias", bias)
        own = dequantized(
            kept.value,
            kept.name,
            sizes.astype(np.float64) * float(build.array(x_scale).reshape(())),
            None,
            axis=0,
        )
    op = ops.Conv(
        weight=weight,
        bias=own,
        groups=build.get("group", 1),
        **window(build, build.shape(x)[2:], held.value.shape[2:]),
    )
    found = build.add(op, floats(build, x, x_scale, x_zero, 1))
    return quantized(build, found, build.outputs[0].shape, scale, zero, 1)


def product(
    build: NodeBuilder,
    left: Ref,
    y: Value,
    scale: Value,
    zero: Value | None,
    turned: bool = False,
    bias: Value | None = None,
) -> Ref:
    """left * y + bias, where y has scales for all of it or for its columns, and is transposed where
    it is ``turned``."""
    rank = build.rank(y)
    if isinstance(y, Weight) and rank == 2 and (bias is None or isinstance(bias, Weight)):
        point = None if zero is None else build.array(zero)
        weight = dequantized(y.value, y.name, build.array(scale), point, axis=0 if turned else 1)
        if turned:
            weight = replace(weight, axes=(1, 0))
        return build.add(ops.MatMul(weight=weight, bias=bias), left)
    right = floats(build, y, scale, zero, rank - (2 if turned else 1))
    if turned:
        right = build.add(ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), right)
    found = build.add(ops.Product(), left, right)
    if bias is None:
        return found
    return build.add(ops.Add(), found, bias)


@node("QLinearMatMul")
def qlinear_matmul(
    build: NodeBuilder,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    y: Value,
    y_scale: Value,
    y_zero: Value,
    scale: Value,
    zero: Value,
) -> Ref:
    """Scales are those of all, of the rows of x or of the columns of y."""
    left = floats(build, x, x_scale, x_zero, build.rank(x) - 2)
    found = product(build, left, y, y_scale, y_zero)
    shape = build.outputs[0].shape
    return quantized(build, found, shape, scale, zero, max(0, len(shape) - 2))


def _whole(build: NodeBuilder, x: Value, zero: Value | None, axis: int) -> Ref:
    """x - zero in whole numbers."""
    found = build.add(ops.Cast(to="int64"), x)
    if zero is None:
        return found
    shape = _broadcast(build.array(zero), build.shape(x), axis).shape
    return build.add(
        ops.Sub(), found, build.add(ops.Cast(to="int64"), build.add(ops.Reshape(shape=shape), zero))
    )


@node("MatMulInteger")
def matmul_integer(
    build: NodeBuilder, x: Value, y: Value, x_zero: Value | None = None, y_zero: Value | None = None
) -> Ref:
    left, right = (
        _whole(build, x, x_zero, build.rank(x) - 2),
        _whole(build, y, y_zero, build.rank(y) - 1),
    )
    return build.add(ops.Product(), left, right)


@node("ConvInteger", implied=("kernel_shape",))
def conv_integer(
    build: NodeBuilder, x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None
) -> Ref:
    """Windows as columns times the kernels, group by group."""
    (batch, channels, *sizes), (deep, _, *kernel), groups = (
        build.shape(x),
        build.shape(w),
        build.get("group", 1),
    )
    given: dict[str, Any] = window(build, tuple(sizes), tuple(kernel))
    columns = build.add(ops.Im2Col(kernel=tuple(kernel), **given), _whole(build, x, x_zero, 1))
    taps = channels // groups * math.prod(kernel)
    columns = build.add(ops.Reshape(shape=(batch, groups, taps, -1)), columns)
    rows = build.add(
        ops.Reshape(shape=(1, groups, deep // groups, taps)), _whole(build, w, w_zero, 0)
    )
    return build.reshaped(build.add(ops.Product(), rows, columns))
