"""A large call of a sweep judged a few samples at a time, so that memory does not grow with the
batch.

Only where every step treats samples apart, and only for calls in which all agree: any other is
judged as a whole.
"""

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from probe.comparison.compare import Comparison
from probe.model import Capture
from probe.report import Report
from probe.verdict.judge import judge
from probe.verdict.lazy_outputs import OnDemand
from probe.verdict.options import Options

__all__ = ["judged_in_pieces"]

_LARGE = 1 << 20


def judged_in_pieces(capture: Capture, options: Options) -> Report:
    """What ``judge`` says of a call with sparing ``options``; where all agree, only the framework's
    outputs are kept."""
    arrays = (*capture.inputs, *capture.outputs)
    count = arrays[0].shape[0] if arrays and arrays[0].ndim else 0
    if count < 2 or max(array.size for array in arrays) < _LARGE or not _apart(capture, count):
        return judge(capture, options=options)
    reports = []
    size = max(array.size for array in arrays) // count
    step = max(1, _LARGE // size)
    for at in range(0, count, step):
        piece = replace(
            capture,
            inputs=tuple(array[at : at + step] for array in capture.inputs),
            outputs=tuple(array[at : at + step] for array in capture.outputs),
        )
        report = judge(piece, options=options)
        if report.verdict != "agree":
            return judge(capture, options=options)
        reports.append(replace(report, outputs={}, inputs=()))
        del report
        if size > _LARGE // 4:
            _give_back()
    worst = max(
        reports,
        key=lambda report: max(comparison.ratio for comparison in report.comparisons.values()),
    )
    comparisons = {
        pair: _joined([report.comparisons[pair] for report in reports], step)
        for pair in worst.comparisons
    }
    outputs = OnDemand(
        capture,
        partial(judge, options=replace(options, sparing=False)),
        tuple(dict.fromkeys(party for pair in comparisons for party in pair)),
    )
    notes = tuple(dict.fromkeys(note for report in reports for note in report.notes))
    return replace(
        worst, outputs=outputs, inputs=capture.inputs, comparisons=comparisons, notes=notes
    )


def _give_back() -> None:
    """Returns freed memory to the system: glibc keeps what a sample took, in pieces that the next
    one does not always fit."""
    if (
        sys.platform == "linux"
        and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None
    ):
        trim(0)


def _apart(capture: Capture, count: int) -> bool:
    """Whether the call has one batch axis, the first, which no step looks across."""
    if capture.description is None or any(
        array.ndim < 2 or array.shape[0] != count for array in (*capture.inputs, *capture.outputs)
    ):
        return False
    return all(step.op.samplewise for step in capture.description.steps)


def _joined(parts: Sequence[Comparison], step: int) -> Comparison:
    """The comparison of a batch from those of ``step`` samples each, all of which agree."""
    at = max(range(len(parts)), key=lambda position: parts[position].ratio)
    worst = parts[at].worst
    if worst is not None:
        worst = replace(worst, index=(at * step + worst.index[0], *worst.index[1:]))
    return replace(parts[at], size=sum(part.size for part in parts), worst=worst)
