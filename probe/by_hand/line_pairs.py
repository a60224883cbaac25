"""The lines in which two scripts differ, side by side."""

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["MistakeLines", "line_pairs"]

MistakeLines = tuple[tuple[str, str], ...]
"""What yours does and what the layer does, a line each; "" where one of them has no such line."""

_WIDE = 140
"""So many characters are still a line."""
_REPEATED = 3
"""From so many lines on that differ in numbers alone the first stands for all."""


class _ScriptLine(NamedTuple):
    text: str
    """As it stands in the script."""
    shown: str
    """With the lines in it that only make what it takes."""


def line_pairs(wrong: Sequence[str], right: Sequence[str], most: int) -> MistakeLines:
    """The lines that only one of them has, those together that assign the same name; without those
    of the layer that the other does not need, where they are more than ``most``."""
    yours, layers = _differing(wrong, right)
    pairs = _paired(_joined(yours, wrong, right), _joined(layers, right, wrong))
    found = [*_not_repeated(dict.fromkeys(pairs))]
    if len(found) > most:
        names = " ".join(wrong)
        found = [pair for pair in found if pair[0] or re.search(_named(_target(pair[1])), names)]
    return tuple(found)


def _differing(wrong: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    matcher = difflib.SequenceMatcher(None, wrong, right, autojunk=False)
    yours, layers = list[str](), list[str]()
    for kind, first, end, other, stop in matcher.get_opcodes():
        if kind != "equal":
            yours += wrong[first:end]
            layers += right[other:stop]
    return yours, layers


def _joined(lines: Sequence[str], script: Sequence[str], other: Sequence[str]) -> list[_ScriptLine]:
    """The lines, each of which that makes what one line takes, and that the other script does not
    know, within that line."""
    names = {_target(line) for line in other}
    found = [_ScriptLine(line, line) for line in lines]
    for line in lines:
        name = _target(line)
        takers = [text for text in script if name and re.search(_named(name), text)]
        if name in names or len(takers) != 2 or takers[0] != line or takers[1] not in lines:
            continue
        mine = next(at for at, each in enumerate(found) if each.text == line)
        whole = next(at for at, each in enumerate(found) if each.text == takers[1])
        if (shown := _within(found[mine].shown, found[whole].shown, name)) is not None:
            found[whole] = _ScriptLine(takers[1], shown)
            del found[mine]
    return found


def _named(name: str) -> str:
    """What matches a name, and no attribute of that name."""
    return rf"(?<![.\w]){name}\b"


def _target(line: str) -> str:
    """The name that a line of the outermost level assigns, "" where it is none."""
    target, assigned, _ = line.partition(" = ")
    return target if assigned and target.isidentifier() else ""


def _within(line: str, taker: str, name: str) -> str | None:
    """A line with the expression of another in the place of its name; None where that is long."""
    if not _target(taker) or len(re.findall(_named(name), taker)) != 1:
        return None
    text = re.sub(_named(name), lambda _: f"({line.partition(' = ')[2]})", taker)
    whole = ast.unparse(ast.parse(text))
    if '"' not in whole:
        whole = whole.replace("'", '"')
    whole = re.sub(r"\.reshape\([\d, ]+\)(?=\.reshape\()", "", whole)
    return whole if len(whole) <= _WIDE else None


def _paired(
    yours: Sequence[_ScriptLine], layers: Sequence[_ScriptLine]
) -> Iterator[tuple[str, str]]:
    left = list(layers)
    for line in yours:
        target = _targets(line.text)
        alike = [other for other in left if _targets(other.text) == target]
        alike += [other for other in left if _some_of(target, _targets(other.text))]
        same = next(iter(alike), None)
        if same is not None:
            left.remove(same)
        theirs = "" if same is None else same.shown
        if line.shown != theirs:
            yield line.shown.strip(), theirs.strip()
    yield from (("", line.shown.strip()) for line in left)


def _some_of(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one line assigns several of the names of another."""
    few, many = sorted(({*names}, {*others}), key=len)
    return len(few) > 1 and few < many


def _targets(line: str) -> list[str]:
    """What a line assigns, in any order, or what it goes through."""
    if loop := re.match(r"\s*(for .* in )", line):
        return [loop[1]]
    return sorted(re.split(r" [-+*/&|]?= ", line.strip(), maxsplit=1)[0].split(", "))


def _not_repeated(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The first of those pairs of which many differ in numbers alone, with how many there are."""
    alike: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for pair in pairs:
        alike.setdefault(tuple(re.sub(r"\d+", "0", line) for line in pair), []).append(pair)
    for group in alike.values():
        yours, layers = group[0]
        if len(group) < _REPEATED or not yours or not layers:
            yield from group
        else:
            yield f"{yours}  # and so on, in {len(group)} lines", layers
