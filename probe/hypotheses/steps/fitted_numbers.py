"""Mistakes that one number makes, which is fitted: a constant or a field of a step is another
number, a tensor is multiplied by one or one is added to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain

import numpy as np

from probe import ops
from probe.hypotheses.edits.loops import in_one_pass
from probe.hypotheses.edits.mapped_tensors import mapped, tensors_of
from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.hypotheses.edits.step_words import place_name, step_name
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change
from probe.trial.edit import Edit
from probe.trial.flow import Flow, flow_of
from probe.trial.prices import CANDIDATE, CHANGE

__all__ = [
    "Number",
    "fitted",
    "fitted_constants",
    "multiplied",
    "numbers_of_constants",
    "numbers_of_ops",
]

_TURNS = 8
_SHRINKS = 0.7
"""What each turn must leave at most, as a share of what was left before."""
_FEWEST = 8
"""Values that must differ for one number to be told."""
_NOTHING = 1e-5
"""A number that is so much smaller than the layer's is 0, or none; one that is as much larger is
none but with few digits."""


_MOVED = 1e-4
"""By which share of its size a number is moved to see what it does."""


@dataclass(frozen=True, eq=False)
class Number:
    """A number that may be another one."""

    slug: str
    have: float
    step: float
    """By how much it is moved to see what it does."""
    change: Callable[[float], Change]

    @property
    def size(self) -> float:
        """What numbers in its place are measured by."""
        return self.step / _MOVED


@more("changed-step")
def fitted_number(case: Case) -> Iterator[Edit]:
    """A number that is no usual one: a constant, a factor, or something added; of several that
    give the values, those of few digits first."""
    yield from _fits(case, numbers_of_constants, _related, numbers_of_ops, _tensors)


def fitted_constants(case: Case) -> Iterator[Edit]:
    """Those of them that are numbers which steps take, alone or made from one another."""
    yield from _fits(case, numbers_of_constants, _related)


def _fits(case: Case, *numbers: Callable[[Case], Iterator[Number]]) -> Iterator[Edit]:
    if case.comparable:
        differing = case.pick(case.healthy != case.observed)
    else:
        differing = np.zeros(0)
    if differing.sum() < _FEWEST:
        return
    whole = decomposed(case)
    flow, longer = flow_of(whole), []
    for number in chain.from_iterable(of(flow.case) for of in numbers):
        if not case.budget.spend(CANDIDATE):
            break
        if in_one_pass(flow.case, number.change(number.have).steps):
            continue
        found = fitted(flow, number)
        if found is None:
            continue
        edit = replace(whole.edit_of(number.change(found), number.slug), fitted=1)
        if found == float(f"{found:.2g}"):
            yield edit
        else:
            longer.append(edit)
    yield from longer


def numbers_of_constants(case: Case) -> Iterator[Number]:
    """Numbers that steps take."""
    for position, step in enumerate(case.steps):
        value = case.values[position][0]
        if isinstance(step.op, ops.Constant | ops.Parameter) and value.size == 1:
            have = float(value.reshape(-1)[0])

            def made(other: float, position: int = position, have: float = have) -> Change:
                shape = case.values[position][0].shape
                held = Step(ops.Constant(np.full(shape, other)), ())
                what = f"{other:.6g} is taken instead of {have:.6g}"
                return Change(what, place_name(case, position), {position: held})

            yield Number("changed-step", have, _MOVED * max(abs(have), 1e-3), made)


_RELATIONS: tuple[Callable[[float], float], ...] = (
    lambda value: 1 - value,
    lambda value: 1 / value if value else np.inf,
    lambda value: -value,
    lambda value: value,
)
"""What one number is made into, where code computes several from it."""
_USUAL = (0.0, 1.0, -1.0)
"""Numbers that are equal without being made from one another."""


def _related(case: Case) -> Iterator[Number]:
    """Numbers that steps take which are made from one: c and 1 - c, 1 / c or -c, or c at several
    places."""
    held = {
        position: float(case.values[position][0].item())
        for position, op in case.having(ops.Constant)
        if case.values[position][0].size == 1 and case.values[position][0].dtype.kind == "f"
    }
    for have in dict.fromkeys(value for value in held.values() if value not in _USUAL):
        same = [at for at, value in held.items() if value == have]
        for relation in _RELATIONS:
            made_of = [at for at, value in held.items() if np.isclose(value, relation(have))]
            places = dict.fromkeys(made_of, relation) | dict.fromkeys(same, _RELATIONS[-1])
            if len(places) > (1 if relation is _RELATIONS[-1] else len(same)):

                def made(
                    other: float,
                    have: float = have,
                    places: dict[int, Callable[[float], float]] = places,
                    relation: Callable[[float], float] = relation,
                ) -> Change:
                    steps = {
                        at: Step(ops.Constant(np.full(shape_of(case, Ref(at)), of(other))), ())
                        for at, of in places.items()
                    }
                    what = f"{other:.6g} is taken instead of {have:.6g}"
                    if relation(have) != have:
                        what += f" and {relation(other):.6g} instead of {relation(have):.6g}"
                    where = dict.fromkeys(place_name(case, at) for at in places)
                    return Change(what, " and ".join(where), steps)

                yield Number("changed-step", have, _MOVED * max(abs(have), 1e-3), made)


def numbers_of_ops(case: Case) -> Iterator[Number]:
    """Numbers that ops hold."""
    for position, step in enumerate(case.steps):
        for part in fields(step.op):
            have = getattr(step.op, part.name)
            if isinstance(have, float) and np.isfinite(have):

                def made(
                    other: float,
                    position: int = position,
                    name: str = part.name,
                    have: float = have,
                ) -> Change:
                    held = case.steps[position]
                    changed = replace(held.op, **{name: other})
                    what = f"{name.replace('_', ' ')} is {other:.6g} instead of {have:.6g}"
                    steps = {position: Step(changed, held.sources(position))}
                    return Change(what, step_name(case, position), steps)

                yield Number("changed-step", have, _MOVED * max(abs(have), 1e-3), made)


def _tensors(case: Case) -> Iterator[Number]:
    """What tensors are multiplied by, or what is added to them."""
    for ref in tensors_of(case):
        x = ref.of(case.inputs, case.values)
        if x.dtype.kind == "f" and x.size > 1:

            def times(other: float, ref: Ref = ref) -> Change:
                return next(mapped(case, ref, multiplied(other)))

            def plus(other: float, ref: Ref = ref) -> Change:
                way = Map(f"taken {other:+.6g}", partial(np.add, other), False)
                return next(mapped(case, ref, way))

            yield Number("scaled-tensor", 1.0, _MOVED, times)
            size = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
            yield Number("scaled-tensor", 0.0, _MOVED * max(size, 1e-6), plus)


def multiplied(factor: float) -> Map:
    """A tensor by a number; by 0 nothing is left of it."""
    words = f"multiplied by {factor:.6g}" if factor else "taken as 0 everywhere"
    return Map(words, partial(np.multiply, factor), False)


def fitted(flow: Flow, number: Number, start: float | None = None) -> float | None:
    """The number that gives next to what was observed, by Newton's method from the layer's own or
    another on; None where none does."""
    case, at = flow.part, number.have
    finite = np.isfinite(case.seen)
    before = np.inf
    y: np.ndarray | None = case.healthy
    if start is not None:
        at, y = start, flow.predicted(number.change(start))
    for _ in range(_TURNS):
        if y is None or y.shape != case.observed.shape:
            return None
        with np.errstate(all="ignore"):
            error = (case.seen - case.pick(y))[finite]
            left = float(error @ error)
            if not left <= _SHRINKS * before:
                break
            moved = flow.predicted(number.change(at + number.step))
            if moved is None or moved.shape != y.shape:
                return None
            slope = (case.pick(moved - y) / number.step)[finite]
            steep = float(slope @ slope)
            if not (steep > 0 and np.isfinite(steep)):
                return None
            at, before = at + float(slope @ error) / steep, left
        y = flow.predicted(number.change(at))
    if y is None or at == number.have:
        return None
    at = next(
        (near for near in (round(at), float(f"{at:.2g}")) if abs(at - near) <= 1e-5 * abs(near)), at
    )
    endless = abs(at) * _NOTHING > number.size and at != float(f"{at:.2g}")
    if endless or not flow.look.anything:
        return None
    for other in (0.0, at) if 0 < abs(at) < _NOTHING * number.size else (at,):
        if not flow.case.budget.spend(CHANGE):
            return None
        tried = flow.tried(number.change(other))
        if tried is not None and tried.near:
            return None if 0 < abs(other) < _NOTHING * abs(number.have) else other
    return None
