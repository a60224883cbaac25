"""A comparison of two models as a page of plain text: a table in execution order, then the sources
in full."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from probe import printable
from probe.model_comparison.reports.blocks import PairRow, blocks, pair_block, rows
from probe.report.blocks import Block

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison, Pair

__all__ = ["pair_text", "render"]

_NUMBERS, _LEAST = 36, 4
"""Columns beside the layers; and how many agreeing pairs in a row are told as one."""
_FORMAT_WIDE = 9
_FORMAT = "format: the error that B's number format is expected to make, of A's deviation"


def render(comparison: "ModelComparison", fold: bool, page: int = printable.WIDTH) -> str:
    """The whole report within so many columns; with ``fold`` a run of pairs that agree is one
    line."""
    sides, *rest = blocks(comparison)
    table = rows(comparison)
    lines = [
        *_block(sides),
        "",
        *_table(table, fold, (page - _NUMBERS - 2) // 2),
        *([_legend(comparison)] if table else []),
        *([_FORMAT] if any(row.rounding for row in table) else []),
    ]
    for block in rest:
        lines += [] if block.name == "unpaired" else [""]
        lines += _block(block)
    return printable.page(lines, page)


def _legend(comparison: "ModelComparison") -> str:
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


def _table(table: Sequence[PairRow], fold: bool, wide: int) -> Iterator[str]:
    rounds = any(row.rounding for row in table)
    wide -= _FORMAT_WIDE // 2 * rounds
    more = f"{'format':>{_FORMAT_WIDE}}" * rounds
    yield f"{'A':<{wide}} {'B':<{wide}} {'local':>8} {'propag.':>8}{more}  verdict"
    for agrees, group in groupby(table, key=lambda row: row.verdict == "agree"):
        run = list(group)
        if fold and agrees and len(run) >= _LEAST:
            most = max((row.local_ratio for row in run if row.local_ratio <= 1), default=0.0)
            ends = f"{run[0].a} to {run[-1].a}"
            yield f"  {len(run)} pairs agree, {ends}: local at most {most:.2g} x the allowance"
            continue
        for row in run:
            verdict = f"{row.verdict}{', source' if row.source else ''}"
            more = f"{row.rounding or '-':>{_FORMAT_WIDE}}" * rounds
            a, b = (printable.middle(printable.line(name), wide) for name in (row.a, row.b))
            yield f"{a:<{wide}} {b:<{wide}} {row.local:>8} {row.propagated:>8}{more}  {verdict}"
