"""Ops of one input applied one after the other, where another op holds them as one function."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op

__all__ = ["Chain"]


@dataclass(frozen=True, eq=False)
class Chain(Op):
    """Each of ``parts`` on what the one before gave."""

    parts: tuple[Op, ...]

    @property
    def on_power_of_two_grid(self) -> bool:
        return any(part.on_power_of_two_grid for part in self.parts)

    def summary(self, inputs: Arrays) -> str:
        return ", then ".join(type(part).__name__ for part in self.parts)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        for part in self.parts:
            (x,) = part.run(x)
        return (x,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        for part in self.parts:
            (x,) = part.to_onnx(graph, x)
        return (x,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        inputs, outputs, slacks = of.inputs, of.outputs, of.slacks
        for part in self.parts:
            outputs = part.run(*inputs)
            slacks = own = part.error_bound(Evaluated(inputs, slacks, outputs), precision)
            inputs = outputs
        return own
