"""A step that one model has more than the other, proven by leaving it out."""

from collections import Counter
from collections.abc import Iterator, Sequence

from probe import printable
from probe.model_comparison.causes.constants import own_numbers
from probe.model_comparison.causes.trying import gives_values_of_a, gives_values_of_b
from probe.model_comparison.causes.weight_differences import Difference
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.matching.segments import Segment, computing
from probe.model_comparison.matching.walk_state import WalkState
from probe.ops import Rearrangement

__all__ = ["surplus_step"]

_TRIED = 12
"""So many steps are left out, one by one."""
_MOST = 200
"""Steps of a segment that is computed again."""


def surplus_step(segment: Segment, walk: WalkState) -> Iterator[Difference]:
    """The one step of A without which its layers give B's values, or of B's without which they give
    A's."""
    if max(len(segment.a), len(segment.b)) > _MOST:
        return
    a, b = computing(segment.a), computing(segment.b)
    for node, place in _more(a, b):
        if gives_values_of_b(segment, (node, place)):
            note = f"{_where(node)} of A is left out in B: without it, A's layers give B's values"
            yield Difference("steps", node.kind, "none", node, note=note, certain=True)
            return
    for node, place in _more(b, a):
        if gives_values_of_a(segment, walk, skipped=(node, place)):
            note = f"B has {_where(node)} besides: without it, B's layers give A's values"
            yield Difference("steps", "none", node.kind, note=note, certain=True)
            return


def _more(
    nodes: Sequence[GraphNode], others: Sequence[GraphNode]
) -> Iterator[tuple[GraphNode, int]]:
    """The nodes of kinds that one side has more of, with the places of what may go on instead."""
    more = Counter(node.kind for node in nodes) - Counter(node.kind for node in others)
    chosen = [
        node for node in nodes if node.kind in more and not isinstance(node.op, Rearrangement)
    ]
    for node in chosen[:_TRIED]:
        for place, x in enumerate(node.inputs):
            same = len(node.outputs) == 1 and x.value.shape == node.outputs[0].value.shape
            if same and own_numbers(x) is None:
                yield node, place


def _where(node: GraphNode) -> str:
    return f"{node.kind} in {printable.name(node.call.name)}"
