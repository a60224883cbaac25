"""What B's input is, where it is not A's: the same numbers in another order, scaled for each
channel, of another input, or of a picture that was resized in another way.

Each relation holds for all numbers of the input, and leaves far less than the numbers differ by;
where none does, nothing is said of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe.model_comparison.causes.resampled_pictures import resampled
from probe.report import Finding

__all__ = ["of_input", "same_numbers"]

_NEAR = 1e-4
"""What a relation may leave, as a part of the largest number."""
_MOST = 512
"""Channels that are held against one another."""
_SAMPLE = 4096
_TOLD = 6
"""So many numbers are listed."""
_ROUNDED = (1 / 255, 1 / 256, 1 / 128, 1.0)
_USUAL = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP's": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "Caffe's": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
}
_SCALES = (1.0, 255.0, 1 / 255)
_FEW, _FEW_IN_ORDER = 4, 12
"""Fewer numbers lie on a line by chance, or come in the same order."""


def of_input(
    a: np.ndarray, b: np.ndarray, name: str = "B's input", inputs: Sequence[np.ndarray] = ()
) -> Finding | None:
    """What B's input is, or what B makes of it, where that follows from A's in a known way.
    ``inputs`` are all of A's."""
    if (finding := _related(a, b, inputs)) is not None:
        return replace(finding, claim=f"{name} {finding.claim}")
    return None


def _related(a: np.ndarray, b: np.ndarray, inputs: Sequence[np.ndarray]) -> Finding | None:
    for place, other in enumerate(inputs):
        if len(inputs) > 1 and other.shape == b.shape and same_numbers(other, b):
            return _finding("swapped-inputs", f"has the values of A's input {place}")
    if a.size != b.size or a.size < _FEW or b.dtype.kind not in "fiu" or not _tells(a, b):
        return None
    if a.shape != b.shape:
        return _of_other_shape(a, b)
    if (plain := _line(a, b)) == (1.0, 0.0):
        return None
    if plain is not None:
        factor, shift = plain
        return _finding(
            "scaled-input",
            f"is A's times {factor:.6g} plus {shift:.6g}: another preprocessing",
        )
    for slug, words, moved in _moved(a):
        if (line := _line(moved, b)) is not None:
            return _finding(slug, f"is A's {words}{_scaled(*line)}")
    for axis in range(a.ndim):
        if (channels := _channels(a, b, axis)) is not None:
            return _of_channels(channels, axis, a.ndim)
    return _of_rounding(a, b) or _of_curve(a, b) or resampled(a, b)


def _finding(slug: str, claim: str, also: tuple[str, ...] = ()) -> Finding:
    return Finding(slug, claim, 0.0, also=also, do="give both models the same input")


def _tells(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether both hold finite numbers that are not all the same."""
    return all(bool(np.isfinite(x).all()) and bool(np.ptp(x) > 0) for x in (a, b))


def same_numbers(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one shape hold the same numbers, but for rounding."""
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu" or not b.size:
        return False
    largest = float(np.abs(b).max())
    with np.errstate(invalid="ignore"):
        return bool((np.abs(a.astype(np.float64) - b) <= _NEAR * largest).all()) and largest > 0


def _of_other_shape(a: np.ndarray, b: np.ndarray) -> Finding | None:
    """The same numbers under another shape: those in memory, where axes had to be moved."""
    if not same_numbers(a.reshape(b.shape), b):
        return None
    claim = (
        f"has A's numbers in the same order in memory: it was reshaped from {a.shape} to "
        f"{b.shape}, where axes had to be moved"
    )
    return _finding("rearranged-tensor", claim)


def _line(a: np.ndarray, b: np.ndarray) -> tuple[float, float] | None:
    """The factor and the shift that make one array of another."""
    x, y = (values.astype(np.float64, copy=False).ravel() for values in (a, b))
    few = np.unique(np.linspace(0, x.size - 1, _SAMPLE).astype(int))
    for mine, theirs in ((x[few], y[few]), (x, y)):
        mean_x, mean_y = mine.mean(), theirs.mean()
        square = float(np.square(mine - mean_x).sum())
        if not square:
            return None
        factor = float(((mine - mean_x) * (theirs - mean_y)).sum()) / square
        shift = float(mean_y - factor * mean_x)
        if np.abs(factor * mine + shift - theirs).max() > _NEAR * np.abs(theirs).max():
            return None
    return _rounded(factor, 1.0), _rounded(shift, 0.0, np.ptp(y))


def _rounded(value: float, usual: float, size: float = 1.0) -> float:
    if abs(value - usual) <= _NEAR * size:
        return usual
    return value


def _scaled(factor: float, shift: float) -> str:
    if (factor, shift) == (1.0, 0.0):
        return ""
    return f", times {factor:.6g} plus {shift:.6g}"


def _moved(a: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """A's numbers in other orders of the same shape."""
    for axis in range(1, a.ndim):
        for other in range(axis + 1, a.ndim):
            if a.shape[axis] == a.shape[other] > 1:
                words = f"with the axes {axis} and {other} exchanged"
                yield "rearranged-tensor", words, a.swapaxes(axis, other)
    if a.ndim > 2:
        samples, *shape = a.shape
        for words, turned in (
            ("last in memory, read as if they were first", np.moveaxis(a, 1, -1)),
            (
                "first in memory, read as if they were last",
                np.moveaxis(a.reshape(samples, *shape[1:], shape[0]), -1, 1),
            ),
            ("first in memory, read as if they were last", np.moveaxis(a, -1, 1)),
            (
                "last in memory, read as if they were first",
                np.moveaxis(a.reshape(samples, shape[-1], *shape[:-1]), 1, -1),
            ),
        ):
            yield "rearranged-tensor", f"with the channels {words}", turned.reshape(a.shape)
    for axis in range(1, a.ndim):
        if a.shape[axis] > _TOLD:
            yield "rearranged-tensor", f"reversed along axis {axis}", np.flip(a, axis)


class _Channels(NamedTuple):
    """Of each channel of B's input which of A's it is, and by what factor and shift."""

    order: tuple[int, ...]
    factors: np.ndarray
    shifts: np.ndarray


def _channels(a: np.ndarray, b: np.ndarray, axis: int) -> _Channels | None:
    """The slices of one array along an axis, where each is one of the other's by a factor and a
    shift."""
    count = a.shape[axis]
    if not 1 < count <= _MOST or a.size < 4 * count:
        return None
    x, y = (np.moveaxis(values, axis, 0).reshape(count, -1).astype(np.float64) for values in (a, b))
    few = np.unique(np.linspace(0, x.shape[1] - 1, _SAMPLE).astype(int))
    left, right = (_unit(rows[:, few]) for rows in (x, y))
    if left is None or right is None:
        return None
    alike = right @ left.T
    best = alike.argmax(axis=1)
    places = np.arange(count)
    sure = (alike >= alike[places, best][:, None] - 1e-6).sum(axis=1) == 1
    order = np.where(sure, best, places)  # equal channels are where they are
    if len({*order.tolist()}) != count:
        return None
    matched = x[order]
    mean_x, mean_y = matched.mean(1), y.mean(1)
    squares = np.square(matched - mean_x[:, None]).sum(1)
    factors = ((matched - mean_x[:, None]) * (y - mean_y[:, None])).sum(1) / squares
    shifts = mean_y - factors * mean_x
    apart = np.abs(factors[:, None] * matched + shifts[:, None] - y).max()
    if apart > _NEAR * np.abs(y).max():
        return None
    factors = np.where(np.abs(factors - 1) <= _NEAR, 1.0, factors)
    shifts = np.where(np.abs(shifts) <= _NEAR * np.ptp(y), 0.0, shifts)
    return _Channels(tuple(map(int, order)), factors, shifts)


def _unit(rows: np.ndarray) -> np.ndarray | None:
    """Each row without its mean, of length 1; None where one is constant."""
    rows = rows - rows.mean(1, keepdims=True)
    sizes = np.sqrt(np.square(rows).sum(1, keepdims=True))
    if not sizes.all():
        return None
    return np.asarray(rows / sizes)


def _of_channels(channels: _Channels, axis: int, rank: int) -> Finding | None:
    order, factors, shifts = channels
    reordered = order != tuple(range(len(order)))
    scaled = bool((factors != 1).any() or shifts.any())
    if not (reordered or scaled):
        return None
    named = "samples" if axis == 0 else f"slices along axis {axis}"
    if axis in (1, rank - 1) and rank > 2:
        named = f"channels (axis {axis})"
    words = []
    if reordered:
        words.append(f"with the {named} in {_in_words(order)}")
    if scaled:
        each = "" if reordered else f" for the {named}"
        words.append(f"times {_several(factors)} plus {_several(shifts)}{each}")
    claim = f"is A's {', '.join(words)}{_usual(channels)}"
    if not reordered:
        return _finding("scaled-input", claim)
    slug = "different-input" if axis == 0 else "rearranged-tensor"
    if axis and order == tuple(range(len(order)))[::-1]:
        slug = "reversed-channels"
    return _finding(slug, claim, ("scaled-input",) * scaled)


def _in_words(order: tuple[int, ...]) -> str:
    if order == (2, 1, 0):
        return "the reverse order, as BGR for RGB"
    if order == tuple(range(len(order)))[::-1]:
        return "the reverse order"
    return f"the order {_several(order)}"


def _several(numbers: Sequence[float] | np.ndarray) -> str:
    told = [f"{number:.6g}" for number in numbers]
    if len({*told}) == 1:
        return told[0]
    more = ["…"] * (len(told) > _TOLD)
    return f"({', '.join([*told[:_TOLD], *more])})"


def _usual(channels: _Channels) -> str:
    """The usual mean and standard deviation that one of the two is normalised by."""
    factors, shifts = (np.asarray(part) for part in channels[1:])
    if len(factors) != 3 or not factors.all():
        return ""
    ways = {"B": (-shifts / factors, 1 / factors), "A": (shifts, factors)}
    for name, (mean, deviation) in _USUAL.items():
        for side, (subtracted, divided) in ways.items():
            for scale in _SCALES:
                for step in (1, -1):
                    means, deviations = np.array(mean)[::step], np.array(deviation)[::step]
                    near = np.allclose(subtracted, scale * means, rtol=1e-3)
                    if near and np.allclose(divided, scale * deviations, rtol=1e-3):
                        return f": {side}'s is normalized by {name} mean and standard deviation"
    return ""


def _of_rounding(a: np.ndarray, b: np.ndarray) -> Finding | None:
    """B's input is A's in coarse steps, as a picture of 8 bits has it."""
    apart = float(np.abs(a.astype(np.float64) - b).max())
    for step in _ROUNDED:
        whole = np.rint(b.astype(np.float64) / step)
        on_steps = bool((np.abs(b / step - whole) <= 1e-3).all())
        if on_steps and apart <= 1.001 * step and np.unique(whole).size > 2:
            how = "rounded" if apart <= 0.501 * step else "rounded down or up"
            claim = f"is A's {how} to steps of {step:.6g}"
            return _finding("reduced-precision", claim)
    return None


def _of_curve(a: np.ndarray, b: np.ndarray) -> Finding | None:
    """Each number of B's input follows from A's alone, the larger from the larger."""
    x, y = (values.astype(np.float64, copy=False).ravel() for values in (a, b))
    few = np.unique(np.linspace(0, x.size - 1, _SAMPLE).astype(int))
    room = _NEAR * float(np.ptp(y))
    for mine, theirs in ((x[few], y[few]), (x, y)):
        if (np.diff(theirs[np.argsort(mine, kind="stable")]) < -room).any():
            return None
    low, high = float(y.min()), float(y.max())
    if np.unique(y[few]).size < _FEW_IN_ORDER:
        return None
    if (np.abs(np.clip(x, low, high) - y) <= room).all():
        return _finding("scaled-input", f"is A's clipped to {low:.6g} .. {high:.6g}")
    claim = "follows from A's number by number by one curve, such as a gamma correction"
    return _finding("scaled-input", claim)
