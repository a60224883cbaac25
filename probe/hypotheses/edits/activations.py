"""The activations that stand where another should, or none."""

from probe import ops
from probe.ops.base import Op

__all__ = ["COMMON"]

COMMON: tuple[tuple[str, Op], ...] = (
    ("ReLU", ops.Relu()),
    ("sigmoid", ops.Sigmoid()),
    ("tanh", ops.Tanh()),
    ("softmax over the last axis", ops.Softmax(axis=-1)),
    ("softmax over axis 1", ops.Softmax(axis=1)),
    ("ReLU6", ops.Relu6()),
    ("leaky ReLU (0.01)", ops.LeakyRelu(0.01)),
    ("leaky ReLU (0.2)", ops.LeakyRelu(0.2)),
    ("leaky ReLU (0.3)", ops.LeakyRelu(0.3)),
    ("GELU", ops.Gelu()),
    ("GELU, tanh form", ops.Gelu("tanh")),
    ("SiLU", ops.Swish()),
    ("ELU", ops.Elu()),
    ("SELU", ops.Selu()),
    ("softplus", ops.Softplus()),
    ("hard swish", ops.HardSwish()),
    ("hard sigmoid, clip(0.2 x + 0.5)", ops.HardSigmoid(0.2, 0.5)),
    ("hard sigmoid, relu6(x + 3) / 6", ops.HardSigmoid(1 / 6, 0.5)),
    ("log softmax", ops.LogSoftmax(axis=-1)),
    ("softsign", ops.Softsign()),
    ("mish", ops.Mish()),
    ("exp", ops.Exp()),
    ("absolute value", ops.Abs()),
    ("negation", ops.Neg()),
)
