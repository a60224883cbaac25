"""Reductions, norms, and what goes along an axis in order."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Outputs, Value, function, in_type

__all__ = ["norm", "normalize", "topk"]

Dims = int | tuple[int, ...] | list[int] | None


def _axes(build: CallBuilder, input: Value, dim: Dims) -> tuple[int, ...]:
    rank = build.rank(input)
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return tuple(range(rank))
    return tuple(axis % max(1, rank) for axis in ((dim,) if isinstance(dim, int) else dim))


_OF_ONE: dict[Any, Any] = {
    **dict.fromkeys((ops.ReduceAll, ops.ReduceAny), ops.Cast(to="bool")),
    **dict.fromkeys((ops.ReduceL1, ops.ReduceL2), ops.Abs()),
}
"""What reductions make of a tensor without axes, where that is not the tensor itself."""


def _reduced(
    build: CallBuilder,
    op: Callable[..., ops.Op],
    input: Value,
    dim: Dims,
    keepdim: bool,
    **more: Any,
) -> Ref:
    if not build.rank(input):
        return build.add(_OF_ONE.get(op, ops.Identity()), input)
    return build.add(op(axes=_axes(build, input, dim), keepdims=bool(keepdim), **more), input)


def _register(names: str, op: Callable[..., ops.Op]) -> None:
    @function(*names.split(), onnx=op.__name__.lower())
    def reduction(
        build: CallBuilder,
        input: Value,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
    ) -> Ref:
        counted = op in (ops.ReduceSum, ops.ReduceProd) and build.array(input).dtype.kind == "b"

        def reduced(x: Value) -> Ref:
            numbers = build.add(ops.Cast(to="int64"), x) if counted else x
            return _reduced_again(build, op, numbers, input, dim, keepdim)

        return in_type(build, dtype, input, reduced)


for _names, _op in {
    "sum": ops.ReduceSum,
    "mean": ops.ReduceMean,
    "prod": ops.ReduceProd,
    "amax": ops.ReduceMax,
    "amin": ops.ReduceMin,
    "logsumexp special_logsumexp": ops.ReduceLogSumExp,
    "all": ops.ReduceAll,
    "any": ops.ReduceAny,
}.items():
    _register(_names, _op)


def _register_extreme(
    name: str, op: Callable[..., ops.Op], place: Callable[..., ops.Op], merge: Callable[[], ops.Op]
) -> None:
    @function(name, onnx=op.__name__.lower())
    def extreme(
        build: CallBuilder,
        input: Value,
        dim: Any = None,
        keepdim: bool = False,
        *,
        other: Any = None,
    ) -> Outputs:
        """Of all elements, along an axis with the places, or of two tensors."""
        if other is not None:
            second = other
        elif isinstance(dim, Ref) or hasattr(dim, "effective"):
            second = dim
        else:
            second = None
        if second is not None:
            return build.add(merge(), input, second)
        if dim is None:
            return _reduced(build, op, input, None, False)
        if not build.rank(input):
            return build.add(ops.Identity(), input), build.ref(0)
        values = _reduced(build, op, input, dim, keepdim)
        return values, build.add(place(axis=dim % build.rank(input), keepdims=bool(keepdim)), input)


_register_extreme("max", ops.ReduceMax, ops.ArgMax, ops.Max)
_register_extreme("min", ops.ReduceMin, ops.ArgMin, ops.Min)


@function("aminmax", onnx="reducemin")
def aminmax(
    build: CallBuilder, input: Value, *, dim: int | None = None, keepdim: bool = False
) -> Outputs:
    """Over all axes where none is named, which then stay with size 1."""
    least = _reduced(build, ops.ReduceMin, input, dim, keepdim)
    return least, _reduced(build, ops.ReduceMax, input, dim, keepdim)


def _register_place(name: str, op: Callable[..., ops.Op]) -> None:
    @function(name, onnx=name)
    def place(
        build: CallBuilder, input: Value, dim: int | None = None, keepdim: bool = False
    ) -> Ref:
        rank = build.rank(input)
        if dim is not None and rank:
            return build.add(op(axis=dim % rank, keepdims=bool(keepdim)), input)
        found = build.add(op(axis=0), build.add(ops.Reshape(shape=(-1,)), input))
        return build.reshaped(found)


_register_place("argmax", ops.ArgMax)
_register_place("argmin", ops.ArgMin)


def _spread(name: str, op: Callable[..., ops.Op], with_mean: bool) -> None:
    @function(name, onnx="reducevar" if op is ops.ReduceVar else "reducestd")
    def spread(
        build: CallBuilder,
        input: Value,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: int | None = None,
    ) -> Outputs:
        """``var(x, False)`` is over all axes: a boolean in the place of ``dim`` says whether it is
        unbiased."""
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = correction if correction is not None else int(unbiased)
        if int(ddof) != ddof:
            raise Undescribed(f"correction={correction!r}")
        found = _reduced(build, op, input, dim, keepdim, ddof=int(ddof))
        if with_mean:
            return (found, _reduced(build, ops.ReduceMean, input, dim, keepdim))
        return found


for _name, _op, _both in (
    ("var", ops.ReduceVar, False),
    ("std", ops.ReduceStd, False),
    ("var_mean", ops.ReduceVar, True),
    ("std_mean", ops.ReduceStd, True),
):
    _spread(_name, _op, _both)


# Of `dtype` norms take types of floats alone, and of two types of floats they are refused.
@function("norm", onnx="reducel2", idle="dtype")
def norm(
    build: CallBuilder,
    input: Value,
    p: Any = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Ref:
    """The norm of all elements along the axes, however many they are."""
    if p == "nuc":
        raise Undescribed("the nuclear norm is not supported")
    return _vector_norm(build, input, 2 if p in ("fro", None) else p, dim, keepdim)


@function("linalg_norm", onnx="reducel2", idle="dtype")
def linalg_norm(
    build: CallBuilder,
    input: Value,
    ord: Any = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Ref:
    """The norm of vectors; of matrices the Frobenius one, which is that of their elements."""
    if isinstance(dim, int):
        axes = 1
    elif dim is None:
        axes = build.rank(input)
    else:
        axes = len(dim)
    if ord not in ("fro", None) and axes > 1:
        raise Undescribed(f"a matrix norm of order {ord!r} is not supported")
    return _vector_norm(build, input, 2 if ord in ("fro", None) else ord, dim, keepdim)


@function("linalg_vector_norm", onnx="reducel2", idle="dtype")
def vector_norm(
    build: CallBuilder,
    input: Value,
    ord: Any = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Ref:
    return _vector_norm(build, input, ord, dim, keepdim)


def _vector_norm(build: CallBuilder, input: Value, order: Any, dim: Dims, keepdim: bool) -> Ref:
    if order == 2:
        return _reduced(build, ops.ReduceL2, input, dim, keepdim)
    if order == 1:
        return _reduced(build, ops.ReduceL1, input, dim, keepdim)
    if order in (math.inf, "inf", -math.inf):
        op = ops.ReduceMin if order == -math.inf else ops.ReduceMax
        return _reduced_again(build, op, build.add(ops.Abs(), input), input, dim, keepdim)
    if order == 0:
        raise Undescribed("a norm of order 0 is not supported")
    powers = build.add(ops.Pow(), build.add(ops.Abs(), input), float(order))
    total = _reduced_again(build, ops.ReduceSum, powers, input, dim, keepdim)
    return build.add(ops.Pow(), total, 1.0 / float(order))


def _reduced_again(
    build: CallBuilder,
    op: Callable[..., ops.Op],
    value: Value,
    like: Value,
    dim: Dims,
    keepdim: bool,
) -> Ref:
    """A reduction of a value in the shape of an argument."""
    if not build.rank(like):
        return build.add(_OF_ONE.get(op, ops.Identity()), value)
    return build.add(op(axes=_axes(build, like, dim), keepdims=bool(keepdim)), value)


@function("normalize", onnx="lpnormalization", idle="out")
def normalize(
    build: CallBuilder,
    input: Value,
    p: float = 2.0,
    dim: int = 1,
    eps: float = 1e-12,
    out: Any = None,
) -> Ref:
    length = norm(build, input, p, dim, True)
    return build.add(ops.Div(), input, build.add(ops.Clip(low=eps, high=None), length))


@function("topk", onnx="topk")
def topk(
    build: CallBuilder,
    input: Value,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> tuple[Ref, Ref]:
    order = _in_order(build, input, k, dim, largest, stable=False)
    if sorted or not build.rank(input):
        return order
    # Any order is right then: theirs is taken over, of what is chosen here.
    values, places = build.outputs
    axis = dim % values.ndim
    ranks = np.argsort(np.lexsort((places, -values if largest else values), axis=axis), axis=axis)
    first, second = (build.add(ops.GatherElements(axis=axis), ref, ranks) for ref in order)
    return first, second


def _in_order(
    build: CallBuilder, input: Value, k: int, dim: int, largest: bool, stable: bool
) -> tuple[Ref, Ref]:
    rank = build.rank(input)
    row = input if rank else build.add(ops.Reshape(shape=(1,)), input)
    found = build.add(ops.TopK(k=k, axis=dim % max(1, rank), largest=largest, stable=stable), row)
    order = found, Ref(found.step, 1)
    if rank:
        return order
    return (build.reshaped(order[0]), build.reshaped(order[1]))


@function("sort", onnx="topk")
def sort(
    build: CallBuilder,
    input: Value,
    dim: int = -1,
    descending: bool = False,
    *,
    stable: bool = False,
) -> tuple[Ref, Ref]:
    shape = build.shape(input)
    return _in_order(build, input, shape[dim] if shape else 1, dim, descending, bool(stable))


@function("argsort", onnx="topk")
def argsort(
    build: CallBuilder, input: Value, dim: int = -1, descending: bool = False, stable: bool = False
) -> Ref:
    return sort(build, input, dim, descending, stable=stable)[1]
