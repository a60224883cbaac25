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
from probe.capture.user_arrays import Expected, Shape, Unshaped
from probe.cli.arguments import Arguments
from probe.cli.opening import opened
from probe.cli.output import STATUS, on_terminal, say, with_progress, write, written
from probe.errors import BadInput, NotCompared
from probe.report.json_npz import SCHEMA, as_dict
from probe.report.text import line

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["check", "explain", "fold", "sweep"]

# ruff: noqa: PLC0415 - what a check does not need is imported where it is.


def check(arguments: Arguments) -> int:
    """One layer."""
    model = opened(arguments)
    expected = _shaped(array_files.values(arguments.expect, str(arguments.layer)), arguments)
    if arguments.expect_value is not None and arguments.at is not None:
        expected = array_files.typed(arguments.expect_value, arguments.at)
    progress = on_terminal()
    report = check_layer(
        model,
        str(arguments.layer),
        array_files.given(arguments.input),
        expected=expected,
        given=_own_input(arguments),
        call=arguments.call,
        shape=_drawn(arguments),
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
        array_files.given(arguments.input),
        shape=_drawn(arguments),
        seed=arguments.seed or 0,
    )
    return _told(report, arguments)


def explain(arguments: Arguments) -> int:
    """One element of a layer's output."""
    from probe.explanation.trace import explain as explain_element

    model = opened(arguments)
    expected = array_files.expected(arguments.expect, str(arguments.layer))
    story = explain_element(
        model,
        str(arguments.layer),
        array_files.given(arguments.input),
        at=arguments.at or (),
        expected=_shaped(expected, arguments),
        given=_own_input(arguments),
        call=arguments.call or 0,
        shape=_drawn(arguments),
        seed=arguments.seed or 0,
        sees=arguments.sees,
    )
    if arguments.json != "-":
        say(str(story))
    if arguments.json:
        write(arguments.json, story.to_json())
    return STATUS[story.verdict]


def _shaped(expected: Expected, arguments: Arguments) -> Expected:
    """The user's values of a layer; a text file of a whole output holds no shape."""
    text = arguments.expect is not None and arguments.expect.endswith((".txt", ".csv"))
    if text and isinstance(expected, np.ndarray) and arguments.expect_at is None:
        return Unshaped(expected.ravel())
    return expected


def _own_input(arguments: Arguments) -> np.ndarray | list[np.ndarray] | None:
    given = array_files.given(arguments.expect_input)
    return list(given.values()) if isinstance(given, dict) else given


def _drawn(arguments: Arguments) -> Shape:
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


def sweep(arguments: Arguments) -> int:
    """Every layer, one line each, and the first that diverges."""
    model = opened(arguments)
    expected = None if arguments.expect is None else array_files.array(arguments.expect)
    if isinstance(expected, np.ndarray):
        raise BadInput(
            "with --all, --expect must be an .npz file whose array names are layer names"
        )
    counts = dict.fromkeys(STATUS, 0)
    first: Report | None = None
    entries: list[dict[str, Any]] = []
    unused: NotCompared | None = None
    reports = sweep_layers(
        model,
        array_files.given(arguments.input),
        expected=expected,
        shape=_drawn(arguments),
        seed=arguments.seed or 0,
    )
    try:
        for report in with_progress(reports, len(model.layers)):
            counts[report.verdict] += 1
            if report.verdict == "diverge" and first is None:
                first = report
            if arguments.json:
                entries.append(as_dict(report))
            if arguments.json != "-":
                say(line(report))
    except NotCompared as error:
        unused = error
    if arguments.json:
        found = {
            "schema": SCHEMA,
            "source": arguments.model,
            "counts": counts,
            "not_compared": {} if unused is None else unused.reasons,
            "reports": entries,
        }
        write(arguments.json, json.dumps(found, indent=2, allow_nan=False))
    if arguments.json != "-":
        say("")
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
