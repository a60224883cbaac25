"""Mistakes of one fixed-point type inside a layer: its input's, and its accumulator's
(``ap_fixed<W, I>`` of hls4ml: I bits before the point, the sign among them)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probe.hypotheses.precision.accumulator_16bit import Accumulated
from probe.hypotheses.precision.fixed_point import fraction_of
from probe.hypotheses.precision.low_precision import summing
from probe.hypotheses.precision.rounding_modes import MODES, FixedPointGrid
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement, Sum
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__: list[str] = []

_MODES = ("down (floor)", "half up")
"""AP_TRN, which is the default, and AP_RND."""
_FINER = (0, 1, 2, 3, 4, 5, 6, 8)
_MOST = 18
"""Fraction bits of an input."""
_FLIPS = 0.001
"""The share of values that may be a level off, as rounding moves what it is near a threshold."""
_NARROWER = 3
"""How many bits before the point may be missing."""


@dataclass(frozen=True, eq=False)
class _Products(Accumulated):
    """Each product is cast to a fixed-point type before it is added."""

    step: float = 1.0
    mode: str = "down (floor)"

    def _added(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(MODES[self.mode](rows / self.step).sum(axis=1) * self.step)


@dataclass(frozen=True, eq=False)
class _Saturating(Accumulated):
    """The sum is clipped to the range of a fixed-point type whenever a product was added."""

    low: float = -np.inf
    high: float = np.inf

    def _added(self, rows: np.ndarray) -> np.ndarray:
        total = np.zeros(len(rows))
        for term in np.ascontiguousarray(rows.T):
            total = np.clip(total + term, self.low, self.high)
        return total


@more("fixed-point")
def accumulator_type(case: Case) -> Iterator[Edit]:
    """The accumulator has too few bits: each product is cut to its fraction bits before it is
    added, the sum saturates at each addition, or it wraps around before what follows it."""
    fraction, found = fraction_of(case.seen), _only_sum(case)
    if fraction is None or found is None or _output_alone(case, fraction):
        return
    position, op = found
    sums = case.values[position][0]
    bound = fraction + 1 + math.ceil(math.log2(op.term_count([case.input_of(position)], [sums])))
    do = "give the accumulator the bits of the products and of their sum"
    for sides, steps, inputs, fitted in _sides(case, fraction):
        for finer in _FINER if not sides else _FINER[:1]:
            bits = fraction + finer
            for mode in _MODES if bits < bound else ():
                claim = (
                    f"{sides}the accumulator has {bits} fraction bits, each product is rounded "
                    f"{mode}; {bound} would do"
                )
                cut = _Products(steps[position].op, "", step=2.0**-bits, mode=mode)  # type: ignore[arg-type]
                edited = case.became_steps(steps).with_op(position, cut)
                rounded = fraction if finer else None
                yield from _on_the_grid(case, claim, edited, inputs, rounded, fitted, do)
    needed = _integers(sums)
    for integer in range(needed + 1, needed - _NARROWER, -1):
        low, high = -(2.0 ** (integer - 1)), 2.0 ** (integer - 1) - 2.0**-fraction
        for taps_first in (False, True) if sums.ndim > 2 else (False,):
            for bias_first in (True, False) if getattr(op, "bias", None) is not None else (False,):
                taps = ", the channels of a tap in a row" if taps_first else ""
                order = f"{taps}, the bias first" if bias_first else taps
                claim = (
                    f"the accumulator saturates at each addition{order}: it ends at {low:g} and "
                    f"{high:g}, {integer} bits before the point (with the sign)"
                )
                added = _Saturating(op, "", taps_first, bias_first, low=low, high=high)
                edited = case.with_op(position, added)
                yield from _on_the_grid(case, claim, edited, case.inputs, None, 0, do, "saturation")
    if all(isinstance(step.op, Rearrangement) for step in case.steps[position + 1 :]):
        return  # then it is the output that wraps around
    for integer in range(needed - 1, needed - 1 - _NARROWER, -1):
        ends = -(2.0 ** (integer - 1)), 2.0 ** (integer - 1)
        claim = (
            f"the accumulator wraps around into {ends[0]:g} .. {ends[1]:g}; it has {integer} bits "
            f"before the point (with the sign), {needed} would do"
        )
        edited = case.appended(FixedPointGrid(0.0, "down (floor)", *ends, wrap=True), at=position)
        yield from _on_the_grid(case, claim, edited, case.inputs, fraction, 0, do, "wrap-around")


@more("fixed-point")
def input_type(case: Case) -> Iterator[Edit]:
    """The input alone has a type with too few bits, behind or before the point."""
    fraction, found = fraction_of(case.seen), _only_sum(case)
    floats = [x.astype(np.float64) for x in case.inputs if x.dtype.kind == "f"]
    if fraction is None or found is None or not floats or _output_alone(case, fraction):
        return
    enough = min(_MOST, _enough(case, fraction, *found))
    own = [fraction_of(x.ravel()) for x in floats]
    enough = min([enough, *(bits for bits in own if bits is not None)])
    do = "give the input's type more bits"
    for bits in range(enough):
        for mode in _MODES:
            claim = f"the input has {bits} fraction bits, rounded {mode}; {enough} would do"
            inputs = _cast(case, FixedPointGrid(2.0**-bits, mode))
            yield from _on_the_grid(case, claim, case.steps, inputs, fraction, 0, do)
    needed = max(map(_integers, floats))
    for integer in range(needed - 1, needed - 1 - _NARROWER, -1):
        high = 2.0 ** (integer - 1)
        for wrap, slug in ((True, "wrap-around"), (False, "saturation")):
            for bits in (-1, *range(enough + 1)):
                step = 2.0**-bits if bits >= 0 else 0.0
                grid = FixedPointGrid(
                    step, "down (floor)", -high, high if wrap else high - step, wrap
                )
                word = f" (ap_fixed<{bits + integer}, {integer}>)" if step else ""
                claim = (
                    f"the input {'wraps around into' if wrap else 'is clipped to'} {-high:g} .. "
                    f"{high - step:g}{word}; {needed} bits before the point would do"
                )
                inputs = _cast(case, grid)
                yield from _on_the_grid(case, claim, case.steps, inputs, fraction, 0, do, slug)


def _on_the_grid(
    case: Case,
    claim: str,
    steps: Steps,
    inputs: tuple[np.ndarray, ...],
    fraction: int | None,
    fitted: int,
    do: str,
    main: str = "",
) -> Iterator[Edit]:
    """With the output as it comes, and rounded to so many fraction bits, which it may have."""
    also = ("fixed-point",) if main else ()
    yield case.edit(claim, steps, inputs, fitted=1 + fitted, do=do, main=main, also=also)
    if fraction is None:
        return
    for last in _MODES:
        told = f"{claim}; the output has {fraction} fraction bits, rounded {last}"
        rounded = case.became_steps(steps).appended(FixedPointGrid(2.0**-fraction, last))
        yield case.edit(told, rounded, inputs, fitted=2 + fitted, do=do, main=main, also=also)


def _output_alone(case: Case, fraction: int) -> bool:
    """Whether the output's own type gives the values, but where they lie next to a threshold: no
    other need be too narrow."""
    healthy, step = case.pick(case.healthy), 2.0**-fraction
    return any(
        np.mean(mode(healthy / step) * step != case.seen) < _FLIPS for mode in MODES.values()
    )


def _only_sum(case: Case) -> tuple[int, Sum] | None:
    """The layer's sum, where it has one: of several a search would take too long."""
    found = [(position, op) for position, op in summing(case) if op.terms is not None]
    if len(found) == 1 and case.comparable and case.seen.size >= 4:
        return found[0]
    return None


def _enough(case: Case, fraction: int, position: int, op: Sum) -> int:
    """The fraction bits of an input that leave less than half of the output's last."""
    shape = case.values[position][0].shape
    sources = case.steps[position].sources(position)
    ones = [np.ones_like(ref.of(case.inputs, case.values)) for ref in sources]
    some = np.unravel_index(np.unique(np.linspace(0, math.prod(shape) - 1, 64).astype(int)), shape)
    assert op.terms is not None
    largest = float(np.abs(op.terms(ones, some)).sum(axis=(1, 2)).max(initial=1.0))
    return max(0, fraction + 1 + math.ceil(math.log2(largest)))


def _integers(values: np.ndarray) -> int:
    """The bits before the point that hold the values, with the sign."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    if largest:
        return 1 + math.floor(math.log2(largest) + 1)
    return 1


def _sides(case: Case, fraction: int) -> Iterator[tuple[str, Steps, tuple[np.ndarray, ...], int]]:
    """Inputs and weights as they are, and with the output's fraction bits; how many numbers were
    fitted."""
    yield "", case.steps, case.inputs, 0
    for mode in _MODES:
        grid = FixedPointGrid(2.0**-fraction, mode)
        weights = case.with_weights(
            {
                name: grid.f(weight.effective.astype(np.float64))
                for name, weight in case.weights.items()
            }
        )
        told = f"{fraction} fraction bits, rounded {mode}, and "
        yield f"inputs and weights have {told}", weights, _cast(case, grid), 1
        yield f"inputs have {told}", case.steps, _cast(case, grid), 1


def _cast(case: Case, grid: FixedPointGrid) -> tuple[np.ndarray, ...]:
    return tuple(grid.f(x.astype(np.float64)) if x.dtype.kind == "f" else x for x in case.inputs)
