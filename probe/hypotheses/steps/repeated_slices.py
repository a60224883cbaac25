"""Slices along an axis that stand for several, such as heads that others share, tiled where each is
repeated, or the other way round."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.mapped_tensors import axis_name
from probe.hypotheses.edits.rewriting import inserted
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []

_REPEATING = (ops.Gather, ops.Take, ops.Tile, ops.Reshape)
_BACK = 4
"""Of how many steps a repetition consists at most."""


@more("grouped-heads")
def repeated_otherwise(case: Case) -> Iterator[Changes]:
    """Slices along any axis tiled for repeated, or repeated for tiled, of one tensor or of all."""
    yield Changes(_repeated_otherwise, "grouped-heads", STEPS)


def _repeated_otherwise(case: Case) -> Iterator[Change]:
    for position, _ in case.having(*_REPEATING):
        found = _repetition(case, Ref(position))
        if found is None:
            continue
        axis, count, times, repeated = found
        places = np.arange(count * times)
        order = places.reshape((count, times) if repeated else (times, count)).T.ravel()
        ways = ["repeated (0 0 1 1)", "tiled (0 1 0 1)"]
        is_done, should = ways[repeated], ways[not repeated]
        along = axis_name(case, Ref(position), axis)
        what = f"{tensor_name(case, Ref(position))} has its slices along {along} {is_done}, not "
        step = Step(ops.Take(axis, order), (Ref(position),))
        yield inserted(
            case, Ref(position), step, what + should, ("repeated", count, times, repeated)
        )


def _repetition(case: Case, result: Ref) -> tuple[int, int, int, bool] | None:
    """The axis along which a tensor holds each slice of another several times, how many these are,
    how often it holds each, and whether one behind the other."""
    after, ref, chain = shape_of(case, result), result, list[int]()
    while len(chain) < _BACK and ref.step >= 0:
        if not isinstance(case.steps[ref.step].op, (*_REPEATING, ops.Expand)):
            return None
        chain.insert(0, ref.step)
        ref = case.steps[ref.step].sources(ref.step)[0]
        before = shape_of(case, ref)
        if len(before) == len(after) and before != after:
            break
    else:
        return None
    axes = [axis for axis, size in enumerate(before) if size != after[axis]]
    if len(axes) != 1 or before[axes[0]] < 2 or after[axes[0]] % before[axes[0]]:
        return None
    axis, count, times = axes[0], before[axes[0]], after[axes[0]] // before[axes[0]]
    slices = np.arange(np.prod(before)).reshape(before)
    moved = slices
    for at in chain:
        rest = (source.of(case.inputs, case.values) for source in case.steps[at].sources(at)[1:])
        (moved,) = case.steps[at].op.run(moved, *rest)
    for repeated, order in (
        (True, np.repeat(np.arange(count), times)),
        (False, np.tile(np.arange(count), times)),
    ):
        if times > 1 and np.array_equal(moved, np.take(slices, order, axis)):
            return axis, count, times, repeated
    return None
