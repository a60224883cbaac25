"""An activation that a block computes in several steps, such as x * sigmoid(1.702 x), in place of
which another one was computed."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


@more("other-activation")
def other_activation_of_steps(case: Case) -> Iterator[Changes]:
    """Another activation in place of several steps that are one."""
    yield Changes(_activations, "other-activation", STEPS)


def _activations(case: Case) -> Iterator[Change]:
    for last in range(len(case.steps) - 1, -1, -1):
        found = _made_of_one(case, last)
        if found is None:
            continue
        first, between = found
        made = Ref(last)
        for name, op in COMMON:
            what = f"{name} of {tensor_name(case, first)} instead of {tensor_name(case, made)}"
            key = ("instead", between, name)
            yield Change(what, "", {last: Step(op, (first,))}, key=key)


def _made_of_one(case: Case, last: int) -> tuple[Ref, int] | None:
    """The one tensor that a step's output is a function of, element by element, and how many steps
    lie between; None where that is a single step or not curved."""
    refs, inside = {Ref(last)}, set[int]()
    found = None
    while refs:
        latest = max(refs, key=lambda ref: ref.step)
        if latest.step < 0:
            break
        step = case.steps[latest.step]
        single = isinstance(step.op, Elementwise | ops.Add | ops.Sub | ops.Mul | ops.Div | ops.Pow)
        if not single or np.shape(case.values[latest.step][0]) != np.shape(case.values[last][0]):
            break
        refs.remove(latest)
        inside.add(latest.step)
        refs |= {ref for ref in step.sources(latest.step) if not _is_number(case, ref)}
        if len(refs) == 1 and len(inside) > 1:
            curved = any(type(case.steps[at].op) in _CURVED for at in inside)
            found = (next(iter(refs)), len(inside)) if curved else found
    return found


_CURVED = {ops.Sigmoid, ops.Tanh, ops.Erf, ops.HardSigmoid, ops.Relu6, ops.Exp, ops.Softplus}


def _is_number(case: Case, ref: Ref) -> bool:
    return ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Constant)
