"""Ops on the bits of integers, in the width of their type."""

from dataclasses import dataclass

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import UNBOUNDED, Precision
from probe.ops.base import Evaluated, Graph
from probe.ops.elementwise.n_ary import Broadcast

__all__ = ["BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"]

_CODES = {"uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "uint32": 12}
_INT64, _BOOL = 7, 9
"""Types as ONNX numbers them; graphs hold integers in int64, which has no room for uint64."""


class _Bits(Broadcast):
    """Of integers: exact, and without a say where one of them is not."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        moved = np.zeros(of.outputs[0].shape)
        for slack in of.slacks:
            if slack is not None:
                moved = np.maximum(moved, np.where(slack > 0, UNBOUNDED, 0.0))
        return (moved,)


@dataclass(frozen=True, eq=False)
class BitwiseAnd(_Bits):
    """The bits that both inputs have."""

    function = np.bitwise_and
    onnx = "BitwiseAnd"


@dataclass(frozen=True, eq=False)
class BitwiseOr(_Bits):
    """The bits that one of the inputs has."""

    function = np.bitwise_or
    onnx = "BitwiseOr"


@dataclass(frozen=True, eq=False)
class BitwiseXor(_Bits):
    """The bits that exactly one of the inputs has."""

    function = np.bitwise_xor
    onnx = "BitwiseXor"


@dataclass(frozen=True, eq=False)
class BitwiseNot(_Bits):
    """The bits that the input has not, of as many as ``kind`` has."""

    kind: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.invert(inputs[0].astype(self.kind)),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        if self.kind not in _CODES:
            raise Undescribed(
                f"the ONNX graph computes in int64, which cannot represent {self.kind}"
            )
        return (
            graph.op(
                "Cast",
                graph.op("BitwiseNot", graph.op("Cast", inputs[0], to=_CODES[self.kind])),
                to=_INT64,
            ),
        )


@dataclass(frozen=True, eq=False)
class BitShift(_Bits):
    """The bits of the first input moved by the second, of as many as ``kind`` has; the sign is
    repeated on the right shift.

    Moved by a negative number, or by all of them or more, nothing is left but the repeated sign.
    """

    left: bool
    kind: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, by = np.broadcast_arrays(inputs[0].astype(self.kind), inputs[1].astype(self.kind))
        bits = 8 * x.itemsize
        inside = (by >= 0) & (by < bits)
        some = np.where(inside, by, 0).astype(self.kind)
        if self.left:
            return (np.where(inside, np.left_shift(x, some), np.zeros_like(x)),)
        return (
            np.where(inside, np.right_shift(x, some), np.where(x < 0, -1, 0).astype(self.kind)),
        )

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        if self.kind not in _CODES:
            raise Undescribed(
                f"the ONNX graph computes in int64, which cannot represent {self.kind}"
            )
        x, by = inputs
        bits = int(self.kind.lstrip("uint"))
        last = graph.const(bits - 1)
        outside = graph.op(
            "Or", graph.op("Less", by, graph.const(0)), graph.op("Greater", by, last)
        )
        power = 2 ** np.arange(bits if self.left else min(bits, 63), dtype=np.uint64)
        inside = graph.op("Where", outside, graph.const(0), by)
        if not self.left and bits == 64:  # by 63 places a number has only its sign left
            outside = graph.op("Or", outside, graph.op("Equal", by, last))
            inside = graph.op("Where", outside, graph.const(0), by)
        factor = graph.op("Gather", graph.const(power.view(np.int64)), inside)
        sign = graph.op("Neg", graph.op("Cast", graph.op("Less", x, graph.const(0)), to=_INT64))
        if self.left:
            moved, rest = graph.op("Mul", x, factor), graph.const(0)
        else:
            moved, rest = (
                graph.op("Div", graph.op("Sub", x, graph.op("Mod", x, factor)), factor),
                sign,
            )
        found = graph.op("Where", outside, rest, moved)
        return (graph.op("Cast", graph.op("Cast", found, to=_CODES[self.kind]), to=_INT64),)


@dataclass(frozen=True, eq=False)
class BitCast(_Bits):
    """The bits of a number of type ``kind`` read as one of type ``to``."""

    kind: str
    to: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x = np.ascontiguousarray(inputs[0].astype(self.kind)).reshape(inputs[0].shape)
        found = x.view(self.to)
        return (found.astype(np.float64) if found.dtype.kind == "f" else found,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        if not {self.kind, self.to} <= _CODES.keys():
            raise Undescribed(
                "the ONNX opset has no operator that reinterprets the bits of a float"
            )
        return (graph.op("Cast", graph.op("Cast", inputs[0], to=_CODES[self.to]), to=_INT64),)
