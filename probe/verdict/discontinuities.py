"""Levels that a quantiser flipped because its input lies within rounding of a threshold: counted, and no divergence by themselves."""

from collections.abc import Sequence

import numpy as np

from probe.description.description import Step
from probe.evaluation.allowance import Precision
from probe.ops import FakeQuantize, Mixing, QuantizeLinear, Rearrangement

__all__ = ["flipped", "quantises"]

_LEVELS = 64.0
"""What rounding of the result itself stays below, in units of the last place of the largest value; a level is more in any
quantiser of up to 16 bits."""


def quantises(steps: Sequence[Step]) -> bool:
    """Whether a layer ends in a quantiser."""
    last = next((step.op for step in reversed(steps) if not isinstance(step.op, Rearrangement)), None)
    return isinstance(last, FakeQuantize | Mixing | QuantizeLinear)


def flipped(
    ours: Sequence[np.ndarray | None],
    theirs: Sequence[np.ndarray | None],
    allowed: Sequence[np.ndarray],
    precision: Precision,
) -> int:
    """How many values of a layer that ends in a quantiser lie a level or more from NumPy's, and yet within the allowance."""
    count = 0
    for mine, other, slack in zip(ours, theirs, allowed, strict=False):
        if mine is None or other is None or mine.shape != other.shape or not mine.size:
            continue
        with np.errstate(invalid="ignore"):
            error = np.abs(np.subtract(other, mine, dtype=np.float64))
        size = np.abs(mine[np.isfinite(mine)]).max(initial=0)
        count += int(((error > _LEVELS * precision.unit * size) & (error <= slack)).sum())
    return count
