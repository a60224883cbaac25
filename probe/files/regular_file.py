"""Whether a path is a file that can be read to its end."""

import stat
from pathlib import Path

from probe.errors import BadInput

__all__ = ["refuse_irregular"]


def refuse_irregular(path: str, kind: str) -> None:
    """Raises BadInput where the path is no file, or an empty one; ``kind`` is what it should be,
    such as "an array file"."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise BadInput(f"the file {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path!r} is no {kind.partition(' ')[2]}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        found = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a pipe or a socket"
        raise BadInput(f"{path} is {found}, not {kind}")
    if not status.st_size:  # under /proc to read may never end
        raise BadInput(f"{path} is empty: it contains no values")
