"""What B's nodes give on what their inputs now are, and how far rounding may move either model."""

from collections.abc import Sequence

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.node_values import (
    added,
    as_stored,
    bounds_of,
    channel_axis,
    digits,
    taken,
)
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.sides import Side
from probe.numerics.dtypes import widened
from probe.numerics.precision import precision_of, stored_in

__all__ = ["allowance_of", "compute", "digits_of_a", "of_equal_ones", "slack_of_a"]


def compute(state: WalkState, node: GraphNode) -> None:
    """The outputs in float64 from what the inputs now are, and what rounding may do."""
    for tensor in node.inputs:
        if tensor not in state.values:  # made by the model from nowhere that was seen
            state.values[tensor], state.slack[tensor] = tensor.value, _stored(state, tensor)
    outputs = None
    if node.op is not None:
        outputs = state.level.evaluated(node, [state.values[x] for x in node.inputs])
    if outputs is None:
        for tensor in node.outputs:
            if tensor.recorded is not None or node.op is not None:
                _as_recorded(state, tensor)
        return
    operands = [taken(node, state.values[x]) for x in node.inputs]
    outputs = of_equal_ones(node, operands, outputs)
    arrived = [state.slack[x] for x in node.inputs]
    bounds = allowance_of(state, node, operands, arrived, outputs)
    _note_own(state, node, arrived, bounds)
    for tensor, value, bound in zip(node.outputs, outputs, bounds, strict=False):
        state.values[tensor], state.slack[tensor] = value, bound


def allowance_of(
    state: WalkState,
    node: GraphNode,
    inputs: Sequence[np.ndarray],
    slacks: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
) -> list[np.ndarray | None]:
    """What rounding may do to the outputs of a node of B, and rounded weights at a level."""
    bounds = bounds_of(node, inputs, slacks, outputs, precision_of(_dtype(node)))
    if node in state.level.rounded:
        more = state.level.of_weights(node, [widened(x) for x in inputs], outputs)
        if more is not None:
            bounds[0] = added(bounds[0], more)
    return bounds


def _note_own(
    state: WalkState,
    node: GraphNode,
    arrived: Sequence[np.ndarray | None],
    bounds: Sequence[np.ndarray | None],
) -> None:
    """Keeps what a product rounds by itself, where nothing arrived at it."""
    bound, axis = bounds[0], channel_axis(node)
    if bound is None or any(slack is not None for slack in arrived):
        return
    if axis is not None and bound.ndim:
        others = tuple(k for k in range(bound.ndim) if k != axis % bound.ndim)
        state.own[node] = np.sqrt(np.mean(np.square(bound), axis=others, keepdims=True))


def _stored(state: WalkState, tensor: Tensor) -> np.ndarray | None:
    """What working an array of its own out, and storing it at the level of precision, may do to
    it."""
    value = tensor.value
    if state.level.side is not Side.B or value.dtype.kind != "f":
        return tensor.rounding
    stored = state.level.unit * np.where(np.isfinite(value), np.abs(value), 0.0)
    return added(tensor.rounding, stored)


def _as_recorded(state: WalkState, tensor: Tensor) -> None:
    state.values[tensor], state.slack[tensor] = tensor.value, None
    state.uncomputed.add(tensor)


def of_equal_ones(
    node: GraphNode, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The outputs with the places that B itself recorded, where these are of equal numbers: it need
    not take the first of them."""
    assert node.op is not None
    chosen = list(outputs)
    for k, (tensor, value) in enumerate(zip(node.outputs, outputs, strict=False)):
        own = tensor.recorded
        if value.dtype.kind not in "iu" or own is None or own.shape != value.shape:
            continue
        equal = node.op.equally_right([widened(x) for x in inputs], tuple(outputs), k, own)
        if equal is not None and (equal | (own == value)).all():
            chosen[k] = own
    return chosen


def _dtype(node: GraphNode) -> str:
    dtype = node.call.capture.dtype
    if dtype in ("float32", "float64"):
        return dtype
    return "float32"


def slack_of_a(state: WalkState, tensor: Tensor) -> np.ndarray | None:
    """How far A's tensor may be off what the pairs before it give."""
    order = [tensor]
    while order:
        last = order[-1]
        if last in state.slacks_of_a:
            order.pop()
            continue
        node = last.node
        if node is None or node.op is None:
            state.slacks_of_a[last] = _of_nowhere(state, last)
            continue
        missing = [x for x in node.inputs if x not in state.slacks_of_a]
        if missing:
            order += missing
            continue
        operands = [taken(node, x.value) for x in node.inputs]
        slacks = [state.slacks_of_a[x] for x in node.inputs]
        outputs = [x.value for x in node.outputs]
        precision = stored_in(_own_dtype(node))
        bounds = bounds_of(node, operands, slacks, outputs, precision)
        _note_own(state, node, slacks, bounds)
        if precision.stored and node.op.stores:
            bounds = as_stored(node, operands, outputs, bounds, precision.stored)
        for output, bound in zip(node.outputs, bounds, strict=True):
            state.slacks_of_a.setdefault(output, bound)
    return state.slacks_of_a[tensor]


def _of_nowhere(state: WalkState, tensor: Tensor) -> np.ndarray | None:
    """How far a tensor of A may be off that no node that is known makes."""
    return digits_of_a(state, tensor)


def digits_of_a(state: WalkState, tensor: Tensor) -> np.ndarray | None:
    """What writing A's tensor into a file may have done to it, where A is arrays alone."""
    if tensor.rounding is not None:
        return tensor.rounding
    if state.a.loose:
        return digits(tensor.value)
    return None


def _own_dtype(node: GraphNode) -> str:
    dtype = node.call.capture.dtype
    if dtype in ("float64", "float16", "bfloat16"):
        return dtype
    return "float32"
