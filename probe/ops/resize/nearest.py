"""Resizing by repeating or leaving out elements."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Rearrangement

__all__ = ["NearestOnLines", "ResizeNearest"]


@dataclass(frozen=True, eq=False)
class ResizeNearest(Rearrangement):
    """Each axis resized to ``sizes`` by repeating the element at a rounded coordinate (ONNX Resize,
    nearest).

    ``scales`` are output / input per axis. ``rounding`` is floor, ceil, round_prefer_floor or
    round_prefer_ceil (halves).
    """

    scales: tuple[float, ...]
    sizes: tuple[int, ...]
    coordinates: str = "asymmetric"
    rounding: str = "floor"

    def _sources(self, shape: Sequence[int]) -> list[np.ndarray]:
        return [self._source(*axis) for axis in zip(self.scales, self.sizes, shape, strict=True)]

    def _source(self, scale: float, size: int, have: int) -> np.ndarray:
        # The frameworks multiply by the reciprocal in float32 (PyTorch's ATen/native/UpSample.h,
        # nearest_neighbor_compute_source_index).
        at, step = np.arange(size, dtype=np.float32), np.float32(1 / scale)
        if self.coordinates == "align_corners":
            at = at * np.float32((have - 1) / (size - 1) if size > 1 else 0)
        elif self.coordinates == "half_pixel":
            half = np.float32(0.5)
            if self.rounding == "round_prefer_ceil":
                return np.clip(np.floor((at + half) * step).astype(int), 0, have - 1)
            at = (at + half) * step - half
        else:
            at = at * step
        match self.rounding:
            case "floor":
                at = np.floor(at)
            case "ceil":
                at = np.ceil(at)
            case "round_prefer_floor":
                at = np.ceil(at - np.float32(0.5))
            case "round_prefer_ceil":
                at = np.floor(at + np.float32(0.5))
        return np.clip(at.astype(int), 0, have - 1)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        for axis, (scale, source) in enumerate(
            zip(self.scales, self._sources(x.shape), strict=True)
        ):
            whole = scale == int(scale) and source.size == x.shape[axis] * int(scale)
            if whole and (self.coordinates, self.rounding) in (
                ("asymmetric", "floor"),
                ("half_pixel", "round_prefer_ceil"),
            ):
                if scale != 1:
                    x = np.repeat(x, int(scale), axis=axis)
            else:
                x = np.take(x, source, axis=axis)
        return (x,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        axes = zip(graph.shape(x), self.scales, self.sizes, strict=True)
        whole = all(have * scale == size and scale == int(scale) for have, scale, size in axes)
        if self.coordinates != "align_corners" and whole:
            how = {
                "mode": "nearest",
                "coordinate_transformation_mode": self.coordinates,
                "nearest_mode": self.rounding,
            }
            return (
                graph.op(
                    "Resize", x, "", graph.const([float(scale) for scale in self.scales]), **how
                ),
            )
        # ONNX Runtime divides by the scale where the frameworks multiply, and copies the input
        # where an axis keeps its size.
        for axis, (have, scale, size) in enumerate(
            zip(graph.shape(x), self.scales, self.sizes, strict=True)
        ):
            if scale != 1 or size != have:
                x = graph.op(
                    "Gather",
                    x,
                    graph.const([self._place(i, scale, size, have) for i in range(size)]),
                    axis=axis,
                )
        return (x,)

    def _place(self, i: int, scale: float, size: int, have: int) -> int:
        step, half = np.float32(1 / scale), np.float32(0.5)
        if self.coordinates == "half_pixel" and self.rounding == "round_prefer_ceil":
            return min(int((np.float32(i) + half) * step), have - 1)
        if self.coordinates == "half_pixel":
            at = float((np.float32(i) + half) * step - half)
        elif self.coordinates == "align_corners":
            at = float(np.float32(i) * np.float32((have - 1) / max(1, size - 1)))
        else:
            at = float(np.float32(i) * step)
        rounded = {
            "floor": math.floor(at),
            "ceil": math.ceil(at),
            "round_prefer_floor": math.ceil(at - 0.5),
            "round_prefer_ceil": math.floor(at + 0.5),
        }[self.rounding]
        return min(max(rounded, 0), have - 1)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return tuple(
            source[at] for source, at in zip(self._sources(inputs[0].shape), where, strict=True)
        )


@dataclass(frozen=True, eq=False)
class NearestOnLines(Rearrangement):
    """Each axis resized to ``sizes`` by repeating the element at the rounded coordinate slope * i +
    start (ONNX Resize, nearest).

    ``lines`` has (slope, start) per axis. Where a coordinate lies within rounding of where two
    elements meet, an engine may take either.
    """

    sizes: tuple[int, ...]
    lines: tuple[tuple[float, float], ...]
    rounding: str = "round_prefer_floor"

    def summary(self, inputs: Arrays) -> str:
        return (
            f"{' x '.join(map(str, inputs[0].shape))} to {' x '.join(map(str, self.sizes))}, "
            f"{self.rounding}"
        )

    def _places(self, shape: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per axis the places that are taken, and those that rounding may take instead."""
        found = []
        for size, (slope, start), have in zip(self.sizes, self.lines, shape, strict=True):
            at = np.arange(size) * slope + start
            shift = {
                "floor": 0.0,
                "ceil": 0.0,
                "round_prefer_floor": -0.5,
                "round_prefer_ceil": 0.5,
            }[self.rounding]
            near = np.rint(at + shift)
            meets = np.abs(at + shift - near) <= _NEAR * (np.abs(at) + 2)
            up = self.rounding in ("ceil", "round_prefer_floor")
            whole = np.where(meets, near, np.ceil(at + shift) if up else np.floor(at + shift))
            unsure = meets & (not _is_exact(slope, start))
            other = np.where(unsure, whole + (1 if up else -1), whole)
            found.append(tuple(np.clip(index, 0, have - 1).astype(int) for index in (whole, other)))
        return found

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0][np.ix_(*(taken for taken, _ in self._places(inputs[0].shape)))],)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        for axis, (have, size, line) in enumerate(
            zip(graph.shape(x), self.sizes, self.lines, strict=True)
        ):
            if size != have or line != (1.0, 0.0):
                x = graph.op(
                    "Gather",
                    x,
                    graph.const([self._place(i, line, have) for i in range(size)]),
                    axis=axis,
                )
        return (x if x != inputs[0] else graph.op("Identity", x),)

    def _place(self, i: int, line: tuple[float, float], have: int) -> int:
        """By whole numbers: the coordinate is taken for the nearest half that it is within rounding
        of."""
        at = i * Fraction(line[0]) + Fraction(line[1])
        half = Fraction(round(2 * at), 2)
        if abs(at - half) <= _NEAR * (abs(float(at)) + 2):
            at = half
        match self.rounding:
            case "floor":
                place = math.floor(at)
            case "ceil":
                place = math.ceil(at)
            case "round_prefer_floor":
                place = math.ceil(at - Fraction(1, 2))
            case _:
                place = math.floor(at + Fraction(1, 2))
        return min(max(place, 0), have - 1)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        allowed = np.zeros(y.shape) if slack is None else self.run(slack)[0]
        places = self._places(x.shape)
        unsure = [axis for axis, (taken, other) in enumerate(places) if (taken != other).any()]
        for chosen in itertools.product((0, 1), repeat=len(unsure)):
            if any(chosen):
                which = dict(zip(unsure, chosen, strict=True))
                moved = x[np.ix_(*(places[axis][which.get(axis, 0)] for axis in range(x.ndim)))]
                with np.errstate(invalid="ignore"):
                    allowed = np.fmax(
                        allowed, np.abs(moved - y) + (0 if slack is None else slack.max(initial=0))
                    )
        return (allowed,)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return tuple(
            taken[at] for (taken, _), at in zip(self._places(inputs[0].shape), where, strict=True)
        )


def _is_exact(slope: float, start: float) -> bool:
    """Whether nothing is rounded in the coordinates of a line: by a power of two, from a whole
    number of 1024ths."""
    return math.frexp(slope)[0] == 0.5 and (start * 1024).is_integer()


_NEAR = 2.0**-20
"""What a coordinate found in float32 may be off by, in units of itself."""
