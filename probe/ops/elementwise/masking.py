"""Ops that a mask steers: what is kept, what is put in the place of the rest, and means of what is
kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.exactness import of_constant

__all__ = ["Fill", "Lower", "MaskSteps", "MaskedMean"]

_FLOAT, _BOOL = 1, 9
"""Types as ONNX numbers them."""


def _kept(mask: np.ndarray) -> np.ndarray:
    if mask.dtype == bool:
        return mask
    return mask > 0.5


def _emitted(graph: Graph, mask: str) -> str:
    return graph.op("Greater", graph.op("Cast", mask, to=_FLOAT), graph.const(0.5))


@dataclass(frozen=True, eq=False)
class Fill(Op):
    """x where the mask, which broadcasts to it, holds; ``value`` elsewhere."""

    value: float

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, mask = inputs
        return (np.where(_kept(mask), x, np.asarray(self.value, x.dtype)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "Where", _emitted(graph, inputs[1]), inputs[0], graph.const(float(self.value))
            ),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        other = of_constant(np.asarray(self.value, np.float64), precision)
        own = np.where(_kept(of.inputs[1]), 0.0 if of.slacks[0] is None else of.slacks[0], other)
        return (np.broadcast_to(own, of.outputs[0].shape),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        lead = mask.ndim - inputs[1].ndim
        repeated = tuple(lead + axis for axis, size in enumerate(inputs[1].shape) if size == 1)
        return mask & _kept(inputs[1]), np.any(
            mask, axis=(*range(lead), *repeated), keepdims=True
        ).reshape(inputs[1].shape)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        kept = bool(np.broadcast_to(_kept(inputs[1]), inputs[0].shape)[at])
        if kept:
            words = "kept by the mask"
        else:
            words = f"masked: {self.value:.9g} in its place"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        if inputs[0].shape == np.broadcast_shapes(*(x.shape for x in inputs)):
            return where
        return None


@dataclass(frozen=True, eq=False)
class Lower(Op):
    """x where the mask, which broadcasts to it, holds; x + ``value`` elsewhere."""

    value: float

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, mask = inputs
        return (np.where(_kept(mask), x, x + np.asarray(self.value, x.dtype)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        lowered = graph.op("Add", inputs[0], graph.const(float(self.value)))
        return (graph.op("Where", _emitted(graph, inputs[1]), inputs[0], lowered),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        y = of.outputs[0]
        own = np.where(
            np.broadcast_to(_kept(of.inputs[1]), y.shape), 0.0, 2 * precision.unit * np.abs(y)
        )
        return (own if of.slacks[0] is None else own + of.slacks[0],)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return mask, Fill(self.value).influence(mask, inputs)[1]

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        kept = bool(np.broadcast_to(_kept(inputs[1]), inputs[0].shape)[at])
        words = "kept by the mask" if kept else f"masked: {self.value:.9g} added"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        if inputs[0].shape == np.broadcast_shapes(*(x.shape for x in inputs)):
            return where
        return None


@dataclass(frozen=True, eq=False)
class MaskSteps(Op):
    """x with 0 for every row of the last axis that holds nothing but ``value``."""

    value: float

    def _mask(self, x: np.ndarray) -> np.ndarray:
        return np.any(x != self.value, axis=-1, keepdims=True)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.where(self._mask(inputs[0]), inputs[0], inputs[0].dtype.type(0)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        other = graph.op(
            "Cast", graph.op("Not", graph.op("Equal", x, graph.const(float(self.value)))), to=_FLOAT
        )
        kept = graph.op(
            "Cast", graph.op("ReduceMax", other, graph.const([-1]), keepdims=1), to=_BOOL
        )
        return (graph.op("Where", kept, x, graph.const(0.0)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if slack is None:
            return (np.zeros(y.shape),)
        masked = np.all(np.abs(x - self.value) <= slack, axis=-1, keepdims=True)
        return (slack + np.where(masked, np.abs(x), 0.0),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=-1, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        kept = bool(self._mask(inputs[0])[(*at[:-1], 0)])
        if kept:
            words = "kept"
        else:
            words = f"masked: all {inputs[0].shape[-1]} features equal {self.value:.9g}"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where


@dataclass(frozen=True, eq=False)
class MaskedMean(Op):
    """The mean over ``axis`` of the elements that the mask (batch, steps) holds for."""

    axis: int
    keepdims: bool = False

    def _mask(self, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.expand_dims(_kept(mask), 3 - self.axis), x.shape)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, mask = inputs[0], self._mask(*inputs)
        total = np.where(mask, x, 0.0).sum(axis=self.axis, keepdims=self.keepdims)
        return (total / mask.sum(axis=self.axis, keepdims=self.keepdims),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        other, axes, keep = (
            graph.const([3 - self.axis]),
            graph.const([self.axis]),
            int(self.keepdims),
        )
        mask = graph.op("Unsqueeze", _emitted(graph, inputs[1]), other)
        total = graph.op(
            "ReduceSum", graph.op("Where", mask, inputs[0], graph.const(0.0)), axes, keepdims=keep
        )
        count = graph.op("ReduceSum", graph.op("Cast", mask, to=_FLOAT), axes, keepdims=keep)
        return (graph.op("Div", total, count),)

    def summary(self, inputs: Arrays) -> str:
        return f"the mean over the unmasked steps of {inputs[0].shape[self.axis]}"

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return inputs[0].shape[self.axis]

    def _cells(self, at: Sequence[int], inputs: Arrays) -> np.ndarray:
        batch, feature = at[0], at[3 - self.axis if self.keepdims else 1]
        steps = np.flatnonzero(_kept(inputs[1])[batch]).tolist()
        return box([batch, steps, feature] if self.axis == 1 else [batch, feature, steps])

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, 1, steps), with zeros for masked
        ones."""
        batch, feature = where[0], where[3 - self.axis if self.keepdims else 1]
        mask = _kept(inputs[1])[batch]
        if self.axis == 1:
            rows = inputs[0][batch, :, feature]
        else:
            rows = inputs[0][batch, feature]
        return (np.where(mask, rows, 0.0) / mask.sum(axis=1, keepdims=True))[:, None]

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        cells = self._cells(at, inputs)
        return Contributions(
            (Terms(cells),),
            (
                Stage(
                    f"divided by {len(cells)}, the number of unmasked steps",
                    float(outputs[0][at]),
                ),
            ),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        wide = mask if self.keepdims else np.expand_dims(mask, self.axis)
        reached = self._mask(*inputs) & wide
        return reached, np.broadcast_to(
            np.any(mask, axis=tuple(range(1, mask.ndim)))[:, None], inputs[1].shape
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x, _), (y,) = of.inputs, of.outputs
        mask = self._mask(*of.inputs)
        count = np.maximum(mask.sum(axis=self.axis, keepdims=self.keepdims), 1)
        squares = np.where(mask, np.square(x), 0.0).sum(axis=self.axis, keepdims=self.keepdims)
        own = (
            of_sums(x.shape[self.axis], y * count, squares, precision) / count
            + 2 * precision.unit * np.abs(y)
            + precision.tiny
        )
        if of.few is not None:
            terms = self.terms(of.inputs, of.few)
            own[of.few] = np.maximum(
                own[of.few],
                of_partial_sums(terms, precision) + 2 * precision.unit * np.abs(y[of.few]),
            )
        if of.slacks[0] is not None:
            own = (
                own
                + np.sqrt(
                    np.where(mask, np.square(of.slacks[0]), 0.0).sum(
                        axis=self.axis, keepdims=self.keepdims
                    )
                )
                / count
            )
        return (np.where(np.isfinite(own), own, 0.0),)
