"""What is printed and written, and where standard output does not take it."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from probe import printable
from probe.errors import BadInput

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["STATUS", "on_terminal", "say", "with_progress", "write", "written"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help and listings start fast.

STATUS = {"agree": 0, "diverge": 1, "unchecked": 2}
"""The exit status of each verdict."""


def say(text: str) -> None:
    """Prints; where standard output is full or closed the exit status is 2."""
    try:
        click.echo(text)
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


def written(path: str, beside_json: bool) -> None:
    """Says that a file was written; on standard error where standard output holds JSON."""
    text = printable.line(f"written: {path}")
    if beside_json:
        click.echo(text, err=True)
    else:
        say(f"\n{text}")


def on_terminal() -> Callable[[str], None] | None:
    """Shows which cause is being tried, on a line of its own that is written over, once a second
    has passed; None where no terminal sees it."""
    if not sys.stderr.isatty():
        return None
    from time import monotonic

    started = monotonic()

    def show(slug: str) -> None:
        if monotonic() - started > 1:
            click.echo(f"\rsearching for the mistake: {slug:<30}\r", nl=False, err=True)

    return show


def with_progress(reports: "Iterator[Report]", total: int) -> "Iterator[Report]":
    """The reports, under a progress bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from reports
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    # Lines pass above the bar where both share the terminal; a file or a pipe keeps its own.
    with Progress(
        console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task("checking", total=total)
        for report in reports:
            progress.update(task, advance=1, description=escape(printable.name(report.layer)))
            yield report
