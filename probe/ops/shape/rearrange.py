"""Ops that move or repeat elements and change none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.blocks import places
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Rearrangement
from probe.ops.exactness import of_constant

__all__ = ["Outputs", "Pad", "Reshape", "Slice", "Take", "Transpose"]


@dataclass(frozen=True, eq=False)
class Outputs(Rearrangement):
    """Its inputs as they are: the last step of a layer whose outputs come from several steps."""

    output_count = None

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return inputs

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return tuple(graph.op("Identity", x) for x in inputs)

    def followed_input(self, output: int) -> int | None:
        return output

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask, *(np.zeros(x.shape, bool) for x in inputs[1:]))


@dataclass(frozen=True, eq=False)
class Transpose(Rearrangement):
    """The axes in the order of ``perm``."""

    perm: tuple[int, ...]

    @property
    def samplewise(self) -> bool:
        return self.perm[0] == 0

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0].transpose(self.perm),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Transpose", inputs[0], perm=self.perm),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        back = [np.empty(0, int)] * len(where)
        for axis, at in zip(self.perm, where, strict=True):
            back[axis] = at
        return tuple(back)


@dataclass(frozen=True, eq=False)
class Reshape(Rearrangement):
    """The elements in row-major order in another shape; one size may be -1."""

    shape: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0].reshape(self.shape),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "Reshape", inputs[0], graph.const(list(self.shape)), allowzero=int(0 in self.shape)
            ),
        )

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        size = inputs[0].size
        known = math.prod(n for n in self.shape if n != -1)
        shape = tuple(size // known if n == -1 else n for n in self.shape)
        return places(
            np.ravel_multi_index(where, shape) if shape else np.zeros(1, np.intp), inputs[0].shape
        )


@dataclass(frozen=True, eq=False)
class Pad(Rearrangement):
    """(before, after) elements added on every axis, by ``mode``: constant, reflect, edge, wrap or
    symmetric."""

    pads: tuple[tuple[int, int], ...]
    mode: str = "constant"
    value: float = 0.0

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.mode == "constant":
            return (np.pad(inputs[0], self.pads, constant_values=self.value),)
        return (np.pad(inputs[0], self.pads, mode=self.mode),)  # type: ignore[call-overload]

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        if self.mode == "constant":
            amounts = graph.const(
                [before for before, _ in self.pads] + [after for _, after in self.pads]
            )
            # the default is 0 in the dtype of x
            value = (graph.const(float(self.value)),) if self.value else ()
            return (graph.op("Pad", x, amounts, *value, mode="constant"),)
        for axis, (size, (before, after)) in enumerate(zip(graph.shape(x), self.pads, strict=True)):
            if before or after:
                x = graph.op(
                    "Gather",
                    x,
                    graph.const(
                        [_source(i, size, self.mode) for i in range(-before, size + after)]
                    ),
                    axis=axis,
                )
        return (x,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if self.mode == "constant":
            own = of_constant(np.asarray(self.value, np.float64), precision)
            return (
                np.pad(
                    np.zeros(of.inputs[0].shape) if of.slacks[0] is None else of.slacks[0],
                    self.pads,
                    constant_values=float(own),
                ),
            )
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return self.run(of.slacks[0])

    def follow(self, where: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        sizes = inputs[0].shape
        back = where - np.array([before for before, _ in self.pads], int)
        if self.mode != "constant":
            continued = [
                [_source(int(i), size, self.mode) for i in row]
                for row, size in zip(back.T, sizes, strict=True)
            ]
            return np.zeros(len(where), int), np.array(continued, int).T
        inside = ((back >= 0) & (back < sizes)).all(axis=1)
        return np.where(inside, 0, -1), back


def _source(i: int, size: int, mode: str) -> int:
    """The element that stands at position i of an axis continued beyond its ends."""
    if mode == "edge":
        return min(max(i, 0), size - 1)
    if mode == "wrap":
        return i % size
    period = 2 * size if mode == "symmetric" else max(1, 2 * (size - 1))
    i %= period
    if i < size:
        return i
    return period - i - (mode == "symmetric")


@dataclass(frozen=True, eq=False)
class Slice(Rearrangement):
    """The elements from ``starts`` up to ``stops`` on every axis, every one or each of ``steps``.

    A stop of None is the end, or backwards the beginning.
    """

    starts: tuple[int, ...]
    stops: tuple[int | None, ...]
    steps: tuple[int, ...] = ()

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        steps = self.steps or (1,) * len(self.starts)
        return (
            inputs[0][
                tuple(slice(*part) for part in zip(self.starts, self.stops, steps, strict=True))
            ],
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        sizes = graph.shape(inputs[0])
        steps = self.steps or (1,) * len(sizes)
        ends = [size if step > 0 else -size - 1 for size, step in zip(sizes, steps, strict=True)]
        stops = [end if stop is None else stop for end, stop in zip(ends, self.stops, strict=True)]
        axes = graph.const(list(range(len(sizes))))
        return (
            graph.op(
                "Slice",
                inputs[0],
                graph.const(list(self.starts)),
                graph.const(stops),
                axes,
                graph.const(list(steps)),
            ),
        )

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        starts = [
            start if start >= 0 else size + start
            for start, size in zip(self.starts, inputs[0].shape, strict=True)
        ]
        return tuple(
            at * step + start
            for at, start, step in zip(where, starts, self.steps or (1,) * len(starts), strict=True)
        )


@dataclass(frozen=True, eq=False)
class Take(Rearrangement):
    """The places ``order`` on ``axis``."""

    axis: int
    order: Sequence[int] | np.ndarray

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.take(inputs[0], self.order, axis=self.axis),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Gather", inputs[0], graph.const(list(self.order)), axis=self.axis),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        axis = self.axis % len(where)
        return tuple(np.asarray(self.order)[at] if i == axis else at for i, at in enumerate(where))
