"""Layers that stand in each other's places, and inputs that are taken for each other: one fault,
though all that they make differs."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.weights import Anchor, held_weights
from probe.model_comparison.matching.merging import merged
from probe.model_comparison.matching.paired import Exchange, SharedReason
from probe.model_comparison.matching.segments import Segment, segments
from probe.model_comparison.matching.walk import walk_again
from probe.model_comparison.matching.walk_state import WalkState

__all__ = ["with_exchanges"]

_NEARLY_ALL = 0.9
"""A layer that has that part of another's rows holds its weights."""
_TOLD = 6
_TRIED = 3
"""So many exchanges of inputs are tried."""
_PART, _NUMBER = re.compile(r"[./]"), re.compile(r"(?<![^./])\d+(?![^./])")


def with_exchanges(walk: WalkState, all_segments: list[Segment]) -> tuple[WalkState, list[Segment]]:
    """The walk with layers or inputs of B in the places where they stand, where that leaves fewer
    faults than to take them for those of A that they are."""
    if not any(segment.differs for segment in all_segments):
        return walk, all_segments
    for exchange in (*_of_layers(walk), *_of_inputs(walk)):
        again = walk_again(walk, exchanges=(*walk.exchanges, exchange))
        new_segments = segments(again)
        faults, fewer = merged(all_segments), merged(new_segments)
        explained = len(fewer) == 1 and fewer[0][0].shared_reason is exchange.reason
        if _uncomputed(new_segments) > _uncomputed(all_segments):
            continue
        if len(fewer) < len(faults) or (explained and len(faults) == 1):
            walk, all_segments = again, new_segments
    return walk, all_segments


def _uncomputed(all_segments: Sequence[Segment]) -> int:
    return sum(segment.paired.local is None for segment in all_segments)


def _of_layers(walk: WalkState) -> Iterator[Exchange]:
    """The layers of B that hold the weights of another of A's than the one in their place, or the
    weights of several such as one."""
    places = _Places(walk)
    placed: dict[GraphNode, Sequence[Anchor]] = {}
    held: dict[GraphNode, GraphNode] = {}
    unmoved: list[str] = []
    for node, holding in _holding(walk, places.nodes):
        here = [place for x in holding if (place := places.of(node, x.node)) is not None]
        if not here or len(here) < len(holding):
            continue
        if here == [x.node for x in holding]:
            unmoved += [place.call.name for place in here]
            continue
        held.update(zip(here, (x.node for x in holding), strict=True))
        if len(here) == 1:
            placed[node] = [Anchor.of_place(here[0])]
        else:
            both = zip(holding, here, strict=True)
            placed[node] = [part.in_place_of(place) for part, place in both]
    if placed:
        yield Exchange(_reason("layers", "the weights of ", _blocks(held, unmoved)), placed, {})


class _Places:
    """Which node of A stands where one of B does: of as many of one kind and shapes, or of one name
    but for numbers, the one at the same place."""

    def __init__(self, walk: WalkState) -> None:
        self.nodes = [node for node in walk.b.nodes if _shapes(node)]
        of_a = [node for node in walk.a.nodes if _shapes(node)]
        self.classes = [(_alike(of_a, key), _alike(self.nodes, key)) for key in (_shapes, _name)]

    def of(self, b: GraphNode, held: GraphNode) -> GraphNode | None:
        """The node in whose place B's stands, among those like the one whose weights it holds."""
        for mine, theirs in self.classes:
            if len(mine[held]) == len(theirs[b]):
                return mine[held][theirs[b].index(b)]
        return None


def _alike(
    nodes: Sequence[GraphNode], key: Callable[[GraphNode], Hashable]
) -> Mapping[GraphNode, Sequence[GraphNode]]:
    """The nodes with the same key as each, in execution order."""
    groups: dict[Hashable, list[GraphNode]] = {}
    for node in nodes:
        groups.setdefault((node.kind, key(node)), []).append(node)
    return {node: group for group in groups.values() for node in group}


def _shapes(node: GraphNode) -> tuple[tuple[int, ...], ...]:
    return tuple(weight.value.shape for _, weight in held_weights(node))


def _name(node: GraphNode) -> str:
    """What a layer is called, but for numbers: which block it is in."""
    return _NUMBER.sub("#", node.call.name)


def _holding(
    walk: WalkState, nodes: Sequence[GraphNode]
) -> Iterator[tuple[GraphNode, Sequence[Anchor]]]:
    """For nodes of B the one of A whose weights each holds, of as many calls of one layer that of
    the same number; or several that it holds the weights of as one."""
    alike: dict[tuple[GraphNode, ...], list[tuple[GraphNode, list[Anchor]]]] = {}
    for node in nodes:
        anchors = walk.anchors.get(node, ())
        whole = [x for x in anchors if x.ordered and x.share >= _NEARLY_ALL]
        whole.sort(key=lambda anchor: anchor.node.index)
        if whole:
            alike.setdefault(tuple(x.node for x in whole), []).append((node, whole))
        else:
            yield node, _parts(anchors)
    for held, calls in alike.items():
        if len(held) in (1, len(calls)):
            for number, (node, whole) in enumerate(calls):
                yield node, [whole[number % len(held)]]


def _parts(anchors: Sequence[Anchor]) -> list[Anchor]:
    """The nodes of A whose weights together are those of one node, each with rows of its own."""
    parts = [x for x in anchors if x.ordered and x.counts[0] < x.counts[1]]
    rows = [x.rows >= 0 for x in parts]
    if len(parts) > 1 and (np.sum(rows, axis=0) == 1).all():
        return parts
    return []


def _blocks(held: Mapping[GraphNode, GraphNode], unmoved: Sequence[str]) -> dict[str, str]:
    """The same by names, up to the part in which these differ where the whole block is moved: of
    layers.0.fc and layers.1.fc layers.0 and layers.1."""
    blocks: dict[str, str] = {}
    for place, node in held.items():
        first, second = place.call.name, node.call.name
        parts = zip(_PART.split(first), _PART.split(second), strict=False)
        same = next((k for k, (left, right) in enumerate(parts) if left != right), 0)
        block = _up_to(first, same)
        if any(_up_to(name, same) == block for name in unmoved):
            blocks[first] = second
        else:
            blocks[block] = _up_to(second, same)
    return blocks


def _up_to(name: str, part: int) -> str:
    ends = [separator.start() for separator in _PART.finditer(name)]
    return name[: ends[part]] if part < len(ends) else name


def _of_inputs(walk: WalkState) -> Iterator[Exchange]:
    """Two inputs of equal shapes that B takes for each other."""
    tried = 0
    for first, second in combinations(walk.inputs, 2):
        mine = [walk.a.inputs[pair.a].value for pair in (first, second)]
        alike = first.way == second.way and mine[0].shape == mine[1].shape
        if alike and mine[0].dtype == mine[1].dtype and tried < _TRIED:
            tried += 1
            places = {str(first.a): str(second.a), str(second.a): str(first.a)}
            inputs = {first.b: second.a, second.b: first.a}
            yield Exchange(_reason("inputs", "", places), {}, inputs)


def _reason(name: str, of: str, places: Mapping[str, str]) -> SharedReason:
    """What is told of layers or inputs in the places of A's, and which of A's these are."""
    mine, theirs = (_listed(names) for names in (places, places.values()))
    words = f"B's {name} in the places of A's {mine} are {of}A's {theirs}"
    if of:
        words = f"B's {name} in the places of A's {mine} hold {of}A's {theirs}"
    if {*places} == {*places.values()}:
        words += ": they are exchanged"
    return SharedReason(name, mine, theirs, words)


def _listed(names: Iterable[str]) -> str:
    return printable.several([*map(printable.name, names)], _TOLD)
