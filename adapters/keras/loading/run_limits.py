"""Whether a loaded model that is not trusted would fill the memory or go on for hours: Keras has
told all shapes, and run nothing yet."""

import math
from pathlib import Path
from typing import Any

from probe.errors import CannotOpen
from probe.files.size_limits import too_much

from ..describe.layer_tree import places
from .config_limits import STEPS

__all__ = ["refuse_large"]


def refuse_large(path: Path, root: Any, keras: Any) -> None:
    """Raises CannotOpen where a layer gives far more than file and input hold, or a recurrence has
    very many steps. Free sizes are 1."""
    shapes = [
        (place, *_shapes(node))
        for place in places(root, keras)
        for node in getattr(place.layer, "_inbound_nodes", ())
    ]
    fed = sum(
        4 * math.prod(shape)
        for place, _, given in shapes
        if place.role == "input"
        for shape in given
    )
    holds = path.stat().st_size + fed
    for place, taken, given in shapes:
        asked = max((4 * math.prod(shape) for shape in given), default=0)
        if too_much(asked, holds):
            why = (
                f"produces {asked:,} bytes, while file and input have {holds:,}, which could "
                "exhaust memory"
            )
        elif (
            isinstance(place.layer, _recurrences(keras))
            and taken
            and len(taken[0]) > 1
            and taken[0][1] > STEPS
        ):
            why = f"runs {taken[0][1]:,} time steps, more than the limit of {STEPS:,}"
        else:
            continue
        raise CannotOpen(
            f"{path}: its layer {place.name!r} {why}; give --trust (trust=True) to run it anyway"
        )


def _recurrences(keras: Any) -> tuple[type, ...]:
    return keras.layers.RNN, keras.layers.Bidirectional


def _shapes(node: Any) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The shapes that a call took and gave, in either Keras."""
    taken, given = (
        [tuple(size or 1 for size in tensor.shape) for tensor in _flat(tensors) if _ranked(tensor)]
        for tensors in (node.input_tensors, node.outputs)
    )
    return taken, given


def _flat(tensors: Any) -> list[Any]:
    if isinstance(tensors, dict):
        tensors = list(tensors.values())
    if isinstance(tensors, list | tuple):
        return [leaf for part in tensors for leaf in _flat(part)]
    return [tensors]


def _ranked(tensor: Any) -> bool:
    shape = getattr(tensor, "shape", None)
    return shape is not None and getattr(shape, "rank", 0) is not None
