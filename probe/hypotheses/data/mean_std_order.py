"""Means and standard deviations that an input is normalised with, in another order."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.registry import hypothesis, more
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of
from probe.trial.change import Change
from probe.trial.edit import Edit, Steps

__all__ = ["means_and_deviations"]

_DO = "subtract the mean first, then divide by the standard deviation, channel by channel"
_DIVIDED_FIRST = "x / std - mean in place of (x - mean) / std"
_EXCHANGED = "(x - std) / mean: mean and standard deviation are exchanged"


@hypothesis("mean-std-order")
def mean_std_order(case: Case) -> Iterator[Edit]:
    """The mean and the standard deviation of an input are applied in another order: divided before
    the mean is subtracted, the two exchanged, or those of BGR for RGB.

    torchvision's Normalize and Keras' Normalization compute (x - mean) / std. The error is constant
    in each channel, or a line.
    """
    for position, op in case.having(ops.Standardize):
        if op.invert:
            continue
        mean, std = op.mean.value.astype(np.float64), np.sqrt(op.variance.value.astype(np.float64))
        yield case.edit(_DIVIDED_FIRST, _normalised(case, position, mean * std, std), do=_DO)
        if mean.all():
            yield case.edit(_EXCHANGED, _normalised(case, position, std, mean), do=_DO)
        for names, some in _of_the_two(op.mean, op.variance):
            if all(weight.effective.size > 1 for weight in some):
                turned = {weight.name: weight.effective[..., ::-1] for weight in some}
                yield _turned(case, names, case.with_weights(turned))


def _of_the_two(mean: Weight, std: Weight) -> list[tuple[str, tuple[Weight, ...]]]:
    both = ("mean and standard deviation are", (mean, std))
    return [both, ("the mean is", (mean,)), ("the standard deviation is", (std,))]


def _turned(case: Case, names: str, steps: Steps) -> Edit:
    claim = f"{names} taken in the reverse order of the channels, as for BGR in place of RGB"
    return case.edit(claim, steps, do="use the channels in the layer's order")


def _normalised(case: Case, position: int, mean: np.ndarray, std: np.ndarray) -> Steps:
    less = ops.AddConstant(Weight("mean", None, -mean))
    scaled = ops.MulConstant(Weight("1 / standard deviation", None, 1 / std))
    return case.became_steps(case.with_op(position, scaled)).inserted(position, less)


class _Normalisation(NamedTuple):
    """Two steps of a block: what is subtracted from x, and what the rest is divided by."""

    x: Ref
    mean: Ref
    std: Ref
    subtracted: ops.Op
    divided: ops.Op
    at: int
    """Where it ends."""


@more("mean-std-order")
def in_blocks(case: Case) -> Iterator[Edit]:
    """The same of constants of a block."""
    count = len(case.steps)
    for x, mean, std, subtracted, divided, at in _normalisations(case):
        first = {count: Step(divided, (x, std)), at: Step(subtracted, (Ref(count), mean))}
        yield _edit(case, _DIVIDED_FIRST, first)
        other = {count: Step(subtracted, (x, std)), at: Step(divided, (Ref(count), mean))}
        yield _edit(case, _EXCHANGED, other)
        axes = {
            tuple(axis for axis, size in enumerate(shape_of(case, ref)) if size > 1)
            for ref in (mean, std)
        }
        if len(axes) == 1 and len(axis := axes.pop()) == 1:
            flip = ops.Flip(axis=axis[0])
            turned = [Step(flip, (mean,)), Step(flip, (std,))]
            new = {count: turned[0], count + 1: turned[1]}
            less = Step(subtracted, (x, Ref(count)))
            both = {**new, count + 2: less, at: Step(divided, (Ref(count + 2), Ref(count + 1)))}
            words = "mean and standard deviation are"
            yield _turned(case, words, Change("", "", both).applied(case.steps))
            only = {count: turned[0], count + 1: less, at: Step(divided, (Ref(count + 1), std))}
            yield _turned(case, "the mean is", Change("", "", only).applied(case.steps))


def _edit(case: Case, claim: str, steps: dict[int, Step]) -> Edit:
    return case.edit(claim, Change("", "", steps).applied(case.steps), do=_DO)


def means_and_deviations(case: Case) -> set[frozenset[str]]:
    """The names of the parameters that are mean and standard deviation of the same."""
    named = set()
    for normalisation in _normalisations(case):
        ops_held = [
            case.steps[ref.step].op
            for ref in (normalisation.mean, normalisation.std)
            if ref.step >= 0
        ]
        held = [op.weight.name for op in ops_held if isinstance(op, ops.Parameter)]
        if len(held) == 2:
            named.add(frozenset(held))
    return named


def _normalisations(case: Case) -> Iterator[_Normalisation]:
    for at, divided in case.having(ops.Div, ops.Mul):
        sources = case.steps[at].sources(at)
        if len(sources) != 2 or not _is_constant(case, sources[1]) or sources[0].step < 0:
            continue
        before = case.steps[sources[0].step]
        inner = before.sources(sources[0].step)
        subtracts = isinstance(before.op, ops.Sub | ops.Add) and len(inner) == 2
        if not (subtracts and _is_constant(case, inner[1]) and _is_of_input(case, inner[0])):
            continue
        x, mean, std = (math.prod(shape_of(case, ref)) for ref in (*inner, sources[1]))
        if max(mean, std) < x:
            yield _Normalisation(inner[0], inner[1], sources[1], before.op, divided, at)


def _is_constant(case: Case, ref: Ref) -> bool:
    """Whether a tensor is a parameter or a number, or given beside the first input, as a buffer
    is."""
    if ref.step < 0:
        return ref.index > 0
    return isinstance(case.steps[ref.step].op, ops.Parameter | ops.Constant)


def _is_of_input(case: Case, ref: Ref) -> bool:
    """Whether a tensor is an input, with nothing but constants done to it."""
    while ref.step >= 0:
        sources = case.steps[ref.step].sources(ref.step)
        rest = [source for source in sources if not _is_constant(case, source)]
        if len(rest) != 1 or getattr(case.steps[ref.step].op, "weight", None) is not None:
            return False
        (ref,) = rest
    return True
