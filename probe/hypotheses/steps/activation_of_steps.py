"""An activation that a block computes in several steps, such as x * sigmoid(1.702 x), in place of
which another one was computed."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []


@more("other-activation")
def other_activation_of_steps(case: Case) -> Iterator[Changes]:
    """Another activation in place of several steps that are one."""
    yield Changes(_activations, "other-activation", STEPS)


class _Chain(NamedTuple):
    """Steps that are one function of a tensor, element by element."""

    first: Ref
    """The tensor."""
    length: int
    """How many steps they are."""
    moves: tuple[int, ...]
    """Those between them that only move elements, the last one first."""


def _activations(case: Case) -> Iterator[Change]:
    for last in range(len(case.steps) - 1, -1, -1):
        chain = _made_of_one(case, last)
        if chain is None:
            continue
        moved, x = dict[int, Step](), chain.first
        for at in reversed(chain.moves):
            new = len(case.steps) + len(moved)
            moved[new] = Step(case.steps[at].op, (x,))
            x = Ref(new)
        made = tensor_name(case, Ref(last))
        for name, op in COMMON:
            if isinstance(op, ops.Softmax | ops.LogSoftmax) and _is_single(case, last, op.axis):
                continue  # 1 everywhere
            what = f"{name} of {tensor_name(case, chain.first)} instead of {made}"
            key = ("instead", chain.length, name)
            yield Change(what, "", {**moved, last: Step(op, (x,))}, key=key, of=last)


def _is_single(case: Case, position: int, axis: int) -> bool:
    """Whether what a step gives has one place along an axis."""
    return shape_of(case, Ref(position))[axis : axis + 1 or None] in ((), (1,))


def _made_of_one(case: Case, last: int) -> _Chain | None:
    """The steps whose output the last one gives; None where that is a single step or not curved."""
    refs, inside, moves = {Ref(last)}, set[int](), list[int]()
    shape = np.shape(case.values[last][0])
    found = None
    while refs:
        latest = max(refs, key=lambda ref: ref.step)
        if latest.step < 0:
            break
        step = case.steps[latest.step]
        sources = step.sources(latest.step)
        if len(refs) == 1 and inside and isinstance(step.op, Rearrangement) and len(sources) == 1:
            moves.append(latest.step)
            refs, shape = {sources[0]}, shape_of(case, sources[0])
            continue
        single = isinstance(step.op, Elementwise | ops.Add | ops.Sub | ops.Mul | ops.Div | ops.Pow)
        if not single or np.shape(case.values[latest.step][0]) != shape:
            break
        refs.remove(latest)
        inside.add(latest.step)
        refs |= {ref for ref in sources if not _is_number(case, ref)}
        if len(refs) == 1 and len(inside) > 1:
            curved = any(type(case.steps[at].op) in _CURVED for at in inside)
            found = _Chain(next(iter(refs)), len(inside), tuple(moves)) if curved else found
    return found


_CURVED = {ops.Sigmoid, ops.Tanh, ops.Erf, ops.HardSigmoid, ops.Relu6, ops.Exp, ops.Softplus}


def _is_number(case: Case, ref: Ref) -> bool:
    return ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Constant)
