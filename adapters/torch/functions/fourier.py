"""Complex numbers: Fourier transforms, and what is done to their results. Arrays hold the real and
imaginary parts along a last axis more.

Where a complex tensor is given or made, a function goes by the name "complex.…" in the table.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.description.stft import Pair, half, resized, unhalved
from probe.errors import Undescribed

from .describe import CallBuilder, Value, describe_function, function

__all__: list[str] = []


def _rank(build: CallBuilder, x: Value) -> int:
    return build.rank(x) - (id(x) in build.complexes)


def _pair(build: CallBuilder, x: Value) -> tuple[Ref, ...]:
    """(real,) of a real tensor, else (real, imaginary)."""
    if id(x) not in build.complexes:
        return (build.ref(x),)
    rank = build.rank(x) - 1
    cuts = [ops.Slice((*(0,) * rank, part), (*(None,) * rank, part + 1)) for part in (0, 1)]
    return tuple(build.add(ops.Squeeze(axes=(rank,)), build.add(cut, x)) for cut in cuts)


def _joined(build: CallBuilder, pair: Sequence[Ref], rank: int) -> Ref:
    return build.add(
        ops.Concat(axis=rank), *(build.add(ops.Unsqueeze(axes=(rank,)), part) for part in pair)
    )


def _scale(count: int, inverse: bool, norm: str | None) -> float:
    if norm == "ortho":
        return 1 / math.sqrt(count)
    if inverse == (norm in (None, "backward")):
        return 1 / count
    return 1.0


def _transformed(
    build: CallBuilder, parts: Sequence[Ref], axes: Sequence[int], inverse: bool, scale: float
) -> Pair:
    done = build.add(ops.Fourier(tuple(axes), inverse, scale), *parts)
    return Ref(done.step, 0), Ref(done.step, 1)


def _line(
    build: CallBuilder,
    kind: str,
    x: Value,
    sizes: Sequence[int | None],
    dims: Sequence[int],
    norm: str | None,
) -> Ref:
    """fft, ifft, rfft, irfft along some axes; the real ones halve the last of them, or make it
    whole."""
    rank, inverse, real = (
        _rank(build, x),
        "ifft" in kind or kind == "irfft",
        kind in ("rfft", "irfft"),
    )
    axes, parts = [dim % rank for dim in dims], _pair(build, x)
    have = dict(enumerate(build.shape(x)))
    wanted = [
        have[axis] if size in (None, -1) else int(size or 0)
        for axis, size in zip(axes, sizes, strict=True)
    ]
    last = axes[-1]
    if kind == "irfft" and sizes[-1] in (None, -1):
        wanted[-1] = 2 * (have[last] - 1)
    whole = axes if kind != "irfft" else axes[:-1]
    for axis, size in list(zip(axes, wanted, strict=True))[: len(whole)]:
        parts = tuple(resized(build, part, rank, axis, have[axis], size) for part in parts)
    scale = _scale(math.prod(wanted), inverse, norm)
    if kind == "irfft":
        pair: Pair = (
            parts[0],
            parts[-1] if len(parts) > 1 else build.add(ops.Mul(), parts[0], 0.0),
        )
        if whole:
            pair = _transformed(build, pair, whole, True, 1.0)
        pair = unhalved(build, pair, rank, last, have[last], wanted[-1])
        return build.add(ops.Identity(), _transformed(build, pair, (last,), True, scale)[0])
    pair = _transformed(build, parts, axes, inverse, scale)
    return _joined(build, half(build, pair, rank, last, wanted[-1]) if real else pair, rank)


def _register(kind: str) -> None:
    @function(f"complex.fft_{kind}", onnx="dft")
    def one(
        build: CallBuilder,
        input: Value,
        n: int | None = None,
        dim: int = -1,
        norm: str | None = None,
    ) -> Ref:
        return _line(build, kind, input, (n,), (dim,), norm)

    def several(
        build: CallBuilder, input: Value, s: Any = None, dim: Any = None, norm: str | None = None
    ) -> Ref:
        if dim is None:
            rank = _rank(build, input)
            if s is None:
                dim = tuple(range(rank))
            else:
                dim = tuple(range(rank - len(s), rank))
        return _line(
            build, kind, input, (None,) * len(dim) if s is None else tuple(s), tuple(dim), norm
        )

    @function(f"complex.fft_{kind}2", onnx="dft")
    def two(
        build: CallBuilder,
        input: Value,
        s: Any = None,
        dim: Any = (-2, -1),
        norm: str | None = None,
    ) -> Ref:
        return several(build, input, s, dim, norm)

    function(f"complex.fft_{kind}n", onnx="dft")(several)


for _kind in ("fft", "ifft", "rfft", "irfft"):
    _register(_kind)


@function("complex.real", onnx="split")
def real(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), _pair(build, input)[0])


@function("complex.imag", onnx="split")
def imaginary(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.Identity(), _pair(build, input)[1])


@function("complex.abs", "complex.__abs__", onnx="abs")
def absolute(build: CallBuilder, input: Value) -> Ref:
    return build.add(ops.ReduceL2(axes=(build.rank(input) - 1,), keepdims=False), input)


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
    return _joined(build, (parts[0], parts[1]), len(shape))


@function("complex.mul", "complex.__mul__", "complex.__rmul__", "complex.multiply", onnx="mul")
def product(build: CallBuilder, input: Value, other: Value) -> Ref:
    """(a + bi)(c + di), where one of the two may be real."""
    if isinstance(input, complex) or isinstance(other, complex):
        raise Undescribed("a Python complex number is not supported")
    first, second = _pair(build, input), _pair(build, other)
    rank = len(build.outputs[0].shape) - 1

    def times(left: Ref, right: Ref) -> Ref:
        return build.add(ops.Mul(), left, right)

    if len(first) == 1 or len(second) == 1:
        return _joined(build, [times(left, right) for left in first for right in second], rank)
    real = build.add(ops.Sub(), times(first[0], second[0]), times(first[1], second[1]))
    imaginary = build.add(ops.Add(), times(first[0], second[1]), times(first[1], second[0]))
    return _joined(build, (real, imaginary), rank)


@function("complex.einsum", onnx="einsum")
def einsum(build: CallBuilder, equation: str, *operands: Any) -> Ref:
    """Of two operands, multiplied out."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        given = operands[0]
    else:
        given = operands
    if (
        not isinstance(equation, str)
        or len(given) != 2
        or any(id(value) not in build.complexes for value in given)
    ):
        raise Undescribed("only two complex operands are supported")
    (a, b), (c, d) = (_pair(build, value) for value in given)

    def times(left: Ref, right: Ref) -> Ref:
        return build.add(ops.Einsum(equation=equation), left, right)

    first = build.add(ops.Sub(), times(a, c), times(b, d))
    return _joined(
        build,
        (first, build.add(ops.Add(), times(a, d), times(b, c))),
        len(build.outputs[0].shape) - 1,
    )


def _register_by_parts(name: str) -> None:
    sums = name.strip("_") in ("add", "radd", "rsub", "sub")

    @function(f"complex.{name}", onnx=name.strip("_"))
    def by_parts(build: CallBuilder, *args: Any, **kwargs: Any) -> Ref:
        """What is done to the real parts and to the imaginary parts alike; what is real has
        imaginary parts of 0."""
        if any(isinstance(value, Weight) for value in (*args, *kwargs.values())):
            raise Undescribed("a parameter as an operand of complex numbers is not supported here")
        whole = {index for index in range(len(build.inputs)) if index in build.whole}
        apart = [_pair_of(build, index, index in whole) for index in range(len(build.inputs))]
        found: list[Ref] = []
        for part in (0, 1):
            arrays = [
                x[..., part] if index in whole else x * (1 - part)
                for index, x in enumerate(build.inputs)
            ]
            inner = CallBuilder(
                arrays, [out[..., part] for out in build.outputs], build.kinds, build.training
            )
            given = [
                0.0 if part and sums and isinstance(value, int | float) else value for value in args
            ]
            steps = describe_function(name, name, inner, given, kwargs).steps
            found += build.include(steps, *(pair[part] for pair in apart))
        return _joined(build, found, len(build.outputs[0].shape) - 1)


def _pair_of(build: CallBuilder, index: int, whole: bool) -> tuple[Ref, Ref]:
    x, array = Ref(-1, index), build.inputs[index]
    if not whole:
        return x, build.ref(np.zeros(array.shape))
    rank = array.ndim - 1
    cuts = [ops.Slice((*(0,) * rank, part), (*(None,) * rank, part + 1)) for part in (0, 1)]
    first, second = (build.add(ops.Squeeze(axes=(rank,)), build.add(cut, x)) for cut in cuts)
    return first, second


for _name in (
    *(
        "__add__",
        "__getitem__",
        "__neg__",
        "__radd__",
        "__rsub__",
        "__sub__",
        "add",
        "cat",
        "clone",
        "contiguous",
        "expand",
        "flatten",
        "flip",
        "mean",
    ),
    *(
        "movedim",
        "narrow",
        "neg",
        "permute",
        "reshape",
        "roll",
        "select",
        "squeeze",
        "stack",
        "sub",
        "sum",
        "transpose",
        "unflatten",
    ),
    *("unsqueeze", "view"),
):
    _register_by_parts(_name)
