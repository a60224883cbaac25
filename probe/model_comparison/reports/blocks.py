"""A comparison of two models as rows and blocks: everything that is said of it, put into words and
in order once. What renders them computes nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from probe import command_line, printable
from probe.comparison.compare import Comparison
from probe.report.blocks import Block, Line, compared, short
from probe.report.pictures import Drawn

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison, Pair

__all__ = [
    "Outcome",
    "PairRow",
    "blocks",
    "differing",
    "facts",
    "headline",
    "names_of",
    "outcome",
    "pair_block",
    "placed",
    "ratio_of",
    "relation_of",
    "rows",
]


@dataclass(frozen=True)
class PairRow:
    """A pair of tensors in columns."""

    verdict: str
    source: bool
    a: str
    b: str
    local: str
    """Both errors in units of the allowance."""
    propagated: str
    rounding: str
    """The error that B's number format is expected to make, as a part of A's deviation."""
    axes: str
    how: str
    local_ratio: float
    """NaN where it cannot be computed."""
    block: Block | None = None
    """What is said at length of a source, and of a pair that has pictures."""
    drawn: Drawn = field(default_factory=Drawn)


@dataclass(frozen=True)
class Outcome:
    """What a test of a pair is."""

    word: str
    """"failure" or "skipped"; "" where it passes."""
    said: str


def rows(comparison: "ModelComparison") -> tuple[PairRow, ...]:
    """The pairs, in execution order."""
    return tuple(_row(pair, comparison) for pair in comparison.pairs)


def _row(pair: "Pair", comparison: "ModelComparison") -> PairRow:
    at_length = pair.source or pair.drawn.histograms
    return PairRow(
        pair.verdict,
        pair.source,
        names_of(pair.a),
        names_of(pair.b),
        ratio_of(pair.local),
        ratio_of(pair.propagated),
        "" if pair.expected is None else f"{100 * pair.expected:.2g} %",
        pair.axes,
        pair.how,
        math.nan if pair.local is None else pair.local.ratio,
        pair_block(pair, comparison) if at_length else None,
        pair.drawn,
    )


def blocks(comparison: "ModelComparison") -> tuple[Block, ...]:
    """What is said beside the rows, in the order of the text: the verdict comes last."""
    return tuple(block for block in _all(comparison) if block.title or block.lines)


def facts(comparison: "ModelComparison") -> dict[str, object]:
    """The facts of all blocks, by the keys of the JSON."""
    return {name: value for block in _all(comparison) for name, value in block.facts.items()}


def _all(comparison: "ModelComparison") -> Iterator[Block]:
    """Every block, those too that have nothing to be read."""
    named = ("verdict", "ok", "sentence")
    sides = [Line("A", comparison.a), Line("B", comparison.b)]
    if comparison.how:
        sides.append(Line("input", comparison.how, comparison.inputs))
    opened = {"a": comparison.a, "b": comparison.b, "input": comparison.how}
    yield Block("sides", "", tuple(sides), opened | {"inputs": comparison.inputs})
    for source in comparison.sources:
        yield pair_block(source, comparison)
    yield Block("pairs", facts={"pairs": [_facts(pair, comparison) for pair in comparison.pairs]})
    left = [*zip("AB", comparison.unpaired, strict=True)]
    lines = (Line(f"unpaired in {side}", _several(names)) for side, names in left if names)
    unpaired = {side.lower(): names for side, names in left}
    yield Block("unpaired", "", tuple(lines), {"unpaired": unpaired})
    yield Block("note", facts={"notes": comparison.notes})
    if comparison.notes:
        yield Block("note", "", tuple(Line("note", note) for note in comparison.notes))
    effects = [*zip("AB", comparison.effect, strict=True)]
    told = (Line(f"effect on {side}", effect.sentence) for side, effect in effects if effect)
    known = {side.lower(): effect for side, effect in effects}
    yield Block("effect", "", tuple(told), {"effect": known})
    verdict = Line("", comparison.sentence, verdict=comparison.verdict)
    yield Block("verdict", "", (verdict,), {name: getattr(comparison, name) for name in named})


def pair_block(pair: "Pair", comparison: "ModelComparison") -> Block:
    """A pair in full."""
    title = f"{'source: ' * pair.source}{names_of(pair.b)} of B, for {names_of(pair.a)} of A"
    return Block("source", title, (*_lines(pair, comparison),))


def headline(comparison: "ModelComparison", width: int | None = printable.WIDTH) -> str:
    """The verdict in one line of at most 100 columns, or ``width``; None: of any length."""
    return printable.end(comparison.sentence, width)


def outcome(pair: "Pair", comparison: "ModelComparison", strict: bool = False) -> Outcome:
    """A source fails; what only inherits its fault is skipped and names it."""
    beyond = pair.propagated is not None and not pair.propagated.ok
    source = _source_before(pair, comparison)
    if not pair.source and source is not None and (beyond or pair.verdict == "diverge"):
        return Outcome("skipped", f"it inherits the difference that {names_of(source.b)} makes")
    if pair.verdict == "diverge":
        cause = ""
        if pair.findings:
            cause = f": {pair.findings[0]}"
        elif pair.differs:
            cause = f": {differing(*pair.differs[0], relation_of(pair, 0))}"
        return Outcome("failure", f"diverge: {names_of(pair.b)}{cause or f': {pair.local}'}")
    if pair.verdict == "unchecked":
        why = "; ".join(pair.notes) or comparison.sentence.partition(": ")[2]
        return Outcome("failure" if strict else "skipped", f"unchecked: {why}")
    return Outcome("", "")


def _source_before(pair: "Pair", comparison: "ModelComparison") -> "Pair | None":
    """The last source before a pair, or else the first of all."""
    before = comparison.pairs[: comparison.pairs.index(pair)]
    return next((earlier for earlier in reversed(before) if earlier.source), None) or next(
        iter(comparison.sources), None
    )


def names_of(names: Sequence[str]) -> str:
    """Layers in a row: "conv + bn"."""
    if len(names) > 3:
        return f"{names[0]} … {names[-1]} ({len(names)})"
    return " + ".join(names) or "-"


def ratio_of(comparison: Comparison | None) -> str:
    """How many times the allowance."""
    if comparison is None:
        return "-"
    return short(comparison.ratio, 2)


_SHOWN = 12


def _several(names: Sequence[str]) -> str:
    return printable.several(names, _SHOWN)


def _lines(pair: "Pair", comparison: "ModelComparison") -> Iterator[Line]:
    local = pair.local
    if local is not None:
        yield Line("local", str(local))
        if local.worst is not None and not local.ok:
            yield Line("worst", _worst(local, pair.computed))
    if pair.propagated is not None:
        yield Line("propagated", str(pair.propagated))
        if not pair.source and pair.propagated.worst is not None:
            yield Line("worst", _worst(pair.propagated))
    if pair.axes:
        more = f" ({pair.fitting} orders fit)" if pair.fitting > 1 else ""
        yield Line("axes", f"{pair.axes}{more}")
    for place, (name, a, b) in enumerate(pair.differs):
        yield Line("differs", differing(name, a, b, relation_of(pair, place)))
    for finding in pair.findings:
        yield Line("cause", str(finding))
    for note in dict.fromkeys(pair.notes):
        if note not in pair.relations:
            yield Line("", note)
    for command in filter(None, dict.fromkeys(_commands(pair, comparison))):
        yield Line("look closer", command, copied=True)


def _worst(comparison: Comparison, computed: str = "") -> str:
    """The worst element; ``computed`` is the side that is computed on the other's tensors."""
    assert comparison.worst is not None
    at = ", ".join(map(str, comparison.worst.index))
    a, b = comparison.worst.values
    of_a = " on B's tensors" * (computed == "A")
    of_b = " on A's tensors" * (computed == "B")
    return f"[{at}] A{of_a} {a:.9g}, B{of_b} {b:.9g}; allowed {comparison.worst.allowance:.2g}"


def _commands(pair: "Pair", comparison: "ModelComparison") -> Iterator[str]:
    """What checks the last layer of each side alone."""
    both = [*zip(pair.called, comparison.opened, strict=True)]
    for side, (called, opened) in enumerate(both):
        if pair.source and called is not None and opened:
            values = _values(pair, comparison, 1 - side)
            yield command_line.of_layer((*opened, *values), *called)


def _values(pair: "Pair", comparison: "ModelComparison", side: int) -> tuple[str, ...]:
    """The words that give a check of a pair's layer the array of a side that is arrays alone; of an
    .npz where all its names are those of layers."""
    opened = comparison.opened[side]
    if not (pair.given and opened):
        return ()
    if not opened[0].endswith(".npz"):
        return ("--expect", str(Path(opened[0]) / f"{pair.given}.npy"))
    called = [(other.given, other.called[1 - side]) for other in comparison.pairs]
    others = any(layer is None or layer[0] != array for array, layer in called)
    if others or comparison.unpaired[side]:
        return ()
    return ("--expect", opened[0])


def relation_of(pair: "Pair", place: int) -> str:
    """How B's numbers follow from A's, of one difference; "" where that is not known."""
    if place < len(pair.relations):
        return pair.relations[place].removesuffix(" there")
    return ""


def placed(name: str) -> str:
    """The name of what differs before its numbers, which its own end with."""
    if "[" in name:
        return f"{name}:"
    return name


def differing(name: str, a: object, b: object, relation: str = "") -> str:
    """One differing field in words: how B's follows from A's, the place, and then the numbers."""
    numbers = f"{placed(name)} {_said(a)} in A, {_said(b)} in B"
    if relation:
        return f"{relation}: {numbers}"
    return numbers


def _said(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _facts(pair: "Pair", comparison: "ModelComparison") -> dict[str, object]:
    known = {name: getattr(pair, name) for name in ("a", "b", "axes", "how", "verdict", "source")}
    return known | {
        "shape": pair.shape,
        "fitting": pair.fitting,
        "local": None if pair.local is None else compared(pair.local),
        "propagated": None if pair.propagated is None else compared(pair.propagated),
        "expected": pair.expected,
        "differs": pair.differs,
        "relations": pair.relations,
        "findings": [
            {name: getattr(finding, name) for name in ("slug", "also", "claim", "left")}
            for finding in pair.findings
        ],
        "notes": pair.notes,
        "commands": [*filter(None, dict.fromkeys(_commands(pair, comparison)))],
        "replaced": pair.replaced,
    }
