"""Normalisations: (x - mean) / sqrt(variance + epsilon) * scale + bias, with statistics stored or
taken from x."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probe.numerics.blocks import apart
from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_axes
from probe.ops.base import Arrays, Evaluated, Graph, Indices, Op
from probe.ops.contributions import Contributions, Stage, Terms, box, named
from probe.ops.engine_differences import SQUARES_OVERFLOW
from probe.ops.weight import Weight, zero_bias
from probe.ops.weight_effects import of_channels

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization"]

_BLOCK = 1 << 20
_CACHED = 1 << 17


def _along(weight: Weight | None, default: float, shape: Sequence[int]) -> np.ndarray:
    """A parameter in float64 in a shape that broadcasts; its default where the layer has none."""
    if weight is None:
        return np.full((1,) * len(shape), default)
    return weight.value.astype(np.float64).reshape(shape)


def _parameter(weight: Weight | None, place: tuple[int, ...], default: float) -> float:
    if weight is None:
        return default
    return float(weight.value[place])


def _effects(
    factors: Sequence[tuple[str, Weight | None, np.ndarray]],
    worth: np.ndarray | None,
    axes: Sequence[int],
) -> dict[str, np.ndarray]:
    """By field: what each parameter is multiplied by is its factor, shared along ``axes``."""
    return {
        field: of_channels(factor, worth, axes, weight.value.shape)
        for field, weight, factor in factors
        if weight is not None
    }


@dataclass(frozen=True, eq=False)
class BatchNormalization(Op):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias with stored statistics, one of each per
    place on ``axis``.

    A parameter that is None is left out (scale and variance 1, bias and mean 0). Ioffe and Szegedy,
    2015.
    """

    scale: Weight | None
    bias: Weight | None
    mean: Weight | None
    variance: Weight | None
    epsilon: float
    axis: int = 1
    takes_any_float = True
    computes_elements = True

    @property
    def samplewise(self) -> bool:
        return self.axis != 0

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return shapes[0]

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        channel = where[self.axis]
        gain, mean, bias = (term[channel if term.size > 1 else 0] for term in self._constants)
        return np.asarray((elements[0] - mean) * gain + bias)

    def undetected(self, inputs: Arrays) -> list[str]:
        fresh = (
            self.mean is not None
            and not self.mean.effective.any()
            and self.variance is not None
            and (self.variance.effective == 1).all()
        )
        sentence = (
            "the running mean and variance are 0 and 1 (their defaults), so omitting the "
            "normalisation would be almost undetectable"
        )
        return [sentence] * bool(fresh) + zero_bias(self.bias)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        (x,) = inputs
        axis = self.axis % x.ndim
        shape = [-1 if k == axis else 1 for k in range(x.ndim)]
        gain, mean, _ = (term.reshape(shape) for term in self._terms(x))
        with np.errstate(all="ignore"):
            root = 1 / np.sqrt(_along(self.variance, 1.0, (-1,)) + self.epsilon).reshape(
                shape if self.variance is not None else [1] * x.ndim
            )
            apart = x - mean
        factors = (
            ("scale", self.scale, apart * root),
            ("bias", self.bias, np.ones(x.shape)),
            ("mean", self.mean, np.broadcast_to(gain, x.shape)),
            ("variance", self.variance, apart * gain * root**2 / 2),
        )
        return _effects(factors, worth, [k for k in range(x.ndim) if k != axis])

    @cached_property
    def _constants(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(gain, mean, bias), with one number where that is the same for all places."""
        given = ((self.scale, 1.0), (self.variance, 1.0), (self.mean, 0.0), (self.bias, 0.0))
        scale, variance, mean, bias = [_along(weight, default, (-1,)) for weight, default in given]
        with np.errstate(all="ignore"):
            return scale / np.sqrt(variance + self.epsilon), mean, bias

    def _terms(self, x: np.ndarray) -> list[np.ndarray]:
        """(gain, mean, bias), a number for each place."""
        shape = (x.shape[self.axis],)
        return [
            term if term.shape == shape else np.broadcast_to(term, shape)
            for term in self._constants
        ]

    def summary(self, inputs: Arrays) -> str:
        return f"stored mean and variance, epsilon {self.epsilon:g}"

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        out = np.empty_like(x, np.float64)
        for part, target, gain, mean, bias in _lines(x, out, self.axis, self._terms(x)):
            target[...] = part
            target -= mean
            target *= gain
            target += bias
        return (out,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        shape = graph.shape(inputs[0])
        axis = self.axis % len(shape)
        size = [shape[axis]]
        parts = [
            graph.const(np.full(size, default)) if weight is None else graph.weight(weight)
            for weight, default in (
                (self.scale, 1.0),
                (self.bias, 0.0),
                (self.mean, 0.0),
                (self.variance, 1.0),
            )
        ]
        if axis == 1:
            return (graph.op("BatchNormalization", inputs[0], *parts, epsilon=float(self.epsilon)),)
        swap = list(range(len(shape)))
        swap[1], swap[axis] = axis, 1
        if axis == 0:  # A batch of one, with the normalised axis brought to the channel's place.
            swapped = graph.op(
                "Transpose",
                graph.op("Unsqueeze", inputs[0], graph.const([0])),
                perm=list(range(len(shape) + 1)),
            )
            out = graph.op("BatchNormalization", swapped, *parts, epsilon=float(self.epsilon))
            return (graph.op("Squeeze", out, graph.const([0])),)
        out = graph.op(
            "BatchNormalization",
            graph.op("Transpose", inputs[0], perm=swap),
            *parts,
            epsilon=float(self.epsilon),
        )
        return (graph.op("Transpose", out, perm=swap),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        place = (at[self.axis],)
        x, mean = float(inputs[0][at]), _parameter(self.mean, place, 0.0)
        variance, scale = _parameter(self.variance, place, 1.0), _parameter(self.scale, place, 1.0)
        with np.errstate(all="ignore"):
            gain = float(np.float64(scale) / np.sqrt(variance + self.epsilon))
        if self.mean is None:
            stages = []
        else:
            stages = [Stage(f"minus {named(self.mean, place)}", x - mean)]
        over, under = (
            "1" if weight is None else named(weight, place)
            for weight in (self.scale, self.variance)
        )
        stages.append(
            Stage(
                f"times the gain {gain:.9g} = {over} / sqrt({under} + epsilon {self.epsilon:g})",
                (x - mean) * gain,
            )
        )
        if self.bias is not None:
            stages.append(Stage(f"plus {named(self.bias, place)}", float(outputs[0][at])))
        return Contributions((Terms(np.array([at], int)),), tuple(stages))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (mask,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        # Either ((x - mean) * gain) + bias or x * gain + (bias - mean * gain): the gain takes a
        # sum, a reciprocal root of up to two units and a product; then two products and two sums.
        # Ten roundings bound both.
        gain, mean, bias = self._terms(of.inputs[0])
        gain = np.abs(gain)
        each = (14 if precision.casts else 10) * precision.unit
        factors, constants = (
            each * gain,
            each * (np.abs(mean) * gain + np.abs(bias)) + precision.tiny,
        )
        # float32 is enough where it holds the factors, too.
        narrow = (
            of.slacks[0] is None
            and precision.narrow
            and 1e-30 < factors.min(initial=1.0) <= factors.max(initial=1.0) < 1e30
        )
        own: np.ndarray = np.empty_like(of.inputs[0], np.float32 if narrow else np.float64)
        terms = [term.astype(own.dtype) for term in (factors, constants)]
        for part, target, factor, constant in _lines(of.inputs[0], own, self.axis, terms):
            np.multiply(part, factor, out=target, casting="same_kind")
            np.abs(target, out=target)
            target += constant
        if of.slacks[0] is not None:
            own += of.slacks[0] * gain.reshape(
                [-1 if axis == self.axis % own.ndim else 1 for axis in range(own.ndim)]
            )
        return (own,)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        return where


_SHORTCUT = (
    "computes the variance as E[x²] - E[x]², which loses digits where the mean is far from zero"
)


def _lines(
    x: np.ndarray, out: np.ndarray, axis: int, terms: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, ...]]:
    """Matching pieces of x, out and of ``terms`` with one number for each place on ``axis``, small
    enough to stay in cache.

    Where the axis is the last, several of its lines are joined and their terms repeated: loops over
    few channels would be short.
    """
    axis %= x.ndim
    if not (x.flags.c_contiguous and out.flags.c_contiguous and x.size):
        yield (
            x,
            out,
            *(term.reshape([-1 if k == axis else 1 for k in range(x.ndim)]) for term in terms),
        )
        return
    before, places, after = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    if after == 1:
        several = next(count for count in range(max(1, 512 // places), 0, -1) if not before % count)
        form, lines = (
            (before // several, several * places),
            [np.tile(term, several)[None] for term in terms],
        )
    else:
        form, lines = (
            (before * places, after),
            [(term if before == 1 else np.tile(term, before))[:, None] for term in terms],
        )
    x, out = x.reshape(form), out.reshape(form)
    step = max(1, _CACHED // form[1])
    for start in range(0, form[0], step):
        rows = slice(start, start + step)
        yield (x[rows], out[rows], *(line if after == 1 else line[rows] for line in lines))


def _statistics_slack(
    x: np.ndarray,
    mean: np.ndarray,
    below: np.ndarray,
    axes: tuple[int, ...],
    precision: Precision,
    slack: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The variance of x, from what it is ``below`` its mean by, and how far mean and variance may
    be off.

    The variance comes from squared deviations, in two passes or as Welford's running update (each
    deviation is then off by the mean's own error), or, where the precision is ``lossy``, as
    E[x²] - E[x]², which is off by a rounded sum of squares of x itself.
    """
    count = math.prod(x.shape[axis] for axis in axes)

    def off(terms: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """The error of a sum; where the precision asks for certainty K * u * sum |terms| at
        most."""
        if precision.certain:
            return count * precision.unit * np.sqrt(count * squares)
        return of_axes(terms, axes, total, squares, precision)

    deviations, squared = np.square(below), np.square(x)
    variance = deviations.sum(axis=axes, keepdims=True) / count
    sum_squares = squared.sum(axis=axes, keepdims=True)
    of_mean = off(x, mean * count, sum_squares) / count + 2 * precision.unit * np.abs(mean)
    # Adding the same value again errs the same way again.
    of_mean = np.maximum(of_mean, np.where(variance == 0, count * precision.unit * np.abs(mean), 0))
    if precision.lossy:
        fourth = np.square(squared).sum(axis=axes, keepdims=True)
        of_square = (
            off(squared, sum_squares, fourth) / count + 2 * precision.unit * sum_squares / count
        )
        of_variance = of_square + 2 * np.abs(mean) * of_mean + 2 * precision.unit * np.square(mean)
    else:
        fourth = np.square(deviations).sum(axis=axes, keepdims=True)
        of_variance = (
            off(deviations, variance * count, fourth) / count + 4 * precision.unit * variance
        )
        of_variance += 2 * np.sqrt(variance) * of_mean + np.square(of_mean)
    if slack is not None:
        of_mean = of_mean + np.sqrt(np.square(slack).sum(axis=axes, keepdims=True)) / count
        deviation = np.square(below * slack).sum(axis=axes, keepdims=True)
        of_variance = (
            of_variance
            + 2 * np.sqrt(deviation) / count
            + np.square(slack).mean(axis=axes, keepdims=True)
        )
    return variance, of_mean, of_variance


def _normalised_allowance(
    x: np.ndarray,
    slack: np.ndarray | None,
    axes: tuple[int, ...],
    epsilon: float,
    scale: np.ndarray,
    bias: np.ndarray,
    precision: Precision,
) -> np.ndarray:
    x = x.astype(np.float64, copy=False)
    if not x.size:
        return x
    mean = x.mean(axis=axes, keepdims=True)
    own = x - mean
    variance, of_mean, of_variance = _statistics_slack(x, mean, own, axes, precision, slack)
    root = 1 / np.sqrt(variance + epsilon)
    # The gain at the smallest variance that rounding leaves possible; unbounded where that is none
    # and epsilon is 0.
    with np.errstate(divide="ignore"):
        relative = 1 / np.sqrt(np.maximum(variance - of_variance, 0) + epsilon) / root - 1
    # |scale| (root (|x - mean| relative + of_mean + 10 u (|x| + |mean|) + slack)) + 10 u |bias|,
    # what is alike for many taken together.
    np.abs(own, out=own)
    own *= root * relative
    sizes = np.abs(x)
    sizes *= 10 * precision.unit * root
    own += sizes
    own += root * (of_mean + 10 * precision.unit * np.abs(mean))
    if slack is not None:
        own += root * slack
    own *= np.abs(scale)
    own += 10 * precision.unit * np.abs(bias) + precision.tiny
    return own


def _emit_normalised(graph: Graph, x: str, axes: Sequence[int], epsilon: float) -> str:
    """(x - mean) / sqrt(variance + epsilon) in two passes: kernels of ONNX Runtime that take E[x²]
    - E[x]² are no opinion to rely on."""
    places = graph.const(list(axes))
    below = graph.op("Sub", x, graph.op("ReduceMean", x, places))
    variance = graph.op("ReduceMean", graph.op("Mul", below, below), places)
    return graph.op(
        "Div", below, graph.op("Sqrt", graph.op("Add", variance, graph.const(float(epsilon))))
    )


def _mean_square(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    axis = max(axes, key=lambda candidate: x.shape[candidate])
    step, total = max(1, _BLOCK * x.shape[axis] // max(1, x.size)), np.zeros(())
    for start in range(0, x.shape[axis], step):
        cut = (slice(None),) * (axis % x.ndim) + (slice(start, start + step),)
        total = total + np.square(x[cut]).sum(axis=axes, keepdims=True)
    return total / math.prod(x.shape[axis] for axis in axes)


def _normalised(
    x: np.ndarray, axes: tuple[int, ...], epsilon: float, scale: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    x = x.astype(np.float64, copy=False)
    if not x.size:
        return x
    out = x - x.mean(axis=axes, keepdims=True)
    out *= 1 / np.sqrt(_mean_square(out, axes) + epsilon)
    out *= scale
    out += bias
    return out


def _normalised_account(
    x: np.ndarray,
    at: tuple[int, ...],
    members: np.ndarray,
    epsilon: float,
    parameters: Sequence[Weight | None],
    place: tuple[int, ...],
) -> Contributions:
    """x less the mean of its members, divided by their deviation, scaled and shifted."""
    taken = x[tuple(members.T)]
    mean = float(taken.mean())
    variance = float(np.square(taken - mean).mean())
    value = float(x[at]) - mean
    stages = [Stage(f"minus the mean of {len(members)} elements {mean:.9g}", value, Terms(members))]
    with np.errstate(all="ignore"):
        value = float(np.float64(value) / np.sqrt(variance + epsilon))
    stages.append(
        Stage(f"divided by sqrt(their variance {variance:.9g} + epsilon {epsilon:g})", value)
    )
    scale, bias = parameters
    if scale is not None:
        value *= float(scale.value[place])
        stages.append(Stage(f"times {named(scale, place)}", value))
    if bias is not None:
        value += float(bias.value[place])
        stages.append(Stage(f"plus {named(bias, place)}", value))
    return Contributions((Terms(np.array([at], int)),), tuple(stages))


@dataclass(frozen=True, eq=False)
class LayerNormalization(Op):
    """Mean and variance over ``axes``, one set per place on the others (Ba et al., 2016); scale and
    bias are shaped like ``axes``."""

    scale: Weight | None
    bias: Weight | None
    epsilon: float
    axes: tuple[int, ...]
    may_use_lossy_algorithm: bool = False
    lossy_algorithm = _SHORTCUT
    refinable = True
    engine_differences = (SQUARES_OVERFLOW,)
    takes_any_float = True

    def undetected(self, inputs: Arrays) -> list[str]:
        return zero_bias(self.bias)

    def _parameters(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(x.shape)]
        return _along(self.scale, 1.0, shape), _along(self.bias, 0.0, shape)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        (x,) = inputs
        axes = [axis % x.ndim for axis in self.axes]
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        plain = _normalised(x, self.axes, self.epsilon, np.ones(()), np.zeros(()))
        factors = (("scale", self.scale, plain), ("bias", self.bias, np.ones(x.shape)))
        return _effects(factors, worth, kept)

    def summary(self, inputs: Arrays) -> str:
        shape = inputs[0].shape
        return (
            f"mean and variance of {math.prod(shape[axis] for axis in self.axes)} elements, "
            f"epsilon {self.epsilon:g}"
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        parameters = self._parameters(x)
        return (
            apart(
                lambda part: _normalised(part, self.axes, self.epsilon, *parameters),
                x,
                self.axes,
                _CACHED,
            ),
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        shape = graph.shape(inputs[0])
        axes = sorted(axis % len(shape) for axis in self.axes)
        sizes = [size if axis in axes else 1 for axis, size in enumerate(shape)]
        out = _emit_normalised(graph, inputs[0], axes, self.epsilon)
        for kind, weight in (("Mul", self.scale), ("Add", self.bias)):
            if weight is not None:
                out = graph.op(
                    kind, out, graph.op("Reshape", graph.weight(weight), graph.const(sizes))
                )
        return (out,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,) = of.inputs, of.slacks
        parameters = self._parameters(x)

        def own(x: np.ndarray, slack: np.ndarray | None = None) -> np.ndarray:
            return _normalised_allowance(x, slack, self.axes, self.epsilon, *parameters, precision)

        return (apart(own, x, self.axes, _CACHED) if slack is None else own(x, slack),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        (x,) = inputs
        members = box(
            [range(size) if axis in self.axes else at[axis] for axis, size in enumerate(x.shape)]
        )
        place = tuple(at[axis] for axis in self.axes)
        return _normalised_account(x, at, members, self.epsilon, (self.scale, self.bias), place)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axes, keepdims=True), mask.shape),)


@dataclass(frozen=True, eq=False)
class GroupNormalization(Op):
    """Mean and variance over each of ``groups`` runs of neighbouring channels and all their
    positions (Wu and He, 2018).

    Input (batch, channel, *spatial); scale and bias are per channel.
    """

    scale: Weight | None
    bias: Weight | None
    groups: int
    epsilon: float
    may_use_lossy_algorithm: bool = False
    lossy_algorithm = _SHORTCUT
    refinable = True
    engine_differences = (SQUARES_OVERFLOW,)
    takes_any_float = True
    samplewise = True

    def undetected(self, inputs: Arrays) -> list[str]:
        return zero_bias(self.bias)

    def _split(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, *x.shape[2:])

    def _parameters(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = (1, self.groups, x.shape[1] // self.groups) + (1,) * (x.ndim - 2)
        if self.scale is None and self.bias is None:
            return np.ones(()), np.zeros(())
        return _along(self.scale, 1.0, shape), _along(self.bias, 0.0, shape)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        (x,) = inputs
        groups = self._split(x)
        axes = tuple(range(2, groups.ndim))
        plain = _normalised(groups, axes, self.epsilon, np.ones(()), np.zeros(()))
        factors = (
            ("scale", self.scale, plain.reshape(x.shape)),
            ("bias", self.bias, np.ones(x.shape)),
        )
        return _effects(factors, worth, [axis for axis in range(x.ndim) if axis != 1])

    def summary(self, inputs: Arrays) -> str:
        shape = inputs[0].shape
        return (
            f"{self.groups} groups of {shape[1] // self.groups} channels, mean and variance of "
            f"{math.prod(shape[1:]) // self.groups} elements each, epsilon {self.epsilon:g}"
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        groups, parameters = self._split(x), self._parameters(x)
        axes = tuple(range(2, groups.ndim))
        found = apart(
            lambda part: _normalised(part, axes, self.epsilon, *parameters),
            groups,
            range(1, groups.ndim),
            _CACHED,
        )
        return (found.reshape(x.shape),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        batch, channels, *spatial = shape = graph.shape(inputs[0])
        grouped = [batch, self.groups, channels // self.groups, *spatial]
        out = _emit_normalised(
            graph,
            graph.op("Reshape", inputs[0], graph.const(grouped)),
            range(2, len(grouped)),
            self.epsilon,
        )
        out = graph.op("Reshape", out, graph.const(list(shape)))
        for kind, weight in (("Mul", self.scale), ("Add", self.bias)):
            if weight is not None:
                out = graph.op(
                    kind,
                    out,
                    graph.op(
                        "Reshape",
                        graph.weight(weight),
                        graph.const([channels] + [1] * len(spatial)),
                    ),
                )
        return (out,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,) = of.inputs
        groups = self._split(x)
        axes = tuple(range(2, groups.ndim))
        slack = None if of.slacks[0] is None else self._split(of.slacks[0])
        parameters = self._parameters(x)

        def own(groups: np.ndarray, slack: np.ndarray | None = None) -> np.ndarray:
            return _normalised_allowance(groups, slack, axes, self.epsilon, *parameters, precision)

        if slack is None:
            found = apart(own, groups, range(1, groups.ndim), _CACHED)
        else:
            found = own(groups, slack)
        return (found.reshape(x.shape),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        (x,) = inputs
        width = x.shape[1] // self.groups
        first = at[1] // width * width
        members = box([at[0], range(first, first + width), *(range(size) for size in x.shape[2:])])
        return _normalised_account(x, at, members, self.epsilon, (self.scale, self.bias), at[1:2])

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        groups = self._split(mask)
        whole = groups.any(axis=tuple(range(2, groups.ndim)), keepdims=True)
        return (np.broadcast_to(whole, groups.shape).reshape(mask.shape),)
