"""The forced walk: B is computed once, node by node, and wherever a tensor of B has a partner, A's
tensor takes its place.

So every value of B is made from A's alone: where B is right it equals a tensor of A within
rounding, whatever went wrong before. Pairing by value, the error that is made in each segment, and
going on behind a fault are this one loop.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.matching.by_value import pair_by_value
from probe.model_comparison.matching.by_weights import (
    chosen_anchor,
    pair_anchored,
    pair_best,
    prove_input,
)
from probe.model_comparison.matching.evaluating import compute
from probe.model_comparison.matching.forcing import force, likely_ways
from probe.model_comparison.matching.level import rounding_of
from probe.model_comparison.matching.outputs import pair_outputs
from probe.model_comparison.matching.paired import Decision, Exchange, Source
from probe.model_comparison.matching.undescribed import pair_recorded
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.sides import Side
from probe.numerics.precision import SIGMAS

__all__ = ["walk", "walk_again"]


def walk(state: WalkState) -> WalkState:
    """Walks over B, from its inputs to its outputs."""
    exchanged = {b: a for exchange in state.exchanges for b, a in exchange.inputs.items()}
    for pair in state.inputs:
        a, b = state.a.inputs[exchanged.get(pair.b, pair.a)], state.b.inputs[pair.b]
        if not state.is_withdrawn(a, b):
            _take_input(state, a, b, pair.way)
    for b in state.b.inputs:
        if b not in state.values:
            _take_own(state, b)
    for node in state.b.nodes:
        _step(state, node)
    pair_outputs(state)
    return state


def walk_again(
    state: WalkState,
    decisions: Sequence[Decision] | None = None,
    in_place: frozenset[GraphNode] | None = None,
    withdrawn: frozenset[tuple[Tensor, Tensor]] | None = None,
    exchanges: Sequence[Exchange] | None = None,
) -> WalkState:
    """The same walk with other pairs decided, or withdrawn, or with layers exchanged."""
    if decisions is not None:
        state = replace(state, decisions=decisions)
    if in_place is not None:
        state = replace(state, in_place=in_place)
    if withdrawn is not None:
        state = replace(state, withdrawn=withdrawn)
    if exchanges is not None:
        state = replace(state, exchanges=exchanges)
    return walk(state)


def _take_input(state: WalkState, a: Tensor, b: Tensor, way: Way) -> None:
    """Pairs an input of B with A's, which it may be rounded to the type that B takes."""
    assert a.recorded is not None
    assert b.recorded is not None
    state.values[b], state.slack[b] = b.recorded, None
    theirs = way.to_b(a.recorded) if way.fits(a.recorded.shape) else a.recorded
    rounded = rounding_of(theirs, b.recorded)
    if rounded:
        state.slack[b] = np.abs(theirs.astype(np.float64) - b.recorded)
    force(state, b, Source((a,)), (way,), "structure")
    # Either model may round what it is given to the type that it computes in; what A rounds adds up
    # by chance in the first layer.
    by_chance = 1.0 if state.level.side is Side.B else SIGMAS / np.sqrt(3)
    unit = max(rounded, by_chance * state.level.unit)
    if unit and state.values[b].dtype.kind == "f":
        state.slack[b] = unit * np.abs(state.values[b].astype(np.float64))


def _take_own(state: WalkState, b: Tensor) -> None:
    """Keeps an input of B that is none of A's; it may be what A makes of its own."""
    assert b.recorded is not None
    state.values[b], state.slack[b] = b.recorded, None
    if state.a.inputs:
        pair_by_value(state, b)


def _step(state: WalkState, node: GraphNode) -> None:
    """Computes a node, and pairs its outputs: as decided, by weights, by value."""
    anchors = state.placed.get(node) or state.anchors.get(node, ())
    chosen = chosen_anchor(state, node, anchors)
    if chosen is not None and chosen.ordered:
        prove_input(state, node, chosen)
    compute(state, node)
    for output in node.outputs:
        if output not in state.values or output in state.uncomputed:
            continue
        if output in state.decided:
            decision = state.decided[output]
            first = likely_ways(state, decision.a, output)
            if decision.way is not None:
                first = [decision.way, *first]
            force(state, output, Source((decision.a,)), first, decision.how, only=decision.only)
    if chosen is not None or anchors:
        pair_anchored(state, node, chosen, anchors)
    for output in node.outputs:
        if output in state.partner or output in state.inside or output not in state.values:
            continue
        if output in state.awaited:
            pair_best(state, output, state.awaited[output])
        elif output in state.uncomputed:
            pair_recorded(state, output)
        elif not node.layout:
            pair_by_value(state, output)
