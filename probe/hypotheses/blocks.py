"""Mistakes in the single numbers that a block of several calls computes with: epsilons, scales."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit
from probe.hypotheses.registry import more
from probe.hypotheses.usual_numbers import EPSILONS

__all__: list[str] = []

_SMALL = 1e-2
"""No larger number that is added is an epsilon."""


@more("other-epsilon")
def other_epsilon(case: Case) -> Iterator[Edit]:
    """Another number that a block adds before it takes a root."""
    for value, places in _scalars(case, ops.Add):
        if 0 < value <= _SMALL:
            yield from _instead(case, "eps", value, places, EPSILONS)


@more("attention-scale")
def attention_scale(case: Case) -> Iterator[Edit]:
    """Another number that a block multiplies or divides a product by, such as 1/d in place of
    1/sqrt(d), or none."""
    for value, places in _scalars(case, ops.Mul, ops.Div):
        if value > 0 and value != 1:
            others = (value**2, 1.0, math.sqrt(value), 1 / value)
            yield from _instead(case, "the scale", value, places, others)


def _scalars(case: Case, *kinds: type) -> Iterator[tuple[float, list[int]]]:
    """The single numbers that steps of these kinds take, and where they stand: the same number of
    several calls, as in each layer of a network, is one."""
    found: dict[float, list[int]] = {}
    for position, op in case.having(*kinds) if case.calls else ():
        del op
        for ref in case.steps[position].sources(position):
            step = case.steps[ref.step].op if ref.step >= 0 else None
            if isinstance(step, ops.Constant) and step.value.size == 1:
                found.setdefault(float(step.value), []).append(ref.step)
    yield from found.items()


def _instead(
    case: Case, name: str, value: float, places: Sequence[int], others: Sequence[float]
) -> Iterator[Edit]:
    for other in others:
        if abs(other - value) > 1e-3 * abs(value):
            changed = case
            for place in places:
                array = np.full(case.values[place][0].shape, other)
                changed = changed.became_steps(changed.changed(place, value=array))
            yield case.edit(
                f"{name} = {other:.6g} in {case.calls[places[0]]}; the block's is {value:.6g}",
                changed.steps,
                do=f"use {value:.6g}",
            )
