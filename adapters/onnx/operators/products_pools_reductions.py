"""Operators that sum, average and normalise: products, convolutions, pools, reductions."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed
from probe.ops.window.same_padding import same_padding

from ..describe import Node, Value, node

__all__ = ["conv", "gemm", "pads", "window"]

Pads = tuple[tuple[int, int], ...]


@node("MatMul")
def matmul(recipe: Node, x: Value, y: Value) -> Ref:
    if isinstance(y, Weight) and y.value.ndim == 2 and recipe.rank(x) > 0:
        return recipe.put(ops.MatMul(weight=y, bias=None), x)
    return recipe.put(ops.Product(), x, y)


@node("Gemm")
def gemm(recipe: Node, x: Value, y: Value, bias: Value | None = None) -> Ref:
    """alpha * x * y + beta * bias, x and y turned where transA and transB say so."""
    left = recipe.put(ops.Transpose(perm=(1, 0)), x) if recipe.get("transA", 0) else x
    alpha, beta = recipe.get("alpha", 1.0), recipe.get("beta", 1.0)
    columns = recipe.outputs[0].shape[-1:]
    if (
        isinstance(y, Weight)
        and alpha == 1
        and (
            bias is None or (isinstance(bias, Weight) and bias.value.shape == columns and beta == 1)
        )
    ):
        return recipe.put(
            ops.MatMul(weight=replace(y, axes=(1, 0)) if recipe.get("transB", 0) else y, bias=bias),
            left,
        )
    right = recipe.put(ops.Transpose(perm=(1, 0)), y) if recipe.get("transB", 0) else y
    product = recipe.put(ops.Product(), left, right)
    product = product if alpha == 1 else recipe.put(ops.Mul(), product, alpha)
    if bias is None:
        return product
    return recipe.put(ops.Add(), product, bias if beta == 1 else recipe.put(ops.Mul(), bias, beta))


@node("Det")
def determinant(recipe: Node, x: Value) -> Ref:
    return recipe.put(ops.Det(), x)


@node("Einsum")
def einsum(recipe: Node, *values: Value) -> Ref:
    return recipe.put(ops.Einsum(equation=recipe.get("equation")), *values)


def pads(
    recipe: Node,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Pads:
    """(before, after) on each spatial axis; SAME_UPPER puts an odd cell after, SAME_LOWER
    before."""
    auto = recipe.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        flat = recipe.get("pads", (0,) * 2 * len(kernel))
        return tuple(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True))
    if auto == "VALID":
        return ((0, 0),) * len(kernel)
    found = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = same_padding(size, (k - 1) * d + 1, s)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return tuple(found)


def window(recipe: Node, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and padding of a convolution."""
    strides, dilations = (
        tuple(recipe.get(name, (1,) * len(kernel))) for name in ("strides", "dilations")
    )
    return {
        "strides": strides,
        "dilations": dilations,
        "pads": pads(recipe, sizes, kernel, strides, dilations),
    }


@node("Conv", implied=("kernel_shape",))
def conv(recipe: Node, x: Value, kernel: Value, bias: Value | None = None) -> Ref:
    size = recipe.shape(kernel)[2:]
    given = window(recipe, recipe.shape(x)[2:], size)
    if isinstance(kernel, Weight) and (bias is None or isinstance(bias, Weight)):
        return recipe.put(
            ops.Conv(weight=kernel, bias=bias, groups=recipe.get("group", 1), **given), x
        )
    found = recipe.put(
        ops.Conv(weight=None, bias=None, groups=recipe.get("group", 1), **given), x, kernel
    )
    if bias is None:
        return found
    return recipe.put(
        ops.Add(), found, recipe.put(ops.Reshape(shape=(-1, *(1,) * len(size))), bias)
    )


@node("ConvTranspose", implied=("kernel_shape",))
def conv_transpose(recipe: Node, x: Value, kernel: Value, bias: Value | None = None) -> Ref:
    """With ``output_shape``, or SAME, whose output is the input's size times the stride, the crops
    follow from that."""
    size, sizes = recipe.shape(kernel)[2:], recipe.shape(x)[2:]
    strides, dilations = (
        tuple(recipe.get(name, (1,) * len(size))) for name in ("strides", "dilations")
    )
    more, auto = (
        tuple(recipe.get("output_padding", (0,) * len(size))),
        recipe.get("auto_pad", "NOTSET"),
    )
    whole = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(sizes, strides, size, dilations, strict=True)
    ]
    wanted = recipe.get("output_shape") or (
        [n * s for n, s in zip(sizes, strides, strict=True)] if auto.startswith("SAME") else None
    )
    if wanted is None:
        flat = (
            recipe.get("pads", (0,) * 2 * len(size)) if auto == "NOTSET" else (0,) * 2 * len(size)
        )
        cut = list(zip(flat[: len(size)], flat[len(size) :], strict=True))
    else:
        totals = [
            have + one - want
            for have, one, want in zip(whole, more, wanted[-len(size) :], strict=True)
        ]
        if not recipe.get("output_shape"):
            # of SAME, where the stride is longer than the kernel
            totals = [max(0, total) for total in totals]
        # what is missing comes at the end
        halves = [(total // 2, total - total // 2) if total > 0 else (0, total) for total in totals]
        cut = [
            (less, rest) if auto == "SAME_UPPER" or rest < 0 else (rest, less)
            for less, rest in halves
        ]
    crops = tuple((before, after - one) for (before, after), one in zip(cut, more, strict=True))
    made = tuple(have - before - after for have, (before, after) in zip(whole, crops, strict=True))
    if made != recipe.outputs[0].shape[2:]:
        raise Undescribed(
            f"its output is {recipe.outputs[0].shape[2:]} where its attributes say {made}"
        )
    given: dict[str, Any] = {
        "strides": strides,
        "dilations": dilations,
        "crops": crops,
        "groups": recipe.get("group", 1),
    }
    if isinstance(kernel, Weight) and (bias is None or isinstance(bias, Weight)):
        return recipe.put(ops.ConvTranspose(weight=kernel, bias=bias, **given), x)
    found = recipe.put(ops.ConvTranspose(weight=None, bias=None, **given), x, kernel)
    return (
        found
        if bias is None
        else recipe.put(
            ops.Add(), found, recipe.put(ops.Reshape(shape=(-1, *(1,) * len(size))), bias)
        )
    )


def _pooled(recipe: Node, x: Value) -> dict[str, Any]:
    kernel = tuple(recipe.get("kernel_shape"))
    strides = tuple(recipe.get("strides", (1,) * len(kernel)))
    dilations = tuple(recipe.get("dilations", (1,) * len(kernel)))
    around = pads(recipe, recipe.shape(x)[2:], kernel, strides, dilations)
    return {
        "kernel": kernel,
        "strides": strides,
        "pads": around,
        "ceil_mode": bool(recipe.get("ceil_mode", 0)),
        "dilations": dilations,
    }


@node("MaxPool")
def max_pool(recipe: Node, x: Value) -> tuple[Ref, ...]:
    """Its second output names places in the whole tensor."""
    given = _pooled(recipe, x)
    if len(recipe.outputs) < 2:
        return (recipe.in_floats(ops.MaxPool(**given), x),)
    found = recipe.put(ops.MaxPoolIndices(**given), x)
    batch, channels, *sizes = recipe.shape(x)
    before = np.arange(batch * channels).reshape(batch, channels, *(1,) * len(sizes)) * math.prod(
        sizes
    )
    places = Ref(found.step, 1)
    if recipe.get("storage_order", 0):  # the last two axes are counted column by column
        order = np.arange(math.prod(sizes)).reshape(*sizes[:-2], *sizes[:-3:-1])
        turned = order.swapaxes(-1, -2) if len(sizes) > 1 else order
        places = recipe.put(ops.Gather(axis=0), turned.reshape(-1), places)
    return found, recipe.put(ops.Add(), places, before)


@node("MaxUnpool", implied=("kernel_shape", "output_shape", "pads", "strides"))
def max_unpool(recipe: Node, x: Value, places: Value, shape: Value | None = None) -> Ref:
    """Zeros with the values at their places in the whole tensor."""
    flat = [recipe.put(ops.Reshape(shape=(-1,)), one) for one in (x, places)]
    empty = np.zeros(math.prod(recipe.outputs[0].shape))
    return recipe.reshaped(
        recipe.put(ops.ScatterElements(axis=0, reduction="none"), empty, flat[1], flat[0])
    )


@node("AveragePool")
def average_pool(recipe: Node, x: Value) -> Ref:
    given = _pooled(recipe, x)
    dilations, padded = given.pop("dilations"), bool(recipe.get("count_include_pad", 0))
    if {*dilations} != {1}:
        return _dilated_average(
            recipe, x, given["kernel"], given["strides"], given["pads"], dilations, padded
        )
    return recipe.put(ops.AveragePool(**given, count_include_pad=padded), x)


def windows(
    recipe: Node,
    x: Value,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    around: Pads,
    dilations: tuple[int, ...],
) -> tuple[Ref, np.ndarray, np.ndarray]:
    """(batch, channel, tap, window), zeros beyond the input; and which taps are of the input, and
    which of it and its padding."""
    batch, channels, *sizes = recipe.shape(x)
    counts = recipe.outputs[0].shape[2:]
    ends = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(counts, strides, kernel, dilations, strict=True)
    ]
    wide = tuple(
        (before, max(0, end - before - size))
        for (before, _), end, size in zip(around, ends, sizes, strict=True)
    )
    columns = recipe.put(
        ops.Im2Col(kernel=kernel, strides=strides, pads=wide, dilations=dilations), x
    )
    apart = recipe.put(ops.Reshape(shape=(batch, channels, math.prod(kernel), -1)), columns)
    taps = np.meshgrid(
        *(np.arange(k) * d for k, d in zip(kernel, dilations, strict=True)), indexing="ij"
    )
    starts = np.meshgrid(
        *(np.arange(n) * s for n, s in zip(counts, strides, strict=True)), indexing="ij"
    )
    inside, known = np.ones((2, math.prod(kernel), math.prod(counts)), bool)
    for tap, start, (before, after), size in zip(taps, starts, around, sizes, strict=True):
        at = tap.reshape(-1, 1) + start.reshape(1, -1)
        inside &= (at >= before) & (at < before + size)
        known &= at < before + size + after
    return apart, inside, known


def _dilated_average(
    recipe: Node,
    x: Value,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    around: Pads,
    dilations: tuple[int, ...],
    padded: bool,
) -> Ref:
    """Over columns; padding counts where it is asked for, what lies beyond it (``ceil_mode``)
    never."""
    apart, inside, known = windows(recipe, x, kernel, strides, around, dilations)
    total = recipe.put(ops.ReduceSum(axes=(2,)), apart)
    count = np.maximum((known if padded else inside).sum(axis=0), 1)
    return recipe.reshaped(recipe.put(ops.Div(), total, count.astype(np.float64)))


@node("GlobalAveragePool")
def global_average_pool(recipe: Node, x: Value) -> Ref:
    return recipe.put(ops.GlobalAveragePool(axes=tuple(range(2, recipe.rank(x)))), x)


@node("GlobalMaxPool")
def global_max_pool(recipe: Node, x: Value) -> Ref:
    return recipe.put(ops.GlobalMaxPool(axes=tuple(range(2, recipe.rank(x)))), x)


def _register_softmax(name: str, op: Callable[..., Any]) -> None:
    @node(name)
    def softmax(recipe: Node, x: Value) -> Ref:
        """Before version 13 over the axes from ``axis`` (1) on, taken as one."""
        axis = recipe.get("axis", -1 if recipe.opset >= 13 else 1) % recipe.rank(x)
        if recipe.opset >= 13 or axis == recipe.rank(x) - 1:
            return recipe.put(op(axis=axis), x)
        flat = recipe.put(ops.Reshape(shape=(math.prod(recipe.shape(x)[:axis]), -1)), x)
        return recipe.reshaped(recipe.put(op(axis=1), flat))


for _name, _op in {"Softmax": ops.Softmax, "LogSoftmax": ops.LogSoftmax}.items():
    _register_softmax(_name, _op)


def _register_reduction(name: str, op: Callable[..., Any]) -> None:
    @node(name)
    def reduction(recipe: Node, x: Value, axes: Value | None = None) -> Ref:
        over = recipe.ints(axes, "axes")
        if not over and recipe.get("noop_with_empty_axes", 0):
            return recipe.put(ops.Identity(), x)
        return recipe.put(
            op(axes=over or tuple(range(recipe.rank(x))), keepdims=bool(recipe.get("keepdims", 1))),
            x,
        )


@node("ReduceLogSum")
def reduce_log_sum(recipe: Node, x: Value, axes: Value | None = None) -> Ref:
    over = recipe.ints(axes, "axes")
    if not over and recipe.get("noop_with_empty_axes", 0):
        return recipe.put(ops.Log(), x)
    whole = ops.ReduceSum(
        axes=over or tuple(range(recipe.rank(x))), keepdims=bool(recipe.get("keepdims", 1))
    )
    return recipe.put(ops.Log(), recipe.put(whole, x))


for _kind in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
    _register_reduction(f"Reduce{_kind}", getattr(ops, f"Reduce{_kind}"))


def _register_place(name: str, op: Callable[..., Any]) -> None:
    @node(name)
    def place(recipe: Node, x: Value) -> Ref:
        axis, kept = recipe.get("axis", 0) % recipe.rank(x), bool(recipe.get("keepdims", 1))
        if not recipe.get("select_last_index", 0):
            return recipe.put(op(axis=axis, keepdims=kept), x)
        found = recipe.put(op(axis=axis, keepdims=kept), recipe.put(ops.Flip(axis=axis), x))
        return recipe.put(ops.Sub(), np.asarray(recipe.shape(x)[axis] - 1), found)


for _kind in ("ArgMax", "ArgMin"):
    _register_place(_kind, getattr(ops, _kind))


@node("TopK")
def top_k(recipe: Node, x: Value, k: Value | None = None) -> tuple[Ref, Ref]:
    """``k`` is an input, before version 10 an attribute."""
    if not recipe.get("sorted", 1):
        raise Undescribed("sorted=0: the order is not said")
    count = recipe.get("k") if k is None else int(recipe.array(k).reshape(()))
    op = ops.TopK(k=count, axis=recipe.get("axis", -1), largest=bool(recipe.get("largest", 1)))
    found = recipe.put(op, x)
    return found, Ref(found.step, 1)
