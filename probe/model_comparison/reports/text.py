"""A comparison of two models as a page of plain text: a table in execution order, then the sources
in full."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from probe import printable
from probe.model_comparison.reports.blocks import PairRow, blocks, pair_block, rows
from probe.report.blocks import Block

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison, Pair

__all__ = ["pair_text", "render"]

_NUMBERS, _LEAST, _COMMON = 36, 4, 31
"""Columns beside the layers; how many agreeing pairs in a row are told as one; and the columns of a
side where names need no more."""
_FORMAT_WIDE = 9
_FORMAT = "format: the error that B's number format is expected to make, of A's deviation"


def render(
    comparison: "ModelComparison", fold: bool, page: int = printable.WIDTH, wide: int | None = None
) -> str:
    """The whole report within so many columns, the sources first; with ``fold`` a run of pairs that
    agree is one line. ``wide`` is how many columns the table may take, where that is more."""
    sides, *rest = blocks(comparison)
    sources = [block for block in rest if block.name == "source"]
    others = [block for block in rest if block.name != "source"]
    lines = [*_block(sides), *_apart(sources), "", *_pairs(comparison, fold, max(page, wide or 0))]
    if others and others[0].name == "unpaired":
        lines += _block(others.pop(0))
    return printable.page([*lines, *_apart(others)], page)


def _apart(several: Sequence[Block]) -> Iterator[str]:
    """Blocks with an empty line before each."""
    for block in several:
        yield ""
        yield from _block(block)


def _pairs(comparison: "ModelComparison", fold: bool, page: int) -> Iterator[str]:
    """The table with its legend. Names are shortened to what a page has room for."""
    table = rows(comparison)
    room = (page - _NUMBERS - 2) // 2
    names = (len(printable.line(name)) for row in table for name in (row.a, row.b))
    yield from _table(table, fold, min(room, max(_COMMON, *names, 0)))
    if table:
        yield _legend(comparison)
    if any(row.rounding for row in table):
        yield _FORMAT


def _legend(comparison: "ModelComparison") -> str:
    if not comparison.pairs[0].computed:
        return (
            "local: B's numbers against what a conversion makes of A's; in units of the allowance"
        )
    side, other = "AB" if comparison.pairs[0].computed == "A" else "BA"
    return (
        f"local: {side}'s layers on {other}'s tensors; propag.: {side}'s own tensors; in units of "
        "the allowance"
    )


def pair_text(pair: "Pair", comparison: "ModelComparison") -> str:
    """What is said of one pair."""
    return printable.page([*_block(pair_block(pair, comparison))])


def _block(block: Block) -> Iterator[str]:
    indent = "  " if block.title else ""
    if block.title:
        yield block.title
    for line in block.lines:
        if line.label:
            text = f"{indent}{line.label}: {line.text}"
        else:
            text = f"{indent}{line.text}"
        yield printable.Whole(text) if line.copied else text
        yield from line.below


def _is_usual(row: PairRow) -> bool:
    """Whether nothing is to be said of a pair: it agrees, and not by a tolerance."""
    return row.verdict == "agree" and not row.local_ratio > 1


def _table(table: Sequence[PairRow], fold: bool, wide: int) -> Iterator[str]:
    rounds = any(row.rounding for row in table)
    wide -= _FORMAT_WIDE // 2 * rounds
    more = f"{'format':>{_FORMAT_WIDE}}" * rounds
    heading = f"{'A':<{wide}} {'B':<{wide}} {'local':>8} {'propag.':>8}{more}  verdict"
    yield printable.Whole(heading)
    for agrees, group in groupby(table, key=_is_usual):
        run = list(group)
        if fold and agrees and len(run) >= _LEAST:
            known = (row.local_ratio for row in run if not math.isnan(row.local_ratio))
            most = max(known, default=0.0)
            ends = f"{run[0].a} to {run[-1].a}"
            yield f"  {len(run)} pairs agree, {ends}: local at most {most:.2g} x the allowance"
            continue
        for row in run:
            verdict = f"{row.verdict}{', source' if row.source else ''}"
            more = f"{row.rounding or '-':>{_FORMAT_WIDE}}" * rounds
            a, b = (printable.middle(printable.line(name), wide) for name in (row.a, row.b))
            numbers = f"{row.local:>8} {row.propagated:>8}{more}  {verdict}"
            yield printable.Whole(f"{a:<{wide}} {b:<{wide}} {numbers}")
