"""Mistakes with projections that hold several, such as query, key and value, in one weight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.altered import moved
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import Value
from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.edits.rewriting import Rewiring, made_by, only, rewired
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import hypothesis
from probe.ops.base import Rearrangement
from probe.ops.step import Ref
from probe.trial.case import Case, users_of
from probe.trial.edit import Edit

__all__: list[str] = []

_NAMES = ("query", "key", "value")
_PARTS = len(_NAMES)
_MOST_PARTS = 6
"""Into how many parts a projection is cut at most."""


@hypothesis("packed-order")
def packed_order(case: Case) -> Iterator[Edit]:
    """The parts of a packed projection, query, key and value (or gate and up), are split head by
    head or feature by feature instead of in blocks, or in another order.

    GPT-2 packs three blocks, GPT-NeoX the three parts of each head together. The first block, or
    head 0, may be right.
    """
    packed: dict[tuple[str, str], list[tuple[int, np.ndarray]]] = {}
    for position, step in enumerate(case.steps):
        if isinstance(step.op, Rearrangement) or len(case.values[position]) != 1:
            continue
        parts = _parts_taken(case, position)
        width = np.shape(case.values[position][0])[-1] if parts else 0
        packings = list(_packings(case, parts, width))
        own = [words for words, order in packings if np.array_equal(order, np.arange(width))]
        for words, order in packings:
            if not np.array_equal(order, np.arange(width)):
                sizes = ", ".join(str(part.size) for part in parts)
                layers = own[0] if own else f"in parts of {sizes}, as the layer does"
                packed.setdefault((words, layers), []).append((position, order))
    for (words, layers), found in packed.items():
        for some in all_and_each(found):
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            yield case.edit(
                f"the outputs of {_outputs_of(case, some[0][0])}{more} are taken {words}",
                rewired(case, [Rewiring(Ref(at), (_Taken(order),)) for at, order in some]),
                do=f"take them {layers}",
                as_healthy=True,
            )


@hypothesis("head-layout")
def head_layout(case: Case) -> Iterator[Edit]:
    """Heads and features are exchanged: a projection is split into (features, heads) instead of
    (heads, features), or the heads are joined so.

    Of h heads each then gets every h-th feature in place of as many that stand together.
    """
    splits: list[Rewiring] = []
    joins: list[Rewiring] = []
    attends = any(case.having(ops.Attention, ops.Softmax))
    for position, _ in case.having(ops.Reshape) if attends else ():
        before, after = case.input_of(position).shape, case.values[position][0].shape
        if _divided(before, after):
            order = np.arange(before[-1]).reshape(after[-1], after[-2]).T.ravel()
            source = case.steps[position].sources(position)[0]
            splits.append(Rewiring(source, (_Taken(order),), only(position)))
        elif _divided(after, before):
            order = np.arange(after[-1]).reshape(before[-2], before[-1]).T.ravel()
            joins.append(Rewiring(Ref(position), (_Taken(order),)))
    whole = [("split and joined", [*splits, *joins]), ("split", splits), ("joined", joins)]
    alone = (
        [("split in one of the reshapes", [split]) for split in splits] if len(splits) > 1 else []
    )
    for words, some in [*whole, *alone] if splits and joins else [*whole[1:], *alone]:
        if some:
            yield case.edit(
                f"heads are {words} as (features, heads), not (heads, features)",
                rewired(case, some),
                do="take the heads as the slower axis: reshape to (..., heads, features)",
                as_healthy=True,
            )


def _divided(wide: tuple[int, ...], parts: tuple[int, ...]) -> bool:
    """Whether the last axis of one shape makes the last two of the other."""
    split = len(wide) > 1 < len(parts) and min(parts[-2:]) > 1
    return split and wide[-1] == parts[-2] * parts[-1] and len(parts) >= len(wide)


def _outputs_of(case: Case, position: int) -> str:
    op = case.steps[position].op
    if isinstance(op, ops.MatMul):
        return op.weight.name
    return step_name(case, position)


@dataclass(frozen=True, eq=False)
class _Taken(ops.Op):
    """The features in another order."""

    order: np.ndarray

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (inputs[0][..., self.order],)


@writes(_Taken)
def _by_hand(op: _Taken, w: Any, x: Value) -> Value:
    made = moved(x, lambda places: places[..., op.order])
    if made is None:
        raise Unwritten("the features in another order")
    return made


def _parts_taken(case: Case, position: int) -> list[np.ndarray]:
    """Which places along the last axis of what a step gives its parts take, each in their order;
    none where it is not cut into parts that make up the whole."""
    whole = case.values[position][0]
    if (
        whole.ndim < 2
        or whole.dtype.kind != "f"
        or not any(
            isinstance(case.steps[at].op, Rearrangement)
            for at in users_of(case).get(Ref(position), ())
        )
    ):
        return []
    width = whole.shape[-1]
    numbers = {Ref(position): np.broadcast_to(np.arange(width), whole.shape)}
    parts: list[np.ndarray] = []
    line = [Ref(position)]
    while line:
        ref = line.pop(0)
        for at in users_of(case).get(ref, ()):
            op, (data, *indices) = case.steps[at].op, case.steps[at].sources(at)
            if not isinstance(op, Rearrangement | ops.Gather) or data != ref:
                continue
            if not all(made_by(case, index, ops.Constant) for index in indices):
                continue
            given = [numbers[ref], *(case.values[index.step][0] for index in indices)]
            for index, made in enumerate(op.run(*given)):
                if made.size == whole.size:
                    numbers[Ref(at, index)] = made
                    line.append(Ref(at, index))
                elif made.size:
                    parts.append(_first_of_each(made))
    parts.sort(key=lambda part: int(part.min()))
    together = np.concatenate(parts) if parts else np.empty(0, int)
    whole_once = together.size == width and np.array_equal(np.sort(together), np.arange(width))
    if 2 <= len(parts) <= _MOST_PARTS and whole_once:
        return parts
    return []


def _first_of_each(numbers: np.ndarray) -> np.ndarray:
    """The numbers in their order, without the axes along which they are the same."""
    for axis in range(numbers.ndim):
        first = np.take(numbers, [0], axis)
        if (numbers == first).all():
            numbers = first
    return numbers.reshape(-1)


def _packings(
    case: Case, parts: Sequence[np.ndarray], width: int
) -> Iterator[tuple[str, np.ndarray]]:
    """What is taken for each place in other packings: in blocks, head by head, feature by
    feature."""

    def instead(layout: Sequence[np.ndarray]) -> np.ndarray:
        order = np.arange(width)
        for mine, theirs in zip(parts, layout, strict=True):
            order[mine] = theirs.reshape(-1)
        return order

    count, sizes = len(parts), [part.size for part in parts]
    if not parts:
        return
    through_all = np.arange(width)
    attends = count == _PARTS and any(case.having(ops.Attention, ops.Softmax))
    blocks = np.split(through_all, np.cumsum(sizes)[:-1])
    equal = len(set(sizes)) == 1
    for turn in permutations(range(count)) if equal and count == _PARTS else [range(count)]:
        names = ", ".join(_NAMES[k] if attends else str(k) for k in turn)
        kind = f" {'of' if attends else 'in the order'} {names}" * (count == _PARTS and equal)
        yield f"in blocks{kind}", instead([blocks[k] for k in turn])
    in_blocks = all(map(np.array_equal, parts, blocks))
    if equal:
        yield "feature by feature", instead(list(through_all.reshape(-1, count).T))
        if in_blocks:
            woven = through_all.reshape(count, -1).T.reshape(-1)
            yield "in blocks, though they were written feature by feature", woven
    for size in _head_sizes(case):
        if any(part % size for part in sizes):
            continue
        heads = [part // size for part in sizes]
        groups = min(heads)
        if any(count % groups for count in heads) or groups < 2:
            continue
        each = [count // groups for count in heads]
        by_head = through_all.reshape(groups, sum(each), size)
        ends = np.cumsum(each)
        apart = [by_head[:, end - n : end] for end, n in zip(ends, each, strict=True)]
        what = f"group by group ({groups} groups of {sum(each)} heads)"
        if max(each) == 1:
            what = f"head by head ({groups} heads, {count} parts each)"
        yield what, instead(apart)
        if equal:
            within = through_all.reshape(groups, size, count)
            features = [within[:, :, k] for k in range(count)]
            yield f"feature by feature within each of {groups} heads", instead(features)
        if in_blocks:
            pieces = zip(blocks, each, strict=True)
            together = [piece.reshape(groups, n, size) for piece, n in pieces]
            yield (
                f"in blocks, though they were written head by head ({groups} groups)",
                np.concatenate(together, axis=1).reshape(-1),
            )


def _head_sizes(case: Case) -> list[int]:
    """The features of a head, as reshapes tell."""
    sizes: dict[int, None] = {}
    for position, _ in case.having(ops.Reshape):
        after = case.values[position][0].shape
        if len(after) == 4 or _divided(case.input_of(position).shape, after):
            sizes[after[-1]] = None
    return list(sizes)
