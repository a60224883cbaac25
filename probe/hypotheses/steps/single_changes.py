"""One activation, parameter, factor or option more or less at one step of a block of several calls.
They have an amount of work of their own: of what may happen to the steps of a large block only a
part is tried before the budget is used up, and these are the commonest mistakes of it."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.grouped_changes import in_turn
from probe.hypotheses.edits.mapped_tensors import extra, mapped, tensors_of
from probe.hypotheses.edits.tensor_maps import Map, factors
from probe.hypotheses.registry import more
from probe.hypotheses.steps.changed_steps import kind_changed, options_changed
from probe.hypotheses.steps.data_flow import parameters_swapped
from probe.hypotheses.steps.moved_steps import applied_too
from probe.ops.base import Elementwise
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []


@more("extra-step")
def activation_too_many(case: Case) -> Iterator[Changes]:
    """An activation of the block on another tensor, too."""
    yield from _in_block(case, partial(applied_too, kinds=(Elementwise,)), "extra-step")


@more("extra-step")
def relu_too_many(case: Case) -> Iterator[Changes]:
    """ReLU on a tensor."""
    yield from _in_block(case, partial(extra, few=1), "extra-step")


@more("swapped-inputs")
def parameters_of_another_step(case: Case) -> Iterator[Changes]:
    """The parameters of another step of its kind."""
    yield from _in_block(case, parameters_swapped, "swapped-inputs")


@more("scaled-tensor")
def factor_of_a_step(case: Case) -> Iterator[Changes]:
    """The other sign, twice or half of what a step gives."""
    yield from _in_block(case, _scaled, "scaled-tensor")


def _scaled(case: Case) -> Iterator[Change]:
    for words, factor in factors((), few=True).items():
        way = Map(f"multiplied by {words}", partial(np.multiply, factor), False)
        for ref in tensors_of(case):
            if ref.step >= 0 and case.steps[ref.step].sources(ref.step):
                yield from mapped(case, ref, way)


@more("changed-step")
def kind_of_a_step(case: Case) -> Iterator[Changes]:
    """Another operation at a step."""
    yield from _in_block(case, partial(_at_each_step, kind_changed), "changed-step")


@more("changed-step")
def option_of_a_step(case: Case) -> Iterator[Changes]:
    """Another option, number, axis or mode of a step."""
    yield from _in_block(case, partial(_at_each_step, options_changed), "changed-step")


def _at_each_step(changed: Callable[[Case, int], Iterator[Change]], case: Case) -> Iterator[Change]:
    """The first of each step, then the second of each."""
    yield from in_turn([changed(case, at) for at in reversed(range(len(case.steps)))])


def _in_block(
    case: Case, changes: Callable[[Case], Iterator[Change]], slug: str
) -> Iterator[Changes]:
    if case.calls:
        yield Changes(changes, slug, STEPS, only_new=True)
