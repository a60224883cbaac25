"""The parts that a tensor is split into read in another order: the gates of a cell, query, key and
value, the rows of a parameter."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, combinations, pairwise, permutations

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.rewriting import with_sources
from probe.hypotheses.edits.step_words import joined, step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__ = ["parts_reordered"]

_ALL_ORDERS, _MOST = 4, 8
"""Of how many parts all orders are tried; of more the halves and each two are exchanged, and those
by which groups of them differ, of no more than these."""


@more("packed-order")
def parts_in_another_order(case: Case) -> Iterator[Changes]:
    """The parts of any tensor that is split: gates, halves, rows of a parameter."""
    yield Changes(parts_reordered, "packed-order", STEPS)


def parts_reordered(case: Case) -> Iterator[Change]:
    """The parts of each tensor that steps take from it one behind another, in other orders."""
    yield from _parts_taken(case, _orders)


@more("packed-order")
def parts_of_one_pattern(case: Case) -> Iterator[Changes]:
    """The parts in another order wherever a pattern repeats, and of several parts of one size the
    first or the last for all, or for each the one before or behind it."""
    yield Changes(_of_one_pattern, "packed-order", STEPS)
    yield Changes(lambda case: _parts_taken(case, _repeated), "packed-order", STEPS)


def _of_one_pattern(case: Case) -> Iterator[Change]:
    """The changes of tensors that are made of steps of the same kinds, or whose parts such take."""
    groups: dict[Hashable, list[Change]] = {}
    for change in parts_reordered(case):
        (source,) = case.steps[min(change.steps)].sources(min(change.steps))
        made_of = case.steps[source.step].sources(source.step) if source.step >= 0 else ()
        kinds = tuple(type(case.steps[ref.step].op) for ref in (source, *made_of) if ref.step >= 0)
        takers = frozenset(kind for part in change.steps for kind in _takers(case, Ref(part)))
        for pattern in (kinds, takers):
            groups.setdefault((change.key, pattern), []).append(change)
    for members in {tuple(members): members for members in groups.values()}.values():
        if len(members) > 1:
            yield from filter(None, [all_of(members, case.steps)])


def _takers(case: Case, ref: Ref) -> Iterator[type]:
    """The kinds of steps that take a part, also where its axes are moved before that."""
    for user in users_of(case).get(ref, ()):
        if isinstance(case.steps[user].op, ops.Reshape | ops.Transpose):
            yield from _takers(case, Ref(user))
        else:
            yield type(case.steps[user].op)


_Orders = Callable[[int], Iterator[tuple[int, ...]]]


def _parts_taken(case: Case, orders: _Orders) -> Iterator[Change]:
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
            for order in orders(len(parts)):
                change = _reordered(case, source, axis, found, order)
                if change is not None:
                    yield change


@more("swapped-inputs")
def joined_in_another_order(case: Case) -> Iterator[Changes]:
    """Three tensors or more concatenated in another order than two of them exchanged."""
    yield Changes(_joined_otherwise, "swapped-inputs", STEPS)


def _joined_otherwise(case: Case) -> Iterator[Change]:
    for position, _ in case.having(ops.Concat):
        sources = case.steps[position].sources(position)
        if len(sources) > 2:
            yield from _joined_as_tables(case, position)
        for order in _rotations(len(sources)) if len(sources) > 2 else ():
            parts = [sources[which] for which in order]
            names = [tensor_name(case, part) for part in parts]
            what = f"{step_name(case, position)} joins {joined(names)} in this order"
            if len(parts) > _ALL_ORDERS:
                moved = max(range(len(order)), key=lambda at: abs(order[at] - at))
                what = f"{names[moved]} is part {moved} of {step_name(case, position)}, not "
                what += f"{order[moved]} (counted from 0)"
            yield with_sources(case, position, parts, what, ("joined", order))


def _joined_as_tables(case: Case, position: int) -> Iterator[Change]:
    """Many tensors that two loops make, one within the other, joined as if the inner loop were the
    outer one; and in reverse."""
    sources = case.steps[position].sources(position)
    count, name = len(sources), step_name(case, position)
    if count <= _ALL_ORDERS:
        return
    for outer in range(2, count // 2 + 1):
        if count % outer == 0:
            order = np.arange(count).reshape(outer, -1).T.ravel().tolist()
            what = f"{name} joins its {count} parts as if the inner of two loops, of {outer} and "
            what += f"{count // outer}, were the outer one: {order[0]}, {order[1]} and so on "
            what += "(counted from 0)"
            parts = [sources[which] for which in order]
            yield with_sources(case, position, parts, what, ("joined", tuple(order)))
    what = f"{name} joins its {count} parts in reverse order"
    yield with_sources(case, position, sources[::-1], what, ("joined", "reversed"))


def _rotations(count: int) -> Iterator[tuple[int, ...]]:
    """The orders in which one part stands at another place; of few parts all."""
    plain = tuple(range(count))
    if count <= _ALL_ORDERS:
        yield from (order for order in permutations(plain) if order != plain)
        return
    for first, last in ((0, count - 1), (count - 1, 0), *permutations(plain[:_MOST], 2)):
        rest = [which for which in plain if which != first]
        yield (*rest[:last], first, *rest[last:])


@more("rearranged-tensor")
def parts_interleaved(case: Case) -> Iterator[Changes]:
    """Tensors of one shape joined element by element: the first of each, then the second."""
    yield Changes(_interleaved, "rearranged-tensor", STEPS)


def _interleaved(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Concat):
        sources = case.steps[position].sources(position)
        shape, count = shape_of(case, Ref(position)), len(sources)
        axis = op.axis % len(shape)
        if len({shape_of(case, source) for source in sources}) > 1 or shape[axis] <= count:
            continue
        new = len(case.steps)
        split = (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
        turned = [*range(axis), axis + 1, axis, *range(axis + 2, len(split))]
        steps = {
            new: Step(op, sources),
            new + 1: Step(ops.Reshape(split), (Ref(new),)),
            new + 2: Step(ops.Transpose(tuple(turned)), (Ref(new + 1),)),
            position: Step(ops.Reshape(shape), (Ref(new + 2),)),
        }
        what = f"{step_name(case, position)} interleaves its {count} parts along axis {axis}, not "
        yield Change(f"{what}one behind another", "", steps, key=("joined", "interleaved"))


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
    found = [plain[half:] + plain[:half], plain[::-1]]
    for first, second in combinations(plain, 2):
        order = list(plain)
        order[first], order[second] = second, first
        found.append(tuple(order))
    yield from dict.fromkeys((*found, *_orders_of_groups(count)))


def _orders_of_groups(count: int) -> Iterator[tuple[int, ...]]:
    """The orders of parts that are as many for each of some groups, such as shift, scale and gate
    of two layers: of one kind behind another, of the kinds in each group, and of the groups."""
    found = dict[tuple[int, ...], None]()
    sizes = [size for size in range(2, count) if count % size == 0]
    tables = [np.arange(count).reshape(-1, size) for size in sizes]
    found.update((tuple(table.T.ravel().tolist()), None) for table in tables)
    for table in tables:
        for axis, parts in ((1, table.shape[1]), (0, table.shape[0])):
            for order in permutations(range(parts)) if parts <= _ALL_ORDERS else ():
                found[tuple(np.take(table, order, axis).ravel().tolist())] = None
    found.pop(tuple(range(count)), None)
    yield from found


def _repeated(count: int) -> Iterator[tuple[int, ...]]:
    """Which of several parts each place has, where some part is taken more than once."""
    yield (0,) * count
    yield (count - 1,) * count
    if count > 2:
        yield (*range(1, count), count - 1)
        yield (0, *range(count - 1))


def _reordered(
    case: Case,
    source: Ref,
    axis: int,
    found: Mapping[tuple[int, int], Sequence[int]],
    order: Sequence[int],
) -> Change | None:
    """The parts read as if they stood in this order; None where a part that is taken more than
    once is of another size."""
    parts = sorted(found)
    sizes = [parts[which][1] - parts[which][0] for which in order]
    once_each = len({*order}) == len(order)
    if once_each:
        starts = list(accumulate(sizes[:-1], initial=parts[0][0]))
        taken = dict(zip((parts[which] for which in order), starts, strict=True))
    elif len({stop - start for start, stop in parts}) == 1:
        taken = {part: parts[which][0] for part, which in zip(parts, order, strict=True)}
    else:
        return None
    steps: dict[int, Step] = {}
    for part, start in taken.items():
        size = part[1] - part[0]
        for position in found[part]:
            op = case.steps[position].op
            if isinstance(op, ops.Slice) and start != part[0]:
                new = replace(
                    op,
                    starts=(*op.starts[:axis], start, *op.starts[axis + 1 :]),
                    stops=(*op.stops[:axis], start + size, *op.stops[axis + 1 :]),
                )
                steps[position] = Step(new, case.steps[position].sources(position))
    numbers = ", ".join(map(str, order))
    name, count = tensor_name(case, source), len(parts)
    what = f"of the {count} parts of {name} those are taken that are "
    if once_each:
        what = f"{name} is split as if its {count} parts stood in the order "
    what += f"{numbers} (counted from 0)"
    of_parameter = isinstance(_held(case, source), str)
    return Change(what, "", steps, key=("parts", tuple(order), of_parameter))
