"""A step that stands at another place of the flow, or is done twice, or elsewhere too."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product

import numpy as np

from probe import ops
from probe.hypotheses.edits.attention_parts import Masked
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.rewriting import inserted, of_parameters, taking_instead
from probe.hypotheses.edits.step_words import listed, step_name, tensor_name
from probe.hypotheses.registry import hypothesis, more
from probe.ops.base import Elementwise, Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__ = ["applied_too"]

_DEEP = 3
"""Before how many steps one is moved."""
_FAR = 4
"""Behind how many steps one is moved."""
_REGION = 24
"""Within how many steps the paths between which a step is moved come together."""
_ELSEWHERE = 64
"""On how many other tensors steps are tried."""


@hypothesis("moved-step")
def moved_step(case: Case) -> Iterator[Changes]:
    """A step is computed at another place: after a step that should follow it, or before one that
    it should follow; or it is computed twice.

    Such as the bias added after the activation, a sum normalised instead of one summand, a mask
    that zeroes weights after the softmax, or each operand activated instead of their sum.
    """
    yield Changes(_moved, "moved-step")


def _moved(case: Case) -> Iterator[Change]:
    users = users_of(case)
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        if isinstance(op, Outputs | ops.Constant | ops.Parameter | Scanned):
            continue
        if len(case.values[position]) == 1:
            yield from _behind(case, position, users)
            yield from _before(case, position, users)
            yield from _before_another_layout(case, position, users)
            yield from _twice(case, position)


def _behind(case: Case, position: int, users: Mapping[Ref, list[int]]) -> Iterator[Change]:
    """The step behind those that follow it, one after the other."""
    step, made = case.steps[position], Ref(position)
    for index, main in enumerate(step.sources(position)):
        if _is_a_number(case, main):
            continue
        if shape_of(case, main) == shape_of(case, made) and not isinstance(step.op, Rearrangement):
            takers = users.get(made, [])
            for first in takers:
                yield from _behind_others(case, position, index, first, [first], users)
            joined = _joined(case, position, users) if len(takers) > 1 else None
            if joined is not None:
                yield from _behind_others(case, position, index, joined, takers, users)


def _is_a_number(case: Case, ref: Ref) -> bool:
    """Whether a tensor is a number of the code: what is done to it, such as 1 - a, is done to the
    other operand."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Constant):
        return False
    return case.values[ref.step][0].size == 1


def _behind_others(
    case: Case,
    position: int,
    index: int,
    first: int,
    takers: Sequence[int],
    users: Mapping[Ref, list[int]],
) -> Iterator[Change]:
    """The step, whose main input is that at ``index``, behind the step ``first``, which takes it
    or what ``takers`` make of it, and behind those that follow this one; what it takes besides is
    rearranged on the way."""
    step = case.steps[position]
    rest = list(step.sources(position))
    shape = shape_of(case, rest[index])
    wide = [np.size(ref.of(case.inputs, case.values)) > 1 and ref != rest[index] for ref in rest]
    whole = [shape_of(case, ref) == shape for ref in rest]
    changed: dict[int, Step] = {}
    at, far, new = first, 0, len(case.steps)
    for taker in takers:
        changed[taker] = taking_instead(case, taker, Ref(position), rest[index])
    while far < _FAR:
        passed = case.steps[at]
        if len(case.values[at]) != 1 or isinstance(passed.op, Outputs):
            return
        if isinstance(passed.op, Rearrangement) and len(passed.sources(at)) == 1:
            for other in (k for k in range(len(rest)) if wide[k]):
                if not whole[other] and rest[other].step < len(case.steps):
                    changed[new] = Step(ops.Expand((1, *shape[1:])), (rest[other],))
                    rest[other], new = Ref(new), new + 1
                turned = passed.op if whole[other] else _on_one(passed.op)
                changed[new] = Step(turned, (rest[other],))
                rest[other], new = Ref(new), new + 1
        else:
            far += 1
            op = replace(step.op, value=0.0) if isinstance(step.op, Masked) else step.op
            moved = {**changed, new: Step(op, (*rest[:index], Ref(at), *rest[index + 1 :]))}
            for user in users.get(Ref(at), []):
                moved[user] = taking_instead(case, user, Ref(at), Ref(new))
            out = Ref(new) if at == len(case.steps) - 1 else None
            what = f"{_action(case, position, index)} after {step_name(case, at)}, not before it"
            key = ("behind", type(step.op), type(passed.op), far, index)
            yield Change(what, "", moved, out, key, of=position)
        following_users = users.get(Ref(at), [])
        following = following_users[0] if len(following_users) == 1 else _joined(case, at, users)
        if following is None:
            return
        at = following


def _joined(case: Case, start: int, users: Mapping[Ref, list[int]]) -> int | None:
    """The step in which all that is made of what a step gives comes together again, in its shape;
    None where it does not soon."""
    reached, last = {start}, max(users.get(Ref(start), [0]))
    for at in range(start + 1, len(case.steps)):
        if len(reached) > _REGION or at > last:
            return None
        if reached.isdisjoint(ref.step for ref in case.steps[at].sources(at)):
            continue
        if at == last and shape_of(case, Ref(at)) == shape_of(case, Ref(start)):
            return at
        reached.add(at)
        outputs = (Ref(at, k) for k in range(len(case.values[at])))
        last = max(last, *(user for output in outputs for user in users.get(output, [0])))
    return None


def _before(case: Case, position: int, users: Mapping[Ref, list[int]]) -> Iterator[Change]:
    """The step before the one of several inputs that it follows: of each of these, of all, and of
    what they are made of."""
    step, constant = case.steps[position], of_parameters(case)
    sources = step.sources(position)
    for index, main in enumerate(sources):
        if main.step < 0 or len(case.values[main.step]) != 1:
            continue
        if shape_of(case, main) != shape_of(case, Ref(position)):
            continue
        found = list(_operands(case, main, _DEEP))
        for some in [[taker] for taker in found] + ([found[:2]] if len(found) > 1 else []):
            new, steps = len(case.steps), dict[int, Step]()
            after = min(user for user, _ in some) - 1
            rest = [ref for k, ref in enumerate(sources) if k != index and ref.step > after]
            made_of = [
                source
                for ref in rest
                if ref.step not in constant
                for source in case.steps[ref.step].sources(ref.step)
            ]
            masks = isinstance(step.op, ops.Where | Masked)
            numbers_alone = isinstance(step.op, _SUMS_AND_PRODUCTS) and (
                constant.issuperset(ref.step for ref in rest)
            )
            if rest and not (
                (masks or numbers_alone) and all(source.step <= after for source in made_of)
            ):
                continue
            numbers = {ref: Ref(new + k) for k, ref in enumerate(dict.fromkeys(rest))}
            for ref, number in numbers.items():
                own = case.steps[ref.step]
                late = ref.step in constant and len(own.sources(ref.step)) > 0
                value = ops.Constant(np.asarray(ref.of(case.inputs, case.values)))
                steps[number.step] = (
                    Step(value, ()) if late else Step(own.op, own.sources(ref.step))
                )
            moved, new = [numbers.get(ref, ref) for ref in sources], new + len(numbers)
            for user, ref in some:
                given = (*moved[:index], ref, *moved[index + 1 :])
                steps[new] = Step(step.op, given)
                before = steps.get(user, case.steps[user])
                refs = tuple(
                    Ref(new) if source == ref else source for source in before.sources(user)
                )
                steps[user], new = Step(before.op, refs), new + 1
            for user in users.get(Ref(position), []):
                steps[user] = taking_instead(case, user, Ref(position), main)
            names = [tensor_name(case, ref) for _, ref in some]
            each = "each of " if len(names) > 1 else ""
            to = _PREPOSITIONS.get((type(step.op), index), "to")
            what = (
                f"{_action(case, position, index)} {to} {each}{' and '.join(names)}, not {to} "
                f"{tensor_name(case, main)}"
            )
            out = main if position == len(case.steps) - 1 else None
            yield Change(what, "", steps, out, of=position)


_SUMS_AND_PRODUCTS = (ops.Add, ops.Sub, ops.Mul, ops.Div)


def _before_another_layout(
    case: Case, position: int, users: Mapping[Ref, list[int]]
) -> Iterator[Change]:
    """An elementwise step before one of the steps that give what it takes, whose input has another
    layout or shape."""
    op, sources = case.steps[position].op, case.steps[position].sources(position)
    if not isinstance(op, Elementwise) or len(sources) != 1 or case.inner:
        return
    ref, other_layout = sources[0], False
    for _ in range(_DEEP):
        while ref.step >= 0 and isinstance(case.steps[ref.step].op, Rearrangement):
            ref, other_layout = case.steps[ref.step].sources(ref.step)[0], True
        if ref.step < 0 or not case.steps[ref.step].sources(ref.step):
            return
        passed = case.steps[ref.step]
        main, *rest = passed.sources(ref.step)
        # In one layout the steps that it takes are moved behind it.
        if other_layout or shape_of(case, main) != shape_of(case, Ref(position)):
            new = len(case.steps)
            steps = {new: Step(op, (main,)), ref.step: Step(passed.op, (Ref(new), *rest))}
            for user in users.get(Ref(position), []):
                steps[user] = taking_instead(case, user, Ref(position), sources[0])
            where = f"to {tensor_name(case, main)}, not after {step_name(case, ref.step)}"
            out = sources[0] if position == len(case.steps) - 1 else None
            yield Change(f"{_action(case, position, 0)} {where}", "", steps, out, of=position)
        ref = main


def _operands(case: Case, ref: Ref, deep: int) -> Iterator[tuple[int, Ref]]:
    """The operands that a sum or another step of several inputs is made of, as (taker, tensor), the
    nearest first, those behind steps of single elements too."""
    if ref.step < 0 or isinstance(case.steps[ref.step].op, Outputs):
        return
    operands = case.steps[ref.step].sources(ref.step)
    if len(operands) < 2 and not isinstance(case.steps[ref.step].op, Elementwise | ops.Identity):
        return
    if len(operands) > 1:
        yield from ((ref.step, operand) for operand in operands)
    for operand in operands if deep > 1 else ():
        yield from _operands(case, operand, deep - 1)


def _twice(case: Case, position: int) -> Iterator[Change]:
    step, made = case.steps[position], Ref(position)
    sources = step.sources(position)
    for index, main in enumerate(sources):
        if shape_of(case, main) == shape_of(case, made):
            again = Step(step.op, (*sources[:index], made, *sources[index + 1 :]))
            yield inserted(
                case,
                made,
                again,
                f"{_action(case, position, index)} twice",
                ("twice", type(step.op)),
            )


@more("extra-step")
def step_elsewhere(case: Case) -> Iterator[Changes]:
    """A norm or an activation of the layer on another tensor, too, or a shortcut around a step."""
    yield Changes(_elsewhere, "extra-step", STEPS)


def _elsewhere(case: Case) -> Iterator[Change]:
    """Each norm and activation also on an input, or on what a step with a weight gives; and what
    such a step takes added to what it gives."""
    yield from applied_too(case, _NORMS_AND_ACTIVATIONS)
    for ref in (ref for ref in _givers(case) if ref.step >= 0):
        for main in case.steps[ref.step].sources(ref.step)[:1]:
            if shape_of(case, main) == shape_of(case, ref):
                what = f"{tensor_name(case, main)} is added to {tensor_name(case, ref)}"
                key = ("residual", type(case.steps[ref.step].op))
                yield inserted(case, ref, Step(ops.Add(), (ref, main)), what, key)


def applied_too(case: Case, kinds: tuple[type, ...]) -> Iterator[Change]:
    """Each step of these kinds also on an input, or on what a step with a weight gives."""
    applied: dict[type | int, int] = {}
    for position, step in enumerate(case.steps):
        single = len(step.sources(position)) == 1 and len(case.values[position]) == 1
        if single and isinstance(step.op, kinds):
            applied.setdefault(position if weights_of((step,)) else type(step.op), position)
    pairs = product(applied.values(), _givers(case))
    for position, ref in islice((pair for pair in pairs if _fits(case, *pair)), _ELSEWHERE):
        op = case.steps[position].op
        giver = type(case.steps[ref.step].op) if ref.step >= 0 else None
        what = f"{step_name(case, position)} is applied to {tensor_name(case, ref)}, too"
        yield inserted(case, ref, Step(op, (ref,)), what, ("too", type(op), giver))


def _givers(case: Case) -> list[Ref]:
    """The inputs, and what steps with a weight give."""
    inputs = [Ref(-1, k) for k, x in enumerate(case.inputs) if x.dtype.kind == "f"]
    return inputs + [Ref(at) for at in range(len(case.steps)) if _weighted(case, at)]


def _fits(case: Case, position: int, ref: Ref) -> bool:
    """Whether a step may be applied to a tensor that it is not applied to yet."""
    step = case.steps[position]
    (main,) = step.sources(position)
    same_size = shape_of(case, ref)[-1:] == shape_of(case, main)[-1:]
    followed_by = {type(case.steps[user].op) for user in users_of(case).get(ref, ())}
    new = ref.step != position and type(step.op) not in followed_by
    return new and (same_size or not weights_of((step,)))


def _weighted(case: Case, position: int) -> bool:
    """Whether a step has a weight, as its own or as what it takes."""
    step = case.steps[position]
    sources = (ref.step >= 0 and case.steps[ref.step].op for ref in step.sources(position))
    return bool(weights_of((step,))) or any(isinstance(op, ops.Parameter) for op in sources)


_NORMS_AND_ACTIVATIONS = (
    *(ops.LayerNormalization, ops.RMSNormalization, ops.BatchNormalization),
    Elementwise,
)


def _action(case: Case, position: int, index: int) -> str:
    """Applying a step, in words, with the verb."""
    step = case.steps[position]
    others = [ref for k, ref in enumerate(step.sources(position)) if k != index]
    names = [tensor_name(case, ref) for ref in others]
    verbs: dict[type, str] = {ops.Add: "added", ops.Mul: "multiplied", Masked: "applied"}
    if index == 0:
        verbs[ops.Sub] = "subtracted"
    if others and type(step.op) in verbs:
        return f"{listed(names)} {verbs[type(step.op)]}"
    if len(others) == 1 and isinstance(step.op, ops.Div | ops.Sub):
        how = _INVERSES[type(step.op), index]
        return f"the {how} {names[0]} is applied"
    return f"{step_name(case, position)} is applied"


_PREPOSITIONS: dict[tuple[type, int], str] = {
    (ops.Mul, 0): "with",
    (ops.Mul, 1): "with",
    (ops.Sub, 0): "from",
}
"""What follows the verb of a step whose main input is at this place."""
_INVERSES: dict[tuple[type, int], str] = {
    (ops.Div, 0): "division by",
    (ops.Div, 1): "division of",
    (ops.Sub, 1): "subtraction from",
}
"""What a step does with another operand than the one at this place."""


def _on_one(op: ops.Op) -> ops.Op:
    """A rearrangement for one sample of a batch."""
    if isinstance(op, ops.Reshape):
        return replace(op, shape=(1, *op.shape[1:]))
    return op
