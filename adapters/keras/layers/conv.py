"""Keras' layers that multiply by a kernel: convolutions of every kind, and Dense.

A channels-last layer is a channels-first op between two Transposes. Padding words become (before,
after) pairs here.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from probe import ops
from probe.description import Description, Step

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes
from ..describe.windows import SlidingWindow, kernel_axes
from .activation import activation_steps

__all__ = ["channels_first", "spatial_sizes", "surrounded"]


def channels_first(layer: Any) -> bool:
    """Whether the layer's tensors are (batch, channels, *spatial)."""
    return bool(layer.data_format == "channels_first")


def spatial_sizes(layer: Any, call: KerasCall, rank: int) -> tuple[int, ...]:
    """The sizes of the spatial axes of the input, whichever data format it is in."""
    inner = call.shape[-(rank + 1) :]
    if channels_first(layer):
        return inner[1:]
    return inner[:-1]


def surrounded(layer: Any, rank: int, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps on (batch, channels, *spatial) between the Transposes that a channels-last layer
    needs."""
    if channels_first(layer):
        return tuple(steps)
    there = Step(ops.Transpose(perm=(0, rank + 1, *range(1, rank + 1))))
    back = Step(ops.Transpose(perm=(0, *range(2, rank + 2), 1)))
    return (there, *steps, back)


def _convolution(
    layer: Any,
    call: KerasCall,
    window: SlidingWindow,
    convs: Sequence[ops.Conv],
    filters: int,
) -> Description:
    """Convolutions in a row, the bias in the last, then the activation."""
    rank, ndim = len(window.kernel), len(call.shape)
    steps = surrounded(layer, rank, [Step(conv) for conv in convs])
    if ndim > rank + 2:
        # Only Keras 2 takes several batch axes, and only channels-last: they are one for the while.
        batch, inner = call.shape[: -(rank + 1)], call.shape[-(rank + 1) :]
        steps = (
            Step(ops.Reshape(shape=(prod(batch), *inner))),
            *steps,
            Step(ops.Reshape(shape=(*batch, *window.counts(inner[:-1]), filters))),
        )
    axes = named_axes(ndim, rank, channels_first(layer))
    return Description((*steps, *activation_steps(layer.activation, call, ndim, steps)), axes, axes)


def _window(layer: Any, call: KerasCall) -> SlidingWindow:
    sizes = spatial_sizes(layer, call, layer.rank)
    return SlidingWindow.padded(
        layer.padding, sizes, layer.kernel_size, layer.strides, layer.dilation_rate
    )


def _depthwise(
    call: KerasCall, name: str, kernel: Any, window: SlidingWindow, bias: Any
) -> ops.Conv:
    """The kernel (*k, C, M) as C groups of M filters each: (C * M, 1, *k)."""
    *sizes, channels, multiplier = (int(n) for n in kernel.shape)
    axes = kernel_axes(len(sizes), depthwise=True)
    weight = call.weight(name, kernel, axes=axes, shape=(channels * multiplier, 1, *sizes))
    return window.conv(weight, bias, channels)


@describes("Conv1D", "Conv2D", "Conv3D")
def _conv(layer: Any, call: KerasCall) -> Description:
    window = _window(layer, call)
    kernel = call.weight("kernel", layer.kernel, axes=kernel_axes(layer.rank))
    op = window.conv(kernel, call.weight("bias", layer.bias), layer.groups)
    return _convolution(layer, call, window, [op], layer.filters)


@describes("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise_conv(layer: Any, call: KerasCall) -> Description:
    window, bias = _window(layer, call), call.weight("bias", layer.bias)
    name = "depthwise_kernel" if call.legacy else "kernel"
    op = _depthwise(call, name, getattr(layer, name), window, bias)
    return _convolution(layer, call, window, [op], op.groups * layer.depth_multiplier)


@describes("SeparableConv1D", "SeparableConv2D")
def _separable_conv(layer: Any, call: KerasCall) -> Description:
    rank, window = layer.rank, _window(layer, call)
    first = _depthwise(call, "depthwise_kernel", layer.depthwise_kernel, window, None)
    kernel = call.weight("pointwise_kernel", layer.pointwise_kernel, axes=kernel_axes(rank))
    points = SlidingWindow.padded("valid", (), (1,) * rank)
    second = points.conv(kernel, call.weight("bias", layer.bias))
    return _convolution(layer, call, window, [first, second], layer.filters)


@describes("Dense")
def _dense(layer: Any, call: KerasCall) -> Description:
    ndim = len(call.shape)
    op = ops.MatMul(
        weight=call.weight("kernel", layer.kernel), bias=call.weight("bias", layer.bias)
    )
    axes = {2: ("batch", "features"), 3: ("batch", "steps", "features")}.get(ndim, ())
    return Description(
        (Step(op), *activation_steps(layer.activation, call, ndim, (Step(op),))), axes, axes
    )
