"""Grids of affine maps as steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probe.ops import Add, Concat, Constant, Div, Mul, Product, Reshape, Transpose
from probe.ops.step import Ref

__all__ = ["affine_places"]


def affine_places(
    put: Callable[..., Ref], theta: Ref, batch: int, space: Sequence[int], align: bool
) -> Ref:
    """Where the elements of an image lie from -1 to 1, the last axis first and 1 behind, times
    turned matrices (batch, axes, axes + 1).

    With ``align`` the ends are the middles of the first and last element, else their outer edges.
    Frameworks count from -1 in equal steps, so that the middle is as far off as the ends.
    """
    numbers = np.stack([one.ravel() for one in np.indices(tuple(space))[::-1]], axis=1).astype(
        np.float64
    )
    sizes = np.array(list(space)[::-1], np.float64)

    def constant(value: Any) -> Ref:
        return put(Constant(value=np.asarray(value, np.float64)))

    away = put(Div(), constant(2 * numbers), constant(np.maximum(sizes - 1, 1)))
    places = put(Add(), away, constant(np.where(sizes > 1, -1.0, 0.0)))
    if not align:
        places = put(Mul(), places, put(Div(), constant(np.maximum(sizes - 1, 0)), constant(sizes)))
    base = put(Concat(axis=1), places, constant(np.ones((len(numbers), 1))))
    found = put(Product(), base, put(Transpose(perm=(0, 2, 1)), theta))
    return put(Reshape(shape=(batch, *space, len(sizes))), found)
