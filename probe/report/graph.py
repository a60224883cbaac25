"""The graph of a forward pass as a page draws it: a call a row, in execution order, in lanes that
branches open and joins close.

The layout is our own: of the libraries for layered graphs one is under the GPL and unmaintained
(grandalf), others need a binary (Graphviz) or a newer Python (fast-sugiyama), and networkx places
the generations of a graph but routes no edge around a vertex. Rows in execution order are those of
the table beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from probe.report.blocks import short

__all__ = ["SHADES", "Edge", "GraphLayout", "Vertex", "laid_out", "shade_of"]

SHADES = ("equal", "up to 0.5 x", "up to 1 x", "up to 10 x", "more than 10 x", "not compared")
"""What the colours of vertices say: error over allowance."""
_EDGES = (0.0, 0.5, 1.0, 10.0)
MOST = 400
"""Calls that are drawn."""


@dataclass(frozen=True)
class Vertex:
    """A call, or a pair of tensors."""

    name: str
    kind: str
    verdict: str
    ratio: float
    """The largest error in units of the allowance; NaN where nothing was compared."""
    after: tuple[int, ...] = ()
    """The vertices before it that it takes something from."""
    lane: int = 0
    shade: int = 0
    """Which of SHADES."""
    shown: str = ""
    """The ratio in words."""


@dataclass(frozen=True)
class Edge:
    """From a row and lane to another; on its way it keeps to the lane that it begins in."""

    row: int
    lane: int
    to_row: int
    to_lane: int


@dataclass(frozen=True)
class GraphLayout:
    """Vertices from the first row on, and what joins them."""

    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    lanes: int
    left_out: int = 0
    """How many calls come after those that are drawn."""


def shade_of(ratio: float) -> int:
    """Which of SHADES a ratio has."""
    if math.isnan(ratio):
        return len(SHADES) - 1
    return sum(ratio > edge for edge in _EDGES)


def laid_out(vertices: Sequence[Vertex]) -> GraphLayout | None:
    """Each vertex in its lane; None where nothing joins them."""
    shown = vertices[:MOST]
    if not any(vertex.after for vertex in shown):
        return None
    last = {place: row for row, vertex in enumerate(shown) for place in vertex.after}
    held: list[int | None] = []
    """Of each lane the vertex whose output is still to be taken."""
    placed: list[Vertex] = []
    edges: list[Edge] = []
    for row, layer in enumerate(shown):
        ended = [k for k, place in enumerate(held) if place in layer.after and last[place] == row]
        for k in ended:
            held[k] = None
        free = [k for k, place in enumerate(held) if place is None]
        lane = min(ended or free, default=len(held))
        if lane == len(held):
            held.append(None)
        if last.get(row, row) > row:
            held[lane] = row
        edges += [
            Edge(place, placed[place].lane, row, lane) for place in dict.fromkeys(layer.after)
        ]
        if math.isnan(layer.ratio):
            ratio = ""
        elif layer.ratio:
            ratio = f"{short(layer.ratio)} x"
        else:
            ratio = "equal"
        placed.append(
            Vertex(
                *(layer.name, layer.kind, layer.verdict, layer.ratio, layer.after),
                *(lane, shade_of(layer.ratio), ratio),
            )
        )
    return GraphLayout(tuple(placed), tuple(edges), len(held), len(vertices) - len(shown))
