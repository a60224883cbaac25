"""A change that rounds numbers which lie between two of those it rounds to, or brings numbers there
that the layer rounds next, or is made of numbers that the layer rounded so: float32 decides each of
them by its own last digit, so that either may have been taken."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from probe.by_hand.registry import writer_of, writes
from probe.by_hand.values import Value
from probe.numerics.dtypes import widened
from probe.ops.base import Arrays, Elementwise, Op
from probe.ops.step import Step
from probe.trial.case import Case, once
from probe.trial.change import Change
from probe.trial.flow import Flow, Tried
from probe.trial.prices import CHANGE
from probe.trial.refusals import refused

__all__ = ["settled"]

_NEXT, _NEXT_OF_LARGEST = 2.0**-20, 2.0**-22
"""By which share of itself, or of the largest beside it, a number may lie elsewhere in float32."""
_JUMP = 2.0**-14
"""The share of the largest from which on two results are two levels, and not one that moved."""
_MOST = 64
"""How many numbers may be undecided."""
_PART, _OFF, _PART_OF_LATER = 0.2, 10.0, 0.5
"""What a change must give exactly, or how near it must be, in what is near enough; and what it must
give for what the layer rounds behind it."""


@dataclass(frozen=True, eq=False)
class _Nudged(Op):
    """An op on numbers that lie a little further on."""

    op: Any
    """An ``Op``, and no activation, which a field of that type is."""
    by: np.ndarray

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        result: tuple[np.ndarray, ...] = self.op.run(inputs[0] + self.by)
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
    narrow = _as_float32_rounds(flow, tried.change)
    if narrow is not None and narrow.near:
        return narrow
    for rounding in _undecided(flow, tried):
        if rounding.at not in tried.change.steps and not _decides(flow, tried, rounding):
            continue
        for place in rounding.places:
            if not case.budget.spend(CHANGE):
                return None
            other = _turned(flow, found, rounding, [place])
            if other is not None and _error(flow, other) < _error(flow, found):
                found = other
    return found if found.near else None


class _Rounding(NamedTuple):
    """A step that rounds, in a layer with a change."""

    at: int
    step: Step
    x: np.ndarray
    """What it rounds."""
    next: np.ndarray
    """How far each of these may lie elsewhere."""
    places: list[tuple[int, ...]]
    """Those that lie between two levels."""


def _undecided(flow: Flow, tried: Tried) -> Iterator[_Rounding]:
    """The steps that round where a change has numbers between two levels: its own, and where it
    gives most that was observed those behind them."""
    case, change = flow.case, tried.change
    later = dict[int, Step]()
    if tried.near or tried.part > _PART_OF_LATER:
        later = {at: case.steps[at] for at in _roundings(case) if at not in change.steps}
    touched = case.evaluator.touched(change) if later else {}
    for at, step in (*change.steps.items(), *later.items()):
        sources = step.sources(at)
        if len(sources) != 1 or not (sources[0].step < len(case.steps) or at in later):
            continue
        if sources[0].step in touched:
            x = np.asarray(touched[sources[0].step][sources[0].index])
        elif at in later:
            continue
        else:
            x = np.asarray(sources[0].of(case.inputs, case.values))
        rounding = _between_levels(case, at, step, x)
        if rounding is not None:
            yield rounding


def _decides(flow: Flow, tried: Tried, rounding: _Rounding) -> bool:
    """Whether what a change gives is near everywhere where a later step rounds one way or the
    other: if not, no choice among its numbers is."""
    other = _turned(flow, tried, rounding, rounding.places)
    if other is None:
        return False
    case = flow.part
    with np.errstate(all="ignore"):
        apart = [np.abs(case.pick(result.values) - case.seen) for result in (tried, other)]
        off = float(np.nanmax(np.minimum(*apart)))
    return flow.look.within(off, 1.0)


@once
def _roundings(case: Case) -> list[int]:
    """The steps that bring numbers to levels, each by itself."""
    return [at for at, op in case.having(Elementwise) if op.jumps]


def _between_levels(case: Case, at: int, step: Step, x: np.ndarray) -> _Rounding | None:
    """A step with those of the numbers that it rounds which lie between two levels."""
    if x.dtype.kind != "f":
        return None
    apart = _next_of(x)
    above, below = (np.asarray(step.op.run(x + by)[0]) for by in (apart, -apart))
    case.budget.ran(step.op, [x, x], [above, below])
    if above.shape != x.shape or above.dtype.kind != "f":
        return None
    jumps = np.abs(above - below) > _JUMP * np.maximum(np.abs(above), np.abs(below))
    places = [tuple(place) for place in np.argwhere(jumps).tolist()]
    if 0 < len(places) <= _MOST:
        return _Rounding(at, step, x, apart, places)
    return None


def _turned(
    flow: Flow, tried: Tried, rounding: _Rounding, places: Sequence[tuple[int, ...]]
) -> Tried | None:
    """The change with some of the numbers that a step rounds taken to the other level."""
    at, step, x = rounding.at, rounding.step, rounding.x
    before = tried.change.steps.get(at)
    nudged: Any = before.op if before is not None and isinstance(before.op, _Nudged) else None
    by = np.zeros(x.shape) if nudged is None else nudged.by.copy()
    own, above = (np.asarray(step.op.run(y)[0]) for y in (x, x + rounding.next))
    for place in places:
        by[place] = rounding.next[place] if above[place] != own[place] else -rounding.next[place]
    steps = {**tried.change.steps, at: Step(_Nudged(step.op, by), step.sources(at))}
    return flow.tried(replace(tried.change, steps=steps, members=()))


class _Stream(NamedTuple):
    """What steps give in float32, and in float64 with the roundings that float32 decided."""

    narrow: dict[int, Arrays]
    wide: dict[int, Arrays]
    nudges: dict[int, np.ndarray]
    """By how much further on a step rounds numbers that lie between two levels."""


def _as_float32_rounds(flow: Flow, change: Change) -> Tried | None:
    """The change with all roundings of the layer, those before it too, as they are where each step
    computes in float32; None where that is no other."""
    case = flow.case
    before = _own_stream(case) if _roundings(case) else None
    if before is None:
        return None
    new = change.new_steps(len(case.steps))
    order = sorted([*range(len(case.steps)), *new], key=lambda at: (new.get(at, at), at))
    stream = _Stream({**before.narrow}, {**before.wide}, {**before.nudges})
    moved = {-1 - index for index in change.inputs}
    inputs = change.inputs_of(case.inputs)
    for at in order:
        step = change.steps.get(at) or case.steps[at]
        sources = step.sources(at)
        taken = {ref.step if ref.step >= 0 else -1 - ref.index for ref in sources}
        if at in change.steps or taken & moved:
            moved.add(at)
            if not _run(case, stream, at, step, inputs):
                return None
    if not stream.nudges:
        return None
    steps = dict(change.steps)
    for at, by in stream.nudges.items():
        step = steps.get(at) or case.steps[at]
        steps[at] = Step(_Nudged(step.op, by), step.sources(at))
    places = change.places
    of = places[0] if places else change.of
    return flow.tried(replace(change, steps=steps, members=(), of=of))


@once
def _own_stream(case: Case) -> _Stream | None:
    """That of the layer as it is; None where a step cannot be computed so."""
    stream = _Stream({}, {}, {})
    for at, step in enumerate(case.steps):
        if not _run(case, stream, at, step, case.inputs):
            return None
    return stream


def _run(case: Case, stream: _Stream, at: int, step: Step, inputs: Arrays) -> bool:
    """Runs one step of a stream; False where it cannot be."""
    refs = step.sources(at)
    stream.nudges.pop(at, None)
    wide, narrow = (
        [widened(inputs[x.index]) if x.step < 0 else outputs[x.step][x.index] for x in refs]
        for outputs in (stream.wide, stream.narrow)
    )
    narrow = [_in_float32(x) for x in narrow]
    try:
        exact = step.op.run(*wide)
        rounded = tuple(_in_float32(y) for y in step.op.run(*narrow))
    except Exception as error:
        refused(error)
        return False
    case.budget.ran(step.op, wide, exact)
    case.budget.ran(step.op, narrow, rounded)
    by = _nudge(step, wide, narrow, exact, rounded)
    if by is not None:
        stream.nudges[at] = by
        exact = step.op.run(wide[0] + by)
    stream.wide[at], stream.narrow[at] = exact, rounded
    return True


def _in_float32(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _nudge(
    step: Step, wide: Arrays, narrow: Arrays, exact: Arrays, rounded: Arrays
) -> np.ndarray | None:
    """By how much a step has to round its numbers further on to give what it gives in float32; None
    where it gives that."""
    rounds = isinstance(step.op, Elementwise) and step.op.jumps and len(wide) == 1
    if not rounds or wide[0].dtype.kind != "f" or exact[0].shape != wide[0].shape:
        return None
    x, y = wide[0], rounded[0].astype(np.float64)
    apart = _next_of(x)
    off = np.abs(exact[0] - y) > _JUMP * np.maximum(np.abs(exact[0]), np.abs(y))
    off &= np.abs(x - narrow[0]) <= apart
    if not off.any():
        return None
    above, below = (np.asarray(step.op.run(x + by)[0]) for by in (apart, -apart))
    return np.where(off, np.where(np.abs(above - y) < np.abs(below - y), apart, -apart), 0.0)


def _next_of(x: np.ndarray) -> np.ndarray:
    """How far numbers may lie elsewhere in float32."""
    size = np.abs(x)
    return np.asarray(np.maximum(_NEXT * size, _NEXT_OF_LARGEST * size.max(initial=0.0)))


def _error(flow: Flow, tried: Tried) -> float:
    case = flow.part
    with np.errstate(all="ignore"):
        apart = np.abs(case.pick(tried.values) - case.seen)
    return float(np.nansum(np.minimum(apart, 1e30)))
