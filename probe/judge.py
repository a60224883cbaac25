"""One captured call, judged: every party's output, every pair against the allowance, and the verdict in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from importlib import import_module
from typing import Any

import numpy as np

from probe.blind import blind_spots
from probe.blocks import same_bits
from probe.compare import PARTIES, Comparison, compare, identical
from probe.crosscheck import crosscheck
from probe.drift import Drift
from probe.errors import BadInput, Undescribed
from probe.layer import Step, weights_of
from probe.model import Capture
from probe.recompute import in_floats, overflown, recompute, widened
from probe.report import Outputs, Report
from probe.rounding import Precision, Values, allowances, precision_of, settle, smallest_visible_change, worst_case

__all__ = ["Partial", "Unshaped", "judge"]

Arrays = tuple[np.ndarray | None, ...]
Pair = tuple[str, str]
NAMES = {"framework": "the framework", "numpy": "NumPy", "onnx": "ONNX Runtime", "expected": "yours"}


@dataclass(frozen=True, eq=False)
class Unshaped:
    """Numbers in row-major order out of a file that holds no shape (text)."""

    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Partial:
    """Values of a part of an output: ``at`` has a number or a slice for each axis."""

    values: np.ndarray
    at: tuple[int | slice, ...]
    slack: float = 0.0
    """How far they may be off by the digits that were left out."""

    def spread(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """(the whole output, NaN where no value was given; where one was given)."""
        whole, known = np.full(shape, np.nan), np.zeros(shape, bool)
        told = ",".join(str(one) if isinstance(one, int) else f"{_end(one.start)}:{_end(one.stop)}" for one in self.at)
        try:
            part = whole[self.at]
        except IndexError:
            raise BadInput(f"there is no element {told} in an output of {shape}") from None
        if [n for n in part.shape if n != 1] != [n for n in self.values.shape if n != 1]:
            raise BadInput(f"{told} of an output of {shape} is an array of {part.shape}; you gave {self.values.shape}")
        whole[self.at], known[self.at] = self.values.reshape(part.shape), True
        return whole, known


def _end(value: int | None) -> str:
    return "" if value is None else str(value)


@dataclass
class _Evidence:
    """What is gathered about one call on the way to its report."""

    outputs: dict[str, Arrays] = field(default_factory=dict)
    allowed: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    """For each party: how far it may lie from NumPy."""
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    threads: int = 0
    near: dict[Pair, Comparison] = field(default_factory=dict)
    """Comparisons already made on the way to the allowances."""
    known: np.ndarray | None = None
    """Where the user gave values, where not everywhere."""


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
    evidence = _Evidence(notes=list(capture.notes), threads=threads)
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
    mine = None if expected is None else _as_outputs(expected, len(capture.outputs))
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
    verdict, sentence = _verdict(capture, evidence, comparisons)
    described = capture.description
    diagnosis = None
    if search is not None and verdict == "diverge" and described is not None:
        references = {"framework": (values, capture.inputs), "expected": of_mine}
        find = import_module("probe.diagnose").of_parties  # only now: a healthy check pays nothing for it
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
        weights=weights_of(steps),
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
    evidence: _Evidence,
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


def _as_outputs(expected: Any, count: int) -> Arrays:
    """The user's values per output: an array stands for the first, a sequence (None to skip) for all."""
    if isinstance(expected, Unshaped):
        expected = expected.values
    if isinstance(expected, (list, tuple)) and any(one is None or isinstance(one, np.ndarray) for one in expected):
        if len(expected) != count:
            raise BadInput(f"the layer has {count} outputs; you gave {len(expected)} (None skips one)")
        return tuple(None if one is None else _numbers(one) for one in expected)
    return (_numbers(expected), *[None] * (count - 1))


def _numbers(values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise BadInput(f"expected values must be numbers; you gave an array of dtype {array.dtype}")
    return array


def _ask(evidence: _Evidence, capture: Capture, steps: Sequence[Step], given: Sequence[np.ndarray], values: Values) -> None:
    """NumPy's and ONNX Runtime's outputs, and how far the framework and ONNX Runtime may lie from NumPy.

    Where ONNX Runtime gives what the framework gave, bit for bit, and may err as much, it needs no look of its own.
    """
    evidence.outputs["numpy"] = tuple(values[-1])
    usual = precision_of(capture.dtype)
    first = allowances(steps, given, values, usual)
    near = compare(capture.outputs, values[-1], first)
    evidence.near["framework", "numpy"] = near
    evidence.allowed["framework"] = first
    if not near.ok and not near.reason:
        evidence.allowed["framework"] = _allowed(steps, given, values, usual, capture.outputs)
        del evidence.near["framework", "numpy"]
    if any(0 in np.shape(value) for value in (*capture.inputs, *values[-1])):
        evidence.missing["onnx"] = "an empty array: there is nothing to compute"
        return
    try:
        answer = overflown(crosscheck(steps, capture.inputs, values, evidence.threads), capture.dtype)
    except Undescribed as error:
        evidence.missing["onnx"] = str(error)
        return
    evidence.outputs["onnx"] = answer
    precision = precision_of("float32", casts=True) if capture.dtype == "float64" else precision_of("float32")
    if precision == usual and _same(capture.outputs, answer):
        evidence.allowed["onnx"] = evidence.allowed["framework"]
        if near.ok:
            evidence.near["numpy", "onnx"] = near.mirrored()
        return
    if precision != usual:
        first = allowances(steps, given, values, precision)
    near = compare(values[-1], answer, first)
    evidence.near["numpy", "onnx"] = near
    evidence.allowed["onnx"] = first
    if not near.ok and not near.reason:
        evidence.allowed["onnx"] = _allowed(steps, given, values, precision, answer)
        del evidence.near["numpy", "onnx"]


def _same(left: Arrays, right: Arrays) -> bool:
    """Whether all outputs of two parties are there and equal bit for bit."""
    return len(left) == len(right) and all(
        one is not None and other is not None and one.size > 0 and same_bits(one, other) for one, other in zip(left, right, strict=True)
    )


def _allowed(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values, precision: Precision, outputs: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, ...]:
    """The allowance of a party, after a second look at those of its elements that lie beyond."""
    given = [widened(x) for x in inputs]
    first = allowances(steps, given, values, precision)
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
    evidence: _Evidence,
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


def _pairs(evidence: _Evidence, tolerance: tuple[float, float] | None, on_own: tuple[np.ndarray, ...] | None) -> dict[Pair, Comparison]:
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


def _unchecked(evidence: _Evidence, comparisons: Mapping[Pair, Comparison], capture: Capture) -> str:
    """Why nothing can be said, or empty."""
    if "numpy" not in evidence.outputs:
        return evidence.missing.get("numpy") or "NumPy has no answer"
    if not any(comparison.size for comparison in comparisons.values()):
        return "the output is empty: shapes agree, and there is no value to compare"
    if not any(comparison.ratio for comparison in comparisons.values()):
        return ""  # Equal to the last bit: no allowance was needed.
    for allowed, value in zip(evidence.allowed["framework"], evidence.outputs["numpy"], strict=True):
        if value is None or not value.size or value.dtype.kind != "f":
            continue
        if float(allowed.max()) <= np.ptp(value) < np.inf:
            continue
        finite = value[np.isfinite(value)]
        if not finite.size:
            continue
        extent = float(np.ptp(finite)) or float(np.abs(finite).max())
        typical = float(np.median(allowed))
        if typical > max(extent, 2.0**20 * precision_of(capture.dtype).tiny):
            return (
                f"rounding may move this output by {typical:.2g}, more than its own range of {extent:.2g}: "
                f"it cannot be judged in {capture.dtype}"
            )
    return ""


def _verdict(capture: Capture, evidence: _Evidence, comparisons: Mapping[Pair, Comparison]) -> tuple[str, str]:
    """The verdict and its reason, naming the odd one out."""
    apart = {pair: comparison for pair, comparison in comparisons.items() if not comparison.ok}
    present = [party for party in PARTIES if party in evidence.outputs]
    if not apart:
        reason = _unchecked(evidence, comparisons, capture)
        if reason:
            return "unchecked", f"unchecked: {reason}"
        used = max(comparison.ratio for comparison in comparisons.values())
        told = f"the largest difference is {used:.2g} of what rounding allows" if used else "there is no difference at all"
        return "agree", f"agree: {_listed(present)} agree; {told}"
    if "numpy" not in evidence.outputs and not any(comparison.reason for comparison in apart.values()):
        reason = evidence.missing.get("numpy", "")
        return "diverge", f"diverge: {_listed(present)} differ ({reason})"
    odd = [party for party in present if all(party in pair for pair in apart)]
    if len(odd) == 1 and len(present) > 2:
        others = [party for party in present if party != odd[0] and tuple(sorted((party, odd[0]), key=PARTIES.index)) in comparisons]
        return "diverge", f"diverge: {NAMES[odd[0]]} is the odd one out: {_meaning(odd[0], others)}; {_extent(apart)}"
    if len(apart) == 1:
        left, right = next(iter(apart))
        return "diverge", f"diverge: {NAMES[left]} and {NAMES[right]} differ; {_extent(apart)}"
    pairs = ", ".join(f"{NAMES[left]} and {NAMES[right]}" for left, right in apart)
    return "diverge", f"diverge: no single party is the odd one out; these differ: {pairs}; {_extent(apart)}"


def _meaning(odd: str, others: Sequence[str]) -> str:
    agreed = _listed(others) + (" agree" if len(others) > 1 else " says otherwise")
    return {
        "framework": f"{agreed}, so the layer does not do what its configuration says",
        "numpy": f"{agreed}, so the fault is ours: please report it",
        "onnx": f"{agreed}, so ONNX Runtime computes this layer differently",
        "expected": f"{agreed}, so your values are not this layer's output on this input",
    }[odd]


def _listed(parties: Sequence[str]) -> str:
    names = [NAMES[party] for party in parties]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _tier(apart: Mapping[Pair, Comparison]) -> str:
    """Which of the two tiers the difference lies in."""
    rated = [comparison.certain for comparison in apart.values() if comparison.certain is not None]
    if not rated:
        return ""
    if any(rated):
        return ": certainly other arithmetic, no order of summation can do that"
    return (
        ": improbable as rounding, though a worst case could reach it; TF32, bfloat16 or float16 accumulation and weights of "
        "12 to 16 bits look like this"
    )


def _extent(apart: Mapping[Pair, Comparison]) -> str:
    worst = max(apart.values(), key=lambda comparison: comparison.ratio)
    if worst.reason or worst.worst is None:
        return worst.reason
    return (
        f"{worst.count} of {worst.size} elements lie beyond rounding; the worst differs by {worst.worst.error:.3g} "
        f"where rounding allows {worst.worst.allowance:.2g}{_tier(apart)}"
    )
