"""A user's values of tensors whose integers stand for real numbers: read as those integers, or
brought to them."""

from collections.abc import Sequence

import numpy as np

from probe.description import Grid

__all__ = ["coded", "codes_of"]

_NEAR = 1e-3
"""So many steps from a code a real number is that code: float32 holds it no better."""


def codes_of(
    values: np.ndarray, grid: Grid, slack: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray | float, str]:
    """The codes, how far they may be off, and in words how the values were read.

    Integers are codes; so are whole numbers that the codes' type holds, which a text file has no
    other form for. Other numbers are brought to the nearest code.
    """
    if values.dtype.kind in "iub":
        return values, slack, f"your values are read as codes, {_words(grid)}"
    known = values[np.isfinite(values)].astype(np.float64)
    low, high = grid.bounds
    if (known == np.rint(known)).all() and ((low <= known) & (known <= high)).all():
        return (
            values,
            slack,
            f"your values are whole numbers: they are read as codes, {_words(grid)}",
        )
    with np.errstate(all="ignore"):
        places = values.astype(np.float64) / grid.scale + grid.zero_point
        codes = np.rint(places)
        away = np.abs(places - codes)
        wide = np.asarray(slack, np.float64) / grid.scale
    between = int((away > _NEAR).sum())
    words = f"your values are real numbers: they are compared as the nearest codes, {_words(grid)}"
    if between:
        words += (
            f"; {between:,} of {values.size:,} lie between two codes, by up to "
            f"{np.nanmax(away):.2g} of a step"
        )
    return codes, np.where(away + wide < 0.5, 0.0, np.ceil(wide)), words


def coded(arrays: Sequence[np.ndarray], grids: Sequence[Grid | None]) -> tuple[np.ndarray, ...]:
    """The user's own values of a layer's inputs, real numbers as codes where these stand for
    them."""
    if not grids:
        return tuple(arrays)
    return tuple(
        array if grid is None else codes_of(array, grid)[0]
        for array, grid in zip(arrays, grids, strict=True)
    )


def _words(grid: Grid) -> str:
    if np.size(grid.scale) != 1:
        return "with a scale for each channel"
    scale, zero = (float(np.ravel(part)[0]) for part in (grid.scale, grid.zero_point))
    return f"of scale {scale:.6g} and zero point {zero:g}"
