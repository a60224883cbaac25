"""What the weights of two layers differ in, and how the ones follow from the others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.model_comparison.causes.fused_weights import FusedPart, cut, part_of
from probe.model_comparison.causes.weight_relations import RoundingBetween, relation
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.normalization import FoldedNode
from probe.model_comparison.graphs.weights import held_weights
from probe.numerics.dtypes import widened
from probe.ops.weight import Weight

__all__ = [
    "LEFT_OUT",
    "Difference",
    "WeightContext",
    "close",
    "differing_weights",
    "relation_in_steps",
]

_SAME = 1e-6
"""How far numbers may lie apart that went through float32."""
_ENDLESS = 1e30
"""A mask subtracts this or more, or infinity: one is as good as the other."""
_FOLDED = 6.0
"""How many roundings of a narrower type lie in weights that a normalisation was folded into."""
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
    tensor: Tensor | None = None
    """Of a constant: A's, which may be made by no node that is known."""
    certain: bool = False
    """Whether the note alone says what is wrong."""


@dataclass(frozen=True, eq=False)
class WeightContext:
    """What is known besides of the weights of two segments."""

    unit: float = 0.0
    """The unit roundoff of the type that one model holds the other's weights in."""
    gains: tuple[tuple[str, np.ndarray], ...] = ()
    """What normalisations of the segments multiply channels by, by their layers."""


_ALONE = WeightContext()


def differing_weights(
    a: GraphNode, b: GraphNode, beside: WeightContext = _ALONE
) -> Iterator[Difference]:
    """The weights in which two ops of one kind differ, but for rounding."""
    mine, theirs = dict(held_weights(a)), dict(held_weights(b))
    part: FusedPart | None = None
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
        if left.value.shape != right.value.shape:
            right = _without_zeros(right, left.value.shape)
        if left.value.shape != right.value.shape:
            part = part_of(left.value, right.value) or part
            left, right = _parts(left, right, part)
        yield from _values(a, name, left, right, beside)


def _without_zeros(weight: Weight, shape: tuple[int, ...]) -> Weight:
    """A weight of this shape, where only zeros are behind it on each axis: channels that fill
    up."""
    values = weight.value
    if values.ndim != len(shape) or any(n < m for n, m in zip(values.shape, shape, strict=True)):
        return weight
    inner = values[tuple(map(slice, shape))]
    if np.count_nonzero(inner) != np.count_nonzero(values):
        return weight
    return Weight(weight.name, None, inner)


def _parts(left: Weight, right: Weight, part: FusedPart | None) -> tuple[Weight, Weight]:
    """Of two weights of which one holds the other's beside those of other layers, what is the
    other's."""
    if part is None or left.value.ndim != right.value.ndim:
        return left, right
    axis = part.axis if left.value.ndim > 1 else 0
    count = min(left.value.shape[axis], right.value.shape[axis])
    cuts = cut(left, part, count), cut(right, part, count)
    if cuts[0] is None or cuts[1] is None:
        return left, right
    return cuts[0], cuts[1]


def _neutral(name: str, weight: Weight) -> bool:
    """Whether a weight changes nothing: a bias of zeros, a scale of ones."""
    neutral = int(name in ("scale", "variance"))
    return bool((weight.value == neutral).all())


def _values(
    a: GraphNode, name: str, left: Weight, right: Weight, beside: WeightContext
) -> Iterator[Difference]:
    mine, theirs = widened(left.value), widened(right.value)
    if mine.shape != theirs.shape:
        if mine.size == theirs.size and close(mine.ravel(), theirs.ravel()).all():
            return
        yield Difference(name, mine.shape, theirs.shape, a, name, right)
        return
    rounding = RoundingBetween(beside.unit, right.step)
    same = close(mine, theirs)
    if name != "variance":
        folded = isinstance(a, FoldedNode)
        same |= rounding.between(mine, theirs, _SAME, _FOLDED if folded else 1.01)
    if same.all():
        return
    count = int((~same).sum())
    apart = np.where(same, 0.0, np.abs(mine - theirs))
    at = np.unravel_index(int(np.argmax(np.nan_to_num(apart, nan=np.inf))), apart.shape)
    index = ", ".join(map(str, at))
    more = f", 1 of {mine.size}"
    if count > 1:
        more = f" and {count - 1} more of {mine.size}"
    note = relation(mine, theirs, ~same, rounding, beside.gains)
    if right.step is not None:
        note = relation_in_steps(mine, theirs, right.step) or note
    yield Difference(
        *(f"{name}[{index}]{more}", float(mine[at]), float(theirs[at]), a, name, right, note)
    )


def close(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Which numbers are the same, but for having gone through float32."""
    left, right = (np.clip(values, -_ENDLESS, _ENDLESS) for values in (left, right))
    with np.errstate(invalid="ignore"):
        near = np.abs(left - right) <= _SAME * np.maximum(np.abs(left), np.abs(right))
    return np.asarray(near | (left == right))


def relation_in_steps(a: np.ndarray, b: np.ndarray, step: np.ndarray) -> str:
    """How quantised weights follow from A's, where it is by another scale or zero point."""
    left, right = (np.asarray(values / step, np.float64).ravel() for values in (a, b))
    if left.size < _FEW or not np.ptp(left) > 0 or np.mean(left == right) > 0.5:
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
