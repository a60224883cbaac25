"""What numbers that were integers before are multiples of."""

import numpy as np

__all__ = ["step_between"]

_MANY, _LEVELS = 64, 256
"""Of so many numbers, and so many levels of 8 bits, a step is read off."""
_HIT = 1e-2
"""How far these may lie off its multiples, in steps."""


def step_between(values: np.ndarray) -> np.ndarray | None:
    """The step of numbers that are the multiples of one, of 8 bits: rows of a table that were
    looked up and dequantised before; None where they are not."""
    if values.dtype.kind != "f" or values.size < _MANY or not np.isfinite(values).all():
        return None
    levels = np.unique(values.astype(np.float64))
    if not 1 < len(levels) <= _LEVELS:
        return None
    span, least = levels[-1] - levels[0], np.diff(levels).min()
    count = round(span / least)
    if not _LEVELS / 8 <= count < _LEVELS:
        return None
    step = span / count
    if np.abs(levels / step - np.round(levels / step)).max() > _HIT:
        return None
    return np.full(values.shape, step)
