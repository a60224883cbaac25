"""``probe FILE --layer NAME`` and ``--all``: the library called with what was given, and its
reports printed."""

import json
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from probe import printable
from probe.api import check as check_layer
from probe.api import sweep as sweep_layers
from probe.capture import array_files
from probe.capture.run import Named
from probe.capture.user_arrays import Expected, Picture, Shape, Told
from probe.cli.arguments import Arguments
from probe.cli.opening import opened
from probe.cli.output import STATUS, on_terminal, say, with_progress, write, written
from probe.errors import BadInput, NotCompared
from probe.report.json_npz import SCHEMA, as_dict
from probe.report.text import line
from probe.report.text import why as why_of

if TYPE_CHECKING:
    from probe.model import Model
    from probe.report import Report

__all__ = ["check", "drawn", "explain", "fold", "input_of", "sweep"]

# ruff: noqa: PLC0415 - what a check does not need is imported where it is.


def check(arguments: Arguments) -> int:
    """One layer."""
    model = opened(arguments)
    expected: Expected = array_files.values(arguments.expect, str(arguments.layer), arguments.dtype)
    if arguments.expect_value is not None and arguments.at is not None:
        expected = array_files.typed(arguments.expect_value, arguments.at)
    progress = on_terminal()
    report = check_layer(
        model,
        _named(arguments),
        input_of(arguments),
        expected=expected,
        given=_own_input(arguments),
        call=arguments.call,
        shape=drawn(arguments),
        seed=arguments.seed or 0,
        rtol=arguments.rtol,
        atol=arguments.atol,
        expected_at=arguments.expect_at,
        thorough=arguments.thorough,
        progress=progress,
    )
    if progress is not None:
        click.echo(f"\r{'':<60}\r", nl=False, err=True)
    return _told(report, arguments)


def fold(arguments: Arguments) -> int:
    """One layer with the batch normalisation after it folded in."""
    from probe.batchnorm_folding import fold as fold_layer

    report = fold_layer(
        opened(arguments),
        str(arguments.layer),
        input_of(arguments),
        shape=drawn(arguments),
        seed=arguments.seed or 0,
    )
    return _told(report, arguments)


def explain(arguments: Arguments) -> int:
    """One element of a layer's output."""
    from probe.explanation.trace import explain as explain_element

    model = opened(arguments)
    story = explain_element(
        model,
        _named(arguments),
        input_of(arguments),
        at=arguments.at or (),
        expected=array_files.values(arguments.expect, str(arguments.layer), arguments.dtype),
        given=_own_input(arguments),
        call=arguments.call or 0,
        shape=drawn(arguments),
        seed=arguments.seed or 0,
        sees=arguments.sees,
    )
    if arguments.json != "-":
        say(str(story))
    if arguments.json:
        write(arguments.json, story.to_json())
    return STATUS[story.verdict]


def _named(arguments: Arguments) -> Named:
    layer = str(arguments.layer)
    return layer if arguments.to is None else (layer, arguments.to)


def input_of(arguments: Arguments) -> Told:
    """The model's input, and the arguments of its call beside it."""
    path = arguments.input
    if arguments.text is not None:
        return Told(arguments.text, dict(arguments.arg))
    if path is not None and path.endswith(array_files.IMAGES):
        picture = Picture(path, arguments.image_layout or "", arguments.scale)
        return Told(picture, dict(arguments.arg))
    return Told(array_files.given(path, arguments.dtype), dict(arguments.arg))


def _own_input(arguments: Arguments) -> Told | None:
    if arguments.expect_input is None:
        return None
    given = array_files.given(arguments.expect_input, arguments.dtype)
    return Told(given, dict(arguments.arg))


def drawn(arguments: Arguments) -> Shape:
    """The shapes of the drawn inputs, one alone where there is one."""
    shapes = arguments.shape
    return None if not shapes else shapes[0] if len(shapes) == 1 else shapes


def _told(report: "Report", arguments: Arguments) -> int:
    """Prints and writes a report; the exit status."""
    if arguments.json != "-":
        say(str(report))
    if arguments.json:
        write(arguments.json, report.to_json())
    if arguments.save:
        report.save(arguments.save)
        written(arguments.save, beside_json=arguments.json == "-")
    return STATUS[report.verdict]


def _columns(model: "Model") -> tuple[int, int]:
    """How wide the names and the classes of a sweep are."""
    names = [len(printable.name(one.name)) for one in model.layers]
    kinds = [len(printable.name(one.kind)) for one in model.layers]
    return min(max((8, *names)), 40), min(max((8, *kinds)), 18)


def sweep(arguments: Arguments) -> int:
    """Every layer, one line each, why those diverge that do on the user's own values, and which was
    the first."""
    model = opened(arguments)
    expected = None if arguments.expect is None else array_files.array(arguments.expect)
    if isinstance(expected, np.ndarray):
        raise BadInput(
            "with --all, --expect must be an .npz file whose array names are layer names"
        )
    counts = dict.fromkeys(STATUS, 0)
    first: Report | None = None
    entries: list[dict[str, Any]] = []
    explained: list[str] = []
    unused: NotCompared | None = None
    widths = _columns(model)
    reports = sweep_layers(
        model,
        input_of(arguments),
        expected=expected,
        shape=drawn(arguments),
        seed=arguments.seed or 0,
    )
    try:
        for report in with_progress(reports, len(model.layers)):
            counts[report.verdict] += 1
            if report.verdict == "diverge" and first is None:
                first = report
            if report.verdict == "diverge" and (found := why_of(report)):
                explained += ["", printable.name(report.layer) or "(root)", *found]
            if arguments.json:
                entries.append(as_dict(report))
            if arguments.json != "-":
                say(line(report, widths))
    except NotCompared as error:
        unused = error
    if arguments.json:
        whole = {
            "schema": SCHEMA,
            "source": model.source,
            "counts": counts,
            "not_compared": {} if unused is None else unused.reasons,
            "reports": entries,
        }
        write(arguments.json, json.dumps(whole, indent=2, allow_nan=False))
    if arguments.json != "-":
        say(printable.page([*explained, ""]))
        if first is not None:
            name, why = printable.name(repr(first.layer)), first.sentence.partition(": ")[2]
            say(printable.line(f"the first diverging layer is {name}: {why}"))
        say(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if unused is not None:
        raise unused
    if counts["diverge"]:
        return 1
    if not counts["agree"]:
        return 2
    return 2 if arguments.strict and counts["unchecked"] else 0
