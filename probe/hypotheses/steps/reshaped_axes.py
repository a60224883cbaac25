"""Tensors that a reshape reads or joins with their axes in another order: groups for heads, rows
for columns, positions before channels."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import permutations

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import all_of, at_patterns
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []

_AXES = 4
"""Of so many axes all orders are tried; of more each two are exchanged, and all orders of so many
that one axis is split into, or that are joined in one."""


@more("rearranged-tensor")
def read_in_another_order(case: Case) -> Iterator[Changes]:
    """An axis split into its factors in another order, axes joined in another order, or a tensor
    held with other axes first when it is reshaped; of one reshape, or of all of a pattern."""
    yield Changes(_read_otherwise, "rearranged-tensor", STEPS)
    yield Changes(lambda case: at_patterns(case, _read_otherwise(case)), "rearranged-tensor", STEPS)
    yield Changes(_split_alike, "rearranged-tensor", STEPS)


def _read_otherwise(case: Case) -> Iterator[Change]:
    for position, _ in case.having(ops.Reshape):
        (source,) = case.steps[position].sources(position)
        before, after = shape_of(case, source), shape_of(case, Ref(position))
        kept = before[:1] == after[:1]
        for perm in _orders(after, before, kept):
            yield _read_as(case, position, perm)
        for perm in _orders(before, after, kept):
            yield _joined_as(case, position, perm)


def _read_as(case: Case, position: int, perm: tuple[int, ...]) -> Change:
    """What a reshape gives read with its axes in another order."""
    (source,) = case.steps[position].sources(position)
    before, after = shape_of(case, source), shape_of(case, Ref(position))
    name = tensor_name(case, source)
    turned = tuple(after[axis] for axis in perm)
    back = tuple(sorted(range(len(perm)), key=perm.__getitem__))
    if turned == after:
        what = f"{name} is read as {after} and its axes then brought to the order {back}"
    else:
        what = f"{name} is read as {turned} and transposed to {after}, not read as {after}"
    pair: tuple[Op, Op] = ops.Reshape(turned), ops.Transpose(back)
    return _instead(case, position, pair, what, ("read", perm, len(before)))


def _joined_as(case: Case, position: int, perm: tuple[int, ...]) -> Change:
    """What a reshape takes with its axes in another order."""
    (source,) = case.steps[position].sources(position)
    before, after = shape_of(case, source), shape_of(case, Ref(position))
    name = tensor_name(case, source)
    turned = tuple(before[axis] for axis in perm)
    if turned == before:
        what = f"the axes of {name} are brought to the order {perm} before it is read as {after}"
    else:
        what = f"{name} is transposed to {turned} before it is read as {after}"
    pair = ops.Transpose(perm), case.steps[position].op
    return _instead(case, position, pair, what, ("joined", perm, len(after)))


def _split_alike(case: Case) -> Iterator[Change]:
    """The same factors in another order wherever axes are split into them, also of tensors with
    other axes: offsets and weights by levels and points."""
    groups: dict[Hashable, list[Change]] = {}
    for position, _ in case.having(ops.Reshape):
        (source,) = case.steps[position].sources(position)
        before, after = shape_of(case, source), shape_of(case, Ref(position))
        for factors in _factors(before, after):
            for perm in _permuted(factors, len(after)) if len(factors) <= _AXES else ():
                moved = tuple(axis for axis in factors if perm[axis] != axis)
                sizes = tuple(after[axis] for axis in moved)
                key = moved, tuple(perm[axis] for axis in moved), sizes
                groups.setdefault(key, []).append(_read_as(case, position, perm))
    for members in groups.values():
        if len({member.key for member in members}) > 1:  # others are made together already
            yield from filter(None, [all_of(members, case.steps)])


def _orders(shape: Sequence[int], other: Sequence[int], kept: bool) -> Iterator[tuple[int, ...]]:
    """The orders of the axes of more than one element, neighbours exchanged first; the first axis
    stays where it is ``kept``."""
    wide = [axis for axis in range(int(kept), len(shape)) if shape[axis] > 1]
    most = 2 if len(wide) > _AXES else len(wide)
    for order in sorted(permutations(wide), key=lambda order: _moved(order, wide)):
        if 0 < _moved(order, wide) <= most:
            places = dict(zip(wide, order, strict=True))
            yield tuple(places.get(axis, axis) for axis in range(len(shape)))
    if len(wide) > _AXES:
        for factors in _factors(other, shape):
            for perm in _permuted(factors, len(shape)) if len(factors) <= _AXES else ():
                if _moved(perm, range(len(shape))) > most:
                    yield perm


def _permuted(axes: Sequence[int], count: int) -> Iterator[tuple[int, ...]]:
    """The other orders of some axes of so many, the rest in their places."""
    for order in permutations(axes):
        if order != tuple(axes):
            places = dict(zip(axes, order, strict=True))
            yield tuple(places.get(axis, axis) for axis in range(count))


def _factors(whole: Sequence[int], split: Sequence[int]) -> Iterator[list[int]]:
    """The axes of more than one element that each axis of another shape is split into."""
    sizes = iter([size for size in whole if size > 1])
    axes, product, size = list[int](), 1, next(sizes, 0)
    for axis, part in enumerate(split):
        if part == 1:
            continue
        axes.append(axis)
        product *= part
        if size and size % product:  # one axis of the other shape is no product of these
            return
        if product == size:
            if len(axes) > 1:
                yield axes
            axes, product, size = [], 1, next(sizes, 0)


def _moved(order: Sequence[int], wide: Sequence[int]) -> int:
    return sum(axis != place for axis, place in zip(order, wide, strict=True))


def _instead(
    case: Case, position: int, pair: tuple[Op, Op], what: str, key: tuple[object, ...]
) -> Change:
    """Two ops in place of a reshape."""
    (source,) = case.steps[position].sources(position)
    first = len(case.steps)
    steps = {first: Step(pair[0], (source,)), position: Step(pair[1], (Ref(first),))}
    return Change(what, "", steps, key=("reshape", *key), of=position)
