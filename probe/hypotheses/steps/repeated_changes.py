"""The commonest changes of a tensor, made at all places of a pattern that repeats: in each pass of
a loop, in each layer, of keys and values alike; and a change of layout that is undone again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice

import numpy as np

from probe import ops
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import all_of, at_patterns, in_turn, of_one_pattern
from probe.hypotheses.edits.mapped_tensors import axis_name, batched, mapped, tensors_of
from probe.hypotheses.edits.rewriting import inserted
from probe.hypotheses.edits.step_words import listed, step_name, tensor_name
from probe.hypotheses.edits.tensor_maps import Map, maps, scalings, whole_numbers
from probe.hypotheses.registry import more
from probe.hypotheses.steps.changed_steps import changed
from probe.hypotheses.steps.data_flow import left_out, operand_alone, others_taken
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_MAPS, _FACTORS, _ACTIVATIONS = 16, 8, 8
"""How many of them are tried at each pattern."""


@more("missing-step")
def missing_everywhere(case: Case) -> Iterator[Changes]:
    """A step or an operand left out, wherever a pattern repeats."""
    yield Changes(_left_out, "missing-step", STEPS)


def _left_out(case: Case) -> Iterator[Change]:
    alone = list(operand_alone(case))
    yield from alone
    yield from at_patterns(case, chain(alone, left_out(case)))


@more("changed-step")
def changed_everywhere(case: Case) -> Iterator[Changes]:
    """Another option, axis, mode or operation, wherever a pattern repeats."""
    yield Changes(lambda case: at_patterns(case, changed(case)), "changed-step", STEPS)


@more("rearranged-tensor")
def rearranged_everywhere(case: Case) -> Iterator[Changes]:
    """Turned, transposed, interleaved, wherever a pattern repeats."""
    if case.calls:
        yield Changes(partial(_everywhere, few=_MAPS, of=_rearranged), "rearranged-tensor", STEPS)


@more("scaled-tensor")
def scaled_everywhere(case: Case) -> Iterator[Changes]:
    """A sign, a half, 1 added, wherever a pattern repeats."""
    if case.calls:
        yield Changes(partial(_everywhere, few=_FACTORS, of=_scaled), "scaled-tensor", STEPS)


@more("extra-step")
def activation_everywhere(case: Case) -> Iterator[Changes]:
    """ReLU and the like, wherever a pattern repeats."""
    if case.calls:
        yield Changes(partial(_everywhere, few=_ACTIVATIONS, of=_activated), "extra-step", STEPS)


@more("other-tensor")
def other_tensor_everywhere(case: Case) -> Iterator[Changes]:
    """Another tensor taken, wherever a pattern repeats."""
    if case.calls:
        yield Changes(_others_taken, "other-tensor", STEPS)


_Make = Callable[[Case, Sequence[Ref]], Iterator[Change]]


def _everywhere(case: Case, few: int, of: _Make) -> Iterator[Change]:
    refs = [ref for ref in tensors_of(case) if ref.step >= 0]
    parameters: dict[str, list[Ref]] = {}
    for ref in refs:
        op = case.steps[ref.step].op
        if isinstance(op, ops.Parameter):
            parameters.setdefault(op.weight.name, []).append(ref)
    for groups in (parameters.values(), of_one_pattern(case, refs)):
        yield from in_turn([of(case, group) for group in groups], few)


def _all(case: Case, members: Iterable[Change]) -> Iterator[Change]:
    change = all_of(list(members), case.steps)
    if change is not None:
        yield change


def _rearranged(case: Case, group: Sequence[Ref]) -> Iterator[Change]:
    along = partial(axis_name, case, group[0])
    shape = shape_of(case, group[0])
    ways = maps(shape, along, batched(case, group[0])) if np.prod(shape) > 1 else iter(())
    return _mapped(case, group, ways)


def _scaled(case: Case, group: Sequence[Ref]) -> Iterator[Change]:
    ways = scalings(shape_of(case, group[0]), few=True)
    if np.asarray(group[0].of(case.inputs, case.values)).dtype.kind != "f":
        ways = chain(whole_numbers(), ways)
    return _mapped(case, group, ways)


def _mapped(case: Case, group: Sequence[Ref], ways: Iterable[Map]) -> Iterator[Change]:
    for way in ways:
        yield from _all(case, (next(mapped(case, ref, way)) for ref in group))


def _activated(case: Case, group: Sequence[Ref]) -> Iterator[Change]:
    for name, op in COMMON:
        made = (
            inserted(case, ref, Step(op, (ref,)), f"{name} is applied to {tensor_name(case, ref)}")
            for ref in group
        )
        yield from _all(case, made)


def _others_taken(case: Case) -> Iterator[Change]:
    """The changes of what steps take that are made at equal distances of steps of a pattern, of
    one shape or, as in the levels of a pyramid, of several; and those that take one input in place
    of what steps of a kind give, or of what stands at the places of a pattern."""
    groups: dict[object, list[Change]] = {}
    instead: dict[object, dict[Ref, Change]] = {}
    for position, index, tensor, change in others_taken(case):
        taken = case.steps[position].sources(position)[index]
        kind = type(case.steps[position].op), index
        away = position - tensor.step, position - taken.step
        shape = shape_of(case, taken)
        groups.setdefault((kind, away, shape), []).append(change)
        groups.setdefault((kind, away, len(shape)), []).append(change)
        if tensor.step < 0 <= taken.step:
            maker = type(case.steps[taken.step].op)
            groups.setdefault((kind, tensor, shape, maker), []).append(change)
            instead.setdefault((kind, tensor), {})[taken] = change
    for key, changes in instead.items():
        for refs in of_one_pattern(case, [*changes]):
            groups[key, refs] = [changes[ref] for ref in refs]
    for members in {tuple(members): members for members in groups.values()}.values():
        if len(members) > 1:
            yield from _all(case, members)


# Layouts that are changed, and changed back.


@more("rearranged-tensor")
def rearranged_and_back(case: Case) -> Iterator[Changes]:
    """A split of axes into blocks that is read the other way, a grid for windows, and brought back
    the same way."""
    if case.calls:
        yield Changes(_and_back, "rearranged-tensor", STEPS)


def _and_back(case: Case) -> Iterator[Change]:
    turned = list(case.having(ops.Transpose))
    for first, forth in turned:
        source = case.steps[first].sources(first)[0]
        x = _reshaped_from(case, source)
        if x is None:
            continue
        orders = _read_the_other_way(shape_of(case, x), shape_of(case, source))
        for last, back in turned:
            if last <= first or len(back.perm) != len(forth.perm):
                continue
            if any(forth.perm[axis] != k for k, axis in enumerate(back.perm)):
                continue
            for user in users_of(case).get(Ref(last), ()):
                y = Ref(user)
                if shape_of(case, y) == shape_of(case, x) or _wider(case, x, y):
                    for words, order in orders:
                        yield from _conjugated(case, x, y, words, order, source.step)


def _reshaped_from(case: Case, ref: Ref) -> Ref | None:
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Reshape):
        return None
    return case.steps[ref.step].sources(ref.step)[0]


def _wider(case: Case, x: Ref, y: Ref) -> bool:
    """Whether two tensors have all axes but the last in common."""
    return shape_of(case, x)[:-1] == shape_of(case, y)[:-1]


_Orders = tuple[tuple[int, np.ndarray], ...]


def _read_the_other_way(whole: Sequence[int], split: Sequence[int]) -> list[tuple[str, _Orders]]:
    """The orders along axes that are split in two in which the outer part counts faster, all axes
    and each alone."""
    found = list[tuple[int, np.ndarray]]()
    at = 0
    for axis, size in enumerate(whole):
        if at < len(split) and split[at] == size:
            at += 1
        elif at + 1 < len(split) and split[at] * split[at + 1] == size:
            outer, inner = split[at : at + 2]
            found.append((axis, np.arange(size).reshape(inner, outer).T.ravel()))
            at += 2
        else:
            return []
    some = [tuple(found), *((part,) for part in found if len(found) > 1)] if found else []
    return [(f"axes {', '.join(str(axis) for axis, _ in part)}", part) for part in some]


def _conjugated(
    case: Case, x: Ref, y: Ref, words: str, orders: _Orders, user: int
) -> Iterator[Change]:
    forth = Map("", partial(_ordered, orders=orders), True)
    inverse = tuple((axis, np.argsort(order)) for axis, order in orders)
    back = Map("", partial(_ordered, orders=inverse), True)
    pair = list(chain(islice(mapped(case, x, forth), 1), islice(mapped(case, y, back), 1)))
    change = all_of([_only_for(case, pair[0], x, user), pair[1]], case.steps)
    if change is not None:
        what = f"{listed([tensor_name(case, x)])} split along {words} with the inner part counted "
        what += (
            f"slower (a grid in place of blocks), and brought back so in {step_name(case, y.step)}"
        )
        yield replace(change, what=what, where="", members=())


def _only_for(case: Case, change: Change, ref: Ref, user: int) -> Change:
    """A change of a tensor for one of the steps that take it."""
    new = len(case.steps)
    steps = {at: step for at, step in change.steps.items() if at in (new, user)}
    return replace(change, steps=steps, out=None)


def _ordered(x: np.ndarray, orders: _Orders) -> np.ndarray:
    for axis, order in orders:
        x = np.take(x, order, axis)
    return x
