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
    "ONNX Runtime keeps or drops a NaN in a maximum or minimum depending on its position",
    "a maximum or minimum with NaN is undefined between engines: NumPy and PyTorch return "
    "NaN, TensorFlow and ONNX Runtime may drop it",
)
PLACE_OF_NAN = EngineDifference(
    np.isnan,
    "ONNX Runtime returns the index of a NaN only if it is the first element",
    "argmax and argmin with NaN are undefined between engines: NumPy and PyTorch return the "
    "index of the NaN, TensorFlow and ONNX Runtime that of another element",
    _lines,
)
ZERO_SHARE_OF_NAN = EngineDifference(
    _odd,
    "ONNX Runtime computes this as a matrix product, in which 0 times NaN or inf is NaN",
    "NaN and inf next to the elements of a weighted sum are undefined between engines: some "
    "multiply them by a weight of 0 (NaN), others skip them",
)
GELU_OF_INF = EngineDifference(
    np.isinf,
    "ONNX Runtime gives inf for an input of inf, where other engines give NaN",
    "GELU of inf is undefined between engines: PyTorch's kernels multiply inf by 0, which "
    "gives NaN; NumPy and ONNX Runtime do not",
)
SIGN_OF_NAN = EngineDifference(
    np.isnan,
    "ONNX Runtime gives NaN for an input of NaN",
    "the sign of NaN is undefined between engines: PyTorch gives 0; NumPy, TensorFlow and "
    "ONNX Runtime give NaN",
)
BEYOND_INTEGERS = EngineDifference(
    lambda x: ~(np.abs(x) < 2.0**7),
    "ONNX Runtime casts NaN and out-of-range values to the lowest integer",
    "casting NaN, inf or an out-of-range value to an integer is undefined between engines",
    _beyond,
)
SQUARES_OVERFLOW = EngineDifference(
    lambda x: np.isfinite(x) & (np.abs(x) > 2.0**60),
    "ONNX Runtime computes squares and powers in float32, which overflows for values this large",
    "squares and powers of values this large lie beyond float32 and overflow in engines that "
    "compute in it",
    anywhere,
)
MEAN_OF_NOTHING = EngineDifference(
    lambda x: np.asarray(not x.size),
    "ONNX Runtime gives 0 for the mean of zero elements",
    "the mean of zero elements is undefined between engines: NumPy, PyTorch and TensorFlow "
    "give NaN, ONNX Runtime gives 0",
)
NAN_IN_GATES = EngineDifference(
    _makes_nan,
    "ONNX Runtime's own sigmoid and tanh in recurrent operators turn NaN into a number",
)
