"""Functions of each element that are made of several ops: signs and those of zeros, logarithms,
angles, and sizes that do not overflow."""

import math

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import Function, Value, function

__all__: list[str] = []


_FAR = 2.0**15
"""A numerator whose quotient by no finite number of 16 or 32 bits is so small that it may be
flushed."""


def _negative(recipe: Function, value: Value) -> Ref:
    """Where the bit of the sign is set; that of -0.0 shows in a quotient by it."""
    array = recipe.array(value)
    below = recipe.put(ops.Less(), value, 0)
    if array.dtype.kind != "f":
        return below
    if np.isnan(array).any():
        raise Undescribed("the sign of a NaN has no description")
    return recipe.put(
        ops.Or(), below, recipe.put(ops.Less(), recipe.put(ops.Div(), _FAR, value), 0.0)
    )


def _is_0(recipe: Function, value: Value) -> Ref:
    return recipe.put(ops.Equal(), value, 0)


@function("signbit", onnx="less")
def signbit(recipe: Function, input: Value) -> Ref:
    return _negative(recipe, input)


@function("copysign", "copysign_", onnx="where")
def copysign(recipe: Function, input: Value, other: Value) -> Ref:
    size = recipe.put(ops.Abs(), input)
    return recipe.put(ops.Where(), _negative(recipe, other), recipe.put(ops.Neg(), size), size)


@function("heaviside", "heaviside_", onnx="where")
def heaviside(recipe: Function, input: Value, values: Value) -> Ref:
    step = recipe.put(ops.Where(), recipe.put(ops.Greater(), input, 0), 1, 0)
    return recipe.put(ops.Where(), _is_0(recipe, input), values, step)


@function("isfinite", onnx="not")
def isfinite(recipe: Function, input: Value) -> Ref:
    if recipe.array(input).dtype.kind != "f":
        return recipe.put(ops.Equal(), input, input)
    return recipe.put(
        ops.Not(),
        recipe.put(ops.Or(), recipe.put(ops.IsInf(), input), recipe.put(ops.IsNaN(), input)),
    )


def _register_infinite(name: str, value: float) -> None:
    @function(name, onnx="equal")
    def infinite(recipe: Function, input: Value) -> Ref:
        if recipe.array(input).dtype.kind != "f":
            return recipe.put(ops.NotEqual(), input, input)
        return recipe.put(ops.Equal(), input, np.asarray(value))


_register_infinite("isposinf", math.inf)
_register_infinite("isneginf", -math.inf)


@function("isclose", onnx="lessorequal")
def isclose(
    recipe: Function,
    input: Value,
    other: Value,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Ref:
    """Equal, or |input - other| finite and no more than atol + rtol |other|
    (aten/src/ATen/native/TensorCompare.cpp)."""
    if any(recipe.array(one).dtype.kind != "f" for one in (input, other)):
        raise Undescribed("isclose of integers has no description")
    close = recipe.put(ops.Equal(), input, other)
    if equal_nan:
        close = recipe.put(
            ops.Or(),
            close,
            recipe.put(ops.And(), *(recipe.put(ops.IsNaN(), one) for one in (input, other))),
        )
    if rtol == 0 and atol == 0:
        return close
    apart = recipe.put(ops.Abs(), recipe.put(ops.Sub(), input, other))
    allowed = recipe.put(
        ops.Add(), recipe.put(ops.Abs(), recipe.put(ops.Mul(), other, float(rtol))), float(atol)
    )
    near = recipe.put(
        ops.And(),
        recipe.put(ops.LessOrEqual(), apart, allowed),
        recipe.put(ops.Not(), recipe.put(ops.IsInf(), apart)),
    )
    return recipe.put(ops.Or(), close, near)


@function("frac", "frac_", onnx="mod")
def frac(recipe: Function, input: Value) -> Ref:
    """What follows the point, with the sign of the input."""
    return recipe.put(ops.Mod(fmod=True), input, 1.0)


@function("deg2rad", "deg2rad_", onnx="mul")
def deg2rad(recipe: Function, input: Value) -> Ref:
    return recipe.put(ops.Mul(), input, math.pi / 180)


@function("rad2deg", "rad2deg_", onnx="mul")
def rad2deg(recipe: Function, input: Value) -> Ref:
    return recipe.put(ops.Mul(), input, 180 / math.pi)


@function("exp2", "exp2_", "special_exp2", onnx="pow")
def exp2(recipe: Function, input: Value) -> Ref:
    return recipe.put(ops.Pow(), 2.0, input)


@function("ldexp", "ldexp_", onnx="mul")
def ldexp(recipe: Function, input: Value, other: Value) -> Ref:
    """input times two to the power of other, as long as that is no power beyond the range of
    float32."""
    if np.abs(recipe.array(other)).max(initial=0) > 100:
        raise Undescribed(
            "powers of two beyond 100, which only their products may hold, have no description"
        )
    return recipe.put(ops.Mul(), input, recipe.put(ops.Pow(), 2.0, other))


@function("sinc", "sinc_", "special_sinc", onnx="sin")
def sinc(recipe: Function, input: Value) -> Ref:
    """sin(pi x) / (pi x), and 1 at 0."""
    turned = recipe.put(ops.Mul(), input, math.pi)
    quotient = recipe.put(ops.Div(), recipe.put(ops.Sin(), turned), turned)
    return recipe.put(ops.Where(), _is_0(recipe, input), 1.0, quotient)


@function("logit", "logit_", "special_logit", onnx="log")
def logit(recipe: Function, input: Value, eps: float | None = None) -> Ref:
    """log(x / (1 - x)), x no nearer to 0 and 1 than eps, which are numbers of its type
    (aten/src/ATen/native/cpu/UnaryOpsKernel.cpp)."""
    x = recipe.ref(input)
    if eps is not None and eps >= 0:
        held = ops.Cast(to=recipe.kinds[0])
        low = held.run(np.asarray(float(eps)))[0]
        x = recipe.put(ops.Clip(low=float(low), high=float(held.run(1 - low)[0])), x)
    return recipe.put(ops.Log(), recipe.put(ops.Div(), x, recipe.put(ops.Sub(), 1.0, x)))


def _times_log(recipe: Function, input: Value, other: Value, log: Ref) -> Ref:
    """input * log, and 0 where input is 0, unless other is NaN."""
    product = recipe.put(ops.Mul(), input, log)
    return recipe.put(
        ops.Where(),
        recipe.put(ops.IsNaN(), other),
        other,
        recipe.put(ops.Where(), _is_0(recipe, input), 0.0, product),
    )


@function("xlogy", "xlogy_", "special_xlogy", onnx="log")
def xlogy(recipe: Function, input: Value, other: Value) -> Ref:
    return _times_log(recipe, input, other, recipe.put(ops.Log(), other))


@function("special_xlog1py", onnx="log1p")
def xlog1py(recipe: Function, input: Value, other: Value) -> Ref:
    return _times_log(recipe, input, other, recipe.put(ops.Log1p(), other))


def _apart(recipe: Function, input: Value, other: Value) -> Ref:
    """-|input - other|, and 0 for equal infinities."""
    less = recipe.put(
        ops.Where(), recipe.put(ops.Equal(), input, other), 0.0, recipe.put(ops.Sub(), input, other)
    )
    return recipe.put(ops.Neg(), recipe.put(ops.Abs(), less))


@function("logaddexp", onnx="logsumexp")
def logaddexp(recipe: Function, input: Value, other: Value) -> Ref:
    """max + log(1 + exp(-|input - other|)) (aten/src/ATen/native/cpu/BinaryOpsKernel.cpp)."""
    more = recipe.put(ops.Log1p(), recipe.put(ops.Exp(), _apart(recipe, input, other)))
    return recipe.put(ops.Add(), recipe.put(ops.Max(), input, other), more)


@function("logaddexp2", onnx="logsumexp")
def logaddexp2(recipe: Function, input: Value, other: Value) -> Ref:
    """The same to base 2."""
    more = recipe.put(ops.Log1p(), recipe.put(ops.Pow(), 2.0, _apart(recipe, input, other)))
    return recipe.put(
        ops.Add(), recipe.put(ops.Max(), input, other), recipe.put(ops.Mul(), more, 1 / math.log(2))
    )


@function("hypot", "hypot_", onnx="sqrt")
def hypot(recipe: Function, input: Value, other: Value) -> Ref:
    """The larger size times sqrt(1 + quotient²), which does not overflow; beside an infinity
    infinite, whatever it is (C99, F.9.4.3)."""
    sizes = [recipe.put(ops.Abs(), one) for one in (input, other)]
    large, small = recipe.put(ops.Max(), *sizes), recipe.put(ops.Min(), *sizes)
    quotient = recipe.put(
        ops.Where(), _is_0(recipe, large), 0.0, recipe.put(ops.Div(), small, large)
    )
    root = recipe.put(ops.Sqrt(), recipe.put(ops.Add(), recipe.put(ops.Square(), quotient), 1.0))
    infinite = recipe.put(ops.Or(), *(recipe.put(ops.IsInf(), one) for one in (input, other)))
    return recipe.put(ops.Where(), infinite, np.asarray(np.inf), recipe.put(ops.Mul(), large, root))


@function("atan2", "atan2_", "arctan2", "arctan2_", onnx="atan")
def atan2(recipe: Function, input: Value, other: Value) -> Ref:
    """The arctangent of input / other, and half a turn more or less where other is negative (C99,
    F.9.1.4)."""
    below, behind = _negative(recipe, input), _negative(recipe, other)
    slope = recipe.put(ops.Div(), input, other)
    slope = recipe.put(
        ops.Where(), recipe.put(ops.And(), _is_0(recipe, input), _is_0(recipe, other)), 0.0, slope
    )
    diagonal = recipe.put(ops.Where(), recipe.put(ops.Xor(), below, behind), -1.0, 1.0)
    infinite = recipe.put(ops.And(), *(recipe.put(ops.IsInf(), one) for one in (input, other)))
    angle = recipe.put(ops.Atan(), recipe.put(ops.Where(), infinite, diagonal, slope))
    half = recipe.put(ops.Where(), below, -math.pi, math.pi)
    return recipe.put(ops.Add(), angle, recipe.put(ops.Where(), behind, half, 0.0))
