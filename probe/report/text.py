"""A report's blocks as a page of plain text."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from probe import printable
from probe.report.blocks import Block, Line, blocks, reasons, row

if TYPE_CHECKING:
    from probe.report import Report

_NAME = 60
"""Characters of a name in a sweep."""
_FEWEST = 28
"""Columns that a sentence of a sweep begins in."""

__all__ = ["line", "lines_of", "render", "why"]

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


def why(report: "Report") -> list[str]:
    """The lines that say why a call diverges."""
    return lines_of(reasons(report))


def line(report: "Report", widths: tuple[int, int] = (26, 18)) -> str:
    """The report on one line, for a sweep, names and classes in columns of these widths; what does
    not fit is continued below it."""
    one = row(report)
    name = printable.middle(one.name, _NAME)
    head = f"{one.verdict:<9} {name:<{widths[0]}} {one.kind:<{widths[1]}} {one.shape:<17}"
    if len(head) + min(len(one.text), _FEWEST) < printable.WIDTH:
        return printable.page([f"{head} {one.text}".rstrip()])
    head = " ".join(filter(None, (f"{one.verdict:<9}", name, one.kind, one.shape)))
    if len(head) + len(one.text) < printable.WIDTH:
        return printable.page([f"{head} {one.text}".rstrip()])
    return printable.page([head, *([f"{'':<9} {one.text}"] if one.text else [])])


def lines_of(parts: Iterable[Block]) -> list[str]:
    """The blocks, apart from each other."""
    lines: list[str] = []
    for block in parts:
        lines += [""] if lines else []
        lines += [block.title] if block.title else []
        for one in block.lines:
            lines += _line(block.name, one)
    return lines


def _line(name: str, one: Line) -> Iterator[str]:
    if name not in _LAYOUT:
        start = f"{one.label}: " if one.label else 5 * " "
        yield start + one.text
        yield from (5 * " " + text for text in one.below)
        return
    indent, width, inner = _LAYOUT[name]
    label = f"{one.label:<{width}} " if width else ""
    yield (" " * indent + label + one.text).rstrip()
    yield from (" " * inner + text for text in one.below)
