"""A comparison as files that Model Explorer opens: both graphs, the errors, and which nodes stand
for one another."""

import math
from typing import TYPE_CHECKING

from probe import printable
from probe.model_comparison.reports.blocks import ratio_of
from probe.report.model_explorer import ERROR, GRAPH, PAIRS, VERDICT, Node, graph_of, new_id, values

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison, Pair

__all__ = ["files"]


def files(comparison: "ModelComparison") -> dict[str, object]:
    """The files by their names. The layers of a segment follow one another in execution order."""
    sides = [_SideGraph(side, comparison.unpaired[place]) for place, side in enumerate("AB")]
    entries = []
    for pair in comparison.pairs:
        left, right = (side.add(pair) for side in sides)
        if left and right:
            entries.append({"leftNodeIds": left, "rightNodeIds": right})
    errors, verdicts = zip(*(values(side.nodes) for side in sides), strict=True)
    sources = {"A": comparison.a, "B": comparison.b}
    names = [f"{side}: {printable.name(source)}" for side, source in sources.items()]
    return {
        GRAPH: {
            "label": "probe compare",
            "graphs": [graph_of(name, side.all) for name, side in zip(names, sides, strict=True)],
        },
        # On both graphs: what is said of a pair holds for the layers of either model.
        ERROR: dict(zip(names, errors, strict=True)),
        VERDICT: dict(zip(names, verdicts, strict=True)),
        PAIRS: {
            "type": "sync_navigation",
            "mappingEntries": entries,
            "disableMappingFallback": True,
            "showDiffHighlights": True,
        },
    }


class _SideGraph:
    """One of the two graphs under construction."""

    def __init__(self, side: str, unpaired: tuple[str, ...]):
        self.place = "AB".index(side)
        self.side = side
        self.nodes: list[Node] = []
        self.unpaired = unpaired
        self._ids: set[str] = set()
        self._ends: dict[str, str] = {}
        """The node that gives each paired tensor, by the name of B's."""

    @property
    def all(self) -> list[Node]:
        return [*self.nodes, *(Node(self._new(name), name) for name in self.unpaired)]

    def add(self, pair: "Pair") -> list[str]:
        """The ids of the pair's layers in this graph."""
        names = (pair.a, pair.b)[self.place]
        before = tuple(self._ends[name] for name in pair.after if name in self._ends)
        ids: list[str] = []
        for name in names:
            last = len(ids) == len(names) - 1
            ids.append(self._new(name))
            ratio = math.nan if pair.local is None or not last else pair.local.ratio
            facts = {
                "local": ratio_of(pair.local),
                "propagated": ratio_of(pair.propagated),
                "source": "the difference is made here" if pair.source else "",
                "differs": "; ".join(str(difference[0]) for difference in pair.differs),
            }
            self.nodes.append(
                Node(ids[-1], name, "", pair.verdict, ratio, before, facts if last else None)
            )
            before = (ids[-1],)
        if ids:
            self._ends[pair.end] = ids[-1]
        return ids

    def _new(self, name: str) -> str:
        """An id that no node of either graph has."""
        return new_id(f"{self.side}:{printable.name(name)}", self._ids)
