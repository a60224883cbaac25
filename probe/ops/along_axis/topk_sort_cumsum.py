"""Ops that go along one axis in order: the largest and their places, sorting, and running sums and
products."""

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from probe.numerics.precision import SIGMAS, Precision
from probe.numerics.sum_error import of_axes
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.contributions import Contributions, Stage, Terms, box
from probe.ops.engine_differences import PLACE_OF_NAN

__all__ = ["ArgMax", "ArgMin", "CumProd", "CumSum", "TopK"]


def _line(x: np.ndarray, axis: int, at: tuple[int, ...], upto: slice = slice(None)) -> np.ndarray:
    """The elements of x in line with a place along ``axis``."""
    axis %= x.ndim
    return box(
        [
            range(size)[upto] if k == axis else i
            for k, (size, i) in enumerate(zip(x.shape, at, strict=True))
        ]
    )


@dataclass(frozen=True, eq=False)
class ArgMax(Op):
    """The place of the largest element along ``axis``, of equal ones the first."""

    axis: int
    keepdims: bool = False
    engine_differences = (PLACE_OF_NAN,)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(np.argmax(inputs[0], axis=self.axis, keepdims=self.keepdims)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (
            graph.op(type(self).__name__, inputs[0], axis=self.axis, keepdims=int(self.keepdims)),
        )

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        axis = self.axis % inputs[0].ndim
        full = at if self.keepdims else (*at[:axis], 0, *at[axis:])
        members = _line(inputs[0], axis, full)
        return Contributions(
            (),
            (
                Stage(
                    f"{self.title(inputs)}, {len(members)} of them",
                    float(outputs[0][at]),
                    Terms(members),
                ),
            ),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        full = mask if self.keepdims else np.expand_dims(mask, self.axis)
        return (np.broadcast_to(full, inputs[0].shape),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        if slack is None:
            return (np.zeros(y.shape),)
        place = y if self.keepdims else np.expand_dims(y, self.axis)
        best = np.take_along_axis(x, place, self.axis)
        rivals = np.abs(x - best) <= slack + np.take_along_axis(slack, place, self.axis)
        unsure = np.where(
            rivals.sum(axis=self.axis, keepdims=self.keepdims) > 1, x.shape[self.axis], 0
        )
        return (
            np.where(slack.any(axis=self.axis, keepdims=self.keepdims), unsure, 0).astype(float),
        )


@dataclass(frozen=True, eq=False)
class ArgMin(ArgMax):
    """The place of the smallest element along ``axis``, of equal ones the first."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(np.argmin(inputs[0], axis=self.axis, keepdims=self.keepdims)),)


@dataclass(frozen=True, eq=False)
class TopK(Op):
    """The ``k`` largest (or smallest) elements along ``axis`` in order, and their places; of equal
    ones the first come first.

    Frameworks that are not ``stable`` do not say which of equal ones come first, and may give the
    place of any of them.
    """

    k: int
    axis: int
    largest: bool = True
    stable: bool = True
    stores = False
    output_count = 2

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        if self.largest:  # sorting the reversed line backwards keeps equal ones in their order
            order = (
                x.shape[self.axis]
                - 1
                - np.flip(
                    np.argsort(np.flip(x, self.axis), axis=self.axis, kind="stable"), self.axis
                )
            )
        else:
            order = np.argsort(x, axis=self.axis, kind="stable")
        places = np.take(order, np.arange(self.k), axis=self.axis)
        return np.take_along_axis(x, places, self.axis), places

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return graph.ops(
            "TopK",
            inputs[0],
            graph.const([self.k]),
            outputs=2,
            axis=self.axis,
            largest=int(self.largest),
            sorted=1,
        )

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        words = f"number {at[self.axis]} of the {'largest' if self.largest else 'smallest'}"
        place = list(at)
        place[self.axis] = int(outputs[1][at])
        return Contributions(
            (Terms(np.array([place])),),
            (Stage(words, float(outputs[0][at]), Terms(_line(inputs[0], self.axis, at))),),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=self.axis, keepdims=True), inputs[0].shape),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (values, places) = of.inputs, of.slacks, of.outputs
        if slack is None or not values.size:
            return np.zeros(values.shape), np.zeros(places.shape)
        most = slack.max(axis=self.axis, keepdims=True)
        # The first that is left out may come in last.
        size = x.shape[self.axis]
        in_order = replace(self, k=min(self.k + 1, size)).run(x)[0]
        gaps = np.abs(np.diff(in_order, axis=self.axis, prepend=np.inf, append=np.inf))
        close = (gaps <= 2 * most) & (most > 0)
        unsure = np.take(close, np.arange(self.k), axis=self.axis) | np.take(
            close, np.arange(1, self.k + 1), axis=self.axis
        )
        return np.array(np.broadcast_to(most, values.shape)), np.where(unsure, float(size), 0.0)

    def equally_right(
        self,
        inputs: Arrays,
        outputs: Arrays,
        output: int,
        theirs: np.ndarray,
    ) -> np.ndarray | None:
        """Where the places that a party gives hold the same numbers, each place given once."""
        if self.stable or output != 1:
            return None
        x, places = inputs[0], outputs[1]
        size = x.shape[self.axis]
        inside = (theirs >= 0) & (theirs < size) & (theirs == np.floor(theirs))
        theirs = np.where(inside, theirs, 0).astype(np.intp)
        found, wanted = (np.take_along_axis(x, at, self.axis) for at in (theirs, places))
        once = (np.diff(np.sort(theirs, axis=self.axis), axis=self.axis) != 0).all(
            axis=self.axis, keepdims=True
        )
        return np.asarray(
            once & inside & ((found == wanted) | ((found != found) & (wanted != wanted)))
        )


@dataclass(frozen=True, eq=False)
class CumSum(Op):
    """The sum of the elements so far along ``axis``: added one after the other, so that the partial
    sums are the outputs."""

    axis: int
    refinable = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.cumsum(inputs[0], axis=self.axis),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (graph.op("CumSum", inputs[0], graph.const(self.axis)),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions((Terms(_line(inputs[0], self.axis, at, slice(0, at[self.axis] + 1))),))

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (
            np.flip(np.logical_or.accumulate(np.flip(mask, self.axis), axis=self.axis), self.axis),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (slack,), (y,) = of.slacks, of.outputs
        # Kernels may also sum in blocks, whose partial sums are differences of these.
        squares = 4 * np.cumsum(np.square(y + 0.0), axis=self.axis)
        own = (
            SIGMAS * precision.unit / np.sqrt(3) * np.sqrt(squares)
            + precision.tiny * y.shape[self.axis]
        )
        if precision.refine and precision.unit and y.size:
            x = of.inputs[0] + 0.0
            total, size = (terms.sum(axis=self.axis, keepdims=True) for terms in (x, np.square(x)))
            looked = of_axes(x, (self.axis,), total, size, precision)
            # Terms that err alike do so the more, the more they are.
            own *= np.fmax(looked / np.take(own, [-1], axis=self.axis), 1.0)
        if slack is None:
            return (own,)
        return (own + np.sqrt(np.cumsum(np.square(slack), axis=self.axis)),)


@dataclass(frozen=True, eq=False)
class CumProd(Op):
    """The product of the elements so far along ``axis``."""

    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (np.cumprod(inputs[0], axis=self.axis),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        count = graph.shape(inputs[0])[self.axis]
        parts = [
            graph.op("Gather", inputs[0], graph.const([i]), axis=self.axis) for i in range(count)
        ]
        products = [
            reduce(lambda left, right: graph.op("Mul", left, right), parts[: i + 1])
            for i in range(count)
        ]
        return (graph.op("Concat", *products, axis=self.axis),)

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        members = _line(inputs[0], self.axis, at, slice(0, at[self.axis] + 1))
        return Contributions(
            (),
            (
                Stage(
                    f"the product of {len(members)} elements",
                    float(outputs[0][at]),
                    Terms(members),
                ),
            ),
        )

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (
            np.flip(np.logical_or.accumulate(np.flip(mask, self.axis), axis=self.axis), self.axis),
        )

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        own = x.shape[self.axis] * precision.unit * np.abs(y) + precision.tiny
        if slack is None:
            return (own,)
        return (own + np.cumprod(np.abs(x) + slack, axis=self.axis) - np.abs(y),)
