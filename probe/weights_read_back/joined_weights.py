"""Weights that were read back as sums, products and the like of the layer's own with something else
that it holds: a scale that reached a bias, too."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

__all__ = ["joined_with"]

_ALIKE = 1e-3
"""What may be left of the change, as a share of its root mean square."""
_WAYS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "multiplied by {}": np.multiply,
    "divided by {}": np.divide,
    "taken with {} added": np.add,
    "taken with {} subtracted": np.subtract,
}


def joined_with(
    name: str,
    have: np.ndarray,
    used: np.ndarray,
    centred: Callable[[np.ndarray], np.ndarray],
    held: Mapping[str, np.ndarray],
) -> Iterator[str]:
    """What a weight is, where that is one of these of the layer's own and another array."""
    wanted = centred(used)
    change = np.square(wanted - centred(have)).mean()
    for other, array in held.items():
        for words, way in _WAYS.items():
            with np.errstate(all="ignore"):
                left = np.square(wanted - centred(way(have, array))).mean()
            if left <= _ALIKE**2 * change:
                yield f"{name} is {words.format(other)}"
