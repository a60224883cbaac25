"""Layers that stand in each other's places, and inputs that are taken for each other: one fault,
though all that they make differs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from probe import printable
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.weights import held_weights
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
_PART = re.compile(r"[./]")
_Class = tuple[str, tuple[tuple[int, ...], ...]]


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
    """The layers of B that hold the weights of another of A's than the one in their place, among
    those of their kind and shapes."""
    mine, theirs = _classes(walk.a.nodes), _classes(walk.b.nodes)
    placed: dict[GraphNode, GraphNode] = {}
    held: dict[GraphNode, GraphNode] = {}
    unmoved: list[str] = []
    for key, nodes in theirs.items():
        places = mine.get(key, [])
        if len(places) != len(nodes):
            continue
        for place, node in zip(places, nodes, strict=True):
            holding = [
                anchor.node
                for anchor in walk.anchors.get(node, ())
                if anchor.ordered and anchor.share >= _NEARLY_ALL
            ]
            if holding == [place]:
                unmoved.append(place.call.name)
            elif len(holding) == 1:
                placed[node], held[place] = place, holding[0]
    if placed:
        yield Exchange(_reason("layers", "the weights of ", _blocks(held, unmoved)), placed, {})


def _classes(nodes: Iterable[GraphNode]) -> Mapping[_Class, list[GraphNode]]:
    """The nodes with weights by their kind and the shapes of these, in execution order."""
    classes: dict[_Class, list[GraphNode]] = {}
    for node in nodes:
        shapes = tuple(weight.value.shape for _, weight in held_weights(node))
        if shapes:
            classes.setdefault((node.kind, shapes), []).append(node)
    return classes


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
