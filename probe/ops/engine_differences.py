"""Where engines are known to differ although none is at fault (``Op.engine_differences``): each was
seen in ONNX Runtime, and a test sees it again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "BEYOND_INTEGERS",
    "GELU_OF_INF",
    "MEAN_OF_NOTHING",
    "NAN_IN_EXTREME",
    "NAN_IN_GATES",
    "PLACE_OF_NAN",
    "SIGN_OF_NAN",
    "SQUARES_OVERFLOW",
    "ZERO_SHARE_OF_NAN",
    "EngineDifference",
    "anywhere",
]


@dataclass(frozen=True)
class EngineDifference:
    """A difference that an op shows where its first input holds a value."""

    holds: Callable[[np.ndarray], Any]
    """Finds such values."""
    sentence: str
    """What ONNX Runtime does, as a sentence about it."""
    undefined: str = ""
    """What is to be said where others are apart as well; empty where they are not known to be."""
    touches: Callable[[Any, np.ndarray], np.ndarray] | None = None
    """Which elements of the op's output it changes to other numbers; None where it only moves NaN
    and inf."""
    applies: Callable[[Any], bool] = lambda op: True
    """Whether an op that names it may show it."""


def _odd(x: np.ndarray) -> np.ndarray:
    return ~np.isfinite(x)


def _makes_nan(x: np.ndarray) -> np.ndarray:
    """Where products with the input are NaN, or may be: of two infinities the difference is."""
    return np.asarray(np.isnan(x).any(axis=-1) | (np.isinf(x).sum(axis=-1) > 1))


def _lines(op: Any, x: np.ndarray) -> np.ndarray:
    """The lines along the op's axis that hold NaN."""
    return np.asarray(np.isnan(x).any(axis=op.axis, keepdims=op.keepdims))


def _beyond(op: Any, x: np.ndarray) -> np.ndarray:
    """What no integer of the type stands for."""
    if np.dtype(op.to if op.to != "bfloat16" else "float32").kind not in "iu":
        return np.zeros(x.shape, bool)
    limits = np.iinfo(op.to)
    with np.errstate(invalid="ignore"):
        return ~((x > float(limits.min) - 1) & (x < float(limits.max) + 1))


def anywhere(*given: Any) -> np.ndarray:
    return np.asarray(True)


NAN_IN_EXTREME = EngineDifference(
    np.isnan,
    "ONNX Runtime keeps or drops a NaN among the elements of a maximum or minimum by its place",
    "NaN among the elements of a maximum or minimum is undefined between engines: NumPy and "
    "PyTorch keep it, TensorFlow and ONNX Runtime may drop it",
)
PLACE_OF_NAN = EngineDifference(
    np.isnan,
    "ONNX Runtime names a NaN only where it stands first",
    "the place of the largest or smallest element is undefined between engines where NaN is among "
    "them: NumPy and PyTorch name the NaN, TensorFlow and ONNX Runtime another element",
    _lines,
)
ZERO_SHARE_OF_NAN = EngineDifference(
    _odd,
    "the shares of the elements are a matrix there, and 0 times NaN or inf is NaN",
    "NaN and inf beside a weighted sum are undefined between engines: some multiply them by a "
    "weight of 0, which gives NaN, and some leave them out",
)
GELU_OF_INF = EngineDifference(
    np.isinf,
    "ONNX Runtime gives inf for inf, which in other kernels is NaN",
    "GELU of inf is undefined between engines: PyTorch's kernels multiply inf by 0 and give NaN, "
    "NumPy and ONNX Runtime do not",
)
SIGN_OF_NAN = EngineDifference(
    np.isnan,
    "ONNX Runtime keeps NaN",
    "the sign of NaN is undefined between engines: PyTorch gives 0, NumPy, TensorFlow and ONNX "
    "Runtime NaN",
)
BEYOND_INTEGERS = EngineDifference(
    lambda x: ~(np.abs(x) < 2.0**7),
    "ONNX Runtime gives the lowest integer for NaN and what lies beyond the range",
    "the integer of NaN, of inf and of what lies beyond the range is undefined between engines",
    _beyond,
)
SQUARES_OVERFLOW = EngineDifference(
    lambda x: np.isfinite(x) & (np.abs(x) > 2.0**60),
    "ONNX Runtime takes squares or powers in float32, where those of such large numbers overflow",
    "squares and powers of such large numbers lie beyond float32, and overflow in engines that "
    "compute in it",
    anywhere,
)
MEAN_OF_NOTHING = EngineDifference(
    lambda x: np.asarray(not x.size),
    "ONNX Runtime gives 0 for the mean of no elements",
    "the mean of no elements is undefined between engines: NumPy, PyTorch and TensorFlow give "
    "NaN, ONNX Runtime 0",
)
NAN_IN_GATES = EngineDifference(
    _makes_nan,
    "ONNX Runtime's own sigmoid and tanh in recurrences make a number of NaN",
)
