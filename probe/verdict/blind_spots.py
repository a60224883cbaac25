"""What this input, on these weights, could not have revealed: mistakes that would have left the
output as it is."""

import math
from collections.abc import Sequence

import numpy as np

from probe.description.same_padding import misses_asymmetry
from probe.evaluation.allowance import Values
from probe.ops import (
    AveragePool,
    BatchNormalization,
    Conv,
    MatMul,
    MaxPool,
    Op,
    Relu,
    Relu6,
    Transpose,
)
from probe.ops.step import Step
from probe.ops.weight import Weight

__all__ = ["blind_spots"]


def blind_spots(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[str, ...]:
    """A sentence for each mistake that this check cannot see; empty where the input and the weights
    leave none."""
    told = []
    for position, step in enumerate(steps):
        ref = next(iter(step.sources(position)), None)
        if ref is None:
            continue
        given = inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index]
        if not given.size:
            continue
        match step.op:
            case Conv():
                told += _convolution(step.op, given) + _stride(step.op, given)
            case MaxPool() | AveragePool():
                told += _stride(step.op, given)
            case MatMul():
                told += _zero_bias(step.op.bias)
            case BatchNormalization():
                told += _statistics(step.op)
            case Relu() | Relu6() if given.min() >= 0:
                told.append(
                    f"no input of the {type(step.op).__name__} is negative: leaving it "
                    "out would not show"
                )
    if all(isinstance(step.op, Transpose) for step in steps):
        return ()
    if inputs and inputs[0].size > 1 and inputs[0].min() == inputs[0].max():
        told.append("the input is constant: any other order of its elements gives the same output")
    return tuple(dict.fromkeys(told))


def _convolution(op: Conv, x: np.ndarray) -> list[str]:
    told = _zero_bias(op.bias)
    if op.weight is not None:
        kernel = op.weight.value
        axes = tuple(range(2, kernel.ndim))
        if math.prod(kernel.shape[2:]) > 1 and np.array_equal(kernel, np.flip(kernel, axes)):
            told.append(
                "every kernel is symmetric: convolution and cross-correlation give the same"
            )
    padded = any(before or after for before, after in op.pads)
    if padded and not any(np.take(x, [0, -1], axis=axis).any() for axis in range(2, x.ndim)):
        told.append("the border of the input is zero: how it is padded would not show")
    return told


def _stride(op: Op, x: np.ndarray) -> list[str]:
    if not misses_asymmetry(op, x.shape):
        return []
    size = " x ".join(map(str, x.shape[2:]))
    return [
        (
            f"with its stride an input of {size} is padded alike on both sides: that Keras pads "
            "an odd cell at the end would not show"
        )
    ]


def _zero_bias(bias: Weight | None) -> list[str]:
    return (
        [f"{bias.name} is all zero: leaving it out would not show"]
        if bias is not None and not bias.effective.any()
        else []
    )


def _statistics(op: BatchNormalization) -> list[str]:
    told = []
    if (
        op.mean is not None
        and not op.mean.effective.any()
        and op.variance is not None
        and (op.variance.effective == 1).all()
    ):
        told.append(
            "the statistics are still 0 and 1, as before any training: leaving them out "
            "would hardly show"
        )
    return told + _zero_bias(op.bias)
