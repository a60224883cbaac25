"""The command: arguments, the road, what is printed, and the exit status. The only file that
prints.

Nothing heavy is imported before it is known to be needed: ``--help`` and listings start without
NumPy.
"""

import gc
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe import __version__, printable
from probe.errors import BadInput, NotCompared, ProbeError, in_words

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["main"]

# ruff: noqa: PLC0415 - imports wait until they are needed, so that --help and listings start fast.


def _numbers(_: Any, __: Any, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a shape: comma-separated integers such as 1,3,224,224"
        ) from None


def _shapes(_: Any, __: Any, values: tuple[str, ...]) -> Any:
    shapes = [_numbers(None, None, value) for value in values]
    return None if not shapes else shapes[0] if len(shapes) == 1 else shapes


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False)
@click.option("--layer", metavar="NAME", help="Check this layer.")
@click.option("--all", "every", is_flag=True, help="Check every layer; prints one line per layer.")
@click.option(
    "--call",
    type=int,
    metavar="N",
    help="Which call to check, for a layer that is called several times (numbered from 0).",
)
@click.option("--input", "input_", metavar="FILE", help="The model's input: .npy or .npz.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random input.")
@click.option(
    "--shape",
    multiple=True,
    callback=_shapes,
    metavar="1,3,224,224",
    help="Shape of the random input; repeat the option for each model input.",
)
@click.option(
    "--expect",
    metavar="FILE",
    help=(
        "Your own output of the layer: .npy, .npz, .txt or .csv. With --all an .npz keyed by "
        "layer names."
    ),
)
@click.option(
    "--expect-input",
    metavar="FILE",
    help="The layer input that your output was computed from.",
)
@click.option(
    "--expect-at",
    metavar="0,0:3,0:3,0",
    help="Which part of the output the values in --expect are: an index or slice per axis.",
)
@click.option("--expect-value", metavar="X", help="Your own value of the single element at --at.")
@click.option(
    "--at", metavar="0,1,1,0", help="Break one output element down into its input x weight terms."
)
@click.option(
    "--sees",
    is_flag=True,
    help="With --at: the receptive field of the element, i.e. the model inputs that can "
    "influence it.",
)
@click.option(
    "--fold",
    is_flag=True,
    help="Fold the BatchNorm that follows into the layer's kernel and bias, and verify the result.",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Search longer for the mistake behind a divergence (pairs of mistakes, up to 30 s).",
)
@click.option(
    "--causes",
    is_flag=False,
    flag_value="all",
    metavar="[SLUG]",
    help="List the mistakes that probe can identify, or explain one of them.",
)
@click.option(
    "--rtol",
    type=float,
    help="Relative tolerance, in place of the computed allowance for rounding; needs --atol.",
)
@click.option(
    "--atol",
    type=float,
    help="Absolute tolerance, in place of the computed allowance for rounding; needs --rtol.",
)
@click.option(
    "--factory",
    metavar="PKG.MOD:NET",
    help=(
        "Callable that builds the module for a PyTorch state_dict: pkg.mod:Net or "
        "path/net.py:Net(10, wide=True)."
    ),
)
@click.option(
    "--import",
    "imports",
    multiple=True,
    metavar="MODULE",
    help="Python module to import first, e.g. one that defines custom layers.",
)
@click.option(
    "--trust", is_flag=True, help="Allow code embedded in the file to run (trusted files only)."
)
@click.option("--json", "json_", metavar="FILE|-", help="Print the report as JSON.")
@click.option(
    "--save",
    metavar="FILE",
    help=(
        "Save inputs, stored and effective weights and all outputs as .npz, or as a C header "
        "(.h) or text (.txt) for a test bench."
    ),
)
@click.option(
    "--strict",
    is_flag=True,
    help="With --all: exit with status 2 if any layer could not be checked.",
)
@click.version_option(__version__, prog_name="probe")
def _command(**options: Any) -> None:
    """Who is right about a layer's output, where exactly, and why.

    Without --layer or --all the layers of MODEL are listed. MODEL is a Keras .keras, .h5 or .hdf5
    file (QKeras too), a PyTorch .pt, .pth, .pt2 or .safetensors file, or an ONNX .onnx file.

    Exit status: 0 agree, 1 diverge, 2 could not check.
    """
    try:
        status = _run(**options)
    except (ProbeError, click.ClickException, click.exceptions.Exit, KeyboardInterrupt):
        raise
    # click takes EOFError for an interrupt, a broken pipe for its own, SystemExit for the answer
    except BaseException as error:
        raise _Unforeseen from error
    sys.exit(status)


class _Unforeseen(Exception):
    """Its cause is what was raised."""


def main() -> None:
    """The console script: whatever goes wrong is one sentence on standard error, exit status 2.

    With PROBE_TRACEBACK=1 in the environment the traceback comes before it.
    """
    _standard_streams()
    try:
        sys.exit(_command(prog_name="probe", standalone_mode=False) or 0)
    except ProbeError as error:
        _complain(str(error), error)
    except click.ClickException as error:
        _complain(error.format_message(), error)
    except click.exceptions.Abort as error:
        _complain("interrupted", error)
    except (_Unforeseen, OSError) as error:
        cause = error.__cause__ or error
        _complain(
            (
                f"internal error, please report this bug ({_where(cause)}); set "
                "PROBE_TRACEBACK=1 for the traceback"
            ),
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
    sys.stdout = sys.stdout or Path(os.devnull).open("w")
    sys.stderr = sys.stderr or Path(os.devnull).open("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def _say(text: str) -> None:
    """Prints; where standard output is full or closed the exit status is 2."""
    try:
        click.echo(text)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where what is left in the buffer goes
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(2) from None
        raise BadInput(f"cannot write to standard output: {error.strerror}") from None


def _causes(slug: str) -> int:
    """Prints the mistakes that are known, a line each, or the whole text of one."""
    from difflib import get_close_matches

    from probe.hypotheses import CAUSES as known

    if slug == "all":
        width = max(map(len, known))
        for one in known.values():
            _say(f"{one.slug:<{width}}  {one.title}")
        return 0
    if slug not in known:
        near = get_close_matches(slug, known, n=1)
        raise BadInput(
            f"unknown cause {slug!r}"
            + (f"; did you mean {near[0]!r}?" if near else "; --causes lists all of them")
        )
    _say(f"{slug}: {known[slug].text}")
    return 0


def _run(model: str | None, layer: str | None, every: bool, **options: Any) -> int:
    if options["causes"] is not None:
        return _causes(options["causes"])
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    if layer is not None and every:
        raise click.UsageError("--layer and --all cannot be used together")
    if layer is None and not every:
        alone = (
            "input_",
            "expect",
            "expect_input",
            "expect_at",
            "expect_value",
            "at",
            "call",
            "rtol",
            "atol",
            "json_",
            "save",
        )
        for option in (*alone, "sees", "fold", "thorough"):
            if options[option] is not None and options[option] is not False:
                raise click.UsageError(
                    f"--{option.strip('_').replace('_', '-')} needs --layer NAME or --all"
                )
        return _list(model, options)
    for option in (
        (
            "save",
            "expect_input",
            "expect_at",
            "expect_value",
            "at",
            "call",
            "rtol",
            "atol",
            "sees",
            "thorough",
        )
        if every
        else ()
    ):
        if options[option] is not None and options[option] is not False:
            raise click.UsageError(
                f"--{option.replace('_', '-')} needs --layer and cannot be used with --all"
            )
    if (options["rtol"] is None) != (options["atol"] is None):
        raise click.UsageError("specify both --rtol and --atol, or neither")
    if options["expect_input"] is not None and options["input_"] is not None:
        raise click.UsageError(
            "--input (the model's input) and --expect-input (the layer's input) cannot be "
            "used together"
        )
    if options["expect_value"] is not None and (
        options["at"] is None or options["expect"] is not None
    ):
        raise click.UsageError("--expect-value needs --at and cannot be used with --expect")
    if options["sees"] and (options["at"] is None or options["expect_value"] is not None):
        raise click.UsageError("--sees needs --at and cannot be used with --expect-value")
    if options["expect_at"] is not None and options["expect"] is None:
        raise click.UsageError(
            "--expect-at needs --expect FILE: it says which part of the output the file contains"
        )
    if options["fold"] and (
        every
        or any(
            options[name] is not None
            for name in ("expect", "expect_input", "expect_value", "at", "call")
        )
    ):
        raise click.UsageError(
            "--fold needs --layer NAME and cannot be used with --expect, --expect-input, "
            "--at or --call"
        )
    _refuse_targets([model], options)
    with _quiet():
        if options["fold"]:
            return _fold(model, str(layer), options)
        return _sweep(model, options) if every else _check(model, str(layer), options)


def _refuse_targets(models: "Collection[str]", options: dict[str, Any]) -> None:
    """Raises BadInput where a file cannot be written, before the work for it is done."""
    targets = [options[name] for name in ("json_", "save") if options[name] not in (None, "-")]
    if not targets:
        return
    from probe.files import atomic_write
    from probe.report.json_npz import refuse_ending

    if options["save"] is not None:
        refuse_ending(options["save"])
    modules = [(options["factory"] or "").partition(".py:")[0] + ".py", *options["imports"]]
    reading = [
        *models,
        *modules,
        *(options[name] for name in ("input_", "expect", "expect_input") if options[name]),
    ]
    if len({atomic_write.target_of(target, reading) for target in targets}) < len(targets):
        raise click.UsageError("--json and --save must not name the same file")


@contextmanager
def _quiet() -> Iterator[None]:
    """The frameworks' chatter is switched off before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(path: str, options: dict[str, Any]) -> Any:
    from importlib import import_module

    # What is imported stays: to look for garbage among a framework's objects, then and later, takes
    # a seventh of the start.
    gc.disable()
    try:
        model = import_module("probe.adapters").open_model(
            path, trust=options["trust"], factory=options["factory"], imports=options["imports"]
        )
    finally:
        gc.freeze()
        gc.enable()
    _refuse_targets(model.other_files, options)
    return model


def _list(path: str, options: dict[str, Any]) -> int:
    with _quiet():
        listing = _open(path, options).layers
    names = max([len(printable.name(layer.name) or "(root)") for layer in listing] + [5])
    kinds = max([len(printable.name(layer.kind)) for layer in listing] + [5])
    _say(
        f"{'layer':<{names}}  {'class':<{kinds}}  {'output shape':<24}  {'parameters':>10}  "
        "checked by"
    )
    for layer in listing:
        shape = (
            ""
            if layer.output_shape is None
            else "(" + ", ".join("?" if n is None else str(n) for n in layer.output_shape) + ")"
        )
        how = (
            ", ".join(
                {"numpy": "NumPy", "onnx": "ONNX Runtime"}[party] for party in layer.checkable
            )
            or f"not checked: {layer.why}"
        )
        name, kind = printable.name(layer.name) or "(root)", printable.name(layer.kind)
        _say(
            printable.line(
                f"{name:<{names}}  {kind:<{kinds}}  {shape:<24}  {layer.parameters:>10}  {how}"
            )
        )
    return 0


def _write(path: str, text: str) -> None:
    if path == "-":
        _say(text)
        return
    from probe.files import atomic_write

    atomic_write.write(path, lambda file: file.write(f"{text}\n".encode()))


def _check(path: str, layer: str, options: dict[str, Any]) -> int:
    if options["at"] is not None and options["expect_value"] is None:
        return _explain(path, layer, options)
    model = _open(path, options)
    from probe.api import check
    from probe.capture import array_files
    from probe.capture.user_arrays import Unshaped

    expected = array_files.values(options["expect"], layer)
    given = array_files.given(options["expect_input"])
    if isinstance(given, dict):
        given = list(given.values())
    part = options["expect_at"]
    if options["expect_value"] is not None:
        expected = array_files.typed(options["expect_value"], options["at"])
    elif expected is not None and part is None and options["expect"].endswith((".txt", ".csv")):
        expected = Unshaped(expected.ravel())
    progress = _told_on_terminal()
    report = check(
        model,
        layer,
        array_files.given(options["input_"]),
        expected=expected,
        given=given,
        call=options["call"],
        shape=options["shape"],
        seed=options["seed"],
        rtol=options["rtol"],
        atol=options["atol"],
        expected_at=part,
        thorough=options["thorough"],
        progress=progress,
    )
    if progress is not None:
        click.echo(f"\r{'':<60}\r", nl=False, err=True)
    return _told(report, options)


def _fold(path: str, layer: str, options: dict[str, Any]) -> int:
    model = _open(path, options)
    from probe.batchnorm_folding import fold
    from probe.capture import array_files

    return _told(
        fold(
            model,
            layer,
            array_files.given(options["input_"]),
            shape=options["shape"],
            seed=options["seed"],
        ),
        options,
    )


def _told(report: "Report", options: dict[str, Any]) -> int:
    """Prints and writes a report as the options say; the exit status."""
    if options["json_"] != "-":
        _say(str(report))
    if options["json_"]:
        _write(options["json_"], report.to_json())
    if options["save"]:
        report.save(options["save"])
        told = printable.line(f"written: {options['save']}")
        if options["json_"] == "-":
            click.echo(told, err=True)
        else:
            _say(f"\n{told}")
    return {"agree": 0, "diverge": 1}.get(report.verdict, 2)


def _explain(path: str, layer: str, options: dict[str, Any]) -> int:
    for option in ("save", "expect_at", "rtol"):
        if options[option] is not None:
            raise click.UsageError(
                f"--{option.replace('_', '-')} checks the whole layer and cannot be used with "
                "--at alone"
            )
    at = _numbers(None, None, options["at"])
    model = _open(path, options)
    from probe.capture import array_files
    from probe.capture.user_arrays import Unshaped
    from probe.explanation.trace import explain

    expected = array_files.expected(options["expect"], layer)
    if expected is not None and options["expect"].endswith((".txt", ".csv")):
        expected = Unshaped(expected.ravel())
    given = array_files.given(options["expect_input"])
    story = explain(
        model,
        layer,
        array_files.given(options["input_"]),
        at=at or (),
        expected=expected,
        given=list(given.values()) if isinstance(given, dict) else given,
        call=options["call"] or 0,
        shape=options["shape"],
        seed=options["seed"],
        sees=options["sees"],
    )
    if options["json_"] != "-":
        _say(str(story))
    if options["json_"]:
        _write(options["json_"], story.to_json())
    return {"agree": 0, "diverge": 1}.get(story.verdict, 2)


def _told_on_terminal() -> "Callable[[str], None] | None":
    """What is being tried, on a line of its own that is written over, once a second has passed;
    nothing where no terminal sees it."""
    if not sys.stderr.isatty():
        return None
    from time import monotonic

    started = monotonic()

    def told(slug: str) -> None:
        if monotonic() - started > 1:
            click.echo(f"\rsearching for the mistake: {slug:<30}\r", nl=False, err=True)

    return told


def _sweep(path: str, options: dict[str, Any]) -> int:
    import json

    model = _open(path, options)
    from probe.api import sweep
    from probe.capture import array_files
    from probe.report.json_npz import as_dict
    from probe.report.text import line

    expected = None if options["expect"] is None else array_files.array(options["expect"])
    if expected is not None and not isinstance(expected, dict):
        raise BadInput(
            "with --all, --expect must be an .npz file whose array names are layer names"
        )
    counts = {"agree": 0, "diverge": 0, "unchecked": 0}
    first: Report | None = None
    told = []
    reports = sweep(
        model,
        array_files.given(options["input_"]),
        expected=expected,
        shape=options["shape"],
        seed=options["seed"],
    )
    unused: NotCompared | None = None
    try:
        for report in _with_progress(reports, len(model.layers)):
            counts[report.verdict] += 1
            if report.verdict == "diverge" and first is None:
                first = report
            if options["json_"]:
                told.append(as_dict(report))
            if options["json_"] != "-":
                _say(line(report))
    except NotCompared as error:
        unused = error
    summary = (
        f"{counts['agree']} agree, {counts['diverge']} diverge, {counts['unchecked']} unchecked"
    )
    if options["json_"]:
        found = {
            "source": path,
            "counts": counts,
            "not_compared": {} if unused is None else unused.reasons,
            "reports": told,
        }
        _write(options["json_"], json.dumps(found, indent=2, allow_nan=False))
    if options["json_"] != "-":
        _say("")
        if first is not None:
            _say(
                printable.line(
                    f"the first diverging layer is {printable.name(repr(first.layer))}: "
                    f"{first.sentence.partition(': ')[2]}"
                )
            )
        _say(summary)
    if unused is not None:
        raise unused
    if counts["diverge"]:
        return 1
    if not counts["agree"]:
        return 2
    return 2 if options["strict"] and counts["unchecked"] else 0


def _with_progress(reports: "Iterator[Report]", total: int) -> "Iterator[Report]":
    """The reports, under a progress bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from reports
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    # Lines pass above the bar where both share the terminal; a file or a pipe keeps its own.
    with Progress(
        console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task("checking", total=total)
        for report in reports:
            progress.update(task, advance=1, description=escape(printable.name(report.layer)))
            yield report
