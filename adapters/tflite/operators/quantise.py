"""From numbers to codes, from codes to numbers, and from one grid to another."""

from dataclasses import replace

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..arithmetic import requantize
from ..describe import Operand, OperatorBuilder, node
from .blocks import in_flat_blocks

__all__: list[str] = []

_CODES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}


@node("QUANTIZE")
def quantize(build: OperatorBuilder, x: Operand) -> Ref:
    result = build.result
    if result.dtype not in _CODES:
        raise Undescribed(f"quantising to {result.dtype} has no description")
    low, high = _CODES[result.dtype]
    if x.dtype == "float32":
        op = ops.QuantizeFloat(
            step=float(result.scale), zero_point=result.zero_point, low=low, high=high
        )
        fast = replace(op, rounding="even", by="reciprocal")
        if build.kernel.family == "xnnpack":
            return build.add(fast, x)
        if build.kernel.family == "optimised":
            return in_flat_blocks(build, build.ref(x.ref), 8, fast, replace(op, by="wide division"))
        return build.add(op, x)
    if x.dtype not in _CODES:
        raise Undescribed(f"quantising {x.dtype} has no description")
    if build.kernel.family == "xnnpack":
        return _requantized_in_xnnpack(build, x, low, high)
    share = np.float64(x.scale) / np.float64(result.scale)
    twice = requantize("double", share, share, result.zero_point, (low, high))
    steps = build.steps_of(x)
    if build.kernel.family == "optimised" and {x.dtype, result.dtype} <= {"int8", "uint8"}:
        return in_flat_blocks(build, steps, 16, replace(twice, rounding="up"), twice)
    return build.add(twice, steps)


def _requantized_in_xnnpack(build: OperatorBuilder, x: Operand, low: int, high: int) -> Ref:
    """A multiplier of 8 bits behind the point, rounded once, halves up (xnn_init_qs8_cvt)."""
    multiplier = int(np.rint(np.float32(256) * np.float32(x.scale / build.result.scale)))
    op = ops.Requantize(
        multiplier=np.asarray(multiplier),
        shift=np.asarray(23),
        factor=np.asarray(multiplier / 256, np.float32),
        zero_point=build.result.zero_point,
        low=low,
        high=high,
        rounding="single",
    )
    return build.add(op, build.steps_of(x))


@node("DEQUANTIZE")
def dequantize(build: OperatorBuilder, x: Operand) -> Ref:
    if x.dtype == "float16":
        return build.add(ops.Cast(to="float32"), x)
    if x.dtype not in _CODES:
        raise Undescribed(f"dequantising {x.dtype} has no description")
    if build.kernel.family == "optimised" and x.dtype in ("int8", "uint8") and x.zero_point:
        # it multiplies the codes, and adds what the zero point comes to
        codes = build.add(ops.Cast(to="float32"), x)
        moved = np.float64(np.float32(-x.zero_point) * x.scale)
        return build.add(ops.Add(), build.add(ops.Mul(), codes, np.float64(x.scale)), moved)
    floats = build.add(ops.Cast(to="float32"), build.steps_of(x))
    return build.add(ops.Mul(), floats, np.float64(x.scale))


@node("CAST")
def cast(build: OperatorBuilder, x: Operand) -> Ref:
    build.knows("inDataType", "outDataType")
    if x.dtype == "float32" and build.result.dtype not in ("float32", "bool"):
        return build.add(ops.Cast(to=build.result.dtype), build.add(ops.Trunc(), x))
    return build.add(ops.Cast(to=build.result.dtype), x)
