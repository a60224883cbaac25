"""``probe record``, and ``--record`` beside a check."""

from dataclasses import replace
from typing import TYPE_CHECKING

from probe import printable
from probe.cli.arguments import Arguments
from probe.cli.checking import drawn, input_of
from probe.cli.opening import opened
from probe.cli.output import say
from probe.cli.status import status
from probe.recording.record import record as record_pass
from probe.recording.record import refuse_target

if TYPE_CHECKING:
    from probe.model import Model

__all__ = ["from_recording", "record"]


def record(arguments: Arguments, patterns: tuple[str, ...]) -> int:
    """Writes the recording and says what is in it."""
    model = _recorded(arguments, patterns)
    count = len(model.layers)
    say(printable.line(f"written: {arguments.record} ({count} layers)"))
    return 0


def from_recording(arguments: Arguments) -> Arguments:
    """The same question to the recording that is written for it."""
    _recorded(arguments)
    plain = Arguments(model="")
    opening = ("input", "text", "shape", "arg", "factory", "imports", "device", "trust")
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
        shape=drawn(arguments),
        seed=arguments.seed or 0,
        progress=lambda layer: status.show(printable.name(f"recording {layer}")),
    )
    status.clear()
    return found
