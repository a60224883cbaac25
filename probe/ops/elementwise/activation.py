"""Activations that are functions of each element.

Each class names its formula. ``f`` is the NumPy reading, written so that no intermediate overflows
where the result does not.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from probe.numerics.blocks import blocks
from probe.numerics.precision import Precision
from probe.ops.base import (
    Arrays,
    Elementwise,
    Evaluated,
    Graph,
    Indices,
    Rearrangement,
    spread,
)
from probe.ops.contributions import Contributions, Stage, Terms, named
from probe.ops.elementwise.special_functions import erf, sigmoid, softplus
from probe.ops.engine_differences import GELU_OF_INF
from probe.ops.exactness import given_exactly
from probe.ops.weight import Weight
from probe.ops.weight_effects import of_broadcast

__all__ = [
    "Abs",
    "Celu",
    "Clip",
    "Elu",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "LogSigmoid",
    "Mish",
    "Neg",
    "PRelu",
    "Relu",
    "Relu6",
    "ScaledRelu",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "SparsePlus",
    "SparseSigmoid",
    "Squareplus",
    "Swish",
    "Tanh",
    "TanhShrink",
    "ThresholdedRelu",
]


@dataclass(frozen=True, eq=False)
class Identity(Rearrangement):
    """x."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0],)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Identity", inputs[0]),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where


class _Plain(Elementwise):
    """An activation that is one ONNX operator without attributes."""

    onnx: ClassVar[str]

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op(self.onnx, inputs[0]),)


def _nothing_to_clip(op: Elementwise, x: np.ndarray) -> list[str]:
    sentence = (
        f"no input of the {type(op).__name__} is negative, so omitting it would not change "
        "the output"
    )
    if x.min() >= 0:
        return [sentence]
    return []


@dataclass(frozen=True, eq=False)
class Relu(_Plain):
    """max(x, 0)."""

    roundings = 0
    onnx = "Relu"

    def undetected(self, inputs: Arrays) -> list[str]:
        return _nothing_to_clip(self, inputs[0])

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    def put(self, x: np.ndarray, out: np.ndarray) -> None:
        out[...] = x
        np.maximum(out, 0, out=out)

    def _moved(self, x: np.ndarray, y: np.ndarray, slack: np.ndarray) -> np.ndarray:
        # what `spread` finds, without evaluating f on either side
        # (NumPy's functions give a number, which `out` cannot be, for an array of no axes)
        moved = np.asarray(np.minimum(x + slack, slack))
        np.maximum(moved, 0, out=moved)
        if np.isfinite(moved.max(initial=0.0)):
            return moved
        return super()._moved(x, y, slack)


@dataclass(frozen=True, eq=False)
class Abs(_Plain):
    """|x|."""

    roundings = 0
    onnx = "Abs"

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)


@dataclass(frozen=True, eq=False)
class Neg(_Plain):
    """-x."""

    roundings = 0
    onnx = "Neg"

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.negative(x)


@dataclass(frozen=True, eq=False)
class Relu6(Elementwise):
    """min(max(x, 0), 6)."""

    roundings = 0

    def undetected(self, inputs: Arrays) -> list[str]:
        return _nothing_to_clip(self, inputs[0])

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 6)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Clip", inputs[0], graph.const(0.0), graph.const(6.0)),)


def _bent(x: np.ndarray, slope: float | np.ndarray) -> np.ndarray:
    """x where x >= 0, else slope * x; for a finite slope without a choice for each element, which
    costs more than the arithmetic."""
    if not np.isfinite(slope).all():
        return np.where(x >= 0, x, slope * x)
    out: np.ndarray = np.asarray(slope * np.minimum(x, 0))
    out += np.maximum(x, 0)
    return out


@dataclass(frozen=True, eq=False)
class LeakyRelu(Elementwise):
    """x where x >= 0, else alpha * x."""

    alpha: float
    roundings = 2

    def f(self, x: np.ndarray) -> np.ndarray:
        return _bent(x, self.alpha)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("LeakyRelu", inputs[0], alpha=float(self.alpha)),)


@dataclass(frozen=True, eq=False)
class PRelu(Elementwise):
    """x where x >= 0, else slope * x; the slope broadcasts against x."""

    slope: Weight
    unmet_weights = "meets no negative number"
    roundings = 2
    pointwise = False

    def f(self, x: np.ndarray) -> np.ndarray:
        slope = self.slope.value.astype(x.dtype)
        out = np.empty_like(x)
        for (part, factor, target), _ in blocks(x, np.broadcast_to(slope, x.shape), out):
            target[...] = _bent(part, factor)
        return out

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        below = np.where(inputs[0] < 0, inputs[0], 0.0)
        return {"slope": of_broadcast(below, worth, self.slope.value.shape)}

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        slope = self.slope.value
        place = tuple(
            i if size > 1 else 0
            for i, size in zip(at[len(at) - slope.ndim :], slope.shape, strict=True)
        )
        words = f"PRelu: x where x >= 0, else {named(self.slope, place)} * x"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("PRelu", inputs[0], graph.weight(self.slope)),)


class _Stepped(Elementwise):
    """An activation that jumps at ``edge``; where the dtype cannot hold the edge, its rounding
    decides for an input that lies on it."""

    def edge(self) -> float:
        raise NotImplementedError

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (own,) = super().error_bound(of, precision)
        (x,), (y,), edge = of.inputs, of.outputs, abs(self.edge())
        held = not precision.unit or (math.frexp(edge)[0] / precision.unit).is_integer()
        if held:
            return (own,)
        tolerance = 2 * precision.unit * edge
        return (
            own
            + np.where(
                np.abs(np.abs(x) - edge) <= tolerance,
                spread(self.f, x, y, np.full(x.shape, tolerance)),
                0.0,
            ),
        )


@dataclass(frozen=True, eq=False)
class ScaledRelu(_Stepped):
    """The Keras ReLU layer: min(x, max_value) where x > threshold, else negative_slope * (x -
    threshold).

    At x = threshold it is 0: Keras' code asks for "greater", though its documentation says
    otherwise. A NaN stays, but not through a threshold other than 0 without a slope
    (keras/src/activations/activations.py, ReLU).
    """

    max_value: float | None
    negative_slope: float
    threshold: float
    roundings = 3

    def edge(self) -> float:
        return self.threshold

    def f(self, x: np.ndarray) -> np.ndarray:
        above = x if self.max_value is None else np.minimum(x, self.max_value)
        if not self.threshold:
            above = np.maximum(above, 0)
            if self.negative_slope:
                return above + self.negative_slope * np.minimum(x, 0)
            return above
        below = self.negative_slope * (x - self.threshold) if self.negative_slope else 0.0
        return np.where(x > self.threshold, above, below)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if not self.negative_slope:
            return np.abs(y)
        return np.where(
            x > self.threshold,
            np.abs(y),
            abs(self.negative_slope) * (np.abs(x) + abs(self.threshold)),
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        threshold = graph.const(float(self.threshold))
        if self.max_value is None:
            above = x
        else:
            above = graph.op("Min", x, graph.const(float(self.max_value)))
        below = graph.const(0.0)
        if self.negative_slope:
            below = graph.op(
                "Mul", graph.op("Sub", x, threshold), graph.const(float(self.negative_slope))
            )
        if self.threshold:
            passes = graph.op("Greater", x, threshold)
        else:
            passes = graph.op("Not", graph.op("LessOrEqual", x, threshold))
        return (graph.op("Where", passes, above, below),)


@dataclass(frozen=True, eq=False)
class ThresholdedRelu(_Stepped):
    """x where x > threshold, else value; a NaN stays (PyTorch) or not (Keras)."""

    threshold: float
    value: float = 0.0
    keeps_nan: bool = True
    roundings = 1

    def edge(self) -> float:
        return self.threshold

    def f(self, x: np.ndarray) -> np.ndarray:
        if self.keeps_nan:
            return np.where(x <= self.threshold, self.value, x)
        return np.where(x > self.threshold, x, self.value)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(y), abs(self.value))  # at the edge either may stand there

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        threshold, value = graph.const(float(self.threshold)), graph.const(float(self.value))
        if self.keeps_nan:
            return (
                graph.op("Where", graph.op("LessOrEqual", inputs[0], threshold), value, inputs[0]),
            )
        return (graph.op("Where", graph.op("Greater", inputs[0], threshold), inputs[0], value),)


@dataclass(frozen=True, eq=False)
class Clip(Elementwise):
    """min(max(x, low), high); None is no bound."""

    low: float | None
    high: float | None
    roundings = 1

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, self.low, self.high)

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray:
        return given_exactly(of.inputs, of.outputs[0], precision)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        # Without a bound ONNX Runtime clips at the largest float32, so that an infinity does not
        # stay one.
        low, high = (
            -np.inf if self.low is None else self.low,
            np.inf if self.high is None else self.high,
        )
        return (graph.op("Clip", inputs[0], graph.const(float(low)), graph.const(float(high))),)


@dataclass(frozen=True, eq=False)
class Exp(_Plain):
    """exp(x)."""

    onnx = "Exp"

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.exp(x)


@dataclass(frozen=True, eq=False)
class Elu(Elementwise):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    def f(self, x: np.ndarray) -> np.ndarray:
        if not math.isfinite(self.alpha):
            return np.where(x >= 0, x, self.alpha * np.expm1(x))
        return np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0))

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(x, (x <= 0) * abs(self.alpha))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Elu", inputs[0], alpha=float(self.alpha)),)


@dataclass(frozen=True, eq=False)
class Selu(Elementwise):
    """gamma * x where x > 0, else gamma * alpha * (exp(x) - 1), with the constants of Klambauer et
    al., 2017."""

    ALPHA: ClassVar[float] = 1.6732632423543772848170429916717
    GAMMA: ClassVar[float] = 1.0507009873554804934193349852946

    def f(self, x: np.ndarray) -> np.ndarray:
        return self.GAMMA * (np.maximum(x, 0) + self.ALPHA * np.expm1(np.minimum(x, 0)))

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.GAMMA * np.maximum(x, (x <= 0) * self.ALPHA)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Selu", inputs[0], alpha=self.ALPHA, gamma=self.GAMMA),)


@dataclass(frozen=True, eq=False)
class Celu(Elementwise):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""

    alpha: float = 1.0

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0) + np.minimum(
            0, self.alpha * np.expm1(np.minimum(x / self.alpha, 0))
        )

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(x, (x <= 0) * abs(self.alpha))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Celu", inputs[0], alpha=float(self.alpha)),)


@dataclass(frozen=True, eq=False)
class Sigmoid(_Plain):
    """1 / (1 + exp(-x)). The kernels are exact to a few units of 1/2, not of a vanishing result."""

    roundings = 6
    onnx = "Sigmoid"

    def f(self, x: np.ndarray) -> np.ndarray:
        return sigmoid(x)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(y), 0.5)


@dataclass(frozen=True, eq=False)
class HardSigmoid(Elementwise):
    """min(max(alpha * x + beta, 0), 1). Keras 3: alpha 1/6; Keras 2: alpha 0.2; both beta 0.5."""

    alpha: float
    beta: float

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.clip(self.alpha * x + self.beta, 0, 1)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.minimum(np.abs(self.alpha * x) + abs(self.beta), 2.0)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("HardSigmoid", inputs[0], alpha=float(self.alpha), beta=float(self.beta)),)


@dataclass(frozen=True, eq=False)
class Tanh(_Plain):
    """tanh(x)."""

    roundings = 8
    onnx = "Tanh"
    lossy_algorithm = "computes the hyperbolic tangent from exponentials, as 1 - 2 / (exp(2x) + 1)"

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (own,) = super().error_bound(of, precision)
        # Near 0 two numbers of the size of 1 are subtracted.
        return (own + self.roundings * precision.unit if precision.lossy else own,)


@dataclass(frozen=True, eq=False)
class Softplus(Elementwise):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x is over the threshold (PyTorch's
    shortcut)."""

    beta: float = 1.0
    threshold: float | None = None
    roundings = 6

    def f(self, x: np.ndarray) -> np.ndarray:
        soft = softplus(self.beta * x) / self.beta
        if self.threshold is None:
            return soft
        return np.where(self.beta * x > self.threshold, x, soft)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(y), 1 / abs(self.beta))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        if self.beta == 1:
            scaled = x
        else:
            scaled = graph.op("Mul", x, graph.const(float(self.beta)))
        soft = graph.op("Softplus", scaled)
        if self.beta != 1:
            soft = graph.op("Div", soft, graph.const(float(self.beta)))
        if self.threshold is None:
            return (soft,)
        return (
            graph.op(
                "Where", graph.op("Greater", scaled, graph.const(float(self.threshold))), x, soft
            ),
        )


@dataclass(frozen=True, eq=False)
class Softsign(_Plain):
    """x / (1 + |x|)."""

    onnx = "Softsign"

    def f(self, x: np.ndarray) -> np.ndarray:
        return x / (1 + np.abs(x))


class _Gate(Elementwise):
    """x times a gate between 0 and 1, whose kernels are exact to a few units of 1/2."""

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.abs(x)


@dataclass(frozen=True, eq=False)
class Gelu(_Gate):
    """x * (1 + erf(x / sqrt 2)) / 2, or its tanh form x * (1 + tanh(sqrt(2/pi) * (x + 0.044715
    x**3))) / 2 (Hendrycks and Gimpel, 2016)."""

    approximate: str = "none"
    roundings = 8
    engine_differences = (GELU_OF_INF,)

    def f(self, x: np.ndarray) -> np.ndarray:
        if self.approximate == "tanh":
            # a power would take ten times as long
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
        out = erf(x * math.sqrt(0.5))
        out += 1
        out *= x
        out *= 0.5
        return out

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Gelu", inputs[0], approximate=self.approximate),)


@dataclass(frozen=True, eq=False)
class HardSwish(_Gate):
    """x * min(max(x + 3, 0), 6) / 6."""

    def f(self, x: np.ndarray) -> np.ndarray:
        gate = np.empty_like(x)
        self.put(x, gate)
        return gate

    def put(self, x: np.ndarray, out: np.ndarray) -> None:
        np.add(x, 3, out=out, dtype=out.dtype)  # in place: temporaries would not fit into the cache
        np.clip(out, 0, 6, out=out)
        out *= x
        out /= 6

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("HardSwish", inputs[0]),)


@dataclass(frozen=True, eq=False)
class Swish(_Gate):
    """x * sigmoid(alpha * x)."""

    alpha: float = 1.0

    def f(self, x: np.ndarray) -> np.ndarray:
        return x * sigmoid(self.alpha * x)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        if self.alpha == 1:
            scaled = x
        else:
            scaled = graph.op("Mul", x, graph.const(float(self.alpha)))
        return (graph.op("Mul", x, graph.op("Sigmoid", scaled)),)


@dataclass(frozen=True, eq=False)
class Mish(_Gate):
    """x * tanh(softplus(x))."""

    roundings = 8

    def f(self, x: np.ndarray) -> np.ndarray:
        return x * np.tanh(softplus(x))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Mul", inputs[0], graph.op("Tanh", graph.op("Softplus", inputs[0]))),)


@dataclass(frozen=True, eq=False)
class LogSigmoid(Elementwise):
    """log(sigmoid(x)) = -softplus(-x)."""

    roundings = 6

    def f(self, x: np.ndarray) -> np.ndarray:
        return -softplus(-x)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(y), 1.0)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Neg", graph.op("Softplus", graph.op("Neg", inputs[0]))),)


@dataclass(frozen=True, eq=False)
class Shrink(_Stepped):
    """x + bias where x < -lambd, x - bias where x > lambd, else 0 (ONNX Shrink; bias 0 is hard,
    bias lambd soft).

    A NaN stays (PyTorch) or becomes 0 (Keras, ONNX Runtime).
    """

    lambd: float
    bias: float
    keeps_nan: bool = True
    roundings = 2

    def edge(self) -> float:
        return self.lambd

    def f(self, x: np.ndarray) -> np.ndarray:
        between = np.where(np.isnan(x), x, 0.0) if self.keeps_nan else 0.0
        return np.where(
            x < -self.lambd, x + self.bias, np.where(x > self.lambd, x - self.bias, between)
        )

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) > self.lambd, np.abs(x) + abs(self.bias), 0.0)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        shrunk = graph.op("Shrink", inputs[0], lambd=float(self.lambd), bias=float(self.bias))
        if not self.keeps_nan:
            return (shrunk,)
        return (graph.op("Where", graph.op("IsNaN", inputs[0]), inputs[0], shrunk),)


@dataclass(frozen=True, eq=False)
class TanhShrink(Elementwise):
    """x - tanh(x)."""

    roundings = 8

    def f(self, x: np.ndarray) -> np.ndarray:
        return x - np.tanh(x)

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.abs(x)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Sub", inputs[0], graph.op("Tanh", inputs[0])),)


@dataclass(frozen=True, eq=False)
class Squareplus(Elementwise):
    """(x + sqrt(x**2 + b)) / 2."""

    b: float = 4.0

    def f(self, x: np.ndarray) -> np.ndarray:
        return (x + np.sqrt(x * x + self.b)) / 2

    def scale(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.abs(x) + math.sqrt(self.b)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = inputs[0]
        root = graph.op("Sqrt", graph.op("Add", graph.op("Mul", x, x), graph.const(float(self.b))))
        return (graph.op("Div", graph.op("Add", x, root), graph.const(2.0)),)


@dataclass(frozen=True, eq=False)
class SparsePlus(Elementwise):
    """0 where x <= -1, x where x >= 1, (x + 1)**2 / 4 between."""

    roundings = 6

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.where(x <= -1, 0.0, np.where(x >= 1, x, (x + 1) ** 2 / 4))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, one = inputs[0], graph.const(1.0)
        up = graph.op("Add", graph.op("Clip", x, graph.const(-1.0), one), one)
        between = graph.op("Div", graph.op("Mul", up, up), graph.const(4.0))
        return (graph.op("Where", graph.op("GreaterOrEqual", x, one), x, between),)


@dataclass(frozen=True, eq=False)
class SparseSigmoid(Elementwise):
    """0 where x <= -1, 1 where x >= 1, (x + 1) / 2 between."""

    def f(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x + 1) / 2, 0, 1)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        half = graph.op("Add", graph.op("Mul", inputs[0], graph.const(0.5)), graph.const(0.5))
        return (graph.op("Clip", half, graph.const(0.0), graph.const(1.0)),)
