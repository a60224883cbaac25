"""Comparisons, logic, and the choice between two inputs."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Stage, Terms
from probe.ops.elementwise.n_ary import Broadcast, narrowed, place

__all__ = [
    "And",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Not",
    "NotEqual",
    "Or",
    "Where",
    "Xor",
]

_BOOL = 9
"""TensorProto.BOOL."""


class _Logical(Broadcast):
    """A truth for each element; one that slack may turn is off by 1."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        turned = np.zeros(of.outputs[0].shape)
        for slack in of.slacks:
            if slack is not None:
                turned = np.maximum(turned, slack)
        return (turned,)


class _Comparison(_Logical):
    """The first input against the second."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        x, y = of.inputs
        if all(slack is None for slack in of.slacks):
            return (np.zeros(of.outputs[0].shape),)
        tolerance = sum(slack for slack in of.slacks if slack is not None)
        with np.errstate(invalid="ignore"):
            return (
                np.where(
                    (np.abs(np.subtract(x, y, dtype=np.float64)) <= tolerance) & (tolerance > 0),
                    1.0,
                    0.0,
                ),
            )


@dataclass(frozen=True, eq=False)
class Equal(_Comparison):
    """Whether the inputs are equal."""

    function = np.equal
    onnx = "Equal"


@dataclass(frozen=True, eq=False)
class NotEqual(_Comparison):
    """Whether the inputs differ."""

    function = np.not_equal

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Not", graph.op("Equal", *inputs)),)


@dataclass(frozen=True, eq=False)
class Greater(_Comparison):
    """Whether the first input is greater than the second."""

    function = np.greater
    onnx = "Greater"


@dataclass(frozen=True, eq=False)
class GreaterOrEqual(_Comparison):
    """Whether the first input is not less than the second."""

    function = np.greater_equal
    onnx = "GreaterOrEqual"


@dataclass(frozen=True, eq=False)
class Less(_Comparison):
    """Whether the first input is less than the second."""

    function = np.less
    onnx = "Less"


@dataclass(frozen=True, eq=False)
class LessOrEqual(_Comparison):
    """Whether the first input is not greater than the second."""

    function = np.less_equal
    onnx = "LessOrEqual"


@dataclass(frozen=True, eq=False)
class And(_Logical):
    """Whether both inputs hold."""

    function = np.logical_and
    onnx = "And"


@dataclass(frozen=True, eq=False)
class Or(_Logical):
    """Whether one of the inputs holds."""

    function = np.logical_or
    onnx = "Or"


@dataclass(frozen=True, eq=False)
class Xor(_Logical):
    """Whether exactly one of the inputs holds."""

    function = np.logical_xor
    onnx = "Xor"


@dataclass(frozen=True, eq=False)
class Not(_Logical):
    """Whether the input does not hold."""

    function = np.logical_not
    onnx = "Not"


@dataclass(frozen=True, eq=False)
class IsNaN(_Logical):
    """Whether the input is no number."""

    function = np.isnan
    onnx = "IsNaN"

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (np.zeros(of.outputs[0].shape),)


@dataclass(frozen=True, eq=False)
class IsInf(_Logical):
    """Whether the input is infinite."""

    function = np.isinf
    onnx = "IsInf"

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (np.zeros(of.outputs[0].shape),)


@dataclass(frozen=True, eq=False)
class Where(Op):
    """The second input where the first holds, else the third; they broadcast. ``fixed`` where the
    first does not follow the data."""

    fixed: bool = False
    stores = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        condition, x, y = inputs
        return (np.where(condition != 0, x, y),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        condition, x, y = inputs
        return (graph.op("Where", graph.op("Cast", condition, to=_BOOL), x, y),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        holds = bool(inputs[0][place(inputs[0], at)])
        taken = 1 if holds else 2
        words = f"Where: input {taken}, since the condition is {'true' if holds else 'false'}"
        where = np.array([place(inputs[taken], at)], int).reshape(1, inputs[taken].ndim)
        return Contributions((Terms(where, input=taken),), (Stage(words, float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        chosen = np.broadcast_to(inputs[0] != 0, mask.shape)
        if self.fixed:
            masks = (mask, mask & chosen, mask & ~chosen)
        else:
            masks = (mask, mask, mask)
        return tuple(narrowed(reached, x.shape) for reached, x in zip(masks, inputs, strict=True))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        condition, x, y = of.inputs
        own, other = (np.zeros(()) if slack is None else slack for slack in of.slacks[1:])
        allowed = np.broadcast_to(np.where(condition != 0, own, other), of.outputs[0].shape)
        if of.slacks[0] is not None and (of.slacks[0] >= 0.5).any():
            with np.errstate(invalid="ignore"):
                apart = np.abs(np.subtract(x, y, dtype=np.float64)) + own + other
            allowed = np.where(
                of.slacks[0] >= 0.5,
                np.maximum(allowed, np.where(np.isfinite(apart), apart, 0.0)),
                allowed,
            )
        return (np.array(allowed, np.float64),)
