"""The tensors of a flow, and a map of one of them as a change of the layer. Nothing is registered
here, so that importing it leaves the order in which mistakes are tried."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.altered import expressed, moved
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import Value
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.grouped_changes import in_turn
from probe.hypotheses.edits.rewriting import inserted
from probe.hypotheses.edits.step_words import listed, step_name, tensor_name
from probe.hypotheses.edits.tensor_maps import Map, maps, scalings, whole_numbers
from probe.ops.base import Elementwise, Op, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__ = ["axis_name", "batched", "extra", "mapped", "rearranged", "scaled", "tensors_of"]


_SMALL = 1 << 16
"""So many elements of a mask are mapped once more, to see what is left of it."""


def tensors_of(case: Case, moved: bool = False) -> Iterator[Ref]:
    """The tensors of a flow, the last ones first; of those whose elements are ``moved`` none that
    only one step takes that acts on each element alone: it may happen behind that."""
    users = users_of(case)
    for position in range(len(case.steps) - 1, -2, -1):
        made = case.inputs if position < 0 else case.values[position]
        for index, array in enumerate(made):
            taken = users.get(Ref(position, index), [])
            alone = moved and len(taken) == 1 and _alone(case.steps[taken[0]].op)
            number = position >= 0 and not case.steps[position].sources(position)
            if (taken or position == len(case.steps) - 1) and not alone:
                if not number or np.size(array) > 1:
                    yield Ref(position, index)


def _alone(op: Op) -> bool:
    return isinstance(op, Elementwise) and not isinstance(op, Rearrangement) and op.pointwise


def batched(case: Case, ref: Ref) -> bool:
    """Whether the first axis of a tensor is that of the samples. Where the second is as long, as of
    an adjacency matrix, it may not be."""
    if ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Constant | ops.Parameter):
        return False
    shape = np.shape(ref.of(case.inputs, case.values))
    if len(shape) > 1 and shape[0] == shape[1]:
        return False
    return bool(shape) and bool(case.inputs) and shape[:1] == case.inputs[0].shape[:1]


def axis_name(case: Case, ref: Ref, axis: int) -> str:
    shape = np.shape(ref.of(case.inputs, case.values))
    last = ref.step == len(case.steps) - 1
    if last and len(case.output_axes) == len(shape):
        return f"axis {axis} ({case.output_axes[axis]})"
    return f"axis {axis} of {tuple(shape)}"


@dataclass(frozen=True, eq=False)
class _Mapped(Op):
    """A map of a tensor."""

    map: Map

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(self.map.function(inputs[0])),)


@dataclass(frozen=True, eq=False)
class _MappedParameter(Op):
    """A parameter that is mapped wherever it is used."""

    op: ops.Parameter
    map: Map

    @property
    def in_words(self) -> str:
        return self.op.weight.name

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(self.map.function(self.op.run()[0])),)


@writes(_MappedParameter)
def _by_hand(op: _MappedParameter, w: Any) -> Value:
    return _written(op.map, w.weight(op.op.weight), op.op.run()[0])


@writes(_Mapped)
def _tensor_by_hand(op: _Mapped, w: Any, x: Value) -> Value:
    (source,) = w.computation.steps[w.position].sources(w.position)
    return _written(op.map, x, source.of(w.computation.inputs, w.computation.values))


def _written(way: Map, x: Value, array: np.ndarray) -> Value:
    made = moved(x, way.function) if way.rearranges else None
    if made is None:
        made = expressed(x, array, np.asarray(way.function(array)))
    if made is None:
        raise Unwritten("a map of a tensor")
    return made


def mapped(case: Case, ref: Ref, way: Map) -> Iterator[Change]:
    op = case.steps[ref.step].op if ref.step >= 0 else None
    if isinstance(op, ops.Parameter):
        what = f"{listed([op.weight.name])} {way.words}"
        # The parameters of one name in all calls, or of one place in all cells.
        which = ref.step if case.inner else op.weight.name.rpartition(".")[2]
        key = ("parameter", which, way.words.replace(str(op.run()[0].shape), ""))
        yield Change(what, "", {ref.step: Step(_MappedParameter(op, way), ())}, key=key)
        yield from _at_each(case, ref, way, what)
        return
    what = f"{listed([tensor_name(case, ref)])} {way.words}"
    yield inserted(case, ref, Step(_Mapped(way), (ref,)), what)
    yield from _at_each(case, ref, way, what)


def _at_each(case: Case, ref: Ref, way: Map, what: str) -> Iterator[Change]:
    """The map where one of few steps takes the tensor."""
    users, step = users_of(case).get(ref, ()), Step(_Mapped(way), (ref,))
    for user in users if 1 < len(users) <= 3 else ():
        told = f"{what} where {step_name(case, user)} takes it"
        yield inserted(case, ref, step, told, user=user)


def _all_mapped(case: Case, ref: Ref, some: Iterable[Map]) -> Iterator[Change]:
    for way in some:
        yield from mapped(case, ref, way)


def scaled(case: Case, few: int | None = None) -> Iterator[Change]:
    """The commonest factors of all tensors, then others, or ``few`` of each."""
    each = []
    for ref in tensors_of(case) if not case.inner else ():
        x = ref.of(case.inputs, case.values)
        some = scalings(x.shape) if x.dtype.kind == "f" else iter(())
        if _is_mask(x):  # it is inverted by 1 - x
            some = chain(scalings(x.shape), whole_numbers())
        elif x.dtype.kind != "f" or (x.size > 1 and np.array_equal(x, np.rint(x))):
            some = chain(whole_numbers(), some)
        each.append(_all_mapped(case, ref, (_or_nothing(way, x) for way in some)))
    if case.region is not None and each:  # of a large layer there is no time for all tensors
        yield from islice(each[0], few)
    yield from in_turn(each, few)


def _is_mask(x: np.ndarray) -> bool:
    return bool(((x == 0) | (x == 1)).all())


def _ignoring(way: Map, x: np.ndarray) -> Map:
    """A map of a mask; where it leaves one number in all places, in these words."""
    try:
        made = np.asarray(way.function(x))
    except (IndexError, ValueError):  # as where it is tried
        return way
    if made.shape != x.shape or not made.size or (made != made.flat[0]).any():
        return way
    fill = made.flat[0]
    return Map(f"taken as {int(fill)} everywhere", partial(np.full_like, fill_value=fill), False)


def _or_nothing(way: Map, x: np.ndarray) -> Map:
    """A rounding to whole numbers; where that leaves none of a tensor, in these words."""
    if way.function in (np.rint, np.trunc) and x.dtype.kind == "f" and not way.function(x).any():
        return Map("taken as 0", np.zeros_like, False)
    return way


def extra(case: Case, few: int | None = None) -> Iterator[Change]:
    """The commonest activations behind all tensors, then others, or ``few`` of them."""
    for name, op in COMMON[:few] if not case.inner else ():
        for ref in tensors_of(case):
            floats = ref.of(case.inputs, case.values).dtype.kind == "f"
            if floats or isinstance(op, ops.Relu):
                what = f"{name} is applied to {tensor_name(case, ref)}"
                yield inserted(case, ref, Step(op, (ref,)), what)


def rearranged(
    case: Case, few: int | None = None, ways: Callable[..., Iterator[Map]] = maps
) -> Iterator[Change]:
    """The commonest maps of all tensors, then others, or ``few`` of each."""
    each: list[Iterator[Change]] = []
    for ref in tensors_of(case, moved=True):
        x = ref.of(case.inputs, case.values)
        some = ways(x.shape, partial(axis_name, case, ref), batched(case, ref))
        if x.size <= _SMALL and _is_mask(x):
            some = (_ignoring(way, x) for way in some)
        whole = _all_mapped(case, ref, some if x.size > 1 else ())
        each.append(chain(whole, _along_another_axis(case, ref)))
    yield from in_turn(each, few)


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
                key = ("along", mine, axis, whole)
                yield inserted(case, ref, turned, what, key, user=position)
