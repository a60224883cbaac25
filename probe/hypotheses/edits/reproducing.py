"""Which of many changes reproduce what was observed: tried on the layer's steps, taken apart, and
within the cells of its recurrences."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.flow import MISSES, Flow, Miss
from probe.hypotheses.edits.grouped_changes import shared
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.regrouped_steps import decomposed, taken_together
from probe.ops.base import Arrays, Op
from probe.ops.step import Step
from probe.trial.case import Case, once
from probe.trial.change import Change
from probe.trial.edit import Edit
from probe.trial.prices import price

__all__ = ["ALL", "PARTS", "STEPS", "flow_of", "readings", "reproducing"]

Changes = Callable[[Case], Iterator[Change]]
ALL, STEPS, PARTS = slice(None), slice(-2, -1), slice(-1, None)
"""All readings of a layer, that by its own steps, and that by what these are made of."""
_LARGE = 1 << 14
"""Elements of an output from which on one sample of a batch is looked at first."""


def reproducing(case: Case, changes: Changes, slug: str, which: slice = ALL) -> Iterator[Edit]:
    """The edits that such changes make and that give what was observed, or nearly: of the layer's
    own steps, then of those that these are made of, or of ``which`` of these. Behind them those
    that come nearest to it of the others, which may be one of two mistakes."""
    misses = list[tuple[Case, Flow, Miss]]()
    for number, whole in enumerate(dict.fromkeys(readings(case)[which])):
        flow = flow_of(whole)
        made = _with_cells(flow.case, changes)
        if number and whole.words and whole is readings(case)[-1]:
            made = (one for one in made if _within(whole, one))
        of_reading = list[Miss]()
        for one in flow.nearest(shared(made, flow.case), of_reading):
            yield whole.edit_of(one, slug)
        misses += ((whole, flow, miss) for miss in of_reading)
    for whole, flow, miss in sorted(misses, key=lambda one: one[2].off)[:MISSES]:
        predicted = flow.everywhere(miss.values)
        yield replace(whole.edit_of(miss.change, slug), predicted=predicted)


def _within(case: Case, change: Change) -> bool:
    """Whether a change is one of what an op is made of: others were made of its whole steps."""
    taken = {ref.step for at, step in change.steps.items() for ref in step.sources(at)}
    touched = {*change.steps, *taken, -1 if change.out is None else change.out.step}
    return not change.steps or any(case.words[at] for at in touched if 0 <= at < len(case.steps))


@once
def readings(case: Case) -> list[Case]:
    """The layer by its calls, by its steps, and by what these are made of."""
    sums = decomposed(case, True)
    calls = [taken_together(case, depth) for depth in (1, 0)] if case.calls else []
    return [
        *(one for one in dict.fromkeys(calls) if one is not case),
        *(sums, decomposed(case)),
    ]


@once
def flow_of(case: Case) -> Flow:
    """Of one sample where the batch is large and the layer works sample by sample."""
    if case.healthy.size > _LARGE and case.observed.ndim and len(case.observed) > 1:
        return Flow(case.sample(0) or case)
    return Flow(case)


def _with_cells(case: Case, changes: Changes) -> Iterator[Change]:
    yield from changes(case)
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        if isinstance(op, Scanned):
            yield from _in_cell(case, position, op, changes)


def _in_cell(case: Case, position: int, op: Scanned, changes: Changes) -> Iterator[Change]:
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
    for one in changes(inner):
        if one.out is None and not one.inputs:
            made = {position: Step(_Changed(op, one), step.sources(position))}
            named = isinstance(one.key, tuple) and one.key[0] == "parameter"
            key = ("cell", one.key if named else (one.what, one.where))
            part = (position, one.part)
            yield Change(one.claim, "", made, key=key, part=one.part and part)


@dataclass(frozen=True, eq=False)
class _Changed(Op):
    """A recurrence with a change in its cell."""

    instead_of: Scanned
    """The recurrence as it was, which depends on each time step alike."""
    change: Change
    narrows = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return replace(self.instead_of, body=self.change.applied(self.instead_of.body)).run(*inputs)


@price.register
def _(op: _Changed, inputs: Arrays, outputs: Arrays) -> float:
    return price(op.instead_of, inputs, outputs)
