"""Values that are no longer the layer's own: another tensor has its place in memory."""

from collections.abc import Iterator

import numpy as np

from probe.hypotheses.registry import hypothesis
from probe.numerics.shared_memory import DO, in_words, overlaps
from probe.ops import Constant, Where
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@hypothesis("reused-buffer")
def reused_buffer(case: Case) -> Iterator[Edit]:
    """The values are those of another tensor, as a whole or in part: a buffer that was used again.

    Engines with a plan of their memory, as TFLite's interpreter and TFLM, give a tensor the place
    of one that no later layer takes. Read after the run, such a tensor holds what the later one
    has left there, and there is no error.
    """
    if not case.comparable or case.known is not None:
        return
    tensors = case.tensors()
    if case.layer not in tensors:
        return
    found = overlaps(case.observed, case.layer, tensors)
    if not found:
        return
    taken = np.zeros(case.observed.size, bool)
    for overlap in found:
        taken[overlap.start : overlap.stop] = True
    last = len(case.steps) - 1
    steps = (
        *case.steps,
        Step(Constant(value=taken.reshape(case.observed.shape)), ()),
        Step(Constant(value=case.observed), ()),
        Step(Where(fixed=True), (Ref(last + 1), Ref(last + 2), Ref(last))),
    )
    yield case.edit(in_words(found, case.layer, taken.size, tensors), steps, do=DO)
