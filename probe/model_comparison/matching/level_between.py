"""Which level of precision lies between two models, found by their weights; and A's weights in the
place of B's where B's are these, rounded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode, ModelGraph
from probe.model_comparison.graphs.normalization import normalization_behind, with_normalization
from probe.model_comparison.graphs.normalize import is_constant, values_in
from probe.model_comparison.graphs.steps_of_numbers import step_between
from probe.model_comparison.graphs.weights import Anchor, held_weights
from probe.model_comparison.matching.level import INTEGERS, TYPES, Level
from probe.model_comparison.sides import Side
from probe.numerics.precision import precision_of
from probe.ops import GRU, BatchNormalization, Cast, Op, Recurrence
from probe.ops.weight import Grid, Weight

__all__ = ["level_between"]

_FIRST = 256
_MOST_BITS = 16
"""Integers of more bits are a bias's."""
_AS_FLOAT = 1e-6
_HALF = 0.501
_UNBIASED = 0.25
"""How far a rounding up or down by choice leaves the mean, in steps."""
_FOLDED = 6.0
"""How many roundings of the narrower type lie in weights that a normalisation was folded into: of
the weight, the variance, its sum with epsilon, the root, the gain and the product."""


def level_between(
    a: ModelGraph, b: ModelGraph, anchors: Mapping[GraphNode, Sequence[Anchor]]
) -> Level:
    """The level between two models. B's graph takes A's weights where its own are these at that
    level, and rounds nothing in its casts to it."""
    pairs = [(node, held[0]) for node, held in anchors.items() if held and held[0].ordered]
    for name in TYPES:
        narrow = [(_lies_in(anchor.node, name), _lies_in(node, name)) for node, anchor in pairs]
        telling = [sides for sides in narrow if not all(sides)]
        mine = sum(of_a for of_a, _ in telling)
        theirs = sum(of_b for _, of_b in telling)
        if mine == theirs or max(mine, theirs) < 0.5 * len(telling):
            continue
        side = Side.A if mine > theirs else Side.B
        return Level(name, side, _take(b, anchors, name, ()))
    bits = {bits for node, anchor in pairs if (bits := _more_bits(node, anchor.node))}
    tables = [weight for node in b.nodes for weight in _parameter(node).values() if weight.grid]
    constants = [*_constants(a)] if bits or tables else []
    bits |= {
        weight.grid.bits
        for weight in tables
        if weight.grid is not None and _unrounded(weight, constants) is not None
    }
    if bits:
        rounded = _take(b, anchors, INTEGERS, constants)
        return Level(INTEGERS, Side.B, rounded, b.steps, tuple(sorted(bits)))
    return Level()


def _more_bits(node: GraphNode, of_a: GraphNode) -> int:
    """How many bits the integers behind a node's weights have; 0 where there are none, or A's
    weights are quantised too."""
    mine, theirs = ([w.grid for _, w in held_weights(holder)] for holder in (node, of_a))
    if any(theirs):
        return 0
    few = (grid.bits for grid in mine if grid is not None and grid.bits <= _MOST_BITS)
    return max(few, default=0)


def _lies_in(node: GraphNode, name: str) -> bool:
    """Whether the weights of a node are numbers of a type: its matrices, where it has some."""
    weights = [weight.value for _, weight in held_weights(node) if weight.value.dtype.kind == "f"]
    matrices = [values for values in weights if values.ndim > 1]
    return all(_held(values, name) for values in matrices or weights)


def _held(values: np.ndarray, name: str) -> bool:
    with np.errstate(all="ignore"):
        return all(  # some first: those of float32 are no numbers of another type
            bool((part.astype(TYPES[name]).astype(part.dtype) == part).all())
            for part in (values.reshape(-1)[:_FIRST], values)
        )


def _take(
    b: ModelGraph,
    anchors: Mapping[GraphNode, Sequence[Anchor]],
    name: str,
    constants: Sequence[np.ndarray],
) -> frozenset[GraphNode]:
    rounded: set[GraphNode] = set()
    for node in b.nodes:
        if isinstance(node.op, Cast) and node.op.to in TYPES and name in TYPES:
            node.op = replace(node.op, to="float32")
            node.__dict__["layout"] = True
            continue
        fields = dict(held_weights(node)) or _parameter(node)
        if not fields or node.op is None:
            continue
        replaced: dict[str, Weight] = {}
        held = anchors.get(node, ())
        for part, weight in fields.items():
            if (theirs := _of_a(node, part, weight, held)) is not None:
                replaced[part] = _mixed(weight, theirs, part, name)
            elif (same := _unrounded(weight, constants)) is not None:
                replaced[part] = Weight(weight.name, None, same, grid=_of_op(weight))
        if replaced:
            node.op = replace(node.op, **replaced)
        if len(replaced) < len(fields):
            rounded.add(node)
    return frozenset(rounded)


def _of_op(weight: Weight) -> Grid | None:
    """The grid of a weight in the op's layout."""
    step = weight.step
    if weight.grid is None or step is None:
        return None
    return replace(weight.grid, scale=step)


def _constants(a: ModelGraph) -> Iterator[np.ndarray]:
    """The numbers that a graph holds: weights of any field, constants, and what is made of these
    alone, such as the rows of a table at places of the model's own."""
    following = set(a.inputs)
    for node in a.nodes:
        if not following.isdisjoint(node.inputs):
            following.update(node.outputs)
        elif node.inputs:
            yield from (tensor.value for tensor in node.outputs if tensor.value.dtype.kind == "f")
        yield from (weight.value for _, weight in held_weights(node))
        for constant in map(is_constant, node.outputs):
            if constant is not None:
                yield values_in(constant)


def _unrounded(weight: Weight, constants: Sequence[np.ndarray]) -> np.ndarray | None:
    """The numbers of A that integers of B stand for, which no product tells: a learned scale."""
    mine = weight.value
    step = step_between(mine) if weight.step is None else weight.step
    if step is None or mine.size < 2:
        return None
    for constant in constants:
        if constant.size == mine.size:
            theirs = constant.reshape(mine.shape).astype(np.float64)
            if _rounded_to_steps(mine.astype(np.float64), theirs, step).all():
                return theirs
    return None


def _parameter(node: GraphNode) -> dict[str, Weight]:
    value = getattr(node.op, "weight", None)
    if isinstance(value, Weight) and not node.inputs:
        return {"weight": value}
    return {}


class _HeldWeight(NamedTuple):
    """A's values for a weight of B."""

    value: np.ndarray
    roundings: float
    """How many of the narrower type lie between."""
    parts: np.ndarray | float = 0.0
    """How large what the bias is the difference of is."""


def _of_a(node: GraphNode, part: str, weight: Weight, held: Sequence[Anchor]) -> _HeldWeight | None:
    """A's values for a weight of B, in the layout of the op, rows of several nodes put
    together."""
    if not held:
        return None
    if isinstance(node.op, Recurrence):
        return _of_recurrence(node.op, held[0].node.op, part)
    first = _weight_of(held[0], node, part)
    shape = weight.value.shape
    whole = held[0].counts[0] == held[0].counts[1] and held[0].same_order
    if whole and first is not None and first.value.shape == shape:
        return first
    axis = int(held[0].node.kind == "MatMul" and len(shape) == 2)
    if len(held[0].looked) != shape[axis]:
        return None
    out = np.moveaxis(weight.value.astype(np.float64), axis, 0).copy()
    roundings = 1.0
    for anchor in held:
        theirs = _weight_of(anchor, node, part)
        if theirs is None or theirs.value.ndim != len(shape):
            return None
        rows = np.moveaxis(theirs.value, axis, 0)
        places = np.flatnonzero(anchor.rows >= 0)
        if rows.shape[1:] != out.shape[1:]:
            return None
        out[places] = rows[anchor.rows[places]]
        roundings = max(roundings, theirs.roundings)
    return _HeldWeight(np.moveaxis(out, 0, axis), roundings)


def _of_recurrence(b: Recurrence, a: Op | None, part: str) -> _HeldWeight | None:
    """The same of a recurrence, whose gates may lie in another order, and whose two biases in one
    array or in two."""
    if not isinstance(a, Recurrence) or sorted(a.gates) != sorted(b.gates) or a.width != b.width:
        return None
    if a.kernel.value.ndim != 2 or part not in ("kernel", "recurrent", "bias", "recurrent_bias"):
        return None
    held, both = getattr(b, part).value, a.biases()

    def ordered(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[..., a.block(gate)] for gate in b.gates], axis=-1)

    none = np.zeros(a.kernel.value.shape[-1])
    first, second = (none if bias is None else ordered(bias) for bias in both)
    parts: np.ndarray | float = 0.0
    if part in ("kernel", "recurrent"):
        value = ordered(getattr(a, part).value)
    elif held.ndim == 2:
        value = np.stack([first, second])
    elif part == "recurrent_bias":
        value = second
    elif b.recurrent_bias is None and not isinstance(b, GRU):  # both are added
        value, parts = first + second, np.abs(first) + np.abs(second)
    else:
        value = first
    if value.shape != held.shape:
        return None
    return _HeldWeight(value, 1.0, parts)


def _weight_of(anchor: Anchor, node: GraphNode, part: str) -> _HeldWeight | None:
    """A weight of the anchor's node, with the normalisation behind it where B's has it folded
    in."""
    op, roundings = anchor.node.op, 1.0
    parts: np.ndarray | float = 0.0
    behind = normalization_behind(anchor.node.outputs[0])
    if behind is not None and normalization_behind(node.outputs[0]) is None:
        folded = with_normalization(op, behind.op)
        if folded is not None:
            op, roundings, parts = folded, _FOLDED, _parts(behind.op)
    weight = getattr(op, part, None)
    if not isinstance(weight, Weight):
        return None
    return _HeldWeight(weight.value, roundings, parts)


def _parts(normalization: Op | None) -> np.ndarray | float:
    """How large what a folded bias is the difference of is, for each channel: its rounding stays
    where the difference is small."""
    if not isinstance(normalization, BatchNormalization):
        return 0.0
    gain = _sizes(normalization.scale, 1.0)
    if normalization.variance is not None:
        gain = gain / np.sqrt(_sizes(normalization.variance) + normalization.epsilon)
    moved = np.zeros(())
    if normalization.mean is not None:
        moved = _sizes(normalization.mean) * gain
    return np.asarray(np.maximum(moved, _sizes(normalization.bias)))


def _sizes(weight: Weight | None, otherwise: float = 0.0) -> np.ndarray:
    """How large the entries of a weight are."""
    if weight is None:
        return np.asarray(otherwise)
    return np.asarray(np.abs(weight.value).ravel().astype(np.float64))


def _mixed(weight: Weight, held: _HeldWeight, part: str, name: str) -> Weight:
    """A's values where B's are these at the level, else B's own."""
    theirs, roundings, step = held.value, held.roundings, weight.step
    mine = weight.value.astype(np.float64)
    size = np.maximum(np.abs(theirs), np.abs(mine))
    if part == "bias":
        size = np.maximum(size, held.parts)
    apart = np.abs(mine - theirs)
    if name in TYPES:
        least = 2.0**-24 if name == "float16" else 2.0**-133
        near = apart <= roundings * (precision_of(name).unit * size + least)
    elif step is None:  # a bias that stayed as it was
        near = apart <= _AS_FLOAT * size.max(initial=0.0)
    else:
        near = _rounded_to_steps(mine, theirs, step)
    return Weight(weight.name, None, np.where(near, theirs, mine), grid=_of_op(weight))


def _rounded_to_steps(mine: np.ndarray, theirs: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Which integers are those nearest to A's values; where all lie within a step and the mean
    stays, those that were rounded up or down by choice."""
    room = _AS_FLOAT * np.abs(theirs)
    apart = (mine - theirs) / step
    ends = (mine == mine.max(initial=0.0)) | (mine == mine.min(initial=0.0))
    near = np.abs(apart) <= _HALF + room / step + 0.5 * ends
    if not near.all() and (np.abs(apart) <= 1 + room / step).all():
        rows = apart.reshape(len(apart), -1)
        if rows.size >= 64 and abs(float(rows.mean())) <= _UNBIASED:
            return np.ones(mine.shape, bool)
    return np.asarray(near)
