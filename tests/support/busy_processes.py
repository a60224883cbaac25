"""Children that take all the processors they get."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["busy"]

# They end by themselves where nobody is left to end them.
_PROGRAM = "import time; end = time.monotonic() + 3600\nwhile time.monotonic() < end: pass"


@contextmanager
def busy(count: int = 2) -> Iterator[None]:
    """Runs so many of them until the block ends."""
    children = [subprocess.Popen([sys.executable, "-c", _PROGRAM]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait(timeout=60)
