"""A level of precision: one model holds the other's weights rounded to a narrower type, or B the
integers that stand for them.

That is no fault. So B is walked with A's weights wherever its own are these, rounded; what differs
by more stays B's own and stands out. What B rounds besides, in arrays that it makes itself and in
weights that were matched with none, is allowed for. What the formats are expected to do to each
segment is told beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.node_values import evaluated, taken
from probe.model_comparison.graphs.quantizer_range import beyond_range, cut_off
from probe.model_comparison.sides import Side
from probe.numerics.precision import SIGMAS, precision_of
from probe.ops import Clip, Conv, MatMul, Op, Sum
from probe.ops.weight import Weight

__all__ = ["INTEGERS", "TYPES", "Level", "rounding_of"]

TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
INTEGERS = "integers"
_TOLD = 3


@dataclass(frozen=True, eq=False)
class Level:
    """What the weights of one side are rounded to; "" where those of neither are."""

    name: str = ""
    side: Side | None = None
    """Whose weights are the rounded ones; None where those of neither are."""
    rounded: frozenset[GraphNode] = frozenset()
    """Nodes of B with rounded weights that A's did not take the place of."""
    steps: Mapping[GraphNode, float] = field(default_factory=dict)
    """Of integers: the step of each node of B behind which values are rounded."""
    bits: tuple[int, ...] = ()

    @property
    def unit(self) -> float:
        """The unit roundoff of a narrower type of floats; 0 of integers."""
        if self.name in TYPES:
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
        if self.name != INTEGERS:
            return self.name
        return f"integers of {' and '.join(map(str, self.bits))} bits"

    def beyond(self, values: np.ndarray) -> np.ndarray | float:
        """How far A's values lie beyond what B's type holds: the lowest number of float32 in a mask
        is that of the narrower type in its copy."""
        if self.side is not Side.B or self.name not in TYPES or values.dtype.kind != "f":
            return 0.0
        largest = float(ml_dtypes.finfo(TYPES[self.name]).max)  # type: ignore[no-untyped-call]
        far = np.where(np.isfinite(values), np.abs(values.astype(np.float64)) - largest, 0.0)
        if (far > 0).any():
            return np.maximum(far, 0.0)
        return 0.0

    def of_weights(
        self, node: GraphNode, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        """What rounded weights may do to the first output of a node; None where they are not."""
        if node.op is None:
            return None
        if self.name == INTEGERS:
            return _of_steps(node.op, inputs)
        if isinstance(node.op, Sum):
            squares = node.op.sum_of_squares(list(inputs)).astype(np.float64)
            return np.asarray(SIGMAS * self.unit * np.sqrt(squares))
        return np.asarray(2 * self.unit * np.abs(outputs[0]))

    def evaluated(self, node: GraphNode, inputs: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        """The outputs of a node of B without what the level rounds."""
        if (ends := self._range(node)) is not None:
            return [cut_off(taken(node, inputs[0]).astype(np.float64), *ends, self.steps[node])]
        return evaluated(node, inputs)

    def _range(self, node: GraphNode) -> tuple[float, float] | None:
        """The ends of the range of a quantiser."""
        op = node.op
        if node not in self.steps or not isinstance(op, Clip) or op.low is None or op.high is None:
            return None
        return op.low, op.high

    def cut(self, values: Mapping[Tensor, np.ndarray]) -> Iterator[str]:
        """A sentence for the quantisers that cut off the most values, which B is given."""
        cuts = []
        for node in self.steps:
            ends, x = self._range(node), values.get(node.inputs[0])
            if ends is None or x is None:
                continue
            if count := beyond_range(x, *ends, self.steps[node]):
                cuts.append((count / x.size, count, x, ends, node.call.name))
        for _, count, x, (low, high), name in sorted(cuts, key=lambda cut: -cut[0])[:_TOLD]:
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


def rounding_of(a: np.ndarray, b: np.ndarray) -> float:
    """The unit roundoff of the type that one array is another rounded to; 0 where it is none."""
    if a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f" or np.array_equal(a, b):
        return 0.0
    with np.errstate(all="ignore"):
        for name, dtype in TYPES.items():
            if np.array_equal(a.astype(dtype).astype(np.float64), b.astype(np.float64)):
                return precision_of(name).unit
    return 0.0
