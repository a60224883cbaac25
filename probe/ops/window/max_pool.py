"""Pooling: the largest value of each window, of cells that tile the input, or of whole axes; and
what means share with it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.numerics.blocks import apart
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.engine_differences import NAN_IN_EXTREME
from probe.ops.window.same_padding import (
    hides_asymmetry,
    symmetric_padding,
    unreached_padding,
)
from probe.ops.window.sliding_windows import Pads, flat, padded, seen

__all__ = ["AdaptiveMaxPool", "GlobalMaxPool", "MaxPool"]


@dataclass(frozen=True, eq=False)
class Pool(Op):
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    samplewise = True

    def undetected(self, inputs: Arrays) -> list[str]:
        shape = inputs[0].shape
        told = [symmetric_padding(shape)] * self.hides_same_padding(shape)
        if len(shape) == len(self.strides) + 2 and not self.reaches_beyond:
            told += unreached_padding(shape, self.kernel, self.strides, self.pads, self.spread)
        return told

    @property
    def reaches_beyond(self) -> bool:
        """Whether a window may reach beyond what is padded (``ceil_mode``)."""
        return False

    @property
    def spread(self) -> tuple[int, ...]:
        """The dilation along each axis."""
        return (1,) * len(self.kernel)

    def _effective_pads(
        self, sizes: Sequence[int], ceil_mode: bool, dilations: Sequence[int]
    ) -> Pads:
        """The pads with which a plain floor of the output size gives what ``ceil_mode`` asks for.

        A window that would start in the padding after the input is dropped (PyTorch's
        ATen/native/Pool.h, pooling_output_shape); the result may therefore lie below the declared
        padding.
        """
        if not ceil_mode:
            return self.pads
        reached = []
        for size, k, s, d, (before, after) in zip(
            sizes, self.kernel, self.strides, dilations, self.pads, strict=True
        ):
            span = (k - 1) * d + 1
            count = -(-(size + before + after - span) // s) + 1
            if (count - 1) * s >= size + before:
                count -= 1
            reached.append((before, (count - 1) * s + span - size - before))
        return tuple(reached)

    def _trimmed(
        self, sizes: Sequence[int], pads: Pads, dilations: Sequence[int]
    ) -> tuple[tuple[int, ...], Pads]:
        """The kernel without the taps that lie behind the input in every window, and the pads that
        fit it."""
        kernel, fitting = [], []
        for size, k, s, d, (before, after) in zip(
            sizes, self.kernel, self.strides, dilations, pads, strict=True
        ):
            last = (size + before + after - (k - 1) * d - 1) // s * s - before
            kernel.append(min(k, -(-(size + before) // d)))
            fitting.append(
                (before, after if kernel[-1] == k else last + (kernel[-1] - 1) * d + 1 - size)
            )
        return tuple(kernel), tuple(fitting)

    def _cells(
        self, at: Sequence[int], shape: Sequence[int], dilations: Sequence[int]
    ) -> np.ndarray:
        """The elements of the input that the window of one output holds."""
        ranges: list[Any] = list(at[:2])
        for i, size, k, s, d, (before, _) in zip(
            at[2:], shape[2:], self.kernel, self.strides, dilations, self.pads, strict=True
        ):
            ranges.append(
                [
                    cell
                    for cell in range(i * s - before, i * s - before + k * d, d)
                    if 0 <= cell < size
                ]
            )
        return box(ranges)


def _largest(x: np.ndarray, cells: np.ndarray, value: float) -> Contributions:
    """The account of a maximum: the first of the cells that holds it."""
    if not len(cells):
        return Contributions((), (Stage("the window contains only padding", value),))
    winner = int(np.argmax(x[tuple(cells.T)]))
    return Contributions(
        (Terms(cells[winner : winner + 1]),),
        (Stage(f"the largest of {len(cells)} elements", value, Terms(cells)),),
    )


def fitted(x: np.ndarray, pads: Pads, value: float) -> np.ndarray:
    """Pads x; a negative pad at the end leaves the surplus out."""
    keep = tuple(
        slice(None, size + min(0, after))
        for size, (_, after) in zip(x.shape[2:], pads, strict=True)
    )
    return padded(
        x[(slice(None), slice(None), *keep)],
        tuple((before, max(0, after)) for before, after in pads),
        value,
    )


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """The largest value of each window; padding never wins (ONNX MaxPool)."""

    dilations: tuple[int, ...]
    ceil_mode: bool = False
    engine_differences = (NAN_IN_EXTREME,)
    stores = False

    @property
    def reaches_beyond(self) -> bool:
        return self.ceil_mode

    @property
    def spread(self) -> tuple[int, ...]:
        return self.dilations

    def hides_same_padding(self, shape: Sequence[int]) -> bool:
        return hides_asymmetry(shape, self.kernel, self.strides, self.pads, self.dilations)

    def undetected(self, inputs: Arrays) -> list[str]:
        told = super().undetected(inputs)
        if any(map(any, self.pads)) and inputs[0].min() >= 0:
            told.append(
                "no value is negative, so padding with 0 instead of -inf would not be detected"
            )
        return told

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (apart(self._pooled, inputs[0], range(2, inputs[0].ndim)),)

    def _held(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], Pads]:
        return self._trimmed(
            sizes, self._effective_pads(sizes, self.ceil_mode, self.dilations), self.dilations
        )

    def _pooled(self, x: np.ndarray) -> np.ndarray:
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        kernel, pads = self._held(x.shape[2:])
        x = fitted(x, pads, lowest)
        for axis, (k, s, d) in enumerate(
            zip(kernel, self.strides, self.dilations, strict=True), start=2
        ):
            count = (x.shape[axis] - (k - 1) * d - 1) // s + 1
            lead = (slice(None),) * axis
            best = x[(*lead, slice(0, (count - 1) * s + 1, s))]
            for tap in range(1, k):
                best = np.maximum(
                    best, x[(*lead, slice(tap * d, tap * d + (count - 1) * s + 1, s))]
                )
            x = best
        return np.ascontiguousarray(x)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        sizes, x = graph.shape(inputs[0])[2:], inputs[0]
        kernel, pads = self._held(sizes)
        if any(after < 0 for _, after in pads):
            axes = list(range(2, 2 + len(pads)))
            stops = [size + min(0, after) for size, (_, after) in zip(sizes, pads, strict=True)]
            x = graph.op(
                "Slice", x, graph.const([0] * len(axes)), graph.const(stops), graph.const(axes)
            )
            pads = tuple((before, max(0, after)) for before, after in pads)
        settings = {"kernel_shape": kernel, "strides": self.strides, "dilations": self.dilations}
        if all(max(pad) < k for pad, k in zip(pads, kernel, strict=True)):
            out = graph.op("MaxPool", x, pads=flat(pads), **settings)
        else:
            amounts = [0, 0, *(b for b, _ in pads), 0, 0, *(a for _, a in pads)]
            x = graph.op("Pad", x, graph.const(amounts), graph.const(-np.inf))
            out = graph.op("MaxPool", x, **settings)
        blind = self._blind(sizes)
        # ONNX Runtime starts its search at the lowest float and not at -inf, and gives that where a
        # window sees padding alone.
        if not blind.any():
            return (out,)
        return (graph.op("Where", graph.const(blind), graph.const(-np.inf), out),)

    def _blind(self, sizes: Sequence[int]) -> np.ndarray:
        """Which output positions have a window that lies in the padding alone (dilated ones can
        step over the input)."""
        blind = np.zeros((), bool)
        pads = self._effective_pads(sizes, self.ceil_mode, self.dilations)
        for size, k, s, d, (before, after) in zip(
            sizes, self.kernel, self.strides, self.dilations, pads, strict=True
        ):
            starts = np.arange((size + before + after - (k - 1) * d - 1) // s + 1) * s - before
            cells = starts[:, None] + np.arange(k) * d
            blind = blind[..., None] | ~((cells >= 0) & (cells < size)).any(axis=1)
        return blind

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (
            seen(mask, inputs[0].shape[2:], self.kernel, self.strides, self.pads, self.dilations),
        )

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return _largest(
            inputs[0], self._cells(at, inputs[0].shape, self.dilations), float(outputs[0][at])
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return (np.maximum(self.run(of.slacks[0])[0], 0.0),)  # -inf where all is padding


def reduced(
    at: Sequence[int], shape: Sequence[int], axes: Sequence[int], keepdims: bool
) -> np.ndarray:
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
class GlobalMaxPool(Op):
    """The largest value over ``axes`` (ONNX ReduceMax)."""

    axes: tuple[int, ...]
    keepdims: bool = True
    engine_differences = (NAN_IN_EXTREME,)
    stores = False

    @property
    def samplewise(self) -> bool:
        return self.keepdims and all(axis > 0 for axis in self.axes)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0].max(axis=self.axes, keepdims=self.keepdims),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "ReduceMax", inputs[0], graph.const(list(self.axes)), keepdims=int(self.keepdims)
            ),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        shape = [
            1 if axis in {k % inputs[0].ndim for k in self.axes} else size
            for axis, size in enumerate(inputs[0].shape)
        ]
        return (np.broadcast_to(mask.reshape(shape), inputs[0].shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        cells = reduced(at, inputs[0].shape, self.axes, self.keepdims)
        return _largest(inputs[0], cells, float(outputs[0][at]))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is not None:
            return self.run(of.slacks[0])
        return (np.zeros(of.outputs[0].shape),)


@dataclass(frozen=True, eq=False)
class AdaptivePool(Op):
    output_size: tuple[int, ...]
    samplewise = True

    def _cells(self, sizes: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Per axis the (start, stop) of every cell."""
        pairs = zip(sizes, self.output_size, strict=True)
        return [list(self._tiles_of(size, count)) for size, count in pairs]

    def _tiles_of(self, size: int, count: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of so many cells that tile an axis: floor(i * in / out) to
        ceil((i + 1) * in / out) (PyTorch's AdaptivePooling.h)."""
        return ((i * size // count, -(-(i + 1) * size // count)) for i in range(count))

    def _cell(self, at: tuple[int, ...], shape: Sequence[int]) -> np.ndarray:
        """The elements of the input that one output is made of."""
        lead = len(shape) - len(self.output_size)
        cells = self._cells(shape[lead:])
        return box(
            [*at[:lead], *(range(*axis[i]) for axis, i in zip(cells, at[lead:], strict=True))]
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        first = inputs[0].ndim - len(self.output_size)
        for axis, cells in enumerate(self._cells(inputs[0].shape[first:]), start=first):
            lead = (slice(None),) * axis
            wider = np.zeros(
                (*mask.shape[:axis], inputs[0].shape[axis], *mask.shape[axis + 1 :]), bool
            )
            for i, (start, stop) in enumerate(cells):
                wider[(*lead, slice(start, stop))] |= mask[(*lead, slice(i, i + 1))]
            mask = wider
        return (mask,)

    def _fold(self, x: np.ndarray, reduce: Callable[..., np.ndarray]) -> np.ndarray:
        first = x.ndim - len(self.output_size)
        if set(self.output_size) == {1}:
            return reduce(x, axis=tuple(range(first, x.ndim)), keepdims=True)
        dtype = np.asarray(reduce(np.ones(1, x.dtype))).dtype
        for axis, count in enumerate(self.output_size, start=first):
            out = np.empty((*x.shape[:axis], count, *x.shape[axis + 1 :]), dtype)
            lead: Any = (slice(None),) * axis
            cells = self._tiles_of(x.shape[axis], count if out.size else 0)
            for i, (start, stop) in enumerate(cells):
                out[(*lead, i)] = reduce(x[(*lead, slice(start, stop))], axis=axis)
            x = out
        return x


@dataclass(frozen=True, eq=False)
class AdaptiveMaxPool(AdaptivePool):
    """The largest value of cells that tile the trailing axes into ``output_size``."""

    engine_differences = (NAN_IN_EXTREME,)
    stores = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._fold(inputs[0], np.max),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return _largest(inputs[0], self._cell(at, inputs[0].shape), float(outputs[0][at]))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, shape = inputs[0], graph.shape(inputs[0])
        rank, spatial = len(shape), len(self.output_size)
        for axis, (size, out) in enumerate(
            zip(shape[rank - spatial :], self.output_size, strict=True), start=rank - spatial
        ):
            cells = []
            for column in range(out):
                bounds = (
                    [math.floor(column * size / out)],
                    [math.ceil((column + 1) * size / out)],
                    [axis],
                )
                cells.append(
                    graph.op(
                        "ReduceMax",
                        graph.op("Slice", x, *map(graph.const, bounds)),
                        graph.const([axis]),
                        keepdims=1,
                    )
                )
            x = graph.op("Concat", *cells, axis=axis)
        return (x,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is not None:
            return self.run(of.slacks[0])
        return (np.zeros(of.outputs[0].shape),)
