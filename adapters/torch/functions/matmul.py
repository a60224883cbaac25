"""Matrix products, convolutions and attention as functions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.describe import ntuple
from ..layers.attention import dot_product_attention
from .describe import CallBuilder, Value, function
from .shape import narrow

__all__ = ["attention", "convolution", "linear", "matmul"]


@function(
    "matmul",
    "bmm",
    "mm",
    "mv",
    "dot",
    "vdot",
    "__matmul__",
    "linalg_matmul",
    onnx="matmul",
)
def matmul(build: CallBuilder, input: Value, other: Value) -> Ref:
    return build.add(ops.Product(), input, other)


@function("inner", onnx="matmul")
def inner(build: CallBuilder, input: Value, other: Value) -> Ref:
    """The sums of products along the last axis of both; one without axes is a factor."""
    ranks = build.rank(input), build.rank(other)
    if not all(ranks):
        return build.add(ops.Mul(), input, other)
    letters = "abcdefghijklmnopqrstuvwxy"
    left, right = letters[: ranks[0] - 1], letters[ranks[0] - 1 : sum(ranks) - 2]
    return build.add(ops.Einsum(equation=f"{left}z,{right}z->{left}{right}"), input, other)


@function("__rmatmul__", onnx="matmul")
def rmatmul(build: CallBuilder, input: Value, other: Value) -> Ref:
    return build.add(ops.Product(), other, input)


@function("addmm", "addbmm", "baddbmm", "addmv", onnx="gemm")
def addmm(
    build: CallBuilder, input: Value, mat1: Value, mat2: Value, *, beta: float = 1, alpha: float = 1
) -> Ref:
    if build.array(mat1).dtype.kind != "f" and any(
        factor != int(factor) for factor in (alpha, beta)
    ):
        raise Undescribed("a non-integer factor for integer tensors is not supported")
    product = build.add(ops.Product(), mat1, mat2)
    if build.rank(mat1) == 3 and len(build.outputs[0].shape) == 2:
        raise Undescribed("a sum over the batch is not supported")
    if alpha != 1:
        product = build.add(ops.Mul(), product, alpha)
    return build.add(ops.Add(), product, input if beta == 1 else build.add(ops.Mul(), input, beta))


@function("grouped_mm", "_grouped_mm", onnx="matmul")
def grouped_mm(
    build: CallBuilder,
    input: Value,
    mat2: Value,
    *,
    offs: Any = None,
    bias: Any = None,
    out_dtype: Any = None,
) -> Ref:
    """A product for each group: a matrix along the first axis of an argument of three axes, and
    what lies between two of ``offs`` along an axis of one of two: rows of ``input``, columns of
    ``mat2``, or the terms where both have two."""
    if bias is not None or out_dtype is not None:
        raise Undescribed("a bias or an out_dtype is not supported")
    if offs is None:
        return matmul(build, input, mat2)
    rows, columns = build.rank(input) == 2, build.rank(mat2) == 2
    if columns:
        size = build.shape(mat2)[0 if rows else -1]
    else:
        size = build.shape(input)[0]
    ends = build.array(offs).tolist()
    if ends[-1] != size:
        raise Undescribed(f"offs ends at {ends[-1]} of {size}; the output beyond is uninitialised")
    products = []
    for group, (start, end) in enumerate(pairwise((0, *ends))):
        if start == end and rows != columns:
            continue
        if rows:
            left = narrow(build, input, int(columns), start, end - start)
        else:
            left = _matrix(build, input, group)
        if columns:
            right = narrow(build, mat2, int(not rows), start, end - start)
        else:
            right = _matrix(build, mat2, group)
        products.append(build.add(ops.Product(), left, right))
    if not (rows and columns):
        return build.add(ops.Concat(axis=int(columns)), *products)
    matrix = (1, *build.outputs[0].shape[1:])
    return build.add(
        ops.Concat(axis=0), *(build.add(ops.Reshape(shape=matrix), product) for product in products)
    )


def _matrix(build: CallBuilder, input: Value, index: int) -> Ref:
    """One matrix of several."""
    return build.add(ops.Reshape(shape=build.shape(input)[1:]), narrow(build, input, 0, index, 1))


@function("linalg_solve_triangular", onnx="solvetriangular")
def solve_triangular(
    build: CallBuilder,
    A: Value,
    B: Value,
    *,
    upper: bool = False,
    left: bool = True,
    unitriangular: bool = False,
) -> Ref:
    """Row after row: what is left of B less the rows before, each with its factor, divided by the
    number on the diagonal. B is a term of that sum, which may be added up in any order."""
    size, whole = build.shape(A)[-1], build.outputs[0].shape
    if not left:
        raise Undescribed("left=False is not supported")
    if not 0 < size <= _ROWS:
        raise Undescribed(f"systems of 1 to {_ROWS} rows are supported; this one has {size}")
    rest = tuple((0, length) for length in build.shape(A)[:-2])
    axis, solved = len(whole) - 2, None
    unit = np.ones((*build.shape(A)[:-2], 1, 1))
    for row in reversed(range(size)) if upper else range(size):
        y = build.add(ops.Expand(shape=(*whole[:-2], 1, whole[-1])), narrow(build, B, -2, row, 1))
        if solved is not None:
            columns = (row + 1, size) if upper else (0, row)
            factors = build.add(ops.Neg(), _block(build, A, (*rest, (row, row + 1), columns)))
            factors = build.add(ops.Concat(axis=unit.ndim - 1), factors, unit)
            terms = build.add(ops.Concat(axis=axis), solved, y)
            y = build.add(ops.Product(), factors, terms)
        if not unitriangular:
            diagonal = _block(build, A, (*rest, (row, row + 1), (row, row + 1)))
            y = build.add(ops.Div(), y, diagonal)
        rows = () if solved is None else (solved,)
        solved = build.add(ops.Concat(axis=axis), *((y, *rows) if upper else (*rows, y)))
    assert solved is not None
    return solved


_ROWS = 128


def _block(build: CallBuilder, input: Value, bounds: Sequence[tuple[int, int]]) -> Ref:
    starts, stops = zip(*bounds, strict=True)
    return build.add(ops.Slice(starts=starts, stops=stops), input)


@function("outer", "ger", onnx="einsum")
def outer(build: CallBuilder, input: Value, vec2: Value) -> Ref:
    return build.add(ops.Einsum(equation="i,j->ij"), input, vec2)


@function("einsum", onnx="einsum")
def einsum(build: CallBuilder, equation: str, *operands: Any) -> Ref:
    if not isinstance(equation, str):
        raise Undescribed("einsum in the sublist format is not supported")
    given: Sequence[Value] = (
        operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    )
    return build.add(ops.Einsum(equation=equation), *given)


@function("linear", onnx="gemm")
def linear(build: CallBuilder, input: Value, weight: Value, bias: Value | None = None) -> Ref:
    """x times the transposed weight; a weight of one axis is a vector."""
    if build.fixed(weight) and build.rank(weight) == 2 and (bias is None or build.fixed(bias)):
        return build.module(
            "Linear",
            input,
            {"weight": build.weight("weight", weight), "bias": build.weight("bias", bias)},
        )
    rank = build.rank(weight)
    turned = build.add(ops.Transpose(perm=(1, 0)), weight) if rank == 2 else weight
    product = build.add(ops.Product(), input, turned)
    if bias is None:
        return product
    return build.add(ops.Add(), product, bias)


def _register_convolution(rank: int) -> None:
    @function(f"conv{rank}d", onnx="conv")
    def call(
        build: CallBuilder,
        input: Value,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Ref:
        return convolution(build, rank, input, weight, bias, stride, padding, dilation, groups)


for _rank in (1, 2, 3):
    _register_convolution(_rank)


# of the transposed one, and which kernel
@function("convolution", "_convolution", onnx="conv", idle="output_padding rest")
def any_convolution(
    build: CallBuilder,
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    *rest: Any,
) -> Ref:
    if transposed:
        raise Undescribed("aten.convolution with transposed=True is not supported")
    return convolution(
        build, build.rank(weight) - 2, input, weight, bias, stride, padding, dilation, groups
    )


def convolution(
    build: CallBuilder,
    rank: int,
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Ref:
    """By a parameter as its module does; or by a kernel that is itself an input, for which the bias
    is added apart."""
    kernel = build.shape(weight)
    if build.fixed(weight) and (bias is None or build.fixed(bias)):
        attributes = {
            "kernel_size": kernel[2:],
            "out_channels": kernel[0],
            "padding_mode": "zeros",
            "groups": groups,
        }
        attributes |= {
            "stride": ntuple(stride, rank),
            "padding": padding,
            "dilation": ntuple(dilation, rank),
        }
        held = {"weight": build.weight("weight", weight), "bias": build.weight("bias", bias)}
        return build.module(f"Conv{rank}d", input, held, **attributes)
    dilations = ntuple(dilation, rank)
    pads: tuple[tuple[int, int], ...] = tuple(
        (p, p) for p in ntuple(0 if isinstance(padding, str) else padding, rank)
    )
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel[2:], dilations, strict=True)]
        pads = tuple((total // 2, total - total // 2) for total in totals)
    op = ops.Conv(
        weight=None,
        bias=None,
        strides=ntuple(stride, rank),
        pads=pads,
        dilations=dilations,
        groups=groups,
    )
    x, alone = build.ref(input), build.rank(input) == rank + 1
    if alone:
        x = build.add(ops.Reshape(shape=(1, *build.shape(input))), x)
    found = build.add(op, x, weight)
    if bias is not None:
        found = build.add(ops.Add(), found, build.add(ops.Reshape(shape=(-1, *(1,) * rank)), bias))
    if alone:
        return build.reshaped(found)
    return found


def _register_transposed(rank: int) -> None:
    @function(f"conv_transpose{rank}d", onnx="convtranspose")
    def call(
        build: CallBuilder,
        input: Value,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Ref:
        kernel = build.shape(weight)
        attributes = {
            "kernel_size": kernel[2:],
            "in_channels": kernel[0],
            "out_channels": kernel[1] * groups,
            "padding_mode": "zeros",
        }
        attributes |= {
            "groups": groups,
            "stride": ntuple(stride, rank),
            "padding": ntuple(padding, rank),
        }
        attributes |= {
            "output_padding": ntuple(output_padding, rank),
            "dilation": ntuple(dilation, rank),
        }
        held = {"weight": build.weight("weight", weight), "bias": build.weight("bias", bias)}
        return build.module(f"ConvTranspose{rank}d", input, held, **attributes)


for _rank in (1, 2, 3):
    _register_transposed(_rank)


@function("scaled_dot_product_attention", onnx="attention")
def attention(
    build: CallBuilder,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Ref:
    """softmax(query · keyᵀ · scale + mask) · value over the last two axes, as one op
    (``dot_product_attention``)."""
    q, k, v = (build.array(operand) for operand in (query, key, value))
    mask = None if attn_mask is None else build.array(attn_mask)
    op = dot_product_attention(
        q, k, v, mask, dropout=dropout_p, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
    )
    return build.add(op, query, key, value, *(() if attn_mask is None else (attn_mask,)))


@function("linalg_svdvals", onnx="svdvals", idle="driver")
def svdvals(build: CallBuilder, input: Value, *, driver: str | None = None) -> Ref:
    """``driver`` is a kernel for GPUs."""
    if not build.outputs[0].size:
        raise Undescribed("singular values of empty matrices")
    return build.add(ops.SingularValues(), input)
