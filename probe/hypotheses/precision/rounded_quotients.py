"""Mistakes where quotients of whole numbers, shifts to the right and floats become integers: how
that rounds."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.precision.rounding_modes import ALL_MODES, FixedPointGrid
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []

_FAR = 12
"""How many steps before a rounded quotient it may be divided at."""
_WHOLE = (
    *(ops.Floor, ops.Ceil, ops.Round, ops.Trunc, ops.Where, ops.Mul, ops.Neg),
    *(ops.BitShift, ops.FloorDiv),
)
"""What may give whole numbers last where a quotient is rounded in several steps."""
_BITS = 53


class _Quotient(NamedTuple):
    """A quotient of whole numbers that a step gives rounded."""

    position: int
    divided: int
    """Which step divides or shifts."""
    x: Ref
    """What is divided: without what is added before, so that it rounds to the nearest."""
    by: np.ndarray
    off: float
    """The largest difference between the quotient and what it is rounded to."""


@more("rounding-mode")
def rounded_quotients(case: Case) -> Iterator[Changes]:
    """A quotient or a shift to the right that rounds in another way: without the half that is
    added before it, with one, or as a division does."""
    yield Changes(_rounded, "rounding-mode", PARTS)
    yield Changes(_casts, "rounding-mode", PARTS)


def _rounded(case: Case) -> Iterator[Change]:
    for position in range(len(case.steps) - 1, -1, -1):
        quotient = _quotient(case, position)
        if quotient is None:
            continue
        values, share = case.values[position][0], _share(case, quotient)
        what = f"{tensor_name(case, quotient.x)}, {_by(case, quotient)}, is rounded"
        for mode, rounded in ALL_MODES.items():
            if not np.array_equal(rounded(share), values):
                half = ": half of a step is not added before" * (mode == "down (floor)")
                half *= quotient.x not in case.steps[quotient.divided].sources(quotient.divided)
                yield _otherwise(case, quotient, mode, f"{what} {mode}{half}")


def _quotient(case: Case, position: int) -> _Quotient | None:
    """The quotient that a step gives rounded, in one step or in several; None where it gives
    none."""
    values = np.asarray(case.values[position][0])
    if not isinstance(case.steps[position].op, _WHOLE) or not _is_whole(values):
        return None
    found: list[_Quotient] = []
    for divided in _before(case, position):
        by = _divisor(case, divided)
        if by is None:
            continue
        x, *_ = case.steps[divided].sources(divided)
        behind = [ref for at in _before(case, x.step) for ref in case.steps[at].sources(at)]
        for ref in dict.fromkeys((x, *behind)):
            if shape_of(case, ref) == values.shape and _is_whole(ref.of(case.inputs, case.values)):
                quotient = _Quotient(position, divided, ref, by, 0.0)
                with np.errstate(all="ignore"):
                    off = float(np.abs(values - _share(case, quotient)).max())
                found.append(quotient._replace(off=off))
    best = min(found, key=lambda quotient: quotient.off, default=None)
    return best if best is not None and best.off < 1 else None


def _share(case: Case, quotient: _Quotient) -> np.ndarray:
    x = np.asarray(quotient.x.of(case.inputs, case.values), np.float64)
    return np.asarray(x / quotient.by)


def _divisor(case: Case, position: int) -> np.ndarray | None:
    """The whole numbers that a step divides by."""
    step = case.steps[position]
    if not isinstance(step.op, ops.Div | ops.FloorDiv | ops.BitShift):
        return None
    by = np.asarray(_by_ref(case, position).of(case.inputs, case.values), np.float64)
    if isinstance(step.op, ops.BitShift):
        if step.op.left or not (np.abs(by - _BITS / 2) < _BITS / 2).all():
            return None
        return np.exp2(by)
    return by if (by > 0).all() and np.array_equal(by, np.rint(by)) else None


def _by_ref(case: Case, position: int) -> Ref:
    """What a step divides by, with its sign where its size alone is divided by."""
    by = case.steps[position].sources(position)[1]
    if by.step >= 0 and isinstance(case.steps[by.step].op, ops.Abs):
        return case.steps[by.step].sources(by.step)[0]
    return by


def _before(case: Case, position: int) -> Iterator[int]:
    """A step and those that it comes from, the last ones first."""
    line = {position}
    for at in range(position, max(-1, position - _FAR), -1):
        if at in line:
            yield at
            line |= {ref.step for ref in case.steps[at].sources(at)}


def _added(case: Case, ref: Ref) -> tuple[Ref, ...]:
    """What is added up, or taken from each other, in a tensor."""
    if ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Add | ops.Sub):
        return tuple(case.steps[ref.step].sources(ref.step))
    return ()


def _is_whole(values: np.ndarray) -> bool:
    numbers = values.dtype.kind in "fiu" and values.size > 1
    return bool(numbers and np.isfinite(values).all() and np.array_equal(values, np.rint(values)))


def _by(case: Case, quotient: _Quotient) -> str:
    if isinstance(case.steps[quotient.divided].op, ops.BitShift):
        bits = np.unique(np.log2(quotient.by))
        return f"shifted by {bits[0]:.0f} bits" if bits.size == 1 else "shifted"
    by = _by_ref(case, quotient.divided)
    return f"divided by {tensor_name(case, by)}"


def _otherwise(case: Case, quotient: _Quotient, mode: str, what: str) -> Change:
    at = len(case.steps)
    by = _by_ref(case, quotient.divided)
    steps: dict[int, Step] = {}
    if isinstance(case.steps[quotient.divided].op, ops.BitShift):
        by = Ref(at)
        steps[at] = Step(ops.Constant(quotient.by), ())
        at += 1
    steps[at] = Step(ops.Div(), (quotient.x, by))
    steps[quotient.position] = Step(FixedPointGrid(1.0, mode), (Ref(at),))
    return Change(what, "", steps, key=("quotient", mode), of=quotient.position)


@more("changed-step")
def shifted_further(case: Case) -> Iterator[Changes]:
    """A shift to the right by other bits, half of a step added before it."""
    yield Changes(_further, "changed-step", PARTS)


def _further(case: Case) -> Iterator[Change]:
    for position, _ in case.having(ops.BitShift):
        by = _divisor(case, position)
        x, bits = case.steps[position].sources(position)
        if by is None or by.size != 1 or bits.step < 0:
            continue
        have = int(np.log2(by.item()))
        for half in _added(case, x):
            number = np.asarray(half.of(case.inputs, case.values))
            if half.step < 0 or number.size != 1 or 2 * number.item() != by.item():
                continue
            for other in (have - 1, have + 1, have - 2, have + 2):
                steps = {
                    at.step: Step(ops.Constant(np.full(shape_of(case, at), value)), ())
                    for at, value in ((half, 2 ** (other - 1)), (bits, other))
                }
                what = f"{tensor_name(case, x)} is shifted by {other} bits, not by {have}"
                yield Change(f"{what}, half of that step added before", "", steps, of=position)


def _casts(case: Case) -> Iterator[Change]:
    """Floats that become integers, which cuts off what is behind the point."""
    for position, op in case.having(ops.Cast):
        (x,) = case.steps[position].sources(position)
        values = np.asarray(x.of(case.inputs, case.values))
        if not op.to.startswith(("int", "uint")) or values.dtype.kind != "f":
            continue
        if np.array_equal(values, np.rint(values)):
            continue
        for mode in ALL_MODES:
            if mode != "towards zero":
                what = f"{tensor_name(case, x)}, cast to {op.to}, is rounded {mode}"
                step = Step(FixedPointGrid(1.0, mode), (x,))
                yield Change(what, "", {position: step}, key=("cast", mode))
