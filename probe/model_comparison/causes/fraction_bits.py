"""Values in a fixed-point type."""

import numpy as np

__all__ = ["EQUAL", "SLUG", "cut"]

EQUAL = 0.98
"""What part of the values must come out as they were written."""
SLUG = "fixed-point"


def cut(x: np.ndarray, bits: int | None) -> np.ndarray:
    """x cut off downwards to so many fraction bits."""
    if bits is None:
        return x
    return np.asarray(np.floor(x * 2.0**bits) / 2.0**bits)
