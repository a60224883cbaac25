"""Numbers that are near other numbers: arithmetic on values and on how far each may be off, for ops that are formulas of several parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.ops.base import Op
from probe.rounding import Precision

__all__ = ["Near", "Rounded"]


@dataclass(frozen=True, eq=False)
class Near:
    """Values, and how far each may be off."""

    value: np.ndarray
    slack: np.ndarray

    def __getitem__(self, key) -> "Near":
        return Near(self.value[key], self.slack[key])

    @staticmethod
    def exactly(value: np.ndarray) -> "Near":
        return Near(value, np.zeros(value.shape))

    @staticmethod
    def joined(parts: Sequence["Near"]) -> "Near":
        return Near(np.concatenate([part.value for part in parts]), np.concatenate([part.slack for part in parts]))

    def where(self, keep: np.ndarray, other: "Near") -> "Near":
        """These where ``keep``, the others elsewhere."""
        return Near(np.where(keep, self.value, other.value), np.where(keep, self.slack, other.slack))


@dataclass(frozen=True, eq=False)
class Rounded:
    """The arithmetic of a precision: every operation rounds its result, and passes on what its operands are off by."""

    precision: Precision

    def _rounded(self, value: np.ndarray, slack: np.ndarray) -> Near:
        slack = slack + self.precision.unit * np.abs(value) + self.precision.tiny
        return Near(value, np.where(np.isfinite(slack), slack, 0.0))

    def add(self, first: Near, second: Near) -> Near:
        return self._rounded(first.value + second.value, first.slack + second.slack)

    def mul(self, first: Near, second: Near) -> Near:
        slack = np.abs(first.value) * second.slack + np.abs(second.value) * first.slack + first.slack * second.slack
        return self._rounded(first.value * second.value, slack)

    def rest(self, part: Near) -> Near:
        """1 - part."""
        return self._rounded(1.0 - part.value, part.slack)

    def apply(self, op: Op, x: Near) -> Near:
        """An op of one input."""
        (y,) = op.run(x.value)
        return Near(y, op.allowance((x.value,), (x.slack,), (y,), self.precision)[0])
