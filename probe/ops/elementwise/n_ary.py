"""Ops that put several inputs together, and constants that broadcast against one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from probe.numerics.blocks import blocks
from probe.numerics.dtypes import float_of, widened
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Errors, Evaluated, Graph, Indices, Op, Rearrangement
from probe.ops.contributions import Contributions, Stage, Terms, named
from probe.ops.exactness import given_exactly, without_rounding
from probe.ops.weight import Weight
from probe.ops.weight_effects import of_broadcast

__all__ = [
    "Add",
    "AddConstant",
    "Beside",
    "Concat",
    "Max",
    "Mean",
    "Min",
    "Mul",
    "MulConstant",
    "Sub",
]


def _total(slacks: Errors, shape: tuple[int, ...]) -> np.ndarray:
    """The slacks of all inputs added up over the output's shape."""
    total = np.zeros(shape)
    for slack in slacks:
        if slack is not None:
            total += slack
    return total


def _element(x: np.ndarray, at: tuple[int, ...], **how: Any) -> Terms:
    """The element of an input, or of a constant, that stands at a place of the output it broadcasts
    to."""
    return Terms(np.array([place(x, at)], int).reshape(1, x.ndim), **how)


def place(x: np.ndarray, at: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        i if size > 1 else 0 for i, size in zip(at[len(at) - x.ndim :], x.shape, strict=True)
    )


def narrowed(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of what was broadcast to the mask's shape."""
    lead = mask.ndim - len(shape)
    repeated = tuple(lead + axis for axis, size in enumerate(shape) if size == 1)
    return np.asarray(mask.any(axis=(*range(lead), *repeated), keepdims=True)).reshape(shape)


class Broadcast(Op):
    """One function of NumPy, and one operator of ONNX, of all inputs at once, which broadcast."""

    function: ClassVar[Callable[..., np.ndarray]]
    onnx: ClassVar[str]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(invalid="ignore"):
            return (np.asarray(type(self).function(*inputs)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op(self.onnx, *inputs),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        terms = tuple(
            Terms(np.array([place(x, at)], int).reshape(1, x.ndim), input=k)
            for k, x in enumerate(inputs)
        )
        return Contributions(
            terms[:1], (Stage(self.title(inputs), float(outputs[0][at]), *terms[1:]),)
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return tuple(narrowed(mask, x.shape) for x in inputs)


class _Merge(Op):
    """A chain of one binary function over inputs that broadcast as in NumPy."""

    function: ClassVar[Callable[..., np.ndarray]]
    onnx: ClassVar[str]
    of_truths: ClassVar[str] = ""
    """The operator of ONNX for truth values, which the other one does not take."""
    takes_any_float = True
    samplewise = True
    computes_elements = True

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return np.broadcast_shapes(*shapes)

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        return self.run(*elements)[0]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (reduce(type(self).function, inputs),)

    def run_float64(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        dtypes = {float_of(x) for x in inputs}
        if len(dtypes) > 1:  # every link of the chain has its own
            return self.run(*map(widened, inputs))
        whole, dtype = np.broadcast_arrays(*inputs), dtypes.pop()
        like = next((x for x in inputs if x.shape == whole[0].shape), None)
        if like is None:
            out = np.empty(whole[0].shape, dtype)
        else:
            out = np.empty_like(like, dtype)
        with np.errstate(all="ignore"):
            for (target, first, *rest), _ in blocks(out, *whole):
                target[...] = first
                for part in rest:
                    type(self).function(target, part.astype(dtype, copy=False), out=target)
        return (out,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        number = next((name for name in inputs if not graph.boolean(name)), None)
        if number is None and self.of_truths:
            kind = self.of_truths
        else:
            kind = self.onnx
        if number is not None:
            inputs = tuple(
                graph.op("CastLike", name, number) if graph.boolean(name) else name
                for name in inputs
            )
        return (reduce(lambda left, right: graph.op(kind, left, right), inputs),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions(tuple(_element(x, at, input=k) for k, x in enumerate(inputs)))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return tuple(narrowed(mask, x.shape) for x in inputs)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        narrow = all(slack is None for slack in of.slacks) and precision.narrow
        own = np.empty_like(of.outputs[0], np.float32 if narrow else np.float64)
        for (target, *parts), _ in blocks(own, *np.broadcast_arrays(*of.inputs)):
            target[...] = precision.tiny
            for part in parts:
                size = np.empty_like(target)
                np.multiply(
                    part,
                    (len(of.inputs) - 1) * precision.unit,
                    out=size,
                    dtype=np.result_type(part, size),
                    casting="same_kind",
                )
                target += np.abs(size, out=size)
        for slack in of.slacks:
            if slack is not None:
                np.add(own, slack, out=own)
        return (own,)


@dataclass(frozen=True, eq=False)
class Add(_Merge):
    """The sum of the inputs."""

    function = np.add
    onnx = "Add"
    of_truths = "Or"

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return without_rounding([], inputs, precision)

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray | None:
        return _of_two(of, precision)


@dataclass(frozen=True, eq=False)
class Beside(Add):
    """A layer's own output and what is computed beside the layer and added, such as an adapter that
    no kernel holds."""

    weight: str = ""
    """What the layer's own output was multiplied with."""
    words: str = ""
    """What is added, for the report."""

    def summary(self, inputs: Arrays) -> str:
        return f"plus {self.words}"


@dataclass(frozen=True, eq=False)
class Sub(_Merge):
    """The first input less the others."""

    function = np.subtract
    onnx = "Sub"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions(
            tuple(_element(x, at, input=k, sign=-1.0 if k else 1.0) for k, x in enumerate(inputs))
        )

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return without_rounding([], inputs, precision)

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray | None:
        return _of_two(of, precision)


@dataclass(frozen=True, eq=False)
class Mul(_Merge):
    """The product of the inputs."""

    function = np.multiply
    onnx = "Mul"
    of_truths = "And"

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        places = [place(x, at) for x in inputs]
        factors = [float(x[place]) for x, place in zip(inputs, places, strict=True)]
        if len(inputs) < 2:
            return Contributions((_element(inputs[0], at),))
        first = _element(
            inputs[0],
            at,
            factor=1,
            factor_where=np.array([places[1]], int).reshape(1, inputs[1].ndim),
        )
        stages, product = [], factors[0] * factors[1]
        for k, (x, factor) in enumerate(zip(inputs[2:], factors[2:], strict=True), start=2):
            product *= factor
            stages.append(
                Stage(f"times {factor:.9g}, from input {k}", product, _element(x, at, input=k))
            )
        return Contributions((first,), tuple(stages))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        own = len(of.inputs) * precision.unit * np.abs(of.outputs[0]) + precision.tiny
        for k, slack in enumerate(of.slacks):
            if slack is not None:
                rest = [
                    np.abs(x) + (0 if other is None else other)
                    for x, other in zip(of.inputs, of.slacks, strict=True)
                ]
                own = own + slack * reduce(np.multiply, rest[:k] + rest[k + 1 :], np.ones(()))
        return (own,)

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return len(inputs) == 2 and without_rounding([(1, inputs)], (), precision)

    def exact_elements(self, of: Evaluated, precision: Precision) -> np.ndarray | None:
        return _of_two(of, precision)


def _of_two(of: Evaluated, precision: Precision) -> np.ndarray | None:
    """Which sums, differences or products of two are not rounded; of more the order counts."""
    if len(of.inputs) == 2:
        return given_exactly(of.inputs, of.outputs[0], precision)
    return None


class _Choice(_Merge):
    """One of the inputs at each place."""

    stores = False

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        members = tuple(_element(x, at, input=k) for k, x in enumerate(inputs))
        candidates = [float(x[place(x, at)]) for x in inputs]
        chosen = float(outputs[0][at])
        winner = next(k for k, value in enumerate(candidates) if value == chosen or value != value)
        listed = ", ".join(f"{value:.9g}" for value in candidates)
        return Contributions(
            (members[winner],),
            (Stage(f"{type(self).__name__}: input {winner} is selected from {listed}", chosen),),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (
            reduce(
                np.maximum,
                [slack for slack in of.slacks if slack is not None],
                np.zeros(of.outputs[0].shape),
            ),
        )


@dataclass(frozen=True, eq=False)
class Max(_Choice):
    """The largest of the inputs."""

    function = np.maximum
    onnx = "Max"
    of_truths = "Or"


@dataclass(frozen=True, eq=False)
class Min(_Choice):
    """The smallest of the inputs."""

    function = np.minimum
    onnx = "Min"
    of_truths = "And"


@dataclass(frozen=True, eq=False)
class Mean(Op):
    """The mean of the inputs."""

    computes_elements = True

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return np.broadcast_shapes(*shapes)

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        return self.run(*elements)[0]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (reduce(np.add, inputs) / len(inputs),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        total = reduce(lambda left, right: graph.op("Add", left, right), inputs)
        return (graph.op("Div", total, graph.const(float(len(inputs)))),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        terms = tuple(_element(x, at, input=k) for k, x in enumerate(inputs))
        return Contributions(terms, (Stage(f"divided by {len(inputs)}", float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return tuple(narrowed(mask, x.shape) for x in inputs)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        magnitude = sum(np.abs(x) for x in of.inputs)
        own = (len(of.inputs) + 1) * precision.unit * magnitude / len(of.inputs) + precision.tiny
        return (own + _total(of.slacks, of.outputs[0].shape) / len(of.inputs),)


@dataclass(frozen=True, eq=False)
class Concat(Rearrangement):
    """The inputs one after the other along ``axis``."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.concatenate(inputs, axis=self.axis),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Concat", *inputs, axis=self.axis),)

    def follow(self, where: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
        axis = self.axis % inputs[0].ndim
        stops = np.cumsum([x.shape[axis] for x in inputs])
        which = np.searchsorted(stops, where[:, axis], side="right")
        back = where.copy()
        back[:, axis] -= np.concatenate([[0], stops])[which]
        return which, back


@dataclass(frozen=True, eq=False)
class AddConstant(Op):
    """x plus a weight that broadcasts."""

    value: Weight
    computes_elements = True

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return np.broadcast_shapes(*shapes, self.value.value.shape)

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        return elements[0] + np.broadcast_to(self.value.value, shape)[where]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0] + self.value.value.astype(inputs[0].dtype),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Add", inputs[0], graph.weight(self.value)),)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        return {"value": of_broadcast(np.ones(inputs[0].shape), worth, self.value.value.shape)}

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        words = f"plus {named(self.value, place(self.value.value, at))}"
        return Contributions((_element(inputs[0], at),), (Stage(words, float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (narrowed(mask, inputs[0].shape),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        own = (
            precision.unit * (np.abs(of.inputs[0]) + 2 * np.abs(self.value.value)) + precision.tiny
        )
        return (own + _total(of.slacks, of.outputs[0].shape),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        if inputs[0].shape == np.broadcast_shapes(inputs[0].shape, self.value.value.shape):
            return where
        return None

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return without_rounding([], [inputs[0], self.value.value], precision)


@dataclass(frozen=True, eq=False)
class MulConstant(Op):
    """x times a weight that broadcasts."""

    value: Weight
    computes_elements = True

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        return np.broadcast_shapes(*shapes, self.value.value.shape)

    def at(self, elements: Arrays, where: Indices, shape: tuple[int, ...]) -> np.ndarray:
        return elements[0] * np.broadcast_to(self.value.value, shape)[where]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0] * self.value.value.astype(inputs[0].dtype),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("Mul", inputs[0], graph.weight(self.value)),)

    def weight_effects(self, inputs: Arrays, worth: np.ndarray | None) -> dict[str, np.ndarray]:
        return {"value": of_broadcast(inputs[0], worth, self.value.value.shape)}

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        words = f"times {named(self.value, place(self.value.value, at))}"
        return Contributions((_element(inputs[0], at),), (Stage(words, float(outputs[0][at])),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (narrowed(mask, inputs[0].shape),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        own = 2 * precision.unit * np.abs(of.outputs[0]) + precision.tiny
        return (own if of.slacks[0] is None else own + of.slacks[0] * np.abs(self.value.value),)

    def input_index(self, where: Indices, inputs: Arrays) -> Indices | None:
        if inputs[0].shape == np.broadcast_shapes(inputs[0].shape, self.value.value.shape):
            return where
        return None

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return without_rounding([(1, [inputs[0], self.value.value])], (), precision)
