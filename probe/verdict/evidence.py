"""What is gathered about one call on the way to its report."""

from dataclasses import dataclass, field

import numpy as np

from probe.comparison.compare import Comparison
from probe.numerics.precision import Precision
from probe.verdict.detection_power import Power
from probe.verdict.engine_differences import Known

__all__ = ["NAMES", "Arrays", "Evidence", "Pair", "largest", "reaches"]

Arrays = tuple[np.ndarray | None, ...]
Pair = tuple[str, str]
_FEW = 16
NAMES = {
    "framework": "the framework",
    "numpy": "NumPy",
    "onnx": "ONNX Runtime",
    "expected": "yours",
}


@dataclass
class Evidence:
    """What is gathered about one call on the way to its report."""

    outputs: dict[str, Arrays] = field(default_factory=dict)
    allowed: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    """For each party: how far it may lie from NumPy."""
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    threads: int = 0
    sparing: bool = False
    """Whether less than the whole allowance will do where all agree within that."""
    precision: dict[str, Precision] = field(default_factory=dict)
    """The arithmetic that a party's values were found to be within, where that is not the first
    that was asked."""
    power: dict[str, Power] = field(default_factory=dict)
    """For each party: what its allowance can tell."""
    blurred: dict[str, str] = field(default_factory=dict)
    """What would explain the framework's values, or yours where the framework needs it too, had the
    check then any power left."""
    near: dict[Pair, Comparison] = field(default_factory=dict)
    """Comparisons already made on the way to the allowances."""
    shortcuts: dict[str, str] = field(default_factory=dict)
    """What a party does that loses digits, where its values are within rounding for no other
    reason."""
    differences: tuple[Known, ...] = ()
    """What engines are known to differ in, as far as this call may show it."""
    touched: np.ndarray | None = None
    """Which elements of the output that may change to other numbers."""
    reach: tuple[float, float] = (0.0, 0.0)
    """The largest number that the layer works with, and what no sum of products of any two of them
    exceeds."""
    known: np.ndarray | None = None
    """Where the user gave values, where not everywhere."""
    paths: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    """For recurrences: what NumPy gives for each party, from the states that the party itself had
    before each step."""


def largest(allowed: np.ndarray) -> float:
    """The largest that is allowed anywhere."""
    return float(allowed.max() if any(allowed.strides) else allowed[(0,) * allowed.ndim])


def reaches(value: np.ndarray, distance: float) -> bool:
    """Whether a few of the values are seen to lie so far apart."""
    some = [value.item(value.size * place // _FEW) for place in range(_FEW)]
    return distance <= max(some) - min(some) < np.inf
