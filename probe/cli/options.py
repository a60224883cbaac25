"""The options of the commands that check and record, in the groups of their help."""

from typing import Any

import click

from probe.cli import settings
from probe.cli.completion import complete_layer
from probe.cli.misuse import of_more_words, repeated, valueless
from probe.cli.option_values import device, files_of_layers, literals, numbers, shapes
from probe.errors import ProbeError

__all__ = [
    "GroupedCommand",
    "WordedCommand",
    "options_of",
    "parameters",
    "recording_options",
    "recording_parameters",
    "replace_option",
    "reproduction_parameters",
]


class WordedCommand(click.Command):
    """A command that says what was meant where there are more words than it takes, or an option
    stands where another's value belongs, or is given again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [*args]
        if not ctx.resilient_parsing and (lacking := valueless(self, words)):
            raise click.BadOptionUsage(lacking, "", ctx)
        try:
            self._refuse_repeated(ctx, words)
            return super().parse_args(ctx, args)
        except (click.NoSuchOption, click.BadOptionUsage):
            raise
        except click.UsageError:
            given, extra, _ = self.make_parser(ctx).parse_args(words)
            if not extra:
                raise
            group = ctx.parent.command if ctx.parent is not None else self
            known = group.list_commands(ctx) if isinstance(group, click.Group) else []
            raise click.UsageError(of_more_words(self, known, given, extra), ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Names the settings where what is wrong was not typed."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise click.UsageError(settings.to_blame(error) or error.message, error.ctx) from error
        except ProbeError as error:
            if said := settings.to_blame(error):
                error.args = (said,)
            raise

    def _refuse_repeated(self, ctx: click.Context, words: list[str]) -> None:
        """Raises UsageError where an option of one value is given again: click takes the last."""
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args([*words])
            if said := repeated(order, words):
                raise click.UsageError(said, ctx)


class GroupedCommand(WordedCommand):
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


def replace_option(name: str, of: str = "") -> click.Option:
    """The option whose values take the place of layers' outputs."""
    return click.Option(
        [name],
        multiple=True,
        callback=files_of_layers,
        metavar="LAYER=FILE",
        help=f"Run the rest of {of or 'the model'} on your values in FILE in place of LAYER's "
        "output, and report how the model's output changes; repeat the option for more layers.",
    )


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
            callback=literals,
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
        replace_option("--replace"),
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
            callback=numbers,
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
            callback=device,
            help="Where the model runs; cuda:1 is the second GPU. disk: on the CPU, the parameters "
            "of a Hugging Face directory stay on the disk.  [default: cpu]",
        ),
        click.Option(
            ["--engine"],
            metavar="NAME",
            help="What runs a .tflite file: xnnpack, optimised or reference (LiteRT), or tflm "
            "(TensorFlow Lite for Microcontrollers).  [default: xnnpack]",
        ),
        click.Option(
            ["--signature"],
            metavar="NAME",
            help="Which signature of a .tflite file runs.  [default: the first subgraph]",
        ),
        click.Option(
            ["--gguf"],
            metavar="FILE",
            help="A GGUF file whose weights, dequantised, take the place of those of a Hugging "
            "Face directory.",
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
            ["--script"],
            metavar="FILE.py",
            help="With --layer: write the layer by hand, a script that computes it with NumPy "
            "alone, and its arrays beside it; as FILE.c a fixed-point layer in integers.",
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


def recording_options() -> list[click.Option]:
    """Those of ``probe record`` that ``probe FILE`` has too."""
    options = [option for group in _OF_A_RECORDING for option in _GROUPS[group]]
    return [option for option in options if option.name not in _CHECKS]


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
        *recording_options(),
        click.Option(["-q", "--quiet"], is_flag=True, help="Do not say what was written."),
    ]


def reproduction_parameters() -> list[click.Parameter]:
    """The argument and the options of ``probe repro``."""
    groups = ("What to check", "Input", "Your values", "Opening the model")
    left_out = {"to", "parts", "all", "strict", "fold", "layer", "expect_value"}
    left_out |= {"no_search", "thorough", "replace"}
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
