"""Keras' layers of random augmentation, which pass images through outside training, and the two
that never do."""

from typing import Any

from probe import ops
from probe.description import Description, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes

__all__ = ["RANDOM", "images_alone"]

RANDOM = (
    "AugMix",
    "CutMix",
    "Equalization",
    "MaxNumBoundingBoxes",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHeight",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "Solarization",
)
"""Those that draw at random in training."""


def images_alone(call: KerasCall) -> None:
    if len(call.inputs) != 1:
        raise Undescribed("inputs other than one image tensor are not supported")


@describes(*RANDOM)
def _augmentation(layer: Any, call: KerasCall) -> Description:
    images_alone(call)
    # Called without a word about the mode, these layers are in training.
    if call.arguments.get("training", True) and type(layer).__name__ != "MaxNumBoundingBoxes":
        raise Undescribed("in training mode it draws random numbers")
    axes = named_axes(
        len(call.shape), 2, getattr(layer, "data_format", "channels_last") == "channels_first"
    )
    # RandomFlip alone brings the images to its own precision, whatever the mode.
    flip = type(layer).__name__ == "RandomFlip" and not call.legacy
    return Description((Step(ops.Cast(to=call.dtype) if flip else ops.Identity()),), axes, axes)


@describes("AutoContrast")
def _auto_contrast(layer: Any, call: KerasCall) -> Description:
    images_alone(call)
    low, high = (float(end) for end in layer.value_range)
    ndim = len(call.shape)
    # Of a batch the axes are these in either data format, so that with channels_first it is not the
    # image that is stretched.
    return Description((Step(ops.AutoContrast(axes=(ndim - 3, ndim - 2), low=low, high=high)),))
