"""Whether the layers of one model hold other weights than the other's altogether: then that is one
difference, and not one for each layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from probe.model_comparison.causes.reading import aligned, matched
from probe.model_comparison.causes.weight_differences import differing_weights
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph
from probe.model_comparison.graphs.node_values import signature
from probe.model_comparison.graphs.weights import Anchor, held_weights, telling
from probe.model_comparison.matching.segments import Segment
from probe.numerics.dtypes import widened

__all__ = ["OtherWeights", "other_weights"]

_MOST = 0.75
"""What part of the layers must hold other weights, where not all do."""
_SEVERAL = 4
"""So few of them may be mistakes of their own."""
_EQUAL = 2e-5
"""How near the signatures of weights lie that are others' in another order."""
_CORRELATED = 0.5
_MANY, _SOME, _FEW, _HALF = 4096, 64, 8, 0.5
"""Of so many numbers so many are looked up; fewer different ones, or no more than that part of
them, say nothing."""


class OtherWeights(NamedTuple):
    """Layers of B that hold other weights than A's."""

    sentence: str
    nodes: frozenset[GraphNode]

    def together(self, groups: Sequence[list[Segment]]) -> list[list[Segment]]:
        """The groups of segments with those that other weights explain as one."""
        mine = [group for group in groups if any(map(self._concerns, group))]
        if len(mine) < 2:
            return [*groups]
        joined = [segment for group in mine for segment in group]
        rest = [group for group in groups if group not in mine]
        return [joined, *rest]

    def explains(self, group: Sequence[Segment]) -> bool:
        """Whether a group of segments is that of the other weights."""
        return any(self.nodes.intersection(segment.b) for segment in group)

    def _concerns(self, segment: Segment) -> bool:
        if self.nodes.intersection(segment.b):
            return True
        pairs, _, _ = matched(*aligned(segment))
        return any(next(differing_weights(*pair), None) is not None for pair in pairs)


def other_weights(
    a: ModelGraph, b: ModelGraph, anchors: Mapping[GraphNode, Sequence[Anchor]], unit: float
) -> OtherWeights | None:
    """The layers of B that hold other weights than A's, where all do or nearly all; ``unit`` is the
    roundoff of the type that one model holds the other's in."""
    mine, theirs = ([node for node in graph.nodes if telling(node)] for graph in (a, b))
    kinds = {node.kind for node in mine} & {node.kind for node in theirs}
    comparable = [node for node in theirs if node.kind in kinds]
    strangers = [node for node in comparable if node not in anchors]
    count, of = len(strangers), len(comparable)
    if count < 2 or (count < of and (count < _SEVERAL or count < _MOST * of)):
        return None
    held = [mark for node in mine for mark in _marks(node)]
    if any(_holds_known(node, held, unit) or _holds_numbers_of(node, mine) for node in strangers):
        return None
    return OtherWeights(_sentence(mine, strangers, of), frozenset(strangers))


def _marks(node: GraphNode) -> Iterator[tuple[int, np.ndarray]]:
    """What tells the numbers of a node's matrices, whatever their order."""
    for _, weight in held_weights(node):
        if weight.value.ndim > 1 and weight.value.dtype.kind == "f":
            yield weight.value.size, signature(weight.value)


def _holds_known(node: GraphNode, held: Sequence[tuple[int, np.ndarray]], unit: float) -> bool:
    return any(
        size == other and np.abs(mark - known).max() <= (_EQUAL + unit) * known[0]
        for size, mark in _marks(node)
        for other, known in held
    )


def _holds_numbers_of(node: GraphNode, others: Sequence[GraphNode]) -> bool:
    """Whether most numbers of some weight are among a node's: in another shape, such as with
    channels of zeros beside them."""
    held = [weight.value.ravel() for _, weight in held_weights(node) if weight.value.ndim > 1]
    numbers = np.concatenate(held) if held else np.zeros(0)
    for other in others if np.unique(numbers[:_MANY]).size > _FEW else ():
        for weight in (weight.value for _, weight in held_weights(other) if weight.value.ndim > 1):
            some = weight.ravel()[:: max(1, weight.size // _SOME)]
            sample = np.unique(some[some != 0])
            if sample.size > _FEW and np.isin(sample, numbers).mean() > _HALF:
                return True
    return False


def _sentence(mine: Sequence[GraphNode], strangers: Sequence[GraphNode], of: int) -> str:
    count = len(strangers)
    far = _apart(mine, strangers)
    if far is not None:
        many = f"all of B's {of}" if count == of else f"{count} of B's {of}"
        return (
            f"{many} layers with weights hold other values than A's, off by {far:.2g} of their "
            "RMS: another state of the same model, such as of another epoch"
        )
    if count < of:
        return (
            f"{count} of B's {of} layers with weights hold other weights than A's: another "
            "checkpoint"
        )
    return (
        f"none of B's {of} layers with weights has those of a layer of A: another checkpoint, or "
        "the weights were not copied"
    )


def _apart(mine: Sequence[GraphNode], strangers: Sequence[GraphNode]) -> float | None:
    """How far weights lie apart that go together, as a share of their size; None where they do not
    go together."""
    apart = []
    left = list(mine)
    for node in strangers:
        shapes = _shapes(node)
        first = next((other for other in left if _shapes(other) == shapes), None)
        if first is None:
            return None
        left.remove(first)
        for (_, ours), (_, theirs) in zip(held_weights(first), held_weights(node), strict=True):
            if ours.value.ndim > 1:
                x, y = (widened(weight.value).ravel() for weight in (ours, theirs))
                size = float(np.sqrt(np.mean(np.square(x))))
                if not float(np.mean(x * y)) > _CORRELATED * size * np.sqrt(np.mean(np.square(y))):
                    return None
                apart.append(float(np.sqrt(np.mean(np.square(x - y)))) / size)
    return max(apart, default=None)


def _shapes(node: GraphNode) -> tuple[str, list[tuple[int, ...]]]:
    return node.kind, [weight.value.shape for _, weight in held_weights(node)]
