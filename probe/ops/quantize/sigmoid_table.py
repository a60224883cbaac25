"""The sigmoid and tanh of TensorFlow Lite's codes of 16 bits: a table of 256 entries, with lines
between them."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph
from probe.ops.quantize.gemmlowp import logistic, tanh
from probe.ops.quantize.requantize import moved_by_slack

__all__ = ["SquashedCodes", "sigmoid_by_table", "tanh_by_table"]

_INT64 = 7
"""Of onnx.TensorProto."""
_LAST = (
    "0110101011111111111111111111221112121111111211111111111111111111"
    "1011101011111111111110111100011001111101000110111011101100010011"
    "0101001100011010111110111100110010000001010001000110101001110000"
    "0111001101101010101001011011001100110001100001110000011111000001"
)
"""What TFLM's table of 2^16 * sigmoid(i / 24) has beyond the whole part: it is not rounded by one
rule (lite/kernels/internal/common.h, sigmoid_table_uint16)."""


@cache
def _table() -> np.ndarray:
    whole = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24))).astype(np.int64)
    return whole + np.array([int(digit) for digit in _LAST])


def _line(size: np.ndarray, bits: int) -> np.ndarray:
    """The table at what has so many bits behind the place of an entry; its end beyond that."""
    place, share = size >> bits, size & ((1 << bits) - 1)
    low, high = (_table()[np.minimum(at, 255)] for at in (place, place + 1))
    return (low << bits) + share * (high - low)


def sigmoid_by_table(scaled: np.ndarray) -> np.ndarray:
    """With 15 bits, of what has 12 bits behind the point, times 3
    (reference_integer_ops::Logistic)."""
    size = np.abs(scaled)
    line = np.where(size >> 9 >= 255, 0x7FFF << 10, _line(size, 9))
    turned = (1 << 25) - line + (1 << 9) - 1
    found: np.ndarray = np.where(scaled >= 0, line + (1 << 9), turned) >> 10
    return found


def tanh_by_table(scaled: np.ndarray) -> np.ndarray:
    """The same of tanh, which is 2 sigmoid(2 x) - 1 (reference_integer_ops::Tanh)."""
    size = np.abs(scaled)
    line = np.where(size >> 8 >= 255, 0xFFFF << 8, _line(size, 8))
    up = line - (1 << 23) + (1 << 7)
    down = -line + (1 << 23) + (1 << 7) - 1
    found: np.ndarray = np.where(scaled >= 0, up, down) >> 8
    return found


@dataclass(frozen=True, eq=False)
class SquashedCodes(Elementwise):
    """Codes of 16 bits of the Sigmoid or Tanh of what the input's codes stand for, both with zero
    point 0, the output in steps of 2^-15.

    The codes times ``multiplier``, shifted right by ``shift``, rounded, are looked up; ``by`` is
    table or gemmlowp, whose series take codes in steps of 2^-12 as they are, and times a power of
    two in ``multiplier``.
    """

    function: str
    multiplier: int
    shift: int = 0
    by: str = "table"
    quantizes = True
    roundings = 0

    def summary(self, inputs: Arrays) -> str:
        way = "by a table with lines between" if self.by == "table" else "by gemmlowp's series"
        return f"{self.function} of codes of 16 bits, {way}, to steps of 2^-15"

    def f(self, x: np.ndarray) -> np.ndarray:
        whole = np.rint(x).astype(np.int64) * self.multiplier
        if self.by == "gemmlowp":
            inside = np.clip(whole, -32768, 32767)
            return logistic(inside, 3, 15) if self.function == "Sigmoid" else tanh(inside, 3, 15)
        scaled = (whole + ((1 << self.shift) >> 1)) >> self.shift
        return sigmoid_by_table(scaled) if self.function == "Sigmoid" else tanh_by_table(scaled)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """In whole numbers; the sign is put back at the end."""
        if self.by == "gemmlowp":
            raise Undescribed("gemmlowp's series of 16 bits have no form in ONNX here")
        bits, unit = (9, 1 << 10) if self.function == "Sigmoid" else (8, 1 << 8)
        x = graph.op("Cast", inputs[0], to=_INT64)
        raised = graph.op("Mul", x, graph.const(self.multiplier))
        raised = graph.op("Add", raised, graph.const((1 << self.shift) >> 1))
        scaled = _floored(graph, raised, 1 << self.shift)
        size = graph.op("Abs", scaled)
        end = graph.const(255)
        place = graph.op("Min", graph.op("Div", size, graph.const(1 << bits)), end)
        share = graph.op("Mod", size, graph.const(1 << bits))
        ends = np.append(_table(), _table()[-1])
        low = graph.op("Gather", graph.const(ends[:-1]), place, axis=0)
        slope = graph.op("Gather", graph.const(np.diff(ends)), place, axis=0)
        line = graph.op(
            "Add",
            graph.op("Mul", low, graph.const(1 << bits)),
            graph.op("Mul", share, slope),
        )
        last = (0x7FFF << 10) if self.function == "Sigmoid" else (0xFFFF << 8)
        line = graph.op("Where", graph.op("Equal", place, end), graph.const(last), line)
        half = unit >> 1
        if self.function == "Sigmoid":
            up = graph.op("Add", line, graph.const(half))
            down = graph.op("Sub", graph.const((1 << 25) + half - 1), line)
        else:
            up = graph.op("Add", line, graph.const(half - (1 << 23)))
            down = graph.op("Sub", graph.const((1 << 23) + half - 1), line)
        positive = graph.op("GreaterOrEqual", scaled, graph.const(0))
        return (_floored(graph, graph.op("Where", positive, up, down), unit),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


def _floored(graph: Graph, x: str, unit: int) -> str:
    """x / unit, rounded down."""
    rest = graph.op("Mod", x, graph.const(unit))
    return graph.op("Div", graph.op("Sub", x, rest), graph.const(unit))
