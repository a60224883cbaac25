"""Which of the segments that differ make a fault, and which show one that another makes."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.node_values import signature
from probe.model_comparison.matching.segments import Segment, computing, moves_elements
from probe.ops import Recurrence

__all__ = ["behind_partial", "merged"]


def _strays(segment: Segment) -> Iterator[Tensor]:
    """The arrays that a model has made itself, and a segment reads."""
    for node in (*segment.a, *segment.b):
        yield from (x for x in node.inputs if x.node is None and x.input is None)


def _makers(stray: Tensor) -> Iterator[tuple[str, int]]:
    """The calls that have made what such an array was worked out from."""
    if stray.origin is not None:
        yield from ((maker.layer, maker.call) for maker in stray.origin.made_by)


def _alike(segments: Sequence[Segment]) -> set[Tensor]:
    """Such arrays that the other model has too."""
    sides: list[dict[Tensor, np.ndarray]] = [{}, {}]
    for segment in segments:
        for nodes, known in zip((segment.a, segment.b), sides, strict=True):
            for x in (x for node in nodes for x in node.inputs if x.node is None):
                if x not in known and x.value.dtype.kind == "f" and x.value.size:
                    known[x] = signature(np.clip(x.value.astype(np.float64), -1e30, 1e30))
    alike: set[Tensor] = set()
    for mine, theirs in (sides, sides[::-1]):
        for x, mark in mine.items():
            near = 1e-5 * mark[0] + 1e-30
            if any(
                np.abs(mark - other).max() <= near and _same_numbers(x, stray)
                for stray, other in theirs.items()
            ):
                alike.add(x)
    return alike


def _same_numbers(left: Tensor, right: Tensor) -> bool:
    """Whether arrays of the same signature may be the same: place by place, where their shapes
    are."""
    mine, theirs = (np.clip(x.value.astype(np.float64), -1e30, 1e30) for x in (left, right))
    if mine.shape != theirs.shape:
        return mine.size == theirs.size
    largest = float(np.abs(mine).max(initial=0.0, where=~np.isnan(mine)))
    return bool(np.allclose(mine, theirs, rtol=1e-4, atol=1e-6 * largest, equal_nan=True))


def behind_partial(groups: Sequence[list[Segment]]) -> list[list[Segment]]:
    """The groups; from the first on that begins with a tensor of which some elements alone are
    known all in one: what follows is computed on a wrong tensor that is right elsewhere."""
    for place, group in enumerate(groups):
        if group[0].paired.a.tensor.partial:
            return [*groups[:place], [segment for each in groups[place:] for segment in each]]
    return [*groups]


def merged(segments: Sequence[Segment], innocent: Sequence[Segment] = ()) -> list[list[Segment]]:
    """The segments that differ, those of one fault together: each group begins with the one where
    it is made.

    One fault are segments that share a node which no other pair accounts for (a missing addition,
    seen by everything that reads it), those that read the same wrong tensor, those of which one
    thing is told, those that lay in one segment until it was split, and the two directions of a
    recurrence.
    """
    differing = [segment for segment in segments if segment.differs and segment not in innocent]
    accounted: set[GraphNode] = set()
    used = _alike(segments)
    for segment in segments:
        if not segment.differs:
            accounted |= {*segment.a, *segment.b}
            used.update(_strays(segment))
    makers = {maker for segment in differing for x in _strays(segment) for maker in _makers(x)}
    groups: list[tuple[set[Hashable], list[Segment]]] = []
    for segment in differing:
        moving = [node for node in (*segment.a, *segment.b) if node.layout and moves_elements(node)]
        own = (*computing(segment.a), *computing(segment.b), *moving)
        marks: set[Hashable] = {node for node in own if node not in accounted}
        marks |= {segment.paired.origin, segment.shared_reason} - {None}
        strays = [x for x in _strays(segment) if x not in used]
        marks.update(strays, *map(_makers, strays))
        marks |= {node.call.capture.key for node in segment.b} & makers
        marks |= {(wire.reads.root, wire.instead.root) for wire in segment.wires}
        marks |= {
            (node.call, node.inputs[0].root)
            for node in segment.b
            if isinstance(node.op, Recurrence)
        }
        same = [group for group in groups if group[0] & marks]
        members = [member for group in same for member in group[1]] + [segment]
        for group in same:
            marks |= group[0]
            groups.remove(group)
        groups.append((marks, members))
    return sorted((members for _, members in groups), key=lambda group: segments.index(group[0]))
