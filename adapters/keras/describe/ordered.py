"""What goes by the order of elements: sorting, the largest ones, and where the extremes lie."""

from typing import Any

from probe import ops
from probe.description import Ref

from .op_builder import OpBuilder

__all__ = ["extreme_place", "in_order", "on_one_axis", "top_k"]


def on_one_axis(build: OpBuilder, ref: Ref, axis: Any) -> tuple[Ref, int]:
    """A tensor and one of its axes, counted from the first; all elements in a row for None."""
    if axis is None:
        return build.reshape(ref, (-1,)), 0
    return ref, build.axes(ref, axis)[0]


def in_order(build: OpBuilder, ref: Ref, axis: int, largest: bool = False) -> tuple[Ref, Ref]:
    """The elements along one axis from the smallest on (or from the largest on), and their
    places."""
    ordered = build.add(ops.TopK(k=build.shape(ref)[axis], axis=axis, largest=largest), ref)
    return ordered, Ref(ordered.step, 1)


def top_k(build: OpBuilder, ref: Ref, k: int) -> list[Ref]:
    """The largest elements along the last axis, and their places."""
    shape = build.shape(ref)
    best = build.add(ops.TopK(k=k, axis=len(shape) - 1), ref, shape=(*shape[:-1], k))
    return [best, Ref(best.step, 1)]


def extreme_place(
    build: OpBuilder,
    op: type[ops.ArgMax] | type[ops.ArgMin],
    ref: Ref,
    axis: int,
    keepdims: bool = False,
) -> Ref:
    """Where the largest or the smallest element along one axis lies."""
    shape = list(build.shape(ref))
    axis = axis % len(shape)
    shape[axis : axis + 1] = [1] if keepdims else []
    return build.add(op(axis=axis, keepdims=keepdims), ref, shape=shape)
