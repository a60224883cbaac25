"""The values that a user computed, as outputs of a layer and as a party of its verdict."""

from dataclasses import dataclass, replace

import numpy as np

from probe.capture.user_arrays import Partial, Unshaped, as_outputs
from probe.evaluation.bounds import Bounds
from probe.evaluation.party import Arrays, PartyResult
from probe.evaluation.reference import recomputed_call
from probe.model import Capture
from probe.verdict.options import Yours
from probe.verdict.parties import user

__all__ = ["UserOutputs", "held_against_numpy", "outputs_of"]


@dataclass(frozen=True, eq=False)
class UserOutputs:
    """The user's values as outputs of the layer."""

    outputs: Arrays
    digits: np.ndarray | float = 0.0
    """How far those of the first output may be off by the digits they are written with."""
    known: np.ndarray | None = None
    """Where values were given, where not everywhere."""
    notes: tuple[str, ...] = ()


def outputs_of(yours: Yours, capture: Capture) -> UserOutputs:
    values, count = yours.values, len(capture.outputs)
    shape = capture.outputs[0].shape if capture.outputs else ()
    if isinstance(values, Partial):
        whole = values.spread(shape)
        note = (
            f"you gave {int(whole.known.sum())} of the output's {whole.known.size} values; the "
            "others are not compared"
        )
        notes = tuple(filter(None, (note, whole.read, _few_digits(values.values, values.slack))))
        return UserOutputs(as_outputs(whole.values, count), whole.slack, whole.known, notes)
    if not isinstance(values, Unshaped):
        return UserOutputs(as_outputs(values, count))
    digits = tuple(filter(None, (_few_digits(values.values, values.slack),)))
    if values.values.size != capture.outputs[0].size:
        return UserOutputs(
            as_outputs(values, count), float(np.max(values.slack, initial=0.0)), notes=digits
        )
    note = (
        f"your file has no shape; its {values.values.size} values are read in row-major "
        f"(C) order as {shape}"
    )
    slack = np.broadcast_to(values.slack, values.values.shape).reshape(shape)
    return UserOutputs(
        as_outputs(values.values.reshape(shape), count), slack, notes=(note, *digits)
    )


_MANY_DIGITS = 2.0**-25
"""Of the largest value: what float32 leaves out of it."""


def _few_digits(values: np.ndarray, slack: np.ndarray | float) -> str:
    """What is said of values that a text holds in fewer digits than float32 has."""
    most = float(np.max(slack, initial=0.0))
    largest = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
    if most <= _MANY_DIGITS * largest:
        return ""
    return (
        f"your values are written with few digits; the allowance includes up to {most:.2g} for the "
        "digits left out"
    )


def held_against_numpy(
    yours: Yours, mine: UserOutputs, capture: Capture, framework: PartyResult
) -> PartyResult:
    """The user's values, held against NumPy on the inputs that they were computed from.

    What would explain them leaves them in doubt only where the framework needs it, too.
    """
    notes, bounds = tuple[str, ...](), framework.party.bounds
    if yours.inputs is not None and capture.description is not None:
        layer = recomputed_call(capture, yours.inputs)
        bounds = Bounds(layer, bounds.precision)
        notes = ("your output is compared with NumPy run on your own values of the layer's input",)
    result = user(
        mine.outputs,
        bounds,
        capture.dtype,
        drift=yours.drift,
        digits=mine.digits,
        known=mine.known,
    )
    doubt = result.doubt
    if doubt and not (framework.allowed.lossy or framework.doubt):
        result = replace(result, doubt="", notes=(*result.notes, doubt))
    return replace(result, notes=(*notes, *result.notes))
