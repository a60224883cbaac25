"""What is fused behind an operator: a function of floats, or a range of codes."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe import Operand, OperatorBuilder

__all__ = ["activated", "code_range"]

_RANGES: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}


def _bounds(build: OperatorBuilder, activation: str | None) -> tuple[float | None, float | None]:
    name = activation or build.get("fusedActivationFunction", "NONE")
    if name not in _RANGES:
        raise Undescribed(f"its activation {name} is not supported by its description")
    return _RANGES[name]


def code_range(
    build: OperatorBuilder, activation: str | None = None, result: Operand | None = None
) -> tuple[int, int]:
    """The least and the largest code that the activation lets through
    (CalculateActivationRangeQuantized, lite/kernels/kernel_util.cc)."""
    result = result or build.result
    low, high = build.limits
    least, most = _bounds(build, activation)

    def code(number: float) -> int:
        share = np.float32(number) / result.scale
        return result.zero_point + int(np.copysign(np.floor(np.abs(share) + 0.5), share))

    if least is not None:
        low = max(low, code(least))
    if most is not None:
        high = min(high, code(most))
    return low, high


def activated(build: OperatorBuilder, y: Ref, activation: str | None = None) -> Ref:
    """The activation on floats."""
    least, most = _bounds(build, activation)
    if least is None and most is None:
        return y
    if most is None:
        return build.add(ops.Relu(), y)
    if (least, most) == (0.0, 6.0):
        return build.add(ops.Relu6(), y)
    return build.add(ops.Clip(low=least, high=most), y)
