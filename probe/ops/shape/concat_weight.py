"""A weight joined to what comes in."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Stage, Terms, named
from probe.ops.exactness import or_zero
from probe.ops.weight import Weight

__all__ = ["Append"]


@dataclass(frozen=True, eq=False)
class Append(Op):
    """x with a weight behind it along ``axis``, the same one for all places on the axes where the
    weight has one (ONNX Concat)."""

    weight: Weight
    axis: int

    def _tail(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[: self.axis], self.weight.value.shape[self.axis], *shape[self.axis + 1 :])

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        return (
            np.concatenate(
                [x, np.broadcast_to(self.weight.value.astype(x.dtype), self._tail(x.shape))],
                axis=self.axis,
            ),
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        tail = graph.op(
            "Expand",
            graph.weight(self.weight),
            graph.const(list(self._tail(graph.shape(inputs[0])))),
        )
        return (graph.op("Concat", inputs[0], tail, axis=self.axis),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (y,), (slack,) = of.outputs, of.slacks
        own = np.zeros(y.shape)
        before, size = (slice(None),) * self.axis, of.inputs[0].shape[self.axis]
        own[(*before, slice(0, size))] = or_zero(slack)
        if precision.casts:
            own[(*before, slice(size, None))] = precision.unit * np.abs(self.weight.value)
        return (own,)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        behind = at[self.axis] - inputs[0].shape[self.axis]
        if behind < 0:
            return Contributions((Terms(np.array([at], int)),))
        inside = (*at[: self.axis], behind, *at[self.axis + 1 :])
        place = [
            0 if size == 1 else index
            for index, size in zip(inside, self.weight.value.shape, strict=True)
        ]
        return Contributions(
            (),
            (Stage(f"appended to the input: {named(self.weight, place)}", float(outputs[0][at])),),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask[(slice(None),) * self.axis + (slice(0, inputs[0].shape[self.axis]),)],)
