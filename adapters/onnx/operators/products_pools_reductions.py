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

from ..describe import NodeBuilder, Value, node

__all__ = ["conv", "gemm", "pads", "pooled", "window"]

Pads = tuple[tuple[int, int], ...]


@node("MatMul")
def matmul(build: NodeBuilder, x: Value, y: Value) -> Ref:
    if isinstance(y, Weight) and y.value.ndim == 2 and build.rank(x) > 0:
        return build.add(ops.MatMul(weight=y, bias=None), x)
    return build.add(ops.Product(), x, y)


@node("Gemm")
def gemm(build: NodeBuilder, x: Value, y: Value, bias: Value | None = None) -> Ref:
    """alpha * x * y + beta * bias, x and y turned where transA and transB say so."""
    left = build.add(ops.Transpose(perm=(1, 0)), x) if build.get("transA", 0) else x
    alpha, beta = build.get("alpha", 1.0), build.get("beta", 1.0)
    columns = build.outputs[0].shape[-1:]
    if (
        isinstance(y, Weight)
        and alpha == 1
        and (
            bias is None or (isinstance(bias, Weight) and bias.value.shape == columns and beta == 1)
        )
    ):
        return build.add(
            ops.MatMul(weight=replace(y, axes=(1, 0)) if build.get("transB", 0) else y, bias=bias),
            left,
        )
    right = build.add(ops.Transpose(perm=(1, 0)), y) if build.get("transB", 0) else y
    product = build.add(ops.Product(), left, right)
    if alpha != 1:
        product = build.add(ops.Mul(), product, alpha)
    if bias is None:
        return product
    return build.add(ops.Add(), product, bias if beta == 1 else build.add(ops.Mul(), bias, beta))


@node("Det")
def determinant(build: NodeBuilder, x: Value) -> Ref:
    return build.add(ops.Det(), x)


@node("Einsum")
def einsum(build: NodeBuilder, *values: Value) -> Ref:
    return build.add(ops.Einsum(equation=build.get("equation")), *values)


def pads(
    build: NodeBuilder,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Pads:
    """(before, after) on each spatial axis; SAME_UPPER puts an odd cell after, SAME_LOWER
    before."""
    auto = build.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        flat = build.get("pads", (0,) * 2 * len(kernel))
        return tuple(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True))
    if auto == "VALID":
        return ((0, 0),) * len(kernel)
    found = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = same_padding(size, (k - 1) * d + 1, s)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return tuple(found)


def window(build: NodeBuilder, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Strides, dilations and padding of a convolution."""
    strides, dilations = (
        tuple(build.get(name, (1,) * len(kernel))) for name in ("strides", "dilations")
    )
    return {
        "strides": strides,
        "dilations": dilations,
        "pads": pads(build, sizes, kernel, strides, dilations),
    }


@node("Conv", implied=("kernel_shape",))
def conv(build: NodeBuilder, x: Value, kernel: Value, bias: Value | None = None) -> Ref:
    size = build.shape(kernel)[2:]
    given = window(build, build.shape(x)[2:], size)
    if isinstance(kernel, Weight) and (bias is None or isinstance(bias, Weight)):
        return build.add(
            ops.Conv(weight=kernel, bias=bias, groups=build.get("group", 1), **given), x
        )
    found = build.add(
        ops.Conv(weight=None, bias=None, groups=build.get("group", 1), **given), x, kernel
    )
    if bias is None:
        return found
    return build.add(ops.Add(), found, build.add(ops.Reshape(shape=(-1, *(1,) * len(size))), bias))


@node("ConvTranspose", implied=("kernel_shape",))
def conv_transpose(build: NodeBuilder, x: Value, kernel: Value, bias: Value | None = None) -> Ref:
    """With ``output_shape``, or SAME, whose output is the input's size times the stride, the crops
    follow from that."""
    size, sizes = build.shape(kernel)[2:], build.shape(x)[2:]
    strides, dilations = (
        tuple(build.get(name, (1,) * len(size))) for name in ("strides", "dilations")
    )
    more, auto = (
        tuple(build.get("output_padding", (0,) * len(size))),
        build.get("auto_pad", "NOTSET"),
    )
    whole = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(sizes, strides, size, dilations, strict=True)
    ]
    wanted = build.get("output_shape") or (
        [n * s for n, s in zip(sizes, strides, strict=True)] if auto.startswith("SAME") else None
    )
    if wanted is None:
        if auto == "NOTSET":
            flat = build.get("pads", (0,) * 2 * len(size))
        else:
            flat = (0,) * 2 * len(size)
        cut = list(zip(flat[: len(size)], flat[len(size) :], strict=True))
    else:
        totals = [
            have + extra - want
            for have, extra, want in zip(whole, more, wanted[-len(size) :], strict=True)
        ]
        if not build.get("output_shape"):
            # of SAME, where the stride is longer than the kernel
            totals = [max(0, total) for total in totals]
        # what is missing comes at the end
        halves = [(total // 2, total - total // 2) if total > 0 else (0, total) for total in totals]
        cut = [
            (less, rest) if auto == "SAME_UPPER" or rest < 0 else (rest, less)
            for less, rest in halves
        ]
    crops = tuple((before, after - extra) for (before, after), extra in zip(cut, more, strict=True))
    given: dict[str, Any] = {
        "strides": strides,
        "dilations": dilations,
        "crops": crops,
        "groups": build.get("group", 1),
    }
    if isinstance(kernel, Weight) and (bias is None or isinstance(bias, Weight)):
        return build.add(ops.ConvTranspose(weight=kernel, bias=bias, **given), x)
    found = build.add(ops.ConvTranspose(weight=None, bias=None, **given), x, kernel)
    if bias is None:
        return found
    return build.add(ops.Add(), found, build.add(ops.Reshape(shape=(-1, *(1,) * len(size))), bias))


def pooled(build: NodeBuilder, x: Value) -> dict[str, Any]:
    kernel = tuple(build.get("kernel_shape"))
    strides = tuple(build.get("strides", (1,) * len(kernel)))
    dilations = tuple(build.get("dilations", (1,) * len(kernel)))
    around = pads(build, build.shape(x)[2:], kernel, strides, dilations)
    return {
        "kernel": kernel,
        "strides": strides,
        "pads": around,
        "ceil_mode": bool(build.get("ceil_mode", 0)),
        "dilations": dilations,
    }


@node("MaxPool")
def max_pool(build: NodeBuilder, x: Value) -> tuple[Ref, ...]:
    """Its second output names places in the whole tensor."""
    given = pooled(build, x)
    if len(build.outputs) < 2:
        return (build.in_floats(ops.MaxPool(**given), x),)
    found = build.add(ops.MaxPoolIndices(**given), x)
    batch, channels, *sizes = build.shape(x)
    before = np.arange(batch * channels).reshape(batch, channels, *(1,) * len(sizes)) * math.prod(
        sizes
    )
    places = Ref(found.step, 1)
    if build.get("storage_order", 0):  # the last two axes are counted column by column
        order = np.arange(math.prod(sizes)).reshape(*sizes[:-2], *sizes[:-3:-1])
        turned = order.swapaxes(-1, -2) if len(sizes) > 1 else order
        places = build.add(ops.Gather(axis=0), turned.reshape(-1), places)
    return found, build.add(ops.Add(), places, before)


@node("MaxUnpool", implied=("kernel_shape", "output_shape", "pads", "strides"))
def max_unpool(build: NodeBuilder, x: Value, places: Value, shape: Value | None = None) -> Ref:
    """Zeros with the values at their places in the whole tensor."""
    flat = [build.add(ops.Reshape(shape=(-1,)), tensor) for tensor in (x, places)]
    empty = np.zeros(math.prod(build.outputs[0].shape))
    return build.reshaped(
        build.add(ops.ScatterElements(axis=0, reduction="none"), empty, flat[1], flat[0])
    )


@node("AveragePool")
def average_pool(build: NodeBuilder, x: Value) -> Ref:
    given = pooled(build, x)
    dilations, padded = given.pop("dilations"), bool(build.get("count_include_pad", 0))
    if {*dilations} != {1}:
        return _dilated_average(
            build, x, given["kernel"], given["strides"], given["pads"], dilations, padded
        )
    return build.add(ops.AveragePool(**given, count_include_pad=padded), x)


def windows(
    build: NodeBuilder,
    x: Value,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    around: Pads,
    dilations: tuple[int, ...],
) -> tuple[Ref, np.ndarray, np.ndarray]:
    """(batch, channel, tap, window), zeros beyond the input; and which taps are of the input, and
    which of it and its padding."""
    batch, channels, *sizes = build.shape(x)
    counts = build.outputs[0].shape[2:]
    ends = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(counts, strides, kernel, dilations, strict=True)
    ]
    wide = tuple(
        (before, max(0, end - before - size))
        for (before, _), end, size in zip(around, ends, sizes, strict=True)
    )
    columns = build.add(
        ops.Im2Col(kernel=kernel, strides=strides, pads=wide, dilations=dilations), x
    )
    apart = build.add(ops.Reshape(shape=(batch, channels, math.prod(kernel), -1)), columns)
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
    build: NodeBuilder,
    x: Value,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    around: Pads,
    dilations: tuple[int, ...],
    padded: bool,
) -> Ref:
    """Over columns; padding counts where it is asked for, what lies beyond it (``ceil_mode``)
    never."""
    apart, inside, known = windows(build, x, kernel, strides, around, dilations)
    total = build.add(ops.ReduceSum(axes=(2,)), apart)
    count = np.maximum((known if padded else inside).sum(axis=0), 1)
    return build.reshaped(build.add(ops.Div(), total, count.astype(np.float64)))


@node("GlobalAveragePool")
def global_average_pool(build: NodeBuilder, x: Value) -> Ref:
    return build.add(ops.GlobalAveragePool(axes=tuple(range(2, build.rank(x)))), x)


@node("GlobalMaxPool")
def global_max_pool(build: NodeBuilder, x: Value) -> Ref:
    return build.add(ops.GlobalMaxPool(axes=tuple(range(2, build.rank(x)))), x)


def _register_softmax(name: str, op: Callable[..., ops.Op]) -> None:
    @node(name)
    def softmax(build: NodeBuilder, x: Value) -> Ref:
        """Before version 13 over the axes from ``axis`` (1) on, taken as one."""
        axis = build.get("axis", -1 if build.opset >= 13 else 1) % build.rank(x)
        if build.opset >= 13 or axis == build.rank(x) - 1:
            return build.add(op(axis=axis), x)
        flat = build.add(ops.Reshape(shape=(math.prod(build.shape(x)[:axis]), -1)), x)
        return build.reshaped(build.add(op(axis=1), flat))


for _name, _op in {"Softmax": ops.Softmax, "LogSoftmax": ops.LogSoftmax}.items():
    _register_softmax(_name, _op)


def _register_reduction(name: str, op: Callable[..., ops.Op]) -> None:
    @node(name)
    def reduction(build: NodeBuilder, x: Value, axes: Value | None = None) -> Ref:
        over = build.ints(axes, "axes")
        if not over and build.get("noop_with_empty_axes", 0):
            # what is done to each element is done all the same
            if name == "ReduceSumSquare":
                return build.add(ops.Mul(), x, x)
            return build.add(ops.Abs() if name in ("ReduceL1", "ReduceL2") else ops.Identity(), x)
        return build.add(
            op(axes=over or tuple(range(build.rank(x))), keepdims=bool(build.get("keepdims", 1))), x
        )


@node("ReduceLogSum")
def reduce_log_sum(build: NodeBuilder, x: Value, axes: Value | None = None) -> Ref:
    over = build.ints(axes, "axes")
    if not over and build.get("noop_with_empty_axes", 0):
        return build.add(ops.Log(), x)
    whole = ops.ReduceSum(
        axes=over or tuple(range(build.rank(x))), keepdims=bool(build.get("keepdims", 1))
    )
    return build.add(ops.Log(), build.add(whole, x))


for _kind in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
    _register_reduction(f"Reduce{_kind}", getattr(ops, f"Reduce{_kind}"))


def _register_place(name: str, op: Callable[..., ops.Op]) -> None:
    @node(name)
    def place(build: NodeBuilder, x: Value) -> Ref:
        axis, kept = build.get("axis", 0) % build.rank(x), bool(build.get("keepdims", 1))
        if not build.get("select_last_index", 0):
            return build.add(op(axis=axis, keepdims=kept), x)
        found = build.add(op(axis=axis, keepdims=kept), build.add(ops.Flip(axis=axis), x))
        return build.add(ops.Sub(), np.asarray(build.shape(x)[axis] - 1), found)


for _kind in ("ArgMax", "ArgMin"):
    _register_place(_kind, getattr(ops, _kind))


@node("TopK")
def top_k(build: NodeBuilder, x: Value, k: Value | None = None) -> tuple[Ref, Ref]:
    """``k`` is an input, before version 10 an attribute."""
    if not build.get("sorted", 1):
        raise Undescribed("sorted=0 is not supported: the order is undefined")
    count = build.get("k") if k is None else int(build.array(k).reshape(()))
    op = ops.TopK(k=count, axis=build.get("axis", -1), largest=bool(build.get("largest", 1)))
    found = build.add(op, x)
    return found, Ref(found.step, 1)
