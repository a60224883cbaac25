"""A comparison of two models as a page that needs nothing else, and for a notebook."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from probe.model_comparison.reports.blocks import PairRow, blocks, rows
from probe.report import graph
from probe.report.html import affordable, filled, page

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison, Pair

__all__ = ["fragment", "to_html"]


def to_html(comparison: "ModelComparison", command: str = "") -> str:
    """The page; ``command`` is what wrote it."""
    return page(
        "comparison.html",
        command,
        title="two models compared",
        graph=_graph(comparison.pairs, rows(comparison)),
        **_values(comparison),
    )


def fragment(comparison: "ModelComparison") -> str:
    """For a notebook: no script, no style, no colour of its own."""
    return filled("comparison_fragment.html", **_values(comparison))


def _values(comparison: "ModelComparison") -> dict[str, Any]:
    table = rows(comparison)
    drawn = affordable(row.drawn for row in sorted(table, key=lambda row: not row.source))
    shown = sorted(range(len(table)), key=lambda place: not table[place].source)
    pictures = dict(zip(shown, drawn, strict=True))
    return {
        "blocks": blocks(comparison),
        "verdict": comparison.verdict,
        "rows": [replace(row, drawn=pictures[place]) for place, row in enumerate(table)],
    }


def _graph(pairs: Sequence["Pair"], table: Sequence[PairRow]) -> graph.GraphLayout | None:
    places: dict[str, int] = {}
    vertices = []
    for place, (pair, row) in enumerate(zip(pairs, table, strict=True)):
        after = tuple(places[name] for name in pair.after if name in places)
        name = row.b if row.a == row.b else f"{row.a} ~ {row.b}"
        verdict = "diverge" if pair.source else pair.verdict
        vertices.append(graph.Vertex(name, "", verdict, row.local_ratio, after))
        places[pair.end] = place
    return graph.laid_out(vertices)
