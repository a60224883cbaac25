"""The whole road: run the model once, describe, recompute, cross-check, compare, report."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from probe.capture.model_inputs import bind
from probe.capture.passes import captured, in_pass
from probe.capture.pipeline import judged_in_order
from probe.capture.producers import unasked
from probe.capture.question import question_of
from probe.capture.run import ModelLike, Named, opened
from probe.capture.user_arrays import (
    Expected,
    Inputs,
    Part,
    Shape,
)
from probe.capture.user_layer_outputs import Theirs, check_names
from probe.errors import BadInput, NotReached, ProbeError
from probe.evaluation.bounds import NEAR
from probe.evaluation.propagated_error import Drift, drifts
from probe.evaluation.reference import failure
from probe.model import (
    CallOutput,
    Capture,
    Model,
    Producer,
    Recorded,
    containers_of,
    is_large,
    recorded,
)
from probe.ops import Recomputed
from probe.process.interrupts import undisturbed
from probe.report import Report
from probe.report.sweep import Sweep
from probe.verdict.batch_chunks import judged_in_pieces
from probe.verdict.drift import drift_before, quick_drift_before
from probe.verdict.judge import judge
from probe.verdict.options import NOT_SEARCHED, Options, Origin, Search, Yours, search_of
from probe.verdict.other_processes import configured, in_other_processes

__all__ = ["assert_layer", "check", "sweep"]


@undisturbed
def check(
    model: ModelLike,
    layer: Named,
    x: Inputs = None,
    *,
    expected: Expected | Mapping[str, Expected] = None,
    given: Inputs = None,
    call: int | None = None,
    shape: Shape = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    expected_at: Part | None = None,
    search: bool = True,
    thorough: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Checks one layer on the model's input, or alone on its own.

    The framework's output of each call is compared with a recomputation in NumPy (float64), one in
    ONNX Runtime and your own values. Where they diverge, the mistake that gives the diverging
    values is searched for.

    Args:
        model: A path, a live Keras or PyTorch model, an ONNX ModelProto, or what ``open_model``
            returns.
        layer: The layer's name in the framework; for PyTorch the dotted name of the module, "" for
            the root. A block or a whole model is checked as one layer, composed of what it calls;
            two names are the segment from the first to the second, both included.
        x: The model's input, batch first, in the framework's layout: an array, a sequence of arrays
            or a mapping from input names. Of a PyTorch module the names are those of forward's
            parameters: it is called as ``model(**x)``, and None, numbers, strings and tuples of
            them are passed as they are. Of a Hugging Face directory with a tokenizer also a text.
            None, or a mapping without arrays: random, drawn with ``seed``.
        expected: Your own output of the layer, in the shape of the framework's. For a layer with
            several outputs an array is the first, a sequence all of them (None skips one). A
            mapping from layer names may hold your outputs of other layers, too: where they are the
            layer's inputs it is checked on them, and your earlier mistakes do not count against it.
        given: The layer's own input, in the forms of ``x``: only the layer is run.
        call: Which call of a layer that is called several times, from 0. None: all are checked, and
            the report is about the first that differs.
        shape: The shape of a random input, or one for each input.
        seed: The seed of random inputs, where ``x`` is None.
        rtol: Relative tolerance. With ``atol`` it replaces the allowance derived from the layer's
            arithmetic: |difference| <= atol + rtol * |NumPy's value|.
        atol: Absolute tolerance, in the unit of the output.
        expected_at: Which part of the output ``expected`` is, an index or slice for each axis:
            "0,0:3,0:3,0", or such a tuple.
        search: Whether to search for the mistake. False: the verdict alone; ``findings`` is then
            empty, and ``diagnosis`` says that causes were not searched for.
        thorough: Whether to search ten times as far for the mistake.
        progress: Called with the name of each kind of mistake as it is tried.

    Returns:
        The report of one call.

    Raises:
        CannotOpen: The model cannot be opened (also NotTrusted and MissingExtra).
        UnknownLayer: No layer has that name.
        NotReached: The forward pass makes no such call.
        ForwardFailed: The model's own forward pass raises.
        BadInput: An array, a shape or an option does not fit.
    """
    search_options = search_of(search, thorough, progress=progress)
    question = question_of(
        layer,
        x,
        expected,
        given=given,
        call=call,
        shape=shape,
        seed=seed,
        rtol=rtol,
        atol=atol,
        expected_at=expected_at,
    )
    mine, tolerance = question.expected, question.tolerance
    model = opened(model)
    if given is not None and mine is None and (held := recorded(model)) is not None:
        raise BadInput(
            f"{held.path} is a recording: {layer!r} runs on no other input without the model; give "
            "your own output of it too (--expect), which is then compared with NumPy's"
        )
    forward = captured(model, question)
    model, chosen = forward.model, forward.calls
    drift: Mapping[tuple[str, int], Drift] = {}
    wandered = [one for one in chosen if forward.own.get((one.layer, one.call)) is None]
    if mine is not None and given is None and wandered:
        before = partial(drift_before, forward, wandered, seed)
        quick = partial(quick_drift_before, forward, wandered, seed)
        if is_large(model):
            drift = _sparing_drift(quick, before, mine, wandered, tolerance)
        else:
            drift = before()
    others = partial(forward.weights_of_others, thorough)
    best: Report | None = None
    for capture in chosen:
        key = (capture.layer, capture.call)
        moved, own = drift.get(key), forward.own.get(key)
        of_call = search_options if best is None or best.verdict != "diverge" else None
        if of_call is not None:
            of_call = replace(of_call, others=others, road=None if moved is None else moved.road)
        yours = None if mine is None else Yours(mine, moved, own)
        origin = Origin(model.source, model.framework, forward.how)
        report = _judged(
            capture, yours, Options(tolerance, detail=True, search=of_call, origin=origin)
        )
        report = replace(
            report,
            notes=(*model.notes, *forward.notes, *report.notes, *_untraced(model, capture, yours)),
        )
        if (
            best is None
            or (best.ok and not report.ok)
            or (best.verdict == "unchecked" and report.verdict == "diverge")
        ):
            best = report
    assert best is not None
    if search_options is None:
        best = _without_search(best)
    if call is None and len(chosen) > 1:
        best = replace(
            best, notes=(*best.notes, f"called {len(chosen)} times; this is call {best.call}")
        )
    return best


def _without_search(report: Report) -> Report:
    """The report of a check that was asked for the verdict alone."""
    if report.verdict != "diverge":
        return report
    return replace(report, diagnosis=(*report.diagnosis, NOT_SEARCHED))


def _sparing_drift(
    quick: Callable[[], Mapping[tuple[str, int], Drift]],
    before: Callable[..., Mapping[tuple[str, int], Drift]],
    mine: Expected,
    calls: list[Capture],
    tolerance: tuple[float, float] | None,
) -> Mapping[tuple[str, int], Drift]:
    """The drift of calls of a large model, in no more passes than it takes to decide on values:
    none where they agree without it, ``quick`` ones where they agree with these, a few where these
    tell."""

    def largest(drift: Mapping[tuple[str, int], Drift]) -> float:
        reports = [
            _judged(one, Yours(mine, drift.get((one.layer, one.call))), Options(tolerance))
            for one in calls
        ]
        return max(
            (
                comparison.ratio
                for report in reports
                for pair, comparison in report.comparisons.items()
                if "expected" in pair
            ),
            default=0.0,
        )

    if largest({}) <= 1:
        return {}
    drift = quick()
    if drift and largest(drift) <= 1:
        return drift
    drift = before(few=True)
    if not 1 < largest(drift) < NEAR[0]:
        return drift
    return before()


def _call_of(made_by: Producer | None) -> tuple[str, int] | None:
    if isinstance(made_by, CallOutput):
        return (made_by.layer, made_by.call)
    return None


def _untraced(model: Model, capture: Capture, yours: Yours | None) -> tuple[str, ...]:
    """A note on user values whose way through a recording is not known to its beginning."""
    if yours is None or yours.inputs is not None or not isinstance(model, Recorded):
        return ()
    held = model.untraced(capture.layer, capture.call)
    if held:
        return (
            f"the allowance for your values leaves out rounding before {held}, which a recording "
            "cannot compute again: give the layer's own input (--expect-input)",
        )
    return ()


def sweep(
    model: ModelLike,
    x: Inputs = None,
    *,
    expected: Mapping[str, Expected] | None = None,
    shape: Shape = None,
    seed: int = 0,
    layers: Collection[str] | None = None,
    search: bool = True,
    flow: bool = False,
) -> Iterator[Report]:
    """Checks every call of every atomic layer in execution order, in one forward pass.

    A report that was yielded is not kept. Where all parties agree it holds the framework's output
    only; the other outputs are computed again when they are read.

    Args:
        model: As for ``check``.
        x: As for ``check``.
        expected: Your own outputs by names of layers and blocks. One whose inputs are among them is
            checked on those: the first that diverges is then the first with a fault of its own.
            Blocks come after the layers.
        shape: As for ``check``.
        seed: As for ``check``.
        layers: The names to check, of blocks too. None: all layers.
        search: As for ``check``.
        flow: Whether each report says which calls made its inputs (``inputs_from``); it costs
            reading every tensor once more.

    Returns:
        The reports, one by one as the pass goes on; a notebook shows their table.

    Raises:
        NotCompared: After the last report, where some of the values were compared with nothing.
        NotReached: After the last report, where the pass does not call a block of ``layers``.
        CannotOpen: As in ``check``, like its other errors.
    """
    model = opened(model)
    model, arrays, how = bind(model, x, shape, seed)
    if expected is not None:
        check_names(model, expected)
    return Sweep(_swept(model, arrays, how, expected, layers, seed, search, flow), model.source)


_LOOKED_INTO = 20
"""In how many diverging layers of a sweep the mistake is looked for."""


def _swept(
    model: Model,
    arrays: tuple[np.ndarray, ...],
    how: str,
    expected: Mapping[str, Expected] | None,
    layers: Collection[str] | None,
    seed: int,
    search: bool,
    flow: bool,
) -> Generator[Report, None, None]:
    wanted = layers if layers is not None else (expected or ())
    containers = [name for name in (containers_of(model) if wanted else ()) if name in wanted]
    through = () if expected is None else expected.keys() - {*containers}
    drift = undisturbed(drifts)(model, arrays, None, names=through, seed=seed) if through else {}
    theirs = Theirs(arrays, expected or {})
    for name in () if layers is None or expected is None else expected.keys() - set(layers):
        theirs.refused(name, "it is not among the layers selected by layers=")
    following: set[tuple[str, int]] = set()
    """Calls with values of the user's whose inputs these do not say."""
    looked: list[str] = []
    unreached: list[NotReached] = []
    origin = Origin(model.source, model.framework, how)
    first_judged = partial(_first_judged, origin=origin)

    def asked(capture: Capture) -> tuple[Capture, Yours | None]:
        mine = theirs.of(capture)
        own = theirs.inputs_of(capture) if mine is not None else None
        if mine is not None and own is None:
            following.add((capture.layer, capture.call))
        theirs.remember(capture)
        moved = None if own is not None else drift.get((capture.layer, capture.call))
        return capture, None if mine is None else Yours(mine, moved, own)

    def told(capture: Capture, yours: Yours | None, report: Report, refused: str) -> Report:
        if refused:
            theirs.refused(theirs.name_of(capture), refused)
        elif yours is not None:
            theirs.compared(capture, report)
        if yours is not None and not refused and report.verdict == "diverge":
            if not search:
                report = _without_search(report)
            elif len(looked) < _LOOKED_INTO:
                looked.append(capture.layer)
                options = Options(threads=1, search=Search(), origin=origin)
                report = _judged(capture, yours, options)
            else:
                unsearched = (
                    f"the mistake was looked for in {_LOOKED_INTO} layers before and not in this "
                    "one: check it alone (--layer)"
                )
                report = replace(report, diagnosis=(*report.diagnosis, unsearched))
        if untraced := _untraced(model, capture, yours):
            report = replace(report, notes=(*report.notes, *untraced))
        if flow:
            report = replace(report, inputs_from=tuple(map(_call_of, capture.made_by)))
        return report

    def prepare(capture: Capture) -> Callable[[], Report]:
        call = asked(capture)
        return lambda: told(*call, *first_judged(*call))

    def container(name: str) -> Report | None:
        """One that was asked for, or has values; None where its values are refused, or the pass
        does not call it."""
        block_values = (expected or {}).get(name)
        try:
            found, _ = undisturbed(in_pass)(model, arrays, name, 0, expected or {})
            (block_call,) = found.calls
            if block_values is None:
                return told(block_call, None, *first_judged(block_call, None))
            own = found.own.get((name, 0))
            moved = {} if own is not None else undisturbed(drift_before)(found, [block_call], seed)
        except ProbeError as error:
            if block_values is None:
                if not isinstance(error, NotReached):
                    raise
                unreached.append(error)
                return None
            theirs.refused(name, str(error))
            return None
        yours = Yours(block_values, moved.get((name, 0)), own)
        return told(block_call, yours, *first_judged(block_call, yours))

    asking = flow or expected is not None or layers is not None

    def forward(push: Callable[[Capture], None]) -> None:
        with nullcontext() if asking else unasked():
            model.run(arrays, rest, push)

    if expected is not None and containers:
        with suppress(ProbeError):  # whatever it is, each one says it later
            undisturbed(model.run)(arrays, containers, theirs.remember)
    rest = None if layers is None else {*layers} - {*containers}
    if rest is None or rest:
        if (joblib := configured()) is None:
            yield from _inheriting(judged_in_order(forward, prepare, model.settings()), following)
        else:

            def lined_up(capture: Capture) -> Callable[[], tuple[Capture, Yours | None]]:
                call = asked(capture)
                return lambda: call

            calls = judged_in_order(forward, lined_up, model.settings())
            judged = in_other_processes(joblib, first_judged, calls)
            yield from _inheriting(
                (told(*call, *block_call) for call, block_call in judged), following
            )
    yield from (report for name in containers if (report := container(name)) is not None)
    theirs.close(model, arrays)
    if unreached:
        raise unreached[0]


def _inheriting(
    reports: Generator[Report, None, None], following: Collection[tuple[str, int]]
) -> Iterator[Report]:
    """The same in their order, with what may only come from a layer before that diverges."""
    last = ""
    with closing(reports):
        for report in reports:
            beyond = report.verdict == "diverge" and "expected" in report.outputs
            follows = beyond and (report.layer, report.call) in following
            yield replace(report, inherits=last) if follows else report
            last = report.call_name if beyond else last


def _first_judged(capture: Capture, yours: Yours | None, origin: Origin) -> tuple[Report, str]:
    """What is said of a call of a sweep, and why the user's values are at fault where they are: the
    layer is then judged without them."""
    if yours is None:
        return _judged(capture, None, Options(threads=1, sparing=True, origin=origin)), ""
    options = Options(threads=1, origin=origin)
    try:
        return _judged(capture, yours, options), ""
    except BadInput as error:
        return _judged(capture, None, options), str(error)


@np.errstate(invalid="ignore")  # NumPy warns of a signalling NaN wherever it is converted
def _judged(capture: Capture, yours: Yours | None, options: Options) -> Report:
    """What is said of a call. A fault of ours leaves it unchecked, and one in the search for a
    mistake without that."""
    try:
        if options.sparing:
            return judged_in_pieces(capture, options)
        return judge(capture, yours, options)
    except ProbeError:
        raise
    except Exception as error:
        if options.search is not None:
            report = _judged(capture, yours, replace(options, search=None))
            return replace(
                report,
                notes=(
                    *report.notes,
                    failure(capture, error, "internal error in the search for the mistake"),
                ),
            )
        steps = () if capture.description is None else capture.description.steps
        if any(isinstance(step.op, Recomputed) for step in steps):
            raise  # of the user's own function, and theirs to see
        why = failure(capture, error, "internal error in the comparison")
        return judge(replace(capture, description=None, why=why), yours, options)


def assert_layer(
    model: ModelLike,
    layer: Named,
    x: Inputs = None,
    expected: Expected | Mapping[str, Expected] = None,
    **options: Any,
) -> None:
    """For tests: fails where the layer does not agree, and where it is unchecked.

    Args:
        model: As for ``check``.
        layer: As for ``check``.
        x: As for ``check``.
        expected: As for ``check``.
        **options: The other arguments of ``check``.

    Raises:
        AssertionError: It carries the report.
        ProbeError: As ``check`` raises it.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = check(model, layer, x, expected=expected, **options)
    if not report.ok:
        raise AssertionError(str(report))
