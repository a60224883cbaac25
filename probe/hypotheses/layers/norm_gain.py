"""The gain of a norm that is stored minus 1."""

from collections.abc import Iterator

from probe import ops
from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@hypothesis("norm-offset")
def norm_offset(case: Case) -> Iterator[Edit]:
    """A normalisation multiplies by w instead of 1 + w, or the reverse, or adds 1 twice.

    Gemma and others store the gain minus 1. The output is wrong by the factor w / (1 + w) in each
    channel.
    """
    for some in all_and_each(_gains(case), most=8):
        for by, words in ((1.0, "1 is added to"), (-1.0, "1 is subtracted from")):
            arrays = {name: case.weights[name].effective + by for name in some}
            told = ", ".join(some[:3]) + (", ..." if len(some) > 3 else "")
            yield case.edit(
                f"{words} {told}",
                case.with_weights(arrays),
                do=f"use {told} as it is",
            )
    for position, _ in case.having(ops.Mul):
        for ref in case.steps[position].sources(position):
            if ref.step < 0 and case.inputs[ref.index].ndim == 1:
                x = case.inputs[ref.index]
                for by, words in ((-1.0, "w instead of 1 + w"), (1.0, "2 + w instead of 1 + w")):
                    inputs = (*case.inputs[: ref.index], x + by, *case.inputs[ref.index + 1 :])
                    yield case.edit(f"the gain is {words}", inputs=inputs, do="use 1 + w")


def _gains(case: Case) -> list[str]:
    """The weights that norms multiply by."""
    found = []
    for position, op in case.having(ops.RMSNormalization, ops.LayerNormalization):
        del position
        if op.scale is not None:
            found.append(op.scale.name)
    for position, _ in case.having(ops.Mul):
        for ref in case.steps[position].sources(position):
            step = case.steps[ref.step].op if ref.step >= 0 else None
            weight = getattr(step, "weight", None)
            if isinstance(step, ops.Parameter) and weight is not None and weight.value.ndim == 1:
                found.append(weight.name)
    return list(dict.fromkeys(found))
