"""Mistakes with numbers of eight bits: another type, another largest number, no rounding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.quantize.dynamic import FLOAT8_TYPES
from probe.ops.step import Step
from probe.ops.weight import Weight
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
    """Numbers of eight bits of another type, clipped to the largest of another one, cut off,
    without subnormal ones, or with another scale: those of inputs, of weights, or of both."""
    yield Changes(_others, "changed-step", PARTS)


_Way = Callable[[ops.Float8], ops.Float8]


class _Rounded(NamedTuple):
    """What a step rounds to numbers of eight bits: its input, or its weight."""

    position: int
    by: ops.Float8
    weight: Weight | None

    def changed(self, case: Case, way: _Way) -> Step:
        op: Any = case.steps[self.position].op
        if self.weight is None:
            op = way(op)
        else:
            stored = np.asarray(self.weight.stored, np.float64)
            op = replace(op, weight=replace(self.weight, effective=way(self.by).f(stored)))
        return Step(op, case.steps[self.position].sources(self.position))

    def name(self, case: Case) -> str:
        if self.weight is not None:
            return self.weight.name
        (x,) = case.steps[self.position].sources(self.position)
        return tensor_name(case, x)


def _others(case: Case) -> Iterator[Change]:
    inputs = [_Rounded(at, op, None) for at, op in case.having(ops.Float8)]
    weights = list(_weights(case))
    every = [*inputs, *weights]
    for words, way in _ways(every[0].by).items() if every else ():
        for some in [every, inputs, weights] if inputs and weights else [every]:
            steps = {member.position: member.changed(case, way) for member in some}
            where = " and ".join(dict.fromkeys(member.name(case) for member in some))
            yield Change(words, where, steps, key=("float8", words))


def _weights(case: Case) -> Iterator[_Rounded]:
    """The weights that are rounded to numbers of eight bits, by the steps that hold them."""
    for position, step in enumerate(case.steps):
        weight = getattr(step.op, "weight", None)
        if not isinstance(weight, Weight) or weight.stored is None:
            continue
        scale = weight.parts.get(f"{weight.name}_scale")
        for kind in FLOAT8_TYPES if scale is not None else ():
            if weight.steps[:1] and weight.steps[0].startswith(f"rounded to {kind},"):
                yield _Rounded(position, ops.Float8(float(np.asarray(scale)), kind), weight)


def _ways(own: ops.Float8) -> dict[str, _Way]:
    """What may be done to numbers in place of what the layer does, in words."""
    largest = own.numbers.largest
    ways: dict[str, _Way] = {}
    for most in _LARGEST:
        if most < largest:
            words = f"numbers are clipped to {most:g}, not to {largest:g},"
            ways[words] = partial(_with, kind=_ClippedFloat8, most=most)
    for kind in sorted(FLOAT8_TYPES - {own.kind}):
        words = f"the type is {kind} instead of {own.kind}"
        ways[words] = partial(replace, kind=kind)
        ways[f"{words}, clipped to {largest:g}"] = partial(_of_type, kind=kind, most=largest)
    ways["numbers are cut off, not rounded,"] = partial(_with, kind=_CutFloat8)
    ways["numbers below the smallest normal one are 0"] = partial(_with, kind=_FlushedFloat8)
    if own.size != 1:
        ways["numbers are multiplied by the scale before and divided behind"] = _inverted
        ways["numbers are rounded without the scale"] = partial(replace, size=1.0)
    return ways


def _with(op: ops.Float8, kind: type[ops.Float8], **more: float) -> ops.Float8:
    return kind(op.size, op.kind, op.saturates, **more)


def _of_type(op: ops.Float8, kind: str, most: float) -> ops.Float8:
    return _ClippedFloat8(op.size, kind, op.saturates, most)


def _inverted(op: ops.Float8) -> ops.Float8:
    return replace(op, size=1 / op.size)


_LARGEST = (240.0, 448.0)
"""Of e4m3 with infinities and without."""
