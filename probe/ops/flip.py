"""An axis read from its end."""

from dataclasses import dataclass

import numpy as np

from probe.ops.base import Rearrangement

__all__ = ["Flip"]


@dataclass(frozen=True, eq=False)
class Flip(Rearrangement):
    """The places on ``axis`` in reverse order."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.flip(inputs[0], self.axis),)

    def emit(self, graph, *inputs):
        ends = [graph.const([value]) for value in (-1, -(1 << 62), self.axis, -1)]
        return (graph.op("Slice", inputs[0], *ends),)

    def origin(self, where, inputs):
        axis = self.axis % len(where)
        return tuple(inputs[0].shape[axis] - 1 - at if i == axis else at for i, at in enumerate(where))
