"""What is said of the mistakes that reproduce the observation, wholly or nearly: which of them are
named, in which words, and what would tell them apart."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from probe.diagnosis.changed_calls import code_of
from probe.diagnosis.field_words import field_word
from probe.diagnosis.lines_of_code import lines_of
from probe.diagnosis.part_of_output import MistakenPart
from probe.diagnosis.scoring import (
    CLEARLY,
    HELPS,
    Scored,
    exact_part,
    freedom,
    on_the_whole,
    slugs_of,
)
from probe.diagnosis.search import MistakeSearch
from probe.diagnosis.what_to_do import WHAT_TO_DO
from probe.hypotheses.edits.step_words import call_name
from probe.report import Finding
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.trial.fit import sample

__all__ = [
    "determined",
    "equal_parts",
    "explanations",
    "finding_in_part",
    "finding_of",
    "partial_findings",
    "telling_apart",
]

_REST = 1000.0
"""A mistake that leaves as many times the allowance, or more, is no part of the reason."""
_MOST, _ENOUGH = 0.9, 16
"""The share of the values that differ, and how many of these, from which on a mistake is named that
gives each of them exactly."""
_NOTHING = 1e-6
"""Share of the difference up to which what is left is float32's rounding, allowed or not."""


def determined(exact: Sequence[Scored], differing: int) -> list[Scored]:
    """Those that fitted fewer numbers than there are differing values: as many would reproduce
    any values."""
    return [
        candidate for candidate in exact if not freedom(candidate) or freedom(candidate) < differing
    ]


def explanations(case: Case, exact: Sequence[Scored]) -> tuple[tuple[Scored, Sequence[str]], ...]:
    """The exact ones, those that fitted least first, one for each slug, and the claims of its
    others."""
    best: dict[tuple[str, ...], Scored] = {}
    others: dict[tuple[str, ...], list[str]] = {}
    for candidate in exact:
        slugs = tuple(sorted(slugs_of(candidate)))
        if slugs in best:
            others.setdefault(slugs, []).append(candidate.edit.claim)
        else:
            best[slugs] = candidate
    if any(not freedom(candidate) for candidate in best.values()):
        best = {
            slugs: candidate
            for slugs, candidate in best.items()
            if 2 * freedom(candidate) < case.seen.size
        }
    return tuple((candidate, others.get(slugs, ())) for slugs, candidate in best.items())


def telling_apart(case: Case, exact: Sequence[Scored]) -> Iterator[str]:
    """What would tell the first two of several exact explanations apart."""
    first = next(iter(exact), None)
    second = next(
        (
            candidate
            for candidate in exact
            if first is not None and slugs_of(candidate) != slugs_of(first)
        ),
        None,
    )
    if first is None or second is None:
        return
    pair = [case.evaluator.everywhere(candidate.edit) for candidate in (first, second)]
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


def partial_findings(
    case: Case, scored: Sequence[Scored], party: str, search: MistakeSearch
) -> tuple[Finding, ...]:
    """The one that leaves clearly less than any other, where there is one and enough values to say
    so."""
    enough = [
        candidate
        for candidate in scored
        if _little(candidate) and case.seen.size >= 8 * (1 + candidate.edit.fitted)
    ]
    ranked = sorted(enough, key=lambda candidate: candidate.share)
    if not ranked or ranked[0].share > CLEARLY:
        found = _in_most_values(case, scored, party, search)
        return found or _in_most_values(case, search.misses, party, search)
    best = ranked[0]
    close = [candidate for candidate in ranked if candidate.share < 3 * best.share]
    slugs = dict.fromkeys(candidate.hypothesis.slug for candidate in close)
    if len(slugs) > 3:
        return ()
    firsts = [
        next(candidate for candidate in close if candidate.hypothesis.slug == slug)
        for slug in slugs
    ]
    if search.part is not search.whole:
        again = [on_the_whole(first, search.whole) for first in firsts]
        firsts = [
            candidate
            for candidate in again
            if candidate is not None and candidate.share <= CLEARLY and _little(candidate)
        ]
    return tuple(finding_of(case, first, party, len(firsts) > 1, ()) for first in firsts)


def _in_most_values(
    case: Case, scored: Sequence[Scored], party: str, search: MistakeSearch
) -> tuple[Finding, ...]:
    """The mistake that gives nearly all values that differ, each exactly, where one alone does: in
    the few others something else is seen as well."""
    some = sample(search.whole.case, search.whole.allowed)
    if some is None or search.part is not search.whole:
        return ()
    count = int(np.count_nonzero(np.abs(some.observed - some.healthy) > some.allowed))
    parts = {candidate: exact_part(candidate, some) for candidate in scored}
    near = [x for x in scored if parts[x] >= _MOST and not freedom(x) and not x.edit.also]
    # what is left is not all but all of it, and digits that are not written hide no other value
    near = [x for x in near if x.share < HELPS and x.hypothesis.family != "written_values"]
    best = max(near, key=lambda candidate: parts[candidate], default=None)
    slugs = {slugs_of(candidate) for candidate in near}
    if best is None or best.effect is None or count < _ENOUGH or len(slugs) > 1:
        return ()
    with np.errstate(all="ignore"):
        rest = np.abs(some.observed - some.healthy - best.effect) / some.allowed
    finding = finding_of(case, replace(best, left=float(rest.max())), party, False, ())
    given = f"it gives {round(parts[best] * count)} of the {count} values that differ"
    return (replace(finding, claim=f"{finding.claim}; {given}"),)


def finding_of(case: Case, scored: Scored, party: str, tie: bool, others: Sequence[str]) -> Finding:
    parts = (*scored.also, scored)
    edits = [part.edit for part in parts]
    sentences = [_in_words(case, part, edits[:at]) for at, part in enumerate(parts)]
    claim = "; and ".join(claim for claim, _ in sentences) + _where(case, scored)
    if others := [other for other in dict.fromkeys(others) if _says_more(other, claim)]:
        claim += f"; another variant of it gives the same values: {others[0]}"
    do = "; ".join(dict.fromkeys(filter(None, (do for _, do in sentences))))
    explained = 1.0 if scored.exact else max(0.0, 1 - scored.share)
    first, *also = slugs_of(scored)
    return Finding(
        first,
        claim,
        scored.left,
        explained,
        do,
        tie,
        tuple(also),
        party,
        scored.edit.recovered,
        lines_of(case, scored.edit),
        code_of(case, edits),
    )


def _says_more(other: str, claim: str) -> bool:
    """Whether another claim is none that this one holds, such as of one of several layers."""
    if "(fitted" in other and "(fitted" not in claim:
        return False  # a usual number and its neighbour
    return other.partition(";")[0].partition(" in ")[0] not in claim


def _in_words(case: Case, part: Scored, before: Sequence[Edit]) -> tuple[str, str]:
    """The claim of one mistake with the field's word for what it is about, and what to do; those
    ``before`` are told by themselves."""
    slug = part.edit.main or part.hypothesis.slug
    word, do = field_word(case, part.edit, slug, before)
    claim = part.edit.claim
    if word and word not in claim:
        claim = f"{word}: {claim}"
    return claim, part.edit.do or do or WHAT_TO_DO.get(slug, "")


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
    where = call_name(case, call)
    if len(others) > 1 and where and where not in scored.edit.claim:
        return f" in {where}"
    return ""


def _is_same(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def equal_parts(parts: Sequence[str]) -> str:
    places = " or ".join(map(_place, parts))
    return f"your values equal {places}: compare them there with --expect-at {parts[0]}"


def _place(part: str) -> str:
    return f"output[{', '.join(part.split(','))}]"


def finding_in_part(mistaken: MistakenPart, party: str, tie: bool) -> Finding:
    claim = f"{mistaken.edit.claim}; your values are then {_place(mistaken.part)}"
    do = "; ".join(
        filter(None, (f"compare them there with --expect-at {mistaken.part}", mistaken.edit.do))
    )
    slug, also = mistaken.edit.main or mistaken.hypothesis.slug, mistaken.edit.also
    return Finding(slug, claim, mistaken.left, do=do, tie=tie, also=also, party=party)
