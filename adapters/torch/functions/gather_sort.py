"""Functions that choose: places where something holds, elements brought to places, numbers in
order; and the distances of rows."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Outputs, Value, function
from .shape import concat, setitem

__all__ = ["nonzero"]


_MOST = 1 << 23


def _held(count: int) -> None:
    if count > _MOST:
        raise Undescribed(f"comparing {count} pairs of elements one by one exceeds the limit")


def _flat(build: CallBuilder, value: Value) -> Ref:
    return build.add(ops.Reshape(shape=(-1,)), value)


@function("cdist", "_cdist_forward", onnx="pairwisedistance")
def cdist(
    build: CallBuilder, x1: Value, x2: Value, p: float = 2.0, compute_mode: Any = None
) -> Ref:
    """The p-norms of the differences of all rows; of p = 2 by a matrix product beyond 25 rows
    (aten/src/ATen/native/Distance.cpp)."""
    modes = {
        None: 0,
        "use_mm_for_euclid_dist_if_necessary": 0,
        "use_mm_for_euclid_dist": 1,
        "donot_use_mm_for_euclid_dist": 2,
    }
    mode = modes.get(compute_mode, compute_mode)
    left, right = build.shape(x1), build.shape(x2)
    if not left[-1]:
        return build.add(ops.Expand(shape=build.outputs[0].shape), 0.0)
    if p == 2 and (mode == 1 or (mode == 0 and max(left[-2], right[-2]) > 25)):
        return euclidean_dist(build, x1, x2)
    _held(build.outputs[0].size * left[-1])
    lifted = [
        build.add(ops.Reshape(shape=(*left[:-1], 1, left[-1])), x1),
        build.add(ops.Reshape(shape=(*right[:-2], 1, *right[-2:])), x2),
    ]
    rank = max(len(left), len(right)) + 1
    if p == 0:
        differ = build.add(ops.Cast(to=build.kinds[0]), build.add(ops.NotEqual(), *lifted))
        return build.add(ops.ReduceSum(axes=(rank - 1,)), differ)
    less = build.add(ops.Sub(), *lifted)
    if p == 2:
        return build.add(ops.ReduceL2(axes=(rank - 1,)), less)
    if p == 1:
        return build.add(ops.ReduceL1(axes=(rank - 1,)), less)
    size = build.add(ops.Abs(), less)
    if math.isinf(p):
        return build.add(ops.ReduceMax(axes=(rank - 1,)), size)
    total = build.add(ops.ReduceSum(axes=(rank - 1,)), build.add(ops.Pow(), size, float(p)))
    return build.add(ops.Pow(), total, 1.0 / float(p))


@function("_euclidean_dist", onnx="pairwisedistance")
def euclidean_dist(build: CallBuilder, x1: Value, x2: Value) -> Ref:
    """The root of [-2 x1, |x1|², 1] [x2, 1, |x2|²]ᵀ, no less than 0, which loses digits of rows
    that are close to each other."""
    sides = []
    for rows, factor in ((x1, -2.0), (x2, 1.0)):
        shape = build.shape(rows)
        rank = len(shape)
        square = build.add(
            ops.ReduceSum(axes=(rank - 1,), keepdims=True), build.add(ops.Square(), rows)
        )
        ones = build.ref(np.ones((*shape[:-1], 1)))
        scaled = build.ref(rows) if factor == 1 else build.add(ops.Mul(), rows, factor)
        sides.append(
            build.add(
                ops.Concat(axis=rank - 1),
                *((scaled, square, ones) if factor != 1 else (scaled, ones, square)),
            )
        )
    turned = build.add(ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), sides[1])
    return build.add(
        ops.Sqrt(),
        build.add(ops.Clip(low=0.0, high=None), build.add(ops.Product(), sides[0], turned)),
    )


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
    x, updates, size = _flat(build, input), _flat(build, updates), build.array(input).size
    counts = np.bincount(numbers, minlength=size)
    if reduce in ("sum", "mean"):
        start = x if include_self else build.add(ops.Where(fixed=True), counts > 0, 0, x)
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
    return build.add(ops.Gather(axis=0), _flat(build, input), spread[chosen])


@function("masked_scatter", "masked_scatter_", onnx="scatternd")
def masked_scatter(build: CallBuilder, input: Value, mask: Value, source: Value) -> Ref:
    """The first elements of the source, in their order, where the mask holds."""
    shape = build.outputs[0].shape
    numbers = np.flatnonzero(np.broadcast_to(build.array(mask), shape))
    given = build.add(ops.Slice(starts=(0,), stops=(len(numbers),)), _flat(build, source))
    x = _flat(build, build.add(ops.Expand(shape=shape), input))
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
    order = build.add(ops.TopK(k=max(1, count), axis=0), _flat(build, holds))
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


@function("searchsorted", onnx="reducesum", idle="out_int32")
def searchsorted(
    build: CallBuilder,
    sorted_sequence: Value,
    input: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Ref:
    """How many of a line in order lie below each number; with ``right``, below or at it. NaN lies
    above all."""
    if sorter is not None:
        raise Undescribed("the argument sorter is not supported")
    line, shape = build.shape(sorted_sequence), build.shape(input)
    _held(build.array(input).size * line[-1])
    if len(line) < 2:
        lines = build.ref(sorted_sequence)
    else:
        lines = build.add(ops.Reshape(shape=(*line[:-1], 1, line[-1])), sorted_sequence)
    each = build.add(ops.Reshape(shape=(*shape, 1)), input) if shape else input
    above = build.add(
        ops.Greater() if right or side == "right" else ops.GreaterOrEqual(), lines, each
    )
    below = build.add(ops.Cast(to="int64"), build.add(ops.Not(), above))
    return build.add(ops.ReduceSum(axes=(len(shape),)), below)


@function("bucketize", onnx="reducesum", idle="out_int32")
def bucketize(
    build: CallBuilder,
    input: Value,
    boundaries: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
) -> Ref:
    return searchsorted(build, boundaries, input, right=right)


def _ordered(array: np.ndarray) -> None:
    if not array.size or np.isnan(array).any():
        raise Undescribed(
            "NaN cannot be ordered" if array.size else "an empty tensor cannot be ordered"
        )


@function("kthvalue", onnx="topk")
def kthvalue(
    build: CallBuilder, input: Value, k: int, dim: int = -1, keepdim: bool = False
) -> Outputs:
    """The k-th smallest along an axis and its place, where no other number there equals it."""
    array = build.array(input)
    if not array.ndim:
        return build.add(ops.Identity(), input), build.ref(0)
    _ordered(array)
    found = np.sort(array, axis=dim).take([k - 1], axis=dim)
    if ((array == found).sum(axis=dim) > 1).any():
        raise Undescribed("the index that PyTorch returns among equal values is undefined")
    axis = dim % array.ndim
    order = build.add(ops.TopK(k=array.shape[axis], axis=axis, largest=False), input)
    kth = build.ref(np.full((1,) if keepdim else (), k - 1))
    return tuple(
        build.add(ops.Gather(axis=axis), place, kth) for place in (order, Ref(order.step, 1))
    )


@function("median", onnx="topk")
def median(
    build: CallBuilder, input: Value, dim: int | None = None, keepdim: bool = False
) -> Outputs:
    """The middle one in order, of an even number of elements the lower."""
    if dim is not None:
        return kthvalue(
            build,
            input,
            (build.shape(input)[dim] + 1) // 2 if build.rank(input) else 1,
            dim,
            keepdim,
        )
    size = build.array(input).size
    _ordered(build.array(input))
    order = build.add(ops.TopK(k=size, axis=0, largest=False), _flat(build, input))
    return build.add(ops.Gather(axis=0), order, np.asarray((size - 1) // 2))


@function("quantile", onnx="topk", idle="keepdim")
def quantile(
    build: CallBuilder,
    input: Value,
    q: Value,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Ref:
    """What stands at q (n - 1) in order: on the straight lines from the nearest place to the one
    before and the one after."""
    if interpolation != "linear":
        raise Undescribed(f"interpolation={interpolation!r} is not supported")
    if not build.fixed(q):
        raise Undescribed("q is computed from the model's input")
    array, shares = build.array(input), build.array(q)
    if not array.size or not np.isfinite(array).all():
        raise Undescribed("quantiles between infinities or of an empty tensor are not supported")
    x = _flat(build, input) if dim is None else build.ref(input)
    if dim is None:
        rank, size = (1, array.size)
    else:
        rank, size = (max(1, array.ndim), array.shape[dim] if array.ndim else 1)
    if not array.ndim:
        x = _flat(build, input)
    axis = 0 if dim is None else dim % rank
    last = (*(k for k in range(rank) if k != axis), axis)
    order = build.add(
        ops.TopK(k=size, axis=rank - 1, largest=False), build.add(ops.Transpose(perm=last), x)
    )
    near = np.rint(shares.astype(np.float64) * (size - 1)).astype(np.int64).reshape(-1)
    before, here, after = (
        build.add(ops.Gather(axis=rank - 1), order, np.clip(near + k, 0, size - 1))
        for k in (-1, 0, 1)
    )
    rest = build.add(
        ops.Sub(),
        build.add(ops.Mul(), build.add(ops.Reshape(shape=(-1,)), q), float(size - 1)),
        near.astype(np.float64),
    )
    up = build.add(ops.Mul(), build.add(ops.Max(), rest, 0.0), build.add(ops.Sub(), after, here))
    down = build.add(ops.Mul(), build.add(ops.Min(), rest, 0.0), build.add(ops.Sub(), here, before))
    found = build.add(ops.Add(), here, up, down)
    return build.reshaped(build.add(ops.Transpose(perm=(rank - 1, *range(rank - 1))), found))


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


def _register_running(name: str, extreme: Any, place: Any, sign: int) -> None:
    @function(name, onnx=extreme.__name__.lower())
    def running(build: CallBuilder, input: Value, dim: int) -> tuple[Ref, Ref]:
        """The extreme of the elements so far, and the last of its places: of all elements along the
        axis with those behind hidden."""
        shape = build.shape(input)
        if not shape or not build.outputs[0].size:
            return build.add(ops.Identity(), input), build.ref(np.zeros(shape, np.int64))
        size, axis = shape[dim], dim % len(shape)
        _held(build.outputs[0].size * size)
        kind = build.array(input).dtype
        if kind.kind == "b":
            raise Undescribed("the running extremes of booleans are not supported")
        if kind.kind == "f":
            hidden = sign * np.inf
        else:
            hidden = np.iinfo(kind).max if sign > 0 else np.iinfo(kind).min
        # (..., places so far, elements from the last to the first, ...)
        wide = build.add(ops.Unsqueeze(axes=(axis,)), build.add(ops.Flip(axis=axis), input))
        seen = np.arange(size - 1, -1, -1) <= np.arange(size)[:, None]
        seen = seen.reshape(*(1,) * axis, size, size, *(1,) * (len(shape) - axis - 1))
        wide = build.add(ops.Where(), seen, wide, np.asarray(hidden, kind))
        back = build.add(place(axis=axis + 1), wide)
        last = build.add(ops.Sub(), np.asarray(size - 1), back)
        return build.add(extreme(axes=(axis + 1,)), wide), last


_register_running("cummax", ops.ReduceMax, ops.ArgMax, -1)
_register_running("cummin", ops.ReduceMin, ops.ArgMin, 1)
