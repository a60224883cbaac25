"""Values that another engine's kernel of the same layer gives."""

from collections.abc import Iterator

from probe.evaluation.other_kernels import NEITHER, GivenBy, given_by
from probe.hypotheses.registry import hypothesis
from probe.trial.case import Case, once
from probe.trial.edit import Edit

__all__ = ["kernels_of"]


@hypothesis("another-kernel")
def another_kernel(case: Case) -> Iterator[Edit]:
    """The values are what another engine's kernel of this layer gives: its arithmetic is another
    one, and neither is wrong.

    TFLite's engines compute sums, means, softmax, resizing and quantising of codes in ways that
    differ by more than how they round: in float32 or in whole numbers, by tables, with weights of
    10 or of 11 bits.
    """
    if (found := kernels_of(case)) is not None:
        yield case.edit(found.claim(), next(iter(found.kernels.values())), do=NEITHER)


@once
def kernels_of(case: Case) -> GivenBy | None:
    """The other engines' kernels that give the observed values; None where none does."""
    if not case.comparable or case.known is not None:
        return None
    return given_by(case.kernels(), case.inputs, case.observed, case.budget.ran)
