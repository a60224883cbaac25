"""Whether an HDF5 file holds its own numbers: nothing in it reads from elsewhere, and it declares
no more than it can hold.

A dataset can be stored in another file, be made of parts of others, or lie behind a link to one: a
loader would show any file of this machine as weights. So the whole tree is walked before a loader
sees it.
"""

import os
from typing import Any

import h5py

from probe.errors import CannotOpen
from probe.files.size_limits import too_much

__all__ = ["refuse_foreign"]

_OBJECTS = 100_000


def refuse_foreign(
    file: Any, path: str | os.PathLike[str], size: int
) -> dict[str, tuple[int, ...]]:
    """The shape of every array in the open ``h5py.File``, of ``size`` bytes, by its path.

    Raises CannotOpen where anything in it refers to another file or declares too much.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    waiting = [("/", file.id)]
    seen = {_address(file.id, b".")}
    declared = 0
    while waiting:
        place, group = waiting.pop()
        _bounded_attributes(path, place, group, size)
        for name in h5py.h5g.GroupID.__iter__(group):
            inner = f"{place.rstrip('/')}/{name.decode(errors='backslashreplace')}"
            kind = group.links.get_info(name).type
            if kind == h5py.h5l.TYPE_SOFT:
                continue  # leads to another place of the same tree
            if kind != h5py.h5l.TYPE_HARD:
                raise CannotOpen(_refusal(path, f"{inner!r} is a link into another file"))
            address = _address(group, name)
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _OBJECTS:
                raise CannotOpen(
                    f"{path} is an HDF5 file with more than {_OBJECTS:,} groups and arrays "
                    "(the limit)"
                )
            found = h5py.h5o.open(group, name)
            if isinstance(found, h5py.h5g.GroupID):
                waiting.append((inner, found))
            elif isinstance(found, h5py.h5d.DatasetID):
                _bounded_attributes(path, inner, found, size)
                shapes[inner[1:]] = found.shape
                declared += _own_bytes(path, inner, found, size)
                if too_much(declared, size):
                    raise CannotOpen(
                        f"{path} declares arrays of {declared:,} bytes or more but has "
                        f"{size:,}: it is damaged or crafted"
                    )
    return shapes


def _address(group: Any, name: bytes) -> tuple[int, int]:
    info = h5py.h5o.get_info(group, name)
    return info.fileno, info.addr


def _own_bytes(path: str | os.PathLike[str], place: str, dataset: Any, size: int) -> int:
    """How large the array is in memory; it has to lie in the file."""
    how = dataset.get_create_plist()
    if how.get_external_count():
        named = how.get_external(0)[0].decode(errors="backslashreplace")
        raise CannotOpen(_refusal(path, f"the values of {place!r} are in another file, {named!r}"))
    if how.get_layout() == h5py.h5d.VIRTUAL:
        raise CannotOpen(
            _refusal(
                path,
                f"{place!r} is a virtual dataset, composed of other arrays",
            )
        )
    if dataset.get_storage_size() > size:
        raise CannotOpen(
            f"{path} is truncated: {place!r} needs {dataset.get_storage_size():,} bytes, but "
            f"the file has {size:,}"
        )
    return int(dataset.get_space().get_simple_extent_npoints() * dataset.get_type().get_size())


def _bounded_attributes(path: str | os.PathLike[str], place: str, item: Any, size: int) -> None:
    names: list[bytes] = []
    # to open each by its number takes the square of the time
    h5py.h5a.iterate(item, lambda name, *_: names.append(name))
    for name in names:
        attribute = h5py.h5a.open(item, name)
        if (
            attribute.get_space().get_simple_extent_npoints() * attribute.get_type().get_size()
            > size
        ):
            raise CannotOpen(
                f"{path} declares an attribute of {place!r} that is larger than the file: it "
                "is damaged or crafted"
            )


def _refusal(path: str | os.PathLike[str], what: str) -> str:
    return (
        f"{path} is not self-contained: {what}. probe reads only the file itself: write it "
        "again with all values inside"
    )
