"""Where a recording is written: a zip of stored, aligned .npy members, or a folder of the same
(``folder``).

``Arrays`` keeps each array once, by its content.
"""

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from typing import IO, Any, Protocol

import ml_dtypes
import numpy as np

from probe.errors import Undescribed

__all__ = ["ENTRY", "INDEX", "JOURNAL", "NAME", "SCHEMA", "Arrays", "Store", "Zip", "npy_header"]

SCHEMA = 1
"""The version of the index: another one where a key changes its meaning or goes."""

INDEX, JOURNAL = "recording.json", "arrays.jsonl"
"""The member that says what the arrays are; and the arrays and calls so far, of a folder that is
not finished."""
ENTRY = ("name", "dtype", "shape", "fortran_order", "bytes", "sha256")
"""What the index and the journal say of an array."""
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
"""What an array may be called: its member is that with .npy."""
_ALIGNMENT, _ZIP64 = 64, 1 << 31
_PADDING = 0xD935
"""The extra field of zip members that zipalign fills up with zeros."""


class Store(Protocol):
    """Where members go."""

    def known(self) -> list[dict[str, Any]]:
        """The arrays that it holds already, as ``Arrays`` tells them."""

    def add(self, entry: Mapping[str, Any], header: bytes, content: memoryview) -> None:
        """One array."""

    def known_calls(self) -> list[dict[str, Any]]:
        """The calls, as ``add_call`` got them, of an interrupted recording of the same pass."""

    def add_call(self, call: Mapping[str, Any]) -> None:
        """One call, whose arrays have been added: what another recording takes up."""

    def finish(self, index: bytes) -> None:
        """The member that says what they are, the last one."""


class Zip:
    """An open file that becomes a zip."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> "Zip":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self._zip.fp = None  # so that it does not end what is thrown away

    def known(self) -> list[dict[str, Any]]:
        return []

    def known_calls(self) -> list[dict[str, Any]]:
        return []

    def add(self, entry: Mapping[str, Any], header: bytes, content: memoryview) -> None:
        self._member(f"{entry['name']}.npy", header, content)

    def add_call(self, call: Mapping[str, Any]) -> None:
        """Not kept: an interrupt leaves no file."""

    def finish(self, index: bytes) -> None:
        self._member(INDEX, index)
        self._zip.close()

    def _member(self, name: str, *content: bytes | memoryview) -> None:
        info = zipfile.ZipInfo(name)
        large = sum(map(len, content)) >= _ZIP64
        fill = -(self._file.tell() + 30 + len(name) + 4 + 20 * large) % _ALIGNMENT
        info.extra = struct.pack("<HH", _PADDING, fill) + bytes(fill)
        info.external_attr = 0o644 << 16
        with self._zip.open(info, "w", force_zip64=large) as member:
            for part in content:
                member.write(part)


class Arrays:
    """The table of arrays, each of which ``store`` gets once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.table: list[dict[str, Any]] = list(store.known())
        self._numbers = {_key(entry): number for number, entry in enumerate(self.table)}

    def keep(self, array: np.ndarray, words: str) -> int:
        """The number of an array, whose name begins with that and ends with ``words`` if it is new.
        Raises Undescribed for what .npy has no form for."""
        held, entry, content = _told(array)
        key = _key(entry)
        if key not in self._numbers:
            self._numbers[key] = number = len(self.table)
            words = re.sub(r"[^A-Za-z0-9_.-]+", "_", words)[:80]
            entry["name"] = f"{number:05d}.{words}"
            header = npy_header(held.dtype, array.shape, entry["fortran_order"])
            self._store.add(entry, header, content)
            self.table.append(entry)
        return self._numbers[key]

    def find(self, array: np.ndarray) -> int | None:
        """The number of an array that is kept already, or None. Raises Undescribed as ``keep``."""
        return self._numbers.get(_key(_told(array)[1]))


def _told(array: np.ndarray) -> tuple[np.ndarray, dict[str, Any], memoryview]:
    """The numbers as .npy has them, their entry in the table without a name, and their bytes."""
    held, dtype = _as_npy(array)
    by_column = held.flags.f_contiguous and not held.flags.c_contiguous
    flat = (held.T if by_column else held).reshape(-1, order="C")
    content = memoryview(np.ascontiguousarray(flat).view(np.uint8).data)
    entry = {
        "name": "",
        "dtype": dtype,
        "shape": list(array.shape),
        "fortran_order": by_column,
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
    }
    return held, entry, content


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        entry["dtype"],
        tuple(entry["shape"]),
        bool(entry["fortran_order"]),
        entry["sha256"],
    )


def _as_npy(array: np.ndarray) -> tuple[np.ndarray, str]:
    """The array as .npy holds it, and what its dtype is called: numbers that NumPy itself has no
    type for (bfloat16, float8, int4) as the integers of the same bits, strings by their length."""
    name = array.dtype.name
    if array.dtype.hasobject:
        texts = array.ravel().tolist()
        kind = next((type_ for type_ in (str, bytes) if all(type(x) is type_ for x in texts)), None)
        held = None if kind is None else np.array(texts, kind).reshape(array.shape)
        if held is not None and held.ravel().tolist() == texts:
            return held, "object"
    elif hasattr(ml_dtypes, name) and array.dtype == getattr(ml_dtypes, name):
        return array.view(f"u{array.dtype.itemsize}"), name
    elif array.dtype.kind in "biufcSU":
        return array, array.dtype.str
    raise Undescribed(f"an array of dtype {name} cannot be stored in a file")


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...], by_column: bool) -> bytes:
    """What stands before the numbers, a multiple of 64 bytes."""
    header = io.BytesIO()
    told = {"descr": dtype.str, "fortran_order": by_column, "shape": shape}
    np.lib.format.write_array_header_1_0(header, told)
    return header.getvalue()
