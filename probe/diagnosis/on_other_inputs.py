"""Which explanations are the same layer in other words, as other inputs tell."""

from collections.abc import Sequence

import numpy as np

from probe.diagnosis.scoring import Scored
from probe.evaluation.numpy_reference import recompute
from probe.trial.case import Case
from probe.trial.refusals import refused

__all__ = ["different"]

_COMPARED = 12
"""How many explanations are compared on other inputs."""


def different(case: Case, candidates: Sequence[Scored]) -> list[Scored]:
    """Without those that give on other inputs, too, what one before gives: the same layer in other
    words."""
    rng = np.random.default_rng(0)
    inputs = list(case.inputs)
    for index, x in enumerate(inputs):
        if x.dtype.kind == "f":
            noise = rng.normal(scale=x.std() or 1.0, size=x.shape)
            inputs[index] = (x + noise).astype(x.dtype)
    kept: list[Scored] = []
    seen_outputs: list[np.ndarray] = []
    for candidate in candidates[:_COMPARED]:
        if candidate.edit.inputs is not case.inputs or len(candidates) == 1:
            kept.append(candidate)
            continue
        try:
            values = recompute(candidate.edit.steps, inputs, ran=case.budget.ran)
            y = np.asarray(values[-1][0])
        except Exception as error:
            refused(error)
            kept.append(candidate)
            continue
        alike = (
            other.shape == y.shape and np.allclose(other, y, equal_nan=True)
            for other in seen_outputs
        )
        if not any(alike):
            kept.append(candidate)
            seen_outputs.append(y)
    return kept
