"""Options that belong to another of several steps of a kind: the dilations, paddings, strides or
activations of branches side by side, exchanged, moved on by one, or those of one used in all."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import combinations, islice
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, STEPS, Changes
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import joined, step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise, Op, Rearrangement
from probe.ops.step import Ref, Step, weights_of
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_MOST = 8
"""Of how many steps of a kind options are exchanged."""
_PAIRS = 64
"""How many pairs of numbers are exchanged."""


@more("changed-step")
def options_of_siblings(case: Case) -> Iterator[Changes]:
    """Options of two steps of a kind exchanged, or those of one used in all."""
    yield Changes(_exchanged, "changed-step", STEPS)


@more("changed-step")
def numbers_of_siblings(case: Case) -> Iterator[Changes]:
    """The numbers that two steps of a kind take exchanged: the scales or the zero points of two
    inputs."""
    yield Changes(_numbers_exchanged, "changed-step", PARTS)


_SIGNS: dict[type, tuple[type, float]] = {
    ops.Add: (ops.Add, 1.0),
    ops.Sub: (ops.Add, -1.0),
    ops.Mul: (ops.Mul, 1.0),
    ops.Div: (ops.Div, 1.0),
    ops.Pow: (ops.Pow, 1.0),
}
"""Steps of a kind, and whether they take a number with its sign."""


def _numbers_exchanged(case: Case) -> Iterator[Change]:
    groups: dict[object, list[tuple[Ref, float, float]]] = {}
    for position, op in case.having(*_SIGNS):
        kind, sign = _SIGNS[type(op)]
        for ref in case.steps[position].sources(position)[1:]:
            if ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Constant):
                value = case.values[ref.step][0]
                if value.size == 1 and len(users_of(case).get(ref, ())) == 1:
                    group = kind, position in of_parameters(case)
                    groups.setdefault(group, []).append((ref, float(value.item()), sign))
    for members in groups.values():
        for (ref, first, left), (other, second, right) in islice(combinations(members, 2), _PAIRS):
            if left * first != right * second:
                steps = {
                    at.step: Step(ops.Constant(np.full(shape_of(case, at), number)), ())
                    for at, number in ((ref, left * right * second), (other, left * right * first))
                }
                names = [step_name(case, users_of(case)[at][0]) for at in (ref, other)]
                what = f"{left * first:g} and {right * second:g} are exchanged in {joined(names)}"
                yield Change(what, "", steps)


def _exchanged(case: Case) -> Iterator[Change]:
    groups: dict[object, list[int]] = {}
    for position, step in enumerate(case.steps):
        if isinstance(step.op, Elementwise) and not isinstance(step.op, Rearrangement):
            sources = step.sources(position)
            shape = shape_of(case, sources[0]) if len(sources) == 1 else None
            if shape is not None:
                groups.setdefault(("activation", shape), []).append(position)
        elif _options(step.op):
            kernels = tuple(held.value.shape[2:] for held in weights_of((step,)).values())
            groups.setdefault((type(step.op), kernels), []).append(position)
    for group in groups.values():
        differing = {str(_told(case.steps[at].op)) for at in group}
        if 1 < len(group) <= _MOST and len(differing) > 1:
            yield from _of_group(case, group)


def _of_group(case: Case, group: Sequence[int]) -> Iterator[Change]:
    for pair in combinations(group, 2):
        # of branches of other widths the padding differs
        options = [[o for o in _told(case.steps[at].op) if o[0] != "pads"] for at in pair]
        for change in _given(case, pair, pair[::-1], "have each other's"):
            yield replace(change, key=("each other's", str(options)))
    if len(group) > 2:
        for words, order in (
            (" of the one before it", (group[-1], *group[:-1])),
            (" of the one after it", (*group[1:], group[0])),
            (" of the one at its place from the end", tuple(group[::-1])),
        ):
            yield from _given(case, group, order, "each have the", words)
    if len(group) > 2 and len(group) % 2 == 0:
        first, second = group[::2], group[1::2]
        yield from _given(case, second, first, "each have the", " of the one before it")
        yield from _given(case, first, second, "each have the", " of the one after it")
    for at in group:
        other = f" of {step_name(case, at)}"
        yield from _given(case, group, [at] * len(group), "all have the", other)


def _given(
    case: Case, into: Sequence[int], of: Sequence[int], have: str, whose: str = ""
) -> Iterator[Change]:
    """Steps with the options of others."""
    steps: dict[int, Step] = {}
    names: dict[str, None] = {}
    for at, other in zip(into, of, strict=True):
        mine, theirs = case.steps[at].op, case.steps[other].op
        changed = theirs
        if type(mine) is type(theirs):
            options = _options(theirs)
            new = {name: value for name, value in options.items() if getattr(mine, name) != value}
            names |= dict.fromkeys(new)
            changed = replace(mine, **new) if new else mine
        if changed is not mine:
            steps[at] = Step(changed, case.steps[at].sources(at))
    if steps:
        named = " and ".join(name.replace("_", " ") for name in names) or "activation"
        every = joined([step_name(case, at) for at in into])
        yield Change(f"{every} {have} {named}{whose}", "", steps)


@more("changed-step")
def places_of_siblings(case: Case) -> Iterator[Changes]:
    """Parts of one tensor, each taken from the place opposite to its own, as of a window that is
    moved the other way, or along another axis."""
    yield Changes(_other_places, "changed-step", STEPS)


def _other_places(case: Case) -> Iterator[Change]:
    groups: dict[object, list[tuple[int, ops.Slice]]] = {}
    for position, op in case.having(ops.Slice):
        if not op.steps and position not in of_parameters(case):
            key = case.steps[position].sources(position)[0], shape_of(case, Ref(position))
            groups.setdefault(key, []).append((position, op))
    for group in groups.values():
        starts = np.array([_begins(op, case.input_of(at).shape) for at, op in group])
        varying = [axis for axis in range(starts.shape[1]) if np.ptp(starts[:, axis])]
        if len({*map(tuple, starts)}) > 2 and len(varying) <= _AXES:
            yield from _moved(case, [at for at, _ in group], starts, varying)


_AXES = 3
"""Along how many axes parts of a tensor lie that are taken from other places."""


def _moved(
    case: Case, group: Sequence[int], starts: np.ndarray, varying: Sequence[int]
) -> Iterator[Change]:
    (whole,) = case.steps[group[0]].sources(group[0])
    names = f"the {len(group)} parts of {tensor_name(case, whole)}"
    for count in range(len(varying), 0, -1):
        for axes in map(list, combinations(varying, count)):
            other = starts.copy()
            other[:, axes] = starts[:, axes].min(0) + starts[:, axes].max(0) - starts[:, axes]
            along = joined([f"axis {axis}" for axis in axes])
            yield _from_places(case, group, other, f"{names} are taken the other way along {along}")
    for first, second in combinations(varying, 2):
        other = starts.copy()
        other[:, [first, second]] = starts[:, [second, first]]
        ends = other + shape_of(case, Ref(group[0]))
        if (ends <= case.input_of(group[0]).shape).all():
            along = f"axis {first} and axis {second}"
            yield _from_places(
                case, group, other, f"{names} have their places along {along} exchanged"
            )


def _begins(op: ops.Slice, sizes: Sequence[int]) -> list[int]:
    """Where a slice begins, counted from the beginning of each axis."""
    return [slice(start, None).indices(n)[0] for start, n in zip(op.starts, sizes, strict=True)]


def _from_places(case: Case, group: Sequence[int], starts: np.ndarray, what: str) -> Change:
    """Slices of one size that begin at other places."""
    size = np.array(shape_of(case, Ref(group[0])))
    steps = {
        at: Step(
            ops.Slice(tuple(begin.tolist()), tuple((begin + size).tolist())),
            case.steps[at].sources(at),
        )
        for at, begin in zip(group, starts, strict=True)
    }
    return Change(what, "", steps)


def _options(op: Op) -> dict[str, Any]:
    """The fields of an op that are no weights, tensors or shapes."""
    kind: Any = type(op)
    held = {part.name: getattr(op, part.name) for part in fields(kind)}
    return {
        name: value
        for name, value in held.items()
        if not isinstance(value, Weight | np.ndarray | Op) and name not in _OF_SHAPES
    }


_OF_SHAPES = {"shape", "perm", "axes", "starts", "stops", "sizes"}


def _told(op: Op) -> tuple[tuple[str, Any], ...]:
    return ("kind", type(op)), *_options(op).items()
