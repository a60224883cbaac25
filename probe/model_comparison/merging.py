"""Which of the segments that differ make a fault, and which show one that another makes."""

from collections.abc import Hashable, Sequence

from probe.model_comparison.graph import Node
from probe.model_comparison.segments import Segment, computing

__all__ = ["merged"]


def merged(found: Sequence[Segment], innocent: Sequence[Segment] = ()) -> list[list[Segment]]:
    """The segments that differ, those of one fault together: each group begins with the one where
    it is made.

    One fault are segments that share a node which no other pair accounts for (a missing addition,
    seen by everything that reads it), and those that read the same wrong tensor.
    """
    differing = [one for one in found if one.differs and one not in innocent]
    accounted: set[Node] = set()
    for one in found:
        if not one.differs:
            accounted |= {*one.a, *one.b}
    groups: list[tuple[set[Hashable], list[Segment]]] = []
    for one in differing:
        marks: set[Hashable] = {
            node for node in (*computing(one.a), *computing(one.b)) if node not in accounted
        }
        marks |= {(wire.reads.root, wire.instead.root) for wire in one.wires}
        same = [group for group in groups if group[0] & marks]
        members = [member for group in same for member in group[1]] + [one]
        for group in same:
            marks |= group[0]
            groups.remove(group)
        groups.append((marks, members))
    return sorted((members for _, members in groups), key=lambda one: found.index(one[0]))
