"""A recording on the disk opened as a model; what is broken about it is one sentence."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from probe.errors import CannotOpen, in_words
from probe.recording.members import FolderMembers, ZipMembers
from probe.recording.plain_data import Unfit
from probe.recording.recorded_model import Recording
from probe.recording.store import INDEX, JOURNAL, SCHEMA

__all__ = ["opened"]


def opened(source: str | PathLike[str]) -> Any:
    """A Recording. Raises CannotOpen."""
    path = Path(source)
    try:
        members = FolderMembers(path) if path.is_dir() else ZipMembers(path)
        if INDEX not in members.names():
            if JOURNAL in members.names():
                raise CannotOpen(
                    f"{path} is a recording that was interrupted: run the same probe record again "
                    "to complete it"
                )
        index: Any = json.loads(members.index())
        if not isinstance(index, dict) or type(index.get("schema")) is not int:
            raise Unfit("no schema number")
        if index["schema"] > SCHEMA:
            raise CannotOpen(
                f"{path} is a recording of schema {index['schema']}, and this version of probe "
                f"reads {SCHEMA}: it needs a newer one (pip install -U layerprobe)"
            )
        if index["schema"] < 1:
            raise Unfit(f"the schema {index['schema']}")
        return Recording(path, members, index)
    except CannotOpen:
        raise
    except Unfit as error:
        raise CannotOpen(f"{path} is a damaged recording: it has {error}") from None
    # what zipfile, json and NumPy raise for broken files has no common class
    except Exception as error:
        raise CannotOpen(f"{path} is a damaged recording ({in_words(error)})") from None
