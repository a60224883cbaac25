"""Sums, means and shares along whole axes."""

from collections.abc import Sequence

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, SUM, Value, as_tuple
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.shape import order_without


def over(axes: Sequence[int], keepdims: bool) -> str:
    """The arguments of a reduction."""
    axes = sorted(axes)
    where = f"axis={axes[0] if len(axes) == 1 else as_tuple(axes)}"
    return f"{where}, keepdims=True" if keepdims else where


def reduced(w: HandWriter, x: Value, axes: Sequence[int], keepdims: bool, method: str) -> Value:
    """What a method of arrays makes of some axes of the op's layout."""
    lying = [x.axes[axis] for axis in axes]
    order = x.order if keepdims else order_without(x, lying)
    return w.result(f"{x.at(ATOM)}.{method}({over(lying, keepdims)})", ATOM, order)


@writes(ops.ReduceMean, ops.ReduceSum)
def _reduce(op: ops.ReduceMean | ops.ReduceSum, w: HandWriter, x: Value) -> Value:
    method = {ops.ReduceMean: "mean", ops.ReduceSum: "sum"}[type(op)]
    return reduced(w, x, op.axes or range(x.rank), op.keepdims, method)


@writes(ops.Softmax)
def _softmax(op: ops.Softmax, w: HandWriter, x: Value) -> Value:
    return w.result(f"{w.helper('softmax')}({x.text}, axis={x.axes[op.axis]})", ATOM, x.order)


@writes(ops.Softmin)
def _softmin(op: ops.Softmin, w: HandWriter, x: Value) -> Value:
    text = f"{w.helper('softmax')}(-{x.at(ATOM)}, axis={x.axes[op.axis]})"
    return w.result(text, ATOM, x.order)


@writes(ops.LogSoftmax)
def _log_softmax(op: ops.LogSoftmax, w: HandWriter, x: Value) -> Value:
    along = over([x.axes[op.axis]], True)
    x = w.named("values", x)
    shape = tuple(1 if at == x.axes[op.axis] else size for at, size in enumerate(x.shape))
    below = w.let("below", Value(f"{x.text} - {x.text}.max({along})", x.shape, x.order))
    total = w.let("total", Value(f"np.exp({below.text}).sum({along})", shape))
    return w.result(f"{below.text} - np.log({total.text})", SUM, x.order)
