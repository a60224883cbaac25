"""Recurrent operators: LSTMs of floats and of codes."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed
from probe.ops.quantize.requantize import fixed_point

from ..describe import NodeBuilder, Operand, node
from .conv import held_weight

__all__: list[str] = []

_GATES = ("input", "forget", "cell", "output")
_PEEPHOLES, _PROJECTION, _NORMS = slice(9, 12), slice(16, 18), slice(20, 24)


@node("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(build: NodeBuilder, *operands: Operand | None) -> Ref:
    """Of a state as it was before the call."""
    given = (*operands, *[None] * (24 - len(operands)))
    x, hidden, cell = given[0], given[18], given[19]
    assert x is not None
    for what, part in (
        ("peepholes", _PEEPHOLES),
        ("a projection", _PROJECTION),
        ("layer norms", _NORMS),
    ):
        if any(given[part]):
            raise Undescribed(f"an LSTM with {what} has no description")
    if given[1] is None:
        raise Undescribed("an LSTM whose input and forget gates are coupled has no description")
    if hidden is None or cell is None:
        raise Undescribed("an LSTM without states has no description")
    weights = [operand for operand in (*given[1:9], *given[12:16]) if operand is not None]
    if len(weights) != 12:
        raise Undescribed("an LSTM that leaves out weights has no description")
    if build.get("fusedActivationFunction", "TANH") != "TANH":
        raise Undescribed("an LSTM with another activation than tanh has no description")
    if build.get("projClip", 0.0):
        raise Undescribed("an LSTM whose projection is clipped has no description")
    if x.dtype == "int8" and cell.dtype == "int16":
        return _of_codes(build, x, hidden, cell, weights)
    if x.dtype == "float32" and all(operand.dtype == "float32" for operand in weights):
        return _of_floats(build, x, hidden, cell, weights)
    raise Undescribed(f"an LSTM of {x.dtype} with weights of {weights[0].dtype}")


def _of_codes(
    build: NodeBuilder, x: Operand, hidden: Operand, cell: Operand, weights: list[Operand]
) -> Ref:
    power = int(np.log2(cell.scale))
    held = [held_weight(operand) for operand in weights]
    sources = [x] * 4 + [hidden] * 4
    scales = [
        np.float64(source.scale * operand.scale) * 4096.0
        for source, operand in zip(sources, weights[:8], strict=True)
    ]
    names = [f"{gate}_{part}" for part in ("weight", "recurrent", "bias") for gate in _GATES]
    tflm = build.kernel.family == "tflm"
    product = np.float64(2.0**-30) / np.float64(hidden.scale)
    clip = float(build.get("cellClip", 0.0))
    op = ops.IntegerLSTM(
        **dict(zip(names, held, strict=True)),  # type: ignore[arg-type]
        multipliers=tuple(_pair(scale) for scale in scales),
        hidden=_pair(product if tflm else np.float64(np.float32(product))),
        cell_power=power,
        zero_point=x.zero_point,
        hidden_zero_point=hidden.zero_point,
        clip=int(min(max(clip / float(cell.scale), -32768.0), 32767.0)),
        time_major=bool(build.get("timeMajor", False)),
        by="table" if tflm else "gemmlowp",
    )
    return build.add(op, x, hidden, cell)


def _pair(scale: np.float64) -> tuple[int, int]:
    multiplier, shift = fixed_point(scale)
    return int(multiplier), int(shift)


def _of_floats(
    build: NodeBuilder, x: Operand, hidden: Operand, cell: Operand, weights: list[Operand]
) -> Ref:
    raise Undescribed("an LSTM of floats has no description")
