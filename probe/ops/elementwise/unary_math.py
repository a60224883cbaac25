"""The elementary functions of each element: roots, logarithms, trigonometry and rounding to whole
numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from probe.numerics.precision import UNBOUNDED, Precision
from probe.ops.base import Arrays, Elementwise, Graph, spread
from probe.ops.elementwise.special_functions import erf
from probe.ops.engine_differences import SIGN_OF_NAN

__all__ = [
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Cos",
    "Cosh",
    "Erf",
    "Expm1",
    "Floor",
    "Log",
    "Log1p",
    "Log2",
    "Log10",
    "Reciprocal",
    "Round",
    "Rsqrt",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Square",
    "Tan",
    "Trunc",
]


class _Function(Elementwise):
    """A function of one ONNX operator, defined where x lies between ``low`` and ``high``."""

    function: ClassVar[Callable[..., np.ndarray]]
    onnx: ClassVar[str]
    low: ClassVar[float] = -math.inf
    high: ClassVar[float] = math.inf

    def f(self, x: np.ndarray) -> np.ndarray:
        return type(self).function(x)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op(self.onnx, inputs[0]),)

    def _moved(self, x: np.ndarray, y: np.ndarray, slack: np.ndarray) -> np.ndarray:
        return spread(lambda moved: self.f(np.clip(moved, self.low, self.high)), x, y, slack)


class _Whole(_Function):
    """A function whose value is exact, and jumps."""

    jumps = True
    gives_integers = True

    roundings = 0

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        # a number that is flushed to zero may be on another side of it
        flushed = (inputs[0] != 0) & (np.abs(inputs[0]) < precision.normal)
        return not bool(flushed.any())

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        if inputs[0].dtype.kind != "f":
            return inputs
        return super().run(*inputs)


@dataclass(frozen=True, eq=False)
class Sqrt(_Function):
    """sqrt(x)."""

    onnx = "Sqrt"
    low = 0.0
    function = np.sqrt


@dataclass(frozen=True, eq=False)
class Reciprocal(_Function):
    """1 / x."""

    onnx = "Reciprocal"

    def f(self, x: np.ndarray) -> np.ndarray:
        return 1 / x

    def _moved(self, x: np.ndarray, y: np.ndarray, slack: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) < slack, UNBOUNDED, super()._moved(x, y, slack))


@dataclass(frozen=True, eq=False)
class Rsqrt(_Function):
    """1 / sqrt(x)."""

    roundings = 5
    low = 0.0

    def f(self, x: np.ndarray) -> np.ndarray:
        return 1 / np.sqrt(x)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Reciprocal", graph.op("Sqrt", inputs[0])),)


@dataclass(frozen=True, eq=False)
class Square(_Function):
    """x * x."""

    roundings = 2
    function = np.square

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Mul", inputs[0], inputs[0]),)


@dataclass(frozen=True, eq=False)
class Log(_Function):
    """The natural logarithm of x."""

    onnx = "Log"
    low = 0.0
    function = np.log


@dataclass(frozen=True, eq=False)
class Log2(_Function):
    """The logarithm of x to base 2."""

    roundings = 6
    low = 0.0
    function = np.log2

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Mul", graph.op("Log", inputs[0]), graph.const(1 / math.log(2))),)


@dataclass(frozen=True, eq=False)
class Log10(_Function):
    """The logarithm of x to base 10."""

    roundings = 6
    low = 0.0
    function = np.log10

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Mul", graph.op("Log", inputs[0]), graph.const(1 / math.log(10))),)


@dataclass(frozen=True, eq=False)
class Log1p(_Function):
    """log(1 + x)."""

    roundings = 8
    low = -1.0
    function = np.log1p

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        # log(w) * x / (w - 1) with w = 1 + x, whose rounding errors cancel (Goldberg, ACM Computing
        # Surveys 23, 1991, theorem 4).
        (x,) = inputs
        one = graph.const(1.0)
        w = graph.op("Add", x, one)
        moved = graph.op("Sub", w, one)
        exact = graph.op("Or", graph.op("Equal", moved, graph.const(0.0)), graph.op("IsInf", w))
        quotient = graph.op("Div", x, graph.op("Where", exact, one, moved))
        scaled = graph.op("Where", exact, graph.op("Where", graph.op("IsInf", w), one, x), quotient)
        log = graph.op("Log", w)
        return (
            graph.op(
                "Where", graph.op("Equal", moved, graph.const(0.0)), x, graph.op("Mul", log, scaled)
            ),
        )


@dataclass(frozen=True, eq=False)
class Expm1(_Function):
    """exp(x) - 1."""

    roundings = 8
    function = np.expm1

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        # tanh(x / 2) * (exp(x) + 1), but exp(x) - 1 itself where that is large.
        (x,) = inputs
        e, one = graph.op("Exp", x), graph.const(1.0)
        small = graph.op(
            "Mul", graph.op("Tanh", graph.op("Mul", x, graph.const(0.5))), graph.op("Add", e, one)
        )
        return (graph.op("Where", graph.op("Greater", x, one), graph.op("Sub", e, one), small),)


class _Wave(_Function):
    """A function between -1 and 1 that goes up and down: where x may be anywhere on a slope, what
    lies at its ends tells nothing."""

    def _moved(self, x: np.ndarray, y: np.ndarray, slack: np.ndarray) -> np.ndarray:
        return np.where(slack < 1, super()._moved(x, y, slack), 1 + np.abs(y))


@dataclass(frozen=True, eq=False)
class Sin(_Wave):
    """sin(x)."""

    onnx = "Sin"
    function = np.sin

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(y), np.minimum(np.abs(x), 1.0))


@dataclass(frozen=True, eq=False)
class Cos(_Wave):
    """cos(x)."""

    onnx = "Cos"
    function = np.cos

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.ones_like(y)


@dataclass(frozen=True, eq=False)
class Tan(_Function):
    """tan(x)."""

    onnx = "Tan"
    roundings = 6
    function = np.tan

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(y), np.minimum(np.abs(x), 1.0)) * np.maximum(1.0, np.abs(y))


@dataclass(frozen=True, eq=False)
class Asin(_Function):
    """The arcsine of x."""

    onnx = "Asin"
    roundings = 8
    low, high = -1.0, 1.0
    function = np.arcsin


@dataclass(frozen=True, eq=False)
class Acos(_Function):
    """The arccosine of x."""

    onnx = "Acos"
    roundings = 8
    low, high = -1.0, 1.0
    function = np.arccos


@dataclass(frozen=True, eq=False)
class Atan(_Function):
    """The arctangent of x."""

    onnx = "Atan"
    roundings = 8
    function = np.arctan


@dataclass(frozen=True, eq=False)
class Sinh(_Function):
    """sinh(x)."""

    onnx = "Sinh"
    roundings = 6
    function = np.sinh


@dataclass(frozen=True, eq=False)
class Cosh(_Function):
    """cosh(x)."""

    onnx = "Cosh"
    roundings = 6
    function = np.cosh


@dataclass(frozen=True, eq=False)
class Asinh(_Function):
    """The inverse of sinh."""

    onnx = "Asinh"
    roundings = 6
    function = np.arcsinh


@dataclass(frozen=True, eq=False)
class Acosh(_Function):
    """The inverse of cosh."""

    onnx = "Acosh"
    roundings = 6
    low = 1.0
    function = np.arccosh


@dataclass(frozen=True, eq=False)
class Atanh(_Function):
    """The inverse of tanh."""

    onnx = "Atanh"
    roundings = 6
    low, high = -1.0, 1.0
    function = np.arctanh


@dataclass(frozen=True, eq=False)
class Erf(_Function):
    """The error function."""

    onnx = "Erf"
    roundings = 6

    def f(self, x: np.ndarray) -> np.ndarray:
        return erf(x)

    def _rounding(
        self, x: np.ndarray, y: np.ndarray, precision: Precision, out: np.ndarray
    ) -> None:
        super()._rounding(x, y, precision, out)
        if precision.unit > 2.0**-24:
            # PyTorch's kernel for bfloat16 (2.13, on AVX-512) takes float32's erf to 2.2e-7 of 1
            out += 2.0**-21


@dataclass(frozen=True, eq=False)
class Sign(_Function):
    """-1, 0 or 1."""

    jumps = True

    onnx = "Sign"
    roundings = 0
    function = np.sign
    engine_differences = (SIGN_OF_NAN,)


@dataclass(frozen=True, eq=False)
class Floor(_Whole):
    """The largest whole number that is no larger than x."""

    onnx = "Floor"
    function = np.floor


@dataclass(frozen=True, eq=False)
class Ceil(_Whole):
    """The smallest whole number that is no smaller than x."""

    onnx = "Ceil"
    function = np.ceil


@dataclass(frozen=True, eq=False)
class Round(_Whole):
    """The nearest whole number, of two as near the even one."""

    onnx = "Round"
    function = np.rint


@dataclass(frozen=True, eq=False)
class Trunc(_Whole):
    """x without what follows the point."""

    function = np.trunc

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(
                "Mul", graph.op("Sign", inputs[0]), graph.op("Floor", graph.op("Abs", inputs[0]))
            ),
        )
