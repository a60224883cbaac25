"""What an interrupted recording in a folder has of the calls of the same pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probe.model import Capture
from probe.recording.folder import Folder
from probe.recording.members import FolderMembers, Table
from probe.recording.plain_data import Unfit, from_data
from probe.recording.store import Arrays

__all__ = ["Interrupted"]

_DTYPES = ("float64", "float32", "float16", "bfloat16")


class Interrupted:
    """The calls that need not be made again, where their inputs are those that are written down;
    ``place`` tells the passes of one recording apart."""

    def __init__(self, path: Path, folder: Folder) -> None:
        self._table = Table(FolderMembers(path), folder.known())
        self._calls: dict[tuple[Any, ...], Any] = {}
        for known in folder.known_calls():
            if isinstance(known["call"], list) and isinstance(known.get("entry"), dict):
                self._calls[tuple(map(str, known["call"]))] = known["entry"]
        self._given: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def output(
        self, place: str, layer: str, call: int, inputs: Sequence[np.ndarray], arrays: Arrays
    ) -> tuple[np.ndarray, str] | None:
        """What a call with one output gave, and in which precision; None where it has to be
        made."""
        key = place, layer, str(call)
        entry = self._calls.get(key)
        if entry is None:
            return None
        try:
            told = entry["capture"]
            (output,) = told["outputs"]
            if [{"array": arrays.find(array)} for array in inputs] != told["inputs"]:
                return None
            capture = from_data(told, self._table.array)
            self._table.check(output["array"])
        except (Unfit, KeyError, TypeError, ValueError, RecursionError):
            return None
        if not isinstance(capture, Capture) or capture.key != (layer, call):
            return None
        if capture.dtype not in _DTYPES:
            return None
        self._given[key] = {"capture": told}
        return capture.outputs[0], capture.dtype

    def entry(self, place: str, layer: str, call: int) -> Mapping[str, Any] | None:
        """The entry of a call whose ``output`` was given; None where it was made."""
        return self._given.pop((place, layer, str(call)), None)
