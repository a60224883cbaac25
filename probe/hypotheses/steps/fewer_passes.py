"""A loop of the model's code that ends some passes earlier."""

from collections.abc import Iterator

from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.numbers_of_passes import ended_early
from probe.hypotheses.registry import more
from probe.trial.case import Case

__all__: list[str] = []


@more("changed-step")
def fewer_passes(case: Case) -> Iterator[Changes]:
    """An iteration too few, tried before steps of single passes: what one of these makes the same
    everywhere, such as a sum over all axes, may be as good as left out."""
    if case.calls:
        yield Changes(ended_early, "changed-step", STEPS, every_pass=True)
