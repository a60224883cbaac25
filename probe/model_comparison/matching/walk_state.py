"""The state of a walk: the two graphs, what is decided before, and what was found so far."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import GraphNode, ModelGraph, Tensor
from probe.model_comparison.graphs.weights import Anchor, held_weights
from probe.model_comparison.matching.level import Level
from probe.model_comparison.matching.paired import (
    Decision,
    Exchange,
    InputPair,
    Paired,
    SharedReason,
    Wire,
)
from probe.ops import Transpose

__all__ = ["MAJORITY", "WalkState", "same_numbers"]

MAJORITY = 0.5
"""What part of a node's rows must be another's."""


@dataclass(eq=False)
class WalkState:
    """What a walk over B on A's tensors is made of, and how far it is."""

    a: ModelGraph
    b: ModelGraph
    anchors: Mapping[GraphNode, Sequence[Anchor]]
    decisions: Sequence[Decision] = ()
    in_place: frozenset[GraphNode] = frozenset()
    """Nodes of B whose outputs stand for A's place by place, though their weights are in another
    order."""
    inputs: Sequence[InputPair] = ()
    """The models' inputs that stand for one another."""
    withdrawn: frozenset[tuple[Tensor, Tensor]] = frozenset()
    """Pairs that turned out to be none: the root of A's tensor, and B's."""
    exchanges: Sequence[Exchange] = ()
    """Of layers, or of inputs."""
    level: Level = field(default_factory=Level)
    same_layout: bool = False
    """Whether both models have one order of axes, as a framework has."""
    signatures: dict[Tensor, np.ndarray] = field(default_factory=dict)
    """Of A's tensors, as they were asked for: kept from walk to walk."""

    pairs: list[Paired] = field(init=False, default_factory=list)
    wires: list[Wire] = field(init=False, default_factory=list)
    notes: list[str] = field(init=False, default_factory=list)
    accounted: set[Tensor] = field(init=False, default_factory=set)
    """Outputs of B that are made of A's or that these are made of, and those that it gives more."""
    shared_reasons: dict[Tensor, SharedReason] = field(init=False, default_factory=dict)
    """Of tensors of B what takes the place of reading their segments."""
    values: dict[Tensor, np.ndarray] = field(init=False, default_factory=dict)
    """B's tensors as the walk has them: A's values where they have a partner."""
    slack: dict[Tensor, np.ndarray | None] = field(init=False, default_factory=dict)
    """How far rounding may have moved these."""
    slacks_of_a: dict[Tensor, np.ndarray | None] = field(init=False, default_factory=dict)
    partner: dict[Tensor, Paired] = field(init=False, default_factory=dict)
    partners_of_a: dict[Tensor, list[Tensor]] = field(
        init=False, default_factory=lambda: defaultdict(list)
    )
    uncomputed: set[Tensor] = field(init=False, default_factory=set)
    """Tensors of B that are as B recorded them, since they cannot be computed."""
    own: dict[GraphNode, np.ndarray] = field(init=False, default_factory=dict)
    """What rounding does to the products of either model, for each channel on the average."""
    remembered: dict[tuple[object, object], Way] = field(init=False, default_factory=dict)
    """The last way that fitted tensors of such ranks, or shapes where axes are merged."""
    awaited: dict[Tensor, list[Tensor]] = field(init=False, default_factory=dict)
    """Tensors of B behind an anchor, and what of A they may be."""
    inside: set[Tensor] = field(init=False, default_factory=set)
    """Tensors of B before a batch normalisation that A has folded."""

    @cached_property
    def decided(self) -> dict[Tensor, Decision]:
        """The first decision of each tensor of B."""
        return {decision.b: decision for decision in reversed(self.decisions)}

    @cached_property
    def placed(self) -> Mapping[GraphNode, Sequence[Anchor]]:
        """For nodes of B that hold another's weights those of A in whose place each stands."""
        return {b: a for exchange in self.exchanges for b, a in exchange.placed.items()}

    @cached_property
    def sized(self) -> dict[int, list[Tensor]]:
        """The tensors of A that are held against B's, by their sizes."""
        sized: dict[int, list[Tensor]] = defaultdict(list)
        for tensor in self.a.tensors:
            if tensor.root is tensor and _tells(tensor):
                sized[tensor.value.size].append(tensor.shown[0])
        return sized

    @cached_property
    def readers(self) -> dict[Tensor, list[GraphNode]]:
        """The nodes of A with weights that read a tensor, or a copy of it."""
        readers: dict[Tensor, list[GraphNode]] = defaultdict(list)
        for node in self.a.nodes:
            if len(node.inputs) == 1 and next(held_weights(node), None) is not None:
                readers[node.inputs[0].root].append(node)
        return readers

    @cached_property
    def holders(self) -> dict[GraphNode, list[GraphNode]]:
        """The nodes of B that hold the weights of one of A's."""
        holders: dict[GraphNode, list[GraphNode]] = defaultdict(list)
        for node, anchors in self.anchors.items():
            for anchor in anchors:
                if anchor.share >= MAJORITY:
                    holders[anchor.node].append(node)
        return holders

    def partner_root(self, tensor: Tensor) -> Tensor | None:
        """What of A stands for a tensor of B, or for the one that it is a copy of."""
        paired = self.paired(tensor)
        if paired is None:
            return None
        return paired.a.tensor.root

    def paired(self, tensor: Tensor) -> Paired | None:
        """The pair of a tensor of B, or of one that it is a copy of."""
        while tensor not in self.partner and tensor.node is not None and tensor.node.layout:
            tensor = tensor.node.inputs[0]
        return self.partner.get(tensor)

    def way_of(self, tensor: Tensor) -> Way | None:
        """The order of A's axes in a tensor of B, as that of its partner says."""
        paired = self.paired(tensor)
        if paired is None:
            return None
        if paired.way.merged is not None:
            return paired.way
        if len(paired.way.perm) != paired.b.value.ndim:
            return None  # of a pair whose shapes fit in no order of axes
        perm = tuple(range(tensor.value.ndim))
        while tensor is not paired.b and tensor.node is not None:
            source = tensor.node.inputs[0]
            if isinstance(tensor.node.op, Transpose):
                perm = tuple(tensor.node.op.perm[axis] for axis in perm)
            elif source.value.shape != tensor.value.shape:
                return paired.way
            tensor = source
        return Way(tuple(paired.way.perm[axis] for axis in perm))

    def agrees(self, b: Tensor) -> bool:
        """Whether a tensor has a partner that it agrees with."""
        local = self.partner[b].local if b in self.partner else None
        return local is not None and local.ok

    def is_open(self, output: Tensor) -> bool:
        """Whether an output of B corresponds to none of A."""
        return not {output, output.root} & {*self.partner, *self.accounted}

    def is_withdrawn(self, a: Tensor, b: Tensor) -> bool:
        """Whether the two turned out to be no pair."""
        return bool(self.withdrawn) and (a.root, b) in self.withdrawn

    def is_free(self, node: GraphNode) -> bool:
        """Whether what a node of A gives has no partner."""
        return not self.partners_of_a.get(node.outputs[0].shown[0])


def _tells(tensor: Tensor) -> bool:
    """Whether a tensor is held against B's: of inner ones those of calls of several steps."""
    node = tensor.node
    if tensor.recorded is None and tensor.place is None:
        return False
    return node is None or node.inputs != () or tensor.recorded is not None


def same_numbers(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors hold the same array."""
    return left.value.shape == right.value.shape and np.array_equal(left.value, right.value)
