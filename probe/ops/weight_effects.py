"""How far the elements of a weight move an output, from what each is multiplied by."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["affordable", "by_group", "of_broadcast", "of_channels", "of_products", "sizes"]

_MOST = 1 << 27
"""So many products at most tell which inputs and outputs meet: a few milliseconds."""
_LARGEST = 1e150
_LEAST = 1e-15
"""The least that counts beside the largest, so that no product of two is lost in float32."""


def sizes(x: np.ndarray) -> np.ndarray:
    """How large each element is; of NaN and of what is infinite, which show everywhere, a number
    that products of two still hold."""
    size = np.abs(x).astype(np.float64, copy=False)
    return np.where(size <= _LARGEST, size, _LARGEST)


def affordable(count: int, worth: np.ndarray) -> bool:
    """Whether ``count`` inputs may be multiplied with all outputs (..., rows, out) of their row."""
    return count * worth.shape[-1] <= _MOST


def of_products(x: np.ndarray, worth: np.ndarray | None) -> np.ndarray:
    """For products x (..., rows, in) @ weight (..., in, out): how far each element of the weight
    moves some output at least, in units in which outputs (..., rows, out) are ``worth`` so much
    (None: 1 each).

    It broadcasts to (..., in, out), and is 0 exactly where each row has a 0 in x or in worth.
    """
    largest = x.max(axis=-2, initial=0.0)[..., None]
    if worth is None:
        return largest
    if worth.all():
        return largest * worth.min(axis=-2, initial=_LARGEST)[..., None, :]
    left, by_left = _scaled(x)
    right, by_right = _scaled(worth)
    product = np.matmul(left.swapaxes(-1, -2), right).astype(np.float64)
    return product * (by_left * by_right / max(1, x.shape[-2]))


def _scaled(array: np.ndarray) -> tuple[np.ndarray, float]:
    """An array in float32 whose largest number is 1, and that number."""
    largest = float(array.max(initial=0.0)) or 1.0
    part = array / largest
    return np.where(part > 0, np.maximum(part, _LEAST), 0.0).astype(np.float32), largest


def by_group(array: np.ndarray, groups: int) -> np.ndarray:
    """(batch, channel, *spatial) as (groups, rows, channels of the group)."""
    batch, channels, *sizes = array.shape
    split = array.reshape(batch, groups, channels // groups, -1)
    return split.transpose(1, 0, 3, 2).reshape(groups, batch * math.prod(sizes), channels // groups)


def of_channels(
    x: np.ndarray, worth: np.ndarray | None, axes: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """For a weight that each element of an output has its own element of, or shares along
    ``axes``, x being what it is multiplied by: as ``of_products``, in the weight's ``shape``."""
    if worth is None:
        each = sizes(x)
    else:
        each = np.where(worth > 0, sizes(x) * worth, 0.0)
    return each.max(axis=tuple(axes), initial=0.0).reshape(shape)


def of_broadcast(x: np.ndarray, worth: np.ndarray | None, shape: Sequence[int]) -> np.ndarray:
    """The same for a weight of ``shape`` that is broadcast to what x is."""
    whole = np.broadcast_shapes(x.shape, tuple(shape))
    lead = len(whole) - len(shape)
    shared = [lead + axis for axis, size in enumerate(shape) if size == 1]
    return of_channels(np.broadcast_to(x, whole), worth, [*range(lead), *shared], shape)
