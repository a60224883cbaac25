"""Keras' layers that move, repeat, pad or crop, and those that do nothing at inference."""

from math import prod
from typing import Any

from probe import ops
from probe.description import Description, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes

_RANKS = (1, 2, 3)


@describes("Identity", "ActivityRegularization")
def _identity(layer: Any, call: KerasCall) -> Description:
    return Description((Step(ops.Identity()),))


@describes(
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    *(f"SpatialDropout{rank}D" for rank in _RANKS),
)
def _dropout(layer: Any, call: KerasCall) -> Description:
    if call.training and (layer.stddev if hasattr(layer, "stddev") else layer.rate):
        raise Undescribed("in training mode it draws random numbers")
    return _identity(layer, call)


@describes("StochasticDepth")
def _stochastic_depth(layer: Any, call: KerasCall) -> Description:
    """Of keras.applications: a path of the network that training drops at random."""
    if call.training:
        raise Undescribed("in training mode it draws random numbers")
    return _identity(layer, call)


@describes("Masking")
def _masking(layer: Any, call: KerasCall) -> Description:
    """The mask itself goes on with the output, unseen; what it does is in the layers that look at
    it."""
    return Description((Step(ops.MaskSteps(value=float(call.early(layer.mask_value)))),))


@describes("LayerScale")
def _layer_scale(layer: Any, call: KerasCall) -> Description:
    """Of keras.applications: a factor for each channel."""
    return Description((Step(ops.MulConstant(value=call.weight("gamma", layer.gamma))),))


@describes("Flatten")
def _flatten(layer: Any, call: KerasCall) -> Description:
    shape = call.shape
    flat = Step(ops.Reshape(shape=(shape[0], prod(shape[1:]))))
    if layer.data_format != "channels_first" or len(shape) < 3:
        return Description((flat,))
    return Description((Step(ops.Transpose(perm=(0, *range(2, len(shape)), 1))), flat))


@describes("Reshape")
def _reshape(layer: Any, call: KerasCall) -> Description:
    size, known = prod(call.shape[1:]), prod(n for n in layer.target_shape if n != -1)
    target = tuple(size // known if n == -1 else n for n in layer.target_shape)
    return Description((Step(ops.Reshape(shape=(call.shape[0], *target))),))


@describes("Permute")
def _permute(layer: Any, call: KerasCall) -> Description:
    return Description((Step(ops.Transpose(perm=(0, *layer.dims))),))


def _repeated(shape: tuple[int, ...], factors: tuple[int, ...]) -> Step:
    return Step(
        ops.ResizeNearest(
            scales=factors,
            sizes=tuple(n * factor for n, factor in zip(shape, factors, strict=True)),
        )
    )


@describes("RepeatVector")
def _repeat_vector(layer: Any, call: KerasCall) -> Description:
    batch, features = call.shape
    steps = (
        Step(ops.Reshape(shape=(batch, 1, features))),
        _repeated((batch, 1, features), (1, layer.n, 1)),
    )
    return Description(steps, ("batch", "features"), ("batch", "steps", "features"))


def _on_spatial(
    layer: Any, call: KerasCall, each: Any, fill: Any
) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """One value per axis, ``each`` on the spatial ones and ``fill`` on the others, and the names of
    the axes."""
    rank = len(call.shape) - 2
    first = getattr(layer, "data_format", None) == "channels_first"
    values = (fill, fill, *each) if first else (fill, *each, fill)
    return values, named_axes(len(call.shape), rank, first)


def _pairs(amounts: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) per spatial axis; one-dimensional layers keep theirs flat."""
    if rank == 1:
        return (tuple(amounts),)
    return tuple(tuple(pair) for pair in amounts)


@describes(*(f"ZeroPadding{rank}D" for rank in _RANKS))
def _zero_padding(layer: Any, call: KerasCall) -> Description:
    pads, axes = _on_spatial(layer, call, _pairs(layer.padding, len(call.shape) - 2), (0, 0))
    return Description((Step(ops.Pad(pads=pads)),), axes, axes)


@describes(*(f"Cropping{rank}D" for rank in _RANKS))
def _cropping(layer: Any, call: KerasCall) -> Description:
    crops, axes = _on_spatial(layer, call, _pairs(layer.cropping, len(call.shape) - 2), (0, 0))
    starts = tuple(before for before, _ in crops)
    stops = tuple(
        size - after if after else None for size, (_, after) in zip(call.shape, crops, strict=True)
    )
    return Description((Step(ops.Slice(starts=starts, stops=stops)),), axes, axes)


@describes("UpSampling1D", "UpSampling3D")
def _up_sampling(layer: Any, call: KerasCall) -> Description:
    size = (layer.size,) if isinstance(layer.size, int) else tuple(layer.size)
    factors, axes = _on_spatial(layer, call, size, 1)
    return Description((_repeated(call.shape, factors),), axes, axes)
