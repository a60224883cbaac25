"""Whether the values of a model's inputs are such as it takes: numbers, indices that are whole and
have a row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex, TypeGuard

import numpy as np

from probe.capture.user_arrays import holds_numbers
from probe.errors import BadInput

if TYPE_CHECKING:
    from probe.model import InputSpec

__all__ = ["is_whole", "refuse_no_indices", "refuse_others", "uneven"]


def is_whole(value: object) -> TypeGuard[SupportsIndex]:
    """Whether a number is an integer: True stands for something else."""
    return isinstance(value, SupportsIndex) and not isinstance(value, bool | np.bool_)


def refuse_others(arrays: Sequence[np.ndarray]) -> None:
    """Raises BadInput where an array does not hold real numbers."""
    for array in arrays:
        if not holds_numbers(array):
            raise BadInput(
                f"an input must hold real numbers; you gave an array of dtype {array.dtype}"
            )


def uneven(shapes: Sequence[Sequence[int]]) -> str:
    """What is added to an error of a forward pass whose inputs are not of one batch."""
    counts = [shape[0] for shape in shapes if len(shape)]
    if len(set(counts)) < 2:
        return ""
    return f"; the inputs have {' and '.join(map(str, counts))} samples: give each as many"


def refuse_no_indices(specs: "Sequence[InputSpec]", arrays: Sequence[np.ndarray]) -> None:
    """Raises BadInput where an input takes integers and the array holds other numbers, or indices
    that have no row."""
    for spec, array in zip(specs, arrays, strict=False):
        if not spec.dtype.startswith(("int", "uint")):
            continue
        if array.dtype.kind == "f":
            broken = array[array != np.trunc(array)]
            if broken.size:
                bound = f"{spec.low}, {spec.high or 2}"
                raise BadInput(
                    f"the input {spec.name!r} takes integers ({spec.dtype}); you gave non-integer "
                    f"values such as {broken[0]:.4g}: give whole numbers (random ones: "
                    f"np.random.randint({bound}, {array.shape}))"
                )
        if spec.high is None:
            continue
        outside = np.argwhere((array < spec.low) | (array >= spec.high))
        if len(outside):
            place = outside[0].tolist()
            raise BadInput(
                f"the input {spec.name!r} takes integers from {spec.low} to {spec.high - 1}, the "
                f"rows of its table; you gave {array[tuple(place)]:g} at {place}"
            )
