"""Two steps that follow one another, which change shapes, computed in the other order."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import of_parameters, taking_instead
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change
from probe.trial.refusals import refused

__all__: list[str] = []


@more("moved-step")
def exchanged_steps(case: Case) -> Iterator[Changes]:
    """Two neighbours exchanged, such as an upsampling and the convolution behind it, or a pooling
    and a norm: what reproduces the same values with other pads and dilations says less."""
    yield Changes(_exchanged, "moved-step", STEPS)


def _exchanged(case: Case) -> Iterator[Change]:
    users = users_of(case)
    for first in range(len(case.steps) - 1):
        taken = users.get(Ref(first), ())
        if len(taken) != 1 or len(case.values[first]) != 1:
            continue
        (second,) = taken
        mains = [_main(case, at) for at in (first, second)]
        if mains[0] is None or mains[1] != Ref(first) or len(case.values[second]) != 1:
            continue
        if shape_of(case, Ref(first)) == shape_of(case, mains[0]):
            continue  # a step that keeps the shape is moved like any
        yield from _in_the_other_order(case, first, second, mains[0])


def _main(case: Case, position: int) -> Ref | None:
    """The one tensor that a step takes beside parameters."""
    sources = case.steps[position].sources(position)
    data = [ref for ref in sources if ref.step not in of_parameters(case)]
    if len(data) == 1 and sources[0] == data[0]:
        return data[0]
    return None


def _in_the_other_order(case: Case, first: int, second: int, x: Ref) -> Iterator[Change]:
    """The second of two steps applied to what the first one takes, then the first."""
    steps, new = case.steps, len(case.steps)
    later, earlier = steps[first], steps[second]
    before = Step(earlier.op, (x, *earlier.sources(second)[1:]))
    given = x.of(case.inputs, case.values)
    try:
        made = before.op.run(given, *_beside(case, second))[0]
    except Exception as error:  # an op need not take what another one takes
        refused(error)
        return
    case.budget.ran(before.op, [given, *_beside(case, second)], [made])
    op = _for_shape(later.op, given.shape, made.shape)
    if op is None:
        return
    behind = Step(op, (Ref(new), *later.sources(first)[1:]))
    changed = {new: before, new + 1: behind}
    for user in users_of(case).get(Ref(second), ()):
        changed[user] = taking_instead(case, user, Ref(second), Ref(new + 1))
    out = Ref(new + 1) if second == len(steps) - 1 else None
    what = f"{step_name(case, second)} is applied before {step_name(case, first)}, not after it"
    yield Change(what, "", changed, out, ("exchanged", type(later.op), type(earlier.op)), of=second)


def _beside(case: Case, position: int) -> list[np.ndarray]:
    sources = case.steps[position].sources(position)[1:]
    return [ref.of(case.inputs, case.values) for ref in sources]


def _for_shape(op: Op, own: tuple[int, ...], other: tuple[int, ...]) -> Op | None:
    """The op for an input of another shape: a resized image has as many channels as it is given;
    None where its own shapes do not fit."""
    if isinstance(op, ops.Reshape | ops.Expand | ops.Slice):
        return None
    if isinstance(op, ops.ResizeNearest) and len(op.sizes) == len(own) == len(other):
        return _resized(op, own, other)
    return op


def _resized(op: ops.ResizeNearest, own: tuple[int, ...], other: tuple[int, ...]) -> Op:
    """As many times as large along each axis."""
    sizes = [now * size // before for size, before, now in zip(op.sizes, own, other, strict=True)]
    return replace(op, sizes=tuple(sizes))
