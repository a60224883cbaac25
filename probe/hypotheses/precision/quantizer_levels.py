"""Mistakes with the levels of quantisers: other rounding, another's levels, levels missed by
numbers that were written out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from probe import ops
from probe.hypotheses.precision.rounding_modes import MODES, FixedPointGrid
from probe.hypotheses.registry import hypothesis, more
from probe.ops.weight import Grid, Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_MANY = 1 << 18
"""Weights from which on only the commonest text is tried in the common search."""
_SHIFTS = 14


@dataclass(frozen=True, eq=False)
class _RoundedLevels(ops.FakeQuantize):
    """The same levels, rounded by another mode, or first to 2**-shift of a step (halves up) and
    then away from zero."""

    mode: str = "half to even"
    shift: int = 0

    def codes(self, x: np.ndarray) -> np.ndarray:
        share = x / np.asarray(self.size, np.float64)
        if self.shift:
            share = np.floor(share * 2.0**self.shift + 0.5) / 2.0**self.shift
        codes: np.ndarray = MODES[self.mode](share) + np.asarray(self.zero_point, np.float64)
        return codes.clip(self.low, self.high)


def _rounded(op: ops.FakeQuantize, mode: str, shift: int = 0) -> _RoundedLevels:
    return _RoundedLevels(op.size, op.zero_point, op.low, op.high, mode=mode, shift=shift)


@more("rounding-mode")
def integer_levels(case: Case) -> Iterator[Edit]:
    """Integer levels rounded in another way, or twice.

    gemmlowp's integer kernels multiply the sum by 31 bits, round, shift and round again: what the
    first rounding brought to a half, the second takes a level too far.
    """
    for position, op in case.having(ops.FakeQuantize):
        do = "round once, halves to even"
        for mode in MODES:
            if mode != "half to even":
                yield case.edit(
                    f"values are rounded to levels {mode}",
                    case.with_op(position, _rounded(op, mode)),
                    do=do,
                )
        for shift in range(1, _SHIFTS + 1):
            steps = case.with_op(position, _rounded(op, "half away from zero", shift))
            yield case.edit(
                f"values are rounded twice: to 2^-{shift} of a level, then to a level", steps, do=do
            )


_NAMED = {
    "RND": "half up",
    "RND_CONV": "half to even",
    "RND_INF": "half away from zero",
    "TRN": "down (floor)",
    "TRN_ZERO": "towards zero",
}
"""What the modes of AMD's ap_fixed are called here."""


@more("rounding-mode")
def fixed_point_lanes(case: Case) -> Iterator[Edit]:
    """Fixed point with bits of its own for every element, rounded in another way: one quantiser of
    a layer, or all of them."""
    lanes = list(case.having(ops.FixedPoint))
    for rounding, mode in _NAMED.items():
        everywhere, count = case, 0
        for position, op in lanes:
            if op.rounding == rounding:
                continue
            do = (
                f"round {_NAMED.get(op.rounding, op.rounding)}, the quantiser's mode "
                f"({op.rounding})"
            )
            yield case.edit(
                f"the value quantised {op.summary(())} is rounded {mode}",
                case.changed(position, rounding=rounding),
                do=do,
            )
            everywhere, count = (
                everywhere.became_steps(everywhere.changed(position, rounding=rounding)),
                count + 1,
            )
        if count > 1:
            yield case.edit(
                f"all of its quantisers round {mode}",
                everywhere.steps,
                do="round with each quantiser's own mode",
            )


@more("rounding-mode")
def weights_on_grids(case: Case) -> Iterator[Edit]:
    """Weights with a step of their own for every element or channel, rounded in another way; what
    was clipped stays."""
    for weight in case.weights.values():
        if (
            weight.grid is None
            or weight.stored is None
            or np.size(weight.grid.scale) == 1
            or np.any(weight.grid.zero_point)
        ):
            continue
        if (
            weight.stored.shape != weight.effective.shape
            or weight.stored.dtype.kind != "f"
            or not np.all(weight.grid.scale)
        ):
            continue
        scale = np.broadcast_to(np.asarray(weight.grid.scale, np.float64), weight.stored.shape)
        share, levels = weight.stored / scale, np.rint(weight.effective / scale)
        rounded = {mode: way(share) for mode, way in MODES.items()}
        own = max(rounded, key=lambda mode: int((rounded[mode] == levels).sum()))
        for mode, other in rounded.items():
            values = np.where(rounded[own] == levels, other, levels) * scale
            if not np.array_equal(values, weight.effective):
                claim = f"{weight.name} is rounded {mode} to multiples of each value's own step"
                yield case.edit(claim, case.with_weights({weight.name: values}), do=f"round {own}")


@more("swapped-parameters")
def anothers_quantiser(case: Case) -> Iterator[Edit]:
    """A parameter quantised as another one is.

    A list of quantisers and a list of weights that are paired by their places, where one of the two
    lacks an entry.
    """
    held = [
        (weight, weight.grid, weight.stored)
        for weight in case.weights.values()
        if weight.grid is not None and weight.stored is not None
    ]
    held = [
        (weight, grid, stored)
        for weight, grid, stored in held
        if np.size(grid.scale) == 1 and not np.any(grid.zero_point)
    ]
    do = "match each parameter with its own quantiser by name"
    for (into, own, stored), (using, grid, _) in permutations(held, 2):
        if not _alike(own, grid):
            for values in _quantised(stored, grid):
                yield case.edit(
                    f"{into.name} is quantised with the quantiser of {using.name}",
                    case.with_weights({into.name: values}),
                    do=do,
                )
    for row, told in ((held, "before"), (held[::-1], "behind")) if len(held) > 2 else ():
        moved = [
            [(weight.name, values) for values in _quantised(stored, row[i][1])]
            for i, (weight, _, stored) in enumerate(row[1:])
        ]
        for arrays in product(*moved):
            names = ", ".join(name for name, _ in arrays)
            yield case.edit(
                f"{names}: each is quantised with the quantiser of the parameter {told} it",
                case.with_weights(dict(arrays)),
                do=do,
            )


def _alike(first: Grid, second: Grid) -> bool:
    return (first.bits, first.signed, np.ravel(first.scale)[0]) == (
        second.bits,
        second.signed,
        np.ravel(second.scale)[0],
    )


def _quantised(stored: np.ndarray, grid: Grid) -> list[np.ndarray]:
    """The stored values at another's levels; of a signed type without its lowest level too, where
    that matters."""
    scale, half = float(np.ravel(grid.scale)[0]), 2.0 ** (grid.bits - grid.signed)
    lows = (-half, 1 - half) if grid.signed else (0.0,)
    found = [
        FixedPointGrid(scale, "half to even", low * scale, (half - 1) * scale).f(
            stored.astype(np.float64)
        )
        for low in lows
    ]
    if np.array_equal(found[0], found[-1]):
        return found[:1]
    return found


@hypothesis("few-digits")
def few_digits(case: Case) -> Iterator[Edit]:
    """Weights were written as text with too few digits.

    C's ``%f`` writes six digits after the decimal point and ``%g`` six significant digits; a
    float32 needs nine significant digits (``%.9g``). When read into fixed point, a value that fell
    just below its level becomes the level below.
    """
    held = {
        name: weight
        for name, weight in case.weights.items()
        if weight.effective.dtype.kind == "f" and weight.effective.size
    }
    many = sum(weight.effective.size for weight in held.values()) > _MANY and not case.thorough
    do = "write the weights with nine significant digits (%.9g), or as integers or bytes"
    grids = [weight.grid for weight in held.values() if weight.grid is not None]
    for digits in (6,) if many else (6, 4, 3, 5, 2, 7):
        texts = {name: _behind_the_point(weight.effective, digits) for name, weight in held.items()}
        yield case.edit(
            f"the weights have {digits} digits after the decimal point",
            case.with_weights(texts),
            do=do,
        )
        if grids:
            cut = {name: _cut(text, held[name]) for name, text in texts.items()}
            claim = (
                f"the weights have {digits} digits after the decimal point and were truncated "
                "to the levels of their type"
            )
            yield case.edit(claim, case.with_weights(cut), do=do)
    for digits in () if many else (6, 5, 4, 3):
        texts = {name: _in_all(weight.effective, digits) for name, weight in held.items()}
        yield case.edit(
            f"the weights have {digits} significant digits", case.with_weights(texts), do=do
        )


def _behind_the_point(values: np.ndarray, digits: int) -> np.ndarray:
    return np.asarray(np.rint(values.astype(np.float64) * 10.0**digits) / 10.0**digits)


def _in_all(values: np.ndarray, digits: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        exponent = np.nan_to_num(np.floor(np.log10(np.abs(values.astype(np.float64)))), neginf=0.0)
    unit = 10.0 ** (exponent - digits + 1)
    return np.asarray(np.rint(values / unit) * unit)


def _cut(text: np.ndarray, weight: Weight) -> np.ndarray:
    """Numbers brought to the level below each, where the weight has levels."""
    return text if weight.grid is None else np.floor(text / weight.grid.scale) * weight.grid.scale
