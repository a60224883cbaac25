"""The ranges of floating dtypes, and arrays brought from one to another."""

from collections.abc import Sequence

import numpy as np

__all__ = ["LARGEST", "float_of", "flushed", "in_floats", "overflown", "widened"]

LARGEST = {
    "float16": (2 - 2.0**-11) * 2.0**15,
    "bfloat16": (2 - 2.0**-8) * 2.0**127,
    "float32": (2 - 2.0**-24) * 2.0**127,
}
"""The largest number of a dtype and half a unit of its last place: what lies there or beyond is
rounded to infinity."""


def overflown(outputs: Sequence[np.ndarray], dtype: str) -> tuple[np.ndarray, ...]:
    """The outputs with infinities where they lie beyond the range of the layer's dtype."""
    limit = LARGEST.get(dtype)
    if limit is None:
        return tuple(outputs)
    found = []
    for output in outputs:
        if (
            output.dtype.kind == "f"
            and output.size
            and float(np.finfo(output.dtype).max) >= limit
            and _exceeds(output, limit)
        ):
            output = np.where(
                np.abs(output.astype(np.float64)) >= limit, np.copysign(np.inf, output), output
            )
        found.append(output)
    return tuple(found)


def _exceeds(array: np.ndarray, limit: float) -> bool:
    """Whether some value lies at ``limit`` or beyond, infinities included; a sum of squares below
    its square settles most arrays."""
    if array.dtype == np.float64 and array.flags.c_contiguous:
        flat = array.reshape(-1)
        with np.errstate(over="ignore"):
            if float(np.dot(flat, flat)) < limit**2:
                return False
    return bool(
        np.fmax(np.fmax.reduce(array, axis=None), -np.fmin.reduce(array, axis=None)) >= limit
    )


def in_floats(
    inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Integers and booleans in float64 where a layer gives floats alone: it promotes them before it
    computes."""
    if not outputs or any(output.dtype.kind != "f" for output in outputs):
        return tuple(inputs)
    return tuple(x.astype(np.float64) if x.dtype.kind in "biu" else x for x in inputs)


def float_of(x: np.ndarray) -> np.dtype:
    """The dtype that NumPy computes in: float64 for floats of any width, the array's own for
    anything else."""
    if x.dtype.kind == "f":
        return np.dtype(np.float64)
    return x.dtype


def widened(x: np.ndarray) -> np.ndarray:
    """Floats in float64; integers and booleans as they are."""
    return x.astype(float_of(x), copy=False)


def flushed(x: np.ndarray, least: float) -> np.ndarray:
    """Floats with 0 for what is smaller than ``least``."""
    if least and x.dtype.kind == "f":
        return np.where(np.abs(x) < least, np.copysign(0.0, x), x)
    return x
