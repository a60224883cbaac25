"""What a hostile file is: how it is built, which commands are tried on it and what may come of
them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What a command may end with. Whatever it ends with: no traceback, nothing written, run, opened or
# shown that is not the user's.
REFUSED = frozenset({2})
LISTED = frozenset({0, 2})  # a file may be listed although a layer of it is refused
AGREES = frozenset({0})
AGREES_OR_REFUSED = frozenset({0, 2})
NOT_AGREES = frozenset({1, 2})
ANY = frozenset({0, 1, 2})

KINDS = ("healthy", "code", "read", "hang", "memory", "malformed", "arguments")


@dataclass(frozen=True)
class Place:
    """Where one case lives: the command runs in `work`; everything beside it must stay as it is,
    and the canaries unopened."""

    work: Path
    port: int  # a server on this machine that nobody may ask

    @property
    def marker(self) -> str:
        """What hostile code writes."""
        return str(self.work.parent / "MARKER")

    @property
    def canary(self) -> Path:
        """A private text file outside the case's folder."""
        return self.work.parent / "canary.txt"

    @property
    def canary_numbers(self) -> Path:
        """A private file of 4096 float32 numbers."""
        return self.work.parent / "canary.bin"

    @property
    def canary_array(self) -> Path:
        """A private .npy file."""
        return self.work.parent / "canary.npy"

    @property
    def canary_hdf5(self) -> Path:
        """A private HDF5 file with `secret`, float32 (4, 3)."""
        return self.work.parent / "canary.h5"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret"


@dataclass(frozen=True)
class Run:
    arguments: tuple[str, ...]
    allowed: frozenset[int]
    # What a shell does to the command's streams and limits, and its environment; with either it
    # runs as a process of its own.
    shell: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    writes: tuple[str, ...] = ()  # what the user asked it to write


@dataclass(frozen=True)
class Case:
    name: str
    format: str
    kind: str
    build: Callable[[Place], None]
    runs: tuple[Run, ...]


CASES: dict[str, Case] = {}


def add(format: str, kind: str, slug: str, build: Callable[[Place], None], *runs: Run) -> None:
    name = f"{format}/{kind}/{slug}"
    assert (
        kind in KINDS
        and name not in CASES
        and runs
        and not set(slug) - set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    ), name
    CASES[name] = Case(name, format, kind, build, runs)
