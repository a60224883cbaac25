"""Why an input does not fit: by its shape, and the shape that a model declares."""

from collections.abc import Sequence

import numpy as np

from probe.model import InputSpec, Model

__all__ = ["misfit"]

_FIRST = {3: "NCL", 4: "NCHW", 5: "NCDHW"}
_LAST = {3: "NLC", 4: "NHWC", 5: "NDHWC"}
"""What the axes of an input are called that has its channels second, or last."""


def misfit(model: Model, arrays: Sequence[np.ndarray]) -> str:
    """The first input that has another shape than the model declares, and which that is; "" where
    none has."""
    for spec, array in zip(model.inputs or (), arrays, strict=False):
        if not _fits(array.shape, spec):
            moved, wanted = _moved(array.shape, spec), _wanted(spec)
            return f"{spec.name} {array.shape}: {moved}the model wants {wanted}"
    return ""


def _fits(shape: Sequence[int], spec: InputSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        size is None or size == length for size, length in zip(spec.shape, shape, strict=True)
    )


def _moved(shape: tuple[int, ...], spec: InputSpec) -> str:
    """Where the channels are, if they are where the model does not want them."""
    if len(shape) not in _FIRST:
        return ""
    first, *inner, last = shape
    if _fits((first, last, *inner), spec):
        return "its channels are last; "
    if _fits((first, *inner[1:], last, inner[0]), spec):
        return "its channels are second; "
    return ""


def _wanted(spec: InputSpec) -> str:
    """The shape with letters for sizes that are free."""
    rank = len(spec.shape)
    letters = "N" + "?" * max(rank - 1, 0)
    if rank in _FIRST and spec.shape[1] is not None:
        letters = _FIRST[rank]
    elif rank in _LAST and spec.shape[-1] is not None:
        letters = _LAST[rank]
    sizes = [
        letter if size is None else str(size)
        for letter, size in zip(letters, spec.shape, strict=False)
    ]
    return f"({', '.join(sizes)})"
