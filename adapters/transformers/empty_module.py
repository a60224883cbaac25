"""The module of a config.json built without memory for its parameters, to see that the files could
fill it: before what the config says is believed."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from probe import printable
from probe.errors import CannotOpen, ProbeError, first_line
from probe.files.size_limits import too_much

from .config import code_within, made
from .directory import CONFIG, Directory
from .own_code import ALLOWED

__all__ = ["refuse_more_than_the_files_hold"]

_COUNTED = re.compile(r"(layer|block|depth|stage|expert|head|group|codebook|level|label)s?$")
"""How what config.json gives a number of is named, each of which costs time."""
_MANY, _LABELS = 10_000, 1_000_000


def refuse_more_than_the_files_hold(directory: Directory, cls: Any, own: bool) -> None:
    """Raises CannotOpen where the module would take far more memory than the files."""
    _refuse_endless(directory)
    wanted = _bytes_wanted(directory, cls, own)
    holds = sum(file.stat().st_size for file in directory.files)
    if too_much(wanted, holds):
        raise CannotOpen(
            f"{directory.path / CONFIG} describes a model of {wanted:,} bytes, but its files have "
            f"{holds:,}: they do not belong together"
        )


def _refuse_endless(directory: Directory) -> None:
    """Raises CannotOpen where config.json gives a number of layers and their like that the files
    cannot hold."""
    waiting: list[Any] = [directory.config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for key, value in one.items():
                sizes = value if isinstance(value, list) else [value]
                most = max((n for n in sizes if isinstance(n, int | float)), default=0)
                limit = _LABELS if "label" in key else _MANY
                if _COUNTED.search(key) and most > limit:
                    raise CannotOpen(
                        f"{directory.path / CONFIG} gives {printable.name(key)} as {most:,}, more "
                        f"than the {limit:,} that are built"
                    )
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _bytes_wanted(directory: Directory, cls: Any, own: bool) -> int:
    config, _ = made(directory, cls, own)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            empty = cls(config)
    except ProbeError:
        raise
    except Exception as error:
        within = [] if own else list(code_within(directory.config))
        hint = f" (without code of the directory's own, {printable.several(within, 3)}: {ALLOWED})"
        raise CannotOpen(
            f"{directory.path}: {cls.__name__} cannot be built from {CONFIG}: {first_line(error)}"
            f"{hint if within else ''}"
        ) from None
    found = {id(one): one for one in (*empty.parameters(), *empty.buffers())}
    return sum(one.numel() * one.element_size() for one in found.values())
