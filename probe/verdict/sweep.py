"""Every call of a model judged in one forward pass, and the blocks after it."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from probe.capture.passes import in_pass
from probe.capture.pipeline import judged_in_order
from probe.capture.producers import unasked
from probe.capture.replacing import replaced
from probe.capture.user_arrays import Expected
from probe.capture.user_layer_outputs import Theirs
from probe.errors import BadInput, NotReached, ProbeError
from probe.evaluation.propagated_error import Drift, drifts
from probe.model import CallOutput, Capture, Model, Producer, containers_of
from probe.process.interrupts import undisturbed
from probe.report import Report
from probe.verdict.call_reports import judged_or_unchecked, untraced, without_search
from probe.verdict.drift import drift_before
from probe.verdict.options import Options, Origin, Search, Yours
from probe.verdict.other_processes import configured, in_other_processes

__all__ = ["SweepRun"]

_LOOKED_INTO = 20
"""In how many diverging layers of a sweep the mistake is looked for."""

Call = tuple[Capture, Yours | None]


@dataclass(eq=False)
class SweepRun:
    """One sweep of a model on one input, and what is known of it as it goes on."""

    model: Model
    arrays: tuple[np.ndarray, ...]
    how: str
    expected: Mapping[str, Expected] | None
    """The user's values by names of layers and blocks."""
    layers: Collection[str] | None
    """The names that are asked for; None: all layers."""
    seed: int
    search: bool
    flow: bool
    """Whether each report says which calls made its inputs."""
    searched: list[str] = field(default_factory=list)
    """The layers in which the mistake was looked for."""
    following: set[tuple[str, int]] = field(default_factory=set)
    """Calls with values of the user's whose inputs these do not say."""
    unreached: list[NotReached] = field(default_factory=list)

    def __post_init__(self) -> None:
        expected, layers = self.expected or {}, self.layers
        names = expected if layers is None else layers
        blocks = containers_of(self.model) if names else ()
        self.containers = [name for name in blocks if name in names]
        """The blocks that are asked for or have values."""
        self.atomic = None if layers is None else {*layers} - {*self.containers}
        """The layers that are asked for, without the blocks; None: all."""
        self.origin = Origin(self.model.source, self.model.framework, self.how)
        self.drift = self._drift(expected.keys() - {*self.containers})
        """That of the calls with values."""
        self.theirs = Theirs(self.arrays, expected)
        """The user's values in the course of the pass."""
        for name in () if layers is None else expected.keys() - set(layers):
            self.theirs.refused(name, "it is not among the layers selected by layers=")

    def _drift(self, names: Collection[str]) -> Mapping[tuple[str, int], Drift]:
        if not names:
            return {}
        return undisturbed(drifts)(self.model, self.arrays, None, names=names, seed=self.seed)

    def reports(self) -> Generator[Report, None, None]:
        """The layers as the pass goes on, and then the blocks."""
        if self.expected is not None and self.containers:
            with suppress(ProbeError):  # whatever it is, each one says it later
                undisturbed(self.model.run)(self.arrays, self.containers, self.theirs.remember)
        if self.atomic is None or self.atomic:
            yield from self._inheriting(self.calls())
        yield from self.blocks()
        self.close()

    def calls(self) -> Generator[Report, None, None]:
        """The reports on the calls of layers, in their order."""
        first_judged = partial(_first_judged, origin=self.origin)
        joblib = configured()
        if joblib is None:
            yield from judged_in_order(self._forward, self._prepare, self.model.settings())
            return
        calls = judged_in_order(self._forward, self._lined_up, self.model.settings())
        for call, (report, refused) in in_other_processes(joblib, first_judged, calls):
            yield self.judge(*call, report, refused)

    def blocks(self) -> Iterator[Report]:
        """The reports on the blocks, but of those whose values are refused and those that the pass
        does not call."""
        for name in self.containers:
            report = self._block(name)
            if report is not None:
                yield report

    def judge(self, capture: Capture, yours: Yours | None, report: Report, refused: str) -> Report:
        """A call that was judged, with what the sweep as a whole adds; in the first that diverge
        the mistake is looked for. Where the user's values were ``refused`` it says why."""
        if refused:
            self.theirs.refused(self.theirs.name_of(capture), refused)
        elif yours is not None:
            self.theirs.compared(capture, report)
        if yours is not None and not refused and report.verdict == "diverge":
            report = self._searched(capture, yours, report)
        if notes := untraced(self.model, capture, yours):
            report = replace(report, notes=(*report.notes, *notes))
        if told := replaced(self.model, capture):
            report = replace(report, replaced=told)
        if self.flow:
            report = replace(report, inputs_from=tuple(map(_call_of, capture.made_by)))
        return report

    def close(self) -> None:
        """Raises NotCompared or NotReached where something was asked for in vain."""
        self.theirs.close(self.model, self.arrays)
        if self.unreached:
            raise self.unreached[0]

    def _forward(self, push: Callable[[Capture], None]) -> None:
        asking = self.flow or self.expected is not None or self.layers is not None
        with nullcontext() if asking else unasked():
            self.model.run(self.arrays, self.atomic, push)

    def _of_user(self, capture: Capture) -> Yours | None:
        """The user's values of a call, and on which inputs they are judged."""
        mine, own, drift = self.theirs.of(capture), None, None
        if mine is not None:
            own = self.theirs.inputs_of(capture)
            if own is None:
                self.following.add(capture.key)
                drift = self.drift.get(capture.key)
        self.theirs.remember(capture)
        if mine is None:
            return None
        return Yours(mine, drift, own)

    def _prepare(self, capture: Capture) -> Callable[[], Report]:
        yours = self._of_user(capture)
        return lambda: self._judged(capture, yours)

    def _lined_up(self, capture: Capture) -> Callable[[], Call]:
        call = capture, self._of_user(capture)
        return lambda: call

    def _judged(self, capture: Capture, yours: Yours | None) -> Report:
        return self.judge(capture, yours, *_first_judged(capture, yours, self.origin))

    def _searched(self, capture: Capture, yours: Yours, report: Report) -> Report:
        if not self.search:
            return without_search(report)
        if len(self.searched) < _LOOKED_INTO:
            self.searched.append(capture.layer)
            options = Options(threads=1, search=Search(), origin=self.origin)
            return judged_or_unchecked(capture, yours, options)
        unsearched = (
            f"the mistake was looked for in {_LOOKED_INTO} layers before and not in this one: "
            "check it alone (probe.check, --layer)"
        )
        return replace(report, diagnosis=(*report.diagnosis, unsearched))

    def _block(self, name: str) -> Report | None:
        """A block; None where its values are refused, or the pass does not call it."""
        values = (self.expected or {}).get(name)
        try:
            passes, _ = undisturbed(in_pass)(self.model, self.arrays, name, 0, self.expected or {})
            (call,) = passes.calls
            if values is None:
                return self._judged(call, None)
            own, drift = passes.own.get((name, 0)), None
            if own is None:
                before = undisturbed(drift_before)(passes, [call], self.seed)
                drift = before.get((name, 0))
        except ProbeError as error:
            if values is not None:
                self.theirs.refused(name, str(error))
            elif isinstance(error, NotReached):
                self.unreached.append(error)
            else:
                raise
            return None
        return self._judged(call, Yours(values, drift, own))

    def _inheriting(self, reports: Generator[Report, None, None]) -> Iterator[Report]:
        """The same in their order, with what may only come from a layer before that diverges."""
        last = ""
        with closing(reports):
            for report in reports:
                beyond = report.verdict == "diverge" and "expected" in report.outputs
                follows = beyond and (report.layer, report.call) in self.following
                if follows:
                    report = replace(report, inherits=last)
                yield report
                if beyond:
                    last = report.call_name


def _call_of(made_by: Producer | None) -> tuple[str, int] | None:
    if isinstance(made_by, CallOutput):
        return (made_by.layer, made_by.call)
    return None


def _first_judged(capture: Capture, yours: Yours | None, origin: Origin) -> tuple[Report, str]:
    """What is said of a call of a sweep, and why the user's values are at fault where they are: the
    layer is then judged without them."""
    options = Options(threads=1, sparing=yours is None, origin=origin)
    if yours is None:
        return judged_or_unchecked(capture, None, options), ""
    try:
        return judged_or_unchecked(capture, yours, options), ""
    except BadInput as error:
        return judged_or_unchecked(capture, None, options), str(error)
