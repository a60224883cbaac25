"""Which fixed-point type of a layer is too narrow, where another program's values show it: that of
the accumulator, of the weights, of the input, or a table.

The layer is computed as HLS code does: each product is cut off to the accumulator's type before it
is added, a function is looked up in a table whose argument is cut off too. What gives the very
values that were written is what was done; of the types that are narrowed then, the one that moves
the result most is named, with the bits that would do.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probe.hypotheses.precision.fixed_point import fraction_of
from probe.numerics.blocks import places
from probe.ops import (
    Conv,
    Identity,
    MatMul,
    Op,
    Relu,
    Reshape,
    Softmax,
    Tanh,
    Transpose,
)
from probe.ops.base import Elementwise
from probe.ops.step import Step
from probe.ops.weight import Weight
from probe.report import Finding

__all__ = ["narrow_types"]

_ELEMENTS = 96
"""So many elements of a result are computed product by product."""
_BITS = range(25)
_EQUAL = 0.98
"""What part of the values must come out as they were written."""
_SLUG = "fixed-point"
_LAYOUT = (Transpose, Reshape, Identity)
_NAMES = ("input", "weights", "accumulator")
_ROUNDS = 6
"""How often each of these types is improved in turn."""
_ROUNDED = (np.trunc, np.floor, np.rint)
_RANGES = (8.0, 4.0, np.inf)
_OF_TANH = (4.0, 8.0, np.inf)
"""How the argument of a table is rounded, and where tables end."""
_ROUGH = 0.05
"""What the table of 1/sum may do besides."""


def narrow_types(
    steps: Sequence[Step],
    values: Sequence[tuple[np.ndarray, ...]],
    inputs: Sequence[np.ndarray],
    seen: np.ndarray,
) -> tuple[Finding, ...]:
    """The type that is too narrow, where there is one but that of the result alone.

    Args:
        steps: A layer's, what is computed first and then elementwise functions.
        made: What each step gives.
        inputs: What the layer is given.
        seen: What the other program gives, in the layout of the last step.
    """
    fraction = fraction_of(seen)
    positions = [k for k, step in enumerate(steps) if not isinstance(step.op, _LAYOUT)]
    if fraction is None or not positions or seen.shape != values[-1][0].shape:
        return ()
    for step in reversed(steps[positions[-1] + 1 :]):
        if not isinstance(step.op, Transpose):
            return ()
        seen = seen.transpose(np.argsort(step.op.perm))
    first, tail = steps[positions[0]], [steps[k].op for k in positions[1:]]
    given = [ref.of(inputs, values) for ref in first.sources(positions[0])]
    if len(given) != 1 or given[0].dtype.kind != "f":
        return ()
    x = given[0].astype(np.float64)
    if isinstance(first.op, MatMul | Conv) and all(isinstance(one, Elementwise) for one in tail):
        return _of_sum(first.op, x, tail, seen, fraction)
    if tail:
        return ()
    if isinstance(first.op, Softmax):
        return _of_softmax(first.op, x, seen, fraction)
    if isinstance(first.op, Elementwise) and not isinstance(first.op, Relu):
        return _of_table(first.op, x, seen, fraction)
    return ()


def _cut(x: np.ndarray, bits: int | None) -> np.ndarray:
    """x cut off downwards to so many fraction bits."""
    if bits is None:
        return x
    return np.asarray(np.floor(x * 2.0**bits) / 2.0**bits)


# Sums of products


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
class _Sum:
    """Some elements of a sum of products."""

    x: np.ndarray
    """(elements, products)."""
    w: np.ndarray
    bias: np.ndarray
    tail: Sequence[Any] = field(default=())

    def sums(self, types: _Types) -> np.ndarray:
        x, w, bias = (
            _cut(self.x, types.input),
            _cut(self.w, types.weights),
            _cut(self.bias, types.weights),
        )
        products, bias = (_cut(one, types.accumulator) for one in (x * w, bias))
        found = products.sum(axis=1) + bias
        if types.integer is not None:
            half = 2.0 ** (types.integer - 1)
            found = np.mod(found + half, 2 * half) - half
        return np.asarray(found)

    def outputs(self, types: _Types) -> np.ndarray:
        found = self.sums(types)
        for op in self.tail:
            found = op.f(found)
        return found


def _of_sum(
    op: Op, x: np.ndarray, tail: Sequence[Op], seen: np.ndarray, fraction: int
) -> tuple[Finding, ...]:
    some = np.unique(np.linspace(0, seen.size - 1, _ELEMENTS).astype(int))
    sampled = _sampled(op, x, places(some, seen.shape), tail)
    values = seen.reshape(-1)[some]
    if sampled is None or _agree(sampled.outputs(_Types()), values, fraction):
        return ()
    for types in _tried():
        if _agree(found := sampled.outputs(types), values, fraction):
            return (_guilty(sampled, types, fraction, found, values),)
        if types.accumulator is None and types.narrowed:
            continue
        if (wrapped := _wrapping(sampled, types, values, fraction)) is not None:
            return (wrapped,)
    types = _nearest(sampled, values, fraction)
    if _agree(found := sampled.outputs(types), values, fraction):
        return (_guilty(sampled, types, fraction, found, values),)
    return ()


def _nearest(sampled: "_Sum", values: np.ndarray, fraction: int) -> "_Types":
    """The types that come nearest, one improved after the other."""

    def left(types: _Types) -> float:
        return float(np.abs(_cut(sampled.outputs(types), fraction) - values).mean())

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
) -> _Sum | None:
    """The factors of every product of some elements."""
    if op.weight is None or op.terms is None:
        return None
    ones = Weight("", None, np.ones(op.weight.value.shape))
    count = len(where[0])
    plain = replace(op, bias=None)
    left = replace(plain, weight=ones).terms([x], where).reshape(count, -1)
    right = plain.terms([np.ones(x.shape)], where).reshape(count, -1)
    axis = -1 if isinstance(op, MatMul) else 1
    bias = np.zeros(count) if op.bias is None else op.bias.value.astype(np.float64)[where[axis]]
    return _Sum(left, right, bias, tail)


def _agree(sums: np.ndarray, values: np.ndarray, fraction: int) -> bool:
    """Whether values cut off, or rounded, to the bits that are seen are those that are seen."""
    size = 2.0**fraction
    for rounded in (np.floor(sums * size + 1e-6), np.rint(sums * size)):
        if np.mean(np.abs(rounded - values * size) < 0.5) >= _EQUAL:
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
    sampled: _Sum, types: _Types, fraction: int, sums: np.ndarray, values: np.ndarray
) -> Finding:
    exact = sampled.outputs(_Types())
    moved = {
        name: float(np.abs(sampled.outputs(types.alone(name)) - exact).max())
        for name in types.narrowed
    }
    step = 2.0**-fraction
    name = max(moved, key=lambda one: moved[one])
    if moved[name] < step:
        enough = math.ceil(-math.log2(moved[name] or step))
        claim = (
            f"the result's type: it is cut off to {fraction} fraction bits, which moves values by "
            f"up to {step:.3g}; {max(enough, fraction + 1)} would do"
        )
        return Finding(_SLUG, claim, 0.0, do="give it more fraction bits")
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
        f"; {getattr(types, one)} of the {one} {moved[one]:.2g}"
        for one in moved
        if one != name and moved[one] >= step
    )
    claim = (
        f"{words[name]} fraction bits, which moves values by up to {moved[name]:.3g}{rest}; "
        f"{enough} would do"
    )
    left = float(np.abs(_cut(sums, fraction) - values).max() * 2.0**fraction)
    left = 0.0 if left < 0.5 else left
    return Finding(_SLUG, claim, left, do=f"give it {enough} fraction bits")


def _wrapping(sampled: _Sum, types: _Types, values: np.ndarray, fraction: int) -> Finding | None:
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
            return Finding("wrap-around", claim, 0.0, do=do, also=(_SLUG,))
    return None


# Functions that are looked up


def _of_table(op: Any, x: np.ndarray, seen: np.ndarray, fraction: int) -> tuple[Finding, ...]:
    some = np.unique(np.linspace(0, seen.size - 1, 4096).astype(int))
    x, seen = x.reshape(-1)[some], seen.reshape(-1)[some]
    exact = op.f(x)
    if x.size != seen.size or np.abs(exact - seen).max() <= 2.0**-fraction:
        return ()
    for bits in range(12, -4, -1):
        step = 2.0**-bits
        for rounded in _ROUNDED:
            for end in _OF_TANH if isinstance(op, Tanh) else _RANGES:
                read = np.clip(rounded(x / step) * step, -end, end - step)
                found = op.f(read)
                near = np.abs(_cut(found, fraction) - seen) <= 1.01 * 2.0**-fraction
                if np.mean(near) < _EQUAL or np.abs(found - exact).max() <= 2.0**-fraction:
                    continue
                moved = float(np.abs(found - exact).max())
                enough = next(
                    (
                        more
                        for more in range(bits, 32)
                        if np.abs(op.f(rounded(x * 2.0**more) / 2.0**more) - exact).max()
                        <= 2.0**-fraction
                    ),
                    32,
                )
                entries = [""] * 2
                if np.isfinite(end):
                    entries = [f" ({int(2 * end * 2.0**one)} entries over -{end:g} .. {end:g})"
                               for one in (bits, enough)]  # fmt: skip
                claim = (
                    f"the table: its argument is read in steps of {step:g}{entries[0]}, which "
                    f"moves values by up to {moved:.3g}; steps of 2^-{enough} would do"
                )
                do = f"use steps of 2^-{enough}{entries[1]}"
                return (Finding(_SLUG, claim, 0.0, do=do),)
    return ()


def _of_softmax(op: Any, x: np.ndarray, seen: np.ndarray, fraction: int) -> tuple[Finding, ...]:
    axis = op.axis
    exact = op.run(x)[0]
    below = x.max(axis=axis, keepdims=True) - x
    apart = float(np.abs(exact - seen).max())
    if apart <= 4 * 2.0**-fraction:
        return ()
    best: tuple[float, int] | None = None
    parts_of: dict[int, np.ndarray] = {}
    for bits in range(12, -11, -1):
        parts = parts_of[bits] = np.exp(-np.floor(below * 2.0**bits) / 2.0**bits)
        found = parts / parts.sum(axis=axis, keepdims=True)
        left = float(np.abs(found - seen).max())
        if best is None or left < 0.9 * best[0]:
            best = left, bits
    assert best is not None
    left, bits = best
    if left > 0.25 * apart or left > _ROUGH:
        return ()
    enough = fraction - 1
    more = " or more" if np.ptp(parts_of[bits]) == 0 else ""
    claim = (
        f"the table of exp: distances to the largest value are read in steps of {2.0**-bits:g}"
        f"{more}, which moves values by up to {apart:.3g}; steps of 2^-{enough} would do"
    )
    do = "give the softmax's input fewer integer bits, or its table more entries"
    return (Finding(_SLUG, claim, left / apart, do=do),)
