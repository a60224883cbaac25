"""Modules of a kind that stand side by side or behind one another, such as the entries of a list,
with the parameters of others of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations

from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.listed_names import joined
from probe.hypotheses.registry import more
from probe.ops.step import Step, weight_fields
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_MOST = 8
"""Of how many modules each two are exchanged."""
_LISTS = 4
"""Of how many lists of modules the entries are exchanged together."""


_Family = tuple[list[str], list[list[str]]]
"""The names of the modules of a list, and of each those of its parameters."""


@more("other-tensor")
def parameters_of_siblings(case: Case) -> Iterator[Changes]:
    """All modules of a list with the parameters of the first or the last, each with those of the
    one before or behind it, or one or two with each other's."""
    yield Changes(_of_siblings, "other-tensor", STEPS)


def _of_siblings(case: Case) -> Iterator[Change]:
    weights = {
        weight.name: weight for step in case.steps for weight in weight_fields(step.op).values()
    }
    families = list(_siblings(weights))
    for some in [[family] for family in families] + _of_one_length(families):
        for orders in zip(*(_orders(names) for names, _ in some), strict=True):
            others = {
                mine: weights[theirs]
                for (_, members), (_, order) in zip(some, orders, strict=True)
                for number, which in enumerate(order)
                for mine, theirs in zip(members[number], members[which], strict=True)
                if which != number
            }
            steps = _using(case, others)
            if len(steps) > 1:
                yield Change(" and ".join(words for words, _ in orders), "", steps)


def _of_one_length(families: Sequence[_Family]) -> list[list[_Family]]:
    """Lists of modules that are as long as others: all of them, and each two."""
    lengths: dict[int, list[_Family]] = {}
    for family in families:
        lengths.setdefault(len(family[0]), []).append(family)
    alike = [some for some in lengths.values() if 1 < len(some) <= _LISTS]
    pairs = (list(two) for some in alike if len(some) > 2 for two in combinations(some, 2))
    return [*alike, *pairs]


def _siblings(weights: Mapping[str, Weight]) -> Iterator[_Family]:
    """The modules whose names differ in one number alone, and the names of their parameters, where
    these are of the same shapes."""
    families: dict[str, dict[int, dict[str, str]]] = {}
    for name in weights:
        for found in _NUMBER.finditer(name):
            family = families.setdefault(name[: found.start()], {})
            family.setdefault(int(found.group()), {})[name[found.end() :]] = name
    for before, family in families.items():
        groups: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = {}
        for number in sorted(family):
            shapes = ((part, weights[name].value.shape) for part, name in family[number].items())
            groups.setdefault(tuple(sorted(shapes)), []).append(number)
        for parts, numbers in groups.items():
            if len(numbers) > 1:
                yield (
                    [f"{before}{number}" for number in numbers],
                    [[family[number][part] for part, _ in parts] for number in numbers],
                )


_NUMBER = re.compile(r"\d+(?=[./]|$)")


def _orders(names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Whose parameters each of several modules uses, in words and numbers."""
    count = len(names)
    own = list(range(count))
    for which in (0, count - 1) if count > 2 else ():
        others = [name for number, name in enumerate(names) if number != which]
        yield f"{joined(others)} use the parameters of {names[which]}", [which] * count
    for words, by in (("behind", 1), ("before", -1)) if count > 2 else ():
        around = [(number + by) % count for number in own]
        text = f"{joined(names)} each use the parameters of the one {words} it"
        yield (
            f"{text}, and the {'last' if by > 0 else 'first'} its own",
            [min(max(number + by, 0), count - 1) for number in own],
        )
        yield text, around
    if count > 2:
        yield f"{joined(names)} use each other's parameters in the reverse order", own[::-1]
    if count <= _MOST:
        for first, second in combinations(own, 2):
            order = list(own)
            order[first], order[second] = second, first
            yield f"the parameters of {names[first]} and {names[second]} are exchanged", order
        for first, second in permutations(own, 2):
            order = list(own)
            order[first] = second
            yield f"{names[first]} uses the parameters of {names[second]}", order


def _using(case: Case, others: Mapping[str, Weight]) -> dict[int, Step]:
    """The steps with other parameters in the place of those of these names."""
    steps: dict[int, Step] = {}
    for position, step in enumerate(case.steps):
        changed = {
            field: replace(others[mine.name], axes=mine.axes, shape=mine.shape, rows=mine.rows)
            for field, mine in weight_fields(step.op).items()
            if mine.name in others
        }
        if changed:
            steps[position] = Step(replace(step.op, **changed), step.sources(position))
    return steps
