"""Steps of a layer put together where they are more than a chain: other descriptions taken in
whole, and several outputs."""

from collections.abc import Sequence

from probe.ops import Op, Outputs, Recurrence
from probe.ops.step import Ref, Step

__all__ = ["Recipe", "Steps"]


class Recipe:
    """Steps being put together; ``put`` adds one and gives the Ref of its output."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def put(self, op: Op, *inputs: Ref) -> Ref:
        self.steps.append(Step(op, inputs))
        return Ref(len(self.steps) - 1)


class Steps(Recipe):
    """``put`` gives what a later step takes: ``x = steps.put(op, x)``."""

    def include(self, steps: Sequence[Step], *inputs: Ref) -> tuple[Ref, ...]:
        """All steps of another description, on these inputs in place of its own; the outputs of its
        last one are the Refs."""
        offset = len(self.steps)

        def moved(ref: Ref) -> Ref:
            return inputs[ref.index] if ref.step < 0 else Ref(ref.step + offset, ref.index)

        self.steps += [
            Step(step.op, tuple(map(moved, step.sources(position))))
            for position, step in enumerate(steps)
        ]
        last = self.steps[-1]
        return last.inputs or () if isinstance(last.op, Outputs) else (Ref(len(self.steps) - 1),)

    def ended(self, *outputs: Ref) -> tuple[Step, ...]:
        """The steps, with these as the outputs of the last one."""
        if (
            len(outputs) > 1
            or outputs[0] != Ref(len(self.steps) - 1)
            or isinstance(self.steps[-1].op, Recurrence)
        ):
            self.put(Outputs(), *outputs)
        return tuple(self.steps)
