"""Losses of scores of classes: what a target picks of log-probabilities, weighted by its class."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function
from .losses import Flag, plus, reduced, reduction_of, times
from .matmul import linear

__all__: list[str] = []


def _picked(build: CallBuilder, values: Value, places: Value, axis: int) -> Ref:
    """What stands at the place of each target along the axis of classes."""
    found = build.add(
        ops.GatherElements(axis=axis), values, build.add(ops.Unsqueeze(axes=(axis,)), places)
    )
    return build.add(ops.Squeeze(axes=(axis,)), found)


def _of_classes(
    build: CallBuilder,
    logs: Value,
    target: Value,
    weight: Value | None,
    ignored: int,
    how: str,
    smoothing: float = 0.0,
) -> Ref:
    """Minus the log-probability of each target, weighted by its class; a target that is ignored
    counts neither above nor below. With ``smoothing`` a share of it is spread over all classes."""
    shape, rank = build.shape(logs), build.rank(target)
    axis = min(1, len(shape) - 1)
    places: Value = build.add(ops.Cast(to="int64"), target)
    left_out = build.add(ops.Equal(), places, np.asarray(ignored))
    places = build.add(ops.Where(), left_out, np.asarray(0), places)
    share: Value = 1.0 if weight is None else build.add(ops.Gather(axis=0), weight, places)
    share = build.add(ops.Where(), left_out, 0.0, share)
    loss = build.add(ops.Neg(), _picked(build, logs, places, axis))
    loss = build.add(ops.Where(), left_out, 0.0, times(build, loss, share))
    if smoothing:
        spread: Value = logs
        if weight is not None:
            along = (-1, *(1,) * (len(shape) - axis - 1))
            spread = times(build, logs, build.add(ops.Reshape(shape=along), weight))
        whole = build.add(ops.Neg(), build.add(ops.ReduceSum(axes=(axis,)), spread))
        whole = build.add(ops.Where(), left_out, 0.0, whole)
        parts = (
            times(build, loss, 1 - smoothing),
            times(build, whole, smoothing / shape[axis]),
        )
        loss = plus(build, *parts)
    if how != "mean":
        return reduced(build, loss, rank, how)
    return build.add(
        ops.Div(), reduced(build, loss, rank, "sum"), reduced(build, build.ref(share), rank, "sum")
    )


@function("nll_loss", onnx="nllloss")
def nll_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: Flag = None,
    ignore_index: int = -100,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    return _of_classes(build, input, target, weight, ignore_index, how)


@function("cross_entropy", onnx="crossentropyloss")
def cross_entropy(
    build: CallBuilder,
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: Flag = None,
    ignore_index: int = -100,
    reduce: Flag = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    shape = build.shape(input)
    return _of_scores(build, input, shape, target, weight, ignore_index, how, label_smoothing)


def _of_scores(
    build: CallBuilder,
    scores: Value,
    shape: tuple[int, ...],
    target: Value,
    weight: Value | None,
    ignored: int,
    how: str,
    smoothing: float,
) -> Ref:
    """The cross entropy of targets that are places of classes, or probabilities in the shape of the
    scores."""
    axis = min(1, len(shape) - 1)
    logs = build.add(ops.LogSoftmax(axis=axis), scores, shape=shape)
    if build.array(target).dtype.kind != "f":
        return _of_classes(build, logs, target, weight, ignored, how, smoothing)
    if smoothing:
        kept = times(build, target, 1 - smoothing)
        target = plus(build, kept, smoothing / shape[axis])
    terms = times(build, logs, target)
    if weight is not None:
        along = (-1, *(1,) * (len(shape) - axis - 1))
        terms = times(build, terms, build.add(ops.Reshape(shape=along), weight))
    loss = build.add(ops.Neg(), build.add(ops.ReduceSum(axes=(axis,)), terms))
    return reduced(build, loss, len(shape) - 1, how)


@function("linear_cross_entropy", onnx="linearcrossentropyloss", idle="options")
def linear_cross_entropy(
    build: CallBuilder,
    input: Value,
    linear_weight: Value,
    target: Value,
    *,
    linear_bias: Value | None = None,
    weight: Value | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: object = None,
) -> Ref:
    """The cross entropy of a product, which may be made in chunks."""
    if build.rank(linear_weight) != 2:
        raise Undescribed(f"linear_weight of shape {build.shape(linear_weight)}")
    scores = linear(build, input, linear_weight, linear_bias)
    shape = (*build.shape(input)[:-1], build.shape(linear_weight)[0])
    ignored = -100 if ignore_index is None else ignore_index
    return _of_scores(
        build, scores, shape, target, weight, ignored, reduction, float(label_smoothing)
    )
