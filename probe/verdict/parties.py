"""The engines that a call is asked of, the framework and ONNX Runtime, each held against NumPy."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module

import numpy as np

from probe.comparison.compare import Comparison
from probe.errors import Undescribed
from probe.evaluation.bounds import Bounds, first_precision
from probe.evaluation.party import Party, PartyResult, compared
from probe.evaluation.reference import Reference
from probe.model import Capture
from probe.numerics.dtypes import overflown
from probe.numerics.precision import precision_of
from probe.verdict.all_agree import all_agree, all_agree_with_less
from probe.verdict.judgement import Pair
from probe.verdict.ladder import judged
from probe.verdict.pairwise import equal

__all__ = ["engines", "onnx_answer"]


def onnx_answer(
    capture: Capture, layer: Reference, threads: int
) -> tuple[tuple[np.ndarray, ...] | None, str]:
    """ONNX Runtime's outputs, or None and why there are none."""
    if layer.empty:
        return None, "an array of this call is empty: there is nothing to compute"
    # only now: a model that runs in another process has run meanwhile
    crosscheck = import_module("probe.evaluation.onnxruntime_reference").crosscheck
    try:
        outputs = crosscheck(layer.steps, layer.raw_inputs, layer.values, threads)
    except Undescribed as error:
        return None, str(error)
    wrapped = [
        _wrapped(output, value.dtype)
        for output, value in zip(outputs, layer.values[-1], strict=True)
    ]
    answer = overflown(wrapped, capture.dtype)
    if capture.dtype == "float64":
        lost = sum(map(_lost, answer, layer.values[-1]))
        unheld = sum(map(_unheld, layer.raw_inputs))
        if lost or unheld:
            if lost:
                text = f"{lost} elements of its output are inf or NaN"
            else:
                text = f"{unheld} elements of the input are inf"
            return None, f"it computes this layer in float32, which overflows here: {text}"
    return answer, ""


def _lost(output: np.ndarray, value: np.ndarray) -> int:
    """How many elements are inf or NaN that are none in NumPy."""
    if output.shape == value.shape:
        return int((np.isfinite(value) & ~np.isfinite(output)).sum())
    return 0


def _unheld(x: np.ndarray) -> int:
    """How many finite numbers are infinite in float32, as a comparison does not show."""
    if x.dtype == np.float64:
        return int((np.isfinite(x) & (np.abs(x) > np.finfo(np.float32).max)).sum())
    return 0


def _wrapped(output: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Integers, which the graph holds in 64 bits, in the layer's own: what lies beyond wraps
    around."""
    if output.dtype.kind in "iu" and dtype.kind in "iu":
        return output.astype(dtype)
    return output


def engines(
    capture: Capture, layer: Reference, answer: tuple[np.ndarray, ...] | None, sparing: bool
) -> tuple[dict[str, PartyResult], Mapping[Pair, Comparison]]:
    """The framework and ONNX Runtime, which gave ``answer``, held against NumPy; and the two held
    against each other, where that is known on the way.

    Where ONNX Runtime gives what the framework gave, bit for bit, and may err as much, it needs no
    look of its own. ``sparing`` does with less than the whole allowance where all agree within
    that.
    """
    bounds, recurrent = Bounds(layer, first_precision(layer, capture.dtype)), layer.recurrent
    usual = bounds.precision
    single = precision_of("float32", casts=capture.dtype == "float64")
    if answer is not None and not recurrent:
        if sparing:
            if (agreement := all_agree_with_less(capture, bounds, answer, single)) is not None:
                return agreement
        if single == usual:
            if (agreement := all_agree(capture, bounds, answer, bounds.first())) is not None:
                return agreement
    own, theirs = usual, single
    if layer.sketchy:
        own, theirs = (
            replace(usual, sketches=capture.by_onnxruntime),
            replace(single, sketches=True),
        )
    framework = judged(Party("framework", capture.outputs, bounds.by(own)))
    if answer is None:
        return {"framework": framework}, {}
    party = Party("onnx", answer, bounds.by(theirs))
    onnx = None
    if single == usual:
        onnx = _shared(framework, party, recurrent)
    if onnx is None:
        onnx = judged(party)
    return {"framework": framework, "onnx": onnx}, {}


def _shared(framework: PartyResult, party: Party, recurrent: bool) -> PartyResult | None:
    """ONNX Runtime held against what the framework was held against, where that tells enough: it
    gave the same, or each of its steps is right from the framework's states already."""
    if not recurrent and (
        framework.allowed.lossy or not equal(framework.party.outputs, party.outputs)
    ):
        return None
    result = compared(party, framework.allowed)
    if not recurrent or result.comparison.ok:
        return result
    return None
