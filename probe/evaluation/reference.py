"""A layer in NumPy on one set of inputs, with its allowances."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probe.evaluation.allowance import allowances
from probe.evaluation.numpy_reference import recompute
from probe.numerics.dtypes import overflown, widened
from probe.numerics.precision import Precision, precision_of, stored_in
from probe.ops import Recurrence
from probe.ops.step import Step

__all__ = ["Reference", "recomputed"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A layer in NumPy on one set of inputs."""

    steps: Sequence[Step]
    given: Sequence[np.ndarray]
    """The inputs as they came."""
    values: list[tuple[np.ndarray, ...]]
    """The outputs of every step."""

    @cached_property
    def inputs(self) -> list[np.ndarray]:
        """The inputs in float64, where they are needed so."""
        return [widened(x) for x in self.given]

    @cached_property
    def recurrent(self) -> bool:
        """Whether a step is a recurrence."""
        return any(isinstance(step.op, Recurrence) for step in self.steps)

    def first_look(self, dtype: str) -> Precision:
        """The arithmetic that a layer of that dtype is held against first. Kernels of recurrences
        round each operation to it."""
        return precision_of(dtype) if self.recurrent else stored_in(dtype)

    @property
    def used(self) -> list[np.ndarray]:
        """The inputs that a step is applied to."""
        places = {
            ref.index
            for position, step in enumerate(self.steps)
            for ref in step.sources(position)
            if ref.step < 0
        }
        return [self.given[place] for place in sorted(places)]

    def taken(self, position: int) -> list[np.ndarray]:
        """What a step is applied to, the call's inputs as they came."""
        sources = self.steps[position].sources(position)
        return [ref.of(self.given, self.values) for ref in sources]

    def bound(self, dtype: str) -> None:
        """Makes infinite what lies beyond the range of the layer's dtype."""
        self.values[-1] = overflown(self.values[-1], dtype)

    def allowances(self, precision: Precision) -> tuple[np.ndarray, ...]:
        as_given = all(step.op.takes_any_float for step in self.steps) and not precision.lossy
        return allowances(
            self.steps, self.given if as_given else self.inputs, self.values, precision
        )


def recomputed(steps: Sequence[Step], given: Sequence[np.ndarray]) -> Reference:
    """The steps in NumPy."""
    return Reference(steps, given, recompute(steps, given))
