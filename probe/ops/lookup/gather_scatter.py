"""Elements picked, repeated and overwritten by their places."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.blocks import places, rows_of
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op, Rearrangement
from probe.ops.contributions import Contributions, Stage, Terms

__all__ = [
    "Expand",
    "Gather",
    "GatherElements",
    "GatherND",
    "ScatterElements",
    "ScatterND",
    "Tile",
    "Trilu",
]

_INT64 = 7
"""TensorProto.INT64."""


def _whole(indices: np.ndarray) -> np.ndarray:
    """Indices as integers: beside floats they arrive as floats."""
    return indices.astype(np.intp, copy=False)


class _Moved(Rearrangement):
    """Elements of the first input, found again by moving their numbers; 0 where there is none."""

    def _numbers(self, where: tuple[np.ndarray, ...], inputs: Arrays, count: int) -> np.ndarray:
        x = inputs[0]
        return np.broadcast_to(
            self.run(np.arange(1, x.size + 1).reshape(x.shape), *inputs[1:])[0][where], (count,)
        )

    def follow(self, where: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        found = self._numbers(tuple(where.T), inputs, len(where))
        back = places(np.maximum(found - 1, 0), inputs[0].shape)
        return np.where(found > 0, 0, -1), rows_of(back, len(where))

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        found = self._numbers(where, inputs, len(where[0]) if where else 1)
        if (found > 0).all():
            return places(found - 1, inputs[0].shape)
        return None

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        which, back = self.follow(np.argwhere(mask), inputs)
        found = np.zeros(inputs[0].shape, bool)
        found[tuple(back[which == 0].T)] = True
        return (found, *(np.zeros(x.shape, bool) for x in inputs[1:]))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return self.run(of.slacks[0], *of.inputs[1:])


@dataclass(frozen=True, eq=False)
class Gather(_Moved):
    """The slices of x at the second input's indices along ``axis``, whose place the axes of the
    indices take.

    Negative indices count from the end.
    """

    axis: int = 0

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(np.take(inputs[0], _whole(inputs[1]), axis=self.axis)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op("Gather", inputs[0], graph.op("Cast", inputs[1], to=_INT64), axis=self.axis),
        )


@dataclass(frozen=True, eq=False)
class GatherElements(_Moved):
    """The elements of x at the second input's indices along ``axis``; on the other axes at the
    place of the index."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, indices = inputs[0], _whole(inputs[1])
        at: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
        at[self.axis] = indices
        return (x[tuple(at)],)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "GatherElements", inputs[0], graph.op("Cast", inputs[1], to=_INT64), axis=self.axis
            ),
        )


@dataclass(frozen=True, eq=False)
class GatherND(_Moved):
    """The slices of x whose indices on the first axes stand along the last axis of the second
    input."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(inputs[0][tuple(np.moveaxis(_whole(inputs[1]), -1, 0))]),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("GatherND", inputs[0], graph.op("Cast", inputs[1], to=_INT64)),)


@dataclass(frozen=True, eq=False)
class Expand(_Moved):
    """x repeated along axes of size 1, and along new ones in front, to ``shape``."""

    shape: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(inputs[0], self.shape),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Expand", inputs[0], graph.const(list(self.shape))),)


@dataclass(frozen=True, eq=False)
class Tile(_Moved):
    """x laid ``repeats`` times after itself on every axis."""

    repeats: tuple[int, ...]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.tile(inputs[0], self.repeats),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Tile", inputs[0], graph.const(list(self.repeats))),)


@dataclass(frozen=True, eq=False)
class Trilu(_Moved):
    """Of the last two axes the part on and above (``upper``) or below the diagonal ``k``; 0
    elsewhere."""

    upper: bool
    k: int = 0

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.triu(inputs[0], self.k) if self.upper else np.tril(inputs[0], self.k),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Trilu", inputs[0], graph.const(self.k), upper=int(self.upper)),)


_INTO = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


class _Scatter(Op):
    """x with the elements of the third input put, or added, multiplied or compared, where the
    second says.

    Of several put at one place the last stays.
    """

    reduction: str

    def targets(self, inputs: Arrays) -> np.ndarray:
        """The number in x of every element of the third input, in its shape."""
        raise NotImplementedError

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, _, updates = inputs
        flat = np.array(x, np.result_type(x, updates)).reshape(-1)
        if self.reduction in _INTO:
            _INTO[self.reduction].at(flat, self.targets(inputs).reshape(-1), updates.reshape(-1))
        else:
            flat[self.targets(inputs).reshape(-1)] = updates.reshape(-1)
        return (flat.reshape(x.shape),)

    def _sources(self, inputs: Arrays) -> np.ndarray:
        """For each element of the output which update stands there, -1 for none."""
        found = np.full(inputs[0].size, -1)
        found[self.targets(inputs).reshape(-1)] = np.arange(inputs[2].size)
        return found.reshape(inputs[0].shape)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        _, indices, updates = inputs
        wanted = mask.reshape(-1)[self.targets(inputs)]
        if self.reduction != "none":
            return mask, np.zeros(indices.shape, bool), wanted
        source = self._sources(inputs)
        stays = np.isin(np.arange(updates.size), source).reshape(updates.shape)
        return mask & (source < 0), np.zeros(indices.shape, bool), wanted & stays

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        update = int(self._sources(inputs)[at])
        if update < 0:
            return Contributions((Terms(np.array([at], int).reshape(1, len(at))),))
        where = np.array(places(np.array([update]), inputs[2].shape)).T.reshape(1, inputs[2].ndim)
        if self.reduction == "none":
            words = "put here"
        else:
            words = f"the last of the values combined here by {self.reduction}"
        return Contributions((Terms(where, input=2),), (Stage(words, float(outputs[0][at])),))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        x, indices, updates = of.inputs
        own, theirs = (
            np.zeros(operand.shape) if slack is None else slack
            for operand, slack in zip((x, updates), of.slacks[::2], strict=True)
        )
        if self.reduction in ("max", "min"):
            return type(self)(**{**vars(self), "reduction": "max"}).run(own, indices, theirs)
        sum_of = type(self)(**{**vars(self), "reduction": "add"})
        if self.reduction == "mul":
            (reached,) = self.run(np.abs(x) + own, indices, np.abs(updates) + theirs)
            (counts,) = sum_of.run(np.zeros(x.shape), indices, np.ones(updates.shape))
            unit = precision.unit if of.outputs[0].dtype.kind == "f" else 0.0
            return (
                reached
                - np.abs(of.outputs[0])
                + counts * (unit * reached + precision.tiny * (unit > 0)),
            )
        (moved,) = self.run(own, indices, theirs)
        if self.reduction == "none" or of.outputs[0].dtype.kind != "f":
            return (moved,)
        (sizes,) = self.run(np.abs(x), indices, np.abs(updates))
        (counts,) = self.run(np.zeros(x.shape), indices, np.ones(updates.shape))
        return (moved + counts * precision.unit * sizes,)


@dataclass(frozen=True, eq=False)
class ScatterElements(_Scatter):
    """x with the third input's elements put (or added) at the second's indices along ``axis``."""

    axis: int
    reduction: str = "none"

    def targets(self, inputs: Arrays) -> np.ndarray:
        x, indices = inputs[0], _whole(inputs[1])
        at = list(np.broadcast_arrays(*np.indices(indices.shape, sparse=True)))
        at[self.axis] = np.mod(indices, x.shape[self.axis])
        return np.ravel_multi_index(at, x.shape)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, indices, updates = inputs
        indices = graph.op("Cast", indices, to=_INT64)
        return (
            graph.op(
                "ScatterElements", x, indices, updates, axis=self.axis, reduction=self.reduction
            ),
        )


@dataclass(frozen=True, eq=False)
class ScatterND(_Scatter):
    """x with the slices of the third input put (or added) where the indices along the last axis of
    the second say."""

    reduction: str = "none"

    def targets(self, inputs: Arrays) -> np.ndarray:
        x, indices, updates = inputs
        at = tuple(np.moveaxis(_whole(indices), -1, 0))
        return np.arange(x.size).reshape(x.shape)[at].reshape(updates.shape)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, indices, updates = inputs
        return (
            graph.op(
                "ScatterND",
                x,
                graph.op("Cast", indices, to=_INT64),
                updates,
                reduction=self.reduction,
            ),
        )
