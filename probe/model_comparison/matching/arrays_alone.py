"""What the walk over a model on another program's arrays shows of these: which are no output of the
layer whose name they have, and which stand for tensors that neither name nor value told."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.graphs.normalization import normalization_behind
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.matching.own_values import EQUAL, apart
from probe.model_comparison.matching.paired import Decision
from probe.model_comparison.matching.segments import segments
from probe.model_comparison.matching.walk import walk_again
from probe.model_comparison.matching.walk_state import WalkState
from probe.ops import Conv, ConvTranspose, MatMul

__all__ = ["in_gaps", "left_alike", "with_all_arrays", "without_folded"]

_FITS = 1e-4
"""What a factor and a shift for each channel may leave, as a part of the deviation."""
_ELEMENTS = 8
"""So many elements of each channel tell a factor and a shift from chance."""
_VARIED = 1e-3
"""How far factors lie apart, on the average of as many of them, and shifts from 0, that are those
of a batch normalization."""
_WALKS = 16
"""So many walks are made to place arrays."""
_ORDERED = 3
"""So many arrays show that all come in the model's order."""
_NUMBER = re.compile(r"(\D*)(\d*)")
_PLACES = 3
"""At how many of the tensors that come next an array is tried."""


def without_folded(walk: WalkState) -> tuple[WalkState, dict[Tensor, str]]:
    """The walk without the pairs of an array and the product of its name of which one has a batch
    normalisation in it and the other has not, where what follows agrees; and these arrays, each
    with a sentence about it."""
    scaled = [decision for decision in walk.decisions if _is_scaled(walk, decision)]
    without = walk
    while scaled:
        left_out = {decision.a for decision in scaled}
        kept = [decision for decision in walk.decisions if decision.a not in left_out]
        without = walk_again(walk, decisions=kept)
        right = [decision for decision in scaled if _is_folded(without, decision)]
        if len(right) == len(scaled):
            break
        scaled = right
    if not scaled:
        return walk, {}
    return without, {decision.a: _of_folded(without, decision) for decision in scaled}


def _is_scaled(walk: WalkState, decision: Decision) -> bool:
    paired, root = walk.partner.get(decision.b), decision.b.root
    if decision.how == "given" or paired is None or paired.unforced is None or root.node is None:
        return False
    if not isinstance(root.node.op, Conv | ConvTranspose | MatMul):
        return False
    if next(held_weights(root.node), None) is None:
        return False
    array, own = paired.way.to_b(paired.a.tensor.value), paired.unforced
    if array.shape != own.shape or own.ndim < 2:
        return False
    return any(_is_normalized(array, own, axis) for axis in {1, own.ndim - 1})


def _is_normalized(array: np.ndarray, own: np.ndarray, axis: int) -> bool:
    """Whether an array is what the model's layer gives with a factor and a shift of its own for
    each channel, none of which is the 1 and the 0 of a channel that nothing was done to."""
    x, y = (
        np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
        for values in (own, array)
    )
    if x.shape[0] < 2 or x.shape[1] < _ELEMENTS or not (np.isfinite(x) & np.isfinite(y)).all():
        return False
    means, others = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    squares = np.square(x - means).sum(1)
    if not squares.all():
        return False
    factors = ((x - means) * (y - others)).sum(1) / squares
    shifts = others[:, 0] - factors * means[:, 0]
    left = np.abs(y - factors[:, None] * x - shifts[:, None]).max()
    if left > _FITS * y.std():
        return False
    apart_each = np.diff(np.sort(np.append(factors, [0.0, 1.0])))
    moved = np.abs(shifts) > _VARIED * np.abs(shifts).max()
    return bool(apart_each.min() > _VARIED * np.abs(factors).mean() / len(factors) and moved.all())


def _is_folded(walk: WalkState, decision: Decision) -> bool:
    """Whether one of the two has a normalisation folded in, as far as what follows shows: the
    array is what the model's own gives, or the model has none of its own there."""
    holds_output = bool(walk.partners_of_a.get(decision.a))
    if not holds_output and normalization_behind(decision.b.root) is not None:
        return False
    return _agrees_behind(walk, decision.b)


def _agrees_behind(walk: WalkState, b: Tensor) -> bool:
    """Whether a tensor is right as far as what follows shows: it agrees with another array, or the
    first pairs that it leads to do."""
    if b in walk.partner:
        return walk.agrees(b)
    ends = [segment for segment in segments(walk) if b.node in segment.b]
    return bool(ends) and not any(segment.differs for segment in ends)


def _of_folded(walk: WalkState, decision: Decision) -> str:
    array, layer = printable.name(decision.a.name), printable.name(decision.b.name)
    holders = walk.partners_of_a.get(decision.a, [])
    if holders:
        return (
            f"the array {array} holds the output of {printable.name(holders[0].name)}: the batch "
            f"normalization behind {layer} is folded into it"
        )
    return (
        f"the array {array} is not compared: each of its channels is that of {layer} times a "
        "factor and plus a shift, as before a batch normalization that the model has folded into "
        "it; what follows agrees"
    )


def with_all_arrays(walk: WalkState, placed: Collection[Tensor]) -> WalkState:
    """The walk with more pairs: an array that has no tensor yet stands for one that the pairs
    before lead to next, where more arrays then agree. ``placed`` are arrays that need none."""
    walks = 0
    while walks < _WALKS:
        agreeing, better = _agreeing(walk), None
        for array, tensor in _candidates(walk, placed):
            decision = Decision(array, tensor, "structure")
            again = walk_again(walk, decisions=[*walk.decisions, decision])
            walks += 1
            if _agreeing(again) > agreeing:
                better = again
                break
            if walks >= _WALKS:
                break
        if better is None:
            break
        walk = better
    return walk


def in_gaps(walk: WalkState, placed: Collection[Tensor]) -> WalkState:
    """The walk with a pair more for each array that is left alone between arrays that have one,
    where the model has one tensor of its shape there: arrays come in the model's order."""
    if (order := _in_order(walk)) is None:
        return walk
    found = []
    for array in left_alike(walk):
        alike = [] if array in placed else _free_for(walk, array, order)
        found += [Decision(array, tensor, "structure") for tensor in alike * (len(alike) == 1)]
    counts = Counter(decision.b for decision in found)
    alone = [decision for decision in found if counts[decision.b] == 1]
    if alone:
        return walk_again(walk, decisions=[*walk.decisions, *alone])
    return walk


def _free_for(walk: WalkState, array: Tensor, order: Sequence[Tensor] | None) -> list[Tensor]:
    """The model's tensors of an array's shape without a partner, but for the order of axes; between
    those that the arrays before and behind it stand for, where they have an order."""
    before, after = -1.0, np.inf
    if order is not None:
        places, at = _places(walk), order.index(array)
        before = max((places[other] for other in order[:at] if other in places), default=before)
        after = min((places[other] for other in order[at:] if other in places), default=after)
    shape = sorted(array.value.shape)
    return [
        tensor
        for tensor in _unpaired(walk)
        if tensor.node is not None
        and before < tensor.node.index < after
        and sorted(tensor.value.shape) == shape
    ]


def _in_order(walk: WalkState) -> list[Tensor] | None:
    """The arrays in the order that they have, or that the numbers in their names give, in which
    those that have a partner come as in the model; None where neither is."""
    places = _places(walk)
    for arrays in ([*walk.a.loose], sorted(walk.a.loose, key=_numbered)):
        known = [places[array] for array in arrays if array in places]
        if len(known) >= _ORDERED and known == sorted(known):
            return arrays
    return None


def _places(walk: WalkState) -> dict[Tensor, int]:
    """Where in the model the arrays lie that have a partner."""
    return {
        paired.a.tensor: paired.b.node.index for paired in walk.pairs if paired.b.node is not None
    }


def _numbered(array: Tensor) -> list[tuple[int, str]]:
    """What sorts names by the numbers in them."""
    return [(int(part or 0), text) for text, part in _NUMBER.findall(array.name)]


def _agreeing(walk: WalkState) -> int:
    return sum(paired.local is not None and paired.local.ok for paired in walk.pairs)


def _candidates(walk: WalkState, placed: Collection[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Arrays that are left, and tensors of their shape that come next behind the pairs: the first
    tensors first, of each the nearest arrays."""
    order, found = _in_order(walk), []
    for array in left_alike(walk):
        for tensor in [] if array in placed else _free_for(walk, array, order)[:_PLACES]:
            assert tensor.node is not None
            far = apart(array.value, walk.values.get(tensor, tensor.value))
            found.append((tensor.node.index, far, array, tensor))
    found.sort(key=lambda candidate: candidate[:2])
    return [(array, tensor) for _, _, array, tensor in found]


def _unpaired(walk: WalkState) -> Iterator[Tensor]:
    """The model's tensors without a partner that computing made, in execution order."""
    for node in walk.b.nodes:
        for tensor in node.outputs:
            free = tensor not in walk.partner and tensor.recorded is not None
            if free and not node.layout and tensor.value.dtype.kind == "f":
                yield tensor


def left_alike(walk: WalkState) -> Sequence[Tensor]:
    """The arrays that stand for nothing though the model has tensors of their shape, but for the
    order of axes and merged ones, for which no array stands; without those that hold the same as
    one that does, or the model's input."""
    shapes = {shape for tensor in _unpaired(walk) for shape in _alike(tensor.value)}
    known = [paired.a.tensor for paired in walk.pairs]
    return [
        array
        for array in walk.a.loose
        if array not in known
        and not shapes.isdisjoint(_alike(array.value))
        and not any(_repeats(array, other) for other in (*known, *walk.b.inputs))
    ]


def _alike(value: np.ndarray) -> set[tuple[int, ...]]:
    """By what the shapes of two arrays are alike: the axes in any order without those of length 1,
    and the first axes merged."""
    lengths = sorted(length for length in value.shape if length > 1)
    last = max(value.shape[-1:], default=1)
    return {tuple(lengths), tuple(sorted((value.size // max(last, 1), last)))}


def _repeats(array: Tensor, other: Tensor) -> bool:
    same = array.value.size == other.value.size and other.value.dtype.kind == "f"
    return same and apart(array.value, other.value) <= EQUAL
