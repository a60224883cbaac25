"""The first passes of loops alone: what a change of all of them does to the elements of the output
that no later pass leads to, which takes much less than making it in all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe import ops
from probe.hypotheses.edits.loops import Loop
from probe.ops.step import Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__ = ["EarlyPasses", "differing", "early_passes", "first_that_differs"]

_COUNTS = (2, 4, 8, 16)
"""How many passes are looked at: the first of these at which enough elements differ."""
_ENOUGH = 6
"""How many that is."""
_HELPS = 0.5
"""What a change may leave of the difference at them to be made in all passes."""


@dataclass(frozen=True, eq=False)
class EarlyPasses:
    """The first passes of loops of the same code, and the elements that they alone lead to."""

    case: Case
    passes: int
    where: np.ndarray
    behind: Mapping[int, Step]
    """What the next pass gives, as it is without any change: nothing later need be run."""

    def helps(self, change: Change | None) -> bool:
        """Whether a change that is made in them alone brings these elements nearer to what was
        observed."""
        if change is None:
            return False
        alone = replace(change, steps={**self.behind, **change.steps})
        given = self.case.evaluator.changed(alone)
        if given is None or given.shape != self.case.observed.shape:
            return False
        observed = self.case.observed[self.where]
        apart = np.linalg.norm(given[self.where] - observed)
        return bool(apart < _HELPS * np.linalg.norm(self.case.healthy[self.where] - observed))


def early_passes(case: Case, loops: Sequence[Loop]) -> EarlyPasses | None:
    """The fewest passes at which enough elements differ; None where most would have to be made, and
    where a slice of the output is looked at."""
    if case.region is not None or not case.comparable:
        return None
    for passes in _COUNTS:
        if 2 * passes > loops[0].passes:
            return None
        where = _before_pass(case, loops, passes)
        if where is None:
            return None
        if np.count_nonzero(where & differing(case)) >= _ENOUGH:
            states = {at: case.values[at][0] for loop in loops for at in _given(loop, passes, 1)}
            behind = {at: Step(ops.Constant(value), ()) for at, value in states.items()}
            return EarlyPasses(case, passes, where, behind)
    return None


def first_that_differs(case: Case, loops: Sequence[Loop]) -> int | None:
    """The first pass that leads to an element that differs; None where the output does not tell,
    and behind the last where none does."""
    if case.region is not None or not case.comparable:
        return None
    right, last, differs = 0, len(loops[0].numbers), False
    while right < last:
        middle = (right + last + 1) // 2
        where = _before_pass(case, loops, middle)
        if where is None:
            return None
        differs = differs or bool(where.any())
        if where.any() and not (where & differing(case)).any():
            right = middle
        else:
            last = middle - 1
    return right if differs else None


def _before_pass(case: Case, loops: Sequence[Loop], pass_number: int) -> np.ndarray | None:
    """Which elements of the output no pass from this one on leads to: those that are numbers where
    these give none."""
    steps = {
        at: Step(ops.Constant(np.full(np.shape(case.values[at][0]), np.nan)), ())
        for loop in loops
        for at in _given(loop, pass_number)
    }
    given = case.evaluator.changed(Change("", "", steps))
    if given is None or given.shape != case.observed.shape:
        return None
    return np.asarray(np.isfinite(given) & np.isfinite(case.observed) & _known(case))


def _given(loop: Loop, start: int, count: int | None = None) -> Iterator[int]:
    """What so many passes from one on give."""
    stop = None if count is None else start + count
    for number in loop.numbers[start:stop]:
        for place, _ in loop.given:
            at = loop.at(number, place)
            if at is not None:
                yield at


def _known(case: Case) -> np.ndarray:
    return np.ones(case.observed.shape, bool) if case.known is None else case.known


def differing(case: Case) -> np.ndarray:
    """The elements that differ by more than they may."""
    most = 1e-6 * np.abs(case.healthy).max(initial=0.0) if case.allowed is None else case.allowed
    return np.asarray(~(np.abs(case.observed - case.healthy) <= most))
