"""The verdict on one call in a sentence: what was found out, who is the odd one out, and what that
means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probe.comparison.compare import PARTIES, Comparison
from probe.evaluation.party import NAMES, Arrays
from probe.verdict.detection_power import ENOUGH, SURE, blunt, computes_in
from probe.verdict.judgement import Judgement, Pair
from probe.verdict.overflow import leaves_range

__all__ = ["Verdict", "verdict_on"]


@dataclass(frozen=True)
class Verdict:
    """What is said of a call."""

    word: str
    """"agree", "diverge" or "unchecked"."""
    sentence: str
    notes: tuple[str, ...] = ()


def _holding_nan(outputs: Arrays) -> list[np.ndarray]:
    """The outputs in which some value is NaN."""
    return [
        output
        for output in outputs
        if output is not None
        and output.size
        and output.dtype.kind == "f"
        and np.isnan(output.min())
    ]


_NAN_ALONE = "every value of the output is NaN: there is nothing to compare"


def _nan_alone(outputs: Arrays, partly_nan: Sequence[np.ndarray]) -> bool:
    """Whether outputs hold NaN and nothing else."""
    full = [output for output in outputs if output is not None and output.size]
    return len(full) == len(partly_nan) > 0 and all(np.isnan(output).all() for output in partly_nan)


def _unchecked(call: Judgement, partly_nan: Sequence[np.ndarray]) -> str:
    """Why nothing can be said, or empty; some values of ``partly_nan`` are NaN."""
    if "numpy" not in call.outputs:
        return call.missing.get("numpy") or "NumPy could not compute this layer"
    if not any(comparison.size for comparison in call.comparisons.values()):
        return "the output is empty: the shapes agree and there is no value to compare"
    if _nan_alone(call.outputs["framework"], partly_nan):
        return _NAN_ALONE
    if not any(comparison.ratio for comparison in call.comparisons.values()):
        return ""  # Equal to the last bit: no allowance was needed.
    for party, told in call.power.items():
        if told.share < ENOUGH and party != "onnx":
            return blunt(party, told, call.capture.dtype)
    return ""


def _taken(call: Judgement) -> str:
    """What a composed layer was not computed from its own input for: calls whose values were taken
    from the framework; "" where there are none."""
    described = call.capture.description
    if described is None:
        return ""
    reasons = list(dict.fromkeys(taken.why for taken in described.taken if taken.why))
    if not reasons:
        return ""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"taken from the framework instead of computed: {reasons[0]}{more}"


def _not_composed(call: Judgement) -> str:
    """That such values are among those that agree, where only the framework's could tell; yours are
    held against these too."""
    taken = "" if "expected" in call.outputs else _taken(call)
    if taken:
        return f"{taken}; the rest agrees"
    return ""


_UNKNOWN, _UNKNOWN_OF_HALF = 1e-4, 2.0**-5
"""What rounding may do in a call of which nothing is known, as a share of the largest value: and in
half precision."""


def _within_unknown(call: Judgement, apart: Mapping[Pair, Comparison]) -> str:
    """Why a difference of yours may be rounding, where the framework's values of calls without a
    description were taken: nothing bounds what these round; "" where it is more than that."""
    taken = _taken(call)
    if not taken or call.tolerant or any("expected" not in pair for pair in apart):
        return ""
    if any(comparison.reason for comparison in apart.values()):
        return ""
    if call.capture.dtype in ("float16", "bfloat16"):
        share = _UNKNOWN_OF_HALF
    else:
        share = _UNKNOWN
    most = 0.0
    for theirs, yours in zip(call.outputs["framework"], call.outputs["expected"], strict=False):
        if theirs is None or yours is None:
            continue
        finite = np.isfinite(theirs) & np.isfinite(yours)
        right, mine = (array[finite].astype(np.float64) for array in (theirs, yours))
        off = float(np.abs(mine - right).max(initial=0.0))
        if off > share * float(np.abs(right).max(initial=0.0)):
            return ""
        most = max(most, off)
    return (
        f"yours differs by no more than {most:.3g}, and what rounding may do is not known: {taken}"
    )


def _weakness(call: Judgement) -> str:
    """What an agreement does not say, where it says less than usual. ONNX Runtime alone, in
    float32, may be no evidence at all."""
    shares = [power.share for party, power in call.power.items() if party != "onnx"]
    least = min(shares, default=1.0)
    if least < SURE:
        return f"; this check would detect only {100 * least:.0f} of 100 wrong elements"
    return ""


def verdict_on(call: Judgement) -> Verdict:
    """The verdict and its reason, naming the odd one out."""
    inner = {name: verdict_on(judgement) for name, judgement in call.within.items()}
    for name, verdict in inner.items():
        if verdict.word == "diverge":
            return Verdict("diverge", f"diverge: within it {name} {verdict.sentence}")
    apart = {pair: comparison for pair, comparison in call.comparisons.items() if not comparison.ok}
    doubts = {name: result.doubt for name, result in call.results.items() if result.doubt}
    if apart and all(doubts.keys() & set(pair) for pair in apart):
        return Verdict("unchecked", f"unchecked: {'; '.join(doubts.values())}")
    if not apart:
        return _agreement(call)
    if all("onnx" in pair for pair in apart) and _nan_alone(
        call.outputs["framework"], _holding_nan(call.outputs["framework"])
    ):
        return Verdict("unchecked", f"unchecked: {_NAN_ALONE}")
    if reason := _within_unknown(call, apart):
        return Verdict("unchecked", f"unchecked: {reason}")
    return Verdict("diverge", f"diverge: {_difference(call, apart)}")


def _agreement(call: Judgement) -> Verdict:
    """Where no pair differs: that all agree, or why that says nothing."""
    partly_nan = _holding_nan(call.outputs["framework"])
    if reason := _unchecked(call, partly_nan) or _not_composed(call):
        return Verdict("unchecked", f"unchecked: {reason}")
    used = max(comparison.ratio for comparison in call.comparisons.values())
    notes: tuple[str, ...] = ()
    limit = "your tolerance" if call.tolerant else "the allowance"
    if used:
        text = f"the largest difference is {used:.2g} x {limit}"
    else:
        text = "all values are identical"
    text += "".join(
        f", assuming that {NAMES[name]} {result.allowed.lossy}"
        for name, result in call.results.items()
        if result.allowed.lossy
    )
    text += _hidden(call.outputs["framework"], partly_nan)
    if taken := _taken(call):
        text += f"; {taken}"
    if used:
        text += _weakness(call)
        onnx = call.power.get("onnx")
        if onnx is not None and onnx.share < ENOUGH:
            words = blunt("onnx", onnx, call.capture.dtype)
            notes = (f"ONNX Runtime's agreement is no evidence here: {words}",)
    return Verdict("agree", f"agree: {_listed(call.present, call)} agree; {text}", notes)


def _difference(call: Judgement, apart: Mapping[Pair, Comparison]) -> str:
    """Who differs, what that means, and by how much."""
    present = call.present
    if "numpy" not in call.outputs and not any(comparison.reason for comparison in apart.values()):
        return (
            f"{_listed(present, call)} differ (NumPy is missing: {call.missing.get('numpy', '')})"
        )
    odd = [party for party in present if all(party in pair for pair in apart)]
    undefined = [
        difference.undefined for difference in call.unusual.differences if difference.undefined
    ]
    explained = all(
        comparison.reason or _only_touched(pair, call) for pair, comparison in apart.items()
    )
    if undefined and explained and odd not in (["onnx"], ["expected"]):
        return f"{undefined[0]}. {_extent(apart, call)}"
    beyond = call.differing
    # Where the others hold the range, in the same dtype, numbers that are lost in yours alone may
    # have any cause.
    known = (odd == ["onnx"] and bool(call.unusual.differences)) or (
        odd == ["expected"] and "framework" in present
    )
    if (
        beyond
        and not known
        and all(leaves_range(party, call, odd == ["numpy"]) for party in beyond)
    ):
        return f"{_of_range(beyond, call)}. {_extent(apart, call)}"
    if len(odd) == 1 and len(present) > 2:
        others = [
            party
            for party in present
            if party != odd[0]
            and tuple(sorted((party, odd[0]), key=PARTIES.index)) in call.comparisons
        ]
        meaning = _meaning(odd[0], others, call)
        if odd == ["expected"] and _of_another_shape(call):
            shapes = _extent(apart, call).replace("Shapes differ", "yours has another shape", 1)
            return f"{shapes}. {meaning[:1].upper()}{meaning[1:]}"
        return f"{NAMES[odd[0]]} is the odd one out: {meaning}. {_extent(apart, call)}"
    if len(apart) == 1:
        left, right = next(iter(apart))
        return f"{NAMES[left]} and {NAMES[right]} differ. {_extent(apart, call)}"
    pairs = ", ".join(f"{NAMES[left]} and {NAMES[right]}" for left, right in apart)
    return f"no single party is the odd one out; these differ: {pairs}. {_extent(apart, call)}"


def _of_another_shape(call: Judgement) -> bool:
    return any(
        theirs is not None and yours is not None and theirs.shape != yours.shape
        for theirs, yours in zip(call.outputs["framework"], call.outputs["expected"], strict=False)
    )


def _hidden(outputs: Arrays, partly_nan: Sequence[np.ndarray]) -> str:
    """How much of an output is NaN, which two parties may have for any reason."""
    if not partly_nan:
        return ""
    lost = sum(int(np.isnan(output).sum()) for output in partly_nan)
    total = sum(output.size for output in outputs if output is not None)
    return f"; {lost} of its {total} values are NaN, which would hide an error there"


def _only_touched(pair: Pair, call: Judgement) -> bool:
    """Whether two parties are equal wherever no known difference may have changed a number."""
    touched = call.unusual.touched
    if touched is None:
        return False
    left, right = (call.outputs[party][0] for party in pair)
    return (
        left is not None and right is not None and np.array_equal(left[~touched], right[~touched])
    )


def _of_range(parties: Sequence[str], call: Judgement) -> str:
    names = [computes_in(party, call.capture.dtype) for party in parties]
    return (
        f"an intermediate result overflows {' and '.join(dict.fromkeys(names))} in "
        f"{_listed(parties, call)} (operands up to {call.unusual.largest:.2g}); NumPy in float64 "
        "does not overflow: check the layer on smaller inputs"
    )


def _meaning(odd: str, others: Sequence[str], call: Judgement) -> str:
    names = _names(others, call)
    agreed = _listed(others, call) + (" agree" if len(names) > 1 else " says otherwise")
    if call.unusual.differences:
        known = f"{call.unusual.differences[0].sentence} (a known difference)"
    else:
        known = "this is not one of its known differences"
    if odd == "expected":
        return f"{agreed}, so your values are not this layer's output on this input"
    if call.capture.by_onnxruntime:
        return {
            "framework": f"{agreed}, so ONNX Runtime gives another result inside the model",
            "numpy": f"{agreed}, so either it computes this layer differently ({known}) or this is "
            "an error in probe's NumPy computation: please report it",
            "onnx": f"{agreed}, so ONNX Runtime gives another result for the layer alone: {known}",
        }[odd]
    return {
        "framework": f"{agreed}, so the framework does not compute what the layer's options say",
        "numpy": f"{agreed}, so this is an error in probe's NumPy computation: please report it",
        "onnx": f"{agreed}, so ONNX Runtime computes this layer differently: {known}",
    }[odd]


def _names(parties: Sequence[str], call: Judgement) -> list[str]:
    """ONNX Runtime's once where it ran the model, too: it is no second opinion then."""
    if call.capture.by_onnxruntime and {"framework", "onnx"} <= set(parties):
        parties = [party for party in parties if party != "framework"]
        return [
            NAMES[party] + " (which also ran the model)" * (party == "onnx") for party in parties
        ]
    return [NAMES[party] for party in parties]


def _listed(parties: Sequence[str], call: Judgement) -> str:
    names = _names(parties, call)
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]


def _tier(apart: Mapping[Pair, Comparison]) -> str:
    """Which of the two tiers the difference lies in."""
    rated = [comparison.certain for comparison in apart.values() if comparison.certain is not None]
    if not rated:
        return ""
    if any(rated):
        return ". This is not rounding: it is above the worst case of any summation order"
    return (
        ". This is unlikely to be rounding (above the 6-sigma bound, below the worst-case bound). "
        "TF32, bfloat16 or float16 accumulation and 12- to 16-bit weights look like this"
    )


def _limit(call: Judgement) -> str:
    if call.tolerant:
        return "your tolerance"
    return "the allowance for rounding"


def _extent(apart: Mapping[Pair, Comparison], call: Judgement) -> str:
    worst = max(apart.values(), key=lambda comparison: comparison.ratio)
    if worst.reason or worst.worst is None:
        return worst.reason[:1].upper() + worst.reason[1:]
    if any(call.capture.output_grids) and not worst.worst.allowance:
        return (
            f"{worst.count} of {worst.size} codes differ, the worst by {worst.worst.error:.3g}; "
            "codes are compared exactly"
        )
    return (
        f"{worst.count} of {worst.size} elements differ by more than {_limit(call)}, the worst "
        f"by {worst.worst.error:.3g} (limit {worst.worst.allowance:.2g}){_tier(apart)}"
    )
