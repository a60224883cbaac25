"""torchvision's deformable convolution: samples beside the taps of a kernel, and a convolution with
these."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__: list[str] = []


def _taps(kernel: Any, out: Any, strides: Any, pads: Any, dilations: Any) -> np.ndarray:
    """Where the taps lie without offsets, (taps, row and column, rows, columns)."""
    axes = [
        np.arange(count)[None, :] * stride - pad + np.arange(size)[:, None] * dilation
        for size, count, stride, pad, dilation in zip(
            kernel, out, strides, pads, dilations, strict=True
        )
    ]
    (tall, high), (wide, broad) = (axis.shape for axis in axes)
    rows = np.broadcast_to(axes[0][:, None, :, None], (tall, wide, high, broad))
    columns = np.broadcast_to(axes[1][None, :, None, :], (tall, wide, high, broad))
    return np.stack([rows, columns], 2).reshape(tall * wide, 2, high, broad).astype(np.float64)


@function("deform_conv2d", onnx="deformconv")
def deform_conv2d(
    build: CallBuilder,
    input: Value,
    weight: Value,
    offset: Value,
    mask: Value,
    bias: Value,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Ref:
    """As DeformConv of ONNX: offsets are rows and columns of each tap; what lies outside is 0."""
    kernel, addend = build.weight("weight", weight), build.weight("bias", bias)
    if kernel is None:
        raise Undescribed("it has no weight")
    channels, height, width = build.shape(input)[1:]
    tall, wide = kernel.value.shape[2:]
    taps, out = tall * wide, build.outputs[0].shape[2:]
    base = _taps((tall, wide), out, (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w))
    places = build.add(ops.Reshape((-1, offset_groups, taps, 2, *out)), offset)
    places = build.add(ops.Add(), places, base)
    places = build.add(ops.Take(3, (1, 0)), places)
    places = build.add(ops.Transpose((0, 1, 2, 4, 5, 3)), places)
    places = build.add(ops.Reshape((-1, taps * out[0], out[1], 2)), places)
    each = channels // offset_groups
    x = build.add(ops.Reshape((-1, each, height, width)), input)
    x = build.add(ops.GridSample(pixels=True), x, places)
    if use_mask:
        gate = build.add(ops.Reshape((-1, 1, taps * out[0], out[1])), mask)
        x = build.add(ops.Mul(), x, gate)
    x = build.add(ops.Reshape((-1, channels, tall, wide, *out)), x)
    x = build.add(ops.Transpose((0, 1, 4, 2, 5, 3)), x)
    x = build.add(ops.Reshape((-1, channels, out[0] * tall, out[1] * wide)), x)
    if addend is not None and not addend.value.any():
        addend = None
    conv = ops.Conv(
        weight=kernel,
        bias=addend,
        strides=(tall, wide),
        pads=((0, 0), (0, 0)),
        dilations=(1, 1),
        groups=groups,
    )
    return build.add(conv, x)
