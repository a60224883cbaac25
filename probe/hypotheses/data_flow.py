"""Mistakes with what a step of a layer takes: a step left out, moved or done twice, two tensors
exchanged, another tensor of the same shape.

They apply to every layer of several steps, blocks and whole models above all, and to what is inside
a norm, an attention or a cell; they are tried where no mistake with a name of its own reproduces
the values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations, islice

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit
from probe.hypotheses.changes import Change, inserted, taking, with_sources
from probe.hypotheses.primitives import Masked, Scanned
from probe.hypotheses.registry import hypothesis
from probe.hypotheses.reproducing import reproducing
from probe.hypotheses.step_words import listed, step_name, steps_name, tensor_name
from probe.ops.base import Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step

__all__: list[str] = []

_BACK = 4
"""How many tensors of the same shape before a step may be taken for what it gives."""
_OTHERS = 6
"""How many other tensors of its shape are tried for one that a step takes."""
_DEEP = 3
"""Before how many steps one is moved."""
_FAR = 4
"""Behind how many steps one is moved."""


@hypothesis("missing-step", last=True)
def missing_step(case: Case) -> Iterator[Edit]:
    """A step of the layer, or several in a row, are left out.

    A normalisation, a residual connection, a rotation or a factor was forgotten: what comes behind
    takes what they were given. Only steps that keep the shape can be missed so.
    """
    yield from reproducing(case, _left_out, "missing-step")


def _left_out(case: Case) -> Iterator[Change]:
    for position in range(len(case.steps) - 1, -1, -1):
        made = Ref(position)
        if isinstance(case.steps[position].op, Outputs) or len(case.values[position]) != 1:
            continue
        sources = case.steps[position].sources(position)
        for before, between in islice(_same_before(case, position), _BACK):
            others = [one for one in sources if one != before] if before in sources else []
            if others:
                what = f"{listed([tensor_name(case, one) for one in others])} left out of"
                what = f"{what} {step_name(case, position)}"
            else:
                what = (
                    f"{steps_name(case, between)} left out: what follows takes "
                    f"{tensor_name(case, before)}"
                )
            yield taking(case, made, before, what, ("out", type(case.steps[position].op)))


@hypothesis("missing-input", last=True)
def missing_input(case: Case) -> Iterator[Edit]:
    """One of several inputs was ignored: zeros are taken in its place.

    An initial state, a bias that comes as an input, the second operand of a sum.
    """
    yield from reproducing(case, _ignored, "missing-input")


def _ignored(case: Case) -> Iterator[Change]:
    for index, x in enumerate(case.inputs) if len(case.inputs) > 1 else ():
        if x.dtype.kind == "f" and x.any():
            what = f"input {index} is taken as zeros"
            yield Change(what, "", {}, inputs={index: np.zeros_like(x)})


@hypothesis("swapped-inputs", last=True)
def swapped_inputs(case: Case) -> Iterator[Edit]:
    """Two tensors of the same shape are exchanged.

    Query and key, gate and up, the operands of a difference or the order of a concatenation.
    """
    yield from reproducing(case, _swapped, "swapped-inputs")


def _swapped(case: Case) -> Iterator[Change]:
    for position in range(len(case.steps) - 1, -1, -1):
        sources = case.steps[position].sources(position)
        for one, other in combinations(range(len(sources)), 2):
            if sources[one] != sources[other] and _shape(case, sources[one]) == _shape(
                case, sources[other]
            ):
                changed = list(sources)
                changed[one], changed[other] = changed[other], changed[one]
                names = (tensor_name(case, sources[one]), tensor_name(case, sources[other]))
                what = f"{names[0]} and {names[1]} are exchanged"
                yield with_sources(
                    case, position, changed, f"{what} in {step_name(case, position)}"
                )
    users = _users(case)
    for one, other in combinations(range(len(case.steps)), 2):
        alike = type(case.steps[one].op) is type(case.steps[other].op)
        first, second = Ref(one), Ref(other)
        if not alike or _shape(case, first) != _shape(case, second):
            continue
        if all(user > other for user in users.get(first, ())):
            what = f"{tensor_name(case, first)} and {tensor_name(case, second)} are exchanged"
            yield Change(what, "", _renamed(case, {first: second, second: first}))


@hypothesis("other-tensor", last=True)
def other_tensor(case: Case) -> Iterator[Edit]:
    """A step takes another tensor of the same shape than it should.

    The residual of what is normalised for that of what was before it, the input of the block for
    the sum behind attention, a key that was not rotated.
    """
    yield from reproducing(case, _others_taken, "other-tensor")


def _others_taken(case: Case) -> Iterator[Change]:
    tensors: dict[tuple[int, ...], list[Ref]] = {}
    for ref in [
        *(Ref(-1, index) for index in range(len(case.inputs))),
        *(Ref(at, i) for at, made in enumerate(case.values) for i in range(len(made))),
    ]:
        tensors.setdefault(_shape(case, ref), []).append(ref)
    for position in range(len(case.steps) - 1, -1, -1):
        sources = case.steps[position].sources(position)
        for index, taken in enumerate(sources):
            others = [
                one for one in tensors[_shape(case, taken)] if one.step < position and one != taken
            ]
            for one in sorted(others, key=lambda one: abs(one.step - taken.step))[:_OTHERS]:
                what = (
                    f"{step_name(case, position)} takes {tensor_name(case, one)} in place of "
                    f"{tensor_name(case, taken)}"
                )
                yield with_sources(
                    case, position, (*sources[:index], one, *sources[index + 1 :]), what
                )


@hypothesis("moved-step", last=True)
def moved_step(case: Case) -> Iterator[Edit]:
    """A step stands at another place: behind a step that follows it, or before the one that it
    should follow; or it is done twice.

    The bias added behind the activation, a norm of the sum for the norm of a summand, a mask that
    zeroes weights behind the softmax, an activation of each operand for that of their sum.
    """
    yield from reproducing(case, _moved, "moved-step")


def _moved(case: Case) -> Iterator[Change]:
    users = _users(case)
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        if isinstance(op, Outputs | ops.Constant | ops.Parameter | Scanned):
            continue
        if len(case.values[position]) == 1:
            yield from _behind(case, position, users)
            yield from _before(case, position, users)
            yield from _twice(case, position)


def _behind(case: Case, position: int, users: Mapping[Ref, list[int]]) -> Iterator[Change]:
    """The step behind those that follow it, one after the other."""
    step, made = case.steps[position], Ref(position)
    for index, main in enumerate(step.sources(position)):
        if _shape(case, main) == _shape(case, made) and not isinstance(step.op, Rearrangement):
            for first in users.get(made, ()):
                yield from _behind_others(case, position, index, first, users)


def _behind_others(
    case: Case, position: int, index: int, first: int, users: Mapping[Ref, list[int]]
) -> Iterator[Change]:
    """The step, whose main input is that at ``index``, behind the step ``first`` that takes it,
    and behind those that follow this one; what it takes besides is rearranged on the way."""
    step = case.steps[position]
    rest = list(step.sources(position))
    shape = _shape(case, rest[index])
    wide = [np.size(_value(case, ref)) > 1 and ref != rest[index] for ref in rest]
    changed: dict[int, Step] = {}
    at, far, new = first, 0, len(case.steps)
    sources = tuple(
        rest[index] if ref == Ref(position) else ref for ref in case.steps[first].sources(first)
    )
    changed[first] = Step(case.steps[first].op, sources)
    while far < _FAR:
        following = case.steps[at]
        if len(case.values[at]) != 1 or isinstance(following.op, Outputs):
            return
        if isinstance(following.op, Rearrangement) and len(following.sources(at)) == 1:
            for other in (k for k in range(len(rest)) if wide[k]):
                if rest[other].step < len(case.steps):
                    changed[new] = Step(ops.Expand((1, *shape[1:])), (rest[other],))
                    rest[other], new = Ref(new), new + 1
                changed[new] = Step(_on_one(following.op), (rest[other],))
                rest[other], new = Ref(new), new + 1
        else:
            far += 1
            op = replace(step.op, value=0.0) if isinstance(step.op, Masked) else step.op
            moved = {**changed, new: Step(op, (*rest[:index], Ref(at), *rest[index + 1 :]))}
            for user in users.get(Ref(at), []):
                theirs = case.steps[user].sources(user)
                moved[user] = Step(
                    case.steps[user].op,
                    tuple(Ref(new) if ref == Ref(at) else ref for ref in theirs),
                )
            out = Ref(new) if at == len(case.steps) - 1 else None
            what = f"{_action(case, position, index)} behind {step_name(case, at)}, not before"
            yield Change(what, "", moved, at, out)
        following_users = users.get(Ref(at), [])
        if len(following_users) != 1:
            return
        at = following_users[0]


def _before(case: Case, position: int, users: Mapping[Ref, list[int]]) -> Iterator[Change]:
    """The step before the one of several inputs that it follows: of each of these, of all, and of
    what they are made of."""
    step = case.steps[position]
    sources = step.sources(position)
    for index, main in enumerate(sources):
        if main.step < 0 or len(case.values[main.step]) != 1:
            continue
        if _shape(case, main) != _shape(case, Ref(position)):
            continue
        found = list(_operands(case, main, _DEEP))
        for some in [[one] for one in found] + ([found[:2]] if len(found) > 1 else []):
            new, steps = len(case.steps), dict[int, Step]()
            for user, ref in some:
                given = (*sources[:index], ref, *sources[index + 1 :])
                steps[new] = Step(step.op, given)
                before = steps.get(user, case.steps[user])
                refs = tuple(Ref(new) if one == ref else one for one in before.sources(user))
                steps[user], new = Step(before.op, refs), new + 1
            after = min(user for user, _ in some) - 1
            if any(ref.step > after for k, ref in enumerate(sources) if k != index):
                continue
            for user in users.get(Ref(position), []):
                theirs = case.steps[user].sources(user)
                refs = tuple(main if one == Ref(position) else one for one in theirs)
                steps[user] = Step(case.steps[user].op, refs)
            names = [tensor_name(case, ref) for _, ref in some]
            each = "each of " if len(names) > 1 else ""
            what = (
                f"{_action(case, position, index)} to {each}{' and '.join(names)}, not to "
                f"{tensor_name(case, main)}"
            )
            out = main if position == len(case.steps) - 1 else None
            yield Change(what, "", steps, after, out)


def _operands(case: Case, ref: Ref, deep: int) -> Iterator[tuple[int, Ref]]:
    """The operands that a sum or another step of several inputs is made of, as (taker, tensor), the
    nearest first."""
    if ref.step < 0 or isinstance(case.steps[ref.step].op, Outputs):
        return
    operands = case.steps[ref.step].sources(ref.step)
    if len(operands) < 2 and not isinstance(case.steps[ref.step].op, ops.Identity):
        return
    if len(operands) > 1:
        yield from ((ref.step, one) for one in operands)
    for one in operands if deep > 1 else ():
        yield from _operands(case, one, deep - 1)


def _twice(case: Case, position: int) -> Iterator[Change]:
    step, made = case.steps[position], Ref(position)
    sources = step.sources(position)
    for index, main in enumerate(sources):
        if _shape(case, main) == _shape(case, made):
            again = Step(step.op, (*sources[:index], made, *sources[index + 1 :]))
            yield inserted(
                case,
                made,
                again,
                f"{_action(case, position, index)} twice",
                ("twice", type(step.op)),
            )


def _action(case: Case, position: int, index: int) -> str:
    """Applying a step, in words, with the verb."""
    step = case.steps[position]
    others = [ref for k, ref in enumerate(step.sources(position)) if k != index]
    verbs: dict[type, str] = {ops.Add: "added", ops.Mul: "multiplied", ops.Div: "divided by"}
    verbs |= {ops.Sub: "subtracted", Masked: "applied"}
    if others and type(step.op) in verbs:
        names = [tensor_name(case, one) for one in others]
        return f"{listed(names)} {verbs[type(step.op)]}"
    return f"{step_name(case, position)} is applied"


def _on_one(op: ops.Op) -> ops.Op:
    """A rearrangement for one sample of a batch."""
    return replace(op, shape=(1, *op.shape[1:])) if isinstance(op, ops.Reshape) else op


def _value(case: Case, ref: Ref) -> np.ndarray:
    return ref.of(case.inputs, case.values)


def _shape(case: Case, ref: Ref) -> tuple[int, ...]:
    return np.shape(_value(case, ref))


def _users(case: Case) -> dict[Ref, list[int]]:
    """The steps that take each tensor."""
    found: dict[Ref, list[int]] = {}
    for position, step in enumerate(case.steps):
        for ref in dict.fromkeys(step.sources(position)):
            found.setdefault(ref, []).append(position)
    return found


def _same_before(case: Case, position: int) -> Iterator[tuple[Ref, list[int]]]:
    """The tensors of the shape of what a step gives that it is made of, the nearest first, and the
    steps between the two."""
    shape = np.shape(case.values[position][0])
    seen, between = set[Ref](), [position]
    line = list(case.steps[position].sources(position))
    while line:
        line.sort(key=lambda ref: ref.step)
        ref = line.pop()
        if ref in seen:
            continue
        seen.add(ref)
        if _shape(case, ref) == shape:
            yield ref, sorted(between)
        if ref.step >= 0:
            between.append(ref.step)
            line += case.steps[ref.step].sources(ref.step)


def _renamed(case: Case, names: Mapping[Ref, Ref]) -> dict[int, Step]:
    """The steps that take other tensors when these have other names."""
    return {
        position: Step(step.op, tuple(names.get(ref, ref) for ref in sources))
        for position, step in enumerate(case.steps)
        if names.keys() & set(sources := step.sources(position))
    }
