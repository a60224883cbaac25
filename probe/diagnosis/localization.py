"""Where the error sits, in words, for when no known mistake explains it."""

from collections.abc import Iterator

import numpy as np

from probe.hypotheses.case import Case

__all__ = ["where_it_sits"]

_LOOKED_AT = 1 << 16
"""How many values of a large output lines are fitted to."""


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
        places = [np.unique(one) for one in np.nonzero(case.known)]
        error, allowed = error[np.ix_(*places)], allowed[np.ix_(*places)]
    return tuple(_told(case, error, allowed, places))


def _told(
    case: Case, error: np.ndarray, allowed: np.ndarray, places: list[np.ndarray]
) -> Iterator[str]:
    """Of the elements that were given; ``places`` are their indices along each axis."""
    wrong = np.abs(error) > allowed
    if wrong.all() or not wrong.any():
        yield (
            "every element differs"
            if wrong.any()
            else "no element differs by more than the allowance"
        )
    else:
        yield f"{int(wrong.sum())} of {wrong.size} elements differ by more than the allowance"
    if not wrong.any():
        return
    for axis in range(error.ndim):
        yield from _along(case, wrong, error, axis, places[axis])
    signs = np.sign(error[wrong])
    if wrong.sum() > 3 and abs(signs.mean()) == 1:
        yield f"yours is {'larger' if signs[0] > 0 else 'smaller'} than NumPy wherever it differs"
    yield from _line(case)
    apart = error[wrong]
    steps = np.unique(np.round(apart[:: max(1, apart.size // _LOOKED_AT)], 12))
    if wrong.sum() > 8 and steps.size <= 4:
        yield "the differences take only these values: " + ", ".join(f"{step:g}" for step in steps)


def _name(case: Case, axis: int) -> str:
    return case.output_axes[axis] if len(case.output_axes) == case.observed.ndim else f"axis {axis}"


def _along(
    case: Case, wrong: np.ndarray, error: np.ndarray, axis: int, given: np.ndarray
) -> Iterator[str]:
    """Whether the error keeps to some places of an axis, to its ends, or grows along it."""
    size = error.shape[axis]
    if size < 2:
        return
    rest = tuple(other for other in range(error.ndim) if other != axis)
    hit = wrong.any(axis=rest)
    places = given[np.flatnonzero(hit)]
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
            yield (f"along {name}, only these indices differ: {shown} (of {given[0]}..{given[-1]})")
        return
    energy = np.sqrt(np.square(error).mean(axis=rest))
    if size >= 5 and energy.min() > 0:
        slope = np.corrcoef(np.arange(size), np.log(energy))[0, 1] if np.ptp(energy) else 0.0
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
        yield (
            "the sorted values are equal: the same values in another order"
            if near
            else "the sorted values differ, too"
        )
