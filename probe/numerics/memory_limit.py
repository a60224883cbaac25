"""How much memory NumPy may take for one array, where what it computes comes from a file that
nobody trusts.

No op need say what it takes: NumPy asks an allocator for the memory of each array, and a context
may have one of its own (NEP 49, PyDataMem_SetHandler), which refuses before anything is taken.
NumPy gives that to C alone, so it is reached through its table of C functions.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["limit", "limited"]

_SET, _GET = 304, 305
"""The places of PyDataMem_SetHandler and PyDataMem_GetHandler in that table (numpy_api.py), the
same in all versions."""


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of numpy/ndarraytypes.h."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("ctx", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


class _Limit(threading.local):
    bytes: int | None = None


_LIMIT = _Limit()


def limit() -> int | None:
    """The limit of this thread."""
    return _LIMIT.bytes


@contextmanager
def limited(most: int | None) -> Iterator[None]:
    """In this thread an array of more than ``most`` bytes raises MemoryError. None: there is no
    limit."""
    if most is None:
        yield
        return
    set_handler, ours, _ = _allocator()
    before, _LIMIT.bytes = _LIMIT.bytes, most
    handler = set_handler(ours)
    try:
        yield
    finally:
        set_handler(handler)
        _LIMIT.bytes = before


@cache
def _allocator() -> tuple[Any, Any, Any]:
    """What sets the allocator of the context, NumPy's own with the limit before it, and what must
    live as long as the module."""
    core: Any = sys.modules.get("numpy._core._multiarray_umath")
    core = core or sys.modules["numpy.core._multiarray_umath"]  # of NumPy 1
    api = ctypes.pythonapi
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_void_p]
    api.PyCapsule_GetName.restype = ctypes.c_void_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = [ctypes.c_void_p] * 3
    place = api.PyCapsule_GetPointer(core._ARRAY_API, None)
    table = ctypes.cast(place, ctypes.POINTER(ctypes.c_void_p))
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET])
    plain = ctypes.PYFUNCTYPE(ctypes.py_object)(table[_GET])()
    name = api.PyCapsule_GetName(plain)
    known = _Handler.from_address(api.PyCapsule_GetPointer(plain, name))
    whole = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    parts = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
    # NumPy's own are called with the interpreter's lock held, which they may let go themselves.
    held_whole = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    held_parts = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_size_t] * 2)
    malloc, calloc, context = held_whole(known.malloc), held_parts(known.calloc), known.ctx

    def taken(_: int, size: int) -> int | None:
        most = _LIMIT.bytes
        return malloc(context, size) if most is None or size <= most else None

    def zeroed(_: int, count: int, size: int) -> int | None:
        most = _LIMIT.bytes
        return calloc(context, count, size) if most is None or count * size <= most else None

    calls = whole(taken), parts(zeroed)
    ours = _Handler.from_buffer_copy(known)
    ours.name = b"limited"
    ours.malloc, ours.calloc = (ctypes.cast(function, ctypes.c_void_p).value for function in calls)
    # Arrays outlive this module, and are freed by NumPy's own function, which they find here.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(ours))
    return set_handler, api.PyCapsule_New(ctypes.addressof(ours), name, None), (calls, ours)
