"""What is printed and written, and where standard output does not take it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import click

from probe import printable
from probe.cli.status import status
from probe.errors import BadInput

__all__ = ["STATUS", "no_empty_folder", "say", "write", "write_and_say", "written"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help and listings start fast.

STATUS = {"agree": 0, "diverge": 1, "unchecked": 2}
"""The exit status of each verdict."""


def say(text: str, color: bool | None = None) -> None:
    """Prints; where standard output is full or closed the exit status is 2. ``color`` True: the
    text is coloured (``terminal.coloured``), and keeps its colours where no terminal sees them."""
    status.clear()
    text = text if color else printable.lines(text)
    try:
        click.echo(text, color=color)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where what is left in the buffer goes
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(2) from None
        raise BadInput(f"cannot write to standard output: {error.strerror}") from None


def write(path: str, text: str) -> None:
    """Writes text to a file, whole or not at all; "-" is standard output."""
    if path == "-":
        say(text)
        return
    from probe.files import atomic_write

    atomic_write.write(path, lambda file: file.write(f"{text}\n".encode()))


@contextmanager
def no_empty_folder(path: str | None) -> Iterator[None]:
    """A folder that is made for files, and that an error leaves without any, is taken away."""
    from probe.files.regular_file import exists

    there = path is None or exists(path)
    try:
        yield
    except BaseException:
        if path is not None and not there:
            with suppress(OSError):
                Path(path).rmdir()
        raise


class _Asked(Protocol):
    """What decides whether and where it is said that a file was written."""

    @property
    def json(self) -> str | None: ...
    @property
    def quiet(self) -> bool: ...


def written(path: str, asked: _Asked, then: Sequence[str] = ()) -> None:
    """Says that a file was written, and ``then`` what to do with it, line by line, but with
    --quiet; on standard error where standard output holds JSON."""
    if asked.quiet:
        return
    status.clear()
    text = "\n".join(map(printable.line, (f"written: {path}", *then)))
    if asked.json == "-":
        click.echo(text, err=True)
    else:
        say(f"\n{text}")


def write_and_say(path: str, text: str, asked: _Asked) -> None:
    """Writes text to a file and says so; "-" is standard output."""
    write(path, text)
    if path != "-":
        written(path, asked)
