"""Functions of the bits of integers, and of truths by the same names."""

from collections.abc import Callable

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .arithmetic import of_one_kind
from .describe import CallBuilder, Value, function

__all__: list[str] = []

_BITS: dict[str, tuple[str, Callable[[], ops.Op], Callable[[], ops.Op]]] = {
    "bitwise_and __and__ __rand__ __iand__": ("And", ops.And, ops.BitwiseAnd),
    "bitwise_or __or__ __ror__ __ior__": ("Or", ops.Or, ops.BitwiseOr),
    "bitwise_xor __xor__ __rxor__ __ixor__": ("Xor", ops.Xor, ops.BitwiseXor),
}


def _register_bits(
    names: str, onnx: str, of_truths: Callable[[], ops.Op], of_integers: Callable[[], ops.Op]
) -> None:
    @function(*names.split(), onnx=onnx.lower())
    def bits(build: CallBuilder, input: Value, other: Value) -> Ref:
        truths = build.kinds[0] == "bool"
        left, right = of_one_kind(build, input, other)
        return build.add(of_truths() if truths else of_integers(), left, right)


for _names, (_onnx, _truths, _integers) in _BITS.items():
    _register_bits(_names, _onnx, _truths, _integers)


_SHIFTS: dict[str, tuple[bool, bool]] = {
    "bitwise_left_shift __lshift__ __ilshift__": (True, False),
    "bitwise_right_shift __rshift__ __irshift__": (False, False),
    "__rlshift__": (True, True),
    "__rrshift__": (False, True),
}
"""Whether bits are moved to the left, and whether the number that is moved comes second."""


def _register_shifts(names: str, left: bool, turned: bool) -> None:
    @function(*names.split(), onnx="bitshift")
    def shifted(build: CallBuilder, input: Value, other: Value) -> Ref:
        if any(build.array(value).dtype.kind not in "iu" for value in (input, other)):
            raise Undescribed("shifts of numbers that are no integers are not supported here")
        x, by = (other, input) if turned else (input, other)
        return build.add(ops.BitShift(left=left, kind=build.kinds[0]), x, by)


for _names, (_left, _turned) in _SHIFTS.items():
    _register_shifts(_names, _left, _turned)


@function("bitwise_not", "__invert__", onnx="not")
def invert(build: CallBuilder, input: Value) -> Ref:
    truths = build.array(input).dtype.kind == "b"
    return build.add(ops.Not() if truths else ops.BitwiseNot(kind=build.kinds[0]), input)
