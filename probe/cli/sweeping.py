"""``probe FILE --all``: a row for each call as it comes, and what is said of all of them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from probe import printable
from probe.api import sweep as sweep_layers
from probe.capture import array_files
from probe.cli import settings, terminal
from probe.cli.arguments import Arguments, drawn
from probe.cli.given_input import input_of
from probe.cli.opening import hint, opened
from probe.cli.output import STATUS, say, write, write_and_say, written
from probe.cli.shown import of_one_line, show
from probe.cli.status import status
from probe.command_line import joined, of_process
from probe.errors import NotCompared
from probe.listing import calls_of
from probe.model import containers_of
from probe.report.as_json import as_dict, dumped, plain
from probe.report.blocks import row
from probe.report.text import Columns, columns_for, line
from probe.report.text import why as why_of

if TYPE_CHECKING:
    from probe.model import Model
    from probe.report import Report, junit
    from probe.report.effect import Effect
    from probe.report.html import Entry

__all__ = ["sweep"]

# ruff: noqa: PLC0415 - what a check does not need is imported where it is.


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
            counts = f"{several}: {counts}"
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
            show(text, self.arguments)

    def _sum_up(self, counts: str, effect: "Effect | None") -> None:
        width = terminal.columns() if self.rows is not None else printable.WIDTH
        if self.loud:
            noted = [f"note: {text}" for text in (settings.note(),) if text]
            lines = [*self.explained, *self._untold(), "", *noted]
            show(printable.page(lines, width), self.arguments)
        if effect is not None and self.loud:
            show(printable.page([f"effect: {effect.sentence}"], width), self.arguments)
        if self.first is not None:
            name, told = printable.name(repr(self.first.layer)), row(self.first)
            first = f"the first diverging layer is {name}: {told.cause or told.text}"
            if self.arguments.quiet:
                counts = printable.end(f"{counts}; {first}", of_one_line(self.arguments))
            else:
                show(printable.page([first], width), self.arguments)
        if self.rows is not None and (lines := hint(self.arguments)):
            show(printable.page(lines, width), self.arguments)
        show(counts, self.arguments)

    def _untold(self) -> list[str]:
        """How many diverging layers nothing more is said of."""
        more = self.counts["diverge"] - _AT_LENGTH
        return ["", f"{more} more layers diverge: check one alone (--layer)"] * (more > 0)


def _columns(model: "Model", page: int, short: bool) -> Columns:
    names = [len(printable.name(layer.name)) for layer in model.layers]
    kinds = [len(printable.name(layer.kind)) for layer in model.layers]
    if model.may_be_operation("/add"):  # operations, which only the run shows
        kinds.append(len("Tensor.transpose"))
        if blocks := [name for name in containers_of(model) if name]:
            names.append(len(printable.name(f"{max(blocks, key=len)}/transpose:1")))
    return columns_for(max((0, *names)), max((0, *kinds)), page, short)
