"""The search itself: every edit of every hypothesis predicted and scored, as far as its budget
goes.

Cheap looks come first: a sample of the output, and of a large batch one sample of it, whose
mistakes the whole batch confirms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np

from probe.diagnosis.reproducing import edits_of
from probe.errors import ProbeError, our_fault
from probe.evaluation.allowance import Values
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import REGISTERED, Hypothesis
from probe.hypotheses.edits.changes import readings
from probe.hypotheses.edits.grouped_changes import made_together
from probe.ops import Recurrence
from probe.trial.budget import Budget
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import (
    Rounding,
    Sample,
    apart_of,
    as_healthy,
    difference_of,
    left,
    rank_distance,
    rms,
    sample,
)
from probe.trial.gathered import Gathered
from probe.trial.output_slices import Region
from probe.trial.prices import CANDIDATE, allowance_price
from probe.trial.refusals import refused

__all__ = [
    "CLEARLY",
    "HELPS",
    "Progress",
    "Scored",
    "Search",
    "View",
    "confirmed",
    "freedom",
    "in_all_layers",
    "on_the_whole",
    "score",
    "slugs_of",
    "tried_last",
    "try_all",
    "try_common",
    "try_last",
]

Progress = Callable[[str], None]

CLEARLY = 0.2
"""A mistake that does not explain all is named where it leaves no more than this share of the
difference."""
_COMMON = 0.5
"""The share of the budget for common mistakes."""
_SHARE, _SHARE_OF_BLOCK = 0.6, 0.8
"""Of what these leave this share is for what is tried last: more in a layer of several calls, where
most mistakes are with what one takes from another."""
_PAIRS = {False: 0.2, True: 0.1}
"""The share of the budget that is left for two mistakes at least, in a large layer or not: there
few of those are found."""
_AFTER, _LEAST_AFTER = 2.0, 0.2e9
"""How many times the work until a mistake that explains all is done in search of others that do,
and how much at least."""
HELPS = 0.97
"""What one of two mistakes may leave to be worth looking at."""
_MOST_OF_IT = 0.7
"""What a mistake may leave in a slice of a large layer for all of it to be computed."""
_FIRST_TURN = 2e7
"""How much each hypothesis is given at first; then each again as much, then twice that, and so
on."""
_HARMS = 1.2
"""What a mistake made in one of several layers alike may leave."""
_LARGE = 1 << 18
"""Elements of an array from which on one sample of the batch is searched and the whole only asked
to confirm."""
_VERY_LARGE = 1 << 21
"""Elements of an output from which on that holds, too, for what is tried last: other weights are
better told from a whole batch."""
_TURN, _TURN_OF_LARGE, _TURN_OF_WEIGHTS = 0.45, 0.3, 0.5
"""Of what is left each hypothesis of those that are tried last has this share, in a large layer, of
which none tries all, and where weights are read back."""
_OF_WEIGHTS = "other_weights"
"""The family of what is read back."""
_SINGLE, _TURN_OF_SINGLE = "single_changes", 0.9
"""The family of what is tried of every step first, and its share of what is left."""
_KEPT_FOR_WEIGHTS = 0.25
"""What is tried before it leaves it this share in a recurrence, where every change runs all its
steps."""
_COMPARED = 12
"""How many explanations are compared on other inputs."""
_CONFIRMED, _LATE = 6, 3
"""How many mistakes the whole batch confirms, and how many are held against it when the budget is
used up."""


@dataclass(frozen=True, eq=False)
class Scored:
    """An edit and what it leaves unexplained."""

    hypothesis: Hypothesis
    edit: Edit
    order: int
    index: int
    """Which edit of its hypothesis it is."""
    share: float = np.inf
    """What remains of the difference, as a share of its root mean square."""
    unlike: float = 1.0
    """What remains of the variance of the observed ranks after the best line through the predicted
    ones."""
    left: float = np.inf
    """The largest remaining error in units of the allowance."""
    effect: np.ndarray | None = None
    """By how much it changes the elements of the sample."""
    also: tuple["Scored", ...] = ()

    @property
    def exact(self) -> bool:
        return self.left <= 1


@dataclass(frozen=True, eq=False)
class View:
    """A case, and what the healthy layer is allowed: the whole batch, or one sample of it."""

    case: Case
    rounding: Rounding
    allowed: np.ndarray
    tolerated: Rounding
    """The rounding without what the healthy layer is allowed beside it."""
    as_healthy: bool = False
    """Whether an edit made the layer that is allowed what the healthy one is."""

    def of_sample(self) -> "View":
        """The sample that differs at most places, where the layer is large and works sample by
        sample."""
        case = self.case
        count = case.observed.shape[0] if case.observed.ndim else 0
        if (
            count < 2
            or not case.comparable
            or max(np.size(one) for value in (case.inputs, *case.values) for one in value) < _LARGE
        ):
            return self
        allowed = np.broadcast_to(self.allowed, case.observed.shape)
        index = int(np.argmax(_beyond(case, allowed)))
        one = case.sample(index)
        if one is None:
            return self
        allowed = allowed[index : index + 1]
        return View(one, self.tolerated.beside(one, allowed), allowed, self.tolerated)

    def searched(self, region: Region | None, budget: Budget) -> "View":
        """The view in which that slice of the output is looked at first, within a budget."""
        return replace(self, case=replace(self.case, region=region, budget=budget))

    def allowance(self, edit: Edit, values: Values, observed: np.ndarray | None) -> np.ndarray:
        """What rounding may do to the edited layer."""
        self.case.budget.charge(allowance_price(values))
        return self.rounding.of(edit, values, observed)

    def became(self, edit: Edit) -> "View | None":
        """The view in which the edited layer is taken for the healthy one."""
        values = _everywhere(self.case, edit)
        if values is None:
            return None
        case = replace(
            self.case,
            steps=edit.steps,
            inputs=edit.inputs,
            values=values,
            calls=_calls(self.case, edit),
        )
        return replace(self, case=case, as_healthy=edit.as_healthy)


def _calls(case: Case, edit: Edit) -> tuple[str, ...]:
    """Which call each step of the edited layer is of; "" for those that no call has."""
    calls = dict(zip((id(step.op) for step in case.steps), case.calls, strict=False))
    given = (
        one.op.call if isinstance(one.op, Gathered) else calls.get(id(one.op), "")
        for one in edit.steps
    )
    return tuple(given) if calls else ()


@dataclass
class Search:
    """One search: where to look, and how far."""

    whole: View
    part: View
    thorough: bool
    large: bool
    """Whether computing the layer takes so long that looking may, too."""
    budget: Budget
    progress: Progress | None
    tried: int = 0
    causes: set[str] = field(default_factory=set)
    """Those of which something was tried."""
    faults: dict[str, str] = field(default_factory=dict)
    """What went wrong with us in the search for a mistake, by its slug."""
    misses: list[Scored] = field(default_factory=list)
    """Of what is tried last those that bring the layer nearest to what was observed."""

    def edits(self, hypothesis: Hypothesis, case: Case) -> Iterator[Edit]:
        """What a mistake would change; an error of ours ends that mistake's part of the search
        alone."""
        try:
            yield from edits_of(hypothesis, case)
        except ProbeError:
            raise
        except Exception as error:
            words = f"internal error in the search for {hypothesis.slug}"
            self.faults.setdefault(hypothesis.slug, our_fault(error, words))


def _beyond(case: Case, allowed: np.ndarray) -> np.ndarray:
    """How many elements of each sample lie beyond the allowance."""
    count = len(case.observed)
    step = max(1, _LARGE * count // case.observed.size)
    found = []
    for start in range(0, count, step):
        part = slice(start, start + step)
        beyond = ~(np.abs(case.observed[part] - case.healthy[part]) <= allowed[part])
        if case.known is not None:
            beyond &= case.known[part]
        found.append(beyond.reshape(len(beyond), -1).sum(axis=1))
    return np.concatenate(found)


def try_all(
    view: View, search: Search, few: bool = False, orders: Sequence[int] = ()
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
            search.tried += 1
            search.causes.add(hypothesis.slug)
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
        for one in list(used):
            while used.get(one, np.inf) < turn:
                if not budget.spend():
                    return candidates
                before = budget.used
                if next(one, "done"):
                    del used[one]
                else:
                    used[one] += budget.used - before
        turn *= 2
    return candidates


def _ends_soon(budget: Budget, began: float) -> None:
    """Of a part that began there little more is spent, since what explains all is found."""
    budget.within(max(_LEAST_AFTER, (_AFTER - 1) * (budget.used - began)))


def in_all_layers(
    view: View, search: Search, tried: Sequence[tuple[Edit, bool]], few: bool
) -> Iterator[tuple[int, Edit]]:
    """The edits of a hypothesis, each made in all layers of a network alike, where it brings the
    block nearer to what was observed in one, or not much further."""
    if search.part is search.whole and (few or view is search.whole):
        yield from ((-1, edit) for edit in made_together(view.case, tried))


def try_common(search: Search) -> list[Scored]:
    """Every edit of every hypothesis, scored, but for those that are tried last."""
    with search.budget.part(_COMMON):
        return try_all(search.part, search)


def try_last(search: Search) -> list[Scored]:
    """What reproduces the observation among what is tried only where nothing else does; of a very
    large batch in one sample, and what that shows on the whole."""
    view, budget = search.whole, search.budget
    alone = not view.case.calls
    slow = alone and any(isinstance(one.op, Recurrence) for one in view.case.steps)
    if view.case.healthy.size > _VERY_LARGE:
        view = search.part
    pairs = _PAIRS[search.large] * budget.work
    with budget.part(_SHARE if alone else _SHARE_OF_BLOCK, leaving=pairs):
        turn = _TURN_OF_LARGE if search.large else _TURN
        return tried_last(view, search, turn, _KEPT_FOR_WEIGHTS * budget.left if slow else 0.0)


def tried_last(view: View, search: Search, turn: float = _TURN, kept: float = 0.0) -> list[Scored]:
    """The mistakes of the first hypothesis that reproduces the observation, of those that are tried
    last; where that takes two mistakes with names, of the first such. Of a layer that was edited
    other weights are none: they could make up for any edit.

    Each hypothesis has a ``turn``, a share of what is left; so much is ``kept`` for weights.
    """
    turns = {_OF_WEIGHTS: _TURN_OF_WEIGHTS, _SINGLE: _TURN_OF_SINGLE}
    edited = view not in (search.whole, search.part)
    case = replace(view.case, allowed=view.allowed)
    some, difference, budget = sample(case, view.allowed), difference_of(case), search.budget
    with budget.aside():
        readings(case)
    vague: list[Scored] = []
    for order, hypothesis in enumerate(REGISTERED):
        weights = hypothesis.family == _OF_WEIGHTS
        if not hypothesis.last or (edited and weights):
            continue
        if not budget.spend():
            break
        kept = 0.0 if weights else kept
        candidates, began = list[Scored](), budget.used
        with budget.part(turns.get(hypothesis.family, turn), leaving=kept):
            for index, edit in enumerate(search.edits(hypothesis, case)):
                search.tried += 1
                search.causes.add(hypothesis.slug)
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
        if any(scored.edit.short for scored in candidates):
            return _different(view.case, candidates)
        vague = vague or candidates
    return vague


def _different(case: Case, candidates: Sequence[Scored]) -> list[Scored]:
    """Without those that give on other inputs, too, what one before gives: the same layer in other
    words."""
    rng = np.random.default_rng(0)
    inputs = tuple(
        (x + rng.normal(scale=x.std() or 1.0, size=x.shape)).astype(x.dtype)
        if x.dtype.kind == "f"
        else x
        for x in case.inputs
    )
    kept: list[Scored] = []
    seen_outputs: list[np.ndarray] = []
    for candidate in candidates[:_COMPARED]:
        if candidate.edit.inputs is not case.inputs or len(candidates) == 1:
            kept.append(candidate)
            continue
        try:
            values = recompute(candidate.edit.steps, inputs, ran=case.budget.ran)
            y = np.asarray(values[-1][0])
        except Exception as error:
            refused(error)
            kept.append(candidate)
            continue
        alike = (
            other.shape == y.shape and np.allclose(other, y, equal_nan=True)
            for other in seen_outputs
        )
        if not any(alike):
            kept.append(candidate)
            seen_outputs.append(y)
    return kept


def _as_edited(scored: Scored, part: Case, whole: View) -> Scored | None:
    """An edit of one sample's case, scored on the whole batch."""
    if scored.edit.inputs is not part.inputs:
        return on_the_whole(scored, whole)
    edit = replace(scored.edit, inputs=whole.case.inputs)
    return score(whole, edit, replace(scored, edit=edit), None, difference_of(whole.case))


def score(
    view: View,
    edit: Edit,
    scored: Scored,
    some: Sample | None,
    difference: float,
    few: bool = False,
) -> Scored | None:
    """None where the edit changes nothing or cannot be run."""
    case = view.case
    values = None
    if edit.predicted is not None:
        if some is None or edit.predicted.shape != case.observed.shape:
            return None
        return _at_sample(scored, edit.predicted[some.where], some)
    guess = None if some is None else case.evaluator.at(edit, some.where, case.region)
    if guess is None:
        values = _everywhere(case, edit)
        if values is None:
            return None
        guess = None if some is None else np.asarray(values[-1][0])[some.where]
    if some is not None and guess is not None:
        with np.errstate(all="ignore"):
            if not (np.abs(guess - some.healthy) > some.allowed).any():
                return None
            apart = np.abs(guess - some.observed)
            worst = float(np.max(apart / np.maximum(some.allowed, 1e-300)))
            sampled = _at_sample(scored, guess, some)
        near = worst < 100 and (case.region is None or sampled.share < _MOST_OF_IT)
        if not (near or sampled.share < (CLEARLY / 2 if few else CLEARLY)):
            return sampled
        scored = sampled
    values = _everywhere(case, edit) if values is None else values
    if values is None:
        return None
    predicted = np.asarray(values[-1][0])
    if not case.comparable:
        most = left(case, predicted, _allowed(view, edit, values, case.observed))
        return replace(scored, share=0.0 if most <= 1 else 1.0, left=most)
    share = apart_of(case, predicted) / difference if difference else np.inf
    if not share < HELPS and np.isfinite(difference):
        return replace(scored, share=share)
    allowed = _allowed(view, edit, values, case.observed if share < CLEARLY else None)
    # what leaves next to nothing of a small difference need not change more than it may leave
    changes = view.allowed if share < CLEARLY / 2 and edit.as_healthy else allowed
    with np.errstate(all="ignore"):
        if not (
            np.abs(case.pick(predicted - case.healthy))
            > case.pick(np.broadcast_to(changes, predicted.shape))
        ).any():
            return None
    return replace(scored, share=share, left=left(case, predicted, allowed))


def _at_sample(scored: Scored, guess: np.ndarray, some: Sample) -> Scored:
    """What is left where an edit gives this at the elements of a sample."""
    with np.errstate(all="ignore"):
        return replace(
            scored,
            share=rms(np.abs(guess - some.observed)) / some.error if some.error else np.inf,
            unlike=rank_distance(guess, some.observed),
            effect=guess - some.healthy,
        )


def _allowed(view: View, edit: Edit, values: Values, observed: np.ndarray | None) -> np.ndarray:
    own = not edit.as_healthy and view.rounding.composed is None
    if own or view.rounding.tolerance is not None:
        return view.allowance(edit, values, observed)
    return as_healthy(view.case, view.allowed, np.asarray(values[-1][0]))


def _everywhere(case: Case, edit: Edit) -> Values | None:
    """The outputs of every step, where the last has the shape of the observation."""
    values = case.evaluator.everywhere(edit)
    return values if values is not None and np.shape(values[-1][0]) == case.observed.shape else None


def confirmed(exact: Sequence[Scored], search: Search) -> list[Scored]:
    """Those that reproduce the whole batch too, the likeliest first; of a search in the whole batch
    all of them."""
    ranked = sorted(exact, key=lambda one: (freedom(one), one.order, one.left))
    if search.part is search.whole:
        return ranked
    asked: list[Scored] = []
    slugs: set[tuple[str, ...]] = set()
    for position, candidate in enumerate(ranked):
        if len(asked) == _CONFIRMED:
            break
        if not search.budget.spend() and (asked or position >= _LATE):
            break
        again = None if slugs_of(candidate) in slugs else on_the_whole(candidate, search.whole)
        if again is not None and again.exact:
            slugs.add(slugs_of(candidate))
            asked.append(again)
    return asked


def on_the_whole(scored: Scored, view: View) -> Scored | None:
    """The same mistake, made again and scored on the whole batch."""
    if scored.hypothesis.whole:
        return scored
    for first in scored.also:
        again = next(islice(edits_of(first.hypothesis, view.case), first.index, None), None)
        changed = None if again is None else view.became(again)
        if changed is None:
            return None
        view = changed
    edit = next(islice(edits_of(scored.hypothesis, view.case), scored.index, None), None)
    if edit is None:
        return None
    edit = replace(edit, as_healthy=edit.as_healthy or view.as_healthy)
    values = _everywhere(view.case, edit)
    if values is not None and not edit.as_healthy:
        predicted = np.asarray(values[-1][0])
        # What the edited layer is allowed itself costs as much as running it, and what is allowed
        # beside that as much again.
        if (rest := left(view.case, predicted, view.allowed)) <= 1:
            return replace(scored, edit=edit, share=0.0, left=rest)
        plain = replace(view, rounding=replace(view.rounding, extra=None))
        alone = plain.allowance(edit, values, view.case.observed)
        if (rest := left(view.case, predicted, alone)) <= 1:
            return replace(scored, edit=edit, share=0.0, left=rest)
    return score(view, edit, replace(scored, edit=edit), None, difference_of(view.case))


def freedom(scored: Scored) -> int:
    return sum(part.edit.fitted for part in (scored, *scored.also))


def slugs_of(scored: Scored) -> tuple[str, ...]:
    """All mistakes of a prediction, the first one first."""
    parts = [
        (part.edit.main or part.hypothesis.slug, *part.edit.also) for part in (*scored.also, scored)
    ]
    return tuple(dict.fromkeys(slug for slugs in parts for slug in slugs))
