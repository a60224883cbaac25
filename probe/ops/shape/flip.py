"""An axis read from its end, and axes of one place."""

from dataclasses import dataclass

import numpy as np

from probe.ops.base import Arrays, Graph, Indices, Rearrangement

__all__ = ["Flip", "Grouped", "Squeeze", "Unsqueeze"]


@dataclass(frozen=True, eq=False)
class Flip(Rearrangement):
    """The places on ``axis`` in reverse order."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.flip(inputs[0], self.axis),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        ends = [graph.const([value]) for value in (-1, -(1 << 62), self.axis, -1)]
        return (graph.op("Slice", inputs[0], *ends),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        axis = self.axis % len(where)
        return tuple(
            inputs[0].shape[axis] - 1 - at if i == axis else at for i, at in enumerate(where)
        )


@dataclass(frozen=True, eq=False)
class Squeeze(Rearrangement):
    """Without the axes ``axes``, which have one place each."""

    axes: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.squeeze(inputs[0], self.axes),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Squeeze", inputs[0], graph.const(list(self.axes))),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        rank = inputs[0].ndim
        gone, rest = {axis % rank for axis in self.axes}, iter(where)
        zeros = np.zeros(where[0].shape if where else (), int)
        return tuple(zeros if axis in gone else next(rest) for axis in range(rank))


@dataclass(frozen=True, eq=False)
class Unsqueeze(Rearrangement):
    """With axes of one place at ``axes`` of the output."""

    axes: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.expand_dims(inputs[0], self.axes),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Unsqueeze", inputs[0], graph.const(list(self.axes))),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        gone = {axis % len(where) for axis in self.axes}
        return tuple(at for axis, at in enumerate(where) if axis not in gone)


@dataclass(frozen=True, eq=False)
class Grouped(Rearrangement):
    """The first axis as (..., ``count``): batch and time, which were one, apart again."""

    count: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        size, *rest = inputs[0].shape
        return (inputs[0].reshape(size // self.count, self.count, *rest),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        size, *rest = graph.shape(inputs[0])
        return (
            graph.op("Reshape", inputs[0], graph.const([size // self.count, self.count, *rest])),
        )

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where[0] * self.count + where[1], *where[2:]
