"""The model's file, opened with its framework kept quiet, and files that are written checked before
the work for them is done."""

import gc
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import click

from probe import command_line, printable
from probe.cli.arguments import Arguments, recording_command
from probe.cli.imports import only_what_is_needed
from probe.cli.status import status

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["hint", "opened", "quiet", "refuse_missing", "refuse_targets"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help and listings start fast.


@contextmanager
def quiet(device: str | None = None) -> Iterator[None]:
    """The frameworks' chatter is switched off before they are imported, and a GPU that nobody asked
    for is hidden from them: they would fill its memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if device in (None, "cpu", "disk"):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    import warnings

    from probe.errors import CostWarning

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        status.clear()
        click.echo(printable.line(f"probe: {message}"), err=True)

    with warnings.catch_warnings(), only_what_is_needed():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", CostWarning)
        warnings.showwarning = tell
        yield


def opened(arguments: Arguments) -> "Model":
    """The model, with its file kept from being written over."""
    from importlib import import_module

    # What is imported stays: to look for garbage among a framework's objects, then and later, takes
    # a seventh of the start.
    gc.disable()
    try:
        with status.importing(f"opening {printable.name(arguments.model)}"):
            model: Model = import_module("probe.adapters").open_model(
                arguments.model,
                trust=arguments.trust,
                factory=arguments.factory,
                imports=arguments.imports,
                device=arguments.device,
                engine=arguments.engine,
                signature=arguments.signature,
                gguf=arguments.gguf,
            )
    finally:
        gc.freeze()
        gc.enable()
    refuse_targets(model.other_files, arguments)
    return model


_BEGAN = monotonic()
_LONG = 5.0
"""Seconds of waiting for a framework, after which a recording is worth a word."""


def hint(arguments: Arguments) -> list[str]:
    """That a recording would answer at once, where a person has waited for a framework."""
    started = any(map(sys.modules.get, ("tensorflow", "torch")))
    seconds = monotonic() - _BEGAN
    if not started or seconds < _LONG or not sys.stdout.isatty():
        return []
    command = command_line.joined(recording_command(arguments))
    if not command:
        return []
    return [
        f"this took {seconds:.0f} s, including the start of the framework; a recording is checked "
        "without it:",
        printable.Whole(f"  {command}"),
        "",
    ]


def refuse_missing(arguments: Arguments) -> None:
    """Raises BadInput where a file or module that is read is not there, before a framework is
    imported."""
    from importlib import import_module

    from probe.files import regular_file

    replaced = (path for _, path in arguments.replace)
    read = (arguments.model, arguments.input, arguments.expect, arguments.expect_input)
    regular_file.refuse_missing((*read, *replaced, arguments.gguf))
    if arguments.imports:
        import_module("probe.adapters.user_modules").refuse_absent(arguments.imports)


def refuse_targets(models: Collection[str], arguments: Arguments) -> None:
    """Raises BadInput where a file cannot be written, before the work for it is done."""
    if arguments.model_explorer is not None:
        from probe.report import model_explorer

        model_explorer.refuse_folder(arguments.model_explorer)
    told = (arguments.json, arguments.save, arguments.html, arguments.junit)
    targets = [target for target in told if target is not None and target != "-"]
    if not targets and arguments.script is None:
        return
    from probe.files import atomic_write
    from probe.report.saving import refuse_ending

    if arguments.save is not None:
        refuse_ending(arguments.save)
    modules = [(arguments.factory or "").partition(".py:")[0] + ".py", *arguments.imports]
    arrays = (arguments.input, arguments.expect, arguments.expect_input)
    replaced = [path for _, path in arguments.replace]
    reading = [*models, *modules, *replaced, *(path for path in arrays if path)]
    if arguments.script is not None:
        from probe.by_hand.write import refuse_script, targets_of

        refuse_script(arguments.script, reading)
        targets += map(str, targets_of(arguments.script))
    if len({atomic_write.target_of(target, reading) for target in targets}) < len(targets):
        raise click.UsageError("two outputs must not name the same file")
