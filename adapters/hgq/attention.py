"""HGQ2's softmax."""

from typing import Any

import keras

from probe import ops
from probe.building import Steps
from probe.errors import Undescribed
from probe.layer import Description, Ref

from ..keras.description import Call
from .description import between_quantizers
from .quantizers import through


@between_quantizers("QSoftmax")
def _softmax(layer: Any, call: Call) -> Description:
    """Two tables: of exp, and of 1 / (sum + epsilon); each between quantizers of its own."""
    if call.arguments.get("mask") is not None:
        raise Undescribed("a mask reaches it")
    steps, x, axes = Steps(), Ref(-1), tuple(layer.axes)
    sign = -1.0 if layer.stable else 1.0
    if layer.stable:
        x = steps.put(ops.Sub(), steps.put(ops.ReduceMax(axes=axes, keepdims=True), x), x)
        x = through(steps, x, layer.exp_table.iq, "its exponent goes through")
    x = steps.put(ops.Exp(), steps.put(ops.Affine(gain=sign * float(layer.input_scaler), offset=0.0), x))
    x = through(steps, x, layer.exp_table.oq, "its exponential goes through")
    total = through(steps, steps.put(ops.ReduceSum(axes=axes, keepdims=True), x), layer.inv_table.iq, "its sum goes through")
    total = steps.put(ops.Reciprocal(), steps.put(ops.Affine(gain=1.0, offset=float(keras.backend.epsilon())), total))
    total = through(steps, total, layer.inv_table.oq, "its divisor goes through")
    return Description(steps.ended(steps.put(ops.Mul(), x, total)))
