"""Functions of each element that are made of several ops: signs and those of zeros, logarithms,
angles, and sizes that do not overflow."""

import math

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__: list[str] = []


_FAR = 2.0**15
"""A numerator whose quotient by no finite number of 16 or 32 bits is so small that it may be
flushed."""


def _negative(build: CallBuilder, value: Value) -> Ref:
    """Where the bit of the sign is set; that of -0.0 shows in a quotient by it."""
    array = build.array(value)
    below = build.add(ops.Less(), value, 0)
    if array.dtype.kind != "f":
        return below
    if np.isnan(array).any():
        raise Undescribed("the sign of a NaN is not compared")
    return build.add(ops.Or(), below, build.add(ops.Less(), build.add(ops.Div(), _FAR, value), 0.0))


def _is_0(build: CallBuilder, value: Value) -> Ref:
    return build.add(ops.Equal(), value, 0)


@function("signbit", onnx="less")
def signbit(build: CallBuilder, input: Value) -> Ref:
    return _negative(build, input)


@function("copysign", "copysign_", onnx="where")
def copysign(build: CallBuilder, input: Value, other: Value) -> Ref:
    size = build.add(ops.Abs(), input)
    return build.add(ops.Where(), _negative(build, other), build.add(ops.Neg(), size), size)


@function("heaviside", "heaviside_", onnx="where")
def heaviside(build: CallBuilder, input: Value, values: Value) -> Ref:
    step = build.add(ops.Where(), build.add(ops.Greater(), input, 0), 1, 0)
    return build.add(ops.Where(), _is_0(build, input), values, step)


@function("isfinite", onnx="not")
def isfinite(build: CallBuilder, input: Value) -> Ref:
    if build.array(input).dtype.kind != "f":
        return build.add(ops.Equal(), input, input)
    return build.add(
        ops.Not(), build.add(ops.Or(), build.add(ops.IsInf(), input), build.add(ops.IsNaN(), input))
    )


def _register_infinite(name: str, value: float) -> None:
    @function(name, onnx="equal")
    def infinite(build: CallBuilder, input: Value) -> Ref:
        if build.array(input).dtype.kind != "f":
            return build.add(ops.NotEqual(), input, input)
        return build.add(ops.Equal(), input, np.asarray(value))


_register_infinite("isposinf", math.inf)
_register_infinite("isneginf", -math.inf)


@function("isclose", onnx="lessorequal")
def isclose(
    build: CallBuilder,
    input: Value,
    other: Value,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Ref:
    """Equal, or |input - other| finite and no more than atol + rtol |other|
    (aten/src/ATen/native/TensorCompare.cpp)."""
    if any(build.array(operand).dtype.kind != "f" for operand in (input, other)):
        raise Undescribed("isclose of integers is not supported")
    close = build.add(ops.Equal(), input, other)
    if equal_nan:
        close = build.add(
            ops.Or(),
            close,
            build.add(ops.And(), *(build.add(ops.IsNaN(), operand) for operand in (input, other))),
        )
    if rtol == 0 and atol == 0:
        return close
    apart = build.add(ops.Abs(), build.add(ops.Sub(), input, other))
    allowed = build.add(
        ops.Add(), build.add(ops.Abs(), build.add(ops.Mul(), other, float(rtol))), float(atol)
    )
    near = build.add(
        ops.And(),
        build.add(ops.LessOrEqual(), apart, allowed),
        build.add(ops.Not(), build.add(ops.IsInf(), apart)),
    )
    return build.add(ops.Or(), close, near)


@function("frac", "frac_", onnx="mod")
def frac(build: CallBuilder, input: Value) -> Ref:
    """What follows the point, with the sign of the input."""
    return build.add(ops.Mod(fmod=True), input, 1.0)


@function("deg2rad", "deg2rad_", onnx="mul")
def deg2rad(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Mul(), input, math.pi / 180)


@function("rad2deg", "rad2deg_", onnx="mul")
def rad2deg(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Mul(), input, 180 / math.pi)


@function("exp2", "exp2_", "special_exp2", onnx="pow")
def exp2(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Pow(), 2.0, input)


@function("ldexp", "ldexp_", onnx="mul")
def ldexp(build: CallBuilder, input: Value, other: Value) -> Ref:
    """input times two to the power of other, as long as that is no power beyond the range of
    float32."""
    if np.abs(build.array(other)).max(initial=0) > 100:
        raise Undescribed("exponents above 100 are not supported")
    return build.add(ops.Mul(), input, build.add(ops.Pow(), 2.0, other))


@function("sinc", "sinc_", "special_sinc", onnx="sin")
def sinc(build: CallBuilder, input: Value) -> Ref:
    """sin(pi x) / (pi x), and 1 at 0."""
    turned = build.add(ops.Mul(), input, math.pi)
    quotient = build.add(ops.Div(), build.add(ops.Sin(), turned), turned)
    return build.add(ops.Where(), _is_0(build, input), 1.0, quotient)


@function("logit", "logit_", "special_logit", onnx="log")
def logit(build: CallBuilder, input: Value, eps: float | None = None) -> Ref:
    """log(x / (1 - x)), x no nearer to 0 and 1 than eps, which are numbers of its type
    (aten/src/ATen/native/cpu/UnaryOpsKernel.cpp)."""
    x = build.ref(input)
    if eps is not None and eps >= 0:
        held = ops.Cast(to=build.kinds[0])
        low = held.run(np.asarray(float(eps)))[0]
        x = build.add(ops.Clip(low=float(low), high=float(held.run(1 - low)[0])), x)
    return build.add(ops.Log(), build.add(ops.Div(), x, build.add(ops.Sub(), 1.0, x)))


def _times_log(build: CallBuilder, input: Value, other: Value, log: Ref) -> Ref:
    """input * log, and 0 where input is 0, unless other is NaN."""
    product = build.add(ops.Mul(), input, log)
    return build.add(
        ops.Where(),
        build.add(ops.IsNaN(), other),
        other,
        build.add(ops.Where(), _is_0(build, input), 0.0, product),
    )


@function("xlogy", "xlogy_", "special_xlogy", onnx="log")
def xlogy(build: CallBuilder, input: Value, other: Value) -> Ref:
    return _times_log(build, input, other, build.add(ops.Log(), other))


@function("special_xlog1py", onnx="log1p")
def xlog1py(build: CallBuilder, input: Value, other: Value) -> Ref:
    return _times_log(build, input, other, build.add(ops.Log1p(), other))


def _apart(build: CallBuilder, input: Value, other: Value) -> Ref:
    """-|input - other|, and 0 for equal infinities."""
    less = build.add(
        ops.Where(), build.add(ops.Equal(), input, other), 0.0, build.add(ops.Sub(), input, other)
    )
    return build.add(ops.Neg(), build.add(ops.Abs(), less))


@function("logaddexp", onnx="logsumexp")
def logaddexp(build: CallBuilder, input: Value, other: Value) -> Ref:
    """max + log(1 + exp(-|input - other|)) (aten/src/ATen/native/cpu/BinaryOpsKernel.cpp)."""
    more = build.add(ops.Log1p(), build.add(ops.Exp(), _apart(build, input, other)))
    return build.add(ops.Add(), build.add(ops.Max(), input, other), more)


@function("logaddexp2", onnx="logsumexp")
def logaddexp2(build: CallBuilder, input: Value, other: Value) -> Ref:
    """The same to base 2."""
    more = build.add(ops.Log1p(), build.add(ops.Pow(), 2.0, _apart(build, input, other)))
    return build.add(
        ops.Add(), build.add(ops.Max(), input, other), build.add(ops.Mul(), more, 1 / math.log(2))
    )


@function("hypot", "hypot_", onnx="sqrt")
def hypot(build: CallBuilder, input: Value, other: Value) -> Ref:
    """The larger size times sqrt(1 + quotient²), which does not overflow; beside an infinity
    infinite, whatever it is (C99, F.9.4.3)."""
    sizes = [build.add(ops.Abs(), operand) for operand in (input, other)]
    large, small = build.add(ops.Max(), *sizes), build.add(ops.Min(), *sizes)
    quotient = build.add(ops.Where(), _is_0(build, large), 0.0, build.add(ops.Div(), small, large))
    root = build.add(ops.Sqrt(), build.add(ops.Add(), build.add(ops.Square(), quotient), 1.0))
    infinite = build.add(ops.Or(), *(build.add(ops.IsInf(), operand) for operand in (input, other)))
    return build.add(ops.Where(), infinite, np.asarray(np.inf), build.add(ops.Mul(), large, root))


@function("atan2", "atan2_", "arctan2", "arctan2_", onnx="atan")
def atan2(build: CallBuilder, input: Value, other: Value) -> Ref:
    """The arctangent of input / other, and half a turn more or less where other is negative (C99,
    F.9.1.4)."""
    below, behind = _negative(build, input), _negative(build, other)
    slope = build.add(ops.Div(), input, other)
    slope = build.add(
        ops.Where(), build.add(ops.And(), _is_0(build, input), _is_0(build, other)), 0.0, slope
    )
    diagonal = build.add(ops.Where(), build.add(ops.Xor(), below, behind), -1.0, 1.0)
    infinite = build.add(
        ops.And(), *(build.add(ops.IsInf(), operand) for operand in (input, other))
    )
    angle = build.add(ops.Atan(), build.add(ops.Where(), infinite, diagonal, slope))
    half = build.add(ops.Where(), below, -math.pi, math.pi)
    return build.add(ops.Add(), angle, build.add(ops.Where(), behind, half, 0.0))
