"""Losses: a number for each element, row or target (torch/nn/functional.py and
aten/src/ATen/native/Loss.cpp), and the mean or sum of these."""

import math

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__ = ["Flag", "broadcast_rank", "less", "plus", "reduced", "reduction_of", "times"]

Flag = bool | None
_REDUCTIONS = ("none", "mean", "sum")


def reduction_of(given: str | int, size_average: Flag | int, reduce: Flag) -> str:
    """What the deprecated flags mean (torch/nn/_reduction.py). The operators of aten have a number
    in the place of the first."""
    if type(size_average) is int and reduce is None:
        given, size_average = size_average, None
    if any(flag not in (None, True, False) for flag in (size_average, reduce)):
        raise Undescribed("its arguments are not those of torch.nn.functional")
    if size_average is None and reduce is None:
        if isinstance(given, int):
            return _REDUCTIONS[given]
        return given
    if reduce is False:
        return "none"
    if size_average is False:
        return "sum"
    return "mean"


def reduced(build: CallBuilder, loss: Ref, rank: int, reduction: str) -> Ref:
    """The mean or sum over all axes of the loss, or itself."""
    if reduction not in _REDUCTIONS:
        raise Undescribed(f"reduction={reduction!r} is not supported")
    if reduction == "none" or not rank:
        return loss
    axes = tuple(range(rank))
    op = ops.ReduceMean(axes=axes) if reduction == "mean" else ops.ReduceSum(axes=axes)
    return build.add(op, loss)


def _weighted(
    build: CallBuilder, loss: Ref, weight: Value | None, rank: int, reduction: str, by_weights: bool
) -> Ref:
    """The loss times a weight of its shape; the mean is ``by_weights`` divided by their sum."""
    if weight is None:
        return reduced(build, loss, rank, reduction)
    loss = build.add(ops.Mul(), loss, weight)
    if not by_weights or reduction != "mean":
        return reduced(build, loss, rank, reduction)
    total = reduced(build, build.ref(weight), rank, "sum")
    return build.add(ops.Div(), reduced(build, loss, rank, "sum"), total)


def broadcast_rank(build: CallBuilder, *values: Value) -> int:
    return len(np.broadcast_shapes(*map(build.shape, values)))


def less(build: CallBuilder, value: Value, other: Value) -> Ref:
    return build.add(ops.Sub(), value, other)


def times(build: CallBuilder, *factors: Value) -> Ref:
    return build.add(ops.Mul(), *factors)


def plus(build: CallBuilder, *terms: Value) -> Ref:
    return build.add(ops.Add(), *terms)


@function("mse_loss", onnx="mseloss")
def mse_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
    weight: Value | None = None,
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    loss = build.add(ops.Square(), less(build, input, target))
    return _weighted(build, loss, weight, broadcast_rank(build, input, target), how, True)


@function("l1_loss", onnx="l1loss")
def l1_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
    weight: Value | None = None,
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    loss = build.add(ops.Abs(), less(build, input, target))
    return _weighted(build, loss, weight, broadcast_rank(build, input, target), how, True)


def _huber(build: CallBuilder, input: Value, target: Value, delta: float) -> Ref:
    """d² / 2 up to delta, delta (|d| - delta / 2) beyond."""
    size = build.add(ops.Abs(), less(build, input, target))
    near = times(build, build.add(ops.Square(), size), 0.5)
    far = times(build, less(build, size, 0.5 * delta), delta)
    return build.add(ops.Where(), build.add(ops.Less(), size, delta), near, far)


@function("smooth_l1_loss", onnx="smoothl1loss")
def smooth_l1_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    if not beta:
        return l1_loss(build, input, target, reduction=how)
    loss = build.add(ops.Div(), _huber(build, input, target, float(beta)), float(beta))
    return reduced(build, loss, broadcast_rank(build, input, target), how)


@function("huber_loss", onnx="huberloss")
def huber_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Value | None = None,
) -> Ref:
    loss = _huber(build, input, target, float(delta))
    how = reduction_of(reduction, None, None)
    return _weighted(build, loss, weight, broadcast_rank(build, input, target), how, False)


@function("binary_cross_entropy", onnx="bceloss")
def binary_cross_entropy(
    build: CallBuilder,
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """Logarithms are no less than -100."""
    how = reduction_of(reduction, size_average, reduce)
    of_one, of_none = (
        build.add(ops.Clip(low=-100.0, high=None), build.add(op, x))
        for op, x in ((ops.Log(), input), (ops.Log1p(), build.add(ops.Neg(), input)))
    )
    parts = times(build, target, of_one), times(build, less(build, 1.0, target), of_none)
    loss = build.add(ops.Neg(), plus(build, *parts))
    return _weighted(build, loss, weight, build.rank(input), how, False)


@function("binary_cross_entropy_with_logits", onnx="bcewithlogitsloss")
def binary_cross_entropy_with_logits(
    build: CallBuilder,
    input: Value,
    target: Value,
    weight: Value | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
    pos_weight: Value | None = None,
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    of_one = build.add(ops.LogSigmoid(), input)
    if pos_weight is not None:
        more = times(build, less(build, pos_weight, 1.0), target)
        of_one = times(build, of_one, plus(build, more, 1.0))
    loss = less(build, times(build, less(build, 1.0, target), input), of_one)
    return _weighted(build, loss, weight, build.rank(input), how, False)


@function("kl_div", onnx="kldivloss")
def kl_div(
    build: CallBuilder,
    input: Value,
    target: Value,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Ref:
    how = reduction_of(reduction, size_average, reduce)
    rank = broadcast_rank(build, input, target)
    if log_target:
        loss = times(build, build.add(ops.Exp(), target), less(build, target, input))
    else:
        own = times(build, target, build.add(ops.Log(), target))
        none = build.add(ops.Equal(), target, 0.0)
        own = build.add(ops.Where(), none, 0.0, own)
        loss = less(build, own, times(build, target, input))
    if how != "batchmean":
        return reduced(build, loss, rank, how)
    count = float(build.shape(input)[0])
    return build.add(ops.Div(), reduced(build, loss, rank, "sum"), count)


@function("gaussian_nll_loss", onnx="gaussiannllloss")
def gaussian_nll_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    var: Value,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Ref:
    shape, of_var = build.shape(input), build.shape(var)
    if of_var != shape and of_var == shape[:-1]:
        var = build.add(ops.Unsqueeze(axes=(len(of_var),)), var)
    spread = build.add(ops.Clip(low=float(eps), high=None), var)
    square = build.add(ops.Square(), less(build, input, target))
    terms = build.add(ops.Log(), spread), build.add(ops.Div(), square, spread)
    loss = times(build, plus(build, *terms), 0.5)
    if full:
        loss = plus(build, loss, 0.5 * math.log(2 * math.pi))
    return reduced(build, loss, len(shape), reduction)


@function("poisson_nll_loss", onnx="poissonnllloss")
def poisson_nll_loss(
    build: CallBuilder,
    input: Value,
    target: Value,
    log_input: bool = True,
    full: bool = False,
    size_average: Flag = None,
    eps: float = 1e-8,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Ref:
    """With Stirling's formula for the logarithm of factorials beyond 1 where ``full``."""
    how = reduction_of(reduction, size_average, reduce)
    if log_input:
        loss = less(build, build.add(ops.Exp(), input), times(build, target, input))
    else:
        log = build.add(ops.Log(), plus(build, input, float(eps)))
        loss = less(build, input, times(build, target, log))
    if full:
        log = build.add(ops.Log(), target)
        root = times(build, build.add(ops.Log(), times(build, target, 2 * math.pi)), 0.5)
        more = plus(build, less(build, times(build, target, log), target), root)
        beyond = build.add(ops.Greater(), target, 1.0)
        loss = plus(build, loss, build.add(ops.Where(), beyond, more, 0.0))
    return reduced(build, loss, broadcast_rank(build, input, target), how)
