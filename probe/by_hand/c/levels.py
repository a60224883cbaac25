"""Quantisers: the point moves, what falls off is rounded, and what is too large is clipped or wraps
around."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe import ops
from probe.by_hand.c.integers import Integers, NotFixedPoint, at_least_32, exponent_of, narrowest
from probe.by_hand.c.program import CProgram
from probe.by_hand.c.registry import writes
from probe.by_hand.c.rounding import ROUNDINGS, ending_lines, rounded, rounding_lines
from probe.by_hand.c.text import axis_letters, indented, nest, point

_FURTHEST = 58
"""By so many bits a point may move."""


@dataclass(frozen=True)
class _Levels:
    """The levels of a quantiser: integers from low to high times 2**exponent. The arrays broadcast
    against its input."""

    exponent: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rounding: str = "RND_CONV"
    overflow: str = "SAT"
    gain: np.ndarray | int = 0
    """The exponent of what a level is multiplied by afterwards."""

    @property
    def is_even(self) -> bool:
        """Whether all elements have the same levels."""
        return all(
            np.unique(part).size == 1 for part in (self.exponent, self.low, self.high, self.gain)
        )


@writes(ops.QuantizedBits)
def _quantized_bits(op: ops.QuantizedBits, program: CProgram, x: Integers) -> Integers:
    _whole(op.noise)
    gain = _power_of_two(op.alpha, "alpha")
    unsigned = op.bits - op.keep_negative
    if unsigned <= 0:
        return _signs(program, x, -int(op.keep_negative), gain)
    low = op.keep_negative * (op.symmetric - 2**unsigned)
    levels = _Levels(
        np.asarray(op.integer, np.int64) - unsigned,
        np.asarray(low),
        np.asarray(2**unsigned - 1),
        gain=gain,
    )
    return _quantised(program, "quantized_bits", x, levels)


@writes(ops.QuantizedRelu)
def _quantized_relu(op: ops.QuantizedRelu, program: CProgram, x: Integers) -> Integers:
    _whole(op.noise)
    if op.sigmoid is not None:
        raise NotFixedPoint("it takes a sigmoid before it rounds")
    bits = op.bits - (op.negative_slope != 0)
    exponent = np.asarray(op.integer, np.int64) - bits
    high = np.asarray(2**bits - 1)
    if op.upper_bound and not op.quantized_clip:
        bound = op.upper_bound / np.exp2(exponent)
        if (bound != np.rint(bound)).any():
            raise NotFixedPoint(f"its upper bound {op.upper_bound:g} lies between two levels")
        high = np.minimum(high, bound.astype(np.int64))
    levels = _Levels(exponent, np.asarray(0), high)
    if not op.negative_slope:
        return _quantised(program, "quantized_relu", x, levels)
    slope = exponent_of(op.negative_slope)
    if slope is None or -slope > bits:
        raise NotFixedPoint(f"its slope {op.negative_slope:g} is no shift within its {bits} bits")
    bent = _bent(program, x, -slope)
    return _quantised(program, "quantized_relu", bent, replace(levels, low=-(2 ** (bits + slope))))


def _bent(program: CProgram, x: Integers, shift: int) -> Integers:
    """Negative values shifted to the right, in a form that has the bits for that."""
    values = np.where(x.values > 0, x.values * 2**shift, x.values)
    low, high = min(x.low, 0), max(x.high, 0) * 2**shift
    made = program.made("bent", values, x.exponent - shift, (low, high), x)
    ctype = narrowest(low, high)
    name = program.name("slope")
    program.function(
        [
            f"static {ctype} {name}({at_least_32(x.low, x.high)} v) {{",
            f"  return ({ctype})(v > 0 ? ({at_least_32(low, high)})v * {2**shift} : v);",
            "}",
        ],
        f"Negative values times 2^-{shift}; the point is moved by {shift} bits for them.",
    )
    _each(program, "bend", made, x, name)
    return made


@writes(ops.FixedPoint)
def _fixed_point(op: ops.FixedPoint, program: CProgram, x: Integers) -> Integers:
    if op.overflow not in ("WRAP", "SAT", "SAT_SYM", "") or op.rounding not in ROUNDINGS:
        raise NotFixedPoint(f"its overflow is {op.overflow}, its rounding {op.rounding}")
    sign, integer, fraction = np.broadcast_arrays(
        *(np.asarray(part, np.int64) for part in (op.sign, op.integer, op.fraction))
    )
    whole = np.maximum(integer, -fraction) + fraction
    if (whole > _FURTHEST).any():
        raise NotFixedPoint(f"it has {int(whole.max())} bits")
    high = 2**whole - 1
    low = -sign * (high + (op.overflow != "SAT_SYM"))
    if op.overflow:
        none = sign + integer + fraction <= 0
        low, high = np.where(none, 0, low), np.where(none, 0, high)
    elif x.values.size:
        raise NotFixedPoint("its levels have no ends")
    levels = _Levels(-fraction, low, high, op.rounding, op.overflow)
    return _quantised(program, "fixed_point", x, levels)


@writes(ops.Binary)
def _binary(op: ops.Binary, program: CProgram, x: Integers) -> Integers:
    _whole(op.noise)
    if isinstance(op.alpha, str):
        raise NotFixedPoint(f"its scale is fitted to the data ({op.alpha})")
    return _signs(program, x, int(op.zero_one) - 1, _power_of_two(op.alpha, "alpha"))


@writes(ops.Ternary)
def _ternary(op: ops.Ternary, program: CProgram, x: Integers) -> Integers:
    _whole(op.noise)
    if isinstance(op.alpha, str):
        raise NotFixedPoint(f"its scale is fitted to the data ({op.alpha})")
    gain = _scalar(_power_of_two(op.alpha, "alpha"))
    # the first integer whose magnitude is not below the threshold, as float32 has that
    least = int(np.ceil(np.ldexp(np.float64(np.float32(op.threshold)), -x.exponent)))
    size = np.abs(x.values) >= max(least, 1)
    made = program.made("signs", np.sign(x.values) * size, gain, (-1, 1), x)
    name = program.name("ternary")
    program.function(
        [
            f"static int8_t {name}({at_least_32(x.low, x.high)} v) {{",
            f"  return (int8_t)((v >= {max(least, 1)}) - (v <= {-max(least, 1)}));",
            "}",
        ],
        f"The sign, or 0 where the magnitude is below {op.threshold:g}, which is {least} here.",
    )
    _each(program, "quantize", made, x, name)
    return made


def _signs(program: CProgram, x: Integers, low: int, gain: np.ndarray) -> Integers:
    """1 for what is not negative, else the low level."""
    values = np.where(x.values >= 0, 1, low)
    made = program.made("signs", values, _scalar(gain), (low, 1), x)
    name = program.name("sign")
    program.function(
        [
            f"static int8_t {name}({at_least_32(x.low, x.high)} v) {{",
            f"  return (int8_t)(v < 0 ? {low} : 1);",
            "}",
        ],
        f"The sign: {low} for negative values, else 1.",
    )
    _each(program, "quantize", made, x, name)
    return made


def _whole(noise: float) -> None:
    if noise != 1:
        raise NotFixedPoint(f"it mixes its levels with what they stand for (qnoise_factor {noise})")


def _scalar(gain: np.ndarray) -> int:
    if gain.size != 1:
        raise NotFixedPoint("its levels have a scale per channel")
    return int(gain.ravel()[0])


def _power_of_two(factor: float | np.ndarray | None, what: str) -> np.ndarray:
    """The exponents of factors that are powers of two; None is 1."""
    if factor is None:
        return np.zeros((), np.int64)
    values = np.asarray(factor, np.float32).astype(np.float64)
    found = [exponent_of(float(value)) for value in values.ravel()]
    for value, exponent in zip(values.ravel(), found, strict=True):
        if exponent is None:
            raise NotFixedPoint(f"its {what} {float(value):.9g} is no power of two")
    return np.array(found, np.int64).reshape(values.shape)


def _quantised(program: CProgram, hint: str, x: Integers, levels: _Levels) -> Integers:
    """What a quantiser makes of its input."""
    shift = levels.exponent - x.exponent
    if np.abs(shift).max(initial=0) > _FURTHEST:
        raise NotFixedPoint(f"the point would move by {int(np.abs(shift).max())} bits")
    finest = int(np.min(levels.exponent + levels.gain))
    back = levels.exponent + levels.gain - finest
    values = rounded(x.values, shift, levels.rounding)
    if levels.overflow == "WRAP":
        span = levels.high - levels.low + 1
        values = (values - levels.low) % span + levels.low
    else:
        values = np.clip(values, levels.low, levels.high)
    values = values * 2**back
    bounds = int(np.min(levels.low * 2**back)), int(np.max(levels.high * 2**back))
    made = program.made("levels", values, finest, (min(bounds), max(bounds)), x)
    if levels.is_even:
        _even(program, hint, x, made, levels, int(np.ravel(shift)[0]))
    else:
        _uneven(program, hint, x, made, levels, (shift, back))
    return made


def _even(
    program: CProgram, hint: str, x: Integers, made: Integers, levels: _Levels, shift: int
) -> None:
    """A function of one element, and a loop over all."""
    low, high = int(np.ravel(levels.low)[0]), int(np.ravel(levels.high)[0])
    largest = max(abs(x.low), abs(x.high)) * 2 ** max(0, -shift) + 2 ** max(0, shift)
    if levels.overflow == "WRAP":
        largest += max(abs(low), abs(high))  # where the lowest is taken off first
    wide = at_least_32(0, largest)
    result, name = narrowest(low, high), program.name(hint)
    if shift > 0:
        way = f"the point moves {shift} bits to the left, {ROUNDINGS[levels.rounding]}"
    else:
        way = f"the point moves {-shift} bits to the right"
    ends = "wrapped around" if levels.overflow == "WRAP" else "clipped"
    words = f"To {point(int(np.ravel(levels.exponent)[0]))}, {ends} from {low} to {high}: {way}."
    lines = [
        f"static {result} {name}({wide} v) {{",
        *indented(rounding_lines(levels.rounding, wide, shift)),
        *indented(ending_lines(levels.overflow, str(low), str(high))),
        f"  return ({result})level;",
        "}",
    ]
    program.function(lines, words)
    _each(program, "quantize", made, x, name)


def _uneven(
    program: CProgram,
    hint: str,
    x: Integers,
    made: Integers,
    levels: _Levels,
    moves: tuple[np.ndarray, np.ndarray],
) -> None:
    """Levels that differ from element to element, in tables that are as large as they must be."""
    shift, back = moves
    furthest = 2 ** max(0, -int(np.min(shift)))
    narrowest(x.low * furthest, x.high * furthest)  # raises where no integer holds that
    parts = np.broadcast_arrays(shift, levels.low, levels.high, back)
    letters = axis_letters(x.values.ndim)
    arguments = []
    for word, part in zip(("shift", "low", "high", "back"), parts, strict=True):
        codes = np.ascontiguousarray(part).astype(np.int64)
        name = program.table(f"{hint}_{word}", codes, _TABLES[word])
        table = Integers(name, codes, 0, 0, 0, tuple(range(codes.ndim)))
        arguments.append(table.at(letters[x.values.ndim - codes.ndim :]))
    name, result = program.name(hint), narrowest(made.low, made.high)
    rounding = rounding_lines(levels.rounding, "int64_t", None)
    lines = [
        f"static int64_t {name}(int64_t v, int s, int64_t low, int64_t high, int back) {{",
        "  int64_t level;",
        "  if (s <= 0) {",
        "    level = v * ((int64_t)1 << -s);",
        "  } else {",
        *(f"    {line}" for line in _assigned(rounding)),
        "  }",
        *indented(ending_lines(levels.overflow, "low", "high")),
        "  return level * ((int64_t)1 << back);",
        "}",
    ]
    words = f"The point moves s bits to the left, {ROUNDINGS[levels.rounding]}."
    program.function(lines, words)
    call = f"{name}({x.at(letters)}, {', '.join(arguments)})"
    body = [f"{made.at(letters)} = ({result}){call};"]
    program.step("quantize", nest(zip(letters, x.shape, strict=True), body))


_TABLES = {
    "shift": "by how many bits the point of each element moves to the left",
    "low": "the lowest level of each",
    "high": "the highest level of each",
    "back": "by how many bits a level is moved to the left, so that all have one point",
}


def _each(program: CProgram, hint: str, made: Integers, x: Integers, function: str) -> None:
    """A function of each element."""
    if made.is_flat and x.is_flat and made.values.strides == x.values.strides:
        count = made.values.size
        lines = [
            f"for (int n = 0; n < {count}; n++)",
            f"  {made.name}[n] = {function}({x.name}[n]);",
        ]
    else:
        letters = axis_letters(x.values.ndim)
        body = [f"{made.at(letters)} = {function}({x.at(letters)});"]
        lines = nest(zip(letters, x.shape, strict=True), body)
    program.step(hint, lines)


def _assigned(lines: Sequence[str]) -> list[str]:
    """The same with ``level`` declared before."""
    return [line.replace("int64_t level = ", "level = ", 1) for line in lines]
