"""The forced walk: B is computed once, node by node, and wherever a tensor of B has a partner, A's
tensor takes its place.

So every value of B is made from A's alone: where B is right it equals a tensor of A within
rounding, whatever went wrong before. Pairing by value, the error that is made in each segment, and
going on behind a fault are this one loop.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, permutations

import numpy as np

from probe.comparison.compare import Comparison, compare
from probe.model_comparison.graphs.axes import Way, unchanged, ways
from probe.model_comparison.graphs.graph import Graph, Node, Tensor
from probe.model_comparison.graphs.node_values import (
    as_stored,
    bounds_of,
    channel_axis,
    digits,
    signature,
    taken,
)
from probe.model_comparison.graphs.normalize import is_constant, normalization_behind
from probe.model_comparison.graphs.weights import Anchor, held_weights
from probe.model_comparison.matching.level import Level, rounding_of
from probe.model_comparison.matching.paired import Decision, Paired, Source, Wire
from probe.model_comparison.sides import Side
from probe.numerics.dtypes import widened
from probe.numerics.precision import SIGMAS, precision_of, stored_in
from probe.ops import BatchNormalization, Identity, Rearrangement, Transpose

__all__ = ["Walk"]

_TRIED = 24
"""So many tensors of A are held against one of B's."""
_SAMPLE = 64
_EVIDENCE = 0.1
"""An allowance of more than that part of a tensor's deviation proves nothing."""
_MAJORITY = 0.5
"""What part of a node's rows must be another's."""
_AHEAD = 4
"""So many steps behind an output that differs are looked at."""


@dataclass
class Walk:
    """One walk over B on A's tensors."""

    a: Graph
    b: Graph
    anchors: Mapping[Node, Sequence[Anchor]]
    decisions: Sequence[Decision] = ()
    in_place: frozenset[Node] = frozenset()
    """Nodes of B whose outputs stand for A's place by place, though their weights are in another
    order."""
    inputs: Sequence[Way] = ()
    """The way of each of the models' inputs."""
    by_values: bool = True
    level: Level = field(default_factory=Level)
    same_layout: bool = False
    """Whether both models have one order of axes, as a framework has."""
    pairs: list[Paired] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values: dict[Tensor, np.ndarray] = {}
        self.slack: dict[Tensor, np.ndarray | None] = {}
        self.partner: dict[Tensor, Paired] = {}
        self.partners_of_a: dict[Tensor, list[Tensor]] = defaultdict(list)
        self.uncomputed: set[Tensor] = set()
        """Tensors of B that are as B recorded them, since they cannot be computed."""
        self.own: dict[Node, np.ndarray] = {}
        """What rounding does to the products of either model, for each channel on the average."""
        self._slack_a: dict[Tensor, np.ndarray | None] = {}
        self._sized: dict[int, list[Tensor]] = defaultdict(list)
        self._signature: dict[Tensor, np.ndarray] = {}
        self._remembered: dict[tuple[int, int], Way] = {}
        self._decided = {one.b: one for one in reversed(self.decisions)}
        self._awaited: dict[Tensor, list[Tensor]] = {}
        """Tensors of B behind an anchor, and what of A they may be."""
        self._inside: set[Tensor] = set()
        """Tensors of B before a batch normalisation that A has folded."""
        self._readers: dict[Tensor, list[Node]] = defaultdict(list)
        """The nodes of A with weights that read a tensor, or a copy of it."""
        self._holders: dict[Node, list[Node]] = defaultdict(list)
        """The nodes of B that hold the weights of one of A's."""

    def run(self) -> "Walk":
        for tensor in self.a.tensors:
            if tensor.root is tensor and self._tells(tensor):
                self._sized[tensor.value.size].append(tensor.shown[0])
        for node in self.a.nodes:
            if len(node.inputs) == 1 and next(held_weights(node), None) is not None:
                self._readers[node.inputs[0].root].append(node)
        for node, held in self.anchors.items():
            for one in held:
                if one.share >= _MAJORITY:
                    self._holders[one.node].append(node)
        for a, b, way in zip(self.a.inputs, self.b.inputs, self.inputs, strict=False):
            assert b.recorded is not None
            self._take_input(a, b, way)
        for b in self.b.inputs[len(self.a.inputs) :]:
            assert b.recorded is not None
            self.values[b], self.slack[b] = b.recorded, None
        for node in self.b.nodes:
            self._step(node)
        self._pair_outputs()
        return self

    def _take_input(self, a: Tensor, b: Tensor, way: Way) -> None:
        """Pairs an input of B with A's, which it may be rounded to the type that B takes."""
        assert a.recorded is not None
        assert b.recorded is not None
        self.values[b], self.slack[b] = b.recorded, None
        theirs = way.to_b(a.recorded) if way.fits(a.recorded.shape) else a.recorded
        rounded = rounding_of(theirs, b.recorded)
        if rounded:
            self.slack[b] = np.abs(theirs.astype(np.float64) - b.recorded)
        self._force(b, Source((a,)), (way,), "structure")
        # Either model may round what it is given to the type that it computes in; what A rounds
        # adds up by chance in the first layer.
        by_chance = 1.0 if self.level.side is Side.B else SIGMAS / np.sqrt(3)
        unit = max(rounded, by_chance * self.level.unit)
        if unit and self.values[b].dtype.kind == "f":
            self.slack[b] = unit * np.abs(self.values[b].astype(np.float64))

    def _tells(self, tensor: Tensor) -> bool:
        """Whether a tensor is held against B's: of inner ones those of calls of several steps."""
        node = tensor.node
        if tensor.recorded is None and tensor.place is None:
            return False
        return node is None or node.inputs != () or tensor.recorded is not None

    def again(
        self, decisions: Sequence[Decision] | None = None, in_place: frozenset[Node] | None = None
    ) -> "Walk":
        """The same walk with other pairs decided."""
        walk = replace(
            self,
            decisions=self.decisions if decisions is None else decisions,
            in_place=self.in_place if in_place is None else in_place,
            pairs=[],
            wires=[],
            notes=[],
        )
        walk._signature = self._signature
        return walk.run()

    # One node

    def _step(self, node: Node) -> None:
        held = self.anchors.get(node, ())
        chosen = self._chosen(node, held)
        if chosen is not None and chosen.ordered:
            self._prove_input(node, chosen)
        self._compute(node)
        for output in node.outputs:
            if output not in self.values or output in self.uncomputed:
                continue
            if output in self._decided:
                decision = self._decided[output]
                likely = self._likely(decision.a, output)
                first = likely if decision.way is None else [decision.way, *likely]
                self._force(output, Source((decision.a,)), first, decision.how, only=decision.only)
        if chosen is not None or held:
            self._pair_anchored(node, chosen, held)
        for output in node.outputs:
            if output in self.partner or output in self._inside or output not in self.values:
                continue
            if output in self._awaited:
                self._take_best(output, self._awaited[output])
            elif output not in self.uncomputed and not node.layout and self.by_values:
                self._pair_by_value(output)

    def _compute(self, node: Node) -> None:
        """The outputs in float64 from what the inputs now are, and what rounding may do."""
        for tensor in node.inputs:
            if tensor not in self.values:  # made by the model from nowhere that was seen
                self.values[tensor], self.slack[tensor] = tensor.value, self._stored(tensor)
        if node.op is None:
            outputs = None
        else:
            outputs = self.level.evaluated(node, [self.values[x] for x in node.inputs])
        if outputs is None:
            for tensor in node.outputs:
                if tensor.recorded is not None or node.op is not None:
                    self._as_recorded(tensor)
            return
        given = [taken(node, self.values[x]) for x in node.inputs]
        outputs = _of_equal_ones(node, given, outputs)
        arrived = [self.slack[x] for x in node.inputs]
        bounds = self.bounds(node, given, arrived, outputs)
        self._note_own(node, arrived, bounds)
        for tensor, value, bound in zip(node.outputs, outputs, bounds, strict=False):
            self.values[tensor], self.slack[tensor] = value, bound

    def bounds(
        self,
        node: Node,
        inputs: Sequence[np.ndarray],
        slacks: Sequence[np.ndarray | None],
        outputs: Sequence[np.ndarray],
    ) -> list[np.ndarray | None]:
        """What rounding may do to the outputs of a node of B, and rounded weights at a level."""
        bounds = bounds_of(node, inputs, slacks, outputs, precision_of(_dtype(node)))
        more = None
        if node in self.level.rounded:
            more = self.level.of_weights(node, [widened(x) for x in inputs], outputs)
        if more is not None:
            bounds[0] = more if bounds[0] is None else bounds[0] + more
        return bounds

    def _note_own(
        self,
        node: Node,
        arrived: Sequence[np.ndarray | None],
        bounds: Sequence[np.ndarray | None],
    ) -> None:
        if bounds[0] is not None and all(one is None for one in arrived):
            if (axis := channel_axis(node)) is not None and bounds[0].ndim:
                others = tuple(k for k in range(bounds[0].ndim) if k != axis % bounds[0].ndim)
                mean = np.sqrt(np.mean(np.square(bounds[0]), axis=others, keepdims=True))
                self.own[node] = mean

    def _stored(self, tensor: Tensor) -> np.ndarray | None:
        """What storing an array of its own at the level of precision may do to it."""
        value = tensor.value
        if self.level.side is not Side.B or value.dtype.kind != "f":
            return None
        return self.level.unit * np.where(np.isfinite(value), np.abs(value), 0.0)

    def _as_recorded(self, tensor: Tensor) -> None:
        self.values[tensor], self.slack[tensor] = tensor.value, None
        self.uncomputed.add(tensor)

    # Pairs by weights

    def _chosen(self, node: Node, held: Sequence[Anchor]) -> Anchor | None:
        """The node of A that holds the same weights: of several the one whose input is the partner
        of B's, else the first that has no partner yet."""
        most = [one for one in held if one.share >= _MAJORITY and one.share > 0.9 * held[0].share]
        if not most:
            return None
        partner = self.partner_root(node.inputs[0]) if node.inputs else None
        reading = [one for one in most if partner is not None and self._reads(one.node, partner)]
        free = [one for one in most if self._is_free(one.node)]
        if partner is not None and not reading:
            standing = self._standing(node, partner)
            if standing is not None:
                return Anchor.of_place(standing)
        most = [one for one in reading if one in free] or reading or free or most
        if self._takes_parts(node, most):
            return None
        return most[0]

    def _takes_parts(self, node: Node, held: Sequence[Anchor]) -> bool:
        """Whether one model calls a layer on the whole and the other several times on parts of it:
        none of these outputs stands for the whole one."""
        if len(held) == 1 and len(self._holders[held[0].node]) == 1:
            return False
        if any(one.counts[0] != one.counts[1] for one in held):
            return False  # several products in one
        sizes = {one.node.outputs[0].shown[0].value.size for one in held}
        return node.outputs[0].value.size not in sizes

    def _reads(self, node: Node, tensor: Tensor) -> bool:
        """Whether a node of A reads one of its tensors, or another with the same numbers."""
        root = node.inputs[0].root
        return root is tensor or self._same_numbers(root, tensor)

    def _is_free(self, node: Node) -> bool:
        """Whether what a node of A gives has no partner."""
        return not self.partners_of_a.get(node.outputs[0].shown[0])

    def _standing(self, node: Node, partner: Tensor) -> Node | None:
        """The node of A in whose place one of B stands that holds the weights of another: the only
        one of its kind and shape that reads what B's reads, and that no other of B stands for."""
        shapes = _shapes(node)
        found = [
            one
            for one in self._readers[partner]
            if one.kind == node.kind and _shapes(one) == shapes and self._is_free(one)
        ]
        if len(found) != 1:
            return None
        mine = node.inputs[0].root
        if any(holder.inputs[0].root is mine for holder in self._holders[found[0]]):
            return None
        return found[0]

    def partner_root(self, tensor: Tensor) -> Tensor | None:
        """What of A stands for a tensor of B, or for the one that it is a copy of."""
        found = self._paired(tensor)
        if found is None:
            return None
        return found.a.tensor.root

    def _paired(self, tensor: Tensor) -> Paired | None:
        """The pair of a tensor of B, or of one that it is a copy of."""
        while tensor not in self.partner and tensor.node is not None and tensor.node.layout:
            tensor = tensor.node.inputs[0]
        return self.partner.get(tensor)

    def _way_of(self, tensor: Tensor) -> Way | None:
        """The order of A's axes in a tensor of B, as that of its partner says."""
        paired = self._paired(tensor)
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

    def _prove_input(self, node: Node, anchor: Anchor) -> None:
        b, a = node.inputs[0], anchor.node.inputs[0]
        known = self.partner_root(b)
        if known is None:
            if b not in self.values:
                return
            line_a, line_b = _turned(a), _turned(b)
            if line_a is not None and line_b is not None:
                (root_a, perm_a), (root_b, perm_b) = line_a, line_b
                same = root_b in self.values and self.values[root_b].size == root_a.value.size
                elsewhere = [*self.partners_of_a[root_a], *self.partners_of_a[root_a.root]]
                elsewhere = [one for one in elsewhere if self.agrees(one)]
                moved = same and np.allclose(
                    signature(self.values[root_b]), signature(root_a.value)
                )
                if elsewhere and (moved or not self._follows(root_b, elsewhere)):
                    self.wires.append(Wire(node, b, a.root))
                elif same and root_b.node is not None and len(perm_a) == len(perm_b):
                    way = Way(tuple(perm_a[k] for k in np.argsort(perm_b)))
                    self._force(root_b, Source((root_a,)), (way,), "weights")
                    self._recompute_layouts(b)
        elif known is not a.root and not self._same_numbers(known, a.root):
            self.wires.append(Wire(node, b, a.root))

    def _follows(self, b: Tensor, tensors: Sequence[Tensor]) -> bool:
        """Whether a tensor of B is made of one of these alone: a step more than A has."""
        while b not in tensors:
            if b in self.partner or b.node is None:
                return False
            data = [x for x in b.node.inputs if is_constant(x) is None]
            if len(data) != 1:
                return False
            b = data[0]
        return True

    def agrees(self, b: Tensor) -> bool:
        """Whether a tensor has a partner that it agrees with."""
        local = self.partner[b].local if b in self.partner else None
        return local is not None and local.ok

    def _same_numbers(self, left: Tensor, right: Tensor) -> bool:
        return left.value.shape == right.value.shape and np.array_equal(left.value, right.value)

    def _recompute_layouts(self, tensor: Tensor) -> None:
        """Computes the copies between a tensor and the pair that it is a copy of again."""
        line = []
        while tensor not in self.partner and tensor.node is not None and tensor.node.layout:
            line.append(tensor.node)
            tensor = tensor.node.inputs[0]
        for node in reversed(line):
            self._compute(node)

    def _pair_anchored(self, node: Node, chosen: Anchor | None, held: Sequence[Anchor]) -> None:
        output = node.outputs[0]
        if output not in self.values or output in self.partner:
            return
        if chosen is None or not self._whole(node, chosen):
            gathered = self._gathered(node, held)
            if gathered is not None:
                likely = self._likely(gathered.tensor, output)
                tried = (*likely, unchanged(self.values[output].ndim))
                self._force(output, gathered, tried, "weights")
            elif chosen is not None:
                self._take_best(output, [chosen.node.outputs[0]])
            return
        first = chosen.node.outputs[0]
        behind_a, behind_b = (normalization_behind(one) for one in (first, output))
        folds = not isinstance(node.op, BatchNormalization)
        if folds and behind_a is not None and behind_b is None:
            folded = [first, behind_a.outputs[0]]
            self._take_best(output, folded[:: -1 if chosen.scaled else 1])
        elif (
            folds
            and behind_b is not None
            and behind_a is None
            and (chosen.scaled or self._is_nearer(behind_b.outputs[0], output, first))
        ):
            self._awaited[behind_b.outputs[0]] = [first]
            self._inside.add(output)
        else:
            how = "weights" if chosen.share else "structure"
            for one, other in zip(node.outputs, chosen.node.outputs, strict=False):
                if one in self.values and one not in self.partner:
                    self._take_here_or_behind(one, other, how)

    def _is_nearer(self, behind: Tensor, b: Tensor, inner: Tensor) -> bool:
        """Whether A's tensor is what B makes of an output next rather than the output itself: the
        batch normalisation of a model that was never trained is nearly the identity."""
        here = self._off(b, inner)
        return here > 0 and behind in self._ahead(b) and self._off(behind, inner) < min(here, 1)

    def _take_here_or_behind(self, b: Tensor, inner: Tensor, how: str) -> None:
        """Pairs an output with A's; where they differ, with what B makes of it by itself next, if
        that agrees, or is the first of its size: a crop or a reversal that B does apart. Or with
        what A crops of its own."""
        shown = inner.shown[0]
        source = Source((shown,))
        tried = self._tried(b, source, self._likely(shown, b, inner))
        if not tried[1].ok:
            for end in self._ahead(b):
                if end in self._decided or self.values[end].size != shown.value.size:
                    continue
                found = self._tried(end, source, self._likely(shown, end, inner))
                agrees = found[1].ok and not self._vague(end, found[3])
                if agrees or self.values[b].size != shown.value.size:
                    self._awaited[end] = [inner]
                    return
            for later in _made_of(inner):
                behind = Source((later.shown[0],))
                found = self._tried(b, behind, self._likely(behind.tensor, b, later))
                if found[1].ok and not self._vague(b, found[3]):
                    self._put(b, behind, *found, how)
                    return
        self._put(b, source, *tried, how)

    def _ahead(self, b: Tensor) -> Iterator[Tensor]:
        """The tensors that follow from one alone, computed."""
        for _ in range(_AHEAD):
            if len(b.consumers) != 1 or len(b.consumers[0].outputs) != 1:
                return
            node = b.consumers[0]
            if node in self.anchors or node.op is None or b not in self.values:
                return
            if any(x is not b and is_constant(x) is None for x in node.inputs):
                return
            self._compute(node)
            b = node.outputs[0]
            if b not in self.values or b in self.uncomputed:
                self.uncomputed.discard(b)
                return
            yield b

    def _whole(self, node: Node, anchor: Anchor) -> bool:
        """Whether the anchor's output stands for the node's, place by place."""
        if anchor.counts[0] != anchor.counts[1]:
            return False
        if len(anchor.node.outputs) > 1 or anchor.same_order or node in self.in_place:
            return True
        ends = [one.root for one in self.b.outputs]  # nothing puts these in order again
        return node.outputs[0] in ends and not _beside(node.outputs[0])

    def _gathered(self, node: Node, held: Sequence[Anchor]) -> Source | None:
        """Columns of A's outputs that together are B's output."""
        value = self.values[node.outputs[0]]
        axis = channel_axis(node)
        if axis is None or len(node.outputs) > 1:
            return None
        width = value.shape[axis]
        if not held or len(held[0].looked) != width:
            return None
        partner = self.partner_root(node.inputs[0]) if node.inputs else None
        if partner is not None:  # of layers with the same weights those that read what this does
            held = sorted(held, key=lambda one: not self._reads(one.node, partner))
        left = np.ones(width, bool)
        tensors: list[Tensor] = []
        columns: list[tuple[np.ndarray, np.ndarray]] = []
        for one in held:
            places = np.flatnonzero(left & (one.rows >= 0))
            if len(places):
                tensors.append(one.node.outputs[0])
                columns.append((places, one.rows[places]))
                left[places] = False
        if left.any() or any(channel_axis(one.node) != axis for one in held):
            return None
        found = Source(tuple(tensors), tuple(columns), axis)
        try:
            gathered = found.gathered([one.value for one in tensors])
            fits = sorted(gathered.shape) == sorted(value.shape)  # PyTorch puts time first
        except (ValueError, IndexError):  # axes or sizes that do not fit
            return None
        if fits:
            return found
        return None

    def _take_best(self, b: Tensor, inner: Sequence[Tensor]) -> None:
        """Pairs with the one of A's tensors that B's segment agrees with best; where it agrees with
        none, the first."""
        near = [one for one in inner if self._off(b, one) <= 1] if len(inner) > 1 else []
        tried = []
        for one in near or inner:
            source = Source((one.shown[0],))
            tried.append((source, self._tried(b, source, self._likely(source.tensor, b, one))))
        source, best = min(tried, key=lambda one: one[1][1].ratio if one[1][1].ok else 2)
        self._put(b, source, *best, "weights")

    def _off(self, b: Tensor, inner: Tensor) -> float:
        """How far some elements of B's tensor lie from A's, in units of the allowance, in the most
        likely order of axes."""
        value, a = self.values[b], inner.shown[0]
        slack_a, rows = self.slack_a(a), _sample(value)
        for way in self._likely(a, b, inner):
            theirs = way.to_b(a.value)
            if theirs.shape != value.shape:
                continue
            slacks = [self.slack[b], None if slack_a is None else way.to_b(slack_a)]
            own = sum(np.broadcast_to(one, value.shape)[rows] for one in slacks if one is not None)
            return compare((theirs[rows],), (value[rows],), (np.asarray(own, np.float64),)).ratio
        return np.inf

    # Pairs by value

    def _pair_by_value(self, b: Tensor) -> None:
        value, slack = self.values[b], self.slack[b]
        if value.dtype.kind != "f" or value.size < 2 or not np.isfinite(value).any():
            return
        counterpart = self._counterpart(b)
        if counterpart is not None and self._tells_apart(b) and self._fits(b, counterpart):
            return
        own = signature(value)
        if not own[1] > 1e-9 * own[0]:
            return
        typical = 0.0 if slack is None else float(np.median(_some(slack)))
        if not typical < _EVIDENCE * own[1]:
            return
        largest = 0.0 if slack is None else float(np.max(np.where(slack < 1e30, slack, 0.0)))
        near = 3 * largest + 1e-5 * own[0]
        around = self._around(b)
        candidates = []
        for one in self._sized[value.size]:
            mark = self._signature.get(one)
            if mark is None:
                mark = self._signature.setdefault(one, signature(one.value))
            if np.abs(mark - own).max() <= near:
                place = -1 if one.node is None else one.node.index
                used = bool(self.partners_of_a.get(one))
                other = one.node is None or b.node is None or one.node.kind != b.node.kind
                candidates.append((used, other, abs(place - around), place, one))
        candidates.sort(key=lambda one: one[:4])
        for *_, a in islice(candidates, _TRIED):
            if self._fits(b, a):
                return

    def _counterpart(self, b: Tensor) -> Tensor | None:
        """What a node of A of the same kind makes of the partners of what B's node reads."""
        if b.node is None:
            return None
        partners = [self.partner_root(x) for x in b.node.inputs]
        if not partners or partners[0] is None or None in partners:
            return None
        for node in partners[0].consumers:
            alike = node.kind == b.node.kind and [x.root for x in node.inputs] == partners
            if alike and len(node.outputs) == 1:
                found = node.outputs[0].shown[0]
                free = not self.partners_of_a.get(found)
                if free and found in self._sized[self.values[b].size]:
                    return found
                return None
        return None

    def _tells_apart(self, b: Tensor) -> bool:
        """Whether some elements vary by more than rounding may explain."""
        some = _some(self.values[b]).astype(np.float64)
        if not np.isfinite(some).all():
            return False
        slack = self.slack[b]
        typical = 0.0 if slack is None else float(np.median(_some(slack)))
        return bool(typical < _EVIDENCE * some.std() > 1e-9 * np.abs(some).max())

    def _around(self, b: Tensor) -> float:
        """Where in A the partners of what B's tensor is made of lie."""
        places = [
            partner.node.index
            for x in (() if b.node is None else b.node.inputs)
            if (partner := self.partner_root(x)) is not None and partner.node is not None
        ]
        return max(places, default=-1) + 1

    def _fits(self, b: Tensor, a: Tensor) -> bool:
        """Pairs with a tensor of A that B's lies within the allowance of, in some order of axes."""
        value, x = self.values[b], a.value
        slack, source = self._total(b, a), Source((a,))
        rows = _sample(value)
        mine = value[rows]
        tried: tuple[Way, Comparison, np.ndarray, np.ndarray] | None = None
        fitting = 0
        for way in ways(x.shape, value.shape, self._likely(a, b)):
            theirs = way.to_b(x)
            own = _read(slack, way)
            if not _within(mine, theirs[rows], own[rows] if own.ndim else own):
                continue
            if tried is None:
                found = self._tried(b, source, (way,), only=True)
                if not found[1].ok:
                    continue
                tried = found
            fitting += 1
        if tried is None:
            return False
        self._put(b, source, *tried, "values", fitting)
        return True

    def _total(self, b: Tensor, a: Tensor) -> tuple[np.ndarray | None, np.ndarray | None]:
        return self.slack[b], self.slack_a(a)

    def _likely(self, a: Tensor, b: Tensor, inner: Tensor | None = None) -> list[Way]:
        """The ways to try first: that of the op where ``inner`` is what it gives (its axes are the
        same in every framework), that of the inputs, then the last that fitted such ranks."""
        rank = (a.value.ndim, self.values[b].ndim if b in self.values else b.value.ndim)
        found = []
        if inner is not None and rank[0] == rank[1]:
            found.append(Way(tuple(int(k) for k in np.argsort(inner.shown[1]))))
        for x in () if b.node is None else b.node.inputs:
            way = self._way_of(x)
            if way is not None and way.merged is None and len(way.perm) == rank[1]:
                found.append(way)
        if rank in self._remembered:
            found.append(self._remembered[rank])
        return [one for one in found if one.fits(a.value.shape)]

    # Forcing

    def _force(
        self,
        b: Tensor,
        source: Source,
        first: Sequence[Way],
        how: str,
        fitting: int = 1,
        only: bool = False,
    ) -> None:
        self._put(b, source, *self._tried(b, source, first, only), how, fitting)

    def _tried(
        self, b: Tensor, source: Source, first: Sequence[Way], only: bool = False
    ) -> tuple[Way, Comparison, np.ndarray, np.ndarray]:
        """The way of axes that B's value fits A's best by, how they compare, and A's value and the
        allowance in B's axes."""
        value = self.values[b]
        array = source.gathered([one.value for one in source.tensors])
        slacks = [self.slack_a(one) for one in source.tensors]
        if all(one is None for one in slacks):
            slack_a = None
        else:
            slack_a = source.gathered(
                [
                    np.zeros(one.value.shape)
                    if slack is None
                    else np.broadcast_to(slack, one.value.shape)
                    for one, slack in zip(source.tensors, slacks, strict=True)
                ]
            )
        best: tuple[Way, Comparison, np.ndarray, np.ndarray] | None = None
        likely = False
        for way in islice(ways(array.shape, value.shape, first), 1 if only else 130):
            theirs = way.to_b(array)
            allowed = _read((self.slack[b], slack_a), way) + self.level.beyond(theirs)
            found = compare((theirs,), (value,), (np.broadcast_to(allowed, value.shape),))
            # where none agrees, the ways of what it is made of decide, not the nearest of all
            nearer = best is None or found.ratio < best[1].ratio
            if found.ok or best is None or (nearer and (way in first or not likely)):
                best, likely = (way, found, theirs, allowed), likely or way in first
            if found.ok:
                break
        if best is not None:
            return best
        way = next((one for one in first if one.fits(array.shape)), unchanged(array.ndim))
        theirs = way.to_b(array)
        return way, compare((theirs,), (value,), (np.zeros(()),)), theirs, np.zeros(())

    def _put(
        self,
        b: Tensor,
        source: Source,
        way: Way,
        local: Comparison,
        theirs: np.ndarray,
        allowed: np.ndarray,
        how: str,
        fitting: int = 1,
    ) -> None:
        computed = b not in self.uncomputed
        paired = Paired(
            *(b, source, way, how, local if computed else None),
            unforced=None if local.ok or not computed else self.values[b],
            allowed=None if local.ok else allowed,
            fitting=fitting,
            vague=local.ok and self._vague(b, allowed),
            b_shape=self.values[b].shape,
            origin=self._decided[b].origin if b in self._decided else None,
        )
        self.pairs.append(paired)
        self.partner[b] = paired
        for one in source.tensors:
            self.partners_of_a[one].append(b)
        self.values[b] = theirs
        recorded = all(one.recorded is not None for one in source.tensors)
        kept = None if recorded and not self.a.loose else self.slack_a(source.tensor)
        self.slack[b] = None if kept is None or source.columns else way.to_b(kept)
        if way.merged is None and local.ok:
            self._remembered[len(way.perm), len(way.perm)] = way
        for one in source.tensors:
            if one.recorded is not None:
                self._slack_a[one] = self._digits(one)

    def _vague(self, b: Tensor, allowed: np.ndarray) -> bool:
        value = self.values[b]
        if b.input is not None or value.dtype.kind != "f" or value.size < 2:
            return False
        typical = float(np.median(_some(np.broadcast_to(allowed, value.shape))))
        if typical < 1e-3 * float(np.abs(_some(value)).max(initial=0.0)):
            return False
        deviation = signature(value)[1]
        return bool(deviation and typical > deviation)

    # A's own rounding

    def slack_a(self, tensor: Tensor) -> np.ndarray | None:
        """How far A's tensor may be off what the pairs before it give."""
        order = [tensor]
        while order:
            last = order[-1]
            if last in self._slack_a:
                order.pop()
                continue
            node = last.node
            if node is None or node.op is None:
                self._slack_a[last] = self._digits(last)
                continue
            missing = [x for x in node.inputs if x not in self._slack_a]
            if missing:
                order += missing
                continue
            given = [taken(node, x.value) for x in node.inputs]
            slacks = [self._slack_a[x] for x in node.inputs]
            outputs = [x.value for x in node.outputs]
            precision = stored_in(_own_dtype(node))
            bounds = bounds_of(node, given, slacks, outputs, precision)
            self._note_own(node, slacks, bounds)
            if precision.stored and node.op.stores:
                bounds = as_stored(node, given, outputs, bounds, precision.stored)
            for output, bound in zip(node.outputs, bounds, strict=True):
                self._slack_a.setdefault(output, bound)
        return self._slack_a[tensor]

    def _digits(self, tensor: Tensor) -> np.ndarray | None:
        if self.a.loose:
            return digits(tensor.value)
        return None

    # What is left

    def _pair_outputs(self) -> None:
        for a, b in zip(self.a.outputs, self.b.outputs, strict=False):
            known = self.partner_root(b)
            if known is None and b in self.values and b.root in self.values:
                end = b.root if b.root.node is not None else b
                if end in self.partner or a.root.value.size != self.values[end].size:
                    end = b
                source = a.root.shown[0] if end is b.root else a
                self._force(end, Source((source,)), self._likely(source, end), "structure")
            elif known is not None and not (self._is_given(known, a) and self._in_its_axes(a, b)):
                self._pair_end(a, b)

    def _in_its_axes(self, a: Tensor, b: Tensor) -> bool:
        """Whether an output of B has A's axes, or those of another layout, as two of three things
        say: that the channels move, its shape, that the frameworks have different ones. Notes those
        that it has instead."""
        x, value = a.value, self.values.get(b)
        if value is None or x.ndim != value.ndim or x.ndim > _LONGEST or _equal(x, value):
            return True
        for perm in permutations(range(x.ndim)):
            turned = x.transpose(perm)
            if turned.shape != value.shape or not _equal(turned, value):
                continue
            channels = perm[0] == 0 and perm in _channels_moved(x.ndim)
            told = x.shape != value.shape  # by the shape
            if sum((channels, told, not self.same_layout)) > 1:
                axes = ",".join(map(str, perm))
                place = self.b.outputs.index(b)
                self.notes.append(f"output {place} of B is A's with the axes {axes}")
                return True
            return False
        return True

    def _is_given(self, known: Tensor, a: Tensor) -> bool:
        """Whether a tensor of A is the output that B's stands for; of models with different numbers
        of outputs, one of them."""
        alike = len(self.a.outputs) == len(self.b.outputs)
        wanted = [one.root for one in ((a,) if alike else self.a.outputs)]
        return any(known is one or self._same_numbers(known, one) for one in wanted)

    def _pair_end(self, a: Tensor, b: Tensor) -> None:
        """Pairs an output of B that stands for another tensor of A's with A's output: what A does
        to it last is missing, or the outputs are in another order. Nothing where the two agree."""
        call = self.b.nodes[-1].call if b.node is None else b.node.call
        end = Tensor(b.name, b.value)
        end.node = Node(Identity(), (b,), (end,), call, 0 if b.node is None else b.node.index)
        self.values[end], self.slack[end] = self.values[b], self.slack[b]
        if not self._in_its_axes(a, b):  # no order of axes excuses it
            way, x, value = unchanged(a.value.ndim), a.value, self.values[b]
            found = compare((x,), (value,), (np.zeros(()),))
            self._put(end, Source((a,)), way, found, x, np.zeros(()), "structure")
            return
        source = Source((a.root.shown[0],))
        tried = self._tried(end, source, self._likely(source.tensor, end))
        if not tried[1].ok:
            self._put(end, source, *tried, "structure")


_LONGEST = 5
"""Outputs of more axes are not read in every order of them."""


def _channels_moved(rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The channels from the last axis to the second, and back."""
    axes = range(1, rank - 1)
    return (0, rank - 1, *axes), (0, *(axis + 1 for axis in axes), 1)


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and np.array_equal(
        left, right, equal_nan=left.dtype.kind == "f"
    )


def _dtype(node: Node) -> str:
    dtype = node.call.capture.dtype
    if dtype in ("float32", "float64"):
        return dtype
    return "float32"


def _of_equal_ones(
    node: Node, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The outputs with the places that B itself recorded, where these are of equal numbers: it need
    not take the first of them."""
    assert node.op is not None
    made = list(outputs)
    for k, (tensor, value) in enumerate(zip(node.outputs, outputs, strict=False)):
        own = tensor.recorded
        if value.dtype.kind not in "iu" or own is None or own.shape != value.shape:
            continue
        equal = node.op.equally_right([widened(x) for x in inputs], tuple(outputs), k, own)
        if equal is not None and (equal | (own == value)).all():
            made[k] = own
    return made


def _own_dtype(node: Node) -> str:
    dtype = node.call.capture.dtype
    if dtype in ("float64", "float16", "bfloat16"):
        return dtype
    return "float32"


def _some(array: np.ndarray) -> np.ndarray:
    """Some elements, spread over an array."""
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // 2048)]


def _sample(value: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of some elements, spread over the array."""
    flat = np.unique(np.linspace(0, value.size - 1, min(_SAMPLE, value.size)).astype(np.intp))
    if value.ndim:
        return np.unravel_index(flat, value.shape)
    return ()


def _read(slack: tuple[np.ndarray | None, np.ndarray | None], way: Way) -> np.ndarray:
    """The allowance of both sides in B's axes."""
    b, a = slack
    total = np.zeros(()) if b is None else np.asarray(b)
    return total if a is None else total + way.to_b(np.asarray(a))


def _within(left: np.ndarray, right: np.ndarray, allowed: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right) <= allowed
    if apart.all():
        return True
    return bool((apart | (left == right) | (np.isnan(left) & np.isnan(right))).all())


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


def _shapes(node: Node) -> list[tuple[int, ...]]:
    return [weight.value.shape for _, weight in held_weights(node)]


def _beside(tensor: Tensor) -> bool:
    """Whether something computes with a tensor."""
    return any(
        not node.layout or any(_beside(one) for one in node.outputs) for node in tensor.consumers
    )


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
