"""What the weights of two layers differ in, and how the ones follow from the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.model_comparison.graphs.graph import GraphNode
from probe.model_comparison.graphs.weights import held_weights
from probe.numerics.dtypes import widened
from probe.ops import Recurrence
from probe.ops.weight import Weight

__all__ = ["LEFT_OUT", "Difference", "close", "differing_weights", "relation"]

_SAME = 1e-6
"""How far numbers may lie apart that went through float32."""
_ENDLESS = 1e30
"""A mask subtracts this or more, or infinity: one is as good as the other."""
_FEW = 16
"""Entries that a relation between weights is read off."""
LEFT_OUT = object()
"""A weight that B's op has none of."""


@dataclass(frozen=True, eq=False)
class Difference:
    """One thing that two segments differ in."""

    name: str
    a: Any
    b: Any
    node: GraphNode | None = None
    """Of A: whose field it is."""
    field: str = ""
    value: Any = None
    """What A's op would hold in that field to be like B's; None where it cannot."""
    note: str = ""


def differing_weights(a: GraphNode, b: GraphNode) -> Iterator[Difference]:
    """The weights in which two ops of one kind differ."""
    mine, theirs = dict(held_weights(a)), dict(held_weights(b))
    if isinstance(a.op, Recurrence) and isinstance(b.op, Recurrence):
        yield from _gated(a, b)
        return
    for name in dict.fromkeys((*mine, *theirs)):
        left, right = mine.get(name), theirs.get(name)
        if left is None or right is None:
            weight = left or right
            assert weight is not None
            if _neutral(name, weight):
                continue
            shown = f"{weight.name} {weight.value.shape}"
            if right is None:
                yield Difference(name, shown, None, a, name, LEFT_OUT)
            else:
                yield Difference(name, None, shown, a, name, right)
            continue
        yield from _values(a, name, left, right)


def _neutral(name: str, weight: Weight) -> bool:
    """Whether a weight changes nothing: a bias of zeros, a scale of ones."""
    neutral = int(name in ("scale", "variance"))
    return bool((weight.value == neutral).all())


def _values(a: GraphNode, name: str, left: Weight, right: Weight) -> Iterator[Difference]:
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
    more = f", 1 of {mine.size}"
    if count > 1:
        more = f" and {count - 1} more of {mine.size}"
    if right.step is None:
        note = relation(mine, theirs, ~same)
    else:
        note = _relation_in_steps(mine, theirs, right.step)
    yield Difference(
        *(f"{name}[{index}]{more}", float(mine[at]), float(theirs[at]), a, name, right, note)
    )


def close(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Which numbers are the same, but for having gone through float32."""
    left, right = (np.clip(values, -_ENDLESS, _ENDLESS) for values in (left, right))
    with np.errstate(invalid="ignore"):
        near = np.abs(left - right) <= _SAME * np.maximum(np.abs(left), np.abs(right))
    return np.asarray(near | (left == right))


def relation(a: np.ndarray, b: np.ndarray, other: np.ndarray) -> str:
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
    if len(places) == len(left) and sorted(order) == list(range(len(left))):
        return np.array(order)
    return None


def _gated(a: GraphNode, b: GraphNode) -> Iterator[Difference]:
    """The weights of two recurrences gate by gate, whatever the order of the gates; biases that are
    only ever added, added."""
    first, second = a.op, b.op
    assert isinstance(first, Recurrence)
    assert isinstance(second, Recurrence)
    if sorted(first.gates) != sorted(second.gates) or first.width != second.width:
        yield Difference("gates", first.gates, second.gates)
        return
    for name in ("kernel", "recurrent"):
        whole_a, whole_b = getattr(first, name).value, getattr(second, name).value
        for gate in first.gates:
            mine = widened(whole_a[:, first.block(gate)])
            theirs = widened(whole_b[:, second.block(gate)])
            if mine.shape == theirs.shape and not close(mine, theirs).all():
                count = int((~close(mine, theirs)).sum())
                at = np.unravel_index(int(np.abs(mine - theirs).argmax()), mine.shape)
                index = ", ".join(map(str, at))
                place = f"{name} of gate {gate} at [{index}], {count} of {mine.size} entries"
                yield Difference(place, float(mine[at]), float(theirs[at]))
    sums = [
        sum((bias for bias in op.biases() if bias is not None), np.zeros(op.kernel.value.shape[1]))
        for op in (first, second)
    ]
    for gate in first.gates:
        left, right = sums[0][first.block(gate)], sums[1][second.block(gate)]
        if not np.allclose(left, right, rtol=1e-5, atol=1e-7):
            worst = int(np.abs(left - right).argmax())
            name = f"bias of gate {gate} at [{worst}]"
            yield Difference(name, float(left[worst]), float(right[worst]))


def _relation_in_steps(a: np.ndarray, b: np.ndarray, step: np.ndarray) -> str:
    """How quantised weights follow from A's, where it is by another scale or zero point."""
    left, right = (np.asarray(values / step, np.float64).ravel() for values in (a, b))
    if left.size < _FEW or not np.ptp(left) > 0:
        return ""
    factor, shift = np.polyfit(left, right, 1)
    factor, shift = round(float(factor), 2), round(float(shift))
    if (factor, shift) == (1, 0) or not factor:
        return ""
    rest = np.abs(factor * left + shift - right)
    if np.median(rest) > 0.3 or np.mean(rest > 0.6 + 0.01 * np.abs(left)) > 0.05:  # of a rounding
        return ""
    words = []
    if factor != 1:
        words.append(f"{factor:g} times A's: another scale")
    if shift:
        words.append(f"A's moved by {shift:+d} of its steps: another zero point")
    return f"rounded, B's are {', and '.join(words)}"
