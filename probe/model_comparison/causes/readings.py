"""Which elements a layer of B reads in the place of those that A's reads, where only that is wrong:
proven by putting A's in their place."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from probe import printable
from probe.model_comparison.causes.reading import aligned, matched
from probe.model_comparison.causes.trying import gives_values_of_a
from probe.model_comparison.causes.weight_differences import Difference
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.normalize import is_constant
from probe.model_comparison.matching.element_origins import (
    ElementOrigin,
    channels_of,
    is_moved,
    origin,
)
from probe.model_comparison.matching.segments import Segment, tensors_read
from probe.model_comparison.matching.walk_state import WalkState
from probe.ops import Rearrangement

__all__ = ["other_readings"]

_MOST = 200
"""Steps of a segment that is computed again."""
_TRIED = 4
"""So many places are tried one by one."""


class _Operand(NamedTuple):
    """What a node of B reads at one place, and A's numbers for it."""

    node: GraphNode
    place: int
    value: np.ndarray
    of_a: Tensor


def other_readings(segment: Segment, walk: WalkState) -> Iterator[Difference]:
    """What B's layers read otherwise than A's, where they give A's values on what A's read."""
    if len(segment.b) > _MOST or any(node.op is None for node in segment.b):
        return
    for told in _of_moves(segment, walk):
        yield told
        return
    for operands in _candidates(segment, walk):
        instead = {(operand.node, operand.place): operand.value for operand in operands}
        if gives_values_of_a(segment, walk, instead):
            yield _told(operands, walk)
            return


def _candidates(segment: Segment, walk: WalkState) -> Iterator[Sequence[_Operand]]:
    """The places to try, one by one, then those of one node, then all."""
    inner = [*_of_nodes(segment, walk)]
    outer = [*_of_ends(segment, walk)]
    for operands in (inner, outer):
        yield from ([operand] for operand in operands[:_TRIED])
        for node in dict.fromkeys(operand.node for operand in operands):
            together = [operand for operand in operands if operand.node is node]
            if len(together) > 1:
                yield together
        if len({operand.node for operand in operands}) > 1:
            yield operands


def _of_nodes(segment: Segment, walk: WalkState) -> Iterator[_Operand]:
    """What nodes of one kind read otherwise, through steps alone that move elements."""
    pairs, _, _ = matched(*aligned(segment))
    for left, right in pairs:
        if isinstance(right.op, Rearrangement) or len(left.inputs) != len(right.inputs):
            continue
        for place, (mine, theirs) in enumerate(zip(left.inputs, right.inputs, strict=True)):
            if is_constant(theirs) is not None or not is_moved(theirs):
                continue
            if origin(theirs, walk, True) is None or _is_computed(mine, segment):
                continue
            own = walk.values.get(theirs, theirs.value)
            if mine.value.shape == own.shape and not _alike(mine.value, own):
                yield _Operand(right, place, mine.value, mine)


def _is_computed(tensor: Tensor, segment: Segment) -> bool:
    """Whether a node of A in the segment makes new numbers of a tensor's."""
    while is_moved(tensor) and tensor.node in segment.a:
        assert tensor.node is not None
        tensor = tensor.node.inputs[0]
    return tensor.node in segment.a


def _of_ends(segment: Segment, walk: WalkState) -> Iterator[_Operand]:
    """What B's nodes take from before that stands for no tensor that A's take."""
    inside = set(segment.a)
    mine = {
        x.root: x
        for node in segment.a
        for x in node.inputs
        if x.node not in inside and is_constant(x) is None
    }
    read = [x for x in tensors_read(segment) if walk.paired(x) is not None]
    roots = {x: walk.partner_root(x) for x in read}
    missing = [x for root, x in mine.items() if root not in roots.values()]
    for theirs in (x for x in read if roots[x] not in mine):
        way = walk.way_of(theirs)
        for own in missing:
            if way is None or not way.fits(own.value.shape):
                continue
            value = way.to_b(own.value)
            if value.shape == walk.values.get(theirs, theirs.value).shape:
                for node in segment.b:
                    for place, x in enumerate(node.inputs):
                        if x is theirs:
                            yield _Operand(node, place, value, own)


def _alike(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.allclose(left, right, rtol=1e-4, atol=1e-5, equal_nan=True))


def _told(operands: Sequence[_Operand], walk: WalkState) -> Difference:
    """The first of what is read otherwise, by the channels of A's tensors where these are known: of
    one tensor, where both are."""
    operand = operands[0]
    theirs = operand.node.inputs[operand.place]
    both = [
        (origin(operand.of_a, walk, False, through), _held_by_b(theirs, walk, through))
        for through in (False, True)
    ]
    both.sort(key=lambda held: not _of_one_tensor(*held))
    for mine, other in both:
        words = channels_of(mine) or operand.of_a.name, channels_of(other) or theirs.name
        if words[0] != words[1]:
            break
    return _reading(operand.node, *words)


def _of_one_tensor(a: ElementOrigin | None, b: ElementOrigin | None) -> bool:
    if a is None or b is None:
        return False
    return not {x.root for x in a.tensors}.isdisjoint(x.root for x in b.tensors)


def _held_by_b(tensor: Tensor, walk: WalkState, through: bool) -> ElementOrigin | None:
    """What a tensor of B holds of A's; ``through`` what A's is made of itself."""
    held = origin(tensor, walk, True)
    if through and held is not None and len(held.tensors) == 1:
        before = origin(held.tensors[0], walk, False, through=True)
        if before is not None:
            return ElementOrigin(before.tensors, before.places.ravel()[held.places])
    return held


def _reading(node: GraphNode, mine: str, other: str) -> Difference:
    reads = f"{other} in the place of {mine}"
    if mine == other:
        reads = f"the elements of {mine} in another order"
    where = printable.name(node.call.name)
    note = f"{where} of B reads {reads}, and B's layers are A's besides"
    return Difference("input", mine, other, note=note, certain=True)


def _of_moves(segment: Segment, walk: WalkState) -> Iterator[Difference]:
    """Of a segment that moves elements alone which they are."""
    paired = segment.paired
    if not is_moved(paired.b) or any(not isinstance(x.op, Rearrangement) for x in segment.b):
        return
    held = origin(paired.b, walk, True, through=True)
    mine = origin(paired.a.tensor, walk, False, through=True)
    if held is None or mine is None or paired.b.node is None:
        return
    told, other = channels_of(mine), channels_of(held)
    if told and other and told != other:
        yield _reading(paired.b.node, told, other)
