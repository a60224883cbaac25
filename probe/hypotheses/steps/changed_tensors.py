"""Mistakes that nobody listed: a tensor within a layer, or a parameter, is turned, moved, read in
another order, scaled, or goes through an activation too many."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import writer_of, writes
from probe.by_hand.values import Value
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.mapped_tensors import axis_name, extra, mapped, rearranged, scaled
from probe.hypotheses.edits.tensor_maps import Map, maps, scalings
from probe.hypotheses.registry import hypothesis, more
from probe.ops.base import Arrays, Op
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of
from probe.trial.change import Change
from probe.trial.prices import price

__all__ = ["of_weights"]


@hypothesis("scaled-tensor")
def scaled_tensor(case: Case) -> Iterator[Changes]:
    """A tensor within the layer, or a parameter, is multiplied by a common factor, squared, rounded
    or changed element by element in another way.

    Such as a factor 1/255, -1 or the square root of a size, 1 added, the absolute value taken, or a
    cast to fewer bits.
    """
    yield Changes(_scaled, "scaled-tensor", PARTS)


def _scaled(case: Case) -> Iterator[Change]:
    yield from scaled(case)
    yield from of_weights(case, lambda x: scalings(x.shape))


@hypothesis("extra-step")
def extra_step(case: Case) -> Iterator[Changes]:
    """An activation or a norm is applied within the layer where the layer has none.

    A ReLU between the two convolutions of a separable one, a second softmax, an activation after
    the last convolution of a block, the encoder's output normalised like the queries.
    """
    yield Changes(extra, "extra-step", PARTS)


@hypothesis("rearranged-tensor")
def rearranged_tensor(case: Case) -> Iterator[Changes]:
    """A tensor within the layer, or a parameter, is transposed, reversed, shifted or read in
    another order.

    Reversed or rolled along an axis, reshaped instead of transposed, with its halves exchanged,
    interleaved instead of split, tiled instead of repeated, shifted by one, or its first slice used
    for all.
    """
    yield Changes(_rearranged, "rearranged-tensor", PARTS)


def _rearranged(case: Case) -> Iterator[Change]:
    yield from rearranged(case)
    yield from of_weights(case, lambda x: maps(x.shape, "axis {}".format, False))


_MAPPED = 4.0
"""The price of an entry of a parameter that is mapped."""


@dataclass(frozen=True, eq=False)
class _WithMapped(Op):
    """An op with one of its parameters mapped in the framework's layout."""

    op: Any
    """An ``Op``, and no activation, which a field of that type is and which others take the place
    of."""
    name: str
    map: Map

    @property
    def changed(self) -> Op:
        """The op with the parameter mapped."""
        weight = getattr(self.op, self.name)
        changed = self.map.function(weight.effective.astype(np.float64))
        op: Op = replace(self.op, **{self.name: replace(weight, effective=changed)})
        return op

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.changed.run(*inputs)


@writes(_WithMapped)
def _by_hand(op: _WithMapped, w: Any, *values: Value) -> Any:
    changed = op.changed
    return writer_of(changed)(changed, w, *values)


@price.register
def _(op: _WithMapped, inputs: Arrays, outputs: Arrays) -> float:
    held: int = getattr(op.op, op.name).effective.size
    return price(op.op, inputs, outputs) + _MAPPED * held


def of_weights(case: Case, of: Callable[[np.ndarray], Iterator[Map]]) -> Iterator[Change]:
    """A parameter that an op holds, mapped."""
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        for part in fields(op):
            weight = getattr(op, part.name)
            if isinstance(op, ops.Parameter) or not isinstance(weight, Weight):
                continue
            shape = weight.effective.shape
            for way in of(weight.effective) if weight.effective.size > 1 else ():
                step = Step(_WithMapped(op, part.name, way), case.steps[position].sources(position))
                what = f"{weight.name} {shape} is {way.words}"
                yield Change(
                    what, "", {position: step}, key=("weight", type(op), part.name, way.words)
                )


@more("rearranged-tensor")
def statistics_elsewhere(case: Case) -> Iterator[Changes]:
    """Means, variances and the like of the first, the last or the one before for all, or carried on
    from one to the next."""
    yield Changes(_statistics, "rearranged-tensor")


_STATISTICS = (
    *(ops.ReduceMean, ops.ReduceSum, ops.ReduceMax, ops.ReduceMin, ops.ReduceSumSquare),
    *(ops.ReduceStd, ops.ReduceVar),
)


def _statistics(case: Case) -> Iterator[Change]:
    """Those over the same axes together, and each alone."""
    groups: dict[object, list[Ref]] = {}
    for position, op in case.having(*_STATISTICS):
        ref = Ref(position)
        if np.prod(shape_of(case, ref)) > 1:
            groups.setdefault((op.axes, shape_of(case, ref)), []).append(ref)
    for group in groups.values():
        shape, along = shape_of(case, group[0]), partial(axis_name, case, group[0])
        ways = list(maps(shape, along, False))
        for some in (group, *([ref] for ref in group if len(group) > 1)):
            for way in ways:
                change = all_of([next(mapped(case, ref, way)) for ref in some], case.steps)
                yield from filter(None, [change])
