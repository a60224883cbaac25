"""The parts of attention that no op of a layer is, and how they are written by hand."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, TEST, Value, number
from probe.ops.base import Op

__all__ = ["Causal", "EmptySoftmax", "Masked", "RepeatedHeads", "WindowMask"]


@dataclass(frozen=True, eq=False)
class RepeatedHeads(Op):
    """Each slice along ``axis`` as often as others share it; ``tiled``: all of them, again and
    again."""

    count: int
    axis: int
    tiled: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.tiled:
            return (np.concatenate([inputs[0]] * self.count, axis=self.axis),)
        return (np.repeat(inputs[0], self.count, axis=self.axis),)


@dataclass(frozen=True, eq=False)
class Causal(Op):
    """Which of the positions each query sees: those up to its own, and so many later ones.

    With ``from_last`` the last query is the last position's, else the first one is the first's.
    """

    queries: int
    positions: int
    later_positions: int = 0
    from_last: bool = False

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        own = np.arange(self.queries) + (self.positions - self.queries) * self.from_last
        seen = own[:, None] + self.later_positions >= np.arange(self.positions)
        return (seen.astype(np.float64),)


@dataclass(frozen=True, eq=False)
class WindowMask(Op):
    """Which of the positions are less than ``size`` away from each query."""

    queries: int
    positions: int
    size: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        away = np.abs(np.arange(self.queries)[:, None] - np.arange(self.positions))
        return ((away < self.size).astype(np.float64),)


@dataclass(frozen=True, eq=False)
class Masked(Op):
    """The first input where the second is true, else ``value``."""

    value: float

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.where(inputs[1] != 0, inputs[0], self.value),)


@dataclass(frozen=True, eq=False)
class EmptySoftmax(ops.Softmax):
    """A row without any value that is finite gives 0."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            return (np.nan_to_num(super().run(*inputs)[0], nan=0.0),)


@writes(RepeatedHeads)
def _repeated_heads(op: RepeatedHeads, w: Any, x: Value) -> Value:
    axis = x.axes[op.axis]
    text = f"np.repeat({x.text}, {op.count}, axis={axis})"
    if op.tiled:
        text = f"np.concatenate([{x.text}] * {op.count}, axis={axis})"
    made: Value = w.result(text, ATOM, x.order)
    return made


@writes(Causal)
def _causal(op: Causal, w: Any) -> Value:
    later = op.later_positions + (op.positions - op.queries) * op.from_last
    diagonal = f", {later}" if later else ""
    made: Value = w.result(f"np.tri({op.queries}, {op.positions}{diagonal})")
    return made


@writes(WindowMask)
def _window_mask(op: WindowMask, w: Any) -> Value:
    away = f"np.abs(np.arange({op.queries})[:, None] - np.arange({op.positions}))"
    made: Value = w.result(f"{away} < {op.size}", TEST)
    return made


@writes(Masked)
def _masked(op: Masked, w: Any, x: Value, seen: Value) -> Value:
    (x, seen), order = w.aligned(x, seen)
    text = f"np.where({seen.at(TEST + 1)} != 0, {x.text}, {number(op.value)})"
    made: Value = w.result(text, ATOM, order)
    return made


@writes(EmptySoftmax)
def _softmax(op: EmptySoftmax, w: Any, x: Value) -> Value:
    x = w.named("scores", x)
    axis = x.axes[op.axis]
    share = f"{w.helper('softmax')}({x.text}, axis={axis})"
    some = f"np.max({x.text}, axis={axis}, keepdims=True) > -np.inf"
    made: Value = w.result(f"np.where({some}, {share}, 0)", ATOM, x.order)
    return made
