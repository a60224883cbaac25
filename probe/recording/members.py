"""What a recording on the disk holds, mapped into memory and believed only as far as it fits the
file."""

import math
import mmap
import struct
import zipfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from probe.errors import BadInput
from probe.files.regular_file import open_file
from probe.recording.mapped_file import mapped, released
from probe.recording.plain_data import Unfit
from probe.recording.store import INDEX, NAME, npy_header

__all__ = ["FolderMembers", "Members", "Table", "ZipMembers"]

_LOCAL_HEADER, _SIGNATURE = 30, b"PK\x03\x04"
_AXES = 64
_HELD = 8 << 20
"""How many bytes of arrays may be read before their memory is given back."""


class Members(Protocol):
    """The members of a recording by their names."""

    def content(self, name: str) -> memoryview:
        """The bytes of a member, of which none is read yet. Raises Unfit where there is none."""

    def release(self) -> None:
        """Lets the system take back the memory of what was read; it is read again where needed."""


class ZipMembers:
    """The members of a zip, which are stored as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_file(path, "a recording") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with zipfile.ZipFile(file) as archive:
                found = archive.infolist()
                self._end = archive.start_dir
        self._members = {member.filename: member for member in found}
        if len(self._members) < len(found):
            raise Unfit("two members of the same name")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def content(self, name: str) -> memoryview:
        info = self._members.get(name)
        if info is None:
            raise Unfit(f"no member {name!r:.100}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Unfit(f"the member {name!r:.100} compressed or encrypted")
        head = self._map[info.header_offset : info.header_offset + _LOCAL_HEADER]
        if len(head) < _LOCAL_HEADER or head[:4] != _SIGNATURE:
            raise Unfit(f"the member {name!r:.100} at another place")
        start = info.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", head[26:]))
        if info.compress_size != info.file_size or start + info.file_size > self._end:
            raise Unfit(f"the member {name!r:.100} longer than the file")
        return memoryview(self._map)[start : start + info.file_size]

    def release(self) -> None:
        released(memoryview(self._map))

    def index(self) -> bytes:
        """The bytes of the index, whose checksum is right."""
        self.content(INDEX)
        with open_file(self._path, "a recording") as file, zipfile.ZipFile(file) as archive:
            return archive.read(INDEX)


class FolderMembers:
    """The files of a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents: list[memoryview] = []

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(entry.name for entry in self._path.iterdir()))

    def content(self, name: str) -> memoryview:
        try:
            with open_file(self._path / name, "a file", links=False) as file:
                self._contents.append(mapped(file))
        except BadInput as error:
            raise Unfit(f"no file {name!r:.100} that can be read ({error})") from None
        except OSError as error:
            raise Unfit(f"no file {name!r:.100} that can be mapped ({error.strerror})") from None
        return self._contents[-1]

    def release(self) -> None:
        for content in self._contents:
            released(content)

    def index(self) -> bytes:
        return bytes(self.content(INDEX))


class Table:
    """The arrays of a recording by their numbers. Each is mapped, and its bytes are read and
    checked the first time that ``check`` is asked for it."""

    def __init__(self, members: Members, entries: Any) -> None:
        if not isinstance(entries, list):
            raise Unfit("no list of arrays")
        self._members, self._entries = members, entries
        self._arrays: dict[int, np.ndarray] = {}
        self._content: dict[int, memoryview] = {}
        self._whole: set[int] = set()
        self._read = 0

    def array(self, number: Any) -> np.ndarray:
        """An array that is not read yet; it cannot be written to."""
        if type(number) is not int or not 0 <= number < len(self._entries):
            raise Unfit(f"the array {number!r:.60}, which does not exist")
        if number not in self._arrays:
            self._arrays[number] = self._mapped(number)
        return self._arrays[number]

    def size(self, number: int) -> int:
        """The bytes of an array that ``array`` has given."""
        return len(self._content[number])

    def check(self, number: int) -> None:
        """Raises Unfit where the bytes of an array are not those that were written. What was
        checked some time ago does not stay in memory."""
        self._read += len(self._content[number])
        if self._read > _HELD:
            self._members.release()
            self._read = 0
        if number in self._whole:
            return
        entry = self._entries[number]
        if sha256(self._content[number]).hexdigest() != entry["sha256"]:
            raise Unfit(f"the array {entry['name']!r} damaged: its checksum is another")
        self._whole.add(number)

    def _mapped(self, number: int) -> np.ndarray:
        entry = self._entries[number]
        try:
            name, dtype, shape = entry["name"], entry["dtype"], tuple(entry["shape"])
            by_column, digest = entry["fortran_order"], entry["sha256"]
            told = entry["bytes"]
        except (KeyError, TypeError):
            raise Unfit(f"an incomplete entry of array {number}") from None
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Unfit(f"an array with the name {name!r:.100}")
        if (
            len(shape) > _AXES
            or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape)
            or type(by_column) is not bool
            or not isinstance(digest, str)
        ):
            raise Unfit(f"the array {name!r} of another form")
        content = self._members.content(f"{name}.npy")
        held = _held_as(dtype, content, name)
        header = npy_header(held, shape, by_column)
        size = math.prod(shape) * held.itemsize
        if len(content) != len(header) + size or content[: len(header)] != header:
            raise Unfit(f"the array {name!r} of another shape or dtype than its entry says")
        if type(told) is not int or told != size:
            raise Unfit(f"the array {name!r} of {size:,} bytes, not the {told!r:.60} of its entry")
        self._content[number] = data = content[len(header) :]
        try:
            values = np.frombuffer(data, held) if size else np.zeros(0, held)
            if by_column:
                values = values.reshape(shape[::-1]).T
            else:
                values = values.reshape(shape)
        except ValueError as error:
            raise Unfit(f"the array {name!r} of the shape {shape} ({error})") from None
        values.flags.writeable = False
        if dtype == held.str:
            return values
        return _as_named(values, dtype)


def _held_as(dtype: Any, content: memoryview, name: str) -> np.dtype[Any]:
    """How the numbers of an array lie in its member."""
    with suppress(TypeError, ValueError, AttributeError):
        if dtype == "object":
            return _of_texts(bytes(content[:256]))
        if isinstance(dtype, str) and not dtype.startswith("_") and hasattr(ml_dtypes, dtype):
            return np.dtype(f"u{np.dtype(getattr(ml_dtypes, dtype)).itemsize}")
        found = np.dtype(dtype) if isinstance(dtype, str) else None
        if found is not None and found.str == dtype and found.kind in "biufcSU":
            return found
    raise Unfit(f"the array {name!r} of the dtype {dtype!r:.60}")


def _of_texts(head: bytes) -> np.dtype[Any]:
    """The dtype of strings, whose length their own header says."""
    text = head.partition(b"'descr': '")[2].partition(b"'")[0].decode("ascii")
    found = np.dtype(text)
    if found.kind not in "SU":
        raise ValueError(text)
    return found


def _as_named(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "object":
        return values.astype(object)
    return values.view(getattr(ml_dtypes, dtype))
