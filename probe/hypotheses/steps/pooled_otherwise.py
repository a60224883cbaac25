"""What is made of the elements that a mask keeps: their mean, largest, last or first; and norms of
another kind where a root of a mean of squares is computed step by step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.step_words import tensor_name
from probe.hypotheses.registry import more
from probe.hypotheses.steps.weights_of_sums import hidden, products
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__: list[str] = []

_KINDS = {
    "mean": "the mean of those that are kept",
    "max": "the largest of those that are kept",
    "min": "the smallest of those that are kept",
    "last": "the last that is kept",
    "first": "the first that is kept",
    "sum": "the sum of those that are kept",
    "max with 0": "the largest, with 0 in place of those that are not kept,",
    "mean of all": "the mean, with 0 in place of those that are not kept,",
}


@more("changed-step")
def pooled_otherwise(case: Case) -> Iterator[Changes]:
    """The largest, last or first of what a mask keeps in place of its mean, and so on."""
    yield Changes(_pooled, "changed-step", STEPS)


@more("changed-step")
def other_norms(case: Case) -> Iterator[Changes]:
    """Magnitudes in place of a root of squares that is computed step by step."""
    yield Changes(_norms, "changed-step", STEPS)


@dataclass(frozen=True, eq=False)
class _StatisticOfKept(Op):
    """A statistic along one axis of the elements of the first input where the second is not 0."""

    kind: str
    axis: int
    keepdims: bool

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, kept = np.broadcast_arrays(inputs[0], inputs[1] != 0)
        match self.kind:
            case "max" | "min" as kind:
                fill = -np.inf if kind == "max" else np.inf
                y = getattr(np, kind)(np.where(kept, x, fill), self.axis, keepdims=True)
            case "last" | "first":
                places = np.arange(x.shape[self.axis])
                order = np.moveaxis(kept, self.axis, -1) * (1 + places)
                last = np.moveaxis(order, -1, self.axis).argmax(self.axis, keepdims=True)
                first = kept.argmax(self.axis, keepdims=True)
                y = np.take_along_axis(x, last if self.kind == "last" else first, self.axis)
            case "max with 0":
                y = np.where(kept, x, 0).max(self.axis, keepdims=True)
            case _:
                y = np.where(kept, x, 0).sum(self.axis, keepdims=True)
                if self.kind != "sum":
                    whole = self.kind == "mean of all"
                    y = y / (x.shape[self.axis] if whole else kept.sum(self.axis, keepdims=True))
        return (y if self.keepdims else np.squeeze(y, self.axis),)


class _Pool(NamedTuple):
    """A step that gives a statistic of what a mask keeps along an axis."""

    position: int
    scores: Ref
    kept: np.ndarray
    axis: int
    keepdims: bool


def _pools(case: Case) -> Iterator[_Pool]:
    masked = {
        position: (scores, np.asarray(mask.of(case.inputs, case.values)))
        for position, scores, mask in products(case)
    }
    kinds = (ops.ReduceMax, ops.ReduceMin, ops.ReduceSum, ops.ReduceMean)
    for position, op in case.having(*kinds):
        source = case.steps[position].sources(position)[0]
        found = masked.get(source.step) or hidden(case, source)
        if found is None or len(op.axes) != 1:
            continue
        axis = op.axes[0] % len(shape_of(case, source))
        yield _Pool(position, *found, axis, op.keepdims)
        for other, _ in case.having(ops.Div):
            if case.steps[other].sources(other)[0] == Ref(position):
                yield _Pool(other, *found, axis, op.keepdims)


def _pooled(case: Case) -> Iterator[Change]:
    new = len(case.steps)
    for pool in _pools(case):
        for kind, words in _KINDS.items():
            op = _StatisticOfKept(kind, pool.axis, pool.keepdims)
            steps = {
                new: Step(ops.Constant(pool.kept.astype(np.float64)), ()),
                pool.position: Step(op, (pool.scores, Ref(new))),
            }
            what = f"{words} of {tensor_name(case, pool.scores)} along axis {pool.axis} is taken "
            what += f"instead of {tensor_name(case, Ref(pool.position))}"
            yield Change(what, "", steps, of=pool.position)


def _norms(case: Case) -> Iterator[Change]:
    new = len(case.steps)
    for position, op in case.having(ops.Sqrt, ops.Rsqrt):
        between, ref = list[int](), case.steps[position].sources(position)[0]
        while ref.step >= 0 and isinstance(case.steps[ref.step].op, ops.Add | ops.Clip | ops.Max):
            between.insert(0, ref.step)
            ref = case.steps[ref.step].sources(ref.step)[0]
        squared = _squared(case, ref)
        if squared is None:
            continue
        own: Any = case.steps[ref.step].op
        for kind in (type(own), ops.ReduceMax):
            steps = {
                new: Step(ops.Abs(), (squared,)),
                new + 1: Step(kind(own.axes, own.keepdims), (Ref(new),)),
            }
            for at in between:
                last = Ref(new + len(steps) - 1)
                rest = case.steps[at].sources(at)[1:]
                steps[new + len(steps)] = Step(case.steps[at].op, (last, *rest))
            inverse = ops.Reciprocal() if isinstance(op, ops.Rsqrt) else ops.Identity()
            steps[position] = Step(inverse, (Ref(new + len(steps) - 1),))
            which = "largest" if kind is ops.ReduceMax else op_words(own)
            what = f"the {which} of the magnitudes of {tensor_name(case, squared)} is taken "
            what += f"instead of the root of the {op_words(own)} of its squares"
            yield Change(what, "", steps, of=position)


def _squared(case: Case, ref: Ref) -> Ref | None:
    """What a sum or mean of squares is of."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.ReduceMean | ops.ReduceSum):
        return None
    at = case.steps[ref.step].sources(ref.step)[0].step
    sources = case.steps[at].sources(at) if at >= 0 else ()
    if sources and isinstance(case.steps[at].op, ops.Square | ops.Pow | ops.Mul):
        x = np.asarray(sources[0].of(case.inputs, case.values))
        if np.allclose(case.values[at][0], x**2, rtol=1e-6):
            return sources[0]
    return None
