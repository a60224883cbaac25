"""Where the error sits, in words, for when no known mistake explains it, and what in it no rounding
leaves."""

import math
from collections.abc import Iterator

import numpy as np

from probe.ops.base import Indices
from probe.ops.step import Ref
from probe.trial.case import Case

__all__ = ["unlike_rounding", "where_it_sits"]

_LOOKED_AT = 1 << 16
"""How many values of a large output lines are fitted to."""
_FEW, _MOST, _EACH = 0.25, 0.9, 16
"""An error with that share of its squares in so few places of an axis, of so many elements each,
keeps to them."""
_SMOOTH, _BINS = 0.1, 32
"""The share of an error's squares from which on it is a function of another number, looked at in so
many ranges of that."""
_ELEMENTS = 1 << 12
"""How many elements of a channel the products are looked at of."""
_SIGMAS = 6.0
"""How improbable it has to be that rounding leaves that."""
_OF_CONSTANTS = 1e-5
"""The share of the largest value up to which a difference may be that of a computed constant."""
_SPATIAL = {"depth", "height", "width", "length", "time"}
"""Axes along which Winograd's tiles mix large numbers with small ones."""


def unlike_rounding(case: Case, allowed: np.ndarray) -> str:
    """What another order of summation does not do to the values, in words; empty where it could.

    Errors of rounding are spread as the allowance is, and follow none of the layer's numbers.
    """
    with np.errstate(all="ignore"):
        error = (case.observed - case.healthy) / allowed
    error = np.where(np.isfinite(error), error, 0.0)
    if error.any():
        return next(_unlike_rounding(case, error), "")
    return ""


def _unlike_rounding(case: Case, error: np.ndarray) -> Iterator[str]:
    for axis, size in enumerate(error.shape if case.known is None else ()):
        energy = np.square(error).sum(axis=tuple(i for i in range(error.ndim) if i != axis))
        order = np.argsort(energy)[::-1]
        share = np.cumsum(energy[order]) / energy.sum()
        few = order[: 1 + int(np.argmax(share > _MOST))]
        spread = error.size < _EACH * size or len(few) > _FEW * size
        if not spread and _name(case, axis) not in _SPATIAL:
            told = ", ".join(map(str, few[:4])) + (", ..." if len(few) > 4 else "")
            yield f"along {_name(case, axis)}, most of it is at index {told} (of 0..{size - 1})"
    for tensor, told in _tensors(case):
        if (share := _followed(case.pick(tensor), case.pick(error))) > _SMOOTH:
            yield f"{share:.0%} of it (squared) is a function of {told}"
    likeness = max(_along_products(case, error), default=0.0)
    if likeness:
        yield f"it follows one of the products that are summed (r = {likeness:.2f})"


def _tensors(case: Case) -> Iterator[tuple[np.ndarray, str]]:
    """Tensors of the output's shape, the output first."""
    inputs = [(x, f"input {i}") for i, x in enumerate(case.inputs)]
    values = [(made[0], f"the value of step {i}") for i, made in enumerate(case.values[:-1])]
    for x, told in ((case.healthy, "the output"), *inputs, *values):
        if x.shape == case.healthy.shape and x.dtype.kind == "f":
            yield x, told


def _followed(x: np.ndarray, error: np.ndarray) -> float:
    """The share of the error's squares that its means over ranges of x make up; 0 where chance
    may do that."""
    step = 1 + x.size // _LOOKED_AT
    x, error = x[::step], error[::step]
    bins = min(_BINS, x.size // _EACH)
    if bins < 2:
        return 0.0
    ranges = np.array_split(error[np.argsort(x, kind="stable")], bins)
    share = sum(part.size * part.mean() ** 2 for part in ranges) / float(error @ error)
    return share if share * x.size > bins + _SIGMAS * math.sqrt(2 * bins) else 0.0


def _along_products(case: Case, error: np.ndarray) -> Iterator[float]:
    """How the error correlates with the likest of the products behind the elements that share an
    index with the worst one, axis by axis, where that is more than chance."""
    worst = np.unravel_index(int(np.abs(error).argmax()), error.shape)
    for axis, at in enumerate(worst):
        beside = np.flatnonzero(np.broadcast_to(_numbers(error.shape, axis) == at, error.shape))
        beside = beside[:: 1 + beside.size // _ELEMENTS]
        where = np.unravel_index(beside, error.shape)
        if beside.size < _EACH or (terms := _products(case, where)) is None:
            continue
        e = error[where] - error[where].mean()
        t = terms - terms.mean(axis=0)
        with np.errstate(all="ignore"):
            r = np.abs(e @ t) / np.sqrt(np.square(t).sum(axis=0) * (e @ e))
        likest = float(np.nan_to_num(r).max(initial=0.0))
        if likest * math.sqrt(beside.size) > _SIGMAS:
            yield likest


def _numbers(shape: tuple[int, ...], axis: int) -> np.ndarray:
    return np.arange(shape[axis]).reshape(-1, *(1,) * (len(shape) - axis - 1))


def _products(case: Case, where: Indices) -> np.ndarray | None:
    """What is summed for each of these elements of the output by the last sum, (elements, terms);
    None where each is not made of one sum."""
    for position in range(len(case.steps) - 1, -1, -1):
        op, sources = case.steps[position].op, case.steps[position].sources(position)
        given = [case.input_of(position, i) for i in range(len(sources))]
        if op.terms is not None:
            return np.asarray(op.terms(given, where)).reshape(len(where[0]), -1)
        if sources == (Ref(position - 1),):
            origin = op.input_index(where, given)
        else:
            origin = None
        if origin is None:
            return None
        where = origin
    return None


def where_it_sits(case: Case, allowed: np.ndarray) -> tuple[str, ...]:
    """Sentences about the difference: its share, channels, border, sign, growth, best line,
    distinct values."""
    if not case.comparable:
        return tuple(_of_shapes(case))
    with np.errstate(invalid="ignore"):
        error = case.observed - case.healthy
    if not error.size:
        return ()
    odd = ~np.isfinite(error) & ~(
        (case.observed == case.healthy) | (np.isnan(case.observed) & np.isnan(case.healthy))
    )
    if case.known is not None:
        odd &= case.known
    if odd.any():
        place = ", ".join(map(str, np.argwhere(odd)[0].tolist()))
        return (
            (
                f"NaN or inf at {int(odd.sum())} of {odd.size} elements where NumPy has "
                f"another value; the first is [{place}]"
            ),
        )
    error = np.where(np.isfinite(error), error, 0.0)
    allowed = np.broadcast_to(allowed, error.shape)
    places = [np.arange(size) for size in error.shape]
    if case.known is not None:  # a number or a slice for each axis
        places = [np.unique(indices) for indices in np.nonzero(case.known)]
        error, allowed = error[np.ix_(*places)], allowed[np.ix_(*places)]
    return tuple(_told(case, error, allowed, places))


def _told(
    case: Case, error: np.ndarray, allowed: np.ndarray, places: list[np.ndarray]
) -> Iterator[str]:
    """Of the elements that were given; ``places`` are their indices along each axis."""
    wrong = np.abs(error) > allowed
    if not wrong.any():
        yield "no element differs by more than the allowance"
    elif wrong.all():
        yield "every element differs"
    else:
        yield f"{int(wrong.sum())} of {wrong.size} elements differ by more than the allowance"
    if not wrong.any():
        return
    for axis in range(error.ndim):
        yield from _along(case, wrong, error, axis, places[axis])
    largest = float(np.abs(case.healthy[np.isfinite(case.healthy)]).max(initial=0.0))
    if 0 < (most := float(np.abs(error).max())) < _OF_CONSTANTS * largest:
        yield (
            f"the largest difference is {most / largest:.1g} of the largest value, as small "
            "as what float32 leaves of a constant that is computed, such as a window or a table"
        )
    signs = np.sign(error[wrong])
    if wrong.sum() > 3 and abs(signs.mean()) == 1:
        yield f"yours is {'larger' if signs[0] > 0 else 'smaller'} than NumPy wherever it differs"
    yield from _line(case)
    apart = error[wrong]
    steps = np.unique(np.round(apart[:: max(1, apart.size // _LOOKED_AT)], 12))
    if wrong.sum() > 8 and steps.size <= 4:
        yield "the differences take only these values: " + ", ".join(f"{step:g}" for step in steps)


def _name(case: Case, axis: int) -> str:
    if len(case.output_axes) == case.observed.ndim:
        return case.output_axes[axis]
    return f"axis {axis}"


def _along(
    case: Case, wrong: np.ndarray, error: np.ndarray, axis: int, indices: np.ndarray
) -> Iterator[str]:
    """Whether the error keeps to some places of an axis, to its ends, or grows along it."""
    size = error.shape[axis]
    if size < 2:
        return
    rest = tuple(other for other in range(error.ndim) if other != axis)
    hit = wrong.any(axis=rest)
    places = indices[np.flatnonzero(hit)]
    name = _name(case, axis)
    if places.size < size:
        whole = case.healthy.shape[axis]
        if size > 4 and set(places) <= {0, 1, whole - 2, whole - 1}:
            yield (
                f"along {name}, only the border differs (index {', '.join(map(str, places))} "
                f"of 0..{whole - 1})"
            )
        else:
            shown = ", ".join(map(str, places[:8])) + (", ..." if places.size > 8 else "")
            yield (
                f"along {name}, only these indices differ: {shown} (of {indices[0]}..{indices[-1]})"
            )
        return
    energy = np.sqrt(np.square(error).mean(axis=rest))
    if size >= 5 and energy.min() > 0:
        if np.ptp(energy):
            slope = np.corrcoef(np.arange(size), np.log(energy))[0, 1]
        else:
            slope = 0.0
        if abs(slope) > 0.9 and energy.max() > 3 * energy.min():
            yield (
                f"along {name}, the RMS difference {'grows' if slope > 0 else 'shrinks'} from "
                f"{energy[0]:.2g} to {energy[-1]:.2g}"
            )


def _line(case: Case) -> Iterator[str]:
    """The best ratio and offset between the two."""
    x, y = case.pick(case.healthy), case.seen
    step = max(1, x.size // _LOOKED_AT)
    x, y = x[::step], y[::step]
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if x.size < 4 or not np.ptp(x) or not np.ptp(y):
        return
    ratio, offset = np.polyfit(x, y, 1)
    likeness = float(np.corrcoef(x, y)[0, 1])
    if abs(likeness) > 0.5:
        yield (
            f"linear fit: yours = {ratio:.6g} x NumPy {'+' if offset >= 0 else '-'} "
            f"{abs(offset):.3g} (r = {likeness:.4f})"
        )
    else:
        yield f"yours and NumPy are uncorrelated (r = {likeness:.2f})"
    if np.unique(y).size <= min(64, y.size // 4) < np.unique(x).size:
        yield f"yours has only {np.unique(y).size} distinct values"


def _of_shapes(case: Case) -> Iterator[str]:
    mine, theirs = case.observed, case.healthy
    if mine.size == theirs.size and not np.isnan(mine).any():
        near = np.allclose(
            np.sort(mine, axis=None),
            np.sort(theirs, axis=None),
            rtol=1e-4,
            atol=1e-6 * float(np.abs(theirs).max()),
        )
        if near:
            yield "the sorted values are equal: the same values in another order"
        else:
            yield "the sorted values differ, too"
