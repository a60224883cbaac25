"""The steps of a layer in NumPy, in float64: the recomputation by hand that everything else is held against."""

from collections.abc import Sequence

import numpy as np

from probe.layer import Step

__all__ = ["recompute", "widened"]


def widened(x: np.ndarray) -> np.ndarray:
    """Floats in float64; integers and booleans as they are."""
    return x.astype(np.float64, copy=False) if x.dtype.kind == "f" else x


def recompute(steps: Sequence[Step], inputs: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """The outputs of every step, in order; those of the last one are the layer's."""
    given = [widened(x) for x in inputs]
    values: list[tuple[np.ndarray, ...]] = []
    for position, step in enumerate(steps):
        chosen = [given[ref.index] if ref.step < 0 else values[ref.step][ref.index] for ref in step.sources(position)]
        with np.errstate(all="ignore"):
            values.append(step.op.run(*chosen))
    return values
