"""The report of a judged call, put together by names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from probe.comparison.compare import PARTIES
from probe.evaluation.allowance import smallest_visible_change
from probe.evaluation.party import Arrays
from probe.evaluation.reference import Reference
from probe.model import CallOutput, Capture
from probe.numerics.precision import Precision
from probe.ops.step import Step, weight_fields
from probe.ops.weight import Weight, numbered
from probe.report import ComparedWith, Finding, Outputs, Report
from probe.report.by_name import ByName
from probe.report.parameters import numbers_of, parameters_of
from probe.verdict.blind_spots import blind_spots
from probe.verdict.judgement import Judgement
from probe.verdict.lazy_outputs import OnDemand
from probe.verdict.options import Options
from probe.verdict.sentence import Verdict
from probe.verdict.weight_part import sensitivity

if TYPE_CHECKING:
    from probe.diagnosis.diagnose import Diagnosis

__all__ = ["reported"]


def reported(
    call: Judgement, verdict: Verdict, options: Options, again: Callable[[Capture], Report]
) -> Report:
    """The report of a call; ``again`` judges it anew for an output that was not kept."""
    outputs = ByName(_given(call.outputs))
    report = partial(
        Report,
        layer=call.capture.layer,
        alias=call.capture.alias,
        kind=call.capture.kind,
        call=call.capture.call,
        verdict=verdict.word,
        sentence=verdict.sentence,
        missing=call.missing,
        comparisons=call.comparisons,
        inputs=call.capture.inputs,
        dtype=call.capture.dtype,
        notes=(*call.notes, *verdict.notes),
        source=options.origin.source,
        framework=options.origin.framework,
        how=options.origin.how,
        input_grids=call.capture.input_grids,
        output_grids=call.capture.output_grids,
    )
    described, layer = call.capture.description, call.layer
    if described is None or layer is None:
        undescribed = report(
            outputs=outputs, weights=ByName(), findings=_called_again(call, options)
        )
        if options.detail:
            return _with_exporter(undescribed, call)
        return undescribed
    agree = verdict.word == "agree"
    mistake = _mistake(call, options) if verdict.word == "diverge" else None
    tied = mistake is not None and any(finding.tie for finding in mistake.findings)
    sharp = options.detail and agree and options.tolerance is None and not layer.composed
    computed = layer.steps, layer.inputs, layer.values
    visible = smallest_visible_change(*computed, _precision(call)) if sharp else None
    kept = OnDemand(call.capture, again, tuple(outputs)) if options.sparing and agree else outputs
    return report(
        outputs=kept,
        weights=_weights(described.steps, options.detail),
        ops=_ops(layer),
        calls=tuple(site.call for site in described.sites),
        parameters=tuple(map(parameters_of, [step.op for step in layer.steps])),
        numbers=numbers_of(layer.steps) if any(call.capture.output_grids) else {},
        input_axes=described.input_axes,
        output_axes=described.output_axes,
        output_names=described.output_names,
        known=_known(call),
        blind=blind_spots(*computed) if options.detail and (agree or tied) else (),
        visible=None if visible is None else visible.change,
        sensitivity=sensitivity(*computed, visible) if sharp else None,
        findings=() if mistake is None else mistake.findings,
        diagnosis=() if mistake is None else mistake.words,
        ask="" if mistake is None else mistake.ask,
        held=_held(call, options) if options.detail else {},
    )


def _known(call: Judgement) -> np.ndarray | None:
    """Which of the values that were given are known."""
    yours = call.results.get("expected")
    return yours.party.known if yours is not None else None


def _weights(steps: tuple[Step, ...], copied: bool) -> ByName[Weight]:
    weights = numbered(weight for step in steps for weight in weight_fields(step.op).values())
    return ByName((name, _kept(weight) if copied else weight) for name, weight in weights.items())


def _held(call: Judgement, options: Options) -> dict[str, ComparedWith]:
    """What each party was compared with, by its allowance or the user's tolerance."""
    if options.tolerance is None:
        return {
            name: ComparedWith(result.reference, result.allowance)
            for name, result in call.results.items()
        }
    rtol, atol = options.tolerance
    return {
        name: ComparedWith(
            result.party.values, tuple(atol + rtol * np.abs(y) for y in result.party.values)
        )
        for name, result in call.results.items()
    }


def _precision(call: Judgement) -> Precision:
    """What the layer computes in, the sigmoid of no engine put in the place of the exact one."""
    return replace(call.results["framework"].allowed.precision, sketches=False)


def _mistake(call: Judgement, options: Options) -> "Diagnosis | None":
    """The mistake behind a divergence; booleans tell too little to look for one."""
    layer, search = call.layer, options.search
    if (
        search is None
        or layer is None
        or any(value.dtype.kind == "b" for value in layer.values[-1])
    ):
        return None
    # only now: a healthy check pays nothing for it
    find = import_module("probe.diagnosis.outputs").of_parties
    described = call.capture.description
    found: Diagnosis | None = find(
        call.capture,
        call.results,
        call.comparisons,
        _precision(call),
        options.tolerance,
        thorough=search.thorough,
        progress=search.progress,
        road=search.road,
        held={
            "others": search.others,
            "tensors": search.tensors,
            "kernels": (described and described.kernels) or dict,
            "layer": call.capture.layer,
        },
    )
    return found


def _called_again(call: Judgement, options: Options) -> tuple[Finding, ...]:
    """The arguments with which the framework's own function gives yours, where it has no
    description; of a module that function which gives its output."""
    again, kind = call.capture.again, call.capture.kind
    results = {(CallOutput(*part.capture.key, 0),): part.capture for part in call.capture.parts}
    if again is None and call.capture.results in results:
        again, kind = results[call.capture.results].again, results[call.capture.results].kind
    yours = next(iter(call.outputs.get("expected", ())), None)
    given = next(iter(call.outputs.get("framework", ())), None)
    if options.search is None or again is None or yours is None or given is None:
        return ()
    find = import_module("probe.diagnosis.called_again").called_again
    found: tuple[Finding, ...] = find(kind, again.variants(), given, np.asarray(yours))
    return found


def _with_exporter(report: Report, call: Judgement) -> Report:
    """What the framework's own exporter makes of a layer that has no description, to be told and
    not to be judged by."""
    exported, words = import_module("probe.evaluation.framework_export").by_exporter(call.capture)
    if words:
        report = replace(report, notes=(*report.notes, words))
    if exported is None:
        return report
    missing = {party: why for party, why in call.missing.items() if party != "onnx"}
    return replace(report, outputs=_given({**call.outputs, "onnx": exported}), missing=missing)


def _given(outputs: Mapping[str, Arrays]) -> dict[str, Outputs]:
    """What each party gave, in the order of PARTIES."""
    return {party: _single(outputs[party]) for party in PARTIES if party in outputs}


def _single(arrays: Arrays) -> Outputs:
    if len(arrays) == 1 and arrays[0] is not None:
        return arrays[0]
    return arrays


def _kept(weight: Weight) -> Weight:
    """A weight that stays as it was when the model goes on to be trained: adapters hand out
    views."""
    effective = weight.effective.copy()
    stored: np.ndarray | None = effective
    if weight.stored is not weight.effective:
        stored = None if weight.stored is None else weight.stored.copy()
    return replace(
        weight,
        stored=stored,
        effective=effective,
        parts={name: part.copy() for name, part in weight.parts.items()},
    )


def _ops(layer: Reference) -> tuple[str, ...]:
    """Each step by its op's name, and in words where there is more to say."""
    lines = []
    for position, step in enumerate(layer.steps):
        words = step.op.summary(layer.taken(position))
        lines.append(type(step.op).__name__ + (f": {words}" if words else ""))
    return tuple(lines)
