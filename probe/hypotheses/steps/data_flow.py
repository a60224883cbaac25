"""Mistakes with what a step of a layer takes: a step left out, two tensors exchanged, another one
of the same shape.

They apply to every layer of several steps, blocks and whole models above all, and to what is inside
a norm, an attention or a cell; they are tried where no mistake with a name of its own reproduces
the values.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice
from operator import attrgetter
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import Changes
from probe.hypotheses.edits.rewriting import inserted, of_parameters, taking, with_sources
from probe.hypotheses.edits.step_words import (
    BEFORE_ITS_BIAS,
    input_name,
    listed,
    step_name,
    steps_name,
    tensor_name,
)
from probe.hypotheses.registry import hypothesis
from probe.ops.base import Op
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step, field_names
from probe.ops.weight import Weight
from probe.trial.case import Case, once, shape_of, users_of
from probe.trial.change import Change
from probe.trial.gathered import Gathered

__all__ = ["left_out", "operand_alone", "others_taken", "parameters_swapped", "same_before"]

_BACK = 4
"""How many tensors of the same shape before a step may be taken for what it gives."""
_OTHERS = 6
"""How many other tensors of its shape are tried for one that a step takes."""
_STEP = attrgetter("step")


@hypothesis("missing-step")
def missing_step(case: Case) -> Iterator[Changes]:
    """One step of the layer, or several in a row, are left out.

    A normalisation, a residual connection, a rotation or a factor was forgotten: the next
    step takes their input. Only steps that keep the shape can be left out like this.
    """
    yield Changes(left_out, "missing-step")


def left_out(case: Case) -> Iterator[Change]:
    yield from operand_alone(case, ops.And, ops.Or)
    for position in range(len(case.steps) - 1, -1, -1):
        output = Ref(position)
        if isinstance(case.steps[position].op, Outputs) or len(case.values[position]) != 1:
            continue
        if position in _unused(case):
            continue
        sources = case.steps[position].sources(position)
        if isinstance(case.steps[position].op, ops.Pad):
            what = f"{listed([step_name(case, position)])} left out"
            yield taking(case, output, sources[0], what, ("out", ops.Pad, ""))
        for back, (before, between) in enumerate(islice(same_before(case, position), _BACK)):
            if before in sources and not _is_a_module(case, position):
                others = [source for source in sources if source != before]
            else:
                others = []
            joins = type(case.steps[position].op) in _JOINED
            if not joins and {ref.step for ref in others} <= of_parameters(case):
                others = []
            what = _left_out(case, position, before, between, others)
            key = ("out", type(case.steps[position].op), back)
            yield taking(case, output, before, what, key)
    yield from _not_turned(case)


def _is_a_module(case: Case, position: int) -> bool:
    """Whether a step is all that a module does: without it, one of its inputs goes on."""
    op = case.steps[position].op
    return isinstance(op, Gathered) and not (op.call in case.sites and case.sites[op.call].function)


def _left_out(
    case: Case, position: int, before: Ref, between: Sequence[int], others: Sequence[Ref]
) -> str:
    """That a step and those ``between`` are left out, so that the tensor ``before`` them is taken,
    in words."""
    name = tensor_name(case, before)
    if others:
        return _not_joined(case, position, before, others)
    if of_parameters(case).issuperset(between):
        return f"{listed([name])} taken instead of {tensor_name(case, Ref(position))}"
    return f"{steps_name(case, between)} left out: what follows takes {name}"


def operand_alone(case: Case, *kinds: type[Op]) -> Iterator[Change]:
    """One of two operands that is broadcast, without the other: of sums and products, or of steps
    of these kinds."""
    for position, _ in case.having(*(kinds or _JOINED)):
        sources, whole = case.steps[position].sources(position), shape_of(case, Ref(position))
        for index, ref in enumerate(sources if len(sources) == 2 else ()):
            if shape_of(case, ref) != whole:
                what = f"{listed([tensor_name(case, sources[1 - index])])} left out of"
                what = f"{what} {step_name(case, position)}"
                key = ("alone", type(case.steps[position].op), index)
                yield Change(what, "", {position: Step(ops.Expand(whole), (ref,))}, key=key)


_JOINED: dict[type, str] = {
    ops.Add: "added to",
    ops.Sub: "subtracted from",
    ops.Mul: "multiplied with",
    ops.Div: "divided by",
}


def _not_joined(case: Case, position: int, kept: Ref, others: Sequence[Ref]) -> str:
    """That some operands of a step are left out, in words; one that it ``kept`` goes on."""
    kind = type(case.steps[position].op)
    if len(others) > 1 or kind not in _JOINED:
        names = listed([tensor_name(case, other) for other in others])
        return f"{names} left out of {step_name(case, position)}"
    first, second = (kept, others[0]) if kind is ops.Div else (others[0], kept)
    name, verb = listed([tensor_name(case, first)]).rsplit(" ", 1)
    whole = tensor_name(case, second).removesuffix(BEFORE_ITS_BIAS)
    return f"{name} {verb} not {_JOINED[kind]} {whole}"


def _not_turned(case: Case) -> Iterator[Change]:
    """A transposition and the one that undoes it left out together."""
    turned = list(case.having(ops.Transpose))
    for (first, one), (last, other) in combinations(turned, 2):
        if len(one.perm) == len(other.perm) and all(
            one.perm[axis] == k for k, axis in enumerate(other.perm)
        ):
            left = (first, last, *sorted(_unused(case)))
            steps = {at: Step(ops.Identity(), case.steps[at].sources(at)[:1]) for at in left}
            what = f"the axes are not brought to the order {one.perm}, nor back"
            yield Change(what, "", steps)


@once
def _unused(case: Case) -> set[int]:
    """The steps that other outputs alone come from: they may not fit any more."""
    line, seen = [Ref(len(case.steps) - 1)], set[Ref]()
    while line:
        ref = line.pop()
        if ref.step >= 0 and ref not in seen:
            seen.add(ref)
            sources = case.steps[ref.step].sources(ref.step)
            several = isinstance(case.steps[ref.step].op, Outputs) and len(sources) > 1
            line += [sources[ref.index]] if several and not case.inner else sources
    used = {ref.step for ref in seen}
    return {at for at, step in enumerate(case.steps) if at not in used and step.sources(at)}


@hypothesis("missing-input")
def missing_input(case: Case) -> Iterator[Changes]:
    """One of several inputs was ignored: zeros were used in its place.

    Such as an initial state, a bias that is an input, or the second operand of a sum.
    """
    yield Changes(_ignored, "missing-input")


def _ignored(case: Case) -> Iterator[Change]:
    for index, x in enumerate(case.inputs) if len(case.inputs) > 1 else ():
        if x.dtype.kind == "f" and x.any():
            what = f"{input_name(case, index)} is taken as zeros"
            yield Change(what, "", {}, inputs={index: np.zeros_like(x)})


@hypothesis("swapped-inputs")
def swapped_inputs(case: Case) -> Iterator[Changes]:
    """Two tensors of the same shape are exchanged.

    Such as query and key, gate and up, or the operands of a difference or a concatenation.
    """
    yield Changes(_swapped, "swapped-inputs")


def _swapped(case: Case) -> Iterator[Change]:
    for position in range(len(case.steps) - 1, -1, -1):
        if position in _unused(case):
            continue
        sources = case.steps[position].sources(position)
        joins = isinstance(case.steps[position].op, ops.Concat)
        if joins and len(sources) > 1:
            what = f"the parts of {step_name(case, position)} are in the reverse order"
            if len(sources) == 2:
                both = " and ".join(tensor_name(case, source) for source in sources)
                what = f"{both} are exchanged in {step_name(case, position)}"
            yield with_sources(case, position, sources[::-1], what, ("reversed", "parts"))
        pairs = () if joins and len(sources) == 2 else combinations(range(len(sources)), 2)
        for one, other in pairs:
            alike = shape_of(case, sources[one]) == shape_of(case, sources[other])
            if sources[one] != sources[other] and (alike or joins):
                changed = list(sources)
                changed[one], changed[other] = changed[other], changed[one]
                names = (tensor_name(case, sources[one]), tensor_name(case, sources[other]))
                what = f"{names[0]} and {names[1]} are exchanged"
                what = f"{what} in {step_name(case, position)}"
                key = ("exchanged", type(case.steps[position].op), one, other)
                yield with_sources(case, position, changed, what, key)
    yield from parameters_swapped(case)
    for one, other in _side_by_side(case):
        first, second = Ref(one), Ref(other)
        what = f"{tensor_name(case, first)} and {tensor_name(case, second)} are exchanged"
        yield Change(what, "", _renamed(case, {first: second, second: first}))


def _side_by_side(case: Case) -> Iterator[tuple[int, int]]:
    """Two steps of a kind that give the same shape, of which no other takes the first before the
    second."""
    kinds = [(type(step.op), shape_of(case, Ref(at))) for at, step in enumerate(case.steps)]
    places: dict[Hashable, list[int]] = {}
    for at, kind in enumerate(kinds):
        places.setdefault(kind, []).append(at)
    for number, kind in enumerate(kinds):
        alike = places[kind]
        first_user = min(users_of(case).get(Ref(number), ()), default=len(kinds))
        for other in alike[bisect_right(alike, number) : bisect_left(alike, first_user)]:
            yield number, other


def parameters_swapped(case: Case) -> Iterator[Change]:
    """The parameters of two steps of a kind exchanged, or those of one used in both."""
    held: dict[object, list[tuple[int, dict[str, Weight]]]] = {}
    for position, step in enumerate(case.steps):
        kind: Any = type(step.op)
        parts = {name: getattr(step.op, name) for name in field_names(kind)}
        weights = {name: part for name, part in parts.items() if isinstance(part, Weight)}
        shapes = tuple((name, weight.value.shape) for name, weight in weights.items())
        if weights:
            held.setdefault((kind, shapes), []).append((position, weights))
    for group in held.values():
        for (first, mine), (second, theirs) in combinations(group, 2):
            names = step_name(case, first), step_name(case, second)
            own = _with(case, first, theirs), _with(case, second, mine)
            what = f"the parameters of {names[0]} and {names[1]} are exchanged"
            yield Change(what, "", {first: own[0], second: own[1]})
            yield Change(f"{names[1]} uses the parameters of {names[0]}", "", {second: own[1]})
            yield Change(f"{names[0]} uses the parameters of {names[1]}", "", {first: own[0]})
            for name in mine if len(mine) > 1 else ():
                for at, other in ((second, mine), (first, theirs)):
                    what = f"{step_name(case, at)} uses {other[name].name}"
                    yield Change(what, "", {at: _with(case, at, {name: other[name]})})


def _with(case: Case, position: int, weights: Mapping[str, Weight]) -> Step:
    step = case.steps[position]
    return Step(replace(step.op, **weights), step.sources(position))


@hypothesis("other-tensor")
def other_tensor(case: Case) -> Iterator[Changes]:
    """A step takes its input from another tensor of the same shape.

    Such as a residual taken after the normalisation instead of before it, the input of the block
    instead of the sum after attention, or a key before instead of after its rotation.
    """
    yield Changes(_others_taken, "other-tensor")


def _others_taken(case: Case) -> Iterator[Change]:
    yield from (change for *_, change in others_taken(case))
    yield from _sums_taken(case)


def others_taken(case: Case) -> Iterator[tuple[int, int, Ref, Change]]:
    """A step and which of its inputs is another tensor, and the change."""
    tensors: dict[tuple[int, ...], list[Ref]] = {}
    for ref in [
        *(Ref(-1, index) for index in range(len(case.inputs))),
        *(Ref(at, i) for at, made in enumerate(case.values) for i in range(len(made))),
    ]:
        tensors.setdefault(shape_of(case, ref), []).append(ref)
    few = _OTHERS // 2 if case.inner else _OTHERS
    tried = [(at, few) for at in range(len(case.steps) - 1, -1, -1)]
    if case.inner:  # what a pass hands on may be any tensor of it
        tried.append((len(case.steps) - 1, len(case.steps)))
    for position, count in tried:
        sources = case.steps[position].sources(position)
        for index, taken in enumerate(sources):
            others = _nearest(tensors[shape_of(case, taken)], taken, position, count)
            for tensor in others if count == few else others[few:]:
                what = (
                    f"{step_name(case, position)} takes {tensor_name(case, tensor)} in place of "
                    f"{tensor_name(case, taken)}"
                )
                refs = (*sources[:index], tensor, *sources[index + 1 :])
                yield position, index, tensor, with_sources(case, position, refs, what)


def _nearest(tensors: Sequence[Ref], taken: Ref, position: int, few: int) -> list[Ref]:
    """Of tensors in their order those before a step that are nearest to one that it takes, and the
    inputs of the layer."""
    made, same, after, end = (
        bisect_left(tensors, step, key=_STEP) for step in (0, taken.step, taken.step + 1, position)
    )
    start = bisect_left(tensors, tensors[max(0, same - few)].step, key=_STEP)
    others = [tensor for tensor in tensors[start : min(after + few, end)] if tensor != taken]
    nearest = sorted(others, key=lambda tensor: abs(tensor.step - taken.step))[:few]
    return [
        *nearest,
        *(tensor for tensor in tensors[:made] if tensor != taken and tensor not in nearest),
    ]


def _sums_taken(case: Case) -> Iterator[Change]:
    """A step takes the sum of a tensor and another one that is added elsewhere: of what follows a
    residual connection in place of what goes past it."""
    added = {
        ref: None
        for position, _ in case.having(ops.Add)
        for ref in case.steps[position].sources(position)
        if shape_of(case, ref) == np.shape(case.values[position][0])
    }
    for ref, users in users_of(case).items():
        for other in added if ref in added else ():
            for user in users:
                later = max(ref.step, other.step)
                if other != ref and later < user and other not in case.steps[user].sources(user):
                    what = f"{step_name(case, user)} takes {tensor_name(case, ref)} plus "
                    what += tensor_name(case, other)
                    both = Step(ops.Add(), (ref, other))
                    kinds = (_kind(case, Ref(user)), _kind(case, ref), _kind(case, other))
                    yield inserted(case, ref, both, what, ("plus", *kinds), user)


def _kind(case: Case, ref: Ref) -> type | int:
    """The kind of step that gives a tensor, or which input it is."""
    return type(case.steps[ref.step].op) if ref.step >= 0 else ref.index


def same_before(case: Case, position: int) -> Iterator[tuple[Ref, list[int]]]:
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
        if shape_of(case, ref) == shape:
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
