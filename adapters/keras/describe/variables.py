"""Keras' variables as arrays and as weights."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from probe.description import Weight
from probe.errors import Undescribed

__all__ = ["array_of", "cast", "read_variable", "widened"]

Reader = Callable[[str, Any, str | None], Weight]


def widened(array: np.ndarray) -> np.ndarray:
    """bfloat16 as float32, which is exact; anything else as it is."""
    if array.dtype == ml_dtypes.bfloat16:
        return array.astype(np.float32)
    return array


def array_of(variable: Any, namespace: Any) -> np.ndarray:
    """A variable as it is stored, also inside a call, where Keras would cast it."""
    if namespace.__name__ == "keras":
        if not isinstance(variable, namespace.Variable):
            raise Undescribed("one of its weights is computed, not a variable")
        # `Variable.value` obeys the AutocastScope of the call that is on; `_value` is what is
        # stored.
        value = variable._value
        # Unlike `read_value()`, TensorFlow's `value()` goes through no second operation.
        if hasattr(value, "read_value"):
            return shared(value.value())
        return _owned(namespace.ops.convert_to_numpy(value))
    if not hasattr(type(variable), "assign"):
        raise Undescribed("one of its weights is computed, not a variable")
    return _owned(variable.numpy())


def shared(tensor: Any) -> np.ndarray:
    """The memory of an eager TensorFlow tensor, which nobody writes to: a variable that is assigned
    to takes new memory."""
    if getattr(tensor.dtype, "name", "") == "bfloat16" or not tensor.shape.rank:
        return _owned(tensor.numpy())
    array = np.asarray(memoryview(tensor))
    array.flags.writeable = False
    return array


def _owned(array: np.ndarray) -> np.ndarray:
    if array.flags.owndata:
        return array
    return np.array(array)


def cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """A float array rounded to ``dtype`` (bfloat16 comes back widened)."""
    return widened(array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))


def read_variable(namespace: Any) -> Reader:
    """The plain reader: what is stored, and the same cast to the dtype that the layer computes in
    (None: not cast)."""

    def read(name: str, variable: Any, dtype: str | None) -> Weight:
        array = array_of(variable, namespace)
        stored = widened(array)
        if dtype is None or array.dtype.name == dtype:
            return Weight(name, stored, stored)
        return Weight(
            name, stored, cast(array, dtype), (f"cast from {array.dtype.name} to {dtype}",)
        )

    return read
