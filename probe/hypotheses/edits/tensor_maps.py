"""What may happen to a tensor on its way: turned, moved, read in another order, scaled, cut.

One list serves inputs, parameters and what steps give; each map comes with its words, which follow
"is" or "are".
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations, permutations, zip_longest
from typing import NamedTuple

import ml_dtypes
import numpy as np

__all__ = ["Map", "factors", "maps", "remade", "scalings", "transposed", "whole_numbers"]


class Map(NamedTuple):
    """A function of an array that keeps its shape."""

    words: str
    function: Callable[[np.ndarray], np.ndarray]
    rearranges: bool = True
    """Whether it only moves or repeats elements: what acts on each element alone may then come
    before it or behind."""


def maps(shape: Sequence[int], along: Callable[[int], str], batch: bool = True) -> Iterator[Map]:
    """What keeps a shape; ``along`` says an axis in words, ``batch``: the first axis holds
    samples, which stay where they are."""
    axes = [axis for axis in range(int(batch), len(shape)) if shape[axis] > 1]
    for axis in axes:
        yield Map(f"reversed along {along(axis)}", partial(np.flip, axis=axis))
    for one, other in combinations(axes, 2):
        if shape[one] == shape[other]:
            yield _transposed(one, other, along)
            for parts in _divisors(shape[one]):
                order = np.arange(shape[one]).reshape(parts, -1).T.ravel()
                words = f"read column by column instead of row by row along {along(one)} and "
                words += f"{along(other)}, each in {parts} rows"
                yield Map(words, partial(_along_both, order=order, axes=(one, other)))
    yield from _reread(shape, axes, _rotations(axes))
    for turn in zip_longest(*(_along(shape[axis], axis, along(axis)) for axis in axes)):
        yield from filter(None, turn)
    rotated = list(_rotations(axes))
    yield from _reread(shape, axes, (o for o in permutations(axes) if list(o) not in rotated))
    for one, other in combinations(axes, 2):
        words = f"reversed along {along(one)} and {along(other)}"
        yield Map(words, partial(np.flip, axis=(one, other)))
        for by in (1, -1):
            words = f"rolled by {by} along {along(one)} and {along(other)}"
            yield Map(words, partial(np.roll, shift=(by, by), axis=(one, other)))


def transposed(shape: Sequence[int], along: Callable[[int], str], batch: bool) -> Iterator[Map]:
    """Two axes of one size exchanged."""
    for first, second in combinations(range(int(batch), len(shape)), 2):
        if shape[first] == shape[second] > 1:
            yield _transposed(first, second, along)


def _transposed(first: int, second: int, along: Callable[[int], str]) -> Map:
    words = f"transposed: {along(first)} and {along(second)} are exchanged"
    return Map(words, partial(np.swapaxes, axis1=first, axis2=second))


def _along_both(x: np.ndarray, order: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    for axis in axes:
        x = np.take(x, order, axis)
    return x


def _rotations(axes: Sequence[int]) -> Iterator[list[int]]:
    """The orders in which the first of some axes comes last, or the last one first: rows and
    columns exchanged, or channels first for channels last."""
    yield [*axes[1:], *axes[:1]]
    if len(axes) > 2:
        yield [*axes[-1:], *axes[:-1]]


def _reread(
    shape: Sequence[int], axes: Sequence[int], orders: Iterable[Sequence[int]]
) -> Iterator[Map]:
    """The elements written in one order of the axes and read in another."""
    if not 2 <= len(axes) <= 4:
        return
    for order in orders:
        if list(order) != list(axes):
            perm = list(range(len(shape)))
            for place, axis in zip(axes, order, strict=True):
                perm[place] = axis
            turned = tuple(shape[axis] for axis in perm)
            back = tuple(int(axis) for axis in np.argsort(perm))
            if turned != tuple(shape):
                words = f"read as {turned}, without moving the axes"
                yield Map(words, partial(_read_as, turned=turned, back=back))
                yield Map(
                    f"transposed to {turned} and read as {tuple(shape)}",
                    partial(_written_as, perm=perm),
                )


def _read_as(x: np.ndarray, turned: tuple[int, ...], back: tuple[int, ...]) -> np.ndarray:
    return x.reshape((-1, *turned[1:])).transpose(back)


def _written_as(x: np.ndarray, perm: Sequence[int]) -> np.ndarray:
    return x.transpose(perm).reshape(x.shape)


def _along(size: int, axis: int, name: str) -> Iterator[Map]:
    """What moves the slices along one axis."""
    seen = {tuple(range(size))}
    for words, order in _orders(size, name):
        if (key := tuple(order.tolist())) not in seen:
            seen.add(key)
            yield Map(words, partial(np.take, indices=order, axis=axis))
    for by in (1, -1):
        words = f"shifted by {by} along {name} and filled with zeros"
        yield Map(words, partial(_shifted, by=by, axis=axis), False)
    yield Map(f"0 at the first place along {name}", partial(_zeroed, at=0, axis=axis), False)
    yield Map(f"0 at the last place along {name}", partial(_zeroed, at=-1, axis=axis), False)
    yield Map(f"replaced by its mean along {name}", partial(_of_all, axis=axis, of=np.mean), False)
    yield Map(
        f"replaced by its largest value along {name}", partial(_of_all, axis=axis, of=np.max), False
    )
    yield Map(f"summed up along {name}", partial(np.cumsum, axis=axis), False)


def _orders(size: int, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Which slice along one axis stands at each place, in words and numbers; some orders come
    more than once."""
    places = np.arange(size)
    for by in (1, -1):
        yield f"rolled by {by} along {name}", np.roll(places, by)
    for parts in _divisors(size):
        yield from _orders_of_blocks(places.reshape(parts, -1), name)
    if size % 2 == 0 and size > 2:
        pairs = places.reshape(-1, 2)[:, ::-1].ravel()
        yield f"reversed within blocks of 2 along {name}", pairs
    if size % 2 and size > 3:  # such as boxes behind the number of their image
        pairs = places[1:].reshape(-1, 2)[:, ::-1].ravel()
        words = f"reversed within blocks of 2 along {name}, behind the first place"
        yield words, np.r_[0, pairs]
    for by in (2, -2):
        if abs(by) < size and 2 * abs(by) != size:
            yield f"rolled by {by} along {name}", np.roll(places, by)
    for many, inner in _two_levels(size):
        yield from _orders_of_nested_blocks(places.reshape(many, inner, -1), name)
    yield f"taken from the first place along {name} for all", np.zeros(size, int)
    yield f"taken from the last place along {name} for all", np.full(size, size - 1)
    for by in (1, -1):
        words = f"shifted by {by} along {name}, the end repeated"
        yield words, np.clip(places - by, 0, size - 1)


def _orders_of_blocks(blocks: np.ndarray, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The orders by the blocks, one a row, that an axis is split into."""
    parts, length = blocks.shape
    places = blocks.ravel()
    if parts == 2:
        yield f"taken with the two halves along {name} exchanged", blocks[::-1].ravel()
    elif parts <= 4:
        for which in permutations(range(parts)):
            if which != tuple(range(parts)):
                order = ", ".join(map(str, which))
                words = f"taken with its {parts} parts along {name} in the order {order}"
                yield words, blocks[list(which)].ravel()
    yield f"interleaved along {name}: {parts} blocks are read in turn", blocks.T.ravel()
    if length > _PARTS:
        words = f"split along {name} in turns of {parts} slices instead of {parts} blocks"
        yield words, places.reshape(-1, parts).T.ravel()
    words = f"taken from the first of {parts} blocks along {name} for all blocks"
    yield words, np.tile(places[:length], parts)
    yield f"repeated for runs of {length} along {name}", np.repeat(places[:length], parts)
    yield f"taken from the first of each {length} along {name}", places - places % length
    yield f"reversed within blocks of {length} along {name}", blocks[:, ::-1].ravel()


def _orders_of_nested_blocks(blocks: np.ndarray, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The orders by the blocks of blocks, (blocks, blocks in each, places), that an axis is split
    into."""
    many, inner, length = blocks.shape
    words = f"read as ({inner}, {many}, {length}) along {name}, which is {blocks.shape}"
    yield words, blocks.reshape(inner, many, -1).swapaxes(0, 1).ravel()
    words = f"ordered as ({inner}, {many}, {length}) along {name}, not {blocks.shape}"
    yield words, blocks.swapaxes(0, 1).ravel()
    words = f"interleaved along {name} within each of {many} blocks: {inner} parts in turn"
    yield words, blocks.swapaxes(1, 2).ravel()


def _two_levels(size: int) -> Iterator[tuple[int, int]]:
    """Into how many blocks of blocks an axis can be split: heads and their parts, or taps and
    channels."""
    for outer in _divisors(size):
        for inner in _divisors(size // outer):
            if 3 in (outer, inner) or outer * inner <= _BLOCKS:
                yield outer, inner


_PARTS = 16
"""Into how many parts an axis is split at most."""
_BLOCKS = 36
"""How many blocks of blocks are taken in another order."""


def _divisors(size: int) -> list[int]:
    return [parts for parts in range(2, size // 2 + 1) if size % parts == 0 and parts <= _PARTS]


def _increased(by: float) -> str:
    return f"{'increased' if by > 0 else 'decreased'} by {abs(by):g}"


def _shifted(x: np.ndarray, by: int, axis: int) -> np.ndarray:
    out = np.roll(x, by, axis)
    gone = [slice(None)] * x.ndim
    gone[axis] = slice(0, by) if by > 0 else slice(by, None)
    out[tuple(gone)] = 0
    return out


def _zeroed(x: np.ndarray, at: int, axis: int) -> np.ndarray:
    out = x.copy()
    out[(slice(None),) * axis + (at,)] = 0
    return out


def _of_all(x: np.ndarray, axis: int, of: Callable[..., np.ndarray]) -> np.ndarray:
    return np.broadcast_to(of(x, axis=axis, keepdims=True), x.shape)


def scalings(shape: Sequence[int], few: bool = False) -> Iterator[Map]:
    """Usual factors and functions of each element, the commonest first, or no more than these."""
    yield Map("subtracted from 1", partial(np.subtract, 1.0), False)
    for added in (1.0, -1.0):
        yield Map(_increased(added), partial(np.add, added), False)
    for words, factor in factors(shape, few).items():
        yield Map(f"multiplied by {words}", partial(np.multiply, factor), False)
    yield Map("replaced by its absolute value", np.abs, False)
    yield Map("squared", np.square, False)
    if few:
        return
    for added in (0.5, -0.5):
        yield Map(_increased(added), partial(np.add, added), False)
    yield Map("replaced by its square root", np.sqrt, False)
    yield Map("inverted (1 / x)", np.reciprocal, False)
    for words, function in _CURVES.items():
        yield Map(f"replaced by {words}", function, False)
    yield Map("rounded to float16", partial(_cast, to=np.float16), False)
    yield Map("rounded to bfloat16", partial(_cast, to=ml_dtypes.bfloat16), False)
    yield Map("rounded to whole numbers", np.rint, False)
    yield Map("cut off to whole numbers", np.trunc, False)


_CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "its logarithm": np.log,
    "log(1 + x)": np.log1p,
    "its logarithm to base 2": np.log2,
    "sign(x) log(1 + |x|)": lambda x: np.sign(x) * np.log1p(np.abs(x)),
    "its exponential": np.exp,
}


def factors(shape: Sequence[int], few: bool = False) -> dict[str, float]:
    """Usual factors of a tensor by their words, the commonest first, each but once."""
    found: dict[str, float] = {"-1": -1.0, "2": 2.0, "1/2": 0.5}
    for size in dict.fromkeys(size for size in reversed(shape) if size > 2 and not few):
        found[f"sqrt({size})"] = math.sqrt(size)
        found[f"1 / sqrt({size})"] = 1 / math.sqrt(size)
        found[f"{size}"] = float(size)
        found[f"1 / {size}"] = 1 / size
    for number in (3, 4, 255, 128, 256, 1000) if not few else ():
        found.setdefault(f"{number}", float(number))
        found.setdefault(f"1 / {number}", 1 / number)
    first = {factor: words for words, factor in reversed(found.items())}
    return {words: factor for words, factor in found.items() if first[factor] == words}


def remade(shape: Sequence[int], along: Callable[[int], str]) -> Iterator[Map]:
    """What a file may hold in place of a parameter, or a layer makes of it: its logarithm, its
    length divided out, one row of a transform by a factor of its own."""
    for words, function in _FUNCTIONS.items():
        yield Map(f"replaced by its {words}", function, False)
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    for count in range(1, len(axes) + 1):
        for some in combinations(axes, count):
            over = " and ".join(map(along, some))
            for words, size in _SIZES.items():
                claim = f"divided by its {words} over {over}"
                yield Map(claim, partial(_normalised, size=size, axes=some), False)
    for axis in axes:
        for words, at in _SLICES.items():
            for what, factor in _OF_ONE.items():
                name = f"multiplied by {what} at {words} along {along(axis)}"
                yield Map(name, partial(_multiplied, at=at, axis=axis, factor=factor), False)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exponential": np.exp,
    "logarithm": np.log,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(0, x),
}
_SIZES: dict[str, Callable[..., np.ndarray]] = {
    "length": lambda x, **over: np.sqrt(np.square(x).sum(**over)),
    "largest magnitude": lambda x, **over: np.abs(x).max(**over),
    "sum": np.sum,
}
_SLICES = {
    "the first place": slice(0, 1),
    "the last place": slice(-1, None),
    "all places but the first and last": slice(1, -1),
}
_OF_ONE = {"sqrt(2)": math.sqrt(2), "1 / sqrt(2)": math.sqrt(0.5), "2": 2.0, "1/2": 0.5}


def _normalised(
    x: np.ndarray, size: Callable[..., np.ndarray], axes: tuple[int, ...]
) -> np.ndarray:
    return np.asarray(x / size(x, axis=axes, keepdims=True))


def _multiplied(x: np.ndarray, at: slice, axis: int, factor: float) -> np.ndarray:
    out = np.array(x, np.float64)
    out[(slice(None),) * axis + (at,)] *= factor
    return out


def _cast(x: np.ndarray, to: type) -> np.ndarray:
    return x.astype(to).astype(np.float64)


def whole_numbers() -> Iterator[Map]:
    """What indices and masks may become."""
    yield Map("taken as 1 everywhere", np.ones_like, False)
    yield Map("taken as 0 everywhere", np.zeros_like, False)
    yield Map("taken as 0, 1, 2 and so on", _counted, False)
    for added in (1, -1, 2, -2):
        yield Map(_increased(added), partial(np.add, added), False)
    for words, by in _STEPS_WITHIN.items():
        yield Map(words, partial(_within, by=by), False)
    for modulus in (256, 128, 65536):
        words = f"taken modulo {modulus}, as a type of few bits wraps around"
        yield Map(words, partial(_modulo, by=modulus), False)
    for bits in (8, 16):
        yield Map(f"wrapped around in int{bits}", partial(_wrapped, half=2 ** (bits - 1)), False)


_STEPS_WITHIN = {
    "decreased by 1, down to the smallest": -1,
    "increased by 1, up to the largest": 1,
}


def _within(x: np.ndarray, by: int) -> np.ndarray:
    """Moved by that many, and no further than the smallest and the largest of them."""
    if x.min() == 0 and x.max() == 1:
        raise ValueError("all of a mask would be one number")
    return np.asarray(np.clip(x + by, x.min(), x.max()))


def _counted(x: np.ndarray) -> np.ndarray:
    """The places along the last axis."""
    return np.broadcast_to(np.arange(x.shape[-1]), x.shape) if x.ndim else x


def _wrapped(x: np.ndarray, half: int) -> np.ndarray:
    return (x + half) % (2 * half) - half


def _modulo(x: np.ndarray, by: int) -> np.ndarray:
    return x % by
