"""What two segments differ in, read from their descriptions: options, weights, and what one of them
leaves out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import Node, Tensor
from probe.model_comparison.graphs.normalize import is_constant, with_normalization
from probe.model_comparison.graphs.quantized import relation
from probe.model_comparison.graphs.weights import held_weights
from probe.model_comparison.matching.segments import Segment, computing
from probe.numerics.dtypes import widened
from probe.ops import Recurrence
from probe.ops.base import Op
from probe.ops.step import field_names
from probe.ops.weight import Weight
from probe.report.parameters import parameters_of

__all__ = ["Difference", "aligned", "close", "hidden", "matched", "read", "transplanted"]

_SAME = 1e-6
"""How far numbers may lie apart that went through float32."""
_ENDLESS = 1e30
"""A mask subtracts this or more, or infinity: one is as good as the other."""
_AXES = ("axis", "axes")


@dataclass(frozen=True, eq=False)
class Difference:
    """One thing that two segments differ in."""

    name: str
    a: Any
    b: Any
    node: Node | None = None
    """Of A: whose field it is."""
    field: str = ""
    value: Any = None
    """What A's op would hold in that field to be like B's; None where it cannot."""
    note: str = ""


def read(segment: Segment) -> list[Difference]:
    """The differences, the ones of options first."""
    differences: list[Difference] = []
    a, b = aligned(segment)
    pairs, only_a, only_b = matched(a, b)
    for left, right in pairs:
        differences += _fields(left, right, segment.paired.way)
    for left, right in pairs:
        differences += _constants(left, right)
    for left, right in pairs:
        differences += _weights(left, right)
    if only_a or only_b:
        of_a, of_b = (", ".join(_kinds(one)) or "none" for one in (a, b))
        differences.append(Difference("steps", of_a, of_b))
    differences += _wires(segment)
    return differences


def aligned(segment: Segment) -> tuple[list[Node], list[Node]]:
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
        (one.name, one.a, one.b)
        for left, right in zip(a, b, strict=True)
        for one in _fields(left, right, segment.paired.way)
        if isinstance(one.a, float) and isinstance(one.b, float)
    ]


def _folded(nodes: list[Node]) -> list[Node]:
    """Batch normalisations taken into the products before them."""
    found: list[Node] = []
    for node in nodes:
        before = found[-1] if found else None
        joint = None if before is None else with_normalization(before.op, node.op)
        if before is not None and joint is not None and len(node.inputs) == 1:
            found[-1] = Node(joint, before.inputs, node.outputs, before.call, before.index)
        else:
            found.append(node)
    return found


def _kinds(nodes: Sequence[Node]) -> list[str]:
    return [one.kind for one in nodes]


def matched(
    a: Sequence[Node], b: Sequence[Node]
) -> tuple[list[tuple[Node, Node]], list[str], list[str]]:
    """Nodes of one kind in the same order, and the kinds of those that only one side has."""
    kinds_a, kinds_b = _kinds(a), _kinds(b)
    pairs, only_a, only_b = [], [], []
    matcher = SequenceMatcher(None, kinds_a, kinds_b, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            pairs += list(zip(a[i:j], b[k:m], strict=True))
        else:
            only_a += kinds_a[i:j]
            only_b += kinds_b[k:m]
    return pairs, only_a, only_b


def _fields(a: Node, b: Node, way: Way) -> Iterator[Difference]:
    """The options in which two ops of one kind differ."""
    if a.op is None or b.op is None:
        return
    mine, theirs = parameters_of(a.op), parameters_of(b.op)
    for name in dict.fromkeys((*mine, *theirs)):
        left, right = mine.get(name), theirs.get(name)
        if _alike(left, right):
            continue
        if name in _AXES and _alike(_turned(left, way, b), right):
            continue
        if name == "steps" and {*_listed(left), *_listed(right)} <= {1}:  # () is every element
            continue
        if name == "gates" and sorted(str(left)) == sorted(str(right)):
            continue
        value = getattr(b.op, name, None) if type(a.op) is type(b.op) else None
        yield Difference(name, _shown(left), _shown(right), a, name, value)


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def _constants(a: Node, b: Node) -> Iterator[Difference]:
    """The numbers that two ops of one kind are applied to, where they are others."""
    held_a, held_b = (
        [(x, y) for x in node.inputs if (y := _own(x)) is not None] for node in (a, b)
    )
    for (left, mine), (_, theirs) in zip(held_a, held_b, strict=False):
        one, other = (
            widened(x.value if isinstance(x, Weight) else np.asarray(x)) for x in (mine, theirs)
        )
        if one.shape != other.shape and one.size == other.size:
            other = other.reshape(one.shape)
        if one.shape == other.shape and one.dtype.kind in "fiu" and not close(one, other).all():
            held = isinstance(mine, Weight)
            value = Weight("", None, other) if held else other
            field = "weight" if held else "value"
            if one.ndim:
                at = np.unravel_index(int(np.argmax(np.abs(one - other))), one.shape)
            else:
                at = ()
            note = _relation(one, other, ~close(one, other))
            name = f"constant of {a.kind}" + (
                f" at [{', '.join(map(str, at))}]" if one.size > 1 else ""
            )
            yield Difference(name, float(one[at]), float(other[at]), left.node, field, value, note)


def _own(tensor: Tensor) -> Weight | np.ndarray | None:
    """What a model has from itself: a weight, numbers, or an array that it made."""
    found, root = is_constant(tensor), tensor.root
    if found is None and root.node is None and root.input is None:
        return tensor.value
    return found


def _turned(axes: Any, way: Way, b: Node) -> Any:
    """Axes of A's tensor as they lie in B's."""
    rank = len(way.perm)
    several = axes if isinstance(axes, list) else [axes]
    if way.merged is not None or not all(isinstance(one, int) for one in several):
        return axes
    found = [way.of_axis(one % rank) for one in several]
    if isinstance(axes, list):
        return sorted(found)
    return found[0]


def _alike(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_alike, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_alike(left[k], right[k]) for k in left)
    numbers = all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in (left, right)
    )
    if numbers:
        return bool(abs(left - right) <= _SAME * max(abs(left), abs(right)))
    return bool(left == right)


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_shown, value))
    return value


def _weights(a: Node, b: Node) -> Iterator[Difference]:
    """The weights in which two ops of one kind differ."""
    mine, theirs = dict(held_weights(a)), dict(held_weights(b))
    if isinstance(a.op, Recurrence) and isinstance(b.op, Recurrence):
        yield from _gated(a, b)
        return
    for name in dict.fromkeys((*mine, *theirs)):
        left, right = mine.get(name), theirs.get(name)
        if left is None or right is None:
            held = left or right
            assert held is not None
            if _neutral(name, held):
                continue
            told = f"{held.name} {held.value.shape}"
            if right is None:
                yield Difference(name, told, None, a, name, _NOTHING)
            else:
                yield Difference(name, None, told, a, name, right)
            continue
        yield from _values(a, name, left, right)


_NOTHING = object()
"""A weight that is left out."""


def _neutral(name: str, weight: Weight) -> bool:
    """Whether a weight changes nothing: a bias of zeros, a scale of ones."""
    value = weight.value
    return bool((value == (1 if name in ("scale", "variance") else 0)).all())


def _values(a: Node, name: str, left: Weight, right: Weight) -> Iterator[Difference]:
    mine, theirs = widened(left.value), widened(right.value)
    if mine.shape != theirs.shape:
        if mine.size == theirs.size and close(mine.ravel(), theirs.ravel()).all():
            return
        yield Difference(name, mine.shape, theirs.shape, a, name, right)
        return
    same = close(mine, theirs)
    if same.all():
        return
    count = int((~same).sum())
    apart = np.where(same, 0.0, np.abs(mine - theirs))
    at = np.unravel_index(int(np.argmax(np.nan_to_num(apart, nan=np.inf))), apart.shape)
    index = ", ".join(map(str, at))
    more = f" and {count - 1} more of {mine.size}" if count > 1 else f", 1 of {mine.size}"
    step = right.step
    note = _relation(mine, theirs, ~same) if step is None else relation(mine, theirs, step)
    yield Difference(
        *(f"{name}[{index}]{more}", float(mine[at]), float(theirs[at]), a, name, right, note)
    )


def close(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = (np.clip(one, -_ENDLESS, _ENDLESS) for one in (left, right))
    with np.errstate(invalid="ignore"):
        near = np.abs(left - right) <= _SAME * np.maximum(np.abs(left), np.abs(right))
    return np.asarray(near | (left == right))


def _relation(a: np.ndarray, b: np.ndarray, other: np.ndarray) -> str:
    """How B's numbers follow from A's, where they do simply."""
    with np.errstate(all="ignore"):
        ratio = b[other] / a[other]
        if np.isfinite(ratio).all() and ratio.all() and np.ptp(ratio) <= 1e-4 * np.abs(ratio).max():
            return f"B's are {float(np.median(ratio)):.6g} times A's there"
        shift = b[other] - a[other]
        if shift.size > 1 and np.ptp(shift) <= 1e-4 * np.abs(shift).max():
            return f"B's are A's plus {float(np.median(shift)):.6g} there"
    if a.ndim >= 2:
        for axes in ((0, 1), (-2, -1)):
            turned = a.swapaxes(*axes)
            if turned.shape == b.shape and close(turned, b).all():
                return "B's are A's with two axes exchanged"
        flipped = np.flip(a, tuple(range(min(2, a.ndim - 1), a.ndim)))
        if close(flipped, b).all():
            return "B's are A's in reverse order"
    for axis in range(a.ndim):
        order = _permuted(a, b, axis)
        if order is not None:
            moved = int((order != np.arange(len(order))).sum())
            return f"B's are A's with {moved} of {len(order)} places of axis {axis} exchanged"
    return ""


def _permuted(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray | None:
    """The order of an axis that makes B's numbers of A's."""
    if a.shape[axis] > 1 << 14:
        return None
    left = np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1)
    right = np.moveaxis(b, axis, 0).reshape(b.shape[axis], -1)
    places = {row.tobytes(): k for k, row in enumerate(left.astype(np.float32))}
    order = [places.get(row.tobytes(), -1) for row in right.astype(np.float32)]
    found = np.array(order)
    if len(places) == len(left) and sorted(order) == list(range(len(left))):
        return found
    return None


def _gated(a: Node, b: Node) -> Iterator[Difference]:
    """The weights of two recurrences gate by gate, whatever the order of the gates; biases that are
    only ever added, added."""
    first, second = a.op, b.op
    assert isinstance(first, Recurrence)
    assert isinstance(second, Recurrence)
    if sorted(first.gates) != sorted(second.gates) or first.width != second.width:
        yield Difference("gates", first.gates, second.gates)
        return
    for name in ("kernel", "recurrent"):
        one, other = getattr(first, name).value, getattr(second, name).value
        for gate in first.gates:
            mine, theirs = widened(one[:, first.block(gate)]), widened(other[:, second.block(gate)])
            if mine.shape == theirs.shape and not close(mine, theirs).all():
                count = int((~close(mine, theirs)).sum())
                at = np.unravel_index(int(np.abs(mine - theirs).argmax()), mine.shape)
                index = ", ".join(map(str, at))
                told = f"{name} of gate {gate} at [{index}], {count} of {mine.size} entries"
                yield Difference(told, float(mine[at]), float(theirs[at]))
    sums = [
        sum((one for one in op.biases() if one is not None), np.zeros(op.kernel.value.shape[1]))
        for op in (first, second)
    ]
    for gate in first.gates:
        left, right = sums[0][first.block(gate)], sums[1][second.block(gate)]
        if not np.allclose(left, right, rtol=1e-5, atol=1e-7):
            worst = int(np.abs(left - right).argmax())
            name = f"bias of gate {gate} at [{worst}]"
            yield Difference(name, float(left[worst]), float(right[worst]))


def _wires(segment: Segment) -> Iterator[Difference]:
    for wire in segment.wires:
        yield Difference("input", wire.instead.name, wire.reads.name)
    for mine, theirs in segment.orders:
        first, second = (", ".join(one.name for one in side) for side in (mine, theirs))
        yield Difference("order of inputs", first, second)


def transplanted(difference: Difference) -> Op | None:
    """A's op with B's field in it; None where that makes no op."""
    node = difference.node
    if node is None or node.op is None or difference.value is None:
        return None
    if difference.field not in field_names(type(node.op)):  # type: ignore[arg-type]
        return None
    value = None if difference.value is _NOTHING else difference.value
    try:
        return replace(node.op, **{difference.field: value})
    except (TypeError, ValueError):
        return None
