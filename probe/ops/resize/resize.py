"""Resizing: which source elements an output element is made of, and with which weights.

Every mode works on one spatial axis after the other. Output i of an axis stands at a coordinate of
the input:

    half_pixel     (i + 0.5) / scale - 0.5
    align_corners  i * (in - 1) / (out - 1)
    asymmetric     i / scale
    lines          slope * i + start, both given for every axis
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Terms, box
from probe.ops.engine_differences import ZERO_SHARE_OF_NAN
from probe.ops.weight import Weight

__all__ = ["Resize"]

_BLOCK = 1 << 17
_FULL = 24


@dataclass(frozen=True, eq=False)
class Taps:
    """What the outputs along one axis are made of: rows of source places and weights, one tap a
    column (0: none)."""

    places: np.ndarray
    weights: np.ndarray
    slack: np.ndarray
    """How far the coordinate of each output may be off, in unit roundoffs, times the slope of the
    weights."""
    used: np.ndarray
    """Which taps have a weight, or would have one if the coordinate were a little off."""
    gain: np.ndarray | float = 1.0
    """What the errors of each output's weights grow by where these are brought to add up to 1."""

    def matrix(self, have: int) -> np.ndarray:
        """The weights as (out, in)."""
        whole = np.zeros((len(self.places), have))
        np.add.at(whole, (np.arange(len(self.places))[:, None], self.places), self.weights)
        return whole


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """Weighted means of neighbouring elements (ONNX Resize). The last axes of the input are resized
    to ``sizes``.

    ``scales`` are output / input per resized axis. ``mode`` is the kernel around the coordinate:
    linear, cubic (Keys, 1981, with the coefficient ``a``), lanczos3, lanczos5, gaussian, mitchell,
    or area (means of the input under each output cell). ``antialias`` widens the kernel by what is
    shrunk. ``outside`` is "edge" where elements beyond the input are those of its edge, "excluded"
    where they are left out and the weights of the others add up to 1; with ``antialias`` they are
    left out unless it is "repeated", ONNX's way. ``table``: the coordinate's fraction is rounded to
    that many steps (TensorFlow's bicubic). ``single``: evaluated in float32 in every dtype
    (TensorFlow).
    """

    sizes: tuple[int, ...]
    scales: tuple[float, ...]
    mode: str = "linear"
    coordinates: str = "half_pixel"
    a: float = -0.75
    antialias: bool = False
    outside: str = "edge"
    table: int = 0
    single: bool = False
    lines: tuple[tuple[float, float], ...] = ()
    """(slope, start) of each axis, where ``coordinates`` is "lines"."""
    engine_differences = (ZERO_SHARE_OF_NAN,)

    def summary(self, inputs: Arrays) -> str:
        have = inputs[0].shape[-len(self.sizes) :]
        text = f"{' x '.join(map(str, have))} to {' x '.join(map(str, self.sizes))}, {self.mode}"
        if self.mode == "cubic":
            text += f" (a = {self.a:g})"
        if self.mode != "area":
            text += f", {self.coordinates} coordinates"
        return text + (", antialiased" if self.antialias else "")

    def taps(self, have: Sequence[int]) -> list[Taps]:
        """Per resized axis what its outputs are made of."""
        lines = self.lines or (None,) * len(self.sizes)
        return [
            self._taps(*axis) for axis in zip(have, self.sizes, self.scales, lines, strict=True)
        ]

    def _taps(self, have: int, size: int, scale: float, line: tuple[float, float] | None) -> Taps:
        if self.mode == "area":
            return self._area(have, size)
        if self.mode not in _RADIUS:
            raise ValueError(f"mode {self.mode!r} is none of area, {', '.join(_RADIUS)}")
        centre = self._centres(have, size, scale, line)
        shrunk = self._shrunk(have, size, scale)
        radius = _RADIUS[self.mode] * shrunk
        first = np.ceil(centre - radius - 2.0**-20 * (np.abs(centre) + 2)).astype(int)
        places = first[:, None] + np.arange(math.floor(2 * radius) + 2)
        distance = (places - centre[:, None]) / shrunk
        weights, near = (
            self._kernel(distance),
            np.abs(distance) <= _RADIUS[self.mode] + 2.0**-20 * (np.abs(centre[:, None]) + 2),
        )
        gain: np.ndarray | float = 1.0
        if self.outside == "excluded" or self.antialias:
            if self.outside != "repeated":
                near &= (places >= 0) & (places < have)
            weights = np.where(near, weights, 0.0)
            total = weights.sum(axis=1, keepdims=True)
            weights = np.divide(
                weights, total, out=np.zeros_like(weights), where=np.abs(total) > 1e-30
            )
            gain = 1 / np.clip(np.abs(total), 1e-30, 1.0)
        slack = (np.abs(centre) + 2) * _SLOPE[self.mode] / shrunk
        # The kernel ends at exp(-4.5): whether an element there still counts is decided by
        # rounding.
        if self.mode == "gaussian":
            edge = np.abs(np.abs(places - centre[:, None]) - radius) < 2.0**-20 * (
                np.abs(centre[:, None]) + 2
            )
            if any(float(np.float32(factor)) != factor for factor in (1 / scale, 1 / shrunk)):
                slack = slack + edge.any(axis=1) * 2.0**24 * math.exp(-4.5)
        return Taps(np.clip(places, 0, have - 1), weights, slack, near, gain)

    def _centres(
        self, have: int, size: int, scale: float, line: tuple[float, float] | None
    ) -> np.ndarray:
        if self.table:
            at = _single_half_pixel(have, size)
            whole = np.floor(at)
            fraction = (
                np.rint((at - whole) * np.float32(self.table)).astype(np.float64) / self.table
            )
            return whole.astype(np.float64) + fraction
        at = np.arange(size, dtype=np.float64)
        match self.coordinates:
            case "lines" if line is not None:
                at = at * line[0] + line[1]
            case "half_pixel":
                at = (at + 0.5) / scale - 0.5
            case "align_corners":
                at = at * ((have - 1) / (size - 1) if size > 1 else 0.0)
            case "asymmetric":
                at = at / scale
        if self.mode == "linear" and self.outside == "edge" and not self.antialias:
            return np.clip(at, 0, have - 1)
        return at

    def _shrunk(self, have: int, size: int, scale: float) -> float:
        """How much wider the kernel is than 1 element."""
        if not self.antialias:
            return 1.0
        if self.coordinates == "align_corners" and size > 1:
            step = (have - 1) / (size - 1)
        else:
            step = 1 / scale
        return max(1.0, step)

    def _kernel(self, distance: np.ndarray) -> np.ndarray:
        far = np.abs(distance)
        match self.mode:
            case "linear":
                return np.maximum(0.0, 1 - far)
            case "cubic":
                inner = ((self.a + 2) * far - (self.a + 3)) * far * far + 1
                tail = ((far - 5) * far + 8) * far * self.a - 4 * self.a
                return np.where(far <= 1, inner, np.where(far < 2, tail, 0.0))
            case "mitchell":
                inner = ((7 * far - 12) * far * far + 16 / 3) / 6
                tail = (((-7 / 3 * far + 12) * far - 20) * far + 32 / 3) / 6
                return np.where(far < 1, inner, np.where(far < 2, tail, 0.0))
            case "gaussian":
                return np.where(far < 1.5, np.exp(-2 * np.square(far)), 0.0)
        radius = _RADIUS[self.mode]
        return np.where(far < radius, np.sinc(far) * np.sinc(far / radius), 0.0)

    def _area(self, have: int, size: int) -> Taps:
        """The share of every input element under each output cell."""
        edges = np.arange(size + 1) * have / size
        first = np.floor(edges[:-1]).astype(int)
        places = first[:, None] + np.arange(math.ceil(have / size) + 1)
        covered = np.minimum(places + 1, edges[1:, None]) - np.maximum(places, edges[:-1, None])
        weights = np.maximum(covered, 0) * size / have
        return Taps(
            np.clip(places, 0, have - 1),
            weights,
            (edges[1:] + 2) * size / have,
            covered > -(2.0**-20),
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        lead, have = x.shape[: -len(self.sizes)], x.shape[-len(self.sizes) :]
        out = np.empty((*lead, *self.sizes), x.dtype)
        tables = [
            (taps, taps.matrix(size) if taps.weights.shape[1] > _FULL else None)
            for taps, size in zip(self.taps(have), have, strict=True)
        ]
        for part, target in self._parts(x, out):
            for axis, (taps, matrix) in reversed(list(enumerate(tables, start=1))):
                part = _along(part, axis, taps, matrix)
            target[...] = part
        return (out,)

    def _parts(self, *arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Blocks (planes, *spatial) of arrays with the same leading axes."""
        rank = len(self.sizes)
        lead = arrays[0].shape[:-rank]
        largest = max(math.prod(array.shape[-rank:]) for array in arrays)
        step = max(1, _BLOCK // max(1, largest))
        for index in np.ndindex(*lead[:-1]):
            for start in range(0, lead[-1], step):
                yield [array[index][start : start + step] for array in arrays]

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        if not np.isfinite(x).all():
            # what an element of weight 0 is, is no matter of rounding
            x = np.where(np.isfinite(x), x, 0.0)
        unit = max(precision.unit, 2.0**-24) if self.single else precision.unit
        tables = self.taps(x.shape[-len(self.sizes) :])
        rounded = [self._rounded(taps, unit) for taps in tables]
        own = np.empty(y.shape)
        if of.slacks[0] is None:
            slack = np.zeros((1,) * x.ndim)
        else:
            slack = of.slacks[0]
        arrived = of.slacks[0] is not None
        for part, moved, target in self._parts(x, np.broadcast_to(slack, x.shape), own):
            for axis, taps, (values, steps, passed) in reversed(
                list(zip(range(1, 1 + len(tables)), tables, rounded, strict=True))
            ):
                error = _along(np.abs(part), axis, values, None)
                if steps is not None:
                    error += _along(_steps(part, axis), axis, steps, None)
                if arrived or axis < len(tables):
                    error += _along(moved, axis, passed, None)
                moved, part = error, _along(part, axis, taps, None) if axis > 1 else part
            target[...] = moved
        own += precision.unit * np.abs(y) + precision.tiny
        return (own,)

    def _rounded(self, taps: Taps, unit: float) -> tuple[Taps, Taps | None, Taps]:
        """What rounding does to one axis, as taps on |x|, on the steps between neighbours, and on
        the slack that arrives.

        The sum and its weights are rounded, and so is the coordinate that they are computed from:
        that takes weight from one element and gives it to another. The shares of areas need not
        even add up to 1.
        """
        count = taps.weights.shape[1]
        roundings = math.sqrt(count) + 4 if count > 4 else count + 2
        size, near, off = (
            np.abs(taps.weights),
            taps.used.astype(float),
            2 * unit * taps.slack[:, None] * taps.gain,
        )
        values = unit * (roundings * size + _EVALUATION[self.mode] * near * taps.gain) + (
            off * near if self.mode == "area" else 0.0
        )
        passed = Taps(taps.places, size, taps.slack, taps.used)
        if self.mode == "area":
            return Taps(taps.places, values, taps.slack, taps.used), None, passed
        # Two neighbouring taps that both may count are a step apart, over which the weight of those
        # behind them moves.
        both = near[:, :-1] * near[:, 1:] * (taps.places[:, :-1] != taps.places[:, 1:])
        behind = np.minimum(np.cumsum(near, axis=1), np.cumsum(near[:, ::-1], axis=1)[:, ::-1])[
            :, :-1
        ]
        steps = Taps(
            taps.places[:, :-1], off * both * np.maximum(behind, 1.0), taps.slack, taps.used
        )
        return Taps(taps.places, values, taps.slack, taps.used), steps, passed

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, shape, rank = inputs[0], graph.shape(inputs[0]), len(self.sizes)
        have = shape[-rank:]
        plain = not self.table and not self.antialias and self.outside == "edge" and not self.lines
        # what keeps its shape ONNX Runtime copies
        plain = plain and (tuple(have) != self.sizes or {*self.scales} == {1.0})
        by_node = plain and (self.mode == "linear" or (self.mode == "cubic" and rank == 2))
        if by_node and all(
            math.floor(np.float32(s) * n) == size
            for s, n, size in zip(self.scales, have, self.sizes, strict=True)
        ):
            return (self._by_node(graph, x, shape),)
        lead = math.prod(shape[:-rank])
        x = graph.op("Reshape", x, graph.const([lead, *have]))
        for axis, (n, size, scale) in enumerate(
            zip(have, self.sizes, self.scales, strict=True), start=1
        ):
            rows = np.zeros((size, n))
            for i in range(size):
                for place, weight in self._shares(axis - 1, i, n, size, scale):
                    rows[i, place] += weight
            perm = [*(k for k in range(rank + 1) if k != axis), axis]
            x = graph.op("MatMul", graph.op("Transpose", x, perm=perm), graph.const(rows.T))
            x = graph.op("Transpose", x, perm=[perm.index(k) for k in range(rank + 1)])
        return (graph.op("Reshape", x, graph.const([*shape[:-rank], *self.sizes])),)

    def _by_node(self, graph: Graph, x: str, shape: Sequence[int]) -> str:
        """ONNX Runtime's own Resize, which wants two or three spatial axes."""
        rank = len(self.sizes)
        ones = (1,) * (2 - rank)
        lead = (math.prod(shape[:-rank]), 1)
        x = graph.op("Reshape", x, graph.const([*lead, *ones, *shape[-rank:]]))
        how = {
            "mode": self.mode,
            "coordinate_transformation_mode": self.coordinates,
            "cubic_coeff_a": self.a,
        }
        x = graph.op(
            "Resize",
            x,
            "",
            graph.const([1.0, 1.0, *map(float, ones), *map(float, self.scales)]),
            **how,
            antialias=int(self.antialias),
        )
        return graph.op("Reshape", x, graph.const([*shape[:-rank], *self.sizes]))

    def _shares(
        self, axis: int, i: int, have: int, size: int, scale: float
    ) -> list[tuple[int, float]]:
        """Which elements output i of an axis is made of and with which weights, one by one."""
        if self.mode == "area":
            low, high = i * have / size, (i + 1) * have / size
            cells = range(math.floor(low), min(have, math.ceil(high)))
            return [(k, (min(k + 1, high) - max(k, low)) / (high - low)) for k in cells]
        step = shrinks = 1 / scale
        if self.table:
            narrow = np.float32
            at = (narrow(i) + narrow(0.5)) * (narrow(have) / narrow(size)) - narrow(0.5)
            centre = (
                math.floor(at)
                + float(np.rint((at - np.floor(at)) * narrow(self.table))) / self.table
            )
        elif self.lines:
            centre = math.fsum([i * self.lines[axis][0], self.lines[axis][1]])
        elif self.coordinates == "align_corners":
            step = (have - 1) / (size - 1) if size > 1 else 0.0
            centre, shrinks = i * step, step or shrinks
        else:
            if self.coordinates == "asymmetric":
                centre = i * step
            else:
                centre = (i + 0.5) * step - 0.5
        wide = max(1.0, shrinks) if self.antialias else 1.0
        span = math.ceil(_RADIUS[self.mode] * wide) + 1
        shares = []
        for place in range(math.floor(centre) - span, math.floor(centre) + span + 1):
            weight = self._weigh(abs(place - centre) / wide)
            if weight and (
                self.outside == "repeated" or (self.outside == "edge" and not self.antialias)
            ):
                shares.append((min(max(place, 0), have - 1), weight))
            elif weight and 0 <= place < have:
                shares.append((place, weight))
        if self.outside == "edge" and not self.antialias:
            return shares
        total = math.fsum(weight for _, weight in shares)
        if abs(total) > 1e-30:
            return [(place, weight / total) for place, weight in shares]
        return []

    def _weigh(self, t: float) -> float:
        """The kernel at a distance, in the textbooks' form."""
        if t >= _RADIUS[self.mode]:
            return 0.0
        if self.mode == "linear":
            return 1 - t
        if self.mode == "cubic":
            a = self.a
            if t <= 1:
                return (a + 2) * t**3 - (a + 3) * t**2 + 1
            return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        if self.mode == "mitchell":
            if t < 1:
                return (7 * t**3 - 12 * t**2 + 16 / 3) / 6
            return (-7 / 3 * t**3 + 12 * t**2 - 20 * t + 32 / 3) / 6
        if self.mode == "gaussian":
            return math.exp(-(t**2) / (2 * 0.5**2))
        radius = _RADIUS[self.mode]
        if t == 0:
            return 1.0
        return radius * math.sin(math.pi * t) * math.sin(math.pi * t / radius) / (math.pi * t) ** 2

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        lead = inputs[0].ndim - len(self.sizes)
        for axis, (taps, have) in enumerate(
            zip(self.taps(inputs[0].shape[lead:]), inputs[0].shape[lead:], strict=True), start=lead
        ):
            front = (slice(None),) * axis
            wider = np.zeros((*mask.shape[:axis], have, *mask.shape[axis + 1 :]), bool)
            for i, (places, weights) in enumerate(zip(taps.places, taps.weights, strict=True)):
                used: Any = np.unique(places[weights != 0])
                wider[(*front, used)] |= mask[(*front, slice(i, i + 1))]
            mask = wider
        return (mask,)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        lead = inputs[0].ndim - len(self.sizes)
        places, shares = [], np.ones(())
        for taps, i in zip(self.taps(inputs[0].shape[lead:]), at[lead:], strict=True):
            used = taps.weights[i] != 0
            places.append(taps.places[i][used])
            shares = np.multiply.outer(shares, taps.weights[i][used])
        share = Weight("share", shares, shares)
        return Contributions(
            (
                Terms(
                    box([*at[:lead], *places]),
                    factor=share,
                    factor_where=np.argwhere(np.ones(shares.shape)),
                ),
            )
        )


_RADIUS = {
    "linear": 1.0,
    "cubic": 2.0,
    "mitchell": 2.0,
    "gaussian": 1.5,
    "lanczos3": 3.0,
    "lanczos5": 5.0,
}
_EVALUATION = {
    "area": 0.0,
    "linear": 0.0,
    "cubic": 3.0,
    "mitchell": 3.0,
    "gaussian": 2.0,
    "lanczos3": 2.0,
    "lanczos5": 2.0,
}
"""What the evaluation of one weight may be off by, in unit roundoffs."""
_SLOPE = {
    "linear": 1.0,
    "cubic": 2.0,
    "mitchell": 1.0,
    "gaussian": 1.3,
    "lanczos3": 1.6,
    "lanczos5": 1.8,
}


def _single_half_pixel(have: int, size: int) -> np.ndarray:
    """The half-pixel coordinates in float32, operation by operation as TensorFlow's kernels have
    them."""
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) * (
        np.float32(have) / np.float32(size)
    ) - np.float32(0.5)


def _along(x: np.ndarray, axis: int, taps: Taps, matrix: np.ndarray | None) -> np.ndarray:
    """One axis resized."""
    if matrix is not None:
        return np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T.astype(x.dtype), -1, axis)
    column = (-1, *(1,) * (x.ndim - 1 - axis))
    total = None
    for places, weights in zip(taps.places.T, taps.weights.T, strict=True):
        if weights.any():
            term = np.take(x, places, axis=axis)
            term *= weights.astype(x.dtype).reshape(column)
            total = term if total is None else np.add(total, term, out=total)
    if total is None:
        return np.zeros((*x.shape[:axis], len(taps.places), *x.shape[axis + 1 :]), x.dtype)
    return total


def _steps(x: np.ndarray, axis: int) -> np.ndarray:
    """How far every element lies from the next one; nothing for the last."""
    out = np.zeros(x.shape)
    front = (slice(None),) * axis
    np.subtract(
        x[(*front, slice(1, None))],
        x[(*front, slice(None, -1))],
        out=out[(*front, slice(None, -1))],
    )
    return np.abs(out, out=out)
