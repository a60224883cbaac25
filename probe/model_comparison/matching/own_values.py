"""Arrays that no name tells: each stands for the tensor of the model whose values it is nearest to,
where that is much nearer than any other."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from probe.model_comparison.graphs.axes import ways
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.graphs.node_values import signature

__all__ = ["EQUAL", "apart", "by_own_values", "nearest"]

_NEAR = 0.05
"""How far an array may lie from a tensor, as a part of the tensor's deviation."""
_NEARER = 4.0
"""How many times as far the next one of other values must lie."""
EQUAL = 1e-6
"""How far apart the same values are, as a part of their deviation."""
_SAMPLE = 4096
_ORDERS = 24


def by_own_values(
    arrays: Sequence[Tensor], model: ModelGraph, taken: Collection[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(array, tensor of the model) for arrays whose names are not those of layers; none for the
    tensors that are ``taken``."""
    sized: dict[int, list[tuple[Tensor, np.ndarray]]] = defaultdict(list)
    sizes = {array.value.size for array in arrays}
    for tensor in model.tensors:
        if _tells(tensor) and tensor.value.size in sizes and tensor not in taken:
            sized[tensor.value.size].append((tensor, signature(tensor.value)))
    found: dict[Tensor, tuple[float, Tensor]] = {}
    for array in arrays:
        best = _nearest(array.value, sized[array.value.size])
        if best is not None and (best[1] not in found or best[0] < found[best[1]][0]):
            found[best[1]] = best[0], array
    for tensor, (_, array) in found.items():
        yield array, tensor


def _tells(tensor: Tensor) -> bool:
    if tensor.recorded is None or tensor.node is None or tensor.node.layout:
        return False
    return tensor.value.dtype.kind == "f" and tensor.value.size > 1


def nearest(value: np.ndarray, tensors: Sequence[Tensor]) -> tuple[float, Tensor] | None:
    """The tensor of those that an array lies nearest to, and how far it is from it; None where
    none is near, or another one of other values is nearly as near."""
    return _nearest(value, [(tensor, signature(tensor.value)) for tensor in tensors])


def _nearest(
    value: np.ndarray, tensors: Sequence[tuple[Tensor, np.ndarray]]
) -> tuple[float, Tensor] | None:
    if value.dtype.kind != "f" or value.size < 2:
        return None
    mark = signature(value)
    near = []
    for tensor, own in tensors:
        if own[1] > 0 and np.abs(own[:4] - mark[:4]).max() <= _NEAR * own[1]:
            near.append((apart(value, tensor.value), tensor))
    near.sort(key=lambda pair: pair[0])
    if not near or near[0][0] > _NEAR:
        return None
    least, best = near[0]
    for other, tensor in near[1:]:
        same = apart(tensor.value, best.value) <= EQUAL
        if not same and other < max(_NEARER * least, EQUAL):
            return None
    return least, best


def apart(array: np.ndarray, tensor: np.ndarray) -> float:
    """How far two arrays lie apart on the average, as a part of the deviation of the second, in the
    order of axes that brings them nearest."""
    deviation = signature(tensor)[1]
    if not deviation:
        return np.inf
    least = np.inf
    for count, way in enumerate(ways(array.shape, tensor.shape)):
        if count == _ORDERS or least <= EQUAL:
            break
        turned = way.to_b(array)
        step = max(1, turned.size // _SAMPLE)
        with np.errstate(invalid="ignore"):
            error = turned.reshape(-1)[::step].astype(np.float64) - tensor.reshape(-1)[::step]
        rms = float(np.sqrt(np.mean(np.square(error))))
        if rms < least:
            least = rms
    return float(least / deviation)
