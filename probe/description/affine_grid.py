"""Grids of affine maps as steps."""

from collections.abc import Sequence

import numpy as np

from probe.description.builder import Builder
from probe.ops import Add, Concat, Div, Mul, Product, Reshape, Transpose
from probe.ops.step import Ref

__all__ = ["affine_places"]


def affine_places(build: Builder, theta: Ref, batch: int, space: Sequence[int], align: bool) -> Ref:
    """Where the elements of an image lie from -1 to 1, the last axis first and 1 behind, times
    turned matrices (batch, axes, axes + 1).

    With ``align`` the ends are the middles of the first and last element, else their outer edges.
    Frameworks count from -1 in equal steps, so that the middle is as far off as the ends.
    """
    numbers = np.stack(
        [indices.ravel() for indices in np.indices(tuple(space))[::-1]], axis=1
    ).astype(np.float64)
    sizes = np.array(list(space)[::-1], np.float64)

    away = build.add(Div(), 2 * numbers, np.maximum(sizes - 1, 1))
    places = build.add(Add(), away, np.where(sizes > 1, -1.0, 0.0))
    if not align:
        places = build.add(Mul(), places, build.add(Div(), np.maximum(sizes - 1, 0), sizes))
    base = build.add(Concat(axis=1), places, np.ones((len(numbers), 1)))
    found = build.add(Product(), base, build.add(Transpose(perm=(0, 2, 1)), theta))
    return build.add(Reshape(shape=(batch, *space, len(sizes))), found)
