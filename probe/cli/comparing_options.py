"""What can be given to ``probe compare A B``: its arguments and options."""

from dataclasses import dataclass
from typing import TypedDict

import click

from probe.cli.arguments import Given
from probe.cli.option_values import device, shapes
from probe.cli.options import options_of, replace_option

__all__ = ["Comparing", "OfSide", "parameters"]


class OfSide(TypedDict):
    """What opens one of the two models alone."""

    factory: str | None
    imports: tuple[str, ...]
    engine: str | None
    signature: str | None


@dataclass(frozen=True)
class Comparing(Given):
    """What was given to ``probe compare``."""

    a: str
    b: str
    input_b: str | None = None
    pairs: str | None = None
    save_pairs: str | None = None
    axes: str | None = None
    types: str | None = None
    layers: str | None = None
    replace_b: tuple[tuple[str, str], ...] = ()
    a_factory: str | None = None
    b_factory: str | None = None
    a_imports: tuple[str, ...] = ()
    b_imports: tuple[str, ...] = ()
    a_engine: str | None = None
    b_engine: str | None = None
    a_signature: str | None = None
    b_signature: str | None = None

    @property
    def a_opening(self) -> OfSide:
        """What opens A alone."""
        return {
            "factory": self.a_factory,
            "imports": self.a_imports,
            "engine": self.a_engine,
            "signature": self.a_signature,
        }

    @property
    def b_opening(self) -> OfSide:
        """What opens B alone."""
        return {
            "factory": self.b_factory,
            "imports": self.b_imports,
            "engine": self.b_engine,
            "signature": self.b_signature,
        }


def parameters() -> list[click.Parameter]:
    """The arguments and options."""
    return [
        click.Argument(["a"], metavar="A"),
        click.Argument(["b"], metavar="B"),
        *_what_is_compared(),
        *_tolerances(),
        *_of_checking("Your values", "no_search", "thorough"),
        *_how_models_are_opened(),
        *_what_is_written(),
        *_of_checking("Output", "color", "quiet", "verbose"),
    ]


def _of_checking(group: str, *names: str) -> list[click.Option]:
    """Those of ``probe FILE`` that this command has too."""
    return [option for option in options_of(group) if option.name in names]


def _what_is_compared() -> list[click.Option]:
    return [
        click.Option(
            ["--input"],
            metavar="FILE",
            help="A's input: .npy, .npz (arrays by input name), .txt, .csv, .dat, .bin, .png or "
            ".jpg. B gets the same values, with the axes in its own order.",
        ),
        click.Option(["--input-b"], metavar="FILE", help="B's own input, if it differs from A's."),
        *_of_checking("Input", "text", "seed", "arg", "dtype", "image_layout", "scale"),
        click.Option(
            ["--shape"],
            multiple=True,
            callback=shapes,
            metavar="1,3,224,224",
            help="Shape of the random input of A; repeat the option for each input.",
        ),
        click.Option(
            ["--pairs"],
            metavar="FILE",
            help="JSON file of the layers of A and B that correspond, as --save-pairs writes it.",
        ),
        click.Option(
            ["--save-pairs"],
            metavar="FILE",
            help="Write the pairs of layers that probe found, to edit and give to --pairs.",
        ),
        click.Option(
            ["--axes"],
            metavar='"t h d"',
            help="Order in memory of the axes of arrays that another program wrote, the slowest "
            "first: b batch, t tokens, h heads, d features; (b t) are merged.",
        ),
        click.Option(
            ["--types"],
            metavar="FILE",
            help="Fixed-point types planned for the layers, as hls4ml's configuration has them "
            "(JSON): values outside their range are reported.",
        ),
        click.Option(
            ["--layers"],
            metavar="0-3",
            help="Compare only these blocks (model.layers.3.mlp is in block 3): the layers after "
            "them are neither run nor read.",
        ),
        replace_option("--replace", "A"),
        replace_option("--replace-b", "B"),
        click.Option(
            ["--strict"],
            is_flag=True,
            help="Exit with status 2 if a layer of A or B corresponds to none of the other model.",
        ),
    ]


def _tolerances() -> list[click.Option]:
    return [
        click.Option(
            ["--rtol"],
            type=float,
            help="Relative tolerance: a difference within atol + rtol x |A's value| is none, even "
            "if rounding does not explain it; needs --atol.",
        ),
        click.Option(["--atol"], type=float, help="Absolute tolerance; needs --rtol."),
    ]


def _how_models_are_opened() -> list[click.Option]:
    return [
        _factory("a"),
        _factory("b"),
        _import("a"),
        _import("b"),
        _engine("a"),
        _engine("b"),
        _signature("a"),
        _signature("b"),
        click.Option(
            ["--device"],
            metavar="cuda|mps|cpu",
            callback=device,
            help="Where both models run.  [default: cpu]",
        ),
        click.Option(
            ["--trust"],
            is_flag=True,
            help="Allow code embedded in the files to run (trusted files only).",
        ),
    ]


def _what_is_written() -> list[click.Option]:
    return [
        click.Option(
            ["--json"], metavar="FILE|-", help="Write the comparison as JSON, or print it (-)."
        ),
        click.Option(["--html"], metavar="FILE", help="Write the comparison as one HTML page."),
        click.Option(
            ["--junit"], metavar="FILE", help="Write JUnit XML with a test case for each pair."
        ),
        click.Option(
            ["--model-explorer"],
            metavar="DIR",
            help="Write both graphs, the errors and the pairs as files that Model Explorer opens.",
        ),
    ]


def _factory(model: str) -> click.Option:
    return click.Option(
        [f"--{model}-factory"],
        metavar="PKG.MOD:NET",
        help=f"Callable that builds {model.upper()}'s PyTorch module, such as net.py:Net.",
    )


def _import(model: str) -> click.Option:
    return click.Option(
        [f"--{model}-import", f"{model}_imports"],
        multiple=True,
        metavar="MODULE",
        help=f"Python module to import before {model.upper()} is opened.",
    )


def _engine(model: str) -> click.Option:
    return click.Option(
        [f"--{model}-engine"],
        metavar="NAME",
        help=f"What runs {model.upper()}, a .tflite file: xnnpack, optimised, reference or tflm.",
    )


def _signature(model: str) -> click.Option:
    return click.Option(
        [f"--{model}-signature"],
        metavar="NAME",
        help=f"Which signature of {model.upper()}, a .tflite file, runs.",
    )
