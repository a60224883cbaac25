"""Comparisons, truths, bits, and what masks choose."""

from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writer_of, writes
from probe.by_hand.values import ATOM, SUM, TEST, Value, as_tuple
from probe.by_hand.writer import HandWriter
from probe.ops.base import Elementwise

_SIGNS: dict[type, str] = {
    ops.Equal: "==",
    ops.NotEqual: "!=",
    ops.Greater: ">",
    ops.GreaterOrEqual: ">=",
    ops.Less: "<",
    ops.LessOrEqual: "<=",
}
_FUNCTIONS: dict[type, str] = {
    ops.And: "logical_and",
    ops.Or: "logical_or",
    ops.Xor: "logical_xor",
    ops.Not: "logical_not",
    ops.IsNaN: "isnan",
    ops.IsInf: "isinf",
    ops.BitwiseAnd: "bitwise_and",
    ops.BitwiseOr: "bitwise_or",
    ops.BitwiseXor: "bitwise_xor",
    ops.FloorDiv: "floor_divide",
}
_KINDS = frozenset(
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)


@writes(*_SIGNS)
def _compared(op: ops.Op, w: HandWriter, x: Value, y: Value) -> Value:
    (x, y), order = w.aligned(x, y)
    text = f"{x.at(SUM)} {_SIGNS[type(op)]} {y.at(SUM)}"
    return w.result(text, TEST, order)


@writes(*_FUNCTIONS)
def _function(op: ops.Op, w: HandWriter, *values: Value) -> Value:
    values, order = w.aligned(*values)
    arguments = ", ".join(value.text for value in values)
    return w.result(f"np.{_FUNCTIONS[type(op)]}({arguments})", ATOM, order)


@writes(ops.Mod)
def _mod(op: ops.Mod, w: HandWriter, x: Value, y: Value) -> Value:
    (x, y), order = w.aligned(x, y)
    name = "fmod" if op.fmod else "mod"
    return w.result(f"np.{name}({x.text}, {y.text})", ATOM, order)


def _kind(kind: str) -> str:
    """A type of NumPy, out of the known ones."""
    if kind not in _KINDS:
        raise Unwritten("a type that NumPy has not")
    return f"np.{kind}"


@writes(ops.BitwiseNot)
def _not(op: ops.BitwiseNot, w: HandWriter, x: Value) -> Value:
    return w.result(f"np.invert({x.array}.astype({_kind(op.kind)}))", ATOM, x.order)


@writes(ops.BitShift)
def _shift(op: ops.BitShift, w: HandWriter, x: Value, by: Value) -> Value:
    (x, by), order = w.aligned(x, by)
    kind = _kind(op.kind)
    bits = 8 * np.dtype(op.kind).itemsize
    left = w.let("left", Value(f"{x.array}.astype({kind})", x.shape, order))
    steps = w.let("steps", Value(f"{by.array}.astype({kind})", by.shape, order))
    inside = f"({steps.text} >= 0) & ({steps.text} < {bits})"
    some = f"np.where({inside}, {steps.text}, 0).astype({kind})"
    name, rest = "left_shift", "0"
    if not op.left:
        name = "right_shift"
    if not op.left and np.dtype(op.kind).kind == "i":
        rest = f"np.where({left.text} < 0, -1, 0)"
    moved = f"np.{name}({left.text}, {some})"
    return w.result(f"np.where({inside}, {moved}, {rest}).astype({kind})", ATOM, order)


@writes(ops.BitCast)
def _bit_cast(op: ops.BitCast, w: HandWriter, x: Value) -> Value:
    x = w.plain(x)
    narrow = f"np.ascontiguousarray({x.text}, dtype={_kind(op.kind)})"
    read = f"{narrow}.view({_kind(op.to)}).reshape{as_tuple(x.shape)}"
    if op.to.startswith("float"):
        read += ".astype(float)"
    return w.result(read)


@writes(ops.Where)
def _where(op: ops.Where, w: HandWriter, condition: Value, x: Value, y: Value) -> Value:
    (condition, x, y), order = w.aligned(condition, x, y)
    return w.result(f"np.where({condition.text}, {x.text}, {y.text})", ATOM, order)


@writes(ops.Chain)
def _chain(op: ops.Chain, w: HandWriter, x: Value) -> Any:
    from_ = x
    if not all(isinstance(part, Elementwise) for part in op.parts):
        raise Unwritten("parts that change the shape")
    for part in op.parts:
        made = writer_of(part)(part, w, from_)
        if isinstance(made, tuple):
            raise Unwritten("a part of several outputs")
        from_ = made
    return from_


@writes(ops.ByParts)
def _by_parts(op: ops.ByParts, w: HandWriter, x: Value, *others: Value) -> Value:
    return x
