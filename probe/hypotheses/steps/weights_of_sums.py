"""Weights of a sum that are another function of the same scores: a softmax in place of scores that
are multiplied by a mask, or the other way round; divided by their sum or by how many are kept."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.attention_parts import EmptySoftmax, Masked
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.step_words import step_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of
from probe.trial.change import Change

__all__ = ["hidden", "products"]

_HIDDEN = -1e3
"""What stands at most in place of a score that is not to count."""


@more("other-activation")
def softmax_of_masked(case: Case) -> Iterator[Changes]:
    """A softmax of scores in place of their product with a mask, and these in place of that."""
    yield Changes(_softmax, "other-activation", STEPS)
    yield Changes(_without_softmax, "other-activation", STEPS)


@more("extra-step")
def divided_by_weights(case: Case) -> Iterator[Changes]:
    """Weights that are divided by their sum, or by how many of them a mask keeps."""
    yield Changes(_divided, "extra-step", STEPS)
    yield Changes(_sums_divided, "extra-step", STEPS)


class _MaskedScores(NamedTuple):
    """A product of scores and a mask of zeros and ones."""

    position: int
    scores: Ref
    mask: Ref


def products(case: Case) -> Iterator[_MaskedScores]:
    for position, _ in case.having(ops.Mul):
        sources = case.steps[position].sources(position)
        for scores, mask in (sources, sources[::-1]):
            held = np.asarray(mask.of(case.inputs, case.values))
            alike = shape_of(case, scores) == shape_of(case, Ref(position))
            if alike and held.size > 1 and np.array_equal(np.unique(held), [0, 1]):
                yield _MaskedScores(position, scores, mask)


def _axes(case: Case, position: int) -> list[int]:
    """The axes along which weights may run, the last one first."""
    shape = shape_of(case, Ref(position))
    return [axis for axis in reversed(range(1, len(shape))) if shape[axis] > 1]


def _softmax(case: Case) -> Iterator[Change]:
    new = len(case.steps)
    for position, scores, mask in products(case):
        for axis in _axes(case, position):
            steps = {
                new: Step(Masked(-1e9), (scores, mask)),
                position: Step(ops.Softmax(axis), (Ref(new),)),
            }
            what = f"a softmax of {tensor_name(case, scores)} over axis {axis}, of what "
            what += f"{tensor_name(case, mask)} keeps, is taken instead of their product"
            yield Change(what, "", steps, of=position)


def _without_softmax(case: Case) -> Iterator[Change]:
    new = len(case.steps)
    for position, op in case.having(ops.Softmax, EmptySoftmax):
        found = hidden(case, case.steps[position].sources(position)[0])
        if found is None:
            continue
        scores, kept = found
        steps: Mapping[int, Step] = {
            new: Step(ops.Constant(kept.astype(np.float64)), ()),
            position: Step(ops.Mul(), (scores, Ref(new))),
        }
        what = f"{tensor_name(case, scores)}, 0 where they are masked, is taken instead of its "
        yield Change(f"{what}softmax over axis {op.axis}", "", steps, of=position)


def hidden(case: Case, ref: Ref) -> tuple[Ref, np.ndarray] | None:
    """Scores before some of them were hidden, and which are kept."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Where | Masked | ops.Add):
        return None
    after = np.asarray(ref.of(case.inputs, case.values))
    for scores in case.steps[ref.step].sources(ref.step):
        before = np.asarray(scores.of(case.inputs, case.values))
        if before.shape == after.shape and before.dtype.kind == "f" and before.min() > _HIDDEN:
            kept = after > _HIDDEN
            if not kept.all() and np.array_equal(after[kept], before[kept]):
                return scores, kept
    return None


def _divided(case: Case) -> Iterator[Change]:
    new = len(case.steps)
    for position, scores, mask in products(case):
        product = Step(ops.Mul(), (scores, mask))
        for axis in _axes(case, position):
            along = axis - len(shape_of(case, Ref(position)))
            for what, of, like in (
                ("how many are kept", mask, mask),
                ("their sum", Ref(new), Ref(position)),
            ):
                held = shape_of(case, like)
                if -along > len(held):
                    continue
                steps = {
                    new: product,
                    new + 1: Step(ops.ReduceSum((len(held) + along,), True), (of,)),
                    position: Step(ops.Div(), (Ref(new), Ref(new + 1))),
                }
                name = f"the products of {tensor_name(case, scores)} and {tensor_name(case, mask)}"
                yield Change(f"{name} are divided by {what} along axis {axis}", "", steps)


def _sums_divided(case: Case) -> Iterator[Change]:
    """A sum of products, divided by the sum of one of the factors."""
    new = len(case.steps)
    for position, op in case.having(ops.ReduceSum):
        at = case.steps[position].sources(position)[0].step
        if at < 0 or not isinstance(case.steps[at].op, ops.Mul):
            continue
        whole = shape_of(case, Ref(at))
        for weights in case.steps[at].sources(at):
            if len(shape_of(case, weights)) != len(whole) or weights.step >= new:
                continue
            steps = {
                new: Step(op, case.steps[position].sources(position)),
                new + 1: Step(op, (weights,)),
                position: Step(ops.Div(), (Ref(new), Ref(new + 1))),
            }
            what = f"{step_name(case, position)} is divided by the sum of "
            yield Change(f"{what}{tensor_name(case, weights)}", "", steps, of=position)
