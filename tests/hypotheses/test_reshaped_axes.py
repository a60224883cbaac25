"""Axes that a reshape splits and joins, in another order."""

import numpy as np
from own_seed import RNG
from tried_changes import claims_that_give

from probe import ops
from probe.hypotheses.steps.reshaped_axes import read_in_another_order
from probe.ops.step import Ref, Step


def test_three_factors_of_one_axis_of_a_tensor_with_many_axes():
    x = RNG.standard_normal((2, 6, 12))
    steps = (
        Step(ops.Reshape((2, 2, 3, 2, 2, 3)), (Ref(-1),)),
        Step(ops.Transpose((0, 5, 1, 3, 2, 4)), (Ref(0),)),
    )
    wrong = x.reshape(2, 2, 3, 3, 2, 2).transpose(0, 3, 1, 4, 2, 5)
    claims = claims_that_give(wrong, read_in_another_order, steps, x)
    assert len(claims) == 1, claims
    assert "is read as (2, 2, 3, 3, 2, 2) and transposed to (2, 2, 3, 2, 2, 3)" in claims[0]


def test_the_same_factors_of_tensors_with_other_axes():
    offsets, weights = RNG.standard_normal((2, 3, 16)), RNG.standard_normal((2, 3, 2, 4))
    steps = (
        Step(ops.Reshape((2, 3, 2, 2, 2, 2)), (Ref(-1),)),
        Step(ops.ReduceMax(axes=(5,), keepdims=False), (Ref(0),)),
        Step(ops.Reshape((2, 3, 2, 2, 2)), (Ref(-1, 1),)),
        Step(ops.Mul(), (Ref(1), Ref(2))),
    )
    read = offsets.reshape(2, 3, 2, 2, 2, 2).max(5), weights.reshape(2, 3, 2, 2, 2)
    wrong = np.swapaxes(read[0], 3, 4) * np.swapaxes(read[1], 3, 4)
    claims = claims_that_give(wrong, read_in_another_order, steps, offsets, weights)
    assert len(claims) == 1, claims
    assert "brought to the order (0, 1, 2, 4, 3, 5);" in claims[0]
