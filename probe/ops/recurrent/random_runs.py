"""Runs of a recurrence side by side, in which every step is moved at random by what rounding may do
to it, and how far they lie from the run that was not moved."""

from collections.abc import Sequence

import numpy as np

from probe.numerics.precision import SIGMAS

__all__ = ["RandomRuns"]

_SEEN = 64
"""How many numbers at least tell how far the states of one step wander."""


class RandomRuns:
    """Copies of the samples, at least so many, each of which rounds otherwise; ``steady`` is what a
    copy's states are moved by at every step, beside what is drawn for each."""

    def __init__(self, states: Sequence[np.ndarray], least: int) -> None:
        self.copies = int(np.clip(-(-_SEEN // max(1, states[0].size)), least, _SEEN))
        self.rng = np.random.default_rng(0)
        self.steady = [
            self.rng.standard_normal((self.copies * len(state), *state.shape[1:]))
            for state in states
        ]

    def tiled(self, array: np.ndarray) -> np.ndarray:
        """An array (batch, ...), once for each copy."""
        return np.tile(array, (self.copies, *(1,) * (array.ndim - 1)))

    def drawn(self, slack: np.ndarray) -> np.ndarray:
        """Moves of which SIGMAS times the scale is ``slack``."""
        scale = self.tiled(slack / SIGMAS)
        return self.rng.standard_normal(scale.shape) * scale

    def moved(
        self, states: Sequence[np.ndarray], slacks: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, ...]:
        """The states after a step, moved by what that step may be off by."""
        return tuple(
            state + self.drawn(slack) + always * self.tiled(slack / SIGMAS)
            for state, slack, always in zip(states, slacks, self.steady, strict=True)
        )

    def sides(self, shape: tuple[int, ...]) -> np.ndarray:
        """Which half of the copies takes which side of a threshold, for each element of a state."""
        sides = self.rng.integers(0, 2, shape)
        return sides + np.arange(self.copies).reshape(-1, *(1,) * len(shape))

    def spread(self, moved: np.ndarray, still: np.ndarray) -> np.ndarray:
        """SIGMAS times the scale at which copies lie about ``still``; at least that of all."""
        with np.errstate(all="ignore"):
            apart = np.square(moved.reshape(self.copies, *still.shape) - still).mean(axis=0)
        apart = np.where(np.isfinite(apart), apart, 0.0)
        return SIGMAS * np.sqrt(np.maximum(apart, apart.mean() if apart.size else 0.0))
