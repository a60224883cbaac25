"""One way to write a file of the user's: whole or not at all, a regular file alone, and never over
what is being read.

Links are followed where the user names the file (``write``), and never where the user names a
folder and the names in it are ours (``write_inside``): somebody else may have put a link there.
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import IO

from probe.command_line import joined
from probe.errors import BadInput
from probe.files.regular_file import exists, is_folder

__all__ = [
    "append_inside",
    "inside",
    "make_folder",
    "refuse_others",
    "refuse_same",
    "remove_inside",
    "target_of",
    "write",
    "write_inside",
]

_APPENDING = (
    os.O_WRONLY
    | os.O_APPEND
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)

_Name = str | os.PathLike[str]
_Content = Callable[[IO[bytes]], object]


def write(path: _Name, content: _Content, reading: Iterable[object] = ()) -> None:
    """Has ``content`` write into a file of its own beside the target, which then takes its place
    and keeps its permissions.

    Raises BadInput as ``target_of`` does, and where the system does not let it be written. Whatever
    ends the writing, an interrupt too, leaves what was there before and nothing else.
    """
    _replace(target_of(path, reading), content, path)


def write_inside(folder: _Name, name: str, content: _Content) -> None:
    """The same for a name of ours in an output folder. Raises BadInput where something of that name
    is there that is no regular file, a link among them."""
    target = inside(folder, name)
    _replace(target, content, target)


def append_inside(folder: _Name, name: str, content: bytes) -> None:
    """Adds to the end of a file that ``write_inside`` has written."""
    target = inside(folder, name)
    try:
        with os.fdopen(os.open(target, _APPENDING), "ab") as file:
            _refuse_irregular(target, os.fstat(file.fileno()).st_mode)
            file.write(content)
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error.strerror or error}") from None


def remove_inside(folder: _Name, name: str) -> None:
    """Removes a file of ours where there is one; raises as ``write_inside`` does."""
    target = inside(folder, name)
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error.strerror or error}") from None


def make_folder(folder: _Name) -> list[str]:
    """Makes an output folder where there is none; the names in it. Raises BadInput where it cannot
    be made."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return sorted(path.name for path in Path(folder).iterdir())
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror or error}") from None
    except ValueError as error:
        raise BadInput(f"{str(folder)!r} is not a valid file name: {error}") from None


def refuse_others(folder: _Name, ours: Collection[str]) -> None:
    """Makes an output folder. Raises BadInput where it holds other files than ours, or under one of
    these names something else than a file."""
    names = make_folder(folder)
    if others := [name for name in names if name not in ours]:
        raise BadInput(f"{folder} holds other files ({others[0]}): give a new folder")
    for name in names:
        inside(folder, name)


def inside(folder: _Name, name: str) -> Path:
    """Where a file of ours lies in an output folder, if it is there. Raises BadInput as
    ``write_inside`` does."""
    target = Path(folder) / name
    try:
        _refuse_irregular(target, target.lstat().st_mode)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error.strerror}") from None
    return target


def _replace(target: Path, content: _Content, shown: _Name) -> None:
    partial = target.with_name(f".probe-{os.urandom(8).hex()}.part")
    try:
        if os.path.lexists(target):
            mode = stat.S_IMODE(target.lstat().st_mode)
        else:
            mode = None
        try:
            with os.fdopen(
                os.open(
                    partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600
                ),
                "wb",
            ) as file:
                content(file)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                partial.chmod(mode)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"cannot write {shown}: {error.strerror or error}") from None


def named(path: object) -> Path:
    """The path of a file that is written; BadInput where it is the name of none."""
    if not isinstance(path, str | os.PathLike):
        raise BadInput(f"a file that is written has a name, such as 'run.npz'; you gave {path!r}")
    return Path(path)


def target_of(path: _Name, reading: Iterable[object] = ()) -> Path:
    """The file that links lead to; BadInput where it is no regular file, is read-only, or is one of
    those being read."""
    try:
        target = Path(os.path.realpath(path))
        found = target.stat() if os.path.lexists(target) else None
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        raise BadInput(f"{str(path)!r} is not a valid file name: {error}") from None
    if found is None and not is_folder(target.parent):
        if exists(target.parent):
            raise BadInput(f"cannot write {path}: {os.strerror(errno.ENOTDIR)}")
        folder = str(Path(path).parent)
        command = joined(["mkdir", "-p", folder])
        raise BadInput(f"cannot write {path}: the folder {folder} does not exist: {command}")
    if found is None:
        return target
    _refuse_irregular(path, found.st_mode)
    if not os.access(target, os.W_OK):
        raise BadInput(f"cannot write {path}: it is read-only")
    refuse_same(path, reading)
    return target


def refuse_same(path: _Name, reading: Iterable[object]) -> None:
    """Raises BadInput where a file or a folder is one of those being read."""
    for file in reading:
        if isinstance(file, str | os.PathLike) and _same(file, path):
            raise BadInput(
                f"cannot write {path}: it is the same file as {file}, which is being read"
            )


def _refuse_irregular(path: _Name, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise BadInput(
            f"cannot write {path}: it is a symbolic link, which is not followed out of its folder: "
            "remove it or give a new folder"
        )
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise BadInput(f"cannot write {path}: it is {kind}, not a regular file")


def _same(path: _Name, other: _Name) -> bool:
    try:
        return Path(path).samefile(other)
    except (OSError, ValueError):
        return False
