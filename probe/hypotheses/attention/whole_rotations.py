"""The rotations of a layer as one op each, as an edit that has others writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value
from probe.hypotheses.attention.rotary_embedding import angles_of, rotated
from probe.hypotheses.attention.rotation import (
    Rotation,
    quarter,
    spread_angles,
    turned_by_hand,
)
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.edit import Steps

__all__ = ["by_tables", "with_whole_rotations"]

_NEAR = 1e-3
"""How far a table may lie from the sines and cosines of the angles."""


def with_whole_rotations(case: Case, steps: Steps) -> tuple[Steps, Mapping[int, int]]:
    """The steps of a layer with each rotation that an edit's steps do not have as one op; and which
    of its steps each of these stands for, by the op's identity."""
    kept, places = _needed(steps), dict[int, int]()
    some = [
        (rope, angles)
        for rope, angles in next(angles_of(case), ([], ""))[0]
        if id(case.steps[rope.add].op) not in kept and not angles.behind
    ]
    if not some:
        return case.steps, places

    def whole(rope: Any, angles: Any) -> Rotation:
        rotation: Rotation = angles.rotation(rope.pairs)
        places[id(rotation)] = rope.add
        return rotation

    return rotated(case, some, whole), places


def _needed(steps: Steps) -> set[int]:
    """The ops that the last step depends on, by their identity."""
    found: set[int] = set()
    left = [Ref(len(steps) - 1)]
    while left:
        position = left.pop().step
        if position >= 0 and position not in found:
            found.add(position)
            left += steps[position].sources(position)
    return {id(steps[position].op) for position in found}


@dataclass(frozen=True, eq=False)
class _RotationByTables(ops.Op):
    """A rotation whose cosines and sines are inputs (..., position, feature), the sines times
    ``sign``."""

    pairs: str
    sign: int
    reordered: bool

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, cos, sin = inputs
        if self.reordered:
            x = np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)
        cos, sin = (_beside(table, x.ndim) for table in (cos, sin))
        return (x * cos + quarter(x, self.pairs) * (self.sign * sin),)


def _beside(table: np.ndarray, rank: int) -> np.ndarray:
    """A table (batch, position, feature) beside an array with more axes between."""
    if table.ndim < 3:
        return table
    between = (1,) * (rank - table.ndim)
    return table.reshape(*table.shape[:-2], *between, *table.shape[-2:])


@writes(_RotationByTables)
def _by_tables_by_hand(op: _RotationByTables, w: Any, x: Value, *tables: Value) -> Value:
    if x.axes[-1] != x.rank - 1:
        x = w.plain(x)
    x = w.named("heads", x)
    if op.reordered:
        halves = f"np.concatenate([{x.text}[..., ::2], {x.text}[..., 1::2]], axis=-1)"
        x = w.let("halves", Value(halves, x.shape, x.order))
    cos, sin = (_lying(w.plain(table), x) for table in tables)
    sign = "-" if op.sign < 0 else ""
    text = f"{x.text} * {cos} + {turned_by_hand(x, op.pairs)} * {sign}{sin}"
    made: Value = w.result(text, SUM, x.order)
    return made


def _lying(table: Value, x: Value) -> str:
    """The text of a table beside x, whose positions may lie before its heads."""
    behind = x.rank - 2 - x.axes[-2]
    if behind:
        return f"{table.at(ATOM)}[..., {'None, ' * behind}:]"
    if 2 < table.rank < x.rank:
        return f"{table.at(ATOM)}[:{', None' * (x.rank - table.rank)}]"
    return table.at(PRODUCT)


def by_tables(steps: Steps, inputs: Sequence[np.ndarray]) -> Steps | None:
    """The steps with the rotations by the inputs that hold their cosines and sines; None where one
    has none."""
    made = [Step(step.op, step.sources(position)) for position, step in enumerate(steps)]
    for position, step in enumerate(made):
        if not isinstance(step.op, Rotation):
            continue
        angles = spread_angles(step.op.angles, step.op.pairs)
        cos = _index(step.op.scale * np.cos(angles), inputs)
        sines = step.op.scale * np.sin(angles)
        found = ((k, sign) for sign in (1, -1) if (k := _index(sign * sines, inputs)) is not None)
        sin = next(found, None)
        if cos is None or sin is None:
            return None
        op = _RotationByTables(step.op.pairs, sin[1], step.op.reordered)
        sources = (*step.sources(position), Ref(-1, cos), Ref(-1, sin[0]))
        made[position] = replace(step, op=op, inputs=sources)
    return tuple(made)


def _index(table: np.ndarray, inputs: Sequence[np.ndarray]) -> int | None:
    for index, array in enumerate(inputs):
        if array.dtype.kind == "f" and array.shape[-2:] == table.shape:
            if np.allclose(array, table, rtol=0, atol=_NEAR):
                return index
    return None
