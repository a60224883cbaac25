"""A mistake as lines of code: what differs between the script of a layer and that of the layer with
the mistake in it."""

import re

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
        wrong = MistakeWriter(mistaken, writer).script()
    except Unwritten:
        return ()
    pairs = line_pairs(_code(wrong), _code(healthy), _MOST)
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


def _code(script: HandScript) -> list[str]:
    """The lines without comments: what is computed, weights among it."""
    loads = [line for statement in script.loads for line in statement.lines]
    made = [line for line in loads if "load(" not in line]
    return [*made, *(line for statement in script.statements for line in statement.lines)]


def _size(computation: Computation) -> int:
    return sum(np.size(y) for outputs in computation.values for y in outputs)
