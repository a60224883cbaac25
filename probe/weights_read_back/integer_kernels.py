"""The kernels of a layer as a converter stores them in integers of few bits: all, or those of a
kind alike."""

from collections.abc import Callable, Iterator

import numpy as np

from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__ = ["in_integers"]

Rounding = Callable[[np.ndarray], np.ndarray]

_MODES: dict[str, Rounding] = {
    "rounded to the nearest": np.round,
    "rounded down": np.floor,
    "cut off": np.trunc,
}
_SCALES: dict[int | None, str] = {
    None: "one scale",
    0: "a scale for each slice of its first axis",
    -1: "a scale for each slice of its last axis",
}
_NEXT = (0.0, 2.0**-22, -(2.0**-22))
"""By which share of itself a kernel's largest number may lie beside a whole number in float32."""
_LARGE = 1 << 20


def in_integers(case: Case) -> Iterator[Edit]:
    """The kernels of several steps in integers, each with its own scale."""
    kernels = {
        name: weight
        for name, weight in case.weights.items()
        if weight.effective.ndim > 1 and weight.effective.dtype.kind == "f" and weight.grid is None
    }
    size = sum(weight.effective.size for weight in kernels.values())
    for names in _groups(kernels) if len(kernels) > 1 and size <= _LARGE else ():
        for bits in (8, 4):
            for axis, words in _SCALES.items():
                for mode, rounded in _MODES.items():
                    claim = f"{', '.join(names)} are held in integers of {bits} bits, each with "
                    claim += f"{words}, "
                    for by in _NEXT if rounded is not np.round else _NEXT[:1]:
                        arrays = {
                            name: _quantised(kernels[name], bits, axis, rounded, by)
                            for name in names
                        }
                        yield case.edit(claim + mode, case.with_weights(arrays))


def _groups(kernels: dict[str, Weight]) -> list[tuple[str, ...]]:
    """All, those of one kernel size, and those that are computed from what is stored."""
    kinds: dict[object, list[str]] = {}
    for name, weight in kernels.items():
        kinds.setdefault(weight.effective.shape[2:], []).append(name)
        kinds.setdefault(("computed", bool(weight.steps)), []).append(name)
    some = [tuple(names) for names in kinds.values() if len(names) > 1]
    return list(dict.fromkeys((tuple(kernels), *some)))


def _quantised(
    weight: Weight,
    bits: int,
    axis: int | None,
    rounded: Rounding,
    by: float,
) -> np.ndarray:
    have = weight.effective.astype(np.float32)
    most = (1 << bits - 1) - 1
    over = None if axis is None else tuple(k for k in range(have.ndim) if k != axis % have.ndim)
    scale = np.abs(have).max(axis=over, keepdims=True) / np.float32(most)
    scale = np.where(scale > 0, scale, np.float32(1))
    integers = rounded((have / scale).astype(np.float64) * (1 + by))
    return np.asarray(np.clip(integers, -most - 1, most) * scale.astype(np.float64))
