"""Keras' layers that resize images, as each backend does it: UpSampling2D beyond repeating, and
Resizing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes
from .conv import channels_first, surrounded

__all__ = ["resized"]

_TENSORFLOW: dict[str, dict[str, Any]] = {
    "area": {"mode": "area"},
    "bicubic": {"mode": "cubic", "a": -0.5, "outside": "excluded"},
    "bilinear": {"mode": "linear"},
    "gaussian": {"mode": "gaussian", "outside": "excluded"},
    "lanczos3": {"mode": "lanczos3", "outside": "excluded"},
    "lanczos5": {"mode": "lanczos5", "outside": "excluded"},
    "mitchellcubic": {"mode": "mitchell", "outside": "excluded"},
}
_TABLE = 1024
"""TensorFlow rounds the fraction of a bicubic coordinate to this many steps
(core/kernels/image/resize_bicubic_op.cc, kTableSize)."""


def resized(
    backend: str,
    interpolation: str,
    shape: Sequence[int],
    sizes: Sequence[int],
    antialias: bool = False,
) -> ops.Op:
    """The op that resizes (batch, channels, height, width) of this shape."""
    lead, have = tuple(shape[:2]), tuple(shape[2:])
    scales = tuple(size / n for size, n in zip(sizes, have, strict=True))
    wanted = (int(sizes[0]), int(sizes[1]))
    if interpolation == "nearest" and backend in ("tensorflow", "torch"):
        return ops.ResizeNearest(
            (1.0, 1.0, *scales), (*lead, *wanted), "half_pixel", "round_prefer_ceil"
        )
    if backend == "tensorflow" and interpolation in _TENSORFLOW:
        how = dict(_TENSORFLOW[interpolation])
        if interpolation == "area":
            antialias = False
        if interpolation == "bicubic" and not antialias:
            how["table"] = _TABLE
        return ops.Resize(sizes=wanted, scales=scales, antialias=antialias, single=True, **how)
    if backend == "torch" and interpolation in ("bilinear", "bicubic"):
        if interpolation == "bilinear":
            return ops.Resize(sizes=wanted, scales=scales, antialias=antialias)
        return ops.Resize(
            sizes=wanted,
            scales=scales,
            mode="cubic",
            a=-0.5 if antialias else -0.75,
            antialias=antialias,
        )
    raise Undescribed(f"{interpolation!r} resizing by the {backend} backend is not modelled")


@describes("UpSampling2D")
def _up_sampling(layer: Any, call: KerasCall) -> Description:
    """Repeats each element, or interpolates between them."""
    first = channels_first(layer)
    axes = named_axes(len(call.shape), 2, first)
    batch, *inner = call.shape
    channels, have = (inner[0], inner[1:]) if first else (inner[2], inner[:2])
    if isinstance(layer.size, int):
        height, width = (layer.size, layer.size)
    else:
        height, width = tuple(layer.size)
    if layer.interpolation == "nearest":
        factors = (1, 1, height, width) if first else (1, height, width, 1)
        sizes = tuple(n * factor for n, factor in zip(call.shape, factors, strict=True))
        return Description((Step(ops.ResizeNearest(scales=factors, sizes=sizes)),), axes, axes)
    if call.inputs[0].dtype.kind != "f" and not call.legacy:
        raise Undescribed("integer inputs are not supported, since it rounds the result")
    op = resized(
        call.backend,
        layer.interpolation,
        (batch, channels, *have),
        (have[0] * height, have[1] * width),
    )
    return Description(surrounded(layer, 2, [Step(op)]), axes, axes)


@describes("Resizing")
def _resizing(layer: Any, call: KerasCall) -> Description:
    """To a given height and width, after cropping or padding to their ratio where that is asked
    for."""
    if call.inputs[0].dtype.kind != "f":
        raise Undescribed("integer inputs are not supported, since it rounds and clips the result")
    shape = call.shape
    first = not call.legacy and channels_first(layer)
    ndim = len(shape)
    inner = shape[-3:]
    channels, have = (inner[0], inner[1:]) if first else (inner[2], inner[:2])
    batch = shape[0] if ndim == 4 else 1
    sizes = (layer.height, layer.width)
    steps = [] if ndim == 4 else [Step(ops.Reshape(shape=(1, *shape)))]
    steps += [] if first else [Step(ops.Transpose(perm=(0, 3, 1, 2)))]
    if layer.crop_to_aspect_ratio:
        crop = _cropped(have, sizes, least=0 if call.legacy else 1)
        steps.append(
            Step(
                ops.Slice(
                    starts=(0, 0, *(start for start, _ in crop)),
                    stops=(None, None, *(stop for _, stop in crop)),
                )
            )
        )
        have = tuple(stop - start for start, stop in crop)
    elif getattr(layer, "pad_to_aspect_ratio", False):
        pads = _padded(have, sizes)
        steps.append(Step(ops.Pad(pads=((0, 0), (0, 0), *pads), value=float(layer.fill_value))))
        have = tuple(n + before + after for n, (before, after) in zip(have, pads, strict=True))
    steps.append(
        Step(
            resized(
                call.backend,
                layer.interpolation,
                (batch, channels, *have),
                sizes,
                getattr(layer, "antialias", False),
            )
        )
    )
    if not first:
        steps.append(Step(ops.Transpose(perm=(0, 2, 3, 1))))
    if ndim != 4:
        steps.append(Step(ops.Reshape(shape=(channels, *sizes) if first else (*sizes, channels))))
    axes = named_axes(4, 2, first)[4 - ndim :]
    return Description(tuple(steps), axes, axes)


def _scaled(n: int, to: int, other: int) -> int:
    """n * to / other, in float32 and cut to an integer."""
    return int(np.float32(n * to) / np.float32(other))


def _cropped(have: Sequence[int], sizes: Sequence[int], least: int) -> tuple[tuple[int, int], ...]:
    """(start, stop) of the middle part that has the ratio of ``sizes``
    (keras/src/backend/tensorflow/image.py, resize)."""
    found = []
    for axis in (0, 1):
        length = max(min(have[axis], _scaled(have[1 - axis], sizes[axis], sizes[1 - axis])), least)
        start = int(np.float32(have[axis] - length) / np.float32(2))
        found.append((start, start + length))
    return tuple(found)


def _padded(have: Sequence[int], sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Half of what is missing to the ratio of ``sizes``, on both sides: where that is odd, one less
    than all of it."""
    found = []
    for axis in (0, 1):
        missing = (
            max(have[axis], _scaled(have[1 - axis], sizes[axis], sizes[1 - axis])) - have[axis]
        )
        half = int(np.float32(missing) / np.float32(2))
        found.append((half, half))
    return tuple(found)
