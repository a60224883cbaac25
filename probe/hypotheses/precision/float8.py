"""Mistakes with numbers of eight bits: another type, another largest number, no rounding."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.step_words import place_name
from probe.hypotheses.registry import more
from probe.ops.quantize.dynamic import FLOAT8_TYPES
from probe.ops.step import Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class _ClippedFloat8(ops.Float8):
    """A type of which the largest numbers are not used."""

    most: float = np.inf

    def f(self, x: np.ndarray) -> np.ndarray:
        most = self.most * self.size
        return super().f(np.clip(x, -most, most))


@dataclass(frozen=True, eq=False)
class _CutFloat8(ops.Float8):
    """A type to which numbers are cut off."""

    def f(self, x: np.ndarray) -> np.ndarray:
        of, inside = self.numbers, x / self.size
        exponent = np.maximum(np.frexp(inside)[1] - 1, of.lowest)
        step = np.exp2(exponent - float(of.fraction))
        cut = np.trunc(inside / step) * step
        return np.asarray(np.clip(cut, -of.largest, of.largest) * self.size)


@dataclass(frozen=True, eq=False)
class _FlushedFloat8(ops.Float8):
    """A type without subnormal numbers."""

    def f(self, x: np.ndarray) -> np.ndarray:
        y = super().f(x)
        return np.where(np.abs(y / self.size) < 2.0**self.numbers.lowest, 0.0, y)


@more("changed-step")
def other_float8(case: Case) -> Iterator[Changes]:
    """Numbers of eight bits of another type, clipped to the largest of another one, cut off, or
    without subnormal ones."""
    yield Changes(_others, "changed-step", PARTS)


def _others(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Float8):
        held = op.size, op.kind, op.saturates
        largest = op.numbers.largest
        others: list[tuple[str, ops.Float8]] = [
            (f"numbers are clipped to {most:g}, not to {largest:g},", _ClippedFloat8(*held, most))
            for most in _LARGEST
            if most < largest
        ]
        others += [
            (f"the type is {kind} instead of {op.kind}", replace(op, kind=kind))
            for kind in sorted(FLOAT8_TYPES - {op.kind})
        ]
        others += [
            ("numbers are cut off, not rounded,", _CutFloat8(*held)),
            ("numbers below the smallest normal one are 0", _FlushedFloat8(*held)),
        ]
        for words, other in others:
            step = Step(other, case.steps[position].sources(position))
            key = ("float8", words)
            yield Change(words, place_name(case, position), {position: step}, key=key)


_LARGEST = (240.0, 448.0)
"""Of e4m3 with infinities and without."""
