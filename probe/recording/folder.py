"""A recording in a folder, written array by array, so that an interrupt leaves what can be taken up
again."""

import json
from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import IO, Any

from probe.errors import BadInput
from probe.files import atomic_write
from probe.recording.index import unsealed
from probe.recording.members import FolderMembers, Table
from probe.recording.plain_data import Unfit
from probe.recording.store import ENTRY, INDEX, JOURNAL

__all__ = ["Folder"]


class Folder:
    """A folder that is written array by array; what an interrupt has left is taken up again: the
    calls too where it is ``of`` the same model and files, which None never is.

    Raises BadInput where it holds other files, or cannot be written.
    """

    def __init__(self, path: Path, of: Mapping[str, Any] | None = None) -> None:
        self._path = path
        names = atomic_write.make_folder(path)
        if names and not {INDEX, JOURNAL} & set(names):
            raise BadInput(
                f"{path} contains files that are not of a recording: give a new folder for it"
            )
        for name in (INDEX, JOURNAL):
            atomic_write.inside(path, name)
        begin = {"of": of}
        entries = _entries(path, names)
        self._known = _whole(path, entries)
        calls = [entry for entry in entries if isinstance(entry, dict) and "call" in entry]
        # where an array is missing, the numbers in the calls are other arrays'
        complete = len(self._known) + len(calls) + 1 == len(entries)
        if of is not None and complete and entries[0] == begin:
            self._calls = calls
        else:
            self._calls = []
        self._takes_calls = of is not None
        lines = b"".join(map(_line, [begin, *self._known, *self._calls]))
        atomic_write.write_inside(path, JOURNAL, lambda file: file.write(lines))
        atomic_write.remove_inside(path, INDEX)

    def known(self) -> list[dict[str, Any]]:
        return self._known

    def known_calls(self) -> list[dict[str, Any]]:
        return self._calls

    def add(self, entry: Mapping[str, Any], header: bytes, content: memoryview) -> None:
        def written(file: IO[bytes]) -> None:
            file.write(header)
            file.write(content)

        atomic_write.write_inside(self._path, f"{entry['name']}.npy", written)
        atomic_write.append_inside(self._path, JOURNAL, _line(entry))

    def add_call(self, call: Mapping[str, Any]) -> None:
        if self._takes_calls:
            atomic_write.append_inside(self._path, JOURNAL, _line(call))

    def finish(self, index: bytes) -> None:
        atomic_write.write_inside(self._path, INDEX, lambda file: file.write(index))
        atomic_write.remove_inside(self._path, JOURNAL)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False).encode() + b"\n"


def _entries(path: Path, names: list[str]) -> list[Any]:
    """What the journal says, as far as it is whole, or else the arrays of the recording that was
    here before."""
    members = FolderMembers(path)
    try:
        if JOURNAL in names:
            return _lines(bytes(members.content(JOURNAL)))
        arrays = unsealed(members.index())["arrays"] if INDEX in names else []
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    if isinstance(arrays, list):
        return arrays
    return []


def _lines(journal: bytes) -> list[Any]:
    """The entries up to the first that was not written so, such as half a line."""
    entries: list[Any] = []
    for line in journal.splitlines(keepends=True):
        try:
            entry = json.loads(line)
            if _line(entry) != line:
                break
        except (ValueError, RecursionError):
            break
        entries.append(entry)
    return entries


def _whole(path: Path, entries: list[Any]) -> list[dict[str, Any]]:
    """The arrays up to the first whose file is not there as it was written."""
    arrays = [
        {key: entry.get(key) for key in ENTRY}
        for entry in entries
        if isinstance(entry, dict) and "name" in entry
    ]
    numbered = zip(count(), arrays)
    return [entry for _, entry in takewhile(lambda pair: _is_whole(path, *pair), numbered)]


def _is_whole(path: Path, number: int, entry: dict[str, Any]) -> bool:
    table = Table(FolderMembers(path), [entry])
    try:
        table.array(0)
        table.check(0)
    except Unfit:
        return False
    return str(entry["name"]).startswith(f"{number:05d}.")  # of the next none is called so
