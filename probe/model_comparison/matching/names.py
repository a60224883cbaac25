"""Arrays by names against the layers of a model: which of them a name stands for."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from probe.model_comparison.graphs.axes import Way
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.matching.dump_names import module_of
from probe.model_comparison.matching.paired import Decision
from probe.model_comparison.matching.walk import walk_again
from probe.model_comparison.matching.walk_state import WalkState

__all__ = [
    "before_activation",
    "by_names",
    "in_one_layout",
    "named_tensors",
    "names_of_layers",
    "repeated",
]

_ACTIVATED = ("_linear", "_relu", "_softmax", "_tanh", "_sigmoid", "_elu", "_selu", "_hard_sigmoid")
"""What hls4ml puts behind a layer's name where it makes a layer of the activation."""
_PLAIN = re.compile(r"[^a-z0-9]+")
_INTO = re.compile(r"[./]")


def by_names(alone: ModelGraph, model: ModelGraph) -> Iterator[tuple[Tensor, Tensor]]:
    """(array, tensor of the model) of one name: exactly, else but for case and punctuation; for
    each tensor the first array."""
    seen: set[Tensor] = set()
    for array, tensor in _named(alone, model):
        if tensor not in seen:
            seen.add(tensor)
            yield array, tensor


def repeated(alone: ModelGraph, model: ModelGraph) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(array, the first array, tensor of the model) where several names stand for one tensor, as
    those of a block and of its last layer."""
    first: dict[Tensor, Tensor] = {}
    for array, tensor in _named(alone, model):
        if first.setdefault(tensor, array) is not array:
            yield array, first[tensor], tensor


def named_tensors(model: ModelGraph) -> dict[str, Tensor]:
    """What the calls and the blocks of a model give, by their names."""
    exact: dict[str, Tensor] = {}
    for tensor in model.tensors:
        if tensor.recorded is not None and tensor.node is not None:
            exact[tensor.name] = tensor
    return exact | {name: tensor for name, tensor in _blocks(model).items() if name not in exact}


def _named(alone: ModelGraph, model: ModelGraph) -> Iterator[tuple[Tensor, Tensor]]:
    exact = named_tensors(model)
    plain: dict[str, list[Tensor]] = {}
    names = {array.stands_for for array in alone.loose}
    for name, tensor in exact.items():
        plain.setdefault(_plain(name), []).append(tensor)
    for array in alone.loose:
        name = array.stands_for
        match = exact.get(name)
        if match is not None and any(f"{name}{end}" in names for end in _ACTIVATED):
            match = before_activation(match)
        for end in _ACTIVATED:
            if match is None and name.endswith(end):
                match = exact.get(name.removesuffix(end))
        if match is None:
            alike = plain.get(_plain(name), [])
            match = alike[0] if len(alike) == 1 else None
        if match is None and (module := module_of(name, exact)) is not None:
            holders = [other for other in exact.values() if _holds_numbers_of(array, other)]
            if not holders or _holds_numbers_of(array, exact[module]):
                match = exact[module]
        if match is not None:
            yield array, match


def _holds_numbers_of(array: Tensor, other: Tensor) -> bool:
    """Whether two arrays hold the same numbers, in whatever order of axes."""
    if array.value.size != other.value.size or other is array:
        return False
    mine, theirs = (np.sort(tensor.value, axis=None) for tensor in (array, other))
    with np.errstate(all="ignore"):
        return bool(np.allclose(mine, theirs, rtol=1e-4, atol=1e-6 * np.abs(theirs).max()))


def in_one_layout(walk: WalkState) -> WalkState:
    """The walk, once more where an array agrees with the model's tensor only in axes that the other
    arrays of its rank are not in, though it has the shape for theirs: one program writes all."""
    counts: dict[int, Counter[Way]] = {}
    for way in (paired.way for paired in walk.pairs):
        if _moved(way):
            counts.setdefault(len(way.perm), Counter())[way] += 1
    decisions: list[Decision] = []
    odd = False
    for decided in walk.decisions:
        paired = walk.partner.get(decided.b)
        if paired is not None and _moved(paired.way):
            usual = max(counts[len(paired.way.perm)].items(), key=_preferred)[0]
            shape = decided.a.value.shape
            if tuple(shape[k] for k in usual.perm) == paired.b_shape:
                odd = odd or (paired.way != usual and walk.agrees(decided.b))
                decided = decided._replace(way=usual, only=True)
        decisions.append(decided)
    if odd:
        return walk_again(walk, decisions=decisions)
    return walk


def _moved(way: Way) -> bool:
    return way.merged is None and len(way.perm) > 2


def _preferred(counted: tuple[Way, int]) -> tuple[int, bool]:
    """By how many arrays are in that order; of as many the one where nothing moves."""
    way, count = counted
    return count, not way.text


def names_of_layers(model: ModelGraph) -> frozenset[str]:
    """The names of a model's calls and of the blocks around them."""
    names = {node.call.name for node in model.nodes}
    return frozenset(names.union(*map(_around, names)))


def _blocks(model: ModelGraph) -> dict[str, Tensor]:
    """What the blocks of a model give: the one tensor made within that is read outside."""
    read: dict[str, set[Tensor]] = {}
    for tensor in model.tensors:
        if tensor.recorded is None or tensor.node is None:
            continue
        readers = [_around(reader.call.name) for reader in tensor.consumers]
        for block in _around(tensor.name):
            if not readers or any(block not in blocks for blocks in readers):
                read.setdefault(block, set()).add(tensor)
    return {block: next(iter(tensors)) for block, tensors in read.items() if len(tensors) == 1}


def _around(name: str) -> frozenset[str]:
    """The blocks that hold a call: of "features.9/concat" these are features and features.9."""
    ends = [separator.start() for separator in _INTO.finditer(name)]
    return frozenset(name[:end] for end in ends if end)


def before_activation(tensor: Tensor) -> Tensor:
    """What a layer has before the activation that it ends with."""
    node = tensor.node
    while node is not None and node.layout:
        node = node.inputs[0].node
    if node is None or len(node.inputs) != 1:
        return tensor
    before = node.inputs[0]
    if before.node is None or before.node.call is not node.call:
        return tensor
    return before


def _plain(name: str) -> str:
    return _PLAIN.sub("_", name.lower()).strip("_")
