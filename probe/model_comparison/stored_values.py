"""The numbers of a converted tensor against those that it should hold, or holds instead."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from probe import printable
from probe.comparison.compare import Comparison, Worst, compare
from probe.model_comparison.causes.weight_relations import STEPS, RoundingBetween, relation
from probe.model_comparison.weight_files import ConvertedTensor, RowValues, StoredRows

__all__ = ["Shapes", "difference", "fits", "reason", "rows_of", "unknown_rounding"]

_CHUNK = 1 << 20
"""So many elements are compared at a time, so that memory stays bounded."""
_LOOKED_AT = 1 << 22
"""So many elements of a tensor that differs are looked at for the reason."""
Shapes = Mapping[tuple[int, int], Sequence[ConvertedTensor]]
"""Tensors of B by the shape that they should have."""


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


def reason(tensor: ConvertedTensor, expected: StoredRows, shapes: Shapes) -> str:
    """What B's tensor holds in the place of what it should, in words; "" where that is not seen."""
    for other in tensor.others:
        if fits(tensor, other.rows):
            return other.words
    if not _is_telling(tensor):
        return _simple_relation(tensor, expected)
    for another in shapes.get((expected.count, expected.width), ()):
        if another.b != tensor.b and another.expected and fits(tensor, another.expected):
            return f"it holds {printable.several(another.a, 2)} of A, which is that of {another.b}"
    return _simple_relation(tensor, expected)


def _is_telling(tensor: ConvertedTensor) -> bool:
    """Whether B's numbers are not all alike, so that others would not fit by chance."""
    values = tensor.read(0, 1).values
    return bool(np.ptp(values) > 0)


def _simple_relation(tensor: ConvertedTensor, expected: StoredRows) -> str:
    """How B's numbers follow from A's, of the part that is looked at."""
    count = max(1, min(expected.count, _LOOKED_AT // max(expected.width, 1)))
    held = tensor.read(0, count)
    assert held.allowance is not None
    a, b = expected.read(0, count), held.values
    other = np.asarray(np.abs(a - b) > held.allowance)
    if not other.any():
        return f"only rows behind the first {count:,} differ"
    return next(_relations(tensor, a, held, other), "")


def _relations(
    tensor: ConvertedTensor, a: np.ndarray, held: RowValues, other: np.ndarray
) -> Iterator[str]:
    b = held.values
    wrong = np.asarray(other.any(axis=1))
    if not b[other].any():
        yield f"{int(other.sum()):,} of its numbers are 0{_rows_in_words(wrong)}"
        return
    if words := _one_factor(a, held):
        yield words
    assert held.allowance is not None
    shape = a.shape if a.shape[0] > 1 else (a.size,)
    stacked = tensor.shape if a.size == np.prod(tensor.shape, dtype=np.int64) else shape
    for axes in dict.fromkeys((stacked, shape)):
        rounding = RoundingBetween(step=held.allowance.reshape(axes) / STEPS)
        if words := relation(a.reshape(axes), b.reshape(axes), other.reshape(axes), rounding):
            yield words
    if held.step is not None and (np.abs(a - b) <= 1.5 * held.step + held.allowance).all():
        yield (
            f"its numbers lie off A's by up to {_steps(a - b, held):.2g} steps of {tensor.kind}: "
            "another rounding, or another scale, than the converter's"
        )
    if 0 < wrong.sum() < len(wrong):
        yield f"{int(wrong.sum())} of {len(wrong)} rows differ{_rows_in_words(wrong)}"


_DIGITS = 3
"""So many digits of a factor are told, where rounding hides more."""


def _one_factor(a: np.ndarray, held: RowValues) -> str:
    """Whether B's numbers are A's times one number, or plus one, within their rounding."""
    b, allowance = held.values, held.allowance
    assert allowance is not None
    with np.errstate(all="ignore"):
        factor = float(f"{(a * b).sum() / np.square(a).sum():.{_DIGITS}g}")
        shift = float(f"{np.median(b - a):.{_DIGITS}g}")
    if np.ptp(a) > 0 and (np.abs(factor * a - b) <= allowance).all():
        return f"B's are {factor:g} times A's"
    if (np.abs(a + shift - b) <= allowance).all():
        return f"B's are A's plus {shift:g}"
    return ""


def _steps(errors: np.ndarray, held: RowValues) -> float:
    assert held.step is not None
    with np.errstate(all="ignore"):
        found = np.abs(errors) / held.step
    return float(np.nanmax(np.where(held.step > 0, found, 0.0)))


def _rows_in_words(wrong: np.ndarray) -> str:
    places = np.flatnonzero(wrong)
    if len(places) == len(wrong) or not len(places):
        return ""
    first, last = int(places[0]), int(places[-1])
    if len(places) == 1:
        return f": row {first}"
    if last - first + 1 == len(places):
        return f": rows {first} to {last}"
    return f": rows {first}, {int(places[1])}, ..., {last}"
