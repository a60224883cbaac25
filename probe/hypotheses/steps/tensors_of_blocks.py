"""The commonest changes of the tensors within a block of several calls, or in a large layer, and
one factor of the whole output: tried before other weights are looked for, and before all that may
happen to a tensor."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.mapped_tensors import axis_name, extra, mapped, rearranged, scaled
from probe.hypotheses.edits.tensor_maps import Map, factors
from probe.hypotheses.registry import hypothesis, more
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of
from probe.trial.change import Change
from probe.trial.edit import Edit

__all__: list[str] = []

_MAPS, _FACTORS, _ACTIVATIONS = 20, 8, 8
"""How many of them are tried on each tensor."""


@hypothesis("scaled-output")
def scaled_output(case: Case) -> Iterator[Edit]:
    """The output is multiplied by one number.

    Such as a sum that is not divided by its count, a factor applied at the end, or another sign:
    a straight line through 0 explains all values.
    """
    if not case.comparable:
        return
    healthy = case.pick(case.healthy)
    known = np.isfinite(healthy) & np.isfinite(case.seen)
    x, y = healthy[known], case.seen[known]
    factor = float(x @ y) / (float(x @ x) or 1.0)
    if np.count_nonzero(x) >= _FEWEST and _LEAST < abs(factor) < 1 / _LEAST:
        usual = factors(case.healthy.shape).items()
        near = (pair for pair in usual if abs(pair[1] - factor) < _NEAR * abs(factor))
        words, value = next(near, (f"{factor:.6g}", factor))
        times = ops.MulConstant(Weight("factor", None, np.array(value)))
        fitted = int(value == factor)
        yield case.edit(f"the output is multiplied by {words}", case.appended(times), fitted=fitted)


_FEWEST = 4
"""Values that one factor must explain."""
_LEAST = 1e-4
"""No smaller factor is told, nor the inverse of one."""
_NEAR = 1e-6
"""By how much a usual factor may differ from the one that fits, as a share of it."""


@more("rearranged-tensor")
def halves_before_products(case: Case) -> Iterator[Changes]:
    """The two halves of the channels of what a convolution or matrix product takes, which may have
    been written one by one and not joined."""
    yield from _in_block(case, _halves, "rearranged-tensor")


def _halves(case: Case) -> Iterator[Change]:
    taken = dict[tuple[Ref, int], None]()
    for position, op in case.having(ops.Conv, ops.MatMul):
        (source, *_) = case.steps[position].sources(position)
        count = len(shape_of(case, source))
        taken[source, 1 if isinstance(op, ops.Conv) else count - 1] = None
    for ref, axis in taken:
        size = shape_of(case, ref)[axis]
        joined = ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Concat)
        if size > 2 and size % 2 == 0 and not joined:  # two that are joined are swapped inputs
            order = np.roll(np.arange(size), size // 2)
            words = f"taken with the two halves along {axis_name(case, ref, axis)} exchanged"
            way = Map(words, partial(np.take, indices=order, axis=axis))
            yield from islice(mapped(case, ref, way), 1)


@more("rearranged-tensor")
def rearranged_in_block(case: Case) -> Iterator[Changes]:
    """Turned, transposed, interleaved."""
    yield from _in_block(case, partial(rearranged, few=_MAPS), "rearranged-tensor")


@more("extra-step")
def extra_step_in_block(case: Case) -> Iterator[Changes]:
    """ReLU and the like."""
    yield from _in_block(case, partial(extra, few=_ACTIVATIONS), "extra-step")


@more("scaled-tensor")
def scaled_in_block(case: Case) -> Iterator[Changes]:
    """A sign, a half, 1 added."""
    yield from _in_block(case, partial(scaled, few=_FACTORS), "scaled-tensor")


def _in_block(
    case: Case, changes: Callable[[Case], Iterator[Change]], slug: str
) -> Iterator[Changes]:
    if case.calls or case.region is not None:
        yield Changes(changes, slug, STEPS)
