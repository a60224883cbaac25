"""Losses: what a target picks of log-probabilities, weighted by its class, and its mean or sum."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []


def _loss(
    recipe: Node, logs: Value, target: Value, weight: Value | None, shape: tuple[int, ...]
) -> Ref:
    """``shape`` is that of the logs, whose second axis is that of classes. A target that is ignored
    counts neither above nor below."""
    ignored, reduction = recipe.get("ignore_index"), recipe.get("reduction", "mean")
    if reduction not in ("none", "sum", "mean"):
        raise Undescribed(f"reduction {reduction!r} has no description")
    places: Value = recipe.put(ops.Cast(to="int64"), target)
    left_out = None
    if ignored is not None:
        left_out = recipe.put(ops.Equal(), places, np.asarray(ignored))
        places = recipe.put(ops.Where(), left_out, np.asarray(0), places)
    picked = recipe.put(
        ops.GatherElements(axis=1), logs, recipe.put(ops.Unsqueeze(axes=(1,)), places)
    )
    loss = recipe.put(ops.Neg(), recipe.put(ops.Squeeze(axes=(1,)), picked))
    shares: Value | None = (
        None if weight is None else recipe.put(ops.Gather(axis=0), weight, places)
    )
    if left_out is not None:
        shares = recipe.put(
            ops.Where(), left_out, np.asarray(0.0), np.asarray(1.0) if shares is None else shares
        )
    if shares is not None:
        loss = recipe.put(ops.Mul(), loss, shares)
    if left_out is not None:  # whatever it would be, inf included
        loss = recipe.put(ops.Where(), left_out, np.asarray(0.0), loss)
    if reduction == "none":
        return loss
    axes = tuple(range(len(shape) - 1))
    if shares is None and reduction == "mean":
        return recipe.put(ops.ReduceMean(axes=axes), loss)
    whole = recipe.put(ops.ReduceSum(axes=axes), loss)
    return (
        whole
        if reduction == "sum"
        else recipe.put(ops.Div(), whole, recipe.put(ops.ReduceSum(axes=axes), shares or 0.0))
    )


@node("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    recipe: Node, logs: Value, target: Value, weight: Value | None = None
) -> Ref:
    return _loss(recipe, logs, target, weight, recipe.shape(logs))


@node("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    recipe: Node, scores: Value, target: Value, weight: Value | None = None
) -> tuple[Ref, Ref]:
    """The loss, and the log-probabilities that it was taken of."""
    logs = recipe.put(ops.LogSoftmax(axis=1), scores)
    return _loss(recipe, logs, target, weight, recipe.shape(scores)), logs
