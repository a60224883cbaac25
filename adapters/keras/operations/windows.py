"""The operations of keras.ops that look at windows: convolutions, poolings, patches and blocks."""

from collections.abc import Sequence
from math import prod
from typing import Any

from probe import ops
from probe.description import Description, Ref, Weight

from ..describe.call import Call
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..layers.conv import padding_pairs
from .arithmetic import as_layer, data_format, operation

Pads = Sequence[tuple[int, int]]


def _spread(option: Any, rank: int) -> tuple[int, ...]:
    """One number for every axis, or a number for each."""
    if isinstance(option, list | tuple):
        return tuple(int(one) for one in option)
    return (int(option),) * rank


def _first(build: OpBuilder, x: Ref, last: bool) -> Ref:
    """(batch, *spatial, channels) as (batch, channels, *spatial)."""
    rank = len(build.shape(x))
    if last:
        return build.transpose(x, (0, rank - 1, *range(1, rank - 1)))
    return x


def _back(build: OpBuilder, x: Ref, last: bool) -> Ref:
    rank = len(build.shape(x))
    if last:
        return build.transpose(x, (0, *range(2, rank), 1))
    return x


def _kernel(
    build: OpBuilder, value: Any, axes: tuple[int, ...], form: tuple[int, ...]
) -> tuple[Weight | None, tuple[Ref, ...]]:
    """A variable as a weight, anything else as a further input, brought to the op's layout."""
    value = build.shaped(value)
    weight = None if isinstance(value, Ref) else build.weight(value, axes, form)
    return weight, () if weight is not None else (
        build.reshape(build.transpose(build.ref(value), axes), form),
    )


def _sizes(build: OpBuilder, kernel: Any) -> tuple[int, ...]:
    kernel = build.shaped(kernel)
    if isinstance(kernel, Ref):
        return build.shape(kernel)
    return tuple(int(size) for size in kernel.shape)


def _counts(
    sizes: Sequence[int],
    pads: Pads,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    windows = zip(sizes, pads, kernel, strides, dilations, strict=True)
    return [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, s, d in windows]


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
    batch, channels, *spatial = build.shape(x)
    rank = len(spatial)
    *sizes, inner, outer = _sizes(build, kernel)
    strides, dilations = _spread(strides, rank), _spread(dilations, rank)
    pads = padding_pairs(padding, spatial, sizes, strides, dilations)
    filters = inner * outer if depthwise else outer
    axes = (rank, rank + 1, *range(rank)) if depthwise else (rank + 1, rank, *range(rank))
    weight, computed = _kernel(build, kernel, axes, (filters, 1 if depthwise else inner, *sizes))
    groups = channels if depthwise else channels // inner
    conv = ops.Conv(
        weight=weight, bias=None, strides=strides, pads=pads, dilations=dilations, groups=groups
    )
    return build.add(
        conv,
        x,
        *computed,
        shape=(batch, filters, *_counts(spatial, pads, sizes, strides, dilations)),
    )


@operation("Conv", "DepthwiseConv")
def _conv(op: Any, call: Call, build: OpBuilder) -> Ref:
    """The kernel is an argument: a variable, or a tensor such as one that another layer has
    computed."""
    last = data_format(op, call) == "channels_last"
    depthwise = type(op).__name__ == "DepthwiseConv"
    x = _first(build, Ref(-1), last)
    return _back(
        build,
        _convolved(
            build, x, call.arguments["kernel"], depthwise, op.strides, op.dilation_rate, op.padding
        ),
        last,
    )


@operation("SeparableConv")
def _separable_conv(op: Any, call: Call, build: OpBuilder) -> Ref:
    last = data_format(op, call) == "channels_last"
    first = _first(build, Ref(-1), last)
    depth = _convolved(
        build,
        first,
        call.arguments["depthwise_kernel"],
        True,
        op.strides,
        op.dilation_rate,
        op.padding,
    )
    return _back(
        build,
        _convolved(build, depth, call.arguments["pointwise_kernel"], False, 1, 1, "valid"),
        last,
    )


@describes("ops.MaxPool", "ops.AveragePool")
def _pool(op: Any, call: Call) -> Description:
    rank = len(call.shape) - 2
    kernel = _spread(op.pool_size, rank)
    strides = kernel if op.strides is None else _spread(op.strides, rank)
    kind = "MaxPooling" if type(op).__name__ == "MaxPool" else "AveragePooling"
    return as_layer(
        f"{kind}{rank}D", op, call, pool_size=kernel, strides=strides, padding=op.padding
    )


@describes("ops.AdaptiveMaxPool", "ops.AdaptiveAveragePool")
def _adaptive_pool(op: Any, call: Call) -> Description:
    if type(op).__name__ == "AdaptiveMaxPool":
        kind = "AdaptiveMaxPooling"
    else:
        kind = "AdaptiveAveragePooling"
    return as_layer(f"{kind}{len(call.shape) - 2}D", op, call, output_size=op.output_size)


@operation("ExtractPatches")
def _extract_patches(op: Any, call: Call, build: OpBuilder) -> Ref:
    """The windows, each as the channels of one place: taps first, the channels of each tap last."""
    rank = 3 if isinstance(op.size, list | tuple) and len(op.size) == 3 else 2
    last, alone = data_format(op, call) == "channels_last", len(call.shape) == rank + 1
    x = build.expand_dims(Ref(-1), 0) if alone else Ref(-1)
    x = _first(build, x, last)
    batch, channels, *spatial = build.shape(x)
    kernel = _spread(op.size, rank)
    strides, dilations = _spread(op.strides or op.size, rank), _spread(op.dilation_rate, rank)
    pads = padding_pairs(op.padding, spatial, kernel, strides, dilations)
    out = _counts(spatial, pads, kernel, strides, dilations)
    taps = prod(kernel)
    columns = ops.Im2Col(kernel=kernel, strides=strides, pads=pads, dilations=dilations)
    found = build.add(columns, x, shape=(batch, channels * taps, prod(out)))
    turned = build.transpose(build.reshape(found, (batch, channels, taps, prod(out))), (0, 2, 1, 3))
    found = _back(build, build.reshape(turned, (batch, taps * channels, *out)), last)
    if alone:
        return build.squeeze(found, 0)
    return found


@operation("Unfold")
def _unfold(op: Any, call: Call, build: OpBuilder) -> Ref:
    kernel, dilations, strides, padding = (
        _spread(one, 2) for one in (op.kernel_size, op.dilation, op.stride, op.padding)
    )
    pads = tuple((one, one) for one in padding)
    batch, channels, *spatial = call.shape
    count = prod(_counts(spatial, pads, kernel, strides, dilations))
    columns = ops.Im2Col(kernel=kernel, strides=strides, pads=pads, dilations=dilations)
    return build.add(columns, Ref(-1), shape=(batch, channels * prod(kernel), count))


@operation("Fold")
def _fold(op: Any, call: Call, build: OpBuilder) -> Ref:
    options = (op.output_size, op.kernel_size, op.dilation, op.stride, op.padding)
    sizes, kernel, dilations, strides, padding = (_spread(one, 2) for one in options)
    pads = tuple((one, one) for one in padding)
    image = ops.Col2Im(sizes=sizes, kernel=kernel, strides=strides, pads=pads, dilations=dilations)
    return build.add(image, Ref(-1), shape=(call.shape[0], call.shape[1] // prod(kernel), *sizes))


def _blocks(op: Any, call: Call) -> tuple[bool, bool]:
    """Whether the channels are last, and whether a block's rows and columns come before them: with
    channels_first only on TensorFlow."""
    last = op.data_format == "channels_last"
    return last, last or call.backend == "tensorflow"


@operation("DepthToSpace")
def _depth_to_space(op: Any, call: Call, build: OpBuilder) -> Ref:
    """Blocks of (row, column, channel) in the channels, as TensorFlow has them, or of (channel,
    row, column)."""
    (last, outer), block = _blocks(op, call), op.block_size
    x = Ref(-1) if last else build.transpose(Ref(-1), (0, 2, 3, 1))
    batch, height, width, channels = build.shape(x)
    depth = channels // block**2
    parts = build.reshape(
        x, (batch, height, width, *((block, block, depth) if outer else (depth, block, block)))
    )
    mixed = build.transpose(parts, (0, 1, 3, 2, 4, 5) if outer else (0, 1, 4, 2, 5, 3))
    found = build.reshape(mixed, (batch, height * block, width * block, depth))
    if last:
        return found
    return build.transpose(found, (0, 3, 1, 2))


@operation("SpaceToDepth")
def _space_to_depth(op: Any, call: Call, build: OpBuilder) -> Ref:
    (last, outer), block = _blocks(op, call), op.block_size
    x = Ref(-1) if last else build.transpose(Ref(-1), (0, 2, 3, 1))
    batch, height, width, channels = build.shape(x)
    parts = build.reshape(x, (batch, height // block, block, width // block, block, channels))
    mixed = build.transpose(parts, (0, 1, 3, 2, 4, 5) if outer else (0, 1, 3, 5, 2, 4))
    found = build.reshape(mixed, (batch, height // block, width // block, channels * block**2))
    if last:
        return found
    return build.transpose(found, (0, 3, 1, 2))
