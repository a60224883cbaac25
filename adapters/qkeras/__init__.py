"""QKeras: Keras 2 layers whose weights and activations go through quantisers.

A layer is described as the Keras layer that it extends; only how a weight is read differs, and what
follows as activation. The quantisers are arithmetic of our own (``probe.ops``): QKeras' are what
they are compared with. Weights and quantisers are paired by name; QKeras' own helper pairs them by
position and is wrong where a layer lacks one of them.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import qkeras
import tf_keras

from probe import ops
from probe.description import Description, Step, Weight
from probe.errors import Undescribed

from ..keras.describe.call import Describer, KerasCall
from ..keras.describe.describe import REGISTERED, describes
from ..keras.describe.variables import Reader, array_of, read_variable
from ..keras.layers import conv, normalization, pooling, recurrent, transpose_conv, wrappers  # noqa: F401 (they register what the layers here extend)
from ..keras.layers.activation import activation_steps
from ..keras.loading.allow_list import QKERAS
from . import batchnorm_folding  # noqa: F401 (it registers its layers)
from .quantizers import effective, grid_of, quantizer_ops

__all__ = ["custom_objects", "quantized_activation_steps", "reader"]

_QUANTIZER_OF = {
    "kernel": "kernel",
    "depthwise_kernel": "depthwise",
    "pointwise_kernel": "pointwise",
    "recurrent_kernel": "recurrent",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "moving_variance": "variance",
}
"""Weight -> the quantiser of a layer that is meant for it, as in ``layer.mean_quantizer``."""


def custom_objects() -> dict[str, Any]:
    """What Keras must be told to load a QKeras model, by name."""
    return {
        **{name: vars(qkeras)[name] for name in QKERAS if name in vars(qkeras)},
        "QActivation": _QActivation,
    }


def quantized_activation_steps(activation: Any, call: KerasCall, ndim: int) -> tuple[Step, ...]:
    """The steps of a quantizer, or of a function of QKeras' own, on a tensor of ``ndim`` axes."""
    return tuple(Step(op) for op in quantizer_ops(activation, ndim, "its output goes through"))


class _QActivation(qkeras.QActivation):  # type: ignore[misc]
    """Reads its own config: QKeras' QActivation cannot, where its quantiser was given as an object
    and saved to a ``.keras``."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> qkeras.QActivation:
        quantizer = config["activation"]
        if isinstance(quantizer, dict):
            quantizer = qkeras.get_quantizer(quantizer)
        return qkeras.QActivation(**{**config, "activation": quantizer})


def reader(layer: Any) -> Reader:
    """How the variables of a QKeras layer, and of those inside it, become weights: through the
    quantiser of that name."""
    plain = read_variable(tf_keras)
    # Made before the call, which may set the integer bits for the next one.
    if isinstance(layer, qkeras.QAdaptiveActivation):
        before = np.asarray(layer.quantizer.integer)
    else:
        before = None
    owners = {
        id(variable): pair for owner in _inside(layer) for variable, pair in _quantised(owner)
    }

    def read(name: str, variable: Any, dtype: str | None) -> Weight:
        if name == "integer" and before is not None:
            return Weight(name, before, before)
        if id(variable) not in owners:
            return plain(name, variable, dtype)
        stored, quantizer = array_of(variable, tf_keras), owners[id(variable)]
        chain = quantizer_ops(quantizer, stored.ndim, f"its {name} goes through")
        value, words = effective(chain, quantizer, stored)
        return Weight(name, stored, value, (words,), grid=grid_of(chain, stored, value))

    return read


def _inside(layer: Any) -> Iterator[Any]:
    """The layer and all layers inside it, cells and what wrappers wrap among them."""
    return iter(layer._flatten_layers())


def _quantised(layer: Any) -> Iterator[tuple[Any, Any]]:
    """(variable, its quantiser) of a layer; QKeras looks at ``mean_quantizer`` and calls
    ``mean_quantizer_internal``."""
    for name, quantizer in _QUANTIZER_OF.items():
        variable = getattr(layer, name, None)
        if variable is not None and getattr(layer, f"{quantizer}_quantizer", None):
            yield variable, getattr(layer, f"{quantizer}_quantizer_internal")


def _as_in_keras(name: str) -> Describer:
    """What describes the class of Keras that QKeras' is named after, as a function of this module:
    the table of classes names it by that."""
    described = REGISTERED[name]
    return lambda layer, call: described(layer, call)


for _name in (
    "BatchNormalization",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
):
    describes(f"Q{_name}")(_as_in_keras(_name))

for _name in ("SimpleRNN", "LSTM", "GRU"):
    _arguments = ("mask", "initial_state", "constants")
    describes(f"Q{_name}", arguments=_arguments)(_as_in_keras(_name))
    describes(f"Q{_name}Cell", arguments=("states",))(_as_in_keras(f"{_name}Cell"))

describes("QBidirectional", arguments=("mask", "initial_state"))(_as_in_keras("Bidirectional"))


@describes("QActivation")
def _activation(layer: Any, call: KerasCall) -> Description:
    return Description(
        activation_steps(layer.quantizer, call, len(call.shape)) or (Step(ops.Identity()),)
    )


@describes("QAdaptiveActivation")
def _adaptive(layer: Any, call: KerasCall) -> Description:
    """Its integer bits follow a moving average: those that were there before the call are used in
    it."""
    if call.training:
        raise Undescribed("in training mode its quantizer adapts to the batch")
    integer = call.weight("integer", layer.quantizer.integer, cast=False).effective
    return Description(
        tuple(
            Step(op)
            for op in quantizer_ops(layer.quantizer, len(call.shape), "it goes through", integer)
        )
    )


def _averaged(layer: Any, call: KerasCall, name: str, area: int) -> Description:
    """The mean, times the number of cells again, times their quantised inverse
    (qkeras/qpooling.py)."""
    plain = REGISTERED[name](layer, call)
    ndim = len(plain.output_axes) or len(call.shape)
    steps = plain.steps
    if layer.average_quantizer:
        inverse = np.array([1 / area], np.float32)
        for op in quantizer_ops(
            layer.average_quantizer_internal, 1, "its inverse area goes through"
        ):
            (inverse,) = op.run(inverse)
        steps += (Step(ops.Affine(gain=float(np.float32(area) * inverse[0]), offset=0.0)),)
    return replace(plain, steps=steps + activation_steps(layer.activation, call, ndim))


@describes("QAveragePooling2D")
def _average_pooling(layer: Any, call: KerasCall) -> Description:
    return _averaged(layer, call, "AveragePooling2D", prod(layer.pool_size))


@describes("QGlobalAveragePooling2D")
def _global_average_pooling(layer: Any, call: KerasCall) -> Description:
    if layer.data_format == "channels_first":
        spatial = call.shape[2:]
    else:
        spatial = call.shape[1:-1]
    return _averaged(layer, call, "GlobalAveragePooling2D", prod(spatial))
