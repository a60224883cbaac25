"""Normalisations by a power mean or a norm of neighbours: root mean squares, p-norms, and
neighbouring channels."""

import math
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_axes
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Stage, Terms, box, named
from probe.ops.engine_differences import SQUARES_OVERFLOW, ZERO_SHARE_OF_NAN
from probe.ops.weight import Weight
from probe.ops.weight_effects import of_channels

__all__ = ["LRN", "LpNormalization", "RMSNormalization"]


@dataclass(frozen=True, eq=False)
class RMSNormalization(Op):
    """x / sqrt(mean(x²) + epsilon) * scale, the mean over ``axes`` (Zhang and Sennrich, 2019; ONNX
    RMSNormalization).

    scale is shaped like ``axes``. With ``centred`` the mean is that of (x - mean(x))², the
    variance, though x itself is divided (Keras' ``LayerNormalization(rms_scaling=True)``).
    """

    scale: Weight | None
    epsilon: float
    axes: tuple[int, ...]
    centred: bool = False
    refinable = True
    engine_differences = (SQUARES_OVERFLOW,)

    def _power(self, x: np.ndarray) -> np.ndarray:
        mean = x.mean(axis=self.axes, keepdims=True) if self.centred else 0.0
        return np.square(x - mean).mean(axis=self.axes, keepdims=True)

    def _gain(self, x: np.ndarray) -> np.ndarray:
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(x.shape)]
        if self.scale is None:
            return np.ones(())
        return self.scale.value.astype(np.float64).reshape(shape)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        (x,) = inputs
        if self.scale is None:
            return {}
        kept = [k for k in range(x.ndim) if k not in [axis % x.ndim for axis in self.axes]]
        plain = x / np.sqrt(self._power(x) + self.epsilon)
        return {"scale": of_channels(plain, worth, kept, self.scale.value.shape)}

    def summary(self, inputs: Arrays) -> str:
        count = math.prod(inputs[0].shape[axis] for axis in self.axes)
        return (
            "divided by the square root of the "
            f"{'variance' if self.centred else 'mean square'} of {count} elements, epsilon "
            f"{self.epsilon:g}"
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        return (x / np.sqrt(self._power(x) + self.epsilon) * self._gain(x),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, axes = inputs[0], graph.const(list(self.axes))
        if self.centred:
            part = graph.op("Sub", x, graph.op("ReduceMean", x, axes, keepdims=1))
        else:
            part = x
        power = graph.op("ReduceMean", graph.op("Mul", part, part), axes, keepdims=1)
        out = graph.op(
            "Div", x, graph.op("Sqrt", graph.op("Add", power, graph.const(float(self.epsilon))))
        )
        if self.scale is None:
            return (out,)
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(graph.shape(x))]
        return (
            graph.op("Mul", out, graph.op("Reshape", graph.weight(self.scale), graph.const(shape))),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        count = math.prod(x.shape[axis] for axis in self.axes)
        squared = np.square(x)
        total = squared.sum(axis=self.axes, keepdims=True)
        fourth = np.square(squared).sum(axis=self.axes, keepdims=True)
        # Where the mean is taken off first: by E[x²] - E[x]² at worst, so that x² itself is what
        # rounds.
        moved = (
            of_axes(squared, self.axes, total, fourth, precision) + 4 * precision.unit * total
        ) / count
        if self.centred:
            moved *= 3
        if of.slacks[0] is not None:
            moved = (
                moved
                + 2
                * np.sqrt(np.square(x * of.slacks[0]).sum(axis=self.axes, keepdims=True))
                / count
            )
            moved = moved + np.square(of.slacks[0]).mean(axis=self.axes, keepdims=True)
        power = self._power(x)
        with np.errstate(all="ignore"):
            root = np.sqrt(power + self.epsilon)
            relative = root / np.sqrt(np.maximum(power - moved, 0) + self.epsilon) - 1
            own = np.abs(y) * (relative + 8 * precision.unit) + precision.tiny
            return (
                own if of.slacks[0] is None else own + of.slacks[0] * np.abs(self._gain(x)) / root,
            )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        (x,) = inputs
        members = box(
            [range(size) if axis in self.axes else at[axis] for axis, size in enumerate(x.shape)]
        )
        taken = x[tuple(members.T)]
        power = float(np.square(taken - (taken.mean() if self.centred else 0.0)).mean())
        kind = "variance" if self.centred else "mean square"
        words = (
            f"divided by sqrt({kind} of {len(members)} elements {power:.9g} + epsilon "
            f"{self.epsilon:g})"
        )
        with np.errstate(all="ignore"):
            value = float(x[at] / np.sqrt(power + self.epsilon))
        stages = [Stage(words, value, Terms(members))]
        if self.scale is not None:
            place = tuple(at[axis] for axis in self.axes)
            stages.append(Stage(f"times {named(self.scale, place)}", float(outputs[0][at])))
        return Contributions((Terms(np.array([at], int)),), tuple(stages))


@dataclass(frozen=True, eq=False)
class LpNormalization(Op):
    """x divided by the ``p``-norm over ``axes`` (ONNX LpNormalization).

    What it divides by is never less than ``epsilon``; with ``squared`` the sum under the root is
    what is never less (p = 2: x / sqrt(max(sum x², epsilon)), as tf.math.l2_normalize).
    """

    axes: tuple[int, ...]
    epsilon: float
    p: float = 2.0
    squared: bool = False
    refinable = True
    engine_differences = (SQUARES_OVERFLOW,)

    def norm(self, x: np.ndarray) -> np.ndarray:
        if math.isinf(self.p):
            return np.maximum(np.abs(x).max(axis=self.axes, keepdims=True), self.epsilon)
        total = (np.square(x) if self.p == 2 else np.abs(x) ** self.p).sum(
            axis=self.axes, keepdims=True
        )
        if self.squared:
            return np.maximum(total, self.epsilon) ** (1 / self.p)
        return np.maximum(total ** (1 / self.p), self.epsilon)

    def summary(self, inputs: Arrays) -> str:
        return (
            f"divided by the {self.p:g}-norm of "
            f"{math.prod(inputs[0].shape[axis] for axis in self.axes)} elements"
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0] / self.norm(inputs[0]),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, axes, least = inputs[0], graph.const(list(self.axes)), graph.const(float(self.epsilon))
        size = graph.op("Abs", x)
        if math.isinf(self.p):
            norm = graph.op("Max", graph.op("ReduceMax", size, axes, keepdims=1), least)
        else:
            if self.p == 2:
                power = graph.op("Mul", x, x)
            else:
                power = graph.op("Pow", size, graph.const(float(self.p)))
            total = graph.op("ReduceSum", power, axes, keepdims=1)
            if self.squared:
                total = graph.op("Max", total, least)
            if self.p == 2:
                norm = graph.op("Sqrt", total)
            else:
                norm = graph.op("Pow", total, graph.const(1 / self.p))
            if not self.squared:
                norm = graph.op("Max", norm, least)
        return (graph.op("Div", x, norm),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        norm = self.norm(x)
        relative: float | np.ndarray = 10 * precision.unit
        if not math.isinf(self.p):
            count = math.prod(x.shape[axis] for axis in self.axes)
            # The relative error of a sum of positive terms, divided by p under the root; a term's
            # own power errs by p units.
            if count < 64:
                relative += (count * 0.5 + 6 + self.p) * precision.unit / min(self.p, 1.0)
            else:
                relative += self._statistical(x, precision)
        own = np.abs(y) * relative + precision.tiny
        if of.slacks[0] is not None:
            with np.errstate(all="ignore"):
                whole = of.slacks[0].max(axis=self.axes, keepdims=True) * math.prod(
                    x.shape[axis] for axis in self.axes
                ) ** (1 / self.p)
                own = own + (of.slacks[0] + np.abs(y) * whole) / norm
        return (own,)

    def _statistical(self, x: np.ndarray, precision: Precision) -> np.ndarray:
        powers = np.abs(x) ** self.p
        total = powers.sum(axis=self.axes, keepdims=True)
        off = of_axes(
            powers,
            self.axes,
            total,
            np.square(powers).sum(axis=self.axes, keepdims=True),
            precision,
        )
        with np.errstate(all="ignore"):
            return np.where(
                total > 0, off / total / min(self.p, 1.0) + (6 + self.p) * precision.unit, 0.0
            )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        (x,) = inputs
        members = box(
            [range(size) if axis in self.axes else at[axis] for axis, size in enumerate(x.shape)]
        )
        norm = float(
            self.norm(x)[tuple(0 if axis in self.axes else i for axis, i in enumerate(at))]
        )
        stage = Stage(
            f"divided by the {self.p:g}-norm of {len(members)} elements {norm:.9g}",
            float(outputs[0][at]),
            Terms(members),
        )
        return Contributions((Terms(np.array([at], int)),), (stage,))


@dataclass(frozen=True, eq=False)
class LRN(Op):
    """x / (bias + alpha / size * sum of x² of the neighbouring channels)^beta (ONNX LRN; Krizhevsky
    et al., 2012).

    The neighbours of channel c on axis 1 are c - ``before`` to c + ``after``, as far as they exist;
    with ``first`` channel 0 is one of them everywhere (PyTorch's CrossMapLRN2d never takes it off:
    torch/nn/modules/_functions.py).
    """

    size: int
    alpha: float
    beta: float
    bias: float
    before: int
    after: int
    first: bool = False
    engine_differences = (ZERO_SHARE_OF_NAN, SQUARES_OVERFLOW)

    def neighbour_sums(self, x: np.ndarray) -> np.ndarray:
        """Of the neighbours of every channel."""
        out = np.zeros_like(x)
        channels = x.shape[1]
        for shift in range(-min(self.before, channels), min(self.after, channels) + 1):
            low, high = max(0, -shift), min(channels, channels - shift)
            if high > low:
                out[:, low:high] += x[:, low + shift : high + shift]
        if self.first:
            out[:, self.before + 1 :] += x[:, :1]
        return out

    def summary(self, inputs: Arrays) -> str:
        return self._words(f"{self.before} channels before to {self.after} after")

    def _words(self, channels: str) -> str:
        return (
            f"divided by ({self.bias:g} + {self.alpha:g} / {self.size} * the squares of "
            f"{channels})^{self.beta:g}"
        )

    def _base(self, x: np.ndarray) -> np.ndarray:
        return self.bias + self.alpha / self.size * self.neighbour_sums(np.square(x))

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (inputs[0] / self._base(inputs[0]) ** self.beta,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x, shape = inputs[0], graph.shape(inputs[0])
        channels = shape[1]
        taps = np.zeros((channels, channels, 1))
        for channel in range(channels):
            taps[channel, max(0, channel - self.before) : channel + self.after + 1] = 1
            taps[channel, 0] += self.first and channel > self.before
        flat = graph.op(
            "Reshape",
            graph.op("Mul", x, x),
            graph.const([shape[0], channels, math.prod(shape[2:])]),
        )
        total = graph.op(
            "Reshape", graph.op("Conv", flat, graph.const(taps)), graph.const(list(shape))
        )
        base = graph.op(
            "Add",
            graph.op("Mul", total, graph.const(self.alpha / self.size)),
            graph.const(float(self.bias)),
        )
        return (graph.op("Div", x, graph.op("Pow", base, graph.const(float(self.beta)))),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (y,) = of.inputs, of.outputs
        with np.errstate(all="ignore"):
            base = self._base(x)
            # PyTorch's CrossMapLRN2d takes the sums from each other, channel by channel: they err
            # by what all channels hold.
            whole = np.square(np.where(np.isfinite(x), x, 0.0)).sum(axis=1, keepdims=True)
            spread = abs(self.alpha) / self.size * (
                self.size + 4
            ) * precision.unit * whole + 4 * precision.unit * np.abs(base)
            relative = abs(self.beta) * spread / np.abs(base)
            own = (
                np.abs(y)
                * (
                    relative
                    + (8 + 4 * abs(self.beta) * np.abs(np.log(np.abs(base)))) * precision.unit
                )
                + precision.tiny
            )
            if of.slacks[0] is not None:
                inner = (
                    abs(self.alpha) / self.size * self.neighbour_sums(2 * np.abs(x) * of.slacks[0])
                )
                own = (
                    own
                    + of.slacks[0] / np.abs(base) ** self.beta
                    + np.abs(y) * abs(self.beta) * inner / np.abs(base)
                )
        return (np.where(np.isfinite(own), own, precision.tiny),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        found = mask.copy()
        for shift in range(-self.before, self.after + 1):
            low, high = max(0, -shift), min(mask.shape[1], mask.shape[1] - shift)
            if high > low:
                found[:, low + shift : high + shift] |= mask[:, low:high]
        if self.first:
            found[:, :1] |= mask.any(axis=1, keepdims=True)
        return (found,)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        (x,) = inputs
        neighbours = [*range(max(0, at[1] - self.before), min(x.shape[1], at[1] + self.after + 1))]
        members = box(
            [at[0], [0, *neighbours] if self.first and neighbours[0] else neighbours, *at[2:]]
        )
        total = float(np.square(x[tuple(members.T)]).sum())
        words = (
            f"divided by ({self.bias:g} + {self.alpha:g} / {self.size} * the squares of "
            f"{len(members)} channels {total:.9g})^{self.beta:g}"
        )
        return Contributions(
            (Terms(np.array([at], int)),), (Stage(words, float(outputs[0][at]), Terms(members)),)
        )
