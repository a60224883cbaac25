"""What the pages draw, as numbers: where the error lies, how large it is, stored weights against
effective ones, the terms of one element.

Renderers draw them as they are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
_POINTS = 150
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
    """Where the shades begin, in units of the allowance."""
    most: float


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

    def __repr__(self) -> str:
        return f"<Errors {self.what}: {self.ratio.shape}>"


@dataclass(frozen=True, repr=False)
class Drawn:
    """The pictures of a call, or of a pair of tensors."""

    histograms: tuple[Histogram, ...] = ()
    maps: tuple[ErrorMap, ...] = ()
    scatters: tuple[Scatter, ...] = ()

    def __repr__(self) -> str:
        return f"<Drawn: {len(self.maps)} maps, {len(self.histograms)} histograms>"

    @property
    def marks(self) -> int:
        """How many bars and points are drawn: what the pictures weigh."""
        runs = sum(len(shade) for picture in self.maps for shade in picture.shades)
        return runs + sum(len(picture.points) for picture in self.scatters)


def drawn(errors: Sequence[Errors], weights: Sequence[Weight] = ()) -> Drawn:
    """All pictures of these errors and weights."""
    return Drawn(
        tuple(map(spread, errors)),
        tuple(picture for found in errors for picture in maps(found)),
        tuple(scatters(weights)),
    )


def ratios(values: np.ndarray, reference: np.ndarray, allowance: np.ndarray) -> np.ndarray:
    """The error of each element in units of its allowance; inf where one side alone is finite."""
    with np.errstate(all="ignore"):
        apart = np.abs(values.astype(np.float64) - reference)
        ratio = np.where(apart, apart / allowance, 0.0)
        odd = np.isfinite(values) != np.isfinite(reference)
    return np.asarray(np.where(odd, np.inf, np.nan_to_num(ratio, nan=0.0, posinf=np.inf)))


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
            largest = Errors(what, ratio, report.output_axes)
    return largest


def maps(errors: Errors) -> Iterator[ErrorMap]:
    """Where the error lies: over the image or time and features, and over samples and channels;
    nowhere in a single number."""
    ratio = errors.ratio
    if not ratio.ndim or not ratio.any():
        return
    names = errors.axes if len(errors.axes) == ratio.ndim else ()
    for axes in _planes(ratio.shape, names):
        label = [names[axis] if names else f"axis {axis}" for axis in axes]
        others = tuple(axis for axis in range(ratio.ndim) if axis not in axes)
        plane = ratio.max(axis=others) if others else ratio
        if plane.ndim == 1:
            plane = plane.reshape(1, -1)
        yield _map(plane, errors.what, label if len(label) == 2 else ["", *label])


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


def _map(plane: np.ndarray, what: str, label: Sequence[str]) -> ErrorMap:
    plane = _pooled(_pooled(plane, 0), 1)
    beyond = plane[(plane > _LEVELS[-1]) & np.isfinite(plane)]
    levels = [*_LEVELS]
    for further in np.quantile(beyond, _PARTS, method="nearest") if beyond.size else ():
        if _APART * levels[-1] < further < beyond.max() / _APART:
            levels.append(float(further))
    level = np.searchsorted(levels, plane, side="right")
    return ErrorMap(
        f"largest {what}, in units of the allowance",
        label[0],
        label[1],
        (plane.shape[0], plane.shape[1]),
        tuple(tuple(_runs(level == k)) for k in range(1, len(levels) + 1)),
        tuple(levels),
        float(plane.max()),
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
