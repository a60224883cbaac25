"""Values that the framework's own function gives with another argument, where it has no
description."""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from probe.report import Finding

__all__ = ["called_again"]

_MOST = 200
"""So many calls are made at most."""
_SAME = 1e-5
"""How far values may lie apart, as a share of the largest, that come from the same numbers."""


def called_again(
    kind: str,
    variants: Iterable[tuple[str, tuple[np.ndarray, ...]]],
    given: np.ndarray,
    yours: np.ndarray,
) -> tuple[Finding, ...]:
    """The calls with another argument that give ``yours``, which are not what the framework has
    ``given``."""
    if not yours.size or _apart(given, yours) <= 1:
        return ()
    found: list[tuple[str, float]] = []
    for words, outputs in islice(variants, _MOST):
        left = _apart(outputs[0], yours) if outputs else np.inf
        if left <= 1:
            found.append((words, left))
    return tuple(
        Finding(
            "changed-step",
            f"{kind} called again gives these values where {words}",
            left,
            do="give the function the argument that the model gives it",
            tie=len(found) > 1,
        )
        for words, left in found
    )


def _apart(values: np.ndarray, yours: np.ndarray) -> float:
    """The largest difference in units of what the same numbers may differ by; inf where the shapes
    differ."""
    if values.shape != yours.shape:
        return np.inf
    with np.errstate(all="ignore"):
        apart = np.abs(np.subtract(values, yours, dtype=np.float64)).max(initial=0.0)
        largest = np.abs(yours.astype(np.float64)).max(initial=0.0)
    ratio = float(apart / max(_SAME * largest, 1e-30))
    return ratio if np.isfinite(ratio) else np.inf
