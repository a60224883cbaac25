"""A zero point that is off: the range of a quantiser is moved, and cuts off other values than an
activation that it holds too."""

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.quantizer_range import cut_off
from probe.model_comparison.matching.segments import Segment, computing
from probe.ops import QuantizeLinear
from probe.ops.base import Elementwise
from probe.report import Finding

__all__ = ["of_zero_point"]

_MOST = 4096
_NEAR = 1e-4
"""How far values may lie from A's, as a part of the largest."""


def of_zero_point(segment: Segment) -> Finding | None:
    """The zero point with which a quantiser of B gives what an activation of A gives, where it is
    another."""
    activations = [
        node
        for node in reversed(computing(segment.a))
        if isinstance(node.op, Elementwise) and len(node.inputs) == 1
    ]
    for node in reversed(computing(segment.b)):
        for activation in activations if node.quantizer is not None else ():
            if (finding := _finding(node, activation)) is not None:
                return finding
    return None


def _finding(node: GraphNode, activation: GraphNode) -> Finding | None:
    x, y = (_some(tensor.value) for tensor in (activation.inputs[0], activation.outputs[0]))
    op = node.quantizer
    if op is None or x.shape != y.shape or y.dtype.kind != "f":
        return None
    points = sorted(range(op.low, op.high + 1), key=lambda point: abs(point - _zero(op)))
    right = next((point for point in points if _gives(op, point, x, y)), None)
    if right is None or right == _zero(op):
        return None
    words = [
        f"zero point {point} (values from {low:.4g} to {high:.4g})"
        for point in (_zero(op), right)
        for low, high in [_ends(op, point)]
    ]
    name = printable.name(node.call.name)
    claim = f"{name} quantises by {words[0]}; by {words[1]} it gives A's {activation.kind}"
    return Finding("zero-point", claim, 0.0, do=f"use the zero point {right}")


def _some(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // _MOST)]


def _zero(op: QuantizeLinear) -> int:
    return int(np.ravel(op.zero_point)[0])


def _ends(op: QuantizeLinear, point: int) -> tuple[float, float]:
    """The range of the values, with this zero point."""
    size = float(np.ravel(op.size)[0])
    return (op.low - point) * size, (op.high - point) * size


def _gives(op: QuantizeLinear, point: int, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether cutting off at the ends of the range makes these values of those."""
    size = float(np.ravel(op.size)[0])
    cut = cut_off(x.astype(np.float64), *_ends(op, point), size)
    return bool(np.abs(cut - y).max(initial=0.0) <= _NEAR * np.abs(y).max(initial=0.0))
