"""Tables of sines and cosines by positions, as rotary position embeddings have them: which base
their frequencies fall by, and at which position they begin."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["PositionTable", "apart_in_words", "position_table", "turned_in_words"]

_NEAR = 2e-3
"""How far a table may lie from the one that was fitted."""
_UNSURE = 0.02
_FEW = 3
_FURTHEST = 1 << 13
"""The last position that a table is tried to begin at."""
_KINDS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("cosines", np.cos),
    ("sines", np.sin),
)


class PositionTable(NamedTuple):
    """What a table of positions by frequencies holds."""

    kind: str
    """"cosines", "sines" or "frequencies"."""
    base: float
    first: int
    """The position of its first row."""
    scale: float
    """What positions are multiplied by."""
    twice: str = ""
    """Where each column stands once more: "halves" or "pairs of neighbours"."""


def position_table(values: np.ndarray) -> PositionTable | None:
    """The table that an array is, positions along the last axis but one that is long; None where it
    is none."""
    if values.dtype.kind != "f" or not values.size or not np.isfinite(values).all():
        return None
    width = max(values.shape[-1:], default=0)
    if sum(size > 1 for size in values.shape) == 1:
        return _frequencies(values.astype(np.float64).ravel())
    if width < _FEW or sum(size > 1 for size in values.shape) != 2 or np.abs(values).max() > 1.001:
        return None
    table, twice = _once(values.reshape(-1, width).astype(np.float64))
    if min(table.shape) < _FEW:
        return None
    steps = _steps(table)
    if steps is None:
        return None
    for kind, function in _KINDS:
        found = _fitted(table, steps, kind, function)
        if found is not None:
            return found._replace(twice=twice)
    return None


def _once(table: np.ndarray) -> tuple[np.ndarray, str]:
    """The columns without those that stand there twice: a half beside the other, or neighbours."""
    half = table.shape[1] // 2
    if table.shape[1] % 2 or half < 2:
        return table, ""
    if np.allclose(table[:, :half], table[:, half:], atol=1e-6):
        return table[:, :half], "halves"
    if np.allclose(table[:, ::2], table[:, 1::2], atol=1e-6):
        return table[:, ::2], "pairs of neighbours"
    return table, ""


def _steps(table: np.ndarray) -> np.ndarray | None:
    """By which angle each of the first two columns turns from row to row: f(i + 1) + f(i - 1) is
    2 cos(step) f(i) of sines and cosines."""
    steps = np.zeros(2)
    for column in range(2):
        values = table[:, column]
        at = 1 + int(np.abs(values[1:-1]).argmax())
        if abs(values[at]) < 0.1:
            return None
        cosine = (values[at + 1] + values[at - 1]) / (2 * values[at])
        if not abs(cosine) < 1:
            return None
        steps[column] = np.arccos(cosine)
    if not steps[0] > steps[1] > 0:
        return None
    return steps


def _fitted(
    table: np.ndarray, steps: np.ndarray, kind: str, function: Callable[[np.ndarray], np.ndarray]
) -> PositionTable | None:
    rows, count = table.shape
    scale = float(f"{steps[0]:.3g}")
    places, starts = np.arange(rows), np.arange(_FURTHEST)
    begin = function(scale * (starts[:, None] + places[:_FEW])) - table[:_FEW, 0]
    likely = starts[np.abs(begin).max(axis=1) < _NEAR][:4]
    best: tuple[float, PositionTable] | None = None
    for first in likely:
        for base in _short((steps[0] / steps[1]) ** count):
            turns = scale * base ** (-np.arange(count) / count)
            off = float(np.abs(function(np.outer(first + places, turns)) - table).max())
            if off < (_NEAR if best is None else best[0]):
                best = off, PositionTable(kind, base, int(first), scale)
    return None if best is None else best[1]


def _frequencies(values: np.ndarray) -> PositionTable | None:
    """A row of frequencies that fall by one factor."""
    if len(values) < _FEW or not (values > 0).all():
        return None
    ratio = values[1:] / values[:-1]
    if not ratio[0] < 0.999 or np.ptp(ratio) > 1e-4:
        return None
    base = _short(float(np.exp(-np.log(ratio).mean() * len(values))))[-1]
    return PositionTable("frequencies", float(f"{base:.4g}"), 0, float(f"{values[0]:.4g}"))


def _short(number: float) -> list[float]:
    """The number to one digit and more, which a fit is not sure of, where it lies near."""
    digits = [float(f"{number:.{places}e}") for places in (0, 1, 2, 4)]
    return [short for short in digits if abs(short - number) <= _UNSURE * number] or [number]


def apart_in_words(a: PositionTable, b: PositionTable) -> str:
    """What two tables of one kind differ in; "" where they are of two kinds, or alike."""
    if a.kind != b.kind:
        return ""
    what = f"the {a.kind} of a rotary position embedding"
    for name, mine, theirs in (
        ("base", a.base, b.base),
        ("first position", a.first, b.first),
        ("positions times", a.scale, b.scale),
    ):
        if mine != theirs:
            return f"{what}: {name} {mine:.6g} in A, {theirs:.6g} in B"
    return ""


def turned_in_words(a: PositionTable, b: PositionTable) -> str:
    """Which columns two tables that are alike besides turn together; "" where the same."""
    if a.kind != b.kind or not (a.twice and b.twice) or a.twice == b.twice:
        return ""
    return f"the {a.kind} of a rotary position embedding: for {a.twice} in A, for {b.twice} in B"
