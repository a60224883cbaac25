"""The same numbers come to by another way, whose rounding counts."""

from dataclasses import dataclass

import numpy as np

from probe.ops.base import Op
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.step import Step

__all__ = ["ByParts"]


@dataclass(frozen=True, eq=False)
class ByParts(Op):
    """The first input as it is, which the layer computes from the others in ``steps``."""

    steps: tuple[Step, ...]
    words: str = ""
    """What the steps are, for the report."""

    def run(self, *inputs):
        return inputs[:1]

    def to_onnx(self, graph, *inputs):
        return (graph.op("Identity", inputs[0]),)

    def summary(self, inputs):
        return f"computed as {self.words}" if self.words else ""

    def error_bound(self, inputs, slacks, outputs, precision, where=None):
        """What the first input arrives with, and what rounding does on the layer's own way."""
        values: list[tuple[np.ndarray, ...]] = []
        carried: list[tuple[np.ndarray, ...]] = []
        for position, step in enumerate(self.steps):
            refs = step.sources(position)
            given = [ref.of(inputs[1:], values) for ref in refs]
            values.append(step.op.run(*given))
            arrived = [ref.of(slacks[1:], carried) for ref in refs]
            carried.append(step.op.error_bound(given, arrived, values[-1], precision))
        (own,) = carried[-1]
        return (own if slacks[0] is None else own + slacks[0],)

    def input_index(self, where, inputs):
        return where

    def contributions(self, inputs, outputs, at):
        return Contributions(
            (Terms(np.array([at], int)),), (Stage(self.title(inputs), float(outputs[0][at])),)
        )

    def influence(self, mask, inputs):
        return (mask, *(np.zeros(x.shape, bool) for x in inputs[1:]))
