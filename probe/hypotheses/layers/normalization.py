"""Mistakes of normalisation and dropout: epsilon, statistics, training mode."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import writes_as
from probe.hypotheses.registry import hypothesis
from probe.numerics.usual_numbers import EPSILONS
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_SAME = 1e-4
"""A fitted epsilon so near a usual one is that one."""
_NORMS = (ops.BatchNormalization, ops.LayerNormalization, ops.GroupNormalization)


@hypothesis("other-epsilon")
def other_epsilon(case: Case) -> Iterator[Edit]:
    """Another epsilon than the layer's.

    The default of batch normalisation is 1e-3 in Keras and 1e-5 in PyTorch; layer normalisation in
    transformers uses 1e-12 or 1e-6. The error is a factor per channel (or row), largest where the
    variance is small.
    """
    for position, op in case.having(*_NORMS, ops.RMSNormalization, ops.LpNormalization):
        for epsilon in EPSILONS:
            if abs(epsilon - op.epsilon) > 1e-3 * op.epsilon:
                yield case.edit(
                    f"eps = {epsilon:g}; the layer's is {op.epsilon:g}",
                    case.changed(position, epsilon=epsilon),
                    do=f"use {op.epsilon:g}",
                )
        fitted = _solved(case, position, op)
        usual = any(math.isclose(fitted or 0.0, epsilon, rel_tol=_SAME) for epsilon in EPSILONS)
        if fitted is not None and not usual:
            steps = case.changed(position, epsilon=fitted)
            yield case.edit(
                f"eps = {fitted:.6g} (fitted); the layer's is {op.epsilon:g}",
                steps,
                fitted=1,
                do=f"use {op.epsilon:g}",
            )


def _solved(case: Case, position: int, op: Any) -> float | None:
    """The epsilon that leaves the least, by golden sections of its logarithm, on a part of the
    output where that is large."""
    if not case.comparable or position != len(case.steps) - 1:
        return None
    x, y = case.input_of(position), case.observed
    part = _part(x.shape, op)
    known = None if case.known is None else case.known[part]
    if x[part].size > 1 << 16 or (known is not None and not known.any()):
        return None
    low, high = math.log(1e-13), math.log(10.0)
    golden = (math.sqrt(5) - 1) / 2

    def left(exponent: float) -> float:
        with np.errstate(all="ignore"):
            error = np.square(replace(op, epsilon=math.exp(exponent)).run(x[part])[0] - y[part])
            return float(error.sum() if known is None else error[known].sum())

    for _ in range(48):
        first, second = high - golden * (high - low), low + golden * (high - low)
        if left(first) < left(second):
            high = second
        else:
            low = first
    epsilon = math.exp((low + high) / 2)
    digits = float(f"{epsilon:.2g}")
    if left(math.log(digits)) <= 1.01 * left(math.log(epsilon)):
        return digits
    return epsilon


def _part(shape: tuple[int, ...], op: Any) -> tuple[slice, ...]:
    """A part of the input that can be normalised by itself: of a batch normalisation few positions,
    of others the first sample."""
    if math.prod(shape) <= 1 << 13:
        return (slice(None),) * len(shape)
    if not isinstance(op, ops.BatchNormalization):
        return (slice(0, 1), *(slice(None),) * (len(shape) - 1))
    few = max(1, int(((1 << 13) / shape[op.axis]) ** (1 / max(1, len(shape) - 1))))
    return tuple(
        slice(None) if axis == op.axis % len(shape) else slice(0, few) for axis in range(len(shape))
    )


@writes_as("LayerNormalization")
@dataclass(frozen=True, eq=False)
class _Layer(ops.LayerNormalization):
    """Layer normalisation with other statistics: ``ddof``, epsilon outside the root."""

    ddof: int = 0
    outside: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        scale, bias = self._parameters(x)
        return (_normalised(x, self.axes, self.ddof, self.outside, self.epsilon) * scale + bias,)


@writes_as("GroupNormalization")
@dataclass(frozen=True, eq=False)
class _Group(ops.GroupNormalization):
    """The same for groups."""

    ddof: int = 0
    outside: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        groups = self._split(inputs[0])
        scale, bias = self._parameters(inputs[0])
        out = _normalised(
            groups, tuple(range(2, groups.ndim)), self.ddof, self.outside, self.epsilon
        )
        return ((out * scale + bias).reshape(inputs[0].shape),)


def _normalised(
    x: np.ndarray, axes: tuple[int, ...], ddof: int, outside: bool, epsilon: float
) -> np.ndarray:
    far, count = x - x.mean(axis=axes, keepdims=True), math.prod(x.shape[axis] for axis in axes)
    variance = np.square(far).sum(axis=axes, keepdims=True) / np.float64(max(count - ddof, 0))
    normed: np.ndarray = far / (
        np.sqrt(variance) + epsilon if outside else np.sqrt(variance + epsilon)
    )
    return normed


def _variant(op: Any, **changes: Any) -> Any:
    kind = _Layer if isinstance(op, ops.LayerNormalization) else _Group
    held = {part.name: getattr(op, part.name) for part in fields(op)}
    return kind(**{**held, **changes})


@hypothesis("epsilon-outside-sqrt")
def epsilon_outside_sqrt(case: Case) -> Iterator[Edit]:
    """sqrt(var) + eps was computed instead of sqrt(var + eps)."""
    do = "compute sqrt(var + eps)"
    for position, op in case.having(*_NORMS):
        if isinstance(op, ops.BatchNormalization):
            if op.variance is not None:
                variance = op.variance.effective.astype(np.float64)
                moved = np.square(np.sqrt(variance) + op.epsilon) - op.epsilon
                yield case.edit(
                    f"sqrt(var) + {op.epsilon:g} is computed",
                    case.with_weights({op.variance.name: moved}),
                    do=do,
                )
        else:
            yield case.edit(
                f"sqrt(var) + {op.epsilon:g} is computed",
                case.with_op(position, _variant(op, outside=True)),
                do=do,
            )


@hypothesis("unbiased-variance")
def unbiased_variance(case: Case) -> Iterator[Edit]:
    """The variance was divided by n - 1 instead of n.

    ``torch.var`` and MATLAB's ``var`` divide by n - 1 by default; ``np.var`` and the layers divide
    by n. The error is the constant ratio sqrt(n / (n - 1)).
    """
    for position, op in case.having(ops.LayerNormalization, ops.GroupNormalization):
        steps = case.with_op(position, _variant(op, ddof=1))
        yield case.edit(
            "the variance is divided by n - 1", steps, do="divide by n (ddof=0, unbiased=False)"
        )


@hypothesis("batch-statistics", whole=True)
def batch_statistics(case: Case) -> Iterator[Edit]:
    """Batch normalisation ran in training mode, with the mean and variance of this batch.

    Each channel of the output then has the mean beta and the standard deviation gamma. Call
    ``model.eval()``, or pass ``training=False``.
    """
    for position, op in case.having(ops.BatchNormalization):
        x = case.input_of(position)
        axes = tuple(axis for axis in range(x.ndim) if axis != op.axis % x.ndim)
        if math.prod(x.shape[axis] for axis in axes) < 2:
            continue
        mean = Weight("mean of the batch", None, x.mean(axis=axes))
        for ddof in (0, 1):
            variance = Weight("variance of the batch", None, x.var(axis=axes, ddof=ddof))
            how = "" if not ddof else ", the variance divided by n - 1"
            steps = case.changed(position, mean=mean, variance=variance)
            yield case.edit(
                f"mean and variance of this batch instead of the stored ones{how}",
                steps,
                do="use the stored statistics: eval mode",
            )
        if op.axis == 1 and x.ndim > 2:
            each = ops.GroupNormalization(op.scale, op.bias, x.shape[1], op.epsilon)
            yield case.edit(
                "mean and variance of each sample instead of the stored ones",
                case.with_op(position, each),
                do="use the stored statistics",
            )


@hypothesis("dropout-active")
def dropout_active(case: Case) -> Iterator[Edit]:
    """Dropout is active: zeros at random positions, and the other values multiplied by 1 / (1 - p).

    The layer ran in training mode; a second run gives other zeros. Call ``model.eval()``, or pass
    ``training=False``.
    """
    if not case.comparable or case.known is not None:
        return
    y, healthy = case.observed, case.healthy
    dropped = (y == 0) & (healthy != 0)
    kept = ~dropped & (healthy != 0)
    if not 0 < dropped.sum() < y.size or kept.sum() < 8:
        return
    with np.errstate(all="ignore"):
        scale = float(np.median(y[kept] / healthy[kept]))
    share = dropped.sum() / (dropped.sum() + kept.sum())
    rate = 1 - 1 / scale if scale > 0 else -1.0
    if not 0 <= rate < 1 or abs(rate - share) > 0.02 + 5 * math.sqrt(
        max(rate * (1 - rate), 0.0) / y.size
    ):
        return
    rate = round(rate, 3)
    mask = Weight("mask", None, np.where(dropped, 0.0, 1 / (1 - rate)))
    yield case.edit(
        f"{share:.1%} of the values are zero and the others are multiplied by "
        f"{1 / (1 - rate):.4g}: dropout with p = {rate:g}",
        case.appended(ops.MulConstant(mask)),
        fitted=1,
        do="run the model in evaluation mode",
    )
