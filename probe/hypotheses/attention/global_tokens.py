"""Masks of a window with tokens that see all and that all see, such as Longformer's."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from probe.hypotheses.attention.mask_edges import Mask, all_changed, given, masks
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.registry import more
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_MOVED = 3
"""By how many places an edge of the window is moved at most."""


class _SeenWindow(NamedTuple):
    """Which keys a query sees: some before its own and some behind it, and tokens beside these."""

    before: int
    behind: int
    seeing: np.ndarray
    """The tokens that see all."""
    seen: np.ndarray
    """The tokens that all see."""

    @property
    def kept(self) -> np.ndarray:
        at = np.arange(self.seeing.size)
        apart = at - at[:, None]
        window = (apart >= -self.before) & (apart <= self.behind)
        return np.asarray(window | self.seeing[:, None] | self.seen)


@more("window-off-by-one")
def windows_beside_global_tokens(case: Case) -> Iterator[Changes]:
    """A window of another size, the tokens that see all or that all see left as they are."""
    yield Changes(_windows, "window-off-by-one", STEPS)


@more("attention-mask")
def global_tokens(case: Case) -> Iterator[Changes]:
    """Tokens that see their window alone where they see all, or that not all see."""
    yield Changes(_tokens, "attention-mask", STEPS)


def _windows(case: Case) -> Iterator[Change]:
    for mask, window in _found(case):
        for words, other in _other_windows(window):
            told = f"made with {words}, where it is {window.before} before and {window.behind} "
            told += "behind"
            yield from all_changed(case, mask, [(told, partial(given, other=other.kept))])


def _other_windows(window: _SeenWindow) -> Iterator[tuple[str, _SeenWindow]]:
    """Windows that are wider or narrower on a side or on both, split in two, or on one side."""
    before, behind = window.before, window.behind
    some = [(before // 2, behind // 2), (before, 0), (0, behind), (2 * before, 2 * behind)]
    for by in (*range(1, _MOVED + 1), *range(-1, -_MOVED - 1, -1)):
        some += [(before + by, behind + by), (before + by, behind), (before, behind + by)]
    for first, last in dict.fromkeys(some):
        if (first, last) != (before, behind) and min(first, last) >= 0:
            words = f"a window of {first} tokens before and {last} behind"
            yield words, window._replace(before=first, behind=last)


def _tokens(case: Case) -> Iterator[Change]:
    for mask, window in _found(case):
        none = np.zeros_like(window.seen)
        ways = [
            (
                f"made so that {_listed(window.seeing)} attends only to its window, not to all",
                window._replace(seeing=none),
            ),
            (
                f"made so that {_listed(window.seen)} is attended to only within the window",
                window._replace(seen=none),
            ),
            (
                "made of the window alone, without tokens that see all or that all see",
                window._replace(seeing=none, seen=none),
            ),
        ]
        for words, other in ways:
            yield from all_changed(case, mask, [(words, partial(given, other=other.kept))])


def _listed(tokens: np.ndarray) -> str:
    return f"token {', '.join(str(at) for at in np.flatnonzero(tokens))}"


def _found(case: Case) -> Iterator[tuple[Mask, _SeenWindow]]:
    for mask in masks(case):
        window = _window_of(mask.kept)
        if window is not None:
            yield mask, window


def _window_of(kept: np.ndarray) -> _SeenWindow | None:
    """The window of a mask; None where it has none, or no tokens beside one."""
    if kept.ndim != 2 or kept.shape[0] != kept.shape[1]:
        return None
    seeing, seen = (np.asarray(kept.all(axis=axis)) for axis in (1, 0))
    if not (seeing.any() or seen.any()) or seeing.sum() + seen.sum() > len(kept) // 2:
        return None
    queries, keys = np.nonzero(kept & ~seeing[:, None] & ~seen)
    if not queries.size:
        return None
    window = _SeenWindow(int((queries - keys).max()), int((keys - queries).max()), seeing, seen)
    if min(window.before, window.behind) < 0 or not np.array_equal(window.kept, kept):
        return None
    return window
