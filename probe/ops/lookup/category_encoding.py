"""Ops on numbers that name things: which interval a value lies in, which place a key has, and the
one-hot form of a place."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms

__all__ = ["Bucketize", "Lookup", "OneHot"]

_INT64, _FLOAT = 7, 1
"""Types as ONNX numbers them."""


def _stage(x: np.ndarray, at: tuple[int, ...], words: str, value: float) -> Contributions:
    return Contributions((Terms(np.array([at], int).reshape(1, x.ndim)),), (Stage(words, value),))


class _Named(Op):
    """An element by element choice among a few values, which a small change of the input either
    moves or does not."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if slack is None:
            return (np.zeros(y.shape),)
        moved = [np.abs(self.run(x + sign * slack)[0] - y) for sign in (-1.0, 1.0)]
        return (np.maximum(*moved).astype(np.float64),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask,)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where


@dataclass(frozen=True, eq=False)
class Bucketize(_Named):
    """How many of the rising ``boundaries`` are at most x."""

    boundaries: tuple[float, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.searchsorted(np.array(self.boundaries), inputs[0], side="right"),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        rank = len(graph.shape(inputs[0]))
        x = graph.op("Unsqueeze", graph.op("Cast", inputs[0], to=_FLOAT), graph.const([rank]))
        passed = graph.op("GreaterOrEqual", x, graph.const(np.array(self.boundaries, np.float64)))
        return (
            graph.op(
                "ReduceSum", graph.op("Cast", passed, to=_INT64), graph.const([rank]), keepdims=0
            ),
        )

    def summary(self, inputs: Arrays) -> str:
        return f"the number of boundaries <= x, of {len(self.boundaries)}"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        place = int(outputs[0][at])
        low = f"{self.boundaries[place - 1]:.9g}" if place else "-inf"
        if place < len(self.boundaries):
            high = f"{self.boundaries[place]:.9g}"
        else:
            high = "inf"
        return _stage(inputs[0], at, f"in interval {place}: [{low}, {high})", place)


@dataclass(frozen=True, eq=False)
class Lookup(_Named):
    """``values`` at the place of x among ``keys``; ``default`` where it is none of them, plus x mod
    ``modulus`` where there is one."""

    keys: tuple[int, ...]
    values: tuple[int, ...]
    default: int
    modulus: int = 0

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = np.rint(inputs[0]).astype(np.int64)
        out = np.full(x.shape, self.default) + (x % self.modulus if self.modulus else 0)
        if not self.keys:
            return (out,)
        keys, values = np.array(self.keys), np.array(self.values)
        order = np.argsort(keys, kind="stable")
        place = np.minimum(np.searchsorted(keys[order], x), len(keys) - 1)
        return (np.where(keys[order][place] == x, values[order][place], out),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        rank = len(graph.shape(inputs[0]))
        x = graph.op("Cast", inputs[0], to=_INT64)
        out = graph.const(self.default)
        if self.modulus:
            out = graph.op("Add", out, graph.op("Mod", x, graph.const(self.modulus)))
        equal = graph.op(
            "Equal",
            graph.op("Unsqueeze", x, graph.const([rank])),
            graph.const(np.array(self.keys, np.int64)),
        )
        flags = graph.op("Cast", equal, to=_INT64)
        total = graph.op(
            "ReduceSum",
            graph.op("Mul", flags, graph.const(np.array(self.values, np.int64))),
            graph.const([rank]),
            keepdims=0,
        )
        known = graph.op("ReduceMax", flags, graph.const([rank]), keepdims=0)
        known = graph.op("Cast", known, to=9)
        return (graph.op("Where", known, total, graph.op("Expand", out, graph.op("Shape", x))),)

    def summary(self, inputs: Arrays) -> str:
        return f"the index of x among {len(self.keys)} keys"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        x = int(np.rint(inputs[0][at]))
        known = x in self.keys
        return _stage(
            inputs[0],
            at,
            f"the key {x}" if known else f"{x} is not one of the {len(self.keys)} keys",
            float(outputs[0][at]),
        )


@dataclass(frozen=True, eq=False)
class OneHot(Op):
    """1 at the place that x names along a new last axis of ``depth``, else 0; zeros alone where it
    names none (ONNX OneHot)."""

    depth: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return ((np.rint(inputs[0])[..., None] == np.arange(self.depth)).astype(np.float64),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        # ONNX's own OneHot counts negative places from the end.
        x = graph.op("Unsqueeze", graph.op("Cast", inputs[0], to=_INT64), graph.const([-1]))
        return (
            graph.op("Cast", graph.op("Equal", x, graph.const(np.arange(self.depth))), to=_FLOAT),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if slack is None:
            return (np.zeros(y.shape),)
        moved = (np.rint(x - slack) != np.rint(x)) | (np.rint(x + slack) != np.rint(x))
        return (np.broadcast_to(np.where(moved, 1.0, 0.0)[..., None], y.shape).copy(),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.any(mask, axis=-1),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return _stage(inputs[0], at[:-1], f"1 at index {at[-1]}, else 0", float(outputs[0][at]))
