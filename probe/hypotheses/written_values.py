"""No mistakes of the layer: its values, written with few digits, or as the integers of a fixed
point."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probe import ops
from probe.hypotheses.case import Case, Edit
from probe.hypotheses.registry import hypothesis
from probe.hypotheses.rounding_modes import MODES, FixedPoint
from probe.ops.base import Elementwise
from probe.ops.weight import Weight

__all__: list[str] = []

_MOST_DECIMALS, _MOST_DIGITS, _MOST_SHIFT = 9, 8, 31
_BITS = (8, 16, 32)
_ALIKE = 0.5
"""What the correlation with the healthy values must exceed."""
_FEWEST = 4
"""Different values that are needed to see either."""


@dataclass(frozen=True, eq=False)
class _Written(Elementwise):
    """Numbers rounded to so many decimals or, with ``significant``, to so many digits in all."""

    roundings = 0
    digits: int
    significant: bool = False

    def f(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            if not self.significant:
                return np.round(x, self.digits)
            exponents = np.floor(np.log10(np.where(x, np.abs(x), 1.0)))
            units = 10.0 ** np.nan_to_num(exponents - self.digits + 1, posinf=0.0)
            return np.where(np.isfinite(x), np.rint(x / units) * units, x)


@hypothesis("printed-digits")
def printed_digits(case: Case) -> Iterator[Edit]:
    """The values agree to the digits that they were written with, such as four decimals in a text
    file.

    This is no mistake of the layer, but a mistake smaller than the last digit would not show. C's
    ``%f`` and NumPy's ``print`` write too few digits; ``%.9g`` and ``np.savetxt`` write enough.
    """
    if not case.comparable or np.unique(case.seen).size < _FEWEST:
        return
    do = "write at least 9 significant digits (%.9g), or save an .npy file"
    for written, words in (
        (_least(case.seen, _MOST_DECIMALS, False), "decimals"),
        (_least(case.seen, _MOST_DIGITS, True), "significant digits"),
    ):
        if written is not None and not _holds(written, case.pick(case.healthy)):
            claim = f"your values agree to the {written.digits} {words} that they are written with"
            yield case.edit(claim, case.appended(written), do=do)


def _least(values: np.ndarray, most: int, significant: bool) -> _Written | None:
    """The fewest digits that write all values."""
    for digits in range(1 if significant else 0, most + 1):
        if _holds(written := _Written(digits, significant), values):
            return written
    return None


def _holds(written: _Written, values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool((np.abs(written.f(finite) - finite) <= 2.0**-50 * np.abs(finite)).all())


@hypothesis("integer-values")
def integer_values(case: Case) -> Iterator[Edit]:
    """The values are the integers of a fixed-point format: the output times a power of two.

    An int8 with 7 fraction bits holds the output times 128. Divided by that they agree; where the
    output lies between two integers, the rounding is named, and so is clipping to 8, 16 or 32 bits.
    """
    shift = _shift(case)
    if shift is None:
        return
    seen = case.seen[np.isfinite(case.seen)]
    for bits in (shift, shift + 1):  # what is clipped looks like a smaller factor
        step = 2.0**-bits
        times = ops.MulConstant(Weight("factor", None, np.array(2.0**bits)))
        claim = f"your values are integers: the output times {2**bits}"
        do = f"divide your values by {2**bits} before you compare"
        modes = _modes(case.pick(case.healthy) / step)
        if bits == shift:
            yield case.edit(claim, case.appended(times), fitted=1, do=do)
        for low, high, clipped in _ranges(seen):
            for mode, words in modes.items():
                fixed = FixedPoint(step, mode, low * step, high * step)
                steps = case.appended(fixed, times)
                if words or clipped:
                    yield case.edit(f"{claim}{words}{clipped}", steps, fitted=1, do=do)


def _modes(values: np.ndarray) -> dict[str, str]:
    """The roundings that give different integers, with what is said of each: nothing where the
    values are integers."""
    groups: dict[bytes, list[str]] = {}
    for mode, rounded in MODES.items():
        groups.setdefault(rounded(values).tobytes(), []).append(mode)
    if len(groups) == 1:
        return {next(iter(MODES)): ""}
    return {
        modes[0]: f", rounded {modes[0] if len(modes) == 1 else 'to the nearest'}"
        for modes in groups.values()
    }


def _shift(case: Case) -> int | None:
    """The k >= 1 for which the values are integers nearest to 2**k times the healthy ones; None
    where they are no integers, or the healthy ones are integers, too."""
    if not case.comparable:
        return None
    seen, healthy = case.seen, case.pick(case.healthy)
    finite = np.isfinite(seen) & np.isfinite(healthy)
    seen, healthy = seen[finite], healthy[finite]
    if np.unique(seen).size < _FEWEST or (seen != np.rint(seen)).any():
        return None
    if (healthy == np.rint(healthy)).all():
        return None
    squares, products = float(seen @ seen), float(seen @ healthy)
    if not products > _ALIKE * np.sqrt(squares * float(healthy @ healthy)):
        return None
    apart = [4.0**-k * squares - 2 * 2.0**-k * products for k in range(_MOST_SHIFT + 1)]
    return int(np.argmin(apart)) or None


def _ranges(seen: np.ndarray) -> Iterator[tuple[float, float, str]]:
    """The ends of a type that the values reach, and no ends."""
    yield -np.inf, np.inf, ""
    for bits in _BITS:
        for low, high in ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), (0, 2**bits - 1)):
            if (
                low <= seen.min()
                and seen.max() <= high
                and (seen.max() == high or (low and seen.min() == low))
            ):
                yield low, high, f", clipped to {low} .. {high}"
