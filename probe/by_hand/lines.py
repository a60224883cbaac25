"""A mistake as lines of code: what differs between the script of a layer and that of the layer with
the mistake in it."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from probe.by_hand.mistake_writer import MistakeWriter
from probe.by_hand.registry import Unwritten
from probe.by_hand.script import Computation, HandScript
from probe.by_hand.script_file import targets_of
from probe.by_hand.trial import holds
from probe.by_hand.writer import written

__all__ = ["MistakeLines", "mistake_lines"]

MistakeLines = tuple[tuple[str, str], ...]
"""What yours does and what the layer does, a line each; "" where one of them has no such line."""

_MOST = 8
"""So many lines still show a mistake, more of them another layer."""
_FITTED = 1e-5
"""How far a value may lie from what the mistake gives, as a share of the largest: numbers that were
fitted are shown in fewer digits."""
_TRIED = 1 << 22
"""Elements of all values up to which the lines are run before they are shown."""


def mistake_lines(layer: Computation, mistaken: Computation) -> MistakeLines:
    """The lines in which two layers differ, () where they cannot be written, where they are many,
    or where what is written does not give the values."""
    healthy = written(layer)
    try:
        wrong = MistakeWriter(mistaken, layer).script()
    except Unwritten:
        return ()
    code = _code(healthy)
    pairs = tuple(_pairs(_named_alike(_code(wrong), code), code))
    text = "\n".join(line for pair in pairs for line in pair)
    if not 0 < len(pairs) <= _MOST or "load(" in text or _names_more(text, wrong, healthy):
        return ()
    if _size(layer) + _size(mistaken) <= _TRIED:
        if not (holds(layer, healthy) and holds(mistaken, wrong, _FITTED)):
            return ()
    return pairs


def _names_more(text: str, wrong: HandScript, right: HandScript) -> bool:
    """Whether lines name an array that is loaded for the mistake alone: they do not tell it."""
    loaded, own = (
        {name for statement in script.loads for name in targets_of(statement)}
        for script in (wrong, right)
    )
    stored = {name for name in loaded if name.startswith("stored_")}
    return any(re.search(rf"\b{name}\b", text) for name in loaded - own - stored)


def _code(script: HandScript) -> list[str]:
    """The lines without comments: what is computed, weights among it."""
    loads = [line for statement in script.loads for line in statement.lines]
    made = [line for line in loads if "load(" not in line]
    return [*made, *(line for statement in script.statements for line in statement.lines)]


def _named_alike(wrong: Sequence[str], right: Sequence[str]) -> list[str]:
    """The lines with the names of the layer's own for what is the same: a step that was left out,
    or put behind, then changes no line but its own."""
    names: dict[str, str] = {}
    found = []
    for at, line in enumerate(wrong):
        target, assigned, text = line.partition(" = ")
        for name, other in names.items():
            text = re.sub(rf"\b{name}\b", other, text)
        if assigned and target.isidentifier():
            names.pop(target, None)
            name = _own_name(target, text, wrong[at + 1 :], right, names)
            if name != target:
                names[target] = target = name
        found.append(f"{target}{assigned}{text}")
    return found


def _own_name(
    target: str, text: str, behind: Sequence[str], right: Sequence[str], names: Mapping[str, str]
) -> str:
    """What the layer's own script calls what a line gives: by the line that computes the same, or,
    of a line that it lacks, the name that this changes for what follows."""
    own = {made: name for name, _, made in (line.partition(" = ") for line in right)}
    if f"{target} = {text}" in right:  # of two lines that compute the same it is this one
        return target
    if text in own:
        return own[text]
    if target in own.values():
        return target
    taker = next((line for line in behind if re.search(rf"\b{target}\b", line)), "")
    taker = taker.partition(" = ")[2]
    for name, other in names.items():
        taker = re.sub(rf"\b{name}\b", other, taker)
    for name in dict.fromkeys(re.findall(r"\b[a-zA-Z_]\w*\b", text)):
        if name in own.values() and re.sub(rf"\b{target}\b", name, taker) in own:
            return str(name)
    return target


def _pairs(wrong: Sequence[str], right: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The lines that only one of them has, those together that assign the same name."""
    yours, layers = _differing(wrong, right)
    for line in yours:
        target = line.partition(" = ")[0]
        same = next((other for other in layers if other.partition(" = ")[0] == target), "")
        if same:
            layers.remove(same)
        if line != same:
            yield line.strip(), same.strip()
    yield from (("", line.strip()) for line in layers)


def _differing(wrong: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    matcher = difflib.SequenceMatcher(None, wrong, right, autojunk=False)
    yours, layers = list[str](), list[str]()
    for kind, first, end, other, stop in matcher.get_opcodes():
        if kind != "equal":
            yours += wrong[first:end]
            layers += right[other:stop]
    return yours, layers


def _size(computation: Computation) -> int:
    return sum(np.size(y) for outputs in computation.values for y in outputs)
