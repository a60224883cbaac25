"""What two segments differ in, read from their descriptions: options, weights, and what one of them
leaves out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import product
from typing import Any

import numpy as np

from probe import printable
from probe.model_comparison.causes.constants import differing_constants, marked_kinds
from probe.model_comparison.causes.differing_steps import differing_steps
from probe.model_comparison.causes.fused_weights import part_of
from probe.model_comparison.causes.masks import differing_masks
from probe.model_comparison.causes.recurrent_weights import differing_gates
from probe.model_comparison.causes.weight_differences import (
    LEFT_OUT,
    Difference,
    WeightContext,
    differing_weights,
)
from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.normalization import (
    FoldedNode,
    gain_of,
    normalization_behind,
    normalizing,
    with_normalization,
)
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.matching.level import Level
from probe.model_comparison.matching.segments import Segment, computing
from probe.ops import BatchNormalization, Recurrence
from probe.ops.base import Op
from probe.ops.step import field_names
from probe.report.parameters import parameters_of

__all__ = ["aligned", "hidden", "matched", "read", "transplanted"]

_SAME = 1e-6
"""How far numbers may lie apart that went through float32."""
_AXES = ("axis", "axes")


def read(segment: Segment, level: Level) -> list[Difference]:
    """The differences but for the level of precision between the models, the ones of options
    first."""
    differences: list[Difference] = []
    a, b = aligned(segment)
    pairs, only_a, only_b = matched(a, b)
    pairs += _fused(a, b, pairs, only_a, only_b)
    for left, right in pairs:
        differences += _fields(left, right, segment.paired.way)
    for left, right in pairs:
        masks = [*differing_masks(left, right, segment.paired.way)]
        differences += masks or differing_constants(left, right, level.unit)
    beside = WeightContext(level.unit, tuple(_gains(segment)))
    doubtful = {node.kind for node in (*only_a, *only_b) if any(held_weights(node))}
    for left, right in pairs:
        if left.kind in doubtful:  # which of several it is nobody knows
            continue
        if isinstance(left.op, Recurrence) and isinstance(right.op, Recurrence):
            differences += differing_gates(left, left.op, right.op, beside.unit)
        else:
            differences += differing_weights(left, right, beside)
    differences += differing_steps(a, b, only_a, only_b)
    differences += _wires(segment)
    return differences


def _fused(
    a: Sequence[GraphNode],
    b: Sequence[GraphNode],
    pairs: Sequence[tuple[GraphNode, GraphNode]],
    only_a: list[GraphNode],
    only_b: list[GraphNode],
) -> Iterator[tuple[GraphNode, GraphNode]]:
    """Nodes that only one side has, whose weight lies in that of a node of the other side, such as
    query, key and value; what each side has alone is left without them."""
    seen = {node for pair in pairs for node in pair}
    for left, right in product(a, b):
        alone = [
            (node, rest) for node, rest in ((left, only_a), (right, only_b)) if node not in seen
        ]
        if len(alone) == 1 and left.kind == right.kind and _is_part(left, right):
            node, rest = alone[0]
            seen.add(node)
            rest.remove(node)
            yield left, right


def _is_part(a: GraphNode, b: GraphNode) -> bool:
    held = [dict(held_weights(node)).get("weight") for node in (a, b)]
    if held[0] is None or held[1] is None:
        return False
    return part_of(held[0].value, held[1].value) is not None


def aligned(segment: Segment) -> tuple[list[GraphNode], list[GraphNode]]:
    """The nodes of both sides that compute, batch normalisations taken into the products before
    them where not both have them."""
    a, b = computing(segment.a), computing(segment.b)
    if _kinds(a) != _kinds(b):
        a, b = _folded(a), _folded(b)
    return a, b


def hidden(segment: Segment) -> list[tuple[str, float, float]]:
    """The numbers among the options that differ though the results agree: a small epsilon, a slope
    that no value here reaches."""
    a, b = computing(segment.a), computing(segment.b)
    if _kinds(a) != _kinds(b):
        return []
    return [
        (option.name, option.a, option.b)
        for left, right in zip(a, b, strict=True)
        for option in _fields(left, right, segment.paired.way)
        if isinstance(option.a, float) and isinstance(option.b, float)
    ]


def _folded(nodes: list[GraphNode]) -> list[GraphNode]:
    """Normalisations of channels taken into the products before them."""
    folded: list[GraphNode] = []
    for node in nodes:
        behind = normalizing(node) if folded else None
        joint = None
        if behind is not None:
            joint = with_normalization(folded[-1].op, behind.op)
        if joint is not None:
            before = folded.pop()
            parts = before.parts if isinstance(before, FoldedNode) else (before,)
            node = FoldedNode(
                *(joint, before.inputs, node.outputs, before.call, before.index),
                parts=(*parts, node),
            )
        folded.append(node)
    return folded


def _gains(segment: Segment) -> Iterator[tuple[str, np.ndarray]]:
    """What the normalisations within and behind both sides multiply channels by, by their
    layers."""
    for node in (*segment.a, *segment.b):
        for behind in (normalizing(node), *map(normalization_behind, node.outputs)):
            if behind is not None and isinstance(behind.op, BatchNormalization):
                yield printable.name(behind.call.name), gain_of(behind.op)


def _kinds(nodes: Sequence[GraphNode]) -> list[str]:
    return [node.kind for node in nodes]


def matched(
    a: Sequence[GraphNode], b: Sequence[GraphNode]
) -> tuple[list[tuple[GraphNode, GraphNode]], list[GraphNode], list[GraphNode]]:
    """Nodes of one kind in the same order, and those that only one side has."""
    kinds_a, kinds_b = _kinds(a), _kinds(b)
    pairs: list[tuple[GraphNode, GraphNode]] = []
    only_a: list[GraphNode] = []
    only_b: list[GraphNode] = []
    matcher: SequenceMatcher[Any] = SequenceMatcher(None, kinds_a, kinds_b, autojunk=False)
    if kinds_a != kinds_b:  # then a step of the same numbers rather than another of its kind
        matcher.set_seqs(*marked_kinds(a, b))
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            pairs += list(zip(a[i:j], b[k:m], strict=True))
        else:
            only_a += a[i:j]
            only_b += b[k:m]
    return pairs, only_a, only_b


def _fields(a: GraphNode, b: GraphNode, way: Way) -> Iterator[Difference]:
    """The options in which two ops of one kind differ."""
    if a.op is None or b.op is None:
        return
    mine, theirs = parameters_of(a.op), parameters_of(b.op)
    for name in dict.fromkeys((*mine, *theirs)):
        left, right = mine.get(name), theirs.get(name)
        if _alike(left, right):
            continue
        if name in _AXES and (_alike(_turned(left, way), right) or _ranks(a) != _ranks(b)):
            continue
        if name == "steps" and {*_listed(left), *_listed(right)} <= {1}:  # () is every element
            continue
        if name == "has_states" and not any(x.value.any() for n in (a, b) for x in n.inputs[1:]):
            continue
        if name == "gates" and sorted(str(left)) == sorted(str(right)):
            continue
        value = getattr(b.op, name, None) if type(a.op) is type(b.op) else None
        yield Difference(name, _shown(left), _shown(right), a, name, value)


def _ranks(node: GraphNode) -> list[int]:
    """How many axes the tensors have that a node reads: of other ones the axes are counted
    otherwise."""
    return [x.value.ndim for x in node.inputs[:1]]


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def _turned(axes: Any, way: Way) -> Any:
    """Axes of A's tensor as they lie in B's."""
    rank = len(way.perm)
    several = axes if isinstance(axes, list) else [axes]
    if way.merged is not None or not all(isinstance(axis, int) for axis in several):
        return axes
    turned = [way.of_axis(axis % rank) for axis in several]
    if isinstance(axes, list):
        return sorted(turned)
    return turned[0]


def _alike(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_alike, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_alike(left[k], right[k]) for k in left)
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right)
    )
    if numbers:
        return bool(abs(left - right) <= _SAME * max(abs(left), abs(right)))
    return bool(left == right)


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_shown, value))
    return value


def _wires(segment: Segment) -> Iterator[Difference]:
    for wire in segment.wires:
        yield Difference("input", wire.instead.name, wire.reads.name)
    for mine, theirs in segment.orders:
        first, second = (", ".join(tensor.name for tensor in side) for side in (mine, theirs))
        yield Difference("order of inputs", first, second)


def transplanted(difference: Difference) -> Op | None:
    """A's op with B's field in it; None where that makes no op."""
    node = difference.node
    if node is None or node.op is None or difference.value is None:
        return None
    if difference.field not in field_names(type(node.op)):  # type: ignore[arg-type]
        return None
    value = None if difference.value is LEFT_OUT else difference.value
    try:
        return replace(node.op, **{difference.field: value})
    except (TypeError, ValueError):
        return None
