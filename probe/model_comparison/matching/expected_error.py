"""What number formats are expected to do to each segment."""

from collections.abc import Sequence

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.matching.level import Level
from probe.numerics.dtypes import widened
from probe.ops import Conv, MatMul, Mul
from probe.ops.weight import Weight

__all__ = ["expected_error"]

_ENDLESS = 1e30
"""What a mask subtracts, or more."""


def expected_error(
    nodes: Sequence[GraphNode], end: Tensor, level: Level, against: np.ndarray
) -> float | None:
    """What the formats are expected to do within a segment of B, as a part of the deviation of what
    A has; None where nothing is rounded."""
    if not level.name or against.dtype.kind != "f" or against.size < 2:
        return None
    spread: dict[Tensor, float] = {}
    for node in nodes:
        if not node.outputs:
            continue
        out = node.outputs[0]
        spread[out] = _through(node, [spread.get(x, 0.0) for x in node.inputs], level)
        if node in level.steps:
            spread[out] += level.steps[node] ** 2 / 12
        elif level.unit and not node.layout and out.value.dtype.kind == "f":
            spread[out] += (level.unit * _root(out.value)) ** 2 / 3
    deviation = float(np.std(_usual(against)))
    square = spread.get(end, 0.0)
    if square and deviation:
        return float(np.sqrt(square) / deviation)
    return None


def _through(node: GraphNode, arrived: Sequence[float], level: Level) -> float:
    """The mean square of the errors that a node passes on, and that its weights make."""
    weight = getattr(node.op, "weight", None)
    if isinstance(node.op, Conv | MatMul) and isinstance(weight, Weight):
        value = widened(weight.value)
        rows = value.shape[1] if isinstance(node.op, MatMul) else len(value)
        taps = value.size / max(1, rows)
        step = weight.step
        if step is not None:
            own = float(np.mean(step**2)) / 12
        else:
            own = (level.unit * _root(value)) ** 2 / 3
        return (
            arrived[0] * float(np.sum(value**2)) / rows
            + own * taps * _root(node.inputs[0].value) ** 2
        )
    if isinstance(node.op, Mul) and len(node.inputs) == 2:
        first, second = (_root(x.value) ** 2 for x in node.inputs)
        return arrived[0] * second + arrived[1] * first
    return sum(arrived)


def _root(value: np.ndarray) -> float:
    return float(np.sqrt(np.mean(_usual(value) ** 2)))


def _usual(value: np.ndarray) -> np.ndarray:
    """The numbers, without those that a mask makes endless."""
    wide = widened(value).ravel()
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.abs(wide) < _ENDLESS, wide, 0.0))
