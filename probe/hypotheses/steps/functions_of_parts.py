"""A norm, an activation or a softmax of more or less than the layer applies it to: of a sum and not
of each of its terms, of each part of an axis."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise, Op, Rearrangement
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change

__all__ = ["function_of_sum", "norm_of_parts"]

_NORMS = (ops.LayerNormalization, ops.RMSNormalization, ops.LpNormalization)
_FUNCTIONS = (*_NORMS, ops.Softmax, ops.LogSoftmax, Elementwise)
_JOINING = (ops.Add, ops.Sub, ops.Mul)
_PARTS = (2, 3, 4, 6, 8)
"""Into how many parts an axis is cut."""


@more("moved-step")
def function_of_sum(case: Case) -> Iterator[Changes]:
    """One norm or activation of a sum where each term has its own."""
    yield Changes(_joined, "moved-step", STEPS, only_new=True)


def _joined(case: Case) -> Iterator[Change]:
    for position, _ in case.having(*_JOINING):
        functions = [ref.step for ref in case.steps[position].sources(position)]
        if len({*functions}) == 2 and all(_is_function(case, at) for at in functions):
            yield from _of_sum(case, position, functions)


def _is_function(case: Case, position: int) -> bool:
    """Whether a step is a norm or an activation of what is no parameter."""
    if position < 0 or position in of_parameters(case):
        return False
    op = case.steps[position].op
    return isinstance(op, _FUNCTIONS) and not isinstance(op, Rearrangement)


def _of_sum(case: Case, position: int, functions: list[int]) -> Iterator[Change]:
    """One function of the sum of what two of the same kind are applied to."""
    terms = tuple(case.steps[at].sources(at)[0] for at in functions)
    kinds = {type(case.steps[at].op) for at in functions}
    if len(kinds) > 1 or len({shape_of(case, ref) for ref in terms}) > 1:
        return
    new = len(case.steps)
    names = " and ".join(tensor_name(case, ref) for ref in terms)
    joined = Step(case.steps[position].op, terms)
    for at in functions:
        op, more_sources = case.steps[at].op, case.steps[at].sources(at)[1:]
        behind = Step(op, (Ref(new), *more_sources))
        word = op_words(joined.op)
        what = f"{step_name(case, at)} is applied behind the {word} of {names}, not to each"
        yield Change(what, "", {new: joined, position: behind}, of=position)


@more("changed-step")
def norm_of_parts(case: Case) -> Iterator[Changes]:
    """A norm or softmax of each part of an axis, such as each gate or head, not of all."""
    yield Changes(_in_parts, "changed-step", STEPS, only_new=True)


def _in_parts(case: Case) -> Iterator[Change]:
    kinds = (*_NORMS, ops.Softmax, ops.LogSoftmax)
    for parts, (position, op) in product(_PARTS, list(case.having(*kinds))):
        shape = shape_of(case, Ref(position))
        axes = [axis % len(shape) for axis in _axes(op)]
        if axes == [len(shape) - 1] and shape[-1] % parts == 0 and shape[-1] > parts:
            step = Step(_InParts(op, parts), case.steps[position].sources(position))
            what = f"each of {parts} parts of the last axis has a {op_words(op)} of its own"
            key = ("parts", type(op), parts)
            yield Change(what, step_name(case, position), {position: step}, key=key)


@more("changed-step")
def softmax_over_other_axes(case: Case) -> Iterator[Changes]:
    """A softmax over several axes together, or over axes that its tensor has before a reshape or
    behind one: the pixels of a row, the taps of all heads."""
    yield Changes(_over_other_axes, "changed-step", STEPS, only_new=True)


def _over_other_axes(case: Case) -> Iterator[Change]:
    for position, op in case.having(ops.Softmax, ops.LogSoftmax):
        shape = shape_of(case, Ref(position))
        over = f"not over axis {op.axis % len(shape)} of {shape}"
        for view in dict.fromkeys(_views(case, position)):
            for start, stop in _runs(case, view):
                if view == shape and stop - start == 1:  # the options of the step
                    continue
                axes = ", ".join(map(str, range(start, stop)))
                joined = (*view[:start], prod(view[start:stop]), *view[stop:])
                new = len(case.steps)
                steps = {
                    new: Step(ops.Reshape(joined), case.steps[position].sources(position)),
                    new + 1: Step(replace(op, axis=start), (Ref(new),)),
                    position: Step(ops.Reshape(shape), (Ref(new + 1),)),
                }
                noun = "axis" if stop - start == 1 else "axes"
                what = f"{step_name(case, position)} is over {noun} {axes} of {view}, {over}"
                yield Change(what, "", steps, key=("softmax", start, stop, len(view)), of=position)


def _views(case: Case, position: int) -> Iterator[tuple[int, ...]]:
    """The shapes of a step's tensor: its own, before a reshape, and behind one."""
    yield shape_of(case, Ref(position))
    (ref,) = case.steps[position].sources(position)
    for _ in range(_BEFORE):
        step = case.steps[ref.step] if ref.step >= 0 else None
        if step is None:
            break
        source = step.sources(ref.step)[:1]
        if isinstance(step.op, ops.Reshape):
            yield shape_of(case, source[0])
            break
        if not source or shape_of(case, source[0]) != shape_of(case, ref):
            break
        (ref,) = source
    for user in users_of(case).get(Ref(position), ()):
        if isinstance(case.steps[user].op, ops.Reshape):
            yield shape_of(case, Ref(user))


def _runs(case: Case, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Some axes behind one another, from where to where; without that of the samples."""
    samples = bool(case.inputs) and shape[:1] == np.shape(case.inputs[0])[:1]
    for count in range(1, _RUN + 1):
        for start in range(int(samples), len(shape) - count + 1):
            if shape[start] > 1 and shape[start + count - 1] > 1:
                yield start, start + count


_BEFORE = 3
"""Within how many steps before a softmax its tensor is reshaped."""
_RUN = 3
"""Over how many axes together a softmax is taken."""


def _axes(op: Any) -> tuple[int, ...]:
    axes = getattr(op, "axes", None)
    return (op.axis,) if axes is None else tuple(axes)


@dataclass(frozen=True, eq=False)
class _InParts(Op):
    """An op on each of so many parts of the last axis."""

    op: Any
    parts: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, *rest = (np.split(x, self.parts, -1) for x in inputs)
        results = [
            self._of(k).run(x[k], *(other[k] for other in rest))[0] for k in range(self.parts)
        ]
        return (np.concatenate(results, -1),)

    def _of(self, number: int) -> Any:
        """The op with its own part of each parameter."""
        attributes = {part.name: getattr(self.op, part.name) for part in fields(self.op)}
        return replace(
            self.op,
            **{
                name: Weight(value.name, None, np.split(value.value, self.parts, -1)[number])
                for name, value in attributes.items()
                if isinstance(value, Weight)
            },
        )
