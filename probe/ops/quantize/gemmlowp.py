"""gemmlowp's functions of fixed-point numbers, in whole numbers (fixedpoint/fixedpoint.h): exp,
logistic and tanh to the last bit, with 31 or 15 bits behind the sign."""

import numpy as np

__all__ = [
    "exp_on_negative_values",
    "logistic",
    "one_over_one_plus",
    "reciprocal",
    "rounded_quotient",
    "tanh",
    "times",
]

_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) for k from -2 on, in 31 bits."""


def _constant(value: int, bits: int) -> int:
    return value if bits == 31 else (value + (1 << 15)) >> 16


def times(x: np.ndarray, y: np.ndarray | int, bits: int = 31) -> np.ndarray:
    """The product, rounded (SaturatingRoundingDoublingHighMul)."""
    product: np.ndarray = (x * y + (1 << (bits - 1))) >> bits
    return np.minimum(product, (1 << bits) - 1)


def rounded_quotient(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """x / 2^exponent, halves away from zero (RoundingDivideByPOT)."""
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    quotient: np.ndarray = (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))
    return quotient


def _left(x: np.ndarray, exponent: int, bits: int) -> np.ndarray:
    """x * 2^exponent, as far as the type reaches."""
    return np.clip(x << exponent, -(1 << bits), (1 << bits) - 1)


def _exp_of_last_quarter(x: np.ndarray, bits: int) -> np.ndarray:
    """exp of -1/4 to 0, without integer bits."""
    constant, third = _constant(1895147668, bits), _constant(715827883, bits)
    x = x + (1 << (bits - 3))
    square = times(x, x, bits)
    cube, fourth = times(square, x, bits), times(square, square, bits)
    term = times(rounded_quotient(fourth, 2) + cube, third, bits) + square
    total = constant + times(x + rounded_quotient(term, 1), constant, bits)
    return np.minimum(total, (1 << bits) - 1)


def exp_on_negative_values(x: np.ndarray, integer_bits: int, bits: int = 31) -> np.ndarray:
    """exp of x with so many integer bits, without any."""
    fraction = bits - integer_bits
    quarter = 1 << (fraction - 2)
    part = (x & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(_left(part, integer_bits, bits), bits)
    rest = part - x
    for exponent, power in enumerate(_POWERS, start=-2):
        if integer_bits > exponent:
            flag = rest & (1 << (fraction + exponent))
            result = np.where(flag, times(result, _constant(power, bits), bits), result)
    if integer_bits > 5:
        result = np.where(x < -(1 << (fraction + 5)), 0, result)
    return np.where(x == 0, (1 << bits) - 1, result)


def _newton(x: np.ndarray, bits: int) -> np.ndarray:
    """2 / (1 + x) for x from 0 to 1, with two integer bits."""
    total = x + (1 << bits) - 1
    half = (total + 1) >> 1  # the sum is positive
    y = _constant(1515870810, bits) + times(half, _constant(-1010580540, bits), bits)
    for _ in range(3):
        error = (1 << (bits - 2)) - times(half, y, bits)
        y = y + _left(times(y, error, bits), 2, bits)
    return y


def one_over_one_plus(x: np.ndarray, bits: int = 31) -> np.ndarray:
    """1 / (1 + x) for x from 0 to 1."""
    return _left(_newton(x, bits), 1, bits)


def logistic(x: np.ndarray, integer_bits: int, bits: int = 31) -> np.ndarray:
    """1 / (1 + exp(-x)), without integer bits."""
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(x), integer_bits, bits), bits)
    result = np.where(x < 0, (1 << bits) - 1 - positive, positive)
    return np.where(x == 0, 1 << (bits - 1), result)


def tanh(x: np.ndarray, integer_bits: int, bits: int = 31) -> np.ndarray:
    """tanh(x), without integer bits."""
    power = exp_on_negative_values(-np.abs(x), integer_bits + 1, bits)
    size = _left(_newton(power, bits) - (1 << (bits - 2)), 2, bits)
    return np.where(x == 0, 0, np.where(x < 0, -size, size))


def reciprocal(x: np.ndarray, integer_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """1 / x of positive x with so many integer bits: without any, and how many bits it is to be
    shifted right by (GetReciprocal, lite/kernels/internal/common.h)."""
    room = 31 - (np.frexp(x.astype(np.float64))[1] - 1)
    shifted = (x << room) - (1 << 31)
    return one_over_one_plus(shifted), integer_bits - room
