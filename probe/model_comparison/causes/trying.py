"""The nodes of a segment once more, with other numbers at some places, or without some of them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from probe.model_comparison.graphs.axes import unchanged
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.node_values import evaluated, taken
from probe.model_comparison.matching.evaluating import of_equal_ones
from probe.model_comparison.matching.paired import Paired
from probe.model_comparison.matching.segments import Segment
from probe.model_comparison.matching.walk_state import WalkState

__all__ = ["gives_values_of_a", "gives_values_of_b"]

_PART = 1e-3
"""No more than that part of A's largest number is put down to rounding."""
Instead = Mapping[tuple[GraphNode, int], np.ndarray]
"""What nodes are given at some places."""
_Evaluate = Callable[[GraphNode, Sequence[np.ndarray]], Sequence[np.ndarray] | None]


def gives_values_of_a(
    segment: Segment,
    walk: WalkState,
    instead: Instead | None = None,
    skipped: tuple[GraphNode, int] | None = None,
) -> bool:
    """Whether B's nodes on A's tensors give A's values so: of the node that is ``skipped`` what it
    takes at one place goes on."""
    paired = segment.paired
    start = {x: walk.values[x] for node in segment.b for x in node.inputs if x in walk.values}
    given = _given(segment.b, paired.b, start, walk.level.evaluated, instead or {}, skipped)
    theirs = paired.a.gathered([tensor.value for tensor in paired.a.tensors])
    return given is not None and _agrees(paired, theirs, given)


def gives_values_of_b(segment: Segment, skipped: tuple[GraphNode, int]) -> bool:
    """Whether A's nodes without one give what B's do on A's tensors."""
    paired = segment.paired
    if paired.unforced is None or paired.a.columns:
        return False
    given = _given(segment.a, paired.a.tensor, {}, evaluated, {}, skipped)
    return given is not None and _agrees(paired, given, paired.unforced)


def _given(
    nodes: Sequence[GraphNode],
    end: Tensor,
    start: Mapping[Tensor, np.ndarray],
    evaluate: _Evaluate,
    instead: Instead,
    skipped: tuple[GraphNode, int] | None,
) -> np.ndarray | None:
    """What the nodes give at their end; None where one cannot be computed so."""
    values = dict[Tensor, np.ndarray]()
    for node in nodes:
        read = [
            instead.get((node, place), values.get(x, start.get(x, x.value)))
            for place, x in enumerate(node.inputs)
        ]
        outputs: Sequence[np.ndarray] | None
        if skipped is not None and node is skipped[0]:
            outputs = [read[skipped[1]]]
        else:
            read = [taken(node, x) for x in read]
            outputs = None if node.op is None else evaluate(node, read)
            if outputs is not None:
                outputs = of_equal_ones(node, read, outputs)
        if outputs is None:
            return None
        values.update(zip(node.outputs, outputs, strict=False))
    return values.get(end)


def _agrees(paired: Paired, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether numbers in A's axes are some in B's; where B's fitted in no order of axes, that of
    the pair may be none."""
    most = _PART * float(np.nanmax(np.abs(a), initial=0.0))
    allowed = 0.0 if paired.allowed is None else min(float(np.max(paired.allowed)), most)
    for way in (paired.way, unchanged(a.ndim)):
        if not way.fits(a.shape):
            continue
        own = way.to_b(a)
        if own.shape != b.shape:
            continue
        with np.errstate(invalid="ignore"):
            if (np.abs(own - b) <= 2 * allowed + 1e-6 * np.abs(own)).all():
                return True
    return False
