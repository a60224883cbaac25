"""What an edited layer gives, with no more of its steps run than the edit touches."""

from dataclasses import replace

import numpy as np
import pytest

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.ops.step import Ref, Step
from probe.trial.budget import Budget
from probe.trial.case import Case
from probe.trial.change import Change

X = np.random.default_rng(0).normal(size=(3, 5))
STEPS = (
    Step(ops.Tanh(), (Ref(-1),)),
    Step(ops.Sigmoid(), (Ref(-1),)),
    Step(ops.Relu(), (Ref(1),)),
    Step(ops.Add(), (Ref(0), Ref(2))),
    Step(ops.Exp(), (Ref(3),)),
)


class Counting(Budget):
    def __init__(self):
        super().__init__()
        self.kinds = []

    def ran(self, op, inputs, outputs):
        self.kinds.append(type(op).__name__)
        super().ran(op, inputs, outputs)


@pytest.fixture
def case():
    values = recompute(STEPS, (X,))
    return Case(STEPS, (X,), values, np.zeros_like(X), budget=Counting())


def test_a_branch_that_an_edit_leaves_alone_is_not_run(case):
    edit = case.edit("", case.with_op(0, ops.Sin()))
    values = case.evaluator.everywhere(edit)
    assert case.budget.kinds == ["Sin", "Add", "Exp"]
    for mine, whole in zip(values, recompute(edit.steps, (X,)), strict=True):
        np.testing.assert_array_equal(mine[0], whole[0])


def test_steps_that_are_moved_are_known_by_what_they_take(case):
    edit = case.edit("", case.inserted(0, ops.Identity()))
    moved = [replace(step) for step in edit.steps]
    values = case.evaluator.everywhere(replace(edit, steps=tuple(moved)))
    assert case.budget.kinds == ["Identity", "Tanh", "Add", "Exp"]
    np.testing.assert_array_equal(values[-1][0], case.healthy)


def test_elements_are_those_of_the_whole(case):
    edit = case.edit("", case.with_op(0, ops.Sin()))
    where = (np.array([0, 2, 2]), np.array([4, 0, 1]))
    alone = case.evaluator.at(edit, where)
    assert case.budget.kinds == ["Sin"]
    np.testing.assert_array_equal(alone, case.evaluator.everywhere(edit)[-1][0][where])


def test_an_edit_that_cannot_be_run_gives_nothing(case):
    edit = case.edit("", case.with_op(0, ops.Reshape((7, 7))))
    assert case.evaluator.everywhere(edit) is None


def test_a_change_stops_where_a_step_gives_what_it_gave(case):
    change = Change("", "", {2: Step(ops.Abs(), (Ref(1),))})
    assert case.evaluator.changed(change) is None
    assert case.budget.kinds == ["Abs"]


def test_a_change_gives_what_its_steps_do(case):
    steps = {5: Step(ops.Sin(), (Ref(0),)), 3: Step(ops.Add(), (Ref(5), Ref(2)))}
    change = Change("", "", steps)
    y = case.evaluator.changed(change)
    assert case.budget.kinds == ["Sin", "Add", "Exp"]
    np.testing.assert_array_equal(y, recompute(change.applied(STEPS), (X,))[-1][0])
