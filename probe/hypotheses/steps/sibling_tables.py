"""Tables that go together, as multipliers and shifts or scales and zero points do: read in another
order at once, exchanged between two branches that compute alike, or dealt out in turn where each
entry belongs to a run."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, combinations
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.grouped_changes import all_of
from probe.hypotheses.edits.mapped_tensors import axis_name, mapped
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import joined, step_name, tensor_name
from probe.hypotheses.edits.tensor_maps import Map, maps
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step, weights_of
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_SIBLINGS = 4
"""How many parameters of one shape are told apart by their order."""
_GROUPS = 4
"""How many parameters of a branch are exchanged with those of another in every choice."""
_JOINING = (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Concat, ops.Max, ops.Min)


@more("rearranged-tensor")
def tables_read_otherwise(case: Case) -> Iterator[Changes]:
    """Parameters of one shape in another order at once, or one whose entries are dealt out in turn
    where each belongs to a run."""
    yield Changes(_together, "rearranged-tensor", PARTS)
    yield Changes(_in_turn, "rearranged-tensor", PARTS)


def _together(case: Case) -> Iterator[Change]:
    shapes: dict[tuple[int, ...], dict[str, list[Ref]]] = {}
    for position, op in case.having(ops.Parameter):
        shape = shape_of(case, Ref(position))
        if np.prod(shape, dtype=int) > 1:
            shapes.setdefault(shape, {}).setdefault(op.weight.name, []).append(Ref(position))
    for shape, tables in shapes.items():
        if not 2 <= len(tables) <= _SIBLINGS:
            continue
        for count in range(2, max(3, len(tables))):
            for names in combinations(tables, count):
                refs = list(chain.from_iterable(tables[name] for name in names))
                for way in maps(shape, partial(axis_name, case, refs[0]), False):
                    if way.rearranges:
                        members = [next(mapped(case, ref, way)) for ref in refs]
                        yield from filter(None, [all_of(members, case.steps)])


def _in_turn(case: Case) -> Iterator[Change]:
    constant = of_parameters(case)
    for position, _ in case.having(ops.Add, ops.Sub, ops.Mul, ops.Div):
        whole = shape_of(case, Ref(position))
        for ref in case.steps[position].sources(position):
            own = (1,) * (len(whole) - len(shape_of(case, ref))) + shape_of(case, ref)
            if ref.step not in constant or users_of(case).get(ref) != [position]:
                continue
            for axis in range(len(whole) - 1):
                outer, inner = whole[axis : axis + 2]
                runs = own[axis : axis + 2] == (outer, 1)
                if min(outer, inner) > 1 and (runs or own[axis : axis + 2] == (1, inner)):
                    dealt = partial(_dealt, shape=own, axis=axis, sizes=(outer, inner), runs=runs)
                    words = ("in turn", "for runs") if runs else ("for runs", "in turn")
                    what = f"used {words[0]} along axes {axis} and {axis + 1} of {whole}, not "
                    yield next(mapped(case, ref, Map(f"{what}{words[1]}", dealt)))


def _dealt(
    x: np.ndarray, shape: tuple[int, ...], axis: int, sizes: tuple[int, int], runs: bool
) -> np.ndarray:
    """A table for two axes that are one in truth: of which each entry belonged to a run of this
    axis, now in turn; or the reverse."""
    x = x.reshape(shape)
    outer, inner = sizes
    places = np.arange(outer * inner)
    order = places % outer if runs else places // outer
    y = np.take(x, order, axis if runs else axis + 1)
    return y.reshape(*shape[:axis], outer, inner, *shape[axis + 2 :])


@more("swapped-parameters")
def parameters_of_the_other_branch(case: Case) -> Iterator[Changes]:
    """The parameters of two operands that are computed alike, exchanged, some of them or all."""
    yield Changes(_exchanged, "swapped-parameters", PARTS)


def _exchanged(case: Case) -> Iterator[Change]:
    for position, _ in case.having(*_JOINING):
        sources = case.steps[position].sources(position)
        for first, second in combinations(sources, 2):
            tables = _alike(case, first, second)
            for names in _choices(list(tables or ())):
                steps: dict[int, Step] = {}
                for ref, twin in chain.from_iterable((tables or {})[name] for name in names):
                    for at, by in ((ref, twin), (twin, ref)):
                        held: Any = case.values[by.step][by.index]
                        steps[at.step] = Step(ops.Constant(np.asarray(held)), ())
                words = joined([f"{x} and {y}" if x != y else f"two of {x}" for x, y in names])
                what = f"{words} are exchanged between the two operands of "
                yield Change(what + step_name(case, position), "", steps, of=position)


_Names = tuple[str, str]


def _choices(names: Sequence[_Names]) -> Iterator[tuple[_Names, ...]]:
    """All, each alone, and some."""
    if 0 < len(names) <= _GROUPS:
        for count in (len(names), *range(1, len(names))):
            yield from combinations(names, count)


def _alike(case: Case, first: Ref, second: Ref) -> dict[_Names, list[tuple[Ref, Ref]]] | None:
    """The parameters by their names that two tensors are computed with, which are computed alike
    otherwise; None where they are not."""
    constant, seen = of_parameters(case), set[tuple[Ref, Ref]]()
    found: dict[_Names, list[tuple[Ref, Ref]]] = {}
    waiting = [(first, second)]
    while waiting:
        ref, twin = waiting.pop()
        if ref == twin or (ref, twin) in seen:
            continue
        seen.add((ref, twin))
        if min(ref.step, twin.step) < 0 or {ref.step, twin.step} & constant:
            if (ref.step in constant) != (twin.step in constant):
                return None
            if ref.step not in constant or not _differ(case, ref, twin):
                continue
            if shape_of(case, ref) != shape_of(case, twin):
                return None
            names = tensor_name(case, ref), tensor_name(case, twin)
            found.setdefault(names, []).append((ref, twin))
            continue
        steps = case.steps[ref.step], case.steps[twin.step]
        mine, theirs = steps[0].sources(ref.step), steps[1].sources(twin.step)
        held = any(map(weights_of, ((steps[0],), (steps[1],))))
        if type(steps[0].op) is not type(steps[1].op) or len(mine) != len(theirs) or held:
            return None
        waiting += zip(mine, theirs, strict=True)
    return found


def _differ(case: Case, ref: Ref, twin: Ref) -> bool:
    return not np.array_equal(case.values[ref.step][0], case.values[twin.step][0])
