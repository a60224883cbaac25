"""What the work for changes of any step did not suffice for in a block of many: steps elsewhere,
left out, or with another tensor."""

from collections.abc import Iterator

from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.registry import Hypothesis, more
from probe.hypotheses.steps.data_flow import missing_step, other_tensor
from probe.hypotheses.steps.moved_steps import moved_step
from probe.trial.case import Case

__all__: list[str] = []


def _untried(case: Case, mistake: Hypothesis) -> Iterator[Changes]:
    for changes in mistake(case) if case.calls else ():
        if isinstance(changes, Changes):
            yield changes._replace(which=STEPS, only_new=True)


@more("moved-step")
def moved_steps_untried(case: Case) -> Iterator[Changes]:
    """Those of the steps that were not reached."""
    yield from _untried(case, moved_step)


@more("missing-step")
def missing_steps_untried(case: Case) -> Iterator[Changes]:
    """Those of the steps that were not reached."""
    yield from _untried(case, missing_step)


@more("other-tensor")
def other_tensors_untried(case: Case) -> Iterator[Changes]:
    """Those of the steps that were not reached."""
    yield from _untried(case, other_tensor)
