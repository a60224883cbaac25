"""The whole road: run the model once, describe, recompute, cross-check, compare, report."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import replace as changed
from functools import partial
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from probe.capture.flags import flags_checked
from probe.capture.model_inputs import bind
from probe.capture.passes import Passes, captured
from probe.capture.question import Question, question_of
from probe.capture.replacing import Replace, effect_of, replaced, replacing
from probe.capture.run import ModelLike, Named, as_names, opened
from probe.capture.user_arrays import Expected, Inputs, Part, Shape
from probe.capture.user_layer_outputs import check_names
from probe.errors import BadInput, ProbeError
from probe.evaluation.reference import inputs_of, values_of
from probe.model import Capture, Model, is_large, recorded
from probe.process.interrupts import undisturbed
from probe.report import Report
from probe.report.sweep import Sweep
from probe.verdict.call_reports import judged_or_unchecked, untraced, without_search
from probe.verdict.drift import Drifts, UserRun, drift_of_user
from probe.verdict.options import Options, Origin, Search, Yours, search_of
from probe.verdict.sweep import SweepRun

__all__ = ["assert_layer", "check", "script", "sweep"]


@flags_checked
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
    replace: Replace | None = None,
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
        replace: Your own outputs of layers, by their names, that the rest of the model runs on in
            place of theirs: ``report.effect`` says what becomes of the model's output. Of a layer
            that is called several times the name has the number of the call: "relu:1".
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
        replace=replace,
    )
    return _checked(opened(model), question, search, thorough, progress).report


@flags_checked
@undisturbed
def script(
    model: ModelLike,
    layer: Named,
    x: Inputs,
    path: str | PathLike[str],
    *,
    search: bool = True,
    thorough: bool = False,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Report:
    """Checks one layer and writes it by hand: a script that computes it with NumPy alone.

    The script loads the layer's input and effective weights from an .npz beside it, computes the
    output in statements with names, shapes and reasons, prints how far that is from the framework's
    and exits with 0, or 1 where it lies beyond the allowance. It was run before it was written: a
    step that is not written, or that did not give NumPy's values, is loaded.

    ``python PATH mine.npz`` compares arrays of your own, by the names in the script, up to the
    first that differs.

    Args:
        model: As for ``check``.
        layer: As for ``check``.
        x: As for ``check``.
        path: The script, a .py; its arrays go into the .npz of the same name. As a .c it is a
            program of C99 in integers alone, bit for bit, of a fixed-point layer (QKeras, HGQ2).
            Files that are none of a script are not written over.
        search: As for ``check``.
        thorough: As for ``check``.
        progress: As for ``check``.
        **options: The other arguments of ``check``.

    Returns:
        The report, as ``check`` gives it.

    Raises:
        BadInput: The files cannot be written there, or the script would be too long.
        Undescribed: The layer cannot be written.
        ProbeError: As ``check`` raises it.
    """
    by_hand = import_module("probe.by_hand.write")  # only now: nothing else needs it
    by_hand.refuse_script(path, [model])
    question = question_of(layer, x, **options)
    report, capture, passes = _checked(opened(model), question, search, thorough, progress)
    if Path(path).suffix == by_hand.C:
        by_hand.write_c(path, capture, report, _calls_of(passes), [model, report.source])
        return report
    if capture.description is None:
        files = by_hand.script_files(capture, report, (), ())
    else:
        files = by_hand.script_files(capture, report, inputs_of(capture), values_of(capture))
    by_hand.write_script(path, files, [model, report.source])
    return report


def _calls_of(passes: Passes) -> dict[tuple[str, int], Capture]:
    """The calls of the whole model, where it makes several and they cost no long pass."""
    if passes.alone or is_large(passes.model):
        return {}
    try:
        whole = passes.whole().whole
    except ProbeError:
        return {}
    return {part.capture.key: part.capture for part in whole.parts}


class _Checked(NamedTuple):
    """A report, the call that it is about, and the passes that this is of."""

    report: Report
    capture: Capture
    passes: Passes


def _checked(
    model: Model,
    question: Question,
    search: bool,
    thorough: bool,
    progress: Callable[[str], None] | None,
) -> _Checked:
    """The report that ``check`` gives, with the call."""
    search_options = search_of(search, thorough, progress=progress)
    _refuse_recording(model, question)
    passes = captured(model, question)
    if search_options is not None:
        others = partial(passes.weights_of_others, thorough)
        search_options = changed(search_options, others=others, tensors=passes.tensors)
    drift = _drift(passes, question)
    chosen: Report | None = None
    about: Capture | None = None
    for capture in passes.calls:
        if chosen is not None and chosen.verdict == "diverge":
            of_call = None
        else:
            of_call = search_options
        report = _report(passes, question, capture, drift, of_call)
        if chosen is None or _says_more(report, chosen):
            chosen, about = report, capture
    assert chosen is not None and about is not None
    if search_options is None:
        chosen = without_search(chosen)
    if question.call is None and len(passes.calls) > 1:
        note = f"called {len(passes.calls)} times; this is call {chosen.call}"
        chosen = changed(chosen, notes=(*chosen.notes, note))
    return _Checked(chosen, about, passes)


def _refuse_recording(model: Model, question: Question) -> None:
    """Raises BadInput where a recording is asked to run a layer on another input."""
    recording = recorded(model)
    if recording is not None and question.given is not None and question.expected is None:
        raise BadInput(
            f"{recording.path} is a recording: {question.layer!r} runs on no other input without "
            "the model; give your own output of it too (expected=, --expect), which is then "
            "compared with NumPy's"
        )


def _drift(passes: Passes, question: Question) -> Drifts:
    """What rounding in the user's own layers before may have done, of each call whose inputs their
    values do not say."""
    if question.expected is None or question.given is not None:
        return {}
    calls = [capture for capture in passes.calls if passes.own.get(capture.key) is None]
    if not calls:
        return {}
    ratio = partial(_largest_ratio, calls, question)
    return drift_of_user(UserRun(passes, calls, question.seed, ratio))


def _largest_ratio(calls: Sequence[Capture], question: Question, drift: Drifts) -> float:
    """How many times what is allowed the user's values of these calls are off."""
    largest, options = 0.0, Options(question.tolerance)
    for capture in calls:
        yours = Yours(question.expected, drift.get(capture.key))
        comparisons = judged_or_unchecked(capture, yours, options).comparisons
        for pair, comparison in comparisons.items():
            if "expected" in pair:
                largest = max(largest, comparison.ratio)
    return largest


def _report(
    passes: Passes, question: Question, capture: Capture, drift: Drifts, search: Search | None
) -> Report:
    """What is said of one call of the layer."""
    model, key = passes.model, capture.key
    before, yours = drift.get(key), None
    if question.expected is not None:
        yours = Yours(question.expected, before, passes.own.get(key))
    if search is not None and before is not None:
        search = changed(search, road=before.road)
    options = Options(
        question.tolerance,
        detail=True,
        search=search,
        origin=Origin(model.source, model.framework, passes.how),
    )
    report = judged_or_unchecked(capture, yours, options)
    notes = (*model.notes, *passes.notes, *report.notes, *untraced(model, capture, yours))
    told = replaced(model, capture)
    return changed(report, notes=notes, replaced=told, effect=effect_of(model))


def _says_more(report: Report, before: Report) -> bool:
    """Whether a report rather than one of a call before is what the check is about: that of the
    first call that diverges, or else of the first that does not agree."""
    if before.ok:
        return not report.ok
    return before.verdict == "unchecked" and report.verdict == "diverge"


@flags_checked
def sweep(
    model: ModelLike,
    x: Inputs = None,
    *,
    expected: Mapping[str, Expected] | None = None,
    shape: Shape = None,
    seed: int = 0,
    layers: Collection[str] | None = None,
    replace: Replace | None = None,
    search: bool = True,
    flow: bool = False,
) -> Sweep:
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
        replace: As for ``check``; each report says whether its own output was replaced, and the
            sweep's ``effect`` what becomes of the model's output.
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
    model, layers = opened(model), as_names(layers)
    model, arrays, how = bind(model, x, shape, seed)
    if expected is not None:
        check_names(model, expected)
    model = undisturbed(replacing)(model, arrays, replace)

    def reports() -> Generator[Report, None, None]:  # which begin when the first is asked for
        run = SweepRun(model, arrays, how, expected, layers, seed, search, flow)
        yield from run.reports()

    return Sweep(reports(), model.source, partial(undisturbed(effect_of), model))


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
