"""IF, WHILE and composites: the nodes of the subgraphs that they run become steps of the node
itself, a loop's as often as it went round.

What an inner node takes and gives in numbers comes from a run of the subgraph alone.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from probe.description import Builder, Ref, Step
from probe.errors import Undescribed
from probe.model import Capture

from .dataflow import short
from .runs import Runs, Values
from .schema import OMITTED, TfliteNode

__all__ = ["inlined"]

_ROUNDS, _STEPS, _DEEPEST = 64, 4096, 16
"""So often a body is followed, into so many steps, and subgraphs of subgraphs so deep."""
_Given = tuple[Ref, np.ndarray]
"""What a subgraph takes or gives, as a reference into the steps and in numbers."""
Captured = Callable[[Runs, TfliteNode, Values], Capture | None]
"""A node of a subgraph as a capture."""


def inlined(
    runs: Runs,
    node: TfliteNode,
    arrays: Mapping[int, np.ndarray],
    taken: Sequence[int],
    captured: Captured,
) -> tuple[Step, ...]:
    """The steps of a node, whose inputs are the tensors ``taken``."""
    build = Builder([arrays[at] for at in taken])

    def given(at: int) -> _Given:
        if at in taken:
            return Ref(-1, list(taken).index(at)), arrays[at]
        constant = runs.flow.tensors[at].constant
        if constant is None:
            raise Undescribed(f"its input {short(runs.flow.tensors[at].name)} has no value")
        return build.ref(constant), constant

    operands = [given(at) for at in node.inputs if at != OMITTED]
    if node.operator == "WHILE":
        outputs = _looped(runs, node, build, operands, captured)
    elif node.operator == "IF":
        (_, condition), *rest = operands
        branch = "thenSubgraphIndex" if condition.all() else "elseSubgraphIndex"
        outputs = _followed(runs, node.options[branch], build, rest, captured)
    else:
        inner = node.options["decompositionSubgraphIndex"]
        outputs = _followed(runs, inner, build, operands, captured)
    return build.ended(*(ref for ref, _ in outputs))


def _looped(
    runs: Runs, node: TfliteNode, build: Builder, operands: list[_Given], captured: Captured
) -> list[_Given]:
    condition = runs.of_subgraph(node.options["condSubgraphIndex"])
    for _ in range(_ROUNDS + 1):
        told = condition.passed(_fed(condition, operands), None)
        if not told.arrays[condition.flow.main.outputs[0]].all():
            return operands
        operands = _followed(runs, node.options["bodySubgraphIndex"], build, operands, captured)
    raise Undescribed(f"its loop takes more than {_ROUNDS} iterations")


def _followed(
    runs: Runs, number: int, build: Builder, operands: Sequence[_Given], captured: Captured
) -> list[_Given]:
    """What a subgraph gives: each of its nodes as steps, on the numbers of a run of its own."""
    if runs.depth >= _DEEPEST:
        raise Undescribed(f"its subgraphs run others, more than {_DEEPEST} deep")
    inner = runs.of_subgraph(number)
    flow, values = inner.flow, inner.passed(_fed(inner, operands), None)
    refs = {at: ref for at, (ref, _) in zip(flow.main.inputs, operands, strict=True)}
    for node in flow.main.nodes:
        if not flow.following.intersection(node.outputs):
            continue
        call = captured(inner, node, values)
        if call is None or call.description is None:
            why = "it gave nothing" if call is None else call.why
            raise Undescribed(f"{node.kind} in its subgraph: {why}")
        taken = [refs[at] for at in flow.taken(node)]
        made = build.include(call.description.steps, *taken)
        refs |= dict(zip(flow.given(node), made, strict=True))
        if len(build.steps) > _STEPS:
            raise Undescribed(f"its subgraphs are more than {_STEPS:,} steps")
    return [(refs[at], values.arrays[at]) for at in flow.main.outputs]


def _fed(inner: Runs, operands: Sequence[_Given]) -> dict[int, np.ndarray]:
    pairs = zip(inner.flow.main.inputs, operands, strict=True)
    return {at: array for at, (_, array) in pairs}
