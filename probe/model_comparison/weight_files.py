"""Two files of weights as values: what each tensor of the second should hold, and its rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["ConvertedTensor", "Other", "RowValues", "Setting", "StoredRows", "WeightFiles"]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """A tensor as rows of its last axis, which are read when they are asked for."""

    count: int
    width: int
    read: Callable[[int, int], np.ndarray]
    """StoredRows from and up to, as float64 of the shape (rows, width)."""
    rounding: float = 0.0
    """What float32 may have done to numbers that were worked out, as a share of them."""


@dataclass(frozen=True, eq=False)
class RowValues:
    """StoredRows of a converted tensor."""

    values: np.ndarray
    allowance: np.ndarray | None
    """How far those before the conversion may lie from them; None where nobody knows."""
    step: np.ndarray | None
    """The distance of the levels of a quantised type."""


@dataclass(frozen=True, eq=False)
class Other:
    """What a tensor of B may hold in the place of what it should."""

    words: str
    """Said of B's tensor, such as "the 1 that ... wants is not added"."""
    rows: StoredRows


@dataclass(frozen=True, eq=False)
class ConvertedTensor:
    """A tensor of B, and what it should hold."""

    a: tuple[str, ...]
    """The tensors of A that it is made of."""
    b: str
    shape: tuple[int, ...]
    kind: str
    """The type that it is stored in, such as "Q4_0"."""
    expected: StoredRows | None
    """What the conversion makes of A's; None where it is not known."""
    read: Callable[[int, int], RowValues]
    others: tuple[Other, ...] = ()
    """What it may hold instead, the likeliest first."""
    unknown: str = ""
    """Why ``expected`` is None, or why what differs from it may be right."""


@dataclass(frozen=True)
class Setting:
    """A number that both files hold."""

    a: str
    b: str
    values: tuple[object, object]


@dataclass(frozen=True, eq=False)
class WeightFiles:
    """What is compared of two files."""

    a: str
    b: str
    tensors: tuple[ConvertedTensor, ...]
    settings: tuple[Setting, ...] = ()
    """Those that differ."""
    missing: tuple[tuple[str, str], ...] = ()
    """A's tensor, and the name of the one that B should hold of it and does not."""
    unpaired: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Tensors of A, and of B, that nobody knows the counterpart of."""
    notes: tuple[str, ...] = ()
