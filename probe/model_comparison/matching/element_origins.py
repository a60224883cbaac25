"""Which elements of A's tensors a tensor of either model holds, followed through steps that only
move them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import GraphNode, Tensor
from probe.model_comparison.graphs.normalize import is_constant
from probe.model_comparison.matching.walk_state import WalkState
from probe.ops import Rearrangement

__all__ = ["ElementOrigin", "channels_of", "is_moved", "name_of", "origin"]

_SHOWN = 4
"""Runs of channels that are told."""


class ElementOrigin(NamedTuple):
    """Tensors of A, and where in these, one behind the other, each element comes from."""

    tensors: Sequence[Tensor]
    places: np.ndarray

    def same(self, other: "ElementOrigin") -> bool:
        """Whether both hold the same elements in the same order."""
        mine, theirs = ([tensor.root for tensor in each.tensors] for each in (self, other))
        return mine == theirs and np.array_equal(self.places.ravel(), other.places.ravel())


def is_moved(tensor: Tensor) -> bool:
    """Whether a step that only moves elements of one tensor gives it."""
    node = tensor.node
    if node is None or not isinstance(node.op, Rearrangement):
        return False
    return all(is_constant(x) is not None for x in node.inputs[1:])


def origin(
    tensor: Tensor, walk: WalkState, of_b: bool, through: bool = False
) -> ElementOrigin | None:
    """What a tensor holds of the tensors of A that stand for some of B's, back to which it is
    followed; ``through`` the first of these, too."""
    line: list[tuple[GraphNode, int]] = []
    while is_moved(tensor):
        if _ends(tensor, walk, of_b):
            if not through:
                break
            through = False
        assert tensor.node is not None
        line.append((tensor.node, tensor.output_of(tensor.node)))
        tensor = tensor.node.inputs[0]
    paired = walk.partner.get(tensor) if of_b else None
    if of_b and paired is None:
        return None
    tensors = [tensor] if paired is None else [*paired.a.tensors]
    labels, start = [], 0
    for held in tensors:
        size = held.value.size
        labels.append(np.arange(start, start + size, dtype=np.float64).reshape(held.value.shape))
        start += size
    places = labels[0]
    if paired is not None:
        places = paired.way.to_b(paired.a.gathered(labels))
    for node, output in reversed(line):
        assert node.op is not None
        places = node.op.run(places, *(x.value for x in node.inputs[1:]))[output]
    return ElementOrigin(tensors, places.astype(np.int64))


def _ends(tensor: Tensor, walk: WalkState, of_b: bool) -> bool:
    """Whether a tensor stands for one of the other model."""
    return tensor in walk.partner if of_b else bool(walk.partners_of_a.get(tensor))


def channels_of(held: ElementOrigin | None) -> str:
    """The channels of tensors, in the order in which they stand, as words; the tensor alone where
    it is a whole one."""
    if held is None:
        return ""
    if len(held.tensors) == 1 and held.places.size == held.tensors[0].value.size:
        return name_of(held.tensors[0])
    first = held.places[:1].ravel()
    starts = np.cumsum([0, *(tensor.value.size for tensor in held.tensors)])
    owners = np.searchsorted(starts, first, side="right") - 1
    channels = np.zeros_like(first)
    for owner, tensor in enumerate(held.tensors):
        own = owners == owner
        channels[own] = _along_one_axis(first[own] - starts[owner], tensor.value.shape)
    runs = []
    for owner, start, stop, step in _runs([*dict.fromkeys(zip(owners, channels, strict=True))]):
        span = str(start) if start == stop else f"{start} to {stop}"
        every = f" by {step}" if step > 1 else ""
        runs.append(f"{span}{every} of {name_of(held.tensors[owner])}")
    return f"channels {printable.several(runs, _SHOWN)}" if runs else ""


def _along_one_axis(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where places of a tensor lie along the axis of which they take the smallest part, of several
    the last."""
    if len(shape) < 2 or not places.size:
        return places
    indices = np.unravel_index(places, shape)[1:]
    parts = [len(np.unique(index)) / size for index, size in zip(indices, shape[1:], strict=True)]
    return np.asarray(indices[len(parts) - 1 - int(np.argmin(parts[::-1]))])


def name_of(tensor: Tensor) -> str:
    """A tensor by its layer, of several outputs with its number."""
    name = printable.name(tensor.name)
    if tensor.node is None or len(tensor.node.outputs) < 2:
        return name
    return f"output {tensor.output_of(tensor.node)} of {name}"


def _runs(held: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """Channels of one tensor that follow each other in even steps: their ends, and the step."""
    place = 0
    while place < len(held):
        owner, start = held[place]
        end, step = place, 0
        while end + 1 < len(held) and held[end + 1][0] == owner:
            ahead = int(held[end + 1][1] - held[end][1])
            if ahead <= 0 or (step and ahead != step):
                break
            step, end = ahead, end + 1
        yield int(owner), int(start), int(held[end][1]), step
        place = end + 1
