"""Ops that give as many elements as the values say: places that are not 0, values that differ,
boxes that do not overlap."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op

__all__ = ["NonMaxSuppression", "NonZero", "Unique"]


class _Chosen(Op):
    """Exact where the input is; where it may move, so may everything."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        moved = any(slack is not None and (slack > 0).any() for slack in of.slacks)
        return tuple(np.full(y.shape, np.inf if moved else 0.0) for y in of.outputs)


@dataclass(frozen=True, eq=False)
class NonZero(_Chosen):
    """The places of what is not 0, in row-major order: an axis of them for each axis of x."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.argwhere(inputs[0] != 0).T.astype(np.int64),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("NonZero", inputs[0]),)


@dataclass(frozen=True, eq=False)
class Unique(_Chosen):
    """The values of x, or its slices along ``axis``, once each, rising or in the order of their
    first; where that is, which one stands at each place, and how often it does."""

    axis: int | None
    rising: bool = True
    output_count = 4

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        values, first, back, counts = np.unique(
            x, return_index=True, return_inverse=True, return_counts=True, axis=self.axis
        )
        back = back.reshape(-1)
        if not self.rising:
            order = np.argsort(first)
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order))
            values, first, back, counts = (
                values.take(order, self.axis or 0),
                first[order],
                rank[back],
                counts[order],
            )
        return values, first.astype(np.int64), back.astype(np.int64), counts.astype(np.int64)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        axis = {} if self.axis is None else {"axis": self.axis}
        return graph.ops("Unique", inputs[0], outputs=4, sorted=int(self.rising), **axis)


@dataclass(frozen=True, eq=False)
class NonMaxSuppression(_Chosen):
    """(sample, class, box) of boxes by falling scores, those left out that overlap a better one by
    more than ``overlap``.

    Inputs are the boxes (sample, box, 4), by two corners or (``centred``) by middle and size, and
    scores (sample, class, box).
    """

    most: int
    overlap: float
    least: float | None = None
    centred: bool = False

    def _corners(self, boxes: np.ndarray) -> np.ndarray:
        """(low, low, high, high) of each box."""
        first, second = boxes[..., :2], boxes[..., 2:]
        if self.centred:
            first, second = first - second / 2, first + second / 2
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)

    def _chosen(self, corners: np.ndarray, scores: np.ndarray) -> tuple[list[int], float]:
        """Of one class: the boxes, and how near to its bound some overlap came that is not equal to
        it."""
        order, margin = np.argsort(-scores, kind="stable"), np.inf
        if self.least is not None:
            order = order[scores[order] > self.least]
        sides = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        chosen: list[int] = []
        while len(order) and len(chosen) < self.most:
            best, order = int(order[0]), order[1:]
            chosen.append(best)
            low = np.maximum(corners[best, :2], corners[order, :2])
            high = np.minimum(corners[best, 2:], corners[order, 2:])
            shared = np.prod(np.maximum(high - low, 0.0), axis=1)
            whole = sides[best] + sides[order] - shared
            with np.errstate(all="ignore"):
                share = np.where(whole > 0, shared / whole, 0.0)
            apart = np.abs(share - self.overlap)
            margin = min(margin, float(apart[apart > 0].min(initial=np.inf)))
            order = order[share <= self.overlap]
        return chosen, margin

    def _everywhere(self, inputs: Arrays) -> tuple[np.ndarray, float]:
        boxes, scores = inputs
        found, margin = [], np.inf
        for sample, corners in enumerate(self._corners(boxes)):
            for kind, each in enumerate(scores[sample]):
                chosen, near = self._chosen(corners, each)
                found += [(sample, kind, box) for box in chosen]
                margin = min(margin, near)
        return np.array(found, np.int64).reshape(-1, 3), margin

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._everywhere(inputs)[0],)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        bounds = [graph.const(self.most), graph.const(float(self.overlap))]
        if self.least is not None:
            bounds += [graph.const(float(self.least))]
        return (
            graph.op("NonMaxSuppression", *inputs, *bounds, center_point_box=int(self.centred)),
        )

    def margin(self, *inputs: np.ndarray) -> float:
        """How near to its bound some overlap comes: nearer than rounding, the choice is
        nobody's."""
        return self._everywhere(inputs)[1]
