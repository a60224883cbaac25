"""Functions of torch.ops.quantized that the modules QFunctional call: in float, then to the
output's levels."""

from typing import Any

from probe import ops
from probe.description import Ref

from .describe import Builder, function

__all__: list[str] = []

_LEVELS = "scale zero_point dtype"
"""What the levels of the output tell already."""


@function("quantized.add", onnx="add", idle=_LEVELS)
def _add(build: Builder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Add(), qa, qb)


@function("quantized.add_relu", onnx="add", idle=_LEVELS)
def _add_relu(build: Builder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Relu(), build.add(ops.Add(), qa, qb))


@function("quantized.mul", onnx="mul", idle=_LEVELS)
def _mul(build: Builder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Mul(), qa, qb)


@function("quantized.add_scalar", onnx="add")
def _add_scalar(build: Builder, qa: Any, b: float) -> Ref:
    """The output's levels are the input's, moved by the number."""
    return build.add(ops.Affine(gain=1.0, offset=float(b)), qa)


@function("quantized.mul_scalar", onnx="mul")
def _mul_scalar(build: Builder, qa: Any, b: float) -> Ref:
    """The output's levels are the input's, times the number."""
    return build.add(ops.Affine(gain=float(b), offset=0.0), qa)


@function("quantized.matmul", onnx="matmul", idle=_LEVELS)
def _matmul(build: Builder, qa: Any, qb: Any, scale: float = 1.0, zero_point: int = 0) -> Ref:
    return build.add(ops.Product(), qa, qb)


@function("quantized.cat", onnx="concat", idle=_LEVELS)
def _cat(build: Builder, qx: Any, dim: int, scale: float = 1.0, zero_point: int = 0) -> Ref:
    rank = build.outputs[0].ndim
    return build.add(ops.Concat(axis=dim % rank), *qx)


@function("quantize_per_tensor", onnx="quantizelinear", idle=_LEVELS)
def _quantize(build: Builder, input: Any, scale: Any, zero_point: Any, dtype: Any) -> Ref:
    return build.add(ops.Identity(), input)


@function("dequantize", onnx="dequantizelinear")
def _dequantize(build: Builder, input: Any) -> Ref:
    """The numbers that a quantised tensor stands for are what is compared all along."""
    return build.add(ops.Identity(), input)
