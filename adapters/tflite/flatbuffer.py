"""A flatbuffer read with bounds: what is read is counted, so that nothing is read under a million
names."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from probe.errors import CannotOpen

__all__ = ["Cursor"]

_READ = 4
"""The tables and vectors of a file together are at most so many times as long as it: what is read
under many names is counted for each."""

_TABLES = 300_000
"""Nodes, tensors, buffers and what they consist of; to read so many takes some seconds."""


class Cursor:
    """What the tables of one file are read through; ``what`` names the file."""

    def __init__(self, content: bytes, what: str) -> None:
        self.content, self.what = content, what
        self._left = _READ * len(content)
        self._tables = 0

    def damaged(self, why: str) -> CannotOpen:
        return CannotOpen(f"{self.what} is a damaged .tflite file: {why}")

    def count(self, table: Any, length: int) -> None:
        position, last = table._tab.Pos, len(self.content) - 4
        if not 0 <= position <= last:
            raise self.damaged("a table lies outside of it")
        fields = position - int.from_bytes(
            self.content[position : position + 4], "little", signed=True
        )
        if not 0 <= fields <= last:
            raise self.damaged("a table has the list of its fields outside of it")
        if int.from_bytes(self.content[fields : fields + 2], "little") < 4:
            raise self.damaged("a table has no list of its fields")
        self.spend(length)

    def spend(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise self.damaged(
                f"its tables take more than {_READ} times its {len(self.content):,} bytes"
            )

    def tables(self, parent: Any, field: str) -> Iterator[Any]:
        length = getattr(parent, f"{field}Length")()
        self.spend(4 * length)
        self._tables += length
        if self._tables > _TABLES:
            raise CannotOpen(f"{self.what} has more than {_TABLES:,} tables")
        item = getattr(parent, field)
        for at in range(length):
            table = item(at)
            self.count(table, 4)
            yield table

    def vector(self, parent: Any, field: str) -> np.ndarray:
        """The numbers of a field; none where the file leaves it out."""
        found = getattr(parent, f"{field}AsNumpy")()
        if isinstance(found, int):
            return np.zeros(0, np.int32)
        array: np.ndarray = found
        self.spend(array.nbytes)
        return array

    def integers(self, parent: Any, field: str) -> tuple[int, ...]:
        return tuple(self.vector(parent, field).tolist())

    def text(self, stored: bytes | None) -> str:
        if stored is None:
            return ""
        self.spend(len(stored))
        try:
            return stored.decode()
        except UnicodeDecodeError:
            raise self.damaged(f"a name is no UTF-8 text: {stored[:100]!r}") from None
