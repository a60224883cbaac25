"""A call that has no description as a step of a block, in which the framework's own function is
called again: it tells nothing of who is right, and what mistakes before it would give."""

from dataclasses import dataclass, replace

import numpy as np

from probe.description import Description, Ref, Step
from probe.model import CallAgain, Capture, Part
from probe.ops.base import Op

__all__ = ["CalledAgain", "with_calls_again"]


@dataclass(frozen=True, eq=False)
class CalledAgain(Op):
    """What the framework's own function gives."""

    again: CallAgain
    name: str
    output_count = None

    @property
    def in_words(self) -> str:
        """The function's name."""
        return self.name

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        outputs = self.again.run(inputs)
        if not outputs:
            raise ValueError(f"{self.name} refuses these tensors")
        return tuple(y.astype(np.float64) if y.dtype.kind == "f" else y for y in outputs)


def with_calls_again(container: Capture) -> Capture:
    """The container with such steps for its calls that have no description."""
    return replace(container, parts=tuple(map(_with_step, container.parts)))


def _with_step(part: Part) -> Part:
    capture = part.capture
    again = capture.again
    if capture.description is not None or again is None:
        return part
    op = CalledAgain(again, capture.function or capture.kind)
    step = Step(op, tuple(Ref(-1, index) for index in range(len(capture.inputs))))
    return part._replace(capture=replace(capture, description=Description((step,)), why=""))
