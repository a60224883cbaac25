"""Recurrent operators: LSTMs of floats and of codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops, printable
from probe.description import Ref, Weight
from probe.errors import Undescribed
from probe.ops.quantize.requantize import fixed_point

from ..arithmetic import requantize, rounding
from ..describe import INTEGERS, Operand, OperatorBuilder, node
from .conv import held_weight

__all__: list[str] = []

_GATES = ("input", "forget", "cell", "output")
_PEEPHOLES, _PROJECTION, _NORMS = slice(9, 12), slice(16, 18), slice(20, 24)


@node("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(build: OperatorBuilder, *operands: Operand | None) -> Ref:
    """Of a state as it was before the call."""
    given = (*operands, *[None] * (24 - len(operands)))
    x, hidden, cell = given[0], given[18], given[19]
    assert x is not None
    for what, part in (("a projection", _PROJECTION), ("layer norms", _NORMS)):
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
    peepholes = [operand for operand in given[_PEEPHOLES] if operand is not None]
    if x.dtype == "float32" and all(operand.dtype == "float32" for operand in weights):
        return _of_floats(build, x, hidden, cell, weights, peepholes)
    if peepholes:
        raise Undescribed(f"an LSTM of {x.dtype} with peepholes has no description")
    if x.dtype == "int8" and cell.dtype == "int16":
        return _of_codes(build, x, hidden, cell, weights)
    raise Undescribed(f"an LSTM of {x.dtype} with weights of {weights[0].dtype} has no description")


def _of_codes(
    build: OperatorBuilder, x: Operand, hidden: Operand, cell: Operand, weights: list[Operand]
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
    build: OperatorBuilder,
    x: Operand,
    hidden: Operand,
    cell: Operand,
    weights: list[Operand],
    peepholes: list[Operand],
) -> Ref:
    """Gates in the order input, forget, cell, output: "ifgo" in words of the op."""
    build.knows("asymmetricQuantizeInputs")
    clip = float(build.get("cellClip", 0.0))
    held: dict[str, Any] = {
        "kernel": _joined("kernel", weights[:4], (1, 0)),
        "recurrent": _joined("recurrent kernel", weights[4:8], (1, 0)),
        "bias": _joined("bias", weights[8:]),
    }
    kind = ops.PeepholeLSTM if clip or peepholes else ops.LSTM
    if clip:
        held["cell_clip"] = clip
    if peepholes:
        to_input, to_forget, to_output = peepholes
        order, shape = (to_input, to_output, to_forget), (3, *to_forget.shape)
        held["peepholes"] = _joined("peepholes", order, None, shape)
    op = kind(**held, gates="ifgo", has_states=True)
    if build.get("timeMajor", False):
        return build.add(op, x, hidden, cell)
    sequence = build.add(op, build.add(ops.Transpose(perm=(1, 0, 2)), x), hidden, cell)
    return build.add(ops.Transpose(perm=(1, 0, 2)), sequence)


def _joined(
    name: str,
    operands: Sequence[Operand],
    axes: tuple[int, ...] | None = None,
    shape: tuple[int, ...] | None = None,
) -> Weight:
    """Weights of gates, one below the other."""
    held = [weight for operand in operands if (weight := held_weight(operand)) is not None]
    parts = {weight.name: weight.effective for weight in held}
    whole = np.concatenate(list(parts.values()))
    words = (f"{printable.several(list(parts))}, one below the other",)
    return Weight(name, None, whole, words, parts, axes=axes, shape=shape)


@node("SVDF")
def svdf(
    build: OperatorBuilder,
    x: Operand,
    features: Operand,
    times: Operand,
    bias: Operand | None,
    state: Operand,
) -> Ref:
    """A product of the input, kept for some steps, and of what was kept with weights over time; of
    the state as it was before the call."""
    build.knows("asymmetricQuantizeInputs")
    if x.dtype != "int8":
        raise Undescribed(f"SVDF of {x.dtype} has no description")
    activation = build.get("fusedActivationFunction", "NONE")
    if activation not in ("NONE", "RELU") or (
        activation == "RELU" and build.result.zero_point != -128
    ):
        raise Undescribed(f"SVDF of codes with the activation {activation} has no description")
    how = rounding(build.kernel, "SVDF", state.dtype)
    rank, (filters, memory), batch = build.get("rank", 1), times.shape, x.shape[0]
    weight = held_weight(features, (1, 0))
    assert weight is not None
    scale = np.float64(np.float32(x.scale * features.scale) / state.scale)
    limits = INTEGERS[state.dtype]
    new = build.add(ops.IntegerMatMul(weight=weight, bias=None), build.steps_of(x))
    new = build.add(requantize(how, scale, scale, 0, limits), new)
    if state.zero_point:  # stored as a code, which wraps around
        moved = build.add(ops.Add(), new, np.int64(state.zero_point))
        new = build.add(
            ops.SubtractZeroPoint(zero_point=state.zero_point),
            build.add(ops.Cast(to=state.dtype), moved),
        )
    kept = build.add(ops.Reshape(shape=(batch, filters, memory)), build.steps_of(state))
    kept = build.add(ops.Slice(starts=(0, 0, 1), stops=(None, None, None)), kept)
    newest = build.add(ops.Reshape(shape=(batch, filters, 1)), new)
    whole = build.add(ops.Concat(axis=2), kept, newest)
    over_time = build.add(ops.Mul(), whole, build.steps_of(times))
    sums = build.add(ops.ReduceSum(axes=(2,)), over_time)
    units = build.add(ops.Reshape(shape=(batch, filters // rank, rank)), sums)
    total = build.add(ops.ReduceSum(axes=(2,)), units)
    if bias is not None:
        total = build.add(ops.Add(), total, build.ref(bias.held))
    if state.dtype == "int16":  # products of 16 bits may leave the accumulator's 32
        total = build.add(ops.Cast(to="int32"), total)
    out = build.result
    last = np.float64(np.float32(state.scale * times.scale) / out.scale)
    return build.add(requantize(how, last, last, out.zero_point, build.limits), total)
