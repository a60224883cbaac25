"""Pairs by value: a tensor of B is the one of A that it lies within the allowance of."""

from itertools import islice

import numpy as np

from probe.model_comparison.graphs.axes import ways
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.graphs.node_values import signature
from probe.model_comparison.matching.evaluating import slack_of_a
from probe.model_comparison.matching.forcing import (
    Aligned,
    aligned,
    in_axes_of_b,
    likely_ways,
    pair_up,
    sample,
    some,
)
from probe.model_comparison.matching.paired import Source
from probe.model_comparison.matching.walk_state import WalkState

__all__ = ["pair_by_value"]

_TRIED = 24
"""So many tensors of A are held against one of B's."""
_EVIDENCE = 0.1
"""An allowance of more than that part of a tensor's deviation proves nothing."""


def pair_by_value(state: WalkState, b: Tensor) -> None:
    """Pairs a tensor with the first of A's that it equals within rounding, the likeliest first."""
    value, slack = state.values[b], state.slack[b]
    if value.dtype.kind != "f" or value.size < 2 or not np.isfinite(value).any():
        return
    counterpart = _counterpart(state, b)
    if (
        counterpart is not None
        and not state.is_withdrawn(counterpart, b)
        and _tells_apart(state, b)
        and _pair_if_it_fits(state, b, counterpart)
    ):
        return
    own = signature(value)
    if not own[1] > 1e-9 * own[0]:
        return
    if not _typical(slack) < _EVIDENCE * own[1]:
        return
    largest = 0.0
    if slack is not None:
        largest = float(np.max(np.where(slack < 1e30, slack, 0.0)))
    near = 3 * largest + 1e-5 * own[0]
    around = _around(state, b)
    candidates = []
    for a in state.sized[value.size]:
        mark = state.signatures.get(a)
        if mark is None:
            mark = state.signatures.setdefault(a, signature(a.value))
        if np.abs(mark - own).max() <= near and not state.is_withdrawn(a, b):
            place = -1 if a.node is None else a.node.index
            used = bool(state.partners_of_a.get(a))
            other = a.node is None or b.node is None or a.node.kind != b.node.kind
            candidates.append((used, other, abs(place - around), place, a))
    candidates.sort(key=lambda candidate: candidate[:4])
    for *_, a in islice(candidates, _TRIED):
        if _pair_if_it_fits(state, b, a):
            return


def _counterpart(state: WalkState, b: Tensor) -> Tensor | None:
    """What a node of A of the same kind makes of the partners of what B's node reads."""
    if b.node is None:
        return None
    partners = [state.partner_root(x) for x in b.node.inputs]
    if not partners or partners[0] is None or None in partners:
        return None
    for node in partners[0].consumers:
        alike = node.kind == b.node.kind and [x.root for x in node.inputs] == partners
        if alike and len(node.outputs) == 1:
            counterpart = node.outputs[0].shown[0]
            if state.is_free(node) and counterpart in state.sized[state.values[b].size]:
                return counterpart
            return None
    return None


def _tells_apart(state: WalkState, b: Tensor) -> bool:
    """Whether some elements vary by more than rounding may explain."""
    values = some(state.values[b]).astype(np.float64)
    if not np.isfinite(values).all():
        return False
    typical = _typical(state.slack[b])
    return bool(typical < _EVIDENCE * values.std() > 1e-9 * np.abs(values).max())


def _typical(slack: np.ndarray | None) -> float:
    """The median of an allowance."""
    if slack is None:
        return 0.0
    return float(np.median(some(slack)))


def _around(state: WalkState, b: Tensor) -> float:
    """Where in A the partners of what B's tensor is made of lie."""
    last = -1
    for x in () if b.node is None else b.node.inputs:
        partner = state.partner_root(x)
        if partner is not None and partner.node is not None:
            last = max(last, partner.node.index)
    return last + 1


def _pair_if_it_fits(state: WalkState, b: Tensor, a: Tensor) -> bool:
    """Pairs with a tensor of A that B's lies within the allowance of, in some order of axes."""
    value, source = state.values[b], Source((a,))
    slacks = state.slack[b], slack_of_a(state, a)
    rows = sample(value)
    mine = value[rows]
    agreeing: Aligned | None = None
    fitting = 0
    for way in ways(a.value.shape, value.shape, likely_ways(state, a, b)):
        theirs = way.to_b(a.value)
        allowed = in_axes_of_b(slacks, way)
        if not _within(mine, theirs[rows], allowed[rows] if allowed.ndim else allowed):
            continue
        if agreeing is None:
            whole = aligned(state, b, source, (way,), only=True)
            if not whole.local.ok:
                continue
            agreeing = whole
        fitting += 1
    if agreeing is None:
        return False
    pair_up(state, b, source, agreeing, "values", fitting)
    return True


def _within(left: np.ndarray, right: np.ndarray, allowed: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right) <= allowed
    if apart.all():
        return True
    return bool((apart | (left == right) | (np.isnan(left) & np.isnan(right))).all())
