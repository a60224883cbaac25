"""What is captured of a pass: the calls of operations, and blocks of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from probe.description import Description
from probe.model import Argument, CallOutput, Capture, ModelInput, Part, Producer

from .blocks import SavedBlock
from .outline import Operation, Outline, SavedTensor, SignatureRun

__all__ = ["BLOCK", "WHOLE", "CapturedRun", "captured"]

WHOLE, BLOCK = "graph", "name scope"
"""The kinds of the signature as a whole, and of its blocks."""


@dataclass(frozen=True, eq=False)
class CapturedRun:
    """A pass as far as it has come."""

    operations: Mapping[str, Operation]
    made_by: dict[str, Producer]
    """By the names of the tensors, as everything here."""
    values: dict[str, np.ndarray] = field(default_factory=dict)
    described: dict[str, tuple[Description | None, str]] = field(default_factory=dict)
    calls: dict[str, Capture] = field(default_factory=dict)
    """By the names of the operations."""

    def ran(self, run: SignatureRun) -> None:
        """Takes what was evaluated in the place of what was before."""
        self.values.update(run.values)
        self.described.update(run.described)

    def call(self, name: str) -> Capture:
        """The call of an operation; what it gives is known as its own from here on."""
        operation = self.operations[name]
        described, why = self.described[name]
        self.calls[name] = Capture(
            layer=name,
            kind=operation.kind,
            call=0,
            inputs=self._arrays(tensor.name for tensor in operation.taken),
            outputs=self._arrays(tensor.name for tensor in operation.outputs),
            dtype=operation.dtype,
            description=described,
            why=why,
            made_by=self._makers(operation.taken),
            input_names=tuple(tensor.operation for tensor in operation.taken),
        )
        for number, output in enumerate(operation.outputs):
            self.made_by[output.name] = CallOutput(name, 0, number)
        return self.calls[name]

    def block(self, name: str, block: SavedBlock) -> Capture:
        """A block whose operations have been called."""
        missing = [tensor for tensor in block.taken if tensor.name not in self.values]
        why = f"it takes a {missing[0].dtype}, not a tensor of numbers" if missing else ""
        taken = tuple(tensor for tensor in block.taken if tensor not in missing)
        return Capture(
            layer=name,
            kind=BLOCK if name else WHOLE,
            call=0,
            inputs=self._arrays(tensor.name for tensor in taken),
            outputs=self._arrays(block.outputs),
            dtype="float32",
            why="a graph is composed of its operations",
            made_by=self._makers(taken),
            input_names=tuple(tensor.operation for tensor in taken),
            parts=tuple(
                Part(self.calls[part], self.operations[part].weights) for part in block.operations
            ),
            results=tuple(self.made_by.get(key) for key in block.outputs if key in self.values),
            unseen=lambda: why,
        )

    def _arrays(self, names: Iterable[str]) -> tuple[np.ndarray, ...]:
        return tuple(self.values[name] for name in names if name in self.values)

    def _makers(self, tensors: Sequence[SavedTensor]) -> tuple[Producer | None, ...]:
        return tuple(self.made_by.get(tensor.name) for tensor in tensors)


def captured(
    outline: Outline,
    given: Sequence[SavedTensor],
    blocks: Mapping[str, SavedBlock],
    called: Collection[str],
) -> CapturedRun:
    """A pass that begins, on these tensors, in which such operations are called."""
    made_by: dict[str, Producer] = {
        tensor.name: ModelInput(place) for place, tensor in enumerate(given)
    }
    made = {tensor.name for name in called for tensor in outline.operations[name].outputs}
    for name, block in blocks.items():
        for place, tensor in enumerate(block.taken):
            if tensor.name not in made:
                made_by.setdefault(tensor.name, Argument(name, 0, place))
    return CapturedRun(outline.operations, made_by)
