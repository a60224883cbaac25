"""Names and text of files, of which nothing may become code: an identifier comes from one function,
a string from JSON, and a comment holds no quote, no backslash and no new line."""

import builtins
import json
import keyword
import re
from collections.abc import Collection, Iterable, Sequence

from probe import printable
from probe.description.description import Site

__all__ = ["Names", "assigned_names", "endings", "identifier", "quoted", "words"]

_RESERVED = {
    *keyword.kwlist,
    *keyword.softkwlist,
    *dir(builtins),
    *"np math Path sys data load sliding_window_view erf mine".split(),
    *"expected allowance same off worst largest names name array compare difference".split(),
    *"sigmoid softmax softplus beyond failed number yours".split(),
}
"""What the script itself has by a name."""
_LONGEST = 60


def identifier(text: str) -> str:
    """The text as a name of Python, in letters, digits and underscores of ASCII; one that is a
    keyword, a builtin or the script's own ends with an underscore."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", text[:4000]).strip("_")[:_LONGEST].strip("_")
    if not word:
        word = "value"
    if word[0].isdigit():
        word = f"n{word}"
    if word in _RESERVED:
        return f"{word}_"
    return word


def quoted(text: str) -> str:
    """The text as a string literal of ASCII."""
    return json.dumps(text)


def words(text: str) -> str:
    """The text for a comment or a docstring."""
    return printable.line(text, 400).replace("\\", "/").replace('"', "'")


def endings(names: Iterable[str], least: int = 1) -> dict[str, str]:
    """For each path the shortest ending that no other has, of ``least`` parts or more, none of
    which begins with a digit."""
    parts = {name: [part for part in re.split(r"[./:]+", name) if part] for name in names}
    found: dict[str, str] = {}
    counts: dict[tuple[str, ...], int] = {}
    for pieces in parts.values():
        for start in range(len(pieces)):
            ending = tuple(pieces[start:])
            counts[ending] = counts.get(ending, 0) + 1
    for name, pieces in parts.items():
        start = max(0, len(pieces) - least)
        while start > 0 and (counts[tuple(pieces[start:])] > 1 or not pieces[start][:1].isalpha()):
            start -= 1
        found[name] = "_".join(pieces[start:])
    return found


class Names:
    """The names that are taken."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self.taken = set(taken)

    def new(self, text: str) -> str:
        """A name like the text that nothing has, with a number where something has it."""
        word = identifier(text)
        found, count = word, 1
        while found in self.taken:
            count += 1
            found = f"{word.rstrip('_')}_{count}"
        self.taken.add(found)
        return found


def assigned_names(sites: Sequence[Site], position: int, count: int) -> list[str]:
    """What the model's own source calls the outputs of a step: of the last that its line makes,
    where the line assigns so many; [] else."""
    site = sites[position]
    after = sites[position + 1] if position + 1 < len(sites) else None
    if not site.function or (after is not None and after.code == site.code):
        return []
    found = _ASSIGNMENT.match(site.code.partition(": ")[2])
    targets = [] if found is None else [target.strip() for target in found[1].split(",")]
    return targets if len(targets) == count else []


_ASSIGNMENT = re.compile(r"((?:[^\W\d]\w*\s*,\s*)*[^\W\d]\w*)\s*[-+*/@]?=(?!=)")
