"""Operators that sample at places that a grid says, and grids of affine maps."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.description.affine_grid import affine_places
from probe.errors import Undescribed

from ..describe import NodeBuilder, Value, node

__all__: list[str] = []

_MODES = {
    "linear": "linear",
    "bilinear": "linear",
    "nearest": "nearest",
    "cubic": "cubic",
    "bicubic": "cubic",
}


@node("GridSample")
def grid_sample(build: NodeBuilder, x: Value, grid: Value) -> Ref:
    """Since opset 20 the modes go by other names."""
    if not np.isfinite(build.array(grid)).all():
        raise Undescribed("its grid contains NaN")
    mode = _MODES[build.get("mode", "linear")]
    return build.add(
        ops.GridSample(
            mode, build.get("padding_mode", "zeros"), bool(build.get("align_corners", 0))
        ),
        x,
        grid,
    )


@node("AffineGrid")
def affine_grid(build: NodeBuilder, theta: Value, size: Value) -> Ref:
    """``size`` is that of the images, channels included."""
    batch, _, *space = build.ints(size) or ()
    return affine_places(build, build.ref(theta), batch, space, bool(build.get("align_corners", 0)))
