"""Losses that are 0 beyond a margin, and those of distances."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import Builder, Value, function
from .losses import Flag, broadcast_rank, reduced, reduction_of

__all__: list[str] = []


def _above(build: Builder, value: Value) -> Ref:
    """The value where it is positive, else 0."""
    return build.add(ops.Clip(low=0.0, high=None), value)


@function("margin_ranking_loss", onnx="marginrankingloss")
def margin_ranking_loss(
    build: Builder,
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    less = build.add(ops.Sub(), input1, input2)
    turned = build.add(ops.Mul(), build.add(ops.Neg(), target), less)
    loss = _above(build, build.add(ops.Add(), turned, float(margin)))
    return reduced(build, loss, broadcast_rank(build, input1, input2, target), how)


@function("hinge_embedding_loss", onnx="hingeembeddingloss")
def hinge_embedding_loss(
    build: Builder,
    input: Value,
    target: Value,
    margin: float = 1.0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """Targets other than 1 and -1 count for both."""
    how = reduction_of(reduction, size_average, reduce)
    apart = _above(build, build.add(ops.Sub(), float(margin), input))
    is_one, is_other = (build.add(ops.Equal(), target, one) for one in (1.0, -1.0))
    parts = (
        build.add(ops.Where(), is_one, 0.0, apart),
        build.add(ops.Where(), is_other, 0.0, input),
    )
    loss = build.add(ops.Add(), *parts)
    return reduced(build, loss, broadcast_rank(build, input, target), how)


@function("soft_margin_loss", onnx="softmarginloss")
def soft_margin_loss(
    build: Builder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """log(1 + exp(-target x)), as it stands."""
    how = reduction_of(reduction, size_average, reduce)
    turned = build.add(ops.Mul(), build.add(ops.Neg(), target), input)
    loss = build.add(ops.Log1p(), build.add(ops.Exp(), turned))
    return reduced(build, loss, broadcast_rank(build, input, target), how)


@function("multilabel_soft_margin_loss", onnx="multilabelsoftmarginloss")
def multilabel_soft_margin_loss(
    build: Builder,
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    of_one = build.add(ops.Mul(), target, build.add(ops.LogSigmoid(), input))
    other = build.add(ops.LogSigmoid(), build.add(ops.Neg(), input))
    of_none = build.add(ops.Mul(), build.add(ops.Sub(), 1.0, target), other)
    loss = build.add(ops.Neg(), build.add(ops.Add(), of_one, of_none))
    if weight is not None:
        loss = build.add(ops.Mul(), loss, weight)
    rank = build.rank(input)
    loss = build.add(ops.ReduceMean(axes=(rank - 1,)), loss)
    return reduced(build, loss, rank - 1, how)


@function("multi_margin_loss", onnx="multimarginloss")
def multi_margin_loss(
    build: Builder,
    input: Value,
    target: Value,
    p: int = 1,
    margin: float = 1.0,
    weight: Value | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """How far each other class comes within the margin of the target's, over all classes."""
    how = reduction_of(reduction, size_average, reduce)
    shape, axis = build.shape(input), build.rank(input) - 1
    if build.rank(target) != axis:
        raise Undescribed(f"a target of shape {build.shape(target)} beside {shape}")
    places = build.add(ops.Unsqueeze(axes=(axis,)), build.add(ops.Cast(to="int64"), target))
    own = build.add(ops.GatherElements(axis=axis), input, places)
    near = _above(build, build.add(ops.Add(), build.add(ops.Sub(), input, own), float(margin)))
    if p == 2:
        near = build.add(ops.Square(), near)
    if weight is not None:
        near = build.add(ops.Mul(), near, build.add(ops.Gather(axis=0), weight, places))
    mine = build.add(ops.Equal(), places, np.arange(shape[axis]))
    others = build.add(ops.Where(), mine, 0.0, near)
    loss = build.add(ops.ReduceMean(axes=(axis,)), others)
    return reduced(build, loss, axis, how)


@function("cosine_embedding_loss", onnx="cosineembeddingloss")
def cosine_embedding_loss(
    build: Builder,
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """1e-12 is added to both squared lengths (aten/src/ATen/native/Loss.cpp)."""
    how = reduction_of(reduction, size_average, reduce)
    axis = broadcast_rank(build, input1, input2) - 1

    def product(one: Value, other: Value) -> Ref:
        return build.add(ops.ReduceSum(axes=(axis,)), build.add(ops.Mul(), one, other))

    squares = (build.add(ops.Add(), product(one, one), 1e-12) for one in (input1, input2))
    length = build.add(ops.Sqrt(), build.add(ops.Mul(), *squares))
    cosine = build.add(ops.Div(), product(input1, input2), length)
    is_one, is_other = (build.add(ops.Equal(), target, one) for one in (1.0, -1.0))
    alike = build.add(ops.Sub(), 1.0, cosine)
    apart = _above(build, build.add(ops.Sub(), cosine, float(margin)))
    loss = build.add(ops.Where(), is_one, alike, build.add(ops.Where(), is_other, apart, 0.0))
    return reduced(build, loss, axis, how)


@function("triplet_margin_loss", onnx="tripletmarginloss")
def triplet_margin_loss(
    build: Builder,
    anchor: Value,
    positive: Value,
    negative: Value,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """``swap``: the negative is as far as the nearer of anchor and positive is from it."""
    how = reduction_of(reduction, size_average, reduce)
    axis = broadcast_rank(build, anchor, positive, negative) - 1
    over: dict[str, Any] = {"axes": (axis,)}

    def distance(one: Value, other: Value) -> Ref:
        moved = build.add(ops.Add(), build.add(ops.Sub(), one, other), float(eps))
        if p in (1, 2):
            return build.add((ops.ReduceL1 if p == 1 else ops.ReduceL2)(**over), moved)
        powers = build.add(ops.Pow(), build.add(ops.Abs(), moved), float(p))
        return build.add(ops.Pow(), build.add(ops.ReduceSum(**over), powers), 1.0 / float(p))

    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = build.add(ops.Min(), far, distance(positive, negative))
    apart = build.add(ops.Add(), build.add(ops.Sub(), near, far), float(margin))
    return reduced(build, _above(build, apart), axis, how)
