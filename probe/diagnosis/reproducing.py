"""Which of the many changes that a hypothesis makes of a layer reproduce what was observed."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from probe.diagnosis.undecided_roundings import settled
from probe.hypotheses import Hypothesis
from probe.hypotheses.edits.changes import Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.trial.case import Case
from probe.trial.change import Change
from probe.trial.edit import Edit
from probe.trial.flow import Flow, Tried, flow_of
from probe.trial.prices import CHANGE

__all__ = ["Missed", "edits_of"]

_FEW_MEMBERS = 8
"""Of how many changes that are made together each is tried to be left out."""
_MISSES, _PART = 3, 0.05
"""How many changes are kept that do not give what was observed, and as many of those that give that
share of what differs exactly: the other part may be another mistake's."""


Missed = Callable[[Case, Flow, Tried], None]
"""What is done with each change that does not give what was observed, and the reading of the layer
that it is made of."""


def edits_of(hypothesis: Hypothesis, case: Case, missed: Missed | None = None) -> Iterator[Edit]:
    """The edits of a hypothesis, and those of its changes that reproduce what was observed."""
    for found in hypothesis(case):
        if isinstance(found, Edit):
            yield found
        else:
            yield from _reproducing(case, found, missed)


def _reproducing(case: Case, changes: Changes, missed: Missed | None) -> Iterator[Edit]:
    """The edits of the changes that give what was observed, or nearly. Behind them those that come
    nearest to it of the others, which may be one of two mistakes."""
    misses = list[tuple[Case, Flow, Tried]]()
    for reading, inner in changes.readings(case):
        flow = flow_of(reading)
        of_reading = list[Tried]()
        without = flow.was_tried if changes.only_new else None
        made = changes.of(reading, flow.case, inner, without)
        keep = [partial(_keep, of_reading)]
        if missed is not None:
            keep.append(partial(missed, reading, flow))
        for change in _nearest(flow, made, keep):
            yield reading.edit_of(change, changes.slug)
        misses += ((reading, flow, tried) for tried in of_reading)
    if changes.only_new:
        return
    nearest = sorted(misses, key=lambda miss: miss[-1].off)[:_MISSES]
    in_part = sorted(misses, key=lambda miss: -miss[-1].part)[:_MISSES]
    in_part = [miss for miss in in_part if miss[-1].part > _PART]
    for reading, flow, tried in {id(miss): miss for miss in (*in_part, *nearest)}.values():
        predicted = flow.everywhere(tried.values)
        yield replace(reading.edit_of(tried.change, changes.slug), predicted=predicted)


def _nearest(
    flow: Flow, changes: Iterable[Change], missed: Sequence[Callable[[Tried], None]]
) -> Iterator[Change]:
    """The changes whose output is what was observed, or nearly; the others are ``missed``."""
    if not flow.look.anything:
        return
    found = set[Hashable]()
    for change in changes:
        if not flow.case.budget.spend(CHANGE):
            return
        tried = None if change.part in found else flow.tried(change)
        if tried is not None and tried.near:
            if change.part is not None:
                found.add(change.part)
            yield _needed(flow, change, tried.values)
        other = None if tried is None else settled(flow, tried)
        if other is not None and other is not tried:
            yield other.change
        elif tried is not None and not tried.near:
            for keep in missed:
                keep(tried)


def _needed(flow: Flow, change: Change, values: np.ndarray) -> Change:
    """Of a change at several steps that gives these values no more than it takes."""
    for left_out in change.members if len(change.members) <= _FEW_MEMBERS else ():
        rest = [member for member in change.members if member is not left_out]
        fewer = rest[0] if len(rest) == 1 else all_of(rest, flow.case.steps)
        again = None if fewer is None else flow.predicted(fewer)
        if fewer is not None and again is not None and np.array_equal(again, values):
            change = fewer
    return change


def _keep(misses: list[Tried], tried: Tried) -> None:
    """Keeps the nearest few, and those that give most of what differs exactly."""
    misses.append(tried)
    order = range(len(misses))
    nearest = sorted(order, key=lambda place: misses[place].off)[:_MISSES]
    in_part = sorted(order, key=lambda place: -misses[place].part)[:_MISSES]
    in_part = [place for place in in_part if misses[place].part > _PART]
    misses[:] = [misses[place] for place in sorted({*nearest, *in_part})]
