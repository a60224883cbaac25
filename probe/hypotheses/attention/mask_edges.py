"""Masks of attention whose edge lies elsewhere: a window of another size, a diagonal that is or is
not part of it, blocks of packed sequences that end at another place."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import combinations
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.mapped_tensors import mapped
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement
from probe.ops.step import Ref
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__ = ["Mask", "all_changed", "given", "masks"]

_MOVED = 4
"""By how many places an edge is moved at most."""
_LARGEST = 1 << 20


class Mask(NamedTuple):
    """A tensor of two values that says which keys each query attends to."""

    ref: Ref
    kept: np.ndarray
    """Of the first of its leading axes: (queries, keys)."""
    high: np.generic
    """What stands where a key is attended to."""
    low: np.generic


@more("attention-mask")
def other_masks(case: Case) -> Iterator[Changes]:
    """A mask without the causal part, without the window or the blocks, or with or without the
    diagonal."""
    yield Changes(_others, "attention-mask", STEPS)


@more("window-off-by-one")
def moved_edges(case: Case) -> Iterator[Changes]:
    """A mask with an edge of its window or of its blocks at another key."""
    yield Changes(_edges, "window-off-by-one", STEPS)


def _edges(case: Case) -> Iterator[Change]:
    for mask in masks(case):
        ways = list[tuple[str, _Function]]()
        for by in range(1, _MOVED + 1):
            for sides, shifts in _SIDES.items():
                words = f"by {by} position{'s' * (by > 1)} on {sides}"
                ways.append((f"wider {words}", partial(_wider, shifts=shifts, by=by)))
                ways.append((f"narrower {words}", partial(_narrower, shifts=shifts, by=by)))
        if _is_window(mask.kept):
            ways.append(("made without its window, as the causal mask", _past))
        yield from all_changed(case, mask, [*ways, *_prefixes(mask), *_strides(mask)])
        yield from all_changed(case, mask, _blocks_moved(mask))


_Function = Callable[[np.ndarray], np.ndarray]
_SIDES = {
    "the side of later keys": (1,),
    "the side of earlier keys": (-1,),
    "both sides": (1, -1),
}


def _wider(kept: np.ndarray, shifts: tuple[int, ...], by: int) -> np.ndarray:
    return np.asarray(reduce(np.logical_or, _shifted(kept, shifts, by)))


def _narrower(kept: np.ndarray, shifts: tuple[int, ...], by: int) -> np.ndarray:
    """A key is left out where its neighbour on that side is hidden."""
    return np.asarray(reduce(np.logical_and, _shifted(kept, tuple(-k for k in shifts), by)))


def _shifted(kept: np.ndarray, shifts: tuple[int, ...], by: int) -> list[np.ndarray]:
    """The mask, and the mask moved along the keys by up to so many places."""
    return [kept, *(_moved(kept, shift * n) for shift in shifts for n in range(1, by + 1))]


def _is_band(kept: np.ndarray) -> bool:
    """Whether all diagonals are of one value."""
    return np.array_equal(kept[..., 1:, 1:], kept[..., :-1, :-1])


def _is_window(kept: np.ndarray) -> bool:
    """Whether queries see some of the last keys before them."""
    return _is_band(kept) and not (kept & ~_past(kept)).any()


def _moved(kept: np.ndarray, by: int) -> np.ndarray:
    """The mask moved along the keys; what comes in is as the diagonals of a band go on, and else as
    the ends are."""
    rows: np.ndarray
    taken: np.ndarray
    rows, taken = np.indices(kept.shape[-2:]) - np.array([0, by]).reshape(2, 1, 1)
    last = kept.shape[-1] - 1
    if _is_band(kept):
        beyond = np.where(taken < 0, -taken, np.minimum(last - taken, 0))
        rows = (rows + beyond).clip(0, kept.shape[-2] - 1)
    return np.asarray(kept[..., rows, taken.clip(0, last)])


def _prefixes(mask: Mask) -> Iterator[tuple[str, _Function]]:
    """Another number of first keys that all queries attend to."""
    past = _past(mask.kept)
    count = int(mask.kept.all(axis=tuple(range(mask.kept.ndim - 1))).sum())
    first = np.arange(mask.kept.shape[-1])
    if count > 1 and np.array_equal(mask.kept, past | (first < count)):
        for other in (count + 1, count - 1, count + 2, count - 2):
            words = f"made with a prefix of {other} keys, not {count},"
            yield words, partial(given, other=past | (first < other))


def _strides(mask: Mask) -> Iterator[tuple[str, _Function]]:
    """Another distance of the keys that each query attends to."""
    queries, keys = np.indices(mask.kept.shape[-2:])
    for part, words in ((_past(mask.kept), "earlier "), (np.True_, "")):
        for every in range(2, _STRIDE + 1):
            if np.array_equal(mask.kept, part & ((queries - keys) % every == 0)):
                for other in (*range(2, every), *range(every + 1, _STRIDE + 1)):
                    what = f"made with each {other}th of the {words}keys, not each {every}th,"
                    kept = part & ((queries - keys) % other == 0)
                    yield what, partial(given, other=kept)


_STRIDE = 8


def given(kept: np.ndarray, other: np.ndarray) -> np.ndarray:
    return other


def _past(kept: np.ndarray, before: int = 0) -> np.ndarray:
    """Which keys are a query's own or earlier ones, less the last so many of them."""
    queries, keys = kept.shape[-2:]
    return np.tri(queries, keys, keys - queries - before, dtype=bool)


def _others(case: Case) -> Iterator[Change]:
    for mask in masks(case):
        ways = {words: way for words, way in _PARTS.items() if words not in _OF_WINDOWS}
        yield from all_changed(case, mask, (ways if _is_window(mask.kept) else _PARTS).items())
        yield from all_changed(case, mask, [*_blocks_joined(mask), *_window_or_blocks(mask)])


def _without_own(kept: np.ndarray) -> np.ndarray:
    """A query that would attend to no key keeps its own."""
    own = _past(kept) & ~_past(kept, 1)
    rest = kept & ~own
    return np.asarray(rest | (own & ~rest.any(axis=-1, keepdims=True)))


def _symmetric(kept: np.ndarray) -> np.ndarray:
    if kept.shape[-1] != kept.shape[-2]:
        return kept
    return np.asarray(kept | kept.swapaxes(-1, -2))


def _closed(kept: np.ndarray) -> np.ndarray:
    if kept.shape[-1] != kept.shape[-2]:
        return kept
    return np.asarray(kept | (kept.astype(np.float32) @ kept.astype(np.float32) > 0))


def _next_alone(kept: np.ndarray) -> np.ndarray:
    """Of the keys before each query, its parents, the last alone."""
    keys = np.arange(kept.shape[-1])
    own = np.eye(kept.shape[-2], kept.shape[-1], dtype=bool)
    before = kept & ~own
    last = np.where(before, keys, -1).max(axis=-1, keepdims=True)
    return np.asarray((kept & own) | (before & (keys == last)))


_PARTS: dict[str, _Function] = {
    "replaced by the causal mask": _past,
    "restricted to earlier keys": lambda kept: kept & _past(kept),
    "extended to all earlier keys": lambda kept: kept | _past(kept),
    "extended to all later keys": lambda kept: kept | ~_past(kept),
    "without the keys at the queries' own positions": _without_own,
    "with the keys at the queries' own positions": lambda kept: (
        kept | (_past(kept) & ~_past(kept, 1))
    ),
    "joined with its transpose": _symmetric,
    "restricted to each query's own key and the last one before it": _next_alone,
    "extended to what the keys attend to": _closed,
}
_OF_WINDOWS = ("replaced by the causal mask", "extended to all earlier keys")


# Blocks.


def _blocks_moved(mask: Mask) -> Iterator[tuple[str, _Function]]:
    """Blocks that end elsewhere: one of them, all, or blocks of another size."""
    found = _blocks(mask.kept)
    if found is None:
        return
    (*inner, size), causal = found
    for by in (1, -1, 2, -2):
        moved = [end + by for end in inner]
        yield from _in_blocks(moved, size, causal, f"all blocks end {by:+d} further on")
        for k, end in enumerate(inner) if len(inner) > 1 else ():
            other = [*inner[:k], end + by, *inner[k + 1 :]]
            words = f"block {k} ends at position {end + by}, not {end}"
            yield from _in_blocks(other, size, causal, words)
    for each in range(2, size):
        words = f"blocks of {each} positions"
        yield from _in_blocks([*range(each, size, each)], size, causal, words)


def _blocks_joined(mask: Mask) -> Iterator[tuple[str, _Function]]:
    """Blocks that go on in the next one, or see later keys of theirs."""
    found = _blocks(mask.kept)
    if found is None:
        return
    (*inner, size), causal = found
    for count in range(1, len(inner) + 1) if len(inner) <= _FEW_BLOCKS else (len(inner),):
        for gone in combinations(range(len(inner)), count):
            other = [end for k, end in enumerate(inner) if k not in gone]
            names = ", ".join(str(inner[k]) for k in gone)
            words = f"no block ends at position {names}"
            yield from _in_blocks(other, size, causal, words)
    words = "queries see later keys of theirs" if causal else "queries see no later keys"
    yield from _in_blocks(inner, size, not causal, words)


def _window_or_blocks(mask: Mask) -> Iterator[tuple[str, _Function]]:
    """The last keys before each query in place of those of its block, and the other way round."""
    past, found = _past(mask.kept), _blocks(mask.kept)
    size = mask.kept.shape[-1]
    if found is not None and found[1]:
        each = found[0][0]
        words = f"made of the last {each} keys before each query, not those of its block,"
        yield words, partial(given, other=past & ~_past(mask.kept, each))
    elif _is_window(mask.kept):
        each = int(mask.kept.sum(-1).max())
        if 1 < each < size:
            words = (
                f"made of blocks of {each} positions, not the last {each} keys before each query,"
            )
            yield from _in_blocks([*range(each, size, each)], size, True, words)


_FEW_BLOCKS = 6


def _blocks(kept: np.ndarray) -> tuple[list[int], bool] | None:
    """Where the blocks of a mask end, and whether queries see earlier keys of theirs alone; None
    where it has none."""
    if kept.ndim != 2 or kept.shape[0] != kept.shape[1] or not kept.diagonal().all():
        return None
    size = len(kept)
    both = kept | kept.T
    ends = [at for at in range(1, size) if not both[at:, :at].any()]
    if ends and len(ends) <= size // 2:
        for causal in (False, True):
            if np.array_equal(_of_blocks(ends, size, causal), kept):
                return [*ends, size], causal
    return None


def _of_blocks(ends: Sequence[int], size: int, causal: bool) -> np.ndarray:
    number = np.searchsorted(ends, np.arange(size), side="right")
    same = number[:, None] == number
    return np.asarray(same & np.tri(size, dtype=bool) if causal else same)


def _in_blocks(
    ends: Sequence[int], size: int, causal: bool, words: str
) -> Iterator[tuple[str, _Function]]:
    if all(0 < end < size for end in ends) and sorted(set(ends)) == list(ends):
        whole = _of_blocks(ends, size, causal)
        yield f"made with other blocks ({words})", partial(given, other=whole)


# The masks of a layer.


def masks(case: Case) -> Iterator[Mask]:
    """The masks that are constants or inputs of the layer and reach a softmax."""
    constant = of_parameters(case)
    refs = [Ref(-1, k) for k in range(len(case.inputs))]
    refs += [Ref(at) for at in sorted(constant) if not _copies(case, at)]
    for ref in refs:
        x = np.asarray(ref.of(case.inputs, case.values))
        if x.ndim < 2 or min(x.shape[-2:]) < 2 or not 4 <= x.size <= _LARGEST:
            continue
        values = np.unique(x)
        if values.size != 2 or not _reaches_softmax(case, ref):
            continue
        high, low = values[1], values[0]
        kept = x == high
        first = kept.reshape(-1, *kept.shape[-2:])
        if (first == first[0]).all():
            kept = first[0]
        if not kept.diagonal(axis1=-2, axis2=-1).any():  # True or 1 where a key is hidden
            kept, high, low = ~kept, low, high
        yield Mask(ref, kept, high, low)


def _copies(case: Case, position: int) -> bool:
    """Whether a step gives what it takes in another type or shape."""
    return isinstance(case.steps[position].op, ops.Cast | Rearrangement)


def _reaches_softmax(case: Case, ref: Ref) -> bool:
    ahead, seen = list(users_of(case).get(ref, ())), set[int]()
    while ahead:
        at = ahead.pop()
        if at in seen:
            continue
        seen.add(at)
        op = case.steps[at].op
        if isinstance(op, ops.Softmax | ops.Attention | ops.LogSoftmax):
            return True
        if getattr(op, "weight", None) is None:
            ahead += users_of(case).get(Ref(at), ())
    return False


def all_changed(case: Case, mask: Mask, ways: Iterable[tuple[str, _Function]]) -> Iterator[Change]:
    """The masks that these ways make of one, each but once, and none that hides nothing: there the
    mask is left out."""
    seen = {mask.kept.tobytes()}
    name = tensor_name(case, mask.ref)
    subject = name if "mask" in name else f"the mask ({name})"
    for words, function in ways:
        kept = np.asarray(function(mask.kept))
        if (key := kept.tobytes()) not in seen and not kept.all():
            seen.add(key)
            of = partial(_with_kept, kept=kept, high=mask.high, low=mask.low)
            change = next(mapped(case, mask.ref, Map(words, of, False)))
            yield replace(change, what=f"{subject} is {words.removesuffix(',')}")


def _with_kept(x: np.ndarray, kept: np.ndarray, high: np.generic, low: np.generic) -> np.ndarray:
    return np.broadcast_to(np.where(kept, high, low), x.shape).astype(x.dtype)
