"""Matrix products, convolutions and attention as functions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.describe import ntuple
from ..layers.attention import dot_product_attention
from .describe import Function, Value, function
from .shape import narrow

__all__ = ["attention", "convolution", "linear", "matmul"]


@function(
    "matmul",
    "bmm",
    "mm",
    "mv",
    "dot",
    "inner",
    "vdot",
    "__matmul__",
    "linalg_matmul",
    onnx="matmul",
)
def matmul(recipe: Function, input: Value, other: Value) -> Ref:
    return recipe.put(ops.Product(), input, other)


@function("__rmatmul__", onnx="matmul")
def rmatmul(recipe: Function, input: Value, other: Value) -> Ref:
    return recipe.put(ops.Product(), other, input)


@function("addmm", "addbmm", "baddbmm", "addmv", onnx="gemm")
def addmm(
    recipe: Function, input: Value, mat1: Value, mat2: Value, *, beta: float = 1, alpha: float = 1
) -> Ref:
    if recipe.array(mat1).dtype.kind != "f" and any(
        factor != int(factor) for factor in (alpha, beta)
    ):
        raise Undescribed("a factor that is no integer beside integers has no description")
    product = recipe.put(ops.Product(), mat1, mat2)
    if recipe.rank(mat1) == 3 and len(recipe.outputs[0].shape) == 2:
        raise Undescribed("a sum over the batch has no description")
    product = product if alpha == 1 else recipe.put(ops.Mul(), product, alpha)
    return recipe.put(
        ops.Add(), product, input if beta == 1 else recipe.put(ops.Mul(), input, beta)
    )


@function("grouped_mm", "_grouped_mm", onnx="matmul")
def grouped_mm(
    recipe: Function,
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
        raise Undescribed("a bias or an out_dtype has no description")
    if offs is None:
        return matmul(recipe, input, mat2)
    rows, columns = recipe.rank(input) == 2, recipe.rank(mat2) == 2
    size = recipe.shape(mat2)[0 if rows else -1] if columns else recipe.shape(input)[0]
    ends = recipe.array(offs).tolist()
    if ends[-1] != size:
        raise Undescribed(f"offs ends at {ends[-1]} of {size}: what lies beyond is not set")
    products = []
    for group, (start, end) in enumerate(pairwise((0, *ends))):
        if start == end and rows != columns:
            continue
        left = (
            narrow(recipe, input, int(columns), start, end - start)
            if rows
            else _matrix(recipe, input, group)
        )
        right = (
            narrow(recipe, mat2, int(not rows), start, end - start)
            if columns
            else _matrix(recipe, mat2, group)
        )
        products.append(recipe.put(ops.Product(), left, right))
    if not (rows and columns):
        return recipe.put(ops.Concat(axis=int(columns)), *products)
    matrix = (1, *recipe.outputs[0].shape[1:])
    return recipe.put(
        ops.Concat(axis=0), *(recipe.put(ops.Reshape(shape=matrix), one) for one in products)
    )


def _matrix(recipe: Function, input: Value, index: int) -> Ref:
    """One matrix of several."""
    return recipe.put(
        ops.Reshape(shape=recipe.shape(input)[1:]), narrow(recipe, input, 0, index, 1)
    )


@function("outer", "ger", onnx="einsum")
def outer(recipe: Function, input: Value, vec2: Value) -> Ref:
    return recipe.put(ops.Einsum(equation="i,j->ij"), input, vec2)


@function("einsum", onnx="einsum")
def einsum(recipe: Function, equation: str, *operands: Any) -> Ref:
    if not isinstance(equation, str):
        raise Undescribed("einsum by sublists has no description")
    given: Sequence[Value] = (
        operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    )
    return recipe.put(ops.Einsum(equation=equation), *given)


@function("linear", onnx="gemm")
def linear(recipe: Function, input: Value, weight: Value, bias: Value | None = None) -> Ref:
    """x times the transposed weight; a weight of one axis is a vector."""
    if recipe.fixed(weight) and recipe.rank(weight) == 2 and (bias is None or recipe.fixed(bias)):
        return recipe.module(
            "Linear",
            input,
            {"weight": recipe.weight("weight", weight), "bias": recipe.weight("bias", bias)},
        )
    rank = recipe.rank(weight)
    turned = recipe.put(ops.Transpose(perm=(1, 0)), weight) if rank == 2 else weight
    product = recipe.put(ops.Product(), input, turned)
    return product if bias is None else recipe.put(ops.Add(), product, bias)


def _register_convolution(rank: int) -> None:
    @function(f"conv{rank}d", onnx="conv")
    def call(
        recipe: Function,
        input: Value,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Ref:
        return convolution(recipe, rank, input, weight, bias, stride, padding, dilation, groups)


for _rank in (1, 2, 3):
    _register_convolution(_rank)


# of the transposed one, and which kernel
@function("convolution", "_convolution", onnx="conv", idle="output_padding rest")
def any_convolution(
    recipe: Function,
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
        raise Undescribed("aten.convolution with transposed=True has no description")
    return convolution(
        recipe, recipe.rank(weight) - 2, input, weight, bias, stride, padding, dilation, groups
    )


def convolution(
    recipe: Function,
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
    kernel = recipe.shape(weight)
    if recipe.fixed(weight) and (bias is None or recipe.fixed(bias)):
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
        held = {"weight": recipe.weight("weight", weight), "bias": recipe.weight("bias", bias)}
        return recipe.module(f"Conv{rank}d", input, held, **attributes)
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
    x, alone = recipe.ref(input), recipe.rank(input) == rank + 1
    if alone:
        x = recipe.put(ops.Reshape(shape=(1, *recipe.shape(input))), x)
    found = recipe.put(op, x, weight)
    if bias is not None:
        found = recipe.put(
            ops.Add(), found, recipe.put(ops.Reshape(shape=(-1, *(1,) * rank)), bias)
        )
    return recipe.reshaped(found) if alone else found


def _register_transposed(rank: int) -> None:
    @function(f"conv_transpose{rank}d", onnx="convtranspose")
    def call(
        recipe: Function,
        input: Value,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Ref:
        kernel = recipe.shape(weight)
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
        held = {"weight": recipe.weight("weight", weight), "bias": recipe.weight("bias", bias)}
        return recipe.module(f"ConvTranspose{rank}d", input, held, **attributes)


for _rank in (1, 2, 3):
    _register_transposed(_rank)


@function("scaled_dot_product_attention", onnx="attention")
def attention(
    recipe: Function,
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
    q, k, v = (recipe.array(one) for one in (query, key, value))
    mask = None if attn_mask is None else recipe.array(attn_mask)
    op = dot_product_attention(
        q, k, v, mask, dropout=dropout_p, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
    )
    return recipe.put(op, query, key, value, *(() if attn_mask is None else (attn_mask,)))
