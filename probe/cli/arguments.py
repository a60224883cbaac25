"""The options of the command, in the groups of its help, and which of them go together."""

from ast import literal_eval
from dataclasses import dataclass, fields
from typing import Any

import click

from probe.cli.completion import complete_layer
from probe.command_line import file

__all__ = [
    "Arguments",
    "GroupedCommand",
    "options_of",
    "parameters",
    "recording_command",
    "recording_parameters",
    "refuse_contradictions",
    "reproduction_parameters",
    "shapes",
]


@dataclass(frozen=True)
class Arguments:
    """What was given on the command line; the fields are named as the options."""

    model: str
    layer: str | None = None
    to: str | None = None
    parts: bool = False
    all: bool = False
    call: int | None = None
    input: str | None = None
    text: str | None = None
    seed: int | None = None
    shape: tuple[tuple[int, ...], ...] = ()
    arg: tuple[tuple[str, Any], ...] = ()
    dtype: str | None = None
    image_layout: str | None = None
    scale: float | None = None
    expect: str | None = None
    expect_input: str | None = None
    expect_at: str | None = None
    expect_value: str | None = None
    at: tuple[int, ...] | None = None
    sees: bool = False
    fold: bool = False
    no_search: bool = False
    thorough: bool = False
    strict: bool = False
    rtol: float | None = None
    atol: float | None = None
    factory: str | None = None
    imports: tuple[str, ...] = ()
    device: str | None = None
    trust: bool = False
    json: str | None = None
    html: str | None = None
    model_explorer: str | None = None
    junit: str | None = None
    save: str | None = None
    record: str | None = None
    color: str | None = None
    quiet: bool = False
    verbose: bool = False

    def is_given(self, name: str) -> bool:
        """Whether an option was given."""
        value = getattr(self, name)
        return value is not None and value is not False and value != ()


def _numbers(_: Any, __: Any, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a list of comma-separated integers such as 1,3,224,224"
        ) from None


def _literals(_: Any, __: Any, values: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """Names and the values of Python's literals; a word that is none is a string."""
    found: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as use_cache=False")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        try:
            found[name] = literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise click.BadParameter(
                f"{value!r} is not a Python literal such as False, 0.5, 'mean' or (7, 7)"
            ) from None
    return tuple(found.items())


def shapes(
    _: click.Context | None, __: click.Parameter | None, values: tuple[str, ...]
) -> tuple[tuple[int, ...], ...]:
    """Each text as a shape."""
    return tuple(_numbers(None, None, value) or () for value in values)


class GroupedCommand(click.Command):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        grouped = {option for group in _GROUPS.values() for option in group}
        options = [
            parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)
        ]
        others = [option for option in options if option not in grouped]
        for title, group in (*_GROUPS.items(), ("Other options", others)):
            with formatter.section(title):
                records = [option.get_help_record(ctx) for option in group]
                formatter.write_dl([record for record in records if record is not None])


_EXPECT = "Your own output of the layer: .npy, .npz, .txt, .csv, .dat or .bin."
_GROUPS: dict[str, list[click.Option]] = {
    "What to check": [
        click.Option(
            ["--layer"],
            metavar="NAME",
            shell_complete=complete_layer,
            help='Check this layer or block; "" is the whole model.',
        ),
        click.Option(
            ["--to"],
            metavar="NAME",
            shell_complete=complete_layer,
            help="With --layer: check the segment from that layer to this one, both included.",
        ),
        click.Option(
            ["--parts"],
            is_flag=True,
            help="List the blocks, which --layer also takes, instead of the layers.",
        ),
        click.Option(["--all"], is_flag=True, help="Check every layer; prints one line per layer."),
        click.Option(
            ["--call"],
            type=int,
            metavar="N",
            help="Which call to check, for a layer that is called several times (from 0).",
        ),
        click.Option(
            ["--strict"],
            is_flag=True,
            help="With --all: exit with status 2 if any layer could not be checked.",
        ),
        click.Option(
            ["--fold"],
            is_flag=True,
            help="Fold the BatchNorm that follows into the layer's kernel and bias, and verify it.",
        ),
    ],
    "Input": [
        click.Option(
            ["--input"],
            metavar="FILE",
            help="The model's input: .npy, .npz (arrays by input name), .txt, .csv, .dat, .bin, "
            ".png or .jpg.",
        ),
        click.Option(
            ["--text"],
            metavar="TEXT",
            help="A text as the input of a Hugging Face directory with a tokenizer.json.",
        ),
        click.Option(["--seed"], type=int, help="Seed of the random input.  [default: 0]"),
        click.Option(
            ["--shape"],
            multiple=True,
            callback=shapes,
            metavar="1,3,224,224",
            help="Shape of the random input, or of the numbers in a .txt, .csv, .dat or .bin; "
            "repeat the option for each random input.",
        ),
        click.Option(
            ["--arg"],
            multiple=True,
            callback=_literals,
            metavar="NAME=VALUE",
            help="An argument of a PyTorch module's forward that is not an array, such as "
            "use_cache=False; repeat the option for more.",
        ),
        click.Option(
            ["--dtype"],
            metavar="float32",
            help="NumPy dtype of the numbers in a .bin file; >i2 is big-endian.",
        ),
        click.Option(
            ["--image-layout"],
            type=click.Choice(["hwc", "chw"]),
            help="Axis order in which the model takes an image.  [default: the model's own]",
        ),
        click.Option(
            ["--scale"],
            type=float,
            metavar="255",
            help="Number by which the pixels of an image are divided.",
        ),
    ],
    "Your values": [
        click.Option(
            ["--expect"],
            metavar="FILE",
            help=f"{_EXPECT} With --all: an .npz keyed by layer names.",
        ),
        click.Option(
            ["--expect-input"],
            metavar="FILE",
            help="The layer's input that your output was computed from; the .npz of --save has it.",
        ),
        click.Option(
            ["--expect-at"],
            metavar="0,0:3,0:3,0",
            help="Which part of the output the values in --expect are: an index or slice per axis.",
        ),
        click.Option(
            ["--expect-value"], metavar="X", help="Your own value of the single element at --at."
        ),
        click.Option(
            ["--rtol"],
            type=float,
            help="Relative tolerance that replaces the derived allowance; needs --atol.",
        ),
        click.Option(
            ["--atol"],
            type=float,
            help="Absolute tolerance that replaces the derived allowance; needs --rtol.",
        ),
        click.Option(
            ["--no-search"],
            is_flag=True,
            help="Say the verdict alone: do not search for the mistake behind a divergence.",
        ),
        click.Option(
            ["--thorough"],
            is_flag=True,
            help="Search ten times as far for the mistake behind a divergence.",
        ),
    ],
    "One element": [
        click.Option(
            ["--at"],
            callback=_numbers,
            metavar="0,1,1,0",
            help="Break one output element down into its input x weight terms.",
        ),
        click.Option(
            ["--sees"],
            is_flag=True,
            help="With --at: the receptive field of the element, i.e. the model inputs that can "
            "influence it.",
        ),
    ],
    "Opening the model": [
        click.Option(
            ["--factory"],
            metavar="PKG.MOD:NET",
            help="Callable that builds the module for a PyTorch state_dict: pkg.mod:Net or "
            "path/net.py:Net(10, wide=True).",
        ),
        click.Option(
            ["--import", "imports"],
            multiple=True,
            metavar="MODULE",
            help="Python module to import first, e.g. one that defines custom layers.",
        ),
        click.Option(
            ["--device"],
            metavar="cuda|mps|cpu|disk",
            help="Where the model runs; cuda:1 is the second GPU. disk: on the CPU, the parameters "
            "of a Hugging Face directory stay on the disk.  [default: cpu]",
        ),
        click.Option(
            ["--trust"],
            is_flag=True,
            help="Allow code embedded in the file to run (trusted files only).",
        ),
    ],
    "Output": [
        click.Option(
            ["--json"],
            metavar="FILE|-",
            help="Write the report as JSON to a file, or print it (-).",
        ),
        click.Option(
            ["--html"],
            metavar="FILE",
            help="Write the report as one page of HTML, with pictures of the differences.",
        ),
        click.Option(
            ["--junit"],
            metavar="FILE",
            help="Write JUnit XML, a test case for each call, for a CI server.",
        ),
        click.Option(
            ["--model-explorer"],
            metavar="DIR",
            help="With --all: write the graph and its errors as files that Model Explorer opens.",
        ),
        click.Option(
            ["--save"],
            metavar="FILE",
            help="Save inputs, stored and effective weights and all outputs as .npz, or as a C "
            "header (.h) or text (.txt) for a test bench.",
        ),
        click.Option(
            ["--record"],
            metavar="FILE",
            help="Write the forward pass to a recording (run.npz, or a folder run/) and check "
            "that.",
        ),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            help="Colour the verdicts.  [default: on a terminal, unless NO_COLOR is set]",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print the verdict alone, in one line."),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            help="Print all weights, calls and agreeing layers, however many.",
        ),
    ],
}


def options_of(group: str) -> list[click.Option]:
    """The options of ``probe FILE`` in one group of its help."""
    return _GROUPS[group]


_OF_A_RECORDING = ("What to check", "Input", "Opening the model")
"""The groups whose options ``probe record`` takes too, but for those that check."""
_CHECKS = ("to", "parts", "all", "call", "strict", "fold", "layer")


def _of_a_recording() -> list[click.Option]:
    options = [option for group in _OF_A_RECORDING for option in _GROUPS[group]]
    return [option for option in options if option.name not in _CHECKS]


def recording_command(arguments: Arguments) -> list[str]:
    """The words of the command that records what these arguments open and run."""
    own_layer = arguments.expect_input is not None  # its input is the layer's, not the model's
    words = ["probe", "record", file(arguments.model)]
    for option in _of_a_recording():
        name = str(option.name)
        of_a_file = name == "dtype" and not (arguments.input or "").endswith(".bin")
        if not arguments.is_given(name) or of_a_file or (name == "shape" and own_layer):
            continue
        value = getattr(arguments, name)
        for text in value if option.multiple else (value,):
            words += [_flag(name)] if option.is_flag else [_flag(name), _told(name, text)]
    return [*words, "-o", "run.npz"]


def _told(name: str, value: Any) -> str:
    """One value of an option as it is typed."""
    if name == "shape":
        return ",".join(map(str, value))
    if name == "arg":
        return f"{value[0]}={value[1]!r}"
    return str(value)


def recording_parameters() -> list[click.Parameter]:
    """The argument and the options of ``probe record``."""
    return [
        click.Argument(["model"], metavar="MODEL"),
        click.Option(
            ["-o", "--output", "record"],
            metavar="FILE",
            required=True,
            help="The recording to write: run.npz, or a folder run/.",
        ),
        click.Option(
            ["--layer", "patterns"],
            multiple=True,
            metavar="PATTERN",
            help="Record only these layers and blocks: a name or a pattern such as 'block1*'; "
            "repeat the option for more.",
        ),
        *_of_a_recording(),
    ]


def reproduction_parameters() -> list[click.Parameter]:
    """The argument and the options of ``probe repro``."""
    groups = ("What to check", "Input", "Your values", "Opening the model")
    left_out = {"to", "parts", "all", "strict", "fold", "layer", "expect_value"}
    left_out |= {"no_search", "thorough"}
    left_out.add("expect")  # it says what --all takes
    options = [
        option for group in groups for option in _GROUPS[group] if option.name not in left_out
    ]
    return [
        click.Argument(["model"], metavar="MODEL"),
        click.Option(["--layer"], metavar="NAME", required=True, help="The layer to reproduce."),
        click.Option(
            ["-o", "--output", "folder"], metavar="DIR", required=True, help="The folder to write."
        ),
        click.Option(
            ["--anyway"],
            is_flag=True,
            help="Write the folder even if all results agree and --expect is not given.",
        ),
        click.Option(["--expect"], metavar="FILE", help=_EXPECT),
        *options,
    ]


def parameters() -> list[click.Parameter]:
    """The argument and the options of ``probe FILE``."""
    options = [option for group in _GROUPS.values() for option in group]
    return [click.Argument(["model"], metavar="MODEL"), *options]


_OF_ONE_LAYER = (
    *("to", "call", "fold", "expect_input", "expect_at", "expect_value", "at", "sees"),
    *("rtol", "atol", "thorough", "save"),
)
"""Options that need --layer."""
_OF_A_RUN = (
    "input",
    "text",
    "seed",
    "shape",
    "arg",
    "dtype",
    "image_layout",
    "scale",
    "expect",
    "no_search",
    "json",
    "record",
    "html",
    "junit",
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
    (
        "input",
        ("shape", "expect_input"),
        "there is one input: a file or random values, the model's or the layer's",
    ),
    ("input", ("seed",), "the input is not random"),
    ("text", ("input", "shape", "expect_input"), "the input is the text"),
    ("expect_input", ("shape", "seed"), "the input is not random"),
    ("expect_value", ("expect", "sees"), "it is the value of the single element at --at"),
    ("no_search", ("thorough",), "one searches for no cause, the other ten times as far"),
    (
        "fold",
        (
            *("expect", "expect_input", "expect_value", "at", "call", "rtol", "atol"),
            *("no_search", "thorough"),
        ),
        "the folded layer takes the place of your values",
    ),
)
_OF_FILES: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    ("image_layout", ("input",), (".png", ".jpg", ".jpeg"), "an image (.png, .jpg)"),
    ("scale", ("input",), (".png", ".jpg", ".jpeg"), "an image (.png, .jpg)"),
    ("dtype", ("input", "expect", "expect_input"), (".bin",), "a .bin file"),
)
"""Options that are about files of such names."""
_FLAT = (".txt", ".csv", ".dat", ".bin")
"""Files that hold no shape, which --shape then gives."""
_OF_AN_EXPLANATION: tuple[str, ...] = (
    *("save", "expect_at", "rtol", "atol", "no_search", "thorough", "junit"),
)
"""What --at alone, without --expect-value, leaves without a meaning."""


def refuse_contradictions(arguments: Arguments) -> None:
    """Raises UsageError where options that were given mean nothing together."""
    options = [part.name for part in fields(arguments) if arguments.is_given(part.name)]
    for name in options:
        if name in _OF_ONE_LAYER and arguments.layer is None and not arguments.all:
            raise click.UsageError(f"{_flag(name)} needs --layer NAME")
        if name in _OF_ONE_LAYER and arguments.all:
            raise click.UsageError(f"{_flag(name)} needs --layer and cannot be used with --all")
        if name in _OF_A_RUN and arguments.layer is None and not arguments.all:
            raise click.UsageError(f"{_flag(name)} needs --layer NAME or --all")
    for name, other, why in _NEEDS:
        if name in options and other not in options:
            raise click.UsageError(f"{_flag(name)} needs {_flag(other)}: {why}")
    for name, others, why in _EXCLUDED:
        for other in others:
            if name in options and other in options and not _shapes_a_file(name, other, arguments):
                raise click.UsageError(
                    f"{_flag(name)} and {_flag(other)} cannot be used together: {why}"
                )
    for name, files, endings, what in _OF_FILES:
        names = [getattr(arguments, file) or "" for file in files]
        if name in options and not any(file.endswith(endings) for file in names):
            raise click.UsageError(
                f"{_flag(name)} needs {what} as {' or '.join(map(_flag, files))}"
            )
    if arguments.at is not None and arguments.expect_value is None:
        for name in _OF_AN_EXPLANATION:
            if name in options:
                raise click.UsageError(
                    f"{_flag(name)} checks the whole layer and cannot be used with --at alone"
                )


def _shapes_a_file(name: str, other: str, arguments: Arguments) -> bool:
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
