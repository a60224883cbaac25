"""HGQ2's softmax: two tables, of exp and of 1 / (sum + epsilon), each between quantizers of its
own."""

from typing import Any

import keras
import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from .description import between_quantizers
from .quantizers import through


@between_quantizers("QSoftmax", arguments=("mask",))
def _softmax(layer: Any, call: KerasCall) -> Description:
    """What a mask hides is put far below the largest before the tables, and is 0 behind them."""
    build, x, axes, mask = Builder(), Ref(-1), tuple(layer.axes), call.arguments.get("mask")
    if mask is not None:
        _refuse_soft_mask(call.masks[mask.index - len(call.inputs)])
    # The number is made a tensor of float32 before it is multiplied by.
    gain = float(np.float32(layer.input_scaler)) * (-1.0 if layer.stable else 1.0)
    if layer.stable:
        if mask is not None:
            x = build.add(ops.Fill(value=-1e9), x, mask)
        x = build.add(ops.Sub(), build.add(ops.ReduceMax(axes=axes, keepdims=True), x), x)
        x = through(build, x, layer.exp_table.iq, "its exponent goes through")
    x = build.add(ops.Exp(), build.add(ops.Affine(gain=gain, offset=0.0), x))
    x = through(build, x, layer.exp_table.oq, "its exponential goes through")
    if mask is not None:
        x = build.add(ops.Fill(value=0.0), x, mask)
    total = through(
        build,
        build.add(ops.ReduceSum(axes=axes, keepdims=True), x),
        layer.inv_table.iq,
        "its sum goes through",
    )
    total = build.add(
        ops.Reciprocal(),
        build.add(ops.Affine(gain=1.0, offset=float(keras.backend.epsilon())), total),
    )
    total = through(build, total, layer.inv_table.oq, "its divisor goes through")
    return Description(build.ended(build.add(ops.Mul(), x, total)))


def _refuse_soft_mask(mask: np.ndarray) -> None:
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise Undescribed("its mask contains values other than 0 and 1")
