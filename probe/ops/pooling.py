"""Pooling: the largest value or the mean of each window, of cells that tile the input, or of whole axes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.ops.account import Account, Stage, Terms, box
from probe.ops.base import Op
from probe.ops.windows import Pads, flat, padded, seen
from probe.rounding import of_sums

__all__ = ["AdaptiveAveragePool", "AdaptiveMaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"]


@dataclass(frozen=True, eq=False)
class _Pool(Op):
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads

    def _reach(self, sizes: Sequence[int], ceil_mode: bool, dilations: Sequence[int]) -> Pads:
        """The pads with which a plain floor of the output size gives what ``ceil_mode`` asks for.

        A window that would start in the padding after the input is dropped (PyTorch's ATen/native/Pool.h,
        pooling_output_shape); the result may therefore lie below the declared padding.
        """
        if not ceil_mode:
            return self.pads
        reached = []
        for size, k, s, d, (before, after) in zip(sizes, self.kernel, self.strides, dilations, self.pads, strict=True):
            span = (k - 1) * d + 1
            count = -(-(size + before + after - span) // s) + 1
            if (count - 1) * s >= size + before:
                count -= 1
            reached.append((before, (count - 1) * s + span - size - before))
        return tuple(reached)

    def _cells(self, at: Sequence[int], shape: Sequence[int], dilations: Sequence[int]) -> np.ndarray:
        """The elements of the input that the window of one output holds."""
        ranges: list[Any] = list(at[:2])
        for i, size, k, s, d, (before, _) in zip(at[2:], shape[2:], self.kernel, self.strides, dilations, self.pads, strict=True):
            ranges.append([cell for cell in range(i * s - before, i * s - before + k * d, d) if 0 <= cell < size])
        return box(ranges)


def _largest(x: np.ndarray, cells: np.ndarray, value: float) -> Account:
    """The account of a maximum: the first of the cells that holds it."""
    if not len(cells):
        return Account((), (Stage("the window sees padding alone", value),))
    winner = int(np.argmax(x[tuple(cells.T)]))
    return Account((Terms(cells[winner : winner + 1]),), (Stage(f"the largest of {len(cells)} elements", value, Terms(cells)),))


def _fitted(x: np.ndarray, pads: Pads, value: float) -> np.ndarray:
    """Pads x; a negative pad at the end leaves the surplus out."""
    keep = tuple(slice(None, size + min(0, after)) for size, (_, after) in zip(x.shape[2:], pads, strict=True))
    return padded(x[(slice(None), slice(None), *keep)], tuple((before, max(0, after)) for before, after in pads), value)


@dataclass(frozen=True, eq=False)
class MaxPool(_Pool):
    """The largest value of each window; padding never wins (ONNX MaxPool)."""

    dilations: tuple[int, ...]
    ceil_mode: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        x = _fitted(x, self._reach(x.shape[2:], self.ceil_mode, self.dilations), lowest)
        for axis, (k, s, d) in enumerate(zip(self.kernel, self.strides, self.dilations, strict=True), start=2):
            count = (x.shape[axis] - (k - 1) * d - 1) // s + 1
            lead = (slice(None),) * axis
            best = x[(*lead, slice(0, (count - 1) * s + 1, s))]
            for tap in range(1, k):
                best = np.maximum(best, x[(*lead, slice(tap * d, tap * d + (count - 1) * s + 1, s))])
            x = best
        return (np.ascontiguousarray(x),)

    def emit(self, graph, *inputs):
        pads = self._reach(graph.shape(inputs[0])[2:], self.ceil_mode, self.dilations)
        x = inputs[0]
        if any(after < 0 for _, after in pads):
            axes = list(range(2, 2 + len(pads)))
            stops = [size + min(0, after) for size, (_, after) in zip(graph.shape(x)[2:], pads, strict=True)]
            x = graph.op("Slice", x, graph.const([0] * len(axes)), graph.const(stops), graph.const(axes))
            pads = tuple((before, max(0, after)) for before, after in pads)
        if all(max(pad) < k for pad, k in zip(pads, self.kernel, strict=True)):
            settings = {"kernel_shape": self.kernel, "strides": self.strides, "dilations": self.dilations}
            out = graph.op("MaxPool", x, pads=flat(pads), **settings)
        else:
            amounts = [0, 0, *(b for b, _ in pads), 0, 0, *(a for _, a in pads)]
            x = graph.op("Pad", x, graph.const(amounts), graph.const(-np.inf))
            out = graph.op("MaxPool", x, kernel_shape=self.kernel, strides=self.strides, dilations=self.dilations)
        blind = self._blind(graph.shape(inputs[0])[2:])
        # ONNX Runtime starts its search at the lowest float and not at -inf, and gives that where a window sees padding alone.
        return (graph.op("Where", graph.const(blind), graph.const(-np.inf), out) if blind.any() else out,)

    def _blind(self, sizes: Sequence[int]) -> np.ndarray:
        """Which output positions have a window that lies in the padding alone (dilated ones can step over the input)."""
        blind = np.zeros((), bool)
        pads = self._reach(sizes, self.ceil_mode, self.dilations)
        for size, k, s, d, (before, after) in zip(sizes, self.kernel, self.strides, self.dilations, pads, strict=True):
            starts = np.arange((size + before + after - (k - 1) * d - 1) // s + 1) * s - before
            cells = starts[:, None] + np.arange(k) * d
            blind = blind[..., None] | ~((cells >= 0) & (cells < size)).any(axis=1)
        return blind

    def reach(self, mask, inputs):
        return (seen(mask, inputs[0].shape[2:], self.kernel, self.strides, self.pads, self.dilations),)

    def account(self, inputs, outputs, at):
        return _largest(inputs[0], self._cells(at, inputs[0].shape, self.dilations), float(outputs[0][at]))

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        if slacks[0] is None:
            return (np.zeros(outputs[0].shape),)
        return self.run(slacks[0])


@dataclass(frozen=True, eq=False)
class AveragePool(_Pool):
    """The mean of each window (ONNX AveragePool).

    It divides by ``divisor_override``, or else by the cells of the window that lie in the input
    (``count_include_pad`` False) or in the input and its declared padding (True; with ``ceil_mode`` a window may reach
    further, and those cells never count: PyTorch's ATen/native/cpu/AvgPoolKernel.cpp).
    """

    ceil_mode: bool = False
    count_include_pad: bool = False
    divisor_override: int | None = None

    def _layout(self, sizes: Sequence[int]) -> tuple[Pads, np.ndarray]:
        """The pads that fit the windows, and what each output divides by."""
        ones = (1,) * len(self.kernel)
        pads = self._reach(sizes, self.ceil_mode, ones)
        divisor = np.ones(())
        for size, k, s, (before, after), (_, declared) in zip(sizes, self.kernel, self.strides, pads, self.pads, strict=True):
            start = np.arange((size + before + after - k) // s + 1) * s - before
            stop = np.minimum(start + k, size + (declared if self.count_include_pad else 0))
            if not self.count_include_pad:
                start = np.maximum(start, 0)
            divisor = divisor[..., None] * (stop - start)
        if self.divisor_override is not None:
            divisor = np.full(divisor.shape, float(self.divisor_override))
        return pads, divisor

    def _totals(self, x: np.ndarray, pads: Pads) -> np.ndarray:
        x = _fitted(x, pads, 0.0)
        for axis, (k, s) in enumerate(zip(self.kernel, self.strides, strict=True), start=2):
            count = (x.shape[axis] - k) // s + 1
            lead = (slice(None),) * axis
            total = x[(*lead, slice(0, (count - 1) * s + 1, s))].copy()
            for tap in range(1, k):
                total += x[(*lead, slice(tap, tap + (count - 1) * s + 1, s))]
            x = total
        return x

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        pads, divisor = self._layout(x.shape[2:])
        return (self._totals(x, pads) / divisor,)

    def emit(self, graph, *inputs):
        x, window = inputs[0], math.prod(self.kernel)
        pads, divisor = self._layout(graph.shape(x)[2:])
        flat = [0, 0, *(b for b, _ in pads), 0, 0, *(a for _, a in pads)]
        x = graph.op("Pad", x, graph.const(flat)) if any(flat) else x
        mean = graph.op("AveragePool", x, kernel_shape=self.kernel, strides=self.strides)
        return (mean,) if (divisor == window).all() else (graph.op("Mul", mean, graph.const(window / divisor)),)

    def reach(self, mask, inputs):
        return (seen(mask, inputs[0].shape[2:], self.kernel, self.strides, self.pads, (1,) * len(self.kernel)),)

    def account(self, inputs, outputs, at):
        cells = self._cells(at, inputs[0].shape, (1,) * len(self.kernel))
        divisor = int(self._layout(inputs[0].shape[2:])[1][at[2:]])
        why = "its cells of padding counted" if self.count_include_pad else "the cells inside the input"
        words = f"divided by {divisor}" + (f", {why}" if len(cells) < math.prod(self.kernel) and self.divisor_override is None else "")
        return Account((Terms(cells),), (Stage(words, float(outputs[0][at])),))

    def terms_of(self, inputs, outputs):
        return math.prod(self.kernel)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        (x,), (y,) = inputs, outputs
        pads, divisor = self._layout(x.shape[2:])
        own = _mean_allowance(self.terms_of(inputs, outputs), y, self._totals(np.square(x), pads), divisor, precision)
        return (own if slacks[0] is None else own + np.sqrt(self._totals(np.square(slacks[0]), pads)) / divisor,)


def _mean_allowance(count: int, mean: np.ndarray, squares: np.ndarray, divisor: np.ndarray | int, precision) -> np.ndarray:
    """A sum of ``count`` values, divided once (two roundings: the reciprocal and the product)."""
    from_sum = of_sums(count, mean * divisor, squares, precision) / divisor
    return from_sum + 2 * precision.unit * np.abs(mean) + precision.tiny


def _mean(cells: np.ndarray, value: float) -> Account:
    """The account of a plain mean."""
    return Account((Terms(cells),), (Stage(f"divided by {len(cells)}", value),))


def _reduced(at: Sequence[int], shape: Sequence[int], axes: Sequence[int], keepdims: bool) -> np.ndarray:
    """The elements that a reduction over ``axes`` puts into one."""
    kept = iter(at)
    reduced = {axis % len(shape) for axis in axes}
    ranges: list[Any] = []
    for axis, size in enumerate(shape):
        if axis in reduced:
            ranges.append(range(size))
            if keepdims:
                next(kept)
        else:
            ranges.append(next(kept))
    return box(ranges)


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Op):
    """The mean over ``axes`` (ONNX ReduceMean)."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0].mean(axis=self.axes, keepdims=self.keepdims),)

    def emit(self, graph, *inputs):
        return (graph.op("ReduceMean", inputs[0], graph.const(list(self.axes)), keepdims=int(self.keepdims)),)

    def reach(self, mask, inputs):
        shape = [1 if axis in {k % inputs[0].ndim for k in self.axes} else size for axis, size in enumerate(inputs[0].shape)]
        return (np.broadcast_to(mask.reshape(shape), inputs[0].shape),)

    def account(self, inputs, outputs, at):
        cells = _reduced(at, inputs[0].shape, self.axes, self.keepdims)
        return _mean(cells, float(outputs[0][at]))

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        (x,), (y,) = inputs, outputs
        count = math.prod(x.shape[axis] for axis in self.axes)
        squares = np.square(x).sum(axis=self.axes, keepdims=self.keepdims)
        own = _mean_allowance(count, y, squares, count, precision)
        if slacks[0] is None:
            return (own,)
        return (own + np.sqrt(np.square(slacks[0]).sum(axis=self.axes, keepdims=self.keepdims)) / count,)


@dataclass(frozen=True, eq=False)
class GlobalMaxPool(Op):
    """The largest value over ``axes`` (ONNX ReduceMax)."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0].max(axis=self.axes, keepdims=self.keepdims),)

    def emit(self, graph, *inputs):
        return (graph.op("ReduceMax", inputs[0], graph.const(list(self.axes)), keepdims=int(self.keepdims)),)

    def reach(self, mask, inputs):
        shape = [1 if axis in {k % inputs[0].ndim for k in self.axes} else size for axis, size in enumerate(inputs[0].shape)]
        return (np.broadcast_to(mask.reshape(shape), inputs[0].shape),)

    def account(self, inputs, outputs, at):
        cells = _reduced(at, inputs[0].shape, self.axes, self.keepdims)
        return _largest(inputs[0], cells, float(outputs[0][at]))

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        return self.run(slacks[0]) if slacks[0] is not None else (np.zeros(outputs[0].shape),)


@dataclass(frozen=True, eq=False)
class _AdaptivePool(Op):
    output_size: tuple[int, ...]

    def _cells(self, sizes: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Per axis the (start, stop) of every cell: floor(i * in / out) to ceil((i + 1) * in / out) (PyTorch's AdaptivePooling.h)."""
        return [
            [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)] for size, out in zip(sizes, self.output_size, strict=True)
        ]

    def _cell(self, at: tuple[int, ...], shape: Sequence[int]) -> np.ndarray:
        """The elements of the input that one output is made of."""
        lead = len(shape) - len(self.output_size)
        cells = self._cells(shape[lead:])
        return box([*at[:lead], *(range(*axis[i]) for axis, i in zip(cells, at[lead:], strict=True))])

    def reach(self, mask, inputs):
        first = inputs[0].ndim - len(self.output_size)
        for axis, cells in enumerate(self._cells(inputs[0].shape[first:]), start=first):
            lead = (slice(None),) * axis
            wider = np.zeros((*mask.shape[:axis], inputs[0].shape[axis], *mask.shape[axis + 1 :]), bool)
            for i, (start, stop) in enumerate(cells):
                wider[(*lead, slice(start, stop))] |= mask[(*lead, slice(i, i + 1))]
            mask = wider
        return (mask,)

    def _fold(self, x: np.ndarray, reduce: Callable[..., np.ndarray]) -> np.ndarray:
        first = x.ndim - len(self.output_size)
        for axis, cells in enumerate(self._cells(x.shape[first:]), start=first):
            lead = (slice(None),) * axis
            x = np.stack([reduce(x[(*lead, slice(start, stop))], axis=axis) for start, stop in cells], axis=axis)
        return x


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool(_AdaptivePool):
    """The mean over cells that tile the trailing axes into ``output_size``."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._fold(inputs[0], np.mean),)

    def account(self, inputs, outputs, at):
        return _mean(self._cell(at, inputs[0].shape), float(outputs[0][at]))

    def emit(self, graph, *inputs):
        x, shape = inputs[0], graph.shape(inputs[0])
        rank, spatial = len(shape), len(self.output_size)
        for axis, (size, out) in enumerate(zip(shape[rank - spatial :], self.output_size, strict=True), start=rank - spatial):
            matrix = np.zeros((size, out))
            for column in range(out):
                start, stop = math.floor(column * size / out), math.ceil((column + 1) * size / out)
                matrix[start:stop, column] = 1 / (stop - start)
            order = [*range(axis), *range(axis + 1, rank), axis]
            back = [*range(axis), rank - 1, *range(axis, rank - 1)]
            x = graph.op("Transpose", graph.op("MatMul", graph.op("Transpose", x, perm=order), graph.const(matrix)), perm=back)
        return (x,)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        (x,), (y,) = inputs, outputs
        cells = self._cells(x.shape[x.ndim - len(self.output_size) :])
        counts = np.ones(())
        for axis in cells:
            counts = counts[..., None] * np.array([stop - start for start, stop in axis])
        squares = self._fold(np.square(x), np.mean) * counts
        # ONNX multiplies by rounded reciprocals axis by axis: each product is rounded, as in a weighted sum.
        own = _mean_allowance(int(counts.max(initial=1)) * max(1, len(cells)), y, squares, counts, precision)
        return (own if slacks[0] is None else own + np.sqrt(self._fold(np.square(slacks[0]), np.mean) / counts),)


@dataclass(frozen=True, eq=False)
class AdaptiveMaxPool(_AdaptivePool):
    """The largest value of cells that tile the trailing axes into ``output_size``."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._fold(inputs[0], np.max),)

    def account(self, inputs, outputs, at):
        return _largest(inputs[0], self._cell(at, inputs[0].shape), float(outputs[0][at]))

    def emit(self, graph, *inputs):
        x, shape = inputs[0], graph.shape(inputs[0])
        rank, spatial = len(shape), len(self.output_size)
        for axis, (size, out) in enumerate(zip(shape[rank - spatial :], self.output_size, strict=True), start=rank - spatial):
            cells = []
            for column in range(out):
                bounds = [math.floor(column * size / out)], [math.ceil((column + 1) * size / out)], [axis]
                cells.append(graph.op("ReduceMax", graph.op("Slice", x, *map(graph.const, bounds)), graph.const([axis]), keepdims=1))
            x = graph.op("Concat", *cells, axis=axis)
        return (x,)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        return self.run(slacks[0]) if slacks[0] is not None else (np.zeros(outputs[0].shape),)
