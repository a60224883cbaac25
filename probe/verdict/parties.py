"""What each party gave for a captured call, and how far it may lie from NumPy."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from probe.comparison.compare import Comparison, compare, compare_three
from probe.errors import Undescribed
from probe.evaluation.allowance import LEAST_HOPE, settle, whole_at, worst_case
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.evaluation.propagated_error import Drift
from probe.evaluation.reference import Reference
from probe.evaluation.teacher_forcing import follow, remembers
from probe.model import Capture
from probe.numerics.dtypes import flushed, overflown
from probe.numerics.precision import Precision, precision_of, stored_in
from probe.ops import Transpose
from probe.ops.base import Sum
from probe.ops.step import Step
from probe.verdict.detection_power import ENOUGH, blinds, power
from probe.verdict.discontinuities import among_equals
from probe.verdict.evidence import NAMES, Arrays, Evidence, Pair, largest, reaches
from probe.verdict.pairwise import equal
from probe.verdict.sentence import blunt

__all__ = ["admit", "ask", "certainty", "first_look"]


def certainty(
    pair: Pair, comparison: Comparison, capture: Capture, ours: Reference, theirs: Reference
) -> Comparison:
    """Says of a pair that differs from NumPy whether any order of rounding could do that at its
    worst element."""
    worst = comparison.worst
    if comparison.ok or comparison.reason or worst is None or "numpy" not in pair:
        return comparison
    reference = theirs if "expected" in pair else ours
    precision = (
        precision_of("float32", casts=capture.dtype == "float64")
        if "onnx" in pair
        else precision_of(capture.dtype)
    )
    usual = float(reference.allowances(precision)[worst.output][worst.index])
    bound = worst_case(
        reference.steps, reference.inputs, reference.values, precision, worst.index, worst.output
    )
    # What else the pair was allowed (the layers before, storing) is allowed here too.
    extra = max(0.0, worst.allowance - max(usual, 0.0))
    return replace(comparison, certain=worst.error > max(bound, usual) + extra)


def ask(evidence: Evidence, capture: Capture, ours: Reference) -> None:
    """NumPy's and ONNX Runtime's outputs, and how far the framework and ONNX Runtime may lie from
    NumPy.

    Where ONNX Runtime gives what the framework gave, bit for bit, and may err as much, it needs no
    look of its own.
    """
    values = ours.values
    evidence.outputs["numpy"] = tuple(values[-1])
    precision = (
        precision_of("float32", casts=True)
        if capture.dtype == "float64"
        else precision_of("float32")
    )
    usual = first_look(ours.steps, capture.dtype)
    if remembers(ours.steps):
        ours.bound(capture.dtype)
        evidence.outputs["numpy"] = tuple(values[-1])
        _followed(
            evidence, "framework", ours, replace(usual, sketches=capture.sketches), capture.outputs
        )
        answer = _answered(evidence, capture, ours)
        path, allowed = evidence.paths["framework"], evidence.allowed["framework"]
        if answer is not None and precision == usual and compare(answer, path, allowed).ok:
            # Each of its steps is right from the framework's states already.
            evidence.paths["onnx"], evidence.allowed["onnx"] = path, allowed
        else:
            _followed(evidence, "onnx", ours, replace(precision, sketches=True), answer)
        return
    answer = _answered(evidence, capture, ours)
    if (
        answer is not None
        and precision == usual
        and len(answer) == len(capture.outputs) == len(values[-1]) == 1
    ):
        if evidence.sparing and _divisible(ours):
            less = ours.allowances(replace(usual, partial=True))
            if _near(evidence, capture, ours, answer, less, 64.0):
                return
        first = ours.allowances(usual)
        if _near(evidence, capture, ours, answer, first):
            return
    else:
        first = ours.allowances(usual)
    ours.bound(capture.dtype)  # only now: where all agree nothing lies beyond
    evidence.outputs["numpy"] = tuple(values[-1])
    evidence.allowed["framework"] = evidence.allowed["onnx"] = first
    close = compare(capture.outputs, values[-1], first)
    if close.ok or close.reason:
        evidence.near["framework", "numpy"] = close
    if not close.ok:
        evidence.allowed["framework"] = _allowed(ours, usual, capture.outputs, first)
        _excuse(evidence, "framework", ours, capture, capture.outputs)
    if not close.ok and _flushes(evidence, "framework", ours, usual, capture.outputs):
        evidence.near.pop(("framework", "numpy"), None)
    if answer is None:
        return
    if (
        precision == usual
        and equal(capture.outputs, answer)
        and "framework" not in evidence.shortcuts
    ):
        evidence.allowed["onnx"] = evidence.allowed["framework"]
        if close.ok:
            evidence.near["numpy", "onnx"] = close.mirrored()
        return
    if precision != usual:
        first = ours.allowances(precision)
    close = compare(values[-1], answer, first)
    evidence.allowed["onnx"] = first
    if close.ok or close.reason:
        evidence.near["numpy", "onnx"] = close
    if not close.ok:
        evidence.allowed["onnx"] = _allowed(ours, precision, answer, first)


_THREE = (("framework", "numpy"), ("numpy", "onnx"), ("framework", "onnx"))


def _sum_at(ours: Reference) -> int | None:
    """The step that is the one sum of products which a layer is but for moves of elements, if it is
    that."""
    others = [
        position for position, step in enumerate(ours.steps) if not isinstance(step.op, Transpose)
    ]
    op = ours.steps[others[0]].op if len(others) == 1 else None
    return others[0] if isinstance(op, Sum) and op.terms is not None else None


def _divisible(ours: Reference) -> bool:
    """Whether less than the whole allowance may do, for a sum of many products: their squares are
    most of the work."""
    position = _sum_at(ours)
    if position is None:
        return False
    op = ours.steps[position].op
    return isinstance(op, Sum) and op.partial_squares_pay(
        ours.taken(position), ours.values[position]
    )


def _near(
    evidence: Evidence,
    capture: Capture,
    ours: Reference,
    answer: tuple[np.ndarray, ...],
    allowed: tuple[np.ndarray, ...],
    room: float = 0.0,
) -> bool:
    """Whether all agree within ``allowed``; elements of a sum beyond that are looked at one by one.

    With ``room`` the values must reach over so many times what is allowed, as they must where that
    is less than the whole.
    """
    value, theirs, third = ours.values[-1][0], capture.outputs[0], answer[0]
    if room and not (value.size and reaches(value, room * largest(allowed[0]))):
        return False

    def look(where: tuple[np.ndarray, ...]) -> np.ndarray:
        with np.errstate(all="ignore"):
            error = np.maximum(*(np.abs(one[where] - value[where]) for one in (theirs, third)))
        return whole_at(
            ours.steps, ours.given, ours.values, precision_of(capture.dtype), where, error
        )

    near = compare_three(
        theirs,
        value,
        third,
        allowed[0],
        look if value.ndim and _sum_at(ours) is not None else None,
        room > 0,
    )
    if near is None or not all(near):
        return False
    evidence.allowed["framework"] = evidence.allowed["onnx"] = allowed
    evidence.near.update(zip(_THREE, near, strict=True))
    return True


def _followed(
    evidence: Evidence, party: str, ours: Reference, precision: Precision, outputs: Arrays | None
) -> None:
    """Judges a party that has recurrences from its own states; says so where NumPy by itself ends
    elsewhere."""
    if outputs is None:
        return
    path, allowed = follow(ours.steps, ours.inputs, ours.values, precision, outputs)
    path = overflown(path, precision.name)
    close = compare(outputs, path, allowed)
    if not close.ok and not close.reason:
        path, allowed = follow(
            ours.steps, ours.inputs, ours.values, replace(precision, refine_steps=True), outputs
        )
        path = overflown(path, precision.name)
    evidence.paths[party], evidence.allowed[party] = path, allowed
    if not compare(path, ours.values[-1], allowed).ok:
        told = (
            "each step is judged from the state that the party itself had before it; run on "
            "its own, NumPy has gone elsewhere by the end"
        )
        evidence.notes += [] if told in evidence.notes else [told]


def _answered(
    evidence: Evidence, capture: Capture, ours: Reference
) -> tuple[np.ndarray, ...] | None:
    """ONNX Runtime's outputs, or None with the reason noted."""
    if any(0 in np.shape(value) for value in (*capture.inputs, *ours.values[-1])):
        evidence.missing["onnx"] = "an empty array: there is nothing to compute"
        return None
    try:
        found = crosscheck(ours.steps, capture.inputs, ours.values, evidence.threads)
        answer = overflown(
            [_wrapped(one, value.dtype) for one, value in zip(found, ours.values[-1], strict=True)],
            capture.dtype,
        )
    except Undescribed as error:
        evidence.missing["onnx"] = str(error)
        return None
    lost = sum(map(_lost, answer, ours.values[-1])) if capture.dtype == "float64" else 0
    unheld = sum(map(_unheld, capture.inputs)) if capture.dtype == "float64" else 0
    if lost or unheld:
        told = (
            f"{lost} elements of it are inf or NaN"
            if lost
            else f"{unheld} elements of the input are inf"
        )
        evidence.missing["onnx"] = (
            f"it computes in float32 here, which does not hold these numbers: {told}"
        )
        return None
    evidence.outputs["onnx"] = answer
    return answer


def _lost(found: np.ndarray, value: np.ndarray) -> int:
    """How many elements are inf or NaN that are none in NumPy."""
    return (
        int((np.isfinite(value) & ~np.isfinite(found)).sum()) if found.shape == value.shape else 0
    )


def _unheld(x: np.ndarray) -> int:
    """How many finite numbers are infinite in float32, as a comparison does not show."""
    return (
        int((np.isfinite(x) & (np.abs(x) > np.finfo(np.float32).max)).sum())
        if x.dtype == np.float64
        else 0
    )


def _wrapped(found: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Integers, which the graph holds in 64 bits, in the layer's own: what lies beyond wraps
    around."""
    return found.astype(dtype) if found.dtype.kind in "iu" and dtype.kind in "iu" else found


def _allowed(
    ours: Reference,
    precision: Precision,
    outputs: Sequence[np.ndarray | None],
    first: tuple[np.ndarray, ...] | None = None,
) -> tuple[np.ndarray, ...]:
    """The allowance of a party, ``first`` where that is known, after a second look at those of its
    elements that lie beyond."""
    looked = []
    for output, (allowed, value) in enumerate(
        zip(ours.allowances(precision) if first is None else first, ours.values[-1], strict=True)
    ):
        theirs = outputs[output] if output < len(outputs) else None
        if theirs is not None and theirs.shape == value.shape:
            with np.errstate(invalid="ignore"):
                # without axes it is no array
                error = np.asarray(np.subtract(theirs, value, dtype=np.float64))
                np.abs(error, out=error)
            allowed = settle(
                ours.steps, ours.inputs, ours.values, precision, error, allowed, output
            )
            ties = among_equals(ours.steps, ours.inputs, ours.values, output, theirs)
            allowed = (
                allowed if ties is None else np.where(ties, np.maximum(allowed, error), allowed)
            )
        looked.append(allowed)
    return tuple(looked)


def _with(allowed: Sequence[np.ndarray], more: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Allowances and what is allowed besides, where there is some."""
    return (
        tuple(
            slack + added if added.any() else slack
            for slack, added in zip(allowed, more, strict=True)
        )
        if more
        else tuple(allowed)
    )


def first_look(steps: Sequence[Step], dtype: str) -> Precision:
    """The arithmetic that a layer of that dtype is held against first. Kernels of recurrences round
    each operation to it."""
    return precision_of(dtype) if remembers(steps) else stored_in(dtype)


def _excuses(party: str, ours: Reference, dtype: str) -> Iterator[tuple[str, Precision]]:
    """What a party may do that loses more digits than are usually lost, in words, and its
    arithmetic; yours may take every shortcut."""
    usual, own = first_look(ours.steps, dtype), precision_of(dtype)
    inside = f"rounds to {dtype} inside this layer too, not only its output"
    if usual != own:
        yield inside, own
    words = [
        step.op.lossy_algorithm
        for step in ours.steps
        if step.op.lossy_algorithm
        and (party == "expected" or getattr(step.op, "may_use_lossy_algorithm", False))
    ]
    if words:
        told = " and ".join(dict.fromkeys(words))
        yield told, replace(usual, lossy=True)
        if usual != own:
            yield f"{told}, and {inside}", replace(own, lossy=True)


def _excuse(
    evidence: Evidence,
    party: str,
    ours: Reference,
    capture: Capture,
    outputs: Arrays,
    extra: Callable[[Precision], Sequence[np.ndarray]] | None = None,
) -> None:
    """Allows a party that lies beyond its allowance what explains it, as long as the check can then
    still tell right from wrong.

    ``extra`` is what the party is allowed besides, which may depend on the arithmetic that the
    layers before had, too.
    """
    values = tuple(ours.values[-1])
    if compare(outputs, values, evidence.allowed[party]).ok:
        return
    blurred = ""
    for words, precision in _excuses(party, ours, capture.dtype):
        first, more = ours.allowances(precision), () if extra is None else extra(precision)
        if compare(outputs, values, _with(first, more)).ratio > LEAST_HOPE:
            continue  # further beyond than a second look at its sums would gain
        loose = _with(_allowed(ours, precision, outputs, first), more)
        if not compare(outputs, values, loose).ok:
            continue
        told = power(values, loose)
        if (
            told is not None
            and party == "expected"
            and blinds(values, evidence.allowed[party], loose)
        ):
            told = told._replace(share=0.0)
        if told is not None and told.share < ENOUGH:
            blurred = blurred or (
                f"perhaps {NAMES[party]} {words}; then {blunt(party, told, capture)}"
            )
            continue
        evidence.allowed[party], evidence.precision[party] = loose, precision
        evidence.shortcuts[party] = words
        return
    if blurred and (
        party == "framework" or "framework" in evidence.shortcuts.keys() | evidence.blurred.keys()
    ):
        evidence.blurred[party] = blurred
    elif blurred:
        evidence.notes.append(blurred)


def _flushes(
    evidence: Evidence,
    party: str,
    ours: Reference,
    precision: Precision,
    outputs: Arrays,
    more: Sequence[np.ndarray] = (),
) -> bool:
    """Judges a party from NumPy with subnormal numbers taken for 0, where that explains what it
    gave; ``more`` is allowed besides."""
    least = precision.normal
    seen = (*ours.inputs, *(value for step in ours.values[:-1] for value in step))
    if not any(x.dtype.kind == "f" and np.any((np.abs(x) < least) & (x != 0)) for x in seen):
        return False
    if compare(outputs, ours.values[-1], evidence.allowed[party]).ok:
        return False
    values = recompute(ours.steps, ours.inputs, least)
    values[-1] = overflown(values[-1], precision.name)
    other = replace(ours, given=[flushed(x, least) for x in ours.inputs], values=values)
    allowed = _with(tuple(slack + least for slack in _allowed(other, precision, outputs)), more)
    if not compare(outputs, values[-1], allowed).ok:
        return False
    told = power(ours.values[-1], allowed)  # of values that all become 0 nothing would be told
    if told is not None and (
        told.share < ENOUGH or blinds(ours.values[-1], evidence.allowed[party], allowed)
    ):
        return False
    evidence.blurred.pop(party, None)
    evidence.paths[party], evidence.allowed[party] = tuple(values[-1]), allowed
    evidence.shortcuts[party] = "takes subnormal numbers for 0"
    evidence.notes.append(
        f"{NAMES[party]} is held against NumPy with 0 for subnormal numbers (below {least:.3g})"
    )
    return True


def admit(
    evidence: Evidence,
    capture: Capture,
    ours: Reference,
    mine: Arrays,
    drift: Drift | None,
    digits: float,
) -> None:
    """How far the user's values may lie from NumPy: the layer's own rounding, that of the layers
    before, and of storing or typing them."""
    evidence.outputs["expected"] = mine
    precision, more, further = first_look(ours.steps, capture.dtype), [], []
    for output, stored in enumerate(mine):
        slack = np.asarray(digits)
        if stored is not None and stored.dtype == np.float16 and capture.dtype != "float16":
            slack = (
                slack + precision_of("float16").unit * np.abs(ours.values[-1][output]) + 2.0**-25
            )
            evidence.notes.append("your values are stored in float16: that rounding is allowed for")
        more.append(slack if drift is None else slack + drift.slack[output])
        further.append(slack if drift is None else slack + drift.further * drift.slack[output])
    if drift is not None and any(slack.any() for slack in drift.slack):
        evidence.notes.append(
            "the allowance for yours also holds what rounding in the layers "
            "before may do to this layer's input"
        )

    if remembers(ours.steps) and evidence.known is None:
        _followed(evidence, "expected", ours, precision, mine)
        evidence.allowed["expected"] = _with(evidence.allowed["expected"], more)
        return
    evidence.allowed["expected"] = _with(_allowed(ours, precision, mine), more)
    _excuse(
        evidence,
        "expected",
        ours,
        capture,
        mine,
        lambda precision: more if precision.stored or drift is None else further,
    )
    _flushes(evidence, "expected", ours, precision, mine, more)
