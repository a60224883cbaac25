"""Operators that sample at places that a grid says, and grids of affine maps."""

import numpy as np

from probe import ops
from probe.description import Ref
from probe.description.affine_grid import affine_places
from probe.errors import Undescribed

from ..describe import Node, Value, node

__all__: list[str] = []

_MODES = {
    "linear": "linear",
    "bilinear": "linear",
    "nearest": "nearest",
    "cubic": "cubic",
    "bicubic": "cubic",
}


@node("GridSample")
def grid_sample(recipe: Node, x: Value, grid: Value) -> Ref:
    """Since opset 20 the modes go by other names."""
    if not np.isfinite(recipe.array(grid)).all():
        raise Undescribed("its grid holds places that are no numbers")
    mode = _MODES[recipe.get("mode", "linear")]
    return recipe.put(
        ops.GridSample(
            mode, recipe.get("padding_mode", "zeros"), bool(recipe.get("align_corners", 0))
        ),
        x,
        grid,
    )


@node("AffineGrid")
def affine_grid(recipe: Node, theta: Value, size: Value) -> Ref:
    """``size`` is that of the images, channels included."""
    batch, _, *space = recipe.ints(size) or ()
    return affine_places(
        recipe.put, recipe.ref(theta), batch, space, bool(recipe.get("align_corners", 0))
    )
