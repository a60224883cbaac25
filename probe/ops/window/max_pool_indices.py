"""Max pooling that tells where its maxima stand, its inverse, and p-norms of windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.engine_differences import NAN_IN_EXTREME, SQUARES_OVERFLOW
from probe.ops.window.max_pool import AdaptiveMaxPool, MaxPool, Pool, fitted
from probe.ops.window.sliding_windows import Pads, windows

__all__ = ["AdaptiveMaxPoolIndices", "FractionalMaxPool", "LpPool", "MaxPoolIndices", "MaxUnpool"]


def _winners(cells: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the largest of the last axis of ``cells``, its entry of ``places``): the first of equal
    ones; NaN wins, the last of them."""
    values = np.where(np.isnan(cells), np.inf, cells)
    chosen = values.argmax(axis=-1)
    odd = np.isnan(cells)
    if odd.any():
        last = cells.shape[-1] - 1 - odd[..., ::-1].argmax(axis=-1)
        chosen = np.where(odd.any(axis=-1), last, chosen)
    best = np.take_along_axis(cells, chosen[..., None], axis=-1)[..., 0]
    return best, np.take_along_axis(
        np.broadcast_to(places, cells.shape), chosen[..., None], axis=-1
    )[..., 0]


def _taken(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The elements of each plane of x at these places of it, in the shape of ``places``."""
    flat = x.reshape(*x.shape[:2], -1)
    return np.take_along_axis(flat, places.reshape(*places.shape[:2], -1), axis=2).reshape(
        places.shape
    )


def _undecided(cells: np.ndarray, slack: np.ndarray, plane: int) -> np.ndarray:
    """What an index may be off by: anything where an element that may be off comes as near to the
    maximum as that, nothing elsewhere."""
    with np.errstate(invalid="ignore"):  # padding is -inf
        low, high = cells - slack, cells + slack
        near = high >= low.max(axis=-1, keepdims=True)
    unsure = (near.sum(axis=-1) > 1) & (near & (slack > 0)).any(axis=-1)
    return np.where(unsure, float(plane), 0.0)


@dataclass(frozen=True, eq=False)
class MaxPoolIndices(MaxPool):
    """The largest value of each window, and which element of its plane it is, counted row by row
    (ONNX MaxPool, Indices)."""

    output_count = 2

    def placeless(self, sizes: Sequence[int]) -> bool:
        """Whether some window sees padding alone: its maximum has no place."""
        return bool(self._blind(sizes).any())

    def _cells_of(self, x: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray]:
        """(every window's cells on the last axis, their places in the plane)."""
        sizes = x.shape[2:]
        kernel, pads = self._held(sizes)
        place = np.arange(math.prod(sizes)).reshape(1, 1, *sizes)
        cells, places = (
            windows(fitted(array, pads, value), kernel, self.strides, self.dilations)
            for array, value in ((x, lowest), (place, -1))
        )
        taps = math.prod(kernel)
        return cells.reshape(*cells.shape[: x.ndim], taps), places.reshape(
            *places.shape[: x.ndim], taps
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        if not x.size:
            return _winners(*self._cells_of(x, -np.inf))
        found = [
            _winners(*self._cells_of(image[None, None], -np.inf)) for plane in x for image in plane
        ]
        shape = (*x.shape[:2], *found[0][0].shape[2:])
        return np.stack([y for y, _ in found]).reshape(shape), np.stack(
            [at for _, at in found]
        ).reshape(shape)

    def followed_input(self, output: int) -> int | None:
        return None

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, sizes, rank = inputs[0], graph.shape(inputs[0])[2:], len(self.kernel)
        kernel, pads = self._held(sizes)
        # Padded and cut before, so that places count in a plane of known size; then brought back to
        # the input's.
        amounts = [0, 0, *(before for before, _ in pads), 0, 0, *(after for _, after in pads)]
        wide = [size + before + after for size, (before, after) in zip(sizes, pads, strict=True)]
        if any(amounts):
            x = graph.op("Pad", x, graph.const(amounts), graph.const(-np.inf))
        shape = {"kernel_shape": kernel, "strides": self.strides, "dilations": self.dilations}
        best, at = graph.ops("MaxPool", x, outputs=2, **shape)
        at = graph.op("Mod", at, graph.const(math.prod(wide)))
        total = None
        for axis in range(rank):
            inner = math.prod(wide[axis + 1 :])
            here = graph.op("Mod", graph.op("Div", at, graph.const(inner)), graph.const(wide[axis]))
            moved = graph.op(
                "Mul",
                graph.op("Sub", here, graph.const(pads[axis][0])),
                graph.const(math.prod(sizes[axis + 1 :])),
            )
            total = moved if total is None else graph.op("Add", total, moved)
        assert total is not None
        return best, total

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return np.zeros(of.outputs[0].shape), np.zeros(of.outputs[1].shape)
        cells, _ = self._cells_of(of.inputs[0], -np.inf)
        slack, _ = self._cells_of(of.slacks[0], 0.0)
        plane = math.prod(of.inputs[0].shape[2:])
        return slack.max(axis=-1), _undecided(cells, slack, plane)


@dataclass(frozen=True, eq=False)
class AdaptiveMaxPoolIndices(AdaptiveMaxPool):
    """The largest value of cells that tile the trailing axes, and which element of its plane it
    is."""

    output_count = 2

    def _found(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lead = x.ndim - len(self.output_size)
        sizes = x.shape[lead:]
        place = np.arange(math.prod(sizes)).reshape(sizes)
        values = np.empty((*x.shape[:lead], *self.output_size), x.dtype)
        places = np.empty(values.shape, np.int64)
        if not values.size:
            return values, places
        axes = self._cells(sizes)
        for at in np.ndindex(*self.output_size):
            cell: Any = tuple(slice(*axis[i]) for axis, i in zip(axes, at, strict=True))
            values[(..., *at)], places[(..., *at)] = _winners(
                x[(..., *cell)].reshape(*x.shape[:lead], -1), place[cell].ravel()
            )
        return values, places

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return self._found(inputs[0])

    def followed_input(self, output: int) -> int | None:
        return None

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (best,) = AdaptiveMaxPool.to_onnx(self, graph, *inputs)
        shape = graph.shape(inputs[0])
        lead = len(shape) - len(self.output_size)
        sizes, axes = shape[lead:], list(range(lead, len(shape)))
        parts = []
        for at in np.ndindex(*self.output_size):
            spans = [
                (i * n // out, math.ceil((i + 1) * n / out))
                for i, n, out in zip(at, sizes, self.output_size, strict=True)
            ]
            starts, stops = ([span[end] for span in spans] for end in (0, 1))
            cell = graph.op(
                "Slice", inputs[0], graph.const(starts), graph.const(stops), graph.const(axes)
            )
            size = math.prod(stop - start for start, stop in spans)
            winner = graph.op(
                "ArgMax",
                graph.op("Reshape", cell, graph.const([*shape[:lead], size])),
                axis=-1,
                keepdims=1,
            )
            grid = np.meshgrid(*(range(start, stop) for start, stop in spans), indexing="ij")
            parts.append(
                graph.op("Gather", graph.const(np.ravel_multi_index(grid, sizes).ravel()), winner)
            )
        joined = graph.op("Concat", *parts, axis=lead)
        return best, graph.op("Reshape", joined, graph.const([*shape[:lead], *self.output_size]))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (values, places) = of.inputs, of.slacks, of.outputs
        off = np.zeros(places.shape)
        if slack is None or not values.size:
            return np.zeros(values.shape), off
        lead = x.ndim - len(self.output_size)
        axes = self._cells(x.shape[lead:])
        for at in np.ndindex(*self.output_size):
            cell: Any = (..., *(slice(*axis[i]) for axis, i in zip(axes, at, strict=True)))
            cells, slacks = (array[cell].reshape(*x.shape[:lead], -1) for array in (x, slack))
            off[(..., *at)] = _undecided(cells, slacks, math.prod(x.shape[lead:]))
        return AdaptiveMaxPool.run(self, slack)[0], off


@dataclass(frozen=True, eq=False)
class MaxUnpool(Op):
    """Zeros of (batch, channel, *sizes) with the values of the first input at the places of the
    second (ONNX MaxUnpool).

    Places count row by row in their plane, as MaxPoolIndices gives them; where two values have one
    place the last stays.
    """

    sizes: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, places = inputs
        out = np.zeros((*x.shape[:2], math.prod(self.sizes)), x.dtype)
        flat, at = x.reshape(*x.shape[:2], -1), places.reshape(*x.shape[:2], -1).astype(np.int64)
        np.put_along_axis(out, at, flat, axis=2)
        return (out.reshape(*x.shape[:2], *self.sizes),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        batch, channels, *sizes = graph.shape(inputs[0])
        three = graph.const([batch, channels, math.prod(sizes)])
        at = graph.op("Cast", graph.op("Reshape", inputs[1], three), to=7)  # INT64
        zeros = graph.op(
            "Expand", graph.const(0.0), graph.const([batch, channels, math.prod(self.sizes)])
        )
        out = graph.op("ScatterElements", zeros, at, graph.op("Reshape", inputs[0], three), axis=2)
        return (graph.op("Reshape", out, graph.const([batch, channels, *self.sizes])),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return self.run(of.slacks[0], of.inputs[1])

    def _sources(self, at: Sequence[int], places: np.ndarray) -> np.ndarray:
        """The elements of the input that are put at one place."""
        place = int(np.ravel_multi_index(at[2:], self.sizes))
        found = np.argwhere(places[at[0], at[1]] == place)
        return np.column_stack([np.full(len(found), at[0]), np.full(len(found), at[1]), found])

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        found = self._sources(at, inputs[1])
        if not len(found):
            return Contributions((), (Stage("no input element is placed here", 0.0),))
        return Contributions(
            (Terms(found[-1:]),), (Stage("put here", float(outputs[0][at]), Terms(found)),)
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        places = inputs[1].reshape(*inputs[1].shape[:2], -1).astype(np.int64)
        found = np.take_along_axis(mask.reshape(*mask.shape[:2], -1), places, axis=2).reshape(
            inputs[0].shape
        )
        return found, np.full(inputs[1].shape, mask.any())


@dataclass(frozen=True, eq=False)
class LpPool(Pool):
    """The ``p``-norm of each window: (sum of x^p)^(1/p) (ONNX LpPool, without its absolute value:
    PyTorch takes none).

    A window that ``ceil_mode`` lets reach beyond the input is scaled up to its full size (PyTorch's
    lp_pool averages first).
    """

    p: float
    ceil_mode: bool = False
    engine_differences = (SQUARES_OVERFLOW,)

    @property
    def reaches_beyond(self) -> bool:
        return self.ceil_mode

    def _held(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], Pads]:
        ones = (1,) * len(self.kernel)
        return self._trimmed(sizes, self._effective_pads(sizes, self.ceil_mode, ones), ones)

    def window_sums(self, x: np.ndarray) -> np.ndarray:
        """Sums over the windows, and those at the end scaled up."""
        kernel, pads = self._held(x.shape[2:])
        view = windows(fitted(x, pads, 0.0), kernel, self.strides, (1,) * len(kernel))
        total = view.sum(axis=tuple(range(x.ndim, view.ndim)))
        for axis, (size, k, s, (before, _)) in enumerate(
            zip(x.shape[2:], self.kernel, self.strides, pads, strict=True), start=2
        ):
            starts = np.arange(total.shape[axis]) * s - before
            inside = np.minimum(starts + k, size) - starts
            total = total * (k / inside).reshape(-1, *(1,) * (x.ndim - 1 - axis))
        return total

    def _root(self, total: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return total ** (1 / self.p)

    def summary(self, inputs: Arrays) -> str:
        return f"the {self.p:g}-norm of windows of {' x '.join(map(str, self.kernel))}"

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (self._root(self.window_sums(inputs[0] ** self.p)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = graph.op("Pow", inputs[0], graph.const(float(self.p)))
        sizes = graph.shape(inputs[0])[2:]
        kernel, pads = self._held(sizes)
        amounts = [0, 0, *(before for before, _ in pads), 0, 0, *(after for _, after in pads)]
        if any(amounts):
            x = graph.op("Pad", x, graph.const(amounts))
        total = graph.op("AveragePool", x, kernel_shape=kernel, strides=self.strides)
        factor = np.array(float(math.prod(kernel)))
        for n, k, taps, s, (before, after) in zip(
            sizes, self.kernel, kernel, self.strides, pads, strict=True
        ):
            count = (n + before + after - taps) // s + 1
            factor = factor[..., None] * [
                k / (min(i * s - before + k, n) - (i * s - before)) for i in range(count)
            ]
        return (
            graph.op("Pow", graph.op("Mul", total, graph.const(factor)), graph.const(1 / self.p)),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        with np.errstate(all="ignore"):
            powers = x**self.p
            total = self.window_sums(powers)
            off = of_sums(
                math.prod(self._held(x.shape[2:])[0]),
                total,
                self.window_sums(np.square(powers)),
                precision,
            )
            off += (6 + 2 * abs(self.p)) * precision.unit * self.window_sums(np.abs(powers))
            if of.slacks[0] is not None:
                off = off + self.window_sums(
                    np.abs(self.p * np.abs(x) ** (self.p - 1)) * of.slacks[0]
                )
            moved = np.fmax(
                np.abs(self._root(total + off) - y),
                np.abs(self._root(np.maximum(total - off, 0)) - y),
            )
            own = (
                np.where(np.isfinite(moved), moved, 0.0)
                + 8 * precision.unit * np.abs(y)
                + precision.tiny
            )
        return (np.where(np.isfinite(own), own, precision.tiny),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        cells = self._cells(at, inputs[0].shape, (1,) * len(self.kernel))
        stage = Stage(
            f"the {self.p:g}-norm of {len(cells)} elements", float(outputs[0][at]), Terms(cells)
        )
        return Contributions(
            (Terms(cells[np.argmax(np.abs(inputs[0][tuple(cells.T)]))][None]),), (stage,)
        )


@dataclass(frozen=True, eq=False)
class FractionalMaxPool(Op):
    """The largest value of windows that start anywhere, and which element of its plane it is
    (Graham, 2014).

    ``starts`` has (batch, channel, out) for each spatial axis.
    """

    kernel: tuple[int, ...]
    starts: tuple[np.ndarray, ...]
    engine_differences = (NAN_IN_EXTREME,)
    output_count = 2

    def _places(self, sizes: Sequence[int]) -> np.ndarray:
        """(batch, channel, *out, taps): the elements of every window, counted row by row in their
        plane."""
        rank = len(sizes)
        total: np.ndarray = np.zeros((), np.int64)
        for axis, (start, k) in enumerate(zip(self.starts, self.kernel, strict=True)):
            cells = start[..., None] + np.arange(k)
            shape = [
                *cells.shape[:2],
                *(cells.shape[2] if i == axis else 1 for i in range(rank)),
                *(k if i == axis else 1 for i in range(rank)),
            ]
            total = total + cells.reshape(shape) * math.prod(sizes[axis + 1 :])
        return total.reshape(*total.shape[: 2 + rank], -1)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        places = self._places(x.shape[2:])
        return _winners(_taken(x, places), places)

    def followed_input(self, output: int) -> int | None:
        return None

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        batch, channels, *sizes = graph.shape(inputs[0])
        places = self._places(sizes)
        flat = graph.op("Reshape", inputs[0], graph.const([batch, channels, math.prod(sizes)]))
        cells = graph.op(
            "GatherElements", flat, graph.const(places.reshape(batch, channels, -1)), axis=2
        )
        cells = graph.op("Reshape", cells, graph.const(list(places.shape)))
        winner = graph.op("ArgMax", cells, axis=-1, keepdims=1)
        found = graph.op("GatherElements", graph.const(places), winner, axis=-1)
        last = graph.const([-1])
        return graph.op("ReduceMax", cells, last, keepdims=0), graph.op("Squeeze", found, last)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return np.zeros(of.outputs[0].shape), np.zeros(of.outputs[1].shape)
        sizes = of.inputs[0].shape[2:]
        places = self._places(sizes)
        cells, slack = _taken(of.inputs[0], places), _taken(of.slacks[0], places)
        return slack.max(axis=-1), _undecided(cells, slack, math.prod(sizes))

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        cells = self._places(inputs[0].shape[2:])[at]
        spots = np.stack(np.unravel_index(cells, inputs[0].shape[2:]), axis=1)
        where = np.column_stack([np.full((len(cells), 2), at[:2]), spots])
        winner = int(np.argmax(cells == outputs[1][at]))
        return Contributions(
            (Terms(where[winner : winner + 1]),),
            (Stage(f"the largest of {len(cells)} elements", float(outputs[0][at]), Terms(where)),),
        )
