"""Convolutions: of floats, of codes, and of floats with the codes of a kernel."""

from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed
from probe.ops.window.same_padding import same_padding

from ..arithmetic import requantize, rounding
from ..describe import Operand, OperatorBuilder, node
from .activations import activated, code_range
from .blocks import in_blocks
from .hybrid import convolved_dynamically

__all__ = ["channels_first", "channels_last", "geometry", "held_weight", "sum_scales"]

Pads = tuple[tuple[int, int], ...]
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def channels_first(build: OperatorBuilder, x: Ref | Operand) -> Ref:
    """(batch, channel, height, width) of what has its channels last."""
    return build.add(ops.Transpose(perm=_FIRST), x)


def channels_last(build: OperatorBuilder, y: Ref) -> Ref:
    return build.add(ops.Transpose(perm=_LAST), y)


def same_or_valid(
    build: OperatorBuilder,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Pads:
    """(before, after) of height and width; an odd cell comes after."""
    padding = build.get("padding", "SAME")
    if padding == "VALID":
        return ((0, 0), (0, 0))
    if padding != "SAME":
        raise Undescribed(f"its padding {padding} is not supported by its description")
    totals = [
        same_padding(size, (k - 1) * d + 1, s)
        for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)


def geometry(
    build: OperatorBuilder, sizes: tuple[int, ...], kernel: tuple[int, ...]
) -> dict[str, Any]:
    """Strides, dilations and padding of a convolution."""
    strides = build.get("strideH", 1), build.get("strideW", 1)
    dilations = build.get("dilationHFactor", 1), build.get("dilationWFactor", 1)
    return {
        "strides": strides,
        "dilations": dilations,
        "pads": same_or_valid(build, sizes, kernel, strides, dilations),
    }


def held_weight(operand: Operand | None, axes: tuple[int, ...] | None = None) -> Weight | None:
    """A constant in the layout of its op."""
    if operand is None:
        return None
    weight = operand.held
    if not isinstance(weight, Weight):
        raise Undescribed("its weights are computed by other layers")
    return weight if axes is None else replace(weight, axes=axes)


def sum_scales(
    build: OperatorBuilder, x: Operand, kernel: Operand, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scale of the input times that of the kernel by that of the output, one for each channel, in
    double precision and as XNNPACK forms it, in float32; ``rank`` axes follow the channels."""
    around = (-1, *(1,) * rank) if kernel.scales.size > 1 else (1,) * (rank + 1)
    scales, out = kernel.scales.reshape(around), build.result.scale
    exact = np.float64(x.scale) * scales.astype(np.float64) / np.float64(out)
    return exact, (x.scale * scales) / out


def _kernel_weight(build: OperatorBuilder, kernel: Operand, depthwise: bool) -> Weight:
    weight = held_weight(kernel, (3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    assert weight is not None
    return weight


@node("CONV_2D")
def conv_2d(
    build: OperatorBuilder, x: Operand, kernel: Operand, bias: Operand | None = None
) -> Ref:
    return _convolution(build, x, kernel, bias, depthwise=False)


@node("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(
    build: OperatorBuilder, x: Operand, kernel: Operand, bias: Operand | None = None
) -> Ref:
    build.knows("depthMultiplier")
    return _convolution(build, x, kernel, bias, depthwise=True)


def _convolution(
    build: OperatorBuilder, x: Operand, kernel: Operand, bias: Operand | None, depthwise: bool
) -> Ref:
    build.knows("quantizedBiasType")
    given = geometry(build, x.shape[1:3], kernel.shape[1:3])
    groups = x.shape[3] if depthwise else x.shape[3] // kernel.shape[3]
    weight = _kernel_weight(build, kernel, depthwise)
    own = held_weight(bias)
    if x.dtype == "float32" and weight.grid is not None and weight.grid.in_steps:
        y = convolved_dynamically(build, x, kernel, weight, own, given, groups)
        return activated(build, channels_last(build, y))
    if x.dtype == "float32":
        conv = ops.Conv(weight=weight, bias=own, groups=groups, **given)
        y = build.add(conv, channels_first(build, x))
        return activated(build, channels_last(build, y))
    operator = build.node.operator + (", grouped" if groups > 1 and not depthwise else "")
    how = rounding(build.kernel, operator, x.dtype)
    sums = ops.IntegerConv(weight=weight, bias=own, groups=groups, **given)
    y = build.add(sums, channels_first(build, build.steps_of(x)))
    scale, factor = sum_scales(build, x, kernel, 2)
    op = requantize(how, scale, factor, build.result.zero_point, code_range(build))
    return channels_last(build, in_blocks(build, y, op, operator, x.dtype, 1))


@node("TRANSPOSE_CONV")
def transpose_conv(
    build: OperatorBuilder,
    shape: Operand,
    kernel: Operand,
    x: Operand,
    bias: Operand | None = None,
) -> Ref:
    """The padding is that of the convolution from the output to the input."""
    build.knows("quantizedBiasType")
    shape.used.append(True)  # TFLM keeps the shape of the file, whatever it is told
    sizes = build.result.shape[1:3]
    strides = build.get("strideH", 1), build.get("strideW", 1)
    spans, ones = kernel.shape[1:3], (1, 1)
    pads = same_or_valid(build, sizes, spans, strides, ones)
    crops = tuple(
        (before, (n - 1) * s + k - before - size)
        for (before, _), n, s, k, size in zip(
            pads, x.shape[1:3], strides, spans, sizes, strict=True
        )
    )
    weight = held_weight(kernel, (3, 0, 1, 2))
    own = held_weight(bias)
    given: dict[str, Any] = {
        "weight": weight,
        "bias": own,
        "strides": strides,
        "crops": crops,
        "dilations": ones,
    }
    if x.dtype == "float32" and (weight is None or weight.grid is None):
        y = build.add(ops.ConvTranspose(**given), channels_first(build, x))
        return activated(build, channels_last(build, y))
    if x.dtype == "float32":
        raise Undescribed("a transposed convolution of floats with integer weights")
    how = rounding(build.kernel, "TRANSPOSE_CONV", x.dtype)
    y = build.add(ops.IntegerConvTranspose(**given), channels_first(build, build.steps_of(x)))
    scale, factor = sum_scales(build, x, kernel, 2)
    op = requantize(how, scale, factor, build.result.zero_point, code_range(build))
    return channels_last(build, in_blocks(build, y, op, "TRANSPOSE_CONV", x.dtype, 1))
