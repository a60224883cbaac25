"""What an edit leaves unexplained: predicted first on a sample of the output, then on all of it.

Of a large batch one sample is looked at, whose mistakes the whole batch confirms.
"""

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from probe.diagnosis.reproducing import edits_of
from probe.evaluation.allowance import Values
from probe.hypotheses import Hypothesis
from probe.ops import Constant
from probe.ops.step import Step
from probe.trial.budget import Budget
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import (
    RoundingAllowance,
    Sample,
    amplified,
    apart_of,
    as_healthy,
    difference_of,
    left,
    rank_distance,
    rms,
)
from probe.trial.gathered import Gathered
from probe.trial.output_slices import Region
from probe.trial.prices import allowance_price

__all__ = [
    "CLEARLY",
    "HELPS",
    "Scored",
    "View",
    "exact_part",
    "freedom",
    "on_the_whole",
    "score",
    "slugs_of",
]

CLEARLY = 0.2
"""A mistake that does not explain all is named where it leaves no more than this share of the
difference."""
HELPS = 0.97
"""What one of two mistakes may leave to be worth looking at."""
_EXACT, _CHANCE = 1e-5, 0.02
"""What a mistake may leave of a value that it gives exactly, as a share of the largest difference;
and of its own, where little is allowed more than the difference."""
_HIDDEN = -1e30
"""What code has in place of -inf."""
_MOST_OF_IT = 0.7
"""What a mistake may leave in a slice of a large layer for all of it to be computed."""
_NEXT_TO_NOTHING, _NEARLY_ALLOWED = 1e-3, 1e3
"""Where a mistake leaves less than this share of the difference and of what is allowed, what
rounding does to the layer with that mistake is looked at."""
_LARGE = 1 << 18
"""Elements of an array from which on one sample of the batch is searched and the whole only asked
to confirm."""


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
    rounding: RoundingAllowance
    allowed: np.ndarray
    tolerated: RoundingAllowance
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
            or max(np.size(array) for value in (case.inputs, *case.values) for array in value)
            < _LARGE
        ):
            return self
        allowed = np.broadcast_to(self.allowed, case.observed.shape)
        index = int(np.argmax(_beyond(case, allowed)))
        sample_case = case.sample(index)
        if sample_case is None:
            return self
        allowed = allowed[index : index + 1]
        return View(
            sample_case, self.tolerated.beside(sample_case, allowed), allowed, self.tolerated
        )

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
        step.op.call if isinstance(step.op, Gathered) else calls.get(id(step.op), "")
        for step in edit.steps
    )
    if calls:
        return tuple(given)
    return ()


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
    rest = _rest(case, edit, predicted, allowed, share)
    finite = _with_finite_masks(case, edit, predicted) if share < CLEARLY < rest else None
    if finite is None:
        return replace(scored, share=share, left=rest)
    return score(view, finite, replace(scored, edit=finite), some, difference, few)


def _rest(
    case: Case, edit: Edit, predicted: np.ndarray, allowed: np.ndarray, share: float
) -> float:
    """What an edit leaves, in units of what rounding may do to the layer with it."""
    rest = left(case, predicted, allowed)
    if edit.as_healthy and share < _NEXT_TO_NOTHING and 1 < rest < _NEARLY_ALLOWED:
        rest = left(case, predicted, allowed * amplified(case, edit, predicted))
    return rest


def _with_finite_masks(case: Case, edit: Edit, predicted: np.ndarray) -> Edit | None:
    """The same mistake where -inf is a large negative number, as many ports have: that tells where
    a mistake leaves a softmax nothing, of which -inf makes NaN. None where it does not."""
    if not np.isnan(case.pick(predicted)[np.isfinite(case.seen)]).any():
        return None
    steps = tuple(map(_finite, edit.steps))
    if all(own is other for own, other in zip(steps, edit.steps, strict=True)):
        return None
    return replace(edit, steps=steps)


def _finite(step: Step) -> Step:
    """A step, with a large negative number where it is a constant that has -inf."""
    if not isinstance(step.op, Constant) or step.op.value.dtype.kind != "f":
        return step
    endless = np.isneginf(step.op.value)
    if not endless.any():
        return step
    return replace(step, op=replace(step.op, value=np.where(endless, _HIDDEN, step.op.value)))


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
    if values is not None and np.shape(values[-1][0]) == case.observed.shape:
        return values
    return None


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


def exact_part(candidate: Scored, some: Sample | None) -> float:
    """The share of the sample's elements that differ which a mistake gives exactly: where two
    mistakes meet in a few elements alone, each gives its own part."""
    if some is None or candidate.effect is None or candidate.effect.shape != some.healthy.shape:
        return 0.0
    with np.errstate(all="ignore"):
        apart = np.abs(some.observed - some.healthy)
        wrong = apart > some.allowed
        rest = np.abs(some.observed - some.healthy - candidate.effect)
        nothing = rest <= np.maximum(some.allowed, _EXACT * apart.max())
        exact = wrong & nothing & (rest <= _CHANCE * apart)
    return float(exact.sum() / max(1, wrong.sum()))
