"""Loops that a model's code runs step by step, such as recurrences written out in ``forward``."""

import re
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np

from probe.hypotheses.edits.rewriting import of_parameters
from probe.ops import Constant
from probe.ops.base import Rearrangement
from probe.ops.step import Ref, weights_of
from probe.trial.case import Case, once, shape_of, users_of

__all__ = [
    "Loop",
    "Repetition",
    "alike_loops",
    "in_one_pass",
    "loops",
    "repetitions",
    "without_count",
]

_LEAST_PASSES, _LEAST_STEPS = 3, 3
"""How many passes, and of how many steps, are a loop."""
_COUNTED = re.compile(r"[:_]\d+$")
"""What tells the calls of one module or function apart."""


@dataclass(frozen=True, eq=False)
class Loop:
    """Steps that stand several times behind one another."""

    case: Case
    start: int
    size: int
    """How many steps a pass has."""
    passes: int
    part: Mapping[int, Mapping[int, int]]
    """The first pass (-1) and the last ones (from ``passes`` on) where they lack some of the steps,
    such as what a state of zeros makes 0 and what nothing takes: the positions of those that they
    have."""
    inputs: tuple[tuple[Ref, ...], ...]
    """What a pass takes from outside of it: of each tensor which one it is in every whole pass."""
    given: tuple[tuple[int, int], ...]
    """What it gives: the step within it, and as which of the inputs the next pass takes that; -1:
    what follows the loop takes it."""

    @property
    def numbers(self) -> list[int]:
        """The passes."""
        return sorted({*range(self.passes), *self.part})

    def at(self, number: int, place: int) -> int | None:
        """The position of a step of a pass; None where that pass lacks it."""
        if number in self.part:
            return self.part[number].get(place)
        return self.start + number * self.size + place

    def input(self, number: int, index: int) -> Ref | None:
        """What a pass takes from outside; None where one that lacks steps does not tell."""
        refs = self.inputs[index]
        if number not in self.part:
            return refs[number]
        place = self.carried().get(index)
        if number > 0 and place is not None:
            before = self.at(number - 1, place)
            return None if before is None else Ref(before)
        return refs[0] if len({*refs}) == 1 else self._taken_there(number, index)

    def _taken_there(self, number: int, index: int) -> Ref | None:
        """An input of a pass that lacks steps, as one of those that it has takes it."""
        for place, at in self.part[number].items():
            taken = _sources(self.case, self.start, self.size, self.passes, place)
            for refs, ref in zip(taken, self.case.steps[at].sources(at), strict=False):
                if refs == self.inputs[index]:
                    return ref
        return None

    @property
    def middle(self) -> int:
        """The pass that stands for all."""
        return self.passes // 2

    @property
    def first(self) -> int:
        """Where the loop begins."""
        return min(self.part.get(-1, {}).values(), default=self.start)

    @property
    def end(self) -> int:
        """What follows the loop begins there."""
        own = self.start + self.passes * self.size - 1
        return max([own, *(at for places in self.part.values() for at in places.values())]) + 1

    def carried(self) -> dict[int, int]:
        """The inputs of a pass that the one before gives, and by which of its steps."""
        return {index: place for place, index in self.given if index >= 0}


@once
def loops(case: Case) -> list[Loop]:
    """The loops of a case that take up the most steps, none within another."""
    found: list[Loop] = []
    for at, size, length in repetitions(case):
        if length // size + 1 < _LEAST_PASSES:
            continue
        if all(at + length + size <= loop.first or at >= loop.end for loop in found):
            found.append(_aligned(case, at, size, length))
    return found


class Repetition(NamedTuple):
    """Steps in a row, each of the kind of that which stands ``size`` steps before it."""

    before: int
    """That of the first of them."""
    size: int
    length: int
    """How many they are."""


@once
def repetitions(case: Case) -> list[Repetition]:
    """Those of a case of half a pass at least, the longest first."""
    numbers: dict[Hashable, int] = {}
    kinds = [_kind(case, position) for position in range(len(case.steps))]
    codes = np.array([numbers.setdefault(kind, len(numbers)) for kind in kinds])
    found: list[Repetition] = []
    for size in range(_LEAST_STEPS, 2 * len(kinds) // 3 + 1):
        at = 0
        for same, members in groupby(codes[size:] == codes[:-size]):
            length = len(list(members))
            if same and 2 * length >= size:
                found.append(Repetition(at, size, length))
            at += length
    return sorted(found, key=lambda each: (-each.length - each.size, each.size))


def _kind(case: Case, position: int) -> Hashable:
    """What the same step of another pass has in common with one; of what no call gives nothing,
    where others are of calls."""
    call = case.calls[position] if position < len(case.calls) else ""
    if not any(case.calls):
        step, value = case.steps[position], case.values[position][0]
        numbers = value.tobytes() if isinstance(step.op, Constant) else b""
        return type(step.op), np.shape(value), tuple(weights_of((step,))), numbers
    if not call:
        return position
    name = _line(case, position) or without_count(call.removeprefix("constant/"))
    return name, type(case.steps[position].op), shape_of(case, Ref(position))


def _line(case: Case, position: int) -> str:
    """The line of the model's code that a step is of; "" where that is not known."""
    site = case.sites.get(case.calls[position]) if position < len(case.calls) else None
    return site.code if site is not None else ""


@once
def alike_loops(case: Case) -> list[list[Loop]]:
    """The loops of a case that do more than move elements, those of the same code together, such as
    one for each direction or layer; those that carry a state first."""
    found: dict[Hashable, list[Loop]] = {}
    for loop in loops(case):
        span = range(loop.start, loop.start + loop.size)
        kinds = [(_line(case, at), type(case.steps[at].op)) for at in span]
        if not all(issubclass(kind, Rearrangement) for _, kind in kinds):
            found.setdefault((*kinds, *_wiring(loop), loop.given), []).append(loop)
    groups = sorted(found.values(), key=lambda group: group[0].start)
    return sorted(groups, key=lambda group: not group[0].carried())


def _wiring(loop: Loop) -> Iterator[Hashable]:
    """What each step of a pass takes, by its place in the pass or among what that is given."""
    numbers = {refs: index for index, refs in enumerate(loop.inputs)}
    for place in range(loop.size):
        for refs in _sources(loop.case, loop.start, loop.size, loop.passes, place):
            yield numbers.get(refs, (refs[0].step - loop.start, refs[0].index))
        yield None


def without_count(call: str) -> str:
    """The name of a call without which of its calls it is."""
    return _COUNTED.sub("", call)


def _aligned(case: Case, at: int, size: int, length: int) -> Loop:
    """The loop of a run of steps, each of which is of the kind of that ``size`` steps behind it:
    the passes begin with the first line of the code, or where that does not tell, where least is
    handed from one to the next."""
    first = _first_of_lines(case, range(at, at + size))
    if first is not None and (passes := (at + size + length - first) // size) >= _LEAST_PASSES:
        return _loop(case, first, size, passes)
    passes = length // size + 1
    spare = length % size
    tried = [_loop(case, at + shift, size, passes) for shift in range(spare + 1)]
    return min(tried, key=lambda loop: len(loop.inputs))


def _first_of_lines(case: Case, span: range) -> int | None:
    """The step of a pass that is of the first line of the code where the last of them stands
    before it; None where a pass is not of the lines of one function."""
    places = [_PLACE.match(_line(case, at)) for at in span]
    known = [place for place in places if place is not None]
    if len(known) < len(places) or len({place[1] for place in known}) > 1:
        return None
    lines = [int(place[2]) for place in known]
    drops = [before - line for before, line in zip([lines[-1], *lines], lines, strict=False)]
    first = max(range(len(lines)), key=lambda k: drops[k])
    return span[first] if drops[first] > 0 and lines[first] == min(lines) else None


_PLACE = re.compile(r"(.+?):(\d+): ")
"""The file and the line that a line of code begins with."""


def _loop(case: Case, start: int, size: int, passes: int) -> Loop:
    inputs: dict[tuple[Ref, ...], int] = {}
    given: dict[tuple[int, int], None] = {}
    for place in range(size):
        for refs in _sources(case, start, size, passes, place):
            if not _within(refs, start, size):
                index = inputs.setdefault(refs, len(inputs))
                before = refs[1].step - start
                if 0 <= before < size and _handed_on(refs[1:], start, size):
                    given[before, index] = None
    part = dict(enumerate(_ending(case, start, size, passes), passes))
    if len(before_it := _before(case, start, size)) > size // 2:
        part[-1] = before_it
    loop = Loop(case, start, size, passes, part, tuple(inputs), tuple(given))
    for place in range(size):
        takers = users_of(case).get(Ref(start + (passes - 1) * size + place), ())
        if any(user >= loop.end for user in takers) or (
            loop.end == len(case.steps) and place == size - 1
        ):
            given[place, -1] = None
    return replace(loop, given=tuple(given))


def _ending(case: Case, start: int, size: int, passes: int) -> Iterator[dict[int, int]]:
    """The steps of each pass behind the whole ones, by their places in it: of the very last ones
    only what leads to an output is left."""
    end = start + passes * size
    users = users_of(case)
    shown = {k for k in range(size) if any(at >= end for at in users.get(Ref(start + k), ()))}
    while found := _behind(case, end, start + (passes - 1) * size, size):
        known = all(_line(case, at) for at in found.values())
        if len(found) <= size // 2 and not (known and shown and shown <= found.keys()):
            return
        yield found
        end = max(found.values()) + 1


def _behind(case: Case, end: int, last: int, size: int) -> dict[int, int]:
    """The steps from ``end`` on that are those of one pass more, by their places in it; the
    ``last`` whole one begins there."""
    found: dict[int, int] = {}
    place = 0
    for at in range(end, len(case.steps)):
        alike = (k for k in range(place, size) if _is_same(case, last + k, at))
        found_at = next(alike, None)
        if found_at is not None:
            found[found_at], place = at, found_at + 1
        elif at not in of_parameters(case):
            break
    return found


def _before(case: Case, start: int, size: int) -> dict[int, int]:
    """The steps up to ``start`` that are those of one pass before, by their places in it."""
    found: dict[int, int] = {}
    place = size
    for at in range(start - 1, -1, -1):
        alike = (k for k in range(place - 1, -1, -1) if _is_same(case, start + k, at))
        found_at = next(alike, None)
        if found_at is not None:
            found[found_at], place = at, found_at
        elif at not in of_parameters(case):
            break
    return found


def _is_same(case: Case, position: int, other: int) -> bool:
    """Whether a step is the one of another pass: not where in one of them it is a constant."""
    constant = of_parameters(case)
    same = (position in constant) == (other in constant)
    return same and _kind(case, position) == _kind(case, other)


def _sources(
    case: Case, start: int, size: int, passes: int, place: int
) -> Iterator[tuple[Ref, ...]]:
    """What a step takes: of each of its inputs which tensor it is in every pass."""
    positions = [start + number * size + place for number in range(passes)]
    yield from zip(*(case.steps[at].sources(at) for at in positions), strict=False)


def _within(refs: Sequence[Ref], start: int, size: int) -> bool:
    """Whether a tensor is made in each pass itself."""
    return (
        all(
            ref.step - start - number * size == refs[0].step - start >= 0
            for number, ref in enumerate(refs)
        )
        and len({ref.index for ref in refs}) == 1
    )


def _handed_on(refs: Sequence[Ref], start: int, size: int) -> bool:
    """Whether these are of one step in each pass, from the first on."""
    return all(
        ref.step == refs[0].step + number * size and not ref.index
        for number, ref in enumerate(refs)
    )


def in_one_pass(case: Case, steps: Collection[int]) -> bool:
    """Whether these steps are of a single pass of a loop: no port errs in one alone."""
    own = [at for at in steps if at < len(case.steps)]
    return bool(own) and any(
        loop.first <= min(own) and max(own) < min(loop.end, min(own) + loop.size)
        for loop in loops(case)
    )
