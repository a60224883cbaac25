"""Losses that are 0 beyond a margin, and those of distances."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function
from .losses import Flag, broadcast_rank, less, plus, reduced, reduction_of, times
from .pairwise_distance import pairwise_distance

__all__: list[str] = []


def _above(build: CallBuilder, value: Value) -> Ref:
    """The value where it is positive, else 0."""
    return build.add(ops.Clip(low=0.0, high=None), value)


@function("margin_ranking_loss", onnx="marginrankingloss")
def margin_ranking_loss(
    build: CallBuilder,
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    turned = times(build, build.add(ops.Neg(), target), less(build, input1, input2))
    loss = _above(build, plus(build, turned, float(margin)))
    return reduced(build, loss, broadcast_rank(build, input1, input2, target), how)


@function("hinge_embedding_loss", onnx="hingeembeddingloss")
def hinge_embedding_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    margin: float = 1.0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """Targets other than 1 and -1 count for both."""
    how = reduction_of(reduction, size_average, reduce)
    apart = _above(build, less(build, float(margin), input))
    is_one, is_other = (build.add(ops.Equal(), target, sign) for sign in (1.0, -1.0))
    parts = (
        build.add(ops.Where(), is_one, 0.0, apart),
        build.add(ops.Where(), is_other, 0.0, input),
    )
    loss = plus(build, *parts)
    return reduced(build, loss, broadcast_rank(build, input, target), how)


@function("soft_margin_loss", onnx="softmarginloss")
def soft_margin_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """log(1 + exp(-target x)), as it stands."""
    how = reduction_of(reduction, size_average, reduce)
    turned = times(build, build.add(ops.Neg(), target), input)
    loss = build.add(ops.Log1p(), build.add(ops.Exp(), turned))
    return reduced(build, loss, broadcast_rank(build, input, target), how)


@function("multilabel_soft_margin_loss", onnx="multilabelsoftmarginloss")
def multilabel_soft_margin_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    of_one = times(build, target, build.add(ops.LogSigmoid(), input))
    other = build.add(ops.LogSigmoid(), build.add(ops.Neg(), input))
    of_none = times(build, less(build, 1.0, target), other)
    loss = build.add(ops.Neg(), plus(build, of_one, of_none))
    if weight is not None:
        loss = times(build, loss, weight)
    rank = build.rank(input)
    loss = build.add(ops.ReduceMean(axes=(rank - 1,)), loss)
    return reduced(build, loss, rank - 1, how)


@function("multi_margin_loss", onnx="multimarginloss")
def multi_margin_loss(
    build: CallBuilder,
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
    near = _above(build, plus(build, less(build, input, own), float(margin)))
    if p == 2:
        near = build.add(ops.Square(), near)
    if weight is not None:
        near = times(build, near, build.add(ops.Gather(axis=0), weight, places))
    mine = build.add(ops.Equal(), places, np.arange(shape[axis]))
    others = build.add(ops.Where(), mine, 0.0, near)
    loss = build.add(ops.ReduceMean(axes=(axis,)), others)
    return reduced(build, loss, axis, how)


@function("multilabel_margin_loss", onnx="multilabelmarginloss")
def multilabel_margin_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """How far each class that is no target comes within 1 of each target, over all classes; targets
    end before the first that is negative."""
    how = reduction_of(reduction, size_average, reduce)
    shape, axis = build.shape(input), build.rank(input) - 1
    places = build.add(ops.Cast(to="int64"), target)
    negative = build.add(ops.Cast(to="int64"), build.add(ops.Less(), places, np.asarray(0)))
    counts = build.add(ops.Equal(), build.add(ops.CumSum(axis=axis), negative), np.asarray(0))
    own = build.add(
        ops.GatherElements(axis=axis), input, build.add(ops.Where(), counts, places, np.asarray(0))
    )
    each, classes = ops.Unsqueeze(axes=(axis + 1,)), ops.Unsqueeze(axes=(axis,))
    named = build.add(ops.Where(), counts, places, np.asarray(-1))
    named = build.add(ops.Equal(), build.add(each, named), np.arange(shape[axis]))
    named = build.add(ops.Cast(to="int64"), named)
    is_target = build.add(ops.ReduceMax(axes=(axis,), keepdims=True), named)
    near = less(build, build.add(classes, input), build.add(each, own))
    near = _above(build, plus(build, near, 1.0))
    near = build.add(ops.Where(), build.add(ops.Equal(), is_target, np.asarray(0)), near, 0.0)
    near = build.add(ops.Where(), build.add(each, counts), near, 0.0)
    total = build.add(ops.ReduceSum(axes=(axis, axis + 1)), near)
    return reduced(build, build.add(ops.Div(), total, float(shape[axis])), axis, how)


@function("cosine_embedding_loss", onnx="cosineembeddingloss")
def cosine_embedding_loss(
    build: CallBuilder,
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

    def product(left: Value, right: Value) -> Ref:
        return build.add(ops.ReduceSum(axes=(axis,)), times(build, left, right))

    squares = (plus(build, product(rows, rows), 1e-12) for rows in (input1, input2))
    length = build.add(ops.Sqrt(), times(build, *squares))
    cosine = build.add(ops.Div(), product(input1, input2), length)
    is_one, is_other = (build.add(ops.Equal(), target, sign) for sign in (1.0, -1.0))
    alike = less(build, 1.0, cosine)
    apart = _above(build, less(build, cosine, float(margin)))
    loss = build.add(ops.Where(), is_one, alike, build.add(ops.Where(), is_other, apart, 0.0))
    return reduced(build, loss, axis, how)


@function("triplet_margin_loss", onnx="tripletmarginloss")
def triplet_margin_loss(
    build: CallBuilder,
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
    options = {"p": float(p), "eps": float(eps)}
    return _triplet(build, (anchor, positive, negative), options, margin, swap, how)


@function("triplet_margin_with_distance_loss", onnx="tripletmarginloss")
def triplet_margin_with_distance_loss(
    build: CallBuilder,
    anchor: Value,
    positive: Value,
    negative: Value,
    *,
    distance_function: Any = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Ref:
    """With the distances of ``F.pairwise_distance`` or of the module of that name."""
    options: dict[str, Any] = {}
    if distance_function is not None:
        known = type(distance_function)
        if f"{known.__module__}.{known.__name__}" == "torch.nn.modules.distance.PairwiseDistance":
            names = {"p": "norm", "eps": "eps", "keepdim": "keepdim"}
            options = {name: getattr(distance_function, own) for name, own in names.items()}
        elif getattr(distance_function, "__name__", "") != "pairwise_distance":
            raise Undescribed("its distance is a function of the user's own")
    return _triplet(build, (anchor, positive, negative), options, margin, swap, reduction)


def _triplet(
    build: CallBuilder,
    three: tuple[Value, Value, Value],
    options: dict[str, Any],
    margin: float,
    swap: bool,
    how: str,
) -> Ref:
    anchor, positive, negative = three

    def distance(left: Value, right: Value) -> Ref:
        return pairwise_distance(build, left, right, **options)[0]

    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = build.add(ops.Min(), far, distance(positive, negative))
    apart = plus(build, less(build, near, far), float(margin))
    rank = broadcast_rank(build, *three) - (not options.get("keepdim", False))
    return reduced(build, _above(build, apart), rank, how)
