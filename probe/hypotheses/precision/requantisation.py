"""Mistakes of layers that compute in integers: how sums are rounded to codes, scales of channels,
zero points and clamps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from probe import ops
from probe.evaluation.other_kernels import GivenBy
from probe.hypotheses.precision.another_kernel import kernels_of
from probe.hypotheses.registry import hypothesis, more
from probe.ops.base import Elementwise
from probe.ops.quantize.requantize import fixed_point
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__: list[str] = []

_WHO = {
    "double": "rounds twice, as TFLM and CMSIS-NN do",
    "single": "rounds once with a 31-bit multiplier, as TFLite's reference kernel of fully "
    "connected layers does",
    "up": "rounds twice, halves up the second time, as TFLite's optimised kernels (ruy) do",
    "fp32": "rounds once in float32, as XNNPACK does",
    "reduced": "rounds once with a 16-bit multiplier, as TFLite's kernels of int16 do",
    "8 bits": "rounds once with an 8-bit multiplier, as XNNPACK's LEAKY_RELU does",
}
"""The roundings of ``ops.Requantize``, as what a party does."""


def _way(op: ops.Requantize) -> str:
    """The rounding, in the words of _WHO: a fraction of 8 bits is shifted by 23 of 31."""
    narrow = op.rounding == "single" and bool(np.all(np.asarray(op.shift) == 23))
    return "8 bits" if narrow else op.rounding


def _rounded(op: ops.Requantize, how: str) -> ops.Requantize:
    """The op with another rounding; its multiplier has the bits that this has."""
    if how == "8 bits":
        multiplier = np.rint(256 * op.factor).astype(np.int64)
        return replace(op, multiplier=multiplier, shift=np.asarray(23), rounding="single")
    if _way(op) == "8 bits":
        multiplier, shift = fixed_point(op.factor)
        return replace(op, multiplier=multiplier, shift=shift, rounding=how)
    return replace(op, rounding=how)


def _all_rounded(case: Case, how: str) -> Steps | None:
    """The layer with all its sums brought to codes in another way; None where they are."""
    steps, found = case.steps, False
    for position, op in case.having(ops.Requantize):
        if _way(op) != how:
            changed = _rounded(op, how)
            steps = (
                *steps[:position],
                replace(steps[position], op=changed),
                *steps[position + 1 :],
            )
            found = True
    return steps if found else None


def _counted(case: Case) -> str:
    """How many values differ, where they do by 1; else nothing."""
    if not case.comparable:
        return ""
    off = np.abs(case.seen - case.pick(case.healthy))
    if not off.size or off.max() != 1:
        return ""
    return f"; {int((off == 1).sum()):,} of {off.size:,} values differ by 1, none by more"


def _roundings(case: Case, *ways: str) -> Iterator[Edit]:
    own = {_way(op) for _, op in case.having(ops.Requantize)}
    if not own:
        return
    theirs = " and ".join(_WHO[how] for how in sorted(own))
    kernels = kernels_of(case)
    for how in ways:
        if kernels is not None and how not in _ways(kernels):
            continue
        steps = _all_rounded(case, how)
        if steps is not None:
            yield case.edit(
                f"yours {_WHO[how]}; the framework {theirs}{_counted(case)}: both are TFLite",
                steps,
                do="neither is wrong; compare with the engine that rounds as yours does",
            )


def _ways(found: GivenBy) -> set[str]:
    """How the kernels round that give the values: of several ways that give them, it is one of
    these."""
    steps = chain.from_iterable(found.kernels.values())
    return {_way(step.op) for step in steps if isinstance(step.op, ops.Requantize)}


@hypothesis("rounds-twice")
def rounds_twice(case: Case) -> Iterator[Edit]:
    """Integer sums are rounded twice on their way to codes: after the multiplier, and after the
    shift.

    TFLM, CMSIS-NN and most of TFLite's reference kernels do (gemmlowp's
    MultiplyByQuantizedMultiplier); XNNPACK, which Python and Android run by default, rounds once in
    float32. The codes differ by 1 in a few of a thousand places, and both are TFLite.
    """
    yield from _roundings(case, "double")


@hypothesis("rounds-once")
def rounds_once(case: Case) -> Iterator[Edit]:
    """Integer sums are rounded once, after the product with the whole multiplier.

    TFLite's reference kernel of fully connected layers does, CMSIS-NN with
    CMSIS_NN_USE_SINGLE_ROUNDING, and its kernels of int16, whose multiplier has 16 bits. That of
    XNNPACK's LEAKY_RELU has 8.
    """
    yield from _roundings(case, "single", "reduced")
    if all(np.size(op.multiplier) == 1 for _, op in case.having(ops.Requantize)):
        yield from _roundings(case, "8 bits")


@hypothesis("rounds-halves-up")
def rounds_halves_up(case: Case) -> Iterator[Edit]:
    """Integer sums are rounded twice, the second time halves up instead of away from zero.

    ruy does on x86, in the convolutions and fully connected layers of TFLite's optimised kernels.
    Only negative numbers differ.
    """
    yield from _roundings(case, "up")


@dataclass(frozen=True, eq=False)
class _InFloat64(Elementwise):
    """The real product, rounded in NumPy's or Python's way."""

    inner: ops.Requantize
    mode: str
    jumps = True
    roundings = 0

    @property
    def pointwise(self) -> bool:
        return False

    def f(self, x: np.ndarray) -> np.ndarray:
        op = self.inner
        scale = np.asarray(op.multiplier) * np.exp2(np.asarray(op.shift, np.float64) - 31)
        value = _MODES[self.mode](x.astype(np.float64) * scale) + op.zero_point
        code: np.ndarray = np.clip(value, op.low, op.high).astype(np.int64)
        return code


_MODES: dict[str, Any] = {
    "to the nearest, halves to even (np.round)": np.rint,
    "to the nearest, halves away from zero (C's round)": lambda x: np.trunc(
        x + np.copysign(0.5, x)
    ),
    "down (a shift without rounding)": np.floor,
    "towards zero (a cast to an integer)": np.trunc,
}


@hypothesis("requantised-in-float")
def requantised_in_float(case: Case) -> Iterator[Edit]:
    """Integer sums are multiplied by a scale in floating point, instead of a multiplier and a
    shift.

    XNNPACK does in float32, and rounds halves to even; a port in NumPy or C usually does in
    float64.
    """
    yield from _roundings(case, "fp32")
    yield from _in_float64(case, *list(_MODES)[:2])


@more("rounding-mode")
def requantised_without_rounding(case: Case) -> Iterator[Edit]:
    """Integer sums that a shift or a cast cuts off."""
    yield from _in_float64(case, *list(_MODES)[2:])


def _in_float64(case: Case, *modes: str) -> Iterator[Edit]:
    for mode in () if kernels_of(case) else modes:
        steps, found = case.steps, False
        for position, op in case.having(ops.Requantize):
            changed = replace(steps[position], op=_InFloat64(op, mode))
            steps, found = (*steps[:position], changed, *steps[position + 1 :]), True
        if found:
            yield case.edit(
                f"sums are multiplied by their scale in float64 and rounded {mode}",
                steps,
                do="use the multiplier, the shift and the rounding of the engine",
            )


@hypothesis("per-tensor-scale")
def per_tensor_scale(case: Case) -> Iterator[Edit]:
    """All channels are brought to codes with the scale of one, where each has its own.

    TFLite's weights have a scale for each output channel; code written for a scale of the whole
    tensor reads the first.
    """
    for position, op in case.having(ops.Requantize):
        if np.size(op.multiplier) < 2:
            continue
        scale = np.ravel(op.multiplier * np.exp2(np.asarray(op.shift, np.float64) - 31))
        for name, place in (("the first", 0), ("the largest", int(scale.argmax()))):
            own = {
                part: np.full_like(getattr(op, part), np.ravel(getattr(op, part))[place])
                for part in ("multiplier", "shift", "factor")
            }
            yield case.edit(
                f"every channel has the scale of {name} channel",
                case.with_op(position, replace(op, **own)),
                do="use the multiplier and the shift of each output channel",
            )


@hypothesis("zero-point-ignored")
def zero_point_ignored(case: Case) -> Iterator[Edit]:
    """The zero point of the input is not subtracted from its codes, or that of the output not
    added.

    Without the first all sums are off by the zero point times the sum of the kernel; without the
    second all outputs by a constant, clamped.
    """
    inputs = [(at, op) for at, op in case.having(ops.SubtractZeroPoint) if op.zero_point]
    for position, op in inputs:
        yield case.edit(
            f"the zero point {op.zero_point} of the input is not subtracted",
            case.changed(position, zero_point=0),
            do="subtract the input's zero point from every code before it is multiplied",
        )
        yield case.edit(
            f"the zero point {op.zero_point} of the input is added, not subtracted",
            case.changed(position, zero_point=-op.zero_point),
            do="subtract the input's zero point: TFLite's input_offset is its negative",
        )
    for position, op in case.having(ops.Requantize, ops.QuantizeFloat):
        if op.zero_point:
            yield case.edit(
                f"the zero point {op.zero_point} of the output is not added",
                case.changed(position, zero_point=0),
                do="add the output's zero point after the rounding, before the clamp",
            )


@hypothesis("zero-point-in-padding")
def zero_point_in_padding(case: Case) -> Iterator[Edit]:
    """The border is padded with the code 0 instead of the zero point.

    What stands for the number 0 is the zero point. Only outputs whose windows reach the border
    differ.
    """
    for position, op in case.having(ops.IntegerConv):
        before = [at for at, _ in case.having(ops.SubtractZeroPoint) if at < position]
        if not before or not any(map(any, op.pads)):
            continue
        zero = case.steps[before[-1]].op.zero_point  # type: ignore[attr-defined]
        if not zero:
            continue
        around = ops.Pad(pads=((0, 0), (0, 0), *op.pads), value=float(-zero))
        bare = replace(op, pads=tuple((0, 0) for _ in op.pads))
        edited = case.became_steps(case.with_op(position, bare))
        yield case.edit(
            f"the border is padded with the code 0, not with the zero point {zero}",
            edited.inserted(position, around),
            do="pad with the input's zero point, or leave out what lies beyond the border",
        )


@hypothesis("activation-clamp")
def activation_clamp(case: Case) -> Iterator[Edit]:
    """The codes are clamped to another range than that of the fused activation.

    RELU ends at the zero point and not at the code 0, RELU6 at the code of 6; without them it is
    the range of the type.
    """
    ends = [(at, op) for at, op in case.having(ops.Requantize) if op.high - op.low < 1 << 16]
    for position, op in ends[-2:]:
        wide = op.high > 255 or op.low < -128
        low, high = (-32768, 32767) if wide else (-128, 127)
        ranges = {
            "to the range of the type": (low, high),
            "at the code 0": (0, high),
            "at the zero point": (op.zero_point, high),
            "from the code 0 to the code 6": (0, 6),
            "from -127 to 127": (-127, 127),
        }
        for words, (least, most) in ranges.items():
            if (least, most) != (op.low, op.high):
                yield case.edit(
                    f"the output is clamped {words}, not from {op.low} to {op.high}",
                    case.changed(position, low=least, high=most),
                    do=f"clamp to {op.low} … {op.high}, the codes of the fused activation",
                )
