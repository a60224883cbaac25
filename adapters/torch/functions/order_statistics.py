"""Sorted places, medians and quantiles, and running extremes."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Outputs, Value, function
from .gather_sort import flat, refuse_many

__all__: list[str] = []


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
    refuse_many(build.array(input).size * line[-1])
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
    return tuple(build.add(ops.Gather(axis=axis), ref, kth) for ref in (order, Ref(order.step, 1)))


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
    order = build.add(ops.TopK(k=size, axis=0, largest=False), flat(build, input))
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
    x = flat(build, input) if dim is None else build.ref(input)
    if dim is None:
        rank, size = (1, array.size)
    else:
        rank, size = (max(1, array.ndim), array.shape[dim] if array.ndim else 1)
    if not array.ndim:
        x = flat(build, input)
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


def _register_running(name: str, extreme: Any, place: Any, sign: int) -> None:
    @function(name, onnx=extreme.__name__.lower())
    def running(build: CallBuilder, input: Value, dim: int) -> tuple[Ref, Ref]:
        """The extreme of the elements so far, and the last of its places: of all elements along the
        axis with those behind hidden."""
        shape = build.shape(input)
        if not shape or not build.outputs[0].size:
            return build.add(ops.Identity(), input), build.ref(np.zeros(shape, np.int64))
        size, axis = shape[dim], dim % len(shape)
        refuse_many(build.outputs[0].size * size)
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
