"""Forcing: a tensor of A takes the place of one of B's, in the order of axes that B's value fits
it best by."""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from probe.comparison.compare import Comparison, compare
from probe.model_comparison.graphs.axes import Way, unchanged, ways
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.graphs.node_values import signature
from probe.model_comparison.matching.evaluating import digits_of_a, slack_of_a
from probe.model_comparison.matching.paired import Paired, Source
from probe.model_comparison.matching.walk_state import WalkState

__all__ = [
    "Aligned",
    "aligned",
    "force",
    "in_axes_of_b",
    "is_vague",
    "likely_ways",
    "off",
    "pair_up",
    "sample",
    "some",
]

_SAMPLE = 64


class Aligned(NamedTuple):
    """A's value in the order of axes that B's fits it best by."""

    way: Way
    local: Comparison
    """B's value against A's."""
    theirs: np.ndarray
    """A's value in B's axes."""
    allowed: np.ndarray
    """In B's axes."""


def force(
    state: WalkState,
    b: Tensor,
    source: Source,
    first: Sequence[Way],
    how: str,
    fitting: int = 1,
    only: bool = False,
) -> None:
    """Pairs a tensor of B with a source, whether they agree or not."""
    pair_up(state, b, source, aligned(state, b, source, first, only), how, fitting)


def likely_ways(state: WalkState, a: Tensor, b: Tensor, inner: Tensor | None = None) -> list[Way]:
    """The ways to try first: that of the op where ``inner`` is what it gives (its axes are the same
    in every framework), that of the inputs, then the last that fitted such ranks; else those that
    move the channels."""
    rank = (a.value.ndim, state.values[b].ndim if b in state.values else b.value.ndim)
    likely = []
    if inner is not None and rank[0] == rank[1]:
        likely.append(Way(tuple(int(k) for k in np.argsort(inner.shown[1]))))
    for x in () if b.node is None else b.node.inputs:
        way = state.way_of(x)
        if way is not None and way.merged is None and len(way.perm) == rank[1]:
            likely.append(way)
    shapes = (a.value.shape, state.values[b].shape if b in state.values else b.value.shape)
    likely += [state.remembered[key] for key in (rank, shapes) if key in state.remembered]
    return [way for way in likely if way.fits(a.value.shape)] or _channels_moved(*shapes)


def _channels_moved(a: tuple[int, ...], b: tuple[int, ...]) -> list[Way]:
    """The ways between channels first and last, where the shapes are those and differ: of the
    orders of axes that fit a square map the only usual ones."""
    if a == b or len(a) != len(b) or len(a) < 3:
        return []
    last = len(a) - 1
    orders = ((0, *range(2, last + 1), 1), (0, last, *range(1, last)))
    return [Way(perm) for perm in orders if tuple(a[axis] for axis in perm) == b]


def aligned(
    state: WalkState, b: Tensor, source: Source, first: Sequence[Way], only: bool = False
) -> Aligned:
    """What is to take the place of B's tensor, in the order of axes that fits best; one of
    ``first`` where none agrees."""
    value = state.values[b]
    array = source.gathered([tensor.value for tensor in source.tensors])
    slack_a = _slack_of_source(state, source)
    best: Aligned | None = None
    likely = False
    for way in islice(ways(array.shape, value.shape, first), 1 if only else 130):
        theirs = way.to_b(array)
        allowed = in_axes_of_b((state.slack[b], slack_a), way) + state.level.beyond(theirs)
        local = compare((theirs,), (value,), (np.broadcast_to(allowed, value.shape),))
        # where none agrees, the ways of what it is made of decide, not the nearest of all
        nearer = best is None or local.ratio < best.local.ratio
        if local.ok or best is None or (nearer and (way in first or not likely)):
            best, likely = Aligned(way, local, theirs, allowed), likely or way in first
        if local.ok:
            break
    if best is not None:
        return best
    way = next((way for way in first if way.fits(array.shape)), unchanged(array.ndim))
    theirs = way.to_b(array)
    return Aligned(way, compare((theirs,), (value,), (np.zeros(()),)), theirs, np.zeros(()))


def _slack_of_source(state: WalkState, source: Source) -> np.ndarray | None:
    """How far what takes the place may be off itself."""
    slacks = [slack_of_a(state, tensor) for tensor in source.tensors]
    if all(slack is None for slack in slacks):
        return None
    wide = []
    for tensor, slack in zip(source.tensors, slacks, strict=True):
        own = np.zeros(()) if slack is None else slack
        wide.append(np.broadcast_to(own, tensor.value.shape))
    return source.gathered(wide)


def pair_up(
    state: WalkState,
    b: Tensor,
    source: Source,
    aligned: Aligned,
    how: str,
    fitting: int = 1,
) -> None:
    """Notes the pair, and puts A's value in the place of B's; nothing where it was withdrawn."""
    if state.is_withdrawn(source.tensor, b):
        return
    way, local, theirs, allowed = aligned
    computed = b not in state.uncomputed
    paired = Paired(
        *(b, source, way, how, local if computed else None),
        unforced=None if local.ok or not computed else state.values[b],
        allowed=None if local.ok else allowed,
        fitting=fitting,
        vague=local.ok and is_vague(state, b, allowed),
        b_shape=state.values[b].shape,
        origin=state.decided[b].origin if b in state.decided else None,
    )
    state.pairs.append(paired)
    state.partner[b] = paired
    for tensor in source.tensors:
        state.partners_of_a[tensor].append(b)
    state.values[b] = theirs
    recorded = all(tensor.recorded is not None for tensor in source.tensors)
    if recorded and not state.a.loose:
        kept = None
    else:
        kept = slack_of_a(state, source.tensor)
    state.slack[b] = None if kept is None or source.columns else way.to_b(kept)
    if local.ok:
        state.remembered[way.merged or (len(way.perm), len(way.perm))] = way
    for tensor in source.tensors:
        if tensor.recorded is not None:
            state.slacks_of_a[tensor] = digits_of_a(state, tensor)


def is_vague(state: WalkState, b: Tensor, allowed: np.ndarray) -> bool:
    """Whether the allowance is larger than what the tensor's elements differ by."""
    value = state.values[b]
    if b.input is not None or value.dtype.kind != "f" or value.size < 2:
        return False
    typical = float(np.median(some(np.broadcast_to(allowed, value.shape))))
    if typical < 1e-3 * float(np.abs(some(value)).max(initial=0.0)):
        return False
    deviation = signature(value)[1]
    return bool(deviation and typical > deviation)


def off(state: WalkState, b: Tensor, inner: Tensor) -> float:
    """How far some elements of B's tensor lie from A's, in units of the allowance, in the most
    likely order of axes."""
    value, a = state.values[b], inner.shown[0]
    slack_a, rows = slack_of_a(state, a), sample(value)
    for way in likely_ways(state, a, b, inner):
        theirs = way.to_b(a.value)
        if theirs.shape != value.shape:
            continue
        slacks = [state.slack[b]]
        if slack_a is not None:
            slacks.append(way.to_b(slack_a))
        own = sum(
            np.broadcast_to(slack, value.shape)[rows] for slack in slacks if slack is not None
        )
        return compare((theirs[rows],), (value[rows],), (np.asarray(own, np.float64),)).ratio
    return np.inf


def in_axes_of_b(slack: tuple[np.ndarray | None, np.ndarray | None], way: Way) -> np.ndarray:
    """The allowance of both sides in B's axes."""
    b, a = slack
    total = np.zeros(())
    if b is not None:
        total = np.asarray(b)
    if a is not None:
        total = total + way.to_b(np.asarray(a))
    return total


def sample(value: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of some elements, spread over the array."""
    flat = np.unique(np.linspace(0, value.size - 1, min(_SAMPLE, value.size)).astype(np.intp))
    if value.ndim:
        return np.unravel_index(flat, value.shape)
    return ()


def some(array: np.ndarray) -> np.ndarray:
    """Some elements, spread over an array."""
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // 2048)]
