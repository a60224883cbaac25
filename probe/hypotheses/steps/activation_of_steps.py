"""An activation that a block computes in several steps, such as x * sigmoid(1.702 x), in place of
which another one was computed."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import of_parameters
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
    ends: tuple[int, int]
    """The first and the last of these steps."""
    length: int
    """How many they are."""
    moves: tuple[int, ...]
    """Those between them that only move elements, the last one first."""


def _activations(case: Case) -> Iterator[Change]:
    for last in range(len(case.steps) - 1, -1, -1):
        for chain in reversed(list(_made_of_one(case, last))):
            yield from _instead(case, chain, last)


def _instead(case: Case, chain: _Chain, last: int) -> Iterator[Change]:
    """Each activation of what the chain is a function of, in place of what its last step gives."""
    moved, x = dict[int, Step](), chain.first
    for at in reversed(chain.moves):
        new = len(case.steps) + len(moved)
        moved[new] = Step(case.steps[at].op, (x,))
        x = Ref(new)
    own = tensor_name(case, Ref(last))
    ends = {type(case.steps[at].op) for at in chain.ends} - {ops.HardSigmoid}
    for name, op in COMMON:
        if type(op) in ends:
            continue  # the other steps are left out
        if isinstance(op, ops.Softmax | ops.LogSoftmax) and _is_single(case, last, op.axis):
            continue  # 1 everywhere
        what = f"{name} of {tensor_name(case, chain.first)} instead of {own}"
        key = ("instead", chain.length, name)
        yield Change(what, "", {**moved, last: Step(op, (x,))}, key=key, of=last)


def _is_single(case: Case, position: int, axis: int) -> bool:
    """Whether what a step gives has one place along an axis."""
    return shape_of(case, Ref(position))[axis : axis + 1 or None] in ((), (1,))


def _made_of_one(case: Case, last: int) -> Iterator[_Chain]:
    """The steps whose output the last one gives, the shortest first; none that are a single step
    or not curved."""
    refs, inside, moves = {Ref(last)}, set[int](), list[int]()
    shape, numbers = np.shape(case.values[last][0]), of_parameters(case)
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
        if not isinstance(step.op, _SUMS):
            single = isinstance(step.op, (Elementwise, *_JOINING))
            if not single or np.shape(case.values[latest.step][0]) != shape:
                break
        refs.remove(latest)
        inside.add(latest.step)
        refs |= {ref for ref in sources if ref.step not in numbers and _has(case, ref, shape)}
        if len(refs) == 1 and len(inside) > 1 and shape_of(case, next(iter(refs))) == shape:
            if any(type(case.steps[at].op) in _CURVED for at in inside):
                yield _Chain(next(iter(refs)), (latest.step, last), len(inside), tuple(moves))


def _has(case: Case, ref: Ref, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is what elements of that shape are made of, not one number beside them, such
    as the scale of a quantised tensor."""
    return np.size(ref.of(case.inputs, case.values)) > 1 or np.prod(shape) == 1


_JOINING = (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Pow, ops.Max, ops.Min)
_SUMS = (ops.ReduceSum, ops.ReduceMax)
"""What a softmax has besides functions of single elements."""
_CURVED = {
    *(ops.Sigmoid, ops.Tanh, ops.Erf, ops.Exp, ops.Softplus, ops.Sin, ops.Cos, ops.Abs),
    *(ops.HardSigmoid, ops.Relu6, ops.Relu, ops.Clip, ops.Max, ops.Min),
}
