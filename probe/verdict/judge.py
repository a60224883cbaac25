"""One captured call, judged: every party's output, every pair against the allowance, and the
verdict in a sentence."""

from dataclasses import replace
from functools import partial

from probe import printable
from probe.errors import ProbeError
from probe.evaluation.party import Arrays
from probe.evaluation.reference import Reference, bounded, failure, recomputed_call
from probe.model import CallOutput, Capture
from probe.ops import Recomputed
from probe.report import Report
from probe.verdict.detection_power import powers
from probe.verdict.discontinuities import flips
from probe.verdict.engine_differences import Unusual, unusual
from probe.verdict.judgement import Judgement
from probe.verdict.options import Options, Yours
from probe.verdict.overflow import constant_beyond
from probe.verdict.pairwise import equal, pairs
from probe.verdict.parties import engines, onnx_answer
from probe.verdict.reporting import reported
from probe.verdict.sentence import Verdict, verdict_on
from probe.verdict.user_values import held_against_numpy, outputs_of

__all__ = ["judge", "weighed"]

_AS_USUAL = Options()


def judge(capture: Capture, yours: Yours | None = None, options: Options = _AS_USUAL) -> Report:
    """Recomputes a captured call, asks every party, compares them, and says who is right."""
    call, again = weighed(capture, yours, options), partial(_again, options=options)
    verdict = verdict_on(call)
    if verdict.word == "diverge" and (
        why := _changed(capture) or constant_beyond(call) or _accumulated(call, options)
    ):
        verdict = Verdict("unchecked", f"unchecked: {why}", verdict.notes)
        return reported(call, verdict, replace(options, search=None), again)
    if verdict.word == "diverge" and options.search is not None and _composed_wrongly(call):
        report = reported(call, verdict, replace(options, search=None), again)
        return _answered_by_calls(report, capture, options)
    return reported(call, verdict, options, again)


_ACCUMULATED = (
    "each call within it agrees on its own inputs, and yet what the engines make of the whole "
    "differs by more than rounding should carry through it: check its calls one by one"
)


def _changed(capture: Capture) -> str:
    """That weights changed while the call was made or judged, in words; "" where none did."""
    calls = [capture, *(part.capture for part in capture.parts)]
    names = [name for call in calls if call.changed is not None for name in call.changed()]
    if not names:
        return ""
    return (
        f"its weights changed during the pass ({printable.several(dict.fromkeys(names))}), by "
        "another thread or the model's own code, so those that its output was computed with are "
        "not known"
    )


def _accumulated(call: Judgement, options: Options) -> str:
    """Why nothing is said of a container none of whose calls diverges by itself, and which gives
    what these gave, where the engines differ about the whole. Values of yours that are not the
    framework's differ all the same, and so does what exceeds tolerances of yours."""
    if call.layer is None or not call.layer.composed or options.tolerance is not None:
        return ""
    yours = call.comparisons.get(("framework", "expected"))
    engines = [
        comparison for pair, comparison in call.comparisons.items() if "expected" not in pair
    ]
    if (yours is not None and not yours.ok) or all(comparison.ok for comparison in engines):
        return ""
    alone = replace(options, detail=False, sparing=False, search=None)
    differs = not _made_by_its_calls(call.capture) or any(
        judge(part.capture, None, alone).verdict == "diverge" for part in call.capture.parts
    )
    if differs:
        return ""
    return _ACCUMULATED


def _made_by_its_calls(capture: Capture) -> bool:
    """Whether a container gives what calls within it gave, and nothing was put in its place."""
    arrays = {
        CallOutput(part.capture.layer, part.capture.call, k): array
        for part in capture.parts
        for k, array in enumerate(part.capture.outputs)
    }
    return len(capture.results) == len(capture.outputs) and all(
        isinstance(maker, CallOutput) and maker in arrays and equal((array,), (arrays[maker],))
        for maker, array in zip(capture.results, capture.outputs, strict=True)
    )


def _composed_wrongly(call: Judgement) -> bool:
    """Whether the framework's outputs of a container are other than its calls make them."""
    if call.layer is None or not call.layer.composed:
        return False
    pair = call.comparisons.get(("framework", "numpy"))
    inside = any(verdict_on(inner).word == "diverge" for inner in call.within.values())
    return inside or (pair is not None and not pair.ok)


def _answered_by_calls(report: Report, capture: Capture, options: Options) -> Report:
    """The report of a container with what is found of the first of its calls that diverges by
    itself."""
    alone = replace(options, tolerance=None, detail=False, sparing=False)
    for part in capture.parts:
        if judge(part.capture, None, replace(alone, search=None)).verdict == "diverge":
            diverging = judge(part.capture, None, alone)
            words = f"the first call within it that diverges is {diverging.layer!r}: "
            words += diverging.sentence.partition(": ")[2]
            return replace(
                report, findings=diverging.findings, diagnosis=(words, *diverging.diagnosis)
            )
    words = (
        "each call within it agrees on its own inputs: the difference accumulates over the calls"
    )
    return replace(report, diagnosis=(words,))


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
    mine, notes = None, capture.notes
    if yours is not None:
        mine = outputs_of(yours, capture)
        notes += mine.notes
    layer, why = _computed(capture)
    if layer is None:
        outputs: dict[str, Arrays] = {"framework": capture.outputs}
        if mine is not None:
            outputs["expected"] = mine.outputs
        missing = dict.fromkeys(("numpy", "onnx"), why)
        comparisons = pairs(outputs, {}, {}, options.tolerance, capture.dtype)
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
        results["expected"] = held_against_numpy(yours, mine, capture, results["framework"])
    outputs = {"numpy": tuple(layer.values[-1])} | {
        name: result.party.outputs for name, result in results.items()
    }
    comparisons = pairs(outputs, results, between, options.tolerance, capture.dtype)
    agree = all(comparison.ok for comparison in comparisons.values())
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
        unusual=Unusual() if agree else unusual(layer),
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
    pinned = {
        taken.call for taken in capture.description.taken if not taken.why and taken.call >= 0
    }
    if not pinned:
        return {}
    alone = replace(options, tolerance=None, detail=False, search=None, sparing=False)
    calls = [capture.parts[place].capture for place in sorted(pinned)]
    return {call.layer: weighed(call, None, alone) for call in calls}


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
        return None, failure(capture, error, "internal error in the NumPy computation")
