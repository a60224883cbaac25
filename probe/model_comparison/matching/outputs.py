"""The models' outputs, which are pairs by their places where nothing before told it."""

from itertools import permutations

import numpy as np

from probe.comparison.compare import compare
from probe.model_comparison.graphs.axes import unchanged
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.matching.forcing import Aligned, aligned, force, likely_ways, pair_up
from probe.model_comparison.matching.paired import Source
from probe.model_comparison.matching.walk_state import WalkState, same_numbers
from probe.ops import Identity

__all__ = ["pair_outputs"]

_LONGEST = 5
"""Outputs of more axes are not read in every order of them."""


def pair_outputs(state: WalkState) -> None:
    """Pairs the outputs that have no partner, and those whose partner is no output of A."""
    for a, b in zip(state.a.outputs, state.b.outputs, strict=False):
        known = state.partner_root(b)
        if known is None and b in state.values and b.root in state.values:
            end = b.root if b.root.node is not None else b
            if end in state.partner or a.root.value.size != state.values[end].size:
                end = b
            source = a.root.shown[0] if end is b.root else a
            force(state, end, Source((source,)), likely_ways(state, source, end), "structure")
        elif known is not None and not (_is_given(state, known, a) and _in_its_axes(state, a, b)):
            _pair_end(state, a, b)


def _in_its_axes(state: WalkState, a: Tensor, b: Tensor) -> bool:
    """Whether an output of B has A's axes, or those of another layout, as two of three things
    say: that the channels move, its shape, that the frameworks have different ones. Notes those
    that it has instead."""
    x, value = a.value, state.values.get(b)
    if value is None or x.ndim != value.ndim or x.ndim > _LONGEST or _equal(x, value):
        return True
    for perm in permutations(range(x.ndim)):
        turned = x.transpose(perm)
        if turned.shape != value.shape or not _equal(turned, value):
            continue
        channels = perm[0] == 0 and perm in _channels_moved(x.ndim)
        by_shape = x.shape != value.shape
        if sum((channels, by_shape, not state.same_layout)) > 1:
            axes = ",".join(map(str, perm))
            place = state.b.outputs.index(b)
            state.notes.append(f"output {place} of B is A's with the axes {axes}")
            return True
        return False
    return True


def _is_given(state: WalkState, known: Tensor, a: Tensor) -> bool:
    """Whether a tensor of A is the output that B's stands for; of models with different numbers
    of outputs, one of them."""
    alike = len(state.a.outputs) == len(state.b.outputs)
    wanted = [output.root for output in ((a,) if alike else state.a.outputs)]
    return any(known is root or same_numbers(known, root) for root in wanted)


def _pair_end(state: WalkState, a: Tensor, b: Tensor) -> None:
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
        return
    source = Source((a.root.shown[0],))
    best = aligned(state, end, source, likely_ways(state, source.tensor, end))
    if not best.local.ok:
        pair_up(state, end, source, best, "structure")


def _channels_moved(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The channels from the last axis to the second, and back."""
    axes = range(1, rank - 1)
    return (0, rank - 1, *axes), (0, *(axis + 1 for axis in axes), 1)


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and np.array_equal(
        left, right, equal_nan=left.dtype.kind == "f"
    )
