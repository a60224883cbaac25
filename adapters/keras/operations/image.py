"""The operations of keras.ops.image: resizing, padding and cropping, colours, and filters of fixed
form."""

from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref
from probe.errors import Undescribed
from probe.numerics.precision import precision_of

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.rearranged import padded
from ..describe.variables import cast
from ..describe.windows import Kernel, SlidingWindow, convolved
from .arithmetic import as_layer, data_format, operation


@describes("ops.Resize")
def _resize(op: Any, call: KerasCall) -> Description:
    if call.inputs[0].dtype.kind != "f":
        raise Undescribed("integer inputs are not supported")
    height, width = (int(size) for size in op.size)
    options = (
        "interpolation",
        "antialias",
        "crop_to_aspect_ratio",
        "pad_to_aspect_ratio",
        "fill_value",
    )
    return as_layer(
        "Resizing",
        op,
        call,
        height=height,
        width=width,
        **{name: getattr(op, name) for name in options},
    )


def _channels(op: Any, call: KerasCall) -> int:
    """The axis of the channels."""
    return len(call.shape) - (1 if data_format(op, call) == "channels_last" else 3)


def _of_floats(call: KerasCall) -> None:
    if call.inputs[0].dtype.kind != "f":
        raise Undescribed("integer inputs are not supported, since it rounds the result")


@operation("RGBToGrayscale")
def _grayscale(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    _of_floats(call)
    axis = _channels(op, call)
    if call.shape[axis] == 1:
        return build.add(ops.Identity(), Ref(-1))
    sizes = [3 if k == axis else 1 for k in range(len(call.shape))]
    parts = cast(np.array([0.2989, 0.5870, 0.1140]).reshape(sizes), call.dtype)
    return build.reduce(ops.ReduceSum, build.add(ops.Mul(), Ref(-1), parts), (axis,), True)


def _split(
    op: Any, call: KerasCall, build: OpBuilder, floor: bool = False
) -> tuple[list[Ref], int]:
    """Three colours; with ``floor``, what is next to nothing beside 1 is nothing."""
    _of_floats(call)
    axis = _channels(op, call)
    x = Ref(-1)
    if floor:
        away = build.add(ops.Less(), build.add(ops.Abs(), x), 2.0 * precision_of(call.dtype).unit)
        x = build.add(ops.Where(), away, 0.0, x)
    return [build.part(x, axis, k, k + 1) for k in range(3)], axis


@operation("RGBToHSV")
def _rgb_to_hsv(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The hue is counted from the largest of the three
    (tensorflow/core/kernels/image/colorspace_op.h).

    The other backends take what is below their type's epsilon for 0, and divide by six times the
    span at once.
    """
    floors = call.backend != "tensorflow"
    (red, green, blue), axis = _split(op, call, build, floors)
    high, low = build.add(ops.Max(), red, green, blue), build.add(ops.Min(), red, green, blue)
    span = build.add(ops.Sub(), high, low)
    zero, one = build.ref(0.0), build.ref(1.0)
    flat = build.add(ops.Equal(), span, zero)
    by = build.add(ops.Mul(), build.add(ops.Where(), flat, one, span), 6.0)

    def turn(first: Ref, second: Ref, start: float) -> Ref:
        return build.add(
            ops.Add(), build.add(ops.Div(), build.add(ops.Sub(), first, second), by), start / 6
        )

    # Of equal ones TensorFlow looks at red first and then at green, and so do the others.
    among = build.add(
        ops.Where(),
        build.add(ops.Equal(), green, high),
        turn(blue, red, 2.0),
        turn(red, green, 4.0),
    )
    hue = build.add(ops.Where(), build.add(ops.Equal(), red, high), turn(green, blue, 0.0), among)
    hue = build.add(ops.Where(), flat, zero, hue)
    hue = build.add(
        ops.Where(), build.add(ops.Less(), hue, zero), build.add(ops.Add(), hue, one), hue
    )
    positive = build.add(ops.Greater(), high, zero)
    whole = build.add(ops.Where(), positive, high, one)
    share = build.add(ops.Where(), positive, build.add(ops.Div(), span, whole), zero)
    return build.concat([hue, share, high], axis)


@operation("HSVToRGB")
def _hsv_to_rgb(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """v * ((1 - s) + s * ramp(h)), a ramp for each colour
    (tensorflow/core/kernels/image/colorspace_op.h).

    The other backends turn a hue outside 0 .. 1 back first.
    """
    (hue, share, value), axis = _split(op, call, build)
    if call.backend != "tensorflow":
        hue = build.add(ops.Mod(), hue, 1.0)
    turned = build.add(ops.Mul(), hue, 6.0)
    rest = build.add(ops.Sub(), 1.0, share)

    def colour(start: float, middle: float, sign: float) -> Ref:
        away = build.add(ops.Abs(), build.add(ops.Sub(), turned, middle))
        ramp = build.add(ops.Add(), build.ref(start), build.add(ops.Mul(), away, sign))
        kept = build.add(ops.Clip(low=0.0, high=1.0), ramp)
        return build.add(
            ops.Mul(), build.add(ops.Add(), rest, build.add(ops.Mul(), share, kept)), value
        )

    return build.concat(
        [colour(-1.0, 3.0, 1.0), colour(2.0, 2.0, -1.0), colour(2.0, 4.0, -1.0)], axis
    )


def _edges(op: Any, call: KerasCall, word: str) -> tuple[int, list[tuple[int, int]]]:
    """The first spatial axis, and what is put on or cut off before and after each of the two."""
    if data_format(op, call) == "channels_last":
        first = _channels(op, call) - 2
    else:
        first = len(call.shape) - 2
    found = []
    for axis, (before, after, target) in enumerate(
        (("top", "bottom", "height"), ("left", "right", "width"))
    ):
        start, stop, size = (
            getattr(op, f"{before}_{word}"),
            getattr(op, f"{after}_{word}"),
            getattr(op, f"target_{target}"),
        )
        if size is None:
            spare = None
        else:
            spare = abs(int(size) - call.shape[first + axis])
        start = spare - stop if start is None else int(start)
        found.append((start, spare - start if spare is not None else int(stop)))
    return first, found


@operation("PadImages")
def _pad_images(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    first, edges = _edges(op, call, "padding")
    pads = [(0, 0)] * first + edges + [(0, 0)] * (len(call.shape) - first - 2)
    return padded(build, Ref(-1), pads)


@operation("CropImages")
def _crop_images(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    first, edges = _edges(op, call, "cropping")
    slices = [slice(None)] * len(call.shape)
    for axis, (before, after) in enumerate(edges, first):
        slices[axis] = slice(before, call.shape[axis] - after)
    return build.sliced(Ref(-1), slices)


def _planes(op: Any, call: KerasCall, build: OpBuilder) -> tuple[Ref, tuple[int, ...]]:
    """Each channel of each image as an image of its own, and the shape (…, channels, height, width)
    to go back to."""
    rank = len(call.shape)
    x = Ref(-1)
    if data_format(op, call) == "channels_last":
        x = build.transpose(x, (*range(rank - 3), rank - 1, rank - 3, rank - 2))
    shape = build.shape(x)
    return build.reshape(x, (prod(shape[:-2]), 1, *shape[-2:])), shape


@operation("GaussianBlur")
def _gaussian_blur(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """A convolution with a kernel that is computed here too, so that its rounding counts."""
    if call.backend not in ("tensorflow", "torch"):
        raise Undescribed(f"Gaussian blur of the {call.backend} backend is not modelled")
    _of_floats(call)
    sizes = tuple(int(size) for size in op.kernel_size)
    curves = []
    for size, sigma in zip(sizes, op.sigma, strict=True):
        steps = build.add(ops.Div(), np.arange(size) - (size - 1) / 2, float(sigma))
        curve = build.add(ops.Exp(), build.add(ops.Mul(), build.add(ops.Square(), steps), -0.5))
        curves.append(build.add(ops.Div(), curve, build.reduce(ops.ReduceSum, curve, None, True)))
    # Both backends read the outer product of the second with the first as rows of the first
    # (backend/tensorflow/image.py, gaussian_blur).
    kernel = build.reshape(
        build.add(ops.Mul(), build.reshape(curves[1], (-1, 1)), build.reshape(curves[0], (1, -1))),
        (1, 1, *sizes),
    )
    x, shape = _planes(op, call, build)
    # On PyTorch Keras pads by half the height on every side, so that other images come out of
    # windows that are not odd squares.
    half = (sizes[0] // 2, sizes[0] // 2)
    padding = (half, half) if call.backend == "torch" else "same"
    window = SlidingWindow.padded(padding, shape[-2:], sizes)
    blurred = convolved(build, x, window, Kernel(None, (kernel,)), 1)
    return _turned_back(
        op, call, build, build.reshape(blurred, (*shape[:-2], *window.counts(shape[-2:])))
    )


def _turned_back(op: Any, call: KerasCall, build: OpBuilder, x: Ref) -> Ref:
    rank = len(call.shape)
    if data_format(op, call) == "channels_first":
        return x
    return build.transpose(
        x, (*range(rank - 3), rank - 2, rank - 1, rank - 3, *range(rank, len(build.shape(x))))
    )


@operation("SobelEdges")
def _sobel_edges(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Vertical and horizontal differences along a new last axis; TensorFlow mirrors the image
    beyond its border, PyTorch puts zeros."""
    if call.backend not in ("tensorflow", "torch"):
        raise Undescribed(f"boundary handling of the {call.backend} backend is not modelled")
    x, shape = _planes(op, call, build)
    mode = "reflect" if call.backend == "tensorflow" else "constant"
    bordered = padded(build, x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode)
    down = np.array([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]])
    kernel = build.ref(np.stack([down, down.T])[:, None])
    window = SlidingWindow.padded("valid", (), (3, 3))
    edges = convolved(build, bordered, window, Kernel(None, (kernel,)), 2)
    last = build.transpose(edges, (0, 2, 3, 1))
    return _turned_back(op, call, build, build.reshape(last, (*shape, 2)))
