"""One column of a large matrix product: what an explanation of one element needs of it."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from probe.evaluation.allowance import Values
from probe.model import Capture
from probe.ops import MatMul
from probe.ops.base import Elementwise
from probe.ops.step import Step
from probe.ops.weight import Weight

__all__ = ["of_column", "spread_out"]

_LARGE = 1 << 24
"""Weights from which on one column stands for the whole."""


def of_column(capture: Capture, place: Sequence[int]) -> Capture | None:
    """The call as if the layer had the one output column that ``place`` lies in; None where the
    layer is small or of another kind.

    It is a matrix product of many weights, with nothing behind it but functions of each element.
    """
    steps = capture.steps
    if (
        not steps
        or not isinstance(steps[0].op, MatMul)
        or steps[0].op.weight.value.size < _LARGE
        or len(capture.outputs) != 1
    ):
        return None
    plain = all(
        step.inputs is None and isinstance(step.op, Elementwise) and not _holds_arrays(step)
        for step in steps[1:]
    )
    if not plain or capture.outputs[0].shape[-1] != steps[0].op.weight.value.shape[1]:
        return None
    op, column = steps[0].op, slice(place[-1], place[-1] + 1)
    if any(weight is not None and weight.shape is not None for weight in (op.weight, op.bias)):
        return None
    axis = 1 if op.weight.axes is None else op.weight.axes[1]
    bias = None if op.bias is None else _cut(op.bias, 0, column)
    of_one = replace(steps[0], op=replace(op, weight=_cut(op.weight, axis, column), bias=bias))
    assert capture.description is not None
    described = replace(capture.description, steps=(of_one, *steps[1:]))
    return replace(capture, outputs=(capture.outputs[0][..., column],), description=described)


def spread_out(values: Values, width: int) -> list[tuple[np.ndarray, ...]]:
    """The column's values as arrays of the layer's own shapes: right in that column, and of no
    memory."""
    return [
        tuple(np.broadcast_to(value, (*value.shape[:-1], width)) for value in step)
        for step in values
    ]


def _holds_arrays(step: Step) -> bool:
    return any(
        isinstance(getattr(step.op, part.name), Weight | np.ndarray) for part in fields(step.op)
    )


def _cut(weight: Weight, axis: int, part: slice) -> Weight:
    def cut(array: np.ndarray) -> np.ndarray:
        return array[(slice(None),) * axis + (part,)]

    same = weight.stored is not None and weight.stored.shape == weight.effective.shape
    stored = cut(weight.stored) if same and weight.stored is not None else None
    return replace(weight, stored=stored, effective=cut(weight.effective), parts={})
