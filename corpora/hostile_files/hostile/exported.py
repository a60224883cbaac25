"""A healthy .pt2 file, and its members to change."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from hostile.bases import zipped


def save(path: Path) -> None:
    import torch
    from hostile.scripts import Plain

    torch.export.save(torch.export.export(Plain().eval(), (torch.zeros(2, 4),)), path)


def changed(path: Path, edit: Callable[[dict[str, bytes]], None]) -> None:
    """The file with its members, by their names without the archive's folder, changed."""
    save(path)
    with zipfile.ZipFile(path) as file:
        folder = file.namelist()[0].partition("/")[0]
        members = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    edit(members)
    zipped(path, ((f"{folder}/{name}", content) for name, content in members.items()))


def in_json(members: dict[str, bytes], name: str, edit: Callable[[dict], None]) -> None:
    value = json.loads(members[name])
    edit(value)
    members[name] = json.dumps(value).encode()
