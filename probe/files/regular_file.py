"""The one way to read a file of the user's: a regular file, as large as what the disk really holds
of it, and no link where only a name in a file or a folder says that it is there."""

import io
import json
import os
import re
import stat
from collections.abc import Iterable
from itertools import islice, zip_longest
from pathlib import Path
from typing import IO, Any

from probe.errors import BadInput, ProbeError, first_line
from probe.files.size_limits import held, too_much
from probe.suggestions import did_you_mean, near

__all__ = [
    "exists",
    "is_file",
    "is_folder",
    "missing",
    "open_file",
    "read_file",
    "read_json",
    "refuse_missing",
]

_SMALL = 1 << 25
"""The longest JSON file that is read; the index of 91,000 tensors has 9 MiB."""
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""A pipe that takes the place of a file between the look and the opening is not waited for."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

_Name = str | os.PathLike[str]


def exists(path: _Name) -> bool:
    """Whether anything is there; ``Path.exists`` raises where a name is too long."""
    return _mode(path) is not None


def is_file(path: _Name) -> bool:
    """Whether a regular file is there, or a link to one."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: _Name) -> bool:
    """Whether a folder is there, or a link to one."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


_SHAPE = re.compile(r"[\[(]?(\d+(?:[,x]\d*)+)[\])]?")
"""What may be a shape, such as "1,3,224,224" or "8x8"."""
_FAMILIES = (
    (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pt2", ".onnx", ".tflite", ".gguf"),
    (".npy", ".npz", ".txt", ".csv", ".dat", ".bin"),
)
"""How files of models end, and those of arrays: one may be meant by another of its family."""
_LISTED, _MEANT = 1000, 3
"""So many names of a folder are held against one that is not there, and so many suggested."""


def missing(path: _Name) -> str:
    """What is said of a path where nothing is: the folder that is not there either, or else the
    names that may have been meant."""
    place = Path(path)
    if (shape := _SHAPE.fullmatch(str(path))) is not None:
        sizes = shape[1].replace("x", ",").rstrip(",")
        return f"the file {path} does not exist; a shape is given by --shape {sizes} (shape=)"
    absent = place
    while not exists(absent.parent) and absent.parent != absent:
        absent = absent.parent
    rest = place.relative_to(absent)
    meant = [str(other / rest) for other in _beside(absent) if exists(other / rest)]
    known = f"; {did_you_mean(meant)}" if meant else ""
    if absent != place:
        return f"the file {path} does not exist: there is no folder {absent}{known}"
    return f"the file {path} does not exist{known}"


def refuse_missing(paths: Iterable[_Name | None]) -> None:
    """Raises BadInput where one of the files is not there; what else may be wrong with it is said
    when it is read."""
    for path in paths:
        try:
            Path(path or ".").stat()
        except FileNotFoundError:
            raise BadInput(missing(path or ".")) from None
        except (OSError, ValueError):
            continue


def _beside(absent: Path) -> list[Path]:
    """What lies in the folder of a missing name and is spelled alike: first what differs in its
    ending alone."""
    try:
        names = sorted(entry.name for entry in islice(os.scandir(absent.parent), _LISTED))
    except (OSError, ValueError):
        return []
    stem, suffix = absent.stem, absent.suffix
    same = [name for name in names if Path(name).stem.lower() == stem.lower()]
    if family := next((family for family in _FAMILIES if suffix in family), ()):
        same = [name for name in same if name.endswith(family)] or same
    of_kind = near(stem, (Path(name).stem for name in names if Path(name).suffix == suffix))
    beside = zip_longest(
        near(absent.name, same, alike=0.0), (f"{alike}{suffix}" for alike in of_kind)
    )
    found = [name for both in beside for name in both if name] or near(absent.name, names)
    return [absent.with_name(name) for name in dict.fromkeys(found)][:_MEANT]


def open_file(
    path: _Name, kind: str, error: type[ProbeError] = BadInput, links: bool = True
) -> IO[bytes]:
    """The file, open for reading; ``kind`` is what it should be, such as "an array file".

    Raises ``error`` where the path is no regular file, or an empty one, or one that is a hole for
    the most part, or without ``links`` a symbolic link.
    """
    try:
        _refuse_irregular(path, kind, error, Path(path).stat(follow_symlinks=links))
        file = io.BufferedReader(io.FileIO(path, opener=_opened if links else _opened_itself))
    except FileNotFoundError:
        raise error(missing(path)) from None
    except OSError as found:
        raise error(f"{path} cannot be read: {found.strerror}") from None
    except ValueError as found:
        raise error(f"{str(path)!r} is not a valid file name: {found}") from None
    try:
        status = os.fstat(file.fileno())
        _refuse_irregular(path, kind, error, status)
        if too_much(status.st_size, holds := held(file)):
            raise error(
                f"{path} has {status.st_size:,} bytes but is sparse: only {holds:,} are stored"
            )
    except BaseException:
        file.close()
        raise
    return file


def read_file(
    path: _Name, kind: str, limit: int = _SMALL, error: type[ProbeError] = BadInput
) -> bytes:
    """All bytes of a file that has no more than ``limit``; raises as ``open_file`` does."""
    with open_file(path, kind, error) as file:
        try:
            # a buffer of as many bytes is made before any is read
            content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
        except OSError as found:
            raise error(f"{path} cannot be read: {found.strerror}") from None
    if len(content) > limit:
        raise error(f"{path} has more than {limit:,} bytes, the most that are read of {kind}")
    return content


def read_json(path: _Name, error: type[ProbeError] = BadInput) -> Any:
    """What a JSON file holds; raises as ``read_file`` does, and where it is not JSON."""
    content = read_file(path, "a JSON file", error=error)
    try:
        return json.loads(content)
    except RecursionError:
        raise error(f"{path} cannot be read as JSON: it is nested too deeply") from None
    except ValueError as found:
        raise error(f"{path} cannot be read as JSON: {first_line(found)}") from None


def _mode(path: _Name) -> int | None:
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return None


def _opened(path: str, _: int) -> int:
    return os.open(path, _FLAGS)


def _opened_itself(path: str, _: int) -> int:
    return os.open(path, _FLAGS | _NO_LINK)


def _refuse_irregular(
    path: _Name, kind: str, error: type[ProbeError], status: os.stat_result
) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise error(
            f"{path} is a symbolic link, which is not followed out of its folder: put the file "
            "itself there"
        )
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):
            found = "a folder"
        else:
            found = "a device, a pipe or a socket"
        raise error(f"{path} is {found}, not {kind}")
    if not status.st_size:  # under /proc to read may never end
        raise error(f"{path} is empty: it contains no values")
