"""TensorFlow's functions that look at windows and images, and those that order elements, as Keras 2
records them."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.op_builder import OpBuilder
from ..describe.ordered import in_order
from ..describe.rearranged import is_finite
from ..describe.windows import (
    Pads,
    SlidingWindow,
    convolved,
    kernel_axes,
    kernel_of,
    kernel_sizes,
    local_response,
    pooled,
    to_channels_first,
    to_channels_last,
    transposed_convolved,
)
from ..layers.resize import resized
from .arithmetic import Argument, function


def _last(argument: Argument) -> None:
    if str(argument("data_format", default="NHWC")).startswith("NC"):
        raise Undescribed("the data format channels_first is not supported")


def _plain(argument: Argument) -> None:
    if str(argument("data_format", default="N")).startswith("NC") or not isinstance(
        argument("padding"), str
    ):
        raise Undescribed("only a plain channels-last convolution is supported")


def _spatial(build: OpBuilder, value: Any, rank: int) -> tuple[int, ...]:
    """One number, one for each spatial axis, or one for every axis of the input."""
    numbers = tuple(build.ints(1 if value is None else value))
    if len(numbers) == 1:
        return numbers * rank
    if len(numbers) == rank:
        return numbers
    return numbers[1 : rank + 1]


def _padding(argument: Argument) -> str | Pads:
    padding = argument("padding")
    if isinstance(padding, str):
        return padding
    return tuple((int(before), int(after)) for before, after in padding[1:-1])


def _pooled(largest: bool) -> Callable[[OpBuilder, Argument], Ref]:
    def body(build: OpBuilder, argument: Argument) -> Ref:
        _last(argument)
        x = to_channels_first(build, build.ref(argument("input", "value")))
        _, _, *sizes = build.shape(x)
        kernel, strides = (
            _spatial(build, argument(name), len(sizes)) for name in ("ksize", "strides")
        )
        window = SlidingWindow.padded(_padding(argument), sizes, kernel, strides)
        return to_channels_last(build, pooled(build, x, window, largest))

    return body


for _kind in ("max", "avg"):
    function(f"nn.{_kind}_pool", *(f"nn.{_kind}_pool{rank}d" for rank in (1, 2, 3)))(
        _pooled(_kind == "max")
    )


@function("compat.v1.nn.depthwise_conv2d", "nn.depthwise_conv2d")
def _depthwise_conv(build: OpBuilder, argument: Argument) -> Ref:
    _last(argument)
    x, kernel = to_channels_first(build, build.ref(argument("input"))), argument("filter")
    _, channels, *sizes = build.shape(x)
    *size, _, multiplier = kernel_sizes(build, kernel)
    window = SlidingWindow.padded(
        _padding(argument),
        sizes,
        size,
        _spatial(build, argument("strides"), 2),
        _spatial(build, argument("dilations", "rate"), 2),
    )
    filters = channels * multiplier
    laid = kernel_of(build, kernel, kernel_axes(2, depthwise=True), (filters, 1, *size))
    return to_channels_last(build, convolved(build, x, window, laid, filters, channels))


@function(
    "compat.v1.nn.conv1d",
    "compat.v1.nn.conv2d",
    "compat.v1.nn.convolution",
    "nn.conv1d",
    "nn.conv2d",
    "nn.convolution",
)
def _convolution(build: OpBuilder, argument: Argument) -> Ref:
    x, kernel = argument("input", "value"), argument("filter", "filters")
    _plain(argument)
    _, *sizes, channels = build.shape(x)
    rank = len(sizes)
    *size, inner, filters = kernel_sizes(build, kernel)
    window = SlidingWindow.padded(
        argument("padding"),
        sizes,
        size,
        _spatial(build, argument("strides", "stride"), rank),
        _spatial(build, argument("dilations", "dilation_rate"), rank),
    )
    laid = kernel_of(build, kernel, kernel_axes(rank))
    first = to_channels_first(build, x)
    return to_channels_last(
        build, convolved(build, first, window, laid, filters, channels // inner)
    )


@function("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
def _conv_transpose(build: OpBuilder, argument: Argument) -> Ref:
    x, kernel = to_channels_first(build, build.ref(argument("input"))), argument("filters")
    _plain(argument)
    rank = build.rank(x) - 2
    *size, outer, _ = kernel_sizes(build, kernel)
    wanted = build.ints(argument("output_shape"))[1 : rank + 1]
    window = SlidingWindow.padded(
        argument("padding"),
        wanted,
        size,
        _spatial(build, argument("strides"), rank),
        _spatial(build, argument("dilations"), rank),
    )
    laid = kernel_of(build, kernel, kernel_axes(rank))
    return to_channels_last(build, transposed_convolved(build, x, window, laid, outer, wanted))


@function("image.resize")
def _resize(build: OpBuilder, argument: Argument) -> Ref:
    x = build.ref(argument("images"))
    if (
        argument("preserve_aspect_ratio", default=False)
        or len(build.shape(x)) != 4
        or build.dtype(x).kind != "f"
    ):
        raise Undescribed("only plain resizing of a batch of floats is supported")
    method = argument("method", default="bilinear")
    first = to_channels_first(build, x)
    sizes = build.ints(argument("size"))
    op = resized(
        "tensorflow",
        str(getattr(method, "value", method)),
        build.shape(first),
        sizes,
        bool(argument("antialias", default=False)),
    )
    return to_channels_last(build, build.add(op, first, shape=(*build.shape(first)[:2], *sizes)))


@function("image.crop_to_bounding_box")
def _crop(build: OpBuilder, argument: Argument) -> Ref:
    x = build.ref(argument("image"))
    slices = [slice(None)] * len(build.shape(x))
    for axis, (start, size) in enumerate(
        (("offset_height", "target_height"), ("offset_width", "target_width"))
    ):
        low = build.ints(argument(start))[0]
        slices[axis - 3] = slice(low, low + build.ints(argument(size))[0])
    return build.sliced(x, slices)


@function("nn.local_response_normalization")
def _local_response(build: OpBuilder, argument: Argument) -> Ref:
    radius = int(argument("depth_radius", default=5))
    alpha, beta, bias = (
        float(argument(name, default=default))
        for name, default in (("alpha", 1), ("beta", 0.5), ("bias", 1))
    )
    return local_response(build, build.ref(argument("input")), radius, alpha, beta, bias)


@function("math.cumprod")
def _cumprod(build: OpBuilder, argument: Argument) -> Ref:
    if argument("exclusive") or argument("reverse"):
        raise Undescribed("reverse and exclusive cumulative products are not supported")
    return build.add(
        ops.CumProd(axis=build.axes(argument("x"), argument("axis", default=0))[0]), argument("x")
    )


@function("sort")
def _sort(build: OpBuilder, argument: Argument) -> Ref:
    x = argument("values")
    axis = build.axes(x, argument("axis", default=-1))[0]
    largest = argument("direction", default="ASCENDING") == "DESCENDING"
    ordered, _ = in_order(build, x, axis, largest)
    return build.add(ops.Identity(), ordered)


@function("roll")
def _roll(build: OpBuilder, argument: Argument) -> Ref:
    x = build.ref(argument("input"))
    shifts, axes = (build.ints(argument(name)) for name in ("shift", "axis"))
    numbers = np.roll(np.arange(prod(build.shape(x))).reshape(build.shape(x)), shifts, axes)
    return build.picked(x, numbers)


@function("linalg.diag_part", "linalg.trace")
def _diagonal(build: OpBuilder, argument: Argument) -> Ref:
    if argument("k", default=0) != 0:
        raise Undescribed("diagonals other than the main one are not supported")
    x = argument("input", "x")
    shape = build.shape(x)
    picked = build.picked(
        x, np.diagonal(np.arange(prod(shape)).reshape(shape), 0, len(shape) - 2, len(shape) - 1)
    )
    if argument("input") is not None:
        return picked
    return build.reduce(ops.ReduceSum, picked, -1, False)


@function("math.add_n")
def _add_n(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Add(), *(build.ref(operand) for operand in argument("inputs")))


@function("compat.v1.math.scalar_mul", "math.scalar_mul")
def _scalar_mul(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Mul(), *build.pair(argument("x"), argument("scalar")))


@function("math.erfc")
def _erfc(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Sub(), build.ref(1.0), build.add(ops.Erf(), argument("x")))


@function("math.is_finite")
def _is_finite(build: OpBuilder, argument: Argument) -> Ref:
    return is_finite(build, argument("x"))
