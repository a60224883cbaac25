"""The commonest changes of the tensors within a block of several calls, or in a large layer: tried
before other weights are looked for, and before all that may happen to a tensor."""

from collections.abc import Callable, Iterator
from functools import partial

from probe.hypotheses.case import Case, Edit
from probe.hypotheses.edits.changes import Change
from probe.hypotheses.edits.mapped_tensors import extra, rearranged, scaled
from probe.hypotheses.edits.reproducing import STEPS, reproducing
from probe.hypotheses.registry import more

__all__: list[str] = []

_MAPS, _FACTORS, _ACTIVATIONS = 20, 8, 8
"""How many of them are tried on each tensor."""


@more("rearranged-tensor", last=True)
def rearranged_in_block(case: Case) -> Iterator[Edit]:
    """Turned, transposed, interleaved."""
    yield from _in_block(case, partial(rearranged, few=_MAPS), "rearranged-tensor")


@more("extra-step", last=True)
def extra_step_in_block(case: Case) -> Iterator[Edit]:
    """ReLU and the like."""
    yield from _in_block(case, partial(extra, few=_ACTIVATIONS), "extra-step")


@more("scaled-tensor", last=True)
def scaled_in_block(case: Case) -> Iterator[Edit]:
    """A sign, a half, 1 added."""
    yield from _in_block(case, partial(scaled, few=_FACTORS), "scaled-tensor")


def _in_block(case: Case, changes: Callable[[Case], Iterator[Change]], slug: str) -> Iterator[Edit]:
    if case.calls or case.region is not None:
        yield from reproducing(case, changes, slug, STEPS)
