"""Two mistakes at once of which one at least is a change that nobody listed.

Thousands of such changes are looked at one by one, and what each does to some elements of the
output is kept. Two of which the effects add up to the difference are made together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe.diagnosis.scoring import Scored, View, score
from probe.diagnosis.search import LookedAt, MistakeSearch
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.rewriting import of_parameters
from probe.ops.step import Step
from probe.trial.case import Case, once
from probe.trial.change import Change
from probe.trial.edit import Edit
from probe.trial.fit import difference_of, sample
from probe.trial.flow import flow_of
from probe.trial.prices import CANDIDATE, CHANGE

__all__ = ["pairs_of_changes"]

_FIRSTS, _SECONDS = 24, 60
"""Of how many halves that are most like the difference what they leave is looked at, and how many
others are made together with each."""


class _Half(NamedTuple):
    """One of two mistakes as a change of a reading of the layer."""

    scored: Scored
    change: Change
    effect: np.ndarray


def pairs_of_changes(scored: Sequence[Scored], search: MistakeSearch) -> list[Scored]:
    """The first pair of a change and another one, or a mistake with a name, that reproduces the
    observation."""
    view = search.part
    some = sample(view.case, view.allowed)
    if some is None or not np.ptp(some.observed):  # many pairs give all zeros
        return []
    difference = some.observed - some.healthy
    listed = {_key(x.effect): x for x in reversed(scored) if x.effect is not None}
    for reading in dict.fromkeys(looked_at.reading for looked_at in search.looked_at):
        halves = _distinct(
            [*_named(scored, view.case, reading), *_late(search.looked_at, reading, listed)]
        )
        flow, numbers = flow_of(reading), of_parameters(reading)
        for pair in _in_turn(halves, difference):
            if not search.budget.spend(CHANGE):
                return []
            if not numbers.isdisjoint({*pair[0].change.places} & {*pair[1].change.places}):
                continue  # of a parameter that is another nothing is known but what it is
            change = all_of([half.change for half in pair], reading.steps)
            tried = None if change is None else flow.tried(change)
            if change is not None and tried is not None and tried.near:
                found = _scored(view, search, reading.edit_of(change, ""), pair)
                if found is not None and found.exact:
                    return [found]
    return []


def _in_turn(halves: Sequence[_Half], difference: np.ndarray) -> Iterator[tuple[_Half, _Half]]:
    """Each of those that are most like the difference with that which is most like what it leaves,
    then with the next, and so on."""
    if not halves:
        return
    effects = np.stack([half.effect for half in halves]).astype(np.float64)
    units = effects / np.maximum(np.linalg.norm(effects, axis=1, keepdims=True), 1e-300)
    firsts = np.argsort(-(units @ difference), kind="stable")[:_FIRSTS]
    seconds = [
        np.argsort(-(units @ (difference - effects[first])), kind="stable")[:_SECONDS]
        for first in firsts
    ]
    seen = set[frozenset[int]]()
    for turn in zip(*seconds, strict=True):
        for first, second in zip(firsts, turn, strict=True):
            pair = frozenset((int(first), int(second)))
            if len(pair) == 2 and pair not in seen:
                seen.add(pair)
                yield halves[first], halves[second]


def _late(
    looked_at: Iterable[LookedAt], reading: Case, listed: Mapping[bytes, Scored]
) -> Iterator[_Half]:
    """The changes of a reading, under the names of listed mistakes that do the same."""
    for hypothesis, order, of, change, effect in looked_at:
        if of is reading:
            edit = reading.edit_of(change, hypothesis.slug)
            own = Scored(hypothesis, edit, order, -1)
            yield _Half(listed.get(_key(effect), own), change, effect)


def _named(scored: Iterable[Scored], case: Case, reading: Case) -> Iterator[_Half]:
    """The mistakes with names that are changes of steps which a reading leaves as they are."""
    for candidate in scored:
        effect = candidate.effect
        if effect is not None and np.isfinite(effect).all() and not candidate.hypothesis.whole:
            change = _as_change(candidate.edit, case, reading)
            if change is not None:
                yield _Half(candidate, change, effect)


def _as_change(edit: Edit, case: Case, reading: Case) -> Change | None:
    """The ops that an edit exchanges, in a reading of the layer that has the same steps."""
    if len(edit.steps) != len(case.steps) or edit.inputs is not case.inputs or edit.fitted:
        return None
    places = _places(reading)
    steps = dict[int, Step]()
    for own, changed in zip(case.steps, edit.steps, strict=True):
        place = places.get(id(own.op))
        if own is not changed and (place is None or own.inputs != changed.inputs):
            return None
        if own is not changed and place is not None:
            steps[place] = Step(changed.op, reading.steps[place].sources(place))
    if not steps:
        return None
    return Change(edit.claim, "", steps)


@once
def _places(case: Case) -> dict[int, int]:
    """The steps by their ops."""
    return {id(step.op): place for place, step in enumerate(case.steps)}


def _distinct(halves: Iterable[_Half]) -> list[_Half]:
    """The first of those that have the same effect."""
    first = dict[bytes, _Half]()
    for half in halves:
        first.setdefault(_key(half.effect), half)
    return list(first.values())


def _key(effect: np.ndarray) -> bytes:
    """Equal for effects that differ by rounding alone."""
    most = float(np.abs(effect).max(initial=0.0)) or 1.0
    exponent = np.float32(np.round(np.log2(most), 3))
    return exponent.tobytes() + np.round(effect / most * 1e4).astype(np.int16).tobytes()


def _scored(
    view: View, search: MistakeSearch, edit: Edit, pair: tuple[_Half, _Half]
) -> Scored | None:
    first, second = (half.scored for half in pair)
    edit = replace(edit, claim=second.edit.claim, main=second.edit.main or second.hypothesis.slug)
    search.budget.charge(CANDIDATE)
    both = Scored(second.hypothesis, edit, second.order, -1, also=(first,))
    return score(view, edit, both, None, difference_of(view.case))
