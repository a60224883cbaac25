"""The models' outputs: which stand for one another, by name, by what they hold or by their places,
where nothing before told it."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from probe.comparison.compare import compare
from probe.model_comparison.graphs.array_names import tell_apart
from probe.model_comparison.graphs.axes import unchanged
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph, Tensor
from probe.model_comparison.matching.forcing import Aligned, aligned, force, likely_ways, pair_up
from probe.model_comparison.matching.output_relations import Related, pair_related
from probe.model_comparison.matching.paired import SharedReason, Source
from probe.model_comparison.matching.walk_state import WalkState, same_numbers
from probe.model_comparison.sides import Side
from probe.ops import Identity

__all__ = ["pair_outputs"]

_LONGEST = 5
"""Outputs of more axes are not read in every order of them."""
_Places = dict[int, int]
"""For outputs of B which of A's stands for each, by their places among those that nodes make."""


def pair_outputs(state: WalkState) -> None:
    """Pairs the outputs that have no partner, and those whose partner is no output of A."""
    if not state.a.outputs:
        return
    places, how = _counterparts(state)
    related = pair_related(state, places)
    left, chosen = _left(state, places, related)
    places.update(zip(left, chosen, strict=False))
    more = left[len(chosen) :] if len(state.b.output_names) > len(state.a.output_names) else []
    known = {*related.used[Side.B], *more} - _beside_parts(state, places, related, more)
    state.accounted.update(state.b.outputs[k] for k in known)
    reason = _exchanged(state, places)
    for b, a in places.items():
        _pair_output(state, state.a.outputs[a], state.b.outputs[b], reason)
    state.notes += [*related.notes, *_notes(state, places, how, related)]


def _counterparts(state: WalkState) -> tuple[_Places, str]:
    """The outputs that stand for one another and are of one size, and how that is known where it
    is not by their places."""
    named = _by_name(state.a, state.b)
    if named:
        return _of_one_size(state, named), "by name"
    in_place = _in_place(state.a, state.b)
    if len(_of_one_size(state, in_place)) == len(state.b.outputs) == len(in_place):
        return in_place, ""
    return _of_one_size(state, _by_partner(state)), "by what they hold"


def _of_one_size(state: WalkState, places: _Places) -> _Places:
    return {
        b: a
        for b, a in places.items()
        if state.a.outputs[a].value.size == state.b.outputs[b].value.size
    }


def _by_name(a: ModelGraph, b: ModelGraph) -> _Places:
    """By the names of outputs, where one model has all names of the other."""
    common = {*a.output_names} & {*b.output_names}
    if len(common) < min(len(a.output_names), len(b.output_names)):
        return {}
    if not (tell_apart(a.output_names) and tell_apart(b.output_names)):
        return {}
    known = {a.output_names[place]: k for k, place in enumerate(a.places)}
    names = [b.output_names[place] for place in b.places]
    return {k: known[name] for k, name in enumerate(names) if name in known}


def _in_place(a: ModelGraph, b: ModelGraph) -> _Places:
    """By their places, where the models give as many."""
    if len(a.output_names) != len(b.output_names):
        return {}
    known = {place: k for k, place in enumerate(a.places)}
    return {k: known[place] for k, place in enumerate(b.places) if place in known}


def _by_partner(state: WalkState) -> _Places:
    """By the tensors of A that stand for B's outputs already."""
    places: _Places = {}
    for k, b in enumerate(state.b.outputs):
        known = state.partner_root(b)
        free = [place for place in range(len(state.a.outputs)) if place not in places.values()]
        for place in free if known is not None else ():
            root = state.a.outputs[place].root
            if known is root or (known is not None and same_numbers(known, root)):
                places[k] = place
                break
    return places


def _left(state: WalkState, places: _Places, related: Related) -> tuple[list[int], list[int]]:
    """The outputs of B that nothing is known of, and those of A, for each one of its size
    first."""
    a, b = state.a.outputs, state.b.outputs
    of_a = [k for k in range(len(a)) if k not in {*places.values()} | related.used[Side.A]]
    of_b = [k for k in range(len(b)) if k not in {*places} | related.used[Side.B]]
    chosen: list[int] = []
    for k in of_b:
        free = [place for place in of_a if place not in chosen]
        alike = [place for place in free if a[place].value.size == b[k].value.size]
        chosen += (alike or free)[:1]
    return of_b, chosen


def _beside_parts(
    state: WalkState, places: _Places, related: Related, more: Sequence[int]
) -> set[int]:
    """The outputs of B that may be wrong: one model gives a part of an output of the other's, and
    as many elements as the rest has, which are none of it."""
    a, b = state.a.outputs, state.b.outputs
    lost = [k for k in range(len(a)) if k not in {*places.values()} | related.used[Side.A]]
    rests = {
        side: {k: ends[k].value.size - size for k, size in related.parts[side].items()}
        for side, ends in ((Side.A, a), (Side.B, b))
    }
    of_a = {rest for k, rest in rests[Side.A].items() if k not in places.values()}
    lost_sizes = {a[k].value.size for k in lost}
    return {
        *(k for k in more if b[k].value.size in of_a),
        *(k for k, rest in rests[Side.B].items() if k not in places and rest in lost_sizes),
    }


def _notes(state: WalkState, places: _Places, how: str, related: Related) -> Iterator[str]:
    """What is to be said of outputs in another order, of other shapes than an order of axes makes
    of them, or not as many."""
    order = [state.a.places[a] for _, a in sorted(places.items())]
    if how and order != sorted(order):
        yield f"B's outputs are A's outputs {', '.join(map(str, order))}, paired {how}"
    for b, a in sorted(places.items()):
        first, second = state.a.outputs[a].value.shape, state.b.outputs[b].value.shape
        if sorted(first) != sorted(second) and np.prod(first) == np.prod(second):
            yield f"output {state.a.places[a]} has the shape {first} in A and {second} in B"
    counts = [len(graph.output_names) for graph in (state.a, state.b)]
    paired = [
        len({*places.values()} | related.used[Side.A]),
        len({*places} | related.used[Side.B]),
    ]
    if counts[0] != counts[1] and paired != counts:
        of_a, of_b = (f"{count} output{'s' * (count != 1)}" for count in counts)
        yield f"A gives {of_a} and B {of_b}: what the others hold is not compared"


def _exchanged(state: WalkState, places: _Places) -> SharedReason | None:
    """What is told of outputs that stand for one another's; None of others."""
    holds = {}
    for b, a in sorted(places.items()):
        root = state.partner_root(state.b.outputs[b])
        held = [k for k in places.values() if root is state.a.outputs[k].root]
        if root is not None and held and a not in held:
            holds[a] = held[0]
    if not holds or {*holds} != {*holds.values()}:
        return None
    mine, theirs = (
        ", ".join(str(state.a.places[k]) for k in order) for order in (holds, holds.values())
    )
    words = f"B's outputs in the places of A's {mine} hold A's outputs {theirs}: they are exchanged"
    return SharedReason("outputs", mine, theirs, words)


def _pair_output(state: WalkState, a: Tensor, b: Tensor, reason: SharedReason | None) -> None:
    """Pairs an output with A's; ``reason`` is what is to be said where it stands for another."""
    known = state.partner_root(b)
    if known is None and b in state.values and b.root in state.values:
        end = b.root if b.root.node is not None else b
        if end in state.partner or a.root.value.size != state.values[end].size:
            end = b
        source = a.root.shown[0] if end is b.root else a
        force(state, end, Source((source,)), likely_ways(state, source, end), "structure")
    elif known is not None and not (_is_given(state, known, a) and _in_its_axes(state, a, b)):
        end = _pair_end(state, a, b)
        if reason is not None:
            state.shared_reasons[end] = reason


def _in_its_axes(state: WalkState, a: Tensor, b: Tensor) -> bool:
    """Whether an output of B has A's axes, or those of another layout, as two of three things
    say: that the channels move, or batch and time are exchanged, its shape, that the frameworks
    have different ones. Notes those that it has instead. False, too, where it has A's elements in
    another order."""
    x, value = a.value, state.values.get(b)
    if value is None or x.ndim != value.ndim or x.ndim > _LONGEST or _equal(x, value):
        return True
    for perm in permutations(range(x.ndim)):
        turned = x.transpose(perm)
        if turned.shape != value.shape or not _equal(turned, value):
            continue
        of_sequences = x.ndim > 2 and perm == (1, 0, *range(2, x.ndim))  # time or batch first
        usual = of_sequences or (perm[0] == 0 and perm in _channels_moved(x.ndim))
        by_shape = x.shape != value.shape
        if sum((usual, by_shape, not state.same_layout)) > 1:
            axes = ",".join(map(str, perm))
            place = state.b.outputs.index(b)
            state.notes.append(f"output {place} of B is A's with the axes {axes}")
            return True
        return False
    return not _is_rearranged(x, value)


def _is_rearranged(x: np.ndarray, value: np.ndarray) -> bool:
    """Whether one array holds the other's elements in another order, in the same shape."""
    return x.shape == value.shape and _equal(np.sort(x, axis=None), np.sort(value, axis=None))


def _is_given(state: WalkState, known: Tensor, a: Tensor) -> bool:
    """Whether a tensor of A is the output that B's stands for; of models with different numbers
    of outputs, one of them."""
    alike = len(state.a.outputs) == len(state.b.outputs)
    wanted = [output.root for output in ((a,) if alike else state.a.outputs)]
    return any(known is root or same_numbers(known, root) for root in wanted)


def _pair_end(state: WalkState, a: Tensor, b: Tensor) -> Tensor:
    """Pairs an output of B that stands for another tensor of A's with A's output: what A does
    to it last is missing, or the outputs are in another order. Nothing where the two agree."""
    call = state.b.nodes[-1].call if b.node is None else b.node.call
    end = Tensor(b.name, b.value)
    end.node = GraphNode(Identity(), (b,), (end,), call, 0 if b.node is None else b.node.index)
    state.values[end], state.slack[end] = state.values[b], state.slack[b]
    if not _in_its_axes(state, a, b):  # no order of axes excuses it
        nothing = np.zeros(())
        local = compare((a.value,), (state.values[b],), (nothing,))
        as_it_is = Aligned(unchanged(a.value.ndim), local, a.value, nothing)
        pair_up(state, end, Source((a,)), as_it_is, "structure")
        return end
    source = Source((a.root.shown[0],))
    best = aligned(state, end, source, likely_ways(state, source.tensor, end))
    if not best.local.ok:
        pair_up(state, end, source, best, "structure")
    return end


def _channels_moved(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The channels from the last axis to the second, and back."""
    axes = range(1, rank - 1)
    return (0, rank - 1, *axes), (0, *(axis + 1 for axis in axes), 1)


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and np.array_equal(
        left, right, equal_nan=left.dtype.kind == "f"
    )
