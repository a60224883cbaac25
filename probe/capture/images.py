"""An image file as a model's input: which pixels are read, and what is done to them."""

import warnings
from importlib import import_module
from typing import Any

import numpy as np

from probe.capture.user_arrays import Picture
from probe.errors import BadInput, MissingExtra, in_words
from probe.files.regular_file import open_file
from probe.model import InputSpec
from probe.process.extras import install

__all__ = ["pixels"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""What Pillow calls images of so many channels."""
_KEPT = ("L", "RGB", "RGBA", "I;16", "F")
"""Modes whose numbers are taken as they are."""
_LAYOUTS = {"hwc": "channels last", "chw": "channels first"}
_ORIENTATION, _UPRIGHT = 0x0112, 1


def pixels(picture: Picture, spec: InputSpec | None, first: bool) -> tuple[np.ndarray, str]:
    """A batch of the one image as the model takes it, and in words what was read and done.

    ``spec`` is what the model says of its input; ``first`` whether channels are first where neither
    that nor the picture's own layout tells.
    """
    if picture.scale is not None and not 0 < picture.scale < np.inf:
        raise BadInput(f"--scale must be a positive number; you gave {picture.scale:g}")
    size = () if spec is None else spec.shape
    layout = picture.layout or _layout_of(size) or ("chw" if first else "hwc")
    if len(size) == 4:
        channels = size[-1 if layout == "hwc" else 1]
    else:
        channels = None
    image = _opened(picture.path)
    words = f"{picture.path}: {image.width} x {image.height} pixels, {image.mode}"
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    if orientation != _UPRIGHT:
        words += f" (its EXIF orientation {orientation} is not applied)"
    if _deep(picture.path) and image.mode in ("RGB", "RGBA"):
        words += " (of its 16 bits a channel Pillow reads 8)"
    mode = "RGB"
    if image.mode in _KEPT:
        mode = image.mode
    if channels in _MODES and len(image.getbands()) != channels:
        mode = _MODES[channels]
    if mode != image.mode:
        image, words = image.convert(mode), f"{words}, converted to {mode}"
    values = np.asarray(image)
    words += f", {values.min()} to {values.max()}"
    whole = spec is not None and np.dtype(spec.dtype).kind in "iu" and picture.scale is None
    values = values.astype(spec.dtype if spec is not None and whole else np.float32)
    if picture.scale is None:
        words += ", not scaled"
    else:
        values /= np.float32(picture.scale)
        words += f", divided by {picture.scale:g}"
    if values.ndim == 2:
        values = values[..., None]
    if layout == "chw":
        values = values.transpose(2, 0, 1)
    array, words = values[None], f"{words}, {_LAYOUTS[layout]}, one sample: {values[None].shape}"
    _refuse_size(picture.path, array.shape, size, layout)
    return array, words


def _layout_of(size: tuple[int | None, ...]) -> str:
    """The layout of an input whose channels are as many as an image has; "" where that does not
    tell."""
    if len(size) != 4 or (size[1] in _MODES) == (size[3] in _MODES):
        return ""
    if size[1] in _MODES:
        return "chw"
    return "hwc"


def _deep(path: str) -> bool:
    """Whether it is a PNG of 16 bits a channel, as its header says."""
    with open_file(path, "an image") as file:
        head = file.read(25)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 16


def _opened(path: str) -> Any:
    try:
        pillow = import_module("PIL.Image")
    except ModuleNotFoundError:
        raise MissingExtra(
            f"reading images needs Pillow, which is not installed: {install('images')}"
        ) from None
    try:
        with warnings.catch_warnings(), open_file(path, "an image") as file:
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            image = pillow.open(file, formats=("PNG", "JPEG"))
            image.load()
    except BadInput:
        raise
    # what Pillow raises for broken files has no common class
    except Exception as error:
        raise BadInput(f"{path} cannot be read as a PNG or JPEG image: {in_words(error)}") from None
    return image


def _refuse_size(
    path: str, shape: tuple[int, ...], wanted: tuple[int | None, ...], layout: str
) -> None:
    """Raises BadInput where the model takes images of another size: how it is resized changes the
    numbers, and is the user's to say."""
    if len(wanted) != 4:
        return
    axes = (1, 2) if layout == "hwc" else (2, 3)
    if all(wanted[axis] in (None, shape[axis]) for axis in axes):
        return
    height, width = (wanted[axis] or shape[axis] for axis in axes)
    raise BadInput(
        f"{path} has {shape[axes[1]]} x {shape[axes[0]]} pixels, and the model takes {width} x "
        f"{height}: resize it as your own code does, and give that (image.resize(({width}, "
        f"{height})))"
    )
