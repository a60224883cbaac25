"""Arrays that a mistake made of others, as an expression of these: flipped, transposed, rolled,
scaled, rounded otherwise, or as they are stored."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, permutations

import numpy as np

from probe.by_hand.altered_elements import all_alike, element_by_element, short
from probe.by_hand.reordered import reordered
from probe.by_hand.values import (
    ATOM,
    POWER,
    PRODUCT,
    SUM,
    Value,
    as_tuple,
    bracketed,
    composed,
    number,
    reshaped,
)

__all__ = ["expressed", "moved"]

_MOST_AXES = 5
_FEW = 16
"""So many places along an axis are rolled by, or listed."""
_LARGE = 1 << 22
"""Elements from which on no array is gone through so often."""

Expression = tuple[Callable[[np.ndarray], np.ndarray], Callable[[], Value]]


def expressed(value: Value, array: np.ndarray, altered: np.ndarray) -> Value | None:
    """What was made of an array, in the op's layout, as an expression of its value; None where it
    is none of what is known."""
    if array.size != altered.size or array.size > _LARGE or not array.size:
        return None
    same = all_alike(value, array, altered)
    if same is not None and altered.flat[0] in (0, 1):
        return same
    ways = _reordered(value, array, altered)
    if _same_ends(array, altered):
        ways = chain(
            _turned(value, array),
            _rolls(value, array),
            ways,
            _reread(value, array, altered),
        )
    for make, text in ways:
        made = make(array)
        if made.shape == altered.shape and np.array_equal(made, altered, equal_nan=True):
            return text()
    if array.shape != altered.shape:
        return None
    return same or _scaled(value, array, altered) or element_by_element(value, array, altered)


def moved(value: Value, function: Callable[[np.ndarray], np.ndarray]) -> Value | None:
    """What a function that only moves or repeats elements makes of a value, as an expression; it is
    known by where it puts the places."""
    count = math.prod(value.shape)
    places = np.arange(2, 2 + count).reshape(value.own_shape)  # no place is a number of its own
    return expressed(value, places, np.asarray(function(places)))


def _same_ends(array: np.ndarray, altered: np.ndarray) -> bool:
    """Whether both may hold the same elements: those that are moved alone keep both ends."""
    own, other = ([x.min(), x.max()] for x in (array, altered))
    return np.array_equal(own, other, equal_nan=True)


def _turned(value: Value, array: np.ndarray) -> Iterator[Expression]:
    """Flips along some axes, and axes in another order."""
    axes = range(array.ndim)
    if array.ndim > _MOST_AXES:
        return
    for count in range(1, array.ndim + 1):
        for some in combinations(axes, count):
            yield partial(np.flip, axis=some), partial(_flipped, value, some)
    for perm in permutations(axes):
        if perm != tuple(axes):
            turned = replace(value, order=composed(value.order, perm))
            yield partial(np.transpose, axes=perm), partial(replace, turned)


def _rolls(value: Value, array: np.ndarray) -> Iterator[Expression]:
    """Rolled along an axis, the way that is shorter."""
    for axis, size in enumerate(array.shape):
        for by in range(1, min(size // 2 + 1, _FEW)):
            for shift in (by, -by):
                yield partial(np.roll, shift=shift, axis=axis), partial(_rolled, value, shift, axis)


def _reordered(value: Value, array: np.ndarray, altered: np.ndarray) -> Iterator[Expression]:
    """The places along an axis in another order, some of them several times."""
    for axis, size in enumerate(array.shape):
        if array.shape == altered.shape and size > 1:
            order = _order_along(array, altered, axis)
            taken = None if order is None else reordered(value, order, axis)
            if taken is not None:
                yield partial(np.take, indices=order, axis=axis), partial(replace, taken)


def _reread(value: Value, array: np.ndarray, altered: np.ndarray) -> Iterator[Expression]:
    """The same elements in another shape."""
    if array.shape != altered.shape:
        straight = tuple(range(array.ndim))
        yield (
            partial(_read_as, order=straight, shape=altered.shape),
            partial(_reshaped, value, altered.shape),
        )
    if array.ndim == altered.ndim <= _MOST_AXES:
        yield from _read_otherwise(value, altered.shape)
    if array.ndim <= _MOST_AXES:
        for perm in permutations(range(array.ndim)):
            turned = replace(value, order=composed(value.order, perm))
            yield (
                partial(_read_as, order=perm, shape=altered.shape),
                partial(_reshaped, turned, altered.shape),
            )


def _read_otherwise(value: Value, shape: tuple[int, ...]) -> Iterator[Expression]:
    """The same numbers read as an array whose axes come in another order."""
    for perm in permutations(range(len(shape))):
        read, back = tuple(shape[axis] for axis in perm), tuple(int(k) for k in np.argsort(perm))
        read_as = replace(_reshaped(value, read), order=composed(None, back))
        yield partial(_turned_after, shape=read, order=back), partial(replace, read_as)


def _read_as(array: np.ndarray, order: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    return array.transpose(order).reshape(shape)


def _turned_after(array: np.ndarray, shape: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    return array.reshape(shape).transpose(order)


def _order_along(array: np.ndarray, altered: np.ndarray, axis: int) -> list[int] | None:
    """Which place along an axis each place of the other array is."""
    rows = [row.tobytes() for row in np.moveaxis(array, axis, 0)]
    others = [row.tobytes() for row in np.moveaxis(altered.astype(array.dtype), axis, 0)]
    places = {row: place for place, row in reversed([*enumerate(rows)])}
    if len(places) < len(rows) or any(row not in places for row in others):
        return None
    return [places[row] for row in others]


def _flipped(value: Value, axes: tuple[int, ...]) -> Value:
    lying = {value.axes[axis] for axis in axes}
    words = ["::-1" if axis in lying else ":" for axis in range(value.rank)]
    while words[-1] == ":":
        words.pop()
    return replace(value, text=f"{value.at(ATOM)}[{', '.join(words)}]", level=ATOM)


def _rolled(value: Value, by: int, axis: int) -> Value:
    """The text of a roll; halves that are exchanged as these."""
    lies = value.axes[axis]
    if 2 * by == value.shape[lies] > 2:
        half, lead = value.at(ATOM), ":, " * lies
        text = f"np.concatenate([{half}[{lead}{by}:], {half}[{lead}:{by}]], axis={lies})"
    else:
        text = f"np.roll({value.text}, {by}, axis={lies})"
    return replace(value, text=text, level=ATOM)


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    text = value.at(ATOM)
    if value.order is not None:
        text += f".transpose{as_tuple(value.order)}"
    return Value(reshaped(text, shape), shape)


def _scaled(value: Value, array: np.ndarray, altered: np.ndarray) -> Value | None:
    """Times a number, plus a number, or to fewer digits."""
    if array.dtype.kind != "f" or altered.dtype.kind != "f":
        return None
    with np.errstate(all="ignore"):
        exact, other = array.astype(np.float64), altered.astype(np.float64)
        if not other.any():
            return replace(value, text=f"0 * {value.at(PRODUCT)}", level=PRODUCT)
        for name in ("float16", "float32"):
            if np.array_equal(exact.astype(name), other):
                text = f"{value.at(ATOM)}.astype(np.{name})"
                return replace(value, text=text, level=ATOM)
        for digits in range(9):
            if np.array_equal(np.round(exact, digits), other):
                return replace(value, text=f"np.round({value.text}, {digits})", level=ATOM)
        if (rounded := _on_grid(value, exact, other)) is not None:
            return rounded
        at = int(np.abs(exact).argmax())
        factor, shift = other.flat[at] / exact.flat[at], other.flat[at] - exact.flat[at]
        if np.allclose(exact * factor, other, rtol=1e-6, atol=0):
            return _times(value, float(factor))
        if np.allclose(exact + shift, other, rtol=1e-6, atol=1e-6 * abs(shift)):
            text = f"{value.at(SUM)} + {_short(float(shift))}"
            return replace(value, text=text, level=SUM)
        low, high = int(exact.argmin()), int(exact.argmax())
        factor = (other.flat[high] - other.flat[low]) / (exact.flat[high] - exact.flat[low])
        shift = other.flat[low] - factor * exact.flat[low]
        if np.allclose(exact * factor + shift, other, rtol=1e-6, atol=1e-6 * abs(shift)):
            scaled = _times(value, float(factor))
            text = f"{scaled.at(SUM)} + {_short(float(shift))}"
            return replace(value, text=text, level=SUM)
    return None


_ROUNDED = (
    ("np.round({x})", np.round),
    ("np.floor({x})", np.floor),
    ("np.trunc({x})", np.trunc),
    ("np.floor({x} + 0.5)", lambda x: np.floor(x + 0.5)),
)


def _on_grid(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """Rounded to multiples of a power of two or of ten, and clipped where it goes beyond an end."""
    for step in _STEPS:
        whole = np.rint(other / step)
        if not np.allclose(whole * step, other, rtol=1e-9, atol=0):
            continue
        low, high = whole.min(), whole.max()
        for text, rounded in _ROUNDED:
            made = rounded(exact / step)
            words = text.format(x=f"{value.at(PRODUCT)} / {number(step)}")
            if np.array_equal(made, whole):
                return replace(value, text=f"{number(step)} * {words}", level=PRODUCT)
            if np.array_equal(np.clip(made, low, high), whole):
                words = f"np.clip({words}, {number(low)}, {number(high)})"
                return replace(value, text=f"{number(step)} * {words}", level=PRODUCT)
    return None


_STEPS = (*(2.0**bits for bits in range(4, -20, -1)), *(10.0**-digits for digits in range(1, 7)))


def _times(value: Value, factor: float) -> Value:
    if factor == -1:
        return replace(value, text=f"-{value.at(POWER)}", level=POWER)
    inverse = 1 / factor if factor else 0.0
    if abs(inverse) > 1.5 and abs(inverse - round(inverse)) < 1e-6 * abs(inverse):
        text = f"{value.at(PRODUCT)} / {round(inverse)}"
    else:
        text = f"{value.at(PRODUCT)} * {_short(factor)}"
    return replace(value, text=text, level=PRODUCT)


def _short(factor: float) -> str:
    return bracketed(number(short(factor)), factor < 0)
