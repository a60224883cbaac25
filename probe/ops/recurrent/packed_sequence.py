"""Sequences of different lengths laid one after the other, as PyTorch's PackedSequence does: step
by step, the longest first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.ops.base import Arrays, Graph, Indices, Rearrangement

__all__ = ["Packed", "Unpacked"]


def _places(sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(step, sample) of every row."""
    steps = np.repeat(np.arange(len(sizes)), sizes)
    return steps, np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else steps


@dataclass(frozen=True, eq=False)
class Unpacked(Rearrangement):
    """Rows (rows, ...) as (steps, batch, ...); ``sizes`` are the samples that have each step, and
    the rest is 0."""

    sizes: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = inputs[0]
        out = np.zeros((len(self.sizes), max(self.sizes, default=0), *rows.shape[1:]), rows.dtype)
        out[_places(self.sizes)] = rows
        return (out,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        wide, rank = max(self.sizes), len(graph.shape(inputs[0]))
        where = np.full((len(self.sizes), wide), sum(self.sizes))
        where[_places(self.sizes)] = np.arange(sum(self.sizes))
        padded = graph.op("Pad", inputs[0], graph.const([*([0] * rank), 1, *([0] * (rank - 1))]))
        return (graph.op("Gather", padded, graph.const(where)),)

    def follow(self, where: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        inside = where[:, 1] < np.asarray(self.sizes)[where[:, 0]]
        return np.where(inside, 0, -1), np.column_stack(
            [starts[where[:, 0]] + where[:, 1], where[:, 2:]]
        )


@dataclass(frozen=True, eq=False)
class Packed(Rearrangement):
    """(steps, batch, ...) as rows (rows, ...): of each step the first ``sizes`` samples."""

    sizes: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0][_places(self.sizes)],)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op("GatherND", inputs[0], graph.const(np.stack(_places(self.sizes), axis=1))),
        )

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        steps, samples = _places(self.sizes)
        return steps[where[0]], samples[where[0]], *where[1:]
