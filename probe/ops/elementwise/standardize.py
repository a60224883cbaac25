"""What preprocessing layers do to the scale of their input."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms, named
from probe.ops.weight import Weight

__all__ = ["AutoContrast", "Standardize"]


@dataclass(frozen=True, eq=False)
class Standardize(Op):
    """(x - mean) / max(sqrt(variance), epsilon); ``invert`` turns it round: x * max(sqrt(variance),
    epsilon) + mean.

    The weights broadcast against x.
    """

    mean: Weight
    variance: Weight
    epsilon: float
    invert: bool = False

    def _deviation(self) -> np.ndarray:
        return np.maximum(np.sqrt(self.variance.value.astype(np.float64)), self.epsilon)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,), mean = inputs, self.mean.value.astype(np.float64)
        if self.invert:
            return (x * self._deviation() + mean,)
        return ((x - mean) / self._deviation(),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        mean = graph.weight(self.mean)
        deviation = graph.op(
            "Max", graph.op("Sqrt", graph.weight(self.variance)), graph.const(float(self.epsilon))
        )
        if self.invert:
            return (graph.op("Add", graph.op("Mul", inputs[0], deviation), mean),)
        return (graph.op("Div", graph.op("Sub", inputs[0], mean), deviation),)

    def summary(self, inputs: Arrays) -> str:
        if self.invert:
            return "x times the standard deviation plus the mean"
        return "x minus the mean, divided by the standard deviation"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        place = tuple(
            i if size > 1 else 0
            for i, size in zip(
                at[len(at) - self.mean.value.ndim :], self.mean.value.shape, strict=True
            )
        )
        x, deviation = float(inputs[0][at]), float(self._deviation()[place])
        mean = float(self.mean.value[place])
        by = (
            f"{deviation:.9g}, the square root of {named(self.variance, place)}, at least "
            f"{self.epsilon:g}"
        )
        if self.invert:
            stages = (
                Stage(f"times {by}", x * deviation),
                Stage(f"plus {named(self.mean, place)}", float(outputs[0][at])),
            )
        else:
            stages = (
                Stage(f"minus {named(self.mean, place)}", x - mean),
                Stage(f"divided by {by}", float(outputs[0][at])),
            )
        return Contributions((Terms(np.array([at], int)),), stages)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask,)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        deviation, mean = self._deviation(), np.abs(self.mean.value.astype(np.float64))
        if self.invert:
            inside = np.abs(x) * deviation + 2 * mean
        else:
            inside = mean / deviation * (2 if precision.casts else 0)
        own = precision.unit * (4 * np.abs(y) + inside) + precision.tiny
        if slack is not None:
            own = own + (slack * deviation if self.invert else slack / deviation)
        return (np.where(np.isfinite(own), own, 0.0),)


@dataclass(frozen=True, eq=False)
class AutoContrast(Op):
    """x stretched so that its smallest and largest element over ``axes`` become ``low`` and
    ``high``; constant x stays."""

    axes: tuple[int, ...]
    low: float
    high: float

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        least, most = (f(x, axis=self.axes, keepdims=True) for f in (np.min, np.max))
        with np.errstate(all="ignore"):
            stretched = np.clip(
                (x - least) / (most - least) * (self.high - self.low) + self.low,
                self.low,
                self.high,
            )
        return (np.where(most == least, x, stretched),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, axes = inputs[0], graph.const(list(self.axes))
        least, most = graph.op("ReduceMin", x, axes), graph.op("ReduceMax", x, axes)
        part = graph.op("Div", graph.op("Sub", x, least), graph.op("Sub", most, least))
        wide = graph.op(
            "Add",
            graph.op("Mul", part, graph.const(self.high - self.low)),
            graph.const(float(self.low)),
        )
        return (
            graph.op(
                "Where",
                graph.op("Equal", least, most),
                x,
                graph.op("Clip", wide, graph.const(self.low), graph.const(self.high)),
            ),
        )

    def summary(self, inputs: Arrays) -> str:
        return f"x rescaled to [{self.low:g}, {self.high:g}] over axes {self.axes}"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        within = tuple(slice(None) if axis in self.axes else i for axis, i in enumerate(at))
        cells = inputs[0][within]
        ends = (
            f"the smallest {cells.min():.9g} becomes {self.low:g}, the largest "
            f"{cells.max():.9g} becomes {self.high:g}"
        )
        words = f"rescaled over {cells.size} elements: {ends}"
        return Contributions((Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        least, most = (f(x, axis=self.axes, keepdims=True) for f in (np.min, np.max))
        with np.errstate(all="ignore"):
            slope = np.where(most > least, (self.high - self.low) / (most - least), 1.0)
        # Keras multiplies by the slope and subtracts the least times the slope, on the way through
        # 0 to 255.
        wide = np.maximum(np.abs(least), np.abs(most)) + abs(self.low)
        own = (
            precision.unit
            * (8 * wide * slope + 6 * np.abs(y) + 4 * max(abs(self.low), abs(self.high)))
            + precision.tiny
        )
        if slack is not None:
            own = own + 3 * slope * slack.max(axis=self.axes, keepdims=True)
        return (np.where(np.isfinite(own), own, 0.0),)
