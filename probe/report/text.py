"""A report's blocks as a page of plain text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probe import printable
from probe.report.blocks import Block, Line, Row, blocks, reasons, row

if TYPE_CHECKING:
    from probe.report import Report

_NAME = 60
"""Characters of a name in a sweep."""
_SAID = 26
"""Columns of what is said of a call that agrees."""
_FEWEST = 28
"""Columns that a sentence of a sweep begins in."""
_SHAPE = 17
_LEAST = 16
"""Columns of a name, below which others are left out for it."""

__all__ = [
    "Columns",
    "cause_first",
    "columns_for",
    "laid_out",
    "line",
    "lines_of",
    "render",
    "why",
]

_LAYOUT = {
    "layer": (0, 10, 13),
    "weights": (2, 18, 4),
    "parties": (2, 14, 0),
    "pairs": (2, 28, 0),
    "worst": (2, 14, 0),
    "verdict": (0, 0, 0),
}
"""Of a block: how far its lines are indented, how wide their names are, how far what is below them
is indented. The lines of others are NAME: TEXT."""


def render(report: "Report", every: bool = False) -> str:
    """The whole report; with ``every`` all weights and calls."""
    return printable.page(lines_of(blocks(report, every)))


def cause_first(report: "Report", every: bool = False) -> list[str]:
    """The lines of a report whose verdict stands above them: the cause comes before all else."""
    return lines_of(sorted(blocks(report, every), key=lambda block: block.name != "why"))


def why(report: "Report") -> list[str]:
    """The lines that say why a call diverges."""
    return lines_of(reasons(report))


@dataclass(frozen=True)
class Columns:
    """How wide the columns of a sweep are; 0: left out."""

    name: int = 26
    kind: int = 18
    shape: int = _SHAPE
    page: int = printable.WIDTH
    short: bool = False
    """Whether what is longer is shortened in the middle; otherwise it is continued below."""


def columns_for(name: int, kind: int, page: int, short: bool) -> Columns:
    """For names and classes of at most these lengths. Where ``short``, a narrow page has no shapes,
    and a narrower one no classes."""
    name, kind = max(8, name), min(max(8, kind), 18)
    for kinds, shapes in ((kind, _SHAPE), (kind, 0), (0, 0)):
        taken = 10 + sum(width + 1 for width in (kinds, shapes) if width)
        room = page - taken - 1 - _SAID
        if not short or room >= min(name, _LEAST):
            break
    return Columns(min(name, room), kinds, shapes, page, short)


def line(report: "Report", columns: Columns | None = None) -> str:
    """The report on one line, for a sweep; what does not fit is continued below it."""
    return laid_out(row(report), columns or Columns())


def laid_out(row: Row, columns: Columns) -> str:
    """A row in its columns; what is too long for one takes from the room of the next."""
    name = printable.middle(row.name, columns.name if columns.short else _NAME)
    if columns.short and columns.kind:
        kind = printable.middle(row.kind, columns.kind)
    else:
        kind = row.kind
    cells = ((name, columns.name), (kind, columns.kind), (row.shape, columns.shape))
    begun, start = f"{row.verdict:<10}", 10
    parts, aligned = [begun], True
    for text, width in cells:
        if width:
            aligned = len(begun) == start  # else a shape would stand beside its column
            start += width + 1
            begun = f"{begun}{text} ".ljust(start)
            parts.append(text)
    aligned = aligned or not columns.shape
    if aligned and len(begun) + min(len(row.said), _FEWEST) <= columns.page:
        return printable.page([f"{begun}{row.said}".rstrip()], columns.page)
    if len(row.said) > _SAID:
        return printable.page([begun.rstrip(), f"{'':<10}{row.said}"], columns.page)
    *most, shape = parts if columns.shape else [*parts, ""]
    below = f"{shape:<{columns.shape}} " if columns.shape else ""
    below = f"{'':<{start - len(below)}}{below}{row.said}"
    return printable.page([f"{most[0]}{' '.join(most[1:])}", below], columns.page)


def lines_of(parts: Iterable[Block]) -> list[str]:
    """The blocks, apart from each other."""
    lines: list[str] = []
    for block in parts:
        if lines:
            lines += [""]
        if block.title:
            lines += [block.title]
        for line in block.lines:
            lines += _line(block.name, line)
    return lines


def _line(name: str, line: Line) -> Iterator[str]:
    if name not in _LAYOUT:
        start = f"{line.label}: " if line.label else 5 * " "
        yield start + line.text
        yield from (5 * " " + text for text in line.below)
        return
    indent, width, inner = _LAYOUT[name]
    label = f"{line.label:<{width}} " if width else ""
    yield (" " * indent + label + line.text).rstrip()
    yield from (" " * inner + text for text in line.below)
