"""One run of a node, as a description is made of it (``describe.describe_node``)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe.description import Ref, Value

from .kernels import Kernel
from .schema import Node, Subgraph, Tensor

__all__ = ["NodeCall", "Operand"]


@dataclass(frozen=True, eq=False)
class Operand:
    """One tensor that a node takes or gives."""

    tensor: Tensor
    array: np.ndarray
    """Codes or numbers as the run had them: its shape is the run's, not the file's."""
    value: Value | None = None
    """What the steps take for it: a Ref for an input of the call, a Weight for a constant, whose
    ``stored`` are its codes and ``effective`` what they stand for. None of what the node gives."""


@dataclass(frozen=True, eq=False)
class NodeCall:
    node: Node
    operands: tuple[Operand | None, ...]
    """One for each of ``node.inputs``; None where it is left out."""
    outputs: tuple[Operand, ...]
    kernel: Kernel
    subgraphs: tuple[Subgraph, ...] = ()
    """Those of the file: what control flow runs."""
    run_subgraph: Callable[[int, Sequence[np.ndarray]], Mapping[int, np.ndarray]] | None = None
    """Runs one of them alone on its inputs; gives every tensor in it by index."""

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """The arrays behind the Refs, in their order: the inputs of the capture."""
        return tuple(
            operand.array
            for operand in self.operands
            if operand is not None and isinstance(operand.value, Ref)
        )
