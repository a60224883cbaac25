"""Which slice of a large output is looked at first: few positions of a sequence, few rows of an
image."""

from collections.abc import Iterator

import numpy as np

from probe.ops import Recurrence
from probe.trial.case import Case
from probe.trial.output_slices import Region

__all__ = ["is_large", "slice_of_output"]

_LARGE = 1 << 23
"""Operations of a layer from which on a slice of its output is looked at first."""
_LONG, _SHORT, _PART, _WIDE = 8, 4, 4, 12
"""How long the slice is at most, in a recurrence, and what part of its axis; and how long that is
at least."""
_PAYS = 0.5
"""What computing it may take at most, as a share of computing all."""
_TELLS = 0.25
"""What must differ in the first positions, as a share of what does in those where most does."""


def is_large(case: Case) -> bool:
    """Whether computing the layer again takes so long that looking for a mistake may take longer
    than in others: a layer of several calls, or a recurrence."""
    several = bool(case.calls) or any(case.having(Recurrence))
    return several and case.evaluator.slices.work() >= _LARGE


def slice_of_output(case: Case, allowed: np.ndarray) -> Region | None:
    """The slice that takes the least to compute and in which much of the difference lies; None
    where it does not pay."""
    if not case.comparable or case.known is not None:
        return None
    most = case.evaluator.slices.work()
    if most < _LARGE:
        return None
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(case.observed - case.healthy) <= allowed)
    most_long = _SHORT if any(case.having(Recurrence)) else _LONG
    costs = {region: case.evaluator.slices.work(region) for region in _regions(wrong, most_long)}
    best = min(costs, key=lambda region: costs[region], default=None)
    if best is not None and costs[best] < _PAYS * most:
        return best
    return None


def _regions(wrong: np.ndarray, most: int) -> Iterator[Region]:
    """Along each axis but that of the batch: where most is wrong, and the first positions, which
    take less where each position follows from those before it."""
    for axis, size in enumerate(wrong.shape):
        if axis and size >= _WIDE:
            count = wrong.sum(axis=tuple(k for k in range(wrong.ndim) if k != axis))
            long = min(most, size // _PART)
            within = np.convolve(count, np.ones(long), "valid")
            last = int(within.size - 1 - np.argmax(within[::-1]))
            if within[0] >= max(1.0, _TELLS * within[last]):
                yield Region(axis, 0, long)
            if last:
                yield Region(axis, last, last + long)
