"""Mistakes in a call that has no description: another argument, or one of its tensors that is the
same number everywhere."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from probe import ops
from probe.composition.called_again_step import CalledAgain
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []


@more("changed-step")
def other_arguments(case: Case) -> Iterator[Changes]:
    """The framework's own function is given another argument, or 1 or 0 for a tensor."""
    yield Changes(_otherwise, "changed-step", STEPS)


def _otherwise(case: Case) -> Iterator[Change]:
    for position, op in case.having(CalledAgain):
        sources = case.steps[position].sources(position)
        for words, again in op.again.others():
            step = Step(replace(op, again=again), sources)
            yield Change(words, step_name(case, position), {position: step})
        for index, ref in enumerate(sources):
            if np.asarray(ref.of(case.inputs, case.values)).dtype.kind != "f":
                continue
            for number in (1.0, 0.0):
                new = len(case.steps)
                held = Step(ops.Constant(np.full(shape_of(case, ref), number)), ())
                step = Step(op, (*sources[:index], Ref(new), *sources[index + 1 :]))
                what = f"{tensor_name(case, ref)} is taken as {number:g} everywhere"
                where = step_name(case, position)
                yield Change(what, where, {new: held, position: step}, of=position)
