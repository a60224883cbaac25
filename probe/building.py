"""Steps of a layer put together one by one, where they are more than a chain."""

from collections.abc import Sequence

from probe.layer import Ref, Step
from probe.ops import Op, Outputs

__all__ = ["Steps"]


class Steps:
    """``add`` gives what a later step takes: ``x = steps.add(op, x)``."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def add(self, op: Op, *inputs: Ref) -> Ref:
        """A step on these inputs; its first output."""
        self._steps.append(Step(op, inputs))
        return Ref(len(self._steps) - 1)

    def include(self, steps: Sequence[Step], *inputs: Ref) -> tuple[Ref, ...]:
        """All steps of another description, on these inputs in place of its own; the outputs of its last one are the Refs."""
        offset = len(self._steps)

        def moved(ref: Ref) -> Ref:
            return inputs[ref.index] if ref.step < 0 else Ref(ref.step + offset, ref.index)

        self._steps += [Step(step.op, tuple(map(moved, step.sources(position)))) for position, step in enumerate(steps)]
        last = self._steps[-1]
        return last.inputs or () if isinstance(last.op, Outputs) else (Ref(len(self._steps) - 1),)

    def ended(self, *outputs: Ref) -> tuple[Step, ...]:
        """The steps, with these as the outputs of the last one."""
        if len(outputs) > 1 or outputs[0] != Ref(len(self._steps) - 1):
            self.add(Outputs(), *outputs)
        return tuple(self._steps)
