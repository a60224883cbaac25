"""The values that a user computed, as outputs of a layer and as a party of its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe.capture.user_arrays import Partial, Unshaped, as_outputs
from probe.capture.user_codes import coded, codes_of
from probe.evaluation.bounds import Bounds, first_precision
from probe.evaluation.party import Arrays, Extra, Party, PartyResult
from probe.evaluation.propagated_error import Drift
from probe.evaluation.reference import recomputed_call
from probe.model import Capture
from probe.numerics.precision import precision_of
from probe.verdict.ladder import judged
from probe.verdict.options import Yours

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
    """The user's values as outputs of the call, whose codes they are where it gives codes."""
    mine = _as_outputs(yours, capture)
    outputs, digits, notes = list(mine.outputs), mine.digits, mine.notes
    for place, (values, grid) in enumerate(zip(mine.outputs, capture.output_grids, strict=False)):
        if values is None or grid is None:
            continue
        slack = 0.0 if place else digits
        outputs[place], slack, words = codes_of(values, grid, slack)
        notes = (*notes, words)
        digits = digits if place else slack
    return replace(mine, outputs=tuple(outputs), digits=digits, notes=notes)


def _as_outputs(yours: Yours, capture: Capture) -> UserOutputs:
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
        layer = recomputed_call(capture, coded(yours.inputs, capture.input_grids))
        bounds = Bounds(layer, bounds.precision)
        notes = ("your output is compared with NumPy run on your own values of the layer's input",)
    result = _user(
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


def _user(
    outputs: Arrays,
    bounds: Bounds,
    dtype: str,
    *,
    drift: Drift | None,
    digits: np.ndarray | float,
    known: np.ndarray | None,
) -> PartyResult:
    """The user's values held against NumPy: they may be off by the layer's own rounding, that of
    the layers before, and of storing or typing them."""
    layer = bounds.layer
    notes: list[str] = []
    stored: list[np.ndarray] = []
    for output, values in enumerate(outputs):
        slack = np.asarray(0.0 if output else digits)
        if values is not None and values.dtype == np.float16 and dtype != "float16":
            unit = precision_of("float16").unit
            slack = slack + unit * np.abs(layer.values[-1][output]) + 2.0**-25
            notes.append("your values are stored in float16; the allowance includes that rounding")
        stored.append(slack)
    extra = _beside(stored, drift)
    if drift is not None and any(slack.any() for slack in drift.slack):
        notes.append(
            "the allowance for your values includes rounding error propagated from the "
            "preceding layers"
        )
    party = Party("expected", outputs, bounds.by(first_precision(layer, dtype)), extra, known)
    result = judged(party)
    return replace(result, notes=(*notes, *result.notes))


def _beside(stored: Sequence[np.ndarray], drift: Drift | None) -> Extra:
    """What the user's values are allowed beside the layer's own rounding."""
    if drift is None:
        if any(map(np.any, stored)):
            return Extra(tuple(stored), tuple(stored))
        return Extra()
    pairs = list(zip(stored, drift.slack, strict=True))
    return Extra(
        tuple(slack + drifted for slack, drifted in pairs),
        tuple(slack + drift.further * drifted for slack, drifted in pairs),
    )
