"""Mistakes of fixed point: word and fraction width, rounding, saturation and wrap-around, read off
the values."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from probe.hypotheses.precision.low_precision import summing
from probe.hypotheses.precision.rounding_modes import FixedPointGrid
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit, Steps

__all__ = ["fraction_of"]


def fraction_of(values: np.ndarray) -> int | None:
    """The number of fraction bits of the coarsest binary grid that holds all values; None beyond
    2^-24, and where the digits of float32 make a grid as fine."""
    finite = values[np.isfinite(values)]
    if not finite.size or not finite.any():
        return None
    top = int(np.floor(np.log2(np.abs(finite).max())))
    for bits in range(-8, min(25, 23 - top)):
        scaled = finite * 2.0**bits
        if (scaled == np.rint(scaled)).all():
            return bits
    return None


@hypothesis("fixed-point")
def fixed_point(case: Case) -> Iterator[Edit]:
    """Fixed-point arithmetic: values, weights or inputs are multiples of 2^-f.

    The number of fraction bits of the output is read off its values, and the word width off the
    largest of them; rounding modes, and weights and inputs with the same or other fraction bits,
    are tried. If values are outside the type's range, saturation or wrap-around is named first.
    """
    fraction = fraction_of(case.seen)
    if not case.comparable or fraction is None or case.seen.size < 4:
        return
    usual = fraction_of(case.pick(case.healthy))
    if usual is not None and usual <= fraction:
        return
    ends = _ends(case, fraction)
    for last in _ROUNDED:
        for end in ends:
            yield _ended(
                case,
                case.steps,
                case.inputs,
                fraction,
                last,
                end,
                f"the output has {fraction} fraction bits, rounded {last}",
                1,
            )
    sums = summing(case)
    parts = [getattr(op, name, None) for _, op in sums for name in ("weight", "bias")]
    held = [weight for weight in parts if weight is not None]
    floats = [x.dtype.kind == "f" for x in case.inputs]
    for finer, inputs_finer in _widths(case.thorough) if sums else ():
        for mode in _ROUNDED:
            of_weights, of_inputs = (
                FixedPointGrid(2.0 ** -(fraction + more), mode).f for more in (finer, inputs_finer)
            )
            weights = case.with_weights(
                {weight.name: of_weights(weight.effective.astype(np.float64)) for weight in held}
            )
            inputs = tuple(
                of_inputs(x.astype(np.float64)) if is_float else x
                for x, is_float in zip(case.inputs, floats, strict=True)
            )
            same = finer == inputs_finer
            if same:
                both = "inputs and weights"
            else:
                both = f"inputs have {fraction + inputs_finer} fraction bits; weights"
            for given, told in (
                ((inputs, both), (case.inputs, "weights")) if same else ((inputs, both),)
            ):
                sides = f"{told} have {fraction + finer} fraction bits, rounded {mode}"
                for last in _ROUNDED:
                    for end in ends:
                        claim = f"{sides}, and the output has {fraction}, rounded {last}"
                        yield _ended(
                            case, weights, given, fraction, last, end, claim, 2 if same else 3
                        )


_ROUNDED = ("down (floor)", "half up", "half to even", "towards zero")
_TRUNCATED = ("down (floor)", "towards zero")


def _widths(thorough: bool) -> Iterator[tuple[int, int]]:
    """How many fraction bits more than the output weights and inputs may have; at length, each of
    them another number."""
    usual = (0, 1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4)
    yield from ((finer, finer) for finer in usual)
    if thorough:
        yield from ((finer, other) for finer in usual for other in usual if finer != other)


@dataclass(frozen=True)
class _End:
    """What happens to values beyond the type: ``integer`` bits before the point, and a sign or
    none."""

    integer: int | None = None
    """None: no value lies beyond it."""
    signed: bool = True
    wrap: bool = False
    needed: int = 0
    """The integer bits that the values take up."""

    @property
    def low(self) -> float:
        if self.integer is None:
            return -np.inf
        if self.signed:
            return -(2.0**self.integer)
        return 0.0

    def high(self, step: float) -> float:
        if self.integer is None:
            return np.inf
        return 2.0**self.integer - step

    def told(self, fraction: int) -> str:
        if self.integer is None:
            return f"; its values need {max(1, self.needed + fraction) + 1} bits including the sign"
        bits, kind = self.integer + self.signed, "ap_fixed" if self.signed else "ap_ufixed"
        word = f"{kind}<{bits + fraction},{bits}>, {bits + fraction} bits"
        return (
            f", {'wrapped' if self.wrap else 'clipped'} to {self.low:g} .. "
            f"{self.high(2.0**-fraction):g} ({word})"
        )

    @property
    def slug(self) -> str:
        if self.integer is None:
            return ""
        if self.wrap:
            return "wrap-around"
        return "saturation"


def _ended(
    case: Case,
    steps: Steps,
    inputs: tuple[np.ndarray, ...],
    fraction: int,
    mode: str,
    end: _End,
    claim: str,
    fitted: int,
) -> Edit:
    """The steps with their output on the grid and within the type."""
    step = 2.0**-fraction
    high = end.high(step)
    op = FixedPointGrid(step, mode, end.low, high + step if end.wrap else high, end.wrap)
    also = (
        *(("fixed-point",) if end.slug else ()),
        *(("rounding-mode",) if mode in _TRUNCATED else ()),
    )
    if end.slug:
        do = _wide_enough(case)
    else:
        do = "use more fraction bits" + (", and round to nearest" if mode in _TRUNCATED else "")
    steps = case.became_steps(steps).appended(op)
    return case.edit(
        claim + end.told(fraction), steps, inputs, fitted=fitted, do=do, main=end.slug, also=also
    )


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """(the largest, the smallest) of the finite values, 0 where there is none."""
    finite = values[np.isfinite(values)]
    if finite.size:
        return (float(finite.max()), float(finite.min()))
    return (0.0, 0.0)


def _ends(case: Case, fraction: int) -> list[_End]:
    """What the type may do beyond its ends, where the healthy values go beyond those seen: the
    narrowest types first."""
    top, bottom = _extremes(case.seen)
    healthy = case.pick(case.healthy)
    step = 2.0**-fraction
    integer = next(
        (i for i in range(-min(fraction, 4), 24) if -(2.0**i) <= bottom and top <= 2.0**i - step),
        24,
    )
    found = []
    for bits in (integer, integer + 1, integer + 2) if case.thorough else (integer, integer + 1):
        for signed in (True, False) if bottom >= 0 else (True,):
            end = _End(bits, signed)
            if ((healthy > end.high(step) + step) | (healthy < end.low - step)).any():
                found += [end, replace(end, wrap=True)]
    return found or [_End(needed=integer)]


@hypothesis("saturation")
def saturation(case: Case) -> Iterator[Edit]:
    """The type is too narrow and saturates: large values are clipped to its largest value.

    The width is read off the values.
    """
    if not case.comparable or case.seen.size < 2:
        return
    healthy, seen = case.pick(case.healthy), case.seen
    with np.errstate(all="ignore"):
        top, bottom = _extremes(seen)
        margin = 2.0**-16 * max(abs(top), abs(bottom))
        # A bound shows by elements that lie beyond it and were brought to it; at 0 it is a ReLU.
        over = int(((healthy > top + margin) & (seen == top)).sum()) > 0 and top != 0
        under = int(((healthy < bottom - margin) & (seen == bottom)).sum()) > 0
    choices = [
        (low, high)
        for low in ((bottom, -np.inf) if under else (-np.inf,))
        for high in ((top, np.inf) if over else (np.inf,))
    ]
    choices = [(low, high) for low, high in choices if low != 0 or np.isfinite(high)]
    for low, high in choices:
        if np.isfinite(low) or np.isfinite(high):
            count = int((healthy > high).sum() + (healthy < low).sum())
            edges = " and ".join(f"{end:.9g}" for end in (low, high) if np.isfinite(end))
            yield case.edit(
                f"values are clipped at {edges}{_width(low, high)}: {count} of {seen.size} values",
                case.appended(FixedPointGrid(0.0, "down (floor)", low, high)),
                fitted=int(np.isfinite(low)) + int(np.isfinite(high)),
                do=_wide_enough(case),
            )


def _wide_enough(case: Case) -> str:
    """The type that holds the layer's own values, with as many fraction bits as these show."""
    largest = float(np.abs(_extremes(case.pick(case.healthy))).max())
    integer = 1 + max(0, math.frexp(largest)[1])
    fraction = fraction_of(case.seen)
    width = "W" if fraction is None else f"{integer + fraction}"
    return (
        f"use a type that holds {largest:.6g}: {integer} integer bits with the sign, "
        f"ap_fixed<{width},{integer}>"
    )


def _width(low: float, high: float) -> str:
    """A type that has these ends, in words."""
    end = high if np.isfinite(high) else -low
    integer = int(np.ceil(np.log2(end))) if end > 0 else 0
    if not np.isfinite(high) or high <= 0:
        fraction = None
    else:
        fraction = fraction_of(np.array([2.0**integer - high]))
    if high == 2.0**integer:
        fraction = None
    more = "" if fraction is None else f" and {fraction} fraction bits"
    return f" ({integer} integer bits{more})"


@hypothesis("wrap-around")
def wrap_around(case: Case) -> Iterator[Edit]:
    """The type is too narrow and wraps: large values come back at the other end of its range, off
    by a power of two."""
    if not case.comparable:
        return
    with np.errstate(all="ignore"):
        largest = float(np.abs(_extremes(case.pick(case.healthy))).max())
    for integer in range(-4, 32):
        size = 2.0**integer
        if size > 2 * largest:
            break
        for low, told in ((-size, "signed"), (0.0, "unsigned")):
            high = low + (2 * size if low else size)
            yield case.edit(
                f"values wrap around into {low:g} .. {high:g} (a {told} type with {integer} "
                "integer bits)",
                case.appended(FixedPointGrid(0.0, "down (floor)", low, high, wrap=True)),
                do=_wide_enough(case),
            )
