"""The random states of Python and NumPy, which are the whole process', as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from probe.process.interrupts import Shared

__all__ = ["random_states_kept"]


@contextmanager
def _kept() -> Iterator[None]:
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


_KEPT = Shared(_kept)


def random_states_kept() -> Shared:
    """Enter it where signals are held back."""
    return _KEPT
