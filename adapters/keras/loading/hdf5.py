"""How large the arrays in an HDF5 file are, read without h5py.

A ``.keras`` file keeps its weights as HDF5 inside a zip archive, and its listing must not wait for
NumPy, which h5py imports. This reads the plainest form of HDF5, the one that h5py writes unless
told otherwise: superblock 0, version 1 object headers, groups as symbol tables (HDF5 File Format
Specification 3.0, sections II.A, III.A to III.D and IV.A). Anything else raises UnusualLayout, and
the caller takes h5py. A tree that leads back into itself raises ValueError: there the HDF5 library
never ends.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Read", "UnusualLayout", "shapes"]

Read = Callable[[int, int], bytes]
"""Offset and size -> the bytes there."""

_DATASPACE, _LAYOUT, _CONTINUATION, _SYMBOL_TABLE = 0x01, 0x08, 0x10, 0x11
_NOWHERE = (1 << 64) - 1
_OBJECTS, _NAME, _RANK = 100_000, 1 << 14, 32


class UnusualLayout(Exception):
    """The file uses a part of HDF5 that is not read here."""


def shapes(read: Read) -> dict[str, tuple[int, ...]]:
    """The shape of every dataset by its path, such as ``layers/conv2d/vars/0``."""
    if read(0, 9) != b"\x89HDF\r\n\x1a\n\x00" or read(13, 2) != b"\x08\x08":
        raise UnusualLayout
    (root,) = _unpack("Q", read, 64)
    try:
        return dict(_datasets(read, root, "", set()))
    except (struct.error, RecursionError, UnicodeDecodeError):
        raise UnusualLayout from None


def _unpack(form: str, read: Read, offset: int) -> tuple[Any, ...]:
    return struct.unpack("<" + form, read(offset, struct.calcsize("<" + form)))


def _once(node: int, seen: set[int]) -> None:
    if node in seen:
        raise ValueError("its tree contains the same object twice")
    if len(seen) >= _OBJECTS:
        raise ValueError(f"more than {_OBJECTS:,} nodes in its tree")
    seen.add(node)


def _ends(read: Read, node: int, seen: set[int]) -> None:
    """The nodes to the right of one, along which the HDF5 library goes, come to an end; those that
    do are kept as negative numbers."""
    passed: set[int] = set()
    while node != _NOWHERE and -node not in seen:
        if node in passed:
            raise ValueError("its tree contains the same object twice")
        passed.add(node)
        (node,) = _unpack("Q", read, node + 16)
    seen.update(-place for place in passed)


def _datasets(
    read: Read, header: int, path: str, seen: set[int]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    if header in seen:
        raise UnusualLayout  # one group under two names
    seen.add(header)
    messages = dict(_messages(read, header))
    if _SYMBOL_TABLE in messages:
        tree, heap = _unpack("QQ", read, messages[_SYMBOL_TABLE])
        (names,) = _unpack("Q", read, heap + 24)
        for name, child in _links(read, tree, seen):
            yield from _datasets(
                read, child, f"{path}/{_text(read, names + name)}".lstrip("/"), seen
            )
    elif _DATASPACE in messages:
        start = messages[_DATASPACE]
        version, rank = _unpack("BB", read, start)
        if rank > _RANK:
            raise UnusualLayout
        yield path, _unpack(f"{rank}Q", read, start + (8 if version == 1 else 4))
        # in chunks, which a tree finds
        if _LAYOUT in messages and read(messages[_LAYOUT], 2) == b"\3\2":
            axes, tree = _unpack("BQ", read, messages[_LAYOUT] + 2)
            _chunks(read, tree, axes, seen)
    else:
        raise UnusualLayout


def _chunks(read: Read, node: int, axes: int, seen: set[int]) -> None:
    """Follows the tree of a dataset's chunks down to the lowest nodes."""
    if node == _NOWHERE:
        return
    _once(node, seen)
    _ends(read, node, seen)
    level, count = _unpack("BH", read, node + 5)
    for child in range(count if level else 0):
        (below,) = _unpack("Q", read, node + 24 + (child + 1) * (8 + 8 * axes) + 8 * child)
        _chunks(read, below, axes, seen)


def _messages(read: Read, header: int) -> Iterator[tuple[int, int]]:
    """The messages of an object header: type and where its data begins."""
    version, _, count, _, size = _unpack("BBHII", read, header)
    if version != 1:
        raise UnusualLayout
    blocks = [(header + 16, size)]
    while blocks:
        start, size = blocks.pop(0)
        end = start + size
        while start + 8 <= end and count:
            kind, length = _unpack("HH", read, start)
            yield kind, start + 8
            if kind == _CONTINUATION:
                blocks.append(_unpack("QQ", read, start + 8))
            start, count = start + 8 + length, count - 1


def _links(read: Read, node: int, seen: set[int]) -> Iterator[tuple[int, int]]:
    """The entries of a group: where its name stands in the heap, and its object header."""
    _once(node, seen)
    if read(node, 4) == b"SNOD":
        (count,) = _unpack("H", read, node + 6)
        for entry in range(count):
            name, header = _unpack("QQ", read, node + 8 + 40 * entry)
            if header != _NOWHERE:  # a soft link, which leads to another place of the same tree
                yield name, header
    elif read(node, 4) == b"TREE":
        _ends(read, node, seen)
        (count,) = _unpack("H", read, node + 6)
        for child in range(count):
            (below,) = _unpack("Q", read, node + 32 + 16 * child)
            yield from _links(read, below, seen)
    else:
        raise UnusualLayout


def _text(read: Read, offset: int) -> str:
    text = b""
    while b"\0" not in text:
        more = read(offset + len(text), 32)
        if not more or len(text) > _NAME:
            raise UnusualLayout
        text += more
    return text.partition(b"\0")[0].decode()
