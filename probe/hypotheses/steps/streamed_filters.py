"""Convolutions over time as a port with a buffer of the last elements computes them: the buffer is
not cleared between samples, or is read from another element on, or the filter runs from the
end."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.early_passes import differing
from probe.hypotheses.edits.rewriting import inserted, made_by
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import more
from probe.ops.base import Arrays, Op
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of
from probe.trial.change import Change
from probe.trial.prices import price

__all__: list[str] = []

_SLOTS = 32
"""Of how many elements a buffer is tried whose slots are read in another order."""


class _Filter(NamedTuple):
    """A convolution that has elements before the first along an axis of its input."""

    position: int
    op: Any
    axis: int
    before: int
    """How many."""
    pad: int
    """The step that puts them there; -1: the convolution itself does."""
    reach: int
    """How many elements lie between the first and the last that an output is made of."""


def _filters(case: Case) -> Iterator[_Filter]:
    op: Any
    for position, op in case.having(ops.Conv):
        x, *kernels = case.steps[position].sources(position)
        kernel = shape_of(case, kernels[0]) if kernels else op.weight.value.shape
        padded = made_by(case, x, ops.Pad)
        pad: Any = case.steps[x.step].op if padded else None
        if pad is not None and (pad.mode != "constant" or len(pad.pads) != len(op.pads) + 2):
            pad = None
        for axis in range(2, len(op.pads) + 2):
            before, after = op.pads[axis - 2]
            reach = (kernel[axis] - 1) * int(op.dilations[axis - 2])
            if before > 0:
                yield _Filter(position, op, axis, before, -1, reach)
            elif pad is not None and not after and pad.pads[axis][0] > 0:
                yield _Filter(position, op, axis, pad.pads[axis][0], x.step, reach)


@more("carried-state")
def buffer_not_cleared(case: Case) -> Iterator[Changes]:
    """A convolution that begins with the last elements of the sample before, not with zeros."""
    yield Changes(_not_cleared, "carried-state", STEPS)


def _not_cleared(case: Case) -> Iterator[Change]:
    if not case.comparable or case.region is not None or not differing(case).any():
        return
    if not case.observed.ndim or differing(case)[:1].any():
        return
    for at in _filters(case):
        x = case.steps[at.position].sources(at.position)[0]
        size = shape_of(case, x)[at.axis]
        start = at.before if at.pad >= 0 else 0
        if shape_of(case, x)[0] != len(case.observed) or size - start < at.before:
            continue
        where = step_name(case, at.position)
        for slots in dict.fromkeys((0, at.reach + 1 if at.before == at.reach else 0)):
            kept = _BufferKept(at.op, at.axis, at.before, start, slots)
            what = f"{where} begins with the last {at.before} elements of the sample before, "
            what += "which are not cleared"
            if slots:
                what += ", by the slots of a buffer that is written from its first one again"
            yield Change(
                what, "", {at.position: Step(kept, case.steps[at.position].sources(at.position))}
            )


@dataclass(frozen=True, eq=False)
class _BufferKept(Op):
    """A convolution whose input has in front of each sample the end of the one before."""

    op: Any
    axis: int
    before: int
    start: int
    """Where the elements of a sample begin."""
    slots: int
    """How many slots the buffer has, where its elements are in the order of these."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, *rest = inputs
        behind = np.moveaxis(x, self.axis, -1)[..., self.start :]
        size = behind.shape[-1]
        last = np.arange(size - self.before, size)
        if self.slots:
            last = np.array([t for slot in range(1, self.slots) for t in self._of_slot(slot, size)])
        padded = np.zeros((*behind.shape[:-1], self.before + size), x.dtype)
        padded[..., self.before :] = behind
        padded[1:, ..., : self.before] = behind[:-1][..., last]
        pads = list(self.op.pads)
        pads[self.axis - 2] = (0, pads[self.axis - 2][1])
        plain = replace(self.op, pads=tuple(pads))
        return tuple(plain.run(np.moveaxis(padded, -1, self.axis), *rest))

    def _of_slot(self, slot: int, size: int) -> list[int]:
        """The last element that was written to a slot."""
        return [t for t in range(size) if t % self.slots == slot][-1:]


@more("changed-step")
def buffer_from_first_slot(case: Case) -> Iterator[Changes]:
    """A convolution whose taps go with the slots of a ring buffer from the first one on, not from
    that of the oldest element."""
    yield Changes(_from_first_slot, "changed-step", STEPS)


def _from_first_slot(case: Case) -> Iterator[Change]:
    for at in _filters(case):
        op, alone = at.op, len(at.op.pads) == 1
        if alone and op.weight is not None and set(op.strides) == {1}:
            if at.before == at.reach < _SLOTS:
                sources = case.steps[at.position].sources(at.position)
                what = f"the taps of {step_name(case, at.position)} go with the slots of a ring "
                what += "buffer from the first slot on, not from that of the oldest element"
                slots = Step(_FromFirstSlot(op), sources)
                yield Change(what, "", {at.position: slots})


@dataclass(frozen=True, eq=False)
class _FromFirstSlot(Op):
    """A convolution over time whose kernel is another rotation of its taps at each element."""

    op: Any

    @property
    def slots(self) -> int:
        size: int = self.op.weight.value.shape[-1]
        return (size - 1) * int(self.op.dilations[0]) + 1

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        kernel = self.op.weight.value
        taps = np.zeros((*kernel.shape[:-1], self.slots), kernel.dtype)
        taps[..., :: self.op.dilations[0]] = kernel
        parts = []
        for turn in range(self.slots):
            weight = Weight(self.op.weight.name, None, np.roll(taps, -turn - 1, -1))
            parts.append(replace(self.op, weight=weight, dilations=(1,)).run(*inputs)[0])
        out = np.array(parts[0])
        for turn, part in enumerate(parts):
            out[..., turn :: self.slots] = part[..., turn :: self.slots]
        return (out,)


@price.register
def _(op: _FromFirstSlot, inputs: Arrays, outputs: Arrays) -> float:
    return op.slots * price(op.op, inputs, outputs)


@price.register
def _(op: _BufferKept, inputs: Arrays, outputs: Arrays) -> float:
    return 2 * price(op.op, inputs, outputs)


@more("rearranged-tensor")
def run_from_the_end(case: Case) -> Iterator[Changes]:
    """A causal convolution over time that runs from the last element to the first."""
    yield Changes(_from_the_end, "rearranged-tensor", STEPS)


def _from_the_end(case: Case) -> Iterator[Change]:
    """The convolution between two steps that reverse time."""
    for at in _filters(case):
        begun, count = at.position if at.pad < 0 else at.pad, len(case.steps)
        if at.op.pads[at.axis - 2][1] == at.before:
            continue  # another change of the kernel alone
        sources = case.steps[begun].sources(begun)
        what = f"{step_name(case, at.position)} runs from the end of axis {at.axis}"
        back = inserted(case, Ref(at.position), Step(ops.Flip(at.axis), (Ref(at.position),)), what)
        turned = {
            begun: Step(case.steps[begun].op, (Ref(count + 1), *sources[1:])),
            count + 1: Step(ops.Flip(at.axis), sources[:1]),
        }
        yield replace(back, steps={**back.steps, **turned}, of=at.position)
