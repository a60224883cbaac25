"""``probe compare A B``: two models compared, and what was found printed."""

import gc
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from probe.cli.arguments import options_of
from probe.cli.opening import quiet
from probe.cli.output import STATUS, say, write, written
from probe.cli.status import status

if TYPE_CHECKING:
    from probe.capture.user_arrays import Shape
    from probe.model_comparison.result import ModelComparison

__all__ = ["Comparing", "compare", "parameters"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help starts fast.


@dataclass(frozen=True)
class Comparing:
    """What was given on the command line; the fields are named as the options."""

    a: str
    b: str
    input: str | None = None
    input_b: str | None = None
    seed: int | None = None
    shape: tuple[tuple[int, ...], ...] = ()
    pairs: str | None = None
    save_pairs: str | None = None
    types: str | None = None
    strict: bool = False
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


def parameters(shapes: Callable[..., object]) -> list[click.Parameter]:
    """The arguments and options; ``shapes`` reads a shape."""
    return [
        click.Argument(["a"], metavar="A"),
        click.Argument(["b"], metavar="B"),
        click.Option(
            ["--input"],
            metavar="FILE",
            help="A's input: .npy, or .npz (arrays by input name). B gets the same values, with "
            "the axes in its own order.",
        ),
        click.Option(["--input-b"], metavar="FILE", help="B's own input, if it differs from A's."),
        click.Option(["--seed"], type=int, help="Seed of the random input.  [default: 0]"),
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
            ["--strict"],
            is_flag=True,
            help="Exit with status 2 if a layer of A or B corresponds to none of the other model.",
        ),
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
        *(one for one in options_of("Output") if one.name in ("color", "quiet", "verbose")),
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


def compare(given: Comparing) -> int:
    """Compares, prints and writes; the exit status."""
    _refuse_targets(given)
    if given.input is not None and (given.shape or given.seed is not None):
        raise click.UsageError(
            "--input cannot be used with --shape or --seed: the input is not random"
        )
    if given.quiet and given.verbose:
        raise click.UsageError("--quiet and --verbose cannot be used together: print less or more")
    if not (given.a_imports or given.b_imports):
        # QKeras needs it before TensorFlow is imported, for Keras 3 in this process too; modules of
        # the user's own are left the `tf.keras` that they ask for.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with quiet(given.device):
        from probe.capture import array_files
        from probe.model_comparison.compare import compare as compare_models

        a = _opened(given.a, given.a_factory, given.a_imports, given)
        b = _opened(given.b, given.b_factory, given.b_imports, given)
        found = compare_models(
            a,
            b,
            array_files.given(given.input, None),
            x_b=array_files.given(given.input_b, None),
            pairs=given.pairs,
            strict=given.strict,
            shape=_shape(given),
            seed=given.seed or 0,
            types=given.types,
            progress=status.show,
        )
        return _told(found, given)


def _refuse_targets(given: Comparing) -> None:
    """Raises BadInput where a file cannot be written, before the work for it is done."""
    from probe.files import atomic_write

    if given.model_explorer is not None:
        from probe.report import model_explorer

        model_explorer.refuse_folder(given.model_explorer)
    reading = [
        one
        for one in (given.a, given.b, given.input, given.input_b, given.pairs, given.types)
        if one
    ]
    for target in (given.json, given.html, given.junit, given.save_pairs):
        if target is not None and target != "-":
            atomic_write.target_of(target, reading)


def _opened(path: str, factory: str | None, imports: tuple[str, ...], given: Comparing) -> Any:
    """A model, or the path where it holds arrays alone."""
    from importlib import import_module
    from pathlib import Path

    from probe.errors import CannotOpen

    gc.disable()
    try:
        return import_module("probe.adapters").open_model(
            path, trust=given.trust, factory=factory, imports=imports, device=given.device
        )
    except CannotOpen:
        if path.endswith(".npz") or (Path(path).is_dir() and any(Path(path).rglob("*.npy"))):
            return path
        raise
    finally:
        gc.enable()


def _shape(given: Comparing) -> "Shape":
    shapes = given.shape
    return None if not shapes else shapes[0] if len(shapes) == 1 else shapes


def _options(given: Comparing, *, of_b: bool, same_input: bool) -> str:
    """The options of ``probe A`` (``of_b``: B) that open the model and give its input."""
    factory, imports = (
        (given.b_factory, given.b_imports) if of_b else (given.a_factory, given.a_imports)
    )
    words = ["--factory", factory] if factory else []
    words += [word for one in imports for word in ("--import", one)]
    words += ["--trust"] if given.trust else []
    own = given.input_b if of_b else None
    if own or (given.input and same_input):
        words += ["--input", own or given.input or ""]
    elif same_input:
        words += [word for shape in given.shape for word in ("--shape", ",".join(map(str, shape)))]
        words += ["--seed", str(given.seed)] if given.seed else []
    return "".join(f" {shlex.quote(word)}" for word in words)


def _told(found: "ModelComparison", given: Comparing) -> int:
    same = not found.inputs
    found = replace(
        found,
        options=(
            _options(given, of_b=False, same_input=True),
            _options(given, of_b=True, same_input=same),
        ),
    )
    _print(found, given)
    if given.json:
        write(given.json, found.to_json())
    if given.html:
        from probe.model_comparison.html import to_html

        write(given.html, to_html(found, shlex.join(["probe", *sys.argv[1:]])))
        if not given.quiet:
            written(given.html, beside_json=given.json == "-")
    if given.junit:
        from probe.model_comparison.junit import suite

        write(given.junit, suite(found, given.strict))
    if given.model_explorer:
        from probe.model_comparison.model_explorer import files
        from probe.report import model_explorer

        model_explorer.write(given.model_explorer, files(found))
        if not given.quiet:
            words = shlex.join(model_explorer.command(given.model_explorer))
            told = f"{given.model_explorer}; open it: {words}, and {model_explorer.PAIRS} there"
            written(told, beside_json=given.json == "-")
    if given.save_pairs:
        rows = [list(one.tensors) for one in found.pairs]
        kept = {"pairs": rows, "unpaired": dict(zip("ab", map(list, found.unpaired), strict=True))}
        write(given.save_pairs, json.dumps(kept, indent=1))
        written(given.save_pairs, beside_json=given.json == "-")
    return STATUS[found.verdict]


def _print(found: "ModelComparison", given: Comparing) -> None:
    """The verdict, on a terminal first and last; runs of pairs that agree are one line there."""
    from probe.cli import terminal
    from probe.model_comparison.blocks import headline
    from probe.model_comparison.text import render

    color = given.color or "auto"
    if given.json == "-":
        return
    if not terminal.on_terminal(color):
        say(headline(found) if given.quiet else render(found, fold=False))
        return
    page = terminal.columns()
    text = headline(found, page)
    if not given.quiet:
        told = render(found, not given.verbose, page)
        text = "\n\n".join((text, told, *([text] if text != told.splitlines()[-1] else [])))
    say(terminal.coloured(text, color), color=True)
