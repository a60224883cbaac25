"""Kernels made otherwise of what they are computed from: divided by another norm of it, as where a
layer divides by an estimate of the spectral norm, or by the norm of each filter; by a norm over
other axes; or not at all."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.edits.step_words import listed
from probe.hypotheses.registry import more
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_LARGE = 1 << 18
"""Entries of a kernel from which on its norms are not computed."""
_MOST = 8
"""Of how many kernels each is tried alone."""


@more("raw-weights")
def normed_weights(case: Case) -> Iterator[Edit]:
    """Parametrised kernels divided by their exact spectral norm, by their Frobenius norm, or after
    one more power iteration, times their gains where they have some; by a norm over other axes, or
    by none; and without the gain."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, weight in case.weights.items():
        parts = [part.astype(np.float64) for part in weight.parts.values() if part.size <= _LARGE]
        for words, kernel in (*_otherwise(weight, parts), *_over_other_axes(weight, parts)):
            same = np.array_equal(kernel.astype(weight.effective.dtype), weight.effective)
            if np.isfinite(kernel).all() and not same:
                found.setdefault(words, {})[name] = kernel
    for words, kernels in found.items():
        for names in all_and_each(list(kernels), _MOST):
            yield case.edit(
                f"{listed(names)} {'each ' * (len(names) > 1)}{words}",
                case.with_weights({name: kernels[name] for name in names}),
                do="divide the weights as the layer does",
            )


def _is_scaled(matrix: np.ndarray, effective: np.ndarray) -> bool:
    """Whether each row of a kernel is that of what it is computed from, by a factor of its own."""
    squares = np.square(matrix).sum(axis=1, keepdims=True)
    factors = (matrix * effective).sum(axis=1, keepdims=True) / np.where(squares > 0, squares, 1)
    scaled = np.allclose(factors * matrix, effective, rtol=1e-4, atol=1e-6)
    return scaled and not np.allclose(factors, 1)


def _otherwise(weight: Weight, parts: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """A kernel from its parts by another norm, in words."""
    for original in parts:
        if original.shape != weight.effective.shape or original.ndim < 2 or not original.any():
            continue
        count = len(original)
        gains = [part for part in parts if part.ndim == original.ndim and part.size == count]
        gain = gains[0] if len(gains) == 1 else 1.0
        matrix = original.reshape(count, -1)
        if not _is_scaled(matrix, weight.effective.reshape(count, -1)):
            continue
        norms = [
            ("the exact spectral norm", float(np.linalg.norm(matrix, 2))),
            ("the norm of the whole kernel", float(np.linalg.norm(matrix))),
        ]
        for vector in parts:
            for side, way in (("left", matrix), ("right", matrix.T)):
                if vector.shape == way.shape[:1] and vector.any():
                    other = way.T @ vector
                    norm = float(np.linalg.norm(way @ other) / np.linalg.norm(other))
                    words = f"the spectral norm of one more power iteration, from the {side} vector"
                    norms.append((words, norm))
        for words, norm in norms:
            if norm:
                yield f"divided by {words}", gain * original / norm


def _over_other_axes(weight: Weight, parts: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """A kernel that is a gain times a direction of length 1, by a length over other axes, in
    words."""
    rank = weight.effective.ndim
    for direction in parts:
        for gain in parts:
            own = tuple(axis for axis in range(rank) if gain.shape[axis : axis + 1] == (1,))
            if direction.shape != weight.effective.shape or gain.ndim != rank or not own:
                continue
            size = _length(direction, own)
            if gain.shape != size.shape or not size.all():
                continue
            if not np.allclose(gain * direction / size, weight.effective, rtol=1e-4, atol=1e-6):
                continue
            yield (
                "the gain times the direction, which is not divided by its length",
                (gain * direction),
            )
            yield "the direction divided by its length, without the gain", direction / size
            yield "the direction alone, as it is stored", direction
            for count in range(1, rank):
                for axes in combinations(range(rank), count):
                    if axes != own:
                        words = f"divided by the length over axes {axes}, which is over {own}"
                        yield words, gain * direction / _length(direction, axes)


def _length(direction: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(direction).sum(axis=axes, keepdims=True)))
