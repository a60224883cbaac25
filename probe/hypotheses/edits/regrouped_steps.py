"""Cases with other steps for the same values: ops decomposed, and the steps of a call as one."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from probe import ops
from probe.errors import absorbed
from probe.evaluation.allowance import Values
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.decompositions import DECOMPOSITIONS, Decomposition, Parts
from probe.hypotheses.edits.integer_decompositions import SUMS
from probe.hypotheses.edits.recurrent_decompositions import RECURRENCES
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.triangular_systems import solved_at_once
from probe.numerics.memory_limit import limit, limited
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, once
from probe.trial.edit import Steps
from probe.trial.gathered import Gathered

__all__ = ["as_last_step", "decomposed", "long_functions_together", "taken_together"]

_LARGE, _LARGE_IN_SLICES = 1 << 22, 1 << 24
"""Elements of all arrays of a layer from which on it is left as it is, one of which slices are
looked at later."""
_BYTES = 1 << 29
"""What the arrays of a layer that is taken apart may take."""


@once
def decomposed(case: Case, sums: bool = False) -> Case:
    """The case with every op taken apart that holds several operations, or biases alone (``sums``);
    as it is where that would not give the same values."""
    most = _LARGE if case.region is None else _LARGE_IN_SLICES
    if sum(y.size for outputs in case.values for y in outputs) > most:
        return case
    steps: list[Step] = []
    calls: list[str] = []
    words: list[str] = []
    origins: list[int] = []
    places: dict[Ref, Ref] = {}

    def moved(ref: Ref) -> Ref:
        if ref.step < 0:
            return ref
        return places.get(ref) or replace(places[Ref(ref.step)], index=ref.index)

    for position, step in enumerate(case.steps):
        sources = tuple(map(moved, step.sources(position)))
        call = case.calls[position] if position < len(case.calls) else ""
        whole = sums and not isinstance(step.op, SUMS)
        parts = None if whole else _unfolded(case, position)
        if parts is None:
            steps.append(Step(step.op, sources))
            calls.append(call)
            words.append("")
            origins.append(position)
            places[Ref(position)] = Ref(len(steps) - 1)
            continue
        inner, outputs, inner_words = parts
        before = len(steps)
        for inner_step in inner:
            refs = (
                sources[ref.index] if ref.step < 0 else replace(ref, step=before + ref.step)
                for ref in inner_step.sources(0)
            )
            steps.append(Step(inner_step.op, tuple(refs)))
        calls += [call] * len(inner)
        words += inner_words
        origins += [position] * len(inner)
        for index, ref in enumerate(outputs):
            places[Ref(position, index)] = replace(ref, step=before + ref.step)
    last = places[Ref(len(case.steps) - 1)]
    if last != Ref(len(steps) - 1):
        steps.append(Step(ops.Outputs(), (last,)))
        calls.append("")
        words.append("")
        origins.append(-1)
    values = _same_values(case, steps)
    if values is None:
        return case
    return replace(
        case,
        steps=tuple(steps),
        values=values,
        calls=tuple(calls),
        words=tuple(words),
        origins=tuple(origins),
    )


def _same_values(case: Case, steps: Sequence[Step]) -> Values | None:
    """What the steps give, None where that is not what the case's give."""
    try:
        with limited(min(_BYTES, limit() or _BYTES)):
            values = recompute(steps, case.inputs, ran=case.budget.ran)
    except MemoryError:
        return None
    except (ValueError, IndexError, TypeError) as error:
        absorbed(error)
        return None
    again, healthy = np.asarray(values[-1][0]), case.healthy
    largest = float(np.abs(healthy[np.isfinite(healthy)]).max(initial=0))
    if again.shape != healthy.shape or not np.allclose(
        again, healthy, rtol=1e-7, atol=1e-7 * largest, equal_nan=True
    ):
        return None
    return values


_Unfolded = tuple[list[Step], tuple[Ref, ...], list[str]]
_UNFOLDED: WeakKeyDictionary[Op, dict[Hashable, _Unfolded | None]] = WeakKeyDictionary()
"""What ops are made of: the same steps in all cases, by which they are known again."""


def _unfolded(case: Case, position: int) -> _Unfolded | None:
    """The steps that an op is made of, what gives its outputs, and their words."""
    step, count = case.steps[position], len(case.values[position])
    function = (DECOMPOSITIONS | RECURRENCES).get(type(step.op))
    if function is None:
        return None
    inputs = [ref.of(case.inputs, case.values) for ref in step.sources(position)]
    if isinstance(step.op, SUMS):  # what they are made of follows from the numbers that they take
        return _made_of(step.op, function, inputs, count)
    shapes = tuple(map(np.shape, inputs))
    known = _UNFOLDED.setdefault(step.op, {})
    if (shapes, count) not in known:
        known[shapes, count] = _made_of(step.op, function, inputs, count)
    return known[shapes, count]


def _made_of(
    op: Op, function: Decomposition, inputs: Sequence[np.ndarray], count: int
) -> _Unfolded | None:
    to = Parts(inputs)
    made = function(op, to)
    if made is None:
        return None
    outputs = made if isinstance(made, tuple) else (made,)
    if count > len(outputs):
        outputs = tuple(replace(outputs[0], index=k) for k in range(count))
    return to.steps, outputs, to.words


@once
def long_functions_together(case: Case) -> Case:
    """The case with each call of a function of the framework that takes very many steps, such as
    the rows of a triangular system, as one step: no one errs within it."""
    groups: dict[str, list[int]] = {}
    for position, call in enumerate(case.calls):
        site = case.sites.get(call)
        if site is not None and site.function:
            groups.setdefault(call, []).append(position)
    return _together(case, {name: own for name, own in groups.items() if len(own) >= _LONG})


_LONG = 100
"""From how many steps on a function is taken as one."""


@once
def taken_together(case: Case, depth: int = 0) -> Case:
    """The case with the steps of each call of several as one step, which can be left out or moved:
    of the innermost calls, or of those at a depth within the container; as it is where there are
    none."""
    groups: dict[str, list[int]] = {}
    for position, call in enumerate(case.calls):
        path = call.partition("/")[0] if "/" in call else ""
        path = path or (call if case.calls.count(call) > 1 or depth else "")
        name = ".".join(path.split(".")[:depth]) if depth else path
        if name:
            groups.setdefault(name, []).append(position)
    return _together(case, groups)


def _together(case: Case, groups: Mapping[str, list[int]]) -> Case:
    """The case with each of these groups of steps as one, where nothing within it is taken by
    others."""
    users: dict[int, set[int]] = {}
    for position, step in enumerate(case.steps):
        for ref in step.sources(position):
            users.setdefault(ref.step, set()).add(position)
    whole: dict[int, tuple[str, list[int]]] = {}
    inside: set[int] = set()
    for name, members in groups.items():
        last, held = members[-1], set(members)
        closed = all(users.get(at, set()) <= held for at in members[:-1])
        # beside one step a call has its parameters, which that takes
        computing = held - of_parameters(case)
        if len(computing) > 1 and closed and len(case.values[last]) == 1:
            whole[last] = name, members
            inside |= held - {last}
    if not whole:
        return case
    places: dict[int, int] = {}
    steps: list[Step] = []
    calls: list[str] = []
    values: list[tuple[np.ndarray, ...]] = []

    def moved(ref: Ref) -> Ref:
        if ref.step < 0:
            return ref
        return replace(ref, step=places[ref.step])

    for position, step in enumerate(case.steps):
        if position in inside:
            continue
        places[position] = len(steps)
        if position in whole:
            name, members = whole[position]
            body, given = _body(case, members)
            op = Gathered(body, name)
            if len(members) >= _LONG:
                taken = [ref.of(case.inputs, case.values) for ref in given]
                op = solved_at_once(op, taken, case.values[position][0])
            steps.append(Step(op, tuple(map(moved, given))))
            calls.append(name)
        else:
            steps.append(Step(step.op, tuple(map(moved, step.sources(position)))))
            calls.append(case.calls[position] if position < len(case.calls) else "")
        values.append(case.values[position])
    return replace(
        case, steps=tuple(steps), values=values, calls=tuple(calls), words=(), origins=()
    )


def as_last_step(case: Case, own: Collection[int], name: str) -> Case:
    """The case with these steps, and all that follow from them, as one step behind the others."""
    members = set(own)
    for position, step in enumerate(case.steps):
        if members.intersection(ref.step for ref in step.sources(position)):
            members.add(position)
    before = [position for position in range(len(case.steps)) if position not in members]
    places = {position: at for at, position in enumerate(before)}

    def moved(sources: Iterable[Ref]) -> tuple[Ref, ...]:
        return tuple(replace(source, step=places.get(source.step, -1)) for source in sources)

    body, given = _body(case, sorted(members))
    steps = [Step(case.steps[at].op, moved(case.steps[at].sources(at))) for at in before]
    steps.append(Step(Gathered(body, name), moved(given)))
    values = [*(case.values[at] for at in before), case.values[-1]]
    calls = (*(case.calls[at] if at < len(case.calls) else "" for at in before), name)
    return replace(case, steps=tuple(steps), values=values, calls=calls)


def _body(case: Case, members: Sequence[int]) -> tuple[Steps, tuple[Ref, ...]]:
    """The steps of a call with its inputs, and where these come from."""
    inputs: list[Ref] = []
    places = {position: at for at, position in enumerate(members)}
    steps = []
    for position in members:
        sources = []
        for ref in case.steps[position].sources(position):
            if ref.step in places:
                sources.append(replace(ref, step=places[ref.step]))
                continue
            if ref not in inputs:
                inputs.append(ref)
            sources.append(Ref(-1, inputs.index(ref)))
        steps.append(Step(case.steps[position].op, tuple(sources)))
    return tuple(steps), tuple(inputs)
