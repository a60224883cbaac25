"""A report's blocks as Markdown, for the step summary of a hosted test run or an issue."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from probe import printable
from probe.report.blocks import Block, blocks

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["escaped", "fenced", "render", "rendered", "table"]


def render(report: "Report") -> str:
    """The verdict first, then what the text has, in its order."""
    return rendered(blocks(report))


def rendered(parts: Sequence[Block], *tables: str) -> str:
    """Blocks, those first that say what it comes to; ``tables`` come after these."""
    first = ("verdict", "why", "source")
    ordered = ["\n".join(_block(block)) for name in first for block in parts if block.name == name]
    rest = ["\n".join(_block(block)) for block in parts if block.name not in first]
    return "\n\n".join((*ordered, *tables, *rest)) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows below a head."""
    told = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in told)


def _block(block: Block) -> Iterator[str]:
    if block.name == "head":
        yield escaped(block.title)
    elif block.name == "verdict":
        word, _, rest = block.lines[0].text.partition(": ")
        yield f"**{word}**: {escaped(rest)}"
    elif block.name == "source":
        yield from (f"**{escaped(block.title)}**", "")
        for line in block.lines:
            text = _code(line.text) if line.copied else escaped(line.text)
            yield f"- {f'{line.label}: ' if line.label else ''}{text}"
    elif block.name in ("why", "note", "limits", "unpaired", "effect"):
        for line in block.lines:
            yield (f"**{line.label}**: " if line.label else "") + escaped(line.text)
            yield from (f"- {escaped(text)}" for text in line.below)
    else:
        if block.title:
            yield from (f"**{escaped(block.title)}**", "")
        yield from ("| | |", "|---|---|")
        for line in block.lines:
            cell = "<br>".join(map(escaped, (line.text, *line.below)))
            yield f"| {escaped(line.label)} | {cell} |"


_MARKUP = re.compile(r"[\\`*_{}\[\]<>|#&~$]|^[-+=](?=[ =-]|$)")
_NUMBERED = re.compile(r"^(\d+)([.)])(?= |$)")
_LINKED = re.compile(r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=\w:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where GitHub would make a link: of a bare address, of somebody's name, of an issue's number."""


def escaped(text: str) -> str:
    """Text that is no markup, begins no list and links to nothing."""
    text = _MARKUP.sub(r"\\\g<0>", printable.line(text))
    text = _LINKED.sub("<!-- -->", _NUMBERED.sub(r"\1\\\2", text))
    if text[:1] == " ":
        return f"&#32;{text[1:]}"
    return text


def fenced(text: str, language: str = "text") -> str:
    """Lines as a block of code, which nothing in them ends."""
    fence = _backticks(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    """Code within a line."""
    ticks = _backticks(text, 1)
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _backticks(text: str, least: int) -> str:
    """More of them than stand in a row anywhere in a text."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
