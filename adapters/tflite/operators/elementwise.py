"""Functions of two tensors, element by element: of floats, of codes, of whole numbers."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed
from probe.ops.quantize.requantize import fixed_point

from ..arithmetic import requantize, rounding
from ..describe import Operand, OperatorBuilder, node
from .activations import activated, code_range

__all__: list[str] = []

_WIDE = -(2**62), 2**62
"""No bounds."""
_LEFT = {"int8": 20, "uint8": 20, "int16": 15}
"""How many bits the inputs of a sum are shifted left."""
_FARTHEST = 15
"""So many bits a quotient of codes is shifted at most, by its scale."""


def _plain(build: OperatorBuilder, op: ops.Op, *inputs: Operand | Ref) -> Ref:
    """On floats, or on whole numbers, which wrap around where C's do."""
    return activated(build, build.add(op, *inputs))


@node("ADD")
def add(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    return _sum(build, x, y, 1)


@node("SUB")
def sub(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    return _sum(build, x, y, -1)


def _sum(build: OperatorBuilder, x: Operand, y: Operand, sign: int) -> Ref:
    if x.dtype not in _LEFT:
        build.knows("potScaleInt16")
        return _plain(build, ops.Add() if sign > 0 else ops.Sub(), x, y)
    if build.get("potScaleInt16", True) and x.dtype == "int16":
        raise Undescribed("sums of int16 codes whose scales are powers of two have no description")
    if build.kernel.family == "xnnpack":
        return _sum_in_xnnpack(build, x, y, sign)
    left, twice = _LEFT[x.dtype], 2 * np.float64(max(x.scale, y.scale))
    how = "double"
    if build.kernel.family == "optimised" and sign > 0 and x.shape == y.shape:
        how = "single"  # the shift left and that of the multiplier are one
    parts = []
    for operand in (x, y):
        share = np.float64(operand.scale) / twice
        shifted = build.add(ops.Mul(), build.steps_of(operand), np.int64(1 << left))
        parts.append(build.add(requantize(how, share, share, 0, _WIDE), shifted))
    total = build.add(ops.Add() if sign > 0 else ops.Sub(), *parts)
    scale = twice / (np.float64(1 << left) * np.float64(build.result.scale))
    limits = code_range(build)
    return build.add(requantize("double", scale, scale, build.result.zero_point, limits), total)


def _sum_in_xnnpack(build: OperatorBuilder, x: Operand, y: Operand, sign: int) -> Ref:
    """Multipliers of 21 bits with one shift for both, rounded once, halves up
    (xnn_init_qs8_add_minmax_params)."""
    out = build.result.scale
    shares = [np.float32(operand.scale / out) for operand in (x, y)]
    shift = 20 - (int(np.frexp(max(shares))[1]) - 1)
    parts = []
    for operand, share, way in zip((x, y), shares, (1, sign), strict=True):
        multiplier = way * np.int64(np.rint(np.ldexp(np.float64(share), shift)))
        parts.append(build.add(ops.Mul(), build.steps_of(operand), multiplier))
    total = build.add(ops.Add(), *parts)
    op = ops.Requantize(
        multiplier=np.asarray(1),
        shift=np.asarray(31 - shift),
        factor=np.asarray(2.0**-shift, np.float32),
        zero_point=build.result.zero_point,
        low=code_range(build)[0],
        high=code_range(build)[1],
        rounding="single",
    )
    return build.add(op, total)


@node("MUL")
def mul(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    if x.dtype not in _LEFT:
        return _plain(build, ops.Mul(), x, y)
    how = rounding(build.kernel, "MUL", x.dtype)
    product = build.add(ops.Mul(), build.steps_of(x), build.steps_of(y))
    out = build.result.scale
    narrow = np.float32(np.float32(x.scale * y.scale) / out)
    wide = np.float64(x.scale) * np.float64(y.scale) / np.float64(out)
    scale = wide if build.kernel.family == "tflm" else np.float64(narrow)
    limits = code_range(build)
    return build.add(requantize(how, scale, narrow, build.result.zero_point, limits), product)


@node("DIV")
def div(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    if x.dtype == "float32":
        return _plain(build, ops.Div(), x, y)
    if x.dtype in ("int32", "int64"):
        return _plain(build, ops.Trunc(), build.add(ops.Div(), x, y))
    return _quotient_of_codes(build, x, y)


def _quotient_of_codes(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    rounding(build.kernel, "DIV", x.dtype)
    if not build.kernel.measured:
        raise Undescribed(
            f"a quotient of codes on {build.kernel.machine} has no description: kernels shift by "
            f"more bits than a number has, which each machine does in its own way"
        )
    if (np.asarray(y.array, np.int64) == y.zero_point).any():
        raise Undescribed("a quotient by 0 of codes has no description")
    out = build.result.scale
    scale = np.float64(np.float32(x.scale / np.float32(y.scale * out)))
    if build.kernel.family == "tflm":
        scale = np.float64(x.scale) / (np.float64(y.scale) * np.float64(out))
    multiplier, shift = (int(part) for part in fixed_point(scale))
    if abs(shift) > _FARTHEST:
        raise Undescribed(f"a quotient of codes whose scale is {scale:g} has no description")
    low, high = code_range(build)
    most = 65535 if x.dtype == "int16" else 255
    op = ops.QuotientOfCodes(multiplier, shift, build.result.zero_point, low, high, most)
    return build.add(op, build.steps_of(x), build.steps_of(y))


@node("MAXIMUM", "MINIMUM")
def extreme(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    """Of codes, which share a scale."""
    op = ops.Max() if build.node.operator == "MAXIMUM" else ops.Min()
    return build.add(op, x, y)


@node("SQUARED_DIFFERENCE")
def squared_difference(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    if x.dtype not in ("float32", "int32"):
        raise Undescribed(f"a squared difference of {x.dtype} codes has no description")
    difference = build.add(ops.Sub(), x, y)
    return build.add(ops.Mul(), difference, difference)


_COMPARISONS = {
    "EQUAL": ops.Equal,
    "NOT_EQUAL": ops.NotEqual,
    "LESS": ops.Less,
    "LESS_EQUAL": ops.LessOrEqual,
    "GREATER": ops.Greater,
    "GREATER_EQUAL": ops.GreaterOrEqual,
}


@node(*_COMPARISONS)
def compared(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    if x.dtype in _LEFT and x.tensor.quantisation is not None and x.tensor.quantisation.scale.size:
        raise Undescribed("a comparison of codes with scales has no description")
    return build.add(_COMPARISONS[build.node.operator](), x, y)


@node("LOGICAL_AND", "LOGICAL_OR")
def logical(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    return build.add(ops.And() if build.node.operator == "LOGICAL_AND" else ops.Or(), x, y)


@node("LOGICAL_NOT")
def logical_not(build: OperatorBuilder, x: Operand) -> Ref:
    return build.add(ops.Not(), x)


@node("SELECT", "SELECT_V2")
def select(build: OperatorBuilder, condition: Operand, x: Operand, y: Operand) -> Ref:
    return build.add(ops.Where(), condition, x, y)
