"""Sampling at computed coordinates: every output element is a mean of the input's elements around a
place that another input says."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Terms
from probe.ops.weight import Weight

__all__ = ["GridSample"]

_FAR = float(1 << 30)
_OUTSIDE = 1e3
_WIDE = 4.0
"""How many elements of an axis are tried where a place may be; beyond that it may be any."""
_A = -0.75
"""The coefficient of the cubic kernel (Keys, 1981), as PyTorch and ONNX have it."""


@dataclass(frozen=True, eq=False)
class GridSample(Op):
    """ONNX's GridSample: of x (batch, channel, *spatial) and places (batch, *out, axes), the last
    spatial axis first.

    A place of -1 is the beginning of an axis and 1 its end: the middle of its first and last
    element with ``align``, else their outer edges; with ``pixels`` places count elements.
    ``padding`` says what lies outside: "zeros" (``fill``, then), the "border" or its "reflection".
    ``mode``: linear, nearest or cubic. ``single``: places are computed in float32 in every dtype
    (TensorFlow).
    """

    mode: str = "linear"
    padding: str = "zeros"
    align: bool = False
    pixels: bool = False
    fill: float = 0.0
    single: bool = False

    def summary(self, inputs: Arrays) -> str:
        around = {
            "nearest": "the nearest element",
            "linear": "linear interpolation",
            "cubic": "cubic interpolation",
        }
        if self.padding == "zeros":
            outside = f"{self.fill:g}"
        else:
            outside = f"the {self.padding}"
        return (
            f"{around[self.mode]} at each grid point of {inputs[1].shape[-1]} coordinates, "
            f"{outside} outside"
        )

    def _middles(self, x: np.ndarray, grid: np.ndarray) -> list[np.ndarray]:
        """The places in elements, (batch, places) for each spatial axis of x."""
        found = []
        for axis, size in enumerate(reversed(x.shape[2:])):
            at = grid[..., axis].reshape(len(grid), -1)
            if not self.pixels:
                if self.align:
                    at = (at + 1) * ((size - 1) / 2)
                else:
                    at = ((at + 1) * size - 1) / 2
            found.append(np.clip(np.nan_to_num(at, nan=-_FAR), -_FAR, _FAR))
        return found[::-1]

    def _folded(self, at: np.ndarray, size: int) -> np.ndarray:
        """Places, or numbers of elements, brought inside."""
        if self.padding == "zeros":
            return at
        if self.padding == "reflection":
            low, span = (0.0, size - 1.0) if self.align else (-0.5, float(size))
            away = np.abs(at - low)
            rest, turns = np.mod(away, span or 1.0), np.floor_divide(away, span or 1.0)
            if span:
                at = np.where(turns % 2 == 0, rest, span - rest) + low
            else:
                at = np.zeros_like(at)
        return np.clip(at, 0, size - 1)

    def _taps(self, at: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """What an axis gives to each place: numbers of elements, folded, and their weights."""
        if self.mode == "nearest":
            return [(np.rint(self._folded(at, size)), np.ones(at.shape))]
        first = np.floor(at)
        rest = at - first
        if self.mode == "linear":
            weights = [1 - rest, rest]
        else:
            first = first - 1
            weights = [_cubic(rest + 1), _cubic(rest), _cubic(1 - rest), _cubic(2 - rest)]
        return [(self._folded(first + k, size), weight) for k, weight in enumerate(weights)]

    def _at(self, x: np.ndarray, numbers: Arrays) -> np.ndarray:
        """The elements of these numbers, (batch, channel, places)."""
        flat, inside = np.zeros(numbers[0].shape, np.int64), np.ones(numbers[0].shape, bool)
        for at, size in zip(numbers, x.shape[2:], strict=True):
            inside &= (at >= 0) & (at <= size - 1)
            flat = flat * size + np.clip(at, 0, size - 1).astype(np.int64)
        taken = np.take_along_axis(x.reshape(*x.shape[:2], -1), flat[:, None], axis=2)
        if self.padding != "zeros":
            return taken
        return np.where(inside[:, None], taken, x.dtype.type(self.fill))

    def _sum(
        self, x: np.ndarray, taps: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]
    ) -> np.ndarray:
        total = None
        for parts in product(*taps):
            share = math.prod((weight for _, weight in parts[1:]), start=parts[0][1])
            term = self._at(x, [at for at, _ in parts]) * share[:, None].astype(x.dtype)
            total = term if total is None else total + term
        assert total is not None
        return total

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, grid = inputs
        middles = self._middles(x, grid)
        found = self._sum(
            x, [self._taps(at, size) for at, size in zip(middles, x.shape[2:], strict=True)]
        )
        return (found.reshape(*x.shape[:2], *grid.shape[1:-1]),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """The weights and their sum are rounded, and so are the places: that moves the output by
        the steps between neighbours."""
        (x, grid), (y,) = of.inputs, of.outputs
        x = np.where(np.isfinite(x), x, 0.0)
        space, flat = x.shape[2:], (*x.shape[:2], -1)
        middles = self._middles(x, grid)
        spans = self._spans(
            middles, self._offs(grid, middles, space, of.slacks[1], precision), space
        )
        wide = np.logical_or.reduce([far[1] - far[0] > _WIDE for far in spans])
        spans = [(low, np.minimum(high, low + _WIDE)) for low, high in spans]
        size = np.abs(x) if self.fill == 0 else np.abs(x) + abs(self.fill)
        sizes = type(self)(self.mode, self.padding, self.align, self.pixels, abs(self.fill))
        taps = [self._taps(at, have) for at, have in zip(middles, space, strict=True)]
        roundings = (
            len(taps[0]) ** len(space)
            + 4 * len(space)
            + (6 * len(space) if self.mode == "cubic" else 0)
        )
        whole = [[(at, np.abs(weight)) for at, weight in axis] for axis in taps]
        rounded = roundings * precision.unit + (len(space) * 2.0**-24 if self.single else 0.0)
        own = (0.0 if self.mode == "nearest" and not self.fill else rounded) * sizes._sum(
            size, whole
        )
        if self.mode == "nearest":
            for numbers in self._others(spans, space):
                own = np.maximum(own, np.abs(self._at(x, numbers) - y.reshape(flat)))
        else:
            for axis, (low, high) in enumerate(spans):
                own = own + (high - low)[:, None] / 2 * self._slope(x, spans, taps, axis)
        if wide.any():
            own = np.where(wide[:, None], own + self._extent(x), own)
        if of.slacks[0] is not None:
            none = type(self)(self.mode, self.padding, self.align, self.pixels)
            own = own + none._sum(of.slacks[0], whole)
        return ((own + precision.tiny).reshape(y.shape),)

    def _offs(
        self,
        grid: np.ndarray,
        middles: Arrays,
        space: Sequence[int],
        slack: np.ndarray | None,
        precision: Precision,
    ) -> list[np.ndarray]:
        """How far each coordinate may be off, in elements."""
        found, unit = [], max(precision.unit, 2.0**-24) if self.single else precision.unit
        if slack is not None and self.single and precision.unit:
            slack = slack * (unit / precision.unit)
        for axis, (at, size) in enumerate(zip(middles, space, strict=True)):
            off = 6 * unit * (np.abs(at) + size)
            if slack is not None:
                moved = slack[..., len(space) - 1 - axis].reshape(len(grid), -1)
                off = off + (moved if self.pixels else moved * (size / 2))
            found.append(off)
        return found

    def _spans(
        self, middles: Arrays, offs: Arrays, space: Sequence[int]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """From where to where each coordinate may lie; without reflections all that is far outside
        is alike."""
        spans = []
        for at, off, size in zip(middles, offs, space, strict=True):
            low, high = at - off, at + off
            if self.padding != "reflection":
                low, high = np.clip(low, -8, size + 7), np.clip(high, -8, size + 7)
            spans.append((low, high))
        return spans

    def _extent(self, x: np.ndarray) -> np.ndarray:
        """How far two outputs of a channel may lie apart, (batch, channel, 1); the cubic weights
        add up to 1.375 at most."""
        each = x.reshape(*x.shape[:2], -1)
        high, low = each.max(axis=2, keepdims=True), each.min(axis=2, keepdims=True)
        if self.padding == "zeros":
            high, low = np.maximum(high, self.fill), np.minimum(low, self.fill)
        return (high - low) * (1.375 ** (x.ndim - 2) if self.mode == "cubic" else 1.0)

    def _others(
        self, spans: Sequence[tuple[np.ndarray, np.ndarray]], space: Sequence[int]
    ) -> Iterator[list[np.ndarray]]:
        """The elements that may be nearest where places are a little off."""
        numbers = []
        for (low, high), size in zip(spans, space, strict=True):
            first, last = np.ceil(low - 0.5), np.floor(high + 0.5)
            steps = range(int((last - first).max(initial=0)) + 1)
            numbers.append(
                [np.rint(self._folded(np.minimum(first + step, last), size)) for step in steps]
            )
        for combination in product(*numbers):
            yield list(combination)

    def _slope(
        self,
        x: np.ndarray,
        spans: Sequence[tuple[np.ndarray, np.ndarray]],
        taps: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]],
        axis: int,
    ) -> np.ndarray:
        """How much the output may move where one coordinate moves by one: the largest step among
        the elements that it may fall between."""
        size, edges = x.shape[2 + axis], {"linear": (0, 0), "cubic": (-1, 1)}[self.mode]
        low, high = (np.floor(end) + edge for end, edge in zip(spans[axis], edges, strict=True))
        others = [[(number, np.abs(weight)) for number, weight in part] for part in taps]
        best = np.zeros((*x.shape[:2], low.shape[1]))
        for step in range(int((high - low).max(initial=0)) + 1):
            first = np.minimum(low + step, high)
            pair = [self._folded(first + k, size) for k in (0, 1)]
            far = np.zeros_like(best)
            for parts in product(*(part for k, part in enumerate(others) if k != axis)):
                numbers = [number for number, _ in parts]
                ends = [self._at(x, [*numbers[:axis], end, *numbers[axis:]]) for end in pair]
                far += (
                    np.abs(ends[1] - ends[0])
                    * math.prod((weight for _, weight in parts), start=np.ones_like(low))[:, None]
                )
            # The slope of the cubic kernel is less than 1.5 times each of the steps that it goes
            # over.
            if self.mode == "linear":
                best = np.maximum(best, far)
            else:
                best = best + 1.5 * far
        return best

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, grid = inputs
        shape, space = graph.shape(grid), graph.shape(x)[2:]
        if self.pixels:
            sizes = np.array(space[::-1], np.float64)
            if self.align:
                by, start = (2 / np.maximum(sizes - 1, 1), np.full(sizes.shape, -1.0))
            else:
                by, start = (2 / sizes, 1 / sizes - 1)
            column = (1,) * (len(shape) - 1) + (-1,)
            grid = graph.op(
                "Add",
                graph.op("Mul", grid, graph.const(by.reshape(column))),
                graph.const(start.reshape(column)),
            )
        # ONNX Runtime 1.32 takes places for integers of 32 bits, and all far outside are alike
        if self.padding != "reflection":
            grid = graph.op(
                "Max", graph.op("Min", grid, graph.const(_OUTSIDE)), graph.const(-_OUTSIDE)
            )
        how = {"mode": self.mode, "padding_mode": self.padding, "align_corners": int(self.align)}
        if self.fill:
            x = graph.op("Sub", x, graph.const(self.fill))
        found = graph.op("GridSample", x, grid, **how)
        return (graph.op("Add", found, graph.const(self.fill)) if self.fill else found,)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        x, grid = inputs
        seen = np.zeros((*x.shape[:2], math.prod(x.shape[2:])), bool)
        taps = [
            self._taps(at, size)
            for at, size in zip(self._middles(x, grid), x.shape[2:], strict=True)
        ]
        wanted = mask.reshape(*mask.shape[:2], -1)
        for parts in product(*taps):
            used = math.prod((weight != 0 for _, weight in parts[1:]), start=parts[0][1] != 0)
            flat = np.zeros(used.shape, np.int64)
            for (at, _), size in zip(parts, x.shape[2:], strict=True):
                used = used & (at >= 0) & (at <= size - 1)
                flat = flat * size + np.clip(at, 0, size - 1).astype(np.int64)
            sample, channel, place = np.nonzero(wanted & used[:, None])
            seen[sample, channel, flat[sample, place]] = True
        at = np.broadcast_to(np.any(mask, axis=1)[..., None], grid.shape)
        return seen.reshape(x.shape), at.copy()

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        x, grid = inputs
        here = grid[(at[0], *at[2:])].reshape(1, 1, -1)
        taps = [
            self._taps(middle, size)
            for middle, size in zip(self._middles(x, here), x.shape[2:], strict=True)
        ]
        rows, shares = [], []
        for parts in product(*taps):
            share = math.prod(float(weight[0, 0]) for _, weight in parts)
            if share:
                rows.append([at[0], at[1], *(int(number[0, 0]) for number, _ in parts)])
                shares.append(share)
        if self.fill:
            return super().contributions(inputs, outputs, at)
        factor = Weight("share", np.array(shares), np.array(shares))
        return Contributions(
            (Terms(np.array(rows), factor=factor, factor_where=np.arange(len(rows))[:, None]),)
        )


def _cubic(distance: np.ndarray) -> np.ndarray:
    near = ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * _A - 4 * _A
    return np.where(distance <= 1, near, far)
