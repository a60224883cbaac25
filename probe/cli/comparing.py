"""``probe compare A B``: two models compared, and what was found printed."""

import gc
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from probe import command_line
from probe.cli.arguments import drawn, refuse_together
from probe.cli.opening import quiet
from probe.cli.option_values import shapes
from probe.cli.options import options_of, replace_option
from probe.cli.output import STATUS, no_empty_folder, say, write, written
from probe.cli.status import status

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison

__all__ = ["Comparing", "compare", "parameters"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help starts fast.


@dataclass(frozen=True)
class Comparing:
    """What was given on the command line; the fields are named as the options."""

    a: str
    b: str
    input: str | None = None
    input_b: str | None = None
    text: str | None = None
    arg: tuple[tuple[str, Any], ...] = ()
    dtype: str | None = None
    image_layout: str | None = None
    scale: float | None = None
    seed: int | None = None
    shape: tuple[tuple[int, ...], ...] = ()
    pairs: str | None = None
    save_pairs: str | None = None
    types: str | None = None
    layers: str | None = None
    replace: tuple[tuple[str, str], ...] = ()
    replace_b: tuple[tuple[str, str], ...] = ()
    strict: bool = False
    rtol: float | None = None
    atol: float | None = None
    no_search: bool = False
    thorough: bool = False
    a_factory: str | None = None
    b_factory: str | None = None
    a_imports: tuple[str, ...] = ()
    b_imports: tuple[str, ...] = ()
    device: str | None = None
    trust: bool = False
    json: str | None = None
    html: str | None = None
    junit: str | None = None
    model_explorer: str | None = None
    color: str | None = None
    quiet: bool = False
    verbose: bool = False

    def is_given(self, name: str) -> bool:
        """Whether an option was given."""
        value = getattr(self, name)
        return value is not None and value is not False and value != ()


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
            ["--types"],
            metavar="FILE",
            help="Fixed-point types planned for the layers, as hls4ml's configuration has them "
            "(JSON): values outside their range are reported.",
        ),
        click.Option(
            ["--layers"],
            metavar="0-3",
            help="Compare only the first blocks (model.layers.3.mlp is in block 3): the layers "
            "after them are neither run nor read.",
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
        click.Option(
            ["--device"], metavar="cuda|mps|cpu", help="Where both models run.  [default: cpu]"
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


_ENDLESS = 400
"""Columns of a table that no terminal shows."""
_AS_OF_ONE = (
    *("input", "text", "seed", "shape", "dtype", "image_layout", "scale", "rtol", "atol"),
    *("no_search", "thorough", "quiet", "verbose"),
)
"""Options that go together as those of ``probe FILE`` do."""


def compare(arguments: Comparing) -> int:
    """Compares, prints and writes; the exit status."""
    with no_empty_folder(arguments.model_explorer):
        return _compared(arguments)


def _compared(arguments: Comparing) -> int:
    _refuse_targets(arguments)
    refuse_together(arguments, [name for name in _AS_OF_ONE if arguments.is_given(name)])
    if not (arguments.a_imports or arguments.b_imports):
        # QKeras needs it before TensorFlow is imported, for Keras 3 in this process too; modules of
        # the user's own are left the `tf.keras` that they ask for.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with quiet(arguments.device):
        from probe.capture import array_files
        from probe.cli.given_input import input_of
        from probe.model_comparison.compare import compare as compare_models

        with _advising("a"):
            a = _opened(arguments.a, arguments.a_factory, arguments.a_imports, arguments)
        with _advising("b"):
            b = _opened(arguments.b, arguments.b_factory, arguments.b_imports, arguments)
        comparison = compare_models(
            a,
            b,
            input_of(arguments),
            x_b=array_files.input_file(arguments.input_b, arguments.dtype),
            pairs=arguments.pairs,
            strict=arguments.strict,
            rtol=arguments.rtol,
            atol=arguments.atol,
            shape=drawn(arguments.shape),
            seed=arguments.seed or 0,
            types=arguments.types,
            layers=arguments.layers,
            replace=array_files.replacements(arguments.replace, arguments.dtype),
            replace_b=array_files.replacements(arguments.replace_b, arguments.dtype),
            search=not arguments.no_search,
            thorough=arguments.thorough,
            progress=status.show,
        )
        return _told(comparison, arguments)


def _refuse_targets(arguments: Comparing) -> None:
    """Raises BadInput where a file cannot be written, before the work for it is done."""
    from probe.files import atomic_write

    if arguments.model_explorer is not None:
        from probe.report import model_explorer

        model_explorer.refuse_folder(arguments.model_explorer)
    reading = [
        path
        for path in (
            arguments.a,
            arguments.b,
            arguments.input,
            arguments.input_b,
            arguments.pairs,
            arguments.types,
            *(path for _, path in (*arguments.replace, *arguments.replace_b)),
        )
        if path
    ]
    for target in (arguments.json, arguments.html, arguments.junit, arguments.save_pairs):
        if target is not None and target != "-":
            atomic_write.target_of(target, reading)


@contextmanager
def _advising(side: str) -> Iterator[None]:
    """Advice within on how a model is opened names the options of that side."""
    from probe.errors import ProbeError

    try:
        yield
    except ProbeError as error:
        error.args = (_OF_A_SIDE.sub(rf"--{side}-\1", str(error)),)
        raise


_OF_A_SIDE = re.compile(r"--(factory|import)\b")
"""Options that either model has one of."""


def _opened(path: str, factory: str | None, imports: tuple[str, ...], arguments: Comparing) -> Any:
    """A model, or the path where it holds arrays alone."""
    from importlib import import_module
    from pathlib import Path

    from probe.errors import CannotOpen
    from probe.files.regular_file import is_folder

    gc.disable()
    try:
        return import_module("probe.adapters").open_model(
            path, trust=arguments.trust, factory=factory, imports=imports, device=arguments.device
        )
    except CannotOpen:
        own = factory is not None or imports  # what is for this side alone
        arrays = path.endswith(".npz") or (is_folder(path) and any(Path(path).rglob("*.npy")))
        if arrays and not own:
            return path
        raise
    finally:
        gc.enable()


def _as_opened(comparison: "ModelComparison", arguments: Comparing) -> "ModelComparison":
    """With the words that open A and B, and give their inputs, as these arguments do."""
    from probe.cli.given_input import words_of_input

    trust, device = arguments.trust, arguments.device
    a = command_line.opening(arguments.a_factory, arguments.a_imports, trust, device)
    b = command_line.opening(arguments.b_factory, arguments.b_imports, trust, device)
    inputs = {"x": words_of_input(arguments)}
    if arguments.input_b is not None:
        inputs["x_b"] = ["--input", arguments.input_b]
    return comparison.opened_by((arguments.a, *a), (arguments.b, *b), inputs)


def _told(comparison: "ModelComparison", arguments: Comparing) -> int:
    comparison = _as_opened(comparison, arguments)
    _print(comparison, arguments)
    if arguments.json:
        write(arguments.json, comparison.to_json())
    if arguments.html:
        from probe.model_comparison.reports.html import to_html

        write(arguments.html, to_html(comparison, command_line.of_process()))
        if not arguments.quiet:
            written(arguments.html, beside_json=arguments.json == "-")
    if arguments.junit:
        from probe.model_comparison.reports.junit import suite

        write(arguments.junit, suite(comparison, arguments.strict))
    if arguments.model_explorer:
        from probe.model_comparison.reports.model_explorer import files
        from probe.report import model_explorer

        model_explorer.write(arguments.model_explorer, files(comparison))
        if not arguments.quiet:
            words = command_line.joined(model_explorer.command(arguments.model_explorer))
            then = (f"open it, and {model_explorer.PAIRS} there:", words)
            written(arguments.model_explorer, arguments.json == "-", then)
    if arguments.save_pairs:
        rows = [list(pair.tensors) for pair in comparison.pairs]
        kept = {
            "pairs": rows,
            "unpaired": dict(zip("ab", map(list, comparison.unpaired), strict=True)),
        }
        write(arguments.save_pairs, json.dumps(kept, indent=1))
        written(arguments.save_pairs, beside_json=arguments.json == "-")
    return STATUS[comparison.verdict]


def _print(comparison: "ModelComparison", arguments: Comparing) -> None:
    """The verdict, on a terminal first and last; runs of pairs that agree are one line there."""
    from probe.cli import terminal
    from probe.model_comparison.reports.blocks import headline
    from probe.model_comparison.reports.text import render

    color = arguments.color or "auto"
    if arguments.json == "-":
        return
    if not terminal.on_terminal(color):
        if arguments.quiet:
            say(headline(comparison, None))
        else:
            say(render(comparison, fold=False, wide=_ENDLESS))
        return
    page = terminal.columns()
    text = headline(comparison, terminal.width())
    if not arguments.quiet:
        told = render(comparison, not arguments.verbose, page, terminal.width())
        text = "\n\n".join((text, told, *([text] if text != told.splitlines()[-1] else [])))
    say(terminal.coloured(text, color), color=True)
