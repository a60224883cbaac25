"""A comparison of two models as Markdown, for the step summary of a hosted test run or an issue."""

from typing import TYPE_CHECKING

from probe.model_comparison.reports.blocks import blocks, rows
from probe.report.markdown import rendered, table

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison

__all__ = ["render"]

_HEAD = (
    "verdict",
    "layers of A",
    "layers of B",
    "local",
    "propagated",
    "format",
    "axes",
    "paired by",
)


def render(comparison: "ModelComparison") -> str:
    """The verdict first, then the sources and the table of pairs."""
    pairs = (
        (
            f"{row.verdict}{', source' if row.source else ''}",
            *(row.a, row.b, row.local, row.propagated, row.rounding, row.axes, row.how),
        )
        for row in rows(comparison)
    )
    return rendered(blocks(comparison), table(_HEAD, pairs))
