"""Steps with others put between them, and which step gives a tensor: what an edit of the data flow
needs."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from probe.ops.base import Op, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, once, users_of
from probe.trial.change import Change
from probe.trial.edit import Steps

__all__ = [
    "Rewiring",
    "inserted",
    "made_by",
    "of_parameters",
    "only",
    "origin_of",
    "rewired",
    "source_of",
    "steps_taking",
    "taking",
    "taking_instead",
    "with_sources",
]


@dataclass(frozen=True, eq=False)
class Rewiring:
    """Some steps take a tensor otherwise, through ops put before them."""

    ref: Ref | None
    """Which tensor; None: they take one input more."""
    ops: tuple[Op, ...]
    """What is done to it, one after the other."""
    users: Callable[[int], bool] = lambda position: True
    """Whether the step at a position does; the layer's output is behind the last."""
    source: Ref | None = None
    """What the first of the ops takes, where that is another one."""
    copies: int = 1
    """How often the first of the ops takes it; 0 for what takes nothing."""


def only(position: int) -> Callable[[int], bool]:
    """Which steps do: the one at a position."""
    return lambda other: other == position


def rewired(case: Case, changes: Sequence[Rewiring]) -> Steps:
    """The steps with all of these changes, none of which sees another."""
    new: list[Step] = []
    places: list[int] = []
    edited: dict[int, Ref] = {}

    def moved(ref: Ref) -> Ref:
        if ref.step >= 0:
            return replace(ref, step=places[ref.step])
        return ref

    def put(k: int) -> Ref:
        if k not in edited:
            change = changes[k]
            start = change.source if change.source is not None else change.ref
            sources = () if start is None else (moved(start),) * change.copies
            for op in change.ops:
                new.append(Step(op, sources))
                sources = (Ref(len(new) - 1),)
            edited[k] = sources[0]
        return edited[k]

    def taken(ref: Ref, position: int) -> Ref:
        for k, change in enumerate(changes):
            if change.ref == ref and change.users(position):
                return put(k)
        return moved(ref)

    for position, step in enumerate(case.steps):
        inputs = tuple(taken(ref, position) for ref in step.sources(position))
        more = [
            k for k, change in enumerate(changes) if change.ref is None and change.users(position)
        ]
        inputs = (*inputs, *(put(k) for k in more))
        places.append(len(new))
        new.append(replace(step, inputs=inputs))
    last = Ref(len(case.steps) - 1)
    for k, change in enumerate(changes):
        if change.ref == last and change.users(len(case.steps)):
            put(k)
    return tuple(new)


def made_by(case: Case, ref: Ref, *kinds: type[Op]) -> bool:
    """Whether a step of one of these kinds gives the tensor."""
    return ref.step >= 0 and isinstance(case.steps[ref.step].op, kinds)


def source_of(case: Case, ref: Ref) -> Ref:
    """What the step that gives the tensor is applied to, first of all."""
    return case.steps[ref.step].sources(ref.step)[0]


def origin_of(case: Case, ref: Ref) -> Ref:
    """What a tensor was, before its elements were moved."""
    while ref.step >= 0 and isinstance(case.steps[ref.step].op, Rearrangement):
        ref = source_of(case, ref)
    return ref


@once
def of_parameters(case: Case) -> set[int]:
    """The steps that are made of parameters and numbers alone."""
    found = set[int]()
    for position, step in enumerate(case.steps):
        if all(ref.step in found for ref in step.sources(position)):
            found.add(position)
    return found


def steps_taking(case: Case, instead_of: Ref, ref: Ref) -> Steps:
    """The steps where all that take the one tensor take the other."""
    return taking(case, instead_of, ref, "").applied(case.steps)


def taking(case: Case, instead_of: Ref, ref: Ref, what: str, key: Hashable = None) -> Change:
    """All that take the one tensor take another; where it is what the layer gives, the layer gives
    the other."""
    steps = {
        position: taking_instead(case, position, instead_of, ref)
        for position in users_of(case).get(instead_of, ())
    }
    out = ref if instead_of.step == len(case.steps) - 1 else None
    return Change(what, "", steps, out=out, key=key, of=instead_of.step)


def taking_instead(case: Case, position: int, old: Ref, new: Ref) -> Step:
    """A step that takes the tensor ``new`` in place of ``old``."""
    step = case.steps[position]
    return Step(
        step.op, tuple(new if source == old else source for source in step.sources(position))
    )


def with_sources(
    case: Case, position: int, sources: Sequence[Ref], what: str, key: Hashable = None
) -> Change:
    """A step takes these tensors."""
    return Change(what, "", {position: Step(case.steps[position].op, tuple(sources))}, key=key)


def inserted(
    case: Case, ref: Ref, step: Step, what: str, key: Hashable = None, user: int | None = None
) -> Change:
    """A step put behind a tensor, for all that take it or for one step."""
    new = Ref(len(case.steps))
    steps = {new.step: step}
    for position in users_of(case).get(ref, ()):
        if user in (None, position):
            steps[position] = taking_instead(case, position, ref, new)
    out = new if user is None and ref.step == len(case.steps) - 1 else None
    return Change(what, "", steps, out, key, of=ref.step)
