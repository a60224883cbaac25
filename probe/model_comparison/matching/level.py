"""A level of precision: one model holds the other's weights rounded to a narrower type, or B the
integers that stand for them.

That is no fault. So B is walked with A's weights wherever its own are these, rounded; what differs
by more stays B's own and stands out. What B rounds besides, in arrays that it makes itself and in
weights that were matched with none, is allowed for. What the formats are expected to do to each
segment is told beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import ml_dtypes
import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import Graph, Node, Tensor
from probe.model_comparison.graphs.node_values import evaluated, taken
from probe.model_comparison.graphs.normalize import (
    is_constant,
    normalization_behind,
    with_normalization,
)
from probe.model_comparison.graphs.quantized import beyond_range, cut_off
from probe.model_comparison.graphs.weights import Anchor, held_weights
from probe.model_comparison.sides import Side
from probe.numerics.dtypes import widened
from probe.numerics.precision import SIGMAS, precision_of
from probe.ops import BatchNormalization, Cast, Clip, Conv, MatMul, Mul, Op, Sum
from probe.ops.weight import Grid, Weight

__all__ = ["Level", "expected_error", "level_between", "rounding_of"]

_TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
_FIRST = 256
_MOST_BITS = 16
"""Integers of more bits are a bias's."""
_AS_FLOAT = 1e-6
_HALF = 0.501
_UNBIASED = 0.25
"""How far a rounding up or down by choice leaves the mean, in steps."""
_INTEGERS = "integers"
_TOLD = 3
_FOLDED = 6.0
"""How many roundings of the narrower type lie in weights that a normalisation was folded into: of
the weight, the variance, its sum with epsilon, the root, the gain and the product."""


@dataclass(frozen=True, eq=False)
class Level:
    """What the weights of one side are rounded to; "" where those of neither are."""

    name: str = ""
    side: Side | None = None
    """Whose weights are the rounded ones; None where those of neither are."""
    rounded: frozenset[Node] = frozenset()
    """Nodes of B with rounded weights that A's did not take the place of."""
    steps: Mapping[Node, float] = field(default_factory=dict)
    """Of integers: the step of each node of B behind which values are rounded."""
    bits: tuple[int, ...] = ()

    @property
    def unit(self) -> float:
        """The unit roundoff of a narrower type of floats; 0 of integers."""
        if self.name in _TYPES:
            return precision_of(self.name).unit
        return 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        if self.side is None:
            return ()
        reference = ""
        if self.side is Side.A:
            reference = "; the reference is the less precise of the two"
        return (
            f"{self.side.value} holds {self.side.other.value}'s weights rounded to {self.words}: "
            f"that is no fault, and B's layers are computed with A's weights{reference}",
        )

    @property
    def words(self) -> str:
        """The format in words."""
        if self.name != _INTEGERS:
            return self.name
        return f"integers of {' and '.join(map(str, self.bits))} bits"

    def beyond(self, values: np.ndarray) -> np.ndarray | float:
        """How far A's values lie beyond what B's type holds: the lowest number of float32 in a mask
        is that of the narrower type in its copy."""
        if self.side is not Side.B or self.name not in _TYPES or values.dtype.kind != "f":
            return 0.0
        largest = float(ml_dtypes.finfo(_TYPES[self.name]).max)  # type: ignore[no-untyped-call]
        far = np.where(np.isfinite(values), np.abs(values.astype(np.float64)) - largest, 0.0)
        if (far > 0).any():
            return np.maximum(far, 0.0)
        return 0.0

    def of_weights(
        self, node: Node, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        """What rounded weights may do to the first output of a node; None where they are not."""
        if node.op is None:
            return None
        if self.name == _INTEGERS:
            return _of_steps(node.op, inputs)
        if isinstance(node.op, Sum):
            squares = node.op.sum_of_squares(list(inputs)).astype(np.float64)
            return np.asarray(SIGMAS * self.unit * np.sqrt(squares))
        return np.asarray(2 * self.unit * np.abs(outputs[0]))

    def evaluated(self, node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        """The outputs of a node of B without what the level rounds."""
        if (ends := self._range(node)) is not None:
            return [cut_off(taken(node, inputs[0]).astype(np.float64), *ends, self.steps[node])]
        return evaluated(node, inputs)

    def _range(self, node: Node) -> tuple[float, float] | None:
        """The ends of the range of a quantiser."""
        op = node.op
        if node not in self.steps or not isinstance(op, Clip) or op.low is None or op.high is None:
            return None
        return op.low, op.high

    def cut(self, values: Mapping[Tensor, np.ndarray]) -> Iterator[str]:
        """A sentence for the quantisers that cut off the most values, which B is given."""
        found = []
        for node in self.steps:
            ends, x = self._range(node), values.get(node.inputs[0])
            if ends is None or x is None:
                continue
            if count := beyond_range(x, *ends, self.steps[node]):
                found.append((count / x.size, count, x, ends, node.call.name))
        for _, count, x, (low, high), name in sorted(found, key=lambda one: -one[0])[:_TOLD]:
            yield (
                f"{printable.name(name)} cuts off {count} of {x.size} values, from {x.min():.4g} "
                f"to {x.max():.4g}, at the ends of its range [{low:.4g}, {high:.4g}]"
            )


def _of_steps(op: Op, inputs: Sequence[np.ndarray]) -> np.ndarray | None:
    """What weights within half a step may do: as for all that adds up by chance."""
    weight = getattr(op, "weight", None)
    step = weight.step if isinstance(weight, Weight) else None
    if step is None or not isinstance(op, Conv | MatMul):
        return None
    spread = replace(op, weight=Weight("", None, step / np.sqrt(12)), bias=None)
    return np.asarray(SIGMAS * np.sqrt(spread.sum_of_squares(list(inputs)).astype(np.float64)))


def level_between(a: Graph, b: Graph, anchors: Mapping[Node, Sequence[Anchor]]) -> Level:
    """The level between two models. B's graph takes A's weights where its own are these at that
    level, and rounds nothing in its casts to it."""
    pairs = [(node, held[0]) for node, held in anchors.items() if held and held[0].ordered]
    for name in _TYPES:
        both = [(_lies_in(one.node, name), _lies_in(node, name)) for node, one in pairs]
        telling = [one for one in both if not all(one)]
        mine, theirs = (sum(held) for held in zip(*telling, strict=True)) if telling else (0, 0)
        if mine == theirs or max(mine, theirs) < 0.5 * len(telling):
            continue
        side = Side.A if mine > theirs else Side.B
        return Level(name, side, _take(b, anchors, name, ()))
    bits = {bits for node, one in pairs if (bits := _more_bits(node, one.node))}
    if bits:
        rounded = _take(b, anchors, _INTEGERS, [*_constants(a)])
        return Level(_INTEGERS, Side.B, rounded, b.steps, tuple(sorted(bits)))
    return Level()


def _more_bits(node: Node, of_a: Node) -> int:
    """How many bits the integers behind a node's weights have; 0 where there are none, or A's
    weights are quantised too."""
    mine, theirs = ([w.grid for _, w in held_weights(one)] for one in (node, of_a))
    found = [grid.bits for grid in mine if grid is not None and grid.bits <= _MOST_BITS]
    if not any(theirs):
        return max(found, default=0)
    return 0


def _lies_in(node: Node, name: str) -> bool:
    """Whether the weights of a node are numbers of a type: its matrices, where it has some."""
    weights = [one.value for _, one in held_weights(node) if one.value.dtype.kind == "f"]
    matrices = [one for one in weights if one.ndim > 1]
    return all(_held(one, name) for one in matrices or weights)


def _held(values: np.ndarray, name: str) -> bool:
    with np.errstate(all="ignore"):
        return all(  # some first: those of float32 are no numbers of another type
            bool((part.astype(_TYPES[name]).astype(part.dtype) == part).all())
            for part in (values.reshape(-1)[:_FIRST], values)
        )


def _take(
    b: Graph,
    anchors: Mapping[Node, Sequence[Anchor]],
    name: str,
    constants: Sequence[np.ndarray],
) -> frozenset[Node]:
    rounded: set[Node] = set()
    for node in b.nodes:
        if isinstance(node.op, Cast) and node.op.to in _TYPES and name in _TYPES:
            node.op = replace(node.op, to="float32")
            node.__dict__["layout"] = True
            continue
        fields = dict(held_weights(node)) or _parameter(node)
        if not fields or node.op is None:
            continue
        taken: dict[str, Weight] = {}
        held = anchors.get(node, ())
        for part, weight in fields.items():
            if (found := _of_a(node, part, weight, held)) is not None:
                taken[part] = _mixed(weight, found, part, name)
            elif (same := _unrounded(weight, constants)) is not None:
                taken[part] = Weight(weight.name, None, same, grid=_of_op(weight))
        if taken:
            node.op = replace(node.op, **taken)
        if len(taken) < len(fields):
            rounded.add(node)
    return frozenset(rounded)


def _of_op(weight: Weight) -> Grid | None:
    """The grid of a weight in the op's layout."""
    step = weight.step
    if weight.grid is None or step is None:
        return None
    return replace(weight.grid, scale=step)


def _constants(a: Graph) -> Iterator[np.ndarray]:
    """The numbers that a graph holds: weights of any field, and constants."""
    for node in a.nodes:
        yield from (one.value for _, one in held_weights(node))
        for found in map(is_constant, node.outputs):
            if found is not None:
                yield found.value if isinstance(found, Weight) else found


def _unrounded(weight: Weight, constants: Sequence[np.ndarray]) -> np.ndarray | None:
    """The numbers of A that integers of B stand for, which no product tells: a learned scale."""
    step, mine = weight.step, weight.value
    if step is None or mine.size < 2:
        return None
    for one in constants:
        if one.size == mine.size:
            theirs = one.reshape(mine.shape).astype(np.float64)
            if _rounded_to_steps(mine.astype(np.float64), theirs, step).all():
                return theirs
    return None


def _parameter(node: Node) -> dict[str, Weight]:
    value = getattr(node.op, "weight", None)
    if isinstance(value, Weight) and not node.inputs:
        return {"weight": value}
    return {}


class _Held(NamedTuple):
    """A's values for a weight of B."""

    value: np.ndarray
    roundings: float
    """How many of the narrower type lie between."""
    parts: np.ndarray | float = 0.0
    """How large what the bias is the difference of is."""


def _of_a(node: Node, part: str, weight: Weight, held: Sequence[Anchor]) -> "_Held | None":
    """A's values for a weight of B, in the layout of the op, rows of several nodes put
    together."""
    if not held:
        return None
    first = _weight_of(held[0], node, part)
    shape = weight.value.shape
    whole = held[0].counts[0] == held[0].counts[1] and held[0].same_order
    if whole and first is not None and first.value.shape == shape:
        return first
    axis = 1 if held[0].node.kind == "MatMul" and len(shape) == 2 else 0
    if len(held[0].looked) != shape[axis if len(shape) > 1 else 0]:
        return None
    out = np.moveaxis(weight.value.astype(np.float64), axis if len(shape) > 1 else 0, 0).copy()
    roundings = 1.0
    for one in held:
        theirs = _weight_of(one, node, part)
        if theirs is None or theirs.value.ndim != len(shape):
            return None
        rows = np.moveaxis(theirs.value, axis if len(shape) > 1 else 0, 0)
        places = np.flatnonzero(one.rows >= 0)
        if rows.shape[1:] != out.shape[1:]:
            return None
        out[places] = rows[one.rows[places]]
        roundings = max(roundings, theirs.roundings)
    return _Held(np.moveaxis(out, 0, axis if len(shape) > 1 else 0), roundings)


def _weight_of(anchor: Anchor, node: Node, part: str) -> "_Held | None":
    """A weight of the anchor's node, with the normalisation behind it where B's has it folded
    in."""
    op, roundings = anchor.node.op, 1.0
    behind = normalization_behind(anchor.node.outputs[0])
    if behind is not None and normalization_behind(node.outputs[0]) is None:
        folded = with_normalization(op, behind.op)
        op, roundings = (op, 1.0) if folded is None else (folded, _FOLDED)
    found = getattr(op, part, None)
    if not isinstance(found, Weight):
        return None
    return _Held(found.value, roundings, _parts(behind.op) if roundings > 1 and behind else 0.0)


def _parts(normalization: Op | None) -> np.ndarray | float:
    """How large what a folded bias is the difference of is, for each channel: its rounding stays
    where the difference is small."""
    if not isinstance(normalization, BatchNormalization):
        return 0.0
    scale, shift, mean, variance = (
        None if one is None else np.abs(one.value).ravel().astype(np.float64)
        for one in (
            *(normalization.scale, normalization.bias),
            *(normalization.mean, normalization.variance),
        )
    )
    gain = 1.0 if scale is None else scale
    if variance is not None:
        gain = gain / np.sqrt(variance + normalization.epsilon)
    moved = 0.0 if mean is None else mean * gain
    return np.asarray(np.maximum(moved, 0.0 if shift is None else shift))


def _mixed(weight: Weight, held: "_Held", part: str, name: str) -> Weight:
    """A's values where B's are these at the level, else B's own."""
    theirs, roundings, step = held.value, held.roundings, weight.step
    mine = weight.value.astype(np.float64)
    size = np.maximum(np.abs(theirs), np.abs(mine))
    if part == "bias":
        size = np.maximum(size, held.parts)
    apart = np.abs(mine - theirs)
    if name in _TYPES:
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


def expected_error(
    nodes: Sequence[Node], end: Tensor, level: Level, against: np.ndarray
) -> float | None:
    """What the formats are expected to do within a segment of B, as a part of the deviation of what
    A has; None where nothing is rounded."""
    if not level.name or against.dtype.kind != "f" or against.size < 2:
        return None
    spread: dict[Tensor, float] = {}
    for node in nodes:
        if not node.outputs:
            continue
        out = node.outputs[0]
        spread[out] = _through(node, [spread.get(x, 0.0) for x in node.inputs], level)
        if node in level.steps:
            spread[out] += level.steps[node] ** 2 / 12
        elif level.unit and not node.layout and out.value.dtype.kind == "f":
            spread[out] += (level.unit * _root(out.value)) ** 2 / 3
    deviation = float(np.std(widened(against)))
    found = spread.get(end, 0.0)
    if found and deviation:
        return float(np.sqrt(found) / deviation)
    return None


def _through(node: Node, arrived: Sequence[float], level: Level) -> float:
    """The mean square of the errors that a node passes on, and that its weights make."""
    weight = getattr(node.op, "weight", None)
    if isinstance(node.op, Conv | MatMul) and isinstance(weight, Weight):
        value = widened(weight.value)
        rows = value.shape[1] if isinstance(node.op, MatMul) else len(value)
        taps = value.size / max(1, rows)
        step = weight.step
        if step is not None:
            own = float(np.mean(step**2)) / 12
        else:
            own = (level.unit * _root(value)) ** 2 / 3
        return (
            arrived[0] * float(np.sum(value**2)) / rows
            + own * taps * _root(node.inputs[0].value) ** 2
        )
    if isinstance(node.op, Mul) and len(node.inputs) == 2:
        first, second = (_root(x.value) ** 2 for x in node.inputs)
        return arrived[0] * second + arrived[1] * first
    return sum(arrived)


def _root(value: np.ndarray) -> float:
    wide = widened(value).ravel()
    return float(np.sqrt(np.mean(np.where(np.isfinite(wide), wide, 0.0) ** 2)))


def rounding_of(a: np.ndarray, b: np.ndarray) -> float:
    """The unit roundoff of the type that one array is another rounded to; 0 where it is none."""
    if a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f" or np.array_equal(a, b):
        return 0.0
    with np.errstate(all="ignore"):
        for name, dtype in _TYPES.items():
            if np.array_equal(a.astype(dtype).astype(np.float64), b.astype(np.float64)):
                return precision_of(name).unit
    return 0.0
