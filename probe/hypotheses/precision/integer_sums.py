"""Mistakes around the sums of layers that compute in integers: biases in other units, accumulators
that overflow, sums that are given as they are, and inputs quantised with other scales."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.registry import hypothesis
from probe.ops.base import Elementwise
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


def _sums(case: Case) -> Iterator[tuple[int, Any]]:
    yield from case.having(ops.IntegerConv, ops.IntegerMatMul, ops.IntegerConvTranspose)


@hypothesis("bias-scale")
def bias_scale(case: Case) -> Iterator[Edit]:
    """The bias is in other units than the sums, whose scale is that of the input times that of the
    weights.

    Quantised with the scale of the weights alone, or of the input alone, or to 8 bits, it has
    another size.
    """
    for position, op in _sums(case):
        bias, weight = op.bias, op.weight
        if not isinstance(bias, Weight) or not isinstance(weight, Weight):
            continue
        if bias.grid is None or weight.grid is None:
            continue
        own, of_weight = np.ravel(bias.grid.scale), np.ravel(weight.grid.scale)
        codes = bias.effective.astype(np.float64)
        units = {
            "the bias has the scale of the weights alone": codes * (own / of_weight),
            "the bias has the scale of the input alone": codes * of_weight,
            "the bias is clamped to 8 bits": np.clip(codes, -128, 127),
            "the bias is clamped to 16 bits": np.clip(codes, -32768, 32767),
        }
        for claim, values in units.items():
            changed = replace(bias, effective=np.rint(values).astype(np.int64))
            if changed.effective.shape == bias.effective.shape:
                yield case.edit(
                    claim,
                    case.with_op(position, replace(op, bias=changed)),
                    do="quantise the bias to 32 bits with the input's scale times the weights'",
                )


@hypothesis("no-requantisation")
def no_requantisation(case: Case) -> Iterator[Edit]:
    """The sums are given as they are, or as real numbers, and not as the codes of the output.

    They are tens of thousands where codes go to 127; cut off to 8 bits they wrap around.
    """
    for position, op in case.having(ops.Requantize):
        if any(isinstance(step.op, ops.Requantize) for step in case.steps[position + 1 :]):
            continue
        do = "multiply by the scale, add the output's zero point and clamp"
        steps = case.with_op(position, ops.Identity())
        yield case.edit("the sums are not brought to codes", steps, do=do)
        for bits in (8, 16):
            wrapped = case.with_op(position, _Wrapped(bits))
            claim = f"the sums are cut off to {bits} bits, without a scale"
            yield case.edit(claim, wrapped, do=do)
        bare = replace(op, zero_point=0, low=-(2**31), high=2**31 - 1)
        claim = "the sums are scaled, and neither moved by the zero point nor clamped"
        yield case.edit(claim, case.with_op(position, bare), do=do)


@dataclass(frozen=True, eq=False)
class _Wrapped(Elementwise):
    """Whole numbers in so many bits: beyond them they wrap around, or stay at the end."""

    bits: int
    saturates: bool = False
    jumps = True
    roundings = 0

    def f(self, x: np.ndarray) -> np.ndarray:
        half = 1 << (self.bits - 1)
        whole = np.rint(x).astype(np.int64)
        wrapped: np.ndarray = (whole + half) % (2 * half) - half
        if self.saturates:
            wrapped = np.clip(whole, -half, half - 1)
        return wrapped


@hypothesis("accumulator-overflow")
def accumulator_overflow(case: Case) -> Iterator[Edit]:
    """The sums of products are kept in 16 bits, and overflow.

    A product of two codes of 8 bits takes 16: a few of them leave the range. TFLite's accumulators
    have 32 bits, and 64 with codes of 16.
    """
    for position, _ in _sums(case):
        widths = (16, 32) if np.abs(case.input_of(position)).max(initial=0) > 255 else (16,)
        for bits in widths:
            for saturates in (False, True):
                way = "stays at its ends" if saturates else "wraps around"
                steps = case.appended(_Wrapped(bits, saturates), at=position)
                yield case.edit(
                    f"the accumulator has {bits} bits and {way}",
                    steps,
                    do="accumulate in 32 bits; in 64 where the input has 16",
                )


@hypothesis("dynamic-input")
def dynamic_input(case: Case) -> Iterator[Edit]:
    """The input of a layer of dynamic range is quantised with other scales: of the batch, of each
    entry, of each row or pixel, symmetric or not; or not at all.

    TFLite's built-in kernels and XNNPACK differ in it, and so do the converter of TensorFlow, which
    asks for asymmetric inputs, and others, which do not.
    """
    for position, op in case.having(ops.DynamicInput):
        rank = case.input_of(position).ndim
        choices = {
            "with one scale for the whole batch": tuple(range(rank)),
            "with a scale for each entry of the batch": tuple(range(1, rank)),
            "with a scale for each row or pixel": (rank - 1,),
        }
        own = {axis % rank for axis in op.axes}
        do = f"quantise {op.summary((case.input_of(position),)).removeprefix('the input ')}"
        for words, axes in choices.items():
            for symmetric in (False, True):
                if {*axes} == own and symmetric == op.symmetric:
                    continue
                kind = "symmetrically" if symmetric else "asymmetrically"
                yield case.edit(
                    f"the input is quantised {kind}, {words}",
                    case.changed(position, axes=axes, symmetric=symmetric),
                    do=do,
                )
        steps = case.with_op(position, ops.Identity())
        yield case.edit("the input is not quantised", steps, do=do)
