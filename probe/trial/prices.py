"""What trying a change costs, in operations, from the shapes of the arrays alone.

One operation is about a nanosecond of one processor. The prices were fitted to the processor time
of 149 searches, which they predict to within a third; what a search finds depends on none of that,
only on the prices themselves, which are the same everywhere.
"""

from collections.abc import Callable
from functools import partial, singledispatch

import numpy as np

from probe import ops
from probe.composition.called_again_step import CalledAgain
from probe.evaluation.allowance import Values
from probe.ops.base import Arrays, Elementwise, Op, Rearrangement, Sum

__all__ = [
    "CANDIDATE",
    "CHANGE",
    "LISTED",
    "STEP",
    "allowance_price",
    "multiplied",
    "price",
    "solving",
    "terms_price",
]

CANDIDATE = 200_000.0
"""An edit that is scored, without the steps that are run for it."""
CHANGE = 12_500.0
"""A change of any step, without the steps that are run for it."""
LISTED = 22_000.0
"""A change that is listed before any is tried."""
STEP = 8_000.0
"""A step that is run, however small."""
_PRODUCT, _PRODUCT_OF_CONV = 0.04, 0.07
"""A product that is added to others."""
_TERM, _TERMS_OF_ATTENTION = 8.0, 2_500_000.0
"""A term of a sum that is looked up by itself; attention computes all of them first."""
_TIME_STEP = 15_000.0
"""A step of a recurrence in time, however narrow."""
_WEIGHT = 0.25
"""An entry of a weight that is read for a matrix multiplication, however few rows that has."""
_ATTENTION, _SCORE = 40_000.0, 5.0
"""Attention, however small, and a score of it, which goes through softmax."""
_UNKNOWN = 10_000_000.0
"""A function of the user's own, of which nothing is known."""
_CALL = 100_000.0
"""A function of the framework, beside its elements."""
_SOLVED = 0.1
_ALLOWED_STEP, _ALLOWED_ELEMENT = 60_000.0, 12.0
"""What rounding may do in a step, and to an element."""


@singledispatch
def price(op: Op, inputs: Arrays, outputs: Arrays) -> float:
    """What it costs to run an op once, beyond what any step costs: elements read and written, and
    products that are summed. Ops that run others register a price of their own."""
    return _elements(1.0, op, inputs, outputs)


def multiplied(weights: int, rows: int) -> float:
    """The price of matrices of so many entries in all that so many rows are multiplied with."""
    return (_WEIGHT + _PRODUCT * rows) * weights


def solving(rows: int, columns: int, *, systems: int = 1) -> float:
    """The price of linear systems that are solved by normal equations or least squares."""
    return _SOLVED * systems * columns**2 * (rows + columns)


def terms_price(op: Op, terms: np.ndarray) -> float:
    """The price of the terms of some elements of a sum."""
    return _TERM * terms.size + (_TERMS_OF_ATTENTION if isinstance(op, ops.Attention) else 0.0)


def allowance_price(values: Values) -> float:
    """The price of what rounding may do to a layer whose steps give these values."""
    elements = sum(y.size for outputs in values for y in outputs)
    return _ALLOWED_STEP * len(values) + _ALLOWED_ELEMENT * elements


def _elements(each: float, op: Op, inputs: Arrays, outputs: Arrays) -> float:
    return each * (sum(x.size for x in inputs) + sum(y.size for y in outputs))


def _summed(each: float, op: Sum, inputs: Arrays, outputs: Arrays) -> float:
    weight = getattr(op, "weight", None)
    held = 0.0 if weight is None else _WEIGHT * weight.value.size
    count = op.term_count(inputs, outputs) * outputs[0].size
    return held + each * count + _elements(1.0, op, inputs, outputs)


@price.register
def _(op: ops.Attention, inputs: Arrays, outputs: Arrays) -> float:
    count: int = op.term_count(inputs, outputs) * outputs[0].size
    scores: float = count / max(1, outputs[0].shape[-1])
    computed = _ATTENTION + 2 * _PRODUCT * count + _SCORE * scores
    return computed + _elements(3.0, op, inputs, outputs)


@price.register
def _(op: ops.Recurrence, inputs: Arrays, outputs: Arrays) -> float:
    steps, batch, *_ = inputs[0].shape
    held: int = op.kernel.value.size + op.recurrent.value.size
    return float(steps * (_TIME_STEP + multiplied(held, batch)))


@price.register
def _(op: ops.Recomputed, inputs: Arrays, outputs: Arrays) -> float:
    return _UNKNOWN + _elements(1.0, op, inputs, outputs)


@price.register
def _(op: CalledAgain, inputs: Arrays, outputs: Arrays) -> float:
    return _CALL + _elements(20.0, op, inputs, outputs)


_PRICES: dict[Callable[..., float], tuple[type[Op], ...]] = {
    partial(_elements, 0.3): (Rearrangement,),
    partial(_elements, 0.5): (ops.Add, ops.Sub, ops.Mul),
    partial(_elements, 2.0): (
        ops.BatchNormalization,
        ops.LayerNormalization,
        ops.GroupNormalization,
        ops.RMSNormalization,
    ),
    partial(_elements, 3.0): (Elementwise,),
    partial(_elements, 4.5): (ops.Softmax, ops.LogSoftmax),
    partial(_summed, _PRODUCT): (Sum,),
    partial(_summed, _PRODUCT_OF_CONV): (ops.Conv, ops.ConvTranspose),
}
for _function, _kinds in _PRICES.items():
    for _kind in _kinds:
        price.register(_kind, _function)
