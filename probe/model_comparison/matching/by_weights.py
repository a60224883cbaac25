"""Pairs by weights: the output of a node of B is that of the node of A with the same weights, or of
several."""

from collections.abc import Iterator, Sequence

import numpy as np

from probe.model_comparison.graphs.axes import Way, unchanged, ways
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.node_values import channel_axis, signature
from probe.model_comparison.graphs.normalization import normalization_behind
from probe.model_comparison.graphs.normalize import is_constant
from probe.model_comparison.graphs.weights import Anchor, held_weights
from probe.model_comparison.matching.evaluating import compute
from probe.model_comparison.matching.forcing import (
    Aligned,
    aligned,
    force,
    is_vague,
    likely_ways,
    off,
    pair_up,
)
from probe.model_comparison.matching.paired import Source, Wire
from probe.model_comparison.matching.walk_state import MAJORITY, WalkState, same_numbers
from probe.ops import BatchNormalization, Rearrangement, Transpose

__all__ = ["chosen_anchor", "pair_anchored", "pair_best", "prove_input"]

_AHEAD = 4
"""So many steps behind an output that differs are looked at."""


def chosen_anchor(state: WalkState, node: GraphNode, anchors: Sequence[Anchor]) -> Anchor | None:
    """The node of A that holds the same weights: of several the one whose input is the partner of
    B's, else the first that has no partner yet."""
    if node in state.placed:
        return anchors[0] if len(anchors) == 1 else None
    most = [
        anchor
        for anchor in anchors
        if anchor.share >= MAJORITY and anchor.share > 0.9 * anchors[0].share
    ]
    if not most:
        return None
    partner = state.partner_root(node.inputs[0]) if node.inputs else None
    reading: list[Anchor] = []
    if partner is not None:
        reading = [anchor for anchor in most if _reads(anchor.node, partner)]
    free = [anchor for anchor in most if state.is_free(anchor.node)]
    if partner is not None and not reading:
        standing = _standing(state, node, partner)
        if standing is not None:
            return Anchor.of_place(standing)
    most = [anchor for anchor in reading if anchor in free] or reading or free or most
    if _takes_parts(state, node, most):
        return None
    return most[0]


def _takes_parts(state: WalkState, node: GraphNode, anchors: Sequence[Anchor]) -> bool:
    """Whether one model calls a layer on the whole and the other several times on parts of it: none
    of these outputs stands for the whole one."""
    if len(anchors) == 1 and len(state.holders[anchors[0].node]) == 1:
        return False
    if any(anchor.counts[0] != anchor.counts[1] for anchor in anchors):
        return False  # several products in one
    sizes = {anchor.node.outputs[0].shown[0].value.size for anchor in anchors}
    return node.outputs[0].value.size not in sizes


def _reads(node: GraphNode, tensor: Tensor) -> bool:
    """Whether a node of A reads one of its tensors, or another with the same numbers."""
    root = node.inputs[0].root
    return root is tensor or same_numbers(root, tensor)


def _standing(state: WalkState, node: GraphNode, partner: Tensor) -> GraphNode | None:
    """The node of A in whose place one of B stands that holds the weights of another: the only one
    of its kind and shape that reads what B's reads, and that no other of B stands for."""
    shapes = _shapes(node)
    alike = [
        reader
        for reader in state.readers[partner]
        if reader.kind == node.kind and _shapes(reader) == shapes and state.is_free(reader)
    ]
    if len(alike) != 1:
        return None
    mine = node.inputs[0].root
    if any(holder.inputs[0].root is mine for holder in state.holders[alike[0]]):
        return None
    return alike[0]


def _shapes(node: GraphNode) -> list[tuple[int, ...]]:
    return [weight.value.shape for _, weight in held_weights(node)]


def prove_input(state: WalkState, node: GraphNode, anchor: Anchor) -> None:
    """Pairs what two nodes of the same weights read; a wire where B's has another partner."""
    b, a = node.inputs[0], anchor.node.inputs[0]
    known = state.partner_root(b)
    if known is not None:
        if known is not a.root and not same_numbers(known, a.root):
            state.wires.append(Wire(node, b, a.root))
        return
    if b not in state.values:
        return
    line_a, line_b = _turned(a), _turned(b)
    if line_a is None or line_b is None:
        return
    (root_a, perm_a), (root_b, perm_b) = line_a, line_b
    same = root_b in state.values and state.values[root_b].size == root_a.value.size
    partners = [*state.partners_of_a[root_a], *state.partners_of_a[root_a.root]]
    elsewhere = [partner for partner in partners if state.agrees(partner)]
    moved = same and np.allclose(signature(state.values[root_b]), signature(root_a.value))
    if elsewhere and (moved or not _follows(state, root_b, elsewhere)):
        state.wires.append(Wire(node, b, a.root))
    elif same and (root_b.node or root_b.input is not None) and len(perm_a) == len(perm_b):
        way = Way(tuple(perm_a[k] for k in np.argsort(perm_b)))
        force(state, root_b, Source((root_a,)), (way,), "weights")
        _recompute_layouts(state, b)


def _turned(tensor: Tensor) -> tuple[Tensor, tuple[int, ...]] | None:
    """The tensor that this one is, but for the order of axes, and that order; None where axes are
    merged or split on the way."""
    perm = tuple(range(tensor.value.ndim))
    while tensor.recorded is None and tensor.node is not None and tensor.node.layout:
        source = tensor.node.inputs[0]
        if isinstance(tensor.node.op, Transpose):
            perm = tuple(tensor.node.op.perm[axis] for axis in perm)
        elif source.value.shape != tensor.value.shape:
            return None
        tensor = source
    return tensor, perm


def _follows(state: WalkState, b: Tensor, tensors: Sequence[Tensor]) -> bool:
    """Whether a tensor of B is made of one of these alone: a step more than A has."""
    while b not in tensors:
        if b in state.partner or b.node is None:
            return False
        data = [x for x in b.node.inputs if is_constant(x) is None]
        if len(data) != 1:
            return False
        b = data[0]
    return True


def _recompute_layouts(state: WalkState, tensor: Tensor) -> None:
    """Computes the copies between a tensor and the pair that it is a copy of again."""
    line = []
    while tensor not in state.partner and tensor.node is not None and tensor.node.layout:
        line.append(tensor.node)
        tensor = tensor.node.inputs[0]
    for node in reversed(line):
        compute(state, node)


def pair_anchored(
    state: WalkState, node: GraphNode, chosen: Anchor | None, anchors: Sequence[Anchor]
) -> None:
    """Pairs the outputs of a node whose weights A has, where nothing decided them before."""
    output = node.outputs[0]
    if output not in state.values or output in state.partner:
        return
    if chosen is None or not _is_whole(state, node, chosen):
        columns = _gathered(state, node, anchors)
        if columns is not None:
            likely = likely_ways(state, columns.tensor, output)
            first = (*likely, unchanged(state.values[output].ndim))
            force(state, output, columns, first, "weights")
        elif chosen is not None:
            pair_best(state, output, [chosen.node.outputs[0]])
        return
    if _pair_folded(state, node, chosen):
        return
    how = "weights" if chosen.share else "structure"
    for b, a in zip(node.outputs, chosen.node.outputs, strict=False):
        if b in state.values and b not in state.partner:
            _pair_here_or_behind(state, b, a, how)


def _pair_folded(state: WalkState, node: GraphNode, anchor: Anchor) -> bool:
    """Where one model alone has a batch normalisation behind the product, which the other may have
    folded in: pairs what lies behind it."""
    if isinstance(node.op, BatchNormalization):
        return False
    output, first = node.outputs[0], anchor.node.outputs[0]
    behind_a, behind_b = normalization_behind(first), normalization_behind(output)
    if behind_a is not None and behind_b is None:
        folded = [first, behind_a.outputs[0]]
        if anchor.scaled:
            folded.reverse()
        pair_best(state, output, folded)
        return True
    if behind_a is None and behind_b is not None:
        end = behind_b.outputs[0]
        if anchor.scaled or _is_nearer(state, end, output, first):
            state.awaited[end] = [first]
            state.inside.add(output)
            return True
    return False


def _is_whole(state: WalkState, node: GraphNode, anchor: Anchor) -> bool:
    """Whether the anchor's output stands for the node's, place by place."""
    if anchor.counts[0] != anchor.counts[1]:
        return False
    if len(anchor.node.outputs) > 1 or anchor.same_order or node in state.in_place:
        return True
    ends = [end.root for end in state.b.outputs]  # nothing puts these in order again
    return node.outputs[0] in ends and not _beside(node.outputs[0])


def _beside(tensor: Tensor) -> bool:
    """Whether something computes with a tensor."""
    return any(not node.layout or any(map(_beside, node.outputs)) for node in tensor.consumers)


def _gathered(state: WalkState, node: GraphNode, anchors: Sequence[Anchor]) -> Source | None:
    """Columns of A's outputs that together are B's output."""
    value = state.values[node.outputs[0]]
    axis = channel_axis(node)
    if axis is None or len(node.outputs) > 1:
        return None
    width = value.shape[axis]
    if not anchors:
        return None
    partner = state.partner_root(node.inputs[0]) if node.inputs else None
    if partner is not None:  # of layers with the same weights those that read what this does
        anchors = sorted(anchors, key=lambda anchor: not _reads(anchor.node, partner))
    left = np.ones(width, bool)
    tensors: list[Tensor] = []
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    for anchor in anchors:
        found = (anchor.rows >= 0) & left[anchor.looked]
        if found.any():
            tensors.append(anchor.node.outputs[0])
            columns.append((anchor.looked[found], anchor.rows[found]))
            left[anchor.looked[found]] = False
    if not _are_zero(node, left) or any(channel_axis(anchor.node) != axis for anchor in anchors):
        return None
    source = Source(tuple(tensors), tuple(columns), axis, width if left.any() else 0)
    try:
        joined = source.gathered([tensor.value for tensor in tensors])
    except (ValueError, IndexError):  # axes or sizes that do not fit
        return None
    if next(ways(joined.shape, value.shape), None) is None:
        return None
    return source


def _are_zero(node: GraphNode, rows: np.ndarray) -> bool:
    """Whether rows of a node's weight, and their biases, are zeros: channels that only fill up."""
    held = dict(held_weights(node))
    if not rows.any():
        return True
    if "weight" not in held or held["weight"].value.ndim < 2:
        return False
    axis = int(node.kind == "MatMul")
    values = [np.moveaxis(held["weight"].value, axis, 0)]
    if "bias" in held:
        values.append(held["bias"].value)
    return all(len(x) == len(rows) and not x[rows].any() for x in values)


def _is_nearer(state: WalkState, behind: Tensor, b: Tensor, inner: Tensor) -> bool:
    """Whether A's tensor is what B makes of an output next rather than the output itself: the batch
    normalisation of a model that was never trained is nearly the identity."""
    here = off(state, b, inner)
    return here > 0 and behind in _ahead(state, b) and off(state, behind, inner) < min(here, 1)


def _pair_here_or_behind(state: WalkState, b: Tensor, inner: Tensor, how: str) -> None:
    """Pairs an output with A's; where they differ, with what B makes of it by itself next, if that
    agrees, or is the first of its size: a crop or a reversal that B does apart. Or with what A
    crops of its own."""
    shown = inner.shown[0]
    source = Source((shown,))
    here = aligned(state, b, source, likely_ways(state, shown, b, inner))
    if not here.local.ok:
        for end in _ahead(state, b):
            if end in state.decided or state.values[end].size != shown.value.size:
                continue
            next_to = aligned(state, end, source, likely_ways(state, shown, end, inner))
            if _proves(state, end, next_to) or state.values[b].size != shown.value.size:
                state.awaited[end] = [inner]
                return
        for later in _made_of(inner):
            behind = Source((later.shown[0],))
            cropped = aligned(state, b, behind, likely_ways(state, behind.tensor, b, later))
            if _proves(state, b, cropped):
                pair_up(state, b, behind, cropped, how)
                return
    pair_up(state, b, source, here, how)


def _proves(state: WalkState, b: Tensor, pair: Aligned) -> bool:
    """Whether B's value agrees with A's, by less than what its elements differ by."""
    return pair.local.ok and not is_vague(state, b, pair.allowed)


def _ahead(state: WalkState, b: Tensor) -> Iterator[Tensor]:
    """The tensors that follow from one alone, computed."""
    for _ in range(_AHEAD):
        if len(b.consumers) != 1 or len(b.consumers[0].outputs) != 1:
            return
        node = b.consumers[0]
        if node in state.anchors or node.op is None or b not in state.values:
            return
        if any(x is not b and is_constant(x) is None for x in node.inputs):
            return
        compute(state, node)
        b = node.outputs[0]
        if b not in state.values or b in state.uncomputed:
            state.uncomputed.discard(b)
            return
        yield b


def _made_of(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that A takes some elements of one to next, and reads nothing else of it."""
    for _ in range(_AHEAD):
        node = tensor.consumers[0] if len(tensor.consumers) == 1 else None
        if node is None or len(node.outputs) != 1 or len(node.inputs) != 1:
            return
        if not isinstance(node.op, Rearrangement):
            return
        tensor = node.outputs[0]
        yield tensor


def pair_best(state: WalkState, b: Tensor, inner: Sequence[Tensor]) -> None:
    """Pairs with the one of A's tensors that B's segment agrees with best; where it agrees with
    none, the first."""
    near: list[Tensor] = []
    if len(inner) > 1:
        near = [tensor for tensor in inner if off(state, b, tensor) <= 1]
    best: tuple[float, Source, Aligned] | None = None
    for tensor in near or inner:
        source = Source((tensor.shown[0],))
        pair = aligned(state, b, source, likely_ways(state, source.tensor, b, tensor))
        ratio = pair.local.ratio if pair.local.ok else 2.0
        if best is None or ratio < best[0]:
            best = ratio, source, pair
    assert best is not None
    pair_up(state, b, *best[1:], "weights")
