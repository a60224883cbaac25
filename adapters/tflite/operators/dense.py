"""Products of matrices: fully connected layers and products of two tensors."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..arithmetic import requantize, rounding
from ..describe import Operand, OperatorBuilder, node
from .activations import activated, code_range
from .conv import held_weight, sum_scales
from .hybrid import multiplied_dynamically

__all__: list[str] = []


@node("FULLY_CONNECTED")
def fully_connected(
    build: OperatorBuilder, x: Operand, kernel: Operand, bias: Operand | None = None
) -> Ref:
    build.knows("keepNumDims", "quantizedBiasType")
    if build.get("weightsFormat", "DEFAULT") != "DEFAULT":
        raise Undescribed(f"weights in the format {build.get('weightsFormat')} have no description")
    width = kernel.shape[1]
    if not kernel.is_constant:
        return _of_two_tensors(build, x, kernel, bias)
    weight, own = held_weight(kernel, (1, 0)), held_weight(bias)
    assert weight is not None
    if x.dtype == "float32" and weight.grid is not None and weight.grid.in_steps:
        y = multiplied_dynamically(build, x, kernel, weight, own)
        return activated(build, build.reshaped(y))
    build.knows("asymmetricQuantizeInputs")
    rows = ops.Reshape(shape=(-1, width))
    if x.dtype == "float32":
        y = build.add(ops.MatMul(weight=weight, bias=own), build.add(rows, x))
        return activated(build, build.reshaped(y))
    how = rounding(build.kernel, "FULLY_CONNECTED", x.dtype)
    sums = ops.IntegerMatMul(weight=weight, bias=own)
    y = build.add(sums, build.add(rows, build.steps_of(x)))
    return _to_codes(build, y, how, x, kernel)


def _to_codes(build: OperatorBuilder, y: Ref, how: str, x: Operand, kernel: Operand) -> Ref:
    scale, factor = sum_scales(build, x, kernel, 0)
    if kernel.scales.size == 1 and (x.dtype != "int16" or build.kernel.family == "tflm"):
        # GetQuantizedConvolutionMultipler multiplies in float32
        product = np.float64(x.scale * kernel.scale)
        scale = np.asarray(product / np.float64(build.result.scale)).reshape(scale.shape)
    limits = code_range(build)
    op = requantize(how, scale, factor, build.result.zero_point, limits)
    return build.reshaped(build.add(op, y))


def _of_two_tensors(
    build: OperatorBuilder, x: Operand, kernel: Operand, bias: Operand | None
) -> Ref:
    """Weights that other layers compute."""
    build.knows("asymmetricQuantizeInputs")
    floats = x.dtype == "float32" and kernel.dtype == "float32"
    if not floats and x.dtype != kernel.dtype:
        raise Undescribed(f"weights of {kernel.dtype} that other layers compute")
    left = build.add(ops.Reshape(shape=(-1, kernel.shape[1])), x if floats else build.steps_of(x))
    right = kernel if floats else build.steps_of(kernel)
    y = build.add(ops.Product(), left, build.add(ops.Transpose(perm=(1, 0)), right))
    if bias is not None:
        y = build.add(ops.Add(), y, bias)
    if floats:
        return activated(build, build.reshaped(y))
    how = rounding(build.kernel, "FULLY_CONNECTED", x.dtype)
    return _to_codes(build, y, how, x, kernel)


@node("BATCH_MATMUL")
def batch_matmul(build: OperatorBuilder, x: Operand, y: Operand) -> Ref:
    build.knows("asymmetricQuantizeInputs")
    if (x.dtype, y.dtype) != ("float32", "float32"):
        raise Undescribed(f"a product of {x.dtype} and {y.dtype} has no description")
    given = []
    for operand, name in ((x, "adjX"), (y, "adjY")):
        value = operand.ref
        if build.get(name, False):
            rank = len(operand.shape)
            perm = (*range(rank - 2), rank - 1, rank - 2)
            value = build.add(ops.Transpose(perm=perm), value)
        given.append(value)
    return build.add(ops.Product(), *given)
