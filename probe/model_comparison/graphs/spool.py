"""Arrays of a forward pass, of which only so many are held in memory: the rest lies in a temporary
file, which the system reads in and drops as it needs the room."""

import mmap
import tempfile
import weakref
from typing import IO

import numpy as np

__all__ = ["Spool"]

_IN_MEMORY = 1 << 28
"""So many bytes of a pass are held."""
_SMALL = 1 << 16
"""Smaller arrays are always held."""


class Spool:
    """Of one forward pass. Its file has no name, and goes with the last array that lies in it."""

    def __init__(self) -> None:
        self._held = 0
        self._file: IO[bytes] | None = None
        self._end = 0

    def keep(self, array: np.ndarray) -> np.ndarray:
        """The same numbers, in memory or in the file; in memory too where the disk is full."""
        if array.nbytes < _SMALL:
            return array
        if self._held + array.nbytes <= _IN_MEMORY:
            self._held += array.nbytes
            return array
        try:
            return self._written(np.ascontiguousarray(array))
        except OSError:
            return array

    def _written(self, array: np.ndarray) -> np.ndarray:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="probe-")
            weakref.finalize(self, self._file.close)
        start = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.seek(start)
        self._file.write(array.view(np.uint8).data)
        self._file.flush()
        self._end = start + array.nbytes
        # the map has a descriptor of its own
        mapped = mmap.mmap(self._file.fileno(), array.nbytes, access=mmap.ACCESS_READ, offset=start)
        return np.frombuffer(mapped, array.dtype).reshape(array.shape)
