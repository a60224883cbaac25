"""Convolutions, poolings and resizing in a graph of TensorFlow."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.description import Ref
from probe.errors import Undescribed

from ..describe.windows import (
    Kernel,
    Pads,
    SlidingWindow,
    convolved,
    kernel_axes,
    local_response,
    pooled,
    to_channels_first,
    to_channels_last,
    transposed_convolved,
)
from ..layers.resize import resized
from .node import FLOATS, GraphOperation, node


def _last(n: GraphOperation) -> bool:
    """Whether the channels are the last axis."""
    return not str(n.attr("data_format")).startswith("NC")


def _spatial(values: Sequence[int], last: bool) -> tuple[int, ...]:
    """Those of the spatial axes among one for each axis; Undescribed where the others are not 1."""
    outer = (values[0], values[-1]) if last else values[:2]
    if any(value != 1 for value in outer):
        raise Undescribed(f"windows over {list(values)} are not supported")
    return tuple(values[1:-1] if last else values[2:])


def _numbers(n: GraphOperation, name: str) -> list[int]:
    return [int(number) for number in n.attr(name)]


def _padding(n: GraphOperation, last: bool) -> str | Pads:
    padding = str(n.attr("padding"))
    if padding != "EXPLICIT":
        n.seen.add("explicit_paddings")
        return padding
    flat = _numbers(n, "explicit_paddings")
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return tuple(pairs[1:-1] if last else pairs[2:])


def _kernel(
    n: GraphOperation, k: int, shape: Sequence[int], axes: tuple[int, ...], form: tuple[int, ...]
) -> Kernel:
    """A variable as a weight, anything else as a further input, brought to the op's layout: first
    to that shape, then to that order of axes."""
    laid = n.inputs[k].laid
    thin = None if laid is None else laid.reshaped(shape)
    weight = None if thin is None else thin.brought(axes)
    if weight is not None:
        return Kernel(weight if weight.value.shape == form else replace(weight, shape=form), ())
    turned = n.build.transpose(n.build.reshape(n.ref(k), shape), axes)
    if n.build.shape(turned) != form:
        turned = n.build.reshape(turned, form)
    return Kernel(None, (turned,))


def _wide(sizes: Sequence[int], window: SlidingWindow) -> list[int]:
    """The spatial axes that are not of size 1 with a window of 1 over them, as those that make one
    of a convolution of fewer axes."""
    axes = range(len(sizes))
    used = [k for k in axes if (sizes[k], window.kernel[k], *window.pads[k]) != (1, 1, 0, 0)]
    return used or [axes[-1]]


def _parted(n: GraphOperation, last: bool) -> tuple[int, int, list[int]]:
    """The batch, the channels and the spatial sizes of the first input."""
    batch, *inner = n.shape(0)
    if last:
        return batch, inner[-1], inner[:-1]
    return batch, inner[0], inner[1:]


def _narrowed(n: GraphOperation, last: bool, window: SlidingWindow) -> tuple[Ref, SlidingWindow]:
    """The first input and a window over it along the axes that need one."""
    batch, channels, sizes = _parted(n, last)
    axes = _wide(sizes, window)
    few = [sizes[axis] for axis in axes]
    x = n.build.reshape(n.ref(0), (batch, *few, channels) if last else (batch, channels, *few))
    return x, window.along(axes)


def _widened(n: GraphOperation, y: Ref, last: bool, window: SlidingWindow, channels: int) -> Ref:
    """What came of that, (batch, channels, *spatial), with all axes in the order that they have in
    the graph."""
    batch, _, sizes = _parted(n, last)
    counts = window.counts(sizes)
    shape = (batch, *counts, channels) if last else (batch, channels, *counts)
    return n.build.reshape(to_channels_last(n.build, y, last), shape)


@node("Conv2D", "Conv3D", "DepthwiseConv2dNative")
def _conv(n: GraphOperation) -> Ref:
    last, depthwise = _last(n), n.kind == "DepthwiseConv2dNative"
    _, channels, sizes = _parted(n, last)
    *size, inner, outer = n.shape(1)
    strides, dilations = (_spatial(_numbers(n, name), last) for name in ("strides", "dilations"))
    window = SlidingWindow.padded(_padding(n, last), sizes, size, strides, dilations)
    if depthwise:
        filters, each, groups = inner * outer, 1, channels
    else:
        filters, each, groups = outer, inner, channels // inner
    x, narrow = _narrowed(n, last, window)
    axes = kernel_axes(len(narrow.kernel), depthwise)
    shape = (*narrow.kernel, inner, outer)
    kernel = _kernel(n, 1, shape, axes, (filters, each, *narrow.kernel))
    first = to_channels_first(n.build, x, last)
    y = convolved(n.build, first, narrow, kernel, filters, groups)
    return _widened(n, y, last, window, filters)


@node("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def _conv_transpose(n: GraphOperation) -> Ref:
    last = _last(n)
    x = to_channels_first(n.build, n.ref(2), last)
    _, channels, *sizes = n.build.shape(x)
    *size, outer, inner = n.shape(1)
    if inner != channels:
        raise Undescribed("groups are not supported")
    shape = n.ints(0)
    wanted = shape[1:-1] if last else shape[2:]
    strides, dilations = (_spatial(_numbers(n, name), last) for name in ("strides", "dilations"))
    window = SlidingWindow.padded(_padding(n, last), wanted, size, strides, dilations)
    kernel = _kernel(n, 1, n.shape(1), kernel_axes(len(sizes)), (inner, outer, *size))
    y = transposed_convolved(n.build, x, window, kernel, outer, wanted)
    return to_channels_last(n.build, y, last)


@node("MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D")
def _pool(n: GraphOperation) -> Ref:
    last = _last(n)
    _, channels, sizes = _parted(n, last)
    if n.kind == "MaxPoolV2":
        windows = [n.ints(1), n.ints(2)]
    else:
        windows = [_numbers(n, name) for name in ("ksize", "strides")]
    kernel, strides = (_spatial(numbers, last) for numbers in windows)
    window = SlidingWindow.padded(_padding(n, last), sizes, kernel, strides)
    x, narrow = _narrowed(n, last, window)
    first = to_channels_first(n.build, x, last)
    y = pooled(n.build, first, narrow, n.kind.startswith("Max"))
    return _widened(n, y, last, window, channels)


@node("LRN")
def _local_response(n: GraphOperation) -> Ref:
    alpha, beta, bias = (float(np.float32(n.attr(name))) for name in ("alpha", "beta", "bias"))
    return local_response(n.build, n.ref(0), int(n.attr("depth_radius")), alpha, beta, bias)


@node("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(n: GraphOperation) -> Ref:
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
    x, sizes = to_channels_first(n.build, n.ref(0)), n.ints(1)
    op = resized("tensorflow", method, n.build.shape(x), sizes)
    return to_channels_last(n.build, n.build.add(op, x, shape=(*n.build.shape(x)[:2], *sizes)))
