"""Ops that put several inputs together, and constants that broadcast against one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from probe.layer import Weight
from probe.ops.base import Op, Rearrangement

__all__ = ["Add", "AddConstant", "Concat", "Max", "Mean", "Min", "Mul", "MulConstant", "Sub"]


def _total(slacks, shape) -> np.ndarray:
    """The slacks of all inputs added up over the output's shape."""
    total = np.zeros(shape)
    for slack in slacks:
        if slack is not None:
            total += slack
    return total


class _Merge(Op):
    """A chain of one binary function over inputs that broadcast as in NumPy."""

    function: ClassVar[Callable[..., np.ndarray]]
    onnx: ClassVar[str]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (reduce(type(self).function, inputs),)

    def emit(self, graph, *inputs):
        return (reduce(lambda left, right: graph.op(self.onnx, left, right), inputs),)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        magnitude = sum(np.abs(x) for x in inputs)
        own = (len(inputs) - 1) * precision.unit * magnitude + precision.tiny
        return (own + _total(slacks, outputs[0].shape),)


@dataclass(frozen=True, eq=False)
class Add(_Merge):
    """The sum of the inputs."""

    function = np.add
    onnx = "Add"


@dataclass(frozen=True, eq=False)
class Sub(_Merge):
    """The first input less the others."""

    function = np.subtract
    onnx = "Sub"


@dataclass(frozen=True, eq=False)
class Mul(_Merge):
    """The product of the inputs."""

    function = np.multiply
    onnx = "Mul"

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        own = len(inputs) * precision.unit * np.abs(outputs[0]) + precision.tiny
        for k, slack in enumerate(slacks):
            if slack is not None:
                rest = [np.abs(x) + (0 if other is None else other) for x, other in zip(inputs, slacks, strict=True)]
                own = own + slack * reduce(np.multiply, rest[:k] + rest[k + 1 :], np.ones(()))
        return (own,)


class _Choice(_Merge):
    """One of the inputs at each place."""

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        return (reduce(np.maximum, [slack for slack in slacks if slack is not None], np.zeros(outputs[0].shape)),)


@dataclass(frozen=True, eq=False)
class Max(_Choice):
    """The largest of the inputs."""

    function = np.maximum
    onnx = "Max"


@dataclass(frozen=True, eq=False)
class Min(_Choice):
    """The smallest of the inputs."""

    function = np.minimum
    onnx = "Min"


@dataclass(frozen=True, eq=False)
class Mean(Op):
    """The mean of the inputs."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (reduce(np.add, inputs) / len(inputs),)

    def emit(self, graph, *inputs):
        total = reduce(lambda left, right: graph.op("Add", left, right), inputs)
        return (graph.op("Div", total, graph.const(float(len(inputs)))),)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        magnitude = sum(np.abs(x) for x in inputs)
        own = (len(inputs) + 1) * precision.unit * magnitude / len(inputs) + precision.tiny
        return (own + _total(slacks, outputs[0].shape) / len(inputs),)


@dataclass(frozen=True, eq=False)
class Concat(Rearrangement):
    """The inputs one after the other along ``axis``."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.concatenate(inputs, axis=self.axis),)

    def emit(self, graph, *inputs):
        return (graph.op("Concat", *inputs, axis=self.axis),)


@dataclass(frozen=True, eq=False)
class AddConstant(Op):
    """x plus a weight that broadcasts."""

    value: Weight

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0] + self.value.value.astype(inputs[0].dtype),)

    def emit(self, graph, *inputs):
        return (graph.op("Add", inputs[0], graph.weight(self.value)),)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        own = precision.unit * (np.abs(inputs[0]) + 2 * np.abs(self.value.value)) + precision.tiny
        return (own + _total(slacks, outputs[0].shape),)

    def origin(self, where, inputs):
        return where if inputs[0].shape == np.broadcast_shapes(inputs[0].shape, self.value.value.shape) else None


@dataclass(frozen=True, eq=False)
class MulConstant(Op):
    """x times a weight that broadcasts."""

    value: Weight

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0] * self.value.value.astype(inputs[0].dtype),)

    def emit(self, graph, *inputs):
        return (graph.op("Mul", inputs[0], graph.weight(self.value)),)

    def allowance(self, inputs, slacks, outputs, precision, where=None):
        own = 2 * precision.unit * np.abs(outputs[0]) + precision.tiny
        return (own if slacks[0] is None else own + slacks[0] * np.abs(self.value.value),)

    def origin(self, where, inputs):
        return where if inputs[0].shape == np.broadcast_shapes(inputs[0].shape, self.value.value.shape) else None
