"""What changes of a layer's steps give, as much of it as tells whether that was observed."""

from collections.abc import Hashable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from probe.trial.case import Case, once
from probe.trial.change import Change
from probe.trial.fit import FirstLook
from probe.trial.output_slices import Region

__all__ = ["Flow", "Tried", "flow_of"]

_LARGE = 1 << 14
"""Elements of an output from which on one sample of a batch is looked at first."""


class Tried(NamedTuple):
    """A change and what it gives."""

    change: Change
    values: np.ndarray
    near: bool
    """Whether that is what was observed, or nearly."""
    off: float
    """How far it is off where most differs."""
    part: float
    """The share of what differs that it gives exactly."""


class Flow:
    """The steps of a case with what each gives, to be changed; of a large one a slice of the output
    is looked at."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.part = case if case.region is None else _of_region(case, case.region)
        """The case with no more of its output than is looked at."""
        self._tried = set[Hashable]()
        """The changes that were tried, by their identities."""

    def predicted(self, change: Change) -> np.ndarray | None:
        """The output with a change, as much of it as is looked at; None where it cannot be computed
        or nothing is changed by it."""
        return self.case.evaluator.changed(change, self.case.region)

    def everywhere(self, values: np.ndarray) -> np.ndarray:
        """An output of which no more is known than is looked at; NaN elsewhere."""
        if self.case.region is None:
            return values
        whole = np.full(self.case.healthy.shape, np.nan)
        self.case.region.of(whole)[...] = values
        return whole

    @cached_property
    def look(self) -> FirstLook:
        return FirstLook(self.part, self.case.region is not None)

    def was_tried(self, change: Change) -> bool:
        """Whether the same change was tried before, for whichever mistake."""
        return change.identity in self._tried

    def tried(self, change: Change) -> Tried | None:
        """What a change gives; None where that cannot be computed or has another shape."""
        self._tried.add(change.identity)
        values = self.predicted(change)
        if values is None or values.shape != self.part.observed.shape:
            return None
        return Tried(change, values, *self.look.of(values))


@once
def flow_of(case: Case) -> Flow:
    """Of one sample where the batch is large and the layer works sample by sample."""
    if case.healthy.size > _LARGE and case.observed.ndim and len(case.observed) > 1:
        return Flow(case.sample(0) or case)
    return Flow(case)


def _of_region(case: Case, region: Region) -> Case:
    last, *more = case.values[-1]
    values = [*case.values[:-1], (region.of(last), *more)]
    return replace(case, observed=region.of(case.observed), values=values)
