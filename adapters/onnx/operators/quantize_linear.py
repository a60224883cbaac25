"""Integers that stand for numbers: quantising, dequantising, and products of quantised tensors.

QLinearConv and QLinearMatMul are described as what their integers stand for: the float operator on
dequantised values, its result quantised. ConvInteger and MatMulInteger are sums of integers, and
exact.
"""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Grid, Ref, Weight
from probe.errors import Undescribed

from ..describe import Node, Value, node
from .products_pools_reductions import window

__all__ = ["dequantized"]


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
    point = (
        np.zeros((), np.int64)
        if zero is None
        else _broadcast(zero.astype(np.int64), codes.shape, axis % max(1, codes.ndim), block)
    )
    kind, whole = codes.dtype.name, codes.astype(np.int64)
    bits = int(kind.lstrip("uint")) if kind.lstrip("uint") else 8
    told = f"{size.min():g}" if size.size == 1 else f"{size.min():g} to {size.max():g}"
    words = f"{kind}, times scale {told}" + (", less a zero point" if point.any() else "")
    grid = Grid(size, bits, not kind.startswith("u"), point)
    return Weight(name, whole if bits < 8 else codes, (whole - point) * size, (words,), grid=grid)


def _held(recipe: Node, name: str, value: Value) -> Weight:
    found = recipe.weight(name, value)
    assert found is not None
    return found


def _floats(
    recipe: Node, x: Value, scale: Value, zero: Value | None, axis: int, block: int = 0
) -> Ref:
    """(x - zero) * scale."""
    shape = recipe.shape(x)
    found = recipe.put(ops.Cast(to="float32"), x)
    point = (
        None
        if zero is None
        else _broadcast(recipe.array(zero).astype(np.float64), shape, axis, block)
    )
    if point is not None and point.any():
        found = recipe.put(ops.Sub(), found, point)
    return recipe.put(
        ops.Mul(), found, _broadcast(recipe.array(scale).astype(np.float64), shape, axis, block)
    )


def _codes(
    recipe: Node,
    x: Value,
    shape: tuple[int, ...],
    scale: Value,
    zero: Value | None,
    axis: int,
    block: int = 0,
) -> Ref:
    """round(x / scale) + zero, as far as the output's type reaches."""
    kind = recipe.outputs[0].dtype
    if kind.kind not in "iu":
        raise Undescribed(f"quantising to {kind.name} has no description")
    size = _broadcast(recipe.array(scale), shape, axis, block)
    point = (
        np.zeros(())
        if zero is None
        else _broadcast(recipe.array(zero).astype(np.float64), shape, axis, block)
    )
    limits = np.iinfo(kind)
    return recipe.put(
        ops.QuantizeLinear(size=size, zero_point=point, low=int(limits.min), high=int(limits.max)),
        x,
    )


@node("QuantizeLinear", implied=("output_dtype", "saturate"))
def quantize(recipe: Node, x: Value, scale: Value, zero: Value | None = None) -> Ref:
    axis = recipe.get("axis", 1) % max(1, recipe.rank(x))
    return _codes(recipe, x, recipe.shape(x), scale, zero, axis, recipe.get("block_size", 0))


@node("DequantizeLinear", implied=("output_dtype",))
def dequantize(recipe: Node, x: Value, scale: Value, zero: Value | None = None) -> Ref:
    if recipe.array(x).dtype.kind not in "iu":
        raise Undescribed(
            f"{recipe.array(x).dtype.name} that stand for other numbers have no description"
        )
    axis = recipe.get("axis", 1) % max(1, recipe.rank(x))
    return _floats(recipe, x, scale, zero, axis, recipe.get("block_size", 0))


@node("DynamicQuantizeLinear")
def dynamic_quantize(recipe: Node, x: Value) -> tuple[Ref, ...]:
    found = recipe.put(ops.DynamicQuantizeLinear(), x)
    return tuple(Ref(found.step, index) for index in range(3))


@node("QLinearConv", implied=("kernel_shape",))
def qlinear_conv(
    recipe: Node,
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
    held, sizes = _held(recipe, "weight", w), recipe.array(w_scale)
    weight = dequantized(held.value, held.name, sizes, recipe.array(w_zero), axis=0)
    own = None
    if bias is not None:
        kept = _held(recipe, "bias", bias)
        own = dequantized(
            kept.value,
            kept.name,
            sizes.astype(np.float64) * float(recipe.array(x_scale).reshape(())),
            None,
            axis=0,
        )
    op = ops.Conv(
        weight=weight,
        bias=own,
        groups=recipe.get("group", 1),
        **window(recipe, recipe.shape(x)[2:], held.value.shape[2:]),
    )
    found = recipe.put(op, _floats(recipe, x, x_scale, x_zero, 1))
    return _codes(recipe, found, recipe.outputs[0].shape, scale, zero, 1)


@node("QLinearMatMul")
def qlinear_matmul(
    recipe: Node,
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
    left = _floats(recipe, x, x_scale, x_zero, recipe.rank(x) - 2)
    if isinstance(y, Weight) and y.value.ndim == 2:
        weight = dequantized(y.value, y.name, recipe.array(y_scale), recipe.array(y_zero), axis=1)
        found = recipe.put(ops.MatMul(weight=weight, bias=None), left)
    else:
        found = recipe.put(
            ops.Product(), left, _floats(recipe, y, y_scale, y_zero, recipe.rank(y) - 1)
        )
    shape = recipe.outputs[0].shape
    return _codes(recipe, found, shape, scale, zero, max(0, len(shape) - 2))


def _whole(recipe: Node, x: Value, zero: Value | None, axis: int) -> Ref:
    """x - zero in whole numbers."""
    found = recipe.put(ops.Cast(to="int64"), x)
    if zero is None:
        return found
    shape = _broadcast(recipe.array(zero), recipe.shape(x), axis).shape
    return recipe.put(
        ops.Sub(),
        found,
        recipe.put(ops.Cast(to="int64"), recipe.put(ops.Reshape(shape=shape), zero)),
    )


@node("MatMulInteger")
def matmul_integer(
    recipe: Node, x: Value, y: Value, x_zero: Value | None = None, y_zero: Value | None = None
) -> Ref:
    left, right = (
        _whole(recipe, x, x_zero, recipe.rank(x) - 2),
        _whole(recipe, y, y_zero, recipe.rank(y) - 1),
    )
    return recipe.put(ops.Product(), left, right)


@node("ConvInteger", implied=("kernel_shape",))
def conv_integer(
    recipe: Node, x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None
) -> Ref:
    """Windows as columns times the kernels, group by group."""
    (batch, channels, *sizes), (deep, _, *kernel), groups = (
        recipe.shape(x),
        recipe.shape(w),
        recipe.get("group", 1),
    )
    given: dict[str, Any] = window(recipe, tuple(sizes), tuple(kernel))
    columns = recipe.put(ops.Im2Col(kernel=tuple(kernel), **given), _whole(recipe, x, x_zero, 1))
    taps = channels // groups * math.prod(kernel)
    columns = recipe.put(ops.Reshape(shape=(batch, groups, taps, -1)), columns)
    rows = recipe.put(
        ops.Reshape(shape=(1, groups, deep // groups, taps)), _whole(recipe, w, w_zero, 0)
    )
    return recipe.reshaped(recipe.put(ops.Product(), rows, columns))
