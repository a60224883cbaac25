"""Norms that are rounded to a half format at another place: before the product with the gain, or
after it."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.edits.regrouped_steps import decomposed
from probe.hypotheses.edits.rewriting import inserted, of_parameters, taking_instead
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.precision.low_precision import StoredAs, narrowed
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change
from probe.trial.edit import Edit

__all__: list[str] = []

_FORMATS = ("bfloat16", "float16")
_BACK = 6
"""How many steps behind its root a norm's gain and bias are."""


@hypothesis("cast-order")
def cast_order(case: Case) -> Iterator[Edit]:
    """The normalised values are rounded to a half format before they are multiplied by the gain, or
    added to the bias, and the layer rounds after it; or the reverse.

    Llama's RMS norm casts x / rms to the format of the model and multiplies then, Gemma's
    multiplies in float32 and casts last. The error is a rounding of the format and no more.
    """
    # of a large layer, taking its norms apart takes longer than there is
    whole = decomposed(case) if case.region is None else case
    kept = {op.to for _, op in whole.having(ops.Stored)} & {*_FORMATS}
    for position, op in whole.having(ops.Mul, ops.Add):
        part = "gain" if isinstance(op, ops.Mul) else "bias"
        sources = whole.steps[position].sources(position)
        of_input = [ref for ref in sources if ref.step not in of_parameters(whole)]
        if len(of_input) != 1 or len(sources) != 2 or not _is_of_norm(whole, of_input[0]):
            continue
        (x,) = of_input
        name = tensor_name(whole, x)
        cast = whole.steps[x.step] if x.step >= 0 else None
        if cast is not None and isinstance(cast.op, ops.Stored):
            (before,) = cast.sources(x.step)
            late = {position: taking_instead(whole, position, x, before)}
            what = f"{tensor_name(whole, before)} is rounded after the {part}, not before it"
            yield whole.edit_of(Change(what, "", late), "cast-order")
            continue
        for kind in kept or _FORMATS:
            what = f"{name} is rounded to {kind} before the {part}, not after it"
            early = inserted(whole, x, Step(StoredAs(kind), (x,)), what, user=position)
            yield whole.edit_of(early, "cast-order")
            if _is_of(kind, case.seen):
                steps = whole.became_steps(early.applied(whole.steps)).appended(StoredAs(kind))
                also = "" if kept else ", and the output again"
                yield whole.edit(what + also, steps, as_healthy=True)


def _is_of(kind: str, values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool((narrowed(finite, kind) == finite).all())


def _is_of_norm(case: Case, ref: Ref) -> bool:
    """Whether a tensor was divided by a root a few steps before."""
    line = [ref]
    for _ in range(_BACK):
        steps = {ref.step for ref in line if ref.step >= 0}
        if any(isinstance(case.steps[at].op, ops.Sqrt | ops.Rsqrt) for at in steps):
            return True
        kinds = ops.Mul | ops.Div | ops.Add | ops.Stored
        alike = [at for at in steps if isinstance(case.steps[at].op, kinds)]
        line = [ref for at in alike for ref in case.steps[at].sources(at)]
    return False
