"""Statements as lines of a file: comments beside or above them, long ones in brackets, blank lines
between paragraphs."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from probe.by_hand.names import words
from probe.by_hand.script import Statement

__all__ = ["paragraphs", "statement_lines"]

_WIDTH = 100
_SPLIT = (" + ", " - ", " * ", " / ", " @ ", ", ")
"""Where a long expression is broken, the first that it has outside of brackets."""


def paragraphs(statements: Sequence[Statement]) -> Iterator[str]:
    """The lines: an empty one before what takes several statements, and the name of the module
    where that is another."""
    section, several = "", True
    for (title, _), group in groupby(statements, key=lambda made: (made.section, made.step)):
        made = list(group)
        if title != section:
            yield ""
            yield f"# {words(title)}" if title else "#"
            section = title
        elif len(made) > 1 or len(made[0].lines) > 1 or several:
            yield ""
        several = len(made) > 1 or len(made[0].lines) > 1
        for statement in made:
            yield from statement_lines(statement)


def statement_lines(statement: Statement) -> Iterator[str]:
    """One statement."""
    if statement.beside:
        yield from _wrapped(f"# {words(statement.beside)}")
    comment = f"# {words(statement.comment)}" if statement.comment else ""
    if len(statement.lines) > 1:
        if comment:
            yield from _wrapped(comment)
        yield from statement.lines
        return
    (line,) = statement.lines
    if not comment or len(line) + 2 + len(comment) <= _WIDTH:
        yield f"{line}  {comment}".rstrip()
        return
    if len(line) <= _WIDTH:
        yield from _wrapped(comment)
        yield line
        return
    name, _, text = line.partition(" = ")
    yield from _wrapped(comment)
    yield f"{name} = ("
    yield from (f"    {part}" for part in _broken(text))
    yield ")"


def _wrapped(comment: str) -> list[str]:
    return textwrap.wrap(comment, _WIDTH, subsequent_indent="# ", break_on_hyphens=False)


def _broken(text: str) -> list[str]:
    """An expression in parts, each of which begins with an operator."""
    for mark in _SPLIT[:-1]:
        places = [at for at in _outside(text, mark) if at]
        if places:
            ends = [0, *(at + 1 for at in places)]
            parts = [text[start:end] for start, end in zip(ends, [*ends[1:], None], strict=True)]
            return [part.rstrip() for part in parts]
    return [text]


def _outside(text: str, mark: str) -> Iterator[int]:
    """Where an operator stands outside of brackets and strings."""
    depth, quote = 0, False
    for at, character in enumerate(text):
        if character == '"':
            quote = not quote
        elif quote:
            continue
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(mark, at):
            yield at
