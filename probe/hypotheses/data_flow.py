"""Mistakes with what a step of a layer takes: a step left out, two tensors exchanged, another
tensor of the same shape.

They apply to every layer of several steps, blocks and whole models above all, and are tried where
no mistake with a name of its own reproduces the values.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, islice

import numpy as np

from probe.hypotheses.case import Case, Edit, Steps
from probe.hypotheses.registry import hypothesis
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref

__all__: list[str] = []

_BACK = 3
"""How many tensors of the same shape before a step may be taken for what it gives."""
_OTHERS = 6
"""How many other tensors of its shape are tried for one that a step takes."""


@hypothesis("missing-step", last=True)
def missing_step(case: Case) -> Iterator[Edit]:
    """A step of the layer, or several in a row, are left out.

    A normalisation, a residual connection, a rotation or a factor was forgotten: what comes behind
    takes what they were given. Only steps that keep the shape can be missed so.
    """
    for position in range(len(case.steps) - 1, -1, -1):
        made = Ref(position)
        if isinstance(case.steps[position].op, Outputs) or len(case.values[position]) != 1:
            continue
        for before, between in islice(_same_before(case, position), _BACK):
            sources = case.steps[position].sources(position)
            others = [one for one in sources if one != before] if before in sources else []
            claim = (
                f"{_listed([_tensor(case, one) for one in others])} left out of "
                f"{_step(case, position)}"
                if others
                else f"{_steps_between(case, between)} left out: what follows takes "
                f"{_tensor(case, before)}"
            )
            yield case.edit(claim, _taking(case, made, before))


@hypothesis("missing-input", last=True)
def missing_input(case: Case) -> Iterator[Edit]:
    """One of several inputs was ignored: zeros are taken in its place.

    An initial state, a bias that comes as an input, the second operand of a sum.
    """
    for index, x in enumerate(case.inputs) if len(case.inputs) > 1 else ():
        if x.dtype.kind == "f" and x.any():
            inputs = tuple(
                np.zeros_like(one) if i == index else one for i, one in enumerate(case.inputs)
            )
            yield case.edit(f"input {index} is taken as zeros", inputs=inputs)


@hypothesis("swapped-inputs", last=True)
def swapped_inputs(case: Case) -> Iterator[Edit]:
    """Two tensors of the same shape are exchanged.

    Query and key, gate and up, the operands of a difference or the order of a concatenation.
    """
    for position in range(len(case.steps) - 1, -1, -1):
        sources = case.steps[position].sources(position)
        for one, other in combinations(range(len(sources)), 2):
            if sources[one] != sources[other] and _shape(case, sources[one]) == _shape(
                case, sources[other]
            ):
                changed = list(sources)
                changed[one], changed[other] = changed[other], changed[one]
                names = (_tensor(case, sources[one]), _tensor(case, sources[other]))
                yield case.edit(
                    f"{names[0]} and {names[1]} are exchanged in {_step(case, position)}",
                    _with_sources(case, position, tuple(changed)),
                )
    users = _users(case)
    for one, other in combinations(range(len(case.steps)), 2):
        alike = type(case.steps[one].op) is type(case.steps[other].op)
        first, second = Ref(one), Ref(other)
        if not alike or _shape(case, first) != _shape(case, second):
            continue
        if all(user > other for user in users.get(first, ())):
            yield case.edit(
                f"{_tensor(case, first)} and {_tensor(case, second)} are exchanged",
                _exchanged(case, first, second),
            )


@hypothesis("other-tensor", last=True)
def other_tensor(case: Case) -> Iterator[Edit]:
    """A step takes another tensor of the same shape than it should.

    The residual of what is normalised for that of what was before it, the input of the block for
    the sum behind attention, a key that was not rotated.
    """
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
                changed = (*sources[:index], one, *sources[index + 1 :])
                yield case.edit(
                    f"{_step(case, position)} takes {_tensor(case, one)} in place of "
                    f"{_tensor(case, taken)}",
                    _with_sources(case, position, changed),
                )


def _shape(case: Case, ref: Ref) -> tuple[int, ...]:
    return np.shape(ref.of(case.inputs, case.values))


def _users(case: Case) -> dict[Ref, list[int]]:
    """The steps that take each tensor."""
    found: dict[Ref, list[int]] = {}
    for position, step in enumerate(case.steps):
        for ref in step.sources(position):
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


def _taking(case: Case, instead_of: Ref, ref: Ref) -> Steps:
    """The steps in which all that take the one tensor take another; where it is what the layer
    gives, the layer gives the other."""
    steps = tuple(
        replace(step, inputs=tuple(ref if one == instead_of else one for one in sources))
        if instead_of in (sources := step.sources(position))
        else step
        for position, step in enumerate(case.steps)
    )
    return case.giving(steps, ref) if instead_of.step == len(case.steps) - 1 else steps


def _with_sources(case: Case, position: int, sources: tuple[Ref, ...]) -> Steps:
    step = replace(case.steps[position], inputs=sources)
    return (*case.steps[:position], step, *case.steps[position + 1 :])


def _exchanged(case: Case, one: Ref, other: Ref) -> Steps:
    names = {one: other, other: one}
    return tuple(
        replace(step, inputs=tuple(names.get(ref, ref) for ref in sources))
        if names.keys() & set(sources := step.sources(position))
        else step
        for position, step in enumerate(case.steps)
    )


def _step(case: Case, position: int) -> str:
    """A step in words: the call that it is of where that is known."""
    op = type(case.steps[position].op).__name__
    call = case.calls[position] if position < len(case.calls) else ""
    if not call:
        return f"step {position + 1} ({op})"
    alike = [
        at
        for at, step in enumerate(case.steps[: len(case.calls)])
        if case.calls[at] == call and type(step.op) is type(case.steps[position].op)
    ]
    which = f" {alike.index(position) + 1} of {len(alike)}" if len(alike) > 1 else ""
    return f"{call} ({op}{which})"


def _tensor(case: Case, ref: Ref) -> str:
    if ref.step < 0:
        return "the input" if len(case.inputs) == 1 else f"input {ref.index}"
    output = f"output {ref.index} of " if len(case.values[ref.step]) > 1 else "the output of "
    return output + _step(case, ref.step)


def _steps_between(case: Case, positions: list[int]) -> str:
    """The steps in words, with the verb: "norm (Mul) is", "a, b and c are"."""
    calls = [case.calls[at] if at < len(case.calls) else "" for at in positions]
    names = list(dict.fromkeys(filter(None, calls))) if all(calls) else []
    names = names or [_step(case, at) for at in positions]
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more"]
    return _listed(names)


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is"
    return f"{', '.join(names[:-1])} and {names[-1]} are"
