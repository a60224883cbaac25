"""Bits that sums in fixed point keep behind the point."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.mapped_tensors import mapped
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_BEHIND = 24
"""Behind how many steps bits that were not kept are made up for."""


@more("fixed-point")
def fewer_bits_kept(case: Case) -> Iterator[Changes]:
    """Fewer bits behind the point from where numbers are shifted up to where they are shifted
    back."""
    yield Changes(_fewer_bits, "fixed-point", PARTS)


def _fewer_bits(case: Case) -> Iterator[Change]:
    """Shifts to the left by fewer bits, which are made up for behind what comes of all of them."""
    constant = of_parameters(case)
    shifts: dict[int, list[tuple[int, Ref]]] = {}
    for at, op in case.having(ops.BitShift):
        by = case.steps[at].sources(at)[1]
        if (
            op.left
            and at not in constant
            and by.step >= 0
            and np.size(case.values[by.step][0]) == 1
        ):
            shifts.setdefault(int(np.ravel(case.values[by.step][0])[0]), []).append((at, by))
    for bits, some in shifts.items():
        behind = [at for at in _behind(case, [at for at, _ in some]) if at not in constant]
        for fewer in range(max(0, bits)):
            constants = {by.step: Step(ops.Constant(np.asarray(fewer)), ()) for _, by in some}
            for at in reversed(behind[:_BEHIND]):
                made_up = partial(np.multiply, 1 << bits - fewer)
                change = next(mapped(case, Ref(at), Map("multiplied", made_up, False)))
                what = f"{fewer} bits are kept behind the point, not {bits}, as far as "
                what += tensor_name(case, Ref(at))
                steps = {**change.steps, **constants}
                part = ("kept bits", bits)
                yield replace(change, what=what, where="", steps=steps, key=what, part=part)


def _behind(case: Case, places: Sequence[int]) -> list[int]:
    """The steps that all of these have a part in."""
    reached = [{at} for at in places]
    found = []
    for at in range(min(places) + 1, len(case.steps)):
        taken = {ref.step for ref in case.steps[at].sources(at)}
        for some in reached:
            if not some.isdisjoint(taken):
                some.add(at)
        if all(at in some for some in reached) and len(case.values[at]) == 1:
            if np.asarray(case.values[at][0]).dtype.kind == "i":
                found.append(at)
    return found
