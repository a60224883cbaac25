"""HGQ2's recurrent layers and their cells: Keras' around a cell whose input, states and gates go
through quantizers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import REGISTERED, describes
from ..keras.layers import recurrent  # noqa: F401 (it registers what the layers here extend)
from ..keras.layers.activation import activation_steps
from ..keras.layers.recurrent_cells import OWN_CELLS, CellOps
from .description import at_inference
from .quantizers import quantizer_ops


@describes("hgq.QGRU", "hgq.QSimpleRNN", arguments=("mask", "initial_state"))
def _recurrent(layer: Any, call: KerasCall) -> Description:
    at_inference(call)
    return REGISTERED["RNN"](layer, call)


@describes("hgq.QGRUCell", "hgq.QSimpleRNNCell", arguments=("states",))
def _cell(layer: Any, call: KerasCall) -> Description:
    at_inference(call)
    return REGISTERED["GRUCell"](layer, call)


def _activation(function: Any, call: KerasCall, rank: int = 2) -> tuple[ops.Op, ...]:
    parts = tuple(step.op for step in activation_steps(function, call, rank))
    if not all(isinstance(part, ops.Elementwise) for part in parts):
        raise Undescribed(
            f"its activation {getattr(function, '__name__', function)!r} is not supported "
            "inside a recurrent layer"
        )
    return parts


def _one(parts: Sequence[ops.Op]) -> ops.Op:
    if not parts:
        return ops.Identity()
    if len(parts) == 1:
        return parts[0]
    return ops.Chain(tuple(parts))


def _weights(cell: Any, call: KerasCall, prefix: str) -> dict[str, Any]:
    return {
        "kernel": call.weight(f"{prefix}kernel", cell.kernel),
        "recurrent": call.weight(f"{prefix}recurrent_kernel", cell.recurrent_kernel),
        "bias": call.weight(f"{prefix}bias", cell.bias if cell.use_bias else None),
    }


def _input(cell: Any) -> tuple[ops.Op, ...]:
    if cell.enable_iq:
        return quantizer_ops(cell.iq, "its input goes through")
    return ()


def _simple(cell: Any, call: KerasCall, prefix: str) -> CellOps:
    """Its state is not quantised where it is the quantised output already."""
    at_inference(call)
    output = (*quantizer_ops(cell.paq, "its sum goes through"), *_activation(cell.activation, call))
    if cell.enable_sq:
        state = _one(quantizer_ops(cell.sq, "its state goes through"))
    else:
        state = None
    return _input(cell), ops.RNN(
        **_weights(cell, call, prefix), activation=_one(output), state_quantizer=state
    )


def _gated(cell: Any, call: KerasCall, prefix: str) -> CellOps:
    at_inference(call)
    gates = quantizer_ops(cell.praq, "its gates go through")
    function = _activation(cell.recurrent_activation, call)
    update, reset = (
        _one((*function, *(_half(op, cell.units, half) for op in gates))) for half in (0, 1)
    )
    candidate = (
        *_activation(cell.activation, call),
        *quantizer_ops(cell.paq, "its candidate goes through"),
    )
    op = ops.GRU(
        **_weights(cell, call, prefix),
        gates="zrh",
        activation=_one(candidate),
        recurrent_activation=update,
        reset_activation=reset,
        reset_after=bool(cell.reset_after),
        state_quantizer=_one(quantizer_ops(cell.sq, "its state goes through")),
        reset_quantizer=_one(quantizer_ops(cell.rhq, "the operand of its reset gate goes through")),
    )
    return _input(cell), op


def _half(op: ops.Op, units: int, half: int) -> ops.Op:
    """What the quantizer of both gates side by side is for the first or the second of them."""

    def cut(bits: np.ndarray) -> np.ndarray:
        if bits.ndim and bits.shape[-1] == 2 * units:
            return bits[..., half * units : (half + 1) * units]
        return bits

    if isinstance(op, ops.FixedPoint):
        return replace(op, sign=cut(op.sign), integer=cut(op.integer), fraction=cut(op.fraction))
    if isinstance(op, ops.MiniFloat):
        return replace(op, m=cut(op.m), e=cut(op.e), e0=cut(op.e0))
    return op


OWN_CELLS.update({"hgq.QGRUCell": _gated, "hgq.QSimpleRNNCell": _simple})
