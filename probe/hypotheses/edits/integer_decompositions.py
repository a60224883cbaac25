"""Sums with quantised weights, decomposed into the integers that they are computed with, and what
brings numbers to integers, into its steps: dividing, rounding, shifting and clipping."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.decompositions import Parts, X, decomposes
from probe.numerics.dtypes import widened
from probe.ops.base import Elementwise
from probe.ops.step import Ref
from probe.ops.weight import Weight

__all__ = ["SUMS", "InSteps", "by_integers", "distance_of"]

SUMS = (ops.Conv, ops.ConvTranspose, ops.MatMul)
_MANY = 1 << 20
"""Quantised weights from which on they are left as they are."""
_LEVELS = 1 << 16
"""How far from 0 the integers of an input may lie."""


def by_integers(weight: Weight) -> bool:
    """Whether a weight is taken apart into its integers and what they are scaled by."""
    size = weight.effective.size
    return weight.grid is not None and weight.rows is None and 0 < size <= _MANY


@decomposes(*SUMS)
def _sum(op: Any, to: Parts) -> Ref | None:
    weight = op.weight
    quantised = weight is not None and by_integers(weight)
    if op.bias is None and not quantised:
        return None
    if not quantised:
        return _with_bias(op, to, to.add("", replace(op, bias=None), *_given(to)))
    distance = distance_of(widened(to.inputs[0])) if len(to.inputs) == 1 else None
    scales = _scale_of_outputs(op)
    if distance is not None and scales is not None:
        return _sum_of_integers(op, to, distance, scales)
    held, scale = _integers(weight, to)
    kernel = to.add(f"the dequantised {weight.name}", ops.Mul(), held, scale)
    return _with_bias(op, to, _product(op, to, *_given(to), _in_layout(weight, to, kernel)))


def _given(to: Parts) -> tuple[Ref, ...]:
    return tuple(Ref(-1, k) for k in range(len(to.inputs)))


def _product(op: Any, to: Parts, *given: Ref) -> Ref:
    if isinstance(op, ops.MatMul):
        return to.add("", ops.Product(), *given)
    return to.add("", replace(op, bias=None, weight=None), *given)


def _along_outputs(op: Any, to: Parts, size: int) -> tuple[int, ...]:
    """The shape of numbers for each output channel."""
    return (size, *(1,) * (0 if isinstance(op, ops.MatMul) else to.inputs[0].ndim - 2))


def _with_bias(op: Any, to: Parts, y: Ref) -> Ref:
    if op.bias is None:
        return y
    shape = _along_outputs(op, to, op.bias.value.size)
    return to.add("", ops.Add(), y, to.weight(op.bias, shape))


def _integers(weight: Weight, to: Parts) -> tuple[Ref, Ref]:
    """The integers less their zero points, and what they are scaled by, both in the framework's
    layout."""
    assert weight.grid is not None
    grid, name = weight.grid, weight.name
    rank = weight.effective.ndim

    def held(words: str, array: np.ndarray) -> Ref:
        array = np.asarray(array)
        if array.ndim:
            array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        return to.add(words, ops.Parameter(Weight(words, None, array)))

    y = held(f"the integers of {name}", grid.integers(weight.effective).astype(np.float64))
    if np.any(grid.zero_point):
        zero = held(f"the zero point of {name}", np.asarray(grid.zero_point, np.float64))
        y = to.add(f"the integers of {name} - zero point", ops.Sub(), y, zero)
    return y, held(f"the scale of {name}", np.asarray(grid.scale, np.float64))


def _in_layout(weight: Weight, to: Parts, ref: Ref) -> Ref:
    """A tensor of a weight's shape in the layout that its op takes it in."""
    if weight.axes is not None:
        ref = to.add(weight.name, ops.Transpose(weight.axes), ref)
    if weight.shape is None:
        return ref
    return to.add(weight.name, ops.Reshape(weight.shape), ref)


def distance_of(x: np.ndarray) -> float | None:
    """The distance of which all values are multiples, as those of a quantised tensor are; None
    where there is none, or where they are too many to have been quantised."""
    values = np.unique(x)
    if values.size < 2 or values.size > _LEVELS or not np.isfinite(values).all():
        return None
    gaps = np.diff(values)
    distance = float(gaps[gaps > 1e-3 * gaps.max()].min())
    integers = np.rint(values / distance)
    if np.abs(integers).max() > _LEVELS or not integers.any():
        return None
    distance = float(values @ integers / (integers @ integers))
    narrow = float(np.float32(distance))
    if np.allclose(values, narrow * integers, rtol=2.0**-23, atol=0):
        return narrow
    return None


def _scale_of_outputs(op: Any) -> np.ndarray | None:
    """The scale of an op's weight, one number or one for each output channel; None where it
    differs within one of these."""
    scale = np.asarray(op.weight.grid.scale)
    if scale.size == 1:
        return scale.reshape(())
    if op.weight.axes is not None and len(op.weight.axes) != op.weight.effective.ndim:
        return None
    each = op.weight.step
    if isinstance(op, ops.Conv):
        each = np.moveaxis(each, 0, -1)
    elif isinstance(op, ops.ConvTranspose):
        if op.groups != 1:
            return None
        each = np.moveaxis(each, 1, -1)
    rows = each.reshape(-1, each.shape[-1])
    if scale.size == rows.shape[1] and (rows == rows[0]).all():
        return np.asarray(rows[0])
    return None


def _sum_of_integers(op: Any, to: Parts, distance: float, scales: np.ndarray) -> Ref:
    """scale of the input * scale of the weight * (integers * integers + bias)."""
    held, scale = _integers(op.weight, to)
    x = to.add("the integers of the input", _Integers(distance), X)
    y = _product(op, to, x, _in_layout(op.weight, to, held))
    bias = None if op.bias is None else _whole_bias(op.bias, distance * scales)
    if bias is not None:
        shape = _along_outputs(op, to, bias.value.size)
        y = to.add("the sums of integers", ops.Add(), y, to.weight(bias, shape))
    size = math.prod(scales.shape)
    if size > 1:
        scale = to.add("", ops.Reshape(_along_outputs(op, to, size)), scale)
    factor = to.add("the factor", ops.Mul(), to.number("the scale of the input", distance), scale)
    y = to.add("the scaled sums", ops.Mul(), y, factor)
    return _with_bias(op, to, y) if bias is None else y


def _whole_bias(bias: Weight, unit: np.ndarray) -> Weight | None:
    """A bias in units of the sums; None where it is no whole number of them."""
    exact = np.broadcast_to(widened(bias.value) / unit, bias.value.shape)
    if np.allclose(exact, np.rint(exact), rtol=1e-6, atol=1e-3):
        return Weight(f"the integers of {bias.name}", None, np.rint(exact))
    return None


@dataclass(frozen=True, eq=False)
class _Integers(Elementwise):
    """The integers that numbers stand for."""

    distance: float

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.rint(x / self.distance))


@decomposes(ops.QuantizeLinear)
def _quantize_linear(op: ops.QuantizeLinear, to: Parts) -> Ref:
    y = to.add("x / scale", ops.Div(), X, to.number("the scale", op.size))
    y = to.add("the rounded number", ops.Round(), y)
    return _shifted_and_clipped(op, to, y)


def _shifted_and_clipped(op: Any, to: Parts, y: Ref) -> Ref:
    if np.any(op.zero_point):
        y = to.add("the integers", ops.Add(), y, to.number("the zero point", op.zero_point))
    return to.add("the clipped integers", ops.Clip(float(op.low), float(op.high)), y)


@dataclass(frozen=True, eq=False)
class InSteps(Elementwise):
    """How many steps of a quantiser each value is, as it rounds them."""

    size: np.ndarray
    function: Callable[[np.ndarray], np.ndarray]

    def f(self, x: np.ndarray) -> np.ndarray:
        return self.function(x)


@decomposes(ops.FakeQuantize)
def _fake_quantize(op: ops.FakeQuantize, to: Parts) -> Ref | None:
    if type(op) is not ops.FakeQuantize:
        return None
    y = to.add("x / scale", InSteps(op.size, op.steps), X)
    y = to.add("the rounded number", ops.Round(), y)
    if op.zero_first:
        y = to.add("the clipped integers", ops.Clip(float(op.low), float(op.high)), y)
    else:
        y = _shifted_and_clipped(op, to, y)
    zero, size = (np.asarray(x, np.float32) for x in (op.zero_point, op.size))
    if np.any(zero):
        y = to.add("the integers less the zero point", ops.Sub(), y, to.number("zero", zero))
    return to.add("the quantised values", ops.Mul(), y, to.number("the scale", size))
