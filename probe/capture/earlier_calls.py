"""Calls that an interrupted recording has of the same pass: a layer whose weights lie on the disk
gives what it gave then, and does not run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import numpy as np

__all__ = ["Earlier", "earlier_calls", "resuming"]

Earlier: TypeAlias = Callable[[str, int, Sequence[np.ndarray]], tuple[np.ndarray, str] | None]
"""The output that a call of a layer, by its name and number, had on these inputs, and its
precision; None where it has to be made. What is pushed of one that is not made has no
description."""

_EARLIER = ContextVar[Earlier | None]("_EARLIER", default=None)


@contextmanager
def resuming(earlier: Earlier) -> Iterator[None]:
    """Passes in which the calls that ``earlier`` knows need not be made."""
    before = _EARLIER.set(earlier)
    try:
        yield
    finally:
        _EARLIER.reset(before)


def earlier_calls() -> Earlier | None:
    """What knows calls of this pass; None where all are made."""
    return _EARLIER.get()
