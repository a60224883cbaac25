"""No mistakes of the layer: its values, written with few digits, or as the integers of a format
with a scale."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probe import ops
from probe.hypotheses.precision.rounding_modes import MODES, FixedPointGrid
from probe.hypotheses.registry import hypothesis, more
from probe.numerics.precision import Precision
from probe.ops.base import Elementwise, Evaluated
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_MOST_DECIMALS, _MOST_DIGITS, _MOST_SHIFT = 9, 8, 31
_BITS = (8, 16, 32)
_ALIKE = 0.5
"""What the correlation with the healthy values must exceed."""
_SOME = 1 << 12
_LAST_BITS = 2.0**-50
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

    def _moved(self, x: np.ndarray, y: np.ndarray, slack: np.ndarray) -> np.ndarray:
        # held in float32, where a decimal step may come out shorter than it is
        return super()._moved(x, y, slack) * (1 + 2.0**-20)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        # a decimal number is no binary one: ours may be the neighbour of the one that was read
        (bound,) = super().error_bound(of, precision)
        return (bound + _LAST_BITS * np.abs(of.outputs[0]),)


@hypothesis("printed-digits")
def printed_digits(case: Case) -> Iterator[Edit]:
    """The values agree to the digits that they were written with, such as four decimals in a text
    file.

    This is no mistake of the layer, but a mistake smaller than the last digit would not show. C's
    ``%f`` and NumPy's ``print`` write too few digits; ``%.9g`` and ``np.savetxt`` write enough.
    """
    yield from _agreeing(case, _least(case.seen, _MOST_DECIMALS, False), "decimals")


@more("printed-digits")
def significant_digits(case: Case) -> Iterator[Edit]:
    """Digits counted from the first that is not 0."""
    yield from _agreeing(case, _least(case.seen, _MOST_DIGITS, True), "significant digits")


def _agreeing(case: Case, written: _Written | None, words: str) -> Iterator[Edit]:
    if (
        written is not None
        and case.comparable
        and np.unique(_some(case.seen)).size >= _FEWEST
        and not _holds(written, case.pick(case.healthy))
    ):
        yield case.edit(
            f"your values agree to the {written.digits} {words} that they are written with",
            case.appended(written),
            do="write at least 9 significant digits (%.9g), or save an .npy file",
        )


def _least(values: np.ndarray, most: int, significant: bool) -> _Written | None:
    """The fewest digits that write all values."""
    if values.size > _SOME:
        few = _least(_some(values), most, significant)
        if few is None or _holds(few, values):
            return few
    for digits in range(1 if significant else 0, most + 1):
        if _holds(written := _Written(digits, significant), values):
            return written
    return None


def _holds(written: _Written, values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool((np.abs(written.f(finite) - finite) <= _LAST_BITS * np.abs(finite)).all())


@hypothesis("raw-integers")
def raw_integers(case: Case) -> Iterator[Edit]:
    """The values are integers that were not multiplied by their scale: those of a fixed-point
    format, or of a quantised tensor.

    An int8 with 7 fraction bits holds the output times 128; a quantised tensor holds it divided by
    its scale, plus a zero point. With the scale undone they agree; where the output lies between
    two integers, the rounding is named, and so is clipping to 8, 16 or 32 bits.
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
        rounded = _rounded(case.pick(case.healthy) / step)
        yield case.edit(claim, case.appended(times), fitted=1, do=do)
        for low, high, clipped in _ranges(float(seen.min()), float(seen.max())):
            for mode, words in rounded.items():
                fixed = FixedPointGrid(step, mode, low * step, high * step)
                steps = case.appended(fixed, times)
                yield case.edit(f"{claim}{words}{clipped}", steps, fitted=1, do=do)


@more("raw-integers")
def of_any_scale(case: Case) -> Iterator[Edit]:
    """A scale that is no power of two, and a zero point."""
    found = _codes(case)
    if found is None:
        return
    codes, healthy = found
    for low, high, clipped in _ranges(float(codes.min()), float(codes.max())):
        inside = (low < codes) & (codes < high)
        x, y = healthy[inside], codes[inside]
        if x.size < _MORE_THAN_FITTED or not np.ptp(x):
            continue
        around, off = x - x.mean(), y - y.mean()
        products, square = float(around @ off), float(around @ around)
        if not products > _ALIKE * np.sqrt(square * float(off @ off)):
            return
        near = np.rint(y.mean() - products / square * x.mean())
        for zero in dict.fromkeys((0.0, near, near - 1, near + 1)):
            for mode, (least, most) in _BEYOND.items():
                scale = _scale(x, y - zero, least, most, mode == "towards zero")
                if scale is None or (not zero and np.frexp(scale)[0] == 0.5):
                    continue
                plus = f" plus {zero:g}" if zero else ""
                times = ops.MulConstant(Weight("factor", None, np.array(1 / scale)))
                added = ops.AddConstant(Weight("zero point", None, np.array(zero)))
                fixed = FixedPointGrid(scale, mode, (low - zero) * scale, (high - zero) * scale)
                yield case.edit(
                    f"your values are integers: the output divided by {scale:.9g}{plus}, "
                    f"rounded {'to the nearest' if mode == 'half to even' else mode}{clipped}",
                    case.appended(fixed, times, added),
                    fitted=1 + bool(zero),
                    do=f"{f'subtract {zero:g}, then ' if zero else ''}multiply your values by "
                    f"{scale:.9g} before you compare",
                )
                return


_MORE_THAN_FITTED = 8
"""Values between the ends that are needed to see a scale."""
_BEYOND = {"half to even": (-0.5, 0.5), "down (floor)": (0.0, 1.0), "towards zero": (0.0, 1.0)}
"""By how much a value may lie beyond its integer; of the last as magnitudes."""
_TIES = 1e-6
"""What rounding may add to that, as a share of the largest integer."""


def _scale(
    x: np.ndarray, codes: np.ndarray, least: float, most: float, magnitudes: bool
) -> float | None:
    """The number by which x is divided where it gives these integers: a power of two, or else that
    of the fewest digits."""
    if magnitudes:
        x, codes = np.abs(x), np.abs(codes)
    ties = _TIES * (1 + float(np.abs(codes).max()))
    with np.errstate(all="ignore"):
        ends = np.stack([(codes + least - ties) / x, (codes + most + ties) / x])[:, x != 0]
    low, high = float(ends.min(axis=0).max()), float(ends.max(axis=0).min())
    if not 0 < low <= high:
        return None
    middle = 2 / (low + high)
    power = float(2.0 ** np.rint(np.log2(middle)))
    shorter = [power, *(float(f"{middle:.{digits}g}") for digits in range(1, 10))]
    return next((scale for scale in shorter if low <= 1 / scale <= high), middle)


def _rounded(values: np.ndarray) -> dict[str, str]:
    """What is said of each rounding: the same of those that give the same integers."""
    integers = {mode: rounded(values).tobytes() for mode, rounded in MODES.items()}
    alike = [*integers.values()]
    if len(set(alike)) == 1:
        return dict.fromkeys(MODES, "")
    return {
        mode: f", rounded {mode if alike.count(codes) == 1 else 'to the nearest'}"
        for mode, codes in integers.items()
    }


def _ranges(least: float, most: float) -> Iterator[tuple[float, float, str]]:
    """No ends, and those of the narrowest signed and unsigned type; what is said of them where the
    values reach them."""
    yield -np.inf, np.inf, ""
    for signed in (True, False):
        ends = [
            (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            for bits in _BITS
        ]
        low, high = next((end for end in ends if end[0] <= least and most <= end[1]), ends[-1])
        reached = most == high or (signed and least == low)
        yield low, high, f", clipped to {low} .. {high}" * reached


def _some(values: np.ndarray) -> np.ndarray:
    """A few of many values, finite ones: most arrays are passed over by these."""
    few: np.ndarray = values[:: -(-values.size // _SOME) or 1]
    return np.asarray(few[np.isfinite(few)])


def _integers(values: np.ndarray) -> bool:
    return bool((values == np.rint(values)).all())


def _codes(case: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """The finite values and the healthy ones there, where the values are integers and the healthy
    ones are not; None where that is not so, or the values are too few."""
    if not case.comparable or not _integers(_some(case.seen)):
        return None
    healthy = case.pick(case.healthy)
    finite = np.isfinite(case.seen) & np.isfinite(healthy)
    codes, healthy = case.seen[finite], healthy[finite]
    if not _integers(codes) or _integers(healthy) or np.unique(_some(codes)).size < _FEWEST:
        return None
    return codes, healthy


def _shift(case: Case) -> int | None:
    """The k >= 1 for which the values are integers nearest to 2**k times the healthy ones; None
    where there is none."""
    found = _codes(case)
    if found is None:
        return None
    seen, healthy = found
    squares, products = float(seen @ seen), float(seen @ healthy)
    if not products > _ALIKE * np.sqrt(squares * float(healthy @ healthy)):
        return None
    apart = [4.0**-k * squares - 2 * 2.0**-k * products for k in range(_MOST_SHIFT + 1)]
    return int(np.argmin(apart)) or None
