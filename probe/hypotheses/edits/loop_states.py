"""The states of loops, such as those of recurrences written out in ``forward``: what they begin
with, and where they begin anew."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.early_passes import early_passes, first_that_differs
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.loop_changes import body_of
from probe.hypotheses.edits.loops import Loop, alike_loops
from probe.hypotheses.edits.rewriting import of_parameters, taking, taking_instead
from probe.hypotheses.edits.step_words import tensor_name
from probe.ops.base import Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__ = [
    "BeforeFirst",
    "before_first",
    "not_cleared",
    "reset_within",
    "started_otherwise",
    "taken_at",
]

_FEW = 4
"""How many tensors of the first pass are tried for a state."""
_SHORT = 16
"""At how many passes a state may begin anew where the output does not tell the pass."""
_Start = Ref | float
"""A tensor, or a number in all places."""


def started_otherwise(case: Case) -> Iterator[Change]:
    """What the first pass takes from the one before is zeros, ones, what another state begins with
    or a tensor of the pass; or one pass more or less is done at the beginning."""
    for group in _with_states(case):
        look = early_passes(case, group)
        for change in _started(group):
            if look is None or look.helps(change):
                yield change


def reset_within(case: Case) -> Iterator[Change]:
    """The states begin anew at the first pass that leads to what differs: each time that so many
    passes are done, or once. Where the first pass lacks steps they are 0, which makes these so."""
    for group in alike_loops(case):
        loop = group[0]
        if not _states(loop):
            continue
        count = len(loop.numbers)
        first = first_that_differs(case, group)
        tried = range(1, min(count, _SHORT)) if first is None else range(max(first, 1), first + 1)
        for size in (size for size in tried if size < count):
            for at in dict.fromkeys((tuple(loop.numbers[size::size]), (loop.numbers[size],))):
                when = f"at pass {size} (counted from 0)"
                if len(at) > 1:
                    when = f"after every {size} passes" if size > 1 else "at every pass"
                for states, words in _groups(loop):
                    resets = [
                        taken_at(member, {k: _anew(member, k) for k in states}, pass_)
                        for member in group
                        for pass_ in at
                    ]
                    what = f"{words} is reset {when} of the loop"
                    yield from _together(loop, resets, what)


def not_cleared(case: Case) -> Iterator[Change]:
    """A running sum that each pass begins with the same numbers begins with that of the pass
    before."""
    for group in alike_loops(case):
        loop, body = group[0], body_of(case, group[0])
        for place, begun in _running_sums(loop, body):
            end = place
            while (after := _next_of_sum(body, end)) is not None:
                end = after
            kept = [_goes_on(member, place, begun, end) for member in group]
            name = tensor_name(body, Ref(end))
            yield from _together(
                loop, kept, f"{name} is not cleared between the passes of the loop"
            )


def _running_sums(loop: Loop, body: Case) -> Iterator[tuple[int, Ref]]:
    """The steps of a pass that add to what is one number in all places, and that tensor."""
    for place, _ in body.having(ops.Add):
        for ref in body.steps[place].sources(place) if place < loop.size else ():
            fixed = ref.step < 0 and len({*loop.inputs[ref.index]}) == 1
            if fixed or (ref.step >= 0 and isinstance(body.steps[ref.step].op, ops.Constant)):
                begun = ref.of(body.inputs, body.values)
                alike = np.ptp(begun) == 0 if np.size(begun) else False
                if alike and np.shape(begun) == shape_of(body, Ref(place)):
                    yield place, ref


def _next_of_sum(body: Case, place: int) -> int | None:
    """The only step that takes a sum, where that adds to it."""
    users = users_of(body).get(Ref(place), ())
    if len(users) != 1 or not isinstance(body.steps[users[0]].op, ops.Add):
        return None
    return users[0] if shape_of(body, Ref(users[0])) == shape_of(body, Ref(place)) else None


def _goes_on(loop: Loop, place: int, begun: Ref, end: int) -> Change | None:
    case, steps = loop.case, dict[int, Step]()
    index = body_of(case, loop).steps[place].sources(place).index(begun)
    for before, number in pairwise(loop.numbers):
        at, last = loop.at(number, place), loop.at(before, end)
        if at is None or last is None:
            return None
        sources = case.steps[at].sources(at)
        steps[at] = Step(case.steps[at].op, (*sources[:index], Ref(last), *sources[index + 1 :]))
    return Change("", "", steps, of=min(steps))


def _with_states(case: Case) -> Iterator[list[Loop]]:
    """The loops of the same code that carry states from the first pass on."""
    for group in alike_loops(case):
        if _states(group[0]) and not any(-1 in loop.part for loop in group):
            yield group


def _states(loop: Loop) -> list[int]:
    """The inputs of a pass that are states."""
    return [index for index in loop.carried() if _begun_with(loop, index).dtype.kind == "f"]


def _start(loop: Loop, index: int) -> Ref:
    return loop.inputs[index][0]


def _anew(loop: Loop, index: int) -> _Start:
    return 0.0 if -1 in loop.part else _start(loop, index)


def _begun_with(loop: Loop, index: int) -> np.ndarray:
    return np.asarray(_start(loop, index).of(loop.case.inputs, loop.case.values))


def _groups(loop: Loop) -> Iterator[tuple[list[int], str]]:
    """All states of a loop at once, then each, in words."""
    states = _states(loop)
    if len(states) > 1:
        yield states, "every value that a pass takes from the one before"
    for index in states:
        yield [index], f"{_name(loop, index)}, which the next pass takes,"


def _name(loop: Loop, index: int) -> str:
    return tensor_name(body_of(loop.case, loop), Ref(loop.carried()[index]))


def _started(group: Sequence[Loop]) -> Iterator[Change]:
    loop = group[0]
    for states, words in _groups(loop):
        for number in (0.0, 1.0):
            begun = dict.fromkeys(states, number)
            if any((_begun_with(member, k) != number).any() for member in group for k in states):
                starts = [taken_at(member, begun, member.numbers[0]) for member in group]
                yield from _together(loop, starts, f"{words} begins with {number:g}")
                first = starts[:1] if len(group) > 1 else []
                yield from _together(loop, first, f"{words} begins with {number:g} in the first")
    for index in _states(loop):
        yield from _of_tensors(group, index)
        starts = [_one_pass_more(member, index) for member in group]
        what = f"{_name(loop, index)} begins with 0 one pass before the layer's first"
        yield from _together(loop, starts, what)
    for first_state, second in combinations(_states(loop), 2):
        starts = [_exchanged(member, first_state, second) for member in group]
        names = f"{_name(loop, first_state)} and {_name(loop, second)}"
        yield from _together(loop, starts, f"what {names} begin with is exchanged")


def _of_tensors(group: Sequence[Loop], index: int) -> Iterator[Change]:
    """A state begins with a tensor of the first pass, or is that after it."""
    loop = group[0]
    for tensor in _of_first_pass(loop, index):
        name = tensor_name(body_of(loop.case, loop), tensor)
        starts = [
            taken_at(member, {index: _in_first(member, tensor)}, member.numbers[0])
            for member in group
        ]
        what = f"{_name(loop, index)}, which the next pass takes, begins with {name}"
        yield from _together(loop, starts, f"{what} of the first pass")
        given = [Ref(member.start + member.carried()[index]) for member in group]
        after = [
            taking(member.case, ref, _in_first(member, tensor), "")
            for member, ref in zip(group, given, strict=True)
        ]
        what = f"the first pass gives {name} in place of {_name(loop, index)}"
        yield from _together(loop, after, what)


def _exchanged(loop: Loop, first: int, second: int) -> Change | None:
    if _begun_with(loop, first).shape != _begun_with(loop, second).shape:
        return None
    begun = {first: _start(loop, second), second: _start(loop, first)}
    return taken_at(loop, begun, loop.numbers[0])


def taken_at(loop: Loop, begun: Mapping[int, Ref | float], number: int) -> Change | None:
    """A pass that takes these as its states; None where it cannot."""
    case, new = loop.case, dict[int, Step]()
    instead = dict[int, Ref]()
    for index, start in begun.items():
        if isinstance(start, Ref):
            instead[index] = start
            continue
        state = _begun_with(loop, index)
        instead[index] = Ref(len(case.steps) + len(new))
        new[instead[index].step] = Step(ops.Constant(np.full_like(state, start)), ())
    taken = dict[int, Step]()
    body = body_of(case, loop)
    for place in range(loop.size):
        refs, at = body.steps[place].sources(place), loop.at(number, place)
        if at is None or not any(ref.step < 0 and ref.index in begun for ref in refs):
            continue
        own = zip(refs, case.steps[at].sources(at), strict=True)
        given = [instead.get(ref.index, old) if ref.step < 0 else old for ref, old in own]
        if any(at <= ref.step < len(case.steps) for ref in given):
            return None
        taken[at] = Step(case.steps[at].op, tuple(given))
    return Change("", "", {**taken, **new}, of=min(taken)) if taken else None


def _together(loop: Loop, changes: Sequence[Change | None], what: str) -> Iterator[Change]:
    """The changes as one; none where one of them is not possible."""
    known = [change for change in changes if change is not None]
    if known and len(known) == len(changes):
        together = all_of(known, loop.case.steps)
        if together is not None:
            yield replace(together, what=what, where="", members=())


def _of_first_pass(loop: Loop, index: int) -> list[Ref]:
    """Tensors of a pass, of a state's shape, that no state leads to and that are others in each."""
    body, state = body_of(loop.case, loop), _begun_with(loop, index)
    fixed = {k for k, refs in enumerate(loop.inputs) if len({*refs}) == 1 and refs[0].step >= 0}
    made_of = [Ref(-1, k) for k in range(len(loop.inputs)) if k not in {*fixed, *loop.carried()}]
    found, apart = set(made_of), {Ref(-1, k) for k in loop.carried()}
    for at in range(loop.size):
        sources = body.steps[at].sources(at)
        if apart.isdisjoint(sources) and not found.isdisjoint(sources):
            found.add(Ref(at))
        elif at not in of_parameters(body):
            apart.add(Ref(at))
    alike = [ref for ref in found if shape_of(body, ref) == state.shape]
    return sorted(alike, key=lambda ref: (ref.step, ref.index))[:_FEW]


def _in_first(loop: Loop, ref: Ref) -> Ref:
    """A tensor of a pass in the first one."""
    return loop.inputs[ref.index][0] if ref.step < 0 else replace(ref, step=loop.start + ref.step)


class BeforeFirst(NamedTuple):
    """A pass before the first of a loop."""

    steps: Mapping[int, Step]
    """Its steps, by positions behind those of the layer."""
    after: Ref
    """What it makes of the state."""


def before_first(loop: Loop, index: int, state: Ref, number: int) -> BeforeFirst | None:
    """A pass before the first that takes a tensor as a state, in steps from a number on, where the
    state begins with what such a pass would be given, such as the first element of the sequence."""
    body, start = body_of(loop.case, loop), _start(loop, index)
    tensors = [ref for ref in _of_first_pass(loop, index) if _same_of_other(loop, start, ref)]
    if not tensors:
        return None
    new: dict[int, Step] = {}
    names: dict[Ref, Ref | None] = {tensors[0]: start}
    for at, refs in enumerate(loop.inputs):
        fixed = refs[0] if len({*refs}) == 1 else None
        names.setdefault(Ref(-1, at), state if at == index else fixed)

    def made(ref: Ref) -> Ref | None:
        if ref not in names:
            taken = [made(source) for source in body.steps[ref.step].sources(ref.step)]
            known = tuple(source for source in taken if source is not None)
            names[ref] = Ref(number + len(new)) if len(known) == len(taken) else None
            if len(known) == len(taken):
                new[number + len(new)] = Step(body.steps[ref.step].op, known)
        return names[ref]

    after = made(Ref(loop.carried()[index]))
    return None if after is None else BeforeFirst(new, after)


def _one_pass_more(loop: Loop, index: int) -> Change | None:
    """A pass before the first, from zeros."""
    case, start, zeros = loop.case, _start(loop, index), len(loop.case.steps)
    before = before_first(loop, index, Ref(zeros), zeros + 1)
    if before is None:
        return None
    new = {zeros: Step(ops.Constant(np.zeros_like(_begun_with(loop, index))), ()), **before.steps}
    users = users_of(case).get(start, ())
    taken = {at: taking_instead(case, at, start, before.after) for at in users}
    return Change("", "", {**taken, **new}, of=start.step)


def _same_of_other(loop: Loop, start: Ref, ref: Ref) -> bool:
    """Whether a tensor is an element of the sequence of which one of the first pass is another."""
    case, other = loop.case, _in_first(loop, ref)
    while start != other and min(start.step, other.step) >= 0:
        kinds = {type(case.steps[at].op) for at in (start.step, other.step)}
        sources = [case.steps[at].sources(at) for at in (start.step, other.step)]
        if len(kinds) > 1 or not all(issubclass(kind, Rearrangement) for kind in kinds):
            return False
        (start, *more), (other, *others) = sources
        if more != others:
            return False
    return start == other != _in_first(loop, ref)
