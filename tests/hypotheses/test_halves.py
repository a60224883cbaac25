"""The halves of the channels that a product takes."""

import numpy as np
from own_seed import RNG
from tried_changes import claims_that_give

from probe import ops
from probe.hypotheses.steps.tensors_of_blocks import halves_before_products
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight


def test_the_halves_of_what_a_matrix_product_takes():
    x, kernel = RNG.standard_normal((2, 3, 8)), RNG.standard_normal((5, 8))
    steps = (
        Step(ops.Tanh(), (Ref(-1),)),
        Step(ops.MatMul(Weight("weight", kernel, kernel, axes=(1, 0)), None), (Ref(0),)),
    )
    wrong = np.roll(np.tanh(x), 4, axis=-1) @ kernel.T
    claims = claims_that_give(wrong, halves_before_products, steps, x)
    assert len(claims) == 1, claims
    assert "is taken with the two halves along axis 2 of (2, 3, 8) exchanged" in claims[0]


def test_two_tensors_that_are_joined_are_swapped_inputs():
    x, kernel = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((5, 8))
    steps = (
        Step(ops.Concat(2), (Ref(-1), Ref(-1, 1))),
        Step(ops.MatMul(Weight("weight", kernel, kernel, axes=(1, 0)), None), (Ref(0),)),
    )
    wrong = np.concatenate([np.tanh(x), x], -1) @ kernel.T
    assert not claims_that_give(wrong, halves_before_products, steps, x, np.tanh(x))
