"""Levels that a quantiser flipped because its input lies within rounding of a threshold: counted,
and no divergence by themselves."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from probe.evaluation.party import NAMES, PartyResult
from probe.numerics.precision import Precision, precision_of
from probe.ops import Rearrangement
from probe.ops.step import Step

__all__ = ["flips"]

_LEVELS = 64.0
"""What rounding of the result itself stays below, in units of the last place of the largest value;
a level is more in any quantiser of up to 16 bits."""


def _quantises(steps: Sequence[Step]) -> bool:
    """Whether a layer ends in a quantiser."""
    last = next(
        (step.op for step in reversed(steps) if not isinstance(step.op, Rearrangement)), None
    )
    return last is not None and last.quantizes


def flips(results: Mapping[str, PartyResult], dtype: str) -> Iterator[str]:
    """How many values of each party are on another level of a quantiser than NumPy's."""
    for name, result in results.items():
        layer = result.party.layer
        if not _quantises(layer.steps) or result.party.known is not None:
            continue
        count = _flipped(
            layer.values[-1], result.party.outputs, result.allowance, precision_of(dtype)
        )
        if count:
            yield (
                f"boundary-flip: {count} of {sum(value.size for value in layer.values[-1])} "
                f"values of {NAMES[name]} are on a neighbouring quantisation level; their "
                "input is within rounding error of the threshold, so this is not counted as "
                "a difference"
            )


def _flipped(
    ours: Sequence[np.ndarray | None],
    theirs: Sequence[np.ndarray | None],
    allowed: Sequence[np.ndarray],
    precision: Precision,
) -> int:
    """How many values of a layer that ends in a quantiser lie a level or more from NumPy's, and yet
    within the allowance."""
    count = 0
    for mine, other, slack in zip(ours, theirs, allowed, strict=False):
        if mine is None or other is None or mine.shape != other.shape or not mine.size:
            continue
        with np.errstate(invalid="ignore"):
            error = np.abs(np.subtract(other, mine, dtype=np.float64))
        size = np.abs(mine[np.isfinite(mine)]).max(initial=0)
        count += int(((error > _LEVELS * precision.unit * size) & (error <= slack)).sum())
    return count
