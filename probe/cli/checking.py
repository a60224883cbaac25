"""``probe FILE --layer NAME`` and ``--all``: the library called with what was given, and its
reports printed."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe import printable
from probe.api import check as check_layer
from probe.api import script as script_layer
from probe.api import sweep as sweep_layers
from probe.capture import array_files
from probe.capture.run import Named
from probe.capture.user_arrays import Expected, InputArgument
from probe.cli import settings, terminal
from probe.cli.arguments import Arguments, command_for, drawn
from probe.cli.given_input import input_of
from probe.cli.opening import hint, opened
from probe.cli.output import STATUS, say, write, write_and_say, written
from probe.cli.status import status
from probe.command_line import joined, of_process
from probe.errors import NotCompared
from probe.listing import calls_of
from probe.report.as_json import as_dict, dumped, plain
from probe.report.blocks import headline, row
from probe.report.text import Columns, columns_for, line, render
from probe.report.text import why as why_of

if TYPE_CHECKING:
    from probe.model import Model
    from probe.report import Report, junit
    from probe.report.effect import Effect
    from probe.report.html import Entry

__all__ = ["check", "check_of", "explain", "fold", "sweep"]

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
        _show(printable.page(lines, terminal.columns()), arguments)
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
        _show(headline(report, _of_one_line(arguments)), arguments)
    elif terminal.on_terminal(arguments.color or ""):
        told = terminal.report_lines(report, arguments.verbose, hint(arguments))
        _show(told, arguments)
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


def _of_one_line(arguments: Arguments) -> int | None:
    """How many columns the only line may take; None where no terminal shows it."""
    if terminal.on_terminal(arguments.color or ""):
        return terminal.columns()
    return None


def _show(text: str, arguments: Arguments) -> None:
    """Prints, with verdicts in colour where a terminal sees them."""
    color = arguments.color or "auto"
    if terminal.on_terminal(color):
        say(terminal.coloured(text, color), color=True)
    else:
        say(text)


def sweep(arguments: Arguments) -> int:
    """Every layer, one line each, why those diverge that do on the user's own values, and which was
    the first."""
    model = opened(arguments)
    expected = None
    if arguments.expect is not None:
        from probe.recording.opening import values_by_layer

        expected = values_by_layer(arguments.expect)
    total = len(model.layers)
    status.step("layer", 0, total, "")
    reports = sweep_layers(
        model,
        input_of(arguments),
        expected=expected,
        shape=drawn(arguments.shape),
        seed=arguments.seed or 0,
        replace=array_files.replacements(arguments.replace, arguments.dtype),
        search=not arguments.no_search,
        flow=arguments.html is not None or arguments.model_explorer is not None,
    )
    swept = _Swept(arguments, model)
    unused: NotCompared | None = None
    try:
        for report in reports:
            swept.add(settings.noted(report))
            status.step("layer", swept.count, total, printable.name(report.layer))
    except NotCompared as error:
        unused = error
    swept.end(unused, reports.effect)
    if unused is not None:
        raise unused
    if swept.counts["diverge"]:
        return 1
    if not swept.counts["agree"]:
        return 2
    if arguments.strict and swept.counts["unchecked"]:
        return 2
    return 0


_AT_LENGTH = 20
"""Of how many calls that diverge, and that are unchecked, more is said than a row."""


class _Swept:
    """What is kept of a sweep as it goes on, printed call by call."""

    def __init__(self, arguments: Arguments, model: "Model"):
        self.arguments = arguments
        self.source = model.source
        self.columns = _columns(model, printable.WIDTH, short=False)
        self.counts = dict.fromkeys(STATUS, 0)
        self.layers: list[str] = []
        """Of which layer each call was."""
        self.first: Report | None = None
        self.framework = ""
        self.json: list[dict[str, Any]] = []
        self.entries: list[Entry] = []
        self.cases: list[junit.TestCase] = []
        self.explained: list[str] = []
        self.loud = arguments.json != "-" and not arguments.quiet
        self.rows: terminal.Rows | None = None
        if self.loud and terminal.on_terminal(arguments.color or ""):
            columns = _columns(model, terminal.columns(), short=True)
            self.rows = terminal.Rows(arguments.verbose, columns)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def add(self, report: "Report") -> None:
        """One more call."""
        self.counts[report.verdict] += 1
        self.layers.append(report.layer)
        self.framework = report.framework
        full = report.verdict != "agree" and self.counts[report.verdict] <= _AT_LENGTH
        if report.verdict == "diverge":
            self.first = self.first or report
            if full and (found := why_of(report)):
                self.explained += ["", printable.name(report.layer) or "(root)", *found]
        if self.arguments.json:
            self.json.append(as_dict(report))
        if self.arguments.junit:
            from probe.report import junit

            self.cases.append(junit.case(report, self.arguments.strict))
        if self.arguments.html or self.arguments.model_explorer:
            from probe.report.html import entry

            at_length = full and self.arguments.html is not None
            self.entries.append(entry(report, self.count, at_length))
        if self.rows is not None:
            self._print(self.rows.add(report))
        elif self.loud:
            say(line(report, self.columns))

    def end(self, unused: NotCompared | None, effect: "Effect | None" = None) -> None:
        """What is said and written of all."""
        arguments, source = self.arguments, self.source
        if arguments.json:
            whole = {
                "source": source,
                "counts": self.counts,
                "not_compared": {} if unused is None else unused.reasons,
                "effect": effect,
                "reports": self.json,
            }
            write(arguments.json, dumped(plain(whole)))
        if self.rows is not None:
            self._print(self.rows.end())
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items())
        counts += "" if self.count or unused else ": the forward pass called no layer"
        if several := calls_of(self.layers):
            counts += f"; {several}"
        if arguments.json != "-":
            self._sum_up(counts, effect)
        if arguments.json and arguments.json != "-":
            written(arguments.json, arguments)
        if arguments.html:
            from probe.report.html import sweep_page

            notes = [text for text in (settings.note(), unused and str(unused)) if text]
            notes += [effect.sentence] if effect is not None else []
            page = sweep_page(
                self.entries,
                source,
                counts,
                notes=notes,
                framework=self.framework,
                command=of_process(),
            )
            write_and_say(arguments.html, page, arguments)
        if arguments.junit:
            from probe.report import junit

            write_and_say(arguments.junit, junit.suite(source, self.cases), arguments)
        if arguments.model_explorer:
            from probe.report import model_explorer

            folder = arguments.model_explorer
            model_explorer.write(folder, model_explorer.of_sweep(source, self.entries))
            then = ("open it:", joined(model_explorer.command(folder)))
            written(folder, arguments, then)

    def _print(self, lines: Iterable[str]) -> None:
        for text in lines:
            _show(text, self.arguments)

    def _sum_up(self, counts: str, effect: "Effect | None") -> None:
        width = terminal.columns() if self.rows is not None else printable.WIDTH
        if self.loud:
            noted = [f"note: {text}" for text in (settings.note(),) if text]
            lines = [*self.explained, *self._untold(), "", *noted]
            _show(printable.page(lines, width), self.arguments)
        if effect is not None and self.loud:
            _show(printable.page([f"effect: {effect.sentence}"], width), self.arguments)
        if self.first is not None:
            name, told = printable.name(repr(self.first.layer)), row(self.first)
            first = f"the first diverging layer is {name}: {told.cause or told.text}"
            if self.arguments.quiet:
                counts = printable.end(f"{counts}; {first}", _of_one_line(self.arguments))
            else:
                _show(printable.page([first], width), self.arguments)
        if self.rows is not None and (lines := hint(self.arguments)):
            _show(printable.page(lines, width), self.arguments)
        _show(counts, self.arguments)

    def _untold(self) -> list[str]:
        """How many diverging layers nothing more is said of."""
        more = self.counts["diverge"] - _AT_LENGTH
        return ["", f"{more} more layers diverge: check one alone (--layer)"] * (more > 0)


def _columns(model: "Model", page: int, short: bool) -> Columns:
    names = [len(printable.name(layer.name)) for layer in model.layers]
    kinds = [len(printable.name(layer.kind)) for layer in model.layers]
    if model.may_be_operation("/add"):
        kinds.append(len("Tensor.flatten"))  # operations, which only the run shows
    return columns_for(max((0, *names)), max((0, *kinds)), page, short)
