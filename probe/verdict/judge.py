"""One captured call, judged: every party's output, every pair against the allowance, and the
verdict in a sentence."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from probe.capture.user_arrays import Partial, Unshaped, as_outputs
from probe.errors import ProbeError, our_fault
from probe.evaluation.party import Arrays, PartyResult
from probe.evaluation.reference import Reference, bounded, recomputed_call
from probe.model import CallOutput, Capture
from probe.ops import Recomputed
from probe.report import Report
from probe.verdict.detection_power import powers
from probe.verdict.discontinuities import flips
from probe.verdict.engine_differences import known_differences, magnitudes, touched
from probe.verdict.judgement import Judgement, Unusual
from probe.verdict.options import Options, Yours
from probe.verdict.pairwise import certainty, equal, pairs
from probe.verdict.parties import engines, onnx_answer, user
from probe.verdict.reporting import reported
from probe.verdict.sentence import Verdict, verdict_on

__all__ = ["judge", "weighed"]

_AS_USUAL = Options()


def judge(capture: Capture, yours: Yours | None = None, options: Options = _AS_USUAL) -> Report:
    """Recomputes a captured call, asks every party, compares them, and says who is right."""
    call, again = weighed(capture, yours, options), partial(_again, options=options)
    verdict = verdict_on(call)
    if verdict.word == "diverge" and _accumulated(call, options):
        verdict = Verdict("unchecked", f"unchecked: {_ACCUMULATED}", verdict.notes)
        return reported(call, verdict, replace(options, search=None), again)
    if verdict.word == "diverge" and options.search is not None and _composed_wrongly(call):
        report = reported(call, verdict, replace(options, search=None), again)
        return _answered_by_calls(report, capture, options)
    return reported(call, verdict, options, again)


_ACCUMULATED = (
    "each call within it agrees on its own inputs, and yet what the engines make of the whole "
    "differs by more than rounding should carry through it: check its calls one by one"
)


def _accumulated(call: Judgement, options: Options) -> bool:
    """Whether the engines differ about a container none of whose calls diverges by itself, and
    which gives what these gave. Values of yours that are not the framework's differ all the
    same, and so does what exceeds tolerances of yours."""
    if call.layer is None or not call.layer.composed or options.tolerance is not None:
        return False
    yours = call.comparisons.get(("framework", "expected"))
    engines = [one for pair, one in call.comparisons.items() if "expected" not in pair]
    if (yours is not None and not yours.ok) or all(one.ok for one in engines):
        return False
    alone = replace(options, detail=False, sparing=False, search=None)
    return _made_by_its_calls(call.capture) and not any(
        judge(part.capture, None, alone).verdict == "diverge" for part in call.capture.parts
    )


def _made_by_its_calls(capture: Capture) -> bool:
    """Whether a container gives what calls within it gave, and nothing was put in its place."""
    given = {
        CallOutput(part.capture.layer, part.capture.call, k): array
        for part in capture.parts
        for k, array in enumerate(part.capture.outputs)
    }
    return len(capture.results) == len(capture.outputs) and all(
        isinstance(maker, CallOutput) and maker in given and equal((array,), (given[maker],))
        for maker, array in zip(capture.results, capture.outputs, strict=True)
    )


def _composed_wrongly(call: Judgement) -> bool:
    """Whether the framework's outputs of a container are other than its calls make them."""
    if call.layer is None or not call.layer.composed:
        return False
    pair = call.comparisons.get(("framework", "numpy"))
    inside = any(verdict_on(one).word == "diverge" for one in call.within.values())
    return inside or (pair is not None and not pair.ok)


def _answered_by_calls(report: Report, capture: Capture, options: Options) -> Report:
    """The report of a container with what is found of the first of its calls that diverges by
    itself."""
    alone = replace(options, tolerance=None, detail=False, sparing=False)
    for part in capture.parts:
        if judge(part.capture, None, replace(alone, search=None)).verdict == "diverge":
            found = judge(part.capture, None, alone)
            told = f"the first call within it that diverges is {found.layer!r}: "
            told += found.sentence.partition(": ")[2]
            return replace(report, findings=found.findings, diagnosis=(told, *found.diagnosis))
    told = "each call within it agrees on its own inputs: the difference accumulates over the calls"
    return replace(report, diagnosis=(told,))


def _again(capture: Capture, options: Options) -> Report:
    """The same call judged anew, with all that it gives kept."""
    return judge(capture, options=replace(options, sparing=False))


def weighed(
    capture: Capture, yours: Yours | None = None, options: Options = _AS_USUAL
) -> Judgement:
    """A captured call recomputed and every party compared, with no word said of it yet."""
    with bounded(capture):
        return _weighed(capture, yours, options)


def _weighed(capture: Capture, yours: Yours | None, options: Options) -> Judgement:
    mine = None if yours is None else _outputs(yours, capture)
    notes = (*capture.notes, *(() if mine is None else mine.notes))
    layer, why = _computed(capture)
    if layer is None:
        outputs = {"framework": capture.outputs} | (
            {} if mine is None else {"expected": mine.outputs}
        )
        missing = dict.fromkeys(("numpy", "onnx"), why)
        comparisons = pairs(outputs, {}, {}, options.tolerance)
        return Judgement(
            capture,
            outputs,
            missing,
            comparisons=comparisons,
            tolerant=options.tolerance is not None,
            notes=notes,
        )
    answer, absent = onnx_answer(capture, layer, options.threads)
    results, between = engines(capture, layer, answer, options.sparing)
    if yours is not None and mine is not None:
        results["expected"] = _user(yours, mine, capture, layer, results["framework"])
    outputs = {"numpy": tuple(layer.values[-1])} | {
        name: result.party.outputs for name, result in results.items()
    }
    comparisons = pairs(outputs, results, between, options.tolerance)
    agree = all(comparisons.values())
    if options.tolerance is None and not agree:
        comparisons = {
            pair: certainty(results[pair[pair[0] == "numpy"]], one, capture.dtype)
            if "numpy" in pair
            else one
            for pair, one in comparisons.items()
        }
    for result in results.values():
        notes += result.notes
    if capture.by_onnxruntime and "onnx" in outputs:
        notes += (_ONE_ENGINE,)
    return Judgement(
        capture,
        outputs,
        {"onnx": absent} if absent else {},
        layer,
        results,
        comparisons,
        power=powers(results, capture, options.tolerance) if agree else {},
        unusual=Unusual() if agree else _unusual(layer),
        within=_within(capture, options),
        tolerant=options.tolerance is not None,
        notes=(*dict.fromkeys(notes), *flips(results, capture.dtype)),
    )


_ONE_ENGINE = (
    "ONNX Runtime is two of the parties: as the framework it ran the model, and it computed this "
    "layer alone once more; only NumPy is independent of it"
)


def _within(capture: Capture, options: Options) -> dict[str, Judgement]:
    """The calls within a composed layer whose whole numbers it takes as they were captured."""
    if capture.description is None:
        return {}
    pinned = {one.call for one in capture.description.taken if not one.why and one.call >= 0}
    if not pinned:
        return {}
    alone = replace(options, tolerance=None, detail=False, search=None, sparing=False)
    calls = [capture.parts[place].capture for place in sorted(pinned)]
    return {one.layer: weighed(one, None, alone) for one in calls}


def _computed(capture: Capture) -> tuple[Reference | None, str]:
    """The layer in NumPy, or why there is none. A fault of ours does not end a sweep; one of the
    user's own function does."""
    if capture.description is None:
        return None, capture.why
    steps = capture.description.steps
    try:
        return recomputed_call(capture), ""
    except ProbeError:
        raise
    except Exception as error:
        if any(isinstance(step.op, Recomputed) for step in steps):
            raise
        return None, our_fault(error, "internal error in the NumPy computation")


@dataclass(frozen=True, eq=False)
class _Given:
    """The user's values as outputs of the layer."""

    outputs: Arrays
    digits: np.ndarray | float = 0.0
    """How far those of the first output may be off by the digits they are written with."""
    known: np.ndarray | None = None
    """Where values were given, where not everywhere."""
    notes: tuple[str, ...] = ()


def _outputs(yours: Yours, capture: Capture) -> _Given:
    values, count = yours.values, len(capture.outputs)
    shape = capture.outputs[0].shape if capture.outputs else ()
    if isinstance(values, Partial):
        whole = values.spread(shape)
        note = (
            f"you gave {int(whole.known.sum())} of the output's {whole.known.size} values; the "
            "others are not compared"
        )
        notes = tuple(filter(None, (note, whole.read, _few_digits(values.values, values.slack))))
        return _Given(as_outputs(whole.values, count), whole.slack, whole.known, notes)
    if not isinstance(values, Unshaped):
        return _Given(as_outputs(values, count))
    digits = tuple(filter(None, (_few_digits(values.values, values.slack),)))
    if values.values.size != capture.outputs[0].size:
        return _Given(
            as_outputs(values, count), float(np.max(values.slack, initial=0.0)), notes=digits
        )
    note = (
        f"your file has no shape; its {values.values.size} values are read in row-major "
        f"(C) order as {shape}"
    )
    slack = np.broadcast_to(values.slack, values.values.shape).reshape(shape)
    return _Given(as_outputs(values.values.reshape(shape), count), slack, notes=(note, *digits))


_MANY_DIGITS = 2.0**-25
"""Of the largest value: what float32 leaves out of it."""


def _few_digits(values: np.ndarray, slack: np.ndarray | float) -> str:
    """What is said of values that a text holds in fewer digits than float32 has."""
    most = float(np.max(slack, initial=0.0))
    largest = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
    if most <= _MANY_DIGITS * largest:
        return ""
    return (
        f"your values are written with few digits; the allowance includes up to {most:.2g} for the "
        "digits left out"
    )


def _user(
    yours: Yours, mine: _Given, capture: Capture, layer: Reference, framework: PartyResult
) -> PartyResult:
    """The user's values, held against NumPy on the inputs that they were computed from.

    What would explain them leaves them in doubt only where the framework needs it, too.
    """
    notes: tuple[str, ...] = ()
    if yours.inputs is not None and capture.description is not None:
        layer = recomputed_call(capture, yours.inputs)
        layer.bound(capture.dtype)
        notes = ("your output is compared with NumPy run on your own values of the layer's input",)
    result = user(
        mine.outputs,
        layer,
        capture.dtype,
        drift=yours.drift,
        digits=mine.digits,
        known=mine.known,
    )
    doubt = result.doubt
    if doubt and not (framework.allowed.lossy or framework.doubt):
        result = replace(result, doubt="", notes=(*result.notes, doubt))
    return replace(result, notes=(*notes, *result.notes))


def _unusual(layer: Reference) -> Unusual:
    call = (layer.steps, layer.inputs, layer.values)
    largest, products = magnitudes(*call)
    return Unusual(known_differences(*call), touched(*call), largest, products)
