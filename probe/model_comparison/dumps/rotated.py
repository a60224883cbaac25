"""Queries and keys whose features llama.cpp has in the order of its rotary embedding."""

from collections.abc import Iterator, Mapping

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.dump_names import block_of, is_rotated
from probe.model_comparison.matching.own_values import apart

__all__ = ["in_halves", "in_pairs", "unpermuted"]

_NEAR = 0.05
"""As in ``own_values``: how far an array may lie from the tensor that it stands for."""
_NEARER = 0.25


def unpermuted(
    arrays: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays, the queries and keys of llama.cpp with their features in the model's order where
    they are in that of its conversion: pairs that are rotated together, one after another, and not
    the halves of a head."""
    found, moved = dict(arrays), list[str]()
    for name, array in arrays.items():
        if not is_rotated(name) or array.ndim < 2:
            continue
        block = block_of(name)
        own = [
            tensor
            for other, tensor in tensors.items()
            if block_of(other) == block and tensor.value.size == array.size
        ]
        least = min((apart(array, tensor.value) for tensor in own), default=0.0)
        for turned in _turned(array):
            distance = min((apart(turned, tensor.value) for tensor in own), default=np.inf)
            if distance < min(_NEAR, _NEARER * least):
                least, found[name] = distance, turned
        if found[name] is not array:
            moved.append(name)
    if not moved:
        return found, []
    return found, [
        f"the features of {printable.several(map(printable.name, moved), 4)} are in the order of "
        "llama.cpp's rotary embedding (pairs one after another); they were put in the model's "
        "(halves of each head)"
    ]


def _lengths(width: int) -> list[int]:
    """The lengths that a head may have, two pairs or more."""
    return [length for length in range(4, width + 1, 2) if width % length == 0]


def _turned(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array with its features in the other order, for each length that a head may have."""
    for axis in (array.ndim - 1, 0):
        features = np.moveaxis(array, axis, -1)
        for length in _lengths(array.shape[axis]):
            yield np.moveaxis(in_halves(features, length), -1, axis)


def in_halves(features: np.ndarray, length: int) -> np.ndarray:
    """The last axis with the halves of each head, where it has pairs one after another."""
    pairs = features.reshape(*features.shape[:-1], -1, length // 2, 2)
    return pairs.swapaxes(-1, -2).reshape(features.shape)


def in_pairs(features: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """The last axis in pairs, where it has the halves of each head, and the length of a head: each
    that it may have."""
    for length in _lengths(features.shape[-1]):
        halves = features.reshape(*features.shape[:-1], -1, 2, length // 2)
        yield halves.swapaxes(-1, -2).reshape(features.shape), length
