"""Arithmetic of several inputs, and constants."""

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import PRODUCT, SUM, Value
from probe.by_hand.writer import HandWriter


@writes(ops.Add)
def _add(op: ops.Add, w: HandWriter, *values: Value) -> Value:
    return chain(w, " + ", SUM, values)


def chain(w: HandWriter, mark: str, level: int, values: tuple[Value, ...]) -> Value:
    """Values with an operator between each and the next, of which the first may bind as loosely."""
    values, order = w.aligned(*values)
    first, *rest = values
    text = mark.join([first.at(level), *(value.at(level + 1) for value in rest)])
    return w.result(text, level, order)


@writes(ops.Mul)
def _mul(op: ops.Mul, w: HandWriter, *values: Value) -> Value:
    return chain(w, " * ", PRODUCT, values)


@writes(ops.Sub)
def _sub(op: ops.Sub, w: HandWriter, *values: Value) -> Value:
    return chain(w, " - ", SUM, values)


@writes(ops.Constant)
def _constant(op: ops.Constant, w: HandWriter) -> Value:
    return w.constant("constant", op.value)


@writes(ops.Parameter)
def _parameter(op: ops.Parameter, w: HandWriter) -> Value:
    return w.weight(op.weight)


@writes(ops.AddConstant)
def _add_constant(op: ops.AddConstant, w: HandWriter, x: Value) -> Value:
    return chain(w, " + ", SUM, (x, w.weight(op.value)))


@writes(ops.MulConstant)
def _mul_constant(op: ops.MulConstant, w: HandWriter, x: Value) -> Value:
    return chain(w, " * ", PRODUCT, (x, w.weight(op.value)))
