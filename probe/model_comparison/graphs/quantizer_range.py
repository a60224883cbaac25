"""What the range of a quantiser cuts off, by choice or as an operation."""

import numpy as np

__all__ = ["beyond_range", "cut_off"]

_SATURATED = 20.0
"""The mean square of what a range cuts off, in squares of its step, that the choice of a range may
cost: calibration takes a little loss there for finer steps. Half the right range costs 50 and more.
"""


def cut_off(x: np.ndarray, low: float, high: float, step: float) -> np.ndarray:
    """x within the range of a quantiser; at an end where little lies beyond, that is the choice of
    the range and stays, at the other the cut is an operation, as a ReLU, or a fault."""
    least, most = _little(low - x, step), _little(x - high, step)
    if not least:
        x = np.maximum(x, low)
    if not most:
        x = np.minimum(x, high)
    return x


def _little(beyond: np.ndarray, step: float) -> bool:
    return bool(np.mean(np.maximum(beyond, 0.0) ** 2) <= _SATURATED * step**2)


def beyond_range(x: np.ndarray, low: float, high: float, step: float) -> int:
    """How many values lie beyond an end of the range that is no operation."""
    outside = ((beyond - step / 2, beyond) for beyond in (low - x, x - high))
    return sum(int((far > 0).sum()) for far, beyond in outside if _little(beyond, step))
