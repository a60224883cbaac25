"""Which directories' parameters stay on the disk, where accelerate reads those of each module while
it runs."""

import math
import os
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from .directory import Directory

__all__ = ["kept_on_disk"]

_SHARE = 0.75
"""Of the memory, how much parameters may take."""
_LARGE = 1 << 30
"""Bytes of parameters that are not brought into memory together where a pass that reads them from
the disk takes as long."""
_MERGED = re.compile(r"\.experts\.\d+\.")
"""Tensors that transformers keeps in one, which it would have to write first."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def kept_on_disk(directory: Directory) -> str:
    """What to say where the parameters stay on the disk; "" where they are brought into memory."""
    taken, limit = _parameters(directory), _memory()
    size = f"its parameters take {taken / 2**30:,.1f} GiB"
    if taken > _SHARE * limit:
        return (
            f"{size} and there are {limit / 2**30:,.1f} GiB of memory: each module's are read from "
            "the disk while it runs (device='disk', --device disk)"
        )
    if taken > _LARGE and _as_in_files(directory) and find_spec("accelerate") is not None:
        return (
            f"{size}: each module's are read from the disk while it runs; device='cpu' (--device "
            "cpu) brings all into memory"
        )
    return ""


def _as_in_files(directory: Directory) -> bool:
    """Whether the module computes with the tensors as the files hold them."""
    floats = {tensor.dtype for tensor in directory.tensors.values() if tensor.dtype in _SIZES}
    return (
        not (directory.pickled or directory.quantisation)
        and floats == {directory.dtype}
        and not any(map(_MERGED.search, directory.tensors))
    )


def _parameters(directory: Directory) -> int:
    """The bytes of the parameters in the precision that the model computes in."""
    files = sum(file.stat().st_size for file in directory.files)
    size = _SIZES.get(directory.dtype)
    floats = [tensor for tensor in directory.tensors.values() if tensor.dtype in _SIZES]
    if size is None or not floats:
        return files
    return sum(math.prod(tensor.shape) * size for tensor in floats)


def _memory() -> float:
    """The bytes of memory that this process may have."""
    found = [math.inf]
    with suppress(AttributeError, ValueError, OSError):  # no such system
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _CGROUPS:
        with suppress(OSError, ValueError):  # no limit: "max"
            found.append(int(Path(name).read_text(encoding="utf-8")))
    with suppress(ImportError):
        import resource  # noqa: PLC0415 - Windows has none

        limits = [
            resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS)
        ]
        found += [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return min(found)
