"""The calls of a sweep judged in other processes, where the caller has set joblib up for that: on
this machine, or on a cluster by the backends that Dask and Ray register.

The forward pass stays here; what a call needs (its arrays and its description) goes to a process,
and the report comes back without them.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

from probe.model import Capture
from probe.ops import Recomputed
from probe.report import Report
from probe.verdict.lazy_outputs import OnDemand
from probe.verdict.options import Yours

__all__ = ["configured", "in_other_processes"]

Call = tuple[Capture, Yours | None]
Judged = tuple[Report, str]


def configured() -> ModuleType | None:
    """joblib, where ``joblib.parallel_config`` asks for more than one job."""
    joblib = sys.modules.get("joblib")
    if joblib is not None and joblib.effective_n_jobs(None) > 1:
        return joblib
    return None


def in_other_processes(
    joblib: ModuleType, judge: Callable[[Capture, Yours | None], Judged], calls: Iterator[Call]
) -> Iterator[tuple[Call, Judged]]:
    """Each call and what ``judge`` says of it, in order, a few calls at a time; those that no other
    process can judge are judged here."""
    waiting: deque[Call] = deque()

    def tasks() -> Iterator[object]:
        for capture, yours in calls:
            waiting.append((capture, yours))
            sent = _can_be_sent(capture)
            data = replace(capture, alone=None, constants=None, unseen=None, changed=None, parts=())
            yield joblib.delayed(_judged_there)(judge, (data, yours) if sent else None)

    for judged in joblib.Parallel(return_as="generator")(tasks()):
        capture, yours = waiting.popleft()
        if judged is None or _of_other_weights(judged, capture):
            judged = judge(capture, yours)
        else:
            judged = _with_arrays(judged, capture)
        yield (capture, yours), judged


def _can_be_sent(capture: Capture) -> bool:
    """Whether it has a description that is data alone: not a function of the user's, nor a layer to
    be exported."""
    return capture.description is not None and not any(
        isinstance(step.op, Recomputed) for step in capture.description.steps
    )


def _of_other_weights(judged: Judged, capture: Capture) -> bool:
    """Whether what diverges may do so because weights changed meanwhile, which only this process
    can tell."""
    report, _ = judged
    return report.verdict == "diverge" and capture.changed is not None and bool(capture.changed())


def _judged_there(
    judge: Callable[[Capture, Yours | None], Judged], call: Call | None
) -> Judged | None:
    """In the other process: without the arrays that the caller has."""
    if call is None:
        return None
    report, refused = judge(*call)
    lazy = isinstance(report.outputs, OnDemand)
    return replace(report, inputs=()) if lazy else report, refused


def _with_arrays(judged: Judged, capture: Capture) -> Judged:
    report, refused = judged
    if isinstance(report.outputs, OnDemand):
        report = replace(report, inputs=capture.inputs, outputs=report.outputs.of(capture))
    return report, refused
