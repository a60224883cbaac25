"""What ``check`` and ``sweep`` say of one call beyond its verdict, and of faults of ours: a call is
then unchecked, and the others go on."""

from dataclasses import replace

import numpy as np

from probe.errors import ProbeError
from probe.evaluation.reference import failure
from probe.model import Capture, Model, Recorded
from probe.ops import Recomputed
from probe.report import Report
from probe.verdict.batch_chunks import judged_in_pieces
from probe.verdict.judge import judge
from probe.verdict.options import NOT_SEARCHED, Options, Yours

__all__ = ["judged_or_unchecked", "untraced", "without_search"]


@np.errstate(invalid="ignore")  # NumPy warns of a signalling NaN wherever it is converted
def judged_or_unchecked(capture: Capture, yours: Yours | None, options: Options) -> Report:
    """What is said of a call. A fault of ours leaves it unchecked, and one in the search for a
    mistake without that."""
    try:
        if options.sparing:
            return judged_in_pieces(capture, options)
        return judge(capture, yours, options)
    except ProbeError:
        raise
    except Exception as error:
        if options.search is not None:
            report = judged_or_unchecked(capture, yours, replace(options, search=None))
            note = failure(capture, error, "internal error in the search for the mistake")
            return replace(report, notes=(*report.notes, note))
        if any(isinstance(step.op, Recomputed) for step in capture.steps):
            raise  # of the user's own function, and theirs to see
        why = failure(capture, error, "internal error in the comparison")
        return judge(replace(capture, description=None, why=why), yours, options)


def without_search(report: Report) -> Report:
    """The report of a check that was asked for the verdict alone."""
    if report.verdict != "diverge":
        return report
    return replace(report, diagnosis=(*report.diagnosis, NOT_SEARCHED))


def untraced(model: Model, capture: Capture, yours: Yours | None) -> tuple[str, ...]:
    """A note on user values whose way through a recording is not known to its beginning."""
    if yours is None or yours.inputs is not None or not isinstance(model, Recorded):
        return ()
    before = model.untraced(*capture.key)
    if not before:
        return ()
    return (
        f"the allowance for your values leaves out rounding before {before}, which a recording "
        "cannot compute again: give the layer's own input (given=, --expect-input)",
    )
