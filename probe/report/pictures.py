"""What the pages draw, as numbers: where the error lies, how large it is, stored weights against
effective ones, the terms of one element.

Renderers draw them as they are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from probe.comparison.compare import PARTIES
from probe.ops.weight import Weight
from probe.report.blocks import LABELS, arrays

if TYPE_CHECKING:
    from probe.report import Report

__all__ = [
    "Bar",
    "Drawn",
    "ErrorMap",
    "Errors",
    "Histogram",
    "Scatter",
    "apart",
    "drawn",
    "errors_of",
    "maps",
    "ratios",
    "scatters",
    "spread",
]

_CELLS = 48
"""Along each side of a map."""
_LEVELS = (0.5, 1.0)
_PARTS = (0.4, 0.7, 0.9)
_APART = 1.1
"""Where the shades of a map begin, in units of the allowance; above which parts of the cells beyond
it further ones do, and how far these lie apart, and from the largest, at least. Below the first
nothing is drawn."""
_SHARES = (0.2, 0.4, 0.6, 0.8)
"""The same of a map of absolute errors, of the largest; its first shade begins above 0."""
_POINTS, _FRAME = 150, 60
"""Points of a weight, and what the axes and the key of a map weigh, in such."""
_WEIGHTS = 12
_SPATIAL = ("height", "width")


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """The largest error over two axes of an output (one, where there is one), in cells of equal
    numbers of elements."""

    title: str
    down: str
    across: str
    shape: tuple[int, int]
    """Cells down and across."""
    shades: tuple[tuple[tuple[int, int, int], ...], ...]
    """For each of ``levels`` the runs of cells: row, first column, length."""
    levels: tuple[float, ...]
    """Where the shades begin, in units of the allowance, or without a ``unit`` absolute."""
    most: float
    sizes: tuple[int, int] = (1, 1)
    """Elements down and across."""
    unit: str = " x"


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram or a waterfall."""

    label: str
    start: float
    stop: float
    """Both of 0 .. 1."""
    text: str
    kind: str = ""


@dataclass(frozen=True)
class Histogram:
    """How many elements have an error of which size."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, eq=False)
class Scatter:
    """Stored against effective values of a weight."""

    name: str
    points: tuple[tuple[float, float], ...]
    """Both of 0 .. 1."""
    low: float
    high: float
    shown: str
    """How many of how many values."""


@dataclass(frozen=True, eq=False, repr=False)
class Errors:
    """How far each element of an output is off."""

    what: str
    """Such as "difference between yours and NumPy"."""
    ratio: np.ndarray
    """In units of its allowance."""
    axes: tuple[str, ...] = ()
    """What the output's axes are called; () where nothing is said."""
    apart: np.ndarray | None = None
    """The same without the unit."""

    def __repr__(self) -> str:
        return f"<Errors {self.what}: {self.ratio.shape}>"


@dataclass(frozen=True, repr=False)
class Drawn:
    """The pictures of a call, or of a pair of tensors."""

    histograms: tuple[Histogram, ...] = ()
    maps: tuple[ErrorMap, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    absolute: tuple[ErrorMap, ...] = ()
    """The first map of each error, not in units of the allowance."""

    def __repr__(self) -> str:
        return f"<Drawn: {len(self.maps)} maps, {len(self.histograms)} histograms>"

    @property
    def marks(self) -> int:
        """How many bars and points are drawn, and frames: what the pictures weigh."""
        maps = (*self.maps, *self.absolute)
        runs = sum(_FRAME + sum(map(len, picture.shades)) for picture in maps)
        return runs + sum(len(picture.points) for picture in self.scatters)


def drawn(errors: Sequence[Errors], weights: Sequence[Weight] = ()) -> Drawn:
    """All pictures of these errors and weights."""
    return Drawn(
        tuple(map(spread, errors)),
        tuple(picture for found in errors for picture in maps(found)),
        tuple(scatters(weights)),
        tuple(picture for found in errors for picture in _absolute(found)),
    )


def ratios(values: np.ndarray, reference: np.ndarray, allowance: np.ndarray) -> np.ndarray:
    """The error of each element in units of its allowance; inf where one side alone is finite."""
    off = apart(values, reference)
    with np.errstate(all="ignore"):
        ratio = np.where(off, off / allowance, 0.0)
        odd = np.isfinite(values) != np.isfinite(reference)
    return np.asarray(np.where(odd, np.inf, np.nan_to_num(ratio, nan=0.0, posinf=np.inf)))


def apart(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The error of each element."""
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(values.astype(np.float64) - reference))


def errors_of(report: "Report") -> Errors | None:
    """Of the first output, for the party that lies furthest off NumPy; None where that was not
    kept."""
    largest: Errors | None = None
    for party in PARTIES:
        held = report.held.get(party)
        if held is None or party not in report.outputs:
            continue
        values = arrays(report.outputs[party])[0]
        reference = held.reference[0]
        if values is None or values.shape != reference.shape or not values.size:
            if party == "expected":
                return None  # a map of others would hide that it has another shape
            continue
        ratio = ratios(values, reference, held.allowance[0])
        known = report.known if party == "expected" else None
        if known is not None:
            ratio = np.where(known, ratio, 0.0)
        if largest is None or ratio.max() > largest.ratio.max():
            what = f"difference between {LABELS[party]} and NumPy"
            off = apart(values, reference)
            if known is not None:
                off = np.where(known, off, 0.0)
            largest = Errors(what, ratio, report.output_axes, off)
    return largest


def maps(errors: Errors) -> Iterator[ErrorMap]:
    """Where the error lies: over the image or time and features, and over samples and channels;
    nowhere in a single number."""
    ratio = errors.ratio
    if not ratio.ndim or not ratio.any():
        return
    names = errors.axes if len(errors.axes) == ratio.ndim else ()
    for axes in _planes(ratio.shape, names):
        picture = _map(*_plane(ratio, axes, names), errors.what)
        if not _of_one_colour(picture):
            yield picture


def _absolute(errors: Errors) -> Iterator[ErrorMap]:
    """The first map in absolute numbers, where they are known and finite."""
    off = errors.apart
    if off is None or not off.ndim or not off.any() or not np.isfinite(off).all():
        return
    names = errors.axes if len(errors.axes) == off.ndim else ()
    plane, label = _plane(off, next(_planes(off.shape, names)), names)
    picture = _shaded(plane, label, f"largest {errors.what}, absolute", _levels_of(plane))
    if not _of_one_colour(picture):
        yield replace(picture, unit="")


def _levels_of(plane: np.ndarray) -> list[float]:
    most = float(plane.max())
    return [np.nextafter(0.0, 1.0), *(share * most for share in _SHARES)]


def _of_one_colour(picture: ErrorMap) -> bool:
    """Whether every cell has the same shade, so that nothing is seen of it."""
    cells = picture.shape[0] * picture.shape[1]
    counts = [sum(length for *_, length in shade) for shade in picture.shades]
    return cells > 1 and max(*counts, cells - sum(counts)) == cells


def _plane(
    values: np.ndarray, axes: Sequence[int], names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """The largest of the values over all but two axes, and what these are called."""
    label = [names[axis] if names else f"axis {axis}" for axis in axes]
    others = tuple(axis for axis in range(values.ndim) if axis not in axes)
    plane = values.max(axis=others) if others else values
    if plane.ndim == 1:
        plane = plane.reshape(1, -1)
    return plane, label if len(label) == 2 else ["", *label]


def _planes(shape: Sequence[int], names: Sequence[str]) -> Iterator[tuple[int, ...]]:
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if len(wide) <= 2:
        yield tuple(wide or range(min(1, len(shape))))
        return
    spatial = [axis for axis in wide if names and names[axis] in _SPATIAL]
    first = tuple(spatial) if len(spatial) == 2 else tuple(wide[-2:])
    yield first
    rest = [axis for axis in wide if axis not in first][:2]
    if rest:
        yield tuple(rest)


def _map(plane: np.ndarray, label: Sequence[str], what: str) -> ErrorMap:
    """In units of the allowance."""
    cells = _pooled(_pooled(plane, 0), 1)
    beyond = cells[(cells > _LEVELS[-1]) & np.isfinite(cells)]
    levels = [*_LEVELS]
    for further in np.quantile(beyond, _PARTS, method="nearest") if beyond.size else ():
        if _APART * levels[-1] < further < beyond.max() / _APART:
            levels.append(float(further))
    return _shaded(plane, label, f"largest {what}, in units of the allowance", levels)


def _shaded(
    plane: np.ndarray, label: Sequence[str], title: str, levels: Sequence[float]
) -> ErrorMap:
    """The cells of each shade."""
    cells = _pooled(_pooled(plane, 0), 1)
    level = np.searchsorted(levels, cells, side="right")
    return ErrorMap(
        title,
        label[0],
        label[1],
        (cells.shape[0], cells.shape[1]),
        tuple(tuple(_runs(level == k)) for k in range(1, len(levels) + 1)),
        tuple(levels),
        float(cells.max()),
        (plane.shape[0], plane.shape[1]),
    )


def _pooled(plane: np.ndarray, axis: int) -> np.ndarray:
    size = plane.shape[axis]
    if size <= _CELLS:
        return plane
    starts = np.unique(np.linspace(0, size, _CELLS, endpoint=False).astype(int))
    pooled: np.ndarray = np.maximum.reduceat(plane, starts, axis=axis)
    return pooled


def _runs(cells: np.ndarray) -> Iterator[tuple[int, int, int]]:
    for row, line in enumerate(cells):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        for start, stop in edges.reshape(-1, 2).tolist():
            yield row, start, stop - start


_EDGES = (0.0, 1e-3, 1e-2, 0.1, 0.5, 1.0, 10.0, 1e3, 1e6, math.inf)


def spread(errors: Errors) -> Histogram:
    """How many elements lie how far off, in units of the allowance, from the least to the most."""
    ratio = errors.ratio
    counts = [int((ratio == 0).sum())]
    names = ["equal"]
    for low, high in pairwise(_EDGES):
        counts.append(int(((ratio > low) & (ratio <= high)).sum()))
        names.append(f"up to {high:g} x" if math.isfinite(high) else f"more than {low:g} x")
    most = max(counts)
    held = [k for k, count in enumerate(counts) if count]
    bars = tuple(
        Bar(
            names[k],
            0.0,
            counts[k] / most,
            str(counts[k]),
            "diverge" if k > _EDGES.index(1.0) else "agree",
        )
        for k in range(held[0], held[-1] + 1)
    )
    return Histogram(f"elements by their {errors.what}", bars)


def scatters(weights: Sequence[Weight]) -> Iterator[Scatter]:
    """Of each weight whose stored values are others than the effective ones."""
    for weight in weights[:_WEIGHTS]:
        if (found := _scatter(weight)) is not None:
            yield found


def _scatter(weight: Weight) -> Scatter | None:
    stored, effective = weight.stored, weight.effective
    if stored is None or stored.shape != effective.shape or np.array_equal(stored, effective):
        return None
    pair = np.stack([stored.ravel(), effective.ravel()]).astype(np.float64)
    pair = pair[:, np.isfinite(pair).all(axis=0)]
    if not pair.size:
        return None
    low, high = float(pair.min()), float(pair.max())
    ranked = pair[:, np.argsort(pair[0], kind="stable")]
    chosen = ranked[:, np.unique(np.linspace(0, pair.shape[1] - 1, _POINTS).astype(int))]
    points = (chosen - low) / ((high - low) or 1.0)
    shown = f"{chosen.shape[1]} of {effective.size} values"
    return Scatter(weight.name, tuple(map(tuple, points.T.tolist())), low, high, shown)
