"""Convolutions, poolings and resizing in a graph of TensorFlow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..layers.conv import padding_pairs
from ..layers.resize import resized
from .node import FLOATS, Node, node

Pads = tuple[tuple[int, int], ...]


def _last(n: Node) -> bool:
    """Whether the channels are the last axis."""
    return not str(n.attr("data_format")).startswith("NC")


def _spatial(values: Sequence[int], last: bool) -> tuple[int, ...]:
    """Those of the spatial axes among one for each axis; Undescribed where the others are not 1."""
    inner = tuple(values[1:-1] if last else values[2:])
    if any(one != 1 for one in ((values[0], values[-1]) if last else values[:2])):
        raise Undescribed(f"windows over {list(values)} are not supported")
    return inner


def _first(n: Node, x: Ref, last: bool) -> Ref:
    """(batch, channels, *spatial)."""
    rank = len(n.build.shape(x))
    if last:
        return n.build.transpose(x, (0, rank - 1, *range(1, rank - 1)))
    return x


def _back(n: Node, y: Ref, last: bool) -> Ref:
    rank = len(n.build.shape(y))
    if last:
        return n.build.transpose(y, (0, *range(2, rank), 1))
    return y


def _pads(n: Node, last: bool, *windows: Sequence[int]) -> Pads:
    padding = str(n.attr("padding"))
    if padding != "EXPLICIT":
        n.seen.add("explicit_paddings")
        return padding_pairs(padding, *windows)
    flat = [int(one) for one in n.attr("explicit_paddings")]
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return tuple(pairs[1:-1] if last else pairs[2:])


def _counts(
    sizes: Sequence[int],
    pads: Pads,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    windows = zip(sizes, pads, kernel, strides, dilations, strict=True)
    return [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, s, d in windows]


def _kernel(
    n: Node, k: int, shape: Sequence[int], axes: tuple[int, ...], form: tuple[int, ...]
) -> tuple[Weight | None, tuple[Ref, ...]]:
    """A variable as a weight, anything else as a further input, brought to the op's layout: first
    to that shape, then to that order of axes."""
    laid = n.inputs[k].laid
    thin = None if laid is None else laid.reshaped(shape)
    weight = None if thin is None else thin.brought(axes)
    if weight is not None:
        return weight if weight.value.shape == form else replace(weight, shape=form), ()
    turned = n.build.transpose(n.build.reshape(n.ref(k), shape), axes)
    return None, (turned if n.build.shape(turned) == form else n.build.reshape(turned, form),)


def _wide(sizes: Sequence[int], window: Sequence[int], pads: Pads) -> list[int]:
    """The spatial axes that are not of size 1 with a window of 1 over them, as those that make one
    of a convolution of fewer axes."""
    axes = range(len(sizes))
    found = [k for k in axes if (sizes[k], window[k], *pads[k]) != (1, 1, 0, 0)]
    return found or [axes[-1]]


def _picked(values: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    return tuple(values[axis] for axis in axes)


@node("Conv2D", "Conv3D", "DepthwiseConv2dNative")
def _conv(n: Node) -> Ref:
    last, depthwise = _last(n), n.kind == "DepthwiseConv2dNative"
    batch, *inner = n.shape(0)
    sizes, channels = (inner[:-1], inner[-1]) if last else (inner[1:], inner[0])
    *window, into, outer = n.shape(1)
    strides, dilations = (
        _spatial([int(one) for one in n.attr(name)], last) for name in ("strides", "dilations")
    )
    pads = _pads(n, last, sizes, window, strides, dilations)
    counts = _counts(sizes, pads, window, strides, dilations)
    axes = _wide(sizes, window, pads)
    few = _picked(sizes, axes)
    x = n.build.reshape(n.ref(0), (batch, *few, channels) if last else (batch, channels, *few))
    rank, kernel = len(axes), _picked(window, axes)
    filters = into * outer if depthwise else outer
    weight, computed = _kernel(
        n,
        1,
        (*kernel, into, outer),
        (rank, rank + 1, *range(rank)) if depthwise else (rank + 1, rank, *range(rank)),
        (filters, 1 if depthwise else into, *kernel),
    )
    conv = ops.Conv(
        weight=weight,
        bias=None,
        strides=_picked(strides, axes),
        pads=_picked(pads, axes),
        dilations=_picked(dilations, axes),
        groups=channels if depthwise else channels // into,
    )
    shape = (batch, filters, *_picked(counts, axes))
    y = _back(n, n.build.add(conv, _first(n, x, last), *computed, shape=shape), last)
    return n.build.reshape(y, (batch, *counts, filters) if last else (batch, filters, *counts))


@node("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def _conv_transpose(n: Node) -> Ref:
    """The gradient of the convolution that makes the input's size of the output's: that is what its
    padding crops."""
    last = _last(n)
    x = _first(n, n.ref(2), last)
    batch, channels, *sizes = n.build.shape(x)
    *window, outer, inner = n.shape(1)
    if inner != channels:
        raise Undescribed("groups are not supported")
    rank, shape = len(sizes), n.ints(0)
    wanted = shape[1:-1] if last else shape[2:]
    strides, dilations = (
        _spatial([int(one) for one in n.attr(name)], last) for name in ("strides", "dilations")
    )
    pads = _pads(n, last, wanted, window, strides, dilations)
    whole = [
        (size - 1) * s + (k - 1) * d + 1
        for size, s, k, d in zip(sizes, strides, window, dilations, strict=True)
    ]
    crops = tuple(
        (before, full - size - before)
        for (before, _), full, size in zip(pads, whole, wanted, strict=True)
    )
    weight, computed = _kernel(
        n, 1, n.shape(1), (rank + 1, rank, *range(rank)), (inner, outer, *window)
    )
    conv = ops.ConvTranspose(
        weight=weight, bias=None, strides=strides, crops=crops, dilations=dilations
    )
    return _back(n, n.build.add(conv, x, *computed, shape=(batch, outer, *wanted)), last)


@node("MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D")
def _pool(n: Node) -> Ref:
    last = _last(n)
    batch, *inner = n.shape(0)
    sizes, channels = (inner[:-1], inner[-1]) if last else (inner[1:], inner[0])
    if n.kind == "MaxPoolV2":
        told = [n.ints(1), n.ints(2)]
    else:
        told = [[int(one) for one in n.attr(name)] for name in ("ksize", "strides")]
    kernel, strides = (_spatial(one, last) for one in told)
    ones = (1,) * len(sizes)
    pads = _pads(n, last, sizes, kernel, strides, ones)
    counts = _counts(sizes, pads, kernel, strides, ones)
    axes = _wide(sizes, kernel, pads)
    few = _picked(sizes, axes)
    x = n.build.reshape(n.ref(0), (batch, *few, channels) if last else (batch, channels, *few))
    window: dict[str, Any] = {
        "kernel": _picked(kernel, axes),
        "strides": _picked(strides, axes),
        "pads": _picked(pads, axes),
    }
    pool = (
        ops.MaxPool(dilations=(1,) * len(axes), **window)
        if n.kind.startswith("Max")
        else ops.AveragePool(count_include_pad=False, **window)
    )
    shape = (batch, channels, *_picked(counts, axes))
    y = _back(n, n.build.add(pool, _first(n, x, last), shape=shape), last)
    return n.build.reshape(y, (batch, *counts, channels) if last else (batch, channels, *counts))


@node("LRN")
def _local_response(n: Node) -> Ref:
    radius = int(n.attr("depth_radius"))
    size = 2 * radius + 1
    alpha, beta, bias = (float(np.float32(n.attr(name))) for name in ("alpha", "beta", "bias"))
    op = ops.LRN(size=size, alpha=alpha * size, beta=beta, bias=bias, before=radius, after=radius)
    return _back(n, n.build.add(op, _first(n, n.ref(0), True)), True)


@node("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(n: Node) -> Ref:
    if n.inputs[0].dtype not in FLOATS:
        raise Undescribed(f"{n.inputs[0].dtype} is not supported")
    if n.kind == "ResizeArea":
        n.only(align_corners=False)
    else:
        n.only(align_corners=False, half_pixel_centers=True)
    method = {
        "ResizeBilinear": "bilinear",
        "ResizeNearestNeighbor": "nearest",
        "ResizeBicubic": "bicubic",
        "ResizeArea": "area",
    }[n.kind]
    x, sizes = _first(n, n.ref(0), True), n.ints(1)
    op = resized("tensorflow", method, n.build.shape(x), sizes)
    return _back(n, n.build.add(op, x, shape=(*n.build.shape(x)[:2], *sizes)), True)
