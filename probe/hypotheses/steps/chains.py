"""Steps of one kind behind one another, such as residual sums or pools, that take what the first
takes; a module that is called once for two tensors; two tensors or the axes of two statistics
exchanged."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import combinations, islice
from typing import Any

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import of_parameters, taking_instead
from probe.hypotheses.edits.step_words import joined, step_name, steps_name, tensor_name
from probe.hypotheses.registry import more
from probe.hypotheses.steps.data_flow import same_before
from probe.ops.base import Op
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_JOINING = (ops.Add, ops.Sub, ops.Mul, ops.Max, ops.Mean)
_DEEP = 4
"""Before how many tensors of its shape steps begin that are applied twice."""
_NEAR = 6
"""Within how many steps two statistics belong together."""


@more("other-tensor")
def side_by_side(case: Case) -> Iterator[Changes]:
    """Each of a chain takes what the first takes, or one residual goes around all."""
    yield Changes(_side_by_side, "other-tensor", STEPS)


def _side_by_side(case: Case) -> Iterator[Change]:
    for chain, index in _chains(case):
        first = case.steps[chain[0]].sources(chain[0])[index]
        names = joined([step_name(case, at) for at in chain[1:]]) if len(chain) > 2 else ""
        names = names or step_name(case, chain[1])
        verb = "take" if len(chain) > 2 else "takes"
        steps = {at: _with(case, at, index, first) for at in chain[1:]}
        what = f"{names} {verb} {tensor_name(case, first)}, as {step_name(case, chain[0])} does"
        yield Change(f"{what}, not what the one before gives", "", steps)
        yield from _around_all(case, chain, index, first)


def _around_all(case: Case, chain: Sequence[int], index: int, first: Ref) -> Iterator[Change]:
    """What the first adds is added once, behind all of them."""
    *inner, last = chain
    steps: dict[int, Step] = {last: _with(case, last, index, first)}
    for at in inner:
        others = [ref for k, ref in enumerate(case.steps[at].sources(at)) if k != index]
        if len(others) != 1 or shape_of(case, others[0]) != shape_of(case, Ref(at)):
            return
        for user in users_of(case).get(Ref(at), ()):
            if user != last:
                before = steps.get(user, case.steps[user]).sources(user)
                refs = tuple(others[0] if ref == Ref(at) else ref for ref in before)
                steps[user] = Step(case.steps[user].op, refs)
    if any(ref.step in inner for ref in steps[last].sources(last)):
        return
    what = f"{tensor_name(case, first)} is added once, in {step_name(case, last)}, not what comes "
    yield Change(f"{what}before each of the {len(chain)} in a row", "", steps)


def _chains(case: Case) -> Iterator[tuple[list[int], int]]:
    """Steps of one kind of which each takes what the one before gives, and as which input."""
    following: dict[int, dict[int, int]] = {}
    for at, step in enumerate(case.steps):
        if isinstance(step.op, Outputs) or at in of_parameters(case):
            continue
        for index, ref in enumerate(step.sources(at)):
            alike = ref.step >= 0 and type(case.steps[ref.step].op) is type(step.op)
            if alike and shape_of(case, ref) == shape_of(case, Ref(at)):
                following.setdefault(index, {}).setdefault(ref.step, at)
    for index, after in following.items():
        for start in sorted(set(after) - set(after.values())):
            chain = [start]
            while chain[-1] in after:
                chain.append(after[chain[-1]])
            if index < len(case.steps[start].sources(start)):
                yield chain, index


def _with(case: Case, position: int, index: int, ref: Ref) -> Step:
    sources = case.steps[position].sources(position)
    return Step(case.steps[position].op, (*sources[:index], ref, *sources[index + 1 :]))


@more("moved-step")
def joined_before(case: Case) -> Iterator[Changes]:
    """Two tensors that are joined before a module that the layer calls for each."""
    yield Changes(_joined_before, "moved-step", STEPS)


def _joined_before(case: Case) -> Iterator[Change]:
    for position, op in case.having(*_JOINING):
        sources = case.steps[position].sources(position)
        if len(sources) != 2 or min(ref.step for ref in sources) < 0:
            continue
        first, second = sources
        called: list[int] = []
        while first != second and min(first.step, second.step) >= 0:
            mine, theirs = case.steps[first.step], case.steps[second.step]
            mains = _main(case, first), _main(case, second)
            if mains[0] is None or mains[1] is None or mains[0][1:] != mains[1][1:]:
                break
            if not _same(mine.op, theirs.op):
                break
            called.insert(0, first.step)
            first, second = mains[0][0], mains[1][0]
        if called and first != second:
            yield _called_once(case, position, op, called, (first, second))


def _main(case: Case, ref: Ref) -> tuple[Ref, int, tuple[object, ...]] | None:
    """What a step takes beside parameters, and as which input; and these."""
    sources = case.steps[ref.step].sources(ref.step)
    held = [k for k, source in enumerate(sources) if source.step in of_parameters(case)]
    main = [k for k in range(len(sources)) if k not in held]
    if len(main) != 1:
        return None
    return sources[main[0]], main[0], tuple(_held(case, sources[k]) for k in held)


def _held(case: Case, ref: Ref) -> object:
    """A parameter by its name, another constant by itself."""
    op = case.steps[ref.step].op
    return op.weight.name if isinstance(op, ops.Parameter) else ref


def _called_once(
    case: Case, position: int, op: Op, called: Sequence[int], pair: tuple[Ref, Ref]
) -> Change:
    """The tensors joined, and what is called for each of them called for that, in new steps."""
    new = len(case.steps)
    steps = {new: Step(op, pair)}
    for at in called:
        main = _main(case, Ref(at))
        index = 0 if main is None else main[1]
        new += 1
        steps[new] = _with(case, at, index, Ref(new - 1))
    for user in users_of(case).get(Ref(position), ()):
        steps[user] = taking_instead(case, user, Ref(position), Ref(new))
    names = joined([tensor_name(case, ref) for ref in pair])
    what = f"{names} are joined ({type(op).__name__}) before {step_name(case, called[0])}, "
    what += "which is then called once, not for each of them"
    out = Ref(new) if position == len(case.steps) - 1 else None
    return Change(what, "", steps, out, of=position)


def _same(op: Op, other: Op) -> bool:
    """Whether two ops compute the same, with the same weights."""
    if type(op) is not type(other):
        return False
    kind: Any = type(op)
    pairs = ((getattr(op, part.name), getattr(other, part.name)) for part in fields(kind))
    return all(_same_value(mine, theirs) for mine, theirs in pairs)


def _same_value(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, Weight) and isinstance(theirs, Weight):
        return mine.name == theirs.name
    return mine is theirs or bool(type(mine) is type(theirs) and mine == theirs)


@more("moved-step")
def several_steps_twice(case: Case) -> Iterator[Changes]:
    """Several steps, such as a module with its activation or a residual block, applied once more to
    what they give."""
    yield Changes(_several_twice, "moved-step", STEPS)


def _several_twice(case: Case) -> Iterator[Change]:
    for position in range(len(case.steps) - 1, -1, -1):
        end = Ref(position)
        if len(case.values[position]) != 1 or isinstance(case.steps[position].op, Outputs):
            continue
        for start, between in islice(same_before(case, position), _DEEP):
            inside = _made_of(case, start, between)
            if position not in inside or len(inside) < 2:
                continue
            places = {at: Ref(len(case.steps) + k) for k, at in enumerate(inside)}
            steps: dict[int, Step] = {}
            for at, new in places.items():
                refs = (
                    end if ref == start else places.get(ref.step, ref)
                    for ref in case.steps[at].sources(at)
                )
                steps[new.step] = Step(case.steps[at].op, tuple(refs))
            last = places[position]
            for user in users_of(case).get(end, ()):
                steps[user] = taking_instead(case, user, end, last)
            out = last if position == len(case.steps) - 1 else None
            what = f"{steps_name(case, inside)} applied twice"
            key = ("again", type(case.steps[position].op), len(inside))
            yield Change(what, "", steps, out, key, of=position)


def _made_of(case: Case, start: Ref, between: Sequence[int]) -> list[int]:
    """Those of some steps that give one output, which is made of a tensor."""
    inside: list[int] = []
    for at in between:
        taken = case.steps[at].sources(at)
        if start in taken or any(ref.step in inside for ref in taken):
            if len(case.values[at]) != 1:
                return []
            inside.append(at)
    return inside


@more("swapped-inputs")
def exchanged_everywhere(case: Case) -> Iterator[Changes]:
    """Two tensors exchanged in all steps of a kind that take one of them: the shares of a mixture
    that is made several times."""
    yield Changes(_exchanged_everywhere, "swapped-inputs", STEPS)


def _exchanged_everywhere(case: Case) -> Iterator[Change]:
    takers: dict[tuple[type, tuple[int, ...]], dict[Ref, list[int]]] = {}
    for at, op in case.having(*_JOINING):
        for ref in dict.fromkeys(case.steps[at].sources(at)):
            kind = type(op), shape_of(case, ref)
            takers.setdefault(kind, {}).setdefault(ref, []).append(at)
    for found in takers.values():
        several = [ref for ref, steps in found.items() if len(steps) > 1]
        for first, second in combinations(several, 2):
            both = {first: second, second: first}
            positions = sorted({*found[first], *found[second]})
            if positions[0] <= max(first.step, second.step):
                continue
            steps = {
                at: Step(
                    case.steps[at].op,
                    tuple(both.get(ref, ref) for ref in case.steps[at].sources(at)),
                )
                for at in positions
            }
            what = f"{tensor_name(case, first)} and {tensor_name(case, second)} are exchanged in "
            yield Change(f"{what}all {len(positions)} steps that join them with others", "", steps)


@more("changed-step")
def axes_exchanged(case: Case) -> Iterator[Changes]:
    """Two statistics, one of which is made of the other, with each other's axes."""
    yield Changes(_axes_exchanged, "changed-step", STEPS)


def _axes_exchanged(case: Case) -> Iterator[Change]:
    statistics = [(at, op) for at, op in case.having(*_STATISTICS) if op.keepdims]
    for (first, before), (second, behind) in combinations(statistics, 2):
        if second - first <= _NEAR and before.axes != behind.axes:
            steps = {
                at: Step(replace(op, axes=axes), case.steps[at].sources(at))
                for at, op, axes in ((first, before, behind.axes), (second, behind, before.axes))
            }
            what = f"{step_name(case, first)} is along axes {behind.axes} and "
            what += f"{step_name(case, second)} along {before.axes}, not the other way round"
            yield Change(what, "", steps)


_STATISTICS = (
    *(ops.ReduceMean, ops.ReduceSum, ops.ReduceMax, ops.ReduceMin, ops.ReduceL2),
    *(ops.ReduceL1, ops.ReduceSumSquare, ops.ReduceStd, ops.ReduceVar, ops.ReduceLogSumExp),
)
