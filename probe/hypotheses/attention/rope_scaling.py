"""How the frequencies of a rotary embedding are scaled for longer contexts: the formulas of the
``rope_scaling`` of configs."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

__all__ = ["frequencies", "other_scalings"]

_FACTORS = (2.0, 4.0, 8.0, 16.0, 32.0)
_OF_LLAMA3, _OF_YARN = (8.0, 32.0), (4.0, 16.0)
"""The factors of published models."""
_LENGTHS = tuple(2**k for k in range(3, 18))
"""Context lengths that a model may have been trained with."""
_CHANGES = 1e-4


def frequencies(base: float, count: int, size: int = 0) -> np.ndarray:
    """Of so many pairs of features, the first of a head of that size."""
    return np.asarray(base ** (-2.0 * np.arange(count) / (size or 2 * count)))


def other_scalings(own: np.ndarray, base: float) -> dict[str, tuple[np.ndarray, float]]:
    """Frequencies of this base in words, each by a formula or a factor that gives others than a
    layer's own and than those before, and what sine and cosine are multiplied by."""
    plain = frequencies(base, own.size)
    most = float((plain / own).max())
    factors = [most] if most > 1 + _CHANGES else []
    found: dict[str, tuple[np.ndarray, float]] = {}
    for words, made, scale in _formulas(plain, base, factors):
        before = [(own, 1.0), *found.values()]
        if not any(scale == of and np.allclose(made, other, rtol=_CHANGES) for other, of in before):
            found[words] = made, scale
    return found


def _formulas(
    plain: np.ndarray, base: float, factors: list[float]
) -> Iterator[tuple[str, np.ndarray, float]]:
    size = 2 * plain.size
    yield "not scaled", plain, 1.0
    for factor in factors or _FACTORS:
        yield f"all divided by {factor:.4g} (linear)", plain / factor, 1.0
        if size > 2:
            larger = base * factor ** (size / (size - 2))
            words = f"of the base {larger:.5g} (NTK by {factor:.4g})"
            yield words, frequencies(larger, plain.size), 1.0
    for factor, length in product(factors or _OF_LLAMA3, _LENGTHS):
        of = f"for {length} positions, divided by {factor:.4g}"
        yield f"scaled as Llama 3's {of}", _llama3(plain, factor, length), 1.0
    for factor, length in product(factors or _OF_YARN, _LENGTHS):
        of = f"for {length} positions, divided by {factor:.4g}"
        scale = 0.1 * math.log(factor) + 1
        made = _yarn(plain, base, factor, length)
        yield f"scaled as YaRN's {of}, and times {scale:.5g}", made, scale


def _llama3(plain: np.ndarray, factor: float, length: int) -> np.ndarray:
    """Long waves divided by the factor, short ones kept, those of 1/4 to 1 of the length mixed."""
    turns = length * plain / (2 * math.pi)
    kept = np.clip((turns - 1.0) / (4.0 - 1.0), 0.0, 1.0)
    return np.asarray(kept * plain + (1 - kept) * plain / factor)


def _yarn(plain: np.ndarray, base: float, factor: float, length: int) -> np.ndarray:
    """Those with more than 32 turns kept, those with less than 1 divided, a ramp between them."""
    size = 2 * plain.size

    def place(turns: float) -> float:
        return size * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(place(32.0)), 0), min(math.ceil(place(1.0)), size - 1)
    ramp = np.clip((np.arange(plain.size) - low) / max(high - low, 1e-3), 0.0, 1.0)
    return np.asarray(plain * (1 - ramp) + plain / factor * ramp)
