"""Changes that a hypothesis makes of a layer: of its steps, of what these are made of, and within
the cells of its recurrences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import filterfalse
from typing import Any, NamedTuple

import numpy as np

from probe.by_hand.registry import writes
from probe.by_hand.values import Value
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.cells_by_hand import scanned_by_hand
from probe.hypotheses.edits.grouped_changes import shared
from probe.hypotheses.edits.loops import in_one_pass
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.regrouped_steps import (
    decomposed,
    long_functions_together,
    taken_together,
)
from probe.ops.base import Arrays, Op
from probe.ops.step import Step
from probe.trial.case import Case, once
from probe.trial.change import Change
from probe.trial.edit import Steps
from probe.trial.prices import price

__all__ = ["ALL", "PARTS", "STEPS", "Changes", "readings"]

_Make = Callable[[Case], Iterator[Change]]
ALL, STEPS, PARTS = slice(None), slice(-2, -1), slice(-1, None)
"""All readings of a layer, that by its own steps, and that by what these are made of."""


class Changes(NamedTuple):
    """Changes of a layer that are tried one by one, which takes little of what scoring an edit
    does: those that give what was observed become edits, named by the slug."""

    make: _Make
    slug: str
    which: slice = ALL
    """By which of its readings they are made."""
    only_new: bool = False
    """Whether those that another mistake made, too, are left out, and those that only come near to
    what was observed."""
    every_pass: bool = False
    """Whether they are of loops: of others none is of one pass of a loop alone."""

    def readings(self, case: Case) -> Iterator[tuple[Case, bool]]:
        """The readings, and whether it is the one by what ops are made of, behind others."""
        every = readings(case)
        for number, reading in enumerate(dict.fromkeys(every[self.which])):
            yield reading, number > 0 and reading is every[-1]

    def of(
        self,
        reading: Case,
        tried_on: Case,
        inner: bool = False,
        without: Callable[[Change], bool] | None = None,
    ) -> Iterator[Change]:
        """Those of a reading, made of the case that they are tried on, and within the cells of its
        recurrences; ``inner``: only those of what its ops are made of; ``without`` some."""
        made = _with_cells(tried_on, self.make)
        if without is not None:
            made = filterfalse(without, made)
        if inner and reading.words:
            made = (change for change in made if _within(reading, change))
        changes = shared(made, tried_on)
        if self.every_pass or not tried_on.calls:
            return changes
        return (change for change in changes if not in_one_pass(tried_on, change.steps))


def _within(case: Case, change: Change) -> bool:
    """Whether a change is one of what an op is made of: others were made of its whole steps."""
    taken = {ref.step for at, step in change.steps.items() for ref in step.sources(at)}
    touched = {*change.steps, *taken, -1 if change.out is None else change.out.step}
    return not change.steps or any(case.words[at] for at in touched if 0 <= at < len(case.steps))


@once
def readings(case: Case) -> list[Case]:
    """The layer by its calls, by its steps, and by what these are made of."""
    own = long_functions_together(case)
    sums = decomposed(own, True)
    calls = [taken_together(case, depth) for depth in (1, 0)] if case.calls else []
    return [
        *(reading for reading in dict.fromkeys(calls) if reading is not case),
        *(sums, decomposed(own)),
    ]


def _with_cells(case: Case, changes: _Make) -> Iterator[Change]:
    yield from changes(case)
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        if isinstance(op, Scanned):
            yield from _in_cell(case, position, op, changes)


def _in_cell(case: Case, position: int, op: Scanned, changes: _Make) -> Iterator[Change]:
    """The changes of a cell's steps, as it stands in the middle of the sequence."""
    step = case.steps[position]
    inputs = [ref.of(case.inputs, case.values) for ref in step.sources(position)]
    middle = len(inputs[0]) // 2
    states = op.begun(inputs)
    for t in range(middle):
        states = op.next_states(inputs[0][t], states)
    given = (inputs[0][middle], *states)
    values = recompute(op.body, given, ran=case.budget.ran)
    inner = Case(
        op.body, given, values, case.observed, words=op.words, budget=case.budget, inner=True
    )
    for change in changes(inner):
        if change.out is None and not change.inputs:
            made = {position: Step(_Changed(op, change), step.sources(position))}
            named = isinstance(change.key, tuple) and change.key[0] == "parameter"
            key = ("cell", change.key if named else (change.what, change.where))
            part = (position, change.part)
            yield Change(change.claim, "", made, key=key, part=change.part and part)


@dataclass(frozen=True, eq=False)
class _Changed(Op):
    """A recurrence with a change in its cell."""

    instead_of: Scanned
    """The recurrence as it was, which depends on each time step alike."""
    change: Change
    narrows = True

    @property
    def body(self) -> Steps:
        """The cell with the change in it."""
        return self.change.applied(self.instead_of.body)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return replace(self.instead_of, body=self.body).run(*inputs)


@writes(_Changed)
def _by_hand(op: _Changed, w: Any, *values: Value) -> tuple[Value, ...]:
    made: tuple[Value, ...] = scanned_by_hand(op.instead_of, w, *values, body=op.body)
    return made


@price.register
def _(op: _Changed, inputs: Arrays, outputs: Arrays) -> float:
    return price(op.instead_of, inputs, outputs)
