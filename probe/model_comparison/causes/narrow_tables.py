"""Functions that are looked up: a table whose argument is read in steps."""

from typing import Any

import numpy as np

from probe.model_comparison.causes.fraction_bits import EQUAL, SLUG, cut
from probe.ops import Tanh
from probe.report import Finding

__all__ = ["of_softmax", "of_table"]

_ROUNDED = (np.trunc, np.floor, np.rint)
_RANGES = (8.0, 4.0, np.inf)
_OF_TANH = (4.0, 8.0, np.inf)
"""How the argument of a table is rounded, and where tables end."""
_ROUGH = 0.05
"""What the table of 1/sum may do besides."""


def of_table(op: Any, x: np.ndarray, seen: np.ndarray, fraction: int) -> tuple[Finding, ...]:
    """The table of an elementwise function that is too coarse."""
    some = np.unique(np.linspace(0, seen.size - 1, 4096).astype(int))
    x, seen = x.reshape(-1)[some], seen.reshape(-1)[some]
    exact = op.f(x)
    if x.size != seen.size or np.abs(exact - seen).max() <= 2.0**-fraction:
        return ()
    for bits in range(12, -4, -1):
        step = 2.0**-bits
        for rounded in _ROUNDED:
            for end in _OF_TANH if isinstance(op, Tanh) else _RANGES:
                read = np.clip(rounded(x / step) * step, -end, end - step)
                looked_up = op.f(read)
                near = np.abs(cut(looked_up, fraction) - seen) <= 1.01 * 2.0**-fraction
                if np.mean(near) < EQUAL or np.abs(looked_up - exact).max() <= 2.0**-fraction:
                    continue
                moved = float(np.abs(looked_up - exact).max())
                enough = next(
                    (
                        more
                        for more in range(bits, 32)
                        if np.abs(op.f(rounded(x * 2.0**more) / 2.0**more) - exact).max()
                        <= 2.0**-fraction
                    ),
                    32,
                )
                entries = [""] * 2
                if np.isfinite(end):
                    entries = [f" ({int(2 * end * 2.0**exponent)} entries over -{end:g} .. {end:g})"
                               for exponent in (bits, enough)]  # fmt: skip
                claim = (
                    f"the table: its argument is read in steps of {step:g}{entries[0]}, which "
                    f"moves values by up to {moved:.3g}; steps of 2^-{enough} would do"
                )
                do = f"use steps of 2^-{enough}{entries[1]}"
                return (Finding(SLUG, claim, 0.0, do=do),)
    return ()


def of_softmax(op: Any, x: np.ndarray, seen: np.ndarray, fraction: int) -> tuple[Finding, ...]:
    """The table of exponentials that is too coarse."""
    axis = op.axis
    exact = op.run(x)[0]
    below = x.max(axis=axis, keepdims=True) - x
    apart = float(np.abs(exact - seen).max())
    if apart <= 4 * 2.0**-fraction:
        return ()
    best: tuple[float, int] | None = None
    parts_of: dict[int, np.ndarray] = {}
    for bits in range(12, -11, -1):
        parts = parts_of[bits] = np.exp(-np.floor(below * 2.0**bits) / 2.0**bits)
        looked_up = parts / parts.sum(axis=axis, keepdims=True)
        left = float(np.abs(looked_up - seen).max())
        if best is None or left < 0.9 * best[0]:
            best = left, bits
    assert best is not None
    left, bits = best
    if left > 0.25 * apart or left > _ROUGH:
        return ()
    enough = fraction - 1
    more = " or more" if np.ptp(parts_of[bits]) == 0 else ""
    claim = (
        f"the table of exp: distances to the largest value are read in steps of {2.0**-bits:g}"
        f"{more}, which moves values by up to {apart:.3g}; steps of 2^-{enough} would do"
    )
    do = "give the softmax's input fewer integer bits, or its table more entries"
    return (Finding(SLUG, claim, left / apart, do=do),)
