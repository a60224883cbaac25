"""Keras' poolings: windowed, global and adaptive."""

from dataclasses import replace
from typing import Any

from probe import ops
from probe.description import Description, Ref, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes
from ..describe.windows import SlidingWindow
from .conv import channels_first, spatial_sizes, surrounded

_RANKS = (1, 2, 3)


def _described(layer: Any, call: KerasCall, *operations: ops.Op) -> Description:
    rank = len(call.shape) - 2
    axes = named_axes(len(call.shape), rank, channels_first(layer))
    return Description(surrounded(layer, rank, [Step(op) for op in operations]), axes, axes)


def _window(layer: Any, call: KerasCall) -> SlidingWindow:
    sizes = spatial_sizes(layer, call, len(call.shape) - 2)
    return SlidingWindow.padded(layer.padding, sizes, layer.pool_size, layer.strides)


@describes(*(f"MaxPooling{rank}D" for rank in _RANKS))
def _max_pooling(layer: Any, call: KerasCall) -> Description:
    return _described(layer, call, _window(layer, call).max_pool())


@describes(*(f"AveragePooling{rank}D" for rank in _RANKS))
def _average_pooling(layer: Any, call: KerasCall) -> Description:
    window = _window(layer, call)
    pads = window.pads
    if call.backend == "torch" and any(before != after for before, after in pads):
        # keras/src/backend/torch/nn.py, _apply_same_padding: what PyTorch cannot pad itself is
        # padded with copies that count.
        pool = replace(window, pads=((0, 0),) * len(pads)).average_pool()
        return _described(layer, call, ops.Pad(pads=((0, 0), (0, 0), *pads), mode="edge"), pool)
    return _described(layer, call, window.average_pool())


def _global(
    layer: Any, call: KerasCall, op: type[ops.GlobalAveragePool] | type[ops.GlobalMaxPool]
) -> Description:
    if op is ops.GlobalAveragePool and call.legacy and call.inputs[0].dtype.kind != "f":
        raise Undescribed("the mean of integers is an integer in Keras 2, which is not supported")
    rank = len(call.shape) - 2
    first = channels_first(layer)
    axes = named_axes(len(call.shape), rank, first)
    step = Step(
        op(axes=tuple(range(2, rank + 2) if first else range(1, rank + 1)), keepdims=layer.keepdims)
    )
    return Description((step,), axes, axes if layer.keepdims else ("batch", "channels"))


@describes("GlobalAveragePooling1D", arguments=("mask",))
def _global_average_1d(layer: Any, call: KerasCall) -> Description:
    mask = call.arguments.get("mask")
    if mask is None:
        return _global(layer, call, ops.GlobalAveragePool)
    first = channels_first(layer)
    axes = named_axes(3, 1, first)
    step = Step(
        ops.MaskedMean(axis=2 if first else 1, keepdims=bool(layer.keepdims)), (Ref(-1), mask)
    )
    return Description((step,), axes, axes if layer.keepdims else ("batch", "channels"))


@describes("GlobalAveragePooling2D", "GlobalAveragePooling3D")
def _global_average(layer: Any, call: KerasCall) -> Description:
    return _global(layer, call, ops.GlobalAveragePool)


@describes(*(f"GlobalMaxPooling{rank}D" for rank in _RANKS))
def _global_max(layer: Any, call: KerasCall) -> Description:
    return _global(layer, call, ops.GlobalMaxPool)


def _output_size(layer: Any, call: KerasCall) -> tuple[int, ...]:
    size = layer.output_size
    if isinstance(size, int):
        return (size,) * (len(call.shape) - 2)
    return tuple(size)


@describes(*(f"AdaptiveAveragePooling{rank}D" for rank in _RANKS))
def _adaptive_average(layer: Any, call: KerasCall) -> Description:
    return _described(layer, call, ops.AdaptiveAveragePool(output_size=_output_size(layer, call)))


@describes(*(f"AdaptiveMaxPooling{rank}D" for rank in _RANKS))
def _adaptive_max(layer: Any, call: KerasCall) -> Description:
    return _described(layer, call, ops.AdaptiveMaxPool(output_size=_output_size(layer, call)))
