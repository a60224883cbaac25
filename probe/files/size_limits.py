"""How much a file may ask for: some hundred megabytes, and beyond that a hundred times what it
holds itself.

Weights compress by ten at most, bombs by a thousand.
"""

import errno
import os
from typing import IO

__all__ = ["allowed", "held", "most", "too_much"]

_SMALL = 1 << 28
_EXPANSION = 100
_PIECES = 10_000


def too_much(asked: int, holds: int) -> bool:
    """Whether so many bytes are more than a file that holds so many may ask for."""
    return asked > allowed(holds)


def allowed(holds: int) -> int:
    """How many bytes a file that holds so many may ask for at once."""
    return max(_SMALL, _EXPANSION * holds)


def most(holds: int) -> int:
    """How many bytes all may take together that is made of a file that holds so many."""
    return 2 * _SMALL + _EXPANSION * holds


def held(file: IO[bytes]) -> int:
    """The bytes that a file really has: what is mostly a hole takes no room on the disk. It is left
    at its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= _SMALL or not hasattr(os, "SEEK_DATA"):
        return size
    found, end = 0, 0
    try:
        for _ in range(_PIECES):
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found += end - start
    except OSError as error:  # no data any more; other errors come of file systems that do not know
        if error.errno == errno.ENXIO:
            return found
        return size
    finally:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    return size
