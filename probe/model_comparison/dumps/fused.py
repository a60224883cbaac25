"""Projections that another engine computes as one product."""

from collections.abc import Iterator, Mapping

import numpy as np

from probe import printable
from probe.model_comparison.graphs.graph import Tensor

__all__ = ["split"]

_PARTS = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
"""vLLM's and sglang's names, and those of transformers, in the order of the columns."""


def split(
    arrays: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays, those of fused projections in the parts that the model has."""
    found, fused = dict[str, np.ndarray](), list[str]()
    for name, array in arrays.items():
        parts = {} if name in tensors else _parts(name, array, tensors)
        if parts and parts.keys().isdisjoint(arrays):
            found |= parts
            fused.append(name)
        else:
            found[name] = array
    if not fused:
        return found, []
    return found, [
        "fused projections are compared in the parts that the model computes one by one: "
        f"{printable.several(map(printable.name, fused), 4)}"
    ]


def _parts(name: str, array: np.ndarray, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Nothing where the model has no such parts, or they are not as wide."""
    around, _, last = name.rpartition(".")
    names = [f"{around}.{part}" for part in _PARTS.get(last, ())]
    if not names or not all(part in tensors for part in names):
        return {}
    widths = [tensors[part].value.shape[-1] for part in names]
    if array.ndim == 1 and array.size % sum(widths) == 0:
        array = array.reshape(-1, sum(widths))
    for axis in _axes_of(array, sum(widths)):
        return dict(zip(names, np.split(array, np.cumsum(widths)[:-1], axis), strict=True))
    return {}


def _axes_of(array: np.ndarray, length: int) -> Iterator[int]:
    """The axes that are as long, the last one first."""
    yield from (axis for axis in range(array.ndim)[::-1] if array.shape[axis] == length)
