"""Functions of one tensor: of floats, and of codes by the tables of the kernels."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..arithmetic import requantize, rounding
from ..describe import INTEGERS, Operand, OperatorBuilder, node
from .activations import code_range

__all__: list[str] = []

_TABLES = {"LOGISTIC": "Sigmoid", "TANH": "Tanh"}


@node("LOGISTIC", "TANH")
def squashed(build: OperatorBuilder, x: Operand) -> Ref:
    function = _TABLES[build.node.operator]
    if x.dtype == "float32":
        return build.add(ops.Sigmoid() if function == "Sigmoid" else ops.Tanh(), x)
    if x.dtype == "int16":
        return build.add(_squashed_16_bits(build, x, function), x)
    if x.dtype != "int8":
        raise Undescribed(f"{build.node.operator} of {x.dtype} codes has no description")
    if build.kernel.family == "tflm":
        by = "gemmlowp"
    else:
        by = "float32"
    return build.add(_of_codes(build, x, function, by), x)


def _squashed_16_bits(build: OperatorBuilder, x: Operand, function: str) -> ops.SquashedCodes:
    """Codes in steps of a power of two are shifted, which the optimised kernels do not look up;
    others get a multiplier of 15 bits that is cut off."""
    fraction, exponent = np.frexp(x.scale)
    left = int(exponent) - 1 + 12
    if fraction == 0.5 and left in ((0,) if function == "Sigmoid" else (0, 1)):
        if build.kernel.family == "optimised":
            return ops.SquashedCodes(function, 1 << left, by="gemmlowp")
        return ops.SquashedCodes(function, 3 << left)
    multiplier, shift = float(x.scale) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return ops.SquashedCodes(function, int(multiplier), shift)


def _of_codes(build: OperatorBuilder, x: Operand, function: str, by: str) -> ops.FunctionOfCodes:
    low, high = build.limits
    return ops.FunctionOfCodes(
        function=function,
        step=float(x.scale),
        zero_point=x.zero_point,
        out_step=float(build.result.scale),
        out_zero_point=build.result.zero_point,
        low=low,
        high=high,
        by=by,
        rounding="even" if build.kernel.family == "xnnpack" else "away",
    )


@node("SOFTMAX")
def softmax(build: OperatorBuilder, x: Operand) -> Ref:
    beta = float(build.get("beta", 1.0))
    if x.dtype == "float32":
        scaled = x if beta == 1.0 else build.add(ops.Mul(), x, beta)
        return build.add(ops.Softmax(axis=-1), scaled)
    if x.dtype == build.result.dtype == "int16":
        filled = "float32" if build.kernel.family == "tflm" else "float64"
        return build.add(ops.InterpolatedSoftmax(float(x.scale), beta, filled), x)
    if x.dtype != "int8":
        raise Undescribed(f"SOFTMAX of {x.dtype} codes has no description")
    by = "gemmlowp" if build.kernel.family in ("tflm", "reference") else "float32"
    low, high = build.limits
    op = ops.SoftmaxOfCodes(
        step=float(x.scale),
        beta=beta,
        out_step=float(build.result.scale),
        out_zero_point=build.result.zero_point,
        low=low,
        high=high,
        by=by,
    )
    return build.add(op, x)


_OF_FLOATS = {
    "ABS": ops.Abs,
    "CEIL": ops.Ceil,
    "COS": ops.Cos,
    "EXP": ops.Exp,
    "FLOOR": ops.Floor,
    "NEG": ops.Neg,
    "ROUND": ops.Round,
    "RSQRT": ops.Rsqrt,
    "SIGN": ops.Sign,
    "SIN": ops.Sin,
    "SQRT": ops.Sqrt,
    "SQUARE": ops.Square,
}


@node(*_OF_FLOATS)
def of_floats(build: OperatorBuilder, x: Operand) -> Ref:
    if x.dtype != "float32":
        raise Undescribed(f"{build.node.operator} of {x.dtype} has no description")
    return build.add(_OF_FLOATS[build.node.operator](), x)


@node("LOG")
def log(build: OperatorBuilder, x: Operand) -> Ref:
    """XNNPACK takes the exponent apart: near 1 it is as exact as ln 2 is in float32."""
    if x.dtype != "float32":
        raise Undescribed(f"LOG of {x.dtype} has no description")
    if build.kernel.family != "xnnpack":
        return build.add(ops.Log(), x)
    mantissa = build.add(ops.Log(), build.add(ops.Mul(), x, 2.0))
    return build.add(ops.Sub(), mantissa, np.log(2.0))


@node("ELU")
def elu(build: OperatorBuilder, x: Operand) -> Ref:
    if x.dtype == "float32":
        return build.add(ops.Elu(alpha=1.0), x)
    if x.dtype != "int8":
        raise Undescribed(f"ELU of {x.dtype} codes has no description")
    return build.add(_of_codes(build, x, "Elu", "float32"), x)


@node("GELU")
def gelu(build: OperatorBuilder, x: Operand) -> Ref:
    approximate = "tanh" if build.get("approximate", False) else "none"
    if x.dtype == "float32":
        return build.add(ops.Gelu(approximate=approximate), x)
    if x.dtype == "int16" and not x.zero_point and not build.result.zero_point:
        step, out = float(x.scale), float(build.result.scale)
        return build.add(ops.InterpolatedFunction(step, out, approximate), x)
    if x.dtype != "int8":
        raise Undescribed(f"GELU of {x.dtype} codes has no description")
    name = "Gelu" if approximate == "none" else "Gelu, tanh"
    return build.add(_of_codes(build, x, name, "float32"), x)


_CLIPPED = {"RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


@node(*_CLIPPED)
def clipped(build: OperatorBuilder, x: Operand) -> Ref:
    if x.dtype == "float32":
        low, high = _CLIPPED[build.node.operator]
        return build.add(ops.Relu() if high is None else ops.Clip(low=low, high=high), x)
    if build.kernel.family == "xnnpack":
        raise Undescribed(f"{build.node.operator} of {x.dtype} codes has no description in XNNPACK")
    if build.kernel.family == "tflm" and build.node.operator == "RELU6":
        low, high = code_range(build, "RELU6", x)  # TFLM clamps the input's codes, and no more
        above = build.add(ops.Max(), build.add(ops.Cast(to="int64"), x), np.int64(low))
        return build.add(ops.Min(), above, np.int64(high))
    share = np.float64(np.float32(x.scale / build.result.scale))
    limits = code_range(build, build.node.operator)
    op = requantize("double", share, share, build.result.zero_point, limits)
    return build.add(op, build.steps_of(x))


@node("PRELU")
def prelu(build: OperatorBuilder, x: Operand, slope: Operand) -> Ref:
    if x.dtype in INTEGERS:
        return _prelu_of_codes(build, x, slope)
    if x.dtype != "float32":
        raise Undescribed(f"PRELU of {x.dtype} has no description")
    zero = 0.0
    positive = build.add(ops.Max(), x, zero)
    negative = build.add(ops.Mul(), build.add(ops.Min(), x, zero), slope)
    return build.add(ops.Add(), positive, negative)


def _prelu_of_codes(build: OperatorBuilder, x: Operand, slope: Operand) -> Ref:
    """One multiplier where x is positive, another one behind its product with the slope."""
    if slope.dtype == "int16":
        raise Undescribed("PRELU whose slopes are int16 codes has no description")
    how, out = rounding(build.kernel, "PRELU", x.dtype), build.result
    narrow = np.float32(x.scale / out.scale)
    bent = np.float32(np.float32(x.scale * slope.scale) / out.scale)
    scales = np.float64(narrow), np.float64(bent)
    if build.kernel.family == "tflm":
        wide = np.float64(x.scale) / np.float64(out.scale)
        scales = wide, np.float64(x.scale) * np.float64(slope.scale) / np.float64(out.scale)
    steps = build.steps_of(x)
    product = build.add(ops.Mul(), steps, build.steps_of(slope))
    branches = (
        build.add(requantize(how, scale, scale, out.zero_point, build.limits), sums)
        for scale, sums in zip(scales, (steps, product), strict=True)
    )
    positive = build.add(ops.GreaterOrEqual(), steps, np.int64(0))
    return build.add(ops.Where(), positive, *branches)


@node("LEAKY_RELU")
def leaky_relu(build: OperatorBuilder, x: Operand) -> Ref:
    alpha = float(build.get("alpha", 0.0))
    if x.dtype == "float32":
        return build.add(ops.LeakyRelu(alpha=alpha), x)
    return _leaky_codes(build, x, alpha)


def _leaky_codes(build: OperatorBuilder, x: Operand, alpha: float) -> Ref:
    """One multiplier where x is positive, another where it is not."""
    out, low_high = build.result, build.limits
    steps = build.steps_of(x)
    plain = np.float32(x.scale / out.scale)
    bent = np.float32(np.float32(x.scale * np.float32(alpha)) / out.scale)
    branches = []
    widths = np.float64(x.scale) / np.float64(out.scale)
    tflm = build.kernel.family == "tflm"
    for scale, wide in ((plain, widths), (bent, widths * np.float64(np.float32(alpha)))):
        if build.kernel.family == "xnnpack":
            op = ops.Requantize(
                multiplier=np.asarray(np.rint(np.float32(256) * scale), np.int64),
                shift=np.asarray(23),
                factor=np.asarray(scale),
                zero_point=out.zero_point,
                low=low_high[0],
                high=low_high[1],
                rounding="single",
            )
        else:
            op = requantize(
                "double", wide if tflm else np.float64(scale), scale, out.zero_point, low_high
            )
        branches.append(build.add(op, steps))
    positive = build.add(ops.GreaterOrEqual(), steps, np.int64(0))
    return build.add(ops.Where(), positive, *branches)


@node("HARD_SWISH")
def hard_swish(build: OperatorBuilder, x: Operand) -> Ref:
    if x.dtype == "float32":
        return build.add(ops.HardSwish(), x)
    if x.dtype != "int8":
        raise Undescribed(f"HARD_SWISH of {x.dtype} codes has no description")
    low, high = build.limits
    op = ops.HardSwishOfCodes(
        step=float(x.scale),
        out_step=float(build.result.scale),
        zero_point=build.result.zero_point,
        low=low,
        high=high,
    )
    return build.add(op, build.steps_of(x))
