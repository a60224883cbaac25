"""The same numbers come to by another way, whose rounding counts."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.step import Step

__all__ = ["ByParts"]


@dataclass(frozen=True, eq=False)
class ByParts(Op):
    """The first input as it is, which the layer computes from the others in ``steps``."""

    steps: tuple[Step, ...]
    words: str = ""
    """What the steps are, for the report."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return inputs[:1]

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Identity", inputs[0]),)

    def summary(self, inputs: Arrays) -> str:
        if self.words:
            return f"computed as {self.words}"
        return ""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """What the first input arrives with, and what rounding does on the layer's own way."""
        values: list[tuple[np.ndarray, ...]] = []
        carried: list[tuple[np.ndarray, ...]] = []
        for position, step in enumerate(self.steps):
            refs = step.sources(position)
            given = [ref.of(of.inputs[1:], values) for ref in refs]
            values.append(step.op.run(*given))
            arrived = [ref.of(of.slacks[1:], carried) for ref in refs]
            carried.append(step.op.error_bound(Evaluated(given, arrived, values[-1]), precision))
        (own,) = carried[-1]
        return (own if of.slacks[0] is None else own + of.slacks[0],)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions(
            (Terms(np.array([at], int)),), (Stage(self.title(inputs), float(outputs[0][at])),)
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask, *(np.zeros(x.shape, bool) for x in inputs[1:]))
