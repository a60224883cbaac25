"""``probe FILE …`` and the verbs beside it; whatever goes wrong is one sentence and exit status
2."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe import __version__, printable
from probe.cli import misuse, settings
from probe.cli.arguments import Arguments, refuse_contradictions
from probe.cli.comparing_options import Comparing
from probe.cli.comparing_options import parameters as of_comparing
from probe.cli.options import (
    GroupedCommand,
    WordedCommand,
    parameters,
    recording_parameters,
    reproduction_parameters,
)
from probe.cli.output import no_empty_folder
from probe.cli.status import status
from probe.errors import ProbeError, in_words
from probe.suggestions import did_you_mean, near

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["command", "main"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help and listings start fast.


class _Probe(click.Group):
    """A group whose first argument is a verb or else a model's file."""

    command_class = WordedCommand

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = (*self.commands, "--version", "--help", "-h")  # "./causes" is a file
        if not args and not ctx.resilient_parsing:  # a shell may complete a first word to a verb
            raise click.UsageError(_NOTHING_GIVEN)
        if args and args[0] == _HELP:
            args = self._asked_for_help(args[1:])
        elif args and args[0] not in known:
            if not ctx.resilient_parsing and (said := misuse.of_no_command(args, self._verbs())):
                raise click.UsageError(said)
            args = [_FILE, *args]
        return super().parse_args(ctx, args)

    def _asked_for_help(self, words: list[str]) -> list[str]:
        """The same question as "--help" at the end."""
        if words and words[0] not in self.commands:
            meant = did_you_mean(near(words[0], self._verbs(), 1))
            hint = meant or f"there are {', '.join(self._verbs())}"
            raise click.UsageError(f"no command {words[0]!r}; {hint}")
        return [*words[:1], "--help"]

    def _verbs(self) -> list[str]:
        return [name for name in sorted(self.commands) if name != _FILE]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if name != _FILE]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        return [*super().shell_complete(ctx, incomplete), CompletionItem(incomplete, type="file")]

    def get_help(self, ctx: click.Context) -> str:
        """The help of ``probe FILE`` with the verbs below it."""
        inner = click.Context(
            self.commands[_FILE],
            info_name=ctx.info_name,
            help_option_names=ctx.help_option_names,
        )
        verbs = "\n".join(
            f"  probe {name:<10} {self.commands[name].get_short_help_str(70)}"
            for name in self.list_commands(ctx)
        )
        return f"{inner.get_help()}\n\nOther commands (probe help COMMAND):\n{verbs}"


_FILE, _HELP = "FILE", "help"  # "./help" is a file
_NOTHING_GIVEN = (
    "give a model's file: probe model.h5 lists its layers, and probe model.h5 --layer NAME checks "
    "one; probe help shows all options and commands"
)


@click.group(cls=_Probe, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="probe")
def command() -> None:
    """Who is right about a layer's output, where exactly, and why."""


@command.command(
    _FILE,
    cls=GroupedCommand,
    params=parameters(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="probe")
def _file(**given: Any) -> None:
    """Who is right about a layer's output, where exactly, and why.

    Lists the layers of MODEL, or checks one (--layer) or all of them (--all) against NumPy and ONNX
    Runtime. MODEL is a Keras .keras, .h5 or .hdf5 file (QKeras too), a PyTorch .pt, .pth, .pt2 or
    .safetensors file, a Hugging Face directory, a SavedModel, a .tflite, .onnx or .gguf file, or a
    recording (probe record).

    \b
      probe model.h5
      probe model.h5 --layer conv2d --input x.npy --expect mine.npy

    Exit status: 0 agree, 1 diverge, 2 could not check.
    """
    arguments = Arguments(**given)
    runs = arguments.layer is not None or arguments.all
    arguments = settings.of_model(arguments, runs)
    refuse_contradictions(arguments)
    _ended(lambda: _asked(arguments), f"opening {arguments.model}")


@command.command(
    "compare",
    params=of_comparing(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
def _compare(**given: Any) -> None:
    """Compare two models layer by layer: where B differs from A, and why.

    A is the reference. Each is a file that probe opens, or only the outputs of layers: an .npz or a
    folder of .npy files, named after the layers.

    \b
      probe compare model.h5 model.onnx --input x.npy

    Exit status: 0 agree, 1 diverge, 2 could not compare.
    """

    def run() -> int:
        from probe.cli.comparing import compare

        return compare(settings.of_comparison(Comparing(**given)))

    _ended(run, f"opening {given['a']}")


@command.command(
    "record",
    params=recording_parameters(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
def _record(patterns: tuple[str, ...], **given: Any) -> None:
    """Record one forward pass, to check its layers without the framework.

    \b
      probe record model.h5 -o run.npz
      probe run.npz --layer conv2d --expect mine.npy
    """
    arguments = settings.of_model(Arguments(**given), runs=True)
    refuse_contradictions(replace(arguments, all=True, record=None))

    def run() -> int:
        from probe.cli import opening
        from probe.cli.recording import record

        opening.refuse_missing(arguments)
        with opening.quiet(arguments.device):
            return record(arguments, patterns)

    _ended(run, f"opening {arguments.model}")


@command.command(
    "repro",
    params=reproduction_parameters(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
def _repro(folder: str, anyway: bool, **given: Any) -> None:
    """Write a folder that shows one layer's difference, for a bug report.

    It contains a recording of the layer's call, the layer alone in ONNX, all values, and a script
    that needs only NumPy.

    \b
      probe repro model.h5 --layer conv2d --expect mine.npy -o conv2d/
    """
    arguments = settings.of_model(Arguments(**given), runs=True)
    refuse_contradictions(arguments)

    def run() -> int:
        from probe.cli import opening
        from probe.cli.recording import reproduce

        opening.refuse_missing(arguments)
        with no_empty_folder(folder), opening.quiet(arguments.device):
            return reproduce(arguments, folder, anyway)

    _ended(run, f"opening {arguments.model}")


@command.command("causes", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("slug", required=False)
def _causes(slug: str | None) -> None:
    """List the mistakes that probe can identify, or explain one of them.

    \b
      probe causes raw-weights
    """
    from probe.cli import printed

    _ended(lambda: printed.causes(slug), "reading the causes")


@command.command("dump-header", context_settings={"help_option_names": ["-h", "--help"]})
def _dump_header() -> None:
    """Print probe_dump.h, with which a program in C writes its arrays as .npy.

    \b
      probe dump-header > probe_dump.h
      probe compare model.h5 dumps/ --input x.npy
    """
    from probe.cli import printed

    _ended(printed.dump_header, "")


def _asked(arguments: Arguments) -> int:
    """Lists or checks; the exit status."""
    from probe.cli import opening

    opening.refuse_missing(arguments)
    if arguments.layer is None and not arguments.all:
        from probe.cli.listing import show

        return show(arguments)
    from probe.cli import checking

    with no_empty_folder(arguments.model_explorer), opening.quiet(arguments.device):
        opening.refuse_targets([arguments.model], arguments)
        if arguments.record is not None:
            from probe.cli.recording import from_recording

            arguments = from_recording(arguments)
        if arguments.all:
            from probe.cli.sweeping import sweep

            return sweep(arguments)
        if arguments.fold:
            return checking.fold(arguments)
        if arguments.at is not None and arguments.expect_value is None:
            return checking.explain(arguments)
        return checking.check(arguments)


def _ended(run: Callable[[], int], doing: str) -> None:
    """Exits with what ``run`` returns; what nobody foresaw is kept from click's own handlers.

    A terminal is told at once what is going on, before anything is imported for it.
    """
    status.show(printable.name(doing))
    try:
        answer = run()
    except (ProbeError, click.ClickException, click.exceptions.Exit, KeyboardInterrupt):
        raise
    # click takes EOFError for an interrupt, a broken pipe for its own, SystemExit for the answer
    except BaseException as error:
        raise _Unforeseen from error
    finally:
        status.clear()
    sys.exit(answer)


class _Unforeseen(Exception):
    """Its cause is what was raised."""


def main() -> None:
    """The console script: whatever goes wrong is one sentence on standard error, exit status 2.

    With PROBE_TRACEBACK=1 in the environment the traceback comes before it.
    """
    _standard_streams()
    _termination_interrupts()
    try:
        sys.exit(command(prog_name="probe", standalone_mode=False) or 0)
    except ProbeError as error:
        _complain(str(error), error)
    except click.ClickException as error:
        _complain(misuse.in_words(error, command, _FILE), error)
    except click.exceptions.Abort as error:
        _complain("interrupted", error)
    except (_Unforeseen, OSError) as error:
        cause = error.__cause__ or error
        _complain(
            f"internal error, please report this bug ({_where(cause)}); set PROBE_TRACEBACK=1 for "
            "the traceback",
            cause,
        )


def _standard_streams() -> None:
    """Those that the caller has closed go nowhere, rather than into the next file that is opened,
    and none takes only some characters."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _termination_interrupts() -> None:
    """SIGTERM, and a terminal that is closed, end the command as Ctrl-C does, so that no
    half-written file stays behind; where the caller ignores or handles them, that holds."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _where(error: BaseException) -> str:
    """What went wrong in words, and the innermost place."""
    from traceback import extract_tb

    place = extract_tb(error.__traceback__)[-1]
    return f"{in_words(error)}, in {Path(place.filename).name}, line {place.lineno}"


def _complain(sentence: str, error: BaseException) -> None:
    if os.environ.get("PROBE_TRACEBACK") == "1":
        from traceback import print_exception

        print_exception(error)
    with suppress(OSError):
        click.echo(f"probe: {printable.sentence(sentence)}", err=True)
    sys.exit(2)
