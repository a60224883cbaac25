"""TensorFlow Lite's LSTM of codes: gates with 12 bits behind the point, a cell of 16 bits."""

from dataclasses import dataclass

import numpy as np

from probe.errors import Undescribed
from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph, Op
from probe.ops.quantize.gemmlowp import logistic, rounded_quotient, tanh, times
from probe.ops.quantize.sigmoid_table import sigmoid_by_table, tanh_by_table
from probe.ops.weight import Weight

__all__ = ["IntegerLSTM"]

_GATES = ("input", "forget", "cell", "output")


@dataclass(frozen=True, eq=False)
class IntegerLSTM(Op):
    """Hidden states of an LSTM of 8-bit codes, its states before the call the second and third
    input.

    The gates' multipliers come in the order input, forget, cell, output, those of the input first.
    ``by`` says how a kernel computes sigmoid and tanh: gemmlowp (TensorFlow Lite) or table, 256
    entries with lines between them (TFLM).
    """

    input_weight: Weight
    forget_weight: Weight
    cell_weight: Weight
    output_weight: Weight
    input_recurrent: Weight
    forget_recurrent: Weight
    cell_recurrent: Weight
    output_recurrent: Weight
    input_bias: Weight
    forget_bias: Weight
    cell_bias: Weight
    output_bias: Weight
    multipliers: tuple[tuple[int, int], ...]
    hidden: tuple[int, int]
    cell_power: int
    zero_point: int
    hidden_zero_point: int
    clip: int = 0
    time_major: bool = False
    by: str = "gemmlowp"
    jumps = True

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, hidden, cell = (np.rint(array).astype(np.int64) for array in inputs)
        steps = x if self.time_major else x.swapaxes(0, 1)
        hidden, cell = hidden.reshape(steps.shape[1], -1), cell.reshape(steps.shape[1], -1)
        found = []
        for row in steps:
            hidden, cell = self._step(row - self.zero_point, hidden, cell)
            found.append(hidden)
        stacked = np.stack(found)
        return (stacked if self.time_major else stacked.swapaxes(0, 1),)

    def _step(
        self, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        state = hidden - self.hidden_zero_point
        gates = [self._gate(name, place, x, state) for place, name in enumerate(_GATES)]
        inner, forget, new, outer = gates
        if self.by == "table":
            kept = _scaled(forget * cell, 1 << 30, -14)
            added = _scaled(inner * new, *_multiplier_of(2.0**-30 / 2.0**self.cell_power))
        else:
            kept = rounded_quotient(forget * cell, 15)
            added = rounded_quotient(inner * new, 30 + self.cell_power)
        cell = _in_16_bits(_in_16_bits(kept) + _in_16_bits(added))
        if self.clip > 0:
            cell = np.clip(cell, -self.clip, self.clip)
        squashed = self._tanh(cell, 15 + self.cell_power)
        code = _scaled(outer * squashed, *self.hidden) + self.hidden_zero_point
        return np.clip(code, -128, 127), cell

    def _gate(self, name: str, place: int, x: np.ndarray, state: np.ndarray) -> np.ndarray:
        weight, recurrent, bias = (
            getattr(self, f"{name}_{part}").value.astype(np.int64)
            for part in ("weight", "recurrent", "bias")
        )
        given = _in_16_bits(_scaled(x @ weight.T + bias, *self.multipliers[place]))
        carried = _scaled(state @ recurrent.T, *self.multipliers[4 + place])
        if self.by == "table":
            carried = _in_16_bits(carried)
        total = _in_16_bits(given + carried)
        return self._tanh(total, 3) if name == "cell" else self._sigmoid(total)

    def _sigmoid(self, x: np.ndarray) -> np.ndarray:
        if self.by == "gemmlowp":
            return logistic(x, 3, 15)
        return sigmoid_by_table(x * 3)

    def _tanh(self, x: np.ndarray, integer_bits: int) -> np.ndarray:
        if self.by == "gemmlowp":
            return tanh(x, integer_bits, 15)
        left = integer_bits - 3
        if left >= 0:
            scaled = x * (3 << left)
        else:
            scaled = (x * 3 + (1 << (-left - 1))) >> -left
        return tanh_by_table(scaled)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        raise Undescribed("the integer LSTM has no form in ONNX here")

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        size = 0.0 if all(slack is None for slack in of.slacks) else 255.0
        return (np.full(of.outputs[0].shape, size),)

    def summary(self, inputs: Arrays) -> str:
        way = "by gemmlowp's polynomials" if self.by == "gemmlowp" else "by TFLM's table"
        return (
            f"{len(self.input_bias.value)} units; gates in steps of 2^-12, the cell in steps of "
            f"2^{self.cell_power}; sigmoid and tanh {way}"
        )


def _scaled(x: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    """Rounded twice, as ``Requantize`` with "double"."""
    return rounded_quotient(times(x << max(shift, 0), multiplier), max(-shift, 0))


def _multiplier_of(scale: float) -> tuple[int, int]:
    fraction, shift = np.frexp(scale)
    return int(np.floor(fraction * 2.0**31 + 0.5)), int(shift)


def _in_16_bits(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -32768, 32767)
