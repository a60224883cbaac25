"""TensorFlow's functions that look at windows and images, and those that order elements, as Keras 2
records them."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.op_builder import OpBuilder
from ..layers.conv import padding_pairs
from ..layers.resize import resized
from .arithmetic import Argument, function


def _last(argument: Argument) -> None:
    if str(argument("data_format", default="NHWC")).startswith("NC"):
        raise Undescribed("the data format channels_first is not supported")


def _spatial(build: OpBuilder, value: Any, rank: int) -> tuple[int, ...]:
    """One number, one for each spatial axis, or one for every axis of the input."""
    given = build.ints(1 if value is None else value)
    return tuple(
        given * rank if len(given) == 1 else given if len(given) == rank else given[1 : rank + 1]
    )


def _pads(argument: Argument, *windows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    padding = argument("padding")
    if isinstance(padding, str):
        return padding_pairs(padding, *windows)
    return tuple((int(before), int(after)) for before, after in padding[1:-1])


def _first(build: OpBuilder, x: Ref) -> Ref:
    rank = len(build.shape(x))
    return build.transpose(x, (0, rank - 1, *range(1, rank - 1)))


def _back(build: OpBuilder, x: Ref) -> Ref:
    return build.transpose(x, (0, *range(2, len(build.shape(x))), 1))


def _counts(
    sizes: Sequence[int],
    pads: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    windows = zip(sizes, pads, kernel, strides, dilations, strict=True)
    return [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, s, d in windows]


def _pooled(largest: bool) -> Callable[[OpBuilder, Argument], Ref]:
    def body(build: OpBuilder, argument: Argument) -> Ref:
        _last(argument)
        x = _first(build, build.ref(argument("input", "value")))
        batch, channels, *sizes = build.shape(x)
        kernel, strides = (
            _spatial(build, argument(name), len(sizes)) for name in ("ksize", "strides")
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
            build,
            build.add(
                pool, x, shape=(batch, channels, *_counts(sizes, pads, kernel, strides, ones))
            ),
        )

    return body


for _kind in ("max", "avg"):
    function(f"nn.{_kind}_pool", *(f"nn.{_kind}_pool{rank}d" for rank in (1, 2, 3)))(
        _pooled(_kind == "max")
    )


@function("compat.v1.nn.depthwise_conv2d", "nn.depthwise_conv2d")
def _depthwise_conv(build: OpBuilder, argument: Argument) -> Ref:
    _last(argument)
    x, kernel = _first(build, build.ref(argument("input"))), build.shaped(argument("filter"))
    batch, channels, *sizes = build.shape(x)
    *window, _, multiplier = (
        build.shape(kernel) if isinstance(kernel, Ref) else (int(size) for size in kernel.shape)
    )
    strides, dilations = (
        _spatial(build, argument("strides"), 2),
        _spatial(build, argument("dilations", "rate"), 2),
    )
    pads = _pads(argument, sizes, window, strides, dilations)
    form = (channels * multiplier, 1, *window)
    weight = None if isinstance(kernel, Ref) else build.weight(kernel, (2, 3, 0, 1), form)
    computed = (
        ()
        if weight is not None
        else (build.reshape(build.transpose(build.ref(kernel), (2, 3, 0, 1)), form),)
    )
    conv = ops.Conv(
        weight=weight, bias=None, strides=strides, pads=pads, dilations=dilations, groups=channels
    )
    return _back(
        build,
        build.add(
            conv,
            x,
            *computed,
            shape=(batch, form[0], *_counts(sizes, pads, window, strides, dilations)),
        ),
    )


@function("nn.conv1d_transpose", "nn.conv2d_transpose", "nn.conv3d_transpose")
def _conv_transpose(build: OpBuilder, argument: Argument) -> Ref:
    """The gradient of the convolution that makes the input's size of the output's: that is what its
    padding crops."""
    x, kernel = _first(build, build.ref(argument("input"))), build.shaped(argument("filters"))
    if str(argument("data_format", default="N")).startswith("NC") or not isinstance(
        argument("padding"), str
    ):
        raise Undescribed("only a plain channels-last convolution is supported")
    batch, _, *sizes = build.shape(x)
    rank = len(sizes)
    if isinstance(kernel, Ref):
        *window, outer, inner = build.shape(kernel)
    else:
        *window, outer, inner = (int(size) for size in kernel.shape)
    strides, dilations = (
        _spatial(build, argument("strides"), rank),
        _spatial(build, argument("dilations"), rank),
    )
    wanted = build.ints(argument("output_shape"))[1 : rank + 1]
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
    weight = None if isinstance(kernel, Ref) else build.weight(kernel, axes, form)
    computed = () if weight is not None else (build.transpose(build.ref(kernel), axes),)
    conv = ops.ConvTranspose(
        weight=weight, bias=None, strides=strides, crops=crops, dilations=dilations
    )
    return _back(build, build.add(conv, x, *computed, shape=(batch, outer, *wanted)))


@function("image.resize")
def _resize(build: OpBuilder, argument: Argument) -> Ref:
    x = build.ref(argument("images"))
    if (
        argument("preserve_aspect_ratio", default=False)
        or len(build.shape(x)) != 4
        or build.dtype(x).kind != "f"
    ):
        raise Undescribed("only plain resizing of a batch of floats is supported")
    method = argument("method", default="bilinear")
    first = _first(build, x)
    sizes = build.ints(argument("size"))
    op = resized(
        "tensorflow",
        str(getattr(method, "value", method)),
        build.shape(first),
        sizes,
        bool(argument("antialias", default=False)),
    )
    return _back(build, build.add(op, first, shape=(*build.shape(first)[:2], *sizes)))


@function("image.crop_to_bounding_box")
def _crop(build: OpBuilder, argument: Argument) -> Ref:
    x = build.ref(argument("image"))
    slices = [slice(None)] * len(build.shape(x))
    for axis, (start, size) in enumerate(
        (("offset_height", "target_height"), ("offset_width", "target_width"))
    ):
        low = build.ints(argument(start))[0]
        slices[axis - 3] = slice(low, low + build.ints(argument(size))[0])
    return build.sliced(x, slices)


@function("nn.local_response_normalization")
def _local_response(build: OpBuilder, argument: Argument) -> Ref:
    radius = argument("depth_radius", default=5)
    size = 2 * int(radius) + 1
    alpha, beta, bias = (
        float(argument(name, default=default))
        for name, default in (("alpha", 1), ("beta", 0.5), ("bias", 1))
    )
    op = ops.LRN(
        size=size, alpha=alpha * size, beta=beta, bias=bias, before=int(radius), after=int(radius)
    )
    return _back(build, build.add(op, _first(build, build.ref(argument("input")))))


@function("math.cumprod")
def _cumprod(build: OpBuilder, argument: Argument) -> Ref:
    if argument("exclusive") or argument("reverse"):
        raise Undescribed("reverse and exclusive cumulative products are not supported")
    return build.add(
        ops.CumProd(axis=build.axes(argument("x"), argument("axis", default=0))[0]), argument("x")
    )


@function("sort")
def _sort(build: OpBuilder, argument: Argument) -> Ref:
    x = argument("values")
    axis = build.axes(x, argument("axis", default=-1))[0]
    order = ops.TopK(
        k=build.shape(x)[axis],
        axis=axis,
        largest=argument("direction", default="ASCENDING") == "DESCENDING",
    )
    return build.add(ops.Identity(), build.add(order, x))


@function("roll")
def _roll(build: OpBuilder, argument: Argument) -> Ref:
    x = build.ref(argument("input"))
    shifts, axes = (build.ints(argument(name)) for name in ("shift", "axis"))
    numbers = np.roll(np.arange(prod(build.shape(x))).reshape(build.shape(x)), shifts, axes)
    return build.picked(x, numbers)


@function("linalg.diag_part", "linalg.trace")
def _diagonal(build: OpBuilder, argument: Argument) -> Ref:
    if argument("k", default=0) != 0:
        raise Undescribed("diagonals other than the main one are not supported")
    x = argument("input", "x")
    shape = build.shape(x)
    picked = build.picked(
        x, np.diagonal(np.arange(prod(shape)).reshape(shape), 0, len(shape) - 2, len(shape) - 1)
    )
    if argument("input") is not None:
        return picked
    return build.reduce(ops.ReduceSum, picked, -1, False)


@function("math.add_n")
def _add_n(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Add(), *(build.ref(one) for one in argument("inputs")))


@function("compat.v1.math.scalar_mul", "math.scalar_mul")
def _scalar_mul(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Mul(), *build.pair(argument("x"), argument("scalar")))


@function("math.erfc")
def _erfc(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(ops.Sub(), build.ref(1.0), build.add(ops.Erf(), argument("x")))


@function("math.is_finite")
def _is_finite(build: OpBuilder, argument: Argument) -> Ref:
    return build.add(
        ops.Not(),
        build.add(ops.Or(), *(build.add(one, argument("x")) for one in (ops.IsNaN(), ops.IsInf()))),
    )
