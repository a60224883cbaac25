"""The operations of keras.ops that look at windows: convolutions, poolings, patches and blocks."""

from math import prod
from typing import Any

from probe import ops
from probe.description import Description, Ref

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.windows import (
    SlidingWindow,
    columns,
    convolved,
    depth_to_space,
    kernel_axes,
    kernel_of,
    kernel_sizes,
    space_to_depth,
    to_channels_first,
    to_channels_last,
)
from .arithmetic import as_layer, data_format, operation


def _spread(option: Any, rank: int) -> tuple[int, ...]:
    """One number for every axis, or a number for each."""
    if isinstance(option, list | tuple):
        return tuple(int(size) for size in option)
    return (int(option),) * rank


def _convolved(
    build: OpBuilder,
    x: Ref,
    kernel: Any,
    depthwise: bool,
    strides: Any,
    dilations: Any,
    padding: str,
) -> Ref:
    """A convolution of (batch, channels, *spatial)."""
    _, channels, *spatial = build.shape(x)
    rank = len(spatial)
    *sizes, inner, outer = kernel_sizes(build, kernel)
    window = SlidingWindow.padded(
        padding, spatial, sizes, _spread(strides, rank), _spread(dilations, rank)
    )
    if depthwise:
        filters, each, groups = inner * outer, 1, channels
    else:
        filters, each, groups = outer, inner, channels // inner
    laid = kernel_of(build, kernel, kernel_axes(rank, depthwise), (filters, each, *sizes))
    return convolved(build, x, window, laid, filters, groups)


@operation("Conv", "DepthwiseConv")
def _conv(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The kernel is an argument: a variable, or a tensor such as one that another layer has
    computed."""
    last = data_format(op, call) == "channels_last"
    depthwise = type(op).__name__ == "DepthwiseConv"
    x, kernel = to_channels_first(build, Ref(-1), last), call.arguments["kernel"]
    y = _convolved(build, x, kernel, depthwise, op.strides, op.dilation_rate, op.padding)
    return to_channels_last(build, y, last)


@operation("SeparableConv")
def _separable_conv(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    last = data_format(op, call) == "channels_last"
    first, kernel = to_channels_first(build, Ref(-1), last), call.arguments["depthwise_kernel"]
    depth = _convolved(build, first, kernel, True, op.strides, op.dilation_rate, op.padding)
    y = _convolved(build, depth, call.arguments["pointwise_kernel"], False, 1, 1, "valid")
    return to_channels_last(build, y, last)


@describes("ops.MaxPool", "ops.AveragePool")
def _pool(op: Any, call: KerasCall) -> Description:
    rank = len(call.shape) - 2
    kernel = _spread(op.pool_size, rank)
    if op.strides is None:
        strides = kernel
    else:
        strides = _spread(op.strides, rank)
    if type(op).__name__ == "MaxPool":
        kind = "MaxPooling"
    else:
        kind = "AveragePooling"
    return as_layer(
        f"{kind}{rank}D", op, call, pool_size=kernel, strides=strides, padding=op.padding
    )


@describes("ops.AdaptiveMaxPool", "ops.AdaptiveAveragePool")
def _adaptive_pool(op: Any, call: KerasCall) -> Description:
    if type(op).__name__ == "AdaptiveMaxPool":
        kind = "AdaptiveMaxPooling"
    else:
        kind = "AdaptiveAveragePooling"
    return as_layer(f"{kind}{len(call.shape) - 2}D", op, call, output_size=op.output_size)


@operation("ExtractPatches")
def _extract_patches(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The windows, each as the channels of one place: taps first, the channels of each tap last."""
    if isinstance(op.size, list | tuple) and len(op.size) == 3:
        rank = 3
    else:
        rank = 2
    last, alone = data_format(op, call) == "channels_last", len(call.shape) == rank + 1
    x = build.expand_dims(Ref(-1), 0) if alone else Ref(-1)
    x = to_channels_first(build, x, last)
    batch, channels, *spatial = build.shape(x)
    window = SlidingWindow.padded(
        op.padding,
        spatial,
        _spread(op.size, rank),
        _spread(op.strides or op.size, rank),
        _spread(op.dilation_rate, rank),
    )
    y = columns(build, x, window)
    _, elements, places = build.shape(y)
    taps = elements // channels
    turned = build.transpose(build.reshape(y, (batch, channels, taps, places)), (0, 2, 1, 3))
    patches = build.reshape(turned, (batch, elements, *window.counts(spatial)))
    patches = to_channels_last(build, patches, last)
    if alone:
        return build.squeeze(patches, 0)
    return patches


def _of_pixels(op: Any) -> SlidingWindow:
    """The window of an operation that has the names of PyTorch's."""
    kernel, strides, padding, dilations = (
        _spread(option, 2) for option in (op.kernel_size, op.stride, op.padding, op.dilation)
    )
    return SlidingWindow(kernel, strides, tuple((size, size) for size in padding), dilations)


@operation("Unfold")
def _unfold(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    return columns(build, Ref(-1), _of_pixels(op))


@operation("Fold")
def _fold(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    sizes, window = _spread(op.output_size, 2), _of_pixels(op)
    image = ops.Col2Im(
        sizes=sizes,
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
    )
    channels = call.shape[1] // prod(window.kernel)
    return build.add(image, Ref(-1), shape=(call.shape[0], channels, *sizes))


@operation("DepthToSpace", "SpaceToDepth")
def _blocks(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Blocks of (row, column, channel) in the channels, as TensorFlow has them, or of (channel,
    row, column): with channels_first on all other backends."""
    last = op.data_format == "channels_last"
    outer = last or call.backend == "tensorflow"
    x = Ref(-1) if last else build.transpose(Ref(-1), (0, 2, 3, 1))
    if type(op).__name__ == "DepthToSpace":
        moved = depth_to_space
    else:
        moved = space_to_depth
    y = moved(build, x, op.block_size, outer)
    if last:
        return y
    return build.transpose(y, (0, 3, 1, 2))
