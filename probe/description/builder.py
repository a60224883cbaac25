"""Steps of a layer put together where they are more than a chain: other descriptions taken in whole, and several outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from probe.description.description import Recipe, Ref, Step
from probe.ops import Add, Concat, Constant, Div, Mul, Outputs, Product, Recurrence, Reshape, Transpose

__all__ = ["Steps", "affine_places"]


class Steps(Recipe):
    """``put`` gives what a later step takes: ``x = steps.put(op, x)``."""

    def include(self, steps: Sequence[Step], *inputs: Ref) -> tuple[Ref, ...]:
        """All steps of another description, on these inputs in place of its own; the outputs of its last one are the Refs."""
        offset = len(self.steps)

        def moved(ref: Ref) -> Ref:
            return inputs[ref.index] if ref.step < 0 else Ref(ref.step + offset, ref.index)

        self.steps += [Step(step.op, tuple(map(moved, step.sources(position)))) for position, step in enumerate(steps)]
        last = self.steps[-1]
        return last.inputs or () if isinstance(last.op, Outputs) else (Ref(len(self.steps) - 1),)

    def ended(self, *outputs: Ref) -> tuple[Step, ...]:
        """The steps, with these as the outputs of the last one."""
        if len(outputs) > 1 or outputs[0] != Ref(len(self.steps) - 1) or isinstance(self.steps[-1].op, Recurrence):
            self.put(Outputs(), *outputs)
        return tuple(self.steps)


def affine_places(put: Callable[..., Ref], theta: Ref, batch: int, space: Sequence[int], align: bool) -> Ref:
    """Where the elements of an image lie from -1 to 1, the last axis first and 1 behind, times turned matrices (batch, axes, axes + 1).

    With ``align`` the ends are the middles of the first and last element, else their outer edges. Frameworks count from -1 in equal
    steps, so that the middle is as far off as the ends.
    """
    numbers = np.stack([one.ravel() for one in np.indices(tuple(space))[::-1]], axis=1).astype(np.float64)
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
