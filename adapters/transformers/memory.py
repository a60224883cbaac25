"""How much memory there is for the parameters of a directory."""

import math
import os
from contextlib import suppress
from pathlib import Path

from .directory import Directory

__all__ = ["beyond_memory"]

_SHARE = 0.75
"""Of the memory, how much parameters may take."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def beyond_memory(directory: Directory) -> str:
    """What to say of parameters that take more memory than there is; "" where they fit."""
    taken, limit = _parameters(directory), _memory()
    if taken <= _SHARE * limit:
        return ""
    return (
        f"its parameters take {taken / 2**30:,.1f} GiB and there are {limit / 2**30:,.1f} GiB of "
        "memory: each module's are read from the disk while it runs (--device disk)"
    )


def _parameters(directory: Directory) -> int:
    """The bytes of the parameters in the precision that the model computes in."""
    files = sum(file.stat().st_size for file in directory.files)
    size = _SIZES.get(directory.dtype)
    floats = [one for one in directory.tensors.values() if one.dtype in _SIZES]
    if size is None or not floats:
        return files
    return sum(math.prod(one.shape) * size for one in floats)


def _memory() -> float:
    """The bytes of memory that this process may have."""
    found = [math.inf]
    with suppress(AttributeError, ValueError, OSError):  # no such system
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _CGROUPS:
        with suppress(OSError, ValueError):  # no limit: "max"
            found.append(int(Path(name).read_text()))
    with suppress(ImportError):
        import resource  # noqa: PLC0415 - Windows has none

        limits = [resource.getrlimit(one)[0] for one in (resource.RLIMIT_DATA, resource.RLIMIT_AS)]
        found += [one for one in limits if one != resource.RLIM_INFINITY]
    return min(found)
