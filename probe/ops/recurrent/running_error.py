"""Ball arithmetic (running error analysis): values and how far each may be off, for ops that are
formulas of several parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe.numerics.precision import Precision
from probe.numerics.sum_error import of_partial_sums, of_sums
from probe.ops.base import Arrays, Evaluated, Op, Sum
from probe.ops.elementwise.activation import Sigmoid, Tanh
from probe.ops.elementwise.composed import Chain
from probe.ops.exactness import held, without_rounding
from probe.ops.linear.matmul import MatMul

__all__ = ["Ball", "Rounded", "summed"]

_WALKS = 1 << 26
_SKETCHED = 12
"""ONNX Runtime 1.32 errs by up to 10 units in a GRU's sigmoid and tanh; an RNN's tanh is 2
sigmoid(2 x) - 1, off by 3 near 0 too."""

Method = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Ball:
    """Values, the midpoints, and how far each may be off, the radii."""

    value: np.ndarray
    slack: np.ndarray

    def __getitem__(self, key: Any) -> "Ball":
        return Ball(self.value[key], self.slack[key])

    @staticmethod
    def exactly(value: np.ndarray) -> "Ball":
        return Ball(value, np.zeros(value.shape))

    @staticmethod
    def joined(parts: Sequence["Ball"]) -> "Ball":
        return Ball(
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.slack for part in parts]),
        )

    def where(self, keep: np.ndarray, other: "Ball") -> "Ball":
        """These where ``keep``, the others elsewhere."""
        return Ball(
            np.where(keep, self.value, other.value), np.where(keep, self.slack, other.slack)
        )


@dataclass(frozen=True, eq=False)
class Rounded:
    """The arithmetic of a precision: every operation rounds its result, and passes on what its
    operands are off by."""

    precision: Precision
    grids: bool = False
    """Whether numbers may be on grids of powers of two, so that sums may be exact."""

    def _rounded(self, value: np.ndarray, slack: np.ndarray) -> Ball:
        own = self.precision.unit * np.abs(value) + self.precision.tiny
        if self.grids:
            exact = slack == 0
            own = np.where(exact & held(value, self.precision), 0.0, own)
        slack = slack + own
        return Ball(value, np.where(np.isfinite(slack), slack, 0.0))

    def add(self, first: Ball, second: Ball) -> Ball:
        return self._rounded(first.value + second.value, first.slack + second.slack)

    def mul(self, first: Ball, second: Ball) -> Ball:
        slack = (
            np.abs(first.value) * second.slack
            + np.abs(second.value) * first.slack
            + first.slack * second.slack
        )
        return self._rounded(first.value * second.value, slack)

    def rest(self, part: Ball) -> Ball:
        """1 - part."""
        return self._rounded(1.0 - part.value, part.slack)

    def apply(self, op: Op, x: Ball) -> Ball:
        """An op of one input."""
        if isinstance(op, Chain):
            for part in op.parts:
                x = self.apply(part, x)
            return x
        (y,) = op.run(x.value)
        if not isinstance(op, Sigmoid | Tanh):
            return Ball(
                y, op.error_bound(Evaluated((x.value,), (x.slack,), (y,)), self.precision)[0]
            )
        # By Taylor's theorem, with the largest second derivative: cheaper than to evaluate the
        # function on either side.
        if isinstance(op, Sigmoid):
            steep, bend = (y * (1.0 - y), 0.049)
        else:
            steep, bend = (1.0 - y * y, 0.385)
        units = op.roundings * op.scale(x.value, y) + (
            _SKETCHED if self.precision.sketches else 0.0
        )
        slack = (
            np.minimum(x.slack * (steep + bend * x.slack), 2.0)
            + self.precision.unit * units
            + self.precision.tiny
        )
        return Ball(y, np.where(np.isfinite(slack), slack, 0.0))


def summed(
    a: Rounded,
    parts: Sequence[tuple[Sum, Ball]],
    biases: Sequence[np.ndarray | None],
    through: Callable[[Method, np.ndarray], np.ndarray],
) -> Ball:
    """Products of sequences (steps, batch, ...) added up, and biases (columns,), in an order that
    nobody knows.

    ``through`` applies a product to a whole sequence.
    """
    added = [
        bias.reshape(-1, *(1,) * (parts[0][1].value.ndim - 3))
        for bias in biases
        if bias is not None
    ]
    sharp = a.precision.certain
    total, sizes = np.zeros(()), np.zeros(())
    for bias in added:
        total, sizes = total + bias, sizes + (np.abs(bias) if sharp else np.square(bias))
    count, incoming = len(added), np.zeros(())
    for op, x in parts:
        total = total + through(_plainly(op), x.value)
        if sharp:
            sizes = sizes + through(_plainly(_absolute(op)), np.abs(x.value))
        else:
            sizes = sizes + through(_squared(op), x.value)
        count += op.term_count([x.value], [])
        if x.slack.any():
            incoming = incoming + through(op.propagate, x.slack)
    if sharp:
        own = (count + 2 * a.precision.casts) * a.precision.unit * sizes + count * a.precision.tiny
    else:
        own = of_sums(count, total, sizes, a.precision, owned=True)
        if a.precision.refine_steps and all(isinstance(op, MatMul) for op, _ in parts):
            own = np.maximum(own, _walked(parts, added, a.precision))
    if (
        a.grids
        and not any(x.slack.any() for _, x in parts)
        and all(isinstance(op, MatMul) for op, _ in parts)
    ):
        products = [(op.weight.value.shape[0], [x.value, op.weight.value]) for op, x in parts]  # type: ignore[attr-defined]
        if without_rounding(products, added, a.precision):
            own = np.zeros(total.shape)
    return Ball(total, np.where(np.isfinite(own), own, 0.0) + incoming)


def _walked(parts: Sequence[tuple[Any, Ball]], biases: Arrays, precision: Precision) -> np.ndarray:
    """The allowance of sums by their true partial sums, column by column of the products; 0 where
    that would be too much."""
    lead, columns = parts[0][1].value.shape[:-1], parts[0][0].weight.value.shape[1]
    rows = [x.value.reshape(-1, x.value.shape[-1]) for _, x in parts]
    if sum(part.size for part in rows) * columns > _WALKS:
        return np.zeros((*lead, columns))
    weights = [op.weight.value.astype(np.float64) for op, _ in parts]
    found = np.zeros((len(rows[0]), columns))
    for at in range(columns):
        terms = [row * weight[:, at] for row, weight in zip(rows, weights, strict=True)]
        terms += [np.full((len(rows[0]), 1), bias[at]) for bias in biases]
        found[:, at] = of_partial_sums(np.concatenate(terms, axis=1)[:, :, None], precision)
    return found.reshape(*lead, columns)


def _plainly(op: Sum) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: op.run(x)[0]


def _squared(op: Sum) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: op.sum_of_squares([x])


def _absolute(op: Any) -> Any:
    """The same sum with the absolute values of its weight."""
    return replace(op, weight=replace(op.weight, effective=np.abs(op.weight.effective)))
