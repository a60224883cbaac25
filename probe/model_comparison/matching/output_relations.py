"""Outputs of one model that are made of the other's: a part of one, several in one, their sum.

Models with other outputs than each other have another interface, which is no fault: what one gives
is put together from the other's outputs, and that is paired.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from probe.comparison.compare import compare
from probe.model_comparison.graphs.axes import unchanged
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph, Tensor
from probe.model_comparison.matching.evaluating import slack_of_a
from probe.model_comparison.matching.forcing import force
from probe.model_comparison.matching.paired import Source
from probe.model_comparison.matching.walk_state import WalkState
from probe.model_comparison.sides import Side
from probe.numerics.dtypes import widened
from probe.numerics.precision import precision_of
from probe.ops import Add, Concat, Op, Reshape, Slice

__all__ = ["Related", "pair_related"]

_SUMMED = 6
"""Of more outputs no sums are tried."""
_UNIT = precision_of("float32").unit


@dataclass
class Related:
    """The outputs that are made of the other model's, and those that these are made of, by their
    places among the outputs that nodes make."""

    used: dict[Side, set[int]] = field(default_factory=lambda: {side: set() for side in Side})
    parts: dict[Side, dict[int, int]] = field(default_factory=lambda: {side: {} for side in Side})
    """Of outputs that the other model gives parts of, how many elements these have."""
    notes: list[str] = field(default_factory=list)


def pair_related(state: WalkState, places: Mapping[int, int]) -> Related:
    """Pairs the outputs of either model that are made of several of the other's, or a part of one;
    ``places`` are those of B that stand for one of A's as they are."""
    related = Related()
    left = {
        Side.A: [k for k in range(len(state.a.outputs)) if k not in places.values()],
        Side.B: [k for k in range(len(state.b.outputs)) if k not in places],
    }
    if not any(left.values()) or not (state.a.nodes and state.b.nodes):
        return related
    ends = {
        Side.A: [
            _ModelOutput(a, a.value, slack_of_a(state, a), k) for k, a in enumerate(state.a.outputs)
        ],
        Side.B: [
            _ModelOutput(b, state.values.get(b, b.value), state.slack.get(b), k)
            for k, b in enumerate(state.b.outputs)
        ],
    }
    for of, side in product((_joined, _summed, _part), (Side.B, Side.A)):
        other = side.other
        for k in left[side]:
            if k in related.used[side]:
                continue
            fresh = {*left[other]} - related.used[other]
            first = [end for end in ends[other] if end.index in fresh]
            rest = [end for end in ends[other] if end.index not in fresh]
            target = ends[side][k]
            outputs = _Outputs(other, _graph(state, other), [*first, *rest])
            relation = next(of(target, outputs.alike(target)), None)
            if relation is None:
                continue
            related.used[side].add(k)
            related.used[other] |= {end.index for end in relation.of}
            if of is _part:
                (whole,) = relation.of
                parts = related.parts[other]
                parts[whole.index] = parts.get(whole.index, 0) + target.value.size
            place = _graph(state, side).places[k]
            related.notes.append(f"output {place} of {side.value} is {relation.words}")
            _pair(state, side, target, relation.made)
    return related


def _graph(state: WalkState, side: Side) -> ModelGraph:
    return {Side.A: state.a, Side.B: state.b}[side]


def _pair(state: WalkState, side: Side, end: "_ModelOutput", made: "_ModelOutput") -> None:
    """Pairs an output with what was put together from the other model's, where nothing of that
    stands for it already."""
    a, b = (end, made) if side is Side.A else (made, end)
    if side is Side.A:
        state.values[b.tensor], state.slack[b.tensor] = b.value, b.slack
        known = bool(state.partners_of_a.get(a.tensor.root.shown[0]))
    else:
        known = state.paired(b.tensor) is not None
    if not known:
        way = unchanged(a.value.ndim)
        force(state, b.tensor, Source((a.tensor,)), (way,), "structure")


@dataclass(frozen=True, eq=False)
class _ModelOutput:
    """An output, what it holds on A's tensors, and how far that may be off."""

    tensor: Tensor
    value: np.ndarray
    slack: np.ndarray | None
    index: int
    """Its place among the outputs that nodes make."""

    @property
    def allowed(self) -> np.ndarray:
        if self.slack is None:
            return np.zeros(self.value.shape)
        return np.broadcast_to(self.slack, self.value.shape)

    def lying_on(self, axis: int, shape: tuple[int, ...]) -> int:
        """How many places on an axis of an array of this shape it takes; 0 where it does not fit
        there."""
        rest = int(np.prod(shape)) // shape[axis] if shape[axis] else 0
        length = self.value.size // rest if rest else 0
        return length if length * rest == self.value.size else 0


class _Outputs(NamedTuple):
    """The outputs of one model, those first that stand for none of the other's."""

    side: Side
    graph: ModelGraph
    ends: Sequence[_ModelOutput]

    def alike(self, target: _ModelOutput) -> "_Outputs":
        """Those that a target of this type can be made of; none of a single number."""
        kind = target.value.dtype.kind
        compared = target.value.size > 1 and kind in "fiu"
        return self._replace(
            ends=[end for end in self.ends if compared and end.value.dtype.kind == kind]
        )

    def named(self, ends: Sequence[_ModelOutput]) -> str:
        places = [str(self.graph.places[end.index]) for end in ends]
        listed = " and ".join(filter(None, [", ".join(places[:-1]), places[-1]]))
        return f"{self.side.value}'s output{'s' * (len(places) > 1)} {listed}"

    def made(self, op: Op, ends: Sequence[_ModelOutput]) -> _ModelOutput:
        """What an operation makes of outputs, as if the model had it."""
        (recorded,) = op.run(*(end.tensor.value for end in ends))
        (value,) = op.run(*(end.value for end in ends))
        (slack,) = op.run(*(end.allowed for end in ends))
        makers = [end.tensor.node for end in ends if end.tensor.node is not None]
        index = max(len(self.graph.nodes), *(node.index + 1 for node in makers))
        tensor = Tensor(ends[0].tensor.name, recorded)
        call = (makers or self.graph.nodes)[-1].call
        tensor.node = GraphNode(op, tuple(end.tensor for end in ends), (tensor,), call, index)
        return _ModelOutput(tensor, value, slack, -1)

    def reshaped(self, end: _ModelOutput, shape: tuple[int, ...]) -> _ModelOutput:
        if end.value.shape == shape:
            return end
        return self.made(Reshape(shape), [end])


class _Relation(NamedTuple):
    """How an output of one model follows from the other's."""

    made: _ModelOutput
    """What is put together from these."""
    of: Sequence[_ModelOutput]
    words: str


def _part(target: _ModelOutput, outputs: _Outputs) -> Iterator[_Relation]:
    for whole in outputs.ends:
        for axis, start in _places(whole, target):
            rank, length = whole.value.ndim, target.lying_on(axis, whole.value.shape)
            starts, stops = [0] * rank, [*whole.value.shape]
            starts[axis], stops[axis] = start, start + length
            cut = outputs.made(Slice(tuple(starts), tuple(stops)), [whole])
            at = [":"] * axis + [f"{start}:{start + length}" if length > 1 else str(start)]
            words = f"{outputs.named([whole])} at [{', '.join(at)}]"
            yield _Relation(outputs.reshaped(cut, target.value.shape), [whole], words)


def _joined(target: _ModelOutput, outputs: _Outputs) -> Iterator[_Relation]:
    shape = target.value.shape
    for axis in range(len(shape)):
        ends: list[_ModelOutput] = []
        parts: list[_ModelOutput] = []
        filled = 0
        while filled < shape[axis]:
            free = (end for end in outputs.ends if end not in ends)
            end = next((end for end in free if (axis, filled) in _places(target, end)), None)
            if end is None:
                break
            length = end.lying_on(axis, shape)
            parts.append(outputs.reshaped(end, (*shape[:axis], length, *shape[axis + 1 :])))
            ends.append(end)
            filled += length
        if filled == shape[axis] and len(ends) > 1:
            how = "stacked" if len(ends) == filled else "joined"
            words = f"{outputs.named(ends)}, {how} on axis {axis}"
            yield _Relation(outputs.made(Concat(axis), parts), ends, words)


def _summed(target: _ModelOutput, outputs: _Outputs) -> Iterator[_Relation]:
    alike = [end for end in outputs.ends if end.value.shape == target.value.shape]
    if target.value.dtype.kind != "f" or len(alike) > _SUMMED:
        return
    for count in range(2, len(alike) + 1):
        for ends in combinations(alike, count):
            made = outputs.made(Add(), ends)
            sizes = sum(np.abs(widened(end.value)) for end in ends)
            allowed = target.allowed + made.allowed + _UNIT * count * sizes
            if _agree(target.value, made.value, allowed):
                yield _Relation(made, ends, f"the sum of {outputs.named(ends)}")


def _places(whole: _ModelOutput, part: _ModelOutput) -> Iterator[tuple[int, int]]:
    """Where a part lies in another output, in its order: the axis, and the first place on it."""
    shape = whole.value.shape
    for axis, count in enumerate(shape):
        length = part.lying_on(axis, shape)
        if not 0 < length < count:
            continue
        lying = (*shape[:axis], length, *shape[axis + 1 :])
        mine, slack = (np.moveaxis(x.reshape(lying), axis, 0) for x in (part.value, part.allowed))
        theirs, loose = (np.moveaxis(x, axis, 0) for x in (whole.value, whole.allowed))
        with np.errstate(invalid="ignore"):
            near = np.abs(widened(theirs) - widened(mine[0])) <= loose + slack[0] + 1e-30
        first = near.reshape(count, -1).all(axis=1)[: count - length + 1]
        for start in map(int, np.flatnonzero(first)):
            chunk = slice(start, start + length)
            if _agree(theirs[chunk], mine, loose[chunk] + slack):
                yield axis, start


def _agree(left: np.ndarray, right: np.ndarray, allowed: np.ndarray) -> bool:
    return compare((left,), (right,), (allowed,)).ok
