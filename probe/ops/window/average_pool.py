"""Pooling by means: of each window, of cells that tile the input, or of whole axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.blocks import apart
from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.engine_differences import ZERO_SHARE_OF_NAN
from probe.ops.exactness import is_power_of_two, without_rounding
from probe.ops.window.max_pool import AdaptivePool, Pool, fitted, reduced
from probe.ops.window.same_padding import hides_asymmetry
from probe.ops.window.sliding_windows import Pads, seen

__all__ = ["AdaptiveAveragePool", "AveragePool", "GlobalAveragePool"]


def _mean_allowance(
    count: int,
    mean: np.ndarray,
    squares: np.ndarray,
    divisor: np.ndarray | int,
    precision: Precision,
) -> np.ndarray:
    """A sum of ``count`` values, divided once (two roundings: the reciprocal and the product)."""
    from_sum = of_sums(count, mean * divisor, squares, precision) / divisor
    return from_sum + 2 * precision.unit * np.abs(mean) + precision.tiny


_Range = tuple[np.ndarray, np.ndarray]
"""The first cell along an axis and the one after the last, for each element."""


def _at(index: np.ndarray) -> _Range:
    return index, index + 1


def _gathered(
    x: np.ndarray, ranges: Sequence[_Range], divisors: np.ndarray | int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The cells of means as (elements, lines, cells), from a range of them along each axis, zeros
    where that is shorter than others; and what each sum is divided by, by default how many they
    are, as (elements, 1, 1)."""
    inside, places = np.ones((), bool), []
    for axis, (first, stop) in enumerate(ranges):
        here = first[:, None] + np.arange((stop - first).max(initial=0))
        form = (len(first), *(here.shape[1] if k == axis else 1 for k in range(x.ndim)))
        inside = inside & (here < stop[:, None]).reshape(form)
        places.append(here.clip(max=x.shape[axis] - 1).reshape(form))
    terms = np.where(inside, x[tuple(places)], 0.0)
    form = (len(terms), math.prod(terms.shape[1:-1]), terms.shape[-1])
    counts = inside.reshape(form).sum(axis=(1, 2)) if divisors is None else divisors
    return terms.reshape(form), np.reshape(counts, (-1, 1, 1))


class _Mean(Op):
    """An op whose outputs are means of the cells that ``_taken`` gives, with what their sum is
    divided by."""

    def _taken(self, inputs: Arrays, where: Indices) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, lines, cells), with zeros for cells
        outside the input."""
        cells, divisors = self._taken(inputs, where)
        return cells / divisors

    def _second_look(
        self,
        own: np.ndarray,
        inputs: Arrays,
        where: Indices | None,
        precision: Precision,
    ) -> None:
        """The second look at the means ``where``, which are divided at the end, in two roundings
        more, or term by term."""
        if where is not None:
            cells, divisors = self._taken(inputs, where)
            terms = cells / divisors
            divided = of_partial_sums(cells, precision) / divisors[
                :, 0, 0
            ] + 2 * precision.unit * np.abs(terms.sum(axis=(1, 2)))
            own[where] = np.maximum.reduce([own[where], divided, of_partial_sums(terms, precision)])


def _mean(cells: np.ndarray, value: float) -> Contributions:
    """The account of a plain mean."""
    return Contributions((Terms(cells),), (Stage(f"divided by {len(cells)}", value),))


@dataclass(frozen=True, eq=False)
class AveragePool(_Mean, Pool):
    """The mean of each window (ONNX AveragePool).

    It divides by ``divisor_override``, or else by the cells of the window that lie in the input
    (``count_include_pad`` False) or in the input and its declared padding (True; with ``ceil_mode``
    a window may reach further, and those cells never count: PyTorch's
    ATen/native/cpu/AvgPoolKernel.cpp).
    """

    ceil_mode: bool = False
    count_include_pad: bool = False
    divisor_override: int | None = None

    @property
    def reaches_beyond(self) -> bool:
        return self.ceil_mode

    def hides_same_padding(self, shape: Sequence[int]) -> bool:
        return hides_asymmetry(shape, self.kernel, self.strides, self.pads)

    def _layout(self, sizes: Sequence[int]) -> tuple[Pads, np.ndarray]:
        """The pads that fit the windows, and what each output divides by."""
        ones = (1,) * len(self.kernel)
        pads = self._effective_pads(sizes, self.ceil_mode, ones)
        divisor = np.ones(())
        for size, k, s, (before, after), (_, declared) in zip(
            sizes, self.kernel, self.strides, pads, self.pads, strict=True
        ):
            start = np.arange((size + before + after - k) // s + 1) * s - before
            stop = np.minimum(start + k, size + (declared if self.count_include_pad else 0))
            if not self.count_include_pad:
                start = np.maximum(start, 0)
            divisor = divisor[..., None] * (stop - start)
        if self.divisor_override is not None:
            divisor = np.full(divisor.shape, float(self.divisor_override))
        return pads, divisor

    def _held(self, sizes: Sequence[int], pads: Pads) -> tuple[tuple[int, ...], Pads]:
        return self._trimmed(sizes, pads, (1,) * len(sizes))

    def _totals(self, x: np.ndarray, pads: Pads) -> np.ndarray:
        kernel, pads = self._held(x.shape[2:], pads)
        x = fitted(x, pads, 0.0)
        for axis, (k, s) in enumerate(zip(kernel, self.strides, strict=True), start=2):
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
        return (apart(lambda part: self._totals(part, pads) / divisor, x, range(2, x.ndim)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, sizes = inputs[0], graph.shape(inputs[0])[2:]
        pads, divisor = self._layout(sizes)
        kernel, pads = self._held(sizes, pads)
        window = math.prod(kernel)
        flat = [0, 0, *(b for b, _ in pads), 0, 0, *(a for _, a in pads)]
        if any(flat):
            x = graph.op("Pad", x, graph.const(flat))
        if is_power_of_two(divisor) and not is_power_of_two(window):
            # sums of integers are exact, and so is what they are divided by, but no mean is
            total = self._emit_sum(graph, x, graph.shape(inputs[0])[1], kernel)
            return (graph.op("Mul", total, graph.const(1 / divisor)),)
        mean = graph.op("AveragePool", x, kernel_shape=kernel, strides=self.strides)
        if (divisor == window).all():
            return (mean,)
        return (graph.op("Mul", mean, graph.const(window / divisor)),)

    def _emit_sum(self, graph: Graph, x: str, channels: int, kernel: Sequence[int]) -> str:
        """The sum of each window, as a convolution of each channel with ones."""
        ones = graph.const(np.ones((channels, 1, *kernel)))
        return graph.op("Conv", x, ones, group=channels, strides=self.strides)

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        _, divisor = self._layout(inputs[0].shape[2:])
        count = self.term_count(inputs, ())
        return is_power_of_two(divisor) and without_rounding([(count, inputs)], (), precision)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (
            seen(
                mask,
                inputs[0].shape[2:],
                self.kernel,
                self.strides,
                self.pads,
                (1,) * len(self.kernel),
            ),
        )

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        cells = self._cells(at, inputs[0].shape, (1,) * len(self.kernel))
        divisor = int(self._layout(inputs[0].shape[2:])[1][at[2:]])
        if self.count_include_pad:
            why = "counting padding"
        else:
            why = "counting only elements inside the input"
        words = f"divided by {divisor}"
        if len(cells) < math.prod(self.kernel) and self.divisor_override is None:
            words += f", {why}"
        return Contributions((Terms(cells),), (Stage(words, float(outputs[0][at])),))

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return math.prod(self._held(inputs[0].shape[2:], self.pads)[0])

    def _taken(self, inputs: Arrays, where: Indices) -> tuple[np.ndarray, np.ndarray]:
        sizes = inputs[0].shape[2:]
        ranges = [_at(index) for index in where[:2]]
        for index, size, k, s, (before, _) in zip(
            where[2:], sizes, self.kernel, self.strides, self.pads, strict=True
        ):
            start = index * s - before
            ranges.append((np.maximum(start, 0), np.minimum(start + k, size)))
        return _gathered(inputs[0], ranges, self._layout(sizes)[1][where[2:]])

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        pads, divisor = self._layout(x.shape[2:])
        own = _mean_allowance(
            self.term_count(of.inputs, of.outputs),
            y,
            self._totals(np.square(x), pads),
            divisor,
            precision,
        )
        self._second_look(own, of.inputs, of.few, precision)
        if of.slacks[0] is None:
            return (own,)
        return (own + np.sqrt(self._totals(np.square(of.slacks[0]), pads)) / divisor,)


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(_Mean):
    """The mean over ``axes`` (ONNX ReduceMean)."""

    axes: tuple[int, ...]
    keepdims: bool = True

    @property
    def samplewise(self) -> bool:
        return self.keepdims and all(axis > 0 for axis in self.axes)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        if not all(x.shape[axis] for axis in self.axes):  # NumPy's warns
            return (x.sum(axis=self.axes, keepdims=self.keepdims) * np.nan,)
        return (x.mean(axis=self.axes, keepdims=self.keepdims),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "ReduceMean", inputs[0], graph.const(list(self.axes)), keepdims=int(self.keepdims)
            ),
        )

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        count = self.term_count(inputs, ())
        power = is_power_of_two(count)
        return power and without_rounding([(count, inputs)], (), precision)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        shape = [
            1 if axis in {k % inputs[0].ndim for k in self.axes} else size
            for axis, size in enumerate(inputs[0].shape)
        ]
        return (np.broadcast_to(mask.reshape(shape), inputs[0].shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        cells = reduced(at, inputs[0].shape, self.axes, self.keepdims)
        return _mean(cells, float(outputs[0][at]))

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return math.prod(inputs[0].shape[axis] for axis in self.axes)

    def _taken(self, inputs: Arrays, where: Indices) -> tuple[np.ndarray, np.ndarray]:
        given, whole = iter(where), {axis % inputs[0].ndim for axis in self.axes}
        ranges = []
        for axis, size in enumerate(inputs[0].shape):
            if self.keepdims or axis not in whole:
                index = next(given)
            else:
                index = np.zeros_like(where[0])
            ranges.append((index, np.full_like(index, size)) if axis in whole else _at(index))
        return _gathered(inputs[0], ranges)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        count = math.prod(x.shape[axis] for axis in self.axes)
        squares = np.square(x).sum(axis=self.axes, keepdims=self.keepdims)
        own = _mean_allowance(count, y, squares, count, precision)
        self._second_look(own, of.inputs, of.few, precision)
        if of.slacks[0] is None:
            return (own,)
        return (
            own
            + np.sqrt(np.square(of.slacks[0]).sum(axis=self.axes, keepdims=self.keepdims)) / count,
        )


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool(_Mean, AdaptivePool):
    """The mean over cells that tile the trailing axes into ``output_size``."""

    engine_differences = (ZERO_SHARE_OF_NAN,)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._fold(inputs[0], np.mean),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return _mean(self._cell(at, inputs[0].shape), float(outputs[0][at]))

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        sizes = inputs[0].shape[inputs[0].ndim - len(self.output_size) :]
        return math.prod(
            max((stop - start for start, stop in axis), default=0) for axis in self._cells(sizes)
        )

    def _taken(self, inputs: Arrays, where: Indices) -> tuple[np.ndarray, np.ndarray]:
        lead = inputs[0].ndim - len(self.output_size)
        cells = [np.array(axis) for axis in self._cells(inputs[0].shape[lead:])]
        tiles = [
            (axis[index, 0], axis[index, 1])
            for axis, index in zip(cells, where[lead:], strict=True)
        ]
        return _gathered(inputs[0], [*map(_at, where[:lead]), *tiles])

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, shape = inputs[0], graph.shape(inputs[0])
        rank, spatial = len(shape), len(self.output_size)
        for axis, (size, out) in enumerate(
            zip(shape[rank - spatial :], self.output_size, strict=True), start=rank - spatial
        ):
            matrix = np.zeros((size, out))
            for column in range(out):
                start, stop = math.floor(column * size / out), math.ceil((column + 1) * size / out)
                matrix[start:stop, column] = 1 / (stop - start)
            order = [*range(axis), *range(axis + 1, rank), axis]
            back = [*range(axis), rank - 1, *range(axis, rank - 1)]
            x = graph.op(
                "Transpose",
                graph.op("MatMul", graph.op("Transpose", x, perm=order), graph.const(matrix)),
                perm=back,
            )
        return (x,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        cells = self._cells(x.shape[x.ndim - len(self.output_size) :])
        counts = np.ones(())
        for axis in cells:
            counts = counts[..., None] * np.array([stop - start for start, stop in axis])
        squares = self._fold(np.square(x), np.mean) * counts
        # ONNX multiplies by rounded reciprocals axis by axis: each product is rounded, as in a
        # weighted sum.
        own = _mean_allowance(
            int(counts.max(initial=1)) * max(1, len(cells)), y, squares, counts, precision
        )
        self._second_look(own, of.inputs, of.few, precision)
        if of.slacks[0] is None:
            return (own,)
        return (own + np.sqrt(self._fold(np.square(of.slacks[0]), np.mean) / counts),)
