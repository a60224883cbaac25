"""The operations of keras.ops that go by order, and those that leave NaN out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.op_builder import OpBuilder
from ..describe.ordered import in_order, on_one_axis
from .arithmetic import operation

_WITHOUT_NAN: dict[str, tuple[float, Callable[..., ops.Op]]] = {
    "Nanmax": (-np.inf, ops.ReduceMax),
    "Nanmin": (np.inf, ops.ReduceMin),
    "Nanprod": (1.0, ops.ReduceProd),
    "Nansum": (0.0, ops.ReduceSum),
}


def _filled(build: OpBuilder, value: float) -> Ref:
    return build.add(ops.Where(), build.add(ops.IsNaN(), Ref(-1)), build.ref(value), Ref(-1))


@operation(*_WITHOUT_NAN)
def _without_nan(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    value, reduction = _WITHOUT_NAN[type(op).__name__]
    found = build.reduce(reduction, _filled(build, value), op.axis, op.keepdims)
    if np.isfinite(value):
        return found
    nothing = build.reduce(ops.ReduceAll, build.add(ops.IsNaN(), Ref(-1)), op.axis, op.keepdims)
    return build.add(ops.Where(), nothing, np.nan, found)


@operation("Nanmean", "Nanvar", "Nanstd")
def _moments_without_nan(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    kind = type(op).__name__
    there = build.add(ops.Cast(to="float32"), build.add(ops.Not(), build.add(ops.IsNaN(), Ref(-1))))

    def mean(x: Ref, keepdims: bool) -> Ref:
        return build.add(
            ops.Div(), *(build.reduce(ops.ReduceSum, ref, op.axis, keepdims) for ref in (x, there))
        )

    if kind == "Nanmean":
        return mean(_filled(build, 0.0), op.keepdims)
    centred = build.add(ops.Sub(), Ref(-1), mean(_filled(build, 0.0), True))
    centred = build.add(ops.Where(), build.add(ops.IsNaN(), Ref(-1)), 0.0, centred)
    found = mean(build.add(ops.Square(), centred), op.keepdims)
    if kind == "Nanvar":
        return found
    return build.add(ops.Sqrt(), found)


@operation("Nancumsum", "Nancumprod")
def _running_without_nan(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    total = type(op).__name__ == "Nancumsum"
    ref = _filled(build, 0.0 if total else 1.0)
    ref, axis = on_one_axis(build, ref, op.axis)
    return build.add((ops.CumSum if total else ops.CumProd)(axis=axis), ref)


@operation("Sort", "Argsort")
def _sort(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    ref, axis = on_one_axis(build, Ref(-1), op.axis)
    if type(op).__name__ == "Sort":
        ordered, _ = in_order(build, ref, axis)
        return build.add(ops.Identity(), ordered)
    if op.axis is None:
        array = call.inputs[0].reshape(-1)
    else:
        array = call.inputs[0]
    if (np.diff(np.sort(array, axis=axis), axis=axis) == 0).any():
        raise Undescribed("the order of equal elements is undefined")
    ordered, places = in_order(build, ref, axis)
    return build.add(ops.Identity(), places, shape=build.shape(ordered))


@operation("Median", "Quantile", "Percentile")
def _quantile(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Between two neighbours in order, or one of them; up to 3.15 Keras' quantile of a functional
    model looks at no ``method``."""
    kind = type(op).__name__
    q = 0.5 if kind == "Median" else call.arguments["q"]
    if isinstance(q, Ref):
        q = call.inputs[q.index]
    # A number of Python's becomes a float32 tensor first.
    q = np.asarray(q, np.float32).astype(np.float64) / (100 if kind == "Percentile" else 1)
    method = getattr(op, "method", "linear")
    axes = build.axes(Ref(-1), op.axis)
    rest = [axis for axis in range(len(call.shape)) if axis not in axes]
    kept = [call.shape[axis] for axis in rest]
    lines = build.reshape(build.transpose(Ref(-1), (*rest, *axes)), (*kept, -1))
    order, _ = in_order(build, lines, len(kept))
    count = build.shape(lines)[-1]
    parts = [
        _at(build, order, float(share) * (count - 1), method, len(kept)) for share in q.ravel()
    ]
    if op.keepdims:
        shape = [1 if axis in axes else size for axis, size in enumerate(call.shape)]
    else:
        shape = kept
    parts = [build.reshape(part, shape) for part in parts]
    if q.ndim:
        return build.stack(parts, 0)
    return parts[0]


def _at(build: OpBuilder, order: Ref, place: float, method: str, axis: int) -> Ref:
    if method == "nearest":
        place, method = float(np.rint(place)), "lower"
    low, high = int(np.floor(place)), int(np.ceil(place))
    share = {"linear": place - low, "lower": 0.0, "higher": 1.0, "midpoint": 0.5}[method]
    first, second = (build.part(order, axis, start, start + 1) for start in (low, high))
    if low == high or share == 0:
        return first
    if share == 1:
        return second
    by = build.ref(share)
    # the place is a number of the input's type, rounded like any other
    if method == "linear" and build.call.backend != "tensorflow":
        by = build.add(ops.Sub(), build.add(ops.Mul(), place, 1.0), float(low))
    rest = build.add(ops.Sub(), 1.0, by)
    return build.add(ops.Add(), build.add(ops.Mul(), first, rest), build.add(ops.Mul(), second, by))


@operation("SearchSorted", "Digitize")
def _search_sorted(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """How many of the rising numbers are less than each value, or also those that are equal."""
    if type(op).__name__ == "Digitize":
        values, bins = ("x", "bins")
    else:
        values, bins = ("values", "sorted_sequence")
    x, numbers = build.pair(call.arguments[values], build.shaped(call.arguments[bins]))
    if len(build.shape(numbers)) != 1:
        raise Undescribed("searching several sequences is not supported")
    counts = ops.GreaterOrEqual() if getattr(op, "side", "right") == "right" else ops.Greater()
    passed = build.add(ops.Cast(to="int32"), build.add(counts, build.expand_dims(x, -1), numbers))
    return build.reduce(ops.ReduceSum, passed, -1, False)


@operation("InTopK")
def _in_top_k(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    targets, scores = (build.ref(call.arguments[name]) for name in ("targets", "predictions"))
    wanted = build.expand_dims(targets, -1)
    own = build.add(ops.GatherElements(axis=1), scores, wanted, shape=build.shape(wanted))
    above = build.add(ops.Cast(to="int32"), build.add(ops.Greater(), scores, own))
    return build.add(ops.Less(), build.reduce(ops.ReduceSum, above, -1, False), int(op.k))
