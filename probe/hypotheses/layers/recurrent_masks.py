"""Mistakes with the masks of recurrences: padded time steps that are computed like all others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from probe import ops
from probe.hypotheses.edits.grouped_changes import all_and_each
from probe.hypotheses.edits.rewriting import made_by, source_of, taking_instead
from probe.hypotheses.edits.step_words import ordinal
from probe.hypotheses.layers.recurrent import everywhere_and_singly
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change
from probe.trial.edit import Edit

__all__: list[str] = []


@hypothesis("ignored-mask")
def ignored_mask(case: Case) -> Iterator[Edit]:
    """Masked or padded time steps were computed like all others, or output as zeros where the layer
    carries its state on.

    Only sequences with padding show this. At a masked step Keras repeats the previous output;
    PyTorch's packed sequences give 0.
    """
    every = [position for position, _ in case.having(ops.Recurrence)]
    masked = [position for position, op in case.having(ops.Recurrence) if op.has_mask]
    for some, (padding, hidden) in product(all_and_each(masked), _UNMASKED):
        change = _unmasked(case, some, padding, hidden)
        if change is not None:
            where = f" of the {ordinal(every.index(some[0]) + 1)} recurrence"
            where = "" if len(some) == len(every) else where
            how = _UNMASKED[padding, hidden]
            yield case.edit(
                f"masked time steps{where} are computed like all others{how}",
                change.applied(case.steps),
                do="carry the state over masked time steps",
            )
    for zeros in (True, False):
        for steps, where in everywhere_and_singly(case, partial(_with_masked, zeros=zeros)):
            if zeros:
                text = "0 at masked time steps instead of the previous output"
            else:
                text = "the previous output at masked time steps instead of 0"
            yield case.edit(f"the output is {text}{where}", steps)


def _with_masked(op: ops.Recurrence, zeros: bool) -> ops.Recurrence | None:
    """With zeros at masked steps, or the previous output there; None where that is no other."""
    if not op.has_mask or op.zero_masked == zeros:
        return None
    return replace(op, zero_masked=zeros)


_UNMASKED = {
    (False, False): "",
    (True, False): ", with what the padding of the input holds",
    (False, True): ", and only the output is 0 there",
    (True, True): ", with what the padding of the input holds, and only the output is 0 there",
}
"""Whether the input has its own padding, not zeros, and whether the output is masked still; and how
that is told."""


def _unmasked(case: Case, positions: Sequence[int], padding: bool, hidden: bool) -> Change | None:
    """Recurrences without their masks; None where the padding of the input is not known, or the
    output is not 0 at masked steps."""
    steps: dict[int, Step] = {}
    out: Ref | None = None
    for position in positions:
        x, mask, *states = case.steps[position].sources(position)
        op: Any = case.steps[position].op
        if padding:
            packed = source_of(case, x) if made_by(case, x, ops.Unpacked) else x
            if not made_by(case, packed, ops.Packed):
                return None
            x = source_of(case, packed)
        steps[position] = Step(replace(op, has_mask=False), (x, *states))
        if hidden and isinstance(op, ops.Recurrence) and op.zero_masked:
            out = _with_zeros(case, position, mask, steps) or out
    if hidden and len(steps) == len(positions):
        return None
    return Change("", "", steps, out)


def _with_zeros(case: Case, position: int, mask: Ref, steps: dict[int, Step]) -> Ref | None:
    """Puts zeros at masked steps behind a recurrence; what the layer gives where that is it."""
    new = len(case.steps) + sum(at >= len(case.steps) for at in steps)
    steps[new] = Step(ops.Unsqueeze((2,)), (mask,))
    steps[new + 1] = Step(ops.Mul(), (Ref(position), Ref(new)))
    for user in users_of(case).get(Ref(position), ()):
        step = steps.get(user)
        if step is None:
            steps[user] = taking_instead(case, user, Ref(position), Ref(new + 1))
        else:
            refs = (Ref(new + 1) if ref == Ref(position) else ref for ref in step.sources(user))
            steps[user] = Step(step.op, tuple(refs))
    return Ref(new + 1) if position == len(case.steps) - 1 else None
