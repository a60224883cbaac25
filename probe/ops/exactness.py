"""What floating point does not round: constants that it holds, and sums and products of numbers on
grids of powers of two."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.numerics.precision import Precision

__all__ = [
    "exact_quotients",
    "given_exactly",
    "held",
    "is_power_of_two",
    "of_constant",
    "or_zero",
    "without_rounding",
]


def or_zero(slack: np.ndarray | None) -> np.ndarray | float:
    """How far an input may be off; 0 where it is exact."""
    if slack is None:
        return 0.0
    return slack


def of_constant(value: np.ndarray, precision: Precision) -> np.ndarray:
    """What constants may be off by that a party rounds to its own precision: nothing where that
    holds them."""
    unit = precision.stored or precision.unit
    if not unit:
        return np.zeros(value.shape)
    with np.errstate(all="ignore"):
        exact = np.mod(np.frexp(value)[0], unit) == 0
        return np.where(np.isfinite(value) & ~exact, unit * np.abs(value), 0.0)


def held(value: np.ndarray, precision: Precision) -> np.ndarray:
    """Which values the precision holds exactly; none where that is not float32."""
    if precision.name != "float32" or precision.casts:
        return np.zeros(np.shape(value), bool)
    with np.errstate(all="ignore"):
        return np.asarray(value, np.float32) == value


def given_exactly(
    inputs: Sequence[np.ndarray], output: np.ndarray, precision: Precision
) -> np.ndarray:
    """Which elements a single operation gives without rounding: those of numbers that the precision
    holds and of which it holds the result, none that may be flushed to zero."""
    with np.errstate(all="ignore"):
        exact = held(output, precision) & ((output == 0) | (np.abs(output) >= precision.normal))
    for x in inputs:
        exact = exact & held(x, precision)
    return np.asarray(exact)


def without_rounding(
    products: Sequence[tuple[int, Sequence[Any]]], added: Sequence[Any], precision: Precision
) -> bool:
    """Whether a sum is exact in every order: of so many products of a number of each of the
    factors, and of numbers added."""
    if precision.name != "float32" or precision.casts:
        return False
    unit, size = np.inf, 0.0
    for count, factors in (*products, *((1, [addend]) for addend in added)):
        units, sizes = 1.0, float(count)
        for factor in factors:
            units, sizes = units * _unit_of(factor), sizes * float(np.abs(factor).max(initial=0))
        if sizes:
            unit, size = min(unit, units), size + sizes
    return size == 0 or bool(size <= unit / precision.unit)


def is_power_of_two(numbers: Any) -> bool:
    """Whether multiplying by these, or dividing, rounds nothing."""
    return bool((np.frexp(numbers)[0] == 0.5).all())


def exact_quotients(x: Any, y: Any, quotient: np.ndarray, precision: Precision) -> np.ndarray:
    """Which quotients are not rounded: neither by a division in float32 nor by a product with the
    reciprocal, which some kernels compute in place of it."""
    exact = held(x, precision) & held(y, precision) & held(quotient, precision)
    with np.errstate(all="ignore"):
        reciprocal = np.float32(1) / np.asarray(y, np.float32)
        product = np.asarray(x, np.float32) * reciprocal
        return np.asarray(exact & (quotient * y == x) & (product == quotient))


def _unit_of(array: Any) -> float:
    """The largest power of two that all elements are multiples of; 0 where one is not finite."""
    mantissa, exponent = np.frexp(np.asarray(array, np.float64))
    if not np.isfinite(mantissa).all():
        return 0.0
    whole = (mantissa * 2.0**53).astype(np.int64)
    some = whole != 0
    return float(
        np.ldexp((whole & -whole)[some].astype(np.float64), exponent[some] - 53).min(initial=np.inf)
    )
