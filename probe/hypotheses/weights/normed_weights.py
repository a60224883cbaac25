"""Kernels that are divided by another norm of what they are computed from, as where a layer divides
by an estimate of the spectral norm, or by the norm of each filter."""

from collections.abc import Iterator

import numpy as np

from probe.hypotheses.registry import more
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []

_LARGE = 1 << 18
"""Entries of a kernel from which on its norms are not computed."""


@more("raw-weights")
def normed_weights(case: Case) -> Iterator[Edit]:
    """Parametrised kernels divided by their exact spectral norm, by their Frobenius norm, or after
    one more power iteration, times their gains where they have some."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, weight in case.weights.items():
        for words, kernel in _otherwise(weight):
            if np.isfinite(kernel).all():
                found.setdefault(words, {})[name] = kernel
    for words, kernels in found.items():
        names = " and ".join(kernels)
        each = " each" if len(kernels) > 1 else ""
        yield case.edit(
            f"{names} {'are' if each else 'is'}{each} divided by {words}",
            case.with_weights(kernels),
            do="divide the weights as the layer does",
        )


def _is_scaled(matrix: np.ndarray, effective: np.ndarray) -> bool:
    """Whether each row of a kernel is that of what it is computed from, by a factor of its own."""
    squares = np.square(matrix).sum(axis=1, keepdims=True)
    factors = (matrix * effective).sum(axis=1, keepdims=True) / np.where(squares > 0, squares, 1)
    scaled = np.allclose(factors * matrix, effective, rtol=1e-4, atol=1e-6)
    return scaled and not np.allclose(factors, 1)


def _otherwise(weight: Weight) -> Iterator[tuple[str, np.ndarray]]:
    """A kernel from its parts by another norm, in words."""
    parts = [part.astype(np.float64) for part in weight.parts.values() if part.size <= _LARGE]
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
        yield from ((words, gain * original / norm) for words, norm in norms if norm)
