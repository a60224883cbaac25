"""HGQ2's layers with a normalisation inside, whose gain and offset are quantised, or folded into
the kernel and bias that are."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from probe import ops
from probe.description import Description, Step, Weight

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import REGISTERED
from ..keras.describe.variables import array_of
from .description import between_quantizers
from .quantizers import quantized


def _parts(layer: Any, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    found = {name: getattr(layer, attribute, None) for name, attribute in names.items()}
    return {
        name: array_of(variable, keras) for name, variable in found.items() if variable is not None
    }


_NORM = {
    "bn_gamma": "bn_gamma",
    "bn_beta": "bn_beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}


def _gain(parts: Mapping[str, np.ndarray], epsilon: float) -> np.ndarray:
    wide = parts.get("bn_gamma", np.float32(1)) / np.sqrt(
        (parts["moving_variance"] + np.float32(epsilon)).astype(np.float64)
    )
    return np.asarray(wide, np.float32)


_SHARE = np.float32(2.0**-21)
"""How far what was computed may be off, of the magnitude of its largest term."""


@between_quantizers("QBatchNormalization")
def _batch_normalization(layer: Any, call: KerasCall) -> Description:
    """x * quantised(gamma / sqrt(variance + epsilon)) + quantised(beta - mean * the same); without
    a beta HGQ2 takes 1."""
    parts = _parts(layer, _NORM)
    gain = _gain(parts, layer.epsilon)
    shift = parts["moving_mean"] * gain
    beta = parts.get("bn_beta", np.float32(1))
    shape, root = tuple(layer._shape), f"sqrt(moving_variance + {layer.epsilon:g})"
    first = Weight(
        "bn_gamma", parts.get("bn_gamma"), gain, (f"divided by {root}",), parts, shape=shape
    )
    words = f"{'bn_beta' if 'bn_beta' in parts else '1'} - moving_mean * bn_gamma / {root}"
    second = Weight("bn_beta", parts.get("bn_beta"), beta - shift, (words,), parts, shape=shape)
    made = [
        quantized(first, layer.kq, _SHARE * np.abs(gain), lambda: layer.qscaler_and_qoffset[0]),
        quantized(
            second,
            layer.bq,
            _SHARE * (np.abs(beta) + np.abs(shift)),
            lambda: layer.qscaler_and_qoffset[1],
        ),
    ]
    return Description((Step(ops.MulConstant(made[0])), Step(ops.AddConstant(made[1]))))


def _with(call: KerasCall, kernel: Weight, bias: Weight) -> KerasCall:
    return replace(call, read=lambda name, variable, dtype: kernel if name == "kernel" else bias)


@between_quantizers("QBatchNormDense")
def _normalized_dense(layer: Any, call: KerasCall) -> Description:
    """The normalisation of the input folded into kernel and bias, as HGQ2 folds it: its bias lacks
    the division by the deviation."""
    parts = _parts(layer, _NORM)
    kernel, bias = array_of(layer._kernel, keras), array_of(layer.bias, keras)
    folded = _gain(parts, layer.epsilon)[:, None] * kernel
    shift = (parts["moving_mean"].astype(np.float64) @ kernel.astype(np.float64)).astype(np.float32)
    off = _SHARE * (np.abs(bias) + np.abs(parts["moving_mean"]) @ np.abs(kernel))

    def theirs(index: int) -> Any:
        return layer.get_fused_qkernel_and_qbias(layer.moving_mean, layer.moving_variance)[index]

    words = f"times bn_gamma / sqrt(moving_variance + {layer.epsilon:g})"
    first = quantized(
        Weight("kernel", kernel, folded, (words,), parts),
        layer.kq,
        _SHARE * np.abs(folded),
        lambda: theirs(0),
    )
    second = quantized(
        Weight("bias", bias, bias - shift, ("minus moving_mean times kernel",), parts),
        layer.bq,
        off,
        lambda: theirs(1),
    )
    return REGISTERED["Dense"](layer, _with(call, first, second))


@between_quantizers("QEinsumDenseBatchnorm")
def _normalized_einsum(layer: Any, call: KerasCall) -> Description:
    """The normalisation of the output folded into kernel and bias."""
    parts = _parts(layer, _NORM)
    kernel, bias = array_of(layer._kernel, keras), array_of(layer.bias, keras)
    epsilon = float(keras.backend.epsilon())  # HGQ2 adds Keras' own, not the layer's
    gain = _gain(parts, epsilon)
    folded = np.einsum(layer.fused_kernel_equation, kernel, gain)
    shift = (parts["moving_mean"] * gain).reshape(layer._norm_offset_cast_shape)
    off = _SHARE * (np.abs(bias) + np.abs(shift))

    def theirs(index: int) -> Any:
        return layer.get_fused_qkernel_and_qbias(False, layer.moving_mean, layer.moving_variance)[
            index
        ]

    root = f"sqrt(moving_variance + {epsilon:g})"
    first = Weight("kernel", kernel, folded, (f"times gamma / {root}",), parts)
    second = Weight("bias", bias, bias - shift, (f"minus moving_mean * gamma / {root}",), parts)
    kernel_weight = quantized(first, layer.kq, _SHARE * np.abs(folded), lambda: theirs(0))
    return REGISTERED["EinsumDense"](
        layer, _with(call, kernel_weight, quantized(second, layer.bq, off, lambda: theirs(1)))
    )
