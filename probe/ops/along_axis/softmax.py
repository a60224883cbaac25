"""Activations that work along an axis: softmax and kin, and gated units."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from probe.numerics.blocks import apart
from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_axes
from probe.ops.base import Arrays, Evaluated, Graph, Op, spread
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.elementwise.special_functions import sigmoid

__all__ = ["Glu", "LogSoftmax", "Softmax", "Softmin", "Sparsemax", "of_exponentials"]


def _softmax(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    e = np.exp(x - _largest(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


def _largest(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The largest along the axis, which stays; of no floats -inf."""
    if x.dtype.kind == "f":
        return x.max(axis=axis, keepdims=True, initial=-np.inf)
    return x.max(axis=axis, keepdims=True)


def _distances(x: np.ndarray, axis: int) -> np.ndarray:
    """How far each element lies below the largest along the axis; 0 for one at -inf, whose
    exponential is exact."""
    with np.errstate(invalid="ignore"):
        distance = np.abs(x - _largest(x, axis))
    return np.where(np.isfinite(distance), distance, 0.0)


def of_exponentials(soft: np.ndarray, axes: tuple[int, ...], precision: Precision) -> np.ndarray:
    """The second look at the sum over ``axes`` (which stay) of exponentials, the largest of them 1:
    how far it may be off, relative to it.

    ``soft`` are their shares of the sum; 0 where the precision does not look.
    """
    if not precision.refine:
        return np.zeros(())
    with np.errstate(all="ignore"):
        each = soft / soft.max(axis=axes, keepdims=True, initial=0.0)
        total, squares = (
            each.sum(axis=axes, keepdims=True),
            np.square(each).sum(axis=axes, keepdims=True),
        )
        return of_axes(each, axes, total, squares, precision) / total


def _members(x: np.ndarray, at: tuple[int, ...], axis: int) -> np.ndarray:
    """The elements along ``axis`` that stand in line with one."""
    return box(
        [
            range(size) if k == axis % x.ndim else i
            for k, (i, size) in enumerate(zip(at, x.shape, strict=True))
        ]
    )


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """exp(x) / sum exp(x) along ``axis``.

    Each exponential is off by u times the distance of its argument from the largest, the positive
    sum by the walk of its partial sums.
    """

    axis: int
    sign: ClassVar[float] = 1.0
    refinable = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (apart(lambda x: _softmax(self.sign * x, self.axis), inputs[0], (self.axis,)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Softmax", inputs[0], axis=self.axis),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axis, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        members = _members(inputs[0], at, self.axis)
        taken = self.sign * inputs[0][tuple(members.T)]
        largest = float(taken.max())
        with np.errstate(all="ignore"):
            total = float(np.exp(taken - largest).sum())
            mine = float(np.exp(self.sign * inputs[0][at] - largest))
        words = (
            f"exp({'' if self.sign > 0 else '-'}x - {largest:.9g}), where {largest:.9g} is "
            f"the largest of {len(members)} elements"
        )
        divided = f"divided by the sum of these exponentials {total:.9g}"
        return Contributions(
            (Terms(np.array([at], int)),),
            (Stage(words, mine, Terms(members)), Stage(divided, float(outputs[0][at]))),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        distance = _distances(self.sign * x, self.axis)
        each = precision.unit * (distance + 6)
        shared = (y * each).sum(axis=self.axis, keepdims=True) + 2 * precision.unit * math.sqrt(
            x.shape[self.axis]
        )
        own = y * (each + (shared + of_exponentials(y, (self.axis,), precision))) + precision.tiny
        if of.slacks[0] is None:
            return (own,)
        arrived = of.slacks[0] + (y * of.slacks[0]).sum(axis=self.axis, keepdims=True)
        return (own + np.minimum(y * np.expm1(np.minimum(arrived, 700.0)), 1.0),)


@dataclass(frozen=True, eq=False)
class Softmin(Softmax):
    """The softmax of -x."""

    sign = -1.0

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Softmax", graph.op("Neg", inputs[0]), axis=self.axis),)


@dataclass(frozen=True, eq=False)
class LogSoftmax(Op):
    """x - log(sum exp(x)) along ``axis``."""

    axis: int
    refinable = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        def one(x: np.ndarray) -> np.ndarray:
            below = x - _largest(x, self.axis)
            return below - np.log(np.exp(below).sum(axis=self.axis, keepdims=True))

        return (apart(one, inputs[0], (self.axis,)),)

    def intermediates(self, inputs: Arrays, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """x less the largest, the log of the sum, and where that is added to the largest first,
        both."""
        distance = _distances(inputs[0], self.axis)
        return distance, distance + y, inputs[0] - y

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("LogSoftmax", inputs[0], axis=self.axis),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axis, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        members = _members(inputs[0], at, self.axis)
        taken = inputs[0][tuple(members.T)]
        largest = float(taken.max())
        with np.errstate(all="ignore"):
            total = float(np.log(np.exp(taken - largest).sum()))
        below = Stage(
            f"minus {largest:.9g}, the largest of {len(members)} elements",
            float(inputs[0][at]) - largest,
            Terms(members),
        )
        last = Stage(
            f"minus the log of the sum of their exponentials (each minus the largest) {total:.9g}",
            float(outputs[0][at]),
        )
        return Contributions((Terms(np.array([at], int)),), (below, last))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        soft, distance = np.exp(y), _distances(x, self.axis)
        shared = (soft * (distance + 6)).sum(axis=self.axis, keepdims=True) + 2 * math.sqrt(
            x.shape[self.axis]
        )
        # Kernels that add the largest back first compute x - (max + log sum): one more rounding of
        # max.
        own = (
            precision.unit
            * (2 * distance + 2 * np.abs(y) + np.abs(x) + np.abs(x - distance) + shared)
            + precision.tiny
        )
        own += of_exponentials(soft, (self.axis,), precision)
        own = np.where(np.isfinite(own), own, 0.0)
        if of.slacks[0] is None:
            return (own,)
        return (own + of.slacks[0] + (soft * of.slacks[0]).sum(axis=self.axis, keepdims=True),)


@dataclass(frozen=True, eq=False)
class Sparsemax(Op):
    """The projection of x onto the probability simplex along ``axis`` (Martins and Astudillo,
    2016)."""

    axis: int

    def _support(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of elements in the support, and the level that is subtracted."""
        ordered = np.flip(np.sort(x, axis=self.axis), axis=self.axis)
        sums = np.cumsum(ordered, axis=self.axis)
        rank = np.moveaxis(
            np.arange(1, x.shape[self.axis] + 1).reshape(-1, *(1,) * (x.ndim - 1)), 0, self.axis
        )
        inside = 1 + rank * ordered > sums
        members = inside.sum(axis=self.axis, keepdims=True)
        total = np.where(inside, ordered, 0.0).sum(axis=self.axis, keepdims=True)
        return members, (total - 1) / members

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (apart(lambda x: np.maximum(x - self._support(x)[1], 0), inputs[0], (self.axis,)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        size = graph.shape(inputs[0])[self.axis]
        ordered, _ = graph.ops("TopK", inputs[0], graph.const([size]), axis=self.axis, outputs=2)
        ranks = graph.const(
            np.arange(1.0, size + 1).reshape(
                -1,
                *(1,) * (len(graph.shape(inputs[0])) - 1 - self.axis % len(graph.shape(inputs[0]))),
            )
        )
        sums = graph.op("CumSum", ordered, graph.const(np.array(self.axis)))
        inside = graph.op(
            "Greater", graph.op("Add", graph.op("Mul", ranks, ordered), graph.const(1.0)), sums
        )
        axes, zero = graph.const([self.axis]), graph.const(0.0)
        total = graph.op("ReduceSum", graph.op("Where", inside, ordered, zero), axes)
        count = graph.op("ReduceSum", graph.op("Where", inside, graph.const(1.0), zero), axes)
        level = graph.op("Div", graph.op("Sub", total, graph.const(1.0)), count)
        return (graph.op("Relu", graph.op("Sub", inputs[0], level)),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axis, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        members = _members(inputs[0], at, self.axis)
        line = tuple(0 if k == self.axis % inputs[0].ndim else i for k, i in enumerate(at))
        support, level = (float(part[line]) for part in self._support(inputs[0]))
        words = (
            f"minus {level:.9g}, above which the {support:g} largest of {len(members)} "
            "elements sum to 1"
        )
        below = Stage(words, float(inputs[0][at]) - level, Terms(members))
        return Contributions(
            (Terms(np.array([at], int)),), (below, Stage("not below 0", float(outputs[0][at])))
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        # Members of the support lie within 1 of the largest, so the level is off by at most a few u
        # of the largest plus 1.
        x = of.inputs[0]
        largest = np.abs(x).max(axis=self.axis, keepdims=True)
        members, _ = self._support(x)
        own = precision.unit * ((members + 4) * (largest + 1) + np.abs(x)) + precision.tiny
        if of.slacks[0] is None:
            return (own,)
        return (own + of.slacks[0] + of.slacks[0].max(axis=self.axis, keepdims=True),)


@dataclass(frozen=True, eq=False)
class Glu(Op):
    """The first half along ``axis`` times the sigmoid of the second (Dauphin et al., 2017)."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        def one(x: np.ndarray) -> np.ndarray:
            value, gate = np.split(x, 2, axis=self.axis)
            return value * sigmoid(gate)

        return (apart(one, inputs[0], (self.axis,)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        value, gate = graph.ops("Split", inputs[0], axis=self.axis, num_outputs=2, outputs=2)
        return (graph.op("Mul", value, graph.op("Sigmoid", gate)),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.concatenate([mask, mask], axis=self.axis),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        axis = self.axis % inputs[0].ndim
        half = inputs[0].shape[axis] // 2
        place = (*at[:axis], at[axis] + half, *at[axis + 1 :])
        gate = float(inputs[0][place])
        opened = float(sigmoid(np.array(gate)))
        words = f"times {opened:.9g}, the sigmoid of the gate {gate:.9g}"
        return Contributions(
            (Terms(np.array([at], int)),),
            (Stage(words, float(outputs[0][at]), Terms(np.array([place], int))),),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        value, gate = np.split(of.inputs[0], 2, axis=self.axis)
        own = 4 * precision.unit * np.abs(value) + precision.tiny
        if of.slacks[0] is None:
            return (own,)
        of_value, of_gate = np.split(of.slacks[0], 2, axis=self.axis)
        opened = sigmoid(gate)
        return (
            own
            + of_value * opened
            + (np.abs(value) + of_value) * spread(sigmoid, gate, opened, of_gate),
        )
