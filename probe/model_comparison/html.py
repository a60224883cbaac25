"""A comparison of two models as a page that needs nothing else, and for a notebook."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from probe.comparison.compare import Comparison
from probe.model_comparison.text import names_of, ratio_of, source_lines
from probe.report import graph
from probe.report.html import filled, page

if TYPE_CHECKING:
    from probe.model_comparison.result import ModelComparison, Pair

__all__ = ["fragment", "to_html"]


def to_html(comparison: "ModelComparison", command: str = "") -> str:
    """The page; ``command`` is what wrote it."""
    return page(
        "comparison.html",
        command,
        title="two models compared",
        graph=_graph(comparison.pairs),
        **_values(comparison),
    )


def fragment(comparison: "ModelComparison") -> str:
    """For a notebook: no script, no style, no colour of its own."""
    return filled("comparison_fragment.html", **_values(comparison))


def _values(comparison: "ModelComparison") -> dict[str, Any]:
    sources = comparison.sources
    anchors = {id(one): f"source-{place}" for place, one in enumerate(sources, 1)}
    return {
        "comparison": comparison,
        "unpaired_sides": tuple(zip("AB", comparison.unpaired, strict=True)),
        "rows": [_row(one, anchors.get(id(one), "")) for one in comparison.pairs],
        "sources": [
            {
                "name": f"{names_of(one.b)} of B, for {names_of(one.a)} of A",
                "lines": [line.strip() for line in source_lines(one, comparison)][1:],
            }
            for one in sources
        ],
    }


def _row(pair: "Pair", anchor: str) -> dict[str, Any]:
    return {
        "verdict": pair.verdict,
        "source": pair.source,
        "anchor": anchor,
        "a": names_of(pair.a),
        "b": names_of(pair.b),
        "local": ratio_of(pair.local),
        "propagated": ratio_of(pair.propagated),
        "axes": pair.axes,
        "how": pair.how,
    }


def _graph(pairs: Sequence["Pair"]) -> graph.Graph | None:
    places: dict[str, int] = {}
    vertices = []
    for place, one in enumerate(pairs):
        after = tuple(places[name] for name in one.after if name in places)
        a, b = names_of(one.a), names_of(one.b)
        ratio = _ratio(one.local)
        verdict = "diverge" if one.source else one.verdict
        vertices.append(graph.Vertex(b if a == b else f"{a} ~ {b}", "", verdict, ratio, after))
        places[one.tensors[1]] = place
    return graph.laid_out(vertices)


def _ratio(one: Comparison | None) -> float:
    return math.nan if one is None else one.ratio
