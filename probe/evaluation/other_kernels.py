"""Whether values are what the kernel of another engine gives, on the layer's own inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from probe.errors import absorbed
from probe.evaluation.numpy_reference import recompute
from probe.ops.base import Arrays, Op
from probe.ops.step import Step

__all__ = ["NEITHER", "GivenBy", "given_by"]

Ran = Callable[[Op, Arrays, Arrays], None]

NEITHER = "neither is wrong; compare with the engine whose kernel that is"
"""What to do where a kernel of another engine gives the values."""


class GivenBy(NamedTuple):
    """The kernels of other engines that give some values."""

    kernels: Mapping[str, tuple[Step, ...]]
    """Their steps."""
    own: str
    """Whose kernel the layer's own is."""
    apart: np.ndarray
    """How far the values are from its."""

    def claim(self, yours: str = "yours", theirs: str = "the framework") -> str:
        """Whose values are what, in words."""
        *names, last = self.kernels
        who = f"{', '.join(names)} and {last} give" if names else f"{last} gives"
        largest = self.apart.max(initial=0)
        most = f"by up to {largest:g}" if largest > 1 else "by 1, none by more"
        count = np.count_nonzero(self.apart)
        return (
            f"{yours} is what {who}; {theirs} ran {self.own}; {count:,} of {self.apart.size:,} "
            f"values differ {most}: both are TFLite"
        )


def given_by(
    kernels: Mapping[str, tuple[Step, ...]],
    inputs: Sequence[np.ndarray],
    values: np.ndarray,
    ran: Ran | None = None,
) -> GivenBy | None:
    """``kernels`` begin with the layer's own; None where none of the others gives these codes to
    the last bit."""
    if len(kernels) < 2:
        return None
    (own, steps), *others = kernels.items()
    healthy = _codes(steps, inputs, ran)
    if healthy is None or healthy.shape != values.shape or np.array_equal(healthy, values):
        return None
    found: dict[str, tuple[Step, ...]] = {}
    for whose, other in others:
        codes = _codes(other, inputs, ran)
        if codes is not None and np.array_equal(codes, values):
            found[whose] = other
    if not found:
        return None
    return GivenBy(found, own, np.abs(values.astype(np.float64) - healthy))


def _codes(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], ran: Ran | None
) -> np.ndarray | None:
    """What the steps give; None of steps that give several arrays, or no codes."""
    try:
        (codes,) = recompute(steps, inputs, ran=ran)[-1]
    except (MemoryError, ValueError, IndexError, TypeError) as error:
        absorbed(error)
        return None
    return codes if codes.dtype.kind in "iu" else None
