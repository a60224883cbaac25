"""Calls of B without a description: what they give is as B recorded it, on B's own tensors."""

from collections.abc import Iterator, Mapping, Sequence

from probe import printable
from probe.comparison.compare import Comparison
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.matching.forcing import force, likely_ways
from probe.model_comparison.matching.level import INTEGERS, Level
from probe.model_comparison.matching.own_values import nearest
from probe.model_comparison.matching.paired import Source
from probe.model_comparison.matching.segments import Segment
from probe.model_comparison.matching.walk_state import WalkState

__all__ = ["note_unknown", "of_blocks", "pair_recorded"]

_BLOCKED = "com.microsoft.nchwc."


def pair_recorded(state: WalkState, b: Tensor) -> None:
    """Pairs what a call without description gives with the tensor of A that it is nearest to, where
    none is nearly as near, in a model of integers: there it differs by rounding, and the walk goes
    on from A's."""
    value = state.values[b]
    if state.level.name != INTEGERS or b.node is None or b.node.op is not None:
        return
    free = [a for a in state.sized[value.size] if not state.partners_of_a.get(a)]
    if (found := nearest(value, free)) is not None:
        _, a = found
        force(state, b, Source((a,)), likely_ways(state, a, b), "values")


def note_unknown(
    segments: Sequence[Segment], propagated: Mapping[Segment, Comparison | None], level: Level
) -> None:
    """Notes in segments that differ why that says nothing: a call without description was given
    what differs already, or rounds in a way that nobody knows."""
    right = {
        segment.paired.b
        for segment in segments
        if (down := propagated.get(segment)) is not None and down.ok
    }
    for segment in segments:
        kinds = [node.call.capture.kind for node in segment.b if node.op is None]
        if not kinds or not (segment.differs or segment.paired.local is None):
            continue
        reason = f"{printable.line(kinds[0])} has no description"
        if level.name == INTEGERS:
            segment.unknown = f"{reason}, so the rounding of its integers is unknown"
        elif any(x not in right for x in _read(segment)):
            segment.unknown = f"{reason}, and what it was given differs already"


def _read(segment: Segment) -> Iterator[Tensor]:
    """What the nodes of B take from before that has a partner."""
    inside = set(segment.b)
    for node in segment.b:
        yield from (x for x in node.inputs if x.node is not None and x.node not in inside)


def of_blocks(a: ModelGraph, b: ModelGraph) -> Iterator[str]:
    """Says which model has layers whose channels lie in blocks, which are not taken apart."""
    for side, graph in zip("AB", (a, b), strict=True):
        kinds = [node.call.capture.kind for node in graph.nodes if node.op is None]
        count = sum(kind.startswith(_BLOCKED) for kind in kinds)
        if count:
            yield (
                f"{count} layers of {side} are of {_BLOCKED[:-1]} (channels in blocks) and are not "
                "taken apart, but compared as one; save the model at ORT_ENABLE_EXTENDED to see "
                "each of them"
            )
