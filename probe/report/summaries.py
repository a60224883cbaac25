"""Arrays and weights by what is said of them instead of their values: each number is computed once,
where something asks for it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probe.ops.weight import Weight

__all__ = ["Summary", "WeightSummary"]


@dataclass(frozen=True, eq=False)
class Summary:
    """An array by shape, type, and the finite ones among its values."""

    array: np.ndarray
    known: np.ndarray | None = None
    """Of a part of an output: where the user's own values are."""

    @cached_property
    def values(self) -> np.ndarray:
        """Those that count."""
        return self.array if self.known is None else self.array[self.known]

    @cached_property
    def finite(self) -> np.ndarray:
        """The finite ones of them."""
        values = self.values if self.values.dtype.kind in "fiub" else self.values.astype(float)
        return values[np.isfinite(values)] if values.dtype.kind == "f" else values

    @cached_property
    def low(self) -> float:
        return float(self.finite.min())

    @cached_property
    def high(self) -> float:
        return float(self.finite.max())

    @cached_property
    def mean(self) -> float:
        return float(self.finite.mean(dtype=np.float64))

    def facts(self) -> dict[str, Any]:
        """What a program reads."""
        told: dict[str, Any] = {"shape": self.array.shape, "dtype": str(self.array.dtype)}
        if self.known is not None:
            told["given"] = self.values.size
        if self.values.size:
            told["finite"] = self.finite.size
        if self.finite.size:
            told |= {"min": self.low, "max": self.high, "mean": self.mean}
        return told


@dataclass(frozen=True, eq=False)
class WeightSummary:
    """A weight as it is stored against what the layer multiplies by."""

    weight: Weight

    @cached_property
    def comparable(self) -> bool:
        """Whether stored and effective values stand for one another, element by element."""
        stored, effective = self.weight.stored, self.weight.effective
        return stored is not None and stored.shape == effective.shape and stored.size > 0

    @cached_property
    def same(self) -> bool:
        """Whether all are equal."""
        stored, effective = self.weight.stored, self.weight.effective
        return stored is effective or (
            stored is not None
            and np.array_equal(stored, effective, equal_nan=effective.dtype.kind == "f")
        )

    @cached_property
    def largest_difference(self) -> float:
        """Of those that are comparable."""
        if self.same:
            return 0.0
        stored = np.asarray(self.weight.stored)
        return float(np.abs(stored.astype(np.float64) - self.weight.effective).max())

    @cached_property
    def distinct_stored(self) -> int:
        return int(np.unique(np.asarray(self.weight.stored)).size)

    @cached_property
    def distinct(self) -> int:
        """Effective values."""
        return int(np.unique(self.weight.effective).size)

    def facts(self) -> dict[str, Any]:
        """What a program reads."""
        weight = self.weight
        told: dict[str, Any] = {
            "stored": None if weight.stored is None else Summary(weight.stored),
            "effective": Summary(weight.effective),
            "steps": weight.steps,
        }
        if weight.parts:
            told["parts"] = {name: Summary(part) for name, part in weight.parts.items()}
        if weight.grid is not None:
            told |= {"bits": weight.grid.bits, "signed": weight.grid.signed}
        if self.comparable:
            told |= {
                "largest_difference": self.largest_difference,
                "distinct_values": self.distinct,
            }
        return told
