"""Which function writes which op in integers, by its exact class."""

from collections.abc import Callable
from typing import Any

from probe.ops.base import Op

__all__ = ["FILES", "REASONS", "WRITERS", "writes"]

FILES = {
    name: file
    for file, names in {
        "linear": "Conv MatMul",
        "levels": "QuantizedBits QuantizedRelu FixedPoint Binary Ternary",
        "pointwise": (
            "Add Sub Mul Max Min Relu LeakyRelu Relu6 Clip Neg Abs Affine HardSigmoid "
            "AddConstant MulConstant"
        ),
        "shape": (
            "Constant Parameter Transpose Reshape Squeeze Unsqueeze Outputs Slice Pad Concat "
            "Identity Stored"
        ),
        "window": "MaxPool AveragePool GlobalMaxPool GlobalAveragePool ReduceSum",
    }.items()
    for name in names.split()
}
"""The file of this package that writes an op."""

REASONS = {
    "BatchNormalization": (
        "scale / sqrt(variance + epsilon) of its batch normalisation is no power of two: fold it "
        "into the layer before it, as QConv2DBatchnorm does"
    ),
    "AutoQuantizedBits": "its scale is fitted to the data",
    "Softmax": "an exponential has no exact form in integers",
}
"""Why some ops have no form in integers."""

WRITERS: dict[type[Op], Callable[..., Any]] = {}
"""``(op, program, *inputs)`` gives the output, or a tuple of several."""


def writes(*kinds: type[Op]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function for these classes."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for kind in kinds:
            WRITERS[kind] = function
        return function

    return register
