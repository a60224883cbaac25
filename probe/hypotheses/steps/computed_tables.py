"""Tables that a layer holds or computes from numbers alone (frequencies, positions, windows, sines
and cosines of angles), made by another formula than its own: the table itself tells its formula."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.mapped_tensors import axis_name, mapped
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.edits.tensor_maps import Map, maps
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__: list[str] = []

_FEWEST, _LARGEST = 4, 1 << 14
_NEAR = 1e-5
_MAPS = 24
"""How many maps of both tables are tried."""
_BASES = (1e4, 1e3, 100.0, 1e5, 5e5, 1e6, 10.0, 2.0)


@hypothesis("other-table")
def other_table(case: Case) -> Iterator[Changes]:
    """A table of frequencies, positions or angles, or a window, is made by another formula.

    Such as frequencies by n - 1 in place of n, positions from 1 on or at the centres of cells, a
    function at the middles of steps or up to another number, a symmetric window in place of a
    periodic one, or the angles of two axes exchanged in both sine and cosine.
    """
    yield Changes(_of_vectors, "other-table", STEPS)
    yield Changes(_of_functions, "other-table", STEPS)
    yield Changes(_of_angles, "other-table", STEPS)


def _tables(case: Case) -> Iterator[tuple[Ref, np.ndarray]]:
    """The tensors of numbers that the layer's first input has no part in."""
    constant = of_parameters(case)
    refs = [Ref(-1, k) for k in range(1, len(case.inputs))] + [Ref(at) for at in sorted(constant)]
    for ref in refs:
        x = np.asarray(ref.of(case.inputs, case.values))
        whole = x.dtype.kind in "fiu" and _FEWEST <= x.size <= _LARGEST
        if whole and np.isfinite(x).all() and np.ptp(x):
            yield ref, x.astype(np.float64)


# Vectors.


def _of_vectors(case: Case) -> Iterator[Change]:
    """Each table made otherwise, then all of a kind, such as those of the rows and the columns."""
    alike: dict[tuple[int, int], list[Change]] = {}
    for ref, x in _tables(case):
        if max(x.shape) != x.size:
            continue
        vector, used = x.ravel(), not of_parameters(case).issuperset(users_of(case).get(ref, ()))
        for kind, ways in enumerate((_geometric(vector), _linear(vector), _windows(vector))):
            for number, (words, other) in enumerate(ways):
                if not np.allclose(other, vector, rtol=_NEAR, atol=0):
                    change = _instead(case, ref, words, other)
                    yield change
                    if used:
                        alike.setdefault((kind, number), []).append(change)
    for members in alike.values():
        if len(members) > 1:
            yield from filter(None, [all_of(members, case.steps)])


def _instead(case: Case, ref: Ref, words: str, other: np.ndarray) -> Change:
    way = Map(words, partial(_reshaped, other=other), False)
    return next(mapped(case, ref, way))


def _reshaped(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    return other.reshape(x.shape)


Ways = Iterator[tuple[str, np.ndarray]]


def _geometric(x: np.ndarray) -> Ways:
    """Powers of one number, one after the other, with other exponents or of another number."""
    n, k = x.size, np.arange(x.size)
    if not (x > 0).all() or not np.allclose(x[1:] / x[:-1], x[1] / x[0], rtol=1e-4):
        return
    ratio = float((x[-1] / x[0]) ** (1 / (n - 1)))
    for words, share in (
        (f"made with {n - 1} in place of {n} in the exponents", n / (n - 1)),
        (f"made with {n} in place of {n - 1} in the exponents", (n - 1) / n),
        (f"made with {n + 1} in place of {n} in the exponents", n / (n + 1)),
        ("made with half of the exponents", 0.5),
        ("made with twice the exponents", 2.0),
    ):
        yield words, x[0] * ratio ** (share * k)
    for by in (1, -1, 0.5, -0.5):
        yield f"made with exponents that begin {by:+g} step further on", x * ratio**by
    for count, base in ((count, base) for count in (n, n - 1) for base in _BASES):
        other = base ** (-np.sign(1 - ratio) / count)
        yield f"made with the base {base:g} over {count} numbers", x[0] * other**k


def _linear(x: np.ndarray) -> Ways:
    """Numbers at equal distances, with another distance or from another one on."""
    n, k = x.size, np.arange(x.size)
    step = float((x[-1] - x[0]) / (n - 1))
    if not step or not np.allclose(np.diff(x), step, rtol=1e-4, atol=1e-6 * abs(x).max()):
        return
    for words, share in (
        (f"made with {n - 1} in place of {n} (both ends included)", n / (n - 1)),
        (f"made with {n} in place of {n - 1} (without the last end)", (n - 1) / n),
        (f"made with {n + 1} in place of {n}", n / (n + 1)),
    ):
        yield words, x[0] + share * step * k
        yield f"{words}, from its centre on", x.mean() + share * step * (k - k.mean())
    for by in (1, -1, 0.5, -0.5):
        yield f"made with numbers that begin {by:+g} step further on", x + by * step
    yield "made with numbers that begin at 0", step * k
    centres = (2 * k + 1) / n - 1
    if np.isclose(-x[0], x[-1]):
        yield "made at the centres of cells between -1 and 1", centres


_SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Hann": lambda t: 0.5 - 0.5 * np.cos(t),
    "Hamming": lambda t: 0.54 - 0.46 * np.cos(t),
    "Blackman": lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t),
    "triangular": lambda t: 1 - np.abs(t / np.pi - 1),
    "sine": lambda t: np.sin(t / 2),
    "square root of a Hann": lambda t: np.sqrt(0.5 - 0.5 * np.cos(t)),
}


def _windows(x: np.ndarray) -> Ways:
    """A window of a usual shape, as another one, or for a period of another length."""
    n = x.size
    made = {
        f"a {period} {name} window": shape(2 * np.pi * (np.arange(n) + first) / count)
        for name, shape in _SHAPES.items()
        for period, count, first in (
            ("periodic", n, 0.0),
            ("symmetric", n - 1, 0.0),
            ("centred", n, 0.5),
        )
    }
    size = abs(x).max()
    scales = [size / abs(window).max() for window in made.values()]
    known = zip(made.values(), scales, strict=True)
    if any(np.allclose(scale * window, x, atol=1e-4 * size) for window, scale in known):
        yield "1 throughout", np.ones(n)
        yield from made.items()
        yield "squared", x**2


# Functions at equal distances.


class _SampledFunction(NamedTuple):
    """A function that tables are made of, and what gives its argument back."""

    words: str
    function: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


_CURVES = (
    _SampledFunction("sigmoid", lambda x: 1 / (1 + np.exp(-x)), lambda y: np.log(y / (1 - y))),
    _SampledFunction("tanh", np.tanh, np.arctanh),
    _SampledFunction("exponential", np.exp, np.log),
    _SampledFunction("logarithm", np.log, np.exp),
    _SampledFunction("square root", np.sqrt, np.square),
    _SampledFunction("reciprocal", np.reciprocal, np.reciprocal),
)
_REACHES = (0.5, 2.0, 0.25, 4.0)


def _of_functions(case: Case) -> Iterator[Change]:
    """Tables of a function at numbers at equal distances: at other numbers, or of another reach
    with the index that belongs to it."""
    for ref, x in _tables(case):
        vector = x.ravel()
        curves = _CURVES if max(x.shape) == x.size and (np.diff(vector) > 0).all() else ()
        for curve in curves:
            points = _points(curve, vector)
            if points is None:
                continue
            for words, other in _linear(points):
                claim = f"{words}, in a table of a {curve.words}"
                yield _instead(case, ref, claim, curve.function(other))
            for factor in _REACHES:
                yield from _other_reach(case, ref, curve, points, factor)
            break


@np.errstate(all="ignore")
def _points(curve: _SampledFunction, x: np.ndarray) -> np.ndarray | None:
    """The numbers at equal distances of which a table holds the function; None where it does
    not. Next to a limit of the function float32 tells no argument."""
    places, argument = np.arange(x.size), curve.inverse(x)
    middle = slice(x.size // 4, x.size - x.size // 4)
    if x.size < _FEWEST_POINTS or not np.isfinite(argument[middle]).all():
        return None
    step, first = np.polyfit(places[middle], argument[middle], 1)
    step, first = (float(f"{number:.6g}") for number in (step, first))
    points = first + step * places
    near = np.allclose(curve.function(points), x, rtol=_NEAR, atol=1e-7 * np.abs(x).max())
    return points if step and near else None


_FEWEST_POINTS = 8


def _other_reach(
    case: Case, ref: Ref, curve: _SampledFunction, points: np.ndarray, factor: float
) -> Iterator[Change]:
    """A table of another reach, and the factor of the index that is made for it."""
    for position, _ in case.having(ops.Gather):
        table, index = case.steps[position].sources(position)
        scaling = _scaling(case, index) if table == ref else None
        if scaling is None:
            continue
        at, number = scaling
        inverse = isinstance(case.steps[at].op, ops.Div)
        changed = number * (factor if inverse else 1 / factor)
        size = float(f"{np.abs(points).max() * factor:.6g}")
        words = f"of a {curve.words} up to {size:g}, with the index that belongs to it"
        change = _instead(case, ref, words, curve.function(factor * points))
        new = len(case.steps) + len(change.new_steps(len(case.steps)))
        x, _ = case.steps[at].sources(at)
        steps = {
            **change.steps,
            new: Step(ops.Constant(np.asarray(changed)), ()),
            at: Step(case.steps[at].op, (x, Ref(new))),
        }
        yield replace(change, steps=steps, key=None)


_TO_INDEX = (
    *(ops.Cast, ops.Add, ops.Sub, ops.Clip, ops.Min, ops.Max),
    *(ops.Floor, ops.Round, ops.Trunc, ops.Reshape),
)
"""What may stand between a factor and the index that it makes."""


def _scaling(case: Case, index: Ref) -> tuple[int, float] | None:
    """The step that brings numbers to places of a table, and its factor or divisor."""
    while index.step >= 0 and isinstance(case.steps[index.step].op, _TO_INDEX):
        index = case.steps[index.step].sources(index.step)[0]
    if index.step < 0 or not isinstance(case.steps[index.step].op, ops.Mul | ops.Div):
        return None
    _, *others = case.steps[index.step].sources(index.step)
    value = np.asarray(others[0].of(case.inputs, case.values))
    if len(others) == 1 and value.size == 1 and value.item() > 0:
        return index.step, float(value.item())
    return None


# Angles.


class _AnglePair(NamedTuple):
    """A table of cosines and one of sines of the same angles."""

    cos: Ref
    sin: Ref
    scale: float
    angles: np.ndarray
    """(positions, features), modulo a whole turn."""


def _of_angles(case: Case) -> Iterator[Change]:
    for found in _angles(case):
        shape = found.cos.of(case.inputs, case.values).shape
        along = partial(axis_name, case, found.cos)
        for way in islice(maps(shape, along, False), _MAPS):
            if way.rearranges:
                both = [next(mapped(case, ref, way)) for ref in (found.cos, found.sin)]
                yield from _together(case, found, way.words, both)
        yield from _other_angles(case, found)


def _together(case: Case, found: _AnglePair, words: str, members: list[Change]) -> Iterator[Change]:
    change = all_of(members, case.steps)
    if change is not None:
        names = f"{tensor_name(case, found.cos)} and {tensor_name(case, found.sin)}"
        yield replace(change, what=f"{names} are {words}", where="", members=())


def _angles(case: Case) -> Iterator[_AnglePair]:
    """The pairs of tables whose squares add up to one number."""
    tables = [(ref, x) for ref, x in _tables(case) if x.ndim >= 2 and x.shape[-2] > 1]
    for (first, x), (second, y) in combinations(tables, 2):
        if x.shape != y.shape or x.size != x.shape[-1] * x.shape[-2]:
            continue
        square = x**2 + y**2
        if np.allclose(square, square.flat[0], rtol=1e-4) and square.flat[0]:
            if np.abs(x[..., 0, :]).sum() < np.abs(y[..., 0, :]).sum():
                first, second, x, y = second, first, y, x
            scale = float(np.sqrt(square.flat[0]))
            angles = np.arctan2(y, x).reshape(x.shape[-2:])
            yield _AnglePair(first, second, scale, angles)


def _other_angles(case: Case, found: _AnglePair) -> Iterator[Change]:
    whole = _positions(found.angles)
    if whole is None:
        return
    positions, each = whole
    for by in (1, -1):
        yield from _with(case, found, (positions + by) * each, f"of positions moved by {by:+d}")
    for factor in (2.0, 0.5, 4.0, 0.25, np.pi, 2 * np.pi, -1.0):
        words = f"of positions multiplied by {factor:.6g}"
        yield from _with(case, found, factor * positions * each, words)
    groups = [np.flatnonzero((positions == column[:, None]).all(axis=0)) for column in positions.T]
    for base in _BASES:
        other = each.copy()
        for group in {tuple(group.tolist()) for group in groups}:
            distinct = np.unique(each[list(group)])[::-1]
            places = np.searchsorted(-distinct, -each[list(group)])
            other[list(group)] = distinct[0] * base ** (-places / len(distinct))
        if not np.allclose(other, each, rtol=1e-4):
            yield from _with(case, found, positions * other, f"of angles with the base {base:g}")


def _positions(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The whole numbers (positions, features) that the angles are multiples of, and of which angle
    of each feature; None where they are not."""
    count = len(angles)
    size = np.abs(angles)
    each = np.where(size > _NEAR, size, np.inf).min(axis=0)
    if not np.isfinite(each).all():
        return None
    numbers = np.arange(-count, count + 1)
    turns = np.exp(1j * numbers[:, None, None] * each) - np.exp(1j * angles)
    found = np.abs(turns).argmin(axis=0)
    if np.take_along_axis(np.abs(turns), found[None], 0).max() > 1e-3:
        return None
    return numbers[found], each


def _with(case: Case, found: _AnglePair, angles: np.ndarray, words: str) -> Iterator[Change]:
    made = (found.cos, np.cos(angles)), (found.sin, np.sin(angles))
    members = [_instead(case, ref, words, found.scale * table) for ref, table in made]
    yield from _together(case, found, words, members)
