"""What moves elements and changes none."""

import numpy as np

from probe import ops
from probe.by_hand.c.integers import Integers, NotFixedPoint, dyadic, narrowest
from probe.by_hand.c.program import CProgram
from probe.by_hand.c.registry import writes
from probe.by_hand.c.text import axis_letters, nest, point, scaled


@writes(ops.Identity, ops.Stored)
def _identity(op: object, program: CProgram, x: Integers) -> Integers:
    return x


@writes(ops.Outputs)
def _outputs(op: object, program: CProgram, *values: Integers) -> tuple[Integers, ...]:
    return values


@writes(ops.Parameter)
def _parameter(op: ops.Parameter, program: CProgram) -> Integers:
    return program.weight(op.weight)


@writes(ops.Constant)
def _constant(op: ops.Constant, program: CProgram) -> Integers:
    codes, exponent = dyadic(op.value, "a constant", 24)
    codes = np.array(codes, np.int64, ndmin=1).reshape(op.value.shape)
    name = program.table("constant", codes, f"a constant of the layer, {point(exponent)}")
    low, high = int(codes.min()), int(codes.max())
    return Integers(name, codes, exponent, low, high, tuple(range(codes.ndim)))


@writes(ops.Transpose)
def _transpose(op: ops.Transpose, program: CProgram, x: Integers) -> Integers:
    return x.turned(x.values.transpose(op.perm), [x.order[axis] for axis in op.perm])


@writes(ops.Squeeze)
def _squeeze(op: ops.Squeeze, program: CProgram, x: Integers) -> Integers:
    gone = {axis % x.values.ndim for axis in op.axes}
    kept = [place for axis, place in enumerate(x.order) if axis not in gone]
    return x.turned(np.squeeze(x.values, tuple(gone)), kept)


@writes(ops.Unsqueeze)
def _unsqueeze(op: ops.Unsqueeze, program: CProgram, x: Integers) -> Integers:
    values = np.expand_dims(x.values, op.axes)
    new = {axis % values.ndim for axis in op.axes}
    old = iter(x.order)
    order = [len(x.order) + axis if axis in new else next(old) for axis in range(values.ndim)]
    return x.turned(values, order)


@writes(ops.Slice)
def _slice(op: ops.Slice, program: CProgram, x: Integers) -> Integers:
    steps = op.steps or (1,) * len(op.starts)
    parts = tuple(slice(*part) for part in zip(op.starts, op.stops, steps, strict=True))
    return x.turned(x.values[parts], x.order)


@writes(ops.Reshape)
def _reshape(op: ops.Reshape, program: CProgram, x: Integers) -> Integers:
    values = x.values.reshape(op.shape)
    if not np.may_share_memory(values, x.values):
        x = _copied(program, "in_order", x)
        values = x.values.reshape(op.shape)
    return x.turned(values, tuple(range(values.ndim)))


def _copied(program: CProgram, hint: str, x: Integers) -> Integers:
    """The elements in the order of the op's axes."""
    rank = x.values.ndim
    plain = Integers("", x.values, x.exponent, x.low, x.high, tuple(range(rank)))
    made = program.made(hint, x.values, x.exponent, (x.low, x.high), plain)
    letters = axis_letters(rank)
    body = [f"{made.at(letters)} = {x.at(letters)};"]
    program.step("reorder", nest(zip(letters, x.shape, strict=True), body))
    return made


@writes(ops.Pad)
def _pad(op: ops.Pad, program: CProgram, x: Integers) -> Integers:
    if op.mode != "constant":
        raise NotFixedPoint(f"it pads by {op.mode}")
    if any(size < 0 for pair in op.pads for size in pair):
        raise NotFixedPoint("it leaves out a border")
    codes, exponent = dyadic(np.asarray(op.value), "what it pads with", 32)
    if exponent < x.exponent and codes:
        raise NotFixedPoint("what it pads with lies between the numbers of its input")
    value = int(codes) * 2 ** max(0, exponent - x.exponent)
    values = np.pad(x.values, op.pads, constant_values=value)
    low, high = min(x.low, value), max(x.high, value)
    made = program.made("padded", values, x.exponent, (low, high), x)
    letters = axis_letters(x.values.ndim)
    fill = [f"{made.at(letters)} = {value};"]
    moved = [f"{letter} + {pair[0]}" for letter, pair in zip(letters, op.pads, strict=True)]
    ctype = narrowest(low, high)
    source = x.at(letters)
    if ctype != narrowest(x.low, x.high):
        source = f"({ctype}){source}"
    body = [f"{made.at([f'({text})' for text in moved])} = {source};"]
    lines = nest(zip(letters, made.shape, strict=True), fill)
    program.step("pad", [*lines, *nest(zip(letters, x.shape, strict=True), body)])
    return made


@writes(ops.Concat)
def _concat(op: ops.Concat, program: CProgram, *given: Integers) -> Integers:
    exponent = min(x.exponent for x in given)
    shifts = [2 ** (x.exponent - exponent) for x in given]
    values = np.concatenate(
        [x.values * shift for x, shift in zip(given, shifts, strict=True)], axis=op.axis
    )
    low = min(x.low * shift for x, shift in zip(given, shifts, strict=True))
    high = max(x.high * shift for x, shift in zip(given, shifts, strict=True))
    made = program.made("joined", values, exponent, (low, high), given[0])
    axis, start, lines = op.axis % values.ndim, 0, list[str]()
    letters, ctype = axis_letters(values.ndim), narrowest(low, high)
    for x, shift in zip(given, shifts, strict=True):
        moved = [f"({k} + {start})" if n == axis else k for n, k in enumerate(letters)]
        value = scaled(x.at(letters), shift, ctype)
        body = [f"{made.at(moved)} = ({ctype})({value});"]
        lines += nest(zip(letters, x.shape, strict=True), body)
        start += x.shape[axis]
    program.step("join", lines)
    return made
