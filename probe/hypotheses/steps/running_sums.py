"""Sums along a sequence that end elsewhere: before the current element, or behind all of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.step_words import step_name
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class _OtherEnd(Op):
    """A running sum or product of other elements."""

    op: ops.CumSum
    of: Callable[[np.ndarray, int], np.ndarray]

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(self.of(inputs[0], self.op.axis)),)


def _without_own(x: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.cumsum(x, axis) - x)


def _of_all(x: np.ndarray, axis: int) -> np.ndarray:
    return np.broadcast_to(x.sum(axis, keepdims=True), x.shape)


def _from_the_end(x: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.flip(np.cumsum(np.flip(x, axis), axis), axis))


_ENDS = {
    "the sum over the elements before each, without its own,": _without_own,
    "the sum over all elements, also those behind each,": _of_all,
    "the sum over the elements from each to the last": _from_the_end,
}


@more("changed-step")
def running_sums(case: Case) -> Iterator[Changes]:
    """A running sum without the current element, or over all."""
    yield Changes(_running_sums, "changed-step", STEPS)


def _running_sums(case: Case) -> Iterator[Change]:
    for words, of in _ENDS.items():
        for position, op in case.having(ops.CumSum):
            step = Step(_OtherEnd(op, of), case.steps[position].sources(position))
            what = f"{words} is taken instead of the running sum"
            where = step_name(case, position)
            yield Change(what, where, {position: step}, key=("end", words))
