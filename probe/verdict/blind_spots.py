"""What this input, on these weights, could not have revealed: mistakes that would have left the
output as it is."""

from collections.abc import Sequence

import numpy as np

from probe.evaluation.allowance import Values
from probe.ops import Transpose
from probe.ops.step import Step

__all__ = ["blind_spots"]


def blind_spots(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[str, ...]:
    """A sentence for each mistake that this check cannot see; empty where the input and the weights
    leave none."""
    if all(isinstance(step.op, Transpose) for step in steps):
        return ()
    sentences: list[str] = []
    for position, step in enumerate(steps):
        given = [ref.of(inputs, values) for ref in step.sources(position)]
        if given and given[0].size:
            sentences += step.op.undetected(given)
    if inputs and inputs[0].size > 1 and inputs[0].min() == inputs[0].max():
        sentences.append(
            "the input is constant, so a wrong order of its elements gives the same output"
        )
    return tuple(dict.fromkeys(sentences))
