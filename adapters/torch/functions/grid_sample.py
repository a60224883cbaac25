"""Sampling at places that a grid says, and grids of affine maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.description.affine_grid import affine_places
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__: list[str] = []

_MODES = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
_PADDINGS = ("zeros", "border", "reflection")


@function("grid_sample", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", onnx="gridsample")
def grid_sample(
    build: CallBuilder,
    input: Value,
    grid: Value,
    mode: Any = "bilinear",
    padding_mode: Any = "zeros",
    align_corners: bool | None = None,
) -> Ref:
    """ATen counts its modes and paddings."""
    kind = _MODES[mode if isinstance(mode, str) else tuple(_MODES)[mode]]
    if isinstance(padding_mode, str):
        padding = padding_mode
    else:
        padding = _PADDINGS[padding_mode]
    if not np.isfinite(build.array(grid)).all():
        raise Undescribed("its grid contains NaN")
    return build.add(ops.GridSample(kind, padding, bool(align_corners)), input, grid)


@function("affine_grid", "affine_grid_generator", onnx="affinegrid")
def affine_grid(
    build: CallBuilder, theta: Value, size: Sequence[int], align_corners: bool | None = None
) -> Ref:
    """The place of each element under the map of its sample."""
    batch, _, *space = (int(extent) for extent in size)
    return affine_places(build, build.ref(theta), batch, space, bool(align_corners))
