"""The order of axes in which another program wrote its arrays, where the user says it."""

import math
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from probe.errors import BadInput
from probe.model_comparison.declared_axes import Axes
from probe.model_comparison.dumps.called import own_tensor
from probe.model_comparison.graphs.axes import Way, ways
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.dump_names import is_rotated

__all__ = ["in_model_order", "way_of_order"]

_LETTERS = "bthd"
_ROWS: Axes = ("bt", "d")
"""What arrays without a shape are taken for."""


def in_model_order(
    arrays: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor], axes: Axes | None
) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """The arrays with their axes in the model's order (b t h d), and the names of those whose order
    is known by that. Arrays without a shape get one where it is not the model's tensor as it is.
    BadInput where the axes are of no array."""
    found, ordered, fitting = dict(arrays), set[str](), axes is None
    for name, array in arrays.items():
        own = own_tensor(name, tensors)
        if axes is None and not (_lacks_shape(array, own) or is_rotated(name)):
            continue
        for shape, order in _shapes(array, own, axes or _ROWS):
            turned = sorted(range(len(order)), key=lambda axis: _LETTERS.index(order[axis][0]))
            found[name] = array.reshape(shape).transpose(turned)
            fitting = True
            if axes is not None and "h" not in order:
                ordered.add(name)
    if axes is not None and not fitting:
        raise BadInput(
            f"axes (--axes) names {len(axes)} axes, and none of the arrays has as many: give those "
            "of the arrays that you compare"
        )
    return found, frozenset(ordered)


def _lacks_shape(array: np.ndarray, own: Tensor | None) -> bool:
    return array.ndim == 1 and own is not None and own.value.size != array.size


def _shapes(
    array: np.ndarray, own: Tensor | None, axes: Axes
) -> Iterator[tuple[tuple[int, ...], Axes]]:
    """The shape of an array and its axes, where these are of it: those without heads where it has
    one fewer; of one that holds no shape by the features that the model has."""
    without = tuple(axis for axis in axes if axis != "h")
    if array.ndim == len(axes):
        yield array.shape, axes
    elif array.ndim == len(without):
        yield array.shape, without
    elif array.ndim == 1 and own is not None and own.value.ndim in (2, 3):
        sizes = dict(zip("btd", (1, 1, *own.value.shape)[-3:], strict=True))
        lengths = [math.prod(sizes.get(letter, 1) for letter in axis) for axis in without]
        tokens = next(place for place, axis in enumerate(without) if "t" in axis)
        lengths[tokens] = 1
        if array.size and array.size % math.prod(lengths) == 0:
            lengths[tokens] = array.size // math.prod(lengths)
            yield tuple(lengths), without


def way_of_order(array: Tensor, tensor: Tensor, ordered: Collection[str]) -> Way | None:
    """The way to read an array whose axes the user has told as the model's tensor: place by place;
    None where they were not told, or heads lie between."""
    if array.stands_for not in ordered or tensor.value.ndim > 3:
        return None
    found = next(ways(array.value.shape, tensor.value.shape), None)
    if found is None or list(found.perm) != sorted(found.perm):
        return None
    return found
