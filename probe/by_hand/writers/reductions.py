"""Reductions to norms, extremes, products and truths, places of extremes, running sums, order."""

import math
from typing import Any

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.along_axis import over, reduced
from probe.by_hand.writers.shape import order_without

_Reduction = ops.ReduceMax | ops.ReduceMin | ops.ReduceProd
_METHODS: dict[type, str] = {ops.ReduceMax: "max", ops.ReduceMin: "min", ops.ReduceProd: "prod"}


@writes(ops.ReduceMax, ops.ReduceMin, ops.ReduceProd)
def _reduce(op: _Reduction, w: HandWriter, x: Value) -> Value:
    return reduced(w, x, _axes(op.axes, x), op.keepdims, _METHODS[type(op)])


def _axes(axes: tuple[int, ...], x: Value) -> list[int]:
    return [axis % x.rank for axis in axes] or list(range(x.rank))


def _taken(op: Any, w: HandWriter, x: Value, text: str, method: str = "sum") -> Value:
    """What a method makes of an expression in the place of the input."""
    taken = Value(text, x.shape, x.order)
    return reduced(w, taken, _axes(op.axes, x), op.keepdims, method)


@writes(ops.ReduceL1)
def _l1(op: ops.ReduceL1, w: HandWriter, x: Value) -> Value:
    return _taken(op, w, x, f"np.abs({x.text})")


@writes(ops.ReduceSumSquare)
def _sum_square(op: ops.ReduceSumSquare, w: HandWriter, x: Value) -> Value:
    return _taken(op, w, x, f"({x.at(ATOM)} ** 2)")


@writes(ops.ReduceL2)
def _l2(op: ops.ReduceL2, w: HandWriter, x: Value) -> Value:
    total = _taken(op, w, x, f"({x.at(ATOM)} ** 2)")
    return w.result(f"np.sqrt({total.text})", ATOM, total.order)


@writes(ops.ReduceAll)
def _all(op: ops.ReduceAll, w: HandWriter, x: Value) -> Value:
    return _taken(op, w, x, f"({x.at(SUM)} != 0)", "all")


@writes(ops.ReduceAny)
def _any(op: ops.ReduceAny, w: HandWriter, x: Value) -> Value:
    return _taken(op, w, x, f"({x.at(SUM)} != 0)", "any")


@writes(ops.ReduceLogSumExp)
def _log_sum_exp(op: ops.ReduceLogSumExp, w: HandWriter, x: Value) -> Value:
    x, axes = w.named("values", x), _axes(op.axes, x)
    if not math.prod(x.shape):
        raise Unwritten("nothing to reduce")
    along = over([x.axes[axis] for axis in axes], True)
    kept = _kept(x, axes)
    top = w.let("top", Value(f"{x.text}.max({along})", kept))
    # of nothing but -inf the logarithm is -inf too
    finite = f"np.where(np.isfinite({top.text}), {top.text}, 0)"
    top = w.let("top", Value(finite, kept))
    total = f"np.log(np.exp({x.text} - {top.text}).sum({along})) + {top.text}"
    return _dropped(w, Value(total, kept, x.order, SUM), axes, op.keepdims)


def _kept(x: Value, axes: list[int]) -> tuple[int, ...]:
    gone = [x.axes[axis] for axis in axes]
    return tuple(1 if at in gone else size for at, size in enumerate(x.shape))


def _dropped(w: HandWriter, value: Value, axes: list[int], keepdims: bool) -> Value:
    """A value whose reduced axes, of one place each, are left out where they are not kept."""
    if keepdims:
        return value
    lying = [value.axes[axis] for axis in axes]
    index = ", ".join("0" if at in lying else ":" for at in range(value.rank))
    text = f"{value.at(ATOM)}[{index}]" if index else value.text
    return w.result(text, ATOM, order_without(value, lying))


@writes(ops.ReduceVar, ops.ReduceStd)
def _variance(op: ops.ReduceVar | ops.ReduceStd, w: HandWriter, x: Value) -> Value:
    axes = _axes(op.axes, x)
    count = math.prod(x.own_shape[axis] for axis in axes)
    if count <= op.ddof:
        raise Unwritten("fewer numbers than are taken off")
    method = "std" if type(op) is ops.ReduceStd else "var"
    lying = [x.axes[axis] for axis in axes]
    ddof = f", ddof={op.ddof}" if op.ddof else ""
    order = x.order if op.keepdims else order_without(x, lying)
    return w.result(f"{x.at(ATOM)}.{method}({over(lying, op.keepdims)}{ddof})", ATOM, order)


@writes(ops.ArgMax, ops.ArgMin)
def _place(op: ops.ArgMax | ops.ArgMin, w: HandWriter, x: Value) -> Value:
    name = "argmin" if type(op) is ops.ArgMin else "argmax"
    axis = x.axes[op.axis]
    order = x.order if op.keepdims else order_without(x, [axis])
    kept = ", keepdims=True" if op.keepdims else ""
    return w.result(f"np.{name}({x.text}, axis={axis}{kept})", ATOM, order)


@writes(ops.CumSum, ops.CumProd)
def _running(op: ops.CumSum | ops.CumProd, w: HandWriter, x: Value) -> Value:
    name = "cumsum" if type(op) is ops.CumSum else "cumprod"
    return w.result(f"np.{name}({x.text}, axis={x.axes[op.axis]})", ATOM, x.order)


@writes(ops.TopK)
def _top_k(op: ops.TopK, w: HandWriter, x: Value) -> tuple[Value, Value]:
    x = w.named("values", x)
    axis, size = x.axes[op.axis], x.own_shape[op.axis]
    if not 0 <= op.k <= size:
        raise Unwritten("more elements than there are")
    lead = ":, " * axis
    if op.largest:
        turned = f"{x.text}[{lead}::-1]"
        order = f'np.argsort({turned}, axis={axis}, kind="stable")[{lead}::-1]'
        comment = "of equal ones the first come first: sorted backwards, and turned round"
        text = f"({size - 1} - {order})[{lead}:{op.k}]"
    else:
        comment = ""
        text = f'np.argsort({x.text}, axis={axis}, kind="stable")[{lead}:{op.k}]'
    shape = tuple(op.k if at == axis else n for at, n in enumerate(x.shape))
    places = w.let("places", Value(text, shape, x.order), comment)
    taken = f"np.take_along_axis({x.text}, {places.text}, axis={axis})"
    return w.result(taken, ATOM, x.order), places


@writes(ops.Sparsemax)
def _sparsemax(op: ops.Sparsemax, w: HandWriter, x: Value) -> Value:
    x = w.named("values", x)
    axis, size = x.axes[op.axis], x.own_shape[op.axis]
    lead, along = ":, " * axis, f"axis={axis}, keepdims=True"
    text = f"np.sort({x.text}, axis={axis})[{lead}::-1]"
    ordered = w.let("ordered", Value(text, x.shape, x.order))
    rank = f"np.arange(1, {size + 1})[:{', None' * (x.rank - 1 - axis)}]"
    sums = f"np.cumsum({ordered.text}, axis={axis})"
    support = Value(f"1 + {rank} * {ordered.text} > {sums}", x.shape, x.order)
    inside = w.let("inside", support, "the elements that are not cut to 0")
    total = f"np.where({inside.text}, {ordered.text}, 0).sum({along})"
    level = f"({total} - 1) / {inside.text}.sum({along})"
    taken = w.let("level", Value(level, _kept(x, [op.axis % x.rank])))
    return w.result(f"np.maximum({x.text} - {taken.text}, 0)", ATOM, x.order)


@writes(ops.Glu)
def _glu(op: ops.Glu, w: HandWriter, x: Value) -> Value:
    half = tuple(size // 2 if at == x.axes[op.axis] else size for at, size in enumerate(x.shape))
    value, gate = w.local("value"), w.local("gate")
    w.block([f"{value}, {gate} = np.split({x.text}, 2, axis={x.axes[op.axis]})"])
    made = Value(f"{value} * {w.helper('sigmoid')}({gate})", half, x.order, PRODUCT)
    return w.result(made.text, PRODUCT, x.order)
