"""Keras' normalisations, over any axes."""

import inspect
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describe, describes, named_axes
from ..describe.op_builder import as_list
from .activation import along_axes

_CANCELS = ("torch", "numpy")
"""Backends of Keras 3 whose moments are E[x²] - E[x]² (keras/src/backend/torch/nn.py, moments)."""


def _axes_of(layer: Any, ndim: int) -> tuple[int, ...]:
    return tuple(sorted(int(axis) % ndim for axis in as_list(layer.axis)))


def _names(ndim: int, axes: tuple[int, ...]) -> tuple[str, ...]:
    """The axes by name where the normalised one is where Keras' data formats put the channels."""
    if ndim == 2 and axes == (1,):
        return ("batch", "features")
    if 3 <= ndim <= 5 and axes in ((1,), (ndim - 1,)):
        return named_axes(ndim, ndim - 2, axes == (1,))
    return ()


def _of_floats(call: KerasCall) -> None:
    if not call.legacy and any(x.dtype.kind != "f" for x in call.inputs):
        raise Undescribed("Keras 3 computes this in integers, rounding parameters and results")


@describes("BatchNormalization")
def _batch_normalization(layer: Any, call: KerasCall) -> Description:
    if call.training and layer.trainable:
        raise Undescribed("in training mode it uses the statistics of the batch")
    ndim = len(call.shape)
    # Keras 2 counts an axis more where it splits the batch for `virtual_batch_size`, which it does
    # in training only.
    split = getattr(layer, "virtual_batch_size", None) is not None
    if split:
        axes = tuple(axis - 1 for axis in _axes_of(layer, ndim + 1))
    else:
        axes = _axes_of(layer, ndim)
    count = prod(call.shape[axis] for axis in axes)
    names = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    # The parameters are float32 in every precision: the arithmetic is float32 too, only its result
    # is rounded.
    weights = {
        part: call.weight(name, getattr(layer, name), shape=(count,), cast=False)
        for part, name in names.items()
    }
    steps = along_axes(
        call.shape,
        axes,
        lambda axis: ops.BatchNormalization(epsilon=float(layer.epsilon), axis=axis, **weights),
    )
    return Description(steps, _names(ndim, axes), _names(ndim, axes))


@describes("LayerNormalization")
def _layer_normalization(layer: Any, call: KerasCall) -> Description:
    _of_floats(call)
    ndim = len(call.shape)
    axes = _axes_of(layer, ndim)
    # Keras reshapes the parameters, so that axes given out of order do not mean transposed
    # parameters.
    sizes = tuple(call.shape[axis] for axis in axes)
    scale, bias = (
        call.weight(name, getattr(layer, name), shape=sizes, cast=False)
        for name in ("gamma", "beta")
    )
    # Keras divides by the deviation what it does not centre, and leaves beta out.
    if getattr(layer, "rms_scaling", False):
        rms = ops.RMSNormalization(
            scale=scale, epsilon=float(layer.epsilon), axes=axes, centred=True
        )
        return Description((Step(rms),), _names(ndim, axes), _names(ndim, axes))
    shortcuts = call.backend in _CANCELS
    op = ops.LayerNormalization(
        scale=scale,
        bias=bias,
        epsilon=float(layer.epsilon),
        axes=axes,
        may_use_lossy_algorithm=shortcuts,
    )
    return Description((Step(op),), _names(ndim, axes), _names(ndim, axes))


@describes("GroupNormalization")
def _group_normalization(layer: Any, call: KerasCall) -> Description:
    _of_floats(call)
    ndim = len(call.shape)
    axis = int(layer.axis) % ndim
    # Only Keras 2 casts these two to the compute dtype.
    scale, bias = (
        call.weight(name, getattr(layer, name), cast=call.legacy) for name in ("gamma", "beta")
    )
    shortcuts = call.backend in _CANCELS
    step = Step(
        ops.GroupNormalization(
            scale=scale,
            bias=bias,
            groups=layer.groups,
            epsilon=float(layer.epsilon),
            may_use_lossy_algorithm=shortcuts,
        )
    )
    names = _names(ndim, (axis,))
    if axis == 1:
        return Description((step,), names, names)
    perm = (0, axis, *(other for other in range(1, ndim) if other != axis))
    back = tuple(np.argsort(perm).tolist())
    return Description(
        (Step(ops.Transpose(perm=perm)), step, Step(ops.Transpose(perm=back))), names, names
    )


@describes("RMSNormalization")
def _rms_normalization(layer: Any, call: KerasCall) -> Description:
    """The scale broadcasts as it is: behind the last axes it belongs to them, whichever were
    normalised (keras/src/ops/nn.py)."""
    _of_floats(call)
    ndim = len(call.shape)
    axes = _axes_of(layer, ndim)
    scale, names = call.weight("scale", layer.scale), _names(ndim, axes)
    if axes == tuple(range(ndim - len(axes), ndim)):
        return Description(
            (Step(ops.RMSNormalization(scale=scale, epsilon=float(layer.epsilon), axes=axes)),),
            names,
            names,
        )
    rms = Step(ops.RMSNormalization(scale=None, epsilon=float(layer.epsilon), axes=axes))
    return Description((rms, Step(ops.MulConstant(value=scale))), names, names)


@describes("UnitNormalization")
def _unit_normalization(layer: Any, call: KerasCall) -> Description:
    """By the root of the sum of squares: Keras 3 keeps the root from 0, Keras 2 the sum."""
    ndim = len(call.shape)
    axes = _axes_of(layer, ndim)
    return Description(
        (Step(ops.LpNormalization(axes=axes, epsilon=1e-12, squared=call.legacy)),),
        _names(ndim, axes),
        _names(ndim, axes),
    )


@describes("SpectralNormalization")
def _spectral_normalization(layer: Any, call: KerasCall) -> Description:
    """At inference the layer inside, whose kernel training has divided by its largest singular
    value."""
    _of_floats(call)
    if call.training:
        raise Undescribed(
            "in training mode it divides the kernel by its largest singular value and stores "
            "the result"
        )
    inner = layer.layer
    arguments = {next(iter(inspect.signature(inner.call).parameters), "inputs"): Ref(-1)}
    dtype = str(getattr(inner, "compute_dtype", None) or call.dtype)
    return describe(
        inner, replace(call, layer=inner, dtype=dtype, arguments=arguments, carried=(), masks=())
    )
