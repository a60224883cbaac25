"""QKeras' convolutions that hold a batch normalisation: its gain and offset are folded into kernel
and bias, and those quantised.

    kernel = quantized(kernel * gamma / sqrt(moving_variance + epsilon))
    bias   = quantized((bias - moving_mean) * gamma / sqrt(moving_variance + epsilon) + beta)

(qkeras/qconv2d_batchnorm.py and qdepthwiseconv2d_batchnorm.py, 0.9.0, at inference: both folding
modes then use the moving statistics.)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tf_keras

from probe.description import Description, Weight
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import REGISTERED, describes
from ..keras.describe.variables import array_of
from ..keras.describe.with_attributes import changed
from ..keras.layers.activation import activation_steps
from .quantizers import grid_of, quantizer_ops, settled

_KERNELS = {
    "Conv2D": ("kernel", "kernel_quantizer"),
    "DepthwiseConv2D": ("depthwise_kernel", "depthwise_quantizer"),
}


def _folded(name: str, layer: Any, call: KerasCall) -> Description:
    if call.training:
        raise Undescribed("in training mode it folds the statistics of the batch")
    kernel, quantizer = _KERNELS[name]
    weights = {kernel: _kernel(layer, kernel, quantizer), "bias": _bias(layer)}
    reading = replace(call, read=lambda weight, variable, dtype: weights[weight])
    plain = REGISTERED[name](
        changed(layer, activation=None, bias=layer.batchnorm.moving_mean), reading
    )
    return replace(
        plain, steps=plain.steps + activation_steps(layer.activation, call, len(call.shape))
    )


def _inside(layer: Any) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
    """The parameters of the batch normalisation, and its gain, in float32 operation by
    operation."""
    norm = layer.batchnorm
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    parts = {
        name: array_of(getattr(norm, name), tf_keras)
        for name in names
        if getattr(norm, name) is not None
    }
    sums = (parts["moving_variance"] + np.float32(norm.epsilon)).astype(np.float64)
    gain = (1 / np.sqrt(sums)).astype(np.float32)
    return parts, gain * parts["gamma"] if "gamma" in parts else gain


def _kernel(layer: Any, name: str, quantizer: str) -> Weight:
    parts, gain = _inside(layer)
    stored = array_of(getattr(layer, name), tf_keras)
    folded = stored * (gain.reshape(stored.shape[-2:]) if name == "depthwise_kernel" else gain)
    words = (
        f"times gamma / sqrt(moving_variance + {layer.batchnorm.epsilon:g}) of its batch "
        "normalisation"
    )
    used = {key: parts[key] for key in ("gamma", "moving_variance") if key in parts}
    return _quantized(layer, name, quantizer, stored, folded, words, used, 0)


def _bias(layer: Any) -> Weight:
    parts, gain = _inside(layer)
    stored = array_of(layer.bias, tf_keras) if layer.use_bias else None
    folded = gain * ((0 if stored is None else stored) - parts["moving_mean"])
    if "beta" in parts:
        folded = folded + parts["beta"]
    words = (
        f"(bias - moving_mean) * gamma / sqrt(moving_variance + {layer.batchnorm.epsilon:g}) "
        "+ beta of its batch normalisation"
    )
    return _quantized(layer, "bias", "bias_quantizer", stored, folded, words, parts, 1)


def _quantized(
    layer: Any,
    name: str,
    attribute: str,
    stored: Any,
    folded: np.ndarray,
    words: str,
    parts: Mapping[str, np.ndarray],
    place: int,
) -> Weight:
    quantizer = getattr(layer, f"{attribute}_internal")
    if quantizer is None:
        return Weight(name, stored, folded, (words,), parts)
    chain = quantizer_ops(quantizer, folded.ndim, f"its folded {name} goes through")
    value, more = settled(chain, quantizer, folded, lambda: layer.get_folded_weights()[place])
    return Weight(
        name,
        stored,
        value,
        (words, more),
        {**parts, f"{name} before its quantizer": folded},
        grid=grid_of(chain, folded, value),
    )


@describes("QConv2DBatchnorm")
def _convolution(layer: Any, call: KerasCall) -> Description:
    return _folded("Conv2D", layer, call)


@describes("QDepthwiseConv2DBatchnorm")
def _depthwise(layer: Any, call: KerasCall) -> Description:
    return _folded("DepthwiseConv2D", layer, call)
