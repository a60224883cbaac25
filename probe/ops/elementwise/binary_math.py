"""Arithmetic of two inputs that broadcast, constants to compute with, and changes of type."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from probe.numerics.precision import UNBOUNDED, Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms, named
from probe.ops.elementwise.n_ary import narrowed, place
from probe.ops.engine_differences import BEYOND_INTEGERS
from probe.ops.exactness import exact_quotients, given_exactly, of_constant, or_zero
from probe.ops.weight import Weight

__all__ = ["Cast", "Constant", "Div", "FloorDiv", "Mod", "Parameter", "Pow", "Stored"]


@dataclass(frozen=True, eq=False)
class Constant(Op):
    """Numbers that belong to the layer; they take no input. A framework rounds them to its own
    precision."""

    value: np.ndarray
    stores = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self.value.astype(np.float64) if self.value.dtype.kind == "f" else self.value,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.const(self.value),)

    def summary(self, inputs: Arrays) -> str:
        if self.value.size == 1:
            return f"{self.value}"
        return f"{self.value.size} constants of the layer"

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (y,) = of.outputs
        if y.dtype.kind != "f" or not precision.unit:
            return (np.zeros(y.shape),)
        return (of_constant(y, precision),)


@dataclass(frozen=True, eq=False)
class Parameter(Op):
    """A weight as it is, for ops that take it as an input."""

    weight: Weight
    stores = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        value = self.weight.value
        return (value.astype(np.float64) if value.dtype.kind == "f" else value,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Identity", graph.weight(self.weight)),)

    def summary(self, inputs: Arrays) -> str:
        return self.weight.name

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions((), (Stage(named(self.weight, at), float(outputs[0][at])),))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (y,) = of.outputs
        if precision.casts and y.dtype.kind == "f":
            return (precision.unit * np.abs(y),)
        return (np.zeros(y.shape),)


class _Binary(Op):
    """A function of two inputs that broadcast, monotone in each; ``roundings`` as for
    Elementwise."""

    roundings: ClassVar[float] = 2
    symbol: ClassVar[str]

    def f(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def scale(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The largest intermediate value, where that is more than the result."""
        return np.abs(out)

    def breaks(
        self, x: np.ndarray, y: np.ndarray, left: np.ndarray | float, right: np.ndarray | float
    ) -> np.ndarray:
        """Where a pole lies within the slacks."""
        return np.zeros((), bool)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (np.asarray(self.f(*inputs)),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        x, y = (np.array([place(operand, at)], int).reshape(1, operand.ndim) for operand in inputs)
        other = float(inputs[1][tuple(y[0])])
        return Contributions(
            (Terms(x),),
            (
                Stage(
                    f"{self.symbol} {other:.9g}, from input 1",
                    float(outputs[0][at]),
                    Terms(y, input=1),
                ),
            ),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return tuple(narrowed(mask, x.shape) for x in inputs)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x, y), (out,) = of.inputs, of.outputs
        own = np.full(out.shape, precision.tiny if out.dtype.kind == "f" else 0.0)
        with np.errstate(all="ignore"):
            own = own + self.roundings * precision.unit * self.scale(x, y, out)
            moved = np.zeros(out.shape)
            if any(slack is not None for slack in of.slacks):
                left, right = map(or_zero, of.slacks)
                for sign, other in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                    moved = np.maximum(
                        moved, np.abs(self.f(x + sign * left, y + other * right) - out)
                    )
                moved = np.where(self.breaks(x, y, left, right), np.inf, moved)
        moved = np.where(np.isfinite(moved), moved, np.where(np.isfinite(out), UNBOUNDED, 0.0))
        return (np.where(np.isfinite(own), own, 0.0) + moved,)


@dataclass(frozen=True, eq=False)
class Div(_Binary):
    """x / y; a quotient of integers is no integer."""

    symbol = "divided by"

    def f(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.true_divide(x, y)

    def breaks(
        self, x: np.ndarray, y: np.ndarray, left: np.ndarray | float, right: np.ndarray | float
    ) -> np.ndarray:
        return np.abs(y) < right

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray:
        x, y = of.inputs
        return exact_quotients(x, y, of.outputs[0], precision)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Div", *inputs),)


@dataclass(frozen=True, eq=False)
class Pow(_Binary):
    """x to the power of y."""

    roundings = 6
    symbol = "to the power of"

    def f(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.power(x, y)

    def breaks(
        self, x: np.ndarray, y: np.ndarray, left: np.ndarray | float, right: np.ndarray | float
    ) -> np.ndarray:
        return (np.abs(x) < left) & (y < 0)

    def scale(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        # Kernels that take exp(y log x) lose what the exponent's size is in units of its last
        # place.
        exponent = np.abs(y * np.log(np.maximum(np.abs(x), 1e-300)))
        return np.abs(out) * np.maximum(1.0, np.where(np.isfinite(exponent), exponent, 0.0) / 8)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Pow", *inputs),)


@dataclass(frozen=True, eq=False)
class Mod(_Binary):
    """What is left of x divided by y: with the sign of y, or with that of x (``fmod``, as C's)."""

    fmod: bool = False
    jumps = True
    symbol = "modulo"

    def f(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self.fmod:
            return np.fmod(x, y)
        return np.mod(x, y)

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray:
        return given_exactly(of.inputs, of.outputs[0], precision)

    def scale(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        if self.fmod:
            return np.abs(out)
        return np.broadcast_to(np.abs(y), np.shape(out))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        rest = graph.op("Mod", *inputs, fmod=1)
        return (rest if self.fmod else _floored(graph, rest, inputs[1]),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (own,) = super().error_bound(of, precision)
        (x, y), (left, right) = of.inputs, map(or_zero, of.slacks)
        with np.errstate(all="ignore"):
            turns = (left + np.abs(x / y) * right) / np.abs(y)
            jumps = (own > 0.5 * np.abs(y)) | (turns > 0.5)
        # any rest may be left
        return (np.where(jumps, np.maximum(own, (1 + 4 * precision.unit) * np.abs(y)), own),)


@dataclass(frozen=True, eq=False)
class FloorDiv(_Binary):
    """The largest whole number that is no larger than x / y."""

    jumps = True

    symbol = "divided and floored by"

    def f(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.floor_divide(x, y)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, y = inputs
        rest = _floored(graph, graph.op("Mod", x, y, fmod=1), y)
        # Less the rest, the quotient is whole; that of floats but for one rounding. There is no
        # Round of integers, which float64 tells apart.
        quotient = graph.op("Div", graph.op("Sub", x, rest), y)
        wide = graph.op("Cast", quotient, to=_FLOAT64)
        whole = graph.op("Round", wide)
        rounded = graph.op("CastLike", whole, quotient)
        return (graph.op("Where", graph.op("Equal", whole, wide), quotient, rounded),)


def _floored(graph: Graph, rest: str, y: str) -> str:
    """C's remainder brought to the sign of the divisor."""
    turned = graph.op("Equal", graph.op("Sign", rest), graph.op("Neg", graph.op("Sign", y)))
    return graph.op("Where", turned, graph.op("Add", rest, y), rest)


_CODES = {
    "bfloat16": 16,
    "float16": 10,
    "bool": 9,
    "int8": 3,
    "uint8": 2,
    "int16": 5,
    "uint16": 4,
    "int32": 6,
    "uint32": 12,
}
"""TensorProto's numbers of the types in which a value may change."""
_FLOAT, _INT64, _FLOAT64 = 1, 7, 11


@dataclass(frozen=True, eq=False)
class Cast(Op):
    """x in another type: floats to integers without what follows the point, floats to narrower ones
    rounded."""

    to: str
    engine_differences = (BEYOND_INTEGERS,)

    @property
    def jumps(self) -> bool:
        return "float" not in self.to

    @property
    def stores(self) -> bool:
        return self.to != "float64"  # which holds every number that there is here

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            if self.to == "bool":
                return (x != 0,)
            if self.to == "bfloat16":
                bits = np.asarray(x, np.float32).view(np.uint32)
                rounded = (
                    (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))))
                    & np.uint32(0xFFFF0000)
                ).view(np.float32)
                return (np.where(np.isfinite(x), rounded, x).astype(np.float64),)
            if np.dtype(self.to).kind == "f":
                return (x.astype(self.to).astype(np.float64),)
            whole = np.trunc(x).astype(np.int64) if x.dtype.kind == "f" else x
            return (whole.astype(self.to),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        if self.to in _CODES:
            x = graph.op("Cast", x, to=_CODES[self.to])
        if self.to == "bool":
            return (x,)
        return (graph.op("Cast", x, to=_FLOAT if "float" in self.to else _INT64),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions(
            (Terms(np.array([at], int).reshape(1, len(at))),),
            (Stage(f"Cast: to {self.to}", float(outputs[0][at])),),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask,)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (slack,), (y,) = of.slacks, of.outputs
        if slack is None:
            return (np.zeros(y.shape),)
        if self.to == "bool":
            return (np.where(np.abs(of.inputs[0]) <= slack, 1.0, 0.0) * (slack > 0),)
        if y.dtype.kind != "f":
            return (np.ceil(slack),)
        step = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(self.to, 0.0)
        return (np.where(slack > 0, slack + step * np.abs(y), 0.0),)


@dataclass(frozen=True, eq=False)
class Stored(Elementwise):
    """x in the type that it is stored in: the number itself, whose rounding is allowed for."""

    to: str
    roundings = 0

    @property
    def stores(self) -> bool:
        return True

    def f(self, x: np.ndarray) -> np.ndarray:
        return x

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Cast", inputs[0], to=_FLOAT),)  # of integers, too

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (found,) = super().error_bound(of, precision)
        if precision.stored:
            return (found,)
        return (found + of_constant(of.outputs[0].astype(np.float64, copy=False), precision),)
