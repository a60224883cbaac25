"""Functions that choose: places where something holds, elements brought to places, numbers in
order; and the distances of rows."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import Function, Value, function
from .shape import concat, setitem

__all__ = ["nonzero"]


_MOST = 1 << 23


def _held(count: int) -> None:
    if count > _MOST:
        raise Undescribed(f"{count} pairs of elements are too many to compare one by one")


def _flat(recipe: Function, value: Value) -> Ref:
    return recipe.put(ops.Reshape(shape=(-1,)), value)


@function("cdist", "_cdist_forward", onnx="pairwisedistance")
def cdist(recipe: Function, x1: Value, x2: Value, p: float = 2.0, compute_mode: Any = None) -> Ref:
    """The p-norms of the differences of all rows; of p = 2 by a matrix product beyond 25 rows
    (aten/src/ATen/native/Distance.cpp)."""
    modes = {
        None: 0,
        "use_mm_for_euclid_dist_if_necessary": 0,
        "use_mm_for_euclid_dist": 1,
        "donot_use_mm_for_euclid_dist": 2,
    }
    mode = modes.get(compute_mode, compute_mode)
    left, right = recipe.shape(x1), recipe.shape(x2)
    if not left[-1]:
        return recipe.put(ops.Expand(shape=recipe.outputs[0].shape), 0.0)
    if p == 2 and (mode == 1 or (mode == 0 and max(left[-2], right[-2]) > 25)):
        return euclidean_dist(recipe, x1, x2)
    _held(recipe.outputs[0].size * left[-1])
    lifted = [
        recipe.put(ops.Reshape(shape=(*left[:-1], 1, left[-1])), x1),
        recipe.put(ops.Reshape(shape=(*right[:-2], 1, *right[-2:])), x2),
    ]
    rank = max(len(left), len(right)) + 1
    if p == 0:
        differ = recipe.put(ops.Cast(to=recipe.kinds[0]), recipe.put(ops.NotEqual(), *lifted))
        return recipe.put(ops.ReduceSum(axes=(rank - 1,)), differ)
    less = recipe.put(ops.Sub(), *lifted)
    if p == 2:
        return recipe.put(ops.ReduceL2(axes=(rank - 1,)), less)
    if p == 1:
        return recipe.put(ops.ReduceL1(axes=(rank - 1,)), less)
    size = recipe.put(ops.Abs(), less)
    if math.isinf(p):
        return recipe.put(ops.ReduceMax(axes=(rank - 1,)), size)
    total = recipe.put(ops.ReduceSum(axes=(rank - 1,)), recipe.put(ops.Pow(), size, float(p)))
    return recipe.put(ops.Pow(), total, 1.0 / float(p))


@function("_euclidean_dist", onnx="pairwisedistance")
def euclidean_dist(recipe: Function, x1: Value, x2: Value) -> Ref:
    """The root of [-2 x1, |x1|², 1] [x2, 1, |x2|²]ᵀ, no less than 0, which loses digits of rows
    that are close to each other."""
    sides = []
    for one, factor in ((x1, -2.0), (x2, 1.0)):
        shape = recipe.shape(one)
        rank = len(shape)
        square = recipe.put(
            ops.ReduceSum(axes=(rank - 1,), keepdims=True), recipe.put(ops.Square(), one)
        )
        ones = recipe.ref(np.ones((*shape[:-1], 1)))
        scaled = recipe.ref(one) if factor == 1 else recipe.put(ops.Mul(), one, factor)
        sides.append(
            recipe.put(
                ops.Concat(axis=rank - 1),
                *((scaled, square, ones) if factor != 1 else (scaled, ones, square)),
            )
        )
    turned = recipe.put(ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), sides[1])
    return recipe.put(
        ops.Sqrt(),
        recipe.put(ops.Clip(low=0.0, high=None), recipe.put(ops.Product(), sides[0], turned)),
    )


def _along(recipe: Function, input: Value, dim: int, index: Value) -> tuple[Any, ...]:
    """The key of the slices at an index along one axis."""
    if not recipe.rank(input):
        raise Undescribed(
            "a tensor without axes, taken as one of a single element, has no description"
        )
    return (*(slice(None),) * (dim % recipe.rank(input)), np.atleast_1d(recipe.array(index)))


@function("index_copy", "index_copy_", onnx="scatternd")
def index_copy(recipe: Function, input: Value, dim: int, index: Value, source: Value) -> Ref:
    places = np.atleast_1d(recipe.array(index))
    if len(np.unique(places)) < len(places):
        raise Undescribed("its index names a place twice, and which of the two stays is not said")
    return setitem(recipe, input, _along(recipe, input, dim, index), source)


@function("index_fill", "index_fill_", onnx="scatternd")
def index_fill(recipe: Function, input: Value, dim: int, index: Value, value: Value) -> Ref:
    return setitem(recipe, input, _along(recipe, input, dim, index), value)


@function("scatter_reduce", "scatter_reduce_", onnx="scatterelements")
def scatter_reduce(
    recipe: Function,
    input: Value,
    dim: int,
    index: Value,
    src: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Ref:
    places = np.atleast_1d(recipe.array(index))
    shape = recipe.shape(input) or (1,)
    at: list[np.ndarray] = list(np.indices(places.shape))
    at[dim] = places
    updates = recipe.ref(src)
    if recipe.rank(src) and recipe.shape(src) != places.shape:
        updates = recipe.put(ops.Slice(starts=(0,) * places.ndim, stops=places.shape), updates)
    return _brought(
        recipe,
        input,
        np.ravel_multi_index(tuple(at), shape).reshape(-1),
        updates,
        reduce,
        include_self,
    )


@function("index_reduce", "index_reduce_", onnx="scatterelements")
def index_reduce(
    recipe: Function,
    input: Value,
    dim: int,
    index: Value,
    source: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Ref:
    shape = recipe.shape(input) or (1,)
    numbers = np.take(
        np.arange(math.prod(shape)).reshape(shape), np.atleast_1d(recipe.array(index)), axis=dim
    )
    return _brought(recipe, input, numbers.reshape(-1), recipe.ref(source), reduce, include_self)


def _brought(
    recipe: Function,
    input: Value,
    numbers: np.ndarray,
    updates: Ref,
    reduce: str,
    include_self: bool,
) -> Ref:
    """Each element of input reduced with the updates of its number; without itself where there are
    any, unless ``include_self``."""
    x, updates, size = _flat(recipe, input), _flat(recipe, updates), recipe.array(input).size
    counts = np.bincount(numbers, minlength=size)
    if reduce in ("sum", "mean"):
        start = x if include_self else recipe.put(ops.Where(fixed=True), counts > 0, 0, x)
        total = recipe.put(ops.ScatterND(reduction="add"), start, numbers[:, None], updates)
        if reduce == "mean":
            if recipe.array(input).dtype.kind != "f":
                raise Undescribed("a mean of integers, which is rounded, has no description")
            total = recipe.put(
                ops.Div(), total, np.maximum(counts + include_self, 1).astype(np.float64)
            )
        return recipe.reshaped(total)
    found = {"prod": ops.ReduceProd, "amax": ops.ReduceMax, "amin": ops.ReduceMin}.get(reduce)
    if found is None:
        raise Undescribed(f"reduce={reduce!r} has no description")
    given = recipe.put(ops.Concat(axis=0), x, updates, np.ones(1, recipe.array(input).dtype))
    members = recipe.put(ops.Gather(axis=0), given, _members(numbers, counts, include_self, reduce))
    return recipe.reshaped(recipe.put(found(axes=(1,)), members))


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
def masked_select(recipe: Function, input: Value, mask: Value) -> Ref:
    numbers = np.arange(recipe.array(input).size).reshape(recipe.shape(input))
    spread, chosen = np.broadcast_arrays(numbers, recipe.array(mask))
    return recipe.put(ops.Gather(axis=0), _flat(recipe, input), spread[chosen])


@function("masked_scatter", "masked_scatter_", onnx="scatternd")
def masked_scatter(recipe: Function, input: Value, mask: Value, source: Value) -> Ref:
    """The first elements of the source, in their order, where the mask holds."""
    shape = recipe.outputs[0].shape
    numbers = np.flatnonzero(np.broadcast_to(recipe.array(mask), shape))
    given = recipe.put(ops.Slice(starts=(0,), stops=(len(numbers),)), _flat(recipe, source))
    x = _flat(recipe, recipe.put(ops.Expand(shape=shape), input))
    return recipe.reshaped(recipe.put(ops.ScatterND(), x, numbers[:, None], given))


@function("nonzero", onnx="nonzero")
def nonzero(recipe: Function, input: Value, *, as_tuple: bool = False) -> Any:
    """The places of what is not 0, in row-major order: of truths sorted by a stable rule, the first
    ones."""
    array = recipe.array(input)
    if not array.ndim or not array.size:
        raise Undescribed("the places in a tensor without axes or elements have no description")
    count = int(np.count_nonzero(array))
    holds = recipe.put(
        ops.Cast(to="int64"),
        recipe.put(ops.NotEqual(), input, 0) if array.dtype.kind != "b" else input,
    )
    order = recipe.put(ops.TopK(k=max(1, count), axis=0), _flat(recipe, holds))
    first = recipe.put(ops.Slice(starts=(0,), stops=(count,)), Ref(order.step, 1))
    places = np.stack(np.unravel_index(np.arange(array.size), array.shape), axis=1)
    if not as_tuple:
        return recipe.put(ops.Gather(axis=0), places, first)
    return tuple(recipe.put(ops.Gather(axis=0), line, first) for line in places.T.copy())


@function("count_nonzero", onnx="reducesum")
def count_nonzero(recipe: Function, input: Value, dim: Any = None) -> Ref:
    array = recipe.array(input)
    holds = recipe.put(
        ops.Cast(to="int64"),
        recipe.put(ops.NotEqual(), input, 0) if array.dtype.kind != "b" else input,
    )
    if not array.ndim:
        return holds
    axes = range(array.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    return recipe.put(ops.ReduceSum(axes=tuple(axis % array.ndim for axis in axes)), holds)


@function("bincount", onnx="scatternd", idle="minlength")
def bincount(
    recipe: Function, input: Value, weights: Value | None = None, minlength: int = 0
) -> Ref:
    """How often each number occurs, or the sum of the weights beside it."""
    given = (
        recipe.ref(np.ones(recipe.shape(input), np.int64))
        if weights is None
        else recipe.ref(weights)
    )
    start = np.zeros(recipe.outputs[0].shape, np.int64 if weights is None else np.float64)
    return recipe.put(
        ops.ScatterND(reduction="add"), start, recipe.put(ops.Reshape(shape=(-1, 1)), input), given
    )


@function("searchsorted", onnx="reducesum", idle="out_int32")
def searchsorted(
    recipe: Function,
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
        raise Undescribed("a sorter has no description")
    line, shape = recipe.shape(sorted_sequence), recipe.shape(input)
    _held(recipe.array(input).size * line[-1])
    lines = (
        recipe.ref(sorted_sequence)
        if len(line) < 2
        else recipe.put(ops.Reshape(shape=(*line[:-1], 1, line[-1])), sorted_sequence)
    )
    each = recipe.put(ops.Reshape(shape=(*shape, 1)), input) if shape else input
    above = recipe.put(
        ops.Greater() if right or side == "right" else ops.GreaterOrEqual(), lines, each
    )
    below = recipe.put(ops.Cast(to="int64"), recipe.put(ops.Not(), above))
    return recipe.put(ops.ReduceSum(axes=(len(shape),)), below)


@function("bucketize", onnx="reducesum", idle="out_int32")
def bucketize(
    recipe: Function,
    input: Value,
    boundaries: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
) -> Ref:
    return searchsorted(recipe, boundaries, input, right=right)


def _ordered(array: np.ndarray) -> None:
    if not array.size or np.isnan(array).any():
        raise Undescribed(
            "numbers that are NaN have no place in an order"
            if array.size
            else "nothing has no order"
        )


@function("kthvalue", onnx="topk")
def kthvalue(recipe: Function, input: Value, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest along an axis and its place, where no other number there equals it."""
    array = recipe.array(input)
    if not array.ndim:
        return recipe.put(ops.Identity(), input), recipe.ref(0)
    _ordered(array)
    found = np.sort(array, axis=dim).take([k - 1], axis=dim)
    if ((array == found).sum(axis=dim) > 1).any():
        raise Undescribed("of equal numbers PyTorch gives the place of any")
    axis = dim % array.ndim
    order = recipe.put(ops.TopK(k=array.shape[axis], axis=axis, largest=False), input)
    kth = recipe.ref(np.full((1,) if keepdim else (), k - 1))
    return tuple(recipe.put(ops.Gather(axis=axis), one, kth) for one in (order, Ref(order.step, 1)))


@function("median", onnx="topk")
def median(recipe: Function, input: Value, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle one in order, of an even number of elements the lower."""
    if dim is not None:
        return kthvalue(
            recipe,
            input,
            (recipe.shape(input)[dim] + 1) // 2 if recipe.rank(input) else 1,
            dim,
            keepdim,
        )
    size = recipe.array(input).size
    _ordered(recipe.array(input))
    order = recipe.put(ops.TopK(k=size, axis=0, largest=False), _flat(recipe, input))
    return recipe.put(ops.Gather(axis=0), order, np.asarray((size - 1) // 2))


@function("quantile", onnx="topk", idle="keepdim")
def quantile(
    recipe: Function,
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
        raise Undescribed(f"interpolation={interpolation!r} has no description")
    if not recipe.fixed(q):
        raise Undescribed("q is computed from the model's input")
    array, shares = recipe.array(input), recipe.array(q)
    if not array.size or not np.isfinite(array).all():
        raise Undescribed("what lies between infinities, or in nothing, has no description")
    x = _flat(recipe, input) if dim is None else recipe.ref(input)
    rank, size = (
        (1, array.size)
        if dim is None
        else (max(1, array.ndim), array.shape[dim] if array.ndim else 1)
    )
    if not array.ndim:
        x = _flat(recipe, input)
    axis = 0 if dim is None else dim % rank
    last = (*(k for k in range(rank) if k != axis), axis)
    order = recipe.put(
        ops.TopK(k=size, axis=rank - 1, largest=False), recipe.put(ops.Transpose(perm=last), x)
    )
    near = np.rint(shares.astype(np.float64) * (size - 1)).astype(np.int64).reshape(-1)
    before, here, after = (
        recipe.put(ops.Gather(axis=rank - 1), order, np.clip(near + k, 0, size - 1))
        for k in (-1, 0, 1)
    )
    rest = recipe.put(
        ops.Sub(),
        recipe.put(ops.Mul(), recipe.put(ops.Reshape(shape=(-1,)), q), float(size - 1)),
        near.astype(np.float64),
    )
    up = recipe.put(ops.Mul(), recipe.put(ops.Max(), rest, 0.0), recipe.put(ops.Sub(), after, here))
    down = recipe.put(
        ops.Mul(), recipe.put(ops.Min(), rest, 0.0), recipe.put(ops.Sub(), here, before)
    )
    found = recipe.put(ops.Add(), here, up, down)
    return recipe.reshaped(recipe.put(ops.Transpose(perm=(rank - 1, *range(rank - 1))), found))


@function("diff", onnx="sub")
def diff(
    recipe: Function,
    input: Value,
    n: int = 1,
    dim: int = -1,
    prepend: Value | None = None,
    append: Value | None = None,
) -> Ref:
    """Each element less the one before it along an axis, n times; of truths whether they differ."""
    if not n:
        return recipe.ref(input)
    given = [one for one in (prepend, input, append) if one is not None]
    found = recipe.ref(input) if len(given) == 1 else concat(recipe, given, dim)
    shapes = [recipe.shape(one) for one in given]
    axis = dim % len(shapes[0])
    shape = [
        sum(one[axis] for one in shapes) if k == axis else size
        for k, size in enumerate(recipe.shape(input))
    ]
    op = ops.NotEqual if recipe.array(input).dtype.kind == "b" else ops.Sub
    for _ in range(min(n, shape[axis])):
        lows = tuple(int(k == axis) for k in range(len(shape)))
        later = recipe.put(ops.Slice(starts=lows, stops=tuple(shape)), found)
        shape[axis] -= 1
        found = recipe.put(
            op(), later, recipe.put(ops.Slice(starts=(0,) * len(shape), stops=tuple(shape)), found)
        )
    return found
