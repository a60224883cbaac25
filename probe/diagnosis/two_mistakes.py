"""Two mistakes at once: pairs of edits that reproduce the observation together, of which each alone
leaves a part."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from probe.diagnosis.pairs_of_changes import pairs_of_changes
from probe.diagnosis.scoring import HELPS, Scored, View, exact_part, score
from probe.diagnosis.search import MistakeSearch, in_all_layers, tried_last, try_all
from probe.hypotheses import REGISTERED, Hypothesis
from probe.trial.edit import Edit
from probe.trial.fit import Sample, difference_of, rank_distance, sample
from probe.trial.prices import CANDIDATE, LISTED

__all__ = ["second_mistakes"]

_SUMS, _OF_TWO_SLUGS, _SAME_EFFECT, _OTHER_SIZE = 2000, 10, 0.97, 4.0
"""How many sums of two effects are looked at, and how many of the same two slugs; how much alike
two may be, and by what factor one may come out larger or smaller beside the other."""
_ADDED, _BESIDE, _OF_LIKELY, _OF_OTHERS = 0.25, 0.5, 0.5, 0.25
"""Of what is left those have this share, what is looked for beside some mistakes, and of that what
is tried last beside each one."""
_FOR_CHANGES = 0.3
"""How much pairs of changes may take beside the budget, as a share of it."""
_LIKELY = 0.2
"""What a mistake may leave of the variance of the ranks to be likely one of two: what is tried last
is looked for beside it first."""
_PART = 0.05
"""From which share of what differs on a mistake that gives it exactly is one of two."""
_FIRSTS, _MORE_FIRSTS = 12, 200
"""How many mistakes are tried together with every other one."""
_LATE = 6
"""Beside how many of those that are tried last others of these are."""


def second_mistakes(scored: Sequence[Scored], search: MistakeSearch, last: bool) -> list[Scored]:
    """Pairs of mistakes that reproduce the observation, the first one among those that bring the
    layer nearer to it; one of them, if ``last``, of those that are tried last.

    At length, mistakes that reduce nothing alone are tried too. The second mistakes begin with
    those that help most alone.
    """
    helpful: dict[int, float] = {}
    for candidate in scored:
        helpful[candidate.order] = min(candidate.share, helpful.get(candidate.order, np.inf))
    orders = sorted(range(len(REGISTERED)), key=lambda order: helpful.get(order, np.inf))

    def named(changed: View) -> list[Scored]:
        with search.budget.part(1.0):
            return try_all(changed, search, few=True, orders=orders)

    def of_the_last(changed: View) -> list[Scored]:
        with search.budget.part(_OF_LIKELY if likely else _OF_OTHERS):
            return tried_last(changed, search)

    some = sample(search.part.case, search.part.allowed)
    near = _firsts(scored, search, some)
    likely = [candidate for candidate in near if candidate.unlike < _LIKELY][:1]
    found = _that_add_up(_nearest_sums(scored, scored, some), search) or _beside(
        near, search, named
    )
    if not found and last:
        found = _beside(likely, search, of_the_last)
    if not found:
        with search.budget.beside(_FOR_CHANGES * search.budget.work):
            found = pairs_of_changes(scored, search)
    if found or not last:
        return found
    sums = list(_nearest_sums(scored, search.misses, some))
    found = _that_add_up(sums, search)
    if found:
        return found
    partners = list(dict.fromkeys(second for _, second in sums))[:_FIRSTS]
    late = _firsts(search.misses, search, some)
    return (
        _beside(late, search, named)
        # A mistake that took the layer apart leaves a hypothesis nothing to find; beside the other
        # one it is found again.
        or _beside([*partners, *near], search, of_the_last)
        or _beside(late[:_LATE], search, of_the_last)
    )


def _beside(
    firsts: Iterable[Scored], search: MistakeSearch, seconds: Callable[[View], list[Scored]]
) -> list[Scored]:
    """What reproduces the observation beside one of these mistakes."""
    with search.budget.part(_BESIDE):
        for first in firsts:
            if not search.budget.spend():
                break
            changed = None if first.hypothesis.whole else search.part.became(first.edit)
            found = [
                candidate
                for candidate in (() if changed is None else seconds(changed))
                if candidate.exact
                and candidate.hypothesis.slug != first.hypothesis.slug
                and (changed is None or _explains_more(candidate, changed))
            ]
            if found:
                return [replace(candidate, also=(first,)) for candidate in found]
    return []


def _that_add_up(sums: Iterable[tuple[Scored, Scored]], search: MistakeSearch) -> list[Scored]:
    """The first of these pairs of a mistake and a second one that reproduces the observation."""
    views: dict[int, tuple[View | None, Sample | None]] = {}
    with search.budget.part(_ADDED):
        for first, second in sums:
            if not search.budget.spend():
                break
            if id(first) not in views:
                view = search.part.became(first.edit)
                views[id(first)] = view, None if view is None else sample(view.case, view.allowed)
            changed, there = views[id(first)]
            both = None if changed is None else _both(changed, second, there, search)
            if both is not None and changed is not None and both.exact:
                if _explains_more(both, changed):
                    return [replace(both, also=(first,))]
    return []


def _explains_more(second: Scored, changed: View) -> bool:
    """Whether a second mistake explains more values that the first one leaves than numbers were
    fitted for it: as many would reproduce any values."""
    if not second.edit.fitted:
        return True
    case, allowed = changed.case, np.broadcast_to(changed.allowed, changed.case.healthy.shape)
    with np.errstate(invalid="ignore"):
        same = np.abs(case.seen - case.pick(case.healthy)) <= case.pick(allowed)
    return bool(second.edit.fitted < np.count_nonzero(~same))


def _both(
    changed: View, second: Scored, some: Sample | None, search: MistakeSearch
) -> Scored | None:
    """A second mistake, made again in the layer that the first one changed."""
    for index, edit in _edits(changed, second.hypothesis, search):
        if not search.budget.spend(LISTED):
            break
        if edit.claim == second.edit.claim:
            search.budget.charge(CANDIDATE)
            edit = replace(edit, as_healthy=edit.as_healthy or changed.as_healthy)
            beside = Scored(second.hypothesis, edit, second.order, index)
            return score(changed, edit, beside, some, difference_of(changed.case), few=True)
    return None


def _edits(view: View, hypothesis: Hypothesis, search: MistakeSearch) -> Iterator[tuple[int, Edit]]:
    """The edits of a hypothesis with their numbers, then those made in all layers alike."""
    alone = list[tuple[Edit, bool]]()
    for index, edit in enumerate(search.edits(hypothesis, view.case)):
        yield index, edit
        alone.append((edit, True))
    yield from in_all_layers(view, search, alone, few=True)


def _nearest_sums(
    seconds: Sequence[Scored], firsts: Sequence[Scored], some: Sample | None
) -> Iterator[tuple[Scored, Scored]]:
    """Pairs of mistakes with other slugs, a first and a second: those first whose effects, each in
    about its size, add up to most of the difference (its least squares by two vectors, for all
    pairs at once)."""
    if some is None:
        return
    wanted = some.observed - some.healthy
    size = float(np.linalg.norm(wanted))
    same = seconds is firsts
    seconds, firsts = _with_effect(seconds), _with_effect(firsts)
    if not (seconds and firsts and size) or not np.isfinite(size):
        return
    effects = [
        np.stack([candidate.effect for candidate in each if candidate.effect is not None])
        for each in (seconds, firsts)
    ]
    sizes = [np.maximum(np.linalg.norm(effect, axis=1), 1e-300) for effect in effects]
    units = [effect / norms[:, None] for effect, norms in zip(effects, sizes, strict=True)]
    between = units[0] @ units[1].T
    a, b = np.ix_(*(unit @ wanted / size for unit in units))
    with np.errstate(all="ignore"):
        shares = [(mine - other * between) / (1 - between**2) for mine, other in ((a, b), (b, a))]
        explained = shares[0] * a + shares[1] * b
        # What they leave in their own size tells apart those that differ in size alone.
        m, n = np.ix_(*(norms / size for norms in sizes))
        alone = 1 - 2 * (m * a + n * b) + m**2 + n**2 + 2 * m * n * between
        explained = np.round(explained - 0.1 * np.minimum(1.0, alone), 9)
        possible = np.abs(between) < _SAME_EFFECT
        for factor in (shares[0] / m, shares[1] / n):
            possible &= (factor > 1 / _OTHER_SIZE) & (factor < _OTHER_SIZE)
    explained[~np.triu(possible) if same else ~possible] = -np.inf
    few = min(_SUMS, explained.size) - 1
    nearest = np.argpartition(-explained, few, axis=None)[: few + 1]
    asked: Counter[frozenset[str]] = Counter()
    for flat in nearest[np.lexsort((nearest, -explained.ravel()[nearest]))]:
        i, j = divmod(int(flat), len(firsts))
        slugs = frozenset((seconds[i].hypothesis.slug, firsts[j].hypothesis.slug))
        if len(slugs) < 2 or not explained[i, j] > 0:
            continue
        asked[slugs] += 1
        if asked[slugs] <= _OF_TWO_SLUGS:
            yield firsts[j], seconds[i]


def _with_effect(scored: Sequence[Scored]) -> list[Scored]:
    return [
        candidate
        for candidate in scored
        if candidate.effect is not None
        and np.isfinite(candidate.effect).all()
        and not candidate.hypothesis.whole
    ]


def _firsts(scored: Sequence[Scored], search: MistakeSearch, some: Sample | None) -> list[Scored]:
    """What to look for a second mistake beside, of what brings the layer nearer to the observation:
    ranked in turn by the part of it that they give exactly, by correlation with it and by the
    remaining difference.

    Whatever makes the values small leaves little, though it has nothing to do with them.
    """
    alike = 1.0 if some is None else rank_distance(some.healthy, some.observed) / 2
    thorough = search.thorough
    helping = [
        candidate
        for candidate in scored
        if candidate.share < (np.inf if thorough else HELPS) or candidate.unlike < alike
    ]
    rankings = [
        _two_of_each(sorted(helping, key=key))
        for key in (lambda candidate: candidate.unlike, lambda candidate: candidate.share)
    ]
    parts = {id(candidate): exact_part(candidate, some) for candidate in scored}
    in_part = [candidate for candidate in scored if parts[id(candidate)] > _PART]
    in_part = _two_of_each(sorted(in_part, key=lambda candidate: -parts[id(candidate)]))
    apart: dict[tuple[str, float], Scored] = {}
    for turn in zip_longest(in_part[: _FIRSTS // 2], *rankings):
        for candidate in filter(None, turn):
            apart.setdefault((candidate.hypothesis.slug, round(candidate.share, 6)), candidate)
    return list(apart.values())[: _MORE_FIRSTS if thorough else _FIRSTS]


def _two_of_each(ranked: Sequence[Scored]) -> list[Scored]:
    """The same with the best two of each slug, which are apart, before all others."""
    seen: dict[str, set[float]] = {}
    best: list[Scored] = []
    rest: list[Scored] = []
    for candidate in ranked:
        shares = seen.setdefault(candidate.hypothesis.slug, set())
        new = round(candidate.share, 6) not in shares and len(shares) < 2
        shares.add(round(candidate.share, 6))
        (best if new else rest).append(candidate)
    return [*best, *rest]
