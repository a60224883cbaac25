"""What was given on the command line, and which options go together."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from probe.cli.options import recording_options
from probe.command_line import file, of_layer

if TYPE_CHECKING:
    from probe.capture.user_arrays import Shape

__all__ = [
    *("OF_THE_INPUT", "Arguments", "Given", "drawn", "recording_command"),
    "refuse_contradictions",
    "refuse_together",
]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What ``probe FILE`` and ``probe compare`` both take; the fields are named as the options."""

    input: str | None = None
    text: str | None = None
    seed: int | None = None
    shape: tuple[tuple[int, ...], ...] = ()
    arg: tuple[tuple[str, Any], ...] = ()
    dtype: str | None = None
    image_layout: str | None = None
    scale: float | None = None
    replace: tuple[tuple[str, str], ...] = ()
    no_search: bool = False
    thorough: bool = False
    strict: bool = False
    rtol: float | None = None
    atol: float | None = None
    device: str | None = None
    trust: bool = False
    json: str | None = None
    html: str | None = None
    model_explorer: str | None = None
    junit: str | None = None
    color: str | None = None
    quiet: bool = False
    verbose: bool = False

    def is_given(self, name: str) -> bool:
        """Whether an option was given."""
        value = getattr(self, name)
        return value is not None and value is not False and value != ()


@dataclass(frozen=True)
class Arguments(Given):
    """What was given to ``probe FILE``."""

    model: str
    layer: str | None = None
    to: str | None = None
    parts: bool = False
    all: bool = False
    call: int | None = None
    expect: str | None = None
    expect_input: str | None = None
    expect_at: str | None = None
    expect_value: str | None = None
    at: tuple[int, ...] | None = None
    sees: bool = False
    fold: bool = False
    factory: str | None = None
    imports: tuple[str, ...] = ()
    engine: str | None = None
    signature: str | None = None
    gguf: str | None = None
    save: str | None = None
    script: str | None = None
    record: str | None = None


def drawn(shapes: tuple[tuple[int, ...], ...]) -> "Shape":
    """The shapes of the drawn inputs, one alone where there is one."""
    if not shapes:
        return None
    if len(shapes) == 1:
        return shapes[0]
    return shapes


def recording_command(arguments: Arguments) -> list[str]:
    """The words of the command that records what these arguments open and run."""
    return ["probe", "record", *_opening_and_input(arguments), "-o", "run.npz"]


def command_for(arguments: Arguments, layer: str) -> str:
    """The command that holds values of another layer against the same run; "" where that has no
    input of the model."""
    if arguments.expect_input is not None:
        return ""
    return of_layer([*_opening_and_input(arguments), "--expect", "its.npy"], layer)


def _opening_and_input(arguments: Arguments) -> list[str]:
    """The words that open the model and give its input."""
    own_layer = arguments.expect_input is not None  # its input is the layer's, not the model's
    words = [file(arguments.model)]
    for option in recording_options():
        name = str(option.name)
        of_a_file = name == "dtype" and not (arguments.input or "").endswith(".bin")
        if not arguments.is_given(name) or of_a_file or (name == "shape" and own_layer):
            continue
        value = getattr(arguments, name)
        for text in value if option.multiple else (value,):
            words += [_flag(name)] if option.is_flag else [_flag(name), _told(name, text)]
    return words


def _told(name: str, value: Any) -> str:
    """One value of an option as it is typed."""
    if name == "shape":
        return ",".join(map(str, value))
    if name == "arg":
        return f"{value[0]}={value[1]!r}"
    return str(value)


_OF_ONE_LAYER = (
    *("to", "call", "fold", "expect_input", "expect_at", "expect_value", "at", "sees"),
    *("rtol", "atol", "thorough", "save", "script"),
)
"""Options that need --layer."""
OF_THE_INPUT = ("input", "text", "seed", "shape", "arg", "dtype", "image_layout", "scale")
"""Options with which a listing is that of a run."""
_OF_A_RUN = (
    "expect",
    "replace",
    "no_search",
    "json",
    "record",
    "html",
    "junit",
    "engine",
    "device",
    "quiet",
    "verbose",
)
"""Options that need --layer or --all."""
_NEEDS: tuple[tuple[str, str, str], ...] = (
    ("model_explorer", "all", "it is the graph of all layers"),
    ("strict", "all", "it counts the layers that could not be checked"),
    ("rtol", "atol", "specify both, or neither"),
    ("atol", "rtol", "specify both, or neither"),
    ("sees", "at", "it shows the receptive field of one element"),
    ("image_layout", "input", "it is the axis order of an image"),
    ("scale", "input", "it divides the pixels of an image"),
    ("expect_at", "expect", "it says which part of the output the file contains"),
    ("expect_value", "at", "it is the value of the single element at --at"),
)
_EXCLUDED: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("layer", ("all",), "check one layer or all layers"),
    ("parts", ("layer", "all"), "--parts lists the blocks and checks nothing"),
    ("quiet", ("verbose",), "one prints less, the other more"),
    ("to", ("expect_input", "fold"), "a segment is checked only in a run of the whole model"),
    ("input", ("shape", "seed"), "the input is not random"),
    ("input", ("expect_input",), "the layer runs alone, on its own input"),
    ("text", ("input", "shape", "expect_input"), "the input is the text"),
    ("expect_input", ("shape", "seed"), "the input is not random"),
    ("replace", ("expect_input",), "the layers after it run only in a run of the whole model"),
    ("replace", ("record",), "a recording cannot run layers on other values"),
    ("replace", ("at",), "the terms are of the model's own values"),
    ("expect_value", ("expect", "sees"), "it is the value of the single element at --at"),
    ("no_search", ("thorough",), "one searches for no cause, the other ten times as far"),
    (
        "fold",
        (
            *("expect", "expect_input", "expect_value", "at", "call", "rtol", "atol"),
            *("no_search", "thorough", "script", "replace"),
        ),
        "the folded layer takes the place of your values",
    ),
)
_LESS = {
    ("input", "shape"): "--shape",
    ("input", "seed"): "--seed",
    ("input", "expect_input"): "--input",
    ("expect_input", "shape"): "--shape",
    ("expect_input", "seed"): "--seed",
}
"""Which of two is left out, where the other says all."""
_OF_FILES: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    ("image_layout", ("input",), (".png", ".jpg", ".jpeg"), "an image (.png, .jpg)"),
    ("scale", ("input",), (".png", ".jpg", ".jpeg"), "an image (.png, .jpg)"),
    ("dtype", ("input", "expect", "expect_input", "replace"), (".bin",), "a .bin file"),
)
"""Options that are about files of such names."""
_FLAT = (".txt", ".csv", ".dat", ".bin")
"""Files that hold no shape, which --shape then gives."""
_OF_AN_EXPLANATION: tuple[str, ...] = (
    *("save", "script", "expect_at", "rtol", "atol", "no_search", "thorough", "junit"),
)
"""What --at alone, without --expect-value, leaves without a meaning."""


def refuse_contradictions(arguments: Arguments) -> None:
    """Raises UsageError where options that were given mean nothing together."""
    options = [part.name for part in fields(arguments) if arguments.is_given(part.name)]
    lists_a_run = not {*OF_THE_INPUT}.isdisjoint(options)
    for name in options:
        if name in _OF_ONE_LAYER and arguments.layer is None and not arguments.all:
            raise click.UsageError(f"{_flag(name)} needs --layer NAME")
        if name in _OF_ONE_LAYER and arguments.all:
            raise click.UsageError(f"{_flag(name)} needs --layer and cannot be used with --all")
        if name == "device" and lists_a_run:
            continue
        if name in _OF_A_RUN and arguments.layer is None and not arguments.all:
            raise click.UsageError(f"{_flag(name)} needs --layer NAME or --all")
    refuse_together(arguments, options)
    if arguments.at is not None and arguments.expect_value is None:
        for name in _OF_AN_EXPLANATION:
            if name in options:
                raise click.UsageError(
                    f"{_flag(name)} checks the whole layer and cannot be used with --at alone"
                )


def refuse_together(arguments: Given, options: Sequence[str]) -> None:
    """Raises UsageError where of these options one needs another, or leaves it without a
    meaning."""
    for name, other, why in _NEEDS:
        if name in options and other not in options:
            raise click.UsageError(f"{_flag(name)} needs {_flag(other)}: {why}")
    for name, others, why in _EXCLUDED:
        for other in others:
            if name in options and other in options and not _shapes_a_file(name, other, arguments):
                raise click.UsageError(
                    f"{_flag(name)} and {_flag(other)} cannot be used together: {why}; leave out "
                    f"{_LESS.get((name, other)) or f'{_flag(name)} or {_flag(other)}'}"
                )
    for name, files, endings, what in _OF_FILES:
        names = [path for file in files for path in _files(arguments, file)]
        if name in options and not any(file.endswith(endings) for file in names):
            raise click.UsageError(
                f"{_flag(name)} needs {what} as {' or '.join(map(_flag, files))}"
            )


def _files(arguments: Given, name: str) -> list[str]:
    """The files that an option names."""
    value = getattr(arguments, name, None) or ()
    if isinstance(value, str):
        return [value]
    return [path for _, path in value]


def _shapes_a_file(name: str, other: str, arguments: Given) -> bool:
    """Whether --shape is that of the one file, which holds none."""
    return (
        other == "shape"
        and name in ("input", "expect_input")
        and str(getattr(arguments, name)).endswith(_FLAT)
        and len(arguments.shape) == 1
    )


def _flag(name: str) -> str:
    if name == "imports":
        return "--import"
    return f"--{name.replace('_', '-')}"
