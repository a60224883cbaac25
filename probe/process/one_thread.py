"""Libraries that compute on one thread for a while: their pools would spin against each other."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

from probe.process.interrupts import Shared

__all__ = ["one_blas_thread", "one_thread"]


@lru_cache(maxsize=1)
def _pools(imported: int) -> ThreadpoolController:
    """The pools of all libraries that are loaded: looked for anew, which takes a millisecond, only
    where more modules were imported."""
    return ThreadpoolController()


one_blas_thread = Shared(lambda: _pools(len(sys.modules)).limit(limits=1, user_api="blas"))
"""BLAS on one thread, which it knows for the whole process only."""


@contextmanager
def _as_many_as_before() -> Iterator[None]:
    torch = sys.modules["torch"]
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


_COUNTED = Shared(_as_many_as_before)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, for the thread that enters; others that have computed keep
    what they have.

    What is set is taken over by every thread at its first operation, for OpenMP and, once a user
    has set it, for MKL, which then no longer asks OpenMP (ATen/ParallelOpenMP.cpp). So it is put
    back to what the first thread that enters has found.
    """
    if sys.modules.get("torch") is None:  # a None there blocks its import
        yield
        return
    with _COUNTED:
        sys.modules["torch"].set_num_threads(1)
        yield
