"""Reductions, norms, and what goes along an axis in order."""

import math
from collections.abc import Callable
from typing import Any

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import Function, Value, function, in_type

__all__ = ["norm", "normalize", "topk"]

Dims = int | tuple[int, ...] | list[int] | None


def _axes(recipe: Function, input: Value, dim: Dims) -> tuple[int, ...]:
    rank = recipe.rank(input)
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return tuple(range(rank))
    return tuple(axis % max(1, rank) for axis in ((dim,) if isinstance(dim, int) else dim))


_OF_ONE: dict[Any, Any] = {
    **dict.fromkeys((ops.ReduceAll, ops.ReduceAny), ops.Cast(to="bool")),
    **dict.fromkeys((ops.ReduceL1, ops.ReduceL2), ops.Abs()),
}
"""What reductions make of a tensor without axes, where that is not the tensor itself."""


def _reduced(
    recipe: Function, op: Callable[..., Any], input: Value, dim: Dims, keepdim: bool, **more: Any
) -> Ref:
    if not recipe.rank(input):
        return recipe.put(_OF_ONE.get(op, ops.Identity()), input)
    return recipe.put(op(axes=_axes(recipe, input, dim), keepdims=bool(keepdim), **more), input)


def _register(names: str, op: Callable[..., Any]) -> None:
    @function(*names.split(), onnx=op.__name__.lower())
    def reduction(
        recipe: Function,
        input: Value,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
    ) -> Ref:
        return in_type(
            recipe, dtype, input, lambda x: _reduced_again(recipe, op, x, input, dim, keepdim)
        )


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
    name: str, op: Callable[..., Any], place: Callable[..., Any], merge: Callable[[], Any]
) -> None:
    @function(name, onnx=op.__name__.lower())
    def extreme(
        recipe: Function, input: Value, dim: Any = None, keepdim: bool = False, *, other: Any = None
    ) -> Any:
        """Of all elements, along an axis with the places, or of two tensors."""
        second = (
            other
            if other is not None
            else dim
            if isinstance(dim, Ref) or hasattr(dim, "effective")
            else None
        )
        if second is not None:
            return recipe.put(merge(), input, second)
        if dim is None:
            return _reduced(recipe, op, input, None, False)
        if not recipe.rank(input):
            return recipe.put(ops.Identity(), input), recipe.ref(0)
        values = _reduced(recipe, op, input, dim, keepdim)
        return values, recipe.put(
            place(axis=dim % recipe.rank(input), keepdims=bool(keepdim)), input
        )


_register_extreme("max", ops.ReduceMax, ops.ArgMax, ops.Max)
_register_extreme("min", ops.ReduceMin, ops.ArgMin, ops.Min)


def _register_place(name: str, op: Callable[..., Any]) -> None:
    @function(name, onnx=name)
    def place(recipe: Function, input: Value, dim: int | None = None, keepdim: bool = False) -> Ref:
        rank = recipe.rank(input)
        if dim is not None and rank:
            return recipe.put(op(axis=dim % rank, keepdims=bool(keepdim)), input)
        found = recipe.put(op(axis=0), recipe.put(ops.Reshape(shape=(-1,)), input))
        return recipe.reshaped(found)


_register_place("argmax", ops.ArgMax)
_register_place("argmin", ops.ArgMin)


def _spread(name: str, op: Callable[..., Any], with_mean: bool) -> None:
    @function(name, onnx="reducevar" if op is ops.ReduceVar else "reducestd")
    def spread(
        recipe: Function,
        input: Value,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: int | None = None,
    ) -> Any:
        """``var(x, False)`` is over all axes: a boolean in the place of ``dim`` says whether it is
        unbiased."""
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = correction if correction is not None else int(unbiased)
        if int(ddof) != ddof:
            raise Undescribed(f"correction={correction!r}")
        found = _reduced(recipe, op, input, dim, keepdim, ddof=int(ddof))
        return (
            (found, _reduced(recipe, ops.ReduceMean, input, dim, keepdim)) if with_mean else found
        )


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
    recipe: Function,
    input: Value,
    p: Any = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Ref:
    """The norm of all elements along the axes, however many they are."""
    if p == "nuc":
        raise Undescribed("the nuclear norm has no description")
    return _vector_norm(recipe, input, 2 if p in ("fro", None) else p, dim, keepdim)


@function("linalg_norm", onnx="reducel2", idle="dtype")
def linalg_norm(
    recipe: Function,
    input: Value,
    ord: Any = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Ref:
    """The norm of vectors; of matrices the Frobenius one, which is that of their elements."""
    axes = 1 if isinstance(dim, int) else recipe.rank(input) if dim is None else len(dim)
    if ord not in ("fro", None) and axes > 1:
        raise Undescribed(f"a matrix norm of order {ord!r} has no description")
    return _vector_norm(recipe, input, 2 if ord in ("fro", None) else ord, dim, keepdim)


@function("linalg_vector_norm", onnx="reducel2", idle="dtype")
def vector_norm(
    recipe: Function,
    input: Value,
    ord: Any = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Ref:
    return _vector_norm(recipe, input, ord, dim, keepdim)


def _vector_norm(recipe: Function, input: Value, order: Any, dim: Dims, keepdim: bool) -> Ref:
    if order == 2:
        return _reduced(recipe, ops.ReduceL2, input, dim, keepdim)
    if order == 1:
        return _reduced(recipe, ops.ReduceL1, input, dim, keepdim)
    if order in (math.inf, "inf", -math.inf):
        op = ops.ReduceMin if order == -math.inf else ops.ReduceMax
        return _reduced_again(recipe, op, recipe.put(ops.Abs(), input), input, dim, keepdim)
    if order == 0:
        raise Undescribed("a norm of order 0 has no description")
    powers = recipe.put(ops.Pow(), recipe.put(ops.Abs(), input), float(order))
    total = _reduced_again(recipe, ops.ReduceSum, powers, input, dim, keepdim)
    return recipe.put(ops.Pow(), total, 1.0 / float(order))


def _reduced_again(
    recipe: Function, op: Callable[..., Any], value: Value, like: Value, dim: Dims, keepdim: bool
) -> Ref:
    """A reduction of a value in the shape of an argument."""
    if not recipe.rank(like):
        return recipe.put(_OF_ONE.get(op, ops.Identity()), value)
    return recipe.put(op(axes=_axes(recipe, like, dim), keepdims=bool(keepdim)), value)


@function("normalize", onnx="lpnormalization", idle="out")
def normalize(
    recipe: Function,
    input: Value,
    p: float = 2.0,
    dim: int = 1,
    eps: float = 1e-12,
    out: Any = None,
) -> Ref:
    length = norm(recipe, input, p, dim, True)
    return recipe.put(ops.Div(), input, recipe.put(ops.Clip(low=eps, high=None), length))


@function("topk", onnx="topk")
def topk(
    recipe: Function, input: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    if not sorted:
        raise Undescribed("sorted=False: the order is not said")
    return _in_order(recipe, input, k, dim, largest, stable=False)


def _in_order(
    recipe: Function, input: Value, k: int, dim: int, largest: bool, stable: bool
) -> tuple[Ref, Ref]:
    found = recipe.put(
        ops.TopK(k=k, axis=dim % max(1, recipe.rank(input)), largest=largest, stable=stable), input
    )
    return found, Ref(found.step, 1)


@function("sort", onnx="topk")
def sort(
    recipe: Function, input: Value, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Any:
    shape = recipe.shape(input)
    return _in_order(recipe, input, shape[dim] if shape else 1, dim, descending, bool(stable))


@function("argsort", onnx="topk")
def argsort(
    recipe: Function, input: Value, dim: int = -1, descending: bool = False, stable: bool = False
) -> Ref:
    return sort(recipe, input, dim, descending, stable=stable)[1]
