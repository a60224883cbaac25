"""Other ways to read values that explain nothing as they are: flat or with other axes, and integers
of a fixed point."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from probe.hypotheses.case import Case
from probe.hypotheses.written_values import shift_of

__all__ = ["Reading", "readings"]

_MOST = 3
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
    """The likeliest ways, those first whose values are most like the healthy ones."""
    if case.known is not None or case.observed.size != case.healthy.size or case.observed.size < 2:
        shaped = []
    elif case.comparable:
        shaped = [Reading(case, "")]
    else:
        shaped = sorted(_shaped(case), key=lambda one: -one.likeness)
    found = [one for reading in shaped for one in (reading, _scaled(reading))]
    return tuple(one for one in found if one is not None and one.words)[:_MOST]


def _shaped(case: Case) -> Iterator[Reading]:
    """As an array of the output's shape: its axes moved back, or its numbers in an order of
    theirs."""
    have, want = case.healthy.shape, case.observed.shape
    given = f"your {case.observed.size} values of shape {want}"
    axes = tuple(range(len(have)))
    if len(have) == len(want) <= _MOST_AXES:
        for perm in permutations(axes):
            if tuple(have[axis] for axis in perm) == want:
                back = case.observed.transpose(tuple(np.argsort(perm).tolist()))
                yield Reading(
                    replace(case, observed=back),
                    f"{given} are compared with the output's axes in the order {perm}",
                )
    yield Reading(
        replace(case, observed=case.observed.reshape(have)),
        f"{given} are read in row-major (C) order as {have}",
    )
    if len(have) > 2:
        for perm in dict.fromkeys(((0, axes[-1], *axes[1:-1]), (0, *axes[2:], 1))):
            wide = [axis for axis in perm if have[axis] != 1]
            if wide == sorted(wide):
                continue
            shape = tuple(have[axis] for axis in perm)
            inverse = tuple(np.argsort(perm).tolist())
            yield Reading(
                replace(case, observed=case.observed.reshape(shape).transpose(inverse)),
                f"{given} are read in row-major (C) order as {shape}, the output's axes in the "
                f"order {perm}",
            )


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
