"""HGQ2's softmax: two tables, of exp and of 1 / (sum + epsilon), each between quantizers of its
own."""

from typing import Any

import keras
import numpy as np

from probe import ops
from probe.description import Description, Ref, Steps
from probe.errors import Undescribed

from ..keras.describe.call import Call
from .description import between_quantizers
from .quantizers import through


@between_quantizers("QSoftmax", arguments=("mask",))
def _softmax(layer: Any, call: Call) -> Description:
    """What a mask hides is put far below the largest before the tables, and is 0 behind them."""
    steps, x, axes, mask = Steps(), Ref(-1), tuple(layer.axes), call.arguments.get("mask")
    if mask is not None:
        _known(call.masks[mask.index - len(call.inputs)])
    # The number is made a tensor of float32 before it is multiplied by.
    gain = float(np.float32(layer.input_scaler)) * (-1.0 if layer.stable else 1.0)
    if layer.stable:
        x = x if mask is None else steps.put(ops.Fill(value=-1e9), x, mask)
        x = steps.put(ops.Sub(), steps.put(ops.ReduceMax(axes=axes, keepdims=True), x), x)
        x = through(steps, x, layer.exp_table.iq, "its exponent goes through")
    x = steps.put(ops.Exp(), steps.put(ops.Affine(gain=gain, offset=0.0), x))
    x = through(steps, x, layer.exp_table.oq, "its exponential goes through")
    x = x if mask is None else steps.put(ops.Fill(value=0.0), x, mask)
    total = through(
        steps,
        steps.put(ops.ReduceSum(axes=axes, keepdims=True), x),
        layer.inv_table.iq,
        "its sum goes through",
    )
    total = steps.put(
        ops.Reciprocal(),
        steps.put(ops.Affine(gain=1.0, offset=float(keras.backend.epsilon())), total),
    )
    total = through(steps, total, layer.inv_table.oq, "its divisor goes through")
    return Description(steps.ended(steps.put(ops.Mul(), x, total)))


def _known(mask: np.ndarray) -> None:
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise Undescribed("its mask holds other numbers than 0 and 1")
