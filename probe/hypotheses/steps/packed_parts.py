"""The parts that a tensor is split into read in another order: the gates of a cell, query, key and
value, the rows of a parameter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, combinations, pairwise, permutations

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__ = ["parts_reordered"]

_ALL_ORDERS, _MOST = 4, 8
"""Of how many parts all orders are tried; of more the halves and each two are exchanged, of no more
than these."""


@more("packed-order")
def parts_in_another_order(case: Case) -> Iterator[Changes]:
    """The parts of any tensor that is split: gates, halves, rows of a parameter."""
    yield Changes(parts_reordered, "packed-order", STEPS)


def parts_reordered(case: Case) -> Iterator[Change]:
    """The parts of each tensor that steps take from it one behind another, in other orders."""
    splits: dict[tuple[object, int], tuple[Ref, dict[tuple[int, int], list[int]]]] = {}
    for position, op in case.having(ops.Slice):
        (source,) = case.steps[position].sources(position)
        taken = _part(op, shape_of(case, source))
        if taken is not None:
            axis, *part = taken
            _, found = splits.setdefault((_held(case, source), axis), (source, {}))
            found.setdefault((part[0], part[1]), []).append(position)
    for (_, axis), (source, found) in splits.items():
        parts = sorted(found)
        apart = all(before[1] == behind[0] for before, behind in pairwise(parts))
        if apart and 1 < len(parts) <= _MOST:
            for order in _orders(len(parts)):
                yield _reordered(case, source, axis, found, order)


@more("packed-order")
def gates_in_the_other_half(case: Case) -> Iterator[Changes]:
    """The half that gates taken for the one that is gated, in all gated units alike."""
    yield Changes(_halves_exchanged, "packed-order", STEPS)


def _halves_exchanged(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Glu):
        (source,) = case.steps[position].sources(position)
        shape, new = shape_of(case, source), len(case.steps)
        axis = op.axis % len(shape)
        half = shape[axis] // 2
        steps = {position: Step(op, (Ref(new + 2),))}
        for at, (start, stop) in enumerate(((half, 2 * half), (0, half)), new):
            starts = tuple(start if k == axis else 0 for k in range(len(shape)))
            stops = tuple(stop if k == axis else size for k, size in enumerate(shape))
            steps[at] = Step(ops.Slice(starts, stops), (source,))
        steps[new + 2] = Step(ops.Concat(axis), (Ref(new), Ref(new + 1)))
        what = f"the first half of {tensor_name(case, source)} gates the second, not the other way "
        yield Change(f"{what}round", "", steps, key=("gate", "halves"), of=position)


def _held(case: Case, ref: Ref) -> object:
    """The tensor; of a parameter, which each step may take anew, the name."""
    op = case.steps[ref.step].op if ref.step >= 0 else None
    return op.weight.name if isinstance(op, ops.Parameter) else ref


def _part(op: ops.Slice, shape: Sequence[int]) -> tuple[int, int, int] | None:
    """The one axis that is cut, and from where to where; None where that is not all."""
    if set(op.steps) - {1}:
        return None
    cut = []
    for axis, size in enumerate(shape):
        start, stop, _ = slice(op.starts[axis], op.stops[axis]).indices(size)
        if stop - start < size:
            cut.append((axis, start, stop))
    return cut[0] if len(cut) == 1 else None


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    plain = tuple(range(count))
    if count <= _ALL_ORDERS:
        yield from (order for order in permutations(plain) if order != plain)
        return
    half = count // 2
    yield plain[half:] + plain[:half]
    yield plain[::-1]
    for first, second in combinations(plain, 2):
        order = list(plain)
        order[first], order[second] = second, first
        yield tuple(order)


def _reordered(
    case: Case,
    source: Ref,
    axis: int,
    found: Mapping[tuple[int, int], Sequence[int]],
    order: Sequence[int],
) -> Change:
    """The parts read as if they stood in this order."""
    parts = sorted(found)
    sizes = [parts[which][1] - parts[which][0] for which in order]
    starts = accumulate(sizes[:-1], initial=parts[0][0])
    steps: dict[int, Step] = {}
    for which, start, size in zip(order, starts, sizes, strict=True):
        for position in found[parts[which]]:
            op = case.steps[position].op
            if isinstance(op, ops.Slice) and start != parts[which][0]:
                new = replace(
                    op,
                    starts=(*op.starts[:axis], start, *op.starts[axis + 1 :]),
                    stops=(*op.stops[:axis], start + size, *op.stops[axis + 1 :]),
                )
                steps[position] = Step(new, case.steps[position].sources(position))
    what = f"{tensor_name(case, source)} is split as if its {len(parts)} parts stood in the order "
    what += f"{', '.join(map(str, order))} (counted from 0)"
    of_parameter = isinstance(_held(case, source), str)
    return Change(what, "", steps, key=("parts", tuple(order), of_parameter))
