"""HGQ2's layers that are sums of tables: for each pair of an input and an output a small network,
whose quantised result is looked up."""

from collections.abc import Sequence
from itertools import product
from math import prod, sqrt
from typing import Any

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..keras.describe.call import KerasCall
from ..keras.describe.describe import describes
from ..keras.describe.windows import padding_pairs
from ..keras.layers import einsum, normalization  # noqa: F401 (they register what is inside the layers here)
from ..keras.layers.activation import activation_steps, along_axes
from .description import at_inference
from .nested_layer import inside
from .quantizers import through


@describes("hgq.QDenseT")
def _dense(layer: Any, call: KerasCall) -> Description:
    at_inference(call)
    return _dense_of(Builder(), layer, call, Ref(-1), call.shape)


@describes("hgq.QConvT1D", "hgq.QConvT2D")
def _conv(layer: Any, call: KerasCall) -> Description:
    """The cells of each window, channels last, are the inputs of a dense layer of tables."""
    at_inference(call)
    if layer.data_format != "channels_last":
        raise Undescribed(
            "its data format is channels_first, but HGQ2 treats the last axis as channels"
        )
    build, (batch, *spatial, channels) = Builder(), call.shape
    pads = padding_pairs(
        layer.padding, tuple(spatial), layer.kernel_size, layer.strides, layer.dilation_rate
    )
    if any(map(any, pads)):
        x = build.add(ops.Pad(pads=((0, 0), *pads, (0, 0))), Ref(-1))
    else:
        x = Ref(-1)
    reach = [
        (size - 1) * dilation
        for size, dilation in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    ]
    padded = [size + sum(pad) for size, pad in zip(spatial, pads, strict=True)]
    sizes = [
        (size - far - 1) // stride + 1
        for size, far, stride in zip(padded, reach, layer.strides, strict=True)
    ]
    cells = []
    for tap in product(*map(range, layer.kernel_size)):
        starts = [at * dilation for at, dilation in zip(tap, layer.dilation_rate, strict=True)]
        stops = [
            start + (size - 1) * stride + 1
            for start, size, stride in zip(starts, sizes, layer.strides, strict=True)
        ]
        cells.append(
            build.add(ops.Slice((0, *starts, 0), (None, *stops, None), (1, *layer.strides, 1)), x)
        )
    x = build.add(ops.Concat(axis=len(spatial) + 1), *cells)
    return _dense_of(build, layer, call, x, (batch, *sizes, len(cells) * channels))


def _dense_of(
    build: Builder, layer: Any, call: KerasCall, x: Ref, shape: tuple[int, ...]
) -> Description:
    """Tables of x (…, inputs), one for each input and output."""
    wide = (*shape, layer.n_out)
    x = build.add(ops.Expand(shape=wide), build.add(ops.Reshape(shape=(*shape, 1)), x))
    x = _looked_up(build, layer, call, x, wide)
    if layer.enable_bn:
        x = inside(build, layer.bn_module, call, "bn_module", x, wide)
        x = build.add(ops.Affine(gain=1 / sqrt(layer.n_in), offset=0.0), x)
    x = through(build, x, layer.toq, "its tables go through")
    return _ended(
        build,
        layer,
        call,
        build.add(ops.ReduceSum(axes=(len(shape) - 1,), keepdims=False), x),
        len(shape),
    )


def _looked_up(build: Builder, layer: Any, call: KerasCall, x: Ref, shape: Sequence[int]) -> Ref:
    """What the network of each table gives, on elements that went through quantizers of their
    own."""
    if layer.enable_iq:
        x = through(build, x, layer.iq, "its input goes through")
    x, wide = build.add(ops.Reshape(shape=(*shape, 1)), x), (*shape, 1)
    for number, dense in enumerate(layer.module.layers):
        x = inside(build, dense, call, f"module/{number}", x, wide)
        wide = (*shape, *dense.kernel.shape[len(dense.kernel.shape) - 1 :])
    return x


def _ended(build: Builder, layer: Any, call: KerasCall, x: Ref, rank: int) -> Description:
    for step in activation_steps(layer.activation, call, rank):
        x = build.add(step.op, x)
    if layer.enable_oq:
        x = through(build, x, layer.oq, "its output goes through")
    return Description(build.ended(x))


@describes("hgq.QEinsumDenseT")
def _einsum(layer: Any, call: KerasCall) -> Description:
    """Tables for each product that the einsum would add up."""
    at_inference(call)
    build, (apart, shape) = Builder(), layer._broadcast_shapes(call.shape)
    x = build.add(
        ops.Expand(shape=tuple(shape)), build.add(ops.Reshape(shape=tuple(apart)), Ref(-1))
    )
    x = _looked_up(build, layer, call, x, shape)
    if layer.enable_bn:
        (x,) = build.include(_normalized(layer, call, shape), x)
        x = build.add(ops.Affine(gain=1 / sqrt(layer.n_in), offset=0.0), x)
    x = through(build, x, layer.toq, "its tables go through")
    if layer._contract_axes:
        x = build.add(ops.ReduceSum(axes=tuple(layer._contract_axes), keepdims=False), x)
    x = build.add(ops.Transpose(perm=tuple(layer._output_transpose)), x)
    return _ended(build, layer, call, x, len(layer._output_transpose))


def _normalized(layer: Any, call: KerasCall, shape: Sequence[int]) -> Any:
    count = prod(shape[axis] for axis in layer._bn_axes)
    names = {
        "scale": "bn_gamma",
        "bias": "bn_beta",
        "mean": "moving_mean",
        "variance": "moving_variance",
    }
    weights = {
        part: call.weight(name, getattr(layer, name, None), shape=(count,), cast=False)
        for part, name in names.items()
    }
    return along_axes(
        tuple(shape),
        layer._bn_axes,
        lambda axis: ops.BatchNormalization(epsilon=float(layer.bn_epsilon), axis=axis, **weights),
    )
