"""HGQ2: Keras 3 layers whose inputs, weights and outputs go through fixed point with bits of its
own for every element.

A layer is described as the layer of Keras that it extends, between the quantizers of its input and
its output; only how a weight is read differs. The quantizers are arithmetic of our own
(``probe.ops``). HGQ2 installs a package `qkeras` over QKeras': the two cannot be in one
environment.
"""

from typing import Any

import keras
from hgq.quantizer import Quantizer

from probe.description import Step, Weight
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.variables import Reader, array_of, read_variable
from . import attention, batchnorm_folding, layers, recurrent, softmax, spiking, tables  # noqa: F401 (they register their layers)
from .quantizers import quantized, quantizer_ops

__all__ = ["custom_objects", "quantized_activation_steps", "reader"]

_QUANTIZER_OF = {
    "_kernel": "_kq",
    "kernel": "_kq",
    "recurrent_kernel": "_rkq",
    "bias": "_bq",
    "lif_beta": "_beta_q",
    "graded_spikes_factor": "_graded_spikes_factor_q",
}
"""Attribute of a layer that holds a variable -> the one that holds its quantizer."""


def custom_objects() -> dict[str, Any]:
    """What Keras must be told to load a model: nothing, since importing hgq registers its
    classes."""
    return {}


def quantized_activation_steps(activation: Any, call: KerasCall, ndim: int) -> tuple[Step, ...]:
    """The steps of what HGQ2 has and a layer takes for its activation."""
    if not isinstance(activation, Quantizer):
        raise Undescribed(
            f"its activation is the layer {type(activation).__name__}, which is not supported "
            "as an activation"
        )
    return tuple(Step(op) for op in quantizer_ops(activation, "its activation is"))


def reader(layer: Any) -> Reader:
    """How the variables of a layer become weights: through the quantizer of that name."""
    plain = read_variable(keras)
    owners = {
        id(getattr(inner, name)): getattr(inner, quantizer)
        for inner in layer._flatten_layers()
        for name, quantizer in _QUANTIZER_OF.items()
        if getattr(inner, name, None) is not None
        and isinstance(getattr(inner, quantizer, None), Quantizer)
    }

    def read(name: str, variable: Any, dtype: str | None) -> Weight:
        if id(variable) not in owners:
            return plain(name, variable, dtype)
        stored = array_of(variable, keras)
        return quantized(Weight(name, stored, stored), owners[id(variable)])

    return read
