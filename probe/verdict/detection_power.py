"""How well a comparison would have told a wrong output from a right one: the share of wrong
elements that it would have shown."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from probe.comparison.compare import tolerated
from probe.evaluation.party import Arrays, PartyResult
from probe.model import Capture
from probe.numerics.precision import VANISHING, precision_of
from probe.ops.step import weights_of

__all__ = ["ENOUGH", "SURE", "Power", "blinds", "blunt", "computes_in", "power", "powers"]

ENOUGH = 0.5
"""Below this an allowance is no evidence."""
SURE = 0.9
"""Below this it has to be said how much evidence there is."""

_FIRST, _MORE = 1 << 8, 1 << 12
_ROUNDING = 2.0**-40
"""What lies closer together, in units of the largest values, may differ by NumPy's own rounding
alone."""
_FEWEST = 1 << 6
"""So many pairs that differ tell the share well enough where it is clear."""
_LAST_DIGITS = 8
_VALUES = {
    "framework": "the framework's values",
    "onnx": "ONNX Runtime's values",
    "expected": "your values",
}


class Power(NamedTuple):
    """What an allowance can tell of one output."""

    share: float
    """Of random pairs of elements that differ: how often the first would have been seen to be
    wrong, had it held the value of the second.

    0 where half of the output lies within what is allowed everywhere, as 0 or its negative may
    then; 1 of other outputs whose elements are all equal.
    """
    allowed: float
    """What the median element is allowed."""
    span: float
    """How far the output's values lie apart, or lie from 0 where all are equal."""


def power(values: Sequence[np.ndarray | None], allowed: Sequence[np.ndarray]) -> Power | None:
    """Of the output that is told least; None where there is nothing to tell: no output is of
    floats, or all are 0."""
    lines = [
        _of_one(value, slack)
        for value, slack in zip(values, allowed, strict=True)
        if value is not None and value.dtype.kind == "f"
    ]
    return min((line for line in lines if line is not None), default=None)


def blinds(
    values: Sequence[np.ndarray | None], usual: Sequence[np.ndarray], loose: Sequence[np.ndarray]
) -> bool:
    """Whether an output reversed, or shifted by one along an axis, is told from the output by
    ``usual`` and not clearly by ``loose``."""
    for value, tight, wide in zip(values, usual, loose, strict=True):
        if value is None or value.dtype.kind != "f":
            continue
        for moved in (np.flip(value), *(np.roll(value, 1, axis) for axis in range(value.ndim))):
            with np.errstate(invalid="ignore"):
                apart = np.abs(moved - value)
            if (apart > tight).any() and not (apart > 2 * wide).any():
                return True
    return False


def _of_one(value: np.ndarray, allowed: np.ndarray) -> Power | None:
    if not value.size:
        return None
    allowed = np.broadcast_to(allowed, value.shape)
    share, differing, halved = _share(value, allowed, _FIRST)
    if share >= SURE and differing >= _FEWEST and halved:
        return Power(share, 0.0, 0.0)  # the usual case, in which nobody asks for more
    share, differing, halved = _share(value, allowed, _MORE)
    where = np.isfinite(value)
    finite, slack = value[where].astype(np.float64), allowed[where]
    if not finite.any():
        return None
    if not halved:
        halved = bool((np.abs(finite) > 2 * slack).any())
    if not halved:
        share = 0.0
    elif not differing:
        share = 1.0
    return Power(share, float(np.median(slack)), float(np.ptp(finite)) or float(np.abs(finite[0])))


def _share(value: np.ndarray, allowed: np.ndarray, count: int) -> tuple[float, int, bool]:
    """The share among so many pairs (all of a small output), how many differ, and whether the half
    of some element is told from it."""
    first, second = _pairs(value.size, count)
    flat = _flat(value)
    with np.errstate(all="ignore"):
        left, right = flat[first].astype(np.float64), flat[second].astype(np.float64)
        apart = np.abs(left - right)
        slack = _flat(allowed)[first] if any(allowed.strides) else allowed.item(0)
        finite = np.isfinite(apart)
        largest = np.abs(left).max(initial=0.0, where=finite)
        differ = finite & (apart > _ROUNDING * largest)
        differing, seen = (
            int(np.count_nonzero(differ)),
            int(np.count_nonzero(differ & (apart > slack))),
        )
        halved = bool((np.isfinite(left) & (np.abs(left) > 2 * slack)).any())
        return seen / differing if differing else np.nan, differing, halved


def _flat(array: np.ndarray) -> "np.ndarray | np.flatiter[np.ndarray]":
    """The elements in a row, not copied; a flatiter, which is slow, only where it must be."""
    if array.flags.c_contiguous:
        return array.reshape(-1)
    return array.flat


@lru_cache(maxsize=256)
def _pairs(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many pairs of so many elements, the same each time; all of them where they are fewer."""
    if size * size <= count:
        first, second = np.indices((size, size))
        return first.ravel(), second.ravel()
    first, second = np.random.default_rng(size).integers(size, size=(2, count))
    return first, second


def powers(
    results: Mapping[str, PartyResult], capture: Capture, tolerance: tuple[float, float] | None
) -> dict[str, Power]:
    """For each party how well what it was allowed would have told a wrong element.

    Asked against NumPy alone: of two parties that agree with NumPy nothing more is claimed. Not of
    parties whose allowance is as sharp as arithmetic can be, but for yours: where the last digits
    decide, those may be anything.
    """
    by_party: dict[str, Power] = {}
    for party, result in results.items():
        if (
            party == "onnx"
            and tolerance is None
            and result.allowance is results["framework"].allowance
        ):
            if "framework" in by_party:
                by_party[party] = by_party["framework"]
            continue
        values: Arrays = result.reference
        allowed: Sequence[np.ndarray] = result.allowance
        known = result.party.known
        if known is not None and values[0] is not None:
            values = (np.where(known, values[0], np.nan), *values[1:])
        if tolerance is not None:
            allowed = tolerated(values, tolerance)
        least = power(values, allowed)
        if least is not None and (
            least.share >= ENOUGH or party == "expected" or not _sharp(allowed, values, capture)
        ):
            by_party[party] = least
    return by_party


def _sharp(allowed: Sequence[np.ndarray], values: Arrays, capture: Capture) -> bool:
    """Whether no arithmetic is sharper than what is allowed.

    Of layers without weights, where an output varies in its last digits only; weights whose part is
    lost in rounding could be any others. And of numbers near the smallest that there are.
    """
    weightless = capture.description is not None and not weights_of(capture.description.steps)
    unit = precision_of(capture.dtype).unit
    for slack, value in zip(allowed, values, strict=True):
        if value is None or value.dtype.kind != "f":
            continue
        where = np.isfinite(value)
        size = float(np.abs(value[where]).max(initial=0.0))
        if where.any():
            typical = float(np.median(np.broadcast_to(slack, value.shape)[where]))
        else:
            typical = 0.0
        least = max(
            _LAST_DIGITS * unit * size if weightless else 0.0,
            VANISHING,
            _LAST_DIGITS * precision_of(capture.dtype).tiny,
        )
        if typical > slack.dtype.type(least):  # rounded as the allowance is
            return False
    return True


def blunt(party: str, power: Power, dtype: str) -> str:
    """That an allowance is no evidence, and the way out."""
    ways = {
        "expected": "give the layer input your values were computed from (given=, --expect-input)"
    }
    if dtype in ("float16", "bfloat16"):
        ways["framework"] = "check the layer in float32"
    return (
        f"{computes_in(party, dtype)} rounding may change {_VALUES[party]} by up to "
        f"{power.allowed:.2g}, while the output's own range is {power.span:.2g} "
        f"(ill-conditioned); this check would detect only {100 * power.share:.0f} of 100 wrong "
        "elements"
    ) + (f"; {ways[party]}" if party in ways else "")


def computes_in(party: str, dtype: str) -> str:
    """The dtype that a party computes a layer of that dtype in."""
    if party == "onnx" and dtype == "float64":
        return "float32"
    return dtype
