"""Functions of codes as TensorFlow Lite's kernels compute them: in float32, in fixed point of 16
bits or from tables; and the codes of an input whose scale is that of its own values."""

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writer_of, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.along_axis import over
from probe.by_hand.writers.integer_codes import plus, single, whole

_BOUNDS = "-32768, 32767"
_IN_FLOAT32 = {
    "Sigmoid": "np.float32(1) / (np.float32(1) + np.exp(-{x}).astype(np.float32))",
    "Tanh": "np.tanh({x}).astype(np.float32)",
}
"""Functions of numbers in float64, rounded to float32 as C computes them."""
_GELU = {"Gelu": "none", "Gelu, tanh": "tanh"}


@writes(ops.DynamicInput)
def _dynamic_input(op: ops.DynamicInput, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    axes = over(sorted(x.axes[axis] for axis in op.axes), True)

    def stated(name: str, text: str, level: int = ATOM) -> str:
        shape = tuple(1 if axis in lying else n for axis, n in enumerate(x.shape))
        return w.let(name, Value(text, shape, x.order, level)).text

    lying = {x.axes[axis] for axis in op.axes}
    low = stated("low", f"np.minimum({x.text}.min({axes}), 0)")
    high = stated("high", f"np.maximum({x.text}.max({axes}), 0)")
    if op.symmetric:
        size = stated("size", f"np.maximum(-{low}, {high})")
        scale = stated("scale", f"np.where({size} == 0, 1, {size} / 127)")
        codes = f"np.clip(np.round({x.text} / {scale}), -127, 127)"
        return w.result(f"{codes} * {scale}", PRODUCT, x.order)
    scale = stated("scale", f"np.where({high} == {low}, 1, ({high} - {low}) / 255)")
    below, above = f"{low} / {scale}", f"{high} / {scale}"
    zero = stated("zero", f"np.where(-{below} < {above}, -128 - {below}, 127 - {above})")
    zero = stated("zero_point", f"np.clip(np.round({zero}), -128, 127)")
    codes = w.let(
        "codes",
        Value(f"np.clip(np.round({x.text} / {scale}) + {zero}, -128, 127)", x.shape, x.order),
    ).text
    return w.result(f"({codes} - {zero}) * {scale}", PRODUCT, x.order)


@writes(ops.FunctionOfCodes)
def _function_of_codes(op: ops.FunctionOfCodes, w: HandWriter, x: Value) -> Value:
    if op.by != "float32":
        raise Unwritten("FunctionOfCodes in fixed point of 31 bits, by polynomials of a kernel")
    x = whole(w, x)
    less = f"({x.at(SUM)}{plus(-op.zero_point)})"
    wide = f"({less}.astype(np.float32) * {single(number(op.step))}).astype(float)"
    named = w.let("numbers", Value(wide, x.shape, x.order), "what the codes stand for")
    if op.function in _GELU:
        gelu = ops.Gelu(approximate=_GELU[op.function])
        made: Value = writer_of(gelu)(gelu, w, named)
        text = f"{made.at(ATOM)}.astype(np.float32)"
    else:
        text = _IN_FLOAT32[op.function].format(x=named.text)
    value = w.let("value", Value(text, x.shape, x.order), "in float32")
    unit = f"(np.float32(1) / {single(number(op.out_step))})"
    share = f"({value.text} * {unit}).astype(float)"
    named = w.let("share", Value(share, x.shape, x.order), "in steps of the output")
    near = f"np.trunc({named.text} + np.copysign(0.5, {named.text}))"
    text = f"np.clip({near}{plus(op.out_zero_point)}, {op.low}, {op.high}).astype(np.int64)"
    return w.result(text, ATOM, x.order)


@writes(ops.SoftmaxOfCodes)
def _softmax_of_codes(op: ops.SoftmaxOfCodes, w: HandWriter, x: Value) -> Value:
    if op.by != "float32":
        raise Unwritten("SoftmaxOfCodes in fixed point of 31 bits, by polynomials of a kernel")
    below = _below_the_largest(w, x)
    step = float(np.float32(op.step) * np.float32(op.beta))
    share = f"({below.text}.astype(np.float32) * {single(number(step))}).astype(float)"
    powers = w.let("powers", Value(f"np.exp({share}).astype(np.float32)", below.shape)).text
    text = f"np.cumsum({powers}, axis=-1, dtype=np.float32)[..., -1:]"
    total = w.let("total", Value(text, (*below.shape[:-1], 1)), "one after another").text
    unit = f"(np.float32(1) / ({total} * {single(number(op.out_step))}))"
    near = f"np.round({powers} * {unit}).astype(np.int64)"
    return w.result(f"np.clip({near}{plus(op.out_zero_point)}, {op.low}, {op.high})")


def _below_the_largest(w: HandWriter, x: Value) -> Value:
    """Codes less the largest along the last axis."""
    codes = w.named("codes", w.plain(whole(w, x)))
    text = f"{codes.text} - {codes.text}.max(axis=-1, keepdims=True)"
    return w.let("below", Value(text, codes.shape))


@writes(ops.HardSwishOfCodes)
def _hard_swish_of_codes(op: ops.HardSwishOfCodes, w: HandWriter, x: Value) -> Value:
    (outer, shift), (inner, exponent) = op.multipliers()

    def stated(name: str, text: str, comment: str = "") -> str:
        return w.let(name, Value(text, x.shape, x.order), comment).text

    fine = stated("fine", f"{whole(w, x).at(PRODUCT)} * 128", "7 bits behind the point")
    value = stated("value", _times(fine, outer, 15), "x in steps of the output")
    raised = f"{fine} << {exponent - 1}" if exponent > 1 else fine
    gate = stated("gate", _times(f"np.clip({raised}, {_BOUNDS})", inner, 15))
    if exponent > 0:
        gate = stated("gate", f"np.clip({gate} << 1, {_BOUNDS})", "x / 3, from -1 to 1")
    if exponent < 0:
        gate = stated("gate", _shifted(gate, -exponent), "x / 3, from -1 to 1")
    gate = stated("gate", f"({gate} + 32768) >> 1", "relu6(x + 3) / 6")
    product = stated("product", f"{gate} * {value}")
    product = stated("product", f"np.sign({product}) * (np.abs({product}) >> 15)", "towards 0")
    code = f"{_shifted(product, max(-shift, 0))}{plus(op.zero_point)}"
    return w.result(f"np.clip({code}, {op.low}, {op.high})", ATOM, x.order)


def _times(x: str, multiplier: int, bits: int) -> str:
    """The product / 2^bits, halves up."""
    return f"({x} * {multiplier} + {1 << (bits - 1)}) >> {bits}"


def _shifted(x: str, bits: int) -> str:
    """A name / 2^bits, halves away from zero."""
    if not bits:
        return x
    return f"np.sign({x}) * ((np.abs({x}) + {1 << (bits - 1)}) >> {bits})"


@writes(ops.InterpolatedFunction)
def _interpolated_function(op: ops.InterpolatedFunction, w: HandWriter, x: Value) -> Value:
    codes = w.named("codes", whole(w, x))
    table = w.constant("table", op.table()).text
    return w.result(_looked_up(w, table, codes), SUM, x.order)


def _looked_up(w: HandWriter, table: str, code: Value) -> str:
    """On the line between two of 513 entries."""
    place = w.let("place", Value(f"256 + ({code.text} >> 7)", code.shape, code.order)).text
    text = f"{table}[{place} + 1] - {table}[{place}]"
    slope = w.let("slope", Value(text, code.shape, code.order), "to the next entry").text
    return f"{table}[{place}] + (({slope} * ({code.text} & 127) + 64) >> 7)"


@writes(ops.InterpolatedSoftmax)
def _interpolated_softmax(op: ops.InterpolatedSoftmax, w: HandWriter, x: Value) -> Value:
    below = _below_the_largest(w, x)
    (multiplier, shift), tables = op.scale(), op.tables()
    names = ("powers_table", "inverse_table")
    exp, inverse = (w.constant(*pair).text for pair in zip(names, tables, strict=True))

    def stated(name: str, text: str, comment: str = "") -> Value:
        return w.let(name, Value(text, below.shape), comment)

    def of_row(name: str, text: str, comment: str = "") -> Value:
        return w.let(name, Value(text, (*below.shape[:-1], 1)), comment)

    left = f"({below.text} << {shift})" if shift > 0 else below.text
    scaled = stated("scaled", _times(left, multiplier, 31)).text
    place = stated("code", f"np.clip({_shifted(scaled, max(-shift, 0))} + 32767, {_BOUNDS})")
    power = stated("power", _looked_up(w, exp, place), "exp in steps of 2^-15").text
    total = of_row("total", f"{power}.sum(axis=-1, keepdims=True)").text
    bits = of_row("bits", f"np.frexp({total}.astype(float))[1].astype(np.int64)").text
    near = of_row("near", f"(({total} << (31 - {bits})) + 8192) >> 14", "17 bits of it").text
    code = of_row("code", f"np.clip({near} - 98304, {_BOUNDS})")
    over_total = of_row("inverse", _looked_up(w, inverse, code), "1 / total").text
    half = f"(np.int64(1) << ({bits} - 2))"
    text = f"np.clip(({power} * {over_total} + {half}) >> ({bits} - 1), 0, 32767)"
    return w.result(text)
