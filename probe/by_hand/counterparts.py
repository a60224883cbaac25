"""Which step of a layer each step of the layer with a mistake in it stands for."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probe.by_hand.plan import Plan
from probe.by_hand.script import Computation
from probe.ops.step import Ref

__all__ = ["Counterparts", "counterparts"]

_SEVERAL = 3
"""From so many uses on, two tensors that are exchanged are so where they are made, and not in each
use."""


@dataclass(frozen=True)
class Counterparts:
    """What the steps of a mistake are in the layer."""

    steps: Mapping[int, int] = field(default_factory=dict)
    """The layer's step by that of the mistake: they have the same names."""
    replaced: Mapping[tuple[int, Ref], Ref] = field(default_factory=dict)
    """(step, what it takes) of the mistake: the layer's tensor whose place this takes in all its
    uses."""


def counterparts(layer: Computation, mistaken: Computation) -> Counterparts:
    """By the ops that are the same, and by what their outputs are used for."""
    own, other = Plan(layer), Plan(mistaken)
    same = _same_ops(layer, own.needed, mistaken, other.needed)
    uses: dict[Ref, list[tuple[int, Ref]]] = {}
    roles: dict[Ref, list[Ref]] = {}

    def paired(user: int, mine: Sequence[Ref], theirs: Sequence[Ref]) -> None:
        for first, second in zip(mine, theirs, strict=False):
            uses.setdefault(first, []).append((user, second))
            roles.setdefault(second, []).append(first)

    paired(len(mistaken.steps), own.results, other.results)
    found: dict[int, int] = {}
    for position in reversed(other.needed):
        if position not in same and _hands_down(layer, mistaken, position, same, uses, roles):
            continue
        place = _place(layer, mistaken, position, same, uses, roles)
        if place is None or place in found.values():
            continue
        found[position] = place
        mine, theirs = layer.steps[place], mistaken.steps[position]
        if type(mine.op) is type(theirs.op):
            paired(position, mine.sources(place), theirs.sources(position))
    return Counterparts(found, _replaced(own, uses, found))


def _hands_down(
    layer: Computation,
    mistaken: Computation,
    position: int,
    same: Mapping[int, int],
    uses: dict[Ref, list[tuple[int, Ref]]],
    roles: dict[Ref, list[Ref]],
) -> bool:
    """Whether a step is put behind a changed one of the kind that the layer has in its place: that
    one is what the layer's step stands for."""
    made, (source, *others) = Ref(position), (*mistaken.steps[position].sources(position), Ref(-1))
    if source.step < 0 or source.step in same or len(others) > 1:
        return False
    kind = type(mistaken.steps[source.step].op)
    own = [role for role in roles.get(made, ()) if role.step >= 0]
    if type(mistaken.steps[position].op) is kind or not own:
        return False
    if not all(type(layer.steps[role.step].op) is kind for role in own):
        return False
    for role in own:
        if all(ref == made for _, ref in uses[role]):
            uses[role] = [(position, source)]
            roles.setdefault(source, []).append(role)
    return True


def _place(
    layer: Computation,
    mistaken: Computation,
    position: int,
    same: Mapping[int, int],
    uses: Mapping[Ref, Sequence[tuple[int, Ref]]],
    roles: Mapping[Ref, Sequence[Ref]],
) -> int | None:
    """The layer's step that a step stands for: that of the same op, or that whose place it takes in
    all uses."""
    taken = {
        role.step
        for index in range(len(mistaken.values[position]))
        for role in roles.get(Ref(position, index), ())
        if all(ref == Ref(position, index) for _, ref in uses[role])
    }
    known = same.get(position)
    if len(taken) == 1 and min(taken) >= 0:
        (place,) = taken
        count = max(len(uses.get(Ref(place, k), ())) for k in range(len(layer.values[place])))
        if known is None:
            inserted = place in same.values() and (count < 2 or len(layer.values[place]) > 1)
            return None if inserted else place
        if count >= _SEVERAL and _are_alike(layer, place, known):
            return place
        if type(layer.steps[place].op) is type(mistaken.steps[position].op):
            taken_by = mistaken.steps[position].sources(position)
            mine, theirs = (layer.steps[at].sources(at) for at in (place, known))
            if mine == taken_by != theirs and all(ref.step < 0 for ref in taken_by):
                return place
    return known


def _are_alike(layer: Computation, place: int, other: int) -> bool:
    """Whether two steps do the same kind of thing with the same tensors."""
    first, second = layer.steps[place], layer.steps[other]
    alike = type(first.op) is type(second.op)
    return alike and first.sources(place) == second.sources(other)


def _same_ops(
    layer: Computation, own: Sequence[int], mistaken: Computation, others: Sequence[int]
) -> dict[int, int]:
    """The steps of the same ops that stand in the same order, then all others of the same ops."""
    first = [id(layer.steps[at].op) for at in own]
    second = [id(mistaken.steps[at].op) for at in others]
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    found = {
        others[theirs + k]: own[mine + k]
        for mine, theirs, size in matcher.get_matching_blocks()
        for k in range(size)
    }
    left = {key: at for key, at in zip(first, own, strict=True) if at not in found.values()}
    for key, position in zip(second, others, strict=True):
        if position not in found and key in left:
            found[position] = left.pop(key)
    return found


def _replaced(
    own: Plan, uses: Mapping[Ref, Sequence[tuple[int, Ref]]], found: Mapping[int, int]
) -> dict[tuple[int, Ref], Ref]:
    """The tensors that have a name in the layer and are another one of the mistake's in all uses,
    which is not called so."""
    single = {mine: pairs[0][1] for mine, pairs in uses.items() if len({*map(_ref, pairs)}) == 1}
    elsewhere = {*found.values()}
    return {
        (user, ref): mine
        for mine, ref in single.items()
        if mine.step >= 0 and mine.step not in elsewhere and own.stands_alone(mine.step)
        for user, _ in uses[mine]
    }


def _ref(use: tuple[int, Ref]) -> Ref:
    return use[1]
