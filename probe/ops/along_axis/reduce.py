"""Reductions of whole axes: sums, means, extremes, norms and variances."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_axes
from probe.ops.along_axis.softmax import of_exponentials
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.engine_differences import MEAN_OF_NOTHING, NAN_IN_EXTREME, SQUARES_OVERFLOW
from probe.ops.exactness import without_rounding

__all__ = [
    "ReduceAll",
    "ReduceAny",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceStd",
    "ReduceSum",
    "ReduceSumSquare",
    "ReduceVar",
]


@dataclass(frozen=True, eq=False)
class _Reduction(Op):
    """``axes`` (counted from the first; all of them where empty) become one, which is kept with
    size 1 or dropped."""

    axes: tuple[int, ...]
    keepdims: bool = False
    onnx: ClassVar[str]
    words: ClassVar[str]

    def over(self, x: np.ndarray) -> tuple[int, ...]:
        for axis in self.axes:
            if not -x.ndim <= axis < x.ndim:
                raise np.exceptions.AxisError(axis, x.ndim)
        if self.axes:
            return tuple(axis % x.ndim for axis in self.axes)
        return tuple(range(x.ndim))

    def count(self, x: np.ndarray) -> int:
        return math.prod(x.shape[axis] for axis in self.over(x))

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        raise NotImplementedError

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(self.reduced(inputs[0], self.keepdims)),)

    def emit_axes(self, graph: Graph) -> tuple[str, ...]:
        """The input that names the axes; none where all are reduced."""
        if self.axes:
            return (graph.const(list(self.axes)),)
        return ()

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        axes = self.emit_axes(graph)
        return (graph.op(self.onnx, inputs[0], *axes, keepdims=int(self.keepdims)),)

    def kept(self, array: np.ndarray, x: np.ndarray) -> np.ndarray:
        """An output with the axes that were dropped."""
        if self.keepdims:
            return array
        return np.expand_dims(array, self.over(x))

    def like(self, array: np.ndarray, x: np.ndarray) -> np.ndarray:
        """An array of the kept axes in the shape of the output."""
        if self.keepdims:
            return array
        return np.squeeze(array, axis=self.over(x))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(self.kept(mask, inputs[0]), inputs[0].shape),)

    def members(self, x: np.ndarray, where: Indices) -> Indices:
        """Where the elements behind the outputs at ``where`` stand in x: (outputs, members) on each
        axis."""
        over = self.over(x)
        grid = np.indices([x.shape[axis] for axis in over]).reshape(len(over), self.count(x))
        rest = [axis for axis in range(x.ndim) if axis not in over]
        if self.keepdims:
            outer = [where[axis][:, None] for axis in rest]
        else:
            outer = [at[:, None] for at in where]
        at = dict(zip(rest, outer, strict=True)) | {
            axis: row[None, :] for axis, row in zip(over, grid, strict=True)
        }
        shape = (len(where[0]) if where else 1, self.count(x))
        return tuple(np.broadcast_to(at[axis], shape) for axis in range(x.ndim))

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        (x,) = inputs
        over = self.over(x)
        rest = iter(at)
        fixed = [next(rest) if axis not in over or self.keepdims else 0 for axis in range(x.ndim)]
        members = box(
            [range(x.shape[axis]) if axis in over else fixed[axis] for axis in range(x.ndim)]
        )
        return self.told(members, float(outputs[0][at]))

    def told(self, members: np.ndarray, value: float) -> Contributions:
        return Contributions(
            (), (Stage(f"{self.words} of {len(members)} elements", value, Terms(members)),)
        )


@dataclass(frozen=True, eq=False)
class _Sum(_Reduction):
    """A sum of one term for each element, divided by ``divisor``."""

    refinable = True

    def term(self, x: np.ndarray) -> np.ndarray:
        return x

    def divisor(self, x: np.ndarray) -> float:
        return 1.0

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        total = self.term(x).sum(axis=self.over(x), keepdims=keepdims)
        by = self.divisor(x)
        if by == 1:
            return total
        return total / by

    def term_count(self, inputs: Arrays, outputs: Arrays) -> int:
        return self.count(inputs[0])

    def terms(self, inputs: Arrays, where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, terms, 1)."""
        (x,) = inputs
        return (self.term(x[self.members(x, where)]) / self.divisor(x))[:, :, None]

    def moved(self, x: np.ndarray, slack: np.ndarray) -> np.ndarray:
        """How far each term may be off."""
        return slack

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,), by = of.inputs, of.slacks, of.outputs, self.divisor(of.inputs[0])
        over = self.over(x)
        each: dict[str, Any] = {"axis": over, "keepdims": self.keepdims}
        terms = self.term(x) + 0.0
        own = of_axes(terms, over, y * by, np.square(terms).sum(**each), precision)
        own = own / by + (0 if by == 1 else 2 * precision.unit * np.abs(y))
        if slack is None:
            return (own,)
        return (own + np.sqrt(np.square(self.moved(x, slack)).sum(**each)) / by,)


@dataclass(frozen=True, eq=False)
class ReduceSum(_Sum):
    """The sum over the axes."""

    onnx = "ReduceSum"

    def told(self, members: np.ndarray, value: float) -> Contributions:
        return Contributions((Terms(members),))

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return without_rounding([(self.count(inputs[0]), inputs)], (), precision)


@dataclass(frozen=True, eq=False)
class ReduceMean(_Sum):
    """The mean over the axes."""

    onnx = "ReduceMean"
    engine_differences = (MEAN_OF_NOTHING,)

    def divisor(self, x: np.ndarray) -> float:
        return float(self.count(x))

    def told(self, members: np.ndarray, value: float) -> Contributions:
        return Contributions((Terms(members),), (Stage(f"divided by {len(members)}", value),))


@dataclass(frozen=True, eq=False)
class ReduceL1(_Sum):
    """The sum of the absolute values over the axes."""

    onnx, words = "ReduceL1", "the sum of the absolute values"

    def term(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)


@dataclass(frozen=True, eq=False)
class ReduceSumSquare(_Sum):
    """The sum of the squares over the axes."""

    onnx, words = "ReduceSumSquare", "the sum of the squares"

    def term(self, x: np.ndarray) -> np.ndarray:
        return np.square(x)

    def moved(self, x: np.ndarray, slack: np.ndarray) -> np.ndarray:
        return 2 * np.abs(x) * slack + np.square(slack)


@dataclass(frozen=True, eq=False)
class ReduceL2(_Reduction):
    """The square root of the sum of the squares over the axes."""

    onnx, words = "ReduceL2", "the square root of the sum of the squares"
    refinable = True
    engine_differences = (SQUARES_OVERFLOW,)

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return np.sqrt(np.square(x + 0.0).sum(axis=self.over(x), keepdims=keepdims))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        squares = np.square(x + 0.0)
        over = self.over(x)
        fourth = np.square(squares).sum(axis=over, keepdims=self.keepdims)
        total = of_axes(squares, over, np.square(y), fourth, precision)
        # The squares of what is small vanish: below sqrt(tiny) the norm is no better than that.
        own = (
            np.minimum(total / np.maximum(2 * y, 1e-300), np.sqrt(total))
            + 2 * precision.unit * y
            + precision.tiny
        )
        if slack is None:
            return (own,)
        return (own + np.sqrt(np.square(slack).sum(axis=over, keepdims=self.keepdims)),)


def _of_nothing(x: np.ndarray, value: float) -> dict[str, Any]:
    """What an extreme of no elements is: ONNX gives the infinity that every other number is
    beyond."""
    if x.size or x.dtype.kind != "f":
        return {}
    return {"initial": value}


class _Extreme(_Reduction):
    """One of the elements."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,) = of.inputs, of.slacks
        if slack is None:
            return (np.zeros(of.outputs[0].shape),)
        return (slack.max(axis=self.over(x), keepdims=self.keepdims, initial=0.0),)


@dataclass(frozen=True, eq=False)
class ReduceMax(_Extreme):
    """The largest element over the axes."""

    onnx, words = "ReduceMax", "the largest"
    engine_differences = (NAN_IN_EXTREME,)

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return x.max(axis=self.over(x), keepdims=keepdims, **_of_nothing(x, -np.inf))


@dataclass(frozen=True, eq=False)
class ReduceMin(_Extreme):
    """The smallest element over the axes."""

    onnx, words = "ReduceMin", "the smallest"
    engine_differences = (NAN_IN_EXTREME,)

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return x.min(axis=self.over(x), keepdims=keepdims, **_of_nothing(x, np.inf))


class _Truths(_Extreme):
    """Of truths, by way of integers."""

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        axes = self.emit_axes(graph)
        whole = graph.op("Cast", graph.op("Cast", inputs[0], to=9), to=7)
        return (
            graph.op("Cast", graph.op(self.onnx, whole, *axes, keepdims=int(self.keepdims)), to=9),
        )


@dataclass(frozen=True, eq=False)
class ReduceAll(_Truths):
    """Whether all elements over the axes hold."""

    onnx, words = "ReduceMin", "all"

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return (x != 0).all(axis=self.over(x), keepdims=keepdims)


@dataclass(frozen=True, eq=False)
class ReduceAny(_Truths):
    """Whether any element over the axes holds."""

    onnx, words = "ReduceMax", "any"

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return (x != 0).any(axis=self.over(x), keepdims=keepdims)


@dataclass(frozen=True, eq=False)
class ReduceProd(_Reduction):
    """The product over the axes."""

    onnx, words = "ReduceProd", "the product"

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return x.prod(axis=self.over(x), keepdims=keepdims)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        own = (self.count(x) + 1) * precision.unit * np.abs(y) + precision.tiny
        if slack is None:
            return (own,)
        return (
            own + (np.abs(x) + slack).prod(axis=self.over(x), keepdims=self.keepdims) - np.abs(y),
        )


@dataclass(frozen=True, eq=False)
class ReduceLogSumExp(_Reduction):
    """log(sum exp(x)) over the axes, computed less the largest."""

    onnx, words = "ReduceLogSumExp", "the logarithm of the sum of the exponentials"
    refinable = True

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        top = x.max(axis=self.over(x), keepdims=True, **_of_nothing(x, -np.inf))
        top = np.where(np.isfinite(top), top, 0.0)
        found = np.log(np.exp(x - top).sum(axis=self.over(x), keepdims=True)) + top
        if keepdims:
            return found
        return np.squeeze(found, axis=self.over(x))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        over, each = self.over(x), {"axis": self.over(x), "keepdims": self.keepdims}
        soft = np.exp(x - self.kept(y, x))
        top = x.max(axis=over, keepdims=True, **_of_nothing(x, -np.inf))
        apart = np.where(np.isneginf(x), 0.0, np.abs(x - top))  # what is masked adds nothing
        spent = (
            (soft * (apart + 6)).sum(**each)
            + 2 * math.sqrt(self.count(x))
            + np.abs(self.like(top, x))
            + 4 * np.abs(y)
        )
        own = precision.unit * np.where(np.isfinite(spent), spent, 0.0) + precision.tiny
        looked = np.broadcast_to(of_exponentials(soft, over, precision), np.shape(self.kept(y, x)))
        own = own + np.nan_to_num(self.like(looked, x))
        return (own if slack is None else own + (soft * slack).sum(**each),)


def _mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean over axes, which are kept; NaN, without a warning, where there is nothing."""
    if x.size:
        return x.mean(axis=axes, keepdims=True)
    return np.full([1 if k in axes else size for k, size in enumerate(x.shape)], np.nan)


@dataclass(frozen=True, eq=False)
class ReduceVar(_Reduction):
    """The mean squared distance from the mean over the axes; it divides by ``ddof`` less than the
    count."""

    ddof: int = 0
    words = "the mean squared distance from the mean"
    refinable = True

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        far = np.square(x - _mean(x, self.over(x)))
        return far.sum(axis=self.over(x), keepdims=keepdims) / far.dtype.type(
            max(self.count(x) - self.ddof, 0)
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        axes = self.emit_axes(graph)
        apart = graph.op("Sub", inputs[0], graph.op("ReduceMean", inputs[0], *axes, keepdims=1))
        total = graph.op("ReduceSumSquare", apart, *axes, keepdims=int(self.keepdims))
        sizes = graph.shape(inputs[0])
        if self.axes:
            count = math.prod(sizes[axis] for axis in self.axes)
        else:
            count = math.prod(sizes)
        return (graph.op("Div", total, graph.const(float(max(count - self.ddof, 0)))),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (self.moved(of.inputs[0], of.slacks[0], of.outputs[0], precision),)

    def moved(
        self, x: np.ndarray, slack: np.ndarray | None, variance: np.ndarray, precision: Precision
    ) -> np.ndarray:
        """What the mean loses shifts all distances, which cancels but for its square; one pass
        (Welford) loses more."""
        over, count, by = self.over(x), self.count(x), np.float64(max(self.count(x) - self.ddof, 0))
        each: dict[str, Any] = {"axis": over, "keepdims": self.keepdims}
        mean = _mean(x, over)
        far = x - mean
        squares = np.square(far)
        own = (
            of_axes(squares, over, variance * by, np.square(squares).sum(**each), precision) / by
            + 4 * precision.unit * variance
        )
        shift = (
            of_axes(x, over, self.like(mean, x) * count, np.square(x + 0.0).sum(**each), precision)
            / count
        )
        own = (
            own
            + np.square(shift)
            + 6 * precision.unit * np.sqrt(variance) * np.abs(self.like(mean, x))
            + precision.tiny
        )
        if slack is None:
            return own
        return (
            own
            + (2 * np.sqrt(np.square(far * slack).sum(**each)) + np.square(slack).sum(**each)) / by
        )


@dataclass(frozen=True, eq=False)
class ReduceStd(ReduceVar):
    """The square root of the mean squared distance from the mean over the axes."""

    words = "the square root of the mean squared distance from the mean"
    engine_differences = (SQUARES_OVERFLOW,)

    def reduced(self, x: np.ndarray, keepdims: bool) -> np.ndarray:
        return np.sqrt(super().reduced(x, keepdims))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Sqrt", super().to_onnx(graph, *inputs)[0]),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (y,) = of.outputs
        moved = self.moved(of.inputs[0], of.slacks[0], np.square(y), precision)
        return (
            np.sqrt(np.square(y) + moved)
            - np.sqrt(np.maximum(np.square(y) - moved, 0.0))
            + 2 * precision.unit * y,
        )
