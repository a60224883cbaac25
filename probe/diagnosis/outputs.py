"""Whose values are diagnosed, and which of a layer's outputs: the way from a judged call to the
engine and back."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from probe.comparison.compare import Comparison
from probe.description.description import Description, Site
from probe.diagnosis.diagnose import Diagnosis, diagnose
from probe.diagnosis.opened import Searched, searched
from probe.diagnosis.readings import ALIKE, readings
from probe.diagnosis.search import Progress
from probe.evaluation.party import PartyResult
from probe.evaluation.propagated_error import Road
from probe.hypotheses.edits.regrouped_steps import as_last_step
from probe.model import Capture
from probe.numerics.precision import Precision
from probe.ops import Outputs
from probe.trial.case import Case, of_output
from probe.trial.edit import Edit
from probe.trial.fit import RoundingAllowance, as_healthy, left

__all__ = ["of_parties"]

_OF_LAYER, _BEFORE = 0.75, 0.25
"""The shares of the budget for the layer and for what is before it, where both can be wrong."""
_AS_GIVEN, _OF_READING = 0.3, 0.6
"""The share for values of another shape than the output, and the share that each way to read them
has of what is left then, the likeliest first."""
_LARGE = 1 << 20
"""Elements of all arrays before a layer from which on nothing is looked for there."""


class DifferingOutput(NamedTuple):
    """An output that differs, and what it may be off by."""

    case: Case
    rounding: RoundingAllowance
    allowed: np.ndarray | None
    """What the healthy layer is allowed in all."""
    road: Case | None
    """The same output, of the steps from the model's input on: the layer is the last of them."""


def of_parties(
    capture: Capture,
    results: Mapping[str, PartyResult],
    comparisons: Mapping[tuple[str, str], Comparison],
    precision: Precision,
    tolerance: tuple[float, float] | None,
    *,
    thorough: bool = False,
    progress: Progress | None = None,
    road: Road | None = None,
    held: Mapping[str, Any] = MappingProxyType({}),
) -> Diagnosis | None:
    """The diagnosis of yours, or else of the framework's outputs, where they differ from NumPy's.

    ``road`` is the way by which yours came from the model's input; ``held`` is what else a case of
    the layer holds: its name, and the parameters of others.
    """
    assert capture.description is not None
    with np.errstate(all="ignore"):
        for party, pair in (
            ("expected", ("numpy", "expected")),
            ("framework", ("framework", "numpy")),
        ):
            comparison = comparisons.get(pair)
            if comparison is None or comparison.ok:
                continue
            rounding = RoundingAllowance(precision, None, tolerance)
            way = road if party == "expected" else None
            options: dict[str, Any] = {"certain": comparison.certain, "party": party}
            options |= {"thorough": thorough, "progress": progress}
            found: Diagnosis | None = None
            for block in searched(capture, results[party].party.layer):
                cases = _cases(block, results[party], rounding, way, held)
                if cases:
                    diagnosis = _of_outputs(cases, capture.description, options)
                    if any(finding.left <= 1 for finding in diagnosis.findings):
                        return diagnosis
                    found = found or diagnosis
            if found is not None:
                return found
        return None


def _cases(
    block: Searched,
    result: PartyResult,
    rounding: RoundingAllowance,
    road: Road | None,
    held: Mapping[str, Any],
) -> dict[int, DifferingOutput]:
    """The outputs of a party that differ, by their numbers."""
    capture, layer, more = block
    described, steps, values = capture.description, tuple(layer.steps), layer.values
    assert described is not None
    inputs = tuple(layer.raw_inputs)
    cases: dict[int, DifferingOutput] = {}
    for output, observed in enumerate(result.party.outputs):
        if observed is None or output >= len(values[-1]):
            continue
        known = result.party.known if not output else None
        seen = np.asarray(observed, np.float64)
        case = replace(
            of_output(steps, inputs, values, output, seen, known),
            output_axes=described.output_axes if not output else (),
            calls=tuple(site.call for site in described.sites),
            sites=_by_call(described),
            input_names=capture.names_of_inputs(len(inputs)),
            **held,
        )
        allowed = None
        if rounding.tolerance is None:
            allowed = result.allowance[output] + more[output]
        drawn = result.party.bounds.drawn
        mine = replace(rounding, composed=result.allowance[output] if drawn else None)
        slack = mine.of(case.edit(""), case.values) if allowed is None else allowed
        if not case.comparable or left(case, case.healthy, slack) > 1:
            cases[output] = DifferingOutput(case, mine, allowed, _road_of(case, road, output))
    return cases


def _by_call(described: Description) -> dict[str, Site]:
    return {site.call: site for site in reversed(described.sites)}


def _road_of(case: Case, road: Road | None, output: int) -> Case | None:
    """The steps before a layer as a case of their own, with the layer as the last step."""
    if road is None or not case.comparable:
        return None
    layer, sites = road.layer, road.description.sites
    whole = of_output(
        tuple(layer.steps), tuple(layer.raw_inputs), layer.values, output, case.observed, case.known
    )
    calls = tuple(site.call for site in sites)
    sites_of_calls = _by_call(road.description)
    before = as_last_step(replace(whole, calls=calls, sites=sites_of_calls), road.own, "the layer")
    size = sum(y.size for made in before.values for y in made)
    alike = before.healthy.shape == case.healthy.shape
    if alike and 1 < len(before.steps) and size < _LARGE:
        return before
    return None


def _of_outputs(
    cases: Mapping[int, DifferingOutput], described: Description, options: Mapping[str, Any]
) -> Diagnosis:
    """The diagnosis of the first output that differs, held against the others; those that it does
    not explain get their own, which take together as much as the first may."""
    first, *others = cases
    diagnoses = _diagnosed(cases[first], options)
    if not others:
        if not first:
            return diagnoses
        return _said_of(diagnoses, _output_name(described, first))
    agreeing = [
        [_gives(edit, first, output, cases[output]) for output in others]
        for edit in diagnoses.edits
    ]
    if diagnoses.edits and any(all(agreement) for agreement in agreeing):
        kept = [position for position, agreement in enumerate(agreeing) if all(agreement)]
        names = ", ".join(_output_name(described, output) for output in cases)
        findings = tuple(
            replace(diagnoses.findings[position], tie=len(kept) > 1) for position in kept
        )
        return replace(
            diagnoses,
            findings=findings,
            words=(f"this mistake explains all outputs that differ: {names}", *diagnoses.words),
        )
    parts = [_said_of(diagnoses, _output_name(described, first))]
    for output in others:
        own = _diagnosed(cases[output], options, 1 / len(others))
        parts.append(_said_of(own, _output_name(described, output)))
    return Diagnosis(
        tuple(finding for part in parts for finding in part.findings),
        tuple(word for part in parts for word in part.words),
    )


def _diagnosed(
    differing: DifferingOutput, options: Mapping[str, Any], part: float = 1.0
) -> Diagnosis:
    """Of the values as they are; where nothing gives those, of them as they may be meant. At length
    only where what is tried in any case does not settle it. All of it takes a ``part`` of what a
    search may."""
    if options["thorough"]:
        plain = _diagnosed(differing, {**options, "thorough": False}, part)
        if plain.settled:
            return plain
    case, rounding, allowed, road = differing
    ways = readings(case)
    share = 1.0 if road is None else _OF_LAYER
    if ways:
        share = _AS_GIVEN
    diagnosis = diagnose(case, rounding, allowed=allowed, share=part * share, **options)
    if diagnosis.edits:
        return diagnosis
    if road is not None and (earlier := _before(road, rounding, allowed, options, part)).edits:
        return earlier
    likely: Diagnosis | None = None
    explained = list[Diagnosis]()
    rest = part - diagnosis.spent
    for reading in ways:
        share = _OF_READING * max(0.0, rest)
        again = diagnose(reading.case, rounding, allowed=allowed, share=share, **options)
        rest -= again.spent
        read = replace(again, words=(reading.words, *again.words), edits=())
        if again.edits:
            explained.append(read)
        if _mistakes(again) == 1:
            break
        if likely is None and reading.likeness > ALIKE:
            likely = read
    if explained:
        return min(explained, key=_mistakes)
    if likely is None or diagnosis.findings:
        return diagnosis
    return likely


def _mistakes(diagnosis: Diagnosis) -> int:
    """How many mistakes it takes to reproduce the values; 0 where nothing does."""
    exact = [finding for finding in diagnosis.findings if finding.left <= 1]
    return min((1 + len(finding.also) for finding in exact), default=0)


def _before(
    road: Case,
    rounding: RoundingAllowance,
    allowed: np.ndarray | None,
    options: Mapping[str, Any],
    part: float,
) -> Diagnosis:
    """The diagnosis of the steps before the layer."""
    rounding = replace(rounding, extra=None, composed=allowed)
    found = diagnose(road, rounding, allowed=allowed, share=part * _BEFORE, **options)
    findings = (
        replace(finding, claim=f"before this layer: {finding.claim}") for finding in found.findings
    )
    return replace(found, findings=tuple(findings))


def _output_name(described: Description, output: int) -> str:
    if output < len(described.output_names):
        return described.output_names[output]
    return f"output {output}"


def _said_of(diagnosis: Diagnosis, name: str) -> Diagnosis:
    """The same, with the output's name before each sentence."""
    findings = tuple(
        replace(finding, claim=f"{name}: {finding.claim}") for finding in diagnosis.findings
    )
    return replace(
        diagnosis, findings=findings, words=tuple(f"{name}: {word}" for word in diagnosis.words)
    )


def _gives(edit: Edit, first: int, output: int, differing: DifferingOutput) -> bool:
    """Whether an edit made for one output reproduces what was observed of another."""
    case, rounding, allowed, _ = differing
    last = len(edit.steps) - 1
    (ref,) = edit.steps[last].sources(last)
    if not isinstance(edit.steps[last].op, Outputs) or ref.index != first:
        return False
    moved = replace(
        edit,
        steps=(*edit.steps[:last], replace(edit.steps[last], inputs=(replace(ref, index=output),))),
    )
    values = case.evaluator.everywhere(moved)
    if values is None or np.shape(values[-1][0]) != case.observed.shape:
        return False
    predicted = np.asarray(values[-1][0])
    if edit.as_healthy and rounding.tolerance is None:
        healthy = rounding.of(case.edit(""), case.values) if allowed is None else allowed
        return left(case, predicted, as_healthy(case, healthy, predicted)) <= 1
    rounding = rounding if allowed is None else rounding.beside(case, allowed)
    return left(case, predicted, rounding.of(moved, values, case.observed)) <= 1
