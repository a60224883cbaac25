"""Pools and reductions: of floats, and of codes."""

import math
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed
from probe.ops.quantize.requantize import fixed_point

from ..arithmetic import requantize, rounding
from ..describe import INTEGERS, Operand, OperatorBuilder, node
from .activations import activated, code_range
from .blocks import in_blocks
from .conv import channels_first, channels_last, same_or_valid

__all__: list[str] = []


def _window(build: OperatorBuilder, x: Operand) -> dict[str, Any]:
    kernel = build.get("filterHeight", 1), build.get("filterWidth", 1)
    strides = build.get("strideH", 1), build.get("strideW", 1)
    pads = same_or_valid(build, x.shape[1:3], kernel, strides, (1, 1))
    return {"kernel": kernel, "strides": strides, "pads": pads}


@node("MAX_POOL_2D")
def max_pool(build: OperatorBuilder, x: Operand) -> Ref:
    op = ops.MaxPool(**_window(build, x), dilations=(1, 1))
    if x.dtype == "float32":
        y = build.add(op, channels_first(build, x))
        return activated(build, channels_last(build, y))
    floats = build.add(ops.Cast(to="float32"), channels_first(build, x))
    low, high = code_range(build)
    y = build.add(ops.Clip(low=float(low), high=float(high)), build.add(op, floats))
    return build.add(ops.Cast(to=x.dtype), channels_last(build, y))


@node("AVERAGE_POOL_2D")
def average_pool(build: OperatorBuilder, x: Operand) -> Ref:
    """Of codes: the sum of those in the window by their count, halves away from zero."""
    window = _window(build, x)
    if x.dtype == "float32":
        op = ops.AveragePool(**window, count_include_pad=False)
        y = build.add(op, channels_first(build, x))
        return activated(build, channels_last(build, y))
    batch, *_, channels = x.shape
    taps, (rows, columns) = math.prod(window["kernel"]), build.result.shape[1:3]
    counts = _counts(x.shape[1:3], (rows, columns), **window)
    whole = build.add(ops.Cast(to="int64"), channels_first(build, x))
    found = build.add(ops.Im2Col(**window, dilations=(1, 1)), whole)
    found = build.add(ops.Reshape(shape=(batch, channels, taps, rows * columns)), found)
    sums = build.add(ops.ReduceSum(axes=(2,)), found)
    means = build.add(ops.DivideRounded(count=counts.reshape(-1)), sums)
    y = build.add(ops.Reshape(shape=(batch, channels, rows, columns)), means)
    return channels_last(build, _clamped(build, y))


def _counts(
    sizes: tuple[int, ...],
    counts: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
) -> np.ndarray:
    """How many cells of the input each window has."""
    lines = []
    for size, count, k, s, (before, _) in zip(sizes, counts, kernel, strides, pads, strict=True):
        start = np.arange(count) * s - before
        lines.append(np.minimum(start + k, size) - np.maximum(start, 0))
    counted: np.ndarray = np.multiply.outer(*lines)
    return counted


def _clamped(build: OperatorBuilder, y: Ref) -> Ref:
    low, high = code_range(build)
    if (low, high) == build.limits:
        return y
    return build.add(ops.Min(), build.add(ops.Max(), y, np.int64(low)), np.int64(high))


def _axes(x: Operand, axes: Operand) -> tuple[int, ...]:
    rank = len(x.shape)
    found = sorted({int(axis) % rank for axis in np.ravel(axes.constant)})
    return tuple(found or range(rank))


_REDUCTIONS = {
    "MEAN": ops.ReduceMean,
    "REDUCE_MAX": ops.ReduceMax,
    "REDUCE_MIN": ops.ReduceMin,
    "REDUCE_PROD": ops.ReduceProd,
    "SUM": ops.ReduceSum,
}


@node(*_REDUCTIONS)
def reduced(build: OperatorBuilder, x: Operand, axes: Operand) -> Ref:
    operator, keep = build.node.operator, bool(build.get("keepDims", False))
    over = _axes(x, axes)
    if x.dtype in INTEGERS and operator in ("MEAN", "SUM"):
        return _reduced_codes(build, x, over)
    if x.dtype in INTEGERS and operator == "REDUCE_PROD":
        raise Undescribed(f"a product of {x.dtype} codes has no description")
    return build.add(_REDUCTIONS[operator](axes=over, keepdims=keep), x)


def _reduced_codes(build: OperatorBuilder, x: Operand, over: tuple[int, ...]) -> Ref:
    """The sum of the codes less the zero point, with their count in the multiplier."""
    count = math.prod(x.shape[axis] for axis in over)
    keep, mean = bool(build.get("keepDims", False)), build.node.operator == "MEAN"
    if not mean and build.kernel.family == "reference" and x.dtype != "uint8":
        raise Undescribed(
            f"LiteRT's reference kernel of SUM leaves the memory of {x.dtype} codes as it was"
        )
    plane = mean and keep and over == (1, 2) and len(x.shape) == 4
    operator = build.node.operator + (" of height and width" if plane else "")
    how = rounding(build.kernel, operator, x.dtype)
    if how == "float32":
        return _summed_in_float32(build, x, over, count)
    if how == "up":
        return _mean_of_plane(build, x, count, operator)
    sums = build.add(ops.ReduceSum(axes=over, keepdims=keep), build.steps_of(x))
    share = np.float64(x.scale) / np.float64(build.result.scale)
    multiplier, shift = (int(part) for part in fixed_point(share))
    if mean:
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << bits) // count, shift - bits
    low, high = build.limits
    op = ops.Requantize(
        multiplier=np.asarray(multiplier),
        shift=np.asarray(shift),
        factor=np.asarray(share / (count if mean else 1), np.float32),
        zero_point=build.result.zero_point,
        low=low,
        high=high,
        rounding=how,
    )
    return build.add(op, sums)


def _mean_of_plane(build: OperatorBuilder, x: Operand, count: int, operator: str) -> Ref:
    """Of the codes as they are; the zero points are added at the end, the input's scaled and
    rounded (optimized_integer_ops::Mean)."""
    whole = build.add(ops.Cast(to="int64"), x)
    sums = build.add(ops.ReduceSum(axes=(1, 2), keepdims=True), whole)
    out = build.result.scale
    moved = np.float32(x.zero_point) * x.scale / out
    bias = build.result.zero_point - int(moved + np.copysign(np.float32(0.5), moved))
    narrow = x.scale / (np.float32(count) * out)
    op = requantize("up", np.float64(narrow), narrow, bias, build.limits)
    return in_blocks(build, sums, op, operator, x.dtype, 3)


def _summed_in_float32(
    build: OperatorBuilder, x: Operand, over: tuple[int, ...], count: int
) -> Ref:
    """The sum of the codes times a scale, plus what the zero points come to, in float32; that of
    the output is in it in XNNPACK alone (optimized_ops::QuantizedMeanOrSum)."""
    whole = build.add(ops.Cast(to="int64"), x)
    keep = bool(build.get("keepDims", False))
    sums = build.add(ops.ReduceSum(axes=over, keepdims=keep), whole)
    low, high = build.limits
    share, zero = np.float32(x.scale / build.result.scale), build.result.zero_point
    if build.kernel.family != "xnnpack":
        moved = np.float32(np.float32(-x.zero_point) * share) * np.float32(count)
        op = ops.ScaleInFloat32(float(share), float(moved), low, high, zero, "away")
        return build.add(op, sums)
    if build.node.operator == "MEAN":
        share = share / np.float32(count)
    moved = np.float32(zero) - np.float32(x.zero_point * count) * share
    return build.add(ops.ScaleInFloat32(float(share), float(moved), low, high), sums)


@node("REDUCE_ANY", "REDUCE_ALL")
def reduced_truths(build: OperatorBuilder, x: Operand, axes: Operand) -> Ref:
    op = ops.ReduceAny if build.node.operator == "REDUCE_ANY" else ops.ReduceAll
    return build.add(op(axes=_axes(x, axes), keepdims=bool(build.get("keepDims", False))), x)
