"""Functions of each element."""

from collections.abc import Callable
from typing import Any

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, POWER, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter


def _formula(text: str, level: int = ATOM) -> Callable[..., Value]:
    """A writer of one expression: ``{x}`` binds as a name does, ``{arg}`` is an argument of a
    function, anything else a field of the op. An x that is used twice is given a name."""
    several = text.count("{x}") + text.count("{arg}") > 1

    def write(op: Any, w: HandWriter, x: Value) -> Value:
        if several:
            x = w.named("x_", x)
        fields = {name: number(getattr(op, name)) for name in _fields(op) if f"{{{name}}}" in text}
        return w.result(text.format(x=x.at(ATOM), arg=x.text, **fields), level, x.order)

    return write


def _fields(op: Any) -> tuple[str, ...]:
    return tuple(type(op).__dataclass_fields__)


_TABLE = (
    (ops.Relu, "np.maximum({arg}, 0)", ATOM),
    (ops.Relu6, "np.clip({arg}, 0, 6)", ATOM),
    (ops.Abs, "np.abs({arg})", ATOM),
    (ops.Neg, "-{x}", POWER),
    (ops.Exp, "np.exp({arg})", ATOM),
    (ops.Tanh, "np.tanh({arg})", ATOM),
    (ops.HardSwish, "{x} * np.clip({x} + 3, 0, 6) / 6", PRODUCT),
    (ops.HardSigmoid, "np.clip({alpha} * {x} + {beta}, 0, 1)", ATOM),
    (ops.LeakyRelu, "np.where({x} >= 0, {x}, {alpha} * {x})", ATOM),
    (ops.Elu, "np.where({x} > 0, {x}, {alpha} * np.expm1(np.minimum({x}, 0)))", ATOM),
)
for _kind, _text, _level in _TABLE:
    writes(_kind)(_formula(_text, _level))


@writes(ops.Identity, ops.Stored)
def _identity(op: ops.Op, w: HandWriter, x: Value) -> Value:
    return x


@writes(ops.Sigmoid)
def _sigmoid(op: ops.Sigmoid, w: HandWriter, x: Value) -> Value:
    return w.result(f"{w.helper('sigmoid')}({x.text})", ATOM, x.order)


@writes(ops.Swish)
def _swish(op: ops.Swish, w: HandWriter, x: Value) -> Value:
    x = w.named("x_", x)
    inner = x.text if op.alpha == 1 else f"{number(op.alpha)} * {x.at(PRODUCT)}"
    return w.result(f"{x.text} * {w.helper('sigmoid')}({inner})", PRODUCT, x.order)


@writes(ops.Gelu)
def _gelu(op: ops.Gelu, w: HandWriter, x: Value) -> Value:
    x = w.named("x_", x)
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
    (x, slope), order = w.aligned(w.named("x_", x), w.weight(op.slope))
    text = f"np.where({x.text} >= 0, {x.text}, {slope.text} * {x.text})"
    return w.result(text, ATOM, order)
