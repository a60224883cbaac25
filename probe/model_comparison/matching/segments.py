"""What lies between a pair of tensors and the pairs before it, in either model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from probe.model_comparison.graphs.graph import GraphCall, GraphNode, Tensor
from probe.model_comparison.matching.paired import Paired, SharedReason, Wire
from probe.model_comparison.matching.walk_state import WalkState
from probe.ops import Add, Constant, Mul, Outputs, Parameter, Transpose
from probe.ops.step import Ref, Step, weight_fields
from probe.ops.weight import Weight, one_parameter

__all__ = [
    "Joined",
    "Segment",
    "calls_of",
    "computing",
    "joined",
    "moves_elements",
    "names_of",
    "read_by",
    "segments",
    "tensors_read",
    "uncovered",
]


@dataclass(eq=False)
class Segment:
    """A pair, and the nodes of each model that lead to it from the pairs before."""

    paired: Paired
    a: list[GraphNode]
    b: list[GraphNode]
    wires: list[Wire] = field(default_factory=list)
    """Inputs of B's nodes that are paired with others than A's read."""
    orders: list[tuple[list[Tensor], list[Tensor]]] = field(default_factory=list)
    """Inputs of A's nodes that B's take in another order, and these."""
    shared_reason: SharedReason | None = None
    """What it shows together with others."""
    unknown: str = ""
    """Why it is not known whether B's nodes give what A has, though they do not seem to."""

    @property
    def differs(self) -> bool:
        """Whether B's nodes do not give what A has."""
        local = self.paired.local
        return local is not None and not local.ok and not self.unknown


def segments(walk: WalkState) -> list[Segment]:
    """One for each pair that nodes lead to, in B's execution order."""
    ends_b = set(walk.partner)
    ends_a = {tensor for tensor, partners in walk.partners_of_a.items() if partners}
    wires: dict[GraphNode, list[Wire]] = {}
    for wire in walk.wires:
        wires.setdefault(wire.node, []).append(wire)
    all_segments = []
    for paired in walk.pairs:
        a = _before(paired.a.tensors, ends_a)
        b = _before([paired.b], ends_b)
        crossed = [wire for node in b for wire in wires.get(node, ())]
        segment = Segment(paired, a, b, crossed, shared_reason=walk.shared_reasons.get(paired.b))
        if segment.differs:
            reasons = (each.reason for each in walk.exchanges if each.shows_in(paired, b))
            segment.shared_reason = segment.shared_reason or next(reasons, None)
            _compare_inputs(walk, segment)
        all_segments.append(segment)
    return sorted(all_segments, key=_place)


def _compare_inputs(walk: WalkState, segment: Segment) -> None:
    """Notes what nodes of several inputs read, where the nodes correspond."""
    a, b = computing(segment.a), computing(segment.b)
    if [node.kind for node in a] != [node.kind for node in b]:
        return
    for left, right in zip(a, b, strict=True):
        mine = [x.root for x in left.inputs]
        theirs = [walk.partner_root(x) for x in right.inputs]
        if len(mine) < 2 or len(mine) != len(theirs) or None in theirs:
            continue
        other = [x for x, root in zip(right.inputs, theirs, strict=True) if root not in mine]
        missing = [root for root in mine if root not in theirs]
        segment.wires += [Wire(right, *both) for both in zip(other, missing, strict=False)]
        if not other and not missing and mine != theirs and not isinstance(left.op, Add | Mul):
            segment.orders.append((list(left.inputs), list(right.inputs)))


def _place(segment: Segment) -> int:
    if segment.paired.b.node is None:
        return -1
    return segment.paired.b.node.index


def _before(tensors: Iterable[Tensor], ends: set[Tensor]) -> list[GraphNode]:
    before: dict[GraphNode, None] = {}
    waiting = [tensor.node for tensor in tensors if tensor.node is not None]
    while waiting:
        node = waiting.pop()
        if node not in before:
            before[node] = None
            waiting += [x.node for x in node.inputs if x.node is not None and x not in ends]
    return sorted(before, key=lambda node: node.index)


def computing(nodes: Iterable[GraphNode]) -> list[GraphNode]:
    """The nodes that change numbers: without those of layout, and constants."""
    return [
        node for node in nodes if not node.layout and not isinstance(node.op, Parameter | Constant)
    ]


def names_of(
    nodes: Sequence[GraphNode], end: Tensor, beside: Sequence[GraphNode] | None = None
) -> tuple[str, ...]:
    """The layers of a segment, as ``calls_of`` has them; what its tensor is called where there are
    none."""
    return tuple(dict.fromkeys(call.name for call in calls_of(nodes, beside))) or (end.name,)


def calls_of(
    nodes: Sequence[GraphNode], beside: Sequence[GraphNode] | None = None
) -> tuple[GraphCall, ...]:
    """The calls of a segment, without those of layout where others are there. Of one that differs
    those that move elements are told too where they belong to another block, or what stands
    ``beside``, the other model's nodes, moves none: the fault may be there."""
    chosen = computing(nodes) or nodes
    named = {node.call.name for node in chosen}
    if beside is not None:
        blocks = {_block(name) for name in named}
        alone = not any(map(moves_elements, beside))
        moving = {
            node.call for node in nodes if moves_elements(node) and node.call.name not in named
        }
        also = {call for call in moving if alone or _block(call.name) not in blocks}
        chosen = [node for node in nodes if node in chosen or node.call in also]
    return tuple(dict.fromkeys(node.call for node in chosen))


def moves_elements(node: GraphNode) -> bool:
    """Whether elements come into another order."""
    if not isinstance(node.op, Transpose):
        return False
    shape = node.inputs[0].value.shape
    long_axes = [axis for axis in node.op.perm if shape[axis] > 1]
    return long_axes != sorted(long_axes)


def _block(name: str) -> str:
    """What a layer lies in: of "stage2.3/split" and "stage2.3.branch" it is "stage2.3"."""
    return name[: max(name.rfind("/"), name.rfind("."), 0)]


def tensors_read(segment: Segment) -> tuple[Tensor, ...]:
    """The tensors of B that its nodes take from before."""
    inside = set(segment.b)
    read = (x for node in segment.b for x in node.inputs if x.node not in inside)
    return tuple(dict.fromkeys(read))


def read_by(segment: Segment) -> tuple[str, ...]:
    """The same by name."""
    return tuple(dict.fromkeys(tensor.name for tensor in tensors_read(segment)))


def uncovered(nodes: Iterable[GraphNode], covered: set[GraphNode]) -> tuple[str, ...]:
    """The layers none of whose nodes lies in a segment, but for those that change no numbers."""
    left = dict.fromkeys(node.call.name for node in computing(nodes) if node not in covered)
    within = {node.call.name for node in covered}
    return tuple(name for name in left if name not in within)


@dataclass(frozen=True, eq=False)
class Joined:
    """The nodes of a segment as the steps of one layer."""

    steps: tuple[Step, ...]
    inputs: tuple[np.ndarray, ...]
    tensors: tuple[Tensor, ...]
    """What the inputs are."""
    places: Mapping[GraphNode, int]
    """Which step each node is."""


def joined(
    nodes: Sequence[GraphNode], end: Tensor, values: Mapping[Tensor, np.ndarray] | None = None
) -> Joined | None:
    """The segment that ends in a tensor; None where a call in it has no description. ``values`` are
    what tensors before it hold, where that is not what was recorded."""
    known = {} if values is None else values
    inputs: dict[Tensor, int] = {}
    places: dict[GraphNode, int] = {}
    steps: list[Step] = []
    for node in nodes:
        if node.op is None:
            return None
        refs = []
        for x in node.inputs:
            if x.node in places:
                refs.append(Ref(places[x.node], x.output_of(x.node)))
            else:
                refs.append(Ref(-1, inputs.setdefault(x, len(inputs))))
        places[node] = len(steps)
        steps.append(Step(node.op, tuple(refs)))
    if not steps or not inputs or end.node not in places:
        return None
    assert end.node is not None
    which = end.output_of(end.node)
    if places[end.node] != len(steps) - 1 or which or len(end.node.outputs) > 1:
        steps.append(Step(Outputs(), (Ref(places[end.node], which),)))
    steps[: len(nodes)] = _named_apart(nodes, steps)
    arrays = []
    for tensor in inputs:
        array = known.get(tensor, tensor.value)
        if array.dtype.kind in "biu" and any(node.takes_floats for node in tensor.consumers):
            array = array.astype(np.float64)
        arrays.append(array)
    return Joined(tuple(steps), tuple(arrays), tuple(inputs), places)


def _named_apart(nodes: Sequence[GraphNode], steps: Sequence[Step]) -> list[Step]:
    """The steps of nodes, in which a name of several weights, each of another layer, has that of
    its layer behind it."""
    weights_of = [weight_fields(step.op) for step in steps[: len(nodes)]]
    first: dict[str, Weight] = {}
    shared = {
        weight.name
        for fields in weights_of
        for weight in fields.values()
        if not one_parameter(first.setdefault(weight.name, weight), weight)
    }
    named = []
    for node, step, weights in zip(nodes, steps, weights_of, strict=False):
        other = {
            field: replace(weight, name=f"{weight.name} ({node.call.name})")
            for field, weight in weights.items()
            if weight.name in shared
        }
        if other:
            step = replace(step, op=replace(step.op, **other))
        named.append(step)
    return named
