"""The numbers that a layer's steps take from its code or from small parameters, and several of them
as others at once."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.ops.step import Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__ = ["HeldNumber", "numbers_of", "with_numbers"]

_MANY = 16
"""How many entries a constant has at most whose entries are numbers of the code."""


class HeldNumber(NamedTuple):
    """A number: which entry of what the step at a position holds, or which field of it."""

    position: int
    entry: int | str
    value: float
    whole: bool
    """Whether it is held as an integer."""


def numbers_of(case: Case) -> Iterator[HeldNumber]:
    """The numbers of a layer, in the order of its steps."""
    for position, step in enumerate(case.steps):
        if isinstance(step.op, ops.Clip):
            for end in ("low", "high"):
                value = getattr(step.op, end)
                if value is not None and np.isfinite(value):
                    yield HeldNumber(position, end, float(value), False)
        elif isinstance(step.op, ops.Constant | ops.Parameter):
            x = np.asarray(case.values[position][0])
            if 0 < x.size <= _MANY and x.dtype.kind in "fiu" and np.isfinite(x).all():
                for entry, value in enumerate(x.ravel().tolist()):
                    yield HeldNumber(position, entry, float(value), x.dtype.kind in "iu")


def with_numbers(case: Case, others: Mapping[HeldNumber, float], what: str) -> Change:
    """The layer with other numbers, in words."""
    steps: dict[int, Step] = {}
    for number, other in others.items():
        step = steps.get(number.position, case.steps[number.position])
        if isinstance(number.entry, str):
            op: Any = step.op
            changed = replace(op, **{number.entry: other})
            steps[number.position] = Step(changed, step.sources(number.position))
            continue
        x = np.array(step.op.run()[0])
        if number.whole and other != int(other):
            x = x.astype(np.float64)
        x.reshape(-1)[number.entry] = other
        steps[number.position] = Step(ops.Constant(x), ())
    return Change(what, "", steps, key=("numbers", what))
