"""Sums of integers, and what brings them to codes: TensorFlow Lite's quantised arithmetic, exact in
64 bits but where a kernel itself computes in float32."""

from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import writer_of, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.quantizers import operands
from probe.ops.base import Op

_INT64 = np.dtype(np.int64)
_PLAIN: dict[type[Op], type[Op]] = {
    ops.IntegerConv: ops.Conv,
    ops.IntegerConvTranspose: ops.ConvTranspose,
    ops.IntegerMatMul: ops.MatMul,
}
"""The ops whose sums are written as those of floats are."""


def whole(w: HandWriter, x: Value) -> Value:
    """Numbers that are whole, in 64 bits."""
    (ref, *_) = w.computation.steps[w.position].sources(w.position)
    given = ref.of(w.computation.inputs, w.computation.values).dtype
    if given == _INT64:
        return x
    text = f"np.round({x.text})" if given.kind == "f" else x.array
    return Value(f"{text}.astype(np.int64)", x.shape, x.order)


@writes(*_PLAIN)
def _sums(op: Any, w: HandWriter, x: Value, *given: Value) -> Any:
    plain = object.__new__(_PLAIN[type(op)])
    plain.__dict__.update(op.__dict__)
    made: Value = writer_of(plain)(op, w, whole(w, x), *given)
    if w.dtype() == _INT64 and isinstance(op, ops.IntegerConvTranspose):  # summed in floats
        return Value(f"{made.at(ATOM)}.astype(np.int64)", made.shape, made.order)
    return made


@writes(ops.SubtractZeroPoint)
def _subtract_zero_point(op: ops.SubtractZeroPoint, w: HandWriter, x: Value) -> Value:
    x = whole(w, x)
    if not op.zero_point:
        return x
    sign = "-" if op.zero_point > 0 else "+"
    return w.result(f"{x.at(SUM)} {sign} {abs(op.zero_point)}", SUM, x.order)


@writes(ops.Requantize)
def _requantize(op: ops.Requantize, w: HandWriter, x: Value) -> Value:
    x = whole(w, x)
    if op.rounding == "fp32":
        return _in_float32(op, w, x)
    multiplier, bits = np.asarray(op.multiplier), 31 - np.asarray(op.shift)
    if op.rounding == "reduced":
        multiplier, bits = np.minimum((multiplier + (1 << 15)) >> 16, 0x7FFF), bits - 16
    if op.rounding in ("single", "reduced"):
        x, at = operands(w, x, multiplier=multiplier, bits=bits)
        product = w.let("product", Value(f"{x.at(PRODUCT)} * {at['multiplier']}", x.shape, x.order))
        half = f"(np.int64(1) << {_less_one(at['bits'])})"
        text = f"({product.text} + {half}) >> {at['bits']}"
        near = w.let("rounded", Value(text, x.shape, x.order), "rounded once, halves up")
    else:
        near = _rounded_twice(op, w, x)
    return w.result(
        f"np.clip({near.text}{plus(op.zero_point)}, {op.low}, {op.high})", ATOM, near.order
    )


def _rounded_twice(op: ops.Requantize, w: HandWriter, x: Value) -> Value:
    """The product in units of 2^-31, rounded, then the shift, rounded again."""
    shift = np.asarray(op.shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    x, at = operands(w, x, multiplier=op.multiplier, left=left, right=right)
    moved = f"({x.at(SUM)} << {at['left']})" if left.any() else x.at(PRODUCT)
    text = f"({moved} * {at['multiplier']} + 2**30) >> 31"
    high = w.let("high", Value(text, x.shape, x.order), "the product / 2^31, halves up")
    if not right.any():
        return high
    if op.rounding == "up":
        text = f"({high.text} + ((np.int64(1) << {at['right']}) >> 1)) >> {at['right']}"
        return w.let("rounded", Value(text, x.shape, x.order), "the shift, halves up")
    unit = w.let("unit", Value(f"np.int64(1) << {at['right']}", right.shape))
    size = f"(np.abs({high.text}) + {unit.text} // 2) // {unit.text}"
    text = f"np.sign({high.text}) * ({size})"
    return w.let("rounded", Value(text, x.shape, x.order), "the shift, halves away from zero")


def _less_one(bits: str) -> str:
    return str(int(bits) - 1) if bits.isdigit() else f"{bits} - 1"


def _in_float32(op: ops.Requantize, w: HandWriter, x: Value) -> Value:
    x, at = operands(w, x, scale=np.asarray(op.factor, np.float32).astype(np.float64))
    product = f"np.float32({x.text}) * {single(at['scale'])}"
    named = w.let("product", Value(product, x.shape, x.order), "in float32")
    ends = (number(end - op.zero_point) for end in (op.low, op.high))
    near = f"np.round(np.clip({named.text}, {', '.join(ends)})).astype(np.int64)"
    return w.result(f"{near}{plus(op.zero_point)}", SUM, x.order)


@writes(ops.ScaleInFloat32)
def _scale_in_float32(op: ops.ScaleInFloat32, w: HandWriter, x: Value) -> Value:
    factor, bias = (number(float(np.float32(part))) for part in (op.factor, op.bias))
    product = f"np.float32({x.text}) * {single(factor)} + {single(bias)}"
    near = f"np.round({product})"
    if op.rounding == "away":
        share = Value(f"({product}).astype(float)", x.shape, x.order)
        near = _rounded_away(w.let("share", share, "in float32"))
    text = f"np.clip({near}{plus(op.zero_point)}, {op.low}, {op.high}).astype(np.int64)"
    return w.result(text, ATOM, x.order)


def _rounded_away(share: Value) -> str:
    """To the nearest, halves away from zero."""
    return f"np.trunc({share.text} + np.copysign(0.5, {share.text}))"


@writes(ops.DivideRounded)
def _divide_rounded(op: ops.DivideRounded, w: HandWriter, x: Value) -> Value:
    x, at = operands(w, whole(w, x), count=op.count)
    x = w.named("values", x)
    size = f"(2 * np.abs({x.text}) + {at['count']}) // (2 * {at['count']})"
    return w.result(f"np.sign({x.text}) * ({size})", PRODUCT, x.order)


@writes(ops.QuantizeFloat)
def _quantize_float(op: ops.QuantizeFloat, w: HandWriter, x: Value) -> Value:
    step = number(float(np.float32(op.step)))
    narrow = f"np.float32({x.text})"
    share = {
        "division": f"{narrow} / {single(step)}",
        "reciprocal": f"{narrow} * (np.float32(1) / {single(step)})",
        "wide division": f"{narrow}.astype(float) / {step}",
    }[op.by]
    made = Value(f"({share}).astype(float)", x.shape, x.order)
    named = w.let("share", made, "as the kernel divides")
    near = f"np.round({named.text})"
    if op.rounding == "away":
        near = _rounded_away(named)
    text = f"np.clip({near}{plus(op.zero_point)}, {op.low}, {op.high}).astype(np.int64)"
    return w.result(text, ATOM, x.order)


def single(text: str) -> str:
    """A number in float32."""
    return text if text.startswith("np.float32(") else f"np.float32({text})"


def plus(zero: int) -> str:
    """What adds a zero point; "" where it is 0."""
    if not zero:
        return ""
    return f" - {-zero}" if zero < 0 else f" + {zero}"
