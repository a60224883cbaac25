"""The header of a GGUF file, read with bounds: its metadata, and where each tensor lies.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. gguf's own reader trusts the
counts of a file; here every count is held against the bytes that there are before it is used.
"""

import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from probe import printable
from probe.errors import CannotOpen
from probe.files.regular_file import is_file, open_file

__all__ = ["GgufFile", "GgufTensor", "read"]

_ALIGNMENT, _VERSIONS = 32, (2, 3)
_LONGEST = 1 << 16
"""The longest key, name or kept text, in bytes; ggml's tensors have at most 64."""
_DIMENSIONS, _TENSORS, _ENTRIES = 4, 1 << 18, 1 << 16
_ELEMENTS = 1 << 24
"""Of all arrays of the metadata together: the largest vocabularies have a million tokens."""
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies and what it is."""

    name: str
    shape: tuple[int, ...]
    """Row-major, as NumPy has it: the reverse of the file's order."""
    type: GGMLQuantizationType
    file: Path
    offset: int
    """Its first byte in the file."""

    @property
    def row_bytes(self) -> int:
        """The bytes of a row, which is the last axis."""
        block, size = GGML_QUANT_SIZES[self.type]
        return self.shape[-1] // block * size

    @property
    def rows(self) -> int:
        """How many rows all axes but the last make."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class GgufFile:
    """What the header of a file, or of all files of a split model, says."""

    path: Path
    metadata: Mapping[str, Any]
    """Numbers, texts and short arrays by key; of long arrays the number of their elements."""
    tensors: Mapping[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """Such as "llama"; "" where the file does not say."""
        found = self.metadata.get("general.architecture", "")
        return str(found)

    def of_architecture(self, key: str) -> Any:
        """The metadata ``{architecture}.{key}``, or None."""
        return self.metadata.get(f"{self.architecture}.{key}")


@dataclass
class _Cursor:
    """A file that is read from front to back; what would lie behind its end is refused."""

    file: IO[bytes]
    path: Path
    size: int
    left: int = _ELEMENTS
    """How many elements of arrays may follow."""
    place: int = field(default=0)

    def refuse(self, why: str) -> CannotOpen:
        return CannotOpen(f"{self.path} is a damaged or crafted GGUF file: {why}")

    def read(self, count: int) -> bytes:
        if count > self.size - self.place:
            raise self.refuse(
                f"{count:,} bytes are to follow byte {self.place:,}, where it has "
                f"{self.size - self.place:,}"
            )
        self.place += count
        return self.file.read(count)

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.read(struct.calcsize(f"<{code}")))[0]

    def count(self, what: str, most: int) -> int:
        found = int(self.number("Q"))
        if found > most:
            raise self.refuse(f"{found:,} {what}, where at most {most:,} are read")
        return found

    def text(self, what: str) -> str:
        length = self.count(f"bytes of {what}", _LONGEST)
        try:
            return self.read(length).decode()
        except UnicodeDecodeError:
            raise self.refuse(f"{what} is not UTF-8") from None


def read(path: Path) -> GgufFile:
    """The header, with those of the other files of a split model; CannotOpen with one sentence
    where it is damaged, of another byte order, or where a tensor does not lie within its file."""
    first = _read_single(path)
    count = first.metadata.get("split.count", 1)
    if count in (0, 1):
        return first
    return _joined(first, [_read_single(file) for file in _parts(path, count)])


def _parts(path: Path, count: Any) -> Iterable[Path]:
    """The other files of a split model, in its own folder."""
    numbered = _SPLIT.fullmatch(path.name)
    if not isinstance(count, int):
        raise CannotOpen(f"{path} is a damaged GGUF file: its split.count is no number of files")
    if numbered is None or int(numbered[3]) != count:
        raise CannotOpen(
            f"{path} says that it is one of {count} files, but is not named as one: name them "
            f"NAME-00001-of-{count:05}.gguf and so on"
        )
    for place in range(1, count + 1):
        other = path.with_name(f"{numbered[1]}-{place:05}-of-{count:05}.gguf")
        if not is_file(other):
            raise CannotOpen(
                f"{path} is one of {count:,} files, of which {other.name} is missing: put all of "
                "them into one folder"
            )
        if other.resolve().parent != path.resolve().parent:
            raise CannotOpen(
                f"{other.name} is a link to a file of another folder than that of {path}: put "
                "the files themselves into one folder"
            )
        if other != path:
            yield other


def _joined(first: GgufFile, others: Iterable[GgufFile]) -> GgufFile:
    tensors, metadata = dict(first.tensors), dict(first.metadata)
    for other in others:
        for name, tensor in other.tensors.items():
            if name in tensors:
                raise CannotOpen(
                    f"{tensors[name].file.name} and {other.path.name} both hold the tensor "
                    f"{printable.name(repr(name))}: the files do not belong together"
                )
            tensors[name] = tensor
        metadata = {**other.metadata, **metadata}
    return GgufFile(first.path, metadata, tensors)


def _read_single(path: Path) -> GgufFile:
    with open_file(path, "a GGUF file", CannotOpen) as file:
        cursor = _Cursor(file, path, path.stat().st_size)
        if cursor.read(4) != b"GGUF":
            raise CannotOpen(f"{path} is not a GGUF file: it does not start with GGUF")
        version = cursor.number("I")
        if version not in _VERSIONS:
            if version & 0xFFFF == 0:
                raise CannotOpen(
                    f"{path} is a GGUF file of a big-endian machine: convert it again without "
                    "--bigendian"
                )
            raise CannotOpen(
                f"{path} is a GGUF file of version {version}; versions 2 and 3 are read"
            )
        tensors = cursor.count("tensors", _TENSORS)
        entries = cursor.count("entries of metadata", _ENTRIES)
        metadata = _metadata(cursor, entries)
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise cursor.refuse(f"the alignment of tensors is {alignment}")
        found = [_tensor(cursor) for _ in range(tensors)]
        start = -(-cursor.place // alignment) * alignment
        placed = _placed(cursor, found, start, alignment)
    return GgufFile(path, metadata, placed)


def _metadata(cursor: _Cursor, entries: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(entries):
        key = cursor.text("a key")
        if key in found:
            raise cursor.refuse(f"the key {printable.name(repr(key))} stands there twice")
        found[key] = _value(cursor, cursor.number("I"))
    return found


_KEPT = 1 << 12
"""So many elements of an array are kept: those of layers are, vocabularies are not."""


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind])
    if kind == _STRING:
        length = int(cursor.number("Q"))
        text = cursor.read(length)  # templates of chats are long
        return text[:_LONGEST].decode(errors="replace")
    if kind != _ARRAY:
        raise cursor.refuse(f"a value of the unknown type {kind}")
    kind, count = cursor.number("I"), int(cursor.number("Q"))
    if count > cursor.left:
        raise cursor.refuse(f"an array of {count:,} elements, where {cursor.left:,} are read")
    cursor.left -= count
    if kind in _SCALARS:
        code = _SCALARS[kind]
        data = cursor.read(count * struct.calcsize(code))
        if count > _KEPT:
            return count
        return list(struct.unpack(f"<{count}{code}", data))
    if kind != _STRING:
        raise cursor.refuse("an array of arrays, which no writer of GGUF makes")
    for _ in range(count):
        cursor.read(int(cursor.number("Q")))
    return count


def _tensor(cursor: _Cursor) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
    name = cursor.text("a tensor's name")
    shown = printable.name(repr(name))
    axes = cursor.number("I")
    if not 1 <= axes <= _DIMENSIONS:
        raise cursor.refuse(f"the tensor {shown} has {axes} axes; ggml has 1 to {_DIMENSIONS}")
    shape = tuple(int(cursor.number("Q")) for _ in range(axes))[::-1]
    kind = cursor.number("I")
    offset = int(cursor.number("Q"))
    try:
        return name, shape, GGMLQuantizationType(kind), offset
    except ValueError:
        raise CannotOpen(
            f"{cursor.path}: the tensor {shown} has the type {kind}, which gguf does not know; a "
            "newer gguf may: pip install -U gguf"
        ) from None


def _placed(
    cursor: _Cursor,
    found: Iterable[tuple[str, tuple[int, ...], GGMLQuantizationType, int]],
    start: int,
    alignment: int,
) -> dict[str, GgufTensor]:
    """The tensors by name, each within the file and apart from the others."""
    placed: dict[str, GgufTensor] = {}
    spans = []
    for name, shape, kind, offset in found:
        shown = printable.name(repr(name))
        if name in placed:
            raise cursor.refuse(f"two tensors are named {shown}")
        size = math.prod(shape)
        block, bytes_of_block = GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            raise cursor.refuse(
                f"the rows of {shown} have {shape[-1]:,} elements, no multiple of the {block} of a "
                f"{kind.name} block"
            )
        length = size // block * bytes_of_block
        if not size or start + offset + length > cursor.size or offset % alignment:
            raise cursor.refuse(
                f"the tensor {shown} of {length:,} bytes at {start + offset:,} does not lie within "
                f"the {cursor.size:,} bytes of the file"
            )
        placed[name] = GgufTensor(name, shape, kind, cursor.path, start + offset)
        spans.append((offset, offset + length, shown))
    spans.sort()
    for (_, end, before), (begin, _, behind) in pairwise(spans):
        if begin < end:
            raise cursor.refuse(f"the tensors {before} and {behind} overlap")
    return placed
