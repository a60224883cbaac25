"""Rarer changes of one step: two fields, which often have to fit to each other, and tables."""

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import combinations, product
from typing import Any

from probe.hypotheses.edits.changes import Changes
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.variants import tables
from probe.hypotheses.registry import more
from probe.hypotheses.steps.changed_steps import op_changed, other_values
from probe.ops.base import Op, Rearrangement
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


@more("changed-step")
def rarer_changes(case: Case) -> Iterator[Changes]:
    """Two fields of a step at once, or its function looked up in a table."""
    yield Changes(_changed, "changed-step")


def _changed(case: Case) -> Iterator[Change]:
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        for other in tables(op):
            words = f"{other.in_words} instead of {op_words(op)}"
            yield op_changed(case, position, words, other, ("kind", words))
        for words, changed in _pairs(case, position, op):
            yield op_changed(case, position, words, changed, None, "two fields")


def _pairs(case: Case, position: int, op: Op) -> Iterator[tuple[str, Op]]:
    """The op with two fields changed, in words."""
    if isinstance(op, Rearrangement | Scanned):
        return
    kind: Any = type(op)
    tried = [
        (part.name, list(other_values(case, position, op, part.name)))
        for part in fields(kind)
        if isinstance(getattr(op, part.name), int | tuple | str | float)
    ]
    for (one, left), (other, right) in combinations(tried, 2):
        for first, second in product(left[:_FEW], right[:_FEW]):
            yield (
                f"{one} is {first} and {other} is {second} instead of {getattr(op, one)} and "
                f"{getattr(op, other)}",
                replace(op, **{one: first, other: second}),
            )


_FEW = 8
