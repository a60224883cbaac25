"""The quotient of two tensors of codes, in TensorFlow Lite's fixed point."""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph
from probe.ops.elementwise.n_ary import Broadcast
from probe.ops.quantize.gemmlowp import reciprocal, rounded_quotient, times

__all__ = ["QuotientOfCodes"]

_INT64 = 7
"""Of onnx.TensorProto."""
_BITS = 31


@dataclass(frozen=True, eq=False)
class QuotientOfCodes(Broadcast):
    """clip(round(x / y * scale) + zero_point, low, high) of codes less their zero points, where the
    scale is in fixed point: multiplier * 2^(shift - 31).

    x, shifted to 31 bits, is multiplied by the reciprocal of y and by the multiplier, and shifted
    back (reference_ops::DivElementwise, lite/kernels/internal/reference/div.h). A shift by 32 and
    more, which small quotients of small x take, is that of x86: it leaves what it should remove.
    Codes less their zero points are from -``most`` to ``most``.
    """

    multiplier: int
    shift: int
    zero_point: int
    low: int
    high: int
    most: int = 255
    quantizes = True
    roundings = 0

    def _room(self, x: np.ndarray) -> np.ndarray:
        """By how many bits whole numbers can be shifted left within 32 bits (the leading bits that
        repeat the sign)."""
        used = np.frexp(np.where(x < 0, -x - 1, x).astype(np.float64))[1]
        room: np.ndarray = _BITS - used.astype(np.int64)
        return room

    def _reciprocals(self) -> tuple[np.ndarray, np.ndarray]:
        """Of 0, which engines refuse, to ``most``: with 31 bits, and the bits to shift right by."""
        inverse, over = reciprocal(np.maximum(np.arange(self.most + 1), 1), _BITS)
        return inverse, over

    def summary(self, inputs: Arrays) -> str:
        zero = f", plus the zero point {self.zero_point}" if self.zero_point else ""
        _, right = self._shifted(*inputs)
        far = np.count_nonzero(right > _BITS)
        words = (
            f"the quotient times multiplier {self.multiplier} / 2^31, shift {self.shift}, rounded "
            f"twice{zero}, clamped to {self.low} … {self.high}"
        )
        if not far:
            return words
        return (
            f"{words}; {far:,} of {right.size:,} are shifted by {_BITS + 1} bits and more, which C "
            "leaves undefined"
        )

    def _shifted(self, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The quotients before they are shifted right, and by how many bits."""
        x, y = (np.rint(array).astype(np.int64) for array in inputs)
        x, y = x * np.where(y < 0, -1, 1), np.clip(np.abs(y), 0, self.most)
        inverse, over = (table[y] for table in self._reciprocals())
        room = self._room(x)
        high = times(times(x << room, inverse), self.multiplier)
        return high, over + room - self.shift

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        high, right = self._shifted(*inputs)
        beyond = (high >> (right & _BITS)) + (high >= 0)
        near = np.where(right > _BITS, beyond, rounded_quotient(high, np.clip(right, 0, _BITS)))
        return (np.clip(near + self.zero_point, self.low, self.high),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """In whole numbers; what depends on a code alone is looked up."""
        x, y = (graph.op("Cast", name, to=_INT64) for name in inputs)
        minus = graph.op("Less", y, graph.const(0))
        x = graph.op("Mul", x, graph.op("Where", minus, graph.const(-1), graph.const(1)))
        y, place = graph.op("Abs", y), graph.op("Add", x, graph.const(self.most))
        inverse, over = (
            graph.op("Gather", graph.const(table), y, axis=0) for table in self._reciprocals()
        )
        rooms = self._room(np.arange(-self.most, self.most + 1))
        room = graph.op("Gather", graph.const(rooms), place, axis=0)
        unit = graph.op("Gather", graph.const(np.int64(1) << rooms), place, axis=0)
        high = _times(graph, graph.op("Mul", x, unit), inverse)
        high = _times(graph, high, graph.const(self.multiplier))
        right = graph.op("Sub", graph.op("Add", over, room), graph.const(self.shift))
        powers = graph.const(np.int64(1) << np.arange(_BITS + 1))
        bits = graph.op("Mod", right, graph.const(_BITS + 1))
        unit = graph.op("Gather", powers, bits, axis=0)
        zero = graph.const(0)
        half = graph.op("Div", unit, graph.const(2))
        size = graph.op("Div", graph.op("Add", graph.op("Abs", high), half), unit)
        near = graph.op("Mul", graph.op("Sign", high), size)
        counts = graph.op("Cast", graph.op("GreaterOrEqual", high, zero), to=_INT64)
        beyond = graph.op("Add", _floored(graph, high, unit), counts)
        far = graph.op("Greater", right, graph.const(_BITS))
        code = graph.op("Add", graph.op("Where", far, beyond, near), graph.const(self.zero_point))
        return (graph.op("Clip", code, graph.const(self.low), graph.const(self.high)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        shape = of.outputs[0].shape
        if all(slack is None for slack in of.slacks):
            return (np.zeros(shape),)
        return (np.full(shape, float(self.high - self.low)),)


def _floored(graph: Graph, x: str, unit: str) -> str:
    """x / unit, rounded down."""
    return graph.op("Div", graph.op("Sub", x, graph.op("Mod", x, unit)), unit)


def _times(graph: Graph, x: str, y: str) -> str:
    """The product in units of 2^-31, halves up, below 2^31."""
    raised = graph.op("Add", graph.op("Mul", x, y), graph.const(1 << (_BITS - 1)))
    product = _floored(graph, raised, graph.const(1 << _BITS))
    return graph.op("Min", product, graph.const((1 << _BITS) - 1))
