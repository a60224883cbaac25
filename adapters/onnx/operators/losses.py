"""Losses: what a target picks of log-probabilities, weighted by its class, and its mean or sum."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []


def _loss(
    build: NodeBuilder, logs: Value, target: Value, weight: Value | None, shape: tuple[int, ...]
) -> Ref:
    """``shape`` is that of the logs, whose second axis is that of classes. A target that is ignored
    counts neither above nor below."""
    ignored, reduction = build.get("ignore_index"), build.get("reduction", "mean")
    if reduction not in ("none", "sum", "mean"):
        raise Undescribed(f"reduction={reduction!r} is not supported")
    places: Value = build.add(ops.Cast(to="int64"), target)
    left_out = None
    if ignored is not None:
        left_out = build.add(ops.Equal(), places, np.asarray(ignored))
        places = build.add(ops.Where(), left_out, np.asarray(0), places)
    picked = build.add(
        ops.GatherElements(axis=1), logs, build.add(ops.Unsqueeze(axes=(1,)), places)
    )
    loss = build.add(ops.Neg(), build.add(ops.Squeeze(axes=(1,)), picked))
    shares: Value | None = None if weight is None else build.add(ops.Gather(axis=0), weight, places)
    if left_out is not None:
        shares = build.add(
            ops.Where(), left_out, np.asarray(0.0), np.asarray(1.0) if shares is None else shares
        )
    if shares is not None:
        loss = build.add(ops.Mul(), loss, shares)
    if left_out is not None:  # whatever it would be, inf included
        loss = build.add(ops.Where(), left_out, np.asarray(0.0), loss)
    if reduction == "none":
        return loss
    axes = tuple(range(len(shape) - 1))
    if shares is None and reduction == "mean":
        return build.add(ops.ReduceMean(axes=axes), loss)
    whole = build.add(ops.ReduceSum(axes=axes), loss)
    if reduction == "sum":
        return whole
    return build.add(ops.Div(), whole, build.add(ops.ReduceSum(axes=axes), shares or 0.0))


@node("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    build: NodeBuilder, logs: Value, target: Value, weight: Value | None = None
) -> Ref:
    return _loss(build, logs, target, weight, build.shape(logs))


@node("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    build: NodeBuilder, scores: Value, target: Value, weight: Value | None = None
) -> tuple[Ref, Ref]:
    """The loss, and the log-probabilities that it was taken of."""
    logs = build.add(ops.LogSoftmax(axis=1), scores)
    return _loss(build, logs, target, weight, build.shape(scores)), logs
