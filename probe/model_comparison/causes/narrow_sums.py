"""Sums of products in fixed-point types: which of their types is too narrow."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probe.model_comparison.causes.fraction_bits import EQUAL, SLUG, cut
from probe.numerics.blocks import places
from probe.ops import MatMul, Op
from probe.ops.weight import Weight
from probe.report import Finding

__all__ = ["of_sum"]

_ELEMENTS = 96
"""So many elements of a result are computed product by product."""
_BITS = range(25)
_NAMES = ("input", "weights", "accumulator")
_ROUNDS = 6
"""How often each of these types is improved in turn."""


@dataclass(frozen=True)
class _Types:
    """The fraction bits of what a sum is made of; None is a float."""

    input: int | None = None
    weights: int | None = None
    accumulator: int | None = None
    integer: int | None = None
    """The accumulator's integer bits with the sign, where sums wrap around."""

    def alone(self, name: str) -> "_Types":
        return _Types(**{name: getattr(self, name)})

    @property
    def narrowed(self) -> list[str]:
        return [name for name in _NAMES if getattr(self, name) is not None]


@dataclass(frozen=True, eq=False)
class _SampledSum:
    """Some elements of a sum of products."""

    x: np.ndarray
    """(elements, products)."""
    w: np.ndarray
    bias: np.ndarray
    tail: Sequence[Any] = field(default=())

    def sums(self, types: _Types) -> np.ndarray:
        x, w, bias = (
            cut(self.x, types.input),
            cut(self.w, types.weights),
            cut(self.bias, types.weights),
        )
        products, bias = (cut(array, types.accumulator) for array in (x * w, bias))
        total = products.sum(axis=1) + bias
        if types.integer is not None:
            half = 2.0 ** (types.integer - 1)
            total = np.mod(total + half, 2 * half) - half
        return np.asarray(total)

    def outputs(self, types: _Types) -> np.ndarray:
        values = self.sums(types)
        for op in self.tail:
            values = op.f(values)
        return values


def of_sum(
    op: Op, x: np.ndarray, tail: Sequence[Op], seen: np.ndarray, fraction: int
) -> tuple[Finding, ...]:
    """The type of a sum that is too narrow, as some elements of its result tell."""
    some = np.unique(np.linspace(0, seen.size - 1, _ELEMENTS).astype(int))
    sampled = _sampled(op, x, places(some, seen.shape), tail)
    values = seen.reshape(-1)[some]
    if sampled is None or _agree(sampled.outputs(_Types()), values, fraction):
        return ()
    for types in _tried():
        if _agree(sums := sampled.outputs(types), values, fraction):
            return (_guilty(sampled, types, fraction, sums, values),)
        if types.accumulator is None and types.narrowed:
            continue
        if (wrapped := _wrapping(sampled, types, values, fraction)) is not None:
            return (wrapped,)
    types = _nearest(sampled, values, fraction)
    if _agree(sums := sampled.outputs(types), values, fraction):
        return (_guilty(sampled, types, fraction, sums, values),)
    return ()


def _nearest(sampled: _SampledSum, values: np.ndarray, fraction: int) -> _Types:
    """The types that come nearest, one improved after the other."""

    def left(types: _Types) -> float:
        return float(np.abs(cut(sampled.outputs(types), fraction) - values).mean())

    types, least = _Types(), left(_Types())
    for _ in range(_ROUNDS):
        before = types
        for name in _NAMES:
            for bits in _BITS:
                other = replace(types, **{name: bits})
                if (apart := left(other)) < least:
                    types, least = other, apart
        if types == before:
            break
    return types


def _sampled(
    op: Any, x: np.ndarray, where: tuple[np.ndarray, ...], tail: Sequence[Op]
) -> _SampledSum | None:
    """The factors of every product of some elements."""
    if op.weight is None or op.terms is None:
        return None
    ones = Weight("", None, np.ones(op.weight.value.shape))
    count = len(where[0])
    plain = replace(op, bias=None)
    left = replace(plain, weight=ones).terms([x], where).reshape(count, -1)
    right = plain.terms([np.ones(x.shape)], where).reshape(count, -1)
    axis = -1 if isinstance(op, MatMul) else 1
    bias = np.zeros(count)
    if op.bias is not None:
        bias = op.bias.value.astype(np.float64)[where[axis]]
    return _SampledSum(left, right, bias, tail)


def _agree(sums: np.ndarray, values: np.ndarray, fraction: int) -> bool:
    """Whether values cut off, or rounded, to the bits that are seen are those that are seen."""
    size = 2.0**fraction
    for rounded in (np.floor(sums * size + 1e-6), np.rint(sums * size)):
        if np.mean(np.abs(rounded - values * size) < 0.5) >= EQUAL:
            return True
    return False


def _tried() -> Iterator[_Types]:
    """The simplest first: one type narrow, then several that are one."""
    for name in reversed(_NAMES):
        yield from (_Types(**{name: bits}) for bits in _BITS)
    for bits in _BITS:
        yield _Types(weights=bits, accumulator=bits)
        yield _Types(input=bits, weights=bits, accumulator=bits)
        yield _Types(input=bits, weights=bits)


def _guilty(
    sampled: _SampledSum, types: _Types, fraction: int, sums: np.ndarray, values: np.ndarray
) -> Finding:
    exact = sampled.outputs(_Types())
    moved = {
        name: float(np.abs(sampled.outputs(types.alone(name)) - exact).max())
        for name in types.narrowed
    }
    step = 2.0**-fraction
    name = max(moved, key=lambda part: moved[part])
    if moved[name] < step:
        enough = math.ceil(-math.log2(moved[name] or step))
        claim = (
            f"the result's type: it is cut off to {fraction} fraction bits, which moves values by "
            f"up to {step:.3g}; {max(enough, fraction + 1)} would do"
        )
        return Finding(SLUG, claim, 0.0, do="give it more fraction bits")
    bits = getattr(types, name)
    enough = next(
        (
            more
            for more in range(bits, 64)
            if np.abs(sampled.outputs(_Types(**{name: more})) - exact).max() <= 0.5 * step
        ),
        64,
    )
    count = sampled.x.shape[1]
    words = {
        "accumulator": f"the accumulator: each of {count} products is cut off to {bits}",
        "weights": f"the weights' type: weights and biases are cut off to {bits}",
        "input": f"the input's type: it is cut off to {bits}",
    }
    rest = "".join(
        f"; {getattr(types, part)} of the {part} {moved[part]:.2g}"
        for part in moved
        if part != name and moved[part] >= step
    )
    claim = (
        f"{words[name]} fraction bits, which moves values by up to {moved[name]:.3g}{rest}; "
        f"{enough} would do"
    )
    left = float(np.abs(cut(sums, fraction) - values).max() * 2.0**fraction)
    if left < 0.5:
        left = 0.0
    return Finding(SLUG, claim, left, do=f"give it {enough} fraction bits")


def _wrapping(
    sampled: _SampledSum, types: _Types, values: np.ndarray, fraction: int
) -> Finding | None:
    """The accumulator's integer bits, where its sums wrap around."""
    sums = sampled.sums(types)
    most = max(1e-9, float(np.abs(values).max()))
    least = max(1, math.ceil(math.log2(most)))
    for integer in range(least, least + 4):
        narrow = replace(types, integer=integer)
        beyond = np.abs(sums) >= 2.0 ** (integer - 1)
        if beyond.any() and _agree(sampled.outputs(narrow), values, fraction):
            enough = math.ceil(math.log2(float(np.abs(sums).max()) + 1e-9)) + 1
            half = 2 ** (integer - 1)
            claim = (
                f"the accumulator: sums from {sums.min():.4g} to {sums.max():.4g} wrap around in "
                f"{-half} .. {half} ({integer} integer bits); {enough} would do"
            )
            do = f"give the accumulator {enough} integer bits"
            return Finding("wrap-around", claim, 0.0, do=do, also=(SLUG,))
    return None
