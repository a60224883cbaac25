"""Which of the segments that differ make a fault, and which show one that another makes."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from probe.model_comparison.graph import Node, Tensor
from probe.model_comparison.node_values import signature
from probe.model_comparison.segments import Segment, computing

__all__ = ["merged"]


def _strays(segment: Segment) -> Iterator[Tensor]:
    """The arrays that a model has made itself, and a segment reads."""
    for node in (*segment.a, *segment.b):
        yield from (x for x in node.inputs if x.node is None and x.input is None)


def _alike(found: Sequence[Segment]) -> set[Tensor]:
    """Such arrays that the other model has too."""
    sides: list[dict[Tensor, np.ndarray]] = [{}, {}]
    for one in found:
        for nodes, known in zip((one.a, one.b), sides, strict=True):
            for x in (x for node in nodes for x in node.inputs if x.node is None):
                if x not in known and x.value.dtype.kind == "f" and x.value.size:
                    known[x] = signature(np.clip(x.value.astype(np.float64), -1e30, 1e30))
    alike: set[Tensor] = set()
    for mine, theirs in (sides, sides[::-1]):
        marks = [(x.value.size, mark) for x, mark in theirs.items()]
        for x, mark in mine.items():
            near = 1e-5 * mark[0] + 1e-30
            if any(
                x.value.size == size and np.abs(mark - one).max() <= near for size, one in marks
            ):
                alike.add(x)
    return alike


def merged(found: Sequence[Segment], innocent: Sequence[Segment] = ()) -> list[list[Segment]]:
    """The segments that differ, those of one fault together: each group begins with the one where
    it is made.

    One fault are segments that share a node which no other pair accounts for (a missing addition,
    seen by everything that reads it), those that read the same wrong tensor, and those that lay in
    one segment until it was split.
    """
    differing = [one for one in found if one.differs and one not in innocent]
    accounted: set[Node] = set()
    used = _alike(found)
    for one in found:
        if not one.differs:
            accounted |= {*one.a, *one.b}
            used.update(_strays(one))
    groups: list[tuple[set[Hashable], list[Segment]]] = []
    for one in differing:
        marks: set[Hashable] = {
            node for node in (*computing(one.a), *computing(one.b)) if node not in accounted
        }
        marks |= {one.paired.origin} - {None}
        marks |= {x for x in _strays(one) if x not in used}
        marks |= {(wire.reads.root, wire.instead.root) for wire in one.wires}
        same = [group for group in groups if group[0] & marks]
        members = [member for group in same for member in group[1]] + [one]
        for group in same:
            marks |= group[0]
            groups.remove(group)
        groups.append((marks, members))
    return sorted((members for _, members in groups), key=lambda one: found.index(one[0]))
