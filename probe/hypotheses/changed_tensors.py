"""Mistakes that nobody listed: a tensor within a layer, or a parameter, is turned, moved, read in
another order, scaled, or goes through an activation too many."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain, zip_longest

import numpy as np

from probe import ops
from probe.hypotheses.activation import COMMON
from probe.hypotheses.case import Case, Edit
from probe.hypotheses.changes import Change, inserted
from probe.hypotheses.mapped_tensors import axis_name, batched, mapped, tensors_of
from probe.hypotheses.registry import hypothesis
from probe.hypotheses.reproducing import reproducing
from probe.hypotheses.step_words import tensor_name
from probe.hypotheses.tensor_maps import Map, maps, scalings, whole_numbers
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

__all__: list[str] = []


@hypothesis("scaled-tensor", last=True)
def scaled_tensor(case: Case) -> Iterator[Edit]:
    """A tensor within the layer, or a parameter, is multiplied by a common factor, squared, rounded
    or changed element by element in another way.

    Such as a factor 1/255, -1 or the square root of a size, 1 added, the absolute value taken, or a
    cast to fewer bits.
    """
    yield from reproducing(case, _scaled, "scaled-tensor", parts_alone=True)


def _scaled(case: Case) -> Iterator[Change]:
    """The commonest factors of all tensors, then others."""
    each = []
    for ref in tensors_of(case) if not case.inner else ():
        x = ref.of(case.inputs, case.values)
        some = scalings(x.shape) if x.dtype.kind == "f" else iter(())
        if x.dtype.kind != "f" or (x.size > 1 and np.array_equal(x, np.rint(x))):
            some = chain(whole_numbers(), some)
        each.append([change for one in some for change in mapped(case, ref, one)])
    for turn in zip_longest(*each):
        yield from (change for change in turn if change is not None)
    yield from _weights(case, scalings)


@hypothesis("extra-step", last=True)
def extra_step(case: Case) -> Iterator[Edit]:
    """An activation is applied within the layer where the layer has none.

    A ReLU between the two convolutions of a separable one, a second softmax, an activation after
    the last convolution of a block.
    """
    yield from reproducing(case, _extra, "extra-step", parts_alone=True)


def _extra(case: Case) -> Iterator[Change]:
    for ref in tensors_of(case) if not case.inner else ():
        for name, op in COMMON:
            what = f"{name} is applied to {tensor_name(case, ref)}"
            yield inserted(case, ref, Step(op, (ref,)), what, ("extra", name))


@hypothesis("rearranged-tensor", last=True)
def rearranged_tensor(case: Case) -> Iterator[Edit]:
    """A tensor within the layer, or a parameter, is transposed, reversed, shifted or read in
    another order.

    Reversed or rolled along an axis, reshaped instead of transposed, with its halves exchanged,
    interleaved instead of split, tiled instead of repeated, shifted by one, or its first slice used
    for all.
    """
    yield from reproducing(case, _rearranged, "rearranged-tensor", parts_alone=True)


def _rearranged(case: Case) -> Iterator[Change]:
    for ref in tensors_of(case, moved=True):
        x = ref.of(case.inputs, case.values)
        if x.size > 1:
            for one in maps(x.shape, partial(axis_name, case, ref), batched(case, ref)):
                yield from mapped(case, ref, one)
        yield from _along_another_axis(case, ref)
    yield from _weights(case, lambda shape: maps(shape, "axis {}".format, False))


def _along_another_axis(case: Case, ref: Ref) -> Iterator[Change]:
    """A vector that lies along one axis of what it is added to or multiplied with, along
    another."""
    x = ref.of(case.inputs, case.values)
    axes = [axis for axis, size in enumerate(x.shape) if size > 1]
    if len(axes) != 1:
        return
    for position, step in enumerate(case.steps):
        sources = step.sources(position)
        if ref not in sources or not isinstance(step.op, ops.Add | ops.Mul | ops.Sub | ops.Div):
            continue
        whole = np.shape(case.values[position][0])
        mine = axes[0] + len(whole) - x.ndim
        for axis, size in enumerate(whole):
            if axis not in (mine, 0) and size == x.size:
                shape = tuple(size if k == axis else 1 for k in range(len(whole)))
                what = f"{tensor_name(case, ref)} runs along axis {axis} of {whole}, not {mine}"
                turned = Step(ops.Reshape(shape), (ref,))
                yield inserted(case, ref, turned, what, user=position)


@dataclass(frozen=True, eq=False)
class _WithMapped(Op):
    """An op with one of its parameters mapped in the framework's layout."""

    op: Op
    name: str
    map: Map

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        weight = getattr(self.op, self.name)
        changed = self.map.function(weight.effective.astype(np.float64))
        return replace(self.op, **{self.name: replace(weight, effective=changed)}).run(*inputs)


def _weights(case: Case, of: Callable[[tuple[int, ...]], Iterator[Map]]) -> Iterator[Change]:
    """A parameter that an op holds, mapped."""
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        for part in fields(op):
            weight = getattr(op, part.name)
            if isinstance(op, ops.Parameter) or not isinstance(weight, Weight):
                continue
            shape = weight.effective.shape
            for one in of(shape) if weight.effective.size > 1 else ():
                step = Step(_WithMapped(op, part.name, one), case.steps[position].sources(position))
                what = f"{weight.name} {shape} is {one.words}"
                yield Change(
                    what, "", {position: step}, key=("weight", type(op), part.name, one.words)
                )
