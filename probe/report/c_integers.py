"""Values as integers times one power of two, which is what fixed-point code computes with."""

from typing import NamedTuple

import numpy as np

__all__ = ["Multiples", "multiples"]


class Multiples(NamedTuple):
    """Values that are ``integers * 2**exponent``, and the bits of the largest without its sign."""

    integers: np.ndarray
    exponent: int
    bits: int


def multiples(array: np.ndarray) -> Multiples:
    """Finite values as multiples of the largest power of two that divides all of them; beyond 62
    bits the integers are meaningless."""
    values = np.asarray(array, np.float64)
    mantissas, exponents = np.frexp(values)
    digits = (np.abs(mantissas) * 2.0**53).astype(np.int64)
    if not digits.any():
        return Multiples(np.zeros(values.shape, np.int64), 0, 0)
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    exponent = int(np.min((exponents - 53 + lowest)[digits != 0]))
    bits = int(np.max(exponents[digits != 0])) - exponent
    integers = np.ldexp(values, -exponent) if bits <= 62 else np.zeros(values.shape)
    return Multiples(integers.astype(np.int64), exponent, bits)
