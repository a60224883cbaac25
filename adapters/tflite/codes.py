"""Numbers that a user gives as the codes that a tensor takes."""

from collections.abc import Sequence

import numpy as np

from probe import printable
from probe.errors import BadInput

from .dataflow import short
from .schema import DTYPES, TfliteTensor

__all__ = ["as_codes"]


def as_codes(
    tensors: Sequence[TfliteTensor], arrays: Sequence[np.ndarray]
) -> tuple[tuple[np.ndarray, ...], str]:
    """What the tensors take for these arrays, and in words what was done: real numbers given to a
    tensor of codes are quantised by its scale. Raises BadInput where it cannot hold an array."""
    taken = tuple(_taken(*pair) for pair in zip(tensors, arrays, strict=True))
    quantised = [
        tensor
        for tensor, array in zip(tensors, arrays, strict=True)
        if array.dtype.kind == "f" and _has_scale(tensor)
    ]
    words = ", ".join(
        f"{printable.name(short(tensor.name))} quantised to {tensor.dtype} by its scale "
        f"{_scale(tensor):g} and zero point {_zero_point(tensor)}"
        for tensor in quantised
    )
    return taken, words


def _taken(tensor: TfliteTensor, array: np.ndarray) -> np.ndarray:
    if tensor.dtype not in DTYPES:
        raise BadInput(
            f"the tensor {short(tensor.name)!r} is of type {tensor.dtype}, which no array can be "
            "given for"
        )
    kind = DTYPES[tensor.dtype]
    if array.dtype == kind or kind.kind not in "iu":
        return np.array(array, kind)
    values = array
    if array.dtype.kind == "f":
        if _has_scale(tensor):
            values = np.rint(array.astype(np.float64) / _scale(tensor)) + _zero_point(tensor)
            low, high = np.iinfo(kind).min, np.iinfo(kind).max
            codes: np.ndarray = np.clip(np.nan_to_num(values), low, high).astype(kind)
            return codes
        if not (array == np.rint(array)).all():
            raise BadInput(
                f"the tensor {short(tensor.name)!r} takes {tensor.dtype}; you gave numbers with "
                "fractions"
            )
    bounds = np.iinfo(kind)
    if values.size and (values.min() < bounds.min or values.max() > bounds.max):
        raise BadInput(
            f"the tensor {short(tensor.name)!r} takes {tensor.dtype}, {bounds.min} to "
            f"{bounds.max}; you gave {array.dtype} from {values.min()} to {values.max()}"
        )
    return values.astype(kind)


def _has_scale(tensor: TfliteTensor) -> bool:
    quantisation = tensor.quantisation
    return (
        quantisation is not None
        and not quantisation.unsupported
        and quantisation.scale.size == 1
        and tensor.dtype.startswith(("int", "uint"))
    )


def _scale(tensor: TfliteTensor) -> float:
    assert tensor.quantisation is not None
    return float(tensor.quantisation.scale[0])


def _zero_point(tensor: TfliteTensor) -> int:
    assert tensor.quantisation is not None
    return int(tensor.quantisation.zero_point[0])
