"""A report, a sweep or one element as a page of HTML: one file that needs nothing else, and reads
without style sheets and scripts too.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe import printable
from probe.report import graph, pictures
from probe.report.blocks import Block, Row, blocks, row, short
from probe.report.pictures import Drawn

if TYPE_CHECKING:
    from probe.report import Report

__all__ = [
    "Entry",
    "affordable",
    "brief",
    "entry",
    "filled",
    "fragment",
    "page",
    "report_page",
    "sweep_page",
    "verdict_of",
]

_FOLDER = Path(__file__).parent / "templates"
_SHADES = ("#e0b000", "#f08c00", "#e03131", "#b0206e", "#7b2d8e")
_FILLS = {
    **{"": "#2a78c2", "agree": "#2a78c2", "diverge": "#d6336c", "rest": "#808080"},
    **{"plus": "#2a78c2", "minus": "#e8590c"},
}
_VERTICES = ("#2a78c2", "#1f8a8a", "#8f7700", "#e8590c", "#d6336c", "#808080")
"""Of graph.SHADES."""
_VERDICTS = {"agree": "#2da44e", "diverge": "#e5534b", "unchecked": "#bf8700"}
"""Of a bar above the verdict, on the ground of any notebook."""
_CAPTIONS = {"layer": "the layer", "pairs": "pair by pair", "sides": "what was compared"}
_WIDE = 220
"""Pixels of a map."""
_MARKS = 6_000
"""What the pictures of a page may weigh: about ten bytes each."""


@dataclass(frozen=True)
class Entry:
    """A call of a sweep: its row, and what is said of it at length where it does not agree."""

    anchor: str
    row: Row
    ratio: float
    blocks: tuple[Block, ...] = ()
    drawn: Drawn = field(default_factory=Drawn)
    name: str = ""
    call: tuple[str, int] = ("", 0)
    """As ``inputs_from`` has it."""
    inputs_from: tuple[tuple[str, int] | None, ...] = ()

    @property
    def shown(self) -> str:
        """The ratio in words."""
        return short(self.ratio)


@cache
def _environment() -> Any:
    jinja2 = import_module("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable.line(value) if type(value) is str else value,
    )
    environment.filters["zip"] = lambda left, right: zip(left, right, strict=True)
    environment.globals |= {
        "colours": _SHADES,
        "fills": _FILLS,
        "captions": _CAPTIONS,
        "vertex_colours": _VERTICES,
        "vertex_shades": graph.SHADES,
        "map_width": _WIDE,
        "map_height": _height,
        "label_width": _label_width,
        "verdict_colours": _VERDICTS,
    }
    return environment


def filled(name: str, **values: object) -> str:
    """A template of this package filled in."""
    text: str = _environment().get_template(name).render(**values)
    return text


def page(name: str, command: str, framework: str = "", **values: object) -> str:
    """A page from a template; ``command`` and versions stand at the end."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2, which reports do without

    about = {
        "style": Markup((_FOLDER / "style.css").read_text("utf-8")),
        "script": Markup((_FOLDER / "tables.js").read_text("utf-8")),
        "versions": _versions(framework),
        "command": command,
    }
    return filled(name, **about, **values)


def _versions(framework: str) -> str:
    from probe import __version__  # noqa: PLC0415 - the package imports this file

    parts = (
        f"probe {__version__}",
        framework,
        f"Python {'.'.join(map(str, sys.version_info[:3]))}",
    )
    return ", ".join(filter(None, parts))


def _drawn(report: "Report") -> Drawn:
    errors = pictures.errors_of(report)
    return pictures.drawn(() if errors is None else (errors,), [*report.weights.values()])


def _height(picture: pictures.ErrorMap) -> int:
    """Pixels of a map."""
    down, across = picture.shape
    return max(12, min(_WIDE, round(_WIDE * down / across)))


def _label_width(vertices: Iterable[graph.Vertex]) -> int:
    """Pixels that hold the longest label of a graph, at 12 pixels a letter's height."""
    longest = max(
        (len(vertex.name) + len(vertex.kind) + len(vertex.shown) for vertex in vertices), default=0
    )
    return 7 * (longest + len(" (): , unchecked"))


def affordable(drawn: Iterable[Drawn]) -> Iterator[Drawn]:
    """The pictures of one page, one after the other, without those that would make it large."""
    left = _MARKS
    for drawing in drawn:
        if drawing.marks > left:
            drawing = replace(drawing, maps=(), absolute=(), scatters=())
        left -= drawing.marks
        yield drawing


def fragment(report: "Report") -> str:
    """For a notebook: no script and no style sheet; the verdict's colour, and the first map."""
    parts = blocks(report)
    return filled(
        "fragment.html",
        blocks=parts,
        title=_title(parts),
        verdict=report.verdict,
        maps=_drawn(report).maps[:1],
    )


def _title(parts: Sequence[Block]) -> str:
    return next(block.title for block in parts if block.name == "head")


def report_page(report: "Report", command: str = "") -> str:
    """One check; what ran it stands at the foot."""
    parts = blocks(report)
    return page(
        "report.html",
        command,
        title=f"{printable.name(report.call_name) or '(root)'} ({printable.name(report.kind)})",
        source=report.source,
        verdict=report.verdict,
        blocks=[block for block in parts if block.name != "head"],
        worst=any(block.name == "worst" for block in parts),
        drawn=_drawn(report),
        framework=report.framework,
    )


def brief(report: "Report", place: int) -> Entry:
    """The row of a call of a sweep."""
    ratio = max((comparison.ratio for comparison in report.comparisons.values()), default=math.nan)
    return Entry(
        f"call-{place}",
        row(report),
        ratio,
        name=report.call_name,
        call=(report.layer, report.call),
        inputs_from=report.inputs_from,
    )


def entry(report: "Report", place: int, full: bool) -> Entry:
    """A call of a sweep; ``full``: with what is said at length, where it does not agree."""
    found = brief(report, place)
    if report.verdict == "agree" or not full:
        return found
    parts = tuple(block for block in blocks(report) if block.name != "head")
    drawing = replace(_drawn(report), absolute=())  # which would make the page large
    return replace(found, blocks=parts, drawn=drawing)


def _graph(entries: Sequence[Entry]) -> graph.GraphLayout | None:
    places: dict[tuple[str, int] | None, int] = {}
    vertices = []
    for place, entry in enumerate(entries):
        after = tuple(places[call] for call in entry.inputs_from if call in places)
        vertices.append(
            graph.Vertex(entry.row.name, entry.row.kind, entry.row.verdict, entry.ratio, after)
        )
        places[entry.call] = place
    return graph.laid_out(vertices)


def verdict_of(entries: Sequence[Entry]) -> str:
    """The verdict on all of them: what diverges says more than what agrees."""
    verdicts = {entry.row.verdict for entry in entries}
    return next((word for word in ("diverge", "agree") if word in verdicts), "unchecked")


def sweep_page(
    entries: Sequence[Entry],
    source: str,
    counts: str,
    *,
    framework: str = "",
    notes: Sequence[str] = (),
    command: str = "",
) -> str:
    """All calls in a table, and those that do not agree at length."""
    shown = [
        replace(entry, drawn=drawn)
        for entry, drawn in zip(entries, affordable(entry.drawn for entry in entries), strict=True)
    ]
    return page(
        "sweep.html",
        command,
        title=f"every layer of {source}",
        entries=shown,
        graph=_graph(entries),
        counts=counts,
        verdict=verdict_of(entries),
        first=next((entry for entry in entries if entry.row.verdict == "diverge"), None),
        notes=notes,
        framework=framework,
    )
