"""What QKeras takes for an activation, as steps."""

from typing import Any

from probe.description import Step

from .quantizers import quantizer_ops

__all__ = ["quantizer_steps"]


def quantizer_steps(function: Any, ndim: int) -> tuple[Step, ...]:
    """The steps of a quantizer, or of a function of QKeras' own, on a tensor of ``ndim`` axes."""
    return tuple(Step(op) for op in quantizer_ops(function, ndim, "its output goes through"))
