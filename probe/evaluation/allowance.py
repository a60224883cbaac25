"""How far an honest evaluation of a layer, in the layer's own dtype, may lie from the float64
recomputation.

No tolerance is set by hand. Each op says what rounding may do to its output (``Op.error_bound``)
and what becomes of the slack its inputs arrive with; the allowance of a layer is that of its last
step.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe.evaluation.added_biases import with_bias_first
from probe.numerics.blocks import places
from probe.numerics.precision import UNBOUNDED, Precision, of_storing
from probe.numerics.sum_error import LOOK_BLOCK_TERMS, of_partial_sums, of_sums
from probe.ops import Add, AddConstant, Mul, Sub
from probe.ops.base import Evaluated, Op, Sum
from probe.ops.step import Step, weights_of

__all__ = [
    "LEAST_HOPE",
    "SumBounds",
    "Visible",
    "allowances",
    "carry",
    "rounded",
    "settle",
    "smallest_visible_change",
    "whole_at",
    "worst_case",
]

_OF_MASKS = (Add, Sub, Mul)
_LOOK_TERMS = 1 << 24
_LOOK_FIRST, _LOOK_BLOCK = 8, 256
LEAST_HOPE = 100
"""Minimum gain of a refinement; it gains no more than so many times more than a sum has terms,
where all err alike."""
Values = Sequence[tuple[np.ndarray, ...]]
"""The outputs of every step, as ``recompute`` keeps them."""
SumBounds = dict[tuple[int, Precision], tuple[np.ndarray, ...]]
"""What rounding may do in the sums among the steps whose inputs are exact, before it is stored."""


def allowances(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    look: tuple[int, tuple[np.ndarray, ...]] | None = None,
    exact: bool = False,
    sums: SumBounds | None = None,
) -> tuple[np.ndarray, ...]:
    """What rounding may do to each output of the last step, carried from step to step.

    ``look`` names a step and the indices of those of its elements whose true partial sums are to
    decide. With ``exact``, or where a step's outputs lie on a grid, each step is asked whether it
    rounds at all on these inputs. ``sums`` keeps what was found of sums of products, for another
    precision that computes them alike.
    """
    arrived = [rounded(x, precision) for x in inputs]
    carried: list[tuple[np.ndarray | None, ...]] = []
    grids = exact or any(step.op.on_power_of_two_grid or step.op.jumps for step in steps)
    with np.errstate(all="ignore"):
        for position, step in enumerate(steps):
            sources = step.sources(position)
            operands = [ref.of(inputs, values) for ref in sources]
            slacks = [ref.of(arrived, carried) for ref in sources]
            if not step.op.elementwise_error:
                slacks = [
                    slack if slack is None else slack.astype(np.float64, copy=False)
                    for slack in slacks
                ]
            where = look[1] if look is not None and look[0] == position else None
            kept = None
            if sums is not None and where is None:
                of = Evaluated(operands, slacks, values[position])
                kept = _kept(step.op, position, of, precision, sums)
            bounds = carry(
                step.op, operands, slacks, values[position], precision, grids, where, kept
            )
            more = None
            if isinstance(step.op, Add | AddConstant):
                more = with_bias_first(steps, position, inputs, values, precision)
            if more is not None and bounds[0] is not None:
                bounds = (bounds[0] + more, *bounds[1:])
            carried.append(bounds)
    return tuple(
        np.zeros(y.shape) if slack is None else slack
        for y, slack in zip(values[-1], carried[-1], strict=True)
    )


def rounded(x: np.ndarray, precision: Precision) -> np.ndarray | None:
    """How far an input is off that a party first rounds, or flushes; None where it takes it as it
    is."""
    if not precision.casts or x.dtype.kind != "f":
        return None
    sizes = np.where(np.isfinite(x), np.abs(x), 0.0)
    # A format holds whole numbers up to 1 / unit: an index given as a float is no other one in it.
    whole = (sizes == np.rint(sizes)) & (sizes <= 1 / precision.unit)
    if whole.all():
        return None
    off = np.maximum(precision.unit * sizes, np.minimum(sizes, precision.tiny))
    return np.where(whole, 0.0, off)


def _kept(
    op: Op, position: int, of: Evaluated, precision: Precision, sums: SumBounds
) -> tuple[np.ndarray, ...] | None:
    """What rounding may do in a sum of products on exact inputs, which is found once: half
    precision is computed as float32 is. None for any other op."""
    if not isinstance(op, Sum) or any(slack is not None for slack in of.slacks):
        return None
    key = position, replace(precision, name="", stored=0.0)
    if key not in sums:
        sums[key] = op.error_bound(of, precision)
    return sums[key]


def carry(
    op: Op,
    inputs: Sequence[np.ndarray],
    slacks: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    precision: Precision,
    grids: bool,
    where: tuple[np.ndarray, ...] | None = None,
    kept: tuple[np.ndarray, ...] | None = None,
) -> tuple[np.ndarray | None, ...]:
    """The allowance of one op, from what is ``kept`` of its own rounding where given; with
    ``grids`` None for outputs that are exact, since all they are made of is.

    Masks are made of ones and zeros in a few exact steps, and then multiplied by the least number
    of the type: a rounding of 1 - 1 would be more than all scores.
    """
    exact = None
    if grids and all(slack is None for slack in slacks) and op.is_exact(inputs, precision):
        return (None,) * len(outputs)
    if grids or (isinstance(op, _OF_MASKS) and _are_whole(inputs, slacks)):
        exact = op.exact_elements(Evaluated(inputs, slacks, outputs), precision)
    for slack in slacks:
        if exact is not None and slack is not None:
            exact = exact & (slack == 0)
    bound = kept
    if bound is None:
        bound = op.error_bound(Evaluated(inputs, slacks, outputs, where), precision)
    if exact is not None:
        bound = tuple(np.where(exact, 0.0, slack) for slack in bound)
    if any(slack is not None and slack.size and not slack.max() < UNBOUNDED for slack in slacks):
        bound = tuple(np.where(np.isnan(slack), UNBOUNDED, slack) for slack in bound)
    if precision.stored and op.stores:
        bound = tuple(
            _and_stored(op, inputs, y, slack, precision)
            for slack, y in zip(bound, outputs, strict=True)
        )
    bound = tuple(map(_of_numbers, bound, outputs))
    if grids:
        return tuple(slack if slack.any() else None for slack in bound)
    return bound


def _are_whole(inputs: Sequence[np.ndarray], slacks: Sequence[np.ndarray | None]) -> bool:
    """Whether all are whole numbers that are exact: what is made of others may be computed in
    another order, such as a mean that is taken off behind a factor."""
    return not any(slack is not None and slack.any() for slack in slacks) and all(
        x.dtype.kind in "biu" or bool((x == np.rint(x)).all()) for x in inputs
    )


def _and_stored(
    op: Op, inputs: Sequence[np.ndarray], y: np.ndarray, slack: np.ndarray, precision: Precision
) -> np.ndarray:
    """The allowance of an output, and what storing it and what is computed on the way may do."""
    if y.dtype.kind == "f":
        stored = (y, *op.intermediates(inputs, y))
        slack = sum((of_storing(part, precision) for part in stored), start=slack)
    return slack


def _of_numbers(bound: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The allowance with 0 where the output is infinite or NaN, which is rounded nowhere."""
    if outputs.dtype.kind != "f" or np.isfinite(bound.max(initial=0.0)):
        return bound
    return np.where(np.isfinite(outputs), bound, 0.0)


def settle(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    error: np.ndarray,
    allowed: np.ndarray,
    output: int = 0,
) -> np.ndarray:
    """The allowance of one output after a second look at its elements beyond ``allowed``, the worst
    first.

    Looking stops where an element stays beyond (the verdict is then certain) or where the terms
    gathered would no longer be few; the elements not reached are then given what the tightest
    looked-at element gained.
    """
    beyond, ratio = _beyond(error, allowed)
    most = max((np.size(x) for x in inputs), default=0)
    if beyond.size and any(step.op.refinable for step in steps) and ratio.max() < LEAST_HOPE + most:
        precision = replace(precision, refine=True)
        allowed = np.maximum(allowed, allowances(steps, inputs, values, precision)[output])
        beyond, ratio = _beyond(error, allowed)
    if not beyond.size:
        return allowed
    beyond = beyond[_largest_first(ratio)]
    refined = allowed.copy().ravel()
    seen, gain, budget = 0, np.inf, _LOOK_TERMS
    while seen < beyond.size and budget > 0:
        block = beyond[seen : seen + (_LOOK_BLOCK if seen else _LOOK_FIRST)]
        traced = _trace(steps, inputs, values, places(block, allowed.shape), output)
        if traced is None:
            return allowed
        position, where, cost = traced
        looked = allowances(steps, inputs, values, precision, (position, where))[output].ravel()[
            block
        ]
        gain = min(gain, float(np.min(looked / np.maximum(refined[block], np.finfo(float).tiny))))
        refined[block] = np.maximum(refined[block], looked)
        seen += block.size
        budget -= cost * block.size
        if (error.ravel()[block] > refined[block]).any():
            return refined.reshape(allowed.shape)
    if seen < beyond.size:
        refined[beyond[seen:]] *= max(gain, 1.0)
    return refined.reshape(allowed.shape)


def _beyond(error: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which elements lie beyond what is allowed, and how many times that."""
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.flatnonzero((error > allowed) & np.isfinite(error))
        return beyond, error.ravel()[beyond] / np.maximum(
            allowed.ravel()[beyond], np.finfo(float).tiny
        )


def _largest_first(ratio: np.ndarray, count: int = 1 << 14) -> np.ndarray:
    """An order in which the largest ``count`` come first, sorted; looking seldom gets further."""
    if ratio.size <= count:
        return np.argsort(-ratio, kind="stable")
    order = np.argpartition(-ratio, count)
    first = np.sort(order[:count])
    order[:count] = first[np.argsort(-ratio[first], kind="stable")]
    return order


def whole_at(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    where: tuple[np.ndarray, ...],
    error: np.ndarray,
) -> np.ndarray:
    """The allowance of single elements of the first output, for steps that do nothing but move the
    elements of one sum.

    Where the error lies beyond that, the true partial sums decide, as in ``settle``.
    """
    traced = _trace(steps, inputs, values, where)
    assert traced is not None
    position, at, count = traced
    op = steps[position].op
    operands = [ref.of(inputs, values) for ref in steps[position].sources(position)]
    assert op.terms is not None
    allowed = np.empty(len(error))
    step = max(1, LOOK_BLOCK_TERMS // max(1, count))
    for start in range(0, len(error), step):
        few = tuple(part[start : start + step] for part in at)
        terms = op.terms(operands, few)
        own = of_sums(count, values[position][0][few], np.square(terms).sum(axis=(1, 2)), precision)
        beyond = error[start : start + step] > own
        if beyond.any():
            own[beyond] = np.maximum(own[beyond], of_partial_sums(terms[beyond], precision))
        allowed[start : start + step] = own
    return allowed


def worst_case(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    index: tuple[int, ...],
    output: int = 0,
) -> float:
    """What no order of summation can exceed at one element of an output.

    Only sums have an allowance below their worst case; an element that comes from none of the last
    steps' sums is given the allowance it has, which counts every rounding.
    """
    where = tuple(np.array([at]) for at in index)
    traced = _trace(steps, inputs, values, where, output)
    look = None if traced is None else traced[:2]
    return float(
        allowances(steps, inputs, values, replace(precision, certain=True), look)[output][index]
    )


class Visible(NamedTuple):
    """The smallest change of a weight that shows."""

    change: float
    step: int
    """Whose weight it is."""
    allowed: np.ndarray
    """What its output is allowed."""


def smallest_visible_change(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    count: int = 64,
) -> Visible | None:
    """The smallest relative change of one weight that would have left the allowance, seen from
    ``count`` of the largest outputs.

    None where the outputs are not traced back to a sum, or see nothing.
    """
    last = values[-1][0]
    if not last.size or last.dtype.kind != "f":
        return None
    spread = np.linspace(0, last.size - 1, min(last.size, 64 * count)).astype(np.intp)
    sizes = np.abs(np.nan_to_num(last.ravel()[spread]))
    where = places(spread[np.argsort(-sizes, kind="stable")[:count]], last.shape)
    traced = _trace(steps, inputs, values, where)
    if traced is None or traced[2] * count > _LOOK_TERMS:
        return None
    position, where, _ = traced
    op = steps[position].op
    if not weights_of((steps[position],)):
        return None
    operands = [ref.of(inputs, values) for ref in steps[position].sources(position)]
    assert op.terms is not None
    largest = np.abs(op.terms(operands, where)).max(axis=(1, 2), initial=0.0)
    allowed = carry(op, operands, [None] * len(operands), values[position], precision, False)[0]
    assert allowed is not None
    with np.errstate(all="ignore"):
        seen = allowed[where] / largest
    seen = seen[np.isfinite(seen)]
    if seen.size:
        return Visible(float(seen.min()), position, allowed)
    return None


def _trace(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    where: tuple[np.ndarray, ...],
    output: int = 0,
) -> tuple[int, tuple[np.ndarray, ...], int] | None:
    """Follows elements of an output of the last step back to the sum they came from: (step, indices
    there, terms a sum), or None."""
    position = len(steps) - 1
    while position >= 0:
        step = steps[position]
        sources = step.sources(position)
        operands = [ref.of(inputs, values) for ref in sources]
        if step.op.terms is not None and not output:
            return position, where, step.op.term_count(operands, values[position])
        source = step.op.followed_input(output)
        back = None if source is None else step.op.input_index(where, operands)
        if source is None or back is None or sources[source].step < 0:
            return None
        where, position, output = back, sources[source].step, sources[source].index
    return None
