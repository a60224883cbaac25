"""The factors between RGB and luma and chroma, as those of another standard or range: a camera's
code takes those of JPEG for those of BT.601, or those of high definition."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.held_numbers import HeldNumber, numbers_of, with_numbers
from probe.hypotheses.registry import more
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_LUMA = {
    "BT.601": (0.299, 0.114),
    "BT.709": (0.2126, 0.0722),
    "BT.2020": (0.2627, 0.0593),
}
"""The shares of red and of blue in the luma (ITU-R BT.601-7, BT.709-6, BT.2020-2)."""
_SCALES = (*(2.0**bits for bits in range(17)), 255.0, 1000.0, 10000.0)
_DIGITS = range(2, 8)


class _Standard(NamedTuple):
    """The factors of a conversion, and what it subtracts from or adds to luma."""

    name: str
    factors: np.ndarray
    offset: float = 0.0
    """In steps of 8 bits."""


def _decoding() -> list[_Standard]:
    """Luma and chroma to RGB: luma's factor, V's in red, U's and V's in green, U's in blue."""
    found = []
    for name, (red, blue) in _LUMA.items():
        green = 1 - red - blue
        v, u = 2 * (1 - red), 2 * (1 - blue)
        factors = np.array([1.0, v, u * blue / green, v * red / green, u])
        limited = factors * [255 / 219, *4 * [255 / 224]]
        found.append(_Standard(f"{name} for luma from 16 to 235", limited, 16.0))
        found.append(_Standard(f"{name} for luma from 0 to 255 (JPEG's range)", factors))
    return found


def _encoding() -> list[_Standard]:
    """RGB to luma and chroma: the rows of luma, U and V."""
    found = []
    for name, (red, blue) in _LUMA.items():
        y = np.array([red, 1 - red - blue, blue])
        u, v = ([0, 0, 1] - y) / (2 - 2 * blue), ([1, 0, 0] - y) / (2 - 2 * red)
        rows = np.concatenate([y, np.abs(u), np.abs(v)])
        limited = rows * np.repeat([219 / 255, 224 / 255, 224 / 255], 3)
        found.append(_Standard(f"{name} for luma from 16 to 235", limited, 16.0))
        found.append(_Standard(f"{name} for luma from 0 to 255 (JPEG's range)", rows))
    return found


def _grey() -> list[_Standard]:
    """RGB to luma alone."""
    found = [
        _Standard(name, np.array([red, 1 - red - blue, blue]))
        for name, (red, blue) in _LUMA.items()
    ]
    return [*found, _Standard("a mean of the three colours", np.full(3, 1 / 3))]


def _differences() -> list[_Standard]:
    """RGB to luma, and the differences of blue and of red from that to U and V."""
    return [
        _Standard(name, np.array([red, 1 - red - blue, blue, 0.5 / (1 - blue), 0.5 / (1 - red)]))
        for name, (red, blue) in _LUMA.items()
    ]


_FAMILIES = (_decoding(), _encoding(), _differences(), _grey())


@more("changed-step")
def other_colour_standard(case: Case) -> Iterator[Changes]:
    """Factors of colours of another standard or range."""
    yield Changes(_others, "changed-step", PARTS)


def _others(case: Case) -> Iterator[Change]:
    numbers = [x for x in numbers_of(case) if x.value]
    for family in _FAMILIES:
        for own, other in permutations(family, 2):
            for exchanged in _exchanged(numbers, own, other):
                what = f"the factors are those of {other.name}, not of {own.name}"
                yield with_numbers(case, exchanged, what)


def _exchanged(
    numbers: Sequence[HeldNumber], own: _Standard, other: _Standard
) -> Iterator[Mapping[HeldNumber, float]]:
    """The numbers of one standard as those of another, with as many digits or more; nothing where
    they are not of that one."""
    for scale in _SCALES:
        all_digits = (0,) if scale > 1 else _DIGITS
        for digits in all_digits:
            have = np.round(own.factors * scale, digits)
            if not _stand_among(numbers, have, scale):
                continue
            for kept in (count for count in all_digits if count >= digits):
                exchanged = _matched(numbers, have, np.round(other.factors * scale, kept), scale)
                if exchanged is not None:
                    yield exchanged | _offset(numbers, own, other)
            return


def _stand_among(numbers: Sequence[HeldNumber], have: np.ndarray, scale: float) -> bool:
    """Whether all factors of a standard stand among the numbers; 1 may be left unwritten."""
    if scale > 1 and have.min() < _LEAST:
        return False
    return all(_equal(numbers, factor) or factor == scale for factor in have.tolist())


def _equal(numbers: Sequence[HeldNumber], factor: float) -> list[HeldNumber]:
    return [x for x in numbers if abs(abs(x.value) - factor) <= 1e-6 * factor]


def _matched(
    numbers: Sequence[HeldNumber], have: np.ndarray, take: np.ndarray, scale: float
) -> dict[HeldNumber, float] | None:
    """Which numbers become which; None where one must that is not written."""
    exchanged: dict[HeldNumber, float] = {}
    for old, new in zip(have.tolist(), take.tolist(), strict=True):
        found = _equal(numbers, old) if old != new else []
        if old != new and not found:
            return None
        exchanged |= {x: np.copysign(new, x.value) for x in found}
    return exchanged or None


_LEAST = 10
"""From which integer on a factor of few bits tells what standard it is of."""


def _offset(
    numbers: Sequence[HeldNumber], own: _Standard, other: _Standard
) -> dict[HeldNumber, float]:
    """What is taken off the luma, or added to it."""
    if own.offset == other.offset:
        return {}
    return {
        x: np.copysign(other.offset * abs(x.value) / own.offset, x.value)
        for x in numbers
        if own.offset and min(abs(abs(x.value) - own.offset / unit) for unit in (1, 255)) < 1e-4
    }
