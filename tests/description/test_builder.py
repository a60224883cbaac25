"""Steps put together: what an op is applied to, other descriptions taken in, the ending."""

import numpy as np
import pytest

from probe import ops
from probe.description import Builder, Description, Ref, Step, Weight, followed_by
from probe.errors import Undescribed
from probe.evaluation.numpy_reference import recompute

X = np.arange(6.0).reshape(2, 3)
W = np.arange(3.0) + 1


def test_weights_arrays_and_numbers_are_steps_before_what_takes_them():
    build = Builder([X])
    build.add(ops.Add(), build.add(ops.Mul(), Ref(-1), Weight("w", W, W)), np.ones(3), 2)
    steps = build.ended()
    names = [type(step.op).__name__ for step in steps]
    assert names == ["Parameter", "Mul", "Constant", "Constant", "Add"]
    assert steps[-1].inputs == (Ref(1), Ref(2), Ref(3))
    np.testing.assert_array_equal(recompute(steps, [X])[-1][0], X * W + 3)


def test_another_description_is_taken_in_on_other_inputs_and_without_its_ending():
    inner = (
        Step(ops.TopK(k=2, axis=1)),
        Step(ops.Sub(), (Ref(0), Ref(-1, 1))),
        Step(ops.Outputs(), (Ref(1), Ref(0, 1))),
    )
    build = Builder([X])
    less, places = build.include(inner, build.add(ops.Neg(), Ref(-1)), np.ones((2, 2)))
    steps = build.ended(places, less)
    names = [type(step.op).__name__ for step in steps]
    assert names == ["Neg", "Constant", "TopK", "Sub", "Outputs"]
    found, values = recompute(steps, [X])[-1]
    np.testing.assert_array_equal(found, [[0, 1], [0, 1]])
    np.testing.assert_array_equal(values, [[-1, -2], [-4, -5]])


def test_a_description_of_one_step_gives_its_last_output():
    build = Builder([X])
    assert build.include((Step(ops.Neg()),), Ref(-1)) == (Ref(0),)


def test_ops_behind_a_layer_of_several_inputs_leave_its_names():
    layer = Description((Step(ops.Sub(), (Ref(-1, 1), Ref(-1, 0))),), ("batch",), ("row", "column"))
    behind = followed_by(layer, ops.Neg(), ops.Square())
    assert (behind.input_axes, behind.output_axes) == (("batch",), ("row", "column"))
    np.testing.assert_array_equal(recompute(behind.steps, [X, W])[-1][0], (W - X) ** 2)


@pytest.mark.parametrize("output", [Ref(-1), Ref(0), Ref(1)])
def test_a_single_output_stands_last(output):
    """An input itself, too, where there are no steps at all."""
    build = Builder([X])
    if output.step >= 0:
        build.add(ops.Neg(), build.add(ops.Square(), Ref(-1)))
    steps = build.ended(output)
    assert len(steps) == (1 if output.step < 0 else 3 if output.step == 0 else 2)
    np.testing.assert_array_equal(
        recompute(steps, [X])[-1][0], {-1: X, 0: X**2, 1: -(X**2)}[output.step]
    )


def test_of_a_computed_value_the_shape_is_known_where_it_was_given_and_the_numbers_never():
    build = Builder([X], [X.T])
    turned = build.add(ops.Transpose(perm=(1, 0)), Ref(-1), shape=(3, 2))
    unknown = build.add(ops.Neg(), turned)
    assert build.shape(Ref(-1)) == (2, 3) and build.shape(turned) == (3, 2)
    assert build.rank(build.reshaped(Ref(-1))) == 2 and build.shape(build.ref(W)) == (3,)
    for ask, value in ((build.shape, unknown), (build.array, turned)):
        with pytest.raises(Undescribed, match="not an argument"):
            ask(value)
