"""The activation modules of torch.nn as steps."""

from collections.abc import Callable
from typing import Any

from probe import ops
from probe.description import Description

from ..describe.describe import ModuleCall, chain, describes

__all__ = ["glu", "prelu", "rrelu", "softmax"]

_ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "CELU": lambda m: ops.Celu(alpha=m.alpha),
    "ELU": lambda m: ops.Elu(alpha=m.alpha),
    "GELU": lambda m: ops.Gelu(approximate=m.approximate),
    "Hardshrink": lambda m: ops.Shrink(lambd=m.lambd, bias=0.0),
    "Hardsigmoid": lambda m: ops.HardSigmoid(alpha=1 / 6, beta=0.5),
    "Hardswish": lambda m: ops.HardSwish(),
    "Hardtanh": lambda m: ops.Clip(low=m.min_val, high=m.max_val),
    "LeakyReLU": lambda m: ops.LeakyRelu(alpha=m.negative_slope),
    "LogSigmoid": lambda m: ops.LogSigmoid(),
    "Mish": lambda m: ops.Mish(),
    "ReLU": lambda m: ops.Relu(),
    "ReLU6": lambda m: ops.Relu6(),
    "SELU": lambda m: ops.Selu(),
    "SiLU": lambda m: ops.Swish(),
    "Sigmoid": lambda m: ops.Sigmoid(),
    "Softplus": lambda m: ops.Softplus(beta=m.beta, threshold=m.threshold),
    "Softshrink": lambda m: ops.Shrink(lambd=m.lambd, bias=m.lambd),
    "Softsign": lambda m: ops.Softsign(),
    "Tanh": lambda m: ops.Tanh(),
    "Tanhshrink": lambda m: ops.TanhShrink(),
    "Threshold": lambda m: ops.ThresholdedRelu(threshold=m.threshold, value=m.value),
}
_ALONG_AXIS = {"Softmax": ops.Softmax, "LogSoftmax": ops.LogSoftmax, "Softmin": ops.Softmin}


def _register_elementwise(name: str, op: Callable[[Any], Any]) -> None:
    describes(name)(lambda module, call: chain(op(module)))


def _register_along_axis(name: str, op: Callable[..., Any]) -> None:
    describes(name)(lambda module, call: softmax(module.dim, call, op))


for _name, _op in _ELEMENTWISE.items():
    _register_elementwise(_name, _op)
for _name, _op in _ALONG_AXIS.items():
    _register_along_axis(_name, _op)


def softmax(dim: int | None, call: ModuleCall, op: Callable[..., Any]) -> Description:
    """Without ``dim`` PyTorch takes axis 0 of 0, 1 or 3 axes and axis 1 of others
    (torch/nn/functional.py, _get_softmax_dim)."""
    if dim is None:
        dim = 0 if call.x.ndim in (0, 1, 3) else 1
    if not call.x.ndim:  # PyTorch takes a number for an axis of one
        return chain(ops.Reshape(shape=(1,)), op(axis=0), ops.Reshape(shape=()))
    return chain(op(axis=dim % call.x.ndim))


@describes("Softmax2d")
def softmax_over_channels(module: Any, call: ModuleCall) -> Description:
    return chain(
        ops.Softmax(axis=call.x.ndim - 3),
        input_axes=("batch", "channels", "height", "width")[-call.x.ndim :],
    )


@describes("GLU")
def glu(module: Any, call: ModuleCall) -> Description:
    """The first half of an axis times the sigmoid of the second."""
    return chain(ops.Glu(axis=module.dim % call.x.ndim))


@describes("PReLU")
def prelu(module: Any, call: ModuleCall) -> Description:
    """One slope for all, or one for each channel on axis 1."""
    if call.x.ndim > 1:
        shape = (-1, *(1,) * (call.x.ndim - 2))
    else:
        shape = (1,) * call.x.ndim
    return chain(ops.PRelu(slope=call.required("weight", shape=shape)))


@describes(
    "RReLU",
    refuses=lambda module: (
        "in training mode its slopes are random; call eval() on it first" if module.training else ""
    ),
)
def rrelu(module: Any, call: ModuleCall) -> Description:
    """In inference mode the slope is the middle of its range."""
    return chain(ops.LeakyRelu(alpha=(module.lower + module.upper) / 2))
