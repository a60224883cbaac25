"""Parameters as a file may hold them otherwise, or a layer makes them: through an exponential or a
logarithm, of length 1, one row of a transform by another factor; and of a parameter that several
steps take, at one of these."""

from collections.abc import Iterator
from functools import partial

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.mapped_tensors import axis_name, mapped
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.tensor_maps import remade
from probe.hypotheses.registry import more
from probe.hypotheses.steps.changed_tensors import of_weights
from probe.ops.step import Ref
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []

_MOST = 1 << 16
"""Entries of a parameter that is remade."""


@more("scaled-tensor")
def remade_parameters(case: Case) -> Iterator[Changes]:
    """A parameter is replaced by a function of it, divided by its length, its largest or its sum
    along an axis, or multiplied by a factor at one place of an axis."""
    yield Changes(_remade, "scaled-tensor", PARTS)


def _remade(case: Case) -> Iterator[Change]:
    fixed = [Ref(at) for at in sorted(of_parameters(case)) if _is_held(case, at)]
    for ref in fixed:
        shape = shape_of(case, ref)
        for way in remade(shape, partial(axis_name, case, ref)):
            yield from mapped(case, ref, way)
    yield from of_weights(case, lambda x: remade(x.shape, "axis {}".format))


def _is_held(case: Case, position: int) -> bool:
    """Whether a step gives a parameter or a table, which is not too large."""
    array = case.values[position][0]
    constant = isinstance(case.steps[position].op, ops.Parameter | ops.Constant)
    return constant and array.dtype.kind == "f" and 1 < array.size <= _MOST
