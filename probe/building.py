"""Steps of a layer put together where they are more than a chain: other descriptions taken in whole, and several outputs."""

from collections.abc import Sequence

from probe.layer import Recipe, Ref, Step
from probe.ops import Outputs, Recurrence

__all__ = ["Steps"]


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
