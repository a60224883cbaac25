"""Text out of a file as it may be shown: on one line, without what steers a terminal or reorders
the text around it, and not endless."""

import re
from collections.abc import Iterable, Iterator

__all__ = [
    *("WIDTH", "Whole", "end", "kind", "line", "lines", "middle", "name", "page", "sentence"),
    "several",
]

_LINE, _SENTENCE, _NAME, _SEVERAL = 4000, 1500, 160, 20
WIDTH = 100
"""Columns of a page."""
_LABEL = re.compile(r" *(?:-> |[a-z]+: |\S.{0,34}? {2,})?")
"""What stands before the text of a line, which is continued below that text."""


def line(text: str, most: int = _LINE) -> str:
    """The text with every character that does not print as an escape such as ``\\n``; of a longer
    one the beginning and the end."""
    text = _short(text, most)
    if text.isprintable():
        return text
    return _short(_escaped(text), most)


def lines(text: str) -> str:
    """Lines that are whole as they are, each with every character that does not print as an
    escape: what goes to a terminal last."""
    return "\n".join(map(_escaped, text.split("\n")))


def sentence(text: str) -> str:
    """The same for an error, which must not fill the screen."""
    return line(text, _SENTENCE)


def name(text: str) -> str:
    """The same for the name of a layer, a weight or a class."""
    return line(text, _NAME)


def middle(text: str, most: int) -> str:
    """A longer text with what is left out of its middle as "…"."""
    kept = most - 1
    if len(text) <= most:
        return text
    return f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def end(text: str, most: int | None = WIDTH) -> str:
    """One line of at most so many columns, with "…" for what is left out at its end; None: of any
    length."""
    text = line(text)
    if most is None or len(text) <= most:
        return text
    return f"{text[: most - 2].rstrip(' ;,:(')} …"


def kind(value: object) -> str:
    """The class of a value with its article: "an int"."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def several(names: Iterable[str], most: int = _SEVERAL) -> str:
    """The first of them, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(name, names[:most])) + more


class Whole(str):
    """A line of a page that is not wrapped: a command to be copied (``probe.command_line``)."""

    __slots__ = ()


def page(lines: Iterable[str], width: int = WIDTH) -> str:
    """The lines under one another, wrapped at words; what continues a line is indented, so that
    none makes others."""
    return "\n".join(part for text in lines for part in _wrapped(text, width))


def _wrapped(text: str, width: int) -> Iterator[str]:
    whole, text = isinstance(text, Whole), line(text)
    if whole or len(text) <= width:
        yield text
        return
    from textwrap import wrap  # noqa: PLC0415 - listings start without it

    label = _LABEL.match(text)
    indent = " " * max(2, label.end() if label else 0)
    yield from wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _short(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 + 3 :]}"
