"""Mistakes with the width of a quantiser's steps, where it brings numbers to steps, rounds them and
brings them back."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_ROUNDS = (ops.Round, ops.Floor, ops.Ceil, ops.Trunc)
_BETWEEN = (*_ROUNDS, ops.Clip, ops.Min, ops.Max, ops.Add, ops.Sub, ops.Cast, ops.Stored)
"""What lies between the step that brings numbers to steps and the one that brings them back."""
_WIDER = (2.0, 0.5, 4.0, 0.25)


@more("fixed-point")
def other_steps(case: Case) -> Iterator[Changes]:
    """Steps of another width at both ends of a quantiser, such as of one fraction bit more."""
    yield Changes(_other_steps, "fixed-point", PARTS)


def _other_steps(case: Case) -> Iterator[Change]:
    for back, _ in case.having(ops.Mul, ops.Div):
        size = _number(case, back)
        there = None if size is None else _brought_there(case, back, size)
        if size is None or there is None:
            continue
        divides = isinstance(case.steps[there].op, ops.Div)
        for factor in _WIDER:
            new = len(case.steps)
            steps = {new: Step(ops.Constant(np.asarray(size * factor)), ())}
            for at in (there, back):
                x, *_ = case.steps[at].sources(at)
                steps[at] = Step(case.steps[at].op, (x, Ref(new)))
            width, own = (size * factor, size) if divides else (1 / (size * factor), 1 / size)
            x, *_ = case.steps[there].sources(there)
            what = f"{tensor_name(case, x)} is in steps of {width:g}, not {own:g}"
            yield Change(what, "", steps, key=("steps", factor), of=there)
            ends = _other_ends(case, there, back, own / width)
            if ends:
                what += ", in the same range"
                yield Change(what, "", steps | ends, key=("steps and ends", factor), of=there)


def _other_ends(case: Case, there: int, back: int, times: float) -> dict[int, Step]:
    """The ends of a quantiser's codes between two steps, so many times as far apart: those of
    other bits."""
    steps: dict[int, Step] = {}
    at = case.steps[back].sources(back)[0].step
    while at > there:
        op, sources = case.steps[at].op, case.steps[at].sources(at)
        if isinstance(op, ops.Clip):
            low, high = (end if end is None else _end(end, times) for end in (op.low, op.high))
            steps[at] = Step(ops.Clip(low, high), sources)
        elif isinstance(op, ops.Min | ops.Max) and len(sources) == 2:
            value = np.asarray(sources[1].of(case.inputs, case.values))
            if value.size != 1:
                return {}
            new = len(case.steps) + 1 + len(steps)
            steps[new] = Step(ops.Constant(np.asarray(_end(value.item(), times))), ())
            steps[at] = Step(op, (sources[0], Ref(new)))
        at = sources[0].step
    return steps


def _end(end: float, times: float) -> float:
    """One of the ends -2 ** bits and 2 ** bits - 1 with other bits."""
    if end > 0:
        return (end + 1) * times - 1
    return end * times


def _number(case: Case, position: int) -> float | None:
    """The one number that a step multiplies or divides by."""
    sources = case.steps[position].sources(position)
    if len(sources) != 2:
        return None
    value = np.asarray(sources[1].of(case.inputs, case.values))
    constant = sources[1].step >= 0 and isinstance(case.steps[sources[1].step].op, ops.Constant)
    if constant and value.size == 1 and value.item() > 0:
        return float(value.item())
    return None


def _brought_there(case: Case, back: int, size: float) -> int | None:
    """The step that does with the number what the last one undoes, with a rounding between."""
    opposite = ops.Div if isinstance(case.steps[back].op, ops.Mul) else ops.Mul
    ref, rounds = case.steps[back].sources(back)[0], False
    while ref.step >= 0:
        op = case.steps[ref.step].op
        if isinstance(op, opposite) and rounds and _number(case, ref.step) == size:
            return ref.step
        if not isinstance(op, _BETWEEN):
            return None
        rounds |= isinstance(op, _ROUNDS)
        ref = case.steps[ref.step].sources(ref.step)[0]
    return None


@more("changed-step")
def sign_of_zero(case: Case) -> Iterator[Changes]:
    """The sign of numbers with 0 for that of 0, as np.sign has it, where a layer has one of two
    numbers for it."""
    yield Changes(_signs, "changed-step", PARTS)


_ABOVE = (ops.Greater, ops.GreaterOrEqual)
_COMPARISONS = (*_ABOVE, ops.Less, ops.LessOrEqual)


def _signs(case: Case) -> Iterator[Change]:
    for position, _ in case.having(ops.Where):
        condition, *branches = case.steps[position].sources(position)
        while condition.step >= 0 and isinstance(case.steps[condition.step].op, ops.Cast):
            (condition,) = case.steps[condition.step].sources(condition.step)
        sides = [np.asarray(ref.of(case.inputs, case.values)) for ref in branches]
        if condition.step < 0 or not isinstance(case.steps[condition.step].op, _COMPARISONS):
            continue
        if any(side.size != 1 for side in sides) or sides[0].item() != -sides[1].item():
            continue
        x, limit = case.steps[condition.step].sources(condition.step)
        if np.any(limit.of(case.inputs, case.values)):
            continue
        above = branches[not isinstance(case.steps[condition.step].op, _ABOVE)]
        new = len(case.steps)
        steps = {new: Step(ops.Sign(), (x,)), position: Step(ops.Mul(), (Ref(new), above))}
        what = f"numbers of {tensor_name(case, x)} that are 0 have the sign 0"
        yield Change(what, step_name(case, position), steps, key="sign of zero", of=position)
