"""A comparison of two models as a person reads it: a table in execution order, then the sources in
full."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from probe import printable
from probe.comparison.compare import Comparison

if TYPE_CHECKING:
    from probe.model_comparison.result import ModelComparison, Pair

__all__ = ["differing", "headline", "names_of", "ratio_of", "render", "source_lines"]

_NUMBERS, _LEAST = 36, 4
"""Columns beside the layers; and how many agreeing pairs in a row are told as one."""
_SHOWN = 12
_FORMAT_WIDE = 9
_FORMAT = "format: the error that B's number format is expected to make, of A's deviation"
_LEGEND = "local: B's layers on A's tensors; propag.: B's own tensors; in units of the allowance"


def render(comparison: "ModelComparison", fold: bool, page: int = printable.WIDTH) -> str:
    """The whole report within so many columns; with ``fold`` a run of pairs that agree is one
    line."""
    lines = [
        f"A: {comparison.a}",
        f"B: {comparison.b}",
        *([f"input: {comparison.how}"] if comparison.how else []),
        *comparison.inputs,
        "",
        *_table(comparison.pairs, fold, (page - _NUMBERS - 2) // 2),
        *([_LEGEND] if comparison.pairs else []),
        *([_FORMAT] if _rounds(comparison.pairs) else []),
        *_unpaired(comparison),
    ]
    for one in comparison.sources:
        lines += ["", *source_lines(one, comparison)]
    lines += [""] * bool(comparison.notes)
    lines += [f"note: {one}" for one in comparison.notes]
    return printable.page([*lines, "", comparison.sentence], page)


def headline(comparison: "ModelComparison", page: int = printable.WIDTH) -> str:
    """The verdict in one line."""
    text = printable.line(comparison.sentence)
    return text if len(text) <= page else f"{text[: page - 2].rstrip(' ;,:(')} …"


def _table(pairs: Sequence["Pair"], fold: bool, wide: int) -> Iterator[str]:
    rounds = _rounds(pairs)
    wide -= _FORMAT_WIDE // 2 * rounds
    more = f"{'format':>{_FORMAT_WIDE}}" * rounds
    yield f"{'A':<{wide}} {'B':<{wide}} {'local':>8} {'propag.':>8}{more}  verdict"
    for agrees, group in groupby(pairs, key=lambda one: one.verdict == "agree"):
        run = list(group)
        if fold and agrees and len(run) >= _LEAST:
            most = max(
                (one.local.ratio for one in run if one.local is not None and one.local.ok),
                default=0.0,
            )
            ends = f"{names_of(run[0].a)} to {names_of(run[-1].a)}"
            yield f"  {len(run)} pairs agree, {ends}: local at most {most:.2g} x the allowance"
            continue
        for one in run:
            told = f"{one.verdict}{', source' if one.source else ''}"
            more = f"{_part(one.expected):>{_FORMAT_WIDE}}" * rounds
            yield (
                f"{_cell(one.a, wide)} {_cell(one.b, wide)} {ratio_of(one.local):>8} "
                f"{ratio_of(one.propagated):>8}{more}  {told}"
            )


def _rounds(pairs: Sequence["Pair"]) -> bool:
    return any(one.expected is not None for one in pairs)


def _part(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2g} %"


def _cell(names: Sequence[str], wide: int) -> str:
    return f"{printable.middle(printable.line(names_of(names)), wide):<{wide}}"


def names_of(names: Sequence[str]) -> str:
    """Layers in a row: "conv + bn"."""
    if len(names) > 3:
        return f"{names[0]} … {names[-1]} ({len(names)})"
    return " + ".join(names) or "-"


def ratio_of(one: Comparison | None) -> str:
    """How many times the allowance."""
    if one is None:
        return "-"
    if one.ratio >= 1e6:
        return "inf" if one.ratio == float("inf") else ">1e6"
    return f"{one.ratio:.2g}"


def _unpaired(comparison: "ModelComparison") -> Iterator[str]:
    for side, names in zip("AB", comparison.unpaired, strict=True):
        if names:
            yield f"unpaired in {side}: {printable.several(names, _SHOWN)}"


def source_lines(pair: "Pair", comparison: "ModelComparison") -> Iterator[str]:
    """A source in full, the first line its name."""
    yield f"source: {names_of(pair.b)} of B, for {names_of(pair.a)} of A"
    local = pair.local
    if local is not None:
        yield f"  local: {local}"
        if local.worst is not None:
            worst = local.worst
            at = ", ".join(map(str, worst.index))
            yield (
                f"  worst: [{at}] A {worst.values[0]:.9g}, B on A's tensors {worst.values[1]:.9g}; "
                f"allowed {worst.allowance:.2g}"
            )
    if pair.propagated is not None:
        yield f"  propagated: {pair.propagated}"
    if pair.axes:
        more = f" ({pair.fitting} orders fit)" if pair.fitting > 1 else ""
        yield f"  axes: {pair.axes}{more}"
    for name, a, b in pair.differs:
        yield f"  differs: {differing(name, a, b)}"
    for one in pair.findings:
        yield f"  cause: {one}"
    for note in pair.notes:
        yield f"  {note}"
    for command in dict.fromkeys(_commands(pair, comparison)):
        yield f"  look closer: {command}"


def _commands(pair: "Pair", comparison: "ModelComparison") -> Iterator[str]:
    """What checks the last layer of each side alone."""
    sides = zip((comparison.a, comparison.b), (pair.a, pair.b), comparison.options, strict=True)
    for source, names, options in sides:
        if names and Path(source).exists() and names[-1] != "(root)":
            name, _, call = names[-1].partition(":")
            number = f" --call {call}" if call.isdigit() else ""
            yield f"probe {source} --layer {name}{number}{options}"


def differing(name: str, a: object, b: object) -> str:
    """One differing field in words."""
    return f"{name} {_said(a)} in A, {_said(b)} in B"


def _said(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
