"""Values on a grid: the ways of rounding to it, and what happens beyond its ends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from probe.ops.base import Elementwise

__all__ = ["MODES", "FixedPointGrid"]

MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half to even": np.rint,
    "half away from zero": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "half up": lambda x: np.floor(x + 0.5),
    "down (floor)": np.floor,
    "towards zero": np.trunc,
}


@dataclass(frozen=True, eq=False)
class FixedPointGrid(Elementwise):
    """Multiples of ``step`` between ``low`` and ``high``, rounded by ``mode``; beyond them clipped
    or wrapped."""

    jumps = True

    roundings = 0
    step: float | np.ndarray
    mode: str
    low: float = -np.inf
    high: float = np.inf
    wrap: bool = False

    def f(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            codes = MODES[self.mode](x / self.step) if np.all(self.step) else x
            value = codes * self.step if np.all(self.step) else codes
            if self.wrap:
                span = self.high - self.low
                return self.low + np.mod(value - self.low, span)
            return np.clip(value, self.low, self.high)
