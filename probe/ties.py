"""Places of equal numbers, of which each is as right as another."""

from collections.abc import Sequence

import numpy as np

from probe.description.description import Step
from probe.ops import Identity, Outputs, TopK

__all__ = ["among_equals"]


def among_equals(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Sequence[tuple[np.ndarray, ...]], output: int, theirs: np.ndarray
) -> np.ndarray | None:
    """Where the places in an output of the last step may be other than NumPy's, since the numbers there are equal.

    None where the output is no places, or where the layer says which of equal numbers comes first.
    """
    position = len(steps) - 1
    while isinstance(steps[position].op, Identity | Outputs):
        ref = steps[position].sources(position)[output]
        if ref.step < 0:
            return None
        position, output = ref.step, ref.index
    op = steps[position].op
    if not isinstance(op, TopK) or op.stable or output != 1:
        return None
    (ref,) = steps[position].sources(position)
    x = inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index]
    return op.as_right(x, values[position][1], theirs)
