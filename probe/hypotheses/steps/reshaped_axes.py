"""Tensors that a reshape reads or joins with their axes in another order: groups for heads, rows
for columns, positions before channels."""

from collections.abc import Iterator, Sequence
from itertools import permutations

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import at_patterns
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []

_AXES = 4
"""Of so many axes all orders are tried; of more each two are exchanged."""


@more("rearranged-tensor")
def read_in_another_order(case: Case) -> Iterator[Changes]:
    """An axis split into its factors in another order, axes joined in another order, or a tensor
    held with other axes first when it is reshaped; of one reshape, or of all of a pattern."""
    yield Changes(_read_otherwise, "rearranged-tensor", STEPS)
    yield Changes(lambda case: at_patterns(case, _read_otherwise(case)), "rearranged-tensor", STEPS)


def _read_otherwise(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Reshape):
        (source,) = case.steps[position].sources(position)
        before, after = shape_of(case, source), shape_of(case, Ref(position))
        kept = before[:1] == after[:1]
        name = tensor_name(case, source)
        for perm in _orders(after, kept):
            turned = tuple(after[axis] for axis in perm)
            back = tuple(sorted(range(len(perm)), key=perm.__getitem__))
            if turned == after:
                what = f"{name} is read as {after} and its axes then brought to the order {back}"
            else:
                what = f"{name} is read as {turned} and transposed to {after}, not read as {after}"
            pair: tuple[Op, Op] = ops.Reshape(turned), ops.Transpose(back)
            yield _instead(case, position, pair, what, ("read", perm, len(before)))
        for perm in _orders(before, kept):
            turned = tuple(before[axis] for axis in perm)
            if turned == before:
                what = f"the axes of {name} are brought to the order {perm} before it is read as "
                what += f"{after}"
            else:
                what = f"{name} is transposed to {turned} before it is read as {after}"
            pair = ops.Transpose(perm), op
            yield _instead(case, position, pair, what, ("joined", perm, len(after)))


def _orders(shape: Sequence[int], kept: bool) -> Iterator[tuple[int, ...]]:
    """The orders of the axes of more than one element, neighbours exchanged first; the first axis
    stays where it is ``kept``."""
    wide = [axis for axis in range(int(kept), len(shape)) if shape[axis] > 1]
    for order in sorted(permutations(wide), key=lambda order: _moved(order, wide)):
        if 0 < _moved(order, wide) <= (2 if len(wide) > _AXES else len(wide)):
            places = dict(zip(wide, order, strict=True))
            yield tuple(places.get(axis, axis) for axis in range(len(shape)))


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
