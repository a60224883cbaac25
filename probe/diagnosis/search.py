"""The search itself: every edit of every hypothesis predicted and scored, as far as its budget
goes.

Cheap looks come first: a sample of the output, and of a large batch one sample of it, whose
mistakes the whole batch confirms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from probe.diagnosis.on_other_inputs import different
from probe.diagnosis.reproducing import Missed, edits_of
from probe.diagnosis.scoring import Scored, View, freedom, on_the_whole, score, slugs_of
from probe.errors import ProbeError, our_fault
from probe.hypotheses import IN_LOOPS, PATTERNS, REGISTERED, SINGLE_CHANGES, Hypothesis
from probe.hypotheses.edits.changes import readings
from probe.hypotheses.edits.grouped_changes import changed_steps, made_together
from probe.hypotheses.edits.loops import in_one_pass
from probe.ops import Recurrence
from probe.trial.budget import Budget
from probe.trial.case import Case
from probe.trial.change import Change
from probe.trial.edit import Edit
from probe.trial.fit import Sample, difference_of, sample
from probe.trial.flow import Flow, Tried
from probe.trial.prices import CANDIDATE

__all__ = [
    "LookedAt",
    "MistakeSearch",
    "Progress",
    "confirmed",
    "in_all_layers",
    "tried_last",
    "try_all",
    "try_common",
    "try_last",
]

Progress = Callable[[str], None]


class LookedAt(NamedTuple):
    """A change that does not give what was observed, and what it does to the sample's elements."""

    hypothesis: Hypothesis
    order: int
    reading: Case
    """The layer by the steps that the change is one of."""
    change: Change
    effect: np.ndarray


_Numbered = Sequence[tuple[int, Hypothesis]]
"""Hypotheses with their places in the order in which all are tried."""

_COMMON = 0.5
"""The share of the budget for common mistakes."""
_SHARE, _SHARE_OF_BLOCK = 0.6, 0.8
"""Of what these leave this share is for what is tried last: more in a layer of several calls, where
most mistakes are with what one takes from another."""
_PAIRS = {False: 0.25, True: 0.1}
"""The share of the budget that is left for two mistakes at least, in a large layer or not: there
few of those are found."""
_AFTER, _LEAST_AFTER = 2.0, 0.2e9
"""How many times the work until a mistake that explains all is done in search of others that do,
and how much at least."""
_FIRST_TURN = 2e7
"""How much each hypothesis is given at first; then each again as much, then twice that, and so
on."""
_HARMS = 1.2
"""What a mistake made in one of several layers alike may leave."""
_VERY_LARGE = 1 << 21
"""Elements of an output from which on one sample of the batch is searched for what is tried last,
too: other weights are better told from a whole batch."""
_TURN, _TURN_OF_LARGE, _TURN_OF_WEIGHTS = 0.45, 0.3, 0.5
"""Of what is left each hypothesis of those that are tried last has this share, in a large layer, of
which none tries all, and where weights are read back."""
_OF_WEIGHTS = "other_weights"
"""The family of what is read back."""
_FOR_SINGLE, _TURN_OF_SINGLE = 0.2, 0.6
"""How much single changes at the steps of a large layer may take beside the budget, as a share of
it, and the share of what is left of that which each kind of them has."""
_FOR_PATTERNS = 0.3
"""How much changes at all places of a pattern, tables, operands from anywhere and what was not
reached before may take beside the budget, as a share of it."""
_FOR_LOOPS, _TURN_OF_LOOPS = 1.0, 0.5
"""How much changes in every pass of a loop may take beside the budget, as a share of it, where the
model's code runs one step by step; and the share of what is left of that which each kind has."""
_KEPT_FOR_WEIGHTS = 0.25
"""What is tried before it leaves it this share in a recurrence, where every change runs all its
steps."""
_LOOKED_AT = 8000
"""How many changes that were looked at are kept for the search of two mistakes."""
_CONFIRMED, _LATE = 6, 3
"""How many mistakes the whole batch confirms, and how many are held against it when the budget is
used up."""


@dataclass
class MistakeSearch:
    """One search: where to look, and how far."""

    whole: View
    part: View
    thorough: bool
    large: bool
    """Whether computing the layer takes so long that looking may, too."""
    budget: Budget
    progress: Progress | None
    differing: int
    """How many values differ: what fits as many numbers reproduces any."""
    tried: int = 0
    causes: set[str] = field(default_factory=set)
    """Those of which something was tried."""
    faults: dict[str, str] = field(default_factory=dict)
    """What went wrong with us in the search for a mistake, by its slug."""
    misses: list[Scored] = field(default_factory=list)
    """Of what is tried last those that bring the layer nearest to what was observed."""
    looked_at: list[LookedAt] = field(default_factory=list)
    """All changes that were looked at, in a layer that is looked at as a whole."""

    def count(self, hypothesis: Hypothesis) -> None:
        """Counts something that is tried for a mistake."""
        self.tried += 1
        self.causes.add(hypothesis.slug)

    def settles(self, scored: Scored) -> bool:
        """Whether an exact mistake is one thing that was done, with fewer numbers fitted than
        differ."""
        free = freedom(scored)
        return scored.edit.short and (not free or free < self.differing)

    def edits(
        self, hypothesis: Hypothesis, case: Case, missed: Missed | None = None
    ) -> Iterator[Edit]:
        """What a mistake would change; an error of ours ends that mistake's part of the search
        alone."""
        try:
            yield from edits_of(hypothesis, case, missed)
        except ProbeError:
            raise
        except Exception as error:
            words = f"internal error in the search for {hypothesis.slug}"
            self.faults.setdefault(hypothesis.slug, our_fault(error, words))


def try_all(
    view: View, search: MistakeSearch, few: bool = False, orders: Sequence[int] = ()
) -> list[Scored]:
    """Every edit of every hypothesis that changes something, scored; ``few``: only what a sample
    shows to be exact goes on.

    The hypotheses are tried as they are registered, or in these orders; each with little work, then
    each with more, since the budget may not suffice for all. Where a mistake explains all and
    nothing was fitted for it, looking for others that do ends early.
    """
    budget = search.budget
    began = budget.used
    candidates: list[Scored] = []
    prepared: dict[int, tuple[Sample | None, float]] = {}

    def tries(order: int) -> Iterator[None]:
        hypothesis = REGISTERED[order]
        where = search.whole if hypothesis.whole and not few else view
        if id(where) not in prepared:
            prepared[id(where)] = sample(where.case, where.allowed), difference_of(where.case)
        tried = list[tuple[Edit, bool]]()
        alone = enumerate(search.edits(hypothesis, where.case))
        for index, edit in chain(alone, in_all_layers(where, search, tried, few)):
            yield
            if where.case.calls and in_one_pass(where.case, changed_steps(where.case, edit)):
                tried.append((edit, True))
                continue
            search.count(hypothesis)
            if search.progress is not None:
                search.progress(hypothesis.slug)
            edit = replace(edit, as_healthy=edit.as_healthy or view.as_healthy)
            budget.charge(CANDIDATE)
            scored = score(
                where, edit, Scored(hypothesis, edit, order, index), *prepared[id(where)], few
            )
            if scored is not None:
                candidates.append(scored)
                tried.append((edit, scored.share < _HARMS))
                if scored.exact and not edit.fitted:
                    _ends_soon(budget, began)

    waiting = [
        tries(order)
        for order in orders or range(len(REGISTERED))
        if not REGISTERED[order].last
        and not (REGISTERED[order].whole and view is not search.whole and few)
    ]
    used, turn = dict.fromkeys(waiting, 0.0), _FIRST_TURN
    while used:
        for attempts in list(used):
            while used.get(attempts, np.inf) < turn:
                if not budget.spend():
                    return candidates
                before = budget.used
                if next(attempts, "done"):
                    del used[attempts]
                else:
                    used[attempts] += budget.used - before
        turn *= 2
    return candidates


def _ends_soon(budget: Budget, began: float) -> None:
    """Of a part that began there little more is spent, since what explains all is found."""
    budget.within(max(_LEAST_AFTER, (_AFTER - 1) * (budget.used - began)))


def in_all_layers(
    view: View, search: MistakeSearch, tried: Sequence[tuple[Edit, bool]], few: bool
) -> Iterator[tuple[int, Edit]]:
    """The edits of a hypothesis, each made in all layers of a network alike, where it brings the
    block nearer to what was observed in one, or not much further."""
    if search.part is search.whole and (few or view is search.whole):
        yield from ((-1, edit) for edit in made_together(view.case, tried))


def try_common(search: MistakeSearch) -> list[Scored]:
    """Every edit of every hypothesis, scored, but for those that are tried last."""
    with search.budget.part(_COMMON):
        return try_all(search.part, search)


def try_last(search: MistakeSearch) -> list[Scored]:
    """What reproduces the observation among what is tried only where nothing else does, and behind
    it, in a large layer, among single changes; of a very large batch in one sample, and what that
    shows on the whole."""
    view, budget = search.whole, search.budget
    alone = not view.case.calls
    slow = alone and any(isinstance(step.op, Recurrence) for step in view.case.steps)
    if view.case.healthy.size > _VERY_LARGE:
        view = search.part
    pairs = _PAIRS[search.large] * budget.work
    case = replace(view.case, allowed=view.allowed)
    with budget.beside(_FOR_LOOPS * budget.work):
        found = _tried(case, view, search, _in_loops(), _TURN_OF_LOOPS, 0.0)
    if found:
        return found
    with budget.part(_SHARE if alone else _SHARE_OF_BLOCK, leaving=pairs):
        turn = _TURN_OF_LARGE if search.large else _TURN
        kept = _KEPT_FOR_WEIGHTS * budget.left if slow else 0.0
        found = _tried(case, view, search, _last(), turn, kept)
    if search.large and not any(map(search.settles, found)):
        with budget.beside(_FOR_SINGLE * budget.work):
            found = _tried(case, view, search, _single(), _TURN_OF_SINGLE, 0.0) or found
    if not any(map(search.settles, found)):
        with budget.beside(_FOR_PATTERNS * budget.work):
            found = _tried(case, view, search, _patterns(), _TURN_OF_SINGLE, 0.0) or found
    return found


def tried_last(view: View, search: MistakeSearch) -> list[Scored]:
    """What reproduces the observation in an edited layer among what is tried last."""
    return _tried(replace(view.case, allowed=view.allowed), view, search, _last(), _TURN, 0.0)


def _last() -> _Numbered:
    return [(order, hypothesis) for order, hypothesis in enumerate(REGISTERED) if hypothesis.last]


def _single() -> _Numbered:
    return list(enumerate(SINGLE_CHANGES, len(REGISTERED)))


def _patterns() -> _Numbered:
    return list(enumerate(PATTERNS, len(REGISTERED) + len(SINGLE_CHANGES)))


def _in_loops() -> _Numbered:
    before = len(REGISTERED) + len(SINGLE_CHANGES) + len(PATTERNS)
    return list(enumerate(IN_LOOPS, before))


def _tried(
    case: Case, view: View, search: MistakeSearch, hypotheses: _Numbered, turn: float, kept: float
) -> list[Scored]:
    """The mistakes of the first hypothesis that reproduces the observation, of those that are tried
    last; where that takes two mistakes with names, of the first such. Of a layer that was edited
    other weights are none: they could make up for any edit.

    Each hypothesis has a ``turn``, a share of what is left; so much is ``kept`` for weights.
    """
    edited = view not in (search.whole, search.part)
    some, difference, budget = sample(case, view.allowed), difference_of(case), search.budget
    with budget.aside():
        readings(case)
    vague: list[Scored] = []
    for order, hypothesis in hypotheses:
        weights = hypothesis.family == _OF_WEIGHTS
        if edited and weights:
            continue
        if not budget.spend():
            break
        kept = 0.0 if weights else kept
        candidates, began = list[Scored](), budget.used
        missed: Missed | None = None
        if view is search.whole is search.part and case.region is None and some is not None:
            missed = partial(_look_at, search, hypothesis, order, some)
        with budget.part(_TURN_OF_WEIGHTS if weights else turn, leaving=kept):
            for index, edit in enumerate(search.edits(hypothesis, case, missed)):
                search.count(hypothesis)
                edit = replace(edit, as_healthy=edit.as_healthy or view.as_healthy)
                budget.charge(CANDIDATE)
                scored = score(view, edit, Scored(hypothesis, edit, order, index), some, difference)
                if scored is not None and scored.exact and not edited and view is not search.whole:
                    scored = _as_edited(scored, case, search.whole)
                if scored is not None and scored.exact:
                    candidates.append(scored)
                    if edit.short and not edit.fitted:
                        _ends_soon(budget, began)
                elif scored is not None and view is search.part:
                    search.misses.append(scored)
                if not budget.spend():
                    break
        if any(map(search.settles, candidates)):
            return different(view.case, candidates)
        vague = vague or candidates
    return vague


def _look_at(
    search: MistakeSearch,
    hypothesis: Hypothesis,
    order: int,
    some: Sample,
    reading: Case,
    flow: Flow,
    tried: Tried,
) -> None:
    """Keeps a change for the search of two mistakes."""
    if flow.case is not reading or len(search.looked_at) == _LOOKED_AT:
        return
    effect = tried.values[some.where] - some.healthy
    if np.isfinite(effect).all() and (np.abs(effect) > some.allowed).any():
        looked_at = LookedAt(hypothesis, order, reading, tried.change, effect.astype(np.float32))
        search.looked_at.append(looked_at)


def _as_edited(scored: Scored, part: Case, whole: View) -> Scored | None:
    """An edit of one sample's case, scored on the whole batch."""
    if scored.edit.inputs is not part.inputs:
        return on_the_whole(scored, whole)
    edit = replace(scored.edit, inputs=whole.case.inputs)
    return score(whole, edit, replace(scored, edit=edit), None, difference_of(whole.case))


def confirmed(exact: Sequence[Scored], search: MistakeSearch) -> list[Scored]:
    """Those that reproduce the whole batch too, the likeliest first; of a search in the whole batch
    all of them."""
    ranked = sorted(
        exact, key=lambda candidate: (freedom(candidate), candidate.order, candidate.left)
    )
    if search.part is search.whole:
        return ranked
    asked: list[Scored] = []
    slugs: set[tuple[str, ...]] = set()
    for position, candidate in enumerate(ranked):
        if len(asked) == _CONFIRMED:
            break
        if not search.budget.spend() and (asked or position >= _LATE):
            break
        if slugs_of(candidate) in slugs:
            again = None
        else:
            again = on_the_whole(candidate, search.whole)
        if again is not None and again.exact:
            slugs.add(slugs_of(candidate))
            asked.append(again)
    return asked
