"""Pairs within a segment that fails, by the order of its steps: kept only where what follows them
agrees.

A step of B and one of A of the same kind are taken for each other, A's tensor put in the place of
B's, and the rest of the segment computed again. Where that still fails, the pair was none.
"""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import islice

import numpy as np

from probe.comparison.compare import Comparison, compare
from probe.model_comparison.graphs.axes import Way, unchanged, ways
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.node_values import taken
from probe.model_comparison.matching.evaluating import allowance_of, slack_of_a
from probe.model_comparison.matching.exchanges import with_exchanges
from probe.model_comparison.matching.paired import Decision, Paired, Source
from probe.model_comparison.matching.segments import Segment, computing, segments, tensors_read
from probe.model_comparison.matching.walk import walk_again
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.matching.withdrawing import without_wrong_pairs

__all__ = ["refined"]

_WALKS = 12
"""So many segments are split."""
_ROUNDS = 12
"""So many times a segment is computed again."""
_SINGLY = 6
"""In so many of these rounds the last doubtful pairs alone are left out: those before may differ
for these."""
_MOST = 400
"""Steps of a segment that is looked into."""


def refined(walk: WalkState) -> tuple[WalkState, list[Segment]]:
    """The walk and its segments, once more for what the first showed: pairs that are none, outputs
    in another order that nothing behind them puts right, and pairs within segments that fail."""
    walk, all_segments = without_wrong_pairs(walk, segments(walk))
    walk, all_segments = with_exchanges(walk, all_segments)
    walk, all_segments = _in_place(walk, all_segments)
    seen: set[frozenset[GraphNode]] = set()
    for _ in range(_WALKS):
        pairs = _split_first(walk, all_segments, seen)
        if not pairs:
            break
        known = {decision.b for decision in pairs}
        decisions = [*pairs, *(decision for decision in walk.decisions if decision.b not in known)]
        walk = walk_again(walk, decisions=decisions)
        all_segments = segments(walk)
    return walk, all_segments


def _in_place(walk: WalkState, all_segments: list[Segment]) -> tuple[WalkState, list[Segment]]:
    """Takes outputs that are another's in another order, or in other axes of the same lengths, for
    that place by place, where what reads them then agrees."""
    readers: dict[Tensor, list[Tensor]] = {}
    for segment in all_segments:
        for b in tensors_read(segment) if segment.differs else ():
            if (paired := walk.partner.get(b)) is not None and _rearranged(paired):
                readers.setdefault(b, []).append(segment.paired.b)
    if not readers:
        return walk, all_segments
    again = _placed(walk, readers)
    helped = [
        b
        for b, ends in readers.items()
        if all(end not in again.partner or again.agrees(end) for end in ends)
    ]
    if helped and len(helped) < len(readers):
        again = _placed(walk, helped)
    new_segments = segments(again)
    if helped and sum(segment.differs for segment in new_segments) <= sum(
        segment.differs for segment in all_segments
    ):
        return again, new_segments
    return walk, all_segments


def _rearranged(paired: Paired) -> bool:
    a, way = paired.a, paired.way
    if a.columns:
        return len(a.columns) == 1 and paired.b.node is not None
    if (
        not way.text
        or way.merged is not None
        or paired.how == "given"
        or paired.b.input is not None
    ):
        return False
    return a.tensor.value.shape == paired.b_shape


def _placed(walk: WalkState, tensors: Iterable[Tensor]) -> WalkState:
    """A walk on which these tensors of B stand for A's place by place."""
    pairs = [walk.partner[tensor] for tensor in tensors]
    nodes = {paired.b.node for paired in pairs if paired.a.columns and paired.b.node is not None}
    decisions = [
        Decision(paired.a.tensor, paired.b, paired.how, unchanged(len(paired.b_shape)), only=True)
        for paired in pairs
        if not paired.a.columns
    ]
    known = {decision.b for decision in decisions}
    kept = [decision for decision in walk.decisions if decision.b not in known]
    return walk_again(walk, decisions=[*decisions, *kept], in_place=walk.in_place | nodes)


def _split_first(
    walk: WalkState, segments: list[Segment], seen: set[frozenset[GraphNode]]
) -> list[Decision]:
    """The pairs within the first segment that fails and can be split; each is tried once."""
    for segment in segments:
        nodes = frozenset(segment.b)
        if (
            segment.differs
            and 1 < len(segment.b) <= _MOST
            and len(segment.a) > 1
            and not segment.paired.a.columns
            and nodes not in seen
        ):
            seen.add(nodes)
            if pairs := _split(walk, segment):
                return pairs
    return []


def _split(walk: WalkState, segment: Segment) -> list[Decision]:
    wanted = _candidates(walk, segment)
    for number in range(_ROUNDS):
        if not wanted:
            return []
        inner_pairs = _computed(walk, segment, wanted)
        if inner_pairs is None:
            return []
        doubtful = _doubtful(segment, inner_pairs, wanted)
        if not doubtful:
            break
        for tensor, readers in doubtful.items():
            if number >= _SINGLY or readers - doubtful.keys():
                wanted.pop(tensor, None)
    else:
        return []
    inner_pairs = _needed(walk, segment, inner_pairs, wanted)
    end = inner_pairs[segment.paired.b]
    if not end.local.ok and not any(inner_pairs[tensor].local.ok for tensor in wanted):
        return []
    old = segment.paired
    origin = old.origin or old.b
    pairs = [
        (tensor, inner_pairs[tensor].paired.a.tensor, inner_pairs[tensor].paired.way)
        for tensor in wanted
    ]
    inner = [Decision(a, b, "structure", way, origin) for b, a, way in pairs]
    return [*inner, Decision(old.a.tensor, old.b, old.how, old.way, origin)]


def _needed(
    walk: WalkState,
    segment: Segment,
    inner_pairs: dict[Tensor, "_InnerPair"],
    wanted: dict[Tensor, tuple[Tensor, Way]],
) -> dict[Tensor, "_InnerPair"]:
    """Leaves out of the pairs those that differ without anything behind them noticing: a mask of
    -inf for one of large numbers."""
    for tensor in [tensor for tensor in wanted if not inner_pairs[tensor].local.ok][:_ROUNDS]:
        without = {other: source for other, source in wanted.items() if other is not tensor}
        again = _computed(walk, segment, without)
        if again is not None and all(
            inner.local.ok or not inner_pairs[key].local.ok for key, inner in again.items()
        ):
            wanted.pop(tensor)
            inner_pairs = again
    return inner_pairs


def _candidates(walk: WalkState, segment: Segment) -> dict[Tensor, tuple[Tensor, Way]]:
    """For tensors of B within the segment what of A they may be."""
    a, b = computing(segment.a), computing(segment.b)
    kinds = [[node.kind for node in nodes] for nodes in (a, b)]
    candidates: dict[Tensor, tuple[Tensor, Way]] = {}
    matcher = SequenceMatcher(None, kinds[0], kinds[1], autojunk=False)
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            left, right = a[block.a + k].outputs[0], b[block.b + k].outputs[0]
            if right is segment.paired.b or right in walk.partner or walk.partners_of_a.get(left):
                continue
            if right not in walk.values or left.value.size != walk.values[right].size:
                continue
            way = next(islice(ways(left.value.shape, walk.values[right].shape), 1), None)
            if way is not None and left.value.dtype.kind == "f":
                candidates[right] = left, way
    return candidates


class _InnerPair:
    """A tensor of the segment that A's takes the place of."""

    def __init__(
        self, value: np.ndarray, local: Comparison, allowed: np.ndarray, paired: Paired
    ) -> None:
        self.value, self.local, self.allowed, self.paired = value, local, allowed, paired


def _computed(
    walk: WalkState, segment: Segment, wanted: Mapping[Tensor, tuple[Tensor, Way]]
) -> dict[Tensor, _InnerPair] | None:
    """The segment once more, with A's tensors in the places that are wanted."""
    values: dict[Tensor, np.ndarray] = {}
    slack: dict[Tensor, np.ndarray | None] = {}
    inner_pairs: dict[Tensor, _InnerPair] = {}
    for node in segment.b:
        if node.op is None:
            return None
        operands = [values.get(x, walk.values.get(x, x.value)) for x in node.inputs]
        arrived = [slack[x] if x in slack else walk.slack.get(x) for x in node.inputs]
        outputs = walk.level.evaluated(node, operands)
        if outputs is None:
            return None
        bounds = allowance_of(walk, node, [taken(node, x) for x in operands], arrived, outputs)
        for tensor, value, bound in zip(node.outputs, outputs, bounds, strict=False):
            values[tensor], slack[tensor] = value, bound
            source = wanted.get(tensor)
            if source is not None:
                a, way = source
                pair = _held(tensor, value, bound, Source((a,)), _best(a, value, way), walk)
                inner_pairs[tensor] = pair
                values[tensor], slack[tensor] = pair.paired.way.to_b(a.value), None
                if a.recorded is None and (own := slack_of_a(walk, a)) is not None:
                    slack[tensor] = pair.paired.way.to_b(own)
    end = segment.paired
    if end.b not in values:
        return None
    inner_pairs[end.b] = _held(end.b, values[end.b], slack[end.b], end.a, end.way, walk)
    return inner_pairs


def _best(a: Tensor, value: np.ndarray, first: Way) -> Way:
    """The way in which A's numbers lie nearest to B's."""
    best, least = first, np.inf
    for way in islice(ways(a.value.shape, value.shape, (first,)), 24):
        with np.errstate(all="ignore"):
            apart = float(np.abs(np.clip(way.to_b(a.value) - value, -1e30, 1e30)).mean())
        if apart < least * (1 - 1e-9):
            best, least = way, apart
    return best


def _held(
    tensor: Tensor,
    value: np.ndarray,
    bound: np.ndarray | None,
    source: Source,
    way: Way,
    walk: WalkState,
) -> _InnerPair:
    theirs = way.to_b(source.gathered([tensor.value for tensor in source.tensors]))
    own = slack_of_a(walk, source.tensor)
    allowed = np.zeros(()) if bound is None else bound
    if own is not None and not source.columns:
        allowed = allowed + way.to_b(np.broadcast_to(own, source.tensor.value.shape))
    if theirs.shape == value.shape:
        whole = np.broadcast_to(allowed, value.shape)
    else:
        whole = allowed
    local = compare((theirs,), (value,), (whole,))
    paired = Paired(
        *(tensor, source, way, "structure", local),
        unforced=None if local.ok else value,
        allowed=None if local.ok else whole,
        b_shape=value.shape,
    )
    return _InnerPair(value, local, whole, paired)


def _doubtful(
    segment: Segment,
    inner_pairs: Mapping[Tensor, _InnerPair],
    wanted: Mapping[Tensor, tuple[Tensor, Way]],
) -> dict[Tensor, set[Tensor]]:
    """The pairs that fail, and behind which what reads them fails too: these."""
    failing = {tensor for tensor in wanted if not inner_pairs[tensor].local.ok}
    doubtful: dict[Tensor, set[Tensor]] = {}
    for tensor, inner in inner_pairs.items():
        if inner.local.ok:
            continue
        waiting = [] if tensor.node is None else [tensor.node]
        seen: set[GraphNode] = set()
        while waiting:
            node = waiting.pop()
            if node in seen or node not in segment.b:
                continue
            seen.add(node)
            for x in node.inputs:
                if x in failing:
                    doubtful.setdefault(x, set()).add(tensor)
                elif x not in inner_pairs and x.node is not None:
                    waiting.append(x.node)
    return doubtful
