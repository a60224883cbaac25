"""Functions of single elements and of pairs, which need no rounding."""

from collections.abc import Callable

import numpy as np

from probe import ops
from probe.by_hand.c.integers import Integers, at_least_32, dyadic, narrowest
from probe.by_hand.c.program import CProgram
from probe.by_hand.c.registry import writes
from probe.by_hand.c.text import axis_letters, nest, plus, scaled, times

_BITS = 32
"""The most bits of a constant."""
Function = Callable[[np.ndarray], np.ndarray]


def _mapped(
    program: CProgram,
    hint: str,
    x: Integers,
    exponent: int,
    function: Callable[[np.ndarray], np.ndarray],
    text: str,
    factor: int = 1,
) -> Integers:
    """A monotone or folded function of each element: in C an expression of ``v``, which is
    multiplied by ``factor`` on the way."""
    ends = function(np.array([x.low, x.high, 0], object))
    bounds = int(min(ends)), int(max(ends))
    reached = [*bounds, x.low, x.high, x.low * factor, x.high * factor]
    wide = at_least_32(min(reached), max(reached))
    made = program.made(hint, function(x.values), exponent, bounds, x)
    letters, result = axis_letters(x.values.ndim), narrowest(*bounds)
    body = [
        f"const {wide} v = {x.at(letters)};",
        f"{made.at(letters)} = ({result})({text});",
    ]
    program.step(f"take_{hint}", nest(zip(letters, x.shape, strict=True), body))
    return made


@writes(ops.Relu)
def _relu(op: ops.Relu, program: CProgram, x: Integers) -> Integers:
    return _mapped(program, "relu", x, x.exponent, lambda v: np.maximum(v, 0), "v > 0 ? v : 0")


@writes(ops.Abs)
def _abs(op: ops.Abs, program: CProgram, x: Integers) -> Integers:
    return _mapped(program, "abs", x, x.exponent, np.abs, "v < 0 ? -v : v")


@writes(ops.Neg)
def _neg(op: ops.Neg, program: CProgram, x: Integers) -> Integers:
    return _mapped(program, "negative", x, x.exponent, np.negative, "-v")


@writes(ops.LeakyRelu)
def _leaky_relu(op: ops.LeakyRelu, program: CProgram, x: Integers) -> Integers:
    code, exponent = _number(op.alpha, "its slope")
    shift = max(0, -exponent)
    factor, slope = 2**shift, code * 2 ** max(0, exponent)
    return _mapped(
        program,
        "leaky_relu",
        x,
        x.exponent - shift,
        lambda v: np.where(v > 0, v * factor, v * slope),
        f"v > 0 ? v * {factor} : v * {slope}",
    )


@writes(ops.Relu6)
def _relu6(op: ops.Relu6, program: CProgram, x: Integers) -> Integers:
    return _clipped(program, "relu6", x, 0.0, 6.0)


@writes(ops.Clip)
def _clip(op: ops.Clip, program: CProgram, x: Integers) -> Integers:
    return _clipped(program, "clipped", x, op.low, op.high)


def _clipped(
    program: CProgram, hint: str, x: Integers, low: float | None, high: float | None
) -> Integers:
    """Clipped at numbers of the same form, or in one with as many more bits as they take."""
    ends = [_number(end, "a bound") for end in (low, high) if end is not None]
    exponent = min([x.exponent, *(end[1] for end in ends if end[0])])
    shift = x.exponent - exponent
    codes = [code * 2 ** max(0, power - exponent) for code, power in ends]
    lowest = codes[0] if low is not None else None
    highest = codes[-1] if high is not None else None

    def clipped(v: np.ndarray) -> np.ndarray:
        v = v * 2**shift
        v = v if lowest is None else np.maximum(v, lowest)
        return v if highest is None else np.minimum(v, highest)

    value = text = times("v", 2**shift)
    if highest is not None:
        value = f"({text} > {highest} ? {highest} : {value})"
    if lowest is not None:
        value = f"({text} < {lowest} ? {lowest} : {value})"
    return _mapped(program, hint, x, exponent, clipped, value, 2**shift)


@writes(ops.Affine)
def _affine(op: ops.Affine, program: CProgram, x: Integers) -> Integers:
    return _scaled(program, "scaled", x, op.gain, op.offset)


@writes(ops.MulConstant)
def _mul_constant(op: ops.MulConstant, program: CProgram, x: Integers) -> Integers:
    return _product(program, x, program.weight(op.value))


@writes(ops.AddConstant)
def _add_constant(op: ops.AddConstant, program: CProgram, x: Integers) -> Integers:
    return _merged(program, "sums", (x, program.weight(op.value)), "+", np.add)


@writes(ops.HardSigmoid)
def _hard_sigmoid(op: ops.HardSigmoid, program: CProgram, x: Integers) -> Integers:
    line = _scaled(program, "line", x, op.alpha, op.beta)
    return _clipped(program, "hard_sigmoid", line, 0.0, 1.0)


def _scaled(program: CProgram, hint: str, x: Integers, gain: float, offset: float) -> Integers:
    factor, power = _number(gain, "its factor")
    added, place = _number(offset, "its offset")
    product = x.exponent + power
    exponent = min(product, place) if added else product
    factor *= 2 ** (product - exponent)
    added *= 2 ** max(0, place - exponent)
    text = plus(times("v", factor), added)
    return _mapped(program, hint, x, exponent, lambda v: v * factor + added, text, factor)


def _number(value: float, what: str) -> tuple[int, int]:
    code, exponent = dyadic(np.asarray(value), f"{what} {value:g}", _BITS)
    return int(code), exponent


@writes(ops.Add)
def _add(op: ops.Add, program: CProgram, *given: Integers) -> Integers:
    return _merged(program, "sums", given, "+", np.add)


@writes(ops.Sub)
def _sub(op: ops.Sub, program: CProgram, *given: Integers) -> Integers:
    return _merged(program, "differences", given, "-", np.subtract)


def _merged(
    program: CProgram,
    hint: str,
    given: tuple[Integers, ...],
    sign: str,
    function: Callable[..., np.ndarray],
) -> Integers:
    """Sums of arrays, brought to one point before."""
    exponent = min(x.exponent for x in given)
    shifts = [2 ** (x.exponent - exponent) for x in given]
    values = given[0].values * shifts[0]
    low, high = given[0].low * shifts[0], given[0].high * shifts[0]
    reached = [low, high]
    for x, shift in zip(given[1:], shifts[1:], strict=True):
        values = function(values, x.values * shift)
        ends = (x.low * shift, x.high * shift)
        reached += ends
        if sign == "-":
            ends = (-ends[1], -ends[0])
        low, high = low + ends[0], high + ends[1]
        reached += (low, high)
    made = program.made(hint, values, exponent, (low, high), given[0])
    letters, ctype = axis_letters(values.ndim), narrowest(low, high)
    wide, terms = at_least_32(min(reached), max(reached)), list[str]()
    for x, shift in zip(given, shifts, strict=True):
        term = _broadcast(x, letters)
        if wide == "int64_t":
            term = f"(int64_t){term}"
        terms.append(times(term, shift))
    body = [f"{made.at(letters)} = ({ctype})({f' {sign} '.join(terms)});"]
    words = "Brought to one point before they are added up." * (max(shifts) > 1)
    program.step(f"take_{hint}", nest(zip(letters, values.shape, strict=True), body), words)
    return made


@writes(ops.Mul)
def _mul(op: ops.Mul, program: CProgram, *given: Integers) -> Integers:
    product = given[0]
    for x in given[1:]:
        product = _product(program, product, x)
    return product


def _product(program: CProgram, left: Integers, right: Integers) -> Integers:
    ends = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    low, high = min(ends), max(ends)
    ctype = narrowest(low, high)
    values = left.values * right.values
    made = program.made("products", values, left.exponent + right.exponent, (low, high), left)
    letters = axis_letters(values.ndim)
    text = f"({at_least_32(low, high)}){_broadcast(left, letters)} * {_broadcast(right, letters)}"
    body = [f"{made.at(letters)} = ({ctype})({text});"]
    program.step("multiply", nest(zip(letters, values.shape, strict=True), body))
    return made


@writes(ops.Max, ops.Min)
def _choice(op: ops.Max | ops.Min, program: CProgram, *given: Integers) -> Integers:
    hint, sign = "smaller", "<"
    function: Callable[..., np.ndarray] = np.minimum
    choose: Callable[..., int] = min
    if type(op) is ops.Max:
        hint, sign, function, choose = "larger", ">", np.maximum, max
    exponent, chosen = min(x.exponent for x in given), given[0]
    for x in given[1:]:
        a, b = (2 ** (part.exponent - exponent) for part in (chosen, x))
        bounds = choose(chosen.low * a, x.low * b), choose(chosen.high * a, x.high * b)
        values = function(chosen.values * a, x.values * b)
        made = program.made(hint, values, exponent, bounds, chosen)
        letters = axis_letters(values.ndim)
        ends = chosen.low * a, x.low * b, chosen.high * a, x.high * b
        wide = at_least_32(min(ends), max(ends))
        body = [
            f"const {wide} v = {scaled(_broadcast(chosen, letters), a, wide)};",
            f"const {wide} u = {scaled(_broadcast(x, letters), b, wide)};",
            f"{made.at(letters)} = ({narrowest(*bounds)})(v {sign} u ? v : u);",
        ]
        program.step(f"take_{hint}", nest(zip(letters, values.shape, strict=True), body))
        chosen = made
    return chosen


def _broadcast(x: Integers, letters: tuple[str, ...]) -> str:
    return x.at(letters[len(letters) - x.values.ndim :])
