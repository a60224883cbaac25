"""Functions of torch.ops.quantized that the modules QFunctional call: in float, then to the
output's levels; and rounding to levels that stay floats."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__: list[str] = []

_LEVELS = "scale zero_point dtype"
"""What the levels of the output tell already."""


@function("quantized.add", onnx="add", idle=_LEVELS)
def _add(build: CallBuilder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Add(), qa, qb)


@function("quantized.add_relu", onnx="add", idle=_LEVELS)
def _add_relu(build: CallBuilder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Relu(), build.add(ops.Add(), qa, qb))


@function("quantized.mul", onnx="mul", idle=_LEVELS)
def _mul(build: CallBuilder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Mul(), qa, qb)


@function("quantized.add_scalar", onnx="add")
def _add_scalar(build: CallBuilder, qa: Any, b: float) -> Ref:
    """The output's levels are the input's, moved by the number."""
    return build.add(ops.Affine(gain=1.0, offset=float(b)), qa)


@function("quantized.mul_scalar", onnx="mul")
def _mul_scalar(build: CallBuilder, qa: Any, b: float) -> Ref:
    """The output's levels are the input's, times the number."""
    return build.add(ops.Affine(gain=float(b), offset=0.0), qa)


@function("quantized.matmul", onnx="matmul", idle=_LEVELS)
def _matmul(build: CallBuilder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Product(), qa, qb)


@function("quantized.cat", onnx="concat", idle=_LEVELS)
def _cat(build: CallBuilder, qx: Any, dim: int, scale: float = 1.0, zero_point: int = 0) -> Ref:
    rank = build.outputs[0].ndim
    return build.add(ops.Concat(axis=dim % rank), *qx)


@function("quantize_per_tensor", onnx="quantizelinear", idle=_LEVELS)
def _quantize(build: CallBuilder, input: Any, scale: Any, zero_point: Any, dtype: Any) -> Ref:
    return build.add(ops.Identity(), input)


@function("dequantize", onnx="dequantizelinear")
def _dequantize(build: CallBuilder, input: Any) -> Ref:
    """The numbers that a quantised tensor stands for are what is compared all along."""
    return build.add(ops.Identity(), input)


def _levels(
    build: CallBuilder,
    input: Value,
    scale: Value,
    zero_point: Value,
    ends: tuple[int, int],
    axis: int,
) -> Ref:
    """Rounding to levels that do not follow from the model's input; ``axis``: along which they
    differ, or -1."""
    if not (build.fixed(scale) and build.fixed(zero_point)):
        raise Undescribed("its scale is computed from the model's input")
    size, zero = (np.array(build.array(number)) for number in (scale, zero_point))
    if axis >= 0:
        around = [1] * build.array(input).ndim
        around[axis] = -1
        size, zero = size.reshape(around), zero.reshape(around)
    low, high = ends
    op = ops.FakeQuantize(
        size=size.astype(np.float32),
        zero_point=zero,
        low=low,
        high=high,
        zero_first=zero.dtype.kind == "f",
        wraps=axis >= 0,
    )
    return build.add(op, input)


@function("fake_quantize_per_tensor_affine", onnx="quantizelinear")
def _fake_quantize(
    build: CallBuilder,
    input: Value,
    scale: Value,
    zero_point: Value,
    quant_min: int,
    quant_max: int,
) -> Ref:
    return _levels(build, input, scale, zero_point, (quant_min, quant_max), -1)


@function("fake_quantize_per_channel_affine", onnx="quantizelinear")
def _fake_quantize_channels(
    build: CallBuilder,
    input: Value,
    scale: Value,
    zero_point: Value,
    axis: int,
    quant_min: int,
    quant_max: int,
) -> Ref:
    return _levels(build, input, scale, zero_point, (quant_min, quant_max), int(axis))
