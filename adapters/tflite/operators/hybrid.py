"""Dynamic range: floats times the codes of weights, for which the kernel quantises its input anew
in each call."""

from typing import Any

from probe.description import Ref, Weight
from probe.errors import Undescribed

from ..describe import NodeBuilder, Operand

__all__ = ["convolved_dynamically", "multiplied_dynamically"]


def convolved_dynamically(
    build: NodeBuilder,
    x: Operand,
    kernel: Operand,
    weight: Weight,
    bias: Weight | None,
    given: dict[str, Any],
    groups: int,
    depthwise: bool,
) -> Ref:
    raise Undescribed("a convolution of floats with integer weights")


def multiplied_dynamically(
    build: NodeBuilder, x: Operand, kernel: Operand, weight: Weight, bias: Weight | None
) -> Ref:
    raise Undescribed("a product of floats with integer weights")
