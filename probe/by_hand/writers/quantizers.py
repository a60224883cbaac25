"""Quantisers of QKeras and HGQ2: to levels that are equally far apart, to powers of two, to a sign.

Their straight-through form, x + (levels - x), is not spelled out: it gives the levels.
"""

from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.along_axis import over

_SUBNORMAL = "-np.finfo(np.float32).tiny"
"""TensorFlow takes smaller numbers for zero, and zero for positive."""


def operands(w: HandWriter, x: Value, **parts: object) -> tuple[Value, dict[str, str]]:
    """What broadcasts against the input, as texts: numbers, and arrays beside an input in the order
    of the op."""
    arrays = {name: np.asarray(part) for name, part in parts.items()}
    if x.order is not None and any(array.size > 1 for array in arrays.values()):
        x = w.plain(x)
    return x, {name: _constant(w, name, array) for name, array in arrays.items()}


def _constant(w: HandWriter, name: str, array: np.ndarray) -> str:
    if array.size == 1:
        return number(array.ravel()[0])
    return w.named(name, w.constant(name, array)).text


def _whole(op: Any) -> None:
    if op.noise != 1:
        raise Unwritten("a quantiser whose levels are mixed with what they stand for")


@writes(ops.QuantizedBits)
def _quantized_bits(op: ops.QuantizedBits, w: HandWriter, x: Value) -> Value:
    _whole(op)
    unsigned = op.bits - op.keep_negative
    alpha = np.asarray(op.alpha, np.float32)
    if unsigned <= 0:
        x, at = operands(w, x, alpha=alpha)
        sign = f"np.where({x.text} <= {_SUBNORMAL}, {-int(op.keep_negative)}, 1)"
        return w.result(_times(at["alpha"], sign), PRODUCT, x.order)
    x, at = operands(w, x, size=np.exp2(np.asarray(op.integer, float) - unsigned), alpha=alpha)
    low = int(op.symmetric) - 2**unsigned if op.keep_negative else 0
    levels = f"np.clip(np.round({x.at(PRODUCT)} / {at['size']}), {low}, {2**unsigned - 1})"
    if alpha.size == 1 and np.ndim(op.integer) == 0:
        size = number(float(alpha.ravel()[0]) * 2.0 ** (int(op.integer) - unsigned))
        return w.result(f"{size} * {levels}", PRODUCT, x.order)
    text = _times(at["alpha"], f"{at['size']} * {levels}")
    return w.result(text, PRODUCT, x.order)


def _times(factor: str, text: str) -> str:
    return text if factor == "1" else f"{factor} * {text}"


@writes(ops.QuantizedRelu)
def _quantized_relu(op: ops.QuantizedRelu, w: HandWriter, x: Value) -> Value:
    _whole(op)
    bits = op.bits - (op.negative_slope != 0)
    integer = np.asarray(op.integer, float)
    x, at = operands(w, x, size=np.exp2(integer - bits), range_=np.exp2(integer))
    if op.sigmoid is not None or op.negative_slope:
        x = w.named("values", x)
    if op.sigmoid is None:
        share = f"{x.at(PRODUCT)} / {at['size']}"
        text = f"{at['size']} * np.clip(np.round({share}), 0, {2**bits - 1})"
        if op.negative_slope:
            slope = number(np.float32(op.negative_slope))
            lowest = number(-float(np.float32(op.negative_slope)) * 2**bits)
            below = f"np.clip(np.round({share} * {slope}), {lowest}, 0)"
            text += f" + {at['size']} * {below}"
    else:
        text = _of_sigmoid(op, w, x, at["range_"], bits)
    if op.upper_bound and not op.quantized_clip:
        text = f"np.minimum({text}, {number(np.float32(op.upper_bound))})"
        return w.result(text, ATOM, x.order)
    return w.result(text, SUM, x.order)


def _of_sigmoid(op: ops.QuantizedRelu, w: HandWriter, x: Value, size: str, bits: int) -> str:
    """2 * sigmoid - 1, rounded and clipped; the sigmoid is a line where it has a slope."""
    inside = f"{x.at(PRODUCT)} / {size}"
    if op.sigmoid:
        line = f"{number(np.float32(op.sigmoid))} * {inside} + 0.5"
        share = f"np.clip({line}, 0, 1)"
    else:
        share = f"{w.helper('sigmoid')}({inside})"
    p = w.let("p", Value(f"{share} * {2**bits}", x.shape, x.order)).text
    last = number(1 - 2.0**-bits)
    text = f"{size} * np.clip(2 * (np.round({p}) / {2**bits}) - 1, 0, {last})"
    if not op.negative_slope:
        return text
    slope = float(np.float32(op.negative_slope))
    part = f"2 * (np.round({p} * {number(slope)}) / {number(slope * 2**bits)}) - 1"
    return f"{text} + {size} * {number(slope)} * np.clip({part}, -1, 0)"


@writes(ops.Affine)
def _affine(op: ops.Affine, w: HandWriter, x: Value) -> Value:
    gain, offset = np.float32(op.gain), np.float32(op.offset)
    text = f"{number(gain)} * {x.at(PRODUCT)} + {number(offset)}"
    return w.result(text, SUM, x.order)


@writes(ops.ShiftedHardSwish)
def _shifted_hard_swish(op: ops.ShiftedHardSwish, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    shift, bound = number(np.float32(op.shift)), number(np.float32(op.bound))
    text = f"{x.text} * np.clip({x.text} + {shift}, 0, {bound}) / {bound}"
    return w.result(text, PRODUCT, x.order)


def _sigmoid(slope: float | None, w: HandWriter, x: str) -> str:
    """QKeras' sigmoid: a line between 0 and 1 where it has a slope."""
    if slope is None:
        return f"{w.helper('sigmoid')}({x})"
    return f"np.clip({number(np.float32(slope))} * {x} + 0.5, 0, 1)"


@writes(ops.QuantizedSigmoid)
def _quantized_sigmoid(op: ops.QuantizedSigmoid, w: HandWriter, x: Value) -> Value:
    parts = 2.0**op.bits
    top = 1.0 if op.full else 1 - 1 / parts
    p = f"{_sigmoid(op.slope, w, x.at(PRODUCT))} * {number(parts)}"
    ends = f"{number(op.symmetric / parts)}, {number(top)}"
    return w.result(f"np.clip(np.round({p}) / {number(parts)}, {ends})", ATOM, x.order)


@writes(ops.QuantizedTanh)
def _quantized_tanh(op: ops.QuantizedTanh, w: HandWriter, x: Value) -> Value:
    parts = 2.0 ** (op.bits - 1)
    if op.real:
        curve = f"np.tanh({x.text})"
    else:
        curve = f"(2 * {_sigmoid(op.slope, w, x.at(PRODUCT))} - 1)"
    ends = f"{number(op.symmetric / parts - 1)}, {number(1 - 1 / parts)}"
    text = f"np.clip(np.round({curve} * {number(parts)}) / {number(parts)}, {ends})"
    return w.result(text, ATOM, x.order)


@writes(ops.QuantizedUlaw)
def _quantized_ulaw(op: ops.QuantizedUlaw, w: HandWriter, x: Value) -> Value:
    parts, size, u = 2.0 ** (op.bits - 1), number(2.0**op.integer), number(np.float32(op.u))
    share = _sigmoid(op.slope, w, f"({x.at(PRODUCT)} / {size})")
    text = f"2 * (np.round({share} * {number(parts)}) / {number(parts)}) - 1"
    r = w.let("r", Value(text, x.shape, x.order))
    bent = f"np.sign({r.text}) * np.log(1 + {u} * np.abs({r.text})) / np.log(1 + {u})"
    ends = f"{number(op.symmetric / parts - 1)}, {number(1 - 1 / parts)}"
    return w.result(f"{size} * np.clip({bent}, {ends})", PRODUCT, x.order)


@writes(ops.Binary)
def _binary(op: ops.Binary, w: HandWriter, x: Value) -> Value:
    _whole(op)
    if isinstance(op.alpha, str):
        raise Unwritten("a scale that is fitted to the values")
    x, at = operands(w, x, alpha=np.asarray(1.0 if op.alpha is None else op.alpha, np.float32))
    low = "0" if op.zero_one else "-1"
    sign = f"np.where({x.text} <= {_SUBNORMAL}, {low}, 1)"
    return w.result(_times(at["alpha"], sign), PRODUCT, x.order)


@writes(ops.Ternary)
def _ternary(op: ops.Ternary, w: HandWriter, x: Value) -> Value:
    _whole(op)
    if isinstance(op.alpha, str):
        raise Unwritten("a scale that is fitted to the values")
    x, at = operands(w, x, alpha=np.asarray(1.0 if op.alpha is None else op.alpha, np.float32))
    x = w.named("values", x)
    least = number(np.float32(op.threshold))
    sign = f"np.sign({x.text}) * (np.abs({x.text}) >= {least})"
    return w.result(_times(at["alpha"], sign), PRODUCT, x.order)


@writes(ops.AutoQuantizedBits)
def _auto_quantized_bits(op: ops.AutoQuantizedBits, w: HandWriter, x: Value) -> Value:
    if op.noise != 1 or op.power_of_two or np.ndim(op.integer):
        raise Unwritten("a scale that is fitted to the values in several rounds")
    x = w.named("values", w.plain(x))
    high = 2.0 ** (op.bits - 1) - 1
    largest = f"np.abs({x.text}).max({over(op.axes, True)})"
    shape = tuple(1 if axis in op.axes else size for axis, size in enumerate(x.shape))
    scale = w.let("scale", Value(f"{largest} / {number(high)}", shape), "of the values themselves")
    levels = f"np.minimum(np.floor(np.abs({x.text}) / {scale.text} + 0.5), {number(high)})"
    return w.result(f"{scale.text} * np.sign({x.text}) * {levels}", PRODUCT)


@writes(ops.QuantizedPo2)
def _quantized_po2(op: ops.QuantizedPo2, w: HandWriter, x: Value) -> Value:
    _whole(op)
    x = w.named("values", x)
    powers = _powers(op, w, f"np.abs({x.text})", x)
    return w.result(f"np.where({x.text} <= {_SUBNORMAL}, -{powers}, {powers})", ATOM, x.order)


@writes(ops.QuantizedReluPo2)
def _quantized_relu_po2(op: ops.QuantizedReluPo2, w: HandWriter, x: Value) -> Value:
    _whole(op)
    x = w.named("values", x)
    slope = number(np.float32(op.negative_slope))
    powers = _powers(op, w, f"np.where({x.text} >= 0, {x.text}, -{x.text} * {slope})", x)
    if not op.negative_slope:
        return Value(powers, x.shape, x.order)
    return w.result(f"np.where({x.text} <= {_SUBNORMAL}, -{powers}, {powers})", ATOM, x.order)


def _powers(op: ops.QuantizedPo2 | ops.QuantizedReluPo2, w: HandWriter, size: str, x: Value) -> str:
    """The name of the nearest powers of two to some magnitudes."""
    least, most = "np.float32(1e-07)", "None"
    if op.max_value is not None:
        most = number(np.float32(op.max_value))
    name = w.let("size", Value(size, x.shape, x.order)).text
    inside = f"np.clip({name}, {least}, {most})"
    if op.quadratic:
        inside = f"np.sqrt({inside})"
    logarithm = f"np.log({inside}) / {number(np.float32(np.log(2.0)))}"
    exponent = (
        f"np.clip({'np.floor' if op.floor else 'np.round'}({logarithm}), {op.low}, {op.high})"
    )
    if op.quadratic:
        exponent = f"2 * {exponent}"
    exponent = f"np.where({name} < {least}, {op.low}, {exponent})"
    made = w.let("exponent", Value(exponent, x.shape, x.order))
    return w.let("powers", Value(f"np.exp2({made.text})", x.shape, x.order)).text


_ROUNDINGS = {
    "RND": "np.floor({p} + 0.5)",
    "RND_CONV": "np.round({p})",
    "TRN": "np.floor({p})",
    "TRN_ZERO": "np.trunc({p})",
    "RND_ZERO": "np.sign({p}) * np.ceil(np.abs({p}) - 0.5)",
    "RND_MIN_INF": "np.ceil({p} - 0.5)",
    "RND_INF": "np.sign({p}) * np.floor(np.abs({p}) + 0.5)",
}
"""The ways of rounding, by the names of AMD's ap_fixed."""


@writes(ops.FixedPoint)
def _fixed_point(op: ops.FixedPoint, w: HandWriter, x: Value) -> Value:
    if op.overflow not in ("", "WRAP", "SAT", "SAT_SYM") or op.rounding not in _ROUNDINGS:
        raise Unwritten("an overflow that folds back")
    sign, integer, fraction = (
        np.asarray(part, float) for part in (op.sign, op.integer, op.fraction)
    )
    step = np.exp2(-fraction)
    top = np.exp2(np.maximum(integer, -fraction))
    high, low = top - step, -sign * (top - step if op.overflow == "SAT_SYM" else top)
    none = sign + integer + fraction <= 0
    x, at = operands(w, x, step=step, low=low, high=high, span=high - low + step)
    text = f"{x.at(PRODUCT)} / {at['step']}"
    if op.overflow in ("SAT", "SAT_SYM"):
        text = f"np.clip({x.text}, {at['low']}, {at['high']}) / {at['step']}"
    p = Value(text, x.shape, x.order, PRODUCT)
    rounding = _ROUNDINGS[op.rounding]
    if rounding.count("{p}") > 1:
        p = w.let("p", p)
    rounded = rounding.replace("{p}", p.at(SUM))
    text, level = f"{rounded} * {at['step']}", PRODUCT
    if op.overflow == "WRAP":
        text = f"np.mod({text} - {_bracketed(at['low'])}, {at['span']}) + {_bracketed(at['low'])}"
        level = SUM
    if op.overflow and none.any():
        _, at = operands(w, x, none=none)
        return w.result(f"np.where({at['none']}, 0, {text})", ATOM, x.order)
    return w.result(text, level, x.order)


def _bracketed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text
