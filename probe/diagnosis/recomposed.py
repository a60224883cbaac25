"""Steps that an op was taken apart into as that op again, where a mistake left them as they are."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.edit import Steps

__all__ = ["recomposed"]


def recomposed(case: Case, steps: Steps) -> tuple[Steps, Case]:
    """The steps of an edit with whole ops where nothing within them is another; and the layer with
    those ops taken apart that are not whole in the edit."""
    used = {id(op) for step in steps for op in (step.op, getattr(step.op, "instead_of", None))}
    for reading in (decomposed(case), decomposed(case, True)):
        parts = {id(step.op) for step in reading.steps} - {id(step.op) for step in case.steps}
        if reading is not case and parts & used:
            return _recomposed(case, reading, steps)
    return steps, case


def _recomposed(case: Case, reading: Case, steps: Steps) -> tuple[Steps, Case]:
    """The same by one way of taking ops apart."""
    groups: dict[int, list[int]] = {}
    for at, origin in enumerate(reading.origins):
        groups.setdefault(origin, []).append(at)
    apart = {
        origin: members
        for origin, members in groups.items()
        if origin >= 0 and reading.steps[members[-1]].op is not case.steps[origin].op
    }
    ends = {origin: members[-1] for origin, members in groups.items()}
    places = {id(step.op): at for at, step in enumerate(steps)}
    mine, theirs = [*reading.steps], [*steps]
    for origin, members in apart.items():
        keys = {member: id(reading.steps[member].op) for member in members}
        if not places.keys() >= {*keys.values()}:
            continue
        where = {member: places[key] for member, key in keys.items()}
        taken = _outside(reading.steps, members, steps, where)
        sources = _sources(case, origin, reading, ends)
        if taken is None or sources is None or not {*sources} <= taken.keys():
            continue
        op, last = case.steps[origin].op, members[-1]
        if len(case.values[origin]) > 1 or where[last] != max(where.values()):
            continue
        if _is_taken(reading.steps, members) or _is_taken(steps, [*where.values()]):
            continue
        mine[last] = Step(op, sources)
        theirs[where[last]] = Step(op, tuple(taken[ref] for ref in sources))
    return tuple(theirs), replace(reading, steps=tuple(mine))


def _outside(
    own: Steps, members: Collection[int], steps: Steps, where: Mapping[int, int]
) -> dict[Ref, Ref] | None:
    """What the steps of an op take of others, in the edit by what they take in the layer; None
    where they take something else of each other."""
    found: dict[Ref, Ref] = {}
    for member in members:
        taken = own[member].sources(member)
        given = steps[where[member]].sources(where[member])
        if len(taken) != len(given):
            return None
        for mine, theirs in zip(taken, given, strict=True):
            if mine.step in where:
                if theirs != replace(mine, step=where[mine.step]):
                    return None
            elif found.setdefault(mine, theirs) != theirs:
                return None
    return found


def _sources(
    case: Case, origin: int, reading: Case, ends: Mapping[int, int]
) -> tuple[Ref, ...] | None:
    """What an op takes, as tensors of the reading; None where that is one of several outputs of an
    op that is taken apart."""
    found = []
    for ref in case.steps[origin].sources(origin):
        if ref.step < 0:
            found.append(ref)
            continue
        end = ends[ref.step]
        if ref.index and reading.steps[end].op is not case.steps[ref.step].op:
            return None
        found.append(replace(ref, step=end))
    return tuple(found)


def _is_taken(steps: Steps, members: Collection[int]) -> bool:
    """Whether others take what the steps give before the last of them."""
    inner = {*members} - {max(members)}
    return any(
        ref.step in inner
        for at, step in enumerate(steps)
        if at not in members
        for ref in step.sources(at)
    )
