"""Operands from elsewhere in a block: any tensor of the shape, also one that is computed later or
for another output, an activation on one operand alone, operands exchanged between two sums."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice, permutations, product

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.rewriting import inserted, of_parameters, taking_instead
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise, Op, Rearrangement
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__ = ["complemented", "own_activations", "shown_states", "taken_later"]

_JOINING = (ops.Add, ops.Sub, ops.Mul, ops.Concat)
_APART = 24
"""How many steps lie at most between two of different kinds that have each other's operands."""
_PAIRS = 64
"""How many pairs of tensors of indices are exchanged."""


@more("swapped-inputs")
def operands_exchanged(case: Case) -> Iterator[Changes]:
    """An operand of one sum, product or concatenation exchanged with one of another: two skips,
    or a scale and a shift."""
    yield Changes(_exchanged, "swapped-inputs", STEPS)


@more("swapped-inputs")
def indices_exchanged(case: Case) -> Iterator[Changes]:
    """Two tensors of indices exchanged where each is taken once: the rows of a list of edges, to
    gather by and to add up by."""
    yield Changes(_indices_exchanged, "swapped-inputs", STEPS)


def _indices_exchanged(case: Case) -> Iterator[Change]:
    constant, users = of_parameters(case), users_of(case)
    indices = [ref for ref in users if ref.step not in constant and _of_indices(case, ref)]
    for first, second in islice(combinations(indices, 2), _PAIRS):
        if shape_of(case, first) == shape_of(case, second):
            for mine, theirs in product(users[first], users[second]):
                places = [(at, case.steps[at].sources(at)) for at in (mine, theirs)]
                if mine != theirs and first.step < theirs and second.step < mine:
                    at = (mine, places[0][1].index(first)), (theirs, places[1][1].index(second))
                    yield from _exchanged_at(case, *at)


def _of_indices(case: Case, ref: Ref) -> bool:
    """Whether a tensor is one of several whole numbers."""
    values = np.asarray(ref.of(case.inputs, case.values))
    return values.dtype.kind in "iu" and values.size > 1


def _exchanged(case: Case) -> Iterator[Change]:
    joining = [at for at, _ in case.having(*_JOINING)]
    for first, last in combinations(joining, 2):
        alike = type(case.steps[first].op) is type(case.steps[last].op)
        if not alike and last - first > _APART:
            continue
        mine, theirs = (case.steps[at].sources(at) for at in (first, last))
        for (i, earlier), (j, later) in product(enumerate(mine), enumerate(theirs)):
            if earlier != later and shape_of(case, earlier) == shape_of(case, later):
                yield from _exchanged_at(case, (first, i), (last, j))


def _exchanged_at(case: Case, mine: tuple[int, int], theirs: tuple[int, int]) -> Iterator[Change]:
    """Two steps with each other's operands, of which one may be computed earlier for that."""
    (first, i), (last, j) = mine, theirs
    earlier, later = case.steps[first].sources(first)[i], case.steps[last].sources(last)[j]
    made = _before(case, later, first)
    if made is None:
        return
    new, before = made
    steps = {first: _with(case, first, i, new), last: _with(case, last, j, earlier), **before}
    names = f"{tensor_name(case, earlier)} and {tensor_name(case, later)}"
    where = f"{step_name(case, first)} and {step_name(case, last)}"
    yield Change(f"{names} are exchanged in {where}", "", steps)


def _with(case: Case, position: int, index: int, ref: Ref) -> Step:
    sources = case.steps[position].sources(position)
    return Step(case.steps[position].op, (*sources[:index], ref, *sources[index + 1 :]))


@more("changed-step")
def assigned_where_added(case: Case) -> Iterator[Changes]:
    """What is added where a condition holds, in place of what it is added to: ``y[mask] = x``, not
    ``y[mask] += x``."""
    yield Changes(_assigned, "changed-step", STEPS)


def _assigned(case: Case) -> Iterator[Change]:
    users, found = users_of(case), list[Change]()
    for position, op in case.having(ops.Where):
        ref, sources = Ref(position), case.steps[position].sources(position)
        nothing = [k for k in (1, 2) if not np.any(sources[k].of(case.inputs, case.values))]
        for at in users.get(ref, ()) if len(nothing) == 1 else ():
            refs = case.steps[at].sources(at)
            if not isinstance(case.steps[at].op, ops.Add) or refs[0] == refs[1]:
                continue
            (other,) = (taken for taken in refs if taken != ref)
            if shape_of(case, other) == shape_of(case, ref) == shape_of(case, Ref(at)):
                new = tuple(other if k == nothing[0] else x for k, x in enumerate(sources))
                what = f"{tensor_name(case, ref)} takes the place of {tensor_name(case, other)} "
                what += f"where it is added in {step_name(case, at)}"
                found.append(Change(what, "", {at: Step(op, new)}))
    if len(found) > 1:
        yield from filter(None, [all_of(found, case.steps)])
    yield from found


@more("extra-step")
def activation_of_operand(case: Case) -> Iterator[Changes]:
    """An activation on a tensor for one of the steps that take it alone."""
    yield Changes(_activated, "extra-step", STEPS)


def own_activations(case: Case) -> Iterator[Change]:
    """Each function of single elements that the steps have on every other tensor of them."""
    constant = of_parameters(case)
    for op, ref in product(_kinds(case), users_of(case)):
        if ref.step not in constant:
            what = f"{type(op).__name__} is applied to {tensor_name(case, ref)}"
            yield inserted(case, ref, Step(op, (ref,)), what)


def _kinds(case: Case) -> Iterable[Op]:
    """ReLU and the functions of single elements that the steps have."""
    kinds: dict[object, Op] = {ops.Relu: ops.Relu()}
    for step in case.steps:
        if isinstance(step.op, Elementwise) and not isinstance(step.op, Rearrangement):
            if not weights_of((step,)) and not step.op.quantizes:
                kinds.setdefault(type(step.op), step.op)
    return kinds.values()


def _activated(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    for op, (ref, users) in product(_kinds(case), users_of(case).items()):
        if len(users) > 1 and ref.step not in constant:
            for user in users:
                what = f"{op_words(op)} is applied to {tensor_name(case, ref)} where "
                what += f"{step_name(case, user)} takes it"
                yield inserted(case, ref, Step(op, (ref,)), what, user=user)


def shown_states(case: Case) -> Iterator[Change]:
    """A function of single elements on what a pass hands on where its own steps take that, and not
    where the next pass does: all of them, or one."""
    last = len(case.steps) - 1
    kinds: dict[object, Op] = {type(op): op for op in _kinds(case)}
    for op, ref in product({ops.Tanh: ops.Tanh(), **kinds}.values(), case.steps[-1].sources(last)):
        own = [user for user in users_of(case).get(ref, ()) if user != last]
        for users in (own, *([user] for user in own if len(own) > 1)):
            new = Ref(len(case.steps))
            taken = {user: taking_instead(case, user, ref, new) for user in users}
            what = f"{op_words(op)} is applied to {tensor_name(case, ref)} where "
            what += " and ".join(step_name(case, user) for user in users)
            what += f" take{'s' * (len(users) == 1)} it"
            if users:
                yield Change(what, "", {new.step: Step(op, (ref,)), **taken}, of=users[0])


def complemented(case: Case) -> Iterator[Change]:
    """What is added to a state that decays is multiplied by 1 - the decay, too."""
    for ref in case.steps[-1].sources(len(case.steps) - 1):
        if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Add):
            continue
        terms = case.steps[ref.step].sources(ref.step)
        for kept, added in permutations(terms, 2) if len(terms) == 2 else ():
            for decay in _decays(case, kept, shape_of(case, ref)):
                number = len(case.steps)
                new = {
                    number: Step(ops.Constant(np.ones(())), ()),
                    number + 1: Step(ops.Sub(), (Ref(number), decay)),
                    number + 2: Step(ops.Mul(), (added, Ref(number + 1))),
                    ref.step: taking_instead(case, ref.step, added, Ref(number + 2)),
                }
                what = f"{tensor_name(case, added)} is multiplied by 1 - "
                what += f"{tensor_name(case, decay)} where {step_name(case, ref.step)} takes it"
                yield Change(what, "", new, of=ref.step)


def _decays(case: Case, kept: Ref, shape: tuple[int, ...]) -> Iterator[Ref]:
    """What a state of a pass is multiplied by, where a tensor is that product."""
    if kept.step >= 0 and isinstance(case.steps[kept.step].op, ops.Mul):
        for state, decay in permutations(case.steps[kept.step].sources(kept.step), 2):
            if state.step < 0 and shape_of(case, state) == shape:
                yield decay


@more("missing-step")
def left_out_for_one(case: Case) -> Iterator[Changes]:
    """A step whose result is only moved, and then taken by several: one of these takes what it was
    before that step."""
    yield Changes(_left_out_for_one, "missing-step", STEPS)


def _left_out_for_one(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    for ref, users in users_of(case).items():
        moving, at = list[int](), ref
        while at.step >= 0 and _moves(case, at.step):
            moving.insert(0, at.step)
            at = case.steps[at.step].sources(at.step)[0]
        if len(users) < 2 or not moving or at.step < 0 or at.step in constant:
            continue
        for before in case.steps[at.step].sources(at.step):
            if before.step not in constant and shape_of(case, before) == shape_of(case, at):
                for user in users:
                    yield _taken_before(case, ref, before, moving, user)


def _moves(case: Case, position: int) -> bool:
    op, sources = case.steps[position].op, case.steps[position].sources(position)
    return isinstance(op, Rearrangement) and len(sources) == 1 and len(case.values[position]) == 1


def _taken_before(case: Case, ref: Ref, before: Ref, moving: Sequence[int], user: int) -> Change:
    steps: dict[int, Step] = {}
    taken, made = before, case.steps[moving[0]].sources(moving[0])[0].step
    for new, at in enumerate(moving, len(case.steps)):
        steps[new], taken = Step(case.steps[at].op, (taken,)), Ref(new)
    refs = (taken if source == ref else source for source in case.steps[user].sources(user))
    steps[user] = Step(case.steps[user].op, tuple(refs))
    what = f"{step_name(case, user)} takes {tensor_name(case, before)}, as it is before "
    return Change(f"{what}{step_name(case, made)}", "", steps, of=user)


@more("other-tensor")
def any_operand(case: Case) -> Iterator[Changes]:
    """Any tensor of the block of that shape, however far away."""
    if case.calls:
        yield Changes(_any_taken, "other-tensor", STEPS, only_new=True)


def _any_taken(case: Case) -> Iterator[Change]:
    tensors: dict[tuple[int, ...], list[Ref]] = {}
    constant = of_parameters(case)
    for at, step in enumerate(case.steps):
        if at not in constant and not isinstance(step.op, Outputs) and len(case.values[at]) == 1:
            tensors.setdefault(shape_of(case, Ref(at)), []).append(Ref(at))
    for position in range(len(case.steps) - 1, -1, -1):
        step = case.steps[position]
        if not isinstance(step.op, _JOINING) and not weights_of((step,)):
            continue
        for index, taken in enumerate(step.sources(position)):
            others = tensors.get(shape_of(case, taken), ()) if taken.step not in constant else ()
            for ref in others:
                if ref != taken:
                    yield from _taken(case, position, index, ref)


@more("other-tensor")
def broadcast_operands(case: Case) -> Iterator[Changes]:
    """A tensor of another shape in place of an operand that is broadcast: the weight of each
    sample for that of each class."""
    yield Changes(_broadcast, "other-tensor", STEPS, only_new=True)


def _broadcast(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    tensors = [Ref(-1, k) for k in range(len(case.inputs))]
    tensors += [Ref(at) for at in range(len(case.steps)) if at not in constant]
    floats = [ref for ref in tensors if ref.of(case.inputs, case.values).dtype.kind == "f"]
    for position, _ in case.having(ops.Add, ops.Sub, ops.Mul, ops.Div):
        sources, whole = case.steps[position].sources(position), shape_of(case, Ref(position))
        for index, taken in enumerate(sources):
            own = shape_of(case, taken)
            if own == whole or len(own) < 1 or shape_of(case, sources[1 - index]) != whole:
                continue
            before = [ref for ref in floats if ref.step < position and ref != taken]
            for ref in sorted(before, key=lambda ref: position - ref.step)[:_NEAREST]:
                shape = _broadcast_to(shape_of(case, ref), whole)
                if shape is not None and shape != (1,) * (len(whole) - len(own)) + own:
                    yield _taken_as(case, position, index, ref, shape)


_NEAREST = 24
"""How many tensors before a step are tried for an operand that is broadcast."""


def _broadcast_to(shape: tuple[int, ...], whole: tuple[int, ...]) -> tuple[int, ...] | None:
    """A shape with axes of size 1 put in where another one has others; None where that is not
    possible, or nothing is broadcast."""
    found, left = list[int](), list(shape)
    for size in whole:
        found.append(left.pop(0) if left and left[0] == size else 1)
    return None if left or tuple(found) == whole or set(found) == {1} else tuple(found)


def _taken_as(case: Case, position: int, index: int, ref: Ref, shape: tuple[int, ...]) -> Change:
    """A step that takes a tensor in another shape."""
    new, taken = len(case.steps), case.steps[position].sources(position)[index]
    steps = {
        new: Step(ops.Reshape(shape), (ref,)),
        position: _with(case, position, index, Ref(new)),
    }
    what = f"{step_name(case, position)} takes {tensor_name(case, ref)} as {shape} in place of "
    what += tensor_name(case, taken)
    return Change(what, "", steps, of=position)


@more("other-tensor")
def behind_a_neighbour(case: Case) -> Iterator[Changes]:
    """What other steps make of a tensor and of parameters, taken in its place: a level of a pyramid
    after its convolution, a skip after a norm; also wherever a step of that kind takes it."""
    if case.calls:
        yield Changes(_behind_a_neighbour, "other-tensor", STEPS)


def _behind_a_neighbour(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    for ref, users in users_of(case).items():
        if ref.step in constant or len(users) < 2:
            continue
        alone = {ref}
        for at in range(ref.step + 1, len(case.steps)):
            sources = case.steps[at].sources(at)
            of_it = not alone.isdisjoint(sources) and len(case.values[at]) == 1
            if not of_it or any(k not in alone and k.step not in constant for k in sources):
                continue
            alone.add(Ref(at))
            if shape_of(case, Ref(at)) != shape_of(case, ref) or len(alone) > _CHAIN:
                continue
            for user in users:
                if not isinstance(case.steps[user].op, Outputs):
                    index = case.steps[user].sources(user).index(ref)
                    kinds = type(case.steps[user].op), type(case.steps[at].op), len(alone)
                    for change in _taken(case, user, index, Ref(at)):
                        yield replace(change, key=("behind", *kinds))


_CHAIN = 8
"""Of how many steps what is taken in place of a tensor is made of it."""


def taken_later(case: Case) -> Iterator[Change]:
    """An input of a pass as an operand after the steps that make another tensor of it, or what the
    pass hands on, in place of before them."""
    handed_on = {ref.step for ref in case.steps[-1].sources(len(case.steps) - 1) if not ref.index}
    for ref, users in users_of(case).items():
        if ref.step >= 0:
            continue
        made = {*_made_of(case, ref), *handed_on}
        for position, at in product(users, sorted(made)):
            alike = at >= position and shape_of(case, Ref(at)) == shape_of(case, ref)
            index = case.steps[position].sources(position).index(ref)
            if alike and not isinstance(case.steps[position].op, Outputs):
                yield from _taken(case, position, index, Ref(at))


def _made_of(case: Case, ref: Ref) -> list[int]:
    """The steps that give one tensor, which is made of this one among others."""
    found = {ref}
    for at, step in enumerate(case.steps):
        if not found.isdisjoint(step.sources(at)) and len(case.values[at]) == 1:
            found.add(Ref(at))
    return sorted(made.step for made in found - {ref})


def _taken(case: Case, position: int, index: int, ref: Ref) -> Iterator[Change]:
    """A tensor as an operand, which is computed once more before that where it comes later."""
    made = _before(case, ref, position)
    if made is None:
        return
    new, steps = made
    taken = case.steps[position].sources(position)[index]
    what = f"{step_name(case, position)} takes {tensor_name(case, ref)} in place of "
    what += tensor_name(case, taken)
    yield Change(what, "", {position: _with(case, position, index, new), **steps}, of=position)


def _before(case: Case, ref: Ref, position: int) -> tuple[Ref, dict[int, Step]] | None:
    """A tensor as it can be had before a position, and the steps that are computed once more for
    that; None where the position's step is one of them."""
    steps: dict[int, Step] = {}
    if ref.step < position:
        return ref, steps
    needed = _made_by(case, ref, position)
    if needed is None:
        return None
    places = {at: len(case.steps) + k for k, at in enumerate(needed)}
    for at in needed:
        refs = (
            Ref(places.get(source.step, source.step), source.index)
            for source in case.steps[at].sources(at)
        )
        steps[places[at]] = Step(case.steps[at].op, tuple(refs))
    return Ref(places[ref.step], ref.index), steps


def _made_by(case: Case, ref: Ref, position: int) -> Sequence[int] | None:
    """The steps behind a position that a tensor is made by; None where the position's is one."""
    found, line = set[int](), [ref.step]
    while line:
        at = line.pop()
        if at == position:
            return None
        if at > position and at not in found:
            found.add(at)
            line += [source.step for source in case.steps[at].sources(at)]
    return sorted(found)
