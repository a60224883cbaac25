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

import numpy as np

from probe.diagnosis.findings import (
    determined,
    equal_parts,
    explanations,
    finding_in_part,
    finding_of,
    partial_findings,
    telling_apart,
)
from probe.diagnosis.localization import unlike_rounding, where_it_sits
from probe.diagnosis.next_input import next_input
from probe.diagnosis.part_of_output import MistakenPart, mistaken_parts, parts_equal_to
from probe.diagnosis.scoring import Scored, View, freedom, slugs_of
from probe.diagnosis.search import MistakeSearch, Progress, confirmed, try_common, try_last
from probe.diagnosis.slice_of_output import is_large, slice_of_output
from probe.diagnosis.still_right import StillRight, still_right
from probe.diagnosis.two_mistakes import second_mistakes
from probe.diagnosis.what_to_do import WHAT_TO_DO
from probe.hypotheses import CAUSES
from probe.hypotheses.weights.other_weights import more_samples
from probe.ops import Recomputed
from probe.process.interrupts import Shared
from probe.process.one_thread import one_blas_thread
from probe.report import Finding
from probe.trial.budget import Budget
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import RoundingAllowance, left

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
_NEARLY = 0.99
"""Share of the difference from which on a mistake that does not reproduce the values says more than
weights that do, of which nothing is known but that they are others."""


_CLEAR, _AS_CLEAR = 0.05, 3.0
"""The share of the difference that a mistake may leave for no other to be looked for, and how many
times as much as another one it may leave beside that: where a rounding may jump by a level, the
allowance is wide, and many changes lie within it."""


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
    ask: str = ""
    """The call of a block whose output would tell most next."""
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


@one_blas_thread
@Shared(_no_full_collections)
@np.errstate(all="ignore")
def diagnose(
    case: Case,
    rounding: RoundingAllowance,
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
    recurrence 7e9, with a fifth more for single changes of a block, and ten times as many if
    ``thorough``. What is found does not depend on how fast or busy the machine is, unless the layer
    runs a function of the user's own. BLAS computes on one thread meanwhile: most products are
    small, and threads that wait for each other on a busy machine take twenty times as long.
    """
    case = replace(case, thorough=thorough)
    if not case.seen.size:
        return Diagnosis(())
    if reason := _why_not_searched(case):
        return Diagnosis((), (reason,))
    tolerated = rounding
    if allowed is None:
        allowed = rounding.of(case.edit(""), case.values)
    else:
        rounding = rounding.beside(case, allowed)
    if finding := _tight_tolerances(case, rounding, party):
        return Diagnosis((finding,))
    search = _search_of(View(case, rounding, allowed, tolerated), thorough, share, progress)
    with search.budget.part(_SEARCHED):
        scored, found = _searched(search, party)
    exact = determined(found, differing := search.differing)
    chosen = explanations(case, exact) if exact else ()
    tie = len(chosen) > 1
    findings = tuple(
        finding_of(case, candidate, party, tie, others) for candidate, others in chosen
    )
    searching = (*_stopped(search, exact), *search.faults.values())
    words = (*searching, *telling_apart(case, exact))
    where = StillRight()
    if not exact:
        findings = partial_findings(case, determined(scored, differing), party, search)
        findings, more = _unexplained(case, search, findings, certain, party)
        words = (*words, *_too_few(case, found, differing), *more)
        if not findings:
            where = still_right(case, allowed)
            words = (*words, *(where.words or filter(None, [next_input(case)])))
    edits = tuple(candidate.edit for candidate, _ in chosen)
    settled = any(not freedom(candidate) and not candidate.also for candidate, _ in chosen)
    spent = search.budget.used / _work(search.large, thorough)
    return Diagnosis(findings, words, searching, edits, spent, where.ask, settled)


def _why_not_searched(case: Case) -> str:
    """Why no mistake is looked for in values that tell nothing; "" of others."""
    if not np.isfinite(case.seen).any():
        return "all of these values are NaN or inf, which no known mistake produces"
    return _ZERO if _all_zero(case) else ""


def _all_zero(case: Case) -> bool:
    """Whether a party gave 0 for everything, of which the layer gives 0 for less than half."""
    if not case.comparable or case.seen.size < _FEW_ZEROS or case.seen.any():
        return False
    return 2 * int(np.count_nonzero(case.pick(case.healthy))) > case.seen.size


_FEW_ZEROS = 8
"""Of how many zeros no mistake is looked for: each that leaves nothing of the input gives them."""
_ZERO = (
    "all of these values are 0, which too many mistakes give for one to be named: an output that "
    "is not written, an input or a weight that is 0, a fixed point without enough fraction bits"
)


def _tight_tolerances(case: Case, rounding: RoundingAllowance, party: str) -> Finding | None:
    """That the difference is rounding, which the user's own tolerances do not allow."""
    if not case.comparable or rounding.tolerance is None:
        return None
    derived = replace(rounding, tolerance=None).of(case.edit(""), case.values, case.observed)
    if not (ratio := left(case, case.healthy, derived)) <= 1:
        return None
    claim = (
        f"the largest difference is only {ratio:.2g} x the allowance for rounding; "
        "your tolerances are tighter than that"
    )
    return Finding("rounding", claim, ratio, party=party, do=_TOLERANCES)


_TOLERANCES = "compare with wider tolerances, or with none of your own"


def _work(large: bool, thorough: bool) -> float:
    return (_WORK_OF_LARGE if large else _WORK) * (_THOROUGH if thorough else 1)


def _search_of(
    whole: View, thorough: bool, share: float, progress: Progress | None
) -> MistakeSearch:
    """A search with its budget, in a sample of the batch and a slice of the output first where
    the layer is large."""
    part = whole.of_sample()
    is_whole, large = part is whole, is_large(part.case)
    region = slice_of_output(part.case, part.allowed)
    budget = Budget(share * _work(large, thorough))
    if any(whole.case.having(Recomputed)):
        budget.wall = share * _WALL[thorough]
    whole = whole.searched(region, budget)
    part = whole if is_whole else part.searched(region, budget)
    differing = _differing(whole.case, whole.allowed)
    return MistakeSearch(whole, part, thorough, large, budget, progress, differing)


def _too_few(case: Case, found: Sequence[Scored], differing: int) -> Iterator[str]:
    """That too few values differ to tell what was found."""
    if found:
        names = ", ".join(dict.fromkeys(slugs_of(candidate)[0] for candidate in found))
        yield (
            f"{differing} of {case.seen.size} values differ, too few to tell mistakes with as many "
            f"fitted parameters ({names})"
        )


def _unexplained(
    case: Case,
    search: MistakeSearch,
    partial: tuple[Finding, ...],
    certain: bool | None,
    party: str,
) -> tuple[tuple[Finding, ...], list[str]]:
    """What is found where no mistake reproduces the values, these that explain a part of them or
    else another reason; and what is said of the difference."""
    findings, words, unlike = partial, list[str](), ""
    if not partial:
        if certain is False:
            unlike = unlike_rounding(case, search.whole.allowed)
        findings, words = _other_reason(case, search, certain is False and not unlike, party)
    if unlike:
        words.append(f"the difference is not rounding: {unlike}")
    words += where_it_sits(case, search.whole.allowed)
    if search.part is search.whole:
        asked = replace(case, allowed=search.whole.allowed, budget=search.budget)
        words += filter(None, [more_samples(asked)])
    if not findings and case.comparable:
        words += filter(None, [_ruled_out(search)])
    return findings, words


def _other_reason(
    case: Case, search: MistakeSearch, may_be_rounding: bool, party: str
) -> tuple[tuple[Finding, ...], list[str]]:
    """Rounding in another order, or values that are a part of the output, of the layer's own or of
    one with a mistake; or the sentence that there is none."""
    allowed = search.whole.allowed
    if may_be_rounding:
        claim = (
            "no known mistake reproduces these values; another order of summation "
            "(Winograd, FFT, sorted terms) could explain the difference"
        )
        rest, do = left(case, case.healthy, allowed), WHAT_TO_DO["rounding"]
        return (Finding("rounding", claim, rest, party=party, do=do),), []
    if parts := parts_equal_to(case.observed, case.healthy, allowed):
        return (), [equal_parts(parts)]
    mistaken = list[MistakenPart]()
    if not case.comparable:
        mistaken += mistaken_parts(search.whole.case, search.whole.rounding, search.edits)
    if mistaken:
        return tuple(finding_in_part(part, party, len(mistaken) > 1) for part in mistaken), []
    return (), ["no known mistake explains the difference"]


def _differing(case: Case, allowed: np.ndarray) -> int:
    """How many values are beyond what the layer is allowed; all of them where that is not known."""
    if not case.comparable:
        return case.seen.size
    most = case.pick(np.broadcast_to(allowed, case.healthy.shape))
    with np.errstate(invalid="ignore"):
        same = np.abs(case.seen - case.pick(case.healthy)) <= most
    return int(np.count_nonzero(~same))


def _searched(search: MistakeSearch, party: str) -> tuple[list[Scored], list[Scored]]:
    """All common mistakes, scored, and what reproduces the observation: common ones, those that are
    tried last, and two at once."""
    scored = try_common(search)
    found = confirmed([candidate for candidate in scored if candidate.exact], search)
    case, differing = search.whole.case, search.differing
    if not case.comparable or any(map(_is_clear, determined(found, differing))):
        return scored, found
    last = try_last(search)
    exact = list(filter(search.settles, last))
    if determined(found, differing):
        return scored, _clearest([*found, *exact])
    exact = exact or confirmed(second_mistakes(scored, search, not last), search)
    # weights that are unlike the layer's say less than a mistake that leaves next to nothing
    partly = partial_findings(case, determined(scored, differing), party, search)
    near = [finding for finding in partly if finding.explained > _NEARLY]
    return scored, [*found, *(exact or ([] if near else last))]


def _is_clear(scored: Scored) -> bool:
    """Whether a mistake explains a difference nearly, and not only within a wide allowance."""
    return scored.share < _CLEAR


def _clearest(exact: Sequence[Scored]) -> list[Scored]:
    """Those that leave as little of the difference as any, or not much more."""
    least = min(candidate.share for candidate in exact)
    return [candidate for candidate in exact if candidate.share <= _AS_CLEAR * least]


def _stopped(search: MistakeSearch, exact: Sequence[Scored]) -> Iterator[str]:
    """That not all was tried, where nothing gives the values; and in any case that looking took
    longer than its work does. How many were tried is said only where that is always as many."""
    budget = search.budget
    if search.thorough:
        more = ""
    else:
        more = f"; --thorough gives it {_THOROUGH} times as much"
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


def _ruled_out(search: MistakeSearch) -> str:
    if not search.tried or search.budget.stopped in ("clock", "wall"):
        return ""
    return (
        f"ruled out: {search.tried} changes of the layer, of {len(search.causes)} of the "
        f"{len(CAUSES)} causes that probe causes lists"
    )
