"""``probe record``, ``--record`` beside a check, and ``probe repro``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from probe import command_line, printable
from probe.cli import settings
from probe.cli.arguments import Arguments, drawn
from probe.cli.checking import check_of
from probe.cli.given_input import input_of
from probe.cli.opening import opened
from probe.cli.output import STATUS, say
from probe.cli.status import status
from probe.errors import BadInput
from probe.recording.record import record as record_pass
from probe.recording.record import record_inside, refuse_target
from probe.recording.reproduction import CALL, refuse_folder
from probe.recording.reproduction import reproduce as write_reproduction

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["from_recording", "record", "reproduce"]


def record(arguments: Arguments, patterns: tuple[str, ...]) -> int:
    """Writes the recording and says what is in it."""
    model = _recorded(arguments, patterns)
    count = len(model.layers)
    if arguments.quiet:
        return 0
    say(printable.line(f"written: {arguments.record} ({count} layers)"))
    if text := settings.note():
        say(printable.line(f"note: {text}"))
    return 0


def reproduce(arguments: Arguments, folder: str, anyway: bool) -> int:
    """Writes the folder, and prints the report that it shows."""
    place, layer = Path(folder), str(arguments.layer)
    refuse_folder(place)
    model = opened(arguments)
    report = check_of(model, arguments)
    if report.ok and arguments.expect is None and not anyway:
        raise BadInput(
            f"{layer!r} agrees, so there is nothing to show: give your own values (--expect), or "
            "--anyway"
        )
    kept = record_inside(
        model,
        input_of(arguments),
        place,
        CALL,
        layers=[layer],
        shape=drawn(arguments.shape),
        seed=arguments.seed or 0,
        progress=lambda name: status.show(printable.name(f"recording {name}")),
    )
    names = write_reproduction(kept, report, place, command_line.of_process())
    status.clear()
    say(str(report))
    say("")
    say(printable.line(f"written to {folder}: {', '.join(names)}"))
    return STATUS[report.verdict]


def from_recording(arguments: Arguments) -> Arguments:
    """The same question to the recording that is written for it."""
    _recorded(arguments)
    plain = Arguments(model="")
    given = ("input", "text", "shape", "arg")
    opening = (*given, "factory", "imports", "device", "engine", "signature", "gguf", "trust")
    same = {name: getattr(plain, name) for name in opening}
    return replace(arguments, model=str(arguments.record), record=None, **same)


def _recorded(arguments: Arguments, patterns: tuple[str, ...] = ()) -> "Model":
    """The recording of what was asked for, opened."""
    assert arguments.record is not None
    refuse_target(arguments.record, [arguments.model])
    model = opened(arguments)
    found = record_pass(
        model,
        input_of(arguments),
        arguments.record,
        layers=patterns or None,
        shape=drawn(arguments.shape),
        seed=arguments.seed or 0,
        progress=lambda layer: status.show(printable.name(f"recording {layer}")),
    )
    status.clear()
    return found
