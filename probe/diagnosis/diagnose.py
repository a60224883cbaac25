"""Which mistake gives exactly those values: predictions of the hypotheses against what a party
gave.

Every hypothesis yields edited layers. Edits whose output is the healthy one are dropped, the others
are compared with the observation by the allowance of the *edited* layer; one that leaves nothing
beyond it reproduces the party. Cheap looks come first, whole outputs and second mistakes after,
as far as the budget goes.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from probe.diagnosis.localization import unlike_rounding, where_it_sits
from probe.diagnosis.next_input import next_input
from probe.diagnosis.part_of_output import MistakenPart, mistaken_parts, parts_equal_to
from probe.diagnosis.scoring import CLEARLY, Scored, View, freedom, on_the_whole, slugs_of
from probe.diagnosis.search import Progress, Search, confirmed, try_common, try_last
from probe.diagnosis.slice_of_output import is_large, slice_of_output
from probe.diagnosis.two_mistakes import second_mistakes
from probe.hypotheses import CAUSES
from probe.hypotheses.weights.other_weights import more_samples
from probe.ops import Recomputed
from probe.report import Finding
from probe.trial.budget import Budget
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import Rounding, left

__all__ = ["Diagnosis", "diagnose"]

_WORK, _WORK_OF_LARGE = 2.2e9, 7e9
"""The operations of a search: some two seconds of one processor, in a large layer some seven."""
_THOROUGH = 10
"""How many times as many are spent at length."""
_WALL = {False: 60.0, True: 300.0}
"""How many seconds a layer is given that runs a function of the user's own, at length or not: what
that takes has no price, and it may wait for others."""
_SEARCHED = 0.95
"""The share of them for what gives all values; the rest is for what else is to be said."""
_REST = 1000.0
"""A mistake that leaves as many times the allowance, or more, is no part of the reason."""
_NOTHING = 1e-6
"""Share of the difference up to which what is left is float32's rounding, allowed or not."""
_NEARLY = 0.99
"""Share of the difference from which on a mistake that does not reproduce the values says more than
weights that do, of which nothing is known but that they are others."""


@dataclass(frozen=True)
class Diagnosis:
    """The findings, best first, and what else is to be said."""

    findings: tuple[Finding, ...]
    words: tuple[str, ...] = ()
    searching: tuple[str, ...] = ()
    """Those of ``words`` that are about the search: that it stopped, or failed in a part."""
    edits: tuple[Edit, ...] = ()
    """The layers of the findings that reproduce the observation, in their order."""
    spent: float = 0.0
    """How much work it took, as a share of that of a whole search."""
    settled: bool = False
    """Whether one mistake, with nothing fitted, reproduces the observation: none that is found
    later says more."""


@contextmanager
def _no_full_collections() -> Iterator[None]:
    """Garbage is looked for among new objects alone: among all those of a process that holds two
    frameworks that takes half a second, and the search has little more."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


_NEVER = 1 << 30
"""After how many collections of younger objects all are gone through."""


@_no_full_collections()
@np.errstate(all="ignore")
def diagnose(
    case: Case,
    rounding: Rounding,
    *,
    allowed: np.ndarray | None = None,
    certain: bool | None = None,
    party: str = "expected",
    thorough: bool = False,
    share: float = 1.0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Names the mistakes that reproduce the observation, or says that none does and where the error
    sits.

    ``allowed`` is what the healthy layer is allowed where that is more than its rounding.
    ``certain`` False: the difference is improbable as rounding, but a worst case could reach it.
    ``thorough`` tries what is many or slow (every axis order of large kernels, sums of 16 bits in
    several orders, every width of a fixed point for each part, mistakes that help only together).

    Looking stops after so much work, or a ``share`` of it: 2.2e9 operations, in a large block or
    recurrence 7e9, and ten times as many if ``thorough``. What is found does not depend on how fast
    or busy the machine is, unless the layer runs a function of the user's own.
    """
    case = replace(case, thorough=thorough)
    if not np.isfinite(case.seen).any():
        return Diagnosis(
            (),
            ("all of these values are NaN or inf, which no known mistake produces",)
            if case.seen.size
            else (),
        )
    healthy = case.edit("")
    tolerated = rounding
    if allowed is None:
        allowed = rounding.of(healthy, case.values)
    else:
        rounding = rounding.beside(case, allowed)
    if case.comparable and rounding.tolerance is not None:
        derived = replace(rounding, tolerance=None).of(healthy, case.values, case.observed)
        if (ratio := left(case, case.healthy, derived)) <= 1:
            claim = (
                f"the largest difference is only {ratio:.2g} x the allowance for rounding; "
                "your tolerances are tighter than that"
            )
            return Diagnosis((Finding("rounding", claim, ratio, party=party),))
    whole = View(case, rounding, allowed, tolerated)
    part = whole.of_sample()
    is_whole, large = part is whole, is_large(part.case)
    region = slice_of_output(part.case, part.allowed)
    work = (_WORK_OF_LARGE if large else _WORK) * (_THOROUGH if thorough else 1)
    budget = Budget(share * work)
    if any(case.having(Recomputed)):
        budget.wall = share * _WALL[thorough]
    whole = whole.searched(region, budget)
    part = whole if is_whole else part.searched(region, budget)
    search = Search(whole, part, thorough, large, budget, progress)
    with budget.part(_SEARCHED):
        scored, found = _searched(search, party, differing := _differing(case, allowed))
    exact = _told(found, differing)
    chosen = _exact(case, exact) if exact else ()
    tie = len(chosen) > 1
    findings = tuple(_finding(case, one, party, tie, others) for one, others in chosen)
    searching = (*_stopped(search, exact), *search.faults.values())
    words = [*searching, *_telling(case, exact)]
    if found and not exact:
        names = ", ".join(dict.fromkeys(slugs_of(one)[0] for one in found))
        words.append(
            f"{differing} of {case.seen.size} values differ, too few to tell mistakes with as many "
            f"fitted parameters ({names})"
        )
    if not exact:
        findings = _partial(case, _told(scored, differing), party, search)
        unlike = "" if certain is not False or findings else unlike_rounding(case, allowed)
        if certain is False and not findings and not unlike:
            claim = (
                "no known mistake reproduces these values; another order of summation "
                "(Winograd, FFT, sorted terms) could explain the difference"
            )
            findings = (Finding("rounding", claim, left(case, case.healthy, allowed), party=party),)
        elif not findings and (parts := parts_equal_to(case.observed, case.healthy, allowed)):
            words.append(_part_of_output(parts))
        elif not findings:
            mistaken = () if case.comparable else mistaken_parts(whole.case, rounding, search.edits)
            findings = tuple(_of_part(one, party, len(mistaken) > 1) for one in mistaken)
            if not findings:
                words.append("no known mistake explains the difference")
        if unlike:
            words.append(f"the difference is not rounding: {unlike}")
        words += where_it_sits(case, allowed)
        if search.part is search.whole:
            asked = replace(case, allowed=allowed, budget=budget)
            words += filter(None, [more_samples(asked)])
        if not findings and case.comparable:
            words += filter(None, [_ruled_out(search), next_input(case)])
    edits = tuple(one.edit for one, _ in chosen)
    settled = any(not freedom(one) and not one.also for one, _ in chosen)
    return Diagnosis(findings, tuple(words), searching, edits, budget.used / work, settled)


def _differing(case: Case, allowed: np.ndarray) -> int:
    """How many values are beyond what the layer is allowed; all of them where that is not known."""
    if not case.comparable:
        return case.seen.size
    most = case.pick(np.broadcast_to(allowed, case.healthy.shape))
    with np.errstate(invalid="ignore"):
        same = np.abs(case.seen - case.pick(case.healthy)) <= most
    return int(np.count_nonzero(~same))


def _told(exact: Sequence[Scored], differing: int) -> list[Scored]:
    """Those that fitted fewer numbers than there are differing values: as many would reproduce
    any values."""
    return [one for one in exact if not freedom(one) or freedom(one) < differing]


def _searched(search: Search, party: str, differing: int) -> tuple[list[Scored], list[Scored]]:
    """All common mistakes, scored, and what reproduces the observation: common ones, those that are
    tried last, and two at once."""
    scored = try_common(search)
    found = confirmed([one for one in scored if one.exact], search)
    case = search.whole.case
    if _told(found, differing) or not case.comparable:
        return scored, found
    last = try_last(search)
    exact = [one for one in last if one.edit.short]
    exact = exact or confirmed(second_mistakes(scored, search, not last), search)
    # weights that are unlike the layer's say less than a mistake that leaves next to nothing
    partly = _partial(case, _told(scored, differing), party, search)
    near = [one for one in partly if one.explained > _NEARLY]
    return scored, [*found, *(exact or ([] if near else last))]


def _part_of_output(parts: Sequence[str]) -> str:
    places = " or ".join(map(_place, parts))
    return f"your values equal {places}: compare them there with --expect-at {parts[0]}"


def _place(part: str) -> str:
    return f"output[{', '.join(part.split(','))}]"


def _of_part(mistaken: MistakenPart, party: str, tie: bool) -> Finding:
    claim = f"{mistaken.edit.claim}; your values are then {_place(mistaken.part)}"
    do = "; ".join(
        filter(None, (f"compare them there with --expect-at {mistaken.part}", mistaken.edit.do))
    )
    slug, also = mistaken.edit.main or mistaken.hypothesis.slug, mistaken.edit.also
    return Finding(slug, claim, mistaken.left, do=do, tie=tie, also=also, party=party)


def _stopped(search: Search, exact: Sequence[Scored]) -> Iterator[str]:
    """That not all was tried, where nothing gives the values; and in any case that looking took
    longer than its work does. How many were tried is said only where that is always as many."""
    budget = search.budget
    more = "" if search.thorough else f"; --thorough gives it {_THOROUGH} times as much"
    if budget.stopped == "clock":
        yield (
            f"the search for the mistake stopped after {budget.seconds:.3g} s of processor time, "
            f"since the steps of this layer take longer than expected{more}"
        )
    elif budget.stopped == "wall":
        yield (
            f"the search for the mistake stopped after {budget.wall:.3g} s, the limit for a layer "
            "that runs a function of your own"
        )
    elif budget.stopped and not exact:
        yield (
            f"the search for the mistake stopped after {search.tried} candidates, when its budget "
            f"was used up{more}"
        )


def _ruled_out(search: Search) -> str:
    if not search.tried or search.budget.stopped in ("clock", "wall"):
        return ""
    return (
        f"ruled out: {search.tried} changes of the layer, of {len(search.causes)} of the "
        f"{len(CAUSES)} causes that probe causes lists"
    )


def _exact(case: Case, exact: Sequence[Scored]) -> tuple[tuple[Scored, Sequence[str]], ...]:
    """The exact ones, those that fitted least first, one for each slug, and the claims of its
    others."""
    best: dict[tuple[str, ...], Scored] = {}
    others: dict[tuple[str, ...], list[str]] = {}
    for one in exact:
        slugs = tuple(sorted(slugs_of(one)))
        if slugs in best:
            others.setdefault(slugs, []).append(one.edit.claim)
        else:
            best[slugs] = one
    if any(not freedom(one) for one in best.values()):
        best = {slugs: one for slugs, one in best.items() if 2 * freedom(one) < case.seen.size}
    return tuple((one, others.get(slugs, ())) for slugs, one in best.items())


def _telling(case: Case, exact: Sequence[Scored]) -> Iterator[str]:
    """What would tell the first two of several exact explanations apart."""
    first = next(iter(exact), None)
    second = next(
        (one for one in exact if first is not None and slugs_of(one) != slugs_of(first)), None
    )
    if first is None or second is None:
        return
    pair = [case.evaluator.everywhere(one.edit) for one in (first, second)]
    if pair[0] is None or pair[1] is None or case.known is None:
        yield (
            "these explanations give the same values for this input: use another input to "
            "tell them apart"
        )
        return
    left, right = (np.asarray(values[-1][0]) for values in pair if values is not None)
    if left.shape != right.shape:
        return
    apart = np.abs(left - right)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), apart.shape))
    if apart[index] > 1e-4 * max(abs(left[index]), abs(right[index])):
        names = (
            f"{slugs_of(first)[0]} predicts {left[index]:.9g}, {slugs_of(second)[0]} "
            f"{right[index]:.9g}"
        )
        yield (
            f"your value at [{', '.join(map(str, index))}] would decide between these "
            f"explanations: {names}"
        )


def _little(scored: Scored) -> bool:
    """Whether a mistake leaves little of what is allowed, or next to nothing of the difference:
    where values are copied nothing is allowed."""
    return scored.left < _REST or scored.share < _NOTHING


def _partial(
    case: Case, scored: Sequence[Scored], party: str, search: Search
) -> tuple[Finding, ...]:
    """The one that leaves clearly less than any other, where there is one and enough values to say
    so."""
    enough = [one for one in scored if _little(one) and case.seen.size >= 8 * (1 + one.edit.fitted)]
    ranked = sorted(enough, key=lambda one: one.share)
    if not ranked or ranked[0].share > CLEARLY:
        return ()
    best = ranked[0]
    close = [one for one in ranked if one.share < 3 * best.share]
    slugs = dict.fromkeys(one.hypothesis.slug for one in close)
    if len(slugs) > 3:
        return ()
    firsts = [next(one for one in close if one.hypothesis.slug == slug) for slug in slugs]
    if search.part is not search.whole:
        again = [on_the_whole(one, search.whole) for one in firsts]
        firsts = [one for one in again if one is not None and one.share <= CLEARLY and _little(one)]
    return tuple(_finding(case, one, party, len(firsts) > 1, ()) for one in firsts)


def _finding(case: Case, scored: Scored, party: str, tie: bool, others: Sequence[str]) -> Finding:
    parts = (*scored.also, scored)
    claim = "; and ".join(part.edit.claim for part in parts) + _where(case, scored)
    if others := [other for other in dict.fromkeys(others) if other != scored.edit.claim]:
        claim += f"; another variant of it gives the same values: {others[0]}"
    do = "; ".join(dict.fromkeys(part.edit.do for part in parts if part.edit.do))
    explained = 1.0 if scored.exact else max(0.0, 1 - scored.share)
    first, *also = slugs_of(scored)
    return Finding(
        first, claim, scored.left, explained, do, tie, tuple(also), party, scored.edit.recovered
    )


def _where(case: Case, scored: Scored) -> str:
    """In which call of a block a mistake is, where its claim does not say so and it could be in
    another one."""
    old, new = ([id(step.op) for step in steps] for steps in (case.steps, scored.edit.steps))
    start = sum(1 for _ in takewhile(_is_same, zip(old, new, strict=False)))
    behind = zip(reversed(old[start:]), reversed(new[start:]), strict=False)
    stop = len(old) - sum(1 for _ in takewhile(_is_same, behind))
    calls = {*case.calls[start:stop]}
    if scored.also or len(calls) != 1:
        return ""
    (call,) = calls
    kinds = {type(case.steps[at].op) for at in range(start, stop)}
    others = {case.calls[at] for at, step in enumerate(case.steps) if type(step.op) in kinds}
    return f" in {call}" if len(others) > 1 and call not in scored.edit.claim else ""


def _is_same(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]
