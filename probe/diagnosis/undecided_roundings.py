"""A change that rounds numbers which lie between two of those it rounds to: float32 decides each of
them by its own last digit, so that either may have been taken."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe.by_hand.registry import writer_of, writes
from probe.by_hand.values import Value
from probe.ops.base import Op
from probe.ops.step import Step
from probe.trial.change import Change
from probe.trial.flow import Flow, Tried
from probe.trial.prices import CHANGE

__all__ = ["settled"]

_NEXT = 2.0**-20
"""By which share of itself a number may lie elsewhere in float32."""
_JUMP = 2.0**-14
"""The share of the largest from which on two results are two levels, and not one that moved."""
_MOST = 64
"""How many numbers may be undecided."""
_PART, _OFF = 0.2, 10.0
"""What a change must give exactly, or how near it must be, in what is near enough."""


@dataclass(frozen=True, eq=False)
class _Nudged(Op):
    """An op on numbers that lie a little further on, by their own signs."""

    op: Any
    """An ``Op``, and no activation, which a field of that type is."""
    by: np.ndarray

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        result: tuple[np.ndarray, ...] = self.op.run(inputs[0] * (1 + self.by))
        return result


@writes(_Nudged)
def _by_hand(op: _Nudged, w: Any, x: Value) -> Any:
    return writer_of(op.op)(op.op, w, x)


@np.errstate(all="ignore")
def settled(flow: Flow, tried: Tried) -> Tried | None:
    """The change with those of its undecided roundings taken the other way that bring it nearer to
    what was observed; None where it does not give that then, either."""
    case = flow.case
    if case.region is not None or not case.comparable:
        return None
    if not (tried.part > _PART or flow.look.within(tried.off, _OFF)):
        return None
    found = tried
    for at, places in _undecided(flow, tried.change):
        for place in places:
            if not case.budget.spend(CHANGE):
                return None
            other = _turned(flow, found, at, place)
            if other is not None and _error(flow, other) < _error(flow, found):
                found = other
    return found if found.near else None


def _undecided(flow: Flow, change: Change) -> Iterator[tuple[int, Sequence[tuple[int, ...]]]]:
    """The steps of a change that round, each with the places of the numbers between two levels."""
    case = flow.case
    for at, step in change.steps.items():
        sources = step.sources(at)
        if len(sources) != 1 or sources[0].step >= len(case.steps):
            continue
        x = np.asarray(sources[0].of(case.inputs, case.values))
        if x.dtype.kind != "f":
            continue
        above, below = (np.asarray(step.op.run(x * (1 + by))[0]) for by in (_NEXT, -_NEXT))
        if above.shape != x.shape or above.dtype.kind != "f":
            continue
        jumps = np.abs(above - below) > _JUMP * np.maximum(np.abs(above), np.abs(below))
        places = np.argwhere(jumps)
        if 0 < len(places) <= _MOST:
            yield at, [tuple(place) for place in places.tolist()]


def _turned(flow: Flow, tried: Tried, at: int, place: tuple[int, ...]) -> Tried | None:
    """The change with one number of a step's input taken to the other level."""
    step = tried.change.steps[at]
    op: Any = step.op if isinstance(step.op, _Nudged) else None
    (source,) = step.sources(at)
    x = np.asarray(source.of(flow.case.inputs, flow.case.values), np.float64)
    inner = step.op if op is None else op.op
    by = np.zeros(x.shape) if op is None else op.by.copy()
    own = inner.run(x)[0][place]
    by[place] = _NEXT if inner.run(x * (1 + _NEXT))[0][place] != own else -_NEXT
    steps = {**tried.change.steps, at: Step(_Nudged(inner, by), step.sources(at))}
    return flow.tried(replace(tried.change, steps=steps, members=()))


def _error(flow: Flow, tried: Tried) -> float:
    case = flow.part
    with np.errstate(all="ignore"):
        apart = np.abs(case.pick(tried.values) - case.seen)
    return float(np.nansum(np.minimum(apart, 1e30)))
