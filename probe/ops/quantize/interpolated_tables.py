"""Functions of codes of 16 bits as TensorFlow Lite's kernels compute them: from tables of 513
entries, linear between."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, Op
from probe.ops.elementwise.activation import Gelu
from probe.ops.quantize.gemmlowp import rounded_quotient, times
from probe.ops.quantize.requantize import fixed_point, moved_by_slack

__all__ = ["InterpolatedFunction", "InterpolatedSoftmax"]

_INT64, _BOUNDS = 7, (-32768, 32767)
_REACH = 10.0
"""The softmax's table of exp begins at minus this."""


def _away(x: np.ndarray) -> np.ndarray:
    """To whole numbers, halves away from zero."""
    return np.trunc(x + np.copysign(0.5, x).astype(np.float64)).astype(x.dtype)


def _table(
    f: Callable[[np.ndarray], np.ndarray], ends: tuple[Any, Any], unit: Any, kind: Any
) -> np.ndarray:
    """The entries (LUTPopulateInt16): each is moved by half of what its line is off in the middle.
    ``unit`` is how many steps of the output 1 is; all in the type ``kind``."""
    low, high = map(kind, ends)
    step, places = kind((high - low) / kind(512)), np.arange(513, dtype=kind)
    x = (low + places[:-1] * step).astype(kind)
    value, middle, following = (
        f(at).astype(kind) for at in (x, x + step / kind(2), low + places[1:] * step)
    )
    entry = _away(value * unit)
    line = _away((following * unit + entry) / kind(2))
    bias = _away((line - _away(middle * unit)) / kind(2))
    last = _away(f(np.asarray([high], kind)).astype(kind) * unit)
    return np.clip(np.append(entry - bias, last), *_BOUNDS).astype(np.int64)


def _looked_up(table: np.ndarray, code: np.ndarray) -> np.ndarray:
    place = 256 + (code >> 7)
    slope = table[place + 1] - table[place]
    looked_up: np.ndarray = table[place] + ((slope * (code & 127) + 64) >> 7)
    return looked_up


def _lookup(graph: Graph, table: np.ndarray, code: str) -> str:
    """The same in ONNX."""
    raised, unit = graph.op("Add", code, graph.const(32768)), graph.const(128)
    place, rest = graph.op("Div", raised, unit), graph.op("Mod", raised, unit)
    entry = graph.op("Gather", graph.const(table[:-1]), place)
    slope = graph.op("Gather", graph.const(np.diff(table)), place)
    product = graph.op("Add", graph.op("Mul", slope, rest), graph.const(64))
    whole = graph.op("Sub", product, graph.op("Mod", product, unit))
    return graph.op("Add", entry, graph.op("Div", whole, unit))


@dataclass(frozen=True, eq=False)
class InterpolatedFunction(Elementwise):
    """Codes of 16 bits of Gelu (of its tanh form) of what the input's codes stand for, both with
    zero point 0."""

    step: float
    out_step: float
    approximate: str = "none"
    quantizes = True
    roundings = 0

    def table(self) -> np.ndarray:
        """Its entries."""
        step, out = np.float32(self.step), np.float32(self.out_step)
        low, high = (np.float32(step * np.float32(bound)) for bound in _BOUNDS)
        least, most = (np.float32(out * np.float32(bound)) for bound in _BOUNDS)

        def gelu(x: np.ndarray) -> np.ndarray:
            return Gelu(approximate=self.approximate).f(x.astype(np.float64))

        return _table(gelu, (low, high), np.float32(65536) / (most - least), np.float32)

    def summary(self, inputs: Arrays) -> str:
        return f"Gelu of code * {self.step:g}, linear between 513 entries of a table"

    def f(self, x: np.ndarray) -> np.ndarray:
        return _looked_up(self.table(), np.rint(x).astype(np.int64))

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return (_lookup(graph, self.table(), graph.op("Cast", inputs[0], to=_INT64)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        return (moved_by_slack(self.f, of),)


@dataclass(frozen=True, eq=False)
class InterpolatedSoftmax(Op):
    """Codes of 16 bits of the softmax along the last axis: exp and the reciprocal of the sum from
    tables (reference_ops::SoftmaxInt16).

    ``by`` is the type in which the table of reciprocals is filled: float64 (TensorFlow Lite) or
    float32 (TFLM).
    """

    step: float
    beta: float
    by: str = "float64"
    quantizes = True

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Of exp, and of 1 / (1 + x)."""
        kind: Any = np.dtype(self.by).type

        def inverse(x: np.ndarray) -> np.ndarray:
            return 1 / (1 + x.astype(np.float64))

        powers = _table(np.exp, (-_REACH, 0.0), np.float64(32768), np.float64)
        return powers, _table(inverse, (0.0, 1.0), kind(32768), kind)

    def scale(self) -> tuple[int, int]:
        """What brings differences to places in the table of exp: multiplier and exponent."""
        scale = np.float64(np.float32(self.step) * np.float32(self.beta))
        multiplier, shift = fixed_point(float(scale / (_REACH / 65535.0)))
        return int(multiplier), int(shift)

    def summary(self, inputs: Arrays) -> str:
        return f"softmax over {inputs[0].shape[-1]} codes in steps of {self.step:g}, by tables"

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        whole = np.rint(inputs[0]).astype(np.int64)
        below = whole - whole.max(axis=-1, keepdims=True)
        (multiplier, shift), (powers, inverses) = self.scale(), self.tables()
        scaled = rounded_quotient(times(below << max(shift, 0), multiplier), max(-shift, 0))
        power = _looked_up(powers, np.clip(scaled + 32767, *_BOUNDS))
        total = power.sum(axis=-1, keepdims=True)
        bits = np.frexp(total.astype(np.float64))[1]
        near = ((total << (31 - bits)) + (1 << 13)) >> 14
        inverse = _looked_up(inverses, np.clip(near - (1 << 15) - (1 << 16), *_BOUNDS))
        rest = (bits - 1).astype(np.int64)
        return (np.clip((power * inverse + (1 << (rest - 1))) >> rest, 0, 32767),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        powers, inverses = self.tables()
        whole = graph.op("Cast", inputs[0], to=_INT64)
        above = graph.op("Sub", graph.op("ReduceMax", whole, graph.const([-1])), whole)
        multiplier, shift = self.scale()
        product = graph.op("Mul", above, graph.const(multiplier << max(shift, 0)))
        raised = graph.op("Add", product, graph.const((1 << 30) - 1))
        size = graph.op("Div", raised, graph.const(1 << 31))
        right = 1 << max(-shift, 0)
        size = graph.op("Div", graph.op("Add", size, graph.const(right // 2)), graph.const(right))
        ends = tuple(map(graph.const, _BOUNDS))
        place = graph.op("Clip", graph.op("Sub", graph.const(32767), size), *ends)
        power = _lookup(graph, powers, place)
        total = graph.op("ReduceSum", power, graph.const([-1]))
        reached = graph.op("GreaterOrEqual", total, graph.const(2 ** np.arange(31)))
        bits = graph.op("ReduceSum", graph.op("Cast", reached, to=_INT64), graph.const([-1]))
        units = graph.const(2 ** np.arange(32))
        left = graph.op("Gather", units, graph.op("Sub", graph.const(31), bits))
        raised = graph.op("Add", graph.op("Mul", total, left), graph.const(1 << 13))
        near = graph.op("Div", raised, graph.const(1 << 14))
        at = graph.op("Sub", near, graph.const((1 << 15) + (1 << 16)))
        inverse = _lookup(graph, inverses, graph.op("Clip", at, *ends))
        unit = graph.op("Gather", units, graph.op("Sub", bits, graph.const(1)))
        half = graph.op("Div", unit, graph.const(2))
        product = graph.op("Add", graph.op("Mul", power, inverse), half)
        code = graph.op("Div", product, unit)
        return (graph.op("Clip", code, graph.const(0), graph.const(32767)),)

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return (np.full(of.outputs[0].shape, 65535.0),)

    def influence(self, mask: np.ndarray, inputs: Arrays) -> tuple[np.ndarray, ...]:
        return (np.broadcast_to(mask.any(axis=-1, keepdims=True), mask.shape),)
