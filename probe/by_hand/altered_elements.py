"""What a mistake made of each element of an array, or of the slices along an axis, as an
expression."""

from dataclasses import replace
from typing import Any

import numpy as np

from probe.by_hand.values import ATOM, POWER, PRODUCT, SUM, Value, as_tuple, listed, number

__all__ = ["all_alike", "element_by_element", "pattern", "short"]

_FEW = 16
"""So many factors are listed."""
_CLOSE = 1e-6


def element_by_element(value: Value, array: np.ndarray, altered: np.ndarray) -> Value | None:
    """A function of each element, or one of the slices along an axis; None where it is none of
    these. Both arrays have one shape."""
    with np.errstate(all="ignore"):
        exact, other = array.astype(np.float64), altered.astype(np.float64)
        for made in (
            *(_function, _narrowed, _wrapped, _masked, _shifted, _along, _slices, _added),
        ):
            if (found := made(value, exact, other)) is not None:
                return found
    return None


def all_alike(value: Value, array: np.ndarray, altered: np.ndarray) -> Value | None:
    """One number in the place of all others; None where it is not that."""
    first = altered.flat[0]
    if array.shape != altered.shape or array.size < 2 or (altered != first).any():
        return None
    if (array == array.flat[0]).all() or np.iscomplexobj(altered):
        return None
    text = f"np.full_like({value.text}, {number(first)})"
    if first in (0, 1):
        text = f"np.{('zeros', 'ones')[int(first)]}_like({value.text})"
    elif array.dtype.kind != "f":
        text = f"np.full({as_tuple(value.shape)}, {number(first)})"
    return replace(value, text=text, level=ATOM)


def _same(made: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(made, other, rtol=1e-12, atol=0, equal_nan=True)


def _function(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """A usual function of each element."""
    x, whole = value.text, value.at(ATOM)
    functions = (
        (f"1 - {value.at(PRODUCT)}", SUM, 1 - exact),
        (f"{value.at(POWER + 1)} ** 2", POWER, exact**2),
        (f"np.abs({x})", ATOM, np.abs(exact)),
        (f"np.sqrt({x})", ATOM, np.sqrt(exact)),
        (f"1 / {value.at(POWER)}", PRODUCT, 1 / exact),
        (f"np.round({x})", ATOM, np.rint(exact)),
        (f"np.floor({x})", ATOM, np.floor(exact)),
        (f"np.ceil({x})", ATOM, np.ceil(exact)),
        (f"np.trunc({x})", ATOM, np.trunc(exact)),
        (f"np.floor({value.at(SUM)} + 0.5)", ATOM, np.floor(exact + 0.5)),
        (f"np.maximum({x}, 0)", ATOM, np.maximum(exact, 0)),
        (f"({whole} != 0).astype(float)", ATOM, (exact != 0).astype(float)),
    )
    for text, level, made in functions:
        if _same(made, other):
            return replace(value, text=text, level=level)
    return None


_DROPPED = (16, 13)
"""How many bits of a float32 bfloat16 and TF32 drop."""


def _narrowed(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """Floats as a narrower format holds them, rounded or cut off."""
    single = exact.astype(np.float32)
    bits = np.ascontiguousarray(single).reshape(-1).view(np.uint32).reshape(single.shape)
    for drop in _DROPPED:
        for added in (None, np.uint32(1 << (drop - 1)), np.uint32(0)):
            half = (bits >> np.uint32(drop) & np.uint32(1)) + np.uint32((1 << (drop - 1)) - 1)
            kept = bits + (half if added is None else added) >> np.uint32(drop) << np.uint32(drop)
            if np.array_equal(kept.view(np.float32), other.astype(np.float32)):
                return _in_bits(value, drop, added)
    return None


def _in_bits(value: Value, drop: int, added: np.uint32 | None) -> Value:
    """The last bits of float32 dropped."""
    bits = f"{value.at(ATOM)}.astype(np.float32).view(np.uint32)"
    whole = f"({bits} + {hex(int(added))})" if added else bits
    if added is None:
        whole = f"({bits} + {hex((1 << (drop - 1)) - 1)} + ({bits} >> {drop} & 1))"
    return replace(value, text=f"({whole} >> {drop} << {drop}).view(np.float32)", level=ATOM)


def _wrapped(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """Whole numbers that wrap around at the ends of a type."""
    for count in (256, 65536, 128, 16, 2**32):
        for low in (0, -count // 2, 1 - count // 2):
            if np.array_equal((exact - low) % count + low, other):
                text = f"{value.at(PRODUCT)} % {count}"
                if low:
                    inner = f"({value.at(SUM)} + {-low}) % {count}"
                    return replace(value, text=f"{inner} - {-low}", level=SUM)
                return replace(value, text=text, level=PRODUCT)
    return None


def _masked(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    return pattern(other)


def pattern(array: np.ndarray) -> Value | None:
    """Two numbers, of which one lies in a band along the diagonal of the last two axes, the same
    for all before; None where an array is something else."""
    if array.ndim < 2 or not array.size or min(array.shape[-2:]) < 2:
        return None
    rows, columns = array.shape[-2:]
    square = array.reshape(-1, rows, columns)
    if (square != square[0]).any():
        return None
    found = _below(square[0]) or _band(square[0])
    if found is None:
        return None
    band, inside, outside = found
    if (inside, outside) != (1, 0):
        band = f"np.where({band}, {number(inside)}, {number(outside)})"
    elif band.count("np.tri") > 1:
        band = f"({band})"
    if array.ndim > 2:
        band = f"np.broadcast_to({band}, {as_tuple(array.shape)})"
    return Value(band, array.shape)


def _below(square: np.ndarray) -> tuple[str, Any, Any] | None:
    """One number up to a diagonal, as text, with that number and the other."""
    first, last = square[-1, 0], square[0, -1]
    seen = square == first
    diagonal = int(seen[0].sum()) - 1 if seen[0].any() else -int((~seen[:, 0]).sum())
    band = np.tri(len(seen), len(seen[0]), diagonal) > 0
    if first == last or not np.array_equal(np.where(band, first, last), square):
        return None
    return _tri(square, diagonal), first, last


def _band(square: np.ndarray) -> tuple[str, Any, Any] | None:
    """One number between two diagonals."""
    inside = square == square[0, 0]
    if inside.all() or (square[~inside] != square[~inside][0]).any():
        return None
    rows, columns = np.nonzero(inside)
    low, high = int((columns - rows).min()), int((columns - rows).max())
    lies = np.arange(square.shape[1]) - np.arange(square.shape[0])[:, None]
    if not np.array_equal((low <= lies) & (lies <= high), inside):
        return None
    sign = " & ~" if square.dtype.kind == "b" else " - "
    return sign.join((_tri(square, high), _tri(square, low - 1))), square[0, 0], square[~inside][0]


def _tri(square: np.ndarray, diagonal: int) -> str:
    words = f"{square.shape[0]}, {square.shape[1]}{f', {diagonal}' if diagonal else ''}"
    return f"np.tri({words}{', dtype=bool' if square.dtype.kind == 'b' else ''})"


def _shifted(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """Moved along an axis with zeros behind, or one place 0."""
    for axis, size in enumerate(exact.shape):
        lies = value.axes[axis]
        for by in (1, -1, 2, -2) if size > 2 else ():
            kept = [slice(None)] * exact.ndim
            kept[axis] = slice(0, size - by) if by > 0 else slice(-by, size)
            pads = [(0, 0)] * exact.ndim
            pads[axis] = (by, 0) if by > 0 else (0, -by)
            if np.array_equal(np.pad(exact[tuple(kept)], pads), other):
                cut = f":{-by}" if by > 0 else f"{-by}:"
                widths = [(0, 0)] * exact.ndim
                widths[lies] = pads[axis]
                text = f"np.pad({value.at(ATOM)}[{':, ' * lies}{cut}], {widths})"
                return replace(value, text=text, level=ATOM)
    return None


def _added(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """A number for each of a few blocks of the last axis, such as the gates of a cell, added."""
    apart = other - exact
    if not exact.ndim or value.axes[-1] != exact.ndim - 1 or not np.isfinite(apart).all():
        return None
    row = np.array([short(number) for number in apart.reshape(-1, exact.shape[-1])[0]])
    if not np.allclose(apart, row, rtol=1e-5, atol=1e-12):
        return None
    for blocks in (2, 3, 4):
        count = len(row) // blocks
        if (
            count > 1
            and count * blocks == len(row)
            and (row == np.repeat(row[::count], count)).all()
        ):
            text = f"{value.at(SUM)} + np.repeat({listed(row[::count])}, {count})"
            return replace(value, text=text, level=SUM)
    return None


def _along(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """The mean along an axis for all its places, or the sums up to each."""
    for axis, size in enumerate(exact.shape):
        lies = value.axes[axis]
        if size > 1 and _same(np.cumsum(exact, axis), other):
            return replace(value, text=f"np.cumsum({value.text}, axis={lies})", level=ATOM)
        if size > 1 and _same(np.broadcast_to(exact.mean(axis, keepdims=True), exact.shape), other):
            mean = f"{value.at(ATOM)}.mean(axis={lies}, keepdims=True)"
            text = f"np.broadcast_to({mean}, {as_tuple(value.shape)})"
            return replace(value, text=text, level=ATOM)
    return None


def _slices(value: Value, exact: np.ndarray, other: np.ndarray) -> Value | None:
    """Each slice along one axis by a factor of its own."""
    for axis, size in enumerate(exact.shape):
        if not 1 < size <= _FEW or exact.ndim < 2:
            continue
        rows, others = (np.moveaxis(x, axis, 0).reshape(size, -1) for x in (exact, other))
        at = np.abs(np.where(np.isfinite(rows), rows, 0)).argmax(axis=1)
        factors = others[np.arange(size), at] / rows[np.arange(size), at]
        if np.isfinite(factors).all() and np.allclose(
            rows * factors[:, None], others, rtol=_CLOSE, atol=_CLOSE * np.abs(others).max()
        ):
            lies = value.axes[axis]
            behind = ", None" * (exact.ndim - 1 - lies)
            index = f"[:{behind}]" if behind else ""
            text = f"np.array({listed([short(float(each)) for each in factors])})"
            return replace(value, text=f"{value.at(PRODUCT)} * {text}{index}", level=PRODUCT)
    return None


def short(factor: float) -> float:
    """A number that was fitted, in as many digits as are known of it."""
    return float(f"{factor:.6g}")
