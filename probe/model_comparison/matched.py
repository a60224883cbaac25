"""What a walk over B on A's tensors has found: the pairs and the segments between them, and which
of them are told."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.weights import Anchor
from probe.model_comparison.matching.level import Level
from probe.model_comparison.matching.segments import Segment, names_of, uncovered
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.side_run import block_of

__all__ = ["Matched", "from_block"]


class Matched(NamedTuple):
    """The pairs of tensors, and the segments between them."""

    anchors: Mapping[GraphNode, Sequence[Anchor]]
    level: Level
    walk: WalkState
    segments: list[Segment]
    folded: Mapping[Tensor, str] = MappingProxyType({})
    """Arrays that are no output of the layer whose name they have, and why."""
    first: int = 0
    """The first of A's blocks that is told."""
    before: Sequence[Segment] = ()
    """The segments before it."""

    def untold(self, nodes: Iterable[GraphNode], of_b: bool) -> tuple[str, ...]:
        """The layers among the nodes of a side that no segment holds, from that block on."""
        segments = [*self.before, *self.segments]
        covered = {node for segment in segments for node in (segment.b if of_b else segment.a)}
        return uncovered(
            [node for node in nodes if (block_of(node.call.name) or self.first) >= self.first],
            covered,
        )


def from_block(matched: Matched, first: int) -> Matched:
    """Without the segments before one of A's blocks."""
    if not first:
        return matched
    names = [names_of(segment.a, segment.paired.a.tensor)[-1] for segment in matched.segments]
    blocks = [block_of(name) for name in names]
    start = next((k for k, block in enumerate(blocks) if block is not None and block >= first), 0)
    return matched._replace(
        segments=matched.segments[start:], first=first, before=matched.segments[:start]
    )
