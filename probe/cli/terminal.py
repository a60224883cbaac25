"""Reports as a terminal shows them: the verdict first and last, within its width, words that are
coloured too. rich is imported here alone, and only where a terminal sees what is printed."""

import os
import sys
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from probe import printable

if TYPE_CHECKING:
    from probe.report import Report
    from probe.report.blocks import Row
    from probe.report.text import Columns

__all__ = ["Rows", "coloured", "columns", "on_terminal", "report_lines", "width"]

# ruff: noqa: PLC0415 - rich waits until a terminal is known to be there.

_NARROWEST = 60
_WORDS = (
    r"(?P<diverge>^diverge\b|\bDIFFER\b)",
    r"(?P<agree>^agree\b|(?<=   )(?:agree|are equal)\b)",
    r"(?P<unchecked>^unchecked\b|\bmissing:)",
    r"(?P<why>^why:)",
    r"(?P<note>^note:|^sensitivity:)",
)
_STYLES = {
    "diverge": "bold red",
    "agree": "green",
    "unchecked": "yellow",
    "why": "bold",
    "note": "dim",
}
_FOLDED = 4
"""Agreeing layers in a row that are shown as one line."""


def on_terminal(color: str) -> bool:
    """Whether a terminal sees standard output, or it is to be taken for one."""
    return color == "always" or (color != "never" and sys.stdout.isatty())


def columns() -> int:
    """Of the page: the terminal's, from 60 to 100."""
    return min(width(), printable.WIDTH)


def width() -> int:
    """How many columns the terminal has, at least 60: what a table with long names may take."""
    return max(_NARROWEST, get_terminal_size((printable.WIDTH, 24)).columns)


def coloured(text: str, color: str) -> str:
    """The text with its verdicts in colour, as far as the terminal has any and NO_COLOR leaves
    them; what else steers a terminal is escaped."""
    text = printable.lines(text)
    if color != "always" and ("NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"):
        return text
    from rich.console import Console
    from rich.highlighter import RegexHighlighter
    from rich.text import Text
    from rich.theme import Theme

    class Words(RegexHighlighter):
        highlights = [f"(?m){word}" for word in _WORDS]  # noqa: RUF012 - as rich declares it

    environment: dict[str, str] | None = {} if color == "always" else None
    console = Console(
        force_terminal=True,
        color_system="standard",
        theme=Theme(_STYLES),
        highlight=False,
        _environ=environment,
    )
    with console.capture() as captured:
        console.print(Words()(Text(text)), soft_wrap=True, end="")
    return captured.get()


def report_lines(report: "Report", every: bool, hint: Sequence[str] = ()) -> str:
    """A check: its verdict in one line, the cause, the report, a hint, and the first line again."""
    from probe.report.blocks import headline
    from probe.report.text import cause_first

    first = headline(report, columns())
    return printable.page([first, "", *cause_first(report, every), "", *hint, first], columns())


class Rows:
    """The rows of a sweep; runs of agreeing layers are one line, unless ``every`` is asked for."""

    def __init__(self, every: bool, laid_out: "Columns"):
        self._every = every
        self._columns = laid_out
        self._run: list[Row] = []
        self._largest = 0.0

    def add(self, report: "Report") -> Iterator[str]:
        """The lines to print now."""
        from probe.report.blocks import row

        columns = row(report)
        if columns.verdict == "agree" and not self._every and "NaN" not in columns.text:
            self._run.append(columns)
            ratios = (comparison.ratio for comparison in report.comparisons.values())
            self._largest = max(self._largest, *ratios, 0.0)
            return
        yield from self.end()
        yield self._row(columns)

    def end(self) -> Iterator[str]:
        """What is left of a run."""
        run, largest = self._run, self._largest
        self._run, self._largest = [], 0.0
        if len(run) < _FOLDED:
            yield from map(self._row, run)
            return
        width = max(12, (self._columns.page - 52) // 2)
        first, last = (printable.middle(entry.name, width) for entry in (run[0], run[-1]))
        told = f"up to {largest:.2g} x the allowance" if largest else "equal"
        yield printable.page(
            [f"agree     {len(run)} calls, {first} to {last}: {told}"], self._columns.page
        )

    def _row(self, row: "Row") -> str:
        from probe.report.text import laid_out

        return laid_out(row, self._columns)
