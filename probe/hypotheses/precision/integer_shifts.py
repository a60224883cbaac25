"""Mistakes where integers are shifted to the right, and floats become integers: how that rounds."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.precision.rounding_modes import MODES, FixedPointGrid
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


@more("rounding-mode")
def rounded_shifts(case: Case) -> Iterator[Changes]:
    """A shift to the right that rounds in another way: without the half that is added before it,
    with one, or as a division does."""
    yield Changes(_shifts, "rounding-mode", PARTS)
    yield Changes(_casts, "rounding-mode", PARTS)


def _shifts(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.BitShift):
        x, by = case.steps[position].sources(position)
        bits = by.of(case.inputs, case.values)
        if op.left or np.size(bits) != 1 or not 0 < int(bits) < 53:
            continue
        own, half = "down (floor)", 2 ** (int(bits) - 1)
        whole = _without(case, x, half)
        if whole is not None:
            own, x = "half up", whole
        for mode in MODES:
            if mode != own:
                what = f"{tensor_name(case, x)}, shifted by {int(bits)} bits, is rounded {mode}"
                if mode == "down (floor)":
                    what += f": {half}, half of a step, is not added before"
                yield _divided(case, position, x, int(bits), mode, what)


def _without(case: Case, ref: Ref, number: int) -> Ref | None:
    """What a number was added to; None where none was."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Add):
        return None
    one, other = case.steps[ref.step].sources(ref.step)
    for x, added in ((one, other), (other, one)):
        value = added.of(case.inputs, case.values)
        if added.step >= 0 and np.size(value) == 1 and int(np.ravel(value)[0]) == number:
            return x
    return None


def _divided(case: Case, position: int, x: Ref, bits: int, mode: str, what: str) -> Change:
    """A shift as a division by a power of two that is rounded."""
    count = len(case.steps)
    steps = {
        count: Step(ops.Constant(np.asarray(2.0**bits)), ()),
        count + 1: Step(ops.Div(), (x, Ref(count))),
        position: Step(FixedPointGrid(1.0, mode), (Ref(count + 1),)),
    }
    return Change(what, "", steps, key=("shifted", mode), of=position)


def _casts(case: Case) -> Iterator[Change]:
    """Floats that become integers, which cuts off what is behind the point."""
    for position, op in case.having(ops.Cast):
        (x,) = case.steps[position].sources(position)
        values = np.asarray(x.of(case.inputs, case.values))
        if not op.to.startswith(("int", "uint")) or values.dtype.kind != "f":
            continue
        if np.array_equal(values, np.rint(values)):
            continue
        for mode in MODES:
            if mode != "towards zero":
                what = f"{tensor_name(case, x)}, cast to {op.to}, is rounded {mode}"
                step = Step(FixedPointGrid(1.0, mode), (x,))
                yield Change(what, "", {position: step}, key=("cast", mode))
