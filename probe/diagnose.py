"""Which mistake gives exactly those values: predictions of the hypotheses against what a party gave.

Every hypothesis yields edited layers. Edits whose output is the healthy one are dropped, the others are compared with the
observation by the allowance of the *edited* layer; one that leaves nothing beyond it reproduces the party. Cheap looks come
first, whole outputs and second mistakes after, until the time is up.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probe.compare import Comparison
from probe.hypotheses import REGISTERED, Hypothesis
from probe.hypotheses.base import Case, Edit
from probe.layer import Description
from probe.locate import where_it_sits
from probe.predict import Rounding, Sample, at, everywhere, sample
from probe.report import Finding
from probe.rounding import Precision, Values

__all__ = ["Diagnosis", "diagnose", "of_parties"]

Progress = Callable[[str], None]

_CLEARLY = 0.2
"""A mistake that does not explain all is named where it leaves no more than this share of the difference."""
_HELPS = 0.97
"""What one of two mistakes may leave to be worth looking at."""
_SECONDS = 1.5


@dataclass(frozen=True)
class Diagnosis:
    """The findings, best first, and what else is to be said."""

    findings: tuple[Finding, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Scored:
    hypothesis: Hypothesis
    edit: Edit
    order: int
    share: float
    """What remains of the difference, as a share of its root mean square."""
    left: float = np.inf
    """The largest remaining error in units of the allowance."""
    also: tuple["_Scored", ...] = ()

    @property
    def exact(self) -> bool:
        return self.left <= 1


@dataclass
class _Search:
    """One search: what is known of the case, and until when to look."""

    rounding: Rounding
    thorough: bool
    limit: float
    progress: Progress | None
    started: float = field(default_factory=time.monotonic)
    tried: int = 0
    stopped: bool = False

    def over(self) -> bool:
        self.stopped = self.stopped or time.monotonic() > self.started + self.limit
        return self.stopped


def diagnose(
    case: Case,
    rounding: Rounding,
    *,
    certain: bool | None = None,
    party: str = "expected",
    thorough: bool = False,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Names the mistakes that reproduce the observation, or says that none does and where the error sits.

    ``certain`` False: the difference is improbable as rounding, but a worst case could reach it.
    """
    limit = seconds if seconds is not None else 120.0 if thorough else _SECONDS
    search = _Search(rounding, thorough, limit, progress)
    healthy = case.edit("")
    values = everywhere(case, healthy)
    assert values is not None
    allowed = rounding.of(healthy, values)
    if case.comparable and rounding.tolerance is not None:
        derived = replace(rounding, tolerance=None).of(healthy, values, case.observed)
        if (ratio := _left(case, case.healthy, derived)) <= 1:
            claim = f"within what rounding allows (the largest difference is {ratio:.2g} of it): your tolerances are tighter"
            return Diagnosis((Finding("rounding", claim, ratio, party=party),))
    scored = _try_all(case, allowed, search)
    exact = [one for one in scored if one.exact]
    if not exact and case.comparable:
        scored, exact = _second_mistakes(case, scored, search)
    exact.sort(key=lambda one: (_freedom(one), one.order, one.left))
    findings = _exact(case, exact, party) if exact else _partial(case, scored, party)
    words = [*_stopped(search), *_telling(case, exact)]
    if exact and not findings:
        names = ", ".join(dict.fromkeys(one.hypothesis.slug for one in exact))
        words.append(f"{case.seen.size} values cannot decide between mistakes with as many fitted numbers ({names})")
    if not exact:
        if certain is False and not findings:
            claim = (
                "no known mistake reproduces it, and another order of summation (Winograd, FFT, sorted terms) could give such differences"
            )
            findings = (Finding("rounding", claim, _left(case, case.healthy, allowed), party=party),)
        elif not findings:
            words.append("no known mistake explains it")
        words += where_it_sits(case, allowed)
    return Diagnosis(findings, tuple(words))


def of_parties(
    described: Description,
    evidence: Any,
    comparisons: Mapping[tuple[str, str], Comparison],
    references: Mapping[str, tuple[Values, Sequence[np.ndarray]]],
    precision: Precision,
    tolerance: tuple[float, float] | None,
    options: Mapping[str, Any],
) -> Diagnosis | None:
    """The diagnosis of yours, or else of the framework's output, where it differs from NumPy's; only the first output is looked at."""
    for party, pair in (("expected", ("numpy", "expected")), ("framework", ("framework", "numpy"))):
        comparison = comparisons.get(pair)
        if comparison is None or comparison.ok or evidence.outputs[party][0] is None:
            continue
        values, inputs = references[party]
        observed = np.asarray(evidence.outputs[party][0], np.float64)
        known = evidence.known if party == "expected" else None
        case = Case(described.steps, tuple(inputs), values, observed, known, described.output_axes)
        rounding = Rounding(precision, 0.0, tolerance)
        if tolerance is None:
            plain = rounding.of(case.edit(""), values)
            rounding = replace(rounding, extra=np.maximum(evidence.allowed[party][0] - plain, 0.0))
        return diagnose(case, rounding, certain=comparison.certain, party=party, **options)
    return None


def _stopped(search: _Search) -> Iterator[str]:
    if search.stopped:
        more = "" if search.thorough else "; --thorough looks further"
        yield f"looking stopped after {search.limit:.3g} s and {search.tried} predictions{more}"


def _try_all(case: Case, allowed: np.ndarray, search: _Search, few: bool = False) -> list[_Scored]:
    """Every edit of every hypothesis that changes something, scored; ``few``: only what a sample shows to be exact goes on."""
    some = sample(case, allowed)
    difference = _rms(case.pick(case.observed - case.healthy)) if case.comparable else np.inf
    found: list[_Scored] = []
    for order, one in enumerate(REGISTERED):
        if one.thorough and not search.thorough:
            continue
        for edit in one.function(case):
            if search.over():
                return found
            search.tried += 1
            if search.progress is not None and search.tried % 10 == 0:
                search.progress(one.slug)
            scored = _score(case, edit, _Scored(one, edit, order, np.inf), some, difference, search, few)
            if scored is not None:
                found.append(scored)
    return found


def _score(case: Case, edit: Edit, scored: _Scored, some: Sample | None, difference: float, search: _Search, few: bool) -> _Scored | None:
    """None where the edit changes nothing or cannot be run."""
    if some is not None:
        guess = at(case, edit, some.where)
        if guess is not None:
            with np.errstate(all="ignore"):
                if not (np.abs(guess - some.healthy) > some.allowed).any():
                    return None
                apart = np.abs(guess - some.observed)
                share = _rms(apart) / some.error if some.error else np.inf
                worst = float(np.max(apart / np.maximum(some.allowed, 1e-300)))
            if not (worst < 100 or share < (_CLEARLY / 2 if few else _CLEARLY)):
                return replace(scored, share=share)
    values = everywhere(case, edit)
    if values is None:
        return None
    predicted = np.asarray(values[-1][0])
    if predicted.shape != case.observed.shape:
        return None
    if not case.comparable:
        left = _left(case, predicted, search.rounding.of(edit, values, case.observed))
        return replace(scored, share=0.0 if left <= 1 else 1.0, left=left)
    share = _rms(case.pick(case.observed - predicted)) / difference if difference else np.inf
    if not share < _HELPS and np.isfinite(difference):
        return replace(scored, share=share)
    allowed = search.rounding.of(edit, values, case.observed if share < _CLEARLY else None)
    with np.errstate(all="ignore"):
        if not (np.abs(case.pick(predicted - case.healthy)) > case.pick(np.broadcast_to(allowed, predicted.shape))).any():
            return None
    return replace(scored, share=share, left=_left(case, predicted, allowed))


def _left(case: Case, predicted: np.ndarray, allowed: np.ndarray) -> float:
    """The largest error in units of the allowance; inf where NaN or inf stand at other places."""
    observed, values = case.seen, case.pick(predicted)
    slack = case.pick(np.broadcast_to(allowed, predicted.shape))
    with np.errstate(all="ignore"):
        same = (observed == values) | (np.isnan(observed) & np.isnan(values))
        ratio = np.where(same, 0.0, np.abs(observed - values) / slack)
    return float(np.nan_to_num(ratio, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _rms(error: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.square(error).mean())) if error.size else 0.0


def _second_mistakes(case: Case, scored: list[_Scored], search: _Search) -> tuple[list[_Scored], list[_Scored]]:
    """Pairs of mistakes, the first one among those that reduce the difference; exact ones apart."""
    firsts = sorted((one for one in scored if one.share < _HELPS), key=lambda one: one.share)
    unlike: dict[tuple[str, float], _Scored] = {}
    for one in firsts:
        unlike.setdefault((one.hypothesis.slug, round(one.share, 6)), one)
    exact: list[_Scored] = []
    for first in list(unlike.values())[: 40 if search.thorough else 12]:
        if search.over() or exact:
            break
        if everywhere(case, first.edit) is None:
            continue
        changed = case.became(first.edit)
        if changed.healthy.shape != case.observed.shape:
            continue
        allowed = search.rounding.of(first.edit, changed.values)
        for second in _try_all(changed, allowed, search, few=True):
            if second.hypothesis.slug != first.hypothesis.slug and second.exact:
                exact.append(replace(second, also=(first,), edit=second.edit))
    return scored, exact


def _exact(case: Case, exact: Sequence[_Scored], party: str) -> tuple[Finding, ...]:
    """The exact ones, those that fitted least first; one finding for each slug."""
    best: dict[tuple[str, ...], _Scored] = {}
    others: dict[tuple[str, ...], list[str]] = {}
    for one in exact:
        slugs = tuple(sorted(_slugs(one)))
        if slugs in best:
            others.setdefault(slugs, []).append(one.edit.claim)
        else:
            best[slugs] = one
    if all(_freedom(one) >= case.seen.size for one in best.values()) and len(best) < 2:
        return ()
    if any(not _freedom(one) for one in best.values()):
        best = {slugs: one for slugs, one in best.items() if 2 * _freedom(one) < case.seen.size}
    return tuple(_finding(one, party, len(best) > 1, others.get(slugs, ())) for slugs, one in best.items())


def _telling(case: Case, exact: Sequence[_Scored]) -> Iterator[str]:
    """What would tell the first two of several exact explanations apart."""
    first = next(iter(exact), None)
    second = next((one for one in exact if first is not None and one.hypothesis.slug != first.hypothesis.slug), None)
    if first is None or second is None:
        return
    pair = [everywhere(case, one.edit) for one in (first, second)]
    if pair[0] is None or pair[1] is None or case.known is None:
        yield "on this input they give the same values: another input would tell them apart"
        return
    left, right = (np.asarray(values[-1][0]) for values in pair if values is not None)
    if left.shape != right.shape:
        return
    apart = np.abs(left - right)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), apart.shape))
    if apart[index] > 1e-4 * max(abs(left[index]), abs(right[index])):
        names = f"{first.hypothesis.slug} gives {left[index]:.9g} there, {second.hypothesis.slug} {right[index]:.9g}"
        yield f"your value at [{', '.join(map(str, index))}] would tell them apart: {names}"


def _freedom(one: _Scored) -> int:
    return sum(part.edit.fitted for part in (one, *one.also))


def _partial(case: Case, scored: Sequence[_Scored], party: str) -> tuple[Finding, ...]:
    """The one that leaves clearly less than any other, where there is one and enough values to say so."""
    enough = [one for one in scored if np.isfinite(one.left) and case.seen.size >= 8 * (1 + one.edit.fitted)]
    ranked = sorted(enough, key=lambda one: one.share)
    if not ranked or ranked[0].share > _CLEARLY:
        return ()
    best = ranked[0]
    close = [one for one in ranked if one.share < 3 * best.share]
    slugs = dict.fromkeys(one.hypothesis.slug for one in close)
    if len(slugs) > 3:
        return ()
    firsts = [next(one for one in close if one.hypothesis.slug == slug) for slug in slugs]
    return tuple(_finding(one, party, len(firsts) > 1, ()) for one in firsts)


def _finding(one: _Scored, party: str, tie: bool, others: Sequence[str]) -> Finding:
    parts = (*one.also, one)
    claim = "; and ".join(part.edit.claim for part in parts)
    if others:
        shown = list(dict.fromkeys(others))[:3]
        claim += f" ({', or '.join(shown)}: just as well)"
    do = "; ".join(dict.fromkeys(part.edit.do for part in parts if part.edit.do))
    explained = 1.0 if one.exact else max(0.0, 1 - one.share)
    first, *also = _slugs(one)
    return Finding(first, claim, one.left, explained, do, tie, tuple(also), party)


def _slugs(one: _Scored) -> tuple[str, ...]:
    """All mistakes of a prediction, the first one first."""
    return tuple(dict.fromkeys(slug for part in (*one.also, one) for slug in (part.hypothesis.slug, *part.edit.also)))
