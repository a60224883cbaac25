"""A level of precision: one model holds the other's weights rounded to a narrower type.

That is no fault. So B is walked with A's weights wherever its own are these, rounded; what differs
by more stays B's own and stands out. What B rounds besides, in arrays that it makes itself and in
weights that were matched with none, is allowed for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np

from probe.model_comparison.graph import Graph, Node
from probe.model_comparison.weights import Anchor, held_weights
from probe.numerics.precision import precision_of
from probe.ops import Cast, Op, Sum
from probe.ops.weight import Weight

__all__ = ["Level", "level_between", "of_weights", "rounding_of"]

_TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


_FIRST = 256


@dataclass(frozen=True, eq=False)
class Level:
    """What the weights of one side are rounded to; "" where those of neither are."""

    name: str = ""
    side: str = ""
    """Whose weights are the rounded ones: "A" or "B"."""
    rounded: Mapping[Node, float] = field(default_factory=dict)
    """Nodes of B with rounded weights that A's did not take the place of, and the unit roundoff."""

    @property
    def unit(self) -> float:
        return precision_of(self.name).unit if self.name else 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.name:
            return ()
        other = "A" if self.side == "B" else "B"
        reference = "; the reference is the less precise of the two" if self.side == "A" else ""
        return (
            f"{self.side} holds {other}'s weights rounded to {self.name}: that is no fault, "
            f"and B's layers are computed with A's weights{reference}",
        )


def level_between(a: Graph, b: Graph, anchors: Mapping[Node, Sequence[Anchor]]) -> Level:
    """The level between two models. B's graph takes A's weights where its own are these at that
    level, and rounds nothing in its casts to it."""
    pairs = [(node, held[0]) for node, held in anchors.items() if held and held[0].ordered]
    for name in _TYPES:
        mine = [_lies_in(one.node, name) for _, one in pairs]
        theirs = [_lies_in(node, name) for node, _ in pairs]
        if not pairs or sum(mine) == sum(theirs):
            continue
        side, held = ("A", mine) if sum(mine) > sum(theirs) else ("B", theirs)
        if sum(held) < 0.5 * len(pairs):
            continue
        rounded = _take(b, anchors, name)
        return Level(name, side, rounded)
    return Level()


def _lies_in(node: Node, name: str) -> bool:
    """Whether the weights of a node are numbers of a type."""
    return all(
        weight.value.dtype.kind != "f" or _held(weight.value, name)
        for _, weight in held_weights(node)
    )


def _held(values: np.ndarray, name: str) -> bool:
    with np.errstate(all="ignore"):
        return all(  # some first: those of float32 are no numbers of another type
            bool((part.astype(_TYPES[name]).astype(part.dtype) == part).all())
            for part in (values.reshape(-1)[:_FIRST], values)
        )


def _take(b: Graph, anchors: Mapping[Node, Sequence[Anchor]], name: str) -> dict[Node, float]:
    unit, least = precision_of(name).unit, 2.0**-24 if name == "float16" else 2.0**-133
    rounded: dict[Node, float] = {}
    for node in b.nodes:
        if isinstance(node.op, Cast) and node.op.to in _TYPES:
            node.op = replace(node.op, to="float32")
            node.__dict__["layout"] = True
            continue
        fields = dict(held_weights(node)) or _parameter(node)
        if not fields or node.op is None:
            continue
        taken: dict[str, Weight] = {}
        for part, weight in fields.items():
            if (theirs := _of_a(part, weight, anchors.get(node, ()))) is not None:
                taken[part] = _mixed(weight, theirs, unit, least)
        if taken:
            node.op = replace(node.op, **taken)
        if len(taken) < len(fields):
            rounded[node] = unit
    return rounded


def _parameter(node: Node) -> dict[str, Weight]:
    value = getattr(node.op, "weight", None)
    return {"weight": value} if isinstance(value, Weight) and not node.inputs else {}


def _of_a(part: str, weight: Weight, held: Sequence[Anchor]) -> np.ndarray | None:
    """A's values for a weight of B, in the layout of the op; rows of several nodes put together."""
    if not held:
        return None
    first = getattr(held[0].node.op, part, None)
    shape = weight.value.shape
    whole = held[0].counts[0] == held[0].counts[1] and held[0].same_order
    if whole and isinstance(first, Weight) and first.value.shape == shape:
        return first.value
    axis = 1 if held[0].node.kind == "MatMul" and len(shape) == 2 else 0
    if len(held[0].looked) != shape[axis if len(shape) > 1 else 0]:
        return None
    out = np.moveaxis(weight.value.astype(np.float64), axis if len(shape) > 1 else 0, 0).copy()
    for one in held:
        theirs = getattr(one.node.op, part, None)
        if not isinstance(theirs, Weight) or theirs.value.ndim != len(shape):
            return None
        rows = np.moveaxis(theirs.value, axis if len(shape) > 1 else 0, 0)
        places = np.flatnonzero(one.rows >= 0)
        if rows.shape[1:] != out.shape[1:]:
            return None
        out[places] = rows[one.rows[places]]
    return np.moveaxis(out, 0, axis if len(shape) > 1 else 0)


def _mixed(weight: Weight, theirs: np.ndarray, unit: float, least: float) -> Weight:
    """A's values where B's are these at the level, else B's own."""
    mine = weight.value.astype(np.float64)
    near = np.abs(mine - theirs) <= unit * np.maximum(np.abs(theirs), np.abs(mine)) + least
    return Weight(weight.name, None, np.where(near, theirs, mine))


def of_weights(
    op: Op, given: Sequence[np.ndarray], outputs: Sequence[np.ndarray], unit: float
) -> np.ndarray:
    """What weights that are rounded may do to the first output of an op."""
    if isinstance(op, Sum):
        return np.asarray(6 * unit * np.sqrt(op.sum_of_squares(list(given)).astype(np.float64)))
    return np.asarray(2 * unit * np.abs(outputs[0]))


def rounding_of(a: np.ndarray, b: np.ndarray) -> float:
    """The unit roundoff of the type that one array is another rounded to; 0 where it is none."""
    if a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f" or np.array_equal(a, b):
        return 0.0
    with np.errstate(all="ignore"):
        for name, dtype in _TYPES.items():
            if np.array_equal(a.astype(dtype).astype(np.float64), b.astype(np.float64)):
                return precision_of(name).unit
    return 0.0
