"""Complex numbers: their parts, products and quotients. Arrays hold the real and imaginary parts
along a last axis more.

Where a complex tensor is given or made, a function goes by the name "complex.…" in the table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, describe_function, function

__all__ = ["joined", "pair_of", "rank_of"]


def rank_of(build: CallBuilder, x: Value) -> int:
    return build.rank(x) - (id(x) in build.complexes)


def pair_of(build: CallBuilder, x: Value | complex) -> tuple[Ref, ...]:
    """(real,) of a real tensor or number, else (real, imaginary)."""
    if isinstance(x, complex):
        return build.ref(x.real), build.ref(x.imag)
    if id(x) not in build.complexes:
        return (build.ref(x),)
    rank = build.rank(x) - 1
    taken = [build.add(ops.Take(rank, (part,)), x) for part in (0, 1)]
    return tuple(build.add(ops.Squeeze(axes=(rank,)), part) for part in taken)


def joined(build: CallBuilder, pair: Sequence[Ref], rank: int) -> Ref:
    return build.add(
        ops.Concat(axis=rank), *(build.add(ops.Unsqueeze(axes=(rank,)), part) for part in pair)
    )


def _given(build: CallBuilder, pair: Sequence[Ref]) -> Ref:
    """A pair as the output, whose shape each part is spread to."""
    *shape, _ = build.outputs[0].shape
    return joined(build, pair, len(shape))


# Parts of a number.


@function("complex.real", onnx="split")
def real(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), pair_of(build, input)[0])


@function("complex.imag", onnx="split")
def imaginary(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), pair_of(build, input)[1])


@function("complex.abs", "complex.__abs__", "complex.absolute", onnx="abs")
def absolute(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.ReduceL2(axes=(build.rank(input) - 1,), keepdims=False), input)


@function("complex.angle", onnx="atan")
def angle(build: CallBuilder, input: Value) -> Ref:
    """Refused where rounding decides on which side of half a turn it is, or what it is at all."""
    x, y = np.moveaxis(build.array(input), -1, 0)
    size = np.hypot(x, y)
    if (size <= _NOTHING * size.max(initial=0)).any():
        raise Undescribed("the phase is undefined where the magnitude is next to zero")
    if ((x < 0) & (np.abs(y) <= _NOTHING * size)).any():
        raise Undescribed("the phase jumps from pi to -pi where the imaginary part is next to zero")
    inner = CallBuilder((y, x), build.outputs, build.kinds)
    steps = describe_function("atan2", "atan2", inner, (Ref(-1, 0), Ref(-1, 1)), {}).steps
    return build.include(steps, *reversed(pair_of(build, input)))[0]


_NOTHING = 1e-5
"""A magnitude below this share of the largest one, or such a part of a number, is next to zero."""


@function("complex.view_as_real", "complex.view_as_complex", onnx="identity")
def seen_as(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), input)


@function("complex.complex", onnx="concat")
def made(build: CallBuilder, real: Value, imag: Value) -> Ref:
    *shape, _ = build.outputs[0].shape
    parts = []
    for part in (real, imag):
        if build.shape(part) == tuple(shape):
            parts.append(build.ref(part))
        else:
            parts.append(build.add(ops.Expand(shape=tuple(shape)), part))
    return joined(build, (parts[0], parts[1]), len(shape))


def _turned(build: CallBuilder, size: Ref, turn: Ref) -> Ref:
    return _given(
        build, [build.add(ops.Mul(), size, build.add(f, turn)) for f in (ops.Cos(), ops.Sin())]
    )


@function("complex.polar", onnx="mul")
def polar(build: CallBuilder, abs: Value, angle: Value) -> Ref:
    return _turned(build, build.ref(abs), build.ref(angle))


@function("complex.exp", "complex.exp_", onnx="exp")
def exponential(build: CallBuilder, input: Value) -> Ref:
    size, turn = pair_of(build, input)
    return _turned(build, build.add(ops.Exp(), size), turn)


@function("complex.conj", "complex.conj_physical", "complex.conj_physical_", onnx="neg")
def conjugate(build: CallBuilder, input: Value) -> Ref:
    real, imaginary = pair_of(build, input)
    return _given(build, (real, build.add(ops.Neg(), imaginary)))


@function("complex.resolve_conj", "complex.resolve_neg", onnx="identity")
def resolved(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), input)


@function("complex.mH", "complex.H", "complex.adjoint", onnx="transpose")
def adjoint(build: CallBuilder, input: Value) -> Ref:
    real, imaginary = pair_of(build, input)
    rank = rank_of(build, input)
    turn = ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2))
    return _given(build, (build.add(turn, real), build.add(ops.Neg(), build.add(turn, imaginary))))


@function(
    *(f"complex.{name}" for name in ("to", "type", "type_as", "_to_copy", "cfloat", "cdouble")),
    onnx="cast",
    idle="args dtype device layout pin_memory copy other",
)
def to(build: CallBuilder, input: Value, *args: Any, **kwargs: Any) -> Ref:
    """From real numbers or from complex ones: of a real type the real parts are left."""
    parts = pair_of(build, input)
    if build.outputs[0].ndim < rank_of(build, input) + 1:
        return build.add(ops.Identity(), parts[0])
    if len(parts) > 1:
        return build.add(ops.Identity(), input)
    return joined(build, (parts[0], build.add(ops.Mul(), parts[0], 0.0)), build.rank(input))


# Products and quotients.


def _product(build: CallBuilder, first: Sequence[Ref], second: Sequence[Ref]) -> list[Ref]:
    """(a + bi)(c + di), where one of the two may be real."""

    def times(left: Ref, right: Ref) -> Ref:
        return build.add(ops.Mul(), left, right)

    if len(first) == 1 or len(second) == 1:
        return [times(left, right) for left in first for right in second]
    real = build.add(ops.Sub(), times(first[0], second[0]), times(first[1], second[1]))
    return [real, build.add(ops.Add(), times(first[0], second[1]), times(first[1], second[0]))]


@function(
    *(f"complex.{name}" for name in ("mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__")),
    onnx="mul",
)
def product(build: CallBuilder, input: Value, other: Value) -> Ref:
    return _given(build, _product(build, pair_of(build, input), pair_of(build, other)))


@function("complex.square", onnx="square")
def square(build: CallBuilder, input: Value) -> Ref:
    pair = pair_of(build, input)
    return _given(build, _product(build, pair, pair))


@function("complex.pow", "complex.__pow__", onnx="pow")
def power(build: CallBuilder, input: Value, exponent: Value) -> Ref:
    if exponent not in (2, 3, 4) or not isinstance(exponent, int | float):
        raise Undescribed("only the second to fourth power of complex numbers is supported")
    pair = product = pair_of(build, input)
    for _ in range(int(exponent) - 1):
        product = tuple(_product(build, product, pair))
    return _given(build, product)


def _quotient(build: CallBuilder, above: Sequence[Ref], below: Sequence[Ref]) -> list[Ref]:
    """By a real number, or by a complex one: times its conjugate, over the square of its size."""
    if len(below) > 1:
        size = build.add(ops.Add(), *(build.add(ops.Square(), part) for part in below))
        conjugate = (below[0], build.add(ops.Neg(), below[1]))
        above, below = _product(build, above, conjugate), (size,)
    return [build.add(ops.Div(), part, below[0]) for part in above]


@function(
    *(f"complex.{name}" for name in ("div", "div_", "divide", "true_divide")),
    *("complex.__truediv__", "complex.__itruediv__", "complex.__div__"),
    onnx="div",
)
def quotient(
    build: CallBuilder, input: Value, other: Value, rounding_mode: str | None = None
) -> Ref:
    return _given(build, _quotient(build, pair_of(build, input), pair_of(build, other)))


@function("complex.__rtruediv__", "complex.__rdiv__", onnx="div")
def quotient_of(build: CallBuilder, input: Value, other: Value) -> Ref:
    return _given(build, _quotient(build, pair_of(build, other), pair_of(build, input)))


@function("complex.reciprocal", onnx="reciprocal")
def reciprocal(build: CallBuilder, input: Value) -> Ref:
    return _given(build, _quotient(build, (build.ref(1.0),), pair_of(build, input)))


def _multiplied_out(build: CallBuilder, name: str, operands: Sequence[Any], *args: Any) -> Ref:
    """A function that is linear in each of two operands, by their parts; what else it takes stands
    before them."""

    def times(left: int, right: int) -> Ref:
        arrays = [
            _arrays(build, value)[part] for value, part in zip(operands, (left, right), strict=True)
        ]
        outputs = [out[..., 0] for out in build.outputs]
        inner = CallBuilder(arrays, outputs, build.kinds, build.training)
        given = (*args, Ref(-1, 0), Ref(-1, 1))
        steps = describe_function(name, name, inner, given, {}).steps
        return build.include(steps, pairs[0][left], pairs[1][right])[0]

    pairs = [pair_of(build, value) for value in operands]
    if min(map(len, pairs)) == 1:
        found = [times(k, m) for k in range(len(pairs[0])) for m in range(len(pairs[1]))]
    else:
        found = [
            build.add(ops.Sub(), times(0, 0), times(1, 1)),
            build.add(ops.Add(), times(0, 1), times(1, 0)),
        ]
    return _given(build, found)


def _arrays(build: CallBuilder, value: Any) -> tuple[np.ndarray, ...]:
    """The numbers of what stands for a tensor: of a complex one its real and imaginary parts."""
    array = build.array(value)
    if id(value) in build.complexes:
        return array[..., 0], array[..., 1]
    return (array,)


@function("complex.einsum", onnx="einsum")
def einsum(build: CallBuilder, equation: str, *operands: Any) -> Ref:
    """Of two operands, multiplied out."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        given = operands[0]
    else:
        given = operands
    if not isinstance(equation, str) or len(given) != 2:
        raise Undescribed("only two operands are supported where they are complex")
    return _multiplied_out(build, "einsum", given, equation)


def _register_product(name: str) -> None:
    @function(f"complex.{name}", onnx=name.strip("_"))
    def multiplied(build: CallBuilder, input: Value, other: Value) -> Ref:
        return _multiplied_out(build, name, (input, other))


for _name in ("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "outer", "inner"):
    _register_product(_name)


@function("complex.linear", onnx="gemm")
def linear(build: CallBuilder, input: Value, weight: Value, bias: Value | None = None) -> Ref:
    rank = len(build.shape(weight)) - (id(weight) in build.complexes)
    if rank != 2:
        raise Undescribed("a weight that is no matrix is not supported")
    y = _multiplied_out(build, "linear", (input, weight))
    if bias is None:
        return y
    parts = pair_of(build, bias)
    if len(parts) > 1:
        return build.add(ops.Add(), y, bias)
    zero = build.add(ops.Mul(), parts[0], 0.0)
    return build.add(ops.Add(), y, joined(build, (parts[0], zero), 1))
