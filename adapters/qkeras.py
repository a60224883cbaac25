"""QKeras: Keras 2 layers whose weights and activations go through quantisers.

A layer is described as the Keras layer that it extends; only how a weight is read differs, and what follows as
activation. The quantisers are arithmetic of our own (``probe.ops``): QKeras' are what they are compared with. Weights and
quantisers are paired by name; QKeras' own helper pairs them by position and is wrong where a layer lacks one of them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import qkeras
import tf_keras

from probe import ops
from probe.errors import MissingExtra, Undescribed
from probe.layer import Description, Step, Weight

from .keras import conv, normalization  # noqa: F401 (they register what the layers here extend)
from .keras.activation import activation_steps
from .keras.description import REGISTERED, Call, Reader, array_of, describes, read_variable
from .keras.safety import QKERAS

__all__ = ["custom_objects", "quantizer_op", "reader"]

if not hasattr(qkeras, "QDense"):
    raise MissingExtra(
        "the `qkeras` that is installed is not QKeras but the package of that name in hgq2, which overwrites it: "
        "in an environment without hgq2, pip install 'layerprobe[qkeras]'"
    )

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
        op = quantizer_op(quantizer, stored.ndim, f"its {name} goes through")
        effective = op.run(stored.astype(np.float32))[0]
        return Weight(name, stored, effective, (_words(op, quantizer, stored),))

    return read


def quantizer_op(quantizer: Any, ndim: int, where: str) -> ops.Quantizer:
    """The op that computes what a quantiser of QKeras does to an array of that rank; ``where`` begins the sentence if it cannot."""
    kind = type(quantizer)
    name = getattr(quantizer, "__name__", kind.__name__)
    if kind not in (qkeras.quantized_bits, qkeras.quantized_relu) or tf_keras.backend.floatx() != "float32":
        raise Undescribed(f"{where} {name}, a quantizer without a description")
    if quantizer.use_stochastic_rounding and tf_keras.backend.learning_phase():
        raise Undescribed(f"{where} {name}, which rounds at random while Keras' learning phase is on")
    integer = np.asarray(quantizer.integer)
    if integer.size != 1:
        raise Undescribed(f"{where} {name} with integer bits per channel")
    common = {
        "bits": int(quantizer.bits),
        "integer": int(integer.item()),
        "noise": float(np.asarray(quantizer.qnoise_factor)),
        "straight_through": bool(quantizer.use_ste),
    }
    return (_bits if kind is qkeras.quantized_bits else _relu)(quantizer, ndim, common)


def _bits(quantizer: Any, ndim: int, common: dict[str, Any]) -> ops.Quantizer:
    alpha, negative = quantizer.alpha, bool(quantizer.keep_negative)
    if isinstance(alpha, str):
        return ops.AutoQuantizedBits(
            **common, power_of_two="po2" in alpha, keep_negative=negative, axes=_reduced(quantizer.scale_axis, ndim)
        )
    alpha = 1.0 if alpha is None else np.asarray(alpha, np.float32)
    return ops.QuantizedBits(**common, symmetric=bool(quantizer.symmetric), keep_negative=negative, alpha=alpha)


def _reduced(scale_axis: int | None, ndim: int) -> tuple[int, ...]:
    """The axes over which one scale is found (qkeras/quantizers.py, _get_scaling_axis: a negative axis keeps none)."""
    if ndim == 1:
        return (0,)
    if scale_axis is None:
        scale_axis = ndim - 1 if tf_keras.backend.image_data_format() == "channels_last" else 0
    return tuple(axis for axis in range(ndim) if axis != scale_axis)


def _relu(quantizer: Any, ndim: int, common: dict[str, Any]) -> ops.Quantizer:
    sigmoid = None
    if quantizer.use_sigmoid:
        used = qkeras.quantizers._sigmoid  # what qkeras.set_internal_sigmoid chose
        sigmoid = _LINEAR_SIGMOIDS.get(used)
        if sigmoid is None:
            raise Undescribed("quantized_relu with the real sigmoid has no description")
    upper = quantizer.relu_upper_bound
    return ops.QuantizedRelu(
        **common,
        negative_slope=float(quantizer.negative_slope),
        upper_bound=None if upper is None else float(upper),
        quantized_clip=bool(quantizer.is_quantized_clip),
        sigmoid=sigmoid,
    )


_LINEAR_SIGMOIDS = {qkeras.hard_sigmoid: 0.5, qkeras.smooth_sigmoid: 0.1875}
"""QKeras' own sigmoids -> the slope of clip(slope * x + 0.5, 0, 1). Its hard_sigmoid is neither that of Keras 2 nor of Keras 3."""


_OPTIONS = {
    "symmetric": 0,
    "keep_negative": True,
    "negative_slope": 0,
    "use_sigmoid": 0,
    "relu_upper_bound": None,
    "is_quantized_clip": True,
}
"""The options of both quantisers and their defaults, which go without saying."""


def _words(op: ops.Quantizer, quantizer: Any, stored: np.ndarray) -> str:
    """Such as "quantized_bits(4, 0, alpha=1): scale 0.125, 16 levels, 3 values clipped"."""
    options = [str(op.bits), str(op.integer)]
    for option, default in _OPTIONS.items():
        if getattr(quantizer, option, default) != default and not (option == "symmetric" and isinstance(op, ops.AutoQuantizedBits)):
            options.append(f"{option}={getattr(quantizer, option)}")
    alpha = getattr(quantizer, "alpha", None)
    options += [] if alpha is None else [f"alpha={alpha!r}" if np.ndim(alpha) == 0 else "alpha per channel"]
    options += [f"qnoise_factor={op.noise:g}"] if op.noise != 1 else []
    name = f"{type(quantizer).__name__}({', '.join(options)})"
    if not isinstance(op, ops.QuantizedBits | ops.AutoQuantizedBits):
        return name
    steps, clipped = np.atleast_1d(op.step(stored)), int(np.count_nonzero(op.clipped(stored)))
    scale = f"{steps.min():g}" if steps.min() == steps.max() else f"{steps.min():g} to {steps.max():g} by channel"
    return f"{name}: scale {scale}, {op.levels} levels, {clipped} value{'' if clipped == 1 else 's'} clipped"


def _activated(function: Any, call: Call, ndim: int) -> tuple[Step, ...]:
    """The steps of what QKeras takes for an activation: a quantiser, a function of its own, or one of Keras'."""
    if function in _LINEAR_SIGMOIDS:
        return (Step(ops.HardSigmoid(alpha=_LINEAR_SIGMOIDS[function], beta=0.5)),)
    if str(getattr(function, "__module__", "")).partition(".")[0] == "qkeras":
        return (Step(quantizer_op(function, ndim, "its output goes through")),)
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
