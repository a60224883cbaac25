"""One way to write a file of the user's: whole or not at all, a regular file alone, and never over
what is being read."""

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from probe.errors import BadInput

__all__ = ["target_of", "write"]


def write(
    path: str | os.PathLike[str],
    content: Callable[[IO[bytes]], object],
    reading: Iterable[object] = (),
) -> None:
    """Has ``content`` write into a file of its own beside the target, which then takes its place
    and keeps its permissions.

    Raises BadInput as ``target_of`` does, and where the system does not let it be written. Whatever
    ends the writing, an interrupt too, leaves what was there before and nothing else.
    """
    target = target_of(path, reading)
    partial = target.with_name(f".probe-{secrets.token_hex(8)}.part")
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
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
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None


def target_of(path: str | os.PathLike[str], reading: Iterable[object] = ()) -> Path:
    """The file that links lead to; BadInput where it is no regular file, is read-only, or is one of
    those being read."""
    try:
        target = Path(os.path.realpath(path))
        found = target.stat() if os.path.lexists(target) else None
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{str(path)!r} is not a valid file name: {error}") from None
    if found is None:
        return target
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        raise BadInput(f"cannot write {path}: it is {kind}, not a regular file")
    if not os.access(target, os.W_OK):
        raise BadInput(f"cannot write {path}: it is read-only")
    for one in reading:
        if isinstance(one, str | os.PathLike) and _same(one, found):
            raise BadInput(
                f"cannot write {path}: it is the same file as {one}, which is being read"
            )
    return target


def _same(path: str | os.PathLike[str], status: os.stat_result) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), status)
    except (OSError, ValueError):
        return False
