"""One captured call, judged: every party's output, every pair against the allowance, and the verdict in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from importlib import import_module
from typing import Any

import numpy as np

from probe.blind import blind_spots
from probe.blocks import same_bits
from probe.compare import PARTIES, Comparison, compare, compare_three, identical
from probe.crosscheck import crosscheck
from probe.drift import Drift
from probe.errors import Undescribed
from probe.expected import Partial, Unshaped, as_outputs
from probe.layer import Step, Weight, weights_of
from probe.model import Capture
from probe.recompute import in_floats, overflown, recompute, widened
from probe.report import Outputs, Report
from probe.rounding import Precision, Values, allowances, precision_of, settle, smallest_visible_change, worst_case
from probe.verdict import Arrays, Evidence, Pair, verdict_on

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
) -> Report:
    """Recomputes a captured call, asks every party, and compares them.

    ``drift`` widens the allowance of ``expected`` by what the user's own layers before may have done; with ``own_inputs``,
    the inputs that ``expected`` was computed from, ``expected`` is held against NumPy on those instead. ``detail`` adds what
    the check could and could not have seen; with ``search`` (options of ``probe.diagnose.diagnose``) the mistake is looked for
    where parties diverge. ``threads`` are what ONNX Runtime may use (0: its own choice).
    """
    evidence = Evidence(notes=list(capture.notes), threads=threads)
    seen, capture = capture.inputs, replace(capture, inputs=in_floats(capture.inputs, capture.outputs))
    evidence.outputs["framework"] = capture.outputs
    digits = 0.0
    if isinstance(expected, Unshaped) and expected.values.size == capture.outputs[0].size:
        evidence.notes.append(
            f"your file holds no shape: its {expected.values.size} numbers are read in row-major order as {capture.outputs[0].shape}"
        )
        expected = expected.values.reshape(capture.outputs[0].shape)
    if isinstance(expected, Partial):
        digits = expected.slack
        expected, evidence.known = expected.spread(capture.outputs[0].shape)
        evidence.notes.append(f"you gave {int(evidence.known.sum())} of {evidence.known.size} values; the others are not compared")
    mine = None if expected is None else as_outputs(expected, len(capture.outputs))
    steps = () if capture.description is None else capture.description.steps
    on_own = None
    if capture.description is None:
        for party in ("numpy", "onnx"):
            evidence.missing[party] = capture.why
    else:
        given = [widened(x) for x in capture.inputs]
        values = recompute(steps, given)
        values[-1] = overflown(values[-1], capture.dtype)
        _ask(evidence, capture, steps, given, values)
        if mine is not None and own_inputs is not None:
            on_own = recompute(steps, own_inputs)
            evidence.notes.append(
                "yours is held against NumPy on the inputs that yours was computed from: your values of the layers before"
            )
        if mine is not None:
            reference = (values, capture.inputs) if on_own is None or own_inputs is None else (on_own, own_inputs)
            _admit(evidence, capture, steps, reference, mine, drift)
            if digits:
                evidence.allowed["expected"] = tuple(slack + digits for slack in evidence.allowed["expected"])
    if mine is not None:
        evidence.outputs["expected"] = mine
    comparisons = _pairs(evidence, tolerance, None if on_own is None else on_own[-1])
    if capture.description is not None:
        of_mine = (values, capture.inputs) if on_own is None or own_inputs is None else (on_own, own_inputs)
    if capture.description is not None and tolerance is None:
        comparisons = {pair: _rated(pair, one, capture, (values, capture.inputs), of_mine, evidence) for pair, one in comparisons.items()}
    verdict, sentence = verdict_on(capture, evidence, comparisons)
    described = capture.description
    diagnosis = None
    if search is not None and verdict == "diverge" and described is not None:
        references = {"framework": (values, capture.inputs), "expected": of_mine}
        find = import_module("probe.why").of_parties  # only now: a healthy check pays nothing for it
        diagnosis = find(described, evidence, comparisons, references, precision_of(capture.dtype), tolerance, search)
    blind: tuple[str, ...] = ()
    visible = None
    if detail and described is not None and verdict == "agree":
        given = [widened(x) for x in capture.inputs]
        blind = blind_spots(steps, given, values)
        visible = smallest_visible_change(steps, given, values, precision_of(capture.dtype))
    return Report(
        layer=capture.layer,
        kind=capture.kind,
        call=capture.call,
        verdict=verdict,
        sentence=sentence,
        outputs={party: _single(evidence.outputs[party]) for party in PARTIES if party in evidence.outputs},
        missing=evidence.missing,
        comparisons=comparisons,
        weights={name: _kept(weight) if detail else weight for name, weight in weights_of(steps).items()},
        inputs=seen,
        input_axes=() if described is None else described.input_axes,
        output_axes=() if described is None else described.output_axes,
        dtype=capture.dtype,
        notes=tuple(evidence.notes),
        ops=() if described is None else _told(steps, capture.inputs, values),
        blind=blind,
        visible=visible,
        findings=() if diagnosis is None else diagnosis.findings,
        diagnosis=() if diagnosis is None else diagnosis.words,
    )


def _kept(weight: Weight) -> Weight:
    """A weight that stays as it was when the model goes on to be trained: adapters hand out views."""
    effective = weight.effective.copy()
    stored = effective if weight.stored is weight.effective else None if weight.stored is None else weight.stored.copy()
    return replace(weight, stored=stored, effective=effective, parts={name: part.copy() for name, part in weight.parts.items()})


def _told(steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values) -> tuple[str, ...]:
    """Each step by its op's name, and in words where there is more to say."""
    told = []
    for position, step in enumerate(steps):
        given = [inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index] for ref in step.sources(position)]
        words = step.op.says(given)
        told.append(type(step.op).__name__ + (f": {words}" if words else ""))
    return tuple(told)


def _rated(
    pair: Pair,
    comparison: Comparison,
    capture: Capture,
    reference: tuple[Values, Sequence[np.ndarray]],
    of_mine: tuple[Values, Sequence[np.ndarray]],
    evidence: Evidence,
) -> Comparison:
    """Says of a pair that differs from NumPy whether any order of rounding could do that at its worst element."""
    worst = comparison.worst
    if comparison.ok or comparison.reason or worst is None or "numpy" not in pair:
        return comparison
    party = pair[0] if pair[1] == "numpy" else pair[1]
    values, inputs = of_mine if party == "expected" else reference
    steps = capture.description.steps if capture.description is not None else ()
    precision = precision_of("float32", casts=capture.dtype == "float64") if party == "onnx" else precision_of(capture.dtype)
    given = [widened(x) for x in inputs]
    usual = float(allowances(steps, given, values, precision)[worst.output][worst.index])
    bound = worst_case(steps, given, values, precision, worst.index, worst.output)
    # What else the pair was allowed (the layers before, storing) is allowed here too.
    extra = max(0.0, worst.allowance - max(usual, 0.0))
    return replace(comparison, certain=worst.error > max(bound, usual) + extra)


def _single(arrays: Arrays) -> Outputs:
    return arrays[0] if len(arrays) == 1 and arrays[0] is not None else arrays


def _ask(evidence: Evidence, capture: Capture, steps: Sequence[Step], given: Sequence[np.ndarray], values: Values) -> None:
    """NumPy's and ONNX Runtime's outputs, and how far the framework and ONNX Runtime may lie from NumPy.

    Where ONNX Runtime gives what the framework gave, bit for bit, and may err as much, it needs no look of its own.
    """
    evidence.outputs["numpy"] = tuple(values[-1])
    usual = precision_of(capture.dtype)
    first = allowances(steps, given, values, usual)
    answer = _answered(evidence, capture, steps, values)
    precision = precision_of("float32", casts=True) if capture.dtype == "float64" else precision_of("float32")
    evidence.allowed["framework"] = evidence.allowed["onnx"] = first
    if answer is not None and precision == usual and len(answer) == len(capture.outputs) == len(first) == 1:
        near = compare_three(capture.outputs[0], values[-1][0], answer[0], first[0])
        if near is not None and all(near):
            evidence.near.update(zip((("framework", "numpy"), ("numpy", "onnx"), ("framework", "onnx")), near, strict=True))
            return
    close = compare(capture.outputs, values[-1], first)
    if close.ok or close.reason:
        evidence.near["framework", "numpy"] = close
    else:
        evidence.allowed["framework"] = _allowed(steps, given, values, usual, capture.outputs, first)
    if answer is None:
        return
    if precision == usual and _same(capture.outputs, answer):
        evidence.allowed["onnx"] = evidence.allowed["framework"]
        if close.ok:
            evidence.near["numpy", "onnx"] = close.mirrored()
        return
    if precision != usual:
        first = allowances(steps, given, values, precision)
    close = compare(values[-1], answer, first)
    evidence.allowed["onnx"] = first
    if close.ok or close.reason:
        evidence.near["numpy", "onnx"] = close
    else:
        evidence.allowed["onnx"] = _allowed(steps, given, values, precision, answer, first)


def _answered(evidence: Evidence, capture: Capture, steps: Sequence[Step], values: Values) -> tuple[np.ndarray, ...] | None:
    """ONNX Runtime's outputs, or None with the reason noted."""
    if any(0 in np.shape(value) for value in (*capture.inputs, *values[-1])):
        evidence.missing["onnx"] = "an empty array: there is nothing to compute"
        return None
    try:
        answer = overflown(crosscheck(steps, capture.inputs, values, evidence.threads), capture.dtype)
    except Undescribed as error:
        evidence.missing["onnx"] = str(error)
        return None
    evidence.outputs["onnx"] = answer
    return answer


def _same(left: Arrays, right: Arrays) -> bool:
    """Whether all outputs of two parties are there and equal bit for bit."""
    return len(left) == len(right) and all(
        one is not None and other is not None and one.size > 0 and same_bits(one, other) for one, other in zip(left, right, strict=True)
    )


def _allowed(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precision: Precision,
    outputs: Sequence[np.ndarray | None],
    first: tuple[np.ndarray, ...] | None = None,
) -> tuple[np.ndarray, ...]:
    """The allowance of a party, ``first`` where that is known, after a second look at those of its elements that lie beyond."""
    given = [widened(x) for x in inputs]
    first = allowances(steps, given, values, precision) if first is None else first
    looked = []
    for output, (allowed, value) in enumerate(zip(first, values[-1], strict=True)):
        theirs = outputs[output] if output < len(outputs) else None
        if theirs is not None and theirs.shape == value.shape:
            with np.errstate(invalid="ignore"):
                error = np.abs(np.subtract(theirs, value, dtype=np.float64))
            allowed = settle(steps, given, values, precision, error, allowed, output)
        looked.append(allowed)
    return tuple(looked)


def _admit(
    evidence: Evidence,
    capture: Capture,
    steps: Sequence[Step],
    reference: tuple[Values, Sequence[np.ndarray]],
    mine: Arrays,
    drift: Drift | None,
) -> None:
    """How far the user's values may lie from NumPy: the layer's own rounding, that of the layers before, and of storing them."""
    values, inputs = reference
    allowed = []
    base = _allowed(steps, inputs, values, precision_of(capture.dtype), mine)
    for output, slack in enumerate(base):
        stored = mine[output]
        if stored is not None and stored.dtype == np.float16 and capture.dtype != "float16":
            slack = slack + precision_of("float16").unit * np.abs(values[-1][output]) + 2.0**-25
            evidence.notes.append("your values are stored in float16: that rounding is allowed for")
        allowed.append(slack if drift is None else slack + drift.slack[output])
    evidence.allowed["expected"] = tuple(allowed)
    if drift is not None and any(slack.any() for slack in drift.slack):
        evidence.notes.append("the allowance for yours also holds what rounding in the layers before may do to this layer's input")


def _pairs(evidence: Evidence, tolerance: tuple[float, float] | None, on_own: tuple[np.ndarray, ...] | None) -> dict[Pair, Comparison]:
    """Every pair of parties, in the order of PARTIES.

    NumPy's own error is nothing beside a party's in float32, so a pair with NumPy has that party's allowance and any other
    pair the sum of both. Where yours was computed from other inputs than the framework's, it is compared with NumPy alone.
    """
    present = [party for party in PARTIES if party in evidence.outputs]
    found: dict[Pair, Comparison] = {}
    for i, left in enumerate(present):
        for right in present[i + 1 :]:
            first, second, times = evidence.outputs[left], evidence.outputs[right], 1.0
            if right == "expected" and on_own is not None:
                if left != "numpy":
                    continue
                first = on_own
            if tolerance is not None:
                rtol, atol = tolerance
                allowed = tuple(np.zeros(()) if one is None else atol + rtol * np.abs(np.asarray(one, np.float64)) for one in first)
            elif "numpy" not in evidence.outputs:
                continue
            else:
                parts = [evidence.allowed[party] for party in (left, right) if party != "numpy"]
                if (left, right) in evidence.near:
                    found[left, right] = evidence.near[left, right]
                    continue
                if right != "expected" and _same(first, second):
                    found[left, right] = identical(first, parts[0])
                    continue
                if len(parts) == 2 and parts[0] is parts[1]:
                    allowed, times = parts[0], 2.0
                else:
                    allowed = tuple(reduce(np.add, slacks) for slacks in zip(*parts, strict=True))
            if right == "expected" and evidence.known is not None:
                first, second = ((np.where(evidence.known, np.asarray(part[0]), 0.0), *part[1:]) for part in (first, second))
            found[left, right] = compare(first, second, allowed, times)
            if right == "expected" and evidence.known is not None:
                found[left, right] = replace(found[left, right], size=int(evidence.known.sum()))
    return found
