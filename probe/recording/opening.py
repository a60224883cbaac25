"""A recording on the disk opened as a model; what is broken about it is one sentence."""

import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from probe.capture import array_files
from probe.capture.printed_tensors import PrintedTensor, holds_printed, read_printed
from probe.errors import BadInput, CannotOpen, in_words
from probe.files.regular_file import is_file, is_folder, open_file
from probe.model import Capture
from probe.recording.index import unsealed
from probe.recording.members import FolderMembers, ZipMembers
from probe.recording.named_arrays import NamedArrays
from probe.recording.plain_data import Unfit
from probe.recording.recorded_model import Recording
from probe.recording.store import INDEX, JOURNAL, SCHEMA

__all__ = ["opened", "values_by_layer"]


def values_by_layer(path: str) -> Mapping[str, np.ndarray | list[np.ndarray]]:
    """Outputs by names of layers: of an .npz or a folder of arrays, or what a recording holds of
    the first call of each layer."""
    place = Path(path)
    if not (is_file(place / INDEX) if is_folder(place) else _in_zip(place)):
        return array_files.by_name(path)
    found: dict[str, np.ndarray | list[np.ndarray]] = {}

    def keep(capture: Capture) -> None:
        found.setdefault(capture.layer, _outputs(capture))

    opened(path).run((), None, keep)
    return found


def _in_zip(path: Path) -> bool:
    """Whether a file is a zip with a recording in it; where it is none, reading it says why."""
    try:
        with open_file(path, "an array file") as file, zipfile.ZipFile(file) as archive:
            return INDEX in archive.namelist()
    except (BadInput, OSError, zipfile.BadZipFile):
        return False


def _outputs(capture: Capture) -> np.ndarray | list[np.ndarray]:
    if len(capture.outputs) == 1:
        return capture.outputs[0]
    return list(capture.outputs)


def _prints(path: Path) -> bool:
    with open_file(path, "a text of printed tensors", links=False) as file:
        return holds_printed(file)


def _by_name(path: Path) -> dict[str, np.ndarray | PrintedTensor]:
    """The arrays of an archive or a folder, and those that texts in it print."""
    found: dict[str, np.ndarray | PrintedTensor] = {}
    for file in sorted(file for kind in ("*.txt", "*.log") for file in path.rglob(kind)):
        found |= read_printed(str(file), links=False)
    if found and not any(path.rglob("*.npy")):
        return found
    return found | array_files.by_name(str(path))


def opened(source: str | PathLike[str]) -> Recording | NamedArrays:
    """A Recording. Raises CannotOpen."""
    path = Path(source)
    try:
        if not is_folder(path) and _prints(path):
            return NamedArrays(str(path), read_printed(str(path)))
        members = FolderMembers(path) if is_folder(path) else ZipMembers(path)
        names = members.names()
        if INDEX not in names and JOURNAL in names:
            raise CannotOpen(
                f"{path} is a recording that was interrupted: run the same probe record again to "
                "complete it"
            )
        if INDEX not in names:
            return NamedArrays(str(path), _by_name(path))
        index: Any = unsealed(members.index())
        if not isinstance(index, dict) or type(index.get("schema")) is not int:
            raise Unfit("no schema number")
        if index["schema"] > SCHEMA:
            raise CannotOpen(
                f"{path} is a recording of schema {index['schema']}, and this version of probe "
                f"reads {SCHEMA}: install a newer version of probe"
            )
        if index["schema"] < 1:
            raise Unfit(f"the schema {index['schema']}")
        return Recording(path, members, index)
    except BadInput as error:
        raise CannotOpen(str(error)) from None
    except CannotOpen:
        raise
    except Unfit as error:
        raise CannotOpen(f"{path} is a damaged recording: it has {error}") from None
    # what zipfile, json and NumPy raise for broken files has no common class
    except Exception as error:
        raise CannotOpen(f"{path} is a damaged recording ({in_words(error)})") from None
