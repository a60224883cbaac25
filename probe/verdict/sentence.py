"""The verdict on one call in a sentence: what was found out, who is the odd one out, and what that
means."""

from collections.abc import Mapping, Sequence

import numpy as np

from probe.comparison.compare import PARTIES, Comparison, compare
from probe.model import Capture
from probe.numerics.dtypes import LARGEST
from probe.numerics.precision import VANISHING, precision_of
from probe.ops.step import weights_of
from probe.verdict.detection_power import ENOUGH, SURE, Power, power
from probe.verdict.evidence import NAMES, Arrays, Evidence, Pair

__all__ = ["blunt", "powers", "verdict_on"]

_LAST_DIGITS = 8
_VALUES = {
    "framework": "the framework's values",
    "onnx": "ONNX Runtime's values",
    "expected": "your values",
}


def powers(
    evidence: Evidence,
    capture: Capture,
    references: Mapping[str, Arrays],
    tolerance: tuple[float, float] | None,
) -> dict[str, Power]:
    """For each party how well what it was allowed would have told a wrong element.

    Asked against NumPy alone: of two parties that agree with NumPy nothing more is claimed. Not of
    parties whose allowance is as sharp as arithmetic can be, but for yours: where the last digits
    decide, those may be anything.
    """
    found: dict[str, Power] = {}
    for party, reference in references.items():
        if (
            party == "onnx"
            and not evidence.paths
            and tolerance is None
            and evidence.allowed[party] is evidence.allowed["framework"]
        ):
            found |= {party: found["framework"]} if "framework" in found else {}
            continue
        values = evidence.paths.get(party, reference)
        if party == "expected" and evidence.known is not None and values[0] is not None:
            values = (np.where(evidence.known, values[0], np.nan), *values[1:])
        if tolerance is None:
            allowed = evidence.allowed[party]
        else:
            allowed = tuple(
                np.zeros(()) if one is None else tolerance[1] + tolerance[0] * np.abs(one)
                for one in values
            )
        told = power(values, allowed)
        if told is not None and (
            told.share >= ENOUGH or party == "expected" or not _sharp(allowed, values, capture)
        ):
            found[party] = told
    return found


def _sharp(allowed: Sequence[np.ndarray], values: Arrays, capture: Capture) -> bool:
    """Whether no arithmetic is sharper than what is allowed.

    Of layers without weights, where an output varies in its last digits only; weights whose part is
    lost in rounding could be any others. And of numbers near the smallest that there are.
    """
    weightless = capture.description is not None and not weights_of(capture.description.steps)
    unit = precision_of(capture.dtype).unit
    for slack, value in zip(allowed, values, strict=True):
        if value is None or value.dtype.kind != "f":
            continue
        where = np.isfinite(value)
        size = float(np.abs(value[where]).max(initial=0.0))
        typical = (
            float(np.median(np.broadcast_to(slack, value.shape)[where])) if where.any() else 0.0
        )
        least = max(
            _LAST_DIGITS * unit * size if weightless else 0.0,
            VANISHING,
            _LAST_DIGITS * precision_of(capture.dtype).tiny,
        )
        if typical > slack.dtype.type(least):  # rounded as the allowance is
            return False
    return True


def _unchecked(evidence: Evidence, comparisons: Mapping[Pair, Comparison], capture: Capture) -> str:
    """Why nothing can be said, or empty."""
    if "numpy" not in evidence.outputs:
        return evidence.missing.get("numpy") or "NumPy has no answer"
    outputs = evidence.outputs["framework"]
    if not any(comparison.size for comparison in comparisons.values()):
        return "the output is empty: shapes agree, and there is no value to compare"
    if all(
        one is None
        or not one.size
        or (one.dtype.kind == "f" and np.isnan(one.min()) and np.isnan(one).all())
        for one in outputs
    ):
        return "the output is NaN throughout: there is no number to compare"
    if not any(comparison.ratio for comparison in comparisons.values()):
        return ""  # Equal to the last bit: no allowance was needed.
    for party, told in evidence.power.items():
        if told.share < ENOUGH and party != "onnx":
            return blunt(party, told, capture)
    return ""


def blunt(party: str, told: Power, capture: Capture) -> str:
    """That an allowance is no evidence, and the way out."""
    ways = {"expected": "give the input that yours was computed from (given=, --expect-input)"}
    if capture.dtype in ("float16", "bfloat16"):
        ways["framework"] = "check the layer in float32"
    return (
        f"rounding in {_computes_in(party, capture.dtype)} may move {_VALUES[party]} by "
        f"{told.allowed:.2g}, "
        f"where the output's own range is {told.span:.2g}: of 100 wrong elements this check would "
        f"have seen {100 * told.share:.0f}" + (f"; {ways[party]}" if party in ways else "")
    )


def _weakness(evidence: Evidence, capture: Capture) -> str:
    """What an agreement does not say, where it says less than usual. ONNX Runtime alone, in
    float32, may be no evidence at all."""
    if "onnx" in evidence.power and evidence.power["onnx"].share < ENOUGH:
        evidence.notes.append(
            "that ONNX Runtime agrees is no evidence here: "
            f"{blunt('onnx', evidence.power['onnx'], capture)}"
        )
    least = min(
        (one.share for party, one in evidence.power.items() if party != "onnx"), default=1.0
    )
    return (
        f"; of 100 wrong elements this check would have seen {100 * least:.0f}"
        if least < SURE
        else ""
    )


def verdict_on(
    capture: Capture, evidence: Evidence, comparisons: Mapping[Pair, Comparison]
) -> tuple[str, str]:
    """The verdict and its reason, naming the odd one out."""
    apart = {pair: comparison for pair, comparison in comparisons.items() if not comparison.ok}
    present = [party for party in PARTIES if party in evidence.outputs]
    if apart and all(evidence.blurred.keys() & set(pair) for pair in apart):
        return "unchecked", f"unchecked: {'; '.join(evidence.blurred.values())}"
    if not apart:
        reason = _unchecked(evidence, comparisons, capture)
        if reason:
            return "unchecked", f"unchecked: {reason}"
        used = max(comparison.ratio for comparison in comparisons.values())
        told = (
            f"the largest difference is {used:.2g} of what rounding allows"
            if used
            else "there is no difference at all"
        )
        told += "".join(
            f", given that {NAMES[party]} {words}" for party, words in evidence.shortcuts.items()
        )
        told += _hidden(evidence.outputs["framework"])
        told += _weakness(evidence, capture) if used else ""
        return "agree", f"agree: {_listed(present)} agree; {told}"
    if "numpy" not in evidence.outputs and not any(
        comparison.reason for comparison in apart.values()
    ):
        reason = evidence.missing.get("numpy", "")
        return "diverge", f"diverge: {_listed(present)} differ ({reason})"
    odd = [party for party in present if all(party in pair for pair in apart)]
    undefined = [one.undefined for one in evidence.differences if one.undefined]
    explained = all(
        comparison.reason or _only_touched(pair, evidence) for pair, comparison in apart.items()
    )
    if undefined and explained and odd not in (["onnx"], ["expected"]):
        return "diverge", f"diverge: {undefined[0]}; {_extent(apart)}"
    beyond = [party for party in present if {("numpy", party), (party, "numpy")} & apart.keys()]
    # Where the others hold the range, in the same dtype, numbers that are lost in yours alone may
    # have any cause.
    known = (odd == ["onnx"] and bool(evidence.differences)) or (
        odd == ["expected"] and "framework" in present
    )
    if (
        beyond
        and not known
        and all(_leaves_range(party, capture.dtype, evidence, odd == ["numpy"]) for party in beyond)
    ):
        return "diverge", f"diverge: {_of_range(beyond, capture.dtype, evidence)}; {_extent(apart)}"
    if len(odd) == 1 and len(present) > 2:
        others = [
            party
            for party in present
            if party != odd[0] and tuple(sorted((party, odd[0]), key=PARTIES.index)) in comparisons
        ]
        return "diverge", (
            f"diverge: {NAMES[odd[0]]} is the odd one out: "
            f"{_meaning(odd[0], others, evidence)}; {_extent(apart)}"
        )
    if len(apart) == 1:
        left, right = next(iter(apart))
        return "diverge", f"diverge: {NAMES[left]} and {NAMES[right]} differ; {_extent(apart)}"
    pairs = ", ".join(f"{NAMES[left]} and {NAMES[right]}" for left, right in apart)
    return "diverge", (
        f"diverge: no single party is the odd one out; these differ: {pairs}; {_extent(apart)}"
    )


def _hidden(outputs: Arrays) -> str:
    """How much of an output is NaN, which two parties may have for any reason."""
    floats = [
        one
        for one in outputs
        if one is not None and one.size and one.dtype.kind == "f" and np.isnan(one.min())
    ]
    lost = sum(int(np.isnan(one).sum()) for one in floats)
    total = sum(one.size for one in outputs if one is not None)
    return f"; {lost} of its {total} numbers are NaN, behind which no fault shows" if lost else ""


def _only_touched(pair: Pair, evidence: Evidence) -> bool:
    """Whether two parties are equal wherever no known difference may have changed a number."""
    if evidence.touched is None:
        return False
    left, right = (evidence.outputs[party][0] for party in pair)
    return (
        left is not None
        and right is not None
        and np.array_equal(left[~evidence.touched], right[~evidence.touched])
    )


def _computes_in(party: str, dtype: str) -> str:
    return "float32" if party == "onnx" and dtype == "float64" else dtype


def _leaves_range(party: str, dtype: str, evidence: Evidence, alone: bool) -> bool:
    """Whether what a party computes in may not hold all on the way: it has NaN or inf where NumPy
    has not, and is right elsewhere.

    With numbers at the very end of the range it need not be (1 / inf is 0), nor have any where
    NumPy is ``alone`` against all others.
    """
    limit = LARGEST.get(_computes_in(party, dtype), np.finfo(np.float64).max)
    theirs = [one for one in evidence.outputs[party] if one is not None]
    ours = [one for one in evidence.paths.get(party, evidence.outputs["numpy"]) if one is not None]
    if evidence.reach[1] < limit or [one.shape for one in theirs] != [one.shape for one in ours]:
        return False
    lost = [~np.isfinite(one) for one in theirs]
    if 4 * evidence.reach[0] >= limit:
        return alone or any(gone.any() for gone in lost)
    left, right = (
        [np.where(gone, 0.0, one) for gone, one in zip(lost, side, strict=True)]
        for side in (theirs, ours)
    )
    return any(gone.any() for gone in lost) and compare(left, right, evidence.allowed[party]).ok


def _of_range(parties: Sequence[str], dtype: str, evidence: Evidence) -> str:
    dtypes = " and ".join(dict.fromkeys(_computes_in(party, dtype) for party in parties))
    return (
        f"the range of {dtypes} is exceeded on the way: sums, squares or products of numbers up "
        f"to {evidence.reach[0]:.2g} are inf or NaN "
        f"in {_listed(parties)}, and not in NumPy, which computes in float64: check the layer on "
        "smaller inputs"
    )


def _meaning(odd: str, others: Sequence[str], evidence: Evidence) -> str:
    agreed = _listed(others) + (" agree" if len(others) > 1 else " says otherwise")
    known = (
        f"known of it, {evidence.differences[0].says}"
        if evidence.differences
        else "none of its differences that are known"
    )
    return {
        "framework": f"{agreed}, so the layer does not do what its configuration says",
        "numpy": f"{agreed}, so the fault is ours: please report it",
        "onnx": f"{agreed}, so ONNX Runtime computes this layer differently: {known}",
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
        ": improbable as rounding, though a worst case could reach it; TF32, bfloat16 or float16 "
        "accumulation and weights of "
        "12 to 16 bits look like this"
    )


def _extent(apart: Mapping[Pair, Comparison]) -> str:
    worst = max(apart.values(), key=lambda comparison: comparison.ratio)
    if worst.reason or worst.worst is None:
        return worst.reason
    return (
        f"{worst.count} of {worst.size} elements lie beyond rounding; the worst differs by "
        f"{worst.worst.error:.3g} "
        f"where rounding allows {worst.worst.allowance:.2g}{_tier(apart)}"
    )
