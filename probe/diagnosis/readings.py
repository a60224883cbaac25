"""Ways to read values of another shape than the output but as many: flat, or with other axes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from probe.trial.case import Case

__all__ = ["ALIKE", "Reading", "readings"]

ALIKE = 0.5
"""The correlation with the healthy values of a reading that is worth telling by itself."""
_MOST, _MOVED = 3, 2
"""How many are tried, and how many of those that the shape speaks for before any other."""
_MOST_AXES = 5


@dataclass(frozen=True, eq=False)
class Reading:
    """The values read in another way."""

    case: Case
    words: str
    """What was assumed."""

    @property
    def likeness(self) -> float:
        """The correlation of the values with the healthy ones; 0 where there is none."""
        with np.errstate(all="ignore"):
            found = np.corrcoef(self.case.observed.ravel(), self.case.healthy.ravel())[0, 1]
        if np.isfinite(found):
            return abs(float(found))
        return 0.0


def readings(case: Case) -> tuple[Reading, ...]:
    """The likeliest ways, those first whose values are most like the healthy ones; () for another
    number of values."""
    if case.comparable or case.observed.size != case.healthy.size or case.observed.size < 2:
        return ()
    moved = _likeliest(_axes_moved(case))[:_MOVED]
    others = _likeliest([_in_order(case), *_channels_moved(case)])
    return tuple(_likeliest([*moved, *others[: _MOST - len(moved)]]))


def _likeliest(ways: Iterable[Reading]) -> list[Reading]:
    return sorted(ways, key=lambda reading: -reading.likeness)


def _given(case: Case) -> str:
    return f"your {case.observed.size} values of shape {case.observed.shape}"


def _axes_moved(case: Case) -> Iterator[Reading]:
    """The output with its axes in another order, where the shape is that of one."""
    have, want = case.healthy.shape, case.observed.shape
    for perm in permutations(range(len(have))) if len(have) == len(want) <= _MOST_AXES else ():
        if tuple(have[axis] for axis in perm) == want:
            yield Reading(
                replace(case, observed=case.observed.transpose(_inverse(perm))),
                f"{_given(case)} are compared with the output's axes in the order {perm}",
            )


def _in_order(case: Case) -> Reading:
    shape = case.healthy.shape
    return Reading(
        replace(case, observed=case.observed.reshape(shape)),
        f"{_given(case)} are read in row-major (C) order as {shape}",
    )


def _channels_moved(case: Case) -> Iterator[Reading]:
    """The numbers in the order of the output with its channels, second or last, at the other
    place."""
    have = case.healthy.shape
    last = len(have) - 1
    for perm in {(0, last, *range(1, last)), (0, *range(2, last + 1), 1)} if last > 1 else ():
        wide = [axis for axis in perm if have[axis] != 1]
        if wide != sorted(wide):
            shape = tuple(have[axis] for axis in perm)
            yield Reading(
                replace(case, observed=case.observed.reshape(shape).transpose(_inverse(perm))),
                f"{_given(case)} are read in row-major (C) order as {shape}, the output's axes in "
                f"the order {perm}",
            )


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(axis) for axis in range(len(perm)))
