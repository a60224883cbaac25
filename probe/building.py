"""Steps of a layer put together one by one, where they are more than a chain."""

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

    def ended(self, *outputs: Ref) -> tuple[Step, ...]:
        """The steps, with these as the outputs of the last one."""
        if len(outputs) > 1 or outputs[0] != Ref(len(self._steps) - 1):
            self.add(Outputs(), *outputs)
        return tuple(self._steps)
