"""QKeras: Keras 2 layers whose weights and activations go through quantisers.

A layer is described as the Keras layer that it extends; only how a weight is read differs, and what follows as
activation. The quantisers are arithmetic of our own (``probe.ops``): QKeras' are what they are compared with. Weights and
quantisers are paired by name; QKeras' own helper pairs them by position and is wrong where a layer lacks one of them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qkeras
import tf_keras

from probe import ops
from probe.layer import Description, Step, Weight

from ..keras import conv, normalization  # noqa: F401 (they register what the layers here extend)
from ..keras.activation import activation_steps
from ..keras.description import REGISTERED, Call, Reader, array_of, describes, read_variable
from ..keras.safety import QKERAS
from .quantizers import effective, function_ops, quantizer_ops

__all__ = ["custom_objects", "reader"]

_QUANTIZER_OF = {
    "kernel": "kernel",
    "depthwise_kernel": "depthwise",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "moving_variance": "variance",
}
"""Weight -> the quantiser of a layer that is meant for it, as in ``layer.mean_quantizer``."""


def custom_objects() -> dict[str, Any]:
    """What Keras must be told to load a QKeras model, by name."""
    return {**{name: vars(qkeras)[name] for name in QKERAS if name in vars(qkeras)}, "QActivation": _QActivation}


class _QActivation(qkeras.QActivation):
    """Reads its own config: QKeras' QActivation cannot, where its quantiser was given as an object and saved to a ``.keras``."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> qkeras.QActivation:
        quantizer = config["activation"]
        return qkeras.QActivation(**{**config, "activation": qkeras.get_quantizer(quantizer) if isinstance(quantizer, dict) else quantizer})


def reader(layer: Any) -> Reader:
    """How the variables of a QKeras layer become weights: through the quantiser of that name, in the stored dtype."""
    plain = read_variable(tf_keras)

    def read(name: str, variable: Any, dtype: str | None) -> Weight:
        attribute = f"{_QUANTIZER_OF.get(name, name)}_quantizer"
        # QKeras looks at the one attribute and calls the other.
        if not getattr(layer, attribute, None):
            return plain(name, variable, dtype)
        stored = array_of(variable, tf_keras)
        quantizer = getattr(layer, f"{attribute}_internal")
        chain = quantizer_ops(quantizer, stored.ndim, f"its {name} goes through")
        value, words = effective(chain, quantizer, stored)
        return Weight(name, stored, value, (words,))

    return read


def _activated(function: Any, call: Call, ndim: int) -> tuple[Step, ...]:
    """The steps of what QKeras takes for an activation: a quantizer, a function of its own, or one of Keras'."""
    if function is not None and (
        function_ops(function) is not None or str(getattr(function, "__module__", "")).partition(".")[0] == "qkeras"
    ):
        return tuple(Step(op) for op in quantizer_ops(function, ndim, "its output goes through"))
    return activation_steps(function, call, ndim)


class _Linear:
    """A layer as it would be without its fused activation."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return None if name == "activation" else getattr(self._layer, name)


def _extends(name: str) -> Callable[[Any, Call], Description]:
    """A layer that computes what the Keras layer of that name does, on quantised weights, and may end in a quantiser."""

    def description(layer: Any, call: Call) -> Description:
        plain = REGISTERED[name](_Linear(layer), call)
        return replace(plain, steps=plain.steps + _activated(layer.activation, call, len(call.shape)))

    return description


for _name in ("Conv1D", "Conv2D", "Dense", "DepthwiseConv2D"):
    describes(f"Q{_name}")(_extends(_name))


describes("QBatchNormalization")(REGISTERED["BatchNormalization"])


@describes("QActivation")
def _activation(layer: Any, call: Call) -> Description:
    return Description(_activated(layer.quantizer, call, len(call.shape)) or (Step(ops.Identity()),))
