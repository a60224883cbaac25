"""Determinants and singular values of the matrices on the last two axes."""

import math
from dataclasses import dataclass

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import Precision
from probe.ops.base import Evaluated, Graph, Op

__all__ = ["Det", "SingularValues"]


@dataclass(frozen=True, eq=False)
class Det(Op):
    """The determinant of each matrix, by elimination."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(np.linalg.det(inputs[0])),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Det", inputs[0]),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """Elimination is exact for a matrix whose rows are off by n² u of the largest; a row counts
        with the lengths of the others."""
        x, slack = of.inputs[0].astype(np.float64, copy=False), of.slacks[0]
        size = x.shape[-1]
        rows = np.linalg.norm(x, axis=-1)
        off = (
            precision.unit * size**2 * rows.max(axis=-1, keepdims=True, initial=0.0)
            + precision.tiny
        )
        if slack is not None:
            off = off + np.linalg.norm(slack, axis=-1)
        return (
            np.prod(rows + off, axis=-1)
            - np.prod(rows, axis=-1)
            + math.sqrt(size) * precision.unit * np.abs(of.outputs[0]),
        )


@dataclass(frozen=True, eq=False)
class SingularValues(Op):
    """The singular values of each matrix, the largest first."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.linalg.svd(inputs[0], compute_uv=False),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        raise Undescribed("ONNX has no operator for singular values")

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """Those of a matrix that is off by n u of the largest; none moves by more than the length
        of what a matrix is off by (Weyl, 1912)."""
        x, y, slack = of.inputs[0], of.outputs[0], of.slacks[0]
        size = max(x.shape[-2:])
        own = precision.unit * size * y.max(axis=-1, keepdims=True, initial=0.0) + precision.tiny
        if slack is not None:
            own = own + np.linalg.norm(slack, axis=(-2, -1))[..., None]
        return (np.broadcast_to(own, y.shape),)
