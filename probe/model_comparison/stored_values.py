"""The numbers of a converted tensor against those that it should hold, or holds instead."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from probe.comparison.compare import Comparison, Worst, compare
from probe.model_comparison.weight_files import ConvertedTensor, StoredRows

__all__ = ["difference", "fits", "rows_of", "unknown_rounding"]

_CHUNK = 1 << 20
"""So many elements are compared at a time, so that memory stays bounded."""


def rows_of(shape: Sequence[int]) -> int:
    """How many rows all axes but the last make."""
    return int(np.prod(shape[:-1], dtype=np.int64))


def difference(
    tensor: ConvertedTensor, rows: StoredRows, count: int | None = None
) -> Comparison | None:
    """B's numbers against these, up to a count of rows; None where its rounding is not known."""
    if not _knows_rounding(tensor):
        return None
    total = rows.count if count is None else count
    differing, compared_elements = 0, 0
    ratio, worst, reason = 0.0, None, ""
    for start, stop in _chunks(total, rows.width):
        held = tensor.read(start, stop)
        assert held.allowance is not None
        expected = rows.read(start, stop)
        allowance = held.allowance + rows.rounding * np.abs(expected)
        part = compare([expected], [held.values], [allowance])
        differing += part.count
        compared_elements += part.size
        reason = reason or part.reason
        if worst is None or part.ratio > ratio:
            ratio, worst = part.ratio, _placed(part.worst, start, tensor.shape)
    return Comparison(not differing, differing, compared_elements, ratio, worst, reason)


def _chunks(count: int, width: int) -> Iterator[tuple[int, int]]:
    size = max(1, _CHUNK // max(width, 1))
    for start in range(0, count, size):
        yield start, min(start + size, count)


def _knows_rounding(tensor: ConvertedTensor) -> bool:
    return tensor.read(0, 1).allowance is not None


def _placed(worst: Worst | None, start: int, shape: tuple[int, ...]) -> Worst | None:
    """The worst element of rows that begin at ``start``, in the tensor's own axes."""
    if worst is None:
        return None
    row, column = worst.index
    place = np.unravel_index(start + row, shape[:-1]) if len(shape) > 1 else ()
    return replace(worst, index=(*map(int, place), column))


def unknown_rounding(tensor: ConvertedTensor, rows: StoredRows) -> str:
    """What can be said of a type whose rounding is not known."""
    errors = squares = 0.0
    for start, stop in _chunks(rows.count, rows.width):
        a, b = rows.read(start, stop), tensor.read(start, stop).values
        errors += float(np.square(a - b).sum())
        squares += float(np.square(a).sum())
    part = np.sqrt(errors / squares) if squares else np.sqrt(errors)
    return (
        f"how far {tensor.kind} may round is not known here: B's numbers lie {100 * part:.2g} % "
        "(root mean square) from A's"
    )


def fits(tensor: ConvertedTensor, rows: StoredRows) -> bool:
    """Whether B's tensor holds these, looked at in a part before the whole."""
    if (rows.count, rows.width) != (rows_of(tensor.shape), tensor.shape[-1]):
        return False
    some = max(1, min(rows.count, 1 << 16) // max(1, rows.width // 64))
    for count in dict.fromkeys((min(some, rows.count), rows.count)):
        found = difference(tensor, rows, count)
        if found is None or not found.ok:
            return False
    return True
