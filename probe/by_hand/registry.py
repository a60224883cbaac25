"""Which function writes which op: one for each class, and for no class that derives from it, whose
arithmetic is another."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.ops.base import Op

__all__ = ["LEFT_OUT", "Unwritten", "WriteOp", "writer_of", "writes"]


class Unwritten(Exception):
    """A step that is not written, with the reason as words."""


WriteOp = Callable[..., Any]
"""``(op, writer, *values)`` gives the outputs' values: one, or a tuple of several."""

_FILES = {
    "elementwise": (
        "Abs Clip Elu Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Neg PRelu Relu Relu6 "
        "Sigmoid Swish Tanh Stored"
    ),
    "linear": "Conv MatMul",
    "n_ary": "Add AddConstant Constant Mul MulConstant Parameter Sub",
    "normalization": "BatchNormalization LayerNormalization",
    "shape": "Outputs Pad Reshape Transpose",
}
"""The ops that each file of ``probe.by_hand.writers`` writes; it is imported for the first."""
_HOMES = {name: file for file, names in _FILES.items() for name in names.split()}

LEFT_OUT: dict[str, str] = {}
"""The ops that are not written, and why."""

_WRITERS: dict[type["Op"], WriteOp] = {}


def writes(*kinds: type["Op"]) -> Callable[[WriteOp], WriteOp]:
    """Registers a function for these classes."""

    def register(function: WriteOp) -> WriteOp:
        for kind in kinds:
            _WRITERS[kind] = function
        return function

    return register


def writer_of(op: "Op") -> WriteOp:
    """The function that writes an op; raises Unwritten where there is none."""
    kind = type(op)
    if kind.__name__ in _HOMES and kind.__module__.startswith("probe.ops."):
        import_module(f"probe.by_hand.writers.{_HOMES[kind.__name__]}")
    if kind not in _WRITERS:
        why = LEFT_OUT.get(kind.__name__, "is not written here")
        raise Unwritten(f"{kind.__name__} {why}")
    return _WRITERS[kind]
