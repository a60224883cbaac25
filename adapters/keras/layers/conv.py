"""Keras' layers that multiply by a kernel: convolutions of every kind, and Dense.

A channels-last layer is a channels-first op between two Transposes. Padding words become (before,
after) pairs here.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from probe import ops
from probe.description import Description, Step
from probe.errors import Undescribed
from probe.ops.window.same_padding import same_padding

from ..describe.call import Call
from ..describe.describe import describes, named_axes
from .activation import activation_steps

__all__ = ["channels_first", "padding_pairs", "spatial_sizes", "surrounded"]

Pads = tuple[tuple[int, int], ...]


def padding_pairs(
    padding: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:
    """ "valid", "same" or "causal" as (before, after) per spatial axis. "same" puts the odd element
    after, as TensorFlow does."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    match padding.lower():
        case "valid":
            return ((0, 0),) * len(spans)
        case "causal":
            return tuple((span - 1, 0) for span in spans)
        case "same":
            needed = [
                same_padding(n, span, s) for n, span, s in zip(sizes, spans, strides, strict=True)
            ]
            return tuple((total // 2, total - total // 2) for total in needed)
    raise Undescribed(f"its padding {padding!r} is not supported")


def channels_first(layer: Any) -> bool:
    """Whether the layer's tensors are (batch, channels, *spatial)."""
    return bool(layer.data_format == "channels_first")


def spatial_sizes(layer: Any, call: Call, rank: int) -> tuple[int, ...]:
    """The sizes of the spatial axes of the input, whichever data format it is in."""
    inner = call.shape[-(rank + 1) :]
    if channels_first(layer):
        return inner[1:]
    return inner[:-1]


def surrounded(layer: Any, call: Call, rank: int, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps on (batch, channels, *spatial) between the Transposes that a channels-last layer
    needs."""
    if channels_first(layer):
        return tuple(steps)
    there = Step(ops.Transpose(perm=(0, rank + 1, *range(1, rank + 1))))
    back = Step(ops.Transpose(perm=(0, *range(2, rank + 2), 1)))
    return (there, *steps, back)


def _convolution(
    layer: Any, call: Call, rank: int, convs: Sequence[ops.Conv], filters: int
) -> Description:
    """Convolutions in a row, the bias in the last, then the activation."""
    ndim = len(call.shape)
    steps = surrounded(layer, call, rank, [Step(conv) for conv in convs])
    if ndim > rank + 2:
        # Only Keras 2 takes several batch axes, and only channels-last: they are one for the while.
        batch, inner, first = call.shape[: -(rank + 1)], call.shape[-(rank + 1) :], convs[0]
        windows = zip(
            inner, first.pads, layer.kernel_size, first.strides, first.dilations, strict=False
        )
        out = tuple((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, s, d in windows)
        steps = (
            Step(ops.Reshape(shape=(prod(batch), *inner))),
            *steps,
            Step(ops.Reshape(shape=(*batch, *out, filters))),
        )
    axes = named_axes(ndim, rank, channels_first(layer))
    return Description((*steps, *activation_steps(layer.activation, call, ndim, steps)), axes, axes)


def _windows(layer: Any, call: Call, rank: int) -> dict[str, Any]:
    """Strides, pads and dilations of a convolution."""
    strides, dilations = tuple(layer.strides), tuple(layer.dilation_rate)
    pads = padding_pairs(
        layer.padding, spatial_sizes(layer, call, rank), layer.kernel_size, strides, dilations
    )
    return {"strides": strides, "pads": pads, "dilations": dilations}


def _depthwise(layer: Any, call: Call, rank: int, name: str, bias: Any) -> ops.Conv:
    """The kernel (*k, C, M) as C groups of M filters each: (C * M, 1, *k)."""
    kernel = getattr(layer, name)
    *sizes, channels, multiplier = (int(n) for n in kernel.shape)
    axes = (rank, rank + 1, *range(rank))
    weight = call.weight(name, kernel, axes=axes, shape=(channels * multiplier, 1, *sizes))
    return ops.Conv(weight=weight, bias=bias, groups=channels, **_windows(layer, call, rank))


@describes("Conv1D", "Conv2D", "Conv3D")
def _conv(layer: Any, call: Call) -> Description:
    rank = layer.rank
    kernel = call.weight("kernel", layer.kernel, axes=(rank + 1, rank, *range(rank)))
    op = ops.Conv(
        weight=kernel,
        bias=call.weight("bias", layer.bias),
        groups=layer.groups,
        **_windows(layer, call, rank),
    )
    return _convolution(layer, call, rank, [op], layer.filters)


@describes("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise_conv(layer: Any, call: Call) -> Description:
    op = _depthwise(
        layer,
        call,
        layer.rank,
        "depthwise_kernel" if call.legacy else "kernel",
        call.weight("bias", layer.bias),
    )
    return _convolution(layer, call, layer.rank, [op], op.groups * layer.depth_multiplier)


@describes("SeparableConv1D", "SeparableConv2D")
def _separable_conv(layer: Any, call: Call) -> Description:
    rank = layer.rank
    first = _depthwise(layer, call, rank, "depthwise_kernel", None)
    kernel = call.weight(
        "pointwise_kernel", layer.pointwise_kernel, axes=(rank + 1, rank, *range(rank))
    )
    ones = (1,) * rank
    bias = call.weight("bias", layer.bias)
    second = ops.Conv(weight=kernel, bias=bias, strides=ones, pads=((0, 0),) * rank, dilations=ones)
    return _convolution(layer, call, rank, [first, second], layer.filters)


@describes("Dense")
def _dense(layer: Any, call: Call) -> Description:
    ndim = len(call.shape)
    op = ops.MatMul(
        weight=call.weight("kernel", layer.kernel), bias=call.weight("bias", layer.bias)
    )
    axes = {2: ("batch", "features"), 3: ("batch", "steps", "features")}.get(ndim, ())
    return Description(
        (Step(op), *activation_steps(layer.activation, call, ndim, (Step(op),))), axes, axes
    )
