"""Quantisers of PyTorch, ONNX, TensorFlow and Brevitas: a scale, a zero point, and ends."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.along_axis import over
from probe.by_hand.writers.quantizers import operands

_INT_ROUNDINGS = {
    "even": "np.round({p})",
    "floor": "np.floor({p})",
    "ceil": "np.ceil({p})",
    "zero": "np.trunc({p})",
}


@writes(ops.QuantizeLinear)
def _quantize_linear(op: ops.QuantizeLinear, w: HandWriter, x: Value) -> Value:
    x, at = operands(w, x, scale=op.size, zero_point=op.zero_point)
    codes = f"np.round({x.at(PRODUCT)} / {at['scale']}){_plus(at['zero_point'])}"
    return w.result(f"np.clip({codes}, {op.low}, {op.high})", ATOM, x.order)


def _plus(zero: str) -> str:
    if zero == "0":
        return ""
    return f" - {zero[1:]}" if zero.startswith("-") else f" + {zero}"


@writes(ops.FakeQuantize)
def _fake_quantize(op: ops.FakeQuantize, w: HandWriter, x: Value) -> Value:
    if op.wraps:
        raise Unwritten("levels beyond 64 bits")
    size, zero = np.asarray(op.size, np.float32), np.asarray(op.zero_point, np.float32)
    x, at = operands(w, x, scale=size.astype(np.float64), zero_point=zero)
    x = w.named("values", x)
    share = f"{x.text} * np.float32(1 / {at['scale']})"
    if op.zero_first:
        share += _plus(at["zero_point"])
    codes = f"np.round({_as_float32(w, x, share)})"
    if not op.zero_first:
        codes += _plus(at["zero_point"])
    levels = f"np.clip({codes}, {op.low}, {op.high})"
    if at["zero_point"] != "0":
        levels = f"({levels} - {at['zero_point']})"
    return w.result(f"{levels} * {at['scale']}", PRODUCT, x.order)


def _as_float32(w: HandWriter, x: Value, share: str) -> str:
    """The name of quotients as float32 rounds them, of numbers that it holds."""
    named = w.let("share", Value(share, x.shape, x.order))
    text = f"np.where({x.text} == np.float32({x.text}), np.float32({named.text}), {named.text})"
    words = "as float32 rounds it, where it holds the number"
    return w.let("quotient", Value(text, x.shape, x.order), words).text


@writes(ops.IntQuantize)
def _int_quantize(op: ops.IntQuantize, w: HandWriter, x: Value) -> Value:
    if op.rounding not in _INT_ROUNDINGS:
        raise Unwritten("negative halves rounded up")
    size, zero = op.before or (op.size, op.zero_point)
    x, at = operands(w, x, scale=size, zero_point=zero, after=op.size, zero_after=op.zero_point)
    wide = replace(op, **{name: _float64(getattr(op, name)) for name in _SIZES})
    share = _quotient(w, x, at["scale"], at["zero_point"], op.f, wide.f).text
    codes = _INT_ROUNDINGS[op.rounding].replace("{p}", share)
    levels = f"np.clip({codes}, {op.low}, {op.high})"
    if at["zero_after"] != "0":
        levels = f"({levels} - {at['zero_after']})"
    return w.result(f"{levels} * {at['after']}", PRODUCT, x.order)


_SIZES = ("size", "zero_point", "before")


def _float64(part: Any) -> Any:
    if part is None:
        return None
    if isinstance(part, tuple):
        return tuple(map(_float64, part))
    return np.asarray(part, np.float64)


@writes(ops.SignQuantize)
def _sign_quantize(op: ops.SignQuantize, w: HandWriter, x: Value) -> Value:
    size = np.asarray(op.size)
    if op.threshold is None:
        x, at = operands(w, x, scale=size)
        text = f"np.where({x.text} >= 0, {at['scale']}, -{at['scale']})"
        return w.result(text, ATOM, x.order)
    x, at = operands(w, x, scale=size, bound=size * size.dtype.type(op.threshold))
    x = w.named("values", x)
    sign = f"np.where(np.abs({x.text}) > {at['bound']}, np.sign({x.text}), 0)"
    return w.result(f"{sign} * {at['scale']}", PRODUCT, x.order)


@writes(ops.AbsMaxQuantize)
def _abs_max_quantize(op: ops.AbsMaxQuantize, w: HandWriter, x: Value) -> Value:
    x = w.named("values", w.plain(x))
    shape = tuple(
        1 if axis in [k % x.rank for k in op.axes] else size for axis, size in enumerate(x.shape)
    )
    largest = f"np.abs({x.text}).max({over([k % x.rank for k in op.axes], True)})"
    text = f"{op.high} / ({largest} + {number(op.epsilon)})"
    scale = w.let("scale", Value(text, shape), "of the largest magnitude")
    levels = f"np.clip(np.round({x.text} * {scale.text}), {op.low}, {op.high})"
    return w.result(f"{levels} / {scale.text}", PRODUCT)


@writes(ops.DynamicQuantizeLinear)
def _dynamic_quantize_linear(
    op: ops.DynamicQuantizeLinear, w: HandWriter, x: Value
) -> tuple[Value, ...]:
    x = w.named("values", x)
    low = w.let("low", Value(f"np.min({x.text}, initial=0)", ()))
    span = f"(np.max({x.text}, initial=0) - {low.text}) / 255"
    scale = w.let("scale", Value(f"{span} or 1.0", ()), "256 levels over the range of the values")
    zero = w.let("zero_point", Value(f"np.clip(np.round(-{low.text} / {scale.text}), 0, 255)", ()))
    codes = f"np.clip(np.round({x.text} / {scale.text}) + {zero.text}, 0, 255)"
    return w.result(codes, ATOM, x.order), scale, zero


@writes(ops.Float8)
def _float8(op: ops.Float8, w: HandWriter, x: Value) -> Value:
    of, size = op.numbers, "" if op.size == 1 else f" / {number(op.size)}"
    most = number(of.largest)
    text = f"{x.at(PRODUCT)}{size}"
    if op.saturates:
        text = f"np.clip({text}, -{most}, {most})"
    inside = w.let("inside", Value(text, x.shape, x.order))
    exponent = f"np.maximum(np.frexp({inside.text})[1] - 1, {of.lowest})"
    words = f"{of.fraction} bits behind the first"
    step = w.let("step", Value(f"np.exp2({exponent} - {of.fraction}.0)", x.shape, x.order), words)
    text, level = f"np.round({inside.text} / {step.text}) * {step.text}", PRODUCT
    if not op.saturates:
        near = w.let("rounded", Value(text, x.shape, x.order)).text
        beyond = f"np.copysign({number(of.beyond)}, {near})"
        text, level = f"np.where(np.abs({near}) > {most}, {beyond}, {near})", ATOM
    if size:
        text, level = f"{text} * {number(op.size)}", PRODUCT
    return w.result(text, level, x.order)


@writes(ops.FloatQuantize)
def _float_quantize(op: ops.FloatQuantize, w: HandWriter, x: Value) -> Value:
    wide = replace(op, size=np.asarray(op.size, np.float64))
    x, at = operands(w, x, scale=op.size)
    share = _quotient(w, x, at["scale"], "0", op.f, wide.f)
    ratio = w.let("ratio", share)
    exponent = f"np.frexp({ratio.text})[1] - 1.0 - {op.mantissa}"
    step = w.let("step", Value(f"np.exp2(np.maximum({exponent}, {op.lowest}))", x.shape, x.order))
    floats = f"np.round({ratio.text} / {step.text}) * {step.text}"
    text = f"np.clip({floats}, {number(op.low)}, {number(op.high)}) * {at['scale']}"
    return w.result(text, PRODUCT, x.order)


def _quotient(
    w: HandWriter,
    x: Value,
    scale: str,
    zero: str,
    f: Callable[[np.ndarray], np.ndarray],
    wide: Callable[[np.ndarray], np.ndarray],
) -> Value:
    """x / scale + zero: as float32 rounds it where it holds the number, if that tells."""
    (ref, *_) = w.computation.steps[w.position].sources(w.position)
    array = ref.of(w.computation.inputs, w.computation.values).astype(np.float64)
    text = f"{x.at(PRODUCT)} / {scale}{_plus(zero)}"
    if np.array_equal(f(array), wide(array), equal_nan=True):
        return Value(text, x.shape, x.order, PRODUCT if zero == "0" else SUM)
    x = w.named("values", x)
    narrow = w.let("narrow", Value(f"np.float32({x.text})", x.shape, x.order)).text
    share = f"{narrow} / np.float32({scale}){'' if zero == '0' else f' + np.float32({zero})'}"
    text = f"np.where({narrow} == {x.text}, {share}, {x.text} / {scale}{_plus(zero)})"
    return w.let("share", Value(text, x.shape, x.order), "as float32 rounds it")


@writes(ops.MiniFloat)
def _mini_float(op: ops.MiniFloat, w: HandWriter, x: Value) -> Value:
    e, m, first = (np.asarray(part, float) for part in (op.e, op.m, op.e0))
    largest = np.maximum(np.exp2(e - 1), 1.0)
    low, high, bits = 1 - largest + first, largest + first - 1, m + 1
    x, at = operands(w, w.plain(x), low=low, high=high, bits=bits)
    x = w.named("values", x)
    exponent = f"np.frexp(np.abs({x.text}) + 1e-07)[1] - 1.0"
    used = w.let("exponent", Value(f"np.clip({exponent}, {at['low']}, {at['high']})", x.shape))
    step = w.let("step", Value(f"np.exp2({used.text} - {at['bits']} + 1)", x.shape))
    most = f"np.exp2({at['bits']}) - ({used.text} == {at['high']})"
    limit = w.let("limit", Value(most, x.shape))
    text = f"np.clip(np.round({x.text} / {step.text}), -{limit.text}, {limit.text}) * {step.text}"
    return w.result(text, PRODUCT)


@writes(ops.DynamicQuantize)
def _dynamic_quantize(op: ops.DynamicQuantize, w: HandWriter, x: Value) -> Value:
    if 0 < op.axes < x.rank:
        raise Unwritten("a range for each slice")
    x = w.named("values", x)
    low = w.let("low", Value(f"np.minimum(np.float32({x.text}.min()), 0).astype(float)", ()))
    high = w.let("high", Value(f"np.maximum(np.float32({x.text}.max()), 0).astype(float)", ()))
    words = f"{op.high + 1} levels over the range of the values, 0 among them"
    scale = w.let("scale", Value(f"({high.text} - {low.text}) / {op.high}", ()), words)
    level = f"np.clip(np.round(-{low.text} / {scale.text}), 0, {op.high})"
    zero = w.let("zero_point", Value(level, ()))
    size = w.let("size", Value(f"np.float32(np.maximum({scale.text}, np.float32(6.1e-05)))", ()))
    share = f"{x.text} * (1 / {size.text}).astype(float) + {zero.text}"
    codes = f"np.clip(np.round({_as_float32(w, x, share)}), 0, {op.high})"
    return w.result(f"({codes} - {zero.text}) * {size.text}.astype(float)", PRODUCT, x.order)


@writes(ops.NudgedFakeQuantize)
def _nudged(op: ops.NudgedFakeQuantize, w: HandWriter, x: Value) -> Value:
    low, high = np.asarray(op.low, np.float32), np.asarray(op.high, np.float32)
    if op.bits > 30 or ((low == 0) & (high == 0)).any():
        raise Unwritten("an empty range")
    first, last = np.float32(op.narrow), np.float32(2**op.bits - 1)
    step = np.asarray((high - low) / (last - first), np.float32)
    zero = np.clip(np.floor(first - low / step + np.float32(0.5)), first, last)
    zero = np.asarray(zero, np.float32)
    inverse = np.asarray((last - first) / (high - low), np.float32)
    least, most = (first - zero) * step, (last - zero) * step
    shift = np.floor(-least * inverse + np.float32(0.5))
    x, at = operands(w, x, low=least, high=most, step=step, zero_point=shift, inverse=inverse)
    inside = f"(np.clip({x.text}, {at['low']}, {at['high']}) - {_bracketed(at['low'])})"
    share = f"{inside} / {at['step']}" if op.divides else f"{inside} * {at['inverse']}"
    levels = f"np.floor({share} - {_bracketed(at['zero_point'])} + 0.5)"
    comment = "the range is moved so that 0 is a level"
    made = w.let("levels", Value(levels, x.shape, x.order), comment)
    return w.result(f"{made.text} * {at['step']}", PRODUCT, x.order)


def _bracketed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text
