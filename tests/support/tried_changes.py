"""What the changes of a hypothesis make of the output of a few steps, without a search."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import Hypothesis
from probe.hypotheses.edits.changes import Changes
from probe.ops.step import Step
from probe.trial.case import of_output

__all__ = ["claims_that_give", "tried"]


def tried(
    hypothesis: Hypothesis, steps: tuple[Step, ...], *inputs: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """The claim of each change, and the output with it; each step is a call of its own."""
    values = recompute(steps, inputs)
    case = of_output(steps, inputs, values, 0, np.asarray(values[-1][0]))
    case = replace(case, calls=tuple(f"call{at}" for at in range(len(steps))))
    for changes in hypothesis(case):
        assert isinstance(changes, Changes)
        for change in changes.of(case, case):
            try:
                made = recompute(change.applied(steps), inputs)
            except ValueError:  # it fits no other step
                continue
            yield change.claim, np.asarray(made[-1][0])


def claims_that_give(
    wrong: np.ndarray, hypothesis: Hypothesis, steps: tuple[Step, ...], *inputs: np.ndarray
) -> list[str]:
    """The claims of the changes that give these values."""
    return [
        claim
        for claim, values in tried(hypothesis, steps, *inputs)
        if values.shape == wrong.shape and np.allclose(values, wrong)
    ]
