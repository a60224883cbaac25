"""Changes that are made at once: at all steps of a kind alike, in one call, or in all layers of a
network."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice, takewhile, zip_longest
from typing import TypeVar

from probe.hypotheses.edits.step_words import call_name, joined
from probe.ops.step import Ref, Step
from probe.trial.case import Case, once, shape_of, users_of, without_layer_number
from probe.trial.change import Change
from probe.trial.edit import Edit, Steps
from probe.trial.prices import LISTED

__all__ = [
    "all_and_each",
    "all_of",
    "at_patterns",
    "changed_steps",
    "in_turn",
    "made_together",
    "of_one_pattern",
    "shared",
]

T = TypeVar("T")


def shared(changes: Iterable[Change], case: Case) -> Iterator[Change]:
    """The changes of a case: those that are made at all steps of a kind alike, or at all of these
    in one call or at one place of every layer, those that are possible at one alone, then the first
    ones at each."""
    steps = case.steps
    groups: dict[Hashable, list[Change]] = {}
    with case.budget.aside():
        listed = list(takewhile(lambda _: case.budget.spend(LISTED), changes))
    for one in listed:
        if one.key is not None and one.steps:
            groups.setdefault(one.key, []).append(one)
    told = set[Hashable]()
    for change in listed:
        members = groups.get(change.key, ())
        if len(members) > 1 and change.key not in told:
            told.add(change.key)
            yield from filter(None, (all_of(some, steps) for some in _together(case, members)))
        if len(members) < 2:
            yield change
    yield from (change for change in listed if len(groups.get(change.key, ())) > 1)


def all_and_each(members: list[T], most: int | None = None) -> Iterator[list[T]]:
    """All at once, then each alone where these are several, and no more than ``most``."""
    if members:
        yield members
    if len(members) > 1 and (most is None or len(members) <= most):
        yield from ([member] for member in members)


def all_of(some: Sequence[Change], steps: Steps) -> Change | None:
    """Several changes as one; None where two change the same otherwise, or what the layer gives."""
    merged, outs = _merged(some, steps)
    if not merged or len(outs) > 1:
        return None
    places = list(dict.fromkeys(member.where for member in some))
    shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
    if some[0].where:
        what = some[0].what
    else:
        claims = list(dict.fromkeys(x.what for x in some))
        more = f"; and {len(claims) - 2} more alike" if len(claims) > 2 else ""
        what = "; ".join(claims[:2]) + more
    return replace(
        some[0],
        what=what,
        where=shown,
        steps=merged,
        out=next(iter(outs), None),
        key=None,
        part=None,
        members=tuple(some),
    )


def _together(case: Case, members: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Which changes are made at once: all, and those of one call, such as both means of a norm;
    where steps take other tensors, those in one call and those at one place of every layer."""
    count = len(case.steps)
    places = [member.of if member.of >= 0 else min(member.steps) for member in members]
    if any(
        at < count and step.op is not case.steps[at].op
        for member in members
        for at, step in member.steps.items()
    ):
        yield members
        of_calls: dict[str, list[Change]] = {}
        for at, member in zip(places, members, strict=True):
            if at < len(case.calls):
                of_calls.setdefault(case.calls[at], []).append(member)
        yield from (some for some in of_calls.values() if 1 < len(some) < len(members))
        return
    for numbers in _alike(case, places):
        yield [members[number] for number in numbers]


def at_patterns(case: Case, changes: Iterable[Change]) -> Iterator[Change]:
    """The changes of a kind made at all places of a pattern that repeats."""
    groups: dict[Hashable, list[Change]] = {}
    with case.budget.aside():
        for change in takewhile(lambda _: case.budget.spend(LISTED), changes):
            if change.key is not None and change.steps:
                groups.setdefault(change.key, []).append(change)
    for members in groups.values():
        places = [member.of if member.of >= 0 else min(member.steps) for member in members]
        for alike in of_one_pattern(case, [Ref(at) for at in places]):
            held = {ref.step for ref in alike}
            some = [member for at, member in zip(places, members, strict=True) if at in held]
            if len(some) < len(members):
                yield from filter(None, [all_of(some, case.steps)])


def of_one_pattern(case: Case, refs: Sequence[Ref]) -> list[tuple[Ref, ...]]:
    """The tensors that stand at one place of a pattern that repeats, as those of each pass of a
    loop, of each layer, or of keys and values: made by steps of a kind out of those of the same
    kinds, or taken by those; of three also each two."""
    parts: dict[Hashable, list[Ref]] = {}
    for ref in dict.fromkeys(refs):
        for pattern in _patterns(case, ref) if 0 <= ref.step < len(case.steps) else ():
            parts.setdefault(pattern, []).append(ref)
    found = dict.fromkeys(tuple(some) for some in parts.values() if len(some) > 1)
    pairs = (pair for some in found if len(some) == 3 for pair in combinations(some, 2))
    return list(dict.fromkeys((*found, *pairs)))


@once
def _patterns(case: Case, ref: Ref) -> list[Hashable]:
    kind = _kind(case, ref), ref.index
    made_of = tuple(_kind(case, source) for source in case.steps[ref.step].sources(ref.step))
    takers = frozenset(_kind(case, Ref(user)) for user in users_of(case).get(ref, ()))
    return [("made of", kind, made_of), ("taken by", kind, takers)]


def _kind(case: Case, ref: Ref) -> Hashable:
    if ref.step < 0:
        return ref.index
    return type(case.steps[ref.step].op), shape_of(case, ref)


def _alike(case: Case, places: Sequence[int]) -> Iterator[list[int]]:
    """Which of several steps belong together, by their numbers among these: all, those in the same
    call, those at the same place of each layer, those that steps of the same kinds take, and those
    of one module that is called several times."""
    parts: dict[Hashable, list[int]] = {"": list(range(len(places)))}
    users = users_of(case)
    for number, at in enumerate(places):
        if at >= len(case.calls):
            continue
        takers = frozenset(type(case.steps[user].op) for user in users.get(Ref(at), ()))
        name = without_layer_number(case.calls[at])
        call = name.partition("/")[0] if "/" in name else name.rpartition(".")[0]
        module = case.calls[at].partition(":")[0]
        for key in (("in", call), ("at", name), ("into", takers), ("called", module)):
            parts.setdefault(key, []).append(number)
    yield from (list(some) for some in dict.fromkeys(map(tuple, parts.values())) if len(some) > 1)


def _anywhere(case: Case, claim: str, call: str) -> str:
    """A claim as it would be of any layer's call."""
    for name in filter(None, (call, call_name(case, call))):
        claim = claim.replace(name, "")
    return without_layer_number(claim)


def changed_steps(case: Case, edit: Edit) -> list[int]:
    """The steps of which an edit changes the ops or what they take; none where it adds others."""
    if len(edit.steps) != len(case.steps) or edit.inputs is not case.inputs or edit.fitted:
        return []
    return [at for at, step in enumerate(case.steps) if edit.steps[at] is not step]


def made_together(case: Case, edits: Iterable[tuple[Edit, bool]]) -> Iterator[Edit]:
    """Edits of steps in one call, each with whether it is likely, made in all calls alike where one
    is: what is done wrong in one layer of a network is done wrong in all."""
    held: dict[tuple[type, ...], dict[int, list[tuple[Edit, bool, list[int]]]]] = {}
    for edit, likely in edits if case.calls else ():
        if changed := changed_steps(case, edit):
            kinds = tuple(type(case.steps[at].op) for at in changed)
            held.setdefault(kinds, {}).setdefault(changed[0], []).append((edit, likely, changed))
    for found in held.values():
        places, seen = list(found), set[tuple[int, ...]]()
        for some in _alike(case, places):
            names = [case.calls[places[number]] for number in some]
            if len({*names}) < len(names):
                continue
            rows: dict[str, list[tuple[Edit, bool, list[int]]]] = {}
            for number, name in zip(some, names, strict=True):
                for member in found[places[number]]:
                    rows.setdefault(_anywhere(case, member[0].claim, name), []).append(member)
            for alike in rows.values():
                which = tuple(id(edit) for edit, *_ in alike)
                made = {at: edit.steps[at] for edit, _, changed in alike for at in changed}
                disjoint = len(made) == sum(len(changed) for _, _, changed in alike)
                likely = any(likely for _, likely, _ in alike)
                if len(alike) > 1 and disjoint and likely and which not in seen:
                    seen.add(which)
                    steps = tuple(made.get(at, step) for at, step in enumerate(case.steps))
                    first, where = alike[0][0], [case.calls[changed[0]] for *_, changed in alike]
                    claim = f"{first.claim}{_in_all(case, first.claim, where)}"
                    yield replace(first, claim=claim, steps=steps)


def _in_all(case: Case, claim: str, calls: Sequence[str]) -> str:
    """Which calls a claim of the first of them is of."""
    names = list(dict.fromkeys(call_name(case, call) for call in calls))
    if "" in names or len(names) < len(calls):
        count = len(calls) - 1
        return f"; the same in {count} more call{'s' * (count > 1)}"
    if names[0] in claim:
        return f"; the same in {joined(names[1:]) if len(names) > 2 else names[1]}"
    return f" in {joined(names)}"


def in_turn(each: Sequence[Iterable[Change]], few: int | None = None) -> Iterator[Change]:
    """The first of each, then the second of each, and so on, or no more than ``few`` of each."""
    for turn in islice(zip_longest(*each), few):
        yield from (change for change in turn if change is not None)


def _merged(members: Sequence[Change], steps: Steps) -> tuple[dict[int, Step], list[Ref]]:
    """The steps with all of the changes, none where two change the same otherwise; and what the
    layer gives where it is no longer what its last step gives."""
    merged: dict[int, Step] = {}
    outs: list[Ref] = []
    free = len(steps)
    for member in members:
        places = {at: free + k for k, at in enumerate(member.new_steps(len(steps)))}
        free += len(places)
        if member.out is not None:
            outs.append(replace(member.out, step=places.get(member.out.step, member.out.step)))
        for old, own in member.steps.items():
            at, step = places.get(old, old), _renumbered(own, old, places)
            before = merged.setdefault(at, step)
            if before is step:
                continue
            if not (step.op is before.op is steps[at].op):
                return {}, outs
            refs = zip(steps[at].sources(at), before.sources(at), step.sources(at), strict=True)
            if any(old != mine != other != old for old, mine, other in refs):
                return {}, outs
            refs = zip(steps[at].sources(at), before.sources(at), step.sources(at), strict=True)
            both = tuple(mine if other == old else other for old, mine, other in refs)
            merged[at] = Step(step.op, both)
    return merged, outs


def _renumbered(step: Step, position: int, places: Mapping[int, int]) -> Step:
    """A step that takes what stands at other places."""
    sources = step.sources(position)
    if not any(ref.step in places for ref in sources):
        return step
    moved = (replace(ref, step=places.get(ref.step, ref.step)) for ref in sources)
    return Step(step.op, tuple(moved))
