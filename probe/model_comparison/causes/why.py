"""Why a segment of B does not give what A has: what the descriptions differ in, proven by numbers,
or else the mistakes that give B's values from A's layers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from probe.diagnosis.diagnose import diagnose
from probe.errors import ProbeError, our_fault
from probe.evaluation.numpy_reference import recompute
from probe.model_comparison.causes.input_relations import of_input, same_numbers
from probe.model_comparison.causes.narrow_types import narrow_types
from probe.model_comparison.causes.own_mistakes import (
    kernels_of,
    of_another_kernel,
    of_reused_memory,
)
from probe.model_comparison.causes.reading import read, transplanted
from probe.model_comparison.causes.readings import other_readings
from probe.model_comparison.causes.surplus_steps import surplus_step
from probe.model_comparison.causes.weight_differences import Difference
from probe.model_comparison.causes.zero_points import of_zero_point
from probe.model_comparison.graphs.dequantizing import mismatches
from probe.model_comparison.graphs.graph import ModelGraph, Tensor
from probe.model_comparison.graphs.node_values import taken
from probe.model_comparison.graphs.normalization import FoldedNode
from probe.model_comparison.matching.paired import Paired
from probe.model_comparison.matching.segments import Joined, Segment, joined
from probe.model_comparison.matching.walk_state import WalkState
from probe.numerics.precision import precision_of
from probe.ops import Gather, Identity, Slice
from probe.ops.step import Step
from probe.report import Finding
from probe.trial.case import Case
from probe.trial.fit import RoundingAllowance
from probe.trial.refusals import refused
from probe.verdict.options import Search

__all__ = ["Reasons", "reasons", "reasons_alone"]


_ENDLESS = 1e30
"""A mask subtracts this or more."""
_NEAR = 1e-6


class Reasons:
    """What was found for one source."""

    def __init__(self, differences: list[Difference]) -> None:
        self.differences = differences
        self.findings: tuple[Finding, ...] = ()
        self.further: list[str] = []
        """Sentences besides those of the differences."""

    @property
    def notes(self) -> list[str]:
        notes = (difference.note for difference in self.differences if difference.note)
        return [*dict.fromkeys((*notes, *self.further))]


def reasons(
    segment: Segment, search: Search | str, walk: WalkState, inputs: Sequence[np.ndarray] = ()
) -> Reasons:
    """The differences that were read, the one that explains the numbers alone first; where none
    does, the causes that do. ``search`` says how these are searched for, or why they are not;
    ``inputs`` are A's."""
    paired, level = segment.paired, walk.level
    if segment.shared_reason is not None:
        name, of_a, of_b, words = segment.shared_reason
        return Reasons([Difference(name, of_a, of_b, note=words)])
    if paired.b.input is not None:
        return _of_input(paired, paired.b.value, "B's input", inputs)
    observed = paired.unforced
    if paired.a.tensor.input is not None and observed is not None:
        shown, perm = paired.b.shown  # as B has it, whatever was put in the place of its input
        own = shown.value.transpose(np.argsort(perm))
        return _of_input(paired, own, "what B makes of its input", inputs)
    result = Reasons(read(segment, level))
    result.further += mismatches(segment.b)
    if (finding := of_zero_point(segment)) is not None:
        result.findings = (finding,)
        result.differences = [
            difference for difference in result.differences if difference.name != "steps"
        ]
        return result
    if observed is None or paired.allowed is None or paired.a.columns:
        return _without_places(result)
    whole = joined(segment.a, paired.a.tensor)
    if whole is None:
        return _without_places(result)
    try:
        theirs = paired.way.to_a(observed)
        allowed = paired.way.to_a(np.broadcast_to(paired.allowed, observed.shape))
        values = recompute(whole.steps, whole.inputs)
    except Exception as error:
        refused(error)
        theirs, allowed, values = observed, None, None
    if values is None:
        return _without_places(result)
    if allowed is None or allowed.shape != values[-1][0].shape:
        allowed = None
    proven = [
        difference
        for difference in result.differences
        if _explains(difference, whole, theirs, allowed)
    ]
    if proven:
        return _proven(result, proven, segment, theirs)
    _without_places(result)
    if (finding := of_another_kernel(segment.a, theirs)) is not None:
        result.findings, result.differences = (finding,), []
        return result
    told = any(difference.certain for difference in result.differences)
    of_weights = [difference for difference in result.differences if difference.name != "steps"]
    noted = any(difference.note for difference in of_weights) or result.further
    if told or (level.name and noted):  # what is rounded besides hides the proof
        return result
    case = Case(whole.steps, whole.inputs, values, theirs.astype(np.float64))
    return _searched(result, segment, walk, case, allowed, search)


def _proven(
    result: Reasons, proven: list[Difference], segment: Segment, theirs: np.ndarray
) -> Reasons:
    """With the differences that give B's values first."""
    rest = [difference for difference in result.differences if difference not in proven]
    result.differences = proven + rest
    name = proven[0].name.partition("[")[0].removesuffix(" at ")
    result.further.append(f"A's layers with B's {name} give B's values")
    if name == "rounding" and of_another_kernel(segment.a, theirs) is not None:
        result.further.append("neither is wrong: both are roundings of TFLite")
    return result


def _searched(
    result: Reasons,
    segment: Segment,
    walk: WalkState,
    case: Case,
    allowed: np.ndarray | None,
    search: Search | str,
) -> Reasons:
    """With the mistakes that give B's values from A's layers, or else with elements that are read
    in the place of others, or a step that one side has more."""
    if allowed is not None:  # where a mask hides nothing in B, what hiding rounds is not allowed
        hidden = np.abs(case.healthy) > _ENDLESS
        allowed = np.where(hidden, np.minimum(allowed, _NEAR * np.abs(case.observed)), allowed)
    _find_causes(result, case, allowed, search)
    if any(finding.left <= 1 for finding in result.findings):
        return result
    found = [*other_readings(segment, walk)]
    if not found and any(difference.name == "steps" for difference in result.differences):
        found += surplus_step(segment, walk)
    result.differences[:0] = found
    return result


def _without_places(result: Reasons) -> Reasons:
    """Without places that are read of a tensor in another layout or of fused weights: where they
    are not proven by numbers, the other model has others and is right. And without options that
    change nothing here, such as how equal numbers are sorted."""
    result.differences = [
        difference
        for difference in result.differences
        if difference.node is None
        or difference.tensor is not None
        or not (isinstance(difference.node.op, Slice | Gather) or _changes_nothing(difference))
    ]
    return result


def _changes_nothing(difference: Difference) -> bool:
    """Whether A's op gives the same with B's option in it."""
    op, node = transplanted(difference), difference.node
    if op is None or node is None or node.op is None or isinstance(node, FoldedNode):
        return False
    inputs = [taken(node, x.value) for x in node.inputs]
    try:
        own, other = (each.run(*inputs) for each in (node.op, op))
    except Exception as error:
        refused(error)
        return False
    return len(own) == len(other) and all(map(np.array_equal, own, other))


def _of_input(
    paired: Paired, values: np.ndarray, name: str, inputs: Sequence[np.ndarray]
) -> Reasons:
    """How B's input follows from A's, or what B makes of it before its first layer."""
    result = Reasons([])
    source = paired.way.to_b(paired.a.tensor.value)
    if (finding := of_input(source, values, name, inputs)) is not None:
        result.findings = (finding,)
    elif source.shape != values.shape or not same_numbers(source, values):
        result.further.append(f"{name} has other values than A's")
    return result


def _find_causes(
    result: Reasons, case: Case, allowed: np.ndarray | None, search: Search | str
) -> None:
    """The mistakes that give the observed values, and what is to be said of the search."""
    if isinstance(search, str):
        result.further.append(search)
        return
    if case.healthy.dtype.kind != "f" or not case.seen.size:
        return
    rounding = RoundingAllowance(precision_of("float32"))
    try:
        diagnosis = diagnose(case, rounding, allowed=allowed, thorough=search.thorough)
    except ProbeError:
        raise
    except Exception as error:
        result.further.append(our_fault(error, "internal error in the search for the mistake"))
        return
    result.findings = diagnosis.findings
    result.further += diagnosis.searching


def reasons_alone(
    segment: Segment,
    model: ModelGraph,
    values: Mapping[Tensor, np.ndarray],
    search: Search | str,
) -> Reasons:
    """The same where one side is arrays alone: the mistakes that give these from the model's
    layers, or the tensors whose values they are."""
    result, paired = Reasons([]), segment.paired
    if (reused := of_reused_memory(segment, model)) is not None:
        result.findings = (reused,)
        return result
    whole = joined(segment.b, paired.b, values)
    if whole is None or paired.unforced is None or paired.allowed is None:
        return result
    theirs = np.asarray(paired.way.to_b(paired.a.tensor.value), np.float64)
    try:
        outputs = recompute(whole.steps, whole.inputs)
    except Exception as error:
        refused(error)
        return result
    if not isinstance(search, str):
        result.findings = _narrow(result, whole, outputs, theirs)
        if result.findings:
            return result
    if any(step.op.quantizes for step in whole.steps):  # codes are numbers to the search
        outputs = [tuple(np.asarray(y, np.float64) for y in each) for each in outputs]
    case, allowed = Case(whole.steps, whole.inputs, outputs, theirs), np.asarray(paired.allowed)
    kernels, tensors = kernels_of(segment.b)
    if tensors == whole.tensors:
        case = replace(case, kernels=kernels)
    _find_causes(result, case, allowed if allowed.shape == case.healthy.shape else None, search)
    return result


def _narrow(
    result: Reasons, whole: Joined, outputs: list[tuple[np.ndarray, ...]], theirs: np.ndarray
) -> tuple[Finding, ...]:
    """The type that is too narrow; an error of ours in the search for it ends no other search."""
    try:
        return narrow_types(whole.steps, outputs, whole.inputs, theirs)
    except ProbeError:
        raise
    except Exception as error:
        result.further.append(our_fault(error, "internal error in the search for narrow types"))
        return ()


def _explains(
    difference: Difference, whole: Joined, theirs: np.ndarray, allowed: np.ndarray | None
) -> bool:
    """Whether A's layers with B's field in them give what B's give."""
    changed = _changed(difference, whole)
    if changed is None:
        return False
    try:
        output = np.asarray(recompute(*changed)[-1][0])
    except Exception as error:
        refused(error)
        return False
    if output.shape != theirs.shape:
        return False
    slack = np.zeros(()) if allowed is None else allowed
    with np.errstate(invalid="ignore"):
        apart = np.abs(output - theirs)
    finite = np.isfinite(apart)
    return bool((apart <= 2 * slack + 1e-6 * np.abs(output))[finite].all()) and bool(finite.any())


def _changed(
    difference: Difference, whole: Joined
) -> tuple[Sequence[Step], Sequence[np.ndarray]] | None:
    """The steps with B's field in A's op, and what they take; None where it fits nowhere."""
    op, node = transplanted(difference), difference.node
    if node is None and difference.tensor in whole.tensors:
        place = whole.tensors.index(difference.tensor)
        theirs = np.asarray(difference.value).reshape(whole.inputs[place].shape)
        return whole.steps, (*whole.inputs[:place], theirs, *whole.inputs[place + 1 :])
    if op is None or node is None:
        return None
    parts = node.parts if isinstance(node, FoldedNode) else (node,)
    if not whole.places.keys() >= set(parts):
        return None
    steps = list(whole.steps)
    for part in parts:
        place = whole.places[part]
        steps[place] = replace(steps[place], op=op if part is parts[0] else Identity())
    return steps, whole.inputs
