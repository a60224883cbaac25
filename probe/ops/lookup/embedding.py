"""Rows of a table: one for each index, or sums, means and maxima of those that go into a bag."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.weight import Weight
from probe.ops.weight_effects import sizes

__all__ = ["Embedding", "EmbeddingBag"]

_INT64, _FLOAT = 7, 1
"""Of onnx.TensorProto."""


@dataclass(frozen=True, eq=False)
class Embedding(Op):
    """The row of ``table`` (rows, features) for each index of any shape (ONNX Gather); negative
    ones count from the end.

    With ``max_norm`` a row whose p-norm (``norm_type``) is larger is scaled to it: by max_norm /
    (norm + 1e-7), as PyTorch does.
    """

    table: Weight
    unmet_weights = "is not looked up"
    max_norm: float | None = None
    norm_type: float = 2.0

    def _norms(self, rows: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.linalg.norm(rows, ord=self.norm_type, axis=-1, keepdims=True)

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        if self.max_norm is None:
            return rows
        norms = self._norms(rows)
        return np.where(norms > self.max_norm, rows * (self.max_norm / (norms + 1e-7)), rows)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._scaled(self.table.value[inputs[0].astype(np.intp)].astype(np.float64)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            self._emitted(
                graph,
                graph.op(
                    "Gather", graph.weight(self.table), graph.op("Cast", inputs[0], to=_INT64)
                ),
            ),
        )

    def _emitted(self, graph: Graph, rows: str) -> str:
        if self.max_norm is None:
            return rows
        last = graph.const([-1])
        if self.norm_type in (1, 2):
            norms = graph.op(f"ReduceL{int(self.norm_type)}", rows, last)
        else:
            power = graph.op("Pow", graph.op("Abs", rows), graph.const(float(self.norm_type)))
            norms = graph.op(
                "Pow", graph.op("ReduceSum", power, last), graph.const(1 / self.norm_type)
            )
        scale = graph.op(
            "Div", graph.const(float(self.max_norm)), graph.op("Add", norms, graph.const(1e-7))
        )
        return graph.op(
            "Where",
            graph.op("Greater", norms, graph.const(float(self.max_norm))),
            graph.op("Mul", rows, scale),
            rows,
        )

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        count, width = self.table.value.shape
        rows = inputs[0].astype(np.intp).ravel() % count
        if worth is None:
            return {"table": (np.bincount(rows, minlength=count) > 0).astype(np.float64)[:, None]}
        found = np.zeros((count, width))
        np.maximum.at(found, rows, worth.reshape(-1, width))
        return {"table": found}

    def summary(self, inputs: Arrays) -> str:
        return (
            f"each index selects one of the {self.table.value.shape[0]} rows of {self.table.name}"
        )

    def _slack(self, rows: np.ndarray, precision: Precision) -> np.ndarray:
        """That of a row that is scaled, and of one whose norm is at the limit within rounding."""
        if self.max_norm is None:
            if precision.casts:
                return precision.unit * np.abs(rows)
            return np.zeros(rows.shape)
        close = self._norms(rows) > self.max_norm * (1 - 1e-6)
        return (
            np.where(close, (rows.shape[-1] ** 0.5 + 10) * precision.unit * np.abs(rows), 0.0)
            + precision.tiny
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (self._slack(of.outputs[0], precision),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        index = int(inputs[0][at[:-1]])
        row = index % self.table.value.shape[0]
        place = ", ".join(str(int(i)) for i in self.table.index_of((row, at[-1])))
        taken = float(self.table.value[row, at[-1]])
        stages = [Stage(f"index {index} selects {self.table.name}[{place}] {taken:.9g}", taken)]
        if self.max_norm is not None:
            norm = float(self._norms(self.table.value[row].astype(np.float64))[0])
            scaled = (
                f"the row's norm {norm:.6g} is "
                f"{'scaled to' if norm > self.max_norm else 'within'} {self.max_norm:g}"
            )
            stages.append(Stage(scaled, float(outputs[0][at])))
        return Contributions((), tuple(stages))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.any(mask, axis=-1),)


@dataclass(frozen=True, eq=False)
class EmbeddingBag(Embedding):
    """Rows of ``table`` brought together by ``mode`` "sum", "mean" or "max": indices (bags, each),
    or (indices,) with offsets.

    Further inputs, where ``offsets`` and ``weighted`` say so: where each bag starts among the
    indices (the last number ends the last bag where ``closed``), and a factor for each index.
    Indices equal to ``padding`` do not count; an empty bag gives 0.
    """

    mode: str = "mean"
    offsets: bool = False
    weighted: bool = False
    closed: bool = False
    padding: int | None = None

    def _bags(self, inputs: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Each index with its factor and its bag, those that count alone, and how many bags there
        are."""
        indices = inputs[0].astype(np.intp)
        if self.weighted:
            factors = inputs[-1].ravel()
        else:
            factors = np.ones(indices.size)
        if self.offsets:
            starts = inputs[1].astype(np.intp)
            count = starts.size - self.closed
            bags = np.searchsorted(starts, np.arange(indices.size), side="right") - 1
        else:
            count = indices.shape[0]
            bags = np.repeat(np.arange(count), indices.shape[1])
        indices = indices.ravel()
        kept = (bags >= 0) & (bags < count)
        if self.padding is not None:
            kept &= indices != self.padding
        return (
            np.where(kept, indices, 0),
            np.where(kept, factors, 0.0),
            np.where(kept, bags, -1),
            count,
        )

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        return self._scaled(self.table.value[indices].astype(np.float64))

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        indices, factors, bags, count = self._bags(inputs)
        kept = bags >= 0
        rows, bags = self._rows(indices[kept]), bags[kept]
        if self.mode == "max":
            out = np.full((count, rows.shape[1]), -np.inf)
            np.maximum.at(out, bags, rows)
            return (np.where(np.bincount(bags, minlength=count)[:, None] > 0, out, 0.0),)
        out = np.zeros((count, rows.shape[1]))
        np.add.at(out, bags, rows * factors[kept][:, None])
        return (out / self._divisors(bags, count),)

    def _divisors(self, bags: np.ndarray, count: int) -> np.ndarray:
        sizes = np.bincount(bags[bags >= 0], minlength=count)[:, None]
        if self.mode == "mean":
            return np.maximum(sizes, 1)
        return np.ones((count, 1))

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        indices, factors, bags, count = self._bags(inputs)
        if self.mode == "max":
            return {}
        kept = bags >= 0
        rows, width = indices[kept] % len(self.table.value), self.table.value.shape[1]
        shares = sizes(factors[kept, None] / self._divisors(bags[kept], count)[bags[kept]])
        found = np.zeros((len(self.table.value), width if worth is not None else 1))
        np.maximum.at(found, rows, shares if worth is None else shares * worth[bags[kept]])
        return {"table": found}

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        indices = graph.op("Cast", inputs[0], to=_INT64)
        shape = graph.shape(inputs[0])
        members = self._members(graph, inputs, shape)
        flat = graph.op("Reshape", indices, graph.const([-1]))
        if self.padding is not None:
            counts = graph.op("Not", graph.op("Equal", flat, graph.const(self.padding)))
            members = graph.op("And", members, counts)
        rows = self._emitted(graph, graph.op("Gather", graph.weight(self.table), flat))
        if self.mode == "max":
            each = graph.op(
                "Where",
                graph.op("Unsqueeze", members, graph.const([-1])),
                rows,
                graph.const(-np.inf),
            )
            top = graph.op("ReduceMax", each, graph.const([1]), keepdims=0)
            return (
                graph.op(
                    "Where", graph.op("Greater", top, graph.const(-np.inf)), top, graph.const(0.0)
                ),
            )
        ones = graph.op("Cast", members, to=_FLOAT)
        if self.weighted:
            factors = graph.op("Mul", ones, graph.op("Reshape", inputs[-1], graph.const([1, -1])))
        else:
            factors = ones
        total = graph.op("MatMul", factors, rows)
        if self.mode == "sum":
            return (total,)
        sizes = graph.op("ReduceSum", ones, graph.const([1]))
        return (graph.op("Div", total, graph.op("Max", sizes, graph.const(1.0))),)

    def _members(self, graph: Graph, inputs: Sequence[str], shape: tuple[int, ...]) -> str:
        """(bags, indices): which index lies in which bag."""
        if not self.offsets:
            bags = graph.const(np.repeat(np.arange(shape[0]), shape[1]))
            return graph.op("Equal", graph.const(np.arange(shape[0])[:, None]), bags)
        starts = graph.op("Cast", inputs[1], to=_INT64)
        size = graph.shape(inputs[1])[0]
        begun = graph.op("GreaterOrEqual", graph.const(np.arange(shape[0])[:, None]), starts)
        number = graph.op(
            "ReduceSum", graph.op("Cast", begun, to=_INT64), graph.const([1]), keepdims=0
        )
        return graph.op("Equal", graph.const(np.arange(1, size + 1 - self.closed)[:, None]), number)

    def summary(self, inputs: Arrays) -> str:
        return f"the {self.mode} of the rows of {self.table.name} that the indices of a bag select"

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        bags = self._bags(inputs)[2]
        return int(np.bincount(bags[bags >= 0], minlength=1).max(initial=1))

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, indices, 1), zero for those of other
        bags."""
        indices, factors, bags, count = self._bags(inputs)
        rows = self._rows(indices)[:, where[1]].T
        mine = bags == np.asarray(where[0])[:, None]
        if self.mode == "max":
            first = mine & (rows == self.run(*inputs)[0][where][:, None])
            return np.where(first & (np.cumsum(first, axis=1) == 1), rows, 0.0)[:, :, None]
        return (np.where(mine, rows * factors, 0.0) / self._divisors(bags, count)[where[0]])[
            :, :, None
        ]

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        indices, factors, bags, count = self._bags(of.inputs)
        kept = bags >= 0
        rows, bags = self._rows(indices[kept]), bags[kept]
        if self.mode == "max":
            out = np.zeros(of.outputs[0].shape)
            np.maximum.at(out, bags, self._slack(rows, precision))
            return (out,)
        factors, sizes = factors[kept][:, None], self._divisors(bags, count)
        squares, own = np.zeros(of.outputs[0].shape), np.zeros(of.outputs[0].shape)
        np.add.at(squares, bags, np.square(rows * factors))
        np.add.at(own, bags, self._slack(rows, precision) * np.abs(factors))
        own += of_sums(
            self.term_count(of.inputs, of.outputs), of.outputs[0] * sizes, squares, precision
        )
        if self.weighted and of.slacks[-1] is not None:
            np.add.at(own, bags, np.abs(rows) * of.slacks[-1].ravel()[kept][:, None])
        own = own / sizes + 2 * precision.unit * np.abs(of.outputs[0])
        if of.few is not None:
            own[of.few] = np.maximum(
                own[of.few], of_partial_sums(self.terms(of.inputs, of.few), precision)
            )
        return (own,)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        indices, _, bags, _ = self._bags(inputs)
        mine = np.flatnonzero(bags == at[0])
        taken = indices[mine]
        listed = ", ".join(map(str, taken[:8].tolist())) + (", …" if len(taken) > 8 else "")
        value, those = (
            float(outputs[0][at]),
            f"{self.table.name}[i, {at[-1]}] for the {len(mine)} indices i = {listed}",
        )
        if self.mode == "max" or not len(mine):
            return Contributions((), (Stage(f"the {self.mode} of {those}", value),))
        column = self._rows(indices)[:, at[-1]]
        if self.mode == "mean":
            stages = [Stage(f"divided by {len(mine)}", value)]
        else:
            stages = []
        if not self.weighted:
            return Contributions(
                (), (Stage(f"the sum of {those}", float(column[mine].sum())), *stages)
            )
        where = np.stack(np.unravel_index(mine, inputs[-1].shape), axis=-1)
        factor = Weight(f"{self.table.name} row of index", None, column)
        return Contributions(
            (Terms(where, input=len(inputs) - 1, factor=factor, factor_where=mine[:, None]),),
            tuple(stages),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        bags = self._bags(inputs)[2]
        if len(mask):
            touched = np.any(mask, axis=-1)[bags] & (bags >= 0)
        else:
            touched = np.zeros(bags.shape, bool)
        rest = [np.full(x.shape, mask.any()) for x in inputs[1 : 1 + self.offsets]]
        return (
            touched.reshape(inputs[0].shape),
            *rest,
            *([touched.reshape(inputs[-1].shape)] if self.weighted else []),
        )
