"""One captured call, judged: every party's output, every pair against the allowance, and the
verdict in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np

from probe.capture.user_arrays import Partial, Unshaped, as_outputs
from probe.comparison.compare import PARTIES, Comparison
from probe.errors import our_fault
from probe.evaluation.allowance import smallest_visible_change
from probe.evaluation.propagated_error import Drift
from probe.evaluation.reference import Reference, recomputed
from probe.model import Capture
from probe.numerics.dtypes import in_floats
from probe.numerics.precision import Precision, precision_of
from probe.ops import Recomputed
from probe.ops.step import weights_of
from probe.ops.weight import Weight
from probe.report import Outputs, Report
from probe.verdict.blind_spots import blind_spots
from probe.verdict.discontinuities import flipped, quantises
from probe.verdict.engine_differences import known_differences, reach, touched
from probe.verdict.evidence import NAMES, Arrays, Evidence, Pair
from probe.verdict.lazy_outputs import OnDemand
from probe.verdict.pairwise import pairs
from probe.verdict.parties import admit, ask, certainty, first_look
from probe.verdict.sentence import powers, verdict_on

__all__ = ["judge"]


def judge(
    capture: Capture,
    expected: Any = None,
    drift: Drift | None = None,
    tolerance: tuple[float, float] | None = None,
    own_inputs: Sequence[np.ndarray] | None = None,
    detail: bool = False,
    search: Mapping[str, Any] | None = None,
    threads: int = 0,
    sparing: bool = False,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> Report:
    """Recomputes a captured call, asks every party, and compares them.

    ``drift`` widens the allowance of ``expected`` by what the user's own layers before may have
    done; with ``own_inputs``, the inputs that ``expected`` was computed from, ``expected`` is held
    against NumPy on those instead. ``detail`` adds what the check could and could not have seen;
    with ``search`` (options of ``probe.diagnosis.diagnose.diagnose``) the mistake is looked for
    where parties diverge. ``threads`` are what ONNX Runtime may use (0: its own choice);
    ``sparing`` does, for a layer in which all agree, without squares that it can do without, and
    without keeping what others than the framework gave. ``about`` is what the report says of the
    run besides.
    """
    evidence = Evidence(notes=list(capture.notes), threads=threads, sparing=sparing)
    evidence.outputs["framework"] = capture.outputs
    seen, given = capture.inputs, in_floats(capture.inputs, capture.outputs)
    capture = (
        capture
        if all(one is other for one, other in zip(seen, given, strict=True))
        else replace(capture, inputs=given)
    )
    mine, digits = _yours(expected, capture, evidence)
    described, (ours, why) = capture.description, _computed(capture)
    if described is None or ours is None:
        evidence.missing |= dict.fromkeys(("numpy", "onnx"), why)
        if mine is not None:
            evidence.outputs["expected"] = mine
        comparisons = pairs(evidence, tolerance, None)
        verdict, sentence = verdict_on(capture, evidence, comparisons)
        if detail:
            _ask_exporter(capture, evidence)
        return _report(
            capture, evidence, comparisons, verdict=verdict, sentence=sentence, inputs=seen, **about
        )
    apart = mine is not None and own_inputs is not None
    theirs = recomputed(described.steps, own_inputs) if own_inputs is not None and apart else ours
    ask(evidence, capture, ours)
    if apart:
        theirs.bound(capture.dtype)
        evidence.notes.append(
            "yours is held against NumPy on the inputs that yours was computed "
            "from: your values of the layers before"
        )
    if mine is not None:
        admit(evidence, capture, theirs, mine, drift, digits)
    comparisons = pairs(evidence, tolerance, theirs.values[-1] if apart else None)
    if tolerance is None and not all(comparisons.values()):
        comparisons = {
            pair: certainty(pair, one, capture, ours, theirs) for pair, one in comparisons.items()
        }
    if quantises(ours.steps):
        _count_flips(evidence, ours, theirs, precision_of(capture.dtype))
    if not all(comparisons.values()):
        evidence.differences = known_differences(ours.steps, ours.inputs, ours.values)
        evidence.touched = touched(ours.steps, ours.inputs, ours.values)
        evidence.reach = reach(ours.steps, ours.inputs, ours.values)
    if all(comparisons.values()):
        references = {
            party: tuple((theirs if party == "expected" else ours).values[-1])
            for party in PARTIES
            if party in evidence.allowed
        }
        evidence.power = powers(evidence, capture, references, tolerance)
    verdict, sentence = verdict_on(capture, evidence, comparisons)
    found: dict[str, Any] = {}
    precision = evidence.precision.get("framework", first_look(ours.steps, capture.dtype))
    if search is not None and verdict == "diverge":
        found |= _mistakes(
            capture, evidence, comparisons, ours, theirs, tolerance, search, precision
        )
    if detail and verdict == "agree":
        found["blind"] = blind_spots(ours.steps, ours.inputs, ours.values)
        found["visible"] = smallest_visible_change(ours.steps, ours.inputs, ours.values, precision)
    weights = {
        name: _kept(weight) if detail else weight
        for name, weight in weights_of(described.steps).items()
    }
    found |= {
        "weights": weights,
        "ops": _told(ours),
        "input_axes": described.input_axes,
        "output_axes": described.output_axes,
    }
    found["output_names"] = described.output_names
    if sparing and verdict == "agree":
        found["outputs"] = OnDemand(
            capture, partial(judge, threads=threads), tuple(_given(evidence))
        )
    return _report(
        capture,
        evidence,
        comparisons,
        verdict=verdict,
        sentence=sentence,
        inputs=seen,
        **found,
        **about,
    )


def _computed(capture: Capture) -> tuple[Reference | None, str]:
    """The layer in NumPy, or why there is none. A fault of ours does not end a sweep; one of the
    user's own function does."""
    if capture.description is None:
        return None, capture.why
    steps = capture.description.steps
    try:
        return recomputed(steps, capture.inputs), ""
    except Exception as error:
        if any(isinstance(step.op, Recomputed) for step in steps):
            raise
        return None, our_fault(error, "it cannot be computed in NumPy")


def _mistakes(
    capture: Capture,
    evidence: Evidence,
    comparisons: Mapping[Pair, Comparison],
    ours: Reference,
    theirs: Reference,
    tolerance: tuple[float, float] | None,
    search: Mapping[str, Any],
    precision: Precision,
) -> dict[str, Any]:
    """What the report says of the mistake behind a divergence; booleans tell too little to look for
    one."""
    if any(value.dtype.kind == "b" for value in ours.values[-1]):
        return {}
    references = {"framework": (ours.values, ours.given), "expected": (theirs.values, theirs.given)}
    # only now: a healthy check pays nothing for it
    find = import_module("probe.diagnosis.outputs").of_parties
    diagnosis = find(
        capture.description, evidence, comparisons, references, precision, tolerance, search
    )
    return (
        {} if diagnosis is None else {"findings": diagnosis.findings, "diagnosis": diagnosis.words}
    )


def _ask_exporter(capture: Capture, evidence: Evidence) -> None:
    """What the framework's own exporter makes of a layer that has no description, to be told and
    not to be judged by."""
    found, words = import_module("probe.evaluation.framework_export").by_exporter(capture)
    if found is not None:
        evidence.outputs["onnx"] = found
        del evidence.missing["onnx"]
    if words:
        evidence.notes.append(words)


def _yours(expected: Any, capture: Capture, evidence: Evidence) -> tuple[Arrays | None, float]:
    """The user's values as outputs of the layer, and how far they may be off by the digits they
    were typed with."""
    digits, shape = 0.0, capture.outputs[0].shape if capture.outputs else ()
    if isinstance(expected, Unshaped) and expected.values.size == capture.outputs[0].size:
        evidence.notes.append(
            f"your file holds no shape: its {expected.values.size} numbers are "
            f"read in row-major order as {shape}"
        )
        expected = expected.values.reshape(shape)
    if isinstance(expected, Partial):
        digits = expected.slack
        expected, evidence.known = expected.spread(shape)
        evidence.notes.append(
            f"you gave {int(evidence.known.sum())} of {evidence.known.size} "
            "values; the others are not compared"
        )
    return None if expected is None else as_outputs(expected, len(capture.outputs)), digits


def _count_flips(
    evidence: Evidence, ours: Reference, theirs: Reference, precision: Precision
) -> None:
    for party, reference in (("framework", ours), ("onnx", ours), ("expected", theirs)):
        if party not in evidence.outputs or (party == "expected" and evidence.known is not None):
            continue
        count = flipped(
            reference.values[-1], evidence.outputs[party], evidence.allowed[party], precision
        )
        if count:
            evidence.notes.append(
                f"boundary-flip: {count} of {sum(one.size for one in reference.values[-1])} "
                f"values of {NAMES[party]} lie another level "
                "than NumPy's, where the quantiser's input is within rounding of a threshold: no "
                "divergence by itself"
            )


def _report(
    capture: Capture, evidence: Evidence, comparisons: Mapping[Pair, Comparison], **found: Any
) -> Report:
    return Report(
        layer=capture.layer,
        kind=capture.kind,
        call=capture.call,
        missing=evidence.missing,
        comparisons=comparisons,
        dtype=capture.dtype,
        notes=tuple(evidence.notes),
        **{"weights": {}, "outputs": _given(evidence), **found},
    )


def _given(evidence: Evidence) -> dict[str, Outputs]:
    """What each party gave, in the order of PARTIES."""
    return {
        party: _single(evidence.outputs[party]) for party in PARTIES if party in evidence.outputs
    }


def _kept(weight: Weight) -> Weight:
    """A weight that stays as it was when the model goes on to be trained: adapters hand out
    views."""
    effective = weight.effective.copy()
    stored = (
        effective
        if weight.stored is weight.effective
        else None
        if weight.stored is None
        else weight.stored.copy()
    )
    return replace(
        weight,
        stored=stored,
        effective=effective,
        parts={name: part.copy() for name, part in weight.parts.items()},
    )


def _told(ours: Reference) -> tuple[str, ...]:
    """Each step by its op's name, and in words where there is more to say."""
    told = []
    for position, step in enumerate(ours.steps):
        words = step.op.summary(ours.taken(position))
        told.append(type(step.op).__name__ + (f": {words}" if words else ""))
    return tuple(told)


def _single(arrays: Arrays) -> Outputs:
    return arrays[0] if len(arrays) == 1 and arrays[0] is not None else arrays
