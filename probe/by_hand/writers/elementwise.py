"""Functions of each element."""

from collections.abc import Callable
from typing import Any

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, POWER, PRODUCT, SUM, TEST, Value, number
from probe.by_hand.writer import HandWriter


def _formula(text: str, level: int = ATOM) -> Callable[..., Value]:
    """A writer of one expression: ``{x}`` binds as a name does, ``{arg}`` is an argument of a
    function, anything else a field of the op. An x that is used twice is given a name."""
    several = text.count("{x}") + text.count("{arg}") > 1

    def write(op: Any, w: HandWriter, x: Value) -> Value:
        if several:
            x = w.named("values", x)
        fields = {name: number(getattr(op, name)) for name in _fields(op) if f"{{{name}}}" in text}
        return w.result(text.format(x=x.at(ATOM), arg=x.text, **fields), level, x.order)

    return write


def _fields(op: Any) -> tuple[str, ...]:
    return tuple(type(op).__dataclass_fields__)


_TABLE = (
    (ops.Abs, "np.abs({arg})", ATOM),
    (ops.Acos, "np.arccos({arg})", ATOM),
    (ops.Acosh, "np.arccosh({arg})", ATOM),
    (ops.Asin, "np.arcsin({arg})", ATOM),
    (ops.Asinh, "np.arcsinh({arg})", ATOM),
    (ops.Atan, "np.arctan({arg})", ATOM),
    (ops.Atanh, "np.arctanh({arg})", ATOM),
    (ops.Ceil, "np.ceil({arg})", ATOM),
    (ops.Celu, "np.maximum({arg}, 0) + np.minimum({alpha} * np.expm1({x} / {alpha}), 0)", SUM),
    (ops.Cos, "np.cos({arg})", ATOM),
    (ops.Cosh, "np.cosh({arg})", ATOM),
    (ops.Elu, "np.where({x} > 0, {x}, {alpha} * np.expm1({x}))", ATOM),
    (ops.Exp, "np.exp({arg})", ATOM),
    (ops.Expm1, "np.expm1({arg})", ATOM),
    (ops.Floor, "np.floor({arg})", ATOM),
    (ops.HardSigmoid, "np.clip({alpha} * {x} + {beta}, 0, 1)", ATOM),
    (ops.HardSwish, "{x} * np.clip({x} + 3, 0, 6) / 6", PRODUCT),
    (ops.LeakyRelu, "np.where({x} >= 0, {x}, {alpha} * {x})", ATOM),
    (ops.Log, "np.log({arg})", ATOM),
    (ops.Log10, "np.log10({arg})", ATOM),
    (ops.Log1p, "np.log1p({arg})", ATOM),
    (ops.Log2, "np.log2({arg})", ATOM),
    (ops.Neg, "-{x}", POWER),
    (ops.Reciprocal, "1 / {x}", PRODUCT),
    (ops.Relu, "np.maximum({arg}, 0)", ATOM),
    (ops.Relu6, "np.clip({arg}, 0, 6)", ATOM),
    (ops.Round, "np.round({arg})", ATOM),
    (ops.Rsqrt, "1 / np.sqrt({arg})", PRODUCT),
    (ops.Sign, "np.sign({arg})", ATOM),
    (ops.Sin, "np.sin({arg})", ATOM),
    (ops.Sinh, "np.sinh({arg})", ATOM),
    (ops.Softsign, "{x} / (1 + np.abs({x}))", PRODUCT),
    (ops.SparsePlus, "np.where({x} <= -1, 0, np.where({x} >= 1, {x}, ({x} + 1) ** 2 / 4))", ATOM),
    (ops.SparseSigmoid, "np.clip(({arg} + 1) / 2, 0, 1)", ATOM),
    (ops.Square, "{x} ** 2", POWER),
    (ops.Squareplus, "({x} + np.sqrt({x} ** 2 + {b})) / 2", PRODUCT),
    (ops.Tan, "np.tan({arg})", ATOM),
    (ops.Tanh, "np.tanh({arg})", ATOM),
    (ops.TanhShrink, "{x} - np.tanh({x})", SUM),
    (ops.Trunc, "np.trunc({arg})", ATOM),
)
for _kind, _text, _level in _TABLE:
    writes(_kind)(_formula(_text, _level))


@writes(ops.Identity, ops.Stored)
def _identity(op: ops.Op, w: HandWriter, x: Value) -> Value:
    return x


@writes(ops.Sqrt)
def _sqrt(op: ops.Sqrt, w: HandWriter, x: Value) -> Value:
    return w.result(x.root, ATOM, x.order)


@writes(ops.Sigmoid)
def _sigmoid(op: ops.Sigmoid, w: HandWriter, x: Value) -> Value:
    return w.result(f"{w.helper('sigmoid')}({x.text})", ATOM, x.order)


@writes(ops.Swish)
def _swish(op: ops.Swish, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    inner = x.text if op.alpha == 1 else f"{number(op.alpha)} * {x.at(PRODUCT)}"
    return w.result(f"{x.text} * {w.helper('sigmoid')}({inner})", PRODUCT, x.order)


@writes(ops.Gelu)
def _gelu(op: ops.Gelu, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    if op.approximate == "tanh":
        cubic = f"{x.at(SUM)} + 0.044715 * {x.at(ATOM)} ** 3"
        text = f"0.5 * {x.at(PRODUCT)} * (1 + np.tanh(np.sqrt(2 / np.pi) * ({cubic})))"
    else:
        text = f"{x.at(PRODUCT)} * (1 + {w.helper('erf')}({x.at(PRODUCT)} / np.sqrt(2))) / 2"
    return w.result(text, PRODUCT, x.order)


@writes(ops.Clip)
def _clip(op: ops.Clip, w: HandWriter, x: Value) -> Value:
    low, high = ("None" if end is None else number(end) for end in (op.low, op.high))
    return w.result(f"np.clip({x.text}, {low}, {high})", ATOM, x.order)


@writes(ops.PRelu)
def _prelu(op: ops.PRelu, w: HandWriter, x: Value) -> Value:
    (x, slope), order = w.aligned(w.named("values", x), w.weight(op.slope))
    text = f"np.where({x.text} >= 0, {x.text}, {slope.text} * {x.text})"
    return w.result(text, ATOM, order)


@writes(ops.Erf)
def _erf(op: ops.Erf, w: HandWriter, x: Value) -> Value:
    return w.result(f"{w.helper('erf')}({x.text})", ATOM, x.order)


@writes(ops.Mish)
def _mish(op: ops.Mish, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    text = f"{x.at(PRODUCT)} * np.tanh({w.helper('softplus')}({x.text}))"
    return w.result(text, PRODUCT, x.order)


@writes(ops.LogSigmoid)
def _log_sigmoid(op: ops.LogSigmoid, w: HandWriter, x: Value) -> Value:
    return w.result(f"-{w.helper('softplus')}(-{x.at(ATOM)})", POWER, x.order)


@writes(ops.Softplus)
def _softplus(op: ops.Softplus, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    scaled, divided = x.text, ""
    if op.beta != 1:
        scaled, divided = f"{number(op.beta)} * {x.at(PRODUCT)}", f" / {number(op.beta)}"
    text = f"{w.helper('softplus')}({scaled}){divided}"
    if op.threshold is None:
        return w.result(text, PRODUCT, x.order)
    text = f"np.where({scaled} > {number(op.threshold)}, {x.text}, {text})"
    return w.result(text, ATOM, x.order)


@writes(ops.Selu)
def _selu(op: ops.Selu, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    below = f"{number(op.ALPHA)} * np.expm1({x.text})"
    text = f"{number(op.GAMMA)} * np.where({x.text} > 0, {x.text}, {below})"
    return w.result(text, PRODUCT, x.order)


@writes(ops.ThresholdedRelu)
def _thresholded(op: ops.ThresholdedRelu, w: HandWriter, x: Value) -> Value:
    x, edge, value = w.named("values", x), number(op.threshold), number(op.value)
    text = f"np.where({x.text} > {edge}, {x.text}, {value})"
    if op.keeps_nan:
        text = f"np.where({x.text} <= {edge}, {value}, {x.text})"
    return w.result(text, ATOM, x.order)


@writes(ops.Shrink)
def _shrink(op: ops.Shrink, w: HandWriter, x: Value) -> Value:
    x, edge, bias = w.named("values", x), number(op.lambd), number(op.bias)
    between = f"np.where({x.text} != {x.text}, {x.text}, 0)" if op.keeps_nan else "0"
    above = f"np.where({x.text} > {edge}, {x.text} - {bias}, {between})"
    text = f"np.where({x.text} < -{edge}, {x.text} + {bias}, {above})"
    return w.result(text, ATOM, x.order)


@writes(ops.ScaledRelu)
def _scaled_relu(op: ops.ScaledRelu, w: HandWriter, x: Value) -> Value:
    x, slope = w.named("values", x), number(op.negative_slope)
    above = x.text
    if op.max_value is not None:
        above = f"np.minimum({x.text}, {number(op.max_value)})"
    if not op.threshold:
        text, level = f"np.maximum({above}, 0)", ATOM
        if op.negative_slope:
            text, level = f"{text} + {slope} * np.minimum({x.text}, 0)", SUM
        return w.result(text, level, x.order)
    edge = number(op.threshold)
    below = f"{slope} * ({x.text} - {edge})" if op.negative_slope else "0"
    return w.result(f"np.where({x.text} > {edge}, {above}, {below})", ATOM, x.order)


@writes(ops.Cast)
def _cast(op: ops.Cast, w: HandWriter, x: Value) -> Value:
    if op.to == "bool":
        return w.result(f"{x.at(SUM)} != 0", TEST, x.order)
    if op.to == "float64":
        return w.result(f"{x.array}.astype(np.float64)", ATOM, x.order)
    if op.to in ("float16", "float32"):
        text = f"{x.array}.astype(np.{_TYPES[op.to]}).astype(np.float64)"
        return w.result(text, ATOM, x.order)
    if op.to not in _TYPES:
        raise Unwritten("a type that NumPy does not have")
    text = f"{x.array}.astype(np.int64)"
    if op.to != "int64":
        text += f".astype(np.{_TYPES[op.to]})"
    return w.result(text, ATOM, x.order)


_TYPES = {
    name: name
    for name in ("float16 float32 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split())
}
