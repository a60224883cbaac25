"""Functions that choose: places where something holds, and elements brought to places."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Outputs, Value, function
from .shape import concat, setitem

__all__ = ["flat", "nonzero", "refuse_many"]


_MOST = 1 << 23


def refuse_many(count: int) -> None:
    if count > _MOST:
        raise Undescribed(f"comparing {count} pairs of elements one by one exceeds the limit")


def flat(build: CallBuilder, value: Value) -> Ref:
    return build.add(ops.Reshape(shape=(-1,)), value)


def _along(build: CallBuilder, input: Value, dim: int, index: Value) -> tuple[Any, ...]:
    """The key of the slices at an index along one axis."""
    if not build.rank(input):
        raise Undescribed("a 0-dimensional tensor is not supported")
    return (*(slice(None),) * (dim % build.rank(input)), np.atleast_1d(build.array(index)))


@function("index_copy", "index_copy_", onnx="scatternd")
def index_copy(build: CallBuilder, input: Value, dim: int, index: Value, source: Value) -> Ref:
    places = np.atleast_1d(build.array(index))
    if len(np.unique(places)) < len(places):
        raise Undescribed(
            "its index contains a position twice, and which value is kept is undefined"
        )
    return setitem(build, input, _along(build, input, dim, index), source)


@function("index_fill", "index_fill_", onnx="scatternd")
def index_fill(build: CallBuilder, input: Value, dim: int, index: Value, value: Value) -> Ref:
    return setitem(build, input, _along(build, input, dim, index), value)


@function("scatter_reduce", "scatter_reduce_", onnx="scatterelements")
def scatter_reduce(
    build: CallBuilder,
    input: Value,
    dim: int,
    index: Value,
    src: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Ref:
    places = np.atleast_1d(build.array(index))
    shape = build.shape(input) or (1,)
    at: list[np.ndarray] = list(np.indices(places.shape))
    at[dim] = places
    updates = build.ref(src)
    if build.rank(src) and build.shape(src) != places.shape:
        updates = build.add(ops.Slice(starts=(0,) * places.ndim, stops=places.shape), updates)
    return _brought(
        build,
        input,
        np.ravel_multi_index(tuple(at), shape).reshape(-1),
        updates,
        reduce,
        include_self,
    )


@function("index_reduce", "index_reduce_", onnx="scatterelements")
def index_reduce(
    build: CallBuilder,
    input: Value,
    dim: int,
    index: Value,
    source: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Ref:
    shape = build.shape(input) or (1,)
    numbers = np.take(
        np.arange(math.prod(shape)).reshape(shape), np.atleast_1d(build.array(index)), axis=dim
    )
    return _brought(build, input, numbers.reshape(-1), build.ref(source), reduce, include_self)


def _brought(
    build: CallBuilder,
    input: Value,
    numbers: np.ndarray,
    updates: Ref,
    reduce: str,
    include_self: bool,
) -> Ref:
    """Each element of input reduced with the updates of its number; without itself where there are
    any, unless ``include_self``."""
    x, updates, size = flat(build, input), flat(build, updates), build.array(input).size
    counts = np.bincount(numbers, minlength=size)
    if reduce in ("sum", "mean"):
        if include_self:
            start = x
        else:
            start = build.add(ops.Where(fixed=True), counts > 0, 0, x)
        total = build.add(ops.ScatterND(reduction="add"), start, numbers[:, None], updates)
        if reduce == "mean":
            if build.array(input).dtype.kind != "f":
                raise Undescribed("a mean of integers is not supported, since it is rounded")
            total = build.add(
                ops.Div(), total, np.maximum(counts + include_self, 1).astype(np.float64)
            )
        return build.reshaped(total)
    found = {"prod": ops.ReduceProd, "amax": ops.ReduceMax, "amin": ops.ReduceMin}.get(reduce)
    if found is None:
        raise Undescribed(f"reduce={reduce!r} is not supported")
    given = build.add(ops.Concat(axis=0), x, updates, np.ones(1, build.array(input).dtype))
    members = build.add(ops.Gather(axis=0), given, _members(numbers, counts, include_self, reduce))
    return build.reshaped(build.add(found(axes=(1,)), members))


def _members(
    numbers: np.ndarray, counts: np.ndarray, include_self: bool, reduce: str
) -> np.ndarray:
    """For each element its own number and those of its updates, which follow all elements, filled
    up by what changes nothing."""
    size, order = len(counts), np.argsort(numbers, kind="stable")
    rows, starts = numbers[order], np.cumsum(counts) - counts
    own, replaced = np.arange(size), np.logical_and(counts > 0, not include_self)
    own[replaced] = size + (len(numbers) if reduce == "prod" else order[starts[replaced]])
    table = np.tile(own[:, None], (1, 1 + counts.max(initial=0)))
    if reduce == "prod":
        table[:, 1:] = size + len(numbers)
    table[rows, 1 + np.arange(len(rows)) - starts[rows]] = size + order
    return table


@function("masked_select", onnx="gather")
def masked_select(build: CallBuilder, input: Value, mask: Value) -> Ref:
    numbers = np.arange(build.array(input).size).reshape(build.shape(input))
    spread, chosen = np.broadcast_arrays(numbers, build.array(mask))
    return build.add(ops.Gather(axis=0), flat(build, input), spread[chosen])


@function("masked_scatter", "masked_scatter_", onnx="scatternd")
def masked_scatter(build: CallBuilder, input: Value, mask: Value, source: Value) -> Ref:
    """The first elements of the source, in their order, where the mask holds."""
    shape = build.outputs[0].shape
    numbers = np.flatnonzero(np.broadcast_to(build.array(mask), shape))
    given = build.add(ops.Slice(starts=(0,), stops=(len(numbers),)), flat(build, source))
    x = flat(build, build.add(ops.Expand(shape=shape), input))
    return build.reshaped(build.add(ops.ScatterND(), x, numbers[:, None], given))


@function("nonzero", onnx="nonzero")
def nonzero(build: CallBuilder, input: Value, *, as_tuple: bool = False) -> Outputs:
    """The places of what is not 0, in row-major order: of truths sorted by a stable rule, the first
    ones."""
    array = build.array(input)
    if not array.ndim or not array.size:
        raise Undescribed("indices into a 0-dimensional or empty tensor are not supported")
    count = int(np.count_nonzero(array))
    holds = build.add(
        ops.Cast(to="int64"),
        build.add(ops.NotEqual(), input, 0) if array.dtype.kind != "b" else input,
    )
    order = build.add(ops.TopK(k=max(1, count), axis=0), flat(build, holds))
    first = build.add(ops.Slice(starts=(0,), stops=(count,)), Ref(order.step, 1))
    places = np.stack(np.unravel_index(np.arange(array.size), array.shape), axis=1)
    if not as_tuple:
        return build.add(ops.Gather(axis=0), places, first)
    return tuple(build.add(ops.Gather(axis=0), line, first) for line in places.T.copy())


@function("count_nonzero", onnx="reducesum")
def count_nonzero(build: CallBuilder, input: Value, dim: Any = None) -> Ref:
    array = build.array(input)
    holds = build.add(
        ops.Cast(to="int64"),
        build.add(ops.NotEqual(), input, 0) if array.dtype.kind != "b" else input,
    )
    if not array.ndim:
        return holds
    if dim is None:
        dim = range(array.ndim)
    axes = (dim,) if isinstance(dim, int) else dim
    return build.add(ops.ReduceSum(axes=tuple(axis % array.ndim for axis in axes)), holds)


@function("bincount", onnx="scatternd", idle="minlength")
def bincount(
    build: CallBuilder, input: Value, weights: Value | None = None, minlength: int = 0
) -> Ref:
    """How often each number occurs, or the sum of the weights beside it."""
    if weights is None:
        given = build.ref(np.ones(build.shape(input), np.int64))
    else:
        given = build.ref(weights)
    start = np.zeros(build.outputs[0].shape, np.int64 if weights is None else np.float64)
    return build.add(
        ops.ScatterND(reduction="add"), start, build.add(ops.Reshape(shape=(-1, 1)), input), given
    )


@function("histc", onnx="scatternd")
def histc(build: CallBuilder, input: Value, bins: int = 100, min: float = 0, max: float = 0) -> Ref:
    """How many numbers fall into each of some bins of equal width; those outside into none, and the
    largest one of all into the last."""
    array = build.array(input)
    low, high = float(min), float(max)
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    inside = array[(array >= low) & (array <= high)].astype(np.float64)
    place = (inside - low) * bins / (high - low)
    off = np.abs(place - np.rint(place))
    if not np.isfinite(array).all() or ((off > 0) & (off < 1e-6 * bins)).any():
        raise Undescribed("a number lies so close to the edge of a bin that rounding decides")
    x = build.add(ops.Reshape(shape=(-1, 1)), input)
    less = x if not low else build.add(ops.Sub(), x, low)
    at = build.add(ops.Div(), build.add(ops.Mul(), less, float(bins)), high - low)
    at = build.add(ops.Clip(low=0.0, high=float(bins - 1)), build.add(ops.Floor(), at))
    counted = build.add(
        ops.And(),
        build.add(ops.GreaterOrEqual(), x, low),
        build.add(ops.LessOrEqual(), x, high),
    )
    ones = build.add(ops.Reshape(shape=(-1,)), build.add(ops.Cast(to=build.kinds[0]), counted))
    return build.add(
        ops.ScatterND(reduction="add"),
        np.zeros(bins, np.float64),
        build.add(ops.Cast(to="int64"), at),
        ones,
    )


@function("diff", onnx="sub")
def diff(
    build: CallBuilder,
    input: Value,
    n: int = 1,
    dim: int = -1,
    prepend: Value | None = None,
    append: Value | None = None,
) -> Ref:
    """Each element less the one before it along an axis, n times; of truths whether they differ."""
    if not n:
        return build.ref(input)
    given = [part for part in (prepend, input, append) if part is not None]
    y = build.ref(input) if len(given) == 1 else concat(build, given, dim)
    shapes = [build.shape(part) for part in given]
    axis = dim % len(shapes[0])
    shape = [
        sum(shape[axis] for shape in shapes) if k == axis else size
        for k, size in enumerate(build.shape(input))
    ]
    op = ops.NotEqual if build.array(input).dtype.kind == "b" else ops.Sub
    for _ in range(min(n, shape[axis])):
        lows = tuple(int(k == axis) for k in range(len(shape)))
        later = build.add(ops.Slice(starts=lows, stops=tuple(shape)), y)
        shape[axis] -= 1
        y = build.add(
            op(), later, build.add(ops.Slice(starts=(0,) * len(shape), stops=tuple(shape)), y)
        )
    return y
