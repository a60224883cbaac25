"""``probe compare A B``: two models compared, and what was found printed."""

import gc
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from probe import command_line
from probe.cli import settings
from probe.cli.arguments import drawn, refuse_together
from probe.cli.comparing_options import Comparing, OfSide
from probe.cli.opening import quiet
from probe.cli.output import STATUS, no_empty_folder, say, write_and_say, written
from probe.cli.status import status

if TYPE_CHECKING:
    from probe.model_comparison.reports.result import ModelComparison

__all__ = ["compare"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help starts fast.


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
    given = [name for name in _AS_OF_ONE if arguments.is_given(name)]
    if _of_bytes(arguments.a) or _of_bytes(arguments.b):  # whose numbers --dtype is of
        given = [name for name in given if name != "dtype"]
    refuse_together(arguments, given)
    if not (arguments.a_imports or arguments.b_imports):
        # QKeras needs it before TensorFlow is imported, for Keras 3 in this process too; modules of
        # the user's own are left the `tf.keras` that they ask for.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with quiet(arguments.device):
        from probe.capture import array_files
        from probe.cli.given_input import input_of
        from probe.model_comparison.compare import compare as compare_models

        if import_module("probe.adapters").weights_alone(arguments.a, arguments.b):
            _refuse_of_run(arguments)
            weights = compare_models(arguments.a, arguments.b, progress=status.show)
            return _told(weights, arguments)
        with _advising("a"):
            a = _opened(arguments.a, arguments.a_opening, arguments)
        with _advising("b"):
            b = _opened(arguments.b, arguments.b_opening, arguments)
        with _advising():
            comparison = compare_models(
                a,
                b,
                input_of(arguments),
                x_b=array_files.input_file(arguments.input_b, arguments.dtype),
                pairs=arguments.pairs,
                axes=arguments.axes,
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


_OF_A_RUN = (
    *("input", "input_b", "text", "seed", "shape", "arg", "pairs", "axes", "replace", "replace_b"),
    *("layers", "types", "rtol", "atol", "thorough"),
)
"""Options that say what models are run on, or how far what they give may lie apart."""


def _refuse_of_run(arguments: Comparing) -> None:
    """Raises BadInput where options say how models are run: a GGUF file is compared as stored."""
    from probe.errors import BadInput

    given = [name for name in _OF_A_RUN if arguments.is_given(name)]
    if given:
        raise BadInput(
            f"a GGUF file holds weights, which are compared as they are stored: leave out "
            f"--{given[0].replace('_', '-')}"
        )


def _refuse_targets(arguments: Comparing) -> None:
    """Raises BadInput where a file is not there, or cannot be written, before the work for it is
    done."""
    from probe.files import atomic_write, regular_file

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
    regular_file.refuse_missing(reading)
    for target in (arguments.json, arguments.html, arguments.junit, arguments.save_pairs):
        if target is not None and target != "-":
            atomic_write.target_of(target, reading)


@contextmanager
def _advising(side: str = "") -> Iterator[None]:
    """Advice in an error of one side names the options of that side; without ``side`` the error
    begins with it."""
    from probe.errors import ProbeError

    try:
        yield
    except ProbeError as error:
        said = str(error)
        side = side or _SIDES.get(said[:3], "")
        if side:
            said = _OF_A_SIDE.sub(rf"--{side}-\1", said)
        if side == "b":
            said = _OF_B.sub(r"--\1-b", said)
        error.args = (said,)
        raise


_SIDES = {"A: ": "a", "B: ": "b"}
_OF_A_SIDE = re.compile(r"--(factory|import|engine|signature)\b")
"""Options that either model has one of."""
_OF_B = re.compile(r"--(input|replace)(?![\w-])")
"""Options that B has one of beside A's."""


def _of_bytes(path: str) -> bool:
    """Whether a path is a folder of .bin files."""
    from pathlib import Path

    from probe.files.regular_file import is_folder

    return is_folder(path) and any(Path(path).rglob("*.bin"))


def _opened(path: str, opening: OfSide, arguments: Comparing) -> Any:
    """A model, or the path where it holds arrays alone, or those of .bin files."""
    from pathlib import Path

    from probe.capture import array_files
    from probe.errors import BadInput, CannotOpen
    from probe.files.regular_file import is_folder

    gc.disable()
    try:
        return import_module("probe.adapters").open_model(
            path, trust=arguments.trust, device=arguments.device, **opening
        )
    except CannotOpen:
        own = any(opening.values())  # what is for this side alone
        if _of_bytes(path) and not own:
            if arguments.dtype is None:
                raise BadInput(
                    f"{path} is a folder of .bin files, which do not tell the dtype of their "
                    "numbers: give --dtype, such as --dtype int8"
                ) from None
            return array_files.by_name(path, arguments.dtype)
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
    a = command_line.opening(trust=trust, device=device, **arguments.a_opening)
    b = command_line.opening(trust=trust, device=device, **arguments.b_opening)
    inputs = {"x": words_of_input(arguments)}
    if arguments.input_b is not None:
        inputs["x_b"] = ["--input", arguments.input_b]
    return settings.noted(comparison.opened_by((arguments.a, *a), (arguments.b, *b), inputs))


def _told(comparison: "ModelComparison", arguments: Comparing) -> int:
    comparison = _as_opened(comparison, arguments)
    _print(comparison, arguments)
    if arguments.json:
        write_and_say(arguments.json, comparison.to_json(), arguments)
    if arguments.html:
        from probe.model_comparison.reports.html import to_html

        page = to_html(comparison, command_line.of_process())
        write_and_say(arguments.html, page, arguments)
    if arguments.junit:
        from probe.model_comparison.reports.junit import suite

        write_and_say(arguments.junit, suite(comparison, arguments.strict), arguments)
    if arguments.model_explorer:
        from probe.model_comparison.reports.model_explorer import files
        from probe.report import model_explorer

        model_explorer.write(arguments.model_explorer, files(comparison))
        words = command_line.joined(model_explorer.command(arguments.model_explorer))
        then = (f"open it, and {model_explorer.PAIRS} there:", words)
        written(arguments.model_explorer, arguments, then)
    if arguments.save_pairs:
        rows = [list(pair.tensors) for pair in comparison.pairs]
        kept = {
            "pairs": rows,
            "unpaired": dict(zip("ab", map(list, comparison.unpaired), strict=True)),
        }
        write_and_say(arguments.save_pairs, json.dumps(kept, indent=1), arguments)
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
