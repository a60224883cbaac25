"""What TensorFlow may take to load a SavedModel and to run it."""

import math
from collections.abc import Iterable

import numpy as np

from probe.files.size_limits import most

from .processes import Allowance
from .proto import SavedFolder

__all__ = ["loading", "running"]

_SECONDS, _OPERATIONS, _BYTES = 6.0, 50.0, 1 << 23
"""Seconds of processor time for anything, and how many operations and bytes each further second is
for."""


def loading(folder: SavedFolder, trusted: bool) -> Allowance:
    return _allowance(folder, folder.size, trusted)


def running(folder: SavedFolder, fed: Iterable[np.ndarray], trusted: bool) -> Allowance:
    return _allowance(folder, folder.size + sum(16 * array.nbytes for array in fed), trusted)


def _allowance(folder: SavedFolder, size: int, trusted: bool) -> Allowance:
    if trusted:
        return Allowance(math.inf, math.inf)
    seconds = _SECONDS + folder.count / _OPERATIONS + size / _BYTES
    return Allowance(most(size), seconds)
