"""Operators of ONNX Runtime's own domain com.microsoft: what its quantiser and its graph
optimisation write (docs/ContribOperators.md of ONNX Runtime 1.23).

Quantised ones are described as what their integers stand for, as QLinearConv is.
"""

from collections.abc import Callable

import numpy as np

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node
from .normalization import rms_normalization
from .products_pools_reductions import conv, gemm, pooled
from .quantize_linear import dequantized, floats, product, quantized

__all__: list[str] = []


def _named(*names: str) -> tuple[str, ...]:
    return tuple(f"com.microsoft.{name}" for name in names)


def _plus(build: NodeBuilder, x: Value, more: Value | None) -> Value:
    if more is None:
        return x
    return build.add(ops.Add(), x, more)


def _channels_second(build: NodeBuilder) -> None:
    if build.get("channels_last", 0):
        raise Undescribed("channels_last=1 is not supported")


def _coded(build: NodeBuilder, y: Ref, scale: Value, zero: Value | None) -> Ref:
    """The result as integers, with one scale for all."""
    return quantized(build, y, build.outputs[0].shape, scale, zero, 0)


# Quantised operators.


def _register_two(name: str, op: Callable[[], ops.Op]) -> None:
    @node(*_named(name))
    def of_two(
        build: NodeBuilder,
        x: Value,
        x_scale: Value,
        x_zero: Value | None,
        y: Value,
        y_scale: Value,
        y_zero: Value | None,
        scale: Value,
        zero: Value | None = None,
    ) -> Ref:
        left, right = floats(build, x, x_scale, x_zero, 0), floats(build, y, y_scale, y_zero, 0)
        return _coded(build, build.add(op(), left, right), scale, zero)


_register_two("QLinearAdd", ops.Add)
_register_two("QLinearMul", ops.Mul)


def _global_average(build: NodeBuilder, x: Value) -> ops.Op:
    _channels_second(build)
    return ops.GlobalAveragePool(axes=tuple(range(2, build.rank(x))))


def _average(build: NodeBuilder, x: Value) -> ops.Op:
    _channels_second(build)
    given = pooled(build, x)
    if {*given.pop("dilations")} != {1}:
        raise Undescribed("dilations are not supported")
    return ops.AveragePool(**given, count_include_pad=bool(build.get("count_include_pad", 0)))


_OF_ONE: dict[str, Callable[[NodeBuilder, Value], ops.Op]] = {
    "QLinearAveragePool": _average,
    "QLinearGlobalAveragePool": _global_average,
    "QLinearLeakyRelu": lambda build, x: ops.LeakyRelu(alpha=build.get("alpha", 0.01)),
    "QLinearSigmoid": lambda build, x: ops.Sigmoid(),
}


def _register_one(name: str, op: Callable[[NodeBuilder, Value], ops.Op]) -> None:
    @node(*_named(name))
    def of_one(
        build: NodeBuilder,
        x: Value,
        x_scale: Value,
        x_zero: Value | None,
        scale: Value,
        zero: Value | None = None,
    ) -> Ref:
        found = build.add(op(build, x), floats(build, x, x_scale, x_zero, 0))
        return _coded(build, found, scale, zero)


for _name, _op in _OF_ONE.items():
    _register_one(_name, _op)


@node(*_named("QLinearConcat"))
def qlinear_concat(build: NodeBuilder, scale: Value, zero: Value, *values: Value) -> Ref:
    """Each tensor is followed by its scale and its zero point."""
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    parts = [floats(build, *triple, 0) for triple in triples]
    return _coded(build, build.add(ops.Concat(axis=build.get("axis")), *parts), scale, zero)


@node(*_named("QGemm"))
def qgemm(
    build: NodeBuilder,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    y: Value,
    y_scale: Value,
    y_zero: Value,
    bias: Value | None = None,
    scale: Value | None = None,
    zero: Value | None = None,
) -> Ref:
    """alpha * x * y + bias, whose unit is alpha times both scales; in floats without ``scale``."""
    left = floats(build, x, x_scale, x_zero, 0)
    if build.get("transA", 0):
        left = build.add(ops.Transpose(perm=(1, 0)), left)
    alpha, turned = build.get("alpha", 1.0), bool(build.get("transB", 0))
    unit = alpha * build.array(x_scale).astype(np.float64) * build.array(y_scale)
    own: Weight | None = None
    if isinstance(bias, Weight) and bias.value.ndim == 1 and alpha == 1:
        own, bias = dequantized(bias.value, bias.name, unit, None, axis=0), None
    found = product(build, left, y, y_scale, y_zero, turned, own)
    if alpha != 1:
        found = build.add(ops.Mul(), found, alpha)
    if bias is not None:
        whole = build.add(ops.Cast(to="float32"), bias)
        found = build.add(ops.Add(), found, build.add(ops.Mul(), whole, unit))
    if scale is None:
        return found
    return _coded(build, found, scale, zero)


@node(*_named("MatMulIntegerToFloat"))
def matmul_integer_to_float(
    build: NodeBuilder,
    x: Value,
    y: Value,
    x_scale: Value,
    y_scale: Value,
    x_zero: Value | None = None,
    y_zero: Value | None = None,
    bias: Value | None = None,
) -> Ref:
    left = floats(build, x, x_scale, x_zero, build.rank(x) - 2)
    return product(build, left, y, y_scale, y_zero, bias=bias)


@node(*_named("DynamicQuantizeMatMul"))
def dynamic_quantize_matmul(
    build: NodeBuilder,
    x: Value,
    y: Value,
    y_scale: Value,
    y_zero: Value | None = None,
    bias: Value | None = None,
) -> Ref:
    """x is quantised to uint8 by its own range first."""
    step = build.add(ops.DynamicQuantizeLinear(), x).step
    whole, scale, zero = (Ref(step, index) for index in range(3))
    left = build.add(
        ops.Sub(),
        build.add(ops.Cast(to="float32"), whole),
        build.add(ops.Cast(to="float32"), zero),
    )
    left = build.add(ops.Mul(), left, scale)
    return product(build, left, y, y_scale, y_zero, bias=bias)


# What graph optimisation fuses.


@node(*_named("Gelu", "BiasGelu"))
def gelu(build: NodeBuilder, x: Value, bias: Value | None = None) -> Ref:
    return build.add(ops.Gelu(approximate="none"), _plus(build, x, bias))


@node(*_named("FastGelu"))
def fast_gelu(build: NodeBuilder, x: Value, bias: Value | None = None) -> Ref:
    return build.add(ops.Gelu(approximate="tanh"), _plus(build, x, bias))


@node(*_named("QuickGelu"))
def quick_gelu(build: NodeBuilder, x: Value) -> Ref:
    return build.add(ops.Swish(alpha=build.get("alpha", 1.702)), x)


@node(*_named("FusedMatMul"))
def fused_matmul(build: NodeBuilder, x: Value, y: Value) -> Ref:
    """alpha * x * y, whose last two axes are turned where transA and transB say so."""
    for name in ("transBatchA", "transBatchB"):
        if build.get(name, 0):
            raise Undescribed(f"{name}=1 is not supported")
    found = build.add(ops.Product(), _turned(build, x, "transA"), _turned(build, y, "transB"))
    alpha = build.get("alpha", 1.0)
    if alpha == 1:
        return found
    return build.add(ops.Mul(), found, alpha)


def _turned(build: NodeBuilder, x: Value, name: str) -> Value:
    if not build.get(name, 0) or build.rank(x) < 2:
        return x
    *rest, rows, columns = range(build.rank(x))
    return build.add(ops.Transpose(perm=(*rest, columns, rows)), x)


_ACTIVATIONS: dict[str, Callable[[tuple[float, ...]], ops.Op]] = {
    "Clip": lambda given: ops.Clip(low=given[0], high=given[1]),
    "HardSigmoid": lambda given: ops.HardSigmoid(alpha=given[0], beta=given[1]),
    "LeakyRelu": lambda given: ops.LeakyRelu(alpha=given[0]),
    "Relu": lambda given: ops.Relu(),
    "Sigmoid": lambda given: ops.Sigmoid(),
    "Tanh": lambda given: ops.Tanh(),
}


def _activated(build: NodeBuilder, y: Ref, parameters: tuple[float, ...]) -> Ref:
    name = build.get("activation", "")
    if not name:
        return y
    if name not in _ACTIVATIONS:
        raise Undescribed(f"the activation {name} is not supported")
    return build.add(_ACTIVATIONS[name](parameters), y)


@node(*_named("FusedConv"), implied=("kernel_shape",))
def fused_conv(
    build: NodeBuilder,
    x: Value,
    kernel: Value,
    bias: Value | None = None,
    more: Value | None = None,
) -> Ref:
    """A convolution, to which ``more`` is added before the activation."""
    found = build.ref(_plus(build, conv(build, x, kernel, bias), more))
    return _activated(build, found, tuple(build.get("activation_params", ())))


@node(*_named("FusedGemm"))
def fused_gemm(build: NodeBuilder, x: Value, y: Value, bias: Value | None = None) -> Ref:
    names = ("activation_alpha", "activation_beta")
    given = tuple(build.get(name) for name in names)
    if build.get("activation", "") == "Clip":
        raise Undescribed("the activation Clip is not supported")
    return _activated(build, gemm(build, x, y, bias), given)


@node("SimplifiedLayerNormalization", implied=("stash_type",))
def simplified_layer_normalization(build: NodeBuilder, x: Value, scale: Value) -> tuple[Ref, ...]:
    """RMSNormalization under the name that ONNX Runtime had for it; its further output is one over
    the root of the mean square."""
    found = rms_normalization(build, x, scale)
    if max(build.present) == 0:
        return (found,)
    axes = tuple(range(build.get("axis", -1) % build.rank(x), build.rank(x)))
    square = build.add(ops.ReduceMean(axes=axes, keepdims=True), build.add(ops.Mul(), x, x))
    moved = build.add(ops.Affine(gain=1.0, offset=build.get("epsilon", 1e-5)), square)
    return found, build.add(ops.Rsqrt(), moved)


def _with_sum(build: NodeBuilder, normalized: Ref, total: Ref) -> tuple[Ref, ...]:
    """The outputs of a normalisation behind a sum: itself, two that a CPU leaves out, the sum."""
    if {1, 2} & {*build.present}:
        raise Undescribed("only its first and its fourth output are described")
    return normalized, normalized, normalized, total


@node(*_named("SkipLayerNormalization"))
def skip_layer_normalization(
    build: NodeBuilder,
    x: Value,
    skip: Value,
    scale: Value,
    offset: Value | None = None,
    bias: Value | None = None,
) -> tuple[Ref, ...]:
    total = build.ref(_plus(build, build.add(ops.Add(), x, skip), bias))
    epsilon = build.get("epsilon", 1e-12)
    axes = (build.rank(x) - 1,)
    if isinstance(scale, Weight) and (offset is None or isinstance(offset, Weight)):
        op = ops.LayerNormalization(scale=scale, bias=offset, epsilon=epsilon, axes=axes)
        return _with_sum(build, build.add(op, total), total)
    raise Undescribed("a scale that is computed is not supported")


@node(*_named("SkipSimplifiedLayerNormalization"))
def skip_simplified_layer_normalization(
    build: NodeBuilder, x: Value, skip: Value, scale: Value, bias: Value | None = None
) -> tuple[Ref, ...]:
    total = build.ref(_plus(build, build.add(ops.Add(), x, skip), bias))
    if not isinstance(scale, Weight):
        raise Undescribed("a scale that is computed is not supported")
    op = ops.RMSNormalization(
        scale=scale, epsilon=build.get("epsilon", 1e-12), axes=(build.rank(x) - 1,)
    )
    return _with_sum(build, build.add(op, total), total)
