"""``probe FILE --layer NAME``: the library called with what was given, and its report printed."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from probe import printable
from probe.api import check as check_layer
from probe.api import script as script_layer
from probe.capture import array_files
from probe.capture.run import Named
from probe.capture.user_arrays import Expected, InputArgument
from probe.cli import settings, terminal
from probe.cli.arguments import Arguments, command_for, drawn
from probe.cli.given_input import input_of
from probe.cli.opening import hint, opened
from probe.cli.output import STATUS, say, write_and_say, written
from probe.cli.shown import of_one_line, show
from probe.cli.status import status
from probe.command_line import of_process
from probe.report.blocks import headline
from probe.report.text import render

if TYPE_CHECKING:
    from probe.model import Model
    from probe.report import Report

__all__ = ["check", "check_of", "explain", "fold"]

# ruff: noqa: PLC0415 - what a check does not need is imported where it is.


def check(arguments: Arguments) -> int:
    """One layer."""
    report = check_of(opened(arguments), arguments)
    if report.ask and (command := command_for(arguments, report.ask)):
        report = replace(report, diagnosis=(*report.diagnosis, command))
    return _told(report, arguments)


def check_of(model: "Model", arguments: Arguments) -> "Report":
    """The report on one layer."""
    expected: Expected = array_files.values(arguments.expect, str(arguments.layer), arguments.dtype)
    if arguments.expect_value is not None and arguments.at is not None:
        expected = array_files.typed(arguments.expect_value, arguments.at)
    status.show("forward pass")
    ask = check_layer
    if arguments.script is not None:
        ask = partial(script_layer, path=arguments.script)
    report = ask(
        model,
        _named(arguments),
        input_of(arguments),
        expected=expected,
        given=_own_input(arguments),
        call=arguments.call,
        shape=drawn(arguments.shape),
        seed=arguments.seed or 0,
        rtol=arguments.rtol,
        atol=arguments.atol,
        expected_at=arguments.expect_at,
        replace=array_files.replacements(arguments.replace, arguments.dtype),
        search=not arguments.no_search,
        thorough=arguments.thorough,
        progress=lambda slug: status.show(f"searching for the mistake: {slug}"),
    )
    return settings.noted(report)


def fold(arguments: Arguments) -> int:
    """One layer with the batch normalisation after it folded in."""
    from probe.batchnorm_folding import fold as fold_layer

    report = fold_layer(
        opened(arguments),
        str(arguments.layer),
        input_of(arguments),
        shape=drawn(arguments.shape),
        seed=arguments.seed or 0,
    )
    return _told(settings.noted(report), arguments)


def explain(arguments: Arguments) -> int:
    """One element of a layer's output."""
    from probe.explanation.explain import explain as explain_element

    model = opened(arguments)
    story = explain_element(
        model,
        _named(arguments),
        input_of(arguments),
        at=arguments.at or (),
        expected=array_files.values(arguments.expect, str(arguments.layer), arguments.dtype),
        given=_own_input(arguments),
        call=arguments.call or 0,
        shape=drawn(arguments.shape),
        seed=arguments.seed or 0,
        sees=arguments.sees,
    )
    first = f"{story.verdict}: {story.headline}"
    told = [*story.lines(arguments.verbose)]
    if text := settings.note():
        told += ["", f"note: {text}"]
    if arguments.json == "-":
        pass
    elif arguments.quiet:
        say(first)
    elif terminal.on_terminal(arguments.color or ""):
        lines = [first, "", *told, "", *hint(arguments), first]
        show(printable.page(lines, terminal.columns()), arguments)
    else:
        say(printable.page(told))
    if arguments.json:
        write_and_say(arguments.json, story.to_json(), arguments)
    if arguments.html:
        write_and_say(arguments.html, story.page(of_process()), arguments)
    return STATUS[story.verdict]


def _named(arguments: Arguments) -> Named:
    layer = str(arguments.layer)
    if arguments.to is None:
        return layer
    return (layer, arguments.to)


def _own_input(arguments: Arguments) -> InputArgument | None:
    if arguments.expect_input is None:
        return None
    given = array_files.own_input(arguments.expect_input, arguments.dtype)
    return InputArgument(given, dict(arguments.arg))


def _told(report: "Report", arguments: Arguments) -> int:
    """Prints and writes a report; the exit status."""
    if arguments.json == "-":
        pass
    elif arguments.quiet:
        show(headline(report, of_one_line(arguments)), arguments)
    elif terminal.on_terminal(arguments.color or ""):
        told = terminal.report_lines(report, arguments.verbose, hint(arguments))
        show(told, arguments)
    else:
        say(render(report, arguments.verbose))
    if arguments.json:
        write_and_say(arguments.json, report.to_json(), arguments)
    if arguments.html:
        from probe.report.html import report_page

        write_and_say(arguments.html, report_page(report, of_process()), arguments)
    if arguments.junit:
        from probe.report import junit

        suite = junit.suite(report.source, [junit.case(report)])
        write_and_say(arguments.junit, suite, arguments)
    if arguments.save:
        report.save(arguments.save)
        written(arguments.save, arguments)
    if arguments.script:
        path = Path(arguments.script)
        run = f"the layer by hand, with its arrays in {path.stem}.npz; run it with python"
        if path.suffix == ".c":
            run = "the layer in integers; compile it with a C99 compiler and run it"
        written(arguments.script, arguments, [run])
    return STATUS[report.verdict]
