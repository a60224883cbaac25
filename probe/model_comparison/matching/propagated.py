"""What has come down from before: B's own tensors against A's, and how far rounding alone may have
carried them apart."""

from collections.abc import Collection, Mapping

import numpy as np

from probe.comparison.compare import Comparison, compare
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph, Tensor
from probe.model_comparison.graphs.node_values import (
    added,
    bounds_of,
    channel_axis,
    signature,
    taken,
)
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.matching.level import Level
from probe.model_comparison.matching.paired import Paired
from probe.numerics.dtypes import widened
from probe.numerics.precision import precision_of, stored_in

__all__ = ["carried", "in_axes_of_a", "own_is_nearer", "propagated", "whole"]

_UNIT = precision_of("float32").unit
_NO_LEVEL = Level()
_MUCH_NEARER = 0.1


def carried(
    graph: ModelGraph,
    wanted: Collection[Tensor],
    own: Mapping[GraphNode, np.ndarray],
    level: Level = _NO_LEVEL,
) -> dict[Tensor, np.ndarray | None]:
    """How far each of the wanted tensors may be off by all rounding before it, in a shape that
    broadcasts to its; ``own`` is what is known already of products, ``level`` what the weights are,
    where these are rounded ones of another model's."""
    kept: dict[Tensor, np.ndarray | None] = {}
    behind = _behind(graph, wanted)
    waiting = {tensor: len(tensor.consumers) for tensor in graph.tensors}
    for x in (x for node in behind for x in dict.fromkeys(node.inputs)):
        waiting[x] = waiting.get(x, 0) + 1
    slack: dict[Tensor, np.ndarray | None] = {}
    last = max((tensor.node.index for tensor in wanted if tensor.node is not None), default=-1)
    for node in (*graph.nodes[: last + 1], *behind):
        if node.op is None:
            for output in node.outputs:
                slack[output] = _of_unknown(output)
        else:
            inputs = [taken(node, x.value) for x in node.inputs]
            outputs = [x.value for x in node.outputs]
            arrived = [_spread(slack.get(x, x.rounding), x.value.shape) for x in node.inputs]
            if node in own and not level.name and node.call.capture.dtype in _WHOLE:
                bound = own[node] + _through(node, arrived[0])
                slack[node.outputs[0]] = _capped(bound, outputs[0])
                _forget(node, wanted, waiting, slack, kept)
                continue
            bounds = bounds_of(node, inputs, arrived, outputs, stored_in(node.call.capture.dtype))
            more: np.ndarray | float = level.steps.get(node, 0.0) / 2
            if level.name and (_weighs(node) or not node.inputs):
                weighed = level.of_weights(node, [*map(widened, inputs)], outputs)
                if weighed is not None:
                    more = more + weighed
            if np.any(more):
                bounds[0] = added(bounds[0], more)
            capped = [_capped(*both) for both in zip(bounds, outputs, strict=True)]
            slack.update(zip(node.outputs, capped, strict=True))
        _forget(node, wanted, waiting, slack, kept)
    return kept


def _behind(graph: ModelGraph, wanted: Collection[Tensor]) -> list[GraphNode]:
    """The nodes that put together what is wanted from the model's outputs."""
    found: dict[GraphNode, None] = {}
    waiting = [tensor.node for tensor in wanted if tensor.node is not None]
    while waiting:
        node = waiting.pop()
        if node.index >= len(graph.nodes) and node not in found:
            found[node] = None
            waiting += [x.node for x in node.inputs if x.node is not None]
    return sorted(found, key=lambda node: node.index)


def _spread(slack: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if slack is None:
        return None
    return np.broadcast_to(slack, shape)


def _forget(
    node: GraphNode,
    wanted: Collection[Tensor],
    waiting: dict[Tensor, int],
    slack: dict[Tensor, np.ndarray | None],
    kept: dict[Tensor, np.ndarray | None],
) -> None:
    """Keeps what is wanted of a node's outputs, and of its inputs what another node reads."""
    for output in node.outputs:
        if output in wanted:
            bound = slack[output]
            if bound is not None:
                bound = bound.astype(np.float32)
            kept[output] = bound
    for x in dict.fromkeys(node.inputs):
        waiting[x] = waiting.get(x, 1) - 1
        if not waiting[x]:
            slack.pop(x, None)


def _through(node: GraphNode, slack: np.ndarray | None) -> np.ndarray | float:
    """What arrives at a product passes to each of its channels, on the average over places."""
    if slack is None or node.op is None:
        return 0.0
    weight = dict(held_weights(node))["weight"].value
    shape = slack.shape
    if channel_axis(node) == -1:
        mean = np.square(slack).reshape(-1, shape[-1]).mean(axis=0)
        return np.asarray(np.sqrt(mean @ np.square(weight, dtype=np.float64)))
    mean = np.square(slack).mean(axis=tuple(k for k in range(len(shape)) if k != 1))
    whole = weight if weight.dtype in _WHOLE else widened(weight)
    rows = whole.reshape(*weight.shape[:2], -1)
    size = np.einsum("oik,oik->oi", rows, rows)
    groups = shape[1] // weight.shape[1]
    parts = size.reshape(groups, -1, weight.shape[1]) @ mean.reshape(groups, -1, 1)
    return np.asarray(np.sqrt(parts.reshape(-1, *[1] * (len(shape) - 2))))


_WHOLE = ("float32", "float64")


def _capped(bound: np.ndarray | None, value: np.ndarray) -> np.ndarray | None:
    """No more than the tensor's deviation, which is as far as a wrong tensor lies: bounds that take
    every step's worst have no end."""
    if bound is None or value.dtype.kind != "f" or not value.size:
        return bound
    if not float(bound.max(initial=0.0)) > 1e-3 * float(
        np.abs(value.reshape(-1)[:4096]).max(initial=0.0)
    ):
        return bound
    return np.asarray(np.minimum(bound, signature(value)[1]))


def _weighs(node: GraphNode) -> bool:
    return next(iter(held_weights(node)), None) is not None


def _of_unknown(tensor: Tensor) -> np.ndarray | None:
    if tensor.value.dtype.kind != "f":
        return None
    sizes = np.abs(np.nan_to_num(tensor.value.astype(np.float64), posinf=0.0, neginf=0.0))
    return np.asarray(16 * _UNIT * (sizes + sizes.mean()))


def propagated(
    paired: Paired,
    slack_a: dict[Tensor, np.ndarray | None],
    slack_b: dict[Tensor, np.ndarray | None],
) -> Comparison | None:
    """B's own tensor against A's, in A's axes; None where their shapes tell nothing."""
    a, b, allowed = whole(paired, slack_a, slack_b)
    return compare((a,), (b,), (allowed,))


def whole(
    paired: Paired,
    slack_a: dict[Tensor, np.ndarray | None],
    slack_b: dict[Tensor, np.ndarray | None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A's tensor, B's own in A's axes where it fits these, and how far apart rounding may have
    carried them."""
    source = paired.a
    a, b = source.gathered([tensor.value for tensor in source.tensors]), _own(paired)
    slacks = [_whole(tensor, slack_a.get(tensor)) for tensor in source.tensors]
    allowed = source.gathered(slacks) if source.columns else slacks[0]
    try:
        b = paired.way.to_a(b)
        allowed = allowed + paired.way.to_a(_whole(paired.b, slack_b.get(paired.b)))
    except ValueError:
        allowed = np.zeros(())
    if a.shape == b.shape:
        allowed = np.broadcast_to(allowed, a.shape)
    return a, b, allowed


def _whole(tensor: Tensor, slack: np.ndarray | None) -> np.ndarray:
    shape = tensor.value.shape
    if slack is None:
        return np.zeros(shape)
    return np.broadcast_to(slack, shape)


def _own(paired: Paired) -> np.ndarray:
    """B's own tensor in the axes in which it is computed."""
    shown, perm = paired.b.shown
    return shown.value.transpose(np.argsort(perm))


def in_axes_of_a(paired: Paired) -> tuple[np.ndarray, np.ndarray | None]:
    """A's tensor, and B's own in its axes; None where its shape does not fit them."""
    a = paired.a.gathered([tensor.value for tensor in paired.a.tensors])
    try:
        own = paired.way.to_a(widened(_own(paired)))
    except ValueError:
        return a, None
    return a, own if own.shape == a.shape else None


def own_is_nearer(paired: Paired) -> bool:
    """Whether B's own tensor lies much nearer to A's than what B's layers make of A's tensors
    before it: then one of these stands for something else."""
    a, own = in_axes_of_a(paired)
    if paired.unforced is None or own is None:
        return False
    try:
        computed = paired.way.to_a(widened(paired.unforced))
    except ValueError:
        return False
    if computed.shape != a.shape:
        return False
    with np.errstate(invalid="ignore"):
        apart, local = (np.abs(a - values).max(initial=0.0) for values in (own, computed))
    return bool(apart < _MUCH_NEARER * local)
