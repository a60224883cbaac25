"""Dynamic range: floats times the codes of weights, for which the kernel quantises its input anew
in each call."""

from dataclasses import replace
from typing import Any

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import Operand, OperatorBuilder

__all__ = ["convolved_dynamically", "multiplied_dynamically"]


def _in_numbers(weight: Weight) -> Weight:
    """The codes times their scale."""
    grid = weight.grid
    assert grid is not None
    return replace(
        weight, effective=grid.numbers(weight.effective), grid=replace(grid, in_steps=False)
    )


def convolved_dynamically(
    build: OperatorBuilder,
    x: Operand,
    kernel: Operand,
    weight: Weight,
    bias: Weight | None,
    given: dict[str, Any],
    groups: int,
) -> Ref:
    """The input has a scale for each entry of the batch; in XNNPACK's convolutions of 1 x 1, for
    each pixel."""
    if build.kernel.family == "tflm":
        raise Undescribed("TFLM has no kernel for floats with integer weights")
    if kernel.scales.size == 1 and len(weight.value) > 1:
        raise Undescribed(
            "a convolution of floats with integer weights that share a scale has no description"
        )
    pixels = (
        build.kernel.family == "xnnpack"
        and build.node.operator == "CONV_2D"
        and kernel.shape[1:3] == (1, 1)
    )
    quantized = build.add(ops.DynamicInput(axes=(3,) if pixels else (1, 2, 3)), x)
    turned = build.add(ops.Transpose(perm=(0, 3, 1, 2)), quantized)
    op = ops.Conv(weight=_in_numbers(weight), bias=bias, groups=groups, **given)
    return build.add(op, turned)


def multiplied_dynamically(
    build: OperatorBuilder, x: Operand, kernel: Operand, weight: Weight, bias: Weight | None
) -> Ref:
    """The input has a scale for each row; symmetric where the built-in kernels are told so, and in
    the optimised one for int4 whatever they are told."""
    if build.kernel.family == "tflm":
        raise Undescribed("TFLM has no kernel for floats with integer weights")
    asymmetric = bool(build.get("asymmetricQuantizeInputs", False))
    if build.kernel.family == "optimised" and kernel.dtype == "int4":
        asymmetric = False
    symmetric = build.kernel.family != "xnnpack" and not asymmetric
    rows = build.add(ops.Reshape(shape=(-1, len(weight.value))), x)
    quantized = build.add(ops.DynamicInput(axes=(1,), symmetric=symmetric), rows)
    return build.add(ops.MatMul(weight=_in_numbers(weight), bias=bias), quantized)
