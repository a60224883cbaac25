"""TensorFlow's functions that look at windows and images, and those that order elements, as Keras 2
records them."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.op_builder import Chain
from ..layers.conv import padding_pairs
from ..layers.resize import resized
from .arithmetic import function

Argument = Callable[..., Any]


def _last(argument: Argument) -> None:
    if str(argument("data_format", default="NHWC")).startswith("NC"):
        raise Undescribed("its channels come first")


def _spatial(chain: Chain, value: Any, rank: int) -> tuple[int, ...]:
    """One number, one for each spatial axis, or one for every axis of the input."""
    given = chain.ints(1 if value is None else value)
    return tuple(
        given * rank if len(given) == 1 else given if len(given) == rank else given[1 : rank + 1]
    )


def _pads(argument: Argument, *windows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    padding = argument("padding")
    if isinstance(padding, str):
        return padding_pairs(padding, *windows)
    return tuple((int(before), int(after)) for before, after in padding[1:-1])


def _first(chain: Chain, x: Ref) -> Ref:
    rank = len(chain.shape(x))
    return chain.transpose(x, (0, rank - 1, *range(1, rank - 1)))


def _back(chain: Chain, x: Ref) -> Ref:
    return chain.transpose(x, (0, *range(2, len(chain.shape(x))), 1))


def _counts(
    sizes: Sequence[int],
    pads: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    windows = zip(sizes, pads, kernel, strides, dilations, strict=True)
    return [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, s, d in windows]


def _pooled(largest: bool) -> Callable[[Chain, Argument], Ref]:
    def body(chain: Chain, argument: Argument) -> Ref:
        _last(argument)
        x = _first(chain, chain.ref(argument("input", "value")))
        batch, channels, *sizes = chain.shape(x)
        kernel, strides = (
            _spatial(chain, argument(name), len(sizes)) for name in ("ksize", "strides")
        )
        ones = (1,) * len(sizes)
        pads = _pads(argument, sizes, kernel, strides, ones)
        window: dict[str, Any] = {"kernel": kernel, "strides": strides, "pads": pads}
        pool = (
            ops.MaxPool(dilations=ones, **window)
            if largest
            else ops.AveragePool(count_include_pad=False, **window)
        )
        return _back(
            chain,
            chain.add(
                pool, x, shape=(batch, channels, *_counts(sizes, pads, kernel, strides, ones))
            ),
        )

    return body


for _kind in ("max", "avg"):
    function(f"nn.{_kind}_pool", *(f"nn.{_kind}_pool{rank}d" for rank in (1, 2, 3)))(
        _pooled(_kind == "max")
    )


@function("compat.v1.nn.depthwise_conv2d", "nn.depthwise_conv2d")
def _depthwise_conv(chain, argument):
    _last(argument)
    x, kernel = _first(chain, chain.ref(argument("input"))), chain.shaped(argument("filter"))
    batch, channels, *sizes = chain.shape(x)
    *window, _, multiplier = (
        chain.shape(kernel) if isinstance(kernel, Ref) else (int(size) for size in kernel.shape)
    )
    strides, dilations = (
        _spatial(chain, argument("strides"), 2),
        _spatial(chain, argument("dilations", "rate"), 2),
    )
    pads = _pads(argument, sizes, window, strides, dilations)
    form = (channels * multiplier, 1, *window)
    weight = None if isinstance(kernel, Ref) else chain.weight(kernel, (2, 3, 0, 1), form)
    computed = (
        ()
        if weight is not None
        else (chain.reshape(chain.transpose(chain.ref(kernel), (2, 3, 0, 1)), form),)
    )
    conv = ops.Conv(
        weight=weight, bias=None, strides=strides, pads=pads, dilations=dilations, groups=channels
    )
    return _back(
        chain,
        chain.add(
            conv,
            x,
            *computed,
            shape=(batch, form[0], *_counts(sizes, pads, window, strides, dilations)),
        ),
    )


@function("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
def _conv_transpose(chain, argument):
    """The gradient of the convolution that makes the input's size of the output's: that is what its
    padding crops."""
    x, kernel = _first(chain, chain.ref(argument("input"))), chain.shaped(argument("filters"))
    if str(argument("data_format", default="N")).startswith("NC") or not isinstance(
        argument("padding"), str
    ):
        raise Undescribed("it is no plain channels-last convolution")
    batch, _, *sizes = chain.shape(x)
    rank = len(sizes)
    *window, outer, inner = (
        chain.shape(kernel) if isinstance(kernel, Ref) else (int(size) for size in kernel.shape)
    )
    strides, dilations = (
        _spatial(chain, argument("strides"), rank),
        _spatial(chain, argument("dilations"), rank),
    )
    wanted = chain.ints(argument("output_shape"))[1 : rank + 1]
    whole = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(sizes, strides, window, dilations, strict=True)
    ]
    before = [
        max(full - n, 0) // 2 if argument("padding") == "SAME" else 0
        for full, n in zip(whole, wanted, strict=True)
    ]
    crops = tuple((one, full - n - one) for one, full, n in zip(before, whole, wanted, strict=True))
    axes, form = (rank + 1, rank, *range(rank)), (inner, outer, *window)
    weight = None if isinstance(kernel, Ref) else chain.weight(kernel, axes, form)
    computed = () if weight is not None else (chain.transpose(chain.ref(kernel), axes),)
    conv = ops.ConvTranspose(
        weight=weight, bias=None, strides=strides, crops=crops, dilations=dilations
    )
    return _back(chain, chain.add(conv, x, *computed, shape=(batch, outer, *wanted)))


@function("image.resize")
def _resize(chain, argument):
    x = chain.ref(argument("images"))
    if (
        argument("preserve_aspect_ratio", default=False)
        or len(chain.shape(x)) != 4
        or chain.dtype(x).kind != "f"
    ):
        raise Undescribed("it is no plain resizing of a batch of floats")
    method = argument("method", default="bilinear")
    first = _first(chain, x)
    sizes = chain.ints(argument("size"))
    op = resized(
        "tensorflow",
        getattr(method, "value", method),
        chain.shape(first),
        sizes,
        bool(argument("antialias", default=False)),
    )
    return _back(chain, chain.add(op, first, shape=(*chain.shape(first)[:2], *sizes)))


@function("image.crop_to_bounding_box")
def _crop(chain, argument):
    x = chain.ref(argument("image"))
    slices = [slice(None)] * len(chain.shape(x))
    for axis, (start, size) in enumerate(
        (("offset_height", "target_height"), ("offset_width", "target_width"))
    ):
        low = chain.ints(argument(start))[0]
        slices[axis - 3] = slice(low, low + chain.ints(argument(size))[0])
    return chain.sliced(x, slices)


@function("nn.local_response_normalization")
def _local_response(chain, argument):
    radius = argument("depth_radius", default=5)
    size = 2 * int(radius) + 1
    alpha, beta, bias = (
        float(argument(name, default=default))
        for name, default in (("alpha", 1), ("beta", 0.5), ("bias", 1))
    )
    op = ops.LRN(
        size=size, alpha=alpha * size, beta=beta, bias=bias, before=int(radius), after=int(radius)
    )
    return _back(chain, chain.add(op, _first(chain, chain.ref(argument("input")))))


@function("math.cumprod")
def _cumprod(chain, argument):
    if argument("exclusive") or argument("reverse"):
        raise Undescribed("it multiplies backwards, or without the element itself")
    return chain.add(
        ops.CumProd(axis=chain.axes(argument("x"), argument("axis", default=0))[0]), argument("x")
    )


@function("sort")
def _sort(chain, argument):
    x = argument("values")
    axis = chain.axes(x, argument("axis", default=-1))[0]
    order = ops.TopK(
        k=chain.shape(x)[axis],
        axis=axis,
        largest=argument("direction", default="ASCENDING") == "DESCENDING",
    )
    return chain.add(ops.Identity(), chain.add(order, x))


@function("roll")
def _roll(chain, argument):
    x = chain.ref(argument("input"))
    shifts, axes = (chain.ints(argument(name)) for name in ("shift", "axis"))
    numbers = np.roll(np.arange(prod(chain.shape(x))).reshape(chain.shape(x)), shifts, axes)
    return chain.picked(x, numbers)


@function("linalg.diag_part", "linalg.trace")
def _diagonal(chain, argument):
    if argument("k", default=0) != 0:
        raise Undescribed("it takes other diagonals than the main one")
    x = argument("input", "x")
    shape = chain.shape(x)
    picked = chain.picked(
        x, np.diagonal(np.arange(prod(shape)).reshape(shape), 0, len(shape) - 2, len(shape) - 1)
    )
    return (
        picked if argument("input") is not None else chain.reduce(ops.ReduceSum, picked, -1, False)
    )


@function("math.add_n")
def _add_n(chain, argument):
    return chain.add(ops.Add(), *(chain.ref(one) for one in argument("inputs")))


@function("compat.v1.math.scalar_mul", "math.scalar_mul")
def _scalar_mul(chain, argument):
    return chain.add(ops.Mul(), *chain.pair(argument("x"), argument("scalar")))


@function("math.erfc")
def _erfc(chain, argument):
    return chain.add(ops.Sub(), chain.ref(1.0), chain.add(ops.Erf(), argument("x")))


@function("math.is_finite")
def _is_finite(chain, argument):
    return chain.add(
        ops.Not(),
        chain.add(ops.Or(), *(chain.add(one, argument("x")) for one in (ops.IsNaN(), ops.IsInf()))),
    )
