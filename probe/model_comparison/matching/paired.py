"""Pairs of tensors of two models: those that a walk finds, and those that are decided before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from probe.comparison.compare import Comparison
from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.weights import Anchor

__all__ = ["Decision", "Exchange", "InputPair", "Paired", "SharedReason", "Source", "Wire"]


class InputPair(NamedTuple):
    """An input of A and one of B that stand for one another, by their places."""

    a: int
    b: int
    way: Way
    """The order of axes of B's, in A's."""


@dataclass(frozen=True, eq=False)
class Source:
    """What takes the place of a tensor of B: a tensor of A, or columns of several."""

    tensors: tuple[Tensor, ...]
    columns: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """Of several: for each the places in the joined axis, and the columns that come there."""
    axis: int = -1
    width: int = 0
    """The length of that axis where some of its places stand for nothing and are zero."""

    @property
    def tensor(self) -> Tensor:
        return self.tensors[0]

    def gathered(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """One array for each tensor -> what takes the place."""
        if not self.columns:
            return arrays[0]
        count = self.width or sum(len(places) for places, _ in self.columns)
        first = np.moveaxis(arrays[0], self.axis, -1)
        out = np.zeros((*first.shape[:-1], count), np.result_type(*arrays))
        for array, (places, columns) in zip(arrays, self.columns, strict=True):
            out[..., places] = np.moveaxis(array, self.axis, -1)[..., columns]
        return np.moveaxis(out, -1, self.axis)


@dataclass(frozen=True, eq=False)
class Paired:
    """A tensor of B, what of A stands for it, and how far B's segment is off."""

    b: Tensor
    a: Source
    way: Way
    how: str
    local: Comparison | None
    """None where B's segment could not be computed from A's tensors."""
    unforced: np.ndarray | None = None
    """What B's segment makes of A's tensors, where it is not what A has."""
    allowed: np.ndarray | None = None
    """In B's axes, of such a pair."""
    fitting: int = 1
    """How many orders of axes would have agreed as well."""
    vague: bool = False
    """Whether the allowance is larger than what the tensor's elements differ by."""
    b_shape: tuple[int, ...] = ()
    origin: Tensor | None = None
    """Of a pair within a segment that failed: where that ended."""


@dataclass(frozen=True, eq=False)
class Wire:
    """A node of B whose input is paired with another tensor than the one A's reads."""

    node: GraphNode
    reads: Tensor
    """Of B."""
    instead: Tensor
    """Of A: what its partner reads."""


class SharedReason(NamedTuple):
    """What several pairs show together, which their descriptions do not say: outputs that are
    exchanged."""

    name: str
    a: str
    b: str
    words: str


class Exchange(NamedTuple):
    """Layers of B that hold each other's weights, or inputs that are taken for each other."""

    reason: SharedReason
    placed: Mapping[GraphNode, Sequence[Anchor]]
    """For nodes of B those of A in whose places they stand."""
    inputs: Mapping[int, int]
    """For inputs of B those of A in whose places they stand."""

    def shows_in(self, paired: Paired, nodes: Sequence[GraphNode]) -> bool:
        """Whether it makes a difference of a pair that these nodes of B lead to."""
        return paired.b.input in self.inputs or any(node in self.placed for node in nodes)


class Decision(NamedTuple):
    """A pair that is decided."""

    a: Tensor
    b: Tensor
    how: str
    way: Way | None = None
    origin: Tensor | None = None
    """As of ``Paired``."""
    only: bool = False
    """Whether no other way is tried."""
