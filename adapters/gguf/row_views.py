"""Tensors of .safetensors files as rows, and what conversions make of them, read when needed."""

from collections.abc import Callable, Sequence

import numpy as np

from probe.model_comparison.weight_files import StoredRows

from ..safetensors_files import StoredTensor
from ..safetensors_values import values

__all__ = [
    "ROUNDING",
    "computed",
    "gathered",
    "joined",
    "reordered",
    "reshaped",
    "stored",
    "transposed",
]

ROUNDING = 2.0**-22
"""What a few operations in float32 may do to a number, as a share of it."""


def stored(name: str, tensor: StoredTensor) -> StoredRows:
    """The rows of a tensor as it is stored; of one without axes a single number."""
    shape = tensor.shape or (1,)
    width = shape[-1]
    count = int(np.prod(shape[:-1], dtype=np.int64))

    def read(start: int, stop: int) -> np.ndarray:
        if len(shape) == 1:
            return values(name, tensor).reshape(1, -1)[start:stop]
        inner = int(np.prod(shape[1:-1], dtype=np.int64))
        first, last = start // inner, -(-stop // inner)
        rows = values(name, tensor, slice(first, last)).reshape(-1, width)
        return rows[start - first * inner : stop - first * inner]

    return StoredRows(count, width, read)


def transposed(name: str, tensor: StoredTensor) -> StoredRows:
    """The columns of a matrix as rows."""
    height, width = tensor.shape

    def read(start: int, stop: int) -> np.ndarray:
        return np.asarray(values(name, tensor, slice(None), slice(start, stop)).T)

    return StoredRows(width, height, read)


def gathered(rows: StoredRows, order: np.ndarray) -> StoredRows:
    """StoredRows in another order."""

    def read(start: int, stop: int) -> np.ndarray:
        wanted = order[start:stop]
        first = int(wanted.min())
        return np.asarray(rows.read(first, int(wanted.max()) + 1)[wanted - first])

    return StoredRows(len(order), rows.width, read)


def computed(rows: StoredRows, by: Callable[[np.ndarray], np.ndarray]) -> StoredRows:
    """What a function makes of every number, in float32."""
    return StoredRows(
        rows.count, rows.width, lambda start, stop: by(rows.read(start, stop)), ROUNDING
    )


def reordered(rows: StoredRows, order: np.ndarray) -> StoredRows:
    """The numbers of each row in another order."""
    return StoredRows(
        rows.count,
        rows.width,
        lambda start, stop: np.asarray(rows.read(start, stop)[:, order]),
        rows.rounding,
    )


def reshaped(rows: StoredRows, like: StoredRows) -> StoredRows:
    """All numbers in their own order, in rows of another length."""

    def read(start: int, stop: int) -> np.ndarray:
        first, last = start * like.width, stop * like.width
        begin = first // rows.width
        found = rows.read(begin, -(-last // rows.width)).ravel()
        return found[first - begin * rows.width :][: last - first].reshape(-1, like.width)

    return StoredRows(like.count, like.width, read)


def joined(parts: Sequence[StoredRows]) -> StoredRows:
    """StoredRows of several tensors, one after another."""
    ends = np.cumsum([part.count for part in parts])

    def read(start: int, stop: int) -> np.ndarray:
        found = []
        for part, end in zip(parts, ends, strict=True):
            begin = int(end) - part.count
            first, last = max(start, begin), min(stop, int(end))
            if first < last:
                found.append(part.read(first - begin, last - begin))
        return np.concatenate(found)

    return StoredRows(int(ends[-1]), parts[0].width, read)
