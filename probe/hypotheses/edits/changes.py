"""One change in the steps of a layer, what it would give, and which of many changes give what was
observed."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile, zip_longest
from typing import NamedTuple

import numpy as np

from probe.evaluation.output_slices import Region
from probe.numerics.dtypes import widened
from probe.ops.base import Op
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step
from probe.trial.case import Case, Edit, Steps, users_of, without_layer_number
from probe.trial.prices import CHANGE, LISTED

__all__ = [
    "MISSES",
    "Change",
    "Flow",
    "Miss",
    "edit",
    "in_turn",
    "made_together",
    "shared",
]


@dataclass(frozen=True, eq=False)
class Change:
    """One thing done otherwise: steps that stand in place of a layer's, and new ones."""

    what: str
    """What was done, with its verb."""
    where: str
    """At which step; "" where ``what`` says it."""
    steps: Mapping[int, Step]
    """Steps by their positions; those from the number of the layer's steps on are new, and run as
    soon as what they take is there."""
    out: Ref | None = None
    """What the layer gives, where that is no longer what its last step gives."""
    key: Hashable = None
    """Equal for the same change at other steps."""
    part: Hashable = None
    """What is changed: of several values that give what was observed the first is taken."""
    inputs: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Inputs of the call that are others."""
    of: int = -1
    """Which step it is about, where that is not the first of those that change."""
    members: tuple["Change", ...] = ()
    """The changes at single steps that it is made of."""

    @property
    def claim(self) -> str:
        return f"{self.what} in {self.where}" if self.where else self.what

    def applied(self, steps: Steps) -> Steps:
        """All steps, in an order in which they can run."""
        count = len(steps)
        new = self.new_steps(count)
        order = sorted([*range(count), *new], key=lambda at: (new.get(at, at), at))
        place = {old: at for at, old in enumerate(order)}

        def moved(ref: Ref) -> Ref:
            return replace(ref, step=place[ref.step]) if ref.step >= 0 else ref

        made = []
        for old in order:
            step = self.steps.get(old) or steps[old]
            sources = step.sources(old)
            same = not new and old not in self.steps
            made.append(step if same else Step(step.op, tuple(map(moved, sources))))
        if self.out is not None:
            made.append(Step(Outputs(), (moved(self.out),)))
        return tuple(made)

    def new_steps(self, count: int) -> dict[int, int]:
        """Behind which of a layer's ``count`` steps each new one runs, in their order."""
        found: dict[int, int] = {}
        for at in sorted(at for at in self.steps if at >= count):
            taken = (ref.step for ref in self.steps[at].sources(at))
            found[at] = max((found.get(step, step) for step in taken), default=-1)
        return dict(sorted(found.items(), key=lambda one: one[::-1]))


class Miss(NamedTuple):
    """A change that does not give what was observed, how far it is off, and what it gives."""

    off: float
    change: Change
    values: np.ndarray


class Flow:
    """The steps of a case with what each gives, to be changed; of a large one a slice of the output
    is looked at."""

    def __init__(self, case: Case) -> None:
        self.case, self.count = case, len(case.steps)
        self.inputs = [widened(x) for x in case.inputs]
        self.part = case if case.region is None else _of_region(case, case.region)
        """The case with no more of its output than is looked at."""

    def predicted(self, change: Change) -> np.ndarray | None:
        """The output with a change, as much of it as is looked at; None where it cannot be computed
        or nothing is changed by it."""
        inputs = self.inputs
        if change.inputs:
            inputs = [widened(x) for x in changed_inputs(self.case, change)]
        try:
            with np.errstate(all="ignore"):
                if self.case.region is not None:
                    steps = change.applied(self.case.steps)
                    given = changed_inputs(self.case, change)
                    return self.case.sliced.of(steps, given, self.case.region)
                made = self._made(change, inputs)
                out = Ref(self.count - 1) if change.out is None else change.out
                if out.step in made:
                    return np.asarray(made[out.step][out.index])
                if out == Ref(self.count - 1):
                    return None
                return np.asarray(out.of(inputs, self.case.values))
        except Exception:  # what a field is changed to need not make sense to its op
            return None

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """An output of which no more is known than is looked at; NaN elsewhere."""
        if self.case.region is None:
            return values
        whole = np.full(self.case.healthy.shape, np.nan)
        self.case.region.of(whole)[...] = values
        return whole

    def _made(
        self, change: Change, inputs: Sequence[np.ndarray]
    ) -> dict[int, tuple[np.ndarray, ...]]:
        """What the steps give that give something else than before."""
        count, values = self.count, self.case.values
        outputs: dict[int, tuple[np.ndarray, ...]] = {}
        behind = change.new_steps(count)
        new = list(behind)
        line = [position for position in change.steps if position < count]
        line += [at for k in change.inputs for at in self._takers.get((-1, k), ())]
        heapify(line)
        last, ran = -1, self.case.budget.ran
        while line or new:
            if new and (not line or line[0] > behind[new[0]]):
                position = new.pop(0)
            elif (position := heappop(line)) == last:
                continue
            last = position
            step = change.steps.get(position)
            op, refs = self._plan[position] if step is None else _planned(step, position)
            given = [
                inputs[k] if at < 0 else outputs[at][k] if at in outputs else values[at][k]
                for at, k in refs
            ]
            results = op.run(*given)
            ran(op, given, results)
            if position < count:
                if _same(results, values[position]):
                    continue
                for taker in self._takers.get((position, 0), ()):
                    heappush(line, taker)
            outputs[position] = results
        return outputs

    @cached_property
    def _plan(self) -> list[tuple[Op, Sequence[tuple[int, int]]]]:
        return [_planned(step, at) for at, step in enumerate(self.case.steps)]

    @cached_property
    def _takers(self) -> dict[tuple[int, int], list[int]]:
        """Which steps take each input (-1, k), or something of each step (position, 0)."""
        found: dict[tuple[int, int], list[int]] = {}
        for ref, users in users_of(self.case).items():
            key = (ref.step, 0 if ref.step >= 0 else ref.index)
            found.setdefault(key, []).extend(users)
        return found

    @cached_property
    def _observed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """What was observed as far as it is finite, where that is, which values of it differ most,
        and how far a change may be off."""
        case, seen = self.part, self.part.seen
        finite = np.isfinite(seen)
        seen = seen[finite]
        apart = np.abs(case.pick(case.healthy)[finite] - seen if case.comparable else seen)
        order = np.arange(apart.size)
        if apart.size > _LOOKED_AT:
            order = np.argpartition(apart, -_LOOKED_AT)[-_LOOKED_AT:]
        near = _NEAR if case.region is None else _NEAR_IN_SLICE
        return seen, finite, order, near * float(apart.max(initial=0.0))

    def nearest(
        self, changes: Iterable[Change], misses: list[Miss] | None = None
    ) -> Iterator[Change]:
        """The changes whose output is what was observed, or nearly; those of the others that bring
        the layer nearest to it are left in ``misses``."""
        case = self.part
        seen, finite, order, limit = self._observed
        if not seen.size:
            return
        found = set[Hashable]()
        for change in changes:
            if not self.case.budget.spend(CHANGE):
                return
            if change.part in found:
                continue
            values = self.predicted(change)
            if values is None or values.shape != case.observed.shape:
                continue
            y = case.pick(values)[finite]
            with np.errstate(all="ignore"):
                off = np.abs(y[order] - seen[order])
                if (off <= limit).all() and (np.abs(y - seen) <= limit).all():
                    if change.part is not None:
                        found.add(change.part)
                    yield self._needed(change, values)
                elif misses is not None:
                    _keep(misses, Miss(float(off.mean()), change, values))

    def _needed(self, change: Change, values: np.ndarray) -> Change:
        """Of a change at several steps that gives these values no more than it takes."""
        for left_out in change.members if len(change.members) <= _FEW_MEMBERS else ():
            rest = [one for one in change.members if one is not left_out]
            fewer = rest[0] if len(rest) == 1 else _all_of(rest, self.case.steps)
            again = None if fewer is None else self.predicted(fewer)
            if fewer is not None and again is not None and np.array_equal(again, values):
                change = fewer
        return change


def _keep(misses: list[Miss], miss: Miss) -> None:
    """Keeps the nearest few."""
    if len(misses) < MISSES or miss.off < misses[-1].off:
        misses.append(miss)
        misses.sort(key=lambda one: one.off)
        del misses[MISSES:]


def _of_region(case: Case, region: Region) -> Case:
    last, *more = case.values[-1]
    values = [*case.values[:-1], (region.of(last), *more)]
    return replace(case, observed=region.of(case.observed), values=values)


def _planned(step: Step, position: int) -> tuple[Op, Sequence[tuple[int, int]]]:
    """What a step runs, and on what."""
    return step.op, [(ref.step, ref.index) for ref in step.sources(position)]


_NEAR, _NEAR_IN_SLICE = 0.02, 0.05
"""What may be left, as a share of the largest difference, for an exact look; a slice is computed in
float32."""
_LOOKED_AT = 16
_FEW_MEMBERS = 8
"""Of how many changes that are made together each is tried to be left out."""
MISSES = 3
"""How many changes are kept that do not give what was observed."""


def _same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a is b:
        return True
    if a.shape != b.shape or a.size >= (1 << 16):
        return False
    if a.size and a.dtype.kind == "f" and a.item(0) != b.item(0) and a.item(0) == a.item(0):
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


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
            yield from filter(None, (_all_of(some, steps) for some in _together(case, members)))
        if len(members) < 2:
            yield change
    yield from (one for one in listed if len(groups.get(one.key, ())) > 1)


def _all_of(some: Sequence[Change], steps: Steps) -> Change | None:
    """Several changes as one; None where two change the same otherwise, or what the layer gives."""
    merged, outs = _merged(some, steps)
    if not merged or len(outs) > 1:
        return None
    places = list(dict.fromkeys(one.where for one in some))
    shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
    what = some[0].what if some[0].where else " and ".join(dict.fromkeys(x.what for x in some[:2]))
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
    """Which changes are made at once: all; and where steps take other tensors, those in one call
    and those at one place of every layer."""
    count = len(case.steps)
    if any(
        at < count and step.op is not case.steps[at].op
        for one in members
        for at, step in one.steps.items()
    ):
        yield members
        return
    places = [one.of if one.of >= 0 else min(one.steps) for one in members]
    for numbers in _alike(case, places):
        yield [members[number] for number in numbers]


def _alike(case: Case, places: Sequence[int]) -> Iterator[list[int]]:
    """Which of several steps belong together, by their numbers among these: all, those in the same
    call, those at the same place of each layer, and those that steps of the same kinds take."""
    parts: dict[Hashable, list[int]] = {"": list(range(len(places)))}
    users = users_of(case)
    for number, at in enumerate(places):
        if at >= len(case.calls):
            continue
        takers = frozenset(type(case.steps[user].op) for user in users.get(Ref(at), ()))
        name = without_layer_number(case.calls[at])
        call = name.partition("/")[0] if "/" in name else name.rpartition(".")[0]
        for key in (("in", call), ("at", name), ("into", takers)):
            parts.setdefault(key, []).append(number)
    yield from (list(some) for some in dict.fromkeys(map(tuple, parts.values())) if len(some) > 1)


def made_together(case: Case, edits: Iterable[tuple[Edit, bool]]) -> Iterator[Edit]:
    """Edits of steps in one call, each with whether it is likely, made in all calls alike where one
    is: what is done wrong in one layer of a network is done wrong in all."""
    count = len(case.steps)
    held: dict[tuple[type, ...], dict[int, list[tuple[Edit, bool, list[int]]]]] = {}
    for one, likely in edits if case.calls else ():
        if len(one.steps) == count and one.inputs is case.inputs and not one.fitted:
            changed = [at for at in range(count) if one.steps[at] is not case.steps[at]]
            kinds = tuple(type(case.steps[at].op) for at in changed)
            if changed:
                held.setdefault(kinds, {}).setdefault(changed[0], []).append((one, likely, changed))
    for found in held.values():
        places, seen = list(found), set[tuple[int, ...]]()
        for some in _alike(case, places):
            names = [case.calls[places[number]] for number in some]
            if len({*names}) < len(names):
                continue
            rows: dict[str, list[tuple[Edit, bool, list[int]]]] = {}
            for number, name in zip(some, names, strict=True):
                for member in found[places[number]]:
                    rows.setdefault(member[0].claim.replace(name, ""), []).append(member)
            for alike in rows.values():
                which = tuple(id(one) for one, *_ in alike)
                made = {at: one.steps[at] for one, _, changed in alike for at in changed}
                disjoint = len(made) == sum(len(changed) for _, _, changed in alike)
                likely = any(likely for _, likely, _ in alike)
                if len(alike) > 1 and disjoint and likely and which not in seen:
                    seen.add(which)
                    steps = tuple(made.get(at, step) for at, step in enumerate(case.steps))
                    calls = "1 more call" if len(alike) == 2 else f"{len(alike) - 1} more calls"
                    first = alike[0][0]
                    yield replace(first, claim=f"{first.claim}; the same in {calls}", steps=steps)


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
            if any(old != one != other != old for old, one, other in refs):
                return {}, outs
            refs = zip(steps[at].sources(at), before.sources(at), step.sources(at), strict=True)
            both = tuple(one if other == old else other for old, one, other in refs)
            merged[at] = Step(step.op, both)
    return merged, outs


def _renumbered(step: Step, position: int, places: Mapping[int, int]) -> Step:
    """A step that takes what stands at other places."""
    sources = step.sources(position)
    if not any(ref.step in places for ref in sources):
        return step
    moved = (replace(ref, step=places.get(ref.step, ref.step)) for ref in sources)
    return Step(step.op, tuple(moved))


def edit(case: Case, change: Change, slug: str) -> Edit:
    """The change as a hypothesis gives it."""
    steps, inputs = change.applied(case.steps), changed_inputs(case, change)
    return case.edit(change.claim, steps, inputs, main=slug, as_healthy=True)


def changed_inputs(case: Case, change: Change) -> tuple[np.ndarray, ...]:
    if not change.inputs:
        return case.inputs
    return tuple(change.inputs.get(k, x) for k, x in enumerate(case.inputs))
