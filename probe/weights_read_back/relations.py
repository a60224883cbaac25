"""How weights that were read back differ from the layer's own, in words: found among the weights
themselves, without running the layer."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import NamedTuple

import ml_dtypes
import numpy as np

from probe.weights_read_back.joined_weights import joined_with
from probe.weights_read_back.orders import blocks_in_turn, rolled_by, turned

__all__ = [
    "REORDERED",
    "Others",
    "Relation",
    "from_elsewhere",
    "is_a_table",
    "relation",
    "roundings",
]

Others = Callable[[], Mapping[str, np.ndarray]]

_FEW = 4
_ALIKE = 0.05
"""What a relation may leave of the change, as a share of its root mean square."""
_CURVED = 1e-3
"""The same of one that is hard to tell from a simpler one: numbers that lie near each other have
nearly the same difference to their squares."""
_APART = 2.0
"""Weights that differ by more, as a part of their own root mean square, are no later state."""
_HIGH = np.uint32(0xFFFF0000)
_SAME = 1e-4
"""Below this share of the largest weight a change is no mistake by itself."""
_DIGITS = 1e-6
"""Below this share it is float32's rounding."""


class Relation(NamedTuple):
    """What was done to a weight."""

    words: str
    short: bool = True
    """Whether that says all: what the weights are, from those that the layer holds."""


def relation(
    name: str,
    have: np.ndarray,
    used: np.ndarray,
    centred: Callable[[np.ndarray], np.ndarray] = lambda array: array,
    others: Others = dict,
    held: Others = dict,
) -> Relation | None:
    """What was done to the weight ``name``, which should be ``have``; None where nothing was.

    The arrays are in the framework's layout. ``centred`` leaves out of one what is not known of
    ``used``; ``others`` gives the parameters of the model's other layers, ``held`` what the layer
    holds and computes from its parameters in the same shape.
    """
    have, used = have.astype(np.float64), used.astype(np.float64)
    off, largest = np.abs(used - have), max(np.abs(have).max(initial=0.0), 1e-30)
    changed = off > _SAME * largest
    count, little = int(changed.sum()), int(((off > _DIGITS * largest) & ~changed).sum())
    beside = (
        f"{little} of the {have.size} entries of {name} differ by at most {_SAME:g} x its largest"
    )
    if not count:
        if little:
            return Relation(beside, short=False)
        return None
    if have.ndim == 1 and (words := next(_moved(name, have, used, 0), "")):
        return Relation(words)
    if changed.size == 1 or (count <= _FEW and 4 * count <= changed.size):
        places = [tuple(int(i) for i in place) for place in np.argwhere(changed)]
        told = [_entry(name, place, have[place], used[place]) for place in places]
        return Relation("; ".join([*told, beside] if little else told), short=not little)
    maps = chain(_zeros(name, have, used, changed), _maps(name, have, used, centred, others))
    joined = joined_with(name, have, used, centred, held())
    if words := next(chain(maps, joined), ""):
        return Relation(words)
    mine, theirs = centred(have), centred(used)
    apart = _rms(theirs - mine) / max(_rms(mine), 1e-30)
    if have.size > 2:
        alike = float(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1])
    else:
        alike = 0.0
    where = f"{count} of the {changed.size} entries of {name}"
    if alike > 0.5 and apart < _APART:
        words = (
            f"differ, by {apart:.2g} x the RMS of the layer's: another state of the same weights, "
            "such as of another epoch"
        )
    else:
        words = "are unlike the layer's: the weights of another layer or model, or something else "
        words += "is computed there"
    return Relation(f"{where} {words}", short=False)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _entry(name: str, place: tuple[int, ...], have: float, used: float) -> str:
    at = f"{name}[{', '.join(map(str, place))}]" if place else name
    how = ""
    if abs(used) <= _SAME * abs(have):
        used = 0.0
    elif (bit := _flipped_bit(have, used)) is not None:
        how = f": bit {bit} of its float32 is flipped"
    elif abs(used + have) <= _SAME * abs(have):
        how = ": its sign is flipped"
    return f"{at} is {used:.6g} instead of {have:.6g}{how}"


def _flipped_bit(have: float, used: float) -> int | None:
    """Which bit of a float32 turns the one number into the other, the sign's left out."""
    bits = np.float32(have).view(np.uint32)
    for bit in range(30, 12, -1):
        other = float((bits ^ np.uint32(1 << bit)).view(np.float32))
        if abs(other - used) <= 1e-5 * max(abs(other), abs(have)):
            return bit
    return None


def _zeros(name: str, have: np.ndarray, used: np.ndarray, changed: np.ndarray) -> Iterator[str]:
    """Entries that are 0 instead."""
    nothing = np.abs(used) <= _SAME * np.abs(have).max()
    zero = changed & nothing
    if not zero.any() or not np.array_equal(zero, changed):
        return
    count, of = int(zero.sum()), zero.size
    if nothing.all():
        yield f"all {of} entries of {name} are 0 instead"
        return
    kept = np.abs(have[~nothing])
    small = count > 1 and kept.size and np.abs(have[zero]).max() <= 1.01 * kept.min()
    pruned = (
        f"{count} of the {of} entries of {name} are 0 instead, all those below "
        f"{np.abs(have[zero]).max():.3g}: it was pruned"
    )
    if small and zero.ndim == 1:
        yield pruned
        return
    tail = of - int(np.flatnonzero(~nothing)[-1]) - 1
    slices = list(_whole_slices(name, nothing, zero))
    if tail >= count and (zero.ndim == 1 or not slices):
        yield (
            f"the last {tail} of the {of} entries of {name} are 0 instead, in the order of the "
            "array: a file was read in part"
        )
        return
    yield from slices
    yield pruned if small else f"{count} of the {of} entries of {name} are 0 instead"


def _whole_slices(name: str, nothing: np.ndarray, zero: np.ndarray) -> Iterator[str]:
    """The zeros as slices along one axis, where they are."""
    for axis in range(zero.ndim):
        others = tuple(i for i in range(zero.ndim) if i != axis)
        whole = np.flatnonzero(_all(nothing, others) & zero.any(axis=others))
        if len(whole) and zero.sum() == zero.sum(axis=others)[whole].sum():
            yield f"{_slices(name, axis, zero.ndim, whole)} {_is(whole)} 0 instead"
            return


def _all(mask: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(mask.all(axis=axes))


def _maps(
    name: str,
    have: np.ndarray,
    used: np.ndarray,
    centred: Callable[[np.ndarray], np.ndarray],
    others: Others,
) -> Iterator[str]:
    """What gives all of the weights that were used, in the order of how short it is to say."""
    mine, theirs = centred(have), centred(used)
    change = _rms(theirs - mine)

    def fits(predicted: np.ndarray, alike: float = _ALIKE) -> bool:
        return _rms(theirs - centred(predicted)) <= alike * change

    for words, predicted in _curves(have):
        if fits(predicted, _CURVED):
            yield f"{name} is {words}"
    yield from _factors(name, mine, theirs, fits)
    for axis in range(have.ndim):
        yield from _moved(name, have, used, axis)
        if not np.array_equal(mine, have):
            yield from _moved(name, mine, theirs, axis)
    for words, function in REORDERED:
        if (other := function(have)).shape == have.shape and fits(other):
            yield f"{name} {words}"
    for words, other in turned(have):
        if fits(other):
            yield f"{name} {words}"
    for words, number in (("the sum", have.sum()), ("the mean", have.mean())):
        if have.size > 2 and fits(np.full(have.shape, number)):
            yield f"every entry of {name} is {number:.6g}, {words} of the layer's"
    for words, predicted in roundings(have):
        if fits(predicted):
            yield f"{name} is {words}"
    low, high = float(used.min()), float(used.max())
    within = int(((have > low) & (have < high)).sum())
    # of weights that are nearly all the same, any could have been cut to that
    if within >= 2 and fits(np.clip(have, low, high)):
        yield f"{name} is clipped to between {low:.6g} and {high:.6g}"
    for words, predicted in from_elsewhere(have, others):
        if fits(predicted):
            yield f"{name} is {words}"


def _curves(have: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """A variance that was taken for a deviation or the reverse, and their inverses."""
    if (have > 0).all():
        yield "squared", np.square(have)
        yield "the square root of what it should be", np.sqrt(have)
        yield "inverted", 1 / have
        yield "the inverse of its square root", 1 / np.sqrt(have)


def from_elsewhere(have: np.ndarray, others: Others) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters of other layers that this one may have been taken for."""
    for other, array in others().items():
        wide = array.astype(np.float64)
        if wide.shape == have.shape:
            yield f"{other}, a parameter of another layer", wide
        elif wide.T.shape == have.shape and have.ndim == 2:
            yield f"{other} transposed, a parameter of another layer", wide.T


def is_a_table(words: str) -> bool:
    """Whether what was done to a weight is that it is the table of an embedding, as the words for
    the parameters of other layers say it (``probe.capture.passes.Passes.weights_of_others``)."""
    return " is the embedding " in words


def _factors(
    name: str, have: np.ndarray, used: np.ndarray, fits: Callable[[np.ndarray], bool]
) -> Iterator[str]:
    """One factor or one number added, for all or for each slice along an axis."""
    if square := float(np.vdot(have, have)):
        factor = float(np.vdot(have, used)) / square
        if fits(factor * have):
            yield f"{name} is multiplied by {factor:.6g}"
    added = float((used - have).mean())
    if have.size > _FEW and fits(have + added):
        yield f"{added:.6g} is added to every entry of {name}"
    for axis in range(have.ndim) if have.ndim > 1 else ():
        others = tuple(i for i in range(have.ndim) if i != axis)
        squares = np.square(have).sum(axis=others, keepdims=True)
        factors = (have * used).sum(axis=others, keepdims=True) / np.maximum(squares, 1e-30)
        if have.size >= 4 * factors.size and fits(factors * have):
            small = np.abs(factors) <= _SAME * np.abs(factors).max()
            some = ", ".join(f"{factor:.4g}" for factor in np.where(small, 0, factors).ravel()[:3])
            yield (
                f"each slice along axis {axis} of {name} is multiplied by a factor of its own "
                f"({some}, ...)"
            )


def _moved(name: str, have: np.ndarray, used: np.ndarray, axis: int) -> Iterator[str]:
    """Slices along an axis that stand elsewhere."""
    mine, theirs = (
        np.moveaxis(array, axis, 0).reshape(have.shape[axis], -1) for array in (have, used)
    )
    count = len(mine)
    if count < 2 or (mine.shape[1] < 2 and have.ndim > 1):
        return
    squares = np.square(theirs).sum(axis=1)[:, None] + np.square(mine).sum(axis=1)[None, :]
    near = squares - 2 * theirs @ mine.T
    origin = near.argmin(axis=1)
    apart = np.square(theirs - mine[origin]).sum(axis=1)
    size = np.square(mine).sum(axis=1)
    allowed = 0.1 * _SAME if have.ndim == 1 else 10 * _SAME
    least = np.square(0.1 * _SAME) * size.max() if have.ndim == 1 else 1e-30
    if (
        np.array_equal(origin, np.arange(count))
        or (apart > np.maximum(np.square(allowed) * size[origin], least)).any()
    ):
        return
    along = f"along axis {axis} of {name}"
    moved = np.flatnonzero(origin != np.arange(count))
    if len(set(origin.tolist())) < count:
        pairs = ", ".join(f"{i} is a copy of {origin[i]}" for i in moved[:3])
        yield f"slices {along} are used twice ({pairs}{', ...' if len(moved) > 3 else ''})"
    elif np.array_equal(origin, np.arange(count)[::-1]):
        yield f"the slices {along} are in reverse order"
    elif len(moved) == 2:
        yield f"slices {moved[0]} and {moved[1]} {along} are exchanged"
    elif by := rolled_by(origin):
        yield f"the slices {along} are rolled by {by}"
    elif blocks := blocks_in_turn(origin):
        yield f"the slices {along} are interleaved: {blocks} blocks are read in turn"
    else:
        order = ", ".join(str(int(place)) for place in origin[:8])
        yield f"the slices {along} are in the order {order}{', ...' if count > 8 else ''}"


def _flipped(axis: int, array: np.ndarray) -> np.ndarray:
    if axis < array.ndim:
        return np.flip(array, axis)
    return array


REORDERED: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("is transposed", np.transpose),
    ("is read in column-major (Fortran) order", lambda a: a.reshape(a.shape, order="F")),
    ("is written in column-major (Fortran) order", lambda a: a.ravel("F").reshape(a.shape)),
    *((f"is reversed along axis {axis}", partial(_flipped, axis)) for axis in range(4)),
)


def roundings(have: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The weights in fewer bits."""
    yield "rounded to float16", have.astype(np.float16).astype(np.float64)
    yield "rounded to bfloat16", have.astype(ml_dtypes.bfloat16).astype(np.float64)
    for bits in (8, 4, 6, 16):
        most = 2 ** (bits - 1) - 1
        for words, largest in _largest(have):
            scale = np.maximum(largest, 1e-30) / most
            yield (
                f"quantised to {bits} bits with a scale {words} (largest / {most})",
                np.round(have / scale) * scale,
            )
        low, high = min(float(have.min()), 0.0), max(float(have.max()), 0.0)
        scale = (high - low) / (2**bits - 1) or 1.0
        zero = round(-low / scale)
        integers = np.clip(np.round(have / scale) + zero, 0, 2**bits - 1)
        yield (
            f"quantised to {bits} bits with a zero point (scale {scale:.4g})",
            (integers - zero) * scale,
        )
    yield "cut to bfloat16", (have.astype(np.float32).view(np.uint32) & _HIGH).view(np.float32)
    for decimals in range(1, 7):
        yield f"rounded to {decimals} decimals", np.round(have, decimals)
    for places in range(1, 17):
        step = 2.0**-places
        for words, integers in (
            ("rounded", np.round(have / step)),
            ("rounded down", np.floor(have / step)),
            ("cut off", np.trunc(have / step)),
        ):
            yield f"{words} to multiples of 2^-{places}", integers * step


def _largest(have: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "for all", np.abs(have).max()
    for axis in range(have.ndim) if have.ndim > 1 else ():
        others = tuple(i for i in range(have.ndim) if i != axis)
        yield f"for each slice along axis {axis}", np.abs(have).max(axis=others, keepdims=True)


def _slices(name: str, axis: int, rank: int, which: np.ndarray) -> str:
    shown = ", ".join(str(int(index)) for index in which[:4]) + (", ..." if len(which) > 4 else "")
    index = ", ".join("i" if i == axis else ":" for i in range(rank))
    if rank > 1:
        return f"{name}[{index}] for i = {shown}"
    return f"{name}[{shown}]"


def _is(which: np.ndarray) -> str:
    if len(which) == 1:
        return "is"
    return "are"
