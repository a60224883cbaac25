"""What a change of a layer's steps gives, and which of many changes give what was observed."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from probe.hypotheses.edits.grouped_changes import all_of
from probe.trial.case import Case
from probe.trial.change import Change
from probe.trial.output_slices import Region
from probe.trial.prices import CHANGE

__all__ = ["MISSES", "Flow", "Miss"]


class Miss(NamedTuple):
    """A change that does not give what was observed, how far it is off, and what it gives."""

    off: float
    change: Change
    values: np.ndarray


class Flow:
    """The steps of a case with what each gives, to be changed; of a large one a slice of the output
    is looked at."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.part = case if case.region is None else _of_region(case, case.region)
        """The case with no more of its output than is looked at."""

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
    def _observed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """What was observed as far as it is finite, where that is, which values of it differ most,
        and how far a change may be off."""
        case, seen = self.part, self.part.seen
        finite = np.isfinite(seen)
        seen = seen[finite]
        apart = np.abs(case.pick(case.healthy)[finite] - seen if case.comparable else seen)
        order = np.arange(apart.size)
        if apart.size > _LOOKED_AT:
            order = np.argpartition(apart, -_LOOKED_AT)[-_LOOKED_AT:]
        near = _NEAR if case.region is None else _NEAR_IN_SLICE
        return seen, finite, order, near * float(apart.max(initial=0.0))

    def nearest(
        self, changes: Iterable[Change], misses: list[Miss] | None = None
    ) -> Iterator[Change]:
        """The changes whose output is what was observed, or nearly; those of the others that bring
        the layer nearest to it are left in ``misses``."""
        case = self.part
        seen, finite, order, limit = self._observed
        if not seen.size:
            return
        found = set[Hashable]()
        for change in changes:
            if not self.case.budget.spend(CHANGE):
                return
            if change.part in found:
                continue
            values = self.predicted(change)
            if values is None or values.shape != case.observed.shape:
                continue
            y = case.pick(values)[finite]
            with np.errstate(all="ignore"):
                off = np.abs(y[order] - seen[order])
                if (off <= limit).all() and (np.abs(y - seen) <= limit).all():
                    if change.part is not None:
                        found.add(change.part)
                    yield self._needed(change, values)
                elif misses is not None:
                    _keep(misses, Miss(float(off.mean()), change, values))

    def _needed(self, change: Change, values: np.ndarray) -> Change:
        """Of a change at several steps that gives these values no more than it takes."""
        for left_out in change.members if len(change.members) <= _FEW_MEMBERS else ():
            rest = [one for one in change.members if one is not left_out]
            fewer = rest[0] if len(rest) == 1 else all_of(rest, self.case.steps)
            again = None if fewer is None else self.predicted(fewer)
            if fewer is not None and again is not None and np.array_equal(again, values):
                change = fewer
        return change


def _keep(misses: list[Miss], miss: Miss) -> None:
    """Keeps the nearest few."""
    if len(misses) < MISSES or miss.off < misses[-1].off:
        misses.append(miss)
        misses.sort(key=lambda one: one.off)
        del misses[MISSES:]


def _of_region(case: Case, region: Region) -> Case:
    last, *more = case.values[-1]
    values = [*case.values[:-1], (region.of(last), *more)]
    return replace(case, observed=region.of(case.observed), values=values)


_NEAR, _NEAR_IN_SLICE = 0.02, 0.05
"""What may be left, as a share of the largest difference, for an exact look; a slice is computed in
float32."""
_LOOKED_AT = 16
_FEW_MEMBERS = 8
"""Of how many changes that are made together each is tried to be left out."""
MISSES = 3
"""How many changes are kept that do not give what was observed."""
