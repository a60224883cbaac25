"""Other ways to read values that explain nothing as they are: flat or with other axes, and integers
of a fixed point."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from probe.hypotheses.case import Case
from probe.hypotheses.written_values import shift_of

__all__ = ["ALIKE", "Reading", "readings"]

ALIKE = 0.5
"""The correlation with the healthy values of a reading that is worth telling by itself."""
_MOST = 3
"""How many are tried."""
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
        return abs(float(found)) if np.isfinite(found) else 0.0


def readings(case: Case) -> tuple[Reading, ...]:
    """The likeliest ways, those first whose values are most like the healthy ones; () where the
    values are another number of values."""
    if case.known is not None or case.observed.size != case.healthy.size or case.observed.size < 2:
        return ()
    if case.comparable:
        own = Reading(case, "")
        least = max(ALIKE, own.likeness)
        shaped = [own, *(one for one in _channels_moved(case) if one.likeness > least)]
    else:
        shaped = [*_axes_moved(case), _in_order(case), *_channels_moved(case)]
    ranked = sorted(shaped, key=lambda one: -one.likeness)
    found = [one for reading in ranked for one in (reading, _scaled(reading))]
    return tuple(one for one in found if one is not None and one.words)[:_MOST]


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


def _scaled(reading: Reading) -> Reading | None:
    """Integers divided by the power of two that brings them nearest to the healthy values."""
    shift = shift_of(reading.case)
    if shift is None:
        return None
    words = f"your values are integers and are divided by {2**shift} (2^{shift})"
    return Reading(
        replace(reading.case, observed=reading.case.observed / 2**shift),
        f"{reading.words}; {words}" if reading.words else words,
    )
