"""How B's numbers follow from A's: up to rounding, and up to a factor for each row, which a batch
normalisation that was folded in leaves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probe.weights_read_back.orders import order_in_words

__all__ = ["STEPS", "RoundingBetween", "relation"]

_DIGITS = 1e-5
"""How far entries may lie apart that went through several roundings of float32, as a share of the
largest in their row."""
STEPS = 0.51
"""How far a rounding to integers may move a number, in steps."""
_TOLD = 1e-4
"""A factor or shift is told where it is one by that much."""
_LARGE = 1 << 13
"""Of so many slices the order is looked for."""
_SHIFTS = 4
"""By so many places at most slices are shifted."""
_SHIFTED = 3
"""So many slices at least are the same ones."""
_DIRECTIONS = 24
_LEVELS, _PER_LEVEL = 64, 4
"""Numbers of so few values, of which the other side has so many times as many, were rounded."""


@dataclass(frozen=True, eq=False)
class RoundingBetween:
    """What may lie between numbers that correspond."""

    unit: float = 0.0
    """The unit roundoff of the type that one of them was rounded to."""
    step: np.ndarray | None = None
    """Of integers, what they are multiples of."""

    def covers(self, made: np.ndarray, b: np.ndarray) -> bool:
        """Whether B's numbers are those that were made of A's."""
        return bool(self.between(made, b, _DIGITS, 2.5).all())

    def between(self, a: np.ndarray, b: np.ndarray, digits: float, roundings: float) -> np.ndarray:
        """Which numbers are the same but for rounding: ``digits`` of the largest in their row, and
        so many ``roundings`` of the narrower type."""
        with np.errstate(all="ignore"):
            sizes = np.maximum(np.abs(a), np.abs(b))
            room = digits * _largest(sizes) + roundings * self.unit * sizes
            if self.step is not None:
                room = room + STEPS * self.step
            return np.asarray((np.abs(a - b) <= room) | (a == b))


def _largest(sizes: np.ndarray) -> np.ndarray:
    """In each row."""
    finite = np.where(np.isfinite(sizes), sizes, 0.0)
    return np.asarray(finite.max(axis=tuple(range(1, sizes.ndim)), keepdims=True, initial=0.0))


def relation(
    a: np.ndarray,
    b: np.ndarray,
    other: np.ndarray,
    rounding: RoundingBetween | None = None,
    gains: Sequence[tuple[str, np.ndarray]] = (),
) -> str:
    """How B's numbers follow from A's, where they do simply. ``other`` are the places where they
    differ; ``gains`` are factors for each channel that normalisations nearby hold, by their
    names."""
    rounding = rounding or RoundingBetween()
    return next(_relations(a, b, other, rounding, gains), "")


def _relations(
    a: np.ndarray,
    b: np.ndarray,
    other: np.ndarray,
    rounding: RoundingBetween,
    gains: Sequence[tuple[str, np.ndarray]],
) -> Iterator[str]:
    yield from _number(a, b, other)
    yield from _in_fewer_levels(a, b)
    if a.ndim >= 2:
        yield from _held(a, b, rounding, gains, "B's are A's")
        for axes in ((0, 1), (-2, -1)):
            turned = a.swapaxes(*axes)
            if turned.shape == b.shape and min(a.shape[axis] for axis in axes) > 1:
                yield from _held(turned, b, rounding, gains, "B's are A's with two axes exchanged")
        flipped = np.flip(a, tuple(range(min(2, a.ndim - 1), a.ndim)))
        yield from _held(flipped, b, rounding, gains, "B's are A's in reverse order")
    for axis in range(a.ndim):
        yield from _ordered(a, b, axis, rounding, gains)
    for axis in range(a.ndim):
        yield from _shifted(a, b, axis, rounding)


def _number(a: np.ndarray, b: np.ndarray, other: np.ndarray) -> Iterator[str]:
    """One factor, or one number added."""
    with np.errstate(all="ignore"):
        ratio, shift = b[other] / a[other], b[other] - a[other]
        if _is_one_number(ratio) and ratio.all():
            factor = float(np.median(ratio))
            if f"{factor:.6g}" == "1":
                yield f"B's are A's within {np.abs(ratio - 1).max():.1g} of them: rounding"
            yield f"B's are {factor:.6g} times A's there"
        if shift.size > 1 and _is_one_number(shift):
            yield f"B's are A's plus {float(np.median(shift)):.6g} there"


def _in_fewer_levels(a: np.ndarray, b: np.ndarray) -> Iterator[str]:
    """A's numbers rounded to far fewer values than they take."""
    levels = np.unique(b)
    if not 2 < len(levels) <= _LEVELS or len(np.unique(a)) < _PER_LEVEL * len(levels):
        return
    gap = float(np.diff(levels).max())
    if (np.abs(a - b) <= 1.02 * gap).all() and np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8:
        yield (
            f"B's take {len(levels)} values, {np.median(np.diff(levels)):.3g} apart: A's rounded "
            "to fewer bits"
        )


def _is_one_number(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and np.ptp(values) <= _TOLD * np.abs(values).max())


def _held(
    made: np.ndarray,
    b: np.ndarray,
    rounding: RoundingBetween,
    gains: Sequence[tuple[str, np.ndarray]],
    words: str,
) -> Iterator[str]:
    """The words where B's numbers are these, or are with a factor for each row, or for each row and
    each column."""
    if rounding.covers(made, b):
        yield words
        return
    if made.ndim < 2:
        return
    for axis in dict.fromkeys((0, made.ndim - 1 if made.ndim == 2 else 0)):
        factors = _factors(made, b, axis)
        if factors is not None and rounding.covers(made * factors, b):
            name = "row" if axis == 0 else "column"
            yield f"{words}, each {name} {_of_gains(factors.ravel(), gains)}"
            return
    rows = _factors(made, b, 0)
    columns = None if rows is None else _of_rank_one(made, b)
    if columns is not None and rounding.covers(made * columns, b):
        yield f"{words}, each row and each column times a factor of its own: folded otherwise"


def _factors(made: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray | None:
    """The factor for each slice along an axis that brings one array next to the other; None where
    slices of few elements would fit by chance."""
    others = tuple(k for k in range(made.ndim) if k != axis)
    if made.size < 3 * made.shape[axis]:
        return None
    with np.errstate(all="ignore"):
        squares = np.square(made).sum(axis=others, keepdims=True)
        factors = (made * b).sum(axis=others, keepdims=True) / squares
    return np.where(np.isfinite(factors), factors, 1.0)


def _of_rank_one(made: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """A factor for each place of the first two axes that is one of its row times one of its
    column."""
    count, width = made.shape[:2]
    if min(count, width) < 3:
        return None
    left, right = (array.reshape(count, width, -1) for array in (made, b))
    with np.errstate(all="ignore"):
        ratio = (left * right).sum(axis=2) / np.square(left).sum(axis=2)
        middle = np.unravel_index(int(np.abs(left).sum(axis=2).argmax()), ratio.shape)
        factors = ratio[:, middle[1], None] * ratio[None, middle[0]] / ratio[middle]
    if not np.isfinite(factors).all():
        return None
    return np.asarray(factors).reshape(count, width, *[1] * (made.ndim - 2))


def _of_gains(factors: np.ndarray, gains: Sequence[tuple[str, np.ndarray]]) -> str:
    """Factors of rows in words: of a normalisation that is known, or as numbers."""
    for name, gain in gains:
        if gain.shape != factors.shape:
            continue
        for values, words in (
            (gain, f"times its factor in {name}, which is folded in once more"),
            (1 / gain, f"divided by its factor in {name}, which is not folded in"),
        ):
            if np.allclose(values, factors, rtol=1e-3, atol=0):
                return words
    some = ", ".join(f"{factor:.4g}" for factor in factors[:3])
    return f"times a factor of its own ({some}, ...)"


def _ordered(
    a: np.ndarray,
    b: np.ndarray,
    axis: int,
    rounding: RoundingBetween,
    gains: Sequence[tuple[str, np.ndarray]],
) -> Iterator[str]:
    """The slices along an axis in another order."""
    origin = _origin(a, b, axis)
    if origin is None or np.array_equal(origin, np.arange(len(origin))):
        return
    moved = int((origin != np.arange(len(origin))).sum())
    words = f"B's are A's with {moved} of {len(origin)} places of axis {axis} exchanged"
    order = order_in_words(origin)
    made = np.take(a, origin, axis)
    yield from _held(made, b, rounding, gains, f"{words}: {order}" if order else words)


def _shifted(a: np.ndarray, b: np.ndarray, axis: int, rounding: RoundingBetween) -> Iterator[str]:
    """The slices along an axis some places further on, with others at the end."""
    left, right = (np.moveaxis(array, axis, 0) for array in (a, b))
    for by in range(1, _SHIFTS + 1):
        if len(left) < _SHIFTED + by or (a.ndim == 1 and len(left) < 4 * _SHIFTED):
            return
        for shift, kept, held in ((by, left[:-by], right[by:]), (-by, left[by:], right[:-by])):
            if np.ptp(kept) and RoundingBetween(rounding.unit).covers(kept, held):
                yield (
                    f"B's are A's shifted by {shift} along axis {axis}, with others in the "
                    f"{'first' if shift > 0 else 'last'} place{'s' * (by > 1)}"
                )


def _origin(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray | None:
    """Which slice of A along an axis each of B's is, but for a factor; None where some are none."""
    count = a.shape[axis]
    if not 1 < count <= _LARGE:
        return _of_equal_bits(a, b, axis)
    left, right = (np.moveaxis(array, axis, 0).reshape(count, -1) for array in (a, b))
    if left.shape[1] < 3:
        return _of_equal_bits(a, b, axis) if a.ndim > 1 else _of_sizes(a, b)
    mine, theirs = map(_directed, (left, right))
    origin = np.empty(count, np.intp)
    for start in range(0, count, 512):
        alike = np.abs(theirs[start : start + 512] @ mine.T)
        part = np.arange(start, min(start + 512, count))
        alike[part - start, part] += 1e-9  # of equal slices the one at the same place
        origin[part] = alike.argmax(axis=1)
    zero = [np.flatnonzero(~side.any(axis=1)) for side in (mine, theirs)]
    if len(zero[0]) == len(zero[1]):
        origin[zero[1]] = zero[0]
    if len(np.unique(origin)) < count:
        return None
    return origin


def _of_sizes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same of single numbers: in the order of their sizes."""
    equal = _of_equal_bits(a, b, 0)
    if equal is not None:
        return equal
    origin = np.empty(len(a), np.intp)
    origin[np.argsort(b, kind="stable")] = np.argsort(a, kind="stable")
    return origin


def _directed(rows: np.ndarray) -> np.ndarray:
    """The directions of rows, in fewer dimensions where they have many."""
    wide = np.where(np.isfinite(rows), rows, 0.0).astype(np.float64)
    if wide.shape[1] > _DIRECTIONS:
        wide = wide @ np.random.default_rng(0).standard_normal((wide.shape[1], _DIRECTIONS))
    norms = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0))


def _of_equal_bits(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray | None:
    """The same of slices that are too many, or too short to have a direction: those of equal
    numbers."""
    left, right = (
        np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float32)
        for array in (a, b)
    )
    places = {row.tobytes(): k for k, row in enumerate(left)}
    order = [places.get(row.tobytes(), -1) for row in right]
    if len(places) == len(left) and sorted(order) == list(range(len(left))):
        return np.array(order)
    return None
