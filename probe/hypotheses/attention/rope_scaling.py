"""How the frequencies of a rotary embedding are scaled for longer contexts: the formulas of the
``rope_scaling`` of configs."""

import math
from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

__all__ = ["bases_of", "frequencies", "other_scalings"]

_FACTORS = (2.0, 4.0, 8.0, 16.0, 32.0)
_OF_LLAMA3, _OF_YARN = (8.0, 32.0), (4.0, 16.0)
"""The factors of published models."""
_LENGTHS = tuple(2**k for k in range(3, 18))
"""Context lengths that a model may have been trained with."""
_TURNS = (32.0, 64.0, 16.0, 8.0, 4.0, 2.0)
"""From how many turns on YaRN keeps a frequency (``beta_fast``), the default first."""
_CHANGES = 1e-4


def frequencies(base: float, count: int, size: int = 0) -> np.ndarray:
    """Of so many pairs of features, the first of a head of that size."""
    return np.asarray(base ** (-2.0 * np.arange(count) / (size or 2 * count)))


def bases_of(own: np.ndarray, bases: Iterable[float]) -> Iterator[float]:
    """The bases of which some frequencies are kept or all divided by one whole number, and none
    by more."""
    for base in bases:
        shares = frequencies(base, own.size) / own
        most = float(shares.max())
        whole = abs(most - round(most)) < _CHANGES * most
        if whole and shares.min() > 1 - _CHANGES and (np.diff(shares) > -_CHANGES).all():
            yield base


def other_scalings(own: np.ndarray, base: float) -> dict[str, tuple[np.ndarray, float]]:
    """Frequencies of this base in words, each by a formula or a factor that gives others than a
    layer's own and than those before, and what sine and cosine are multiplied by."""
    plain = frequencies(base, own.size)
    most = float((plain / own).max())
    factors = [most] if most > 1 + _CHANGES else []
    found: dict[str, tuple[np.ndarray, float]] = {}
    formulas = (*_formulas(plain, base, factors), *_ramps(own, plain, base, factors))
    for words, made, scale in formulas:
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
        yield f"all multiplied by {factor:.4g}", plain * factor, 1.0
        words = f"of the base {base * factor:.5g}, {factor:.4g} times as large"
        yield words, frequencies(base * factor, plain.size), 1.0
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


def _ramps(
    own: np.ndarray, plain: np.ndarray, base: float, factors: list[float]
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Frequencies that are mixed of kept and divided ones in other shares than a layer's own."""
    for factor in factors:
        kept = (own - plain / factor) / (plain - plain / factor)
        if (np.abs(kept - 0.5) > 0.5 + _CHANGES).any() or np.ptp(kept) < _CHANGES:
            continue
        words = f"with short waves divided by {factor:.4g} and long ones kept, the ramp reversed"
        yield words, kept * plain / factor + (1 - kept) * plain, 1.0
        of_yarn = {
            (turns, length): _yarn(plain, base, factor, length, turns)
            for turns, length in product(_TURNS, _LENGTHS)
        }
        mine = [turns for (turns, _), made in of_yarn.items() if np.allclose(made, own, _CHANGES)]
        for (turns, length), made in of_yarn.items():
            if turns in (_TURNS[0], *mine):
                of = f"for {length} positions, kept from {turns:g} turns on"
                yield f"scaled as YaRN's {of}, divided by {factor:.4g}", made, 1.0


def _llama3(plain: np.ndarray, factor: float, length: int) -> np.ndarray:
    """Long waves divided by the factor, short ones kept, those of 1/4 to 1 of the length mixed."""
    turns = length * plain / (2 * math.pi)
    kept = np.clip((turns - 1.0) / (4.0 - 1.0), 0.0, 1.0)
    return np.asarray(kept * plain + (1 - kept) * plain / factor)


def _yarn(
    plain: np.ndarray, base: float, factor: float, length: int, kept: float = _TURNS[0]
) -> np.ndarray:
    """Those with more turns than that ``kept``, those with less than 1 divided, a ramp between."""
    size = 2 * plain.size

    def place(turns: float) -> float:
        return size * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(place(kept)), 0), min(math.ceil(place(1.0)), size - 1)
    ramp = np.clip((np.arange(plain.size) - low) / max(high - low, 1e-3), 0.0, 1.0)
    return np.asarray(plain * (1 - ramp) + plain / factor * ramp)
