"""Rotations of pairs of features by angles, as an op, and as NumPy that one writes by hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import PRODUCT, SUM, Value, as_tuple, listed, number
from probe.hypotheses.attention.rope_scaling import frequencies
from probe.numerics.precision import Precision
from probe.ops.base import Evaluated

__all__ = ["Rotation", "quarter", "rotation_by_hand", "spread_angles", "turned_by_hand"]


def quarter(x: np.ndarray, pairs: str) -> np.ndarray:
    """Each pair of features turned by a right angle."""
    if pairs == "halves":
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([-second, first], axis=-1)
    return np.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)


def spread_angles(angles: np.ndarray, pairs: str) -> np.ndarray:
    """The angles of pairs (position, pair) for each of their features."""
    if pairs == "halves":
        return np.concatenate([angles, angles], axis=-1)
    return np.repeat(angles, 2, axis=-1)


@dataclass(frozen=True, eq=False)
class Rotation(ops.Op):
    """Pairs of features rotated by their angles (position, pair), the same for all heads."""

    angles: np.ndarray
    scale: float = 1.0
    pairs: str = "halves"
    reordered: bool = False
    """Whether neighbours are brought to the two halves before."""
    behind: int = 0
    """How many axes, such as that of heads, lie between the positions and the features."""

    @property
    def spread(self) -> np.ndarray:
        """The angles of the features, beside what is rotated."""
        angles = spread_angles(self.angles, self.pairs)
        return angles.reshape(len(angles), *(1,) * self.behind, -1)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,) = inputs
        if self.reordered:
            x = np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)
        angles = self.spread
        turned = x * np.cos(angles) + quarter(x, self.pairs) * np.sin(angles)
        return (self.scale * turned,)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        """Four roundings of each of the two products, and what arrives with their factors."""
        (x,), (slack,) = of.inputs, of.slacks
        size = 4 * precision.unit * np.abs(x) + (0.0 if slack is None else slack)
        if self.reordered:
            size = np.concatenate([size[..., ::2], size[..., 1::2]], axis=-1)
        angles = self.spread
        beside = np.abs(quarter(size, self.pairs))
        bound = size * np.abs(np.cos(angles)) + beside * np.abs(np.sin(angles))
        return (np.asarray(abs(self.scale) * bound),)


@writes(Rotation)
def rotation_by_hand(op: Rotation, w: Any, x: Value) -> Value:
    if op.behind:
        raise Unwritten("heads behind the positions that they are rotated by")
    if x.axes[-1] != x.rank - 1:
        x = w.plain(x)
    x = w.named("heads", x)
    if op.reordered:
        halves = f"np.concatenate([{x.text}[..., ::2], {x.text}[..., 1::2]], axis=-1)"
        x = w.let("halves", Value(halves, x.shape, x.order))
    behind = x.rank - 2 - x.axes[-2]
    text = angles_by_hand(op.angles, op.pairs, behind)
    shape = (len(op.angles), *(1,) * behind, 2 * op.angles.shape[1])
    angles = w.let("angles", Value(text, shape, None, PRODUCT)).text
    turned = turned_by_hand(x, op.pairs)
    text, level = f"{x.text} * np.cos({angles}) + {turned} * np.sin({angles})", SUM
    if abs(op.scale - 1) > _FITTED:
        text, level = f"{number(op.scale)} * ({text})", PRODUCT
    made: Value = w.result(text, level, x.order)
    return made


def turned_by_hand(x: Value, pairs: str) -> str:
    """Each pair of features turned by a right angle."""
    if pairs == "halves":
        size = x.shape[-1] // 2
        return f"np.concatenate([-{x.text}[..., {size}:], {x.text}[..., :{size}]], axis=-1)"
    stacked = f"np.stack([-{x.text}[..., 1::2], {x.text}[..., ::2]], axis=-1)"
    return f"{stacked}.reshape{as_tuple(x.shape)}"


def angles_by_hand(angles: np.ndarray, pairs: str, behind: int) -> str:
    """The angles (position, pair) of each feature, as positions times frequencies."""
    positions, each = _factors(angles)
    count = len(each)
    base = float(each[1] ** -count) if count > 1 and 0 < each[1] < 1 else 0.0
    if base and np.allclose(each, frequencies(base, count), rtol=1e-5, atol=0):
        shares = f"{number(float(f'{base:.6g}'))} ** (-np.arange({count}) / {count})"
    elif count <= _LISTED:
        shares = f"np.array({listed([float(f'{share:.6g}') for share in each])})"
    else:
        raise Unwritten("frequencies of no base")
    if pairs == "halves":
        shares = f"np.tile({shares}, 2)"
    else:
        shares = f"np.repeat({shares}, 2)"
    return f"{_positions_by_hand(positions)}[:{', None' * (1 + behind)}] * {shares}"


def _factors(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and frequencies, the first of which is 1."""
    row = int(np.abs(angles).max(axis=1).argmax())
    if not angles[row, 0]:
        raise Unwritten("angles of a first frequency that is 0")
    each, positions = angles[row] / angles[row, 0], angles[:, 0]
    if not np.allclose(positions[:, None] * each, angles, rtol=1e-6, atol=1e-9):
        raise Unwritten("angles that are no product of positions and frequencies")
    return positions, each


def _positions_by_hand(positions: np.ndarray) -> str:
    count = len(positions)
    step = float(positions[1] - positions[0]) if count > 1 else 1.0
    first = float(f"{positions[0]:.6g}")
    if not step or not np.allclose(positions, first + step * np.arange(count), rtol=1e-6):
        if count > _LISTED:
            raise Unwritten("positions in no order")
        return f"np.array({listed([float(f'{at:.6g}') for at in positions])})"
    text = f"np.arange({count})"
    if abs(abs(step) - 1) > _FITTED:
        text = f"({number(float(f'{step:.6g}'))} * {text})"
    elif step < 0:
        text = f"(-{text})"
    return f"({text} + {number(first)})" if first else text


_FITTED = 1e-6
"""How far a number that was fitted may lie from 1 that is it."""
_LISTED = 16
"""So many frequencies or positions are listed."""
