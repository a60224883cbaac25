"""A file mapped into memory with no descriptor kept open for it.

``mmap.mmap`` keeps one for each file before Python 3.13, and a recording may have more arrays than
a process may have files open.
"""

import ctypes
import mmap
import os
import weakref
from typing import IO, Any, cast

__all__ = ["mapped", "released"]

_FAILED = ctypes.c_void_p(-1).value


def mapped(file: IO[bytes]) -> memoryview:
    """The bytes of an open file, of which none is read yet; they cannot be written to.

    Raises OSError where the system does not map it.
    """
    size = os.fstat(file.fileno()).st_size
    if _LIBRARY is None or not size:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    address = _LIBRARY.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    content = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(content, _LIBRARY.munmap, address, size).atexit = False
    return memoryview(content).cast("B").toreadonly()


def released(content: memoryview) -> None:
    """Lets the system take back the memory of what was read; it is read again where needed."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    held = content.obj
    if isinstance(held, mmap.mmap):
        held.madvise(mmap.MADV_DONTNEED)
    elif _LIBRARY is not None:
        address = ctypes.addressof(cast(ctypes.Array[Any], held))
        _LIBRARY.madvise(address, content.nbytes, mmap.MADV_DONTNEED)


def _library() -> ctypes.CDLL | None:
    """The C library, where it has these functions of POSIX."""
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    numbers = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *numbers)
    library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return library


_LIBRARY = _library()
