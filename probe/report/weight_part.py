"""Which elements of weights a check sees on its input, and the words for those that it does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from probe.ops.weight import Weight

__all__ = ["Sensitivity", "in_words", "places", "share", "within_weight"]

_LISTED = 4
"""So many places of one weight are listed."""


@dataclass(frozen=True)
class Sensitivity:
    """What a check can tell of wrong weights on its input."""

    change: float | None
    """The relative change of a weight that is detected; None where no sum is traced."""
    detected: int
    """Of how many elements of weights it is."""
    count: int
    """How many elements these weights have."""
    estimated: bool = False
    """Whether the number is estimated from some of them."""
    unseen: tuple[str, ...] = ()
    """Where any value gives the same output, a sentence for each weight and reason."""


def in_words(visible: float | None, sensitivity: Sensitivity | None) -> str:
    """What is detected, as a share of the weights; "" where that is not known. ``visible`` is the
    smallest change that is detected in any of them."""
    if visible is None:
        return ""
    detects = "this check would detect a relative change of"
    if sensitivity is None or sensitivity.change is None:
        return (
            f"{detects} {visible:.1g} in the weight that shows it best; in how many others was "
            "not determined: there are too many"
        )
    missed = sensitivity.count - sensitivity.detected
    about = "about " if sensitivity.estimated else ""
    which = f"all but {about}{missed:,} of" if missed else "all"
    return f"{detects} {sensitivity.change:.1g} in {which} {sensitivity.count:,} weights"


def within_weight(weight: Weight, mask: np.ndarray) -> np.ndarray:
    """A mask that broadcasts to the op's layout of a weight, in the framework's layout."""
    mask = np.broadcast_to(mask, weight.value.shape)
    if weight.rows is None and weight.shape is None:
        if weight.axes is None:
            return mask
        return mask.transpose(np.argsort(weight.axes))
    numbers = np.arange(weight.effective.size).reshape(weight.effective.shape)
    used = weight.to_op(numbers)
    found = np.zeros(weight.effective.size, bool)
    found[used[mask]] = True
    return found.reshape(weight.effective.shape)


def places(name: str, mask: np.ndarray) -> str:
    """The elements of a weight where a mask is True, such as "weight[:, 2]" or "weight[0, 1:3]"."""
    small = _one_of_each(mask)
    if small.all():
        return name
    kept = [axis for axis in range(mask.ndim) if not _constant_along(small, axis)]
    rest = tuple(axis for axis in range(mask.ndim) if axis not in kept)
    runs = [*islice(_runs(np.asarray(small.all(axis=rest))), _LISTED + 1)]
    listed = [f"[{_index(run, kept, mask.ndim)}]" for run in runs[:_LISTED]]
    return name + ", ".join(listed) + " and more" * (len(runs) > _LISTED)


def share(mask: np.ndarray) -> str:
    """How many elements of how many."""
    small = _one_of_each(mask)
    return f"{int(small.sum()) * (mask.size // small.size):,} of {mask.size:,}"


def _one_of_each(mask: np.ndarray) -> np.ndarray:
    """A mask without its repetitions along axes that it was broadcast along."""
    return mask[tuple(slice(None) if step else slice(1) for step in mask.strides)]


def _constant_along(mask: np.ndarray, axis: int) -> bool:
    first = mask.take([0], axis=axis)
    return bool((mask == first).all())


def _runs(mask: np.ndarray) -> Iterator[tuple[str, ...]]:
    """The indices of True elements; neighbouring places of an axis that are alike are one slice."""
    if not mask.ndim:
        yield ()
        return
    rest = tuple(range(1, mask.ndim))
    ends = np.flatnonzero((mask[1:] != mask[:-1]).any(axis=rest)) + 1
    for start, end in pairwise([0, *ends.tolist(), len(mask)]):
        if mask[start].any():
            run = str(start) if end == start + 1 else f"{start}:{end}"
            yield from ((run, *inner) for inner in _runs(mask[start]))


def _index(run: Sequence[str], kept: Sequence[int], rank: int) -> str:
    named = dict(zip(kept, run, strict=True))
    return ", ".join(named.get(axis, ":") for axis in range(rank))
