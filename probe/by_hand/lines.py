"""A mistake as lines of code: what differs between the script of a layer and that of the layer with
the mistake in it."""

import re
from collections.abc import Callable, Collection

import numpy as np

from probe.by_hand.line_pairs import MistakeLines, line_pairs
from probe.by_hand.mistake_writer import MistakeWriter
from probe.by_hand.registry import Unwritten
from probe.by_hand.script import Computation, HandScript
from probe.by_hand.script_file import targets_of
from probe.by_hand.trial import holds, same_values
from probe.by_hand.writer import HandWriter

__all__ = ["MistakeLines", "mistake_lines"]

_MOST = 12
"""So many lines still show a mistake, more of them another layer."""
_FITTED = 1e-5
"""How far a value may lie from what the mistake gives, as a share of the largest: numbers that were
fitted are shown in fewer digits."""
_TRIED = 1 << 22
"""Elements of all values up to which the lines are run before they are shown."""


def mistake_lines(layer: Computation, mistaken: Computation) -> MistakeLines:
    """The lines in which two layers differ, () where they cannot be written, where they are many,
    or where what is written does not give the values."""
    writer = HandWriter(layer, {})
    healthy = writer.script()
    try:
        other = MistakeWriter(mistaken, writer)
        wrong = other.script()
    except Unwritten:
        return ()
    again = _assigned_again(wrong) | _assigned_again(healthy)
    places = {None: "new"} | {step: str(step) for step in range(len(layer.steps))}
    yours = _code(wrong, again, lambda step: places[other.place(step)])
    layers = [*other.patterns, *_code(healthy, again, str)]
    pairs = _as_written(line_pairs(yours, layers, _MOST))
    if len(pairs) > 1 and _size(layer) <= _TRIED:
        pairs = _that_tell(pairs, healthy)
    text = "\n".join(line for pair in pairs for line in pair)
    if not 0 < len(pairs) <= _MOST or "load(" in text or _names_more(text, wrong, healthy):
        return ()
    if _size(layer) + _size(mistaken) <= _TRIED:
        if not (holds(layer, healthy, _FITTED) and holds(mistaken, wrong, _FITTED)):
            return ()
    return pairs


def _that_tell(pairs: MistakeLines, healthy: HandScript) -> MistakeLines:
    """The pairs without those of which yours gives the layer's own value from what the layer has at
    that line: another name for the same. All of them where none is left."""
    at: dict[str, str] = {}
    for yours, layers in pairs:
        target, assigned, made = yours.partition(" = ")
        if layers and assigned and target.isidentifier():
            at[layers] = made.partition("  # ")[0]
    same = same_values(healthy, at)
    return tuple(pair for pair in pairs if pair[1] not in same) or pairs


def _names_more(text: str, wrong: HandScript, right: HandScript) -> bool:
    """Whether lines name an array that is loaded for the mistake alone: they do not tell it."""
    loaded, own = (
        {name for statement in script.loads for name in targets_of(statement)}
        for script in (wrong, right)
    )
    stored = {name for name in loaded if name.startswith("stored_")}
    return any(re.search(rf"\b{name}\b", text) for name in loaded - own - stored)


def _code(script: HandScript, again: Collection[str], place: Callable[[int], str]) -> list[str]:
    """The lines without comments: what is computed, weights among it. Behind the names that are
    assigned again stands the step of the layer that assigned them last."""
    loads = [line for statement in script.loads for line in statement.lines]
    made = [line for line in loads if "load(" not in line]
    last: dict[str, str] = {}

    def numbered(name: re.Match[str]) -> str:
        return name[0] + last.get(name[0], "")

    for statement in script.statements:
        for line in statement.lines:
            target, assigned, text = line.partition(" = ")
            if not assigned or target not in again:
                made.append(_NAME.sub(numbered, line))
                continue
            text = _NAME.sub(numbered, text)
            last[target] = f"{_AT}{place(statement.step)}"
            made.append(f"{target}{last[target]} = {text}")
    return made


_NAME, _AT = re.compile(r"(?<![.\w])[a-z]\w*"), "_of_step_"


def _assigned_again(script: HandScript) -> set[str]:
    """The names that several steps assign."""
    by: dict[str, set[int]] = {}
    for statement in script.statements:
        for name in targets_of(statement):
            by.setdefault(name, set()).add(statement.step)
    return {name for name, steps in by.items() if len(steps) > 1}


def _as_written(pairs: MistakeLines) -> MistakeLines:
    """The pairs without the numbers of steps behind names."""
    found = [tuple(re.sub(rf"{_AT}\w+", "", line) for line in pair) for pair in pairs]
    return tuple((yours, layers) for yours, layers in dict.fromkeys(found) if yours != layers)


def _size(computation: Computation) -> int:
    return sum(np.size(y) for outputs in computation.values for y in outputs)
