"""What the work for changes of any step did not suffice for in a block of many."""

from collections.abc import Iterator

from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.registry import more
from probe.hypotheses.steps.fitted_numbers import fitted_constants
from probe.hypotheses.steps.moved_steps import moved_step
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@more("moved-step")
def moved_steps_untried(case: Case) -> Iterator[Changes]:
    """A step elsewhere, of those that were not reached."""
    for changes in moved_step(case) if case.calls else ():
        if isinstance(changes, Changes):
            yield changes._replace(which=STEPS, only_new=True)


@more("changed-step")
def constants_untried(case: Case) -> Iterator[Edit]:
    """A number that is no usual one, of those that were not reached."""
    if case.calls:
        yield from fitted_constants(case)
