"""Values on a grid: the ways of rounding to it, and what happens beyond its ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, number
from probe.ops.base import Elementwise

__all__ = ["ALL_MODES", "MODES", "FixedPointGrid"]

MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half to even": np.rint,
    "half away from zero": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "half up": lambda x: np.floor(x + 0.5),
    "down (floor)": np.floor,
    "towards zero": np.trunc,
}

ALL_MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {**MODES, "up (ceil)": np.ceil}
"""With those that are tried where a layer itself rounds alone."""


@dataclass(frozen=True, eq=False)
class FixedPointGrid(Elementwise):
    """Multiples of ``step`` between ``low`` and ``high``, rounded by ``mode``; beyond them clipped
    or wrapped."""

    jumps = True
    in_words = "rounding"

    roundings = 0
    step: float | np.ndarray
    mode: str
    low: float = -np.inf
    high: float = np.inf
    wrap: bool = False

    def f(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            codes = ALL_MODES[self.mode](x / self.step) if np.all(self.step) else x
            value = codes * self.step if np.all(self.step) else codes
            if self.wrap:
                span = self.high - self.low
                return self.low + np.mod(value - self.low, span)
            return np.clip(value, self.low, self.high)


_IN_NUMPY = {
    "half to even": "np.round({x})",
    "half away from zero": "np.copysign(np.floor(np.abs({x}) + 0.5), {x})",
    "half up": "np.floor({x} + 0.5)",
    "down (floor)": "np.floor({x})",
    "towards zero": "np.trunc({x})",
    "up (ceil)": "np.ceil({x})",
}
"""The modes in a script."""
_LARGE = 16
"""From so many steps of 1 on their number is written, and not the step."""


@writes(FixedPointGrid)
def _by_hand(op: FixedPointGrid, w: Any, x: Value) -> Value:
    if np.size(op.step) != 1 or not np.all(op.step):
        raise Unwritten("steps by channel")
    x = w.named("values", x)
    step = float(np.ravel(op.step)[0])
    if (factor := 1 / step).is_integer() and factor >= _LARGE:
        code = _IN_NUMPY[op.mode].format(x=f"{x.at(PRODUCT)} * {number(factor)}")
        text, level = f"{code} / {number(factor)}", PRODUCT
    else:
        code = _IN_NUMPY[op.mode].format(x=f"{x.at(PRODUCT)} / {number(step)}")
        text, level = f"{number(step)} * {code}", PRODUCT
    low, high = number(op.low), number(op.high)
    if op.wrap:
        span = number(op.high - op.low)
        text, level = f"{low} + np.mod({text} - {low}, {span})", SUM
    elif np.isfinite(op.low) or np.isfinite(op.high):
        text, level = f"np.clip({text}, {low}, {high})", ATOM
    made: Value = w.result(text, level, x.order)
    return made
