"""A report's blocks as Markdown, for the step summary of a hosted test run or an issue."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from probe import printable
from probe.report.blocks import Block, blocks

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["render"]


def render(report: "Report") -> str:
    """The verdict first, then what the text has, in its order."""
    parts = blocks(report)
    first = ("verdict", "why")
    ordered = [one for name in first for one in parts if one.name == name]
    ordered += [one for one in parts if one.name not in first]
    return "\n\n".join("\n".join(_block(one)) for one in ordered) + "\n"


def _block(block: Block) -> Iterator[str]:
    if block.name == "head":
        yield _escaped(block.title)
    elif block.name == "verdict":
        word, _, rest = block.lines[0].text.partition(": ")
        yield f"**{word}**: {_escaped(rest)}"
    elif block.name in ("why", "note", "limits"):
        for line in block.lines:
            yield (f"**{line.label}**: " if line.label else "") + _escaped(line.text)
            yield from (f"- {_escaped(text)}" for text in line.below)
    else:
        if block.title:
            yield from (f"**{_escaped(block.title)}**", "")
        yield from ("| | |", "|---|---|")
        for line in block.lines:
            cell = "<br>".join(map(_escaped, (line.text, *line.below)))
            yield f"| {_escaped(line.label)} | {cell} |"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", printable.line(text))
