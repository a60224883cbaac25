"""Numbers of a layer that are others, far from what they are: exponents, bases, limits and factors
by another formula; where several steps take one number or parameter, in all of them at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from probe import ops
from probe.hypotheses.edits.grouped_changes import all_of, of_one_pattern
from probe.hypotheses.edits.mapped_tensors import mapped, tensors_of
from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.hypotheses.edits.rewriting import taking_instead
from probe.hypotheses.edits.step_words import joined, listed, step_name, tensor_name
from probe.hypotheses.registry import more
from probe.hypotheses.steps.fitted_numbers import (
    Number,
    fitted,
    multiplied,
    numbers_of_constants,
    numbers_of_ops,
)
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change
from probe.trial.edit import Edit
from probe.trial.flow import Flow, flow_of
from probe.trial.prices import CHANGE

__all__: list[str] = []

_FEWEST = 8
"""Values that must differ for one number to be told."""
_MOST = 8
"""At how many steps a number is changed at once."""
_NEARER = 0.5
"""What a usual number must leave at most, as a share, for others next to it to be tried."""


@more("changed-step")
def far_number(case: Case) -> Iterator[Edit]:
    """A number is another usual one, however far away, or one that is fitted from there on; at one
    step or at all that take it."""
    if not case.comparable or (case.pick(case.healthy != case.observed)).sum() < _FEWEST:
        return
    whole = decomposed(case)
    flow = flow_of(whole)
    own = flow.case
    numbers = [*numbers_of_constants(own), *numbers_of_ops(own)]
    for number in (*_of_several(own), *numbers):
        if not case.budget.spend():
            return
        yield from (
            replace(whole.edit_of(change, number.slug), fitted=1)
            for change in _changes(flow, number)
        )


@more("scaled-tensor")
def factor_everywhere(case: Case) -> Iterator[Edit]:
    """Tensors at all places of a pattern, such as both branches of a block, are multiplied by one
    number, which is fitted."""
    if not case.comparable or (case.pick(case.healthy != case.observed)).sum() < _FEWEST:
        return
    whole = decomposed(case)
    flow = flow_of(whole)
    refs = [ref for ref in tensors_of(flow.case) if ref.step >= 0 and _is_large(flow.case, ref)]
    for group in of_one_pattern(flow.case, refs):
        if not case.budget.spend(CHANGE):
            return
        if len(group) <= _MOST and all_of(_multiplied(flow.case, group, 2.0), flow.case.steps):
            number = Number("scaled-tensor", 1.0, 1e-4, partial(_all_multiplied, flow.case, group))
            factor = fitted(flow, number)
            if factor is not None:
                yield replace(whole.edit_of(number.change(factor), number.slug), fitted=1)


@more("scaled-tensor")
def factor_for_one(case: Case) -> Iterator[Edit]:
    """A tensor is multiplied by one number, which is fitted, for one of the steps that take it."""
    if not case.comparable or (case.pick(case.healthy != case.observed)).sum() < _FEWEST:
        return
    whole = decomposed(case)
    flow = flow_of(whole)
    users = users_of(flow.case)
    for ref in tensors_of(flow.case):
        if not case.budget.spend(CHANGE):
            return
        takers = users.get(ref, ()) if _is_large(flow.case, ref) else ()
        for user in takers if len(takers) > 1 else ():
            number = Number("scaled-tensor", 1.0, 1e-4, partial(_for_one, flow.case, ref, user))
            factor = fitted(flow, number)
            if factor is not None:
                yield replace(whole.edit_of(number.change(factor), number.slug), fitted=1)


def _for_one(case: Case, ref: Ref, user: int, factor: float) -> Change:
    new = len(case.steps)
    steps = {
        new: Step(ops.Constant(np.full((), factor)), ()),
        new + 1: Step(ops.Mul(), (ref, Ref(new))),
        user: taking_instead(case, user, ref, Ref(new + 1)),
    }
    what = f"{listed([tensor_name(case, ref)])} {multiplied(factor).words} where "
    return Change(f"{what}{step_name(case, user)} takes it", "", steps, of=user)


def _is_large(case: Case, ref: Ref) -> bool:
    x = np.asarray(ref.of(case.inputs, case.values))
    return x.dtype.kind == "f" and x.size > 1


def _multiplied(case: Case, group: Sequence[Ref], factor: float) -> list[Change]:
    return [next(mapped(case, ref, multiplied(factor))) for ref in group]


def _all_multiplied(case: Case, group: Sequence[Ref], factor: float) -> Change:
    change = all_of(_multiplied(case, group, factor), case.steps)
    assert change is not None
    return change


def _changes(flow: Flow, number: Number) -> Iterator[Change]:
    """A number with others that give what was observed; of a limit that nothing reaches many do."""
    case, nearest, least = flow.part, number.have, np.inf
    found: list[float] = []
    for other in _usual(number.have):
        if not case.budget.spend(CHANGE):
            return
        tried = flow.tried(number.change(other))
        if tried is None:
            continue
        if tried.near:
            found.append(other)
        with np.errstate(all="ignore"):
            error = case.seen - case.pick(tried.values)
            left = float(error @ error)
        if left < least:
            nearest, least = other, left
    if len(found) > 1:
        others = ", ".join(f"{other:.6g}" for other in found[1:4])
        change = number.change(found[0])
        yield replace(
            change, what=f"{change.what} (as well as {others} or others with this effect)"
        )
    elif found:
        yield number.change(found[0])
    elif least < _NEARER * _apart(case):
        solved = fitted(flow, number, nearest)
        if solved is not None:
            yield number.change(solved)


def _apart(case: Case) -> float:
    error = case.seen - case.pick(case.healthy)
    return float(error @ error)


def _usual(have: float) -> Iterator[float]:
    """Numbers that are usual in code, next to another one or made of it."""
    near = [have + by for by in (1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, 8)]
    times = [have * by for by in (2, 0.5, 4, 0.25, 10, 0.1, 100, 0.01, 1000, 1e-3, -1)]
    derived = [1 - have, have**2]
    if have > 0:
        derived += [1 / have, math.sqrt(have), 1 / math.sqrt(have)]
    usual = [*_WHOLE, *_FRACTIONS, *_OF_FUNCTIONS]
    for number in dict.fromkeys((*derived, *near, *times, *usual)):
        if number != have and np.isfinite(number):
            yield number


_WHOLE = (*range(11), 12, 16, 20, 32, 64, 100, 128, 255, 256, 1000, 10_000, 100_000, 500_000)
_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 1.5)
_OF_FUNCTIONS = (
    *(math.sqrt(2), 1.702, math.sqrt(2 / math.pi), math.pi, 2 * math.pi, math.e),
    *(math.log(2), 1 / math.log(2), math.sqrt(3), 1.67326, 1.0507, 0.044715),
)
"""The constants of activations and of changes of a base."""


def _of_several(case: Case) -> Iterator[Number]:
    """Numbers that several steps take: one parameter, or constants that are equal."""
    groups: dict[tuple[str, float], list[int]] = {}
    for position, op in case.having(ops.Constant, ops.Parameter):
        value = case.values[position][0]
        if value.size == 1 and np.isfinite(value).all():
            name = op.weight.name if isinstance(op, ops.Parameter) else ""
            groups.setdefault((name, float(value.item())), []).append(position)
    for (name, have), places in groups.items():
        takers = [user for at in places for user in users_of(case).get(Ref(at), ())]
        if len(places) > 1 and len(places) <= _MOST and takers:
            change = partial(_in_all, case, places, takers, name, have)
            yield Number("changed-step", have, 1e-4 * max(abs(have), 1e-3), change)


def _in_all(
    case: Case, places: Sequence[int], takers: Sequence[int], name: str, have: float, other: float
) -> Change:
    steps = {
        at: Step(ops.Constant(np.full(np.shape(case.values[at][0]), other)), ()) for at in places
    }
    what = f"{other:.6g} is taken instead of {name or 'the number'} {have:.6g}"
    where = joined(list(dict.fromkeys(step_name(case, at) for at in takers[:3])))
    more = f" and {len(takers) - 3} more" if len(takers) > 3 else ""
    return Change(what, f"{where}{more}", steps)
